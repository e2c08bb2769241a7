package nbd

import (
	"context"

	"github.com/vappvault/vappvault/internal/extent"
)

const (
	// maxAsk is how many bytes a question for the state of blocks covers.
	maxAsk = 2 << 30
	// maxExtents bounds the answer of Extents. Beyond it, holes between
	// extents are dropped, the small ones first.
	maxExtents = 1 << 20
)

// Extents returns what may hold data within the given range; the rest reads
// as zeros. Where the server does not know it is the range itself.
func (c *Client) Extents(ctx context.Context, within extent.Extent) (extent.Set, error) {
	if err := c.within(within.Offset, within.Length); err != nil {
		return nil, err
	}
	if !c.export.allocation || within.Length == 0 {
		return extent.Of(within), nil
	}
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	least := c.export.minBlock
	off := within.Offset - within.Offset%least
	end := within.End()
	if rest := end % least; rest != 0 {
		end += least - rest // the size is a multiple
	}
	var set extent.Set
	grain := int64(64 << 10)
	see := func(one *call) error {
		for int64(one.length) > one.described {
			// The server told of a part. The rest is asked for on its own.
			if err := c.askOn(ctx, one); err != nil {
				return err
			}
		}
		for _, e := range one.extents {
			set = set.Add(e)
		}
		for len(set) > maxExtents {
			grain *= 2
			set = set.Align(grain, c.export.size)
		}
		return nil
	}
	if err := c.each(ctx, request{cmd: cmdBlockStatus}, off, end-off, maxAsk, nil, see); err != nil {
		return nil, err
	}
	return set.Clip(within), nil
}

// askOn asks for the state of what the answer to a question left out.
func (c *Client) askOn(ctx context.Context, one *call) error {
	more := &call{request: one.request, done: make(chan struct{})}
	more.off += uint64(one.described)
	more.length -= uint32(one.described)
	if err := c.least().start(ctx, more); err != nil {
		return err
	}
	if err := more.wait(ctx); err != nil {
		return err
	}
	for _, e := range more.extents {
		one.extents = one.extents.Add(e)
	}
	one.described += more.described
	return nil
}
