package e2e

import (
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/plan"
)

// TestAVMIsNotStartedWhileBlocksAreWritten has vCenter's administrator try, whom
// maintenance mode does not bind.
func TestAVMIsNotStartedWhileBlocksAreWritten(t *testing.T) {
	e := newVDDK(t)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	vm := e.vapp("wiki").VMs[0]
	tried, fail := 0, false
	a := e.app(func(step string) {
		if step != "first block wiki01" && step != "blocks proven wiki01" {
			return
		}
		tried++
		if err := e.cloud.VCenter("vc1").PowerOn(vm.VimInfo.VMMoRef); err == nil || !strings.Contains(err.Error(), "disabled") {
			t.Errorf("%s: started: %v", step, err)
		}
		if _, err := e.vsphere(vm).CreateSnapshot(t.Context(), tenantSnapshot); err == nil {
			t.Errorf("%s: it has a snapshot", step)
		}
		if fail && step == "blocks proven wiki01" {
			e.failOnce("ReconfigVM_Task") // change tracking is not reset
		}
	})
	q := changedBlocks(point)
	q.NoSafetyPoint, q.EveryBlock, q.Power = true, true, plan.PowerOn // tracking begins anew
	for _, fail = range []bool{false, true} {
		e.write("wiki01", 0, 2<<20, random(4, 9<<20))
		_, err := a.Restore(t.Context(), q)
		if (err != nil) != fail {
			t.Fatalf("to fail: %v, got %v", fail, err)
		}
		if c := e.configs(e.vapp("wiki"))["wiki01"]; len(c.DisabledMethods) > 0 || (c.PowerState == "poweredOn") == fail {
			t.Errorf("to fail: %v (%v): it is %s, %v are still disabled", fail, err, c.PowerState, c.DisabledMethods)
		}
	}
	e.healed()
	if tried != 4 {
		t.Errorf("tried %d times", tried)
	}
	if _, err := e.app(nil).Resume(t.Context(), "wiki", nil); err != nil {
		t.Fatal(err)
	}
	e.tidy(e.vapp("wiki"))
	sameSums(t, e.sums(e.vapp("wiki")), want)
}

func TestWhatKeptAVMStillBeforeItWasWrittenIsTakenBack(t *testing.T) {
	e := newVDDK(t)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	for _, lost := range []bool{false, true} {
		if at, killed := e.dieAfter("disable start", "restore "+point.ID+" overwrite blocks"); !killed {
			t.Fatalf("there is no such step; the last was %s", at)
		}
		if c := e.configs(e.vapp("wiki"))["wiki01"]; !c.StartDisabled() || !c.RelocationDisabled() {
			t.Fatalf("only %v are disabled", c.DisabledMethods)
		}
		if lost {
			e.loseJournal()
		}
		e.reconcile()
		e.tidy(e.vapp("wiki"))
	}
	sameSums(t, e.sums(e.vapp("wiki")), want)
}

// TestAVMThatMayNotBeLetGoIsNotForgotten has the right to enable methods go
// while blocks are written: it is another than the one to disable them. A VM
// that nobody can start is an error, and stays one until it is settled.
func TestAVMThatMayNotBeLetGoIsNotForgotten(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	a := e.app(func(step string) {
		if step == "blocks proven wiki01" {
			e.cloud.VCenter("vc1").Faults().FailCall("EnableMethods", 1000, &types.NoPermission{})
		}
	})
	q := changedBlocks(point)
	q.NoSafetyPoint, q.EveryBlock = true, true
	if _, err := a.Restore(t.Context(), q); err == nil || !strings.Contains(err.Error(), "enable starting") {
		t.Errorf("got %v", err)
	}
	if _, err := e.app(nil).Reconcile(t.Context()); err == nil {
		t.Error("settled, though nobody can start the VM")
	}
	if c := e.configs(e.vapp("wiki"))["wiki01"]; !c.StartDisabled() {
		t.Fatalf("only %v are disabled", c.DisabledMethods)
	}
	e.healed()
	if _, err := e.app(nil).Resume(t.Context(), "wiki", nil); err != nil {
		e.reconcile()
	}
	e.tidy(e.vapp("wiki"))
	sameSums(t, e.sums(e.vapp("wiki")), want)
}
