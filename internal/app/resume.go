package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/selection"
)

// Resumable lists the overwrites that were interrupted and not taken back
// since: all of them, or those of the vApps that a selector picks, or a run.
func (a *App) Resumable(ctx context.Context, which string) ([]restore.Interrupted, error) {
	if _, _, err := a.open(ctx); err != nil {
		return nil, err
	}
	all, err := restore.ListInterrupted(ctx, a.journal, journal.Filter{})
	if err != nil || which == "" {
		return all, err
	}
	if i := slices.IndexFunc(all, func(r restore.Interrupted) bool { return r.Run == which }); i >= 0 {
		return all[i : i+1], nil
	}
	selectors, err := parseSelectors([]string{which})
	if err != nil {
		return nil, err
	}
	item := func(r restore.Interrupted) selection.Item {
		return selection.Item{Org: r.Org.Label(), VDC: r.VDC.Label(), VApp: r.VApp.Name, URN: r.VApp.ID}
	}
	var known []selection.Item
	for _, r := range all {
		known = append(known, item(r))
	}
	picked, err := selection.Pick(known, selectors)
	if errors.Is(err, selection.ErrNoMatch) {
		return nil, fmt.Errorf("%s: %w", which, restore.ErrNothingToResume)
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(r restore.Interrupted) bool { return !slices.Contains(picked, item(r)) }), nil
}

// Resume goes on with an interrupted overwrite, by its vApp or its run; ""
// means the only one there is.
func (a *App) Resume(ctx context.Context, which string, planned func(*plan.Plan)) (*restore.Result, error) {
	found, err := a.Resumable(ctx, which)
	switch {
	case errors.Is(err, restore.ErrNothingToResume):
		return nil, errors.Join(err, a.othersLeft(ctx, which))
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, errors.Join(restore.ErrNothingToResume, a.othersLeft(ctx, which))
	case len(found) > 1:
		return nil, fmt.Errorf("%d overwrites were interrupted: name a vApp or a run", len(found))
	}
	return a.resume(ctx, &found[0], planned)
}

// othersLeft names restores that were interrupted and are not overwrites of a
// whole vApp, with the way out.
func (a *App) othersLeft(ctx context.Context, which string) error {
	intents, err := a.journal.OpenIntents(ctx, journal.Filter{})
	if err != nil {
		return err
	}
	restores := []string{mark.Swap, mark.ScratchVM, mark.Import, mark.NewVApp}
	var runs []string
	byName := !slices.ContainsFunc(intents, func(i journal.Intent) bool { return i.Run == which })
	for _, i := range intents {
		if slices.Contains(restores, i.Kind) && !slices.Contains(runs, i.Run) && (byName || i.Run == which) {
			runs = append(runs, i.Run)
		}
	}
	var errs []error
	for _, run := range runs {
		errs = append(errs, fmt.Errorf("run %s left a restore half done that is no overwrite of a whole vApp: `reconcile` takes it back, then begin it again", run))
	}
	return errors.Join(errs...)
}

func (a *App) resume(ctx context.Context, i *restore.Interrupted, planned func(*plan.Plan)) (result *restore.Result, err error) {
	w, err := a.work(ctx, RestoreRequest{Point: i.Point, Options: i.Options})
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", i.Run, err)
	}
	claim, err := a.journal.Claim(ctx, w.site.ID, i.VApp.ID, "restore")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, claim.Release(context.WithoutCancel(ctx))) }()
	held, cancel := claim.Context(ctx)
	defer cancel()
	w.deps.Claim, w.deps.Planned = claim, planned
	result, err = restore.Resume(held, w.deps, w.point, i)
	return finished(result, err, w)
}
