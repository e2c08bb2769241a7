package director

import (
	"fmt"
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
		if value(n.conf, "FenceMode") == "bridged" {
			out = append(out, s.nicAddresses(n, except)...)
		} else if a, err := netip.ParseAddr(n.routerIP); err == nil && n.id != except {
			out = append(out, a)
		}
	}
	return out
}

// takenIn lists the addresses in use on a vApp network.
func (s *Server) takenIn(n *vappNet, except string) []netip.Addr {
	if n.parent != "" && value(n.conf, "FenceMode") == "bridged" {
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
	if p := s.nets[n.parent]; p != nil && value(n.conf, "FenceMode") == "bridged" {
		return p.scope
	}
	return scopeOf(n.conf)
}

// scopeOf reads the first IpScope of a configuration.
func scopeOf(conf *node) ipScope {
	sc := child(child(conf, "IpScopes"), "IpScope")
	if sc == nil {
		sc = child(conf, "IpScope")
	}
	out := ipScope{gateway: value(sc, "Gateway"), netmask: value(sc, "Netmask"), dns1: value(sc, "Dns1"), dns2: value(sc, "Dns2"), suffix: value(sc, "DnsSuffix")}
	for _, r := range childrenOf(child(sc, "IpRanges"), "IpRange") {
		out.ranges = append(out.ranges, IPRange{value(r, "StartAddress"), value(r, "EndAddress")})
	}
	return out
}

// booked is the set of addresses in use where a vApp network has its own from.
// While vApps are added it is kept from one to the next: counting them for each
// of ten thousand would take longer than everything else. Whoever takes one puts
// it in.
func (s *Server) booked(n *vappNet) map[netip.Addr]bool {
	bridged := n.parent != "" && value(n.conf, "FenceMode") == "bridged"
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
	gw, err1 := netip.ParseAddr(sc.gateway)
	mask, err2 := netip.ParseAddr(sc.netmask)
	if err1 != nil || err2 != nil || !gw.Is4() || !mask.Is4() || !a.Is4() {
		return true // what is not known cannot refuse
	}
	g, k, x := gw.As4(), mask.As4(), a.As4()
	for i := range g {
		if g[i]&k[i] != x[i]&k[i] {
			return false
		}
	}
	return true
}

// route gives a routed vApp network its external address, if it has none.
func (s *Server) route(n *vappNet) error {
	p := s.nets[n.parent]
	if p == nil || value(n.conf, "FenceMode") != "natRouted" || n.routerIP != "" {
		return nil
	}
	taken := s.bookedOn(p.id, "")
	ip, err := p.scope.freeOf(taken)
	if err != nil {
		return badRequest("The network %s has no address left for the router of %s.", p.name, n.name)
	}
	if n.routerIP = ip; ip != "" {
		taken[netip.MustParseAddr(ip)] = true
	}
	return nil
}

var macPattern = regexp.MustCompile(`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`)

// macTaken tells whether another VM's NIC has a MAC address.
func (s *Server) macTaken(mac string, except *vm) bool {
	for _, m := range s.vms {
		if m == except {
			continue
		}
		for _, n := range m.nics {
			if strings.EqualFold(n.mac, mac) {
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
		if !s.macTaken(mac, nil) {
			return mac
		}
	}
}
