package e2e

import (
	"errors"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
)

func TestOneDiskComesBackAndTheOthersStay(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	e.write("db01", 0, mib, random(1, mib))
	e.write("db01", 1, 7*mib, random(2, mib))
	spoilt := e.sums(e.vapp("web-shop"))
	before := e.configs(e.vapp("web-shop"))["db01"]

	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Disks: []string{"db*:1:3"}}})

	after := e.vapp("web-shop")
	e.tidy(after)
	got, now := e.sums(after), e.configs(after)["db01"]
	for i, d := range now.Disks {
		disk, from := "db01/2000", spoilt
		if d.BusNumber == 1 {
			disk, from = diskName("db01", d.Key), want
		}
		if got[disk] != from[disk] {
			t.Errorf("disk %s: got %s, want %s", disk, got[disk], from[disk])
		}
		if d.Key != before.Disks[i].Key || d.UUID != before.Disks[i].UUID {
			t.Errorf("disk %s is another one: %+v, was %+v", disk, d, before.Disks[i])
		}
	}
	if !vmOf(t, after, "web01").Deployed || vmOf(t, after, "db01").Deployed {
		t.Error("web01 is to run, and db01 to be off")
	}
	e.noOrphans()
}

func TestADiskIsAttachedToAnotherVM(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	e.write("db01", 1, 7*mib, random(2, mib))
	options := plan.Options{Disks: []string{"db01:scsi1:3"}, AttachTo: "web01"}

	ctx, at := cancelAfter(t, "swap web01")
	if _, err := e.app(at).Restore(ctx, app.RestoreRequest{Point: point.ID, Options: options}); err == nil {
		t.Fatal("the restore went through")
	}
	after := e.vapp("web-shop")
	e.tidy(after)
	if n := len(e.configs(after)["web01"].Disks); n != 1 || !vmOf(t, after, "web01").Deployed {
		t.Fatalf("after a failure web01 has %d disks", n)
	}

	// By a plan as it would be saved.
	dry, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, DryRun: true, Options: options})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := dry.Plan.Save()
	if err != nil {
		t.Fatal(err)
	}
	saved, err := plan.ParseFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	result := e.restore(app.RestoreRequest{Point: point.ID, Options: saved.Options, Saved: saved})

	after = e.vapp("web-shop")
	e.tidy(after)
	config := e.configs(after)["web01"]
	if len(config.Disks) != 2 || !vmOf(t, after, "web01").Deployed {
		t.Fatalf("web01 has %d disks; steps %q", len(config.Disks), result.Plan.Steps)
	}
	disk := config.Disks[1]
	old := e.configs(after)["db01"].Disks[1]
	if got := fileSum(t, e.flat(disk.FileName)); got != want[diskName("db01", old.Key)] {
		t.Error("the disk that was attached is not that of the restore point")
	}
	if disk.UUID == old.UUID {
		t.Error("two disks of the vApp have one UUID")
	}
	doc := e.get(vmOf(t, after, "web01").Href)
	_, settings, _ := strings.Cut(doc, "<DiskId>"+diskName("", disk.Key)[1:]+"<")
	if settings, _, _ = strings.Cut(settings, "</DiskSettings>"); !strings.Contains(settings, `name="silver"`) || !strings.Contains(settings, "<overrideVmDefault>true<") {
		t.Errorf("storage profile: %s", settings)
	}
	e.noOrphans()
}

// A disk and one that was made of the same disk of a restore point would be
// called alike: by the file of the VM, and by the run.
func TestADiskThatWasAttachedIsOverwrittenBesideItsTwin(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	disks := []string{"db01:scsi1:3"}
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Disks: disks}})
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Disks: disks, AttachTo: "db01"}})
	want := e.sums(e.vapp("web-shop"))
	point = e.backup(webShop)
	e.write("db01", 0, mib, random(1, mib))

	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})

	after := e.vapp("web-shop")
	e.tidy(after)
	if n := len(e.configs(after)["db01"].Disks); n != 3 {
		t.Errorf("db01 has %d disks, want 3", n)
	}
	if got := e.sums(after); !maps.Equal(got, want) {
		t.Errorf("disks: got %v, want %v", got, want)
	}
	e.noOrphans()
}

func TestSingleDisksAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	refuse := func(want string, o plan.Options) {
		t.Helper()
		_, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, DryRun: true, Options: o})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error about %q", err, want)
		}
	}
	refuse("disk db01:2099: nothing matches", plan.Options{Disks: []string{"db01:2099"}})
	refuse("is not in the vApp, which has", plan.Options{Disks: []string{"db01:2000"}, AttachTo: "mail01"})
	web := vmOf(t, e.vapp("web-shop"), "web01")
	if _, err := e.vsphere(web).CreateSnapshot(t.Context(), tenantSnapshot); err != nil {
		t.Fatal(err)
	}
	refuse("snapshot", plan.Options{Disks: []string{"db01:2000"}, AttachTo: "web01"})
	refuse("snapshot", plan.Options{Disks: []string{"web01:2000"}})
	if err := e.vcd.Undeploy(t.Context(), web.Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	if err := e.vcd.DeleteVM(t.Context(), web.Href); err != nil {
		t.Fatal(err)
	}
	refuse("is not in the vApp any more: restore it (--vm)", plan.Options{Disks: []string{"web01:2000"}})
	e.destroy(e.vapp("web-shop"))
	_, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{Disks: []string{"db01:2000"}}})
	if !errors.Is(err, plan.ErrConflict) {
		t.Errorf("a disk of a vApp that is gone: %v", err)
	}
}

// diskName is the key of a disk in what sums returns.
func diskName(vm string, key int32) string { return vm + "/" + strconv.Itoa(int(key)) }
