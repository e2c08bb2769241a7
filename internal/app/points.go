package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
)

// RepositoryInfo is what can be said of a repository.
type RepositoryInfo struct {
	ID   string    `json:"id"`
	URL  string    `json:"url"`
	Orgs []OrgInfo `json:"orgs,omitempty"`
}

// OrgInfo is one org's part of a repository.
type OrgInfo struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Points int    `json:"points"`
	Size   int64  `json:"size"`   // bytes, capacity of the disks of all points
	Stored int64  `json:"stored"` // bytes that the org's part takes up, garbage included
	// Connect is what the stock kopia command needs; only where it was
	// asked for, because it holds the password.
	Connect *repository.ConnectInfo `json:"connect,omitempty"`
}

// Init makes the repository root. Where there is one already, it checks the
// password and does no harm.
func (a *App) Init(ctx context.Context) (RepositoryInfo, error) {
	password, err := a.Config.Repository.Password.Read(ctx)
	if file := a.Config.Repository.Password.File; file != "" && errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; make a key with `vappvault repository key %s`", err, file)
	}
	if err != nil {
		return RepositoryInfo{}, fmt.Errorf("repository: %w", err)
	}
	if err := repository.Init(ctx, a.location(), password); err != nil {
		return RepositoryInfo{}, err
	}
	return a.RepositoryShow(ctx, "")
}

// RepositoryShow describes the repository; with the name or id of an org
// also how the stock kopia command connects to that org's part. The error is
// about organizations that cannot be read; the others are described.
func (a *App) RepositoryShow(ctx context.Context, org string) (RepositoryInfo, error) {
	root, err := a.openRepository(ctx)
	if err != nil {
		return RepositoryInfo{}, err
	}
	orgs, err := root.Orgs(ctx)
	if err != nil {
		return RepositoryInfo{}, err
	}
	info := RepositoryInfo{ID: root.ID(), URL: a.Config.Repository.URL}
	var errs []error
	for _, o := range orgs {
		wanted := o.ID == org || o.Name == org || restorepoint.UUID(o.ID) == restorepoint.UUID(org)
		if org != "" && !wanted {
			continue
		}
		out, err := showOrg(ctx, root, o, org != "")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		info.Orgs = append(info.Orgs, out)
	}
	if org != "" && len(info.Orgs) == 0 && len(errs) == 0 {
		return info, fmt.Errorf("org %s: %w in the repository", org, repository.ErrNotFound)
	}
	return info, errors.Join(errs...)
}

// showOrg describes an organization's part of the repository. With the way to
// connect, damage to its points is no error: the way is what helps then.
func showOrg(ctx context.Context, root *repository.Root, o repository.OrgInfo, connect bool) (OrgInfo, error) {
	repo, err := root.Existing(ctx, o.ID)
	if err != nil {
		return OrgInfo{}, err
	}
	points, err := repo.Points(ctx)
	if err != nil && !connect {
		return OrgInfo{}, err
	}
	out := OrgInfo{ID: o.ID, Name: o.Name, Points: len(points)}
	for _, p := range points {
		out.Size += p.Size
	}
	if out.Stored, err = sizeOf(repo.Show().Path); err != nil {
		return OrgInfo{}, fmt.Errorf("org %s: %w", o.Name, err)
	}
	if connect {
		how := repo.Show()
		out.Connect = &how
	}
	return out, nil
}

// Points lists the restore points of the vApps that the selectors pick, by
// the names that the vApps had then; all of them where there is no selector.
// A VM's selector picks the points that hold its disks. Where organizations
// that may be meant cannot be read, the points of the others come with the
// error.
func (a *App) Points(ctx context.Context, words []string) ([]restorepoint.Summary, error) {
	selectors, err := parseSelectors(words)
	if err != nil {
		return nil, err
	}
	known, err := a.allPoints(ctx)
	if err != nil {
		return nil, err
	}
	points := known.points
	if len(words) == 0 {
		return points, known.missing(everything)
	}
	if slices.ContainsFunc(selectors, selection.Selector.MayNameVM) {
		if err := a.fillMembers(ctx, points); err != nil {
			return nil, err
		}
	}
	// A vApp that had several names is picked by any of them.
	seen := map[selection.Item]bool{}
	var all []selection.Item
	for _, p := range points {
		for _, item := range selection.PointItems(p) {
			if !seen[item] {
				seen[item] = true
				all = append(all, item)
			}
		}
	}
	missing := known.missing(selectors...)
	found, err := selection.Pick(all, selectors)
	if err != nil {
		return nil, errors.Join(err, missing)
	}
	picked := map[selection.Item]bool{}
	for _, item := range found {
		picked[item] = true
	}
	return slices.DeleteFunc(points, func(p restorepoint.Summary) bool {
		return !slices.ContainsFunc(selection.PointItems(p), func(it selection.Item) bool { return picked[it] })
	}), missing
}

func pointItem(p restorepoint.Summary) selection.Item { return selection.PointItems(p)[0] }

func pointPath(p restorepoint.Summary) string { return pointItem(p).String() }

// find resolves a reference to a restore point of a vApp.
func (a *App) find(ctx context.Context, ref string) (*repository.Repository, restorepoint.Summary, error) {
	parsed, err := selection.ParsePoint(ref)
	if err != nil {
		return nil, restorepoint.Summary{}, err
	}
	repo, found, err := a.findVMs(ctx, parsed)
	return repo, found.Summary, err
}

// pointed is a restore point and the VMs of it that are meant, by their ids;
// none for all.
type pointed struct {
	restorepoint.Summary
	vms []string
}

// findVMs resolves a reference to a restore point or to VMs of one.
func (a *App) findVMs(ctx context.Context, ref selection.PointRef) (*repository.Repository, pointed, error) {
	summary, err := a.pick(ctx, ref)
	if err != nil {
		return nil, pointed{}, err
	}
	out := pointed{Summary: summary}
	if ref.Selector.MayNameVM() {
		for _, it := range selection.PointItems(summary)[1:] {
			if ref.Selector.Matches(it) {
				out.vms = append(out.vms, it.URN)
			}
		}
	}
	root, err := a.openRepository(ctx)
	if err != nil {
		return nil, pointed{}, err
	}
	repo, err := root.Existing(ctx, summary.Org.ID)
	return repo, out, err
}

// Point loads the manifest of a restore point. Where the reference names VMs
// of it, what is about other VMs is left out.
func (a *App) Point(ctx context.Context, ref string) (*restorepoint.Point, error) {
	parsed, err := selection.ParseVMPoint(ref)
	if err != nil {
		return nil, err
	}
	repo, found, err := a.findVMs(ctx, parsed)
	if err != nil {
		return nil, err
	}
	point, err := repo.Load(ctx, found.ID)
	if err != nil {
		return nil, err
	}
	if len(found.vms) > 0 {
		narrow(point, found.vms)
	}
	return point, nil
}

// narrow leaves of a manifest what is about the vApp and some of its VMs.
func narrow(p *restorepoint.Point, vms []string) {
	others, names := map[string]bool{}, map[string]bool{}
	p.VMs = slices.DeleteFunc(p.VMs, func(vm restorepoint.VM) bool {
		other := !slices.Contains(vms, vm.ID)
		if other {
			others[restorepoint.UUID(vm.ID)], names[vm.Name] = true, true
		}
		return other
	})
	of := func(path string) bool {
		for part := range strings.SplitSeq(path, "/") {
			if others[part] {
				return true
			}
		}
		return false
	}
	p.Documents = slices.DeleteFunc(p.Documents, of)
	maps.DeleteFunc(p.Absent, func(path, _ string) bool { return of(path) })
	p.Problems = slices.DeleteFunc(p.Problems, func(problem restorepoint.Problem) bool { return names[problem.VM] })
}

// Document returns one document of a restore point. Secrets are not
// documents: only a restore opens them.
func (a *App) Document(ctx context.Context, ref, path string) ([]byte, error) {
	repo, summary, err := a.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	if path == restorepoint.SecretsPath {
		return nil, fmt.Errorf("restore point %s: the secrets are for restores only", summary.ID)
	}
	return repo.Document(ctx, summary.ID, path)
}

// referred resolves references. A point that is named twice counts once,
// whole if it is so once.
func (a *App) referred(ctx context.Context, refs []string, parse func(string) (selection.PointRef, error)) (out []pointed, err error) {
	for _, word := range refs {
		ref, err := parse(word)
		if err != nil {
			return nil, err
		}
		_, found, err := a.findVMs(ctx, ref)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(out, func(p pointed) bool { return p.ID == found.ID })
		switch {
		case i < 0:
			out = append(out, found)
		case len(found.vms) == 0 || len(out[i].vms) == 0:
			out[i].vms = nil
		default:
			out[i].vms = append(out[i].vms, found.vms...)
		}
	}
	return out, nil
}
