package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/backup"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// A BackupRequest says what to back up and how.
type BackupRequest struct {
	Selectors []string // of vApps and of VMs
	All       bool
	Metadata  map[string]string // only vApps with all of these
	// VMMetadata takes of each vApp only the VMs with all of these.
	VMMetadata   map[string]string
	Exclude      []string // selectors of vApps and VMs to leave out
	ExcludeDisks []string // selectors of disks, VM:DISK
	// Maintenance is full, snapshot or none; "" is full.
	Maintenance string
	Quiesce     string // require, try, off; "" is try
	Full        bool
	// SamplePercent of unchanged blocks to check; negative means what the
	// configuration says.
	SamplePercent float64
	// Parallel is how many vApps are backed up at once; 0 means what the
	// configuration says.
	Parallel int
}

// A BackupResult is what became of one vApp, or with Point nil and an Err
// that is selection.ErrNoMatch, of a selector.
type BackupResult struct {
	VApp     string              // selector
	Point    *restorepoint.Point // nil where none was made
	Err      error               // with a Point: what could not be undone, an ErrPartial
	Duration time.Duration
}

// Backup backs up every vApp that the request picks, some of them side by
// side. One that fails does not stop the others: the error is then
// ErrPartial, or the failure itself where nothing was made at all. It is
// ErrPartial, too, where one of several selectors matches nothing, vCD does not
// show all vApps that it has, or a site could not be looked at. The results are in the order of the vApps'
// selectors, whichever ended first; selectors that match nothing follow.
func (a *App) Backup(ctx context.Context, q BackupRequest) ([]BackupResult, error) {
	picked, short := a.picked(ctx, q)
	if short != nil && !inPart(short) {
		return nil, short
	}
	if _, _, err := a.open(ctx); err != nil {
		return nil, err
	}
	out := a.backupEach(ctx, picked, q)
	a.unused(q, out)
	out = append(out, picked.wrong...)
	err := outcome(ctx, out)
	if short != nil && err == nil {
		return out, fmt.Errorf("%w: %w", ErrPartial, short)
	}
	return out, errors.Join(err, short)
}

// backupEach backs up the vApps that were picked, so many at once.
func (a *App) backupEach(ctx context.Context, picked picked, q BackupRequest) []BackupResult {
	parallel := q.Parallel
	if parallel == 0 {
		parallel = a.Config.Limits.VApps
	}
	out := make([]BackupResult, len(picked.vapps))
	var group errgroup.Group
	group.SetLimit(max(1, parallel))
	for i, v := range picked.vapps {
		out[i].VApp = v.item().String()
		if ctx.Err() != nil {
			out[i].Err = fmt.Errorf("%s: %w", v.item(), ctx.Err())
			continue
		}
		group.Go(func() error {
			began := time.Now()
			out[i].Point, out[i].Err = a.backup(ctx, v, picked.choice, q)
			out[i].Duration = time.Since(began)
			return nil
		})
	}
	_ = group.Wait() // each vApp keeps its own error
	return out
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
	case partial:
		errs = append(errs, ErrPointPartial)
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrPartial, errors.Join(errs...))
	}
	return nil
}

// unused warns of exclusions of VMs and disks that excluded nothing: a
// misspelt one protects too much, which does no harm but costs room.
func (a *App) unused(q BackupRequest, results []BackupResult) {
	used := map[string]bool{}
	for _, r := range results {
		if r.Err != nil || r.Point == nil {
			return // what was not looked at is not known
		}
		for _, gap := range r.Point.Gaps() {
			used[gap.Reason] = true
		}
	}
	warn := func(flag, word, canonical string) {
		if !used["excluded by "+flag+" "+canonical] {
			a.Progress.Emit(progress.Event{Kind: progress.Warn, Message: flag + " " + word + " excluded nothing"})
		}
	}
	for _, word := range q.Exclude {
		if s, err := selection.Parse(word); err == nil && s.NamesVM() {
			warn("--exclude", word, s.String())
		}
	}
	for _, word := range q.ExcludeDisks {
		if d, err := selection.ParseDisk(word); err == nil {
			warn("--exclude-disk", word, d.String())
		}
	}
}

func (a *App) backup(ctx context.Context, v located, choice selection.Choice, q BackupRequest) (point *restorepoint.Point, err error) {
	err = a.under(ctx, v.site, v.ID, "backup", func(ctx context.Context, claim *journal.Claim) error {
		point, err = a.backupUnder(ctx, claim, v, choice, q)
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

// backupUnder backs up a vApp whose claim is held and on which nothing is left
// to settle.
func (a *App) backupUnder(ctx context.Context, claim *journal.Claim, v located, choice selection.Choice, q BackupRequest) (*restorepoint.Point, error) {
	repo, err := a.root.Org(ctx, v.OrgID, v.OrgName)
	if err != nil {
		return nil, err
	}
	sample := q.SamplePercent
	if sample < 0 {
		sample = a.Config.Limits.Sample
	}
	return backup.Run(ctx, backup.Deps{
		VCD: v.site.vcd, Openers: a.openers, Repository: repo, Journal: a.journal, Claim: claim,
		Limits: a.limits, CheckpointBytes: int64(a.Config.Limits.Checkpoint),
		VSphere: func(ctx context.Context, href string) (*vsphere.Client, error) {
			return a.vsphereByHref(ctx, v.site, href)
		},
		Progress: a.Progress, Logger: a.Logger, Hook: a.Hook,
	}, backup.Options{
		Site: restorepoint.Ref{ID: v.site.ID, Href: v.site.URL}, VAppID: v.ID, Item: v.item(), Choice: choice,
		Maintenance: orElse(q.Maintenance, backup.MaintenanceFull), MaintenanceTimeout: a.Config.Limits.MaintenanceTimeout,
		Quiesce: orElse(q.Quiesce, vsphere.QuiesceTry), Full: q.Full, SamplePercent: sample, ToolVersion: a.Version,
	})
}

// safetyPoint returns what makes a restore point of a vApp before blocks are
// written over its disks.
func (a *App) safetyPoint(s *site) func(context.Context, *journal.Claim, *vcd.VApp) (*restorepoint.Point, error) {
	return func(ctx context.Context, claim *journal.Claim, vapp *vcd.VApp) (*restorepoint.Point, error) {
		found, err := s.vcd.VApps(ctx, vcd.Filter("name==", vapp.Name))
		if err != nil {
			return nil, fmt.Errorf("find vApp: %w", err)
		}
		for _, ref := range found {
			if ref.ID != vapp.ID {
				continue
			}
			v := located{VAppRef: ref, site: s}
			choice, err := choiceOf(BackupRequest{Selectors: []string{vapp.ID}})
			if err != nil {
				return nil, err
			}
			return a.backupUnder(ctx, claim, v, choice, BackupRequest{SamplePercent: -1})
		}
		return nil, fmt.Errorf("vApp %s: %w", vapp.Name, selection.ErrNoMatch)
	}
}

// picked is what a request means.
type picked struct {
	vapps  []located
	choice selection.Choice
	wrong  []BackupResult // the selectors that match nothing, or too much
}

// picked returns what a request means; with an error that is inPart of what
// could be seen.
func (a *App) picked(ctx context.Context, q BackupRequest) (p picked, short error) {
	if len(q.Selectors) == 0 && !q.All && len(q.Metadata) == 0 && len(q.VMMetadata) == 0 {
		return p, errors.New("no vApp named: give selectors, --metadata or --all")
	}
	var err error
	if p.choice, err = choiceOf(q); err != nil {
		return p, err
	}
	vapps, short := a.vapps(ctx)
	if short != nil && !inPart(short) {
		return p, short
	}
	var vms map[string][]selection.Item
	if len(q.VMMetadata) > 0 || slices.ContainsFunc(p.choice.Wanted, selection.Selector.MayNameVM) {
		var err error
		vms, err = a.vmItems(ctx, vapps)
		if err != nil && !inPart(err) {
			return p, err
		}
		short = errors.Join(short, err)
	}
	p.vapps = p.matching(vapps, vms)
	if len(p.vapps) == 0 && len(p.wrong) > 0 {
		var errs []error
		for _, w := range p.wrong {
			errs = append(errs, w.Err)
		}
		return p, orShort(errors.Join(errs...), short)
	}
	p.vapps = among(p.vapps, selection.Drop(items(p.vapps), p.choice.Excluded))
	if p.vapps, err = withMetadata(ctx, p.vapps, q.Metadata); err != nil {
		return p, err
	}
	if len(q.VMMetadata) > 0 {
		if err := p.vmsWithMetadata(ctx, vms, q.VMMetadata); err != nil {
			return p, err
		}
	}
	// A vApp of which single VMs were meant needs one that is left.
	p.vapps = slices.DeleteFunc(p.vapps, func(v located) bool {
		return !p.choice.Whole(v.item()) && !slices.ContainsFunc(vms[v.ID], func(vm selection.Item) bool {
			counts, _ := p.choice.VM(v.item(), vm)
			return counts
		})
	})
	if len(p.vapps) == 0 {
		return p, orShort(fmt.Errorf("%w: no vApp is left to back up", selection.ErrNoMatch), short)
	}
	return p, short
}

func choiceOf(q BackupRequest) (c selection.Choice, err error) {
	if c.Wanted, err = parseSelectors(q.Selectors); err != nil {
		return c, err
	}
	if c.Excluded, err = parseSelectors(q.Exclude); err != nil {
		return c, err
	}
	for _, word := range q.ExcludeDisks {
		d, err := selection.ParseDisk(word)
		if err != nil {
			return c, err
		}
		c.ExcludedDisks = append(c.ExcludedDisks, d)
	}
	return c, nil
}

// matching returns the vApps that the selectors pick, whole or one of their
// VMs, and notes the selectors that pick nothing.
func (p *picked) matching(vapps []located, vms map[string][]selection.Item) []located {
	if len(p.choice.Wanted) == 0 {
		return vapps
	}
	var all []selection.Item
	home := map[selection.Item]string{} // -> URN of the vApp
	for _, v := range vapps {
		for _, it := range append([]selection.Item{v.item()}, vms[v.ID]...) {
			all, home[it] = append(all, it), v.ID
		}
	}
	found, wrong := selection.PickEach(all, p.choice.Wanted)
	for _, w := range wrong {
		p.wrong = append(p.wrong, BackupResult{VApp: w.Selector.String(), Err: w.Err})
	}
	urns := map[string]bool{}
	for _, it := range found {
		urns[home[it]] = true
	}
	return slices.DeleteFunc(slices.Clone(vapps), func(v located) bool { return !urns[v.ID] })
}

// vmItems lists the VMs of vApps as selectors know them, by the URN of the
// vApp. An error that is inPart comes with those that could be seen.
func (a *App) vmItems(ctx context.Context, vapps []located) (map[string][]selection.Item, error) {
	vms, short := a.vms(ctx, vapps)
	out := map[string][]selection.Item{}
	for _, v := range vapps {
		for _, vm := range vms[v.ID] {
			it := v.item()
			it.VM, it.URN = vm.Name, vm.ID
			out[v.ID] = append(out[v.ID], it)
		}
	}
	return out, short
}

// orShort adds to an error about a list why the list may be to blame.
func orShort(err, short error) error {
	if short == nil {
		return err
	}
	return fmt.Errorf("%w; %v", err, short) //nolint:errorlint // nothing comes with it
}

// asking is how many objects are asked for their metadata side by side.
const asking = 8

// withMetadata keeps the vApps that have all of some metadata entries.
func withMetadata(ctx context.Context, vapps []located, wanted map[string]string) ([]located, error) {
	if len(wanted) == 0 {
		return vapps, nil
	}
	has := make([]bool, len(vapps))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asking)
	for i, v := range vapps {
		group.Go(func() (err error) {
			has[i], err = hasMetadata(ctx, v.site, v.Href, wanted)
			return wrap(err, "vApp %s", v.Name)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var out []located
	for i, v := range vapps {
		if has[i] {
			out = append(out, v)
		}
	}
	return out, nil
}

// vmsWithMetadata makes of the VMs of the vApps that were picked only those
// count that have all of some metadata entries.
func (p *picked) vmsWithMetadata(ctx context.Context, vms map[string][]selection.Item, wanted map[string]string) error {
	has := make([][]bool, len(p.vapps))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asking)
	for i, v := range p.vapps {
		has[i] = make([]bool, len(vms[v.ID]))
		for j, vm := range vms[v.ID] {
			group.Go(func() (err error) {
				has[i][j], err = hasMetadata(ctx, v.site, v.site.vcd.Href(vm.URN), wanted)
				return wrap(err, "vApp %s: vm %s", v.Name, vm.VM)
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	p.choice.Only, p.choice.Because = map[string]bool{}, "not selected: it lacks the metadata of --vm-metadata"
	for i, v := range p.vapps {
		for j, vm := range vms[v.ID] {
			if has[i][j] {
				p.choice.Only[vm.URN] = true
			}
		}
	}
	return nil
}

// hasMetadata tells whether an entity has all of some metadata entries,
// whatever their types and domains.
func hasMetadata(ctx context.Context, s *site, href string, wanted map[string]string) (bool, error) {
	entries, err := s.vcd.Metadata(ctx, href)
	if err != nil {
		return false, fmt.Errorf("metadata: %w", err)
	}
	for key, value := range wanted {
		if !slices.ContainsFunc(entries, func(e vcd.MetadataEntry) bool { return e.Key == key && e.Value == value }) {
			return false, nil
		}
	}
	return true, nil
}
