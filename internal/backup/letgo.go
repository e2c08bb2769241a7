package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// letGo removes our snapshots and enables relocation again. It goes through
// all VMs whatever happens to one of them. Once it did so in good order it
// does nothing more: what failed stays in the journal.
func (r *run) letGo(ctx context.Context) error {
	pending := slices.ContainsFunc(r.vms, func(vm *vmRun) bool { return vm.snapshotMade || vm.relocDisabled })
	if !pending || r.letGone {
		return nil
	}
	return r.step(ctx, "remove snapshots", func(ctx context.Context) error {
		var group errgroup.Group
		group.SetLimit(4)
		for _, vm := range r.vms {
			group.Go(func() error {
				vm.left = r.letGoVM(ctx, vm)
				return nil
			})
		}
		_ = group.Wait() // each VM keeps its own error
		var errs []error
		for _, vm := range r.vms {
			if vm.left != nil {
				errs = append(errs, fmt.Errorf("vm %s: %w", vm.rec.Name, vm.left))
			}
		}
		return errors.Join(errs...)
	})
}

func (r *run) letGoVM(ctx context.Context, vm *vmRun) error {
	var errs []error
	if vm.snapshotMade {
		if err := RemoveSnapshots(ctx, vm.vm, mark.SnapshotName(r.id)); err != nil {
			errs = append(errs, err)
		} else {
			r.did("remove snapshot " + vm.rec.Name)
			errs = append(errs, r.Journal.Settle(ctx, vm.snapshotIntent))
			vm.snapshotMade = false
		}
	}
	if vm.relocDisabled {
		if err := vm.vm.EnableRelocation(ctx, mark.DisableSource); err != nil {
			errs = append(errs, err)
		} else {
			r.did("enable relocation " + vm.rec.Name)
			errs = append(errs, r.Journal.Settle(ctx, vm.relocIntent))
			vm.relocDisabled = false
		}
	}
	return errors.Join(errs...)
}

// RemoveSnapshots removes every snapshot of a VM that bears the given name
// and nothing else, and sees to it that no disk of it waits to be merged. A
// snapshot or VM that is gone already is no error.
func RemoveSnapshots(ctx context.Context, vm *vsphere.VM, name string) error {
	snapshots, err := vm.SnapshotsNamed(ctx, name)
	if errors.Is(err, vsphere.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	removed := false
	for _, s := range snapshots {
		if s.Name != name {
			continue
		}
		if err := vm.RemoveSnapshot(ctx, s.Ref); err != nil {
			return fmt.Errorf("remove snapshot %s: %w", s.Name, err)
		}
		removed = true
	}
	if removed {
		return nil // and consolidated
	}
	// An earlier attempt may have removed the snapshot and no more.
	if err := vm.Consolidate(ctx); err != nil {
		return fmt.Errorf("after snapshot %s: %w", name, err)
	}
	return nil
}
