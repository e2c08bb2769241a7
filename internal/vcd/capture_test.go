package vcd

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	orgUUID  = "11111111-1111-1111-1111-111111111111"
	vdcUUID  = "22222222-2222-2222-2222-222222222222"
	vmUUID   = "44444444-4444-4444-4444-444444444444"
	userUUID = "99999999-9999-9999-9999-999999999999"
	roleUUID = "aaaaaaaa-9999-9999-9999-999999999999"
	netUUID  = "bbbbbbbb-9999-9999-9999-999999999999"
	edgeUUID = "cccccccc-9999-9999-9999-999999999999"
	lanUUID  = "bbbbbbbb-8888-9999-9999-999999999999"
	extUUID  = "dddddddd-9999-9999-9999-999999999999"
	tplUUID  = "eeeeeeee-9999-9999-9999-999999999999"
	profUUID = "66666666-6666-6666-6666-666666666666"
	diskUUID = "77777777-7777-7777-7777-777777777777"
	polUUID  = "88888888-8888-8888-8888-888888888888"
	vcUUID   = "55555555-5555-5555-5555-555555555555"
)

// captureSite serves one vApp of one VM. Documents that links lead through
// are written out; everything else answers with a document that names itself.
func captureSite(t *testing.T) *fakeSite {
	f := newFakeSite(t)
	vapp := `<VApp xmlns="http://www.vmware.com/vcloud/v1.5" name="web" id="urn:vcloud:vapp:` + vappUUID + `" href="https://elsewhere/api/vApp/vapp-` + vappUUID + `">
		<Link rel="up" type="` + TypeVDC + `" href="https://elsewhere/api/vdc/` + vdcUUID + `"/>
		<Link rel="down" type="` + TypeVAppNetwork + `" name="lan" href="https://elsewhere/api/network/` + lanUUID + `"/>
		<NetworkConfigSection><NetworkConfig networkName="lan"><Configuration><ParentNetwork href="https://elsewhere/api/admin/network/` + netUUID + `"/></Configuration></NetworkConfig></NetworkConfigSection>
		<Owner><User href="https://elsewhere/api/admin/user/` + userUUID + `"/></Owner>
		<Children>` + strings.TrimPrefix(vmAsAdmin, `<?xml version="1.0" encoding="UTF-8"?>`) + `</Children></VApp>`
	f.xml("/api/vApp/vapp-"+vappUUID, vapp)
	f.xml("/api/vApp/vm-"+vmUUID, vmAsAdmin)
	f.xml("/api/vdc/"+vdcUUID, `<Vdc><Link rel="up" type="`+TypeOrg+`" href="https://elsewhere/api/org/`+orgUUID+`"/></Vdc>`)
	f.xml("/api/org/"+orgUUID, `<Org name="acme"/>`)
	f.xml("/api/vApp/vapp-"+vappUUID+"/controlAccess/", `<ControlAccessParams><AccessSettings><AccessSetting><Subject href="https://elsewhere/api/admin/user/`+userUUID+`"/></AccessSetting>
		<AccessSetting><Subject href="https://elsewhere/api/admin/group/`+userUUID+`"/></AccessSetting>
		<AccessSetting><Subject href="https://elsewhere/api/org/`+roleUUID+`"/></AccessSetting></AccessSettings></ControlAccessParams>`)
	f.xml("/api/admin/user/"+userUUID, `<User><Role href="https://elsewhere/api/admin/role/`+roleUUID+`"/></User>`)
	f.xml("/api/admin/network/"+netUUID, `<OrgVdcNetwork><EdgeGateway href="https://elsewhere/api/admin/edgeGateway/`+edgeUUID+`"/></OrgVdcNetwork>`)
	f.xml("/api/query", `<QueryResultRecords/>`)
	f.xml("/api/vdc/"+vdcUUID+"/vmAffinityRules", `<VmAffinityRules>
		<VmAffinityRule href="https://elsewhere/api/vmAffinityRule/`+userUUID+`"><VmReferences><VmReference href="https://elsewhere/api/vApp/vm-`+vmUUID+`"/></VmReferences></VmAffinityRule>
		<VmAffinityRule href="https://elsewhere/api/vmAffinityRule/`+roleUUID+`"><VmReferences><VmReference href="https://elsewhere/api/vApp/vm-`+roleUUID+`"/></VmReferences></VmAffinityRule></VmAffinityRules>`)
	f.xml("/api/vApp/vapp-"+vappUUID+"/metadata", `<Metadata>
		<MetadataEntry><Domain>SYSTEM</Domain><Key>vapp.origin.id</Key><TypedValue><Value>`+tplUUID+`</Value></TypedValue></MetadataEntry>
		<MetadataEntry><Domain>SYSTEM</Domain><Key>vapp.origin.type</Key><TypedValue><Value>com.vmware.vcloud.entity.vapptemplate</Value></TypedValue></MetadataEntry></Metadata>`)
	f.xml("/api/vApp/vm-"+vmUUID+"/metadata", `<Metadata/>`)
	f.mux.HandleFunc("/cloudapi/1.0.0/edgeGateways/urn:vcloud:gateway:"+edgeUUID+"/nat/rules", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"pageCount":2,"values":[{"page":%q}]}`, r.URL.Query().Get("page"))
	})
	f.json("/cloudapi/1.0.0/edgeGateways/urn:vcloud:gateway:"+edgeUUID, `{"edgeGatewayUplinks":[{"uplinkId":"urn:vcloud:network:`+extUUID+`"}]}`)
	f.json("/cloudapi/1.0.0/users/urn:vcloud:user:"+userUUID+"/quotaPolicy", `{"quotaPolicyReference":{"id":"urn:vcloud:quotaPolicy:`+roleUUID+`"}}`)
	f.json("/cloudapi/1.0.0/orgVdcNetworks/urn:vcloud:network:"+netUUID, `{"ownerRef":{"id":"urn:vcloud:vdcGroup:`+roleUUID+`"},"connection":null}`)
	f.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/cloudapi/") {
			writeJSON(w, `{"doc":"`+r.URL.Path+`"}`)
			return
		}
		writeXML(w, "<Doc>"+r.URL.Path+"</Doc>")
	})
	return f
}

func TestCaptureTakesEveryDocument(t *testing.T) {
	t.Parallel()
	f := captureSite(t)
	inner := f.Config.Handler
	var now, most atomic.Int32
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(2 * time.Millisecond)
		inner.ServeHTTP(w, r)
	})
	got, err := f.connect(t).Capture(t.Context(), "urn:vcloud:vapp:"+vappUUID)
	if err != nil {
		t.Fatal(err)
	}
	if got.VApp.Org.Name != "acme" || got.VApp.Org.ID != "urn:vcloud:org:"+orgUUID {
		t.Errorf("org %+v", got.VApp.Org)
	}
	want := []string{
		"vapp.xml", "owner.xml", "controlAccess.xml", "leaseSettingsSection.xml", "networkConfigSection.xml", "networkSection.xml",
		"startupSection.xml", "productSections.xml", "metadata.xml", "snapshotSection.xml", "quotaPolicy.json",
		"networks/" + lanUUID + ".xml",
		"context/orgs/" + roleUUID + ".xml", "context/record.xml", "context/vmRecords.xml", "context/templates/" + tplUUID + ".xml",
		"context/org.xml", "context/orgSettings.xml", "context/orgMetadata.xml", "context/orgQuotaPolicy.json",
		"context/vdc.xml", "context/vdc.json", "context/vdcMetadata.xml", "context/vdcNetworkProfile.json", "context/vdcMaxComputePolicy.json",
		"context/vdcControlAccess.xml", "context/vdcComputePolicies.json", "context/affinityRules/" + userUUID + ".xml",
		"context/users/" + userUUID + ".xml", "context/users/" + userUUID + ".quotaPolicy.json", "context/quotaPolicies/" + roleUUID + ".json",
		"context/groups/" + userUUID + ".xml", "context/groups/" + userUUID + ".quotaPolicy.json", "context/roles/" + roleUUID + ".xml",
		"context/storageProfiles/" + profUUID + ".xml",
		"context/vimServers/" + vcUUID + ".xml", "context/vimServers/" + vcUUID + ".json",
		"context/computePolicies/" + polUUID + ".json",
		"context/vms/" + vmUUID + "/guestCustomizationStatus.xml", "context/vms/" + vmUUID + "/complianceResult.xml", "context/vms/" + vmUUID + "/snapshots.json",
		"context/vappNetworks/" + lanUUID + ".allocatedAddresses.xml", "context/vappNetworks/" + lanUUID + ".metadata.xml",
	}
	for dir, names := range map[string][]string{
		"disks/" + diskUUID: {"xml", "owner.xml", "metadata.xml", "attachedVms.xml"},
		"networks/" + netUUID: {
			"xml", "json", "allocatedAddresses.xml", "metadata.xml", "dhcp.json", "dhcpBindings.json", "allocatedIpAddresses.json",
		},
		"edgeGateways/" + edgeUUID: {
			"xml", "json", "firewall.json", "dns.json", "dhcpForwarder.json", "nat.json", "nat.2.json", "staticRoutes.json", "usedIpAddresses.json",
			"firewallGroups.json",
		},
		"externalNetworks/" + extUUID: {"xml", "json"},
		"vdcGroups/" + roleUUID:       {"json", "dfwPolicies.json", "dfwRules.json", "firewallGroups.json"},
	} {
		for _, name := range names {
			want = append(want, "context/"+dir+"."+name)
		}
	}
	for _, name := range []string{
		"vm.xml", "virtualHardwareSection.xml", "networkConnectionSection.xml", "guestCustomizationSection.xml", "operatingSystemSection.xml",
		"runtimeInfoSection.xml", "vmCapabilities.xml", "productSections.xml", "metadata.xml", "snapshotSection.xml", "securityTags.json",
	} {
		want = append(want, "vms/"+vmUUID+"/"+name)
	}
	for _, file := range want {
		if len(got.Files["vcd/"+file]) == 0 {
			t.Errorf("%s is missing: %s", file, got.Absent["vcd/"+file])
		}
		delete(got.Files, "vcd/"+file)
	}
	if len(got.Files) > 0 || len(got.Absent) > 0 {
		t.Errorf("unexpected: %v, absent: %v", got.Files, got.Absent)
	}
	if m := most.Load(); m > atOnce {
		t.Errorf("%d requests at once, want at most %d", m, atOnce)
	}
	fetched := f.seen()
	slices.Sort(fetched)
	if twice := len(fetched) - len(slices.Compact(fetched)); twice > 0 {
		t.Errorf("%d documents are fetched twice", twice)
	}
}

func TestCaptureKeepsDocumentsAsTheyCame(t *testing.T) {
	t.Parallel()
	f := captureSite(t)
	got, err := f.connect(t).Capture(t.Context(), "urn:vcloud:vapp:"+vappUUID)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Files["vcd/vms/"+vmUUID+"/vm.xml"]) != vmAsAdmin {
		t.Error("the VM's document was changed")
	}
}

func TestCaptureWithoutSomeDocuments(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, path, file string
		status           int
		minor            string
		absent           bool
	}{
		{"a kind that the server does not have", "/api/vApp/vapp-" + vappUUID + "/snapshotSection", "snapshotSection.xml", 404, "", true},
		{"a kind that it may not be asked for", "/api/vApp/vapp-" + vappUUID + "/startupSection/", "startupSection.xml", 405, "", true},
		{"a form that it does not speak", "/api/vApp/vapp-" + vappUUID + "/startupSection/", "startupSection.xml", 406, "", true},
		{"a kind that is not there yet", "/cloudapi/1.0.0/securityTags/vm/urn:vcloud:vm:" + vmUUID, "vms/" + vmUUID + "/securityTags.json", 501, "", true},
		{"a kind that this API version does not have", "/cloudapi/1.0.0/vapps/urn:vcloud:vapp:" + vappUUID + "/quotaPolicy", "quotaPolicy.json", 400, "UNSUPPORTED", true},
		{"a document of the administrator's", "/api/admin/org/" + orgUUID, "context/org.xml", 403, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", true},
		{"a document that fails", "/api/vApp/vapp-" + vappUUID + "/owner", "owner.xml", 500, "INTERNAL_SERVER_ERROR", false},
		{"a VM's own document", "/api/vApp/vm-" + vmUUID + "", "vms/" + vmUUID + "/vm.xml", 403, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := captureSite(t)
			inner := f.Config.Handler
			f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == test.path {
					writeError(w, test.status, test.minor, "not here")
					return
				}
				inner.ServeHTTP(w, r)
			})
			got, err := f.connect(t).Capture(t.Context(), "urn:vcloud:vapp:"+vappUUID)
			if !test.absent {
				if err == nil || !strings.Contains(err.Error(), test.file) || !strings.Contains(err.Error(), "capture web") {
					t.Errorf("Capture() = %v, want an error that names %s", err, test.file)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if why := got.Absent["vcd/"+test.file]; !strings.Contains(why, "not here") || got.Files["vcd/"+test.file] != nil {
				t.Errorf("absent for %q", why)
			}
		})
	}
}

func TestCapturePathsAreIDs(t *testing.T) {
	t.Parallel()
	f := captureSite(t)
	got, err := f.connect(t).Capture(t.Context(), "urn:vcloud:vapp:"+vappUUID)
	if err != nil {
		t.Fatal(err)
	}
	for file := range got.Files {
		if path.Clean(file) != file || !strings.HasPrefix(file, "vcd/") {
			t.Errorf("path %q", file)
		}
	}
}

// A recorded vApp goes through, whatever its documents look like.
func TestCaptureOfARecordedVApp(t *testing.T) {
	t.Parallel()
	raw := map[string][]byte{}
	for file, p := range map[string]string{
		"get_vapp.xml": "/api/vApp/vapp-" + vappUUID,
		"get_vm.xml":   "/api/vApp/vm-314172f1-1835-4598-b049-5c1d4dce39ad",
		"get_vdc.xml":  "/api/vdc/cf6ea964-a67f-4ba1-b69e-3dd5d6cb0c89",
	} {
		raw[p] = recorded(t, file)
	}
	other := "/api/vApp/vm-8dc9990c-a55a-418e-8e21-5942a20b93ef"
	f := newFakeSite(t)
	var mu sync.Mutex
	asked := map[string]int{}
	f.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path]++
		mu.Unlock()
		switch {
		case raw[r.URL.Path] != nil:
			writeXML(w, string(raw[r.URL.Path]))
		case r.URL.Path == other:
			writeXML(w, `<Vm xmlns="http://www.vmware.com/vcloud/v1.5" id="urn:vcloud:vm:8dc9990c-a55a-418e-8e21-5942a20b93ef"/>`)
		default:
			writeError(w, 404, "NOT_FOUND", "not recorded")
		}
	})
	got, err := f.connect(t).Capture(t.Context(), "urn:vcloud:vapp:"+vappUUID)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Files["vcd/vapp.xml"]) != string(raw["/api/vApp/vapp-"+vappUUID]) || len(got.Files) != 3 {
		t.Errorf("%d files", len(got.Files))
	}
	for _, p := range []string{
		"vcd/context/networks/b915be99-1471-4e51-bcde-da2da791b98f.xml", "vcd/networks/dfb96f2a-89a0-4879-9d63-6021f5ae4ce8.xml",
		"vcd/context/users/e0d6e74d-efde-49fe-b19f-ace7e55b68dd.xml", "vcd/context/storageProfiles/c87b2a7c-fcab-4f8a-bef3-3ece59366c38.xml",
	} {
		if got.Absent[p] == "" {
			t.Errorf("%s was not asked for", p)
		}
	}
}

func TestCaptureHasLimits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		most limits
	}{
		{"documents", limits{20, maxCapture}},
		{"bytes", limits{maxDocuments, 3000}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := captureSite(t).connect(t).capture(t.Context(), "urn:vcloud:vapp:"+vappUUID, test.most)
			if !errors.Is(err, ErrTooMuch) || !strings.Contains(err.Error(), "capture web") {
				t.Errorf("got %v, want ErrTooMuch", err)
			}
		})
	}
}

// A list that never ends is a server's fault, and no reason to ask for ever.
func TestCaptureOfAnEndlessList(t *testing.T) {
	t.Parallel()
	f := captureSite(t)
	f.mux.HandleFunc("/cloudapi/1.0.0/edgeGateways/urn:vcloud:gateway:"+edgeUUID+"/usedIpAddresses", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, `{"pageCount":1000000000,"values":[{}]}`)
	})
	_, err := f.connect(t).capture(t.Context(), "urn:vcloud:vapp:"+vappUUID, limits{300, maxCapture})
	if !errors.Is(err, ErrTooMuch) {
		t.Errorf("got %v, want ErrTooMuch", err)
	}
}

func TestCaptureTakesWhatItCanRead(t *testing.T) {
	t.Parallel()
	for path, file := range map[string]string{
		"/api/vApp/vapp-" + vappUUID + "/startupSection/":                                 "startupSection.xml",
		"/cloudapi/1.0.0/edgeGateways/urn:vcloud:gateway:" + edgeUUID + "/firewall/rules": "context/edgeGateways/" + edgeUUID + ".firewall.json",
	} {
		f := captureSite(t)
		f.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { writeXML(w, "<html><br>proxy") })
		if _, err := f.connect(t).Capture(t.Context(), "urn:vcloud:vapp:"+vappUUID); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("got %v, want an error that names %s", err, file)
		}
	}
}
