package vsphere

import (
	"context"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// UsersOf tells which VMs refer to which of these files, in their disks, their
// snapshots or anywhere in a chain below them: datastore path -> names. It
// goes by what vCenter knows of the VMs on the datastores of the files; a VM
// of another vCenter on the same datastore is not seen.
func (c *Client) UsersOf(ctx context.Context, files []string) (map[string][]string, error) {
	out := map[string][]string{}
	if len(files) == 0 {
		return out, nil
	}
	found, err := c.vmsBeside(ctx, files)
	if err != nil {
		return nil, fmt.Errorf("users of disk files: %w", explain(err))
	}
	for _, vm := range found {
		if vm.LayoutEx == nil {
			continue
		}
		for _, f := range vm.LayoutEx.File {
			if slices.Contains(files, f.Name) {
				out[f.Name] = append(out[f.Name], vm.Name)
			}
		}
	}
	return out, nil
}

// vmsBeside reads the files of all VMs on the datastores of some files.
func (c *Client) vmsBeside(ctx context.Context, files []string) ([]mo.VirtualMachine, error) {
	var all []mo.Datastore
	if err := c.list(ctx, "Datastore", []string{"summary.name", "vm"}, &all); err != nil {
		return nil, err
	}
	var vms []types.ManagedObjectReference
	for _, ds := range all {
		if !slices.ContainsFunc(files, func(f string) bool { return DatastoreOf(f) == ds.Summary.Name }) {
			continue
		}
		for _, vm := range ds.Vm {
			if !slices.Contains(vms, vm) {
				vms = append(vms, vm)
			}
		}
	}
	if len(vms) == 0 {
		return nil, nil
	}
	props := []string{"name", "layoutEx.file"}
	var found []mo.VirtualMachine
	err := property.DefaultCollector(c.vim).Retrieve(ctx, vms, props, &found)
	if !isFault[*types.ManagedObjectNotFound](err) {
		return found, err
	}
	// One went away between the two questions; the others are asked singly.
	found = nil
	for _, ref := range vms {
		var vm mo.VirtualMachine
		err := property.DefaultCollector(c.vim).RetrieveOne(ctx, ref, props, &vm)
		if isFault[*types.ManagedObjectNotFound](err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, vm)
	}
	return found, nil
}
