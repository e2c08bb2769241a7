package repository_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

func TestDiskComesBackAsWritten(t *testing.T) {
	o := sharedOrg(t)
	sizes := []int{1, 512, block - 1, block, block + 1, 5*block + 512, segment + 1}
	if !testing.Short() {
		sizes = append(sizes, segment-block, segment, segment+block, 2*segment+3*block+1536)
	}
	for _, size := range sizes {
		img := image(uint64(size), size)
		p := saveImage(t, o, nil, nil, img)
		c := p.VMs[0].Disks[0].Content
		if got := readImage(t, o, c); !bytes.Equal(got, img) {
			t.Errorf("%d bytes: the disk differs", size)
		}
		mustVerify(t, o, p.ID)
		if c.Size != int64(size) || c.WrittenBytes != int64(size) {
			t.Errorf("%d bytes: content %+v", size, c)
		}
	}
}

func TestIncremental(t *testing.T) {
	o := newOrg(t)
	// Two segments at least, and not all of the second.
	from := int64(scale(0, segment-3*block))
	size := scale(3*segment, 3*block) + 5*block + 100
	full := image(1, size)
	p1 := saveTail(t, o, nil, from, nil, full)
	c1 := p1.VMs[0].Disks[0].Content

	changed := slices.Clone(full)
	noise(9999, changed[scale(segment+7*block, 5*block):][:block])
	clear(changed[scale(2*segment, 0):][:block])
	changed[size-1] ^= 1
	p2 := saveTail(t, o, &c1, from, full, changed)
	c2 := p2.VMs[0].Disks[0].Content

	if got := readTail(t, o, c2, size); !bytes.Equal(got, changed) {
		t.Error("the incremental differs")
	}
	if got := readTail(t, o, c1, size); !bytes.Equal(got, full) {
		t.Error("the parent has changed")
	}
	if want := int64(2*block + 100); c2.WrittenBytes != want {
		t.Errorf("got %d bytes written, want %d", c2.WrittenBytes, want)
	}
	if c2.StoredBytes < block || c2.StoredBytes > block+40<<10 {
		t.Errorf("got %d bytes stored for one new block of noise", c2.StoredBytes)
	}
	mustVerify(t, o, p1.ID)
	mustVerify(t, o, p2.ID)

	// The same content by another way is the same object and hash.
	p3 := saveTail(t, o, nil, from, nil, changed)
	if c3 := p3.VMs[0].Disks[0].Content; c3.Object != c2.Object || c3.Sums != c2.Sums || c3.TreeHash != c2.TreeHash || c3.DataBytes != c2.DataBytes {
		t.Errorf("got %+v, want what the incremental came to: %+v", c3, c2)
	} else if c3.StoredBytes != 0 {
		t.Errorf("got %d bytes stored for what is there already", c3.StoredBytes)
	}
}

func TestDiskThatHasGrown(t *testing.T) {
	o := sharedOrg(t)
	for _, tc := range []struct {
		name     string
		from, to int
	}{
		{"within a block", 3*block + 100, 3*block + 200},
		{"to the end of the block", 3*block + 100, 4 * block},
		{"by blocks", 3 * block, 7 * block},
		{"by blocks from an odd end", 3*block + 512, 7*block + 512},
		{"by segments", scale(segment, 3*block), scale(3, 1)*segment + block},
		{"from an odd end by segments", scale(segment, 0) + block + 512, scale(3, 1)*segment + 1024},
		{"not at all", 3*block + 100, 3*block + 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			small := image(uint64(tc.from), tc.from)
			c := saveImage(t, o, nil, nil, small).VMs[0].Disks[0].Content
			large := append(slices.Clone(small), make([]byte, tc.to-tc.from)...)
			w := newWriter(t, o)
			d := newDisk(t, w, int64(tc.to), &c)
			got, err := d.Finish(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p := newPoint(got)
			if err := w.Commit(t.Context(), p, nil); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readImage(t, o, got), large) {
				t.Error("the grown disk differs")
			}
			mustVerify(t, o, p.ID)
			if want := saveImage(t, o, nil, nil, large).VMs[0].Disks[0].Content; got.Object != want.Object || got.TreeHash != want.TreeHash {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
	t.Run("a disk that has shrunk is refused", func(t *testing.T) {
		c := saveImage(t, o, nil, nil, image(1, 2*block)).VMs[0].Disks[0].Content
		if _, err := newWriter(t, o).Disk(t.Context(), block, &c); err == nil {
			t.Error("no error")
		}
	})
}

func TestParentBlock(t *testing.T) {
	o := sharedOrg(t)
	img := image(5, 2*block+100)
	c := saveImage(t, o, nil, nil, img).VMs[0].Disks[0].Content
	d := newDisk(t, newWriter(t, o), 4*block, &c)
	if err := d.WriteBlock(t.Context(), 0, noise(7, make([]byte, block))); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(img), make([]byte, 2*block-100)...)
	buf := make([]byte, block)
	for n := range int64(4) {
		if err := d.ParentBlock(t.Context(), n, buf); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf, want[n*block:][:block]) {
			t.Errorf("block %d of the parent differs", n)
		}
	}
}

func TestParallelWriters(t *testing.T) {
	o := sharedOrg(t)
	// From the start of one segment, or the end of one, into another one.
	from := scale(0, segment-6*block)
	img := image(3, scale(2*segment, 12*block)+100)
	w := newWriter(t, o)
	contents := make([]restorepoint.DiskContent, 2)
	var disks sync.WaitGroup
	for i := range contents {
		d := newDisk(t, w, int64(from+len(img)), nil)
		disks.Go(func() {
			var blocks sync.WaitGroup
			for k := range 4 {
				blocks.Go(func() {
					for n := k; n*block < len(img); n += 4 {
						if err := d.WriteBlock(t.Context(), int64(from/block+n), img[n*block:min((n+1)*block, len(img))]); err != nil {
							t.Error(err)
						}
					}
				})
			}
			blocks.Wait()
			var err error
			if contents[i], err = d.Finish(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		if err := w.Checkpoint(t.Context()); err != nil {
			t.Error(err)
		}
	}
	disks.Wait()
	p := newPoint(contents...)
	if err := w.Commit(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for i := range 6 {
		readers.Go(func() {
			if !bytes.Equal(readTail(t, o, contents[i%2], len(img)), img) {
				t.Error("the disk differs")
			}
		})
	}
	readers.Wait()
	mustVerify(t, o, p.ID)
}

func TestRandomReads(t *testing.T) {
	o := sharedOrg(t)
	from := scale(0, segment-5*block)
	img := image(11, scale(segment, 0)+10*block+77)
	p := saveTail(t, o, nil, int64(from), nil, img)
	r, err := o.OpenDisk(t.Context(), p.VMs[0].Disks[0].Content)
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for k := range 4 {
		readers.Go(func() {
			for i := range 50 {
				off := (i*7919*4096 + k*1013) % len(img)
				p := make([]byte, min(100+i*scale(40000, 4000), len(img)-off))
				if err := r.ReadAt(t.Context(), p, int64(from+off)); err != nil {
					t.Error(err)
				} else if !bytes.Equal(p, img[off:off+len(p)]) {
					t.Errorf("[%d,+%d) differs", off, len(p))
				}
			}
		})
	}
	readers.Wait()
	for _, off := range []int64{-1, int64(from + len(img))} {
		if err := r.ReadAt(t.Context(), make([]byte, 1), off); err == nil {
			t.Errorf("a read at %d is no error", off)
		}
	}
}

func TestExtents(t *testing.T) {
	o := sharedOrg(t)
	w := newWriter(t, o)
	d := newDisk(t, w, 3*segment+100, nil)
	data := noise(1, make([]byte, block))
	for _, n := range []int64{1, 2, 63, 64, 130} {
		if err := d.WriteBlock(t.Context(), n, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.WriteBlock(t.Context(), 3, make([]byte, block)); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteBlock(t.Context(), 192, data[:100]); err != nil {
		t.Fatal(err)
	}
	c, err := d.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), newPoint(c), nil); err != nil {
		t.Fatal(err)
	}
	r, err := o.OpenDisk(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		within extent.Extent
		want   extent.Set
	}{
		{"all", extent.Extent{Length: 3*segment + 100}, extent.Set{
			{Offset: block, Length: 2 * block}, {Offset: 63 * block, Length: 2 * block},
			{Offset: 130 * block, Length: block}, {Offset: 192 * block, Length: 100},
		}},
		{"parts of blocks", extent.Extent{Offset: block + 10, Length: block}, extent.Set{{Offset: block + 10, Length: block}}},
		{"a hole", extent.Extent{Offset: 3 * block, Length: 60 * block}, nil},
		{"nothing", extent.Extent{Offset: block}, nil},
		{"beyond the end", extent.Extent{Offset: 192 * block, Length: 1 << 40}, extent.Set{{Offset: 192 * block, Length: 100}}},
	} {
		got, err := r.Extents(t.Context(), tc.within)
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, %v, want %v", tc.name, got, err, tc.want)
		}
	}
	if r.Transferred() != 0 {
		t.Error("extents were told by reading blocks")
	}
	if c.DataBytes != 5*block+100 {
		t.Errorf("got %d data bytes", c.DataBytes)
	}
}

func TestPointIsListedOnlyWhenCommitted(t *testing.T) {
	o := sharedOrg(t)
	before := points(t, o)
	w := newWriter(t, o)
	d := newDisk(t, w, 4*block, nil)
	if err := d.WriteBlock(t.Context(), 1, noise(4242, make([]byte, block))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	none := func(when string) {
		t.Helper()
		if got := points(t, o); !reflect.DeepEqual(got, before) {
			t.Errorf("%s: got %v, want %v", when, got, before)
		}
	}
	none("before the commit")
	c, err := d.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.StoredBytes <= block {
		t.Errorf("got %d bytes stored", c.StoredBytes)
	}
	p := newPoint(c)
	p.State, p.Problems = restorepoint.Partial, []restorepoint.Problem{{VM: "db02", Message: "no", Missing: true}}
	docs := map[string][]byte{"vcd/vapp.xml": []byte("<VApp/>"), "vcd/vms/1/vm.xml": []byte("<Vm/>"), "empty": nil}
	if err := w.Commit(t.Context(), p, docs); err != nil {
		t.Fatal(err)
	}
	if got := points(t, o); len(got) != len(before)+1 || !slices.ContainsFunc(got, func(s restorepoint.Summary) bool { return reflect.DeepEqual(s, p.Summary()) }) {
		t.Fatalf("got %+v, want %+v besides %+v", got, p.Summary(), before)
	}
	loaded, err := o.Load(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Schema != restorepoint.SchemaVersion || loaded.VApp != p.VApp || loaded.VMs[0].Disks[0].Content != c {
		t.Errorf("got %+v", loaded)
	}
	if want := []string{"empty", "vcd/vapp.xml", "vcd/vms/1/vm.xml"}; !slices.Equal(loaded.Documents, want) {
		t.Errorf("got documents %v, want %v", loaded.Documents, want)
	}
	all, err := o.Documents(t.Context(), p.ID)
	if err != nil || len(all) != len(docs) {
		t.Fatalf("got %v, %v", all, err)
	}
	for path, want := range docs {
		one, err := o.Document(t.Context(), p.ID, path)
		if err != nil || !bytes.Equal(one, want) || !bytes.Equal(all[path], want) {
			t.Errorf("%s: got %q, %q, %v", path, one, all[path], err)
		}
	}
	if err := o.Forget(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	none("after it was forgotten")
	for _, err := range []error{
		o.Forget(t.Context(), p.ID),
		second(o.Load(t.Context(), p.ID)),
		second(o.Document(t.Context(), p.ID, "vcd/vapp.xml")),
		second(o.Verify(t.Context(), p.ID, repository.VerifyOptions{Percent: 100})),
	} {
		if !errors.Is(err, repository.ErrNotFound) || !strings.Contains(err.Error(), p.ID) {
			t.Errorf("got %v, want not found, with the id", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestCommitRefuses(t *testing.T) {
	o := sharedOrg(t)
	committed := saveImage(t, o, nil, nil, image(1, block))
	before := points(t, o)
	for _, tc := range []struct {
		name   string
		change func(*restorepoint.Point, map[string][]byte)
	}{
		{"an id that is no ULID", func(p *restorepoint.Point, _ map[string][]byte) { p.ID = "../x" }},
		{"a point that is there", func(p *restorepoint.Point, _ map[string][]byte) { p.ID = committed.ID }},
		{"another vApp", func(p *restorepoint.Point, _ map[string][]byte) { p.VApp.ID = "urn:vcloud:vapp:2" }},
		{"another org", func(p *restorepoint.Point, _ map[string][]byte) { p.Org.ID = "urn:vcloud:org:2" }},
		{"a site that is no host", func(p *restorepoint.Point, _ map[string][]byte) { p.Site.ID = "a@b:c" }},
		{"a state that cannot be restored", func(p *restorepoint.Point, _ map[string][]byte) { p.State = restorepoint.Incomplete }},
		{"a path that escapes", func(_ *restorepoint.Point, d map[string][]byte) { d["../escaped"] = nil }},
		{"a path from the root", func(_ *restorepoint.Point, d map[string][]byte) { d["/etc/passwd"] = nil }},
		{"the manifest's own path", func(_ *restorepoint.Point, d map[string][]byte) { d["restorepoint.json"] = nil }},
		{"a document among the disks", func(_ *restorepoint.Point, d map[string][]byte) { d["disks/x"] = nil }},
		{"a file that is a folder", func(_ *restorepoint.Point, d map[string][]byte) { d["vcd"], d["vcd/x"] = nil, nil }},
		{"a VM id that escapes", func(p *restorepoint.Point, _ map[string][]byte) { p.VMs[0].ID = "../../x" }},
		{"a disk twice", func(p *restorepoint.Point, _ map[string][]byte) {
			p.VMs[0].Disks = append(p.VMs[0].Disks, p.VMs[0].Disks[0])
		}},
		{"a disk that is not in the repository", func(p *restorepoint.Point, _ map[string][]byte) {
			p.VMs[0].Disks[0].Content.Object = "Ix00000000000000000000000000000000"
		}},
	} {
		p, docs := newPoint(committed.VMs[0].Disks[0].Content), map[string][]byte{}
		tc.change(p, docs)
		if err := newWriter(t, o).Commit(t.Context(), p, docs); err == nil {
			t.Errorf("%s: no error", tc.name)
		}
	}
	if got := points(t, o); len(got) != len(before) {
		t.Errorf("got points %v, had %v", got, before)
	}
	// A disk may be taken over from an earlier point as it is.
	p := newPoint(committed.VMs[0].Disks[0].Content)
	if err := newWriter(t, o).Commit(t.Context(), p, nil); err != nil {
		t.Error(err)
	}
}

func TestWriterIsOverAfterAbort(t *testing.T) {
	o := sharedOrg(t)
	w := newWriter(t, o)
	d := newDisk(t, w, block, nil)
	w.Abort(t.Context())
	w.Abort(t.Context())
	if err := d.WriteBlock(t.Context(), 0, noise(1, make([]byte, block))); err == nil {
		t.Error("a block was written")
	}
	if _, err := d.Finish(t.Context()); err == nil {
		t.Error("the disk was finished")
	}
	if err := w.Commit(t.Context(), newPoint(), nil); err == nil {
		t.Error("the point was committed")
	}
}
