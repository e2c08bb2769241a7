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
// for what is left alone; and where it can, because no transport of today
// writes into a disk that exists: new disks are written instead, without
// --changed-blocks.
func (o *overwriting) changedBlocks(ctx context.Context, client *vsphere.Client) error {
	if o.state(); len(o.live.Snapshots) > 0 {
		o.say(KindChangedBlocks, "", "its snapshots hang from the disks, which are not to be written into")
		return nil
	}
	most, exact := int64(0), o.live.PowerState == "poweredOff"
	for _, disk := range o.plan.VM.Disks {
		l, why := o.trackable(disk)
		if why != "" {
			o.say(KindChangedBlocks, "", "disk %s cannot be written block by block: %s", disk.Label, why)
			continue
		}
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
	size := wording.Size(most)
	if !exact {
		size = "up to " + size + ", while it runs nobody can say how much,"
	}
	o.say(KindNoTarget, "", "%s would be written, and there is no transport that writes into a disk which is there: restore it without --changed-blocks", size)
	return nil
}

// trackable finds the disk that a disk of the restore point is now, or says
// why change tracking cannot vouch for it.
func (o *overwriting) trackable(disk restorepoint.Disk) (l vsphere.Disk, why string) {
	i := slices.IndexFunc(o.live.Disks, func(l vsphere.Disk) bool { return l.UUID == disk.UUID && l.Key == disk.Key })
	if i < 0 {
		return l, "it is not there any more, or elsewhere"
	}
	l = o.live.Disks[i]
	switch {
	case l.Capacity != disk.Content.Size:
		return l, fmt.Sprintf("it has %s now and had %s", wording.Size(l.Capacity), wording.Size(disk.Content.Size))
	case l.ChainDepth > 0:
		return l, "it is a linked clone: others may hang from the same disk"
	case disk.ChangeID == "":
		return l, "the restore point has no change ID of it"
	case !o.live.ChangeTracking || l.ChangeID == "":
		return l, "changed block tracking is off"
	case !vsphere.SameEpoch(l.ChangeID, disk.ChangeID):
		return l, "its change tracking began anew since the backup"
	}
	return l, ""
}
