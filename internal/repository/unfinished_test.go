package repository_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// begun starts a disk of four blocks, of which the first two are written.
func begun(t *testing.T, w *repository.PointWriter, uuid string, seed uint64) *repository.DiskWriter {
	t.Helper()
	d := newDisk(t, w, 4*block, nil)
	for n := range int64(2) {
		if err := d.WriteBlock(t.Context(), n, noise(seed+uint64(n), make([]byte, block))); err != nil {
			t.Fatal(err)
		}
	}
	d.Resumable(func() (repository.Unfinished, bool) {
		return repository.Unfinished{
			Run: "run", VM: vmID, VCenter: "vc", MoRef: "vm-1",
			Disk:      restorepoint.Disk{UUID: uuid, ChangeID: "epoch/7", Mode: "full"},
			Remaining: extent.Of(extent.Extent{Offset: 2*block + 512, Length: 2*block - 512}),
		}, true
	})
	return d
}

func unfinished(t *testing.T, o *repository.Repository) []repository.Unfinished {
	t.Helper()
	list, err := o.Unfinished(t.Context(), vappID)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAnotherAttemptGoesOnFromACheckpoint(t *testing.T) {
	r := newRoot(t)
	o := org(t, r)
	if got := unfinished(t, o); len(got) != 0 {
		t.Fatalf("before: %v", got)
	}
	w := newWriter(t, o)
	begun(t, w, diskUUID, 5)
	if err := w.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What another process sees, as after a crash.
	o = org(t, openRoot(t, r.Path()))
	if len(points(t, o)) != 0 {
		t.Error("a checkpoint is listed")
	}
	if err := o.Maintain(t.Context(), repository.MaintainOptions{}); err != nil {
		t.Fatal(err)
	}
	list := unfinished(t, o)
	if len(list) != 1 {
		t.Fatalf("got %d disks", len(list))
	}
	u := list[0]
	want := extent.Of(extent.Extent{Offset: 2*block + 512, Length: 2*block - 512})
	if u.Run != "run" || u.VM != vmID || u.VCenter != "vc" || u.MoRef != "vm-1" || u.Disk.UUID != diskUUID ||
		u.Disk.ChangeID != "epoch/7" || !slices.Equal(u.Remaining, want) || u.Saved.IsZero() || u.Disk.Content.StoredBytes < 2*block {
		t.Errorf("got %+v", u)
	}
	second := newWriter(t, o)
	d := newDisk(t, second, 4*block, &u.Disk.Content)
	for n := int64(2); n < 4; n++ {
		if err := d.WriteBlock(t.Context(), n, noise(5+uint64(n), make([]byte, block))); err != nil {
			t.Fatal(err)
		}
	}
	c, err := d.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := newPoint(c)
	if err := second.Commit(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	img := make([]byte, 0, 4*block)
	for n := range uint64(4) {
		img = append(img, noise(5+n, make([]byte, block))...)
	}
	if !bytes.Equal(readImage(t, o, c), img) {
		t.Error("the disk differs")
	}
	if got := unfinished(t, o); len(got) != 0 {
		t.Errorf("after the commit: %v", got)
	}
	mustVerify(t, o, p.ID)
}

func TestAGivenUpAttemptKeepsWhatItHas(t *testing.T) {
	o := newOrg(t)
	w := newWriter(t, o)
	begun(t, w, "one", 5)
	dropped := begun(t, w, "two", 15)
	w.Drop(dropped)
	w.Abort(t.Context())
	list := unfinished(t, o)
	if len(list) != 1 || list[0].Disk.UUID != "one" {
		t.Fatalf("got %+v", list)
	}
	// Nothing worth keeping leaves the older one alone.
	w = newWriter(t, o)
	newDisk(t, w, block, nil)
	w.Abort(t.Context())
	// A newer one is told first.
	w = newWriter(t, o)
	begun(t, w, "three", 25)
	w.Abort(t.Context())
	if list = unfinished(t, o); len(list) != 2 || list[0].Disk.UUID != "three" {
		t.Errorf("got %+v", list)
	}
}

func TestAPartialPointKeepsHowFarItsOtherDisksCame(t *testing.T) {
	o := newOrg(t)
	w := newWriter(t, o)
	begun(t, w, "left", 5)
	held := begun(t, w, "held", 15)
	c, err := held.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := newPoint(c)
	p.State = restorepoint.Partial
	if err := w.Commit(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		list := unfinished(t, o)
		if len(list) != 1 || list[0].Disk.UUID != "left" {
			t.Fatalf("got %+v", list)
		}
		// It outlives an immediate maintenance as well.
		if err := o.Maintain(t.Context(), repository.MaintainOptions{Immediate: true}); err != nil {
			t.Fatal(err)
		}
		r, err := o.OpenDisk(t.Context(), list[0].Disk.Content)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, block)
		if err := r.ReadAt(t.Context(), got, block); err != nil || !bytes.Equal(got, noise(6, make([]byte, block))) {
			t.Errorf("block 1 differs, %v", err)
		}
		_ = r.Close()
	}
}
