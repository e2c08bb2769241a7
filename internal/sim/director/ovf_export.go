package director

import (
	"strconv"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/ovf"
)

// envelope describes a vApp or a template. Identity is what belongs to the
// original alone: networks' configuration, MAC addresses, leases. Sizes of files
// are known where a download has them.
func (c *call) envelope(a *vapp, t *transfer, identity bool) (*ovf.Envelope, error) {
	e := &ovf.Envelope{ID: a.name, Name: a.name}
	for _, n := range a.nets {
		e.Networks = append(e.Networks, ovf.Network{Name: n.name, Description: n.desc})
	}
	if a.onNone() {
		e.Networks = append(e.Networks, ovf.Network{Name: noNetwork, Description: noNetworkText})
	}
	section := func(part func(*vapp) (string, *node)) {
		if _, n := part(a); n != nil {
			e.Sections = append(e.Sections, inOVF(n))
		}
	}
	if identity {
		section(c.networkConfigSection)
	}
	if t := a.template; t != nil {
		section(c.customizationSection)
		for _, l := range t.eulas {
			e.Sections = append(e.Sections, add(el("ovf:EulaSection"), text("ovf:Info", "An end-user license agreement"), text("ovf:License", l)))
		}
	}
	for _, p := range a.products {
		e.Sections = append(e.Sections, inOVF(p))
	}
	for _, m := range a.vms {
		if m.facts == nil {
			return nil, invalidState("The VM %q is not available.", m.name)
		}
		it := a.startupOf(m)
		e.Startup = append(e.Startup, ovf.Startup{ID: m.name, Order: it.Order, StartDelay: it.StartDelay, StopDelay: it.StopDelay,
			StartAction: it.StartAction, StopAction: it.StopAction})
		c.describe(e, m, t, identity)
	}
	return e, nil
}

// describe adds a VM to an envelope.
func (c *call) describe(e *ovf.Envelope, m *vm, t *transfer, identity bool) {
	f := m.facts
	os, id := guestName(f.config.GuestId)
	s := ovf.System{
		ID: m.name, Name: m.name, OSID: id, OSType: f.config.GuestId, OS: os, Version: or(f.config.Version, "vmx-13"), CPUs: int(f.config.Hardware.NumCPU),
		Memory: int64(f.config.Hardware.MemoryMB) << 20, Cores: 1,
	}
	if k := f.config.Hardware.NumCoresPerSocket; k != nil && *k > 0 {
		s.Cores = int(*k)
	}
	instance := 0
	next := func() string { instance++; return strconv.Itoa(instance) }
	for _, n := range m.nics {
		k := ovf.Card{InstanceID: next(), Type: n.adapter, Network: n.network, Unit: n.index, Connected: n.connected, Mode: n.mode, Primary: n.index == m.primary}
		if identity {
			k.MAC = n.mac
			if n.mode == "MANUAL" {
				k.IP = n.ip
			}
		}
		s.Cards = append(s.Cards, k)
	}
	numbers := map[int32]int{}
	for n, d := range m.orderedDisks() {
		numbers[d.Key] = n
	}
	kinds := map[int]string{5: ovf.IDE, 6: ovf.SCSI, 20: ovf.SATA}
	for _, b := range f.buses() {
		k := ovf.Controller{InstanceID: next(), Kind: kinds[b.kind], SubType: b.subType, Bus: b.number}
		if strings.Contains(b.subType, "nvme") {
			k.Kind = ovf.NVMe
		}
		s.Controllers = append(s.Controllers, k)
		for _, dev := range f.devices() {
			v := dev.GetVirtualDevice()
			if v.ControllerKey != b.key {
				continue
			}
			unit := 0
			if v.UnitNumber != nil {
				unit = int(*v.UnitNumber)
			}
			switch d := dev.(type) {
			case *types.VirtualDisk:
				key := m.id + "-" + num(d.Key)
				file := ovf.File{ID: "file-" + key, Href: diskFile(m, numbers[d.Key]), Size: -1}
				if t != nil {
					if tf := t.file(file.Href); tf != nil {
						file.Size = tf.size
					}
				}
				e.Files = append(e.Files, file)
				e.Disks = append(e.Disks, ovf.Disk{ID: "vmdisk-" + key, FileRef: file.ID, Format: ovf.StreamOptimized, Capacity: capacity(d)})
				s.Drives = append(s.Drives, ovf.Drive{InstanceID: num(d.Key), Kind: ovf.HardDisk, Name: "Hard disk " + num(numbers[d.Key]+1), Parent: k.InstanceID,
					Unit: unit, Disk: "vmdisk-" + key})
			case *types.VirtualCdrom:
				s.Drives = append(s.Drives, ovf.Drive{InstanceID: num(d.Key), Kind: ovf.CDROM, Name: "CD/DVD Drive 1", Parent: k.InstanceID, Unit: unit})
			}
		}
	}
	flag := func(key string, b bool) { s.Config = append(s.Config, ovf.Pair{Key: key, Value: yes(b)}) }
	flag("cpuHotAddEnabled", isTrue(f.config.CpuHotAddEnabled))
	s.Config = append(s.Config, ovf.Pair{Key: "firmware", Value: or(f.config.Firmware, "bios")})
	flag("memoryHotAddEnabled", isTrue(f.config.MemoryHotAddEnabled))
	flag("nestedHVEnabled", m.nested())
	_, guest := c.guestSection(m)
	guest = inOVF(guest)
	// Passwords do not leave the cloud.
	drop(guest, "AdminPassword")
	drop(guest, "DomainUserPassword")
	s.Sections = append(s.Sections, guest)
	if identity {
		_, nics := c.connectionSection(m)
		s.Sections = append(s.Sections, inOVF(nics))
	}
	if m.desc != "" {
		s.Sections = append(s.Sections, add(el("ovf:AnnotationSection"), text("ovf:Info", "A human-readable annotation"), text("ovf:Annotation", m.desc)))
	}
	for _, p := range m.products {
		s.Sections = append(s.Sections, inOVF(p))
	}
	e.Systems = append(e.Systems, s)
}

// inOVF copies a section for a descriptor: vCloud's elements get their prefix,
// addresses and links of this cloud go.
func inOVF(n *node) *node {
	c := n.Copy()
	foreign(c)
	return c
}

func foreign(n *node) {
	if n.Space == "" {
		n.Space = "vcloud"
	}
	for _, a := range []string{"href", "type", "vcloud:href", "vcloud:type"} {
		n.RemoveAttr(a)
	}
	for _, k := range n.ChildElements() {
		if k.Tag == "Link" || k.Tag == "ParentNetwork" || k.Tag == "RouterInfo" {
			n.RemoveChild(k)
			continue
		}
		foreign(k)
	}
}
