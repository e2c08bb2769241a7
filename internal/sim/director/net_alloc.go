package director

import "net/netip"

// inScope are those of the addresses that are in a scope's subnet.
func inScope(addrs []netip.Addr, sc ipScope) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if sc.contains(a) {
			out = append(out, a)
		}
	}
	return out
}

// inPool tells whether an address is in a scope's pool.
func (sc ipScope) inPool(a netip.Addr) bool {
	for _, r := range sc.ranges {
		if rg, err := r.parse(); err == nil && rg.contains(a) {
			return true
		}
	}
	return false
}

// An allocation is an address that somebody has.
type allocation struct {
	ip, kind string // vmAllocated, natRouted, vsmAllocated
	deployed bool
	vm       *vm
	net      *vappNet
}

// allocations are the addresses in use on an org network.
func (s *Server) allocations(n *orgNet) []allocation {
	var out []allocation
	for _, v := range s.usersOf(n) {
		if v.mode() == "bridged" {
			out = append(out, nicAllocations(v)...)
			continue
		}
		for _, a := range v.outside() {
			out = append(out, allocation{ip: a.String(), kind: "natRouted", deployed: v.vapp.deployed, net: v})
		}
	}
	for _, a := range s.edgeAddresses(n.id) {
		out = append(out, allocation{ip: a.String(), kind: "vsmAllocated", deployed: true})
	}
	return out
}

func nicAllocations(v *vappNet) []allocation {
	var out []allocation
	for _, m := range v.vapp.vms {
		for _, k := range m.nics {
			if k.network == v.name && k.ip != "" {
				out = append(out, allocation{ip: k.ip, kind: "vmAllocated", deployed: m.deployed, vm: m})
			}
		}
	}
	return out
}

// allocatedAddresses is network/ID/allocatedAddresses.
func (c *call) allocatedAddresses() (*answer, error) {
	s, id := c.s, uuidIn(c.path("id"))
	var list []allocation
	if v := s.vappNets[id]; v != nil {
		if c.level(v.vapp) == accessNone {
			return nil, noAccess("network", id)
		}
		list = nicAllocations(v)
	} else if e := s.extNets[id]; e != nil && c.provider() {
		for _, a := range s.usedOn(e) {
			list = append(list, allocation{ip: a.String(), kind: "vsmAllocated", deployed: true})
		}
	} else {
		n, err := c.theOrgNet()
		if err != nil {
			return nil, err
		}
		list = s.allocations(n)
	}
	typ := mediaVCloud + "allocatedNetworkAddress"
	d := el("AllocatedIpAddresses", "href", s.href(c.r.URL.Path+"/"), "type", typ+"+xml")
	add(d, link("up", s.href("/api/network/"+id), ""))
	for _, a := range list {
		n := el("IpAddress", "allocationType", a.kind, "isDeployed", yes(a.deployed))
		switch {
		case a.vm != nil && c.level(a.vm.vapp) > accessNone:
			add(n, el("Link", "rel", "down", "href", s.vmHref(a.vm), "name", a.vm.name, "type", mediaVCloud+"vm+xml"))
		case a.net != nil && c.level(a.net.vapp) > accessNone:
			add(n, el("Link", "rel", "down", "href", s.href("/api/network/"+a.net.id), "name", a.net.name, "type", mediaVCloud+"vAppNetwork+xml"))
		}
		add(d, add(n, text("IpAddress", a.ip)))
	}
	return ok(typ, d), nil
}

// vappNetDoc is /network/ID of a vApp network.
func (s *Server) vappNetDoc(n *vappNet) *node {
	d := el("VAppNetwork", "deployed", yes(n.vapp.deployed), "name", n.name, "id", "urn:vcloud:network:"+n.id, "href", s.href("/api/network/"+n.id),
		"type", mediaVCloud+"vAppNetwork+xml")
	admin := s.href("/api/admin/network/" + n.id)
	add(d, link("edit", s.href("/api/network/"+n.id), mediaVCloud+"vAppNetwork+xml"), link("repair", admin+"/action/reset", ""))
	if n.mode() == "natRouted" {
		add(d, link("syncSyslogSettings", admin+"/action/syncSyslogServerSettings", mediaVCloud+"task+xml"))
	}
	add(d, link("up", s.vappHref(n.vapp), mediaVCloud+"vApp+xml"),
		link("down", s.href("/api/network/"+n.id)+"/allocatedAddresses/", mediaVCloud+"allocatedNetworkAddress+xml"), text("Description", n.desc), s.tasksOn(n.id, false))
	conf := s.configuration(n)
	if n.mode() == "bridged" {
		return add(d, conf)
	}
	used := s.takenIn(n, "")
	if scope := child(child(conf, "IpScopes"), "IpScope"); scope != nil && len(used) > 0 {
		list := el("AllocatedIpAddresses")
		for _, a := range used {
			add(list, text("IpAddress", a.String()))
		}
		add(scope, list)
	}
	return add(d, conf)
}
