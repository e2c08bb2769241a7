package vcenter

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// An ovfWriter writes the OVF descriptor of one VM, in the version 1.1 that
// vCenter writes (DMTF DSP0243).
type ovfWriter struct {
	b       bytes.Buffer
	config  *types.VirtualMachineConfigInfo
	files   []types.OvfFile
	disks   map[int32]types.OvfFile // by device key
	parents map[int32]int           // instance ids of controllers, by key
	next    int                     // instance id
	network func(types.BaseVirtualDeviceBackingInfo) string
}

func (o *ovfWriter) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			var e bytes.Buffer
			_ = xml.EscapeText(&e, []byte(s)) // into memory: cannot fail
			args[i] = e.String()
		}
	}
	fmt.Fprintf(&o.b, format+"\n", args...)
}

const streamOptimized = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"

func (o *ovfWriter) write(name string) string {
	o.line(`<?xml version="1.0" encoding="UTF-8"?>`)
	o.line(`<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" ` +
		`xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" ` +
		`xmlns:vmw="http://www.vmware.com/schema/ovf" ` +
		`xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" ` +
		`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">`)
	o.line(`<References>`)
	for i, f := range o.files {
		o.line(`<File ovf:href="%s" ovf:id="file%d" ovf:size="%d"/>`, f.Path, i+1, f.Size)
	}
	o.line(`</References>`)
	o.line(`<DiskSection><Info>Virtual disk information</Info>`)
	for i, f := range o.files {
		if f.Capacity > 0 {
			o.line(`<Disk ovf:capacity="%d" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk%d" ovf:fileRef="file%d" ovf:format="%s" ovf:populatedSize="%d"/>`,
				f.Capacity, i+1, i+1, streamOptimized, f.PopulatedSize)
		}
	}
	o.line(`</DiskSection>`)
	o.networks()
	o.line(`<VirtualSystem ovf:id="%s"><Info>A virtual machine</Info><Name>%s</Name>`, name, name)
	o.line(`<OperatingSystemSection ovf:id="%d" vmw:osType="%s"><Info>The kind of installed guest operating system</Info></OperatingSystemSection>`, 1, o.config.GuestId)
	o.hardware(name)
	if o.config.Annotation != "" {
		o.line(`<AnnotationSection><Info>A human-readable annotation</Info><Annotation>%s</Annotation></AnnotationSection>`, o.config.Annotation)
	}
	o.line(`</VirtualSystem></Envelope>`)
	return o.b.String()
}

func (o *ovfWriter) networks() {
	seen := map[string]bool{}
	o.line(`<NetworkSection><Info>The list of logical networks</Info>`)
	for _, d := range o.config.Hardware.Device {
		card, ok := d.(types.BaseVirtualEthernetCard)
		if !ok {
			continue
		}
		if name := o.network(card.GetVirtualEthernetCard().Backing); !seen[name] {
			seen[name] = true
			o.line(`<Network ovf:name="%s"><Description>The %s network</Description></Network>`, name, name)
		}
	}
	o.line(`</NetworkSection>`)
}

func (o *ovfWriter) hardware(name string) {
	h := o.config.Hardware
	o.line(`<VirtualHardwareSection><Info>Virtual hardware requirements</Info>`)
	o.line(`<System><vssd:ElementName>Virtual Hardware Family</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID>`+
		`<vssd:VirtualSystemIdentifier>%s</vssd:VirtualSystemIdentifier><vssd:VirtualSystemType>%s</vssd:VirtualSystemType></System>`, name, o.config.Version)
	o.line(`<Item><rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits><rasd:Description>Number of Virtual CPUs</rasd:Description>`+
		`<rasd:ElementName>%d virtual CPU(s)</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>`+
		`<rasd:VirtualQuantity>%d</rasd:VirtualQuantity></Item>`, h.NumCPU, h.NumCPU)
	o.line(`<Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:Description>Memory Size</rasd:Description>`+
		`<rasd:ElementName>%dMB of memory</rasd:ElementName><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>`+
		`<rasd:VirtualQuantity>%d</rasd:VirtualQuantity></Item>`, h.MemoryMB, h.MemoryMB)
	o.next = 3
	for _, d := range h.Device {
		o.controller(d)
	}
	for _, d := range h.Device {
		switch x := d.(type) {
		case *types.VirtualDisk:
			o.disk(x)
		case types.BaseVirtualEthernetCard:
			o.card(d, x.GetVirtualEthernetCard())
		}
	}
	if o.config.Firmware != "" && o.config.Firmware != "bios" {
		o.line(`<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="%s"/>`, o.config.Firmware)
	}
	for i, f := range o.files {
		if f.Capacity == 0 && path.Ext(f.Path) == ".nvram" {
			o.line(`<vmw:ExtraConfig ovf:required="false" vmw:key="nvram" vmw:value="ovf:/file/file%d"/>`, i+1)
		}
	}
	o.line(`</VirtualHardwareSection>`)
}

// controller writes those that disks can be on and that some disk is on.
func (o *ovfWriter) controller(d types.BaseVirtualDevice) {
	c, ok := d.(types.BaseVirtualController)
	if !ok || !slices.ContainsFunc(o.config.Hardware.Device, func(x types.BaseVirtualDevice) bool {
		return isDisk(x) && x.GetVirtualDevice().ControllerKey == deviceKey(d)
	}) {
		return
	}
	kind, sub := 6, ""
	switch d.(type) {
	case *types.ParaVirtualSCSIController:
		sub = "VirtualSCSI"
	case *types.VirtualLsiLogicController:
		sub = "lsilogic"
	case *types.VirtualLsiLogicSASController:
		sub = "lsilogicsas"
	case *types.VirtualBusLogicController:
		sub = "buslogic"
	case types.BaseVirtualSATAController:
		kind, sub = 20, "vmware.sata.ahci"
	case *types.VirtualNVMEController:
		kind, sub = 20, "vmware.nvme.controller"
	case *types.VirtualIDEController:
		kind = 5
	}
	bus := c.GetVirtualController().BusNumber
	o.parents[deviceKey(d)] = o.next
	o.line(`<Item><rasd:Address>%d</rasd:Address><rasd:ElementName>Controller %d</rasd:ElementName><rasd:InstanceID>%d</rasd:InstanceID>`, bus, bus, o.next)
	if sub != "" {
		o.line(`<rasd:ResourceSubType>%s</rasd:ResourceSubType>`, sub)
	}
	o.line(`<rasd:ResourceType>%d</rasd:ResourceType></Item>`, kind)
	o.next++
}

func (o *ovfWriter) disk(d *types.VirtualDisk) {
	f, ok := o.disks[d.Key]
	if !ok {
		return // not exported
	}
	n := slices.IndexFunc(o.files, func(x types.OvfFile) bool { return x.DeviceId == f.DeviceId }) + 1
	unit := int32(0)
	if d.UnitNumber != nil {
		unit = *d.UnitNumber
	}
	label := fmt.Sprintf("Hard disk %d", n)
	if d.DeviceInfo != nil {
		label = d.DeviceInfo.GetDescription().Label
	}
	o.line(`<Item><rasd:AddressOnParent>%d</rasd:AddressOnParent><rasd:ElementName>%s</rasd:ElementName>`+
		`<rasd:HostResource>ovf:/disk/vmdisk%d</rasd:HostResource><rasd:InstanceID>%d</rasd:InstanceID>`+
		`<rasd:Parent>%d</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>`, unit, label, n, o.next, o.parents[d.ControllerKey])
	o.next++
}

func (o *ovfWriter) card(d types.BaseVirtualDevice, c *types.VirtualEthernetCard) {
	kind := "VmxNet3"
	switch d.(type) {
	case *types.VirtualE1000:
		kind = "E1000"
	case *types.VirtualE1000e:
		kind = "E1000e"
	}
	o.line(`<Item><rasd:AddressOnParent>%d</rasd:AddressOnParent><rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>`+
		`<rasd:Connection>%s</rasd:Connection><rasd:ElementName>Network adapter %d</rasd:ElementName><rasd:InstanceID>%d</rasd:InstanceID>`+
		`<rasd:ResourceSubType>%s</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType></Item>`,
		deviceKey(d)-3993, o.network(c.Backing), deviceKey(d)-3999, o.next, kind)
	o.next++
}

// networkNames finds the names of networks by what a card is connected to.
func (s *Server) networkNames(b types.BaseVirtualDeviceBackingInfo) string {
	switch x := b.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		return x.DeviceName
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		return s.nameOf(s.newContext(), types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: x.Port.PortgroupKey})
	}
	return "none"
}

// CreateDescriptor describes a VM whose disks were exported under a lease.
func (m *ovfManager) CreateDescriptor(ctx *simulator.Context, req *types.CreateDescriptor) soap.HasFault {
	fail := func(err error) soap.HasFault { return &methods.CreateDescriptorBody{Fault_: soapFault(err)} }
	vm, err := m.s.vm(req.Obj)
	if err != nil {
		return fail(refuse(&types.NotSupported{}, "OVF of %s: only VMs", req.Obj.Value))
	}
	o := &ovfWriter{files: req.Cdp.OvfFiles, disks: map[int32]types.OvfFile{}, parents: map[int32]int{}, network: m.s.networkNames}
	config := new(types.VirtualMachineConfigInfo)
	ctx.WithLock(vm, func() { err = deepCopy(*vm.Config, config) })
	if err != nil {
		return fail(err)
	}
	o.config = config
	for i, f := range o.files {
		for _, d := range config.Hardware.Device {
			disk, ok := d.(*types.VirtualDisk)
			if ok && strings.HasSuffix(f.DeviceId, "/"+slotName(config.Hardware.Device, disk)) {
				o.files[i].Capacity = disk.CapacityInBytes
				o.disks[disk.Key] = o.files[i]
			}
		}
	}
	name := req.Cdp.Name
	if name == "" {
		name = config.Name
	}
	return &methods.CreateDescriptorBody{Res: &types.CreateDescriptorResponse{
		Returnval: types.OvfCreateDescriptorResult{OvfDescriptor: o.write(name), IncludeImageFiles: types.NewBool(false)},
	}}
}

// CreateImportSpec has vcsim read the descriptor, and names the files as the
// leases here do.
func (m *ovfManager) CreateImportSpec(ctx *simulator.Context, req *types.CreateImportSpec) (body soap.HasFault) {
	defer func() {
		if recover() != nil { // vcsim takes for granted that all of a descriptor is there
			body = &methods.CreateImportSpecBody{Fault_: soapFault(refuse(
				&types.InvalidArgument{InvalidProperty: "ovfDescriptor"}, "the OVF descriptor lacks something"))}
		}
	}()
	body = m.OvfManager.CreateImportSpec(ctx, req)
	made, ok := body.(*methods.CreateImportSpecBody)
	if !ok || made.Res == nil {
		return body
	}
	spec, ok := made.Res.Returnval.ImportSpec.(*types.VirtualMachineImportSpec)
	if !ok {
		return body
	}
	var devices []types.BaseVirtualDevice
	var disks []*types.VirtualDisk
	provisioning := req.Cisp.GetOvfCreateImportSpecParams().DiskProvisioning
	for _, b := range spec.ConfigSpec.DeviceChange {
		d := b.GetVirtualDeviceConfigSpec().Device
		devices = append(devices, d)
		if disk, ok := d.(*types.VirtualDisk); ok {
			disks = append(disks, disk)
			if b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				b.ThinProvisioned = types.NewBool(provisioning == "thin" || provisioning == "sparse")
			}
		}
	}
	n := 0
	for i, item := range made.Res.Returnval.FileItem {
		if item.CimType == 17 && n < len(disks) {
			made.Res.Returnval.FileItem[i].DeviceId = fmt.Sprintf("/%s/%s", spec.ConfigSpec.Name, slotName(devices, disks[n]))
			n++
		}
	}
	return body
}
