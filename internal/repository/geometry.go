package repository

import "github.com/vappvault/vappvault/internal/extent"

// A disk is cut into blocks, and its blocks into segments and pages. The last
// of each may be shorter.
const (
	// BlockSize is the unit in which disks are written and compared, in bytes.
	BlockSize = 1 << 20
	// SegmentBlocks is how many blocks one object of the lower index level
	// covers.
	SegmentBlocks = 64

	segmentSize = SegmentBlocks * BlockSize

	sumSize    = 32 // bytes of one block sum
	pageSize   = 128 << 10
	pageBlocks = pageSize / sumSize // blocks whose sums are on one page
)

// zeroBlock is read only.
var zeroBlock [BlockSize]byte

// A geometry is the size of a disk in bytes, which is more than 0.
type geometry int64

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

func (g geometry) blocks() int64   { return ceilDiv(int64(g), BlockSize) }
func (g geometry) segments() int64 { return ceilDiv(int64(g), segmentSize) }
func (g geometry) pages() int64    { return ceilDiv(g.blocks(), pageBlocks) }

// block returns the bytes of block n.
func (g geometry) block(n int64) extent.Extent { return g.piece(n, BlockSize) }

// segment returns the bytes of segment n.
func (g geometry) segment(n int64) extent.Extent { return g.piece(n, segmentSize) }

func (g geometry) piece(n, size int64) extent.Extent {
	return extent.Extent{Offset: n * size, Length: min(size, int64(g)-n*size)}
}

// pageLen returns the length of page n of the sums in bytes.
func (g geometry) pageLen(n int64) int64 {
	return sumSize * min(pageBlocks, g.blocks()-n*pageBlocks)
}

// isZero reports whether a block is all zeros.
func isZero(b []byte) bool { return string(b) == string(zeroBlock[:len(b)]) }
