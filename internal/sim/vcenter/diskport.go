package vcenter

import (
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

// maxDiskCalls is how many calls of one connection are worked on at a time.
const maxDiskCalls = 64

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

// A diskConn is one connection of the double, which is one of VDDK's.
type diskConn struct {
	p *diskPort
	c net.Conn

	login *diskLogin // once there was one

	send sync.Mutex // one reply at a time; guards the position of open files

	mu      sync.Mutex
	handles map[uint32]*diskHandle
	calls   sync.WaitGroup
}

func (d *diskConn) serve() {
	defer d.p.wg.Done()
	slots := make(chan struct{}, maxDiskCalls)
	for {
		h, err := readDiskHead(d.c)
		if err != nil {
			break
		}
		payload := make([]byte, h.length)
		if _, err := io.ReadFull(d.c, payload); err != nil {
			break
		}
		if h.op != diskRead && h.op != diskWrite {
			d.calls.Wait() // what changes a handle waits for what uses it
			d.answer(h, payload)
			continue
		}
		slots <- struct{}{}
		d.calls.Add(1)
		go func() {
			defer func() { <-slots; d.calls.Done() }()
			d.answer(h, payload)
		}()
	}
	_ = d.c.Close()
	d.calls.Wait()
	d.mu.Lock()
	open := d.handles
	d.handles = nil
	d.mu.Unlock()
	for _, h := range open {
		h.abandon()
	}
	d.p.mu.Lock()
	delete(d.p.conns, d)
	d.p.mu.Unlock()
}

// answer does what a request asks for.
func (d *diskConn) answer(h diskHead, payload []byte) {
	out, err := d.do(h, payload)
	if err == nil && h.op == diskRead {
		d.sendSectors(h)
		return
	}
	d.reply(h, out, err)
}

func (d *diskConn) do(h diskHead, payload []byte) (out []byte, err error) {
	if d.login == nil && h.op != diskConnect {
		return nil, vix(vixInvalidArg, "not connected")
	}
	switch h.op {
	case diskConnect:
		return nil, d.connect(payload)
	case diskOpen:
		return d.open(string(payload), h.sectors)
	case diskDisconnect:
		return nil, nil
	}
	handle := d.handle(h.handle)
	if handle == nil {
		return nil, vix(vixInvalidArg, "handle %d: not open", h.handle)
	}
	switch h.op {
	case diskRead:
		return nil, handle.mayRead(h)
	case diskWrite:
		return nil, handle.write(h, payload)
	case diskBlocks:
		return handle.blocks(h, payload)
	case diskClose:
		d.mu.Lock()
		delete(d.handles, h.handle)
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
