package repository

import (
	"context"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/extent"
)

// extentsAtOnce is how much of a disk is asked for its extents at a time: the
// list for a disk of 62 TiB in pieces would be a long one.
const extentsAtOnce = 1 << 40 // bytes

// CopyTo writes the blocks that are not all zeros to dst, each at its offset in
// the disk, several at a time. Dst reads as zeros before. Written, which may
// be nil, is told how many bytes of the disk are behind it after each block,
// zeros included; it is called from several goroutines.
func (r *DiskReader) CopyTo(ctx context.Context, dst io.WriterAt, written func(n int64)) error {
	if written == nil {
		written = func(int64) {}
	}
	buffers := sync.Pool{New: func() any { return new([BlockSize]byte) }}
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	block := func(at, length int64) error {
		b := buffers.Get().(*[BlockSize]byte)
		defer buffers.Put(b)
		if err := r.ReadAt(working, b[:length], at); err != nil {
			return err
		}
		_, err := dst.WriteAt(b[:length], at)
		return err
	}
	done := int64(0) // the end of what was handed out
	for start := int64(0); start < r.Size() && working.Err() == nil; start += extentsAtOnce {
		set, err := r.Extents(working, extent.Extent{Offset: start, Length: extentsAtOnce})
		if err != nil {
			group.Go(func() error { return err })
			break
		}
		for _, e := range set {
			for at := e.Offset; at < e.End() && working.Err() == nil; at += BlockSize {
				length := min(BlockSize, e.End()-at)
				passed := at + length - done
				done = at + length
				group.Go(func() error {
					defer written(passed)
					return block(at, length)
				})
			}
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil { // before all was handed out
		return context.Cause(ctx)
	}
	written(r.Size() - done)
	return nil
}
