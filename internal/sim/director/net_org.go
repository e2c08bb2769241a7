package director

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// theOrgNet is the org network of the path, if the caller may see it.
func (c *call) theOrgNet() (*orgNet, error) {
	id := uuidIn(c.path("id"))
	n := c.s.nets[id]
	if n == nil {
		return nil, missing("network", or(id, c.path("id")))
	}
	if !c.seesNet(n) {
		return nil, noAccess("network", id)
	}
	return n, nil
}

func (c *call) seesNet(n *orgNet) bool {
	v := c.s.vdcs[n.vdc]
	return c.provider() || v != nil && v.org == c.login.org.id
}

// changeOrgNet is theOrgNet for a change.
func (c *call) changeOrgNet() (*orgNet, error) {
	n, err := c.theOrgNet()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(c.s.vdcs[n.vdc].org) || n.mode == "bridged" && !c.provider() {
		return nil, noRight("Organization vDC Network: Edit Properties", n.id)
	}
	if c.s.underWay(n.id) {
		return nil, busy("com.vmware.vcloud.entity.network", n.name)
	}
	return n, nil
}

// underWay tells whether a task occupies an entity.
func (s *Server) underWay(id string) bool {
	for _, t := range s.running {
		if slices.Contains(t.busy, id) {
			return true
		}
	}
	return false
}

// getNetwork is an org network, a vApp network or an external network,
// whichever has the id.
func (c *call) getNetwork() (*answer, error) {
	s, id := c.s, uuidIn(c.path("id"))
	if n := s.vappNets[id]; n != nil {
		if c.level(n.vapp) == accessNone {
			return nil, noAccess("network", id)
		}
		return ok(mediaVCloud+"vAppNetwork", s.vappNetDoc(n)), nil
	}
	if n := s.extNets[id]; n != nil && c.provider() {
		return ok(mediaAdmin+"vmwexternalnet", s.extNetDoc(n)), nil
	}
	n, err := c.theOrgNet()
	if err != nil {
		return nil, err
	}
	return ok(mediaVCloud+"orgVdcNetwork", c.orgNetDoc(n, strings.HasPrefix(c.r.URL.Path, "/api/admin/"))), nil
}

// orgNetDoc is the document of an org network.
func (c *call) orgNetDoc(n *orgNet, admin bool) *node {
	s, v := c.s, c.s.vdcs[n.vdc]
	href, plain := s.href("/api/network/"+n.id), s.href("/api/network/"+n.id)
	if admin {
		href = s.href("/api/admin/network/" + n.id)
	}
	d := el("OrgVdcNetwork", "status", "1", "name", n.name, "id", "urn:vcloud:network:"+n.id, "href", href, "type", mediaVCloud+"orgVdcNetwork+xml")
	if c.orgAdmin(v.org) {
		change := s.href("/api/admin/network/" + n.id)
		if !admin {
			add(d, link("alternate", change, mediaVCloud+"orgVdcNetwork+xml"))
		}
		add(d, link("edit", change, mediaVCloud+"orgVdcNetwork+xml"), link("remove", change, ""), link("repair", change+"/action/reset", ""))
	}
	if c.provider() {
		add(d, link("up", s.href("/api/admin/vdc/"+v.id), mediaAdmin+"vdc+xml"))
	}
	add(d, link("up", s.href("/api/vdc/"+v.id), mediaVCloud+"vdc+xml"), link("down", plain+"/metadata", mediaVCloud+"metadata+xml"),
		link("down", href+"/allocatedAddresses/", mediaVCloud+"allocatedNetworkAddress+xml"),
		text("Description", n.desc), s.tasksOn(n.id, false))
	scopes := el("IpScopes")
	for _, sc := range n.scopes() {
		add(scopes, scopeNode(sc, n.mode == "bridged", inScope(s.takenOn(n.id, ""), sc)))
	}
	conf := add(el("Configuration"), scopes)
	if n.mode == "bridged" && n.external != "" && c.provider() {
		add(conf, el("ParentNetwork", "href", s.href("/api/admin/network/"+n.externalID), "id", "urn:vcloud:network:"+n.externalID, "name", n.external,
			"type", mediaAdmin+"network+xml"))
	}
	add(conf, text("FenceMode", n.mode), boolean("RetainNetInfoAcrossDeployments", false))
	if n.mode == "natRouted" {
		add(conf, boolean("SubInterface", n.connection == "SUBINTERFACE"), boolean("DistributedInterface", n.connection == "DISTRIBUTED"))
	}
	add(d, add(conf, boolean("GuestVlanAllowed", n.guestVLAN)))
	if e := s.edges[n.edID]; n.mode == "natRouted" && e != nil {
		add(d, s.edgeRef("EdgeGateway", e))
	}
	if n.service != nil {
		add(d, n.service.Copy())
	}
	return add(d, boolean("IsShared", n.shared))
}

// listOrgNets is the query that the orgVdcNetworks link of a VDC leads to.
func (c *call) listOrgNets() (*answer, error) {
	v, err := c.adminVDC()
	if err != nil {
		return nil, err
	}
	return c.recordsOf("orgVdcNetwork", c.networkRecords(), v)
}

// adminVDC is the VDC of the path for somebody who may change its networks.
func (c *call) adminVDC() (*vdc, error) {
	v, err := c.theVDC()
	if err == nil && !c.orgAdmin(v.org) {
		err = noRight("Organization vDC Network: Edit Properties", v.id)
	}
	return v, err
}

// postOrgNet makes an org network.
func (c *call) postOrgNet() (*answer, error) {
	v, err := c.adminVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "OrgVdcNetwork")
	if err != nil {
		return nil, err
	}
	n := &orgNet{thing: thing{id: newID(), seq: c.s.next()}, vdc: v.id, mode: value(child(doc, "Configuration"), "FenceMode")}
	if v.nsxt() && n.mode != "bridged" {
		// The XML API makes only direct networks in VDCs that NSX-T
		// provides (VMware Cloud Director API, OrgVdcNetwork).
		return nil, badRequest("Networks of VDC %q are provided by NSX-T: use the OpenAPI to create networks that are not direct.", v.name)
	}
	if err := c.readOrgNet(n, doc); err != nil {
		return nil, err
	}
	c.s.nets[n.id] = n
	c.start("networkCreateOrgVdcNetwork", "Created Network", taskOwner{"network", n.id, n.name}, func(context.Context) error { return nil })
	a := ok(mediaVCloud+"orgVdcNetwork", c.orgNetDoc(n, true))
	a.status, a.header = http.StatusCreated, map[string]string{"Location": c.s.href("/api/admin/network/" + n.id)}
	return a, nil
}

// readOrgNet takes over what an OrgVdcNetwork document says.
func (c *call) readOrgNet(n *orgNet, doc *node) error {
	conf := child(doc, "Configuration")
	if conf == nil {
		return badRequest("The network %q has no configuration.", attr(doc, "name"))
	}
	n.name, n.desc = attr(doc, "name"), raw(doc, "Description")
	if v := value(doc, "IsShared"); v != "" {
		n.shared = truth(v)
	}
	n.guestVLAN = truth(value(conf, "GuestVlanAllowed"))
	switch n.mode {
	case "bridged":
		if err := c.joinExternal(n, or(uuidIn(attr(child(conf, "ParentNetwork"), "href")), n.externalID)); err != nil {
			return err
		}
	case "natRouted":
		if err := c.joinEdge(n, or(uuidIn(attr(child(doc, "EdgeGateway"), "href")), n.edID)); err != nil {
			return err
		}
		n.connection = "INTERNAL"
		sub, distributed := truth(value(conf, "SubInterface")), truth(value(conf, "DistributedInterface"))
		switch {
		case sub && distributed:
			return badRequest("The network %q cannot be both a subinterface and distributed.", n.name)
		case sub:
			n.connection = "SUBINTERFACE"
		case distributed:
			return badRequest("The edge gateway %q has no distributed routing.", n.edge)
		}
	case "isolated":
	default:
		return badRequest("The fence mode %q does not exist.", n.mode)
	}
	if n.mode != "bridged" {
		n.scope, n.more = scopeOf(conf), nil
	}
	if svc := child(doc, "ServiceConfig"); svc != nil && n.mode == "isolated" {
		if n.service = svc.Copy(); len(n.service.ChildElements()) == 0 {
			n.service = nil
		}
	}
	if err := checkPools(n); err != nil {
		return err
	}
	return c.s.checkOrgNet(n)
}

// checkPools refuses DHCP pools that are not in the subnet.
func checkPools(n *orgNet) error {
	for _, pool := range childrenOf(child(n.service, "GatewayDhcpService"), "Pool") {
		if low := value(pool, "LowIpAddress"); low != "" {
			if err := checkPool(n.name, n.scope, IPRange{low, value(pool, "HighIpAddress")}); err != nil {
				return err
			}
		}
	}
	return nil
}

// joinExternal connects a direct network to an external network. Only the
// provider may.
func (c *call) joinExternal(n *orgNet, id string) error {
	e := c.s.extNets[id]
	if !c.provider() {
		return noRight("Organization vDC Network: Create Direct", n.vdc)
	}
	if e == nil {
		return badRequest("The external network %s of network %q does not exist.", or(id, "without an id"), n.name)
	}
	n.external, n.externalID = e.name, e.id
	if len(e.subnets) > 0 {
		n.scope, n.more = e.subnets[0], e.subnets[1:]
	}
	if len(e.backings) > 0 && !e.nsxt() {
		n.portgroup = e.backings[0].name
	}
	return nil
}

func (c *call) joinEdge(n *orgNet, id string) error {
	e := c.s.edges[id]
	if e == nil || e.vdc != n.vdc && (e.group == "" || e.group != n.group) {
		return badRequest("The edge gateway %s of network %q does not exist in the VDC.", or(id, "without an id"), n.name)
	}
	// What is behind an edge belongs to whom the edge belongs to.
	n.edge, n.edID, n.vdc, n.group = e.name, e.id, e.vdc, e.group
	return nil
}

// checkOrgNet refuses a network more than the VDC may have, names that are taken, subnets that are none, that overlap
// behind one edge, or that leave addresses outside that are in use.
func (s *Server) checkOrgNet(n *orgNet) error {
	if err := checkNetName(n.name); err != nil {
		return err
	}
	if s.nets[n.id] == nil && n.group == "" {
		if err := s.checkNetworkQuota(s.vdcs[n.vdc]); err != nil {
			return err
		}
	}
	for _, o := range s.nets {
		if o.id != n.id && o.group == n.group && (o.vdc == n.vdc || n.group != "") && strings.EqualFold(o.name, n.name) {
			return refuse(http.StatusBadRequest, "DUPLICATE_NAME", "The VMware Cloud Director entity %s already exists.", n.name)
		}
		if o.id != n.id && n.mode == "natRouted" && o.edID == n.edID && o.mode == n.mode && o.scope.overlaps(n.scope) {
			return badRequest("The subnet of network %q overlaps with that of network %q on edge gateway %q.", n.name, o.name, n.edge)
		}
	}
	if n.mode == "bridged" {
		return nil
	}
	for _, sc := range n.scopes() {
		if err := sc.check(n.name); err != nil {
			return err
		}
	}
	old := s.nets[n.id]
	if old == nil {
		return nil
	}
	for _, a := range s.takenOn(n.id, "") {
		if old.scope.inPool(a) && !n.scope.inPool(a) {
			return badRequest("The IP address %s is in use and cannot leave the pool of network %q.", a, n.name)
		}
	}
	return nil
}

// putOrgNet changes an org network.
func (c *call) putOrgNet() (*answer, error) {
	old, err := c.changeOrgNet()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "OrgVdcNetwork")
	if err != nil {
		return nil, err
	}
	n := *old
	if mode := value(child(doc, "Configuration"), "FenceMode"); mode != "" && mode != n.mode {
		return nil, badRequest("The network %q is %s and cannot become %s.", n.name, n.mode, mode)
	}
	if err := c.readOrgNet(&n, doc); err != nil {
		return nil, err
	}
	if err := c.s.mayUnshare(old, &n); err != nil {
		return nil, err
	}
	return c.accepted(c.writeNet("networkUpdateNetwork", "Updating Network", old, &n)), nil
}

// writeNet changes a network in a task.
func (c *call) writeNet(name, operation string, old, n *orgNet) *task {
	return c.start(name, operation, taskOwner{"network", old.id, old.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		meta := old.meta
		*old = *n
		old.meta = meta
		return nil
	})
}

// mayUnshare refuses to take a network from VDCs whose vApps are on it.
func (s *Server) mayUnshare(old, n *orgNet) error {
	for _, u := range s.usersOf(old) {
		if !s.serves(n, s.vdcs[u.vapp.vdc]) {
			return badRequest("The network %q cannot leave the VDC %q: its vApp %q is on it.", old.name, s.vdcs[u.vapp.vdc].name, u.vapp.name)
		}
	}
	return nil
}

// deleteOrgNet deletes an org network that nobody uses, or a vApp network.
func (c *call) deleteOrgNet() (*answer, error) {
	if c.s.vappNets[uuidIn(c.path("id"))] != nil {
		return c.deleteVAppNetwork()
	}
	n, err := c.changeOrgNet()
	if err != nil {
		return nil, err
	}
	t, err := c.removeNet(n)
	if err != nil {
		return nil, err
	}
	return c.accepted(t), nil
}

func (c *call) removeNet(n *orgNet) (*task, error) {
	if users := c.s.usersOf(n); len(users) > 0 {
		return nil, badRequest("The network %q cannot be deleted: it is in use by vApp %q.", n.name, users[0].vapp.name)
	}
	for _, d := range c.s.netDocs {
		if d.kind == "firewallGroups" && strings.Contains(d.body, n.id) {
			return nil, badRequest("The network %q cannot be deleted: it is a member of security group %q.", n.name, d.name)
		}
	}
	return c.start("networkDelete", "Deleting Network", taskOwner{"network", n.id, n.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		delete(c.s.nets, n.id)
		c.s.dropDocs(n.id)
		return nil
	}), nil
}

// resetOrgNet is the "repair" link of an org network.
func (c *call) resetOrgNet() (*answer, error) {
	if c.s.vappNets[uuidIn(c.path("id"))] != nil {
		return c.resetNetwork()
	}
	n, err := c.changeOrgNet()
	if err != nil {
		return nil, err
	}
	return c.accepted(c.start("networkReset", "Resetting Network", taskOwner{"network", n.id, n.name}, func(context.Context) error { return nil })), nil
}
