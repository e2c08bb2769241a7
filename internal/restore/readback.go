package restore

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// uncompared are documents that describe the cloud around the vApp or that
// repeat what another document says.
var uncompared = []string{"vcd/context/", "vsphere/"}

// readBack captures the restored vApp and compares every document of the
// vApp and its VMs with the restore point's.
func (r *run) readBack(ctx context.Context) error {
	now, err := r.VCD.Capture(ctx, r.vapp.ID)
	if err != nil {
		return err
	}
	r.vapp = now.VApp
	networks, err := networksByName(now.Files)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.docs)) {
		if !comparable(name) || r.leftOut(name) {
			continue
		}
		got, ok := now.Files[r.renamed(name)]
		if strings.HasPrefix(name, "vcd/networks/") {
			got, ok, err = r.sameNetwork(name, networks)
			if err != nil {
				return err
			}
		}
		if !ok {
			r.result.Differences = append(r.result.Differences, document.Difference{Document: name, Field: "/", Want: "the document", Got: "none"})
			continue
		}
		if err := r.compare(name, got); err != nil {
			return err
		}
	}
	for i, vm := range now.VApp.VMs {
		if vm.NeedsCustomization {
			r.warn(now.VApp.VMs[i].Name, "the guest will be customized at its next power-on")
		}
	}
	return nil
}

func (r *run) compare(name string, got []byte) error {
	var err error
	if path.Base(name) == "metadata.xml" {
		if got, err = restorepoint.WithoutMetadata(got, mark.MetadataPrefix); err != nil {
			return fmt.Errorf("document %s: read back: %w", name, err)
		}
	}
	differences, err := r.differences(name, got)
	if err != nil {
		return err
	}
	r.result.Compared++
	for i := range differences {
		r.chosen(&differences[i])
	}
	r.result.Differences = append(r.result.Differences, differences...)
	return nil
}

// chosen gives a reason to differences that the operator asked for.
func (r *run) chosen(d *document.Difference) {
	switch {
	case d.Reason != "":
	case r.askedAddress(d) != "":
		d.Reason = r.askedAddress(d)
	case d.Field == "/VApp/autoNature" && r.point.Kind() == restorepoint.NatureDiscovered:
		d.Reason = "a restored VM is not discovered"
	case strings.HasSuffix(d.Field, "/TpmPresent") && d.Want == "true":
		d.Reason = "its keys are in no backup, and vCenter made no blank one"
	case r.emptyDrive(d):
		d.Reason = "its medium is gone, and the drive is empty"
	case r.inherited(d):
		d.Reason = "it hangs from another network now"
	case strings.Contains(d.Field, "/AllocatedIpAddresses"):
		d.Reason = "follows the addresses of the NICs"
	case r.withoutDisk(d) != "":
		d.Reason = r.withoutDisk(d)
	case r.extra(d) != "":
		d.Reason = r.extra(d)
	case r.plan.Beside && besideField(d.Field):
		d.Reason = "it stands beside the VM that it was"
	case r.plan.Mode == plan.ModeCopy && d.Document == "vcd/vapp.xml" && d.Field == "/VApp/@name":
		d.Reason = "a copy has its own name"
	case r.plan.MAC == plan.MACNew && (strings.HasSuffix(d.Field, "/MACAddress") || strings.Contains(d.Field, "/Item[") && strings.HasSuffix(d.Field, "/Address")):
		d.Reason = "new MAC addresses were asked for"
	case strings.Contains(d.Field, "IpAddressAllocationMode") && d.Want == "POOL" && d.Got == "MANUAL",
		strings.HasSuffix(d.Field, "@ipAddressingMode") && d.Want == "POOL" && d.Got == "MANUAL":
		d.Reason = "the address was kept, which POOL mode does not allow"
	case r.plan.IP == plan.IPPool && (strings.HasSuffix(d.Field, "/IpAddress") || strings.HasSuffix(d.Field, "@ipAddress")):
		d.Reason = "the pool gave another address, as asked for"
	case (d.Document == "vcd/vapp.xml" || d.Document == "vcd/owner.xml") && strings.Contains(d.Field, "Owner") && r.plan.Owner.Name == "":
		d.Reason = "the owner is gone"
	}
}

func comparable(name string) bool {
	if !strings.HasSuffix(name, ".xml") && !strings.HasSuffix(name, ".json") {
		return false
	}
	return !slices.ContainsFunc(uncompared, func(p string) bool { return strings.HasPrefix(name, p) })
}

// leftOut tells whether a document belongs to a VM that the plan leaves.
func (r *run) leftOut(name string) bool {
	if r.plan.Mode == plan.ModeVMs {
		return !r.ofSelected(name)
	}
	for _, vm := range r.plan.VMs {
		if vm.Action == plan.Leave && vm.VM != nil && strings.HasPrefix(name, "vcd/vms/"+restorepoint.UUID(vm.VM.ID)+"/") {
			return true
		}
	}
	return false
}

// networksByName finds the vApp networks' documents by the names they bear:
// their ids are new.
func networksByName(files map[string][]byte) (map[string][]byte, error) {
	out := map[string][]byte{}
	for name, raw := range files {
		if !strings.HasPrefix(name, "vcd/networks/") {
			continue
		}
		doc, err := document.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("document %s: %w", name, err)
		}
		out[document.Attribute(doc.Root(), "name")] = raw
	}
	return out, nil
}

func (r *run) sameNetwork(name string, live map[string][]byte) ([]byte, bool, error) {
	doc, err := r.docs.Tree(name)
	if err != nil {
		return nil, false, err
	}
	raw, ok := live[document.Attribute(doc.Root(), "name")]
	return raw, ok, nil
}

// withoutDisk tells of a field that it is of a named disk which the plan
// leaves out.
func (r *run) withoutDisk(d *document.Difference) string {
	for _, vp := range r.plan.VMs {
		if vp.VM == nil || d.Got != "" || !strings.HasPrefix(d.Document, "vcd/vms/"+restorepoint.UUID(vp.VM.ID)+"/") {
			continue
		}
		for _, named := range vp.Named {
			key := strconv.Itoa(int(named.Key))
			if named.Action == plan.NamedLeave && (document.InEntry(d.Field, "Item", key) || document.InEntry(d.Field, "DiskSettings", key)) {
				return "named disk " + named.Name + " is left out, as planned"
			}
		}
	}
	return ""
}

// extra tells of a field that it belongs to a VM or a disk which was added
// since.
func (r *run) extra(d *document.Difference) string {
	if d.Want == "" && r.ofExtraDisk(d) {
		return "the disk was added since, and is kept"
	}
	for _, vp := range r.plan.VMs {
		if vp.VM != nil || vp.Live == nil || d.Want != "" || !document.InEntry(d.Field, "Item", vp.Live.Name) {
			continue
		}
		if vp.Action == plan.Remove {
			return "the VM was added since, and is deleted once the rest is proven"
		}
		return "the VM was added since, and is kept"
	}
	return ""
}

func (r *run) ofExtraDisk(d *document.Difference) bool {
	for _, vp := range r.plan.VMs {
		if vp.VM == nil || !strings.HasPrefix(d.Document, vmPath(vp.VM.ID, "")) {
			continue
		}
		for _, key := range vp.Extra {
			id := strconv.Itoa(int(key))
			if document.InEntry(d.Field, "Item", id) || document.InEntry(d.Field, "DiskSettings", id) {
				return true
			}
		}
	}
	return false
}
