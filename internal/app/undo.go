package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// An UndoRequest names an overwrite to undo.
type UndoRequest struct {
	Which  string // selector of the vApp, or id of the run
	DryRun bool
	plan.Options
	// Planned, where set, is handed the plan before it is applied.
	Planned func(*plan.Plan) `json:"-"`
}

// Undoable lists the overwrites that kept what they replaced, oldest first:
// all of them, or those of the vApps that a selector picks, or of one run.
func (a *App) Undoable(ctx context.Context, which string) ([]restore.Kept, error) {
	if _, _, err := a.open(ctx); err != nil {
		return nil, err
	}
	all, err := restore.ListKept(ctx, a.journal, journal.Filter{})
	if err != nil || which == "" {
		return all, err
	}
	if i := slices.IndexFunc(all, func(k restore.Kept) bool { return k.Run == which }); i >= 0 {
		return all[i : i+1], nil
	}
	selectors, err := parseSelectors([]string{which})
	if err != nil {
		return nil, err
	}
	var known []selection.Item
	for _, k := range all {
		known = append(known, keptItem(k))
	}
	picked, err := selection.Pick(known, selectors)
	if errors.Is(err, selection.ErrNoMatch) {
		return nil, fmt.Errorf("%s: %w: only an overwrite with --keep-old or --changed-blocks is, until the next one", which, restore.ErrNothingKept)
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(k restore.Kept) bool { return !slices.Contains(picked, keptItem(k)) }), nil
}

// KeptPath is the selector of the vApp that was overwritten.
func KeptPath(k restore.Kept) string { return keptItem(k).String() }

func keptItem(k restore.Kept) selection.Item {
	return selection.Item{Org: k.Org.Label(), VDC: k.VDC.Label(), VApp: k.VApp.Name, URN: k.VApp.ID}
}

// kept finds the one overwrite that a request means, and what it takes to
// work on it.
func (a *App) kept(ctx context.Context, which string) (*restore.Kept, *site, restore.Deps, error) {
	found, err := a.Undoable(ctx, which)
	if err != nil {
		return nil, nil, restore.Deps{}, err
	}
	if len(found) != 1 {
		return nil, nil, restore.Deps{}, fmt.Errorf("%s: %d overwrites can be undone: name one by its run", which, len(found))
	}
	k := &found[0]
	s, err := a.site(ctx, k.Site)
	if err != nil {
		return nil, nil, restore.Deps{}, err
	}
	repo, err := a.root.Existing(ctx, k.Org.ID)
	if err != nil {
		return nil, nil, restore.Deps{}, err
	}
	return k, s, restore.Deps{
		VCD: s.vcd, Repository: repo, Journal: a.journal, Limits: a.limits, Site: s.ID, Progress: a.Progress, Logger: a.Logger, Hook: a.Hook,
		Importers:          a.importers(),
		Targets:            a.targets(),
		SafetyPoint:        a.safetyPoint(s),
		VSphere:            func(ctx context.Context, href string) (*vsphere.Client, error) { return a.vsphereByHref(ctx, s, href) },
		VCenter:            func(ctx context.Context, uuid string) (*vsphere.Client, error) { return a.vsphereByUUID(ctx, s, uuid) },
		MaintenanceTimeout: a.Config.Limits.MaintenanceTimeout,
	}, nil
}

// Undo takes an overwrite back that kept what it replaced, or with DryRun only
// plans that.
func (a *App) Undo(ctx context.Context, q UndoRequest) (*restore.Result, error) {
	if half, err := a.halfWritten(ctx, q.Which); err != nil || half != nil {
		return a.undoHalf(ctx, q, half, err)
	}
	k, s, deps, err := a.kept(ctx, q.Which)
	if err != nil {
		return nil, err
	}
	if k.Safety != "" {
		return a.Restore(ctx, RestoreRequest{Point: k.Safety, DryRun: q.DryRun, Options: undoBlocks(q.Options), Planned: q.Planned})
	}
	if q.DryRun {
		p, err := restore.PlanUndo(ctx, deps, k, q.Options)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", keptItem(*k), err)
		}
		return &restore.Result{Plan: p, VAppName: p.VAppName}, p.Refused()
	}
	var result *restore.Result
	err = a.under(ctx, s, k.VApp.ID, "undo", func(ctx context.Context, claim *journal.Claim) (err error) {
		deps.Claim, deps.Planned = claim, q.Planned
		result, err = restore.Undo(ctx, deps, k, q.Options)
		return err
	})
	if err != nil {
		return result, fmt.Errorf("%s: undo run %s: %w", keptItem(*k), k.Run, err)
	}
	if result.Incomplete() {
		return result, fmt.Errorf("%w: %d VMs could not be brought back, %d fields differ from what they were",
			ErrPartial, result.Missing, len(result.Unexplained()))
	}
	return result, nil
}

// undoBlocks are the options of a restore that writes a safety point back.
func undoBlocks(o plan.Options) plan.Options {
	o.Overwrite, o.ChangedBlocks, o.EveryBlock, o.NoSafetyPoint, o.KeepOld = true, true, true, true, false
	return o
}

// halfWritten finds the interrupted run that a request to undo means, if disks
// are half written.
func (a *App) halfWritten(ctx context.Context, which string) (*restore.Interrupted, error) {
	found, err := a.Resumable(ctx, which)
	if errors.Is(err, restore.ErrNothingToResume) {
		return nil, nil
	}
	found = slices.DeleteFunc(found, func(i restore.Interrupted) bool { return !i.HalfWritten })
	if err != nil || which == "" || len(found) != 1 {
		return nil, err
	}
	return &found[0], nil
}

// undoHalf goes on with an interrupted run, but towards what was there.
func (a *App) undoHalf(ctx context.Context, q UndoRequest, i *restore.Interrupted, err error) (*restore.Result, error) {
	switch {
	case err != nil:
		return nil, err
	case q.DryRun:
		return nil, fmt.Errorf("run %s: disks are half written: there is nothing to plan", i.Run)
	case i.Safety == "":
		return nil, fmt.Errorf("run %s: %w: it was made without a safety point", i.Run, restore.ErrNothingKept)
	}
	i.Point, i.Options = i.Safety, undoBlocks(q.Options)
	return a.resume(ctx, i, q.Planned)
}

// ForgetKept gives up what an overwrite kept: it cannot be undone any more. It
// returns the files that were left because something refers to them.
func (a *App) ForgetKept(ctx context.Context, which string) (k *restore.Kept, left []string, err error) {
	k, s, deps, err := a.kept(ctx, which)
	if err != nil {
		return nil, nil, err
	}
	err = a.under(ctx, s, k.VApp.ID, "forget what was kept", func(ctx context.Context, claim *journal.Claim) error {
		deps.Claim = claim
		left, err = restore.ForgetKept(ctx, deps, k)
		return err
	})
	if err != nil {
		return k, left, fmt.Errorf("%s: run %s: %w", keptItem(*k), k.Run, err)
	}
	return k, left, nil
}
