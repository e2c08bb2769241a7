package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/selection"
)

// ErrNeeded says that an overwrite needs a restore point, to go on or to be
// undone.
var ErrNeeded = errors.New("still needed")

// Forget drops restore points and returns the ids of those that are gone.
// Their space is freed by Maintain. Those that an overwrite needs are left,
// unless they are dropped by force: the others go, and the error is
// ErrNeeded.
func (a *App) Forget(ctx context.Context, refs []string, force bool) ([]string, error) {
	if len(refs) == 0 {
		return nil, errors.New("no restore point named")
	}
	points, err := a.referred(ctx, refs, selection.ParsePoint)
	if err != nil {
		return nil, err
	}
	root, j, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	var needed []restore.Need
	if !force {
		if needed, err = restore.Needed(ctx, j); err != nil {
			return nil, err
		}
	}
	var gone []string
	var refused []error
	for _, p := range points {
		if i := slices.IndexFunc(needed, func(n restore.Need) bool { return n.Point == p.ID }); i >= 0 {
			refused = append(refused, fmt.Errorf("restore point %s: %w: %s", p.ID, ErrNeeded, wordNeed(needed[i])))
			continue
		}
		repo, err := root.Existing(ctx, p.Org.ID)
		if err == nil {
			err = wrap(repo.Forget(ctx, p.ID), "restore point %s", p.ID)
		}
		if err != nil {
			return gone, errors.Join(append(refused, err)...)
		}
		gone = append(gone, p.ID)
	}
	return gone, errors.Join(refused...)
}

// wordNeed says which run needs a restore point, and what for.
func wordNeed(n restore.Need) string {
	vapp := n.VApp.ID
	if n.VApp.Name != "" {
		vapp = selection.Format(n.Org.Label(), n.VDC.Label(), n.VApp.Name, "")
	}
	if n.Ended {
		return fmt.Sprintf("`restore --undo %s` brings back with it what run %[1]s overwrote of %s; `restore --undo --forget %[1]s` gives that up", n.Run, vapp)
	}
	return fmt.Sprintf("run %s, which overwrites %s, has not ended: `restore --resume` or `restore --undo` reads it", n.Run, vapp)
}
