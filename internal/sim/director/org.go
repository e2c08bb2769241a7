package director

import (
	"net/netip"
	"net/url"
)

// ref is a reference to an entity.
func (s *Server) ref(tag, path, id, name, typ string) *node {
	return el(tag, "href", s.href(path+id), "name", name, "type", typ)
}

func (s *Server) orgRef(tag string, o *org) *node {
	return el(tag, "href", s.href("/api/org/"+o.id), "id", "urn:vcloud:org:"+o.id, "name", o.name, "type", mediaVCloud+"org+xml")
}

func (s *Server) userRef(tag, id string) *node {
	u := s.users[id]
	if u == nil {
		u = s.systemUser()
	}
	return el(tag, "href", s.href("/api/admin/user/"+u.id), "id", u.urn(), "name", u.name, "type", mediaAdmin+"user+xml")
}

func (s *Server) profileRef(tag, id string) *node {
	p := s.profiles[id]
	if p == nil {
		return nil
	}
	return el(tag, "href", s.href("/api/vdcStorageProfile/"+p.id), "id", "urn:vcloud:vdcstorageProfile:"+p.id, "name", p.name,
		"type", mediaVCloud+"vdcStorageProfile+xml")
}

// orgList is /api/org.
func (c *call) orgList() (*answer, error) {
	d := el("OrgList", "href", c.s.href("/api/org"), "type", mediaVCloud+"orgList+xml")
	for _, o := range sorted(c.s.orgs) {
		if c.provider() || o.id == c.login.org.id {
			add(d, c.s.orgRef("Org", o))
		}
	}
	return ok(mediaVCloud+"orgList", d), nil
}

// theOrg is the organization of the path, if the caller may see it.
func (c *call) theOrg() (*org, error) {
	id := uuidIn(c.path("id"))
	o := c.s.orgs[id]
	if o == nil {
		return nil, missing("org", or(id, c.path("id")))
	}
	if !c.provider() && c.login.org.id != o.id {
		return nil, noAccess("org", id)
	}
	return o, nil
}

func (c *call) getOrg() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	s := c.s
	href := s.href("/api/org/" + o.id)
	d := el("Org", "name", o.name, "id", "urn:vcloud:org:"+o.id, "href", href, "type", mediaVCloud+"org+xml")
	for _, v := range sorted(s.vdcs) {
		if v.org == o.id {
			add(d, el("Link", "rel", "down", "href", s.href("/api/vdc/"+v.id), "name", v.name, "type", mediaVCloud+"vdc+xml"))
		}
	}
	add(d, link("down", s.href("/api/tasksList/"+o.id), mediaVCloud+"tasksList+xml"),
		link("down", href+"/metadata", mediaVCloud+"metadata+xml"))
	c.catalogsOf(d, o)
	for _, n := range sorted(s.nets) {
		if v := s.vdcs[n.vdc]; v != nil && v.org == o.id {
			add(d, el("Link", "rel", "down", "href", s.href("/api/network/"+n.id), "name", n.name, "type", mediaVCloud+"orgNetwork+xml"))
		}
	}
	c.orgQueries(d, o)
	if c.orgAdmin(o.id) {
		add(d, link("alternate", s.href("/api/admin/org/"+o.id), mediaAdmin+"organization+xml"))
	}
	add(d, text("Description", o.desc), text("FullName", o.fullName), boolean("IsEnabled", o.enabled))
	return ok(mediaVCloud+"org", d), nil
}

// orgQueries are the links by which an organization's VDCs and catalogs are
// found since API 33.0, as pyvcloud's client follows them
// (get_resource_link_from_query_object). The provider's ask for every org's.
func (c *call) orgQueries(d *node, o *org) {
	types := []string{"orgVdc", "catalog"}
	if c.provider() {
		types = []string{"adminOrgVdc", "adminCatalog"}
	}
	for _, typ := range types {
		q := url.Values{"type": {typ}, "format": {"records"}, "filter": {"(orgName==" + o.name + ")"}}
		add(d, link("down", c.s.href("/api/query?"+q.Encode()), mediaVCloud+"query.records+xml"))
	}
}

// getAdmin is /api/admin.
func (c *call) getAdmin() (*answer, error) {
	s := c.s
	if !c.has("General: Administrator View") {
		return nil, noRight("General: Administrator View", c.login.org.id)
	}
	d := el("VCloud", "name", "VMware Cloud Director", "href", s.href("/api/admin"), "type", mediaAdmin+"vcloud+xml")
	c.adminLinks(d)
	add(d, text("Description", buildVersion+" "+buildTime.Format("Mon Jan 02 15:04:05 MST 2006")))
	orgs := el("OrganizationReferences")
	roles := el("RoleReferences")
	for _, o := range sorted(s.orgs) {
		if c.provider() || o.id == c.login.org.id {
			add(orgs, el("OrganizationReference", "href", s.href("/api/admin/org/"+o.id), "id", "urn:vcloud:org:"+o.id, "name", o.name, "type", mediaAdmin+"organization+xml"))
		}
	}
	for _, r := range sorted(s.roles) {
		if c.provider() || r.org == c.login.org.id {
			add(roles, el("RoleReference", "href", s.href("/api/admin/role/"+r.id), "id", r.urn(), "name", r.name, "type", mediaAdmin+"role+xml"))
		}
	}
	d = add(d, orgs)
	if c.provider() {
		pvdcs := el("ProviderVdcReferences")
		for _, p := range sorted(s.pvdcs) {
			add(pvdcs, s.pvdcRef("ProviderVdcReference", p))
		}
		add(d, pvdcs)
	}
	add(d, c.rightRefsOf("RightReferences", c.login.org), roles)
	if c.provider() {
		nets := el("Networks")
		for _, n := range sorted(s.extNets) {
			if !n.nsxt() {
				add(nets, s.ref("Network", "/api/admin/network/", n.id, n.name, mediaAdmin+"network+xml"))
			}
		}
		add(d, nets)
	}
	return ok(mediaAdmin+"vcloud", d), nil
}

func (c *call) getAdminOrg() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(o.id) {
		return nil, noRight("Organization: View", o.id)
	}
	return ok(mediaAdmin+"organization", c.adminOrgDoc(o)), nil
}

// adminOrgDoc is an organization as administrators see it.
func (c *call) adminOrgDoc(o *org) *node {
	s := c.s
	d := el("AdminOrg", "name", o.name, "id", "urn:vcloud:org:"+o.id, "href", s.href("/api/admin/org/"+o.id), "type", mediaAdmin+"organization+xml")
	add(d, link("alternate", s.href("/api/org/"+o.id), mediaVCloud+"org+xml"),
		link("add", s.href("/api/admin/org/"+o.id+"/catalogs"), mediaAdmin+"catalog+xml"),
		link("down", s.href("/api/tasksList/"+o.id), mediaVCloud+"tasksList+xml"))
	c.adminOrgLinks(d, o)
	add(d, text("Description", o.desc), text("FullName", o.fullName), boolean("IsEnabled", o.enabled), c.settingsDoc("Settings", o))
	users, vdcs, nets := el("Users"), el("Vdcs"), el("Networks")
	for _, u := range sorted(s.users) {
		if u.org == o.id && !u.stranded {
			add(users, s.userRef("UserReference", u.id))
		}
	}
	for _, v := range sorted(s.vdcs) {
		if v.org == o.id {
			add(vdcs, s.ref("Vdc", "/api/admin/vdc/", v.id, v.name, mediaAdmin+"vdc+xml"))
		}
	}
	for _, n := range sorted(s.nets) {
		if v := s.vdcs[n.vdc]; v != nil && v.org == o.id {
			add(nets, s.ref("Network", "/api/admin/network/", n.id, n.name, mediaAdmin+"network+xml"))
		}
	}
	return add(d, users, c.groupRefs(o), c.adminCatalogs(o), vdcs, nets, c.rightRefsOf("RightReferences", o), c.roleRefs("RoleReferences", o))
}

// theVDC is the VDC of the path, if the caller may see it.
func (c *call) theVDC() (*vdc, error) {
	id := uuidIn(c.path("id"))
	v := c.s.vdcs[id]
	if v == nil {
		return nil, missing("vdc", or(id, c.path("id")))
	}
	if !c.provider() && c.login.org.id != v.org {
		return nil, noAccess("vdc", id)
	}
	return v, nil
}

// getVDC is a VDC as its users or as administrators see it.
func (c *call) getVDC(admin bool) (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	if admin && !c.orgAdmin(v.org) {
		return nil, noRight("Organization vDC: View", v.id)
	}
	d := c.vdcNode(v, admin)
	if admin {
		return ok(mediaAdmin+"vdc", d), nil
	}
	return ok(mediaVCloud+"vdc", d), nil
}

// vdcNode is the document of a VDC.
func (c *call) vdcNode(v *vdc, admin bool) *node {
	s, tag, media, path := c.s, "Vdc", mediaVCloud+"vdc", "/api/vdc/"
	if admin {
		tag, media, path = "AdminVdc", mediaAdmin+"vdc", "/api/admin/vdc/"
	}
	href := s.href(path + v.id)
	d := el(tag, "status", num(v.statusNumber()), "name", v.name, "id", "urn:vcloud:vdc:"+v.id, "href", href, "type", media+"+xml")
	add(d, link("up", s.href("/api/org/"+v.org), mediaVCloud+"org+xml"), link("down", s.href("/api/vdc/"+v.id)+"/metadata", mediaVCloud+"metadata+xml"),
		link("add", s.href("/api/vdc/"+v.id)+"/action/composeVApp", mediaVCloud+"composeVAppParams+xml"))
	add(d, c.vdcVMLinks(v)...)
	add(d, c.networkLinks(v)...)
	add(d, s.catalogActions(v)...)
	if admin {
		add(d, link("alternate", s.href("/api/vdc/"+v.id), mediaVCloud+"vdc+xml"))
	} else if c.orgAdmin(v.org) {
		add(d, link("alternate", s.href("/api/admin/vdc/"+v.id), mediaAdmin+"vdc+xml"))
	}
	if admin && c.provider() {
		add(d, s.vdcAdminLinks(v)...)
	} else if c.provider() {
		add(d, link("remove", href, ""))
	}
	if c.orgAdmin(v.org) {
		at := s.href("/api/vdc/" + v.id)
		add(d, link("down", at+"/controlAccess", mediaVCloud+"controlAccess+xml"), link("controlAccess", at+"/action/controlAccess", mediaVCloud+"controlAccess+xml"))
	}
	add(d, text("Description", v.desc), s.tasksFor(v.id), text("AllocationModel", v.model), s.vdcCapacity(v))
	entities := el("ResourceEntities")
	for _, a := range sorted(s.vapps) {
		if a.vdc == v.id && c.level(a) > accessNone {
			add(entities, s.vappRef("ResourceEntity", a))
		}
	}
	c.catalogEntities(entities, v)
	c.diskEntities(entities, v)
	nets := el("AvailableNetworks")
	for _, n := range s.netsOf(v) {
		add(nets, s.ref("Network", "/api/network/", n.id, n.name, mediaVCloud+"network+xml"))
	}
	profiles := el("VdcStorageProfiles")
	for _, p := range sorted(s.profiles) {
		if p.vdc == v.id {
			ref := s.profileRef("VdcStorageProfile", p.id)
			if admin {
				ref.CreateAttr("href", s.href("/api/admin/vdcStorageProfile/"+p.id))
				ref.CreateAttr("type", mediaAdmin+"vdcStorageProfile+xml")
			}
			add(profiles, ref)
		}
	}
	add(d, entities, nets, s.hardwareCapabilities(v.id), number("NicQuota", v.nicQuota), number("NetworkQuota", v.networkQuota), number("UsedNetworkCount", s.networkCount(v)),
		number("VmQuota", v.vmQuota), boolean("IsEnabled", v.enabled), profiles)
	if p := s.policies[v.defaultPolicy]; p != nil {
		add(d, s.policyRef("DefaultComputePolicy", p))
	}
	if p := s.policies[v.maxPolicy]; p != nil {
		add(d, s.policyRef("MaxComputePolicy", p))
	}
	add(d, number("VCpuInMhz2", or(v.vcpuMHz, 1000)))
	if admin {
		c.addAdminPart(d, v)
	}
	return d
}

// netsOf are the networks that vApps of a VDC may use.
func (s *Server) netsOf(v *vdc) []*orgNet {
	var out []*orgNet
	for _, n := range s.nets {
		if s.serves(n, v) {
			out = append(out, n)
		}
	}
	sortBy(out, func(a, b *orgNet) bool { return a.seq < b.seq })
	return out
}

func (c *call) getProfile() (*answer, error) {
	s, id := c.s, uuidIn(c.path("id"))
	p := s.profiles[id]
	if p == nil {
		return nil, missing("vdcStorageProfile", or(id, c.path("id")))
	}
	v := s.vdcs[p.vdc]
	if !c.provider() && v.org != c.login.org.id {
		return nil, noAccess("vdcStorageProfile", id)
	}
	admin := c.provider() && len(c.r.URL.Path) > 10 && c.r.URL.Path[:11] == "/api/admin/"
	tag, media, path := "VdcStorageProfile", mediaVCloud+"vdcStorageProfile", "/api/vdcStorageProfile/"
	if admin {
		tag, media, path = "AdminVdcStorageProfile", mediaAdmin+"vdcStorageProfile", "/api/admin/vdcStorageProfile/"
	}
	d := el(tag, "name", p.name, "id", "urn:vcloud:vdcstorageProfile:"+p.id, "href", s.href(path+p.id), "type", media+"+xml")
	add(d, link("up", s.href("/api/vdc/"+v.id), mediaVCloud+"vdc+xml"), text("Description", p.desc), boolean("Enabled", p.enabled), text("Units", "MB"),
		number("Limit", p.limitMB), boolean("Default", p.isDefault), p.iops.node(), number("StorageUsedMB", s.usedMB(p)), number("IopsAllocated", 0))
	if from := s.pvdcProfiles[p.pvdcProfile]; admin && from != nil {
		add(d, s.pvdcProfileRef(from))
	}
	return ok(media, d), nil
}

// scopeNode is an IpScope.
func scopeNode(sc ipScope, inherited bool, used []netip.Addr) *node {
	n := add(el("IpScope"), boolean("IsInherited", inherited), opt("Gateway", sc.gateway), opt("Netmask", sc.netmask), prefixNode(sc), opt("Dns1", sc.dns1),
		opt("Dns2", sc.dns2), opt("DnsSuffix", sc.suffix), boolean("IsEnabled", true))
	if len(sc.ranges) > 0 {
		rs := el("IpRanges")
		for _, r := range sc.ranges {
			add(rs, add(el("IpRange"), text("StartAddress", r.Start), text("EndAddress", r.End)))
		}
		add(n, rs)
	}
	if len(used) > 0 {
		u := el("AllocatedIpAddresses")
		for _, a := range used {
			add(u, text("IpAddress", a.String()))
		}
		add(n, u)
	}
	return n
}
