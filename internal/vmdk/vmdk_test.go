package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"
	"time"
)

// encode writes a disk image as a stream.
func encode(t testing.TB, w io.Writer, image []byte) {
	t.Helper()
	e, err := NewWriter(w, int64(len(image)), WriterOptions{Parallel: 3})
	if err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(image); off += GrainSize {
		if err := e.WriteGrain(int64(off), image[off:min(off+GrainSize, len(image))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// decode reads a stream into a disk image.
func decode(r io.Reader) ([]byte, error) {
	d, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	image := make([]byte, d.Capacity())
	for {
		off, data, err := d.Next()
		if err == io.EOF {
			return image, nil
		}
		if err != nil {
			return nil, err
		}
		copy(image[off:], data)
	}
}

// image makes a disk with holes, of text and of what does not compress.
func image(size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	for off := 0; off < size; off += GrainSize {
		grain := b[off:min(off+GrainSize, size)]
		switch off / GrainSize % 5 {
		case 0, 1:
			r.Read(grain)
		case 2:
			copy(grain, bytes.Repeat([]byte("vapp"), len(grain)/4))
		}
	}
	return b
}

var images = []struct {
	name  string
	image []byte
}{
	{"a disk of no bytes", nil},
	{"a disk of one sector", image(512)},
	{"an empty disk", make([]byte, 10<<20)},
	{"a disk smaller than a grain", image(GrainSize - 512)},
	{"a disk of one grain", image(GrainSize)},
	{"a disk that ends within a grain", image(7*GrainSize + 3*512)},
	{"a disk that ends within a grain of incompressible data", image(5*GrainSize + 3*512)},
	{"a disk with several grain tables", image(70<<20 + 512)},
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, c := range images {
		t.Run(c.name, func(t *testing.T) {
			var stream bytes.Buffer
			encode(t, &stream, c.image)
			if stream.Len()%sectorSize != 0 {
				t.Errorf("stream of %d bytes is not whole sectors", stream.Len())
			}
			got, err := decode(&stream)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, c.image) {
				t.Error("the image differs")
			}
			if stream.Len() != 0 {
				t.Errorf("%d bytes are left behind the end", stream.Len())
			}
		})
	}
}

func TestStreamCutAnywhereIsTruncated(t *testing.T) {
	var stream bytes.Buffer
	encode(t, &stream, image(3*GrainSize))
	whole := stream.Bytes()
	// The very end may be missing: nothing that matters follows the
	// end-of-stream marker's first bytes, but we do not accept that either.
	for n := 0; n < len(whole); n += 509 {
		if _, err := decode(bytes.NewReader(whole[:n])); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut to %d of %d bytes: got %v, want %v", n, len(whole), err, ErrTruncated)
		}
	}
}

func TestProgressMarkersArePassed(t *testing.T) {
	var stream bytes.Buffer
	want := image(GrainSize)
	encode(t, &stream, want)
	with := bytes.Clone(stream.Bytes()[:grainsFrom])
	for range 4 {
		with = append(with, metadataMarker(markerProgress, 0)...)
	}
	with = append(with, stream.Bytes()[grainsFrom:]...)
	got, err := decode(bytes.NewReader(with))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the image differs, or %v", err)
	}
}

func TestReadErrorIsNotTheEnd(t *testing.T) {
	var stream bytes.Buffer
	encode(t, &stream, image(3*GrainSize))
	cause := errors.New("connection reset")
	r := io.MultiReader(io.LimitReader(&stream, 100<<10), iotest.ErrReader(cause))
	if _, err := decode(r); !errors.Is(err, cause) || errors.Is(err, ErrTruncated) {
		t.Errorf("got %v, want %v", err, cause)
	}
}

// grainsFrom returns where the grains of a stream of ours begin.
const grainsFrom = grainSectors * sectorSize

func TestDamageIsFound(t *testing.T) {
	put16, put32, put64 := binary.LittleEndian.PutUint16, binary.LittleEndian.PutUint32, binary.LittleEndian.PutUint64
	for _, c := range []struct {
		name   string
		damage func(b []byte)
	}{
		{"another magic", func(b []byte) { b[0] = 'C' }},
		{"a version of the future", func(b []byte) { put32(b[4:], 4) }},
		{"no compression", func(b []byte) { put16(b[77:], 0) }},
		{"a capacity of exabytes", func(b []byte) { put64(b[12:], 1<<60) }},
		{"a capacity of fewer grains", func(b []byte) { put64(b[12:], grainSectors) }},
		{"a grain of no size", func(b []byte) { put64(b[20:], 0) }},
		{"a grain of gigabytes", func(b []byte) { put64(b[20:], 1<<30) }},
		{"a grain of an odd size", func(b []byte) { put64(b[20:], 100) }},
		{"an overhead of exabytes", func(b []byte) { put64(b[64:], 1<<61) }},
		{"a directory before the header", func(b []byte) { put64(b[56:], 1<<62) }},
		{"newlines for MS-DOS", func(b []byte) { b[73] = '\r' }},
		{"a compressed grain of gigabytes", func(b []byte) { put32(b[grainsFrom+8:], 1<<31) }},
		{"a grain that is not aligned", func(b []byte) { put64(b[grainsFrom:], 1) }},
		{"a grain out of order", func(b []byte) { put64(b[grainsFrom:], 2*grainSectors) }},
		{"a flipped bit", func(b []byte) { b[grainsFrom+12+1000] ^= 1 }},
		{"an unknown marker", func(b []byte) { put64(b[grainsFrom+8:], 9<<32) }},
		{"metadata of exabytes", func(b []byte) { put64(b[grainsFrom:], 1<<54); put64(b[grainsFrom+8:], 1<<32) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stream bytes.Buffer
			encode(t, &stream, image(3*GrainSize))
			c.damage(stream.Bytes())
			if _, err := decode(&stream); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTruncated) {
				t.Errorf("got %v, want %v", err, ErrCorrupt)
			}
		})
	}
}

func TestWriterRefusesGrainsOutOfPlace(t *testing.T) {
	e, err := NewWriter(io.Discard, 3*GrainSize+512, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Abort()
	if err := e.WriteGrain(GrainSize, make([]byte, GrainSize)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		off    int64
		length int
	}{
		{"before the last", 0, GrainSize},
		{"the last again", GrainSize, GrainSize},
		{"not aligned", 2*GrainSize + 512, GrainSize},
		{"too short", 2 * GrainSize, 512},
		{"too long", 3 * GrainSize, GrainSize},
		{"beyond the disk", 4 * GrainSize, GrainSize},
	} {
		if err := e.WriteGrain(c.off, make([]byte, c.length)); err == nil {
			t.Errorf("a grain %s was taken", c.name)
		}
	}
}

func TestDisksThatCannotBe(t *testing.T) {
	for _, capacity := range []int64{-512, 100, 1 << 60} {
		if _, err := NewWriter(io.Discard, capacity, WriterOptions{}); err == nil {
			t.Errorf("a disk of %d bytes was taken", capacity)
		}
	}
}

// full is a writer that breaks after some bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestWriteErrorsReachTheCaller(t *testing.T) {
	for left := grainsFrom; left < 40<<20; left *= 4 {
		e, err := NewWriter(&full{left}, 40<<20, WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		data := image(GrainSize)
		for off := int64(0); off < 40<<20 && err == nil; off += GrainSize {
			err = e.WriteGrain(off, data)
		}
		if cerr := e.Close(); !errors.Is(cerr, io.ErrShortWrite) {
			t.Errorf("room for %d bytes: close: got %v, want %v", left, cerr, io.ErrShortWrite)
		}
	}
}

func TestAbortedStreamHasNoEnd(t *testing.T) {
	var stream bytes.Buffer
	e, err := NewWriter(&stream, GrainSize, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.WriteGrain(0, image(GrainSize)); err != nil {
		t.Fatal(err)
	}
	e.Abort()
	e.Abort()
	if err := e.Close(); err == nil {
		t.Error("close after abort succeeded")
	}
	if _, err := decode(&stream); !errors.Is(err, ErrTruncated) {
		t.Errorf("got %v, want %v", err, ErrTruncated)
	}
}

func TestReaderCloses(t *testing.T) {
	var stream bytes.Buffer
	encode(t, &stream, image(10<<20))
	for read := range 3 {
		before := runtime.NumGoroutine()
		d, err := NewReader(bytes.NewReader(stream.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		for range read {
			if _, _, err := d.Next(); err != nil {
				t.Fatal(err)
			}
		}
		d.Close()
		d.Close()
		if _, _, err := d.Next(); err == nil && read == 0 {
			t.Error("a closed reader goes on")
		}
		for range 100 { // a goroutine outlives its last statement a little
			if runtime.NumGoroutine() <= before {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if after := runtime.NumGoroutine(); after > before {
			t.Errorf("%d goroutines were left", after-before)
		}
	}
}

func TestHugeSparseDiskTakesLittle(t *testing.T) {
	const tib = 1 << 40
	for _, capacity := range []int64{3 * tib, 62 * tib} {
		t.Run(fmt.Sprintf("%d TiB", capacity/tib), func(t *testing.T) {
			var stream bytes.Buffer
			e, err := NewWriter(&stream, capacity, WriterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			data := image(GrainSize)
			offsets := []int64{0, tib, capacity - GrainSize}
			for _, off := range offsets {
				if err := e.WriteGrain(off, data); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if limit := int(capacity>>25)*4 + 1<<20; stream.Len() > limit {
				t.Errorf("stream has %d bytes, more than %d", stream.Len(), limit)
			}
			d, err := NewReader(&stream)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			for _, want := range offsets {
				off, got, err := d.Next()
				if err != nil || off != want || !bytes.Equal(got, data) {
					t.Fatalf("grain at %d: got one at %d, %v", want, off, err)
				}
			}
			if _, _, err := d.Next(); err != io.EOF {
				t.Errorf("got %v, want %v", err, io.EOF)
			}
		})
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add([]byte("vapp"), uint16(3), uint16(1))
	f.Add([]byte{0}, uint16(700), uint16(127))
	f.Fuzz(func(t *testing.T, seed []byte, grains, sectors uint16) {
		want := make([]byte, int(grains%600)*GrainSize+int(sectors%128)*sectorSize)
		r := rand.New(rand.NewPCG(uint64(len(seed)), uint64(grains)))
		for i, b := range seed {
			if len(want) > 0 {
				at := r.IntN(len(want))
				copy(want[at:], bytes.Repeat(seed[i:], int(b)))
			}
		}
		var stream bytes.Buffer
		encode(t, &stream, want)
		got, err := decode(&stream)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Error("the image differs")
		}
	})
}

// tiny shortens a stream of ours: a fuzzer does little with 64 KiB of header.
func tiny(stream []byte) []byte {
	b := bytes.Clone(append(stream[:sectorSize:sectorSize], stream[grainsFrom:]...))
	binary.LittleEndian.PutUint64(b[64:], 1) // overhead
	return b
}

func TestTinyStreamIsRead(t *testing.T) {
	var stream bytes.Buffer
	want := make([]byte, 2*GrainSize+512)
	copy(want[GrainSize:], "vapp")
	encode(t, &stream, want)
	got, err := decode(bytes.NewReader(tiny(stream.Bytes())))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the image differs, or %v", err)
	}
}

func FuzzReader(f *testing.F) {
	for _, size := range []int{0, 512, 2*GrainSize + 512} {
		var stream bytes.Buffer
		b := make([]byte, size)
		for i := range size / 512 {
			copy(b[i*512:], "vapp")
		}
		encode(f, &stream, b)
		f.Add(tiny(stream.Bytes()))
		// As qemu-img has it: the tables first, no end-of-stream marker.
		front := tiny(stream.Bytes())
		binary.LittleEndian.PutUint64(front[56:], 1)
		binary.LittleEndian.PutUint64(front[64:], 6)
		tables := make([]byte, 5*sectorSize)
		tables[0] = 2
		tables[sectorSize] = 6
		f.Add(append(append(front[:sectorSize:sectorSize], tables...), front[sectorSize:]...))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		d, err := NewReader(bytes.NewReader(stream))
		if err != nil {
			return
		}
		defer d.Close()
		end := int64(0)
		for {
			off, data, err := d.Next()
			if err != nil {
				if err != io.EOF && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTruncated) {
					t.Errorf("got %v, which is no error of a stream", err)
				}
				return
			}
			if off < end || off+int64(len(data)) > d.Capacity() {
				t.Fatalf("grain [%d, +%d) on a disk of %d bytes, after %d", off, len(data), d.Capacity(), end)
			}
			end = off + int64(len(data))
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	data := bytes.Repeat(image(GrainSize)[:GrainSize/4], 4)
	e, err := NewWriter(io.Discard, int64(b.N)*GrainSize, WriterOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(GrainSize)
	for i := range b.N {
		if err := e.WriteGrain(int64(i)*GrainSize, data); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkReader(b *testing.B) {
	var stream bytes.Buffer
	want := bytes.Repeat(image(GrainSize)[:GrainSize/4], 4*1024)
	encode(b, &stream, want)
	b.SetBytes(int64(len(want)))
	for b.Loop() {
		d, err := NewReader(bytes.NewReader(stream.Bytes()))
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, _, err = d.Next()
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		d.Close()
	}
}
