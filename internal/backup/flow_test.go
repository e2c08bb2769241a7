package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
)

// writers opens a repository of its own for points.
func writers(t *testing.T) *store {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(filepath.Join("..", "repository", "testdata", "cheaproot.json"))
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(dir, "vappvault.json"), data, 0o600), os.Mkdir(filepath.Join(dir, "orgs"), 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	root, err := repository.Open(t.Context(), repository.Location{Path: dir}, "correct horse battery staple", repository.Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close(context.Background()) })
	o, err := root.Org(t.Context(), "urn:vcloud:org:0b1a0b1a-0000-4000-8000-000000000001", "acme")
	if err != nil {
		t.Fatal(err)
	}
	w, err := o.NewPoint(t.Context(), "urn:vcloud:vapp:7a990000-0000-4000-8000-000000000001")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Abort(context.Background()) })
	return &store{w, o, t}
}

// store is a point that is being written.
type store struct {
	*repository.PointWriter
	o *repository.Repository
	t *testing.T
}

// finish finishes a disk so that another can begin as it.
func (s *store) finish(d *repository.DiskWriter) restorepoint.DiskContent {
	s.t.Helper()
	c, err := d.Finish(s.t.Context())
	if err == nil {
		err = s.Checkpoint(s.t.Context())
	}
	if err == nil {
		_, err = s.o.Points(s.t.Context()) // looks anew
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// patterned is a source whose every sector tells where it is.
type patterned struct {
	size    int64
	reading transport.Reading
	before  func(ctx context.Context, off, n int64) error // of each read, if set

	mu    sync.Mutex
	reads extent.Set
	count atomic.Int64
	now   atomic.Int64
	most  atomic.Int64
}

func (p *patterned) Size() int64                { return p.size }
func (p *patterned) Transferred() int64         { return 0 }
func (p *patterned) Close() error               { return nil }
func (p *patterned) Reading() transport.Reading { return p.reading }
func (p *patterned) Extents(_ context.Context, w extent.Extent) (extent.Set, error) {
	return extent.Of(w), nil
}

func sector(off int64) byte { return byte(off/512*7+off/block*3) | 1 }

func (p *patterned) ReadAt(ctx context.Context, b []byte, off int64) error {
	if now := p.now.Add(1); now > p.most.Load() {
		p.most.Store(now)
	}
	defer p.now.Add(-1)
	p.count.Add(1)
	if p.before != nil {
		if err := p.before(ctx, off, int64(len(b))); err != nil {
			return err
		}
	}
	for i := 0; i < len(b); i += 512 {
		s := b[i:min(i+512, len(b))]
		s[0] = sector(off + int64(i))
		for n := 1; n < len(s); n *= 2 {
			copy(s[n:], s[:n])
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads = p.reads.Add(extent.Extent{Offset: off, Length: int64(len(b))})
	return nil
}

const memory = 24 << 20

// settled makes sure that a flow has given everything back.
func settled(t *testing.T, l *limit.Limits, goroutines int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	b, err := l.Buffer(ctx, limit.Place{}, memory)
	if err != nil {
		t.Error("a buffer is not given back")
	} else {
		l.Return(limit.Place{}, b)
	}
	if err := l.Flight(ctx, limit.Place{Host: "h"}, 1<<40); err != nil {
		t.Error("something is still in flight")
	}
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
}

func newLimits() *limit.Limits {
	return limit.New(limit.Config{PerHost: limit.Bound{InFlight: 8 << 20}, Memory: memory})
}

func TestAFlowBringsASetAndNothingElse(t *testing.T) {
	w := writers(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 12 {
		size := int64(1+rng.IntN(60))*block + int64(rng.IntN(2))*512*int64(1+rng.IntN(2000))
		var set extent.Set
		for range rng.IntN(8) {
			off := rng.Int64N(size/512) * 512
			set = set.Add(extent.Extent{Offset: off, Length: min(size-off, 512*(1+rng.Int64N(9000)))})
		}
		src := &patterned{size: size, reading: transport.Reading{Size: []int64{0, block, 7 * block}[round%3], Depth: round % 7}}
		disk, err := w.Disk(t.Context(), size, nil)
		if err != nil {
			t.Fatal(err)
		}
		l := newLimits()
		rest := newRemaining(set)
		f := &Flow{Source: src, Disk: disk, Limits: l, Place: limit.Place{Host: "h", VApp: "v"}, Handed: rest.handed, Stored: rest.done}
		if err := f.Copy(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(src.reads, set) || len(rest.left()) > 0 {
			t.Fatalf("read %v of %v, left %v", src.reads, set, rest.left())
		}
		if depth := int64(src.reading.Depth); depth > 0 && src.most.Load() > depth {
			t.Errorf("%d reads at once, want %d", src.most.Load(), depth)
		}
		c := w.finish(disk)
		w.Drop(disk)
		// A disk that began as this one is this one.
		again, err := w.Disk(t.Context(), size, &c)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, block)
		for n := range (size + block - 1) / block {
			b := buf[:min(block, size-n*block)]
			if err := again.ParentBlock(t.Context(), n, b); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(b); i += 512 {
				off, want := n*block+int64(i), byte(0)
				if set.Contains(off) {
					want = sector(off)
				}
				if s := b[i:min(i+512, len(b))]; bytes.Count(s, []byte{want}) != len(s) {
					t.Fatalf("size %d, set %v: the sector at %d is not of %d", size, set, off, want)
				}
			}
		}
		w.Drop(again)
	}
}

func TestAFlowThatEndsEarlyGivesEverythingBack(t *testing.T) {
	w := writers(t)
	broken := fmt.Errorf("%w: cut", transport.ErrBroken)
	for name, fail := range map[string]func(cancel func()) error{
		"the source breaks off": func(func()) error { return broken },
		"it is cancelled":       func(cancel func()) error { cancel(); return nil },
		"the host stays busy":   func(func()) error { return fmt.Errorf("%w: no buffers", transport.ErrOverloaded) },
	} {
		t.Run(name, func(t *testing.T) {
			goroutines := runtime.NumGoroutine()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			src := &patterned{size: 100 * block}
			src.before = func(_ context.Context, off, _ int64) error {
				if off >= 40*block {
					return fail(cancel)
				}
				return nil
			}
			disk, err := w.Disk(t.Context(), src.size, nil)
			if err != nil {
				t.Fatal(err)
			}
			l := newLimits()
			set := extent.Of(extent.Extent{Length: src.size})
			rest := newRemaining(set)
			var pauses atomic.Int64
			f := &Flow{
				Source: src, Disk: disk, Limits: l, Place: limit.Place{Host: "h"}, Handed: rest.handed, Stored: rest.done,
				Again: func(error, time.Duration) { pauses.Add(1) },
			}
			if err := f.Copy(ctx, set); err == nil {
				t.Fatal("it ended well")
			}
			cancel()
			left := rest.left()
			if done := set.Subtract(left); done.Bytes() > 41*block+4*chunkSize || left.Bytes() == 0 {
				t.Errorf("left: %v", left)
			}
			if name == "the host stays busy" && (pauses.Load() < patientReads-1 || l.Allowed(limit.Place{Host: "h"}).InFlight >= 8<<20) {
				t.Errorf("%d pauses, %+v", pauses.Load(), l.Allowed(limit.Place{Host: "h"}))
			}
			// Another source goes on with what is left, and brings no more.
			next := &patterned{size: src.size}
			f = &Flow{Source: next, Disk: disk, Limits: l, Place: limit.Place{Host: "h"}}
			if err := f.Copy(t.Context(), left); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(next.reads, left) {
				t.Errorf("read %v, want %v", next.reads, left)
			}
			got := make([]byte, block)
			c := w.finish(disk)
			check, err := w.Disk(t.Context(), src.size, &c)
			if err != nil {
				t.Fatal(err)
			}
			for n := range int64(100) {
				if err := check.ParentBlock(t.Context(), n, got); err != nil || got[0] != sector(n*block) || got[block-1] != sector(n*block+block-1) {
					t.Fatalf("block %d differs, %v", n, err)
				}
			}
			settled(t, l, goroutines)
		})
	}
}

func TestAnOverloadIsWaitedOutAndTheCopyCompletes(t *testing.T) {
	w := writers(t)
	src := &patterned{size: 64 * block}
	var busy atomic.Int64
	src.before = func(_ context.Context, off, _ int64) error {
		if off >= 20*block && busy.Add(1) <= 2 {
			return fmt.Errorf("%w: NFC error 5", transport.ErrOverloaded)
		}
		return nil
	}
	disk, err := w.Disk(t.Context(), src.size, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := newLimits()
	var reasons []error
	var mu sync.Mutex
	f := &Flow{Source: src, Disk: disk, Limits: l, Place: limit.Place{Host: "h", VCenter: "vc"}, Central: true, Again: func(err error, _ time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		reasons = append(reasons, err)
	}}
	if err := f.Copy(t.Context(), extent.Of(extent.Extent{Length: src.size})); err != nil {
		t.Fatal(err)
	}
	if len(reasons) != 2 || l.Allowed(limit.Place{Host: "h"}).InFlight != 8<<20 {
		t.Errorf("%v; the host, which is not to blame, may have %+v", reasons, l.Allowed(limit.Place{Host: "h"}))
	}
	if a := l.Allowed(limit.Place{VCenter: "vc"}); a.InFlight > 4*chunkSize {
		t.Errorf("vCenter may have %+v", a)
	}
}

func TestASampleTellsWhatDiffers(t *testing.T) {
	w := writers(t)
	src := &patterned{size: 10 * block}
	first, err := w.Disk(t.Context(), src.size, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := newLimits()
	f := &Flow{Source: src, Disk: first, Limits: l}
	whole := extent.Of(extent.Extent{Length: src.size})
	if err := f.Check(t.Context(), whole); !errors.Is(err, errLied) {
		t.Errorf("data where nothing was said to be: %v", err)
	}
	if err := f.Copy(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	c := w.finish(first)
	second, err := w.Disk(t.Context(), src.size, &c)
	if err != nil {
		t.Fatal(err)
	}
	f = &Flow{Source: src, Disk: second, Limits: l, OnBase: true}
	if err := f.Check(t.Context(), whole); err != nil {
		t.Errorf("the same: %v", err)
	}
	if n := bytes.Count([]byte(fmt.Sprint(src.reads)), []byte("{")); n != 1 {
		t.Errorf("read %v", src.reads)
	}
	settled(t, l, runtime.NumGoroutine())
}

// TestWhatRemainsIsWhatWasNotStored lets parts end in any order.
func TestWhatRemainsIsWhatWasNotStored(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		size := int64(1+rng.IntN(200)) * block
		var set extent.Set
		for range 1 + rng.IntN(6) {
			off := rng.Int64N(size)
			set = set.Add(extent.Extent{Offset: off, Length: min(size-off, 1+rng.Int64N(20*block))})
		}
		rest := newRemaining(set)
		var way []extent.Extent
		var stored extent.Set
		for part := range chunks(set, 4*block, size) {
			if rng.IntN(20) == 0 {
				break
			}
			rest.handed(part)
			way = append(way, part)
			for len(way) > 0 && rng.IntN(3) > 0 {
				i := rng.IntN(len(way))
				rest.done(way[i])
				stored = stored.Add(way[i])
				way = slices.Delete(way, i, i+1)
			}
			if left := rest.left(); !slices.Equal(left, set.Subtract(stored)) {
				t.Fatalf("set %v, stored %v, on the way %v: left %v", set, stored, way, left)
			}
		}
	}
}

func TestACopyMakesNoGarbage(t *testing.T) {
	src := &patterned{size: 1 << 30}
	l := newLimits()
	f := &Flow{Source: src, Limits: l, Place: limit.Place{Host: "h", VCenter: "vc", VApp: "v"}}
	part := extent.Extent{Offset: 8 * block, Length: chunkSize}
	set := extent.Of(extent.Extent{Length: 1 << 30})
	n := testing.AllocsPerRun(50, func() {
		data, err := f.read(t.Context(), part, set)
		if err != nil {
			t.Fatal(err)
		}
		l.Return(f.Place, data)
	})
	if n > 4 { // for a chunk of four blocks: what of the set lies in it
		t.Errorf("%v allocations for each chunk", n)
	}
}
