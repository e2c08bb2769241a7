package director_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/sim/director"
)

const jsonType = "application/json"

// location sends a request to /cloudapi that starts a task and waits for it.
func (u *user) location(method, path, body string) {
	u.c.t.Helper()
	r := u.want(http.StatusAccepted, method, path, jsonType, body)
	if e := u.wait(r.header.Get("Location")); e.SelectAttrValue("status", "") != "success" {
		u.c.t.Fatalf("%s %s: task: %s", method, path, write(e))
	}
}

func (u *user) json(method, path, body string) map[string]any {
	u.c.t.Helper()
	typ := ""
	if body != "" {
		typ = jsonType
	}
	r := u.do(method, path, typ, body)
	var out map[string]any
	if err := json.Unmarshal(r.body, &out); err != nil || r.status > 299 {
		u.c.t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	return out
}

func pools(defs ...string) string {
	for i := range defs {
		defs[i] = `{"quotaPoolDefinition":` + defs[i] + `}`
	}
	return `{"quotaPools":[` + strings.Join(defs, ",") + `]}`
}

const (
	allVMs     = `{"resourceType":"urn:vcloud:legacy:vm","quota":%d}`
	runningVMs = `{"resourceType":"urn:vcloud:legacy:vm","quota":%d,"qualifiers":["vm.deployed == true"]}`
)

func TestQuotasRefuse(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	org, bob := "/cloudapi/1.0.0/orgs/urn:vcloud:org:"+c.acme+"/quotas", ""
	href := c.userHref(u, "bob")
	bob = "/cloudapi/1.0.0/users/urn:vcloud:user:" + href[len(href)-36:] + "/quotas"
	vim, moref := c.vimServer(u), c.take()
	imp := func() *reply {
		return u.do(http.MethodPost, vim+"/importVmAsVApp", admin+"importVmAsVAppParams+xml", c.asVApp("more", moref, "true"))
	}
	on := func() *reply { return u.do(http.MethodPost, c.vappPath()+"/power/action/powerOn", "", "") }
	for _, tc := range []struct {
		name, target, pools, code string
		act                       func() *reply
	}{
		{"an organization's VMs", org, pools(fmt.Sprintf(allVMs, 2)), "QUOTA_EXCEEDED", imp},
		{"its storage", org, pools(`{"resourceType":"storage","quota":2,"quotaResourceUnit":"MB"}`), "QUOTA_EXCEEDED", imp},
		{"its running VMs", org, pools(fmt.Sprintf(runningVMs, 1)), "QUOTA_EXCEEDED", on},
		{"its memory", org, pools(`{"resourceType":"memory","quota":127}`), "QUOTA_EXCEEDED", on},
		{"its CPU", org, pools(`{"resourceType":"cpu","quota":1999}`), "QUOTA_EXCEEDED", on},
		{"an owner's running VMs", bob, pools(fmt.Sprintf(runningVMs, 0)), "QUOTA_EXCEEDED", on},
		{"no quota, no refusal", bob, pools(), "", on},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u.location(http.MethodPut, tc.target, tc.pools)
			r := tc.act()
			if r.code() != tc.code {
				t.Errorf("got %d %s", r.status, r.body)
			}
			u.location(http.MethodPut, tc.target, pools())
		})
	}
	if err := c.dir.WaitTasks(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.location(http.MethodPut, org, pools(fmt.Sprintf(allVMs, 9), fmt.Sprintf(runningVMs, 5)))
	got := u.json(http.MethodGet, org, "")["quotaPools"].([]any)
	if len(got) != 2 || got[0].(map[string]any)["quotaConsumed"] != 2.0 || got[1].(map[string]any)["quotaConsumed"] != 2.0 {
		t.Errorf("consumed: %v", got)
	}
}

func TestQuotaPolicies(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, ada, bob := c.login(adminName), c.login("ada@acme"), c.login("bob@acme")
	all := "/cloudapi/1.0.0/quotaPolicies"
	p := u.json(http.MethodPost, all, `{"name":"small","quotaPoolDefinitions":[`+fmt.Sprintf(allVMs, 2)+`]}`)
	one := all + "/" + p["id"].(string)
	org := "/cloudapi/1.0.0/orgs/urn:vcloud:org:" + c.acme + "/quotaPolicy"
	assign := `{"quotaPolicyReference":{"id":"` + p["id"].(string) + `"}}`
	for _, tc := range []struct {
		name, body string
	}{
		{"no name", `{"quotaPoolDefinitions":[]}`},
		{"a taken name", `{"name":"small","quotaPoolDefinitions":[]}`},
		{"an unknown resource", `{"name":"x","quotaPoolDefinitions":[{"resourceType":"beer","quota":1}]}`},
		{"another unit", `{"name":"x","quotaPoolDefinitions":[{"resourceType":"memory","quota":1,"quotaResourceUnit":"GB"}]}`},
		{"no quota", `{"name":"x","quotaPoolDefinitions":[{"resourceType":"memory"}]}`},
		{"an unknown qualifier", `{"name":"x","quotaPoolDefinitions":[{"resourceType":"cpu","quota":1,"qualifiers":["vm.os == x"]}]}`},
		{"the same twice", `{"name":"x","quotaPoolDefinitions":[{"resourceType":"cpu","quota":1},{"resourceType":"cpu","quota":2}]}`},
		{"no JSON", `<x/>`},
	} {
		if r := u.do(http.MethodPost, all, jsonType, tc.body); r.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", tc.name, r.status, r.body)
		}
	}
	bob.want(http.StatusForbidden, http.MethodPost, all, jsonType, `{"name":"mine","quotaPoolDefinitions":[]}`)
	ada.want(http.StatusForbidden, http.MethodPut, org, jsonType, assign)
	u.location(http.MethodPut, org, assign)
	if ref, _ := ada.json(http.MethodGet, org, "")["quotaPolicyReference"].(map[string]any); ref["name"] != "small" {
		t.Errorf("assigned: %v", ref)
	}
	u.want(http.StatusBadRequest, http.MethodDelete, one, "", "")
	u.json(http.MethodPut, one, `{"name":"tiny","quotaPoolDefinitions":[]}`)
	if got := u.json(http.MethodGet, one, "")["name"]; got != "tiny" {
		t.Errorf("renamed: %v", got)
	}
	u.location(http.MethodPut, org, `{}`)
	u.want(http.StatusNoContent, http.MethodDelete, one, "", "")
	if n := u.json(http.MethodGet, all, "")["resultTotal"]; n != 0.0 {
		t.Errorf("%v policies", n)
	}
}

func TestStorageAndVDCLimits(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	vdc := func(name string, spec director.VDCSpec, p director.StorageProfileSpec) string {
		spec.Org, spec.Name, spec.ResourcePool = "acme", name, "vdc1-pool"
		p.Name = "only"
		spec.StorageProfiles = []director.StorageProfileSpec{p}
		return must(c.dir.AddVDC(spec))(t)
	}
	moref, vim := c.take(), c.vimServer(u)
	for _, tc := range []struct {
		name, want string
		spec       director.VDCSpec
		profile    director.StorageProfileSpec
	}{
		{"a full storage profile", "will exceed the VDC's storage quota: storage policy \"only\" has 1 MB remaining, requested 2 MB", director.VDCSpec{}, director.StorageProfileSpec{LimitMB: 1}},
		{"a disabled one", "is disabled", director.VDCSpec{}, director.StorageProfileSpec{Disabled: true}},
		{"the VM quota", "virtual machine quota", director.VDCSpec{VMQuota: 1}, director.StorageProfileSpec{}},
		{"the NIC quota", "NIC quota", director.VDCSpec{NICQuota: 1}, director.StorageProfileSpec{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.vdc = vdc(strings.ReplaceAll(tc.name, " ", "-"), tc.spec, tc.profile)
			if tc.spec.VMQuota+tc.spec.NICQuota > 0 {
				must(c.dir.AddVApp(director.VAppSpec{VDC: c.vdc, Name: "first", VMs: []director.VMSpec{{Name: "first", MoRef: c.take()}}}))(t)
			}
			if tc.profile.LimitMB > 0 {
				u.grow(t, "web01", 2)
			}
			r := u.do(http.MethodPost, vim+"/importVmAsVApp", admin+"importVmAsVAppParams+xml", c.asVApp("more", moref, "true"))
			if tc.profile.LimitMB > 0 { // the disk has one MB
				if r.status != http.StatusCreated {
					t.Fatalf("%d %s", r.status, r.body)
				}
				u.made(r)
				r = u.do(http.MethodPost, "/api/vdc/"+c.vdc+"/action/composeVApp", "application/vnd.vmware.vcloud.composeVAppParams+xml",
					`<ComposeVAppParams xmlns="http://www.vmware.com/vcloud/v1.5" name="copy"><SourcedItem><Source href="`+u.c.vmPath(u, "web01")+`"/></SourcedItem></ComposeVAppParams>`)
				tc.want = "has 0 MB remaining, requested 2 MB"
				moref = c.take()
			}
			if message := r.root(t).SelectAttrValue("message", ""); r.status != http.StatusBadRequest || !strings.Contains(message, tc.want) {
				t.Errorf("got %d %s", r.status, r.body)
			}
		})
	}
}

// vmNamed is the address of a VM, whatever its vApp.
func (u *user) vmNamed(name string) string {
	return u.get("/api/query?type=vm&filter=name=="+name).FindElement("./VMRecord").SelectAttrValue("href", "")
}

// grow makes the disk of a VM so many MB.
func (u *user) grow(t *testing.T, name string, mb int) {
	t.Helper()
	p := u.vmNamed(name)
	u.run(http.MethodPost, p+"/action/reconfigureVm", "application/vnd.vmware.vcloud.vm+xml", grown(u.get(p), mb))
}

func grown(e *etree.Element, mb int) string {
	e.FindElement("./VmSpecSection").CreateAttr("Modified", "true")
	e.FindElement("./VmSpecSection//SizeMb").SetText(fmt.Sprint(mb))
	return write(e)
}

func TestDisksDoNotOutgrowTheirProfile(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	c.vdc = must(c.dir.AddVDC(director.VDCSpec{Org: "acme", Name: "tight", ResourcePool: "vdc1-pool",
		StorageProfiles: []director.StorageProfileSpec{{Name: "tight", LimitMB: 4}}}))(t)
	must(c.dir.AddVApp(director.VAppSpec{VDC: c.vdc, Name: "first", VMs: []director.VMSpec{{Name: "tight01", MoRef: c.take()}}}))(t)
	u.grow(t, "tight01", 4)
	p := u.vmNamed("tight01")
	r := u.do(http.MethodPost, p+"/action/reconfigureVm", "application/vnd.vmware.vcloud.vm+xml", grown(u.get(p), 5))
	if r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "storage quota") {
		t.Errorf("got %d %s", r.status, r.body)
	}
	if used := u.get("/api/query?type=orgVdcStorageProfile&filter=name==tight").FindElement("./OrgVdcStorageProfileRecord").SelectAttrValue("storageUsedMB", ""); used != "4" {
		t.Errorf("used %s MB", used)
	}
}
