package director

import (
	"slices"
	"time"
)

func (s *Server) vappRef(tag string, a *vapp) *node {
	return el(tag, "href", s.vappHref(a), "id", "urn:vcloud:vapp:"+a.id, "name", a.name, "type", mediaVCloud+"vApp+xml")
}

func (s *Server) vappHref(a *vapp) string {
	if a.template != nil {
		return s.href("/api/vAppTemplate/vappTemplate-" + a.id)
	}
	return s.href("/api/vApp/vapp-" + a.id)
}

func (s *Server) vmHref(m *vm) string {
	if m.vapp.template != nil {
		return s.href("/api/vAppTemplate/vm-" + m.id)
	}
	return s.href("/api/vApp/vm-" + m.id)
}

// The states of vApps and VMs.
const (
	stateFailed     = -1
	stateUnresolved = 0
	stateResolved   = 1
	stateSuspended  = 3
	stateOn         = 4
	stateUnknown    = 6
	stateOff        = 8
	stateMixed      = 10
)

// stateNames are the states in query records.
var stateNames = map[int]string{
	stateFailed: "FAILED_CREATION", stateUnresolved: "UNRESOLVED", stateResolved: "RESOLVED", stateSuspended: "SUSPENDED",
	stateOn: "POWERED_ON", stateUnknown: "UNKNOWN", stateOff: "POWERED_OFF", stateMixed: "MIXED",
}

// state is what the power states of its VMs say.
func (a *vapp) state() int {
	if a.status == stateFailed || a.status == stateUnresolved {
		return a.status
	}
	if len(a.vms) == 0 {
		if a.deployed {
			return stateOn // it has nothing that could be off
		}
		return stateResolved
	}
	st := a.vms[0].state()
	for _, m := range a.vms[1:] {
		if m.state() != st {
			return stateMixed
		}
	}
	// A vApp that was started keeps running when VMs come to it.
	if st == stateOff && a.deployed && !slices.ContainsFunc(a.vms, func(m *vm) bool { return m.deployed }) {
		return stateMixed
	}
	return st
}

// getVApp is a vApp or a VM.
func (c *call) getVApp() (*answer, error) {
	a, m, err := c.target()
	if err != nil {
		return nil, err
	}
	if m != nil {
		if err := c.refresh(m); err != nil {
			return nil, err
		}
		return ok(mediaVCloud+"vm", c.vmNode(m)), nil
	}
	if err := c.refresh(a.vms...); err != nil {
		return nil, err
	}
	if c.s.vapps[a.id] == nil {
		return nil, missing("vapp", a.id)
	}
	return ok(mediaVCloud+"vApp", c.vappNode(a)), nil
}

// vappNode is the document of a vApp.
func (c *call) vappNode(a *vapp) *node {
	s := c.s
	d := el("VApp", "ovfDescriptorUploaded", "true", "deployed", yes(a.deployed), "status", num(a.state()), "name", a.name,
		"id", "urn:vcloud:vapp:"+a.id, "href", s.vappHref(a), "type", mediaVCloud+"vApp+xml")
	add(d, c.vappLinks(a)...)
	add(d, text("Description", a.desc), s.tasksNode(a, nil))
	if a.status == stateUnresolved || a.status == stateFailed {
		return add(d, text("DateCreated", stamp(a.created)), c.ownerNode(a), boolean("InMaintenanceMode", a.maintenance))
	}
	for _, part := range []func(*vapp) (string, *node){c.leaseSection, c.startupSection, c.networkSection, c.networkConfigSection, c.vappSnapshots} {
		if _, n := part(a); n != nil && (n.Tag != "StartupSection" || len(a.vms) > 0) {
			add(d, n)
		}
	}
	add(d, text("DateCreated", stamp(a.created)), c.ownerNode(a), boolean("autoNature", a.auto), boolean("InMaintenanceMode", a.maintenance))
	if len(a.vms) > 0 {
		children := el("Children")
		for _, m := range a.vms {
			add(children, c.vmNode(m))
		}
		add(d, children)
	}
	return d
}

func (c *call) vappLinks(a *vapp) []*node {
	s, href := c.s, c.s.vappHref(a)
	var out []*node
	if !a.expired {
		out = c.powerLinks(href, a.state(), a.deployed)
	}
	for _, n := range a.nets {
		out = append(out, el("Link", "rel", "down", "href", s.href("/api/network/"+n.id), "name", n.name, "type", mediaVCloud+"vAppNetwork+xml"))
	}
	if a.expired {
		return append(out, link("up", s.href("/api/vdc/"+a.vdc), mediaVCloud+"vdc+xml"), link("edit", href, mediaVCloud+"vApp+xml"), link("remove", href, ""))
	}
	out = append(out, link("down", href+"/controlAccess/", mediaVCloud+"controlAccess+xml"),
		link("controlAccess", href+"/action/controlAccess", mediaVCloud+"controlAccess+xml"),
		link("up", s.href("/api/vdc/"+a.vdc), mediaVCloud+"vdc+xml"),
		link("edit", href, mediaVCloud+"vApp+xml"),
		link("down", href+"/owner", mediaVCloud+"owner+xml"),
		link("down", href+"/metadata", mediaVCloud+"metadata+xml"),
		link("down", href+"/productSections/", mediaVCloud+"productSections+xml"),
		link("snapshot:create", href+"/action/createSnapshot", mediaVCloud+"createSnapshotParams+xml"))
	if slices.ContainsFunc(a.vms, func(m *vm) bool { return m.facts != nil && m.facts.snapshot != nil }) {
		out = append(out, link("snapshot:revertToCurrent", href+"/action/revertToCurrentSnapshot", ""),
			link("snapshot:removeAll", href+"/action/removeAllSnapshots", ""))
	}
	if !a.deployed {
		out = append(out, link("remove", href, ""))
	}
	if !a.maintenance && c.provider() {
		out = append(out, link("enterMaintenanceMode", href+"/action/enterMaintenanceMode", ""))
	}
	if a.maintenance && c.provider() {
		out = append(out, link("exitMaintenanceMode", href+"/action/exitMaintenanceMode", ""))
	}
	out = append(out, append(c.s.downloadLinks(a.download, href), link("ovf", href+"/ovf", "text/xml"))...)
	if !a.auto {
		out = append(out, link("recompose", href+"/action/recomposeVApp", mediaVCloud+"recomposeVAppParams+xml"))
	}
	return out
}

// powerLinks are the actions that a state allows.
func (c *call) powerLinks(href string, state int, deployed bool) []*node {
	var out []*node
	if state != stateOn {
		out = append(out, link("power:powerOn", href+"/power/action/powerOn", ""))
	}
	if state == stateOn || state == stateMixed {
		for _, p := range []string{"powerOff", "shutdown", "suspend", "reset", "reboot"} {
			out = append(out, link("power:"+p, href+"/power/action/"+p, ""))
		}
	}
	if state == stateSuspended {
		out = append(out, link("discardState", href+"/action/discardSuspendedState", ""))
	}
	if deployed {
		return append(out, link("undeploy", href+"/action/undeploy", mediaVCloud+"undeployVAppParams+xml"))
	}
	return append(out, link("deploy", href+"/action/deploy", mediaVCloud+"deployVAppParams+xml"))
}

// section makes a section of vCloud's own namespace, with its Info.
func section(tag, href, typ, info string) *node {
	return add(el(tag, "href", href, "type", typ+"+xml", "ovf:required", "false"), text("ovf:Info", info))
}

// ovfSection makes a section of OVF's namespace, whose vCloud attributes are
// qualified.
func ovfSection(tag, href, typ, info string) *node {
	return add(el(tag, "vcloud:type", typ+"+xml", "vcloud:href", href), text("ovf:Info", info))
}

func (c *call) leaseSection(a *vapp) (string, *node) {
	typ, href := mediaVCloud+"leaseSettingsSection", c.s.vappHref(a)+"/leaseSettingsSection/"
	d := section("LeaseSettingsSection", href, typ, "Lease settings section")
	add(d, link("edit", href, typ+"+xml"), number("DeploymentLeaseInSeconds", a.lease.DeploymentSeconds),
		number("StorageLeaseInSeconds", a.lease.StorageSeconds))
	if a.lease.DeploymentSeconds > 0 && !a.deployedAt.IsZero() {
		add(d, text("DeploymentLeaseExpiration", stamp(a.deployedAt.Add(time.Duration(a.lease.DeploymentSeconds)*time.Second))))
	}
	if a.lease.StorageSeconds > 0 && !a.storedAt.IsZero() {
		add(d, text("StorageLeaseExpiration", stamp(a.storedAt.Add(time.Duration(a.lease.StorageSeconds)*time.Second))))
	}
	return typ, d
}

func (c *call) startupSection(a *vapp) (string, *node) {
	typ, href := mediaVCloud+"startupSection", c.s.vappHref(a)+"/startupSection/"
	d := ovfSection("ovf:StartupSection", href, typ, "VApp startup section")
	for _, m := range a.vms {
		it := a.startupOf(m)
		add(d, el("ovf:Item", "ovf:id", m.name, "ovf:order", num(it.Order), "ovf:startAction", it.StartAction, "ovf:startDelay", num(it.StartDelay),
			"ovf:stopAction", it.StopAction, "ovf:stopDelay", num(it.StopDelay)))
	}
	return typ, add(d, link("edit", href, typ+"+xml"))
}

// startupOf is how a VM starts and stops.
func (a *vapp) startupOf(m *vm) StartupItem {
	it := a.startup[m.id]
	it.StartAction, it.StopAction = or(it.StartAction, "powerOn"), or(it.StopAction, "powerOff")
	return it
}

func (c *call) networkSection(a *vapp) (string, *node) {
	typ := mediaVCloud + "networkSection"
	d := ovfSection("ovf:NetworkSection", c.s.vappHref(a)+"/networkSection/", typ, "The list of logical networks")
	for _, n := range a.nets {
		add(d, add(el("ovf:Network", "ovf:name", n.name), text("ovf:Description", n.desc)))
	}
	if a.onNone() {
		add(d, add(el("ovf:Network", "ovf:name", noNetwork), text("ovf:Description", noNetworkText)))
	}
	return typ, d
}

func (c *call) networkConfigSection(a *vapp) (string, *node) {
	typ, href := mediaVCloud+"networkConfigSection", c.s.vappHref(a)+"/networkConfigSection/"
	d := section("NetworkConfigSection", href, typ, "The configuration parameters for logical networks")
	add(d, link("edit", href, typ+"+xml"))
	for _, n := range a.nets {
		nc := el("NetworkConfig", "networkName", n.name)
		if a.template == nil {
			add(nc, link("repair", c.s.href("/api/admin/network/"+n.id+"/action/reset"), ""))
			if n.mode() == "natRouted" {
				add(nc, link("syncSyslogSettings", c.s.href("/api/admin/network/"+n.id+"/action/syncSyslogServerSettings"), mediaVCloud+"task+xml"))
			}
		}
		add(d, add(nc, text("Description", n.desc), c.s.configuration(n), boolean("IsDeployed", a.deployed)))
	}
	if a.onNone() {
		scope := ipScope{gateway: "196.254.254.254", netmask: "255.255.0.0", dns1: "196.254.254.254"}
		add(d, add(el("NetworkConfig", "networkName", noNetwork), text("Description", noNetworkText),
			add(el("Configuration"), add(el("IpScopes"), scopeNode(scope, false, nil)), text("FenceMode", "isolated"),
				boolean("RetainNetInfoAcrossDeployments", false)), boolean("IsDeployed", false)))
	}
	return typ, d
}

func (c *call) vappSnapshots(a *vapp) (string, *node) {
	typ := mediaVCloud + "snapshotSection"
	d := section("SnapshotSection", c.s.vappHref(a)+"/snapshotSection", typ, "Snapshot information section")
	var newest *facts
	var size int64
	for _, m := range a.vms {
		if m.facts != nil && m.facts.snapshot != nil {
			size += m.snapshotSize()
			if newest == nil || m.facts.snapshot.CreateTime.After(newest.snapshot.CreateTime) {
				newest = m.facts
			}
		}
	}
	if newest != nil {
		add(d, snapshotNode(newest, size))
	}
	return typ, d
}

// getSnapshots is the snapshotSection of a vApp or a VM.
func (c *call) getSnapshots() (*answer, error) {
	a, m, err := c.target()
	if err != nil {
		return nil, err
	}
	if m != nil {
		err = c.refresh(m)
	} else {
		err = c.refresh(a.vms...)
	}
	if err != nil {
		return nil, err
	}
	if m != nil {
		typ, d := c.vmSnapshots(m)
		return ok(typ, d), nil
	}
	typ, d := c.vappSnapshots(a)
	return ok(typ, d), nil
}
