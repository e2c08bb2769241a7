package director

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A rightsBundle is a set of rights that the provider publishes to tenants: a
// rights bundle bounds what the tenant can have, a global role becomes a role
// of the tenant's.
type rightsBundle struct {
	thing
	global     bool // a global role
	rights     []string
	publishAll bool
	tenants    []string // ids of organizations
	readOnly   bool
	key        string // bundleKey
}

// undefinedKey is the bundle key of what was not there from the beginning.
const undefinedKey = "com.vmware.vcloud.undefined.key"

func (b *rightsBundle) kind() string {
	if b.global {
		return "globalRole"
	}
	return "rightsBundle"
}

func (b *rightsBundle) urn() string { return "urn:vcloud:" + b.kind() + ":" + b.id }

func (b *rightsBundle) publishedTo(o *org) bool {
	return !o.system && (b.publishAll || slices.Contains(b.tenants, o.id))
}

func (r *role) urn() string { return "urn:vcloud:role:" + r.id }

// roleKey is the bundle key of a predefined name.
func roleKey(name string) string {
	return "ROLE_" + strings.ToUpper(strings.ReplaceAll(name, " ", "_"))
}

// addRoles makes what every installation has: the predefined global roles and
// the rights bundle that gives tenants all that tenants can have.
func (s *Server) addRoles() {
	b := &rightsBundle{thing: thing{id: idFor(s, s.bundles, "rights bundle", "default"), name: "Default Rights Bundle", desc: "Default set of tenant rights", seq: s.next()},
		rights: tenantRights(), publishAll: true, key: "RIGHTS_BUNDLE_DEFAULT"}
	s.bundles[b.id] = b
	for _, p := range predefinedRoles {
		g := &rightsBundle{thing: thing{id: idFor(s, s.bundles, "global role", p.name), name: p.name, desc: p.desc, seq: s.next()}, global: true, rights: defaultRights(p.letter),
			publishAll: true, key: roleKey(p.name)}
		s.bundles[g.id] = g
	}
}

// syncRoles gives an organization the roles that are published to it, and takes
// those away that are not any more and that nobody has.
func (s *Server) syncRoles(o *org) {
	for _, g := range sorted(s.bundles) {
		if !g.global {
			continue
		}
		have := s.roleThat(func(r *role) bool { return r.org == o.id && r.global == g.id })
		switch {
		case have != nil && !g.publishedTo(o):
			delete(s.roles, have.id)
		case have != nil:
			have.name, have.desc = g.name, g.desc
		case g.publishedTo(o) && s.roleNamed(o.id, g.name) == nil:
			r := &role{thing: thing{id: idFor(s, s.roles, "global role", o.id, g.id), name: g.name, desc: g.desc, seq: s.next()}, org: o.id, global: g.id, readOnly: true}
			s.roles[r.id] = r
		}
	}
}

func (s *Server) roleThat(is func(*role) bool) *role {
	for _, r := range s.roles {
		if is(r) {
			return r
		}
	}
	return nil
}

func (s *Server) roleNamed(org, name string) *role {
	return s.roleThat(func(r *role) bool { return r.org == org && r.name == name })
}

// rightsOf are the names of the rights that a role gives.
func (s *Server) rightsOf(r *role) []string {
	if o := s.orgs[r.org]; o != nil && o.system && r.name == RoleSysAdmin {
		var all []string
		for _, x := range rights() {
			all = append(all, x.name)
		}
		return all
	}
	if g := s.bundles[r.global]; g != nil {
		return g.rights
	}
	return r.rights
}

// orgRights are the names of the rights that an organization can use.
func (s *Server) orgRights(o *org) map[string]bool {
	out := map[string]bool{}
	for _, b := range s.bundles {
		if !b.global && b.publishedTo(o) {
			for _, r := range b.rights {
				out[r] = true
			}
		}
	}
	return out
}

// has tells whether the caller's role has a right that the caller's
// organization can use.
func (c *call) has(right string) bool {
	u, o := c.login.user, c.login.org
	if o.system && u.role == RoleSysAdmin {
		return true
	}
	r := c.s.roleNamed(o.id, u.role)
	if r == nil || !slices.Contains(c.s.rightsOf(r), right) {
		return false
	}
	return o.system || c.s.orgRights(o)[right]
}

// hasAny tells whether the caller has one of those rights.
func (c *call) hasAny(names ...string) bool {
	return slices.ContainsFunc(names, c.has)
}

// AddRole makes a role of an organization and returns its UUID.
func (s *Server) AddRole(spec RoleSpec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orgNamed(spec.Org)
	if o == nil {
		return "", fmt.Errorf("role %s: no org %s", spec.Name, spec.Org)
	}
	if s.roleNamed(o.id, spec.Name) != nil {
		return "", fmt.Errorf("role %s: the name is taken in org %s", spec.Name, o.name)
	}
	for _, n := range spec.Rights {
		if rightsByName()[n] == nil {
			return "", fmt.Errorf("role %s: no right %q", spec.Name, n)
		}
	}
	r := &role{thing: thing{id: idFor(s, s.roles, "role", o.id, spec.Name), name: spec.Name, desc: spec.Description, seq: s.next()}, org: o.id, rights: spec.Rights}
	s.roles[r.id] = r
	return r.id, nil
}

// operatingOrg is the organization that a call is about: the caller's, or for
// the provider the one that X-VMWARE-VCLOUD-TENANT-CONTEXT (an id) or
// X-VMWARE-VCLOUD-AUTH-CONTEXT (a name) says.
func (c *call) operatingOrg() (*org, error) {
	o := c.login.org
	if id := c.r.Header.Get("X-Vmware-Vcloud-Tenant-Context"); id != "" {
		o = c.s.orgs[or(uuidIn(id), id)]
	} else if name := c.r.Header.Get("X-Vmware-Vcloud-Auth-Context"); name != "" {
		o = c.s.orgNamed(name)
	}
	if o == nil || o != c.login.org && !c.provider() {
		return nil, refuse(http.StatusForbidden, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "The tenant context of the request is not valid.")
	}
	return o, nil
}
