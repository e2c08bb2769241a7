package director

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

func checkName(name string) error {
	if strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > 128 {
		return badRequest("The name %q is empty or too long.", name)
	}
	return nil
}

func nameTaken(format string, args ...any) *apiError {
	return refuse(http.StatusBadRequest, "DUPLICATE_NAME", format, args...)
}

// createCatalog makes a catalog, unpublished and shared with nobody.
func (c *call) createCatalog() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	if !c.sharesCatalogs() {
		return nil, noRight("Catalog: Create / Delete a Catalog", o.id)
	}
	if o.system {
		return nil, badRequest("The organization %s cannot have catalogs.", o.name)
	}
	doc, err := c.parse(nsVCloud, "AdminCatalog")
	if err != nil {
		return nil, err
	}
	name := attr(doc, "name")
	if err := checkName(name); err != nil {
		return nil, err
	}
	if c.s.catalogNamed(o.id, name) != nil {
		return nil, nameTaken("The organization %q has a catalog named %q already.", o.name, name)
	}
	profiles, err := c.catalogProfiles(o.id, doc)
	if err != nil {
		return nil, err
	}
	sub, err := c.readSubscription(o, child(doc, "ExternalCatalogSubscriptionParams"), nil)
	if err != nil {
		return nil, err
	}
	k := &catalog{
		thing: thing{id: newID(), name: name, desc: raw(doc, "Description"), seq: c.s.next()}, org: o.id, owner: c.login.user.id,
		created: time.Now(), version: 1, profiles: profiles, subscription: sub,
	}
	c.s.catalogs[k.id] = k
	if sub != nil {
		c.synchronize(k)
	} else {
		c.start("catalogCreateCatalog", "Creating Catalog", catalogOwner(k), func(context.Context) error { return nil })
	}
	return &answer{status: http.StatusCreated, typ: mediaAdmin + "catalog", doc: c.catalogNode(k, true),
		header: map[string]string{"Location": c.s.href("/api/admin/catalog/" + k.id)}}, nil
}

// catalogProfiles are the storage profiles that a body names, which are of any
// VDC of the organization.
func (c *call) catalogProfiles(org string, doc *node) ([]string, error) {
	var out []string
	for _, ref := range childrenOf(child(doc, "CatalogStorageProfiles"), "VdcStorageProfile") {
		p := c.s.profiles[uuidIn(or(attr(ref, "href"), attr(ref, "id")))]
		if p == nil || c.s.vdcs[p.vdc].org != org {
			return nil, badRequest("The storage profile %s does not exist in the organization.", attr(ref, "href"))
		}
		out = append(out, p.id)
	}
	return out, nil
}

// putCatalog changes name, description and storage profiles. Since 39.0 a task
// says so (API reference, CatalogType).
func (c *call) putCatalog() (*answer, error) {
	k, err := c.changeCatalog(accessFull)
	if err != nil {
		return nil, err
	}
	want := mediaVCloud + "catalog"
	if c.inAdmin() {
		want = mediaAdmin + "catalog"
	}
	if err := c.checkType(route{takes: want}); err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "AdminCatalog", "Catalog")
	if err != nil {
		return nil, err
	}
	name := attr(doc, "name")
	if err := checkName(name); err != nil {
		return nil, err
	}
	if other := c.s.catalogNamed(k.org, name); other != nil && other != k {
		return nil, nameTaken("The organization has a catalog named %q already.", name)
	}
	profiles, err := c.catalogProfiles(k.org, doc)
	if err != nil {
		return nil, err
	}
	k.name, k.version, k.profiles = name, k.version+1, profiles
	if d := child(doc, "Description"); d != nil {
		k.desc = allText(d)
	}
	if c.newer("39.0") {
		c.start("catalogUpdateCatalog", "Updating Catalog", catalogOwner(k), func(context.Context) error { return nil })
	}
	return c.catalogAnswer(k), nil
}

// deleteCatalog deletes a catalog: an empty one, or with all that is in it.
func (c *call) deleteCatalog() (*answer, error) {
	k, err := c.changeCatalog(accessFull)
	if err != nil {
		return nil, err
	}
	recursive, force := c.flag("recursive"), c.flag("force")
	if len(k.items) > 0 && !recursive {
		return nil, badRequest("The catalog %q cannot be deleted. You must remove all its items first.", k.name)
	}
	for _, it := range k.items {
		if (c.s.working(it.id) || c.s.working(it.entityID())) && !force {
			return nil, busy("com.vmware.vcloud.entity.catalogItem", it.name)
		}
		if it.media != nil && !force {
			if err := c.s.ejected(it.media); err != nil {
				return nil, err
			}
		}
	}
	return c.accepted(c.start("catalogDelete", "Deleting Catalog", catalogOwner(k), func(ctx context.Context) error {
		c.s.mu.Lock()
		items := slices.Clone(k.items)
		c.s.mu.Unlock()
		for _, it := range items {
			if err := c.s.destroyItem(ctx, it); err != nil {
				return err
			}
		}
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		delete(c.s.catalogs, k.id)
		return nil
	})), nil
}

// destroyItem deletes a catalog item and what it stands for.
func (s *Server) destroyItem(ctx context.Context, it *catalogItem) error {
	s.mu.Lock()
	t, m := it.template, it.media
	switch {
	case t != nil:
		s.cancelUpload(t.upload)
	case m != nil:
		s.cancelUpload(m.upload)
	default:
		s.forgetItem(it)
	}
	s.mu.Unlock()
	switch {
	case t != nil:
		return s.destroyTemplate(ctx, t)
	case m != nil:
		return s.destroyMedia(ctx, m)
	}
	return nil
}

// destroyMedia deletes a medium with its file.
func (s *Server) destroyMedia(ctx context.Context, m *media) error {
	s.mu.Lock()
	file, vc := m.file, s.vdcs[m.vdc].vc
	s.mu.Unlock()
	if file != "" {
		if err := vc.deleteFile(ctx, file); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.media, m.id)
	if m.item != nil {
		s.forgetItem(m.item)
	}
	s.endTransfer(m.upload)
	s.endTransfer(m.download)
	return nil
}

// publishCatalog shows a catalog to all organizations, or no more.
func (c *call) publishCatalog() (*answer, error) {
	k, err := c.changeCatalog(accessFull)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "PublishCatalogParams")
	if err != nil {
		return nil, err
	}
	k.published = truth(value(doc, "IsPublished"))
	return noContent(), nil
}

// hiddenPassword stands for a password that is set.
const hiddenPassword = "******"

// publishExternally lets others subscribe to a catalog.
func (c *call) publishExternally() (*answer, error) {
	k, err := c.changeCatalog(accessFull)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "PublishExternalCatalogParams")
	if err != nil {
		return nil, err
	}
	if err := k.follows(); err != nil {
		return nil, err
	}
	publish := truth(value(doc, "IsPublishedExternally"))
	if o := c.s.orgs[k.org]; publish && !o.settings.publishExternally {
		return nil, badRequest("The organization %q may not publish catalogs to external organizations.", o.name)
	}
	d := add(el("PublishExternalCatalogParams"), boolean("IsPublishedExternally", publish))
	if publish {
		add(d, text("catalogPublishedUrl", publishedAt+k.id))
	}
	if raw(doc, "Password") != "" {
		add(d, text("Password", hiddenPassword))
	}
	add(d, boolean("IsCacheEnabled", truth(value(doc, "IsCacheEnabled"))),
		boolean("PreserveIdentityInfoFlag", truth(value(doc, "PreserveIdentityInfoFlag"))))
	k.external, k.password = d, raw(doc, "Password")
	return noContent(), nil
}

func (c *call) getCatalogOwner() (*answer, error) {
	k, err := c.theCatalog()
	if err != nil {
		return nil, err
	}
	return c.ownerAnswer(c.s.href("/api/admin/catalog/"+k.id), k.owner), nil
}

func (c *call) ownerAnswer(href, user string) *answer {
	return ok(mediaVCloud+"owner", add(el("Owner", "href", href+"/owner", "type", mediaVCloud+"owner+xml"), c.s.userRef("User", user)))
}

// newOwner reads the body of a change of owner.
func (c *call) newOwner(org string) (string, error) {
	doc, err := c.parse(nsVCloud, "Owner")
	if err != nil {
		return "", err
	}
	u := c.s.users[uuidIn(attr(child(doc, "User"), "href"))]
	if u == nil || u.org != org && !(c.provider() && u.id == c.s.systemUser().id) {
		return "", badRequest("The user %s is not a member of the organization.", attr(child(doc, "User"), "href"))
	}
	return u.id, nil
}

func (c *call) putCatalogOwner() (*answer, error) {
	k, err := c.changeCatalog(accessFull)
	if err != nil {
		return nil, err
	}
	id, err := c.newOwner(k.org)
	if err != nil {
		return nil, err
	}
	k.owner = id
	return noContent(), nil
}

// sharedCatalog is the catalog of a path, which may stand below an organization.
func (c *call) sharedCatalog() (*catalog, error) {
	if c.path("catalog") == "" {
		return c.theCatalog()
	}
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	id := uuidIn(c.path("catalog"))
	k := c.s.catalogs[id]
	if k == nil || k.org != o.id && !k.published && !k.sharedWith(o.id) {
		return nil, missing("catalog", or(id, c.path("catalog")))
	}
	if c.catalogLevel(k) == accessNone {
		return nil, noAccess("catalog", id)
	}
	return k, nil
}

func (c *call) getCatalogAccess() (*answer, error) {
	k, err := c.sharedCatalog()
	if err != nil {
		return nil, err
	}
	return ok(mediaVCloud+"controlAccess", c.catalogAccessNode(k)), nil
}

func (c *call) catalogAccessNode(k *catalog) *node {
	s := c.s
	d := add(el("ControlAccessParams"), boolean("IsSharedToEveryone", k.everyone != ""), opt("EveryoneAccessLevel", k.everyone))
	if len(k.access) == 0 {
		return d
	}
	list := el("AccessSettings")
	for _, g := range k.access {
		subject := s.userRef("Subject", g.id)
		if g.kind == "org" {
			o := s.orgs[g.id]
			if o == nil {
				continue
			}
			subject = s.ref("Subject", "/api/admin/org/", o.id, o.name, mediaAdmin+"organization+xml")
		}
		add(list, add(el("AccessSetting"), subject, text("AccessLevel", g.level)))
	}
	return add(d, list)
}

// setCatalogAccess replaces who may use a catalog: users of its organization, or
// other organizations for reading.
func (c *call) setCatalogAccess() (*answer, error) {
	k, err := c.sharedCatalog()
	if err != nil {
		return nil, err
	}
	if c.catalogLevel(k) < accessFull {
		return nil, noRight("Catalog: Sharing", k.id)
	}
	doc, err := c.parse(nsVCloud, "ControlAccessParams")
	if err != nil {
		return nil, err
	}
	everyone := ""
	if truth(value(doc, "IsSharedToEveryone")) {
		everyone = value(doc, "EveryoneAccessLevel")
		if slices.Index(levels, everyone) < accessRead {
			return nil, badRequest("EveryoneAccessLevel %q is not an access level.", everyone)
		}
	}
	var grants []catalogGrant
	for _, set := range childrenOf(child(doc, "AccessSettings"), "AccessSetting") {
		g, err := c.readGrant(k, set)
		if err != nil {
			return nil, err
		}
		grants = append(grants, g)
	}
	k.everyone, k.access = everyone, grants
	return ok(mediaVCloud+"controlAccess", c.catalogAccessNode(k)), nil
}

func (c *call) readGrant(k *catalog, set *node) (catalogGrant, error) {
	href, level := attr(child(set, "Subject"), "href"), value(set, "AccessLevel")
	id := uuidIn(href)
	if slices.Index(levels, level) < accessRead {
		return catalogGrant{}, badRequest("AccessLevel %q is not an access level.", level)
	}
	if u := c.s.users[id]; u != nil && u.org == k.org {
		return catalogGrant{"user", id, level}, nil
	}
	if o := c.s.orgs[id]; o != nil && strings.Contains(href, "/org/") && !o.system {
		if o.id != k.org && level != levels[accessRead] {
			return catalogGrant{}, badRequest("A catalog is shared with other organizations as %s only.", levels[accessRead])
		}
		return catalogGrant{"org", id, level}, nil
	}
	return catalogGrant{}, badRequest("The subject %s does not exist in the organization.", href)
}
