package vddk

import (
	"context"
	"errors"
	"fmt"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/nbd"
	"github.com/vappvault/vappvault/internal/transport"
)

// A source is a disk that is read: a transport.Source.
type source struct{ *disk }

// Extents asks the library which blocks of 64 KiB are allocated. Where it
// cannot tell, everything is.
func (s source) Extents(ctx context.Context, within extent.Extent) (extent.Set, error) {
	on := extent.Of(within).Clip(extent.Extent{Length: s.Size()})
	if len(on) == 0 {
		return nil, nil
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("vddk: disk %d: ask for allocated blocks: %w", s.what.Key, err)
	}
	defer leave()
	set, err := s.client.Extents(ctx, on.Align(sector, s.Size())[0])
	var answer *nbd.Error
	switch {
	case err == nil:
		return set.Intersect(on), nil
	case ctx.Err() == nil && errors.As(err, &answer):
		return on, nil
	}
	return nil, s.fail(ctx, "ask for allocated blocks", err)
}

// Reading keeps all of nbdkit's threads busy with calls of 1 MiB, and as many
// more in its queue.
func (s source) Reading() transport.Reading {
	return transport.Reading{Size: 1 << 20, Depth: 2 * depth}
}
