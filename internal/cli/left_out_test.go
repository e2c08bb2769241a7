package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/diff"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

func TestHoldsNamesVMsAndWhatIsNotHeld(t *testing.T) {
	member := func(name string, hold restorepoint.Hold, unprotected, excluded int) restorepoint.Member {
		return restorepoint.Member{Name: name, Hold: hold, Unprotected: unprotected, ExcludedDisks: excluded}
	}
	got := holds([]restorepoint.Member{
		member("a", restorepoint.Held, 0, 0), member("b", restorepoint.Missing, 0, 0), member("c", restorepoint.Excluded, 0, 0), member("d", restorepoint.Held, 1, 2),
	})
	if want := "a, b (missing), c (excluded), d (1 disk unprotected, 2 disks excluded)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	many := make([]restorepoint.Member, 40)
	if got := holds(many); !strings.HasSuffix(got, ", 35 more") {
		t.Errorf("got %q", got)
	}
	if got := holds(many[:namesShown+1]); strings.Contains(got, "more") {
		t.Errorf("one more is named, not counted: %q", got)
	}
}

func TestProtectionTellsChoiceFromFailure(t *testing.T) {
	for want, it := range map[string]app.InventoryItem{
		"yes":                 {VM: "a", Protected: true, Hold: restorepoint.Held},
		"no":                  {VM: "a"},
		"no, excluded":        {VM: "a", Hold: restorepoint.Excluded},
		"yes, excluded since": {VM: "a", Protected: true, Hold: restorepoint.Excluded},
		"yes, failed since":   {VM: "a", Protected: true, Hold: restorepoint.Missing},
		"in part":             {Protected: true, State: restorepoint.Partial},
		"no disks, excluded":  {Protected: true, State: restorepoint.Complete, Hold: restorepoint.Excluded},
	} {
		if got := protection(it); got != want {
			t.Errorf("%+v: got %q, want %q", it, got, want)
		}
	}
}

func TestShowTellsExcludedDisks(t *testing.T) {
	got := draw(func(w *bytes.Buffer) { drawPoint(w, testPoint()) })
	for _, want := range []string{"Hard disk 3\t2002\t0 B\t-\t-\texcluded by --exclude-disk *:2002", "missing: snapshot refused"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestDrawDiff(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	r := &diff.Result{
		From: diff.State{Point: "01A", VApp: "acme/vdc1/web", Time: time.Unix(0, 0)}, To: diff.State{VApp: "acme/vdc1/web"},
		VMs: []diff.VM{{Name: "db01", Change: diff.Removed}, {Name: "www", Change: diff.Renamed, Was: "web", Is: "www"}},
		Disks: []diff.Disk{
			{VM: "www", Disk: "Hard disk 1", Change: diff.Kept, SizeWas: 1 << 30, SizeIs: 2 << 30, FileWas: "[one] a", FileIs: "[two] a", Changed: n(3 << 20)},
			{VM: "www", Disk: "Hard disk 2", Change: diff.Kept, SizeWas: 1, SizeIs: 1, Unknown: "it runs"},
			{VM: "www", Disk: "Hard disk 3", Change: diff.Kept, SizeWas: 1, SizeIs: 1, Changed: n(0)},
			{VM: "www", Disk: "Hard disk 4", Change: diff.Added, SizeIs: 1 << 20},
		},
		Fields: []diff.Field{
			{Object: "vm www", What: "memory", Change: diff.Changed, Was: "4096 MB", Is: "8192 MB"},
			{Object: "vm www", What: "admin password", Change: diff.Changed},
			{Object: "network dmz", What: "NAT rule 3", Change: diff.Removed},
			{Object: "vApp", What: "metadata x", Change: diff.Added, Is: "a\x1bb" + strings.Repeat("é", 200)},
		},
		Notes: []string{"vm x: not there"},
	}
	want := `from acme/vdc1/web, restore point 01A, 1970-01-01T00:00:00Z
to   acme/vdc1/web as it is now
vm db01: removed
vm www: renamed: web → www
vm www: disk Hard disk 1: resized: 1.0 GiB → 2.0 GiB; moved: [one] a → [two] a; 3.0 MiB of 2.0 GiB differ
vm www: disk Hard disk 2: changed bytes unknown: it runs
vm www: disk Hard disk 4: added, 1.0 MiB
vm www: memory: 4096 MB → 8192 MB
vm www: admin password: changed
network dmz: NAT rule 3: removed
vApp: metadata x: added: a` + "\ufffd" + `b` + strings.Repeat("é", 97) + `…
not compared: vm x: not there
1 disk without a difference
`
	if got := draw(func(w *bytes.Buffer) { drawDiff(w, r) }); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := draw(func(w *bytes.Buffer) { drawDiff(w, &diff.Result{Same: true}) }); !strings.HasSuffix(got, "\nno difference\n") {
		t.Errorf("got %q", got)
	}
	if code := exitCode(errDiffers, false); code != exitConflict {
		t.Errorf("--exit-code ends with %d", code)
	}
}
