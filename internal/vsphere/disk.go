package vsphere

import (
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/transport"
)

// Kinds of disks, by their backing.
const (
	KindFlat        = "flat"
	KindSESparse    = "sesparse"
	KindSparse      = "sparse"
	KindRDMPhysical = "rdm-physical"
	KindRDMVirtual  = "rdm-virtual"
	KindOther       = "other"
)

// A Disk is one virtual disk, as the hardware of a VM or of a snapshot lists
// it.
type Disk struct {
	Key            int32 // device key, 2000
	ControllerKey  int32
	Unit           int32
	BusNumber      int32  // of the controller
	ControllerType string // lsilogic, lsisas, buslogic, pvscsi, ahci, nvme, ide
	UUID           string // of the backing
	Label          string // "Hard disk 1"
	Capacity       int64  // bytes
	FileName       string // "[datastore1] web01/web01.vmdk"
	Datastore      string // name
	DatastoreRef   string // managed object reference
	DatastoreType  string // VMFS, NFS, NFS41, vsan, VVOL
	Mode           string // persistent, independent_persistent, …
	Thin           bool
	ChainDepth     int    // parents of the backing; 0 for a base disk
	ChangeID       string // UUID/sequence; empty without change tracking
	Kind           string
	Encrypted      bool
	Sharing        string // sharingMultiWriter, or the controller's virtualSharing, physicalSharing
	IndependentID  string // id of a first class (named) disk
	IOLimit        int64  // operations per second; 0 for none
}

// Snapshottable reports whether a snapshot of the VM freezes the disk, and if
// not, why not.
func (d Disk) Snapshottable() (bool, string) {
	switch {
	case strings.HasPrefix(d.Mode, "independent"):
		return false, "independent disks are left out of snapshots"
	case d.Kind == KindRDMPhysical:
		return false, "raw device mappings in physical mode are left out of snapshots"
	case d.Sharing == "sharingMultiWriter":
		return false, "the disk is shared with other VMs"
	case strings.HasSuffix(d.Sharing, "Sharing") && d.Sharing != string(types.VirtualSCSISharingNoSharing):
		return false, "the controller's bus is shared with other VMs"
	case d.Kind == KindOther:
		return false, "the disk's backing has no snapshots"
	}
	return true, ""
}

// A NIC is one network adapter.
type NIC struct {
	Key            int32
	Type           string // vmxnet3, e1000, e1000e, pcnet32, vmxnet, vmxnet2, sriov
	MAC            string
	AddressType    string // manual, generated, assigned
	Network        string // moref of the network or port group, or its name where there is no moref
	Connected      bool
	StartConnected bool
	Label          string
}

// disks picks the disks out of a VM's devices. Names and types of datastores
// are left to the caller.
func disks(devices []types.BaseVirtualDevice) []Disk {
	controllers := map[int32]types.BaseVirtualController{}
	for _, d := range devices {
		if c, ok := d.(types.BaseVirtualController); ok {
			controllers[c.GetVirtualController().Key] = c
		}
	}
	var list []Disk
	for _, d := range devices {
		if vd, ok := d.(*types.VirtualDisk); ok {
			list = append(list, disk(vd, controllers[vd.ControllerKey]))
		}
	}
	return list
}

func disk(vd *types.VirtualDisk, c types.BaseVirtualController) Disk {
	d := Disk{
		Key: vd.Key, ControllerKey: vd.ControllerKey, Unit: unit(vd), Label: label(vd.GetVirtualDevice()),
		Capacity: vd.CapacityInBytes,
	}
	if d.Capacity == 0 {
		d.Capacity = vd.CapacityInKB << 10
	}
	if vd.VDiskId != nil {
		d.IndependentID = vd.VDiskId.Id
	}
	if io := vd.StorageIOAllocation; io != nil && io.Limit != nil && *io.Limit > 0 {
		d.IOLimit = *io.Limit
	}
	d.backing(vd.Backing)
	if c != nil {
		d.BusNumber = c.GetVirtualController().BusNumber
		d.ControllerType = controllerType(c)
		if s := sharedBus(c); s != "" && d.Sharing == "" {
			d.Sharing = s
		}
	}
	return d
}

func unit(vd *types.VirtualDisk) int32 {
	if vd.UnitNumber == nil {
		return 0
	}
	return *vd.UnitNumber
}

func label(d *types.VirtualDevice) string {
	if d.DeviceInfo == nil {
		return ""
	}
	return d.DeviceInfo.GetDescription().Label
}

// backing fills in what the kinds of backing say, each in its own fields.
func (d *Disk) backing(b types.BaseVirtualDeviceBackingInfo) {
	d.Kind = KindOther
	switch b := b.(type) {
	case *types.VirtualDiskFlatVer2BackingInfo:
		d.Kind, d.Mode, d.UUID, d.ChangeID = KindFlat, b.DiskMode, b.Uuid, b.ChangeId
		d.Thin, d.Encrypted, d.Sharing = b.ThinProvisioned != nil && *b.ThinProvisioned, b.KeyId != nil, sharing(b.Sharing)
		if b.DeltaDiskFormat == string(types.VirtualDiskDeltaDiskFormatSeSparseFormat) {
			d.Kind = KindSESparse
		}
		for p := b.Parent; p != nil; p = p.Parent {
			d.ChainDepth++
			d.Encrypted = d.Encrypted || p.KeyId != nil
		}
	case *types.VirtualDiskSeSparseBackingInfo:
		d.Kind, d.Mode, d.UUID, d.ChangeID, d.Thin = KindSESparse, b.DiskMode, b.Uuid, b.ChangeId, true
		d.Encrypted = b.KeyId != nil
		for p := b.Parent; p != nil; p = p.Parent {
			d.ChainDepth++
		}
	case *types.VirtualDiskSparseVer2BackingInfo:
		d.Kind, d.Mode, d.UUID, d.ChangeID, d.Thin = KindSparse, b.DiskMode, b.Uuid, b.ChangeId, true
		d.Encrypted = b.KeyId != nil
		for p := b.Parent; p != nil; p = p.Parent {
			d.ChainDepth++
		}
	case *types.VirtualDiskRawDiskMappingVer1BackingInfo:
		d.Mode, d.UUID, d.ChangeID, d.Sharing = b.DiskMode, b.Uuid, b.ChangeId, sharing(b.Sharing)
		d.Kind = KindRDMVirtual
		if b.CompatibilityMode == string(types.VirtualDiskCompatibilityModePhysicalMode) {
			d.Kind = KindRDMPhysical
		}
		for p := b.Parent; p != nil; p = p.Parent {
			d.ChainDepth++
		}
	}
	if f, ok := b.(types.BaseVirtualDeviceFileBackingInfo); ok {
		info := f.GetVirtualDeviceFileBackingInfo()
		d.FileName = info.FileName
		d.Datastore = DatastoreOf(info.FileName)
		if info.Datastore != nil {
			d.DatastoreRef = info.Datastore.Value
		}
	}
}

func sharing(s string) string {
	if s == string(types.VirtualDiskSharingSharingNone) {
		return ""
	}
	return s
}

// controllerType returns the name that .vmx files use for a controller.
func controllerType(c types.BaseVirtualController) string {
	switch c.(type) {
	case *types.ParaVirtualSCSIController:
		return "pvscsi"
	case *types.VirtualLsiLogicSASController:
		return "lsisas"
	case *types.VirtualLsiLogicController:
		return "lsilogic"
	case *types.VirtualBusLogicController:
		return "buslogic"
	case types.BaseVirtualSATAController:
		return "ahci"
	case *types.VirtualNVMEController:
		return "nvme"
	case *types.VirtualIDEController:
		return "ide"
	}
	return "other"
}

// sharedBus returns how a controller shares its bus, empty if it does not.
func sharedBus(c types.BaseVirtualController) string {
	s := ""
	switch c := c.(type) {
	case types.BaseVirtualSCSIController:
		s = string(c.GetVirtualSCSIController().SharedBus)
	case *types.VirtualNVMEController:
		s = c.SharedBus
	}
	if s == string(types.VirtualSCSISharingNoSharing) {
		return ""
	}
	return s
}

// nics picks the network adapters out of a VM's devices.
func nics(devices []types.BaseVirtualDevice) []NIC {
	var list []NIC
	for _, d := range devices {
		b, ok := d.(types.BaseVirtualEthernetCard)
		if !ok {
			continue
		}
		e := b.GetVirtualEthernetCard()
		n := NIC{
			Key: e.Key, Type: nicType(b), MAC: e.MacAddress, AddressType: strings.ToLower(e.AddressType),
			Network: nicNetwork(e.Backing), Label: label(&e.VirtualDevice),
		}
		if e.Connectable != nil {
			n.Connected, n.StartConnected = e.Connectable.Connected, e.Connectable.StartConnected
		}
		list = append(list, n)
	}
	return list
}

func nicType(b types.BaseVirtualEthernetCard) string {
	switch b.(type) {
	case *types.VirtualVmxnet3, *types.VirtualVmxnet3Vrdma:
		return "vmxnet3"
	case *types.VirtualVmxnet2:
		return "vmxnet2"
	case *types.VirtualVmxnet:
		return "vmxnet"
	case *types.VirtualE1000:
		return "e1000"
	case *types.VirtualE1000e:
		return "e1000e"
	case *types.VirtualPCNet32:
		return "pcnet32"
	case *types.VirtualSriovEthernetCard:
		return "sriov"
	}
	return "other"
}

func nicNetwork(b types.BaseVirtualDeviceBackingInfo) string {
	switch b := b.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		if b.Network != nil {
			return b.Network.Value
		}
		return b.DeviceName
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		return b.Port.PortgroupKey
	case *types.VirtualEthernetCardOpaqueNetworkBackingInfo:
		return b.OpaqueNetworkId
	}
	return ""
}

// DatastoreOf returns the datastore in a datastore path, "[ds1] a/b" -> "ds1".
func DatastoreOf(path string) string {
	ds, _, ok := splitPath(path)
	if !ok {
		return ""
	}
	return ds
}

// splitPath takes a datastore path apart. The name of a datastore may hold
// brackets of its own; vCenter puts "] " behind it.
func splitPath(path string) (datastore, file string, ok bool) {
	rest, ok := strings.CutPrefix(path, "[")
	if !ok {
		return "", "", false
	}
	datastore, file, ok = strings.Cut(rest, "]")
	return datastore, strings.TrimPrefix(file, " "), ok && datastore != ""
}

// Transport is what a transport needs to know of the disk.
func (d Disk) Transport() transport.Disk {
	return transport.Disk{
		Key: d.Key, Capacity: d.Capacity, FileName: d.FileName, Datastore: d.Datastore, DatastoreType: d.DatastoreType,
		ChainDepth: d.ChainDepth, Kind: d.Kind, Encrypted: d.Encrypted,
		ControllerType: d.ControllerType, BusNumber: d.BusNumber, Unit: d.Unit,
	}
}
