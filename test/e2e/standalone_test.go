package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// TestPain5StandaloneVMsComeBackAsOrdinaryOnes: in other products they do.
func TestPain5StandaloneVMsComeBackAsOrdinaryOnes(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("jumphost")
	want := e.sums(before)
	point := e.backup(jumphost)
	if point.Kind() != restorepoint.NatureStandalone {
		t.Fatalf("the point says %s", point.Kind())
	}
	e.destroy(before)

	result := e.restore(app.RestoreRequest{Point: point.ID})

	after := e.vapp("jumphost")
	e.tidy(after)
	sameSums(t, e.sums(after), want)
	old, now := before.VMs[0], after.VMs[0]
	if !after.AutoNature || now.Name != "jumphost" || now.Description != old.Description || !slices.Equal(now.NICs, old.NICs) {
		t.Errorf("autoNature %t, vm %+v, was %+v", after.AutoNature, now, old)
	}
	if !slices.Contains(result.Plan.Steps, "import it into VDC acme-vdc2 as a standalone VM") {
		t.Errorf("steps %q", result.Plan.Steps)
	}
	if m := e.get(now.Href + "/metadata"); !strings.Contains(m, "jump") {
		t.Errorf("metadata %s", m)
	}
	if again := e.backup(jumphost); again.Kind() != restorepoint.NatureStandalone {
		t.Errorf("the next point says %s", again.Kind())
	}
}

func TestACopyOfAStandaloneVMIsOne(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("jumphost")
	want := e.sums(before)
	point := e.backup(jumphost)
	e.destroy(before) // its address is a fixed one
	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "jump two"}})
	shell, err := e.vcd.VApp(t.Context(), result.VAppID)
	if err != nil {
		t.Fatal(err)
	}
	vm := vmOf(t, shell, "jump two")
	if !shell.AutoNature || !strings.HasPrefix(shell.Name, "jump two-") {
		t.Errorf("shell %s, autoNature %t", shell.Name, shell.AutoNature)
	}
	for disk, sum := range e.sums(shell) {
		if was := strings.Replace(disk, "jump two", "jumphost", 1); want[was] != sum {
			t.Errorf("disk %s: got %s, want %s", disk, sum, want[was])
		}
	}
	if vm.NICs[0].MAC == before.VMs[0].NICs[0].MAC {
		t.Error("the copy has the original's MAC address")
	}
	e.tidy(shell)
}

func TestAStandaloneVMKilledAnywhereIsTakenBackOrDone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(jumphost)
	e.destroy(e.vapp("jumphost"))
	for n := 1; ; n += stride() {
		step, killed := e.die(n, "restore "+point.ID)
		if !killed {
			break
		}
		t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			e.noShells("jumphost")
			e.noOrphans()
		})
	}
	e.tidy(e.vapp("jumphost"))
}

// noShells removes what is done but for its last step, and checks that
// nothing half done is left.
func (e *env) noShells(vm string) {
	e.t.Helper()
	refs, err := e.vcd.VApps(e.t.Context(), "")
	if err != nil {
		e.t.Fatal(err)
	}
	for _, r := range refs {
		if r.Name != vm && !strings.HasPrefix(r.Name, vm+"-") {
			continue
		}
		vapp, err := e.vcd.VApp(e.t.Context(), r.ID)
		if err != nil {
			e.t.Fatal(err)
		}
		if len(vapp.VMs) == 0 || r.Name != vm {
			e.t.Errorf("shell %s is left, with %d VMs", r.Name, len(vapp.VMs))
			continue
		}
		e.tidy(vapp)
		e.destroy(vapp)
	}
}

func TestAnEmptyVAppComesBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("wiki")
	for _, vm := range before.VMs {
		if err := e.vcd.Undeploy(t.Context(), vm.Href, "powerOff"); err != nil && vm.Deployed {
			t.Fatal(err)
		}
		if err := e.vcd.DeleteVM(t.Context(), vm.Href); err != nil {
			t.Fatal(err)
		}
	}
	before = e.vapp("wiki")
	point := e.backup("wiki")
	if err := e.vcd.DeleteVApp(t.Context(), before.Href); err != nil {
		t.Fatal(err)
	}

	e.restore(app.RestoreRequest{Point: point.ID})

	after := e.vapp("wiki")
	if after.InMaintenance || len(after.VMs) > 0 || after.Owner.Name != before.Owner.Name || after.Description != before.Description ||
		!slices.EqualFunc(after.Networks, before.Networks, func(a, b vcd.VAppNetwork) bool { return a.Name == b.Name && a.ParentName == b.ParentName }) {
		t.Errorf("got %+v, was %+v", after, before)
	}
	if m := e.get(after.Href + "/metadata"); !strings.Contains(m, "weekly") {
		t.Errorf("metadata %s", m)
	}
	if !strings.Contains(e.get(after.Href+"/controlAccess/"), "wile") {
		t.Error("the access list is not what it was")
	}
	copied := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "empty copy"}})
	if err := e.vcd.DeleteVApp(context.WithoutCancel(t.Context()), e.vcd.Href(copied.VAppID)); err != nil {
		t.Fatal(err)
	}
}
