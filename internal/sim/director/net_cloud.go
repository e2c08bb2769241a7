package director

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// An orgNetJSON is what a client may say of an org network.
type orgNetJSON struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	OwnerRef    *refJSON    `json:"ownerRef"`
	OrgVdc      *refJSON    `json:"orgVdc"`
	NetworkType string      `json:"networkType"`
	Subnets     subnetsJSON `json:"subnets"`
	Connection  *struct {
		RouterRef           refJSON `json:"routerRef"`
		ConnectionType      string  `json:"connectionType"`
		ConnectionTypeValue string  `json:"connectionTypeValue"`
	} `json:"connection"`
	ParentNetwork           *refJSON `json:"parentNetworkId"`
	BackingNetworkID        string   `json:"backingNetworkId"`
	BackingNetworkType      string   `json:"backingNetworkType"`
	GuestVlanTaggingAllowed bool     `json:"guestVlanTaggingAllowed"`
	Shared                  *bool    `json:"shared"`
}

// cloudNet is an org network as the OpenAPI shows it.
func (c *call) cloudNet(n *orgNet) map[string]any {
	s, v := c.s, c.s.vdcs[n.vdc]
	used := s.takenOn(n.id, "")
	subnets := []any{}
	for _, sc := range n.scopes() {
		subnets = append(subnets, sc.json(len(inScope(used, sc))))
	}
	ours := map[string]any{
		"id": "urn:vcloud:network:" + n.id, "name": n.name, "description": n.desc, "status": "REALIZED",
		"subnets": map[string]any{"values": subnets}, "networkType": or(n.opaque, netTypes[n.mode]),
		"orgVdc": refTo("urn:vcloud:vdc:"+v.id, v.name), "ownerRef": s.ownerJSON(v, n.group), "orgRef": refTo("urn:vcloud:org:"+v.org, s.orgs[v.org].name),
		"orgVdcIsNsxTBacked": v.nsxt(), "connection": nil, "parentNetworkId": nil, "isDefaultNetwork": false, "shared": n.shared,
		"guestVlanTaggingAllowed": n.guestVLAN, "retainNicResources": false, "totalIpCount": n.totalIPs(), "usedIpCount": len(used),
		"enableDualSubnetNetwork": len(n.more) > 0, "crossVdcNetworkId": nil, "crossVdcNetworkLocationId": nil, "segmentProfileTemplateRef": nil,
		"backingNetworkId": or(n.backing, n.id), "backingNetworkType": "NSXT_FLEXIBLE_SEGMENT",
	}
	if n.group != "" {
		ours["orgVdc"] = nil // it is the group's
	}
	switch {
	case n.opaque != "":
		ours["backingNetworkType"] = asFields(n.extra)["backingNetworkType"]
	case n.portgroup != "" || !v.nsxt():
		ours["backingNetworkType"] = "VIRTUAL_WIRE"
	}
	if e := s.edges[n.edID]; e != nil && n.mode == "natRouted" {
		ours["connection"] = map[string]any{"routerRef": refTo("urn:vcloud:gateway:"+e.id, e.name), "connectionType": legacyConnection(n.connection),
			"connectionTypeValue": n.connection, "connected": true}
	}
	if e := s.extNets[n.externalID]; e != nil && n.mode == "bridged" {
		ours["parentNetworkId"] = refTo("urn:vcloud:network:"+e.id, e.name)
	}
	return overlay(n.extra, ours)
}

// legacyConnection is what the older field can say of a connection.
func legacyConnection(c string) string {
	if c == "NON_DISTRIBUTED" {
		return "INTERNAL"
	}
	return c
}

func (c *call) cloudNets() (*answer, error) {
	var out []any
	for _, n := range sorted(c.s.nets) {
		if c.seesNet(n) {
			out = append(out, c.cloudNet(n))
		}
	}
	return c.list(out)
}

// urnNet is the org network that the path names by its URN.
func (c *call) urnNet() (*orgNet, error) {
	n := c.s.nets[uuidIn(c.path("urn"))]
	if n == nil || !c.seesNet(n) {
		return nil, missing("network", c.path("urn"))
	}
	return n, nil
}

func (c *call) changeURNNet() (*orgNet, error) {
	n, err := c.urnNet()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(c.s.vdcs[n.vdc].org) {
		return nil, noRight("Organization vDC Network: Edit Properties", n.id)
	}
	if c.s.underWay(n.id) {
		return nil, busy("com.vmware.vcloud.entity.network", n.name)
	}
	return n, nil
}

func (c *call) cloudGetNet() (*answer, error) {
	n, err := c.urnNet()
	if err != nil {
		return nil, err
	}
	return asJSON(c.cloudNet(n)), nil
}

// cloudPostNet makes an org network.
func (c *call) cloudPostNet() (*answer, error) {
	var b orgNetJSON
	extra, err := c.jsonBody(&b)
	if err != nil {
		return nil, err
	}
	v, group, err := c.ownerOfBody(b.OwnerRef, b.OrgVdc)
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(v.org) {
		return nil, noRight("Organization vDC Network: Create", v.id)
	}
	n := &orgNet{thing: thing{id: newID(), seq: c.s.next()}, vdc: v.id, group: group}
	if err := c.readCloudNet(n, &b, extra); err != nil {
		return nil, err
	}
	return c.cloudAccepted(c.start("networkCreateOrgVdcNetwork", "Created Network", taskOwner{"network", n.id, n.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if err := c.s.checkOrgNet(n); err != nil {
			return err
		}
		c.s.nets[n.id] = n
		return nil
	})), nil
}

// readCloudNet takes over what a body says of an org network.
func (c *call) readCloudNet(n *orgNet, b *orgNetJSON, extra map[string]any) error {
	n.name, n.desc, n.guestVLAN = b.Name, b.Description, b.GuestVlanTaggingAllowed
	if b.Shared != nil {
		n.shared = *b.Shared
	}
	template := cmp.Or(refID(extra, "segmentProfileTemplateRef"), refID(extra, "segmentProfileTemplate"))
	delete(extra, "segmentProfileTemplateRef")
	delete(extra, "segmentProfileTemplate")
	n.extra = asText(extra)
	mode := ""
	for k, t := range netTypes {
		if t == b.NetworkType {
			mode = k
		}
	}
	if b.NetworkType == "OPAQUE" {
		mode, n.opaque, n.backing = "isolated", "OPAQUE", b.BackingNetworkID
		if n.backing == "" {
			return badRequest("The imported network %q needs a backing network.", n.name)
		}
	}
	if mode == "" {
		return badRequest("The network type %q is not valid.", b.NetworkType)
	}
	if n.mode != "" && n.mode != mode {
		return badRequest("The network %q cannot become %s.", n.name, b.NetworkType)
	}
	n.mode = mode
	switch mode {
	case "bridged":
		if b.ParentNetwork == nil {
			return badRequest("The direct network %q needs a parent network.", n.name)
		}
		if err := c.joinExternal(n, uuidIn(b.ParentNetwork.ID)); err != nil {
			return err
		}
	case "natRouted":
		if err := c.connectCloudNet(n, b); err != nil {
			return err
		}
	}
	if mode != "bridged" {
		scopes := b.Subnets.scopes()
		if len(scopes) == 0 {
			return badRequest("The network %q needs a subnet.", n.name)
		}
		n.scope, n.more = scopes[0], scopes[1:]
	}
	if err := c.s.checkOrgNet(n); err != nil || template == "" {
		return err
	}
	// The template shows among the segment profiles alone.
	d := c.s.netDocs[uuidIn(template)]
	if d == nil || d.kind != segTemplates.kind {
		return badRequest("The segment profile template %s does not exist.", template)
	}
	segProfiles.keep(c.s, n.id, map[string]any{"segmentProfileTemplate": map[string]any{"source": "ORG_VDC_NETWORK", "templateRef": refTo(template, d.name)}})
	return nil
}

// connectCloudNet connects a routed network to its edge.
func (c *call) connectCloudNet(n *orgNet, b *orgNetJSON) error {
	if b.Connection == nil {
		return badRequest("The routed network %q needs a connection.", n.name)
	}
	if err := c.joinEdge(n, uuidIn(b.Connection.RouterRef.ID)); err != nil {
		return err
	}
	n.connection = or(b.Connection.ConnectionTypeValue, b.Connection.ConnectionType, "INTERNAL")
	kinds := []string{"INTERNAL", "NON_DISTRIBUTED"}
	if !c.s.vdcs[n.vdc].nsxt() {
		kinds = []string{"INTERNAL", "SUBINTERFACE", "DISTRIBUTED"}
	}
	if !slices.Contains(kinds, n.connection) {
		return badRequest("The connection type %q of network %q is not valid.", n.connection, n.name)
	}
	if e := c.s.edges[n.edID]; n.connection == "NON_DISTRIBUTED" && asFields(e.extra)["nonDistributedRoutingEnabled"] != true {
		return badRequest("The edge gateway %q has no non-distributed routing.", e.name)
	}
	return nil
}

func (c *call) cloudPutNet() (*answer, error) {
	old, err := c.changeURNNet()
	if err != nil {
		return nil, err
	}
	var b orgNetJSON
	extra, err := c.jsonBody(&b)
	if err != nil {
		return nil, err
	}
	n := *old
	if n.vdc, n.group, err = c.moved(b.OwnerRef, n.vdc, n.group); err != nil {
		return nil, err
	}
	if err := c.readCloudNet(&n, &b, extra); err != nil {
		return nil, err
	}
	if err := c.s.mayUnshare(old, &n); err != nil {
		return nil, err
	}
	return c.cloudAccepted(c.writeNet("networkUpdateNetwork", "Updating Network", old, &n)), nil
}

func (c *call) cloudDeleteNet() (*answer, error) {
	n, err := c.changeURNNet()
	if err != nil {
		return nil, err
	}
	t, err := c.removeNet(n)
	if err != nil {
		return nil, err
	}
	return c.cloudAccepted(t), nil
}

// cloudAllocated lists the addresses in use on an org network.
func (c *call) cloudAllocated() (*answer, error) {
	n, err := c.urnNet()
	if err != nil {
		return nil, err
	}
	kinds := map[string]string{"vmAllocated": "VM_ALLOCATED", "natRouted": "NAT_ROUTED", "vsmAllocated": "VSM_ALLOCATED"}
	var out []any
	for _, a := range c.s.allocations(n) {
		row := map[string]any{"ipAddress": a.ip, "allocationType": kinds[a.kind], "isDeployed": a.deployed, "entity": nil}
		if a.vm != nil && c.level(a.vm.vapp) > accessNone {
			row["entity"] = refTo("urn:vcloud:vm:"+a.vm.id, a.vm.name)
		}
		if a.net != nil {
			row["entity"] = refTo("urn:vcloud:network:"+a.net.id, a.net.name)
		}
		out = append(out, row)
	}
	return c.list(out)
}

// A dhcpJSON is the DHCP of an org network.
type dhcpJSON struct {
	Enabled   bool   `json:"enabled"`
	Mode      string `json:"mode"`
	IPAddress string `json:"ipAddress"`
	Pools     []struct {
		IPRange rangeJSON `json:"ipRange"`
	} `json:"dhcpPools"`
}

func (c *call) getDHCP() (*answer, error) {
	n, err := c.urnNet()
	if err != nil {
		return nil, err
	}
	if n.dhcp == "" {
		return asJSON(map[string]any{"enabled": false, "leaseTime": nil, "dhcpPools": []any{}, "mode": nil, "ipAddress": nil, "dnsServers": nil}), nil
	}
	return asJSON(asFields(n.dhcp)), nil
}

func (c *call) putDHCP() (*answer, error) {
	n, err := c.changeURNNet()
	if err != nil {
		return nil, err
	}
	var b dhcpJSON
	body, err := c.jsonBody(&b)
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"", "EDGE", "NETWORK", "RELAY"}, b.Mode) {
		return nil, badRequest("The DHCP mode %q is not valid.", b.Mode)
	}
	if n.mode == "isolated" && b.Enabled && b.Mode != "NETWORK" && c.s.vdcs[n.vdc].nsxt() {
		return nil, badRequest("The isolated network %q has DHCP in mode NETWORK alone.", n.name)
	}
	if b.Mode == "NETWORK" && b.IPAddress == "" {
		return nil, badRequest("DHCP in mode NETWORK needs an IP address.")
	}
	for _, p := range b.Pools {
		if err := n.checkCloudPool(IPRange{p.IPRange.StartAddress, p.IPRange.EndAddress}); err != nil {
			return nil, err
		}
	}
	return c.cloudAccepted(c.start("networkUpdateDhcp", "Updating DHCP of Network", taskOwner{"network", n.id, n.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		n.dhcp = asText(body)
		return nil
	})), nil
}

// checkCloudPool checks a DHCP range against the subnet that it is in.
func (n *orgNet) checkCloudPool(r IPRange) error {
	rg, err := r.parse()
	if err != nil {
		return badRequest("The DHCP range %s - %s is not one.", r.Start, r.End)
	}
	for _, sc := range n.scopes() {
		if p, known := sc.prefix(); known && p.Contains(rg.first) {
			return checkPool(n.name, sc, r)
		}
	}
	return checkPool(n.name, n.scope, r)
}

func (c *call) deleteDHCP() (*answer, error) {
	n, err := c.changeURNNet()
	if err != nil {
		return nil, err
	}
	return c.cloudAccepted(c.start("networkUpdateDhcp", "Removing DHCP of Network", taskOwner{"network", n.id, n.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		n.dhcp = ""
		for id, d := range c.s.netDocs {
			if d.parent == n.id && d.kind == "dhcpBinding" {
				delete(c.s.netDocs, id)
			}
		}
		return nil
	})), nil
}

// netCapabilities is what the networks of a VDC or a VDC group can do.
func (c *call) netCapabilities() (*answer, error) {
	v := c.s.vdcs[uuidIn(c.path("urn"))]
	if g := c.s.netDocs[uuidIn(c.path("urn"))]; g != nil && g.kind == vdcGroups.kind {
		for _, m := range c.s.vdcsOfGroup(g) {
			v = m
		}
	}
	if v == nil || !c.provider() && v.org != c.login.org.id {
		return nil, missing("vdc", c.path("urn"))
	}
	provider := "NSX_T"
	if !v.nsxt() {
		provider = "NSX_V"
	}
	var out []any
	for _, kv := range []struct {
		name  string
		value any
	}{{"supportedNetworkTypes", []string{"NAT_ROUTED", "ISOLATED", "DIRECT"}}, {"networkProvider", provider}, {"vdcGroupTypes", []string{"LOCAL"}},
		{"crossVdc", false}, {"edgeFirewall", true}, {"edgeFirewallGlobalConfig", false}, {"securityGroupSupported", v.nsxt()}} {
		out = append(out, map[string]any{"name": kv.name, "value": kv.value, "category": strings.ToUpper("network")})
	}
	return c.list(out)
}
