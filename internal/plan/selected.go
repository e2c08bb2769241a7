package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/wording"
)

const networkSection = "vcd/networkConfigSection.xml"

// selectVMs plans the VMs that are named, and nothing of any other.
func selectVMs(o Options) planStep {
	return func(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
		chosen := p.chosen(point, o.VMs)
		if p.Refused() != nil {
			return errStop
		}
		var missing []string
		for _, vm := range chosen.VMs {
			names, err := p.networksGone(d, vm)
			if err != nil {
				return err
			}
			missing = append(missing, names...)
		}
		slices.Sort(missing)
		if err := p.bringNetworks(ctx, d, chosen, slices.Compact(missing)); err != nil {
			return err
		}
		if err := p.planChosen(ctx, d, chosen); err != nil {
			return err
		}
		if p.Beside {
			if err := p.nameBeside(o); err != nil {
				return err
			}
		}
		return nil
	}
}

// chosen is the restore point with nothing but the named VMs. A name may be
// that of a VM, its URN or its UUID.
func (p *Plan) chosen(point *restorepoint.Point, names []string) *restorepoint.Point {
	out := *point
	out.VMs = nil
	for _, name := range names {
		i := slices.IndexFunc(point.VMs, func(vm restorepoint.VM) bool {
			return vm.Name == name || vm.ID == name || restorepoint.UUID(vm.ID) == name
		})
		if i < 0 {
			var have []string
			for _, vm := range point.VMs {
				have = append(have, vm.Name)
			}
			p.conflict(KindNotInPoint, "vm "+name, "", "is not in the restore point, which has %s", orNone(have))
			continue
		}
		if point.VMs[i].Missing != "" {
			p.conflict(KindNotInPoint, "vm "+name, "", "its disks are not in the restore point: %s", point.VMs[i].Missing)
			continue
		}
		if !slices.ContainsFunc(out.VMs, func(vm restorepoint.VM) bool { return vm.ID == point.VMs[i].ID }) {
			out.VMs = append(out.VMs, point.VMs[i])
		}
	}
	return &out
}

// planChosen plans the VMs of a narrowed restore point as an overwrite would,
// or with Beside as if none of them were there. The others are left.
func (p *Plan) planChosen(ctx context.Context, d *Deps, chosen *restorepoint.Point) error {
	whole := p.Live
	narrow := *whole
	narrow.VMs = slices.DeleteFunc(slices.Clone(whole.VMs), func(l vcd.VM) bool {
		return p.Beside || !slices.ContainsFunc(chosen.VMs, func(vm restorepoint.VM) bool { return p.is(l, vm) })
	})
	p.Live = &narrow
	err := planVMs(ctx, d, p, chosen)
	p.Live = whole
	if err != nil {
		return err
	}
	for i, l := range whole.VMs {
		if !slices.ContainsFunc(p.VMs, func(vm VM) bool { return vm.Live != nil && vm.Live.ID == l.ID }) {
			p.VMs = append(p.VMs, VM{Name: l.Name, Action: Leave, Live: &whole.VMs[i]})
		}
	}
	if !p.Beside {
		p.namesFree()
	}
	return nil
}

// namesFree refuses a VM that is to be rebuilt where another bears its name
// or its id within the vApp now.
func (p *Plan) namesFree() {
	for _, vm := range p.VMs {
		if vm.Action != Rebuild {
			continue
		}
		for _, l := range p.Live.VMs {
			switch {
			case strings.EqualFold(l.Name, vm.Name):
				p.conflict(KindNameTaken, "vm "+vm.Name, "", "is another VM than the one that was backed up: restore it beside that one (--beside), or delete or rename that one first")
			case vm.VM.ScopedLocalID != "" && l.VAppScopedLocalID == vm.VM.ScopedLocalID:
				p.conflict(KindNameTaken, "vm "+vm.Name, "", "its id within the vApp is taken by vm %s: restore it beside that one (--beside)", l.Name)
			}
		}
	}
}

// besideSuffix is what the name of a VM gets that is restored beside itself.
const besideSuffix = "-restored"

// nameBeside gives the VMs that are restored as further ones their names.
func (p *Plan) nameBeside(o Options) error {
	var taken []string
	for _, l := range p.Live.VMs {
		taken = append(taken, strings.ToLower(l.Name))
	}
	free := func(name string) bool { return !slices.Contains(taken, strings.ToLower(name)) }
	for i := range p.VMs {
		vm := &p.VMs[i]
		if vm.Action != Rebuild {
			continue
		}
		name := o.Overrides.VMs[vm.VM.Name].Name
		switch {
		case name == "":
			for n := 1; name == "" || !free(name); n++ {
				name = numbered(vm.VM.Name, n)
			}
		case !free(name):
			p.conflict(KindNameTaken, "vm "+vm.VM.Name, "", "the vApp has a VM named %s already", name)
		}
		if err := checkName(name); err != nil {
			return fmt.Errorf("vm %s: %w", vm.VM.Name, err)
		}
		// A VM of its own, to which the rules that name the old one do
		// not apply.
		copied := *vm.VM
		copied.ScopedLocalID = ""
		vm.Name, vm.Was, vm.VM = name, vm.VM.Name, &copied
		taken = append(taken, strings.ToLower(name))
	}
	return nil
}

// numbered is a name that tells a VM from the one that it stands beside.
func numbered(name string, n int) string {
	suffix := besideSuffix
	if n > 1 {
		suffix = fmt.Sprintf("%s-%d", besideSuffix, n)
	}
	for utf8.RuneCountInString(name)+utf8.RuneCountInString(suffix) > maxName {
		_, last := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-last]
	}
	return name + suffix
}

// networksGone lists the vApp networks that a VM was on and that the vApp
// does not have any more.
func (p *Plan) networksGone(d *Deps, vm restorepoint.VM) ([]string, error) {
	section, err := d.Docs.Tree("vcd/vms/" + restorepoint.UUID(vm.ID) + "/networkConnectionSection.xml")
	if err != nil || section == nil {
		return nil, err
	}
	var gone []string
	for _, nic := range document.FindAll(section.Root(), "NetworkConnection") {
		name := document.Attribute(nic, "network")
		if name == "none" || slices.ContainsFunc(p.Live.Networks, func(n vcd.VAppNetwork) bool { return n.Name == name }) {
			continue
		}
		gone = append(gone, name)
	}
	return gone, nil
}

// bringNetworks plans to add to the vApp the networks that it lost since.
func (p *Plan) bringNetworks(ctx context.Context, d *Deps, point *restorepoint.Point, names []string) error {
	if len(names) == 0 {
		return nil
	}
	config, err := d.Docs.Tree(networkSection)
	if err != nil {
		return err
	}
	var root *etree.Element
	if config != nil {
		root = config.Root()
		for _, c := range document.FindAll(root, "NetworkConfig") {
			if !slices.Contains(names, document.Attribute(c, "networkName")) {
				root.RemoveChild(c)
			}
		}
	}
	for _, name := range names {
		found := root != nil && slices.ContainsFunc(document.FindAll(root, "NetworkConfig"), func(c *etree.Element) bool {
			return document.Attribute(c, "networkName") == name
		})
		if !found {
			p.conflict(KindNetworkMissing, "network "+name, "", "is in neither the vApp nor the restore point")
			return nil
		}
		p.conflict(KindNetworkMissing, "network "+name, "add it to the vApp as it was", "the vApp does not have it any more")
	}
	raw, err := document.Encode(config)
	if err != nil {
		return err
	}
	narrow := *d
	narrow.Docs = document.Set{networkSection: raw}
	p.AddNetworks = names
	return planNetworks(ctx, &narrow, p, point)
}

// selectedSteps tells in words what a restore of single VMs will do.
func (p *Plan) selectedSteps() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, vm := range p.VMs {
		if vm.Action == Overwrite && vm.Live.Deployed {
			add("undeploy vm %s", vm.Name)
		}
	}
	add("put vApp %s in maintenance mode; its other VMs stay as they are", p.VAppName)
	if len(p.AddNetworks) > 0 {
		add("add %s to it", strings.Join(p.AddNetworks, ", "))
	}
	for _, vm := range p.VMs {
		disks := ""
		if vm.VM != nil {
			disks = wording.Count(len(vm.VM.Disks), "disk") + ", " + wording.Size(vm.Bytes)
		}
		switch {
		case vm.Action == Rebuild && p.Beside:
			add("rebuild vm %s as vm %s on datastore %s, %s, with new addresses and UUIDs, and import it into the vApp", vm.VM.Name, vm.Name, vm.Datastore.Name, disks)
		case vm.Action == Rebuild:
			add("rebuild vm %s on datastore %s, %s, and import it into the vApp", vm.Name, vm.Datastore.Name, disks)
		case vm.Action == Overwrite:
			add("write new disks for vm %s on datastore %s, %s, and swap them in", vm.Name, vm.Datastore.Name, disks)
		}
	}
	add("apply the settings, NICs, metadata and tags of these VMs")
	if !p.Beside {
		add("put back the NAT rules and startup items that name them, leave the others as they are now")
	}
	add("read them back and compare")
	if !p.KeepOld && slices.ContainsFunc(p.VMs, func(vm VM) bool { return vm.Action == Overwrite }) {
		add("delete the disks that were replaced")
	}
	add("exit maintenance mode")
	if p.Power != PowerOff {
		add("power them on")
	}
	return out
}
