package vcenter

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// ErrOtherInventory is returned by Start when the state that was kept is not
// of the server that Config describes.
var ErrOtherInventory = errors.New("the state was kept of another inventory")

// ErrState is returned by Start when the state that was kept cannot be read.
var ErrState = errors.New("the state is damaged")

// recall reads the state that an earlier server kept, and makes the
// configuration build the same objects as then; what is new in it is added
// later.
func (s *Server) recall() (*stateFile, *metaRecord, error) {
	if s.cfg.StateDir == "" {
		return nil, nil, nil
	}
	s.keeper = &keeper{dirty: map[types.ManagedObjectReference]bool{}}
	old, err := loadState(s.cfg.StateDir)
	if old == nil || err != nil {
		return nil, nil, err
	}
	m := new(metaRecord)
	if err := json.Unmarshal(old.records["meta"], m); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	c := &s.cfg
	c.InstanceUUID = cmp.Or(c.InstanceUUID, m.InstanceUUID)
	var stores []string
	for _, d := range c.Datastores {
		stores = append(stores, d.Name)
	}
	for _, x := range []struct{ what, was, is string }{
		{"instance UUID", m.InstanceUUID, c.InstanceUUID}, {"name", m.Name, c.Name}, {"datacenter", m.Datacenter, c.Datacenter},
		{"cluster", m.Cluster, c.Cluster}, {"hosts", strconv.Itoa(m.Hosts), strconv.Itoa(c.Hosts)},
		{"datastores", strings.Join(m.Datastores, ", "), strings.Join(stores, ", ")},
	} {
		if x.was != x.is {
			return nil, nil, fmt.Errorf("%w: its %s: %s, now %s", ErrOtherInventory, x.what, x.was, x.is)
		}
	}
	if len(m.Networks) == 0 && len(c.Networks) > 0 {
		return nil, nil, fmt.Errorf("%w: it had no switch for networks", ErrOtherInventory)
	}
	return old, m, nil
}

// rebuild builds the inventory, from a state where there is one.
func (s *Server) rebuild(old *stateFile, m *metaRecord) error {
	want := s.cfg
	if m != nil {
		s.cfg.Networks, s.cfg.ResourcePools = m.Networks, m.Pools
	}
	if err := s.build(); err != nil {
		return err
	}
	s.describe()
	if m != nil {
		if !maps.Equal(m.Built, s.built.Built) {
			return fmt.Errorf("%w: objects have other names", ErrOtherInventory)
		}
		r := &restorer{s: s, ctx: s.newContext(), old: old, meta: m}
		if err := r.restore(); err != nil {
			return fmt.Errorf("%w: restore: %w", ErrState, err)
		}
	}
	s.cfg = want
	if s.keeper == nil {
		return nil
	}
	if err := s.keep(old); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if m == nil {
		return nil
	}
	s.keeper.restored = true
	return s.buildMissing(s.newContext())
}

// buildMissing adds what the configuration has gained.
func (s *Server) buildMissing(ctx *simulator.Context) error {
	for _, name := range s.cfg.Networks {
		if s.inv.networks[name] != nil {
			continue
		}
		for _, e := range s.model.Map().All("DistributedVirtualSwitch") {
			if dvs, ok := e.(*simulator.DistributedVirtualSwitch); ok {
				if err := s.addPortgroup(ctx, dvs, name); err != nil {
					return fmt.Errorf("network %s: %w", name, err)
				}
				break
			}
		}
	}
	for _, name := range s.cfg.ResourcePools {
		if _, err := s.pool(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// A restorer brings a server back to the state that was kept.
type restorer struct {
	s     *Server
	ctx   *simulator.Context
	old   *stateFile
	meta  *metaRecord
	batch *batch
	lists map[types.ManagedObjectReference][]types.ManagedObjectReference

	crashed []*vmState // of those that were never touched
}

func (r *restorer) restore() error {
	s := r.s
	s.built = *r.meta
	s.macSeq.Store(r.meta.MACs)
	r.lists = map[types.ManagedObjectReference][]types.ManagedObjectReference{}
	if err := r.objects(); err != nil {
		return err
	}
	if err := r.authorization(); err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	var err error
	s.direct.Lock()
	r.batch, err = s.newBatch()
	s.direct.Unlock()
	if err != nil {
		return err
	}
	for _, key := range numerically(r.old.records, "vm/") {
		if err := r.vm(key); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	r.batch.insert()
	r.batch.count()
	for _, vs := range r.crashed {
		r.crash(vs)
	}
	for at, vms := range r.lists {
		s.listVMs(r.ctx, at, vms)
	}
	r.advance()
	s.taskSeq.Store(max(s.taskSeq.Load(), r.meta.Tasks))
	if err := r.publish(); err != nil {
		return err
	}
	return r.space()
}

// space has datastores count what lies on them beside the VMs' disks, and be
// as they were; it is last, because nothing may be put on a full one.
func (r *restorer) space() error {
	for name, dir := range r.s.store.dirs {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(path) != ".vmdk" {
				return nil
			}
			rel, err := filepath.Rel(dir, path)
			p := dsPath{name, filepath.ToSlash(rel)}
			if err != nil || r.s.store.forFile(p) != nil {
				return nil
			}
			// Deltas that nothing refers to must not hold their base.
			if d, err := readDescriptor(path); err == nil && d.parent == "" {
				_, _ = r.s.store.open(p)
			}
			return nil
		})
		r.s.refresh(name)
	}
	raw := r.old.records["space"]
	if raw == nil {
		return nil
	}
	var records map[string]spaceRecord
	if err := json.Unmarshal(raw, &records); err != nil {
		return fmt.Errorf("datastores: %w", err)
	}
	for name, u := range records {
		err := r.s.FillDatastore(name, u.Filled)
		if err == nil && u.State != "" {
			err = r.s.SetDatastoreState(name, u.State)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// advance lets no new object have the moref of one that was ever there.
func (r *restorer) advance() {
	reg := r.ctx.Map
	mark := &simulator.Folder{}
	mark.Self = types.ManagedObjectReference{Type: "Folder", Value: fmt.Sprintf("group-%d", max(r.meta.Counter, r.s.counter()))}
	reg.Put(mark)
	_ = reg.AlignCounter()
	reg.Remove(r.ctx, mark.Self)
}

// numerically lists the keys with a prefix in the order of their numbers.
func numerically(records map[string][]byte, prefix string) []string {
	number := func(key string) int64 {
		n, _ := strconv.ParseInt(key[strings.LastIndexByte(key, '-')+1:], 10, 64)
		return n
	}
	var keys []string
	for key := range records {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(number(a), number(b)), strings.Compare(a, b)) })
	return keys
}

// publish shows what came back, and what had to be given up.
func (r *restorer) publish() error {
	for _, vs := range r.s.states() {
		if vs.origin.Load() != nil {
			continue
		}
		if err := r.s.publish(r.ctx, vs); err != nil {
			return fmt.Errorf("%s: %w", vs.ref.Value, err)
		}
	}
	return nil
}

// vm brings one VM back.
func (r *restorer) vm(key string) error {
	var rec vmRecord
	if err := json.Unmarshal(r.old.records[key], &rec); err != nil {
		return err
	}
	// A VM that ran, or whose disks became newer than the record of them,
	// was not told that the server ends.
	crashed := !r.old.clean && rec.On || r.old.notes[key] > rec.Gen
	if o := rec.Origin; o != nil {
		if err := r.batch.add(o); err != nil {
			return err
		}
		vs := r.batch.vms[len(r.batch.vms)-1].vs
		for _, l := range vs.unmade.layers {
			l.unmade.Store(!there(l.descriptorPath()))
		}
		vs.gen = r.old.notes[key]
		vs.unmade.made.Store(there(r.s.store.host(vs.unmade.home)))
		if crashed {
			r.crashed = append(r.crashed, vs)
		}
		return nil
	}
	return r.touchedVM(&rec, crashed, r.old.notes[key])
}

// crash makes the change tracking of a VM's disks begin anew, as a host does
// that finds a disk's tracking file not closed.
func (r *restorer) crash(vs *vmState) {
	for _, d := range vs.disks {
		if d.tracker != nil {
			d.tracker = newTracker(0)
			vs.origin.Store(nil)
			r.s.keeper.mark(vs.ref)
		}
	}
}

// touchedVM brings back a VM that is more than its origin.
func (r *restorer) touchedVM(rec *vmRecord, crashed bool, noted uint64) error {
	s := r.s
	vm := new(simulator.VirtualMachine)
	*vm = *r.batch.model
	vm.VirtualMachine = mo.VirtualMachine{}
	if err := decodeVim(rec.Object, &vm.VirtualMachine); err != nil {
		return err
	}
	vm.RecentTask, vm.DataSets = nil, map[string]*simulator.DataSet{}
	if vm.Config == nil || vm.Parent == nil || vm.Runtime.Host == nil {
		return errors.New("its record lacks what every VM has")
	}
	home, err := parseDS(vm.Config.Files.VmPathName)
	if err != nil {
		return err
	}
	s.inner(vm, home)
	vs := newVMState(vm.Self)
	vs.gen, vs.snapSeq, vs.on, vs.tracking, vs.reset, vs.pending = max(rec.Gen, noted), rec.SnapSeq, rec.On, rec.Tracking, rec.Reset, rec.Pending
	vs.tools = rec.Tools
	maps.Copy(vs.policies, rec.Policies)
	vm.Runtime.Question, vm.Summary.Runtime.Question = nil, nil // the write that asked is forgotten
	if vs.on {
		s.countSwap(vm.Self, home.datastore, swapSize(vm.Config))
	}
	for method, sources := range rec.Disabled {
		vs.disabled[method] = map[string]bool{}
		for _, source := range sources {
			vs.disabled[method][source] = true
		}
	}
	lost, err := r.disks(vs, rec)
	if err != nil {
		return err
	}
	if err := r.snapshots(vs, rec); err != nil {
		return err
	}
	if crashed || lost {
		r.crash(vs)
	}
	if lost {
		s.keeper.mark(vs.ref)
	}
	s.mu.Lock()
	s.vms[vs.ref] = vs
	s.mu.Unlock()
	s.inv.names[vm.Name] = vs.ref.Value
	for _, at := range append([]types.ManagedObjectReference{*vm.Parent, *vm.Runtime.Host}, vm.Datastore...) {
		r.lists[at] = append(r.lists[at], vm.Self)
	}
	if vm.ResourcePool != nil {
		r.lists[*vm.ResourcePool] = append(r.lists[*vm.ResourcePool], vm.Self)
	}
	r.ctx.Map.Put(vm)
	return nil
}

// disks brings back a VM's disks. It reports whether files are missing that
// the record knows.
func (r *restorer) disks(vs *vmState, rec *vmRecord) (lost bool, err error) {
	trackers := map[string]*tracker{}
	for epoch, t := range rec.Trackers {
		trackers[epoch] = t.tracker(epoch)
	}
	for i := range rec.Disks {
		f, missing, err := r.disk(&rec.Disks[i], trackers)
		if err != nil {
			return false, err
		}
		lost = lost || missing
		d := &vmDisk{key: rec.Disks[i].Key, device: f.device, top: f.layer, mode: f.mode, tracker: f.tracker}
		vs.disks[d.key] = d
		r.s.store.use(d.top, 1)
	}
	for _, n := range rec.Snaps {
		snap := &snapshot{
			ref: types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: n.Ref}, id: n.ID, name: n.Name, about: n.About,
			created: n.Created, state: n.State, quiesced: n.Quiesced, disks: map[int32]*frozenDisk{},
		}
		if snap.memory, err = parseDS(n.Memory); err != nil {
			return false, err
		}
		whole := r.old.records["VirtualMachineSnapshot/"+n.Ref] != nil
		for i := range n.Disks {
			f, missing, err := r.disk(&n.Disks[i], trackers)
			if err != nil {
				return false, err
			}
			whole = whole && !missing
			snap.disks[n.Disks[i].Key] = f
		}
		whole = whole && !vs.writesTo(snap)
		lost = lost || !whole
		if whole {
			vs.snaps[snap.ref] = snap
			for _, f := range snap.disks {
				r.s.store.use(f.layer, 1)
			}
		}
	}
	for _, file := range rec.Deltas {
		p, err := parseDS(file)
		if err != nil {
			return false, err
		}
		if l, err := r.s.store.open(p); err == nil {
			vs.deltas[l] = true
		}
	}
	return lost, nil
}

// writesTo tells whether a disk of the VM is what the snapshot froze: then
// the snapshot was removed, and its deltas merged, after the state was
// written down.
func (vs *vmState) writesTo(n *snapshot) bool {
	for _, d := range vs.disks {
		for _, f := range n.disks {
			if f.layer == d.top {
				return true
			}
		}
	}
	return false
}

// disk opens the files of a disk, as many of them as are there.
func (r *restorer) disk(d *diskRecord, trackers map[string]*tracker) (f *frozenDisk, missing bool, err error) {
	device := new(types.VirtualDisk)
	if err := decodeVim(d.Device, device); err != nil {
		return nil, false, err
	}
	f = &frozenDisk{device: device, mode: d.Mode, tracker: trackers[d.Epoch], seq: d.Seq, changeID: d.ChangeID}
	for i, file := range d.Chain {
		p, err := parseDS(file)
		if err != nil {
			return nil, false, err
		}
		if f.layer, err = r.s.store.open(p); err == nil {
			return f, i > 0, nil
		}
	}
	// Whoever starts the VM will learn that the disk is gone.
	if len(d.Chain) == 0 {
		return nil, false, fmt.Errorf("disk %d: no files", d.Key)
	}
	p, err := parseDS(d.Chain[0])
	if err != nil {
		return nil, false, err
	}
	f.layer = r.s.store.ghost(p, d)
	return f, true, nil
}

// snapshots puts the snapshots that are whole into their tree.
func (r *restorer) snapshots(vs *vmState, rec *vmRecord) error {
	parents := map[string]string{}
	for _, n := range rec.Snaps {
		parents[n.Ref] = n.Parent
	}
	nearest := func(ref string) *snapshot {
		for ref != "" {
			if n := vs.snaps[types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: ref}]; n != nil {
				return n
			}
			ref = parents[ref]
		}
		return nil
	}
	for _, n := range sortedSnapshots(vs) {
		if n.parent = nearest(parents[n.ref.Value]); n.parent != nil {
			n.parent.children = append(n.parent.children, n)
		} else {
			vs.roots = append(vs.roots, n)
		}
		obj := new(simulator.VirtualMachineSnapshot)
		if err := decodeVim(r.old.records["VirtualMachineSnapshot/"+n.ref.Value], &obj.VirtualMachineSnapshot); err != nil {
			return err
		}
		r.ctx.Map.Put(obj)
	}
	vs.current = nearest(rec.Current)
	return nil
}

// ghost is a disk whose files are gone.
func (st *store) ghost(p dsPath, d *diskRecord) *layer {
	st.mu.Lock()
	defer st.mu.Unlock()
	if l := st.layers[p]; l != nil {
		return l
	}
	l := &layer{file: p, dir: st.host(p.dir()), size: d.Size, thin: d.Thin, uuid: d.UUID, cid: d.CID}
	st.layers[p] = l
	return l
}
