package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/maintenance"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/reconcile"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
	"github.com/vappvault/vappvault/internal/wording"
)

// under claims a vApp, settles what earlier runs left on it, and runs do.
func (a *App) under(ctx context.Context, s *site, vappID, what string, do func(context.Context, *journal.Claim) error) (err error) {
	claim, err := a.journal.Claim(ctx, s.ID, vappID, what)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, claim.Release(context.WithoutCancel(ctx)))
	}()
	ctx, cancel := claim.Context(ctx)
	defer cancel()
	settled, err := reconcile.VApp(ctx, a.reconcileDeps(s), s.ID, vappID)
	for _, t := range settled {
		switch {
		case t.Err == nil:
			a.Progress.Emit(progress.Event{Kind: progress.Info, Message: "left by an earlier run: " + t.Object + ": " + t.Action})
		case err == nil: // else it is part of the error
			a.Progress.Emit(progress.Event{Kind: progress.Warn, VM: t.Object, Message: fmt.Sprintf("%s: %v", t.Action, t.Err)})
		}
	}
	if err != nil {
		return fmt.Errorf("settle what an earlier run left: %w", err)
	}
	return do(ctx, claim)
}

func (a *App) reconcileDeps(s *site) reconcile.Deps {
	return reconcile.Deps{
		VCD: s.vcd, Journal: a.journal, Logger: a.Logger, Hook: a.Hook,
		VCenter: func(ctx context.Context, uuid string) (*vsphere.Client, error) { return a.vsphereByUUID(ctx, s, uuid) },
		VSphere: func(ctx context.Context, href string) (*vsphere.Client, error) { return a.vsphereByHref(ctx, s, href) },
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// A RestoreRequest says what to restore and how.
type RestoreRequest struct {
	Point  string // reference: ULID, SELECTOR@latest, SELECTOR@TIME
	DryRun bool
	// Parallel is how many of many vApps are restored at once; 0 means what
	// the configuration says.
	Parallel int
	plan.Options
	// Planned, where set, is handed the plan before it is applied.
	Planned func(*plan.Plan) `json:"-"`
	// Saved, where set, is the plan that must come out again.
	Saved *plan.File `json:"-"`
}

// Restore brings a restore point back, or with DryRun only plans it.
func (a *App) Restore(ctx context.Context, q RestoreRequest) (*restore.Result, error) {
	w, err := a.work(ctx, q)
	if err != nil {
		return nil, err
	}
	if q.DryRun {
		p, err := restore.Compute(ctx, &w.deps, w.point, w.options)
		if err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
		err = p.Refused()
		if err == nil && q.Saved != nil {
			err = q.Saved.Check(p)
		}
		return &restore.Result{Plan: p, VAppName: p.VAppName}, err
	}
	return a.carryOut(ctx, w, q)
}

// carryOut restores one point.
func (a *App) carryOut(ctx context.Context, w *restoreWork, q RestoreRequest) (*restore.Result, error) {
	var result *restore.Result
	err := a.under(ctx, w.site, w.point.VApp.ID, "restore", func(ctx context.Context, claim *journal.Claim) (err error) {
		w.deps.Claim, w.deps.Planned = claim, q.Planned
		if q.Saved != nil {
			w.deps.Check = q.Saved.Check
		}
		result, err = restore.Run(ctx, w.deps, w.point, w.options)
		return err
	})
	return finished(result, err, w)
}

// finished names the restore in its error, and says what is not as it was.
func finished(result *restore.Result, err error, w *restoreWork) (*restore.Result, error) {
	if err != nil {
		return result, fmt.Errorf("%s: restore point %s: %w", pointPath(w.point.Summary()), w.point.ID, err)
	}
	if result.Incomplete() {
		return result, fmt.Errorf("%w: %w: %s", ErrPartial, ErrNotAsItWas, strings.Join(losses(result), "; "))
	}
	return result, nil
}

// losses words what a restore could not give back.
func losses(r *restore.Result) []string {
	var out []string
	if r.Missing > 0 {
		out = append(out, fmt.Sprintf("VMs or disks that are not in the restore point: %d", r.Missing))
	}
	if n := len(r.Unexplained()); n > 0 {
		out = append(out, wording.Count(n, "unexplained difference"))
	}
	for _, c := range r.Plan.Conflicts {
		if c.Loss {
			out = append(out, c.Object+": "+c.Message+": "+c.Resolution)
		}
	}
	return out
}

// A restoreWork is one restore point and what is needed to restore it.
type restoreWork struct {
	site    *site
	deps    restore.Deps
	point   *restorepoint.Point
	options plan.Options
}

// work finds the restore point of a request and connects to its site.
func (a *App) work(ctx context.Context, q RestoreRequest) (*restoreWork, error) {
	ref, vm, err := selection.SplitVM(q.Point)
	if err != nil {
		return nil, err
	}
	repo, summary, err := a.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	return a.workOf(ctx, repo, summary.ID, vm, q)
}

// workOf is work where the restore point was found, and the pattern of the VMs
// of it that the reference names, if any.
func (a *App) workOf(ctx context.Context, repo *repository.Repository, id, vm string, q RestoreRequest) (*restoreWork, error) {
	point, err := repo.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	if q.VMs, err = withVMs(q.VMs, vm, point); err != nil {
		return nil, err
	}
	if q.Disks, err = diskNames(ctx, repo, point, q.Disks); err != nil {
		return nil, err
	}
	if q.Best {
		if err := best(ctx, repo, point); err != nil {
			return nil, err
		}
	}
	s, err := a.site(ctx, cmp.Or(q.Overrides.Site, point.Site.ID))
	if err != nil {
		return nil, err
	}
	_, j, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	return &restoreWork{site: s, point: point, options: q.Options, deps: restore.Deps{
		VCD: s.vcd, Repository: repo, Journal: j, Limits: a.limits, Site: s.ID, Progress: a.Progress, Logger: a.Logger, Hook: a.Hook,
		Importers:          a.importers(),
		Targets:            a.targets(),
		SafetyPoint:        a.safetyPoint(s),
		VSphere:            func(ctx context.Context, href string) (*vsphere.Client, error) { return a.vsphereByHref(ctx, s, href) },
		VCenter:            func(ctx context.Context, uuid string) (*vsphere.Client, error) { return a.vsphereByUUID(ctx, s, uuid) },
		MaintenanceTimeout: a.Config.Limits.MaintenanceTimeout,
	}}, nil
}

// Reconcile settles what crashed runs left, of every vApp in the journal and
// of every vApp that bears a mark. With ErrPartial a site was left out.
func (a *App) Reconcile(ctx context.Context) ([]reconcile.Settled, error) {
	if _, _, err := a.open(ctx); err != nil {
		return nil, err
	}
	var out []reconcile.Settled
	var errs []error
	unseen := a.eachSite(ctx, a.siteIDs(), func(s *site) error {
		ids, paths, err := a.suspects(ctx, s)
		if paths == nil {
			return err
		}
		errs = append(errs, err)
		for _, id := range ids {
			settled, err := a.reconcileVApp(ctx, s, id)
			for _, t := range settled {
				t.Path = paths[id]
				out = append(out, t)
			}
			errs = append(errs, err)
		}
		return nil
	})
	err := errors.Join(append(errs, unseen)...)
	if errors.Is(unseen, ErrSiteLeftOut) {
		err = fmt.Errorf("%w: %w", ErrPartial, err)
	}
	return out, err
}

// suspects lists the vApps that may need settling: those with open intents,
// those in maintenance mode or with our mark, those with VMs that bear a
// snapshot of ours. The paths are those of the vApps that there are, by id.
// What could not be looked at is in the error, beside what was found; where
// that is the whole site there are no paths.
func (a *App) suspects(ctx context.Context, s *site) (ids []string, paths map[string]string, err error) {
	intents, err := a.journal.OpenIntents(ctx, journal.Filter{Site: s.ID})
	if err != nil {
		return nil, nil, err
	}
	add := func(id string) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, i := range intents {
		add(i.VApp)
	}
	vapps, short := s.vcd.VApps(ctx, "")
	if short != nil {
		short = fmt.Errorf("site %s: list vApps: %w", s.ID, short)
	}
	if short != nil && !errors.Is(short, vcd.ErrShort) {
		return nil, nil, short
	}
	marked, unseen := a.marked(ctx, s)
	unseen = errors.Join(unseen, short)
	paths = map[string]string{}
	for _, v := range vapps {
		paths[v.ID] = located{v, s}.item().String()
		if v.InMaintenance || marked[v.ID] {
			add(v.ID)
		}
	}
	withMark, err := s.vcd.VApps(ctx, "metadata@SYSTEM:"+mark.RunKey+"==STRING:*")
	if err != nil {
		err = fmt.Errorf("site %s: list vApps that bear the mark of a run: %w", s.ID, err)
	}
	if err != nil && !errors.Is(err, vcd.ErrShort) {
		return nil, nil, err
	}
	unseen = errors.Join(unseen, err)
	for _, v := range withMark {
		add(v.ID)
	}
	return ids, paths, unseen
}

// marked returns the vApps with VMs in vSphere that bear marks of ours. What
// could not be looked at is in the error, beside what was found.
func (a *App) marked(ctx context.Context, s *site) (map[string]bool, error) {
	vms, short := s.vcd.VMs(ctx, "")
	if short != nil {
		short = fmt.Errorf("site %s: list VMs: %w", s.ID, short)
	}
	if short != nil && !errors.Is(short, vcd.ErrShort) {
		return nil, short
	}
	out, unseen := map[string]bool{}, map[string]error{}
	for _, vm := range vms {
		if vm.MoRef == "" || unseen[vm.VCenterHref] != nil {
			continue
		}
		client, err := a.vsphereByHref(ctx, s, vm.VCenterHref)
		if err != nil {
			unseen[vm.VCenterHref] = err
			continue
		}
		snapshots, err := client.VM(vm.MoRef).ReadSnapshots(ctx)
		if err != nil && !errors.Is(err, vsphere.ErrNotFound) {
			unseen[vm.Href] = fmt.Errorf("vm %s: %w", vm.Name, err)
		}
		for _, snapshot := range snapshots {
			if _, ours := mark.Ours(snapshot.Name); ours {
				out[vm.VAppID] = true
			}
		}
	}
	errs := []error{short}
	for _, err := range unseen {
		errs = append(errs, fmt.Errorf("site %s: %w", s.ID, err))
	}
	return out, errors.Join(errs...)
}

// reconcileVApp settles one vApp, unless a run is alive on it.
func (a *App) reconcileVApp(ctx context.Context, s *site, id string) (settled []reconcile.Settled, err error) {
	claim, err := a.journal.Claim(ctx, s.ID, id, "reconcile")
	if errors.Is(err, journal.ErrClaimed) {
		a.Progress.Emit(progress.Event{Kind: progress.Info, Message: fmt.Sprintf("left alone, a run is alive: %v", err)})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, claim.Release(context.WithoutCancel(ctx))) }()
	settled, err = reconcile.VApp(ctx, a.reconcileDeps(s), s.ID, id)
	if errors.Is(err, maintenance.ErrStolen) {
		a.Progress.Emit(progress.Event{Kind: progress.Info, Message: fmt.Sprintf("left alone: %v", err)})
		return settled, nil
	}
	return settled, err
}

func (a *App) verifyProgress(p restorepoint.Summary) func(done, total int64) {
	return func(done, total int64) {
		a.Progress.Emit(progress.Event{
			Kind: progress.Bytes, Step: "verify", Org: p.Org.Name, VApp: p.VApp.Name, What: "restore point " + p.ID, Done: done, Total: total,
		})
	}
}
