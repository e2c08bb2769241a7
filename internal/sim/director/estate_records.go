package director

func estateRecords() map[string]recordType {
	return map[string]recordType{
		"providerVdc":                     {list: (*call).pvdcRecords, admin: true},
		"providerVdcStorageProfile":       {list: (*call).pvdcProfileRecords, admin: true},
		"resourcePool":                    {list: (*call).resourcePoolRecords, admin: true},
		"resourcePoolVmList":              {list: (*call).poolVMRecords, admin: true},
		"providerVdcResourcePoolRelation": {list: (*call).pvdcPoolRecords, admin: true},
		"orgVdcResourcePoolRelation":      {list: (*call).vdcPoolRecords, admin: true},
		"datastoreProviderVdcRelation":    {list: (*call).datastorePVDCRecords, admin: true},
		"host":                            {list: (*call).hostRecords, admin: true},
		"vmGroups":                        {list: (*call).vmGroupRecords, admin: true},
	}
}

// estates reads all vCenters; one that does not answer is left out.
func (c *call) estates(do func(*vcenter, *estate)) {
	for _, vc := range sorted(c.s.vcenters) {
		if e, err := c.estate(vc); err == nil {
			do(vc, e)
		}
	}
}

func (c *call) pvdcRecords() []*record {
	s := c.s
	var out []*record
	c.estates(func(vc *vcenter, e *estate) {
		for _, p := range sorted(s.pvdcs) {
			if p.vc != vc {
				continue
			}
			sum, stores := s.pvdcCapacity(p, e), e.on(s.storesOf(p))
			total, free := storeSum(stores)
			out = append(out, &record{tag: "VMWProviderVdcRecord", meta: p.meta, attrs: []string{"href", s.href("/api/admin/providervdc/" + p.id), "name", p.name,
				"isEnabled", yes(p.enabled), "isDeleted", "false", "cpuUsedMhz", num(sum.cpuUsed), "cpuLimitMhz", num(sum.cpu), "cpuAllocationMhz", num(sum.cpuReserved),
				"memoryUsedMB", num(sum.memUsed), "memoryLimitMB", num(sum.mem), "memoryAllocationMB", num(sum.memReserved), "storageUsedMB", num((total - free) >> 20),
				"storageLimitMB", num(total >> 20), "storageAllocationMB", num((total - free) >> 20), "numberOfDatastores", num(len(stores)),
				"numberOfVdcs", num(len(s.vdcsOf(p))), "isBusy", yes(s.busyWith(p.id)), "status", "READY", "numberOfStorageProfiles", num(len(s.profilesOf(p)))}})
		}
	})
	return out
}

func (c *call) pvdcProfileRecords() []*record {
	s := c.s
	var out []*record
	c.estates(func(vc *vcenter, e *estate) {
		for _, prof := range sorted(s.pvdcProfiles) {
			p := s.pvdcs[prof.pvdc]
			if p == nil || p.vc != vc {
				continue
			}
			total, free := storeSum(e.on(prof.datastores))
			out = append(out, &record{tag: "ProviderVdcStorageProfileRecord", meta: prof.meta, attrs: []string{"href", s.href("/api/admin/pvdcStorageProfile/" + prof.id),
				"name", prof.name, "isEnabled", yes(prof.enabled), "storageTotalMB", num(total >> 20), "storageUsedMB", num((total - free) >> 20),
				"storageRequestedMB", "0", "storageProvisionedMB", num((total - free) >> 20), "numberOfConditions", "0",
				"providerVdc", s.href("/api/admin/providervdc/" + p.id), "vc", s.href("/api/admin/extension/vimServer/" + vc.id),
				"storageProfileMoref", policyID(vc, prof.name), "iopsCapacity", num(prof.iops), "iopsAllocated", "0"}})
		}
	})
	return out
}

// resourcePoolRecords are the resource pools that back provider VDCs.
func (c *call) resourcePoolRecords() []*record {
	s := c.s
	var out []*record
	c.estates(func(vc *vcenter, e *estate) {
		for _, p := range sorted(s.pvdcs) {
			if p.vc != vc {
				continue
			}
			for i, rp := range p.pools {
				cluster := ""
				if found := e.pool(rp.ref.Value); found != nil {
					cluster = found.Owner.Value
				}
				out = append(out, &record{tag: "ResourcePoolRecord", attrs: []string{"href", s.href("/api/admin/extension/resourcePool/" + poolID(vc, rp.ref.Value)),
					"name", rp.name, "moref", rp.ref.Value, "isDeleted", yes(cluster == ""), "vc", s.href("/api/admin/extension/vimServer/" + vc.id), "vcName", vc.name,
					"providerVdc", s.href("/api/admin/providervdc/" + p.id), "providerName", p.name, "isEnabled", yes(rp.enabled), "isPrimary", yes(i == 0),
					"clusterMoref", cluster, "isKubernetesEnabled", "false"}})
			}
		}
	})
	return out
}

func (c *call) pvdcPoolRecords() []*record {
	s := c.s
	var out []*record
	for _, p := range sorted(s.pvdcs) {
		for i, rp := range p.pools {
			vms := 0
			for _, m := range s.vms {
				if v := s.vdcs[m.vapp.vdc]; v != nil && v.pvdc == p.id && i == 0 {
					vms++
				}
			}
			out = append(out, &record{tag: "ProviderVdcResourcePoolRelationRecord", attrs: []string{"href", s.href("/api/admin/extension/resourcePool/" + poolID(p.vc, rp.ref.Value)),
				"name", rp.name, "resourcePoolMoref", rp.ref.Value, "isEnabled", yes(rp.enabled), "isPrimary", yes(i == 0),
				"providerVdc", s.href("/api/admin/providervdc/" + p.id), "vc", s.href("/api/admin/extension/vimServer/" + p.vc.id), "vcName", p.vc.name, "numberOfVMs", num(vms)}})
		}
	}
	return out
}

func (c *call) vdcPoolRecords() []*record {
	s := c.s
	var out []*record
	for _, v := range sorted(s.vdcs) {
		out = append(out, &record{tag: "OrgVdcResourcePoolRelationRecord", attrs: []string{"vdc", s.href("/api/vdc/" + v.id),
			"vc", s.href("/api/admin/extension/vimServer/" + v.vc.id), "resourcePoolMoref", v.pool.Value}})
	}
	return out
}

func (c *call) datastorePVDCRecords() []*record {
	s := c.s
	var out []*record
	c.estates(func(vc *vcenter, e *estate) {
		for _, p := range sorted(s.pvdcs) {
			if p.vc != vc {
				continue
			}
			for _, d := range e.on(s.storesOf(p)) {
				out = append(out, &record{tag: "DatastoreProviderVdcRelationRecord", attrs: []string{"href", s.href("/api/admin/extension/datastore/" + datastoreID(vc, d.Self.Value)),
					"name", d.Name, "datastoreType", storeType(d), "isEnabled", "true", "isDeleted", "false",
					"storageUsedMB", num((d.Summary.Capacity - d.Summary.FreeSpace) >> 20), "storageMB", num(d.Summary.Capacity >> 20),
					"vc", s.href("/api/admin/extension/vimServer/" + vc.id), "vcName", vc.name, "moref", d.Self.Value, "providerVdc", s.href("/api/admin/providervdc/" + p.id),
					"datastore", s.href("/api/admin/extension/datastore/" + datastoreID(vc, d.Self.Value))}})
			}
		}
	})
	return out
}

// poolVMRecords are the VMs in the resource pools of VDCs.
func (c *call) poolVMRecords() []*record {
	s := c.s
	var out []*record
	for _, a := range sorted(s.vapps) {
		for _, m := range a.vms {
			r := &record{tag: "ResourcePoolVMRecord", vm: m, attrs: []string{"href", s.vmHref(m), "name", m.name, "containerName", a.name, "isDeployed", yes(m.deployed),
				"isBusy", yes(s.occupied(a, m))}}
			r.load = func(r *record) {
				r.attrs = append(r.attrs, "status", stateNames[m.state()])
				if m.seen.known {
					name, _ := guestName(m.seen.guest)
					r.attrs = append(r.attrs, "guestOs", name)
				}
			}
			out = append(out, r)
		}
	}
	return out
}

func (c *call) hostRecords() []*record {
	s := c.s
	var out []*record
	c.estates(func(vc *vcenter, e *estate) {
		for _, h := range e.hosts {
			version := ""
			if p := h.Summary.Config.Product; p != nil {
				version = p.Version
			}
			out = append(out, &record{tag: "HostRecord", attrs: []string{"href", s.href("/api/admin/extension/host/" + hostID(vc, h)), "name", h.Name, "isEnabled", "true",
				"isDeleted", "false", "isBusy", "false", "isPrepared", "true", "isSupported", "true", "isHung", "false", "isPendingUpgrade", "false", "state", "1",
				"osVersion", version, "isCrossHostEnabled", "false", "numberOfVMs", num(len(h.Vm)), "isInMaintenanceMode", yes(h.Runtime.InMaintenanceMode),
				"vc", s.href("/api/admin/extension/vimServer/" + vc.id), "vcName", vc.name}})
		}
	})
	return out
}

func (c *call) vmGroupRecords() []*record {
	s := c.s
	var out []*record
	for _, vc := range sorted(s.vcenters) {
		s.mu.Unlock()
		groups, err := vc.vmGroups(c.r.Context())
		s.mu.Lock()
		if err != nil {
			continue // it may answer next time
		}
		for _, g := range groups {
			out = append(out, &record{tag: "VmGroupsRecord", attrs: []string{"href", s.href("/api/admin/extension/vmGroup/" + g.id(vc)), "vmGroupId", g.id(vc),
				"vmGroupName", g.name, "clusterMoref", g.cluster, "clusterName", g.clusterName, "vcId", vc.id, "namedVmGroupId", g.namedID(vc)}})
		}
	}
	return out
}
