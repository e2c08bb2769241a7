package director

import (
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/mo"
)

// thePVDC is the provider VDC of the path, for system administrators.
func (c *call) thePVDC() (*pvdc, error) {
	id := uuidIn(c.path("id"))
	p := c.s.pvdcs[id]
	if p == nil {
		return nil, missing("providerVdc", or(id, c.path("id")))
	}
	return p, nil
}

func (s *Server) pvdcRef(tag string, p *pvdc) *node {
	n := s.ref(tag, "/api/admin/providervdc/", p.id, p.name, mediaAdmin+"providervdc+xml")
	n.CreateAttr("id", p.urn())
	return n
}

func (s *Server) pvdcProfileRef(p *pvdcProfile) *node {
	n := s.ref("ProviderVdcStorageProfile", "/api/admin/pvdcStorageProfile/", p.id, p.name, mediaAdmin+"pvdcStorageProfile+xml")
	n.CreateAttr("id", p.urn())
	return n
}

// getPVDC is a provider VDC; extended with what vCenter has to say.
func (c *call) getPVDC(extended bool) (*answer, error) {
	p, err := c.thePVDC()
	if err != nil {
		return nil, err
	}
	e, err := c.estate(p.vc)
	if err != nil {
		return nil, err
	}
	return c.pvdcAnswer(p, e, extended), nil
}

func (c *call) pvdcAnswer(p *pvdc, e *estate, extended bool) *answer {
	s := c.s
	tag, media, path := "ProviderVdc", mediaAdmin+"providervdc", "/api/admin/providervdc/"
	other, otherMedia := s.href("/api/admin/extension/providervdc/"+p.id), mediaAdmin+"vmwprovidervdc"
	if extended {
		tag, media, path, other, otherMedia = "vmext:VMWProviderVdc", otherMedia, "/api/admin/extension/providervdc/", s.href("/api/admin/providervdc/"+p.id), media
	}
	href := s.href(path + p.id)
	d := el(tag, "status", "1", "name", p.name, "id", p.urn(), "href", href, "type", media+"+xml")
	add(d, link("alternate", other, otherMedia+"+xml"), link("up", s.href("/api/admin"), mediaAdmin+"vcloud+xml"),
		link("down", s.href("/api/admin/providervdc/"+p.id+"/metadata"), mediaVCloud+"metadata+xml"))
	if extended {
		add(d, link("edit", href, media+"+xml"), link("remove", href, ""), link("down", href+"/resourcePools", mediaAdmin+"vmwProviderVdcResourcePoolSet+xml"),
			link("update:resourcePools", href+"/action/updateResourcePools", mediaAdmin+"resourcePoolSetUpdateParams+xml"),
			link("edit", href+"/storageProfiles", mediaAdmin+"updateProviderVdcStorageProfiles+xml"))
		if p.enabled {
			add(d, link("disable", href+"/action/disable", ""))
		} else {
			add(d, link("enable", href+"/action/enable", ""))
		}
	}
	add(d, text("Description", p.desc), s.tasksFor(p.id), s.rootCapacity(p, e), s.pvdcStorage(p, e))
	add(d, s.pvdcNetworks(p), c.pvdcProfileRefs(p), s.hardwareCapabilities(""))
	vdcs := el("Vdcs")
	for _, v := range s.vdcsOf(p) {
		add(vdcs, s.ref("Vdc", "/api/vdc/", v.id, v.name, mediaVCloud+"vdc+xml"))
	}
	pools := el("NetworkPoolReferences")
	for _, n := range p.networks {
		add(pools, s.ref("NetworkPoolReference", "/api/admin/extension/networkPool/", n.id, n.name, mediaAdmin+"networkPool+xml"))
	}
	add(d, vdcs, boolean("IsEnabled", p.enabled), pools)
	if extended {
		c.addVMWPart(d, p, e)
	}
	return ok(media, d)
}

// addVMWPart adds what the extension's document has in addition.
func (c *call) addVMWPart(d *node, p *pvdc, e *estate) {
	s := c.s
	var stores, pools []string
	for _, ds := range e.on(s.storesOf(p)) {
		stores = append(stores, ds.Self.Value)
	}
	for _, rp := range p.pools {
		pools = append(pools, rp.ref.Value)
	}
	hosts := el("vmext:HostReferences")
	for _, h := range e.hosts {
		add(hosts, s.ref("vmext:HostReference", "/api/admin/extension/host/", uuidOf(p.vc.id, h.Self.Value), h.Name, mediaAdmin+"host+xml"))
	}
	add(d, s.vimRefs("vmext:DataStoreRefs", p.vc, "DATASTORE", stores), s.vimRefs("vmext:ResourcePoolRefs", p.vc, "RESOURCE_POOL", pools),
		s.vimServerRef("vmext:VimServer", p.vc), hosts, text("vmext:HighestSupportedHardwareVersion", p.hardware))
	if p.nsxt.id != "" {
		add(d, s.ref("vmext:NsxTManagerReference", "/api/admin/extension/nsxtManagers/", p.nsxt.id, p.nsxt.name, mediaAdmin+"vmwNsxTManager+xml"))
	}
	add(d, text("vmext:ComputeProviderScope", p.vc.name))
}

// storesOf are the names of the datastores behind a provider VDC's storage
// profiles; none for all.
func (s *Server) storesOf(p *pvdc) []string {
	var out []string
	for _, prof := range s.profilesOf(p) {
		if len(prof.datastores) == 0 {
			return nil
		}
		out = append(out, prof.datastores...)
	}
	return out
}

func (c *call) pvdcProfileRefs(p *pvdc) *node {
	d := el("StorageProfiles")
	for _, prof := range c.s.profilesOf(p) {
		add(d, c.s.pvdcProfileRef(prof))
	}
	return d
}

// recently is how long an entity shows a task that is over.
const recently = time.Minute

// tasksFor are the tasks under way on an entity that is no vApp, and those that
// failed or ended recently (TasksInProgress of the API reference: queued,
// running, or recently completed).
func (s *Server) tasksFor(id string) *node {
	var d *node
	for _, t := range sorted(s.tasks) {
		if t.owner.id == id && (!t.over() || t.status == "error" || s.now().Sub(t.end) < recently) {
			if d == nil {
				d = el("Tasks")
			}
			add(d, s.taskNode(t))
		}
	}
	return d
}

// A capacitySum is what a provider VDC has and has given out. MHz and MB.
type capacitySum struct{ cpu, mem, cpuReserved, memReserved, cpuUsed, memUsed int64 }

func (s *Server) pvdcCapacity(p *pvdc, e *estate) capacitySum {
	var sum capacitySum
	clusters := map[string]bool{}
	for _, rp := range p.pools {
		if found := e.pool(rp.ref.Value); found != nil {
			clusters[found.Owner.Value] = true
		}
	}
	for _, h := range e.hosts {
		if hw := h.Summary.Hardware; hw != nil && (h.Parent == nil || clusters[h.Parent.Value] || len(clusters) == 0) {
			sum.cpu += int64(hw.CpuMhz) * int64(hw.NumCpuCores)
			sum.mem += hw.MemorySize >> 20
		}
	}
	for _, v := range s.vdcsOf(p) {
		cpu, mem := s.vdcUse(v)
		sum.cpuReserved += int64(float64(v.cpu.allocated) * v.cpuGuaranteed)
		sum.memReserved += int64(float64(v.memory.allocated) * v.memGuaranteed)
		sum.cpuUsed, sum.memUsed = sum.cpuUsed+cpu, sum.memUsed+mem
	}
	return sum
}

func (s *Server) rootCapacity(p *pvdc, e *estate) *node {
	sum := s.pvdcCapacity(p, e)
	part := func(tag, units string, total, reserved, used int64) *node {
		return add(el(tag), text("Units", units), number("Allocation", reserved), number("Reserved", reserved), number("Total", total),
			number("Used", used), number("Overhead", 0))
	}
	return add(el("ComputeCapacity"), part("Cpu", "MHz", sum.cpu, sum.cpuReserved, sum.cpuUsed), part("Memory", "MB", sum.mem, sum.memReserved, sum.memUsed),
		boolean("IsElastic", false), boolean("IsHA", false))
}

func (s *Server) pvdcStorage(p *pvdc, e *estate) *node {
	total, free := storeSum(e.on(s.storesOf(p)))
	return add(el("StorageCapacity"), text("Units", "MB"), number("Allocation", (total-free)>>20), number("Total", total>>20), number("Used", (total-free)>>20))
}

func storeSum(stores []mo.Datastore) (total, free int64) {
	for _, d := range stores {
		total, free = total+d.Summary.Capacity, free+d.Summary.FreeSpace
	}
	return total, free
}

// hardwareCapabilities lists hardware versions; with addresses where they are a
// VDC's.
func (s *Server) hardwareCapabilities(vdc string) *node {
	hw := el("SupportedHardwareVersions")
	last := hardwareVersions[len(hardwareVersions)-1]
	for _, h := range hardwareVersions {
		n := text("SupportedHardwareVersion", h, "name", h)
		if vdc != "" {
			n.CreateAttr("href", s.href("/api/vdc/"+vdc+"/hwv/"+h))
			n.CreateAttr("type", mediaVCloud+"virtualHardwareVersion+xml")
		}
		n.CreateAttr("default", yes(h == last))
		add(hw, n)
	}
	return add(el("Capabilities"), hw)
}

// getPVDCProfile is a storage profile of a provider VDC.
func (c *call) getPVDCProfile() (*answer, error) {
	prof := c.s.pvdcProfiles[uuidIn(c.path("id"))]
	if prof == nil {
		return nil, missing("providerVdcStorageProfile", c.path("id"))
	}
	e, err := c.estate(c.s.pvdcs[prof.pvdc].vc)
	if err != nil {
		return nil, err
	}
	return c.pvdcProfileAnswer(prof, e), nil
}

func (c *call) pvdcProfileAnswer(prof *pvdcProfile, e *estate) *answer {
	s, p := c.s, c.s.pvdcs[prof.pvdc]
	tag, media, path := "ProviderVdcStorageProfile", mediaAdmin+"pvdcStorageProfile", "/api/admin/pvdcStorageProfile/"
	extended := strings.HasPrefix(c.r.URL.Path, "/api/admin/extension/")
	if extended {
		tag, media, path = "vmext:VMWProviderVdcStorageProfile", mediaAdmin+"vmwPvdcStorageProfile", "/api/admin/extension/pvdcStorageProfile/"
	}
	total, free := storeSum(e.on(prof.datastores))
	href := s.href(path + prof.id)
	d := el(tag, "name", prof.name, "id", prof.urn(), "href", href, "type", media+"+xml")
	add(d, link("up", s.href("/api/admin/providervdc/"+p.id), mediaAdmin+"providervdc+xml"), link("edit", href, media+"+xml"),
		link("down", s.href("/api/admin/pvdcStorageProfile/"+prof.id+"/metadata"), mediaVCloud+"metadata+xml"),
		text("Description", prof.desc), boolean("Enabled", prof.enabled), text("Units", "MB"), number("CapacityTotal", total>>20),
		number("CapacityUsed", (total-free)>>20), number("IopsCapacity", prof.iops), number("IopsAllocated", 0))
	if extended {
		add(d, s.vimObject("vmext:VimStorageProfile", p.vc, policyID(p.vc, prof.name), "STORAGE_PROFILE"))
	}
	return ok(media, d)
}

// policyID is a storage policy's id in vCenter.
func policyID(vc *vcenter, name string) string { return uuidOf(vc.id, "storage policy", name) }

// pvdcNetworks are the external networks that a provider VDC can reach: those of
// its NSX-T manager and of its vCenter.
func (s *Server) pvdcNetworks(p *pvdc) *node {
	out := el("AvailableNetworks")
	for _, n := range sorted(s.extNets) {
		if len(n.backings) == 0 {
			continue
		}
		by := n.backings[0].provider
		if m := s.netDocs[by]; by == p.vc.id || m != nil && m.name == p.nsxt.name {
			add(out, s.ref("Network", "/api/admin/network/", n.id, n.name, mediaAdmin+"network+xml"))
		}
	}
	return out
}
