package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/vappvault/vappvault/internal/diff"
	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// Live is what stands in place of a restore point for a vApp as it is now.
const Live = "live"

// A DiffRequest says what to compare.
type DiffRequest struct {
	From string // reference to a restore point
	To   string // another one, or Live
	All  bool   // what differs all the time, too
}

// Diff compares two restore points, or a restore point with its vApp as it is
// now: that of its id, else the one that has its name. It changes nothing.
func (a *App) Diff(ctx context.Context, q DiffRequest) (*diff.Result, error) {
	from, one, err := a.stored(ctx, q.From)
	if err != nil {
		return nil, err
	}
	var to diff.Side
	two := one
	if q.To == Live {
		to, err = a.live(ctx, from.Point)
	} else {
		to, two, err = a.stored(ctx, q.To)
	}
	if err != nil {
		return nil, err
	}
	return diff.Compute(ctx, from, to, diff.Options{
		All: q.All,
		Contents: func(ctx context.Context, x, y restorepoint.DiskContent) (extent.Set, error) {
			return one.Changed(ctx, x, two, y)
		},
	})
}

// stored loads a restore point to compare.
func (a *App) stored(ctx context.Context, ref string) (diff.Side, *repository.Repository, error) {
	repo, summary, err := a.find(ctx, ref)
	if err != nil {
		return diff.Side{}, nil, err
	}
	point, err := repo.Load(ctx, summary.ID)
	if err != nil {
		return diff.Side{}, nil, err
	}
	docs, err := repo.Documents(ctx, summary.ID)
	if err != nil {
		return diff.Side{}, nil, err
	}
	side, err := diff.Stored(point, docs)
	return side, repo, wrap(err, "restore point %s", summary.ID)
}

// live looks at the vApp of a restore point as it is now.
func (a *App) live(ctx context.Context, p *restorepoint.Point) (diff.Side, error) {
	s, err := a.site(ctx, p.Site.ID)
	if err != nil {
		return diff.Side{}, err
	}
	path := selection.Format(p.Org.Label(), p.VDC.Label(), p.VApp.Name, "")
	vapps, err := s.vcd.VApps(ctx, "")
	if err != nil && !errors.Is(err, vcd.ErrShort) {
		return diff.Side{}, fmt.Errorf("site %s: list vApps: %w", s.ID, err)
	}
	id := ""
	for _, v := range vapps {
		switch {
		case v.ID == p.VApp.ID:
			id = v.ID
		case id == "" && located{v, s}.item().String() == path:
			id = v.ID
		}
		if id == p.VApp.ID {
			break
		}
	}
	if id == "" {
		return diff.Side{}, fmt.Errorf("%s: %w: the vApp of restore point %s is gone", path, selection.ErrNoMatch, p.ID)
	}
	side, err := diff.Live(ctx, diff.Deps{
		VCD: s.vcd, Site: p.Site,
		VSphere: func(ctx context.Context, href string) (*vsphere.Client, error) { return a.vsphereByHref(ctx, s, href) },
	}, id)
	return side, wrap(err, "%s", path)
}
