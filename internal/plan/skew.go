package plan

import (
	"context"
	"time"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// planSkew says which VMs come from earlier points, and how far apart in time
// the VMs of the restored vApp will be.
func planSkew(_ context.Context, _ *Deps, p *Plan, point *restorepoint.Point) error {
	var first, last time.Time
	borrowed := false
	for _, vm := range point.VMs {
		if vm.Missing != "" || vm.Frozen.IsZero() {
			continue
		}
		if first.IsZero() || vm.Frozen.Before(first) {
			first = vm.Frozen
		}
		if vm.Frozen.After(last) {
			last = vm.Frozen
		}
		borrowed = borrowed || vm.From != ""
	}
	for _, vm := range point.VMs {
		if vm.From != "" {
			p.conflict(KindOtherPoint, "vm "+vm.Name, "take it from restore point "+vm.From, "is not in this restore point; the newest that has it is of %s, %s before the newest of the others",
				vm.Frozen.UTC().Format(time.RFC3339), last.Sub(vm.Frozen).Round(time.Second))
		}
	}
	if borrowed {
		p.Skew = last.Sub(first)
	}
	return nil
}
