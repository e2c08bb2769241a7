// Package nfc moves whole disks through the leases with which vSphere exports
// and imports VMs (HttpNfcLease), as streams of compressed VMDK.
//
// It is the transport of last resort: it works with every host, datastore and
// kind of disk that vSphere exports, but only forwards and only in whole. One
// lease serves all disks of a session, and is kept alive, completed or aborted
// here; vSphere locks a VM while a lease is held, so none outlives its session.
// A stream that breaks cannot be resumed: it ends with transport.ErrBroken, and
// the disk has to be read anew under another lease.
//
// An Importer is the way back: it makes a new VM and fills its disks.
package nfc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// defaultPatience is how long the other side of a transfer may keep silent.
const defaultPatience = 2 * time.Minute

// streamVMDK is the media type of stream-optimized VMDK.
const streamVMDK = "application/x-vnd.vmware-streamVmdk"

// NewOpener returns the transport through the vCenter that c is logged in to.
func NewOpener(c *vsphere.Client) transport.Opener {
	return &opener{vim: c.Client(), patience: defaultPatience}
}

type opener struct {
	vim      *vim25.Client
	patience time.Duration // how long the other side may keep silent
}

// Name is "nfc".
func (o *opener) Name() string { return "nfc" }

// Open takes out an export lease on our snapshot. It refuses a VM that vCenter
// does not export.
func (o *opener) Open(ctx context.Context, vm transport.Frozen) (transport.Session, error) {
	s, err := o.open(ctx, vm)
	if err != nil {
		return nil, fmt.Errorf("nfc: %s: %w", vm.VM, err)
	}
	return s, nil
}

func (o *opener) open(ctx context.Context, vm transport.Frozen) (*session, error) {
	if vm.Snapshot == "" {
		return nil, fmt.Errorf("%w: no snapshot holds the disks still", transport.ErrRefused)
	}
	snapshot := types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: vm.Snapshot}
	res, err := methods.ExportSnapshot(ctx, o.vim, &types.ExportSnapshot{This: snapshot})
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", vm.Snapshot, refusal(vsphere.Explain(err)))
	}
	l, err := takeLease(ctx, o.vim, res.Returnval)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", vm.Snapshot, refusal(err))
	}
	s := &session{lease: l, http: newHTTP(o.vim, o.patience), patience: o.patience, disks: map[int32]transport.Disk{}}
	places := map[int32]place{}
	for _, d := range vm.Disks {
		s.disks[d.Key] = d
		places[d.Key] = placeOf(d.ControllerType, d.BusNumber, d.Unit)
		l.total.Add(d.Capacity)
	}
	if s.urls, err = l.deviceURLs(o.vim, places); err != nil {
		s.failed = true
		if cerr := s.Close(); cerr != nil {
			err = fmt.Errorf("%w; %w", err, cerr)
		}
		return nil, err
	}
	return s, nil
}

// refusal adds ErrRefused to faults that mean that vCenter will not export
// this VM, or not for this user.
func refusal(err error) error {
	for _, is := range []func(error) bool{
		faulted[*types.NotSupported], faulted[*types.MethodNotFound], faulted[*types.NotImplemented],
		faulted[types.BaseNoPermission], faulted[types.BaseInvalidState], faulted[types.BaseFileFault],
	} {
		if is(err) {
			return fmt.Errorf("%w: %w", transport.ErrRefused, err)
		}
	}
	return err
}

func faulted[T any](err error) bool {
	var f T
	_, ok := fault.As(err, &f)
	return ok
}

type session struct {
	lease    *lease
	http     *http.Client
	patience time.Duration
	disks    map[int32]transport.Disk
	urls     map[int32]*url.URL

	mu      sync.Mutex
	streams []*stream
	failed  bool // a stream was not received whole
	closed  bool
}

// Disk returns a transport.Stream.
func (s *session) Disk(ctx context.Context, key int32) (transport.Reader, error) {
	d, ok := s.disks[key]
	if !ok {
		return nil, fmt.Errorf("nfc: disk %d: not among the frozen disks", key)
	}
	u, ok := s.urls[key]
	if !ok {
		return nil, fmt.Errorf("nfc: disk %d: %w: the lease does not have it", key, transport.ErrRefused)
	}
	r, err := s.stream(ctx, d, u)
	if err != nil {
		return nil, fmt.Errorf("nfc: disk %d: %w", key, err)
	}
	return r, nil
}

func (s *session) stream(ctx context.Context, d transport.Disk, u *url.URL) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("session is closed")
	}
	r, err := openStream(ctx, s, d, u)
	if err != nil {
		s.failed = true
		return nil, err
	}
	s.streams = append(s.streams, r)
	return r, nil
}

// Close completes the lease if every stream was received whole, and aborts it
// otherwise.
func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	for _, r := range s.streams {
		r.Close()
		s.failed = s.failed || !r.whole.Load()
	}
	s.http.CloseIdleConnections()
	var err error
	if s.failed {
		err = s.lease.abort(nil)
	} else {
		err = s.lease.complete()
	}
	if err != nil && !gone(err) { // a lease that ended by itself locks nothing
		return fmt.Errorf("nfc: %w", err)
	}
	return nil
}
