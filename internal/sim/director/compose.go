package director

import "context"

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
	blanks, err := c.readBlanks(a, doc)
	if err != nil {
		return nil, err
	}
	if err := c.s.begin(a); err != nil {
		return nil, err
	}
	t := c.start("vdcComposeVapp", "Composing Virtual Application", vappOwner(a), func(ctx context.Context) error {
		err := c.source(ctx, a, items)
		if err == nil {
			err = c.makeBlanks(ctx, a, blanks)
		}
		return c.finish(ctx, a, doc, err)
	})
	occupySources(t, items)
	occupyBlanks(t, blanks)
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
	// First what lets go of the mutex meanwhile.
	changes, err := c.readReconfigureItems(a, doc)
	if err != nil {
		return nil, err
	}
	name := a.name
	if doc.SelectAttr("name") != nil {
		name = attr(doc, "name")
	}
	if err := c.s.mayName(a, name); err != nil {
		return nil, err
	}
	items, err := c.readItems(a, doc)
	if err != nil {
		return nil, err
	}
	blanks, err := c.readBlanks(a, doc)
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
		if err := c.s.mayName(a, name); err != nil {
			c.s.mu.Unlock()
			return err
		}
		a.name = name
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
		if err := c.source(ctx, a, items); err != nil {
			return err
		}
		if err := c.makeBlanks(ctx, a, blanks); err != nil {
			return err
		}
		return c.s.reconfigureAll(ctx, changes)
	})
	occupySources(t, items)
	occupyBlanks(t, blanks)
	return c.accepted(t), nil
}
