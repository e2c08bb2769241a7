package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo/object"
	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// A Damage is a part of a point that cannot be read back as it was written:
// a document, or bytes [Offset, Offset+Length) of a disk; or, without a
// point, an organization whose points cannot be listed or opened.
type Damage struct {
	Org      string // name, or the id where that is all that is known
	Point    string
	VM       string // name
	Disk     string // label, or the device key without one
	Document string // path, for a document
	Offset   int64  // bytes
	Length   int64  // bytes
	Err      error  // of the first piece
}

// Error implements error.
func (d Damage) Error() string {
	if d.Point == "" {
		return fmt.Sprintf("org %s: %v", d.Org, d.Err)
	}
	if d.Document != "" {
		return fmt.Sprintf("point %s: document %s: %v", d.Point, d.Document, d.Err)
	}
	if d.VM == "" {
		return fmt.Sprintf("point %s: %v", d.Point, d.Err)
	}
	return fmt.Sprintf("point %s: VM %s: disk %s: bytes [%d,+%d): %v", d.Point, d.VM, d.Disk, d.Offset, d.Length, d.Err)
}

// Unwrap implements the interface that errors.Is uses.
func (d Damage) Unwrap() error { return d.Err }

// VerifyOptions say what of a point is verified.
type VerifyOptions struct {
	// VMs are ids: the disks of those alone; none: of all.
	VMs []string
	// Percent of the data blocks are read, chosen at random.
	Percent float64
	// Progress, which may be nil, counts bytes of data gone through, read or
	// left out; calls do not overlap.
	Progress func(done, total int64)
}

// A Verified is what a verification read and found.
type Verified struct {
	Damages []Damage
	Read    int64 // bytes of disk data that were read and compared
	Data    int64 // bytes of disk data that there are
}

// Verify reads a point back and compares it with the sums that were recorded
// when it was written. Documents, indexes and sums are read in full. Damage
// does not end it: the error is for what keeps it from being done at all, and
// what was found before comes with it.
func (o *Repository) Verify(ctx context.Context, id string, options VerifyOptions) (Verified, error) {
	t, err := o.openPoint(ctx, id)
	if errors.Is(err, ErrDamaged) {
		return Verified{Damages: []Damage{{Point: id, Err: err}}}, nil
	}
	if err != nil {
		return Verified{}, o.errorf("verify point %s: %w", id, err)
	}
	p, err := t.point(ctx)
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) {
		return Verified{Damages: []Damage{{Point: id, Document: manifestFile, Err: err}}}, nil
	}
	if err != nil {
		return Verified{}, o.errorf("verify point %s: %w", id, err)
	}
	if len(options.VMs) > 0 {
		p.VMs = slices.DeleteFunc(p.VMs, func(vm restorepoint.VM) bool { return !slices.Contains(options.VMs, vm.ID) })
	}
	v := &verifier{o: o, tree: t, point: id, percent: options.Percent, progress: options.Progress}
	err = v.run(ctx, p)
	out := Verified{Damages: v.damages, Read: v.read.Load(), Data: v.total}
	if err != nil {
		return out, o.errorf("verify point %s: %w", id, err)
	}
	return out, nil
}

type verifier struct {
	o        *Repository
	tree     *pointTree
	point    string
	percent  float64
	progress func(done, total int64)
	read     atomic.Int64 // bytes of disk data

	mu          sync.Mutex
	done, total int64
	damages     []Damage
}

// advance reports progress.
func (v *verifier) advance(n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.done = min(v.done+n, v.total)
	if v.progress != nil {
		v.progress(v.done, v.total)
	}
}

// found records damage, unless err says that reading itself did not work.
func (v *verifier) found(d Damage, err error) error {
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
		return err
	}
	d.Point, d.Err = v.point, err
	v.mu.Lock()
	defer v.mu.Unlock()
	v.damages = append(v.damages, d)
	return nil
}

func (v *verifier) run(ctx context.Context, p *restorepoint.Point) error {
	for _, vm := range p.VMs {
		for _, d := range vm.Disks {
			v.total += d.Content.DataBytes
		}
	}
	for _, path := range p.Documents {
		if _, err := v.tree.file(ctx, path); err != nil {
			if err := v.found(Damage{Document: path}, err); err != nil {
				return fmt.Errorf("document %s: %w", path, err)
			}
		}
	}
	for _, vm := range p.VMs {
		for _, d := range vm.Disks {
			if d.Content.Object == "" {
				continue
			}
			c := &diskCheck{v: v, at: Damage{VM: vm.Name, Disk: cmp.Or(d.Label, strconv.Itoa(int(d.Key)))}}
			err := c.run(ctx, vm, d)
			v.damages = append(v.damages, c.merged()...)
			if err != nil {
				return fmt.Errorf("VM %s: disk %s: %w", vm.Name, c.at.Disk, err)
			}
		}
	}
	v.advance(v.total)
	return nil
}

// A diskCheck verifies one disk.
type diskCheck struct {
	v    *verifier
	at   Damage // VM and disk
	disk *DiskReader

	mu    sync.Mutex
	found []Damage
}

// damage records damage to bytes of the disk, unless err says that reading
// itself did not work.
func (c *diskCheck) damage(e extent.Extent, err error) error {
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
		return err
	}
	d := c.at
	d.Point, d.Offset, d.Length, d.Err = c.v.point, e.Offset, e.Length, err
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found = append(c.found, d)
	return nil
}

// merged returns the damage found, in order, touching pieces as one.
func (c *diskCheck) merged() []Damage {
	slices.SortStableFunc(c.found, func(a, b Damage) int { return cmp.Compare(a.Offset, b.Offset) })
	var out []Damage
	for _, d := range c.found {
		if last := len(out) - 1; last >= 0 && out[last].Offset+out[last].Length >= d.Offset {
			out[last].Length = max(out[last].Length, d.Offset+d.Length-out[last].Offset)
			continue
		}
		out = append(out, d)
	}
	return out
}

func (c *diskCheck) run(ctx context.Context, vm restorepoint.VM, d restorepoint.Disk) error {
	all := extent.Extent{Length: d.Content.Size}
	if err := c.v.tree.holds(ctx, vm, d); err != nil {
		// The disk may be whole, but the stock command does not find it.
		if err := c.damage(all, err); err != nil {
			return err
		}
	}
	disk, err := c.v.o.OpenDisk(ctx, d.Content)
	if err != nil {
		return c.damage(all, err)
	}
	c.disk = disk
	pages, err := c.v.o.openSums(ctx, d.Content)
	if err != nil {
		if err := c.damage(all, err); err != nil {
			return err
		}
	}
	return c.blocks(ctx, d.Content, pages)
}

// holds checks that the tree of the point leads to the disk of the manifest.
func (t *pointTree) holds(ctx context.Context, vm restorepoint.VM, d restorepoint.Disk) error {
	path, err := restorepoint.DiskPath(vm, d)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	for path, want := range map[string]string{path: d.Content.Object, sumsPath(path): d.Content.Sums} {
		e, err := t.entry(ctx, path)
		if err == nil && e.ObjectID.String() != want {
			err = fmt.Errorf("%w: it is object %s, not %s", ErrDamaged, e.ObjectID, want)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// blocks goes through the disk page by page. Without pages the blocks are
// read, but not compared.
func (c *diskCheck) blocks(ctx context.Context, content restorepoint.DiskContent, pages []object.ID) error {
	g := c.disk.size
	hash, whole := newTreeHash(g), pages != nil
	work, working := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	for n := int64(0); n < g.pages() && working.Err() == nil; n++ {
		var sums []byte
		if pages != nil {
			var err error
			if sums, err = c.page(working, n, pages[n]); err != nil {
				whole = false
				if err := c.damage(g.piece(n, pageBlocks*BlockSize), err); err != nil {
					work.Go(func() error { return err })
					break
				}
			}
			hash.add(sums)
		}
		c.segments(working, work, n, sums)
	}
	if err := work.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if whole && (hash.sum() != content.TreeHash || hash.data != content.DataBytes) {
		return c.damage(extent.Extent{Length: int64(g)}, fmt.Errorf("%w: tree hash %s in place of %s", ErrDamaged, hash.sum(), content.TreeHash))
	}
	return nil
}

// page reads a page of the sums.
func (c *diskCheck) page(ctx context.Context, n int64, id object.ID) ([]byte, error) {
	length := c.disk.size.pageLen(n)
	if id == c.disk.zeros.pageID(n) {
		return zeroBlock[:length], nil
	}
	return c.v.o.loadPage(ctx, id, length, c.v.o.fetch)
}

// segments has the segments that a page covers checked side by side.
func (c *diskCheck) segments(ctx context.Context, work *errgroup.Group, page int64, sums []byte) {
	const perPage = pageBlocks / SegmentBlocks
	for n := page * perPage; n < min((page+1)*perPage, c.disk.size.segments()); n++ {
		var part []byte
		if sums != nil {
			at := n % perPage * SegmentBlocks * sumSize
			part = sums[at:min(at+SegmentBlocks*sumSize, int64(len(sums)))]
			if c.disk.top[n] == c.disk.zeros.segmentID(n) && isZero(part) {
				continue
			}
		}
		work.Go(func() error { return c.segment(ctx, n, part) })
	}
}

// segment checks one segment, against sums unless they are nil.
func (c *diskCheck) segment(ctx context.Context, n int64, sums []byte) error {
	ids, err := c.disk.segment(ctx, n)
	if err != nil {
		return c.damage(c.disk.size.segment(n), err)
	}
	for i, id := range ids {
		block := c.disk.size.block(n*SegmentBlocks + int64(i))
		zero := id == c.disk.zeros.blockID(n*SegmentBlocks+int64(i))
		var sum []byte
		if sums != nil {
			sum = sums[i*sumSize:][:sumSize]
		}
		err := c.block(ctx, id, zero, sum, block.Length)
		if err != nil {
			if err := c.damage(block, err); err != nil {
				return err
			}
		}
		if !zero {
			c.v.advance(block.Length)
		}
	}
	return nil
}

// block checks one block against its sum unless that is nil.
func (c *diskCheck) block(ctx context.Context, id object.ID, zero bool, sum []byte, length int64) error {
	if sum != nil && zero != isZero(sum) {
		return fmt.Errorf("%w: block %s has the sum %x", ErrDamaged, id, sum)
	}
	if zero || rand.Float64()*100 >= c.v.percent { //nolint:gosec // a sample, no secret
		return nil
	}
	data, err := c.v.o.fetch(ctx, id)
	if err != nil {
		return err
	}
	c.v.read.Add(int64(len(data)))
	if int64(len(data)) != length {
		return fmt.Errorf("%w: block %s has %d bytes in place of %d", ErrDamaged, id, len(data), length)
	}
	if got := blake3.Sum256(data); sum != nil && string(got[:]) != string(sum) {
		return fmt.Errorf("%w: block %s has the sum %x in place of %x", ErrDamaged, id, got, sum)
	}
	return nil
}
