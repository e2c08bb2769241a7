package vcenter

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// A cloning makes a copy of a VM, or of one of its snapshots.
type cloning struct {
	s      *Server
	req    *types.CloneVM_Task
	from   *vmState
	config types.VirtualMachineConfigInfo // of what is copied
	pool   *types.ManagedObjectReference
	layers map[int32]*layer // of what is copied, by disk
}

// How a clone's disk comes from the original's
// (VirtualMachineRelocateDiskMoveOptions).
const (
	moveNewChild  = string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking)
	moveChildMost = string(types.VirtualMachineRelocateDiskMoveOptionsMoveChildMostDiskBacking)

	moveConsolidate = string(types.VirtualMachineRelocateDiskMoveOptionsMoveAllDiskBackingsAndConsolidate)
)

// clone makes a copy of a VM: with flat disks of its own, or, as a linked
// clone, with deltas on what the original's snapshot froze.
func (s *Server) clone(ctx *simulator.Context, ref types.ManagedObjectReference, req *types.CloneVM_Task) (types.ManagedObjectReference, error) {
	vs, end, err := s.begin(ref, true)
	if err != nil {
		return ref, err
	}
	defer end()
	if err := vs.asks(); err != nil {
		return ref, err
	}
	c := &cloning{s: s, req: req, from: vs, layers: map[int32]*layer{}}
	if err := c.look(ctx); err != nil {
		return ref, err
	}
	spec, err := c.spec()
	if err != nil {
		return ref, err
	}
	made, err := s.createVM(ctx, &types.CreateVM_Task{This: req.Folder, Config: *spec, Pool: *c.pool, Host: req.Spec.Location.Host})
	if err != nil {
		return ref, err
	}
	if err := c.finish(ctx, made); err != nil {
		return ref, errors.Join(err, s.destroy(ctx, made))
	}
	if req.Spec.PowerOn && !req.Spec.Template {
		return made, s.power(ctx, made, types.VirtualMachinePowerStatePoweredOn)
	}
	return made, nil
}

// look finds out what is to be copied.
func (c *cloning) look(ctx *simulator.Context) error {
	vm, err := c.s.vm(c.from.ref)
	if err != nil {
		return err
	}
	config := vm.Config
	if ref := c.req.Spec.Snapshot; ref != nil {
		snap, ok := c.s.model.Map().Get(*ref).(*simulator.VirtualMachineSnapshot)
		if !ok || snap.Vm != c.from.ref {
			return refuse(&types.InvalidArgument{InvalidProperty: "spec.snapshot"}, "%s: not a snapshot of %s", ref.Value, c.from.ref.Value)
		}
		config = &snap.Config
	}
	ctx.WithLock(vm, func() {
		err = deepCopy(*config, &c.config)
		c.pool = vm.ResourcePool
	})
	if err != nil {
		return fmt.Errorf("copy configuration: %w", err)
	}
	if p := c.req.Spec.Location.Pool; p != nil {
		c.pool = p
	}
	if c.pool == nil && c.req.Spec.Template {
		pool := c.s.inv.pools[""]
		c.pool = &pool
	}
	if c.pool == nil {
		return refuse(&types.InvalidArgument{InvalidProperty: "spec.location.pool"}, "no resource pool given")
	}
	c.from.io.RLock()
	defer c.from.io.RUnlock()
	for key, d := range c.from.disks {
		if physical(d.device) {
			return refuse(&types.NotSupported{}, "disk %d: a raw device mapping in physical mode cannot be cloned", key)
		}
		c.layers[key] = d.top
	}
	if ref := c.req.Spec.Snapshot; ref != nil {
		n := c.from.snaps[*ref]
		if n == nil {
			return gone(*ref)
		}
		clear(c.layers)
		for key, f := range n.disks {
			c.layers[key] = f.layer
		}
	}
	return nil
}

// how tells in which way a disk is copied.
func (c *cloning) how(key int32) string {
	how := c.req.Spec.Location.DiskMoveType
	for _, l := range c.req.Spec.Location.Disk {
		if l.DiskId == key && l.DiskMoveType != "" {
			how = l.DiskMoveType
		}
	}
	return how
}

func (c *cloning) spec() (*types.VirtualMachineConfigSpec, error) {
	home, err := parseDS(c.config.Files.VmPathName)
	if err != nil {
		return nil, err
	}
	if ref := c.req.Spec.Location.Datastore; ref != nil {
		if home.datastore, err = c.s.datastoreNamed(*ref); err != nil {
			return nil, err
		}
	}
	g := &c.config
	spec := &types.VirtualMachineConfigSpec{
		Name: c.req.Name, GuestId: g.GuestId, Version: g.Version, Firmware: g.Firmware, Annotation: g.Annotation,
		NumCPUs: g.Hardware.NumCPU, MemoryMB: int64(g.Hardware.MemoryMB), NumCoresPerSocket: g.Hardware.NumCoresPerSocket,
		ExtraConfig: g.ExtraConfig, Files: &types.VirtualMachineFileInfo{VmPathName: "[" + home.datastore + "]"},
	}
	if o := c.req.Spec.Config; o != nil {
		spec.Uuid, spec.InstanceUuid = o.Uuid, o.InstanceUuid
	}
	for _, d := range g.Hardware.Device {
		switch x := d.(type) {
		case *types.VirtualDisk:
			if c.layers[x.Key] == nil {
				continue // independent: no snapshot has it
			}
			if err := c.disk(x); err != nil {
				return nil, err
			}
			addDevice(spec, x, types.VirtualDeviceConfigSpecFileOperationCreate)
		case types.BaseVirtualEthernetCard:
			x.GetVirtualEthernetCard().MacAddress = ""
			addDevice(spec, d, "")
		case *types.VirtualCdrom:
			addDevice(spec, d, "")
		default:
			if _, ok := slots(d); ok && deviceKey(d) >= 1000 {
				addDevice(spec, d, "")
			}
		}
	}
	return spec, nil
}

// disk says where the clone's disk comes to lie, and on what.
func (c *cloning) disk(x *types.VirtualDisk) error {
	from := c.layers[x.Key]
	b := &types.VirtualDiskFlatVer2BackingInfo{}
	if old, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
		b.ThinProvisioned, b.DiskMode, b.Sharing = old.ThinProvisioned, old.DiskMode, old.Sharing
	}
	for _, l := range c.req.Spec.Location.Disk {
		if l.DiskId != x.Key {
			continue
		}
		name, err := c.s.datastoreNamed(l.Datastore)
		if err != nil {
			return err
		}
		b.FileName = "[" + name + "]"
		if n, ok := l.DiskBackingInfo.(*types.VirtualDiskFlatVer2BackingInfo); ok && n.ThinProvisioned != nil {
			b.ThinProvisioned = n.ThinProvisioned
		}
	}
	x.Backing = b
	parent := from.parent
	switch c.how(x.Key) {
	case moveNewChild:
		if c.req.Spec.Snapshot == nil {
			// On a disk that somebody writes to there can be no child.
			return refuse(&types.InvalidArgument{InvalidProperty: "spec.location.diskMoveType"}, "disk %d: a linked clone is made of a snapshot", x.Key)
		}
		parent = from
	case moveChildMost:
	default:
		return nil
	}
	if parent == nil {
		return nil
	}
	if parent.depth()+1 >= maxChain {
		return refuse(&types.SnapshotFault{}, "disk %d: the chain is %d deep already", x.Key, maxChain)
	}
	b.Parent = &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: parent.file.String()},
	}
	return nil
}

// finish gives the clone its content, which has disks of the original's
// keys, and what else the spec says.
func (c *cloning) finish(ctx *simulator.Context, ref types.ManagedObjectReference) error {
	if err := c.fill(ref); err != nil {
		return err
	}
	if to := c.s.state(ref); to != nil {
		c.s.movePolicies(to, &c.req.Spec.Location)
	}
	var change types.VirtualMachineConfigSpec
	if o := c.req.Spec.Config; o != nil {
		change = *o
		change.Uuid, change.InstanceUuid, change.Files = "", "", nil
	}
	change.DeviceChange = append(slices.Clone(c.req.Spec.Location.DeviceChange), change.DeviceChange...)
	if c.req.Spec.Config != nil || len(change.DeviceChange) > 0 {
		if err := c.s.reconfigure(ctx, ref, change); err != nil {
			return err
		}
	}
	vm, err := c.s.vm(ref)
	if err != nil {
		return err
	}
	if c.req.Spec.Template {
		ctx.WithLock(vm, func() { vm.MarkAsTemplate(&types.MarkAsTemplate{This: ref}) })
	}
	source, err := c.s.vm(c.from.ref)
	if err != nil {
		return err
	}
	e := &types.VmClonedEvent{VmCloneEvent: types.VmCloneEvent{VmEvent: c.s.eventOf(ctx, vm)}}
	e.SourceVm = *c.s.eventOf(ctx, source).Vm
	c.s.post(ctx, e)
	return nil
}

func (c *cloning) fill(ref types.ManagedObjectReference) error {
	to, err := c.s.mustState(ref)
	if err != nil {
		return err
	}
	c.from.io.RLock()
	defer c.from.io.RUnlock()
	to.io.Lock()
	defer to.io.Unlock()
	var layers []*layer
	for key, from := range c.layers {
		dst := to.disks[key]
		if dst == nil {
			return fmt.Errorf("disk %d: missing in the clone", key)
		}
		var own []Range
		switch how := c.how(key); {
		case how == moveNewChild:
		case how == moveChildMost && from.parent != nil:
			from.mu.RLock()
			own = from.have.ranges(from.size)
			from.mu.RUnlock()
		default:
			own, err = from.data()
		}
		if err == nil {
			err = c.s.roomFor(dst.top, own)
		}
		if err == nil {
			err = copyBlocks(dst.top, from, own)
		}
		if err != nil {
			return ioFault(dst.top.file, err)
		}
		layers = append(layers, dst.top)
	}
	c.s.account(c.s.newContext(), layers...)
	return nil
}

// roomFor refuses when what is to be copied does not fit.
func (s *Server) roomFor(l *layer, own []Range) error {
	if l.parent == nil && !l.thin {
		return nil // taken when it was made
	}
	var need int64
	for _, r := range own {
		need += r.Length
	}
	return s.room(l.file, l.file.datastore, need)
}

// CloneVMTask copies the VM.
func (v *virtualMachine) CloneVMTask(ctx *simulator.Context, req *types.CloneVM_Task) soap.HasFault {
	ref := v.Self
	task := v.s.startTask(ctx, ref, "CloneVM_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		made, err := v.s.clone(ctx, ref, req)
		if err != nil {
			return nil, err
		}
		return made, nil
	})
	return &methods.CloneVM_TaskBody{Res: &types.CloneVM_TaskResponse{Returnval: task}}
}
