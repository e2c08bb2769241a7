package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

const (
	block = repository.BlockSize
	// chunk is how much is asked of a transport at once.
	chunk = 4 * block
	// readers is how many chunks of one disk are under way at once.
	readers = 4
)

// errLied says that a block which CBT called unchanged differs.
var errLied = errors.New("changed block tracking omitted a change")

// diskCopy is one disk on its way into the repository.
type diskCopy struct {
	run      *run
	vm       *vmRun
	disk     vsphere.Disk
	rec      *restorepoint.Disk
	sessions *openers
	done     atomic.Int64
	total    int64
}

func (c *diskCopy) do(ctx context.Context) error {
	parent, why := c.parentOf()
	if parent != nil {
		changed, reason, err := c.changed(ctx, parent)
		if err != nil {
			return err
		}
		if reason == "" {
			err = c.incremental(ctx, parent, changed)
			if !errors.Is(err, errLied) {
				return err
			}
			reason = err.Error()
			c.run.problem(restorepoint.Problem{VM: c.vm.rec.Name, Disk: c.disk.Label, Message: reason + ": the whole disk was read"})
		}
		why = reason
	}
	c.rec.FullReason = why
	return c.full(ctx)
}

// full reads everything that may hold data.
func (c *diskCopy) full(ctx context.Context) error {
	c.rec.Mode = "full"
	reader, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer c.close(reader)
	disk, err := c.run.writer.Disk(ctx, c.disk.Capacity, nil)
	if err != nil {
		return err
	}
	switch reader := reader.(type) {
	case transport.Stream:
		err = c.stream(ctx, reader, disk)
	case transport.Source:
		set, known := c.allocated(ctx)
		if !known {
			set, err = reader.Extents(ctx, extent.Extent{Length: c.disk.Capacity})
			if err != nil {
				return fmt.Errorf("ask for allocated areas: %w", err)
			}
		}
		err = c.extents(ctx, reader, disk, set, nil)
	default:
		err = fmt.Errorf("transport %s: neither source nor stream", c.rec.Transport)
	}
	if err != nil {
		return err
	}
	return c.finish(ctx, disk)
}

// incremental reads what changed and a sample of what did not.
func (c *diskCopy) incremental(ctx context.Context, parent *restorepoint.Disk, changed extent.Set) error {
	reader, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer c.close(reader)
	source, ok := reader.(transport.Source)
	if !ok {
		// A stream brings every byte anyway: keep them all, and have no
		// need to believe CBT.
		c.rec.FullReason = "transport " + c.rec.Transport + " reads disks whole"
		c.rec.Mode = "full"
		disk, err := c.run.writer.Disk(ctx, c.disk.Capacity, nil)
		if err != nil {
			return err
		}
		if err := c.stream(ctx, reader.(transport.Stream), disk); err != nil {
			return err
		}
		return c.finish(ctx, disk)
	}
	c.rec.Mode = "incremental"
	disk, err := c.run.writer.Disk(ctx, c.disk.Capacity, &parent.Content)
	if err != nil {
		return err
	}
	sample, err := c.sample(ctx, parent, changed)
	if err != nil {
		return fmt.Errorf("choose a sample: %w", err)
	}
	if err := c.extents(ctx, source, disk, changed, sample); err != nil {
		return err
	}
	return c.finish(ctx, disk)
}

func (c *diskCopy) open(ctx context.Context) (transport.Reader, error) {
	reader, name, err := c.sessions.disk(ctx, c.disk.Key)
	if err != nil {
		return nil, err
	}
	c.rec.Transport = name
	if reader.Size() != c.disk.Capacity {
		return nil, errors.Join(
			fmt.Errorf("transport %s: %d bytes, vSphere says %d", name, reader.Size(), c.disk.Capacity), reader.Close())
	}
	return reader, nil
}

// close closes a reader. By then every byte has been checked or an error is
// on its way, so that a failing close has nothing to add but a log line.
func (c *diskCopy) close(reader transport.Reader) {
	c.rec.WireBytes += reader.Transferred()
	if err := reader.Close(); err != nil {
		c.run.Logger.Warn("close transport", "vm", c.vm.rec.Name, "disk", c.disk.Label, "error", err)
	}
}

func (c *diskCopy) finish(ctx context.Context, disk *repository.DiskWriter) error {
	content, err := disk.Finish(ctx)
	if err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	c.rec.Content = content
	c.emit(c.total, c.total)
	return nil
}

// extents copies what lies in set, and compares what lies in sample with the
// parent.
func (c *diskCopy) extents(ctx context.Context, src transport.Source, disk *repository.DiskWriter, set, sample extent.Set) error {
	c.total = set.Bytes() + sample.Bytes()
	c.done.Store(0)
	c.rec.ReadBytes += c.total
	c.rec.SampleBytes += sample.Bytes()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for _, part := range chunks(set, c.disk.Capacity) {
		group.Go(func() error {
			if err := c.copyChunk(ctx, src, disk, part, set); err != nil {
				return fmt.Errorf("at %d: %w", part.Offset, err)
			}
			return nil
		})
	}
	for _, part := range chunks(sample, c.disk.Capacity) {
		group.Go(func() error { return c.checkChunk(ctx, src, disk, part) })
	}
	return group.Wait()
}

// chunks cuts a set into pieces of whole blocks, none longer than chunk.
// Pieces without anything of the set are left out.
func chunks(set extent.Set, size int64) []extent.Extent {
	var out []extent.Extent
	for _, e := range set.Align(block, size) {
		for off := e.Offset; off < e.End(); off += chunk {
			out = append(out, extent.Extent{Offset: off, Length: min(chunk, e.End()-off)})
		}
	}
	return out
}

// copyChunk reads the part of set within one chunk and writes its blocks. A
// block that is changed in part is completed from the parent; in a full copy,
// what is not allocated is zeros.
func (c *diskCopy) copyChunk(ctx context.Context, src transport.Source, disk *repository.DiskWriter, part extent.Extent, set extent.Set) error {
	buf := make([]byte, part.Length)
	wanted := set.Clip(part)
	if wanted.Bytes() < part.Length && c.rec.Mode == "incremental" {
		for off := int64(0); off < part.Length; off += block {
			b := buf[off:min(off+block, part.Length)]
			if set.Clip(extent.Extent{Offset: part.Offset + off, Length: int64(len(b))}).Bytes() == int64(len(b)) {
				continue
			}
			if err := disk.ParentBlock(ctx, (part.Offset+off)/block, b); err != nil {
				return fmt.Errorf("complete from the parent: %w", err)
			}
		}
	}
	for _, e := range wanted {
		if err := src.ReadAt(ctx, buf[e.Offset-part.Offset:e.End()-part.Offset], e.Offset); err != nil {
			return fmt.Errorf("read %d bytes: %w", e.Length, err)
		}
		c.emit(c.done.Add(e.Length), c.total)
	}
	for off := int64(0); off < part.Length; off += block {
		b := buf[off:min(off+block, part.Length)]
		if err := disk.WriteBlock(ctx, (part.Offset+off)/block, b); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return nil
}

// checkChunk reads blocks that CBT calls unchanged and compares them.
func (c *diskCopy) checkChunk(ctx context.Context, src transport.Source, disk *repository.DiskWriter, part extent.Extent) error {
	buf, was := make([]byte, part.Length), make([]byte, block)
	if err := src.ReadAt(ctx, buf, part.Offset); err != nil {
		return fmt.Errorf("sample at %d: %w", part.Offset, err)
	}
	for off := int64(0); off < part.Length; off += block {
		b := buf[off:min(off+block, part.Length)]
		if err := disk.ParentBlock(ctx, (part.Offset+off)/block, was[:len(b)]); err != nil {
			return fmt.Errorf("sample at %d: %w", part.Offset+off, err)
		}
		if !bytes.Equal(b, was[:len(b)]) {
			return fmt.Errorf("%w in the block at %d", errLied, part.Offset+off)
		}
	}
	c.emit(c.done.Add(part.Length), c.total)
	return nil
}

// sample picks unchanged blocks at random: of those that hold data in the
// parent or are allocated now. Only a sample of everything looks at blocks
// that neither claims.
func (c *diskCopy) sample(ctx context.Context, parent *restorepoint.Disk, changed extent.Set) (extent.Set, error) {
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
		return nil, fmt.Errorf("open the parent: %w", err)
	}
	held, err := earlier.Extents(ctx, extent.Extent{Length: c.disk.Capacity})
	return held, errors.Join(err, earlier.Close())
}

// pick chooses percent of the blocks of a set, at least one.
func pick(from extent.Set, percent float64) extent.Set {
	var out extent.Set
	count := (from.Bytes() + block - 1) / block
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

// stream stores everything a stream brings. What it leaves out is zeros.
func (c *diskCopy) stream(ctx context.Context, src transport.Stream, disk *repository.DiskWriter) error {
	c.total = c.disk.Capacity
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	err := assemble(ctx, src, func(n int64, data []byte) error {
		group.Go(func() error { return disk.WriteBlock(ctx, n, data) })
		c.emit(n*block, c.total)
		return ctx.Err()
	}, c.disk.Capacity)
	if stored := group.Wait(); stored != nil {
		return fmt.Errorf("store: %w", stored)
	}
	c.rec.ReadBytes += src.Transferred()
	return err
}

// assemble joins the pieces of a stream into blocks, each in a buffer of its
// own, and hands them over in order.
func assemble(ctx context.Context, src transport.Stream, emit func(n int64, data []byte) error, size int64) error {
	cur, buf := int64(-1), []byte(nil)
	flush := func() error {
		if cur < 0 {
			return nil
		}
		n := cur
		cur = -1
		return emit(n, buf)
	}
	for {
		off, data, err := src.Next(ctx)
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
		for len(data) > 0 {
			n := off / block
			if n != cur {
				if err := flush(); err != nil {
					return err
				}
				cur, buf = n, make([]byte, min(block, size-n*block))
			}
			done := copy(buf[off-n*block:], data)
			if done == 0 {
				return fmt.Errorf("stream goes beyond the disk's %d bytes", size)
			}
			off, data = off+int64(done), data[done:]
		}
	}
}
