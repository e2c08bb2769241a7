package vcenter

import (
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A view is what of a vmState the API shows.
type view struct {
	disks   []types.BaseVirtualDevice
	layers  []*layer
	layout  *types.VirtualMachineFileLayoutEx
	old     *types.VirtualMachineFileLayout
	snaps   *types.VirtualMachineSnapshotInfo
	roots   []types.ManagedObjectReference
	frozen  map[types.ManagedObjectReference]map[int32]*types.VirtualDisk
	kids    map[types.ManagedObjectReference][]types.ManagedObjectReference
	storage []types.VirtualMachineUsageOnDatastore
	pending bool

	tools    string
	toolsRun bool
}

// publish brings vcsim's objects in line with vs. Whatever clients may still
// be reading is replaced, never changed.
func (s *Server) publish(ctx *simulator.Context, vs *vmState) error {
	vm, err := s.vm(vs.ref)
	if err != nil {
		return err
	}
	var vmx string
	ctx.WithLock(vm, func() { vmx = vm.Config.Files.VmPathName })
	home, err := parseDS(vmx)
	if err != nil {
		return err
	}
	vs.io.RLock()
	v := s.look(vs, home)
	vs.io.RUnlock()
	s.joinDatastores(ctx, vm, v)
	ctx.WithLock(vm, func() { s.show(ctx, vm, v) })
	for ref, disks := range v.frozen {
		if snap, ok := s.model.Map().Get(ref).(*simulator.VirtualMachineSnapshot); ok {
			ctx.WithLock(snap, func() { showSnapshot(ctx, snap, disks, v.kids[ref]) })
		}
	}
	s.account(ctx, v.layers...)
	return nil
}

func showSnapshot(ctx *simulator.Context, snap *simulator.VirtualMachineSnapshot, disks map[int32]*types.VirtualDisk, kids []types.ManagedObjectReference) {
	devices := slices.Clone(snap.Config.Hardware.Device)
	for i, d := range devices {
		if disk := disks[deviceKey(d)]; disk != nil && isDisk(d) {
			devices[i] = disk
		}
	}
	snap.Config.Hardware.Device = devices
	ctx.Update(snap, []types.PropertyChange{{Name: "childSnapshot", Val: kids}})
}

// joinDatastores puts the VM on the lists of the datastores that hold
// something of it.
func (s *Server) joinDatastores(ctx *simulator.Context, vm *simulator.VirtualMachine, v *view) {
	var known []types.ManagedObjectReference
	ctx.WithLock(vm, func() { known = slices.Clone(vm.Datastore) })
	for _, u := range v.storage {
		ds, ok := s.model.Map().Get(u.Datastore).(*simulator.Datastore)
		if !ok || slices.Contains(known, u.Datastore) {
			continue
		}
		s.space.Lock()
		ctx.Map.AddReference(ctx, ds, &ds.Vm, vm.Self)
		s.space.Unlock()
	}
}

func (s *Server) show(ctx *simulator.Context, vm *simulator.VirtualMachine, v *view) {
	devices := withControllers(append(withoutDisks(vm.Config.Hardware.Device), v.disks...))
	now := time.Now()
	summary := &types.VirtualMachineStorageSummary{Timestamp: now}
	var stores []types.ManagedObjectReference
	for _, u := range v.storage {
		summary.Committed += u.Committed
		summary.Uncommitted += u.Uncommitted
		summary.Unshared += u.Unshared
		stores = append(stores, u.Datastore)
	}
	changes := []types.PropertyChange{
		{Name: "config.hardware.device", Val: devices},
		{Name: "config.changeVersion", Val: strconv.FormatInt(now.UnixNano(), 10)},
		{Name: "config.modified", Val: now},
		{Name: "summary.config.numVirtualDisks", Val: int32(len(v.disks))},
		{Name: "layoutEx", Val: v.layout},
		{Name: "layout", Val: v.old},
		{Name: "storage", Val: &types.VirtualMachineStorageInfo{PerDatastoreUsage: v.storage, Timestamp: now}},
		{Name: "summary.storage", Val: summary},
		{Name: "datastore", Val: stores},
		{Name: "runtime.consolidationNeeded", Val: v.pending},
		{Name: "summary.runtime.consolidationNeeded", Val: v.pending},
		{Name: "capability.changeTrackingSupported", Val: true},
	}
	changes = append(changes, toolsChanges(v)...)
	if v.snaps == nil {
		changes = append(changes, types.PropertyChange{Name: "snapshot"}, types.PropertyChange{Name: "rootSnapshot"})
	} else {
		changes = append(changes,
			types.PropertyChange{Name: "snapshot", Val: v.snaps},
			types.PropertyChange{Name: "rootSnapshot", Val: v.roots})
	}
	ctx.Update(vm, changes)
}

// look computes the view; vs.io is held for reading.
func (s *Server) look(vs *vmState, home dsPath) *view {
	v := &view{
		frozen:  map[types.ManagedObjectReference]map[int32]*types.VirtualDisk{},
		kids:    map[types.ManagedObjectReference][]types.ManagedObjectReference{},
		pending: vs.pending, tools: vs.tools, toolsRun: vs.toolsRun(),
	}
	for _, key := range vs.diskKeys() {
		d := vs.disks[key]
		id := ""
		if d.tracker != nil {
			id = d.tracker.changeID()
		}
		v.disks = append(v.disks, s.render(d.device, d.top, d.mode, id))
	}
	if len(vs.roots) > 0 {
		v.snaps = &types.VirtualMachineSnapshotInfo{RootSnapshotList: tree(vs.ref, vs.roots)}
		if vs.current != nil {
			ref := vs.current.ref
			v.snaps.CurrentSnapshot = &ref
		}
		for _, r := range vs.roots {
			v.roots = append(v.roots, r.ref)
		}
	}
	for ref, snap := range vs.snaps {
		v.frozen[ref] = map[int32]*types.VirtualDisk{}
		for key, d := range snap.disks {
			v.frozen[ref][key] = s.render(d.device, d.layer, d.mode, d.changeID)
		}
		for _, c := range snap.children {
			v.kids[ref] = append(v.kids[ref], c.ref)
		}
	}
	s.layout(vs, v, home)
	return v
}

func tree(vm types.ManagedObjectReference, list []*snapshot) []types.VirtualMachineSnapshotTree {
	var out []types.VirtualMachineSnapshotTree
	for _, n := range list {
		out = append(out, types.VirtualMachineSnapshotTree{
			Snapshot: n.ref, Vm: vm, Name: n.name, Description: n.about, Id: n.id, CreateTime: n.created,
			State: n.state, Quiesced: n.quiesced, ReplaySupported: types.NewBool(false),
			ChildSnapshotList: tree(vm, n.children),
		})
	}
	return out
}

// layout lists the files of a VM.
func (s *Server) layout(vs *vmState, v *view, home dsPath) {
	l := &layoutBuilder{s: s, v: v, ex: &types.VirtualMachineFileLayoutEx{Timestamp: time.Now()},
		keys: map[string]int32{}, seen: map[*layer]bool{}, usage: map[string]*types.VirtualMachineUsageOnDatastore{}}
	l.unmade = s.unmadeSizes(vs)
	old := &types.VirtualMachineFileLayout{}
	dir := home.dir()
	l.small(home, "config")
	l.small(dir.join(strings.TrimSuffix(home.base(), path.Ext(home.base()))+".nvram"), "nvram")
	l.small(dir.join("vmware.log"), "log")
	for _, key := range vs.diskKeys() {
		top := vs.disks[key].top
		a, b := l.chain(key, top)
		l.ex.Disk, old.Disk = append(l.ex.Disk, a), append(old.Disk, b)
		root := top.root()
		l.usage[top.file.datastore].Uncommitted += max(root.capacity()-root.written(), 0)
	}
	for _, n := range sortedSnapshots(vs) {
		shot := types.VirtualMachineFileLayoutExSnapshotLayout{Key: n.ref, DataKey: l.small(n.memory, "snapshotData"), MemoryKey: -1}
		files := []string{n.memory.String()}
		for _, key := range slices.Sorted(maps.Keys(n.disks)) {
			a, b := l.chain(key, n.disks[key].layer)
			shot.Disk = append(shot.Disk, a)
			files = append(files, b.DiskFile...)
		}
		l.ex.Snapshot = append(l.ex.Snapshot, shot)
		old.Snapshot = append(old.Snapshot, types.VirtualMachineFileLayoutSnapshotLayout{Key: n.ref, SnapshotFile: files})
	}
	v.layout, v.old = l.ex, old
	for _, d := range s.cfg.Datastores {
		if u := l.usage[d.Name]; u != nil {
			v.storage = append(v.storage, *u)
		}
	}
}

// A layoutBuilder numbers the files of a VM and sums what they take.
type layoutBuilder struct {
	s     *Server
	v     *view
	ex    *types.VirtualMachineFileLayoutEx
	keys  map[string]int32
	seen  map[*layer]bool
	usage map[string]*types.VirtualMachineUsageOnDatastore // by datastore

	unmade map[dsPath]int64 // sizes of files that are not there yet
}

func (l *layoutBuilder) add(p dsPath, kind string, size int64) int32 {
	if k, ok := l.keys[p.String()]; ok {
		return k
	}
	k := int32(len(l.ex.File))
	l.keys[p.String()] = k
	l.ex.File = append(l.ex.File, types.VirtualMachineFileLayoutExFileInfo{
		Key: k, Name: p.String(), Type: kind, Size: size, UniqueSize: size, Accessible: types.NewBool(true),
	})
	u := l.usage[p.datastore]
	if u == nil {
		u = &types.VirtualMachineUsageOnDatastore{}
		if ds := l.s.inv.datastores[p.datastore]; ds != nil {
			u.Datastore = ds.Self
		}
		l.usage[p.datastore] = u
	}
	u.Committed += size
	u.Unshared += size
	return k
}

// small adds a file whose size is its length, if it is there.
func (l *layoutBuilder) small(p dsPath, kind string) int32 {
	if size, ok := l.unmade[p]; ok {
		return l.add(p, kind, size)
	}
	if l.s.store.dirs[p.datastore] == "" {
		return -1
	}
	fi, err := os.Stat(l.s.store.host(p))
	if err != nil {
		return -1
	}
	return l.add(p, kind, fi.Size())
}

// chain adds the files of a disk, the base first.
func (l *layoutBuilder) chain(key int32, top *layer) (types.VirtualMachineFileLayoutExDiskLayout, types.VirtualMachineFileLayoutDiskLayout) {
	a := types.VirtualMachineFileLayoutExDiskLayout{Key: key}
	b := types.VirtualMachineFileLayoutDiskLayout{Key: key}
	for t := top; t != nil; t = t.parent {
		if !l.seen[t] {
			l.seen[t] = true
			l.v.layers = append(l.v.layers, t)
		}
		a.Chain = slices.Insert(a.Chain, 0, types.VirtualMachineFileLayoutExDiskUnit{FileKey: []int32{
			l.small(t.file, "diskDescriptor"),
			l.add(t.file.dir().join(t.extentName()), "diskExtent", t.written()),
		}})
		b.DiskFile = slices.Insert(b.DiskFile, 0, t.file.String())
	}
	return a, b
}

func sortedSnapshots(vs *vmState) []*snapshot {
	var out []*snapshot
	for _, n := range vs.snaps {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *snapshot) int { return int(a.id - b.id) })
	return out
}
