package vcenter

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A keeper keeps the state of a server in a file. Sessions, tasks and leases
// end with the server, as those of a vCenter do. An operation that was cut
// short has not happened, whatever files it left: those that nothing refers
// to are orphans, those that are missing had been merged or destroyed.
type keeper struct {
	log      *stateLog
	saving   sync.Mutex
	hashes   map[string]uint64 // of small records, as written
	restored bool

	roles     []types.AuthorizationRole // as encoded last
	rolesJSON json.RawMessage

	changes atomic.Int64 // that somebody may have made
	saved   int64        // of them

	mu    sync.Mutex
	dirty map[types.ManagedObjectReference]bool // VMs and snapshots
}

// watch is told by vcsim what changes.
type watch struct{ s *Server }

// Reference identifies the handler, as vcsim wants it.
func (watch) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "StateKeeper", Value: "state"}
}

// PutObject is called for every new object, and for each that moved.
func (w watch) PutObject(_ *simulator.Context, obj mo.Reference) { w.s.changed(obj.Reference()) }

// UpdateObject is called for every change of properties.
func (w watch) UpdateObject(_ *simulator.Context, obj mo.Reference, _ []types.PropertyChange) {
	w.s.changed(obj.Reference())
}

// RemoveObject is called when an object goes.
func (w watch) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) { w.s.changed(ref) }

// changed notes that an object is not as it was written down.
func (s *Server) changed(ref types.ManagedObjectReference) {
	k := s.keeper
	if k == nil || k.log == nil {
		return
	}
	switch ref.Type {
	case "VirtualMachine":
		if vs := s.state(ref); vs != nil {
			vs.origin.Store(nil)
		}
	case "VirtualMachineSnapshot":
	case "Folder", "ResourcePool", "DistributedVirtualPortgroup":
		k.changes.Add(1)
		return
	default:
		return
	}
	k.mark(ref)
}

func (k *keeper) mark(ref types.ManagedObjectReference) {
	k.mu.Lock()
	k.dirty[ref] = true
	k.mu.Unlock()
	k.changes.Add(1)
}

// spaceChanged notes that a datastore is not as it was written down.
func (s *Server) spaceChanged() {
	if s.keeper != nil {
		s.keeper.changes.Add(1)
	}
}

// touched notes a call whose change vcsim does not tell of.
func (s *Server) touched(own mo.Reference) {
	if _, ok := own.(*simulator.AuthorizationManager); ok && s.keeper != nil {
		s.keeper.changes.Add(1)
	}
}

// note says in the state file that a VM's disks are becoming newer than what
// is written there of them. io is held for writing.
func (s *Server) note(vs *vmState) {
	if s.keeper == nil || s.keeper.log == nil {
		return
	}
	vs.origin.Store(nil)
	if vs.noted {
		return
	}
	vs.noted = true
	vs.gen++
	s.keeper.log.note(vmKey(vs.ref), vs.gen)
	s.keeper.mark(vs.ref)
}

func vmKey(ref types.ManagedObjectReference) string { return "vm/" + ref.Value }

// Restored reports whether Start found a state and brought it back.
func (s *Server) Restored() bool { return s.keeper != nil && s.keeper.restored }

// Save writes down what must survive a restart: all of it or, on an error,
// nothing. It costs next to nothing when nothing has changed. What an
// operation that still runs is changing is left as it was before.
func (s *Server) Save() error {
	if s.keeper == nil || s.keeper.log == nil {
		return nil
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil // Close saves last
	}
	if err := s.save(false); err != nil {
		return fmt.Errorf("vcenter simulator: save state: %w", err)
	}
	return nil
}

func (s *Server) save(clean bool) error {
	k := s.keeper
	k.saving.Lock()
	defer k.saving.Unlock()
	seen := k.changes.Load()
	if seen == k.saved && !clean {
		return nil
	}
	k.mu.Lock()
	dirty := k.dirty
	k.dirty = map[types.ManagedObjectReference]bool{}
	k.mu.Unlock()
	ctx := s.newContext()
	changes, hashes, err := s.smallChanges(ctx)
	var later []types.ManagedObjectReference
	for ref := range dirty {
		if err != nil {
			break
		}
		var c *change
		if c, err = s.changeOf(ctx, ref); c != nil {
			changes = append(changes, *c)
		} else {
			later = append(later, ref)
		}
	}
	if err == nil {
		err = k.log.commit(changes, clean)
	}
	if err != nil {
		later = slices.Collect(maps.Keys(dirty))
	} else {
		k.hashes, k.saved = hashes, seen
	}
	for _, ref := range later {
		k.mark(ref)
	}
	return err
}

// changeOf is the new record of a VM or a snapshot, nil while an operation
// changes it.
func (s *Server) changeOf(ctx *simulator.Context, ref types.ManagedObjectReference) (*change, error) {
	if ref.Type == "VirtualMachineSnapshot" {
		return s.objectChange(ctx, ref)
	}
	vs := s.state(ref)
	if vs == nil {
		if s.model.Map().Get(ref) != nil {
			return nil, nil // being made, or taken away
		}
		return &change{key: vmKey(ref)}, nil
	}
	before := vs.ops.Load()
	if before%2 != 0 {
		return nil, nil
	}
	r, err := s.record(ctx, vs)
	if f := (*refusal)(nil); errors.As(err, &f) || vs.ops.Load() != before {
		return nil, nil // it goes, or changes, as we look
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Value, err)
	}
	raw, err := json.Marshal(r)
	return &change{vmKey(ref), raw, r.Gen}, err
}

func (s *Server) objectChange(ctx *simulator.Context, ref types.ManagedObjectReference) (*change, error) {
	c := &change{key: ref.Type + "/" + ref.Value}
	obj := s.model.Map().Get(ref)
	if obj == nil {
		return c, nil
	}
	var err error
	ctx.WithLock(obj, func() { c.value, err = encodeVim(managed(obj)) })
	return c, err
}

// smallChanges are the records of what there is little of, where they are
// not as they were written.
func (s *Server) smallChanges(ctx *simulator.Context) ([]change, map[string]uint64, error) {
	var all []change
	for _, kind := range []string{"Folder", "ResourcePool", "DistributedVirtualPortgroup"} {
		for _, obj := range s.model.Map().AllReference(kind) {
			c, err := s.objectChange(ctx, obj.Reference())
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", c.key, err)
			}
			if c.value != nil {
				all = append(all, *c)
			}
		}
	}
	auth, err := s.authRecord()
	if err != nil {
		return nil, nil, fmt.Errorf("authorization: %w", err)
	}
	roles, err := s.rolesRecord()
	if err != nil {
		return nil, nil, fmt.Errorf("roles: %w", err)
	}
	meta, err := json.Marshal(s.meta())
	if err != nil {
		return nil, nil, err
	}
	space, err := json.Marshal(s.spaceRecords())
	if err != nil {
		return nil, nil, err
	}
	all = append(all, change{key: "authorization", value: auth}, change{key: "roles", value: roles},
		change{key: "meta", value: meta}, change{key: "space", value: space})
	hashes := map[string]uint64{}
	var out []change
	for _, c := range all {
		h := fnv.New64a()
		_, _ = h.Write(c.value)
		hashes[c.key] = h.Sum64()
		if old, ok := s.keeper.hashes[c.key]; !ok || old != h.Sum64() {
			out = append(out, c)
		}
	}
	for key := range s.keeper.hashes {
		if _, ok := hashes[key]; !ok {
			out = append(out, change{key: key})
		}
	}
	return out, hashes, nil
}

// authRecord is the record of the permissions.
func (s *Server) authRecord() (json.RawMessage, error) {
	s.perms.mu.RLock()
	defer s.perms.mu.RUnlock()
	var list []types.Permission
	for entity, set := range s.perms.on {
		for _, p := range set {
			p.Entity = &entity
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b types.Permission) int {
		return cmp.Or(strings.Compare(a.Entity.Value, b.Entity.Value), strings.Compare(a.Principal, b.Principal))
	})
	r := authRecord{Next: s.perms.last}
	var err error
	if r.Permissions, err = encodeVim(types.ArrayOfPermission{Permission: list}); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// rolesRecord is the record of the roles, some 150 KB that seldom change: the
// list is replaced then, never written to.
func (s *Server) rolesRecord() (json.RawMessage, error) {
	s.perms.mu.RLock()
	list := s.authorization().RoleList
	s.perms.mu.RUnlock()
	k := s.keeper
	if len(list) > 0 && len(list) == len(k.roles) && &list[0] == &k.roles[0] {
		return k.rolesJSON, nil
	}
	raw, err := encodeVim(types.ArrayOfAuthorizationRole{AuthorizationRole: list})
	if err == nil {
		k.roles, k.rolesJSON = list, raw
	}
	return raw, err
}

// spaceRecords are the datastores that were filled or are not as usual.
func (s *Server) spaceRecords() map[string]spaceRecord {
	s.inv.mu.Lock()
	defer s.inv.mu.Unlock()
	out := map[string]spaceRecord{}
	for name, u := range s.inv.usage {
		if u.filled != 0 || u.state != "" {
			out[name] = spaceRecord{u.filled, u.state}
		}
	}
	return out
}

// meta is what the server was made from, with counters that no new object
// may fall behind.
func (s *Server) meta() *metaRecord {
	m := s.built // what a state began with: later names must not shift morefs
	m.Counter, m.MACs, m.Tasks = s.counter(), s.macSeq.Load(), s.taskSeq.Load()
	return &m
}

// counter is the number of the newest moref.
func (s *Server) counter() int64 {
	probe := &simulator.Folder{}
	s.model.Map().NewEntity(probe)
	n, _ := strconv.ParseInt(strings.TrimPrefix(probe.Self.Value, "group-"), 10, 64)
	return n
}

// keep begins to keep the state, after it was restored.
func (s *Server) keep(old *stateFile) error {
	log, err := openState(s.cfg.StateDir, old)
	if err != nil {
		return err
	}
	s.keeper.log = log
	s.keeper.changes.Add(1)
	s.model.Map().AddHandler(watch{s})
	return nil
}

// describe says what the server was built from.
func (s *Server) describe() {
	built := map[string]string{"datacenter": s.inv.dc.Self.Value, "cluster": s.inv.cluster.Self.Value}
	for i, h := range s.inv.hosts {
		built[fmt.Sprintf("host %d", i)] = h.Value
	}
	for name, ds := range s.inv.datastores {
		built["datastore "+name] = ds.Self.Value
	}
	for name, b := range s.inv.networks {
		if p, ok := b.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo); ok {
			built["network "+name] = p.Port.PortgroupKey
		}
	}
	for name, p := range s.inv.pools {
		built["pool "+name] = p.Value
	}
	s.built = metaRecord{
		InstanceUUID: s.cfg.InstanceUUID, Name: s.cfg.Name, Datacenter: s.cfg.Datacenter, Cluster: s.cfg.Cluster, Hosts: s.cfg.Hosts,
		Networks: s.cfg.Networks, Pools: s.cfg.ResourcePools, Built: built,
	}
	for _, d := range s.cfg.Datastores {
		s.built.Datastores = append(s.built.Datastores, d.Name)
	}
}
