package director

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// theVimServer is the vCenter of the path.
func (c *call) theVimServer() (*vcenter, error) {
	vc := c.s.vcenters[strings.ToLower(c.path("id"))]
	if vc == nil {
		vc = c.s.vcenters[c.path("id")]
	}
	if vc == nil {
		return nil, missing("vimServer", c.path("id"))
	}
	return vc, nil
}

func (c *call) getExtension() (*answer, error) {
	href := c.s.href("/api/admin/extension")
	d := add(el("vmext:VMWExtension", "href", href, "type", mediaAdmin+"vmwExtension+xml"),
		link("down", href+"/vimServerReferences", mediaAdmin+"vmwVimServerReferences+xml"),
		link("down", href+"/externalNetworkReferences", mediaAdmin+"vmwExternalNetworkReferences+xml"),
		link("down", href+"/networkPoolReferences", mediaAdmin+"vmwNetworkPoolReferences+xml"),
		link("add", href+"/externalnets", mediaAdmin+"vmwexternalnet+xml"),
		link("down", href+"/providerVdcReferences", mediaAdmin+"vmwProviderVdcReferences+xml"),
		link("add", href+"/providervdcsparams", mediaAdmin+"createProviderVdcParams+xml"),
		link("down", href+"/hostReferences", mediaAdmin+"vmwHostReferences+xml"),
		link("down", href+"/datastores", mediaAdmin+"datastoreList+xml"))
	c.extensionLinks(d)
	return ok(mediaAdmin+"vmwExtension", d), nil
}

func (c *call) vimServers() (*answer, error) {
	d := el("vmext:VMWVimServerReferences", "href", c.s.href("/api/admin/extension/vimServerReferences"), "type", mediaAdmin+"vmwVimServerReferences+xml")
	for _, vc := range sorted(c.s.vcenters) {
		add(d, c.s.vimServerRef("vmext:VimServerReference", vc))
	}
	return ok(mediaAdmin+"vmwVimServerReferences", d), nil
}

func (c *call) vimServer() (*answer, error) {
	vc, err := c.theVimServer()
	if err != nil {
		return nil, err
	}
	href := c.s.href("/api/admin/extension/vimServer/" + vc.id)
	d := el("vmext:VimServer", "name", vc.name, "id", "urn:vcloud:vimserver:"+vc.id, "href", href, "type", mediaAdmin+"vmwvirtualcenter+xml")
	for rel, doc := range map[string]string{"vmsList": "vmsObjectRefsList"} {
		add(d, link("down", href+"/"+rel, mediaAdmin+doc+"+xml"))
	}
	for _, kind := range []string{"importVmAsVApp", "importVmIntoExistingVApp", "importVm"} {
		add(d, link("add", href+"/"+kind, mediaAdmin+kind+"Params+xml"))
	}
	return ok(mediaAdmin+"vmwvirtualcenter", add(d, text("vmext:Username", vc.cfg.User), text("vmext:Url", strings.TrimSuffix(vc.cfg.URL, "/sdk")),
		boolean("vmext:IsEnabled", true), boolean("vmext:IsConnected", true), opt("vmext:Uuid", vc.uuid()), opt("vmext:VcVersion", vc.version()),
		boolean("vmext:UseVsphereService", false))), nil
}

// vmsList is the VMs of a vCenter that no vCD manages.
func (c *call) vmsList() (*answer, error) {
	vc, err := c.theVimServer()
	if err != nil {
		return nil, err
	}
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	c.s.mu.Unlock()
	vms, err := vc.unmanaged(c.r.Context())
	c.s.mu.Lock()
	if err != nil {
		return nil, err
	}
	from, to := p.of(len(vms))
	d := el("vmext:VmObjectRefsList", "numberOfPages", num(p.last(len(vms))), "page", num(p.number))
	for _, m := range vms[from:to] {
		n := c.s.vimObject("vmext:VmObjectRef", vc, m.Self.Value, "VIRTUAL_MACHINE")
		n.CreateAttr("name", m.Name)
		add(d, n)
	}
	return ok(mediaAdmin+"vmsObjectRefsList", d), nil
}

// unmanaged lists the VMs without vCD's mark, by moref.
func (vc *vcenter) unmanaged(ctx context.Context) ([]mo.VirtualMachine, error) {
	client, err := vc.connect(ctx)
	if err != nil {
		return nil, err
	}
	v, err := view.NewManager(client).CreateContainerView(ctx, client.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	defer func() { _ = v.Destroy(context.WithoutCancel(ctx)) }()
	var all, out []mo.VirtualMachine
	if err := v.Retrieve(ctx, []string{"VirtualMachine"}, []string{"name", "config.managedBy", "config.template", "resourcePool"}, &all); err != nil {
		return nil, fmt.Errorf("VMs: %w", err)
	}
	for _, m := range all {
		managed := m.Config != nil && m.Config.ManagedBy != nil && m.Config.ManagedBy.ExtensionKey == extensionKey
		if !managed && (m.Config == nil || !m.Config.Template) {
			out = append(out, m)
		}
	}
	sortBy(out, func(a, b mo.VirtualMachine) bool { return a.Self.Value < b.Self.Value })
	return out, nil
}

// An importing is one VM on its way into vCD.
type importing struct {
	vm     *vm
	move   bool
	nics   int
	source string // moref
	name   string // in vCenter
}

func (im *importing) expect() coming { return coming{im.vm, im.nics, im.source} }

// readImport reads what all three import calls have in common, and makes the
// VM, which is not in the inventory yet.
func (c *call) readImport(vc *vcenter, doc *node, a *vapp) (*importing, error) {
	moref := value(doc, "VmMoRef")
	name := value(doc, "VmName")
	v := c.s.vdcs[a.vdc]
	if v.vc != vc {
		return nil, badRequest("The VDC %s is not on vCenter %s.", v.name, vc.name)
	}
	move := truth(attr(doc, "sourceMove"))
	if err := c.s.importable(vc, moref, move); err != nil {
		return nil, err
	}
	c.s.mu.Unlock()
	got, err := vc.read(c.r.Context(), []string{moref})
	c.s.mu.Lock()
	if err != nil {
		return nil, err
	}
	if c.s.vdcs[a.vdc] != v {
		return nil, badRequest("The VDC %s does not exist any more.", v.name)
	}
	if err := c.s.importable(vc, moref, move); err != nil {
		return nil, err // others had the mutex
	}
	f := got[moref]
	switch {
	case f == nil:
		return nil, refuse(http.StatusNotFound, "NOT_FOUND", "The VM %s does not exist in vCenter %s.", moref, vc.name)
	case f.power != types.VirtualMachinePowerStatePoweredOff:
		return nil, badRequest("The VM %s must be powered off to be imported.", f.name)
	case f.snapshots > 0:
		return nil, badRequest("The VM %s has snapshots and cannot be imported.", f.name)
	case f.config.ManagedBy != nil && f.config.ManagedBy.ExtensionKey == extensionKey:
		return nil, badRequest("The VM %s is managed by a cloud already.", f.name)
	}
	id := newID()
	m := &vm{
		thing: thing{id: id, name: or(name, f.name), desc: raw(doc, "VmDescription"), seq: c.s.next()}, vapp: a, vc: vc,
		scopedID: or(value(doc, "VAppScopedLocalId"), newID()), created: c.s.now(), creating: true, diskProfiles: map[int32]string{},
	}
	m.computer = or(value(doc, "ComputerName"), computerName(m.name))
	if err := checkComputer(m.computer); err != nil {
		return nil, err
	}
	if err := checkVMName(m, m.name); err != nil {
		return nil, err
	}
	for _, other := range a.vms {
		if other.scopedID == m.scopedID {
			return nil, badRequest("The vApp %q has a VM with the local id %q already.", a.name, m.scopedID)
		}
	}
	p := c.s.profileNamed(v, "")
	if sp := child(doc, "VdcStorageProfile"); sp != nil {
		if p = c.s.profiles[uuidIn(attr(sp, "href"))]; p == nil || p.vdc != v.id {
			return nil, badRequest("The storage profile %s does not exist in VDC %s.", attr(sp, "href"), v.name)
		}
	}
	if p == nil {
		return nil, badRequest("The VDC %s has no storage profile.", v.name)
	}
	m.profile = p.id
	if err := c.s.admit(a, p, f); err != nil {
		return nil, err
	}
	m.seen = f.sight()
	if move {
		m.moref = moref
	}
	return &importing{m, move, len(f.cards()), moref, f.name}, nil
}

// importable refuses a VM of a vCenter that is the cloud's, or on its way into
// it. Several copies of one can be made at once.
func (s *Server) importable(vc *vcenter, moref string, move bool) error {
	for _, m := range s.vms {
		if m.vc == vc && m.moref == moref {
			return badRequest("The VM %s is managed by this cloud already, as %s.", moref, m.name)
		}
	}
	for _, t := range s.running {
		if t.over() {
			continue
		}
		for _, k := range t.coming {
			if k.vm.vc == vc && (k.vm.moref == moref || move && k.source == moref) {
				return badRequest("The VM %s is being imported already, as %s.", moref, k.vm.name)
			}
		}
	}
	return nil
}

// admit refuses a VM that VDC, organization or owner have no room for.
func (s *Server) admit(a *vapp, p *profile, f *facts) error {
	if err := s.checkStoredQuota(a, 1, f.diskMB()); err != nil {
		return err
	}
	if err := s.checkNICQuota(s.vdcs[a.vdc], len(f.cards())); err != nil {
		return err
	}
	return s.checkStorage(p, f.diskMB())
}

// bring moves or copies the VM into the cloud. It runs in a task.
func (s *Server) bring(ctx context.Context, im *importing) error {
	m := im.vm
	if !im.move {
		if err := s.clone(ctx, m, im.source); err != nil {
			return err
		}
	}
	err := s.claim(ctx, m, true)
	if err == nil {
		s.mu.Lock()
		m.creating = false
		err = s.refresh(ctx, m)
		s.mu.Unlock()
	}
	switch {
	case err == nil:
		return nil
	case im.move:
		return errors.Join(err, s.release(ctx, m, im.name))
	}
	return m.vc.unmake(ctx, m.moref, err)
}

// release takes vCD's mark off a VM that was to be moved into the cloud and
// could not be: nobody could import it again.
func (s *Server) release(ctx context.Context, m *vm, name string) error {
	after, end := past(ctx)
	defer end()
	obj, err := m.vc.vm(after, m.moref)
	if err != nil {
		return err
	}
	t, err := obj.Reconfigure(after, types.VirtualMachineConfigSpec{Name: name, ManagedBy: &types.ManagedByInfo{},
		ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: markKey, Value: ""}}})
	if err := await(after, t, err); err != nil && !gone(err) {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// clone makes m's VM a copy of another in vCenter.
func (s *Server) clone(ctx context.Context, m *vm, source string) error {
	s.mu.Lock()
	v, p := s.vdcs[m.vapp.vdc], s.profiles[m.profile]
	s.mu.Unlock()
	where := types.VirtualMachineRelocateSpec{Pool: &v.pool, Folder: &v.folder}
	if p != nil && len(p.datastores) > 0 {
		ds, known := m.vc.datastore(ctx, p.datastores[0])
		if !known {
			return fmt.Errorf("clone: no datastore %s", p.datastores[0])
		}
		where.Datastore = &ds
	}
	ref, err := m.vc.cloneVM(ctx, source, v.folder, marked(m.name, m.id), types.VirtualMachineCloneSpec{Location: where})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.moref = ref
	return nil
}

// newShell makes a vApp around what is being imported or composed.
func (c *call) newShell(doc *node, v *vdc, name string) (*vapp, error) {
	if !v.enabled {
		return nil, badRequest("The VDC %s is disabled.", v.name)
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	if c.s.vappNamed(v.id, name, nil) {
		return nil, refuse(http.StatusBadRequest, "DUPLICATE_NAME", "The VDC %q has a vApp named %q already.", v.name, name)
	}
	lease := c.s.orgs[v.org].lease
	a := &vapp{
		thing: thing{id: newID(), name: name, desc: raw(doc, "Description"), seq: c.s.next()}, vdc: v.id, owner: c.login.user.id, created: c.s.now(),
		lease: Lease{lease.DeploymentSeconds, lease.StorageSeconds}, startup: map[string]StartupItem{},
	}
	if c.provider() {
		a.owner = c.s.systemUser().id
	}
	if err := c.instantiate(a, child(doc, "InstantiationParams")); err != nil {
		return nil, err
	}
	c.s.renew(a)
	return a, nil
}

// instantiate applies the sections that may come with a new vApp.
func (c *call) instantiate(a *vapp, params *node) error {
	if d := child(params, "NetworkConfigSection"); d != nil {
		nets, err := c.s.readNetworks(a, d)
		if err != nil {
			return err
		}
		a.nets = nets
	}
	if d := child(params, "LeaseSettingsSection"); d != nil {
		lease, err := a.lease.read(d)
		if err != nil {
			return err
		}
		a.lease = c.s.orgOf(a).lease.cap(lease)
	}
	return nil
}

// begin puts a vApp that is being made into the inventory, unless its name was
// taken since it was checked.
func (s *Server) begin(a *vapp) error {
	if s.vappNamed(a.vdc, a.name, nil) {
		return refuse(http.StatusBadRequest, "DUPLICATE_NAME", "The VDC %q has a vApp named %q already.", s.vdcs[a.vdc].name, a.name)
	}
	s.vapps[a.id] = a
	for _, n := range a.nets {
		s.vappNets[n.id] = n
	}
	return nil
}

// join puts a VM into its vApp, once it is whole.
func (s *Server) join(m *vm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(m)
}

// enter is join with the mutex held.
func (s *Server) enter(m *vm) {
	m.vapp.vms = append(m.vapp.vms, m)
	s.vms[m.id] = m
}

// created is the answer of a call that makes a vApp in the background.
func (c *call) created(a *vapp) *answer {
	return &answer{status: http.StatusCreated, typ: mediaVCloud + "vApp", doc: c.vappNode(a), header: map[string]string{"Location": c.s.vappHref(a)}}
}

// vdcOfImport is the VDC that a body names.
func (c *call) vdcOfImport(doc *node) (*vdc, error) {
	v := c.s.vdcs[uuidIn(attr(child(doc, "Vdc"), "href"))]
	if v == nil {
		return nil, badRequest("The VDC %s does not exist.", attr(child(doc, "Vdc"), "href"))
	}
	return v, nil
}

// newVAppFrom imports a VM into a vApp of its own.
func (c *call) newVAppFrom(doc *node, name string, auto bool) (*vapp, *importing, error) {
	vc, err := c.theVimServer()
	if err != nil {
		return nil, nil, err
	}
	v, err := c.vdcOfImport(doc)
	if err != nil {
		return nil, nil, err
	}
	a, err := c.newShell(doc, v, name)
	if err != nil {
		return nil, nil, err
	}
	im, err := c.readImport(vc, doc, a)
	if err != nil {
		return nil, nil, err
	}
	a.auto = auto
	if err := c.s.begin(a); err != nil {
		return nil, nil, err
	}
	t := c.start("vdcImportVm", "Importing Virtual Application", vappOwner(a), func(ctx context.Context) error {
		err := c.s.bring(ctx, im)
		if err == nil {
			c.s.join(im.vm)
		}
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if a.status = stateResolved; err != nil {
			a.status = stateFailed
		}
		return err
	})
	t.coming = []coming{im.expect()}
	return a, im, nil
}

func (c *call) importAsVApp() (*answer, error) {
	doc, err := c.parse(nsExt, "ImportVmAsVAppParams")
	if err != nil {
		return nil, err
	}
	a, _, err := c.newVAppFrom(doc, attr(doc, "name"), false)
	if err != nil {
		return nil, err
	}
	return c.created(a), nil
}

// importVM imports a standalone VM, in a shell that nobody sees as a vApp.
func (c *call) importVM() (*answer, error) {
	doc, err := c.parse(nsExt, "ImportVmParams")
	if err != nil {
		return nil, err
	}
	name := []rune(or(attr(doc, "name"), value(doc, "VmName")))
	// As around every standalone VM: nobody may expect another name.
	a, im, err := c.newVAppFrom(doc, string(name[:min(len(name), 90)])+"-"+newID(), true)
	if err != nil {
		return nil, err
	}
	im.vm.desc = a.desc
	d := c.vmNode(im.vm)
	if tasks := c.s.tasksNode(a, nil); tasks != nil {
		if at := child(d, "Description"); at != nil {
			d.InsertChildAt(at.Index()+1, tasks)
		}
	}
	return &answer{status: http.StatusCreated, typ: mediaVCloud + "vm", doc: d, header: map[string]string{"Location": c.s.vmHref(im.vm)}}, nil
}

func (c *call) importIntoVApp() (*answer, error) {
	doc, err := c.parse(nsExt, "ImportVmIntoExistingVAppParams")
	if err != nil {
		return nil, err
	}
	vc, err := c.theVimServer()
	if err != nil {
		return nil, err
	}
	a := c.s.vapps[uuidIn(attr(child(doc, "VApp"), "href"))]
	if a == nil {
		return nil, badRequest("The vApp %s does not exist.", attr(child(doc, "VApp"), "href"))
	}
	if err := c.mayChange(a, nil, accessChange); err != nil {
		return nil, err
	}
	im, err := c.readImport(vc, doc, a)
	if err != nil {
		return nil, err
	}
	if c.s.vapps[a.id] != a {
		return nil, badRequest("The vApp %q does not exist any more.", a.name)
	}
	if err := c.mayChange(a, nil, accessChange); err != nil {
		return nil, err
	}
	t := c.start("vappImportVm", "Importing Virtual Machine into Virtual Application", vappOwner(a), func(ctx context.Context) error {
		if err := c.s.bring(ctx, im); err != nil {
			return err
		}
		c.s.join(im.vm)
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		a.adopt()
		return nil
	})
	t.coming = []coming{im.expect()}
	return c.accepted(t), nil
}
