package director

import (
	"encoding/json"
	"net/http"
	"slices"
)

// roleRoutes are rights, roles, global roles and rights bundles.
func roleRoutes() []route {
	routes := []route{
		{pattern: "GET /cloudapi/1.0.0/rights", handle: (*call).listRights},
		{pattern: "GET /cloudapi/1.0.0/rights/{id}", handle: (*call).getRight},
		{pattern: "GET /cloudapi/1.0.0/rightsCategories", handle: (*call).listCategories},
		{pattern: "GET /cloudapi/1.0.0/rightsCategories/{id}", handle: (*call).getCategory},
		{pattern: "GET /cloudapi/1.0.0/roles", handle: (*call).listRoles},
		{pattern: "POST /cloudapi/1.0.0/roles", handle: (*call).createRole, takes: "application/json"},
		{pattern: "GET /cloudapi/1.0.0/roles/{id}", handle: (*call).cloudRole},
		{pattern: "PUT /cloudapi/1.0.0/roles/{id}", handle: (*call).updateRole, takes: "application/json"},
		{pattern: "DELETE /cloudapi/1.0.0/roles/{id}", handle: (*call).deleteRole},
		{pattern: "GET /cloudapi/1.0.0/roles/{id}/rights", handle: (*call).roleRights},
		{pattern: "POST /cloudapi/1.0.0/roles/{id}/rights", handle: func(c *call) (*answer, error) { return c.setRoleRights(true) }, takes: "application/json"},
		{pattern: "PUT /cloudapi/1.0.0/roles/{id}/rights", handle: func(c *call) (*answer, error) { return c.setRoleRights(false) }, takes: "application/json"},
	}
	for _, global := range []bool{true, false} {
		base := "/cloudapi/1.0.0/rightsBundles"
		if global {
			base = "/cloudapi/1.0.0/globalRoles"
		}
		h := func(f func(c *call, global bool) (*answer, error)) handler {
			return func(c *call) (*answer, error) { return f(c, global) }
		}
		routes = append(routes, []route{
			{pattern: "GET " + base, handle: h((*call).listBundles), provider: true},
			{pattern: "POST " + base, handle: h((*call).createBundle), provider: true, takes: "application/json"},
			{pattern: "GET " + base + "/{id}", handle: h((*call).getBundle), provider: true},
			{pattern: "PUT " + base + "/{id}", handle: h((*call).updateBundle), provider: true, takes: "application/json"},
			{pattern: "DELETE " + base + "/{id}", handle: h((*call).deleteBundle), provider: true},
			{pattern: "GET " + base + "/{id}/rights", handle: h((*call).bundleRights), provider: true},
			{pattern: "POST " + base + "/{id}/rights", handle: h((*call).setBundleRights), provider: true, takes: "application/json"},
			{pattern: "PUT " + base + "/{id}/rights", handle: h((*call).setBundleRights), provider: true, takes: "application/json"},
			{pattern: "GET " + base + "/{id}/tenants", handle: h((*call).bundleTenants), provider: true},
			{pattern: "PUT " + base + "/{id}/tenants", handle: h((*call).publish), provider: true, takes: "application/json"},
			{pattern: "POST " + base + "/{id}/tenants/{how}", handle: h((*call).publish), provider: true},
		}...)
	}
	return routes
}

func (r *right) json() map[string]any {
	implied := []any{}
	for _, i := range r.implied() {
		implied = append(implied, map[string]any{"name": i.name, "id": i.urn()})
	}
	return map[string]any{"name": r.name, "id": r.urn(), "description": r.name, "bundleKey": roleKey(r.name), "category": categoryURN(r.category),
		"serviceNamespace": nil, "rightType": r.kind(), "impliedRights": implied}
}

// visibleRights are the rights of the operating organization; all for the
// provider.
func (c *call) visibleRights() ([]*right, error) {
	o, err := c.operatingOrg()
	if err != nil {
		return nil, err
	}
	if o.system {
		return rights(), nil
	}
	have := c.s.orgRights(o)
	return slices.DeleteFunc(slices.Clone(rights()), func(r *right) bool { return !have[r.name] }), nil
}

func (c *call) listRights() (*answer, error) {
	all, err := c.visibleRights()
	if err != nil {
		return nil, err
	}
	var out []any
	for _, r := range all {
		out = append(out, r.json())
	}
	return c.list(out)
}

func (c *call) getRight() (*answer, error) {
	all, err := c.visibleRights()
	if err != nil {
		return nil, err
	}
	r := rightByID(uuidIn(c.path("id")))
	if r == nil || !slices.Contains(all, r) {
		return nil, missing("right", or(uuidIn(c.path("id")), c.path("id")))
	}
	return asJSON(r.json()), nil
}

// categories are the categories of rights, with how many rights each has.
func categories() []map[string]any {
	var out []map[string]any
	for _, r := range rights() {
		i := slices.IndexFunc(out, func(m map[string]any) bool { return m["name"] == r.category })
		if i < 0 {
			i = len(out)
			out = append(out, map[string]any{"name": r.category, "id": categoryURN(r.category), "bundleKey": roleKey(r.category), "parent": nil,
				"rightsCount": map[string]any{"view": 0, "modify": 0}, "subCategories": []any{}})
		}
		count := out[i]["rightsCount"].(map[string]any)
		key := "modify"
		if r.view {
			key = "view"
		}
		count[key] = count[key].(int) + 1
	}
	return out
}

func (c *call) listCategories() (*answer, error) {
	var out []any
	for _, m := range categories() {
		out = append(out, m)
	}
	return c.list(out)
}

func (c *call) getCategory() (*answer, error) {
	for _, m := range categories() {
		if uuidIn(m["id"].(string)) == uuidIn(c.path("id")) {
			return asJSON(m), nil
		}
	}
	return nil, missing("rightsCategory", or(uuidIn(c.path("id")), c.path("id")))
}

func (r *role) json(s *Server) map[string]any {
	key := undefinedKey
	if r.readOnly {
		key = roleKey(r.name)
	}
	if g := s.bundles[r.global]; g != nil {
		key = g.key
	}
	return map[string]any{"id": r.urn(), "name": r.name, "description": r.desc, "bundleKey": key, "readOnly": r.readOnly}
}

func (c *call) listRoles() (*answer, error) {
	o, err := c.operatingOrg()
	if err != nil {
		return nil, err
	}
	var out []any
	for _, r := range sorted(c.s.roles) {
		if r.org == o.id {
			out = append(out, r.json(c.s))
		}
	}
	return c.list(out)
}

// theRole is the role of the path.
func (c *call) theRole() (*role, error) {
	id := uuidIn(c.path("id"))
	r := c.s.roles[id]
	if r == nil || !c.provider() && r.org != c.login.org.id {
		return nil, missing("role", or(id, c.path("id")))
	}
	return r, nil
}

// changeRole is theRole, refused for roles that the provider published or that
// cannot be changed.
func (c *call) changeRole() (*role, error) {
	r, err := c.theRole()
	if err != nil {
		return nil, err
	}
	if r.readOnly {
		return nil, badRequest("The role %q is read-only.", r.name)
	}
	return r, nil
}

func (c *call) cloudRole() (*answer, error) {
	r, err := c.theRole()
	if err != nil {
		return nil, err
	}
	return asJSON(r.json(c.s)), nil
}

type roleBody struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	PublishAll  *bool  `json:"publishAll"`
}

func (c *call) roleBody() (roleBody, error) {
	var b roleBody
	if err := json.Unmarshal(c.body, &b); err != nil || b.Name == "" {
		return b, badRequest("The body has no name.")
	}
	return b, nil
}

func nameExists(name string) *apiError {
	return refuse(http.StatusBadRequest, "DUPLICATE_NAME", "The name %q already exists.", name)
}

func (c *call) createRole() (*answer, error) {
	o, err := c.operatingOrg()
	if err != nil {
		return nil, err
	}
	b, err := c.roleBody()
	if err != nil {
		return nil, err
	}
	if c.s.roleNamed(o.id, b.Name) != nil {
		return nil, nameExists(b.Name)
	}
	r := &role{thing: thing{id: newID(), name: b.Name, desc: b.Description, seq: c.s.next()}, org: o.id}
	c.s.roles[r.id] = r
	c.record("role/create", "SUCCESS", eventOn{"role", r.id, r.name})
	return created(r.json(c.s)), nil
}

func (c *call) updateRole() (*answer, error) {
	r, err := c.changeRole()
	if err != nil {
		return nil, err
	}
	b, err := c.roleBody()
	if err != nil {
		return nil, err
	}
	if other := c.s.roleNamed(r.org, b.Name); other != nil && other != r {
		return nil, nameExists(b.Name)
	}
	c.s.renameRole(r, b.Name)
	r.desc = b.Description
	c.record("role/modify", "SUCCESS", eventOn{"role", r.id, r.name})
	return asJSON(r.json(c.s)), nil
}

// renameRole renames a role for those who have it as well.
func (s *Server) renameRole(r *role, name string) {
	for _, u := range s.users {
		if u.org == r.org && u.role == r.name {
			u.role = name
		}
	}
	for _, a := range s.accounts {
		if a.org.id == r.org && a.user.role == r.name {
			a.user.role = name
		}
	}
	r.name = name
}

// inUse tells whether somebody has a role.
func (s *Server) inUse(r *role) bool {
	for _, u := range s.users {
		if u.org == r.org && u.role == r.name && !u.stranded {
			return true
		}
	}
	for _, g := range s.groups {
		if g.org == r.org && g.role == r.name {
			return true
		}
	}
	return false
}

// removeRole deletes a role that nobody has.
func (c *call) removeRole() error {
	r, err := c.changeRole()
	if err != nil {
		return err
	}
	if c.s.inUse(r) {
		return badRequest("The role %q cannot be deleted, because users or groups have it.", r.name)
	}
	delete(c.s.roles, r.id)
	c.record("role/delete", "SUCCESS", eventOn{"role", r.id, r.name})
	return nil
}

func (c *call) deleteRole() (*answer, error) {
	if err := c.removeRole(); err != nil {
		return nil, err
	}
	return noContent(), nil
}

// rightRefs lists rights by name, in the catalogue's order.
func (c *call) rightRefs(names []string) (*answer, error) {
	var out []any
	for _, r := range rights() {
		if slices.Contains(names, r.name) {
			out = append(out, map[string]any{"name": r.name, "id": r.urn()})
		}
	}
	return c.list(out)
}

func (c *call) roleRights() (*answer, error) {
	r, err := c.theRole()
	if err != nil {
		return nil, err
	}
	return c.rightRefs(c.s.rightsOf(r))
}

// rightNames reads a body of rights. Rights that allowed does not hold are
// refused; nil allows all.
func (c *call) rightNames(allowed map[string]bool) ([]string, error) {
	refs, err := c.references()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, ref := range refs {
		r := rightByID(uuidIn(ref.ID))
		if r == nil {
			r = rightsByName()[ref.Name]
		}
		if r == nil || allowed != nil && !allowed[r.name] {
			return nil, badRequest("The right %s does not exist or is not available to the organization.", or(ref.ID, ref.Name))
		}
		if !slices.Contains(out, r.name) {
			out = append(out, r.name)
		}
	}
	return out, nil
}

func (c *call) setRoleRights(more bool) (*answer, error) {
	r, err := c.changeRole()
	if err != nil {
		return nil, err
	}
	var allowed map[string]bool
	if o := c.s.orgs[r.org]; !o.system {
		allowed = c.s.orgRights(o)
	}
	names, err := c.rightNames(allowed)
	if err != nil {
		return nil, err
	}
	if more {
		names = merged(r.rights, names)
	}
	r.rights = names
	c.record("role/modify", "SUCCESS", eventOn{"role", r.id, r.name})
	return c.rightRefs(r.rights)
}

func merged(a, b []string) []string {
	out := slices.Clone(a)
	for _, n := range b {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
