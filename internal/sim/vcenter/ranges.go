package vcenter

import (
	"math/bits"
	"slices"
)

// normalize sorts ranges and joins those that touch or overlap.
func normalize(in []Range) []Range {
	rs := slices.DeleteFunc(slices.Clone(in), func(r Range) bool { return r.Length <= 0 })
	slices.SortFunc(rs, func(a, b Range) int {
		switch {
		case a.Offset < b.Offset:
			return -1
		case a.Offset > b.Offset:
			return 1
		}
		return 0
	})
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n > 0 && r.Offset <= out[n-1].End() {
			out[n-1].Length = max(out[n-1].End(), r.End()) - out[n-1].Offset
			continue
		}
		out = append(out, r)
	}
	return out
}

// align grows ranges outwards to whole blocks, but not past size.
func align(in []Range, block, size int64) []Range {
	out := make([]Range, 0, len(in))
	for _, r := range in {
		from := r.Offset / block * block
		to := min((r.End()+block-1)/block*block, size)
		out = append(out, Range{from, to - from})
	}
	return normalize(out)
}

// subtract removes the bytes of cut from in; both are normalized.
func subtract(in, cut []Range) []Range {
	var out []Range
	for _, r := range in {
		for _, c := range cut {
			if c.End() <= r.Offset || c.Offset >= r.End() {
				continue
			}
			if c.Offset > r.Offset {
				out = append(out, Range{r.Offset, c.Offset - r.Offset})
			}
			r = Range{c.End(), r.End() - c.End()}
			if r.Length <= 0 {
				break
			}
		}
		if r.Length > 0 {
			out = append(out, r)
		}
	}
	return out
}

// blockSize is the granularity of both copy-on-write and change tracking.
const blockSize = 64 << 10

// A blockSet is a set of block numbers, cheap when few are set.
type blockSet map[int64]uint64

func (b blockSet) has(n int64) bool { return b[n>>6]&(1<<(n&63)) != 0 }
func (b blockSet) add(n int64)      { b[n>>6] |= 1 << (n & 63) }

// addBytes adds every block that [off, off+n) touches.
func (b blockSet) addBytes(off, n int64) {
	for i := off / blockSize; i*blockSize < off+n; i++ {
		b.add(i)
	}
}

func (b blockSet) union(o blockSet) {
	for w, v := range o {
		b[w] |= v
	}
}

// ranges returns the set as byte ranges, clipped at size.
func (b blockSet) ranges(size int64) []Range {
	words := make([]int64, 0, len(b))
	for w := range b {
		words = append(words, w)
	}
	slices.Sort(words)
	var out []Range
	for _, w := range words {
		v := b[w]
		for v != 0 {
			i := bits.TrailingZeros64(v)
			run := bits.TrailingZeros64(^(v >> i))
			off := (w<<6 + int64(i)) * blockSize
			out = append(out, Range{off, min(int64(run)*blockSize, size-off)})
			if i+run >= 64 {
				break
			}
			v = v >> (i + run) << (i + run)
		}
	}
	return normalize(out)
}
