package director

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// A blank is a VM that is made of nothing but a Vm document.
type blank struct {
	vm      *vm
	doc     *node
	plan    *vmPlan
	powerOn bool
}

// occupyBlanks keeps room for the VMs that a task makes.
func occupyBlanks(t *task, blanks []blank) {
	for _, b := range blanks {
		t.coming = append(t.coming, b.expect())
	}
}

// readBlanks reads the CreateItems of a body.
func (c *call) readBlanks(a *vapp, doc *node) ([]blank, error) {
	var out []blank
	for _, it := range childrenOf(doc, "CreateItem") {
		b, err := c.readBlank(a, it)
		if err != nil {
			return nil, err
		}
		for _, other := range out {
			if other.vm.name == b.vm.name {
				return nil, refuse(400, "DUPLICATE_NAME", "Two VMs of the request are named %q.", b.vm.name)
			}
		}
		b.powerOn = truth(attr(doc, "powerOn"))
		out = append(out, b)
	}
	return out, nil
}

// readBlank checks a VM that is to be made. It is not in the inventory yet.
func (c *call) readBlank(a *vapp, doc *node) (blank, error) {
	name := attr(doc, "name")
	m := &vm{
		thing: thing{id: newID(), name: name, desc: raw(doc, "Description"), seq: c.s.next()}, vapp: a, vc: c.s.vdcs[a.vdc].vc,
		scopedID: or(value(doc, "VAppScopedLocalId"), newID()), created: time.Now(), creating: true, diskProfiles: map[int32]string{}, noTools: true,
		computer: computerName(name),
	}
	b := blank{vm: m, doc: doc}
	if err := checkVMName(m, name); err != nil {
		return b, err
	}
	if p := c.s.profileNamed(c.s.vdcs[a.vdc], ""); p != nil {
		m.profile = p.id
	} else {
		return b, badRequest("The VDC %s has no storage profile.", c.s.vdcs[a.vdc].name)
	}
	spec := child(doc, "VmSpecSection")
	switch {
	case spec == nil:
		return b, badRequest("A VM without a template needs a VmSpecSection.")
	case value(spec, "OsType") == "" || value(spec, "HardwareVersion") == "":
		return b, badRequest("A VM without a template needs an operating system and a hardware version.")
	}
	// A new VM has all that its document says, whether marked or not.
	spec.CreateAttr("Modified", "true")
	p, err := c.readVM(m, doc)
	if err != nil {
		return b, err
	}
	if p.spec.MemoryMB == 0 {
		return b, badRequest("A VM without a template needs memory, of its own or of its sizing policy.")
	}
	b.plan = p
	if ref := child(doc, "Media"); ref != nil && attr(ref, "href") != "" {
		if p.media, err = c.bootImage(m, ref); err != nil {
			return b, err
		}
	}
	return b, nil
}

// makeBlanks makes VMs in vCenter and puts them into their vApp. It runs in a
// task.
func (c *call) makeBlanks(ctx context.Context, a *vapp, blanks []blank) error {
	for _, b := range blanks {
		if err := c.s.makeBlank(ctx, b); err != nil {
			return err
		}
		if !b.powerOn {
			continue
		}
		if err := c.s.turnOn(ctx, a, []*vm{b.vm}, false); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) makeBlank(ctx context.Context, b blank) error {
	m, p := b.vm, b.plan
	s.mu.Lock()
	v := s.vdcs[m.vapp.vdc]
	store := ""
	if pr := s.profiles[or(p.profile, m.profile)]; pr != nil {
		store = pr.storeBesides("")
	}
	s.mu.Unlock()
	if err := m.vc.createVM(ctx, v, m, store, p.spec); err != nil {
		return fmt.Errorf("VM %s: create: %w", m.name, err)
	}
	s.join(m)
	s.mu.Lock()
	m.creating = false
	err := s.refresh(ctx, m)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	// What is left is vCD's own, and the devices that need the others' keys.
	p.touched, p.version = false, ""
	return s.reconfigure(ctx, m, b.doc, p)
}

// createVM makes a VM with an empty CD drive, as vCD does, and notes its moref.
func (vc *vcenter) createVM(ctx context.Context, v *vdc, m *vm, store string, spec types.VirtualMachineConfigSpec) error {
	client, err := vc.connect(ctx)
	if err != nil {
		return err
	}
	if store == "" {
		if store, err = vc.anyStore(ctx); err != nil {
			return err
		}
	}
	spec.Name = marked(m.name, m.id)
	spec.Files = &types.VirtualMachineFileInfo{VmPathName: "[" + store + "]"}
	spec.ManagedBy = &types.ManagedByInfo{ExtensionKey: extensionKey, Type: "VirtualMachine"}
	spec.ExtraConfig = append(spec.ExtraConfig, &types.OptionValue{Key: markKey, Value: m.id})
	if !hasCDROM(spec.DeviceChange) {
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd,
			Device: &types.VirtualCdrom{VirtualDevice: types.VirtualDevice{Key: 3002, ControllerKey: 201, UnitNumber: types.NewInt32(0),
				Backing:     &types.VirtualCdromRemoteAtapiBackingInfo{},
				Connectable: &types.VirtualDeviceConnectInfo{AllowGuestControl: true}}}})
	}
	t, err := object.NewFolder(client, v.folder).CreateVM(ctx, spec, object.NewResourcePool(client, v.pool), nil)
	if err != nil {
		return err
	}
	info, err := t.WaitForResult(ctx, nil)
	if err != nil {
		return err
	}
	ref, is := info.Result.(types.ManagedObjectReference)
	if !is {
		return fmt.Errorf("the task has no VM for a result")
	}
	m.moref = ref.Value
	return nil
}

func hasCDROM(changes []types.BaseVirtualDeviceConfigSpec) bool {
	return slices.ContainsFunc(changes, func(b types.BaseVirtualDeviceConfigSpec) bool {
		_, is := b.GetVirtualDeviceConfigSpec().Device.(*types.VirtualCdrom)
		return is
	})
}

// anyStore is the vCenter's first datastore by name.
func (vc *vcenter) anyStore(ctx context.Context) (string, error) {
	if err := vc.learn(ctx); err != nil {
		return "", err
	}
	vc.mu.Lock()
	defer vc.mu.Unlock()
	names := keys(vc.stores)
	if len(names) == 0 {
		return "", fmt.Errorf("vCenter %s has no datastore", vc.name)
	}
	return names[0], nil
}

// createVM makes a standalone VM of nothing, in a shell that nobody sees as a
// vApp. The task's owner is the shell (POST-CreateVm).
func (c *call) createVM() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CreateVmParams")
	if err != nil {
		return nil, err
	}
	it := child(doc, "CreateVm")
	if n := attr(doc, "name"); n != "" && attr(it, "name") == "" {
		it.CreateAttr("name", n)
	}
	if media := child(doc, "Media"); media != nil && child(it, "Media") == nil {
		add(it, media.Copy())
	}
	if child(it, "Description") == nil && child(doc, "Description") != nil {
		it.InsertChildAt(0, text("Description", raw(doc, "Description")))
	}
	a, err := c.standalone(v, attr(it, "name"))
	if err != nil {
		return nil, err
	}
	b, err := c.readBlank(a, it)
	if err != nil {
		return nil, err
	}
	b.powerOn = truth(attr(doc, "powerOn"))
	if err := c.s.begin(a); err != nil {
		return nil, err
	}
	t := c.start("vdcCreateVm", "Creating Virtual Machine", vappOwner(a), func(ctx context.Context) error {
		return c.s.settle(a, c.makeBlanks(ctx, a, []blank{b}))
	})
	occupyBlanks(t, []blank{b})
	return c.accepted(t), nil
}

// standalone makes the shell of a standalone VM.
func (c *call) standalone(v *vdc, name string) (*vapp, error) {
	if err := checkVMName(&vm{vapp: &vapp{}}, name); err != nil {
		return nil, err
	}
	id := newID()
	a, err := c.newShell(el("VApp"), v, string([]rune(name)[:min(len([]rune(name)), 90)])+"-"+id)
	if err != nil {
		return nil, err
	}
	a.auto = true
	if !c.provider() {
		a.owner = c.login.user.id
	}
	return a, nil
}

// settle ends the making of a standalone VM.
func (s *Server) settle(a *vapp, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.status = stateResolved; err != nil {
		a.status = stateFailed
	}
	return err
}

// shellNets are the networks that the shell of a standalone VM needs for a
// NetworkConnectionSection, which names networks of the organization; nil when
// it has them all.
func (c *call) shellNets(a *vapp, d *node) ([]*vappNet, error) {
	if !a.auto || a.discovered {
		return nil, nil
	}
	out := slices.Clone(a.nets)
	for _, nc := range childrenOf(d, "NetworkConnection") {
		name := attr(nc, "network")
		if name == noNetwork || slices.ContainsFunc(out, func(n *vappNet) bool { return n.name == name }) {
			continue
		}
		for _, n := range c.s.netsOf(c.s.vdcs[a.vdc]) {
			if n.name != name {
				continue
			}
			one := add(el("NetworkConfigSection"), add(el("NetworkConfig", "networkName", name), add(el("Configuration"),
				el("ParentNetwork", "href", c.s.href("/api/network/"+n.id), "name", n.name), text("FenceMode", "bridged"))))
			nets, err := c.s.readNetworks(a, one)
			if err != nil {
				return nil, err
			}
			out = append(out, nets...)
			break
		}
	}
	if len(out) == len(a.nets) {
		return nil, nil
	}
	return out, nil
}

// A vmChange is a ReconfigureItem of a recomposition.
type vmChange struct {
	vm   *vm
	doc  *node
	plan *vmPlan
}

// readReconfigureItems reads the VMs of a vApp that a recomposition changes.
func (c *call) readReconfigureItems(a *vapp, doc *node) ([]vmChange, error) {
	var out []vmChange
	for _, it := range childrenOf(doc, "ReconfigureItem") {
		m := c.s.vms[uuidIn(attr(it, "href"))]
		if m == nil || m.vapp != a {
			return nil, badRequest("The VM %s is not in vApp %q.", attr(it, "href"), a.name)
		}
		p, err := c.planVM(m, it)
		if err != nil {
			return nil, err
		}
		out = append(out, vmChange{m, it, p})
	}
	return out, nil
}

func (s *Server) reconfigureAll(ctx context.Context, changes []vmChange) error {
	for _, ch := range changes {
		if err := s.reconfigure(ctx, ch.vm, ch.doc, ch.plan); err != nil {
			return err
		}
	}
	return nil
}
