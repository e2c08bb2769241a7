package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// planOverwrite refuses where a disk must not be replaced.
func planOverwrite(ctx context.Context, client *vsphere.Client, p *Plan, plan *VM) error {
	config, err := client.VM(plan.LiveMoRef).Config(ctx)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	object := "vm " + plan.Name
	if len(config.Snapshots) > 0 {
		p.conflict(KindSnapshots, object, "", "has %d snapshots, which hang from the disks that would be replaced: remove them first", len(config.Snapshots))
		return nil
	}
	if config.PowerState == "suspended" {
		p.conflict(KindSuspended, object, "discard its suspended state", "is suspended, and would wake up on other disks")
	}
	plan.Home, plan.Files = config.VmPathName, map[int32]string{}
	live := map[int32]vsphere.Disk{}
	for _, disk := range config.Disks {
		plan.Files[disk.Key] = disk.FileName
		live[disk.Key] = disk
	}
	for _, disk := range plan.VM.Disks {
		was, ok := live[disk.Key]
		switch delete(live, disk.Key); {
		case !ok:
			p.conflict(KindDiskGone, object, "", "disk %s was removed since the backup: restore a copy (--as)", disk.Label)
		case was.Capacity != disk.Content.Size:
			p.conflict(KindDiskResized, object, "", "disk %s has %d bytes now and %d in the restore point: restore a copy (--as)", disk.Label, was.Capacity, disk.Content.Size)
		case was.UUID != "" && disk.UUID != "" && was.UUID != disk.UUID:
			p.conflict(KindDiskOther, object, "", "disk %s is another one than was backed up: restore a copy (--as)", disk.Label)
		case was.IndependentID != "":
			p.conflict(KindNamedDisk, object, "", "disk %s is a named disk, which is not the VM's own: detach it first", disk.Label)
		case was.ChainDepth > 0:
			p.conflict(KindLinkedClone, object, "", "disk %s is a linked clone: restore a copy (--as)", disk.Label)
		}
	}
	for _, disk := range live {
		if !slices.ContainsFunc(plan.VM.Unprotected, func(u restorepoint.Disk) bool { return u.Key == disk.Key }) {
			p.conflict(KindAdded, object, "keep it as it is", "disk %s was added since the backup", disk.Label)
		}
	}
	return nil
}
