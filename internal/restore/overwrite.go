package restore

import (
	"context"
	"fmt"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
)

// overwrite brings an existing vApp back: new disks are written beside the
// old ones and swapped in; identities survive. VMs that were deleted since
// are rebuilt into it.
func (r *run) overwrite(ctx context.Context) error {
	r.vapp = r.plan.Live
	if err := r.secure(ctx); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.undeploy(ctx); err != nil {
		return err
	}
	if err := r.enter(ctx); err != nil {
		return err
	}
	if err := r.replaced(ctx); err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	href := r.vapp.Href
	for i := range r.plan.VMs {
		vp := &r.plan.VMs[i]
		var err error
		switch vp.Action {
		case plan.Overwrite:
			err = r.step(ctx, "overwrite vm "+vp.Name, func(ctx context.Context) error { return r.overwriteVM(ctx, i, vp) })
		case plan.Rebuild:
			err = r.step(ctx, "rebuild vm "+vp.Name, func(ctx context.Context) error { return r.rebuildInto(ctx, i, vp, &href, nil) })
		}
		if err != nil {
			return err
		}
	}
	return r.reload(ctx, href)
}

// prepare makes VMs fit to have their disks exchanged, and reads what they are
// before that.
func (r *run) prepare(ctx context.Context) error {
	if err := r.discardSnapshots(ctx); err != nil {
		return err
	}
	if r.before != nil {
		return nil // the run that is resumed has read it
	}
	return r.step(ctx, "read what is there", func(ctx context.Context) (err error) {
		if r.before, err = r.capture(ctx); err != nil {
			return err
		}
		return r.remember(ctx)
	})
}

// undeploy stops the vApp before maintenance mode, so that vCD itself
// releases what it holds of the VMs.
func (r *run) undeploy(ctx context.Context) error {
	const suspended = 3 // VmType, status
	deployed := r.vapp.Deployed
	for _, vm := range r.vapp.VMs {
		deployed = deployed || vm.Deployed
		if vm.Status == suspended {
			if err := r.VCD.DiscardSuspendedState(ctx, vm.Href); err != nil {
				return fmt.Errorf("vm %s: discard its suspended state: %w", vm.Name, err)
			}
		}
	}
	if !deployed {
		return nil
	}
	return r.step(ctx, "undeploy", func(ctx context.Context) error {
		return r.VCD.Undeploy(ctx, r.vapp.Href, "powerOff")
	})
}

func (r *run) overwriteVM(ctx context.Context, n int, vp *plan.VM) error {
	if vp.Blocks {
		if err := r.writeBlocks(ctx, vp); err != nil {
			return err
		}
	} else if len(vp.VM.Disks) > 0 || len(vp.Out) > 0 || vp.Swapped {
		if err := r.swapVM(ctx, n, vp); err != nil {
			return err
		}
	}
	r.result.VMs = append(r.result.VMs, VMResult{
		Name: vp.Name, Action: plan.Overwrite, OldID: vp.VM.ID, NewID: vp.Live.ID,
		OldMoRef: vp.VM.MoRef, NewMoRef: vp.LiveMoRef, Disks: len(vp.VM.Disks), Bytes: vp.Bytes, Transport: r.through[vp.Name],
	})
	return nil
}

// swapVM writes the disks and swaps them in.
func (r *run) swapVM(ctx context.Context, n int, vp *plan.VM) error {
	if done, ok := r.swaps[vp.LiveMoRef]; ok {
		r.undo = append(r.undo, done)
		return nil
	}
	client, err := r.VSphere(ctx, vp.VimServerHref)
	if err != nil {
		return err
	}
	var made *scratch
	if r.undoes == nil && len(vp.VM.Disks) > 0 {
		if made, err = r.rebuildDisks(ctx, n, vp); err != nil {
			return err
		}
	}
	files, err := r.planSwap(ctx, made, client, vp)
	if err != nil {
		return err
	}
	detail, err := filesDetail(client.InstanceUUID(), vp.Name, files)
	if err != nil {
		return err
	}
	step := &swap{moref: vp.LiveMoRef, vm: vp.Name, client: client, files: files}
	err = r.intend(ctx, journal.Intent{Kind: mark.Swap, Object: vp.LiveMoRef, Detail: detail}, "swap the old disks of vm "+vp.Name+" back", r.swapBack(step))
	if err != nil {
		return err
	}
	r.undo[len(r.undo)-1].swap = step
	if made != nil {
		if err := r.moveDisks(ctx, made, files); err != nil {
			return err
		}
	}
	// Not to be cancelled: what vCenter has begun it ends, and it must be
	// known which of the disks the VM has.
	swapping, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if err := client.VM(vp.LiveMoRef).ExchangeDisks(swapping, names(files.Old), files.New); err != nil {
		return fmt.Errorf("swap disks: %w", err)
	}
	r.did("swap " + vp.Name)
	if made != nil {
		if err := made.vm.Destroy(ctx); err != nil {
			return fmt.Errorf("remove the scratch VM: %w", err)
		}
		r.did("destroy scratch " + vp.Name)
	}
	return nil
}

// discardSnapshots removes the tenant's snapshots from the VMs that are
// overwritten. There is no way back from this, which the plan says.
func (r *run) discardSnapshots(ctx context.Context) error {
	for _, vp := range r.plan.VMs {
		if vp.Action != plan.Overwrite || vp.Snapshots == 0 {
			continue
		}
		err := r.step(ctx, "remove the snapshots of vm "+vp.Name, func(ctx context.Context) error {
			return r.VCD.RemoveSnapshots(ctx, vp.Live.Href)
		})
		if err != nil {
			return err
		}
		r.did("remove snapshots " + vp.Name)
	}
	return nil
}
