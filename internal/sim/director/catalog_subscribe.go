package director

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A subscription makes a catalog follow another one, which is published to
// external organizations.
type subscription struct {
	location, password string
	localCopy          bool // items come with their content
}

// publishedAt is where subscribers find a catalog, below the installation.
const publishedAt = "/vcsp/lib/"

// published is the catalog that a subscription leads to. Of the installations
// that there are in the world only this one can be reached. The messages end
// with the codes that clients look for in them.
func (s *Server) published(sub *subscription) (*catalog, error) {
	bad := func(why string) error {
		return refuse(http.StatusBadRequest, why, "The subscription to %q cannot be used: %s", sub.location, why)
	}
	u, err := url.Parse(sub.location)
	if err != nil || u.Host == "" || u.Scheme != "https" {
		return nil, bad("UNKNOWN_ERROR")
	}
	if own, err := url.Parse(s.base); err != nil || !strings.EqualFold(own.Host, u.Host) || !strings.HasPrefix(u.Path, publishedAt) {
		return nil, bad("INVALID_URL_OR_PASSWORD")
	}
	k := s.catalogs[uuidIn(u.Path)]
	if k == nil || !truth(value(k.external, "IsPublishedExternally")) {
		return nil, bad("RESOURCE_NOT_FOUND")
	}
	if k.password != sub.password {
		return nil, bad("INVALID_URL_OR_PASSWORD")
	}
	return k, nil
}

// readSubscription reads what a catalog is to follow; nil is nothing. Parts that
// are left out stay as they were.
func (c *call) readSubscription(o *org, d *node, now *subscription) (*subscription, error) {
	if d == nil {
		return nil, nil
	}
	if !o.settings.subscribe {
		return nil, badRequest("The organization %q may not subscribe to catalogs.", o.name)
	}
	sub := &subscription{}
	if now != nil {
		*sub = *now
	}
	if v := value(d, "SubscribeToExternalFeeds"); v != "" && !truth(v) {
		return nil, nil
	}
	sub.location = or(value(d, "Location"), sub.location)
	if p := child(d, "Password"); p == nil || allText(p) != hiddenPassword {
		sub.password = raw(d, "Password")
	}
	if v := value(d, "LocalCopy"); v != "" {
		sub.localCopy = truth(v)
	}
	_, err := c.s.published(sub)
	return sub, err
}

func (sub *subscription) node() *node {
	d := add(el("ExternalCatalogSubscriptionParams"), boolean("SubscribeToExternalFeeds", true), text("Location", sub.location))
	if sub.password != "" {
		add(d, text("Password", hiddenPassword))
	}
	return add(d, boolean("LocalCopy", sub.localCopy))
}

// subscribe changes the subscription of a catalog that has one.
func (c *call) subscribe() (*answer, error) {
	k, err := c.changeCatalog(accessFull)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "ExternalCatalogSubscriptionParams")
	if err != nil {
		return nil, err
	}
	if k.subscription == nil {
		return nil, badRequest("The catalog %q does not follow another one.", k.name)
	}
	sub, err := c.readSubscription(c.s.orgs[k.org], doc, k.subscription)
	if err != nil {
		return nil, err
	}
	if k.subscription = sub; sub != nil {
		c.synchronize(k)
	}
	return noContent(), nil
}

// ownCatalog is changeCatalog for what adds to the catalog: those that follow
// another one take nothing else.
func (c *call) ownCatalog() (*catalog, error) {
	k, err := c.changeCatalog(accessChange)
	if err != nil {
		return nil, err
	}
	return k, k.follows()
}

// follows refuses changes of what comes from another catalog.
func (k *catalog) follows() error {
	if k == nil || k.subscription == nil {
		return nil
	}
	return badRequest("The catalog %q follows another one: its content cannot be changed here.", k.name)
}

func (it *catalogItem) follows() error {
	if it == nil {
		return nil
	}
	return it.catalog.follows()
}

func (c *call) syncCatalog() (*answer, error) {
	k, err := c.changeCatalog(accessFull)
	if err != nil {
		return nil, err
	}
	if k.subscription == nil {
		return nil, badRequest("The catalog %q does not follow another one.", k.name)
	}
	return c.accepted(c.synchronize(k)), nil
}

// synchronize starts a task that makes a catalog like the one it follows: its
// items, and their content if it has a copy of that.
func (c *call) synchronize(k *catalog) *task {
	var t *task
	t = c.start("catalogSync", "Synchronizing Catalog", catalogOwner(k), func(ctx context.Context) error {
		s := c.s
		s.mu.Lock()
		gone, err := c.followItems(k)
		s.mu.Unlock()
		if err != nil {
			return err
		}
		for _, it := range gone {
			if err := s.destroyItem(ctx, it); err != nil {
				return err
			}
		}
		s.mu.Lock()
		items := slices.Clone(k.items)
		if !k.subscription.localCopy {
			items = nil
		}
		s.mu.Unlock()
		for _, it := range items {
			s.mu.Lock()
			t.busy = append(t.busy, it.id, it.entityID())
			s.mu.Unlock()
			if err := c.fetch(ctx, it); err != nil {
				return err
			}
		}
		return nil
	})
	return t
}

// followItems makes items for those that the other catalog has more, and
// returns those that it has no more. What is still on its way there comes with
// a later synchronization.
func (c *call) followItems(k *catalog) (gone []*catalogItem, err error) {
	s := c.s
	if k.subscription == nil {
		return nil, badRequest("The catalog %q does not follow another one any more.", k.name)
	}
	from, err := s.published(k.subscription)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, it := range k.items {
		src := s.catalogItems[it.source]
		if src == nil || src.catalog != from {
			gone = append(gone, it)
			continue
		}
		have[src.id] = true
		if it.name != src.name || it.desc != src.desc {
			if err := c.renameItem(it, src.name, text("Description", src.desc)); err != nil {
				return nil, err
			}
		}
	}
	for _, src := range from.items {
		if have[src.id] || src.template != nil && src.template.content.status != stateResolved || src.media != nil && src.media.status != stateResolved {
			continue
		}
		it, err := c.newFollower(k, src)
		if err != nil {
			return nil, err
		}
		it.source = src.id
	}
	return gone, nil
}

// newFollower is an item that has no content yet.
func (c *call) newFollower(k *catalog, src *catalogItem) (*catalogItem, error) {
	v, p, err := c.placeOf(k, "", "")
	if err != nil {
		return nil, err
	}
	if src.template != nil {
		t := c.emptyTemplate(k, v, p, src.name, src.desc)
		t.gold, t.customize, t.eulas = src.template.gold, src.template.customize, src.template.eulas
		c.s.keepTemplate(k, t)
		return t.item, nil
	}
	m := c.newMedia(v, p, src.name, src.desc)
	m.image, m.size = src.media.image, src.media.size
	m.item = c.s.newItem(k, "", src.name, src.desc)
	m.item.media = m
	return m.item, nil
}

// syncItem fetches the content of an item.
func (c *call) syncItem() (*answer, error) {
	it, err := c.theItem()
	if err != nil {
		return nil, err
	}
	switch {
	case it.catalog.subscription == nil:
		return nil, badRequest("The catalog %q does not follow another one.", it.catalog.name)
	case c.catalogLevel(it.catalog) < accessFull:
		return nil, noRight("Catalog: Edit Properties", it.id)
	case c.s.working(it.id) || c.s.working(it.entityID()):
		return nil, refuse(http.StatusBadRequest, "BUSY_ENTITY", "The entity %s is busy completing an operation LIBRARY_ITEM_SYNC.", it.name)
	}
	t := c.start("catalogItemSync", "Synchronizing Catalog Item", itemOwner(it), func(ctx context.Context) error { return c.fetch(ctx, it) })
	t.busy = append(t.busy, it.entityID())
	return c.accepted(t), nil
}

// fetch gives an item the content that the one it follows has. What is the same
// already is not fetched again.
func (c *call) fetch(ctx context.Context, it *catalogItem) error {
	s := c.s
	s.mu.Lock()
	from := s.catalogItems[it.source]
	if from == nil {
		s.mu.Unlock()
		return refuse(http.StatusBadRequest, "RESOURCE_NOT_FOUND", "The catalog item %q is not there any more: RESOURCE_NOT_FOUND", it.name)
	}
	content := from.entityID()
	same := it.content == content
	s.mu.Unlock()
	if same {
		return nil
	}
	var err error
	if it.template != nil {
		err = c.fetchTemplate(ctx, it.template, from.template)
	} else {
		err = s.copyMedia(ctx, it.media, from.media)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	it.content = content
	return nil
}

func (c *call) fetchTemplate(ctx context.Context, t, from *vappTemplate) error {
	s, a := c.s, t.content
	s.mu.Lock()
	old := slices.Clone(a.vms)
	s.mu.Unlock()
	for _, m := range old {
		if err := s.destroy(ctx, m); err != nil {
			return err
		}
	}
	s.mu.Lock()
	for _, n := range a.nets {
		delete(s.vappNets, n.id)
	}
	a.nets, a.startup = nil, map[string]StartupItem{}
	items, err := c.likeness(t, from.content)
	s.mu.Unlock()
	if err == nil {
		err = c.source(ctx, a, items)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.status = stateResolved; err != nil {
		a.status = stateFailed
	}
	return err
}
