package plan

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// planVSphere plans to make the VMs in a folder of vSphere, where vCD knows
// nothing of them: outside the resource pools of VDCs, so that discovery does
// not adopt them.
func planVSphere(o Options) planStep {
	return func(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
		p.Org, p.VDC = point.Org, point.VDC
		p.MAC = cmp.Or(p.MAC, MACNew)
		narrow := point
		if len(o.VMs) > 0 {
			narrow = p.chosen(point, o.VMs)
		}
		if p.Refused() != nil {
			return errStop
		}
		if err := planVMs(ctx, d, p, narrow); err != nil {
			return err
		}
		if p.Refused() != nil {
			return errStop
		}
		for i := range p.VMs {
			vm := &p.VMs[i]
			if vm.Action != Rebuild {
				continue
			}
			if name := o.Overrides.VMs[vm.VM.Name].Name; name != "" {
				vm.Name, vm.Was = name, vm.VM.Name
			}
			if err := checkName(vm.Name); err != nil {
				return fmt.Errorf("vm %s: %w", vm.VM.Name, err)
			}
			client, err := d.VSphere(ctx, vm.VimServerHref)
			if err != nil {
				return err
			}
			taken, err := client.NameTaken(ctx, vm.Datastore.ID, o.ToVSphere, vm.Name)
			if err != nil {
				return fmt.Errorf("vm %s: %w", vm.Name, err)
			}
			if taken || slices.ContainsFunc(p.VMs[:i], func(other VM) bool { return other.Name == vm.Name }) {
				p.add(Conflict{Kind: KindNameTaken, Object: "vm " + vm.VM.Name, Override: "--vm-name " + flagName(vm.VM.Name) + "=NEW"},
					"folder %s has something called %s already", o.ToVSphere, vm.Name)
			}
		}
		return nil
	}
}

// vsphereSteps tells in words what a restore to vSphere will do.
func (p *Plan) vsphereSteps() []string {
	var out []string
	for _, vm := range p.VMs {
		if vm.Action == Rebuild {
			out = append(out, fmt.Sprintf("make vm %s in folder %s of vSphere on datastore %s, switched off, its NICs disconnected", vm.Name, p.options.ToVSphere, vm.Datastore.Name))
		}
	}
	return append(out, "leave vCD alone: networks, owner, leases and metadata are nothing that vSphere has")
}
