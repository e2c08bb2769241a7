package director

import (
	"context"
	"net/http"
)

// A sourced is a VM that a vApp is composed of.
type sourced struct {
	from *vm
	vm   *vm
	move bool
	nics *node // NetworkConnectionSection
}

// compose makes a vApp, empty or of VMs that exist.
func (c *call) compose() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "ComposeVAppParams")
	if err != nil {
		return nil, err
	}
	a, err := c.newShell(doc, v, attr(doc, "name"))
	if err != nil {
		return nil, err
	}
	if !c.provider() {
		a.owner = c.login.user.id
	}
	items, err := c.readItems(a, doc)
	if err != nil {
		return nil, err
	}
	c.s.begin(a)
	t := c.start("vdcComposeVapp", "Composing Virtual Application", vappOwner(a), func(ctx context.Context) error {
		err := c.source(ctx, a, items)
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if a.status = stateResolved; err != nil {
			a.status = stateFailed
		}
		return err
	})
	occupySources(t, items)
	return c.created(a), nil
}

// occupySources keeps the VMs that are copied or moved for the task.
func occupySources(t *task, items []sourced) {
	for _, it := range items {
		t.busy = append(t.busy, it.from.id)
	}
}

// readItems reads the SourcedItems of a body.
func (c *call) readItems(a *vapp, doc *node) ([]sourced, error) {
	if len(childrenOf(doc, "CreateItem")) > 0 {
		return nil, refuse(http.StatusNotImplemented, "NOT_IMPLEMENTED", "This simulated cloud makes no VMs from nothing.")
	}
	var out []sourced
	for _, it := range childrenOf(doc, "SourcedItem") {
		src := child(it, "Source")
		from := c.s.vms[uuidIn(attr(src, "href"))]
		if from == nil || c.level(from.vapp) == accessNone {
			return nil, badRequest("The source %s is not a VM of this cloud.", attr(src, "href"))
		}
		if from.vc != c.s.vdcs[a.vdc].vc {
			return nil, badRequest("The source VM %q is on another vCenter.", from.name)
		}
		if err := c.mayChange(from.vapp, from, accessRead); err != nil {
			return nil, err
		}
		general := child(it, "VmGeneralParams")
		m := &vm{
			thing: thing{id: newID(), name: or(value(general, "Name"), attr(src, "name"), from.name), desc: or(raw(general, "Description"), from.desc), seq: c.s.next()},
			vapp:  a, vc: from.vc, scopedID: or(value(it, "VAppScopedLocalId"), newID()), created: c.s.now(), creating: true, guest: from.guest,
			computer: from.computer, profile: from.profile, bootDelay: from.bootDelay, diskProfiles: map[int32]string{},
			customize: truth(value(general, "NeedsCustomization")),
		}
		if sp := c.s.profiles[uuidIn(attr(child(it, "StorageProfile"), "href"))]; sp != nil {
			m.profile = sp.id
		}
		if p := c.s.profiles[m.profile]; p == nil || p.vdc != a.vdc {
			if p = c.s.profileNamed(c.s.vdcs[a.vdc], ""); p != nil {
				m.profile = p.id
			}
		}
		if a.vmNamed(m.name) != nil {
			return nil, refuse(http.StatusBadRequest, "DUPLICATE_NAME", "The vApp %q has a VM named %q already.", a.name, m.name)
		}
		if err := c.admitSourced(a, m, from, truth(attr(it, "sourceDelete")), len(out)); err != nil {
			return nil, err
		}
		out = append(out, sourced{from, m, truth(attr(it, "sourceDelete")), child(child(it, "InstantiationParams"), "NetworkConnectionSection")})
	}
	return out, nil
}

// admitSourced refuses the copy of a VM that there is no room for, besides
// those before it.
func (c *call) admitSourced(a *vapp, m, from *vm, move bool, before int) error {
	if from.facts == nil {
		return nil
	}
	mb := from.facts.diskMB()
	if move && from.vapp.vdc == a.vdc {
		return nil
	}
	if err := c.s.checkStoredQuota(a, before+1, mb); err != nil {
		return err
	}
	if err := c.s.checkNICQuota(c.s.vdcs[a.vdc], len(from.nics)); err != nil {
		return err
	}
	return c.s.checkStorage(m.profile, mb)
}

// source copies or moves the VMs into their vApp. It runs in a task.
func (c *call) source(ctx context.Context, a *vapp, items []sourced) error {
	s := c.s
	for _, it := range items {
		m := it.vm
		if it.move {
			s.mu.Lock()
			m.moref, m.id, m.scopedID, m.meta, m.products = it.from.moref, it.from.id, or(m.scopedID, it.from.scopedID), it.from.meta, it.from.products
			s.leave(it.from)
			s.mu.Unlock()
		} else if err := s.clone(ctx, m, it.from.moref); err != nil {
			return err
		}
		if err := s.claim(ctx, m, true); err != nil {
			return err
		}
		s.join(m)
		s.mu.Lock()
		m.creating = false
		err := s.refresh(ctx, m)
		var ch *cardChange
		if err == nil && it.nics != nil {
			ch, err = c.readConnections(m, it.nics)
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if ch != nil {
			if err := s.connect(ctx, m, ch); err != nil {
				return err
			}
		}
	}
	return nil
}

// recompose adds VMs to a vApp, takes some out, and renames it.
func (c *call) recompose() (*answer, error) {
	a, err := c.onlyVApp(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "RecomposeVAppParams")
	if err != nil {
		return nil, err
	}
	items, err := c.readItems(a, doc)
	if err != nil {
		return nil, err
	}
	var remove []*vm
	for _, d := range childrenOf(doc, "DeleteItem") {
		m := c.s.vms[uuidIn(attr(d, "href"))]
		if m == nil || m.vapp != a {
			return nil, badRequest("The VM %s is not in vApp %q.", attr(d, "href"), a.name)
		}
		if m.deployed {
			return nil, badRequest("The requested operation could not be executed on VM %q. Stop the VM and try again.", m.name)
		}
		remove = append(remove, m)
	}
	var nets []*vappNet
	if d := child(child(doc, "InstantiationParams"), "NetworkConfigSection"); d != nil {
		if nets, err = c.s.readNetworks(a, d); err != nil {
			return nil, err
		}
	}
	t := c.start("vdcRecomposeVapp", "Recomposing Virtual Application", vappOwner(a), func(ctx context.Context) error {
		for _, m := range remove {
			if err := c.s.destroy(ctx, m); err != nil {
				return err
			}
		}
		c.s.mu.Lock()
		a.name = or(attr(doc, "name"), a.name)
		a.adopt()
		if d := child(doc, "Description"); d != nil {
			a.desc = allText(d)
		}
		if nets != nil {
			if err := c.s.setNetworks(a, nets); err != nil {
				c.s.mu.Unlock()
				return err
			}
		}
		c.s.mu.Unlock()
		return c.source(ctx, a, items)
	})
	occupySources(t, items)
	return c.accepted(t), nil
}
