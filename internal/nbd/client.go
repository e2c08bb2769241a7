package nbd

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
)

const (
	// DefaultTimeout is how long a server may leave a request unanswered.
	// A host that reads an object from a slow array has been seen to take
	// a minute.
	DefaultTimeout = 2 * time.Minute

	// maxRequest is how many bytes one read or write asks for. Longer calls
	// become several, which are under way at the same time.
	maxRequest = 1 << 20
	// maxZero is how many bytes a write of zeros or a trim asks for: a
	// server that has no better way writes them all before it answers.
	maxZero = 32 << 20
	// maxAsk is how many bytes a question for the state of blocks covers.
	maxAsk = 2 << 30
	// maxExtents bounds the answer of Extents. Beyond it, holes between
	// extents are dropped, the small ones first.
	maxExtents = 1 << 20
)

// Options say how to reach an export.
type Options struct {
	// Export is the name that the server knows the disk by.
	Export string
	// TLS is used where it is not nil; a server that does not have TLS is
	// then refused. Without a ServerName it is that of the address.
	TLS *tls.Config
	// Timeout is how long a request may stay unanswered, from when it has
	// its place in the queue of the connection; 0 means DefaultTimeout.
	Timeout time.Duration
	// Connections is how many are opened where the server says that they
	// all see the same; 0 means 1.
	Connections int
}

// A Client reads and writes one export. It is safe for concurrent use, and
// has up to 16 requests under way on each connection.
//
// Its errors are ErrDisconnected and ErrTimeout, after which nothing more is
// to be had of it; an *Error for what the server refused; ErrClosed; or that
// of the context. A call whose context ends returns at once and leaves the
// Client as it was; a write given up so may have happened, in part too.
type Client struct {
	export export
	links  []*link

	mu      sync.Mutex
	err     error
	active  int           // calls under way
	closing bool          // no more are let in
	idle    chan struct{} // closed when closing and none is under way
}

// Dial connects to a server on "unix" or "tcp" and opens an export. ctx and
// the timeout hold for this call.
func Dial(ctx context.Context, network, address string, o Options) (*Client, error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.TLS != nil && o.TLS.ServerName == "" {
		o.TLS = o.TLS.Clone()
		if host, _, err := net.SplitHostPort(address); err == nil && network == "tcp" {
			o.TLS.ServerName = host
		}
	}
	c := &Client{idle: make(chan struct{})}
	for n := 1; len(c.links) < n; {
		if err := c.connect(ctx, network, address, o); err != nil {
			c.fail(err)
			_ = c.Close()
			return nil, fmt.Errorf("NBD server %s: %w", address, err)
		}
		if c.export.can(canMultiConn) {
			n = max(n, o.Connections)
		}
	}
	return c, nil
}

// NewClient opens an export on a connection that is there, which belongs to
// the Client from then on, and is closed if there is an error. ctx alone bounds
// this call: a server may have to do much before it knows the disk.
func NewClient(ctx context.Context, conn net.Conn, o Options) (*Client, error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	c := &Client{idle: make(chan struct{})}
	if err := c.open(ctx, conn, o); err != nil {
		return nil, fmt.Errorf("NBD server: %w", err)
	}
	return c, nil
}

// connect makes one connection and opens the export on it.
func (c *Client) connect(ctx context.Context, network, address string, o Options) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, ErrTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return c.open(ctx, conn, o)
}

// open negotiates on a connection and puts it beside the others.
func (c *Client) open(ctx context.Context, raw net.Conn, o Options) error {
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	conn, e, err := negotiate(ctx, raw, o.Export, o.TLS)
	if !stop() {
		// The end of ctx, and not what it looks like on the connection.
		err = context.Cause(ctx)
	}
	if err == nil && len(c.links) > 0 && e != c.export {
		err = broken("connections differ in what they see")
	}
	if err != nil {
		_ = raw.Close()
		return err
	}
	c.export = e
	c.add(newLink(raw, conn, e, o.Timeout, c.fail))
	return nil
}

// add puts a connection beside the others, one of which may have failed.
func (c *Client) add(l *link) {
	c.mu.Lock()
	c.links = append(c.links, l)
	err := c.err
	c.mu.Unlock()
	if err != nil {
		l.fail(err)
	}
}

// connect makes one connection and negotiates on it.
func connect(ctx context.Context, network, address string, o Options) (raw, conn net.Conn, e export, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, ErrTimeout)
	defer cancel()
	raw, err = (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
		conn, e, err = negotiate(ctx, raw, o.Export, o.TLS)
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = raw.Close()
		}
	}
	if err != nil && ctx.Err() != nil {
		// A deadline of ours or the end of ctx, and not what it looks like.
		err = context.Cause(ctx)
	}
	return raw, conn, e, err
}

// fail ends all connections for one cause.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	links := c.links
	if c.closing && c.active == 0 {
		links = nil // each says goodbye on its own
	}
	c.mu.Unlock()
	for _, l := range links {
		l.fail(err)
	}
}

// Size returns the size of the export in bytes.
func (c *Client) Size() int64 { return c.export.size }

// ReadOnly reports whether the server takes no writes.
func (c *Client) ReadOnly() bool { return c.export.can(canNotWrite) }

// BlockSizes returns what the server says of its blocks, in bytes. What is
// written, zeroed or trimmed begins and ends at multiples of least; ReadAt and
// Extents take any range. Calls need not heed most.
func (c *Client) BlockSizes() (least, preferred, most int64) {
	return c.export.minBlock, c.export.prefBlock, c.export.max
}

// enter lets a call in. leave must follow where it returns nil.
func (c *Client) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return ErrClosed
	}
	if c.err != nil {
		return c.err
	}
	c.active++
	return nil
}

func (c *Client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
	if c.closing && c.active == 0 {
		close(c.idle)
	}
}

// Close waits for the calls under way, tells the server and hangs up. Calling
// it twice does no harm.
func (c *Client) Close() error {
	c.mu.Lock()
	if !c.closing {
		c.closing = true
		if c.active == 0 {
			close(c.idle)
		}
	}
	c.mu.Unlock()
	<-c.idle
	var closing sync.WaitGroup
	for _, l := range c.links {
		closing.Go(l.close)
	}
	closing.Wait()
	return nil
}

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
		one.payload = make([]byte, requestSize+int64(one.length))
		copy(one.payload[requestSize:], p[at:])
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
