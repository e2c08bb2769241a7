package director

import (
	"context"
	"slices"
	"time"
)

// newTemplate begins a template that is like a vApp or another template.
func (c *call) newTemplate(k *catalog, v *vdc, p *profile, name string, from *vapp) (*vappTemplate, []sourced, error) {
	t := c.emptyTemplate(k, v, p, name, from.desc)
	items, err := c.likeness(t, from)
	if err != nil {
		return nil, nil, err
	}
	c.s.keepTemplate(k, t)
	return t, items, nil
}

// likeness gives an empty template all that another vApp has but its VMs, and
// returns those that are to be copied.
func (c *call) likeness(t *vappTemplate, from *vapp) ([]sourced, error) {
	a := t.content
	a.products, a.meta = copies(from.products), append(metadata(nil), from.meta...)
	if from.template == nil {
		a.meta.madeFrom("vapp", from.thing, "vapp")
	}
	c.s.sameNetworks(a, from)
	var items []sourced
	for _, m := range from.vms {
		it, err := c.copyOf(a, m)
		if err != nil {
			return nil, err
		}
		it.vm.profile, it.vm.diskProfiles = t.profile, map[int32]string{}
		if s, found := from.startup[m.id]; found {
			a.startup[it.vm.id] = s
		}
		items = append(items, it)
	}
	return items, nil
}

// emptyTemplate is a template that is not in its catalog yet.
func (c *call) emptyTemplate(k *catalog, v *vdc, p *profile, name, desc string) *vappTemplate {
	a := &vapp{
		thing: thing{id: newID(), name: name, desc: desc, seq: c.s.next()}, vdc: v.id, owner: c.login.user.id, created: time.Now(),
		lease: Lease{StorageSeconds: c.s.orgs[v.org].settings.templateSeconds}, startup: map[string]StartupItem{}, storedAt: time.Now(),
	}
	if c.provider() {
		a.owner = c.s.systemUser().id
	}
	t := &vappTemplate{content: a, customize: true, profile: p.id}
	a.template = t
	return t
}

// keepTemplate puts a new template into the inventory, and into a catalog if it is
// to be in one.
func (s *Server) keepTemplate(k *catalog, t *vappTemplate) {
	s.templates[t.id()] = t
	if k == nil {
		return
	}
	t.item = s.newItem(k, "", t.content.name, t.content.desc)
	t.item.template = t
}

// fillTemplate copies the VMs of a new template, and ends what it replaces.
func (c *call) fillTemplate(name, operation string, t *vappTemplate, items []sourced, replaced *vappTemplate) *task {
	task := c.start(name, operation, vappOwner(t.content), func(ctx context.Context) error {
		err := c.source(ctx, t.content, items)
		if err == nil && replaced != nil {
			err = c.s.destroyTemplate(ctx, replaced)
		}
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if t.content.status = stateResolved; err != nil {
			t.content.status = stateFailed
		}
		return err
	})
	if t.item != nil {
		task.busy = append(task.busy, t.item.id)
	}
	if replaced != nil {
		task.busy = append(task.busy, replaced.id())
	}
	for _, it := range items {
		// Copies of one template may be made at the same time.
		if it.from.vapp.template == nil {
			task.busy = append(task.busy, it.from.id)
		}
	}
	return task
}

// changeTemplate is the template of the path for a write that needs that level.
func (c *call) changeTemplate(level int) (*vappTemplate, error) {
	a, err := c.onlyVApp(c.change(level))
	if err != nil {
		return nil, err
	}
	return a.template, nil
}

// putTemplate changes name, description and gold mark of a template, or name and
// description of one of its VMs.
func (c *call) putTemplate() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	want := []string{"VAppTemplate"}
	if m != nil {
		want = []string{"VAppTemplate", "Vm"}
	}
	doc, err := c.parse(nsVCloud, want...)
	if err != nil {
		return nil, err
	}
	name, desc := attr(doc, "name"), child(doc, "Description")
	if err := checkName(name); err != nil {
		return nil, err
	}
	if m != nil {
		return c.accepted(c.start("vappTemplateUpdateVm", "Updating Virtual Machine", vmOwner(m), func(ctx context.Context) error {
			return c.s.renameVM(ctx, m, name, desc)
		})), nil
	}
	t := a.template
	profile := t.profile
	if n := value(doc, "DefaultStorageProfile"); n != "" {
		p := c.s.profileNamed(c.s.vdcs[a.vdc], n)
		if p == nil {
			return nil, badRequest("The storage profile %q does not exist in VDC %s.", n, c.s.vdcs[a.vdc].name)
		}
		profile = p.id
	}
	if t.item != nil && name != t.item.name {
		if err := c.newItemName(t.item.catalog, name); err != nil {
			return nil, err
		}
	}
	return c.accepted(c.start("vdcUpdateTemplate", "Updating Virtual Application Template", vappOwner(a), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if t.item != nil {
			if err := c.renameItem(t.item, name, desc); err != nil {
				return err
			}
		}
		if g := attr(doc, "goldMaster"); g != "" {
			t.gold = truth(g)
		}
		t.profile = profile
		return nil
	})), nil
}

func (c *call) deleteTemplate() (*answer, error) {
	a, m, err := c.target()
	if err != nil {
		return nil, err
	}
	if m != nil {
		return nil, refuse(405, "METHOD_NOT_ALLOWED", "A VM of a vApp template cannot be deleted on its own.")
	}
	t := a.template
	if t.upload != nil {
		// What is being uploaded is given up first.
		c.s.cancelUpload(t.upload)
		t.upload.task = ""
	} else if err := c.mayChange(a, nil, accessChange); err != nil {
		return nil, err
	}
	if c.level(a) < accessChange {
		return nil, noRight("vApp Template / Media: Edit", a.id)
	}
	if err := t.item.follows(); err != nil {
		return nil, err
	}
	return c.accepted(c.start("vdcDeleteTemplate", "Deleting Virtual Application Template", vappOwner(a), func(ctx context.Context) error {
		return c.s.destroyTemplate(ctx, t)
	})), nil
}

func (c *call) putTemplateLease() (*answer, error) {
	t, err := c.changeTemplate(accessChange)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "LeaseSettingsSection")
	if err != nil {
		return nil, err
	}
	a := t.content
	seconds := a.lease.StorageSeconds
	if v := value(doc, "StorageLeaseInSeconds"); v != "" {
		seconds = atoi(v)
	}
	limit := c.s.orgOf(a).settings.templateSeconds
	if seconds == 0 {
		seconds = limit // never, as far as the organization lets it
	}
	if seconds < 0 || beyond(seconds, limit) {
		return nil, badRequest("The lease is negative or longer than the organization allows.")
	}
	return c.accepted(c.start("vdcUpdateTemplate", "Updating Virtual Application Template", vappOwner(a), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		a.lease.StorageSeconds, a.storedAt = seconds, time.Now()
		return nil
	})), nil
}

func (c *call) putCustomization() (*answer, error) {
	t, err := c.changeTemplate(accessChange)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CustomizationSection")
	if err != nil {
		return nil, err
	}
	return c.accepted(c.start("vdcUpdateTemplate", "Updating Virtual Application Template", vappOwner(t.content), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		t.customize = truth(value(doc, "CustomizeOnInstantiate"))
		if g := attr(doc, "goldMaster"); g != "" {
			t.gold = truth(g)
		}
		return nil
	})), nil
}

// captureInVDC and captureInCatalog make a template of a vApp. The first, older
// one answers with the template, which is in no catalog yet, the second with a
// task (API reference, POST-CaptureVApp).
func (c *call) captureInVDC() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	t, _, err := c.capture(nil, v)
	if err != nil {
		return nil, err
	}
	return c.createdTemplate(t), nil
}

func (c *call) captureInCatalog() (*answer, error) {
	k, err := c.ownCatalog()
	if err != nil {
		return nil, err
	}
	_, task, err := c.capture(k, nil)
	if err != nil {
		return nil, err
	}
	return c.accepted(task), nil
}

func (c *call) createdTemplate(t *vappTemplate) *answer {
	return &answer{status: 201, typ: mediaVCloud + "vAppTemplate", doc: c.templateNode(t), header: map[string]string{"Location": c.s.vappHref(t.content)}}
}

// capture makes a template of the vApp that a body names, in the place of another
// template where the body says so.
func (c *call) capture(k *catalog, v *vdc) (*vappTemplate, *task, error) {
	doc, err := c.parse(nsVCloud, "CaptureVAppParams")
	if err != nil {
		return nil, nil, err
	}
	href := attr(child(doc, "Source"), "href")
	a := c.s.vapps[uuidIn(href)]
	if a == nil || c.level(a) == accessNone {
		return nil, nil, badRequest("The source %s is not a vApp of this cloud.", href)
	}
	if err := c.mayChange(a, nil, accessChange); err != nil {
		return nil, nil, err
	}
	section := child(doc, "CustomizationSection")
	customize := section == nil || truth(value(section, "CustomizeOnInstantiate"))
	if err := c.mayCapture(a, customize); err != nil {
		return nil, nil, err
	}
	v, p, err := c.capturePlace(k, v, a, doc)
	if err != nil {
		return nil, nil, err
	}
	name := or(attr(doc, "name"), a.name)
	old, err := c.captureOver(k, doc)
	if err != nil {
		return nil, nil, err
	}
	if k != nil && (old == nil || old.item.name != name) {
		if err := c.newItemName(k, name); err != nil {
			return nil, nil, err
		}
	}
	t, items, err := c.newTemplate(k, v, p, name, a)
	if err != nil {
		return nil, nil, err
	}
	if d := child(doc, "Description"); d != nil {
		t.content.desc = allText(d)
		if t.item != nil {
			t.item.desc = t.content.desc
		}
	}
	t.customize, t.gold = customize, truth(attr(section, "goldMaster"))
	return t, c.fillTemplate("vdcCaptureTemplate", "Capturing Virtual Application Template", t, items, old), nil
}

// capturePlace is where a capture will live: in the VDC that was asked, with the
// catalog, or with the vApp.
func (c *call) capturePlace(k *catalog, v *vdc, a *vapp, doc *node) (*vdc, *profile, error) {
	if v == nil {
		v = c.s.vdcs[a.vdc]
	}
	p := c.s.profileLike(v, "")
	if len(a.vms) > 0 {
		p = c.s.profileLike(v, a.vms[0].profile)
	}
	if k != nil && len(k.profiles) > 0 {
		if p = c.s.profiles[k.profiles[0]]; p != nil {
			v = c.s.vdcs[p.vdc]
		}
	}
	if sp := child(doc, "VdcStorageProfile"); sp != nil {
		if p = c.s.profiles[uuidIn(attr(sp, "href"))]; p == nil || p.vdc != v.id {
			return nil, nil, badRequest("The storage profile %s does not exist in VDC %s.", attr(sp, "href"), v.name)
		}
	}
	if p == nil {
		return nil, nil, badRequest("The VDC %s has no storage profile.", v.name)
	}
	return v, p, nil
}

// mayCapture refuses vApps in a state that no template can be made of: a guest
// that runs is copied only where the copy becomes somebody else.
func (c *call) mayCapture(a *vapp, customize bool) error {
	if err := c.usable(a); err != nil {
		return err
	}
	if len(a.vms) == 0 {
		return badRequest("The vApp %q has no VMs.", a.name)
	}
	if err := c.refresh(a.vms...); err != nil {
		return err
	}
	if err := c.mayChange(a, nil, accessChange); err != nil {
		return err
	}
	for _, m := range a.vms {
		switch st := m.state(); {
		case st == stateOff:
		case st == stateOn && customize:
		default:
			return invalidState("The requested operation could not be executed on vApp %q. Stop the vApp and try again.", a.name)
		}
	}
	return nil
}

// captureOver is the template that a capture replaces.
func (c *call) captureOver(k *catalog, doc *node) (*vappTemplate, error) {
	ref := child(doc, "TargetCatalogItem")
	if ref == nil {
		return nil, nil
	}
	it := c.s.catalogItems[uuidIn(attr(ref, "href"))]
	if it == nil || it.template == nil || it.catalog != k {
		return nil, badRequest("The target %s is not a vApp template in catalog %q.", attr(ref, "href"), k.name)
	}
	if c.s.working(it.id) || c.s.working(it.entityID()) {
		return nil, busy("com.vmware.vcloud.entity.vapptemplate", it.name)
	}
	return it.template, nil
}

// cloneVApp copies or moves a vApp into a VDC.
func (c *call) cloneVApp() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CloneVAppParams")
	if err != nil {
		return nil, err
	}
	href, move := attr(child(doc, "Source"), "href"), truth(value(doc, "IsSourceDelete"))
	from := c.s.vapps[uuidIn(href)]
	if from == nil || c.level(from) == accessNone {
		return nil, badRequest("The source %s is not a vApp of this cloud.", href)
	}
	level := accessRead
	if move {
		level = accessFull
	}
	if err := c.mayChange(from, nil, level); err != nil {
		return nil, err
	}
	if err := c.refresh(from.vms...); err != nil {
		return nil, err
	}
	if err := c.mayChange(from, nil, level); err != nil {
		return nil, err
	}
	for _, m := range from.vms {
		if st := m.state(); st == stateSuspended || move && (st != stateOff || m.deployed) {
			return nil, invalidState("The requested operation could not be executed on vApp %q. Stop the vApp and try again.", from.name)
		}
	}
	a, items, err := c.fromWhole(v, doc, from)
	if err != nil {
		return nil, err
	}
	for i := range items {
		items[i].move = move
	}
	if move {
		a.owner, a.everyone, a.access = from.owner, from.everyone, slices.Clone(from.access)
	}
	task := c.start("vdcCopyVapp", "Copying Virtual Application", vappOwner(a), func(ctx context.Context) error {
		err := c.source(ctx, a, items)
		if err == nil && move {
			c.s.mu.Lock()
			c.s.forget(from)
			c.s.mu.Unlock()
		}
		return c.finish(ctx, a, doc, err)
	})
	occupySources(task, items)
	if move {
		task.busy = append(task.busy, from.id)
	}
	return c.created(a), nil
}

// cloneTemplate copies or moves a template into a VDC. The copy is in no catalog.
func (c *call) cloneTemplate() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CloneVAppTemplateParams")
	if err != nil {
		return nil, err
	}
	href := attr(child(doc, "Source"), "href")
	from := c.s.templates[uuidIn(href)]
	if from == nil || c.templateLevel(from) == accessNone {
		return nil, badRequest("The source %s is not a vApp template of this cloud.", href)
	}
	remove := truth(value(doc, "IsSourceDelete"))
	if remove && c.templateLevel(from) < accessChange {
		return nil, noRight("vApp Template / Media: Edit", from.id())
	}
	if err := c.usable(from.content); err != nil {
		return nil, err
	}
	p := c.s.profileLike(v, from.profile)
	if sp := child(doc, "VdcStorageProfile"); sp != nil {
		p = c.s.profiles[uuidIn(attr(sp, "href"))]
	}
	if p == nil || p.vdc != v.id {
		return nil, badRequest("The VDC %s has no such storage profile.", v.name)
	}
	if err := checkName(attr(doc, "name")); err != nil {
		return nil, err
	}
	t, items, err := c.newTemplate(nil, v, p, attr(doc, "name"), from.content)
	if err != nil {
		return nil, err
	}
	t.gold, t.customize, t.eulas = from.gold, from.customize, from.eulas
	if d := child(doc, "Description"); d != nil {
		t.content.desc = allText(d)
	}
	var replaced *vappTemplate
	if remove {
		replaced = from
	}
	c.fillTemplate("vdcCopyTemplate", "Copying Virtual Application Template", t, items, replaced)
	return c.createdTemplate(t), nil
}
