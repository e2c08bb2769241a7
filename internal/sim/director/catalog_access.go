package director

import (
	"slices"
	"strings"
)

// sharesCatalogs tells who may make catalogs.
func (c *call) sharesCatalogs() bool { return c.has("Catalog: Create / Delete a Catalog") }

// seesPublished tells who sees the catalogs that other organizations have shared
// with the caller's.
func (c *call) seesPublished() bool { return c.has("Catalog: View Published Catalogs") }

// seesCatalog tells whether the catalog as such is the caller's to see. What is
// in it may be used with less.
func (c *call) seesCatalog(k *catalog) bool {
	if c.catalogLevel(k) == accessNone {
		return false
	}
	return k.org != c.login.org.id || c.has("Catalog: View Private and Shared Catalogs")
}

// catalogLevel is what the caller may do with a catalog.
func (c *call) catalogLevel(k *catalog) int {
	if k == nil {
		return accessNone
	}
	u, own := c.login.user, c.login.org.id == k.org
	switch {
	case c.orgAdmin(k.org), own && k.owner == u.id:
		return accessFull
	case !c.has("vApp Template / Media: View"):
		return accessNone
	}
	best := accessNone
	if own {
		best = max(best, slices.Index(levels, k.everyone))
	} else if k.published && c.seesPublished() {
		best = accessRead
	}
	for _, g := range k.access {
		switch {
		case g.kind == "user" && g.id == u.id:
			best = max(best, slices.Index(levels, g.level))
		case g.kind == "org" && !own && g.id == c.login.org.id && c.seesPublished():
			// A catalog is shared with another organization for reading
			// only, whatever was asked for.
			best = max(best, accessRead)
		}
	}
	return best
}

func (c *call) templateLevel(t *vappTemplate) int {
	if t.item == nil {
		return c.ownLevel(t.content.vdc, t.content.owner)
	}
	return max(c.catalogLevel(t.item.catalog), c.ownLevel(t.content.vdc, t.content.owner))
}

// ownLevel is the level of an entity's owner and of the administrators.
func (c *call) ownLevel(vdc, owner string) int {
	v := c.s.vdcs[vdc]
	if v != nil && (c.orgAdmin(v.org) || v.org == c.login.org.id && owner == c.login.user.id) {
		return accessFull
	}
	return accessNone
}

func (c *call) mediaLevel(m *media) int {
	best := c.ownLevel(m.vdc, m.owner)
	if m.item != nil {
		best = max(best, c.catalogLevel(m.item.catalog))
	}
	return best
}

// theCatalog is the catalog of the path, if the caller may see it.
func (c *call) theCatalog() (*catalog, error) {
	id := uuidIn(c.path("id"))
	k := c.s.catalogs[id]
	if k == nil {
		return nil, missing("catalog", or(id, c.path("id")))
	}
	if !c.seesCatalog(k) {
		return nil, noAccess("catalog", id)
	}
	return k, nil
}

// changeCatalog is theCatalog for a write that needs that level.
func (c *call) changeCatalog(level int) (*catalog, error) {
	k, err := c.theCatalog()
	if err != nil {
		return nil, err
	}
	if c.catalogLevel(k) < level {
		return nil, noRight("Catalog: Edit Properties", k.id)
	}
	if c.s.working(k.id) {
		return nil, busy("com.vmware.vcloud.entity.catalog", k.name)
	}
	return k, nil
}

// theItem is the catalog item of the path.
func (c *call) theItem() (*catalogItem, error) {
	id := uuidIn(c.path("id"))
	it := c.s.catalogItems[id]
	if it == nil {
		return nil, missing("catalogItem", or(id, c.path("id")))
	}
	if c.catalogLevel(it.catalog) == accessNone {
		return nil, noAccess("catalogItem", id)
	}
	return it, nil
}

func (c *call) changeItem(level int) (*catalogItem, error) {
	it, err := c.theItem()
	if err != nil {
		return nil, err
	}
	if c.catalogLevel(it.catalog) < level {
		return nil, noRight("Catalog: Edit Properties", it.id)
	}
	if c.s.working(it.id) || c.s.working(it.entityID()) {
		return nil, busy("com.vmware.vcloud.entity.catalogItem", it.name)
	}
	return it, nil
}

// theTemplate is the template of the path.
func (c *call) theTemplate() (*vappTemplate, error) {
	id := uuidIn(c.path("id"))
	t := c.s.templates[id]
	if t == nil || !strings.HasPrefix(c.path("id"), "vappTemplate-") {
		return nil, missing("vapptemplate", or(id, c.path("id")))
	}
	if c.templateLevel(t) == accessNone {
		return nil, noAccess("vapptemplate", id)
	}
	return t, nil
}

// theMedia is the medium of the path.
func (c *call) theMedia() (*media, error) {
	id := uuidIn(c.path("id"))
	m := c.s.media[id]
	if m == nil {
		return nil, missing("media", or(id, c.path("id")))
	}
	if c.mediaLevel(m) == accessNone {
		return nil, noAccess("media", id)
	}
	return m, nil
}

func (c *call) changeMedia(level int) (*media, error) {
	m, err := c.theMedia()
	if err != nil {
		return nil, err
	}
	if c.mediaLevel(m) < level {
		return nil, noRight("vApp Template / Media: Edit", m.id)
	}
	if c.s.working(m.id) {
		return nil, busy("com.vmware.vcloud.entity.media", m.name)
	}
	return m, nil
}

// working tells whether a task occupies the entity of that id.
func (s *Server) working(id string) bool {
	if id == "" {
		return false
	}
	for _, t := range s.tasks {
		if !t.over() && slices.Contains(t.busy, id) {
			return true
		}
	}
	return false
}

// tasksOn are the tasks under way on the entity of that id, and the failed one
// that made it what it is.
func (s *Server) tasksOn(id string, failed bool) *node {
	var d *node
	for _, t := range sorted(s.tasks) {
		if t.owner.id == id && (!t.over() || failed && t.status == "error") {
			if d == nil {
				d = el("Tasks")
			}
			add(d, s.taskNode(t))
		}
	}
	return d
}

func (it *catalogItem) entityID() string {
	switch {
	case it.template != nil:
		return it.template.id()
	case it.media != nil:
		return it.media.id
	}
	return ""
}
