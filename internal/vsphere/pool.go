package vsphere

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmware/govmomi/vim25/mo"
)

// HasResourcePool tells whether this vCenter has a resource pool, by its
// managed object reference.
func (c *Client) HasResourcePool(ctx context.Context, moref string) (bool, error) {
	var pool mo.ResourcePool
	err := c.get(ctx, ref("ResourcePool", moref), &pool, "name")
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("resource pool %s: %w", moref, err)
	}
	return true, nil
}
