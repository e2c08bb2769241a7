package vcenter

import (
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// PowerOn switches a VM on.
func (s *Server) PowerOn(moref string) error {
	if fault := s.disabledMethod(&simulator.Method{Name: "PowerOnVM_Task", This: vmRef(moref)}); fault != nil {
		return fmt.Errorf("power on %s: %w", moref, refuse(fault, "PowerOnVM_Task was disabled by %s", fault.(*types.MethodDisabled).Source))
	}
	if err := s.power(s.newContext(), vmRef(moref), types.VirtualMachinePowerStatePoweredOn); err != nil {
		return fmt.Errorf("power on %s: %w", moref, err)
	}
	return nil
}

// PowerOff switches a VM off, hard.
func (s *Server) PowerOff(moref string) error {
	if err := s.power(s.newContext(), vmRef(moref), types.VirtualMachinePowerStatePoweredOff); err != nil {
		return fmt.Errorf("power off %s: %w", moref, err)
	}
	return nil
}

func (s *Server) power(ctx *simulator.Context, ref types.ManagedObjectReference, to types.VirtualMachinePowerState) error {
	vs, end, err := s.begin(ref, to == types.VirtualMachinePowerStatePoweredOn)
	if err != nil {
		return err
	}
	defer end()
	return s.switchPower(ctx, vs, to)
}

// switchPower changes the power state; vs.op is held.
func (s *Server) switchPower(ctx *simulator.Context, vs *vmState, to types.VirtualMachinePowerState) error {
	vm, err := s.vm(vs.ref)
	if err != nil {
		return err
	}
	if to == types.VirtualMachinePowerStatePoweredOn {
		if err := s.checkDisks(vs); err != nil {
			return err
		}
		if err := s.swapOn(ctx, vs, vm); err != nil {
			return err
		}
	}
	var task types.ManagedObjectReference
	ctx.WithLock(vm, func() {
		switch to {
		case types.VirtualMachinePowerStatePoweredOn:
			body := vm.PowerOnVMTask(ctx, &types.PowerOnVM_Task{This: vs.ref}).(*methods.PowerOnVM_TaskBody)
			if body.Fault_ != nil {
				err = refuse(body.Fault_.VimFault().(types.BaseMethodFault), "%s", body.Fault_.String)
				return
			}
			task = body.Res.Returnval
		case types.VirtualMachinePowerStatePoweredOff:
			task = vm.PowerOffVMTask(ctx, &types.PowerOffVM_Task{This: vs.ref}).(*methods.PowerOffVM_TaskBody).Res.Returnval
		case types.VirtualMachinePowerStateSuspended:
			task = vm.SuspendVMTask(ctx, &types.SuspendVM_Task{This: vs.ref}).(*methods.SuspendVM_TaskBody).Res.Returnval
		}
	})
	if err != nil {
		return err
	}
	if _, err := await(ctx, task); err != nil {
		return err
	}
	if to == types.VirtualMachinePowerStatePoweredOff {
		s.swapOff(vs)
	}
	vs.io.Lock()
	asked := vs.question != nil
	vs.question = nil
	vs.on = to != types.VirtualMachinePowerStatePoweredOff
	if to != types.VirtualMachinePowerStateSuspended {
		s.stun(vs)
	}
	vs.io.Unlock()
	if asked {
		s.showQuestion(ctx, vs)
	}
	if err := s.publish(ctx, vs); err != nil {
		return err
	}
	var home dsPath
	ctx.WithLock(vm, func() { home, err = parseDS(vm.Config.Files.VmPathName) })
	s.showSpace(ctx, home.datastore) // the swap file came, or went
	return err
}

// checkDisks refuses to start a VM whose disks are missing or in use.
func (s *Server) checkDisks(vs *vmState) error {
	if err := s.intact(vs); err != nil {
		return err
	}
	vs.io.RLock()
	var tops []*layer
	for _, key := range vs.diskKeys() {
		d := vs.disks[key]
		if b, ok := d.device.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && b.Sharing == string(types.VirtualDiskSharingSharingMultiWriter) {
			continue
		}
		tops = append(tops, d.top)
	}
	vs.io.RUnlock()
	for _, top := range tops {
		for l := top; l != nil; l = l.parent {
			exclusive, shared := s.lockedBy(l, vs)
			if exclusive || shared && l == top {
				return locked(l.file)
			}
		}
	}
	return nil
}

// intact refuses a VM of whose disks a file is gone. Hosts go by names: a disk
// that was put in the place of another is the VM's now.
func (s *Server) intact(vs *vmState) error {
	vs.io.Lock()
	defer vs.io.Unlock()
	for key, d := range vs.disks {
		for l := d.top; l != nil; l = l.parent {
			now, err := s.store.open(l.file)
			if err == nil {
				err = s.accessible(l.file.datastore)
			}
			switch {
			case err != nil:
				return err
			case now == l:
			case d.top.parent == nil:
				c := *d
				c.top, c.tracker = now, nil
				vs.disks[key] = &c
				s.store.use(l, -1)
				s.store.use(now, 1)
			default:
				return refuse(&types.FileFault{File: l.file.String()}, "disk %s: its parent %s is another disk now", d.top.file, l.file)
			}
		}
	}
	return nil
}

// PowerOnVMTask starts the VM.
func (v *virtualMachine) PowerOnVMTask(ctx *simulator.Context, _ *types.PowerOnVM_Task) soap.HasFault {
	task := v.powerTask(ctx, "PowerOnVM_Task", types.VirtualMachinePowerStatePoweredOn)
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: task}}
}

// PowerOffVMTask stops the VM.
func (v *virtualMachine) PowerOffVMTask(ctx *simulator.Context, _ *types.PowerOffVM_Task) soap.HasFault {
	task := v.powerTask(ctx, "PowerOffVM_Task", types.VirtualMachinePowerStatePoweredOff)
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{Returnval: task}}
}

// SuspendVMTask suspends the VM.
func (v *virtualMachine) SuspendVMTask(ctx *simulator.Context, _ *types.SuspendVM_Task) soap.HasFault {
	task := v.powerTask(ctx, "SuspendVM_Task", types.VirtualMachinePowerStateSuspended)
	return &methods.SuspendVM_TaskBody{Res: &types.SuspendVM_TaskResponse{Returnval: task}}
}

func (v *virtualMachine) powerTask(ctx *simulator.Context, name string, to types.VirtualMachinePowerState) types.ManagedObjectReference {
	ref := v.Self
	return v.s.startTask(ctx, ref, name, func(ctx *simulator.Context) (types.AnyType, error) {
		return nil, v.s.power(ctx, ref, to)
	})
}

// ResetVMTask stops and starts the VM.
func (v *virtualMachine) ResetVMTask(ctx *simulator.Context, _ *types.ResetVM_Task) soap.HasFault {
	ref := v.Self
	task := v.s.startTask(ctx, ref, "ResetVM_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		vs, end, err := v.s.begin(ref, true)
		if err != nil {
			return nil, err
		}
		defer end()
		if err := v.s.switchPower(ctx, vs, types.VirtualMachinePowerStatePoweredOff); err != nil {
			return nil, err
		}
		return nil, v.s.switchPower(ctx, vs, types.VirtualMachinePowerStatePoweredOn)
	})
	return &methods.ResetVM_TaskBody{Res: &types.ResetVM_TaskResponse{Returnval: task}}
}
