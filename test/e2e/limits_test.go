package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/sim/cloud"
)

const (
	tib  = int64(1) << 40
	full = 32*tib - 8*mib // of hdd-01, which wiki is on
)

// TestADatastoreThatFillsUpDuringARestore fills the datastore when the plan
// has been made and its first bytes are written.
func TestADatastoreThatFillsUpDuringARestore(t *testing.T) {
	t.Parallel()
	for _, q := range []app.RestoreRequest{{Options: plan.Options{Overwrite: true}}, {Options: plan.Options{As: "copy"}}} {
		e := newEnv(t, nil)
		point := e.backupWith(wiki)
		e.write("wiki01", 0, 5*mib, random(3, mib))
		want := e.sums(e.vapp("wiki"))
		q.Point = point.ID
		filled := false
		_, err := e.app(func(step string) {
			if strings.HasPrefix(step, "intend scratch") {
				filled = true
				if err := e.cloud.FillDatastore("hdd-01", full); err != nil {
					t.Error(err)
				}
			}
		}).Restore(t.Context(), q)
		if !filled {
			t.Error("nothing was filled")
		}
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), "space") || !strings.Contains(err.Error(), "wiki01") {
			t.Errorf("%+v: %v", q, err)
		}
		if e.find("copy") != nil {
			t.Error("a vApp is left")
		}
		e.tidy(e.vapp("wiki"))
		sameSums(t, e.sums(e.vapp("wiki")), want)
		e.noOrphans()
		// And when there is no room to begin with, it goes elsewhere.
		q.DryRun = true
		result, err := e.app(nil).Restore(t.Context(), q)
		if err != nil || result.Plan.VMs[0].Datastore.Name != "nvme-01" && result.Plan.VMs[0].Disks[2000].Name != "nvme-01" {
			t.Errorf("%+v: %v", result, err)
		}
	}
}

// TestNoRoomForASnapshot backs up a VM on a full datastore.
func TestNoRoomForASnapshot(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	if err := e.cloud.Power(t.Context(), "wiki01", "on"); err != nil {
		t.Fatal(err)
	}
	if err := e.cloud.FillDatastore("hdd-01", 32*tib); err != nil {
		t.Fatal(err)
	}
	_, err := e.app(nil).Backup(t.Context(), wiki)
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "space") || !strings.Contains(err.Error(), "wiki01") {
		t.Errorf("backup: %v", err)
	}
	e.tidy(e.vapp("wiki"))
	if err := e.cloud.FillDatastore("hdd-01", 0); err != nil {
		t.Fatal(err)
	}
	if point := e.backupWith(wiki); point.State != "complete" {
		t.Errorf("%s: %v", point.State, point.Problems)
	}
}

// TestALeaseThatEndsDuringABackup lets vCD stop, and then delete, a vApp while
// it is backed up: maintenance mode binds users, not vCD.
func TestALeaseThatEndsDuringABackup(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	if err := e.cloud.Power(t.Context(), "wiki01", "on"); err != nil {
		t.Fatal(err)
	}
	want := e.sums(e.vapp("wiki"))
	var point string
	err := e.during("snapshot ", func() { e.cloud.Advance(10 * 24 * time.Hour) }, func(a *app.App) error {
		results, err := a.Backup(t.Context(), wiki)
		if len(results) > 0 && results[0].Point != nil {
			point = results[0].Point.ID
		}
		return err
	})
	if e.vapp("wiki").Deployed {
		t.Error("the vApp was not stopped")
	}
	if err != nil {
		t.Errorf("a vApp that is stopped by its lease: %v", err)
	}
	e.tidy(e.vapp("wiki"))
	e.restore(app.RestoreRequest{Point: point, Options: plan.Options{As: "copy"}})
	sameSums(t, e.sums(e.vapp("copy")), want)
	e.destroy(e.vapp("copy"))

	// Its storage lease: acme's vApps are deleted then.
	err = e.during("snapshot ", func() { e.cloud.Advance(60 * 24 * time.Hour) }, func(a *app.App) error {
		_, err := a.Backup(t.Context(), wiki)
		return err
	})
	if e.find("wiki") == nil && err == nil {
		t.Error("nobody says that the vApp was deleted in mid-backup")
	}
	if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
		t.Error(err)
	}
	if wiki := e.find("wiki"); wiki != nil {
		e.tidy(wiki)
	}
	e.noOrphans()
}

// TestAQuotaThatARestoreWouldExceed restores into an org that has room for no
// more VMs.
func TestAQuotaThatARestoreWouldExceed(t *testing.T) {
	t.Parallel()
	inventory, err := cloud.Parse([]byte(strings.Replace(string(cloud.DefaultYAML()), "storedVMQuota: 60", "storedVMQuota: 4", 1)))
	if err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, inventory)
	point := e.backup(webShop)
	want := e.sums(e.vapp("web-shop"))
	var steps []string
	_, err = e.app(func(s string) { steps = append(steps, s) }).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "copy"}})
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "quota") {
		t.Errorf("restore: %v", err)
	}
	if len(steps) > 0 {
		t.Errorf("refused only after %q", steps)
	}
	if e.find("copy") != nil {
		t.Error("a vApp is left")
	}
	e.tidy(e.vapp("web-shop"))
	sameSums(t, e.sums(e.vapp("web-shop")), want)
	e.noOrphans()
}
