package director

import (
	"context"
	"net/http"
)

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
	if err := c.makesNothing(doc); err != nil {
		return nil, err
	}
	items, err := c.readItems(a, doc)
	if err != nil {
		return nil, err
	}
	c.s.begin(a)
	t := c.start("vdcComposeVapp", "Composing Virtual Application", vappOwner(a), func(ctx context.Context) error {
		return c.finish(ctx, a, doc, c.source(ctx, a, items))
	})
	occupySources(t, items)
	return c.created(a), nil
}

// finish tells whether a vApp that was made is whole, and starts it.
func (c *call) finish(ctx context.Context, a *vapp, doc *node, err error) error {
	c.s.mu.Lock()
	if a.status = stateResolved; err != nil {
		a.status = stateFailed
	}
	c.s.mu.Unlock()
	if err != nil {
		return err
	}
	return c.launch(ctx, a, doc)
}

// makesNothing refuses VMs that come from nowhere.
func (c *call) makesNothing(doc *node) error {
	if len(childrenOf(doc, "CreateItem")) > 0 {
		return refuse(http.StatusNotImplemented, "NOT_IMPLEMENTED", "This simulated cloud makes no VMs from nothing.")
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
	if err := c.makesNothing(doc); err != nil {
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
