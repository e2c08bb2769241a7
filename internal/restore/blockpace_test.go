package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

var hostAndVCenter = limit.Place{Host: "host-1", VCenter: "vc", VApp: "web-shop"}

// A slowHost has one disk, takes its time for each block, counts what is under
// way and may have too much to do.
type slowHost struct {
	mu                  sync.Mutex
	opened, open        int
	under, most         int64
	refusals, busyOpens int // to come
	data                []byte
}

func (h *slowHost) Name() string { return "slow" }

func (h *slowHost) OpenTarget(context.Context, transport.Idle) (transport.TargetSession, error) {
	return slowSession{h}, nil
}

type slowSession struct{ *slowHost }

func (s slowSession) Close() error { return nil }

func (s slowSession) Target(context.Context, int32) (transport.Target, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busyOpens > 0 {
		s.busyOpens--
		return nil, fmt.Errorf("%w: NFC error 5", transport.ErrOverloaded)
	}
	s.opened++
	s.open++
	return slowTarget(s), nil
}

type slowTarget struct{ *slowHost }

func (t slowTarget) Size() int64                               { return int64(len(t.data)) }
func (t slowTarget) Zero(context.Context, extent.Extent) error { return nil }
func (t slowTarget) Flush(context.Context) error               { return nil }
func (t slowTarget) Transferred() int64                        { return 0 }

func (t slowTarget) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
	return nil
}

func (t slowTarget) ReadAt(ctx context.Context, p []byte, off int64) error {
	return t.move(p, func() { copy(p, t.data[off:]) })
}

func (t slowTarget) WriteAt(ctx context.Context, p []byte, off int64) error {
	return t.move(p, func() { copy(t.data[off:], p) })
}

func (t slowTarget) move(p []byte, do func()) error {
	t.mu.Lock()
	t.under += int64(len(p))
	t.most = max(t.most, t.under)
	t.mu.Unlock()
	time.Sleep(time.Second)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.under -= int64(len(p))
	if t.refusals > 0 {
		t.refusals--
		return fmt.Errorf("%w: NFC error 5", transport.ErrOverloaded)
	}
	do()
	return nil
}

// full is a disk of ones.
type full int64

func (f full) Size() int64        { return int64(f) }
func (f full) Transferred() int64 { return 0 }
func (f full) Close() error       { return nil }
func (f full) Extents(_ context.Context, within extent.Extent) (extent.Set, error) {
	return extent.Of(within), nil
}

func (f full) ReadAt(_ context.Context, p []byte, _ int64) error {
	for i := range p {
		p[i] = 1
	}
	return nil
}

// blockWriterOf writes all blocks of the host's disk, within limits.
func blockWriterOf(h *slowHost, l *limit.Limits) (*blockWriter, *written) {
	whole := extent.Of(extent.Extent{Length: int64(len(h.data))})
	w := &blockWriter{
		run: &run{
			through: map[string]string{},
			Deps: Deps{
				Targets: func(*vsphere.Client) []transport.TargetOpener { return []transport.TargetOpener{h} },
				Logger:  slog.New(slog.DiscardHandler),
			},
			plan: &plan.Plan{},
		},
		vp:    &plan.VM{VM: &restorepoint.VM{Disks: []restorepoint.Disk{{Key: 2000, UUID: "u", Label: "Hard disk 1"}}}},
		fills: []transport.Fill{{Key: 2000, Content: full(len(h.data))}},
		live:  map[int32]vsphere.Disk{2000: {Key: 2000}}, limits: l, at: hostAndVCenter,
	}
	return w, &written{Disks: []writtenDisk{{Key: 2000, UUID: "u", Extents: whole}}}
}

func fillAndProve(ctx context.Context, w *blockWriter, what *written) error {
	if err := w.again(ctx, func(ctx context.Context) error { return w.fill(ctx, what) }); err != nil {
		return err
	}
	return w.again(ctx, func(ctx context.Context) error { return w.prove(ctx, what) })
}

func TestADiskIsNotOpenedForBlocksBeforeItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(limit.Config{PerHost: limit.Bound{Disks: 1}})
		other, err := l.Disk(t.Context(), limit.Place{Host: "host-1", VCenter: "vc", VApp: "another"})
		if err != nil {
			t.Fatal(err)
		}
		h := &slowHost{data: make([]byte, 4*blockSize)}
		w, what := blockWriterOf(h, l)
		ended := make(chan error)
		go func() { ended <- fillAndProve(t.Context(), w, what) }()
		synctest.Wait()
		if h.opened > 0 {
			t.Error("the disk was opened beside the one that the host may have open")
		}
		other()
		if err := <-ended; err != nil || h.opened != 2 || h.open != 0 {
			t.Errorf("%v, opened %d times, %d left open", err, h.opened, h.open)
		}
		again, err := l.Disk(t.Context(), hostAndVCenter)
		if err != nil {
			t.Fatal(err)
		}
		again() // or the test would hang: nothing was kept
	})
}

func TestTheWaitForATurnEndsWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(limit.Config{PerVCenter: limit.Bound{Disks: 1}})
		release, err := l.Disk(t.Context(), limit.Place{VCenter: "vc"})
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		h := &slowHost{data: make([]byte, blockSize)}
		w, what := blockWriterOf(h, l)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := fillAndProve(ctx, w, what); !errors.Is(err, context.DeadlineExceeded) || h.opened > 0 {
			t.Errorf("got %v, opened %d times", err, h.opened)
		}
	})
}

func TestNoMoreBlocksAreUnderWayThanTheHostMayHave(t *testing.T) {
	for _, tc := range []struct {
		name  string
		allow limit.Config
		most  int64
	}{
		{"without limits", limit.Config{}, blocksAtOnce * blockSize},
		{"of the host", limit.Config{PerHost: limit.Bound{InFlight: 3 * blockSize}}, 3 * blockSize},
		{"of the vCenter", limit.Config{PerVCenter: limit.Bound{InFlight: 2 * blockSize}}, 2 * blockSize},
		{"of the line", limit.Config{Bandwidth: blockSize / 2}, blockSize},
		{"of memory", limit.Config{Memory: 3 * blockSize}, 3 * blockSize},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &slowHost{data: make([]byte, 20*blockSize)}
				w, what := blockWriterOf(h, limit.New(tc.allow))
				if err := fillAndProve(t.Context(), w, what); err != nil || h.most != tc.most || h.open != 0 {
					t.Errorf("%v, %d bytes under way at most, want %d; %d left open", err, h.most, tc.most, h.open)
				}
			})
		})
	}
}

// TestWhoWaitsForAHostKeepsNoMemoryFromOthers: one that has the host's leave
// may be waiting for that memory.
func TestWhoWaitsForAHostKeepsNoMemoryFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit.New(limit.Config{PerHost: limit.Bound{InFlight: blockSize}, Memory: 4 * blockSize})
		other := limit.Place{Host: "host-1", VCenter: "vc", VApp: "another"}
		if err := l.Flight(t.Context(), other, blockSize); err != nil {
			t.Fatal(err)
		}
		w, what := blockWriterOf(&slowHost{data: make([]byte, 20*blockSize)}, l)
		ended := make(chan error)
		go func() { ended <- fillAndProve(t.Context(), w, what) }()
		synctest.Wait()
		all, err := l.Buffer(t.Context(), other, 4*blockSize)
		if err != nil {
			t.Fatal(err)
		}
		l.Landed(other, blockSize)
		l.Return(other, all)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAnOverloadedHostIsAskedForLessAndTheBlocksAreWritten(t *testing.T) {
	for _, tc := range []struct {
		name                string
		refusals, busyOpens int
		opened              int
	}{
		{"a block is refused", 1, 0, 2},
		{"all that are under way are", blocksAtOnce, 0, 2},
		{"the disk cannot be opened at first", 0, 3, 2},
		{"one block again and again", blocksAtOnce + patientBlocks, 0, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &slowHost{data: make([]byte, 20*blockSize), refusals: tc.refusals, busyOpens: tc.busyOpens}
				l := limit.New(limit.Config{PerHost: limit.Bound{Disks: 8, InFlight: 8 * blockSize}})
				w, what := blockWriterOf(h, l)
				if err := fillAndProve(t.Context(), w, what); err != nil {
					t.Fatal(err)
				}
				if h.refusals > 0 || h.busyOpens > 0 || h.open != 0 || h.opened < 2 || h.opened > tc.opened {
					t.Errorf("opened %d times, %d left open; %d refusals were not met with", h.opened, h.open, h.refusals+h.busyOpens)
				}
			})
		})
	}
}

func TestAHostThatStaysOverloadedEndsTheWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &slowHost{data: make([]byte, 20*blockSize), refusals: 1 << 30}
		l := limit.New(limit.Config{PerHost: limit.Bound{Disks: 8, InFlight: 8 * blockSize}})
		w, what := blockWriterOf(h, l)
		if err := fillAndProve(t.Context(), w, what); !errors.Is(err, transport.ErrOverloaded) || h.open != 0 {
			t.Errorf("got %v, %d left open", err, h.open)
		}
		if a := l.Allowed(hostAndVCenter); a.InFlight >= 8*blockSize {
			t.Errorf("it may still have %+v", a)
		}
	})
}
