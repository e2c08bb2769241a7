package director_test

import (
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/vmware/govmomi/find"

	"github.com/vappvault/vappvault/internal/sim/director"
	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// A slowCloud has a vCenter whose tasks rules make slow or let fail.
type slowCloud struct {
	*cloud
	rules *fault.Set
}

func newSlowCloud(t *testing.T) *slowCloud {
	rules := fault.New(1)
	return &slowCloud{newCloudOn(t, vcenter.Config{Rules: rules}, nil), rules}
}

// meet makes tasks of vCenter meet an effect; the result counts them.
func (c *slowCloud) meet(operation string, e fault.Effect) (hits func() int) {
	c.t.Helper()
	if err := c.rules.Clear(); err != nil {
		c.t.Fatal(err)
	}
	must(c.rules.Add(fault.Rule{Service: fault.VSphereTask, Operation: operation, Count: 1, Effect: e}))(c.t)
	return func() int { return c.rules.List()[0].Hits }
}

// cancelIn cancels a task as soon as vCenter is at work on an operation of its.
func (u *user) cancelIn(hits func() int, task string) *etree.Element {
	u.c.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); hits() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			u.c.t.Fatal("vCenter is asked for nothing")
		}
	}
	u.want(http.StatusNoContent, http.MethodPost, task+"/action/cancel", "", "")
	return u.wait(task)
}

// machines are the names of all VMs in vCenter.
func (c *cloud) machines() []string {
	c.t.Helper()
	var out []string
	for _, m := range must(find.NewFinder(c.vim.Client).VirtualMachineList(c.t.Context(), "/..."))(c.t) {
		out = append(out, m.Name())
	}
	slices.Sort(out)
	return out
}

// begunBy is the task of an answer.
func (r *reply) begunBy(t *testing.T) string {
	t.Helper()
	e := r.root(t)
	if e.Tag != "Task" {
		e = e.FindElement(".//Tasks/Task")
	}
	if e == nil {
		t.Fatalf("no task: %s", r.body)
	}
	return e.SelectAttrValue("href", "")
}

func composing(name, item string) string {
	return `<ComposeVAppParams ` + vcd + ` name="` + name + `" deploy="false" powerOn="false">` + item + `</ComposeVAppParams>`
}

func sourcing(href, move, more string) string {
	return `<SourcedItem sourceDelete="` + move + `"><Source href="` + href + `"/>` + more + `</SourcedItem>`
}

func TestWhatIsCancelledOrFailsLeavesNothingInVCenter(t *testing.T) {
	t.Parallel()
	c := newSlowCloud(t)
	u := c.login(adminName)
	vm, vim, spare := c.vmPath(u, "web01"), c.vimServer(u), c.take()
	fast := "/api/vdc/" + must(c.dir.AddVDC(director.VDCSpec{Org: "acme", Name: "fast", ResourcePool: "vdc1-pool", Fast: true,
		StorageProfiles: []director.StorageProfileSpec{{Name: "any"}}}))(t)
	compose := func(vdc, name string) *reply {
		return u.want(http.StatusCreated, http.MethodPost, vdc+"/action/composeVApp", cloudType+"composeVAppParams+xml", composing(name, sourcing(vm, "false", "")))
	}
	before := c.machines()
	delay := fault.Effect{Delay: fault.Duration(200 * time.Millisecond)}
	refusal := fault.Effect{Code: "InvalidState", Message: "not now"}
	for _, tc := range []struct {
		name, operation string
		begin           func(name string) *reply
	}{
		{"a full copy", "CloneVM_Task", func(name string) *reply { return compose(c.vdcPath(), name) }},
		{"the mark of a full copy", "ReconfigVM_Task", func(name string) *reply { return compose(c.vdcPath(), name) }},
		{"a linked clone", "CloneVM_Task", func(name string) *reply { return compose(fast, name) }},
		{"the snapshot of a linked clone", "CreateSnapshot_Task", func(name string) *reply { return compose(fast, name) }},
		{"a VM of nothing", "CreateVM_Task", func(name string) *reply {
			return u.want(http.StatusAccepted, http.MethodPost, c.vdcPath()+"/action/createVm", vcloud+"CreateVmParams+xml",
				`<CreateVmParams `+xmlns+` name="none"><CreateVm name="none">`+blankSpec+`</CreateVm></CreateVmParams>`)
		}},
		{"a copy of a VM of vCenter's", "CloneVM_Task", func(name string) *reply {
			return u.want(http.StatusCreated, http.MethodPost, vim+"/importVmAsVApp", admin+"importVmAsVAppParams+xml", c.asVApp(name, spare, "false"))
		}},
		{"the mark of a VM of vCenter's", "ReconfigVM_Task", func(name string) *reply {
			return u.want(http.StatusCreated, http.MethodPost, vim+"/importVmAsVApp", admin+"importVmAsVAppParams+xml", c.asVApp(name, spare, "true"))
		}},
	} {
		t.Run(tc.name+" is cancelled", func(t *testing.T) {
			hits := c.meet(tc.operation, delay)
			if done := u.cancelIn(hits, tc.begin("cancelled "+tc.name).begunBy(t)); done.SelectAttrValue("status", "") != "canceled" {
				t.Errorf("got %s", write(done))
			}
			c.same(t, before, textAt(u.get(vm), ".//VmVimObjectRef/MoRef"), spare)
		})
		t.Run(tc.name+" fails", func(t *testing.T) {
			c.meet(tc.operation, refusal)
			if done := u.wait(tc.begin("failed " + tc.name).begunBy(t)); done.SelectAttrValue("status", "") != "error" {
				t.Errorf("got %s", write(done))
			}
			c.same(t, before, textAt(u.get(vm), ".//VmVimObjectRef/MoRef"), spare)
		})
	}
}

// same fails unless vCenter has those VMs, the source no snapshot and the spare
// one no mark.
func (c *cloud) same(t *testing.T, before []string, source, spare string) {
	t.Helper()
	if got := c.machines(); !slices.Equal(got, before) {
		t.Errorf("vCenter has %s, had %s", got, before)
	}
	f := &fastCloud{cloud: c}
	if n := f.snapshotsOf(source); n != 0 {
		t.Errorf("the source has %d snapshots", n)
	}
	if m := c.properties(spare); m == nil || m.Config.ManagedBy != nil {
		t.Errorf("the VM that was to be imported: %+v", m)
	}
}

func TestAMoveThatDoesNotSucceedLeavesTheVMWhereItWas(t *testing.T) {
	t.Parallel()
	c := newSlowCloud(t)
	u := c.login(adminName)
	vm := c.vmPath(u, "web01")
	moref := textAt(u.get(vm), ".//VmVimObjectRef/MoRef")
	before := c.properties(moref).Name
	move := func(name, more string) *reply {
		return u.want(http.StatusCreated, http.MethodPost, c.vdcPath()+"/action/composeVApp", cloudType+"composeVAppParams+xml", composing(name, sourcing(vm, "true", more)))
	}
	check := func(t *testing.T, done *etree.Element, status string) {
		t.Helper()
		if got := done.SelectAttrValue("status", ""); got != status {
			t.Errorf("got %s", write(done))
		}
		if got := c.vmPath(u, "web01"); got != vm || c.properties(moref).Name != before {
			t.Errorf("the shop's VM is %s, in vCenter %s, was %s", got, c.properties(moref).Name, before)
		}
		if got := textAt(u.get(vm), "./NetworkConnectionSection/NetworkConnection/IpAddress"); got != "192.168.2.100" {
			t.Errorf("its address is %q", got)
		}
	}
	const named = `<VmGeneralParams><Name>other</Name></VmGeneralParams>`
	hits := c.meet("ReconfigVM_Task", fault.Effect{Delay: fault.Duration(200 * time.Millisecond)})
	check(t, u.cancelIn(hits, move("cancelled", named).begunBy(t)), "canceled")
	c.meet("ReconfigVM_Task", fault.Effect{Code: "InvalidState", Message: "not now"})
	check(t, u.wait(move("failed", named).begunBy(t)), "error")
	if e := u.made(move("moved", named)).FindElement("./Children/Vm"); e == nil || e.SelectAttrValue("href", "") != vm || c.properties(moref).Name == before {
		t.Errorf("moved, it is %v, in vCenter %s", e, c.properties(moref).Name)
	}
}

func TestARunningVMMoves(t *testing.T) {
	t.Parallel()
	c := newSlowCloud(t)
	u := c.login(adminName)
	p, web, db := c.vappPath(), c.vmPath(u, "web01"), c.vmPath(u, "db01")
	other := must(c.dir.AddVDC(director.VDCSpec{Org: "acme", Name: "other", ResourcePool: "vdc1-pool",
		StorageProfiles: []director.StorageProfileSpec{{Name: "any"}}}))(t)
	u.run(http.MethodPost, db+"/power/action/powerOn", "", "")
	u.run(http.MethodPost, web+"/power/action/powerOn", "", "")
	lan := `<InstantiationParams><NetworkConfigSection><ovf:Info>n</ovf:Info><NetworkConfig networkName="dmz"><Configuration><IpScopes><IpScope>` +
		`<IsInherited>false</IsInherited><Gateway>192.168.2.1</Gateway><Netmask>255.255.255.0</Netmask></IpScope></IpScopes><FenceMode>isolated</FenceMode></Configuration></NetworkConfig></NetworkConfigSection></InstantiationParams>`
	for _, tc := range []struct{ name, vdc, params string }{
		{"to another VDC", "/api/vdc/" + other, ""},
		{"to another network", c.vdcPath(), lan},
	} {
		t.Run("not "+tc.name, func(t *testing.T) {
			r := u.want(http.StatusBadRequest, http.MethodPost, tc.vdc+"/action/composeVApp", cloudType+"composeVAppParams+xml", composing("not", tc.params+sourcing(web, "true", "")))
			if !strings.Contains(string(r.body), "powered off") {
				t.Errorf("got %s", r.body)
			}
		})
	}
	parent := u.get(p+"/networkConfigSection/").FindElement("./NetworkConfig[@networkName='direct']/Configuration/ParentNetwork").SelectAttrValue("href", "")
	direct := `<InstantiationParams><NetworkConfigSection><ovf:Info>n</ovf:Info><NetworkConfig networkName="direct"><Configuration>` +
		`<ParentNetwork href="` + parent + `"/><FenceMode>bridged</FenceMode></Configuration></NetworkConfig></NetworkConfigSection></InstantiationParams>`
	moved := u.made(u.want(http.StatusCreated, http.MethodPost, c.vdcPath()+"/action/composeVApp", cloudType+"composeVAppParams+xml",
		composing("moved", direct+sourcing(db, "true", "")+sourcing(web, "true", ""))))
	is := func(path, deployed string) {
		t.Helper()
		if got := u.get(path).SelectAttrValue("deployed", ""); got != deployed {
			t.Errorf("%s: deployed=%s", path, got)
		}
	}
	to := moved.SelectAttrValue("href", "")
	is(to, "true")
	is(db, "true")
	is(p, "false")
	if got := textAt(u.get(db), "./NetworkConnectionSection/NetworkConnection/IpAddress"); got != "10.0.0.50" {
		t.Errorf("its address is %q", got)
	}
	if got := c.portgroups(); len(got) != 0 {
		t.Errorf("port groups of a vApp that nothing runs in: %s", got)
	}
	u.run(http.MethodPost, to+"/action/undeploy", vcloud+"undeployVAppParams+xml", `<UndeployVAppParams `+xmlns+`/>`)
	is(to, "false")
	u.run(http.MethodDelete, p, "", "")
	u.run(http.MethodDelete, to, "", "")
}

func TestAStartThatFailsIsTakenBack(t *testing.T) {
	t.Parallel()
	c := newSlowCloud(t)
	u, p := c.login(adminName), c.vappPath()
	c.meet("PowerOnVM_Task", fault.Effect{Code: "InvalidState", Message: "not now"})
	const params = vcloud + "deployVAppParams+xml"
	if done := u.task(http.MethodPost, p+"/action/deploy", params, `<DeployVAppParams `+xmlns+`/>`); done.SelectAttrValue("status", "") != "error" {
		t.Errorf("got %s", write(done))
	}
	if got := u.get(p).SelectAttrValue("deployed", ""); got != "false" || len(c.portgroups()) != 0 {
		t.Errorf("deployed=%s, port groups %s", got, c.portgroups())
	}
	hits := c.meet("PowerOnVM_Task", fault.Effect{Delay: fault.Duration(200 * time.Millisecond)})
	r := u.want(http.StatusAccepted, http.MethodPost, p+"/action/deploy", params, `<DeployVAppParams `+xmlns+`/>`)
	if done := u.cancelIn(hits, r.begunBy(t)); done.SelectAttrValue("status", "") != "canceled" {
		t.Errorf("got %s", write(done))
	}
	// The first VM runs: vCenter was at it already.
	if got := u.get(p).SelectAttrValue("deployed", ""); got != "true" {
		t.Errorf("deployed=%s", got)
	}
	if got := u.get(c.vmPath(u, "web01")).SelectAttrValue("deployed", ""); got != "false" {
		t.Errorf("web01: deployed=%s", got)
	}
	u.run(http.MethodDelete, p+"?force=true", "", "")
	if got := c.portgroups(); len(got) != 0 {
		t.Errorf("port groups %s", got)
	}
}

func TestAPanicEndsItsTask(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	log.SetOutput(io.Discard)
	defer log.SetOutput(os.Stderr)
	if err := c.dir.Guarded(func() { panic("nobody thought of it") }); err == nil || !strings.Contains(err.Error(), "nobody thought of it") {
		t.Errorf("got %v", err)
	}
}
