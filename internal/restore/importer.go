package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// An Importer makes a VM that is off and fills its disks.
type Importer interface {
	// Name is the name of the transport.
	Name() string
	// Import makes a VM as spec says and returns its managed object
	// reference. Disks that are not listed become empty. Progress is told how
	// many bytes of content were passed on so far, of all disks together.
	// After an error there is no VM, or the error says which could not be
	// removed. ErrRefused and ErrBroken mean that another Importer may do.
	Import(ctx context.Context, client *vsphere.Client, spec vsphere.ImportSpec, disks []transport.Fill, progress func(done int64)) (moref string, err error)
}

// overloads is how often a host or vCenter may be too busy for an import.
const overloads = 4

// importVM makes a VM through the first Importer that does it, at a place that
// counts against the limits. Importers write one disk after the other.
func (r *run) importVM(ctx context.Context, vm string, client *vsphere.Client, spec vsphere.ImportSpec, at limit.Place, disks []transport.Fill, progress func(done int64)) (string, error) {
	if len(r.Importers) == 0 {
		return "", errors.New("no transport that writes disks is configured")
	}
	if r.Limits != nil {
		disks = slices.Clone(disks)
		for i := range disks {
			disks[i].Content = paced{disks[i].Content, r.Limits, at}
		}
	}
	var errs []error
	for n, i := range r.Importers {
		r.through[vm] = i.Name()
		moref, err := r.importPatiently(ctx, vm, i, client, spec, at, disks, progress)
		if err == nil {
			return moref, nil
		}
		errs = append(errs, err)
		last := n == len(r.Importers)-1
		if ctx.Err() != nil || last || !errors.Is(err, transport.ErrRefused) && !errors.Is(err, transport.ErrBroken) {
			break
		}
		// It may have left a VM of this name, which it then says.
		if rerr := RemoveScratch(ctx, client, spec.Name); rerr != nil {
			return "", errors.Join(append(errs, rerr)...)
		}
		r.warn(vm, fmt.Sprintf("its disks are written through %s instead: %v", r.Importers[n+1].Name(), err))
	}
	return "", errors.Join(errs...)
}

// importPatiently imports through one Importer, again after a pause where the
// other side has too much to do.
func (r *run) importPatiently(ctx context.Context, vm string, i Importer, client *vsphere.Client, spec vsphere.ImportSpec, at limit.Place, disks []transport.Fill, progress func(done int64)) (string, error) {
	for try := 1; ; try++ {
		moref, pause, err := r.importOnce(ctx, i, client, spec, at, disks, progress)
		if err == nil || ctx.Err() != nil || try == overloads || !errors.Is(err, transport.ErrOverloaded) {
			return moref, err
		}
		if rerr := RemoveScratch(ctx, client, spec.Name); rerr != nil {
			return "", errors.Join(err, rerr)
		}
		r.warn(vm, fmt.Sprintf("its disks are written again after a pause of %s: %v", pause, err))
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", ctx.Err()
		}
	}
}

// importOnce imports when it is its turn. With an overload it tells how long
// to leave the place alone.
func (r *run) importOnce(ctx context.Context, i Importer, client *vsphere.Client, spec vsphere.ImportSpec, at limit.Place, disks []transport.Fill, progress func(done int64)) (moref string, pause time.Duration, err error) {
	if r.Limits == nil {
		moref, err = i.Import(ctx, client, spec, disks, progress)
		return moref, time.Second, err
	}
	release, err := r.Limits.Disk(ctx, at)
	if err != nil {
		return "", 0, err
	}
	defer release()
	moref, err = i.Import(ctx, client, spec, disks, progress)
	switch {
	case err == nil:
		r.Limits.Served(at)
	case errors.Is(err, transport.ErrOverloaded):
		pause = max(r.Limits.Overloaded(at), time.Second)
	}
	return moref, pause, err
}

// paced is the content of a disk, no faster than the line may be used.
type paced struct {
	transport.Source
	limits *limit.Limits
	at     limit.Place
}

// ReadAt implements transport.Source.
func (p paced) ReadAt(ctx context.Context, b []byte, off int64) error {
	if err := p.limits.Pace(ctx, p.at, int64(len(b))); err != nil {
		return err
	}
	return p.Source.ReadAt(ctx, b, off)
}
