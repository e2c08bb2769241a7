package repository

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/kopia/kopia/repo/object"
	"github.com/zeebo/blake3"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// openSums returns the ids of the pages of a disk's sums.
func (o *Repository) openSums(ctx context.Context, c restorepoint.DiskContent) ([]object.ID, error) {
	id, err := parseObject(c.Sums)
	if err != nil {
		return nil, fmt.Errorf("sums: %w", err)
	}
	g := geometry(c.Size)
	if g.pages() == 1 {
		return []object.ID{id}, nil
	}
	pages, err := o.readTop(ctx, id, g.blocks()*sumSize, pageSize)
	if err != nil {
		return nil, fmt.Errorf("sums %s: open: %w", c.Sums, err)
	}
	return pages, nil
}

// loadPage reads a page of sums.
func (o *Repository) loadPage(ctx context.Context, id object.ID, length int64, read fetch) ([]byte, error) {
	page, err := read(ctx, id)
	if err == nil && int64(len(page)) != length {
		err = fmt.Errorf("%w: %d bytes in place of %d", ErrDamaged, len(page), length)
	}
	if err != nil {
		return nil, fmt.Errorf("sums %s: %w", id, err)
	}
	return page, nil
}

// A treeHash takes in the sums of all blocks of a disk.
type treeHash struct {
	size   geometry
	hasher *blake3.Hasher
	blocks int64 // taken in
	data   int64 // bytes of those that are not all zeros
}

func newTreeHash(g geometry) *treeHash {
	t := &treeHash{size: g, hasher: blake3.New()}
	_, _ = t.hasher.Write(binary.LittleEndian.AppendUint64(nil, uint64(g))) // never fails
	return t
}

// add takes in the next page.
func (t *treeHash) add(page []byte) {
	_, _ = t.hasher.Write(page) // never fails
	if string(page) == string(zeroBlock[:len(page)]) {
		t.blocks += int64(len(page) / sumSize)
		return
	}
	for ; len(page) > 0; page = page[sumSize:] {
		if !isZero(page[:sumSize]) {
			t.data += t.size.block(t.blocks).Length
		}
		t.blocks++
	}
}

func (t *treeHash) sum() string { return hex.EncodeToString(t.hasher.Sum(nil)) }
