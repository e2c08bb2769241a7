package director

import (
	"context"
	"strings"
)

func (s *Server) edgeRef(tag string, e *edge) *node {
	return el(tag, "href", s.href("/api/admin/edgeGateway/"+e.id), "id", "urn:vcloud:gateway:"+e.id, "name", e.name, "type", mediaAdmin+"edgeGateway+xml")
}

// theEdge is the edge gateway of the path, if the caller may see it.
func (c *call) theEdge() (*edge, error) {
	id := uuidIn(or(c.path("id"), c.path("urn")))
	e := c.s.edges[id]
	if e == nil {
		return nil, missing("gateway", or(id, c.path("id")))
	}
	if !c.seesEdge(e) {
		return nil, noAccess("gateway", id)
	}
	return e, nil
}

func (c *call) seesEdge(e *edge) bool {
	v := c.s.vdcs[e.vdc]
	return c.provider() || v != nil && v.org == c.login.org.id
}

// changeEdge is theEdge for a change of its services.
func (c *call) changeEdge() (*edge, error) {
	e, err := c.theEdge()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(c.s.vdcs[e.vdc].org) {
		return nil, noRight("Organization vDC Gateway: Configure Services", e.id)
	}
	if c.s.underWay(e.id) {
		return nil, busy("com.vmware.vcloud.entity.gateway", e.name)
	}
	return e, nil
}

func (c *call) getEdge() (*answer, error) {
	e, err := c.theEdge()
	if err != nil {
		return nil, err
	}
	return ok(mediaAdmin+"edgeGateway", c.edgeDoc(e)), nil
}

// edgeDoc is the XML document of an edge gateway.
func (c *call) edgeDoc(e *edge) *node {
	s, href := c.s, c.s.href("/api/admin/edgeGateway/"+e.id)
	v := s.vdcs[e.vdc]
	d := el("EdgeGateway", "status", "1", "name", e.name, "id", "urn:vcloud:gateway:"+e.id, "href", href, "type", mediaAdmin+"edgeGateway+xml")
	if c.orgAdmin(v.org) {
		add(d, link("edit", href, mediaAdmin+"edgeGateway+xml"))
		if c.provider() {
			add(d, link("remove", href, ""), link("edgeGateway:redeploy", href+"/action/redeploy", ""))
		}
		add(d, link("edgeGateway:configureServices", href+"/action/configureServices", mediaAdmin+"edgeGatewayServiceConfiguration+xml"))
	}
	add(d, link("up", s.href("/api/admin/vdc/"+v.id), mediaAdmin+"vdc+xml"), text("Description", e.desc), s.tasksOn(e.id, false))
	faces := el("GatewayInterfaces")
	for i, u := range e.uplinks {
		if n := s.extNets[u.net]; n != nil {
			add(faces, s.uplinkFace(n, u, i == 0))
		}
	}
	for _, n := range s.netsOfEdge(e) {
		kind := "internal"
		if n.connection == "SUBINTERFACE" {
			kind = "subinterface"
		}
		add(faces, add(el("GatewayInterface"), text("Name", n.name), text("DisplayName", n.name),
			s.ref("Network", "/api/admin/network/", n.id, n.name, mediaAdmin+"network+xml"), text("InterfaceType", kind),
			add(el("SubnetParticipation"), text("Gateway", n.scope.gateway), text("Netmask", n.scope.netmask), text("IpAddress", n.scope.gateway),
				boolean("UseForDefaultRoute", false)),
			boolean("ApplyRateLimit", false), boolean("UseForDefaultRoute", false)))
	}
	conf := add(el("Configuration"), boolean("BackwardCompatibilityMode", false), text("GatewayBackingConfig", "compact"), faces)
	if e.service != nil {
		add(conf, e.service.Copy())
	} else {
		add(conf, el("EdgeGatewayServiceConfiguration"))
	}
	return add(d, add(conf, boolean("HaEnabled", false), boolean("UseDefaultRouteForDnsRelay", false), boolean("AdvancedNetworkingEnabled", true),
		boolean("DistributedRoutingEnabled", false), boolean("FipsModeEnabled", false)))
}

// uplinkFace is the interface of an edge to an external network.
func (s *Server) uplinkFace(n *extNet, u uplink, first bool) *node {
	d := add(el("GatewayInterface"), text("Name", n.name), text("DisplayName", n.name),
		s.ref("Network", "/api/admin/network/", n.id, n.name, mediaAdmin+"network+xml"), text("InterfaceType", "uplink"))
	for i, sc := range u.subnets {
		if sc.netmask == "" {
			continue // the schema knows IPv4 alone
		}
		part := add(el("SubnetParticipation"), text("Gateway", sc.gateway), text("Netmask", sc.netmask))
		if i < len(u.primary) && u.primary[i] != "" {
			add(part, text("IpAddress", u.primary[i]))
		}
		if len(sc.ranges) > 0 {
			rs := el("IpRanges")
			for _, r := range sc.ranges {
				add(rs, add(el("IpRange"), text("StartAddress", r.Start), text("EndAddress", r.End)))
			}
			add(part, rs)
		}
		add(d, add(part, boolean("UseForDefaultRoute", first && i == 0)))
	}
	return add(d, boolean("ApplyRateLimit", false), boolean("UseForDefaultRoute", first))
}

// putEdge renames an edge gateway. Its interfaces are not changed here.
func (c *call) putEdge() (*answer, error) {
	e, err := c.changeEdge()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "EdgeGateway")
	if err != nil {
		return nil, err
	}
	name, desc := attr(doc, "name"), raw(doc, "Description")
	if err := c.s.checkEdgeName(e, name); err != nil {
		return nil, err
	}
	return c.accepted(c.start("edgeGatewayUpdate", "Updating Edge Gateway", taskOwner{"edgeGateway", e.id, e.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.s.renameEdge(e, name, desc)
		return nil
	})), nil
}

func (s *Server) checkEdgeName(e *edge, name string) error {
	if err := checkNetName(name); err != nil {
		return err
	}
	for _, o := range s.edges {
		if o.id != e.id && o.vdc == e.vdc && strings.EqualFold(o.name, name) {
			return refuse(400, "DUPLICATE_NAME", "The VMware Cloud Director entity %s already exists.", name)
		}
	}
	return nil
}

func (s *Server) renameEdge(e *edge, name, desc string) {
	e.name, e.desc = name, desc
	for _, n := range s.nets {
		if n.edID == e.id {
			n.edge = name
		}
	}
}

// configureServices replaces the services of an edge.
func (c *call) configureServices() (*answer, error) {
	e, err := c.changeEdge()
	if err != nil {
		return nil, err
	}
	if c.s.vdcs[e.vdc].nsxt() {
		return nil, badRequest("The edge gateway %q is provided by NSX-T: use the OpenAPI to configure its services.", e.name)
	}
	doc, err := c.parse(nsVCloud, "EdgeGatewayServiceConfiguration")
	if err != nil {
		return nil, err
	}
	return c.accepted(c.start("edgeGatewayConfigureServices", "Updating services EdgeGateway", taskOwner{"edgeGateway", e.id, e.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		e.service = doc.Copy()
		return nil
	})), nil
}

func (c *call) redeployEdge() (*answer, error) {
	e, err := c.changeEdge()
	if err != nil {
		return nil, err
	}
	return c.accepted(c.start("edgeGatewayRedeploy", "Redeploying Edge Gateway", taskOwner{"edgeGateway", e.id, e.name}, func(context.Context) error { return nil })), nil
}

func (c *call) deleteEdge() (*answer, error) {
	e, err := c.theEdge()
	if err != nil {
		return nil, err
	}
	t, err := c.removeEdge(e)
	if err != nil {
		return nil, err
	}
	return c.accepted(t), nil
}

// removeEdge deletes an edge that no network is behind.
func (c *call) removeEdge(e *edge) (*task, error) {
	if !c.provider() {
		return nil, noRight("Organization vDC Gateway: Delete", e.id)
	}
	if nets := c.s.netsOfEdge(e); len(nets) > 0 {
		return nil, badRequest("The edge gateway %q cannot be deleted: network %q is connected to it.", e.name, nets[0].name)
	}
	return c.start("edgeGatewayDelete", "Deleting Edge Gateway", taskOwner{"edgeGateway", e.id, e.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		delete(c.s.edges, e.id)
		c.s.dropDocs(e.id)
		return nil
	}), nil
}
