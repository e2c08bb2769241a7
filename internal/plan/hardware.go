package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// planHardware finds what VMs that are made cannot have where they will be.
func planHardware(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
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
		if encrypted(d.Docs, vm.VM) {
			p.add(Conflict{Kind: KindEncrypted, Object: object, Resolution: "make it without encryption", Loss: true},
				"was encrypted with keys that no backup has: encrypt it again afterwards")
		}
		if document.Text(root, "TrustedPlatformModule", "TpmPresent") == "true" {
			p.add(Conflict{Kind: KindTPM, Object: object, Resolution: "give it a blank one"},
				"has a virtual TPM, whose keys no backup can read: what it sealed stays locked")
		}
	}
	if made {
		if err := p.planPool(ctx, d); err != nil {
			return err
		}
	}
	if made && p.vdc.Discovery {
		p.conflict(KindDiscovery, "VDC "+p.VDC.Name, "make the VMs outside of its resource pools, and take them over at once",
			"makes vApps of VMs that it discovers")
	}
	return nil
}

// encrypted tells whether a disk of a VM was.
func encrypted(docs document.Set, vm *restorepoint.VM) bool {
	config, err := vsphere.ParseConfig(docs["vsphere/"+restorepoint.UUID(vm.ID)+"/config.xml"])
	if err != nil {
		return false // rebuilding says so
	}
	return slices.ContainsFunc(config.Disks, func(d vsphere.Disk) bool { return d.Encrypted })
}

// planPool refuses a VDC whose resource pool is gone: vCD would, when all has
// been written.
func (p *Plan) planPool(ctx context.Context, d *Deps) error {
	if p.home == "" || p.vdc.ResourcePool == "" {
		return nil // a tenant is not told
	}
	client, err := d.VSphere(ctx, p.home)
	if err != nil {
		return err
	}
	has, err := client.HasResourcePool(ctx, p.vdc.ResourcePool)
	if err != nil {
		return fmt.Errorf("VDC %s: %w", p.VDC.Name, err)
	}
	if !has {
		p.add(Conflict{Kind: KindVCenter, Object: "VDC " + p.VDC.Name, Override: "--vdc NAME"}, "its resource pool %s is not in its vCenter any more", p.vdc.ResourcePool)
	}
	return nil
}

// mediaOf are the references of a VM's document to what is in its drives.
func mediaOf(root *etree.Element) []*etree.Element {
	out := document.FindAll(root, "Media")
	for _, e := range root.FindElements("./VmSpecSection/MediaSection/MediaSettings/MediaImage") {
		if !slices.ContainsFunc(out, func(o *etree.Element) bool { return document.Attribute(o, "href") == document.Attribute(e, "href") }) {
			out = append(out, e)
		}
	}
	return slices.DeleteFunc(out, func(e *etree.Element) bool { return document.Attribute(e, "name") == "" })
}

// planMedia finds the media that were inserted, to insert them again.
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
		media := mediaOf(root)
		if len(media) > 0 && !asked {
			if there, err = d.VCD.Media(ctx, p.Org.ID); err != nil && !errors.Is(err, vcd.ErrShort) {
				return fmt.Errorf("list media of organization %s: %w", p.Org.Name, err)
			}
			asked = true
		}
		for _, e := range media {
			p.planMedium(vm, document.Attribute(e, "name"), vcd.UUID(document.Attribute(e, "href")), there)
		}
	}
	return nil
}

// An exchange is what a drive holds instead of what it held; "" is nothing.
type exchange struct{ href, why string }

func (p *Plan) planMedium(vm *VM, name, uuid string, there []vcd.Ref) {
	c := Conflict{Kind: KindMedia, Object: "vm " + vm.Name, Override: "--media " + flagName(name) + "=NEW", Resolution: "leave the drive empty"}
	to, asked := lookup(p.options.Overrides.Media, name)
	var names []string
	var found *restorepoint.Ref
	for _, m := range there {
		names = append(names, m.Name)
		if asked && m.Name == to || !asked && (m.Name == name || vcd.UUID(m.Href) == uuid) {
			found = &restorepoint.Ref{ID: m.ID, Name: m.Name, Href: m.Href}
		}
	}
	slices.Sort(names)
	if vm.media == nil {
		vm.media = map[string]exchange{}
	}
	why := "medium " + name + " is gone"
	if asked {
		why = "--media " + flagName(name) + "=" + flagName(to)
	}
	vm.media[uuid] = exchange{"", why}
	switch {
	case asked && to == "":
	case found != nil:
		vm.Media = append(vm.Media, *found)
		vm.media[uuid] = exchange{found.Href, why}
	case asked:
		c.Resolution = ""
		p.add(c, "organization %s has no medium %s, but %s", p.Org.Name, to, orNone(names))
	default:
		p.add(c, "medium %s was inserted and is gone", name)
	}
}
