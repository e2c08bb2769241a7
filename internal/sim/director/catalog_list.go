package director

// catalogsOf adds an organization's links to the catalogs that the caller sees
// in it: its own, and those that others share with it.
func (c *call) catalogsOf(d *node, o *org) {
	s := c.s
	for _, k := range c.catalogsIn(o) {
		add(d, el("Link", "rel", "down", "href", s.catalogHref(k), "name", k.name, "type", mediaVCloud+"catalog+xml"),
			el("Link", "rel", "down", "href", s.href("/api/org/"+o.id+"/catalog/"+k.id+"/controlAccess/"), "type", mediaVCloud+"controlAccess+xml"))
		if c.catalogLevel(k) == accessFull {
			add(d, el("Link", "rel", "controlAccess", "href", s.href("/api/org/"+o.id+"/catalog/"+k.id+"/action/controlAccess"),
				"type", mediaVCloud+"controlAccess+xml"))
		}
	}
	if c.sharesCatalogs() {
		add(d, link("add", s.href("/api/admin/org/"+o.id+"/catalogs"), mediaAdmin+"catalog+xml"))
	}
}

func (c *call) catalogsIn(o *org) []*catalog {
	var out []*catalog
	for _, k := range sorted(c.s.catalogs) {
		if c.seesCatalog(k) && (k.org == o.id || k.published || k.sharedWith(o.id)) {
			out = append(out, k)
		}
	}
	return out
}

// sharedWith tells whether an organization was given access.
func (k *catalog) sharedWith(org string) bool {
	for _, g := range k.access {
		if g.kind == "org" && g.id == org {
			return true
		}
	}
	return false
}

// adminCatalogs are the catalogs of an AdminOrg.
func (c *call) adminCatalogs(o *org) *node {
	d := el("Catalogs")
	for _, k := range sorted(c.s.catalogs) {
		if k.org == o.id {
			ref := c.s.catalogRef("CatalogReference", k)
			ref.CreateAttr("href", c.s.href("/api/admin/catalog/"+k.id))
			ref.CreateAttr("type", mediaAdmin+"catalog+xml")
			add(d, ref)
		}
	}
	return d
}

// catalogEntities adds a VDC's templates and media to its entities.
func (c *call) catalogEntities(d *node, v *vdc) {
	for _, a := range c.templateContents() {
		if a.vdc == v.id {
			add(d, c.s.templateRef("ResourceEntity", a.template))
		}
	}
	for _, m := range sorted(c.s.media) {
		if m.vdc == v.id && c.mediaLevel(m) > accessNone {
			add(d, c.s.mediaRef("ResourceEntity", m))
		}
	}
}

// catalogActions are a VDC's links to what makes and stores vApps.
func (s *Server) catalogActions(v *vdc) []*node {
	href := s.href("/api/vdc/" + v.id)
	var out []*node
	for _, action := range []string{"instantiateVAppTemplate", "cloneVApp", "cloneVAppTemplate", "cloneMedia", "captureVApp"} {
		out = append(out, link("add", href+"/action/"+action, mediaVCloud+action+"Params+xml"))
	}
	return append(out, link("add", href+"/action/uploadVAppTemplate", mediaVCloud+"uploadVAppTemplateParams+xml"),
		link("add", href+"/media", mediaVCloud+"media+xml"))
}

func (k *catalog) externalNode(s *Server) *node {
	d := k.external.Copy()
	drop(d, "Password")
	return d
}
