package restore

import (
	"context"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/vcd"
)

// renew sets the leases of a vApp that has outlived its storage lease to what
// they are: vCD counts them from now on, and lets the vApp be changed again.
func (r *run) renew(ctx context.Context) error {
	if !r.plan.Renew {
		return nil
	}
	return r.step(ctx, "renew leases", func(ctx context.Context) error {
		href := r.plan.Live.Href + "/leaseSettingsSection/"
		now, err := r.VCD.Get(ctx, href)
		if err != nil {
			return err
		}
		doc, err := document.Parse(now.Raw)
		if err != nil {
			return err
		}
		document.Strip(doc.Root(), "DeploymentLeaseExpiration", "StorageLeaseExpiration")
		return r.put(ctx, href, vcd.TypeLeaseSettings, doc)
	})
}
