package vsphere

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A Swap puts another file in the place of a disk.
type Swap struct {
	Key     int32  // device key of the disk to replace
	NewFile string // "[datastore1] web01/web01-new.vmdk"
	// Capacity of the new file in bytes; 0: that of the disk it replaces.
	Capacity int64
	// StoragePolicy is the id of the new disk's storage policy; empty: that
	// of the disk it replaces, where vCenter tells it.
	StoragePolicy string
}

// A Detached is a disk that SwapDisks took out. Its file is kept.
type Detached struct {
	Key    int32  // device key it had
	NewKey int32  // device key of the disk in its place; vCenter decides, it is the same as a rule
	File   string // its file
}

// SwapDisks exchanges disks of a VM that is off and has no snapshots, all in
// one reconfiguration: either every disk is exchanged or none. Controller,
// unit, mode, shares and storage policy stay; no file is deleted. Swaps that
// are already done are left out of the result. When ctx ends first, the swap
// may happen all the same: ask again to know.
func (v *VM) SwapDisks(ctx context.Context, swaps []Swap) ([]Detached, error) {
	var vm mo.VirtualMachine
	if err := v.c.get(ctx, v.ref, &vm, "config.hardware.device", "snapshot"); err != nil {
		return nil, v.fail("swap disks", err)
	}
	if vm.Snapshot != nil && len(vm.Snapshot.RootSnapshotList) > 0 {
		return nil, v.fail("swap disks", ErrSnapshotsPresent)
	}
	todo, old, err := plan(vm.Config.Hardware.Device, swaps)
	if err != nil {
		return nil, v.fail("swap disks", err)
	}
	if len(todo) == 0 {
		return nil, nil
	}
	v.policies(ctx, todo)
	err = v.reconfigure(ctx, swapSpec(todo, old, func(i int) int32 { return todo[i].Key }))
	if isFault[*types.InvalidDeviceSpec](err) {
		// The key of a disk that goes in the same breath is no name for one
		// that comes, by the letter of the API. Nothing has changed yet.
		err = v.reconfigure(ctx, swapSpec(todo, old, func(i int) int32 { return -int32(i) - 1 }))
	}
	if err != nil {
		return nil, v.fail("swap disks", err)
	}
	out, err := v.swapped(ctx, todo, old)
	if err != nil {
		return nil, v.fail("swap disks: read back", err)
	}
	return out, nil
}

// plan finds the disks to take out and drops the swaps that are done already.
func plan(devices []types.BaseVirtualDevice, swaps []Swap) ([]Swap, []*types.VirtualDisk, error) {
	var todo []Swap
	var old []*types.VirtualDisk
	seen := map[int32]bool{}
	for _, s := range swaps {
		d := findDevice(devices, s.Key)
		if d == nil || seen[s.Key] {
			return nil, nil, fmt.Errorf("disk %d: %w", s.Key, ErrNotFound)
		}
		seen[s.Key] = true
		if _, _, ok := splitPath(s.NewFile); !ok {
			return nil, nil, fmt.Errorf("disk %d: %q is not a datastore path", s.Key, s.NewFile)
		}
		if fileOf(d) == s.NewFile {
			continue
		}
		todo, old = append(todo, s), append(old, d)
	}
	return todo, old, nil
}

func findDevice(devices []types.BaseVirtualDevice, key int32) *types.VirtualDisk {
	for _, d := range devices {
		if vd, ok := d.(*types.VirtualDisk); ok && vd.Key == key {
			return vd
		}
	}
	return nil
}

func fileOf(d *types.VirtualDisk) string {
	if b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		return b.GetVirtualDeviceFileBackingInfo().FileName
	}
	return ""
}

// swapSpec removes the old disks, keeping their files, and then adds the new.
func swapSpec(swaps []Swap, old []*types.VirtualDisk, key func(i int) int32) types.VirtualMachineConfigSpec {
	var spec types.VirtualMachineConfigSpec
	for _, d := range old {
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: d,
		})
	}
	for i, s := range swaps {
		change := &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: replacement(s, old[i], key(i)),
		}
		if s.StoragePolicy != "" {
			change.Profile = []types.BaseVirtualMachineProfileSpec{
				&types.VirtualMachineDefinedProfileSpec{ProfileId: s.StoragePolicy},
			}
		}
		spec.DeviceChange = append(spec.DeviceChange, change)
	}
	return spec
}

// replacement is the disk on the new file, in the old one's place.
func replacement(s Swap, old *types.VirtualDisk, key int32) *types.VirtualDisk {
	was := disk(old, nil)
	capacity := s.Capacity
	if capacity == 0 {
		capacity = was.Capacity
	}
	b := &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: s.NewFile},
		DiskMode:                     was.Mode,
		ThinProvisioned:              types.NewBool(true), // as all disks that we make
		Sharing:                      was.Sharing,
	}
	if b.DiskMode == "" {
		b.DiskMode = string(types.VirtualDiskModePersistent)
	}
	return &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{
			Key: key, ControllerKey: old.ControllerKey, UnitNumber: types.NewInt32(unit(old)), Backing: b,
		},
		CapacityInKB: capacity >> 10, CapacityInBytes: capacity,
		Shares: old.Shares, StorageIOAllocation: old.StorageIOAllocation,
	}
}

// swapped reads the VM back and pairs each old disk with the one in its place.
func (v *VM) swapped(ctx context.Context, swaps []Swap, old []*types.VirtualDisk) ([]Detached, error) {
	var vm mo.VirtualMachine
	if err := v.c.get(ctx, v.ref, &vm, "config.hardware.device"); err != nil {
		return nil, err
	}
	now := disks(vm.Config.Hardware.Device)
	out := make([]Detached, len(swaps))
	for i, s := range swaps {
		out[i] = Detached{Key: s.Key, File: fileOf(old[i])}
		for _, d := range now {
			if d.ControllerKey != old[i].ControllerKey || d.Unit != unit(old[i]) {
				continue
			}
			if d.FileName != s.NewFile {
				return nil, fmt.Errorf("disk %d is on %s, not on %s", d.Key, d.FileName, s.NewFile)
			}
			out[i].NewKey = d.Key
		}
		if out[i].NewKey == 0 {
			return nil, fmt.Errorf("disk %d: nothing at unit %d of controller %d", s.Key, unit(old[i]), old[i].ControllerKey)
		}
	}
	return out, nil
}

// policies fills in the storage policies that the disks have now. A vCenter
// that does not tell leaves the new disks to the datastore's default.
func (v *VM) policies(ctx context.Context, swaps []Swap) {
	byKey := map[string]*Swap{}
	var entities []pbmtypes.PbmServerObjectRef
	for i := range swaps {
		if swaps[i].StoragePolicy != "" {
			continue
		}
		e := pbmtypes.PbmServerObjectRef{
			ObjectType: string(pbmtypes.PbmObjectTypeVirtualDiskId),
			Key:        fmt.Sprintf("%s:%d", v.ref.Value, swaps[i].Key),
			ServerUuid: v.c.vim.ServiceContent.About.InstanceUuid,
		}
		byKey[e.Key] = &swaps[i]
		entities = append(entities, e)
	}
	if len(entities) == 0 {
		return
	}
	p, err := pbm.NewClient(ctx, v.c.vim)
	var found []pbmtypes.PbmQueryProfileResult
	if err == nil {
		found, err = p.QueryAssociatedProfiles(ctx, entities)
	}
	if err != nil {
		v.c.log.Warn("storage policies not known; new disks get the datastore's default", "vm", v.ref.Value, "error", explain(err))
		return
	}
	for _, f := range found {
		if s := byKey[f.Object.Key]; s != nil && len(f.ProfileId) > 0 {
			s.StoragePolicy = f.ProfileId[0].UniqueId
		}
	}
}

// DetachDisk takes a disk out of the VM and returns its file, which is kept.
// ErrNotFound: the VM has no such disk.
func (v *VM) DetachDisk(ctx context.Context, key int32) (string, error) {
	step := fmt.Sprintf("disk %d: detach", key)
	var vm mo.VirtualMachine
	if err := v.c.get(ctx, v.ref, &vm, "config.hardware.device"); err != nil {
		return "", v.fail(step, err)
	}
	d := findDevice(vm.Config.Hardware.Device, key)
	if d == nil {
		return "", v.fail(step, ErrNotFound)
	}
	err := v.reconfigure(ctx, types.VirtualMachineConfigSpec{
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: d,
		}},
	})
	if err != nil {
		return "", v.fail(step, err)
	}
	return fileOf(d), nil
}
