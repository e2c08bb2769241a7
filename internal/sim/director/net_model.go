package director

import (
	"encoding/json"
	"net/netip"
	"slices"
)

// An extNet is an external network: a port group of a vCenter, or a router or
// segment of an NSX-T manager.
type extNet struct {
	thing
	subnets  []ipScope
	backings []netBacking
	extra    string // the JSON that it was last written as
	meta     metadata
}

// A netBacking is what is behind an external network.
type netBacking struct {
	id, name string // "dvportgroup-12", "pg-uplink"
	typ      string // DV_PORTGROUP, NETWORK, NSXT_TIER0, NSXT_VRF_TIER0, IMPORTED_T_LOGICAL_SWITCH
	provider string // id of the vCenter or the NSX-T manager
}

func (b netBacking) nsxt() bool { return b.typ != "DV_PORTGROUP" && b.typ != "NETWORK" }

// nsxt tells whether an NSX-T manager has the network.
func (n *extNet) nsxt() bool { return len(n.backings) > 0 && n.backings[0].nsxt() }

// An edge is an edge gateway of a VDC.
type edge struct {
	thing
	vdc     string // id; of the VDC that it was made in where a group owns it
	group   string // id of the VDC group
	uplinks []uplink
	extra   string // the JSON that it was last written as
	service *node  // EdgeGatewayServiceConfiguration
	meta    metadata
}

// An uplink joins an edge to an external network. The ranges of its subnets are
// the addresses that the edge has for itself.
type uplink struct {
	net       string // id
	subnets   []ipScope
	primary   []string // address by subnet
	dedicated bool
}

// A netDoc is something that is kept as it was written: a pool of networks, an
// NSX-T manager, a rule, a set of addresses.
type netDoc struct {
	thing
	kind   string // "natRule"
	parent string // id of what it belongs to
	body   string // JSON
}

// fields are the JSON of a document as a map.
func (d *netDoc) fields() map[string]any { return asFields(d.body) }

func asFields(body string) map[string]any {
	out := map[string]any{}
	// It was made from JSON, or is empty.
	_ = json.Unmarshal([]byte(body), &out)
	return out
}

func asText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "{}"
	}
	return string(b)
}

// nsxt tells whether NSX-T provides a VDC's networks. NSX-V is gone since 10.4
// (VMware Cloud Director 10.4 release notes), so it is what the inventory says.
func (v *vdc) nsxt() bool { return v.networkProvider != "NSX_V" }

// scopes are a network's subnets, the first one first.
func (n *orgNet) scopes() []ipScope { return append([]ipScope{n.scope}, n.more...) }

// totalIPs is the size of a network's pools.
func (n *orgNet) totalIPs() int {
	total := 0
	for _, sc := range n.scopes() {
		total += sc.poolSize()
	}
	return total
}

// edgeAddresses are the addresses that edges have on a direct network's parent
// and that no VM there can have, so.
func (s *Server) edgeAddresses(org string) []netip.Addr {
	n := s.nets[org]
	if n == nil || n.mode != "bridged" || n.externalID == "" {
		return nil
	}
	var out []netip.Addr
	for _, e := range sorted(s.edges) {
		for _, u := range e.uplinks {
			if u.net != n.externalID {
				continue
			}
			for _, ip := range u.primary {
				if a, ok := addrOf(ip); ok {
					out = append(out, a)
				}
			}
		}
	}
	return out
}

// usedOn are the addresses of an external network that somebody has, without
// repetition.
func (s *Server) usedOn(n *extNet) []netip.Addr {
	seen, out := map[netip.Addr]bool{}, []netip.Addr(nil)
	keep := func(list []netip.Addr) {
		for _, a := range list {
			if !seen[a] {
				seen[a] = true
				out = append(out, a)
			}
		}
	}
	for _, o := range sorted(s.nets) {
		if o.externalID == n.id && o.mode == "bridged" {
			keep(s.takenOn(o.id, ""))
		}
	}
	for _, e := range sorted(s.edges) {
		for _, u := range e.uplinks {
			if u.net == n.id {
				keep(u.addresses())
			}
		}
	}
	return out
}

// addresses are what an edge has of an uplink: its own, and those that were set
// aside for it.
func (u uplink) addresses() []netip.Addr {
	var out []netip.Addr
	for _, ip := range u.primary {
		if a, ok := addrOf(ip); ok {
			out = append(out, a)
		}
	}
	for _, sc := range u.subnets {
		for _, r := range sc.ranges {
			rg, err := r.parse()
			for a := rg.first; err == nil && a.IsValid() && !rg.last.Less(a) && len(out) < 1<<16; a = a.Next() {
				if !slices.Contains(out, a) {
					out = append(out, a)
				}
			}
		}
	}
	return out
}

// extNamed finds an external network by name or id.
func (s *Server) extNamed(name string) *extNet {
	for _, n := range s.extNets {
		if n.id == name || n.name == name {
			return n
		}
	}
	return nil
}

// edgeNamed finds an edge of a VDC by name or id.
func (s *Server) edgeNamed(vdc, name string) *edge {
	for _, e := range s.edges {
		if e.id == name || e.vdc == vdc && e.name == name {
			return e
		}
	}
	return nil
}

// mode of a network as the OpenAPI names it.
var netTypes = map[string]string{"bridged": "DIRECT", "natRouted": "NAT_ROUTED", "isolated": "ISOLATED"}

// netsOfEdge are the org networks behind an edge.
func (s *Server) netsOfEdge(e *edge) []*orgNet {
	var out []*orgNet
	for _, n := range sorted(s.nets) {
		if n.edID == e.id && n.mode == "natRouted" {
			out = append(out, n)
		}
	}
	return out
}

// usersOf are the vApp networks that are on an org network.
func (s *Server) usersOf(n *orgNet) []*vappNet {
	var out []*vappNet
	for _, v := range sorted(s.vappNets) {
		if v.parent == n.id {
			out = append(out, v)
		}
	}
	return out
}
