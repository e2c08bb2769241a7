package vcenter

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// An origin is all that it takes to make one VM the way AddVMs does, with
// every choice made: the same origin makes the same VM again.
type origin struct {
	Spec               VMSpec
	Ref                string
	Home               string // [datastore] folder/name.vmx
	Folder, Pool, Host string // morefs
	MACs               []string
	Made               time.Time
}

// AddVMs puts many VMs into the inventory at once, without a task for each
// and without their files, which are made when somebody first looks for
// them. It returns the morefs in the order of specs, or adds none. Folders
// and resource pools are made as needed; both may be paths.
func (s *Server) AddVMs(specs []VMSpec) ([]string, error) {
	s.direct.Lock()
	defer s.direct.Unlock()
	b, err := s.newBatch()
	if err != nil {
		return nil, fmt.Errorf("add VMs: %w", err)
	}
	for i := range specs {
		o, err := b.origin(specs[i])
		if err == nil {
			err = b.add(o)
		}
		if err != nil {
			b.drop()
			return nil, fmt.Errorf("add VM %s: %w", specs[i].Name, err)
		}
	}
	refs := b.insert()
	b.count()
	for i := range specs {
		if err := s.loadImages(vmRef(refs[i]), &specs[i]); err != nil {
			return nil, fmt.Errorf("add VM %s: %w", specs[i].Name, err)
		}
	}
	return refs, nil
}

// loadImages copies in what disks are to hold that are made from an image:
// nobody promises that the image stays where it is.
func (s *Server) loadImages(ref types.ManagedObjectReference, v *VMSpec) error {
	if !slices.ContainsFunc(v.Disks, func(d DiskSpec) bool { return d.From != "" }) {
		return nil
	}
	vs, err := s.mustState(ref)
	if err != nil {
		return err
	}
	if err := s.touchVM(vs); err != nil {
		return err
	}
	for i, l := range vs.unmade.layers {
		if v.Disks[i].From == "" {
			continue
		}
		if err := copySparse(l.extentPath(), v.Disks[i].From); err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
	}
	return s.publish(s.newContext(), vs)
}

// A batch is VMs that are being added.
type batch struct {
	s     *Server
	ctx   *simulator.Context
	model *simulator.VirtualMachine // what vcsim makes of an empty VM
	names map[types.ManagedObjectReference]map[string]types.ManagedObjectReference
	homes map[dsPath]bool
	vms   []*directVM
}

// A directVM is a VM on its way into the inventory.
type directVM struct {
	*simulator.VirtualMachine
	origin *origin
	vs     *vmState
}

func (s *Server) newBatch() (*batch, error) {
	model, err := s.modelVM()
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return &batch{
		s: s, ctx: s.newContext(), model: model, homes: map[dsPath]bool{},
		names: map[types.ManagedObjectReference]map[string]types.ManagedObjectReference{},
	}, nil
}

// origin makes every choice that a spec leaves open.
func (b *batch) origin(v VMSpec) (*origin, error) {
	s := b.s
	if v.Name == "" {
		return nil, errors.New("no name")
	}
	folder, err := s.folder(b.ctx, v.Folder)
	if err != nil {
		return nil, err
	}
	pool, err := s.pool(b.ctx, v.ResourcePool)
	if err != nil {
		return nil, err
	}
	v.Datastore = cmp.Or(v.Datastore, s.cfg.Datastores[0].Name)
	if s.store.dirs[v.Datastore] == "" {
		return nil, fmt.Errorf("datastore %q: not found", v.Datastore)
	}
	v.GuestID = cmp.Or(v.GuestID, string(types.VirtualMachineGuestOsIdentifierOtherLinux64Guest))
	if !slices.Contains(simulator.GuestID, types.VirtualMachineGuestOsIdentifier(v.GuestID)) {
		return nil, fmt.Errorf("guest %q: unknown", v.GuestID)
	}
	dir := fileName(v.Name)
	home := b.freeHome(v.Datastore, dir)
	path := home.join(dir + ".vmx").String()
	v.UUID = cmp.Or(v.UUID, uuidOf("bios", s.cfg.InstanceUUID, path))
	v.InstanceUUID = cmp.Or(v.InstanceUUID, uuidOf("instance", s.cfg.InstanceUUID, path))
	v.Disks, v.NICs = slices.Clone(v.Disks), slices.Clone(v.NICs)
	o := &origin{
		Home: path, Folder: folder.Value, Pool: pool.Value,
		Host: s.inv.hosts[int(s.taskSeq.Add(1))%len(s.inv.hosts)].Value, Made: time.Now().UTC().Round(0),
	}
	for _, n := range v.NICs {
		mac := ""
		if n.MAC == "" {
			mac = s.newMAC()
		}
		o.MACs = append(o.MACs, mac)
	}
	o.Spec = v
	return o, nil
}

// freeHome is the first folder for a VM that no other one has.
func (b *batch) freeHome(datastore, name string) dsPath {
	for n := 0; ; n++ {
		p := dsPath{datastore, numbered(name)(n)}
		if b.homes[p] || b.s.store.unmadeAt(p) != nil || there(b.s.store.host(p)) {
			continue
		}
		b.homes[p] = true
		return p
	}
}

// add makes a VM's object and state, which nobody sees yet.
func (b *batch) add(o *origin) error {
	s, v := b.s, &o.Spec
	home, err := parseDS(o.Home)
	if err != nil {
		return err
	}
	d := &directVM{VirtualMachine: b.blank(o), origin: o}
	d.vs = newVMState(d.Self)
	d.vs.tracking, d.vs.tools = v.ChangeTracking, v.Tools
	if err := b.claimName(*d.Parent, d.Name, d.Self); err != nil {
		return err
	}
	devices, disks, err := b.devices(d, home)
	if err != nil {
		return err
	}
	d.vs.unmade = &unmade{ref: d.Self, home: home, dirs: []dsPath{home.dir()}}
	plan, err := s.planDisks(d.vs, home.dir(), d.Name, devices, disks)
	if err != nil {
		return err
	}
	b.vms = append(b.vms, d)
	for i, l := range plan.created {
		l.content = content{v.Disks[i].Fill, v.Disks[i].Seed}
		if dir := l.file.dir(); !slices.Contains(d.vs.unmade.dirs, dir) {
			d.vs.unmade.dirs = append(d.vs.unmade.dirs, dir)
		}
	}
	d.vs.unmade.layers = plan.created
	if err := plan.commit(); err != nil {
		return err
	}
	b.power(d)
	if err := b.furnish(d, home, devices); err != nil {
		return err
	}
	if !d.vs.on {
		return nil
	}
	return s.swapOn(b.ctx, d.vs, d.VirtualMachine)
}

// blank is a VM as vcsim makes them, with what the spec says but devices.
func (b *batch) blank(o *origin) *simulator.VirtualMachine {
	v := &o.Spec
	vm := new(simulator.VirtualMachine)
	*vm = *b.model
	vm.VirtualMachine = copied(b.model.VirtualMachine)
	vm.DataSets = map[string]*simulator.DataSet{}
	vm.Self = vmRef(o.Ref)
	if o.Ref == "" {
		vm.Self = types.ManagedObjectReference{}
		b.ctx.Map.NewEntity(vm)
		o.Ref = vm.Self.Value
	}
	vm.Parent = &types.ManagedObjectReference{Type: "Folder", Value: o.Folder}
	vm.ResourcePool = &types.ManagedObjectReference{Type: "ResourcePool", Value: o.Pool}
	vm.Runtime.Host = &types.ManagedObjectReference{Type: "HostSystem", Value: o.Host}
	vm.Name = escapeName(v.Name)
	home, _ := parseDS(o.Home)
	dir := home.dir().String()
	c := vm.Config
	c.Name, c.Uuid, c.InstanceUuid, c.GuestId, c.GuestFullName, c.Annotation = vm.Name, v.UUID, v.InstanceUUID, v.GuestID, v.GuestID, v.Annotation
	c.Version, c.Firmware = cmp.Or(v.HardwareVersion, c.Version), cmp.Or(v.Firmware, c.Firmware)
	c.Files = types.VirtualMachineFileInfo{VmPathName: o.Home, SnapshotDirectory: dir, SuspendDirectory: dir, LogDirectory: dir}
	c.Hardware.NumCPU, c.Hardware.MemoryMB = int32(cmp.Or(v.NumCPU, 1)), int32(cmp.Or(v.MemoryMB, 32))
	if v.CoresPerSocket > 0 {
		c.Hardware.NumCoresPerSocket = types.NewInt32(int32(v.CoresPerSocket))
	}
	c.CpuHotAddEnabled, c.MemoryHotAddEnabled = ifTrue(v.CPUHotAdd), ifTrue(v.MemoryHotAdd)
	c.ChangeTrackingEnabled = ifTrue(v.ChangeTracking)
	for _, k := range slices.Sorted(maps.Keys(v.ExtraConfig)) {
		c.ExtraConfig = append(c.ExtraConfig, &types.OptionValue{Key: k, Value: v.ExtraConfig[k]})
	}
	if v.Key != "" {
		c.KeyId = keyOf(v.Key)
	}
	if v.ManagedBy != "" {
		c.ManagedBy = &types.ManagedByInfo{ExtensionKey: v.ManagedBy, Type: v.ManagedType}
	}
	c.CreateDate, c.Modified, c.ChangeVersion = &o.Made, o.Made, strconv.FormatInt(o.Made.UnixNano(), 10)
	vm.Guest.GuestFamily = guestFamily(v.GuestID)
	vm.Guest.Net, vm.Network, vm.Datastore = nil, nil, nil
	summarize(vm)
	b.s.inner(vm, home)
	return vm
}

// claimName refuses a name that is taken in a folder.
func (b *batch) claimName(folder types.ManagedObjectReference, name string, ref types.ManagedObjectReference) error {
	taken := b.names[folder]
	if taken == nil {
		taken = map[string]types.ManagedObjectReference{}
		b.names[folder] = taken
		f, ok := b.s.model.Map().Get(folder).(*simulator.Folder)
		if !ok {
			return gone(folder)
		}
		var children []types.ManagedObjectReference
		b.ctx.WithLock(f, func() { children = slices.Clone(f.ChildEntity) })
		for _, c := range children {
			if e, ok := b.s.model.Map().Get(c).(mo.Entity); ok {
				b.ctx.WithLock(e, func() { taken[e.Entity().Name] = c })
			}
		}
	}
	if other, ok := taken[name]; ok {
		return refuse(&types.DuplicateName{Name: name, Object: other}, "the name %q already exists", name)
	}
	taken[name] = ref
	return nil
}

// devices are the VM's devices but the disks, and the specs of these.
func (b *batch) devices(d *directVM, home dsPath) ([]types.BaseVirtualDevice, []types.BaseVirtualDeviceConfigSpec, error) {
	spec := &types.VirtualMachineConfigSpec{}
	v := d.origin.Spec
	if err := b.s.specDisks(spec, v, home.dir()); err != nil {
		return nil, nil, err
	}
	specDrive(spec, v)
	v.NICs = slices.Clone(v.NICs)
	for i := range v.NICs {
		v.NICs[i].MAC = cmp.Or(v.NICs[i].MAC, d.origin.MACs[i])
	}
	if err := b.s.specNICs(spec, v); err != nil {
		return nil, nil, err
	}
	if v.TPM {
		tpm := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: newTPM()}
		if err := checkTPM(0, tpm, d.Config, false); err != nil {
			return nil, nil, err
		}
		spec.DeviceChange = append(spec.DeviceChange, tpm)
	}
	list := object.VirtualDeviceList(d.Config.Hardware.Device)
	newKeys(list, spec.DeviceChange)
	var disks []types.BaseVirtualDeviceConfigSpec
	nic := 0
	for _, c := range spec.DeviceChange {
		device := c.GetVirtualDeviceConfigSpec().Device
		if isDisk(device) {
			if b, ok := device.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				b.KeyId = d.Config.KeyId
			}
			disks = append(disks, c)
			continue
		}
		label := list.Name(device)
		summary := label
		if card, ok := device.(types.BaseVirtualEthernetCard); ok {
			summary = b.connect(d, card.GetVirtualEthernetCard(), d.origin.MACs[nic] != "")
			nic++
		}
		device.GetVirtualDevice().DeviceInfo = &types.Description{Label: label, Summary: summary}
		list = append(list, device)
	}
	return list, disks, nil
}

// connect completes a network adapter and returns its description.
func (b *batch) connect(d *directVM, c *types.VirtualEthernetCard, assigned bool) string {
	if assigned {
		c.AddressType = string(types.VirtualEthernetCardMacTypeAssigned)
	}
	var net types.ManagedObjectReference
	name, summary := "", ""
	switch x := c.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		name, summary = x.DeviceName, x.DeviceName
		net = b.s.standardNetwork(x.DeviceName)
		x.Network = &net
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		summary = "DVSwitch: " + x.Port.SwitchUuid
		net = types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: x.Port.PortgroupKey}
	}
	d.Network = append(d.Network, net)
	d.Summary.Config.NumEthernetCards++
	d.Guest.Net = append(d.Guest.Net, types.GuestNicInfo{Network: name, MacAddress: c.MacAddress, Connected: true, DeviceConfigId: c.Key})
	c.ResourceAllocation = &types.VirtualEthernetCardResourceAllocation{
		Reservation: types.NewInt64(0), Limit: types.NewInt64(-1), Share: types.SharesInfo{Shares: 50, Level: types.SharesLevelNormal},
	}
	c.Connectable.Connected = d.origin.Spec.PowerOn && c.Connectable.StartConnected
	return summary
}

// standardNetwork is the network of that name that is no port group.
func (s *Server) standardNetwork(name string) types.ManagedObjectReference {
	for _, ref := range s.inv.dc.Network {
		if n, ok := s.model.Map().Get(ref).(*mo.Network); ok && n.Name == name {
			return ref
		}
	}
	return types.ManagedObjectReference{}
}

// power gives a VM the power state that it is to have from the beginning.
func (b *batch) power(d *directVM) {
	state := types.VirtualMachinePowerStatePoweredOff
	switch {
	case d.origin.Spec.Suspended:
		state = types.VirtualMachinePowerStateSuspended
	case d.origin.Spec.PowerOn:
		state = types.VirtualMachinePowerStatePoweredOn
		d.Summary.Runtime.BootTime = &d.origin.Made
	}
	d.Runtime.PowerState, d.Summary.Runtime.PowerState = state, state
	d.vs.on = state != types.VirtualMachinePowerStatePoweredOff
	if !d.vs.on {
		return
	}
	b.s.turn(d.vs)
	for key, disk := range d.vs.disks {
		if disk.tracker != nil {
			disk.tracker.epoch = epochOf(uuidOf("epoch", b.s.cfg.InstanceUUID, d.origin.Ref, strconv.Itoa(int(key)), strconv.FormatInt(d.origin.Made.UnixNano(), 10)))
		}
	}
}

// furnish shows the VM's disks and files.
func (b *batch) furnish(d *directVM, home dsPath, devices []types.BaseVirtualDevice) error {
	for _, key := range d.vs.diskKeys() {
		disk := d.vs.disks[key]
		devices = append(devices, b.s.render(disk.device, disk.top, disk.mode, ""))
	}
	d.Config.Hardware.Device = devices
	d.vs.unmade.vmx = int64(len(encodeVMX(d.Config, home.dir())))
	view := b.s.look(d.vs, home)
	for _, u := range view.storage {
		d.Datastore = append(d.Datastore, u.Datastore)
	}
	b.ctx.WithLock(d.VirtualMachine, func() { b.s.show(b.ctx, d.VirtualMachine, view) })
	return nil
}

// drop undoes what add did.
func (b *batch) drop() {
	for _, d := range b.vms {
		b.s.swapOff(d.vs)
		for _, l := range d.vs.unmade.layers {
			_ = b.s.store.remove(l)
		}
	}
}

// insert puts the VMs into the inventory.
func (b *batch) insert() []string {
	s, reg := b.s, b.ctx.Map
	refs := make([]string, 0, len(b.vms))
	lists := map[types.ManagedObjectReference][]types.ManagedObjectReference{}
	s.mu.Lock()
	for _, d := range b.vms {
		s.vms[d.Self] = d.vs
	}
	s.mu.Unlock()
	s.inv.mu.Lock()
	for _, d := range b.vms {
		s.inv.names[d.origin.Spec.Name] = d.Self.Value
	}
	s.inv.mu.Unlock()
	for _, d := range b.vms {
		refs = append(refs, d.Self.Value)
		if !d.vs.unmade.made.Load() {
			s.store.later(d.vs.unmade)
		}
		for _, at := range append([]types.ManagedObjectReference{*d.Parent, *d.ResourcePool, *d.Runtime.Host}, append(d.Datastore, d.Network...)...) {
			lists[at] = append(lists[at], d.Self)
		}
	}
	for at, vms := range lists {
		s.listVMs(b.ctx, at, vms)
	}
	for _, d := range b.vms {
		reg.Put(d.VirtualMachine)
		d.vs.origin.Store(d.origin)
	}
	return refs
}

// count has the datastores know what the VMs' disks take.
func (b *batch) count() {
	var layers []*layer
	for _, d := range b.vms {
		for _, l := range d.vs.unmade.layers {
			if l.takes() > 0 {
				layers = append(layers, l)
			}
		}
	}
	b.s.account(b.ctx, layers...)
}

// listVMs adds VMs to what holds them.
func (s *Server) listVMs(ctx *simulator.Context, at types.ManagedObjectReference, vms []types.ManagedObjectReference) {
	s.space.Lock()
	defer s.space.Unlock()
	obj := s.model.Map().Get(at)
	var list *[]types.ManagedObjectReference
	name := "vm"
	switch o := obj.(type) {
	case *simulator.Folder:
		list, name = &o.ChildEntity, "childEntity"
	case *simulator.ResourcePool:
		list = &o.Vm
	case *simulator.HostSystem:
		list = &o.Vm
	case *simulator.Datastore:
		list = &o.Vm
	default:
		return // vcsim keeps no list of a network's VMs
	}
	ctx.WithLock(obj, func() {
		all := append(slices.Clone(*list), vms...)
		ctx.Update(obj, []types.PropertyChange{{Name: name, Val: all}})
	})
}
