package plan

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// The ways in which a NIC comes by its address.
const (
	addressPool   = "POOL"
	addressDHCP   = "DHCP"
	addressManual = "MANUAL"
	addressNone   = "NONE"
)

// A NIC is what becomes of one.
type NIC struct {
	Index   int    `json:"index"`
	Network string `json:"network"` // of the vApp, afterwards; "none"
	Mode    string `json:"mode"`    // POOL, DHCP, MANUAL, NONE
	// IP is the address that it has afterwards; "" is whichever it gets.
	IP string `json:"ip,omitempty"`
	// MAC is likewise.
	MAC       string `json:"mac,omitempty"`
	Connected bool   `json:"connected"`

	why map[string]string // element -> flag or resolution by which it differs
}

func (n *NIC) because(element, why string) {
	if n.why == nil {
		n.why = map[string]string{}
	}
	n.why[element] = why
}

// Fate tells in a few words how the NIC comes by its address.
func (n NIC) Fate() string {
	fate := map[string]string{addressPool: "pool", addressDHCP: "DHCP", addressManual: "manual", addressNone: "none"}[n.Mode]
	if n.IP != "" {
		fate = "keep " + n.IP + ", " + fate
	}
	if !n.Connected {
		fate += ", disconnected"
	}
	return fate
}

// planNICs decides on networks and addresses.
func planNICs(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	macs, err := p.macsInUse(ctx, d)
	if err != nil {
		return err
	}
	for i := range p.VMs {
		vm := &p.VMs[i]
		if vm.VM == nil || vm.Action == Leave {
			continue
		}
		doc, err := d.Docs.Tree("vcd/vms/" + restorepoint.UUID(vm.VM.ID) + "/networkConnectionSection.xml")
		if err != nil {
			return fmt.Errorf("vm %s: %w", vm.Name, err)
		}
		if doc == nil {
			continue
		}
		asked := p.options.Overrides.VMs[vm.VM.Name].NICs
		if p.Beside && len(asked) == 0 {
			continue // all of its addresses are new
		}
		for _, e := range document.FindAll(doc.Root(), "NetworkConnection") {
			n := p.planNIC(vm, e, macs)
			vm.NICs = append(vm.NICs, n)
		}
		for _, index := range sortedKeys(asked) {
			if !slices.ContainsFunc(vm.NICs, func(n NIC) bool { return strconv.Itoa(n.Index) == index }) {
				p.add(Conflict{Kind: KindOverride, Object: "vm " + vm.Name + " NIC " + index, Override: "--nic"}, "the restore point has no such NIC, but %d of them", len(vm.NICs))
			}
		}
	}
	return nil
}

func (p *Plan) planNIC(vm *VM, e *etree.Element, macs map[string]string) NIC {
	index, _ := strconv.Atoi(document.Text(e, "NetworkConnectionIndex"))
	n := NIC{
		Index: index, Network: document.Attribute(e, "network"), Mode: document.Text(e, "IpAddressAllocationMode"),
		IP: document.Text(e, "IpAddress"), MAC: strings.ToLower(document.Text(e, "MACAddress")), Connected: document.Text(e, "IsConnected") == "true",
	}
	object := fmt.Sprintf("vm %s NIC %d", vm.Name, n.Index)
	flag := "--nic " + flagName(vm.VM.Name) + ":" + strconv.Itoa(n.Index) + "="
	asked, given := p.options.Overrides.VMs[vm.VM.Name].NICs[strconv.Itoa(n.Index)]
	net := p.network(n.Network)
	if net != nil && net.As != n.Network {
		n.because("network", net.why)
	}
	if asked.Network != "" {
		n.because("network", flag+flagName(asked.Network))
		if net = p.network(asked.Network); net == nil && asked.Network != stub {
			p.add(Conflict{Kind: KindNetworkMissing, Object: object, Override: flag + "NETWORK"}, "the vApp has no network %s, but %s", asked.Network, p.networkList())
			return n
		}
	}
	if net != nil {
		n.Network = net.As
	} else if asked.Network == stub {
		n.Network, n.Mode, n.IP, n.Connected = stub, addressNone, "", false
		for _, what := range []string{"IpAddressAllocationMode", "IpAddress", "IsConnected"} {
			n.because(what, flag+stub)
		}
	}
	p.planMAC(vm, &n, asked.MAC, flag, object, macs)
	if net == nil {
		return n
	}
	p.askedAddress(&n, asked, given, flag+flagName(n.Network))
	p.checkAddress(vm, &n, net, object, flag+flagName(n.Network)+",ip=NEW")
	return n
}

func (p *Plan) networkList() string {
	var names []string
	for _, n := range p.VAppNetworks {
		names = append(names, n.As)
	}
	return orNone(names)
}

// askedAddress applies what the overrides say of a NIC's address.
func (p *Plan) askedAddress(n *NIC, asked NICOverride, given bool, flag string) {
	set := func(mode, ip, why string) {
		if n.Mode != mode {
			n.because("IpAddressAllocationMode", why)
		}
		if n.IP != ip {
			n.because("IpAddress", why)
		}
		n.Mode, n.IP = mode, ip
	}
	mode := strings.ToUpper(asked.Mode)
	switch {
	case given && asked.IP != "":
		set(addressManual, asked.IP, flag+",ip="+asked.IP)
	case given && mode != "" && mode != n.Mode:
		set(mode, "", flag+",mode="+mode)
	case p.IP == IPDHCP && (n.Mode == addressPool || n.Mode == addressManual):
		set(addressDHCP, "", "--ip dhcp")
	case p.IP == IPPool && n.Mode == addressPool:
		set(addressPool, "", "--ip pool")
	}
}

// checkAddress finds out whether a NIC can have its address. One that somebody
// else has now is not taken away: the NIC gets another one of the pool, and
// stays disconnected, since the guest may still use the old one.
func (p *Plan) checkAddress(vm *VM, n *NIC, net *Network, object, override string) {
	s := p.subnets[net.Name]
	ip, err := netip.ParseAddr(n.IP)
	if err != nil || s == nil || n.Mode != addressPool && n.Mode != addressManual {
		return
	}
	mode, from := addressNone, "no address: there is no pool"
	if len(s.Ranges) > 0 {
		mode, from = addressPool, "another address of the pool"
	}
	give := func(why string, connected bool) {
		if mode != n.Mode {
			n.because("IpAddressAllocationMode", why)
		}
		n.because("IpAddress", why)
		if n.Connected && !connected {
			n.because("IsConnected", why)
		}
		n.Mode, n.IP, n.Connected = mode, "", connected
	}
	if !s.Contains(ip) {
		p.add(Conflict{Kind: KindIPOutside, Object: object, Override: override, Resolution: "give it " + from},
			"its address %s is not within %s of network %s", ip, s.Prefix, net.As)
		give("the address "+ip.String()+" is outside of the network", n.Connected)
		return
	}
	if who := p.holder(vm, net, s, ip.String()); who != "" {
		p.add(Conflict{Kind: KindIPInUse, Object: object, Override: override, Resolution: "give it " + from + ", and leave it disconnected"},
			"its address %s is in use on network %s by %s", ip, net.As, who)
		give("the address "+ip.String()+" is in use", false)
		return
	}
	if n.Mode == addressPool && !s.Pool(ip) && len(s.Ranges) > 0 {
		n.Mode = addressManual
		n.because("IpAddressAllocationMode", "the pool does not have the address any more")
		p.add(Conflict{Kind: KindIPOutside, Object: object, Override: "--ip pool", Resolution: "keep it, as a manual one"},
			"its address %s is not in the pool of network %s any more", ip, net.As)
	}
}

// holder tells who has an address that a VM is to have again; "" is nobody
// else.
func (p *Plan) holder(vm *VM, net *Network, s *subnet, ip string) string {
	if used, taken := s.taken[ip]; taken && !p.frees(used.UUID) {
		if used.Name == "" {
			return "somebody"
		}
		return used.Name
	}
	if p.Live == nil {
		return ""
	}
	for _, l := range p.Live.VMs {
		if vm.Live != nil && l.ID == vm.Live.ID || p.frees(vcd.UUID(l.ID)) {
			continue
		}
		for _, n := range l.NICs {
			if n.IP == ip && (n.Network == net.Name || n.Network == net.As) {
				return "vm " + l.Name
			}
		}
	}
	return ""
}

// frees tells whether what has an address gives it up: a VM that is
// overwritten or configured anew, or the router of a network of the vApp.
func (p *Plan) frees(uuid string) bool {
	if p.Live == nil || uuid == "" {
		return false
	}
	for _, vm := range p.VMs {
		if (vm.Action == Overwrite || vm.Action == Configure) && vm.Live != nil && vcd.UUID(vm.Live.ID) == uuid {
			return true
		}
	}
	return slices.ContainsFunc(p.Live.Networks, func(n vcd.VAppNetwork) bool { return vcd.UUID(n.Href) == uuid })
}

// planMAC decides on a MAC address. One that another VM has now is not given
// twice.
func (p *Plan) planMAC(vm *VM, n *NIC, asked, flag, object string, macs map[string]string) {
	was := n.MAC
	switch {
	case asked != "" && asked != MACKeep && asked != MACNew:
		n.MAC = strings.ToLower(asked)
		n.because("MACAddress", flag+flagName(n.Network)+",mac="+asked)
	case asked == MACNew || asked == "" && p.MAC == MACNew:
		n.MAC = ""
		n.because("MACAddress", "--mac new")
	}
	if who := macs[n.MAC]; n.MAC != "" && who != "" && (vm.Action == Rebuild || n.MAC != was) {
		p.add(Conflict{Kind: KindMACInUse, Object: object, Override: flag + flagName(n.Network) + ",mac=NEW", Resolution: "give it a new one"},
			"its MAC address %s is in use by vm %s", n.MAC, who)
		n.because("MACAddress", "the MAC address "+n.MAC+" is in use")
		n.MAC = ""
	}
}

// macsInUse asks the vCenters for the MAC addresses of all other VMs, where
// any are to be kept by VMs that are made.
func (p *Plan) macsInUse(ctx context.Context, d *Deps) (map[string]string, error) {
	out := map[string]string{}
	asked := map[string]bool{}
	for _, vm := range p.VMs {
		if vm.Action != Rebuild || asked[vm.VimServerHref] || p.MAC == MACNew && len(p.options.Overrides.VMs) == 0 {
			continue
		}
		asked[vm.VimServerHref] = true
		client, err := d.VSphere(ctx, vm.VimServerHref)
		if err != nil {
			return nil, err
		}
		macs, err := client.MACs(ctx)
		if err != nil {
			return nil, fmt.Errorf("list MAC addresses: %w", err)
		}
		for mac, who := range macs {
			if !p.overwritten(vm.VimServerHref, who) {
				out[mac] = who.Name
			}
		}
	}
	return out, nil
}

func (p *Plan) overwritten(vimServer string, who vsphere.VMRef) bool {
	return slices.ContainsFunc(p.VMs, func(vm VM) bool {
		return vm.Action == Overwrite && vm.VimServerHref == vimServer && vm.LiveMoRef == who.MoRef
	})
}
