package director

import (
	"encoding/json"
	"strings"
	"time"
)

// cloudUserRoutes are users over the OpenAPI.
func cloudUserRoutes() []route {
	return []route{
		{pattern: "GET /cloudapi/1.0.0/users", handle: (*call).cloudUsers},
		{pattern: "POST /cloudapi/1.0.0/users", handle: (*call).cloudCreateUser, takes: "application/json"},
		{pattern: "GET /cloudapi/1.0.0/users/{id}", handle: (*call).cloudUser},
		{pattern: "PUT /cloudapi/1.0.0/users/{id}", handle: (*call).cloudPutUser, takes: "application/json"},
		{pattern: "DELETE /cloudapi/1.0.0/users/{id}", handle: (*call).deleteUser},
	}
}

// userJSON is the data structure User of the OpenAPI. The password never shows.
func (s *Server) userJSON(u *user) map[string]any {
	names, refs := []any{}, []any{}
	if r := s.roleNamed(u.org, u.role); r != nil {
		names, refs = []any{r.name}, []any{map[string]any{"name": r.name, "id": r.urn()}}
	}
	return map[string]any{"id": u.urn(), "username": u.name, "fullName": u.fullName, "description": u.desc, "email": u.email, "phone": u.phone,
		"orgEntityRef": orgRefJSON(s.orgs[u.org]), "roleEntityRefs": refs, "rolesNames": names, "enabled": u.enabled, "locked": u.locked(),
		"deployedVmQuota": u.deployed, "storedVmQuota": u.quota, "nameInSource": u.name, "isGroupRole": false, "inheritGroupRoles": false,
		"providerType": strings.Replace(or(u.provider, "INTEGRATED"), "INTEGRATED", "LOCAL", 1), "stranded": u.stranded, "password": nil}
}

// seesUser tells whether the caller may look at a user.
func (c *call) seesUser(u *user) bool {
	return u == c.login.user || c.orgAdmin(u.org) || u.org == c.login.org.id && c.has("Group / User: View")
}

func (c *call) cloudUsers() (*answer, error) {
	o, err := c.operatingOrg()
	if err != nil {
		return nil, err
	}
	var out []any
	for _, u := range sorted(c.s.users) {
		if u.org == o.id && c.seesUser(u) {
			out = append(out, c.s.userJSON(u))
		}
	}
	return c.list(out)
}

func (c *call) cloudUser() (*answer, error) {
	u, err := c.theUser()
	if err != nil {
		return nil, err
	}
	if !c.seesUser(u) {
		return nil, noAccess("user", u.id)
	}
	return asJSON(c.s.userJSON(u)), nil
}

type userBody struct {
	Username, FullName, Description, Email, Phone, Password, ProviderType string
	RoleEntityRefs                                                        []reference
	Enabled                                                               *bool
	Locked                                                                *bool
	DeployedVMQuota, StoredVMQuota                                        int
}

// userBody reads a user; the role is one of the organization's.
func (c *call) userBody(org string) (userBody, *role, error) {
	var b userBody
	if err := json.Unmarshal(c.body, &b); err != nil || b.Username == "" {
		return b, nil, badRequest("The body is not a user.")
	}
	if len(b.RoleEntityRefs) != 1 {
		return b, nil, badRequest("A user needs one role.")
	}
	r := c.s.roles[uuidIn(b.RoleEntityRefs[0].ID)]
	switch {
	case r == nil || r.org != org:
		return b, nil, badRequest("The role %s does not exist in the organization.", b.RoleEntityRefs[0].ID)
	case b.Password != "" && len(b.Password) < 6:
		return b, nil, badRequest("The password is too short: it must have at least 6 characters.")
	case b.DeployedVMQuota < 0 || b.StoredVMQuota < 0:
		return b, nil, badRequest("A quota cannot be negative.")
	}
	return b, r, nil
}

func (b *userBody) apply(u *user, r *role) {
	u.role, u.fullName, u.desc, u.email, u.phone = r.name, b.FullName, b.Description, b.Email, b.Phone
	u.password = or(b.Password, u.password)
	u.deployed, u.quota = b.DeployedVMQuota, b.StoredVMQuota
	u.enabled = b.Enabled == nil || *b.Enabled
	if b.Locked != nil && !*b.Locked {
		u.lockedUntil, u.failures = time.Time{}, 0
	}
}

func (c *call) cloudCreateUser() (*answer, error) {
	o, err := c.operatingOrg()
	if err != nil {
		return nil, err
	}
	b, r, err := c.userBody(o.id)
	if err != nil {
		return nil, err
	}
	u := &user{thing: thing{id: newID(), name: strings.ToLower(b.Username), seq: c.s.next()}, org: o.id}
	u.external = b.ProviderType != "" && b.ProviderType != "LOCAL"
	if u.external {
		u.provider = b.ProviderType
	}
	switch {
	case !nameOK.MatchString(u.name):
		return nil, badRequest("The user name %q is not valid.", u.name)
	case c.s.userNamed(o.id, u.name) != nil:
		return nil, nameExists(u.name)
	case b.Password == "" && !u.external:
		return nil, badRequest("A user that is not external needs a password.")
	}
	b.apply(u, r)
	c.s.users[u.id] = u
	c.record("user/create", "SUCCESS", eventOn{"user", u.id, u.name})
	return created(c.s.userJSON(u)), nil
}

func (c *call) cloudPutUser() (*answer, error) {
	u, err := c.theUser()
	if err != nil {
		return nil, err
	}
	b, r, err := c.userBody(u.org)
	if err != nil {
		return nil, err
	}
	switch {
	case !strings.EqualFold(b.Username, u.name):
		return nil, badRequest("The name of a user cannot be changed.")
	case u == c.login.user && (r.name != u.role || b.Enabled != nil && !*b.Enabled):
		return nil, badRequest("You cannot change your own role or disable yourself.")
	}
	b.apply(u, r)
	if !u.enabled {
		c.s.endSessionsOf(u)
	}
	c.record("user/modify", "SUCCESS", eventOn{"user", u.id, u.name})
	return asJSON(c.s.userJSON(u)), nil
}
