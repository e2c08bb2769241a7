package vcenter

import (
	"fmt"
	"os"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// A usage is what a datastore's room goes into, apart from the layers of
// disks, which account counts.
type usage struct {
	filled int64  // by what nobody here knows, see FillDatastore
	swap   int64  // swap files of VMs that run
	left   int64  // a lower bound of what is free, unless stale
	stale  bool   // left has to be counted
	state  string // "", maintenance or inaccessible
}

// takes is what a layer takes of its datastore: a thick disk all of its
// capacity, a thin one and a delta what was written. Nothing when its files
// are gone.
func (l *layer) takes() int64 {
	if l.unmade.Load() {
		if l.thin {
			return l.content.fill
		}
		return l.capacity()
	}
	n := vdisk.Allocated(l.extentPath())
	if l.parent != nil || l.thin {
		return n
	}
	if l.unmade.Load() {
		return l.capacity()
	}
	if _, err := os.Stat(l.extentPath()); err != nil {
		return 0
	}
	return max(n, l.capacity())
}

// written is how many bytes of a layer's own files hold something.
func (l *layer) written() int64 {
	if l.unmade.Load() {
		return l.content.fill
	}
	return vdisk.Allocated(l.extentPath())
}

// fresh is how much more a layer takes after a write of n bytes at off.
func (l *layer) fresh(off, n int64) int64 {
	size := l.capacity()
	want := align([]Range{{off, n}}, blockSize, size)
	if l.parent != nil {
		l.mu.RLock()
		want = subtract(want, l.have.ranges(size))
		l.mu.RUnlock()
	} else if f, err := vdisk.Open(l.extentPath()); err == nil {
		data, err := dataRanges(f, size)
		if err == nil {
			want = subtract(want, data)
		}
		_ = f.Close()
	}
	var sum int64
	for _, r := range want {
		sum += r.Length
	}
	return sum
}

// use returns a datastore's usage; inv.mu is held.
func (inv *inventory) use(name string) *usage {
	u := inv.usage[name]
	if u == nil {
		u = &usage{stale: true}
		inv.usage[name] = u
	}
	return u
}

// taken is what is not free of a datastore; inv.mu is held.
func (inv *inventory) taken(name string) int64 {
	u := inv.use(name)
	return inv.used[name] + u.filled + u.swap
}

// capacityOf does not change while the server runs.
func (s *Server) capacityOf(name string) int64 {
	for _, d := range s.cfg.Datastores {
		if d.Name == name {
			return d.Capacity
		}
	}
	return 0
}

// recount brings up to date what the layers on a datastore take. It takes no
// lock of vcsim's, so that guests may call for it.
func (s *Server) recount(name string) {
	s.store.mu.Lock()
	var list []*layer
	for _, l := range s.store.layers {
		if l.file.datastore == name {
			list = append(list, l)
		}
	}
	s.store.mu.Unlock()
	sizes := make([]int64, len(list))
	for i, l := range list {
		sizes[i] = l.takes()
	}
	s.inv.mu.Lock()
	defer s.inv.mu.Unlock()
	for i, l := range list {
		s.inv.used[name] += sizes[i] - s.inv.sizes[l]
		s.inv.sizes[l] = sizes[i]
	}
	u := s.inv.use(name)
	u.left, u.stale = s.capacityOf(name)-s.inv.taken(name), false
}

// charge takes n bytes that a datastore has left; more is called when these
// seem to be too many, and tells how many of them are really new.
func (s *Server) charge(p dsPath, n int64, more func() int64) error {
	try := func(n int64) (done bool, state string) {
		s.inv.mu.Lock()
		defer s.inv.mu.Unlock()
		u := s.inv.use(p.datastore)
		if u.state == stateInaccessible || n > 0 && (u.stale || u.left < n) {
			return false, u.state
		}
		u.left -= n
		return true, u.state
	}
	done, state := try(n)
	if state == stateInaccessible {
		return s.usable(p.datastore)
	}
	if done {
		return nil
	}
	s.recount(p.datastore)
	if done, _ = try(n); done {
		return nil
	}
	if more != nil {
		if done, _ = try(more()); done {
			return nil
		}
	}
	return refuse(&types.NoDiskSpace{FileFault: fileFault(p), Datastore: p.datastore},
		"file %s: insufficient disk space on datastore %s", p, p.datastore)
}

// room refuses when a datastore has not that much left. It takes nothing.
func (s *Server) room(p dsPath, name string, n int64) error {
	if err := s.usable(name); err != nil {
		return err
	}
	at := dsPath{name, p.path}
	if err := s.charge(at, n, nil); err != nil {
		return err
	}
	s.inv.mu.Lock()
	s.inv.use(name).left += n
	s.inv.mu.Unlock()
	return nil
}

// States that a datastore can be in, beside being normal.
const (
	stateMaintenance  = "maintenance"
	stateInaccessible = "inaccessible"
)

// usable refuses a datastore that takes no new files.
func (s *Server) usable(name string) error {
	s.inv.mu.Lock()
	state := s.inv.use(name).state
	s.inv.mu.Unlock()
	var ref *types.ManagedObjectReference
	if ds := s.inv.datastores[name]; ds != nil {
		ref = &ds.Self
	} else {
		return refuse(&types.InvalidDatastore{Name: name}, "datastore %q: not found", name)
	}
	switch state {
	case stateInaccessible:
		return refuse(&types.InaccessibleDatastore{InvalidDatastore: types.InvalidDatastore{Datastore: ref, Name: name}},
			"datastore %s: not accessible", name)
	case stateMaintenance:
		return refuse(&types.InvalidDatastore{Datastore: ref, Name: name}, "datastore %s: in maintenance mode", name)
	}
	return nil
}

// accessible refuses a datastore that cannot be read.
func (s *Server) accessible(name string) error {
	s.inv.mu.Lock()
	state := s.inv.use(name).state
	s.inv.mu.Unlock()
	if state != stateInaccessible {
		return nil
	}
	return s.usable(name)
}

// FillDatastore makes n bytes of a datastore be taken by something else, in
// place of what it was told before.
func (s *Server) FillDatastore(name string, n int64) error {
	if s.inv.datastores[name] == nil || n < 0 {
		return fmt.Errorf("datastore %s: fill %d bytes: not found, or not a number of bytes", name, n)
	}
	s.inv.mu.Lock()
	s.inv.use(name).filled, s.inv.use(name).stale = n, true
	s.inv.mu.Unlock()
	s.spaceChanged()
	s.refresh(name)
	return nil
}

// SetDatastoreState takes a datastore into maintenance, makes it
// inaccessible, or neither (normal).
func (s *Server) SetDatastoreState(name, state string) error {
	ds := s.inv.datastores[name]
	if ds == nil {
		return fmt.Errorf("datastore %s: not found", name)
	}
	mode := types.DatastoreSummaryMaintenanceModeStateNormal
	switch state {
	case "normal":
		state = ""
	case stateMaintenance:
		mode = types.DatastoreSummaryMaintenanceModeStateInMaintenance
	case stateInaccessible:
	default:
		return fmt.Errorf("datastore %s: state %q: want normal, %s or %s", name, state, stateMaintenance, stateInaccessible)
	}
	s.inv.mu.Lock()
	s.inv.use(name).state = state
	s.inv.mu.Unlock()
	s.spaceChanged()
	ctx := s.newContext()
	s.space.Lock()
	defer s.space.Unlock()
	ctx.WithLock(ds, func() {
		ctx.Update(ds, []types.PropertyChange{
			{Name: "summary.accessible", Val: state != stateInaccessible},
			{Name: "summary.maintenanceMode", Val: string(mode)},
		})
	})
	return nil
}

// swapOn takes the room of a VM's swap file, of as much memory as is not
// reserved.
func (s *Server) swapOn(ctx *simulator.Context, vs *vmState, vm *simulator.VirtualMachine) error {
	var home dsPath
	var size int64
	var err error
	ctx.WithLock(vm, func() {
		home, err = parseDS(vm.Config.Files.VmPathName)
		size = swapSize(vm.Config)
	})
	if err != nil {
		return err
	}
	s.swapOff(vs)
	if err := s.room(home.dir().join(vs.ref.Value+".vswp"), home.datastore, size); err != nil {
		return err
	}
	s.countSwap(vs.ref, home.datastore, size)
	return nil
}

// swapSize is how much memory of a VM may have to be swapped.
func swapSize(c *types.VirtualMachineConfigInfo) int64 {
	size := int64(c.Hardware.MemoryMB)
	if a := c.MemoryAllocation; a != nil && a.Reservation != nil {
		size -= *a.Reservation
	}
	return max(size, 0) << 20
}

// countSwap notes the swap file of a VM that runs, in place of any that it
// had.
func (s *Server) countSwap(ref types.ManagedObjectReference, datastore string, size int64) {
	s.inv.mu.Lock()
	defer s.inv.mu.Unlock()
	s.inv.dropSwap(ref)
	u := s.inv.use(datastore)
	u.swap += size
	u.left -= size
	s.inv.swaps[ref] = swapFile{datastore, size}
}

// A swapFile is where a VM swaps to.
type swapFile struct {
	datastore string
	size      int64
}

// swapOff returns where a VM's swap file was that is gone now; "" where it
// had none.
func (s *Server) swapOff(vs *vmState) string {
	s.inv.mu.Lock()
	defer s.inv.mu.Unlock()
	return s.inv.dropSwap(vs.ref)
}

// dropSwap forgets a VM's swap file; inv.mu is held.
func (inv *inventory) dropSwap(ref types.ManagedObjectReference) string {
	f, ok := inv.swaps[ref]
	if !ok {
		return ""
	}
	delete(inv.swaps, ref)
	u := inv.use(f.datastore)
	u.swap -= f.size
	u.left += f.size
	return f.datastore
}
