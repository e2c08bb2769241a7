package director

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// A vcenter is a registered vCenter and the session kept with it.
type vcenter struct {
	thing
	cfg VCenter

	mu      sync.Mutex                              // of what follows; never held with the server's
	client  *vim25.Client                           `graph:"-"`
	about   types.AboutInfo                         `graph:"-"`
	stores  map[string]types.ManagedObjectReference `graph:"-"` // datastores by name
	names   map[types.ManagedObjectReference]string `graph:"-"` // of datastores, hosts, networks
	storage []mo.Datastore                          `graph:"-"`
	places  map[string]types.ManagedObjectReference `graph:"-"` // see placed
}

// uuid is the vCenter's instance UUID.
func (vc *vcenter) uuid() string {
	vc.mu.Lock()
	defer vc.mu.Unlock()
	return vc.about.InstanceUuid
}

// addVCenter connects to a vCenter. One that was there before the restart may
// answer at another address by now.
func (s *Server) addVCenter(c VCenter) error {
	vc := s.vcenters[c.ID] // by the name where nobody chose an id
	if vc == nil && s.restored {
		vc = s.vcenterNamed(c.Name)
	}
	if vc == nil {
		vc = &vcenter{thing: thing{id: idOr(c.ID), name: c.Name, seq: s.next()}}
	}
	vc.cfg = c
	// Names are asked for once: after a restart too nothing has a moref
	// where it had a name.
	if err := vc.learn(s.ctx); err != nil {
		return err
	}
	s.vcenters[vc.id] = vc
	s.addImplicitPVDC(vc)
	return nil
}

// connect is the client, logged in. A session that has ended is made anew.
func (vc *vcenter) connect(ctx context.Context) (*vim25.Client, error) {
	vc.mu.Lock()
	defer vc.mu.Unlock()
	if vc.client != nil {
		u, err := session.NewManager(vc.client).UserSession(ctx)
		if err == nil && u != nil {
			return vc.client, nil
		}
	}
	u, err := soap.ParseURL(vc.cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	u.User = url.UserPassword(vc.cfg.User, vc.cfg.Password)
	sc := soap.NewClient(u, vc.cfg.RootCAs == nil)
	if vc.cfg.RootCAs != nil {
		sc.DefaultTransport().TLSClientConfig = &tls.Config{RootCAs: vc.cfg.RootCAs, MinVersion: tls.VersionTLS12}
	}
	client, err := vim25.NewClient(ctx, sc)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := session.NewManager(client).Login(ctx, u.User); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	vc.client, vc.about = client, client.ServiceContent.About
	return client, nil
}

func (vc *vcenter) logout() {
	vc.mu.Lock()
	defer vc.mu.Unlock()
	if vc.client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// The vCenter may be gone already, and with it the session.
	_ = session.NewManager(vc.client).Logout(ctx)
	vc.client = nil
}

// learn reads the names and morefs of datastores, hosts and networks.
func (vc *vcenter) learn(ctx context.Context) error {
	c, err := vc.connect(ctx)
	if err != nil {
		return err
	}
	f := find.NewFinder(c)
	dcs, err := f.DatacenterList(ctx, "*")
	if err != nil {
		return fmt.Errorf("datacenters: %w", err)
	}
	stores, names := map[string]types.ManagedObjectReference{}, map[types.ManagedObjectReference]string{}
	var storage []mo.Datastore
	for _, dc := range dcs {
		f.SetDatacenter(dc)
		ds, err := f.DatastoreList(ctx, "*")
		if err != nil {
			return fmt.Errorf("datastores: %w", err)
		}
		for _, d := range ds {
			stores[d.Name()], names[d.Reference()] = d.Reference(), d.Name()
			var m mo.Datastore
			if err := d.Properties(ctx, d.Reference(), []string{"summary"}, &m); err == nil {
				storage = append(storage, m)
			}
		}
		hosts, err := f.HostSystemList(ctx, "*")
		if err != nil {
			return fmt.Errorf("hosts: %w", err)
		}
		for _, h := range hosts {
			names[h.Reference()] = h.Name()
		}
	}
	vc.mu.Lock()
	defer vc.mu.Unlock()
	vc.stores, vc.names, vc.storage = stores, names, storage
	return nil
}

// datastore is the moref of a datastore, and known whether it exists.
func (vc *vcenter) datastore(ctx context.Context, name string) (types.ManagedObjectReference, bool) {
	for range 2 {
		vc.mu.Lock()
		ref, ok := vc.stores[name]
		vc.mu.Unlock()
		if ok {
			return ref, true
		}
		if vc.learn(ctx) != nil {
			break
		}
	}
	return types.ManagedObjectReference{}, false
}

// nameOf is the name of a datastore or host, its moref when unknown.
func (vc *vcenter) nameOf(ref types.ManagedObjectReference) string {
	vc.mu.Lock()
	defer vc.mu.Unlock()
	return or(vc.names[ref], ref.Value)
}

// place resolves the resource pool and folder of a VDC.
func (vc *vcenter) place(ctx context.Context, pool, folder string) (p, f types.ManagedObjectReference, err error) {
	c, err := vc.connect(ctx)
	if err != nil {
		return p, f, err
	}
	if p, f, ok := vc.placed(ctx, c, pool, folder); ok {
		return p, f, nil
	}
	fd := find.NewFinder(c)
	dcs, err := fd.DatacenterList(ctx, "*")
	if err != nil {
		return p, f, fmt.Errorf("datacenters: %w", err)
	}
	fd.SetDatacenter(dcs[0])
	if strings.HasPrefix(pool, "resgroup-") {
		p = types.ManagedObjectReference{Type: "ResourcePool", Value: pool}
	} else {
		pools, err := fd.ResourcePoolList(ctx, or(pool, "*/Resources"))
		if err != nil {
			return p, f, fmt.Errorf("resource pool %s: %w", pool, err)
		}
		p = pools[0].Reference()
	}
	switch {
	case folder == "":
		fs, err := dcs[0].Folders(ctx)
		if err != nil {
			return p, f, fmt.Errorf("folders: %w", err)
		}
		f = fs.VmFolder.Reference()
	case strings.HasPrefix(folder, "group-") || strings.HasPrefix(folder, "folder-"):
		f = types.ManagedObjectReference{Type: "Folder", Value: folder}
	default:
		got, err := fd.Folder(ctx, folder)
		if err != nil {
			return p, f, fmt.Errorf("folder %s: %w", folder, err)
		}
		f = got.Reference()
	}
	return p, f, nil
}

// placed finds a resource pool and a folder by names that only one has. The
// finder would list all VMs of a folder on its way, and for each of hundreds of
// VDCs all pools.
func (vc *vcenter) placed(ctx context.Context, c *vim25.Client, pool, folder string) (p, f types.ManagedObjectReference, ok bool) {
	if pool == "" || folder == "" {
		return p, f, false
	}
	for range 2 {
		vc.mu.Lock()
		p, f = vc.places["ResourcePool "+pool], vc.places["Folder "+folder]
		vc.mu.Unlock()
		if p.Value != "" && f.Value != "" {
			return p, f, true
		}
		if places, err := listPlaces(ctx, c); err == nil {
			vc.mu.Lock()
			vc.places = places
			vc.mu.Unlock()
		}
	}
	return p, f, false
}

// listPlaces are all resource pools and folders by type and name; the zero
// reference where two have one name.
func listPlaces(ctx context.Context, c *vim25.Client) (map[string]types.ManagedObjectReference, error) {
	kinds := []string{"ResourcePool", "Folder"}
	v, err := view.NewManager(c).CreateContainerView(ctx, c.ServiceContent.RootFolder, kinds, true)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	defer func() { _ = v.Destroy(context.WithoutCancel(ctx)) }()
	var all []mo.ManagedEntity
	if err := v.Retrieve(ctx, kinds, []string{"name"}, &all); err != nil {
		return nil, fmt.Errorf("places: %w", err)
	}
	out := map[string]types.ManagedObjectReference{}
	for _, e := range all {
		key, ref := e.Self.Type+" "+e.Name, e.Self
		if _, twice := out[key]; twice {
			ref = types.ManagedObjectReference{}
		}
		out[key] = ref
	}
	return out, nil
}

// datacenter is the first datacenter, which vCD uses.
func (vc *vcenter) datacenter(ctx context.Context) (*object.Datacenter, error) {
	client, err := vc.connect(ctx)
	if err != nil {
		return nil, err
	}
	dcs, err := find.NewFinder(client).DatacenterList(ctx, "*")
	if err != nil {
		return nil, fmt.Errorf("datacenters: %w", err)
	}
	return dcs[0], nil
}

// alreadyThere tells the fault of a file that exists.
func alreadyThere(err error) bool {
	var f *types.FileAlreadyExists
	_, is := fault.As(err, &f)
	return is
}

// vmRef is a VM's moref as govmomi wants it.
func vmRef(moref string) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "VirtualMachine", Value: moref}
}

func (vc *vcenter) vm(ctx context.Context, moref string) (*object.VirtualMachine, error) {
	c, err := vc.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("vCenter %s: %w", vc.name, err)
	}
	return object.NewVirtualMachine(c, vmRef(moref)), nil
}

// factsProps is what a VM's documents are made of.
var factsProps = []string{"name", "config", "runtime", "snapshot", "datastore", "layoutEx", "parent", "resourcePool"}

// read retrieves the facts of VMs. One that is gone is absent from the answer.
func (vc *vcenter) read(ctx context.Context, morefs []string) (map[string]*facts, error) {
	out := map[string]*facts{}
	if len(morefs) == 0 {
		return out, nil
	}
	c, err := vc.connect(ctx)
	if err != nil {
		return nil, err
	}
	refs := make([]types.ManagedObjectReference, len(morefs))
	for i, m := range morefs {
		refs[i] = vmRef(m)
	}
	got, err := readAll(ctx, c, refs)
	if err != nil {
		return nil, err
	}
	for i := range got {
		if f := newFacts(&got[i]); f != nil {
			f.storeNames(ctx, vc)
			out[got[i].Self.Value] = f
		}
	}
	return out, nil
}

// readAll reads the VMs in one call, and one by one when one of them is gone:
// the property collector answers nothing at all then.
func readAll(ctx context.Context, c *vim25.Client, refs []types.ManagedObjectReference) ([]mo.VirtualMachine, error) {
	pc := property.DefaultCollector(c)
	var got []mo.VirtualMachine
	err := pc.Retrieve(ctx, refs, factsProps, &got)
	if err == nil || len(refs) == 1 && gone(err) {
		return got, nil
	}
	if !gone(err) {
		return nil, fmt.Errorf("read VMs: %w", err)
	}
	half := len(refs) / 2
	a, err := readAll(ctx, c, refs[:half])
	if err != nil {
		return nil, err
	}
	b, err := readAll(ctx, c, refs[half:])
	return append(a, b...), err
}

// gone tells the fault of an object that does not exist any more.
func gone(err error) bool {
	if soap.IsSoapFault(err) {
		_, ok := soap.ToSoapFault(err).VimFault().(types.ManagedObjectNotFound)
		return ok
	}
	if soap.IsVimFault(err) {
		_, ok := soap.ToVimFault(err).(*types.ManagedObjectNotFound)
		return ok
	}
	return false
}

func (vc *vcenter) version() string {
	vc.mu.Lock()
	defer vc.mu.Unlock()
	return vc.about.Version
}

// datastores reads the datastores anew. The server's mutex is held before and
// after, but not meanwhile.
func (vc *vcenter) datastores(ctx context.Context, s *Server) []mo.Datastore {
	s.mu.Unlock()
	defer s.mu.Lock()
	if err := vc.learn(ctx); err != nil {
		return nil
	}
	vc.mu.Lock()
	defer vc.mu.Unlock()
	return vc.storage
}

// datastoreID is a UUID that stays the same for a datastore.
func datastoreID(vc *vcenter, moref string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(vc.id+"/"+moref)).String()
}
