package vcenter

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// relocate moves a VM to another host, resource pool, folder or datastore.
func (s *Server) relocate(ctx *simulator.Context, ref types.ManagedObjectReference, spec types.VirtualMachineRelocateSpec) error {
	moved, err := s.relocateVM(ctx, ref, spec)
	if moved != nil {
		err = errors.Join(err, moved.settle(ctx))
	}
	return err
}

// relocateVM leaves the files that were moved where they are, too; it returns
// the move, which is nil when there was none.
func (s *Server) relocateVM(ctx *simulator.Context, ref types.ManagedObjectReference, spec types.VirtualMachineRelocateSpec) (*storageMove, error) {
	vs, end, err := s.begin(ref, true)
	if err != nil {
		return nil, err
	}
	defer end()
	vm, err := s.vm(ref)
	if err != nil {
		return nil, err
	}
	if err := s.checkRelocation(vs, spec); err != nil {
		return nil, err
	}
	move, err := s.planMove(ctx, vs, vm, &spec)
	if err != nil {
		return nil, err
	}
	was := s.eventOf(ctx, vm)
	if move != nil {
		if err := s.inUse(vs); err != nil {
			return nil, err
		}
		if err := move.run(ctx); err != nil {
			return move, err
		}
	}
	return move, s.relocated(ctx, vs, vm, &spec, was)
}

// relocated brings the VM's other sides in line with a move of its files.
func (s *Server) relocated(ctx *simulator.Context, vs *vmState, vm *simulator.VirtualMachine, to *types.VirtualMachineRelocateSpec, was types.VmEvent) error {
	spec := *to
	if err := s.moveEntity(ctx, vm, spec); err != nil {
		return err
	}
	if len(spec.DeviceChange) > 0 {
		_, rest, err := s.splitSpec(ctx, vm, spec.DeviceChange)
		if err == nil {
			err = vcsimReconfigure(ctx, vm, types.VirtualMachineConfigSpec{DeviceChange: rest})
		}
		if err != nil {
			return err
		}
	}
	if err := s.settle(ctx, vs); err != nil {
		return err
	}
	s.movePolicies(vs, &spec)
	s.leaveDatastores(ctx, vm)
	s.postMigrated(ctx, vm, was, vs.isOn())
	return nil
}

func (vs *vmState) isOn() bool {
	vs.io.RLock()
	defer vs.io.RUnlock()
	return vs.on
}

// checkRelocation refuses what cannot be done before anything is.
func (s *Server) checkRelocation(vs *vmState, spec types.VirtualMachineRelocateSpec) error {
	if spec.Service != nil || slices.ContainsFunc(spec.DeviceChange, func(b types.BaseVirtualDeviceConfigSpec) bool {
		return isDisk(b.GetVirtualDeviceConfigSpec().Device)
	}) {
		return refuse(&types.NotSupported{}, "%s: to another vCenter, or with other disks", vs.ref.Value)
	}
	if err := vs.asks(); err != nil {
		return err
	}
	if spec.Host != nil {
		host, ok := s.model.Map().Get(*spec.Host).(*simulator.HostSystem)
		switch {
		case !ok:
			return gone(*spec.Host)
		case host.Runtime.ConnectionState != types.HostSystemConnectionStateConnected:
			return refuse(&types.HostNotConnected{}, "host %s: not connected", host.Name)
		case host.Runtime.InMaintenanceMode:
			return refuse(&types.InvalidState{}, "host %s: in maintenance mode", host.Name)
		}
	}
	if spec.Pool != nil {
		if _, ok := s.model.Map().Get(*spec.Pool).(mo.Entity); !ok {
			return gone(*spec.Pool)
		}
	}
	return nil
}

func (s *Server) moveEntity(ctx *simulator.Context, vm *simulator.VirtualMachine, spec types.VirtualMachineRelocateSpec) error {
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
	if spec.Folder == nil {
		return nil
	}
	folder, ok := s.model.Map().Get(*spec.Folder).(*simulator.Folder)
	if !ok {
		return gone(*spec.Folder)
	}
	body, err := locking[*methods.MoveIntoFolder_TaskBody](ctx, folder, func() soap.HasFault {
		return folder.MoveIntoFolderTask(ctx, &types.MoveIntoFolder_Task{This: folder.Self, List: []types.ManagedObjectReference{vm.Self}})
	})
	if err != nil {
		return err
	}
	_, err = await(ctx, body.Res.Returnval)
	return err
}

// leaveDatastores takes the VM off the lists of datastores that hold nothing
// of it any more.
func (s *Server) leaveDatastores(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	var used []types.ManagedObjectReference
	ctx.WithLock(vm, func() { used = slices.Clone(vm.Datastore) })
	s.space.Lock()
	defer s.space.Unlock()
	for _, ds := range s.inv.datastores {
		if !slices.Contains(used, ds.Self) {
			dropVM(ctx, ds, &ds.Vm, vm.Self)
		}
	}
}

// Migrate moves a VM to another host, to another datastore or both, as an
// administrator of vCenter or DRS would: not while somebody has disabled it
// or holds a lease. Empty names leave things as they are.
func (s *Server) Migrate(moref, host, datastore string) error {
	ctx := s.newContext()
	var spec types.VirtualMachineRelocateSpec
	if host != "" {
		for _, h := range s.inv.esx {
			if h.name == host || h.ref.Value == host {
				spec.Host = &h.ref
			}
		}
		if spec.Host == nil {
			return fmt.Errorf("migrate %s: host %s: not found; there are %s", moref, host, strings.Join(s.HostNames(), ", "))
		}
	}
	if datastore != "" {
		ds := s.inv.datastores[datastore]
		if ds == nil {
			return fmt.Errorf("migrate %s: datastore %s: not found; there are %s", moref, datastore,
				strings.Join(slices.Sorted(maps.Keys(s.inv.datastores)), ", "))
		}
		spec.Datastore = &ds.Self
	}
	method := &simulator.Method{Name: "RelocateVM_Task", This: vmRef(moref)}
	if fault := s.disabledMethod(method); fault != nil {
		return fmt.Errorf("migrate %s: %w", moref, refuse(fault, "%s was disabled by %s", method.Name, fault.(*types.MethodDisabled).Source))
	}
	if vs := s.state(vmRef(moref)); vs != nil {
		if err := s.touchVM(vs); err != nil {
			return fmt.Errorf("migrate %s: %w", moref, err)
		}
	}
	task := s.startTask(ctx, vmRef(moref), method.Name, func(ctx *simulator.Context) (types.AnyType, error) {
		return nil, s.relocate(ctx, vmRef(moref), spec)
	})
	if _, err := await(ctx, task); err != nil {
		return fmt.Errorf("migrate %s: %w", moref, err)
	}
	return nil
}

// HostNames lists the hosts.
func (s *Server) HostNames() []string {
	var names []string
	for _, h := range s.inv.esx {
		names = append(names, h.name)
	}
	slices.Sort(names)
	return names
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
		if req.Pool == nil && req.Host == nil {
			return nil, refuse(&types.InvalidArgument{InvalidProperty: "host"}, "%s: neither a host nor a pool is given", ref.Value)
		}
		if err := v.s.inState(ctx, ref, req.State); err != nil {
			return nil, err
		}
		return nil, v.s.relocate(ctx, ref, types.VirtualMachineRelocateSpec{Pool: req.Pool, Host: req.Host})
	})
	return &methods.MigrateVM_TaskBody{Res: &types.MigrateVM_TaskResponse{Returnval: task}}
}

// inState refuses a VM that is not in the state that a call wants it in.
func (s *Server) inState(ctx *simulator.Context, ref types.ManagedObjectReference, want types.VirtualMachinePowerState) error {
	vm, err := s.vm(ref)
	if err != nil || want == "" {
		return err
	}
	var have types.VirtualMachinePowerState
	ctx.WithLock(vm, func() { have = vm.Runtime.PowerState })
	if have != want {
		return refuse(&types.InvalidPowerState{RequestedState: want, ExistingState: have}, "%s: is %s", ref.Value, have)
	}
	return nil
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
