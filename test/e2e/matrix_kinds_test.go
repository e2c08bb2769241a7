package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/vcd"
)

// A kind of vApp, with what makes it of that kind where an inventory cannot.
type kind struct {
	name string
	vdc  string // default: main
	make func(e *env, k kind)
	// partial is what a restore point of it says that it lacks.
	partial string
	// cells say for some ways that they are refused, or what is lost by them;
	// a way that is not in it works.
	cells map[string]cell
}

// A cell of the matrix.
type cell struct {
	// refused is part of the reason; nothing must have changed then.
	refused string
	// differs matches lines of the independent look that may come or go, each
	// with the reason.
	differs map[string]string
	// blurred is what is not compared, beside that of the way.
	blurred map[string]string
	// none says why there is no such cell.
	none string
}

func (k kind) selector() string { return cloud.Path("acme", k.in(), k.name) }

func (k kind) in() string {
	if k.vdc != "" {
		return k.vdc
	}
	return "main"
}

const (
	longName  = "long ....................................................................................................................... 128"
	emojiName = "Größe / 東京 🚀 (a@b 50%)"
)

// kinds are the columns of the matrix.
func kinds() []kind {
	return []kind{
		{name: "routed", cells: anyWay(cell{blurred: pinned}, "VM rebuilt", "missing")},
		{name: "isolated", cells: anyWay(cell{blurred: pinned}, "VM rebuilt", "missing")},
		{name: "direct", cells: anyWay(cell{blurred: pinned}, "VM rebuilt", "missing")},
		{name: "fenced", cells: anyWay(cell{blurred: pinned}, "VM rebuilt", "missing")},
		{name: "addresses", cells: and(
			anyWay(cell{blurred: pinned}, "VM rebuilt", "missing"),
			anyWay(cell{differs: inUse}, "copy"))},
		{name: "disks"},
		{name: "named", partial: "named disk", cells: anyWay(cell{differs: theOriginals}, "copy", "other VDC", "other org", "beside")},
		{name: "shared", partial: "shared", cells: anyWay(cell{differs: theOriginals}, "copy", "other VDC", "other org", "beside")},
		{name: "media", make: insertMedia, cells: anyWay(cell{differs: emptyDrive}, "other org")},
		{name: "linked", vdc: "fast", make: linkedClone, cells: anyWay(cell{differs: notCustomized}, rebuilding...)},
		{name: "standalone", cells: and(
			anyWay(cell{differs: inUse}, "copy"),
			anyWay(cell{none: "the vApp goes with its VM"}, "VM rebuilt"))},
		{name: "Discovered - stray", make: discover, cells: and(
			anyWay(cell{differs: adopted}, everyWayBack...),
			anyWay(cell{none: "the vApp goes with its VM"}, "VM rebuilt"))},
		{name: "empty"},
		{name: "expired", make: expire},
		{name: "tpm", partial: "TPM", cells: anyWay(cell{differs: noTPM}, rebuilding...)},
		{name: "running"},
		{name: "suspended"},
		{name: emojiName},
		{name: longName},
		{name: "shared out", make: shareWithGroup},
		{name: "startup"},
		{name: "products"},
		{name: "tags", make: tagVMs},
		{name: "policies", make: setPolicies},
		{name: "affinity", make: keepApart},
		{name: "hotadd"},
		{name: "boot", make: bootSecurely},
		{name: "snapshot", make: snapshotByTenant, cells: anyWay(cell{refused: "snapshot"}, "overwrite", "VMs replaced")},
		{name: "metadata"},
	}
}

// pinned is the NIC that kept its address: in POOL mode none can be asked for.
var pinned = map[string]string{
	`IpAddressAllocationMode\{(POOL|MANUAL)\}`: "IpAddressAllocationMode{POOL or MANUAL}",
	`@ipAddressingMode=(POOL|MANUAL)`:          "@ipAddressingMode=POOL or MANUAL",
}

// inUse is a MANUAL address that the original still has.
var inUse = map[string]string{
	`10\.20\.0\.(50|7)\b`: "it is the original's",
	`IpAddress\{of the pool\} IsConnected\{false\}|AutomaticAllocation\{false\}.*ipAddress=of the pool`: "the copy is not connected until somebody gives it one",
}

// notCustomized is a guest that vCD would have customized when it first started.
var notCustomized = map[string]string{`/Vm@needsCustomization=`: "a restored guest is not customized unasked"}

// theOriginals is a named disk, which stays with the VM that has it.
var theOriginals = map[string]string{
	`^- .*named disk (data|quorum)`:        "it is attached to the original",
	`^- .*disk 2001 on`:                    "it is attached to the original",
	`^- .*DiskSettings DiskId\{2001\}`:     "it is attached to the original",
	`^- .*HardwareSection/Item .*\{2001\}`: "it is attached to the original",
}

// emptyDrive is a drive whose medium belongs to another organization.
var emptyDrive = map[string]string{`HardwareSection/Item .*CD/DVD|MediaSettings DeviceId\{3002\}`: "the medium is another organization's"}

var noTPM = map[string]string{`TpmPresent`: "no backup can read its keys"}

// adopted is what becomes of a discovered vApp: nothing but vCD can discover one.
var adopted = map[string]string{`VApp/autoNature`: "a restored VM is not discovered"}

// rebuilding are the ways that make VMs anew.
var rebuilding = []string{"copy", "other VDC", "other org", "beside", "VM rebuilt", "missing"}

var everyWayBack = append([]string{"config only", "VMs replaced", "overwrite"}, rebuilding...)

// anyWay is the same cell for some ways.
func anyWay(c cell, ways ...string) map[string]cell {
	out := map[string]cell{}
	for _, w := range ways {
		out[w] = c
	}
	return out
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

func and(cells ...map[string]cell) map[string]cell {
	out := map[string]cell{}
	for _, c := range cells {
		maps.Copy(out, c)
	}
	return out
}

// matrixCloud is a cloud that has one vApp of each kind.
func matrixCloud(t *testing.T) *env {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "matrix.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	inventory, err := cloud.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return newEnv(t, inventory)
}

const (
	xmlns  = `xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"`
	vcloud = "application/vnd.vmware.vcloud."
)

// call does something as the provider, and waits until it is done.
func (e *env) call(method, href, typ, body string) {
	e.t.Helper()
	if typ != "" && !strings.Contains(typ, "/") {
		typ = vcloud + typ + "+xml"
	}
	if _, err := e.vcd.DoTask(e.t.Context(), vcd.Request{Method: method, Href: href, ContentType: typ, Body: []byte(body)}); err != nil {
		e.t.Fatal(err)
	}
}

// json does a call of the OpenAPI, which has no task.
func (e *env) json(method, path, body string) map[string]any {
	e.t.Helper()
	answer, err := e.vcd.Do(e.t.Context(), vcd.Request{Method: method, Href: path, ContentType: "application/json", Body: []byte(body)})
	if err != nil {
		e.t.Fatal(err)
	}
	out := map[string]any{}
	if len(answer.Body) > 0 {
		if err := json.Unmarshal(answer.Body, &out); err != nil {
			e.t.Fatal(err)
		}
	}
	return out
}

// record is the only one of a query.
func (e *env) record(typ, name string) vcd.Record {
	e.t.Helper()
	for r, err := range e.vcd.Query(e.t.Context(), typ, vcd.Filter("name==", name)) {
		if err != nil {
			e.t.Fatal(err)
		}
		return r
	}
	e.t.Fatalf("no %s %s", typ, name)
	return vcd.Record{}
}

func insertMedia(e *env, k kind) {
	vm := e.vapp(k.name).VMs[0]
	e.call(http.MethodPost, vm.Href+"/media/action/insertMedia", "mediaInsertOrEjectParams",
		`<MediaInsertOrEjectParams `+xmlns+`><Media href="`+e.record("media", "rescue").Href+`"/></MediaInsertOrEjectParams>`)
}

// linkedClone instantiates a template where provisioning is fast.
func linkedClone(e *env, k kind) {
	vdc := e.record("orgVdc", k.vdc).Href
	e.call(http.MethodPost, vdc+"/action/instantiateVAppTemplate", "instantiateVAppTemplateParams",
		`<InstantiateVAppTemplateParams `+xmlns+` name="`+k.name+`" deploy="false" powerOn="false"><Description>hangs from a template</Description>`+
			`<Source href="`+e.record("vAppTemplate", "golden").Href+`"/><AllEULAsAccepted>true</AllEULAsAccepted></InstantiateVAppTemplateParams>`)
	for _, c := range e.configs(e.vapp(k.name)) {
		if c.Disks[0].ChainDepth == 0 {
			e.t.Fatal("it is no linked clone")
		}
	}
}

// discover makes a VM in vCenter, in the resource pool of a VDC.
func discover(e *env, k kind) {
	e.strayIn("acme-main")
	if err := e.cloud.Director().Discover(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
	if v := e.vapp(k.name); !v.AutoNature || len(v.VMs) != 1 {
		e.t.Fatalf("%+v", v)
	}
}

// strayIn makes a VM that vCD does not know, in a resource pool of vCenter vc1.
func (e *env) strayIn(pool string) {
	e.t.Helper()
	_, err := e.cloud.VCenter("vc1").AddVM(vcenter.VMSpec{
		Name: "stray", ResourcePool: pool, NumCPU: 1, MemoryMB: 256,
		GuestID: "debian12_64Guest", Disks: []vcenter.DiskSpec{{Size: 8 * mib, Thin: true, Fill: mib, Seed: "stray"}},
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// expire lets both leases of the vApp end. No other vApp has leases that end.
func expire(e *env, k kind) {
	e.cloud.Advance(4 * time.Hour)
	deadline := time.Now().Add(20 * time.Second)
	for e.vapp(k.name).Deployed || e.record("adminVApp", k.name).Attrs["isExpired"] == "false" {
		if time.Now().After(deadline) {
			e.t.Fatalf("%s has not expired: %v", k.name, e.record("adminVApp", k.name).Attrs)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var roleHref = regexp.MustCompile(`https://[^"]*/admin/role/[-0-9a-f]+`)

// shareWithGroup adds a group of an identity provider to who may use the vApp.
func shareWithGroup(e *env, k kind) {
	v := e.vapp(k.name)
	wile, err := e.vcd.Get(e.t.Context(), v.Owner.Href)
	if err != nil {
		e.t.Fatal(err)
	}
	role := roleHref.FindString(string(wile.Raw))
	org := "/api/admin/org/" + vcd.UUID(v.Org.ID)
	e.call(http.MethodPost, org+"/groups", "application/vnd.vmware.admin.group+xml",
		`<Group `+xmlns+` name="ops"><NameInSource>ops</NameInSource><ProviderType>SAML</ProviderType><Role href="`+role+`"/></Group>`)
	doc, err := e.vcd.Get(e.t.Context(), v.Href+"/controlAccess/")
	if err != nil {
		e.t.Fatal(err)
	}
	group := e.record("group", "ops").Href
	setting := `<AccessSettings><AccessSetting><Subject type="application/vnd.vmware.admin.group+xml" href="` + group + `"/><AccessLevel>ReadOnly</AccessLevel></AccessSetting>`
	body := strings.Replace(string(doc.Raw), "<AccessSettings>", setting, 1)
	if body == string(doc.Raw) {
		e.t.Fatalf("no AccessSettings: %s", body)
	}
	if err := e.vcd.SetControlAccess(e.t.Context(), v.Href, []byte(body)); err != nil {
		e.t.Fatal(err)
	}
}

func tagVMs(e *env, k kind) {
	for i, vm := range e.vapp(k.name).VMs {
		e.json(http.MethodPut, "/cloudapi/1.0.0/securityTags/vm/"+vm.ID, fmt.Sprintf(`{"tags":["pci","tier-%d"]}`, i))
	}
}

// setPolicies gives a VM a sizing and a placement policy that are not the
// VDC's default.
func setPolicies(e *env, k kind) {
	v := e.vapp(k.name)
	sizing := e.json(http.MethodPost, "/cloudapi/2.0.0/vdcComputePolicies", `{"name":"two-cpus","cpuCount":2,"memory":512}`)["id"]
	placement := e.json(http.MethodPost, "/cloudapi/2.0.0/vdcComputePolicies",
		`{"name":"on-fast-hosts","policyType":"VdcVmPolicy","pvdcNamedVmGroupsMap":[{"pvdc":{"id":"`+e.providerVDC()+`"},"namedVmGroups":[[{"name":"fast-hosts"}]]}]}`)["id"]
	for _, vdc := range []string{"main", "spare"} {
		list := "/api/admin/vdc/" + path.Base(e.record("adminOrgVdc", vdc).Href) + "/computePolicies"
		doc, err := e.vcd.Get(e.t.Context(), list)
		if err != nil {
			e.t.Fatal(err)
		}
		refs := ""
		for _, id := range []any{sizing, placement} {
			refs += fmt.Sprintf(`<VdcComputePolicyReference href="%s/cloudapi/2.0.0/vdcComputePolicies/%s"/>`, e.conf.Sites[0].URL, id)
		}
		end := "</VdcComputePolicyReferences>"
		body := strings.Replace(string(doc.Raw), end, refs+end, 1)
		e.call(http.MethodPut, list, "vdcComputePolicyReferences", body)
	}
	policies := ""
	for _, p := range []struct {
		tag string
		id  any
	}{{"VmPlacementPolicy", placement}, {"VmSizingPolicy", sizing}} {
		policies += fmt.Sprintf(`<%s href="%s/cloudapi/2.0.0/vdcComputePolicies/%s"/>`, p.tag, e.conf.Sites[0].URL, p.id)
	}
	vm := v.VMs[0]
	e.call(http.MethodPost, vm.Href+"/action/reconfigureVm", "vm", `<Vm `+xmlns+` name="`+vm.Name+`"><ComputePolicy>`+policies+`</ComputePolicy></Vm>`)
	if got := e.vapp(k.name).VMs[0].ComputePolicies; len(got) != 2 {
		e.t.Fatalf("policies: %+v", got)
	}
}

func (e *env) providerVDC() string {
	e.t.Helper()
	for r, err := range e.vcd.Query(e.t.Context(), "providerVdc", "") {
		if err != nil {
			e.t.Fatal(err)
		}
		return "urn:vcloud:providervdc:" + path.Base(r.Href)
	}
	e.t.Fatal("no provider VDC")
	return ""
}

func keepApart(e *env, k kind) {
	v := e.vapp(k.name)
	refs := ""
	for _, vm := range v.VMs {
		refs += `<VmReference href="` + vm.Href + `"/>`
	}
	e.call(http.MethodPost, v.VDC.Href+"/vmAffinityRules", "vmaffinityrule", `<VmAffinityRule `+xmlns+
		`><Name>apart</Name><IsEnabled>true</IsEnabled><IsMandatory>true</IsMandatory><Polarity>Anti-Affinity</Polarity><VmReferences>`+refs+`</VmReferences></VmAffinityRule>`)
}

func bootSecurely(e *env, k kind) {
	vm := e.vapp(k.name).VMs[0]
	e.call(http.MethodPost, vm.Href+"/action/reconfigureVm", "vm", `<Vm `+xmlns+` name="`+vm.Name+
		`"><BootOptions><BootDelay>2500</BootDelay><EnterBIOSSetup>true</EnterBIOSSetup><BootRetryEnabled>true</BootRetryEnabled><BootRetryDelay>12000</BootRetryDelay>`+
		`<EfiSecureBootEnabled>true</EfiSecureBootEnabled><NetworkBootProtocol>ipv6</NetworkBootProtocol></BootOptions></Vm>`)
}

func snapshotByTenant(e *env, k kind) {
	vm := e.vapp(k.name).VMs[0]
	e.call(http.MethodPost, vm.Href+"/action/createSnapshot", "createSnapshotParams", `<CreateSnapshotParams `+xmlns+` name="before the update" memory="false" quiesce="false"/>`)
	e.writeTo(cloud.Path("acme", k.in(), k.name, vm.Name), 0, 3*mib, random(41, mib))
}

// writeTo changes a disk as the guest, of a VM that is named by its path.
func (e *env) writeTo(path string, disk int, off int64, data []byte) {
	e.t.Helper()
	guest, err := e.cloud.Guest(context.WithoutCancel(e.t.Context()), path, disk)
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := guest.WriteAt(data, off); err != nil {
		e.t.Fatal(err)
	}
}
