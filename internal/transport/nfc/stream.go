package nfc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vmdk"
)

// A stream is one disk on its way out of a lease.
type stream struct {
	lease  *lease
	disk   transport.Disk
	cancel context.CancelCauseFunc
	ctx    context.Context // of the request
	detach func() bool     // from the lease
	body   *body
	grains *vmdk.Reader

	whole atomic.Bool // received up to its end
	at    int64       // how far Next has come
}

// openStream begins to download a disk. The context is for the beginning; what
// follows obeys that of Next.
func openStream(ctx context.Context, of *session, d transport.Disk, u *url.URL) (_ *stream, err error) {
	l, patience := of.lease, of.patience
	s := &stream{lease: l, disk: d}
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	s.detach = context.AfterFunc(l.alive, func() { s.cancel(context.Cause(l.alive)) })
	defer func() {
		if err != nil {
			err = s.explain(ctx, err)
			s.Close()
		}
	}()
	defer context.AfterFunc(ctx, func() { s.cancel(ctx.Err()) })()

	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", streamVMDK)
	resp, err := of.http.Do(req)
	if err != nil {
		return nil, passing(plain(err))
	}
	s.body = &body{in: resp.Body, patience: patience, silence: time.AfterFunc(patience, func() {
		s.cancel(fmt.Errorf("nothing came for %s", patience))
	})}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("download: %w: server answers %s", meant(resp.StatusCode), resp.Status)
	}
	if s.grains, err = vmdk.NewReader(s.body); err != nil {
		return nil, s.broken(err)
	}
	if c := s.grains.Capacity(); c != d.Capacity {
		return nil, fmt.Errorf("the stream is of a disk of %d bytes, not %d", c, d.Capacity)
	}
	return s, nil
}

// meant returns what a status other than 200 says about the transport.
func meant(status int) error {
	switch {
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests, status == http.StatusGatewayTimeout:
		return transport.ErrOverloaded
	case status >= http.StatusInternalServerError:
		return transport.ErrBroken
	case status == http.StatusNotFound, status == http.StatusGone:
		// URLs of a lease are tickets, and this one counts no more.
		return transport.ErrBroken
	}
	return transport.ErrRefused
}

// plain drops the request line from an error of net/http: the URL of a lease
// is a ticket.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// passing adds ErrBroken to what a network does to a request. Certificates and
// the like are refused the next time as well.
func passing(err error) error {
	var op net.Error
	if errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", transport.ErrBroken, err)
	}
	return err
}

// broken adds ErrBroken where the stream ended too early. One that came, but
// makes no sense, would make none the next time.
func (s *stream) broken(err error) error {
	if s.body.failed.Load() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, vmdk.ErrTruncated) {
		return fmt.Errorf("%w: %w", transport.ErrBroken, err)
	}
	return err
}

// explain says why a request was ended, where it was ended by us: the caller
// did not want it any more, the server kept silent, or the lease is lost.
func (s *stream) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if cause := context.Cause(s.ctx); cause != nil {
		return fmt.Errorf("%w: %w", transport.ErrBroken, cause)
	}
	return err
}

func (s *stream) Size() int64 { return s.disk.Capacity }

func (s *stream) Transferred() int64 {
	if s.body == nil {
		return 0
	}
	return s.body.received.Load()
}

// Next returns the next grain. After an error the stream cannot go on.
func (s *stream) Next(ctx context.Context) (off int64, data []byte, err error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.cancel(ctx.Err()) })
	off, data, err = s.grains.Next()
	stop()
	switch {
	case err == io.EOF:
		s.whole.Store(true)
		s.pass(s.disk.Capacity)
		return 0, nil, io.EOF
	case err != nil:
		return 0, nil, fmt.Errorf("nfc: disk %d: %w", s.disk.Key, s.explain(ctx, s.broken(err)))
	}
	s.pass(off + int64(len(data)))
	return off, data, nil
}

// pass counts the disk's bytes up to off as moved.
func (s *stream) pass(off int64) {
	s.lease.moved.Add(off - s.at)
	s.at = off
}

func (s *stream) Close() error {
	s.cancel(errors.New("disk is closed"))
	s.detach()
	if s.body != nil {
		s.body.silence.Stop()
		s.body.in.Close()
	}
	if s.grains != nil {
		s.grains.Close()
	}
	return nil
}

// body counts what comes, and notices when nothing does.
type body struct {
	in       io.ReadCloser
	patience time.Duration
	silence  *time.Timer
	received atomic.Int64
	failed   atomic.Bool // not by coming to its end
}

func (b *body) Read(p []byte) (int, error) {
	// Only waiting counts: the caller may take its time between reads.
	b.silence.Reset(b.patience)
	n, err := b.in.Read(p)
	b.silence.Stop()
	b.received.Add(int64(n))
	if err != nil && err != io.EOF {
		b.failed.Store(true)
	}
	return n, err
}
