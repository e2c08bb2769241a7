package director

import (
	"context"
)

// instantiateTemplate makes a vApp of a template.
func (c *call) instantiateTemplate() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "InstantiateVAppTemplateParams")
	if err != nil {
		return nil, err
	}
	href := attr(child(doc, "Source"), "href")
	t := c.s.templates[uuidIn(href)]
	if t == nil || c.templateLevel(t) == accessNone {
		return nil, badRequest("The source %s is not a vApp template of this cloud.", href)
	}
	if truth(value(doc, "IsSourceDelete")) && c.templateLevel(t) < accessFull {
		return nil, noRight("vApp Template / Media: Edit", t.id())
	}
	a, items, err := c.fromWhole(v, doc, t.content)
	if err != nil {
		return nil, err
	}
	remove := truth(value(doc, "IsSourceDelete"))
	task := c.start("vdcInstantiateVapp", "Instantiating Virtual Application", vappOwner(a), func(ctx context.Context) error {
		err := c.finish(ctx, a, doc, c.source(ctx, a, items))
		if err == nil && remove {
			err = c.s.destroyTemplate(ctx, t)
		}
		return err
	})
	if remove {
		task.busy = append(task.busy, t.id())
	}
	occupySources(task, items)
	return c.created(a), nil
}

// fromWhole begins a vApp that is like another one or like a template.
func (c *call) fromWhole(v *vdc, doc *node, from *vapp) (*vapp, []sourced, error) {
	vms, err := c.sourcesOf(el("Source", "href", c.s.vappHref(from)))
	if err != nil {
		return nil, nil, err
	}
	if err := c.acceptEULAs(vms, doc); err != nil {
		return nil, nil, err
	}
	a, err := c.newShell(doc, v, or(attr(doc, "name"), from.name))
	if err != nil {
		return nil, nil, err
	}
	if !c.provider() {
		a.owner = c.login.user.id
	}
	if child(doc, "Description") == nil {
		a.desc = from.desc
	}
	a.products, a.meta = copies(from.products), append(metadata(nil), from.meta...)
	if from.template != nil {
		a.meta.madeFrom("vapp", from.thing, "vapptemplate")
	} else {
		a.meta.madeFrom("vapp", from.thing, "vapp")
	}
	params := child(doc, "InstantiationParams")
	if ps := childrenOf(params, "ProductSection"); len(ps) > 0 {
		a.products = copies(ps)
	}
	if child(params, "NetworkConfigSection") == nil {
		c.s.sameNetworks(a, from)
	}
	items, err := c.itemsOf(a, doc, vms)
	if err != nil {
		return nil, nil, err
	}
	for _, it := range items {
		if s, found := from.startup[it.from.id]; found {
			s.VM = it.vm.name
			a.startup[it.vm.id] = s
		}
	}
	return a, items, c.s.begin(a)
}

// itemsOf are the VMs of a whole, as the SourcedItems and the
// SourcedVmInstantiationParams of a body want them.
func (c *call) itemsOf(a *vapp, doc *node, vms []*vm) ([]sourced, error) {
	named := map[string]*node{}
	for _, d := range childrenOf(doc, "SourcedItem") {
		named[uuidIn(attr(child(d, "Source"), "href"))] = d
	}
	hardware := map[string]*node{}
	for _, d := range childrenOf(doc, "SourcedVmInstantiationParams") {
		hardware[uuidIn(attr(child(d, "Source"), "href"))] = d
	}
	var out []sourced
	for _, from := range vms {
		d := named[from.id]
		if d == nil {
			d = add(el("SourcedItem"), el("Source"))
		}
		it, err := c.readItem(a, d, from, true)
		if err != nil {
			return nil, err
		}
		if h := hardware[from.id]; h != nil {
			if err := c.readHardware(&it, h); err != nil {
				return nil, err
			}
		}
		out = append(out, it)
		delete(named, from.id)
		delete(hardware, from.id)
	}
	for id := range named {
		return nil, badRequest("The sourced item %s is not a VM of the source.", id)
	}
	for id := range hardware {
		return nil, badRequest("The sourced VM %s is not a VM of the source.", id)
	}
	return out, c.admitSourced(a, out)
}

// readHardware reads SourcedVmInstantiationParams.
func (c *call) readHardware(it *sourced, d *node) error {
	if sp := child(d, "StorageProfile"); sp != nil {
		p := c.s.profiles[uuidIn(attr(sp, "href"))]
		if p == nil || p.vdc != it.vm.vapp.vdc {
			return badRequest("The storage profile %s does not exist in the VDC.", attr(sp, "href"))
		}
		it.vm.profile, it.vm.diskProfiles = p.id, map[int32]string{}
	}
	h := child(d, "HardwareCustomization")
	if err := it.setCPUs(value(h, "NumberOfCpus"), value(h, "CoresPerSocket")); err != nil {
		return err
	}
	if mb := value(h, "MemorySize"); mb != "" {
		if err := it.setMemory(mb); err != nil {
			return err
		}
	}
	for _, disk := range childrenOf(h, "Disk") {
		mb := int64(atoi(value(disk, "Size")))
		if err := it.setDisk(attr(disk, "instanceId"), mb, mb<<20); err != nil {
			return err
		}
	}
	return nil
}

// sameNetworks gives a vApp networks like those of another one. A parent that
// its VDC does not have is left out.
func (s *Server) sameNetworks(a, from *vapp) {
	allowed := map[string]bool{}
	for _, n := range s.netsOf(s.vdcs[a.vdc]) {
		allowed[n.id] = true
	}
	for _, old := range from.nets {
		n := &vappNet{thing: thing{id: newID(), name: old.name, desc: old.desc, seq: s.next()}, vapp: a, conf: old.conf.Copy(), parent: old.parent}
		if n.parent != "" && !allowed[n.parent] {
			n.parent = ""
			if p := s.nets[old.parent]; p != nil && value(n.conf, "FenceMode") == "bridged" {
				scopes := child(n.conf, "IpScopes")
				drop(scopes, "IpScope")
				add(scopes, scopeNode(p.scope, false, nil))
			}
			child(n.conf, "FenceMode").SetText("isolated")
			drop(n.conf, "ParentNetwork")
		}
		// Rules that name VMs follow their local ids, which the copies keep.
		a.nets = append(a.nets, n)
	}
}

// destroyTemplate deletes a template with its VMs and its catalog item.
func (s *Server) destroyTemplate(ctx context.Context, t *vappTemplate) error {
	s.mu.Lock()
	vms := append([]*vm(nil), t.content.vms...)
	s.mu.Unlock()
	for _, m := range vms {
		if err := s.destroy(ctx, m); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetTemplate(t)
	return nil
}

func (s *Server) forgetTemplate(t *vappTemplate) {
	for _, n := range t.content.nets {
		delete(s.vappNets, n.id)
	}
	delete(s.templates, t.id())
	if t.item != nil {
		s.forgetItem(t.item)
	}
	s.endTransfer(t.upload)
	s.endTransfer(t.content.download)
}

func (s *Server) forgetItem(it *catalogItem) {
	k := it.catalog
	for i, other := range k.items {
		if other == it {
			k.items = append(k.items[:i:i], k.items[i+1:]...)
			break
		}
	}
	k.version++
	delete(s.catalogItems, it.id)
}

// endTransfer removes a transfer and its files.
func (s *Server) endTransfer(t *transfer) {
	if t == nil {
		return
	}
	delete(s.transfers, t.id)
	delete(s.arrivals, t.id)
	s.spool.remove(t)
}
