package extent

import (
	"math"
	"slices"
	"testing"
)

func TestUnion(t *testing.T) {
	for _, c := range []struct {
		name       string
		s, t, want Set
	}{
		{"nothing and nothing is nothing", nil, nil, nil},
		{"touching extents become one", Set{{0, 4}}, Set{{4, 4}}, Set{{0, 8}}},
		{"a hole stays a hole", Set{{0, 4}}, Set{{8, 4}}, Set{{0, 4}, {8, 4}}},
		{"an extent can fill a hole", Set{{0, 4}, {8, 4}}, Set{{4, 4}}, Set{{0, 12}}},
		{"an extent within another vanishes", Set{{0, 12}}, Set{{4, 4}}, Set{{0, 12}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.s.Union(c.t); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if got := c.t.Union(c.s); !slices.Equal(got, c.want) {
				t.Errorf("the other way round: got %v, want %v", got, c.want)
			}
		})
	}
}

func TestSubtract(t *testing.T) {
	for _, c := range []struct {
		name       string
		s, t, want Set
	}{
		{"a hole is punched", Set{{0, 12}}, Set{{4, 4}}, Set{{0, 4}, {8, 4}}},
		{"a hole over two extents cuts both", Set{{0, 4}, {8, 4}}, Set{{2, 8}}, Set{{0, 2}, {10, 2}}},
		{"a touching hole cuts nothing", Set{{0, 4}}, Set{{4, 4}}, Set{{0, 4}}},
		{"all can go", Set{{0, 4}, {8, 4}}, Set{{0, 12}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.s.Subtract(c.t); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAlign(t *testing.T) {
	for _, c := range []struct {
		name        string
		s           Set
		block, size int64
		want        Set
	}{
		{"extents grow outwards to blocks", Set{{5, 1}}, 4, 16, Set{{4, 4}}},
		{"blocks that come to touch become one", Set{{1, 1}, {6, 1}}, 4, 16, Set{{0, 8}}},
		{"the last block may be short", Set{{9, 1}}, 4, 10, Set{{8, 2}}},
		{"what lies beyond the disk is dropped", Set{{9, 9}, {20, 1}}, 4, 10, Set{{8, 2}}},
		{"the largest disk does not overflow", Set{{math.MaxInt64 - 2, 1}}, 1 << 20, math.MaxInt64,
			Set{{math.MaxInt64 - 1<<20 + 1, 1<<20 - 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.s.Align(c.block, c.size); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestOfTakesExtentsInAnyOrder(t *testing.T) {
	got := Of(Extent{8, 4}, Extent{3, 0}, Extent{0, 4}, Extent{2, 2})
	if want := (Set{{0, 4}, {8, 4}}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestOnlyAddMayReuseMemory(t *testing.T) {
	s := Set{{0, 4}, {8, 4}}
	s.Union(Set{{4, 4}})
	s.Intersect(Set{{2, 8}})
	s.Subtract(Set{{2, 8}})
	s.Align(16, 64)
	s.Clip(Extent{2, 8})
	Of(s...).Add(Extent{12, 4})
	if want := (Set{{0, 4}, {8, 4}}); !slices.Equal(s, want) {
		t.Errorf("got %v, want %v", s, want)
	}
}

// bitmap is a Set as a child would write it: a flag for every byte.
type bitmap [256]bool

func (b *bitmap) set() Set {
	var s Set
	for i := 0; i < len(b); {
		j := i
		for j < len(b) && b[j] {
			j++
		}
		if j > i {
			s = append(s, Extent{int64(i), int64(j - i)})
		}
		i = j + 1
	}
	return s
}

// extents reads extents within a bitmap from fuzz input.
func extents(in []byte) (list []Extent, b bitmap) {
	for ; len(in) >= 2; in = in[2:] {
		e := Extent{int64(in[0]), min(int64(in[1]%32), int64(len(b))-int64(in[0]))}
		list = append(list, e)
		for i := e.Offset; i < e.End(); i++ {
			b[i] = true
		}
	}
	return list, b
}

func FuzzSetAgainstBitmap(f *testing.F) {
	f.Add([]byte{0, 4, 4, 4}, []byte{8, 4, 2, 2}, byte(3), byte(200))
	f.Add([]byte{255, 1, 0, 31}, []byte{}, byte(16), byte(255))
	f.Fuzz(func(t *testing.T, x, y []byte, block, size byte) {
		listA, a := extents(x)
		listB, b := extents(y)
		setA, setB := Of(listA...), Of(listB...)
		check := func(what string, got Set, want *bitmap) {
			t.Helper()
			if w := want.set(); !slices.Equal(got, w) {
				t.Errorf("%s: got %v, want %v", what, got, w)
			}
		}
		var added Set
		for _, e := range listA {
			added = added.Add(e)
		}
		check("of", setA, &a)
		check("add", added, &a)

		var union, both, less, aligned, clipped bitmap
		step, end := max(int(block), 1), int(size)
		count := int64(0)
		for i := range a {
			union[i] = a[i] || b[i]
			both[i] = a[i] && b[i]
			less[i] = a[i] && !b[i]
			clipped[i] = a[i] && i >= step && i < end
			if a[i] {
				count++
			}
			if a[i] && i < end {
				for j := i - i%step; j < min(i-i%step+step, end); j++ {
					aligned[j] = true
				}
			}
			if got := setA.Contains(int64(i)); got != a[i] {
				t.Errorf("contains %d: got %v, want %v", i, got, a[i])
			}
		}
		check("union", setA.Union(setB), &union)
		check("intersect", setA.Intersect(setB), &both)
		check("subtract", setA.Subtract(setB), &less)
		check("align", setA.Align(int64(step), int64(end)), &aligned)
		check("clip", setA.Clip(span(int64(step), int64(end))), &clipped)
		if got := setA.Bytes(); got != count {
			t.Errorf("bytes: got %d, want %d", got, count)
		}
	})
}
