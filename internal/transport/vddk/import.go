package vddk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

const (
	// removeTime bounds how long a failed import tries to remove its VM.
	removeTime = 2 * time.Minute
	// chunk is how much content is read at once, grain how much of it that is
	// zeros is left out: VMFS allocates 1 MiB at a time, others less.
	chunk = 4 << 20
	grain = 64 << 10
	// disksAtOnce and chunksAtOnce bound what an import has in memory.
	disksAtOnce  = 2
	chunksAtOnce = 3
)

// An Importer makes VMs with empty disks and writes into them what holds data.
type Importer struct{ o Options }

// NewImporter returns an Importer.
func NewImporter(o Options) *Importer { return &Importer{o: o.withDefaults()} }

// Name is "vddk".
func (i *Importer) Name() string { return "vddk" }

// Import makes a new VM as spec says, fills its disks, and returns its managed
// object reference. Disks of the spec that are not listed stay empty. Nothing
// is written where the content is zeros: a disk that was just made reads so,
// whether it is thin, thick or zeroed eagerly.
//
// Progress is told how many bytes of content were passed on so far, of all
// disks together; it may be nil. After an error there is no VM, or the error
// says which one could not be removed.
func (i *Importer) Import(ctx context.Context, c *vsphere.Client, spec vsphere.ImportSpec, disks []transport.Fill, progress func(done int64)) (moref string, err error) {
	if progress == nil {
		progress = func(int64) {}
	}
	if moref, err = i.make(ctx, c, spec, disks, progress); err != nil {
		return "", fmt.Errorf("vddk: import %s: %w", spec.Name, err)
	}
	return moref, nil
}

func (i *Importer) make(ctx context.Context, c *vsphere.Client, spec vsphere.ImportSpec, disks []transport.Fill, progress func(int64)) (string, error) {
	if err := i.o.installed(); err != nil {
		return "", fmt.Errorf("%w: %w", transport.ErrRefused, err)
	}
	moref, err := c.CreateVM(ctx, spec)
	if errors.Is(err, vsphere.ErrDenied) || errors.Is(err, vsphere.ErrNotSupported) {
		return "", fmt.Errorf("%w: %w", transport.ErrRefused, err) // a lease wants other privileges
	}
	if err != nil {
		return "", err
	}
	err = i.still(ctx, c.VM(moref), func() error { return i.fill(ctx, c, moref, spec, disks, progress) })
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
		defer cancel()
		if derr := c.VM(moref).Destroy(clean); derr != nil {
			err = fmt.Errorf("%w; %s is left behind: %w", err, moref, derr)
		}
		return "", err
	}
	return moref, nil
}

// still keeps vCenter from moving the VM while its disks are written. Of a VM
// that is given up on the way nothing has to be undone.
func (i *Importer) still(ctx context.Context, vm *vsphere.VM, do func() error) error {
	err := vm.DisableRelocation(ctx, mark.DisableSource)
	if errors.Is(err, vsphere.ErrNotSupported) || errors.Is(err, vsphere.ErrDenied) {
		i.o.Logger.WarnContext(ctx, "relocation of a VM that is made stays enabled", "vm", vm.MoRef(), "error", err)
		return do()
	}
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return vm.EnableRelocation(ctx, mark.DisableSource)
}

// fill writes the disks of a VM that was just made.
func (i *Importer) fill(ctx context.Context, c *vsphere.Client, moref string, spec vsphere.ImportSpec, fills []transport.Fill, progress func(int64)) (err error) {
	config, err := c.VM(moref).Config(ctx)
	if err != nil {
		return err
	}
	placed, err := spec.Placed(config)
	if err != nil {
		return err
	}
	if len(fills) == 0 {
		return nil
	}
	idle := transport.Idle{VM: moref, Datacenter: config.Datacenter}
	for _, f := range fills {
		d, ok := placed[f.Key]
		if !ok {
			return fmt.Errorf("disk %d: not in the VM's specification", f.Key)
		}
		if d.Capacity != f.Content.Size() {
			return fmt.Errorf("disk %d: %d bytes of content for a disk of %d", f.Key, f.Content.Size(), d.Capacity)
		}
		idle.Disks = append(idle.Disks, d.Transport())
	}
	session, err := New(c, i.o).OpenTarget(ctx, idle)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := session.Close(); err == nil {
			err = cerr
		}
	}()
	var done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(disksAtOnce)
	for _, f := range fills {
		group.Go(func() error {
			err := fillOne(ctx, session, placed[f.Key].Key, f.Content, func(n int64) { progress(done.Add(n)) })
			if err != nil {
				return fmt.Errorf("disk %d: %w", f.Key, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// fillOne writes one empty disk, and flushes it.
func fillOne(ctx context.Context, session transport.TargetSession, key int32, content transport.Source, passed func(n int64)) (err error) {
	t, err := session.Target(ctx, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(chunksAtOnce)
	set, err := content.Extents(ctx, extent.Extent{Length: content.Size()})
	if err != nil {
		return fmt.Errorf("content: %w", err)
	}
	for _, e := range set.Align(sector, content.Size()) {
		for off := e.Offset; off < e.End() && working.Err() == nil; {
			// To the next border of chunks, so that grains are those of the disk.
			part := extent.Extent{Offset: off, Length: min(chunk-off%chunk, e.End()-off)}
			off = part.End()
			group.Go(func() error {
				if err := writeData(working, t, content, part); err != nil {
					return fmt.Errorf("at %d: %w", part.Offset, err)
				}
				passed(part.Length)
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.Flush(ctx)
}

// writeData writes the grains of a part that are not zeros.
func writeData(ctx context.Context, t transport.Target, content transport.Source, part extent.Extent) error {
	buf := make([]byte, part.Length)
	if err := content.ReadAt(ctx, buf, part.Offset); err != nil {
		return fmt.Errorf("content: %w", err)
	}
	for _, e := range data(buf) {
		if err := t.WriteAt(ctx, buf[e.Offset:e.End()], part.Offset+e.Offset); err != nil {
			return err
		}
	}
	return nil
}

var zeros [grain]byte

// data returns the grains of buf that are not zeros.
func data(buf []byte) extent.Set {
	var set extent.Set
	for off := 0; off < len(buf); off += grain {
		b := buf[off:min(off+grain, len(buf))]
		if !bytes.Equal(b, zeros[:len(b)]) {
			set = set.Add(extent.Extent{Offset: int64(off), Length: int64(len(b))})
		}
	}
	return set
}
