package graph_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/sim/graph"
)

type part struct {
	name string
	up   *whole
	next *part
}

type shapeOf interface{ area() float64 }

type square struct{ side float64 }

func (s square) area() float64 { return s.side * s.side }

type circle struct{ r float64 }

func (c *circle) area() float64 { return c.r * c.r * math.Pi }

type named []int

type base struct {
	id  string
	seq int
}

type whole struct {
	base
	b      bool
	i8     int8
	u64    uint64
	f      float64
	text   string
	raw    []byte
	list   named
	parts  []*part
	byName map[string]*part
	byID   map[*part]string
	sizes  map[int64][]string
	arr    [3]int
	at     time.Time
	any    any
	shapes []shapeOf
	xml    *etree.Element
	deep   map[string]any
	ptr    *int

	mu     sync.Mutex
	cancel context.CancelFunc
	ctx    context.Context //nolint:containedctx // to be left out
	done   chan struct{}
	secret string `graph:"-"`
}

func element(t testing.TB, text string) *etree.Element {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(text); err != nil {
		t.Fatal(err)
	}
	return doc.Root()
}

func example(t testing.TB) *whole {
	w := &whole{
		base: base{"x", 7}, b: true, i8: -128, u64: math.MaxUint64, f: math.Pi, text: strings.Repeat("größer ", 20000), raw: []byte{0, 1},
		list: named{1, -2}, arr: [3]int{1, 2, 3}, at: time.Date(2024, 2, 29, 1, 2, 3, 4, time.FixedZone("", 3600)), any: []any{1, "two", nil, 3.0},
		shapes: []shapeOf{square{2}, &circle{3}, nil}, deep: map[string]any{"a": map[string]any{"b": true}},
		sizes: map[int64][]string{-1: {}, 2: nil, 3: {"x"}}, secret: "kept out", done: make(chan struct{}), ctx: context.Background(),
		xml: element(t, `<a:b xmlns:a="urn:x" k="v &amp; w"><!--c--> <c>t</c><![CDATA[raw<]]><?p i?><c a:k=""/></a:b>`),
	}
	one, two := &part{name: "one", up: w}, &part{name: "two", up: w}
	one.next, two.next = two, one
	w.parts = []*part{one, two, nil, one}
	w.byName = map[string]*part{"one": one, "": nil}
	w.byID = map[*part]string{two: "two"}
	n := 5
	w.ptr = &n
	return w
}

func codec() *graph.Codec { return graph.New(square{}, &circle{}) }

func save(t testing.TB, root any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := codec().Save(&b, root); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatWasSavedIsLoaded(t *testing.T) {
	w := example(t)
	saved := save(t, w)
	var got whole
	if err := codec().Load(bytes.NewReader(saved), &got); err != nil {
		t.Fatal(err)
	}
	if got.parts[0] != got.parts[3] || got.parts[0] != got.byName["one"] || got.parts[0].next.next != got.parts[0] || got.parts[1].up != &got {
		t.Error("pointers lead elsewhere")
	}
	if got.byID[got.parts[1]] != "two" {
		t.Error("a pointer is not the key that it was")
	}
	if got.sizes[-1] == nil || got.sizes[2] != nil || got.secret != "" || got.done != nil || got.ctx != nil || got.cancel != nil || !got.mu.TryLock() {
		t.Errorf("nil and empty, or what lives no longer: %v %q", got.sizes, got.secret)
	}
	if !got.at.Equal(w.at) || got.at.Format(time.RFC3339) != w.at.Format(time.RFC3339) {
		t.Errorf("time %v, was %v", got.at, w.at)
	}
	if a, b := got.shapes[0].area(), got.shapes[1].area(); a != 4 || b != 9*math.Pi || got.shapes[2] != nil {
		t.Errorf("areas %v %v", a, b)
	}
	for _, f := range []struct{ got, want any }{
		{got.base, w.base}, {got.i8, w.i8}, {got.u64, w.u64}, {got.f, w.f}, {got.text, w.text}, {got.raw, w.raw}, {got.list, w.list},
		{got.arr, w.arr}, {got.any, w.any}, {got.deep, w.deep}, {*got.ptr, *w.ptr}, {xml(t, got.xml), xml(t, w.xml)}, {got.xml.Attr[1].NamespaceURI(), ""},
	} {
		if !reflect.DeepEqual(f.got, f.want) {
			t.Errorf("got %v, want %v", f.got, f.want)
		}
	}
	if !bytes.Equal(save(t, &got), saved) {
		t.Error("saved again it is another file")
	}
}

func xml(t testing.TB, e *etree.Element) string {
	doc := etree.NewDocumentWithRoot(e.Copy())
	s, err := doc.WriteToString()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Two programs' ideas of the same things. The types of a test have the names
// that the file knows them by, so that both are made where no other is.
func older() any {
	type inner struct{ a, gone int }
	type lost struct{ in *inner }
	type state struct {
		first  *lost // mentions what second has too
		kept   string
		second []*inner
		num    int64
	}
	in := &inner{1, 2}
	return &state{first: &lost{in}, kept: "yes", second: []*inner{in, {3, 4}}, num: 300}
}

func TestAnotherProgramsFile(t *testing.T) {
	type inner struct {
		added string
		a     int
	}
	type state struct {
		second []*inner
		num    uint16
		fresh  map[string]bool
		kept   string
	}
	got := state{fresh: map[string]bool{"stays": true}}
	if err := codec().Load(bytes.NewReader(save(t, older())), &got); err != nil {
		t.Fatal(err)
	}
	if got.kept != "yes" || got.num != 300 || len(got.second) != 2 || got.second[0].a != 1 || got.second[0].added != "" || got.second[1].a != 3 || !got.fresh["stays"] {
		t.Errorf("got %+v %+v", got, got.second[0])
	}
}

func TestWhatDoesNotFitIsNamed(t *testing.T) {
	type narrow struct {
		//lint:ignore U1000 the file has it
		base struct {
			//lint:ignore U1000 the file has it
			seq bool
		}
	}
	type small struct {
		//lint:ignore U1000 the file has it
		u64 uint8
	}
	for _, c := range []struct {
		into any
		want string
	}{
		{&narrow{}, "#0.base.seq: the file has int"},
		{&small{}, "#0.u64: "},
	} {
		err := codec().Load(bytes.NewReader(save(t, example(t))), c.into)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	type stranger struct{ x int }
	type holder struct {
		//lint:ignore U1000 is only to be saved
		c complex128
	}
	err := codec().Save(&bytes.Buffer{}, &holder{})
	if err == nil || !strings.Contains(err.Error(), ".c: complex128: cannot be saved") {
		t.Errorf("got %v", err)
	}
	type other struct{ list []map[string]any }
	err = codec().Save(&bytes.Buffer{}, &other{[]map[string]any{{"k": stranger{1}}}})
	if err == nil || !strings.Contains(err.Error(), "#0.list[0][k]: graph_test.stranger: a type that is not known") {
		t.Errorf("got %v", err)
	}
	endless := map[string]any{}
	endless["self"] = endless
	type loop struct{ m map[string]any }
	if err := codec().Save(&bytes.Buffer{}, &loop{endless}); err == nil || !strings.Contains(err.Error(), "deeper than") {
		t.Errorf("got %v", err)
	}
}

func TestDamageIsSeen(t *testing.T) {
	saved := save(t, example(t))
	for _, c := range []struct {
		name  string
		bytes []byte
	}{
		{"nothing", nil},
		{"another file", []byte("version: 1\nsites: []\n")},
		{"an end too early", saved[:len(saved)-1]},
		{"half of it", saved[:len(saved)/2]},
		{"a block twice as long", append(bytes.Clone(saved[:8]), 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := codec().Load(bytes.NewReader(c.bytes), &whole{}); !errors.Is(err, graph.ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
	for i := 8; i < len(saved); i += 97 {
		b := bytes.Clone(saved)
		b[i] ^= 0x10
		if err := codec().Load(bytes.NewReader(b), &whole{}); !errors.Is(err, graph.ErrDamaged) {
			t.Fatalf("byte %d: got %v", i, err)
		}
	}
}

// A long chain is not followed by recursion.
func TestChain(t *testing.T) {
	first := &part{name: "0"}
	for i, p := 1, first; i < 300_000; i++ {
		p.next = &part{name: fmt.Sprint(i)}
		p = p.next
	}
	var got part
	if err := codec().Load(bytes.NewReader(save(t, first)), &got); err != nil {
		t.Fatal(err)
	}
	n := 0
	for p := &got; p != nil; p = p.next {
		n++
	}
	if n != 300_000 {
		t.Errorf("%d links", n)
	}
}
