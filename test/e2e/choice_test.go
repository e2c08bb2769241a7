package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
)

// backups runs a backup of which some may fail.
func (e *env) backups(q app.BackupRequest) ([]app.BackupResult, error) {
	e.t.Helper()
	q.SamplePercent = -1
	return e.app(nil).Backup(e.t.Context(), q)
}

// held describes what a point holds: "db01:2 web01:1", a VM that it lacks
// with the reason's first word.
func held(p *restorepoint.Point) string {
	var out []string
	for _, vm := range p.VMs {
		switch vm.Hold() {
		case restorepoint.Held:
			out = append(out, fmt.Sprintf("%s:%d", vm.Name, len(vm.Disks)))
		default:
			out = append(out, vm.Name+":"+string(vm.Hold()))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestWhatIsChosenIsBackedUp(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	for _, tc := range []struct {
		name string
		q    app.BackupRequest
		want string // of each point, or "error"
	}{
		{"a vApp", app.BackupRequest{Selectors: []string{webShop}}, "db01:2 web01:1"},
		{"a glob in every part", app.BackupRequest{Selectors: []string{"a*/*-vdc1/w*"}}, "db01:2 web01:1, wiki01:1"},
		{"an org", app.BackupRequest{Selectors: []string{"globex/*/*"}}, "Büro 1:1"},
		{"one VM", app.BackupRequest{Selectors: []string{webShop + "/db*"}}, "db01:2 web01:excluded"},
		{"a VM by its id", app.BackupRequest{Selectors: []string{vmOf(t, e.vapp("web-shop"), "db01").ID}}, "db01:2 web01:excluded"},
		{"a VM and the whole vApp", app.BackupRequest{Selectors: []string{webShop + "/db01", webShop}}, "db01:2 web01:1"},
		{"VMs anywhere", app.BackupRequest{Selectors: []string{"acme/*/*/w*01"}}, "db01:excluded web01:1, wiki01:1"},
		{"all but a VM", app.BackupRequest{Selectors: []string{webShop}, Exclude: []string{"*/*/*/db01"}}, "db01:excluded web01:1"},
		{"all but a vApp", app.BackupRequest{Selectors: []string{"acme/acme-vdc1/*"}, Exclude: []string{"web-shop"}}, "wiki01:1"},
		{"a disk by its label", app.BackupRequest{Selectors: []string{webShop}, ExcludeDisks: []string{"db*:Hard disk 2*"}}, "db01:1 web01:1"},
		{"a disk by its place", app.BackupRequest{Selectors: []string{webShop}, ExcludeDisks: []string{webShop + "/db01:scsi1:3"}}, "db01:1 web01:1"},
		{"all disks of a VM", app.BackupRequest{Selectors: []string{webShop}, ExcludeDisks: []string{"db01:*"}}, "db01:0 web01:1"},
		{"a vApp's metadata", app.BackupRequest{Metadata: map[string]string{"backup": "daily"}}, "db01:2 web01:1"},
		{"two entries", app.BackupRequest{Metadata: map[string]string{"backup": "daily", "sla": "platinum"}}, "db01:2 web01:1"},
		{"two entries of two vApps", app.BackupRequest{Metadata: map[string]string{"backup": "weekly", "sla": "platinum"}}, "error"},
		{"a VM's metadata", app.BackupRequest{VMMetadata: map[string]string{"role": "database"}}, "db01:2 web01:excluded"},
		{"all VMs excluded", app.BackupRequest{Selectors: []string{"wiki"}, Exclude: []string{"*/*/*/*"}}, "wiki01:excluded"},
		{"the only VM selected and excluded", app.BackupRequest{Selectors: []string{"acme/acme-vdc1/wiki/wiki01"}, Exclude: []string{"*/*/wiki/*"}}, "error"},
		{"no such VM", app.BackupRequest{Selectors: []string{webShop + "/none"}}, "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			results, err := e.backups(tc.q)
			var got []string
			for _, r := range results {
				if r.Point == nil {
					t.Fatal(r.Err)
				}
				if r.Point.State != restorepoint.Complete {
					t.Errorf("%s: state %s: %v: what nobody asked for is not missing", r.VApp, r.Point.State, r.Point.Problems)
				}
				got = append(got, held(r.Point))
			}
			if err != nil {
				got = []string{"error"}
				if !errors.Is(err, selection.ErrNoMatch) {
					t.Error(err)
				}
			}
			if text := strings.Join(got, ", "); text != tc.want {
				t.Errorf("got %s, want %s", text, tc.want)
			}
		})
	}
	e.tidy(e.vapp("web-shop"))
}

func TestASelectorThatNothingMatchesDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	results, err := e.backups(app.BackupRequest{Selectors: []string{"acme/acme-vdc9/none", "wiki", webShop + "/nobody"}})
	if !errors.Is(err, app.ErrPartial) || !strings.Contains(fmt.Sprint(err), "acme/acme-vdc9/none") || !strings.Contains(fmt.Sprint(err), "nobody") {
		t.Errorf("got %v", err)
	}
	if len(results) != 3 || results[0].Point == nil || results[1].VApp != "acme/acme-vdc9/none" || !errors.Is(results[1].Err, selection.ErrNoMatch) {
		t.Errorf("results: %+v", results)
	}
	results, err = e.backups(app.BackupRequest{Selectors: []string{"none", "nobody"}})
	if !errors.Is(err, selection.ErrNoMatch) || errors.Is(err, app.ErrPartial) || len(results) != 0 {
		t.Errorf("nothing at all: %v, %v", results, err)
	}
}

func TestAnExclusionThatExcludesNothingIsSaidSo(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	_, err := e.backups(app.BackupRequest{Selectors: []string{"wiki"}, ExcludeDisks: []string{"wiki*:Hard disk 7"}, Exclude: []string{"*/*/*/db01"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--exclude-disk wiki*:Hard disk 7", "--exclude */*/*/db01"} {
		if !slices.ContainsFunc(e.events, func(ev progress.Event) bool { return ev.Kind == progress.Warn && strings.Contains(ev.Message, want) }) {
			t.Errorf("nobody says that %s excluded nothing", want)
		}
	}
}

// What was left out by choice comes back as the plan says, and a restore of
// all that the point holds is whole.
func TestWhatWasExcludedIsNotTakenForWhatFailed(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("web-shop"))
	point := e.backupWith(app.BackupRequest{Selectors: []string{webShop}, Exclude: []string{"*/*/*/web01"}, ExcludeDisks: []string{"db01:2019", "db01:1:3"}, SamplePercent: -1})
	gaps := point.Gaps()
	if len(gaps) != 2 || !gaps[0].Excluded || !gaps[1].Excluded || len(point.Problems) != 0 {
		t.Fatalf("gaps %+v, problems %+v", gaps, point.Problems)
	}
	e.write("web01", 0, mib, random(1, mib))
	e.write("db01", 0, mib, random(2, mib))
	e.write("db01", 1, mib, random(3, mib))
	now := e.sums(e.vapp("web-shop"))

	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})

	if result.Missing != 0 {
		t.Errorf("%d are called missing", result.Missing)
	}
	warnings := strings.Join(result.Warnings, "\n")
	for _, text := range []string{"vm web01: was not backed up, by choice", "disk Hard disk 20: was not backed up, by choice", "leave it as it is"} {
		if !strings.Contains(warnings, text) {
			t.Errorf("no %q in\n%s", text, warnings)
		}
	}
	for disk, sum := range e.sums(e.vapp("web-shop")) {
		expect := now[disk]
		if disk == "db01/2000" {
			expect = want[disk]
		}
		if sum != expect {
			t.Errorf("disk %s: %s, want %s", disk, sum, expect)
		}
	}

	result, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "copy"}})
	if result == nil {
		t.Fatal(err) // what the rules said of the VM that was left out is not there
	}
	if warnings := strings.Join(result.Warnings, "\n"); !strings.Contains(warnings, "empty disk") || !strings.Contains(warnings, "leave it out") {
		t.Errorf("warnings:\n%s", warnings)
	}
	copied := e.vapp("copy")
	if len(copied.VMs) != 1 || len(copied.VMs[0].Disks) != 2 {
		t.Errorf("the copy has %+v", copied.VMs)
	}
}

func TestPointsAreFoundByTheVMsThatTheyHold(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	both := e.backup(webShop)
	web := e.backupWith(app.BackupRequest{Selectors: []string{webShop + "/web01"}, SamplePercent: -1})
	a := e.app(nil)
	ids := func(selector string) (out []string) {
		points, err := a.Points(t.Context(), []string{selector})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range points {
			out = append(out, p.ID)
		}
		return out
	}
	if got := ids(webShop + "/web01"); !slices.Equal(got, []string{both.ID, web.ID}) {
		t.Errorf("web01: %v", got)
	}
	if got := ids(webShop + "/db*"); !slices.Equal(got, []string{both.ID}) {
		t.Errorf("db01: %v", got)
	}
	shown, err := a.Point(t.Context(), webShop+"/db01@latest")
	if err != nil || shown.ID != both.ID || len(shown.VMs) != 1 || shown.VMs[0].Name != "db01" {
		t.Errorf("show: %+v, %v", shown, err)
	}
	for _, path := range shown.Documents {
		if strings.Contains(path, restorepoint.UUID(both.VMs[0].ID)) == (both.VMs[0].Name == "web01") {
			t.Errorf("document %s is of another VM", path)
		}
	}
	verified, err := a.Verify(t.Context(), []string{webShop + "/db01@latest"}, 100)
	if err != nil || verified.Points != 1 || verified.Disks != 2 {
		t.Errorf("verify: %+v, %v", verified, err)
	}
	items, err := a.List(t.Context(), []string{"acme/*/web-shop/*"})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		wantHold, wantPoint := restorepoint.Held, web.ID
		if it.VM == "db01" {
			wantHold, wantPoint = restorepoint.Excluded, both.ID
		}
		if it.Hold != wantHold || it.LastPoint != wantPoint || !it.Protected {
			t.Errorf("ls: vm %s: %+v", it.VM, it)
		}
	}
}

// Pain 2: one failed VM makes the vApp's point unusable as a whole.
func TestPain2OneFailedVMDoesNotSinkThePoint(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("web-shop"))
	e.cloud.VCenter("vc1").Faults().FailTask("CreateSnapshotEx_Task", 1, nil)
	results, err := e.backups(app.BackupRequest{Selectors: []string{webShop}, Quiesce: "off"})
	if !errors.Is(err, app.ErrPartial) {
		t.Fatal(err)
	}
	point := results[0].Point
	gaps := point.Gaps()
	if point.State != restorepoint.Partial || len(gaps) != 1 || gaps[0].Reason == "" || gaps[0].Excluded {
		t.Fatalf("%s: %+v", point.State, gaps)
	}
	_, err = e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: webShop + "@latest", Options: plan.Options{As: "copy"}})
	if !errors.Is(err, app.ErrPartial) {
		t.Errorf("restore: %v", err)
	}
	after := e.vapp("copy")
	if len(after.VMs) != 1 || after.VMs[0].Name == gaps[0].VM {
		t.Fatalf("VMs: %+v", after.VMs)
	}
	for disk, sum := range e.sums(after) {
		if sum != want[disk] {
			t.Errorf("disk %s differs", disk)
		}
	}
	// The next backup takes the VM along again.
	if point := e.backup(webShop); point.State != restorepoint.Complete {
		t.Errorf("afterwards: %s: %v", point.State, point.Problems)
	}
}

// Pain 13: deleted VMs never age out while their vApp lives.
func TestPain13ADeletedVMAgesOutWithItsPoints(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.write("db01", 1, 64*mib, random(9, 64*mib)) // several of Kopia's packs
	first := e.backup(webShop)
	vapp := e.vapp("web-shop")
	db := vmOf(t, vapp, "db01")
	if err := e.vcd.Undeploy(t.Context(), vapp.Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	if err := e.vcd.DeleteVM(t.Context(), db.Href); err != nil {
		t.Fatal(err)
	}
	second := e.backup(webShop)
	if held(second) != "web01:1" {
		t.Fatalf("the second point holds %s", held(second))
	}
	a := e.app(nil)
	points, err := a.Points(t.Context(), []string{webShop + "/db01"})
	if err != nil || len(points) != 1 || points[0].ID != first.ID {
		t.Fatalf("points with db01: %+v, %v", points, err)
	}
	if gone, err := a.Forget(t.Context(), []string{webShop + "/web01@latest"}, false); err == nil {
		t.Errorf("forgot %v for one VM", gone)
	}
	if _, err := a.Forget(t.Context(), []string{first.ID}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Points(t.Context(), []string{webShop + "/db01"}); !errors.Is(err, selection.ErrNoMatch) {
		t.Errorf("db01 is still found: %v", err)
	}
	if points, err := a.Points(t.Context(), []string{webShop}); err != nil || len(points) != 1 || points[0].ID != second.ID {
		t.Errorf("the vApp's points: %+v, %v", points, err)
	}
	if verified, err := a.Verify(t.Context(), []string{second.ID}, 100); err != nil || len(verified.Damage) > 0 {
		t.Errorf("verify: %+v, %v", verified, err)
	}
	info, err := a.RepositoryShow(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	before := info.Orgs[0].Stored
	maintained, err := e.app(nil).Maintain(t.Context(), true)
	if err != nil || len(maintained) != 1 || maintained[0].ID != info.Orgs[0].ID || maintained[0].Before != before {
		t.Errorf("maintained %+v, %v", maintained, err)
	}
	if info, err = e.app(nil).RepositoryShow(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if freed := before - info.Orgs[0].Stored; freed < 32*mib || maintained[0].After != info.Orgs[0].Stored {
		t.Errorf("%d bytes were freed of %d, told %+v", freed, before, maintained)
	}
}

// A VM that was excluded or failed is not read in full afterwards.
func TestAnIncrementalBuildsOnTheNewestPointThatHoldsTheDisk(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	first := e.backup(webShop)
	e.backupWith(app.BackupRequest{Selectors: []string{webShop + "/web01"}, SamplePercent: -1})
	e.backupWith(app.BackupRequest{Selectors: []string{webShop}, ExcludeDisks: []string{"db01:2019"}, SamplePercent: -1})
	e.write("db01", 1, 20*mib, random(3, mib))
	want := e.sums(e.vapp("web-shop"))
	last := e.backup(webShop)
	for n, parent := range []string{"", first.ID} {
		if d := diskOf(t, last, "db01", n); d.Mode != "incremental" || d.Parent != parent {
			t.Errorf("disk %d: %s (%s), from %q", d.Key, d.Mode, d.FullReason, d.Parent)
		}
	}
	e.restore(app.RestoreRequest{Point: last.ID, Options: plan.Options{As: "copy"}})
	sameSums(t, e.sums(e.vapp("copy")), want)
}
