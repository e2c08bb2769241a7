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

// A pacedTarget is a disk that takes and gives no more than its place allows,
// where that goes through move.
type pacedTarget struct {
	transport.Target
	limits *limit.Limits
	at     limit.Place
}

// move has n bytes written or read when it is their turn, with so much memory,
// again after a pause where the host has too much to do: a block can be written
// twice. The memory is asked for last: who waits for a host keeps none from
// others.
func (t pacedTarget) move(ctx context.Context, n, memory int64, do func(buf []byte) error) error {
	for try := 1; ; try++ {
		err := t.once(ctx, n, memory, do)
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

func (t pacedTarget) once(ctx context.Context, n, memory int64, do func(buf []byte) error) error {
	if err := t.limits.Flight(ctx, t.at, n); err != nil {
		return err
	}
	defer t.limits.Landed(t.at, n)
	buf, err := t.limits.Buffer(ctx, t.at, memory)
	if err != nil {
		return err
	}
	defer t.limits.Return(t.at, buf)
	return do(buf)
}

// pauseAfter is how long to leave the disks alone after a try that failed.
func (w *blockWriter) pauseAfter(err error, try int) time.Duration {
	pause := time.Duration(try) * time.Second
	if errors.Is(err, transport.ErrOverloaded) {
		pause = max(pause, w.limits.Overloaded(w.at))
	}
	return pause
}
