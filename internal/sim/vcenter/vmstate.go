package vcenter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A vmState is what this package knows of a VM beyond vcsim's object. It is
// kept apart from the wrappers around that object, which come and go with
// sessions.
//
// Locks, in the order they are taken: op, vcsim's lock of the VM, io,
// layer.mu, store.mu. A vcsim lock is never waited for while io is held.
type vmState struct {
	ref types.ManagedObjectReference
	op  sync.Mutex // one operation at a time

	unmade *unmade                // the files that AddVMs put off, never changed
	origin atomic.Pointer[origin] // nil when something has changed since AddVMs
	ops    atomic.Int64           // begun and ended: odd while one runs

	io       sync.RWMutex // guards what follows
	disks    map[int32]*vmDisk
	snaps    map[types.ManagedObjectReference]*snapshot
	roots    []*snapshot
	current  *snapshot
	snapSeq  int32
	on       bool // not powered off: its files are locked
	tracking bool // what changeTrackingEnabled says
	reset    bool // tracking was off since the last stun
	pending  bool // deltas are left to consolidate
	deltas   map[*layer]bool
	disabled map[string]map[string]bool
	held     map[string]bool // leases
	gone     bool
	policies map[int32][]string                // storage policies, by disk
	tools    string                            // what VMware Tools the guest has
	question *types.VirtualMachineQuestionInfo // that it waits for an answer to
	gen      uint64                            // of what Save writes down
	noted    bool                              // that gen is newer than what Save wrote
}

// A vmDisk is one virtual disk of a VM as the guest sees it now.
type vmDisk struct {
	key     int32
	device  *types.VirtualDisk // its slot and limits; never changed, but replaced
	top     *layer
	mode    string
	tracker *tracker // nil: not tracked
}

func (d *vmDisk) independent() bool {
	return d.mode == string(types.VirtualDiskModeIndependent_persistent) ||
		d.mode == string(types.VirtualDiskModeIndependent_nonpersistent)
}

// A snapshot is a node of a VM's tree of them.
type snapshot struct {
	ref      types.ManagedObjectReference
	id       int32
	name     string
	about    string
	created  time.Time
	state    types.VirtualMachinePowerState
	quiesced bool
	parent   *snapshot
	children []*snapshot
	disks    map[int32]*frozenDisk
	memory   dsPath // .vmsn
}

// A frozenDisk is a disk as a snapshot froze it.
type frozenDisk struct {
	device   *types.VirtualDisk
	layer    *layer
	mode     string
	tracker  *tracker // nil: not tracked when frozen
	seq      int64
	changeID string
}

func newVMState(ref types.ManagedObjectReference) *vmState {
	return &vmState{
		ref: ref, disks: map[int32]*vmDisk{},
		snaps:    map[types.ManagedObjectReference]*snapshot{},
		deltas:   map[*layer]bool{},
		policies: map[int32][]string{},
		disabled: map[string]map[string]bool{}, held: map[string]bool{},
	}
}

// diskKeys lists the disks in the order of their keys; io is held.
func (vs *vmState) diskKeys() []int32 {
	keys := make([]int32, 0, len(vs.disks))
	for k := range vs.disks {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare[int32])
	return keys
}

// stun is what the guest notices when disks are frozen, let go or powered:
// the moment that change tracking is switched, and that ends a generation.
// io is held.
func (s *Server) stun(vs *vmState) {
	s.note(vs)
	s.turn(vs)
}

// turn is the part of a stun that changes the tracking.
func (s *Server) turn(vs *vmState) {
	for _, d := range vs.disks {
		switch {
		case !vs.tracking || d.independent():
			d.tracker = nil
		case d.tracker == nil || vs.reset:
			d.tracker = newTracker(s.faults.forgotten(vs.ref.Value))
		default:
			d.tracker.next()
		}
	}
	vs.reset = false
}

// state returns the state of a VM, or nil.
func (s *Server) state(ref types.ManagedObjectReference) *vmState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vms[ref]
}

// states returns the states of all VMs.
func (s *Server) states() []*vmState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.vms))
}

func (s *Server) mustState(ref types.ManagedObjectReference) (*vmState, error) {
	if vs := s.state(ref); vs != nil {
		return vs, nil
	}
	return nil, gone(ref)
}

func gone(ref types.ManagedObjectReference) error {
	return refuse(&types.ManagedObjectNotFound{Obj: ref}, "%s: has been deleted or was never there", ref.Value)
}

// begin waits for the VM's other operations and keeps new ones away until
// end is called. Operations that touch disks are refused while a lease
// holds the VM.
func (s *Server) begin(ref types.ManagedObjectReference, touchesDisks bool) (vs *vmState, end func(), err error) {
	vs, err = s.mustState(ref)
	if err != nil {
		return nil, nil, err
	}
	if err := s.touchVM(vs); err != nil {
		return nil, nil, err
	}
	vs.op.Lock()
	vs.io.RLock()
	deleted := vs.gone
	var holder string
	for l := range vs.held {
		holder = l
	}
	vs.io.RUnlock()
	switch {
	case deleted:
		err = gone(ref)
	case touchesDisks && holder != "":
		err = refuse(&types.TaskInProgress{Task: types.ManagedObjectReference{Type: "Task", Value: holder}},
			"%s: another task is already in progress: NFC lease %s", ref.Value, holder)
	}
	if err != nil {
		vs.op.Unlock()
		return nil, nil, err
	}
	vs.ops.Add(1)
	return vs, func() {
		vs.ops.Add(1)
		vs.op.Unlock()
	}, nil
}

// vm returns vcsim's object.
func (s *Server) vm(ref types.ManagedObjectReference) (*simulator.VirtualMachine, error) {
	vm, ok := s.model.Map().Get(ref).(*simulator.VirtualMachine)
	if !ok {
		return nil, gone(ref)
	}
	return vm, nil
}

// lockedBy tells whether a VM other than except that is not powered off uses
// l: exclusively as a top, or shared below one; or a client of the disk port.
func (s *Server) lockedBy(l *layer, except *vmState) (exclusive, shared bool) {
	exclusive, shared = s.disks.locks(l)
	for _, vs := range s.states() {
		if vs == except {
			continue
		}
		vs.io.RLock()
		if vs.on {
			for _, d := range vs.disks {
				exclusive = exclusive || d.top == l
				for p := d.top.parent; p != nil; p = p.parent {
					shared = shared || p == l
				}
			}
		}
		vs.io.RUnlock()
	}
	return exclusive, shared
}

// A GuestDisk is a disk as the operating system inside a VM sees it. It
// follows the disk through snapshots and reverts.
type GuestDisk struct {
	s   *Server
	vs  *vmState
	key int32
}

// Disk returns the n-th disk of a VM, counted from 0 in the order of the
// device keys.
func (s *Server) Disk(moref string, n int) (*GuestDisk, error) {
	vs, err := s.mustState(vmRef(moref))
	if err != nil {
		return nil, err
	}
	vs.io.RLock()
	defer vs.io.RUnlock()
	keys := vs.diskKeys()
	if n < 0 || n >= len(keys) {
		return nil, fmt.Errorf("%s: disk %d: it has %d", moref, n, len(keys))
	}
	return &GuestDisk{s, vs, keys[n]}, nil
}

// Key is the device key.
func (d *GuestDisk) Key() int32 { return d.key }

func (d *GuestDisk) disk() (*vmDisk, error) {
	if disk := d.vs.disks[d.key]; disk != nil && !d.vs.gone {
		return disk, nil
	}
	return nil, fmt.Errorf("%s: disk %d: no longer there", d.vs.ref.Value, d.key)
}

// Size returns the capacity in bytes, 0 when the disk is gone.
func (d *GuestDisk) Size() int64 {
	d.vs.io.RLock()
	defer d.vs.io.RUnlock()
	disk, err := d.disk()
	if err != nil {
		return 0
	}
	return disk.top.capacity()
}

// ReadAt implements io.ReaderAt.
func (d *GuestDisk) ReadAt(p []byte, off int64) (int, error) {
	d.vs.io.RLock()
	defer d.vs.io.RUnlock()
	disk, err := d.disk()
	if err != nil {
		return 0, err
	}
	return disk.top.ReadAt(p, off)
}

// WriteAt implements io.WriterAt: it writes as a guest would, through change
// tracking and copy-on-write, whether the VM is on or not. When the datastore
// is full a VM that runs stands still with a question.
func (d *GuestDisk) WriteAt(p []byte, off int64) (int, error) {
	n, asks, err := d.write(p, off)
	if asks {
		d.s.showQuestion(d.s.newContext(), d.vs)
	}
	return n, err
}

func (d *GuestDisk) write(p []byte, off int64) (n int, asks bool, err error) {
	d.vs.io.Lock()
	defer d.vs.io.Unlock()
	disk, err := d.disk()
	if err != nil {
		return 0, false, err
	}
	if q := d.vs.question; q != nil {
		return 0, false, fmt.Errorf("%s: waits for the answer to question %s", d.vs.ref.Value, q.Id)
	}
	if top := disk.top; top.parent != nil || top.thin {
		size := int64(len(p))
		err := d.s.charge(top.file, (size/blockSize+2)*blockSize, func() int64 { return top.fresh(off, size) })
		if err != nil {
			if asks = d.vs.on; asks {
				d.vs.question = d.s.outOfSpace(top)
			}
			return 0, asks, fmt.Errorf("%s: disk %d: %w", d.vs.ref.Value, d.key, err)
		}
	}
	d.s.note(d.vs)
	n, err = disk.top.WriteAt(p, off)
	if err == nil && disk.tracker != nil && n > 0 {
		disk.tracker.wrote(off, int64(n))
	}
	return n, false, err
}

// Extents returns where the disk may hold something other than zeros.
func (d *GuestDisk) Extents() ([]Range, error) {
	d.vs.io.RLock()
	defer d.vs.io.RUnlock()
	disk, err := d.disk()
	if err != nil {
		return nil, err
	}
	return disk.top.data()
}

func vmRef(moref string) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "VirtualMachine", Value: moref}
}
