package plan

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// What becomes of a named disk.
const (
	NamedKeep   = "keep"   // it is attached
	NamedAttach = "attach" // it is there, and attached to nothing
	NamedCreate = "create" // it is gone: an empty one, by consent
	NamedLeave  = "leave"  // left out
)

// A NamedDisk is a named (independent) disk that was attached to a VM. It is
// not the VM's own: it has no snapshots, outlives the VM, and what is on it is
// not in the restore point.
type NamedDisk struct {
	restorepoint.Ref
	Key    int32  `json:"key"` // device key in the restore point
	Bus    int    `json:"bus"`
	Unit   int    `json:"unit"`
	Action string `json:"action"`
}

// planNamed decides what becomes of the named disks of the VMs.
func planNamed(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	for i := range p.VMs {
		vm := &p.VMs[i]
		if vm.VM == nil || vm.Action != Rebuild && vm.Action != Overwrite {
			continue
		}
		doc, err := d.Docs.Tree("vcd/vms/" + restorepoint.UUID(vm.VM.ID) + "/vm.xml")
		if err != nil {
			return err
		}
		if doc == nil {
			continue
		}
		for _, s := range doc.Root().FindElements("./VmSpecSection/DiskSection/DiskSettings") {
			ref := document.Find(s, "Disk")
			if ref == nil {
				continue
			}
			number := func(name string) int { n, _ := strconv.Atoi(document.Text(s, name)); return n }
			disk := NamedDisk{
				Ref: restorepoint.Ref{ID: vcd.URN(document.Attribute(ref, "href")), Name: document.Attribute(ref, "name")},
				Key: int32(number("DiskId")), Bus: number("BusNumber"), Unit: number("UnitNumber"), //nolint:gosec // device keys fit
			}
			disk.Href = d.VCD.Href(disk.ID)
			if err := p.planNamedDisk(ctx, d, vm, &disk); err != nil {
				return fmt.Errorf("vm %s: named disk %s: %w", vm.Name, disk.Name, err)
			}
			vm.Named = append(vm.Named, disk)
		}
	}
	return nil
}

func (p *Plan) planNamedDisk(ctx context.Context, d *Deps, vm *VM, disk *NamedDisk) error {
	p.unsay(vm, disk)
	object := "vm " + vm.Name + " named disk " + disk.Name
	sharing := d.Docs.Attribute("vcd/context/disks/"+vcd.UUID(disk.ID)+".xml", "sharingType")
	shared := sharing != "" && sharing != "None"
	what := "is a disk of its own, which no snapshot freezes"
	if shared {
		what = "is shared by VMs, and no snapshot freezes it"
	}
	vms, err := d.VCD.AttachedVMs(ctx, disk.Href)
	switch {
	case vcd.IsNotFound(err) || vcd.IsForbidden(err):
		return p.namedGone(vm, disk, object)
	case err != nil:
		return err
	case vm.Live != nil && slices.Contains(vms, vm.Live.ID):
		disk.Action = NamedKeep
		p.conflict(KindNamedDisk, object, "leave it attached, with what is on it now", "%s: the restore point does not have its content", what)
	case p.Copies():
		disk.Action = NamedLeave
		p.add(Conflict{Kind: KindNamedDisk, Object: object, Resolution: "leave it out of the copy", Loss: true}, "%s, and belongs to the original", what)
		p.Missing++
	case len(vms) > 0 && !shared:
		disk.Action = NamedLeave
		p.add(Conflict{Kind: KindNamedDisk, Object: object, Resolution: "leave it where it is", Loss: true}, "is attached to another VM now")
		p.Missing++
	default:
		disk.Action = NamedAttach
		p.conflict(KindNamedDisk, object, "attach it again, with what is on it now", "%s: the restore point does not have its content", what)
	}
	return nil
}

// namedGone plans for a named disk that does not exist any more.
func (p *Plan) namedGone(vm *VM, disk *NamedDisk, object string) error {
	p.Missing++
	disk.Action = NamedLeave
	c := Conflict{Kind: KindNamedDisk, Object: object, Resolution: "leave it out", Override: "--empty-disks", Loss: true}
	if p.options.EmptyDisks {
		disk.Action, c.Resolution = NamedCreate, "make an empty one in its place"
	}
	p.add(c, "is gone, and the restore point does not have its content: no snapshot freezes named disks")
	return nil
}

// unsay takes back what was said of a named disk as if it were the VM's own.
func (p *Plan) unsay(vm *VM, disk *NamedDisk) {
	for _, u := range vm.VM.Unprotected {
		if u.Key != disk.Key || u.Excluded {
			continue
		}
		before := len(p.Conflicts)
		p.Conflicts = slices.DeleteFunc(p.Conflicts, func(c Conflict) bool {
			return c.Kind == KindNotInPoint && c.Object == "vm "+vm.VM.Name+" disk "+u.Label
		})
		if len(p.Conflicts) < before {
			p.Missing--
		}
	}
}
