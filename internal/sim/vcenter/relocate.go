package vcenter

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// relocate moves a VM to another host, resource pool or folder. Storage
// stays where it is.
func (s *Server) relocate(ctx *simulator.Context, ref types.ManagedObjectReference, spec types.VirtualMachineRelocateSpec) error {
	vs, end, err := s.begin(ref, true)
	if err != nil {
		return err
	}
	defer end()
	vm, err := s.vm(ref)
	if err != nil {
		return err
	}
	if err := s.checkStorage(ctx, vm, spec); err != nil {
		return err
	}
	if spec.Pool != nil {
		if err := s.moveToPool(ctx, vm, *spec.Pool); err != nil {
			return err
		}
	}
	if spec.Host != nil {
		if err := s.moveToHost(ctx, vm, *spec.Host); err != nil {
			return err
		}
	}
	if spec.Folder != nil {
		folder, ok := s.model.Map().Get(*spec.Folder).(*simulator.Folder)
		if !ok {
			return gone(*spec.Folder)
		}
		body, err := locking[*methods.MoveIntoFolder_TaskBody](ctx, folder, func() soap.HasFault {
			return folder.MoveIntoFolderTask(ctx, &types.MoveIntoFolder_Task{This: folder.Self, List: []types.ManagedObjectReference{ref}})
		})
		if err != nil {
			return err
		}
		if _, err := await(ctx, body.Res.Returnval); err != nil {
			return err
		}
	}
	return s.publish(ctx, vs)
}

func (s *Server) checkStorage(ctx *simulator.Context, vm *simulator.VirtualMachine, spec types.VirtualMachineRelocateSpec) error {
	var used []types.ManagedObjectReference
	ctx.WithLock(vm, func() { used = slices.Clone(vm.Datastore) })
	moves := spec.Datastore != nil && !slices.Contains(used, *spec.Datastore)
	for _, d := range spec.Disk {
		moves = moves || !slices.Contains(used, d.Datastore)
	}
	if moves || len(spec.DeviceChange) > 0 {
		return refuse(&types.NotSupported{}, "%s: storage migration is not simulated", vm.Self.Value)
	}
	return nil
}

func (s *Server) moveToPool(ctx *simulator.Context, vm *simulator.VirtualMachine, to types.ManagedObjectReference) error {
	pool, ok := s.model.Map().Get(to).(*simulator.ResourcePool)
	if !ok {
		return gone(to)
	}
	var from *types.ManagedObjectReference
	ctx.WithLock(vm, func() { from = vm.ResourcePool })
	if from != nil {
		if old, ok := s.model.Map().Get(*from).(*simulator.ResourcePool); ok {
			dropVM(ctx, old, &old.Vm, vm.Self)
		}
	}
	ctx.Map.AddReference(ctx, pool, &pool.Vm, vm.Self)
	ctx.WithLock(vm, func() { ctx.Update(vm, []types.PropertyChange{{Name: "resourcePool", Val: &to}}) })
	return nil
}

func (s *Server) moveToHost(ctx *simulator.Context, vm *simulator.VirtualMachine, to types.ManagedObjectReference) error {
	host, ok := s.model.Map().Get(to).(*simulator.HostSystem)
	if !ok {
		return gone(to)
	}
	var from *types.ManagedObjectReference
	ctx.WithLock(vm, func() { from = vm.Runtime.Host })
	if from != nil {
		if old, ok := s.model.Map().Get(*from).(*simulator.HostSystem); ok {
			dropVM(ctx, old, &old.Vm, vm.Self)
		}
	}
	ctx.Map.AddReference(ctx, host, &host.Vm, vm.Self)
	ctx.WithLock(vm, func() {
		ctx.Update(vm, []types.PropertyChange{{Name: "runtime.host", Val: &to}, {Name: "summary.runtime.host", Val: &to}})
	})
	return nil
}

// dropVM takes a VM off a list without changing what was handed out of it.
func dropVM(ctx *simulator.Context, obj interface {
	Reference() types.ManagedObjectReference
}, list *[]types.ManagedObjectReference, vm types.ManagedObjectReference) {
	ctx.WithLock(obj, func() {
		*list = slices.DeleteFunc(slices.Clone(*list), func(r types.ManagedObjectReference) bool { return r == vm })
	})
}

// RelocateVMTask moves the VM.
func (v *virtualMachine) RelocateVMTask(ctx *simulator.Context, req *types.RelocateVM_Task) soap.HasFault {
	ref := v.Self
	task := v.s.startTask(ctx, ref, "RelocateVM_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		return nil, v.s.relocate(ctx, ref, req.Spec)
	})
	return &methods.RelocateVM_TaskBody{Res: &types.RelocateVM_TaskResponse{Returnval: task}}
}

// MigrateVMTask moves the VM to another host or pool.
func (v *virtualMachine) MigrateVMTask(ctx *simulator.Context, req *types.MigrateVM_Task) soap.HasFault {
	ref := v.Self
	task := v.s.startTask(ctx, ref, "MigrateVM_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		return nil, v.s.relocate(ctx, ref, types.VirtualMachineRelocateSpec{Pool: req.Pool, Host: req.Host})
	})
	return &methods.MigrateVM_TaskBody{Res: &types.MigrateVM_TaskResponse{Returnval: task}}
}

// MoveIntoResourcePool takes VMs into the pool.
func (p *resourcePool) MoveIntoResourcePool(ctx *simulator.Context, req *types.MoveIntoResourcePool) soap.HasFault {
	for _, ref := range req.List {
		vm, err := p.s.vm(ref)
		if err == nil {
			err = p.s.moveToPool(ctx, vm, p.Self)
		}
		if err != nil {
			return &methods.MoveIntoResourcePoolBody{Fault_: soapFault(err)}
		}
	}
	return &methods.MoveIntoResourcePoolBody{Res: &types.MoveIntoResourcePoolResponse{}}
}
