package director

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
)

// createItem puts an entity that is in no catalog into one. Every template and
// every medium here is in one already (API reference, POST-CreateCatalogItem:
// an entity is in one catalog only).
func (c *call) createItem() (*answer, error) {
	k, err := c.ownCatalog()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CatalogItem")
	if err != nil {
		return nil, err
	}
	name, href := attr(doc, "name"), attr(child(doc, "Entity"), "href")
	if err := c.newItemName(k, name); err != nil {
		return nil, err
	}
	t, m := c.s.templates[uuidIn(href)], c.s.media[uuidIn(href)]
	switch {
	case t != nil && c.templateLevel(t) > accessNone:
		if t.item != nil {
			return nil, badRequest("The vApp template %q is in catalog %q already.", t.content.name, t.item.catalog.name)
		}
	case m != nil && c.mediaLevel(m) > accessNone:
		if m.item != nil {
			return nil, badRequest("The media %q is in catalog %q already.", m.name, m.item.catalog.name)
		}
	default:
		return nil, badRequest("The entity %s is not a vApp template or media of this cloud.", href)
	}
	it := c.s.newItem(k, "", name, raw(doc, "Description"))
	if it.template = t; t != nil {
		t.item = it
	} else {
		it.media = m
		m.item = it
	}
	return c.createdItem(it), nil
}

func (c *call) newItemName(k *catalog, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if k.itemNamed(name) != nil {
		return nameTaken("The catalog %q has an item named %q already.", k.name, name)
	}
	return nil
}

func (c *call) createdItem(it *catalogItem) *answer {
	return &answer{status: http.StatusCreated, typ: mediaVCloud + "catalogItem", doc: c.itemNode(it),
		header: map[string]string{"Location": c.s.itemHref(it)}}
}

// putItem renames an item, and with it what it stands for.
func (c *call) putItem() (*answer, error) {
	it, err := c.changeItem(accessChange)
	if err != nil {
		return nil, err
	}
	if err := it.follows(); err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CatalogItem")
	if err != nil {
		return nil, err
	}
	if href := attr(child(doc, "Entity"), "href"); uuidIn(href) != it.entityID() {
		return nil, badRequest("The entity of a catalog item cannot be changed.")
	}
	if err := c.renameItem(it, attr(doc, "name"), child(doc, "Description")); err != nil {
		return nil, err
	}
	if ps := childrenOf(doc, "Property"); len(ps) > 0 {
		it.properties = copies(ps)
	}
	return ok(mediaVCloud+"catalogItem", c.itemNode(it)), nil
}

// renameItem gives an item and its entity a name. Their versions grow.
func (c *call) renameItem(it *catalogItem, name string, desc *node) error {
	if name != it.name {
		if err := c.newItemName(it.catalog, name); err != nil {
			return err
		}
	}
	it.name, it.version, it.catalog.version = name, it.version+1, it.catalog.version+1
	set := func(t *thing) {
		t.name = name
		if desc != nil {
			t.desc = allText(desc)
		}
	}
	set(&it.thing)
	switch {
	case it.template != nil:
		set(&it.template.content.thing)
	case it.media != nil:
		set(&it.media.thing)
	}
	return nil
}

// deleteItem deletes an item with its template or medium, and waits for it: the
// API has no task for this.
func (c *call) deleteItem() (*answer, error) {
	it, err := c.changeItem(accessChange)
	if err != nil {
		return nil, err
	}
	if err := it.follows(); err != nil {
		return nil, err
	}
	if it.media != nil {
		if err := c.s.ejected(it.media); err != nil {
			return nil, err
		}
	}
	c.s.mu.Unlock()
	err = c.s.destroyItem(c.r.Context(), it)
	c.s.mu.Lock()
	if err != nil {
		return nil, err
	}
	return noContent(), nil
}

// copyItem copies or moves an item into the catalog of the path.
func (c *call) copyItem(move bool) (*answer, error) {
	k, err := c.ownCatalog()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CopyOrMoveCatalogItemParams")
	if err != nil {
		return nil, err
	}
	href := attr(child(doc, "Source"), "href")
	it := c.s.catalogItems[uuidIn(href)]
	if it == nil || c.catalogLevel(it.catalog) == accessNone {
		return nil, badRequest("The source %s is not a catalog item of this cloud.", href)
	}
	if c.s.working(it.id) || c.s.working(it.entityID()) {
		return nil, busy("com.vmware.vcloud.entity.catalogItem", it.name)
	}
	name := or(attr(doc, "name"), it.name)
	if !move || k != it.catalog || name != it.name {
		if err := c.newItemName(k, name); err != nil {
			return nil, err
		}
	}
	if move {
		return c.moveItem(k, it, name, child(doc, "Description"))
	}
	return c.duplicateItem(k, it, name, doc)
}

func (c *call) moveItem(k *catalog, it *catalogItem, name string, desc *node) (*answer, error) {
	if c.catalogLevel(it.catalog) < accessChange {
		return nil, noRight("Catalog: Edit Properties", it.catalog.id)
	}
	if err := it.follows(); err != nil {
		return nil, err
	}
	if k.org != it.catalog.org {
		return nil, badRequest("The catalog %q is another organization's.", k.name)
	}
	t := c.start("catalogMoveItem", "Moving Catalog Item", itemOwner(it), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.s.forgetItem(it)
		it.catalog, k.items, k.version = k, append(k.items, it), k.version+1
		c.s.catalogItems[it.id] = it
		if name != it.name {
			return c.renameItem(it, name, desc)
		}
		return nil
	})
	t.busy = append(t.busy, it.entityID(), k.id)
	return c.accepted(t), nil
}

// duplicateItem copies an item. The copy lives in the first VDC with storage
// that the catalog uses, else in the one of the original.
func (c *call) duplicateItem(k *catalog, it *catalogItem, name string, doc *node) (*answer, error) {
	if it.template != nil {
		v, p, err := c.placeOf(k, it.template.content.vdc, it.template.profile)
		if err != nil {
			return nil, err
		}
		t, items, err := c.newTemplate(k, v, p, name, it.template.content)
		if err != nil {
			return nil, err
		}
		t.content.desc, t.gold, t.customize, t.eulas = it.template.content.desc, it.template.gold, it.template.customize, it.template.eulas
		if d := child(doc, "Description"); d != nil {
			t.content.desc = allText(d)
		}
		t.item.desc, t.item.meta = t.content.desc, append(metadata(nil), it.meta...)
		task := c.fillTemplate("catalogCopyItem", "Copying Catalog Item", t, items, nil)
		return c.accepted(task), nil
	}
	v, p, err := c.placeOf(k, it.media.vdc, it.media.profile)
	if err != nil {
		return nil, err
	}
	m := c.newMedia(v, p, name, it.media.desc)
	m.image, m.size, m.meta = it.media.image, it.media.size, append(metadata(nil), it.media.meta...)
	m.item = c.s.newItem(k, "", name, or(raw(doc, "Description"), it.desc))
	m.item.media = m
	return c.accepted(c.start("catalogCopyItem", "Copying Catalog Item", mediaOwner(m), func(ctx context.Context) error {
		return c.s.copyMedia(ctx, m, it.media)
	})), nil
}

// placeOf is the VDC and the storage profile for what is new in a catalog.
func (c *call) placeOf(k *catalog, vdcID, profileID string) (*vdc, *profile, error) {
	if len(k.profiles) > 0 {
		if p := c.s.profiles[k.profiles[0]]; p != nil {
			return c.s.vdcs[p.vdc], p, nil
		}
	}
	v := c.s.vdcs[vdcID]
	if v == nil || v.org != k.org {
		for _, own := range sorted(c.s.vdcs) {
			if own.org == k.org && own.enabled {
				v = own
				break
			}
		}
	}
	if v == nil || v.org != k.org {
		return nil, nil, badRequest("The organization of catalog %q has no VDC to store its items in.", k.name)
	}
	p := c.s.profileLike(v, profileID)
	if p == nil {
		return nil, nil, badRequest("The VDC %s has no storage profile.", v.name)
	}
	return v, p, nil
}

func (c *call) newMedia(v *vdc, p *profile, name, desc string) *media {
	m := &media{thing: thing{id: newID(), name: name, desc: desc, seq: c.s.next()}, vdc: v.id, owner: c.login.user.id, created: time.Now(),
		image: "iso", profile: p.id}
	c.s.media[m.id] = m
	return m
}

// copyMedia gives a medium the content of another one.
func (s *Server) copyMedia(ctx context.Context, m, from *media) error {
	s.mu.Lock()
	file, vc := from.file, s.vdcs[from.vdc].vc
	s.mu.Unlock()
	err := func() error {
		content, _, err := vc.openFile(ctx, file)
		if err != nil {
			return err
		}
		at, err := s.storeMedia(ctx, m, content)
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		m.file = at
		return nil
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.status = stateResolved; err != nil {
		m.status = stateFailed
	}
	return err
}

// openFile reads "[datastore] path".
func (vc *vcenter) openFile(ctx context.Context, file string) (io.ReadCloser, int64, error) {
	var p object.DatastorePath
	if !p.FromString(file) {
		return nil, 0, fmt.Errorf("%q is no file on a datastore", file)
	}
	ds, err := vc.datastoreNamed(ctx, p.Datastore)
	if err != nil {
		return nil, 0, err
	}
	return ds.Download(ctx, p.Path, nil)
}

// deleteFile deletes "[datastore] path"; one that is gone is fine.
func (vc *vcenter) deleteFile(ctx context.Context, file string) error {
	var p object.DatastorePath
	if !p.FromString(file) {
		return fmt.Errorf("%q is no file on a datastore", file)
	}
	ds, err := vc.datastoreNamed(ctx, p.Datastore)
	if err != nil {
		return err
	}
	req := soap.DefaultDownload
	req.Method = http.MethodDelete
	res, err := ds.Client().DownloadRequest(ctx, ds.NewURL(p.Path), &req)
	if err != nil {
		return fmt.Errorf("delete %s: %w", file, err)
	}
	_ = res.Body.Close()
	if res.StatusCode >= 300 && res.StatusCode != http.StatusNotFound {
		return fmt.Errorf("delete %s: vCenter answers %s", file, res.Status)
	}
	return nil
}
