package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// errExcluded is the err of a VM that nobody asked for.
var errExcluded = errors.New("excluded")

// vmRun is one VM on its way through a backup. Once err is set the VM takes
// no further part; what was done to it is still undone.
type vmRun struct {
	rec    restorepoint.VM
	client *vsphere.Client
	vm     *vsphere.VM
	config *vsphere.VMConfig
	err    error
	left   error // what of it could not be undone

	snapshot       *vsphere.Snapshot
	snapshotIntent int64
	relocIntent    int64
	snapshotMade   bool // or perhaps made: it must be looked for
	relocDisabled  bool
	snapshotsTaken int // how many the VM had before ours
}

// identify finds each VM that is wanted in its vCenter and keeps its
// configuration. Of the others, vSphere is told nothing.
func (r *run) identify(ctx context.Context) error {
	wanted := r.opts.Choice.Whole(r.opts.Item)
	for _, v := range r.vapp.VMs {
		vm := &vmRun{rec: restorepoint.VM{
			Ref:           restorepoint.Ref{ID: v.ID, Name: v.Name, Href: v.Href},
			ScopedLocalID: v.VAppScopedLocalID,
			VCenterHref:   v.VimInfo.VCenterHref,
			MoRef:         v.VimInfo.VMMoRef,
		}}
		r.vms = append(r.vms, vm)
		counts, why := r.opts.Choice.VM(r.opts.Item, r.item(vm))
		if !counts {
			vm.rec.Missing, vm.rec.Excluded, vm.err = why, true, errExcluded
			continue
		}
		wanted = true
		vm.err = r.identifyVM(ctx, vm)
		if vm.err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if !wanted {
		return ErrNoneWanted
	}
	r.point.Nature = r.nature()
	return nil
}

// item is a VM as selectors know it.
func (r *run) item(vm *vmRun) selection.Item {
	it := r.opts.Item
	it.VM, it.URN = vm.rec.Name, vm.rec.ID
	return it
}

// nature tells standalone VMs and discovered vApps apart, which vCD does not.
func (r *run) nature() restorepoint.Nature {
	if len(r.vms) == 1 && r.vms[0].config != nil {
		return restorepoint.NatureByMarks(r.vapp.AutoNature, r.vms[0].config.OfCloudDirector())
	}
	return restorepoint.GuessNature(r.vapp.AutoNature, r.vapp.Name, r.vapp.Owner.Name)
}

func (r *run) identifyVM(ctx context.Context, vm *vmRun) error {
	if vm.rec.MoRef == "" {
		return errors.New("vCD names no vSphere VM: is the account a system administrator?")
	}
	client, err := r.VSphere(ctx, vm.rec.VCenterHref)
	if err != nil {
		return err
	}
	vm.client, vm.vm = client, client.VM(vm.rec.MoRef)
	vm.rec.VCenter = client.InstanceUUID()
	vm.config, err = vm.vm.Config(ctx)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	vm.rec.InstanceUUID = vm.config.InstanceUUID
	vm.rec.PowerState = vm.config.PowerState
	vm.snapshotsTaken = len(vm.config.Snapshots)
	r.keepConfig(ctx, vm)
	return nil
}

// loadParent finds the newest restore point of this vApp that this one can
// build on. Without one the disks are read in full.
func (r *run) loadParent(ctx context.Context) error {
	points, err := r.Repository.Points(ctx)
	if err != nil {
		return fmt.Errorf("list earlier restore points: %w", err)
	}
	points = slices.DeleteFunc(points, func(p restorepoint.Summary) bool { return p.VApp.ID != r.vapp.ID })
	slices.SortFunc(points, func(a, b restorepoint.Summary) int { return strings.Compare(b.ID, a.ID) })
	if len(points) == 0 {
		r.noParent = "first restore point"
		return nil
	}
	newest := points[0]
	r.older = points[1:]
	r.parent, err = r.Repository.Load(ctx, newest.ID)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.parent, r.noParent = nil, "the restore point before cannot be read"
		r.problem(restorepoint.Problem{Message: fmt.Sprintf("restore point %s cannot be built on, every disk is read in full: %v", newest.ID, err)})
		return nil
	}
	r.point.Parent = newest.ID
	return nil
}

// parentOf returns the newest restore point that holds a disk of a VM: the
// one before this, unless the VM failed then, or it or the disk was excluded.
// Nil, where there is none that can be read.
func (r *run) parentOf(ctx context.Context, vm string, key int32) *restorepoint.Point {
	if r.parent == nil || holds(r.parent, vm, key) {
		return r.parent
	}
	r.olderMu.Lock()
	defer r.olderMu.Unlock()
	for _, summary := range r.older {
		if !slices.ContainsFunc(summary.Members, func(m restorepoint.Member) bool { return m.ID == vm && m.Hold == restorepoint.Held }) {
			continue
		}
		point, loaded := r.loaded[summary.ID]
		if !loaded {
			var err error
			if point, err = r.Repository.Load(ctx, summary.ID); err != nil {
				return r.parent // the disk is read in full
			}
			r.loaded[summary.ID] = point
		}
		if holds(point, vm, key) {
			return point
		}
	}
	return r.parent
}

func holds(p *restorepoint.Point, vm string, key int32) bool {
	return slices.ContainsFunc(p.VMs, func(v restorepoint.VM) bool {
		return v.ID == vm && slices.ContainsFunc(v.Disks, func(d restorepoint.Disk) bool { return d.Key == key })
	})
}

// freeze prepares all VMs and then snapshots them side by side, as close in
// time as possible. A VM that fails is left out; the others go on.
func (r *run) freeze(ctx context.Context) error {
	err := r.step(ctx, "disable relocation", func(ctx context.Context) error {
		r.each(ctx, r.disableRelocation)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	err = r.step(ctx, "enable changed block tracking", func(ctx context.Context) error {
		r.each(ctx, r.enableTracking)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	err = r.step(ctx, "journal snapshots", func(ctx context.Context) error {
		r.each(ctx, r.intendSnapshot)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return r.step(ctx, "snapshot VMs", func(ctx context.Context) error {
		var group errgroup.Group
		group.SetLimit(16)
		for _, vm := range r.vms {
			if vm.err == nil {
				group.Go(func() error {
					vm.err = r.takeSnapshot(ctx, vm)
					return nil
				})
			}
		}
		_ = group.Wait() // each VM keeps its own error
		for _, vm := range r.vms {
			r.noteFrozen(vm.rec.Frozen)
		}
		return ctx.Err()
	})
}

// each runs do on every VM that still takes part, one after the other.
func (r *run) each(ctx context.Context, do func(context.Context, *vmRun) error) {
	for _, vm := range r.vms {
		if vm.err == nil && ctx.Err() == nil {
			vm.err = do(ctx, vm)
		}
	}
}

func (r *run) noteFrozen(at time.Time) {
	if at.IsZero() {
		return
	}
	if r.point.SnapshotFirst.IsZero() || at.Before(r.point.SnapshotFirst) {
		r.point.SnapshotFirst = at
	}
	if at.After(r.point.SnapshotLast) {
		r.point.SnapshotLast = at
	}
}

func (r *run) disableRelocation(ctx context.Context, vm *vmRun) (err error) {
	vm.relocIntent, err = r.intend(ctx, vm, mark.Relocation, nil)
	if err != nil {
		return err
	}
	r.did("intend relocation " + vm.rec.Name)
	vm.relocDisabled = true
	err = vm.vm.DisableRelocation(ctx, mark.DisableSource)
	if errors.Is(err, vsphere.ErrNotSupported) || errors.Is(err, vsphere.ErrDenied) {
		// Without it a storage migration during the copy can make the
		// copy fail, never silently wrong: go on, but say so.
		r.problem(restorepoint.Problem{VM: vm.rec.Name, Message: fmt.Sprintf("relocation stays enabled: %v", err)})
		vm.relocDisabled = false
		return r.Journal.Settle(ctx, vm.relocIntent)
	}
	if err != nil {
		return fmt.Errorf("disable relocation: %w", err)
	}
	r.did("disable relocation " + vm.rec.Name)
	return nil
}

// enableTracking switches CBT on where that is allowed. With a tenant's
// snapshot present CBT is neither enabled nor reset: the VM is read in full.
func (r *run) enableTracking(ctx context.Context, vm *vmRun) error {
	if vm.config.ChangeTracking || vm.snapshotsTaken > 0 {
		return nil
	}
	if err := vm.vm.EnableChangeTracking(ctx); err != nil {
		r.problem(restorepoint.Problem{VM: vm.rec.Name, Message: fmt.Sprintf("changed block tracking stays off, every backup is a full read: %v", err)})
		return nil
	}
	vm.config.ChangeTracking = true
	r.did("enable change tracking " + vm.rec.Name)
	return nil
}

func (r *run) intendSnapshot(ctx context.Context, vm *vmRun) (err error) {
	vm.snapshotIntent, err = r.intend(ctx, vm, mark.Snapshot, map[string]string{mark.Name: mark.SnapshotName(r.id)})
	if err == nil {
		vm.snapshotMade = true
		r.did("intend snapshot " + vm.rec.Name)
	}
	return err
}

func (r *run) takeSnapshot(ctx context.Context, vm *vmRun) error {
	snapshot, err := vm.vm.CreateSnapshot(ctx, vsphere.SnapshotSpec{
		Name: mark.SnapshotName(r.id), Description: mark.Description(r.id, r.self), Quiesce: r.opts.Quiesce,
	})
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	vm.snapshot = snapshot
	vm.rec.Frozen = snapshot.Created.UTC()
	vm.rec.Consistency = snapshot.Consistency
	if snapshot.QuiesceError != nil {
		r.problem(restorepoint.Problem{VM: vm.rec.Name, Message: fmt.Sprintf("crash-consistent only, the guest was not quiesced: %v", snapshot.QuiesceError)})
	}
	r.did("snapshot " + vm.rec.Name)
	return nil
}

// intend journals what is about to be done to a VM in vSphere.
func (r *run) intend(ctx context.Context, vm *vmRun, kind string, detail map[string]string) (int64, error) {
	all := map[string]string{mark.VCenter: vm.rec.VCenter, mark.VM: vm.rec.Name}
	for k, v := range detail {
		all[k] = v
	}
	id, err := r.Journal.Intend(ctx, journal.Intent{
		Claim: r.Claim.Token, Run: r.id, Site: r.opts.Site.ID, VApp: r.vapp.ID, Kind: kind, Object: vm.rec.MoRef, Detail: all,
	})
	if err != nil {
		return 0, fmt.Errorf("journal %s: %w", kind, err)
	}
	return id, nil
}
