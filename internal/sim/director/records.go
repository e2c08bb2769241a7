package director

import (
	"strings"
)

func (c *call) adminQuery() bool {
	return strings.HasPrefix(c.query("type"), "admin") || strings.HasPrefix(c.r.URL.Path, "/api/admin/extension/")
}

func (c *call) vappRecords() []*record {
	var out []*record
	for _, a := range sorted(c.s.vapps) {
		if c.level(a) > accessNone {
			out = append(out, c.vappRecord(a))
		}
	}
	return out
}

func (c *call) vappRecord(a *vapp) *record {
	return &record{
		meta: a.meta, vapp: a, call: c,
		fill: func(r *record) { r.call.fillVApp(r, r.vapp) },
		load: func(r *record) { loadVApp(r, r.vapp) },
	}
}

func (c *call) fillVApp(r *record, a *vapp) {
	s, v := c.s, c.s.vdcs[a.vdc]
	owner := s.users[a.owner]
	if owner == nil {
		owner = s.systemUser()
	}
	r.tag = "VAppRecord"
	r.attrs = []string{"href", s.vappHref(a), "name", a.name, "vdc", s.href("/api/vdc/" + v.id), "vdcName", v.name, "isEnabled", "true",
		"isBusy", yes(s.occupied(a, nil)), "creationDate", stamp(a.created), "ownerName", owner.name, "isDeployed", yes(a.deployed),
		"isInMaintenanceMode", yes(a.maintenance), "isAutoNature", yes(a.auto), "isExpired", yes(a.expired)}
	if c.adminQuery() {
		r.tag = "AdminVAppRecord"
		r.attrs = append(r.attrs, "org", s.href("/api/org/"+v.org), "isVdcEnabled", yes(v.enabled), "numberOfVMs", num(len(a.vms)))
	} else {
		r.attrs = append(r.attrs, "isPublic", "false")
	}
}

// loadVApp fills in what vCenter knows.
func loadVApp(r *record, a *vapp) {
	r.attrs = append(r.attrs, "status", stateNames[a.state()])
	if r.tag != "AdminVAppRecord" {
		return
	}
	var cpu, mem int32
	var kb int64
	for _, m := range a.vms {
		cpu, mem, kb = cpu+m.seen.cpus*1000, mem+m.seen.memoryMB, kb+m.seen.bytes()>>10
	}
	r.attrs = append(r.attrs, "storageKB", num(kb), "cpuAllocationMhz", num(cpu), "memoryAllocationMB", num(mem))
}

func (c *call) vmRecords() []*record {
	var out []*record
	for _, a := range append(sorted(c.s.vapps), c.templateContents()...) {
		if c.level(a) == accessNone {
			continue
		}
		for _, m := range a.vms {
			out = append(out, c.vmRecord(m))
		}
	}
	return out
}

func (c *call) vmRecord(m *vm) *record {
	return &record{
		meta: m.meta, vm: m, call: c,
		fill: func(r *record) { r.call.fillVM(r, r.vm) },
		load: func(r *record) { r.call.loadVM(r, r.vm) },
	}
}

func (c *call) fillVM(r *record, m *vm) {
	s, a, v := c.s, m.vapp, c.s.vdcs[m.vapp.vdc]
	r.tag = "VMRecord"
	profileName := ""
	if p := s.profiles[m.profile]; p != nil {
		profileName = p.name
	}
	r.attrs = []string{"href", s.vmHref(m), "name", m.name, "containerName", a.name, "container", s.vappHref(a), "vdc", s.href("/api/vdc/" + v.id),
		"isVAppTemplate", yes(a.template != nil), "isDeployed", yes(m.deployed), "isPublished", "false", "isAutoNature", yes(a.auto),
		"storageProfileName", profileName, "gcStatus", m.customization(), "vdcName", v.name, "description", m.desc,
		"vappScopedLocalId", m.scopedID, "dateCreated", stamp(m.created), "isExpired", yes(a.expired)}
	if t := a.template; t != nil && t.item != nil {
		r.attrs = append(r.attrs, "catalogName", t.item.catalog.name)
	}
	if c.adminQuery() {
		r.tag = "AdminVMRecord"
		r.attrs = append(r.attrs, "isVdcEnabled", yes(v.enabled), "vc", s.href("/api/admin/extension/vimServer/"+m.vc.id), "moref", m.moref,
			"org", s.href("/api/org/"+v.org))
	} else {
		owner := s.users[a.owner]
		if owner == nil {
			owner = s.systemUser()
		}
		r.attrs = append(r.attrs, "ownerName", owner.name, "owner", s.href("/api/admin/user/"+owner.id), "isBusy", yes(s.occupied(a, m)),
			"isInMaintenanceMode", yes(a.maintenance), "vmToolsStatus", "NOT_INSTALLED")
	}
}

// loadVM fills in what vCenter knows.
func (c *call) loadVM(r *record, m *vm) {
	r.attrs = append(r.attrs, "status", stateNames[m.state()], "isDeleted", yes(m.lost))
	if f := m.seen; f.known {
		name, _ := guestName(f.guest)
		r.attrs = append(r.attrs, "guestOs", name, "numberOfCpus", num(f.cpus), "memoryMB", num(f.memoryMB),
			"hardwareVersion", strings.TrimLeft(strings.TrimPrefix(f.version, "vmx-"), "0"))
		if r.tag == "AdminVMRecord" {
			r.attrs = append(r.attrs, "hostName", m.vc.nameOf(f.host), "datastoreName", f.home, "vmNameInVc", f.name)
		}
	}
	for _, n := range m.nics {
		if n.index == m.primary && n.network != noNetwork {
			r.attrs = append(r.attrs, "networkName", n.network, "ipAddress", n.ip)
		}
	}
}

func (c *call) vdcRecords() []*record {
	s := c.s
	var out []*record
	vappsOf, vmsOf, profilesOf := map[string]int{}, map[string]int{}, map[string]int{}
	for _, a := range s.vapps {
		vappsOf[a.vdc]++
		vmsOf[a.vdc] += len(a.vms)
	}
	for _, p := range s.profiles {
		profilesOf[p.vdc]++
	}
	for _, v := range sorted(s.vdcs) {
		if !c.provider() && v.org != c.login.org.id {
			continue
		}
		o, vapps, vms, profiles := s.orgs[v.org], vappsOf[v.id], vmsOf[v.id], profilesOf[v.id]
		r := &record{tag: "OrgVdcRecord", meta: v.meta, attrs: []string{"name", v.name, "description", v.desc, "isEnabled", yes(v.enabled),
			"providerVdcName", v.vc.name, "providerVdc", s.href("/api/admin/providervdc/" + v.vc.id), "orgName", o.name,
			"numberOfVApps", num(vapps), "numberOfVMs", num(vms), "numberOfStorageProfiles", num(profiles), "isSystemVdc", "false", "isBusy", "false",
			"status", "READY"}}
		if c.adminQuery() {
			r.tag = "AdminVdcRecord"
			r.attrs = append(r.attrs, "href", s.href("/api/vdc/"+v.id), "org", s.href("/api/org/"+o.id), "vcName", v.vc.name,
				"vc", s.href("/api/admin/extension/vimServer/"+v.vc.id), "isVCEnabled", "true")
		} else {
			r.attrs = append(r.attrs, "href", s.href("/api/vdc/"+v.id))
		}
		out = append(out, r)
	}
	return out
}

func (c *call) orgRecords() []*record {
	s := c.s
	var out []*record
	vdcsOf, vappsOf := map[string]int{}, map[string]int{}
	for _, v := range s.vdcs {
		vdcsOf[v.org]++
	}
	for _, a := range s.vapps {
		vappsOf[s.vdcs[a.vdc].org]++
	}
	for _, o := range sorted(s.orgs) {
		if !c.provider() && o != c.login.org {
			continue
		}
		vdcs, vapps := vdcsOf[o.id], vappsOf[o.id]
		out = append(out, &record{tag: "OrgRecord", meta: o.meta, attrs: []string{"href", s.href("/api/org/" + o.id), "name", o.name,
			"displayName", o.fullName, "isEnabled", yes(o.enabled), "isReadOnly", "false", "deployedVMQuota", num(o.deployedQuota),
			"storedVMQuota", num(o.stored), "canPublishCatalogs", "false", "numberOfVdcs", num(vdcs), "numberOfVApps", num(vapps)}})
	}
	return out
}

// userRecords are the users of the organization, whoever asks (reference: query
// user, visible to User and OrgAdmin).
func (c *call) userRecords() []*record {
	s := c.s
	var out []*record
	for _, u := range sorted(s.users) {
		if !c.orgAdmin(u.org) && c.login.org.id != u.org {
			continue
		}
		r := &record{tag: "UserRecord", attrs: []string{"href", s.href("/api/admin/user/" + u.id), "name", u.name, "fullName", u.fullName,
			"isEnabled", yes(u.enabled), "deployedVMQuota", num(u.deployed), "storedVMQuota", num(u.quota), "isLdapUser", "false"}}
		if c.adminQuery() {
			r.tag = "AdminUserRecord"
			r.attrs = append(r.attrs, "org", s.href("/api/org/"+u.org))
		}
		out = append(out, r)
	}
	return out
}

func (c *call) profileRecords() []*record {
	s := c.s
	var out []*record
	used := s.usedByProfile()
	for _, p := range sorted(s.profiles) {
		v := s.vdcs[p.vdc]
		if !c.provider() && v.org != c.login.org.id {
			continue
		}
		r := &record{tag: "OrgVdcStorageProfileRecord", meta: p.meta, attrs: []string{"href", s.href("/api/vdcStorageProfile/" + p.id), "name", p.name,
			"isEnabled", yes(p.enabled), "isDefaultStorageProfile", yes(p.isDefault), "storageUsedMB", num(used[p.id]),
			"storageLimitMB", num(p.limitMB), "vdc", s.href("/api/vdc/" + v.id), "vdcName", v.name}}
		if c.adminQuery() {
			r.tag = "AdminOrgVdcStorageProfileRecord"
			r.attrs = append(r.attrs, "org", s.href("/api/org/"+v.org), "vc", s.href("/api/admin/extension/vimServer/"+v.vc.id))
		}
		out = append(out, r)
	}
	return out
}

func (c *call) taskRecords() []*record {
	s := c.s
	var out []*record
	for _, t := range sorted(s.tasks) {
		if !c.provider() && t.org != c.login.org && !c.ownsObject(t) {
			continue
		}
		about := or(t.about, t.org)
		r := &record{tag: "TaskRecord", attrs: []string{"href", s.href("/api/task/" + t.id), "name", t.name, "org", s.href("/api/org/" + about.id),
			"orgName", about.name, "startDate", stamp(t.start), "endDate", stamp(t.end), "status", t.status, "progress", num(t.progress),
			"ownerName", t.user.name, "object", s.href(t.owner.path()), "objectType", strings.ToLower(t.owner.kind),
			"objectName", t.owner.name, "serviceNamespace", "com.vmware.vcloud"}}
		if c.adminQuery() {
			r.tag = "AdminTaskRecord"
			r.attrs = append(r.attrs, "owner", s.href("/api/admin/user/"+t.user.id), "cellName", "cell", "hasOwner", "true")
		}
		out = append(out, r)
	}
	return out
}

func (c *call) vcenterRecords() []*record {
	s := c.s
	var out []*record
	for _, vc := range sorted(s.vcenters) {
		out = append(out, &record{tag: "VirtualCenterRecord", attrs: []string{"href", s.href("/api/admin/extension/vimServer/" + vc.id), "name", vc.name,
			"url", vc.cfg.URL, "userName", vc.cfg.User, "isEnabled", "true", "vcVersion", vc.version(), "status", "READY", "isBusy", "false",
			"listenerState", "CONNECTED", "uuid", vc.uuid(), "isSupported", "true"}})
	}
	return out
}

func (c *call) datastoreRecords() []*record {
	s := c.s
	var out []*record
	for _, vc := range sorted(s.vcenters) {
		for _, d := range vc.datastores(c.r.Context(), s) {
			sum := d.Summary
			out = append(out, &record{tag: "DatastoreRecord", attrs: []string{"href", s.href("/api/admin/extension/datastore/" + datastoreID(vc, d.Self.Value)),
				"name", sum.Name, "datastoreType", or(sum.Type, "VMFS"), "isEnabled", "true", "isDeleted", "false",
				"storageUsedMB", num((sum.Capacity - sum.FreeSpace) >> 20), "storageMB", num(sum.Capacity >> 20),
				"provisionedStorageMB", num((sum.Capacity - sum.FreeSpace) >> 20), "vc", s.href("/api/admin/extension/vimServer/" + vc.id),
				"vcName", vc.name, "moref", d.Self.Value}})
		}
	}
	return out
}
