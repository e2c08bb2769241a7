package director

import (
	"net/netip"
)

// ref is a reference to an entity.
func (s *Server) ref(tag, path, id, name, typ string) *node {
	return el(tag, "href", s.href(path+id), "name", name, "type", typ)
}

func (s *Server) orgRef(tag string, o *org) *node {
	return s.ref(tag, "/api/org/", o.id, o.name, mediaVCloud+"org+xml")
}

func (s *Server) userRef(tag, id string) *node {
	u := s.users[id]
	if u == nil {
		u = s.systemUser()
	}
	return s.ref(tag, "/api/admin/user/", u.id, u.name, mediaAdmin+"user+xml")
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
	for _, n := range sorted(s.nets) {
		if v := s.vdcs[n.vdc]; v != nil && v.org == o.id {
			add(d, el("Link", "rel", "down", "href", s.href("/api/network/"+n.id), "name", n.name, "type", mediaVCloud+"orgNetwork+xml"))
		}
	}
	if c.orgAdmin(o.id) {
		add(d, link("alternate", s.href("/api/admin/org/"+o.id), mediaAdmin+"organization+xml"))
	}
	add(d, text("Description", o.desc), text("FullName", o.fullName), boolean("IsEnabled", o.enabled))
	return ok(mediaVCloud+"org", d), nil
}

// getAdmin is /api/admin.
func (c *call) getAdmin() (*answer, error) {
	s := c.s
	if !c.provider() && c.login.user.role != RoleOrgAdmin {
		return nil, noRight("Organization: View", c.login.org.id)
	}
	d := el("VCloud", "name", "VMware Cloud Director", "href", s.href("/api/admin"), "type", mediaAdmin+"vcloud+xml")
	add(d, text("Description", ""))
	orgs := el("OrganizationReferences")
	roles := el("RoleReferences")
	for _, o := range sorted(s.orgs) {
		if c.provider() || o.id == c.login.org.id {
			add(orgs, s.ref("OrganizationReference", "/api/admin/org/", o.id, o.name, mediaAdmin+"organization+xml"))
		}
	}
	for _, r := range sorted(s.roles) {
		if c.provider() || r.org == c.login.org.id {
			add(roles, s.ref("RoleReference", "/api/admin/role/", r.id, r.name, mediaAdmin+"role+xml"))
		}
	}
	return ok(mediaAdmin+"vcloud", add(d, orgs, roles)), nil
}

func (c *call) getAdminOrg() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(o.id) {
		return nil, noRight("Organization: View", o.id)
	}
	s := c.s
	d := el("AdminOrg", "name", o.name, "id", "urn:vcloud:org:"+o.id, "href", s.href("/api/admin/org/"+o.id), "type", mediaAdmin+"organization+xml")
	add(d, link("alternate", s.href("/api/org/"+o.id), mediaVCloud+"org+xml"),
		link("down", s.href("/api/tasksList/"+o.id), mediaVCloud+"tasksList+xml"),
		text("Description", o.desc), text("FullName", o.fullName), boolean("IsEnabled", o.enabled), s.settings(o))
	users, vdcs, nets, roles := el("Users"), el("Vdcs"), el("Networks"), el("RoleReferences")
	for _, u := range sorted(s.users) {
		if u.org == o.id {
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
	for _, r := range sorted(s.roles) {
		if r.org == o.id {
			add(roles, s.ref("RoleReference", "/api/admin/role/", r.id, r.name, mediaAdmin+"role+xml"))
		}
	}
	return ok(mediaAdmin+"organization", add(d, users, el("Groups"), el("Catalogs"), vdcs, nets, roles)), nil
}

// settings is the OrgSettings of an organization.
func (s *Server) settings(o *org) *node {
	href := s.href("/api/admin/org/" + o.id + "/settings")
	d := el("Settings", "href", href, "type", mediaAdmin+"orgSettings+xml")
	return add(d, link("down", href+"/general", mediaAdmin+"organizationGeneralSettings+xml"),
		link("down", href+"/vAppLeaseSettings", mediaAdmin+"vAppLeaseSettings+xml"),
		s.generalSettings("OrgGeneralSettings", o), s.leaseSettings("VAppLeaseSettings", o),
		add(el("VAppTemplateLeaseSettings", "href", href+"/vAppTemplateLeaseSettings", "type", mediaAdmin+"vAppTemplateLeaseSettings+xml"),
			boolean("DeleteOnStorageLeaseExpiration", o.lease.DeleteOnStorageExpiration), number("StorageLeaseSeconds", o.lease.StorageSeconds)),
		add(el("OrgPasswordPolicySettings", "href", href+"/passwordPolicy", "type", mediaAdmin+"organizationPasswordPolicySettings+xml"),
			boolean("AccountLockoutEnabled", false), number("InvalidLoginsBeforeLockout", 5), number("AccountLockoutIntervalMinutes", 10)),
		add(el("OrgOperationLimitsSettings", "href", href+"/operationLimitsSettings", "type", mediaAdmin+"operationLimitsSettings+xml"),
			number("ConsolesPerVmLimit", 0), number("OperationsPerUser", 0), number("OperationsPerOrg", 0),
			number("QueuedOperationsPerUser", 0), number("QueuedOperationsPerOrg", 0)))
}

func (s *Server) generalSettings(tag string, o *org) *node {
	href := s.href("/api/admin/org/" + o.id + "/settings/general")
	return add(el(tag, "href", href, "type", mediaAdmin+"organizationGeneralSettings+xml"),
		link("edit", href, mediaAdmin+"organizationGeneralSettings+xml"),
		boolean("CanPublishCatalogs", false), boolean("CanPublishExternally", false), boolean("CanSubscribe", false),
		number("DeployedVMQuota", o.deployedQuota), number("StoredVmQuota", o.stored), boolean("UseServerBootSequence", false),
		number("DelayAfterPowerOnSeconds", 0), opt("VmDiscoveryEnabled", o.discovery))
}

func (s *Server) leaseSettings(tag string, o *org) *node {
	href := s.href("/api/admin/org/" + o.id + "/settings/vAppLeaseSettings")
	return add(el(tag, "href", href, "type", mediaAdmin+"vAppLeaseSettings+xml"), link("edit", href, mediaAdmin+"vAppLeaseSettings+xml"),
		boolean("DeleteOnStorageLeaseExpiration", o.lease.DeleteOnStorageExpiration),
		number("DeploymentLeaseSeconds", o.lease.DeploymentSeconds), number("StorageLeaseSeconds", o.lease.StorageSeconds),
		boolean("PowerOffOnRuntimeLeaseExpiration", o.lease.PowerOffOnExpiration))
}

func (c *call) orgSettings(part string) (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(o.id) {
		return nil, noRight("Organization: View", o.id)
	}
	switch part {
	case "":
		d := c.s.settings(o)
		d.Tag = "OrgSettings"
		return ok(mediaAdmin+"orgSettings", d), nil
	case "general":
		return ok(mediaAdmin+"organizationGeneralSettings", c.s.generalSettings("GeneralOrgSettings", o)), nil
	case "vAppLeaseSettings":
		return ok(mediaAdmin+"vAppLeaseSettings", c.s.leaseSettings("VAppLeaseSettings", o)), nil
	}
	return nil, notFound("There are no settings %s.", part)
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
	if admin {
		add(d, link("alternate", s.href("/api/vdc/"+v.id), mediaVCloud+"vdc+xml"))
	} else if c.orgAdmin(v.org) {
		add(d, link("alternate", s.href("/api/admin/vdc/"+v.id), mediaAdmin+"vdc+xml"))
	}
	if admin && c.provider() {
		add(d, s.vdcAdminLinks(v)...)
	}
	add(d, text("Description", v.desc), s.tasksFor(v.id), text("AllocationModel", v.model), s.vdcCapacity(v))
	entities := el("ResourceEntities")
	for _, a := range sorted(s.vapps) {
		if a.vdc == v.id && c.level(a) > accessNone {
			add(entities, s.vappRef("ResourceEntity", a))
		}
	}
	nets := el("AvailableNetworks")
	for _, n := range s.netsOf(v) {
		add(nets, s.ref("Network", "/api/network/", n.id, n.name, mediaVCloud+"network+xml"))
	}
	profiles := el("VdcStorageProfiles")
	for _, p := range sorted(s.profiles) {
		if p.vdc == v.id {
			add(profiles, s.profileRef("VdcStorageProfile", p.id))
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
	for _, n := range sorted(s.nets) {
		nv := s.vdcs[n.vdc]
		if n.vdc == v.id || n.shared && nv != nil && nv.org == v.org {
			out = append(out, n)
		}
	}
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
	n := add(el("IpScope"), boolean("IsInherited", inherited), opt("Gateway", sc.gateway), opt("Netmask", sc.netmask), opt("Dns1", sc.dns1),
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

// getNetwork is an org network or a vApp network, whichever has the id.
func (c *call) getNetwork() (*answer, error) {
	s, id := c.s, uuidIn(c.path("id"))
	if n := s.vappNets[id]; n != nil {
		if c.level(n.vapp) == accessNone {
			return nil, noAccess("network", id)
		}
		return ok(mediaVCloud+"vAppNetwork", s.vappNetDoc(n)), nil
	}
	n := s.nets[id]
	if n == nil {
		return nil, missing("network", or(id, c.path("id")))
	}
	v := s.vdcs[n.vdc]
	if !c.provider() && v.org != c.login.org.id {
		return nil, noAccess("network", id)
	}
	d := el("OrgVdcNetwork", "status", "1", "name", n.name, "id", "urn:vcloud:network:"+n.id,
		"href", s.href("/api/network/"+n.id), "type", mediaVCloud+"orgVdcNetwork+xml")
	if c.r.URL.Path[:11] == "/api/admin/" {
		d.CreateAttr("href", s.href("/api/admin/network/"+n.id))
	}
	add(d, link("up", s.href("/api/vdc/"+v.id), mediaVCloud+"vdc+xml"), link("down", s.href("/api/network/"+n.id)+"/metadata", mediaVCloud+"metadata+xml"),
		text("Description", n.desc))
	conf := add(el("Configuration"), add(el("IpScopes"), scopeNode(n.scope, n.mode == "bridged", s.takenOn(n.id, ""))))
	if n.mode == "bridged" && n.external != "" && c.provider() {
		add(conf, s.ref("ParentNetwork", "/api/admin/network/", n.externalID, n.external, ""))
	}
	add(conf, text("FenceMode", n.mode), boolean("RetainNetInfoAcrossDeployments", false))
	add(d, conf)
	if n.mode == "natRouted" && n.edge != "" {
		add(d, s.ref("EdgeGateway", "/api/admin/edgeGateway/", n.edID, n.edge, mediaAdmin+"edgeGateway+xml"))
	}
	return ok(mediaVCloud+"orgVdcNetwork", add(d, boolean("IsShared", n.shared))), nil
}

func (c *call) getUser() (*answer, error) {
	s, id := c.s, uuidIn(c.path("id"))
	u := s.users[id]
	if u == nil {
		return nil, missing("user", or(id, c.path("id")))
	}
	if !c.orgAdmin(u.org) && c.login.user.id != u.id {
		return nil, noAccess("user", id)
	}
	r := s.roleOf(u.org, u.role)
	d := el("User", "name", u.name, "id", "urn:vcloud:user:"+u.id, "href", s.href("/api/admin/user/"+u.id), "type", mediaAdmin+"user+xml")
	add(d, link("edit", s.href("/api/admin/user/"+u.id), mediaAdmin+"user+xml"), text("Description", u.desc), text("FullName", u.fullName),
		opt("EmailAddress", u.email), boolean("IsEnabled", u.enabled), boolean("IsLocked", false), opt("NameInSource", u.name),
		boolean("IsExternal", false), text("ProviderType", "INTEGRATED"), boolean("IsGroupRole", false),
		number("StoredVmQuota", u.quota), number("DeployedVmQuota", u.deployed),
		s.ref("Role", "/api/admin/role/", r.id, r.name, mediaAdmin+"role+xml"), el("GroupReferences"))
	return ok(mediaAdmin+"user", d), nil
}

func (c *call) getRole() (*answer, error) {
	id := uuidIn(c.path("id"))
	r := c.s.roles[id]
	if r == nil {
		return nil, missing("role", or(id, c.path("id")))
	}
	if !c.orgAdmin(r.org) {
		return nil, noAccess("role", id)
	}
	d := el("Role", "name", r.name, "id", "urn:vcloud:role:"+r.id, "href", c.s.href("/api/admin/role/"+r.id), "type", mediaAdmin+"role+xml")
	return ok(mediaAdmin+"role", add(d, text("Description", ""), el("RightReferences"))), nil
}
