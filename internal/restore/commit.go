package restore

import (
	"context"
	"fmt"
	"strings"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
)

// A commitment is what the commit point decides: which intents end with it,
// and what is to be done afterwards, each announced by an intent of its own.
type commitment struct {
	settle []int64
	add    []journal.Intent
	do     []func(ctx context.Context) error // for each intent in add; nil for records
}

func (c *commitment) then(i journal.Intent, do func(ctx context.Context) error) {
	c.add, c.do = append(c.add, i), append(c.do, do)
}

// commitPoint is the step from which on there is no way back: in one
// transaction every intent to undo is settled, and what follows is announced.
// What cannot be done then is a warning, and stays in the journal for the
// next run.
func (r *run) commitPoint(ctx context.Context) error {
	var c commitment
	for _, u := range r.undo {
		c.settle = append(c.settle, u.intent)
		if u.swap != nil {
			if err := r.settleOld(&c, *u.swap); err != nil {
				return err
			}
		}
	}
	if err := r.keepSafety(&c); err != nil {
		return err
	}
	if err := r.dropEarlier(ctx, &c); err != nil {
		return err
	}
	for _, vp := range r.plan.VMs {
		if vp.Action == plan.Remove {
			r.removeExtra(&c, vp)
		}
	}
	ids, err := r.Journal.Replace(ctx, c.settle, c.add)
	if err != nil {
		return err
	}
	r.undo, r.committed = nil, true
	r.did("commit point")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	for i, do := range c.do {
		if do == nil {
			continue
		}
		err := do(ctx)
		if err == nil {
			err = r.Journal.Settle(ctx, ids[i])
		}
		r.did(c.add[i].Kind + " " + c.add[i].Detail[mark.VM])
		if err != nil {
			r.warn(c.add[i].Detail[mark.VM], fmt.Sprintf("%s, the next run or `reconcile` will try again: %v", undone[c.add[i].Kind], err))
		}
	}
	return nil
}

// undone says what could not be done after the commit point.
var undone = map[string]string{
	mark.OldDisk:  "its former disks could not be deleted",
	mark.RemoveVM: "it could not be deleted",
}

func (r *run) intent(kind, object string, detail map[string]string) journal.Intent {
	return journal.Intent{
		Claim: r.Claim.Token, Run: r.id, Site: r.Site, VApp: r.point.VApp.ID, Kind: kind, Object: object, Detail: detail,
	}
}

// settleOld keeps the disks that were swapped out, or has them deleted.
func (r *run) settleOld(c *commitment, s swap) error {
	if len(s.files.Old) == 0 && !r.plan.KeepOld {
		return nil
	}
	kind := mark.OldDisk
	if r.plan.KeepOld {
		kind = mark.KeptDisk
		r.warn(s.vm, "its former disks are kept: "+strings.Join(names(s.files.Old), ", "))
	}
	detail, err := filesDetail(s.client.InstanceUUID(), s.vm, Files{Datacenter: s.files.Datacenter, Old: s.files.Old, New: s.files.New})
	if err != nil {
		return err
	}
	c.then(r.intent(kind, s.moref, detail), r.dropping(s, kind))
	return nil
}

func (r *run) dropping(s swap, kind string) func(context.Context) error {
	if kind != mark.OldDisk {
		return nil
	}
	return func(ctx context.Context) error {
		left, err := DropOld(ctx, s.client, s.moref, s.files)
		if len(left) > 0 {
			r.warn(s.vm, "former disks that something still refers to are kept: "+strings.Join(left, ", "))
		}
		return err
	}
}

// keepSafety records what the vApp was, for an undo. A run that writes its own
// safety point back is one.
func (r *run) keepSafety(c *commitment) error {
	undoable := r.plan.KeepOld || r.safetyPoint != "" && r.safetyPoint != r.point.ID
	if !undoable || r.before == nil {
		return nil
	}
	sealed, err := r.before.seal(r.Repository)
	if err != nil {
		return err
	}
	c.then(r.intent(mark.Safety, r.vapp.ID, map[string]string{
		mark.Name: r.before.Point.VApp.Name, "point": r.point.ID, "sealed": sealed,
		"org": r.plan.Org.Name, "orgId": r.plan.Org.ID, "vdc": r.plan.VDC.Name, "vdcId": r.plan.VDC.ID,
		"safety": r.safetyPoint,
	}), nil)
	return nil
}

// dropEarlier gives up what earlier overwrites kept: only the last one can be
// undone. The disks of the one that this run undoes are in use again.
func (r *run) dropEarlier(ctx context.Context, c *commitment) error {
	if r.before == nil {
		return nil // nothing was overwritten
	}
	earlier, err := ListKept(ctx, r.Journal, journal.Filter{Site: r.Site, VApp: r.point.VApp.ID})
	if err != nil {
		return err
	}
	for _, k := range earlier {
		c.settle = append(c.settle, k.intents...)
		if r.undoes != nil && r.undoes.Run == k.Run {
			continue
		}
		for _, vm := range k.VMs {
			detail, err := filesDetail(vm.VCenter, vm.Name, vm.Files)
			if err != nil {
				return err
			}
			c.then(r.intent(mark.OldDisk, vm.MoRef, detail), func(ctx context.Context) error {
				client, err := r.VCenter(ctx, vm.VCenter)
				if err != nil {
					return err
				}
				return r.dropping(swap{moref: vm.MoRef, vm: vm.Name, client: client, files: vm.Files}, mark.OldDisk)(ctx)
			})
		}
	}
	return nil
}

// removeExtra has a VM deleted that was added since.
func (r *run) removeExtra(c *commitment, vp plan.VM) {
	i := r.intent(mark.RemoveVM, vp.Live.ID, map[string]string{mark.VM: vp.Name})
	c.then(i, func(ctx context.Context) error { return r.VCD.DeleteVM(ctx, vp.Live.Href) })
}
