package vsphere

import (
	"fmt"

	"github.com/vmware/govmomi/vim25/types"
)

// Placed returns the disks of a VM that was made as s says, by the keys that
// they bear in s. vCenter may have given them others: they are known by their
// places.
func (s ImportSpec) Placed(c *VMConfig) (map[int32]Disk, error) {
	var devices []types.BaseVirtualDevice
	// The IDE controllers are there without being asked for.
	for bus := range int32(2) {
		devices = append(devices, &types.VirtualIDEController{VirtualController: types.VirtualController{
			VirtualDevice: types.VirtualDevice{Key: 200 + bus}, BusNumber: bus,
		}})
	}
	for _, change := range s.ConfigSpec.DeviceChange {
		devices = append(devices, change.GetVirtualDeviceConfigSpec().Device)
	}
	out := map[int32]Disk{}
	for _, want := range disks(devices) {
		found := false
		for _, d := range c.Disks {
			if d.Attach().SamePlace(want.Attach()) {
				if found || d.Capacity != want.Capacity {
					return nil, fmt.Errorf("vm %s: disk %d: vCenter made another than was asked for", c.MoRef, want.Key)
				}
				out[want.Key], found = d, true
			}
		}
		if !found {
			return nil, fmt.Errorf("vm %s: disk %d: %w among the disks that vCenter made", c.MoRef, want.Key, ErrNotFound)
		}
	}
	return out, nil
}
