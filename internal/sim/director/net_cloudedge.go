package director

import (
	"context"
	"slices"
	"strings"
)

// An edgeJSON is what a client may say of an edge gateway.
type edgeJSON struct {
	Name               string   `json:"name"`
	Description        string   `json:"description"`
	OwnerRef           *refJSON `json:"ownerRef"`
	OrgVdc             *refJSON `json:"orgVdc"`
	EdgeGatewayUplinks []struct {
		UplinkID  string      `json:"uplinkId"`
		Subnets   subnetsJSON `json:"subnets"`
		Dedicated bool        `json:"dedicated"`
	} `json:"edgeGatewayUplinks"`
}

// cloudEdge is an edge gateway as the OpenAPI shows it.
func (c *call) cloudEdge(e *edge) map[string]any {
	s, v := c.s, c.s.vdcs[e.vdc]
	uplinks := []any{}
	manager := map[string]any(nil)
	for _, u := range e.uplinks {
		n := s.extNets[u.net]
		if n == nil {
			continue
		}
		subnets := []any{}
		for i, sc := range u.subnets {
			row := sc.json(0)
			row["primaryIp"], row["autoAllocateIpRanges"] = nil, false
			if i < len(u.primary) && u.primary[i] != "" {
				row["primaryIp"] = u.primary[i]
			}
			if a := len(s.usedOfEdge(e, sc)); a > 0 {
				row["usedIpCount"] = a
			}
			subnets = append(subnets, row)
		}
		backing := "NSXT_TIER0"
		if len(n.backings) > 0 {
			backing = n.backings[0].typ
			if m := s.netDocs[n.backings[0].provider]; m != nil && manager == nil {
				manager = refTo("urn:vcloud:nsxtmanager:"+m.id, m.name)
			}
		}
		uplinks = append(uplinks, map[string]any{"uplinkId": "urn:vcloud:network:" + n.id, "uplinkName": n.name, "connected": true, "dedicated": u.dedicated,
			"subnets": map[string]any{"values": subnets}, "quickAddAllocatedIpCount": nil, "vrfLiteBacked": backing == "NSXT_VRF_TIER0",
			"usingIpSpace": usesIPSpaces(n.extra), "backingType": backing})
	}
	kind := "NSXT_BACKED"
	if !v.nsxt() {
		kind = "NSXV_BACKED"
	}
	ours := map[string]any{
		"id": "urn:vcloud:gateway:" + e.id, "name": e.name, "description": e.desc, "status": "REALIZED", "edgeGatewayUplinks": uplinks,
		"orgVdc": refTo("urn:vcloud:vdc:"+v.id, v.name), "ownerRef": s.ownerJSON(v, e.group), "orgRef": refTo("urn:vcloud:org:"+v.org, s.orgs[v.org].name),
		"orgVdcNetworkCount": len(s.netsOfEdge(e)), "distributedRoutingEnabled": v.nsxt(),
		"gatewayBacking": map[string]any{"backingId": e.id, "gatewayType": kind, "networkProvider": manager},
	}
	if e.group != "" {
		ours["orgVdc"] = nil // it is the group's
	}
	out := overlay(e.extra, ours)
	for k, def := range map[string]any{"serviceNetworkDefinition": "192.168.255.225/27", "usingIpSpace": false, "nonDistributedRoutingEnabled": false,
		"deploymentMode": "ACTIVE_STANDBY", "edgeClusterConfig": nil} {
		if out[k] == nil {
			out[k] = def
		}
	}
	if out["edgeClusterConfig"] == nil && v.nsxt() {
		out["edgeClusterConfig"] = map[string]any{"primaryEdgeCluster": map[string]any{"edgeClusterRef": refTo(uuidOf("edge cluster"), edgeCluster),
			"backingId": uuidOf("edge cluster")}, "secondaryEdgeCluster": nil}
	}
	return out
}

func (c *call) cloudEdges() (*answer, error) {
	var out []any
	for _, e := range sorted(c.s.edges) {
		if c.seesEdge(e) {
			out = append(out, c.cloudEdge(e))
		}
	}
	return c.list(out)
}

func (c *call) cloudGetEdge() (*answer, error) {
	e, err := c.theEdge()
	if err != nil {
		return nil, err
	}
	return asJSON(c.cloudEdge(e)), nil
}

// cloudPostEdge makes an edge gateway. Only the provider may.
func (c *call) cloudPostEdge() (*answer, error) {
	var b edgeJSON
	extra, err := c.jsonBody(&b)
	if err != nil {
		return nil, err
	}
	if !c.provider() {
		return nil, noRight("Organization vDC Gateway: Create", c.login.org.id)
	}
	v, group, err := c.ownerOfBody(b.OwnerRef, b.OrgVdc)
	if err != nil {
		return nil, err
	}
	if !v.nsxt() {
		return nil, badRequest("NSX-T does not provide the networks of VDC %q.", v.name)
	}
	e := &edge{thing: thing{id: newID(), seq: c.s.next()}, vdc: v.id, group: group}
	if err := c.readCloudEdge(e, &b, extra); err != nil {
		return nil, err
	}
	return c.cloudAccepted(c.start("edgeGatewayCreate", "Creating Edge Gateway", taskOwner{"edgeGateway", e.id, e.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.s.edges[e.id] = e
		return nil
	})), nil
}

// readCloudEdge takes over what a body says of an edge gateway.
func (c *call) readCloudEdge(e *edge, b *edgeJSON, extra map[string]any) error {
	e.name, e.desc = b.Name, b.Description
	if err := c.s.checkEdgeName(e, e.name); err != nil {
		return err
	}
	if len(b.EdgeGatewayUplinks) == 0 {
		return badRequest("The edge gateway %q needs an uplink.", e.name)
	}
	e.extra = asText(extra)
	var uplinks []uplink
	for i, w := range b.EdgeGatewayUplinks {
		n := c.s.extNets[uuidIn(w.UplinkID)]
		if n == nil {
			return badRequest("The external network %s of edge gateway %q does not exist.", w.UplinkID, e.name)
		}
		if !n.nsxt() {
			return badRequest("The external network %q is not provided by NSX-T.", n.name)
		}
		if err := c.s.mayDedicate(n, e, w.Dedicated); err != nil {
			return err
		}
		u := uplink{net: n.id, dedicated: w.Dedicated}
		for j, sub := range w.Subnets.Values {
			if err := c.s.joinSubnet(e, n, &u, sub, i == 0 && j == 0); err != nil {
				return err
			}
		}
		uplinks = append(uplinks, u)
	}
	e.uplinks = uplinks
	return nil
}

// mayDedicate refuses a second edge on an external network that one has for
// itself.
func (s *Server) mayDedicate(n *extNet, e *edge, dedicated bool) error {
	for _, o := range s.edges {
		for _, u := range o.uplinks {
			if o.id != e.id && u.net == n.id && (u.dedicated || dedicated) {
				return badRequest("The external network %q cannot be dedicated: edge gateway %q uses it.", n.name, o.name)
			}
		}
	}
	return nil
}

// joinSubnet gives an edge the addresses that it asks for on a subnet of an
// external network: they have to be in its pool, and nobody else's.
func (s *Server) joinSubnet(e *edge, n *extNet, u *uplink, sub subnetJSON, first bool) error {
	sc := sub.scope()
	i := slices.IndexFunc(n.subnets, func(o ipScope) bool { return sameAddress(o.gateway, sc.gateway) })
	if i < 0 && first && len(n.subnets) > 0 && len(sc.ranges) == 0 && sub.PrimaryIP == "" && !sub.AutoAllocateIPRanges {
		// A subnet that is not the external network's, and of which nothing
		// is asked, stands for the network's own.
		i, sc = 0, n.subnets[0]
		sc.ranges = nil
	}
	if i >= 0 && first && len(sc.ranges) == 0 && sub.PrimaryIP == "" && !sub.AutoAllocateIPRanges {
		// The first uplink gets a primary address, asked for or not.
		sub.AutoAllocateIPRanges, sub.TotalIPCount = true, 1
	}
	asks := len(sc.ranges) > 0 || sub.PrimaryIP != "" || sub.AutoAllocateIPRanges
	if i < 0 {
		if asks {
			return badRequest("The external network %q has no subnet with the gateway %s.", n.name, sc.gateway)
		}
		u.subnets, u.primary = append(u.subnets, sc), append(u.primary, "")
		return nil
	}
	taken := map[string]bool{}
	for _, o := range s.edges {
		for _, other := range o.uplinks {
			if o.id != e.id && other.net == n.id {
				for _, a := range other.addresses() {
					taken[a.String()] = true
				}
			}
		}
	}
	if sub.AutoAllocateIPRanges {
		if err := sc.allot(n, i, sub, taken); err != nil {
			return err
		}
	}
	primary := sub.PrimaryIP
	for _, a := range (uplink{subnets: []ipScope{sc}}).addresses() {
		if !n.subnets[i].inPool(a) {
			return badRequest("The IP address %s is not in the pool of external network %q.", a, n.name)
		}
		if taken[a.String()] {
			return badRequest("The IP address %s of external network %q is in use by another edge gateway.", a, n.name)
		}
		primary = or(primary, a.String())
	}
	if a, ok := addrOf(primary); primary != "" && (!ok || !sc.inPool(a)) {
		return badRequest("The primary IP address %s is not one of edge gateway %q.", primary, e.name)
	}
	u.subnets, u.primary = append(u.subnets, sc), append(u.primary, primary)
	return nil
}

// allot gives a subnet of an uplink as many addresses as it asks for: its
// primary one, others that it has, and free ones of the pool.
func (sc *ipScope) allot(n *extNet, i int, sub subnetJSON, taken map[string]bool) error {
	if sub.TotalIPCount < 1 {
		return badRequest("An edge gateway keeps its primary IP address on external network %q.", n.name)
	}
	has := uplink{subnets: []ipScope{*sc}, primary: []string{sub.PrimaryIP}}.addresses()
	for _, r := range n.subnets[i].ranges {
		rg, err := r.parse()
		for a := rg.first; err == nil && len(has) < sub.TotalIPCount && a.IsValid() && !rg.last.Less(a); a = a.Next() {
			if !taken[a.String()] && !slices.Contains(has, a) {
				has = append(has, a)
			}
		}
	}
	if len(has) < sub.TotalIPCount {
		return badRequest("The external network %q has not got %d addresses left.", n.name, sub.TotalIPCount)
	}
	sc.ranges = nil
	for _, a := range has[:sub.TotalIPCount] {
		sc.ranges = append(sc.ranges, IPRange{a.String(), a.String()})
	}
	return nil
}

func sameAddress(a, b string) bool {
	x, ok1 := addrOf(a)
	y, ok2 := addrOf(b)
	return ok1 && ok2 && x == y
}

func (c *call) cloudPutEdge() (*answer, error) {
	old, err := c.changeEdge()
	if err != nil {
		return nil, err
	}
	if !c.provider() {
		return nil, noRight("Organization vDC Gateway: Update", old.id)
	}
	var b edgeJSON
	extra, err := c.jsonBody(&b)
	if err != nil {
		return nil, err
	}
	e := *old
	if e.vdc, e.group, err = c.moved(b.OwnerRef, e.vdc, e.group); err != nil {
		return nil, err
	}
	for _, n := range c.s.netsOfEdge(old) {
		there := *n
		there.vdc, there.group = e.vdc, e.group
		if err := c.s.mayUnshare(n, &there); err != nil {
			return nil, err
		}
	}
	if err := c.readCloudEdge(&e, &b, extra); err != nil {
		return nil, err
	}
	return c.cloudAccepted(c.start("edgeGatewayUpdate", "Updating Edge Gateway", taskOwner{"edgeGateway", e.id, e.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		meta := old.meta
		*old = e
		old.meta = meta
		c.s.renameEdge(old, e.name, e.desc)
		// The networks behind an edge go where it goes.
		for _, n := range c.s.netsOfEdge(old) {
			n.vdc, n.group = old.vdc, old.group
		}
		return nil
	})), nil
}

func (c *call) cloudDeleteEdge() (*answer, error) {
	e, err := c.changeEdge()
	if err != nil {
		return nil, err
	}
	t, err := c.removeEdge(e)
	if err != nil {
		return nil, err
	}
	return c.cloudAccepted(t), nil
}

// usedOfEdge are the addresses of a subnet that an edge does something with.
func (s *Server) usedOfEdge(e *edge, sc ipScope) []map[string]any {
	var out []map[string]any
	seen := map[string]bool{}
	keep := func(ip, category string, network any) {
		if a, ok := addrOf(ip); ok && sc.contains(a) && !seen[ip] {
			seen[ip] = true
			out = append(out, map[string]any{"ipAddress": ip, "category": category, "networkRef": network})
		}
	}
	for _, u := range e.uplinks {
		ref := any(nil)
		if n := s.extNets[u.net]; n != nil {
			ref = refTo("urn:vcloud:network:"+n.id, n.name)
		}
		for _, ip := range u.primary {
			keep(ip, "PRIMARY_IP", ref)
		}
		for _, d := range sorted(s.netDocs) {
			if d.parent == e.id && d.kind == "natRule" {
				ip, _ := d.fields()["externalAddresses"].(string)
				ip, _, _ = strings.Cut(ip, "/")
				keep(ip, "NAT", ref)
			}
		}
	}
	return out
}

// usedIPs lists the addresses that an edge uses.
func (c *call) usedIPs() (*answer, error) {
	e, err := c.theEdge()
	if err != nil {
		return nil, err
	}
	var out []any
	for _, u := range e.uplinks {
		for _, sc := range u.subnets {
			for _, row := range c.s.usedOfEdge(e, sc) {
				out = append(out, row)
			}
		}
	}
	return c.list(out)
}
