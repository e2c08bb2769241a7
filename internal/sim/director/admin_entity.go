package director

import "strings"

// resolve is /api/entity/ID: an entity by its URN, with a link to it.
func (c *call) resolve() (*answer, error) {
	urn := c.path("id")
	parts := strings.Split(urn, ":")
	id := uuidIn(urn)
	if len(parts) != 4 || parts[0] != "urn" || parts[1] != "vcloud" || id == "" {
		return nil, badRequest("The entity id %q is not valid.", urn)
	}
	name, links := c.entityLinks(strings.ToLower(parts[2]), id)
	if links == nil {
		return nil, missing(parts[2], id)
	}
	d := el("Entity", "name", name, "id", urn, "href", c.s.href("/api/entity/"+urn), "type", mediaVCloud+"entity+xml")
	return ok(mediaVCloud+"entity", add(d, links...)), nil
}

// An entityKind is a kind of entity that URNs name: where it is served, and how
// it is found by one who may see it.
type entityKind struct {
	path, typ string
	admin     string // where administrators see it, with its type; "" for nowhere else
	adminType string
	find      func(c *call, id string) (name, org string, found bool)
}

// mine tells whether something is the caller's organization's.
func (c *call) mine(org string) bool { return c.provider() || c.login.org.id == org }

// entityKinds are the kinds by the third part of their URNs.
var entityKinds = map[string]entityKind{
	"vapp": {path: "/api/vApp/vapp-", typ: mediaVCloud + "vApp+xml", find: func(c *call, id string) (string, string, bool) {
		a := c.s.vapps[id]
		if a == nil || c.level(a) == accessNone {
			return "", "", false
		}
		return a.name, "", true
	}},
	"vm": {path: "/api/vApp/vm-", typ: mediaVCloud + "vm+xml", find: func(c *call, id string) (string, string, bool) {
		m := c.s.vms[id]
		if m == nil || c.level(m.vapp) == accessNone {
			return "", "", false
		}
		return m.name, "", true
	}},
	"org": {path: "/api/org/", typ: mediaVCloud + "org+xml", admin: "/api/admin/org/", adminType: mediaAdmin + "organization+xml",
		find: func(c *call, id string) (string, string, bool) {
			o := c.s.orgs[id]
			if o == nil || !c.mine(o.id) {
				return "", "", false
			}
			return o.name, o.id, true
		}},
	"vdc": {path: "/api/vdc/", typ: mediaVCloud + "vdc+xml", admin: "/api/admin/vdc/", adminType: mediaAdmin + "vdc+xml",
		find: func(c *call, id string) (string, string, bool) {
			v := c.s.vdcs[id]
			if v == nil || !c.mine(v.org) {
				return "", "", false
			}
			return v.name, v.org, true
		}},
	"network": {path: "/api/network/", typ: mediaVCloud + "network+xml", find: func(c *call, id string) (string, string, bool) {
		if n := c.s.vappNets[id]; n != nil && c.level(n.vapp) > accessNone {
			return n.name, "", true
		}
		n := c.s.nets[id]
		if n == nil || c.s.vdcs[n.vdc] == nil || !c.mine(c.s.vdcs[n.vdc].org) {
			return "", "", false
		}
		return n.name, "", true
	}},
	"user": {path: "/api/admin/user/", typ: mediaAdmin + "user+xml", find: func(c *call, id string) (string, string, bool) {
		u := c.s.users[id]
		if u == nil || !c.seesUser(u) {
			return "", "", false
		}
		return u.name, "", true
	}},
	"group": {path: "/api/admin/group/", typ: mediaAdmin + "group+xml", find: func(c *call, id string) (string, string, bool) {
		g := c.s.groups[id]
		if g == nil || !c.orgAdmin(g.org) {
			return "", "", false
		}
		return g.name, "", true
	}},
	"role": {path: "/api/admin/role/", typ: mediaAdmin + "role+xml", find: func(c *call, id string) (string, string, bool) {
		r := c.s.roles[id]
		if r == nil || !c.orgAdmin(r.org) {
			return "", "", false
		}
		return r.name, "", true
	}},
	"right": {path: "/api/admin/right/", typ: mediaAdmin + "right+xml", find: func(_ *call, id string) (string, string, bool) {
		r := rightByID(id)
		if r == nil {
			return "", "", false
		}
		return r.name, "", true
	}},
	"catalog": {path: "/api/catalog/", typ: mediaVCloud + "catalog+xml", find: func(c *call, id string) (string, string, bool) {
		k := c.s.catalogs[id]
		if k == nil || c.catalogLevel(k) == accessNone {
			return "", "", false
		}
		return k.name, "", true
	}},
	"task": {path: "/api/task/", typ: mediaVCloud + "task+xml", find: func(c *call, id string) (string, string, bool) {
		t := c.s.tasks[id]
		return "task", "", t != nil && (c.mine(t.org.id) || c.ownsObject(t))
	}},
	"vdcstorageprofile": {path: "/api/vdcStorageProfile/", typ: mediaVCloud + "vdcStorageProfile+xml", find: func(c *call, id string) (string, string, bool) {
		p := c.s.profiles[id]
		if p == nil || c.s.vdcs[p.vdc] == nil || !c.mine(c.s.vdcs[p.vdc].org) {
			return "", "", false
		}
		return p.name, "", true
	}},
	"vimserver": {path: "/api/admin/extension/vimServer/", typ: mediaAdmin + "vmwvirtualcenter+xml", find: func(c *call, id string) (string, string, bool) {
		vc := c.s.vcenters[id]
		if vc == nil || !c.provider() {
			return "", "", false
		}
		return vc.name, "", true
	}},
}

// entityLinks is the name of an entity that the caller may see and where it is;
// no links when there is none.
func (c *call) entityLinks(kind, id string) (string, []*node) {
	k, known := entityKinds[kind]
	if !known {
		return "", nil
	}
	name, org, found := k.find(c, id)
	if !found {
		return "", nil
	}
	links := []*node{link("alternate", c.s.href(k.path+id), k.typ)}
	if k.admin != "" && c.orgAdmin(org) {
		links = append(links, link("alternate", c.s.href(k.admin+id), k.adminType))
	}
	return name, links
}
