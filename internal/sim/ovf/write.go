package ovf

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// Marshal writes a descriptor.
func (e *Envelope) Marshal() ([]byte, error) {
	doc := etree.NewDocument()
	doc.CreateProcInst("xml", `version="1.0" encoding="UTF-8"`)
	root := el("ovf:Envelope", "xmlns:ovf", NS, "xmlns:rasd", nsRASD, "xmlns:vssd", nsVSSD, "xmlns:vmw", nsVMW, "xmlns:vcloud", NSCD, "xmlns:xsi", nsXSI)
	doc.SetRoot(root)
	refs := root.CreateElement("ovf:References")
	for _, f := range e.Files {
		n := el("ovf:File", "ovf:href", f.Href, "ovf:id", f.ID, "ovf:compression", f.Compression)
		if f.Size >= 0 {
			n.CreateAttr("ovf:size", num(f.Size))
		}
		if f.ChunkSize > 0 {
			n.CreateAttr("ovf:chunkSize", num(f.ChunkSize))
		}
		refs.AddChild(n)
	}
	if len(e.Disks) > 0 {
		root.AddChild(e.diskSection())
	}
	if len(e.Networks) > 0 {
		s := section("ovf:NetworkSection", "The list of logical networks")
		for _, n := range e.Networks {
			net := el("ovf:Network", "ovf:name", n.Name)
			put(net, "ovf:Description", n.Description)
			s.AddChild(net)
		}
		root.AddChild(s)
	}
	if e.ID == "" && len(e.Systems) == 1 {
		for _, s := range e.Sections {
			root.AddChild(s.Copy())
		}
		root.AddChild(e.Systems[0].element())
		return doc.WriteToBytes()
	}
	root.AddChild(e.collection())
	return doc.WriteToBytes()
}

func (e *Envelope) diskSection() *etree.Element {
	s := section("ovf:DiskSection", "Virtual disk information")
	for _, d := range e.Disks {
		n := el("ovf:Disk", "ovf:capacity", num(d.Capacity), "ovf:capacityAllocationUnits", "byte", "ovf:diskId", d.ID, "ovf:fileRef", d.FileRef,
			"ovf:format", d.Format)
		if d.Populated > 0 {
			n.CreateAttr("ovf:populatedSize", num(d.Populated))
		}
		s.AddChild(n)
	}
	return s
}

func (e *Envelope) collection() *etree.Element {
	c := el("ovf:VirtualSystemCollection", "ovf:id", e.ID)
	put(c, "ovf:Info", "A collection of virtual machines")
	if e.Name != "" {
		put(c, "ovf:Name", e.Name)
	}
	for _, s := range e.Sections {
		c.AddChild(s.Copy())
	}
	if len(e.Startup) > 0 {
		s := section("ovf:StartupSection", "VApp startup section")
		for _, it := range e.Startup {
			s.AddChild(el("ovf:Item", "ovf:id", it.ID, "ovf:order", strconv.Itoa(it.Order), "ovf:startAction", it.StartAction,
				"ovf:startDelay", strconv.Itoa(it.StartDelay), "ovf:stopAction", it.StopAction, "ovf:stopDelay", strconv.Itoa(it.StopDelay)))
		}
		c.AddChild(s)
	}
	for i := range e.Systems {
		c.AddChild(e.Systems[i].element())
	}
	return c
}

func (s *System) element() *etree.Element {
	v := el("ovf:VirtualSystem", "ovf:id", s.ID)
	put(v, "ovf:Info", "A virtual machine")
	put(v, "ovf:Name", s.Name)
	os := el("ovf:OperatingSystemSection", "ovf:id", strconv.Itoa(s.OSID), "vmw:osType", s.OSType)
	put(os, "ovf:Info", "Specifies the operating system installed")
	put(os, "ovf:Description", s.OS)
	v.AddChild(os)
	v.AddChild(s.hardware())
	for _, k := range s.Sections {
		v.AddChild(k.Copy())
	}
	return v
}

func (s *System) hardware() *etree.Element {
	h := section("ovf:VirtualHardwareSection", "Virtual hardware requirements")
	sys := h.CreateElement("ovf:System")
	put(sys, "vssd:ElementName", "Virtual Hardware Family")
	put(sys, "vssd:InstanceID", "0")
	put(sys, "vssd:VirtualSystemIdentifier", s.Name)
	put(sys, "vssd:VirtualSystemType", s.Version)
	for _, c := range s.Cards {
		h.AddChild(c.item())
	}
	for _, c := range s.Controllers {
		h.AddChild(c.item())
	}
	for _, d := range s.Drives {
		h.AddChild(d.item())
	}
	cpu := h.CreateElement("ovf:Item")
	put(cpu, "rasd:AllocationUnits", "hertz * 10^6")
	put(cpu, "rasd:Description", "Number of Virtual CPUs")
	put(cpu, "rasd:ElementName", fmt.Sprintf("%d virtual CPU(s)", s.CPUs))
	put(cpu, "rasd:InstanceID", "cpu")
	put(cpu, "rasd:ResourceType", typeCPU)
	put(cpu, "rasd:VirtualQuantity", strconv.Itoa(s.CPUs))
	if s.Cores > 0 {
		cores := el("vmw:CoresPerSocket", "ovf:required", "false")
		cores.SetText(strconv.Itoa(s.Cores))
		cpu.AddChild(cores)
	}
	mem := h.CreateElement("ovf:Item")
	units, n := "byte * 2^20", s.Memory>>20
	if s.Memory&(1<<20-1) != 0 {
		units, n = "byte", s.Memory
	}
	put(mem, "rasd:AllocationUnits", units)
	put(mem, "rasd:Description", "Memory Size")
	put(mem, "rasd:ElementName", fmt.Sprintf("%d MB of memory", s.Memory>>20))
	put(mem, "rasd:InstanceID", "memory")
	put(mem, "rasd:ResourceType", typeMemory)
	put(mem, "rasd:VirtualQuantity", num(n))
	for _, p := range s.Config {
		h.AddChild(el("vmw:Config", "ovf:required", "false", "vmw:key", p.Key, "vmw:value", p.Value))
	}
	for _, p := range s.ExtraConfig {
		h.AddChild(el("vmw:ExtraConfig", "ovf:required", "false", "vmw:key", p.Key, "vmw:value", p.Value))
	}
	return h
}

func (c *Card) item() *etree.Element {
	it := el("ovf:Item")
	if c.MAC != "" {
		put(it, "rasd:Address", c.MAC)
	}
	put(it, "rasd:AddressOnParent", strconv.Itoa(c.Unit))
	put(it, "rasd:AutomaticAllocation", strconv.FormatBool(c.Connected))
	conn := el("rasd:Connection", "vcloud:ipAddressingMode", c.Mode, "vcloud:ipAddress", c.IP)
	if c.Primary {
		conn.CreateAttr("vcloud:primaryNetworkConnection", "true")
	}
	conn.SetText(c.Network)
	it.AddChild(conn)
	put(it, "rasd:Description", fmt.Sprintf("%s ethernet adapter on %q", c.Type, c.Network))
	put(it, "rasd:ElementName", "Network adapter "+strconv.Itoa(c.Unit))
	put(it, "rasd:InstanceID", c.InstanceID)
	put(it, "rasd:ResourceSubType", c.Type)
	put(it, "rasd:ResourceType", typeCard)
	return it
}

func (c *Controller) item() *etree.Element {
	typ, name := typeController, "SATA Controller"
	switch c.Kind {
	case IDE:
		typ, name = typeIDE, "IDE Controller"
	case SCSI:
		typ, name = typeSCSI, "SCSI Controller"
	case NVMe:
		name = "NVMe Controller"
	}
	it := el("ovf:Item")
	put(it, "rasd:Address", strconv.Itoa(c.Bus))
	put(it, "rasd:Description", name)
	put(it, "rasd:ElementName", name+" "+strconv.Itoa(c.Bus))
	put(it, "rasd:InstanceID", c.InstanceID)
	if c.SubType != "" {
		put(it, "rasd:ResourceSubType", c.SubType)
	}
	put(it, "rasd:ResourceType", typ)
	return it
}

func (d *Drive) item() *etree.Element {
	types := map[string]string{HardDisk: typeDisk, CDROM: typeCDROM, Floppy: typeFloppy}
	names := map[string]string{HardDisk: "Hard disk", CDROM: "CD/DVD Drive", Floppy: "Floppy Drive"}
	it := el("ovf:Item")
	put(it, "rasd:AddressOnParent", strconv.Itoa(d.Unit))
	if d.Kind != HardDisk {
		put(it, "rasd:AutomaticAllocation", "false")
	}
	put(it, "rasd:Description", names[d.Kind])
	put(it, "rasd:ElementName", d.Name)
	if d.Kind == HardDisk {
		put(it, "rasd:HostResource", "ovf:/disk/"+d.Disk)
	} else {
		put(it, "rasd:HostResource", "")
	}
	put(it, "rasd:InstanceID", d.InstanceID)
	if d.Parent != "" {
		put(it, "rasd:Parent", d.Parent)
	}
	put(it, "rasd:ResourceType", types[d.Kind])
	return it
}

func section(tag, info string) *etree.Element {
	s := el(tag)
	put(s, "ovf:Info", info)
	return s
}

// el makes an element. The arguments after the tag are pairs of attributes,
// whose empty values are left out.
func el(tag string, attrs ...string) *etree.Element {
	e := etree.NewElement(tag)
	for i := 0; i+1 < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			e.CreateAttr(attrs[i], attrs[i+1])
		}
	}
	return e
}

func put(e *etree.Element, tag, value string) { e.CreateElement(tag).SetText(strings.TrimSpace(value)) }

func num(n int64) string { return strconv.FormatInt(n, 10) }
