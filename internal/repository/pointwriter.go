package repository

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// checkpointEvery is how often a long copy saves a checkpoint: a full
// maintenance drops contents that no snapshot refers to.
const checkpointEvery = 40 * time.Minute

// checkpointHost stands in for the site in the source of a checkpoint.
const checkpointHost = "checkpoint"

// A PointWriter writes one restore point. Either Commit or Abort ends it. It
// is safe for concurrent use, as are its disks beside each other.
type PointWriter struct {
	o      *Repository
	vapp   string // UUID
	s      *session
	unlock func()
	stop   context.CancelFunc // ends the checkpoints

	checkpointing sync.Mutex
	checkpoint    manifest.ID // the last one of this writer

	mu     sync.Mutex
	disks  []*DiskWriter
	closed bool
}

// NewPoint starts a restore point of a vApp, which is named by its URN.
// Nothing of it can be seen before Commit.
func (o *Repository) NewPoint(ctx context.Context, vappURN string) (*PointWriter, error) {
	vapp := restorepoint.UUID(vappURN)
	if !component.MatchString(vapp) {
		return nil, o.errorf("vApp %q: id is not fit for a path", vappURN)
	}
	unlock, err := lock(ctx, o.lockPath(), true)
	if err != nil {
		return nil, o.errorf("vApp %s: %w", vapp, err)
	}
	s, err := o.newSession(ctx, "restore point of vApp "+vapp)
	if err != nil {
		unlock()
		return nil, o.errorf("vApp %s: %w", vapp, err)
	}
	// The checkpoints go on while the caller waits for a slow source, and
	// end with the writer.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	w := &PointWriter{o: o, vapp: vapp, s: s, unlock: unlock, stop: stop}
	go w.keepCheckpoints(background, checkpointEvery)
	return w, nil
}

// Disk starts a disk of size bytes. With a parent it starts as a copy of it,
// followed by zeros where the parent is smaller, else as zeros.
func (w *PointWriter) Disk(ctx context.Context, size int64, parent *restorepoint.DiskContent) (*DiskWriter, error) {
	d, err := w.s.newDisk(ctx, size, parent)
	if err != nil {
		return nil, w.errorf("start disk: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, w.errorf("start disk: %w", errClosed)
	}
	w.disks = append(w.disks, d)
	return d, nil
}

func (w *PointWriter) errorf(format string, args ...any) error {
	return w.o.errorf("vApp %s: "+format, append([]any{w.vapp}, args...)...)
}

// keepCheckpoints saves a checkpoint from time to time.
func (w *PointWriter) keepCheckpoints(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := w.Checkpoint(ctx); err != nil && ctx.Err() == nil {
				w.o.log.Warn("save checkpoint", "org", w.o.org.label(), "vapp", w.vapp, "error", err)
			}
		}
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
	t := &tree{}
	for i, d := range disks {
		c, err := d.checkpoint(ctx)
		if err != nil {
			return w.errorf("checkpoint: %w", err)
		}
		if err := t.addDisk(fmt.Sprintf("disks/%d.raw", i), c); err != nil {
			return w.errorf("checkpoint: %w", err)
		}
	}
	if len(disks) == 0 {
		return nil
	}
	now := time.Now()
	root, err := w.s.writeTree(ctx, t, now)
	if err != nil {
		return w.errorf("checkpoint: %w", err)
	}
	m := &snapshot.Manifest{
		Source:      snapshot.SourceInfo{UserName: username, Host: checkpointHost, Path: "/" + w.vapp},
		Description: "checkpoint of an unfinished restore point",
		StartTime:   fs.UTCTimestampFromTime(now), EndTime: fs.UTCTimestampFromTime(now),
		IncompleteReason: "checkpoint", RootEntry: root,
	}
	return w.saveCheckpoint(ctx, m)
}

// saveCheckpoint replaces the last checkpoint of this writer by m.
func (w *PointWriter) saveCheckpoint(ctx context.Context, m *snapshot.Manifest) error {
	// First what the snapshot refers to, then the snapshot.
	if err := w.s.flush(ctx); err != nil {
		return w.errorf("checkpoint: %w", err)
	}
	id, err := snapshot.SaveSnapshot(ctx, w.s.rep, m)
	if err != nil {
		return w.errorf("checkpoint: save: %w", w.s.fail(ctx, err))
	}
	if w.checkpoint != "" {
		if err := w.s.rep.DeleteManifest(ctx, w.checkpoint); err != nil {
			return w.errorf("checkpoint: drop the last: %w", err)
		}
	}
	w.checkpoint = id
	if err := w.s.flush(ctx); err != nil {
		return w.errorf("checkpoint: %w", err)
	}
	return nil
}

// Abort gives up the point. What was flushed stays until maintenance, so that
// another attempt soon after stores it no second time. After Commit, and when
// called again, it does nothing.
func (w *PointWriter) Abort(ctx context.Context) {
	w.stop()
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return
	}
	w.checkpointing.Lock() // one that is under way ends first
	defer w.checkpointing.Unlock()
	w.s.close(context.WithoutCancel(ctx))
	w.unlock()
}
