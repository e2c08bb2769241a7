package vcenter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
)

// A diskPort is where hosts give out the blocks of disks, as port 902 of a
// real one does to VDDK. The client is the double of VDDK in test/vddk; what
// it may see is decided here.
type diskPort struct {
	s        *Server
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	conns   map[*diskConn]bool
	handles map[*diskHandle]bool // open, or not yet known to be closed
	last    uint32
	closed  bool
}

func (s *Server) startDiskPort() error {
	host, _, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("disk port: %w", err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return fmt.Errorf("disk port: %w", err)
	}
	s.disks = &diskPort{s: s, listener: l, conns: map[*diskConn]bool{}, handles: map[*diskHandle]bool{}}
	s.disks.wg.Add(1)
	go s.disks.accept()
	return nil
}

// DiskPort is where all hosts serve blocks of disks to the double of VDDK
// (test/vddk): its parameters server and nfchostport.
func (s *Server) DiskPort() (host string, port int) {
	host, text, _ := net.SplitHostPort(advertised(s.disks.listener.Addr()))
	port, _ = strconv.Atoi(text)
	return host, port
}

func (p *diskPort) accept() {
	defer p.wg.Done()
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		d := &diskConn{p: p, c: c, handles: map[uint32]*diskHandle{}}
		d.ctx, d.leave = context.WithCancel(p.s.background)
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			_ = c.Close()
			return
		}
		p.conns[d] = true
		p.wg.Add(1)
		p.mu.Unlock()
		go d.serve()
	}
}

func (p *diskPort) close() {
	p.mu.Lock()
	p.closed = true
	err := p.listener.Close()
	for d := range p.conns {
		err = errors.Join(err, d.c.Close())
	}
	p.mu.Unlock()
	_ = err // the clients' end, not ours
	p.wg.Wait()
}

// sessions counts those that VDDK has made with a password of a user, or all.
func (p *diskPort) sessions(user string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for d := range p.conns {
		if d.session != "" && d.own && (user == "" || d.user == user) {
			n++
		}
	}
	return n
}

// endSessions ends those of a user, or all, and says how many there were.
func (p *diskPort) endSessions(user string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for d := range p.conns {
		if d.session != "" && d.own && (user == "" || d.user == user) {
			d.session = ""
			n++
		}
	}
	return n
}

// A diskConn is one connection of the double, which is one of VDDK's.
type diskConn struct {
	p     *diskPort
	c     net.Conn
	ctx   context.Context // until the client has left
	leave context.CancelFunc

	login *diskLogin // once there was one

	// Guarded by p.mu. The session is that of a cookie, or VDDK's own.
	user, session string
	own           bool

	send sync.Mutex // one reply at a time; guards the position of open files

	mu      sync.Mutex
	handles map[uint32]*diskHandle
}

// maxDiskCalls is how many calls of one connection wait or are worked on.
const maxDiskCalls = 64

// A diskCall is a request as it arrived.
type diskCall struct {
	diskHead
	payload []byte
}

func (d *diskConn) serve() {
	defer d.p.wg.Done()
	calls := make(chan diskCall, maxDiskCalls)
	worked := make(chan struct{})
	go func() {
		d.work(calls)
		close(worked)
	}()
	for {
		h, err := readDiskHead(d.c)
		if err != nil {
			break
		}
		payload := make([]byte, h.length)
		if _, err := io.ReadFull(d.c, payload); err != nil {
			break
		}
		calls <- diskCall{h, payload}
	}
	d.leave()
	_ = d.c.Close()
	close(calls)
	<-worked
	for _, h := range d.handles {
		h.abandon()
	}
	d.p.mu.Lock()
	delete(d.p.conns, d)
	d.p.mu.Unlock()
}

// work answers calls: reads and writes side by side, others by themselves.
func (d *diskConn) work(calls <-chan diskCall) {
	var under sync.WaitGroup
	slots := make(chan struct{}, maxDiskCalls)
	for c := range calls {
		if c.op != diskRead && c.op != diskWrite {
			under.Wait()
			d.answer(c)
			continue
		}
		slots <- struct{}{}
		under.Add(1)
		go func() {
			defer func() { <-slots; under.Done() }()
			d.answer(c)
		}()
	}
	under.Wait()
}

func (d *diskConn) do(c diskCall, f *diskFate) (out []byte, err error) {
	if d.login == nil && c.op != diskConnect {
		return nil, vix(vixInvalidArg, "not connected")
	}
	switch c.op {
	case diskConnect:
		return nil, d.connect(c.payload)
	case diskOpen:
		return d.open(string(c.payload), c.sectors, f.capacity())
	case diskDisconnect:
		return nil, nil
	}
	handle := d.handle(c.handle)
	if handle == nil {
		return nil, vix(vixInvalidArg, "handle %d: not open", c.handle)
	}
	switch c.op {
	case diskRead:
		return nil, handle.mayRead(c.diskHead)
	case diskWrite:
		return nil, handle.write(c.diskHead, c.payload)
	case diskBlocks:
		return handle.blocks(c.diskHead, c.payload)
	case diskClose:
		d.mu.Lock()
		delete(d.handles, c.handle)
		d.mu.Unlock()
		handle.close()
		return nil, nil
	}
	return nil, handle.valid() // Flush: what was written is in the files
}

func (d *diskConn) handle(id uint32) *diskHandle {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.handles[id]
}

// reply sends an answer, or an error. A client that cannot take it has left.
func (d *diskConn) reply(h diskHead, out []byte, err error) {
	var code, flags uint32
	if err != nil {
		code, flags, out = asVix(err)
	}
	b := append(appendDiskReply(nil, h.tag, code, flags, len(out)), out...)
	d.send.Lock()
	defer d.send.Unlock()
	_, _ = d.c.Write(b)
}

func asVix(err error) (code, flags uint32, log []byte) {
	var v *vixError
	if !errors.As(err, &v) {
		v = vix(vixFileError, "%v", err)
	}
	flags = replyLog
	if v.loud {
		flags = replyWarn
	}
	if v.log == "" {
		flags = 0
	}
	return v.code, flags, []byte(v.log)
}
