package repository

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
)

func testCompressor(t testing.TB) *blockCompressor {
	t.Helper()
	c, err := register()
	if err != nil {
		t.Fatal(err)
	}
	return c.compressor
}

func randomBytes(n int) []byte {
	r, b := rand.New(rand.NewPCG(1, 2)), make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint64())
	}
	return b
}

// compressions are contents of all kinds, of lengths around what Kopia makes.
func compressions() map[string][]byte {
	return map[string][]byte{
		"nothing": {}, "a byte": {7}, "text": []byte(strings.Repeat("the quick brown fox\n", 40000)),
		"noise": randomBytes(BlockSize), "zeros": make([]byte, BlockSize), "several MiB": randomBytes(9 << 20)[:8<<20],
	}
}

func TestOursIsWhatKopiaUses(t *testing.T) {
	c := testCompressor(t)
	if compression.ByName[compressor] != c || compression.ByHeaderID[compression.HeaderZstdFastest] != c {
		t.Error("Kopia has another compressor under the name")
	}
}

func TestCompressedContentsComeBackAsTheyWere(t *testing.T) {
	c := testCompressor(t)
	for name, data := range compressions() {
		var packed, out bytes.Buffer
		if err := c.Compress(&packed, bytes.NewReader(data)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.Decompress(&out, bytes.NewReader(packed.Bytes()), true); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Errorf("%s: %d bytes came back, of %d: %v", name, out.Len(), len(data), err)
		}
		// As Kopia's own reads it: a stream with a header before it.
		stream, err := zstd.NewReader(bytes.NewReader(packed.Bytes()[compressionHeader:]))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(stream)
		stream.Close()
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: a stream of %d bytes, of %d: %v", name, len(got), len(data), err)
		}
	}
}

func TestWhatKopiasOwnHasCompressedIsRead(t *testing.T) {
	c := testCompressor(t)
	for name, data := range compressions() {
		packed := bytes.NewBuffer(binary.BigEndian.AppendUint32(nil, uint32(compression.HeaderZstdFastest)))
		w, err := zstd.NewWriter(packed, zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := c.Decompress(&out, packed, true); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Errorf("%s: %d bytes came back, of %d: %v", name, out.Len(), len(data), err)
		}
	}
}

func TestOnlyNoiseDoesNotLookCompressible(t *testing.T) {
	noise := randomBytes(BlockSize)
	half := append(bytes.Clone(noise[:BlockSize/2]), make([]byte, BlockSize/2)...)
	eighth := bytes.Clone(noise)
	copy(eighth[3*BlockSize/8:], bytes.Repeat([]byte("text "), BlockSize/8/5))
	letters := bytes.Clone(noise)
	for i := range letters {
		letters[i] = letters[i]&63 + ' '
	}
	for name, tc := range map[string]struct {
		data []byte
		want bool
	}{
		"noise": {noise, false}, "half of it zeros": {half, true}, "an eighth of it text": {eighth, true},
		"noise in letters": {letters, true}, "zeros": {make([]byte, BlockSize), true}, "a little noise": {noise[:4096], true},
	} {
		if got := compressible(tc.data); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

// kopiaReader is what a compressor of Kopia's is given to read.
func kopiaReader[B interface{ Reader() io.ReadSeekCloser }](
	_ func(context.Context, B, content.IDPrefix, compression.HeaderID) (content.ID, error), pieces [][]byte,
) io.Reader {
	var b B
	reflect.ValueOf(&b).Elem().FieldByName(piecesField).Set(reflect.ValueOf(pieces))
	return b.Reader()
}

// If this fails, Kopia has changed: everything still works, by the long way.
func TestBlocksGoThroughKopiaInOnePiece(t *testing.T) {
	kopia := (*content.WriteManager)(nil).WriteContent
	if newContentWriter(kopia) == nil {
		t.Fatal("Kopia's contents are of another type")
	}
	var got []byte
	write := newContentWriter(func(_ context.Context, b listOfPieces, _ content.IDPrefix, _ compression.HeaderID) (content.ID, error) {
		got = b.Slices[0]
		return content.EmptyID, nil
	})
	data := []byte("block")
	if _, err := write(t.Context(), data, "", compression.HeaderZstdFastest); err != nil || &got[0] != &data[0] {
		t.Errorf("a copy went in: %v", err)
	}
	piece, ok := inOnePiece(kopiaReader(kopia, [][]byte{data}))
	if !ok || &piece[0] != &data[0] {
		t.Error("a copy came out")
	}
	read := kopiaReader(kopia, [][]byte{data})
	if _, err := read.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{"two pieces": kopiaReader(kopia, [][]byte{{1}, {2}}), "partly read": read} {
		if _, ok := inOnePiece(r); ok {
			t.Errorf("%s: taken for one piece", name)
		}
	}
}

type listOfPieces struct{ Slices [][]byte }

func TestWhatIsNotInOnePieceIsNotTakenForIt(t *testing.T) {
	for name, r := range map[string]io.Reader{"another reader": strings.NewReader("text"), "a value": io.MultiReader()} {
		if _, ok := inOnePiece(r); ok {
			t.Errorf("%s: taken for one piece", name)
		}
	}
	if newContentWriter(func(context.Context, string, content.IDPrefix, compression.HeaderID) (content.ID, error) {
		return content.EmptyID, nil
	}) != nil {
		t.Error("a string was taken for a list of pieces")
	}
}

// FuzzDecompress: what is compressed comes back, and what is none is refused.
func FuzzDecompress(f *testing.F) {
	c := testCompressor(f)
	for _, data := range compressions() {
		if len(data) <= BlockSize {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var packed, out bytes.Buffer
		if err := c.Compress(&packed, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if err := c.Decompress(&out, &packed, true); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Fatalf("%d bytes came back as %d: %v", len(data), out.Len(), err)
		}
		// Anything at all may be refused, but not more.
		_ = c.Decompress(io.Discard, bytes.NewReader(data), false)
		_ = c.Decompress(io.Discard, bytes.NewReader(data), true)
	})
}

// What compresses well is compressed better, and no content is the worse for
// what came before it.
func TestWhatCompressesWellIsCompressedBetter(t *testing.T) {
	c, err := newBlockCompressor() // what others compress tells of nothing here
	if err != nil {
		t.Fatal(err)
	}
	lines := func(n int) []byte {
		r, b := rand.New(rand.NewPCG(3, 4)), []byte(nil)
		for len(b) < BlockSize {
			b = fmt.Appendf(b, "%d: the %dth line of many that are alike\n", n, r.IntN(1000))
		}
		return b[:BlockSize]
	}
	size := func(data []byte) int {
		var packed, out bytes.Buffer
		if err := c.Compress(&packed, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		n := packed.Len()
		if err := c.Decompress(&out, &packed, true); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Fatalf("%d bytes came back, of %d: %v", out.Len(), len(data), err)
		}
		return n
	}
	noise := randomBytes(BlockSize)
	size(noise)
	first := size(lines(1))
	if first >= BlockSize/wellPart {
		t.Fatalf("%d bytes: this is to compress well", first)
	}
	size([]byte("a small content tells nothing"))
	if again := size(lines(1)); again >= first {
		t.Errorf("%d bytes after what compresses well, %d before", again, first)
	}
	if n := size(noise); n > BlockSize+1024 {
		t.Errorf("%d bytes of noise", n)
	}
	if last := size(lines(1)); last != first {
		t.Errorf("%d bytes after noise, %d at first", last, first)
	}
}
