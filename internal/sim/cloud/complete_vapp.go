package cloud

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

var accessLevels = []string{"ReadOnly", "Change", "FullControl"}

func (c *checker) vapp(thing string, o *Org, v *VDC, a *VApp) {
	thing += ": vApp " + a.Name
	if a.Owner == "" && len(o.Users) > 0 {
		a.Owner = o.Users[0].Name
	}
	if a.Owner != "" {
		known(c, thing, "user", a.Owner, o.Users, userName)
	}
	if a.Access != nil {
		c.access(thing, o, a.Access)
	}
	unique(c, thing, "network", a.Networks, networkName)
	unique(c, thing, "vm", a.VMs, vmName)
	for i := range a.Networks {
		c.network(thing, v, a, &a.Networks[i])
	}
	c.startup(thing, a)
	c.metadata(thing, a.Metadata)
	c.productSections(thing, a.ProductSections)
	for i := range a.VMs {
		vm := &a.VMs[i]
		c.vm(thing, v, vm)
		for n := range vm.NICs {
			name, thing := vm.NICs[n].Network, fmt.Sprintf("%s: vm %s: nic %d", thing, vm.Name, n)
			if name == "" {
				continue
			}
			network := known(c, thing, "network", name, a.Networks, networkName)
			if network != nil && !network.inherits() && vm.NICs[n].Mode == "pool" && len(network.Ranges) == 0 {
				c.add(thing, "mode pool: network %s has no ranges", name)
			}
			if network != nil && network.inherits() && vm.NICs[n].Mode == "pool" && !v.hasRanges(network.Parent) {
				c.add(thing, "mode pool: network %s of the VDC has no ranges", network.Parent)
			}
		}
	}
}

func (c *checker) access(thing string, o *Org, a *Access) {
	if a.Everyone != "" {
		c.oneOf(thing+": access", "everyone", &a.Everyone, accessLevels...)
	}
	for i := range a.Users {
		grant := &a.Users[i]
		known(c, thing+": access", "user", grant.User, o.Users, userName)
		c.oneOf(thing+": access: "+grant.User, "level", &grant.Level, accessLevels...)
	}
}

func (c *checker) network(thing string, v *VDC, a *VApp, n *Network) {
	thing += ": network " + n.Name
	c.oneOf(thing, "type", &n.Type, "isolated", "routed", "direct", "fenced")
	if n.inherits() {
		n.Parent = cmp.Or(n.Parent, n.Name)
	}
	if n.Type == "fenced" && n.Parent != n.Name {
		c.add(thing, "parent %q: a fenced network has its parent's name", n.Parent)
	}
	switch parent := n.Parent; {
	case n.Type == "isolated" && parent != "":
		c.add(thing, "parent %q: an isolated network has none", parent)
	case n.Type != "isolated":
		known(c, thing, "parent network", parent, v.Networks, orgNetworkName)
	}
	if n.Type == "direct" {
		if n.Gateway != "" || n.DHCP != nil || n.NAT != nil || n.Firewall != nil || len(n.Routes)+len(n.Ranges) > 0 {
			c.add(thing, "a direct network takes everything from its parent")
		}
		return
	}
	switch {
	case n.Type != "fenced":
		c.subnet(thing, &n.Subnet)
	case n.Gateway != "" || len(n.Ranges) > 0:
		c.add(thing, "a fenced network has its parent's subnet")
	}
	if n.Type == "isolated" && (n.NAT != nil || n.Firewall != nil || len(n.Routes) > 0) {
		c.add(thing, "nat, firewall and routes: want a routed or fenced network")
	}
	if n.NAT != nil {
		c.nat(thing+": nat", a, n.NAT)
	}
	if n.Firewall != nil {
		c.firewall(thing+": firewall", n.Firewall)
	}
}

// inherits tells whether a network's subnet is its parent's.
func (n *Network) inherits() bool { return n.Type == "direct" || n.Type == "fenced" }

func (c *checker) nat(thing string, a *VApp, nat *NAT) {
	c.oneOf(thing, "type", &nat.Type, "portForwarding", "ipTranslation")
	c.oneOf(thing, "policy", &nat.Policy, "allowTrafficIn", "allowTraffic")
	for i := range nat.Rules {
		rule := &nat.Rules[i]
		thing := fmt.Sprintf("%s: rule %d", thing, i)
		if vm := known(c, thing, "vm", rule.VM, a.VMs, vmName); vm != nil && (rule.NIC < 0 || rule.NIC >= len(vm.NICs)) {
			c.add(thing, "nic %d: vm %s has %d", rule.NIC, vm.Name, len(vm.NICs))
		}
		if nat.Type == "ipTranslation" {
			c.oneOf(thing, "mode", &rule.Mode, "automatic", "manual")
			continue
		}
		c.oneOf(thing, "protocol", &rule.Protocol, "TCP", "UDP", "TCP_UDP")
		for _, port := range []int{rule.ExternalPort, rule.InternalPort} {
			if port < -1 || port == 0 || port > 65535 {
				c.add(thing, "port %d: want 1 to 65535, or -1 for any", port)
			}
		}
	}
}

func (c *checker) firewall(thing string, f *Firewall) {
	c.oneOf(thing, "defaultAction", &f.DefaultAction, "drop", "allow")
	for i := range f.Rules {
		rule := &f.Rules[i]
		thing := fmt.Sprintf("%s: rule %d", thing, i)
		c.oneOf(thing, "policy", &rule.Policy, "allow", "drop")
		if len(rule.Protocols) == 0 {
			rule.Protocols = []string{"any"}
		}
		for j := range rule.Protocols {
			c.oneOf(thing, "protocol", &rule.Protocols[j], "tcp", "udp", "icmp", "any")
		}
		for _, match := range []*string{&rule.Source, &rule.SourcePort, &rule.Destination, &rule.DestinationPort} {
			*match = cmp.Or(*match, "Any")
		}
	}
}

func (c *checker) startup(thing string, a *VApp) {
	for i := range a.Startup {
		item := &a.Startup[i]
		known(c, thing+": startup", "vm", item.VM, a.VMs, vmName)
		c.oneOf(thing+": startup: "+item.VM, "startAction", &item.StartAction, "powerOn", "none")
		c.oneOf(thing+": startup: "+item.VM, "stopAction", &item.StopAction, "powerOff", "guestShutdown", "none")
	}
}

func (c *checker) metadata(thing string, entries []Metadata) {
	seen := map[[2]string]bool{}
	for i := range entries {
		m := &entries[i]
		thing := fmt.Sprintf("%s: metadata %q", thing, m.Key)
		c.oneOf(thing, "type", &m.Type, "string", "number", "boolean", "datetime")
		c.oneOf(thing, "domain", &m.Domain, "general", "system")
		if m.Domain == "general" {
			c.oneOf(thing, "visibility", &m.Visibility, "readwrite")
		} else {
			c.oneOf(thing, "visibility", &m.Visibility, "private", "readonly")
		}
		if m.Key == "" || seen[[2]string{m.Domain, m.Key}] {
			c.add(thing, "key: empty or twice")
		}
		seen[[2]string{m.Domain, m.Key}] = true
		if want := metadataValue(m.Type, m.Value); want != "" {
			c.add(thing, "value %q: want %s", m.Value, want)
		}
	}
}

func (c *checker) productSections(thing string, sections []ProductSection) {
	for i := range sections {
		thing := fmt.Sprintf("%s: product section %d", thing, i)
		sections[i].Info = cmp.Or(sections[i].Info, "Information about the installed software")
		unique(c, thing, "property", sections[i].Properties, func(p *Property) string { return p.Key })
		for j := range sections[i].Properties {
			p := &sections[i].Properties[j]
			c.oneOf(thing+": property "+p.Key, "type", &p.Type, "string", "boolean", "int", "uint8", "uint16", "uint32", "sint32", "real32")
		}
	}
}

func (c *checker) vm(thing string, v *VDC, vm *VM) {
	thing += ": vm " + vm.Name
	vm.ComputerName = cmp.Or(vm.ComputerName, hostName(vm.Name))
	vm.GuestID = cmp.Or(vm.GuestID, "otherLinux64Guest")
	vm.HardwareVersion = cmp.Or(vm.HardwareVersion, "vmx-19")
	c.hardware(thing, vm)
	vm.CPUs = max(vm.CPUs, 1)
	vm.CoresPerSocket = max(vm.CoresPerSocket, 1)
	vm.Memory = cmp.Or(vm.Memory, 256<<20)
	c.oneOf(thing, "firmware", &vm.Firmware, "bios", "efi")
	c.oneOf(thing, "tools", &vm.Tools, "running", "stopped", "none")
	if vm.TPM && (vm.EncryptionKey == "" || vm.Firmware != "efi") {
		c.add(thing, "tpm: takes an encryptionKey and firmware: efi")
	}
	c.oneOf(thing, "power", &vm.Power, "off", "on", "suspended")
	if vm.Memory%(4<<20) != 0 {
		c.add(thing, "memory: want a multiple of 4MiB")
	}
	if vm.CPUs%vm.CoresPerSocket != 0 {
		c.add(thing, "coresPerSocket %d: does not divide %d cpus", vm.CoresPerSocket, vm.CPUs)
	}
	if vm.StorageProfile != "" {
		known(c, thing, "storage profile", vm.StorageProfile, v.StorageProfiles, profileName)
	}
	for i := range vm.Disks {
		c.disk(fmt.Sprintf("%s: disk %d", thing, i), v, &vm.Disks[i])
	}
	primary := 0
	for i := range vm.NICs {
		c.nic(fmt.Sprintf("%s: nic %d", thing, i), &vm.NICs[i])
		if vm.NICs[i].Primary {
			primary++
		}
	}
	if primary > 1 {
		c.add(thing, "%d primary nics: want one", primary)
	}
	c.metadata(thing, vm.Metadata)
	c.productSections(thing, vm.ProductSections)
}

func (c *checker) disk(thing string, v *VDC, d *Disk) {
	switch {
	case d.Size == 0 && d.From == "":
		c.add(thing, "want a size, or an image to copy from")
	case d.Size%512 != 0:
		c.add(thing, "size %d: want whole sectors of 512 bytes", d.Size)
	case d.Size > vcenter.MaxDisk:
		c.add(thing, "size %d: a disk has %d bytes at most, 62 TiB", d.Size, int64(vcenter.MaxDisk))
	case d.From != "" && d.Size > 0:
		c.add(thing, "from and size: want one of them")
	case d.From != "" && d.Fill > 0:
		c.add(thing, "from and fill: want one of them")
	case d.From == "" && d.Fill > d.Size:
		c.add(thing, "fill: more than the size")
	}
	c.oneOf(thing, "controller", &d.Controller, "pvscsi", "lsilogic", "lsilogic-sas", "buslogic", "sata", "nvme", "ide")
	c.oneOf(thing, "mode", &d.Mode, "persistent", "independent_persistent", "independent_nonpersistent")
	if d.Raw != "" {
		c.oneOf(thing, "raw", &d.Raw, "virtual", "physical")
	}
	c.oneOf(thing, "sharing", &d.Sharing, "sharingNone", "sharingMultiWriter")
	if d.StorageProfile != "" {
		known(c, thing, "storage profile", d.StorageProfile, v.StorageProfiles, profileName)
	}
}

func (c *checker) nic(thing string, n *NIC) {
	if n.Network == "" {
		c.oneOf(thing, "mode", &n.Mode, "none")
	} else {
		c.oneOf(thing, "mode", &n.Mode, "pool", "manual", "dhcp", "none")
	}
	n.Type = cmp.Or(n.Type, "VMXNET3")
	if n.MAC != "" {
		if hw, err := net.ParseMAC(n.MAC); err != nil || len(hw) != 6 {
			c.add(thing, "mac %q: want such as 00:50:56:01:02:03", n.MAC)
		}
	}
	if n.IP == "" {
		if n.Mode == "manual" {
			c.add(thing, "mode manual wants an ip")
		}
		return
	}
	if _, err := netip.ParseAddr(n.IP); err != nil || n.Mode == "dhcp" || n.Mode == "none" {
		c.add(thing, "ip %q: want an address, in mode manual or pool", n.IP)
	}
}

var notHostName = regexp.MustCompile(`[^A-Za-z0-9]+`)

// hostName makes a computer name of a VM's name: at most 15 letters, digits
// and hyphens.
func hostName(name string) string {
	host := strings.Trim(notHostName.ReplaceAllString(name, "-"), "-")
	if len(host) > 15 {
		host = strings.TrimRight(host[:15], "-")
	}
	return cmp.Or(host, "vm")
}
