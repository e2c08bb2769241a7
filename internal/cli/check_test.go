package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vsphere"
)

func TestCheckBackup(t *testing.T) {
	good := app.BackupRequest{Maintenance: "full", Quiesce: "try"}
	with := func(change func(*app.BackupRequest)) app.BackupRequest { q := good; change(&q); return q }
	for _, tc := range []struct {
		name     string
		req      app.BackupRequest
		metadata []string
		want     string // part of the error; "" for none
	}{
		{"nothing named", good, nil, "name what to back up"},
		{"a selector", with(func(q *app.BackupRequest) { q.Selectors = []string{"a/b/c"} }), nil, ""},
		{"a malformed selector", with(func(q *app.BackupRequest) { q.Selectors = []string{"a/b"} }), nil, `"a/b"`},
		{"a VM", with(func(q *app.BackupRequest) { q.Selectors = []string{"a/b/c/d"} }), nil, ""},
		{"disks of a VM", with(func(q *app.BackupRequest) { q.All = true; q.ExcludeDisks = []string{"db*:Hard disk 2", "db01:1:3"} }), nil, ""},
		{"a disk of no VM", with(func(q *app.BackupRequest) { q.All = true; q.ExcludeDisks = []string{"Hard disk 2"} }), nil, `--exclude-disk: disk "Hard disk 2": want VM:DISK`},
		{"a malformed exclusion", with(func(q *app.BackupRequest) { q.All = true; q.Exclude = []string{"%"} }), nil, `"%"`},
		{"all and a selector", with(func(q *app.BackupRequest) { q.All = true; q.Selectors = []string{"a/b/c"} }), nil, "exclude each other"},
		{"metadata alone means all that have it", good, []string{"backup=daily=x"}, ""},
		{"metadata without a value", with(func(q *app.BackupRequest) { q.All = true }), []string{"backup"}, "want key=value"},
		{"an unknown mode", with(func(q *app.BackupRequest) { q.All = true; q.Maintenance = "off" }), nil, "--maintenance"},
		{"an unknown quiescing", with(func(q *app.BackupRequest) { q.All = true; q.Quiesce = "no" }), nil, "--quiesce"},
	} {
		req := tc.req
		checkUsage(t, tc.name, checkBackup(&req, tc.metadata, nil), tc.want)
		if strings.HasPrefix(tc.name, "metadata alone") && (!req.All || req.Metadata["backup"] != "daily=x") {
			t.Errorf("%s: got %+v", tc.name, req)
		}
	}
}

func TestCheckRestore(t *testing.T) {
	for _, tc := range []struct {
		name string
		req  app.RestoreRequest
		want string
	}{
		{"a point", app.RestoreRequest{Point: "web@latest"}, ""},
		{"no point", app.RestoreRequest{Point: "web"}, `"web"`},
		{"two modes", app.RestoreRequest{Point: "web@latest", Options: plan.Options{Overwrite: true, As: "x"}}, "exclude each other"},
		{"nothing old to keep", app.RestoreRequest{Point: "web@latest", Options: plan.Options{KeepOld: true}}, "goes with --overwrite"},
		{"a VM", app.RestoreRequest{Point: "a/b/web/db01@latest"}, ""},
		{"beside nothing", app.RestoreRequest{Point: "web@latest", Options: plan.Options{Beside: true}}, "goes with --vm"},
		{"a VM without a name", app.RestoreRequest{Point: "web@latest", Options: plan.Options{VMs: []string{""}}}, "--vm wants a name"},
		{"a VM to a new vApp", app.RestoreRequest{Point: "web@latest", Options: plan.Options{VMs: []string{"db01"}, As: "x"}}, "use --beside"},
		{"a VM of the reference, overwritten", app.RestoreRequest{Point: "a/b/web/db01@latest", Options: plan.Options{Overwrite: true}}, "overwritten anyway"},
		{"a VM beside, and disks to keep", app.RestoreRequest{Point: "web@latest", Options: plan.Options{VMs: []string{"db01"}, Beside: true, KeepOld: true}}, "nothing is replaced"},
		{"documents and disks", app.RestoreRequest{Point: "web@latest", Options: plan.Options{ConfigOnly: true, Overwrite: true}}, "restores no disks"},
		{"documents and power", app.RestoreRequest{Point: "web@latest", Options: plan.Options{ConfigOnly: true, Power: plan.PowerOn}}, "what ran runs on"},
		{"a disk", app.RestoreRequest{Point: "web@latest", Options: plan.Options{Disks: []string{"db01:scsi1:3"}, AttachTo: "web01"}}, ""},
		{"a disk that is none", app.RestoreRequest{Point: "web@latest", Options: plan.Options{Disks: []string{"db01"}}}, "VM:DISK"},
		{"nothing to attach", app.RestoreRequest{Point: "web@latest", Options: plan.Options{AttachTo: "web01"}}, "goes with --disk"},
		{"a disk and a VM", app.RestoreRequest{Point: "web@latest", Options: plan.Options{Disks: []string{"db01:2000"}, VMs: []string{"db01"}}}, "--disk goes without"},
		{"an attached disk and power", app.RestoreRequest{Point: "web@latest", Options: plan.Options{Disks: []string{"db01:2000"}, AttachTo: "web01", Power: plan.PowerOn}}, "what ran runs on"},
		{"vSphere and vCD", app.RestoreRequest{Point: "web@latest", Options: plan.Options{ToVSphere: "f", Overwrite: true}}, "vCD is left alone"},
		{"vSphere and power", app.RestoreRequest{Point: "web@latest", Options: plan.Options{ToVSphere: "f", Power: plan.PowerOn}}, "the VMs stay off"},
		{"too many at once", app.RestoreRequest{Point: "web@latest", Parallel: -1}, "--parallel"},
	} {
		checkUsage(t, tc.name, checkRestore(tc.req), tc.want)
	}
}

func checkUsage(t *testing.T, name string, err error, want string) {
	t.Helper()
	var usage *usageError
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: got %v", name, err)
	case want != "" && (!errors.As(err, &usage) || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: got %v, want an error of usage with %q", name, err, want)
	}
}

func testPoint() *restorepoint.Point {
	disk := func(label string) restorepoint.Disk {
		return restorepoint.Disk{
			Label: label, Mode: "full", Transport: "nfc", FullReason: "first backup", ReadBytes: 1 << 20,
			Content: restorepoint.DiskContent{Size: 1 << 30, DataBytes: 1 << 20, StoredBytes: 1 << 10, TreeHash: "abc"},
		}
	}
	excluded := restorepoint.Disk{Key: 2002, Label: "Hard disk 3", NotProtected: "excluded by --exclude-disk *:2002", Excluded: true}
	return &restorepoint.Point{
		ID: "01K", State: restorepoint.Partial,
		Org: restorepoint.Ref{Name: "acme"}, VDC: restorepoint.Ref{Name: "vdc1"}, VApp: restorepoint.Ref{Name: "web/shop"},
		VMs: []restorepoint.VM{
			{Ref: restorepoint.Ref{Name: "web01"}, Disks: []restorepoint.Disk{disk("Hard disk 1"), disk("Hard disk 2")}, Unprotected: []restorepoint.Disk{excluded}},
			{Ref: restorepoint.Ref{Name: "db01"}, Missing: "snapshot refused"},
		},
		Documents: []string{"vcd/vapp.xml"},
		Problems:  []restorepoint.Problem{{VM: "db01", Message: "snapshot refused", Missing: true}},
	}
}

func draw(f func(w *bytes.Buffer)) string {
	var out bytes.Buffer
	f(&out)
	return out.String()
}

func TestDrawBackups(t *testing.T) {
	got := draw(func(w *bytes.Buffer) {
		drawBackups(w, []app.BackupResult{
			{VApp: "acme/vdc1/web%2Fshop", Point: testPoint(), Duration: 2 * time.Second},
			{VApp: "acme/vdc1/wiki", Err: errors.New("x")},
			{VApp: "acme/vdc1/none", Err: selection.ErrNoMatch},
		})
	})
	want := `VAPP|POINT|STATE|VMS|DISKS|SIZE|READ|STORED|TOOK
acme/vdc1/web%2Fshop|01K|partial|1|2|2.0 GiB|2.0 MiB|2.0 KiB|2s
acme/vdc1/wiki|-|failed|-|-|-|-|-|0s
acme/vdc1/none|-|nothing matches|-|-|-|-|-|-
not protected:
  acme/vdc1/web%2Fshop: vm db01: snapshot refused
left out by choice:
  acme/vdc1/web%2Fshop: vm web01: disk Hard disk 3: excluded by --exclude-disk *:2002
`
	if got := strings.ReplaceAll(got, "\t", "|"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	got = draw(func(w *bytes.Buffer) {
		drawBackups(w, []app.BackupResult{{VApp: "acme/vdc1/web%2Fshop", Point: testPoint(), Duration: 2 * time.Second}})
	})
	if want := "acme/vdc1/web%2Fshop: restore point 01K: partial, 1 VM, 2 disks of 2.0 GiB; read 2.0 MiB, stored 2.0 KiB in 2s\nnot protected:\n"; !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	views := viewBackups([]app.BackupResult{{VApp: "x", Point: testPoint()}})
	if n := len(views[0].Unprotected); n != 2 {
		t.Errorf("%d gaps in %+v", n, views[0].Unprotected)
	}
}

func TestDrawPoint(t *testing.T) {
	got := draw(func(w *bytes.Buffer) { drawPoint(w, testPoint()) })
	for _, want := range []string{"acme/vdc1/web%2Fshop", "full by nfc (first backup)", "snapshot refused", "vcd/vapp.xml", "abc"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestDrawRestore(t *testing.T) {
	got := draw(func(w *bytes.Buffer) {
		drawRestore(w, &restore.Result{
			VAppName: "web", VAppID: "urn:1", Compared: 12, VMs: []restore.VMResult{{Name: "web01", Action: "rebuild", NewID: "n", OldID: "o"}},
			Differences: []document.Difference{{Document: "vcd/vapp.xml", Field: "x", Want: "a", Got: "b", Reason: "read-only"}, {Document: "vcd/vapp.xml", Field: "z", Reason: "read-only"}, {Document: "vcd/owner.xml", Field: "y", Want: "c"}},
		})
	})
	for _, want := range []string{
		"compared 12 documents with the restore point: 1 unexplained difference\n", "\n    2  read-only\n", "\n  vcd/owner.xml: y: was \"c\", is \"\"\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestDrawKept(t *testing.T) {
	got := draw(func(w *bytes.Buffer) {
		drawKept(w, []restore.Kept{
			{Run: "R1", Point: "P1", VApp: restorepoint.Ref{Name: "web"}, VMs: []restore.KeptVM{{Files: restore.Files{Old: []vsphere.Attach{{Capacity: 1 << 30}, {Capacity: 1 << 30}}}}}},
			{Run: "R2", Point: "P2", VApp: restorepoint.Ref{Name: "db"}, Safety: "S2"},
		})
		flush(w)
	})
	for _, want := range []string{"2 disks of 1 VM, up to 2.0 GiB", "restore point S2"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := draw(func(w *bytes.Buffer) { drawKept(w, nil) }); got != "nothing can be undone\n" {
		t.Errorf("got %q", got)
	}
}

func TestDrawVerify(t *testing.T) {
	r := app.VerifyResult{Points: 1, Disks: 2, Bytes: 1 << 30, Data: 1 << 30}
	if got := draw(func(w *bytes.Buffer) { drawVerify(w, r, nil) }); got != "verified 1 restore point, 2 disks, 1.0 GiB: no damage\n" {
		t.Errorf("got %q", got)
	}
	r.Data = 4 << 30
	if got := draw(func(w *bytes.Buffer) { drawVerify(w, r, errors.New("x")) }); got != "verified 1 restore point, 2 disks, 1.0 GiB of 4.0 GiB: no damage; not everything could be checked\n" {
		t.Errorf("got %q", got)
	}
	bad := errors.New("bad sum")
	for _, c := range []struct {
		damage repository.Damage
		want   string
	}{
		{repository.Damage{Point: "01K", VM: "db01", Disk: "Hard disk 1", Offset: 4096, Err: bad}, "restore point 01K: vm db01: disk Hard disk 1: offset 4096: bad sum\n"},
		{repository.Damage{Point: "01K", Document: "vcd/vapp.xml", Err: bad}, "restore point 01K: document vcd/vapp.xml: bad sum\n"},
		{repository.Damage{Point: "01K", Err: bad}, "restore point 01K: bad sum\n"},
		{repository.Damage{Org: "acme", Err: bad}, "org acme: bad sum\n"},
	} {
		r.Damage = []repository.Damage{c.damage}
		if got := draw(func(w *bytes.Buffer) { drawVerify(w, r, nil) }); !strings.HasPrefix(got, c.want) || !strings.Contains(got, "damage in 1 place") {
			t.Errorf("got %q, want %q first", got, c.want)
		}
	}
}
