package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
)

func TestChunksAreWholeBlocksAndCoverTheSet(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  extent.Set
		size int64
		want []extent.Extent
	}{
		{"nothing gives nothing", nil, 10 * block, nil},
		{"a few bytes are a block", extent.Of(extent.Extent{Offset: block + 5, Length: 3}), 10 * block, []extent.Extent{{Offset: block, Length: block}}},
		{"a long run is cut", extent.Of(extent.Extent{Length: 9 * block}), 10 * block, []extent.Extent{{Length: chunkSize}, {Offset: chunkSize, Length: chunkSize}, {Offset: 2 * chunkSize, Length: block}}},
		{"the last block ends with the disk", extent.Of(extent.Extent{Offset: block, Length: 512}), block + 512, []extent.Extent{{Offset: block, Length: 512}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := slices.Collect(chunks(tc.set, chunkSize, tc.size)); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestASampleIsMadeOfBlocksOfTheSet(t *testing.T) {
	from := extent.Of(extent.Extent{Length: 5 * block}, extent.Extent{Offset: 9 * block, Length: 3*block + 512})
	for range 50 {
		for _, got := range []extent.Set{pick(from, 20), choose(from, 4)} {
			if n := blocks(got); n == 0 || got.Subtract(from).Bytes() > 0 {
				t.Fatalf("%d blocks: %v", n, got)
			}
		}
		if n := blocks(choose(from, 4)); n != 4 {
			t.Fatalf("%d blocks, want 4", n)
		}
	}
	if got := choose(from, 100); !slices.Equal(got, from) {
		t.Errorf("more than there are: %v", got)
	}
	if got := pick(nil, 50); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

// pieces is a stream that brings what it is told.
type pieces struct {
	list []piece
	end  error
}

type piece struct {
	off  int64
	data []byte
}

func (p *pieces) Size() int64        { return 0 }
func (p *pieces) Transferred() int64 { return 0 }
func (p *pieces) Close() error       { return nil }
func (p *pieces) Next(context.Context) (int64, []byte, error) {
	if len(p.list) == 0 {
		return 0, nil, p.end
	}
	next := p.list[0]
	p.list = p.list[1:]
	return next.off, next.data, nil
}

// fresh is a buffer that has been used before.
func fresh() ([]byte, error) { return bytes.Repeat([]byte{0xaa}, block), nil }

func TestAStreamIsJoinedIntoBlocks(t *testing.T) {
	const size = 3*block + 100
	long := bytes.Repeat([]byte{7}, block+50)
	src := &pieces{list: []piece{{10, []byte("ab")}, {block - 1, []byte("cd")}, {2*block + 50, long}}, end: io.EOF}
	got := map[int64][]byte{}
	var order []int64
	err := assemble(t.Context(), src, size, fresh, func(n int64, buf []byte, length int64) error {
		got[n] = buf[:length]
		order = append(order, n)
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int64{0, 1, 2, 3}; !slices.Equal(order, want) {
		t.Fatalf("blocks %v, want %v", order, want)
	}
	if string(got[0][10:12]) != "ab" || got[0][block-1] != 'c' || got[1][0] != 'd' || got[2][block-1] != 7 || len(got[3]) != 100 || got[3][99] != 7 {
		t.Error("a block is not what the stream brought")
	}
}

func TestABrokenStreamIsAnError(t *testing.T) {
	cut := errors.New("cut")
	ignore := func(int64, []byte, int64) error { return nil }
	back := 0
	count := func([]byte) { back++ }
	if err := assemble(t.Context(), &pieces{list: []piece{{5, []byte("x")}}, end: cut}, block, fresh, ignore, count); !errors.Is(err, cut) || back != 1 {
		t.Errorf("cut short: %v, %d buffers given back", err, back)
	}
	beyond := &pieces{list: []piece{{block - 1, []byte("xy")}}, end: io.EOF}
	if err := assemble(t.Context(), beyond, block, fresh, ignore, count); err == nil {
		t.Error("bytes beyond the disk's end were taken")
	}
}

func TestEpochIsTheUUIDOfAChangeID(t *testing.T) {
	if got := epoch("52 3c 1f-aa/17"); got != "52 3c 1f-aa" {
		t.Errorf("got %q", got)
	}
}
