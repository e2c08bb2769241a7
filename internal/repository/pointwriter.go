package repository

import (
	"context"
	"slices"
	"sync"

	"github.com/kopia/kopia/repo/manifest"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

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

	saved   func()        // called after each checkpoint, if set
	soon    chan struct{} // a checkpoint is wanted
	stopped chan struct{} // closed when no more are made

	mu        sync.Mutex
	disks     []*DiskWriter
	closed    bool
	committed bool
}

// NewPoint starts a restore point of a vApp, which is named by its URN.
// Nothing of it can be seen before Commit. A storage that is full or read-only
// is found out here: what is read for a point that cannot be stored was read
// in vain.
func (o *Repository) NewPoint(ctx context.Context, vappURN string) (*PointWriter, error) {
	vapp := restorepoint.UUID(vappURN)
	if !component.MatchString(vapp) {
		return nil, o.errorf("vApp %q: id is not fit for a path", vappURN)
	}
	unlock, err := lock(ctx, o.lockPath(), true)
	if err != nil {
		return nil, o.errorf("vApp %s: %w", vapp, err)
	}
	err = TryWrite(o.dir)
	var s *session
	if err == nil {
		s, err = o.newSession(ctx, "restore point of vApp "+vapp)
	}
	if err != nil {
		unlock()
		return nil, o.errorf("vApp %s: %w", vapp, err)
	}
	// The checkpoints go on while the caller waits for a slow source, and
	// end with the writer.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	w := &PointWriter{o: o, vapp: vapp, s: s, unlock: unlock, stop: stop, soon: make(chan struct{}, 1), stopped: make(chan struct{})}
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

// Abort gives up the point. What disks are Resumable is kept in a checkpoint,
// where the storage still takes it, so that another attempt can go on from
// there. After Commit, and when called again, it does nothing.
func (w *PointWriter) Abort(ctx context.Context) {
	w.stop()
	<-w.stopped // a checkpoint that is under way ends first
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	worth := !w.committed && slices.ContainsFunc(w.disks, func(d *DiskWriter) bool { _, ok := d.unfinished(); return ok })
	w.mu.Unlock()
	if closed {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if worth && w.s.usable(ctx) == nil {
		short, cancel := context.WithTimeout(ctx, lastCheckpoint)
		defer cancel()
		if err := w.Checkpoint(short); err != nil {
			w.o.log.Warn("save checkpoint", "org", w.o.org.label(), "vapp", w.vapp, "error", err)
		}
	}
	w.checkpointing.Lock() // one that somebody else asked for ends first
	defer w.checkpointing.Unlock()
	w.s.close(ctx)
	w.unlock()
}
