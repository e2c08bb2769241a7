package vcenter

import (
	"fmt"

	"github.com/vmware/govmomi/vim25/types"
)

// Raw device mappings: a small file stands for a LUN. The LUN's bytes are
// those of a layer like any other's, so that guests find them.

type rawBacking = types.VirtualDiskRawDiskMappingVer1BackingInfo

const (
	rawVirtual  = string(types.VirtualDiskCompatibilityModeVirtualMode)
	rawPhysical = string(types.VirtualDiskCompatibilityModePhysicalMode)
)

// physical tells whether a disk is a mapping that passes SCSI commands on:
// no snapshot, no clone and no export has it.
func physical(d *types.VirtualDisk) bool {
	b, ok := d.Backing.(*rawBacking)
	return ok && b.CompatibilityMode == rawPhysical
}

// addRaw adds a raw device mapping.
func (p *diskPlan) addRaw(index int, disk *types.VirtualDisk, b *rawBacking, op types.VirtualDeviceConfigSpecFileOperation) error {
	raw := *b
	switch raw.CompatibilityMode {
	case rawVirtual:
		if raw.DiskMode == "" {
			raw.DiskMode = string(types.VirtualDiskModePersistent)
		}
	case rawPhysical:
		raw.DiskMode = string(types.VirtualDiskModeIndependent_persistent)
	default:
		return invalidDevice(index, "compatibility mode %q", raw.CompatibilityMode)
	}
	if raw.LunUuid == "" {
		raw.LunUuid = fmt.Sprintf("02000000006000c29%015d", p.s.taskSeq.Add(1))
	}
	if raw.DeviceName == "" {
		raw.DeviceName = "vml." + raw.LunUuid
	}
	disk.Backing = &raw
	if err := p.place(index, disk); err != nil {
		return err
	}
	flat := &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: raw.VirtualDeviceFileBackingInfo, ThinProvisioned: types.NewBool(true), Uuid: raw.Uuid, Sharing: raw.Sharing,
	}
	var l *layer
	var err error
	if op == "" {
		l, err = p.existing(index, disk, flat)
	} else {
		l, err = p.fresh(index, disk, flat, op)
	}
	if err == nil {
		p.next[disk.Key] = &vmDisk{key: disk.Key, device: disk, top: l, mode: raw.DiskMode}
	}
	return err
}

// rawInfo describes a mapping as backing does a flat disk.
func (s *Server) rawInfo(l *layer, like *rawBacking, mode, changeID string) *rawBacking {
	b := *like
	b.FileName, b.Uuid, b.ChangeId, b.DiskMode, b.Parent = l.file.String(), l.root().uuid, changeID, mode, nil
	b.ContentId = fmt.Sprintf("%032x", l.cid)
	if ds := s.inv.datastores[l.file.datastore]; ds != nil {
		ref := ds.Self
		b.Datastore = &ref
	}
	if l.parent != nil {
		b.Parent = s.rawInfo(l.parent, like, mode, "")
	}
	return &b
}
