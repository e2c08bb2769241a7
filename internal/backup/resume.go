package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// A copyPlan is what a copy builds on, and what it has to bring.
type copyPlan struct {
	base    *restorepoint.Disk // nil: zeros, and everything is brought
	set     extent.Set
	mode    string // full or incremental
	why     string // of a full one
	resumed *restorepoint.Resumed
	// unread is what of set no earlier attempt has come to, and CBT does not
	// call changed since: in a full copy, holes are among it.
	unread extent.Set
}

// plan looks for the shortest way: on from where an interrupted attempt has
// come, from the restore point before, or from nothing.
func (c *diskCopy) plan(ctx context.Context) (copyPlan, error) {
	c.rec.Parent = ""
	switch {
	case c.anew != "":
		return copyPlan{mode: "full", why: c.anew}, nil
	case c.run.opts.Full:
		return copyPlan{mode: "full", why: "asked for"}, nil
	}
	if p, ok, err := c.resumption(ctx); ok || err != nil {
		return p, err
	}
	parent, why := c.parentOf(ctx)
	if parent != nil {
		changed, reason, err := c.changed(ctx, parent.ChangeID)
		if err != nil {
			return copyPlan{}, err
		}
		if reason == "" {
			return copyPlan{base: parent, set: changed, mode: "incremental"}, nil
		}
		why = reason
	}
	c.rec.Parent = ""
	return copyPlan{mode: "full", why: why}, nil
}

// resumption goes on from a checkpoint: what that attempt had not copied, and
// what changed since its snapshot, is all that is missing. It needs what an
// incremental needs: the same disk, and CBT that counts on from there.
func (c *diskCopy) resumption(ctx context.Context) (copyPlan, bool, error) {
	var found *repository.Unfinished
	for i, u := range c.run.unfinished {
		if u.VM == c.vm.rec.ID && u.Disk.Key == c.disk.Key {
			found = &c.run.unfinished[i] // the newest
			break
		}
	}
	if found == nil || c.overtaken(ctx, found.Run) {
		return copyPlan{}, false, nil
	}
	base, why := c.same(restorepoint.VM{VCenter: found.VCenter, MoRef: found.MoRef}, &found.Disk)
	if base == nil {
		c.rec.NotResumed = why
		return copyPlan{}, false, nil
	}
	changed, why, err := c.changed(ctx, base.ChangeID)
	if err != nil {
		return copyPlan{}, false, err
	}
	if why != "" {
		c.rec.NotResumed = why
		return copyPlan{}, false, nil
	}
	c.rec.Parent = base.Parent
	resumed := &restorepoint.Resumed{
		Run: found.Run, Saved: found.Saved, Bytes: base.Content.WrittenBytes, Stored: base.Content.StoredBytes,
	}
	if before := base.Resumed; before != nil {
		resumed.Bytes += before.Bytes
		resumed.Stored += before.Stored
	}
	p := copyPlan{base: base, set: found.Remaining.Union(changed), mode: base.Mode, why: base.FullReason, resumed: resumed}
	if p.mode == "full" {
		p.unread = found.Remaining.Subtract(changed)
	}
	return p, true, nil
}

// overtaken tells whether a point that was begun no earlier than an attempt can
// be built on: of one that was killed between its commit and the removal of what
// earlier attempts had left, both are there. Ids are in the order of time.
func (c *diskCopy) overtaken(ctx context.Context, attempt string) bool {
	parent, _ := c.parentOf(ctx)
	yes := parent != nil && cmp.Or(c.rec.Parent, c.run.parent.ID) >= attempt
	c.rec.Parent = ""
	return yes
}

// withoutHoles returns what remains of a resumed copy but for the holes that
// nobody has come to, and a sample of those: a stream, which may have begun it,
// asks nobody what holds data. A block is left out only where the checkpoint
// holds nothing either, which may hold more than it says.
func (c *diskCopy) withoutHoles(ctx context.Context, src transport.Source) (set, sample extent.Set, err error) {
	holds, _, err := c.holding(ctx, src)
	if err != nil {
		return nil, nil, err
	}
	stored, err := c.heldBy(ctx, c.base)
	if err != nil {
		return nil, nil, err
	}
	left := c.remaining.left()
	empty := holes(c.disk.Capacity, c.unread.Intersect(left), holds.Union(stored))
	set = left.Subtract(empty)
	return set, c.someOf(empty, set), nil
}

// holes returns the blocks that lie in a set and hold nothing.
func holes(capacity int64, in, held extent.Set) extent.Set {
	whole := extent.Of(extent.Extent{Length: capacity})
	return whole.Subtract(whole.Subtract(in).Union(held).Align(block, capacity))
}

// resumable has checkpoints tell how far this copy has come, where another
// attempt could go on from there.
func (c *diskCopy) resumable() {
	if c.disk.ChangeID == "" || c.vm.snapshotsTaken > 0 {
		return
	}
	rec := *c.rec
	rec.Retries, rec.Content = nil, restorepoint.DiskContent{}
	writer := c.writer
	writer.Resumable(func() (repository.Unfinished, bool) {
		c.mu.Lock()
		rest, mine := c.remaining, c.writer == writer
		c.mu.Unlock()
		if !mine || rest == nil || rest.stored.Load() == 0 && rec.Resumed == nil {
			return repository.Unfinished{}, false
		}
		return repository.Unfinished{
			Run: c.run.id, VM: c.vm.rec.ID, VCenter: c.vm.rec.VCenter, MoRef: c.vm.rec.MoRef, Disk: rec, Remaining: rest.left(),
		}, true
	})
}

// loadUnfinished reads what interrupted attempts have left.
func (r *run) loadUnfinished(ctx context.Context) error {
	list, err := r.Repository.Unfinished(ctx, r.vapp.ID)
	if err != nil && ctx.Err() == nil {
		// It would save time, nothing else.
		r.Logger.WarnContext(ctx, "checkpoints cannot be read", "vapp", r.vapp.Name, "error", err)
		return nil
	}
	r.unfinished = list
	return err
}

// changed asks CBT what changed since a change ID. Where it cannot answer, the
// disk is read in full: the bytes are all still there.
func (c *diskCopy) changed(ctx context.Context, since string) (extent.Set, string, error) {
	changed, err := c.vm.snapshot.Changed(ctx, c.disk, since)
	if errors.Is(err, vsphere.ErrChangeIDUnknown) {
		return nil, "the host does not know the change ID any more", nil
	}
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Sprintf("changed areas: %v", err), nil
	}
	return changed, "", err
}

// window is how much of a disk a source is asked about at a time.
const window = 64 << 30

// holding returns what may hold data in a full copy, by CBT and by the source
// itself, and a sample of the rest. Who asked for everything, or was lied to,
// gets everything.
func (c *diskCopy) holding(ctx context.Context, src transport.Source) (set, sample extent.Set, err error) {
	whole := extent.Of(extent.Extent{Length: c.disk.Capacity})
	if c.run.opts.Full || c.lied {
		return whole, nil, nil
	}
	set, _ = c.allocated(ctx)
	var held extent.Set
	for off := int64(0); off < c.disk.Capacity; off += window {
		w := extent.Extent{Offset: off, Length: min(window, c.disk.Capacity-off)}
		if len(set.Clip(w)) == 0 {
			continue
		}
		part, err := src.Extents(ctx, w)
		if err != nil {
			return nil, nil, fmt.Errorf("ask for allocated areas: %w", err)
		}
		held = held.Union(part.Clip(w))
	}
	set = set.Intersect(held)
	if len(set) == 1 && set[0] == whole[0] {
		return set, nil, nil
	}
	return set, c.unallocated(set), nil
}
