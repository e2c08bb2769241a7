package vcenter

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// maxChain is how many snapshots deep vSphere goes.
const maxChain = 32

// createSnapshot freezes a VM's disks: the file that a disk was written to
// stays as it is from now on, and a delta takes what the guest writes next.
func (s *Server) createSnapshot(ctx *simulator.Context, ref types.ManagedObjectReference, req *types.CreateSnapshotEx_Task) (types.ManagedObjectReference, error) {
	vs, end, err := s.begin(ref, false)
	if err != nil {
		return ref, err
	}
	defer end()
	vm, err := s.vm(ref)
	if err != nil {
		return ref, err
	}
	if err := vs.asks(); err != nil {
		return ref, err
	}
	if err := s.checkSnapshot(vs, req); err != nil {
		return ref, err
	}
	if err := s.intact(vs); err != nil {
		return ref, err
	}
	var config types.VirtualMachineConfigInfo
	var power types.VirtualMachinePowerState
	ctx.WithLock(vm, func() {
		err = deepCopy(*vm.Config, &config)
		power = vm.Runtime.PowerState
	})
	if err != nil {
		return ref, fmt.Errorf("copy configuration: %w", err)
	}
	if err := sharedBus(config.Hardware.Device); err != nil {
		return ref, err
	}
	if !req.Memory {
		power = types.VirtualMachinePowerStatePoweredOff
	}
	home, err := parseDS(config.Files.VmPathName)
	if err != nil {
		return ref, err
	}
	quiesced, err := s.quiesce(vs, req)
	if err != nil {
		return ref, err
	}
	obj := &simulator.VirtualMachineSnapshot{}
	obj.Vm, obj.Config = ref, config
	n := &snapshot{
		name: req.Name, about: req.Description, created: time.Now(), state: power, quiesced: quiesced,
		disks: map[int32]*frozenDisk{},
	}
	if err := s.freeze(vs, n, home); err != nil {
		return ref, err
	}
	ctx.Map.Put(obj)
	vs.io.Lock()
	n.ref = obj.Self
	vs.snaps[n.ref] = n
	if n.parent = vs.current; n.parent != nil {
		n.parent.children = append(n.parent.children, n)
	} else {
		vs.roots = append(vs.roots, n)
	}
	vs.current = n
	vs.io.Unlock()
	return n.ref, s.settle(ctx, vs)
}

// sharedBus refuses a VM that shares a controller's bus with others.
func sharedBus(devices []types.BaseVirtualDevice) error {
	for _, d := range devices {
		c, ok := d.(types.BaseVirtualSCSIController)
		if ok && c.GetVirtualSCSIController().SharedBus != types.VirtualSCSISharingNoSharing && c.GetVirtualSCSIController().SharedBus != "" {
			return refuse(&types.SnapshotFault{}, "controller %d: its bus is shared", deviceKey(d))
		}
	}
	return nil
}

func (s *Server) checkSnapshot(vs *vmState, req *types.CreateSnapshotEx_Task) error {
	vs.io.RLock()
	defer vs.io.RUnlock()
	if req.Name == "" {
		return refuse(&types.InvalidName{}, "a snapshot needs a name")
	}
	for _, d := range vs.disks {
		if physical(d.device) && (vs.on || req.Memory) {
			return refuse(&types.SnapshotFault{}, "disk %d: a raw device mapping in physical mode", d.key)
		}
		if exclusive, _ := s.disks.locks(d.top); exclusive {
			return locked(d.top.file)
		}
		if d.top.depth() >= maxChain {
			return refuse(&types.SnapshotFault{}, "disk %d: the chain of snapshots is %d deep already", d.key, maxChain)
		}
		if b, ok := d.device.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && b.Sharing == string(types.VirtualDiskSharingSharingMultiWriter) && !d.independent() {
			return refuse(&types.SnapshotFault{}, "disk %d: shared between writers", d.key)
		}
		if vs.on && req.Memory && d.independent() {
			return refuse(&types.SnapshotFault{}, "disk %d: independent, no snapshot with memory", d.key)
		}
	}
	return nil
}

// freeze stuns the VM and moves every disk onto a delta. If one cannot be
// made, none is.
func (s *Server) freeze(vs *vmState, n *snapshot, home dsPath) error {
	vs.io.Lock()
	defer vs.io.Unlock()
	vs.snapSeq++
	n.id = vs.snapSeq
	stem := strings.TrimSuffix(home.base(), path.Ext(home.base()))
	n.memory = home.dir().join(fmt.Sprintf("%s-Snapshot%d.vmsn", stem, n.id))
	local, err := s.store.local(n.memory)
	if err != nil {
		return err
	}
	made := map[int32]*layer{}
	for key, d := range vs.disks {
		if d.independent() {
			continue
		}
		delta, err := s.newDelta(d.top)
		if err != nil {
			for _, l := range made {
				err = errors.Join(err, s.store.remove(l))
			}
			return err
		}
		made[key] = delta
	}
	if err := os.WriteFile(local, fmt.Appendf(nil, "snapshot %d %q\n", n.id, n.name), 0o600); err != nil {
		return ioFault(n.memory, err)
	}
	s.stun(vs)
	for key, delta := range made {
		d := *vs.disks[key]
		f := &frozenDisk{device: d.device, layer: d.top, mode: d.mode}
		if d.tracker != nil {
			f.tracker, f.seq, f.changeID = d.tracker, d.tracker.seq, d.tracker.changeID()
		}
		n.disks[key] = f
		// The reference that the disk had to the layer is the snapshot's now.
		s.store.use(delta, 1)
		vs.deltas[delta] = true
		d.top = delta
		vs.disks[key] = &d
	}
	return nil
}

// newDelta makes an empty delta on l, named after the disk at the bottom.
func (s *Server) newDelta(l *layer) (*layer, error) {
	root := l.root()
	p, err := s.store.freeName(root.file.dir(), 1, func(n int) string {
		return fmt.Sprintf("%s-%06d.vmdk", root.file.stem(), n)
	})
	if err != nil {
		return nil, err
	}
	if err := s.room(p, p.datastore, vmfsBlock); err != nil {
		return nil, err
	}
	return s.store.newLayer(p, 0, true, l)
}

// removeSnapshot drops a snapshot, and those under it if children is set.
func (s *Server) removeSnapshot(ctx *simulator.Context, vmref, ref types.ManagedObjectReference, children, consolidate bool) error {
	return s.dropSnapshots(ctx, vmref, consolidate, func(vs *vmState) ([]*snapshot, error) {
		n := vs.snaps[ref]
		if n == nil {
			return nil, gone(ref)
		}
		if children {
			return n.subtree(), nil
		}
		return []*snapshot{n}, nil
	})
}

// dropSnapshots removes the chosen snapshots and, unless told not to, lets
// the deltas that nothing needs any more sink into what lies below them.
func (s *Server) dropSnapshots(ctx *simulator.Context, vmref types.ManagedObjectReference, consolidate bool, choose func(*vmState) ([]*snapshot, error)) error {
	vs, end, err := s.begin(vmref, true)
	if err != nil {
		return err
	}
	defer end()
	vs.io.Lock()
	list, err := choose(vs)
	var layers []*layer
	if err == nil {
		s.stun(vs)
		for _, n := range list {
			s.detach(vs, n)
		}
		if !consolidate || s.disks.open(vs) != nil || s.faults.leavesDelta(vmref.Value) {
			vs.pending = vs.pending || len(list) > 0
		} else {
			layers, err = s.collect(vs)
		}
	}
	vs.io.Unlock()
	if err != nil {
		return err
	}
	for _, n := range list {
		ctx.Map.Remove(ctx, n.ref)
		s.dropWrappers(ctx, n.ref)
	}
	s.account(ctx, layers...)
	return s.settle(ctx, vs)
}

func (n *snapshot) subtree() []*snapshot {
	out := []*snapshot{n}
	for _, c := range n.children {
		out = append(out, c.subtree()...)
	}
	return out
}

// detach takes one snapshot out of the tree; its children move up. io is
// held.
func (s *Server) detach(vs *vmState, n *snapshot) {
	siblings := &vs.roots
	if n.parent != nil {
		siblings = &n.parent.children
	}
	*siblings = slices.DeleteFunc(slices.Clone(*siblings), func(x *snapshot) bool { return x == n })
	for _, c := range n.children {
		c.parent = n.parent
		*siblings = append(*siblings, c)
	}
	n.children = nil
	if vs.current == n {
		vs.current = n.parent
	}
	delete(vs.snaps, n.ref)
	for _, d := range n.disks {
		s.store.use(d.layer, -1)
	}
	if local, err := s.store.local(n.memory); err == nil {
		_ = removeFile(local)
	}
}

// collect deletes deltas that nobody uses and merges those that only hold
// what one other needs. io is held for writing. It returns the layers whose
// files it touched.
func (s *Server) collect(vs *vmState) ([]*layer, error) {
	var touched []*layer
	for again := true; again; {
		again = false
		for _, l := range vs.candidates() {
			refs, children := s.store.counts(l)
			switch {
			case refs > 0:
			case children == 0 && vs.deltas[l]:
				if err := s.store.remove(l); err != nil {
					return touched, ioFault(l.file, err)
				}
				delete(vs.deltas, l)
			case children == 1:
				child := vs.childOf(l)
				if child == nil {
					continue // another VM's
				}
				if err := s.merge(vs, l, child); err != nil {
					return touched, fmt.Errorf("consolidate %s into %s: %w", child.file, l.file, err)
				}
				touched = append(touched, child)
			default:
				continue
			}
			if refs == 0 {
				touched = append(touched, l)
				again = true
				break
			}
		}
	}
	vs.pending = false
	return touched, nil
}

// candidates are the VM's deltas and what lies under them, bottom first.
func (vs *vmState) candidates() []*layer {
	seen := map[*layer]bool{}
	var out []*layer
	for d := range vs.deltas {
		for l := d; l != nil; l = l.parent {
			if !seen[l] {
				seen[l] = true
				out = append(out, l)
			}
		}
	}
	slices.SortFunc(out, func(a, b *layer) int { return a.depth() - b.depth() })
	return out
}

func (vs *vmState) childOf(l *layer) *layer {
	for d := range vs.deltas {
		if d.parent == l {
			return d
		}
	}
	return nil
}

// merge lets child sink into l, which takes its place.
func (s *Server) merge(vs *vmState, l, child *layer) error {
	if l.parent != nil || l.thin {
		child.mu.RLock()
		blocks := child.have.ranges(child.size)
		child.mu.RUnlock()
		var need int64
		for _, r := range blocks {
			need += r.Length
		}
		err := s.charge(l.file, need, func() int64 {
			need = 0
			for _, r := range blocks {
				need += l.fresh(r.Offset, r.Length)
			}
			return need
		})
		if err != nil {
			return err
		}
	}
	if err := l.absorb(child); err != nil {
		return ioFault(l.file, err)
	}
	for key, d := range vs.disks {
		if d.top == child {
			c := *d
			c.top = l
			vs.disks[key] = &c
			s.store.use(child, -1)
			s.store.use(l, 1)
		}
	}
	for _, n := range vs.snaps {
		for _, d := range n.disks {
			if d.layer == child {
				d.layer = l
				s.store.use(child, -1)
				s.store.use(l, 1)
			}
		}
	}
	for d := range vs.deltas {
		if d.parent == child {
			s.store.reparent(d, l)
			if err := d.writeDescriptor(); err != nil {
				return err
			}
		}
	}
	delete(vs.deltas, child)
	return s.store.remove(child)
}

// consolidate merges deltas that a removal left behind.
func (s *Server) consolidate(ctx *simulator.Context, ref types.ManagedObjectReference) error {
	vs, end, err := s.begin(ref, true)
	if err != nil {
		return err
	}
	defer end()
	vs.io.Lock()
	if vs.pending {
		err := s.inUse(vs)
		for _, d := range vs.disks {
			if s.faults.locksDisks(ref.Value) {
				err = locked(d.top.file)
			}
		}
		if err != nil {
			vs.io.Unlock()
			return err
		}
	}
	s.stun(vs)
	layers, err := s.collect(vs)
	vs.io.Unlock()
	if err != nil {
		return err
	}
	s.account(ctx, layers...)
	return s.settle(ctx, vs)
}
