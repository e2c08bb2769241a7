package restore

import (
	"context"
	"fmt"

	"github.com/vappvault/vappvault/internal/vcd"
)

// RemoveVApp deletes a vApp that a restore made, with its VMs and disks. A
// vApp that is gone already is no error.
func RemoveVApp(ctx context.Context, c *vcd.Client, href string) error {
	vapp, err := c.VApp(ctx, vcd.URN(href))
	if vcd.IsNotFound(err) || vcd.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read vApp: %w", err)
	}
	if vapp.InMaintenance {
		if err := c.ExitMaintenance(ctx, vapp.ID); err != nil {
			return fmt.Errorf("exit maintenance mode: %w", err)
		}
	}
	if vapp.Deployed {
		if err := c.Undeploy(ctx, href, "powerOff"); err != nil {
			return fmt.Errorf("undeploy: %w", err)
		}
	}
	if err := c.DeleteVApp(ctx, href); err != nil && !vcd.IsNotFound(err) {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// RemoveImported deletes what an import of the VM with this moref made in
// vCD: the whole vApp where the import made it, else the VM. Where vCD does
// not know the VM there is nothing to do.
func RemoveImported(ctx context.Context, c *vcd.Client, moref, vcenterUUID string, whole bool) error {
	servers, err := c.VimServers(ctx)
	if err != nil {
		return fmt.Errorf("list vCenters: %w", err)
	}
	hrefs := map[string]bool{}
	for _, s := range servers {
		if s.UUID == vcenterUUID {
			hrefs[vcd.URN(s.Href)] = true
		}
	}
	vms, err := c.VMs(ctx, vcd.Filter("moref==", moref))
	if err != nil {
		return fmt.Errorf("find VM %s: %w", moref, err)
	}
	for _, vm := range vms {
		if vm.MoRef != moref || !hrefs[vcd.URN(vm.VCenterHref)] {
			continue
		}
		if whole {
			err = RemoveVApp(ctx, c, c.Href(vm.VAppID))
		} else if err = c.DeleteVM(ctx, vm.Href); vcd.IsNotFound(err) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("vm %s: %w", vm.Name, err)
		}
	}
	return nil
}
