package director_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

// pvdcOf is the first provider VDC and its storage profiles by name.
func (u *user) pvdcOf() (string, map[string]string) {
	href := u.get("/api/query?type=providerVdc").FindElement("./VMWProviderVdcRecord").SelectAttrValue("href", "")
	profiles := map[string]string{}
	for _, r := range u.get("/api/query?type=providerVdcStorageProfile&filter=providerVdc==" + href).FindElements("./ProviderVdcStorageProfileRecord") {
		profiles[r.SelectAttrValue("name", "")] = r.SelectAttrValue("href", "")
	}
	return href, profiles
}

const (
	createVDC = admin + "createVdcParams+xml"
	vdcParams = `<CreateVdcParams xmlns="http://www.vmware.com/vcloud/v1.5" name="%s"><Description>new</Description><AllocationModel>%s</AllocationModel>` +
		`<ComputeCapacity><Cpu><Units>MHz</Units><Allocated>2000</Allocated><Limit>4000</Limit></Cpu><Memory><Units>%s</Units><Allocated>1024</Allocated><Limit>2048</Limit></Memory></ComputeCapacity>` +
		`<NicQuota>5</NicQuota><NetworkQuota>3</NetworkQuota><VmQuota>7</VmQuota><IsEnabled>true</IsEnabled><VdcStorageProfile><Enabled>true</Enabled><Units>MB</Units>` +
		`<Limit>1024</Limit><Default>%s</Default><ProviderVdcStorageProfile href="%s"/></VdcStorageProfile><ResourceGuaranteedMemory>0.5</ResourceGuaranteedMemory>` +
		`<ProviderVdcReference href="%s"/></CreateVdcParams>`
)

func TestVDCsComeAndGo(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, ada := c.login(adminName), c.login("ada@acme")
	pvdc, profiles := u.pvdcOf()
	path := "/api/admin/org/" + c.acme + "/vdcsparams"
	for _, tc := range []struct{ name, model, unit, standard, profile, pvdc, code string }{
		{"", "Flex", "MB", "true", profiles["gold"], pvdc, "BAD_REQUEST"},
		{"vdc1", "Flex", "MB", "true", profiles["gold"], pvdc, "DUPLICATE_NAME"},
		{"x", "Elastic", "MB", "true", profiles["gold"], pvdc, "BAD_REQUEST"},
		{"x", "Flex", "GB", "true", profiles["gold"], pvdc, "BAD_REQUEST"},
		{"x", "Flex", "MB", "false", profiles["gold"], pvdc, "BAD_REQUEST"},
		{"x", "Flex", "MB", "true", pvdc, pvdc, "BAD_REQUEST"},
		{"x", "Flex", "MB", "true", profiles["gold"], "https://x/api/admin/providervdc/" + c.acme, "BAD_REQUEST"},
	} {
		if r := u.do(http.MethodPost, path, createVDC, fmt.Sprintf(vdcParams, tc.name, tc.model, tc.unit, tc.standard, tc.profile, tc.pvdc)); r.code() != tc.code {
			t.Errorf("%v: got %d %s", tc, r.status, r.body)
		}
	}
	body := fmt.Sprintf(vdcParams, "second", "AllocationPool", "MB", "true", profiles["gold"], pvdc)
	ada.want(http.StatusForbidden, http.MethodPost, path, createVDC, body)
	v := u.made(u.want(http.StatusCreated, http.MethodPost, path, createVDC, body))
	p := v.SelectAttrValue("href", "")
	if got := textAt(v, "./ComputeCapacity/Memory/Reserved") + textAt(v, "./VmQuota") + v.SelectAttrValue("status", ""); got != "51271" {
		t.Errorf("reserved, quota, status: %s", write(v))
	}
	pool := textAt(v, "./ResourcePoolRefs/VimObjectRef/MoRef")
	if pools := u.get(c.vimServer(u) + "/resourcePoolList"); !strings.Contains(write(pools), ">"+pool+"<") || !strings.Contains(write(pools), `name="second (`) {
		t.Errorf("no pool %s: %s", pool, write(pools))
	}

	t.Run("it is changed", func(t *testing.T) {
		v.FindElement("./VmQuota").SetText("9")
		v.FindElement("./Description").SetText("changed")
		u.run(http.MethodPut, p, admin+"vdc+xml", write(v))
		now := u.get(p)
		if textAt(now, "./VmQuota")+textAt(now, "./Description") != "9changed" {
			t.Errorf("got %s", write(now))
		}
		v.FindElement("./AllocationModel").SetText("ReservationPool")
		if r := u.do(http.MethodPut, p, admin+"vdc+xml", write(v)); r.status != http.StatusBadRequest {
			t.Errorf("another model: %d", r.status)
		}
	})
	t.Run("its storage profiles too", func(t *testing.T) { u.storageProfilesOf(t, p, profiles["silver"]) })
	t.Run("hardware versions say what they allow", func(t *testing.T) {
		hwv := u.get(strings.Replace(p, "/admin", "", 1) + "/hwv/vmx-19")
		if textAt(hwv, "./name") != "vmx-19" || textAt(hwv, "./maxNICs") != "10" {
			t.Errorf("got %s", write(hwv))
		}
		for guest, want := range map[string][]string{"sles12_64Guest": {"bios", "efi"}, "windows11_64Guest": {"efi"}, "sles11Guest": {"bios"}, "debian12_64Guest": nil} {
			if got := texts(hwv, "./supportedOperatingSystems//OperatingSystem[InternalName='"+guest+"']/SupportedFirmware"); !slices.Equal(got, want) {
				t.Errorf("%s starts from %q, want %q", guest, got, want)
			}
		}
		u.want(http.StatusBadRequest, http.MethodGet, p[:strings.Index(p, "/admin")]+"/vdc/"+c.vdc+"/hwv/vmx-3", "", "")
	})
	u.want(http.StatusBadRequest, http.MethodDelete, p, "", "")
	u.want(http.StatusNoContent, http.MethodPost, p+"/action/disable", "", "")
	u.run(http.MethodDelete, p, "", "")
	if pools := u.get(c.vimServer(u) + "/resourcePoolList"); strings.Contains(write(pools), ">"+pool+"<") {
		t.Error("the resource pool is left")
	}
	u.want(http.StatusBadRequest, http.MethodDelete, "/api/admin/vdc/"+c.vdc+"?force=true", "", "")
	u.run(http.MethodDelete, "/api/admin/vdc/"+c.vdc+"?force=true&recursive=true", "", "")
}

const profileXML = `<AdminVdcStorageProfile xmlns="http://www.vmware.com/vcloud/v1.5" name="x"><Enabled>%t</Enabled><Units>MB</Units><Limit>%d</Limit><Default>%t</Default>` +
	`<IopsSettings><Enabled>true</Enabled><DiskIopsMax>100</DiskIopsMax><DiskIopsDefault>%d</DiskIopsDefault></IopsSettings><ProviderVdcStorageProfile href="%s"/></AdminVdcStorageProfile>`

// storageProfilesOf adds a profile to a VDC, changes it and removes it.
func (u *user) storageProfilesOf(t *testing.T, vdc, from string) {
	const update = admin + "updateVdcStorageProfiles+xml"
	add := `<UpdateVdcStorageProfiles xmlns="http://www.vmware.com/vcloud/v1.5"><AddStorageProfile><Enabled>true</Enabled><Units>MB</Units><Limit>10</Limit>` +
		`<Default>false</Default><ProviderVdcStorageProfile href="` + from + `"/></AddStorageProfile></UpdateVdcStorageProfiles>`
	u.run(http.MethodPost, vdc+"/vdcStorageProfiles", update, add)
	u.want(http.StatusBadRequest, http.MethodPost, vdc+"/vdcStorageProfiles", update, add)
	var p string
	for _, r := range u.get(vdc).FindElements("./VdcStorageProfiles/VdcStorageProfile") {
		if r.SelectAttrValue("name", "") == "silver" {
			p = r.SelectAttrValue("href", "")
		}
	}
	const typ = admin + "vdcStorageProfile+xml"
	for _, bad := range []string{fmt.Sprintf(profileXML, true, -1, false, 10, from), fmt.Sprintf(profileXML, false, 10, true, 10, from), fmt.Sprintf(profileXML, true, 10, false, 200, from)} {
		u.want(http.StatusBadRequest, http.MethodPut, p, typ, bad)
	}
	r := u.want(http.StatusOK, http.MethodPut, p, typ, fmt.Sprintf(profileXML, true, 99, false, 10, from)).root(t)
	if textAt(r, "./Limit")+textAt(r, "./IopsSettings/DiskIopsMax") != "99100" {
		t.Errorf("got %s", write(r))
	}
	remove := `<UpdateVdcStorageProfiles xmlns="http://www.vmware.com/vcloud/v1.5"><RemoveStorageProfile href="` + p + `"/></UpdateVdcStorageProfiles>`
	if e := u.task(http.MethodPost, vdc+"/vdcStorageProfiles", update, remove); e.SelectAttrValue("status", "") != "error" {
		t.Errorf("an enabled profile was removed: %s", write(e))
	}
	u.want(http.StatusOK, http.MethodPut, p, typ, fmt.Sprintf(profileXML, false, 99, false, 10, from))
	u.run(http.MethodPost, vdc+"/vdcStorageProfiles", update, remove)
}

func TestProviderVDCs(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, ada := c.login(adminName), c.login("ada@acme")
	href, profiles := u.pvdcOf()
	ada.want(http.StatusForbidden, http.MethodGet, href, "", "")
	ada.want(http.StatusForbidden, http.MethodGet, "/api/query?type=providerVdc", "", "")
	extension := strings.Replace(href, "/admin/", "/admin/extension/", 1)
	e := u.get(extension)
	for _, path := range []string{"./ComputeCapacity/Cpu/Total", "./DataStoreRefs/VimObjectRef/MoRef", "./ResourcePoolRefs/VimObjectRef/MoRef", "./StorageProfiles/ProviderVdcStorageProfile"} {
		if e.FindElement(path) == nil {
			t.Errorf("no %s: %s", path, write(e))
		}
	}
	for _, path := range []string{href, profiles["gold"], strings.Replace(profiles["gold"], "/admin/", "/admin/extension/", 1), extension + "/resourcePools",
		"/api/admin/extension/providerVdcReferences", c.vimServer(u) + "/storageProfiles", c.vimServer(u) + "/hostReferences", "/api/admin/extension/hostReferences",
		"/api/admin/extension/datastores", "/api/query?type=host", "/api/query?type=providerVdcResourcePoolRelation", "/api/query?type=orgVdcResourcePoolRelation",
		"/api/query?type=resourcePoolVmList", "/api/query?type=datastoreProviderVdcRelation", "/api/vdc/" + c.vdc + "/computePolicies"} {
		u.get(path)
	}
	host := u.get("/api/admin/extension/hostReferences").FindElement("./HostReference").SelectAttrValue("href", "")
	store := u.get("/api/admin/extension/datastores").FindElement("./Reference").SelectAttrValue("href", "")
	for _, path := range []string{host, store} {
		u.get(path)
	}
	u.want(http.StatusBadRequest, http.MethodDelete, extension, "", "") // enabled
	u.want(http.StatusNoContent, http.MethodPost, extension+"/action/disable", "", "")
	u.want(http.StatusBadRequest, http.MethodDelete, extension, "", "") // in use
	u.want(http.StatusBadRequest, http.MethodPost, "/api/admin/org/"+c.acme+"/vdcsparams", createVDC, fmt.Sprintf(vdcParams, "x", "Flex", "MB", "true", profiles["gold"], href))
	u.want(http.StatusNoContent, http.MethodPost, extension+"/action/enable", "", "")

	vcs := u.json(http.MethodGet, "/cloudapi/1.0.0/virtualCenters", "")["values"].([]any)
	vc := vcs[0].(map[string]any)["vcId"].(string)
	pools := u.json(http.MethodGet, "/cloudapi/1.0.0/virtualCenters/"+vc+"/resourcePools/browseAll", "")["values"].([]any)
	if len(pools) != 2 {
		t.Errorf("pools: %v", pools)
	}
	u.json(http.MethodGet, "/cloudapi/1.0.0/virtualCenters/"+vc, "")
	if n := u.json(http.MethodGet, "/cloudapi/1.0.0/virtualCenters/"+vc+"/storageProfiles?filter=_context==resgroup-1", "")["resultTotal"]; n != 2.0 {
		t.Errorf("%v storage profiles", n)
	}
	for _, p := range pools {
		if m := p.(map[string]any); m["name"] == "vdc1-pool" {
			u.createProviderVDC(t, c.vimServer(u), m["moref"].(string))
		}
	}
}

// createProviderVDC makes a provider VDC with JSON, as go-vcloud-director does.
func (u *user) createProviderVDC(t *testing.T, vim, moref string) {
	const path = "/api/admin/extension/providervdcsparams"
	send := func(body string) *reply {
		req := must(http.NewRequest(http.MethodPost, u.c.dir.URL().String()+path, strings.NewReader(body)))(t)
		req.Header.Set("Authorization", "Bearer "+u.token)
		req.Header.Set("Accept", "application/*+json;version="+u.version)
		req.Header.Set("Content-Type", "application/*+json")
		return u.c.send(req)
	}
	const params = `{"name":%q,"resourcePoolRefs":{"vimObjectRef":[{"vimServerRef":{"href":%q},"moRef":%q,"vimObjectType":"RESOURCE_POOL"}]},"vimServer":[{"href":%q}],"storageProfile":[%q]}`
	for _, bad := range []string{fmt.Sprintf(params, "", vim, moref, vim, "gold"), fmt.Sprintf(params, "vc1", vim, moref, vim, "gold"), fmt.Sprintf(params, "p2", vim, "resgroup-none", vim, "gold"),
		fmt.Sprintf(params, "p2", vim, moref, vim, "platinum"), `{"name":"p2"}`, `nonsense`} {
		if r := send(bad); r.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", bad, r.status, r.body)
		}
	}
	r := send(fmt.Sprintf(params, "p2", vim, moref, vim, "gold"))
	if r.status != http.StatusCreated || !strings.Contains(string(r.body), `"name":"p2"`) {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	if r := send(fmt.Sprintf(params, "p3", vim, moref, vim, "gold")); r.status != http.StatusBadRequest {
		t.Errorf("a pool backs two provider VDCs: %d", r.status)
	}
	href := r.header.Get("Location")
	u.want(http.StatusNoContent, http.MethodPost, href+"/action/disable", "", "")
	if err := u.c.dir.WaitTasks(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.run(http.MethodDelete, href, "", "")
}

func TestComputePolicies(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, bob := c.login(adminName), c.login("bob@acme")
	all := "/cloudapi/2.0.0/vdcComputePolicies"
	for _, bad := range []string{`{}`, `{"name":"small"}`, `{"name":"x","memory":0}`, `{"name":"x","cpuReservationGuarantee":1.5}`, `{"name":"x","cpuCount":3,"coresPerSocket":2}`,
		`{"name":"x","pvdcNamedVmGroupsMap":[{"pvdc":{"id":"urn:vcloud:providervdc:` + c.acme + `"}}]}`, `no`} {
		u.want(http.StatusBadRequest, http.MethodPost, all, jsonType, bad)
	}
	bob.want(http.StatusForbidden, http.MethodPost, all, jsonType, `{"name":"mine"}`)
	p := u.json(http.MethodPost, all, `{"name":"large","description":null,"cpuCount":8,"coresPerSocket":4,"memory":4096}`)
	one, id := all+"/"+p["id"].(string), p["id"].(string)
	bob.want(http.StatusForbidden, http.MethodGet, one, "", "")
	if got := u.json(http.MethodPut, one, `{"name":"larger","cpuCount":16}`); got["name"] != "larger" || got["isSizingOnly"] != true {
		t.Errorf("got %v", got)
	}
	policies := "/api/admin/vdc/" + c.vdc + "/computePolicies"
	doc := u.get(policies)
	refs := len(doc.FindElements("./VdcComputePolicyReference"))
	const typ = "application/vnd.vmware.vcloud.vdcComputePolicyReferences+xml"
	only := etree.NewElement("VdcComputePolicyReferences")
	only.CreateAttr("xmlns", "http://www.vmware.com/vcloud/v1.5")
	only.CreateElement("VdcComputePolicyReference").CreateAttr("href", u.c.dir.URL().String()+one)
	u.want(http.StatusBadRequest, http.MethodPut, policies, typ, write(only)) // without the default
	doc.CreateElement("VdcComputePolicyReference").CreateAttr("href", u.c.dir.URL().String()+one)
	got := u.want(http.StatusOK, http.MethodPut, policies, typ, write(doc)).root(t)
	if n := len(got.FindElements("./VdcComputePolicyReference")); n != refs+1 {
		t.Errorf("%d policies", n)
	}
	if got := bob.json(http.MethodGet, "/cloudapi/1.0.0/vdcs/urn:vcloud:vdc:"+c.vdc+"/computePolicies?filter=id=="+id, ""); got["resultTotal"] != 1.0 {
		t.Errorf("got %v", got)
	}
	u.want(http.StatusBadRequest, http.MethodDelete, one, "", "")
	doc.RemoveChild(doc.FindElements("./VdcComputePolicyReference")[refs])
	u.want(http.StatusOK, http.MethodPut, policies, typ, write(doc))
	u.want(http.StatusNoContent, http.MethodDelete, one, "", "")
}

func TestSecurityTags(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, eve, gil := c.login(adminName), c.login("ada@acme"), c.login("gil@globex")
	href := c.vmPath(u, "web01")
	urn := "urn:vcloud:vm:" + href[len(href)-36:]
	tag, vm := "/cloudapi/1.0.0/securityTags/tag", "/cloudapi/1.0.0/securityTags/vm/"+urn
	gil.want(http.StatusBadRequest, http.MethodPut, tag, jsonType, `{"tag":"x","entities":["`+urn+`"]}`)
	eve.want(http.StatusBadRequest, http.MethodPut, tag, jsonType, `{"tag":"","entities":[]}`)
	eve.json(http.MethodPut, tag, `{"tag":"Web","entities":["`+urn+`"]}`)
	eve.json(http.MethodPut, vm, `{"tags":["web","DB"]}`)
	if got := eve.json(http.MethodGet, "/cloudapi/1.0.0/securityTags/values", ""); got["resultTotal"] != 2.0 {
		t.Errorf("values: %v", got)
	}
	if got := gil.json(http.MethodGet, "/cloudapi/1.0.0/securityTags/values", ""); got["resultTotal"] != 0.0 {
		t.Errorf("another organization's values: %v", got)
	}
	for filter, want := range map[string]float64{"tag==db": 1, "tag==none": 0, "(tag==web;entityType==vm)": 1} {
		if got := eve.json(http.MethodGet, "/cloudapi/1.0.0/securityTags/entities?filter="+filter, ""); got["resultTotal"] != want {
			t.Errorf("%s: %v", filter, got)
		}
	}
	eve.json(http.MethodPut, tag, `{"tag":"web","entities":[]}`)
	if got := eve.json(http.MethodGet, vm, "")["tags"].([]any); len(got) != 1 || got[0] != "db" {
		t.Errorf("left: %v", got)
	}
}

func TestExtensibilityIsKept(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, ada := c.login(adminName), c.login("ada@acme")
	const eps, filters = "/cloudapi/1.0.0/externalEndpoints", "/cloudapi/1.0.0/apiFilters"
	const ep = `{"name":%q,"version":%q,"vendor":"v","enabled":%t,"rootUrl":%q}`
	for _, bad := range []string{fmt.Sprintf(ep, "", "1.0.0", true, "https://x"), fmt.Sprintf(ep, "a", "1", true, "https://x"), fmt.Sprintf(ep, "a", "1.0.0", true, "http://x"), `x`} {
		u.want(http.StatusBadRequest, http.MethodPost, eps, jsonType, bad)
	}
	ada.want(http.StatusForbidden, http.MethodPost, eps, jsonType, fmt.Sprintf(ep, "a", "1.0.0", true, "https://x"))
	id := u.json(http.MethodPost, eps, fmt.Sprintf(ep, "a", "1.0.0", true, "https://x"))["id"].(string)
	u.want(http.StatusBadRequest, http.MethodPost, eps, jsonType, fmt.Sprintf(ep, "a", "1.0.0", true, "https://x"))
	for _, bad := range []string{`{}`, `{"externalSystem":{"id":"` + id + `"}}`, `{"externalSystem":{"id":"` + id + `"},"urlMatcher":{"urlPattern":"/x","urlScope":"ALL"}}`} {
		u.want(http.StatusBadRequest, http.MethodPost, filters, jsonType, bad)
	}
	f := u.json(http.MethodPost, filters, `{"externalSystem":{"id":"`+id+`"},"urlMatcher":{"urlPattern":"/x","urlScope":"EXT_API"}}`)["id"].(string)
	u.json(http.MethodGet, filters+"/"+f, "")
	u.want(http.StatusBadRequest, http.MethodDelete, eps+"/"+id, "", "") // enabled
	u.json(http.MethodPut, eps+"/"+id, fmt.Sprintf(ep, "a", "1.0.0", false, "https://x"))
	u.want(http.StatusBadRequest, http.MethodDelete, eps+"/"+id, "", "") // a filter leads to it
	u.want(http.StatusNoContent, http.MethodDelete, filters+"/"+f, "", "")
	u.want(http.StatusNoContent, http.MethodDelete, eps+"/"+id, "", "")
}

func TestMetadataOfWhatAdministratorsChange(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, ada, bob := c.login(adminName), c.login("ada@acme"), c.login("bob@acme")
	pvdc, profiles := u.pvdcOf()
	const body = `<MetadataValue xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><TypedValue xsi:type="MetadataStringValue"><Value>v</Value></TypedValue></MetadataValue>`
	const typ = "application/vnd.vmware.vcloud.metadata.value+xml"
	vdc := "/api/admin/vdc/" + c.vdc
	profile := u.get(vdc).FindElement("./VdcStorageProfiles/VdcStorageProfile").SelectAttrValue("href", "")
	for _, p := range []string{pvdc, profiles["gold"], vdc, profile} {
		u.run(http.MethodPut, p+"/metadata/k", typ, body)
		if got := textAt(u.get(p+"/metadata/k"), "./TypedValue/Value"); got != "v" {
			t.Errorf("%s: got %q", p, got)
		}
		bob.want(http.StatusForbidden, http.MethodPut, p+"/metadata/k", typ, body)
		u.run(http.MethodDelete, p+"/metadata/k", "", "")
	}
	ada.run(http.MethodPut, vdc+"/metadata/k", typ, body)
	plain := strings.Replace(vdc, "/admin/", "/", 1) + "/metadata/k"
	if got := textAt(bob.get(plain), "./TypedValue/Value"); got != "v" {
		t.Errorf("in the user's view: %q", got)
	}
	ada.want(http.StatusMethodNotAllowed, http.MethodPut, plain, typ, body)
	network := ada.get("/api/vdc/"+c.vdc).FindElement("./AvailableNetworks/Network").SelectAttrValue("href", "")
	u.run(http.MethodPut, strings.Replace(network, "/api/", "/api/admin/", 1)+"/metadata/k", typ, body)
	for _, key := range []string{"k", "GENERAL/k"} {
		if got := textAt(bob.get(network+"/metadata/"+key), "./TypedValue/Value"); got != "v" {
			t.Errorf("%s of a network: %q", key, got)
		}
	}
	ada.want(http.StatusForbidden, http.MethodPut, profile+"/metadata/k", typ, body)
}
