package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/transport"
)

const (
	blockSize = repository.BlockSize
	// blocksAtOnce is how many blocks of a disk are under way.
	blocksAtOnce = 8
	// samplePercent of the blocks that change tracking calls unchanged are
	// compared before it is believed, and no fewer than leastSample.
	samplePercent = 1
	leastSample   = 64
)

// open opens the VM's disks through the first transport that does not refuse.
func (w *blockWriter) open(ctx context.Context) (transport.TargetSession, error) {
	if w.run.Targets == nil {
		return nil, errors.New("no transport writes into disks that are there")
	}
	var errs []error
	for _, o := range w.run.Targets(w.client) {
		session, err := o.OpenTarget(ctx, w.idle)
		if err == nil {
			w.run.through[w.vp.Name] = o.Name()
			return session, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, transport.ErrRefused) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// each calls do with every disk of the VM and what it shall hold. What do
// wrote is flushed.
func (w *blockWriter) each(ctx context.Context, do func(ctx context.Context, n int, t pacedTarget, content transport.Source) error) (err error) {
	session, err := w.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	for n, f := range w.fills {
		if err := w.one(ctx, session, n, f, do); err != nil {
			return fmt.Errorf("disk %s: %w", w.vp.VM.Disks[n].Label, err)
		}
	}
	return nil
}

func (w *blockWriter) one(ctx context.Context, session transport.TargetSession, n int, f transport.Fill,
	do func(ctx context.Context, n int, t pacedTarget, content transport.Source) error) (err error) {
	release, err := w.limits.Disk(ctx, w.at)
	if err != nil {
		return err
	}
	defer release()
	t, err := session.Target(ctx, w.live[f.Key].Key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if t.Size() != f.Content.Size() {
		return fmt.Errorf("it has %d bytes, the restore point %d", t.Size(), f.Content.Size())
	}
	if err := do(ctx, n, pacedTarget{t, w.limits, w.at}, f.Content); err != nil {
		return err
	}
	return t.Flush(ctx)
}

// blocks calls do with the blocks of a set, several at a time.
func blocks(ctx context.Context, set extent.Set, size int64, do func(ctx context.Context, e extent.Extent) error) error {
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(blocksAtOnce)
	for _, e := range set.Align(blockSize, size) {
		for off := e.Offset; off < e.End() && working.Err() == nil; off += blockSize {
			part := extent.Extent{Offset: off, Length: min(blockSize, e.End()-off)}
			group.Go(func() error {
				if err := do(working, part); err != nil {
					return fmt.Errorf("at %d: %w", part.Offset, err)
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// compare returns which blocks of a set differ from what they should hold.
// Where they are many it returns others between them, too.
func (w *blockWriter) compare(ctx context.Context, t pacedTarget, content transport.Source, set extent.Set) (extent.Set, error) {
	differ := differences{size: t.Size()}
	err := blocks(ctx, set, t.Size(), func(ctx context.Context, e extent.Extent) error {
		return t.move(ctx, e.Length, 2*e.Length, func(buf []byte) error {
			has, wants := buf[:e.Length], buf[e.Length:]
			if err := t.ReadAt(ctx, has, e.Offset); err != nil {
				return err
			}
			if err := content.ReadAt(ctx, wants, e.Offset); err != nil {
				return fmt.Errorf("read from the repository: %w", err)
			}
			if !bytes.Equal(has, wants) {
				differ.add(e)
			}
			return nil
		})
	})
	return differ.set, err
}

// differences are blocks of a disk. There are never many more than maxExtents
// runs of them, lest a large disk that differs all over fill the memory.
type differences struct {
	size int64 // of the disk
	mu   sync.Mutex
	set  extent.Set
}

func (d *differences) add(e extent.Extent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.set = d.set.Add(e); len(d.set) > 2*maxExtents {
		d.set = coarse(d.set, d.size)
	}
}

// plan finds what is to be written into each disk.
func (w *blockWriter) plan(ctx context.Context) (what *written, err error) {
	err = w.again(ctx, func(ctx context.Context) error {
		what = &written{Point: w.run.point.ID, Tracking: w.tracking}
		return w.each(ctx, func(ctx context.Context, n int, t pacedTarget, content transport.Source) error {
			set, err := w.differing(ctx, n, t, content)
			if err != nil {
				return err
			}
			d := w.vp.VM.Disks[n]
			what.Disks = append(what.Disks, writtenDisk{Key: d.Key, UUID: d.UUID, Extents: coarse(set, t.Size())})
			return nil
		})
	})
	return what, err
}

// differing returns the blocks of a disk to be written: those that change
// tracking names, asked now that nothing changes any more, or where it knows
// nothing or a sample shows that it lies, those that differ. With them go those
// that the run which is resumed was writing.
func (w *blockWriter) differing(ctx context.Context, n int, t pacedTarget, content transport.Source) (extent.Set, error) {
	whole := extent.Of(extent.Extent{Length: t.Size()})
	d := w.vp.VM.Disks[n]
	var begun extent.Set // by the run that is resumed, which is in no list of changes
	known := true
	if w.prior != nil {
		var err error
		begun, err = w.prior.of(d.Key, d.UUID)
		known = err == nil && w.prior.Point == w.run.point.ID
	}
	if known && !w.run.options.EveryBlock {
		var why string
		changed, err := w.vm.ChangedSince(ctx, w.live[d.Key], d.ChangeID)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			changed = changed.Union(begun).Align(blockSize, t.Size())
			lie, err := w.sample(ctx, t, content, whole.Subtract(changed))
			if err == nil && len(lie) == 0 && w.finished() {
				return w.compare(ctx, t, content, changed)
			}
			if err != nil || len(lie) == 0 {
				return changed, err
			}
			why = fmt.Sprintf("changed block tracking omitted a change at %d", lie[0].Offset)
		} else {
			why = err.Error()
		}
		w.run.warn(w.vp.Name, fmt.Sprintf("disk %s: every block is compared: %s", d.Label, why))
	}
	return w.compare(ctx, t, content, whole)
}

// sample compares some of the blocks that should be what the restore point
// has, most of them from where it has data.
func (w *blockWriter) sample(ctx context.Context, t pacedTarget, content transport.Source, same extent.Set) (lie extent.Set, err error) {
	data, err := content.Extents(ctx, extent.Extent{Length: content.Size()})
	if err != nil {
		return nil, fmt.Errorf("extents in the repository: %w", err)
	}
	data = data.Align(blockSize, content.Size()).Intersect(same)
	few := choose(data, max(leastSample, data.Bytes()/blockSize*samplePercent/100))
	return w.compare(ctx, t, content, few.Union(choose(same.Subtract(data), leastSample)))
}

// choose picks up to so many blocks at random of a set of whole blocks.
func choose(set extent.Set, n int64) extent.Set {
	count := int64(0)
	for _, e := range set {
		count += blocksOf(e)
	}
	if count <= n {
		return set
	}
	picked := make([]int64, n)
	for i := range picked {
		picked[i] = rand.Int64N(count) // some come twice
	}
	slices.Sort(picked)
	var out []extent.Extent
	first := int64(0) // number of the extent's first block
	for _, e := range set {
		next := first + blocksOf(e)
		for ; len(picked) > 0 && picked[0] < next; picked = picked[1:] {
			off := e.Offset + (picked[0]-first)*blockSize
			out = append(out, extent.Extent{Offset: off, Length: min(blockSize, e.End()-off)})
		}
		first = next
	}
	return extent.Of(out...)
}

func blocksOf(e extent.Extent) int64 { return (e.Length + blockSize - 1) / blockSize }

// fill writes the blocks.
func (w *blockWriter) fill(ctx context.Context, what *written) error {
	return w.each(ctx, func(ctx context.Context, n int, t pacedTarget, content transport.Source) error {
		set, err := what.of(w.vp.VM.Disks[n].Key, w.vp.VM.Disks[n].UUID)
		if err != nil {
			return err
		}
		var first sync.Once
		return blocks(ctx, set, t.Size(), func(ctx context.Context, e extent.Extent) error {
			err := t.move(ctx, e.Length, e.Length, func(p []byte) error {
				if err := content.ReadAt(ctx, p, e.Offset); err != nil {
					return fmt.Errorf("read from the repository: %w", err)
				}
				return t.WriteAt(ctx, p, e.Offset)
			})
			if err != nil {
				return err
			}
			w.emit(e.Length)
			first.Do(func() { w.run.did("first block " + w.vp.Name) })
			return nil
		})
	})
}

// prove reads back what was written, through a session of its own.
func (w *blockWriter) prove(ctx context.Context, what *written) error {
	return w.each(ctx, func(ctx context.Context, n int, t pacedTarget, content transport.Source) error {
		set, err := what.of(w.vp.VM.Disks[n].Key, w.vp.VM.Disks[n].UUID)
		if err != nil {
			return err
		}
		wrong, err := w.compare(ctx, t, content, set)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		if len(wrong) > 0 {
			return fmt.Errorf("at %d: what was written does not read back as it was", wrong[0].Offset)
		}
		return nil
	})
}

// of returns the blocks of a disk.
func (w *written) of(key int32, uuid string) (extent.Set, error) {
	for _, d := range w.Disks {
		if d.Key == key && d.UUID == uuid {
			return d.Extents, nil
		}
	}
	return nil, errors.New("not among the disks that the journal names")
}
