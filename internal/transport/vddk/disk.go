package vddk

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vappvault/vappvault/internal/nbd"
	"github.com/vappvault/vappvault/internal/transport"
)

const (
	sector = 512
	// depth is how many calls of the library one disk has under way, each of
	// at most 1 MiB (package nbd sees to that): hosts have little memory for
	// more (NFC error 5). They go over one handle; several handles of one disk
	// make each other slower.
	depth = 8
)

var errClosed = errors.New("disk is closed")

// A disk is one that an nbdkit of ours has open.
type disk struct {
	session *session
	what    transport.Disk
	log     *messages
	child   *child
	client  *nbd.Client
	moved   atomic.Int64 // bytes that went over the wire

	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup
	once   sync.Once
	err    error // of closing
}

// start opens a disk. Whatever ends it early, the child is gone by then.
func (s *session) start(ctx context.Context, what transport.Disk) (*disk, error) {
	o := s.opener.o
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	secrets := []string{s.access.Password, s.access.Cookie}
	d := &disk{session: s, what: what, log: newMessages(secrets...)}
	child, conn, err := o.spawn(s.arguments(what), s.access.Password, d.log)
	if err != nil {
		return nil, fmt.Errorf("%w: start nbdkit: %w", transport.ErrRefused, err)
	}
	d.child = child
	opening, cancel := context.WithTimeout(ctx, max(openTime, o.Patience))
	defer cancel()
	d.client, err = nbd.NewClient(opening, conn, nbd.Options{Timeout: o.Patience})
	if err != nil {
		_ = conn.Close() // it may be closed
		return nil, d.unopened(ctx, err)
	}
	if d.client.Size() != what.Capacity {
		err := fmt.Errorf("%w: the library says %d bytes, vSphere %d", transport.ErrRefused, d.client.Size(), what.Capacity)
		return nil, errors.Join(err, d.Close())
	}
	if s.snapshot == "" && d.client.ReadOnly() {
		return nil, errors.Join(fmt.Errorf("%w: the library opened it for reading only", transport.ErrRefused), d.Close())
	}
	o.Logger.DebugContext(ctx, "vddk opened a disk", "vm", s.moref, "disk", what.Key, "mode", d.log.transport(), "process", child.cmd.Process.Pid)
	return d, nil
}

// unopened ends the child of a disk that was not opened, and says why it was
// not.
func (d *disk) unopened(ctx context.Context, err error) error {
	left := d.child.stop()
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), left)
	}
	return errors.Join(opening(d.log, err), left)
}

// arguments is the command line of nbdkit. The password is read from
// descriptor 3.
func (s *session) arguments(what transport.Disk) []string {
	o := s.opener.o
	args := []string{"--single", "--threads", strconv.Itoa(depth)}
	if s.snapshot != "" {
		args = append(args, "--readonly")
	}
	// The library's log has the reasons of its errors, and the way to the
	// disk; single reads and writes are left out of it.
	args = append(args, "--verbose", "--debug", "nbdkit.backend.datapath=0", "--debug", "vddk.datapath=0",
		o.Plugin, "libdir="+o.Libdir, "server="+s.access.Host, "port="+strconv.Itoa(s.access.Port),
		"user="+s.access.User, "password=-3", "thumbprint="+s.access.Thumbprint, "vm=moref="+s.moref, "transports="+s.modes)
	if s.snapshot != "" {
		args = append(args, "snapshot="+s.snapshot)
	}
	if o.ReuseSession && s.access.Cookie != "" {
		args = append(args, "cookie="+s.access.Cookie)
	}
	if o.ConfigFile != "" {
		args = append(args, "config="+o.ConfigFile)
	}
	if o.Compression != "" && o.Compression != "none" {
		args = append(args, "compression="+o.Compression)
	}
	if o.NFCHostPort != 0 {
		args = append(args, "nfchostport="+strconv.Itoa(o.NFCHostPort))
	}
	return append(args, "file="+what.FileName)
}

// Size is the capacity of the disk in bytes.
func (d *disk) Size() int64 { return d.what.Capacity }

// Transferred counts the bytes that went over the wire so far.
func (d *disk) Transferred() int64 { return d.moved.Load() }

// Mode is how the library reaches the disk: san, hotadd, nbdssl or nbd; empty
// where it has not said.
func (d *disk) Mode() string { return d.log.transport() }

// enter makes Close wait for a call, until the result is called.
func (d *disk) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	d.users.Add(1)
	return d.users.Done, nil
}

// Close lets what is under way end, closes the disk and waits for nbdkit to
// be gone: only then may the snapshot go. Twice does no harm.
func (d *disk) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.once.Do(func() { d.err = d.end() })
	return d.err
}

func (d *disk) end() error {
	quiet := make(chan error, 1)
	go func() {
		d.users.Wait()
		quiet <- d.client.Close()
	}()
	var late error
	select {
	case <-quiet:
		// An error of closing a connection means nothing now: nbdkit's end
		// tells whether it could.
	case <-d.child.ended:
	case <-time.After(d.child.close):
		// A call hangs. Nothing but the end of nbdkit ends it.
		late = errors.Join(errors.New("a call of the library did not end: nbdkit was killed"), d.child.kill())
	}
	if err := errors.Join(late, d.child.stop()); err != nil {
		return fmt.Errorf("vddk: disk %d: close: %w", d.what.Key, err)
	}
	return nil
}

// fail names the disk and the step, and what the library says about it.
func (d *disk) fail(ctx context.Context, step string, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	} else {
		if errors.Is(err, nbd.ErrDisconnected) {
			d.child.await(d.child.term) // for its last words
		}
		err = transferring(d.log, err)
	}
	return fmt.Errorf("vddk: disk %d: %s: %w", d.what.Key, step, err)
}

// within refuses what is not on the disk.
func (d *disk) within(step string, length, off int64) error {
	if length < 0 || off < 0 || off > d.Size() || length > d.Size()-off {
		return fmt.Errorf("vddk: disk %d: %s: %d bytes at %d: the disk has %d", d.what.Key, step, length, off, d.Size())
	}
	return nil
}

// ReadAt fills p from the given offset in bytes, which need be no multiple of
// a sector.
func (d *disk) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := d.within("read", int64(len(p)), off); err != nil {
		return err
	}
	leave, err := d.enter(ctx)
	if err != nil {
		return fmt.Errorf("vddk: disk %d: read: %w", d.what.Key, err)
	}
	defer leave()
	if err := d.client.ReadAt(ctx, p, off); err != nil {
		return d.fail(ctx, "read", err)
	}
	d.moved.Add(int64(len(p)))
	return nil
}
