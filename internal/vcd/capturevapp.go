package vcd

import (
	"encoding/xml"
	"strings"
)

// sections are documents below an entity: file name and path. What has no
// document of its own (boot options, VmSpecSection, TPM) is in the VM's.
var vappSections = []struct{ file, below string }{
	{"owner.xml", "owner"},
	{"controlAccess.xml", "controlAccess/"},
	{"leaseSettingsSection.xml", "leaseSettingsSection/"},
	{"networkConfigSection.xml", "networkConfigSection/"},
	{"networkSection.xml", "networkSection/"},
	{"startupSection.xml", "startupSection/"},
	{"productSections.xml", "productSections/"},
	{"metadata.xml", "metadata"},
	{"snapshotSection.xml", "snapshotSection"},
}

var vmSections = []struct{ file, below string }{
	{"virtualHardwareSection.xml", "virtualHardwareSection/"},
	{"networkConnectionSection.xml", "networkConnectionSection/"},
	{"guestCustomizationSection.xml", "guestCustomizationSection/"},
	{"operatingSystemSection.xml", "operatingSystemSection/"},
	{"runtimeInfoSection.xml", "runtimeInfoSection"},
	{"vmCapabilities.xml", "vmCapabilities/"},
	{"productSections.xml", "productSections/"},
	{"metadata.xml", "metadata"},
	{"snapshotSection.xml", "snapshotSection"},
}

func (c *Client) vappJobs(v *VApp) []job {
	var jobs []job
	urn := "urn:vcloud:vapp:" + UUID(v.ID)
	for _, s := range vappSections {
		j := job{path: "vcd/" + s.file, href: action(c.Href(urn), s.below)}
		switch s.file {
		case "controlAccess.xml":
			j.follow = c.accessJobs
		case "metadata.xml":
			j.follow = originJobs("vapp.origin.", "vcd/context/templates/", "/api/vAppTemplate/vappTemplate-")
		}
		jobs = append(jobs, j)
	}
	quota := "/cloudapi/1.0.0/vapps/" + urn + "/quotaPolicy"
	jobs = append(jobs, job{path: "vcd/quotaPolicy.json", href: quota, follow: quotaJobs})
	for _, n := range v.Networks {
		jobs = append(jobs, jobByUUID("vcd/networks/", n.Href, nil)...)
		jobs = append(jobs, networkDetails("vcd/context/vappNetworks/", n.Href)...)
		jobs = append(jobs, c.networkJobs(n.ParentHref)...)
	}
	for _, vm := range v.VMs {
		jobs = append(jobs, c.vmJobs(vm)...)
	}
	jobs = append(jobs, c.userJobs(v.Owner.Href)...)
	jobs = append(jobs, c.recordJobs(v)...)
	jobs = append(jobs, c.vdcJobs(UUID(v.VDC.Href), UUID(v.Org.Href), v.VMs)...)
	return append(jobs, orgJobs(UUID(v.Org.Href))...)
}

// recordJobs are the vApp and its VMs as the query service lists them: what it
// alone tells (expired, busy, the guest found, the name in vCenter).
func (c *Client) recordJobs(v *VApp) []job {
	query := func(typ, filter string) string {
		return "/api/query?type=" + typ + "&format=records&pageSize=128&filter=" + queryEscape(filter)
	}
	jobs := []job{{path: "vcd/context/record.xml", href: query(c.byRole("adminVApp", "vApp"), Filter("id==", "urn:vcloud:vapp:"+UUID(v.ID)))}}
	if len(v.VMs) > 0 {
		jobs = append(jobs, job{path: "vcd/context/vmRecords.xml", href: query(c.byRole("adminVM", "vm"), Filter("container==", v.Href))})
	}
	return jobs
}

// jobByUUID is a document that is filed by its UUID; none without one.
func jobByUUID(dir, href string, follow func([]byte) ([]job, error)) []job {
	uuid := UUID(href)
	if uuid == "" {
		return nil
	}
	return []job{{path: dir + uuid + ".xml", href: href, follow: follow}}
}

func (c *Client) vmJobs(vm VM) []job {
	uuid := UUID(vm.ID)
	dir, urn := "vcd/vms/"+uuid+"/", "urn:vcloud:vm:"+uuid
	jobs := []job{{path: dir + "vm.xml", href: c.Href(urn), required: true, follow: c.vmContextJobs}}
	for _, s := range vmSections {
		j := job{path: dir + s.file, href: action(c.Href(urn), s.below)}
		if s.file == "metadata.xml" {
			j.follow = originJobs("vm.origin.", "vcd/context/templateVMs/", "/api/vAppTemplate/vm-")
		}
		jobs = append(jobs, j)
	}
	context := "vcd/context/vms/" + uuid + "/"
	return append(append(jobs, job{path: dir + "securityTags.json", href: "/cloudapi/1.0.0/securityTags/vm/" + urn},
		job{path: context + "guestCustomizationStatus.xml", href: c.Href(urn) + "/guestcustomizationstatus"},
		job{path: context + "complianceResult.xml", href: c.Href(urn) + "/complianceResult"}),
		pageJobs(context+"snapshots", "/cloudapi/1.0.0/vm/"+urn+"/snapshots", nil)...)
}

// vmContextJobs follows what a VM refers to outside its vApp.
func (c *Client) vmContextJobs(raw []byte) ([]job, error) {
	vm, err := ParseVM(raw)
	if err != nil {
		return nil, err
	}
	var e struct {
		Media    []reference `xml:"VmSpecSection>MediaSection>MediaSettings>MediaImage"`
		Disks    []reference `xml:"VmSpecSection>DiskSection>DiskSettings>Disk"`
		Profiles []reference `xml:"VmSpecSection>DiskSection>DiskSettings>StorageProfile"`
	}
	if err := parse(raw, "Vm", &e); err != nil {
		return nil, err
	}
	jobs := profileJobs(vm.StorageProfile.Href)
	for _, d := range vm.Disks {
		jobs = append(jobs, profileJobs(d.StorageProfileHref)...)
		jobs = append(jobs, c.diskJobs(d.NamedDisk)...)
	}
	for _, p := range e.Profiles {
		jobs = append(jobs, profileJobs(p.Href)...)
	}
	for _, d := range e.Disks {
		jobs = append(jobs, c.diskJobs(d.Href)...)
	}
	for _, m := range append(e.Media, reference{Href: vm.Media.Href}) {
		jobs = append(jobs, c.mediaJobs(m.Href)...)
	}
	if href := vm.VimInfo.VCenterHref; href != "" {
		jobs = append(jobs, jobByUUID("vcd/context/vimServers/", href, nil)...)
		jobs = append(jobs, job{
			path: "vcd/context/vimServers/" + UUID(href) + ".json", href: "/cloudapi/1.0.0/virtualCenters/urn:vcloud:vimserver:" + UUID(href),
		})
	}
	for _, p := range vm.ComputePolicies {
		jobs = append(jobs, policyJobs(p.Href)...)
	}
	return jobs, nil
}

// originJobs follows the metadata that names what something was made from:
// since 10.5.1 vCD keeps KIND.origin.id, .name and .type in the SYSTEM domain
// (VMware Cloud Director 10.5.1, release notes). Of origins only templates are
// followed: another vApp is no part of this one.
func originJobs(prefix, dir, href string) func([]byte) ([]job, error) {
	return func(raw []byte) ([]job, error) {
		entries, err := ParseMetadata(raw)
		if err != nil {
			return nil, err
		}
		var id, typ string
		for _, e := range entries {
			switch {
			case e.Domain != DomainSystem:
			case e.Key == prefix+"id":
				id = UUID(e.Value)
			case e.Key == prefix+"type":
				typ = e.Value[strings.LastIndexByte(e.Value, '.')+1:]
			}
		}
		if id == "" || prefix == "vapp.origin." && !strings.EqualFold(typ, "vapptemplate") {
			return nil, nil
		}
		return []job{{path: dir + id + ".xml", href: href + id}}, nil
	}
}

// accessJobs follows the subjects of an access list.
func (c *Client) accessJobs(raw []byte) ([]job, error) {
	var e struct {
		Subjects []reference `xml:"AccessSettings>AccessSetting>Subject"`
	}
	if err := parse(raw, "ControlAccessParams", &e); err != nil {
		return nil, err
	}
	var jobs []job
	for _, s := range e.Subjects {
		switch {
		case strings.Contains(s.Href, "/group/"):
			jobs = append(jobs, memberJobs("groups", "group", s.Href)...)
		case strings.Contains(s.Href, "/org/"): // shared with all of another organization
			jobs = append(jobs, jobByUUID("vcd/context/orgs/", s.Href, nil)...)
		default:
			jobs = append(jobs, c.userJobs(s.Href)...)
		}
	}
	return jobs, nil
}

// userJobs fetches a user, the user's role and quota.
func (c *Client) userJobs(href string) []job { return memberJobs("users", "user", href) }

// memberJobs fetches a user or group of an organization with role and quota.
func memberJobs(dir, kind, href string) []job {
	jobs := jobByUUID("vcd/context/"+dir+"/", href, roleJobs)
	if len(jobs) == 0 {
		return nil
	}
	uuid := UUID(href)
	return append(jobs, job{
		path: "vcd/context/" + dir + "/" + uuid + ".quotaPolicy.json",
		href: "/cloudapi/1.0.0/" + dir + "/urn:vcloud:" + kind + ":" + uuid + "/quotaPolicy", follow: quotaJobs,
	})
}

func roleJobs(raw []byte) ([]job, error) {
	var e struct {
		Role reference `xml:"Role"`
	}
	if err := parse(raw, "", &e); err != nil {
		return nil, err
	}
	return jobByUUID("vcd/context/roles/", e.Role.Href, nil), nil
}

// ownerJobs follows an Owner document to the user.
func (c *Client) ownerJobs(raw []byte) ([]job, error) {
	var e struct {
		XMLName xml.Name
		User    reference `xml:"User"`
	}
	if err := parse(raw, "", &e); err != nil {
		return nil, err
	}
	return c.userJobs(e.User.Href), nil
}
