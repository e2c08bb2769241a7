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
	// failed says how a restore that fails leaves the vApp.
	failed string
	// after, where set, runs at the very end, whatever came of it.
	after func(context.Context) error
}

func (r *run) way() way {
	whole := way{make: r.missing, apply: r.apply, readBack: r.readBack, power: r.powerOn}
	switch r.plan.Mode {
	case plan.ModeOverwrite:
		whole.make, whole.failed = r.overwrite, "the restore was taken back; the vApp is powered off"
	case plan.ModeVMs:
		return way{make: r.selected, apply: r.applySelected, readBack: r.readBackSelected, power: r.powerOnSelected,
			failed: "the restore was taken back; the VMs that it was to overwrite are powered off"}
	case plan.ModeDisks:
		w := way{make: r.disks, apply: r.applyDisks, readBack: r.readBackDisks, power: r.powerOnSelected, after: r.switchOnAgain,
			failed: "the restore was taken back; the VMs whose disks it was to replace are powered off"}
		if r.attaches() {
			w.power, w.failed = nothing, "the restore was taken back"
		}
		return w
	case plan.ModeConfig:
		return way{make: r.prepareConfig, apply: r.applyChanges, readBack: r.readBackChanges, power: nothing, after: r.switchOnAgain,
			failed: "sections that were applied already stay so; the same restore again does the rest"}
	}
	return whole
}

func nothing(context.Context) error { return nil }
