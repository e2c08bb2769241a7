package director

import (
	"fmt"
	"strconv"

	"github.com/vmware/govmomi/vim25/types"
)

// rasdNames are the elements of a hardware item in the schema's order. vCD
// writes all but a few of them, nil where there is nothing to say.
var rasdNames = []string{
	"Address", "AddressOnParent", "AllocationUnits", "AutomaticAllocation", "AutomaticDeallocation", "Caption", "ChangeableType",
	"ConfigurationName", "Connection", "ConsumerVisibility", "Description", "ElementName", "Generation", "HostResource", "InstanceID", "Limit",
	"MappingBehavior", "OtherResourceType", "Parent", "PoolID", "Reservation", "ResourceSubType", "ResourceType", "VirtualQuantity",
	"VirtualQuantityUnits", "Weight",
}

// fewer are left out when empty.
var fewer = map[string]bool{"Connection": true, "HostResource": true}

// item makes an ovf:Item of pairs of element and text. Nodes stand for
// elements that have attributes.
func item(values map[string]string, nodes ...*node) *node {
	it := el("ovf:Item")
	for _, name := range rasdNames {
		v, has := values[name]
		for _, n := range nodes {
			if n != nil && n.Tag == name {
				add(it, n)
				has = true
				v = "\x00"
			}
		}
		switch {
		case v == "\x00":
		case has:
			add(it, text("rasd:"+name, v))
		case !fewer[name]:
			add(it, nilled("rasd:"+name))
		}
	}
	return it
}

// A bus is a disk controller as vCD numbers it.
type bus struct {
	key              int32
	number           int
	kind             int // rasd resource type: 5 IDE, 6 SCSI, 20 other
	subType, caption string
}

func busOf(d types.BaseVirtualDevice) (bus, bool) {
	b := bus{key: d.GetVirtualDevice().Key}
	if c, is := d.(types.BaseVirtualController); is {
		b.number = int(c.GetVirtualController().BusNumber)
	}
	switch d.(type) {
	case *types.VirtualIDEController:
		b.kind, b.caption = 5, "IDE Controller"
	case *types.ParaVirtualSCSIController:
		b.kind, b.subType, b.caption = 6, "VirtualSCSI", "SCSI Controller"
	case *types.VirtualLsiLogicSASController:
		b.kind, b.subType, b.caption = 6, "lsilogicsas", "SCSI Controller"
	case *types.VirtualBusLogicController:
		b.kind, b.subType, b.caption = 6, "buslogic", "SCSI Controller"
	case *types.VirtualLsiLogicController, *types.VirtualSCSIController:
		b.kind, b.subType, b.caption = 6, "lsilogic", "SCSI Controller"
	case *types.VirtualAHCIController, *types.VirtualSATAController:
		b.kind, b.subType, b.caption = 20, "vmware.sata.ahci", "SATA Controller"
	case *types.VirtualNVMEController:
		b.kind, b.subType, b.caption = 20, "vmware.nvme.controller", "NVMe Controller"
	default:
		return b, false
	}
	return b, true
}

// adapterTypes are the numbers of VmSpecSection's disk adapters.
var adapterTypes = map[string]string{
	"": "1", "buslogic": "2", "lsilogic": "3", "lsilogicsas": "4", "VirtualSCSI": "5", "vmware.sata.ahci": "6", "vmware.nvme.controller": "7",
}

// buses are the controllers that hold disks or drives, and the SCSI ones.
func (f *facts) buses() []bus {
	used := map[int32]bool{}
	for _, d := range f.devices() {
		switch d.(type) {
		case *types.VirtualDisk, *types.VirtualCdrom:
			used[d.GetVirtualDevice().ControllerKey] = true
		}
	}
	var out []bus
	for _, d := range f.devices() {
		if b, is := busOf(d); is && (used[b.key] || b.kind == 6) {
			out = append(out, b)
		}
	}
	return out
}

// hardwareSection is the VM's hardware as vCenter has it.
func (c *call) hardwareSection(m *vm) (string, *node) {
	typ, href := mediaVCloud+"virtualHardwareSection", c.s.vmHref(m)+"/virtualHardwareSection/"
	d := el("ovf:VirtualHardwareSection", "vcloud:type", typ+"+xml", "vcloud:href", href)
	d.CreateAttr("ovf:transport", "")
	add(d, text("ovf:Info", "Virtual hardware requirements"), systemNode(m))
	add(d, c.items(m, "")...)
	add(d, m.extraItems()...)
	add(d, link("edit", href, typ+"+xml"))
	for _, p := range []string{"cpu", "memory"} {
		add(d, link("down", href+p, mediaVCloud+"rasdItem+xml"), link("edit", href+p, mediaVCloud+"rasdItem+xml"))
	}
	for _, p := range []string{"disks", "media", "networkCards", "serialPorts"} {
		add(d, link("down", href+p, mediaVCloud+"rasdItemsList+xml"))
		if p != "media" {
			add(d, link("edit", href+p, mediaVCloud+"rasdItemsList+xml"))
		}
	}
	return typ, d
}

// systemParts are the elements of a vssd:System, of which vCD knows a few.
var systemParts = []string{"AutomaticRecoveryAction", "AutomaticShutdownAction", "AutomaticStartupAction", "AutomaticStartupActionDelay",
	"AutomaticStartupActionSequenceNumber", "Caption", "ChangeableType", "ConfigurationDataRoot", "ConfigurationFile", "ConfigurationID",
	"ConfigurationName", "CreationTime", "Description", "ElementName", "Generation", "InstanceID", "LogDataRoot", "RecoveryFile",
	"SnapshotDataRoot", "SuspendDataRoot", "SwapFileDataRoot", "VirtualSystemIdentifier", "VirtualSystemType"}

// systemNode is a VM's ovf:System, in which vCD says of every part that it does
// not know that it is nil.
// nilled is an element without a value. It declares its prefix itself, as vCD's
// does (recorded documents of 9.0): there are clients that send hardware back
// as the text that they found (ExtraConfig of go-vcloud-director).
func nilled(tag string) *node { return el(tag, "xmlns:xsi", nsXSI, "xsi:nil", "true") }

func systemNode(m *vm) *node {
	known := map[string]string{"ElementName": "Virtual Hardware Family", "InstanceID": "0", "VirtualSystemIdentifier": m.name,
		"VirtualSystemType": m.facts.config.Version}
	d := el("ovf:System")
	for _, part := range systemParts {
		if v, is := known[part]; is {
			add(d, text("vssd:"+part, v))
			continue
		}
		add(d, nilled("vssd:"+part))
	}
	return d
}

// items are the hardware items of one part of a VM; all of them when it is "".
func (c *call) items(m *vm, part string) []*node {
	instance := 0
	next := func() string { instance++; return strconv.Itoa(instance) }
	nics, disks, media := c.cardItems(m, next), []*node(nil), []*node(nil)
	for _, b := range m.facts.buses() {
		id := next()
		disks = append(disks, controllerItem(b, id))
		for _, dev := range m.facts.devices() {
			if dev.GetVirtualDevice().ControllerKey != b.key {
				continue
			}
			switch t := dev.(type) {
			case *types.VirtualDisk:
				disks = append(disks, c.diskItem(m, t, b, id))
			case *types.VirtualCdrom:
				media = append(media, c.driveItem(m, t, id))
			}
		}
	}
	for _, dev := range m.facts.devices() {
		if t, is := dev.(*types.VirtualFloppy); is {
			media = append(media, driveItem(t.Key, t.UnitNumber, "Floppy Drive", "14", "vmware.floppy.device", "", ""))
		}
	}
	cpu, mem := c.cpuItem(m, next()), c.memoryItem(m, next())
	switch part {
	case "cpu":
		return []*node{cpu}
	case "memory":
		return []*node{mem}
	case "disks":
		return disks
	case "media":
		return media
	case "networkCards":
		return nics
	case "serialPorts":
		return nil
	}
	return append(append(append(append(nics, disks...), media...), cpu), mem)
}

func (c *call) cardItems(m *vm, next func() string) []*node {
	var out []*node
	for _, n := range m.nics {
		conn := el("rasd:Connection", "xmlns:vcloud", nsVCloud, "vcloud:ipAddress", n.ip, "vcloud:ipAddressingMode", n.mode, "vcloud:primaryNetworkConnection", yes(n.index == m.primary))
		conn.SetText(n.network)
		out = append(out, item(map[string]string{
			"Address": n.mac, "AddressOnParent": num(n.index), "AutomaticAllocation": yes(n.connected),
			"Description": fmt.Sprintf("%s ethernet adapter on %q", n.adapter, n.network), "ElementName": "Network adapter " + num(n.index),
			"InstanceID": next(), "ResourceSubType": n.adapter, "ResourceType": "10",
		}, conn))
	}
	return out
}

func controllerItem(b bus, id string) *node {
	v := map[string]string{
		"Address": num(b.number), "Description": b.caption, "ElementName": b.caption + " " + num(b.number), "InstanceID": id, "ResourceType": num(b.kind),
	}
	if b.subType != "" {
		v["ResourceSubType"] = b.subType
	}
	return item(v)
}

func (c *call) diskItem(m *vm, d *types.VirtualDisk, b bus, parent string) *node {
	size, unit := capacity(d), int32(0)
	if d.UnitNumber != nil {
		unit = *d.UnitNumber
	}
	own, named, href := m.diskProfiles[d.Key], c.s.namedDisk(m, d), ""
	if named != nil {
		own, href = named.profile, c.s.diskHref(named)
	}
	host := el("rasd:HostResource", "xmlns:vcloud", nsVCloud, "vcloud:storageProfileHref", c.s.href("/api/vdcStorageProfile/"+or(own, m.profile)), "vcloud:busType", num(b.kind),
		"vcloud:busSubType", b.subType, "vcloud:capacity", num(size>>20), "vcloud:iops", num(iopsOf(d)), "vcloud:storageProfileOverrideVmDefault", yes(own != ""),
		"vcloud:disk", href)
	name := fmt.Sprintf("Hard disk %d", d.Key-1999)
	if d.DeviceInfo != nil {
		name = d.DeviceInfo.GetDescription().Label
	}
	return item(map[string]string{
		"AddressOnParent": num(unit), "Description": "Hard disk", "ElementName": name, "InstanceID": num(d.Key), "Parent": parent,
		"ResourceType": "17", "VirtualQuantity": num(size), "VirtualQuantityUnits": "byte",
	}, host)
}

// driveItem is a CD drive with what is in it.
func (c *call) driveItem(m *vm, d *types.VirtualCdrom, parent string) *node {
	in, kind := "", "vmware.cdrom.remoteatapi"
	switch b := d.Backing.(type) {
	case *types.VirtualCdromIsoBackingInfo:
		in, kind = b.FileName, "vmware.cdrom.iso"
		if id := m.inserted[d.Key]; id != "" {
			in = c.s.href("/api/media/" + id)
		}
	case *types.VirtualCdromRemotePassthroughBackingInfo:
		kind = "vmware.cdrom.remotepassthrough"
	}
	return driveItem(d.Key, d.UnitNumber, "CD/DVD Drive", "15", kind, parent, in)
}

func driveItem(key int32, unit *int32, what, typ, kind, parent, in string) *node {
	u := int32(0)
	if unit != nil {
		u = *unit
	}
	v := map[string]string{
		"AddressOnParent": num(u), "AutomaticAllocation": yes(in != ""), "Description": what, "ElementName": what + " 1", "HostResource": in,
		"InstanceID": num(key), "ResourceType": typ, "ResourceSubType": kind,
	}
	if parent != "" {
		v["Parent"] = parent
	}
	return item(v)
}

func (c *call) cpuItem(m *vm, id string) *node {
	hw, sh := m.facts.config.Hardware, shareOf(m.facts.config.CpuAllocation)
	it := item(map[string]string{
		"AllocationUnits": "hertz * 10^6", "Description": "Number of Virtual CPUs", "ElementName": num(hw.NumCPU) + " virtual CPU(s)",
		"InstanceID": id, "Reservation": num(sh.reservation), "ResourceType": "3", "VirtualQuantity": num(hw.NumCPU), "Weight": num(sh.shares),
	})
	cores := int32(1)
	if hw.NumCoresPerSocket != nil && *hw.NumCoresPerSocket > 0 {
		cores = *hw.NumCoresPerSocket
	}
	return c.editable(m, add(it, text("vmw:CoresPerSocket", num(cores), "ovf:required", "false")), "cpu")
}

func (c *call) memoryItem(m *vm, id string) *node {
	mb, sh := num(m.facts.config.Hardware.MemoryMB), shareOf(m.facts.config.MemoryAllocation)
	return c.editable(m, item(map[string]string{
		"AllocationUnits": "byte * 2^20", "Description": "Memory Size", "ElementName": mb + " MB of memory",
		"InstanceID": id, "Reservation": num(sh.reservation), "ResourceType": "4", "VirtualQuantity": mb, "Weight": num(sh.shares),
	}), "memory")
}

func (c *call) editable(m *vm, it *node, part string) *node {
	href := c.s.vmHref(m) + "/virtualHardwareSection/" + part
	it.CreateAttr("vcloud:type", mediaVCloud+"rasdItem+xml")
	it.CreateAttr("vcloud:href", href)
	return add(it, link("edit", href, mediaVCloud+"rasdItem+xml"))
}

// hardwareItems is one part of the hardware.
func (c *call) hardwareItems() (*answer, error) {
	m, err := c.onlyVM(c.target())
	if err != nil {
		return nil, err
	}
	if err := c.refresh(m); err != nil {
		return nil, err
	}
	if m.facts == nil {
		return nil, invalidState("The VM %s is not available.", m.name)
	}
	part := c.path("part")
	items := c.items(m, part)
	switch part {
	case "cpu", "memory":
		items[0].Space = ""
		return ok(mediaVCloud+"rasdItem", items[0]), nil
	case "disks", "media", "networkCards", "serialPorts":
		d := el("RasdItemsList", "href", c.s.vmHref(m)+"/virtualHardwareSection/"+part, "type", mediaVCloud+"rasdItemsList+xml")
		for _, it := range items {
			it.Space = ""
			add(d, it)
		}
		return ok(mediaVCloud+"rasdItemsList", d), nil
	}
	return nil, notFound("There is no hardware %s.", part)
}

// specSection is the VmSpecSection, the writable form of the hardware.
func (c *call) specSection(m *vm) (string, *node) {
	s, f, hw := c.s, m.facts, m.facts.config.Hardware
	d := add(el("VmSpecSection", "Modified", "false"), text("ovf:Info", "Virtual Machine specification"),
		text("OsType", or(f.config.GuestId, "otherGuest64")))
	if c.newer("37.1") {
		add(d, text("Firmware", m.firmware()))
	}
	resource := func(tag string, configured int64, a *types.ResourceAllocationInfo) *node {
		sh := shareOf(a)
		return add(el(tag), number("Configured", configured), number("Reservation", sh.reservation), number("Limit", sh.limit), text("SharesLevel", sh.level),
			number("Shares", sh.shares))
	}
	add(d, number("NumCpus", hw.NumCPU), number("NumCoresPerSocket", m.cores()), resource("CpuResourceMhz", 1000, f.config.CpuAllocation),
		resource("MemoryResourceMb", int64(hw.MemoryMB), f.config.MemoryAllocation))
	media, disks := el("MediaSection"), el("DiskSection")
	for _, b := range f.buses() {
		for _, dev := range f.devices() {
			if dev.GetVirtualDevice().ControllerKey != b.key {
				continue
			}
			unit := int32(0)
			if u := dev.GetVirtualDevice().UnitNumber; u != nil {
				unit = *u
			}
			switch t := dev.(type) {
			case *types.VirtualDisk:
				add(disks, c.diskSettings(m, t, b))
			case *types.VirtualCdrom:
				add(media, c.mediaSettings(m, t, b, unit))
			}
		}
	}
	version := or(f.config.Version, "vmx-13")
	hwv := text("HardwareVersion", version, "href", s.href("/api/vdc/"+m.vapp.vdc+"/hwv/"+version), "type", mediaVCloud+"virtualHardwareVersion+xml")
	tools := ""
	if f.config.Tools != nil && f.config.Tools.ToolsVersion > 0 {
		tools = num(f.config.Tools.ToolsVersion)
	}
	return mediaVCloud + "vmSpecSection", add(d, media, disks, hwv, opt("VmToolsVersion", tools), text("VirtualCpuType", or(m.cpuType, "VM64")), boolean("TimeSyncWithHost", m.toolsSync))
}

// diskSettings is one disk of a VmSpecSection; IOPS moved to an element of
// their own with API 37.0 (DiskSettingsType).
func (c *call) diskSettings(m *vm, t *types.VirtualDisk, b bus) *node {
	own, named := m.diskProfiles[t.Key], c.s.namedDisk(m, t)
	if named != nil {
		own = named.profile
	}
	d := add(el("DiskSettings"), number("DiskId", t.Key), number("SizeMb", capacity(t)>>20), number("UnitNumber", unitOf(t)),
		number("BusNumber", b.number), text("AdapterType", adapterTypes[b.subType]), boolean("ThinProvisioned", thin(t)))
	if named != nil {
		add(d, el("Disk", "href", c.s.diskHref(named), "id", "urn:vcloud:disk:"+named.id, "name", named.name, "type", mediaVCloud+"disk+xml"))
	}
	add(d, c.s.profileRef("StorageProfile", or(own, m.profile)), boolean("overrideVmDefault", own != ""))
	if c.newer("37.0") {
		limit := int64(-1)
		if n := iopsOf(t); n > 0 {
			limit = n
		}
		add(d, add(el("IopsAllocation"), number("Reservation", 0), number("Limit", limit), text("SharesLevel", "NORMAL"), number("Shares", 1000)))
	} else {
		add(d, number("iops", iopsOf(t)))
	}
	add(d, text("VirtualQuantityUnit", "byte"), number("VirtualQuantity", capacity(t)), boolean("resizable", named == nil), boolean("encrypted", false))
	if named != nil {
		add(d, boolean("shareable", named.sharing != "None"), text("sharingType", named.sharing))
	} else {
		add(d, boolean("shareable", false), text("sharingType", "None"))
	}
	return d
}

// mediaSettings is one drive of a VmSpecSection.
func (c *call) mediaSettings(m *vm, t *types.VirtualCdrom, b bus, unit int32) *node {
	d, state := add(el("MediaSettings"), number("DeviceId", t.Key)), "DISCONNECTED"
	if id := m.inserted[t.Key]; id != "" {
		state = "SERVER"
		add(d, c.s.driveRef("MediaImage", id))
	}
	return add(d, text("MediaType", "ISO"), text("MediaState", state), number("UnitNumber", unit), number("BusNumber", b.number),
		text("AdapterType", or(adapterTypes[b.subType], "1")))
}

func thin(d *types.VirtualDisk) bool {
	b, is := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	return is && isTrue(b.ThinProvisioned)
}
