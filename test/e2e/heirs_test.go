package e2e

import (
	"slices"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
)

// TestAnOlderPointAfterARestore restores a vApp that is gone, which gives it
// another URN, and then wants an older restore point over it: twice, so that
// VMs which were rebuilt once are overwritten.
func TestAnOlderPointAfterARestore(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	first := e.backup("wiki")
	want := e.sums(e.vapp("wiki"))
	e.write("wiki01", 0, 5*mib, random(9, mib))
	second := e.backup("wiki")
	e.destroy(e.vapp("wiki"))
	e.restore(app.RestoreRequest{Point: second.ID})
	restored := e.vapp("wiki")
	if restored.ID == first.VApp.ID {
		t.Fatal("the restored vApp has the id of the old one")
	}

	for range 2 {
		result := e.restore(app.RestoreRequest{Point: first.ID, Options: plan.Options{Overwrite: true}})
		now := e.vapp("wiki")
		if now.ID != restored.ID || now.VMs[0].ID != restored.VMs[0].ID {
			t.Errorf("identity lost: vApp %s -> %s", restored.ID, now.ID)
		}
		if !slices.ContainsFunc(result.Plan.Conflicts, func(c plan.Conflict) bool { return c.Kind == plan.KindRestored }) {
			t.Errorf("the plan does not say that it is another vApp: %v", result.Plan.Conflicts)
		}
		for disk, sum := range e.sums(now) {
			if want[disk] != sum {
				t.Errorf("%s: got %s, want %s", disk, sum, want[disk])
			}
		}
	}
	e.tidy(e.vapp("wiki"))
	e.noScratch()
}
