package restore

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/vsphere"
)

// DropOld deletes the disks that a proven swap replaced, but for those that
// something refers to. It returns the files that it left.
func DropOld(ctx context.Context, client *vsphere.Client, moref string, files Files) (left []string, err error) {
	old := names(files.Old)
	now, err := client.VM(moref).Config(ctx)
	if errors.Is(err, vsphere.ErrNotFound) {
		return old, nil // deleted, or registered anew: somebody's business now
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return dropDisks(ctx, client, now, files.Datacenter, old, nil)
}

// dropDisks deletes disk files, but for those that are held, those that the
// VM refers to, in its disks or anywhere in their chains, and those that any
// other VM on the datastore refers to: linked clones may hang from them. A
// host keeps nobody from deleting the files of a VM that is off.
func dropDisks(ctx context.Context, client *vsphere.Client, vm *vsphere.VMConfig, datacenter string, files, held []string) (left []string, err error) {
	files = slices.DeleteFunc(slices.Clone(files), func(f string) bool { return slices.Contains(held, f) })
	users, err := client.UsersOf(ctx, files)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, f := range files {
		if refersTo(vm, f) || len(users[f]) > 0 {
			left = append(left, f)
			continue
		}
		switch err := client.DeleteDisk(ctx, datacenter, f); {
		case errors.Is(err, vsphere.ErrInUse):
			left = append(left, f)
		case err != nil:
			errs = append(errs, err)
		}
	}
	return left, errors.Join(errs...)
}

// refersTo tells whether a VM uses a file, going by its disks and by its
// layout, which lists the files of snapshots too.
func refersTo(vm *vsphere.VMConfig, file string) bool {
	if slices.ContainsFunc(vm.Disks, func(d vsphere.Disk) bool { return d.FileName == file }) {
		return true
	}
	var escaped bytes.Buffer
	if err := xml.EscapeText(&escaped, []byte(file)); err != nil {
		return true // cannot be told: leave it
	}
	return bytes.Contains(vm.Layout, slices.Concat([]byte(">"), escaped.Bytes(), []byte("<")))
}
