package vsphere

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// NameTaken tells whether a folder of VMs, in the datacenter of a datastore,
// has something of that name. A folder that is not there has nothing. The
// path goes from the datacenter's VM folder, "restored/today".
func (c *Client) NameTaken(ctx context.Context, datastore, folder, name string) (bool, error) {
	at, err := c.vmFolder(ctx, datastore)
	if err != nil {
		return false, err
	}
	index := object.NewSearchIndex(c.vim)
	for _, part := range append(pathOf(folder), name) {
		found, err := index.FindChild(ctx, at, part)
		if err != nil {
			return false, fmt.Errorf("folder %s: %w", folder, explain(err))
		}
		if found == nil {
			return false, nil
		}
		at = found.Reference()
	}
	return true, nil
}

// MakeFolder returns a folder of VMs in the datacenter of a datastore, and
// makes what of its path is not there.
func (c *Client) MakeFolder(ctx context.Context, datastore, folder string) (string, error) {
	at, err := c.vmFolder(ctx, datastore)
	if err != nil {
		return "", err
	}
	index := object.NewSearchIndex(c.vim)
	for _, part := range pathOf(folder) {
		found, err := index.FindChild(ctx, at, part)
		if err != nil {
			return "", fmt.Errorf("folder %s: %w", folder, explain(err))
		}
		if found != nil {
			if at = found.Reference(); at.Type != "Folder" {
				return "", fmt.Errorf("folder %s: %s is a %s", folder, part, at.Type)
			}
			continue
		}
		res, err := methods.CreateFolder(ctx, c.vim, &types.CreateFolder{This: at, Name: part})
		if f, ok := faultAs[*types.DuplicateName](err); ok {
			at = f.Object // somebody was faster
			continue
		}
		if err != nil {
			return "", fmt.Errorf("folder %s: create: %w", folder, explain(err))
		}
		at = res.Returnval
	}
	return at.Value, nil
}

func pathOf(folder string) []string {
	return strings.FieldsFunc(folder, func(r rune) bool { return r == '/' })
}

// vmFolder is the VM folder of a datastore's datacenter.
func (c *Client) vmFolder(ctx context.Context, datastore string) (types.ManagedObjectReference, error) {
	var none types.ManagedObjectReference
	path, err := c.datacenterPath(ctx, ref("Datastore", datastore))
	if err != nil {
		return none, err
	}
	dc, err := c.datacenter(ctx, path)
	if err != nil {
		return none, err
	}
	var m mo.Datacenter
	if err := c.get(ctx, dc, &m, "vmFolder"); err != nil {
		return none, fmt.Errorf("datacenter %s: VM folder: %w", path, err)
	}
	return m.VmFolder, nil
}

// Settle gives a VM its place in the inventory: a folder, and a name. It
// stays in its resource pool.
func (v *VM) Settle(ctx context.Context, folder, name string) error {
	move, err := methods.MoveIntoFolder_Task(ctx, v.c.vim, &types.MoveIntoFolder_Task{This: ref("Folder", folder), List: []types.ManagedObjectReference{v.ref}})
	if err == nil {
		_, err = v.c.await(ctx, move.Returnval)
	}
	if err != nil {
		return v.fail("move into its folder", err)
	}
	rename, err := methods.Rename_Task(ctx, v.c.vim, &types.Rename_Task{This: v.ref, NewName: name})
	if err == nil {
		_, err = v.c.await(ctx, rename.Returnval)
	}
	if err != nil {
		return v.fail("rename", err)
	}
	return nil
}

// Name is the VM's name; ErrNotFound where there is no such VM.
func (v *VM) Name(ctx context.Context) (string, error) {
	var m mo.VirtualMachine
	err := v.c.get(ctx, v.ref, &m, "name")
	if err != nil && errors.Is(err, ErrNotFound) {
		return "", err
	}
	if err != nil {
		return "", v.fail("name", err)
	}
	return m.Name, nil
}
