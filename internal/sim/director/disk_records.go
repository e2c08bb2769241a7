package director

import "strings"

// vmAreaRecords are the query types of what hangs from VMs.
func vmAreaRecords() map[string]recordType {
	return map[string]recordType{
		"disk":      {list: (*call).diskRecords},
		"adminDisk": {list: (*call).diskRecords, admin: true},
	}
}

func (c *call) diskRecords() []*record {
	var out []*record
	for _, d := range sorted(c.s.disks) {
		if c.seesDisk(d) {
			out = append(out, c.diskRecord(d))
		}
	}
	return out
}

func (c *call) diskRecord(d *disk) *record {
	s, v := c.s, c.s.vdcs[d.vdc]
	owner := s.users[d.owner]
	if owner == nil {
		owner = s.systemUser()
	}
	profile := ""
	if p := s.profiles[d.profile]; p != nil {
		profile = p.name
	}
	kind := map[string]string{"5": "IDE", "6": "SCSI", "20": "SATA"}[d.busType]
	if d.adapter() == "7" {
		kind = "NVME"
	}
	r := &record{tag: "DiskRecord", meta: d.meta, attrs: []string{"href", s.diskHref(d), "name", d.name, "vdc", s.href("/api/vdc/" + v.id),
		"description", d.desc, "sizeMb", num(d.sizeMB), "encrypted", "false", "uuid", d.uuid, "datastoreName", d.store, "ownerName", owner.name, "vdcName", v.name,
		"storageProfile", s.href("/api/vdcStorageProfile/" + d.profile), "storageProfileName", profile, "status", stateNames[d.status],
		"busType", d.busType, "busTypeDesc", kind, "busSubType", d.busSub, "attachedVmCount", num(len(d.vms)), "isAttached", yes(len(d.vms) > 0),
		"isShareable", yes(d.sharing != "None"), "sharingType", d.sharing}}
	if c.newer("37.0") {
		r.attrs = append(r.attrs, "iopsReservation", "0", "iopsLimit", num(d.iops))
	} else {
		r.attrs = append(r.attrs, "iops", num(d.iops))
	}
	if c.adminQuery() {
		r.tag = "AdminDiskRecord"
		r.attrs = append(r.attrs, "org", s.href("/api/org/"+v.org), "vc", s.href("/api/admin/extension/vimServer/"+v.vc.id))
	}
	return r
}

// diskMetadata is the metadata of the path's disk for a write; is tells whether
// the path is a disk's.
func (c *call) diskMetadata() (meta *metadata, owner taskOwner, is bool, err error) {
	if !strings.HasPrefix(c.r.URL.Path, "/api/disk/") {
		return nil, owner, false, nil
	}
	d, err := c.theDisk()
	if err == nil {
		err = c.idle(d)
	}
	if err != nil {
		return nil, owner, true, err
	}
	return &d.meta, diskOwner(d), true, nil
}
