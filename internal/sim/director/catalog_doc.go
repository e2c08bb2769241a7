package director

import (
	"strings"
	"time"
)

func (s *Server) catalogHref(k *catalog) string   { return s.href("/api/catalog/" + k.id) }
func (s *Server) itemHref(it *catalogItem) string { return s.href("/api/catalogItem/" + it.id) }
func (s *Server) mediaHref(m *media) string       { return s.href("/api/media/" + m.id) }

func (s *Server) catalogRef(tag string, k *catalog) *node {
	return el(tag, "href", s.catalogHref(k), "id", "urn:vcloud:catalog:"+k.id, "name", k.name, "type", mediaVCloud+"catalog+xml")
}

func (s *Server) itemRef(tag string, it *catalogItem) *node {
	return el(tag, "href", s.itemHref(it), "id", "urn:vcloud:catalogitem:"+it.id, "name", it.name, "type", mediaVCloud+"catalogItem+xml")
}

func (s *Server) templateRef(tag string, t *vappTemplate) *node {
	return el(tag, "href", s.vappHref(t.content), "id", "urn:vcloud:vapptemplate:"+t.id(), "name", t.content.name, "type", mediaVCloud+"vAppTemplate+xml")
}

func (s *Server) mediaRef(tag string, m *media) *node {
	return el(tag, "href", s.mediaHref(m), "id", "urn:vcloud:media:"+m.id, "name", m.name, "type", mediaVCloud+"media+xml")
}

func (c *call) inAdmin() bool { return strings.HasPrefix(c.r.URL.Path, "/api/admin/") }

func (c *call) getCatalog() (*answer, error) {
	k, err := c.theCatalog()
	if err != nil {
		return nil, err
	}
	// The administrators of an organization see in their view of the catalogs
	// those that others have shared with it too.
	if c.inAdmin() && !c.orgAdmin(k.org) && !c.orgAdmin(c.login.org.id) && c.catalogLevel(k) < accessFull {
		return nil, noRight("Catalog: View Private and Shared Catalogs", k.id)
	}
	return c.catalogAnswer(k), nil
}

func (c *call) catalogAnswer(k *catalog) *answer {
	if c.inAdmin() {
		return ok(mediaAdmin+"catalog", c.catalogNode(k, true))
	}
	return ok(mediaVCloud+"catalog", c.catalogNode(k, false))
}

// catalogNode is a catalog as its users or as administrators see it.
func (c *call) catalogNode(k *catalog, admin bool) *node {
	s := c.s
	tag, typ, href := "Catalog", mediaVCloud+"catalog", s.catalogHref(k)
	if admin {
		tag, typ, href = "AdminCatalog", mediaAdmin+"catalog", s.href("/api/admin/catalog/"+k.id)
	}
	d := el(tag, "name", k.name, "id", "urn:vcloud:catalog:"+k.id, "href", href, "type", typ+"+xml")
	add(d, c.catalogLinks(k, admin)...)
	add(d, text("Description", k.desc), s.tasksOn(k.id, true))
	owner := s.userRef("User", k.owner)
	items := el("CatalogItems")
	for _, it := range k.items {
		add(items, s.itemRef("CatalogItem", it))
	}
	add(d, add(el("Owner", "type", mediaVCloud+"owner+xml"), owner), items, boolean("IsPublished", k.published),
		text("DateCreated", stamp(k.created)), number("VersionNumber", k.version))
	if !admin {
		return d
	}
	// Empty where any profile will do (go-vcloud-director expects it so).
	list := el("CatalogStorageProfiles")
	for _, id := range k.profiles {
		add(list, s.profileRef("VdcStorageProfile", id))
	}
	add(d, list)
	if k.subscription != nil {
		add(d, k.subscription.node())
	}
	if k.external != nil {
		add(d, k.externalNode())
	}
	return d
}

func (c *call) catalogLinks(k *catalog, admin bool) []*node {
	s, href, adm := c.s, c.s.catalogHref(k), c.s.href("/api/admin/catalog/"+k.id)
	level := c.catalogLevel(k)
	var out []*node
	// Nothing leads to another organization, which a tenant may not read.
	reads := c.provider() || c.login.org.id == k.org
	if admin {
		if reads {
			out = append(out, link("up", s.href("/api/admin/org/"+k.org), mediaAdmin+"organization+xml"))
		}
		out = append(out, link("alternate", href, mediaVCloud+"catalog+xml"))
	} else {
		if reads {
			out = append(out, link("up", s.href("/api/org/"+k.org), mediaVCloud+"org+xml"))
		}
		if c.orgAdmin(k.org) {
			out = append(out, link("alternate", adm, mediaAdmin+"catalog+xml"))
		}
	}
	out = append(out, link("down", href+"/metadata", mediaVCloud+"metadata+xml"))
	at := href
	if admin {
		at = adm
	}
	if level >= accessChange && k.subscription == nil {
		out = append(out, link("add", at+"/metadata", mediaVCloud+"metadata+xml"), link("add", href+"/catalogItems", mediaVCloud+"catalogItem+xml"),
			link("add", href+"/action/upload", mediaVCloud+"media+xml"),
			link("add", href+"/action/upload", mediaVCloud+"uploadVAppTemplateParams+xml"),
			link("copy", href+"/action/copy", mediaVCloud+"copyOrMoveCatalogItemParams+xml"),
			link("move", href+"/action/move", mediaVCloud+"copyOrMoveCatalogItemParams+xml"),
			link("add", href+"/action/captureVApp", mediaVCloud+"captureVAppParams+xml"))
	}
	if level == accessFull {
		if k.subscription != nil {
			out = append(out, link("sync", href+"/action/sync", ""))
			if admin {
				out = append(out, link("subscribeToExternalCatalog", adm+"/action/subscribeToExternalCatalog", mediaAdmin+"externalCatalogSubscriptionParams+xml"))
			}
		}
		path := s.href("/api/org/" + k.org + "/catalog/" + k.id)
		out = append(out, link("down", path+"/controlAccess/", mediaVCloud+"controlAccess+xml"),
			link("controlAccess", path+"/action/controlAccess", mediaVCloud+"controlAccess+xml"))
		if admin {
			out = append(out, link("edit", at, mediaAdmin+"catalog+xml"), link("remove", at, ""), link("down", at+"/owner", mediaVCloud+"owner+xml"),
				link("publish", at+"/action/publish", mediaAdmin+"publishCatalogParams+xml"),
				link("publishToExternalOrganizations", at+"/action/publishToExternalOrganizations", mediaAdmin+"publishExternalCatalogParams+xml"))
		}
	}
	return out
}

func (c *call) getItem() (*answer, error) {
	it, err := c.theItem()
	if err != nil {
		return nil, err
	}
	return ok(mediaVCloud+"catalogItem", c.itemNode(it)), nil
}

func (c *call) itemNode(it *catalogItem) *node {
	s, href := c.s, c.s.itemHref(it)
	d := el("CatalogItem", "size", num(it.size()), "name", it.name, "id", "urn:vcloud:catalogitem:"+it.id, "href", href, "type", mediaVCloud+"catalogItem+xml")
	add(d, link("up", s.catalogHref(it.catalog), mediaVCloud+"catalog+xml"), link("down", href+"/metadata", mediaVCloud+"metadata+xml"))
	if c.catalogLevel(it.catalog) >= accessChange {
		add(d, link("edit", href, mediaVCloud+"catalogItem+xml"), link("remove", href, ""))
	}
	add(d, text("Description", it.desc), s.tasksOn(it.id, false))
	switch {
	case it.template != nil:
		add(d, s.templateRef("Entity", it.template))
	case it.media != nil:
		add(d, s.mediaRef("Entity", it.media))
	}
	for _, p := range it.properties {
		add(d, p.Copy())
	}
	return add(d, text("DateCreated", stamp(it.created)), number("VersionNumber", it.version))
}

// size is what the item takes, in bytes.
func (it *catalogItem) size() int64 {
	if it.media != nil {
		return it.media.size
	}
	if it.template == nil {
		return 0
	}
	var n int64
	for _, m := range it.template.content.vms {
		n += m.seen.bytes()
	}
	return n
}

func (c *call) getTemplate() (*answer, error) {
	a, m, err := c.target()
	if err != nil {
		return nil, err
	}
	if m != nil {
		if err := c.refresh(m); err != nil {
			return nil, err
		}
		d := c.templateVM(m)
		d.Tag = "VAppTemplate"
		return ok(mediaVCloud+"vm", d), nil
	}
	if err := c.refresh(a.vms...); err != nil {
		return nil, err
	}
	if c.s.templates[a.id] == nil {
		return nil, missing("vapptemplate", a.id)
	}
	return ok(mediaVCloud+"vAppTemplate", c.templateNode(a.template)), nil
}

// state is that of a template: it is never on.
func (t *vappTemplate) state() int {
	if t.content.status != stateResolved {
		return t.content.status
	}
	return stateOff
}

// templateNode is the document of a template.
func (c *call) templateNode(t *vappTemplate) *node {
	s, a, href := c.s, t.content, c.s.vappHref(t.content)
	d := el("VAppTemplate", "goldMaster", yes(t.gold), "ovfDescriptorUploaded", yes(t.described()), "status", num(t.state()), "name", a.name,
		"id", "urn:vcloud:vapptemplate:"+a.id, "href", href, "type", mediaVCloud+"vAppTemplate+xml")
	add(d, c.templateLinks(t)...)
	add(d, text("Description", a.desc), s.tasksOn(a.id, a.status == stateFailed), c.filesNode(t.upload),
		add(el("Owner", "type", mediaVCloud+"owner+xml"), s.userRef("User", a.owner)))
	if a.status != stateResolved {
		return add(d, text("DateCreated", stamp(a.created)))
	}
	children := el("Children")
	for _, m := range a.vms {
		add(children, c.templateVM(m))
	}
	add(d, children)
	for _, part := range []func(*vapp) (string, *node){c.networkSection, c.networkConfigSection, c.templateLease, c.customizationSection} {
		_, n := part(a)
		add(d, n)
	}
	for _, p := range a.products {
		add(d, p.Copy())
	}
	for _, e := range t.eulas {
		add(d, add(el("ovf:EulaSection"), text("ovf:Info", "An end-user license agreement"), text("ovf:License", e)))
	}
	if p := s.profiles[t.profile]; p != nil {
		add(d, text("DefaultStorageProfile", p.name))
	}
	return add(d, text("DateCreated", stamp(a.created)))
}

// described tells whether the descriptor is there: always but in an upload's
// first phase.
func (t *vappTemplate) described() bool {
	return t.upload == nil || len(t.upload.files) > 0 && t.upload.files[0].done
}

func (c *call) templateLinks(t *vappTemplate) []*node {
	s, a, href := c.s, t.content, c.s.vappHref(t.content)
	out := []*node{link("up", s.href("/api/vdc/"+a.vdc), mediaVCloud+"vdc+xml")}
	if t.item != nil {
		out = append(out, link("catalogItem", s.itemHref(t.item), mediaVCloud+"catalogItem+xml"))
	}
	if c.templateLevel(t) >= accessChange {
		out = append(out, link("remove", href, ""), link("edit", href, mediaVCloud+"vAppTemplate+xml"))
	}
	out = append(out, s.downloadLinks(a.download, href)...)
	out = append(out, link("ovf", href+"/ovf", "text/xml"))
	if p := s.profiles[t.profile]; p != nil {
		out = append(out, el("Link", "rel", "storageProfile", "href", s.href("/api/vdcStorageProfile/"+p.id), "name", p.name,
			"type", mediaVCloud+"vdcStorageProfile+xml"))
	}
	return append(out, link("down", href+"/owner", mediaVCloud+"owner+xml"), link("down", href+"/metadata", mediaVCloud+"metadata+xml"),
		link("down", href+"/productSections/", mediaVCloud+"productSections+xml"))
}

// templateLease is a template's lease: it has only the one on storage.
func (c *call) templateLease(a *vapp) (string, *node) {
	typ, href := mediaVCloud+"leaseSettingsSection", c.s.vappHref(a)+"/leaseSettingsSection/"
	d := section("LeaseSettingsSection", href, typ, "Lease settings section")
	add(d, link("edit", href, typ+"+xml"), number("StorageLeaseInSeconds", a.lease.StorageSeconds))
	if a.lease.StorageSeconds > 0 && !a.storedAt.IsZero() {
		add(d, text("StorageLeaseExpiration", stamp(a.storedAt.Add(time.Duration(a.lease.StorageSeconds)*time.Second))))
	}
	return typ, d
}

func (c *call) customizationSection(a *vapp) (string, *node) {
	typ, href := mediaVCloud+"customizationSection", c.s.vappHref(a)+"/customizationSection/"
	d := section("CustomizationSection", href, typ, "VApp template customization section")
	d.CreateAttr("goldMaster", yes(a.template.gold))
	return typ, add(d, boolean("CustomizeOnInstantiate", a.template.customize), link("edit", href, typ+"+xml"))
}

// templateVM is a VM of a template, as a child of its document.
func (c *call) templateVM(m *vm) *node {
	s, href := c.s, c.s.vmHref(m)
	t := m.vapp.template
	d := el("Vm", "goldMaster", yes(t.gold), "status", num(stateOff), "name", m.name, "id", "urn:vcloud:vm:"+m.id, "href", href, "type", mediaVCloud+"vm+xml")
	if c.provider() && m.facts != nil {
		add(d, c.vimInfo(m))
	}
	add(d, link("up", s.vappHref(m.vapp), mediaVCloud+"vAppTemplate+xml"))
	if p := s.profiles[m.profile]; p != nil {
		add(d, el("Link", "rel", "storageProfile", "href", s.href("/api/vdcStorageProfile/"+p.id), "name", p.name, "type", mediaVCloud+"vdcStorageProfile+xml"))
	}
	add(d, link("down", href+"/metadata", mediaVCloud+"metadata+xml"), link("down", href+"/productSections/", mediaVCloud+"productSections+xml"),
		text("Description", m.desc), s.tasksOn(m.id, false))
	if m.facts != nil {
		for _, part := range []func(*vm) (string, *node){c.connectionSection, c.guestSection, c.hardwareSection, c.osSection, c.specSection} {
			_, n := part(m)
			add(d, n)
		}
		for _, p := range m.products {
			add(d, p.Copy())
		}
	}
	return add(d, text("VAppScopedLocalId", m.scopedID), text("DateCreated", stamp(m.created)))
}

func (c *call) getMedia() (*answer, error) {
	m, err := c.theMedia()
	if err != nil {
		return nil, err
	}
	return ok(mediaVCloud+"media", c.mediaNode(m)), nil
}

// mediaNode is the document of a medium.
func (c *call) mediaNode(m *media) *node {
	s, href := c.s, c.s.mediaHref(m)
	d := el("Media", "imageType", m.image, "size", num(m.size), "status", num(m.status), "name", m.name, "id", "urn:vcloud:media:"+m.id,
		"href", href, "type", mediaVCloud+"media+xml")
	add(d, link("up", s.href("/api/vdc/"+m.vdc), mediaVCloud+"vdc+xml"))
	if m.item != nil {
		add(d, link("catalogItem", s.itemHref(m.item), mediaVCloud+"catalogItem+xml"))
	}
	if c.mediaLevel(m) >= accessChange {
		add(d, link("edit", href, mediaVCloud+"media+xml"), link("remove", href, ""))
	}
	add(d, link("down", href+"/owner", mediaVCloud+"owner+xml"), link("down", href+"/metadata", mediaVCloud+"metadata+xml"))
	add(d, link("enable", href+"/action/enableDownload", ""), link("disable", href+"/action/disableDownload", ""))
	return add(d, text("Description", m.desc), s.tasksOn(m.id, m.status == stateFailed), c.filesNode(m.upload, s.downloadOf(m.download)),
		add(el("Owner", "type", mediaVCloud+"owner+xml"), s.userRef("User", m.owner)), s.profileRef("VdcStorageProfile", m.profile))
}

// filesNode lists what is to be transferred; nil when nothing is.
func (c *call) filesNode(all ...*transfer) *node {
	d := el("Files")
	for _, t := range all {
		if t == nil || t.fetched {
			continue
		}
		for _, f := range t.files {
			add(d, c.fileNode(t, f))
		}
	}
	if len(d.ChildElements()) == 0 {
		return nil
	}
	return d
}

func (c *call) fileNode(t *transfer, f *transferFile) *node {
	d := el("File", "size", num(f.size), "bytesTransferred", num(f.got), "name", f.name, "checksum", f.checksum)
	if f.size < 0 {
		d.CreateAttr("size", "-1")
	}
	rel := "upload:default"
	if !t.upload {
		rel = "download:default"
	}
	return add(d, link(rel, c.s.href("/transfer/"+t.id+"/"+pathEscape(f.name)), ""))
}
