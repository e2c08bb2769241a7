package director

import (
	"context"
	"slices"
)

// theVAppNetwork is the vApp network of the path, if the caller may change it.
func (c *call) theVAppNetwork() (*vappNet, error) {
	n := c.s.vappNets[uuidIn(c.path("id"))]
	if n == nil {
		return nil, missing("network", c.path("id"))
	}
	if c.level(n.vapp) == accessNone {
		return nil, noAccess("network", n.id)
	}
	return n, c.mayChange(n.vapp, nil, accessChange)
}

// putVAppNetwork changes one network of a vApp.
func (c *call) putVAppNetwork() (*answer, error) {
	old, err := c.theVAppNetwork()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "VAppNetwork")
	if err != nil {
		return nil, err
	}
	a, n := old.vapp, *old
	if name := attr(doc, "name"); name != n.name {
		if a.netNamed(name) != nil || a.deployed {
			return nil, badRequest("The vApp network %q cannot be renamed to %q: the name is taken, or the vApp is deployed.", n.name, name)
		}
		if err := checkNetName(name); err != nil {
			return nil, err
		}
		n.name = name
	}
	if d := child(doc, "Description"); d != nil {
		n.desc = allText(d)
	}
	if err := c.s.configure(&n, child(doc, "Configuration")); err != nil {
		return nil, err
	}
	return c.accepted(c.start("networkUpdateNetwork", "Updating network of Virtual Application", vappOwner(a), func(ctx context.Context) error {
		c.s.mu.Lock()
		nets := slices.Clone(a.nets)
		c.s.mu.Unlock()
		if i := slices.Index(nets, old); i >= 0 {
			nets[i] = &n
		}
		return c.s.changeNetworks(ctx, a, nets)
	})), nil
}

// deleteVAppNetwork takes a network out of its vApp.
func (c *call) deleteVAppNetwork() (*answer, error) {
	n, err := c.theVAppNetwork()
	if err != nil {
		return nil, err
	}
	a := n.vapp
	if a.deployed || a.uses(n.name) {
		return nil, cannotRemove(n)
	}
	return c.accepted(c.start("networkDelete", "Deleting network of Virtual Application", vappOwner(a), func(ctx context.Context) error {
		c.s.mu.Lock()
		nets := slices.DeleteFunc(slices.Clone(a.nets), func(o *vappNet) bool { return o == n })
		c.s.mu.Unlock()
		return c.s.changeNetworks(ctx, a, nets)
	})), nil
}

// resetNetwork is the "repair" link of a vApp network: its router is made anew
// with what it had.
func (c *call) resetNetwork() (*answer, error) {
	return c.routerAction("networkReset", "Resetting network")
}

// syncSyslog writes the syslog settings to a vApp network's router.
func (c *call) syncSyslog() (*answer, error) {
	return c.routerAction("networkSyncSyslogSettings", "Synchronizing syslog settings of network")
}

func (c *call) routerAction(name, operation string) (*answer, error) {
	n, err := c.theVAppNetwork()
	if err != nil {
		return nil, err
	}
	if n.mode() == "bridged" || name == "networkSyncSyslogSettings" && n.mode() != "natRouted" {
		return nil, invalidState("The network %q has no router.", n.name)
	}
	if !n.vapp.deployed {
		return nil, invalidState("The network %q is not deployed.", n.name)
	}
	return c.accepted(c.start(name, operation, taskOwner{"network", n.id, n.name}, func(context.Context) error { return nil })), nil
}
