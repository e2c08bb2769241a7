package vsphere

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A VM is one virtual machine, by its managed object reference. It holds no
// state; every method asks vCenter.
type VM struct {
	c   *Client
	ref types.ManagedObjectReference
}

// VM returns the VM with the given managed object reference, "vm-42". It does
// not look whether there is one.
func (c *Client) VM(moref string) *VM {
	return &VM{c: c, ref: ref("VirtualMachine", moref)}
}

// MoRef is the VM's managed object reference.
func (v *VM) MoRef() string { return v.ref.Value }

// fail names the VM and the step that err happened in.
func (v *VM) fail(step string, err error) error {
	return fmt.Errorf("%s: %s: %w", v.ref.Value, step, explain(err))
}

// PowerState returns poweredOn, poweredOff or suspended.
func (v *VM) PowerState(ctx context.Context) (string, error) {
	var vm mo.VirtualMachine
	if err := v.c.get(ctx, v.ref, &vm, "runtime.powerState"); err != nil {
		return "", v.fail("power state", err)
	}
	return string(vm.Runtime.PowerState), nil
}

// PowerOff cuts the power; a VM that is off stays so. A suspended VM stays
// suspended: its state is not this method's to discard.
func (v *VM) PowerOff(ctx context.Context) error {
	state, err := v.PowerState(ctx)
	if err != nil {
		return err
	}
	switch types.VirtualMachinePowerState(state) {
	case types.VirtualMachinePowerStatePoweredOff:
		return nil
	case types.VirtualMachinePowerStateSuspended:
		return v.fail("power off", errors.New("the VM is suspended"))
	}
	res, err := methods.PowerOffVM_Task(ctx, v.c.vim, &types.PowerOffVM_Task{This: v.ref})
	if err != nil {
		return v.fail("power off", err)
	}
	_, err = v.c.await(ctx, res.Returnval)
	if f, ok := faultAs[*types.InvalidPowerState](err); ok && f.ExistingState == types.VirtualMachinePowerStatePoweredOff {
		return nil
	}
	if err != nil {
		return v.fail("power off", err)
	}
	return nil
}

// Destroy removes the VM and its files. A VM that is gone already is no error.
// It waits a while for who holds the VM or its disks: a host notices only after
// some time that a client who wrote to a disk is no more.
func (v *VM) Destroy(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		res, err := methods.Destroy_Task(ctx, v.c.vim, &types.Destroy_Task{This: v.ref})
		if err == nil {
			_, err = v.c.await(ctx, res.Returnval)
		}
		if err == nil || isFault[*types.ManagedObjectNotFound](err) {
			return nil
		}
		if attempt == removeAttempts || !busy(err) || sleep(ctx, v.c.wait(attempt)) != nil {
			return v.fail("destroy", err)
		}
	}
}

// Unregister takes the VM out of the inventory and leaves its files. A VM
// that is gone already is no error.
func (v *VM) Unregister(ctx context.Context) error {
	_, err := methods.UnregisterVM(ctx, v.c.vim, &types.UnregisterVM{This: v.ref})
	if err != nil && !isFault[*types.ManagedObjectNotFound](err) {
		return v.fail("unregister", err)
	}
	return nil
}

// Rename changes the VM's name in vCenter; its files keep theirs.
func (v *VM) Rename(ctx context.Context, name string) error {
	res, err := methods.Rename_Task(ctx, v.c.vim, &types.Rename_Task{This: v.ref, NewName: name})
	if err == nil {
		_, err = v.c.await(ctx, res.Returnval)
	}
	if err != nil {
		return v.fail("rename", err)
	}
	return nil
}

// reconfigure applies one change to the VM.
func (v *VM) reconfigure(ctx context.Context, spec types.VirtualMachineConfigSpec) error {
	res, err := methods.ReconfigVM_Task(ctx, v.c.vim, &types.ReconfigVM_Task{This: v.ref, Spec: spec})
	if err != nil {
		return explain(err)
	}
	_, err = v.c.await(ctx, res.Returnval)
	return err
}

// EnableChangeTracking turns changed block tracking on. It is refused with
// ErrSnapshotsPresent while the VM has snapshots, and with ErrNotSupported by
// VMs that cannot. It takes effect with the next stun: our own snapshot's.
func (v *VM) EnableChangeTracking(ctx context.Context) error {
	var vm mo.VirtualMachine
	err := v.c.get(ctx, v.ref, &vm, "config.changeTrackingEnabled", "capability.changeTrackingSupported", "snapshot")
	if err != nil {
		return v.fail("enable change tracking", err)
	}
	if vm.Config != nil && vm.Config.ChangeTrackingEnabled != nil && *vm.Config.ChangeTrackingEnabled {
		return nil
	}
	if vm.Snapshot != nil && len(vm.Snapshot.RootSnapshotList) > 0 {
		return v.fail("enable change tracking", ErrSnapshotsPresent)
	}
	if !vm.Capability.ChangeTrackingSupported {
		return v.fail("enable change tracking", ErrNotSupported)
	}
	if err := v.reconfigure(ctx, types.VirtualMachineConfigSpec{ChangeTrackingEnabled: types.NewBool(true)}); err != nil {
		return v.fail("enable change tracking", err)
	}
	return nil
}

// ResetChangeTracking makes changed block tracking begin anew, so that no
// earlier change ID is good for anything. The VM is off and has no snapshots.
// Tracking that is off is switched on.
func (v *VM) ResetChangeTracking(ctx context.Context) error {
	for _, on := range []bool{false, true} {
		if err := v.reconfigure(ctx, types.VirtualMachineConfigSpec{ChangeTrackingEnabled: types.NewBool(on)}); err != nil {
			return v.fail("reset change tracking", err)
		}
	}
	return nil
}
