package vsphere

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A VMRef is a VM found by name.
type VMRef struct {
	MoRef string
	Name  string
}

// FindVMs lists the VMs whose names begin so, sorted by name. It is for
// leftovers of our own; the VMs of a vApp are known by reference.
func (c *Client) FindVMs(ctx context.Context, namePrefix string) ([]*VMRef, error) {
	var all []mo.VirtualMachine
	if err := c.list(ctx, "VirtualMachine", []string{"name"}, &all); err != nil {
		return nil, fmt.Errorf("find VMs: %w", err)
	}
	var found []*VMRef
	for _, vm := range all {
		if strings.HasPrefix(vm.Name, namePrefix) {
			found = append(found, &VMRef{MoRef: vm.Self.Value, Name: vm.Name})
		}
	}
	slices.SortFunc(found, func(a, b *VMRef) int {
		return strings.Compare(a.Name+"\x00"+a.MoRef, b.Name+"\x00"+b.MoRef)
	})
	return found, nil
}

// A DatastoreInfo is one datastore.
type DatastoreInfo struct {
	Ref        string // managed object reference
	Name       string
	Type       string // VMFS, NFS, NFS41, vsan, VVOL
	Free       int64  // bytes
	Capacity   int64  // bytes
	Accessible bool
}

// Datastores lists the datastores of this vCenter, sorted by name.
func (c *Client) Datastores(ctx context.Context) ([]DatastoreInfo, error) {
	var all []mo.Datastore
	if err := c.list(ctx, "Datastore", []string{"summary"}, &all); err != nil {
		return nil, fmt.Errorf("datastores: %w", err)
	}
	found := make([]DatastoreInfo, 0, len(all))
	for _, ds := range all {
		found = append(found, datastoreInfo(ds))
	}
	slices.SortFunc(found, func(a, b DatastoreInfo) int {
		return strings.Compare(a.Name+"\x00"+a.Ref, b.Name+"\x00"+b.Ref)
	})
	return found, nil
}

// Datastore reads one datastore by its managed object reference.
func (c *Client) Datastore(ctx context.Context, moref string) (DatastoreInfo, error) {
	var ds mo.Datastore
	if err := c.get(ctx, ref("Datastore", moref), &ds, "summary"); err != nil {
		return DatastoreInfo{}, fmt.Errorf("datastore %s: %w", moref, err)
	}
	return datastoreInfo(ds), nil
}

func datastoreInfo(ds mo.Datastore) DatastoreInfo {
	return DatastoreInfo{
		Ref: ds.Self.Value, Name: ds.Summary.Name, Type: ds.Summary.Type,
		Free: ds.Summary.FreeSpace, Capacity: ds.Summary.Capacity, Accessible: ds.Summary.Accessible,
	}
}

// list reads properties of every object of one kind into dst.
func (c *Client) list(ctx context.Context, kind string, props []string, dst any) error {
	v, err := view.NewManager(c.vim).CreateContainerView(ctx, c.vim.ServiceContent.RootFolder, []string{kind}, true)
	if err != nil {
		return explain(err)
	}
	defer func() {
		// A view lives as long as the session: do not pile them up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTime)
		defer cancel()
		if err := v.Destroy(ctx); err != nil {
			c.log.Debug("view not destroyed", "error", err)
		}
	}()
	return explain(v.Retrieve(ctx, []string{kind}, props, dst))
}

// refs turns references into their values, sorted.
func refs(list []types.ManagedObjectReference) []types.ManagedObjectReference {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b types.ManagedObjectReference) int { return strings.Compare(a.String(), b.String()) })
	return list
}
