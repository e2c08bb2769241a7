package director

import "context"

// createFromTemplate makes a standalone VM of a VM of a template. The task's
// owner is the shell around it (POST-InstantiateVmFromTemplate).
func (c *call) createFromTemplate() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "InstantiateVmTemplateParams")
	if err != nil {
		return nil, err
	}
	src := child(doc, "SourcedVmTemplateItem")
	if src == nil {
		return nil, badRequest("The request names no VM of a template.")
	}
	vms, err := c.sourcesOf(child(src, "Source"))
	if err != nil {
		return nil, err
	}
	if len(vms) != 1 || vms[0].vapp.template == nil {
		return nil, badRequest("The source %s is not a VM of a vApp template.", attr(child(src, "Source"), "href"))
	}
	if err := c.acceptEULAs(vms, doc); err != nil {
		return nil, err
	}
	name := or(attr(doc, "name"), value(child(src, "VmGeneralParams"), "Name"), vms[0].name)
	a, err := c.standalone(v, name)
	if err != nil {
		return nil, err
	}
	it, err := c.readTemplateItem(a, doc, src, vms[0])
	if err != nil {
		return nil, err
	}
	it.vm.name = name
	if d := child(doc, "Description"); d != nil && child(child(src, "VmGeneralParams"), "Description") == nil {
		it.vm.desc = allText(d)
	}
	on := truth(attr(doc, "powerOn"))
	if err := c.admitSourced(a, []sourced{it}); err != nil {
		return nil, err
	}
	if err := c.s.begin(a); err != nil {
		return nil, err
	}
	t := c.start("vdcInstantiateVmFromTemplate", "Creating Virtual Machine from Template", vappOwner(a), func(ctx context.Context) error {
		err := c.s.settle(a, c.source(ctx, a, []sourced{it}))
		if err != nil || !on {
			return err
		}
		return c.s.turnOn(ctx, a, []*vm{it.vm}, false)
	})
	occupySources(t, []sourced{it})
	return c.accepted(t), nil
}

// readTemplateItem reads a SourcedVmTemplateItem, which is a SourcedItem under
// other names.
func (c *call) readTemplateItem(a *vapp, doc, src *node, from *vm) (sourced, error) {
	params := child(src, "VmTemplateInstantiationParams")
	if nics := child(params, "NetworkConnectionSection"); nics != nil {
		nets, err := c.shellNets(a, nics)
		if err != nil {
			return sourced{}, err
		}
		if nets != nil {
			a.nets = nets
		}
	}
	d := add(el("SourcedItem"), child(src, "Source").Copy())
	for _, name := range []string{"VmGeneralParams", "StorageProfile"} {
		if n := child(src, name); n != nil {
			add(d, n.Copy())
		}
	}
	if params != nil {
		p := params.Copy()
		p.Tag = "InstantiationParams"
		add(d, p)
	}
	if n := child(doc, "ComputePolicy"); n != nil {
		add(d, n.Copy())
	}
	return c.readItem(a, d, from, true)
}
