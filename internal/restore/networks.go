package restore

import (
	"context"
	"fmt"
	"slices"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// networkConfig returns the NetworkConfigSection to send. Without rules it
// leaves out the services, whose NAT rules name VMs that may not exist yet.
func (r *run) networkConfig(rules bool) (*etree.Document, error) {
	doc, err := r.docs.Tree("vcd/networkConfigSection.xml")
	if err != nil || doc == nil {
		return nil, err
	}
	root := doc.Root()
	// RouterInfo and IsDeployed are the server's to tell.
	document.Strip(root, "Link", "RouterInfo", "IsDeployed")
	for _, c := range document.FindAll(root, "NetworkConfig") {
		if document.Attribute(c, "networkName") == "none" {
			root.RemoveChild(c) // vCD's own stand-in for "not connected"
			continue
		}
		document.RemoveAttribute(c, "href")
		document.RemoveAttribute(c, "id")
		configuration := document.Find(c, "Configuration")
		if configuration == nil {
			continue
		}
		if parent := document.Find(configuration, "ParentNetwork"); parent != nil {
			document.SetAttribute(parent, "href", r.plan.Networks[document.Attribute(parent, "name")])
			document.RemoveAttribute(parent, "id")
		}
		r.dropRules(configuration, document.Attribute(c, "networkName"))
		if !rules {
			if features := document.Find(configuration, "Features"); features != nil {
				configuration.RemoveChild(features)
			}
		}
	}
	return doc, nil
}

// dropRules takes out the NAT rules of VMs that are not restored: vCD refuses
// rules that name a VM it does not have.
func (r *run) dropRules(configuration *etree.Element, network string) {
	nat := document.Descend(configuration, "Features", "NatService")
	if nat == nil {
		return
	}
	for _, rule := range document.FindAll(nat, "NatRule") {
		for _, kind := range rule.ChildElements() {
			if vm := r.leftVM(document.Text(kind, "VAppScopedVmId")); vm != "" {
				nat.RemoveChild(rule)
				r.warnOnce(vm, "it is not restored, and the NAT rule of network "+network+" that names it is left out")
			}
		}
	}
}

// leftVM returns the name of a VM of the restore point that is not restored
// nor there anyway, by its id within the vApp.
func (r *run) leftVM(scopedID string) string {
	for _, vm := range r.plan.VMs {
		if vm.Action == plan.Leave && vm.VM != nil && vm.Live == nil && scopedID != "" && vm.VM.ScopedLocalID == scopedID {
			return vm.Name
		}
	}
	return ""
}

// dropStartup takes out the startup items of VMs that are not restored.
func (r *run) dropStartup(section *etree.Element) {
	for _, item := range document.FindAll(section, "Item") {
		for _, vm := range r.plan.VMs {
			if vm.Action == plan.Leave && vm.VM != nil && vm.Live == nil && document.Attribute(item, "id") == vm.Name {
				section.RemoveChild(item)
			}
		}
	}
}

// bareNetworks is the section for the import: networks without rules.
func (r *run) bareNetworks() ([]byte, error) {
	doc, err := r.networkConfig(false)
	if err != nil || doc == nil {
		return nil, err
	}
	document.RemoveAttribute(doc.Root(), "href")
	document.RemoveAttribute(doc.Root(), "type")
	out := document.Standalone(doc.Root())
	out.Child = slices.DeleteFunc(out.Child, func(t etree.Token) bool { _, is := t.(*etree.ProcInst); return is })
	return document.Encode(out)
}

// applyNICs connects the NICs. A NIC in POOL mode cannot ask for its address;
// where vCD gives another one and the address is to be kept, it becomes
// MANUAL with its own.
func (r *run) applyNICs(ctx context.Context, vm *restorepoint.VM, href string) error {
	const section = "networkConnectionSection.xml"
	want, err := r.docs.Tree(vmPath(vm.ID, section))
	if err != nil || want == nil {
		return err
	}
	if len(r.nics(vm)) == 0 {
		r.besideNICs(vm.Name, want.Root())
	}
	if r.plan.MAC == plan.MACNew && len(r.nics(vm)) == 0 {
		for _, nic := range document.FindAll(want.Root(), "NetworkConnection") {
			if mac := document.Find(nic, "MACAddress"); mac != nil {
				nic.RemoveChild(mac)
			}
		}
	}
	href += "/networkConnectionSection/"
	if err := r.put(ctx, href, vcd.TypeNetworkConnection, want); err != nil {
		return fmt.Errorf("connect NICs: %w", err)
	}
	if r.plan.IP != plan.IPKeep {
		return nil
	}
	now, err := r.VCD.Get(ctx, href)
	if err != nil {
		return fmt.Errorf("read NICs back: %w", err)
	}
	got, err := document.Parse(now.Raw)
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
	for _, nic := range document.FindAll(want, "NetworkConnection") {
		mode, ip := document.Find(nic, "IpAddressAllocationMode"), document.Text(nic, "IpAddress")
		if mode == nil || mode.Text() != "POOL" || ip == "" {
			continue
		}
		index := document.Text(nic, "NetworkConnectionIndex")
		for _, g := range document.FindAll(got, "NetworkConnection") {
			if document.Text(g, "NetworkConnectionIndex") == index && document.Text(g, "IpAddress") != ip {
				mode.SetText("MANUAL")
				r.warn(vm, fmt.Sprintf("NIC %s: the pool gave another address, %s is kept as MANUAL", index, ip))
				pinned = true
			}
		}
	}
	return pinned
}
