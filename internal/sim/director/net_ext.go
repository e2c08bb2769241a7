package director

import (
	"context"
	"net/http"
	"slices"
)

// extRef is a reference to an external network.
func (s *Server) extRef(tag string, n *extNet) *node {
	return el(tag, "href", s.href("/api/admin/extension/externalnet/"+n.id), "id", "urn:vcloud:network:"+n.id, "name", n.name, "type", mediaAdmin+"vmwexternalnet+xml")
}

// listExtNets is admin/extension/externalNetworkReferences: those that are in a
// vCenter. The XML API does not know those of NSX-T.
func (c *call) listExtNets() (*answer, error) {
	typ := mediaAdmin + "vmwExternalNetworkReferences"
	d := el("vmext:VMWExternalNetworkReferences", "href", c.s.href(c.r.URL.Path), "type", typ+"+xml")
	for _, n := range sorted(c.s.extNets) {
		if !n.nsxt() {
			add(d, c.s.extRef("vmext:ExternalNetworkReference", n))
		}
	}
	return ok(typ, d), nil
}

func (c *call) theExtNet() (*extNet, error) {
	id := uuidIn(c.path("id"))
	n := c.s.extNets[id]
	if n == nil {
		return nil, missing("externalNetwork", or(id, c.path("id")))
	}
	return n, nil
}

func (c *call) getExtNet() (*answer, error) {
	n, err := c.theExtNet()
	if err != nil {
		return nil, err
	}
	return ok(mediaAdmin+"vmwexternalnet", c.s.extNetDoc(n)), nil
}

// extNetDoc is the document of an external network.
func (s *Server) extNetDoc(n *extNet) *node {
	href := s.href("/api/admin/extension/externalnet/" + n.id)
	d := el("vmext:VMWExternalNetwork", "name", n.name, "id", "urn:vcloud:network:"+n.id, "href", href, "type", mediaAdmin+"vmwexternalnet+xml")
	add(d, link("alternate", s.href("/api/admin/network/"+n.id), mediaAdmin+"network+xml"), link("edit", href, mediaAdmin+"vmwexternalnet+xml"),
		link("remove", href, ""), link("down", href+"/metadata", mediaVCloud+"metadata+xml"), text("Description", n.desc), s.tasksOn(n.id, false))
	scopes, used := el("IpScopes"), s.usedOn(n)
	for _, sc := range n.subnets {
		scope := scopeNode(sc, false, inScope(used, sc))
		subs := s.subAllocations(n, sc)
		if subs != nil {
			add(scope, subs)
		}
		add(scopes, scope)
	}
	add(d, add(el("Configuration"), scopes, text("FenceMode", "isolated"), boolean("RetainNetInfoAcrossDeployments", false)))
	if len(n.backings) == 0 {
		return d
	}
	b := n.backings[0]
	if vc := s.vcenters[b.provider]; vc != nil {
		add(d, s.vimObject("vmext:VimPortGroupRef", vc, b.id, b.typ))
	}
	return d
}

// subAllocations are the ranges of a subnet that edges have; nil without.
func (s *Server) subAllocations(n *extNet, sc ipScope) *node {
	d := el("SubAllocations")
	for _, e := range sorted(s.edges) {
		ranges := el("IpRanges")
		for _, u := range e.uplinks {
			for _, sub := range u.subnets {
				if u.net != n.id || sub.gateway != sc.gateway {
					continue
				}
				for _, r := range sub.ranges {
					add(ranges, add(el("IpRange"), text("StartAddress", r.Start), text("EndAddress", r.End)))
				}
			}
		}
		if len(ranges.ChildElements()) > 0 {
			add(d, add(el("SubAllocation"), s.edgeRef("EdgeGateway", e), ranges))
		}
	}
	if len(d.ChildElements()) == 0 {
		return nil
	}
	return d
}

// postExtNet makes an external network on a port group that no other one has.
func (c *call) postExtNet() (*answer, error) {
	n, err := c.readExtNet(&extNet{thing: thing{id: newID(), seq: c.s.next()}})
	if err != nil {
		return nil, err
	}
	c.s.extNets[n.id] = n
	c.start("networkCreateExternalNetwork", "Creating External Network", taskOwner{"externalNetwork", n.id, n.name}, func(context.Context) error { return nil })
	a := ok(mediaAdmin+"vmwexternalnet", c.s.extNetDoc(n))
	a.status, a.header = http.StatusCreated, map[string]string{"Location": c.s.href("/api/admin/extension/externalnet/" + n.id)}
	return a, nil
}

// readExtNet reads a VMWExternalNetwork over n, which it copies.
func (c *call) readExtNet(old *extNet) (*extNet, error) {
	doc, err := c.parse(nsExt, "VMWExternalNetwork")
	if err != nil {
		return nil, err
	}
	n := *old
	n.name, n.desc, n.subnets = attr(doc, "name"), raw(doc, "Description"), nil
	for _, sc := range childrenOf(child(child(doc, "Configuration"), "IpScopes"), "IpScope") {
		n.subnets = append(n.subnets, scopeFrom(sc))
	}
	ref := child(doc, "VimPortGroupRef")
	if ref == nil {
		ref = child(child(doc, "VimPortGroupRefs"), "VimObjectRef")
	}
	if ref != nil {
		vc := c.s.vcenters[uuidIn(attr(child(ref, "VimServerRef"), "href"))]
		if vc == nil {
			return nil, badRequest("The vCenter %s of the port group does not exist.", attr(child(ref, "VimServerRef"), "href"))
		}
		if n.backings, err = c.vimBacking(vc, value(ref, "MoRef"), value(ref, "VimObjectType")); err != nil {
			return nil, err
		}
	}
	if len(n.backings) == 0 {
		return nil, badRequest("The external network %q needs a port group.", n.name)
	}
	return &n, c.s.checkExtNet(&n)
}

// vimBacking finds a port group in a vCenter.
func (c *call) vimBacking(vc *vcenter, moref, typ string) ([]netBacking, error) {
	pgs, err := c.s.portgroupsOf(c.r.Context(), vc)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(pgs, func(p portgroup) bool { return p.moref == moref && (typ == "" || p.typ == typ) })
	if i < 0 {
		return nil, badRequest("The port group %s of type %s does not exist in vCenter %q.", moref, typ, vc.name)
	}
	return []netBacking{{pgs[i].moref, pgs[i].name, pgs[i].typ, vc.id}}, nil
}

// checkExtNet refuses names and backings that are taken, and subnets that are
// none or overlap.
func (s *Server) checkExtNet(n *extNet) error {
	if err := checkNetName(n.name); err != nil {
		return err
	}
	for i, sc := range n.subnets {
		if err := sc.check(n.name); err != nil {
			return err
		}
		if slices.ContainsFunc(n.subnets[:i], sc.overlaps) {
			return badRequest("The subnets of external network %q overlap.", n.name)
		}
	}
	if len(n.subnets) == 0 && n.backings[0].typ != "IMPORTED_T_LOGICAL_SWITCH" && !usesIPSpaces(n.extra) {
		return badRequest("The external network %q needs a subnet.", n.name)
	}
	for _, o := range s.extNets {
		if o.id == n.id {
			continue
		}
		if o.name == n.name {
			return refuse(http.StatusBadRequest, "DUPLICATE_NAME", "The VMware Cloud Director entity %s already exists.", n.name)
		}
		// A tier-0 router may be shared since 10.? only with IP spaces; a
		// port group never is.
		if len(o.backings) > 0 && !n.nsxt() && o.backings[0].id == n.backings[0].id && o.backings[0].provider == n.backings[0].provider {
			return badRequest("The port group %s is used by external network %q already.", n.backings[0].name, o.name)
		}
	}
	return nil
}

func usesIPSpaces(extra string) bool { return asFields(extra)["usingIpSpace"] == true }

// putExtNet changes an external network.
func (c *call) putExtNet() (*answer, error) {
	old, err := c.theExtNet()
	if err != nil {
		return nil, err
	}
	n, err := c.readExtNet(old)
	if err != nil {
		return nil, err
	}
	if n.backings[0].id != old.backings[0].id {
		return nil, badRequest("The port group of external network %q cannot change.", old.name)
	}
	return c.accepted(c.writeExt("networkUpdateNetwork", old, n)), nil
}

// writeExt changes an external network in a task, and what direct networks
// inherit from it.
func (c *call) writeExt(name string, old, n *extNet) *task {
	return c.start(name, "Updating External Network", taskOwner{"externalNetwork", old.id, old.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		meta := old.meta
		*old = *n
		old.meta = meta
		for _, o := range c.s.nets {
			if o.externalID == n.id && o.mode == "bridged" && len(n.subnets) > 0 {
				o.external, o.scope, o.more = n.name, n.subnets[0], n.subnets[1:]
			}
		}
		return nil
	})
}

func (c *call) deleteExtNet() (*answer, error) {
	n, err := c.theExtNet()
	if err != nil {
		return nil, err
	}
	t, err := c.removeExt(n)
	if err != nil {
		return nil, err
	}
	return c.accepted(t), nil
}

// removeExt deletes an external network that nothing is connected to.
func (c *call) removeExt(n *extNet) (*task, error) {
	for _, o := range sorted(c.s.nets) {
		if o.externalID == n.id && o.mode == "bridged" {
			return nil, badRequest("The external network %q cannot be deleted: it is in use by network %q.", n.name, o.name)
		}
	}
	for _, e := range sorted(c.s.edges) {
		for _, u := range e.uplinks {
			if u.net == n.id {
				return nil, badRequest("The external network %q cannot be deleted: it is in use by edge gateway %q.", n.name, e.name)
			}
		}
	}
	return c.start("networkDelete", "Deleting External Network", taskOwner{"externalNetwork", n.id, n.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		delete(c.s.extNets, n.id)
		return nil
	}), nil
}

// netPoolRefs is admin/extension/networkPoolReferences.
func (c *call) netPoolRefs() (*answer, error) {
	typ := mediaAdmin + "vmwNetworkPoolReferences"
	d := el("vmext:VMWNetworkPoolReferences", "href", c.s.href(c.r.URL.Path), "type", typ+"+xml")
	for _, p := range sorted(c.s.netDocs) {
		if p.kind == "networkPool" {
			add(d, c.s.ref("vmext:NetworkPoolReference", "/api/admin/extension/networkPool/", p.id, p.name, mediaAdmin+"networkPool+xml"))
		}
	}
	return ok(typ, d), nil
}

// netPool is admin/extension/networkPool/ID.
func (c *call) netPool() (*answer, error) {
	p := c.s.netDocs[uuidIn(c.path("id"))]
	if p == nil || p.kind != "networkPool" {
		return nil, missing("networkPool", c.path("id"))
	}
	d := el("vmext:VMWNetworkPool", "name", p.name, "id", "urn:vcloud:networkpool:"+p.id, "href", c.s.href("/api/admin/extension/networkPool/"+p.id),
		"type", mediaAdmin+"networkPool+xml")
	return ok(mediaAdmin+"networkPool", add(d, text("Description", p.desc))), nil
}

// nsxtManager is admin/extension/nsxtManagers/ID, which is JSON, and whose id
// is no URN.
func (c *call) nsxtManager() (*answer, error) {
	m := c.s.netDocs[uuidIn(c.path("id"))]
	if m == nil || m.kind != "nsxtManager" {
		return nil, missing("nsxtManager", c.path("id"))
	}
	return asJSON(overlay(m.body, map[string]any{"id": m.id, "name": m.name, "href": c.s.href(c.r.URL.Path), "type": mediaAdmin + "vmwNsxTManager+json"})), nil
}
