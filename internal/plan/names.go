package plan

import (
	"context"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// planNames gives the VMs their names, which vCD takes once in a vApp.
func planNames(_ context.Context, _ *Deps, p *Plan, _ *restorepoint.Point) error {
	for i := range p.VMs {
		vm := &p.VMs[i]
		if vm.VM == nil || vm.Action == Leave {
			continue
		}
		if asked := p.options.Overrides.VMs[vm.VM.Name].Name; asked != "" && asked != vm.Name {
			vm.Name, vm.Was = asked, vm.VM.Name
		}
	}
	for i := range p.VMs {
		vm := &p.VMs[i]
		if vm.VM == nil || vm.Action == Leave {
			continue
		}
		object, override := "vm "+vm.VM.Name, "--vm-name "+flagName(vm.VM.Name)+"=NEW"
		if err := checkName(vm.Name); err != nil {
			p.add(Conflict{Kind: KindNameInvalid, Object: object, Override: override}, "cannot be its name: %v", err)
		}
		for j, other := range p.VMs {
			there := other.Action != Leave || other.Live != nil
			if i != j && there && other.Name == vm.Name && (j < i || other.VM == nil || other.Action == Leave) {
				p.add(Conflict{Kind: KindNameTaken, Object: object, Override: override}, "another VM of the vApp is called %s", vm.Name)
			}
		}
		if p.Live == nil || vm.Was == "" {
			continue
		}
		for _, l := range p.Live.VMs {
			if l.Name == vm.Name && (vm.Live == nil || l.ID != vm.Live.ID) {
				p.add(Conflict{Kind: KindNameTaken, Object: object, Override: override}, "another VM of the vApp is called %s", vm.Name)
				break
			}
		}
	}
	return nil
}
