package vsphere

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

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

// diskPolicies returns the storage policies of disks, by device key. A
// vCenter that does not tell leaves the disks that come in their place to the
// datastore's default.
func (v *VM) diskPolicies(ctx context.Context, list []*types.VirtualDisk) map[int32]string {
	byKey := map[string]int32{}
	var entities []pbmtypes.PbmServerObjectRef
	for _, d := range list {
		e := pbmtypes.PbmServerObjectRef{
			ObjectType: string(pbmtypes.PbmObjectTypeVirtualDiskId),
			Key:        fmt.Sprintf("%s:%d", v.ref.Value, d.Key),
			ServerUuid: v.c.vim.ServiceContent.About.InstanceUuid,
		}
		byKey[e.Key] = d.Key
		entities = append(entities, e)
	}
	if len(entities) == 0 {
		return nil
	}
	p, err := pbm.NewClient(ctx, v.c.vim)
	var found []pbmtypes.PbmQueryProfileResult
	if err == nil {
		found, err = p.QueryAssociatedProfiles(ctx, entities)
	}
	if err != nil {
		v.c.log.Warn("storage policies not known; new disks get the datastore's default", "vm", v.ref.Value, "error", explain(err))
		return nil
	}
	out := map[int32]string{}
	for _, f := range found {
		if key, ok := byKey[f.Object.Key]; ok && len(f.ProfileId) > 0 {
			out[key] = f.ProfileId[0].UniqueId
		}
	}
	return out
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
