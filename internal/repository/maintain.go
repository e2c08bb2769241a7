package repository

import (
	"context"
	"fmt"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotmaintenance"
)

// checkpointAge is when a checkpoint is nobody's any more: a writer replaces
// its own every checkpointEvery, and who wants to go on after a crash does so
// within two days.
const checkpointAge = 48 * time.Hour

// strayAge is when a temporary file is nobody's any more.
const strayAge = 24 * time.Hour

// MaintainOptions say what a maintenance does.
type MaintainOptions struct {
	// Quick compacts indexes only and collects no garbage.
	Quick bool
	// Immediate drops garbage at once, for two seconds more, rather than a day
	// or two after it became such. It needs the repository for itself: it waits for no writer
	// but fails with ErrBusy, and a reader in another process may fail.
	Immediate bool
}

// Maintain collects what no point refers to any more. Nothing else runs
// Kopia's maintenance, and only one run takes place at a time: another fails
// with ErrBusy.
func (o *Repository) Maintain(ctx context.Context, m MaintainOptions) error {
	if err := o.maintain(ctx, m); err != nil {
		return o.errorf("maintain: %w", err)
	}
	return nil
}

func (o *Repository) maintain(ctx context.Context, m MaintainOptions) error {
	unlock, err := tryLock(o.dir + ".maintain.lock")
	if err != nil {
		return err
	}
	defer unlock()
	mode, safety := maintenance.ModeFull, maintenance.SafetyFull
	if m.Quick {
		mode = maintenance.ModeQuick
	}
	if m.Immediate {
		// Writers hold this lock shared.
		free, err := tryLock(o.lockPath())
		if err != nil {
			return err
		}
		defer free()
		safety = maintenance.SafetyNone
	}
	if err := o.dropStaleCheckpoints(ctx); err != nil {
		return err
	}
	runs := 1
	if m.Immediate {
		runs = 2 // Kopia marks contents in one, and drops them in that or the next
	}
	for range runs {
		if err := o.collect(ctx, m.Immediate, mode, safety); err != nil {
			return err
		}
	}
	if err := removeStrays(o.dir, strayAge); err != nil {
		return fmt.Errorf("remove temporary files: %w", err)
	}
	return o.rep.Refresh(ctx)
}

// wholeSecond is longer than the steps in which Kopia reckons: what became
// garbage less than one ago is too young for it.
const wholeSecond = 1100 * time.Millisecond

// collect runs Kopia's maintenance; an immediate one also of what has become
// garbage just now.
func (o *Repository) collect(ctx context.Context, immediate bool, mode maintenance.Mode, safety maintenance.SafetyParameters) error {
	if immediate {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wholeSecond):
		}
	}
	return repo.DirectWriteSession(ctx, o.rep, repo.WriteSessionOptions{Purpose: "vappvault maintenance"},
		func(ctx context.Context, w repo.DirectRepositoryWriter) error {
			return snapshotmaintenance.Run(ctx, w, mode, false, safety)
		})
}

// dropStaleCheckpoints drops the checkpoints of attempts that were given up:
// nothing has come of them for long, or the vApp has a point since. The others
// may be what the next attempt goes on from.
func (o *Repository) dropStaleCheckpoints(ctx context.Context) error {
	if err := o.rep.Refresh(ctx); err != nil {
		return err
	}
	checkpoints, err := o.rep.FindManifests(ctx, checkpointLabels(""))
	if err != nil || len(checkpoints) == 0 {
		return err
	}
	all, err := o.rep.FindManifests(ctx, map[string]string{manifest.TypeLabelKey: snapshot.ManifestType})
	if err != nil {
		return err
	}
	committed := map[string]time.Time{} // by vApp
	for _, e := range all {
		if vapp := e.Labels[snapshot.PathLabel]; e.Labels[tagPoint] != "" && e.ModTime.After(committed[vapp]) {
			committed[vapp] = e.ModTime
		}
	}
	var stale []manifest.ID
	for _, e := range checkpoints {
		if time.Since(e.ModTime) > checkpointAge || committed[e.Labels[snapshot.PathLabel]].After(e.ModTime) {
			stale = append(stale, e.ID)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	return o.drop(ctx, "drop stale checkpoints", stale)
}
