package datastore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/transport"
)

// A source reads one disk.
type source struct {
	file     *file
	key      int32
	received atomic.Int64
	closed   atomic.Bool
}

var errClosed = errors.New("disk is closed")

func (s *source) Size() int64 { return s.file.size }

func (s *source) Transferred() int64 { return s.received.Load() }

// Extents returns the range itself: a file does not tell where it is sparse.
func (s *source) Extents(_ context.Context, within extent.Extent) (extent.Set, error) {
	return extent.Of(within).Clip(extent.Extent{Length: s.file.size}), nil
}

// ReadAt fills p from the given offset. Each call is one request; several may
// run at a time.
func (s *source) ReadAt(ctx context.Context, p []byte, off int64) error {
	if s.closed.Load() {
		return fmt.Errorf("datastore: disk %d: %w", s.key, errClosed)
	}
	if off < 0 || off > s.file.size-int64(len(p)) {
		return fmt.Errorf("datastore: disk %d: bytes %d to %d are not on a disk of %d", s.key, off, off+int64(len(p)), s.file.size)
	}
	if len(p) == 0 {
		return nil
	}
	err := s.file.read(ctx, p, off, &s.received)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errAnswer):
		// A file that could be read and cannot any more has gone elsewhere
		// with its VM. Transports that do not go by its name find it there.
		err = fmt.Errorf("%w: %w", transport.ErrRefused, err)
	case ctx.Err() == nil && !fatal(err) && !errors.Is(err, transport.ErrBroken):
		err = fmt.Errorf("%w: %w", transport.ErrBroken, err)
	}
	return fmt.Errorf("datastore: disk %d: read %d bytes at %d: %w", s.key, len(p), off, err)
}

func (s *source) Close() error {
	s.closed.Store(true)
	return nil
}
