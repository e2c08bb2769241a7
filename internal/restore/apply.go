package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/beevik/etree"

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
		{"apply network rules", func(ctx context.Context) error { return r.applyNetworks(ctx, true) }},
		{"apply name, startup order, lease, product sections", r.applyVApp},
		{"apply metadata", r.applyMetadata},
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
	doc, err := r.docs.tree(path)
	if err != nil || doc == nil {
		return "" // loadDocuments and Compare report what cannot be parsed
	}
	return text(doc.Root(), element...)
}

func vmPath(id, name string) string { return "vcd/vms/" + restorepoint.UUID(id) + "/" + name }

// networkConfig returns the NetworkConfigSection to send. Without rules it
// leaves out the services, whose NAT rules name VMs that may not exist yet.
func (r *run) networkConfig(rules bool) (*etree.Document, error) {
	doc, err := r.docs.tree("vcd/networkConfigSection.xml")
	if err != nil || doc == nil {
		return nil, err
	}
	root := doc.Root()
	// RouterInfo and IsDeployed are the server's to tell.
	strip(root, "Link", "RouterInfo", "IsDeployed")
	for _, c := range findAll(root, "NetworkConfig") {
		if attribute(c, "networkName") == "none" {
			root.RemoveChild(c) // vCD's own stand-in for "not connected"
			continue
		}
		removeAttribute(c, "href")
		removeAttribute(c, "id")
		configuration := find(c, "Configuration")
		if configuration == nil {
			continue
		}
		if parent := find(configuration, "ParentNetwork"); parent != nil {
			setAttribute(parent, "href", r.plan.Networks[attribute(parent, "name")])
			removeAttribute(parent, "id")
		}
		if !rules {
			if features := find(configuration, "Features"); features != nil {
				configuration.RemoveChild(features)
			}
		}
	}
	return doc, nil
}

// bareNetworks is the section for the import: networks without rules.
func (r *run) bareNetworks() ([]byte, error) {
	doc, err := r.networkConfig(false)
	if err != nil || doc == nil {
		return nil, err
	}
	removeAttribute(doc.Root(), "href")
	removeAttribute(doc.Root(), "type")
	out := standalone(doc.Root())
	out.Child = slices.DeleteFunc(out.Child, func(t etree.Token) bool { _, is := t.(*etree.ProcInst); return is })
	return encode(out)
}

func (r *run) applyNetworks(ctx context.Context, rules bool) error {
	if !rules && r.plan.Mode != ModeOverwrite {
		return nil // the import brought them
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
	strip(root, "Link")
	setAttributeIf(root, "href", href)
	body, err := encode(doc)
	if err != nil {
		return err
	}
	return r.VCD.PutSection(ctx, href, mediaType, body)
}

func setAttributeIf(e *etree.Element, local, value string) {
	if attribute(e, local) != "" {
		setAttribute(e, local, value)
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
	if err := r.reconfigure(ctx, vm, href); err != nil {
		return fmt.Errorf("reconfigure: %w", err)
	}
	if err := r.applyNICs(ctx, vm, href); err != nil {
		return err
	}
	guest, err := r.docs.tree(vmPath(vm.ID, "guestCustomizationSection.xml"))
	if err != nil {
		return err
	}
	if guest != nil {
		strip(guest.Root(), "VirtualMachineId")
		if err := r.put(ctx, href+"/guestCustomizationSection/", vcd.TypeGuestCustomization, guest); err != nil {
			return fmt.Errorf("guest customization: %w", err)
		}
	}
	return r.putProducts(ctx, vmPath(vm.ID, "productSections.xml"), href)
}

// reconfigured lists the parts of a Vm document that reconfigureVm sets here,
// beside its name and description.
var reconfigured = []string{"Description", "VmCapabilities", "BootOptions", "VmSpecSection", "StorageProfile"}

// reconfigure sends name, description, capabilities and storage profiles.
// Hardware came with the VM itself.
func (r *run) reconfigure(ctx context.Context, vm *restorepoint.VM, href string) error {
	doc, err := r.docs.tree(vmPath(vm.ID, "vm.xml"))
	if err != nil || doc == nil {
		return err
	}
	root := doc.Root()
	for _, c := range root.ChildElements() {
		if !slices.Contains(reconfigured, c.Tag) {
			root.RemoveChild(c)
		}
	}
	for _, a := range []string{"href", "id", "status", "deployed", "needsCustomization", "nestedHypervisorEnabled", "operationKey", "type"} {
		removeAttribute(root, a)
	}
	strip(root, "Link")
	for _, c := range root.ChildElements() {
		if c.Tag != "StorageProfile" {
			removeAttribute(c, "href")
			removeAttribute(c, "type")
		}
	}
	r.mapProfiles(root)
	body, err := encode(doc)
	if err != nil {
		return err
	}
	return r.VCD.ReconfigureVM(ctx, href, body)
}

// mapProfiles points the VM and its disks to the storage profiles that bear
// the names now. The specification is sent only where a disk has a profile
// of its own; of it, only what no other section says.
func (r *run) mapProfiles(root *etree.Element) {
	if profile := find(root, "StorageProfile"); profile != nil {
		if href := r.plan.profiles[attribute(profile, "name")]; href != "" {
			setAttribute(profile, "href", href)
			removeAttribute(profile, "id")
		} else {
			root.RemoveChild(profile)
		}
	}
	spec := find(root, "VmSpecSection")
	if spec == nil {
		return
	}
	own := false
	if disks := find(spec, "DiskSection"); disks != nil {
		for _, d := range findAll(disks, "DiskSettings") {
			profile := find(d, "StorageProfile")
			if profile == nil {
				continue
			}
			own = own || text(d, "overrideVmDefault") == "true"
			if href := r.plan.profiles[attribute(profile, "name")]; href != "" {
				setAttribute(profile, "href", href)
				removeAttribute(profile, "id")
			} else {
				d.RemoveChild(profile)
			}
		}
	}
	if !own {
		root.RemoveChild(spec)
		return
	}
	setAttribute(spec, "Modified", "true")
	strip(spec, "MediaSection")
	if version := find(spec, "HardwareVersion"); version != nil {
		vdc := restorepoint.UUID(r.plan.VDC.ID)
		setAttribute(version, "href", r.VCD.SiteURL()+"/api/vdc/"+vdc+"/hwv/"+version.Text())
	}
}

// applyNICs connects the NICs. A NIC in POOL mode cannot ask for its address;
// where vCD gives another one and the address is to be kept, it becomes
// MANUAL with its own.
func (r *run) applyNICs(ctx context.Context, vm *restorepoint.VM, href string) error {
	const section = "networkConnectionSection.xml"
	want, err := r.docs.tree(vmPath(vm.ID, section))
	if err != nil || want == nil {
		return err
	}
	if r.plan.MAC == MACNew {
		for _, nic := range findAll(want.Root(), "NetworkConnection") {
			if mac := find(nic, "MACAddress"); mac != nil {
				nic.RemoveChild(mac)
			}
		}
	}
	href += "/networkConnectionSection/"
	if err := r.put(ctx, href, vcd.TypeNetworkConnection, want); err != nil {
		return fmt.Errorf("connect NICs: %w", err)
	}
	if r.plan.IP != IPKeep {
		return nil
	}
	now, err := r.VCD.Get(ctx, href)
	if err != nil {
		return fmt.Errorf("read NICs back: %w", err)
	}
	got, err := parse(now.Raw)
	if err != nil {
		return fmt.Errorf("read NICs back: %w", err)
	}
	if !r.pinAddresses(vm.Name, want.Root(), got.Root()) {
		return nil
	}
	if err := r.put(ctx, href, vcd.TypeNetworkConnection, want); err != nil {
		return fmt.Errorf("give NICs their addresses: %w", err)
	}
	return nil
}

// pinAddresses makes each POOL NIC that came back with another address
// MANUAL, and tells whether there was one.
func (r *run) pinAddresses(vm string, want, got *etree.Element) bool {
	pinned := false
	for _, nic := range findAll(want, "NetworkConnection") {
		mode, ip := find(nic, "IpAddressAllocationMode"), text(nic, "IpAddress")
		if mode == nil || mode.Text() != "POOL" || ip == "" {
			continue
		}
		index := text(nic, "NetworkConnectionIndex")
		for _, g := range findAll(got, "NetworkConnection") {
			if text(g, "NetworkConnectionIndex") == index && text(g, "IpAddress") != ip {
				mode.SetText("MANUAL")
				r.warn(vm, fmt.Sprintf("NIC %s: the pool gave another address, %s is kept as MANUAL", index, ip))
				pinned = true
			}
		}
	}
	return pinned
}

// putProducts sends product sections where the point has any.
func (r *run) putProducts(ctx context.Context, path, href string) error {
	doc, err := r.docs.tree(path)
	if err != nil || doc == nil {
		return err
	}
	if len(findAll(doc.Root(), "ProductSection")) == 0 && r.plan.Mode != ModeOverwrite {
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
	for _, s := range []struct{ name, mediaType string }{
		{"startupSection", vcd.TypeStartup},
		{"leaseSettingsSection", vcd.TypeLeaseSettings},
	} {
		doc, err := r.docs.tree("vcd/" + s.name + ".xml")
		if err != nil {
			return err
		}
		if doc == nil {
			continue
		}
		strip(doc.Root(), "DeploymentLeaseExpiration", "StorageLeaseExpiration")
		if err := r.put(ctx, r.vapp.Href+"/"+s.name+"/", s.mediaType, doc); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return r.putProducts(ctx, "vcd/productSections.xml", r.vapp.Href)
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

// applyAccess sets the owner and the access list; last, because the owner
// may be one who must not write the rest.
func (r *run) applyAccess(ctx context.Context) error {
	if r.plan.Owner.Href != "" && r.vapp.Owner.Name != r.plan.Owner.Name {
		if err := r.VCD.SetOwner(ctx, r.vapp.Href, r.plan.Owner.Href); err != nil {
			return fmt.Errorf("owner %s: %w", r.plan.Owner.Name, err)
		}
	}
	doc, err := r.docs.tree("vcd/controlAccess.xml")
	if err != nil || doc == nil {
		return err
	}
	if err := r.mapSubjects(ctx, doc.Root()); err != nil {
		return err
	}
	strip(doc.Root(), "Link")
	removeAttribute(doc.Root(), "href")
	removeAttribute(doc.Root(), "type")
	body, err := encode(doc)
	if err != nil {
		return err
	}
	if err := r.VCD.SetControlAccess(ctx, r.vapp.Href, body); err != nil {
		return fmt.Errorf("access list: %w", err)
	}
	return nil
}

// mapSubjects points the entries of an access list to the users that bear
// the names now; an entry whose user is gone is left out, and said.
func (r *run) mapSubjects(ctx context.Context, root *etree.Element) error {
	settings := find(root, "AccessSettings")
	if settings == nil {
		return nil
	}
	for _, s := range findAll(settings, "AccessSetting") {
		subject := find(s, "Subject")
		if subject == nil {
			continue
		}
		if !strings.Contains(attribute(subject, "href"), "/user/") {
			continue // a group or an org: vCD knows it by its id
		}
		name := attribute(subject, "name")
		user, err := r.VCD.UserByName(ctx, r.plan.Org.ID, name)
		if errors.Is(err, vcd.ErrNoUser) {
			r.warn("", fmt.Sprintf("user %s is gone, and so is the access of that user", name))
			settings.RemoveChild(s)
			continue
		}
		if err != nil {
			return fmt.Errorf("user %s: %w", name, err)
		}
		setAttribute(subject, "href", user.Href)
		removeAttribute(subject, "id")
	}
	if len(settings.ChildElements()) == 0 {
		root.RemoveChild(settings)
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
	body, err := encode(doc)
	if err != nil {
		return err
	}
	return r.VCD.PutSection(ctx, r.vapp.Href, vcd.TypeVApp, body)
}

const vcloudNamespace = "http://www.vmware.com/vcloud/v1.5"
