package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/sim/fault"
)

// product is the account that the product has in the vCenters.
const product = "administrator@vsphere.local"

// chaos is a cloud on a bad day: what a real one does once in a while, all the
// time. Calls that change something fail before they do, and the answers of
// calls that only read are lost, late, or come from a load balancer.
func chaos() []fault.Rule {
	cut := int64(200)
	seconds := func(s float64) fault.Duration { return fault.Duration(s * float64(time.Second)) }
	return []fault.Rule{
		{Service: fault.VCD, Probability: 0.05, Effect: fault.Effect{Delay: seconds(0.05)}},
		{Service: fault.VCD, Operation: "GET *", Probability: 0.04, Effect: fault.Effect{Status: 503}},
		{Service: fault.VCD, Operation: "GET *", Probability: 0.03, Effect: fault.Effect{Status: 429, RetryAfter: seconds(1)}},
		{Service: fault.VCD, Operation: "GET *", Probability: 0.03, Effect: fault.Effect{Reset: &cut}},
		{Service: fault.VCD, Operation: "POST /api/vApp*", Probability: 0.06, Effect: fault.Effect{Status: 400, Code: "BUSY_ENTITY", Message: "The entity is busy completing an operation."}},
		{Service: fault.VCD, Operation: "PUT *", Probability: 0.06, Effect: fault.Effect{Status: 400, Code: "BUSY_ENTITY", Message: "The entity is busy completing an operation."}},
		{Service: fault.VCD, Operation: "* /api/*", Probability: 0.01, Effect: fault.Effect{Logout: true}},
		{Service: fault.VSphere, User: product, Operation: "Retrieve*", Probability: 0.03, Effect: fault.Effect{Status: 502}},
		{Service: fault.VSphere, User: product, Operation: "Retrieve*", Probability: 0.01, Effect: fault.Effect{Logout: true}},
		{Service: fault.Folder, Probability: 0.03, Effect: fault.Effect{Reset: &cut}},
	}
}

// TestABadDayCostsTimeAndNothingElse backs up, deletes and restores a vApp in
// a cloud in which calls fail at random. Whatever the outcome of a step, it
// leaves nothing behind; and it does succeed, if not at once.
func TestABadDayCostsTimeAndNothingElse(t *testing.T) {
	t.Parallel()
	for seed := range uint64(map[bool]int{true: 8, false: 2}[os.Getenv("VAPPVAULT_LONG") != ""]) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			badDay(t, seed)
		})
	}
}

func badDay(t *testing.T, seed uint64) {
	e := newEnvOf(t, fault.New(seed))
	want := e.sums(e.vapp("web-shop"))
	acted := 0
	storm := func(on bool) {
		t.Helper()
		for _, r := range e.cloud.Faults().List() {
			acted += r.Hits
		}
		if err := e.cloud.Faults().Clear(); err != nil {
			t.Fatal(err)
		}
		for _, r := range chaos() {
			if !on {
				break
			}
			if _, err := e.cloud.Faults().Add(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Each step may fail, and says so; then it is done again.
	step := func(name string, act func(a *app.App) error) {
		t.Helper()
		for try := range 5 {
			storm(true)
			err := act(e.app(nil))
			storm(false)
			e.calm(t)
			if err == nil {
				t.Logf("%s: done at try %d", name, try+1)
				return
			}
			t.Logf("%s: %v", name, err)
		}
		t.Fatalf("%s: five times in vain", name)
	}
	var point string
	step("backup", func(a *app.App) error {
		results, err := a.Backup(t.Context(), app.BackupRequest{Selectors: []string{webShop}, SamplePercent: -1})
		if err != nil {
			return err
		}
		if p := results[0].Point; p.State != "complete" {
			return fmt.Errorf("%s: %v", p.State, p.Problems)
		}
		point = results[0].Point.ID
		return nil
	})
	e.tidy(e.vapp("web-shop"))
	e.destroy(e.vapp("web-shop"))
	step("restore", func(a *app.App) error {
		_, err := a.Restore(t.Context(), app.RestoreRequest{Point: point})
		return err
	})
	after := e.vapp("web-shop")
	e.tidy(after)
	sameSums(t, e.sums(after), want)
	if t.Logf("%d calls were disturbed", acted); acted < 20 {
		t.Errorf("only %d calls were disturbed: the day was not bad", acted)
	}
}

// calm lets reconciliation finish what a run could not, in a cloud that works.
func (e *env) calm(t *testing.T) {
	t.Helper()
	if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
		t.Fatalf("reconcile: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(e.dir, "cloud", "datastores", "*", "*", "*", "vappvault-scratch-*")); err != nil || len(left) > 0 && e.find("web-shop") == nil {
		t.Errorf("left on the datastores: %q, %v", left, err)
	}
}
