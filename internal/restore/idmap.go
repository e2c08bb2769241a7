package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/vcd"
)

// IDMapVersion is the version of the id map's format.
const IDMapVersion = 1

// An IDMap says by which id everything goes that a restore brought back, and
// by which it went before: for inventories, jobs and monitoring outside.
type IDMap struct {
	Version int      `json:"version"`
	VApps   []VAppID `json:"vapps"`
}

// A VAppID is the identity of a vApp and of what is in it.
type VAppID struct {
	Point      string          `json:"point"`
	Org        string          `json:"org"`
	VDC        string          `json:"vdc"`
	Name       string          `json:"name"`
	Was        string          `json:"was"` // its name in the restore point
	OldID      string          `json:"oldId"`
	NewID      string          `json:"newId"`
	Standalone bool            `json:"standalone,omitempty"` // the shell of a standalone VM
	VMs        []VMResult      `json:"vms"`
	Networks   []NetworkResult `json:"networks,omitempty"`
	Disks      []DiskResult    `json:"disks,omitempty"` // named ones
}

// A NetworkResult is the identity of a vApp network before and after.
type NetworkResult struct {
	Name   string `json:"name"`
	Was    string `json:"was"`
	Direct bool   `json:"direct,omitempty"` // bridged to an organization network
	OldID  string `json:"oldId"`
	NewID  string `json:"newId"`
}

// IDs returns the id map of restores.
func IDs(results []*Result) IDMap {
	out := IDMap{Version: IDMapVersion, VApps: []VAppID{}}
	for _, r := range results {
		if r == nil || r.Plan == nil || r.VAppID == "" {
			continue
		}
		out.VApps = append(out.VApps, VAppID{
			Point: r.Plan.Point.ID, Org: r.Plan.Org.Name, VDC: r.Plan.VDC.Name, Name: r.VAppName, Was: r.Plan.Point.VApp.Name,
			OldID: r.Plan.Point.VApp.ID, NewID: r.VAppID, Standalone: r.Plan.Standalone,
			VMs: r.VMs, Networks: r.Networks, Disks: r.Disks,
		})
	}
	return out
}

// noteNetworks records the ids of the vApp's networks.
func (r *run) noteNetworks() {
	old := map[string]string{}
	for path := range r.docs {
		if !strings.HasPrefix(path, "vcd/networks/") {
			continue
		}
		if doc, err := r.docs.Tree(path); err == nil && doc != nil {
			old[document.Attribute(doc.Root(), "name")] = "urn:vcloud:network:" + vcd.UUID(strings.TrimSuffix(path, ".xml"))
		}
	}
	for _, n := range r.vapp.Networks {
		if n.Href == "" {
			continue
		}
		was := n.Name
		for _, planned := range r.plan.VAppNetworks {
			if planned.As == n.Name {
				was = planned.Name
			}
		}
		// The documents bear the names that the plan gave the networks.
		id := old[n.Name]
		if id == "" {
			id = old[was]
		}
		r.result.Networks = append(r.result.Networks, NetworkResult{
			Name: n.Name, Was: was, Direct: n.FenceMode == "bridged", OldID: id, NewID: vcd.URN(n.Href),
		})
	}
}

// Terraform writes the id map as import blocks (Terraform 1.5) for the
// provider vmware/vcd, whose import ids are names joined by a separator. Where
// a name holds the usual one, another is used, and the provider has to be told.
func (m IDMap) Terraform() string {
	separator := m.separator()
	var b strings.Builder
	if separator != "." {
		fmt.Fprintf(&b, "# Names hold a dot: set import_separator = %q in provider \"vcd\".\n\n", separator)
	}
	taken := map[string]bool{}
	block := func(resource, name string, id ...string) {
		fmt.Fprintf(&b, "import {\n  to = %s.%s\n  id = %s\n}\n\n", resource, identifier(taken, resource, name), quoted(strings.Join(id, separator)))
	}
	for _, v := range m.VApps {
		if !v.Standalone {
			block("vcd_vapp", v.Name, v.Org, v.VDC, v.Name)
		}
		for _, n := range v.Networks {
			switch {
			case v.Standalone: // nobody sees those of a shell
			case n.Direct:
				block("vcd_vapp_org_network", v.Name+"_"+n.Name, v.Org, v.VDC, v.Name, n.Name)
			default:
				block("vcd_vapp_network", v.Name+"_"+n.Name, v.Org, v.VDC, v.Name, n.Name)
			}
		}
		for _, vm := range v.VMs {
			if v.Standalone {
				block("vcd_vm", vm.Name, v.Org, v.VDC, vm.NewID)
				continue
			}
			block("vcd_vapp_vm", v.Name+"_"+vm.Name, v.Org, v.VDC, v.Name, vm.Name)
		}
		for _, d := range v.Disks {
			block("vcd_independent_disk", d.Name, v.Org, v.VDC, d.NewID)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// separator is one that no name holds.
func (m IDMap) separator() string {
	var names []string
	for _, v := range m.VApps {
		names = append(names, v.Org, v.VDC, v.Name)
		for _, vm := range v.VMs {
			names = append(names, vm.Name)
		}
		for _, n := range v.Networks {
			names = append(names, n.Name)
		}
	}
	for _, s := range []string{".", "|", "#", ";", "~~", "||"} {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, s) }) {
			return s
		}
	}
	return "<>"
}

// identifier makes a name of a resource, unlike the others of its kind.
func identifier(taken map[string]bool, resource, name string) string {
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, name)
	if id == "" || id[0] >= '0' && id[0] <= '9' || id[0] == '-' {
		id = "_" + id
	}
	out := id
	for n := 2; taken[resource+"."+out]; n++ {
		out = fmt.Sprintf("%s_%d", id, n)
	}
	taken[resource+"."+out] = true
	return out
}

// quoted writes a string of the configuration language, in which ${ and %{
// begin templates.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		case (r == '$' || r == '%') && strings.HasPrefix(s[i+1:], "{"):
			b.WriteRune(r)
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
