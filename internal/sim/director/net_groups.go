package director

import (
	"slices"
	"strings"
)

// vdcGroups are groups of VDCs that share networks (VMware Cloud Director
// OpenAPI, VdcGroup). Only those of NSX-T are modelled, which are local.
var vdcGroups = &docKind{kind: "vdcGroup", urn: "vdcGroup", check: checkVDCGroup, show: showVDCGroup, inUse: vdcGroupInUse}

func netGroupRoutes() []route {
	const v, typ = "/cloudapi/{version}/vdcGroups", "application/json"
	return append([]route{
		{pattern: "GET " + v, handle: vdcGroups.list}, {pattern: "POST " + v, handle: vdcGroups.post, takes: typ},
		{pattern: "GET " + v + "/networkingCandidateVdcs", handle: (*call).candidateVDCs},
		{pattern: "GET " + v + "/{doc}", handle: vdcGroups.get}, {pattern: "PUT " + v + "/{doc}", handle: vdcGroups.put, takes: typ},
		{pattern: "DELETE " + v + "/{doc}", handle: vdcGroups.remove}, {pattern: "GET " + v + "/{doc}/vdcs", handle: (*call).groupMembers},
	}, dfwRoutes(v, typ)...)
}

// providerScope is what the networks of a VDC reach: its NSX-T manager.
func (s *Server) providerScope(v *vdc) string {
	if p := s.pvdcs[v.pvdc]; p != nil {
		return p.nsxt.name
	}
	return ""
}

// inGroup tells whether a VDC is of a group.
func (s *Server) inGroup(v *vdc, group string) bool {
	g := s.netDocs[group]
	return g != nil && slices.Contains(s.vdcsOfGroup(g), v)
}

// serves tells whether vApps of a VDC may use a network: those of a group serve
// its VDCs, and no others.
func (s *Server) serves(n *orgNet, v *vdc) bool {
	if n.group != "" {
		return s.inGroup(v, n.group)
	}
	home := s.vdcs[n.vdc]
	return n.vdc == v.id || n.shared && home != nil && home.org == v.org
}

// member is a VDC as a group lists it.
func (s *Server) member(v *vdc) map[string]any {
	tag := ""
	if p := s.pvdcs[v.pvdc]; p != nil {
		tag = p.name
	}
	return map[string]any{"vdcRef": refTo("urn:vcloud:vdc:"+v.id, v.name), "orgRef": refTo("urn:vcloud:org:"+v.org, s.orgs[v.org].name),
		"siteRef": refTo(s.siteURN(), "vcd"), "faultDomainTag": tag, "networkProviderScope": s.providerScope(v), "status": "REALIZED", "remoteOrg": false}
}

// candidateVDCs lists what can be grouped with a VDC, or with those of a group:
// the conditions on _context say with which.
func (c *call) candidateVDCs() (*answer, error) {
	var start *vdc
	of, rest := c.contexts()
	for _, id := range of {
		if g := c.s.netDocs[uuidIn(id)]; g != nil && g.kind == vdcGroups.kind && c.seesDoc(g) {
			for _, v := range c.s.vdcsOfGroup(g) {
				start = v
			}
		}
		if v := c.s.vdcs[uuidIn(id)]; v != nil {
			start = v
		}
	}
	if start == nil || !c.orgAdmin(start.org) {
		return nil, badRequest("The filter needs a _context that is a VDC or a VDC group.")
	}
	var out []any
	for _, v := range sorted(c.s.vdcs) {
		if v.org == start.org && v.nsxt() && start.nsxt() && c.s.providerScope(v) == c.s.providerScope(start) {
			row := c.s.member(v)
			delete(row, "vdcRef")
			delete(row, "status")
			delete(row, "remoteOrg")
			row["id"], row["name"] = "urn:vcloud:vdc:"+v.id, v.name
			out = append(out, row)
		}
	}
	return c.listWhere(out, rest)
}

// checkVDCGroup refuses groups of VDCs that do not go together. The distributed
// firewall has an address of its own.
func checkVDCGroup(c *call, d *netDoc, b map[string]any) error {
	if d.parent == "" {
		d.parent = uuidIn(textOf(b, "orgId"))
	}
	o := c.s.orgs[d.parent]
	if o == nil || !c.orgAdmin(o.id) {
		return noRight("vDC Group: Configure", or(textOf(b, "orgId"), d.id))
	}
	if kind := textOf(b, "networkProviderType"); kind != "NSX_T" {
		return badRequest("VDC groups of the network provider type %q are not supported.", or(kind, "NSX_V"))
	}
	if kind := textOf(b, "type"); kind != "LOCAL" {
		return badRequest("VDC groups of NSX-T are of the type LOCAL, not %q.", kind)
	}
	if err := needsName(c, d, b); err != nil {
		return err
	}
	list, _ := b["participatingOrgVdcs"].([]any)
	var members []any
	var first *vdc
	for _, p := range list {
		row, _ := p.(map[string]any)
		v := c.s.vdcs[uuidIn(refID(row, "vdcRef"))]
		switch {
		case v == nil || v.org != o.id:
			return badRequest("The VDC %q of the VDC group does not exist in the organization.", refID(row, "vdcRef"))
		case !v.nsxt():
			return badRequest("NSX-T does not provide the networks of VDC %q.", v.name)
		case first != nil && c.s.providerScope(first) != c.s.providerScope(v):
			return badRequest("The VDCs %q and %q have different network provider scopes.", first.name, v.name)
		}
		if first == nil {
			first = v
		}
		members = append(members, map[string]any{"vdcRef": refTo("urn:vcloud:vdc:"+v.id, v.name)})
	}
	if first == nil {
		return badRequest("A VDC group needs a VDC.")
	}
	if err := c.s.mayLeave(d, members); err != nil {
		return err
	}
	for _, k := range []string{"id", "dfwEnabled", "status", "errorMessage"} {
		delete(b, k)
	}
	b["orgId"], b["participatingOrgVdcs"] = "urn:vcloud:org:"+o.id, members
	return nil
}

// mayLeave refuses to write a group without a VDC whose vApps are on networks of
// the group.
func (s *Server) mayLeave(d *netDoc, members []any) error {
	text := asText(members)
	for _, n := range sorted(s.nets) {
		if n.group != d.id {
			continue
		}
		for _, u := range s.usersOf(n) {
			if !strings.Contains(text, u.vapp.vdc) {
				return badRequest("The VDC %q cannot leave the VDC group %q: its vApp %q is on network %q.", s.vdcs[u.vapp.vdc].name, d.name, u.vapp.name, n.name)
			}
		}
	}
	return nil
}

// rehome gives what a group owns, and a VDC only keeps for it, to another VDC of
// the group.
func (s *Server) rehome(v *vdc, group string) string {
	if g := s.netDocs[group]; g != nil {
		for _, o := range s.vdcsOfGroup(g) {
			if o != v {
				return o.id
			}
		}
	}
	return v.id
}

// participants are the VDCs that a group was made of. One that was deleted
// stays until the group is written without it.
func (s *Server) participants(d *netDoc) (out []any, whole bool) {
	whole = true
	list, _ := d.fields()["participatingOrgVdcs"].([]any)
	for _, p := range list {
		row, _ := p.(map[string]any)
		if v := s.vdcs[uuidIn(refID(row, "vdcRef"))]; v != nil {
			out = append(out, s.member(v))
			continue
		}
		whole = false
		out = append(out, map[string]any{"vdcRef": row["vdcRef"], "orgRef": refTo("urn:vcloud:org:"+d.parent, s.orgs[d.parent].name),
			"siteRef": refTo(s.siteURN(), "vcd"), "faultDomainTag": "", "networkProviderScope": "", "status": "OBJECT_NOT_FOUND", "remoteOrg": false})
	}
	return out, whole
}

func (c *call) groupMembers() (*answer, error) {
	g, err := vdcGroups.find(c, false)
	if err != nil {
		return nil, err
	}
	out, _ := c.s.participants(g)
	return c.list(out)
}

func showVDCGroup(c *call, d *netDoc, out map[string]any) {
	members, whole := c.s.participants(d)
	for k, def := range map[string]any{"localEgress": false, "universalNetworkingEnabled": false, "networkPoolUniversalId": nil, "networkPoolId": nil} {
		if out[k] == nil {
			out[k] = def
		}
	}
	out["participatingOrgVdcs"], out["status"], out["errorMessage"], out["dfwEnabled"] = members, "REALIZED", "", c.s.dfwOn(d)
	if !whole {
		out["status"] = "NOT_REALIZED"
	}
}

// vdcGroupInUse refuses to delete a group that things belong to. With force,
// what only the group's firewall is made of goes with it.
func vdcGroupInUse(c *call, d *netDoc) error {
	if !c.orgAdmin(d.parent) {
		return noRight("vDC Group: Configure", d.id)
	}
	for _, e := range c.s.edges {
		if e.group == d.id {
			return badRequest("The VDC group %q cannot be deleted: edge gateway %q belongs to it.", d.name, e.name)
		}
	}
	for _, n := range c.s.nets {
		if n.group == d.id {
			return badRequest("The VDC group %q cannot be deleted: network %q belongs to it.", d.name, n.name)
		}
	}
	for _, o := range c.s.netDocs {
		if o.parent == d.id && o.kind != dfwPolicies && o.kind != dfwRules && !c.flag("force") {
			return badRequest("The VDC group %q cannot be deleted: %q belongs to it.", d.name, o.name)
		}
	}
	// Real ones let go of a firewall whose default policy is disabled, as the
	// tests of VMware's own client have it.
	if policy, _ := c.s.dfw(d)["defaultPolicy"].(map[string]any); c.s.dfwOn(d) && policy["enabled"] == true && !c.flag("force") {
		return badRequest("The VDC group %q cannot be deleted: its distributed firewall is enabled.", d.name)
	}
	return nil
}
