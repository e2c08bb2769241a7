package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/sim/fault"
)

// rules replaces the faults of the cloud.
func (e *env) rules(rules ...fault.Rule) {
	e.t.Helper()
	if err := e.cloud.Faults().Clear(); err != nil {
		e.t.Fatal(err)
	}
	for _, r := range rules {
		if _, err := e.cloud.Faults().Add(r); err != nil {
			e.t.Fatal(err)
		}
	}
}

// TestAServerThatAsksForPatienceIsGivenIt has vCD answer that it is busy, and
// when to come again.
func TestAServerThatAsksForPatienceIsGivenIt(t *testing.T) {
	t.Parallel()
	e := newEnvOf(t, fault.New(1))
	const pause = time.Second
	for _, status := range []int{429, 503} {
		for _, operation := range []string{"GET /api/query*", "POST /api/vApp/*", "POST /cloudapi/1.0.0/sessions/provider"} {
			e.rules(fault.Rule{Service: fault.VCD, Operation: operation, Count: 1, Effect: fault.Effect{Status: status, RetryAfter: fault.Duration(pause)}})
			e.cloud.Faults().Forget()
			e.backupWith(wiki)
			calls := e.cloud.Faults().Calls(fault.Rule{Service: fault.VCD, Operation: operation}, 0)
			i := slices.IndexFunc(calls, func(c fault.Call) bool { return c.Status == status })
			if i < 0 {
				t.Errorf("%s: never called", operation)
				continue
			}
			again := slices.IndexFunc(calls[i+1:], func(c fault.Call) bool { return c.Operation == calls[i].Operation && c.Object == calls[i].Object })
			if again < 0 {
				t.Errorf("%d to %s: never asked again", status, operation)
				continue
			}
			if waited := calls[i+1+again].Time.Sub(calls[i].Time); waited < pause || waited > 5*pause {
				t.Errorf("%d to %s: asked again after %s", status, operation, waited)
			}
		}
	}
	e.rules()
	e.tidy(e.vapp("wiki"))
}

// TestSessionsThatEndAreBegunAnew ends the sessions of the product now and
// then, in vCD and in vCenter.
func TestSessionsThatEndAreBegunAnew(t *testing.T) {
	t.Parallel()
	e := newEnvOf(t, fault.New(1))
	var rules []fault.Rule
	for _, skip := range []int{4, 11, 18} { // one that ends twice under the same call is no session
		rules = append(rules,
			fault.Rule{Service: fault.VCD, Operation: "* /api/*", Skip: skip, Count: 1, Effect: fault.Effect{Logout: true}},
			fault.Rule{Service: fault.VSphere, User: product, Operation: "Retrieve*", Skip: skip, Count: 1, Effect: fault.Effect{Logout: true}})
	}
	e.rules(rules...)
	point := e.backupWith(wiki)
	if point.State != "complete" {
		t.Errorf("%s: %v", point.State, point.Problems)
	}
	want := e.sums(e.vapp("wiki"))
	err := e.during("snapshot ", func() {
		for _, s := range e.cloud.VCenters() {
			s.EndSessions(product)
		}
	}, func(a *app.App) error {
		_, err := a.Backup(t.Context(), wiki)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	e.rules()
	e.tidy(e.vapp("wiki"))
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "copy"}})
	sameSums(t, e.sums(e.vapp("copy")), want)
}

// TestAListThatLiesLosesNoVApp has the query service count wrongly, and leave
// records out.
func TestAListThatLiesLosesNoVApp(t *testing.T) {
	t.Parallel()
	e := newEnvOf(t, fault.New(1))
	names := func() ([]string, error) {
		items, err := e.app(nil).List(t.Context(), nil)
		var out []string
		for _, i := range items {
			out = append(out, i.VApp+"/"+i.VM)
		}
		return out, err
	}
	whole, err := names()
	if err != nil || len(whole) < 8 {
		t.Fatalf("%q, %v", whole, err)
	}
	for _, test := range []struct {
		name   string
		effect fault.Effect
		count  int
		fails  bool
	}{
		{"a total that is too high", fault.Effect{Total: 3}, 0, true},
		{"a total that is too high once", fault.Effect{Total: 3}, 1, false},
		{"a total that is too low", fault.Effect{Total: -2}, 0, false},
		{"records that are left out", fault.Effect{Drop: 1}, 0, true},
		{"records that are left out once", fault.Effect{Drop: 1}, 1, false},
		{"a page that is empty once", fault.Effect{Drop: 100}, 1, false},
		{"pages that are empty", fault.Effect{Drop: 100}, 0, true},
	} {
		e.rules(fault.Rule{Service: fault.VCD, Operation: "GET /api/query*", Count: test.count, Effect: test.effect})
		got, err := names()
		switch {
		case test.fails && (err == nil || !strings.Contains(err.Error(), "list")):
			t.Errorf("%s: %v, %q", test.name, err, got)
		case !test.fails && (err != nil || !slices.Equal(got, whole)):
			t.Errorf("%s: %v, %q", test.name, err, got)
		}
	}
}

// TestACertificateThatIsNotTrustedStopsARun changes the certificates of vCD and
// vCenter.
func TestACertificateThatIsNotTrustedStopsARun(t *testing.T) {
	t.Parallel()
	e := newEnvOf(t, fault.New(1))
	for _, server := range []string{"lab", "lab/vc1"} {
		for _, kind := range []string{"expired", "stranger", "elsewhere"} {
			e.rules(fault.Rule{Service: fault.TLS, Server: server, Effect: fault.Effect{Certificate: kind}})
			results, err := e.app(nil).Backup(t.Context(), wiki)
			if err == nil || !strings.Contains(err.Error(), "certificate") {
				t.Errorf("%s %s: %v", server, kind, err)
			}
			if len(results) > 0 && results[0].Point != nil {
				t.Errorf("%s %s: a restore point was made", server, kind)
			}
		}
	}
	e.rules()
	e.tidy(e.vapp("wiki"))
}
