package director

import "strings"

// restRecords are query types beside those of the areas: relations, the
// provider's views, and those of what no installation without extensions has.
func restRecords() map[string]recordType {
	all := map[string]recordType{
		"adminEvent":                {list: (*call).adminEventRecords, admin: true},
		"vmDiskRelation":            {list: (*call).diskRelationRecords},
		"adminVMDiskRelation":       {list: (*call).diskRelationRecords, admin: true},
		"vAppOrgVdcNetworkRelation": {list: (*call).vdcNetRelationRecords},
		"dvSwitch":                  {list: (*call).switchRecords, admin: true},
	}
	none := func(*call) []*record { return nil }
	// Extension services, blocking tasks and what deletion left behind; tunnels
	// are of API 36.
	for _, name := range []string{"adminApiDefinition", "adminFileDescriptor", "adminService", "aclRule", "apiFilter", "blockingTask", "condition",
		"externalLocalization", "resourceClass", "resourceClassAction", "serviceLink", "serviceResource", "strandedItem"} {
		all[name] = recordType{list: none, admin: true}
	}
	for _, name := range []string{"apiDefinition", "fileDescriptor", "service", "fromCloudTunnel", "toCloudTunnel"} {
		all[name] = recordType{list: none}
	}
	return all
}

// adminEventRecords are the events of all organizations.
func (c *call) adminEventRecords() []*record {
	events, err := c.visibleEvents()
	if err != nil {
		return nil
	}
	out := c.eventRecords()
	for i, e := range events {
		out[i].tag = "AdminEventRecord"
		out[i].attrs = append(out[i].attrs, "href", c.s.href("/cloudapi/1.0.0/auditTrail/urn:vcloud:audit:"+e.id), "org", c.s.href("/api/org/"+e.org.id))
	}
	return out
}

// diskRelationRecords say which independent disk is attached to which VM.
func (c *call) diskRelationRecords() []*record {
	tag := "VmDiskRelationRecord"
	if c.adminQuery() {
		tag = "AdminVmDiskRelationRecord"
	}
	var out []*record
	for _, d := range sorted(c.s.disks) {
		if !c.seesDisk(d) {
			continue
		}
		for _, m := range d.vms {
			if c.level(m.vapp) != accessNone {
				out = append(out, &record{tag: tag, attrs: []string{"vdc", c.s.href("/api/vdc/" + d.vdc), "disk", c.s.diskHref(d), "vm", c.s.vmHref(m)}})
			}
		}
	}
	return out
}

// vdcNetRelationRecords are the vApps on the networks of VDCs.
func (c *call) vdcNetRelationRecords() []*record {
	out := c.relationRecords()
	for _, r := range out {
		r.tag = "VAppOrgVdcNetworkRelationRecord"
		attrs := []string{"entityType", "vApp"}
		for i := 0; i < len(r.attrs); i += 2 {
			name := strings.Replace(r.attrs[i], "orgNetwork", "orgVdcNetwork", 1)
			if name != "configurationType" {
				attrs = append(attrs, name, r.attrs[i+1])
			}
		}
		r.attrs = attrs
	}
	return out
}

// switchRecords are the distributed switches of the vCenters.
func (c *call) switchRecords() []*record {
	var out []*record
	for _, vc := range sorted(c.s.vcenters) {
		all, err := c.s.switchesOf(c.r.Context(), vc)
		if err != nil {
			continue // a vCenter that does not answer has none to offer
		}
		href := c.s.href("/api/admin/extension/vimServer/" + vc.id)
		for _, p := range all {
			out = append(out, &record{tag: "DvSwitchRecord", attrs: []string{"href", href, "moref", p.moref, "name", p.name, "vc", href, "vcName", vc.name, "isVCEnabled", "true"}})
		}
	}
	return out
}
