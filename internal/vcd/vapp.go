package vcd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

type vappElement struct {
	ID             string        `xml:"id,attr"`
	Name           string        `xml:"name,attr"`
	Href           string        `xml:"href,attr"`
	Status         int           `xml:"status,attr"`
	Deployed       bool          `xml:"deployed,attr"`
	Links          []link        `xml:"Link"`
	Description    string        `xml:"Description"`
	Tasks          []taskElement `xml:"Tasks>Task"`
	Owner          reference     `xml:"Owner>User"`
	InMaintenance  bool          `xml:"InMaintenanceMode"`
	Created        string        `xml:"DateCreated"`
	AutoNature     bool          `xml:"autoNature"`
	NetworkConfigs []netElement  `xml:"NetworkConfigSection>NetworkConfig"`
	VMs            []vmElement   `xml:"Children>Vm"`
}

type netElement struct {
	Name       string    `xml:"networkName,attr"`
	Parent     reference `xml:"Configuration>ParentNetwork"`
	FenceMode  string    `xml:"Configuration>FenceMode"`
	IsDeployed bool      `xml:"IsDeployed"`
}

type vmElement struct {
	ID                 string `xml:"id,attr"`
	Name               string `xml:"name,attr"`
	Href               string `xml:"href,attr"`
	Status             int    `xml:"status,attr"`
	Deployed           bool   `xml:"deployed,attr"`
	NeedsCustomization bool   `xml:"needsCustomization,attr"`
	Description        string `xml:"Description"`
	ScopedLocalID      string `xml:"VAppScopedLocalId"`
	ComputerName       string `xml:"GuestCustomizationSection>ComputerName"`
	VimInfos           []struct {
		VM        vimRef   `xml:"VmVimObjectRef"`
		Datastore vimRef   `xml:"DatastoreVimObjectRef"`
		Disks     []vimRef `xml:"VmDiskDatastores"`
		Host      vimRef   `xml:"HostVimObjectRef"`
		MaxChain  int      `xml:"VirtualDisksMaxChainLength"`
	} `xml:"VCloudExtension>VmVimInfo"`
	StorageProfile reference `xml:"StorageProfile"`
	Policy         struct {
		Placement reference `xml:"VmPlacementPolicy"`
		Sizing    reference `xml:"VmSizingPolicy"`
	} `xml:"ComputePolicy"`
	Media     reference  `xml:"Media"`
	Snapshots []struct{} `xml:"SnapshotSection>Snapshot"`
	Items     []rasdItem `xml:"VirtualHardwareSection>Item"`
	Primary   int        `xml:"NetworkConnectionSection>PrimaryNetworkConnectionIndex"`
	NICs      []struct {
		Network   string `xml:"network,attr"`
		Index     int    `xml:"NetworkConnectionIndex"`
		IP        string `xml:"IpAddress"`
		Connected bool   `xml:"IsConnected"`
		MAC       string `xml:"MACAddress"`
		Mode      string `xml:"IpAddressAllocationMode"`
		Adapter   string `xml:"NetworkAdapterType"`
	} `xml:"NetworkConnectionSection>NetworkConnection"`
}

type vimRef struct {
	InstanceID string    `xml:"instanceId,attr"`
	Server     reference `xml:"VimServerRef"`
	MoRef      string    `xml:"MoRef"`
}

// rasdItem is one item of the OVF hardware section.
type rasdItem struct {
	InstanceID   string `xml:"InstanceID"`
	ElementName  string `xml:"ElementName"`
	ResourceType string `xml:"ResourceType"`
	Quantity     string `xml:"VirtualQuantity"`
	HostResource []struct {
		Capacity       string `xml:"capacity,attr"` // MiB
		StorageProfile string `xml:"storageProfileHref,attr"`
		Disk           string `xml:"disk,attr"`
	} `xml:"HostResource"`
}

const hardDisk = "17" // CIM resource type

// ParseVApp reads a vApp document (VAppType). Org is not in it.
func ParseVApp(raw []byte) (*VApp, error) {
	var e vappElement
	if err := parse(raw, "VApp", &e); err != nil {
		return nil, err
	}
	v := &VApp{
		ID: e.ID, Name: e.Name, Href: e.Href, Description: e.Description,
		Status: e.Status, Deployed: e.Deployed, InMaintenance: e.InMaintenance, AutoNature: e.AutoNature, Created: parseTime(e.Created),
		Owner: ref(e.Owner), Raw: raw,
	}
	if v.ID == "" {
		v.ID = URN(e.Href)
	}
	networks := make(map[string]string)
	for _, l := range e.Links {
		switch {
		case l.Rel == "up" && strings.EqualFold(bareType(l.Type), TypeVDC):
			v.VDC = ref(reference{Href: l.Href, Name: l.Name, Type: l.Type})
		case l.Rel == "down" && strings.EqualFold(bareType(l.Type), TypeVAppNetwork):
			networks[l.Name] = l.Href
		}
	}
	for _, n := range e.NetworkConfigs {
		v.Networks = append(v.Networks, VAppNetwork{
			Name: n.Name, Href: networks[n.Name], ParentName: n.Parent.Name, ParentHref: n.Parent.Href,
			FenceMode: n.FenceMode, Deployed: n.IsDeployed,
		})
	}
	for _, vm := range e.VMs {
		v.VMs = append(v.VMs, vm.vm())
	}
	for _, t := range e.Tasks {
		v.Tasks = append(v.Tasks, t.task())
	}
	return v, nil
}

// ParseVM reads the document of one VM (VmType).
func ParseVM(raw []byte) (*VM, error) {
	var e vmElement
	if err := parse(raw, "Vm", &e); err != nil {
		return nil, err
	}
	vm := e.vm()
	return &vm, nil
}

func (e vmElement) vm() VM {
	vm := VM{
		ID: e.ID, Name: e.Name, Href: e.Href, Description: e.Description, Status: e.Status, Deployed: e.Deployed,
		NeedsCustomization: e.NeedsCustomization, VAppScopedLocalID: e.ScopedLocalID,
		StorageProfile: ref(e.StorageProfile), ComputerName: e.ComputerName,
		SnapshotCount: len(e.Snapshots), Media: ref(e.Media), Disks: e.disks(),
	}
	if vm.ID == "" {
		vm.ID = URN(e.Href)
	}
	for _, p := range []reference{e.Policy.Placement, e.Policy.Sizing} {
		if p.Href != "" {
			vm.ComputePolicies = append(vm.ComputePolicies, ref(p))
		}
	}
	for _, n := range e.NICs {
		vm.NICs = append(vm.NICs, NIC{
			Index: n.Index, Network: n.Network, Connected: n.Connected, Primary: n.Index == e.Primary,
			MAC: n.MAC, IP: n.IP, Mode: n.Mode, Adapter: n.Adapter,
		})
	}
	if len(e.VimInfos) > 0 {
		info := e.VimInfos[0]
		server := ref(info.VM.Server)
		vm.VimInfo = VimInfo{
			VCenterID: server.ID, VCenterHref: server.Href, VCenterName: server.Name,
			VMMoRef: info.VM.MoRef, HostMoRef: info.Host.MoRef, DatastoreMoRef: info.Datastore.MoRef,
			MaxChainLength: info.MaxChain,
		}
		for _, d := range info.Disks {
			vm.VimInfo.Datastores = append(vm.VimInfo.Datastores, DiskDatastore{d.InstanceID, d.MoRef})
		}
	}
	return vm
}

func (e vmElement) disks() []VMDisk {
	var disks []VMDisk
	for _, item := range e.Items {
		if item.ResourceType != hardDisk {
			continue
		}
		d := VMDisk{InstanceID: item.InstanceID, Name: item.ElementName}
		for _, h := range item.HostResource {
			d.StorageProfileHref, d.NamedDisk = h.StorageProfile, h.Disk
			if mb, err := strconv.ParseInt(h.Capacity, 10, 32); err == nil {
				d.Capacity = mb << 20
			}
		}
		// The quantity is in bytes, and exact; old servers leave it out.
		if bytes, err := strconv.ParseInt(item.Quantity, 10, 64); err == nil && bytes > 0 {
			d.Capacity = bytes
		}
		disks = append(disks, d)
	}
	return disks
}

// VApp fetches a vApp by its URN or href.
func (c *Client) VApp(ctx context.Context, id string) (*VApp, error) {
	doc, err := c.getByID(ctx, id)
	if err != nil {
		return nil, err
	}
	v, err := ParseVApp(doc.Raw)
	if err != nil {
		return nil, fmt.Errorf("vApp %s: %w", id, err)
	}
	if UUID(v.ID) == "" || UUID(v.ID) != UUID(id) {
		return nil, fmt.Errorf("vApp %s: the server answered with vApp %.80q", id, v.ID)
	}
	home, err := c.orgOfVDC(ctx, v.VDC.Href)
	if err != nil {
		return nil, fmt.Errorf("vApp %s: find its org: %w", v.Name, err)
	}
	v.Org = home.org
	if v.VDC.Name == "" {
		v.VDC.Name = home.name
	}
	return v, nil
}

// VM fetches one VM by its URN or href.
func (c *Client) VM(ctx context.Context, id string) (*VM, error) {
	doc, err := c.getByID(ctx, id)
	if err != nil {
		return nil, err
	}
	vm, err := ParseVM(doc.Raw)
	if err != nil {
		return nil, fmt.Errorf("VM %s: %w", id, err)
	}
	return vm, nil
}
