package director_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/mo"

	"github.com/vappvault/vappvault/internal/sim/director"
)

const ext = `xmlns="http://www.vmware.com/vcloud/extension/v1.5" xmlns:v="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"`

func (c *cloud) vimServer(u *user) string {
	return u.get("/api/admin/extension/vimServerReferences").FindElement("./VimServerReference").SelectAttrValue("href", "")
}

func (c *cloud) asVApp(name, moref, move string) string {
	return `<ImportVmAsVAppParams ` + ext + ` name="` + name + `" sourceMove="` + move + `"><v:Description>back</v:Description>` +
		`<v:InstantiationParams><v:NetworkConfigSection><ovf:Info>n</ovf:Info><v:NetworkConfig networkName="lan"><v:Configuration><v:IpScopes><v:IpScope>` +
		`<v:IsInherited>false</v:IsInherited><v:Gateway>192.168.9.1</v:Gateway><v:Netmask>255.255.255.0</v:Netmask></v:IpScope></v:IpScopes>` +
		`<v:FenceMode>isolated</v:FenceMode></v:Configuration></v:NetworkConfig></v:NetworkConfigSection></v:InstantiationParams>` +
		`<VmName>app01</VmName><VAppScopedLocalId>local-1</VAppScopedLocalId><ComputerName>app01</ComputerName><VmMoRef>` + moref + `</VmMoRef>` +
		`<Vdc href="` + c.dir.URL().String() + `/api/vdc/` + c.vdc + `"/></ImportVmAsVAppParams>`
}

func (c *cloud) intoVApp(vapp, name, moref string) string {
	return `<ImportVmIntoExistingVAppParams ` + ext + ` sourceMove="true"><VmName>` + name + `</VmName><VmDescription>second</VmDescription>` +
		`<VAppScopedLocalId>local-` + name + `</VAppScopedLocalId><VmMoRef>` + moref + `</VmMoRef><VApp href="` + vapp + `"/></ImportVmIntoExistingVAppParams>`
}

const admin = "application/vnd.vmware.admin."

// properties reads a VM in vCenter; nil when it is gone.
func (c *cloud) properties(moref string) *mo.VirtualMachine {
	var m mo.VirtualMachine
	if err := c.vm(moref).Properties(context.Background(), vmRef(moref), []string{"name", "config", "resourcePool", "runtime"}, &m); err != nil {
		return nil
	}
	return &m
}

func TestImport(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	vim := c.vimServer(u)
	moref := c.take()
	before := c.properties(moref)

	r := u.want(http.StatusCreated, http.MethodPost, vim+"/importVmAsVApp", admin+"importVmAsVAppParams+xml", c.asVApp("restored", moref, "true"))
	vapp := u.made(r)
	m := vapp.FindElement("./Children/Vm")
	if m == nil {
		t.Fatalf("no VM: %s", write(vapp))
	}
	t.Run("a moved VM keeps moref and files, and carries vCD's marks", func(t *testing.T) {
		if got := textAt(m, ".//VmVimObjectRef/MoRef"); got != moref {
			t.Errorf("moref: got %s, want %s", got, moref)
		}
		after := c.properties(moref)
		id := strings.TrimPrefix(m.SelectAttrValue("id", ""), "urn:vcloud:vm:")
		if after.Name != "app01 ("+id+")" || after.Config.ManagedBy == nil || after.Config.Files.VmPathName != before.Config.Files.VmPathName {
			t.Errorf("got %s, %v, %s", after.Name, after.Config.ManagedBy, after.Config.Files.VmPathName)
		}
		if *after.ResourcePool == *before.ResourcePool {
			t.Error("it did not move to the VDC's resource pool")
		}
	})
	t.Run("it arrives disconnected, with the id that was asked for", func(t *testing.T) {
		if got := textAt(m, "./VAppScopedLocalId"); got != "local-1" {
			t.Errorf("local id: got %s", got)
		}
		nc := m.FindElement("./NetworkConnectionSection/NetworkConnection")
		if nc.SelectAttrValue("network", "") != "none" || textAt(nc, "./IsConnected") != "false" {
			t.Errorf("got %s", write(nc))
		}
		if vapp.FindElement("./NetworkConfigSection/NetworkConfig[@networkName='lan']") == nil {
			t.Error("the network is missing")
		}
	})
	t.Run("another VM comes into the same vApp", func(t *testing.T) {
		second := c.take()
		href := vapp.SelectAttrValue("href", "")
		u.run(http.MethodPost, vim+"/importVmIntoExistingVApp", admin+"importVmIntoExistingVAppParams+xml", c.intoVApp(href, "app02", second))
		if got := u.get(href).FindElement("./Children/Vm[@name='app02']"); got == nil || textAt(got, "./Description") != "second" {
			t.Error("it is not there")
		}
		u.want(http.StatusBadRequest, http.MethodPost, vim+"/importVmIntoExistingVApp", admin+"importVmIntoExistingVAppParams+xml", c.intoVApp(href, "app03", second))
	})
	t.Run("deleting the vApp deletes its VMs from vCenter", func(t *testing.T) {
		href := vapp.SelectAttrValue("href", "")
		u.run(http.MethodDelete, href, "", "")
		u.want(http.StatusForbidden, http.MethodGet, href, "", "")
		if c.properties(moref) != nil {
			t.Error("the VM is still there")
		}
	})
}

func TestImportWithoutMoveLeavesTheSource(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	moref := c.take()
	r := u.want(http.StatusCreated, http.MethodPost, c.vimServer(u)+"/importVmAsVApp", admin+"importVmAsVAppParams+xml", c.asVApp("copy", moref, "false"))
	m := u.made(r).FindElement("./Children/Vm")
	if got := textAt(m, ".//VmVimObjectRef/MoRef"); got == moref || got == "" {
		t.Errorf("moref: got %q, the source's is %s", got, moref)
	}
	if after := c.properties(moref); after == nil || after.Config.ManagedBy != nil {
		t.Error("the source is gone or marked")
	}
}

func TestImportsThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	path, typ := c.vimServer(u)+"/importVmAsVApp", admin+"importVmAsVAppParams+xml"
	moref := c.take()
	good := c.asVApp("x", moref, "true")
	for name, body := range map[string]string{
		"elements out of order":     strings.Replace(good, `<VmName>app01</VmName><VAppScopedLocalId>local-1</VAppScopedLocalId>`, `<VAppScopedLocalId>local-1</VAppScopedLocalId><VmName>app01</VmName>`, 1),
		"no moref":                  strings.Replace(good, "<VmMoRef>"+moref+"</VmMoRef>", "", 1),
		"vCloud's namespace":        strings.NewReplacer("<VmMoRef>", "<v:VmMoRef>", "</VmMoRef>", "</v:VmMoRef>").Replace(good),
		"no VDC":                    strings.Replace(good, `<Vdc href="`+c.dir.URL().String()+`/api/vdc/`+c.vdc+`"/>`, "", 1),
		"a VDC that does not exist": strings.Replace(good, c.vdc, "00000000-0000-4000-8000-000000000000", 1),
		"a name that is taken":      strings.Replace(good, `name="x"`, `name="web-shop"`, 1),
		"not well-formed":           good[:len(good)-5],
		"an undeclared prefix":      strings.Replace(good, "<VmName>", `<VmName x:nil="false">`, 1),
		"another root":              `<ImportVmParams ` + ext + `/>`,
	} {
		if r := u.do(http.MethodPost, path, typ, body); r.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", name, r.status, r.body)
		}
	}
	u.want(http.StatusUnsupportedMediaType, http.MethodPost, path, "application/xml", good)
	u.want(http.StatusNotFound, http.MethodPost, path, typ, c.asVApp("x", "vm-4711", "true"))
	c.login("ada@acme").want(http.StatusForbidden, http.MethodPost, path, typ, good)
	task, err := c.vm(moref).PowerOn(context.Background())
	if err == nil {
		err = task.WaitEx(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	u.want(http.StatusBadRequest, http.MethodPost, path, typ, good)
}

func TestImportOfAStandaloneVM(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	moref := c.take()
	body := `<ImportVmParams ` + ext + ` name="solo" sourceMove="true"><v:Description>alone</v:Description><VmName>solo</VmName><VmMoRef>` + moref + `</VmMoRef>` +
		`<Vdc href="` + c.dir.URL().String() + `/api/vdc/` + c.vdc + `"/></ImportVmParams>`
	m := u.made(u.want(http.StatusCreated, http.MethodPost, c.vimServer(u)+"/importVm", admin+"importVmParams+xml", body))
	if m.SelectAttrValue("status", "") != "8" || m.SelectAttrValue("name", "") != "solo" {
		t.Errorf("got %s", write(m))
	}
	rec := u.get("/api/query?type=adminVM&filter=name==solo").FindElement("./AdminVMRecord")
	if rec.SelectAttrValue("isAutoNature", "") != "true" || rec.SelectAttrValue("moref", "") != moref {
		t.Errorf("got %s", write(rec))
	}
	name := rec.SelectAttrValue("vmNameInVc", "")
	if !strings.HasPrefix(name, "solo (") || rec.SelectAttrValue("vappScopedLocalId", "") == "" || rec.SelectAttrValue("vdcName", "") != "vdc1" {
		t.Errorf("got %s", write(rec))
	}
	found := u.get("/api/query?type=adminVM&filter=(isExpired==false;vmNameInVc==solo*)")
	if got := found.SelectAttrValue("total", ""); got != "1" {
		t.Errorf("%s VMs have that name in vCenter", got)
	}
}

func TestImportOfACopyByItself(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	moref := c.take()
	body := `<ImportVmParams ` + ext + ` name="solo" sourceMove="false"><VmName>solo</VmName><VmMoRef>` + moref + `</VmMoRef>` +
		`<Vdc href="` + c.dir.URL().String() + `/api/vdc/` + c.vdc + `"/></ImportVmParams>`
	r := u.want(http.StatusCreated, http.MethodPost, c.vimServer(u)+"/importVm", admin+"importVmParams+xml", body)
	if got := r.root(t).FindElement(".//VmVimObjectRef"); got != nil && textAt(got, "./MoRef") == moref {
		t.Errorf("the source is taken for the copy: %s", write(got))
	}
	if got := textAt(u.made(r), ".//VmVimObjectRef/MoRef"); got == moref || got == "" {
		t.Errorf("moref: got %q, the source's is %s", got, moref)
	}
}

func TestVMsListHoldsWhatVCDDoesNotManage(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	var names []string
	for page := 1; ; page++ {
		e := u.get(c.vimServer(u) + "/vmsList?pageSize=2&page=" + string(rune('0'+page)))
		for _, r := range e.FindElements("./VmObjectRef") {
			names = append(names, textAt(r, "./MoRef"))
		}
		if e.SelectAttrValue("numberOfPages", "") == e.SelectAttrValue("page", "") {
			break
		}
	}
	for _, m := range c.morefs {
		if !strings.Contains(strings.Join(names, " ")+" ", m+" ") {
			t.Errorf("%s is missing from %v", m, names)
		}
	}
	for _, m := range u.get(c.vappPath()).FindElements(".//VmVimObjectRef/MoRef") {
		if strings.Contains(strings.Join(names, " ")+" ", m.Text()+" ") {
			t.Errorf("%s is managed and listed", m.Text())
		}
	}
}

func TestTasksAndBusyEntities(t *testing.T) {
	t.Parallel()
	c := newCloud(t, func(cfg *director.Config) { cfg.TaskDelay = 3 * time.Second })
	u, p := c.login(adminName), c.vappPath()
	const rename = `<VApp ` + xmlns + ` name="renamed"/>`
	r := u.want(http.StatusAccepted, http.MethodPut, p, vcloud+"vApp+xml", rename)
	task := r.root(t)
	if got := task.SelectAttrValue("status", ""); got != "queued" {
		t.Errorf("first state: got %s", got)
	}
	if busy := u.want(http.StatusBadRequest, http.MethodPut, p, vcloud+"vApp+xml", rename); busy.code() != "BUSY_ENTITY" {
		t.Errorf("second write: got %s", busy.code())
	}
	vapp := u.get(p)
	if vapp.FindElement("./Tasks/Task[@operationName='vdcUpdateVapp']") == nil {
		t.Error("the running task is not in the vApp")
	}
	if got := vapp.SelectAttrValue("name", ""); got != "web-shop" {
		t.Errorf("the name changed before the task ended: %s", got)
	}
	id := strings.TrimPrefix(vapp.SelectAttrValue("id", ""), "urn:vcloud:vapp:")
	for _, filter := range []string{"object==" + c.dir.URL().String() + p, "object==urn:vcloud:vapp:" + id, "object==" + id} {
		q := u.get("/api/query?type=adminTask&filter=(status==queued,status==running);" + filter)
		if len(q.FindElements("./AdminTaskRecord")) != 1 {
			t.Errorf("filter %s: got %s", filter, write(q))
		}
	}
	done := u.wait(task.SelectAttrValue("href", ""))
	if done.SelectAttrValue("status", "") != "success" || u.get(p).SelectAttrValue("name", "") != "renamed" {
		t.Errorf("got %s", write(done))
	}
	t.Run("a cancelled task has no effect", func(t *testing.T) {
		r := u.want(http.StatusAccepted, http.MethodPut, p, vcloud+"vApp+xml", `<VApp `+xmlns+` name="never"/>`)
		href := r.root(t).SelectAttrValue("href", "")
		u.want(http.StatusNoContent, http.MethodPost, href+"/action/cancel", "", "")
		if got := u.wait(href).SelectAttrValue("status", ""); got != "canceled" {
			t.Errorf("state: got %s", got)
		}
		if got := u.get(p).SelectAttrValue("name", ""); got != "renamed" {
			t.Errorf("name: got %s", got)
		}
	})
	t.Run("maintenance mode lets running tasks go on", func(t *testing.T) {
		ada := c.login("ada@acme")
		r := ada.want(http.StatusAccepted, http.MethodPut, p, vcloud+"vApp+xml", `<VApp `+xmlns+` name="under-way"/>`)
		u.want(http.StatusNoContent, http.MethodPost, p+"/action/enterMaintenanceMode", "", "")
		if r := ada.want(http.StatusConflict, http.MethodPut, p, vcloud+"vApp+xml", rename); r.code() != "INVALID_STATE" {
			t.Errorf("got %s", r.code())
		}
		if got := ada.wait(r.root(t).SelectAttrValue("href", "")).SelectAttrValue("status", ""); got != "success" {
			t.Errorf("state: got %s", got)
		}
		u.run(http.MethodPut, p, vcloud+"vApp+xml", `<VApp `+xmlns+` name="by-admin"/>`)
		if got := textAt(ada.get(p), "./InMaintenanceMode"); got != "true" {
			t.Errorf("InMaintenanceMode: got %s", got)
		}
		ada.want(http.StatusForbidden, http.MethodPost, p+"/action/exitMaintenanceMode", "", "")
		u.want(http.StatusNoContent, http.MethodPost, p+"/action/exitMaintenanceMode", "", "")
		ada.run(http.MethodPut, p, vcloud+"vApp+xml", rename)
	})
}

func TestPowerAndSnapshots(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, p := c.login(adminName), c.vappPath()
	state := func(want string) {
		t.Helper()
		if got := u.get(p).SelectAttrValue("status", ""); got != want {
			t.Errorf("status: got %s, want %s", got, want)
		}
	}
	state("8")
	u.run(http.MethodPost, p+"/power/action/powerOn", "", "")
	state("4")
	u.run(http.MethodPost, p+"/power/action/powerOn", "", "") // to no effect
	u.want(http.StatusBadRequest, http.MethodPost, c.vmPath(u, "web01")+"/power/action/powerOn", "", "")
	u.want(http.StatusBadRequest, http.MethodDelete, p, "", "")
	if textAt(u.get(p+"/leaseSettingsSection"), "./DeploymentLeaseExpiration") == "" {
		t.Error("a running vApp has no deployment lease")
	}
	u.run(http.MethodPost, p+"/power/action/suspend", "", "")
	state("3")
	u.run(http.MethodPost, p+"/action/discardSuspendedState", "", "")
	state("8")
	if u.get(p).SelectAttrValue("deployed", "") != "true" {
		t.Error("powering off undeployed the vApp")
	}
	u.run(http.MethodPost, p+"/action/undeploy", vcloud+"undeployVAppParams+xml", `<UndeployVAppParams `+xmlns+`><UndeployPowerAction>powerOff</UndeployPowerAction></UndeployVAppParams>`)
	if u.get(p).SelectAttrValue("deployed", "") != "false" {
		t.Error("it is still deployed")
	}
	ctx := context.Background()
	moref := textAt(u.get(p), ".//VmVimObjectRef/MoRef")
	task, err := c.vm(moref).CreateSnapshot(ctx, "foreign", "", false, false)
	if err == nil {
		err = task.WaitEx(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	if u.get(p+"/snapshotSection").FindElement("./Snapshot") == nil {
		t.Error("the foreign snapshot is not shown")
	}
	old := c.loginAt(adminName, "37.2")
	old.run(http.MethodPost, p+"/action/createSnapshot", vcloud+"createSnapshotParams+xml", `<CreateSnapshotParams `+xmlns+` name="own"/>`)
	ref, err := c.vm(moref).FindSnapshot(ctx, "foreign")
	if err == nil {
		t.Errorf("the foreign snapshot survived as %s", ref.Value)
	}
	u.run(http.MethodPost, p+"/action/revertToCurrentSnapshot", "", "")
	u.run(http.MethodPost, p+"/action/removeAllSnapshots", "", "")
	if u.get(p+"/snapshotSection").FindElement("./Snapshot") != nil {
		t.Error("a snapshot is left")
	}
}
