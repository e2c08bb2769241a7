package repository

import (
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/hashing"
	"github.com/kopia/kopia/repo/object"
	"github.com/zeebo/blake3"
)

// Content prefixes. Kopia packs what has one apart from the data, so that a
// pack of data that is lost takes neither documents nor sums with it.
const (
	indexPrefix    content.IDPrefix = "x" // Kopia's own for indirect objects
	documentPrefix content.IDPrefix = "v"
	sumsPrefix     content.IDPrefix = "v"
)

// An identifier tells the id that a piece of content has in one repository
// without asking the repository. So zero blocks are known by their id alone,
// and what is stored already is known before it is written.
type identifier struct {
	hash  *contentHash
	whole zeros // of disks without odd ends
}

// zeros are the ids of what is all zeros in a disk of one size.
type zeros struct {
	size                     geometry
	block, segment, page     object.ID
	lastBlock                object.ID
	lastSegment, lastPage    object.ID
	lastBlockN, lastSegmentN int64
	lastPageN                int64
}

// newIdentifier takes the parameters of the repository's content hash.
func newIdentifier(p hashing.Parameters) (*identifier, error) {
	hash, err := newContentHash(p)
	if err != nil {
		return nil, err
	}
	i := &identifier{hash: hash}
	i.whole.block = i.id("", zeroBlock[:])
	i.whole.segment = indirect(i.id(indexPrefix, segmentIndex(segmentSize, i.whole.blocks(segmentSize))))
	i.whole.page = i.id(sumsPrefix, zeroBlock[:pageSize])
	return i, nil
}

// content returns the content id of data under a prefix.
func (i *identifier) content(prefix content.IDPrefix, data []byte) content.ID {
	var out [idSize]byte
	id, err := content.IDFromHash(prefix, i.hash.of(out[:0], blake3.Sum256(data)))
	if err != nil {
		panic(err) // only for another length or prefix
	}
	return id
}

func (i *identifier) id(prefix content.IDPrefix, data []byte) object.ID {
	return object.DirectObjectID(i.content(prefix, data))
}

// zeros returns the ids of what is all zeros in a disk of the given size.
func (i *identifier) zeros(g geometry) zeros {
	z := i.whole
	z.size = g
	z.lastBlockN, z.lastSegmentN, z.lastPageN = g.blocks()-1, g.segments()-1, g.pages()-1
	z.lastBlock, z.lastSegment, z.lastPage = z.block, z.segment, z.page
	if last := g.block(z.lastBlockN).Length; last < BlockSize {
		z.lastBlock = i.id("", zeroBlock[:last])
	}
	if last := g.segment(z.lastSegmentN); last.Length < segmentSize {
		z.lastSegment = indirect(i.id(indexPrefix, segmentIndex(geometry(last.Length), z.blocks(last.Length))))
	}
	if last := g.pageLen(z.lastPageN); last < pageSize {
		z.lastPage = i.id(sumsPrefix, zeroBlock[:last])
	}
	return z
}

// blocks returns the block ids of a segment of the given length.
func (z *zeros) blocks(length int64) []object.ID {
	ids := make([]object.ID, geometry(length).blocks())
	for n := range ids {
		ids[n] = z.block
	}
	if length%BlockSize != 0 {
		ids[len(ids)-1] = z.lastBlock
	}
	return ids
}

// blockID returns the id of block n of the disk if that is all zeros.
func (z *zeros) blockID(n int64) object.ID { return pick(n, z.lastBlockN, z.block, z.lastBlock) }

// segmentID returns the id of segment n of the disk if that is all zeros.
func (z *zeros) segmentID(n int64) object.ID {
	return pick(n, z.lastSegmentN, z.segment, z.lastSegment)
}

// pageID returns the id of page n of the sums if that is all zeros.
func (z *zeros) pageID(n int64) object.ID { return pick(n, z.lastPageN, z.page, z.lastPage) }

func pick(n, lastN int64, id, last object.ID) object.ID {
	if n == lastN {
		return last
	}
	return id
}
