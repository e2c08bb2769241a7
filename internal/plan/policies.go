package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// vmTree is the document of a VM of the restore point.
func vmTree(d *Deps, vm *restorepoint.VM) (*etree.Element, error) {
	doc, err := d.Docs.Tree("vcd/vms/" + restorepoint.UUID(vm.ID) + "/vm.xml")
	if err != nil || doc == nil {
		return nil, err
	}
	return doc.Root(), nil
}

// planProfiles finds the storage profiles of the VDC that take the place of
// those that VMs and disks had: the ones asked for, those of the same name,
// else the default.
func planProfiles(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	profiles, err := d.VCD.StorageProfiles(ctx, p.VDC.ID)
	if err != nil {
		return fmt.Errorf("list storage profiles of VDC %s: %w", p.VDC.Name, err)
	}
	p.Profiles, p.StorageProfiles, p.use = map[string]string{}, map[string]string{}, map[string]vcd.ProfileUse{}
	for _, sp := range profiles {
		p.Profiles[sp.Name] = sp.Href
		use, err := d.VCD.ProfileUse(ctx, sp.Href)
		if err != nil {
			return fmt.Errorf("storage profile %s: %w", sp.Name, err)
		}
		if p.use[sp.Name] = use; use.Default {
			p.defaultProfile = sp.Name
		}
	}
	for i := range point.VMs {
		root, err := vmTree(d, &point.VMs[i])
		if err != nil {
			return fmt.Errorf("vm %s: %w", point.VMs[i].Name, err)
		}
		if root == nil {
			continue
		}
		for _, e := range root.FindElements(".//StorageProfile") {
			if name := document.Attribute(e, "name"); name != "" {
				p.planProfile(name, point.VMs[i].Name)
			}
		}
	}
	return nil
}

func (p *Plan) planProfile(name, vm string) {
	if _, done := p.StorageProfiles[name]; done {
		return
	}
	offered := orNone(slices.DeleteFunc(slices.Sorted(maps.Keys(p.use)), func(n string) bool { return !p.use[n].Enabled }))
	c := Conflict{Kind: KindStorageProfile, Object: "storage profile " + name, Override: "--storage-profile " + flagName(name) + "=NEW"}
	if to, asked := lookup(p.options.Overrides.StorageProfiles, name); asked {
		p.StorageProfiles[name] = to
		if use, is := p.use[to]; !is || !use.Enabled {
			c.Object = "storage profile " + to
			p.add(c, "VDC %s does not offer it, but %s", p.VDC.Name, offered)
		}
		return
	}
	use, is := p.use[name]
	if is && use.Enabled {
		p.StorageProfiles[name] = name
		return
	}
	why := "has none of that name"
	if is {
		why = "has disabled it"
	}
	if p.Mode == ModeOverwrite && is {
		p.StorageProfiles[name] = name // the VMs have it, and vCD leaves it to them
		return
	}
	p.StorageProfiles[name] = p.defaultProfile
	if p.defaultProfile != "" {
		c.Resolution = "use the VDC's default, " + p.defaultProfile
	}
	p.add(c, "vm %s had it, and VDC %s %s; it offers %s", vm, p.VDC.Name, why, offered)
}

// policyKinds are the two compute policies that a VM can have.
var policyKinds = []string{"VmSizingPolicy", "VmPlacementPolicy"}

// planPolicies finds the compute policies of the VDC that take the place of
// those that the VMs had. One that the VDC does not offer any more is left
// out: the VM keeps its hardware, and runs where the VDC's default lets it.
func planPolicies(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	offered, err := d.VCD.ComputePolicies(ctx, p.VDC.ID)
	if err != nil {
		return fmt.Errorf("list compute policies of VDC %s: %w", p.VDC.Name, err)
	}
	p.ComputePolicies, p.policies = map[string]string{}, map[string]vcd.Ref{}
	for _, o := range offered {
		p.policies[o.Name] = o
	}
	for i := range point.VMs {
		root, err := vmTree(d, &point.VMs[i])
		if err != nil {
			return fmt.Errorf("vm %s: %w", point.VMs[i].Name, err)
		}
		if root == nil {
			continue
		}
		for _, kind := range policyKinds {
			if e := document.Descend(root, "ComputePolicy", kind); e != nil && document.Attribute(e, "name") != "" {
				p.planPolicy(kind, e, point.VMs[i].Name, offered)
			}
		}
	}
	return nil
}

func (p *Plan) planPolicy(kind string, e *etree.Element, vm string, offered []vcd.Ref) {
	name, uuid := document.Attribute(e, "name"), vcd.UUID(document.Attribute(e, "href"))
	if _, done := p.ComputePolicies[name]; done {
		return
	}
	names := orNone(slices.Sorted(maps.Keys(p.policies)))
	c := Conflict{Kind: KindComputePolicy, Object: "compute policy " + name, Override: "--compute-policy " + flagName(name) + "=NEW"}
	if to, asked := lookup(p.options.Overrides.ComputePolicies, name); asked {
		p.ComputePolicies[name] = to
		if _, is := p.policies[to]; !is && to != "" {
			c.Object = "compute policy " + to
			p.add(c, "VDC %s does not offer it, but %s", p.VDC.Name, names)
		}
		return
	}
	for _, o := range offered {
		if vcd.UUID(o.Href) == uuid && uuid != "" {
			p.ComputePolicies[name] = o.Name
			if o.Name != name {
				c.Resolution = "use " + o.Name
				p.add(c, "is called %s now", o.Name)
			}
			return
		}
	}
	if _, is := p.policies[name]; is {
		p.ComputePolicies[name] = name
		return
	}
	p.ComputePolicies[name] = ""
	if len(offered) == 0 {
		return // nobody tells: vCD gives the VM what its VDC has
	}
	c.Resolution, c.Loss = "use the VDC's default, "+p.vdc.DefaultPolicy.Name, kind == "VmPlacementPolicy"
	p.add(c, "vm %s had it, and VDC %s does not offer it, but %s", vm, p.VDC.Name, names)
}
