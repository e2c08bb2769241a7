package director

import (
	"context"
	"errors"
)

// mayMoveRunning refuses to move a VM that is not off where that changes what
// only a stopped one lets change (Tenant Guide, "Move a Virtual Machine to
// Another vApp"): its network, and its storage profile where that is another
// VDC's.
func (c *call) mayMoveRunning(it *sourced) error {
	from, a := it.from, it.vm.vapp
	if !it.move || from.state() != stateOn && from.state() != stateSuspended {
		return nil
	}
	if from.vapp.vdc != a.vdc {
		return badRequest("The VM %q must be powered off to be moved to another VDC.", from.name)
	}
	for _, d := range childrenOf(it.connections(c.s.addressTaken), "NetworkConnection") {
		name := attr(d, "network")
		if name == noNetwork {
			continue
		}
		for _, n := range from.nics {
			if n.index == atoi(value(d, "NetworkConnectionIndex")) && !alike(from.vapp.netNamed(n.network), a.netNamed(name)) {
				return badRequest("The VM %q must be powered off to be moved to the network %q.", from.name, name)
			}
		}
	}
	return nil
}

// alike tells whether networks of two vApps are the same network of the VDC.
func alike(x, y *vappNet) bool {
	return x != nil && y != nil && (x == y || x.mode() == "bridged" && y.mode() == "bridged" && x.parent == y.parent)
}

// moveOne takes a VM from its vApp into another one. It is in either all the
// time: it changes over at once, when vCenter has done its part.
func (c *call) moveOne(ctx context.Context, it sourced) error {
	s, m, from := c.s, it.vm, it.from
	s.mu.Lock()
	m.moref, m.id, m.meta, m.products, m.created, m.tags = from.moref, from.id, from.meta, from.products, from.created, from.tags
	s.mu.Unlock()
	err := s.claim(ctx, m, false)
	if err == nil {
		err = s.resize(ctx, it)
	}
	after, end := past(ctx)
	defer end()
	if err != nil {
		return errors.Join(err, s.claim(after, from, false))
	}
	old := from.vapp
	if err := s.changeOver(from, m); err != nil {
		return err
	}
	// From here on there is no way back: a cancellation comes too late.
	if err := s.network(after, m.vapp); err != nil {
		return err
	}
	if err := c.plugIn(after, it); err != nil {
		return err
	}
	return s.network(after, old)
}

// changeOver puts a VM into the place of another one, with what it holds and
// whether it is deployed.
func (s *Server) changeOver(from, to *vm) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, a := from.vapp, to.vapp
	s.leave(from)
	s.follow(from, to)
	s.enter(to)
	to.deployed, to.creating = from.deployed, false
	was := a.deployed
	a.deployed = a.deployed || to.deployed
	err := s.redeployed(a, was)
	return errors.Join(err, s.recount(old))
}

// recount finds out whether a vApp that has lost a VM is still deployed.
func (s *Server) recount(a *vapp) error {
	was := a.deployed
	a.deployed = false
	for _, m := range a.vms {
		a.deployed = a.deployed || m.deployed
	}
	return s.redeployed(a, was)
}
