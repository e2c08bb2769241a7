package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// copyDisks copies the disks of all frozen VMs. A disk that fails takes its
// VM out of the point; the other VMs go on.
func (r *run) copyDisks(ctx context.Context) error {
	var group errgroup.Group
	for _, vm := range r.vms {
		if vm.err == nil {
			group.Go(func() error {
				vm.err = r.copyVM(ctx, vm)
				return nil
			})
		}
	}
	_ = group.Wait() // each VM keeps its own error
	return ctx.Err()
}

// copyVM copies the disks of a VM. By the time the transports are closed every
// byte was checked, so that a failing close takes nothing from the point.
func (r *run) copyVM(ctx context.Context, vm *vmRun) error {
	sessions := r.sessions(vm)
	err := r.copyThrough(ctx, vm, sessions)
	closed := sessions.close()
	if err != nil {
		return errors.Join(err, closed)
	}
	if closed != nil {
		r.problem(restorepoint.Problem{VM: vm.rec.Name, Message: fmt.Sprintf("after all disks were read: %v", closed)})
	}
	return nil
}

func (r *run) copyThrough(ctx context.Context, vm *vmRun, sessions *openers) error {
	group, ctx := errgroup.WithContext(ctx)
	disks := r.wanted(vm)
	copies := make([]*diskCopy, len(disks))
	vm.rec.Disks = make([]restorepoint.Disk, len(disks))
	for i, d := range disks {
		rec := &vm.rec.Disks[i]
		*rec = restorepoint.Disk{Key: d.Key, UUID: d.UUID, Label: d.Label, FileName: d.FileName, ChangeID: d.ChangeID}
		group.Go(func() error {
			release, err := r.Limits.Disk(ctx, r.place(vm))
			if err != nil {
				return err
			}
			c := &diskCopy{
				run: r, vm: vm, disk: d, rec: rec, sessions: sessions, place: r.place(vm), release: release, refused: map[string]error{},
			}
			defer func() { c.release() }()
			copies[i] = c
			if err := c.do(ctx); err != nil {
				return fmt.Errorf("disk %s: %w", d.Label, err)
			}
			return nil
		})
	}
	r.unprotected(vm)
	if err := group.Wait(); err != nil {
		return err
	}
	err := r.stillFrozen(context.WithoutCancel(ctx), vm)
	if errors.Is(err, errThawed) {
		for _, c := range copies {
			c.drop() // nor is it anything to go on from
		}
	}
	return err
}

// errThawed says that the disks did not stand still while they were read.
var errThawed = errors.New("our snapshot was removed during the copy: what was read is not consistent")

// place is where a VM runs, and for whom it is read.
func (r *run) place(vm *vmRun) limit.Place {
	return limit.Place{Host: vm.config.Host, VCenter: vm.rec.VCenter, VApp: r.vapp.ID}
}

// stillFrozen makes sure that our snapshot outlived the copy. Without
// maintenance mode a tenant's own snapshot or revert can remove it, and what
// was read from then on is no instant of the disk.
func (r *run) stillFrozen(ctx context.Context, vm *vmRun) error {
	_, err := vm.vm.SnapshotByRef(ctx, vm.snapshot.Ref)
	if errors.Is(err, vsphere.ErrNotFound) {
		return errThawed
	}
	return err
}

// protected returns the disks that the snapshot froze.
func protected(vm *vmRun) []vsphere.Disk {
	return slices.DeleteFunc(slices.Clone(vm.snapshot.Disks), func(d vsphere.Disk) bool {
		ok, _ := d.Snapshottable()
		return !ok
	})
}

// wanted returns those of them that were not excluded.
func (r *run) wanted(vm *vmRun) []vsphere.Disk {
	return slices.DeleteFunc(protected(vm), func(d vsphere.Disk) bool {
		counts, _ := r.opts.Choice.Disk(r.item(vm), Drive(d))
		return !counts
	})
}

// Drive is a disk as selectors know it.
func Drive(d vsphere.Disk) selection.Drive {
	kind := d.ControllerType
	switch kind {
	case "lsilogic", "lsisas", "buslogic", "pvscsi":
		kind = "scsi"
	case "ahci":
		kind = "sata"
	}
	return selection.Drive{Label: d.Label, Key: d.Key, Controller: kind, Bus: d.BusNumber, Unit: d.Unit}
}

// unprotected records the disks that are not read: those that were excluded,
// and loudly those that no snapshot freezes.
func (r *run) unprotected(vm *vmRun) {
	copied := r.wanted(vm)
	for _, d := range vm.config.Disks {
		if slices.ContainsFunc(copied, func(f vsphere.Disk) bool { return f.Key == d.Key }) {
			continue
		}
		rec := restorepoint.Disk{Key: d.Key, UUID: d.UUID, Label: d.Label, FileName: d.FileName}
		rec.Content.Size = d.Capacity
		if counts, why := r.opts.Choice.Disk(r.item(vm), Drive(d)); !counts {
			rec.NotProtected, rec.Excluded = why, true
			vm.rec.Unprotected = append(vm.rec.Unprotected, rec)
			continue
		}
		_, why := d.Snapshottable()
		if why == "" {
			why = "not part of the snapshot"
		}
		rec.NotProtected = why
		vm.rec.Unprotected = append(vm.rec.Unprotected, rec)
		r.problem(restorepoint.Problem{VM: vm.rec.Name, Disk: d.Label, Message: "not protected: " + why, Missing: true})
	}
}

// parentOf finds the disk's earlier content that this copy can build on, or
// says why there is none.
func (c *diskCopy) parentOf(ctx context.Context) (*restorepoint.Disk, string) {
	if c.run.opts.Full {
		return nil, "asked for"
	}
	point := c.run.parentOf(ctx, c.vm.rec.ID, c.disk.Key)
	if point == nil {
		return nil, c.run.noParent
	}
	c.rec.Parent = ""
	if point != c.run.parent {
		c.rec.Parent = point.ID
	}
	for _, vm := range point.VMs {
		if vm.ID != c.vm.rec.ID {
			continue
		}
		for i, d := range vm.Disks {
			if d.Key == c.disk.Key {
				return c.same(vm, &vm.Disks[i])
			}
		}
	}
	return nil, "not in the restore point before"
}

// same checks that the disk is the one the parent describes, and that CBT
// counts on from where it stood then.
func (c *diskCopy) same(vm restorepoint.VM, d *restorepoint.Disk) (*restorepoint.Disk, string) {
	switch {
	case vm.VCenter != c.vm.rec.VCenter || vm.MoRef != c.vm.rec.MoRef:
		return nil, "the VM was registered anew"
	case d.UUID != c.disk.UUID:
		return nil, "another disk than before"
	case d.Content.Object == "":
		return nil, "not in the restore point before"
	case d.Content.Size != c.disk.Capacity:
		return nil, "the capacity changed"
	case c.vm.snapshotsTaken > 0:
		return nil, "the VM has snapshots of its own"
	case d.ChangeID == "" || c.disk.ChangeID == "":
		return nil, "no change ID"
	case epoch(d.ChangeID) != epoch(c.disk.ChangeID):
		return nil, "changed block tracking was reset"
	}
	return d, ""
}

// epoch is the UUID part of a change ID "UUID/sequence".
func epoch(changeID string) string {
	uuid, _, _ := strings.Cut(changeID, "/")
	return uuid
}
