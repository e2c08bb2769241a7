package director

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
)

// taken lists the addresses in use on an org network: those of NICs on vApp
// networks bridged to it, and those of routers. The NIC or router with the
// excepted id does not count.
func (s *Server) takenOn(org, except string) []netip.Addr {
	var out []netip.Addr
	var nets []*vappNet
	for _, n := range s.vappNets {
		if n.parent == org {
			nets = append(nets, n)
		}
	}
	sortBy(nets, func(a, b *vappNet) bool { return a.seq < b.seq })
	for _, n := range nets {
		if n.mode() == "bridged" {
			out = append(out, s.nicAddresses(n, except)...)
		} else if n.id != except {
			out = append(out, n.outside()...)
		}
	}
	return append(out, s.edgeAddresses(org)...)
}

// outside are the addresses that a routed network has on its parent.
func (n *vappNet) outside() []netip.Addr {
	var out []netip.Addr
	if a, ok := addrOf(n.routerIP); ok {
		out = append(out, a)
	}
	for _, k := range keys(n.external) {
		if a, ok := addrOf(n.external[k]); ok {
			out = append(out, a)
		}
	}
	return append(out, n.fixedExternal()...)
}

// takenIn lists the addresses in use on a vApp network.
func (s *Server) takenIn(n *vappNet, except string) []netip.Addr {
	if n.parent != "" && n.mode() == "bridged" {
		return s.takenOn(n.parent, except)
	}
	return s.nicAddresses(n, except)
}

func (s *Server) nicAddresses(n *vappNet, except string) []netip.Addr {
	var out []netip.Addr
	for _, m := range n.vapp.vms {
		if m.id == except {
			continue
		}
		for _, k := range m.nics {
			if a, err := netip.ParseAddr(k.ip); err == nil && k.network == n.name {
				out = append(out, a)
			}
		}
	}
	return out
}

// poolOf is the scope that a vApp network's addresses come from.
func (s *Server) poolOf(n *vappNet) ipScope {
	if s.inherits(n) {
		return s.nets[n.parent].scope
	}
	return scopeOf(n.conf)
}

// scopeOf reads the first IpScope of a configuration.
func scopeOf(conf *node) ipScope {
	sc := child(child(conf, "IpScopes"), "IpScope")
	if sc == nil {
		sc = child(conf, "IpScope")
	}
	return scopeFrom(sc)
}

// scopeFrom reads an IpScope.
func scopeFrom(sc *node) ipScope {
	out := ipScope{gateway: value(sc, "Gateway"), netmask: value(sc, "Netmask"), dns1: value(sc, "Dns1"), dns2: value(sc, "Dns2"), suffix: value(sc, "DnsSuffix")}
	if out.netmask == "" {
		out.bits = atoi(value(sc, "SubnetPrefixLength"))
	}
	for _, r := range childrenOf(child(sc, "IpRanges"), "IpRange") {
		out.ranges = append(out.ranges, IPRange{value(r, "StartAddress"), value(r, "EndAddress")})
	}
	return out
}

// prefixNode is the length of a subnet that has no netmask.
func prefixNode(sc ipScope) *node {
	bits := sc.bits
	if ip := net.ParseIP(sc.netmask).To4(); bits == 0 && ip != nil {
		bits, _ = net.IPMask(ip).Size()
	}
	if bits == 0 {
		return nil
	}
	return number("SubnetPrefixLength", bits)
}

// booked is the set of addresses in use where a vApp network has its own from.
// While vApps are added it is kept from one to the next: counting them for each
// of ten thousand would take longer than everything else. Whoever takes one puts
// it in.
func (s *Server) booked(n *vappNet) map[netip.Addr]bool {
	bridged := n.parent != "" && n.mode() == "bridged"
	if bridged {
		return s.bookedOn(n.parent, "")
	}
	set := map[netip.Addr]bool{}
	for _, a := range s.nicAddresses(n, "") {
		set[a] = true
	}
	return set
}

// bookedOn is the same of an org network.
func (s *Server) bookedOn(org, except string) map[netip.Addr]bool {
	if set := s.book[org]; set != nil {
		return set
	}
	set := map[netip.Addr]bool{}
	for _, a := range s.takenOn(org, except) {
		set[a] = true
	}
	if s.book != nil {
		s.book[org] = set
	}
	return set
}

// free is the lowest address of a pool that nobody has.
func (sc ipScope) free(taken []netip.Addr) (string, error) {
	used := map[netip.Addr]bool{}
	for _, a := range taken {
		used[a] = true
	}
	return sc.freeOf(used)
}

// freeOf is the same for a set.
func (sc ipScope) freeOf(used map[netip.Addr]bool) (string, error) {
	for _, r := range sc.ranges {
		start, err1 := netip.ParseAddr(r.Start)
		end, err2 := netip.ParseAddr(r.End)
		if err1 != nil || err2 != nil {
			continue
		}
		for a := start; a.IsValid() && a.Compare(end) <= 0; a = a.Next() {
			if !used[a] {
				return a.String(), nil
			}
		}
	}
	return "", fmt.Errorf("no address is free in the pool")
}

// contains tells whether an address is in the scope's subnet.
func (sc ipScope) contains(a netip.Addr) bool {
	p, known := sc.prefix()
	// What is not known cannot refuse.
	return !known || p.Contains(a)
}

// route gives a routed vApp network the addresses outside that it has not got
// yet: its router's, and one for each NIC that a rule gives one.
func (s *Server) route(n *vappNet) error {
	p := s.nets[n.parent]
	if p == nil || n.mode() != "natRouted" {
		return nil
	}
	taken := s.bookedOn(p.id, "")
	free := func() (string, error) {
		ip, err := p.scope.freeOf(taken)
		if err != nil {
			return "", badRequest("The network %s has no address left for the router of %s.", p.name, n.name)
		}
		if a, ok := addrOf(ip); ok {
			taken[a] = true
		}
		return ip, nil
	}
	var err error
	if n.routerIP == "" {
		if n.routerIP, err = free(); err != nil {
			return err
		}
	}
	kept := map[string]string{}
	for _, k := range n.oneToOne() {
		if k.Tag == "OneToOneVmRule" && value(k, "MappingMode") == "automatic" {
			kept[natKey(k)] = n.external[natKey(k)]
		}
	}
	n.external = kept
	for _, key := range keys(kept) {
		if kept[key] == "" {
			if kept[key], err = free(); err != nil {
				return err
			}
		}
	}
	return nil
}

// unroute gives the addresses outside back.
func (n *vappNet) unroute() { n.routerIP, n.external = "", nil }

var macPattern = regexp.MustCompile(`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`)

// macTaken tells whether another VM's NIC has a MAC address. NICs in another
// vApp's fence do not count for one that is to be in a fence itself.
func (s *Server) macTaken(mac string, except *vm, fence *vappNet) bool {
	for _, m := range s.vms {
		if m == except {
			continue
		}
		for _, n := range m.nics {
			if !strings.EqualFold(n.mac, mac) {
				continue
			}
			on := m.vapp.netNamed(n.network)
			if fence == nil || on == nil || on.vapp == fence.vapp || !s.fenced(fence) || !s.fenced(on) {
				return true
			}
		}
	}
	return false
}

// newMAC is a MAC address of VMware's that nobody has.
func (s *Server) newMAC() string {
	for {
		s.macs++
		mac := fmt.Sprintf("00:50:56:%02x:%02x:%02x", 1+s.macs>>16&0x3e, s.macs>>8&0xff, s.macs&0xff)
		if !s.macTaken(mac, nil, nil) {
			return mac
		}
	}
}
