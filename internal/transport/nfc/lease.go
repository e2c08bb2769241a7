package nfc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/vsphere"
)

const (
	// defaultTimeout is how long a lease lives that does not say.
	defaultTimeout = 300 * time.Second
	// callTime bounds the calls that end a lease or keep it alive.
	callTime = 30 * time.Second
)

// A lease is a ready lease, kept alive until it is completed or aborted.
type lease struct {
	vim  *vim25.Client
	ref  types.ManagedObjectReference
	info types.HttpNfcLeaseInfo

	total atomic.Int64 // bytes of all disks
	moved atomic.Int64 // bytes of them that have been passed

	// alive ends, with a cause, when vCenter has given up the lease: what is
	// transferred under it then ends too.
	alive context.Context
	lose  context.CancelCauseFunc
	quit  context.CancelFunc
	done  sync.WaitGroup
}

// takeLease waits until the lease is ready, and begins to keep it alive. If it
// does not become ready it is aborted.
func takeLease(ctx context.Context, vim *vim25.Client, ref types.ManagedObjectReference) (*lease, error) {
	l := &lease{vim: vim, ref: ref}
	base := context.WithoutCancel(ctx) // a lease outlives the call that opens it
	l.alive, l.lose = context.WithCancelCause(base)
	ticking, quit := context.WithCancel(base)
	l.quit = quit
	if err := l.wait(ctx); err != nil {
		if aerr := l.abort(nil); aerr != nil && !gone(aerr) {
			err = fmt.Errorf("%w; %w", err, aerr)
		}
		return nil, err
	}
	l.done.Go(func() { l.keep(ticking) })
	return l, nil
}

// wait polls: a filter of the property collector would not survive a new
// login of the client.
func (l *lease) wait(ctx context.Context) error {
	pc := property.DefaultCollector(l.vim)
	for delay := 20 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		var m mo.HttpNfcLease
		if err := pc.RetrieveOne(ctx, l.ref, []string{"state", "info", "error"}, &m); err != nil {
			return fmt.Errorf("wait for lease: %w", vsphere.Explain(err))
		}
		switch {
		case m.State == types.HttpNfcLeaseStateReady && m.Info != nil:
			l.info = *m.Info
			return nil
		case m.State == types.HttpNfcLeaseStateInitializing:
		case m.Error != nil:
			return fmt.Errorf("lease: %w", &leaseError{m.Error})
		default:
			return fmt.Errorf("lease is in state %s", m.State)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
		}
	}
}

// A leaseError is the fault that a lease ended with.
type leaseError struct{ fault *types.LocalizedMethodFault }

func (e *leaseError) Error() string {
	if e.fault.LocalizedMessage != "" {
		return e.fault.LocalizedMessage
	}
	return fmt.Sprintf("%T", e.fault.Fault)
}

// GetLocalizedMethodFault lets package fault of govmomi look inside.
func (e *leaseError) GetLocalizedMethodFault() *types.LocalizedMethodFault { return e.fault }

// keep reports progress several times within the lease's timeout: this is what
// keeps it alive, whatever the percentage. A report that does not arrive is
// followed by the next; a lease that vCenter has given up ends the transfers.
func (l *lease) keep(ctx context.Context) {
	timeout := time.Duration(l.info.LeaseTimeout) * time.Second
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	tick := time.NewTicker(max(50*time.Millisecond, min(timeout/6, 20*time.Second)))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		call, cancel := context.WithTimeout(ctx, callTime)
		_, err := methods.HttpNfcLeaseProgress(call, l.vim, &types.HttpNfcLeaseProgress{This: l.ref, Percent: l.percent()})
		cancel()
		if gone(err) && ctx.Err() == nil {
			l.lose(fmt.Errorf("vCenter ended the lease: %w", err))
			return
		}
	}
}

func (l *lease) percent() int32 {
	total := l.total.Load()
	if total <= 0 {
		return 0
	}
	return int32(min(99, l.moved.Load()/max(1, total/100))) // 100 comes with completion
}

// gone reports whether err says that the lease is no more.
func gone(err error) bool {
	return err != nil && (faulted[*types.ManagedObjectNotFound](err) || faulted[types.BaseInvalidState](err) ||
		faulted[*types.Timedout](err))
}

// end stops keeping the lease alive.
func (l *lease) end() (context.Context, context.CancelFunc) {
	l.quit()
	l.done.Wait()
	ctx := context.WithoutCancel(l.alive)
	l.lose(errors.New("lease has ended"))
	return context.WithTimeout(ctx, callTime)
}

func (l *lease) complete() error {
	ctx, cancel := l.end()
	defer cancel()
	if _, err := methods.HttpNfcLeaseComplete(ctx, l.vim, &types.HttpNfcLeaseComplete{This: l.ref}); err != nil {
		return fmt.Errorf("complete lease: %w", vsphere.Explain(err))
	}
	return nil
}

// abort gives the lease up, for the given reason if there is one.
func (l *lease) abort(reason error) error {
	ctx, cancel := l.end()
	defer cancel()
	req := types.HttpNfcLeaseAbort{This: l.ref}
	if reason != nil {
		req.Fault = &types.LocalizedMethodFault{Fault: &types.SystemError{Reason: reason.Error()}, LocalizedMessage: reason.Error()}
	}
	if _, err := methods.HttpNfcLeaseAbort(ctx, l.vim, &req); err != nil {
		return fmt.Errorf("abort lease: %w", vsphere.Explain(err))
	}
	return nil
}
