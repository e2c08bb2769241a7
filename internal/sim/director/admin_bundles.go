package director

import (
	"net/http"
	"slices"
)

func (b *rightsBundle) json() map[string]any {
	return map[string]any{"id": b.urn(), "name": b.name, "description": b.desc, "bundleKey": b.key, "readOnly": b.readOnly, "publishAll": b.publishAll}
}

func (c *call) listBundles(global bool) (*answer, error) {
	var out []any
	for _, b := range sorted(c.s.bundles) {
		if b.global == global {
			out = append(out, b.json())
		}
	}
	return c.list(out)
}

func (c *call) theBundle(global bool) (*rightsBundle, error) {
	b := c.s.bundles[uuidIn(c.path("id"))]
	if b == nil || b.global != global {
		kind := "rightsBundle"
		if global {
			kind = "globalRole"
		}
		return nil, missing(kind, or(uuidIn(c.path("id")), c.path("id")))
	}
	return b, nil
}

func (c *call) getBundle(global bool) (*answer, error) {
	b, err := c.theBundle(global)
	if err != nil {
		return nil, err
	}
	return asJSON(b.json()), nil
}

func (s *Server) bundleNamed(name string, global bool) *rightsBundle {
	for _, b := range s.bundles {
		if b.name == name && b.global == global {
			return b
		}
	}
	return nil
}

func (c *call) createBundle(global bool) (*answer, error) {
	body, err := c.roleBody()
	if err != nil {
		return nil, err
	}
	if c.s.bundleNamed(body.Name, global) != nil {
		return nil, nameExists(body.Name)
	}
	b := &rightsBundle{thing: thing{id: newID(), name: body.Name, desc: body.Description, seq: c.s.next()}, global: global, key: undefinedKey,
		publishAll: body.PublishAll != nil && *body.PublishAll}
	c.s.bundles[b.id] = b
	c.s.syncAllRoles()
	return created(b.json()), nil
}

func (c *call) updateBundle(global bool) (*answer, error) {
	b, err := c.theBundle(global)
	if err != nil {
		return nil, err
	}
	body, err := c.roleBody()
	if err != nil {
		return nil, err
	}
	if other := c.s.bundleNamed(body.Name, global); other != nil && other != b {
		return nil, nameExists(body.Name)
	}
	for _, r := range c.s.roles {
		if r.global == b.id {
			c.s.renameRole(r, body.Name)
		}
	}
	b.name, b.desc = body.Name, body.Description
	if body.PublishAll != nil {
		b.publishAll = *body.PublishAll
	}
	c.s.syncAllRoles()
	return asJSON(b.json()), nil
}

func (c *call) deleteBundle(global bool) (*answer, error) {
	b, err := c.theBundle(global)
	if err != nil {
		return nil, err
	}
	for _, r := range c.s.roles {
		if r.global == b.id && c.s.inUse(r) {
			return nil, badRequest("The global role %q cannot be deleted, because users or groups have it.", b.name)
		}
	}
	b.publishAll, b.tenants = false, nil
	c.s.syncAllRoles()
	delete(c.s.bundles, b.id)
	return noContent(), nil
}

func (c *call) bundleRights(global bool) (*answer, error) {
	b, err := c.theBundle(global)
	if err != nil {
		return nil, err
	}
	return c.rightRefs(b.rights)
}

// setBundleRights adds rights (POST) or replaces them (PUT).
func (c *call) setBundleRights(global bool) (*answer, error) {
	b, err := c.theBundle(global)
	if err != nil {
		return nil, err
	}
	names, err := c.rightNames(nil)
	if err != nil {
		return nil, err
	}
	if c.r.Method == http.MethodPost {
		names = merged(b.rights, names)
	}
	b.rights = names
	return c.rightRefs(b.rights)
}

func (c *call) bundleTenants(global bool) (*answer, error) {
	b, err := c.theBundle(global)
	if err != nil {
		return nil, err
	}
	var out []any
	for _, o := range sorted(c.s.orgs) {
		if b.publishedTo(o) {
			out = append(out, orgRefJSON(o))
		}
	}
	return c.list(out)
}

// publish says which tenants have a bundle: PUT replaces them, the actions of
// POST add, remove, or speak of all.
func (c *call) publish(global bool) (*answer, error) {
	b, err := c.theBundle(global)
	if err != nil {
		return nil, err
	}
	how := c.path("how")
	switch how {
	case "publishAll":
		b.publishAll = true
	case "unpublishAll":
		b.publishAll, b.tenants = false, nil
	case "", "publish", "unpublish":
		if err := c.publishTo(b, how); err != nil {
			return nil, err
		}
	default:
		return nil, notFound("%s was not found.", c.r.URL.Path)
	}
	c.s.syncAllRoles()
	return c.bundleTenants(global)
}

func (c *call) publishTo(b *rightsBundle, how string) error {
	refs, err := c.references()
	if err != nil {
		return err
	}
	var ids []string
	for _, ref := range refs {
		o := c.s.orgs[uuidIn(ref.ID)]
		if o == nil || o.system {
			return badRequest("The tenant %s does not exist.", ref.ID)
		}
		ids = append(ids, o.id)
	}
	switch how {
	case "publish":
		b.tenants = merged(b.tenants, ids)
	case "unpublish":
		b.tenants = slices.DeleteFunc(b.tenants, func(id string) bool { return slices.Contains(ids, id) })
	default:
		b.publishAll, b.tenants = false, ids
	}
	return nil
}

// syncAllRoles brings the roles of all organizations in line with the global
// roles that are published to them.
func (s *Server) syncAllRoles() {
	for _, o := range sorted(s.orgs) {
		s.syncRoles(o)
	}
}
