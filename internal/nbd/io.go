package nbd

import (
	"context"
	"fmt"
	"sync"

	"github.com/vappvault/vappvault/internal/extent"
)

const (
	// maxRequest is how many bytes one read or write asks for. Longer calls
	// become several, which are under way at the same time.
	maxRequest = 1 << 20
	// maxZero is how many bytes a write of zeros or a trim asks for: a
	// server that has no better way writes them all before it answers.
	maxZero = 32 << 20
)

// payloads are what writes send, with room for the header.
var payloads = sync.Pool{New: func() any { return new([requestSize + maxRequest]byte) }}

// within refuses ranges that the export does not have.
func (c *Client) within(off, n int64) error {
	if off < 0 || n < 0 || off > c.export.size-n {
		return &Error{EINVAL, fmt.Sprintf("%d bytes at %d of a disk of %d", n, off, c.export.size)}
	}
	return nil
}

// writable refuses what cannot be written.
func (c *Client) writable(off, n int64) error {
	if c.ReadOnly() {
		return &Error{EPERM, "export is read-only"}
	}
	if err := c.within(off, n); err != nil {
		return err
	}
	if least := c.export.minBlock; off%least != 0 || n%least != 0 {
		return &Error{EINVAL, fmt.Sprintf("%d bytes at %d on blocks of %d", n, off, least)}
	}
	return nil
}

// least returns the connection with the fewest requests under way.
func (c *Client) least() *link {
	best := c.links[0]
	for _, l := range c.links[1:] {
		if len(l.slots) < len(best.slots) {
			best = l
		}
	}
	return best
}

// each cuts a range into requests of up to step bytes, has all of them under
// way at once as far as there is room, and returns the first error. fill
// completes a request before it is sent; see looks at one that was answered.
func (c *Client) each(ctx context.Context, r request, off, n, step int64, fill func(*call), see func(*call) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	window := 4 * depth
	if r.cmd == cmdBlockStatus {
		window = 4 // an answer can be long
	}
	var calls []*call
	var failed error
	// What is sent is waited for, on every path: cancel ends those waits.
	defer func() {
		cancel()
		for _, one := range calls {
			_ = one.wait(ctx)
		}
	}()
	take := func() error {
		one := calls[0]
		calls = calls[1:]
		err := one.wait(ctx)
		if err == nil && see != nil {
			err = see(one)
		}
		return err
	}
	for end := off + n; off < end && failed == nil; {
		one := &call{request: r, done: make(chan struct{})}
		one.off, one.length = uint64(off), uint32(min(step, end-off))
		if fill != nil {
			fill(one)
		}
		if failed = c.least().start(ctx, one); failed == nil {
			calls = append(calls, one)
			off += int64(one.length)
		}
		if len(calls) == window && failed == nil {
			failed = take()
		}
	}
	for len(calls) > 0 && failed == nil {
		failed = take()
	}
	return failed
}

// ReadAt fills p from the given offset in bytes.
func (c *Client) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := c.within(off, int64(len(p))); err != nil {
		return err
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	least := c.export.minBlock
	// Blocks that are wanted in part are read whole, on the side.
	if skip := off % least; skip != 0 && len(p) > 0 {
		n, err := c.readPart(ctx, p, off-skip, skip)
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	if rest := int64(len(p)) % least; rest != 0 {
		whole := int64(len(p)) - rest
		if _, err := c.readPart(ctx, p[whole:], off+whole, 0); err != nil {
			return err
		}
		p = p[:whole]
	}
	return c.read(ctx, p, off)
}

// readPart reads one block and copies from behind skip on as much as p takes.
func (c *Client) readPart(ctx context.Context, p []byte, block, skip int64) (int, error) {
	b := make([]byte, c.export.minBlock)
	if err := c.read(ctx, b, block); err != nil {
		return 0, err
	}
	return copy(p, b[skip:]), nil
}

// read fills p with whole blocks.
func (c *Client) read(ctx context.Context, p []byte, off int64) error {
	return c.each(ctx, request{cmd: cmdRead}, off, int64(len(p)), c.payload(), func(one *call) {
		at := int64(one.off) - off
		one.buf = p[at : at+int64(one.length)]
	}, nil)
}

// payload returns how many bytes one request carries.
func (c *Client) payload() int64 {
	n := min(maxRequest, c.export.max)
	return n - n%c.export.minBlock
}

// WriteAt writes p at the given offset in bytes. It is safe on the disk only
// after a Flush.
func (c *Client) WriteAt(ctx context.Context, p []byte, off int64) error {
	return c.write(ctx, 0, p, off)
}

// WriteThrough writes p and returns when it is safe on the disk.
func (c *Client) WriteThrough(ctx context.Context, p []byte, off int64) error {
	if c.export.can(canFUA) {
		return c.write(ctx, cmdFlagFUA, p, off)
	}
	if err := c.write(ctx, 0, p, off); err != nil {
		return err
	}
	return c.Flush(ctx)
}

func (c *Client) write(ctx context.Context, flags uint16, p []byte, off int64) error {
	if err := c.writable(off, int64(len(p))); err != nil {
		return err
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	return c.each(ctx, request{cmd: cmdWrite, flags: flags}, off, int64(len(p)), c.payload(), func(one *call) {
		at := int64(one.off) - off
		// A copy, as what was begun must be sent even if the caller gives up.
		one.payload = payloads.Get().(*[requestSize + maxRequest]byte)
		copy(one.payload[requestSize:requestSize+int64(one.length)], p[at:])
	}, nil)
}

// Zero makes a range read as zeros, and leaves it to the server whether it
// becomes a hole. A server without a command for it is sent zeros.
func (c *Client) Zero(ctx context.Context, e extent.Extent) error {
	if err := c.writable(e.Offset, e.Length); err != nil {
		return err
	}
	if !c.export.can(canWriteZeroes) {
		return c.writeZeros(ctx, e)
	}
	return c.command(ctx, request{cmd: cmdWriteZeroes}, e)
}

// writeZeros is Zero in full.
func (c *Client) writeZeros(ctx context.Context, e extent.Extent) error {
	zeros := make([]byte, min(e.Length, depth*c.payload()))
	for e.Length > 0 {
		n := min(e.Length, int64(len(zeros)))
		if err := c.WriteAt(ctx, zeros[:n], e.Offset); err != nil {
			return err
		}
		e.Offset, e.Length = e.Offset+n, e.Length-n
	}
	return nil
}

// Trim tells the server that a range is of no more use; what it reads as
// afterwards is not said. A server that does not know how is not told.
func (c *Client) Trim(ctx context.Context, e extent.Extent) error {
	if err := c.writable(e.Offset, e.Length); err != nil {
		return err
	}
	if !c.export.can(canTrim) {
		return nil
	}
	return c.command(ctx, request{cmd: cmdTrim}, e)
}

// command sends one without data for a range.
func (c *Client) command(ctx context.Context, r request, e extent.Extent) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	return c.each(ctx, r, e.Offset, e.Length, maxZero, nil, nil)
}

// Flush returns when all writes that had returned before it are safe on the
// disk. A server that does not know how writes through.
func (c *Client) Flush(ctx context.Context) error {
	if c.ReadOnly() || !c.export.can(canFlush) {
		return nil
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	// Connections that see the same share what a flush covers.
	one := &call{request: request{cmd: cmdFlush}, done: make(chan struct{})}
	if err := c.least().start(ctx, one); err != nil {
		return err
	}
	return one.wait(ctx)
}
