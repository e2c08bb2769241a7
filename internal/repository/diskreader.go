package repository

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/kopia/kopia/repo/object"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
)

const (
	keptSegments = 512 // of a DiskReader: 32 GiB of disk in about 1 MiB
	keptBlocks   = 8   // of a DiskReader
)

var errClosed = errors.New("closed")

// A DiskReader reads a disk of a restore point. It is a transport.Source.
//
// Its memory is 36 bytes for each 64 MiB of the disk and some 10 MiB.
type DiskReader struct {
	o        *Repository
	name     string // for errors
	size     geometry
	zeros    zeros
	top      []object.ID // ids of the segments
	segments *loader[[]object.ID]
	blocks   *loader[[]byte]
	read     atomic.Int64
	closed   atomic.Bool
}

var _ transport.Source = (*DiskReader)(nil)

// OpenDisk opens the content of a disk.
func (o *Repository) OpenDisk(ctx context.Context, c restorepoint.DiskContent) (*DiskReader, error) {
	top, err := o.openIndex(ctx, c.Object, c.Size)
	if err != nil {
		return nil, o.errorf("disk object %s: open: %w", c.Object, err)
	}
	return &DiskReader{
		o: o, name: "disk object " + c.Object, size: geometry(c.Size), top: top,
		zeros:    o.ids.zeros(geometry(c.Size)),
		segments: newLoader[[]object.ID](keptSegments), blocks: newLoader[[]byte](keptBlocks),
	}, nil
}

// openIndex reads the upper level of a disk's index: the ids of its segments.
func (o *Repository) openIndex(ctx context.Context, object string, size int64) ([]object.ID, error) {
	id, err := parseObject(object)
	if err != nil {
		return nil, err
	}
	if size <= 0 {
		return nil, fmt.Errorf("size of %d bytes", size)
	}
	return o.readTop(ctx, id, size, segmentSize)
}

func parseObject(s string) (object.ID, error) {
	id, err := object.ParseID(s)
	if err != nil {
		return id, fmt.Errorf("object id %q: %w", s, err)
	}
	return id, nil
}

// readTop reads the index of an indirect object as a stream, however many
// contents the index itself takes.
func (o *Repository) readTop(ctx context.Context, id object.ID, size, piece int64) ([]object.ID, error) {
	index, ok := id.IndexObjectID()
	if !ok {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, errShape)
	}
	r, err := o.rep.OpenObject(ctx, index)
	if err != nil {
		return nil, readError(ctx, err)
	}
	defer r.Close() //nolint:errcheck // read only
	ids, err := readPieces(bufio.NewReaderSize(r, 64<<10), size, piece)
	return ids, readError(ctx, err)
}

// fetch reads one content, decrypted and authenticated. It takes no lock that
// a writer holds.
func (o *Repository) fetch(ctx context.Context, id object.ID) ([]byte, error) {
	content, compressed, ok := id.ContentID()
	if !ok || compressed {
		return nil, fmt.Errorf("%w: %w: object %s", ErrDamaged, errShape, id)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	data, err := o.rep.ContentReader().GetContent(ctx, content)
	return data, readError(ctx, err)
}

// fetchInto is fetch for a content whose length is known.
func (o *Repository) fetchInto(ctx context.Context, id object.ID, p []byte) error {
	if c, compressed, ok := id.ContentID(); ok && !compressed && ctx.Err() == nil && o.direct.read(ctx, c, p) {
		return nil
	}
	data, err := o.fetch(ctx, id)
	if err == nil && len(data) != len(p) {
		err = fmt.Errorf("%w: %d bytes in place of %d", ErrDamaged, len(data), len(p))
	}
	copy(p, data)
	return err
}

// Size implements transport.Source.
func (r *DiskReader) Size() int64 { return int64(r.size) }

// Transferred implements transport.Source: bytes of blocks read so far.
func (r *DiskReader) Transferred() int64 { return r.read.Load() }

// Close implements transport.Source.
func (r *DiskReader) Close() error {
	r.closed.Store(true)
	return nil
}

// ReadAt implements transport.Source.
func (r *DiskReader) ReadAt(ctx context.Context, p []byte, off int64) error {
	if off < 0 || int64(len(p)) > int64(r.size)-off {
		return r.o.errorf("%s: read [%d,+%d): outside its %d bytes", r.name, off, len(p), r.size)
	}
	if r.closed.Load() {
		return r.o.errorf("%s: read: %w", r.name, errClosed)
	}
	for len(p) > 0 {
		n := off / BlockSize
		block := r.size.block(n)
		piece := p[:min(int64(len(p)), block.End()-off)]
		if err := r.readBlock(ctx, n, int(off-block.Offset), piece); err != nil {
			return r.o.errorf("%s: read block at %d: %w", r.name, block.Offset, err)
		}
		p, off = p[len(piece):], off+int64(len(piece))
	}
	return nil
}

// readBlock fills p from an offset in block n.
func (r *DiskReader) readBlock(ctx context.Context, n int64, off int, p []byte) error {
	id, err := r.blockID(ctx, n)
	if err != nil {
		return err
	}
	length := r.size.block(n).Length
	if id == r.zeros.blockID(n) {
		clear(p)
		return nil
	}
	if int64(len(p)) == length {
		return r.load(ctx, id, p) // who reads whole blocks does not come back for them
	}
	data, err := r.blocks.get(ctx, n, func() ([]byte, error) {
		data := make([]byte, length)
		return data, r.load(ctx, id, data)
	})
	if err != nil {
		return err
	}
	copy(p, data[off:])
	return nil
}

// load fills p with the block of the given id, all of it.
func (r *DiskReader) load(ctx context.Context, id object.ID, p []byte) error {
	err := r.o.fetchInto(ctx, id, p)
	if err == nil {
		r.read.Add(int64(len(p)))
	}
	return err
}

// blockID returns the id of block n.
func (r *DiskReader) blockID(ctx context.Context, n int64) (object.ID, error) {
	ids, err := r.segment(ctx, n/SegmentBlocks)
	if err != nil {
		return object.EmptyID, err
	}
	return ids[n%SegmentBlocks], nil
}

// segment returns the block ids of segment n.
func (r *DiskReader) segment(ctx context.Context, n int64) ([]object.ID, error) {
	return r.segments.get(ctx, n, func() ([]object.ID, error) {
		return r.o.loadSegment(ctx, r.top[n], geometry(r.size.segment(n).Length), r.o.fetch)
	})
}

// A fetch reads one content.
type fetch func(context.Context, object.ID) ([]byte, error)

// loadSegment reads the block ids of a segment, whose length is g.
func (o *Repository) loadSegment(ctx context.Context, id object.ID, g geometry, read fetch) ([]object.ID, error) {
	index, ok := id.IndexObjectID()
	if !ok {
		return nil, fmt.Errorf("%w: %w: segment %s", ErrDamaged, errShape, id)
	}
	data, err := read(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", id, err)
	}
	ids, err := parseSegment(data, g)
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w: %w", id, ErrDamaged, err)
	}
	return ids, nil
}

// Extents implements transport.Source: the blocks that are not all zeros. It
// reads the index of the given range only, and no block.
func (r *DiskReader) Extents(ctx context.Context, within extent.Extent) (extent.Set, error) {
	start, end := max(within.Offset, 0), min(within.End(), int64(r.size))
	var runs extent.Set
	for n := start / segmentSize; n*segmentSize < end; n++ {
		if r.top[n] == r.zeros.segmentID(n) {
			continue
		}
		ids, err := r.segment(ctx, n)
		if err != nil {
			return nil, r.o.errorf("%s: list extents at %d: %w", r.name, n*segmentSize, err)
		}
		for i, id := range ids {
			block := r.size.block(n*SegmentBlocks + int64(i))
			if block.End() <= start || block.Offset >= end || id == r.zeros.blockID(n*SegmentBlocks+int64(i)) {
				continue
			}
			block.Offset, block.Length = max(block.Offset, start), min(block.End(), end)-max(block.Offset, start)
			if last := len(runs) - 1; last >= 0 && runs[last].End() == block.Offset {
				runs[last].Length += block.Length
			} else {
				runs = append(runs, block)
			}
		}
	}
	return runs, nil
}
