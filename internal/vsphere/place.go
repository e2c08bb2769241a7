package vsphere

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// FolderName is the VM folder that VMs are rebuilt in, under the datacenter's
// own VM folder. RebuildPlace makes it when it is first needed.
const FolderName = "vappvault"

// A Place is where a VM can be made. References are managed object references.
type Place struct {
	Folder        string
	ResourcePool  string // root of the cluster: VM discovery looks into the pools of VDCs only
	Host          string
	Datastore     string
	DatastoreName string
	Datacenter    string // inventory path
	// Network is where NICs are parked, disconnected; empty if the host has
	// none. Switch is the UUID of its distributed switch, if it has one.
	Network     string
	NetworkName string
	Switch      string
}

// RebuildPlace finds a place for VMs on the given datastore, outside the
// resource pools of VDCs: a host that is connected and can write to it.
func (c *Client) RebuildPlace(ctx context.Context, datastoreRef string) (Place, error) {
	p, err := c.rebuildPlace(ctx, ref("Datastore", datastoreRef))
	if err != nil {
		return Place{}, fmt.Errorf("datastore %s: place to rebuild: %w", datastoreRef, err)
	}
	return p, nil
}

func (c *Client) rebuildPlace(ctx context.Context, ds types.ManagedObjectReference) (Place, error) {
	var m mo.Datastore
	if err := c.get(ctx, ds, &m, "summary.name", "summary.accessible", "host"); err != nil {
		return Place{}, err
	}
	p := Place{Datastore: ds.Value, DatastoreName: m.Summary.Name}
	host, err := c.chooseHost(ctx, m.Host)
	if err != nil {
		return Place{}, err
	}
	p.Host = host.Self.Value
	if host.Parent == nil {
		return Place{}, fmt.Errorf("host %s: no compute resource", p.Host)
	}
	var cr mo.ComputeResource
	if err := c.get(ctx, *host.Parent, &cr, "resourcePool"); err != nil {
		return Place{}, fmt.Errorf("%s: root resource pool: %w", host.Parent.Value, err)
	}
	p.ResourcePool = value(cr.ResourcePool)
	if p.Datacenter, err = c.datacenterPath(ctx, ds); err != nil {
		return Place{}, err
	}
	if p.Folder, err = c.rebuildFolder(ctx, p.Datacenter); err != nil {
		return Place{}, err
	}
	return p, c.parkNetwork(ctx, &p, host.Network)
}

// chooseHost returns a connected host, not in maintenance, that can write to
// the datastore mounted so.
func (c *Client) chooseHost(ctx context.Context, mounts []types.DatastoreHostMount) (*mo.HostSystem, error) {
	var usable []types.ManagedObjectReference
	for _, m := range mounts {
		i := m.MountInfo
		if isFalse(i.Accessible) || isFalse(i.Mounted) || i.AccessMode == string(types.HostMountModeReadOnly) {
			continue
		}
		usable = append(usable, m.Key)
	}
	if len(usable) == 0 {
		return nil, errors.New("no host can write to it")
	}
	var hosts []mo.HostSystem
	props := []string{"parent", "network", "runtime.connectionState", "runtime.inMaintenanceMode"}
	if err := property.DefaultCollector(c.vim).Retrieve(ctx, usable, props, &hosts); err != nil {
		return nil, fmt.Errorf("hosts: %w", explain(err))
	}
	for i := range hosts {
		if hosts[i].Runtime.ConnectionState == types.HostSystemConnectionStateConnected && !hosts[i].Runtime.InMaintenanceMode {
			return &hosts[i], nil
		}
	}
	return nil, fmt.Errorf("none of its %d hosts is connected and out of maintenance", len(usable))
}

func isFalse(b *bool) bool { return b != nil && !*b }

// rebuildFolder returns our VM folder in a datacenter and makes it if needed.
func (c *Client) rebuildFolder(ctx context.Context, datacenter string) (string, error) {
	dc, err := c.datacenter(ctx, datacenter)
	if err != nil {
		return "", err
	}
	var m mo.Datacenter
	if err := c.get(ctx, dc, &m, "vmFolder"); err != nil {
		return "", fmt.Errorf("datacenter %s: VM folder: %w", datacenter, err)
	}
	found, err := object.NewSearchIndex(c.vim).FindChild(ctx, m.VmFolder, FolderName)
	if err != nil {
		return "", fmt.Errorf("folder %s: %w", FolderName, explain(err))
	}
	if found != nil {
		if found.Reference().Type != "Folder" {
			return "", fmt.Errorf("folder %s: the name is taken by a %s", FolderName, found.Reference().Type)
		}
		return found.Reference().Value, nil
	}
	res, err := methods.CreateFolder(ctx, c.vim, &types.CreateFolder{This: m.VmFolder, Name: FolderName})
	if f, ok := faultAs[*types.DuplicateName](err); ok {
		return f.Object.Value, nil // somebody was faster
	}
	if err != nil {
		return "", fmt.Errorf("folder %s: create: %w", FolderName, explain(err))
	}
	return res.Returnval.Value, nil
}

// parkNetwork chooses a network of the host: a standard one, else a
// distributed port group.
func (c *Client) parkNetwork(ctx context.Context, p *Place, networks []types.ManagedObjectReference) error {
	var groups []types.ManagedObjectReference
	for _, n := range refs(networks) {
		switch n.Type {
		case "Network":
			name, err := c.networkName(ctx, n)
			if err != nil {
				return err
			}
			p.Network, p.NetworkName = n.Value, name
			return nil
		case "DistributedVirtualPortgroup":
			groups = append(groups, n)
		}
	}
	for _, n := range groups {
		var g mo.DistributedVirtualPortgroup
		if err := c.get(ctx, n, &g, "name", "config.uplink", "config.distributedVirtualSwitch"); err != nil {
			return fmt.Errorf("network %s: %w", n.Value, err)
		}
		if g.Config.Uplink != nil && *g.Config.Uplink || g.Config.DistributedVirtualSwitch == nil {
			continue
		}
		var s mo.DistributedVirtualSwitch
		if err := c.get(ctx, *g.Config.DistributedVirtualSwitch, &s, "uuid"); err != nil {
			return fmt.Errorf("network %s: switch: %w", n.Value, err)
		}
		p.Network, p.NetworkName, p.Switch = n.Value, g.Name, s.Uuid
		return nil
	}
	return nil
}

func (c *Client) networkName(ctx context.Context, n types.ManagedObjectReference) (string, error) {
	if name, ok := c.networks.load(n); ok {
		return name, nil
	}
	var m mo.Network
	if err := c.get(ctx, n, &m, "name"); err != nil {
		return "", fmt.Errorf("network %s: %w", n.Value, err)
	}
	c.networks.store(n, m.Name)
	return m.Name, nil
}

// Options returns options to rebuild a VM of the given name here.
func (p Place) Options(name string) RebuildOptions {
	return RebuildOptions{
		Name: name, Folder: p.Folder, ResourcePool: p.ResourcePool, Host: p.Host,
		Datastore: p.Datastore, DatastoreName: p.DatastoreName,
		Network: p.Network, NetworkName: p.NetworkName, Switch: p.Switch,
	}
}
