package vcenter

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// A diskPlan is what a reconfiguration does to a VM's disks. Making it
// checks everything and creates new files; carrying it out cannot be
// refused any more.
type diskPlan struct {
	s       *Server
	vs      *vmState
	home    dsPath // folder for files without a name
	name    string // of the VM
	devices []types.BaseVirtualDevice
	frozen  bool // snapshots exist
	version int  // of the virtual hardware

	next    map[int32]*vmDisk
	created []*layer
	destroy []*layer
	grow    map[*layer]int64

	profiles map[int32][]types.BaseVirtualMachineProfileSpec
}

func invalidDevice(index int, format string, args ...any) error {
	return refuse(&types.InvalidDeviceSpec{DeviceIndex: int32(index)}, "device change %d: %s", index, fmt.Sprintf(format, args...))
}

func snapshotsInTheWay(index int, what string) error {
	return refuse(&types.GenericVmConfigFault{Reason: what + " while snapshots exist"},
		"device change %d: %s while snapshots exist", index, what)
}

// planDisks works out the disk changes among specs. devices are the VM's
// devices as they will be apart from the disks.
func (s *Server) planDisks(vs *vmState, home dsPath, name string, devices []types.BaseVirtualDevice, specs []types.BaseVirtualDeviceConfigSpec) (*diskPlan, error) {
	version := s.hardwareOf(s.newContext(), vs.ref)
	vs.io.RLock()
	p := &diskPlan{
		version: version,
		s:       s, vs: vs, home: home, name: shortened(name), devices: withoutDisks(devices), frozen: len(vs.snaps) > 0 || vs.pending,
		next: maps.Clone(vs.disks), grow: map[*layer]int64{},
		profiles: map[int32][]types.BaseVirtualMachineProfileSpec{},
	}
	vs.io.RUnlock()
	for i, b := range specs {
		spec := b.GetVirtualDeviceConfigSpec()
		disk, ok := spec.Device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		var err error
		switch spec.Operation {
		case types.VirtualDeviceConfigSpecOperationAdd:
			fresh := copyDisk(disk)
			err = p.add(i, fresh, spec.FileOperation)
			p.profiles[fresh.Key] = spec.Profile
		case types.VirtualDeviceConfigSpecOperationRemove:
			err = p.remove(i, disk.Key, spec.FileOperation == types.VirtualDeviceConfigSpecFileOperationDestroy)
		case types.VirtualDeviceConfigSpecOperationEdit:
			err = p.edit(i, disk)
			p.profiles[disk.Key] = spec.Profile
		default:
			err = invalidDevice(i, "operation %q", spec.Operation)
		}
		if err != nil {
			p.undo()
			return nil, err
		}
	}
	return p, nil
}

func (p *diskPlan) undo() {
	for _, l := range slices.Backward(p.created) {
		_ = p.s.store.remove(l)
	}
}

func (p *diskPlan) add(index int, disk *types.VirtualDisk, op types.VirtualDeviceConfigSpecFileOperation) error {
	if raw, ok := disk.Backing.(*rawBacking); ok {
		return p.addRaw(index, disk, raw, op)
	}
	b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok {
		return refuse(&types.DeviceUnsupportedForVmPlatform{InvalidDeviceSpec: types.InvalidDeviceSpec{DeviceIndex: int32(index)}},
			"device change %d: backing %T", index, disk.Backing)
	}
	backing := *b
	fillDefaults(&backing)
	disk.Backing = &backing
	if err := p.place(index, disk); err != nil {
		return err
	}
	mode := backing.DiskMode
	if mode == "" {
		mode = string(types.VirtualDiskModePersistent)
	}
	var l *layer
	var err error
	if op == "" {
		l, err = p.existing(index, disk, &backing)
	} else {
		l, err = p.fresh(index, disk, &backing, op)
	}
	if err != nil {
		return err
	}
	p.next[disk.Key] = &vmDisk{key: disk.Key, device: disk, top: l, mode: mode}
	return nil
}

// place checks the slot and settles the key.
func (p *diskPlan) place(index int, disk *types.VirtualDisk) error {
	c := findDevice(p.devices, disk.ControllerKey)
	if c == nil {
		return invalidDevice(index, "controller %d: not found", disk.ControllerKey)
	}
	rule, ok := slots(c)
	if !ok {
		return invalidDevice(index, "controller %d: takes no disks", disk.ControllerKey)
	}
	busy := func(unit int32) bool {
		if unit == rule.reserved {
			return true
		}
		for _, d := range p.devices {
			v := d.GetVirtualDevice()
			if v.ControllerKey == disk.ControllerKey && v.UnitNumber != nil && *v.UnitNumber == unit {
				return true
			}
		}
		for _, d := range p.next {
			if d.device.ControllerKey == disk.ControllerKey && *d.device.UnitNumber == unit {
				return true
			}
		}
		return false
	}
	if disk.UnitNumber == nil || *disk.UnitNumber < 0 {
		unit := int32(0)
		for busy(unit) {
			unit++
		}
		disk.UnitNumber = types.NewInt32(unit)
	} else {
		disk.UnitNumber = types.NewInt32(*disk.UnitNumber)
	}
	if unit := *disk.UnitNumber; unit >= unitsOf(c, rule, p.version) || busy(unit) {
		return invalidDevice(index, "unit %d of controller %d: taken, or there is none", unit, disk.ControllerKey)
	}
	taken := func(key int32) bool { return p.next[key] != nil || findDevice(p.devices, key) != nil }
	if disk.Key <= 0 || taken(disk.Key) {
		disk.Key = standardKey(c, *disk.UnitNumber)
		for taken(disk.Key) {
			disk.Key++
		}
	}
	return nil
}

// fresh makes the file of a new disk.
func (p *diskPlan) fresh(index int, disk *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo, op types.VirtualDeviceConfigSpecFileOperation) (*layer, error) {
	file, err := p.filename(b)
	if err != nil {
		return nil, err
	}
	if op == types.VirtualDeviceConfigSpecFileOperationReplace {
		return nil, invalidDevice(index, "file operation %q", op)
	}
	if b.Parent != nil {
		return p.linked(file, b.Parent.FileName)
	}
	size := disk.CapacityInBytes
	if size == 0 {
		size = disk.CapacityInKB * 1024
	}
	if size <= 0 || size%sectorSize != 0 || size > vdisk.MaxSize {
		return nil, invalidDevice(index, "capacity %d", size)
	}
	thin := b.ThinProvisioned != nil && *b.ThinProvisioned
	need := int64(vmfsBlock)
	if !thin {
		need = size
	}
	if err := p.s.room(file, file.datastore, need); err != nil {
		return nil, err
	}
	l, err := p.newBase(file, size, thin)
	if err != nil {
		return nil, err
	}
	if b.Uuid != "" {
		l.uuid = b.Uuid
		if err := l.writeDescriptor(); err != nil {
			return nil, ioFault(file, err)
		}
	}
	p.created = append(p.created, l)
	return l, nil
}

func (p *diskPlan) newBase(file dsPath, size int64, thin bool) (*layer, error) {
	if p.vs.unmade == nil || p.vs.unmade.made.Load() {
		return p.s.store.newLayer(file, size, thin, nil)
	}
	return p.s.store.lazyLayer(file, size, thin, p.s.diskID(p.vs.ref.Value, file))
}

func (p *diskPlan) linked(file dsPath, parent string) (*layer, error) {
	at, err := parseDS(parent)
	if err != nil {
		return nil, err
	}
	base, err := p.s.store.open(at)
	if err != nil {
		return nil, err
	}
	l, err := p.s.store.newLayer(file, 0, true, base)
	if err == nil {
		p.created = append(p.created, l)
	}
	return l, err
}

// filename returns the file that a backing names, or a free one.
func (p *diskPlan) filename(b *types.VirtualDiskFlatVer2BackingInfo) (dsPath, error) {
	dir := p.home
	if b.FileName != "" {
		f, err := parseDS(b.FileName)
		if err != nil {
			return f, err
		}
		if len(f.path) > 5 && f.path[len(f.path)-5:] == ".vmdk" {
			return f, nil
		}
		if f.path != "" {
			dir = f
		} else if f.datastore != dir.datastore {
			dir = dsPath{f.datastore, p.home.path}
		}
	} else if b.Datastore != nil {
		for name, ds := range p.s.inv.datastores {
			if ds.Self == *b.Datastore {
				dir.datastore = name
			}
		}
	}
	return p.s.store.freeName(dir, 0, func(n int) string {
		if n == 0 {
			return p.name + ".vmdk"
		}
		return fmt.Sprintf("%s_%d.vmdk", p.name, n)
	})
}

// existing attaches a file that is there.
func (p *diskPlan) existing(index int, disk *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) (*layer, error) {
	file, err := parseDS(b.FileName)
	if err != nil {
		return nil, err
	}
	if file.path == "" {
		return nil, invalidDevice(index, "no file named")
	}
	l, err := p.s.store.open(file)
	if err != nil {
		return nil, err
	}
	for _, d := range p.next {
		for t := d.top; t != nil; t = t.parent {
			if t == l {
				return nil, invalidDevice(index, "%s is a disk of this VM already", file)
			}
		}
	}
	if b.Sharing != string(types.VirtualDiskSharingSharingMultiWriter) {
		if exclusive, shared := p.s.lockedBy(l, p.vs); exclusive || shared {
			return nil, locked(file)
		}
	}
	if _, children := p.s.store.counts(l); children > 0 && !p.detached(l) {
		// Writing to it would ruin the disks that hang from it.
		return nil, locked(file)
	}
	if size := max(disk.CapacityInBytes, disk.CapacityInKB*1024); size > l.capacity() {
		if size > vdisk.MaxSize {
			return nil, invalidDevice(index, "capacity %d: more than %d", size, int64(vdisk.MaxSize))
		}
		p.grow[l] = size
	}
	return l, nil
}

// detached tells whether everything on top of l is about to go.
func (p *diskPlan) detached(l *layer) bool {
	return slices.ContainsFunc(p.destroy, func(d *layer) bool { return d.parent == l })
}

func (p *diskPlan) remove(index int, key int32, destroy bool) error {
	d := p.next[key]
	if d == nil {
		return invalidDevice(index, "disk %d: not found", key)
	}
	if p.frozen {
		return snapshotsInTheWay(index, "removing a disk")
	}
	if err := p.hot(d); err != nil {
		return err
	}
	if destroy {
		refs, _ := p.s.store.counts(d.top)
		if exclusive, shared := p.s.disks.locks(d.top); refs > 1 || exclusive || shared {
			return locked(d.top.file)
		}
		p.destroy = append(p.destroy, d.top)
	}
	delete(p.next, key)
	return nil
}

// hot refuses to take disks from running VMs where hardware cannot either.
func (p *diskPlan) hot(d *vmDisk) error {
	p.vs.io.RLock()
	on := p.vs.on
	p.vs.io.RUnlock()
	if _, ide := findDevice(p.devices, d.device.ControllerKey).(*types.VirtualIDEController); on && ide {
		return refuse(&types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: types.VirtualMachinePowerStatePoweredOn,
		}, "disk %d: on an IDE controller of a running VM", d.key)
	}
	return nil
}

func (p *diskPlan) edit(index int, spec *types.VirtualDisk) error {
	old := p.next[spec.Key]
	if old == nil {
		return invalidDevice(index, "disk %d: not found", spec.Key)
	}
	if err := p.liveEdit(old, spec); err != nil {
		return err
	}
	now := *old
	device := copyDisk(old.device)
	if spec.StorageIOAllocation != nil {
		device.StorageIOAllocation = spec.StorageIOAllocation
	}
	if spec.Shares != nil {
		device.Shares = spec.Shares
	}
	now.device = device
	if b, ok := spec.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
		if err := p.editBacking(index, &now, b); err != nil {
			return err
		}
	}
	moves := spec.ControllerKey != 0 && spec.ControllerKey != device.ControllerKey ||
		spec.UnitNumber != nil && *spec.UnitNumber != *device.UnitNumber
	if moves {
		delete(p.next, old.key)
		device.ControllerKey, device.UnitNumber = spec.ControllerKey, spec.UnitNumber
		key := device.Key
		if err := p.place(index, device); err != nil {
			p.next[old.key] = old
			return err
		}
		device.Key = key
	}
	size := spec.CapacityInBytes
	if size == 0 || size == now.top.capacity() && spec.CapacityInKB != 0 {
		size = max(size, spec.CapacityInKB*1024)
	}
	if size != 0 && size != now.top.capacity() {
		switch {
		case p.frozen || now.top.parent != nil:
			return snapshotsInTheWay(index, "resizing a disk")
		case size > vdisk.MaxSize:
			return invalidDevice(index, "capacity %d: more than %d", size, int64(vdisk.MaxSize))
		case size < now.top.capacity() || size%sectorSize != 0:
			return refuse(&types.InvalidDeviceOperation{BadOp: types.VirtualDeviceConfigSpecOperationEdit},
				"device change %d: capacity %d: a disk can only grow", index, size)
		}
		if exclusive, shared := p.s.disks.locks(now.top); exclusive || shared {
			return locked(now.top.file)
		}
		if !now.top.thin {
			if err := p.s.room(now.top.file, now.top.file.datastore, size-now.top.capacity()); err != nil {
				return err
			}
		}
		p.grow[now.top] = size
	}
	p.next[old.key] = &now
	return nil
}

func (p *diskPlan) editBacking(index int, now *vmDisk, b *types.VirtualDiskFlatVer2BackingInfo) error {
	if b.DiskMode != "" && b.DiskMode != now.mode {
		if p.frozen {
			return snapshotsInTheWay(index, "changing a disk's mode")
		}
		now.mode = b.DiskMode
		now.tracker = nil
	}
	backing := types.VirtualDiskFlatVer2BackingInfo{}
	if ob, ok := now.device.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
		backing = *ob
	}
	if b.Sharing != "" {
		backing.Sharing = b.Sharing
	}
	now.device.Backing = &backing
	if b.FileName == "" || b.FileName == now.top.file.String() {
		return nil
	}
	if p.frozen {
		return snapshotsInTheWay(index, "replacing a disk")
	}
	l, err := p.existing(index, &types.VirtualDisk{}, b)
	if err != nil {
		return err
	}
	now.top, now.tracker = l, nil
	return nil
}

// commit makes the plan the VM's state and deletes what it destroys.
func (p *diskPlan) commit() error {
	var errs []error
	p.vs.io.Lock()
	old := p.vs.disks
	for l, size := range p.grow {
		if err := l.grow(size); err != nil {
			errs = append(errs, ioFault(l.file, err))
		}
		for _, d := range p.next {
			if d.top == l && d.tracker != nil {
				d.tracker = newTracker(p.s.faults.forgotten(p.vs.ref.Value))
			}
		}
	}
	p.vs.disks = p.next
	for key := range p.vs.policies {
		if key != vmHome && p.next[key] == nil {
			delete(p.vs.policies, key)
		}
	}
	for _, d := range p.next {
		p.s.store.use(d.top, 1)
	}
	for _, d := range old {
		p.s.store.use(d.top, -1)
	}
	p.vs.io.Unlock()
	for key, specs := range p.profiles {
		p.s.setPolicies(p.vs, key, specs)
	}
	for _, l := range p.destroy {
		errs = append(errs, p.s.removeChain(l))
	}
	return errors.Join(errs...)
}

// removeChain deletes a disk's files from the top down, as far as nothing
// else needs them.
func (s *Server) removeChain(l *layer) error {
	for ; l != nil; l = l.parent {
		if refs, children := s.store.counts(l); refs > 0 || children > 0 {
			return nil
		}
		if err := s.store.remove(l); err != nil {
			return ioFault(l.file, err)
		}
		s.account(s.newContext(), l)
	}
	return nil
}
