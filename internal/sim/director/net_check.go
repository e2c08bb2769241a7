package director

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// nameMax is how long the name of a network may be (network.xsd documents 128
// for entities).
const nameMax = 128

func checkNetName(name string) error {
	if strings.TrimSpace(name) == "" || len(name) > nameMax || name == noNetwork {
		return badRequest("The network name %q is not valid: it must have 1 to %d characters and not be %q.", name, nameMax, noNetwork)
	}
	return nil
}

// prefix is the subnet of a scope, and known whether its gateway and mask are
// one.
func (sc ipScope) prefix() (netip.Prefix, bool) {
	gw, err := netip.ParseAddr(sc.gateway)
	if err != nil {
		return netip.Prefix{}, false
	}
	bits := sc.bits
	if bits == 0 {
		if bits = maskBits(sc.netmask); bits < 0 {
			return netip.Prefix{}, false
		}
	}
	p, err := gw.Prefix(bits)
	return p, err == nil
}

// maskBits is the length of an IPv4 netmask; -1 for what is none.
func maskBits(mask string) int {
	a, err := netip.ParseAddr(mask)
	if err != nil || !a.Is4() {
		return -1
	}
	bits, over := 0, false
	for _, b := range a.As4() {
		for i := 7; i >= 0; i-- {
			set := b>>i&1 == 1
			if set && over {
				return -1
			}
			if !set {
				over = true
			} else {
				bits++
			}
		}
	}
	return bits
}

// maskOf is the IPv4 netmask of a prefix length; "" for another family.
func maskOf(bits int) string {
	if bits < 0 || bits > 32 {
		return ""
	}
	v := ^uint32(0) << (32 - bits)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}).String()
}

// checkScope refuses a subnet that is none, and ranges that are not in it.
func (sc ipScope) check(network string) error {
	gw, err := netip.ParseAddr(sc.gateway)
	if err != nil {
		return badRequest("The gateway %q of network %q is not an IP address.", sc.gateway, network)
	}
	if !gw.Is4() && sc.netmask != "" && sc.netmask != "0.0.0.0" {
		return badRequest("The network %q has an IPv6 gateway and the IPv4 netmask %s.", network, sc.netmask)
	}
	p, known := sc.prefix()
	if !known || p.Bits() == 0 {
		return badRequest("The netmask %q of network %q is not one.", or(sc.netmask, strconv.Itoa(sc.bits)), network)
	}
	for _, dns := range []string{sc.dns1, sc.dns2} {
		if _, err := netip.ParseAddr(dns); dns != "" && err != nil {
			return badRequest("The DNS server %q of network %q is not an IP address.", dns, network)
		}
	}
	var seen []addrRange
	for _, r := range sc.ranges {
		a, err := r.parse()
		switch {
		case err != nil:
			return badRequest("The IP range %s - %s of network %q is not one.", r.Start, r.End, network)
		case !p.Contains(a.first) || !p.Contains(a.last):
			return badRequest("The IP range %s - %s is not within the subnet %s of network %q.", r.Start, r.End, p.Masked(), network)
		case a.contains(gw):
			return badRequest("The IP range %s - %s of network %q contains its gateway %s.", r.Start, r.End, network, gw)
		case slices.ContainsFunc(seen, a.overlaps):
			return badRequest("The IP range %s - %s of network %q overlaps with another one.", r.Start, r.End, network)
		}
		seen = append(seen, a)
	}
	return nil
}

// overlaps tells whether two scopes have addresses in common.
func (sc ipScope) overlaps(other ipScope) bool {
	a, ok1 := sc.prefix()
	b, ok2 := other.prefix()
	return ok1 && ok2 && a.Overlaps(b)
}

// An addrRange is a range of addresses, both ends included.
type addrRange struct{ first, last netip.Addr }

func (r IPRange) parse() (addrRange, error) {
	first, err := netip.ParseAddr(r.Start)
	if err != nil {
		return addrRange{}, err
	}
	last, err := netip.ParseAddr(or(r.End, r.Start))
	if err != nil {
		return addrRange{}, err
	}
	if last.Less(first) || first.Is4() != last.Is4() {
		return addrRange{}, strconv.ErrRange
	}
	return addrRange{first, last}, nil
}

func (r addrRange) contains(a netip.Addr) bool { return !a.Less(r.first) && !r.last.Less(a) }

func (r addrRange) overlaps(o addrRange) bool { return !o.last.Less(r.first) && !r.last.Less(o.first) }

// size is the number of addresses, at most what an int32 holds.
func (r addrRange) size() int {
	n := 0
	if r.first.Is4() {
		a, b := r.first.As4(), r.last.As4()
		for i := range a {
			n = n<<8 + int(b[i]) - int(a[i])
		}
		return n + 1
	}
	for a := r.first; a.IsValid() && !r.last.Less(a) && n < 1<<20; a = a.Next() {
		n++
	}
	return n
}

// poolSize is the number of addresses of a scope's pool.
func (sc ipScope) poolSize() int {
	n := 0
	for _, r := range sc.ranges {
		if a, err := r.parse(); err == nil {
			n += a.size()
		}
	}
	return n
}

// checkDHCP refuses a DHCP service whose range is not in the subnet or shares
// addresses with the static pool.
func checkDHCP(network string, sc ipScope, d *node) error {
	if d == nil {
		return nil
	}
	if atoi(value(d, "DefaultLeaseTime")) < 0 || atoi(value(d, "MaxLeaseTime")) < atoi(value(d, "DefaultLeaseTime")) {
		return badRequest("The DHCP service of network %q has a default lease time above its maximum.", network)
	}
	rg := child(d, "IpRange")
	if rg == nil {
		if truth(value(d, "IsEnabled")) {
			return badRequest("The DHCP service of network %q is enabled and has no IP range.", network)
		}
		return nil
	}
	r := IPRange{value(rg, "StartAddress"), value(rg, "EndAddress")}
	if r.Start == "" && r.End == "" && !truth(value(d, "IsEnabled")) {
		return nil
	}
	return checkPool(network, sc, r)
}

// checkPool refuses a DHCP range that is not in the subnet or shares addresses
// with the static pool or the gateway.
func checkPool(network string, sc ipScope, r IPRange) error {
	a, err := r.parse()
	if err != nil {
		return badRequest("The DHCP range %s - %s of network %q is not one.", r.Start, r.End, network)
	}
	p, known := sc.prefix()
	if !known || !p.Contains(a.first) || !p.Contains(a.last) {
		return badRequest("The DHCP range %s - %s is not within the subnet of network %q.", r.Start, r.End, network)
	}
	if gw, err := netip.ParseAddr(sc.gateway); err == nil && a.contains(gw) {
		return badRequest("The DHCP range %s - %s of network %q contains its gateway %s.", r.Start, r.End, network, gw)
	}
	for _, pool := range sc.ranges {
		if b, err := pool.parse(); err == nil && a.overlaps(b) {
			return badRequest("The DHCP range %s - %s of network %q overlaps with its static IP pool %s - %s.", r.Start, r.End, network, pool.Start, pool.End)
		}
	}
	return nil
}
