package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// leastSample is how many blocks that CBT calls empty are looked at, if there
// are as many.
const leastSample = 64

// allocated returns what may hold data. Only of a thin base disk on VMFS,
// with CBT on, is the answer to be trusted, and not where everything was
// asked for or CBT has lied; elsewhere it is the whole disk.
func (c *diskCopy) allocated(ctx context.Context) (extent.Set, bool) {
	whole := extent.Of(extent.Extent{Length: c.disk.Capacity})
	switch {
	case c.run.opts.Full, c.lied, !c.disk.Thin, c.disk.ChangeID == "", c.vm.snapshotsTaken > 0,
		c.disk.DatastoreType != "VMFS", c.disk.ChainDepth > 0:
		return whole, false
	}
	set, err := c.vm.snapshot.Allocated(ctx, c.disk)
	if errors.Is(err, vsphere.ErrDenied) {
		c.run.problem(restorepoint.Problem{
			VM: c.vm.rec.Name, Disk: c.disk.Label, Message: fmt.Sprintf("every byte is read, also where the disk is empty: %v", err),
		})
		return whole, false
	}
	if err != nil {
		c.run.Logger.DebugContext(ctx, "allocated areas unknown", "vm", c.vm.rec.Name, "disk", c.disk.Label, "error", err)
		return whole, false
	}
	return set, true
}

// unallocated picks blocks at random that CBT calls empty. A sparse disk has
// many, so that their number goes by that of the blocks which hold data.
func (c *diskCopy) unallocated(allocated extent.Set) extent.Set {
	allocated = allocated.Align(block, c.disk.Capacity)
	return c.someOf(extent.Of(extent.Extent{Length: c.disk.Capacity}).Subtract(allocated), allocated)
}

// someOf picks blocks of what is called empty, beside so much that is read.
func (c *diskCopy) someOf(empty, read extent.Set) extent.Set {
	percent := c.run.opts.SamplePercent
	switch {
	case percent <= 0:
		return nil
	case percent >= 100:
		return empty
	}
	return choose(empty, max(leastSample, int64(float64(read.Bytes()/block)*percent/100)))
}

// choose picks n blocks of a set at random.
func choose(from extent.Set, n int64) extent.Set {
	count := blocks(from)
	if n >= count {
		return from
	}
	picked := map[int64]bool{}
	for i := count - n; i < count; i++ { // Floyd's way: n draws, whatever n
		if at := rand.Int64N(i + 1); !picked[at] {
			picked[at] = true
		} else {
			picked[i] = true
		}
	}
	order := slices.Sorted(maps.Keys(picked))
	var out extent.Set
	first := int64(0) // number of the extent's first block
	for _, e := range from {
		next := first + (e.Length+block-1)/block
		for len(order) > 0 && order[0] < next {
			off := e.Offset + (order[0]-first)*block
			out = out.Add(extent.Extent{Offset: off, Length: min(block, e.End()-off)})
			order = order[1:]
		}
		first = next
	}
	return out
}

// blocks counts the blocks of a set whose extents begin at blocks.
func blocks(set extent.Set) (n int64) {
	for _, e := range set {
		n += (e.Length + block - 1) / block
	}
	return n
}

// sample picks unchanged blocks at random: of those that hold data in the
// parent or are allocated now. Only a sample of everything looks at blocks
// that neither claims.
func (c *diskCopy) unchanged(ctx context.Context, parent *restorepoint.Disk, changed extent.Set) (extent.Set, error) {
	percent := c.run.opts.SamplePercent
	if percent <= 0 {
		return nil, nil
	}
	whole := extent.Of(extent.Extent{Length: c.disk.Capacity})
	from := whole
	if percent < 100 {
		held, err := c.heldBy(ctx, parent)
		if err != nil {
			return nil, err
		}
		from = held
		if now, known := c.allocated(ctx); known {
			from = from.Union(now)
		}
	}
	from = from.Align(block, c.disk.Capacity).Subtract(changed.Align(block, c.disk.Capacity))
	if percent >= 100 {
		return from, nil
	}
	return pick(from, percent), nil
}

// heldBy returns the blocks of the parent that hold data.
func (c *diskCopy) heldBy(ctx context.Context, parent *restorepoint.Disk) (extent.Set, error) {
	earlier, err := c.run.Repository.OpenDisk(ctx, parent.Content)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errParent, err)
	}
	held, err := earlier.Extents(ctx, extent.Extent{Length: c.disk.Capacity})
	if err = errors.Join(err, earlier.Close()); err != nil {
		return nil, fmt.Errorf("%w: %w", errParent, err)
	}
	return held, nil
}

// pick chooses percent of the blocks of a set, at least one.
func pick(from extent.Set, percent float64) extent.Set {
	var out extent.Set
	count := blocks(from)
	if count == 0 {
		return nil
	}
	sure := rand.Int64N(count)
	n := int64(0)
	for _, e := range from {
		for off := e.Offset; off < e.End(); off += block {
			if n == sure || rand.Float64()*100 < percent {
				out = out.Add(extent.Extent{Offset: off, Length: min(block, e.End()-off)})
			}
			n++
		}
	}
	return out
}
