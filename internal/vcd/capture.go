package vcd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"
)

// atOnce is how many documents a capture fetches side by side.
const atOnce = 4

// A Capture is every document of a vApp and of what it refers to, verbatim.
// The paths are those of a restore point: ids, never names.
type Capture struct {
	VApp   *VApp
	Files  map[string][]byte // "vcd/vapp.xml", "vcd/vms/VM-UUID/vm.xml", "vcd/context/vdc.xml", …
	Absent map[string]string // path -> why the server did not give it
}

// A job fetches one document.
type job struct {
	path, href string
	required   bool
	follow     func(raw []byte) ([]job, error) // what the document refers to; nil for nothing
}

// Capture fetches the documents of a vApp (URN or href). Documents of kinds
// that the server does not have, or does not show this user, are listed as
// absent; without the vApp's and its VMs' own documents there is no capture.
// An entity that changes meanwhile gives documents of different moments: put
// it in maintenance mode and let its tasks end first.
func (c *Client) Capture(ctx context.Context, vappID string) (*Capture, error) {
	vapp, err := c.VApp(ctx, vappID)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	out := &Capture{VApp: vapp, Files: map[string][]byte{"vcd/vapp.xml": vapp.Raw}, Absent: make(map[string]string)}
	for _, vm := range vapp.VMs {
		if UUID(vm.ID) == "" {
			return nil, fmt.Errorf("capture %s: VM %s: no id", vapp.Name, vm.Name)
		}
	}
	known := make(map[string]bool)
	for wave := c.vappJobs(vapp); len(wave) > 0; {
		var fresh []job
		for _, j := range wave {
			if !known[j.path] {
				known[j.path] = true
				fresh = append(fresh, j)
			}
		}
		if wave, err = c.fetchAll(ctx, fresh, out); err != nil {
			return nil, fmt.Errorf("capture %s: %w", vapp.Name, err)
		}
	}
	return out, nil
}

// fetchAll runs jobs and returns those that their documents lead to.
func (c *Client) fetchAll(ctx context.Context, jobs []job, out *Capture) ([]job, error) {
	docs := make([]*Document, len(jobs))
	absent := make([]string, len(jobs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, j := range jobs {
		group.Go(func() error {
			doc, err := c.Get(ctx, j.href)
			if why, ok := absence(err); ok && !j.required {
				absent[i] = why
				return nil
			}
			docs[i] = doc
			if err == nil && strings.HasSuffix(j.path, ".xml") {
				err = wellFormed(doc.Raw)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", j.path, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var next []job
	for i, j := range jobs {
		if docs[i] == nil {
			out.Absent[j.path] = absent[i]
			continue
		}
		out.Files[j.path] = docs[i].Raw
		if j.follow == nil {
			continue
		}
		more, err := j.follow(docs[i].Raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", j.path, err)
		}
		next = append(next, more...)
	}
	return next, nil
}

// absence tells whether an error means that there is no such document here,
// and how to say so.
func absence(err error) (why string, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return "", false
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusGone,
		http.StatusNotImplemented, http.StatusForbidden:
	case http.StatusBadRequest:
		if e.Minor == busyEntity {
			return "", false
		}
	default:
		return "", false
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s %s", e.Status, e.Minor, e.Message)), true
}

// sections are documents below an entity: file name and path.
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
		if s.below == "controlAccess/" {
			j.follow = c.accessJobs
		}
		jobs = append(jobs, j)
	}
	jobs = append(jobs, job{path: "vcd/quotaPolicy.json", href: "/cloudapi/1.0.0/vapps/" + urn + "/quotaPolicy"})
	for _, n := range v.Networks {
		jobs = append(jobs, jobByUUID("vcd/networks/", n.Href, nil)...)
		jobs = append(jobs, jobByUUID("vcd/context/networks/", n.ParentHref, c.networkJobs)...)
	}
	for _, vm := range v.VMs {
		jobs = append(jobs, c.vmJobs(vm)...)
	}
	jobs = append(jobs, c.userJobs(v.Owner.Href)...)
	if uuid := UUID(v.VDC.Href); uuid != "" {
		// The administrator's view holds the tenant's and more; a tenant has only theirs.
		href := c.byRole("/api/admin/vdc/", "/api/vdc/") + uuid
		jobs = append(jobs, job{path: "vcd/context/vdc.xml", href: href})
	}
	if uuid := UUID(v.Org.Href); uuid != "" {
		jobs = append(jobs,
			job{path: "vcd/context/org.xml", href: "/api/admin/org/" + uuid},
			job{path: "vcd/context/orgSettings.xml", href: "/api/admin/org/" + uuid + "/settings"},
			job{path: "vcd/context/orgQuotaPolicy.json", href: "/cloudapi/1.0.0/orgs/urn:vcloud:org:" + uuid + "/quotaPolicy"})
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
		jobs = append(jobs, job{path: dir + s.file, href: action(c.Href(urn), s.below)})
	}
	return append(jobs, job{path: dir + "securityTags.json", href: "/cloudapi/1.0.0/securityTags/vm/" + urn})
}

// vmContextJobs follows what a VM refers to outside its vApp.
func (c *Client) vmContextJobs(raw []byte) ([]job, error) {
	vm, err := ParseVM(raw)
	if err != nil {
		return nil, err
	}
	jobs := jobByUUID("vcd/context/storageProfiles/", vm.StorageProfile.Href, nil)
	for _, d := range vm.Disks {
		jobs = append(jobs, jobByUUID("vcd/context/storageProfiles/", d.StorageProfileHref, nil)...)
		jobs = append(jobs, jobByUUID("vcd/context/disks/", d.NamedDisk, nil)...)
	}
	jobs = append(jobs, jobByUUID("vcd/context/media/", vm.Media.Href, nil)...)
	jobs = append(jobs, jobByUUID("vcd/context/vimServers/", vm.VimInfo.VCenterHref, nil)...)
	for _, p := range vm.ComputePolicies {
		if uuid := UUID(p.Href); uuid != "" {
			jobs = append(jobs, job{path: "vcd/context/computePolicies/" + uuid + ".json", href: p.Href})
		}
	}
	return jobs, nil
}

// networkJobs follows an organization network to its edge gateway.
func (c *Client) networkJobs(raw []byte) ([]job, error) {
	var e struct {
		Gateway reference `xml:"EdgeGateway"`
	}
	if err := parse(raw, "", &e); err != nil {
		return nil, err
	}
	return jobByUUID("vcd/context/edgeGateways/", e.Gateway.Href, nil), nil
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
		if strings.Contains(s.Href, "/group/") {
			jobs = append(jobs, jobByUUID("vcd/context/groups/", s.Href, nil)...)
			continue
		}
		jobs = append(jobs, c.userJobs(s.Href)...)
	}
	return jobs, nil
}

// userJobs fetches a user, the user's role and quota.
func (c *Client) userJobs(href string) []job {
	jobs := jobByUUID("vcd/context/users/", href, func(raw []byte) ([]job, error) {
		var e struct {
			Role reference `xml:"Role"`
		}
		if err := parse(raw, "", &e); err != nil {
			return nil, err
		}
		return jobByUUID("vcd/context/roles/", e.Role.Href, nil), nil
	})
	if len(jobs) > 0 {
		uuid := UUID(href)
		jobs = append(jobs, job{
			path: "vcd/context/users/" + uuid + ".quotaPolicy.json",
			href: "/cloudapi/1.0.0/users/urn:vcloud:user:" + uuid + "/quotaPolicy",
		})
	}
	return jobs
}
