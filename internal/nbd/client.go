package nbd

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// DefaultTimeout is how long a server may leave a request unanswered.
	// A host that reads an object from a slow array has been seen to take
	// a minute.
	DefaultTimeout = 2 * time.Minute
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
	widen(raw)
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	conn, e, err := negotiate(ctx, raw, o.Export, o.TLS)
	if !stop() {
		// The end of ctx, and not what it looks like on the connection.
		err = context.Cause(ctx)
	}
	if len(c.links) == 0 {
		c.export = e
	}
	seen := e
	seen.contextID = c.export.contextID // which is the connection's own affair
	if err == nil && seen != c.export {
		err = broken("connections differ in what they see")
	}
	if err != nil {
		_ = raw.Close()
		return err
	}
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
