package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/transport"
)

// stream stores what a stream brings of what remains. What it leaves out is
// zeros, which the disk consists of where nothing was written.
func (c *diskCopy) stream(ctx context.Context, src transport.Stream) error {
	c.total = c.disk.Capacity
	left := c.remaining.left()
	rest := newRemaining(left)
	c.setRemaining(rest)
	limits, place, before := c.run.Limits, c.place, c.read.Load()
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(limits.Workers() + 1)
	err := assemble(working, src, c.disk.Capacity, func() ([]byte, error) {
		return limits.Buffer(working, place, block)
	}, func(n int64, buf []byte, length int64) error {
		part := extent.Extent{Offset: n * block, Length: length}
		c.read.Store(before + src.Transferred())
		c.emit(part.Offset, c.total)
		if len(left.Clip(part)) == 0 {
			limits.Return(place, buf) // an attempt before has stored it
			return working.Err()
		}
		if err := limits.Pace(working, place, length); err != nil {
			limits.Return(place, buf)
			return err
		}
		rest.handed(part)
		group.Go(func() error {
			defer limits.Return(place, buf)
			if err := limits.Work(working, place); err != nil {
				return err
			}
			defer limits.Worked(place)
			if err := c.writer.WriteBlock(working, n, buf[:length]); err != nil {
				return fmt.Errorf("store: %w", err)
			}
			c.stored(rest, part)
			return nil
		})
		return working.Err()
	}, func(buf []byte) { limits.Return(place, buf) })
	if stored := group.Wait(); stored != nil && (err == nil || ctx.Err() == nil && errors.Is(err, context.Canceled)) {
		err = stored
	}
	c.read.Store(before + src.Transferred())
	if err == nil {
		rest.handed(extent.Extent{Offset: c.disk.Capacity})
		rest.done(extent.Extent{Offset: c.disk.Capacity})
		limits.Served(place)
	}
	return err
}

// assemble joins the pieces of a stream into blocks and hands them over in
// order, each in a buffer of its own with the length that counts. A buffer that
// is not handed over is given back.
func assemble(ctx context.Context, src transport.Stream, size int64, get func() ([]byte, error), emit func(n int64, buf []byte, length int64) error, back func([]byte)) (err error) {
	cur, buf := int64(-1), []byte(nil)
	defer func() {
		if buf != nil {
			back(buf)
		}
	}()
	flush := func() error {
		if buf == nil {
			return nil
		}
		b := buf
		buf = nil
		return emit(cur, b, min(block, size-cur*block))
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
			if off >= size {
				return fmt.Errorf("stream goes beyond the disk's %d bytes", size)
			}
			if n := off / block; n != cur || buf == nil {
				if err := flush(); err != nil {
					return err
				}
				if buf, err = get(); err != nil {
					return err
				}
				cur = n
				clear(buf)
			}
			done := copy(buf[off-cur*block:min(block, size-cur*block)], data)
			off, data = off+int64(done), data[done:]
		}
	}
}
