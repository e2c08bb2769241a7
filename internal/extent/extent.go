// Package extent describes which bytes of a virtual disk are meant: those
// that hold data, those that changed, those still to be read.
//
// A Set is sorted and its extents are never empty, neither touch nor overlap,
// so two sets that cover the same bytes are equal. The functions here keep it
// so; a Set put together by hand goes through Of first. The zero Set is the
// empty set.
//
// Offsets are not negative and an extent ends within an int64. Whoever takes
// extents from outside checks that.
package extent

import (
	"cmp"
	"slices"
	"sort"
)

// An Extent is the byte range [Offset, Offset+Length) of a disk.
type Extent struct {
	Offset, Length int64 // bytes
}

// End returns the offset of the first byte after e.
func (e Extent) End() int64 { return e.Offset + e.Length }

// span returns the extent from start up to end, which may be empty.
func span(start, end int64) Extent {
	return Extent{Offset: start, Length: max(0, end-start)}
}

// A Set is a set of bytes.
type Set []Extent

// Of returns the set of the bytes of the given extents, which may come in any
// order, overlap or be empty.
func Of(extents ...Extent) Set {
	sorted := slices.Clone(extents)
	slices.SortFunc(sorted, func(a, b Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	var s Set
	for _, e := range sorted {
		s = s.push(e)
	}
	return s
}

// push adds e, which begins nowhere before the last extent of s begins.
func (s Set) push(e Extent) Set {
	if e.Length <= 0 {
		return s
	}
	if n := len(s); n > 0 && e.Offset <= s[n-1].End() {
		s[n-1] = span(s[n-1].Offset, max(s[n-1].End(), e.End()))
		return s
	}
	return append(s, e)
}

// search returns the index of the first extent of s that ends after off.
func (s Set) search(off int64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].End() > off })
}

// Add returns s and the bytes of e. As with append, the result takes the place
// of s: it may share its memory. Adding in ascending order is cheap.
func (s Set) Add(e Extent) Set {
	if len(s) == 0 || e.Length <= 0 || e.Offset >= s[len(s)-1].Offset {
		return s.push(e)
	}
	// s[i:j] are the extents that e touches or overlaps.
	i := sort.Search(len(s), func(i int) bool { return s[i].End() >= e.Offset })
	j := sort.Search(len(s), func(j int) bool { return s[j].Offset > e.End() })
	if i < j {
		e = span(min(e.Offset, s[i].Offset), max(e.End(), s[j-1].End()))
	}
	return slices.Replace(s, i, j, e)
}

// Union returns the bytes that are in s or in t.
func (s Set) Union(t Set) Set {
	var u Set
	for len(s) > 0 || len(t) > 0 {
		if len(t) == 0 || len(s) > 0 && s[0].Offset <= t[0].Offset {
			u, s = u.push(s[0]), s[1:]
		} else {
			u, t = u.push(t[0]), t[1:]
		}
	}
	return u
}

// Intersect returns the bytes that are both in s and in t.
func (s Set) Intersect(t Set) Set {
	var u Set
	for len(s) > 0 && len(t) > 0 {
		u = u.push(span(max(s[0].Offset, t[0].Offset), min(s[0].End(), t[0].End())))
		if s[0].End() <= t[0].End() {
			s = s[1:]
		} else {
			t = t[1:]
		}
	}
	return u
}

// Subtract returns the bytes that are in s and not in t.
func (s Set) Subtract(t Set) Set {
	var u Set
	for _, e := range s {
		t = t[t.search(e.Offset):]
		start := e.Offset
		for _, hole := range t {
			if hole.Offset >= e.End() {
				break
			}
			u = u.push(span(start, hole.Offset))
			start = hole.End()
		}
		u = u.push(span(start, e.End()))
	}
	return u
}

// Bytes returns how many bytes are in s.
func (s Set) Bytes() int64 {
	var n int64
	for _, e := range s {
		n += e.Length
	}
	return n
}

// Align returns the whole blocks that hold a byte of s, on a disk of the given
// size in bytes: its last block may be short, and bytes beyond it are dropped.
func (s Set) Align(block, size int64) Set {
	var u Set
	for _, e := range s {
		if e.Offset >= size {
			break
		}
		end := min(e.End(), size)
		if rest := end % block; rest != 0 {
			// Not end+block-rest before the comparison: it may overflow.
			end += min(block-rest, size-end)
		}
		u = u.push(span(e.Offset-e.Offset%block, end))
	}
	return u
}

// Contains reports whether the byte at off is in s.
func (s Set) Contains(off int64) bool {
	i := s.search(off)
	return i < len(s) && s[i].Offset <= off
}

// Clip returns the bytes of s within the given extent. Its cost grows with
// the result, not with s.
func (s Set) Clip(within Extent) Set {
	var u Set
	for _, e := range s[s.search(within.Offset):] {
		if e.Offset >= within.End() {
			break
		}
		u = u.push(span(max(e.Offset, within.Offset), min(e.End(), within.End())))
	}
	return u
}
