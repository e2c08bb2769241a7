package director

import (
	"context"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/vim25/types"
)

// A mediaWish puts media into a drive of a VM, or takes it out.
type mediaWish struct {
	media string // id; "" to eject
	file  string // in vCenter, "[store] folder/file.iso"
	drive int32  // device key; 0 for the first CD drive
}

// drives are a VM's CD drives.
func (f *facts) drives() []*types.VirtualCdrom {
	var out []*types.VirtualCdrom
	for _, d := range f.devices() {
		if cd, is := d.(*types.VirtualCdrom); is {
			out = append(out, cd)
		}
	}
	return out
}

// mount changes what is in the drives of a VM, in vCenter first.
func (s *Server) mount(ctx context.Context, m *vm, wishes []mediaWish) error {
	if len(wishes) == 0 {
		return nil
	}
	s.mu.Lock()
	if err := s.refresh(ctx, m); err != nil || m.facts == nil {
		s.mu.Unlock()
		return err
	}
	var changes []types.BaseVirtualDeviceConfigSpec
	found := make([]int32, len(wishes))
	on := m.state() == stateOn
	for i, w := range wishes {
		for _, cd := range m.facts.drives() {
			if w.drive != 0 && w.drive != cd.Key {
				continue
			}
			dev := *cd
			dev.Connectable = &types.VirtualDeviceConnectInfo{AllowGuestControl: true, StartConnected: w.media != "", Connected: w.media != "" && on}
			dev.Backing = &types.VirtualCdromRemoteAtapiBackingInfo{}
			if w.media != "" {
				dev.Backing = &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: w.file}}
			}
			found[i] = cd.Key
			changes = append(changes, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: &dev})
			break
		}
	}
	s.mu.Unlock()
	if len(changes) < len(wishes) {
		return refuse(400, "BAD_REQUEST", "The VM %q has no such CD drive.", m.name)
	}
	if err := s.reconfigureDevices(ctx, m, changes); err != nil {
		return fmt.Errorf("media: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.inserted == nil {
		m.inserted = map[int32]string{}
	}
	for i, w := range wishes {
		if m.inserted[found[i]] = w.media; w.media == "" {
			delete(m.inserted, found[i])
		}
	}
	return nil
}

// mediaOf is the media file that a reference names.
func (c *call) mediaOf(m *vm, ref *node) (mediaWish, error) {
	md := c.s.media[or(uuidIn(attr(ref, "href")), uuidIn(attr(ref, "id")))]
	switch {
	case md == nil || c.mediaLevel(md) == accessNone:
		return mediaWish{}, missing("media", or(uuidIn(attr(ref, "href")), attr(ref, "name")))
	case md.status != stateResolved || md.file == "":
		return mediaWish{}, invalidState("The media %q is not ready.", md.name)
	case md.image != "iso":
		return mediaWish{}, badRequest("The media %q is not an ISO image: VM %q has no drive for it.", md.name, m.name)
	case c.s.vdcs[md.vdc].vc != m.vc:
		return mediaWish{}, badRequest("The media %q is on another vCenter than VM %q.", md.name, m.name)
	}
	return mediaWish{media: md.id, file: md.file}, nil
}

// bootImage is the media that a new VM starts from.
func (c *call) bootImage(m *vm, ref *node) ([]mediaWish, error) {
	w, err := c.mediaOf(m, ref)
	if err != nil {
		return nil, err
	}
	return []mediaWish{w}, nil
}

// driveRef refers to what is in a drive.
func (s *Server) driveRef(tag, id string) *node {
	name := ""
	if md := s.media[id]; md != nil {
		name = md.name
	}
	return el(tag, "href", s.href("/api/media/"+id), "id", "urn:vcloud:media:"+id, "name", name, "type", mediaVCloud+"media+xml")
}

// planMediaSection reads the drives of a VmSpecSection.
func (c *call) planMediaSection(m *vm, d *node, p *vmPlan) error {
	for _, ms := range childrenOf(d, "MediaSettings") {
		key := int32(atoi(value(ms, "DeviceId")))
		image := child(ms, "MediaImage")
		href := attr(image, "href")
		switch {
		case m.facts == nil && href == "":
			continue
		case href == "" && m.inserted[key] != "":
			p.media = append(p.media, mediaWish{drive: key})
		case href != "" && uuidIn(href) != m.inserted[key]:
			w, err := c.mediaOf(m, image)
			if err != nil {
				return err
			}
			if w.drive = key; m.facts == nil {
				w.drive = 0
			}
			p.media = append(p.media, w)
		}
	}
	return nil
}

// planDriveItems reads drives as hardware items: what is in one is its
// HostResource. There are CD drives only, and as many as there are.
func (c *call) planDriveItems(m *vm, items []*node, p *vmPlan) error {
	d := el("MediaSection")
	for _, it := range items {
		if value(it, "ResourceType") != "15" {
			continue
		}
		key := value(it, "InstanceID")
		if !slices.ContainsFunc(m.facts.drives(), func(cd *types.VirtualCdrom) bool { return num(cd.Key) == key }) {
			return badRequest("The VM %q has no CD drive %q.", m.name, key)
		}
		settings := add(el("MediaSettings"), text("DeviceId", key))
		if href := value(it, "HostResource"); href != "" {
			add(settings, el("MediaImage", "href", href))
		}
		add(d, settings)
	}
	return c.planMediaSection(m, d, p)
}

// insertMedia puts media into the first CD drive of a VM.
func (c *call) insertMedia() (*answer, error) {
	m, w, err := c.mediaAction()
	if err != nil {
		return nil, err
	}
	for _, cd := range m.facts.drives() {
		if m.inserted[cd.Key] == "" {
			w.drive = cd.Key
			break
		}
	}
	if w.drive == 0 {
		return nil, badRequest("The VM %q has no empty CD drive.", m.name)
	}
	return c.accepted(c.start("vappInsertCdFloppy", "Inserting Media in", vmOwner(m), func(ctx context.Context) error {
		return c.s.mount(ctx, m, []mediaWish{w})
	})), nil
}

// ejectMedia takes media out of the drive that it is in.
func (c *call) ejectMedia() (*answer, error) {
	m, w, err := c.mediaAction()
	if err != nil {
		return nil, err
	}
	for key, id := range m.inserted {
		if id == w.media {
			w.drive = key
		}
	}
	if w.drive == 0 {
		return nil, badRequest("The media is not inserted in VM %q.", m.name)
	}
	w.media, w.file = "", ""
	return c.accepted(c.start("vappEjectCdFloppy", "Ejecting Media from", vmOwner(m), func(ctx context.Context) error {
		return c.s.mount(ctx, m, []mediaWish{w})
	})), nil
}

// mediaAction reads what inserting and ejecting have in common.
func (c *call) mediaAction() (*vm, mediaWish, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, mediaWish{}, err
	}
	doc, err := c.parse(nsVCloud, "MediaInsertOrEjectParams")
	if err != nil {
		return nil, mediaWish{}, err
	}
	if err := c.refresh(m); err != nil {
		return nil, mediaWish{}, err
	}
	if m.facts == nil || m.lost {
		return nil, mediaWish{}, invalidState("The VM %q is not available.", m.name)
	}
	if err := c.mayChange(m.vapp, m, accessChange); err != nil {
		return nil, mediaWish{}, err
	}
	ref := child(doc, "Media")
	if ref == nil {
		return nil, mediaWish{}, badRequest("The request names no media.")
	}
	w, err := c.mediaOf(m, ref)
	return m, w, err
}
