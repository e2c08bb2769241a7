package vcenter

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// reconfigure changes a VM. Either all of spec happens or nothing.
func (s *Server) reconfigure(ctx *simulator.Context, ref types.ManagedObjectReference, spec types.VirtualMachineConfigSpec) error {
	touches := slices.ContainsFunc(spec.DeviceChange, func(b types.BaseVirtualDeviceConfigSpec) bool {
		return isDisk(b.GetVirtualDeviceConfigSpec().Device)
	})
	if err := checkHardware(&spec); err != nil {
		return err
	}
	vs, end, err := s.begin(ref, touches)
	if err != nil {
		return err
	}
	defer end()
	vm, err := s.vm(ref)
	if err != nil {
		return err
	}
	disks, rest, err := s.splitSpec(ctx, vm, spec.DeviceChange)
	if err != nil {
		return err
	}
	var home dsPath
	var name string
	var devices []types.BaseVirtualDevice
	ctx.WithLock(vm, func() {
		home, err = parseDS(vm.Config.Files.VmPathName)
		name, devices = vm.Config.Name, slices.Clone(vm.Config.Hardware.Device)
	})
	if err != nil {
		return err
	}
	plan, err := s.planDisks(vs, home.dir(), name, after(devices, rest), disks)
	if err != nil {
		return err
	}
	spec.DeviceChange = rest
	spec.Name = escapeName(spec.Name)
	s.space.RLock()
	err = vcsimReconfigure(ctx, vm, spec)
	s.space.RUnlock()
	if err != nil {
		plan.undo()
		return err
	}
	if err := plan.commit(); err != nil {
		return err
	}
	s.setPolicies(vs, vmHome, spec.VmProfile)
	if want := spec.ChangeTrackingEnabled; want != nil {
		vs.io.Lock()
		vs.reset = vs.reset || vs.tracking && !*want
		vs.tracking = *want
		vs.io.Unlock()
	}
	return s.settle(ctx, vs)
}

func vcsimReconfigure(ctx *simulator.Context, vm *simulator.VirtualMachine, spec types.VirtualMachineConfigSpec) error {
	var task types.ManagedObjectReference
	ctx.WithLock(vm, func() {
		body := vm.ReconfigVMTask(ctx, &types.ReconfigVM_Task{This: vm.Self, Spec: spec})
		task = body.(*methods.ReconfigVM_TaskBody).Res.Returnval
	})
	_, err := await(ctx, task)
	return err
}

// after is what devices become by the changes, disks apart.
func after(devices []types.BaseVirtualDevice, changes []types.BaseVirtualDeviceConfigSpec) []types.BaseVirtualDevice {
	for _, b := range changes {
		c := b.GetVirtualDeviceConfigSpec()
		switch c.Operation {
		case types.VirtualDeviceConfigSpecOperationAdd:
			devices = append(devices, c.Device)
		case types.VirtualDeviceConfigSpecOperationRemove:
			devices = slices.DeleteFunc(devices, func(d types.BaseVirtualDevice) bool { return deviceKey(d) == deviceKey(c.Device) })
		}
	}
	return devices
}

// ReconfigVMTask changes the VM.
func (v *virtualMachine) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	ref := v.Self
	task := v.s.startTask(ctx, ref, "ReconfigVM_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		return nil, v.s.reconfigure(ctx, ref, req.Spec)
	})
	return &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{Returnval: task}}
}
