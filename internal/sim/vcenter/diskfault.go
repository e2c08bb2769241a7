package vcenter

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// A diskFate is what a rule has in store for a call; nil where none acts.
type diskFate struct{ *fault.Hit }

func (f *diskFate) capacity() int64 {
	if f == nil {
		return 0
	}
	return f.Capacity
}

// CheckDiskCall tells whether VDDK has a function of that name, without its
// prefix, that a host hears of. A pattern with * is not looked at.
func CheckDiskCall(name string) error {
	if name == "" || strings.Contains(name, "*") {
		return nil
	}
	for _, op := range diskOps {
		if op == name {
			return nil
		}
	}
	return fmt.Errorf("VDDK has no function %s that hosts hear of: want Connect, Open, QueryAllocatedBlocks, Read, Write, Flush, Close or Disconnect", name)
}

// CheckDiskError tells whether code can be an error of VDDK: its number.
func CheckDiskError(code string) error {
	if n, err := strconv.ParseUint(code, 10, 16); code != "" && (err != nil || n == 0) {
		return fmt.Errorf("%q: want the number of an error of VDDK, such as %d", code, vixRefused)
	}
	return nil
}

// answer answers a call as the rules have it, and remembers it.
func (d *diskConn) answer(c diskCall) {
	rules := d.p.s.cfg.Rules
	if rules == nil {
		d.perform(c, nil)
		return
	}
	call := d.describe(c)
	if hit := rules.Match(call); hit != nil {
		call.Rule = hit.ID
		d.suffer(c, &diskFate{hit})
	} else {
		d.perform(c, nil)
	}
	call.Took = fault.Duration(time.Since(call.Time))
	rules.Record(call)
}

// describe is the call as rules and the log see it.
func (d *diskConn) describe(c diskCall) fault.Call {
	s := d.p.s
	call := fault.Call{Time: time.Now(), Service: fault.Disk, Server: s.cfg.Label, Operation: diskOps[c.op]}
	if c.op == diskRead || c.op == diskWrite {
		call.Offset, call.Length = int64(c.sector)*sectorSize, int64(c.sectors)*sectorSize
		call.Bytes = call.Length
	}
	if d.login != nil {
		call.User = d.login.user
	}
	if h := d.handle(c.handle); h != nil {
		call.Object, call.Name, call.Server = h.path, h.vmName, h.server
	} else if c.op == diskOpen {
		call.Object = string(c.payload)
		if vs, err := d.vm(); err == nil {
			call.Name, call.Server = s.nameOfVM(vs.ref.Value), d.server(vs)
		}
	}
	return call
}

// server is the name of the host that a VM is on, as rules have it.
func (d *diskConn) server(vs *vmState) string {
	s := d.p.s
	if h := s.hostOf(s.newContext(), vs.ref); h != nil {
		return s.cfg.Label + "/" + h.name
	}
	return s.cfg.Label
}

// suffer answers a call on which a rule acts.
func (d *diskConn) suffer(c diskCall, f *diskFate) {
	if f.After {
		_, _ = d.do(c, f)
	}
	if f.Wait(d.ctx) != nil {
		return // the client has left
	}
	switch {
	case f.Crash != "":
		d.crash(c, f.Crash)
	case f.Refuses():
		d.reply(c.diskHead, nil, d.refusal(f))
	case f.Reset != nil && c.op != diskRead:
		d.reset()
	default:
		if c.op == diskWrite && f.Rate > 0 {
			time.Sleep(time.Second * time.Duration(len(c.payload)) / time.Duration(f.Rate))
		}
		d.perform(c, f)
	}
}

// perform does what a call asks for and answers it.
func (d *diskConn) perform(c diskCall, f *diskFate) {
	out, err := d.do(c, f)
	if err == nil && c.op == diskRead {
		d.sendSectors(c.diskHead, f)
		return
	}
	d.reply(c.diskHead, out, err)
}

func (d *diskConn) crash(c diskCall, signal string) {
	number := syscall.SIGSEGV
	if signal == "SIGABRT" {
		number = syscall.SIGABRT
	}
	d.send.Lock()
	defer d.send.Unlock()
	_, _ = d.c.Write(appendDiskReply(nil, c.tag, uint32(number), replyDie, 0))
}

func (d *diskConn) refusal(f *diskFate) error {
	code := uint64(vixFail)
	if f.Logout {
		d.endSession()
		code = vixConnectionLost
	}
	if n, err := strconv.ParseUint(f.Code, 10, 16); err == nil {
		code = n
	}
	return vix(uint32(code), "%s", cmp.Or(f.Message, "A fault was asked for."))
}

// endSession ends the session that the connection uses.
func (d *diskConn) endSession() {
	d.p.mu.Lock()
	key, own := d.session, d.own
	d.session = ""
	d.p.mu.Unlock()
	if key != "" && !own {
		d.p.s.terminate(key)
	}
}

// reset breaks the connection, as a firewall or a crash does.
func (d *diskConn) reset() {
	if t, is := d.c.(*net.TCPConn); is {
		_ = t.SetLinger(0) // RST rather than FIN
	}
	_ = d.c.Close()
}
