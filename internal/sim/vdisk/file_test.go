package vdisk

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func open2(t testing.TB, path string) *File {
	t.Helper()
	f, err := OpenWriter(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

func TestTheLargestDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a-flat.vmdk")
	if err := Create(path, MaxSize); err != nil {
		t.Fatal(err)
	}
	if got := Size(path); got != MaxSize {
		t.Errorf("got %d bytes, want %d", got, int64(MaxSize))
	}
	f := open2(t, path)
	p := bytes.Repeat([]byte("across the end "), 1000)
	want := []Range{}
	for _, off := range []int64{0, SegmentSize - 7000, 5*SegmentSize - 4096, MaxSize - int64(len(p))} {
		if n, err := f.WriteAt(p, off); n != len(p) || err != nil {
			t.Fatalf("at %d: wrote %d bytes, %v", off, n, err)
		}
		got := make([]byte, len(p))
		if n, err := f.ReadAt(got, off); n != len(p) || err != nil || !bytes.Equal(got, p) {
			t.Errorf("at %d: read %d bytes, %v", off, n, err)
		}
		want = append(want, Range{off / 4096 * 4096, 0})
	}
	data, err := f.Ranges(MaxSize)
	if err != nil || len(data) != len(want) {
		t.Fatalf("got %v, %v", data, err)
	}
	for i, r := range data {
		if r.Offset != want[i].Offset || r.Length > 8*4096 {
			t.Errorf("got data at %v, want it from %d", r, want[i].Offset)
		}
	}
	if got := Allocated(path); got > 1<<20 {
		t.Errorf("it takes %d bytes", got)
	}
	if n, err := f.ReadAt(make([]byte, 10), MaxSize-5); n != 5 || !errors.Is(err, io.EOF) {
		t.Errorf("at its end: got %d bytes, %v", n, err)
	}
	other := filepath.Join(dir, "b-flat.vmdk")
	if err := Rename(path, other); err != nil {
		t.Fatal(err)
	}
	if got := len(names(t, dir)); got != 8 {
		t.Errorf("got %d files, want 8", got)
	}
	if err := Remove(other); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestGrowingOverTheEndOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := Create(path, SegmentSize-512); err != nil {
		t.Fatal(err)
	}
	f := open2(t, path)
	if _, err := f.WriteAt([]byte("end"), SegmentSize-515); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(2*SegmentSize + 512); err != nil {
		t.Fatal(err)
	}
	if got := f.Size(); got != 2*SegmentSize+512 {
		t.Errorf("got %d bytes", got)
	}
	p := make([]byte, 6)
	if _, err := f.ReadAt(p, SegmentSize-515); err != nil || string(p) != "end\x00\x00\x00" {
		t.Errorf("got %q, %v", p, err)
	}
	if err := f.Truncate(512); err != nil {
		t.Fatal(err)
	}
	if got := f.Size(); got != 512 {
		t.Errorf("got %d bytes", got)
	}
}

func TestWritesMakeTheFilesBeforeThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := Create(path, 512); err != nil {
		t.Fatal(err)
	}
	f := open2(t, path)
	if _, err := f.WriteAt([]byte("x"), 3*SegmentSize+10); err != nil {
		t.Fatal(err)
	}
	if got := f.Size(); got != 3*SegmentSize+11 {
		t.Errorf("got %d bytes", got)
	}
}

func TestCreateTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := Create(path, 512); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, 512); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
}

// A disk behaves as one file would.
func FuzzWritesNearTheSeam(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		path := filepath.Join(t.TempDir(), "a")
		const from, size = SegmentSize - 64<<10, 128 << 10
		if err := Create(path, from+size); err != nil {
			t.Fatal(err)
		}
		d := open2(t, path)
		want := make([]byte, size)
		r := rand.New(rand.NewPCG(seed, 0))
		for range 20 {
			off := r.IntN(size)
			p := bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(size-off))
			copy(want[off:], p)
			if n, err := d.WriteAt(p, from+int64(off)); n != len(p) || err != nil {
				t.Fatalf("wrote %d of %d bytes: %v", n, len(p), err)
			}
		}
		got := make([]byte, size)
		if n, err := d.ReadAt(got, from); n != size || err != nil {
			t.Fatalf("read %d bytes: %v", n, err)
		}
		if !slices.Equal(got, want) {
			t.Error("it holds something else")
		}
	})
}
