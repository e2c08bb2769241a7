package plan_test

import (
	"slices"
	"testing"

	"github.com/vappvault/vappvault/internal/plan"
)

func TestANICOfASingleVMCanBeOverridden(t *testing.T) {
	t.Parallel()
	w := newWorld(t, inventory)
	b := w.backUp("shop")
	p, err := w.plan(b, plan.Options{VMs: []string{"db"}, Overrides: plan.Overrides{VMs: map[string]plan.VMOverrides{
		"db": {NICs: map[string]plan.NICOverride{"0": {Network: "back", IP: "192.168.9.16"}}},
	}}})
	if err != nil || p.Refused() != nil {
		t.Fatal(err, p.Refused())
	}
	i := slices.IndexFunc(p.VMs, func(vm plan.VM) bool { return vm.Name == "db" })
	if n := p.VMs[i].NICs[0]; n.Network != "back" || n.IP != "192.168.9.16" || n.Mode != "MANUAL" || n.Fate() != "keep 192.168.9.16, manual" {
		t.Errorf("got %+v", n)
	}
	docs, reasons, err := p.Rewrite(b.docs)
	if err != nil {
		t.Fatal(err)
	}
	path := "vcd/vms/" + p.VMs[i].VM.ID[len("urn:vcloud:vm:"):] + "/networkConnectionSection.xml"
	field := "/NetworkConnectionSection/NetworkConnection[0]/@network"
	if want := "by override --nic db:0=back"; reasons[path][field] != want {
		t.Errorf("got %v", reasons[path])
	}
	if docs.Attribute(path, "network", "NetworkConnection") != "back" || b.docs.Attribute(path, "network", "NetworkConnection") != "lan" {
		t.Error("the restore point's own document has changed, or the other has not")
	}
}

func TestWithoutOverridesNothingIsRewritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, inventory)
	b := w.backUp("shop")
	p, err := w.plan(b, plan.Options{Overwrite: true})
	if err != nil || p.Refused() != nil {
		t.Fatal(err, p.Refused())
	}
	_, reasons, err := p.Rewrite(b.docs)
	if err != nil || len(p.Conflicts) > 0 {
		t.Errorf("%v; conflicts: %+v", err, p.Conflicts)
	}
	for path, fields := range reasons {
		if len(fields) > 0 {
			t.Errorf("%s: %v", path, fields)
		}
	}
}
