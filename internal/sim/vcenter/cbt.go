package vcenter

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// vmfsBlock is the granularity at which a thin disk is allocated.
const vmfsBlock = 1 << 20

// QueryChangedDiskAreas answers one page of the areas of a disk that changed
// between a change ID and a snapshot, or, for "*", that are allocated.
func (v *virtualMachine) QueryChangedDiskAreas(_ *simulator.Context, req *types.QueryChangedDiskAreas) soap.HasFault {
	info, err := v.s.changedAreas(v.Self, req)
	if err != nil {
		return &methods.QueryChangedDiskAreasBody{Fault_: soapFault(err)}
	}
	return &methods.QueryChangedDiskAreasBody{Res: &types.QueryChangedDiskAreasResponse{Returnval: *info}}
}

func (s *Server) changedAreas(ref types.ManagedObjectReference, req *types.QueryChangedDiskAreas) (*types.DiskChangeInfo, error) {
	vs, err := s.mustState(ref)
	if err != nil {
		return nil, err
	}
	// Exclusive: heeding ForgetChangeIDs writes to trackers.
	vs.io.Lock()
	defer vs.io.Unlock()
	f, to, err := s.tracked(vs, req)
	if err != nil {
		return nil, err
	}
	size := f.layer.capacity()
	if req.StartOffset < 0 || req.StartOffset >= size {
		return nil, refuse(&types.InvalidArgument{InvalidProperty: "startOffset"}, "start offset %d: the disk has %d bytes", req.StartOffset, size)
	}
	ctk := f.layer.file.dir().join(f.layer.file.stem() + "-ctk.vmdk")
	unknown := func(what string) error {
		return refuse(&types.FileFault{File: ctk.String()}, "error caused by file %s: %s", ctk, what)
	}
	if f.tracker == nil {
		return nil, unknown("changes were not tracked")
	}
	f.tracker.forgetUpTo(s.faults.forgotten(ref.Value))
	var areas []Range
	if req.ChangeId == "*" {
		areas = []Range{{0, size}}
		if f.layer.root().thin {
			data, err := f.layer.data()
			if err != nil {
				return nil, unknown(err.Error())
			}
			areas = align(data, vmfsBlock, size)
		}
	} else {
		blocks, ok := f.tracker.changed(req.ChangeId, to)
		if !ok {
			return nil, unknown("change ID " + req.ChangeId)
		}
		areas = blocks.ranges(size)
	}
	areas = subtract(areas, s.faults.omitted(forgery{ref.Value, req.DeviceKey, req.ChangeId == "*"}))
	n, empty := s.faults.paging()
	return page(areas, req.StartOffset, size, n, empty), nil
}

// tracked finds the disk that a query is about, and the generation up to
// which it asks.
func (s *Server) tracked(vs *vmState, req *types.QueryChangedDiskAreas) (*frozenDisk, int64, error) {
	noDisk := refuse(&types.InvalidArgument{InvalidProperty: "deviceKey"}, "disk %d: not found", req.DeviceKey)
	if req.Snapshot != nil {
		n := vs.snaps[*req.Snapshot]
		if n == nil {
			return nil, 0, gone(*req.Snapshot)
		}
		f := n.disks[req.DeviceKey]
		if f == nil {
			return nil, 0, noDisk
		}
		return f, f.seq, nil
	}
	if vs.on {
		return nil, 0, refuse(&types.InvalidArgument{InvalidProperty: "snapshot"}, "a VM that runs is only asked about a snapshot")
	}
	d := vs.disks[req.DeviceKey]
	if d == nil {
		return nil, 0, noDisk
	}
	f := &frozenDisk{device: d.device, layer: d.top, tracker: d.tracker}
	if d.tracker != nil {
		f.seq = d.tracker.seq + 1
	}
	return f, f.seq, nil
}

// page cuts the n areas that follow start out of areas. It reaches as far as
// nothing is left out, which is the next area or the end of the disk.
func page(areas []Range, start, size int64, n int, emptyPages bool) *types.DiskChangeInfo {
	info := &types.DiskChangeInfo{StartOffset: start, Length: size - start}
	for _, a := range areas {
		if a.End() <= start {
			continue
		}
		if a.Offset < start {
			a = Range{start, a.End() - start}
		}
		if len(info.ChangedArea) == n || emptyPages && len(info.ChangedArea) == 0 && a.Offset > start {
			info.Length = a.Offset - start
			break
		}
		info.ChangedArea = append(info.ChangedArea, types.DiskChangeExtent{Start: a.Offset, Length: a.Length})
	}
	return info
}
