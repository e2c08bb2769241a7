package app

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
)

// A catalog is what a repository holds, as far as it can be read: damage of
// one organization's part must not hide the restore points of the others.
type catalog struct {
	points []restorepoint.Summary // oldest first
	unread []unread               // sorted by organization
}

// An unread is an organization whose points could not be listed, or not all
// of them.
type unread struct {
	repository.OrgInfo
	err error
}

// label is what to call the organization.
func (u unread) label() string {
	if u.Name == "" {
		return u.ID
	}
	return u.Name
}

// missing returns why organizations that the selectors may mean could not be
// read, or nil.
func (c catalog) missing(selectors ...selection.Selector) error {
	var errs []error
	for _, u := range c.unread {
		if slices.ContainsFunc(selectors, func(s selection.Selector) bool { return s.MayBeIn(u.Name) }) {
			errs = append(errs, u.err)
		}
	}
	return errors.Join(errs...)
}

// everything selects what there is.
var everything selection.Selector

// allPoints lists the restore points of all organizations.
func (a *App) allPoints(ctx context.Context) (catalog, error) {
	root, err := a.openRepository(ctx)
	if err != nil {
		return catalog{}, err
	}
	orgs, err := root.Orgs(ctx)
	if err != nil {
		return catalog{}, err
	}
	return list(ctx, root, orgs)
}

// list lists the restore points of some organizations. To open one is mostly
// work of a processor, so several are opened at once.
func list(ctx context.Context, root *repository.Root, orgs []repository.OrgInfo) (catalog, error) {
	points, errs := make([][]restorepoint.Summary, len(orgs)), make([]error, len(orgs))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, o := range orgs {
		g.Go(func() error {
			repo, err := root.Existing(ctx, o.ID)
			if err == nil {
				points[i], err = repo.Points(ctx)
			}
			errs[i] = err
			return context.Cause(ctx)
		})
	}
	if err := g.Wait(); err != nil {
		return catalog{}, err
	}
	var c catalog
	for i, o := range orgs {
		c.points = append(c.points, points[i]...)
		if errs[i] != nil {
			c.unread = append(c.unread, unread{o, errs[i]})
		}
	}
	slices.SortFunc(c.points, func(x, y restorepoint.Summary) int { return strings.Compare(x.ID, y.ID) })
	return c, nil
}

// pick resolves a reference. Where the reference names an organization, and
// the one of that name has such a point, no other is opened.
func (a *App) pick(ctx context.Context, ref selection.PointRef) (restorepoint.Summary, error) {
	root, err := a.openRepository(ctx)
	if err != nil {
		return restorepoint.Summary{}, err
	}
	orgs, err := root.Orgs(ctx)
	if err != nil {
		return restorepoint.Summary{}, err
	}
	if ref.ID == "" && ref.Selector.NamesOrg() {
		named := slices.DeleteFunc(slices.Clone(orgs), func(o repository.OrgInfo) bool { return o.Name == "" || !ref.Selector.MayBeIn(o.Name) })
		c, err := list(ctx, root, named)
		if err != nil {
			return restorepoint.Summary{}, err
		}
		if found, err := a.pickOf(ctx, c, ref); !errors.Is(err, selection.ErrNoMatch) {
			return found, err
		}
	}
	// By a name that the organization has had, by an id, by a bare name.
	c, err := list(ctx, root, orgs)
	if err != nil {
		return restorepoint.Summary{}, err
	}
	return a.pickOf(ctx, c, ref)
}

// pickOf picks one point of a catalog. What could not be read is a warning
// if the point is found all the same, or else a reason why it is not.
func (a *App) pickOf(ctx context.Context, c catalog, ref selection.PointRef) (restorepoint.Summary, error) {
	if ref.Selector.MayNameVM() {
		if err := a.fillMembers(ctx, c.points); err != nil {
			return restorepoint.Summary{}, err
		}
	}
	missing := c.missing(ref.Selector)
	summary, err := selection.PickPoint(c.points, ref)
	switch {
	case missing == nil:
	case errors.Is(err, selection.ErrNoMatch):
		return summary, fmt.Errorf("%w among those that can be read: %w", err, missing)
	case err == nil && ref.ID == "":
		a.warnOf("there may be a newer point, or another vApp of that name", missing)
	}
	return summary, err
}

// warnOf says what follows from parts of the repository that are unreadable.
func (a *App) warnOf(what string, missing error) {
	if missing != nil {
		a.Progress.Emit(progress.Event{Kind: progress.Warn, Message: fmt.Sprintf("%s: %v", what, missing)})
	}
}

// fillMembers reads the VMs of points that do not list them, which are of
// old, from their manifests. A manifest that is damaged is warned of.
func (a *App) fillMembers(ctx context.Context, points []restorepoint.Summary) error {
	root, err := a.openRepository(ctx)
	if err != nil {
		return err
	}
	for i, p := range points {
		if len(p.Members) > 0 || p.VMs == 0 {
			continue
		}
		repo, err := root.Existing(ctx, p.Org.ID)
		if err != nil {
			return err
		}
		point, err := repo.Load(ctx, p.ID)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			a.warnOf("the VMs of a restore point are not known", err)
		default:
			points[i].Members = point.Summary().Members
		}
	}
	return nil
}
