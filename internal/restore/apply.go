package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// apply gives the restored vApp everything that its documents say, in an
// order in which each part finds what it refers to: networks, then NICs,
// then the rules that name VMs, then the rest.
func (r *run) apply(ctx context.Context) error {
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"apply networks", func(ctx context.Context) error { return r.applyNetworks(ctx, false) }},
		{"apply VM settings", r.applyVMs},
		{"attach named disks", r.applyNamed},
		{"insert media", r.insertMedia},
		{"apply network rules", func(ctx context.Context) error { return r.applyNetworks(ctx, true) }},
		{"apply name, startup order, lease, product sections", r.applyVApp},
		{"apply metadata", r.applyMetadata},
		{"apply security tags", r.applyTags},
		{"apply quota policy", r.applyQuota},
		{"apply owner and access", r.applyAccess},
	} {
		if err := r.step(ctx, s.name, s.do); err != nil {
			return err
		}
		r.did(s.name)
	}
	return nil
}

// description of the vApp in the restore point.
func (r *run) description() string { return r.docText("vcd/vapp.xml", "Description") }

func (r *run) vmDescription(vm *restorepoint.VM) string {
	return r.docText(vmPath(vm.ID, "vm.xml"), "Description")
}

func (r *run) guestName(vm *restorepoint.VM) string {
	return r.docText(vmPath(vm.ID, "guestCustomizationSection.xml"), "ComputerName")
}

func (r *run) docText(path string, element ...string) string {
	doc, err := r.docs.Tree(path)
	if err != nil || doc == nil {
		return "" // loadDocuments and Compare report what cannot be parsed
	}
	return document.Text(doc.Root(), element...)
}

func vmPath(id, name string) string { return "vcd/vms/" + restorepoint.UUID(id) + "/" + name }

func (r *run) applyNetworks(ctx context.Context, rules bool) error {
	if !rules && !r.plan.InPlace() && !r.plan.Standalone {
		return nil // the import brought them; that of a standalone VM takes none
	}
	doc, err := r.networkConfig(rules)
	if err != nil || doc == nil {
		return err
	}
	return r.put(ctx, r.vapp.Href+"/networkConfigSection/", vcd.TypeNetworkConfig, doc)
}

// put sends an edited section and waits for its task.
func (r *run) put(ctx context.Context, href, mediaType string, doc *etree.Document) error {
	root := doc.Root()
	document.Strip(root, "Link")
	setAttributeIf(root, "href", href)
	body, err := document.Encode(doc)
	if err != nil {
		return err
	}
	return r.VCD.PutSection(ctx, href, mediaType, body)
}

func setAttributeIf(e *etree.Element, local, value string) {
	if document.Attribute(e, local) != "" {
		document.SetAttribute(e, local, value)
	}
}

// applyVMs sets what an import does not bring: names, NICs, guest
// customization.
func (r *run) applyVMs(ctx context.Context) error {
	for i := range r.result.VMs {
		res := &r.result.VMs[i]
		vm := r.pointVM(res.OldID)
		if vm == nil {
			continue
		}
		if err := r.applyVM(ctx, vm, res); err != nil {
			return fmt.Errorf("vm %s: %w", res.Name, err)
		}
	}
	return nil
}

func (r *run) pointVM(id string) *restorepoint.VM {
	for i := range r.point.VMs {
		if r.point.VMs[i].ID == id {
			return &r.point.VMs[i]
		}
	}
	return nil
}

func (r *run) applyVM(ctx context.Context, vm *restorepoint.VM, res *VMResult) error {
	href := r.VCD.Href(res.NewID)
	if err := r.putBackHardware(ctx, vm); err != nil {
		return err
	}
	if err := r.reconfigure(ctx, vm, href); err != nil {
		return fmt.Errorf("reconfigure: %w", err)
	}
	if err := r.applyTPM(ctx, vm, href); err != nil {
		return fmt.Errorf("virtual TPM: %w", err)
	}
	if err := r.applyNICs(ctx, vm, href); err != nil {
		return err
	}
	if err := r.applyGuest(ctx, vm, href); err != nil {
		return err
	}
	return r.putProducts(ctx, vmPath(vm.ID, "productSections.xml"), href)
}

func (r *run) applyGuest(ctx context.Context, vm *restorepoint.VM, href string) error {
	guest, err := r.docs.Tree(vmPath(vm.ID, "guestCustomizationSection.xml"))
	if err != nil || guest == nil {
		return err
	}
	document.Strip(guest.Root(), "VirtualMachineId")
	if err := r.put(ctx, href+"/guestCustomizationSection/", vcd.TypeGuestCustomization, guest); err != nil {
		return fmt.Errorf("guest customization: %w", err)
	}
	return nil
}

// reconfigured lists the parts of a Vm document that reconfigureVm sets here,
// beside its name and description.
var reconfigured = []string{"Description", "VmCapabilities", "BootOptions", "StorageProfile", "ComputePolicy"}

// reconfigure sends name, description, capabilities and storage profiles.
// Hardware came with the VM itself.
func (r *run) reconfigure(ctx context.Context, vm *restorepoint.VM, href string) error {
	doc, err := r.docs.Tree(vmPath(vm.ID, "vm.xml"))
	if err != nil || doc == nil {
		return err
	}
	root := doc.Root()
	for _, c := range root.ChildElements() {
		if !slices.Contains(reconfigured, c.Tag) {
			root.RemoveChild(c)
		}
	}
	bareVM(root)
	document.Strip(root, "Link")
	for _, c := range root.ChildElements() {
		if c.Tag != "StorageProfile" {
			document.RemoveAttribute(c, "href")
			document.RemoveAttribute(c, "type")
		}
	}
	r.mapProfile(root)
	body, err := document.Encode(doc)
	if err != nil {
		return err
	}
	if err := r.VCD.ReconfigureVM(ctx, href, body); err != nil {
		return err
	}
	if err := r.applyDiskProfiles(ctx, vm, href); err != nil {
		return fmt.Errorf("storage profiles of its disks: %w", err)
	}
	return nil
}

// mapProfile points the VM to the storage profile that bears the name now.
func (r *run) mapProfile(root *etree.Element) {
	profile := document.Find(root, "StorageProfile")
	if profile == nil {
		return
	}
	href := r.plan.Profiles[document.Attribute(profile, "name")]
	if href == "" {
		root.RemoveChild(profile)
		return
	}
	document.SetAttribute(profile, "href", href)
	document.RemoveAttribute(profile, "id")
}

// applyDiskProfiles gives the disks of the restore point their storage
// profiles. It edits the specification that the VM has now: vCD deletes disks
// that a specification leaves out, and the VM may have some that the point
// does not know.
func (r *run) applyDiskProfiles(ctx context.Context, vm *restorepoint.VM, href string) error {
	was, err := r.docs.Tree(vmPath(vm.ID, "vm.xml"))
	if err != nil || was == nil {
		return err
	}
	doc, err := r.VCD.Get(ctx, href)
	if err != nil {
		return err
	}
	now, err := document.Parse(doc.Raw)
	if err != nil {
		return err
	}
	spec := document.Find(now.Root(), "VmSpecSection")
	if spec == nil {
		return nil
	}
	changed := r.setProfiles(document.Descend(was.Root(), "VmSpecSection", "DiskSection"), document.Find(spec, "DiskSection"))
	if r.overwritten(vm.ID) != nil {
		changed = setHardware(document.Find(was.Root(), "VmSpecSection"), spec) || changed
	}
	if !changed {
		return nil
	}
	return r.sendSpec(ctx, href, now)
}

// sendSpec sends the specification of a VM's document, and nothing else of it.
func (r *run) sendSpec(ctx context.Context, href string, now *etree.Document) error {
	spec := document.Find(now.Root(), "VmSpecSection")
	root := now.Root()
	for _, c := range root.ChildElements() {
		if c != spec {
			root.RemoveChild(c)
		}
	}
	bareVM(root)
	document.RemoveAttribute(spec, "href")
	document.RemoveAttribute(spec, "type")
	document.SetAttribute(spec, "Modified", "true")
	document.Strip(spec, "MediaSection")
	body, err := document.Encode(now)
	if err != nil {
		return err
	}
	return r.VCD.ReconfigureVM(ctx, href, body)
}

// setProfiles copies profiles from one disk section to another, by the ids of
// the disks, and tells whether anything changed.
func (r *run) setProfiles(from, to *etree.Element) bool {
	if from == nil || to == nil {
		return false
	}
	changed := false
	for _, want := range document.FindAll(from, "DiskSettings") {
		profile := document.Find(want, "StorageProfile")
		for _, got := range document.FindAll(to, "DiskSettings") {
			now, override := document.Find(got, "StorageProfile"), document.Find(got, "overrideVmDefault")
			if profile == nil || now == nil || override == nil || document.Text(got, "DiskId") != document.Text(want, "DiskId") {
				continue
			}
			name, own := document.Attribute(profile, "name"), document.Text(want, "overrideVmDefault")
			href := r.plan.Profiles[name]
			if href == "" || document.Attribute(now, "name") == name && override.Text() == own {
				continue
			}
			document.SetAttribute(now, "href", href)
			document.SetAttribute(now, "name", name)
			document.RemoveAttribute(now, "id")
			override.SetText(own)
			changed = true
		}
	}
	return changed
}

// bareVM takes from a Vm document what says which VM it is and how it is.
func bareVM(root *etree.Element) {
	for _, a := range []string{"href", "id", "status", "deployed", "needsCustomization", "nestedHypervisorEnabled", "operationKey", "type"} {
		document.RemoveAttribute(root, a)
	}
}

// putProducts sends product sections where the point has any.
func (r *run) putProducts(ctx context.Context, path, href string) error {
	doc, err := r.docs.Tree(path)
	if err != nil || doc == nil {
		return err
	}
	if len(document.FindAll(doc.Root(), "ProductSection")) == 0 && !r.plan.InPlace() {
		return nil
	}
	if err := r.put(ctx, href+"/productSections/", vcd.TypeProductSections, doc); err != nil {
		return fmt.Errorf("product sections: %w", err)
	}
	return nil
}

// applyVApp sets what the vApp itself says.
func (r *run) applyVApp(ctx context.Context) error {
	if r.vapp.Name != r.plan.VAppName || r.vapp.Description != r.description() {
		if err := r.rename(ctx); err != nil {
			return fmt.Errorf("name and description: %w", err)
		}
	}
	if err := r.applyStartup(ctx); err != nil {
		return err
	}
	if err := r.applyLease(ctx); err != nil {
		return err
	}
	return r.putProducts(ctx, "vcd/productSections.xml", r.vapp.Href)
}

func (r *run) applyStartup(ctx context.Context) error {
	return r.applySection(ctx, "startupSection", vcd.TypeStartup)
}

func (r *run) applyLease(ctx context.Context) error {
	return r.applySection(ctx, "leaseSettingsSection", vcd.TypeLeaseSettings)
}

func (r *run) applySection(ctx context.Context, name, mediaType string) error {
	doc, err := r.docs.Tree("vcd/" + name + ".xml")
	if err != nil || doc == nil {
		return err
	}
	document.Strip(doc.Root(), "DeploymentLeaseExpiration", "StorageLeaseExpiration")
	r.dropStartup(doc.Root())
	if err := r.put(ctx, r.vapp.Href+"/"+name+"/", mediaType, doc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// applyMetadata makes the metadata of the vApp and its VMs what it was. Our
// own marks are no part of it.
func (r *run) applyMetadata(ctx context.Context) error {
	if err := r.setMetadata(ctx, "vcd/metadata.xml", r.vapp.Href); err != nil {
		return err
	}
	for _, res := range r.result.VMs {
		if err := r.setMetadata(ctx, vmPath(res.OldID, "metadata.xml"), r.VCD.Href(res.NewID)); err != nil {
			return fmt.Errorf("vm %s: %w", res.Name, err)
		}
	}
	return nil
}

func (r *run) setMetadata(ctx context.Context, path, href string) error {
	raw, ok := r.docs[path]
	if !ok {
		return nil
	}
	want, err := vcd.ParseMetadata(raw)
	if err != nil {
		return fmt.Errorf("document %s: %w", path, err)
	}
	now, err := r.VCD.Metadata(ctx, href)
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	for _, e := range now {
		same := func(w vcd.MetadataEntry) bool { return w.Key == e.Key && w.Domain == e.Domain }
		if strings.HasPrefix(e.Key, mark.MetadataPrefix) || slices.ContainsFunc(want, same) {
			continue
		}
		if err := r.VCD.DeleteMetadata(ctx, href, e.Domain, e.Key); err != nil {
			return fmt.Errorf("delete metadata %s: %w", e.Key, err)
		}
	}
	for _, e := range want {
		if slices.Contains(now, e) {
			continue
		}
		if err := r.VCD.SetMetadata(ctx, href, e); err != nil {
			return fmt.Errorf("set metadata %s: %w", e.Key, err)
		}
	}
	return nil
}

// rename sets the name and description of the vApp.
func (r *run) rename(ctx context.Context) error {
	doc := etree.NewDocument()
	root := doc.CreateElement("VApp")
	root.CreateAttr("xmlns", vcloudNamespace)
	root.CreateAttr("name", r.plan.VAppName)
	root.CreateElement("Description").SetText(r.description())
	body, err := document.Encode(doc)
	if err != nil {
		return err
	}
	return r.VCD.PutSection(ctx, r.vapp.Href, vcd.TypeVApp, body)
}

const vcloudNamespace = "http://www.vmware.com/vcloud/v1.5"
