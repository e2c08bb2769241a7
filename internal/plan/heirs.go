package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// A vApp or VM that was deleted and restored has another URN. What a restore
// keeps is the VM's id within its vApp (VAppScopedLocalId), by which older
// restore points still know it.

// findHeir finds the vApp that stands for one that is gone: in its VDC, with
// its name, and with VMs of its VMs' ids within the vApp; nil is none.
func findHeir(ctx context.Context, d *Deps, point *restorepoint.Point) (*vcd.VApp, error) {
	refs, err := d.VCD.VApps(ctx, vcd.Filter("name==", point.VApp.Name))
	if err != nil && !errors.Is(err, vcd.ErrShort) {
		return nil, fmt.Errorf("list vApps: %w", err)
	}
	for _, ref := range refs {
		if ref.Name != point.VApp.Name || ref.VDCID != point.VDC.ID {
			continue
		}
		vapp, err := d.VCD.VApp(ctx, ref.ID)
		if vcd.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("vApp %s: %w", ref.Name, err)
		}
		if slices.ContainsFunc(point.VMs, func(vm restorepoint.VM) bool { return heirOf(vm, vapp.VMs) != nil }) {
			return vapp, nil
		}
	}
	return nil, nil
}

// heirOf is the VM with another VM's id within the vApp, nil where there is
// none or more than one.
func heirOf(vm restorepoint.VM, among []vcd.VM) *vcd.VM {
	var found *vcd.VM
	for i := range among {
		if vm.ScopedLocalID == "" || among[i].VAppScopedLocalID != vm.ScopedLocalID {
			continue
		}
		if found != nil {
			return nil
		}
		found = &among[i]
	}
	return found
}

// matchVMs notes which VM of the vApp each VM of the restore point is now: by
// its URN, else by its id within the vApp.
func (p *Plan) matchVMs(point *restorepoint.Point) {
	p.now = map[string]string{}
	var left []vcd.VM
	for _, l := range p.Live.VMs {
		if slices.ContainsFunc(point.VMs, func(vm restorepoint.VM) bool { return vm.ID == l.ID }) {
			p.now[l.ID] = l.ID
		} else {
			left = append(left, l)
		}
	}
	for _, vm := range point.VMs {
		if heir := heirOf(vm, left); p.now[vm.ID] == "" && heir != nil {
			p.now[vm.ID] = heir.ID
			p.conflict(KindRestored, "vm "+vm.Name, "take it for the one that was backed up", "has another id since: it was restored or made anew")
		}
	}
}

// is tells whether a VM of the vApp is one of the restore point.
func (p *Plan) is(l vcd.VM, vm restorepoint.VM) bool { return p.now[vm.ID] == l.ID }
