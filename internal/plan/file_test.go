package plan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/sim/fault"
)

func TestPlanningOnlyReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, inventory)
	b := w.backUp("shop")
	w.cloud.Faults().Forget()
	for _, o := range []plan.Options{
		{Overwrite: true}, {As: "copy"}, {As: "copy", Overrides: plan.Overrides{VDC: "spare"}}, {Overrides: plan.Overrides{Org: "globex", VDC: "prod"}},
		{VMs: []string{"web"}}, {VMs: []string{"db"}, Beside: true}, {ConfigOnly: true},
	} {
		if _, err := w.plan(b, o); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	reads := []string{"RetrieveProperties", "RetrievePropertiesEx", "ContinueRetrievePropertiesEx", "CreateContainerView", "DestroyView", "Login", "SessionIsActive", "CurrentTime", "RetrieveServiceContent"}
	seen := 0
	for _, c := range w.cloud.Faults().Calls(fault.Rule{}, 0) {
		seen++
		method, _, _ := strings.Cut(c.Operation, " ")
		if method != http.MethodGet && !slices.Contains(reads, method) {
			t.Errorf("planning called %s %s", c.Operation, c.Object)
		}
	}
	if seen < 50 {
		t.Errorf("the log has only %d calls", seen)
	}
}

func TestAPlanIsTheSameWhenNothingHasChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, inventory)
	b := w.backUp("shop")
	for _, o := range []plan.Options{{Overwrite: true}, {As: "copy", Overrides: plan.Overrides{Org: "globex", VDC: "prod", Owner: "wile"}}} {
		first, err := w.plan(b, o)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			again, err := w.plan(b, o)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := json.Marshal(again); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%v\n%s\n%s", err, got, want)
			}
		}
	}
}

func TestASavedPlanHoldsWhileNothingThatMattersHasChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, inventory)
	b := w.backUp("shop")
	o := plan.Options{As: "copy", Overrides: plan.Overrides{Lease: &plan.Lease{Deployment: "1d"}}}
	p, err := w.plan(b, o)
	if err != nil || p.Refused() != nil {
		t.Fatal(err, p.Refused())
	}
	raw, err := p.Save()
	if err != nil {
		t.Fatal(err)
	}
	saved, err := plan.ParseFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	if saved.Point != b.point.ID || saved.Options.As != "copy" || saved.Options.Overrides.Lease.Deployment != "1d" {
		t.Errorf("got %+v", saved)
	}
	again := func() error {
		t.Helper()
		p, err := w.plan(b, saved.Options)
		if err != nil {
			t.Fatal(err)
		}
		return saved.Check(p)
	}
	vdc := w.vcd.Href(w.find("other").VDCID)
	// Another vApp, and less room on a datastore: neither is of any concern.
	w.do(http.MethodPost, vdc+"/action/composeVApp", "application/vnd.vmware.vcloud.composeVAppParams+xml",
		`<ComposeVAppParams xmlns="http://www.vmware.com/vcloud/v1.5" name="yet-another" deploy="false" powerOn="false"/>`)
	if err := w.cloud.FillDatastore("ds1", 100<<30); err != nil {
		t.Fatal(err)
	}
	if err := again(); err != nil {
		t.Errorf("something that does not matter: %v", err)
	}
	// A datastore without any room is.
	if err := w.cloud.FillDatastore("ds1", 1<<40); err != nil {
		t.Fatal(err)
	}
	err = again()
	if !errors.Is(err, plan.ErrConflict) || !strings.Contains(fmt.Sprint(err), `was "ds1", is "ds2"`) {
		t.Errorf("a full datastore: %v", err)
	}
}

func TestAPlanFileThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "{}", "[]", `{"version": 2, "point": "x", "plan": {}}`, `{"version": 1, "plan": {}}`, `{"version": 1, "point": "x", "options": {"overrides": {"ip": "x"}}, "plan": {}}`} {
		if f, err := plan.ParseFile([]byte(raw)); err == nil {
			t.Errorf("%q gives %+v", raw, f)
		}
	}
}

func FuzzPlanFile(f *testing.F) {
	f.Add([]byte(`{"version": 1, "point": "x", "options": {"as": "y"}, "plan": {"vms": [{"name": "a"}, {"name": "a"}], "conflicts": [{"kind": "k"}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := plan.ParseFile(raw)
		if err != nil {
			return
		}
		if err := file.Check(&plan.Plan{}); err == nil && !bytes.Contains(raw, []byte("mode")) {
			t.Errorf("%q is the plan of nothing", raw)
		}
	})
}

func FuzzOverrides(f *testing.F) {
	f.Add([]byte("networks: {a: b}\nvms: {x: {nics: {0: {ip: 10.0.0.1}}}}\nlease: {deployment: 7d, storage: never}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := plan.ParseOverrides(raw)
		if err != nil {
			return
		}
		if err := o.Check(); err != nil {
			t.Errorf("%q was taken: %v", raw, err)
		}
		if err := (plan.Overrides{}).Merge(o).Check(); err != nil {
			t.Errorf("%q merged: %v", raw, err)
		}
	})
}
