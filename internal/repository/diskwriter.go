package repository

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"github.com/zeebo/blake3"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// What a DiskWriter keeps in memory before it is written back. A block that
// is written later than that costs its segment and page a second write.
const (
	heldSegments = 256 // of about 2.4 KiB
	heldPages    = 16  // of 128 KiB
)

// A DiskWriter writes one disk of a point. It is safe for concurrent use.
//
// It begins as a copy of the parent, or as zeros, and holds the index of what
// was written last only: its memory is 36 bytes for each 64 MiB of the disk
// and some 5 MiB, whatever the size.
type DiskWriter struct {
	s      *session
	size   geometry
	zeros  zeros
	parent *DiskReader // nil without one

	written, stored atomic.Int64

	mu       sync.Mutex
	top      []object.ID // ids of the segments, less what is held
	sums     []object.ID // ids of the pages, less what is held
	segments *lru[*heldSegment]
	pages    *lru[*heldPage]
	finished bool
	content  restorepoint.DiskContent
	describe func() (Unfinished, bool) // how far it has come
}

type heldSegment struct {
	ids   []object.ID
	dirty bool
}

type heldPage struct {
	sums  []byte
	dirty bool
}

// newDisk starts a disk of size bytes.
func (s *session) newDisk(ctx context.Context, size int64, parent *restorepoint.DiskContent) (*DiskWriter, error) {
	if size <= 0 {
		return nil, fmt.Errorf("size of %d bytes", size)
	}
	g := geometry(size)
	d := &DiskWriter{
		s: s, size: g, zeros: s.o.ids.zeros(g),
		top: make([]object.ID, g.segments()), sums: make([]object.ID, g.pages()),
		segments: newLRU[*heldSegment](heldSegments), pages: newLRU[*heldPage](heldPages),
	}
	for n := range d.top {
		d.top[n] = d.zeros.segmentID(int64(n))
	}
	for n := range d.sums {
		d.sums[n] = d.zeros.pageID(int64(n))
	}
	if err := d.putZeros(ctx); err != nil {
		return nil, err
	}
	if parent == nil {
		return d, nil
	}
	if err := d.adopt(ctx, *parent); err != nil {
		return nil, fmt.Errorf("parent %s: %w", parent.Object, err)
	}
	return d, nil
}

// putZeros makes sure that what the ids of zeros stand for is there.
func (d *DiskWriter) putZeros(ctx context.Context) error {
	z := &d.zeros
	lastBlock, lastPage := d.size.block(z.lastBlockN).Length, d.size.pageLen(z.lastPageN)
	lastSegment := d.size.segment(z.lastSegmentN).Length
	for _, p := range []struct {
		id     object.ID
		prefix content.IDPrefix
		data   []byte
	}{
		{z.block, "", zeroBlock[:]},
		{z.lastBlock, "", zeroBlock[:lastBlock]},
		{z.page, sumsPrefix, zeroBlock[:pageSize]},
		{z.lastPage, sumsPrefix, zeroBlock[:lastPage]},
		{z.segment, indexPrefix, segmentIndex(segmentSize, z.blocks(segmentSize))},
		{z.lastSegment, indexPrefix, segmentIndex(geometry(lastSegment), z.blocks(lastSegment))},
	} {
		id, err := d.put(ctx, p.prefix, p.data)
		if err != nil {
			return err
		}
		if id != p.id && indirect(id) != p.id {
			return fmt.Errorf("zeros are stored as %s, not as %s", id, p.id)
		}
	}
	return nil
}

// adopt takes over the parent's segments and pages by their ids.
func (d *DiskWriter) adopt(ctx context.Context, c restorepoint.DiskContent) error {
	if c.Size > int64(d.size) {
		return fmt.Errorf("it has %d bytes, more than %d", c.Size, d.size)
	}
	parent, err := d.s.o.OpenDisk(ctx, c)
	if err != nil {
		return err
	}
	sums, err := d.s.o.openSums(ctx, c)
	if err != nil {
		return err
	}
	d.parent = parent
	copy(d.top, parent.top)
	copy(d.sums, sums)
	if parent.size == d.size {
		return nil
	}
	return d.grow(ctx, parent.size)
}

// grow gives the parts at the end of the smaller parent the shape that they
// have in this disk.
func (d *DiskWriter) grow(ctx context.Context, from geometry) error {
	n := from.segments() - 1
	ids, err := d.s.o.loadSegment(ctx, d.top[n], geometry(from.segment(n).Length), d.s.fetch)
	if err != nil {
		return err
	}
	zero := d.zeros.blocks(d.size.segment(n).Length)
	d.segments.put(n, &heldSegment{append(ids, zero[min(len(ids), len(zero)):]...), true})

	n = from.pages() - 1
	page, err := d.s.o.loadPage(ctx, d.sums[n], from.pageLen(n), d.s.fetch)
	if err != nil {
		return err
	}
	d.pages.put(n, &heldPage{append(page, zeroBlock[:d.size.pageLen(n)-from.pageLen(n)]...), true})

	last := from.blocks() - 1
	if from.block(last).Length == d.size.block(last).Length {
		return nil
	}
	block := make([]byte, d.size.block(last).Length)
	if err := d.ParentBlock(ctx, last, block); err != nil {
		return err
	}
	return d.WriteBlock(ctx, last, block)
}

// Size returns the size of the disk in bytes.
func (d *DiskWriter) Size() int64 { return int64(d.size) }

// WriteBlock replaces block n, that is the bytes from n*BlockSize. Data is
// all of it: BlockSize bytes, or fewer for the last block of the disk.
func (d *DiskWriter) WriteBlock(ctx context.Context, n int64, data []byte) error {
	if n < 0 || n >= d.size.blocks() || int64(len(data)) != d.size.block(n).Length {
		return fmt.Errorf("write block %d: %d bytes do not fit a disk of %d bytes", n, len(data), d.size)
	}
	var sum [sumSize]byte
	id := d.zeros.blockID(n)
	if !isZero(data) {
		sum = blake3.Sum256(data)
		var err error
		if id, err = d.putBlock(ctx, data, sum); err != nil {
			return fmt.Errorf("write block at %d: %w", n*BlockSize, err)
		}
	}
	if err := d.set(ctx, n, id, sum); err != nil {
		return fmt.Errorf("write block at %d: index: %w", n*BlockSize, err)
	}
	d.written.Add(int64(len(data)))
	return nil
}

// ParentBlock reads block n as it is in the parent into buf, whose length is
// that of the block. Beyond the end of the parent, and without one, there are
// zeros.
func (d *DiskWriter) ParentBlock(ctx context.Context, n int64, buf []byte) error {
	if n < 0 || n >= d.size.blocks() || int64(len(buf)) != d.size.block(n).Length {
		return fmt.Errorf("read parent's block %d: %d bytes do not fit a disk of %d bytes", n, len(buf), d.size)
	}
	clear(buf)
	if d.parent == nil || n >= d.parent.size.blocks() {
		return nil
	}
	length := min(int64(len(buf)), d.parent.size.block(n).Length)
	return d.parent.ReadAt(ctx, buf[:length], n*BlockSize)
}

// put stores a content on this disk's account.
func (d *DiskWriter) put(ctx context.Context, prefix content.IDPrefix, data []byte) (object.ID, error) {
	id, added, err := d.s.put(ctx, prefix, data)
	d.stored.Add(added)
	return id, err
}

// putBlock stores a block whose sum is known.
func (d *DiskWriter) putBlock(ctx context.Context, data []byte, sum [sumSize]byte) (id object.ID, err error) {
	err = d.s.o.sums.during(data, sum, func() error {
		id, err = d.put(ctx, "", data)
		return err
	})
	return id, err
}

// set records what block n is now.
func (d *DiskWriter) set(ctx context.Context, n int64, id object.ID, sum [sumSize]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.finished {
		return errClosed
	}
	s, err := d.segment(ctx, n/SegmentBlocks)
	if err != nil {
		return err
	}
	if s.ids[n%SegmentBlocks] != id {
		s.ids[n%SegmentBlocks], s.dirty = id, true
	}
	p, err := d.page(ctx, n/pageBlocks)
	if err != nil {
		return err
	}
	if at := p.sums[n%pageBlocks*sumSize:][:sumSize]; string(at) != string(sum[:]) {
		copy(at, sum[:])
		p.dirty = true
	}
	return nil
}

// segment returns segment n to be changed. It may write another one back.
func (d *DiskWriter) segment(ctx context.Context, n int64) (*heldSegment, error) {
	if s, ok := d.segments.get(n); ok {
		return s, nil
	}
	length := d.size.segment(n).Length
	s := &heldSegment{}
	if d.top[n] == d.zeros.segmentID(n) {
		s.ids = d.zeros.blocks(length)
	} else {
		ids, err := d.s.o.loadSegment(ctx, d.top[n], geometry(length), d.s.fetch)
		if err != nil {
			return nil, err
		}
		s.ids = ids
	}
	if old, v, full := d.segments.oldest(); full {
		if err := d.saveSegment(ctx, old, v); err != nil {
			return nil, err
		}
		d.segments.remove(old)
	}
	d.segments.put(n, s)
	return s, nil
}

// page returns page n of the sums to be changed. It may write another one
// back.
func (d *DiskWriter) page(ctx context.Context, n int64) (*heldPage, error) {
	if p, ok := d.pages.get(n); ok {
		return p, nil
	}
	p := &heldPage{}
	if d.sums[n] == d.zeros.pageID(n) {
		p.sums = make([]byte, d.size.pageLen(n))
	} else {
		sums, err := d.s.o.loadPage(ctx, d.sums[n], d.size.pageLen(n), d.s.fetch)
		if err != nil {
			return nil, err
		}
		p.sums = sums
	}
	if old, v, full := d.pages.oldest(); full {
		if err := d.savePage(ctx, old, v); err != nil {
			return nil, err
		}
		d.pages.remove(old)
	}
	d.pages.put(n, p)
	return p, nil
}

func (d *DiskWriter) saveSegment(ctx context.Context, n int64, s *heldSegment) error {
	if !s.dirty {
		return nil
	}
	id, err := d.putSegment(ctx, geometry(d.size.segment(n).Length), s.ids)
	if err != nil {
		return err
	}
	d.top[n], s.dirty = id, false
	return nil
}

func (d *DiskWriter) putSegment(ctx context.Context, g geometry, ids []object.ID) (object.ID, error) {
	id, err := d.put(ctx, indexPrefix, segmentIndex(g, ids))
	return indirect(id), err
}

func (d *DiskWriter) savePage(ctx context.Context, n int64, p *heldPage) error {
	if !p.dirty {
		return nil
	}
	id, err := d.put(ctx, sumsPrefix, p.sums)
	if err != nil {
		return err
	}
	d.sums[n], p.dirty = id, false
	return nil
}

// Finish completes the disk. Nothing can be written to it afterwards; calling
// it again returns the same.
func (d *DiskWriter) Finish(ctx context.Context) (restorepoint.DiskContent, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.finished {
		return d.content, nil
	}
	c, err := d.save(ctx)
	if err != nil {
		return c, fmt.Errorf("finish disk: %w", err)
	}
	if c.TreeHash, c.DataBytes, err = d.treeHash(ctx); err != nil {
		return c, fmt.Errorf("finish disk: sums: %w", err)
	}
	c.StoredBytes = d.stored.Load()
	d.finished, d.content = true, c
	// Other disks of the point may go on for long.
	d.top, d.sums = nil, nil
	d.segments, d.pages = newLRU[*heldSegment](heldSegments), newLRU[*heldPage](heldPages)
	return c, nil
}

// checkpoint stores the disk as it is now.
func (d *DiskWriter) checkpoint(ctx context.Context) (restorepoint.DiskContent, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.finished {
		return d.content, nil
	}
	return d.save(ctx)
}

// save writes back what is held, and both indexes.
func (d *DiskWriter) save(ctx context.Context) (restorepoint.DiskContent, error) {
	c := restorepoint.DiskContent{Size: int64(d.size), WrittenBytes: d.written.Load(), StoredBytes: d.stored.Load()}
	for n, s := range d.segments.all() {
		if err := d.saveSegment(ctx, n, s); err != nil {
			return c, err
		}
	}
	for n, p := range d.pages.all() {
		if err := d.savePage(ctx, n, p); err != nil {
			return c, err
		}
	}
	disk, added, err := d.s.putIndex(ctx, d.topEntries())
	d.stored.Add(added)
	if err != nil {
		return c, err
	}
	sums := d.sums[0]
	if len(d.sums) > 1 {
		sums, added, err = d.s.putIndex(ctx, d.sumsEntries())
		d.stored.Add(added)
	}
	c.Object, c.Sums = disk.String(), sums.String()
	return c, err
}

func (d *DiskWriter) topEntries() iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for n, id := range d.top {
			if s := d.size.segment(int64(n)); !yield(entry{s.Offset, s.Length, id}) {
				return
			}
		}
	}
}

func (d *DiskWriter) sumsEntries() iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for n, id := range d.sums {
			if !yield(entry{int64(n) * pageSize, d.size.pageLen(int64(n)), id}) {
				return
			}
		}
	}
}

// treeHash goes through all sums, of which only those of data are read.
func (d *DiskWriter) treeHash(ctx context.Context) (tree string, data int64, err error) {
	t := newTreeHash(d.size)
	for n, id := range d.sums {
		page := zeroBlock[:d.size.pageLen(int64(n))]
		if p, ok := d.pages.get(int64(n)); ok {
			page = p.sums
		} else if id != d.zeros.pageID(int64(n)) {
			if page, err = d.s.o.loadPage(ctx, id, d.size.pageLen(int64(n)), d.s.fetch); err != nil {
				return "", 0, err
			}
		}
		t.add(page)
	}
	return t.sum(), t.data, nil
}
