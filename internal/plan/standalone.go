package plan

import (
	"context"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// planNature decides as what a vApp comes back that vCD had made itself: the
// shell of a standalone VM as one, a discovered vApp as an ordinary one.
func planNature(_ context.Context, _ *Deps, p *Plan, point *restorepoint.Point) error {
	switch point.Kind() {
	case restorepoint.NatureStandalone:
		// Points of older versions do not tell the two natures apart, but
		// a shell has one VM, always.
		p.Standalone = !p.InPlace() && len(point.VMs) == 1 && point.VMs[0].Missing == ""
	case restorepoint.NatureDiscovered:
		if p.InPlace() && p.Live.AutoNature {
			p.conflict(KindNature, "vApp "+p.VAppName, "let vCD adopt it", "was discovered, not made in vCD: with its first change it becomes an ordinary vApp")
		}
		if !p.InPlace() {
			p.conflict(KindNature, "vApp "+p.VAppName, "restore it as an ordinary vApp", "was discovered, not made in vCD")
		}
	}
	return nil
}

// nameStandalone gives a copy of a standalone VM its name: that of its shell
// is vCD's to choose.
func nameStandalone(_ context.Context, _ *Deps, p *Plan, _ *restorepoint.Point) error {
	if p.Standalone && (p.Mode == ModeCopy || p.options.Overrides.Name != "") {
		for i := range p.VMs {
			p.VMs[i].Name, p.VMs[i].Was = p.VAppName, p.VMs[i].VM.Name
		}
	}
	return nil
}
