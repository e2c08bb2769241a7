package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
)

// A RestoreOutcome is what became of one of many vApps.
type RestoreOutcome struct {
	VApp     string          // selector
	Point    string          // id of the restore point
	Result   *restore.Result // nil where not even a plan came of it
	Err      error
	Duration time.Duration

	work *restoreWork // nil where Err came before it
}

// ManyPoints tells whether references mean restore points of several vApps.
func ManyPoints(refs []string) bool {
	if len(refs) > 1 {
		return true
	}
	ref, err := selection.ParsePoints(refs[0])
	return err == nil && ref.Many()
}

// RestoreMany restores the newest points of all vApps that the references
// mean, in the order of their selectors, some side by side. All are planned
// first, each with what the others take counted in. One that is refused or
// fails, be it because its restore point is damaged or its site does not
// answer, does not stop the others: the error is then ErrPartial, or their own
// where nothing was done. With Overwrite vApps that are gone are rebuilt.
// An organization that cannot be read, and that the references may mean, is
// an outcome, too. With DryRun nothing is changed.
func (a *App) RestoreMany(ctx context.Context, refs []string, q RestoreRequest) ([]RestoreOutcome, error) {
	q.Many = true
	out, err := a.works(ctx, refs, q)
	if err != nil {
		return nil, err
	}
	batch := &plan.Batch{}
	for i := range out {
		o := &out[i]
		if o.Err != nil {
			continue
		}
		if o.Result, o.Err = o.work.plan(ctx, batch); o.Err != nil {
			o.Err = fmt.Errorf("%s: %w", o.VApp, o.Err)
		}
		if q.Planned != nil && o.Result != nil {
			q.Planned(o.Result.Plan)
		}
	}
	if !q.DryRun {
		a.restoreEach(ctx, out, q)
	}
	return out, together(ctx, out)
}

// works finds the restore points of all references, each once, and after them
// the organizations that may have more of them but cannot be read.
func (a *App) works(ctx context.Context, refs []string, q RestoreRequest) ([]RestoreOutcome, error) {
	root, _, err := a.open(ctx) // what is wrong with either is so for all
	if err != nil {
		return nil, err
	}
	known, err := a.allPoints(ctx)
	if err != nil {
		return nil, err
	}
	points, selectors, err := known.pickMany(refs)
	if err != nil {
		return nil, err
	}
	var out []RestoreOutcome
	for _, p := range points {
		o := RestoreOutcome{VApp: pointPath(p), Point: p.ID}
		repo, err := root.Existing(ctx, p.Org.ID)
		if err == nil {
			o.work, err = a.workOf(ctx, repo, p.ID, "", q)
		}
		if ctx.Err() != nil {
			return nil, cmp.Or(err, ctx.Err())
		}
		o.Err = wrap(err, "%s", o.VApp)
		out = append(out, o)
	}
	for _, u := range known.unread {
		if slices.ContainsFunc(selectors, func(s selection.Selector) bool { return s.MayBeIn(u.Name) }) {
			out = append(out, RestoreOutcome{VApp: selection.Format(u.label(), "*", "*", ""), Err: u.err})
		}
	}
	return out, nil
}

// pickMany returns the restore points that references mean, each once, and
// the selectors among the references.
func (c catalog) pickMany(refs []string) (points []restorepoint.Summary, selectors []selection.Selector, err error) {
	for _, ref := range refs {
		parsed, err := selection.ParsePoints(ref)
		if err != nil {
			return nil, nil, err
		}
		if parsed.ID == "" {
			selectors = append(selectors, parsed.Selector)
		}
		picked, err := selection.PickPoints(c.points, parsed)
		if err != nil {
			return nil, nil, errors.Join(err, c.missing(selectors...))
		}
		for _, p := range picked {
			if !slices.ContainsFunc(points, func(o restorepoint.Summary) bool { return o.ID == p.ID }) {
				points = append(points, p)
			}
		}
	}
	return points, selectors, nil
}

// plan plans one of many. An overwrite of a vApp that is gone is its rebuild.
func (w *restoreWork) plan(ctx context.Context, batch *plan.Batch) (*restore.Result, error) {
	w.deps.Batch = batch
	p, err := restore.Compute(ctx, &w.deps, w.point, w.options)
	if err == nil && w.options.Overwrite && gone(p) {
		w.options.Overwrite, w.options.KeepOld = false, false
		p, err = restore.Compute(ctx, &w.deps, w.point, w.options)
	}
	w.deps.Batch = nil
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return &restore.Result{Plan: p, VAppName: p.VAppName}, p.Refused()
}

func gone(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Conflicts, func(c plan.Conflict) bool { return c.Kind == plan.KindVAppGone })
}

// restoreEach carries out the plans that were not refused.
func (a *App) restoreEach(ctx context.Context, out []RestoreOutcome, q RestoreRequest) {
	parallel := q.Parallel
	q.Planned = nil // they were shown
	if parallel == 0 {
		parallel = a.Config.Limits.VApps
	}
	var group errgroup.Group
	group.SetLimit(max(1, parallel))
	for i := range out {
		if out[i].Err != nil {
			continue
		}
		group.Go(func() error {
			began := time.Now()
			if out[i].Err = ctx.Err(); out[i].Err == nil {
				out[i].Result, out[i].Err = a.carryOut(ctx, out[i].work, q)
			}
			out[i].Duration = time.Since(began)
			return nil
		})
	}
	_ = group.Wait() // each keeps its own error
}

// together is the error of many restores.
func together(ctx context.Context, all []RestoreOutcome) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var errs []error
	partial := false
	for _, o := range all {
		if o.Err != nil {
			errs = append(errs, o.Err)
			partial = partial || errors.Is(o.Err, ErrPartial)
		}
	}
	switch {
	case len(errs) == 0:
		return nil
	case len(errs) < len(all) || partial:
		return fmt.Errorf("%w: %d of %d vApps: %w", ErrPartial, len(errs), len(all), errors.Join(errs...))
	}
	return errors.Join(errs...)
}
