package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// nics are what the plan makes of the NICs of a VM of the restore point.
func (r *run) nics(vm *restorepoint.VM) []plan.NIC {
	for _, vp := range r.plan.VMs {
		if vp.VM != nil && vp.VM.ID == vm.ID {
			return vp.NICs
		}
	}
	return nil
}

// newMACs are the addresses of a VM's NICs that get others.
func (r *run) newMACs(vp *plan.VM) map[string]bool {
	out := map[string]bool{}
	doc, err := r.was.Tree(vmPath(vp.VM.ID, "networkConnectionSection.xml"))
	if err != nil || doc == nil {
		return out
	}
	for _, nic := range document.FindAll(doc.Root(), "NetworkConnection") {
		mac := strings.ToLower(document.Text(nic, "MACAddress"))
		for _, n := range vp.NICs {
			if fmt.Sprint(n.Index) == document.Text(nic, "NetworkConnectionIndex") && n.MAC != mac {
				out[mac] = true
			}
		}
	}
	return out
}

// differences compares a document of the restore point with what was read
// back. A field that is as the plan wanted it has the plan's reason; one that
// the plan wanted otherwise, and that is not so, has none.
func (r *run) differences(name string, got []byte) ([]document.Difference, error) {
	want := r.was[name]
	if want == nil {
		want = r.docs[name]
	}
	out, err := document.Compare(name, want, got)
	if err != nil || len(r.changes[name]) == 0 {
		return out, err
	}
	open, err := document.Compare(name, r.docs[name], got)
	if err != nil {
		return nil, err
	}
	at := func(list []document.Difference, field string) int {
		return slices.IndexFunc(list, func(d document.Difference) bool { return d.Field == field })
	}
	for i := range out {
		still := at(open, out[i].Field)
		// A policy that the plan leaves out is the VDC's default afterwards.
		left := still >= 0 && open[still].Want == "" && strings.Contains(out[i].Field, "/ComputePolicy/")
		if why := r.changes[name][out[i].Field]; why != "" && out[i].Reason == "" && (still < 0 || left) {
			out[i].Reason = why
		}
	}
	for _, d := range open {
		if d.Want != "" && at(out, d.Field) < 0 {
			out = append(out, d)
		}
	}
	return out, nil
}

// askedAddress is the reason for an address that the plan left to vCD.
func (r *run) askedAddress(d *document.Difference) string {
	for _, vp := range r.plan.VMs {
		if vp.VM == nil || !strings.HasPrefix(d.Document, "vcd/vms/"+restorepoint.UUID(vp.VM.ID)+"/") {
			continue
		}
		for _, n := range vp.NICs {
			section := strings.Contains(d.Field, fmt.Sprintf("/NetworkConnection[%d]/", n.Index))
			// The OVF numbers its items; NICs come first, from 1.
			hardware := strings.Contains(d.Field, fmt.Sprintf("/Item[%d]/", n.Index+1))
			switch {
			case !section && !hardware:
			case n.MAC == "" && (strings.HasSuffix(d.Field, "/MACAddress") || hardware && strings.HasSuffix(d.Field, "/Address")):
				return "it has a new MAC address"
			case n.IP == "" && (strings.HasSuffix(d.Field, "/IpAddress") || strings.HasSuffix(d.Field, "@ipAddress")):
				return "it has another address, as planned"
			}
		}
	}
	return ""
}

// inherited tells whether a field is one that a vApp network has from the
// organization network that it hangs from now.
func (r *run) inherited(d *document.Difference) bool {
	if !strings.Contains(d.Field, "/IpScopes/") {
		return false
	}
	for _, n := range r.plan.VAppNetworks {
		if n.Parent != n.Was && (strings.Contains(d.Field, "/NetworkConfig["+n.As+"]/") || strings.Contains(d.Field, "/NetworkConfig["+n.Name+"]/")) {
			return true
		}
	}
	return strings.HasPrefix(d.Document, "vcd/networks/") && len(r.changes[d.Document]) > 0
}
