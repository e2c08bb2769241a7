package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/internal/vcd"
)

// A kitchen is a cloud whose vApp "kitchen" has something of everything.
type kitchen struct {
	*env
	vdc string // UUID
}

func newKitchen(t *testing.T) *kitchen {
	t.Helper()
	raw, err := os.ReadFile("testdata/kitchen.yaml")
	if err != nil {
		t.Fatal(err)
	}
	inventory, err := cloud.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	k := &kitchen{env: newEnv(t, inventory)}
	v := k.vapp("kitchen")
	k.vdc = vcd.UUID(v.VDC.ID)
	k.dress(v)
	return k
}

const mediaType = "application/vnd.vmware.vcloud."

// dress adds what no inventory says.
func (k *kitchen) dress(v *vcd.VApp) {
	k.t.Helper()
	on, off := k.vm(v, "on"), k.vm(v, "off")
	sizing := k.policy(`{"name":"small","description":"1 CPU","cpuCount":1,"memory":128,"policyType":"VdcVmPolicy"}`, true)
	placement := k.policy(`{"name":"licensed","pvdcNamedVmGroupsMap":[],"pvdcId":"any","policyType":"VdcVmPolicy"}`, false)
	refs := k.get("/api/admin/vdc/" + k.vdc + "/computePolicies")
	list := strings.TrimSuffix(strings.TrimSpace(refs), "</VdcComputePolicyReferences>")
	for _, id := range []string{sizing, placement} {
		list += `<VdcComputePolicyReference href="` + k.vcd.SiteURL() + `/cloudapi/2.0.0/vdcComputePolicies/` + id + `"/>`
	}
	k.send(http.MethodPut, "/api/admin/vdc/"+k.vdc+"/computePolicies", mediaType+"vdcComputePolicyReferences+xml", list+"</VdcComputePolicyReferences>")
	k.reconfigure(off, `<ComputePolicy><VmPlacementPolicy href="`+k.policyHref(placement)+`" id="`+placement+`"/><VmSizingPolicy href="`+k.policyHref(sizing)+`" id="`+sizing+`"/></ComputePolicy>`)

	k.task(http.MethodPost, "/api/vdc/"+k.vdc+"/vmAffinityRules/", mediaType+"vmaffinityrule+xml", `<VmAffinityRule xmlns="http://www.vmware.com/vcloud/v1.5">
		<Name>apart</Name><IsEnabled>true</IsEnabled><IsMandatory>false</IsMandatory><Polarity>Anti-Affinity</Polarity>
		<VmReferences><VmReference href="`+on.Href+`"/><VmReference href="`+off.Href+`"/></VmReferences></VmAffinityRule>`)
	k.send(http.MethodPut, "/cloudapi/1.0.0/securityTags/vm/"+on.ID, "application/json", `{"tags":["dmz","pci"]}`)
	image := k.get("/api/query?type=media&format=records")
	_, image, _ = strings.Cut(image, `href="`+k.vcd.SiteURL()+`/api/media/`)
	image, _, _ = strings.Cut(image, `"`)
	k.task(http.MethodPost, off.Href+"/media/action/insertMedia", mediaType+"mediaInsertOrEjectParams+xml",
		`<MediaInsertOrEjectParams xmlns="http://www.vmware.com/vcloud/v1.5"><Media href="`+k.vcd.SiteURL()+`/api/media/`+image+`"/></MediaInsertOrEjectParams>`)
	k.quota(v)
	k.group(v)
	k.edge()
	k.task(http.MethodPost, k.vm(v, "asleep").Href+"/action/createSnapshot", mediaType+"createSnapshotParams+xml",
		`<CreateSnapshotParams xmlns="http://www.vmware.com/vcloud/v1.5" name="mine" memory="false"/>`)
}

// policy makes a compute policy and returns its URN.
func (k *kitchen) policy(body string, sizing bool) string {
	k.t.Helper()
	var pvdc struct{ ID string }
	if !sizing {
		_, id, _ := strings.Cut(k.get("/api/admin/vdc/"+k.vdc), "/api/admin/providervdc/")
		id, _, _ = strings.Cut(id, `"`)
		pvdc.ID = "urn:vcloud:providervdc:" + id
		body = strings.NewReplacer(`"any"`, `"`+pvdc.ID+`"`, `[]`, `[{"pvdc":{"id":"`+pvdc.ID+`"},"namedVmGroups":[]}]`).Replace(body)
	}
	var made struct{ ID string }
	if err := json.Unmarshal(k.send(http.MethodPost, "/cloudapi/2.0.0/vdcComputePolicies", "application/json", body), &made); err != nil {
		k.t.Fatal(err)
	}
	return made.ID
}

func (k *kitchen) policyHref(id string) string {
	return k.vcd.SiteURL() + "/cloudapi/2.0.0/vdcComputePolicies/" + id
}

// quota gives the vApp and its owner quota policies.
func (k *kitchen) quota(v *vcd.VApp) {
	k.t.Helper()
	for what, id := range map[string]string{"vapps": v.ID, "users": v.Owner.ID} {
		body := fmt.Sprintf(`{"name":"of %s","quotaPoolDefinitions":[{"resourceType":"memory","quotaResourceUnit":"MB","quota":9000,"qualifiers":[]}]}`, what)
		var made struct{ ID string }
		if err := json.Unmarshal(k.send(http.MethodPost, "/cloudapi/1.0.0/quotaPolicies", "application/json", body), &made); err != nil {
			k.t.Fatal(err)
		}
		k.task(http.MethodPut, "/cloudapi/1.0.0/"+what+"/"+id+"/quotaPolicy", "application/json", `{"quotaPolicyReference":{"id":"`+made.ID+`"}}`)
	}
}

// group gives a group of users access to the vApp.
func (k *kitchen) group(v *vcd.VApp) {
	k.t.Helper()
	org := "/api/admin/org/" + vcd.UUID(v.Org.ID)
	role := k.get(org)
	role = role[strings.Index(role, "/api/admin/role/"):]
	role, _, _ = strings.Cut(role, `"`)
	made := string(k.send(http.MethodPost, org+"/groups", "application/vnd.vmware.admin.group+xml",
		`<Group xmlns="http://www.vmware.com/vcloud/v1.5" name="cooks"><ProviderType>SAML</ProviderType><Role href="`+k.vcd.SiteURL()+role+`"/></Group>`))
	made = made[strings.Index(made, "/api/admin/group/"):]
	made, _, _ = strings.Cut(made, `"`)
	access := k.get(v.Href + "/controlAccess/")
	access = strings.Replace(access, "</AccessSettings>", `<AccessSetting><Subject href="`+k.vcd.SiteURL()+made+
		`" name="cooks" type="application/vnd.vmware.admin.group+xml"/><AccessLevel>FullControl</AccessLevel></AccessSetting></AccessSettings>`, 1)
	if err := k.vcd.SetControlAccess(k.t.Context(), v.Href, []byte(access)); err != nil {
		k.t.Fatal(err)
	}
}

// edge gives the edge gateway rules that name addresses of VMs.
func (k *kitchen) edge() {
	k.t.Helper()
	var list struct{ Values []struct{ ID string } }
	if err := json.Unmarshal([]byte(k.get("/cloudapi/1.0.0/edgeGateways")), &list); err != nil || len(list.Values) == 0 {
		k.t.Fatalf("edge gateways: %v", err)
	}
	at := "/cloudapi/1.0.0/edgeGateways/" + list.Values[0].ID
	k.task(http.MethodPost, at+"/nat/rules", "application/json",
		`{"name":"in","type":"DNAT","ruleType":"DNAT","enabled":true,"externalAddresses":"10.20.0.120","internalAddresses":"192.168.71.10"}`)
}

func (k *kitchen) vm(v *vcd.VApp, name string) vcd.VM {
	k.t.Helper()
	for _, vm := range v.VMs {
		if vm.Name == name {
			return vm
		}
	}
	k.t.Fatalf("no VM %s", name)
	return vcd.VM{}
}

func (k *kitchen) get(href string) string {
	k.t.Helper()
	doc, err := k.vcd.Get(k.t.Context(), href)
	if err != nil {
		k.t.Fatal(err)
	}
	return string(doc.Raw)
}

func (k *kitchen) send(method, href, typ, body string) []byte {
	k.t.Helper()
	answer, err := k.vcd.Do(k.t.Context(), vcd.Request{Method: method, Href: href, ContentType: typ, Body: []byte(body)})
	if err != nil {
		k.t.Fatal(err)
	}
	return answer.Body
}

// task sends a request and waits for the task that it starts.
func (k *kitchen) task(method, href, typ, body string) {
	k.t.Helper()
	answer, err := k.vcd.Do(k.t.Context(), vcd.Request{Method: method, Href: href, ContentType: typ, Body: []byte(body)})
	if err != nil {
		k.t.Fatal(err)
	}
	task := answer.Header.Get("Location")
	if i := strings.Index(string(answer.Body), `/api/task/`); i >= 0 && task == "" {
		task, _, _ = strings.Cut(string(answer.Body)[i:], `"`)
	}
	if strings.Contains(task, "/api/task/") {
		if _, err := k.vcd.WaitTask(k.t.Context(), task); err != nil {
			k.t.Fatal(err)
		}
	}
}

func (k *kitchen) reconfigure(vm vcd.VM, part string) {
	k.t.Helper()
	body := `<Vm xmlns="http://www.vmware.com/vcloud/v1.5" name="` + vm.Name + `">` + part + `</Vm>`
	if err := k.vcd.ReconfigureVM(k.t.Context(), vm.Href, []byte(body)); err != nil {
		k.t.Fatal(err)
	}
}

// instantiate makes a vApp of the template of that name.
func (k *kitchen) instantiate(template, name string) {
	k.t.Helper()
	records := k.get("/api/query?type=adminVAppTemplate&format=records&filter=name==" + template)
	_, id, _ := strings.Cut(records, "/api/vAppTemplate/vappTemplate-")
	id, _, _ = strings.Cut(id, `"`)
	k.task(http.MethodPost, "/api/vdc/"+k.vdc+"/action/instantiateVAppTemplate", mediaType+"instantiateVAppTemplateParams+xml",
		`<InstantiateVAppTemplateParams xmlns="http://www.vmware.com/vcloud/v1.5" name="`+name+`" deploy="false" powerOn="false">
		<Source href="`+k.vcd.SiteURL()+`/api/vAppTemplate/vappTemplate-`+id+`"/><AllEULAsAccepted>true</AllEULAsAccepted></InstantiateVAppTemplateParams>`)
}

// TestAPointKnowsTheTemplateOfOrigin: vCD says it in metadata alone.
func TestAPointKnowsTheTemplateOfOrigin(t *testing.T) {
	t.Parallel()
	k := newKitchen(t)
	k.instantiate("golden", "made")
	point := k.backup("made")
	templates, vms := 0, 0
	for _, doc := range point.Documents {
		if strings.HasPrefix(doc, "vcd/context/templates/") {
			templates++
		}
		if strings.HasPrefix(doc, "vcd/context/templateVMs/") {
			vms++
		}
	}
	if templates != 1 || vms != 1 {
		t.Errorf("%d templates and %d VMs of them, want 1 and 1: %v", templates, vms, point.Absent)
	}
	k.destroyAll("made")
	if result := k.restore(app.RestoreRequest{Point: point.ID}); len(result.Unexplained()) > 0 {
		t.Errorf("%+v", result.Unexplained())
	}
}
