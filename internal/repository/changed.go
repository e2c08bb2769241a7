package repository

import (
	"bytes"
	"context"
	"fmt"

	"github.com/kopia/kopia/repo/object"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// Changed returns the areas in which a disk of this repository differs from
// one of another, which may be the same repository, in whole blocks. It
// compares the sums of the blocks and reads none of them. Where one disk is
// longer, the other counts as zeros from its end on.
func (o *Repository) Changed(ctx context.Context, a restorepoint.DiskContent, other *Repository, b restorepoint.DiskContent) (extent.Set, error) {
	if a.Size == b.Size && a.TreeHash == b.TreeHash && a.TreeHash != "" {
		return nil, nil
	}
	left, err := o.openSums(ctx, a)
	if err != nil {
		return nil, o.errorf("%w", err)
	}
	right, err := other.openSums(ctx, b)
	if err != nil {
		return nil, other.errorf("%w", err)
	}
	longer := geometry(max(a.Size, b.Size))
	var out []extent.Extent
	for n := range longer.pages() {
		if o == other && n < int64(len(left)) && n < int64(len(right)) && left[n] == right[n] {
			continue
		}
		p, err := o.pageOf(ctx, left, n, geometry(a.Size))
		if err != nil {
			return nil, o.errorf("%w", err)
		}
		q, err := other.pageOf(ctx, right, n, geometry(b.Size))
		if err != nil {
			return nil, other.errorf("%w", err)
		}
		for i := range longer.pageLen(n) / sumSize {
			if block := n*pageBlocks + i; !bytes.Equal(sumAt(p, i), sumAt(q, i)) {
				out = append(out, longer.block(block))
			}
		}
	}
	return extent.Of(out...), nil
}

// pageOf reads a page of sums of a disk; behind its end there is none.
func (o *Repository) pageOf(ctx context.Context, pages []object.ID, n int64, g geometry) ([]byte, error) {
	if n >= int64(len(pages)) {
		return nil, nil
	}
	page, err := o.loadPage(ctx, pages[n], g.pageLen(n), o.fetch)
	if err != nil {
		return nil, fmt.Errorf("page %d: %w", n, err)
	}
	return page, nil
}

// sumAt returns a sum of a page; behind its end are those of zeros.
func sumAt(page []byte, i int64) []byte {
	if (i+1)*sumSize > int64(len(page)) {
		return zeroBlock[:sumSize]
	}
	return page[i*sumSize : (i+1)*sumSize]
}
