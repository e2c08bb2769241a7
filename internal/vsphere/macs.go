package vsphere

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vim25/mo"
)

// MACs tells which VM of this vCenter has which MAC address, in lower case.
func (c *Client) MACs(ctx context.Context) (map[string]VMRef, error) {
	var all []mo.VirtualMachine
	if err := c.list(ctx, "VirtualMachine", []string{"name", "config.hardware.device"}, &all); err != nil {
		return nil, fmt.Errorf("MAC addresses: %w", err)
	}
	out := map[string]VMRef{}
	for _, vm := range all {
		if vm.Config == nil {
			continue // being made, or not to be read
		}
		for _, n := range nics(vm.Config.Hardware.Device) {
			if n.MAC != "" {
				out[strings.ToLower(n.MAC)] = VMRef{MoRef: vm.Self.Value, Name: vm.Name}
			}
		}
	}
	return out, nil
}
