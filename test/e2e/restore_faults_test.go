package e2e

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/reconcile"
	"github.com/vappvault/vappvault/internal/vcd"
)

// addDisk gives a VM another disk, as its owner would.
func (e *env) addDisk(vm vcd.VM) { e.addDiskOn(vm, "4") }

// addDiskOn puts it on the first controller, of a type as vCD numbers them.
func (e *env) addDiskOn(vm vcd.VM, adapter string) {
	e.t.Helper()
	doc, err := e.vcd.Get(e.t.Context(), vm.Href)
	if err != nil {
		e.t.Fatal(err)
	}
	const end = "</DiskSettings></DiskSection>"
	raw := string(doc.Raw)
	_, spec, _ := strings.Cut(raw, "<VmSpecSection")
	spec, _, ok := strings.Cut("<VmSpecSection"+spec, "</VmSpecSection>")
	if !ok || !strings.Contains(spec, end) {
		e.t.Fatalf("no VmSpecSection as expected: %s", spec)
	}
	spec = strings.Replace(spec, `Modified="false"`, `Modified="true"`, 1) + "</VmSpecSection>"
	added := `</DiskSettings><DiskSettings><SizeMb>16</SizeMb><UnitNumber>9</UnitNumber><BusNumber>0</BusNumber><AdapterType>` + adapter + `</AdapterType>` +
		`<ThinProvisioned>true</ThinProvisioned><overrideVmDefault>false</overrideVmDefault></DiskSettings></DiskSection>`
	body := `<Vm xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" name="` + vm.Name + `">` +
		strings.Replace(spec, end, added, 1) + `</Vm>`
	if err := e.vcd.ReconfigureVM(e.t.Context(), vm.Href, []byte(body)); err != nil {
		e.t.Fatal(err)
	}
}

func vmOf(t *testing.T, v *vcd.VApp, name string) vcd.VM {
	t.Helper()
	for _, vm := range v.VMs {
		if vm.Name == name {
			return vm
		}
	}
	t.Fatalf("no vm %s", name)
	return vcd.VM{}
}

func TestAnOverwriteKeepsADiskThatWasAddedSince(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	shop := e.vapp("web-shop")
	if err := e.vcd.Undeploy(t.Context(), shop.Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	e.addDisk(vmOf(t, shop, "db01"))
	want := e.sums(e.vapp("web-shop"))
	if len(want) != 4 {
		t.Fatalf("%d disks", len(want))
	}
	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	kept := func(d document.Difference) bool { return strings.Contains(d.Reason, "is kept") }
	if !slices.ContainsFunc(result.Differences, kept) {
		t.Error("the result does not say that the hardware is another")
	}
	e.tidy(e.vapp("web-shop"))
	sameSums(t, e.sums(e.vapp("web-shop")), want)
}

func TestDisksThatWereSwappedInAreNotTakenFromARunningVM(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	e.dieAt("restore "+point.ID+" overwrite", "swap wiki01")
	wiki := e.vapp("wiki")
	if err := e.vcd.ExitMaintenance(t.Context(), wiki.ID); err != nil {
		t.Fatal(err)
	}
	if err := e.vcd.PowerOn(t.Context(), wiki.Href); err != nil {
		t.Fatal(err)
	}
	e.write("wiki01", 0, 3*mib, random(5, mib))
	want := e.sums(wiki)
	if _, err := e.app(nil).Reconcile(t.Context()); err == nil || !strings.Contains(err.Error(), "power it off") {
		t.Errorf("reconcile: %v", err)
	}
	sameSums(t, e.sums(wiki), want)
	if err := e.vcd.Undeploy(t.Context(), wiki.Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.tidy(e.vapp("wiki"))
	e.noOrphans()
}

// dieAt kills a child after a step of the given name, and returns which it was.
func (e *env) dieAt(action, step string) int {
	e.t.Helper()
	for n := 1; n < 100; n++ {
		name, killed := e.die(n, action)
		if !killed {
			e.t.Fatalf("%s: has no step %s", action, step)
		}
		if strings.HasSuffix(name, " "+step) {
			return n
		}
		e.once(func(ctx context.Context, a *app.App) (string, error) {
			_, err := a.Reconcile(ctx)
			return "", err
		})
	}
	e.t.Fatalf("%s: step %s is far away", action, step)
	return 0
}

// TestAnOverwriteIsAllOrNothing kills an overwrite of several VMs: after
// reconcile all of them are as they were, or all are restored.
func TestAnOverwriteIsAllOrNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	e.write("web01", 0, 5*mib, random(3, mib))
	e.write("db01", 1, 5*mib, random(4, mib))
	spoilt := e.sums(e.vapp("web-shop"))
	for n := 2; ; n += 2 * stride() {
		step, killed := e.die(n, "restore "+point.ID+" overwrite")
		if !killed {
			break
		}
		t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			e.tidy(e.vapp("web-shop"))
			got := e.sums(e.vapp("web-shop"))
			if !maps.Equal(got, want) && !maps.Equal(got, spoilt) {
				t.Errorf("some disks are restored and some are not: %v", got)
			}
			e.noOrphans()
		})
	}
	sameSums(t, e.sums(e.vapp("web-shop")), want)
	e.noOrphans()
}

func TestADiskThatCannotBeDeletedIsDeletedLater(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	want := e.sums(e.vapp("wiki"))
	e.cloud.VCenter("vc1").Faults().FailTask("DeleteVirtualDisk_Task", 1, nil)
	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	if !strings.Contains(strings.Join(result.Warnings, "\n"), "could not be deleted") {
		t.Errorf("warnings: %q", result.Warnings)
	}
	if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.tidy(e.vapp("wiki"))
	sameSums(t, e.sums(e.vapp("wiki")), want)
	e.noOrphans()
}

func TestTheOldDisksStayUntilTheResultIsProven(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	old := e.flat(e.configs(e.vapp("wiki"))["wiki01"].Disks[0].FileName)
	there := func() bool { _, err := os.Stat(old); return err == nil }
	proven := false
	_, err := e.app(func(step string) {
		if step == "commit point" {
			proven = true
		}
		if !proven && !there() {
			t.Errorf("after %q the old disk is gone already", step)
		}
	}).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	if err != nil {
		t.Fatal(err)
	}
	if !proven || there() {
		t.Error("the old disk is still there")
	}
	kept := e.flat(e.configs(e.vapp("wiki"))["wiki01"].Disks[0].FileName)
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true, KeepOld: true}})
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("--keep-old: %v", err)
	}
}

func TestReconcileLeavesALiveRestoreAlone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	asked := false
	_, err := e.app(func(step string) {
		if step != "enter maintenance" {
			return
		}
		asked = true
		if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
			t.Error(err)
		}
		if !e.vapp("live").InMaintenance {
			t.Error("reconcile ended the maintenance mode of a live restore")
		}
	}).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "live"}})
	if err != nil || !asked {
		t.Fatal(asked, err)
	}
	e.tidy(e.vapp("live"))
}

func TestWhatAPartialPointHoldsComesBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.cloud.VCenter("vc1").Faults().FailTask("CreateSnapshotEx_Task", 1, nil)
	e.cloud.VCenter("vc1").Faults().FailTask("CreateSnapshot_Task", 1, nil)
	results, err := e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{webShop}, SamplePercent: -1, Quiesce: "off"})
	if !errors.Is(err, app.ErrPartial) || results[0].Point.State != "partial" {
		t.Fatalf("backup: %v", err)
	}
	point := results[0].Point
	missing, kept := "", ""
	for _, vm := range point.VMs {
		if vm.Missing != "" {
			missing = vm.Name
		} else {
			kept = vm.Name
		}
	}
	if missing == "" || kept == "" {
		t.Fatalf("%+v", point.VMs)
	}
	e.healed()
	e.destroy(e.vapp("web-shop"))
	result, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID})
	if !errors.Is(err, app.ErrPartial) {
		t.Fatalf("restore: %v", err)
	}
	after := e.vapp("web-shop")
	e.tidy(after)
	if len(after.VMs) != 1 || after.VMs[0].Name != kept {
		t.Errorf("VMs: %+v", after.VMs)
	}
	if !strings.Contains(strings.Join(result.Warnings, "\n"), missing) {
		t.Errorf("nobody says that %s is missing: %q", missing, result.Warnings)
	}
}

func TestANICKeepsItsModeOrItsAddressByChoice(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	e.destroy(e.vapp("web-shop"))
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overrides: plan.Overrides{IP: "pool"}}})
	nic := vmOf(t, e.vapp("web-shop"), "web01").NICs[1]
	if nic.Mode != "POOL" || nic.IP == "" {
		t.Errorf("by mode: %+v", nic)
	}
	e.destroy(e.vapp("web-shop"))
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overrides: plan.Overrides{IP: "keep"}}})
	nic = vmOf(t, e.vapp("web-shop"), "web01").NICs[1]
	if nic.IP != "192.168.72.101" {
		t.Errorf("by address: %+v", nic)
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	before, err := e.vcd.Get(t.Context(), e.vapp("web-shop").Href)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []app.RestoreRequest{{Options: plan.Options{Overwrite: true}}, {Options: plan.Options{As: "other"}}, {}} {
		q.Point, q.DryRun = point.ID, true
		result, err := e.app(nil).Restore(t.Context(), q)
		if q.Overwrite || q.As != "" {
			if err != nil || len(result.Plan.Steps) == 0 {
				t.Errorf("%+v: %v, %v", q, result, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), "still exists") {
			t.Errorf("a vApp that exists: %v", err)
		}
	}
	after, err := e.vcd.Get(t.Context(), e.vapp("web-shop").Href)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before.Raw, after.Raw) {
		t.Error("the vApp has changed")
	}
}

func TestADiskThatNoSnapshotFreezesIsSaidToBeMissing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, inventoryWith(t, "{size: 64MiB, fill: 1MiB, controller: pvscsi}", "{size: 32MiB, fill: 1MiB, controller: pvscsi, mode: independent_persistent}"))
	results, err := e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{"big"}, SamplePercent: -1})
	if !errors.Is(err, app.ErrPartial) {
		t.Fatalf("backup: %v", err)
	}
	point := results[0].Point
	if len(point.VMs[0].Unprotected) != 1 || len(point.VMs[0].Disks) != 1 {
		t.Fatalf("%+v", point.VMs[0])
	}
	result, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "copy"}})
	if !errors.Is(err, app.ErrPartial) || result.Missing != 1 {
		t.Errorf("restore: %v, %d missing", err, result.Missing)
	}
	if !strings.Contains(strings.Join(result.Warnings, "\n"), "empty disk") {
		t.Errorf("warnings: %q", result.Warnings)
	}
	e.tidy(e.vapp("copy"))
}

func TestAHalfRestoredVAppIsNotBackedUp(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	e.destroy(e.vapp("wiki"))
	e.dieAt("restore "+point.ID, "apply VM settings")
	_, err := e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{"wiki"}, SamplePercent: -1})
	if !errors.Is(err, reconcile.ErrHalfRestored) {
		t.Errorf("backup of a half restored vApp: %v", err)
	}
	// The restore itself, run again, settles what it left and starts anew.
	e.restore(app.RestoreRequest{Point: point.ID})
	e.tidy(e.vapp("wiki"))
	e.noOrphans()
}

func TestALostRootFileIsNotReplaced(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.backup("wiki")
	root := filepath.Join(e.conf.Repository.URL, "vappvault.json")
	kept, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if _, err := e.app(nil).Init(t.Context()); err == nil || !strings.Contains(err.Error(), "bring it back from a copy") {
		t.Errorf("init: %v", err)
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Error("init made another one")
	}
	if err := os.WriteFile(root, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	e.verified()
}

func TestAListSaysWhereItCannotKnow(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.backup("wiki")
	items, err := e.app(nil).List(t.Context(), []string{"acme/acme-vdc1/wiki/wiki*"})
	if err != nil || len(items) != 1 || items[0].VM != "wiki01" || !items[0].Protected {
		t.Errorf("%+v, %v", items, err)
	}
	conf := *e.conf
	conf.Repository.Password.File = file(t, t.TempDir(), "wrong")
	a := app.New(app.Options{Config: &conf})
	defer func() { _ = a.Close(t.Context()) }()
	if _, err := a.List(t.Context(), nil); err == nil {
		t.Error("with a wrong password nothing is protected, it seems")
	}
}

func TestANameThatCannotBeIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	for _, name := range []string{" ", strings.Repeat("x", 129), "a\nb", "a\xff"} {
		_, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, DryRun: true, Options: plan.Options{As: name}})
		if err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	name := strings.Repeat("ü", 127) + "🚀"
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: name}})
	e.tidy(e.vapp(name))
}
