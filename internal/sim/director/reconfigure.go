package director

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// reconfigureVM takes any of a VM's writable parts at once.
func (c *call) reconfigureVM() (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "Vm")
	if err != nil {
		return nil, err
	}
	if err := c.refresh(m); err != nil {
		return nil, err
	}
	if m.facts == nil {
		return nil, invalidState("The VM %q is not available.", m.name)
	}
	if err := c.mayChange(m.vapp, m, accessChange); err != nil {
		return nil, err
	}
	plan, err := c.readVM(m, doc)
	if err != nil {
		return nil, err
	}
	return c.accepted(c.start("vappUpdateVm", "Updating Virtual Machine", vmOwner(m), func(ctx context.Context) error {
		return c.s.reconfigure(ctx, m, doc, plan)
	})), nil
}

// A vmPlan is what a reconfiguration does.
type vmPlan struct {
	cards    *cardChange
	growMB   int64 // of the disks
	spec     types.VirtualMachineConfigSpec
	touched  bool // spec says something
	profile  string
	policy   string
	profiles map[int32]string
}

// readVM checks a Vm document against a VM.
func (c *call) readVM(m *vm, doc *node) (*vmPlan, error) {
	p := &vmPlan{}
	if d := child(doc, "NetworkConnectionSection"); d != nil {
		ch, err := c.readConnections(m, d)
		if err != nil {
			return nil, err
		}
		p.cards = ch
	}
	if d := child(doc, "GuestCustomizationSection"); d != nil {
		if err := checkComputer(value(d, "ComputerName")); err != nil {
			return nil, err
		}
	}
	if d := child(doc, "VmSpecSection"); d != nil && truth(attr(d, "Modified")) {
		if err := c.readSpec(m, d, p); err != nil {
			return nil, err
		}
	}
	if d := child(doc, "OperatingSystemSection"); d != nil && attr(d, "osType") != "" {
		p.set(func(s *types.VirtualMachineConfigSpec) { s.GuestId = attr(d, "osType") })
	}
	if d := child(doc, "VirtualHardwareSection"); d != nil {
		if err := readHardware(m, d, p); err != nil {
			return nil, err
		}
	}
	if d := child(doc, "VmCapabilities"); d != nil {
		p.capabilities(d)
	}
	if d := child(doc, "StorageProfile"); d != nil {
		pr := c.s.profiles[uuidIn(attr(d, "href"))]
		if pr == nil || pr.vdc != m.vapp.vdc {
			return nil, badRequest("The storage profile %s does not exist in the VDC.", attr(d, "href"))
		}
		p.profile = pr.id
	}
	if d := child(child(doc, "ComputePolicy"), "VmSizingPolicy"); d != nil {
		pol := c.s.policies[or(uuidIn(attr(d, "id")), uuidIn(attr(d, "href")))]
		if pol == nil || pol.vdc != m.vapp.vdc {
			return nil, badRequest("The compute policy %s does not exist in the VDC.", or(attr(d, "id"), attr(d, "href")))
		}
		p.policy = pol.id
	}
	return p, c.checkGrowth(m, p)
}

// checkGrowth refuses disks that the storage profile has no room for.
func (c *call) checkGrowth(m *vm, p *vmPlan) error {
	more := p.growMB
	if p.profile != "" && p.profile != m.profile {
		more += m.facts.diskMB()
	}
	if err := c.s.checkStoredQuota(m.vapp, 0, p.growMB); err != nil {
		return err
	}
	if p.cards != nil {
		if err := c.s.checkNICQuota(c.s.vdcs[m.vapp.vdc], len(p.cards.nics)-len(m.nics)); err != nil {
			return err
		}
	}
	return c.s.checkStorage(c.s.profiles[or(p.profile, m.profile)], more)
}

func (p *vmPlan) set(change func(*types.VirtualMachineConfigSpec)) {
	change(&p.spec)
	p.touched = true
}

func (p *vmPlan) capabilities(d *node) {
	if v := value(d, "MemoryHotAddEnabled"); v != "" {
		p.set(func(s *types.VirtualMachineConfigSpec) { s.MemoryHotAddEnabled = types.NewBool(truth(v)) })
	}
	if v := value(d, "CpuHotAddEnabled"); v != "" {
		p.set(func(s *types.VirtualMachineConfigSpec) { s.CpuHotAddEnabled = types.NewBool(truth(v)) })
	}
}

// readSpec reads a VmSpecSection.
func (c *call) readSpec(m *vm, d *node, p *vmPlan) error {
	if v := value(d, "OsType"); v != "" && v != m.facts.config.GuestId {
		p.set(func(s *types.VirtualMachineConfigSpec) { s.GuestId = v })
	}
	if v := atoi(value(d, "NumCpus")); v > 0 {
		p.set(func(s *types.VirtualMachineConfigSpec) { s.NumCPUs = int32(v) })
	}
	if v := atoi(value(d, "NumCoresPerSocket")); v > 0 {
		if n := atoi(value(d, "NumCpus")); n > 0 && n%v != 0 {
			return badRequest("%d CPUs cannot be divided by %d cores per socket.", n, v)
		}
		p.set(func(s *types.VirtualMachineConfigSpec) { s.NumCoresPerSocket = types.NewInt32(int32(v)) })
	}
	if v := atoi(value(child(d, "MemoryResourceMb"), "Configured")); v > 0 {
		p.set(func(s *types.VirtualMachineConfigSpec) { s.MemoryMB = int64(v) })
	}
	m.toolsSync = truth(value(d, "TimeSyncWithHost"))
	disks := child(d, "DiskSection")
	if disks == nil {
		return nil
	}
	p.profiles = map[int32]string{}
	var wishes []diskWish
	for _, ds := range childrenOf(disks, "DiskSettings") {
		w := diskWish{id: value(ds, "DiskId"), size: int64(atoi(value(ds, "SizeMb"))) << 20, bus: atoi(value(ds, "BusNumber")),
			unit: atoi(value(ds, "UnitNumber")), adapter: value(ds, "AdapterType"), thin: truth(value(ds, "ThinProvisioned"))}
		if sp := child(ds, "StorageProfile"); sp != nil && truth(value(ds, "overrideVmDefault")) {
			pr := c.s.profiles[uuidIn(attr(sp, "href"))]
			if pr == nil || pr.vdc != m.vapp.vdc {
				return badRequest("The storage profile %s does not exist in the VDC.", attr(sp, "href"))
			}
			p.profiles[int32(atoi(w.id))] = pr.id
		}
		wishes = append(wishes, w)
	}
	return p.disks(m, wishes)
}

// A diskWish is a disk as a client wants it. Without an id it is new.
type diskWish struct {
	id        string
	size      int64 // bytes
	bus, unit int
	adapter   string // as in VmSpecSection; "" for the first SCSI controller
	thin      bool
}

// disks turns wishes into device changes: what is not wished for goes.
func (p *vmPlan) disks(m *vm, wishes []diskWish) error {
	have, kept := map[string]*types.VirtualDisk{}, map[string]bool{}
	for _, d := range m.facts.disks() {
		have[num(d.Key)] = d
	}
	var changes []types.BaseVirtualDeviceConfigSpec
	for i, w := range wishes {
		d := have[w.id]
		switch {
		case d == nil && w.id != "" && atoi(w.id) >= 2000 && atoi(w.id) < 70000:
			return badRequest("The disk %s does not exist in VM %q.", w.id, m.name)
		case d == nil:
			ctl, err := m.controller(w)
			if err != nil {
				return err
			}
			unit := int32(w.unit)
			p.growMB += w.size >> 20
			changes = append(changes, &types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationAdd, FileOperation: types.VirtualDeviceConfigSpecFileOperationCreate,
				Device: &types.VirtualDisk{
					VirtualDevice: types.VirtualDevice{Key: int32(-200 - i), ControllerKey: ctl, UnitNumber: &unit,
						Backing: &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent", ThinProvisioned: types.NewBool(true),
							VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[" + m.facts.homeName + "]"}}},
					CapacityInKB: w.size >> 10, CapacityInBytes: w.size}})
		case w.size < capacity(d):
			return badRequest("The disk %s of VM %q cannot shrink.", w.id, m.name)
		case w.size > capacity(d):
			kept[w.id] = true
			p.growMB += (w.size - capacity(d)) >> 20
			larger := *d
			larger.CapacityInKB, larger.CapacityInBytes = w.size>>10, w.size
			changes = append(changes, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: &larger})
		default:
			kept[w.id] = true
		}
	}
	for id, d := range have {
		if !kept[id] {
			changes = append(changes, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove,
				FileOperation: types.VirtualDeviceConfigSpecFileOperationDestroy, Device: d})
		}
	}
	if len(changes) > 0 && m.facts.snapshots > 0 {
		return badRequest("The disks of VM %q cannot be changed: it has snapshots.", m.name)
	}
	if len(changes) > 0 {
		p.set(func(s *types.VirtualMachineConfigSpec) { s.DeviceChange = append(s.DeviceChange, changes...) })
	}
	return nil
}

// controller is the device key of the controller for a new disk.
func (m *vm) controller(w diskWish) (int32, error) {
	for _, b := range m.facts.buses() {
		if w.adapter == "" && b.kind == 6 || adapterTypes[b.subType] == w.adapter && b.number == w.bus {
			return b.key, nil
		}
	}
	return 0, badRequest("The VM %q has no controller of type %s with bus number %d.", m.name, w.adapter, w.bus)
}

// readHardware reads CPU, memory and disks of a VirtualHardwareSection.
func readHardware(m *vm, d *node, p *vmPlan) error {
	var wishes []diskWish
	for _, it := range childrenOf(d, "Item") {
		q := atoi(value(it, "VirtualQuantity"))
		switch value(it, "ResourceType") {
		case "3":
			if q < 1 {
				return badRequest("The number of CPUs must be positive.")
			}
			p.set(func(s *types.VirtualMachineConfigSpec) { s.NumCPUs = int32(q) })
			if cores := atoi(value(it, "CoresPerSocket")); cores > 0 {
				p.spec.NumCoresPerSocket = types.NewInt32(int32(cores))
			}
		case "4":
			if q < 1 {
				return badRequest("The memory must be positive.")
			}
			p.set(func(s *types.VirtualMachineConfigSpec) { s.MemoryMB = int64(q) })
		case "17":
			size := int64(atoi(attr(child(it, "HostResource"), "capacity"))) << 20
			w := diskWish{id: value(it, "InstanceID"), size: size, unit: atoi(value(it, "AddressOnParent"))}
			if size == 0 {
				w.size = int64(q)
			}
			if !strings.HasPrefix(w.id, "2") && !m.hasDisk(w.id) {
				w.id = ""
			}
			wishes = append(wishes, w)
		}
	}
	return p.disks(m, wishes)
}

func (m *vm) hasDisk(id string) bool {
	for _, d := range m.facts.disks() {
		if num(d.Key) == id {
			return true
		}
	}
	return false
}

// reconfigure applies a plan, in vCenter first.
func (s *Server) reconfigure(ctx context.Context, m *vm, doc *node, p *vmPlan) error {
	s.mu.Lock()
	fresh := m.vapp.discovered
	s.mu.Unlock()
	if fresh {
		if err := s.claim(ctx, m, false); err != nil {
			return err
		}
	}
	if p.touched {
		obj, err := m.vc.vm(ctx, m.moref)
		if err != nil {
			return err
		}
		t, err := obj.Reconfigure(ctx, p.spec)
		if err := await(ctx, t, err); err != nil {
			return fmt.Errorf("VM %s: %w", m.name, err)
		}
	}
	if p.cards != nil {
		if err := s.connect(ctx, m, p.cards); err != nil {
			return err
		}
	}
	if err := s.renameVM(ctx, m, attr(doc, "name"), child(doc, "Description")); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := child(doc, "GuestCustomizationSection"); d != nil {
		m.setGuest(d)
	}
	if d := child(doc, "BootOptions"); d != nil {
		if v := value(d, "BootDelay"); v != "" {
			m.bootDelay = atoi(v)
		}
		if v := or(value(d, "EnterBIOSSetup"), value(d, "EnterBiosSetup")); v != "" {
			m.enterBIOS = truth(v)
		}
	}
	m.profile, m.policy = or(p.profile, m.profile), or(p.policy, m.policy)
	if p.profiles != nil {
		m.diskProfiles = p.profiles
	}
	if n := attr(doc, "needsCustomization"); n != "" {
		m.customize = truth(n)
	}
	m.vapp.adopt()
	return s.refresh(ctx, m)
}

// putOS sets the guest system.
func (c *call) putOS() (*answer, error) {
	return c.putPart(nsOVF, "OperatingSystemSection", func(d *node, p *vmPlan) {
		p.set(func(s *types.VirtualMachineConfigSpec) { s.GuestId = attr(d, "osType") })
	})
}

func (c *call) putCapabilities() (*answer, error) {
	return c.putPart(nsVCloud, "VmCapabilities", func(d *node, p *vmPlan) { p.capabilities(d) })
}

// putPart changes one part of a VM in vCenter.
func (c *call) putPart(ns, root string, plan func(*node, *vmPlan)) (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	d, err := c.parse(ns, root)
	if err != nil {
		return nil, err
	}
	p := &vmPlan{}
	plan(d, p)
	doc := el("Vm", "name", m.name)
	return c.accepted(c.start("vappUpdateVm", "Updating Virtual Machine", vmOwner(m), func(ctx context.Context) error {
		return c.s.reconfigure(ctx, m, doc, p)
	})), nil
}
