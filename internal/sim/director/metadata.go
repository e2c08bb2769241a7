package director

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// An entry is one metadata entry.
type entry struct{ domain, visibility, key, typ, value string }

// A metadata is the entries of an entity, in the order of their making.
type metadata []entry

// metaTypes are the types of values.
var metaTypes = []string{"String", "Number", "Boolean", "DateTime"}

func (m metadata) find(domain, key string) int {
	return slices.IndexFunc(m, func(e entry) bool { return e.domain == domain && e.key == key })
}

// set adds an entry or changes it.
func (m *metadata) set(e entry) {
	if i := m.find(e.domain, e.key); i >= 0 {
		(*m)[i] = e
		return
	}
	*m = append(*m, e)
}

// madeFrom says what a vApp or VM was made from, as vCD does since 10.5.1
// (38.1) and for templates always: KIND.origin.id, .name and .type.
func (m *metadata) madeFrom(kind string, from thing, entity string) {
	for _, e := range [][2]string{{"id", from.id}, {"name", from.name}, {"type", "com.vmware.vcloud.entity." + entity}} {
		m.set(entry{"SYSTEM", "READONLY", kind + ".origin." + e[0], "String", e[1]})
	}
}

// visible tells whether the caller may see an entry.
func (c *call) visible(e entry) bool {
	return c.provider() || e.domain != "SYSTEM" || e.visibility != "PRIVATE"
}

// metadataOf is the metadata of the path's entity, and its address.
func (c *call) metadataOf() (*metadata, string, error) {
	s, id := c.s, uuidIn(c.path("id"))
	kind, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(c.r.URL.Path, "/api/"), "admin/"), "/")
	switch kind {
	case "vApp", "vAppTemplate":
		a, m, err := c.target()
		if err != nil {
			return nil, "", err
		}
		if m != nil {
			return &m.meta, s.vmHref(m), nil
		}
		return &a.meta, s.vappHref(a), nil
	case "catalog":
		k, err := c.theCatalog()
		if err != nil {
			return nil, "", err
		}
		return &k.meta, s.catalogHref(k), nil
	case "catalogItem":
		it, err := c.theItem()
		if err != nil {
			return nil, "", err
		}
		return &it.meta, s.itemHref(it), nil
	case "media":
		m, err := c.theMedia()
		if err != nil {
			return nil, "", err
		}
		return &m.meta, s.mediaHref(m), nil
	case "org":
		o, err := c.theOrg()
		if err != nil {
			return nil, "", err
		}
		return &o.meta, s.href("/api/org/" + o.id), nil
	case "vdc":
		v, err := c.theVDC()
		if err != nil {
			return nil, "", err
		}
		return &v.meta, s.href("/api/vdc/" + v.id), nil
	case "disk":
		d, err := c.theDisk()
		if err != nil {
			return nil, "", err
		}
		return &d.meta, s.diskHref(d), nil
	case "network":
		if n := s.nets[id]; n != nil && (c.provider() || s.vdcs[n.vdc].org == c.login.org.id) {
			return &n.meta, s.href("/api/network/" + n.id), nil
		}
	case "providervdc":
		if p := s.pvdcs[id]; p != nil && c.provider() {
			return &p.meta, s.href("/api/admin/providervdc/" + p.id), nil
		}
	case "pvdcStorageProfile":
		if p := s.pvdcProfiles[id]; p != nil && c.provider() {
			return &p.meta, s.href("/api/admin/pvdcStorageProfile/" + p.id), nil
		}
	case "vdcStorageProfile":
		if p := s.profiles[id]; p != nil && (c.provider() || s.vdcs[p.vdc].org == c.login.org.id) {
			return &p.meta, s.href("/api/vdcStorageProfile/" + p.id), nil
		}
	}
	return nil, "", missing(kind, or(id, c.path("id")))
}

// domainNode is nil for what goes without saying: the domain GENERAL, which
// everybody may write to.
func domainNode(e entry) *node {
	if e.domain == "GENERAL" && e.visibility == "READWRITE" {
		return nil
	}
	return text("Domain", e.domain, "visibility", e.visibility)
}

func typedNode(e entry) *node {
	return add(el("TypedValue", "xsi:type", "Metadata"+e.typ+"Value"), text("Value", e.value))
}

func (e entry) path() string {
	key := pathEscape(e.key)
	if e.domain == "SYSTEM" {
		return "/metadata/SYSTEM/" + key
	}
	return "/metadata/" + key
}

// getMetadata is every entry that the caller may see.
func (c *call) getMetadata() (*answer, error) {
	meta, href, err := c.metadataOf()
	if err != nil {
		return nil, err
	}
	href, may := c.metadataHref(href), c.mayWriteMetadata()
	d := add(el("Metadata", "href", href+"/metadata", "type", mediaVCloud+"metadata+xml"), link("up", href, ""))
	if may {
		add(d, link("add", href+"/metadata", mediaVCloud+"metadata+xml"))
	}
	for _, e := range *meta {
		if !c.visible(e) {
			continue
		}
		at := href + e.path()
		k := add(el("MetadataEntry", "href", at, "type", mediaVCloud+"metadata.value+xml"), link("up", href+"/metadata", mediaVCloud+"metadata+xml"))
		if may && (e.domain != "SYSTEM" || c.provider()) {
			add(k, link("edit", at, mediaVCloud+"metadata.value+xml"), link("remove", at, ""))
		}
		add(d, add(k, domainNode(e), text("Key", e.key), typedNode(e)))
	}
	return ok(mediaVCloud+"metadata", d), nil
}

// metadataHref is the address of the entity as it was asked for: administrators'
// views have addresses of their own.
func (c *call) metadataHref(href string) string {
	path, is := strings.CutPrefix(c.r.URL.Path, "/api/admin/")
	if !is {
		return href
	}
	kind, _, _ := strings.Cut(path, "/")
	return c.s.href("/api/admin/" + kind + "/" + uuidIn(c.path("id")))
}

// mayWriteMetadata says whether the path's metadata can be changed by the
// caller: those of what administrators own only under /api/admin.
func (c *call) mayWriteMetadata() bool {
	kind, _, _ := strings.Cut(strings.TrimPrefix(c.r.URL.Path, "/api/"), "/")
	if slices.Contains([]string{"org", "vdc", "network", "vdcStorageProfile"}, kind) {
		return false
	}
	_, _, err := c.changedMetadata()
	return err == nil
}

// domain is the one of the path.
func (c *call) domain() (string, error) {
	switch d := c.path("domain"); d {
	case "", "GENERAL":
		return "GENERAL", nil
	case "SYSTEM":
		return d, nil
	default:
		return "", badRequest("The metadata domain %q is not GENERAL or SYSTEM.", d)
	}
}

func (c *call) getMetadataValue() (*answer, error) {
	meta, href, err := c.metadataOf()
	if err != nil {
		return nil, err
	}
	domain, err := c.domain()
	if err != nil {
		return nil, err
	}
	i := meta.find(domain, c.path("key"))
	if i < 0 || !c.visible((*meta)[i]) {
		// As whatever else does not exist (pyvcloud's vdc_tests.py, catalog_tests.py).
		return nil, refuse(http.StatusForbidden, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "The metadata entry %q does not exist in domain %s.", c.path("key"), domain)
	}
	e, href := (*meta)[i], c.metadataHref(href)
	d := add(el("MetadataValue", "href", href+e.path(), "type", mediaVCloud+"metadata.value+xml"), link("up", href+"/metadata", mediaVCloud+"metadata+xml"))
	if c.mayWriteMetadata() && (e.domain != "SYSTEM" || c.provider()) {
		add(d, link("edit", href+e.path(), mediaVCloud+"metadata.value+xml"), link("remove", href+e.path(), ""))
	}
	return ok(mediaVCloud+"metadata.value", add(d, domainNode(e), typedNode(e))), nil
}

// readEntry reads an entry of a body.
func (c *call) readEntry(d *node, domain, key string) (entry, error) {
	e := entry{domain: domain, key: key, typ: "String", value: raw(d, "Value")}
	if dom := child(d, "Domain"); dom != nil {
		e.domain = or(strings.TrimSpace(allText(dom)), domain)
		e.visibility = attr(dom, "visibility")
	}
	if e.visibility == "" && e.domain == "SYSTEM" {
		e.visibility = "PRIVATE"
	}
	e.visibility = or(e.visibility, "READWRITE")
	if tv := child(d, "TypedValue"); tv != nil {
		_, local, found := strings.Cut(attr(tv, "type"), ":")
		if !found {
			local = attr(tv, "type")
		}
		e.typ = strings.TrimSuffix(strings.TrimPrefix(local, "Metadata"), "Value")
		e.value = raw(tv, "Value")
	}
	if e.domain == "SYSTEM" && attr(child(d, "Domain"), "visibility") == "" {
		e.visibility = "PRIVATE"
	}
	return e, c.checkEntry(e)
}

func (c *call) checkEntry(e entry) error {
	switch {
	case e.key == "":
		return badRequest("A metadata entry has no key.")
	case !slices.Contains(metaTypes, e.typ):
		return badRequest("The metadata type %q does not exist.", e.typ)
	case e.domain != "GENERAL" && e.domain != "SYSTEM":
		return badRequest("The metadata domain %q is not GENERAL or SYSTEM.", e.domain)
	case e.domain == "GENERAL" && e.visibility != "READWRITE":
		return badRequest("Metadata in domain GENERAL is always READWRITE.")
	case e.domain == "SYSTEM" && e.visibility == "READWRITE":
		return badRequest("Metadata in domain SYSTEM is READONLY or PRIVATE.")
	case !slices.Contains([]string{"READWRITE", "READONLY", "PRIVATE"}, e.visibility):
		return badRequest("The metadata visibility %q does not exist.", e.visibility)
	case e.domain == "SYSTEM" && !c.provider():
		return noRight("Metadata: System Domain", e.key)
	}
	var err error
	switch e.typ {
	case "Number":
		_, err = strconv.ParseInt(strings.TrimSpace(e.value), 10, 64)
	case "Boolean":
		if !slices.Contains([]string{"true", "false", "0", "1"}, strings.TrimSpace(e.value)) {
			err = strconv.ErrSyntax
		}
	case "DateTime":
		err = dateTime(strings.TrimSpace(e.value))
	}
	if err != nil {
		return badRequest("The metadata value %q is not a %s.", e.value, e.typ)
	}
	return nil
}

// changedMetadata is the metadata of the path's entity for a write, and whose it
// is.
func (c *call) changedMetadata() (*metadata, taskOwner, error) {
	if meta, owner, is, err := c.catalogMetadata(); is {
		return meta, owner, err
	}
	if meta, owner, is, err := c.diskMetadata(); is {
		return meta, owner, err
	}
	if strings.HasPrefix(c.r.URL.Path, "/api/admin/org/") {
		o, err := c.theAdminOrg()
		if err != nil {
			return nil, taskOwner{}, err
		}
		return &o.meta, taskOwner{"org", o.id, o.name}, nil
	}
	if kind, is := strings.CutPrefix(c.r.URL.Path, "/api/admin/"); is {
		return c.adminMetadata(kind)
	}
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, taskOwner{}, err
	}
	if m != nil {
		return &m.meta, vmOwner(m), nil
	}
	return &a.meta, vappOwner(a), nil
}

// changeMetadata runs change in a task on the path's entity.
func (c *call) changeMetadata(what string, change func(*metadata) error) (*answer, error) {
	meta, owner, err := c.changedMetadata()
	if err != nil {
		return nil, err
	}
	t := c.start("metadata"+what, "Updating metadata for", owner, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		return change(meta)
	})
	return c.accepted(t), nil
}

func (c *call) mergeMetadata() (*answer, error) {
	if _, _, err := c.metadataOf(); err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "Metadata")
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, d := range childrenOf(doc, "MetadataEntry") {
		e, err := c.readEntry(d, "GENERAL", raw(d, "Key"))
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return c.changeMetadata("Update", func(m *metadata) error {
		for _, e := range entries {
			m.set(e)
		}
		return nil
	})
}

func (c *call) putMetadataValue() (*answer, error) {
	if _, _, err := c.metadataOf(); err != nil {
		return nil, err
	}
	domain, err := c.domain()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "MetadataValue")
	if err != nil {
		return nil, err
	}
	e, err := c.readEntry(doc, domain, c.path("key"))
	if err != nil {
		return nil, err
	}
	if e.domain != domain {
		return nil, badRequest("The body is of domain %s, the address of %s.", e.domain, domain)
	}
	return c.changeMetadata("Update", func(m *metadata) error { m.set(e); return nil })
}

func (c *call) deleteMetadata() (*answer, error) {
	meta, _, err := c.metadataOf()
	if err != nil {
		return nil, err
	}
	domain, err := c.domain()
	if err != nil {
		return nil, err
	}
	if domain == "SYSTEM" && !c.provider() {
		return nil, noRight("Metadata: System Domain", c.path("key"))
	}
	key := c.path("key")
	if meta.find(domain, key) < 0 {
		return nil, notFound("The metadata entry %q does not exist in domain %s.", key, domain)
	}
	return c.changeMetadata("Delete", func(m *metadata) error {
		*m = slices.DeleteFunc(*m, func(e entry) bool { return e.domain == domain && e.key == key })
		return nil
	})
}
