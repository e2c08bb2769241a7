package restore

import (
	"context"
	"errors"
	"time"

	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/transport"
)

// patientBlocks is how often one block is tried while its host has too much to
// do, before the disks are opened anew.
const patientBlocks = 4

// A pacedTarget is a disk that takes and gives no more than its place allows.
type pacedTarget struct {
	transport.Target
	limits *limit.Limits
	at     limit.Place
}

// WriteAt implements transport.Target.
func (t pacedTarget) WriteAt(ctx context.Context, p []byte, off int64) error {
	return t.do(ctx, int64(len(p)), func() error { return t.Target.WriteAt(ctx, p, off) })
}

// ReadAt implements transport.Target.
func (t pacedTarget) ReadAt(ctx context.Context, p []byte, off int64) error {
	return t.do(ctx, int64(len(p)), func() error { return t.Target.ReadAt(ctx, p, off) })
}

// do moves n bytes when it is their turn, again after a pause where the host
// has too much to do: a block can be written twice.
func (t pacedTarget) do(ctx context.Context, n int64, move func() error) error {
	for try := 1; ; try++ {
		if err := t.limits.Flight(ctx, t.at, n); err != nil {
			return err
		}
		err := move()
		t.limits.Landed(t.at, n)
		if err == nil {
			t.limits.Served(t.at)
			return nil
		}
		if ctx.Err() != nil || try == patientBlocks || !errors.Is(err, transport.ErrOverloaded) {
			return err
		}
		t.limits.Overloaded(t.at) // Flight waits for as long as it says
	}
}

// pauseAfter is how long to leave the disks alone after a try that failed.
func (w *blockWriter) pauseAfter(err error, try int) time.Duration {
	pause := time.Duration(try) * time.Second
	if errors.Is(err, transport.ErrOverloaded) {
		pause = max(pause, w.limits.Overloaded(w.at))
	}
	return pause
}
