package director

func catalogRecords() map[string]recordType {
	return map[string]recordType{
		"catalog":           {list: (*call).catalogRecords},
		"adminCatalog":      {list: (*call).catalogRecords, admin: true},
		"catalogItem":       {list: (*call).itemRecords},
		"adminCatalogItem":  {list: (*call).itemRecords, admin: true},
		"vAppTemplate":      {list: (*call).templateRecords},
		"adminVAppTemplate": {list: (*call).templateRecords, admin: true},
		"media":             {list: (*call).mediaRecords},
		"adminMedia":        {list: (*call).mediaRecords, admin: true},
		"adminShadowVM":     {list: (*call).shadowRecords, admin: true},
	}
}

func (s *Server) ownerName(id string) string {
	if u := s.users[id]; u != nil {
		return u.name
	}
	return s.systemUser().name
}

func (k *catalog) shared() bool { return k.everyone != "" || len(k.access) > 0 || k.published }

func (k *catalog) count() (templates, media int) {
	for _, it := range k.items {
		if it.template != nil {
			templates++
		} else {
			media++
		}
	}
	return templates, media
}

func (c *call) catalogRecords() []*record {
	s := c.s
	var out []*record
	for _, k := range sorted(s.catalogs) {
		if !c.seesCatalog(k) {
			continue
		}
		templates, images := k.count()
		r := &record{tag: "CatalogRecord", meta: k.meta, attrs: []string{"href", s.catalogHref(k), "name", k.name, "isPublished", yes(k.published),
			"isShared", yes(k.shared()), "creationDate", stamp(k.created), "orgName", s.orgs[k.org].name, "ownerName", s.ownerName(k.owner),
			"numberOfMedia", num(images), "owner", s.href("/api/admin/user/" + or(s.userID(k.owner), s.systemUser().id))}}
		if c.adminQuery() {
			r.tag = "AdminCatalogRecord"
			r.attrs = append(r.attrs, "org", s.href("/api/org/"+k.org), "numberOfTemplates", num(templates))
		} else {
			kind := "UNPUBLISHED"
			switch {
			case k.subscription != nil:
				kind = "SUBSCRIBED"
			case k.external != nil:
				kind = "PUBLISHED"
			}
			r.attrs = append(r.attrs, "description", k.desc, "numberOfVAppTemplates", num(templates), "publishSubscriptionType", kind,
				"version", num(k.version), "status", "READY")
		}
		out = append(out, r)
	}
	return out
}

// userID is id while the user exists.
func (s *Server) userID(id string) string {
	if s.users[id] == nil {
		return ""
	}
	return id
}

// catalogItems are the ones that the caller may see.
func (c *call) catalogItems() []*catalogItem {
	var out []*catalogItem
	for _, it := range sorted(c.s.catalogItems) {
		if c.catalogLevel(it.catalog) > accessNone {
			out = append(out, it)
		}
	}
	return out
}

func (c *call) itemRecords() []*record {
	s := c.s
	var out []*record
	for _, it := range c.catalogItems() {
		var href, name, kind, owner, vdcID, status string
		switch {
		case it.template != nil:
			a := it.template.content
			href, name, kind, owner, vdcID, status = s.vappHref(a), a.name, "vapptemplate", a.owner, a.vdc, templateStatus(it.template.state())
		case it.media != nil:
			m := it.media
			href, name, kind, owner, vdcID, status = s.mediaHref(m), m.name, "media", m.owner, m.vdc, templateStatus(m.status)
		}
		r := &record{tag: "CatalogItemRecord", meta: it.meta, attrs: []string{"href", s.itemHref(it), "entity", href, "entityName", name,
			"entityType", kind, "catalog", s.catalogHref(it.catalog), "catalogName", it.catalog.name, "ownerName", s.ownerName(owner),
			"owner", s.href("/api/admin/user/" + or(s.userID(owner), s.systemUser().id)), "isPublished", yes(it.catalog.published),
			"vdc", s.href("/api/vdc/" + vdcID), "creationDate", stamp(it.created), "isExpired", "false", "status", status, "name", it.name}}
		if v := s.vdcs[vdcID]; v != nil {
			r.attrs = append(r.attrs, "vdcName", v.name, "isVdcEnabled", yes(v.enabled))
			if c.adminQuery() {
				r.attrs = append(r.attrs, "org", s.href("/api/org/"+v.org))
			}
		}
		if c.adminQuery() {
			r.tag = "AdminCatalogItemRecord"
		}
		out = append(out, r)
	}
	return out
}

// templateStatus is the state of a template or a medium in query records.
func templateStatus(state int) string {
	switch state {
	case stateFailed:
		return "FAILED_CREATION"
	case stateUnresolved:
		return "UNRESOLVED"
	}
	return "RESOLVED"
}

func (c *call) templateRecords() []*record {
	s := c.s
	var out []*record
	for _, a := range c.templateContents() {
		t, v := a.template, s.vdcs[a.vdc]
		r := &record{tag: "VAppTemplateRecord", meta: a.meta, attrs: []string{"href", s.vappHref(a), "name", a.name, "ownerName", s.ownerName(a.owner),
			"vdc", s.href("/api/vdc/" + v.id), "vdcName", v.name, "org", s.href("/api/org/" + v.org), "creationDate", stamp(a.created),
			"isBusy", yes(s.occupied(a, nil)), "isGoldMaster", yes(t.gold), "isEnabled", "true", "status", templateStatus(t.state()),
			"isDeployed", "false", "isExpired", yes(t.content.expired)}}
		if k := t.item; k != nil {
			r.attrs = append(r.attrs, "catalogName", k.catalog.name, "isPublished", yes(k.catalog.published))
		}
		if p := s.profiles[t.profile]; p != nil {
			r.attrs = append(r.attrs, "storageProfileName", p.name)
		}
		if c.adminQuery() {
			r.tag = "AdminVAppTemplateRecord"
			r.attrs = append(r.attrs, "owner", s.href("/api/admin/user/"+or(s.userID(a.owner), s.systemUser().id)), "isVdcEnabled", yes(v.enabled))
			if k := t.item; k != nil {
				r.attrs = append(r.attrs, "catalog", s.catalogHref(k.catalog), "catalogItem", s.itemHref(k))
			}
		} else {
			r.attrs = append(r.attrs, "description", a.desc, "version", "1")
		}
		out = append(out, r)
	}
	return out
}

// templateContents are the contents of the templates that the caller may see,
// in the order of their making.
func (c *call) templateContents() []*vapp {
	var out []*vapp
	for _, t := range c.s.templates {
		if c.templateLevel(t) > accessNone {
			out = append(out, t.content)
		}
	}
	sortBy(out, func(a, b *vapp) bool { return a.seq < b.seq })
	return out
}

func (c *call) mediaRecords() []*record {
	s := c.s
	var out []*record
	for _, m := range sorted(s.media) {
		if c.mediaLevel(m) == accessNone {
			continue
		}
		v := s.vdcs[m.vdc]
		r := &record{tag: "MediaRecord", meta: m.meta, attrs: []string{"href", s.mediaHref(m), "name", m.name, "ownerName", s.ownerName(m.owner),
			"vdc", s.href("/api/vdc/" + v.id), "vdcName", v.name, "org", s.href("/api/org/" + v.org), "creationDate", stamp(m.created),
			"isBusy", yes(s.working(m.id)), "storageB", num(m.size), "owner", s.href("/api/admin/user/" + or(s.userID(m.owner), s.systemUser().id)),
			"status", templateStatus(m.status)}}
		if it := m.item; it != nil {
			r.attrs = append(r.attrs, "catalog", s.catalogHref(it.catalog), "catalogName", it.catalog.name, "catalogItem", s.itemHref(it),
				"isPublished", yes(it.catalog.published))
		}
		if p := s.profiles[m.profile]; p != nil {
			r.attrs = append(r.attrs, "storageProfileName", p.name)
		}
		if c.adminQuery() {
			r.tag = "AdminMediaRecord"
			r.attrs = append(r.attrs, "isVdcEnabled", yes(v.enabled))
		} else {
			r.attrs = append(r.attrs, "version", "1")
		}
		out = append(out, r)
	}
	return out
}
