package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
)

// ErrNothingKept says that an overwrite kept no disks, so that it cannot be
// undone.
var ErrNothingKept = errors.New("no overwrite that can be undone")

// reversal opens what a vApp was before an overwrite, and turns it into what
// a restore works from.
func reversal(d *Deps, k *Kept, o *plan.Options) (*safety, error) {
	if k.sealed == "" {
		return nil, fmt.Errorf("run %s: %w: the record of what the vApp was is not there", k.Run, ErrNothingKept)
	}
	s, err := k.unseal(d.Repository)
	if err != nil {
		return nil, err
	}
	d.docs, d.made = s.Docs, []string{}
	for _, vm := range k.VMs {
		d.made = append(d.made, names(vm.Files.New)...)
	}
	o.VMs, o.Overwrite = s.Only, len(s.Only) == 0
	return s, nil
}

// PlanUndo plans the undoing of an overwrite without changing anything.
func PlanUndo(ctx context.Context, d Deps, k *Kept, o plan.Options) (*plan.Plan, error) {
	s, err := reversal(&d, k, &o)
	if err != nil {
		return nil, err
	}
	p, err := Compute(ctx, &d, &s.Point, o)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p.Undo = k.Run
	return p, nil
}

// Undo takes an overwrite back that kept the disks it replaced: they are
// swapped in again, and the vApp gets back the settings that it had. The disks
// that the overwrite wrote are deleted, or with KeepOld kept: then the undo can
// be undone.
func Undo(ctx context.Context, d Deps, k *Kept, o plan.Options) (*Result, error) {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := reversal(&d, k, &o)
	if err != nil {
		return nil, err
	}
	p, err := Compute(ctx, &d, &s.Point, o)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p.Undo = k.Run
	r := newRun(d, p, &s.Point)
	r.undoes = k
	return r.run(ctx)
}

// ForgetKept deletes the disks that an overwrite kept, and what was recorded
// for its undo. It returns the files that it left because something refers to
// them. The caller holds the vApp's claim.
func ForgetKept(ctx context.Context, d Deps, k *Kept) (left []string, err error) {
	// From here on it cannot be undone, whatever happens on the way.
	var drop []journal.Intent
	for _, vm := range k.VMs {
		detail, err := filesDetail(vm.VCenter, vm.Name, vm.Files)
		if err != nil {
			return nil, err
		}
		drop = append(drop, journal.Intent{
			Claim: d.Claim.Token, Run: k.Run, Site: d.Site, VApp: k.VApp.ID, Kind: mark.OldDisk, Object: vm.MoRef, Detail: detail,
		})
	}
	ids, err := d.Journal.Replace(ctx, k.intents, drop)
	if err != nil {
		return nil, err
	}
	if d.Hook != nil {
		d.Hook("forget")
	}
	var errs []error
	for i, vm := range k.VMs {
		client, err := d.VCenter(ctx, vm.VCenter)
		var files []string
		if err == nil {
			files, err = DropOld(ctx, client, vm.MoRef, vm.Files)
		}
		if err == nil {
			err = d.Journal.Settle(ctx, ids[i])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("vm %s: delete its former disks: %w", vm.Name, err))
		}
		left = append(left, files...)
	}
	return left, errors.Join(errs...)
}

// reapply gives a vApp whose disks were swapped back the settings that it had
// before, as far as it goes: this runs after something has failed.
func (r *run) reapply(ctx context.Context) error {
	if !r.applying || r.before == nil || r.halfSwapped {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	back, err := r.backward(ctx)
	if err == nil {
		err = back.way().apply(ctx)
	}
	if err != nil {
		r.warn("", fmt.Sprintf("its settings may be partly those of the restore point, the same restore again finishes them: %v", err))
	}
	return nil
}

// backward is a run that applies what a vApp was before this one.
func (r *run) backward(ctx context.Context) (*run, error) {
	d, o := r.Deps, plan.Options{VMs: r.before.Only, Overwrite: len(r.before.Only) == 0}
	d.docs, d.made, d.Progress = r.before.Docs, []string{}, nil
	p, err := Compute(ctx, &d, &r.before.Point, o)
	if err != nil {
		return nil, err
	}
	b := newRun(d, p, &r.before.Point)
	b.was = d.docs
	// What the run made of it since counts.
	if b.vapp, err = r.VCD.VApp(ctx, r.vapp.ID); err != nil {
		return nil, err
	}
	if b.docs, b.changes, err = p.Rewrite(d.docs); err != nil {
		return nil, err
	}
	for _, vm := range r.before.Point.VMs {
		if vp := b.planned(vm.ID); vp != nil && vp.Action == plan.Overwrite {
			b.result.VMs = append(b.result.VMs, VMResult{Name: vm.Name, Action: plan.Overwrite, OldID: vm.ID, NewID: vm.ID, OldMoRef: vm.MoRef, NewMoRef: vm.MoRef})
		}
	}
	return b, nil
}
