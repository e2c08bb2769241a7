package vcenter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// What a state file holds, by key:
//
//	meta                what the server was made from, and its counters
//	authorization       permissions
//	roles               types.ArrayOfAuthorizationRole
//	TYPE/MOREF          vSphere's object: Folder, ResourcePool,
//	                    DistributedVirtualPortgroup, VirtualMachineSnapshot
//	vm/MOREF            a VM
//	space               what tests did to datastores, by their names
//
// vSphere's objects are in vSphere's own JSON.
type (
	metaRecord struct {
		InstanceUUID string
		Name         string
		Datacenter   string
		Cluster      string
		Hosts        int
		Datastores   []string
		Networks     []string
		Pools        []string
		Built        map[string]string // morefs of what is made from these
		Counter      int64             // of morefs
		MACs, Tasks  int64
	}
	authRecord struct {
		Permissions json.RawMessage // types.ArrayOfPermission
		Next        int32
	}
	spaceRecord struct {
		Filled int64  `json:",omitempty"`
		State  string `json:",omitempty"`
	}
	vmRecord struct {
		// Origin is all there is to know of a VM that nobody has touched
		// since AddVMs; else the rest is.
		Origin *origin `json:",omitempty"`

		Gen      uint64
		Object   json.RawMessage `json:",omitempty"`
		Disks    []diskRecord
		Trackers map[string]trackerRecord // by epoch
		Snaps    []snapRecord
		Current  string
		SnapSeq  int32
		On       bool
		Tracking bool
		Reset    bool
		Pending  bool
		Deltas   []string
		Disabled map[string][]string
		Tools    string             `json:",omitempty"`
		Policies map[int32][]string `json:",omitempty"` // by disk; 0: the VM's home
	}
	diskRecord struct {
		Key      int32
		Device   json.RawMessage
		Mode     string
		Chain    []string // files, from the top down
		Size     int64
		Thin     bool
		UUID     string
		CID      uint32
		Epoch    string // of the tracker
		Seq      int64
		ChangeID string
	}
	trackerRecord struct {
		Seq, Lost int64
		Since     map[int64][]Range // by generation
	}
	snapRecord struct {
		Ref, Parent string
		ID          int32
		Name, About string
		Created     time.Time
		State       types.VirtualMachinePowerState
		Quiesced    bool
		Memory      string
		Disks       []diskRecord
	}
)

// encodeVim is vSphere's JSON of one of its values.
func encodeVim(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := types.NewJSONEncoder(&b).Encode(v); err != nil {
		return nil, err
	}
	return json.RawMessage(bytes.TrimSpace(b.Bytes())), nil
}

// decodeVim replaces v. What v pointed to stays as it is: vcsim's templates,
// which its objects share, across servers too.
func decodeVim[T any](raw json.RawMessage, v *T) error {
	var fresh T
	if err := types.NewJSONDecoder(bytes.NewReader(raw)).Decode(&fresh); err != nil {
		return fmt.Errorf("%T: %w", v, err)
	}
	*v = fresh
	return nil
}

// record is what is to be known of a VM. It must not be called while an
// operation on the VM runs.
func (s *Server) record(ctx *simulator.Context, vs *vmState) (*vmRecord, error) {
	if o := vs.origin.Load(); o != nil {
		return &vmRecord{Origin: o}, nil
	}
	if err := s.touchVM(vs); err != nil {
		return nil, err
	}
	vm, err := s.vm(vs.ref)
	if err != nil {
		return nil, err
	}
	vs.io.Lock()
	r, err := vs.record()
	vs.io.Unlock()
	if err != nil {
		return nil, err
	}
	ctx.WithLock(vm, func() { r.Object, err = encodeVim(vm.VirtualMachine) })
	return r, err
}

// record writes down what vcsim's object does not say; io is held.
func (vs *vmState) record() (*vmRecord, error) {
	vs.noted = false
	r := &vmRecord{
		Gen: vs.gen, Trackers: map[string]trackerRecord{}, SnapSeq: vs.snapSeq, On: vs.on, Tracking: vs.tracking,
		Reset: vs.reset, Pending: vs.pending, Disabled: map[string][]string{},
		Tools: vs.tools, Policies: maps.Clone(vs.policies),
	}
	for _, key := range vs.diskKeys() {
		d := vs.disks[key]
		f := &frozenDisk{device: d.device, layer: d.top, mode: d.mode, tracker: d.tracker}
		if err := r.addDisk(&r.Disks, key, f); err != nil {
			return nil, err
		}
	}
	for _, n := range sortedSnapshots(vs) {
		snap := snapRecord{
			Ref: n.ref.Value, ID: n.id, Name: n.name, About: n.about, Created: n.created, State: n.state,
			Quiesced: n.quiesced, Memory: n.memory.String(),
		}
		if n.parent != nil {
			snap.Parent = n.parent.ref.Value
		}
		for _, key := range slices.Sorted(maps.Keys(n.disks)) {
			if err := r.addDisk(&snap.Disks, key, n.disks[key]); err != nil {
				return nil, err
			}
		}
		r.Snaps = append(r.Snaps, snap)
	}
	if vs.current != nil {
		r.Current = vs.current.ref.Value
	}
	for l := range vs.deltas {
		r.Deltas = append(r.Deltas, l.file.String())
	}
	slices.Sort(r.Deltas)
	for method, sources := range vs.disabled {
		r.Disabled[method] = slices.Sorted(maps.Keys(sources))
	}
	return r, nil
}

func (r *vmRecord) addDisk(list *[]diskRecord, key int32, f *frozenDisk) error {
	device, err := encodeVim(*f.device)
	if err != nil {
		return err
	}
	root := f.layer.root()
	d := diskRecord{
		Key: key, Device: device, Mode: f.mode, Size: f.layer.capacity(), Thin: root.thin, UUID: root.uuid, CID: f.layer.cid,
		Seq: f.seq, ChangeID: f.changeID,
	}
	for l := f.layer; l != nil; l = l.parent {
		d.Chain = append(d.Chain, l.file.String())
	}
	if t := f.tracker; t != nil {
		d.Epoch = t.epoch
		if _, ok := r.Trackers[t.epoch]; !ok {
			r.Trackers[t.epoch] = t.record()
		}
	}
	*list = append(*list, d)
	return nil
}

func (t *tracker) record() trackerRecord {
	r := trackerRecord{Seq: t.seq, Lost: t.lost, Since: map[int64][]Range{}}
	for gen, blocks := range t.since {
		r.Since[gen] = blocks.ranges(1 << 62)
	}
	return r
}

func (r trackerRecord) tracker(epoch string) *tracker {
	t := &tracker{epoch: epoch, seq: r.Seq, lost: r.Lost, since: map[int64]blockSet{r.Seq: {}}}
	for gen, areas := range r.Since {
		t.since[gen] = blockSet{}
		for _, a := range areas {
			t.since[gen].addBytes(a.Offset, a.Length)
		}
	}
	return t
}

// managed is vSphere's part of an object that is written down whole; nil for
// other kinds.
func managed(obj mo.Reference) any {
	switch o := obj.(type) {
	case *simulator.Folder:
		f := o.Folder
		f.ChildEntity, f.RecentTask = nil, nil // follow from the children's parents
		return &f
	case *simulator.ResourcePool:
		p := o.ResourcePool
		p.ResourcePool, p.Vm, p.RecentTask = nil, nil, nil
		return &p
	case *simulator.DistributedVirtualPortgroup:
		g := o.DistributedVirtualPortgroup
		g.Vm, g.RecentTask = nil, nil
		return &g
	case *simulator.VirtualMachineSnapshot:
		return &o.VirtualMachineSnapshot
	}
	return nil
}
