package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// planVMs decides what becomes of each VM and where its disks go.
func planVMs(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	for i := range point.VMs {
		vm := &point.VMs[i]
		plan := VM{Name: vm.Name, Action: Rebuild, VM: vm, VimServerHref: p.vCenterOf(vm)}
		if vm.Missing != "" {
			plan.Action = Leave
			plan.Live = p.live(vm)
			if vm.Excluded {
				resolution := "leave it out"
				if plan.Live != nil {
					resolution = "leave it as it is"
				}
				p.conflict(KindExcluded, "vm "+vm.Name, resolution, "was not backed up, by choice: %s", vm.Missing)
				p.VMs = append(p.VMs, plan)
				continue
			}
			p.Missing++
			p.conflict(KindNotInPoint, "vm "+vm.Name, "restore the others", "its disks are not in the restore point: %s", vm.Missing)
			p.VMs = append(p.VMs, plan)
			continue
		}
		for _, disk := range vm.Disks {
			plan.Bytes += disk.Content.DataBytes
		}
		if live := p.live(vm); live != nil {
			plan.Action, plan.Live, plan.LiveMoRef = Overwrite, live, live.VimInfo.VMMoRef
			// It may have moved to another vCenter since.
			plan.VimServerHref = live.VimInfo.VCenterHref
		}
		for _, disk := range vm.Unprotected {
			resolution := "put an empty disk in its place"
			if plan.Action == Overwrite {
				resolution = "leave it as it is"
			}
			if disk.Excluded {
				p.conflict(KindExcluded, "vm "+vm.Name+" disk "+disk.Label, resolution, "was not backed up, by choice: %s", disk.NotProtected)
				continue
			}
			p.conflict(KindNotInPoint, "vm "+vm.Name+" disk "+disk.Label, resolution, "is not in the restore point: %s", disk.NotProtected)
			p.Missing++
		}
		if err := planVM(ctx, d, p, &plan); err != nil {
			return fmt.Errorf("vm %s: %w", vm.Name, err)
		}
		p.VMs = append(p.VMs, plan)
	}
	if p.Live != nil {
		for j, l := range p.Live.VMs {
			if !slices.ContainsFunc(point.VMs, func(vm restorepoint.VM) bool { return p.is(l, vm) }) {
				p.planExtra(&p.Live.VMs[j])
			}
		}
	}
	return nil
}

// live returns what the vApp has now of a VM, nil where that is gone.
func (p *Plan) live(vm *restorepoint.VM) *vcd.VM {
	if p.Live == nil {
		return nil
	}
	i := slices.IndexFunc(p.Live.VMs, func(l vcd.VM) bool { return p.is(l, *vm) })
	if i < 0 {
		return nil
	}
	return &p.Live.VMs[i]
}

func planVM(ctx context.Context, d *Deps, p *Plan, plan *VM) error {
	doc, err := d.Docs.Tree("vcd/vms/" + restorepoint.UUID(plan.VM.ID) + "/vm.xml")
	if err != nil {
		return err
	}
	if doc != nil {
		if name := p.StorageProfiles[document.AttributeOf(doc.Root(), "name", "StorageProfile")]; name != "" {
			plan.StorageProfile = restorepoint.Ref{ID: vcd.URN(p.Profiles[name]), Name: name, Href: p.Profiles[name]}
		}
	}
	client, err := d.VSphere(ctx, plan.VimServerHref)
	if err != nil {
		return err
	}
	if plan.Action == Overwrite {
		err := planOverwrite(ctx, d, client, p, plan)
		if errors.Is(err, vsphere.ErrNotFound) {
			p.conflict(KindVMGone, "vm "+plan.Name, "", "vCD has it, but its vCenter does not: delete it in vCD, then it is rebuilt")
			return nil
		}
		if err != nil {
			return err
		}
	}
	if plan.Blocks {
		return nil // nothing is made anew
	}
	return planDatastores(ctx, d, client, p, plan)
}
