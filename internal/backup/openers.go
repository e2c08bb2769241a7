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

// openers keeps one session of each transport open for a VM.
type openers struct {
	ways []*way // in order of choice
}

// A way is one transport of a VM. A session that broke off is replaced once
// nobody reads through it any more: a VM can be under one lease at a time. It
// may take minutes to open one, for which only those wait who want that one.
type way struct {
	run    *run
	vm     *vmRun
	opener transport.Opener
	turn   chan struct{} // holds one: whoever opens or closes a session

	mu   sync.Mutex
	open *held
	no   error // why it is not to be asked again
}

// held is an open session of a transport.
type held struct {
	transport.Session
	way     *way
	central bool          // an overload is vCenter's
	users   int           // disks that are being read through it
	stale   bool          // to be used no more
	idle    chan struct{} // of a stale one: closed when its last user has gone
}

func (r *run) sessions(vm *vmRun) *openers {
	o := &openers{}
	for _, opener := range r.Openers(vm.client) {
		o.ways = append(o.ways, &way{run: r, vm: vm, opener: opener, turn: make(chan struct{}, 1)})
	}
	return o
}

// disk opens a disk through the first transport that does not refuse it, less
// those that have refused it in mid-read, and tells its name. The session is to
// be released after the reader is closed. With ErrBroken it is the one that
// broke off, released, or nil where it could not be had. Over are the transports
// that would not open the disk.
func (o *openers) disk(ctx context.Context, key int32, refused map[string]error) (reader transport.Reader, h *held, name string, over []restorepoint.PassedOver, err error) {
	if len(o.ways) == 0 {
		return nil, nil, "", nil, errors.New("no transport is configured")
	}
	var errs []error
	for _, w := range o.ways {
		name := w.opener.Name()
		err := refused[name]
		known := err != nil
		if !known {
			reader, h, err = w.disk(ctx, key)
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
	for _, w := range o.ways {
		if w.opener.Name() == name && isCentral(w.opener) {
			p.Host = ""
		}
	}
	return p
}

func isCentral(o transport.Opener) bool {
	c, ok := o.(transport.Central)
	return ok && c.ThroughVCenter()
}

func (w *way) disk(ctx context.Context, key int32) (transport.Reader, *held, error) {
	h, err := w.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	reader, err := h.Disk(ctx, key)
	if err != nil {
		h.release()
	}
	return reader, h, err
}

// session returns the session of a transport, with one user more.
func (w *way) session(ctx context.Context) (*held, error) {
	for {
		select {
		case w.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		h, idle, err := w.take(ctx)
		<-w.turn
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

// take is session, for whoever's turn it is, but does not wait: while a stale
// session has users it returns what is closed when they have gone.
func (w *way) take(ctx context.Context) (*held, <-chan struct{}, error) {
	w.mu.Lock()
	h, no := w.open, w.no
	switch {
	case no != nil || h == nil:
	case !h.stale:
		h.users++
		w.mu.Unlock()
		return h, nil, nil
	case h.users > 0:
		w.mu.Unlock()
		return nil, h.idle, nil
	default:
		w.open = nil
	}
	w.mu.Unlock()
	if no != nil {
		return nil, nil, no
	}
	if h != nil {
		if err := h.Close(); err != nil {
			w.run.Logger.WarnContext(ctx, "close transport", "vm", w.vm.rec.Name, "transport", w.opener.Name(), "error", err)
		}
	}
	session, err := w.opener.Open(ctx, w.frozen())
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, transport.ErrBroken) {
			w.no = err
			w.run.Logger.WarnContext(ctx, "transport is passed over", "vm", w.vm.rec.Name, "transport", w.opener.Name(), "error", err)
		}
		return nil, nil, err
	}
	w.open = &held{Session: session, way: w, central: isCentral(w.opener), users: 1, idle: make(chan struct{})}
	return w.open, nil, nil
}

// release takes a user from a session.
func (h *held) release() {
	h.way.mu.Lock()
	defer h.way.mu.Unlock()
	if h.users--; h.users == 0 && h.stale {
		close(h.idle)
	}
}

// retire says that a session is to be used no more. Those who read through it
// may go on.
func (h *held) retire() {
	h.way.mu.Lock()
	defer h.way.mu.Unlock()
	if !h.stale && h.users == 0 {
		close(h.idle)
	}
	h.stale = true
}

func (w *way) frozen() transport.Frozen {
	f := transport.Frozen{
		VM: w.vm.rec.MoRef, Snapshot: w.vm.snapshot.Ref, Datacenter: w.vm.config.Datacenter,
		PoweredOn: w.vm.config.PowerState != "poweredOff", Snapshots: w.vm.snapshotsTaken + 1,
	}
	for _, d := range protected(w.vm) {
		f.Disks = append(f.Disks, d.Transport())
	}
	return f
}

// close closes what is open. Nobody reads any more.
func (o *openers) close() error {
	var errs []error
	for _, w := range o.ways {
		w.turn <- struct{}{}
		w.mu.Lock()
		h := w.open
		w.open = nil
		w.mu.Unlock()
		if h != nil {
			if err := h.Close(); err != nil {
				errs = append(errs, fmt.Errorf("close transport %s: %w", w.opener.Name(), err))
			}
		}
		<-w.turn
	}
	return errors.Join(errs...)
}
