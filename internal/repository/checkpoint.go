package repository

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// checkpointEvery is how often a copy saves a checkpoint: it bounds what a
// crash costs, and a full maintenance drops contents that no snapshot refers
// to.
const checkpointEvery = 5 * time.Minute

// checkpointHost stands in for the site in the source of a checkpoint.
const checkpointHost = "checkpoint"

// lastCheckpoint bounds the checkpoint of a writer that is given up.
const lastCheckpoint = 2 * time.Minute

// Resumable has checkpoints say of a disk how far it has come, so that another
// attempt can go on from there. Describe is called from time to time, from
// another goroutine, and fills in all but Content and Saved; without true the
// disk is not worth it. It must name as remaining all that WriteBlock has not
// returned for when it is called.
func (d *DiskWriter) Resumable(describe func() (Unfinished, bool)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.describe = describe
}

// Drop takes a disk that is given up out of the checkpoints. Nothing can be
// written to it any more.
func (w *PointWriter) Drop(d *DiskWriter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disks = slices.DeleteFunc(slices.Clone(w.disks), func(o *DiskWriter) bool { return o == d })
}

// OnCheckpoint has a function called after each checkpoint. It is to be set
// before the first disk.
func (w *PointWriter) OnCheckpoint(saved func()) { w.saved = saved }

// SaveSoon asks for a checkpoint and does not wait for it.
func (w *PointWriter) SaveSoon() {
	select {
	case w.soon <- struct{}{}:
	default: // one is due already
	}
}

// keepCheckpoints saves a checkpoint from time to time.
func (w *PointWriter) keepCheckpoints(ctx context.Context, every time.Duration) {
	defer close(w.stopped)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.soon:
		case <-t.C:
		}
		if err := w.Checkpoint(ctx); err != nil && ctx.Err() == nil {
			w.o.log.Warn("save checkpoint", "org", w.o.org.label(), "vapp", w.vapp, "error", err)
		}
		t.Reset(every)
	}
}

// Checkpoint makes durable what was written so far, and keeps maintenance from
// dropping it or what was taken over from parents. It is called by itself from
// time to time.
func (w *PointWriter) Checkpoint(ctx context.Context) error {
	w.checkpointing.Lock()
	defer w.checkpointing.Unlock()
	w.mu.Lock()
	disks := w.disks[:len(w.disks):len(w.disks)]
	w.mu.Unlock()
	if len(disks) == 0 {
		return nil
	}
	if err := w.saveCheckpoint(ctx, disks); err != nil {
		return w.errorf("checkpoint: %w", err)
	}
	if w.saved != nil {
		w.saved()
	}
	return nil
}

// saveCheckpoint saves disks as they are now, in the place of the last
// checkpoint of this writer.
func (w *PointWriter) saveCheckpoint(ctx context.Context, disks []*DiskWriter) error {
	t := &tree{}
	var list []Unfinished
	now := time.Now()
	for i, d := range disks {
		// What remains is asked first: what is written meanwhile is in the
		// content and called missing, never the other way round.
		u, ok := d.unfinished()
		c, err := d.checkpoint(ctx)
		if err != nil {
			return err
		}
		if err := t.addDisk(fmt.Sprintf("disks/%d.raw", i), c); err != nil {
			return err
		}
		if ok {
			u.Disk.Content, u.Saved = c, now.UTC()
			list = append(list, u)
		}
	}
	if len(list) > 0 {
		data, err := encodeUnfinished(list)
		if err != nil {
			return err
		}
		if err := w.addDocument(ctx, t, unfinishedFile, data); err != nil {
			return err
		}
	}
	root, err := w.s.writeTree(ctx, t, now)
	if err != nil {
		return err
	}
	return w.replaceCheckpoint(ctx, &snapshot.Manifest{
		Source:      snapshot.SourceInfo{UserName: username, Host: checkpointHost, Path: "/" + w.vapp},
		Description: "checkpoint of an unfinished restore point",
		StartTime:   fs.UTCTimestampFromTime(now), EndTime: fs.UTCTimestampFromTime(now),
		IncompleteReason: "checkpoint", RootEntry: root,
	})
}

func (w *PointWriter) replaceCheckpoint(ctx context.Context, m *snapshot.Manifest) error {
	// First what the snapshot refers to, then the snapshot, and the last one
	// goes only when this one is durable.
	if err := w.s.flush(ctx); err != nil {
		return err
	}
	id, err := snapshot.SaveSnapshot(ctx, w.s.rep, m)
	if err != nil {
		return fmt.Errorf("save: %w", w.s.fail(ctx, err))
	}
	if err := w.s.flush(ctx); err != nil {
		return err
	}
	last := w.checkpoint
	w.checkpoint = id
	if last == "" {
		return nil
	}
	if err := w.s.rep.DeleteManifest(ctx, last); err != nil {
		return fmt.Errorf("drop the last: %w", err)
	}
	return w.s.flush(ctx)
}

// retain drops what this and earlier attempts at the vApp have left, once the
// point is committed. Of disks that the point lacks it keeps how far they came.
func (w *PointWriter) retain(ctx context.Context, p *restorepoint.Point) error {
	held := map[string]bool{}
	for _, vm := range p.VMs {
		for _, d := range vm.Disks {
			held[d.Content.Object] = true
		}
	}
	w.mu.Lock()
	var left []*DiskWriter
	for _, d := range w.disks {
		if _, ok := d.unfinished(); ok && !held[d.object()] {
			left = append(left, d)
		}
	}
	w.mu.Unlock()
	keep := manifest.ID("")
	if len(left) > 0 {
		if err := w.saveCheckpoint(ctx, left); err != nil {
			return err
		}
		keep = w.checkpoint
	}
	old, err := w.s.rep.FindManifests(ctx, checkpointLabels(w.vapp))
	if err != nil {
		return err
	}
	for _, m := range old {
		if m.ID == keep {
			continue
		}
		if err := w.s.rep.DeleteManifest(ctx, m.ID); err != nil {
			return err
		}
	}
	return w.s.flush(ctx)
}

// unfinished tells how far the disk has come, if that is worth telling.
func (d *DiskWriter) unfinished() (Unfinished, bool) {
	d.mu.Lock()
	describe := d.describe
	d.mu.Unlock()
	if describe == nil {
		return Unfinished{}, false
	}
	return describe()
}

// object is the id of the finished disk, or nothing.
func (d *DiskWriter) object() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.content.Object
}
