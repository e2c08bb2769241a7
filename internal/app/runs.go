package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vappvault/vappvault/internal/backup"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/maintenance"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/reconcile"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// A BackupRequest says what to back up and how.
type BackupRequest struct {
	Selectors []string
	All       bool
	Metadata  map[string]string // only vApps with all of these
	Exclude   []string          // selectors of vApps to leave out
	// Maintenance is full, snapshot or none; "" is full.
	Maintenance string
	Quiesce     string // require, try, off; "" is try
	Full        bool
	// SamplePercent of unchanged blocks to check; negative means what the
	// configuration says.
	SamplePercent float64
}

// A BackupResult is what became of one vApp.
type BackupResult struct {
	VApp     string              // selector
	Point    *restorepoint.Point // nil where none was made
	Err      error               // with a Point: what could not be undone, an ErrPartial
	Duration time.Duration
}

// Backup backs up every vApp that the request picks, one after the other.
// One that fails does not stop the others: the error is then ErrPartial, or
// the failure itself where nothing was made at all. It is ErrPartial, too,
// where vCD does not show all vApps that it has.
func (a *App) Backup(ctx context.Context, q BackupRequest) ([]BackupResult, error) {
	vapps, short := a.picked(ctx, q)
	if short != nil && !errors.Is(short, vcd.ErrShort) {
		return nil, short
	}
	if _, _, err := a.open(ctx); err != nil {
		return nil, err
	}
	var out []BackupResult
	for _, v := range vapps {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		began := time.Now()
		point, err := a.backup(ctx, v, q)
		out = append(out, BackupResult{VApp: v.item().String(), Point: point, Err: err, Duration: time.Since(began)})
	}
	err := outcome(ctx, out)
	if short != nil && err == nil {
		return out, fmt.Errorf("%w: %w", ErrPartial, short)
	}
	return out, errors.Join(err, short)
}

// outcome is the error of many backups.
func outcome(ctx context.Context, results []BackupResult) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var errs []error
	partial := false
	for _, r := range results {
		if r.Err != nil {
			errs = append(errs, r.Err)
		} else {
			partial = partial || r.Point.State != restorepoint.Complete
		}
	}
	switch {
	case len(errs) == len(results) && len(errs) > 0:
		return errors.Join(errs...)
	case len(errs) > 0:
		return fmt.Errorf("%w: %w", ErrPartial, errors.Join(errs...))
	case partial:
		return fmt.Errorf("%w: something is missing in a restore point", ErrPartial)
	}
	return nil
}

// picked returns the vApps that a request means; with vcd.ErrShort those of
// them that vCD shows.
func (a *App) picked(ctx context.Context, q BackupRequest) (vapps []located, short error) {
	if len(q.Selectors) == 0 && !q.All && len(q.Metadata) == 0 {
		return nil, errors.New("no vApp named: give selectors, --metadata or --all")
	}
	vapps, short = a.vapps(ctx)
	if short != nil && !errors.Is(short, vcd.ErrShort) {
		return nil, short
	}
	vapps, err := pick(vapps, q.Selectors)
	if err != nil {
		return nil, orShort(err, short)
	}
	exclude, err := parseSelectors(q.Exclude)
	if err != nil {
		return nil, err
	}
	vapps = among(vapps, selection.Drop(items(vapps), exclude))
	for key, value := range q.Metadata {
		if vapps, err = withMetadata(ctx, vapps, key, value); err != nil {
			return nil, err
		}
	}
	if len(vapps) == 0 {
		return nil, orShort(fmt.Errorf("%w: no vApp is left to back up", selection.ErrNoMatch), short)
	}
	return vapps, short
}

// orShort adds to an error about a list why the list may be to blame.
func orShort(err, short error) error {
	if short == nil {
		return err
	}
	return fmt.Errorf("%w; %v", err, short) //nolint:errorlint // nothing comes with it
}

// withMetadata keeps the vApps that have a metadata entry.
func withMetadata(ctx context.Context, vapps []located, key, value string) ([]located, error) {
	var out []located
	for _, v := range vapps {
		entries, err := v.site.vcd.Metadata(ctx, v.Href)
		if err != nil {
			return nil, fmt.Errorf("vApp %s: metadata: %w", v.Name, err)
		}
		if slices.ContainsFunc(entries, func(e vcd.MetadataEntry) bool { return e.Key == key && e.Value == value }) {
			out = append(out, v)
		}
	}
	return out, nil
}

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

func (a *App) backup(ctx context.Context, v located, q BackupRequest) (point *restorepoint.Point, err error) {
	repo, err := a.root.Org(ctx, v.OrgID, v.OrgName)
	if err != nil {
		return nil, fmt.Errorf("vApp %s: %w", v.Name, err)
	}
	sample := q.SamplePercent
	if sample < 0 {
		sample = a.Config.Limits.Sample
	}
	err = a.under(ctx, v.site, v.ID, "backup", func(ctx context.Context, claim *journal.Claim) error {
		point, err = backup.Run(ctx, backup.Deps{
			VCD: v.site.vcd, Openers: a.openers, Repository: repo, Journal: a.journal, Claim: claim,
			VSphere: func(ctx context.Context, href string) (*vsphere.Client, error) {
				return a.vsphereByHref(ctx, v.site, href)
			},
			Progress: a.Progress, Logger: a.Logger, Hook: a.Hook,
		}, backup.Options{
			Site: restorepoint.Ref{ID: v.site.ID, Href: v.site.URL}, VAppID: v.ID,
			Maintenance: orElse(q.Maintenance, backup.MaintenanceFull), MaintenanceTimeout: a.Config.Limits.MaintenanceTimeout,
			Quiesce: orElse(q.Quiesce, vsphere.QuiesceTry), Full: q.Full, SamplePercent: sample,
			Disks: a.Config.Limits.Disks, ToolVersion: a.Version,
		})
		return err
	})
	switch {
	case err != nil && point != nil:
		return point, fmt.Errorf("%s: %w: %w", v.item(), ErrPartial, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", v.item(), err)
	}
	return point, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// A RestoreRequest says what to restore and how.
type RestoreRequest struct {
	Point     string // reference: ULID, SELECTOR@latest, SELECTOR@TIME
	Overwrite bool
	As        string
	IP        string // keep, pool
	MAC       string // keep, new
	KeepOld   bool
	DryRun    bool
	PowerOn   bool
	// Planned, where set, is handed the plan before it is applied.
	Planned func(*plan.Plan) `json:"-"`
}

// Restore brings a restore point back, or with DryRun only plans it.
func (a *App) Restore(ctx context.Context, q RestoreRequest) (*restore.Result, error) {
	repo, summary, err := a.find(ctx, q.Point)
	if err != nil {
		return nil, err
	}
	point, err := repo.Load(ctx, summary.ID)
	if err != nil {
		return nil, err
	}
	s, err := a.site(ctx, point.Site.ID)
	if err != nil {
		return nil, err
	}
	deps := restore.Deps{
		VCD: s.vcd, Repository: repo, Journal: a.journal, Site: s.ID, Progress: a.Progress, Logger: a.Logger, Hook: a.Hook,
		VSphere:            func(ctx context.Context, href string) (*vsphere.Client, error) { return a.vsphereByHref(ctx, s, href) },
		MaintenanceTimeout: a.Config.Limits.MaintenanceTimeout,
	}
	options := plan.Options{Overwrite: q.Overwrite, As: q.As, IP: q.IP, MAC: q.MAC, KeepOld: q.KeepOld, PowerOn: q.PowerOn}
	if q.DryRun {
		p, err := restore.Compute(ctx, &deps, point, options)
		if err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
		return &restore.Result{Plan: p, VAppName: p.VAppName}, p.Refused()
	}
	var result *restore.Result
	err = a.under(ctx, s, point.VApp.ID, "restore", func(ctx context.Context, claim *journal.Claim) (err error) {
		deps.Claim, deps.Planned = claim, q.Planned
		result, err = restore.Run(ctx, deps, point, options)
		return err
	})
	if err != nil {
		return result, fmt.Errorf("%s: restore point %s: %w", selection.Format(point.Org.Label(), point.VDC.Label(), point.VApp.Name, ""), point.ID, err)
	}
	if result.Incomplete() {
		return result, fmt.Errorf("%w: %d VMs or disks are not in the restore point, %d fields differ from it",
			ErrPartial, result.Missing, len(result.Unexplained()))
	}
	return result, nil
}

// Reconcile settles what crashed runs left, of every vApp in the journal and
// of every vApp that bears a mark.
func (a *App) Reconcile(ctx context.Context) ([]reconcile.Settled, error) {
	if _, _, err := a.open(ctx); err != nil {
		return nil, err
	}
	sites, err := a.allSites(ctx)
	if err != nil {
		return nil, err
	}
	var out []reconcile.Settled
	var errs []error
	for _, s := range sites {
		ids, paths, err := a.suspects(ctx, s)
		errs = append(errs, err)
		for _, id := range ids {
			settled, err := a.reconcileVApp(ctx, s, id)
			for _, t := range settled {
				t.Path = paths[id]
				out = append(out, t)
			}
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}

// suspects lists the vApps that may need settling: those with open intents,
// those in maintenance mode or with our mark, those with VMs that bear a
// snapshot of ours. The paths are those of the vApps that there are, by id.
// What could not be looked at is in the error, beside what was found.
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

func (a *App) verifyProgress(p restorepoint.Summary, last *int64) func(done, total int64) {
	return func(done, total int64) {
		*last = done
		a.Progress.Emit(progress.Event{
			Kind: progress.Bytes, Step: "verify", Org: p.Org.Name, VApp: p.VApp.Name, Disk: "restore point " + p.ID, Done: done, Total: total,
		})
	}
}
