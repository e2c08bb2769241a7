package selection

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

var cloud = []Item{
	{Org: "acme", VDC: "vdc1", VApp: "web-shop", URN: "urn:vcloud:vapp:1"},
	{Org: "acme", VDC: "vdc1", VApp: "web-shop", VM: "web01", URN: "urn:vcloud:vm:11"},
	{Org: "acme", VDC: "vdc1", VApp: "web-shop", VM: "db01", URN: "urn:vcloud:vm:12"},
	{Org: "acme", VDC: "vdc2", VApp: "wiki", URN: "urn:vcloud:vapp:2"},
	{Org: "bolt", VDC: "vdc1", VApp: "wiki", URN: "urn:vcloud:vapp:3"},
	{Org: "bolt", VDC: "vdc1", VApp: "50% @ a/b*", URN: "urn:vcloud:vapp:4"},
}

func TestPick(t *testing.T) {
	for _, tc := range []struct {
		name string
		sels string // separated by spaces
		want string // URNs' last parts
	}{
		{"a path picks the vApp and its VMs", "acme/vdc1/web-shop", "1 11 12"},
		{"a VM's path picks the VM", "acme/vdc1/web-shop/db01", "12"},
		{"a VM's glob picks no vApp", "*/*/*/*", "11 12"},
		{"a glob stays within a name", "acme/*", "error"},
		{"globs in every place", "*/vdc1/w*", "1 11 12 3"},
		{"a glob in the middle", "acme/v*1/w*b-*p", "1 11 12"},
		{"a glob matches nothing at all too", "acme/vdc1/web-shop*", "1 11 12"},
		{"names are compared by case", "ACME/vdc1/web-shop", "error"},
		{"a bare name that is unique", "web-shop", "1 11 12"},
		{"a bare name that is not", "wiki", "error"},
		{"a bare glob is refused", "w*", "error"},
		{"an id", "urn:vcloud:vapp:3", "3"},
		{"an id in capitals", "URN:VCLOUD:VAPP:3", "3"},
		{"an escaped name", "bolt/vdc1/50%25 %40 a%2fb%2A", "4"},
		{"an escaped star is no glob", "acme/vdc1/%2A", "error"},
		{"order and repetition do not matter", "bolt/vdc1/wiki acme/vdc2/wiki acme/*/wiki", "2 3"},
		{"one of two matches nothing", "acme/vdc2/wiki acme/vdc2/none", "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var (
				sels []Selector
				err  error
			)
			fields := strings.Fields(tc.sels)
			if strings.Contains(tc.sels, "%25 ") {
				fields = []string{tc.sels}
			}
			for _, s := range fields {
				sel, perr := Parse(s)
				err = errors.Join(err, perr)
				sels = append(sels, sel)
			}
			var got []Item
			if err == nil {
				got, err = Pick(cloud, sels)
			}
			var ids []string
			for _, it := range got {
				ids = append(ids, it.URN[strings.LastIndexByte(it.URN, ':')+1:])
			}
			text := strings.Join(ids, " ")
			if err != nil {
				text = "error"
			}
			if text != tc.want {
				t.Errorf("got %s (%v), want %s", text, err, tc.want)
			}
		})
	}
}

func TestPickNamesTheSelectorThatMatchesNothing(t *testing.T) {
	sel, _ := Parse("acme/vdc2/none")
	_, err := Pick(cloud, []Selector{sel})
	if !errors.Is(err, ErrNoMatch) || !strings.Contains(err.Error(), "acme/vdc2/none") {
		t.Errorf("got %v", err)
	}
}

func TestPickListsCandidates(t *testing.T) {
	sel, _ := Parse("wiki")
	want := []string{"acme/vdc2/wiki", "bolt/vdc1/wiki"}
	_, err := Pick(cloud, []Selector{sel})
	var ambiguous *Ambiguous
	if !errors.As(err, &ambiguous) || !slices.Equal(ambiguous.Candidates, want) {
		t.Errorf("got %v, want candidates %v", err, want)
	}
}

func TestPickTakesARebuiltVAppAndItsForerunnerForOne(t *testing.T) {
	sel, _ := Parse("wiki")
	items := []Item{{"acme", "vdc2", "wiki", "", "urn:vcloud:vapp:2"}, {"acme", "vdc2", "wiki", "", "urn:vcloud:vapp:9"}}
	if got, err := Pick(items, []Selector{sel}); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDrop(t *testing.T) {
	sel, _ := Parse("*/*/w*")
	if got := Drop(cloud, []Selector{sel}); len(got) != 1 || got[0].VApp != "50% @ a/b*" {
		t.Errorf("got %v", got)
	}
	if got := Drop(cloud, nil); len(got) != len(cloud) {
		t.Errorf("dropped %d items without a selector", len(cloud)-len(got))
	}
}

func TestZeroSelectorMatchesNothing(t *testing.T) {
	for _, it := range append(slices.Clone(cloud), Item{}) {
		if (Selector{}).Matches(it) {
			t.Errorf("matches %v", it)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		"", "/", "a//b", "a/b", "a/b/c/d/e", "a/b/c@latest", "100%", "a/b/%4", "a/b/%zz", "a/b/", "urn:", "urn:vcloud:vapp:*", "*",
	} {
		if sel, err := Parse(s); err == nil {
			t.Errorf("%q: got %+v, want an error", s, sel)
		}
	}
}

func FuzzSelector(f *testing.F) {
	for _, s := range []string{
		"acme/vdc1/web-shop", "a/b/c/d", "wiki", "urn:vcloud:vapp:1", "a/**/c*%2a", "urn%3Ax", "a/b/%00", "%75rn:x", "urn:a/b/c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sel, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(sel.String())
		if err != nil || again != sel {
			t.Fatalf("%q: formats as %q, which parses as %+v (%v), not %+v", s, sel, again, err, sel)
		}
	})
}

func FuzzFormat(f *testing.F) {
	f.Add("acme", "vdc1", "web-shop", "db01")
	f.Add("a/b", "@", "*", "%")
	f.Add("urn:x", "urn:y", "urn:z", "")
	f.Add("\x00\xff", "ä", "\x7f", " ")
	f.Fuzz(func(t *testing.T, org, vdc, vapp, vm string) {
		if org == "" || vdc == "" || vapp == "" {
			return
		}
		it := Item{Org: org, VDC: vdc, VApp: vapp, VM: vm}
		sel, err := Parse(it.String())
		if err != nil {
			t.Fatalf("%+v: %v", it, err)
		}
		if !sel.Matches(it) {
			t.Fatalf("%s does not match %+v", sel, it)
		}
		if sel.String() != it.String() {
			t.Fatalf("%s formats as %s", it, sel)
		}
		bare, err := Parse(Selector{vapp: Escape(vapp)}.String())
		if err != nil || !bare.Bare() || !bare.Matches(it) {
			t.Fatalf("bare %q: %+v, %v", vapp, bare, err)
		}
		for _, other := range []Item{
			{Org: org + "x", VDC: vdc, VApp: vapp, VM: vm}, {Org: org, VDC: "x" + vdc, VApp: vapp, VM: vm}, {Org: org, VDC: vdc, VApp: vapp + "*", VM: vm},
		} {
			if sel.Matches(other) {
				t.Fatalf("%s matches %+v", sel, other)
			}
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b*c", "aXbYc")
	f.Add("*", "")
	f.Add("a*a", "a")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p, err := canonical(pattern)
		if err != nil || len(p) > 40 || len(name) > 40 || strings.Contains(p, "%") {
			return
		}
		if got, want := match(p, name), naive(p, name); got != want {
			t.Fatalf("match(%q, %q) = %v, want %v", p, name, got, want)
		}
	})
}

// naive is the definition of a glob, by dynamic programming.
func naive(p, s string) bool {
	fits := make([]bool, len(s)+1) // fits[j]: p so far fits s[:j]
	fits[0] = true
	for i := range len(p) {
		next := make([]bool, len(s)+1)
		for j := range next {
			if p[i] == '*' {
				next[j] = fits[j] || j > 0 && next[j-1]
			} else {
				next[j] = j > 0 && fits[j-1] && s[j-1] == p[i]
			}
		}
		fits = next
	}
	return fits[len(s)]
}
