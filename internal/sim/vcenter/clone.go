package vcenter

import (
	"errors"
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// clone makes a copy of a VM with flat disks of its own.
func (s *Server) clone(ctx *simulator.Context, ref types.ManagedObjectReference, req *types.CloneVM_Task) (types.ManagedObjectReference, error) {
	vs, end, err := s.begin(ref, true)
	if err != nil {
		return ref, err
	}
	defer end()
	vm, err := s.vm(ref)
	if err != nil {
		return ref, err
	}
	var config types.VirtualMachineConfigInfo
	var pool *types.ManagedObjectReference
	ctx.WithLock(vm, func() {
		err = deepCopy(*vm.Config, &config)
		pool = vm.ResourcePool
	})
	if err != nil {
		return ref, fmt.Errorf("copy configuration: %w", err)
	}
	if p := req.Spec.Location.Pool; p != nil {
		pool = p
	}
	if pool == nil {
		return ref, refuse(&types.InvalidArgument{InvalidProperty: "spec.location.pool"}, "no resource pool given")
	}
	spec, err := s.cloneSpec(&config, req)
	if err != nil {
		return ref, err
	}
	made, err := s.createVM(ctx, &types.CreateVM_Task{This: req.Folder, Config: *spec, Pool: *pool, Host: req.Spec.Location.Host})
	if err != nil {
		return ref, err
	}
	if err := s.copyContent(vs, made); err != nil {
		return ref, errors.Join(err, s.destroy(ctx, made))
	}
	if req.Spec.PowerOn {
		return made, s.power(ctx, made, types.VirtualMachinePowerStatePoweredOn)
	}
	return made, nil
}

func (s *Server) cloneSpec(c *types.VirtualMachineConfigInfo, req *types.CloneVM_Task) (*types.VirtualMachineConfigSpec, error) {
	home, err := parseDS(c.Files.VmPathName)
	if err != nil {
		return nil, err
	}
	if ref := req.Spec.Location.Datastore; ref != nil {
		for name, ds := range s.inv.datastores {
			if ds.Self == *ref {
				home.datastore = name
			}
		}
	}
	spec := &types.VirtualMachineConfigSpec{
		Name: req.Name, GuestId: c.GuestId, Version: c.Version, Firmware: c.Firmware, Annotation: c.Annotation,
		NumCPUs: c.Hardware.NumCPU, MemoryMB: int64(c.Hardware.MemoryMB), NumCoresPerSocket: c.Hardware.NumCoresPerSocket,
		ExtraConfig: c.ExtraConfig, Files: &types.VirtualMachineFileInfo{VmPathName: "[" + home.datastore + "]"},
	}
	if o := req.Spec.Config; o != nil {
		spec.Uuid, spec.InstanceUuid = o.Uuid, o.InstanceUuid
	}
	for _, d := range c.Hardware.Device {
		switch x := d.(type) {
		case *types.VirtualDisk:
			b := &types.VirtualDiskFlatVer2BackingInfo{}
			if old, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				b.ThinProvisioned, b.DiskMode, b.Sharing = old.ThinProvisioned, old.DiskMode, old.Sharing
			}
			x.Backing = b
			addDevice(spec, x, types.VirtualDeviceConfigSpecFileOperationCreate)
		case types.BaseVirtualEthernetCard:
			x.GetVirtualEthernetCard().MacAddress = ""
			addDevice(spec, d, "")
		default:
			if _, ok := slots(d); ok && deviceKey(d) >= 1000 {
				addDevice(spec, d, "")
			}
		}
	}
	return spec, nil
}

// copyContent fills the disks of a clone, which have the keys of the
// original's.
func (s *Server) copyContent(from *vmState, ref types.ManagedObjectReference) error {
	to, err := s.mustState(ref)
	if err != nil {
		return err
	}
	from.io.RLock()
	defer from.io.RUnlock()
	to.io.Lock()
	defer to.io.Unlock()
	var layers []*layer
	for key, d := range from.disks {
		dst := to.disks[key]
		if dst == nil {
			return fmt.Errorf("disk %d: missing in the clone", key)
		}
		data, err := d.top.data()
		if err == nil {
			err = copyRanges(dst.top, d.top, data)
		}
		if err != nil {
			return ioFault(dst.top.file, err)
		}
		layers = append(layers, dst.top)
	}
	s.account(s.newContext(), layers...)
	return nil
}

// CloneVMTask copies the VM.
func (v *virtualMachine) CloneVMTask(ctx *simulator.Context, req *types.CloneVM_Task) soap.HasFault {
	ref := v.Self
	task := v.s.startTask(ctx, ref, "CloneVM_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		if req.Spec.Template || req.Spec.Snapshot != nil {
			return nil, refuse(&types.NotSupported{}, "only present states are cloned, to VMs")
		}
		made, err := v.s.clone(ctx, ref, req)
		if err != nil {
			return nil, err
		}
		return made, nil
	})
	return &methods.CloneVM_TaskBody{Res: &types.CloneVM_TaskResponse{Returnval: task}}
}
