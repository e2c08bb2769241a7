// Package datastore reads flat virtual disks as files of their datastore, over
// HTTPS from vCenter: /folder/DIR/NAME-flat.vmdk with ranges.
//
// It needs no lease, no agent and no proxy, and any byte can be read at any
// time. In return it is particular. While our snapshot is the only one, a
// running VM writes to a delta and its base file stands still; so it serves
// base disks of plain flat kind on VMFS or NFS, with exactly one snapshot,
// and refuses everything else: vSAN and vVol have no such files, the files of
// encrypted disks are ciphertext, and a delta is not a disk. It also refuses
// what the server does not let it read, since a host may lock what its running
// VMs use. It cannot notice that somebody removes the snapshot: whoever opened
// it looks, after the last read, whether the snapshot is still there.
package datastore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// connections bounds how many transfers a session has under way: vCenter
// serves some fifty for everybody.
const connections = 8

// NewOpener returns the transport over the vCenter that c is logged in to.
func NewOpener(c *vsphere.Client) transport.Opener {
	return &opener{client: c, patience: defaultPatience}
}

type opener struct {
	client   *vsphere.Client
	patience time.Duration // how long the server may keep silent
}

// Name is "datastore".
func (o *opener) Name() string { return "datastore" }

// ThroughVCenter is true: the files come from vCenter, whatever host it asks.
func (o *opener) ThroughVCenter() bool { return true }

// Open looks at the disks and reads the first bytes of each. It refuses a VM
// of which it can serve no disk; of others, Session.Disk refuses the disks
// that it cannot serve.
func (o *opener) Open(ctx context.Context, vm transport.Frozen) (transport.Session, error) {
	if reason := unfit(vm); reason != nil {
		return nil, fmt.Errorf("datastore: %s: %w: %w", vm.VM, transport.ErrRefused, reason)
	}
	s := &session{remote: newRemote(o.client, o.patience), disks: map[int32]opened{}}
	reason := errors.New("no disk can be served")
	served := false
	for _, d := range vm.Disks {
		found, err := s.open(ctx, vm, d)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("datastore: %s: disk %d: %w", vm.VM, d.Key, err)
		}
		s.disks[d.Key] = found
		if found.refusal == nil {
			served = true
		} else {
			reason = fmt.Errorf("%w; disk %d: %w", reason, d.Key, found.refusal)
		}
	}
	if !served {
		s.Close()
		return nil, fmt.Errorf("datastore: %s: %w: %w", vm.VM, transport.ErrRefused, reason)
	}
	return s, nil
}

// unfit says why the disks of a VM cannot be read as files, or nil.
func unfit(vm transport.Frozen) error {
	switch {
	case vm.Snapshot == "":
		return errors.New("no snapshot holds the disks still")
	case vm.Snapshots != 1:
		return fmt.Errorf("the VM has %d snapshots; the base files are not what ours froze", vm.Snapshots)
	case vm.Datacenter == "":
		return errors.New("the datacenter is not known")
	}
	return nil
}

// unfitDisk says why one disk cannot be read as a file, or nil.
func unfitDisk(d transport.Disk) error {
	switch {
	case d.Kind != vsphere.KindFlat:
		return fmt.Errorf("it is of kind %s", d.Kind)
	case d.ChainDepth != 0:
		return fmt.Errorf("it is a delta, %d deep", d.ChainDepth)
	case d.Encrypted:
		return errors.New("it is encrypted")
	case !slices.Contains([]string{"VMFS", "NFS", "NFS41"}, d.DatastoreType):
		return fmt.Errorf("its datastore is of type %s", d.DatastoreType)
	}
	return nil
}

// opened is what Open found out about a disk.
type opened struct {
	file    *file
	refusal error // why it cannot be served, or nil
}

type session struct {
	remote *remote
	disks  map[int32]opened
}

// open finds the flat file of a disk and proves that it can be read. Whatever
// the server has against that is a refusal: hosts are not of one mind about
// how to say that a file is in use, and the next transport may do better. That
// vCenter is busy says nothing of the file.
func (s *session) open(ctx context.Context, vm transport.Frozen, d transport.Disk) (opened, error) {
	if reason := unfitDisk(d); reason != nil {
		return opened{refusal: reason}, nil
	}
	f, err := s.remote.flatFile(ctx, vm.Datacenter, d)
	if err == nil && f.size > 0 {
		err = f.read(ctx, make([]byte, min(probeSize, f.size)), 0, nil)
	}
	if ctx.Err() != nil || fatal(err) || errors.Is(err, transport.ErrOverloaded) {
		return opened{}, err
	}
	return opened{file: f, refusal: err}, nil
}

// Disk returns a transport.Source.
func (s *session) Disk(_ context.Context, key int32) (transport.Reader, error) {
	d, ok := s.disks[key]
	if !ok {
		return nil, fmt.Errorf("datastore: disk %d: not among the frozen disks", key)
	}
	if d.refusal != nil {
		return nil, fmt.Errorf("datastore: disk %d: %w: %w", key, transport.ErrRefused, d.refusal)
	}
	return &source{file: d.file, key: key}, nil
}

// Close lets go of the connections. They outlive no session.
func (s *session) Close() error {
	s.remote.http.CloseIdleConnections()
	return nil
}

// newRemote returns a client of its own connections that shares the session
// and the trust of c.
func newRemote(c *vsphere.Client, patience time.Duration) *remote {
	vim := c.Client()
	t := vim.DefaultTransport().Clone()
	t.MaxConnsPerHost = connections
	t.MaxIdleConnsPerHost = connections
	t.DisableCompression = true // would lose ranges and lengths
	t.ResponseHeaderTimeout = patience
	return &remote{
		client:   c,
		patience: patience,
		http:     &http.Client{Transport: t, Jar: vim.Jar},
		pause:    func(attempt int) time.Duration { return min(100*time.Millisecond<<attempt, 5*time.Second) },
	}
}
