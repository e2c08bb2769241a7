package restore

import (
	"slices"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
)

func TestADiskThatDiffersAllOverFillsNoMemory(t *testing.T) {
	const count = 1 << 18
	d := differences{size: 2 * count * blockSize}
	most := 0
	for i := range int64(count) {
		n := i ^ 3 // several are under way
		d.add(extent.Extent{Offset: 2 * n * blockSize, Length: blockSize})
		most = max(most, len(d.set))
	}
	if most > 2*maxExtents || cap(d.set) > 4*maxExtents {
		t.Errorf("%d extents at most, room for %d", most, cap(d.set))
	}
	for n := range int64(count) {
		if !d.set.Contains(2 * n * blockSize) {
			t.Fatalf("block %d is not among them", 2*n)
		}
	}
	few := differences{size: 10*blockSize + 5}
	for _, n := range []int64{10, 3, 4} {
		few.add(extent.Extent{Offset: n * blockSize, Length: min(blockSize, few.size-n*blockSize)})
	}
	if want := (extent.Set{{Offset: 3 * blockSize, Length: 2 * blockSize}, {Offset: 10 * blockSize, Length: 5}}); !slices.Equal(few.set, want) {
		t.Errorf("few are told as they are: got %v, want %v", few.set, want)
	}
}

func TestASampleIsOfTheSetAndNoLargerThanAsked(t *testing.T) {
	const tib = 1 << 40
	for _, tc := range []struct {
		name string
		set  extent.Set
		n    int64
		min  int64 // blocks
	}{
		{"nothing of nothing", nil, 64, 0},
		{"all of what is little", extent.Of(extent.Extent{Length: 3 * blockSize}), 64, 3},
		{"the short last block", extent.Of(extent.Extent{Offset: blockSize, Length: blockSize + 512}), 64, 2},
		{"some of two extents", extent.Of(extent.Extent{Length: 5 * blockSize}, extent.Extent{Offset: 9 * blockSize, Length: 90 * blockSize}), 10, 1},
		{"some of the largest disk", extent.Of(extent.Extent{Length: 62 * tib}), 64, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := choose(tc.set, tc.n)
			count := int64(0)
			for _, e := range got {
				count += blocksOf(e)
				if e.Offset%blockSize != 0 {
					t.Errorf("%v begins within a block", e)
				}
			}
			if len(got.Subtract(tc.set)) > 0 || count < tc.min || count > tc.n {
				t.Errorf("%v of %v", got, tc.set)
			}
		})
	}
	// What holds one entry for each block of such a disk holds a gigabyte.
	set := extent.Of(extent.Extent{Length: 62 * tib})
	if n := testing.AllocsPerRun(3, func() { choose(set, 64) }); n > 100 {
		t.Errorf("%v allocations", n)
	}
}
