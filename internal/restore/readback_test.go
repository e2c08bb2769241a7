package restore

import (
	"testing"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

func TestADiskThatIsLeftOutIsSaidOnce(t *testing.T) {
	vm := &restorepoint.VM{Ref: restorepoint.Ref{ID: "urn:vcloud:vm:1", Name: "web"}}
	named := func(action string) plan.NamedDisk {
		return plan.NamedDisk{Ref: restorepoint.Ref{Name: "data"}, Key: 2001, Action: action}
	}
	for _, tc := range []struct {
		name, action, doc, field, got string
		want                          string
	}{
		{"its item", plan.NamedLeave, "vcd/vms/1/vm.xml", "/Vm/VirtualHardwareSection/Item[2001]/ElementName", "", "named disk data is left out, as planned"},
		{"its settings", plan.NamedLeave, "vcd/vms/1/vm.xml", "/Vm/VmSpecSection/DiskSection/DiskSettings[2001]/SizeMb", "", "named disk data is left out, as planned"},
		{"another disk", plan.NamedLeave, "vcd/vms/1/vm.xml", "/Vm/VirtualHardwareSection/Item[2000]/ElementName", "", ""},
		{"another VM's", plan.NamedLeave, "vcd/vms/2/vm.xml", "/Vm/VirtualHardwareSection/Item[2001]/ElementName", "", ""},
		{"something in its place", plan.NamedLeave, "vcd/vms/1/vm.xml", "/Vm/VirtualHardwareSection/Item[2001]/ElementName", "Hard disk 2", ""},
		{"one that was to come back", plan.NamedAttach, "vcd/vms/1/vm.xml", "/Vm/VirtualHardwareSection/Item[2001]/ElementName", "", ""},
	} {
		r := &run{plan: &plan.Plan{VMs: []plan.VM{{VM: vm, Named: []plan.NamedDisk{named(tc.action)}}}}}
		if got := r.withoutDisk(&document.Difference{Document: tc.doc, Field: tc.field, Want: "x", Got: tc.got}); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestAVMWithoutItsTPMIsALoss(t *testing.T) {
	vm := &restorepoint.VM{Ref: restorepoint.Ref{ID: "urn:vcloud:vm:1", Name: "web"}}
	p := &plan.Plan{
		VMs: []plan.VM{{Name: "web-2", VM: vm}, {Name: "db", VM: &restorepoint.VM{Ref: restorepoint.Ref{ID: "urn:vcloud:vm:2"}}}},
		Conflicts: []plan.Conflict{
			{Kind: plan.KindTPM, Object: "vm db", Resolution: "give it a blank one"}, {Kind: plan.KindTPM, Object: "vm web-2", Resolution: "give it a blank one"},
		},
	}
	r := &run{plan: p}
	r.lost(vm)
	if p.Conflicts[0].Loss || !p.Conflicts[1].Loss || !(&Result{Plan: p}).Incomplete() {
		t.Errorf("%+v", p.Conflicts)
	}
}
