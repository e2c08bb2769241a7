package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"time"

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
	// tries is how often a disk is begun through one transport that breaks
	// off.
	tries = 3
)

var (
	// errLied says that a block which CBT called unchanged differs, or that
	// one which it called empty is not.
	errLied = errors.New("changed block tracking omitted a change")
	// errParent says that what the disk held before cannot be read.
	errParent = errors.New("the restore point before cannot be read")
)

// diskCopy is one disk on its way into the repository.
type diskCopy struct {
	run      *run
	vm       *vmRun
	disk     vsphere.Disk
	rec      *restorepoint.Disk
	sessions *openers
	done     atomic.Int64
	total    int64

	reading string           // the transport that the disk was opened through
	session *held            // its session
	tries   int              // how often it has broken off
	refused map[string]error // transports that have refused in mid-read
	lied    bool             // CBT was caught
	anew    string           // why nothing is taken over from the parent
}

// do copies the disk. A transport that breaks off is tried again, with another
// session; one that refuses in mid-read, or breaks off every time, gives way
// to the next. Each attempt begins anew, and nothing of an attempt that failed
// gets into the restore point.
func (c *diskCopy) do(ctx context.Context) error {
	for {
		err := c.attempt(ctx)
		broken := errors.Is(err, transport.ErrBroken)
		if err == nil || ctx.Err() != nil || c.reading == "" || !broken && !errors.Is(err, transport.ErrRefused) {
			return err
		}
		log := c.run.Logger.With("vm", c.vm.rec.Name, "disk", c.disk.Label, "transport", c.reading, "error", err)
		if broken {
			c.sessions.retire(c.session)
			if c.tries++; c.tries < tries {
				log.WarnContext(ctx, "transfer breaks off; the disk is read again", "try", c.tries+1)
				if err := pause(ctx, time.Second<<(c.tries-1)); err != nil {
					return err
				}
				continue
			}
		}
		log.WarnContext(ctx, "transport gives way to the next")
		c.refused[c.reading], c.tries = err, 0
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt copies the disk through one transport: what changed where that is
// known, else everything. The bytes are all still there, whatever is found
// to be wrong with CBT or the parent.
func (c *diskCopy) attempt(ctx context.Context) error {
	c.rec.FullReason = ""
	parent, why := c.parentOf(ctx)
	if c.anew != "" {
		parent, why = nil, c.anew
	}
	if parent != nil {
		changed, reason, err := c.changed(ctx, parent)
		if err != nil {
			return err
		}
		if reason == "" {
			err = c.incremental(ctx, parent, changed)
			if !c.distrust(ctx, err) {
				return err
			}
			reason = c.anew
		}
		why = reason
	}
	c.rec.FullReason, c.rec.Parent = why, ""
	err := c.full(ctx)
	if c.distrust(ctx, err) {
		c.rec.FullReason = c.anew
		err = c.full(ctx)
	}
	return err
}

// distrust tells whether err means that a shortcut led nowhere: then the
// disk is to be read anew, without it. Each shortcut is distrusted once.
func (c *diskCopy) distrust(ctx context.Context, err error) bool {
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, errLied) && !c.lied:
		c.lied = true
	case errors.Is(err, errParent) && c.anew == "":
	default:
		return false
	}
	c.anew = err.Error()
	c.run.problem(restorepoint.Problem{VM: c.vm.rec.Name, Disk: c.disk.Label, Message: c.anew + ": the whole disk was read"})
	return true
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
		var sample extent.Set
		set, known := c.allocated(ctx)
		if known {
			sample = c.unallocated(set)
		} else {
			set, err = reader.Extents(ctx, extent.Extent{Length: c.disk.Capacity})
			if err != nil {
				return fmt.Errorf("ask for allocated areas: %w", err)
			}
		}
		err = c.extents(ctx, reader, disk, set, sample)
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
		c.rec.Parent = ""
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
		return fmt.Errorf("%w: %w", errParent, err)
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
	reader, session, err := c.sessions.disk(ctx, c.disk.Key, c.refused)
	c.reading, c.session = "", session
	if session != nil {
		c.reading = session.name
	}
	if err != nil {
		return nil, err
	}
	c.rec.Transport = c.reading
	if reader.Size() != c.disk.Capacity {
		defer c.sessions.release(session)
		return nil, errors.Join(
			fmt.Errorf("transport %s: %d bytes, vSphere says %d", c.reading, reader.Size(), c.disk.Capacity), reader.Close())
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
	c.sessions.release(c.session)
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
// parent. The sample goes first: it may tell that all the rest is in vain.
func (c *diskCopy) extents(ctx context.Context, src transport.Source, disk *repository.DiskWriter, set, sample extent.Set) error {
	c.total = set.Bytes() + sample.Bytes()
	c.done.Store(0)
	c.rec.ReadBytes += c.total
	c.rec.SampleBytes += sample.Bytes()
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	each := func(set extent.Set, do func(part extent.Extent) error) {
		for part := range chunks(set, c.disk.Capacity) {
			if working.Err() != nil {
				return
			}
			group.Go(func() error { return do(part) })
		}
	}
	each(sample, func(part extent.Extent) error { return c.checkChunk(working, src, disk, part) })
	each(set, func(part extent.Extent) error {
		if err := c.copyChunk(working, src, disk, part, set); err != nil {
			return fmt.Errorf("at %d: %w", part.Offset, err)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err() // which may have ended before all parts were begun
}

// chunks cuts a set into pieces of whole blocks, none longer than chunk.
// Pieces without anything of the set are left out.
func chunks(set extent.Set, size int64) iter.Seq[extent.Extent] {
	return func(yield func(extent.Extent) bool) {
		for _, e := range set.Align(block, size) {
			for off := e.Offset; off < e.End(); off += chunk {
				if !yield(extent.Extent{Offset: off, Length: min(chunk, e.End()-off)}) {
					return
				}
			}
		}
	}
}

// copyChunk reads the part of set within one chunk and writes its blocks. A
// block that is changed in part is completed from the parent; in a full copy,
// what is not allocated is zeros.
func (c *diskCopy) copyChunk(ctx context.Context, src transport.Source, disk *repository.DiskWriter, part extent.Extent, set extent.Set) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	buf := make([]byte, part.Length)
	wanted := set.Clip(part)
	if wanted.Bytes() < part.Length && c.rec.Mode == "incremental" {
		for off := int64(0); off < part.Length; off += block {
			b := buf[off:min(off+block, part.Length)]
			if set.Clip(extent.Extent{Offset: part.Offset + off, Length: int64(len(b))}).Bytes() == int64(len(b)) {
				continue
			}
			if err := disk.ParentBlock(ctx, (part.Offset+off)/block, b); err != nil {
				return fmt.Errorf("%w: %w", errParent, err)
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
