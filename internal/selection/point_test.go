package selection

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

func point(id, org, vapp, urn, started string, state restorepoint.State) restorepoint.Summary {
	at, err := time.Parse("2006-01-02T15:04", started)
	if err != nil {
		panic(err)
	}
	return restorepoint.Summary{
		ID: id, State: state, Started: at, Finished: at.Add(time.Hour),
		Org: restorepoint.Ref{Name: org}, VDC: restorepoint.Ref{Name: "vdc1"}, VApp: restorepoint.Ref{ID: urn, Name: vapp},
	}
}

const (
	id1 = "01KAAAAAAAAAAAAAAAAAAAAAA1"
	id2 = "01KAAAAAAAAAAAAAAAAAAAAAA2"
	id3 = "01KAAAAAAAAAAAAAAAAAAAAAA3"
	id4 = "01KAAAAAAAAAAAAAAAAAAAAAA4"
	id5 = "01KAAAAAAAAAAAAAAAAAAAAAA5"
)

var points = []restorepoint.Summary{
	point(id2, "acme", "web", "urn:vcloud:vapp:1", "2026-11-21T08:00", restorepoint.Partial),
	point(id1, "acme", "web", "urn:vcloud:vapp:1", "2026-11-20T08:00", restorepoint.Complete),
	point(id3, "acme", "web", "urn:vcloud:vapp:2", "2026-11-22T08:00", restorepoint.Complete), // rebuilt: another URN
	point(id4, "acme", "web", "urn:vcloud:vapp:2", "2026-11-23T08:00", restorepoint.Incomplete),
	point(id5, "bolt", "web", "urn:vcloud:vapp:3", "2026-11-19T08:00", restorepoint.Complete),
}

func TestPickPoint(t *testing.T) {
	for _, tc := range []struct{ name, ref, want string }{
		{"an id", id1, id1},
		{"an id in small letters", strings.ToLower(id1), id1},
		{"an id of an incomplete point", id4, id4},
		{"latest is the newest that restores", "acme/vdc1/web@latest", id3},
		{"latest of one URN", "urn:vcloud:vapp:1@latest", id2},
		{"a time is at or before", "acme/vdc1/web@2026-11-21T08:00", id2},
		{"a time counts from the start, not the end", "acme/vdc1/web@2026-11-21T07:59:59", id1},
		{"a time with a zone", "acme/vdc1/web@2026-11-21T09:59+02:00", id1},
		{"a time in RFC 3339", "acme/vdc1/web@2026-11-21T10:00:00+02:00", id2},
		{"a time before all", "acme/vdc1/web@2026-11-01T00:00", "none"},
		{"no such vApp", "acme/vdc1/none@latest", "none"},
		{"no such id", "01KAAAAAAAAAAAAAAAAAAAAAA9", "none"},
		{"a bare name of two vApps", "web@latest", "ambiguous"},
		{"a bare name where only one is old enough", "web@2026-11-19T10:00", id5},
		{"a glob over two vApps", "*/vdc1/web@latest", "ambiguous"},
		{"a glob over one vApp", "b*/vdc1/web@latest", id5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ref, err := ParsePoint(tc.ref)
			if err != nil {
				t.Fatal(err)
			}
			p, err := PickPoint(points, ref)
			got := p.ID
			var ambiguous *Ambiguous
			switch {
			case errors.Is(err, ErrNoMatch):
				got = "none"
			case errors.As(err, &ambiguous):
				got = "ambiguous"
			case err != nil:
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got %s (%v), want %s", got, err, tc.want)
			}
		})
	}
}

func TestAPointIsFoundByTheVMsThatItHolds(t *testing.T) {
	older, newer := points[1], points[2]
	older.Members = []restorepoint.Member{{ID: "urn:vcloud:vm:1", Name: "db01", Hold: restorepoint.Held}}
	newer.Members = []restorepoint.Member{
		{ID: "urn:vcloud:vm:1", Name: "db01", Hold: restorepoint.Excluded}, {ID: "urn:vcloud:vm:2", Name: "web01", Hold: restorepoint.Held},
	}
	for _, tc := range []struct{ ref, want string }{
		{"acme/vdc1/web@latest", id3},
		{"acme/vdc1/web/db01@latest", id1},
		{"acme/vdc1/web/web*@latest", id3},
		{"urn:vcloud:vm:1@latest", id1},
		{"acme/vdc1/web/none@latest", "none"},
	} {
		ref, err := ParseVMPoint(tc.ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := PickPoint([]restorepoint.Summary{older, newer}, ref)
		if errors.Is(err, ErrNoMatch) {
			got.ID = "none"
		}
		if got.ID != tc.want {
			t.Errorf("%s: got %s (%v), want %s", tc.ref, got.ID, err, tc.want)
		}
	}
}

func TestParsePointRefuses(t *testing.T) {
	for _, s := range []string{
		"", "web", "@latest", "a/b@latest", "a/b/c/d@latest", "urn:vcloud:vm:1@latest", "web@", "web@yesterday", "web@2026-13-01T00:00", "a@b@latest", "01KAAAAAAAAAAAAAAAAAAAAAAU",
	} {
		if ref, err := ParsePoint(s); err == nil {
			t.Errorf("%q: got %+v, want an error", s, ref)
		}
	}
}

func FuzzParsePoint(f *testing.F) {
	for _, s := range []string{id1, "web@latest", "a/b/c@2026-11-22T08:00", "a/b/c@2026-11-22T08:00:01.5+01:30", "%40@latest", "urn:x@latest"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseVMPoint(s)
		if err != nil {
			return
		}
		again, err := ParseVMPoint(ref.String())
		if err != nil || again != ref {
			t.Fatalf("%q: formats as %q, which parses as %+v (%v), not %+v", s, ref, again, err, ref)
		}
	})
}

func TestSplitVMTakesTheVMOutOfAReference(t *testing.T) {
	for _, tc := range []struct{ ref, point, vm string }{
		{"acme/vdc1/shop/db01@latest", "acme/vdc1/shop@latest", "db01"},
		{"acme/vdc1/shop/db*@2026-11-22T08:00", "acme/vdc1/shop@2026-11-22T08:00", "db*"},
		{"acme/vdc1/shop/a%2Fb@latest", "acme/vdc1/shop@latest", "a%2Fb"},
		{"acme/vdc1/shop@latest", "acme/vdc1/shop@latest", ""},
		{"shop@latest", "shop@latest", ""},
		{"01KAZ8M5H2W4Q6T8V0X2Z4B6D8", "01KAZ8M5H2W4Q6T8V0X2Z4B6D8", ""},
	} {
		point, vm, err := SplitVM(tc.ref)
		if err != nil || point != tc.point || vm != tc.vm {
			t.Errorf("%s: got %q, %q, %v, want %q, %q", tc.ref, point, vm, err, tc.point, tc.vm)
		}
	}
	if !MatchVM("a%2Fb", "a/b") || !MatchVM("db*", "db01") || MatchVM("db", "db01") {
		t.Error("a VM's pattern does not match as a selector's")
	}
	if _, _, err := SplitVM("a/b@latest"); err == nil {
		t.Error("a selector that is none was taken")
	}
}
