package director

import (
	"context"
	"net/netip"
	"slices"
	"strings"
)

// A cardChange is what a NetworkConnectionSection makes of a VM's NICs.
type cardChange struct {
	nics    []*nic
	primary int
}

// readConnections reads and checks a NetworkConnectionSection for a VM. IP and
// MAC addresses that are the server's to give are given here.
func (c *call) readConnections(m *vm, doc *node) (*cardChange, error) {
	out := &cardChange{primary: atoi(value(doc, "PrimaryNetworkConnectionIndex"))}
	seen := map[int]bool{}
	for _, d := range childrenOf(doc, "NetworkConnection") {
		n, err := c.readConnection(m, d)
		if err != nil {
			return nil, err
		}
		if seen[n.index] {
			return nil, badRequest("There are two network connections with index %d.", n.index)
		}
		seen[n.index] = true
		out.nics = append(out.nics, n)
	}
	sortBy(out.nics, func(a, b *nic) bool { return a.index < b.index })
	if len(out.nics) > 0 && !seen[out.primary] {
		return nil, badRequest("The primary network connection %d does not exist.", out.primary)
	}
	// Whether the pools suffice is told now; the addresses are taken from
	// them once the work is done, so that nobody else gets them meanwhile.
	_, err := c.s.allocate(m, out.nics)
	return out, err
}

// allocate gives NICs in POOL mode that have no address one from the pool of
// their network. It returns copies.
func (s *Server) allocate(m *vm, nics []*nic) ([]*nic, error) {
	var out []*nic
	for _, given := range nics {
		n := *given
		if n.mode == "POOL" && n.ip == "" && m.vapp.template == nil {
			net := m.vapp.netNamed(n.network)
			if net == nil {
				return nil, badRequest("The network %q does not exist in vApp %q.", n.network, m.vapp.name)
			}
			taken := s.takenIn(net, m.id)
			for _, other := range append(out, nics...) {
				if a, err := netip.ParseAddr(other.ip); err == nil && other.network == n.network {
					taken = append(taken, a)
				}
			}
			var err error
			if n.ip, err = s.poolOf(net).free(taken); err != nil {
				return nil, badRequest("There are no free IP addresses in the pool of network %q.", n.network)
			}
		}
		out = append(out, &n)
	}
	return out, nil
}

func (c *call) readConnection(m *vm, d *node) (*nic, error) {
	n := &nic{
		key: -1, index: atoi(value(d, "NetworkConnectionIndex")), network: attr(d, "network"), mode: value(d, "IpAddressAllocationMode"),
		ip: value(d, "IpAddress"), mac: strings.ToLower(value(d, "MACAddress")), adapter: value(d, "NetworkAdapterType"),
		connected: truth(value(d, "IsConnected")), customize: truth(attr(d, "needsCustomization")),
	}
	var old *nic
	for _, o := range m.nics {
		if o.index == n.index {
			old, n.key = o, o.key
		}
	}
	if old != nil {
		n.mac, n.adapter = or(n.mac, old.mac), or(n.adapter, old.adapter)
	}
	n.adapter = or(n.adapter, "VMXNET3")
	if n.mac == "" {
		n.mac = c.s.newMAC()
	}
	if !macPattern.MatchString(n.mac) {
		return nil, badRequest("The MAC address %q is not one.", n.mac)
	}
	if c.s.macTaken(n.mac, m, m.vapp.netNamed(n.network)) {
		return nil, badRequest("The MAC address %s is in use by another virtual machine.", n.mac)
	}
	return n, c.checkAddress(m, n, old)
}

// checkAddress applies the rules of the allocation modes.
func (c *call) checkAddress(m *vm, n, old *nic) error {
	net := m.vapp.netNamed(n.network)
	if n.network != noNetwork && net == nil {
		return badRequest("The network %q does not exist in vApp %q.", n.network, m.vapp.name)
	}
	if n.network == noNetwork {
		n.mode, n.ip, n.connected = "NONE", "", false
		return nil
	}
	switch n.mode {
	case "POOL":
		// The address that was asked for does not count: the NIC keeps the
		// one that it has on this network, or gets one from the pool.
		n.ip = ""
		if old != nil && old.mode == "POOL" && old.network == n.network {
			n.ip = old.ip
		}
	case "MANUAL":
		ip, err := netip.ParseAddr(n.ip)
		if err != nil {
			return badRequest("The network connection %d is MANUAL and needs an IP address.", n.index)
		}
		if !c.s.poolOf(net).contains(ip) {
			return badRequest("The IP address %s is not within the subnet of network %q.", ip, n.network)
		}
		if slices.Contains(c.s.takenIn(net, m.id), ip) {
			return badRequest("The IP address %s is already in use on network %q.", ip, n.network)
		}
	case "DHCP", "NONE":
		n.ip = ""
	default:
		return badRequest("The allocation mode %q does not exist.", n.mode)
	}
	return nil
}

// connect applies a change of NICs, in vCenter first.
func (s *Server) connect(ctx context.Context, m *vm, ch *cardChange) error {
	s.mu.Lock()
	pgs := s.portgroups(m.vapp)
	s.mu.Unlock()
	if err := s.changeCards(ctx, m, ch.nics, pgs); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	nics, err := s.allocate(m, ch.nics)
	if err != nil {
		return err
	}
	m.nics, m.primary = nics, ch.primary
	return s.refresh(ctx, m)
}

// adopt finds the devices of NICs that were just added, by their MAC address.
func (m *vm) adopt() {
	known := map[int32]bool{}
	for _, n := range m.nics {
		known[n.key] = true
	}
	for _, card := range m.facts.cards() {
		e := card.GetVirtualEthernetCard()
		if known[e.Key] {
			continue
		}
		for _, n := range m.nics {
			if n.key < 0 && strings.EqualFold(n.mac, e.MacAddress) {
				n.key = e.Key
				break
			}
		}
	}
}

func (c *call) putConnections() (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "NetworkConnectionSection")
	if err != nil {
		return nil, err
	}
	if err := c.refresh(m); err != nil {
		return nil, err
	}
	ch, err := c.readConnections(m, doc)
	if err != nil {
		return nil, err
	}
	if err := c.mayChange(m.vapp, m, accessChange); err != nil {
		return nil, err
	}
	return c.accepted(c.start("vappUpdateVm", "Updating Virtual Machine", vmOwner(m), func(ctx context.Context) error {
		return c.s.connect(ctx, m, ch)
	})), nil
}
