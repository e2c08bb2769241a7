package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
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
	if err != nil {
		return RepositoryInfo{}, fmt.Errorf("repository: %w", err)
	}
	if err := repository.Init(ctx, a.location(), password); err != nil {
		return RepositoryInfo{}, err
	}
	return a.RepositoryShow(ctx, "")
}

// RepositoryShow describes the repository; with the name or id of an org
// also how the stock kopia command connects to that org's part.
func (a *App) RepositoryShow(ctx context.Context, org string) (RepositoryInfo, error) {
	root, _, err := a.open(ctx)
	if err != nil {
		return RepositoryInfo{}, err
	}
	orgs, err := root.Orgs(ctx)
	if err != nil {
		return RepositoryInfo{}, err
	}
	info := RepositoryInfo{ID: root.ID(), URL: a.Config.Repository.URL}
	for _, o := range orgs {
		wanted := o.ID == org || o.Name == org || restorepoint.UUID(o.ID) == restorepoint.UUID(org)
		if org != "" && !wanted {
			continue
		}
		repo, err := root.Existing(ctx, o.ID)
		if err != nil {
			return info, err
		}
		points, err := repo.Points(ctx)
		if err != nil {
			return info, err
		}
		out := OrgInfo{ID: o.ID, Name: o.Name, Points: len(points)}
		for _, p := range points {
			out.Size += p.Size
		}
		if out.Stored, err = sizeOf(repo.Show().Path); err != nil {
			return info, fmt.Errorf("org %s: %w", o.Name, err)
		}
		if org != "" {
			connect := repo.Show()
			out.Connect = &connect
		}
		info.Orgs = append(info.Orgs, out)
	}
	if org != "" && len(info.Orgs) == 0 {
		return info, fmt.Errorf("org %s: %w in the repository", org, repository.ErrNotFound)
	}
	return info, nil
}

// sizeOf adds up the files of a folder. One that vanishes meanwhile is not
// counted.
func sizeOf(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// allPoints lists the restore points of all orgs, oldest first.
func (a *App) allPoints(ctx context.Context) ([]restorepoint.Summary, error) {
	root, _, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	orgs, err := root.Orgs(ctx)
	if err != nil {
		return nil, err
	}
	var out []restorepoint.Summary
	for _, o := range orgs {
		repo, err := root.Existing(ctx, o.ID)
		if err != nil {
			return nil, err
		}
		points, err := repo.Points(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, points...)
	}
	slices.SortFunc(out, func(x, y restorepoint.Summary) int { return strings.Compare(x.ID, y.ID) })
	return out, nil
}

// Points lists the restore points of the vApps that the selectors pick, by
// the names that the vApps had then; all of them where there is no selector.
func (a *App) Points(ctx context.Context, words []string) ([]restorepoint.Summary, error) {
	points, err := a.allPoints(ctx)
	if err != nil || len(words) == 0 {
		return points, err
	}
	selectors, err := parseSelectors(words)
	if err != nil {
		return nil, err
	}
	// A vApp that had several names is picked by any of them.
	var all []selection.Item
	for _, p := range points {
		item := pointItem(p)
		if !slices.Contains(all, item) {
			all = append(all, item)
		}
	}
	picked, err := selection.Pick(all, selectors)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(points, func(p restorepoint.Summary) bool { return !slices.Contains(picked, pointItem(p)) }), nil
}

func pointItem(p restorepoint.Summary) selection.Item {
	return selection.Item{Org: p.Org.Label(), VDC: p.VDC.Label(), VApp: p.VApp.Name, URN: p.VApp.ID}
}

func pointPath(p restorepoint.Summary) string { return pointItem(p).String() }

// find resolves a reference to a restore point.
func (a *App) find(ctx context.Context, ref string) (*repository.Repository, restorepoint.Summary, error) {
	var none restorepoint.Summary
	parsed, err := selection.ParsePoint(ref)
	if err != nil {
		return nil, none, err
	}
	points, err := a.allPoints(ctx)
	if err != nil {
		return nil, none, err
	}
	summary, err := selection.PickPoint(points, parsed)
	if err != nil {
		return nil, none, err
	}
	root, _, err := a.open(ctx)
	if err != nil {
		return nil, none, err
	}
	repo, err := root.Existing(ctx, summary.Org.ID)
	return repo, summary, err
}

// Point loads the manifest of a restore point.
func (a *App) Point(ctx context.Context, ref string) (*restorepoint.Point, error) {
	repo, summary, err := a.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	return repo.Load(ctx, summary.ID)
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

// VerifyResult is what a verification read and found.
type VerifyResult struct {
	Points int                 `json:"points"`
	Disks  int                 `json:"disks"`
	Bytes  int64               `json:"bytes"` // of disk data read back
	Damage []repository.Damage `json:"damage"`
}

// Verify reads restore points back and checks them against what was recorded
// when they were made; all of them where none is named. Percent of the
// blocks are read.
func (a *App) Verify(ctx context.Context, refs []string, percent float64) (VerifyResult, error) {
	var out VerifyResult
	points, err := a.referred(ctx, refs)
	if err != nil {
		return out, err
	}
	root, _, err := a.open(ctx)
	if err != nil {
		return out, err
	}
	for _, p := range points {
		repo, err := root.Existing(ctx, p.Org.ID)
		if err != nil {
			return out, err
		}
		var last int64
		damage, err := repo.Verify(ctx, p.ID, percent, a.verifyProgress(p, &last))
		if err != nil {
			return out, fmt.Errorf("restore point %s: %w", p.ID, err)
		}
		out.Points, out.Disks, out.Bytes = out.Points+1, out.Disks+p.Disks, out.Bytes+last
		out.Damage = append(out.Damage, damage...)
	}
	return out, nil
}

// referred resolves references; without any it returns all points.
func (a *App) referred(ctx context.Context, refs []string) ([]restorepoint.Summary, error) {
	if len(refs) == 0 {
		return a.allPoints(ctx)
	}
	var out []restorepoint.Summary
	for _, ref := range refs {
		_, summary, err := a.find(ctx, ref)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(s restorepoint.Summary) bool { return s.ID == summary.ID }) {
			out = append(out, summary)
		}
	}
	return out, nil
}

// Forget drops restore points and returns the ids of those that are gone.
// Their space is freed by Maintain.
func (a *App) Forget(ctx context.Context, refs []string) ([]string, error) {
	if len(refs) == 0 {
		return nil, errors.New("no restore point named")
	}
	points, err := a.referred(ctx, refs)
	if err != nil {
		return nil, err
	}
	root, _, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, p := range points {
		repo, err := root.Existing(ctx, p.Org.ID)
		if err != nil {
			return gone, err
		}
		if err := repo.Forget(ctx, p.ID); err != nil {
			return gone, fmt.Errorf("restore point %s: %w", p.ID, err)
		}
		gone = append(gone, p.ID)
	}
	return gone, nil
}

// Maintain collects what no restore point refers to any more.
func (a *App) Maintain(ctx context.Context) error {
	root, _, err := a.open(ctx)
	if err != nil {
		return err
	}
	orgs, err := root.Orgs(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range orgs {
		repo, err := root.Existing(ctx, o.ID)
		if err == nil {
			err = repo.Maintain(ctx, repository.MaintainOptions{})
		}
		errs = append(errs, wrap(err, "org %s", o.Name))
	}
	return errors.Join(errs...)
}
