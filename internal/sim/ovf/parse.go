package ovf

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/sim/wellformed"
)

// ErrInvalid is what all errors of Parse are.
var ErrInvalid = errors.New("not a valid OVF descriptor")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Parse reads a descriptor.
func Parse(text []byte) (*Envelope, error) {
	if err := wellformed.Check(text); err != nil {
		return nil, invalid("it is not well-formed: %v", err)
	}
	doc := etree.NewDocument()
	doc.ReadSettings.Entity, doc.ReadSettings.CharsetReader = map[string]string{}, wellformed.Charset
	if err := doc.ReadFromBytes(text); err != nil || doc.Root() == nil {
		return nil, invalid("it is not well-formed: %v", err)
	}
	root := doc.Root()
	if root.Tag != "Envelope" || root.NamespaceURI() != NS {
		return nil, invalid("its root is %s of %q", root.Tag, root.NamespaceURI())
	}
	p := &parser{e: &Envelope{}}
	for _, k := range root.ChildElements() {
		p.part(k)
	}
	p.check()
	if err := errors.Join(p.problems...); err != nil {
		return nil, err
	}
	return p.e, nil
}

type parser struct {
	e        *Envelope
	problems []error
}

func (p *parser) fail(format string, args ...any) {
	p.problems = append(p.problems, invalid(format, args...))
}

func (p *parser) part(k *etree.Element) {
	if k.NamespaceURI() != NS {
		p.e.Sections = append(p.e.Sections, keep(k))
		return
	}
	switch k.Tag {
	case "References":
		p.files(k)
	case "DiskSection":
		p.disks(k)
	case "NetworkSection":
		for _, n := range all(k, "Network") {
			p.e.Networks = append(p.e.Networks, Network{attr(n, "name"), text(n, "Description")})
		}
	case "VirtualSystemCollection":
		p.collection(k)
	case "VirtualSystem":
		p.system(k)
	case "Strings":
		// Texts in other languages.
	default:
		p.e.Sections = append(p.e.Sections, keep(k))
	}
}

// keep copies a section with the declarations of its prefixes, since it leaves
// the document that has them.
func keep(e *etree.Element) *etree.Element {
	c := e.Copy()
	for up := e.Parent(); up != nil; up = up.Parent() {
		for _, a := range up.Attr {
			if (a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns") && c.SelectAttr(a.FullKey()) == nil {
				c.CreateAttr(a.FullKey(), a.Value)
			}
		}
	}
	return c
}

func (p *parser) files(k *etree.Element) {
	for _, f := range all(k, "File") {
		file := File{ID: attr(f, "id"), Href: attr(f, "href"), Size: -1, Compression: attr(f, "compression")}
		if s := attr(f, "size"); s != "" {
			file.Size = p.number("size of file "+file.ID, s)
		}
		if s := attr(f, "chunkSize"); s != "" {
			file.ChunkSize = p.number("chunkSize of file "+file.ID, s)
		}
		p.e.Files = append(p.e.Files, file)
	}
}

func (p *parser) disks(k *etree.Element) {
	for _, d := range all(k, "Disk") {
		disk := Disk{ID: attr(d, "diskId"), FileRef: attr(d, "fileRef"), Format: attr(d, "format")}
		disk.Capacity = p.quantity("capacity of disk "+disk.ID, attr(d, "capacity"), attr(d, "capacityAllocationUnits"))
		if s := attr(d, "populatedSize"); s != "" {
			disk.Populated = p.number("populatedSize of disk "+disk.ID, s)
		}
		if attr(d, "parentRef") != "" {
			p.fail("disk %s has a parent disk, which is not supported", disk.ID)
		}
		p.e.Disks = append(p.e.Disks, disk)
	}
}

func (p *parser) collection(k *etree.Element) {
	if p.e.ID != "" || len(p.e.Systems) > 0 {
		p.fail("it has more than one VirtualSystemCollection at its top")
		return
	}
	p.e.ID, p.e.Name = attr(k, "id"), text(k, "Name")
	for _, c := range k.ChildElements() {
		switch {
		case c.NamespaceURI() != NS:
			p.e.Sections = append(p.e.Sections, keep(c))
		case c.Tag == "VirtualSystem":
			p.system(c)
		case c.Tag == "VirtualSystemCollection":
			p.fail("it has a VirtualSystemCollection inside another one")
		case c.Tag == "StartupSection":
			for _, it := range all(c, "Item") {
				p.e.Startup = append(p.e.Startup, Startup{
					ID: attr(it, "id"), Order: atoi(attr(it, "order")), StartDelay: atoi(attr(it, "startDelay")), StopDelay: atoi(attr(it, "stopDelay")),
					StartAction: attr(it, "startAction"), StopAction: attr(it, "stopAction")})
			}
		case c.Tag == "Info" || c.Tag == "Name":
		default:
			p.e.Sections = append(p.e.Sections, keep(c))
		}
	}
}

func (p *parser) system(k *etree.Element) {
	s := System{ID: attr(k, "id"), Name: text(k, "Name")}
	if s.Name == "" {
		s.Name = s.ID
	}
	hardware := 0
	for _, c := range k.ChildElements() {
		switch {
		case c.NamespaceURI() != NS:
			s.Sections = append(s.Sections, keep(c))
		case c.Tag == "OperatingSystemSection":
			s.OSID, s.OSType, s.OS = atoi(attr(c, "id")), attr(c, "osType"), text(c, "Description")
		case c.Tag == "VirtualHardwareSection":
			// Others are alternatives; the first one counts.
			if hardware++; hardware == 1 {
				p.hardware(&s, c)
			}
		case c.Tag == "Info" || c.Tag == "Name":
		default:
			s.Sections = append(s.Sections, keep(c))
		}
	}
	if hardware == 0 {
		p.fail("virtual system %s has no hardware", s.ID)
	}
	p.e.Systems = append(p.e.Systems, s)
}

// Resource types of CIM.
const (
	typeCPU        = "3"
	typeMemory     = "4"
	typeIDE        = "5"
	typeSCSI       = "6"
	typeCard       = "10"
	typeFloppy     = "14"
	typeCDROM      = "15"
	typeDisk       = "17"
	typeController = "20"
)

func (p *parser) hardware(s *System, k *etree.Element) {
	if sys := first(k, "System"); sys != nil {
		// Several are separated by blanks; the first one counts.
		s.Version, _, _ = strings.Cut(text(sys, "VirtualSystemType"), " ")
	}
	for _, it := range k.ChildElements() {
		switch it.Tag {
		case "Item", "StorageItem", "EthernetPortItem":
			p.item(s, it)
		case "Config":
			s.Config = append(s.Config, Pair{attr(it, "key"), attr(it, "value")})
		case "ExtraConfig":
			s.ExtraConfig = append(s.ExtraConfig, Pair{attr(it, "key"), attr(it, "value")})
		}
	}
}

func (p *parser) item(s *System, it *etree.Element) {
	id, what := text(it, "InstanceID"), "item "+text(it, "InstanceID")+" of "+s.ID
	sub := text(it, "ResourceSubType")
	unit := atoi(text(it, "AddressOnParent"))
	switch text(it, "ResourceType") {
	case typeCPU:
		s.CPUs = int(min(p.number("VirtualQuantity of "+what, text(it, "VirtualQuantity")), math.MaxInt32))
		s.Cores = atoi(text(it, "CoresPerSocket"))
	case typeMemory:
		s.Memory = p.quantity("VirtualQuantity of "+what, text(it, "VirtualQuantity"), text(it, "AllocationUnits"))
	case typeIDE:
		s.Controllers = append(s.Controllers, Controller{id, IDE, sub, atoi(text(it, "Address"))})
	case typeSCSI:
		s.Controllers = append(s.Controllers, Controller{id, SCSI, sub, atoi(text(it, "Address"))})
	case typeController:
		kind := SATA
		if strings.Contains(strings.ToLower(sub), "nvme") {
			kind = NVMe
		}
		s.Controllers = append(s.Controllers, Controller{id, kind, sub, atoi(text(it, "Address"))})
	case typeCard:
		c := Card{InstanceID: id, Type: sub, Unit: unit, MAC: text(it, "Address"), Connected: text(it, "AutomaticAllocation") != "false"}
		if conn := first(it, "Connection"); conn != nil {
			c.Network, c.Mode, c.IP = strings.TrimSpace(conn.Text()), attr(conn, "ipAddressingMode"), attr(conn, "ipAddress")
			c.Primary = attr(conn, "primaryNetworkConnection") == "true"
		}
		s.Cards = append(s.Cards, c)
	case typeFloppy:
		s.Drives = append(s.Drives, Drive{id, Floppy, text(it, "ElementName"), text(it, "Parent"), unit, ""})
	case typeCDROM, "16":
		s.Drives = append(s.Drives, Drive{id, CDROM, text(it, "ElementName"), text(it, "Parent"), unit, ""})
	case typeDisk:
		ref := text(it, "HostResource")
		ref = strings.TrimPrefix(strings.TrimPrefix(ref, "ovf:"), "/disk/")
		s.Drives = append(s.Drives, Drive{id, HardDisk, text(it, "ElementName"), text(it, "Parent"), unit, ref})
	}
}

// check refuses references that lead nowhere and names that two things have.
func (p *parser) check() {
	if len(p.e.Systems) == 0 {
		p.fail("it has no virtual system")
	}
	files, disks, names := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, f := range p.e.Files {
		if f.ID == "" || files[f.ID] || f.Href == "" || names[f.Href] {
			p.fail("file %q (%s) has no id or name of its own", f.ID, f.Href)
		}
		if strings.ContainsAny(f.Href, "/\\") || f.Href == ".." {
			p.fail("file %s: %q is not beside the descriptor", f.ID, f.Href)
		}
		files[f.ID], names[f.Href] = true, true
	}
	for _, d := range p.e.Disks {
		if d.ID == "" || disks[d.ID] {
			p.fail("disk %q has no id of its own", d.ID)
		}
		if d.FileRef != "" && !files[d.FileRef] {
			p.fail("disk %s is in file %s, which is not there", d.ID, d.FileRef)
		}
		disks[d.ID] = true
	}
	systems := map[string]bool{}
	for _, s := range p.e.Systems {
		if systems[s.ID] {
			p.fail("two virtual systems have the id %q", s.ID)
		}
		systems[s.ID] = true
		controllers := map[string]bool{}
		for _, c := range s.Controllers {
			controllers[c.InstanceID] = true
		}
		for _, d := range s.Drives {
			if d.Kind == HardDisk && (!disks[d.Disk] || !controllers[d.Parent]) {
				p.fail("drive %s of %s is disk %q on controller %q, one of which is not there", d.InstanceID, s.ID, d.Disk, d.Parent)
			}
		}
	}
}

func (p *parser) number(what, s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 {
		p.fail("%s is %q", what, s)
		return 0
	}
	return n
}

// quantity is a number of units as DSP0004 writes them, "byte * 2^20", in bytes.
func (p *parser) quantity(what, s, units string) int64 {
	n := p.number(what, s)
	factor, ok := unitsOf(units)
	if !ok || n > math.MaxInt64/factor {
		p.fail("%s is %s %q", what, s, units)
		return 0
	}
	return n * factor
}

func unitsOf(units string) (int64, bool) {
	compact := strings.ToLower(strings.Join(strings.Fields(units), ""))
	switch compact {
	case "", "byte", "bytes":
		return 1, true
	case "kilobytes":
		return 1 << 10, true
	case "megabytes", "mb":
		return 1 << 20, true
	case "gigabytes", "gb":
		return 1 << 30, true
	}
	power, is := strings.CutPrefix(compact, "byte*2^")
	if !is {
		return 1, false
	}
	n, err := strconv.Atoi(power)
	if err != nil || n < 0 || n > 50 {
		return 1, false
	}
	return 1 << n, true
}

func atoi(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return 0
	}
	return n
}

func all(e *etree.Element, tag string) []*etree.Element {
	var out []*etree.Element
	for _, k := range e.ChildElements() {
		if k.Tag == tag {
			out = append(out, k)
		}
	}
	return out
}

func first(e *etree.Element, tag string) *etree.Element {
	if list := all(e, tag); len(list) > 0 {
		return list[0]
	}
	return nil
}

func text(e *etree.Element, tag string) string {
	if k := first(e, tag); k != nil {
		return strings.TrimSpace(k.Text())
	}
	return ""
}

// attr is the value of an attribute, whatever its prefix.
func attr(e *etree.Element, local string) string {
	for _, a := range e.Attr {
		if a.Key == local && a.Space != "xmlns" {
			return a.Value
		}
	}
	return ""
}
