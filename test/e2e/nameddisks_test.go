package e2e

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/cloud"
)

// withNamedDisk is a cloud whose wiki has a named disk of its own and one
// that VMs share.
func withNamedDisk(t *testing.T) *env {
	t.Helper()
	const at = "      vapps:\n      - name: web-shop\n"
	yaml := string(cloud.DefaultYAML())
	if !strings.Contains(yaml, at) {
		t.Fatal("the default inventory is another one")
	}
	inventory, err := cloud.Parse([]byte(strings.Replace(yaml, at, `      disks:
      - {name: data, description: "Tables, mostly", size: 16MiB, controller: pvscsi, storageProfile: gold, owner: wile, attachedTo: [wiki/wiki01]}
      - {name: quorum, size: 8MiB, controller: pvscsi, storageProfile: gold, sharing: DiskSharing, owner: wile, attachedTo: [wiki/wiki01, web-shop/db01]}
`+at, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return newEnv(t, inventory)
}

// named are the named disks of a VM, by their names: bus, unit and content.
func (e *env) named(vapp, vm string) map[string]string {
	e.t.Helper()
	out := map[string]string{}
	_, section, _ := strings.Cut(e.get(vmOf(e.t, e.vapp(vapp), vm).Href), "<DiskSection>")
	section, _, _ = strings.Cut(section, "</DiskSection>")
	for _, settings := range strings.Split(section, "<DiskSettings>")[1:] {
		value := func(after, before string) string {
			_, rest, _ := strings.Cut(settings, after)
			rest, _, _ = strings.Cut(rest, before)
			return rest
		}
		disk, found := "", false
		if _, disk, found = strings.Cut(settings, "<Disk "); !found {
			continue
		}
		_, name, _ := strings.Cut(disk, `name="`)
		name, _, _ = strings.Cut(name, `"`)
		out[name] = value("<BusNumber>", "<") + ":" + value("<UnitNumber>", "<")
	}
	return out
}

// TestPain7NamedDisksAreSkipped: other products do not even say so.
func TestPain7NamedDisksAreSkipped(t *testing.T) {
	t.Parallel()
	e := withNamedDisk(t)
	before := e.named("wiki", "wiki01")
	if len(before) != 2 {
		t.Fatalf("named disks %v", before)
	}
	results, err := e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{"wiki"}, SamplePercent: -1})
	if !errors.Is(err, app.ErrPartial) || results[0].Point.State != restorepoint.Partial {
		t.Fatalf("a backup without the named disks is not whole: %v", err)
	}
	point := results[0].Point

	// They are no disks of the VM: an overwrite leaves them alone.
	result := e.partialRestore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	if got := e.named("wiki", "wiki01"); got["data"] != before["data"] || got["quorum"] != before["quorum"] {
		t.Errorf("after an overwrite: %v, was %v", got, before)
	}
	if w := strings.Join(result.Warnings, "\n"); !strings.Contains(w, "named disk quorum: is shared by VMs") || !strings.Contains(w, "leave it attached") {
		t.Errorf("the named disks are not mentioned: %s", w)
	}

	// They outlive the vApp, and are attached again where they were.
	e.destroyed("wiki")
	result = e.partialRestore(app.RestoreRequest{Point: point.ID})
	if got := e.named("wiki", "wiki01"); got["data"] != before["data"] || got["quorum"] != before["quorum"] {
		t.Errorf("after a rebuild: %v, was %v", got, before)
	}
	if len(result.Disks) != 2 {
		t.Errorf("disks of the result: %+v", result.Disks)
	}
	if n := len(e.configs(e.vapp("wiki"))["wiki01"].Disks); n != 3 {
		t.Errorf("wiki01 has %d disks", n)
	}
}

// partialRestore restores what cannot come back whole.
func (e *env) partialRestore(q app.RestoreRequest) *restore.Result {
	e.t.Helper()
	result, err := e.app(nil).Restore(e.t.Context(), q)
	if err != nil && !errors.Is(err, app.ErrPartial) {
		e.t.Fatal(err)
	}
	for _, d := range result.Unexplained() {
		e.t.Errorf("%s: %s: got %q, want %q", d.Document, d.Field, d.Got, d.Want)
	}
	return result
}

// destroyed deletes a vApp; its named disks stay.
func (e *env) destroyed(name string) {
	e.t.Helper()
	vapp := e.vapp(name)
	if err := e.vcd.Undeploy(e.t.Context(), vapp.Href, "powerOff"); err != nil && vapp.Deployed {
		e.t.Fatal(err)
	}
	if err := e.vcd.DeleteVApp(e.t.Context(), vapp.Href); err != nil {
		e.t.Fatal(err)
	}
}

func TestANamedDiskThatIsGoneIsMadeByConsent(t *testing.T) {
	t.Parallel()
	e := withNamedDisk(t)
	before := e.named("wiki", "wiki01")
	results, err := e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{"wiki"}, SamplePercent: -1})
	if !errors.Is(err, app.ErrPartial) {
		t.Fatal(err)
	}
	point := results[0].Point
	e.destroyed("wiki")
	hrefs, err := e.vcd.DisksNamed(t.Context(), "data")
	if err != nil || len(hrefs) != 1 {
		t.Fatalf("%v, %v", hrefs, err)
	}
	if err := e.vcd.DeleteDisk(t.Context(), hrefs[0]); err != nil {
		t.Fatal(err)
	}

	dry, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(dry.Plan.Conflicts, func(c plan.Conflict) bool { return strings.Contains(c.Object, "named disk data") })
	if i < 0 || dry.Plan.Conflicts[i].Resolution != "leave it out" || dry.Plan.Conflicts[i].Override != "--empty-disks" {
		t.Errorf("conflicts %+v", dry.Plan.Conflicts)
	}

	for n := 1; ; n += 2 * stride() {
		step, killed := e.die(n, "restore "+point.ID+" empty-disks")
		if !killed {
			break
		}
		t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			left, err := e.vcd.DisksNamed(t.Context(), "data")
			if err != nil {
				t.Fatal(err)
			}
			if wiki := e.find("wiki"); wiki != nil {
				e.destroyed("wiki") // done but for its last step
				for _, href := range left {
					if err := e.vcd.DeleteDisk(t.Context(), href); err != nil {
						t.Fatal(err)
					}
				}
			} else if len(left) > 0 {
				t.Error("a named disk was left behind")
			}
		})
	}
	if got := e.named("wiki", "wiki01"); got["data"] != before["data"] || got["quorum"] != before["quorum"] {
		t.Errorf("got %v, was %v", got, before)
	}
	hrefs, err = e.vcd.DisksNamed(t.Context(), "data")
	if err != nil || len(hrefs) != 1 {
		t.Fatalf("%v, %v", hrefs, err)
	}
	if doc := e.get(hrefs[0]); !strings.Contains(doc, "Tables, mostly") || !strings.Contains(doc, `name="wile"`) || !strings.Contains(doc, `name="gold"`) {
		t.Errorf("the disk is not what it was: %s", doc)
	}
}
