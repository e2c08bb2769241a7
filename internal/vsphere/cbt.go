package vsphere

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/extent"
)

// SameEpoch reports whether two change IDs, UUID/sequence, count from the
// same start. Between different epochs nothing is known about changes.
func SameEpoch(a, b string) bool {
	ea, _, oka := strings.Cut(a, "/")
	eb, _, okb := strings.Cut(b, "/")
	return oka && okb && ea != "" && strings.EqualFold(ea, eb)
}

// Changed returns what was written to a disk of the snapshot since changeID,
// which an earlier snapshot of the same disk bore. ErrChangeIDUnknown: the
// host cannot tell, read in full. Any other error leaves the question open
// too; no answer is ever made up.
func (s *Snapshot) Changed(ctx context.Context, d Disk, changeID string) (extent.Set, error) {
	snapshot := ref("VirtualMachineSnapshot", s.Ref)
	return s.vm.changed(ctx, &snapshot, d, changeID)
}

// ChangedSince is Changed up to now, without a snapshot. vSphere answers it
// for VMs that are switched off only (QueryChangedDiskAreas, parameter
// snapshot); d is from the VM's configuration.
func (v *VM) ChangedSince(ctx context.Context, d Disk, changeID string) (extent.Set, error) {
	return v.changed(ctx, nil, d, changeID)
}

func (v *VM) changed(ctx context.Context, snapshot *types.ManagedObjectReference, d Disk, changeID string) (extent.Set, error) {
	step := fmt.Sprintf("disk %d: changed areas", d.Key)
	if changeID == "" || !SameEpoch(changeID, d.ChangeID) {
		return nil, v.fail(step, fmt.Errorf("%w: %q to %q is no span", ErrChangeIDUnknown, changeID, d.ChangeID))
	}
	set, err := v.areas(ctx, snapshot, d, changeID)
	if isFault[types.BaseFileFault](err) || invalidArgument(err, "changeId") {
		err = fmt.Errorf("%w: %w", ErrChangeIDUnknown, explain(err))
	}
	if err != nil {
		return nil, v.fail(step, err)
	}
	return set, nil
}

// Allocated returns what of a disk of the snapshot may hold data; the rest
// reads as zeros. ErrNotSupported: the host cannot tell, read everything.
func (s *Snapshot) Allocated(ctx context.Context, d Disk) (extent.Set, error) {
	step := fmt.Sprintf("disk %d: allocated areas", d.Key)
	if d.ChangeID == "" {
		return nil, s.vm.fail(step, fmt.Errorf("%w without change tracking", ErrNotSupported))
	}
	snapshot := ref("VirtualMachineSnapshot", s.Ref)
	set, err := s.vm.areas(ctx, &snapshot, d, "*")
	switch {
	case isFault[types.BaseFileFault](err), invalidArgument(err, "changeId"):
		err = fmt.Errorf("%w: %w", ErrNotSupported, explain(err))
	case err == nil && len(set) == 0 && !d.Thin:
		// A thick disk has all its blocks. A host that says otherwise has
		// counted writes since tracking began, not what is there.
		err = fmt.Errorf("%w: nothing allocated on a thick disk", ErrNotSupported)
	}
	if err != nil {
		return nil, s.vm.fail(step, err)
	}
	return set, nil
}

// areas pages through QueryChangedDiskAreas until the answers cover the disk.
// A page without areas is an answer like any other, not the end.
func (v *VM) areas(ctx context.Context, snapshot *types.ManagedObjectReference, d Disk, changeID string) (extent.Set, error) {
	if d.Capacity <= 0 {
		return nil, errors.New("the disk has no capacity")
	}
	var list []extent.Extent
	for offset := int64(0); offset < d.Capacity; {
		res, err := methods.QueryChangedDiskAreas(ctx, v.c.vim, &types.QueryChangedDiskAreas{
			This: v.ref, Snapshot: snapshot, DeviceKey: d.Key, StartOffset: offset, ChangeId: changeID,
		})
		if err != nil {
			return nil, err
		}
		page := res.Returnval
		if err := checkPage(page, offset, d.Capacity); err != nil {
			return nil, err
		}
		for _, a := range page.ChangedArea {
			e, err := clipArea(a, d.Capacity)
			if err != nil {
				return nil, err
			}
			list = append(list, e)
		}
		offset += page.Length
	}
	return extent.Of(list...), nil
}

// checkPage makes sure that a page begins where the last one ended, gets
// ahead, and stays within the disk: then the lengths add up to the capacity.
func checkPage(page types.DiskChangeInfo, offset, capacity int64) error {
	switch {
	case page.StartOffset != offset:
		return fmt.Errorf("vCenter answers for offset %d, asked about %d", page.StartOffset, offset)
	case page.Length <= 0:
		return fmt.Errorf("vCenter gets no further than offset %d of %d", offset, capacity)
	case page.Length > capacity-offset:
		return fmt.Errorf("vCenter's areas end %d bytes behind the disk's %d", page.Length-(capacity-offset), capacity)
	}
	return nil
}

// clipArea validates one area. An area may reach out of its page, which only
// means to read more, but not start outside the disk.
func clipArea(a types.DiskChangeExtent, capacity int64) (extent.Extent, error) {
	if a.Start < 0 || a.Length <= 0 || a.Start >= capacity {
		return extent.Extent{}, fmt.Errorf("vCenter names an area of %d bytes at %d on a disk of %d", a.Length, a.Start, capacity)
	}
	return extent.Extent{Offset: a.Start, Length: min(a.Length, capacity-a.Start)}, nil
}

func invalidArgument(err error, property string) bool {
	f, ok := faultAs[*types.InvalidArgument](err)
	return ok && strings.EqualFold(f.InvalidProperty, property)
}
