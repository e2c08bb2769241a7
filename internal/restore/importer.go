package restore

import (
	"context"
	"errors"
	"fmt"

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

// importVM makes a VM through the first Importer that does it.
func (r *run) importVM(ctx context.Context, vm string, client *vsphere.Client, spec vsphere.ImportSpec, disks []transport.Fill, progress func(done int64)) (string, error) {
	if len(r.Importers) == 0 {
		return "", errors.New("no transport that writes disks is configured")
	}
	var errs []error
	for n, i := range r.Importers {
		moref, err := i.Import(ctx, client, spec, disks, progress)
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
