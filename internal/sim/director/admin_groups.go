package director

import (
	"net/http"
)

func (c *call) theGroup() (*userGroup, error) {
	id := uuidIn(c.path("id"))
	g := c.s.groups[id]
	if g == nil {
		return nil, missing("group", or(id, c.path("id")))
	}
	if !c.provider() && g.org != c.login.org.id {
		return nil, noAccess("group", id)
	}
	return g, nil
}

func (c *call) groupDoc(g *userGroup) *node {
	href := c.s.href("/api/admin/group/" + g.id)
	d := add(el("Group", "name", g.name, "id", "urn:vcloud:group:"+g.id, "href", href, "type", mediaAdmin+"group+xml"),
		link("edit", href, mediaAdmin+"group+xml"), link("remove", href, ""), text("Description", g.desc), text("NameInSource", g.name),
		el("UsersList"), text("ProviderType", g.provider))
	if r := c.s.roleNamed(g.org, g.role); r != nil {
		add(d, c.s.ref("Role", "/api/admin/role/", r.id, r.name, mediaAdmin+"role+xml"))
	}
	return d
}

// groupBody reads a group. INTEGRATED ones come from LDAP: an organization that
// has none cannot have them.
func (c *call) groupBody(g *userGroup, o *org) error {
	d, err := c.parse(nsVCloud, "Group")
	if err != nil {
		return err
	}
	r, err := c.roleIn(o.id, child(d, "Role"))
	if err != nil {
		return err
	}
	provider := or(value(d, "ProviderType"), g.provider, "INTEGRATED")
	if provider == "INTEGRATED" && value(o.settings.ldap, "OrgLdapMode") != "CUSTOM" && value(o.settings.ldap, "OrgLdapMode") != "SYSTEM" {
		return badRequest("The organization %s has no LDAP service to import the group %s from.", o.name, attr(d, "name"))
	}
	g.name, g.desc, g.role, g.provider = attr(d, "name"), value(d, "Description"), r.name, provider
	return nil
}

func (c *call) createGroup() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	g := &userGroup{thing: thing{id: newID(), seq: c.s.next()}, org: o.id}
	if err := c.groupBody(g, o); err != nil {
		return nil, err
	}
	for _, other := range c.s.groups {
		if other.org == o.id && other.name == g.name {
			return nil, nameExists(g.name)
		}
	}
	c.s.groups[g.id] = g
	c.record("group/create", "SUCCESS", eventOn{"group", g.id, g.name})
	return &answer{status: http.StatusCreated, typ: mediaAdmin + "group", doc: c.groupDoc(g)}, nil
}

func (c *call) getGroup() (*answer, error) {
	g, err := c.theGroup()
	if err != nil {
		return nil, err
	}
	return ok(mediaAdmin+"group", c.groupDoc(g)), nil
}

func (c *call) putGroup() (*answer, error) {
	g, err := c.theGroup()
	if err != nil {
		return nil, err
	}
	changed := *g
	if err := c.groupBody(&changed, c.s.orgs[g.org]); err != nil {
		return nil, err
	}
	if changed.name != g.name {
		return nil, badRequest("The name of a group cannot be changed.")
	}
	*g = changed
	return ok(mediaAdmin+"group", c.groupDoc(g)), nil
}

func (c *call) deleteGroup() (*answer, error) {
	g, err := c.theGroup()
	if err != nil {
		return nil, err
	}
	delete(c.s.groups, g.id)
	for _, a := range c.s.vapps {
		a.withdraw(g.id)
	}
	c.record("group/delete", "SUCCESS", eventOn{"group", g.id, g.name})
	return noContent(), nil
}

// roleDoc is a role with its rights.
func (c *call) roleDoc(r *role) *node {
	href := c.s.href("/api/admin/role/" + r.id)
	d := el("Role", "name", r.name, "id", r.urn(), "href", href, "type", mediaAdmin+"role+xml")
	if !r.readOnly && c.orgAdmin(r.org) {
		add(d, link("edit", href, mediaAdmin+"role+xml"), link("remove", href, ""))
	}
	refs := el("RightReferences")
	have := map[string]bool{}
	for _, n := range c.s.rightsOf(r) {
		have[n] = true
	}
	for _, x := range rights() {
		if have[x.name] {
			add(refs, c.rightRef(x))
		}
	}
	return add(d, text("Description", r.desc), refs)
}

func (c *call) rightRef(r *right) *node {
	return el("RightReference", "href", c.s.href("/api/admin/right/"+r.id), "id", r.urn(), "name", r.name, "type", mediaAdmin+"right+xml")
}

func (c *call) getRole() (*answer, error) {
	r, err := c.theRole()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(r.org) {
		return nil, noAccess("role", r.id)
	}
	return ok(mediaAdmin+"role", c.roleDoc(r)), nil
}

// roleRightsOf reads the rights that a Role document names.
func (c *call) roleRightsOf(d *node, o *org) ([]string, error) {
	var out []string
	have := c.s.orgRights(o)
	for _, ref := range childrenOf(child(d, "RightReferences"), "RightReference") {
		r := rightByID(uuidIn(attr(ref, "href")))
		if r == nil || !o.system && !have[r.name] {
			return nil, badRequest("The right %s does not exist or is not available to the organization.", attr(ref, "href"))
		}
		out = merged(out, []string{r.name})
	}
	return out, nil
}

func (c *call) postRole() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	d, err := c.parse(nsVCloud, "Role")
	if err != nil {
		return nil, err
	}
	name := attr(d, "name")
	if name == "" || c.s.roleNamed(o.id, name) != nil {
		return nil, nameExists(name)
	}
	names, err := c.roleRightsOf(d, o)
	if err != nil {
		return nil, err
	}
	r := &role{thing: thing{id: newID(), name: name, desc: value(d, "Description"), seq: c.s.next()}, org: o.id, rights: names}
	c.s.roles[r.id] = r
	c.record("role/create", "SUCCESS", eventOn{"role", r.id, r.name})
	return &answer{status: http.StatusCreated, typ: mediaAdmin + "role", doc: c.roleDoc(r)}, nil
}

func (c *call) putRole() (*answer, error) {
	r, err := c.changeRole()
	if err != nil {
		return nil, err
	}
	d, err := c.parse(nsVCloud, "Role")
	if err != nil {
		return nil, err
	}
	name := attr(d, "name")
	if other := c.s.roleNamed(r.org, name); name == "" || other != nil && other != r {
		return nil, nameExists(name)
	}
	names, err := c.roleRightsOf(d, c.s.orgs[r.org])
	if err != nil {
		return nil, err
	}
	c.s.renameRole(r, name)
	r.desc, r.rights = value(d, "Description"), names
	return ok(mediaAdmin+"role", c.roleDoc(r)), nil
}

func (c *call) rightDoc() (*answer, error) {
	r := rightByID(uuidIn(c.path("id")))
	if r == nil {
		return nil, missing("right", or(uuidIn(c.path("id")), c.path("id")))
	}
	return ok(mediaAdmin+"right", add(el("Right", "name", r.name, "id", r.urn(), "href", c.s.href("/api/admin/right/"+r.id), "type", mediaAdmin+"right+xml"),
		text("Description", r.name), text("Category", r.category), text("BundleKey", roleKey(r.name)))), nil
}

// roleRefs are an organization's roles.
func (c *call) roleRefs(tag string, o *org) *node {
	d := el(tag)
	for _, r := range sorted(c.s.roles) {
		if r.org == o.id {
			add(d, el("RoleReference", "href", c.s.href("/api/admin/role/"+r.id), "id", r.urn(), "name", r.name, "type", mediaAdmin+"role+xml"))
		}
	}
	return d
}

func (c *call) orgRoles() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	d := c.roleRefs("OrgRoles", o)
	d.CreateAttr("href", c.s.href("/api/admin/org/"+o.id+"/roles"))
	d.CreateAttr("type", mediaAdmin+"organization.roles+xml")
	return ok(mediaAdmin+"organization.roles", d), nil
}

// rightRefsOf are the rights that an organization has.
func (c *call) rightRefsOf(tag string, o *org) *node {
	d := el(tag)
	have := c.s.orgRights(o)
	for _, r := range rights() {
		if have[r.name] || o.system {
			add(d, c.rightRef(r))
		}
	}
	return d
}

func (c *call) orgRightsDoc() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	d := c.rightRefsOf("OrgRights", o)
	d.CreateAttr("href", c.s.href("/api/admin/org/"+o.id+"/rights"))
	d.CreateAttr("type", mediaAdmin+"org.rights+xml")
	return ok(mediaAdmin+"org.rights", d), nil
}
