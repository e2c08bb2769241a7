package restore

import (
	"context"
	"fmt"
	"slices"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

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
		r.dropRules(configuration, attribute(c, "networkName"))
		if !rules {
			if features := find(configuration, "Features"); features != nil {
				configuration.RemoveChild(features)
			}
		}
	}
	return doc, nil
}

// dropRules takes out the NAT rules of VMs that are not restored: vCD refuses
// rules that name a VM it does not have.
func (r *run) dropRules(configuration *etree.Element, network string) {
	nat := descend(configuration, "Features", "NatService")
	if nat == nil {
		return
	}
	for _, rule := range findAll(nat, "NatRule") {
		for _, kind := range rule.ChildElements() {
			if vm := r.leftVM(text(kind, "VAppScopedVmId")); vm != "" {
				nat.RemoveChild(rule)
				r.warnOnce(vm, "it is not restored, and the NAT rule of network "+network+" that names it is left out")
			}
		}
	}
}

// leftVM returns the name of a VM of the restore point that is not restored,
// by its id within the vApp.
func (r *run) leftVM(scopedID string) string {
	for _, vm := range r.plan.VMs {
		if vm.Action == Leave && vm.VM != nil && scopedID != "" && vm.VM.ScopedLocalID == scopedID {
			return vm.Name
		}
	}
	return ""
}

// dropStartup takes out the startup items of VMs that are not restored.
func (r *run) dropStartup(section *etree.Element) {
	for _, item := range findAll(section, "Item") {
		for _, vm := range r.plan.VMs {
			if vm.Action == Leave && vm.VM != nil && vm.Live == nil && attribute(item, "id") == vm.Name {
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
	removeAttribute(doc.Root(), "href")
	removeAttribute(doc.Root(), "type")
	out := standalone(doc.Root())
	out.Child = slices.DeleteFunc(out.Child, func(t etree.Token) bool { _, is := t.(*etree.ProcInst); return is })
	return encode(out)
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
