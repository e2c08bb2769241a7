package vcenter

import (
	"bytes"
	"errors"
	"testing"
)

// encode writes a disk of grains that hold the bytes of data in turn.
func encode(t testing.TB, capacity int64, data []byte, at ...int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := newVMDKWriter(&b, capacity, "x.vmdk")
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range at {
		p := bytes.Repeat([]byte{data[i%len(data)] | 1}, int(min(grainSize, capacity-n*grainSize)))
		if err := w.grain(n*grainSize, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Whatever the bytes, the decoder either says that they are corrupt or hands
// over grains in order and within the disk.
func FuzzDecodeVMDK(f *testing.F) {
	const capacity = 100*grainSize + 3*sectorSize
	whole := encode(f, capacity, []byte("abc"), 0, 7, 99, 100)
	f.Add(whole)
	f.Add(whole[:len(whole)-sectorSize])
	f.Add(encode(f, capacity, []byte("x")))
	f.Fuzz(func(t *testing.T, stream []byte) {
		last := int64(-1)
		err := decodeVMDK(bytes.NewReader(stream), capacity, func(off int64, data []byte) error {
			if off <= last || off+int64(len(data)) > capacity || off%grainSize != 0 {
				t.Fatalf("grain at %d of %d bytes after one at %d", off, len(data), last)
			}
			last = off
			return nil
		})
		if err != nil && !errors.Is(err, errCorrupt) {
			t.Fatalf("got %v, want errCorrupt", err)
		}
	})
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	t.Parallel()
	const capacity = 3 * grainSize
	whole := encode(t, capacity, []byte("abc"), 0, 2)
	for n := 0; n < len(whole); n += 100 {
		if err := decodeVMDK(bytes.NewReader(whole[:n]), capacity, func(int64, []byte) error { return nil }); !errors.Is(err, errCorrupt) {
			t.Errorf("%d of %d bytes: got %v", n, len(whole), err)
		}
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	b := blockSet{}
	for _, n := range []int64{0, 1, 63, 64, 65, 1000, 1 << 26} {
		b.add(n)
	}
	got := b.ranges((1<<26)*blockSize + 5)
	want := []Range{{0, 2 * blockSize}, {63 * blockSize, 3 * blockSize}, {1000 * blockSize, blockSize}, {(1 << 26) * blockSize, 5}}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	full := blockSet{}
	full.addBytes(0, 128*blockSize)
	if r := full.ranges(1 << 40); len(r) != 1 || r[0].Length != 128*blockSize {
		t.Errorf("got %v", r)
	}
	cut := subtract([]Range{{0, 100}, {200, 50}}, []Range{{10, 20}, {90, 120}})
	if len(cut) != 3 || cut[0] != (Range{0, 10}) || cut[1] != (Range{30, 60}) || cut[2] != (Range{210, 40}) {
		t.Errorf("got %v", cut)
	}
}

func BenchmarkAddVM(b *testing.B) {
	s, err := Start(Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range b.N {
		if _, err := s.AddVM(VMSpec{Name: "vm" + string(rune('a'+i%26)), Disks: []DiskSpec{{Size: 1 << 30, Thin: true}},
			Folder: "f" + string(rune('a'+i/26%26)) + "/g" + string(rune('a'+i/676)), NICs: []NICSpec{{}}}); err != nil {
			b.Fatal(err)
		}
	}
}
