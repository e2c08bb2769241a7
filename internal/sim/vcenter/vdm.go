package vcenter

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// unused opens a disk that is to grow, and refuses one that a VM, a snapshot
// or another disk needs.
func (s *Server) unused(name string) (*layer, error) {
	p, err := parseDS(name)
	if err != nil {
		return nil, err
	}
	l, err := s.store.open(p)
	if err != nil {
		return nil, err
	}
	if refs, children := s.store.counts(l); refs > 0 || children > 0 {
		return nil, locked(p)
	}
	return l, nil
}

// claim opens a disk that is to be deleted or moved, and keeps tasks away
// from it until release is called. Like a host it heeds nothing but the locks
// on files, which a VM that is not powered off, a lease and a task hold. A VM
// that is off finds its disk gone.
func (s *Server) claim(name string) (l *layer, release func(), err error) {
	p, err := parseDS(name)
	if err != nil {
		return nil, nil, err
	}
	if l, err = s.store.open(p); err != nil {
		return nil, nil, err
	}
	var held []*vmState
	release = func() {
		for _, vs := range held {
			vs.op.Unlock()
		}
	}
	for _, vs := range s.states() {
		needs, leased := vs.needs(l)
		if !needs {
			continue
		}
		if leased || !vs.op.TryLock() {
			release()
			return nil, nil, locked(p)
		}
		held = append(held, vs)
	}
	if exclusive, shared := s.lockedBy(l, nil); exclusive || shared {
		release()
		return nil, nil, locked(p)
	}
	return l, release, nil
}

// needs tells whether l is below a disk or a snapshot of the VM, and whether
// a lease holds the VM.
func (vs *vmState) needs(l *layer) (needs, leased bool) {
	vs.io.RLock()
	defer vs.io.RUnlock()
	for _, d := range vs.disks {
		needs = needs || d.top.above(l)
	}
	for _, n := range vs.snaps {
		for _, d := range n.disks {
			needs = needs || d.layer.above(l)
		}
	}
	return needs, len(vs.held) > 0
}

func (s *Server) moveDisk(from, to string, force bool) error {
	l, release, err := s.claim(from)
	if err != nil {
		return err
	}
	defer release()
	dst, err := s.newDiskPath(to, force)
	if err != nil {
		return err
	}
	if l.parent != nil {
		return refuse(&types.NotSupported{}, "disk %s: has a parent", l.file)
	}
	return s.store.move(l, dst)
}

// newDiskPath checks where a disk is to go, and makes room if forced.
func (s *Server) newDiskPath(to string, force bool) (dsPath, error) {
	dst, err := parseDS(to)
	if err != nil {
		return dst, err
	}
	if !strings.HasSuffix(dst.path, ".vmdk") {
		return dst, refuse(&types.InvalidDatastorePath{DatastorePath: to}, "%q: not the name of a disk", to)
	}
	local, err := s.store.local(dst)
	if err != nil {
		return dst, err
	}
	if _, err := os.Stat(local); errors.Is(err, fs.ErrNotExist) {
		return dst, nil
	}
	if !force {
		return dst, exists(dst)
	}
	old, release, err := s.claim(to)
	if err != nil {
		return dst, err
	}
	defer release()
	return dst, s.store.remove(old)
}

func (s *Server) copyDisk(from, to string, force bool) error {
	p, err := parseDS(from)
	if err != nil {
		return err
	}
	src, err := s.store.open(p)
	if err != nil {
		return err
	}
	if exclusive, _ := s.lockedBy(src, nil); exclusive {
		return locked(p)
	}
	dst, err := s.newDiskPath(to, force)
	if err != nil {
		return err
	}
	need := src.capacity()
	if src.root().thin {
		need = vdisk.Allocated(src.extentPath())
	}
	if err := s.room(dst, dst.datastore, need); err != nil {
		return err
	}
	l, err := s.store.newLayer(dst, src.capacity(), src.root().thin, nil)
	if err != nil {
		return err
	}
	data, err := src.data()
	if err == nil {
		err = copyRanges(l, src, data)
	}
	if err != nil {
		return errors.Join(ioFault(dst, err), s.store.remove(l))
	}
	s.account(s.newContext(), l)
	return nil
}

// copyRanges copies parts of a disk into a fresh base.
func copyRanges(to, from *layer, data []Range) error {
	buf := make([]byte, 16*blockSize)
	for _, r := range data {
		for off := r.Offset; off < r.End(); {
			p := buf[:min(int64(len(buf)), r.End()-off)]
			if err := from.read(p, off); err != nil {
				return err
			}
			if err := writeSparse(to, p, off); err != nil {
				return err
			}
			off += int64(len(p))
		}
	}
	return nil
}

// diskTask runs what a method of the VirtualDiskManager does.
func (m *diskManager) diskTask(ctx *simulator.Context, name string, f func() error) types.ManagedObjectReference {
	return m.s.startTask(ctx, m.Self, name, func(*simulator.Context) (types.AnyType, error) { return nil, f() })
}

// CreateVirtualDiskTask makes an empty disk.
func (m *diskManager) CreateVirtualDiskTask(ctx *simulator.Context, req *types.CreateVirtualDisk_Task) soap.HasFault {
	task := m.s.startTask(ctx, m.Self, "CreateVirtualDisk_Task", func(*simulator.Context) (types.AnyType, error) {
		spec, ok := req.Spec.(types.BaseFileBackedVirtualDiskSpec)
		if !ok {
			return nil, refuse(&types.InvalidArgument{InvalidProperty: "spec"}, "disk spec %T", req.Spec)
		}
		dst, err := m.s.newDiskPath(req.Name, false)
		if err != nil {
			return nil, err
		}
		size := spec.GetFileBackedVirtualDiskSpec().CapacityKb * 1024
		if size <= 0 || size > vdisk.MaxSize {
			return nil, refuse(&types.InvalidArgument{InvalidProperty: "spec.capacityKb"}, "capacity %d", size)
		}
		need := size
		if spec.GetFileBackedVirtualDiskSpec().DiskType == "thin" {
			need = vmfsBlock
		}
		if err := m.s.room(dst, dst.datastore, need); err != nil {
			return nil, err
		}
		l, err := m.s.store.newLayer(dst, size, spec.GetFileBackedVirtualDiskSpec().DiskType == "thin", nil)
		if err != nil {
			return nil, err
		}
		m.s.account(m.s.newContext(), l)
		return req.Name, nil
	})
	return &methods.CreateVirtualDisk_TaskBody{Res: &types.CreateVirtualDisk_TaskResponse{Returnval: task}}
}

// DeleteVirtualDiskTask deletes a disk whose files nobody has locked.
func (m *diskManager) DeleteVirtualDiskTask(ctx *simulator.Context, req *types.DeleteVirtualDisk_Task) soap.HasFault {
	task := m.diskTask(ctx, "DeleteVirtualDisk_Task", func() error {
		l, release, err := m.s.claim(req.Name)
		if err != nil {
			return err
		}
		defer release()
		err = m.s.store.remove(l)
		m.s.account(m.s.newContext(), l)
		return ioFault(l.file, err)
	})
	return &methods.DeleteVirtualDisk_TaskBody{Res: &types.DeleteVirtualDisk_TaskResponse{Returnval: task}}
}

// MoveVirtualDiskTask renames a disk whose files nobody has locked.
func (m *diskManager) MoveVirtualDiskTask(ctx *simulator.Context, req *types.MoveVirtualDisk_Task) soap.HasFault {
	task := m.diskTask(ctx, "MoveVirtualDisk_Task", func() error {
		return m.s.moveDisk(req.SourceName, req.DestName, req.Force != nil && *req.Force)
	})
	return &methods.MoveVirtualDisk_TaskBody{Res: &types.MoveVirtualDisk_TaskResponse{Returnval: task}}
}

// CopyVirtualDiskTask copies a disk, flattened.
func (m *diskManager) CopyVirtualDiskTask(ctx *simulator.Context, req *types.CopyVirtualDisk_Task) soap.HasFault {
	task := m.diskTask(ctx, "CopyVirtualDisk_Task", func() error {
		return m.s.copyDisk(req.SourceName, req.DestName, req.Force != nil && *req.Force)
	})
	return &methods.CopyVirtualDisk_TaskBody{Res: &types.CopyVirtualDisk_TaskResponse{Returnval: task}}
}

// ExtendVirtualDiskTask grows a disk that nothing uses.
func (m *diskManager) ExtendVirtualDiskTask(ctx *simulator.Context, req *types.ExtendVirtualDisk_Task) soap.HasFault {
	task := m.diskTask(ctx, "ExtendVirtualDisk_Task", func() error {
		l, err := m.s.unused(req.Name)
		if err != nil {
			return err
		}
		if size := req.NewCapacityKb * 1024; size > l.capacity() && size <= vdisk.MaxSize && l.parent == nil {
			return ioFault(l.file, l.grow(size))
		}
		return refuse(&types.InvalidArgument{InvalidProperty: "newCapacityKb"}, "disk %s: can only grow, to %d bytes at most", l.file, int64(vdisk.MaxSize))
	})
	return &methods.ExtendVirtualDisk_TaskBody{Res: &types.ExtendVirtualDisk_TaskResponse{Returnval: task}}
}

// QueryVirtualDiskUuid returns a disk's UUID.
func (m *diskManager) QueryVirtualDiskUuid(_ *simulator.Context, req *types.QueryVirtualDiskUuid) soap.HasFault {
	p, err := parseDS(req.Name)
	var l *layer
	if err == nil {
		l, err = m.s.store.open(p)
	}
	if err != nil {
		return &methods.QueryVirtualDiskUuidBody{Fault_: soapFault(err)}
	}
	return &methods.QueryVirtualDiskUuidBody{Res: &types.QueryVirtualDiskUuidResponse{Returnval: l.root().uuid}}
}

// DeleteDatastoreFileTask deletes a file or a folder, unless a disk in it is
// in use.
func (m *fileManager) DeleteDatastoreFileTask(ctx *simulator.Context, req *types.DeleteDatastoreFile_Task) soap.HasFault {
	task := m.s.startTask(ctx, m.Self, "DeleteDatastoreFile_Task", func(*simulator.Context) (types.AnyType, error) {
		p, err := parseDS(req.Name)
		if err != nil {
			return nil, err
		}
		local, err := m.s.store.local(p)
		if err != nil {
			return nil, err
		}
		if p.path == "" {
			return nil, refuse(&types.InvalidDatastorePath{DatastorePath: req.Name}, "%q: a whole datastore", req.Name)
		}
		if _, err := os.Stat(local); err != nil {
			return nil, ioFault(p, err)
		}
		if err := m.s.store.release(p); err != nil {
			return nil, err
		}
		return nil, ioFault(p, os.RemoveAll(local))
	})
	return &methods.DeleteDatastoreFile_TaskBody{Res: &types.DeleteDatastoreFile_TaskResponse{Returnval: task}}
}

// RefreshDatastore needs not do anything any more: see intercept.
func (d *datastore) RefreshDatastore(*simulator.Context, *types.RefreshDatastore) soap.HasFault {
	return &methods.RefreshDatastoreBody{Res: &types.RefreshDatastoreResponse{}}
}

// refresh brings a datastore's free space up to date.
func (s *Server) refresh(name string) {
	s.store.mu.Lock()
	var layers []*layer
	for _, l := range s.store.layers {
		if l.file.datastore == name {
			layers = append(layers, l)
		}
	}
	s.store.mu.Unlock()
	s.account(s.newContext(), layers...)
}
