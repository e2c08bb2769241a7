package nfc

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vmdk"
)

const (
	pieceSize = 1 << 20 // bytes read at a time; whole blocks of a repository
	readers   = 4       // reads under way at a time
	// windowSize is how much of a disk is asked about at a time. The
	// extents of a large disk may be many.
	windowSize = 16 << 30
)

// A piece of a disk, being read.
type piece struct {
	extent.Extent
	data  []byte
	ready chan struct{} // capacity 1
}

// readAhead passes what may hold data of a disk to use, in ascending order and
// in whole grains, while the next pieces are already being read.
func readAhead(ctx context.Context, disk transport.Source, use func(off int64, data []byte) error) error {
	const ahead = 2 * readers
	order := make(chan *piece, ahead)
	work := make(chan *piece, ahead)
	free := make(chan *piece, ahead)
	for range ahead {
		free <- &piece{ready: make(chan struct{}, 1)}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(order)
		defer close(work)
		return eachPiece(ctx, disk, func(e extent.Extent) error {
			select {
			case p := <-free:
				p.Extent = e
				work <- p // both have room for every piece there is
				order <- p
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	for range readers {
		group.Go(func() error {
			for p := range work {
				if cap(p.data) < pieceSize {
					p.data = make([]byte, pieceSize)
				}
				p.data = p.data[:p.Length]
				if err := disk.ReadAt(ctx, p.data, p.Offset); err != nil {
					return err
				}
				p.ready <- struct{}{}
			}
			return nil
		})
	}
	group.Go(func() error {
		for p := range order {
			select {
			case <-p.ready:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := use(p.Offset, p.data); err != nil {
				return err
			}
			free <- p
		}
		return nil
	})
	return group.Wait()
}

// eachPiece cuts what may hold data into pieces that cross no multiple of
// pieceSize.
func eachPiece(ctx context.Context, disk transport.Source, visit func(extent.Extent) error) error {
	for start := int64(0); start < disk.Size(); start += windowSize {
		window := extent.Extent{Offset: start, Length: min(windowSize, disk.Size()-start)}
		set, err := disk.Extents(ctx, window)
		if err != nil {
			return err
		}
		for _, e := range set.Align(vmdk.GrainSize, disk.Size()).Clip(window) {
			for off := e.Offset; off < e.End(); {
				end := min(off-off%pieceSize+pieceSize, e.End())
				if err := visit(extent.Extent{Offset: off, Length: end - off}); err != nil {
					return err
				}
				off = end
			}
		}
	}
	return nil
}
