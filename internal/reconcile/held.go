package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/vappvault/vappvault/internal/vsphere"
)

// leaseEnds is how long an NFC lease outlives whoever kept it alive, with time
// to spare: vCenter gives it 5 minutes. Only the session that it belonged to
// could end it before, and that died with its run.
const leaseEnds = 6 * time.Minute

// A wait is how long a settlement has been kept waiting for VMs that something
// holds, all of them together.
type wait struct{ until time.Time }

// unheld does something to a VM, again and again while the VM is held by what
// ends by itself.
func (d Deps) unheld(ctx context.Context, vm string, do func() error) error {
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		err := do()
		if err == nil || !vsphere.Held(err) || ctx.Err() != nil {
			return err
		}
		if d.wait.until.IsZero() {
			d.wait.until = time.Now().Add(leaseEnds)
		}
		if time.Until(d.wait.until) < pause {
			return fmt.Errorf("%w: something holds the VM still; where it is a transfer of the run that died, vCenter ends it within minutes: try `vappvault reconcile` again", err)
		}
		if pause == time.Second {
			d.Logger.WarnContext(ctx, "the VM is held, as by a transfer of a run that died until vCenter ends it: waiting", "vm", vm, "longest", leaseEnds, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
