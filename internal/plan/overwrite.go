package plan

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
	"github.com/vappvault/vappvault/internal/wording"
)

// planOverwrite finds out what has become of each disk of a VM since the
// point was made, which of them go, and refuses where a disk must not be
// replaced.
func planOverwrite(ctx context.Context, d *Deps, client *vsphere.Client, p *Plan, plan *VM) error {
	config, err := client.VM(plan.LiveMoRef).Config(ctx)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	path := "vsphere/" + restorepoint.UUID(plan.VM.ID) + "/config.xml"
	was, err := vsphere.ParseConfig(d.Docs[path])
	if err != nil {
		return fmt.Errorf("document %s: %w", path, err)
	}
	o := overwriting{p: p, plan: plan, object: "vm " + plan.Name, live: config, was: was, made: d.Made, out: map[int32]bool{}}
	plan.Kept, plan.Swapped = d.Made != nil, d.Swapped[plan.LiveMoRef]
	plan.Home, plan.Files = config.VmPathName, map[int32]string{}
	for _, disk := range config.Disks {
		plan.Files[disk.Key] = disk.FileName
	}
	if plan.Swapped {
		return nil // all that was to be said of its disks was said before
	}
	if p.options.ChangedBlocks {
		return o.changedBlocks(ctx, d, client)
	}
	o.state()
	for _, disk := range plan.VM.Disks {
		if err := o.disk(disk); err != nil {
			return err
		}
	}
	o.controllers()
	o.extras()
	o.version()
	return nil
}

// overwriting compares a VM with what it was.
type overwriting struct {
	p         *Plan
	plan      *VM
	object    string
	live, was *vsphere.VMConfig
	made      []string
	out       map[int32]bool // keys of disks that go
}

func (o *overwriting) say(kind, resolution, format string, args ...any) {
	o.p.conflict(kind, o.object, resolution, format, args...)
}

// state looks at snapshots and suspended memory, which hang from the disks.
func (o *overwriting) state() {
	if n := len(o.live.Snapshots); n > 0 {
		resolution := ""
		if o.p.DiscardSnapshots {
			resolution = "remove " + map[bool]string{true: "it", false: "them"}[n == 1]
			o.plan.Snapshots = n
		}
		o.say(KindSnapshots, resolution, "has %s, which hang from the disks that would be replaced", wording.Count(n, "snapshot"))
		o.p.Conflicts[len(o.p.Conflicts)-1].Override = "--discard-snapshots"
	}
	if o.live.PowerState == "suspended" {
		o.say(KindSuspended, "discard its suspended state; it comes back powered off", "is suspended, and would wake up on other disks")
	}
}

// disk decides what a disk of the restore point replaces.
func (o *overwriting) disk(disk restorepoint.Disk) error {
	then, ok := o.was.Disk(disk.Key)
	if !ok {
		return fmt.Errorf("disk %s: not in the configuration of the restore point", disk.Label)
	}
	same := slices.IndexFunc(o.live.Disks, func(l vsphere.Disk) bool {
		if l.UUID == "" || disk.UUID == "" {
			return l.Key == disk.Key
		}
		return l.UUID == disk.UUID
	})
	there := slices.IndexFunc(o.live.Disks, func(l vsphere.Disk) bool { return l.Attach().SamePlace(then.Attach()) })
	switch {
	case same < 0 && there < 0:
		o.say(KindDiskGone, "put it back", "disk %s was removed since the backup", disk.Label)
	case same < 0:
		o.say(KindDiskOther, "take that one out", "disk %s is another one now than was backed up", disk.Label)
	case same != there:
		o.say(KindDiskMoved, "put it back", "disk %s is at %s now and was at %s", disk.Label, placeOf(o.live.Disks[same]), placeOf(then))
		if there >= 0 {
			o.say(KindDiskOther, "take that one out", "another disk is where disk %s was", disk.Label)
		}
	}
	if same >= 0 && o.live.Disks[same].Capacity != disk.Content.Size {
		o.say(KindDiskResized, "bring back the size that it had", "disk %s has %s now and %s in the restore point",
			disk.Label, wording.Size(o.live.Disks[same].Capacity), wording.Size(disk.Content.Size))
	}
	for _, i := range []int{same, there} {
		if i >= 0 {
			o.replaced(o.live.Disks[i])
		}
	}
	return nil
}

// placeOf says where a disk is, as an administrator reads it.
func placeOf(d vsphere.Disk) string {
	return fmt.Sprintf("%s %d:%d", d.ControllerType, d.BusNumber, d.Unit)
}

// replaced takes a disk out, unless it is not the VM's own or nobody has it
// in the restore point.
func (o *overwriting) replaced(l vsphere.Disk) {
	if o.out[l.Key] {
		return
	}
	o.take(l)
	switch {
	case l.IndependentID != "":
		o.say(KindNamedDisk, "", "disk %s is a named disk, which is not the VM's own: detach it first", l.Label)
	case o.unprotected(l):
		o.say(KindDiskOther, "", "disk %s would be replaced and is not in the restore point: move it, or restore a copy (--as)", l.Label)
	case l.ChainDepth > o.snapshotDepth():
		o.say(KindLinkedClone, "its new disk is a whole one; what it hung from stays", "disk %s is a linked clone", l.Label)
	}
}

func (o *overwriting) take(l vsphere.Disk) {
	o.out[l.Key] = true
	o.plan.Out = append(o.plan.Out, l.Key)
}

// untouched tells, of an undo, whether the overwrite had left a disk alone.
func (o *overwriting) untouched(l vsphere.Disk) bool {
	return o.plan.Kept && slices.ContainsFunc(o.was.Disks, func(d vsphere.Disk) bool { return d.FileName == l.FileName })
}

// snapshotDepth is how many links of a disk's chain snapshots account for.
func (o *overwriting) snapshotDepth() int {
	for _, s := range o.live.Snapshots {
		if s.Current {
			return s.Depth + 1
		}
	}
	return 0
}

func (o *overwriting) unprotected(l vsphere.Disk) bool {
	return slices.ContainsFunc(o.plan.VM.Unprotected, func(u restorepoint.Disk) bool {
		return u.Key == l.Key && (u.UUID == "" || l.UUID == "" || u.UUID == l.UUID)
	})
}

// controllers tells where a controller is of another type than it was.
func (o *overwriting) controllers() {
	said := map[string]bool{}
	for _, disk := range o.plan.VM.Disks {
		then, ok := o.was.Disk(disk.Key)
		if !ok {
			continue
		}
		for _, l := range o.live.Disks {
			a, b := l.Attach(), then.Attach()
			a.Unit = b.Unit
			if bus := fmt.Sprintf("%s %d", then.ControllerType, then.BusNumber); a.SamePlace(b) && a.Controller != b.Controller && !said[bus] {
				said[bus] = true
				o.say(KindController, "make it what it was", "controller %d is of type %s now and was of type %s", then.BusNumber, a.Controller, b.Controller)
			}
		}
	}
}

// extras are disks that were added since.
func (o *overwriting) extras() {
	for _, l := range o.live.Disks {
		switch {
		case o.out[l.Key] || o.unprotected(l) || o.untouched(l):
		case slices.Contains(o.made, l.FileName):
			o.take(l)
			o.say(KindAdded, "take it out", "disk %s was put back by the overwrite", l.Label)
		case l.IndependentID != "":
			o.say(KindAdded, "leave it attached", "named disk %s was attached since the backup", l.Label)
			o.plan.Extra = append(o.plan.Extra, l.Key)
		case o.p.ExtraDisks == ExtraRemove:
			o.take(l)
			o.say(KindAdded, "remove it", "disk %s was added since the backup", l.Label)
		default:
			o.say(KindAdded, "keep it as it is", "disk %s was added since the backup", l.Label)
			o.plan.Extra = append(o.plan.Extra, l.Key)
			o.p.Conflicts[len(o.p.Conflicts)-1].Override = "--extra-disks remove"
		}
	}
}

// version tells of virtual hardware that was upgraded: there is no way back.
func (o *overwriting) version() {
	number := func(v string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(v, "vmx-")) // 0 is older than any
		return n
	}
	if number(o.live.HardwareVersion) > number(o.was.HardwareVersion) {
		o.say(KindHardware, "leave it", "its hardware was upgraded to %s, and vSphere has no way back to %s", o.live.HardwareVersion, o.was.HardwareVersion)
	}
}

// planExtra decides what becomes of a VM that was added since.
func (p *Plan) planExtra(live *vcd.VM) {
	object, vm := "vm "+live.Name, VM{Name: live.Name, Action: Leave, Live: live}
	named := slices.ContainsFunc(live.Disks, func(d vcd.VMDisk) bool { return d.NamedDisk != "" })
	switch {
	case p.ExtraVMs != ExtraRemove:
		p.conflict(KindAdded, object, "keep it as it is", "was added since the backup")
		p.Conflicts[len(p.Conflicts)-1].Override = "--extra-vms remove"
	case named:
		p.conflict(KindNamedDisk, object, "", "was added since the backup and has named disks, which would be lost with it: detach them first")
	default:
		vm.Action = Remove
		p.conflict(KindAdded, object, "delete it with its disks, which no undo brings back", "was added since the backup")
	}
	p.VMs = append(p.VMs, vm)
}
