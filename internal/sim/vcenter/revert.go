package vcenter

import (
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// revert gives a VM the disks and the configuration of a snapshot. What was
// written since is lost, and with it all change tracking.
func (s *Server) revert(ctx *simulator.Context, vmref types.ManagedObjectReference, choose func(*vmState) *snapshot) error {
	vs, end, err := s.begin(vmref, true)
	if err != nil {
		return err
	}
	defer end()
	vs.io.RLock()
	n := choose(vs)
	on := vs.on
	vs.io.RUnlock()
	if n == nil {
		return refuse(&types.NotFound{}, "%s: no such snapshot", vmref.Value)
	}
	if err := s.inUse(vs); err != nil {
		return err
	}
	if on {
		if err := s.switchPower(ctx, vs, types.VirtualMachinePowerStatePoweredOff); err != nil {
			return err
		}
	}
	tracking, err := s.revertConfig(ctx, vmref, n.ref)
	if err != nil {
		return err
	}
	vs.io.Lock()
	err = s.revertDisks(vs, n, tracking)
	var layers []*layer
	if err == nil {
		layers, err = s.collect(vs)
	}
	vs.io.Unlock()
	if err != nil {
		return err
	}
	s.account(ctx, layers...)
	if err := s.settle(ctx, vs); err != nil {
		return err
	}
	if n.state == types.VirtualMachinePowerStatePoweredOn {
		return s.switchPower(ctx, vs, types.VirtualMachinePowerStatePoweredOn)
	}
	return nil
}

// revertDisks puts every disk onto a new delta of what the snapshot froze.
// io is held for writing.
func (s *Server) revertDisks(vs *vmState, n *snapshot, tracking bool) error {
	next := map[int32]*vmDisk{}
	for key, f := range n.disks {
		delta, err := s.newDelta(f.layer)
		if err != nil {
			return err
		}
		s.store.use(delta, 1)
		vs.deltas[delta] = true
		next[key] = &vmDisk{key: key, device: f.device, top: delta, mode: f.mode}
	}
	for key, d := range vs.disks {
		if d.independent() && next[key] == nil {
			next[key] = d
			continue
		}
		s.store.use(d.top, -1)
	}
	vs.disks, vs.current, vs.tracking = next, n, tracking
	s.stun(vs)
	return nil
}

func (s *Server) revertConfig(ctx *simulator.Context, vmref, ref types.ManagedObjectReference) (tracking bool, err error) {
	vm, err := s.vm(vmref)
	if err != nil {
		return false, err
	}
	snap, ok := s.model.Map().Get(ref).(*simulator.VirtualMachineSnapshot)
	if !ok {
		return false, gone(ref)
	}
	var config types.VirtualMachineConfigInfo
	ctx.WithLock(snap, func() { err = deepCopy(snap.Config, &config) })
	if err != nil {
		return false, fmt.Errorf("copy configuration: %w", err)
	}
	ctx.WithLock(vm, func() {
		config.Name, config.Files = vm.Config.Name, vm.Config.Files
		ctx.Update(vm, []types.PropertyChange{
			{Name: "config", Val: &config},
			{Name: "summary.config.memorySizeMB", Val: config.Hardware.MemoryMB},
			{Name: "summary.config.numCpu", Val: config.Hardware.NumCPU},
		})
	})
	return config.ChangeTrackingEnabled != nil && *config.ChangeTrackingEnabled, nil
}

// CreateSnapshotExTask makes a snapshot.
func (v *virtualMachine) CreateSnapshotExTask(ctx *simulator.Context, req *types.CreateSnapshotEx_Task) soap.HasFault {
	return &methods.CreateSnapshotEx_TaskBody{Res: &types.CreateSnapshotEx_TaskResponse{
		Returnval: v.snapshotTask(ctx, "CreateSnapshotEx_Task", req),
	}}
}

// CreateSnapshotTask makes a snapshot.
func (v *virtualMachine) CreateSnapshotTask(ctx *simulator.Context, req *types.CreateSnapshot_Task) soap.HasFault {
	ex := &types.CreateSnapshotEx_Task{This: req.This, Name: req.Name, Description: req.Description, Memory: req.Memory}
	if req.Quiesce {
		ex.QuiesceSpec = &types.VirtualMachineGuestQuiesceSpec{}
	}
	return &methods.CreateSnapshot_TaskBody{Res: &types.CreateSnapshot_TaskResponse{
		Returnval: v.snapshotTask(ctx, "CreateSnapshot_Task", ex),
	}}
}

func (v *virtualMachine) snapshotTask(ctx *simulator.Context, name string, req *types.CreateSnapshotEx_Task) types.ManagedObjectReference {
	ref := v.Self
	return v.s.startTask(ctx, ref, name, func(ctx *simulator.Context) (types.AnyType, error) {
		made, err := v.s.createSnapshot(ctx, ref, req)
		if err != nil {
			return nil, err
		}
		return made, nil
	})
}

// RemoveAllSnapshotsTask removes every snapshot.
func (v *virtualMachine) RemoveAllSnapshotsTask(ctx *simulator.Context, req *types.RemoveAllSnapshots_Task) soap.HasFault {
	ref := v.Self
	task := v.s.startTask(ctx, ref, "RemoveAllSnapshots_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		return nil, v.s.dropSnapshots(ctx, ref, unlessFalse(req.Consolidate), func(vs *vmState) ([]*snapshot, error) {
			return sortedSnapshots(vs), nil
		})
	})
	return &methods.RemoveAllSnapshots_TaskBody{Res: &types.RemoveAllSnapshots_TaskResponse{Returnval: task}}
}

// ConsolidateVMDisksTask merges deltas that no snapshot needs.
func (v *virtualMachine) ConsolidateVMDisksTask(ctx *simulator.Context, _ *types.ConsolidateVMDisks_Task) soap.HasFault {
	ref := v.Self
	task := v.s.startTask(ctx, ref, "ConsolidateVMDisks_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		return nil, v.s.consolidate(ctx, ref)
	})
	return &methods.ConsolidateVMDisks_TaskBody{Res: &types.ConsolidateVMDisks_TaskResponse{Returnval: task}}
}

// RevertToCurrentSnapshotTask reverts to the parent of the present state.
func (v *virtualMachine) RevertToCurrentSnapshotTask(ctx *simulator.Context, _ *types.RevertToCurrentSnapshot_Task) soap.HasFault {
	ref := v.Self
	task := v.s.startTask(ctx, ref, "RevertToCurrentSnapshot_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		return nil, v.s.revert(ctx, ref, func(vs *vmState) *snapshot { return vs.current })
	})
	return &methods.RevertToCurrentSnapshot_TaskBody{Res: &types.RevertToCurrentSnapshot_TaskResponse{Returnval: task}}
}

func unlessFalse(b *bool) bool { return b == nil || *b }

// RemoveSnapshotTask removes the snapshot.
func (v *vmSnapshot) RemoveSnapshotTask(ctx *simulator.Context, req *types.RemoveSnapshot_Task) soap.HasFault {
	vm, ref := v.Vm, v.Self
	task := v.s.startTask(ctx, vm, "RemoveSnapshot_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		return nil, v.s.removeSnapshot(ctx, vm, ref, req.RemoveChildren, unlessFalse(req.Consolidate))
	})
	return &methods.RemoveSnapshot_TaskBody{Res: &types.RemoveSnapshot_TaskResponse{Returnval: task}}
}

// RevertToSnapshotTask reverts the VM to the snapshot.
func (v *vmSnapshot) RevertToSnapshotTask(ctx *simulator.Context, _ *types.RevertToSnapshot_Task) soap.HasFault {
	vm, ref := v.Vm, v.Self
	task := v.s.startTask(ctx, vm, "RevertToSnapshot_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		return nil, v.s.revert(ctx, vm, func(vs *vmState) *snapshot { return vs.snaps[ref] })
	})
	return &methods.RevertToSnapshot_TaskBody{Res: &types.RevertToSnapshot_TaskResponse{Returnval: task}}
}

// RenameSnapshot renames the snapshot.
func (v *vmSnapshot) RenameSnapshot(ctx *simulator.Context, req *types.RenameSnapshot) soap.HasFault {
	vs, err := v.s.mustState(v.Vm)
	if err == nil {
		vs.io.Lock()
		if n := vs.snaps[v.Self]; n != nil {
			if req.Name != "" {
				n.name = req.Name
			}
			if req.Description != "" {
				n.about = req.Description
			}
		}
		vs.io.Unlock()
		err = v.s.publish(ctx, vs)
	}
	if err != nil {
		return &methods.RenameSnapshotBody{Fault_: soapFault(err)}
	}
	return &methods.RenameSnapshotBody{Res: &types.RenameSnapshotResponse{}}
}
