package director

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A pvdc is a provider VDC: resource pools of one vCenter and storage.
type pvdc struct {
	thing
	vc       *vcenter
	enabled  bool
	implicit bool // made with the vCenter, because nobody made one
	hardware string
	pools    []pvdcPool // the first is the primary one
	networks []namedRef // network pools
	nsxt     namedRef
	meta     metadata
}

// A pvdcPool is a resource pool that backs a provider VDC.
type pvdcPool struct {
	ref     types.ManagedObjectReference
	name    string
	enabled bool
}

// A namedRef refers to an entity of another area.
type namedRef struct{ id, name string }

// A pvdcProfile is a storage profile of a provider VDC.
type pvdcProfile struct {
	thing
	pvdc       string // id
	enabled    bool
	datastores []string // names in the vCenter; all when empty
	iops       int64    // capacity; 0 when not managed
	meta       metadata
}

func (p *pvdc) urn() string        { return "urn:vcloud:providervdc:" + p.id }
func (p *pvdcProfile) urn() string { return "urn:vcloud:providervdcstorageprofile:" + p.id }

// A ProviderVDCSpec describes a provider VDC.
type ProviderVDCSpec struct {
	ID                string // UUID; made when empty
	Name, Description string
	VCenter           string // name; the only one when empty
	// ResourcePools are morefs, paths or names; the cluster's own when
	// there are none. The first is the primary one.
	ResourcePools   []string
	StorageProfiles []ProviderStorageProfileSpec
	NetworkPools    []NamedRef
	NSXTManager     NamedRef
	HardwareVersion string // the highest, "vmx-19"
	Disabled        bool
}

// A NamedRef names an entity by its UUID and its name. The UUIDs of network
// pools and NSX-T managers follow from their names.
type NamedRef struct{ ID, Name string }

// A ProviderStorageProfileSpec describes a storage profile of a provider VDC.
type ProviderStorageProfileSpec struct {
	ID, Name   string
	Datastores []string // names in the vCenter; all when empty
}

// hardwareVersions are those that hosts of the simulated vCenter support.
var hardwareVersions = []string{"vmx-07", "vmx-08", "vmx-09", "vmx-10", "vmx-11", "vmx-13", "vmx-14", "vmx-15", "vmx-17", "vmx-18", "vmx-19",
	"vmx-20", "vmx-21"}

// AddProviderVDC makes a provider VDC and returns its UUID.
func (s *Server) AddProviderVDC(spec ProviderVDCSpec) (string, error) {
	s.mu.Lock()
	vc := s.vcenterNamed(spec.VCenter)
	s.mu.Unlock()
	if vc == nil {
		return "", fmt.Errorf("provider VDC %s: no vCenter %q", spec.Name, spec.VCenter)
	}
	n := &pvdc{thing: thing{id: idOr(spec.ID), name: spec.Name, desc: spec.Description}, vc: vc, enabled: !spec.Disabled,
		hardware: or(spec.HardwareVersion, hardwareVersions[len(hardwareVersions)-1]), nsxt: namedRef{spec.NSXTManager.ID, spec.NSXTManager.Name}}
	if n.nsxt.name != "" {
		n.nsxt.id = or(n.nsxt.id, uuidOf("NSX-T manager", n.nsxt.name))
	}
	for _, p := range spec.NetworkPools {
		n.networks = append(n.networks, namedRef{or(p.ID, uuidOf("network pool", p.Name)), p.Name})
	}
	names := spec.ResourcePools
	if len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		ref, _, err := vc.place(s.ctx, name, "")
		if err != nil {
			return "", fmt.Errorf("provider VDC %s: %w", spec.Name, err)
		}
		n.pools = append(n.pools, pvdcPool{ref, or(name, "Resources"), true})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pvdcNamed(spec.Name) != nil {
		return "", fmt.Errorf("provider VDC %s: the name is taken", spec.Name)
	}
	for _, old := range s.pvdcs {
		if old.implicit && old.vc == vc && len(s.vdcsOf(old)) == 0 {
			s.dropPVDC(old)
		}
	}
	n.seq = s.next()
	s.pvdcs[n.id] = n
	for _, p := range spec.StorageProfiles {
		s.pvdcProfileNamed(n, p.Name, p.Datastores, p.ID)
	}
	return n.id, nil
}

// addImplicitPVDC makes the provider VDC of a vCenter for which nobody made one.
func (s *Server) addImplicitPVDC(vc *vcenter) {
	n := &pvdc{thing: thing{id: vc.id, name: vc.name, seq: s.next()}, vc: vc, enabled: true, implicit: true, hardware: hardwareVersions[len(hardwareVersions)-1]}
	if ref, _, err := vc.place(s.ctx, "", ""); err == nil {
		n.pools = []pvdcPool{{ref, "Resources", true}}
	}
	s.pvdcs[n.id] = n
}

func (s *Server) dropPVDC(p *pvdc) {
	for id, prof := range s.pvdcProfiles {
		if prof.pvdc == p.id {
			delete(s.pvdcProfiles, id)
		}
	}
	delete(s.pvdcs, p.id)
}

// pvdcNamed finds a provider VDC by name or UUID.
func (s *Server) pvdcNamed(name string) *pvdc {
	for _, p := range s.pvdcs {
		if p.name == name || p.id == name {
			return p
		}
	}
	return nil
}

// pvdcFor is the provider VDC that a new VDC is to have.
func (s *Server) pvdcFor(v VDCSpec, vc *vcenter) (*pvdc, error) {
	if v.ProviderVDC == "" {
		if p := s.pvdcOn(vc); p != nil {
			return p, nil
		}
		return nil, fmt.Errorf("no provider VDC on vCenter %s", vc.name)
	}
	p := s.pvdcNamed(v.ProviderVDC)
	if p == nil || p.vc != vc {
		return nil, fmt.Errorf("no provider VDC %s on vCenter %s", v.ProviderVDC, vc.name)
	}
	return p, nil
}

// pvdcOn is the first provider VDC of a vCenter.
func (s *Server) pvdcOn(vc *vcenter) *pvdc {
	for _, p := range sorted(s.pvdcs) {
		if p.vc == vc {
			return p
		}
	}
	return nil
}

// pvdcProfileNamed is a provider VDC's storage profile of that name, which is
// made where there is none.
func (s *Server) pvdcProfileNamed(p *pvdc, name string, datastores []string, id string) *pvdcProfile {
	for _, prof := range s.pvdcProfiles {
		if prof.pvdc == p.id && prof.name == name {
			return prof
		}
	}
	n := &pvdcProfile{thing: thing{id: idOr(id), name: name, seq: s.next()}, pvdc: p.id, enabled: true, datastores: datastores}
	s.pvdcProfiles[n.id] = n
	return n
}

func (s *Server) profilesOf(p *pvdc) []*pvdcProfile {
	var out []*pvdcProfile
	for _, prof := range sorted(s.pvdcProfiles) {
		if prof.pvdc == p.id {
			out = append(out, prof)
		}
	}
	return out
}

func (s *Server) vdcsOf(p *pvdc) []*vdc {
	var out []*vdc
	for _, v := range sorted(s.vdcs) {
		if v.pvdc == p.id {
			out = append(out, v)
		}
	}
	return out
}

// An estate is what there is in a vCenter besides VMs.
type estate struct {
	pools  []mo.ResourcePool
	hosts  []mo.HostSystem
	stores []mo.Datastore
	names  map[types.ManagedObjectReference]string
}

// estate reads a vCenter. The server's mutex is held before and after, but not
// meanwhile.
func (c *call) estate(vc *vcenter) (*estate, error) {
	c.s.mu.Unlock()
	defer c.s.mu.Lock()
	e, err := vc.estate(c.r.Context())
	if err != nil {
		return nil, refuse(500, "INTERNAL_SERVER_ERROR", "vCenter %s: %s", vc.name, err)
	}
	return e, nil
}

func (vc *vcenter) estate(ctx context.Context) (*estate, error) {
	client, err := vc.connect(ctx)
	if err != nil {
		return nil, err
	}
	e := &estate{names: map[types.ManagedObjectReference]string{}}
	get := func(kind string, props []string, into any) error {
		v, err := view.NewManager(client).CreateContainerView(ctx, client.ServiceContent.RootFolder, []string{kind}, true)
		if err != nil {
			return fmt.Errorf("view: %w", err)
		}
		defer func() { _ = v.Destroy(context.WithoutCancel(ctx)) }()
		return v.Retrieve(ctx, []string{kind}, props, into)
	}
	if err := errors.Join(get("ResourcePool", []string{"name", "owner", "parent", "vm", "config", "runtime"}, &e.pools),
		get("HostSystem", []string{"name", "summary", "hardware.systemInfo", "parent", "runtime.inMaintenanceMode", "vm"}, &e.hosts),
		get("Datastore", []string{"name", "summary"}, &e.stores)); err != nil {
		return nil, err
	}
	sortBy(e.pools, func(a, b mo.ResourcePool) bool { return a.Self.Value < b.Self.Value })
	sortBy(e.hosts, func(a, b mo.HostSystem) bool { return a.Name < b.Name })
	sortBy(e.stores, func(a, b mo.Datastore) bool { return a.Name < b.Name })
	for _, p := range e.pools {
		e.names[p.Self] = p.Name
	}
	return e, nil
}

// pool finds a resource pool by its moref.
func (e *estate) pool(moref string) *mo.ResourcePool {
	i := slices.IndexFunc(e.pools, func(p mo.ResourcePool) bool { return p.Self.Value == moref })
	if i < 0 {
		return nil
	}
	return &e.pools[i]
}

// on are the datastores of those names; all of them without.
func (e *estate) on(names []string) []mo.Datastore {
	var out []mo.Datastore
	for _, d := range e.stores {
		if len(names) == 0 || slices.Contains(names, d.Name) {
			out = append(out, d)
		}
	}
	return out
}

// makePlace makes the resource pool and the folders of a VDC in its vCenter: a
// pool "NAME (UUID)" below that of the provider VDC, and a folder of that name
// below the organization's.
func (vc *vcenter) makePlace(ctx context.Context, parent types.ManagedObjectReference, org, vdc string) (pool, folder types.ManagedObjectReference, err error) {
	client, err := vc.connect(ctx)
	if err != nil {
		return pool, folder, err
	}
	spec := types.DefaultResourceConfigSpec()
	made, err := object.NewResourcePool(client, parent).Create(ctx, vdc, spec)
	if err != nil {
		return pool, folder, fmt.Errorf("resource pool %s: %w", vdc, err)
	}
	_, root, err := vc.place(ctx, "", "")
	if err != nil {
		return pool, folder, err
	}
	folder = root
	for _, name := range []string{org, vdc} {
		if folder, err = subfolder(ctx, object.NewFolder(client, folder), name); err != nil {
			return pool, folder, err
		}
	}
	return made.Reference(), folder, nil
}

// subfolder finds a folder in another one, or makes it.
func subfolder(ctx context.Context, in *object.Folder, name string) (types.ManagedObjectReference, error) {
	children, err := in.Children(ctx)
	if err != nil {
		return in.Reference(), fmt.Errorf("folder %s: %w", name, err)
	}
	for _, c := range children {
		f, is := c.(*object.Folder)
		if !is {
			continue
		}
		if n, err := f.ObjectName(ctx); err == nil && n == name {
			return f.Reference(), nil
		}
	}
	f, err := in.CreateFolder(ctx, name)
	if err != nil {
		return in.Reference(), fmt.Errorf("folder %s: %w", name, err)
	}
	return f.Reference(), nil
}

// removePlace removes what makePlace made, but the organization's folder.
func (vc *vcenter) removePlace(ctx context.Context, pool, folder types.ManagedObjectReference) error {
	client, err := vc.connect(ctx)
	if err != nil {
		return err
	}
	t, perr := object.NewResourcePool(client, pool).Destroy(ctx)
	if perr = await(ctx, t, perr); perr != nil && gone(perr) {
		perr = nil
	}
	t, ferr := object.NewFolder(client, folder).Destroy(ctx)
	if ferr = await(ctx, t, ferr); ferr != nil && gone(ferr) {
		ferr = nil
	}
	return errors.Join(perr, ferr)
}

// vimRefs are references to objects of a vCenter.
func (s *Server) vimRefs(tag string, vc *vcenter, typ string, morefs []string) *node {
	d := el(tag)
	for _, m := range morefs {
		add(d, s.vimObject("vmext:VimObjectRef", vc, m, typ))
	}
	return d
}

func storeType(d mo.Datastore) string { return strings.ToUpper(or(d.Summary.Type, "VMFS")) }
