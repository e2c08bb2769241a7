package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/sim/fault"
)

func TestAnInterruptedOverwriteGoesOn(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	e.write("web01", 0, 1<<20, random(1, 1<<20))
	e.write("db01", 1, 1<<20, random(2, 1<<20))
	first := point.VMs[0].Name

	// After the first VM has its new disks, somewhere in the second.
	e.dieAt("restore "+point.ID+" overwrite keep", "build "+point.VMs[1].Name)
	list, err := e.app(nil).Resumable(t.Context(), "")
	if err != nil || len(list) != 1 || list[0].Point != point.ID || !list[0].Options.KeepOld {
		t.Fatalf("%+v, %v", list, err)
	}
	built := 0
	result, err := e.app(func(step string) {
		if step == "build "+first {
			t.Errorf("vm %s is written again", first)
		}
		if strings.HasPrefix(step, "build ") {
			built++
		}
	}).Resume(t.Context(), webShop, nil)
	if err != nil || built != 1 || len(result.Unexplained()) > 0 {
		t.Fatalf("%d built, %+v, %v", built, result, err)
	}
	after := e.vapp("web-shop")
	e.tidy(after)
	sameSums(t, e.sums(after), want)
	if _, err := e.app(nil).Resume(t.Context(), webShop, nil); !errors.Is(err, restore.ErrNothingToResume) {
		t.Errorf("again: %v", err)
	}
	if _, left, err := e.app(nil).ForgetKept(t.Context(), webShop); err != nil || len(left) > 0 {
		t.Errorf("forget: %v, %v", left, err)
	}
	e.noOrphans()
}

func TestARestoreOfAVMIsNotResumedAndTheWayOutIsNamed(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	e.write("wiki01", 0, 1<<20, random(1, 1<<20))
	spoilt := e.sums(e.vapp("wiki"))
	if at, killed := e.dieAfter("swap wiki01", "restore "+point.ID+" vm=wiki01"); !killed {
		t.Fatalf("there is no such step; the last was %s", at)
	}
	for _, which := range []string{"", "wiki"} {
		_, err := e.app(nil).Resume(t.Context(), which, nil)
		if !errors.Is(err, restore.ErrNothingToResume) || !strings.Contains(err.Error(), "`reconcile` takes it back") {
			t.Errorf("resume %q: %v", which, err)
		}
	}
	e.reconcile()
	e.tidy(e.vapp("wiki"))
	sameSums(t, e.sums(e.vapp("wiki")), spoilt)
	if _, err := e.app(nil).Resume(t.Context(), "wiki", nil); err == nil || strings.Contains(err.Error(), "reconcile") {
		t.Errorf("with nothing left: %v", err)
	}
}

func TestAResumeKilledAnywhereIsTakenBackOrDone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	e.write("wiki01", 0, 5<<20, random(3, 1<<20))
	spoilt := e.sums(e.vapp("wiki"))
	overwrite := "restore " + point.ID + " overwrite"
	swapped := e.dieAt(overwrite, "swap wiki01")
	for n := 1; ; n += stride() {
		if n > 1 {
			e.die(swapped, overwrite)
		}
		step, killed := e.die(n, "resume wiki")
		if !killed {
			break
		}
		t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			if n%2 == 0 {
				if _, err := e.app(nil).Resume(t.Context(), "", nil); err != nil && !errors.Is(err, restore.ErrNothingToResume) {
					t.Fatal(err)
				}
			}
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			e.tidy(e.vapp("wiki"))
			e.either("wiki", spoilt, want)
			e.noOrphans()
		})
	}
	sameSums(t, e.sums(e.vapp("wiki")), want)
	e.noOrphans()
}

func TestAnOverwriteThatFailsIsTakenBackOrLeftByChoice(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	e.spoil(e.vapp("web-shop"))
	spoilt := e.sums(e.off("renamed"))
	lease := leaseSeconds(e.get(e.vapp("renamed").Href + "/leaseSettingsSection/"))
	q := app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}}

	// The settings are applied when it fails; they go back with the disks.
	stop := e.failing("PUT */owner")
	result, err := e.app(nil).Restore(t.Context(), q)
	if err == nil || !strings.Contains(strings.Join(result.Warnings, "\n"), "was taken back") {
		t.Fatalf("%v, %q", err, result.Warnings)
	}
	stop()
	renamed := e.vapp("renamed")
	e.tidy(renamed)
	sameSums(t, e.sums(renamed), spoilt)
	if got := leaseSeconds(e.get(renamed.Href + "/leaseSettingsSection/")); got != lease {
		t.Errorf("lease %s, was %s", got, lease)
	}
	e.noOrphans()

	stop = e.failing("PUT */owner")
	q.OnError = plan.OnErrorKeep
	result, err = e.app(nil).Restore(t.Context(), q)
	if err == nil || !strings.Contains(strings.Join(result.Warnings, "\n"), "--resume") {
		t.Fatalf("%v, %q", err, result.Warnings)
	}
	stop()
	if v := e.vapp("web-shop"); !v.InMaintenance {
		t.Error("it is not in maintenance mode")
	}
	if _, err := e.app(nil).Resume(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	e.tidy(e.vapp("web-shop"))
	sameSums(t, e.sums(e.vapp("web-shop")), want)
	e.noOrphans()
}

// failing makes a call to vCD fail for good, until it is stopped.
func (e *env) failing(operation string) (stop func()) {
	e.t.Helper()
	_, err := e.cloud.Faults().Add(fault.Rule{Service: fault.VCD, Operation: operation, Effect: fault.Effect{Status: 400, Code: "BAD_REQUEST", Message: "not today"}})
	if err != nil {
		e.t.Fatal(err)
	}
	return func() {
		e.t.Helper()
		if err := e.cloud.Faults().Clear(); err != nil {
			e.t.Fatal(err)
		}
	}
}
