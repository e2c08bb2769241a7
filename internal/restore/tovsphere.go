package restore

import (
	"context"
	"errors"
	"fmt"

	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// toVSphere makes the VMs in a folder of vSphere. vCD is left alone.
func (r *run) toVSphere(ctx context.Context, folder string) (err error) {
	defer func() {
		if err != nil && !r.committed {
			err = errors.Join(err, r.takeBack(ctx))
		}
	}()
	n := 0
	for i := range r.plan.VMs {
		vp := &r.plan.VMs[i]
		if vp.Action != plan.Rebuild {
			continue
		}
		err := r.step(ctx, "make vm "+vp.Name, func(ctx context.Context) error { return r.makeInVSphere(ctx, n, vp, folder) })
		if err != nil {
			return err
		}
		n++
	}
	return r.step(ctx, "settle", r.commitPoint)
}

func (r *run) makeInVSphere(ctx context.Context, n int, vp *plan.VM, folder string) error {
	made, err := r.rebuild(ctx, n, vp)
	if err != nil {
		return err
	}
	// From now on it is known by its reference: its name will not be ours.
	u := &r.undo[len(r.undo)-1]
	if err := r.Journal.Amend(ctx, u.intent, map[string]string{"moref": made.moref, "final": vp.Name}); err != nil {
		return err
	}
	u.do = func(ctx context.Context) error {
		return RemoveMade(ctx, made.client, made.moref, made.name, vp.Name)
	}
	at, err := made.client.MakeFolder(ctx, vp.Datastore.ID, folder)
	if err != nil {
		return err
	}
	if err := made.vm.Settle(ctx, at, vp.Name); err != nil {
		return err
	}
	r.did("settle " + vp.Name)
	r.result.VMs = append(r.result.VMs, VMResult{
		Name: vp.Name, Action: plan.Rebuild, OldID: vp.VM.ID, OldMoRef: vp.VM.MoRef, NewMoRef: made.moref,
		Disks: len(vp.VM.Disks), Bytes: vp.Bytes, Transport: r.through[vp.Name],
	})
	return nil
}

// RemoveMade destroys a VM that a restore made in vSphere, as long as it bears
// one of the names that the restore gave it.
func RemoveMade(ctx context.Context, client *vsphere.Client, moref string, names ...string) error {
	vm := client.VM(moref)
	now, err := vm.Name(ctx)
	if errors.Is(err, vsphere.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if now == name {
			if err := vm.Destroy(ctx); err != nil {
				return fmt.Errorf("destroy VM %s: %w", now, err)
			}
			return nil
		}
	}
	return nil // somebody took it over
}
