package director

import "strings"

func catalogOwner(k *catalog) taskOwner   { return taskOwner{"catalog", k.id, k.name} }
func itemOwner(it *catalogItem) taskOwner { return taskOwner{"catalogItem", it.id, it.name} }
func mediaOwner(m *media) taskOwner       { return taskOwner{"media", m.id, m.name} }

// catalogMetadata is the metadata of the path's catalog, item or medium for a
// write; it tells whether the path is one of theirs.
func (c *call) catalogMetadata() (meta *metadata, owner taskOwner, is bool, err error) {
	path := strings.TrimPrefix(strings.TrimPrefix(c.r.URL.Path, "/api/"), "admin/")
	kind, _, _ := strings.Cut(path, "/")
	switch kind {
	case "catalog":
		k, err := c.changeCatalog(accessChange)
		if err != nil {
			return nil, owner, true, err
		}
		return &k.meta, catalogOwner(k), true, nil
	case "catalogItem":
		it, err := c.changeItem(accessChange)
		if err != nil {
			return nil, owner, true, err
		}
		return &it.meta, itemOwner(it), true, nil
	case "media":
		m, err := c.changeMedia(accessChange)
		if err != nil {
			return nil, owner, true, err
		}
		return &m.meta, mediaOwner(m), true, nil
	}
	return nil, owner, false, nil
}
