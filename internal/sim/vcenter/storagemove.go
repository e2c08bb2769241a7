package vcenter

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A storageMove takes a VM's files to other datastores: Storage vMotion, or
// cold migration of a VM that is off. Snapshots move along, and what other
// VMs share (the base of a linked clone) is copied and stays where it was.
type storageMove struct {
	s    *Server
	vs   *vmState
	vm   *simulator.VirtualMachine
	home dsPath // .vmx
	to   dsPath // the new .vmx; equal to home where that stays

	disks map[int32]dsPath // new folders, of the disks that move
	thin  map[int32]bool   // disks that change their provisioning
	made  map[*layer]*layer
	flat  bool // what a disk lies on is merged into it

	old   []*layer // what has been copied
	stale []string // files of the old home, in the host's file system
}

// datastoreNamed is the name of a datastore that takes files.
func (s *Server) datastoreNamed(ref types.ManagedObjectReference) (string, error) {
	for name, ds := range s.inv.datastores {
		if ds.Self == ref {
			return name, s.usable(name)
		}
	}
	return "", gone(ref)
}

// planMove works out what of a VM a spec moves; it is nil when nothing does.
func (s *Server) planMove(ctx *simulator.Context, vs *vmState, vm *simulator.VirtualMachine, spec *types.VirtualMachineRelocateSpec) (*storageMove, error) {
	m := &storageMove{s: s, vs: vs, vm: vm, disks: map[int32]dsPath{}, thin: map[int32]bool{}, made: map[*layer]*layer{}}
	// The disks of a VM with snapshots stay the chains that these need.
	m.flat = spec.DiskMoveType == moveConsolidate && len(vs.snaps) == 0
	var err error
	ctx.WithLock(vm, func() { m.home, err = parseDS(vm.Config.Files.VmPathName) })
	if err != nil {
		return nil, err
	}
	m.to = m.home
	want := map[int32]string{}
	if spec.Datastore != nil {
		name, err := s.datastoreNamed(*spec.Datastore)
		if err != nil {
			return nil, err
		}
		if name != m.home.datastore {
			dir, err := s.store.freeName(dsPath{name, ""}, 0, numbered(m.home.dir().base()))
			if err != nil {
				return nil, err
			}
			m.to = dir.join(m.home.base())
		}
		vs.io.RLock()
		for key := range vs.disks {
			want[key] = name
		}
		vs.io.RUnlock()
	}
	if err := m.locators(spec, want); err != nil {
		return nil, err
	}
	vs.io.RLock()
	defer vs.io.RUnlock()
	for key, name := range want {
		d := vs.disks[key]
		if d == nil {
			return nil, refuse(&types.InvalidArgument{InvalidProperty: "spec.disk.diskId"}, "disk %d: not found", key)
		}
		if thin, ok := m.thin[key]; name == d.top.file.datastore && (!ok || thin == d.top.root().thin) && !(m.flat && d.top.parent != nil) {
			continue
		}
		m.disks[key] = dsPath{name, m.to.dir().path}
	}
	if len(m.disks) == 0 && m.to == m.home {
		return nil, nil
	}
	return m, nil
}

func (m *storageMove) locators(spec *types.VirtualMachineRelocateSpec, want map[int32]string) error {
	for _, l := range spec.Disk {
		name, err := m.s.datastoreNamed(l.Datastore)
		if err != nil {
			return err
		}
		want[l.DiskId] = name
		if b, ok := l.DiskBackingInfo.(*types.VirtualDiskFlatVer2BackingInfo); ok && b.ThinProvisioned != nil {
			m.thin[l.DiskId] = *b.ThinProvisioned
		}
	}
	return nil
}

// need is what the move takes on each datastore.
func (m *storageMove) need() map[string]int64 {
	all := map[string]int64{}
	seen := map[*layer]bool{}
	m.vs.io.RLock()
	defer m.vs.io.RUnlock()
	m.each(func(l *layer, dir dsPath, _ int32) {
		for ; l != nil && !seen[l]; l = l.parent {
			seen[l] = true
			all[dir.datastore] += l.takes()
		}
	})
	return all
}

// each visits what moves: the disks and what snapshots froze of them. io is
// held.
func (m *storageMove) each(visit func(l *layer, dir dsPath, key int32)) {
	for _, key := range m.vs.diskKeys() {
		if dir, ok := m.disks[key]; ok {
			visit(m.vs.disks[key].top, dir, key)
		}
	}
	for _, n := range sortedSnapshots(m.vs) {
		for key, f := range n.disks {
			if dir, ok := m.disks[key]; ok {
				visit(f.layer, dir, key)
			}
		}
	}
}

// run moves everything, or nothing. The guest stands still meanwhile: its
// writes wait.
func (m *storageMove) run(ctx *simulator.Context) error {
	for name, n := range m.need() {
		if err := m.s.room(m.to, name, n); err != nil {
			return err
		}
	}
	m.vs.io.Lock()
	var failed error
	m.each(func(l *layer, dir dsPath, key int32) {
		if failed == nil {
			_, failed = m.copyChain(l, dir, key)
		}
	})
	if failed != nil {
		failed = errors.Join(failed, m.undo())
		m.vs.io.Unlock()
		return failed
	}
	m.old = m.swap()
	m.vs.io.Unlock()
	if m.to != m.home {
		return m.moveHome(ctx)
	}
	return nil
}

// settle deletes what the VM has left, once the state says that it is
// elsewhere: whoever dies in between leaves files too many, never too few.
// The operation on the VM has ended.
func (m *storageMove) settle(ctx *simulator.Context) error {
	m.s.at("moved")
	if err := m.s.Save(); err != nil {
		return err
	}
	m.s.at("saved")
	errs := []error{m.dropOld(m.old)}
	m.s.account(ctx, m.old...)
	for _, file := range m.stale {
		errs = append(errs, removeFile(file))
	}
	if len(m.stale) > 0 {
		_ = os.Remove(path.Dir(m.stale[0])) // only if it is empty
	}
	return errors.Join(errs...)
}

// copyChain copies a layer and those below it.
func (m *storageMove) copyChain(l *layer, dir dsPath, key int32) (*layer, error) {
	if c := m.made[l]; c != nil {
		return c, nil
	}
	var parent *layer
	if l.parent != nil && !m.flat {
		var err error
		if parent, err = m.copyChain(l.parent, dir, key); err != nil {
			return nil, err
		}
	}
	p, err := m.s.store.freeName(dir, 0, func(n int) string {
		if n == 0 {
			return l.file.base()
		}
		return fmt.Sprintf("%s_%d.vmdk", l.file.stem(), n)
	})
	if err != nil {
		return nil, err
	}
	thin := l.thin
	if t, ok := m.thin[key]; ok {
		thin = t
	}
	c, err := m.s.copyLayer(l, p, parent, thin)
	if err == nil {
		m.made[l] = c
	}
	return c, err
}

// copyLayer copies what one layer holds itself into a new one on parent.
func (s *Server) copyLayer(l *layer, p dsPath, parent *layer, thin bool) (*layer, error) {
	c, err := s.store.newLayer(p, l.capacity(), thin, parent)
	if err != nil {
		return nil, err
	}
	c.uuid, c.cid = l.uuid, l.cid
	err = c.writeDescriptor()
	var own []Range
	if err == nil && parent == nil {
		own, err = l.data()
	} else if err == nil {
		l.mu.RLock()
		own = l.have.ranges(l.size)
		l.mu.RUnlock()
	}
	if err == nil {
		err = copyBlocks(c, l, own)
	}
	if err != nil {
		return nil, errors.Join(ioFault(p, err), s.store.remove(c))
	}
	return c, nil
}

// copyBlocks copies parts of a disk, zeros as well where they hide what lies
// below.
func copyBlocks(to, from *layer, own []Range) error {
	if to.parent == nil {
		return copyRanges(to, from, own)
	}
	buf := make([]byte, 16*blockSize)
	for _, r := range own {
		for off := r.Offset; off < r.End(); {
			p := buf[:min(int64(len(buf)), r.End()-off)]
			if err := from.read(p, off); err != nil {
				return err
			}
			if _, err := to.WriteAt(p, off); err != nil {
				return err
			}
			off += int64(len(p))
		}
	}
	return nil
}

func deepestFirst(list []*layer) []*layer {
	slices.SortFunc(list, func(a, b *layer) int { return cmp.Compare(b.depth(), a.depth()) })
	return list
}

func (m *storageMove) undo() error {
	var list []*layer
	for _, c := range m.made {
		list = append(list, c)
	}
	var errs []error
	for _, c := range deepestFirst(list) {
		errs = append(errs, m.s.store.remove(c))
	}
	return errors.Join(errs...)
}

// swap makes the copies the VM's disks, and returns what they were. Change
// tracking goes on, as since vSphere 5.5 U2 (before, it started anew: VMware
// KB 2048201), unless a test wants the old way. io is held for writing.
func (m *storageMove) swap() []*layer {
	forget := m.s.faults.resetsTracking()
	for key := range m.disks {
		d := *m.vs.disks[key]
		m.s.store.use(m.made[d.top], 1)
		m.s.store.use(d.top, -1)
		d.top = m.made[d.top]
		if forget && d.tracker != nil {
			d.tracker = newTracker(m.s.faults.forgotten(m.vs.ref.Value))
		}
		m.vs.disks[key] = &d
	}
	for _, n := range m.vs.snaps {
		for key, f := range n.disks {
			if _, moves := m.disks[key]; !moves {
				continue
			}
			m.s.store.use(m.made[f.layer], 1)
			m.s.store.use(f.layer, -1)
			c := *f
			c.layer = m.made[f.layer]
			n.disks[key] = &c
		}
	}
	var old []*layer
	for l, c := range m.made {
		old = append(old, l)
		if m.vs.deltas[l] {
			delete(m.vs.deltas, l)
			m.vs.deltas[c] = true
		}
	}
	return deepestFirst(old)
}

// dropOld deletes the files that nobody shares.
func (m *storageMove) dropOld(old []*layer) error {
	var errs []error
	for _, l := range old {
		if refs, children := m.s.store.counts(l); refs > 0 || children > 0 {
			continue
		}
		errs = append(errs, ioFault(l.file, m.s.store.remove(l)))
		if local, err := m.s.store.local(l.file.dir()); err == nil && l.file.dir().path != "" {
			_ = os.Remove(local) // only if it is empty
		}
	}
	return errors.Join(errs...)
}

// moveHome takes the VM's other files along.
func (m *storageMove) moveHome(ctx *simulator.Context) error {
	from, err := m.s.store.local(m.home.dir())
	if err != nil {
		return err
	}
	to, err := m.s.store.local(m.to.dir())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return ioFault(m.to, err)
	}
	stem := strings.TrimSuffix(m.home.base(), path.Ext(m.home.base()))
	names := []string{"vmware.log", stem + ".nvram", stem + ".vmsd", stem + ".vmxf", stem + ".vmss"}
	m.vs.io.Lock()
	for _, n := range m.vs.snaps {
		names = append(names, n.memory.base())
		n.memory = m.to.dir().join(n.memory.base())
	}
	m.vs.io.Unlock()
	var errs []error
	for _, name := range names {
		err := copyFile(path.Join(to, name), path.Join(from, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, ioFault(m.home.dir().join(name), err))
		default:
			m.stale = append(m.stale, path.Join(from, name))
		}
	}
	dir := m.to.dir().String() + "/"
	ctx.WithLock(m.vm, func() {
		m.s.logIn(m.vm, m.to)
		ctx.Update(m.vm, []types.PropertyChange{
			{Name: "config.files", Val: types.VirtualMachineFileInfo{
				VmPathName: m.to.String(), SnapshotDirectory: dir, SuspendDirectory: dir, LogDirectory: dir}},
			{Name: "summary.config.vmPathName", Val: m.to.String()},
		})
	})
	if err := m.s.writeVMX(ctx, m.vs); err != nil {
		return errors.Join(append(errs, err)...)
	}
	m.stale = append(m.stale, m.s.store.host(m.home))
	return errors.Join(errs...)
}

// at tells a test how far an operation is.
func (s *Server) at(moment string) {
	if s.hook != nil {
		s.hook(moment)
	}
}

// copyFile copies a small file.
func copyFile(dst, src string) error {
	content, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, content, 0o600)
}
