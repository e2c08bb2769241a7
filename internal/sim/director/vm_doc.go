package director

import (
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// state is what vCenter last said of a VM's power.
func (m *vm) state() int {
	switch {
	case m.creating:
		return stateUnresolved
	case !m.seen.known || m.lost:
		return stateUnknown
	}
	switch m.seen.power {
	case types.VirtualMachinePowerStatePoweredOn:
		return stateOn
	case types.VirtualMachinePowerStateSuspended:
		return stateSuspended
	}
	return stateOff
}

// refresh reads the facts of VMs from their vCenters. It lets go of the
// server's mutex meanwhile.
func (c *call) refresh(vms ...*vm) error { return c.s.refresh(c.r.Context(), vms...) }

// vmNode is the document of a VM.
func (c *call) vmNode(m *vm) *node {
	s := c.s
	d := el("Vm", "needsCustomization", yes(m.customize), "nestedHypervisorEnabled", yes(m.nested()), "deployed", yes(m.deployed),
		"status", num(m.state()), "name", m.name, "id", "urn:vcloud:vm:"+m.id, "href", s.vmHref(m), "type", mediaVCloud+"vm+xml")
	if c.provider() && m.facts != nil {
		add(d, c.vimInfo(m))
	}
	add(d, c.vmLinks(m)...)
	add(d, text("Description", m.desc), s.tasksNode(nil, m))
	if m.facts != nil {
		for _, part := range []func(*vm) (string, *node){c.hardwareSection, c.osSection, c.connectionSection, c.guestSection,
			c.runtimeSection, c.vmSnapshots} {
			_, n := part(m)
			add(d, n)
		}
		for _, p := range m.products {
			add(d, p.Copy())
		}
		_, spec := c.specSection(m)
		add(d, spec)
	}
	add(d, text("DateCreated", stamp(m.created)), text("VAppScopedLocalId", m.scopedID))
	if m.facts != nil && m.state() == stateOn {
		add(d, c.environment(m))
	}
	_, caps := c.capabilities(m)
	add(d, caps, s.profileRef("StorageProfile", m.profile), c.bootNode(m))
	return add(d, c.policyNode(m), c.tpmNode(m))
}

// policyNode is a VM's ComputePolicy. A VM without policies of its own has the
// VDC's default for its size.
func (c *call) policyNode(m *vm) *node {
	s, d := c.s, el("ComputePolicy")
	ref := func(tag string, p *policy) *node {
		return el(tag, "href", s.href("/cloudapi/1.0.0/vdcComputePolicies/"+p.urn()), "id", p.urn(), "name", p.name, "type", "application/json")
	}
	sizing := m.policy
	if sizing == "" && m.placement == "" {
		sizing = s.vdcs[m.vapp.vdc].defaultPolicy
	}
	if p := s.policies[m.placement]; p != nil {
		add(d, ref("VmPlacementPolicy", p), boolean("VmPlacementPolicyFinal", false))
	}
	if p := s.policies[sizing]; p != nil {
		add(d, ref("VmSizingPolicy", p), boolean("VmSizingPolicyFinal", false))
	}
	if len(d.ChildElements()) == 0 {
		return nil
	}
	return d
}

func (m *vm) nested() bool {
	return m.facts != nil && m.facts.config.NestedHVEnabled != nil && *m.facts.config.NestedHVEnabled
}

func (c *call) vmLinks(m *vm) []*node {
	href := c.s.vmHref(m)
	out := c.powerLinks(href, m.state(), m.deployed)
	if m.state() == stateOn {
		out = append(out, link("screen:thumbnail", href+"/screen", ""), link("screen:acquireTicket", href+"/screen/action/acquireTicket", ""),
			link("screen:acquireMksTicket", href+"/screen/action/acquireMksTicket", mediaVCloud+"mksTicket+xml"),
			link("installVmwareTools", href+"/action/installVMwareTools", ""))
	}
	if m.state() == stateOff {
		nest := "enable"
		if m.nested() {
			nest = "disable"
		}
		out = append(out, link(nest, href+"/action/"+nest+"NestedHypervisor", ""),
			link("upgrade", href+"/action/upgradeHardwareVersion", ""))
	}
	if m.state() != stateSuspended {
		out = append(out, link("disk:attach", href+"/disk/action/attach", mediaVCloud+"diskAttachOrDetachParams+xml"),
			link("disk:detach", href+"/disk/action/detach", mediaVCloud+"diskAttachOrDetachParams+xml"))
	}
	out = append(out, link("media:insertMedia", href+"/media/action/insertMedia", mediaVCloud+"mediaInsertOrEjectParams+xml"),
		link("media:ejectMedia", href+"/media/action/ejectMedia", mediaVCloud+"mediaInsertOrEjectParams+xml"),
		link("down", href+"/metrics/current", mediaVCloud+"metrics.currentUsageSpec+xml"),
		link("down", href+"/metrics/historic", mediaVCloud+"metrics.historicUsageSpec+xml"),
		link("metrics", href+"/metrics/historic", mediaVCloud+"metrics.historicUsageSpec+xml"), link("consolidate", href+"/action/consolidate", ""), link("checkCompliance", href+"/action/checkCompliance", ""))
	if m.state() == stateOn {
		out = append(out, link("metrics", href+"/metrics/current", mediaVCloud+"metrics.currentUsageSpec+xml"))
	}
	if c.provider() {
		out = append(out, link("reloadFromVc", href+"/action/reloadFromVc", ""), link("relocate", href+"/action/relocate", mediaVCloud+"relocateVmParams+xml"))
	}
	return append(out, link("edit", href, mediaVCloud+"vm+xml"), link("remove", href, ""),
		link("down", href+"/metadata", mediaVCloud+"metadata+xml"),
		link("down", href+"/productSections/", mediaVCloud+"productSections+xml"),
		link("down", href+"/complianceResult", "application/vnd.vmware.vm.complianceResult+xml"),
		link("customizeAtNextPowerOn", href+"/action/customizeAtNextPowerOn", ""),
		link("snapshot:create", href+"/action/createSnapshot", mediaVCloud+"createSnapshotParams+xml"),
		link("snapshot:revertToCurrent", href+"/action/revertToCurrentSnapshot", ""),
		link("snapshot:removeAll", href+"/action/removeAllSnapshots", ""),
		el("Link", "rel", "reconfigureVm", "href", href+"/action/reconfigureVm", "name", m.name, "type", mediaVCloud+"vm+xml"),
		link("up", c.s.vappHref(m.vapp), mediaVCloud+"vApp+xml"))
}

// vimObject refers to an object in a vCenter.
func (s *Server) vimObject(tag string, vc *vcenter, moref, typ string) *node {
	return add(el(tag), s.vimServerRef("vmext:VimServerRef", vc), text("vmext:MoRef", moref), text("vmext:VimObjectType", typ))
}

func (s *Server) vimServerRef(tag string, vc *vcenter) *node {
	return el(tag, "href", s.href("/api/admin/extension/vimServer/"+vc.id), "id", "urn:vcloud:vimserver:"+vc.id, "name", vc.name,
		"type", mediaAdmin+"vmwvirtualcenter+xml")
}

// vimInfo is what only system administrators see of a VM.
func (c *call) vimInfo(m *vm) *node {
	s, f := c.s, m.facts
	info := add(el("vmext:VmVimInfo"), s.vimObject("vmext:VmVimObjectRef", m.vc, m.moref, "VIRTUAL_MACHINE"),
		s.vimObject("vmext:DatastoreVimObjectRef", m.vc, f.home.Value, "DATASTORE"))
	for _, d := range f.disks() {
		n := s.vimObject("vmext:VmDiskDatastores", m.vc, f.diskStores[d.Key].Value, "DATASTORE")
		n.CreateAttr("instanceId", num(d.Key))
		add(info, n)
	}
	add(info, s.vimObject("vmext:HostVimObjectRef", m.vc, f.host.Value, "HOST"), number("vmext:VirtualDisksMaxChainLength", max(f.chain, 1)))
	return add(el("VCloudExtension", "required", "false"), info)
}

// cimOS are the CIM numbers of guest systems by the beginning of vSphere's
// name; the first that fits counts.
var cimOS = []struct {
	prefix, name string
	id           int
}{
	{"windows2022srv", "Microsoft Windows Server 2022 (64-bit)", 1}, {"windows2019srv", "Microsoft Windows Server 2019 (64-bit)", 112},
	{"windows9Server64", "Microsoft Windows Server 2016 (64-bit)", 102}, {"windows", "Microsoft Windows", 67}, {"win", "Microsoft Windows", 67},
	{"ubuntu64", "Ubuntu Linux (64-bit)", 94}, {"ubuntu", "Ubuntu Linux (32-bit)", 93}, {"debian", "Debian GNU/Linux (64-bit)", 96},
	{"centos", "CentOS (64-bit)", 107}, {"rhel", "Red Hat Enterprise Linux (64-bit)", 80}, {"sles", "SUSE Linux Enterprise (64-bit)", 85},
	{"vmwarePhoton", "VMware Photon OS (64-bit)", 101}, {"other", "Other", 1},
}

func guestName(id string) (string, int) {
	for _, o := range cimOS {
		if strings.HasPrefix(id, o.prefix) {
			return o.name, o.id
		}
	}
	return id, 1
}

func (c *call) osSection(m *vm) (string, *node) {
	typ, href := mediaVCloud+"operatingSystemSection", c.s.vmHref(m)+"/operatingSystemSection/"
	guest := or(m.facts.config.GuestId, "otherGuest64")
	name, id := guestName(guest)
	d := el("ovf:OperatingSystemSection", "ovf:id", num(id), "vcloud:type", typ+"+xml", "vmw:osType", guest, "vcloud:href", href)
	return typ, add(d, text("ovf:Info", "Specifies the operating system installed"), text("ovf:Description", name), link("edit", href, typ+"+xml"))
}

func (c *call) connectionSection(m *vm) (string, *node) {
	typ, href := mediaVCloud+"networkConnectionSection", c.s.vmHref(m)+"/networkConnectionSection/"
	d := section("NetworkConnectionSection", href, typ, "Specifies the available VM network connections")
	if len(m.nics) > 0 {
		add(d, number("PrimaryNetworkConnectionIndex", m.primary))
	}
	for _, n := range m.nics {
		add(d, add(el("NetworkConnection", "needsCustomization", yes(n.customize), "network", n.network), number("NetworkConnectionIndex", n.index),
			opt("IpAddress", n.ip), opt("ExternalIpAddress", c.s.externalOf(m, n)), boolean("IsConnected", n.connected), opt("MACAddress", n.mac), text("IpAddressAllocationMode", n.mode),
			text("NetworkAdapterType", n.adapter)))
	}
	return typ, add(d, link("edit", href, typ+"+xml"))
}

func (c *call) guestSection(m *vm) (string, *node) {
	typ, href, g := mediaVCloud+"guestCustomizationSection", c.s.vmHref(m)+"/guestCustomizationSection/", m.guest
	d := section("GuestCustomizationSection", href, typ, "Specifies Guest OS Customization Settings")
	return typ, add(d, boolean("Enabled", g.Enabled), boolean("ChangeSid", g.ChangeSID), text("VirtualMachineId", m.id),
		boolean("JoinDomainEnabled", g.JoinDomain), boolean("UseOrgSettings", g.UseOrgSettings), opt("DomainName", g.Domain),
		opt("DomainUserName", g.DomainUser), opt("DomainUserPassword", g.DomainPassword), opt("MachineObjectOU", g.MachineOU),
		boolean("AdminPasswordEnabled", g.PasswordEnabled || g.AdminPassword != "" || g.AdminPasswordAuto),
		boolean("AdminPasswordAuto", g.AdminPasswordAuto), opt("AdminPassword", g.AdminPassword), boolean("AdminAutoLogonEnabled", g.AutoLogon),
		number("AdminAutoLogonCount", g.AutoLogonCount), boolean("ResetPasswordRequired", g.ResetPassword), opt("CustomizationScript", g.Script),
		text("ComputerName", m.computer), link("edit", href, typ+"+xml"))
}

func (c *call) runtimeSection(m *vm) (string, *node) {
	typ := mediaVCloud + "virtualHardwareSection"
	d := ovfSection("RuntimeInfoSection", c.s.vmHref(m)+"/runtimeInfoSection", typ, "Specifies Runtime info")
	if t := m.facts.config.Tools; t != nil && t.ToolsVersion > 0 {
		add(d, el("VMWareTools", "version", num(t.ToolsVersion)))
	}
	return typ, d
}

func (c *call) vmSnapshots(m *vm) (string, *node) {
	typ := mediaVCloud + "snapshotSection"
	d := section("SnapshotSection", c.s.vmHref(m)+"/snapshotSection", typ, "Snapshot information section")
	if m.vapp.template == nil && m.facts != nil && m.facts.snapshot != nil {
		add(d, snapshotNode(m.facts, m.snapshotSize()))
	}
	return typ, d
}

func snapshotNode(f *facts, size int64) *node {
	return el("Snapshot", "created", stamp(f.snapshot.CreateTime), "poweredOn",
		yes(f.snapshot.State == types.VirtualMachinePowerStatePoweredOn), "size", num(size))
}

// snapshotSize is what vCD charges for a snapshot: the VM's disks and memory.
func (m *vm) snapshotSize() int64 {
	var n int64
	for _, d := range m.facts.disks() {
		n += capacity(d)
	}
	return n
}

func (c *call) capabilities(m *vm) (string, *node) {
	typ, href := mediaVCloud+"vmCapabilitiesSection", c.s.vmHref(m)+"/vmCapabilities/"
	var mem, cpu bool
	if m.facts != nil {
		mem, cpu = isTrue(m.facts.config.MemoryHotAddEnabled), isTrue(m.facts.config.CpuHotAddEnabled)
	}
	return typ, add(el("VmCapabilities", "href", href, "type", typ+"+xml"), link("edit", href, typ+"+xml"),
		boolean("MemoryHotAddEnabled", mem), boolean("CpuHotAddEnabled", cpu))
}

func isTrue(b *bool) bool { return b != nil && *b }
