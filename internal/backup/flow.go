package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/transport"
)

const (
	block = repository.BlockSize
	// chunkSize and readDepth are how a source is read that does not say how
	// it likes to be.
	chunkSize = 4 * block
	readDepth = 4
	// patientReads is how often a read that met an overload is sent again
	// before the disk is closed for the host's sake.
	patientReads = 3
)

// A Flow brings parts of a disk from a source into the repository: reads run
// ahead in ascending order, while what has come is hashed, compressed and
// stored. Memory, bytes in flight and processors are taken from the limits,
// which all disks share.
type Flow struct {
	Source transport.Source
	Disk   *repository.DiskWriter
	Limits *limit.Limits
	Place  limit.Place
	// OnBase says that Disk began as a copy of something, from which blocks
	// are completed of which only a part is brought. Else that part is zeros.
	OnBase bool
	// Central is true where an overload is vCenter's.
	Central bool

	// These are called from several goroutines, if they are set.
	Handed func(part extent.Extent)                // about to be read, in ascending order
	Stored func(part extent.Extent)                // in the repository
	Read   func(n int64)                           // so many bytes have come
	Again  func(reason error, pause time.Duration) // a read met an overload
}

// errParent says that what the disk held before cannot be read.
var errParent = errors.New("the restore point before cannot be read")

// errLied says that a block which CBT called unchanged differs, or that one
// which it called empty is not.
var errLied = errors.New("changed block tracking omitted a change")

// A load is a part of the disk on its way.
type load struct {
	part extent.Extent
	data []byte
}

// Copy brings a set of bytes, in whole blocks.
func (f *Flow) Copy(ctx context.Context, set extent.Set) error {
	size, depth := f.reading()
	group, ctx := errgroup.WithContext(ctx)
	parts, loads := f.parts(ctx, group, set, size), make(chan load, depth)
	var readers sync.WaitGroup
	for range depth {
		readers.Add(1)
		group.Go(func() error {
			defer readers.Done()
			for part := range parts {
				data, err := f.read(ctx, part, set)
				if err != nil {
					return fmt.Errorf("at %d: %w", part.Offset, err)
				}
				select {
				case loads <- load{part, data}:
				case <-ctx.Done():
					f.Limits.Return(f.Place, data)
					return ctx.Err()
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		readers.Wait()
		close(loads)
		return nil
	})
	for range min(f.Limits.Workers(), depth) {
		group.Go(func() error {
			for l := range loads {
				err := f.store(ctx, l)
				f.Limits.Return(f.Place, l.data)
				if err != nil {
					return fmt.Errorf("at %d: %w", l.part.Offset, err)
				}
			}
			return nil
		})
	}
	err := group.Wait()
	for l := range loads { // what nobody stores after an error
		f.Limits.Return(f.Place, l.data)
	}
	return err
}

// reading is how the source likes to be read.
func (f *Flow) reading() (size int64, depth int) {
	size, depth = chunkSize, readDepth
	if p, ok := f.Source.(transport.Pacer); ok {
		r := p.Reading()
		if r.Size > 0 {
			size = min(max(r.Size/block*block, block), 16*block)
		}
		if r.Depth > 0 {
			depth = min(r.Depth, 64)
		}
	}
	return size, depth
}

// parts hands out the parts of a set.
func (f *Flow) parts(ctx context.Context, group *errgroup.Group, set extent.Set, size int64) <-chan extent.Extent {
	parts := make(chan extent.Extent)
	group.Go(func() error {
		defer close(parts)
		for part := range chunks(set, size, f.Source.Size()) {
			if f.Handed != nil {
				f.Handed(part)
			}
			select {
			case parts <- part:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return parts
}

// chunks cuts a set into pieces of whole blocks, none longer than size.
// Pieces without anything of the set are left out.
func chunks(set extent.Set, size, capacity int64) iter.Seq[extent.Extent] {
	return func(yield func(extent.Extent) bool) {
		for _, e := range set.Align(block, capacity) {
			for off := e.Offset; off < e.End(); off += size {
				if !yield(extent.Extent{Offset: off, Length: min(size, e.End()-off)}) {
					return
				}
			}
		}
	}
}

// read brings one part. The buffer is asked for last: who waits for a host
// that is overloaded keeps no memory from others.
func (f *Flow) read(ctx context.Context, part extent.Extent, set extent.Set) (data []byte, err error) {
	wanted := set.Clip(part)
	for try := 1; ; try++ {
		data, err = f.readOnce(ctx, part, wanted)
		if err == nil || ctx.Err() != nil || try == patientReads || !errors.Is(err, transport.ErrOverloaded) {
			return data, err
		}
		pause := f.Limits.Overloaded(f.overloaded())
		if f.Again != nil {
			f.Again(err, pause)
		}
	}
}

// overloaded is what an overload is of.
func (f *Flow) overloaded() limit.Place {
	p := f.Place
	if f.Central {
		p.Host = ""
	}
	return p
}

func (f *Flow) readOnce(ctx context.Context, part extent.Extent, wanted extent.Set) (data []byte, err error) {
	place, n := f.overloaded(), wanted.Bytes()
	if err := f.Limits.Flight(ctx, place, n); err != nil {
		return nil, err
	}
	defer f.Limits.Landed(place, n)
	data, err = f.Limits.Buffer(ctx, f.Place, part.Length)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Limits.Return(f.Place, data)
			data = nil
		}
	}()
	if n < part.Length {
		if err := f.complete(ctx, part, data, wanted); err != nil {
			return data, err
		}
	}
	for _, e := range wanted {
		if err := f.Source.ReadAt(ctx, data[e.Offset-part.Offset:e.End()-part.Offset], e.Offset); err != nil {
			return data, fmt.Errorf("read %d bytes: %w", e.Length, err)
		}
		if f.Read != nil {
			f.Read(e.Length)
		}
	}
	f.Limits.Served(place)
	return data, nil
}

// complete fills the blocks of a part that will not be read whole.
func (f *Flow) complete(ctx context.Context, part extent.Extent, data []byte, wanted extent.Set) error {
	for off := int64(0); off < part.Length; off += block {
		b := data[off:min(off+block, part.Length)]
		if wanted.Clip(extent.Extent{Offset: part.Offset + off, Length: int64(len(b))}).Bytes() == int64(len(b)) {
			continue
		}
		if !f.OnBase {
			clear(b)
			continue
		}
		if err := f.Disk.ParentBlock(ctx, (part.Offset+off)/block, b); err != nil {
			return fmt.Errorf("%w: %w", errParent, err)
		}
	}
	return nil
}

func (f *Flow) store(ctx context.Context, l load) error {
	if err := f.Limits.Work(ctx, f.Place); err != nil {
		return err
	}
	defer f.Limits.Worked(f.Place)
	for off := int64(0); off < l.part.Length; off += block {
		if err := f.Disk.WriteBlock(ctx, (l.part.Offset+off)/block, l.data[off:min(off+block, l.part.Length)]); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	if f.Stored != nil {
		f.Stored(l.part)
	}
	return nil
}

// Check reads blocks that were called unchanged and compares them with what
// the disk began as; without a base, those that were called empty with zeros.
func (f *Flow) Check(ctx context.Context, sample extent.Set) error {
	size, depth := f.reading()
	group, ctx := errgroup.WithContext(ctx)
	parts := f.unseen().parts(ctx, group, sample, size)
	for range depth {
		group.Go(func() error {
			var was []byte
			for part := range parts {
				if f.OnBase && was == nil {
					was = make([]byte, block)
				}
				if err := f.checkPart(ctx, part, was); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// unseen is the flow without its watchers.
func (f *Flow) unseen() *Flow {
	g := *f
	g.Handed, g.Stored = nil, nil
	return &g
}

// checkPart compares a part of the sample. With a base, was is room for a block
// of it.
func (f *Flow) checkPart(ctx context.Context, part extent.Extent, was []byte) error {
	data, err := f.read(ctx, part, extent.Set{part})
	if err != nil {
		return fmt.Errorf("sample at %d: %w", part.Offset, err)
	}
	defer f.Limits.Return(f.Place, data)
	for off := int64(0); off < part.Length; off += block {
		b := data[off:min(off+block, part.Length)]
		if !f.OnBase {
			if !bytes.Equal(b, zeros[:len(b)]) {
				return fmt.Errorf("%w: the block at %d holds data and is called empty", errLied, part.Offset+off)
			}
			continue
		}
		if err := f.Disk.ParentBlock(ctx, (part.Offset+off)/block, was[:len(b)]); err != nil {
			return fmt.Errorf("sample at %d: %w: %w", part.Offset+off, errParent, err)
		}
		if !bytes.Equal(b, was[:len(b)]) {
			return fmt.Errorf("%w in the block at %d", errLied, part.Offset+off)
		}
	}
	return nil
}

// zeros is what a block holds that was called empty.
var zeros [block]byte

// A remaining keeps account of what of a set has not been stored yet.
type remaining struct {
	mu      sync.Mutex
	set     extent.Set
	next    int64                   // from here on nothing has been handed out
	pending map[int64]extent.Extent // handed out and not stored, by their offsets
	stored  atomic.Int64            // bytes
}

func newRemaining(set extent.Set) *remaining {
	return &remaining{set: set, pending: map[int64]extent.Extent{}}
}

// handed notes that a part is on its way; parts come in ascending order.
func (r *remaining) handed(part extent.Extent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending[part.Offset] = part
	r.next = part.End()
}

// done notes that a part is stored.
func (r *remaining) done(part extent.Extent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pending, part.Offset)
	r.stored.Add(part.Length)
}

// left returns what of the set is not stored.
func (r *remaining) left() extent.Set {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.set.Clip(extent.Extent{Offset: r.next, Length: 1<<62 - r.next})
	for _, part := range r.pending {
		out = out.Union(r.set.Clip(part))
	}
	return out
}
