package cloud

import (
	"context"
	"fmt"
	"net/url"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// session calls do with a client that is logged in to the vCenter.
func (vc *runningVCenter) session(ctx context.Context, do func(*govmomi.Client) error) error {
	address := vc.server.URL()
	address.User = url.UserPassword(vc.spec.User, vc.spec.Password)
	sc := soap.NewClient(address, true) // our own server: nobody is in between
	sc.Client.Transport = vc.faults.Own(sc.DefaultTransport())
	client, err := newClient(ctx, sc, address.User)
	if err != nil {
		return fmt.Errorf("vCenter %s: %w", vc.spec.Name, err)
	}
	defer func() { _ = client.Logout(context.WithoutCancel(ctx)) }()
	return do(client)
}

// usedFiles lists the datastore paths ("[ds] dir/file") that the VMs of the
// vCenter refer to, those of snapshots and of parent disks among them.
func (vc *runningVCenter) usedFiles(ctx context.Context) (map[string]bool, error) {
	used := map[string]bool{}
	err := vc.session(ctx, func(client *govmomi.Client) error {
		containers, err := view.NewManager(client.Client).CreateContainerView(ctx, client.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
		if err != nil {
			return fmt.Errorf("list VMs: %w", err)
		}
		defer func() { _ = containers.Destroy(context.WithoutCancel(ctx)) }()
		var vms []mo.VirtualMachine
		if err := containers.Retrieve(ctx, []string{"VirtualMachine"}, []string{"config", "layoutEx", "snapshot"}, &vms); err != nil {
			return fmt.Errorf("read VMs: %w", err)
		}
		for i := range vms {
			if err := vmFiles(ctx, client, &vms[i], used); err != nil {
				return fmt.Errorf("%s: %w", vms[i].Self.Value, err)
			}
		}
		return nil
	})
	return used, err
}

func vmFiles(ctx context.Context, client *govmomi.Client, vm *mo.VirtualMachine, used map[string]bool) error {
	if vm.Config != nil {
		used[vm.Config.Files.VmPathName] = true
		diskFiles(vm.Config.Hardware.Device, used)
	}
	if vm.LayoutEx != nil {
		for _, file := range vm.LayoutEx.File {
			used[file.Name] = true
		}
	}
	if vm.Snapshot == nil {
		return nil
	}
	var refs []types.ManagedObjectReference
	trees := vm.Snapshot.RootSnapshotList
	for len(trees) > 0 {
		refs = append(refs, trees[0].Snapshot)
		trees = append(trees[1:], trees[0].ChildSnapshotList...)
	}
	var snapshots []mo.VirtualMachineSnapshot
	if err := property.DefaultCollector(client.Client).Retrieve(ctx, refs, []string{"config"}, &snapshots); err != nil {
		return fmt.Errorf("read snapshots: %w", err)
	}
	for i := range snapshots {
		diskFiles(snapshots[i].Config.Hardware.Device, used)
	}
	return nil
}

func diskFiles(devices object.VirtualDeviceList, used map[string]bool) {
	for _, device := range devices {
		disk, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		if flat, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			for ; flat != nil; flat = flat.Parent {
				used[flat.FileName] = true
			}
			continue
		}
		if file, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
			used[file.GetVirtualDeviceFileBackingInfo().FileName] = true
		}
	}
}

func newClient(ctx context.Context, sc *soap.Client, user *url.Userinfo) (*govmomi.Client, error) {
	client, err := vim25.NewClient(ctx, sc)
	if err != nil {
		return nil, err
	}
	manager := session.NewManager(client)
	if err := manager.Login(ctx, user); err != nil {
		return nil, err
	}
	return &govmomi.Client{Client: client, SessionManager: manager}, nil
}
