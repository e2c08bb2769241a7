package selection

import (
	"errors"
	"slices"
	"testing"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

func TestPickPoints(t *testing.T) {
	const a, b, c, d, e = "01KBAAAAAAAAAAAAAAAAAAAAA1", "01KBAAAAAAAAAAAAAAAAAAAAA2", "01KBAAAAAAAAAAAAAAAAAAAAA3", "01KBAAAAAAAAAAAAAAAAAAAAA4", "01KBAAAAAAAAAAAAAAAAAAAAA5"
	all := []restorepoint.Summary{
		point(a, "acme", "web", "urn:vcloud:vapp:1", "2026-11-20T08:00", restorepoint.Complete),
		point(b, "acme", "web", "urn:vcloud:vapp:2", "2026-11-22T08:00", restorepoint.Complete), // rebuilt
		point(c, "acme", "old name", "urn:vcloud:vapp:3", "2026-11-20T09:00", restorepoint.Complete),
		point(d, "acme", "new name", "urn:vcloud:vapp:3", "2026-11-21T09:00", restorepoint.Partial),
		point(e, "bolt", "web", "urn:vcloud:vapp:4", "2026-11-21T09:00", restorepoint.Incomplete),
	}
	for _, tc := range []struct {
		name, ref string
		want      []string
	}{
		{"the newest of each vApp, by its last name", "acme/*@latest", []string{d, b}},
		{"all orgs; what cannot be restored as a whole is left out", "*/*/*@latest", []string{d, b}},
		{"at a time", "acme/vdc1/*@2026-11-20T12:00", []string{c, a}},
		{"by name", "acme/vdc1/w*@latest", []string{b}},
		{"one vApp is one point", "acme/vdc1/web@latest", []string{b}},
		{"none", "acme/vdc1/x*@latest", nil},
		{"none of that time", "acme/*@2026-11-19T00:00", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ref, err := ParsePoints(tc.ref)
			if err != nil {
				t.Fatal(err)
			}
			picked, err := PickPoints(all, ref)
			if tc.want == nil {
				if !errors.Is(err, ErrNoMatch) {
					t.Fatalf("got %v, %v", picked, err)
				}
				return
			}
			var got []string
			for _, p := range picked {
				got = append(got, p.ID)
			}
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}
