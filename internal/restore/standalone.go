package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vcd"
)

// importStandalone moves a VM into vCD as a standalone one, and returns the
// vApp that vCD made as its shell. The href comes with an error too, where
// there is a shell to take back.
func (r *run) importStandalone(ctx context.Context, vp *plan.VM, moref string) (vappHref string, err error) {
	began := time.Now().Add(-clockSkew)
	vmHref, err := r.VCD.ImportVM(ctx, vp.VimServerHref, vcd.ImportVM{
		Name: vp.Name, Description: r.vmDescription(vp.VM), VMName: vp.Name, ScopedLocalID: vp.VM.ScopedLocalID,
		ComputerName: r.guestName(vp.VM), MoRef: moref, StorageProfileHref: vp.StorageProfile.Href, VDCHref: r.plan.VDC.Href,
	})
	if err != nil {
		// vCD names the VM, which it may not have made, and not the shell.
		return "", errors.Join(err, r.removeShell(context.WithoutCancel(ctx), vp.Name, began))
	}
	refs, err := r.VCD.VMs(ctx, vcd.Filter("name==", vp.Name))
	if err != nil {
		return "", fmt.Errorf("find the VM: %w", err)
	}
	for _, ref := range refs {
		if ref.ID == vcd.URN(vmHref) {
			return r.VCD.Href(ref.VAppID), nil
		}
	}
	return "", fmt.Errorf("vm %s is not listed after its import", vp.Name)
}

// clockSkew is how far the clocks of vCD and of this machine may be apart.
const clockSkew = 2 * time.Minute

func (r *run) removeShell(ctx context.Context, vm string, since time.Time) error {
	_, err := RemoveShell(ctx, r.VCD, r.plan.VDC.ID, vm, since)
	return err
}

// RemoveShell deletes the empty shells of a standalone VM that were made in a
// VDC since then, and tells whether there was one.
func RemoveShell(ctx context.Context, c *vcd.Client, vdcID, vm string, since time.Time) (found bool, err error) {
	vapps, err := c.VApps(ctx, vcd.Filter("name==", vm)+"*")
	if err != nil {
		return false, fmt.Errorf("find the shell of vm %s: %w", vm, err)
	}
	for _, v := range vapps {
		if v.VDCID != vdcID || v.VMCount > 0 || v.Name != vm && !strings.HasPrefix(v.Name, vm+"-") {
			continue
		}
		vapp, err := c.VApp(ctx, v.ID)
		if vcd.IsNotFound(err) {
			continue
		}
		if err != nil {
			return found, fmt.Errorf("read vApp %s: %w", v.Name, err)
		}
		if vapp.Created.Before(since) || len(vapp.VMs) > 0 || !v.AutoNature {
			continue
		}
		found = true
		if err := RemoveVApp(ctx, c, v.Href); err != nil {
			return found, fmt.Errorf("vApp %s: %w", v.Name, err)
		}
	}
	return found, nil
}

// shellDetail is what the intent of a new vApp says of a standalone VM's.
func (r *run) shellDetail(detail map[string]string) map[string]string {
	if r.plan.Standalone {
		detail[mark.Shell] = r.plan.VMs[0].Name
	}
	return detail
}
