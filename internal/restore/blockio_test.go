package restore

import (
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
)

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
