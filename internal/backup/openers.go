package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
)

// openers keeps one session of each transport open for a VM. A session that
// broke off is replaced once nobody reads through it any more: a VM can be
// under one lease at a time.
type openers struct {
	run  *run
	vm   *vmRun
	list []transport.Opener
	mu   sync.Mutex
	open map[string]*held
	no   map[string]error
}

// held is an open session of a transport.
type held struct {
	transport.Session
	name    string
	central bool          // an overload is vCenter's
	users   int           // disks that are being read through it
	stale   bool          // to be used no more
	idle    chan struct{} // of a stale one: closed when its last user has gone
}

func (r *run) sessions(vm *vmRun) *openers {
	return &openers{
		run: r, vm: vm, list: r.Openers(vm.client),
		open: map[string]*held{}, no: map[string]error{},
	}
}

// disk opens a disk through the first transport that does not refuse it, less
// those that have refused it in mid-read, and tells its name. The session is to
// be released after the reader is closed. With ErrBroken it is the one that
// broke off, released, or nil where it could not be had. Over are the transports
// that would not open the disk.
func (o *openers) disk(ctx context.Context, key int32, refused map[string]error) (reader transport.Reader, h *held, name string, over []restorepoint.PassedOver, err error) {
	if len(o.list) == 0 {
		return nil, nil, "", nil, errors.New("no transport is configured")
	}
	var errs []error
	for _, opener := range o.list {
		name := opener.Name()
		err := refused[name]
		known := err != nil
		if !known {
			reader, h, err = o.through(ctx, opener, key)
		}
		if err == nil {
			return reader, h, name, over, nil
		}
		if ctx.Err() != nil {
			return nil, nil, "", nil, ctx.Err()
		}
		if !known {
			over = append(over, restorepoint.PassedOver{Transport: name, Reason: err.Error()})
		}
		err = fmt.Errorf("transport %s: %w", name, err)
		if !known && errors.Is(err, transport.ErrBroken) {
			return nil, h, name, nil, err
		}
		errs = append(errs, err)
	}
	return nil, nil, "", nil, errors.Join(errs...)
}

// placeOf is what is overloaded when a transport says so.
func (o *openers) placeOf(name string, p limit.Place) limit.Place {
	for _, opener := range o.list {
		if opener.Name() == name && isCentral(opener) {
			p.Host = ""
		}
	}
	return p
}

func isCentral(o transport.Opener) bool {
	c, ok := o.(transport.Central)
	return ok && c.ThroughVCenter()
}

func (o *openers) through(ctx context.Context, opener transport.Opener, key int32) (transport.Reader, *held, error) {
	h, err := o.session(ctx, opener)
	if err != nil {
		return nil, nil, err
	}
	reader, err := h.Disk(ctx, key)
	if err != nil {
		o.release(h)
	}
	return reader, h, err
}

// session returns the session of a transport, with one user more.
func (o *openers) session(ctx context.Context, opener transport.Opener) (*held, error) {
	for {
		h, idle, err := o.take(ctx, opener)
		if idle == nil {
			return h, err
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take is session, but does not wait: while a stale session has users it
// returns what is closed when they have gone.
func (o *openers) take(ctx context.Context, opener transport.Opener) (*held, <-chan struct{}, error) {
	name := opener.Name()
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.no[name]; err != nil {
		return nil, nil, err
	}
	h := o.open[name]
	if h != nil && h.stale {
		if h.users > 0 {
			return nil, h.idle, nil
		}
		delete(o.open, name)
		if err := h.Close(); err != nil {
			o.run.Logger.WarnContext(ctx, "close transport", "vm", o.vm.rec.Name, "transport", name, "error", err)
		}
		h = nil
	}
	if h == nil {
		session, err := opener.Open(ctx, o.frozen())
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, transport.ErrBroken) {
				o.no[name] = err
				o.run.Logger.WarnContext(ctx, "transport is passed over", "vm", o.vm.rec.Name, "transport", name, "error", err)
			}
			return nil, nil, err
		}
		h = &held{Session: session, name: name, central: isCentral(opener), idle: make(chan struct{})}
		o.open[name] = h
	}
	h.users++
	return h, nil, nil
}

// release takes a user from a session.
func (o *openers) release(h *held) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h.users--; h.users == 0 && h.stale {
		close(h.idle)
	}
}

// retire says that a session is to be used no more. Those who read through it
// may go on.
func (o *openers) retire(h *held) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !h.stale && h.users == 0 {
		close(h.idle)
	}
	h.stale = true
}

func (o *openers) frozen() transport.Frozen {
	f := transport.Frozen{
		VM: o.vm.rec.MoRef, Snapshot: o.vm.snapshot.Ref, Datacenter: o.vm.config.Datacenter,
		PoweredOn: o.vm.config.PowerState != "poweredOff", Snapshots: o.vm.snapshotsTaken + 1,
	}
	for _, d := range protected(o.vm) {
		f.Disks = append(f.Disks, d.Transport())
	}
	return f
}

func (o *openers) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for name, session := range o.open {
		if err := session.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close transport %s: %w", name, err))
		}
	}
	o.open = map[string]*held{}
	return errors.Join(errs...)
}
