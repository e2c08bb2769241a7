package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/selection"
)

// VerifyResult is what a verification read and found.
type VerifyResult struct {
	Points int                 `json:"points"`
	Disks  int                 `json:"disks"`
	Bytes  int64               `json:"bytes"` // of disk data read back and compared
	Data   int64               `json:"data"`  // of disk data that there are
	Damage []repository.Damage `json:"damage"`
}

// Verify reads restore points back and checks them against what was recorded
// when they were made; all of them where none is named. Percent of the
// blocks are read. Where a reference names VMs, their disks are read alone.
//
// What cannot be checked keeps nothing else from being checked: the result
// holds what was found, whatever the error is.
func (a *App) Verify(ctx context.Context, refs []string, percent float64) (VerifyResult, error) {
	var (
		out    VerifyResult
		points []pointed
		errs   []error
	)
	if len(refs) == 0 {
		known, err := a.allPoints(ctx)
		if err != nil {
			return out, err
		}
		for _, p := range known.points {
			points = append(points, pointed{Summary: p})
		}
		for _, u := range known.unread {
			if errors.Is(u.err, repository.ErrDamaged) {
				out.Damage = append(out.Damage, repository.Damage{Org: cmp.Or(u.Name, u.ID), Err: u.err})
			} else {
				errs = append(errs, u.err)
			}
		}
	} else {
		named, err := a.referred(ctx, refs, selection.ParseVMPoint)
		if err != nil {
			return out, err
		}
		points = named
	}
	for _, p := range points {
		err := a.verify(ctx, p, percent, &out)
		if ctx.Err() != nil {
			return out, errors.Join(append(errs, context.Cause(ctx))...)
		}
		// Somebody may forget it meanwhile; that nobody named it makes it right.
		if len(refs) == 0 && errors.Is(err, repository.ErrNotFound) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("restore point %s: %w", p.ID, err))
		}
	}
	return out, errors.Join(errs...)
}

// verify checks one restore point and adds what it found.
func (a *App) verify(ctx context.Context, p pointed, percent float64, out *VerifyResult) error {
	root, err := a.openRepository(ctx)
	if err != nil {
		return err
	}
	repo, err := root.Existing(ctx, p.Org.ID)
	if err != nil {
		return err
	}
	disks := p.Disks
	if len(p.vms) > 0 {
		point, err := repo.Load(ctx, p.ID)
		if err != nil {
			return err
		}
		narrow(point, p.vms)
		disks = point.Summary().Disks
	}
	found, err := repo.Verify(ctx, p.ID, repository.VerifyOptions{VMs: p.vms, Percent: percent, Progress: a.verifyProgress(p.Summary)})
	out.Damage = append(out.Damage, found.Damages...)
	out.Bytes, out.Data = out.Bytes+found.Read, out.Data+found.Data
	if err == nil {
		out.Points, out.Disks = out.Points+1, out.Disks+disks
	}
	return err
}
