package director

import "strconv"

// vdcUse is what the deployed VMs of a VDC take: MHz and MB.
func (s *Server) vdcUse(v *vdc) (cpu, mem int64) {
	u := s.used(func(m *vm) bool { return m.vapp.vdc == v.id })
	return u.cpuMHz, u.memMB
}

// vdcCapacity is what a VDC has been given and what of it is in use. Where VMs
// are paid for as they run (AllocationVApp), each reserves its own share.
func (s *Server) vdcCapacity(v *vdc) *node {
	cpu, mem := s.vdcUse(v)
	part := func(tag, units string, has capacityLimit, guaranteed float64, used int64) *node {
		reserved := int64(float64(has.allocated) * guaranteed)
		if v.model == "AllocationVApp" {
			reserved = int64(float64(used) * guaranteed)
		}
		return add(el(tag), text("Units", units), number("Allocated", has.allocated), number("Limit", has.limit), number("Reserved", reserved), number("Used", used),
			number("Overhead", 0))
	}
	return add(el("ComputeCapacity"), part("Cpu", "MHz", v.cpu, v.cpuGuaranteed, cpu), part("Memory", "MB", v.memory, v.memGuaranteed, mem))
}

// vdcAdminLinks are what a system administrator can do to a VDC.
func (s *Server) vdcAdminLinks(v *vdc) []*node {
	href := s.href("/api/admin/vdc/" + v.id)
	out := []*node{link("edit", href, mediaAdmin+"vdc+xml")}
	if v.enabled {
		out = append(out, link("disable", href+"/action/disable", ""))
	} else {
		out = append(out, link("enable", href+"/action/enable", ""))
	}
	// Clients delete by a document from before it was disabled.
	return append(out, link("remove", href, ""), link("edit", href+"/vdcStorageProfiles", mediaAdmin+"updateVdcStorageProfiles+xml"),
		link("down", href+"/computePolicies", mediaVCloud+"vdcComputePolicyReferences+xml"))
}

// addAdminPart adds what administrators see of a VDC.
func (c *call) addAdminPart(d *node, v *vdc) {
	s := c.s
	add(d, text("ResourceGuaranteedMemory", decimal(v.memGuaranteed)), text("ResourceGuaranteedCpu", decimal(v.cpuGuaranteed)), number("VCpuInMhz", or(v.vcpuMHz, 1000)),
		boolean("IsThinProvision", v.thin))
	if v.networkPool.id != "" {
		add(d, s.ref("NetworkPoolReference", "/api/admin/extension/networkPool/", v.networkPool.id, v.networkPool.name, mediaAdmin+"networkPool+xml"))
	}
	if p := s.pvdcs[v.pvdc]; p != nil {
		add(d, s.pvdcRef("ProviderVdcReference", p))
	}
	if c.provider() && v.status == vdcReady {
		add(d, add(el("ResourcePoolRefs"), s.vimObject("vmext:VimObjectRef", v.vc, v.pool.Value, "RESOURCE_POOL")))
	}
	add(d, boolean("UsesFastProvisioning", v.fast), boolean("OverCommitAllowed", v.overCommit), opt("VmDiscoveryEnabled", v.discovery))
	if v.model == "Flex" {
		add(d, boolean("IsElastic", v.elastic), boolean("IncludeMemoryOverhead", v.overhead))
	}
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
