package repository_test

import (
	"fmt"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

func TestChangedComparesSums(t *testing.T) {
	o, other := sharedOrg(t), newOrg(t)
	// write makes a disk whose blocks hold noise of the given seeds, 0 for
	// zeros.
	write := func(o *repository.Repository, size int64, parent *restorepoint.DiskContent, blocks map[int64]uint64) restorepoint.DiskContent {
		t.Helper()
		w := newWriter(t, o)
		d := newDisk(t, w, size, parent)
		for n, seed := range blocks {
			b := make([]byte, min(block, size-n*block))
			if seed != 0 {
				noise(seed, b)
			}
			if err := d.WriteBlock(t.Context(), n, b); err != nil {
				t.Fatal(err)
			}
		}
		c, err := d.Finish(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// Only what is in a point can be read by others.
		if err := w.Commit(t.Context(), newPoint(c), nil); err != nil {
			t.Fatal(err)
		}
		return c
	}
	const large = 5000 * block // more than a page of sums
	base := map[int64]uint64{0: 1, 7: 2, 4999: 3}
	a := write(o, large, nil, base)
	b := write(o, large, &a, map[int64]uint64{7: 9, 8: 10, 4999: 0})
	shorter := write(o, 8*block-512, nil, map[int64]uint64{0: 1})
	elsewhere := write(other, large, nil, base)
	for _, tc := range []struct {
		name     string
		from, to *repository.Repository
		was, is  restorepoint.DiskContent
		want     []extent.Extent
	}{
		{name: "the same", from: o, to: o, was: a, is: a},
		{name: "blocks", from: o, to: o, was: a, is: b, want: []extent.Extent{{Offset: 7 * block, Length: 2 * block}, {Offset: 4999 * block, Length: block}}},
		{name: "back again", from: o, to: o, was: b, is: a, want: []extent.Extent{{Offset: 7 * block, Length: 2 * block}, {Offset: 4999 * block, Length: block}}},
		{name: "what is cut off", from: o, to: o, was: a, is: shorter, want: []extent.Extent{{Offset: 7 * block, Length: block}, {Offset: 4999 * block, Length: block}}},
		{name: "what is added", from: o, to: o, was: shorter, is: a, want: []extent.Extent{{Offset: 7 * block, Length: block}, {Offset: 4999 * block, Length: block}}},
		{name: "another org's", from: o, to: other, was: a, is: elsewhere},
		{name: "another org's, changed", from: other, to: o, was: elsewhere, is: b, want: []extent.Extent{{Offset: 7 * block, Length: 2 * block}, {Offset: 4999 * block, Length: block}}},
	} {
		got, err := tc.from.Changed(t.Context(), tc.was, tc.to, tc.is)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if want := extent.Of(tc.want...); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", tc.name, got, want)
		}
	}
	broken := a
	broken.TreeHash, broken.Sums = "", "nonsense"
	if _, err := o.Changed(t.Context(), broken, o, b); err == nil {
		t.Error("a disk without sums is compared")
	}
}
