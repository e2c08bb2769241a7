package director

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// chainLimit is how many files deep the disks of linked clones go (vCloud
// Architecture Toolkit 3.1, "Fast Provisioning": the linked clone depth limit
// is 31 by default).
const chainLimit = 31

// linkName is what vCenter shows of the snapshots that linked clones are made of.
const linkName = "linked-clone-base"

// A shadowVM is a full copy of a template's VM, on a datastore that linked
// clones of it are to be on. Users do not see it.
type shadowVM struct {
	thing
	moref  string
	store  string // datastore
	frozen string // moref of the snapshot that clones are made of
}

// copyVM makes m's VM a copy of another one of the cloud. Where the VDC has fast
// provisioning that is a linked clone, which must lie on the original's
// datastore: elsewhere, and where the chain would get too long, templates get a
// shadow VM, and other VMs are copied in full (Tenant Guide, "Fast Provisioning
// of Virtual Machines"). Whether a body wants a linkedClone does not count.
func (s *Server) copyVM(ctx context.Context, m, from *vm) error {
	s.mu.Lock()
	v, p, t := s.vdcs[m.vapp.vdc], s.profiles[m.profile], m.vapp.template
	// What comes from another catalog comes as a package.
	fast := v.fast && (t == nil || t.item == nil || t.item.source == "")
	s.mu.Unlock()
	if !fast {
		return s.clone(ctx, m, from.moref)
	}
	got, err := from.vc.read(ctx, []string{from.moref})
	if err != nil {
		return err
	}
	f := got[from.moref]
	if f == nil || f.independent() {
		return s.clone(ctx, m, from.moref) // no snapshot holds such disks
	}
	store := f.onlyStore()
	here := store != "" && (p == nil || len(p.datastores) == 0 || slices.Contains(p.datastores, store))
	switch {
	case here && f.chain+1 <= chainLimit, here && f.has(from.frozen) && f.chain <= chainLimit:
		return s.link(ctx, m, from, f.onlyStore())
	case from.vapp.template == nil:
		return s.clone(ctx, m, from.moref)
	}
	sh, err := s.shadowOf(ctx, from, p, store)
	if err != nil {
		return fmt.Errorf("shadow VM: %w", err)
	}
	return s.linkTo(ctx, m, sh.moref, sh.frozen, sh.store)
}

// link makes a linked clone of a VM. Of a template one snapshot serves all
// clones; another VM goes on with a delta of its own and no snapshot.
func (s *Server) link(ctx context.Context, m, from *vm, store string) error {
	if from.vapp.template != nil {
		snap, err := s.frozenBase(ctx, from)
		if err != nil {
			return err
		}
		return s.linkTo(ctx, m, from.moref, snap, store)
	}
	snap, err := from.vc.freeze(ctx, from.moref)
	if err != nil {
		return err
	}
	err = s.linkTo(ctx, m, from.moref, snap, store)
	after, end := past(ctx)
	defer end()
	// What clones lie on stays where it is.
	if terr := from.vc.thaw(after, from.moref, snap); err == nil {
		err = terr
	}
	return err
}

// frozenBase is the snapshot of a template's VM that its clones are made of,
// taken when there is none yet, or none any more.
func (s *Server) frozenBase(ctx context.Context, from *vm) (string, error) {
	defer s.linking(from)()
	got, err := from.vc.read(ctx, []string{from.moref})
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	snap := from.frozen
	s.mu.Unlock()
	if f := got[from.moref]; f != nil && f.has(snap) {
		return snap, nil
	}
	if snap, err = from.vc.freeze(ctx, from.moref); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from.frozen = snap
	return snap, nil
}

// linking keeps others from making what the clones of a template's VM share,
// until its result is called: many may be made of it at the same time.
func (s *Server) linking(from *vm) (end func()) {
	mu, _ := s.bases.LoadOrStore(from.id, new(sync.Mutex))
	mu.(*sync.Mutex).Lock()
	return mu.(*sync.Mutex).Unlock
}

// linkTo makes m's VM a linked clone of a snapshot.
func (s *Server) linkTo(ctx context.Context, m *vm, source, snap, store string) error {
	s.mu.Lock()
	v := s.vdcs[m.vapp.vdc]
	s.mu.Unlock()
	ds, known := m.vc.datastore(ctx, store)
	if !known {
		return fmt.Errorf("linked clone: no datastore %s", store)
	}
	ref, err := m.vc.cloneVM(ctx, source, v.folder, marked(m.name, m.id), types.VirtualMachineCloneSpec{
		Location: types.VirtualMachineRelocateSpec{Pool: &v.pool, Folder: &v.folder, Datastore: &ds,
			DiskMoveType: string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking)},
		Snapshot: &types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: snap},
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.moref = ref
	return nil
}

// shadowOf is the shadow of a template's VM on a datastore of a profile; it is
// made when there is none yet. One on the VM's own datastore stands in for a
// chain that has got too long.
func (s *Server) shadowOf(ctx context.Context, from *vm, p *profile, own string) (*shadowVM, error) {
	defer s.linking(from)()
	store := own
	if p != nil && len(p.datastores) > 0 {
		store = p.datastores[0]
	}
	s.mu.Lock()
	for _, sh := range from.shadows {
		if sh.store == store || p != nil && slices.Contains(p.datastores, sh.store) {
			s.mu.Unlock()
			return sh, nil
		}
	}
	v, sh := s.vdcs[from.vapp.vdc], &shadowVM{thing: thing{id: newID(), name: from.name + "-shadow", seq: s.next()}, store: store}
	s.mu.Unlock()
	ds, known := from.vc.datastore(ctx, store)
	if !known {
		return nil, fmt.Errorf("no datastore %q", store)
	}
	var err error
	sh.moref, err = from.vc.cloneVM(ctx, from.moref, v.folder, marked(sh.name, sh.id), types.VirtualMachineCloneSpec{
		Location: types.VirtualMachineRelocateSpec{Pool: &v.pool, Folder: &v.folder, Datastore: &ds},
		Config: &types.VirtualMachineConfigSpec{
			ManagedBy:   &types.ManagedByInfo{ExtensionKey: extensionKey, Type: "VirtualMachine"},
			ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: markKey, Value: sh.id}},
		},
	})
	if err != nil {
		return nil, err
	}
	if sh.frozen, err = from.vc.freeze(ctx, sh.moref); err != nil {
		return nil, from.vc.unmake(ctx, sh.moref, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from.shadows = append(from.shadows, sh)
	return sh, nil
}

// dropShadows destroys the shadows of a template's VM. The disks that clones
// lie on outlive them.
func (s *Server) dropShadows(ctx context.Context, m *vm) error {
	s.mu.Lock()
	list := m.shadows
	m.shadows = nil
	s.mu.Unlock()
	for _, sh := range list {
		if err := m.vc.destroy(ctx, sh.moref); err != nil {
			return fmt.Errorf("shadow VM %s: %w", sh.name, err)
		}
	}
	s.bases.Delete(m.id)
	return nil
}

// destroy deletes a VM in vCenter; one that is gone already is no error.
func (vc *vcenter) destroy(ctx context.Context, moref string) error {
	obj, err := vc.vm(ctx, moref)
	if err != nil {
		return err
	}
	t, err := obj.Destroy(ctx)
	if err := await(ctx, t, err); err != nil && !gone(err) {
		return fmt.Errorf("destroy: %w", err)
	}
	return nil
}

// independent tells whether a disk is left out of snapshots.
func (f *facts) independent() bool {
	for _, d := range f.disks() {
		if b, is := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo); !is || b.DiskMode != "" && b.DiskMode != string(types.VirtualDiskModePersistent) {
			return true
		}
	}
	return false
}

// onlyStore is the datastore that all disks lie on; "" where they are on
// several.
func (f *facts) onlyStore() string {
	name := f.homeName
	for _, ref := range f.diskStores {
		if f.storeName[ref] != name && ref != f.home {
			return ""
		}
	}
	return name
}

// has tells whether the VM has a snapshot.
func (f *facts) has(snap string) bool {
	return snap != "" && findSnapshot(f.snapshotRoots, types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: snap}) != nil
}

// freeze takes the snapshot that linked clones are made of.
func (vc *vcenter) freeze(ctx context.Context, moref string) (string, error) {
	obj, err := vc.vm(ctx, moref)
	if err != nil {
		return "", err
	}
	snap, err := produce(ctx, func(ctx context.Context) (*object.Task, error) {
		return obj.CreateSnapshot(ctx, linkName, "", false, false)
	}, func(ctx context.Context, snap string) error { return vc.thaw(ctx, moref, snap) })
	if err != nil {
		return "", fmt.Errorf("freeze: %w", err)
	}
	return snap, nil
}

// thaw removes it.
func (vc *vcenter) thaw(ctx context.Context, moref, snap string) error {
	obj, err := vc.vm(ctx, moref)
	if err != nil {
		return err
	}
	t, err := obj.RemoveSnapshot(ctx, snap, false, nil)
	if err := await(ctx, t, err); err != nil {
		return fmt.Errorf("thaw: %w", err)
	}
	return nil
}

// cloneVM copies a VM in vCenter and returns the copy's moref.
func (vc *vcenter) cloneVM(ctx context.Context, source string, folder types.ManagedObjectReference, name string, spec types.VirtualMachineCloneSpec) (string, error) {
	obj, err := vc.vm(ctx, source)
	if err != nil {
		return "", err
	}
	moref, err := produce(ctx, func(ctx context.Context) (*object.Task, error) {
		return obj.Clone(ctx, object.NewFolder(obj.Client(), folder), name, spec)
	}, vc.destroy)
	if err != nil {
		return "", fmt.Errorf("clone: %w", err)
	}
	return moref, nil
}

func (s *Server) shadowHref(sh *shadowVM) string { return s.href("/api/shadowVm/vm-" + sh.id) }

// getShadows lists the shadows of a template's VMs.
func (c *call) getShadows() (*answer, error) {
	a, _, err := c.target()
	if err != nil {
		return nil, err
	}
	d := el("References", "href", c.s.vappHref(a)+"/shadowVms", "type", mediaVCloud+"query.references+xml")
	for _, m := range a.vms {
		for _, sh := range m.shadows {
			add(d, el("Reference", "href", c.s.shadowHref(sh), "name", sh.name, "type", mediaVCloud+"vm+xml"))
		}
	}
	return ok(mediaVCloud+"query.references", d), nil
}

// shadowRecords are the shadows of all templates' VMs.
func (c *call) shadowRecords() []*record {
	s := c.s
	var out []*record
	for _, m := range sorted(s.vms) {
		t := m.vapp.template
		if t == nil {
			continue
		}
		catalog, owner := "", m.vapp.owner
		if t.item != nil {
			catalog = t.item.catalog.name
		}
		for _, sh := range m.shadows {
			out = append(out, &record{tag: "AdminShadowVMRecord", attrs: []string{"href", s.shadowHref(sh), "name", sh.name,
				"isPublished", yes(t.item != nil && t.item.catalog.published), "primaryVmName", m.name, "primaryVAppTemplate", s.vappHref(m.vapp),
				"primaryVAppName", m.vapp.name, "datastoreName", sh.store, "vcName", m.vc.name, "isDeleted", "false", "status", "POWERED_OFF", "isBusy", "false",
				"primaryVMOwner", s.href("/api/admin/user/" + owner), "primaryVM", s.vmHref(m), "primaryVMCatalog", catalog,
				"org", s.href("/api/org/" + s.orgOf(m.vapp).id)}})
		}
	}
	return out
}
