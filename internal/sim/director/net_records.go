package director

import "strings"

func netRecords() map[string]recordType {
	return map[string]recordType{
		"orgVdcNetwork":               {list: (*call).networkRecords},
		"orgNetwork":                  {list: (*call).orgNetworkRecords},
		"adminOrgNetwork":             {list: (*call).orgNetworkRecords, admin: true},
		"vAppNetwork":                 {list: (*call).vappNetworkRecords},
		"adminVAppNetwork":            {list: (*call).vappNetworkRecords, admin: true},
		"vAppOrgNetworkRelation":      {list: (*call).relationRecords},
		"adminVAppOrgNetworkRelation": {list: (*call).relationRecords, admin: true},
		"edgeGateway":                 {list: (*call).edgeRecords},
		"externalNetwork":             {list: (*call).externalRecords, admin: true},
		"portgroup":                   {list: (*call).portgroupRecords, admin: true},
		"networkPool":                 {list: (*call).poolRecords, admin: true},
		"nsxTManager":                 {list: (*call).managerRecords, admin: true},
		"allocatedExternalAddress":    {list: (*call).allocatedRecords},
	}
}

// networkLinks are what a VDC says of its networks.
func (c *call) networkLinks(v *vdc) []*node {
	href := c.s.href("/api/admin/vdc/" + v.id)
	out := []*node{link("edgeGateways", href+"/edgeGateways", mediaVCloud+"query.records+xml"),
		link("orgVdcNetworks", href+"/networks", mediaVCloud+"query.records+xml")}
	if c.orgAdmin(v.org) {
		out = append(out, link("add", href+"/networks", mediaVCloud+"orgVdcNetwork+xml"))
	}
	return out
}

func (c *call) networkRecords() []*record {
	s := c.s
	// The kinds as numbers, as a real installation answers them.
	kinds := map[string]string{"bridged": "0", "natRouted": "1", "isolated": "2"}
	faces := map[string]string{"INTERNAL": "0", "SUBINTERFACE": "1", "DISTRIBUTED": "2"}
	var out []*record
	for _, n := range sorted(s.nets) {
		if !c.seesNet(n) {
			continue
		}
		v := s.vdcs[n.vdc]
		r := &record{tag: "OrgVdcNetworkRecord", meta: n.meta, attrs: []string{"href", s.href("/api/network/" + n.id), "name", n.name,
			"defaultGateway", n.scope.gateway, "netmask", n.scope.netmask, "dns1", n.scope.dns1, "dns2", n.scope.dns2, "dnsSuffix", n.scope.suffix,
			"linkType", kinds[n.mode], "connectedTo", n.connectedTo(), "vdc", s.href("/api/vdc/" + v.id), "vdcName", v.name,
			"isBusy", yes(s.underWay(n.id)), "isShared", yes(n.shared), "isIpScopeInherited", yes(n.mode == "bridged"),
			"usedIpCount", num(len(s.takenOn(n.id, ""))), "totalIpCount", num(n.totalIPs())}}
		if n.mode == "natRouted" {
			r.attrs = append(r.attrs, "interfaceType", or(faces[n.connection], "0"))
		}
		out = append(out, r)
	}
	return out
}

// connectedTo is what a network is connected to, by name. An isolated one is
// connected to itself.
func (n *orgNet) connectedTo() string {
	switch n.mode {
	case "natRouted":
		return n.edge
	case "bridged":
		return n.external
	}
	return n.name
}

// orgNetworkRecords are the networks of organizations, which live in VDCs since
// 5.1.
func (c *call) orgNetworkRecords() []*record {
	s := c.s
	var out []*record
	for _, n := range sorted(s.nets) {
		if !c.seesNet(n) {
			continue
		}
		o := s.orgs[s.vdcs[n.vdc].org]
		r := &record{tag: "OrgNetworkRecord", meta: n.meta, attrs: []string{"href", s.href("/api/network/" + n.id), "name", n.name,
			"org", s.href("/api/org/" + o.id), "isIpScopeInherited", yes(n.mode == "bridged"), "gateway", n.scope.gateway, "netmask", n.scope.netmask,
			"dns1", n.scope.dns1, "dns2", n.scope.dns2, "isBusy", yes(s.underWay(n.id))}}
		if c.adminQuery() {
			r.tag = "AdminOrgNetworkRecord"
			r.attrs = append(r.attrs, "orgName", o.name)
			r.attrs[1] = s.href("/api/admin/network/" + n.id)
		} else {
			r.attrs = append(r.attrs, "dnsSuffix", n.scope.suffix)
		}
		out = append(out, r)
	}
	return out
}

func (c *call) vappNetworkRecords() []*record {
	s := c.s
	var out []*record
	for _, n := range sorted(s.vappNets) {
		if s.vapps[n.vapp.id] == nil || c.level(n.vapp) == accessNone {
			continue
		}
		sc := s.poolOf(n)
		r := &record{tag: "VAppNetworkRecord", attrs: []string{"href", s.href("/api/network/" + n.id), "name", n.name,
			"isIpScopeInherited", yes(s.inherits(n)), "gateway", sc.gateway, "netmask", sc.netmask, "dns1", sc.dns1, "dns2", sc.dns2,
			"dnsSuffix", sc.suffix, "vApp", s.vappHref(n.vapp), "isBusy", yes(s.occupied(n.vapp, nil)),
			// Whether it stands for an org network (newer than the schemas).
			"isLinked", yes(s.inherits(n))}}
		if c.adminQuery() {
			r.tag = "AdminVAppNetworkRecord"
			r.attrs = append(r.attrs, "vappName", n.vapp.name, "org", s.href("/api/org/"+s.orgOf(n.vapp).id))
		} else {
			r.attrs = append(r.attrs, "vAppName", n.vapp.name)
		}
		out = append(out, r)
	}
	return out
}

func (c *call) relationRecords() []*record {
	s := c.s
	var out []*record
	for _, n := range sorted(s.vappNets) {
		p := s.nets[n.parent]
		if p == nil || s.vapps[n.vapp.id] == nil || c.level(n.vapp) == accessNone {
			continue
		}
		owner := s.users[n.vapp.owner]
		if owner == nil {
			owner = s.systemUser()
		}
		r := &record{tag: "VAppOrgNetworkRelationRecord", vapp: n.vapp, attrs: []string{"href", s.vappHref(n.vapp), "name", n.vapp.name,
			"org", s.href("/api/org/" + s.orgOf(n.vapp).id), "orgNetwork", s.href("/api/network/" + p.id), "orgNetworkName", p.name,
			"configurationType", n.mode(), "ownerName", owner.name}}
		r.load = func(r *record) { r.attrs = append(r.attrs, "status", stateNames[n.vapp.state()]) }
		out = append(out, r)
	}
	return out
}

func (c *call) edgeRecords() []*record {
	s := c.s
	var out []*record
	for _, e := range sorted(s.edges) {
		v := s.vdcs[e.vdc]
		if v == nil || !c.seesEdge(e) {
			continue
		}
		out = append(out, &record{tag: "EdgeGatewayRecord", meta: e.meta, attrs: []string{"href", s.href("/api/admin/edgeGateway/" + e.id), "name", e.name,
			"vdc", s.href("/api/vdc/" + v.id), "orgVdcName", v.name, "numberOfExtNetworks", num(len(e.uplinks)),
			"numberOfOrgNetworks", num(len(s.netsOfEdge(e))), "isBusy", yes(s.underWay(e.id)), "gatewayStatus", "READY", "haStatus", "DISABLED",
			"availableNetCount", num(max(0, 10-len(e.uplinks)-len(s.netsOfEdge(e)))), "advancedNetworkingEnabled", "true", "distributedRoutingEnabled", "false"}})
	}
	return out
}

// vdcEdges is the query that the edgeGateways link of a VDC leads to.
func (c *call) vdcEdges() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	return c.recordsOf("edgeGateway", c.edgeRecords(), v)
}

// recordsOf are those of the records that belong to a VDC.
func (c *call) recordsOf(name string, all []*record, v *vdc) (*answer, error) {
	var recs []*record
	for _, r := range all {
		if at, _ := r.get("vdc"); strings.HasSuffix(at, v.id) {
			recs = append(recs, r)
		}
	}
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	return ok(mediaVCloud+"query.records", c.queryResult(name, "records", p, recs)), nil
}

func (c *call) externalRecords() []*record {
	var out []*record
	for _, n := range sorted(c.s.extNets) {
		sc := ipScope{}
		if len(n.subnets) > 0 {
			sc = n.subnets[0]
		}
		out = append(out, &record{tag: "NetworkRecord", meta: n.meta, attrs: []string{"href", c.s.href("/api/admin/extension/externalnet/" + n.id), "name", n.name,
			"gateway", sc.gateway, "netmask", sc.netmask, "dns1", sc.dns1, "dns2", sc.dns2, "dnsSuffix", sc.suffix, "isBusy", yes(c.s.underWay(n.id))}})
	}
	return out
}

func (c *call) portgroupRecords() []*record {
	s := c.s
	var out []*record
	for _, vc := range sorted(s.vcenters) {
		pgs, err := s.portgroupsOf(c.r.Context(), vc)
		if err != nil {
			continue // a vCenter that does not answer has none to offer
		}
		for _, p := range pgs {
			r := &record{tag: "PortgroupRecord", attrs: []string{"href", s.href("/api/admin/extension/vimServer/" + vc.id), "moref", p.moref, "name", p.name,
				"portgroupType", p.typ, "vc", s.href("/api/admin/extension/vimServer/" + vc.id), "vcName", vc.name, "isVCEnabled", "true"}}
			r.attrs = append(r.attrs, s.portgroupUser(vc, p)...)
			out = append(out, r)
		}
	}
	return out
}

// portgroupUser says which network a port group is the backing of: scope type
// -1 is nobody's, 0 the provider's, 2 a vApp's. Nobody's has the network name
// "--": clients look for that (pyvcloud's portgroup_helper.py).
func (s *Server) portgroupUser(vc *vcenter, p portgroup) []string {
	for _, n := range s.extNets {
		if len(n.backings) > 0 && n.backings[0].provider == vc.id && (n.backings[0].id == p.moref || n.backings[0].id == p.name) {
			return []string{"network", s.href("/api/admin/network/" + n.id), "networkName", n.name, "scopeType", "0"}
		}
	}
	for _, n := range s.vappNets {
		if n.portgroup == p.name {
			return []string{"network", s.href("/api/network/" + n.id), "networkName", n.name, "scopeType", "2"}
		}
	}
	return []string{"networkName", "--", "scopeType", "-1"}
}

// poolTypes are the numbers of the pool types in query records.
var poolTypes = map[string]string{"VLAN": "0", "PORTGROUP_BACKED": "2", "VXLAN": "3", "GENEVE": "4"}

func (c *call) poolRecords() []*record {
	var out []*record
	for _, p := range sorted(c.s.netDocs) {
		if p.kind == "networkPool" {
			typ, _ := p.fields()["poolType"].(string)
			out = append(out, &record{tag: "NetworkPoolRecord", attrs: []string{"href", c.s.href("/api/admin/extension/networkPool/" + p.id), "name", p.name,
				"networkPoolType", or(poolTypes[typ], "4"), "isBusy", "false"}})
		}
	}
	return out
}

func (c *call) managerRecords() []*record {
	var out []*record
	for _, m := range sorted(c.s.netDocs) {
		if m.kind == "nsxtManager" {
			url, _ := m.fields()["url"].(string)
			out = append(out, &record{tag: "NsxTManagerRecord", attrs: []string{"href", c.s.href("/api/admin/extension/nsxtManagers/" + m.id), "name", m.name, "url", url}})
		}
	}
	return out
}

func (c *call) allocatedRecords() []*record {
	s := c.s
	var out []*record
	for _, n := range sorted(s.nets) {
		if n.mode != "bridged" || !c.seesNet(n) {
			continue
		}
		for _, a := range s.allocations(n) {
			out = append(out, &record{tag: "AllocatedExternalAddressRecord", attrs: []string{"href", s.href("/api/network/" + n.id),
				"network", s.href("/api/network/" + n.id), "ipAddress", a.ip, "linkedNetwork", s.href("/api/network/" + n.id)}})
		}
	}
	return out
}
