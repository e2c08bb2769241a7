package nbd_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/nbd"
)

// A countingDisk counts how often it is asked where data is.
type countingDisk struct {
	fileDisk
	asked atomic.Int64
}

func (d *countingDisk) Extents(ctx context.Context, within extent.Extent) (extent.Set, error) {
	d.asked.Add(1)
	return d.fileDisk.Extents(ctx, within)
}

// What a client was told of data need not be asked for again when it is read;
// what it was told of holes is no longer so once something was written.
func TestReadsOfWhatWasToldBefore(t *testing.T) {
	leaks(t)
	ctx := t.Context()
	data := noise(2*mib, 1)
	disk := &countingDisk{fileDisk: openDisk(t, file(t, 8*mib, map[int64][]byte{2 * mib: data}))}
	c := dial(t, serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{{Backend: disk}}})), nbd.Options{})
	told, err := c.Extents(ctx, extent.Extent{Length: 8 * mib})
	if err != nil || len(told) != 1 || told[0] != (extent.Extent{Offset: 2 * mib, Length: 2 * mib}) {
		t.Fatalf("got %v, %v", told, err)
	}
	reads := func(off int64, want []byte, asks int64) {
		t.Helper()
		before := disk.asked.Load()
		got := make([]byte, len(want))
		if err := c.ReadAt(ctx, got, off); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes at %d differ: %v", len(want), off, err)
		}
		if n := disk.asked.Load() - before; n != asks {
			t.Errorf("%d bytes at %d: asked %d times for extents, want %d", len(want), off, n, asks)
		}
	}
	reads(2*mib, data[:mib], 0)
	reads(mib+mib/2, append(make([]byte, mib/2), data[:mib/2]...), 1)
	// The other way round since: a hole where data was, data where a hole was.
	if err := c.Zero(ctx, extent.Extent{Offset: 2 * mib, Length: 2 * mib}); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteAt(ctx, data[:mib], 5*mib); err != nil {
		t.Fatal(err)
	}
	reads(2*mib, make([]byte, mib), 0)
	reads(5*mib, data[:mib], 1)
}

// What a server sends waits at its end of the pair, more than the system would
// have wait, while the reader does something else.
func TestAPairHoldsWhatNobodyReadsYet(t *testing.T) {
	ours, theirs, err := nbd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	want := noise(256<<10, 1)
	n := 0
	for n < len(want) {
		sent, err := syscall.SendmsgN(int(theirs.Fd()), want[n:min(n+32<<10, len(want))], nil, nil, syscall.MSG_DONTWAIT)
		if err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		n += sent
	}
	got := make([]byte, len(want))
	for n = 0; n < len(got); {
		more, err := ours.Read(got[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += more
	}
	if !bytes.Equal(got, want) {
		t.Error("what arrives is not what was sent")
	}
}
