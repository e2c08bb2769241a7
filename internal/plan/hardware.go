package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// planHardware finds what VMs that are made cannot have where they will be.
func planHardware(_ context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	made := false
	for i := range p.VMs {
		vm := &p.VMs[i]
		if vm.Action != Rebuild {
			continue
		}
		made = true
		root, err := vmTree(d, vm.VM)
		if err != nil {
			return fmt.Errorf("vm %s: %w", vm.Name, err)
		}
		if root == nil {
			continue
		}
		object := "vm " + vm.Name
		version := document.Text(root, "VirtualHardwareSection", "System", "VirtualSystemType")
		if known := p.vdc.HardwareVersions; len(known) > 0 && version != "" && !slices.Contains(known, version) {
			p.add(Conflict{Kind: KindVersion, Object: object, Override: "--vdc NAME"},
				"has hardware version %s, and VDC %s takes %s at most", version, p.VDC.Name, slices.Max(known))
		}
		if document.Text(root, "TrustedPlatformModule", "TpmPresent") == "true" {
			p.add(Conflict{Kind: KindTPM, Object: object, Resolution: "make it without one", Loss: true},
				"has a virtual TPM, whose keys no backup can read: what it sealed stays locked")
		}
	}
	if made && p.vdc.Discovery {
		p.conflict(KindDiscovery, "VDC "+p.VDC.Name, "make the VMs outside of its resource pools, and take them over at once",
			"makes vApps of VMs that it discovers")
	}
	return nil
}

// planMedia tells what becomes of the media that were inserted. They are
// recorded, not inserted again, unless an override names them.
func planMedia(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	var there []vcd.Ref
	asked := false
	for i := range p.VMs {
		vm := &p.VMs[i]
		if vm.VM == nil || vm.Action == Leave {
			continue
		}
		root, err := vmTree(d, vm.VM)
		if err != nil {
			return fmt.Errorf("vm %s: %w", vm.Name, err)
		}
		if root == nil {
			continue
		}
		name := document.AttributeOf(root, "name", "Media")
		if name == "" {
			continue
		}
		if !asked {
			if there, err = d.VCD.Media(ctx, p.Org.ID); err != nil && !errors.Is(err, vcd.ErrShort) {
				return fmt.Errorf("list media of organization %s: %w", p.Org.Name, err)
			}
			asked = true
		}
		p.planMedium(vm, name, vcd.UUID(document.AttributeOf(root, "href", "Media")), there)
	}
	return nil
}

func (p *Plan) planMedium(vm *VM, name, uuid string, there []vcd.Ref) {
	c := Conflict{Kind: KindMedia, Object: "vm " + vm.Name, Override: "--media " + flagName(name) + "=NEW", Resolution: "leave the drive empty"}
	to, asked := lookup(p.options.Overrides.Media, name)
	var names []string
	for _, m := range there {
		names = append(names, m.Name)
		if asked && m.Name == to || !asked && (m.Name == name || vcd.UUID(m.Href) == uuid) {
			vm.Media = restorepoint.Ref{ID: m.ID, Name: m.Name, Href: m.Href}
		}
	}
	slices.Sort(names)
	switch {
	case asked && to == "":
	case vm.Media.Href != "":
	case asked:
		c.Resolution = ""
		p.add(c, "organization %s has no medium %s, but %s", p.Org.Name, to, orNone(names))
	default:
		p.add(c, "medium %s was inserted and is gone", name)
	}
}
