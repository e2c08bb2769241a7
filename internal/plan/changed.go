package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
	"github.com/vappvault/vappvault/internal/wording"
)

// changedBlocks plans to write only what differs into the disks that are
// there. It is refused, with the reason, where change tracking cannot vouch
// for what is left alone, where something else hangs from a disk, and where no
// transport writes into a disk that exists: new disks are written instead,
// without --changed-blocks.
func (o *overwriting) changedBlocks(ctx context.Context, d *Deps, client *vsphere.Client) error {
	o.plan.Blocks = true
	if d.Writing[o.plan.LiveMoRef] {
		return nil // all that was to be said of its disks was said before
	}
	if o.state(); len(o.live.Snapshots) > 0 {
		o.say(KindChangedBlocks, "", "its snapshots hang from the disks, which are not to be written into")
		return nil
	}
	if o.p.KeepOld {
		o.say(KindChangedBlocks, "", "no disk is replaced that could be kept: leave out --keep-old, the safety point is what an undo takes")
	}
	if o.p.ExtraDisks == ExtraRemove {
		o.say(KindChangedBlocks, "", "disks are neither put in nor taken out: leave out --extra-disks remove")
	}
	most, exact, err := o.differing(ctx, client)
	if err != nil {
		return err
	}
	size := wording.Size(most)
	if !exact {
		size = "up to " + size
	}
	if o.plan.Bytes = most; d.Targets {
		o.say(KindChangedBlocks, "write them into the disks that are there", "%s may differ", size)
	} else {
		if !exact {
			size += ", while it runs nobody can say how much,"
		}
		o.say(KindNoTarget, "", "%s would be written, and there is no transport that writes into a disk which is there: configure vddk, or restore it without --changed-blocks", size)
	}
	o.extras()
	o.version()
	return nil
}

// differing returns how much may differ at most, and whether that is exact.
func (o *overwriting) differing(ctx context.Context, client *vsphere.Client) (most int64, exact bool, err error) {
	exact = o.live.PowerState == "poweredOff" && !o.p.options.EveryBlock
	for _, disk := range o.plan.VM.Disks {
		then, ok := o.was.Disk(disk.Key)
		if !ok {
			return 0, false, fmt.Errorf("disk %s: not in the configuration of the restore point", disk.Label)
		}
		l, why := Writable(o.live, then, disk)
		if why == "" && !o.p.options.EveryBlock {
			why = tracked(o.live, l, disk)
		}
		if why != "" {
			o.say(KindChangedBlocks, "", "disk %s cannot be written block by block: %s", disk.Label, why)
			continue
		}
		o.out[l.Key] = true // no extra
		if !exact {
			// Only a snapshot could be asked, and a plan makes none.
			most += disk.Content.Size
			continue
		}
		changed, err := client.VM(o.plan.LiveMoRef).ChangedSince(ctx, l, disk.ChangeID)
		if err != nil {
			o.say(KindChangedBlocks, "", "disk %s cannot be written block by block: %v", disk.Label, err)
			continue
		}
		most += changed.Bytes()
	}
	return most, exact, nil
}

// Writable finds the disk that a disk of the restore point, then, is now, or
// says why blocks cannot be written into it.
func Writable(live *vsphere.VMConfig, then vsphere.Disk, disk restorepoint.Disk) (l vsphere.Disk, why string) {
	i := slices.IndexFunc(live.Disks, func(l vsphere.Disk) bool { return l.UUID == disk.UUID && l.Key == disk.Key })
	if i < 0 {
		return l, "it is not there any more, or elsewhere"
	}
	l = live.Disks[i]
	switch {
	case l.Capacity != disk.Content.Size:
		return l, fmt.Sprintf("it has %s now and had %s", wording.Size(l.Capacity), wording.Size(disk.Content.Size))
	case l.ChainDepth > 0:
		return l, "it is a linked clone: others may hang from the same disk"
	case l.ControllerType != then.ControllerType || !l.Attach().SamePlace(then.Attach()):
		return l, fmt.Sprintf("it is at %s now and was at %s", placeOf(l), placeOf(then))
	case l.IndependentID != "":
		return l, "it is a named disk now, which is not the VM's own"
	}
	return l, ""
}

// tracked says why change tracking cannot vouch for what is left alone of a
// disk.
func tracked(live *vsphere.VMConfig, l vsphere.Disk, disk restorepoint.Disk) string {
	switch {
	case disk.ChangeID == "":
		return "the restore point has no change ID of it"
	case !live.ChangeTracking || l.ChangeID == "":
		return "changed block tracking is off"
	case !vsphere.SameEpoch(l.ChangeID, disk.ChangeID):
		return "its change tracking began anew since the backup"
	}
	return ""
}
