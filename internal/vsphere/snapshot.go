package vsphere

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Quiescing policies of a SnapshotSpec.
const (
	QuiesceRequire = "require" // fail with ErrQuiesce if the guest cannot be quiesced
	QuiesceTry     = "try"     // fall back to a crash-consistent snapshot
	QuiesceOff     = "off"
)

// What a snapshot's disks are consistent with.
const (
	ConsistencyApplication = "application" // the guest was quiesced
	ConsistencyCrash       = "crash"       // as after a power cut
	ConsistencyOff         = "off"         // the VM was off
)

const (
	// quiesceMinutes bounds how long the guest may stay frozen.
	quiesceMinutes = 5
	// removeAttempts and consolidateAttempts bound how often vCenter is asked
	// again while somebody else holds the VM or its disks.
	removeAttempts      = 6
	consolidateAttempts = 6
)

// A SnapshotSpec says what snapshot to make. The VM's memory is never in it.
type SnapshotSpec struct {
	Name        string
	Description string
	Quiesce     string // QuiesceRequire, QuiesceTry, QuiesceOff
}

// A Snapshot is one snapshot of a VM.
type Snapshot struct {
	Ref         string // managed object reference
	Name        string
	Created     time.Time // by vCenter's clock
	Consistency string    // ConsistencyApplication, ConsistencyCrash, ConsistencyOff
	// QuiesceError is why the guest was not quiesced though that was tried.
	QuiesceError error
	// Disks are those of the snapshot's own hardware: the frozen file names,
	// and the change IDs that the next backup starts from.
	Disks []Disk

	vm *VM
}

// Disk returns the disk with the given device key.
func (s *Snapshot) Disk(key int32) (Disk, bool) { return findDisk(s.Disks, key) }

// CreateSnapshot freezes the VM's disks. When ctx ends while vCenter is at
// it, CreateSnapshot waits for the snapshot and removes it again.
func (v *VM) CreateSnapshot(ctx context.Context, spec SnapshotSpec) (*Snapshot, error) {
	state, err := v.PowerState(ctx)
	if err != nil {
		return nil, err
	}
	running := state == string(types.VirtualMachinePowerStatePoweredOn)
	quiesce := running && (spec.Quiesce == QuiesceRequire || spec.Quiesce == QuiesceTry)

	var quiesceErr error
	made, err := v.createSnapshot(ctx, spec, quiesce)
	if err != nil && quiesce && ctx.Err() == nil {
		quiesceErr = err
		if spec.Quiesce == QuiesceRequire {
			return nil, v.fail("snapshot", fmt.Errorf("%w: %w", ErrQuiesce, err))
		}
		if err := v.removeNamed(ctx, spec.Name); err != nil {
			return nil, err
		}
		made, err = v.createSnapshot(ctx, spec, false)
	}
	if err != nil {
		return nil, v.fail("snapshot", err)
	}
	s, err := v.SnapshotByRef(ctx, made)
	if err == nil && quiesce && s.Consistency != ConsistencyApplication {
		// vCenter takes the snapshot all the same when the guest runs no tools.
		if quiesceErr == nil {
			quiesceErr = errors.New("vCenter did not quiesce the guest; do its VMware Tools run?")
		}
		if spec.Quiesce == QuiesceRequire {
			err = v.fail("snapshot", fmt.Errorf("%w: %w", ErrQuiesce, quiesceErr))
		}
	}
	if err != nil {
		return nil, errors.Join(err, v.discard(ctx, made))
	}
	s.QuiesceError = quiesceErr
	if !running {
		s.Consistency = ConsistencyOff
		if state == string(types.VirtualMachinePowerStateSuspended) {
			s.Consistency = ConsistencyCrash // the guest's caches are in its suspended memory
		}
	}
	return s, nil
}

// createSnapshot returns the new snapshot's reference.
func (v *VM) createSnapshot(ctx context.Context, spec SnapshotSpec, quiesce bool) (string, error) {
	req := types.CreateSnapshotEx_Task{This: v.ref, Name: spec.Name, Description: spec.Description}
	if quiesce {
		req.QuiesceSpec = &types.VirtualMachineGuestQuiesceSpec{Timeout: quiesceMinutes}
	}
	start := func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.CreateSnapshotEx_Task(ctx, v.c.vim, &req)
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}
	return v.c.produce(ctx, start, v.RemoveSnapshot)
}

// discard removes a snapshot of ours that is of no use, whatever became of ctx.
func (v *VM) discard(ctx context.Context, snapshot string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	return v.RemoveSnapshot(ctx, snapshot)
}

// removeNamed removes what a failed attempt may have left under our name.
func (v *VM) removeNamed(ctx context.Context, name string) error {
	left, err := v.SnapshotsNamed(ctx, name)
	if err != nil {
		return err
	}
	for _, s := range left {
		if s.Name != name {
			continue
		}
		if err := v.RemoveSnapshot(ctx, s.Ref); err != nil {
			return err
		}
	}
	return nil
}

// SnapshotByRef reads a snapshot that exists. Its Consistency is what the
// snapshot tree tells: application or crash. ErrNotFound: there is none such.
func (v *VM) SnapshotByRef(ctx context.Context, moref string) (*Snapshot, error) {
	all, err := v.ReadSnapshots(ctx)
	if err != nil {
		return nil, err
	}
	for _, info := range all {
		if info.Ref != moref {
			continue
		}
		s := &Snapshot{Ref: moref, Name: info.Name, Created: info.Created, Consistency: ConsistencyCrash, vm: v}
		if info.Quiesced {
			s.Consistency = ConsistencyApplication
		}
		if s.Disks, err = v.snapshotDisks(ctx, moref); err != nil {
			return nil, v.fail("snapshot "+moref, err)
		}
		return s, nil
	}
	return nil, v.fail("snapshot "+moref, ErrNotFound)
}

func (v *VM) snapshotDisks(ctx context.Context, moref string) ([]Disk, error) {
	var m mo.VirtualMachineSnapshot
	if err := v.c.get(ctx, ref("VirtualMachineSnapshot", moref), &m, "config.hardware.device"); err != nil {
		return nil, err
	}
	list := disks(m.Config.Hardware.Device)
	return list, v.c.nameDatastores(ctx, list)
}

// ReadSnapshots lists the VM's snapshots, parents before their children.
func (v *VM) ReadSnapshots(ctx context.Context) ([]SnapshotInfo, error) {
	var vm mo.VirtualMachine
	if err := v.c.get(ctx, v.ref, &vm, "snapshot"); err != nil {
		return nil, v.fail("snapshots", err)
	}
	return snapshots(vm.Snapshot), nil
}

// SnapshotsNamed lists the VM's snapshots whose names begin so.
func (v *VM) SnapshotsNamed(ctx context.Context, prefix string) ([]SnapshotInfo, error) {
	all, err := v.ReadSnapshots(ctx)
	if err != nil {
		return nil, err
	}
	var list []SnapshotInfo
	for _, s := range all {
		if strings.HasPrefix(s.Name, prefix) {
			list = append(list, s)
		}
	}
	return list, nil
}

// RemoveSnapshot removes one snapshot, leaves its children, and consolidates
// the disks. A snapshot that is gone already is no error. ErrConsolidation
// says that the disks still wait: something, often a dead proxy, holds them.
func (v *VM) RemoveSnapshot(ctx context.Context, moref string) error {
	for attempt := 1; ; attempt++ {
		err := v.removeSnapshot(ctx, moref)
		if err == nil {
			break
		}
		if attempt == removeAttempts || !busy(err) {
			return v.fail("remove snapshot "+moref, err)
		}
		if serr := sleep(ctx, v.c.wait(attempt)); serr != nil {
			return v.fail("remove snapshot "+moref, err)
		}
	}
	return v.consolidate(ctx)
}

func (v *VM) removeSnapshot(ctx context.Context, moref string) error {
	snapshot := ref("VirtualMachineSnapshot", moref)
	res, err := methods.RemoveSnapshot_Task(ctx, v.c.vim, &types.RemoveSnapshot_Task{
		This: snapshot, RemoveChildren: false, Consolidate: types.NewBool(true),
	})
	if err == nil {
		_, err = v.c.await(ctx, res.Returnval)
	}
	if isFault[*types.ManagedObjectNotFound](err) {
		return nil
	}
	return explain(err)
}

// consolidate sees to it that no disk of the VM waits for consolidation.
func (v *VM) consolidate(ctx context.Context) error {
	var last error
	for attempt := 1; attempt <= consolidateAttempts; attempt++ {
		needed, err := v.ConsolidationNeeded(ctx)
		if errors.Is(err, ErrNotFound) {
			return nil // the VM went away, and its disks with it
		}
		if err != nil || !needed {
			return err
		}
		if attempt > 1 {
			if err := sleep(ctx, v.c.wait(attempt)); err != nil {
				return v.fail("consolidate disks", errors.Join(last, err))
			}
		}
		res, err := methods.ConsolidateVMDisks_Task(ctx, v.c.vim, &types.ConsolidateVMDisks_Task{This: v.ref})
		if err == nil {
			_, err = v.c.await(ctx, res.Returnval)
		}
		last = explain(err)
	}
	needed, err := v.ConsolidationNeeded(ctx)
	if err != nil || !needed {
		return err
	}
	if last != nil {
		return v.fail("consolidate disks", fmt.Errorf("%w: %w", ErrConsolidation, last))
	}
	return v.fail("consolidate disks", ErrConsolidation)
}

// ConsolidationNeeded reports whether the VM has disks that a removed
// snapshot left to be merged.
func (v *VM) ConsolidationNeeded(ctx context.Context) (bool, error) {
	var vm mo.VirtualMachine
	if err := v.c.get(ctx, v.ref, &vm, "runtime.consolidationNeeded"); err != nil {
		return false, v.fail("consolidation", err)
	}
	return vm.Runtime.ConsolidationNeeded, nil
}

// busy reports whether the VM was held by something that will let go.
func busy(err error) bool {
	return isFault[types.BaseTaskInProgress](err) || isFault[*types.ConcurrentAccess](err) ||
		isFault[*types.FileLocked](err) || isFault[*types.ResourceInUse](err)
}
