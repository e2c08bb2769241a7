package director_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/sim/director"
)

const leaseXML = `<LeaseSettingsSection xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">` +
	`<ovf:Info>x</ovf:Info><DeploymentLeaseInSeconds>%d</DeploymentLeaseInSeconds><StorageLeaseInSeconds>%d</StorageLeaseInSeconds></LeaseSettingsSection>`

// leased is a cloud whose vApp web-shop has leases of an hour and of two.
func leased(t *testing.T, lease director.OrgLease) (*cloud, *user) {
	c := newCloud(t, nil)
	u := c.login(adminName)
	off := must(c.dir.AddOrg(director.OrgSpec{Name: "leased", Lease: lease}))(t)
	must(c.dir.AddVDC(director.VDCSpec{Org: off, Name: "leased", ResourcePool: "vdc1-pool", StorageProfiles: []director.StorageProfileSpec{{Name: "gold"}}}))(t)
	c.shop = must(c.dir.AddVApp(director.VAppSpec{VDC: "leased", Name: "lab", Lease: &director.Lease{DeploymentSeconds: 3600, StorageSeconds: 7200},
		VMs: []director.VMSpec{{Name: "one", MoRef: c.take()}}}))(t)
	return c, u
}

func TestLeases(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		lease         director.OrgLease
		on            bool
		ahead         time.Duration
		status        string // "" when the vApp is gone
		expired       string
		inMaintenance bool
	}{
		{"nothing happens before its time", director.OrgLease{}, true, 59 * time.Minute, "4", "false", false},
		{"the end of a runtime lease suspends", director.OrgLease{}, true, time.Hour, "3", "false", false},
		{"or powers off, as the organization has it", director.OrgLease{PowerOffOnExpiration: true}, true, 61 * time.Minute, "8", "false", false},
		{"maintenance mode does not save a vApp", director.OrgLease{PowerOffOnExpiration: true}, true, 61 * time.Minute, "8", "false", true},
		{"the storage lease begins when the runtime lease ends", director.OrgLease{PowerOffOnExpiration: true}, true, 2 * time.Hour, "8", "false", false},
		{"and ends after its own time", director.OrgLease{PowerOffOnExpiration: true}, true, 4 * time.Hour, "8", "true", false},
		{"a stopped vApp expires", director.OrgLease{}, false, 3 * time.Hour, "8", "true", false},
		{"or is deleted", director.OrgLease{DeleteOnStorageExpiration: true}, false, 3 * time.Hour, "", "", false},
		{"in maintenance mode too", director.OrgLease{DeleteOnStorageExpiration: true}, false, 3 * time.Hour, "", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, u := leased(t, tc.lease)
			p := c.vappPath()
			if tc.on {
				u.run(http.MethodPost, p+"/power/action/powerOn", "", "")
			}
			if tc.inMaintenance {
				u.want(http.StatusNoContent, http.MethodPost, p+"/action/enterMaintenanceMode", "", "")
			}
			c.dir.Advance(tc.ahead)
			if tc.status == "" {
				u.want(http.StatusForbidden, http.MethodGet, p, "", "")
				return
			}
			if got := u.get(p).SelectAttrValue("status", ""); got != tc.status {
				t.Errorf("status %s, want %s", got, tc.status)
			}
			r := u.get("/api/query?type=adminVApp&filter=name==lab").FindElement("./AdminVAppRecord")
			if got := r.SelectAttrValue("isExpired", ""); got != tc.expired {
				t.Errorf("isExpired %s, want %s", got, tc.expired)
			}
			if n := len(u.get("/api/query?type=vApp&filter=(isExpired==true;name==lab)").FindElements("./VAppRecord")); (n == 1) != (tc.expired == "true") {
				t.Errorf("%d expired vApps", n)
			}
		})
	}
}

func TestExpired(t *testing.T) {
	t.Parallel()
	c, u := leased(t, director.OrgLease{DeploymentSeconds: 86400, StorageSeconds: 86400})
	p := c.vappPath()
	c.dir.Advance(3 * time.Hour)
	e := u.get(p)
	for _, l := range e.FindElements("./Link") {
		if rel := l.SelectAttrValue("rel", ""); rel != "up" && rel != "edit" && rel != "remove" {
			t.Errorf("an expired vApp has a link %s", rel)
		}
	}
	if r := u.do(http.MethodPost, p+"/power/action/powerOn", "", ""); r.code() != "INVALID_STATE" {
		t.Errorf("power on: %d %s", r.status, r.body)
	}
	for _, tc := range []struct{ ask, get [2]int }{
		{[2]int{60, 120}, [2]int{60, 120}},
		{[2]int{0, 0}, [2]int{86400, 86400}},
		{[2]int{90000, 3600}, [2]int{86400, 3600}},
	} {
		u.run(http.MethodPut, p+"/leaseSettingsSection", "application/vnd.vmware.vcloud.leaseSettingsSection+xml", fmt.Sprintf(leaseXML, tc.ask[0], tc.ask[1]))
		e := u.get(p + "/leaseSettingsSection")
		if textAt(e, "./DeploymentLeaseInSeconds") != fmt.Sprint(tc.get[0]) || textAt(e, "./StorageLeaseInSeconds") != fmt.Sprint(tc.get[1]) {
			t.Errorf("lease %v: %s", tc.ask, write(e))
		}
	}
	u.run(http.MethodPost, p+"/power/action/powerOn", "", "")
	if r := u.do(http.MethodPut, p+"/leaseSettingsSection", "application/vnd.vmware.vcloud.leaseSettingsSection+xml", fmt.Sprintf(leaseXML, -1, 0)); r.status != http.StatusBadRequest {
		t.Errorf("a negative lease: %d", r.status)
	}
}

func TestExpireNow(t *testing.T) {
	t.Parallel()
	c, u := leased(t, director.OrgLease{})
	href := u.get("/api/query?type=organization&filter=name==leased").FindElement("./OrgRecord").SelectAttrValue("href", "")
	id := href[len(href)-36:]
	u.run(http.MethodPost, "/api/admin/org/"+id+"/settings/vAppLeaseSettings/action/expireVAppsStorageLease", "", "")
	if n := len(u.get("/api/query?type=vApp&filter=(isExpired==true;name==lab)").FindElements("./VAppRecord")); n != 1 {
		t.Errorf("%d expired vApps", n)
	}
	u.run(http.MethodDelete, c.vappPath(), "", "")
}

func TestTemplatesExpire(t *testing.T) {
	t.Parallel()
	c, u := leased(t, director.OrgLease{})
	catalog := must(c.dir.AddCatalog(director.CatalogSpec{Org: "leased", Name: "images"}))(t)
	must(c.dir.AddTemplate(director.TemplateSpec{Catalog: catalog, VAppSpec: director.VAppSpec{VDC: "leased", Name: "image",
		Lease: &director.Lease{StorageSeconds: 60}, VMs: []director.VMSpec{{Name: "one", MoRef: c.take()}}}}))(t)
	c.dir.Advance(time.Hour)
	r := u.get("/api/query?type=adminVAppTemplate&filter=name==image").FindElement("./AdminVAppTemplateRecord")
	if r == nil || r.SelectAttrValue("isExpired", "") != "true" {
		t.Errorf("not expired: %v", r)
	}
}
