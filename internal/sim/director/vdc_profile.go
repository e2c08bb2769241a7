package director

import (
	"context"
	"strings"
)

// An iopsSettings is what a storage profile does with IOPS.
type iopsSettings struct {
	enabled              bool
	max, standard, perGB int64 // of one disk
	limit                int64 // of the profile; 0 is no limit
}

// node is there for profiles that nobody gave settings too: switched off.
func (i *iopsSettings) node() *node {
	if i == nil {
		i = &iopsSettings{}
	}
	return add(el("IopsSettings"), boolean("Enabled", i.enabled), number("DiskIopsMax", i.max), number("DiskIopsDefault", i.standard),
		number("StorageProfileIopsLimit", i.limit), number("DiskIopsPerGbMax", i.perGB))
}

func readIOPS(d *node) (*iopsSettings, error) {
	if d == nil {
		return nil, nil
	}
	i := &iopsSettings{truth(value(d, "Enabled")), long(value(d, "DiskIopsMax")), long(value(d, "DiskIopsDefault")), long(value(d, "DiskIopsPerGbMax")),
		long(value(d, "StorageProfileIopsLimit"))}
	if min(i.max, i.standard, i.perGB, i.limit) < 0 || i.max > 0 && i.standard > i.max {
		return nil, badRequest("The IOPS settings are negative, or the default is above the maximum.")
	}
	return i, nil
}

// readProfile takes over what VdcStorageProfileParams or AdminVdcStorageProfile
// say.
func (p *profile) read(doc *node) error {
	switch value(doc, "Units") {
	case "MB":
		p.limitMB = long(value(doc, "Limit"))
	case "GB":
		p.limitMB = long(value(doc, "Limit")) << 10
	default:
		return badRequest("The unit %q of a storage profile is not supported; MB is.", value(doc, "Units"))
	}
	if p.limitMB < 0 {
		return badRequest("The limit of a storage profile cannot be negative.")
	}
	iops, err := readIOPS(child(doc, "IopsSettings"))
	if err != nil {
		return err
	}
	p.iops = iops
	if e := value(doc, "Enabled"); e != "" {
		p.enabled = truth(e)
	}
	return nil
}

// readVDCProfiles makes the storage profiles of a VDC from those of its
// provider VDC.
func (c *call) readVDCProfiles(v *vdc, p *pvdc, docs []*node) ([]*profile, error) {
	var out []*profile
	defaults := 0
	for _, d := range docs {
		from := c.s.pvdcProfiles[uuidIn(attr(child(d, "ProviderVdcStorageProfile"), "href"))]
		if from == nil || from.pvdc != p.id {
			return nil, badRequest("The storage profile %s is not one of the provider VDC \"%s\".", attr(child(d, "ProviderVdcStorageProfile"), "href"), p.name)
		}
		if !from.enabled {
			return nil, badRequest("The storage profile \"%s\" of the provider VDC \"%s\" is disabled.", from.name, p.name)
		}
		n := &profile{thing: thing{id: newID(), name: from.name, seq: c.s.next()}, vdc: v.id, enabled: true, datastores: from.datastores, pvdcProfile: from.id,
			isDefault: truth(value(d, "Default"))}
		if err := n.read(d); err != nil {
			return nil, err
		}
		for _, other := range append(sorted(c.s.profiles), out...) {
			if other.vdc == v.id && other.pvdcProfile == from.id {
				return nil, badRequest("The VDC \"%s\" has the storage profile \"%s\" already.", v.name, from.name)
			}
		}
		if n.isDefault {
			defaults++
		}
		if n.isDefault && !n.enabled {
			return nil, badRequest("The default storage profile \"%s\" cannot be disabled.", n.name)
		}
		out = append(out, n)
	}
	if defaults > 1 || v.status == vdcCreating && defaults == 0 {
		return nil, badRequest("One storage profile must be the default.")
	}
	return out, nil
}

// putProfile changes a VDC's storage profile.
func (c *call) putProfile() (*answer, error) {
	p := c.s.profiles[uuidIn(c.path("id"))]
	if p == nil {
		return nil, missing("vdcStorageProfile", c.path("id"))
	}
	doc, err := c.parse(nsVCloud, "AdminVdcStorageProfile")
	if err != nil {
		return nil, err
	}
	n := *p
	if err := n.read(doc); err != nil {
		return nil, err
	}
	makeDefault := truth(value(doc, "Default"))
	if !n.enabled && (makeDefault || p.isDefault) {
		return nil, badRequest("The storage profile \"%s\" is the default one and cannot be disabled.", p.name)
	}
	if p.isDefault && !makeDefault {
		return nil, badRequest("The storage profile \"%s\" is the default one: make another one the default.", p.name)
	}
	if used := c.s.usedMB(p); n.limitMB > 0 && n.limitMB < used {
		return nil, badRequest("The limit of %d MB of the storage profile \"%s\" is below the %d MB that are in use.", n.limitMB, p.name, used)
	}
	if d := child(doc, "Description"); d != nil {
		n.desc = allText(d)
	}
	if makeDefault {
		c.s.makeDefault(p)
		n.isDefault = true
	}
	*p = n
	return c.getProfile()
}

// makeDefault makes a storage profile the one default of its VDC.
func (s *Server) makeDefault(p *profile) {
	for _, other := range s.profiles {
		if other.vdc == p.vdc {
			other.isDefault = other == p
		}
	}
}

// updateVDCProfiles adds storage profiles to a VDC and removes some. What
// cannot be removed is told by the task.
func (c *call) updateVDCProfiles() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "UpdateVdcStorageProfiles")
	if err != nil {
		return nil, err
	}
	added, err := c.readVDCProfiles(v, c.s.pvdcs[v.pvdc], childrenOf(doc, "AddStorageProfile"))
	if err != nil {
		return nil, err
	}
	var remove []*profile
	for _, d := range childrenOf(doc, "RemoveStorageProfile") {
		p := c.s.profiles[uuidIn(attr(d, "href"))]
		if p == nil || p.vdc != v.id {
			return nil, badRequest("The storage profile %s is not one of the VDC \"%s\".", attr(d, "href"), v.name)
		}
		remove = append(remove, p)
	}
	return c.accepted(c.start("updateVdcStorageProfiles", "Updating Virtual Datacenter Storage Profiles", taskOwner{"vdc", v.id, v.name}, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		for _, p := range remove {
			if err := c.s.removable(p); err != nil {
				return err
			}
		}
		for _, p := range remove {
			delete(c.s.profiles, p.id)
		}
		for _, p := range added {
			c.s.profiles[p.id] = p
			if p.isDefault {
				c.s.makeDefault(p)
			}
		}
		return nil
	})), nil
}

// removable refuses to remove a storage profile that is enabled, the default or
// in use.
func (s *Server) removable(p *profile) error {
	if p.isDefault || p.enabled {
		return badRequest("The storage profile \"%s\" is enabled or the default one and cannot be removed.", p.name)
	}
	for _, m := range s.vms {
		used := m.profile == p.id
		for _, id := range m.diskProfiles {
			used = used || id == p.id
		}
		if used {
			return badRequest("The storage profile \"%s\" cannot be removed: VM \"%s\" uses it.", p.name, m.name)
		}
	}
	return nil
}

// osInfo is a guest system of a hardware version's document.
func osInfo(id int, g guestOS) *node {
	adapter := el("DefaultHardDiskAdapterType", "ref", "4")
	adapter.SetText("3")
	d := add(el("OperatingSystem"), number("OperatingSystemId", id), adapter, number("MinimumHardDiskSizeGigabytes", 4), number("MinimumMemoryMegabytes", 256),
		text("Name", g.name), text("InternalName", g.id), boolean("Supported", true), boolean("x64", g.x64()), boolean("PersonalizationEnabled", true),
		boolean("SupportedForCreate", true))
	// In every version: clients of 37.0 rely on them (vcd_vapp_vm of the
	// Terraform provider), although the changed types of 38.0 list them.
	for i, f := range g.firmware() {
		if i == 0 {
			add(d, text("RecommendedFirmware", f))
		}
		add(d, text("SupportedFirmware", f))
	}
	return add(d, boolean("SupportsTPM", g.efi()))
}

// getHardwareVersion is what a VM of a hardware version can have.
func (c *call) getHardwareVersion() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	name := c.path("name")
	limits, known := hardwareLimits(name)
	if !known {
		return nil, badRequest("The hardware version %q is not supported.", name)
	}
	typ := mediaVCloud + "virtualHardwareVersion"
	d := add(el("VirtualHardwareVersion", "href", c.s.href("/api/vdc/"+v.id+"/hwv/"+name), "type", typ+"+xml"), link("up", c.s.href("/api/vdc/"+v.id), mediaVCloud+"vdc+xml"),
		text("name", name), number("maxCoresPerSocket", min(limits.cpus, 64)))
	families := el("supportedOperatingSystems")
	for _, f := range guestFamilies {
		n := add(el("OperatingSystemFamilyInfo"), text("Name", f.name), number("OperatingSystemFamilyId", f.id))
		for i, g := range f.guests {
			if limits.number >= g.since {
				add(n, osInfo(f.id*100+i, g))
			}
		}
		add(families, n)
	}
	add(d, families, number("maxMemorySizeMb", limits.memGB<<10), number("maxCPUs", limits.cpus), number("maxNICs", 10), boolean("supportsNestedHV", limits.number >= 9),
		boolean("supportsHotPlugPCI", true), boolean("supportsHotAdd", true))
	for _, gb := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 6128} {
		if gb <= limits.memGB {
			add(d, number("supportedMemorySizeGb", gb))
		}
	}
	for n := 1; n <= min(limits.cpus, 64); n++ {
		add(d, number("supportedCoresPerSocket", n))
	}
	for _, a := range diskAdapters {
		if limits.number >= a.since {
			add(d, add(el("HardDiskAdapter", "id", a.id, "legacyId", num(a.legacy), "name", a.name, "maximumDiskSizeGb", num(limits.diskGB)),
				add(el("BusNumberRanges"), el("Range", "begin", "0", "end", num(a.buses-1))), add(el("UnitNumberRanges"), el("Range", "begin", "0", "end", num(a.units-1)))))
		}
	}
	return ok(typ, d), nil
}

// A hardwareLimit is what one hardware version allows (VMware KB 2007240,
// "Hardware features available with virtual machine compatibility levels").
type hardwareLimit struct{ number, cpus, memGB, diskGB int }

func hardwareLimits(name string) (hardwareLimit, bool) {
	n := atoi(strings.TrimLeft(strings.TrimPrefix(name, "vmx-"), "0"))
	l := hardwareLimit{n, 8, 255, 2032}
	switch {
	case n >= 18:
		l.cpus, l.memGB, l.diskGB = 256, 6128, 63488
	case n >= 11:
		l.cpus, l.memGB, l.diskGB = 128, 4080, 63488
	case n >= 9:
		l.cpus, l.memGB, l.diskGB = 64, 1011, 63488
	case n >= 8:
		l.cpus, l.memGB = 32, 1011
	}
	for _, h := range hardwareVersions {
		if h == name {
			return l, true
		}
	}
	return l, false
}

var diskAdapters = []struct {
	id, name                    string
	legacy, buses, units, since int
}{
	{"1", "IDE", 5, 2, 2, 7}, {"2", "BusLogic Parallel (SCSI)", 1, 4, 16, 7}, {"3", "LSI Logic Parallel (SCSI)", 2, 4, 16, 7}, {"4", "LSI Logic SAS (SCSI)", 3, 4, 16, 7},
	{"5", "Paravirtual (SCSI)", 4, 4, 16, 7}, {"6", "SATA", 6, 4, 30, 10}, {"7", "NVME", 7, 4, 15, 13},
}
