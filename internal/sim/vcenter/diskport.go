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

// A DiskListener is where hosts give out the blocks of disks, as port 902 of
// real ones does to VDDK. The client is the double of VDDK in test/vddk. One
// listener can serve several vCenters: clients say which one they mean by its
// port, as VDDK's parameter port does.
type DiskListener struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	vcenters map[int]*diskPort
	fresh    map[net.Conn]bool // that have not said yet which vCenter they mean
	closed   bool
}

// ListenDisks opens a disk port for Config.Disks at HOST:PORT.
func ListenDisks(address string) (*DiskListener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("disk port: %w", err)
	}
	d := &DiskListener{listener: l, vcenters: map[int]*diskPort{}, fresh: map[net.Conn]bool{}}
	d.wg.Add(1)
	go d.accept()
	return d, nil
}

// Addr is where clients find it.
func (l *DiskListener) Addr() net.Addr { return l.listener.Addr() }

// Close stops listening. Connections to vCenters end with those.
func (l *DiskListener) Close() error {
	l.mu.Lock()
	l.closed = true
	err := l.listener.Close()
	for c := range l.fresh {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	return err
}

func (l *DiskListener) accept() {
	defer l.wg.Done()
	for {
		c, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			_ = c.Close()
			return
		}
		l.fresh[c] = true
		l.wg.Add(1)
		l.mu.Unlock()
		go l.welcome(c)
	}
}

// diskBanner is what a host's authentication daemon says to whoever connects.
const diskBanner = "220 VMware Authentication Daemon Version 1.10: SSL Required, ServerDaemonProtocol:SOAP, MKSDisplayProtocol:VNC , , NFCSSL supported\r\n"

// welcome greets as hosts do, and reads the first call of a connection, which
// says whom it is for.
func (l *DiskListener) welcome(c net.Conn) {
	defer l.wg.Done()
	var first diskCall
	_, err := io.WriteString(c, diskBanner)
	if err == nil {
		first, err = readDiskCall(c)
	}
	var login diskLogin
	if err == nil && first.op == diskConnect {
		login, err = parseDiskLogin(first.payload)
	}
	l.mu.Lock()
	delete(l.fresh, c)
	p := l.vcenters[login.port]
	if p == nil && len(l.vcenters) == 1 {
		for _, only := range l.vcenters {
			p = only
		}
	}
	l.mu.Unlock()
	switch {
	case err != nil || first.op != diskConnect:
		_ = c.Close()
	case p == nil:
		b := appendDiskReply(nil, first.tag, vixCannotConnect, 0, 0)
		_, _ = c.Write(b)
		_ = c.Close()
	default:
		p.admit(c, first)
	}
}

// A diskPort is one vCenter's part of a listener.
type diskPort struct {
	s        *Server
	listener *DiskListener
	own      bool // the listener is this vCenter's alone
	wg       sync.WaitGroup

	mu      sync.Mutex
	conns   map[*diskConn]bool
	handles map[*diskHandle]bool // open, or not yet known to be closed
	last    uint32
	closed  bool
}

// startDiskPort makes the vCenter known to its disk port, by the port of its
// own.
func (s *Server) startDiskPort(port int) error {
	p := &diskPort{s: s, listener: s.cfg.Disks, conns: map[*diskConn]bool{}, handles: map[*diskHandle]bool{}}
	if p.listener == nil {
		host, _, err := net.SplitHostPort(s.cfg.Listen)
		if err == nil {
			p.listener, err = ListenDisks(net.JoinHostPort(host, "0"))
		}
		if err != nil {
			return err
		}
		p.own = true
	}
	p.listener.mu.Lock()
	p.listener.vcenters[port] = p
	p.listener.mu.Unlock()
	s.disks = p
	return nil
}

// DiskPort is where all hosts serve blocks of disks to the double of VDDK
// (test/vddk): its parameters server and nfchostport.
func (s *Server) DiskPort() (host string, port int) {
	host, text, _ := net.SplitHostPort(advertised(s.disks.listener.Addr()))
	port, _ = strconv.Atoi(text)
	return host, port
}

// admit serves a connection whose first call has been read.
func (p *diskPort) admit(c net.Conn, first diskCall) {
	d := &diskConn{p: p, c: c, handles: map[uint32]*diskHandle{}}
	d.ctx, d.leave = context.WithCancel(p.s.background)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return
	}
	p.conns[d] = true
	p.wg.Add(1)
	go d.serve(first)
}

func (p *diskPort) close() {
	p.listener.mu.Lock()
	for port, o := range p.listener.vcenters {
		if o == p {
			delete(p.listener.vcenters, port)
		}
	}
	p.listener.mu.Unlock()
	if p.own {
		_ = p.listener.Close()
	}
	p.mu.Lock()
	p.closed = true
	for d := range p.conns {
		_ = d.c.Close()
	}
	p.mu.Unlock()
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

// readDiskCall reads a request.
func readDiskCall(r io.Reader) (diskCall, error) {
	h, err := readDiskHead(r)
	if err != nil {
		return diskCall{}, err
	}
	c := diskCall{h, make([]byte, h.length)}
	_, err = io.ReadFull(r, c.payload)
	return c, err
}

func (d *diskConn) serve(first diskCall) {
	defer d.p.wg.Done()
	calls := make(chan diskCall, maxDiskCalls)
	worked := make(chan struct{})
	go func() {
		d.work(calls)
		close(worked)
	}()
	for c, err := first, error(nil); err == nil; c, err = readDiskCall(d.c) {
		calls <- c
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
