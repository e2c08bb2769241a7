package director_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// named makes an independent disk and returns its address.
func (u *user) named(attrs string) string {
	u.c.t.Helper()
	r := u.want(http.StatusCreated, http.MethodPost, u.c.vdcPath()+"/disk", vcloud+"diskCreateParams+xml",
		`<DiskCreateParams `+xmlns+`><Disk `+attrs+`><Description>d</Description></Disk></DiskCreateParams>`)
	return u.made(r).SelectAttrValue("href", "")
}

func diskParams(href, rest string) string {
	return `<DiskAttachOrDetachParams ` + xmlns + `><Disk href="` + href + `"/>` + rest + `</DiskAttachOrDetachParams>`
}

func (u *user) disk(status int, action, vm, disk, rest string) *reply {
	u.c.t.Helper()
	r := u.want(status, http.MethodPost, vm+"/disk/action/"+action, vcloud+"diskAttachOrDetachParams+xml", diskParams(disk, rest))
	if status == http.StatusAccepted {
		if e := u.wait(r.root(u.c.t).SelectAttrValue("href", "")); e.SelectAttrValue("status", "") != "success" {
			u.c.t.Fatalf("%s: %s", action, write(e))
		}
	}
	return r
}

func TestIndependentDisk(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	web, db := c.vmPath(u, "web01"), c.vmPath(u, "db01")
	href := u.named(`name="data" sizeMb="12" busType="6" busSubType="VirtualSCSI"`)
	u.disk(http.StatusAccepted, "attach", web, href, `<BusNumber>2</BusNumber><UnitNumber>5</UnitNumber>`)
	e := u.get(web)
	got := e.FindElement("./VmSpecSection/DiskSection/DiskSettings/Disk")
	if got == nil || got.SelectAttrValue("href", "") != href || textAt(got.Parent(), "./UnitNumber") != "5" || textAt(got.Parent(), "./BusNumber") != "2" {
		t.Fatalf("VM: %s", write(e))
	}
	var vm mo.VirtualMachine
	moref := textAt(e, "./VCloudExtension/VmVimInfo/VmVimObjectRef/MoRef")
	if err := c.vm(moref).Properties(context.Background(), vmRef(moref), []string{"config"}, &vm); err != nil {
		t.Fatal(err)
	}
	file, mode := "", ""
	for _, d := range vm.Config.Hardware.Device {
		if disk, is := d.(*types.VirtualDisk); is && disk.CapacityInKB == 12<<10 {
			b := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			file, mode = b.FileName, b.DiskMode
		}
	}
	if !strings.Contains(file, "vcd-disks-") || mode != "independent_persistent" {
		t.Errorf("in vCenter: %s, %s", file, mode)
	}
	if got := u.get(href+"/attachedVms").FindElement("./VmReference").SelectAttrValue("href", ""); got != web {
		t.Errorf("attached to %s", got)
	}
	t.Run("the query says so", func(t *testing.T) {
		rec := u.get("/api/query?type=adminDisk&filter=name==data").FindElement("./AdminDiskRecord")
		if rec == nil || rec.SelectAttrValue("isAttached", "") != "true" || rec.SelectAttrValue("sizeMb", "") != "12" {
			t.Errorf("got %v", rec)
		}
	})
	t.Run("refused", func(t *testing.T) {
		u.want(http.StatusBadRequest, http.MethodDelete, href, "", "")
		u.want(http.StatusBadRequest, http.MethodPut, href, vcloud+"disk+xml", `<Disk `+xmlns+` name="x" sizeMb="20"/>`)
		u.disk(http.StatusBadRequest, "attach", db, href, "")
		u.disk(http.StatusBadRequest, "attach", web, href, "")
		u.disk(http.StatusBadRequest, "detach", db, href, "")
		u.want(http.StatusBadRequest, http.MethodPost, web+"/action/createSnapshot", vcloud+"createSnapshotParams+xml", `<CreateSnapshotParams `+xmlns+`/>`)
	})
	t.Run("a disk section without it leaves it alone", func(t *testing.T) {
		own := ""
		for _, s := range e.FindElements("./VmSpecSection/DiskSection/DiskSettings") {
			if s.FindElement("./Disk") == nil {
				own = textAt(s, "./DiskId")
			}
		}
		adapter := textAt(e, "./VmSpecSection/DiskSection/DiskSettings[DiskId='"+own+"']/AdapterType")
		u.reconfigure(http.StatusAccepted, web, "web01", specAt(textAt(e, "./VmSpecSection/HardwareVersion"), `<DiskSection>`+diskSettings(own, 2, adapter, 0, 0)+`</DiskSection>`))
		if u.get(web).FindElement("./VmSpecSection/DiskSection/DiskSettings/Disk") == nil {
			t.Error("it is gone")
		}
	})
	u.disk(http.StatusAccepted, "detach", web, href, "")
	t.Run("it grows and takes its content along", func(t *testing.T) {
		u.run(http.MethodPut, href, vcloud+"disk+xml", `<Disk `+xmlns+` name="more" sizeMb="20"/>`)
		if e := u.get(href); e.SelectAttrValue("sizeMb", "") != "20" || e.SelectAttrValue("name", "") != "more" || textAt(e, "./Description") != "d" {
			t.Errorf("got %s", write(e))
		}
		u.want(http.StatusBadRequest, http.MethodPut, href, vcloud+"disk+xml", `<Disk `+xmlns+` name="more" sizeMb="10"/>`)
	})
	t.Run("it outlives its VM", func(t *testing.T) {
		solo := u.blank("solo", "").SelectAttrValue("href", "")
		u.disk(http.StatusAccepted, "attach", solo, href, "")
		u.run(http.MethodDelete, solo, "", "")
		u.disk(http.StatusAccepted, "attach", db, href, "")
		u.disk(http.StatusAccepted, "detach", db, href, "")
	})
	u.run(http.MethodPut, href+"/metadata/k", vcloud+"metadata.value+xml", `<MetadataValue `+xmlns+` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><TypedValue xsi:type="MetadataStringValue"><Value>v</Value></TypedValue></MetadataValue>`)
	u.run(http.MethodDelete, href, "", "")
	u.want(http.StatusForbidden, http.MethodGet, href, "", "")
}

func TestSharedDisks(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	web, db := c.vmPath(u, "web01"), c.vmPath(u, "db01")
	href := u.named(`name="cluster" sizeMb="8" sharingType="DiskSharing"`)
	u.disk(http.StatusAccepted, "attach", web, href, "")
	u.disk(http.StatusAccepted, "attach", db, href, "")
	if got := len(u.get(href + "/attachedVms").FindElements("./VmReference")); got != 2 {
		t.Errorf("attached to %d VMs", got)
	}
}

func TestDisksThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	for name, attrs := range map[string]string{
		"no name": `sizeMb="1"`, "no size": `name="x"`, "an unknown bus": `name="x" sizeMb="1" busType="9"`,
		"an unknown sharing": `name="x" sizeMb="1" sharingType="Some"`, "a shared IDE disk": `name="x" sizeMb="1" busType="5" sharingType="DiskSharing"`,
		"more than the profile has": `name="x" sizeMb="2000000"`, "encryption": `name="x" sizeMb="1" encrypted="true"`,
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			u.want(http.StatusBadRequest, http.MethodPost, c.vdcPath()+"/disk", vcloud+"diskCreateParams+xml",
				`<DiskCreateParams `+xmlns+`><Disk `+attrs+`/></DiskCreateParams>`)
		})
	}
	t.Run("a disk of somebody else", func(t *testing.T) {
		href := u.named(`name="x" sizeMb="1"`)
		for who, status := range map[string]int{"ada@acme": http.StatusOK, "bob@acme": http.StatusForbidden, "gil@globex": http.StatusForbidden} {
			c.login(who).want(status, http.MethodGet, href, "", "")
		}
	})
}

func TestSnapshotsSince39(t *testing.T) {
	t.Parallel()
	c := newCloud(t, func(cfg *director.Config) { cfg.SnapshotsPerVM = 2 })
	u := c.login(adminName)
	web := c.vmPath(u, "web01")
	urn := "urn:vcloud:vm:" + web[strings.LastIndex(web, "vm-")+3:]
	list := "/cloudapi/1.0.0/vm/" + urn + "/snapshots"
	begin := func(method, path, body string) {
		t.Helper()
		typ := ""
		if body != "" {
			typ = "application/json"
		}
		r := u.want(http.StatusAccepted, method, path, typ, body)
		if e := u.wait(r.header.Get("Location")); e.SelectAttrValue("status", "") != "success" {
			t.Fatalf("%s %s: %s", method, path, write(e))
		}
	}
	ids := func() []string {
		t.Helper()
		var out []string
		for _, part := range strings.Split(string(u.want(http.StatusOK, http.MethodGet, list, "", "").body), `"id":"urn:vcloud:vmSnapshot:`)[1:] {
			out = append(out, "urn:vcloud:vmSnapshot:"+part[:36])
		}
		return out
	}
	begin(http.MethodPost, list, `{"name":"one"}`)
	begin(http.MethodPost, list, `{"name":"two"}`)
	got := ids()
	if len(got) != 2 {
		t.Fatalf("got %v", got)
	}
	u.want(http.StatusBadRequest, http.MethodPost, list, "application/json", `{"name":"three"}`)
	begin(http.MethodPost, list+"/"+got[0]+"/revert", "")
	begin(http.MethodPut, list+"/"+got[1], `{"name":"second"}`)
	if b := string(u.want(http.StatusOK, http.MethodGet, list+"/"+got[1], "", "").body); !strings.Contains(b, `"name":"second"`) || !strings.Contains(b, got[0]) {
		t.Errorf("got %s", b)
	}
	begin(http.MethodDelete, list+"/"+got[1], "")
	if now := ids(); len(now) != 1 || now[0] != got[0] {
		t.Errorf("left: %v", now)
	}
	u.want(http.StatusForbidden, http.MethodGet, list+"/"+got[1], "", "")
	t.Run("there is none of it before", func(t *testing.T) {
		c.loginAt(adminName, "38.1").want(http.StatusNotFound, http.MethodGet, list, "", "")
	})
	t.Run("an older client removes what is there", func(t *testing.T) {
		c.loginAt(adminName, "38.1").run(http.MethodPost, web+"/action/createSnapshot", vcloud+"createSnapshotParams+xml", `<CreateSnapshotParams `+xmlns+` name="mine"/>`)
		if now := ids(); len(now) != 1 || now[0] == got[0] {
			t.Errorf("left: %v", now)
		}
	})
}

func TestAffinityRules(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	web, db := c.vmPath(u, "web01"), c.vmPath(u, "db01")
	rule := func(name, polarity string, vms ...string) string {
		refs := ""
		for _, v := range vms {
			refs += `<VmReference href="` + v + `"/>`
		}
		return `<VmAffinityRule ` + xmlns + `><Name>` + name + `</Name><IsEnabled>true</IsEnabled><IsMandatory>true</IsMandatory><Polarity>` + polarity +
			`</Polarity><VmReferences>` + refs + `</VmReferences></VmAffinityRule>`
	}
	path, typ := c.vdcPath()+"/vmAffinityRules", vcloud+"vmaffinityrule+xml"
	e := u.task(http.MethodPost, path, typ, rule("apart", "Anti-Affinity", web, db))
	href := e.FindElement("./Owner").SelectAttrValue("href", "")
	var cluster mo.ClusterComputeResource
	read := func() int {
		t.Helper()
		pool := must(c.vm(textAt(u.get(web), "./VCloudExtension/VmVimInfo/VmVimObjectRef/MoRef")).ResourcePool(context.Background()))(t)
		owner := must(pool.Owner(context.Background()))(t)
		if err := pool.Properties(context.Background(), owner.Reference(), []string{"configurationEx"}, &cluster); err != nil {
			t.Fatal(err)
		}
		return len(cluster.ConfigurationEx.(*types.ClusterConfigInfoEx).Rule)
	}
	if read() != 1 {
		t.Error("vCenter has no rule")
	}
	u.run(http.MethodPut, href, typ, strings.Replace(rule("still apart", "Anti-Affinity", web, db), "<IsEnabled>true", "<IsEnabled>false", 1))
	if e := u.get(href); textAt(e, "./Name") != "still apart" || textAt(e, "./IsEnabled") != "false" {
		t.Errorf("got %s", write(e))
	}
	for name, body := range map[string]string{
		"one VM": rule("x", "Affinity", web), "one VM twice": rule("x", "Affinity", web, web), "an unknown polarity": rule("x", "Love", web, db),
		"VMs that have such a rule": rule("x", "Anti-Affinity", web, db), "together and apart": rule("x", "Affinity", web, db),
		"no name": rule("", "Affinity", web, db), "an unknown VM": rule("x", "Affinity", web, "https://x/api/vApp/vm-00000000-0000-4000-8000-000000000000"),
	} {
		t.Run("refused: "+name, func(t *testing.T) { u.want(http.StatusBadRequest, http.MethodPost, path, typ, body) })
	}
	if n := len(u.get(path).FindElements("./VmAffinityRule")); n != 1 {
		t.Errorf("%d rules", n)
	}
	u.run(http.MethodDelete, href, "", "")
	if read() != 0 {
		t.Error("vCenter still has it")
	}
}
