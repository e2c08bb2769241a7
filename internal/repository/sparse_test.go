package repository_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// watch returns the time that f took and the most heap that it held, beyond
// what was there before.
func watch(f func()) (time.Duration, uint64) {
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			select {
			case <-done:
				peak <- most
				return
			case <-time.After(20 * time.Millisecond):
				runtime.ReadMemStats(&now)
				if now.HeapInuse > before.HeapInuse {
					most = max(most, now.HeapInuse-before.HeapInuse)
				}
			}
		}
	}()
	start := time.Now()
	f()
	took := time.Since(start)
	close(done)
	return took, <-peak
}

// TestSparseDisk works on a disk of 4 TiB, or of 1, with little data: time and memory must follow
// the data, not the size.
func TestSparseDisk(t *testing.T) {
	const (
		maxHeap = 200 << 20
		maxTime = 60 * time.Second // generous: the race detector and slow machines
	)
	size := int64(scale(4<<40, 1<<40))
	interval := size / block / 256
	data := scale(256, 32)
	o := sharedOrg(t)
	buf := make([]byte, block)
	write := func(parent *restorepoint.DiskContent, seed uint64, blocks int) *restorepoint.Point {
		w := newWriter(t, o)
		d := newDisk(t, w, size, parent)
		for n := range blocks {
			if err := d.WriteBlock(t.Context(), int64(n)*interval, noise(seed+uint64(n), buf)); err != nil {
				t.Fatal(err)
			}
		}
		c, err := d.Finish(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := newPoint(c)
		if err := w.Commit(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
		return p
	}
	var p1, p2 *restorepoint.Point
	step := func(name string, f func()) {
		t.Helper()
		took, heap := watch(f)
		t.Logf("%s: %v, %d MiB of heap", name, took.Round(time.Millisecond), heap>>20)
		if took > maxTime || heap > maxHeap {
			t.Errorf("%s: took %v and %d MiB of heap", name, took, heap>>20)
		}
	}
	step("full", func() { p1 = write(nil, 1, data) })
	c1 := p1.VMs[0].Disks[0].Content
	step("incremental", func() { p2 = write(&c1, 5000, 4) })
	c2 := p2.VMs[0].Disks[0].Content
	if c1.DataBytes != int64(data)*block || c2.DataBytes != c1.DataBytes || c2.WrittenBytes != 4*block {
		t.Errorf("got %+v and %+v", c1, c2)
	}
	if extra := c2.StoredBytes - 4*block; extra > 1<<20 {
		t.Errorf("the indexes of 4 changed blocks took %d bytes", extra)
	}
	var r *repository.DiskReader
	step("open and extents", func() {
		var err error
		if r, err = o.OpenDisk(t.Context(), c2); err != nil {
			t.Fatal(err)
		}
		got, err := r.Extents(t.Context(), extent.Extent{Length: size})
		if err != nil || len(got) != data || got[1].Offset != interval*block {
			t.Errorf("got %d extents, %v", len(got), err)
		}
	})
	want := noise(5003, make([]byte, block))
	if err := r.ReadAt(t.Context(), buf, 3*interval*block); err != nil || string(buf) != string(want) {
		t.Errorf("a changed block differs, or %v", err)
	}
	want = noise(1+30, want)
	if err := r.ReadAt(t.Context(), buf, 30*interval*block); err != nil || string(buf) != string(want) {
		t.Errorf("an unchanged block differs, or %v", err)
	}
	step("verify", func() { mustVerify(t, o, p2.ID) })
}

// TestScatteredWrites goes through more segments and pages than are held.
func TestScatteredWrites(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 2,500 blocks all over a disk")
	}
	const blocks = 600 << 10 // 600 GiB
	o := newOrg(t)
	w := newWriter(t, o)
	d := newDisk(t, w, blocks*block, nil)
	buf := make([]byte, block)
	written := map[int64]byte{}
	for i := range int64(2500) {
		n := i * 7919 * 31 % blocks
		buf[0], buf[1] = byte(i)|1, byte(i>>8)
		written[n] = byte(i) | 1
		if err := d.WriteBlock(t.Context(), n, buf); err != nil {
			t.Fatal(err)
		}
	}
	c, err := d.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.DataBytes != int64(len(written))*block {
		t.Errorf("got %d bytes of data, want %d blocks", c.DataBytes, len(written))
	}
	p := newPoint(c)
	if err := w.Commit(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	r, err := o.OpenDisk(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for n, first := range written {
		if n%2 == 0 {
			if err := r.ReadAt(t.Context(), buf[:1], n*block); err != nil || buf[0] != first {
				t.Fatalf("block %d: got %d, %v, want %d", n, buf[0], err, first)
			}
		}
	}
	mustVerify(t, o, p.ID)
}
