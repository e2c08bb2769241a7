package director_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// policy makes a sizing policy, offers it in the VDC and returns its address.
func (u *user) policy(body string) string {
	u.c.t.Helper()
	r := u.do(http.MethodPost, "/cloudapi/2.0.0/vdcComputePolicies", "application/json", body)
	_, rest, found := strings.Cut(string(r.body), "urn:vcloud:vdcComputePolicy:")
	if r.status != http.StatusCreated || !found {
		u.c.t.Fatalf("policy: %d %s", r.status, r.body)
	}
	href := u.c.dir.URL().String() + "/cloudapi/2.0.0/vdcComputePolicies/urn:vcloud:vdcComputePolicy:" + rest[:36]
	path := "/api/admin/vdc/" + u.c.vdc + "/computePolicies"
	refs := ""
	for _, e := range u.get(path).FindElements("./VdcComputePolicyReference") {
		refs += `<VdcComputePolicyReference href="` + e.SelectAttrValue("href", "") + `"/>`
	}
	u.want(http.StatusOK, http.MethodPut, path, vcloud+"vdcComputePolicyReferences+xml",
		`<VdcComputePolicyReferences `+xmlns+`>`+refs+`<VdcComputePolicyReference href="`+href+`"/></VdcComputePolicyReferences>`)
	return href
}

func TestSizingPolicySetsHardware(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	small := u.policy(`{"name":"one-cpu","cpuCount":1,"memory":64}`)
	large := u.policy(`{"name":"four-cpus","cpuCount":4,"coresPerSocket":2,"memory":256}`)
	choose := func(href string) string {
		return `<ComputePolicy><VmSizingPolicy href="` + href + `"/></ComputePolicy>`
	}
	task := u.task(http.MethodPost, c.vdcPath()+"/action/createVm", vcloud+"CreateVmParams+xml",
		`<CreateVmParams `+xmlns+` name="sized"><CreateVm name="sized">`+blankSpec+choose(small)+`</CreateVm></CreateVmParams>`)
	shell := u.get(task.FindElement("./Owner").SelectAttrValue("href", ""))
	href := shell.FindElement("./Children/Vm").SelectAttrValue("href", "")
	has := func(cpus, cores, memory string) {
		t.Helper()
		e := u.get(href)
		for path, want := range map[string]string{"NumCpus": cpus, "NumCoresPerSocket": cores, "MemoryResourceMb/Configured": memory} {
			if got := textAt(e, "./VmSpecSection/"+path); got != want {
				t.Errorf("%s: got %s, want %s", path, got, want)
			}
		}
	}
	has("1", "1", "64")
	typ, at := vcloud+"vm+xml", href+"/action/reconfigureVm"
	spec := func(cpus, memory string) string {
		return `<Vm ` + xmlns + ` name="sized"><VmSpecSection Modified="true"><ovf:Info>x</ovf:Info><NumCpus>` + cpus + `</NumCpus>` +
			`<NumCoresPerSocket>1</NumCoresPerSocket><MemoryResourceMb><Configured>` + memory + `</Configured></MemoryResourceMb><HardwareVersion>vmx-15</HardwareVersion></VmSpecSection></Vm>`
	}
	u.want(http.StatusBadRequest, http.MethodPost, at, typ, spec("2", "64"))
	u.want(http.StatusBadRequest, http.MethodPost, at, typ, spec("1", "128"))
	u.run(http.MethodPost, at, typ, `<Vm `+xmlns+` name="sized">`+choose(large)+`</Vm>`)
	has("4", "2", "256")
	u.run(http.MethodPost, at, typ, spec("2", "128"))
	has("2", "1", "128")
	u.run(http.MethodPost, href+"/power/action/powerOn", "", "")
	u.want(http.StatusBadRequest, http.MethodPost, at, typ, `<Vm `+xmlns+` name="sized">`+choose(small)+`</Vm>`)
}

func TestHistoricMetrics(t *testing.T) {
	t.Parallel()
	start := time.Now()
	now := start
	c := newCloud(t, func(cfg *director.Config) { cfg.Now = func() time.Time { return now } })
	u := c.login(adminName)
	href := u.blank("solo", "").SelectAttrValue("href", "")
	if n := len(u.get(href + "/metrics/historic").FindElements("./MetricSeries")); n != 0 {
		t.Errorf("a VM that is off: got %d series", n)
	}
	u.run(http.MethodPost, href+"/power/action/powerOn", "", "")
	now = start.Add(time.Hour)
	e := u.get(href + "/metrics/historic")
	if n := len(e.FindElements("./MetricSeries[@name='cpu.usage.average']/Sample")); n != 12 && n != 13 {
		t.Errorf("an hour: got %d samples", n)
	}
	typ := vcloud + "metrics.historicUsageSpec+xml"
	r := u.want(http.StatusOK, http.MethodPost, href+"/metrics/historic", typ, `<HistoricUsageSpec `+xmlns+`><RelativeStartTime interval="20" unit="minute"/>`+
		`<RelativeEndTime interval="0" unit="second"/><MetricPattern>cpu.usage.*</MetricPattern></HistoricUsageSpec>`)
	e = r.root(t)
	if n, m := len(e.FindElements("./MetricSeries")), len(e.FindElements("./MetricSeries[@name='cpu.usage.maximum']/Sample")); n != 2 || m < 4 || m > 5 {
		t.Errorf("got %d series, %d samples", n, m)
	}
	u.want(http.StatusBadRequest, http.MethodPost, href+"/metrics/historic", typ, `<HistoricUsageSpec `+xmlns+`><RelativeStartTime interval="1" unit="minute"/>`+
		`<RelativeEndTime interval="2" unit="minute"/></HistoricUsageSpec>`)
	u.want(http.StatusBadRequest, http.MethodPost, href+"/metrics/historic", typ, `<HistoricUsageSpec `+xmlns+`><RelativeStartTime interval="1" unit="age"/></HistoricUsageSpec>`)
}
