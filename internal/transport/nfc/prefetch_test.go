package nfc

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
)

// A memory is a disk for tests. Holes of it cannot be read.
type memory struct {
	image []byte
	set   extent.Set
	fail  func(off int64) error // may be nil
	reads atomic.Int64
	most  atomic.Int64
}

func (m *memory) Size() int64        { return int64(len(m.image)) }
func (m *memory) Transferred() int64 { return 0 }
func (m *memory) Close() error       { return nil }

func (m *memory) Extents(_ context.Context, within extent.Extent) (extent.Set, error) {
	return m.set.Clip(within), nil
}

func (m *memory) ReadAt(_ context.Context, p []byte, off int64) error {
	n := m.reads.Add(1)
	defer m.reads.Add(-1)
	for most := m.most.Load(); n > most && !m.most.CompareAndSwap(most, n); most = m.most.Load() {
	}
	if m.fail != nil {
		if err := m.fail(off); err != nil {
			return err
		}
	}
	copy(p, m.image[off:])
	return nil
}

func newMemory(size int, set ...extent.Extent) *memory {
	m := &memory{image: make([]byte, size), set: extent.Of(set...)}
	r := rand.NewChaCha8([32]byte{5})
	for _, e := range m.set {
		r.Read(m.image[e.Offset:e.End()])
	}
	return m
}

func TestReadAheadKeepsOrder(t *testing.T) {
	t.Parallel()
	m := newMemory(40<<20+512, extent.Extent{Offset: 100, Length: 20 << 20}, extent.Extent{Offset: 30<<20 - 1, Length: 2}, extent.Extent{Offset: 40 << 20, Length: 512})
	got := make([]byte, len(m.image))
	end, total := int64(0), 0
	err := readAhead(t.Context(), m, func(off int64, data []byte) error {
		if off < end || off%(64<<10) != 0 || len(data) > pieceSize {
			t.Errorf("%d bytes at %d, after %d", len(data), off, end)
		}
		total += len(data)
		end = off + int64(copy(got[off:], data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, m.image) {
		t.Error("bytes differ")
	}
	if limit := 21 << 20; total > limit {
		t.Errorf("%d bytes were read, more than %d", total, limit)
	}
	if n := m.most.Load(); n > readers {
		t.Errorf("%d reads at a time, more than %d", n, readers)
	}
}

func TestReadAheadStopsAtErrors(t *testing.T) {
	t.Parallel()
	cause := errors.New("media error")
	all := extent.Extent{Length: 40 << 20}
	m := newMemory(40<<20, all)
	m.fail = func(off int64) error {
		if off == 20<<20 {
			return cause
		}
		return nil
	}
	if err := readAhead(t.Context(), m, func(int64, []byte) error { return nil }); !errors.Is(err, cause) {
		t.Errorf("read: got %v, want %v", err, cause)
	}
	m.fail = nil
	if err := readAhead(t.Context(), m, func(int64, []byte) error { return cause }); !errors.Is(err, cause) {
		t.Errorf("use: got %v, want %v", err, cause)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := readAhead(ctx, m, func(int64, []byte) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancel: got %v, want %v", err, context.Canceled)
	}
}

func TestReadAheadOfEmptyDiskReadsNothing(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 20 << 20} {
		m := newMemory(size)
		err := readAhead(t.Context(), m, func(off int64, data []byte) error {
			t.Errorf("%d bytes at %d", len(data), off)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
