package director

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
)

// A CatalogSpec describes a catalog of an organization.
type CatalogSpec struct {
	ID                string // UUID; made when empty
	Org               string // name or UUID
	Name, Description string
	Owner             string // user name in the organization; the system user when empty
	Created           time.Time
	Published         bool       // to all organizations
	Access            AccessSpec // of the organization's own users
	SharedWith        []string   // other organizations, by name, for reading
	StorageProfiles   []string   // UUIDs
	Metadata          []MetadataSpec
}

// A TemplateSpec describes a vApp template whose VMs exist in vCenter already,
// off. The embedded vApp is its content; of its leases the storage lease
// counts.
type TemplateSpec struct {
	VAppSpec
	Catalog    string // UUID
	ItemID     string // UUID of the catalog item; made when empty
	GoldMaster bool
	// CustomizeOnInstantiate is on unless NoCustomization says otherwise.
	NoCustomization bool
	EULAs           []string // to be accepted with each instantiation
	StorageProfile  string   // name in the VDC; its default when empty
}

// A MediaSpec describes an ISO image in a catalog.
type MediaSpec struct {
	ID, ItemID        string // UUIDs; made when empty
	Catalog           string // UUID
	VDC               string // name or UUID
	Name, Description string
	Owner             string
	StorageProfile    string // name in the VDC; its default when empty
	// From is a file on this machine. Without one the image is Size bytes
	// of an ISO 9660 image's first descriptor and zeros.
	From     string
	Size     int64
	Metadata []MetadataSpec
}

// AddCatalog makes a catalog and returns its UUID.
func (s *Server) AddCatalog(spec CatalogSpec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orgNamed(spec.Org)
	if o == nil {
		return "", fmt.Errorf("catalog %s: no org %s", spec.Name, spec.Org)
	}
	if s.catalogNamed(o.id, spec.Name) != nil {
		return "", fmt.Errorf("catalog %s: the name is taken in org %s", spec.Name, o.name)
	}
	k := &catalog{
		thing: thing{id: idOr(spec.ID), name: spec.Name, desc: spec.Description, seq: s.next()}, org: o.id, owner: s.systemUser().id,
		created: s.since(spec.Created), version: 1, published: spec.Published, everyone: spec.Access.Everyone, profiles: spec.StorageProfiles,
	}
	if spec.Owner != "" {
		u := s.userNamed(o.id, spec.Owner)
		if u == nil {
			return "", fmt.Errorf("catalog %s: no user %s in org %s", spec.Name, spec.Owner, o.name)
		}
		k.owner = u.id
	}
	for _, name := range keys(spec.Access.Users) {
		u := s.userNamed(o.id, name)
		if u == nil {
			return "", fmt.Errorf("catalog %s: access: no user %s in org %s", spec.Name, name, o.name)
		}
		k.access = append(k.access, catalogGrant{"user", u.id, spec.Access.Users[name]})
	}
	for _, name := range spec.SharedWith {
		other := s.orgNamed(name)
		if other == nil {
			return "", fmt.Errorf("catalog %s: shared with: no org %s", spec.Name, name)
		}
		k.access = append(k.access, catalogGrant{"org", other.id, levels[accessRead]})
	}
	s.catalogs[k.id] = k
	return k.id, k.meta.from(spec.Metadata)
}

// catalogNamed is an organization's catalog of that name.
func (s *Server) catalogNamed(org, name string) *catalog {
	for _, k := range s.catalogs {
		if k.org == org && k.name == name {
			return k
		}
	}
	return nil
}

func (k *catalog) itemNamed(name string) *catalogItem {
	for _, it := range k.items {
		if it.name == name {
			return it
		}
	}
	return nil
}

// newItem puts something into a catalog, whose version grows with each change.
func (s *Server) newItem(k *catalog, id, name, desc string) *catalogItem {
	it := &catalogItem{thing: thing{id: idOr(id), name: name, desc: desc, seq: s.next()}, catalog: k, created: time.Now(), version: 1}
	k.items, k.version = append(k.items, it), k.version+1
	s.catalogItems[it.id] = it
	return it
}

// AddTemplate makes a vApp template of VMs that exist in vCenter and returns its
// UUID.
func (s *Server) AddTemplate(spec TemplateSpec) (string, error) {
	s.mu.Lock()
	k := s.catalogs[spec.Catalog]
	a, err := s.newVApp(spec.VAppSpec)
	s.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("template %s: %w", spec.Name, err)
	}
	if k == nil || k.itemNamed(spec.Name) != nil {
		return "", fmt.Errorf("template %s: no catalog %s, or the name is taken in it", spec.Name, spec.Catalog)
	}
	t := &vappTemplate{content: a, gold: spec.GoldMaster, customize: !spec.NoCustomization, eulas: spec.EULAs}
	if a.template = t; spec.Lease == nil {
		s.mu.Lock()
		a.lease = Lease{StorageSeconds: s.orgOf(a).settings.templateSeconds}
		s.mu.Unlock()
	}
	for i := range spec.VMs {
		if err := s.addVM(a, spec.VMs[i]); err != nil {
			return "", fmt.Errorf("template %s: VM %s: %w", spec.Name, spec.VMs[i].Name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range spec.Networks {
		if err := s.configureFrom(a, n); err != nil {
			return "", fmt.Errorf("template %s: network %s: %w", spec.Name, n.Name, err)
		}
	}
	p := s.profileNamed(s.vdcs[a.vdc], spec.StorageProfile)
	if p == nil {
		return "", fmt.Errorf("template %s: no storage profile %q", spec.Name, spec.StorageProfile)
	}
	t.profile = p.id
	a.storedAt = a.created
	for _, n := range a.nets {
		// The networks of templates are none that anything is on.
		delete(s.vappNets, n.id)
	}
	for _, m := range a.vms {
		if m.deployed {
			return "", fmt.Errorf("template %s: VM %s is not off", spec.Name, m.name)
		}
		s.vms[m.id] = m
	}
	t.item = s.newItem(k, spec.ItemID, spec.Name, spec.Description)
	t.item.template = t
	s.templates[a.id] = t
	return a.id, nil
}

// AddMedia makes an image in a catalog and returns its UUID.
func (s *Server) AddMedia(spec MediaSpec) (string, error) {
	s.mu.Lock()
	k, v := s.catalogs[spec.Catalog], s.vdcNamed(spec.VDC)
	if k == nil || v == nil || k.itemNamed(spec.Name) != nil {
		s.mu.Unlock()
		return "", fmt.Errorf("media %s: no catalog %s, no VDC %s, or the name is taken", spec.Name, spec.Catalog, spec.VDC)
	}
	p := s.profileNamed(v, spec.StorageProfile)
	if p == nil {
		s.mu.Unlock()
		return "", fmt.Errorf("media %s: no storage profile %q", spec.Name, spec.StorageProfile)
	}
	m := &media{
		thing: thing{id: idOr(spec.ID), name: spec.Name, desc: spec.Description, seq: s.next()}, vdc: v.id, owner: s.systemUser().id,
		created: time.Now(), image: "iso", profile: p.id, status: stateResolved,
	}
	if u := s.userNamed(v.org, spec.Owner); u != nil {
		m.owner = u.id
	}
	s.mu.Unlock()
	content, size, err := openImage(spec)
	if err != nil {
		return "", fmt.Errorf("media %s: %w", spec.Name, err)
	}
	m.size = size
	file, err := s.storeMedia(s.ctx, m, content)
	if err := closeBoth(err, content); err != nil {
		return "", fmt.Errorf("media %s: %w", spec.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.file = file
	m.item = s.newItem(k, spec.ItemID, spec.Name, spec.Description)
	m.item.media = m
	s.media[m.id] = m
	return m.id, m.meta.from(spec.Metadata)
}

func closeBoth(err error, c io.Closer) error {
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// openImage is the content of an image that an inventory describes.
func openImage(spec MediaSpec) (io.ReadCloser, int64, error) {
	if spec.From != "" {
		f, err := os.Open(spec.From)
		if err != nil {
			return nil, 0, err
		}
		fi, err := f.Stat()
		if err != nil {
			return nil, 0, closeBoth(err, f)
		}
		return f, fi.Size(), nil
	}
	size := max(spec.Size, 64<<10)
	// ECMA-119: the volume descriptors begin at sector 16.
	head := make([]byte, 17*2048)
	copy(head[16*2048:], "\x01CD001\x01")
	return io.NopCloser(io.LimitReader(io.MultiReader(bytes.NewReader(head), zeros{}), size)), size, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// storeMedia puts an image on a datastore of its profile, at the place where
// vCD keeps media, and returns "[datastore] path".
func (s *Server) storeMedia(ctx context.Context, m *media, content io.Reader) (string, error) {
	s.mu.Lock()
	v := s.vdcs[m.vdc]
	p, org := s.profiles[m.profile], s.orgs[v.org]
	s.mu.Unlock()
	ds, err := v.vc.storeOf(ctx, p)
	if err != nil {
		return "", err
	}
	at := path.Join(mediaFolder, org.id, v.id, "media-"+m.id+"."+m.image)
	u := soap.DefaultUpload
	u.ContentLength = m.size
	// Who opened the content closes it; an upload would do so too.
	if err := ds.Upload(ctx, io.NopCloser(content), at, &u); err != nil {
		return "", fmt.Errorf("store in datastore %s: %w", ds.Name(), err)
	}
	return ds.Path(at), nil
}

// storeOf is a datastore of a profile; any when the profile names none.
func (vc *vcenter) storeOf(ctx context.Context, p *profile) (*object.Datastore, error) {
	name := "*"
	if p != nil && len(p.datastores) > 0 {
		name = p.datastores[0]
	}
	return vc.datastoreNamed(ctx, name)
}

func (vc *vcenter) datastoreNamed(ctx context.Context, name string) (*object.Datastore, error) {
	c, err := vc.connect(ctx)
	if err != nil {
		return nil, err
	}
	f := find.NewFinder(c)
	dcs, err := f.DatacenterList(ctx, "*")
	if err != nil {
		return nil, fmt.Errorf("datacenters: %w", err)
	}
	f.SetDatacenter(dcs[0])
	list, err := f.DatastoreList(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("datastore %s: %w", name, err)
	}
	return list[0], nil
}
