package e2e

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/cloud"
)

// outcomes says of each vApp what became of it.
func outcomes(all []app.RestoreOutcome) []string {
	var out []string
	for _, o := range all {
		name := o.VApp[strings.LastIndexByte(o.VApp, '/')+1:]
		switch {
		case o.Err == nil:
			name += " restored"
		case errors.Is(o.Err, plan.ErrConflict):
			name += " refused"
		default:
			name += " " + o.Err.Error()
		}
		out = append(out, name)
	}
	return out
}

func TestManyVAppsComeBackInOneGo(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	shop, wiki := e.sums(e.vapp("web-shop")), e.sums(e.vapp("wiki"))
	for _, name := range []string{webShop, "acme/acme-vdc1/wiki", jumphost} {
		e.backup(name)
	}
	e.destroy(e.vapp("web-shop"))
	e.destroy(e.vapp("wiki"))

	dry, err := e.app(nil).RestoreMany(t.Context(), []string{"acme/*@latest"}, app.RestoreRequest{DryRun: true})
	want := []string{"web-shop restored", "wiki restored", "jumphost refused"}
	if got := outcomes(dry); !slices.Equal(got, want) || !errors.Is(err, app.ErrPartial) {
		t.Fatalf("dry run: got %q, %v, want %q", got, err, want)
	}
	if e.find("wiki") != nil {
		t.Fatal("a dry run made a vApp")
	}

	all, err := e.app(nil).RestoreMany(t.Context(), []string{"acme/*@latest"}, app.RestoreRequest{Parallel: 2})
	if got := outcomes(all); !slices.Equal(got, want) || !errors.Is(err, app.ErrPartial) {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
	if !strings.Contains(all[2].Err.Error(), "still exists") {
		t.Errorf("refused without the reason: %v", all[2].Err)
	}
	for _, o := range all[:2] {
		if len(o.Result.Unexplained()) > 0 || o.Result.VAppID == "" {
			t.Errorf("%s: %+v", o.VApp, o.Result.Unexplained())
		}
	}
	ids := restore.IDs([]*restore.Result{all[0].Result, all[1].Result, all[2].Result})
	if len(ids.VApps) != 2 || ids.VApps[0].NewID != e.vapp("web-shop").ID || ids.VApps[0].OldID == ids.VApps[0].NewID || len(ids.VApps[0].VMs) != 2 {
		t.Errorf("id map %+v", ids)
	}
	for _, n := range ids.VApps[0].Networks {
		if n.OldID == "" || n.NewID == "" || n.OldID == n.NewID {
			t.Errorf("network %+v", n)
		}
	}
	if tf := ids.Terraform(); !strings.Contains(tf, "acme.acme-vdc1.web-shop.shop-front\"") {
		t.Errorf("import blocks:\n%s", tf)
	}
	sameSums(t, e.sums(e.vapp("web-shop")), shop)
	sameSums(t, e.sums(e.vapp("wiki")), wiki)

	// Those that are there are overwritten, those that are gone rebuilt.
	e.write("jumphost", 0, mib, random(1, mib))
	e.destroy(e.vapp("wiki"))
	all, err = e.app(nil).RestoreMany(t.Context(), []string{"*/*/wiki@latest", jumphost + "@latest"}, app.RestoreRequest{Options: plan.Options{Overwrite: true}})
	if err != nil || len(all) != 2 || all[0].Result.Plan.Mode != plan.ModeMissing || all[1].Result.Plan.Mode != plan.ModeOverwrite {
		t.Fatalf("got %q, %v", outcomes(all), err)
	}
	sameSums(t, e.sums(e.vapp("wiki")), wiki)
}

func TestManyVAppsShareOneQuota(t *testing.T) {
	t.Parallel()
	// Room for the four VMs that there are, and no more.
	inventory, err := cloud.Parse([]byte(strings.Replace(string(cloud.DefaultYAML()), "storedVMQuota: 60", "storedVMQuota: 4", 1)))
	if err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, inventory)
	e.backup(webShop)
	point := e.backup("acme/acme-vdc1/wiki")
	e.destroy(e.vapp("web-shop"))
	e.destroy(e.vapp("wiki"))
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "in the way"}})

	all, err := e.app(nil).RestoreMany(t.Context(), []string{"acme/*@latest"}, app.RestoreRequest{DryRun: true})
	if got, want := outcomes(all), []string{"web-shop restored", "wiki refused"}; !slices.Equal(got, want) || !errors.Is(err, app.ErrPartial) {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
	if !strings.Contains(all[1].Err.Error(), "quota") {
		t.Errorf("refused for another reason: %v", all[1].Err)
	}
}

func TestOneOfManyThatFailsDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.backup(webShop)
	e.backup("acme/acme-vdc1/wiki")
	e.destroy(e.vapp("web-shop"))
	e.destroy(e.vapp("wiki"))
	at := func(step string) {
		if step != "build web01" {
			return
		}
		for _, c := range e.vcenters {
			found, err := c.FindVMs(t.Context(), "vappvault-scratch-")
			if err != nil {
				t.Error(err)
			}
			for _, vm := range found {
				if err := c.VM(vm.MoRef).Destroy(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	}
	all, err := e.app(at).RestoreMany(t.Context(), []string{"acme/acme-vdc1/*@latest"}, app.RestoreRequest{Parallel: 1})
	if !errors.Is(err, app.ErrPartial) || len(all) != 2 || all[0].Err == nil || all[1].Err != nil {
		t.Fatalf("%q, %v", outcomes(all), err)
	}
	if !strings.Contains(err.Error(), "1 of 2 vApps") || !strings.Contains(err.Error(), "web-shop") {
		t.Errorf("the error does not say which: %v", err)
	}
	if e.find("web-shop") != nil {
		t.Error("what failed was not taken back")
	}
	e.tidy(e.vapp("wiki"))
	e.noOrphans()
}

func TestADamagedPointOfManyDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	wiki, hurt := e.backup("acme/acme-vdc1/wiki"), e.backup(jumphost)
	want := e.sums(e.vapp("wiki"))
	dir := filepath.Join(e.conf.Repository.URL, "orgs", restorepoint.UUID(hurt.Org.ID))
	reader := e.app(nil)
	e.damageOne(dir, func() bool {
		if _, err := reader.Point(t.Context(), hurt.ID); !errors.Is(err, repository.ErrDamaged) {
			return false
		}
		_, err := e.app(nil).Point(t.Context(), wiki.ID)
		points, listed := e.app(nil).Points(t.Context(), nil)
		return err == nil && listed == nil && len(points) == 2
	})
	e.destroy(e.vapp("wiki"))
	for _, dry := range []bool{true, false} {
		all, err := e.app(nil).RestoreMany(t.Context(), []string{"acme/*/*@latest"}, app.RestoreRequest{DryRun: dry, Options: plan.Options{Overwrite: true}})
		if !errors.Is(err, app.ErrPartial) || !errors.Is(err, repository.ErrDamaged) || len(all) != 2 {
			t.Fatalf("dry run %v: got %q, %v", dry, outcomes(all), err)
		}
		for _, o := range all {
			if bad := o.Point == hurt.ID; bad != errors.Is(o.Err, repository.ErrDamaged) || bad != (o.Result == nil) || !strings.HasPrefix(o.VApp, "acme/") {
				t.Errorf("dry run %v: got %q", dry, outcomes(all))
			}
		}
	}
	sameSums(t, e.sums(e.vapp("wiki")), want)
	if _, err := e.app(nil).RestoreMany(t.Context(), []string{hurt.ID, "acme/*/jumphost@latest"}, app.RestoreRequest{}); !errors.Is(err, repository.ErrDamaged) || errors.Is(err, app.ErrPartial) {
		t.Errorf("the damaged one alone: got %v", err)
	}
}

// TestPain2OneFailedVMMakesAPointUnusable: in other products it does.
func TestPain2OneFailedVMMakesAPointUnusable(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("web-shop"))
	whole := e.backup(webShop)
	e.write("web01", 0, mib, random(1, mib))
	e.write("db01", 0, mib, random(2, mib))
	later := e.sums(e.vapp("web-shop"))
	partial, lacks := e.partial()
	e.destroy(e.vapp("web-shop"))

	dry, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: partial.ID, DryRun: true, Options: plan.Options{Best: true}})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(dry.Plan.Conflicts, func(c plan.Conflict) bool { return c.Kind == plan.KindOtherPoint })
	if i < 0 || !strings.Contains(dry.Plan.Conflicts[i].Resolution, whole.ID) || dry.Plan.Skew <= 0 {
		t.Fatalf("the plan does not tell the skew %s: %+v", dry.Plan.Skew, dry.Plan.Conflicts)
	}

	result := e.restore(app.RestoreRequest{Point: webShop + "@latest", Options: plan.Options{Best: true}})

	got := e.sums(e.vapp("web-shop"))
	for _, vm := range []string{"web01", "db01"} {
		from := later
		if vm == lacks {
			from = want
		}
		if disk := vm + "/2000"; got[disk] != from[disk] {
			t.Errorf("disk %s is not that of its newest good point", disk)
		}
	}
	if !strings.Contains(strings.Join(result.Warnings, "\n"), "before the newest of the others") || result.Plan.Skew != dry.Plan.Skew {
		t.Errorf("the result does not record the skew: %q", result.Warnings)
	}
}

// partial makes a restore point of the shop that lacks a VM, and names it.
func (e *env) partial() (point *restorepoint.Point, lacks string) {
	e.t.Helper()
	e.cloud.VCenter("vc1").Faults().FailTask("CreateSnapshotEx_Task", 1, nil)
	results, err := e.app(nil).Backup(e.t.Context(), app.BackupRequest{Selectors: []string{webShop}, SamplePercent: -1, Quiesce: "off"})
	for _, vm := range results[0].Point.VMs {
		if vm.Missing != "" {
			return results[0].Point, vm.Name
		}
	}
	e.t.Fatalf("the point lacks no VM: %v", err)
	return nil, ""
}
