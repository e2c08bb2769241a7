package vsphere

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// controllerKeyPCI is the device key of the PCI bus that every VM has.
const controllerKeyPCI = 100

// place is what a rebuilt device keeps of the old one: its key and where it
// sits, so that the guest finds it where it was.
func (r *rebuilder) place(d *types.VirtualDevice) types.VirtualDevice {
	out := types.VirtualDevice{Key: d.Key, ControllerKey: d.ControllerKey, UnitNumber: d.UnitNumber}
	if !r.scratch {
		if slot, ok := d.SlotInfo.(*types.VirtualDevicePciBusSlotInfo); ok {
			out.SlotInfo = slot
		}
	}
	return out
}

// onBus is place for a controller: its unit on the PCI bus is vCenter's.
func (r *rebuilder) onBus(c *types.VirtualController) types.VirtualController {
	d := r.place(&c.VirtualDevice)
	d.ControllerKey, d.UnitNumber = controllerKeyPCI, nil
	return types.VirtualController{VirtualDevice: d, BusNumber: c.BusNumber}
}

// controller rebuilds a controller. Those that every VM has (PCI, PS/2, Super
// I/O, and two of IDE, keys 200 and 201) are not added.
func (r *rebuilder) controller(d types.BaseVirtualDevice) {
	switch c := d.(type) {
	case *types.ParaVirtualSCSIController:
		r.add(&types.ParaVirtualSCSIController{VirtualSCSIController: r.scsi(&c.VirtualSCSIController)})
	case *types.VirtualLsiLogicController:
		r.add(&types.VirtualLsiLogicController{VirtualSCSIController: r.scsi(&c.VirtualSCSIController)})
	case *types.VirtualLsiLogicSASController:
		r.add(&types.VirtualLsiLogicSASController{VirtualSCSIController: r.scsi(&c.VirtualSCSIController)})
	case *types.VirtualBusLogicController:
		r.add(&types.VirtualBusLogicController{VirtualSCSIController: r.scsi(&c.VirtualSCSIController)})
	case *types.VirtualAHCIController:
		r.add(&types.VirtualAHCIController{
			VirtualSATAController: types.VirtualSATAController{VirtualController: r.onBus(&c.VirtualController)},
		})
	case *types.VirtualNVMEController:
		r.shared(label(&c.VirtualDevice), c.SharedBus)
		r.add(&types.VirtualNVMEController{VirtualController: r.onBus(&c.VirtualController)})
	case *types.VirtualUSBController:
		r.add(&types.VirtualUSBController{
			VirtualController: r.onBus(&c.VirtualController), EhciEnabled: c.EhciEnabled, AutoConnectDevices: types.NewBool(false),
		})
	case *types.VirtualUSBXHCIController:
		r.add(&types.VirtualUSBXHCIController{
			VirtualController: r.onBus(&c.VirtualController), AutoConnectDevices: types.NewBool(false),
		})
	}
}

func (r *rebuilder) scsi(c *types.VirtualSCSIController) types.VirtualSCSIController {
	r.shared(label(&c.VirtualDevice), string(c.SharedBus))
	return types.VirtualSCSIController{
		VirtualController: r.onBus(&c.VirtualController), HotAddRemove: c.HotAddRemove,
		SharedBus: types.VirtualSCSISharingNoSharing, ScsiCtlrUnitNumber: c.ScsiCtlrUnitNumber,
	}
}

func (r *rebuilder) shared(label, bus string) {
	if bus != "" && bus != string(types.VirtualSCSISharingNoSharing) {
		r.note(label, "the bus was shared with other VMs (%s) and is rebuilt for one", bus)
	}
}

// device rebuilds everything that is not a controller.
func (r *rebuilder) device(d types.BaseVirtualDevice) {
	name := label(d.GetVirtualDevice())
	switch d := d.(type) {
	case *types.VirtualDisk:
		r.disk(d)
	case types.BaseVirtualEthernetCard:
		r.nic(d)
	case *types.VirtualCdrom:
		r.cdrom(d)
	case *types.VirtualFloppy:
		r.floppy(d)
	case *types.VirtualMachineVideoCard:
		if d.NumDisplays > 1 || d.Enable3DSupport != nil && *d.Enable3DSupport {
			r.note(name, "displays and 3D graphics go back to their defaults")
		}
	case *types.VirtualTPM:
		r.note(name, "a virtual TPM is not carried over: without its keys it comes back blank, and whatever it sealed stays locked")
	case *types.VirtualPCIPassthrough:
		r.note(name, "passthrough devices belong to a host and are not carried over")
	case *types.VirtualUSB:
		r.note(name, "USB devices belong to a host and are not carried over")
	case *types.VirtualSCSIPassthrough:
		r.note(name, "SCSI passthrough devices belong to a host and are not carried over")
	case types.BaseVirtualController, *types.VirtualKeyboard, *types.VirtualPointingDevice, *types.VirtualMachineVMCIDevice:
		// Controllers are there already; the others every VM has.
	default:
		r.note(name, "devices of type %s are not carried over", strings.TrimPrefix(fmt.Sprintf("%T", d), "*types."))
	}
}

// disk rebuilds a disk as an empty one, thin unless its place says otherwise.
func (r *rebuilder) disk(d *types.VirtualDisk) {
	if slices.Contains(r.o.LeaveDisks, d.Key) {
		return
	}
	was := disk(d, nil)
	mode := was.Mode
	if mode == "" || strings.HasPrefix(mode, "independent") && r.scratch {
		mode = string(types.VirtualDiskModePersistent)
	}
	b := &types.VirtualDiskFlatVer2BackingInfo{DiskMode: mode, ThinProvisioned: types.NewBool(true)}
	at, ok := r.o.Disks[d.Key]
	if !ok {
		at = DiskPlace{Datastore: r.o.Datastore, DatastoreName: r.o.DatastoreName}
	}
	if at.Thick {
		b.ThinProvisioned = types.NewBool(false)
		if flat, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			b.EagerlyScrub = flat.EagerlyScrub
		}
	}
	if at.DatastoreName != "" {
		b.FileName = "[" + at.DatastoreName + "]"
	}
	if at.Datastore != "" {
		ds := ref("Datastore", at.Datastore)
		b.Datastore = &ds
	}
	if r.o.KeepUUID {
		b.Uuid = was.UUID
	}
	switch {
	case was.Kind == KindRDMPhysical || was.Kind == KindRDMVirtual:
		r.note(was.Label, "the raw device mapping is rebuilt as a disk file")
	case was.Encrypted:
		r.note(was.Label, "the disk was encrypted and is rebuilt without encryption")
	}
	if was.Sharing != "" {
		r.note(was.Label, "the disk was shared with other VMs (%s) and is rebuilt for one", was.Sharing)
	}
	if was.IndependentID != "" && !r.scratch {
		r.note(was.Label, "the named disk is rebuilt as a disk of the VM")
	}
	out := &types.VirtualDisk{VirtualDevice: r.place(&d.VirtualDevice), CapacityInKB: was.Capacity >> 10, CapacityInBytes: was.Capacity}
	out.Backing = b
	r.add(out)
}

// nic rebuilds a network adapter, disconnected and parked.
func (r *rebuilder) nic(d types.BaseVirtualEthernetCard) {
	old := d.GetVirtualEthernetCard()
	name := label(&old.VirtualDevice)
	if r.o.NetworkName == "" {
		r.note(name, "left out: there is no network to park it on")
		return
	}
	card := types.VirtualEthernetCard{
		VirtualDevice: r.place(&old.VirtualDevice), AddressType: string(types.VirtualEthernetCardMacTypeGenerated),
		WakeOnLanEnabled: old.WakeOnLanEnabled, UptCompatibilityEnabled: old.UptCompatibilityEnabled,
	}
	card.ControllerKey, card.UnitNumber = controllerKeyPCI, nil
	card.Backing = r.parked()
	card.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: false, Connected: false, AllowGuestControl: true}
	if r.o.KeepMAC && old.MacAddress != "" && !r.o.NewMACs[strings.ToLower(old.MacAddress)] {
		card.AddressType, card.MacAddress = string(types.VirtualEthernetCardMacTypeManual), old.MacAddress
		if strings.HasPrefix(strings.ToLower(old.MacAddress), "00:0c:29") {
			r.note(name, "the address %s is from a range that vSphere assigns itself; it may refuse to power the VM on with it", old.MacAddress)
		}
	}
	r.add(r.adapter(d, card, name))
}

// parked is a backing on the network that the options name.
func (r *rebuilder) parked() types.BaseVirtualDeviceBackingInfo {
	if r.o.Switch != "" {
		return &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
			Port: types.DistributedVirtualSwitchPortConnection{SwitchUuid: r.o.Switch, PortgroupKey: r.o.Network},
		}
	}
	b := &types.VirtualEthernetCardNetworkBackingInfo{
		VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: r.o.NetworkName},
	}
	if r.o.Network != "" {
		n := ref("Network", r.o.Network)
		b.Network = &n
	}
	return b
}

// adapter gives the card the type that the old one had.
func (r *rebuilder) adapter(old types.BaseVirtualEthernetCard, card types.VirtualEthernetCard, name string) types.BaseVirtualDevice {
	switch old := old.(type) {
	case *types.VirtualE1000:
		return &types.VirtualE1000{VirtualEthernetCard: card}
	case *types.VirtualE1000e:
		return &types.VirtualE1000e{VirtualEthernetCard: card}
	case *types.VirtualPCNet32:
		return &types.VirtualPCNet32{VirtualEthernetCard: card}
	case *types.VirtualVmxnet3Vrdma:
		return &types.VirtualVmxnet3Vrdma{VirtualVmxnet3: types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}, DeviceProtocol: old.DeviceProtocol}
	case *types.VirtualVmxnet3:
		return &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}
	case *types.VirtualVmxnet2:
		return &types.VirtualVmxnet2{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}
	case *types.VirtualVmxnet:
		return &types.VirtualVmxnet{VirtualEthernetCard: card}
	}
	r.note(name, "adapters of type %s are rebuilt as vmxnet3", strings.TrimPrefix(fmt.Sprintf("%T", old), "*types."))
	return &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}
}

// cdrom rebuilds a CD drive, empty.
func (r *rebuilder) cdrom(d *types.VirtualCdrom) {
	if b, ok := d.Backing.(*types.VirtualCdromIsoBackingInfo); ok {
		r.note(label(&d.VirtualDevice), "rebuilt empty; %s was inserted", b.FileName)
	}
	out := &types.VirtualCdrom{VirtualDevice: r.place(&d.VirtualDevice)}
	out.SlotInfo = nil
	none := types.VirtualDeviceRemoteDeviceBackingInfo{UseAutoDetect: types.NewBool(false)}
	out.Backing = &types.VirtualCdromRemotePassthroughBackingInfo{VirtualDeviceRemoteDeviceBackingInfo: none}
	if _, ok := d.Backing.(*types.VirtualCdromRemoteAtapiBackingInfo); ok {
		out.Backing = &types.VirtualCdromRemoteAtapiBackingInfo{VirtualDeviceRemoteDeviceBackingInfo: none}
	}
	out.Connectable = &types.VirtualDeviceConnectInfo{AllowGuestControl: true}
	r.add(out)
}

// floppy rebuilds a floppy drive, empty.
func (r *rebuilder) floppy(d *types.VirtualFloppy) {
	if b, ok := d.Backing.(*types.VirtualFloppyImageBackingInfo); ok {
		r.note(label(&d.VirtualDevice), "rebuilt empty; %s was inserted", b.FileName)
	}
	out := &types.VirtualFloppy{VirtualDevice: r.place(&d.VirtualDevice)}
	out.SlotInfo = nil
	out.Backing = &types.VirtualFloppyRemoteDeviceBackingInfo{
		VirtualDeviceRemoteDeviceBackingInfo: types.VirtualDeviceRemoteDeviceBackingInfo{UseAutoDetect: types.NewBool(false)},
	}
	out.Connectable = &types.VirtualDeviceConnectInfo{AllowGuestControl: true}
	r.add(out)
}
