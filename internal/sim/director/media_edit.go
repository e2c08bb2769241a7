package director

import (
	"context"
)

func (c *call) putMedia() (*answer, error) {
	m, err := c.changeMedia(accessChange)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "Media")
	if err != nil {
		return nil, err
	}
	name := attr(doc, "name")
	if err := checkName(name); err != nil {
		return nil, err
	}
	if m.item != nil && name != m.name {
		if err := c.newItemName(m.item.catalog, name); err != nil {
			return nil, err
		}
	}
	return c.accepted(c.start("vdcUpdateMedia", "Updating Media", mediaOwner(m), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if m.item != nil {
			return c.renameItem(m.item, name, child(doc, "Description"))
		}
		m.name = name
		if d := child(doc, "Description"); d != nil {
			m.desc = allText(d)
		}
		return nil
	})), nil
}

// deleteMedia deletes a medium that is in no VM's drive.
func (c *call) deleteMedia() (*answer, error) {
	m, err := c.theMedia()
	if err != nil {
		return nil, err
	}
	if m.upload != nil {
		c.s.cancelUpload(m.upload)
	} else if m, err = c.changeMedia(accessChange); err != nil {
		return nil, err
	}
	if c.mediaLevel(m) < accessChange {
		return nil, noRight("vApp Template / Media: Edit", m.id)
	}
	if err := m.item.follows(); err != nil {
		return nil, err
	}
	if err := c.s.ejected(m); err != nil {
		return nil, err
	}
	return c.accepted(c.start("vdcDeleteMedia", "Deleting Media", mediaOwner(m), func(ctx context.Context) error {
		return c.s.destroyMedia(ctx, m)
	})), nil
}

// ejected refuses to delete a medium that is in a drive: vCenter has its file
// open.
func (s *Server) ejected(m *media) error {
	for _, v := range sorted(s.vms) {
		for _, id := range v.inserted {
			if id == m.id {
				return badRequest("The media %q cannot be deleted: it is inserted in VM %q.", m.name, v.name)
			}
		}
	}
	return nil
}

func (c *call) getMediaOwner() (*answer, error) {
	m, err := c.theMedia()
	if err != nil {
		return nil, err
	}
	return c.ownerAnswer(c.s.mediaHref(m), m.owner), nil
}

func (c *call) putMediaOwner() (*answer, error) {
	m, err := c.changeMedia(accessFull)
	if err != nil {
		return nil, err
	}
	id, err := c.newOwner(c.s.vdcs[m.vdc].org)
	if err != nil {
		return nil, err
	}
	m.owner = id
	return noContent(), nil
}

// cloneMedia copies or moves a medium into a VDC. The copy is in no catalog.
func (c *call) cloneMedia() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CloneMediaParams")
	if err != nil {
		return nil, err
	}
	href := attr(child(doc, "Source"), "href")
	from := c.s.media[uuidIn(href)]
	if from == nil || c.mediaLevel(from) == accessNone {
		return nil, badRequest("The source %s is not a media of this cloud.", href)
	}
	remove := truth(value(doc, "IsSourceDelete"))
	if remove && c.mediaLevel(from) < accessChange {
		return nil, noRight("vApp Template / Media: Edit", from.id)
	}
	if c.s.working(from.id) || from.status != stateResolved {
		return nil, busy("com.vmware.vcloud.entity.media", from.name)
	}
	p := c.s.profileLike(v, from.profile)
	if sp := child(doc, "VdcStorageProfile"); sp != nil {
		p = c.s.profiles[uuidIn(attr(sp, "href"))]
	}
	if p == nil || p.vdc != v.id {
		return nil, badRequest("The VDC %s has no such storage profile.", v.name)
	}
	if err := checkName(attr(doc, "name")); err != nil {
		return nil, err
	}
	m := c.newMedia(v, p, attr(doc, "name"), or(raw(doc, "Description"), from.desc))
	m.image, m.size, m.meta = from.image, from.size, append(metadata(nil), from.meta...)
	task := c.start("vdcCopyMedia", "Copying Media", mediaOwner(m), func(ctx context.Context) error {
		err := c.s.copyMedia(ctx, m, from)
		if err == nil && remove {
			err = c.s.destroyMedia(ctx, from)
		}
		return err
	})
	task.busy = append(task.busy, from.id)
	return c.createdMedia(m), nil
}

func (c *call) createdMedia(m *media) *answer {
	return &answer{status: 201, typ: mediaVCloud + "media", doc: c.mediaNode(m), header: map[string]string{"Location": c.s.mediaHref(m)}}
}
