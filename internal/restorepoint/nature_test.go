package restorepoint

import (
	"encoding/json"
	"testing"
)

func TestGuessNature(t *testing.T) {
	for _, tc := range []struct {
		what        string
		auto        bool
		name, owner string
		want        Nature
	}{
		{"an ordinary vApp", false, "web", "wile", NatureVApp},
		{"an ordinary vApp of the system's", false, "Discovered - web", "system", NatureVApp},
		{"a tenant's standalone VM", true, "jump", "wile", NatureStandalone},
		{"what vCD found", true, "Discovered - jump", "system", NatureDiscovered},
		{"what vCD found, with the prefix of an organization", true, "Gefunden: jump", "system", NatureDiscovered},
		{"an administrator's standalone VM", true, "jump-0a1b2c3d-0000-4000-8000-0123456789ab", "system", NatureStandalone},
		{"an owner that is not shown", true, "jump", "", NatureStandalone},
	} {
		if got := GuessNature(tc.auto, tc.name, tc.owner); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.what, got, tc.want)
		}
	}
}

func TestOlderPointsHaveANature(t *testing.T) {
	for manifest, want := range map[string]Nature{
		`{"schema":1}`:                   NatureVApp,
		`{"schema":1,"autoNature":true}`: NatureStandalone,
		`{"schema":1,"autoNature":true,"nature":"discovered"}`: NatureDiscovered,
	} {
		var p Point
		if err := json.Unmarshal([]byte(manifest), &p); err != nil {
			t.Fatal(err)
		}
		if p.Kind() != want || p.Summary().Kind() != want {
			t.Errorf("%s: got %s and %s, want %s", manifest, p.Kind(), p.Summary().Kind(), want)
		}
	}
}
