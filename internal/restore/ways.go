package restore

import (
	"context"

	"github.com/vappvault/vappvault/internal/plan"
)

// A way is what the modes of a restore differ in.
type way struct {
	make     func(context.Context) error // brings VMs and disks back, enters maintenance mode
	apply    func(context.Context) error // what the documents say
	readBack func(context.Context) error
	power    func(context.Context) error
	// stopped says what of the vApp is off once it was taken back.
	stopped string
}

func (r *run) way() way {
	whole := way{make: r.missing, apply: r.apply, readBack: r.readBack, power: r.powerOn}
	switch r.plan.Mode {
	case plan.ModeOverwrite:
		whole.make, whole.stopped = r.overwrite, "the vApp is powered off"
	case plan.ModeVMs:
		return way{make: r.selected, apply: r.applySelected, readBack: r.readBackSelected, power: r.powerOnSelected, stopped: "the VMs are powered off"}
	}
	return whole
}

// powerOn switches the vApp on, as asked.
func (r *run) powerOn(ctx context.Context) error {
	if r.plan.Power == plan.PowerOff {
		return nil
	}
	return r.step(ctx, "power on", func(ctx context.Context) error { return r.VCD.PowerOn(ctx, r.vapp.Href) })
}
