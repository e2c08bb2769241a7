package nbd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
)

const (
	// depth is how many requests one connection has under way. Servers work
	// on about as many at a time (nbdkit on 16).
	depth = 16
	// readAhead is how much of an answer may be read together with its
	// head. More would have to be copied from there.
	readAhead = 8 << 10
	// farewell is how long a server may take to hang up.
	farewell = 5 * time.Second
)

// A call is one request under way.
type call struct {
	request

	raw     net.Conn                        // of the link that it was started on
	payload *[requestSize + maxRequest]byte // what a write sends; the sender's
	due     time.Time
	done    chan struct{} // closed when it is over

	mu       sync.Mutex
	over     bool
	buf      []byte        // the caller's, for a read; nil once it is over
	err      error         // valid when done is closed
	lent     bool          // the receiver writes into buf
	returned chan struct{} // where set, closed when it does no more

	// What the receiver gathers; no one else looks before done is closed.
	failure   *Error
	got       extent.Set // of a read, within buf
	extents   extent.Set // of block status: what holds data
	described int64      // bytes that block status told of
}

// finish ends the call for whoever waits for it. The receiver may be writing
// into buf; wait sees to that.
func (c *call) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.over, c.err, c.buf = true, err, nil
		close(c.done)
	}
}

// isOver reports whether nobody waits for the call any more.
func (c *call) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// lend gives a part of the caller's buffer to the receiver, until takeBack.
// It is nil once the call is over.
func (c *call) lend(at, n int64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil
	}
	c.lent = true
	return c.buf[at : at+n]
}

// takeBack ends what lend began, and reports whether the call goes on.
func (c *call) takeBack() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lent = false
	if c.returned != nil {
		close(c.returned)
		c.returned = nil
	}
	return !c.over
}

// wait returns when a call that was started is over. The end of ctx ends it at
// once; what the server still answers is read and thrown away.
func (c *call) wait(ctx context.Context) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		c.finish(ctx.Err())
		<-c.done
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lent {
		// The receiver is in the middle of the caller's buffer, and does
		// not go on before it has seen that the call is over.
		returned := make(chan struct{})
		c.returned = returned
		_ = c.raw.SetReadDeadline(time.Unix(1, 0))
		c.mu.Unlock()
		<-returned
		c.mu.Lock()
	}
	return c.err
}

// A link is one connection in transmission. A goroutine sends, one receives.
type link struct {
	conn    net.Conn // TLS or raw
	raw     net.Conn
	in      *bufio.Reader
	export  export
	timeout time.Duration
	failed  func(error) // called once, when the link is of no more use

	slots    chan struct{} // one token for every request under way
	queue    chan *call
	gone     chan struct{} // closed with err set
	received chan struct{} // closed when the receiver has ended
	tasks    sync.WaitGroup

	mu      sync.Mutex
	pending map[uint64]*call // by cookie
	cookie  uint64
	timer   *time.Timer // set while something is pending
	err     error
}

// newLink takes over a connection on which the negotiation has ended.
func newLink(raw, conn net.Conn, e export, timeout time.Duration, failed func(error)) *link {
	l := &link{
		conn: conn, raw: raw, in: bufio.NewReaderSize(conn, readAhead),
		export: e, timeout: timeout, failed: failed,
		slots: make(chan struct{}, depth), queue: make(chan *call, depth),
		gone: make(chan struct{}), received: make(chan struct{}),
		pending: make(map[uint64]*call),
	}
	l.timer = time.AfterFunc(timeout, l.expire)
	l.timer.Stop()
	l.tasks.Go(l.send)
	l.tasks.Go(func() {
		defer close(l.received)
		l.fail(fmt.Errorf("%w: %w", ErrDisconnected, l.receive()))
	})
	return l
}

// start sends a request as soon as there is room for it.
func (l *link) start(ctx context.Context, c *call) error {
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.gone:
		return l.err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.cookie++
	c.cookie, c.raw = l.cookie, l.raw
	c.due = time.Now().Add(l.timeout)
	if len(l.pending) == 0 {
		l.timer.Reset(l.timeout)
	}
	l.pending[c.cookie] = c
	l.queue <- c // has room for every slot
	return nil
}

// settle ends a request that the server has answered, or never saw.
func (l *link) settle(c *call, err error) {
	l.mu.Lock()
	_, ok := l.pending[c.cookie]
	delete(l.pending, c.cookie)
	if len(l.pending) == 0 {
		l.timer.Stop()
	}
	l.mu.Unlock()
	c.finish(err)
	if ok {
		<-l.slots
	}
}

// find returns the request that an answer belongs to.
func (l *link) find(cookie uint64) (*call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.pending[cookie]
	if c == nil {
		return nil, broken("it answers a request that was not made")
	}
	return c, nil
}

// expire looks for requests that are due.
func (l *link) expire() {
	l.mu.Lock()
	next := time.Duration(-1)
	for _, c := range l.pending {
		if left := max(0, time.Until(c.due)); next < 0 || left < next {
			next = left
		}
	}
	if next > 0 && l.err == nil {
		l.timer.Reset(next)
	}
	l.mu.Unlock()
	if next == 0 {
		l.fail(fmt.Errorf("%w for %v", ErrTimeout, l.timeout))
	}
}

// fail ends the link and all that is under way. The first cause counts.
func (l *link) fail(err error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = err
	calls := l.pending
	l.pending = nil
	l.timer.Stop()
	close(l.gone)
	l.mu.Unlock()
	// Not conn: TLS would first say goodbye to a peer that may not listen.
	_ = l.raw.Close()
	for _, c := range calls {
		c.finish(err)
	}
	l.failed(err)
}

// send writes what is queued.
func (l *link) send() {
	var head [requestSize]byte
	for {
		select {
		case <-l.gone:
			return
		case c := <-l.queue:
			if c.isOver() {
				l.settle(c, nil)
				continue
			}
			b := head[:]
			if c.payload != nil {
				b = c.payload[:requestSize+c.length]
			}
			c.put(b)
			_, err := l.conn.Write(b)
			if c.payload != nil {
				payloads.Put(c.payload)
				c.payload = nil
			}
			if err != nil {
				l.fail(fmt.Errorf("%w: %w", ErrDisconnected, err))
				return
			}
		}
	}
}

// close waits for what is under way, says goodbye and hangs up. Nothing may be
// started any more.
func (l *link) close() {
	defer l.tasks.Wait()
	defer l.fail(ErrClosed)
	for range depth {
		select {
		case l.slots <- struct{}{}:
		case <-l.gone:
			return
		}
	}
	patience := min(l.timeout, farewell)
	_ = l.conn.SetDeadline(time.Now().Add(patience))
	var b [requestSize]byte
	request{cmd: cmdDisconnect}.put(b[:])
	if _, err := l.conn.Write(b[:]); err != nil {
		return
	}
	// Whoever ends the server next finds that it has heard of the end.
	<-l.received
}
