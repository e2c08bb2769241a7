package cloud

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// A browser calls a cloud's vCD as its administrator.
type browser struct {
	t      *testing.T
	base   string
	client *http.Client
	token  string
}

func newBrowser(t *testing.T, c *Cloud) *browser {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	b := &browser{t: t, base: c.Director().URL().String(), client: &http.Client{Transport: transport}}
	admin := c.inventory.Sites[0].Admin
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.base+"/cloudapi/1.0.0/sessions/provider", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(admin.Name+"@System", admin.Password)
	req.Header.Set("Accept", "application/json;version=39.1")
	res, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	b.token = res.Header.Get("X-VMWARE-VCLOUD-ACCESS-TOKEN")
	return b
}

// call makes a call; the status is 0 where the connection ended.
func (b *browser) call(method, path string) (int, http.Header, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, strings.Replace(path, "~", b.base, 1), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/*+xml;version=39.1")
	req.Header.Set("X-VMWARE-VCLOUD-ACCESS-TOKEN", b.token)
	res, err := b.client.Do(req)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(body)
}

func TestFaultsOfVCD(t *testing.T) {
	t.Parallel()
	c := start(t, parse(t, small), nil)
	b := newBrowser(t, c)
	_, _, list := b.call("GET", "~/api/query?type=adminVApp")
	shop := between(list, `href="`, `" name="shop"`)
	shop = shop[strings.LastIndex(shop, `"`)+1:]
	add := func(r fault.Rule) string {
		t.Helper()
		id, err := c.Faults().Add(r)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for name, tc := range map[string]struct {
		rule         fault.Rule
		method, path string
		status       int
		holds        string
	}{
		"busy":          {fault.Rule{Service: fault.VCD, Object: "shop", Effect: fault.Effect{Status: 400, Code: "BUSY_ENTITY"}}, "GET", shop, 400, `minorErrorCode="BUSY_ENTITY"`},
		"too many":      {fault.Rule{Service: fault.VCD, Effect: fault.Effect{Status: 429, RetryAfter: fault.Duration(time.Second)}}, "GET", shop, 429, "TOO_MANY_REQUESTS"},
		"load balancer": {fault.Rule{Service: fault.VCD, Effect: fault.Effect{Status: 503}}, "GET", shop, 503, "<html>"},
		"other object":  {fault.Rule{Service: fault.VCD, Object: "shup", Effect: fault.Effect{Status: 400}}, "GET", shop, 200, "<VApp"},
		"lying total":   {fault.Rule{Service: fault.VCD, Operation: "GET /api/query", Effect: fault.Effect{Total: 5, Drop: 1}}, "GET", "~/api/query?type=adminVM", 200, `total="6"`},
		"json":          {fault.Rule{Service: fault.VCD, Effect: fault.Effect{Status: 500}}, "GET", "~/cloudapi/1.0.0/orgs", 500, `"minorErrorCode":"INTERNAL_SERVER_ERROR"`},
	} {
		t.Run(name, func(t *testing.T) {
			id := add(tc.rule)
			status, header, body := b.call(tc.method, tc.path)
			if status != tc.status || !strings.Contains(body, tc.holds) {
				t.Errorf("got %d %s; want %d and %s", status, body, tc.status, tc.holds)
			}
			if want := tc.rule.RetryAfter > 0; want != (header.Get("Retry-After") != "") {
				t.Errorf("Retry-After: %q", header.Get("Retry-After"))
			}
			if err := c.Faults().Clear(id); err != nil {
				t.Fatal(err)
			}
		})
	}

	t.Run("a late refusal has its effect", func(t *testing.T) {
		id := add(fault.Rule{Service: fault.VCD, Operation: "POST *enterMaintenanceMode", Count: 1, Effect: fault.Effect{After: true, Status: 504}})
		if status, _, _ := b.call("POST", shop+"/action/enterMaintenanceMode"); status != 504 {
			t.Errorf("got %d", status)
		}
		if _, _, body := b.call("GET", shop); !strings.Contains(body, "<InMaintenanceMode>true") {
			t.Error("the vApp is not in maintenance mode")
		}
		b.call("POST", shop+"/action/exitMaintenanceMode")
		if err := c.Faults().Clear(id); err != nil {
			t.Fatal(err)
		}
	})
	for outcome, status := range map[string]string{"error": "error", "canceled": "canceled", "aborted": "aborted"} {
		t.Run("a task ends "+outcome, func(t *testing.T) {
			id := add(fault.Rule{Service: fault.VCDTask, Effect: fault.Effect{Outcome: outcome, Message: "out of luck"}})
			_, _, body := b.call("POST", shop+"/action/deploy")
			if !strings.Contains(body, "UNSUPPORTED_MEDIA_TYPE") {
				t.Fatalf("a body is wanted: %s", body)
			}
			_, _, body = b.call("POST", shop+"/action/createSnapshot")
			if !strings.Contains(body, "UNSUPPORTED_MEDIA_TYPE") {
				t.Fatalf("a body is wanted: %s", body)
			}
			_, _, body = b.call("POST", shop+"/power/action/powerOn")
			href := between(body, ` href="`, `"`)
			if err := c.Director().WaitTasks(within(t)); err != nil {
				t.Fatal(err)
			}
			if _, _, body := b.call("GET", href); !strings.Contains(body, `status="`+status+`"`) || !strings.Contains(body, "out of luck") {
				t.Errorf("the task: %s", body)
			}
			if err := c.Faults().Clear(id); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("a session ends in mid-run", func(t *testing.T) {
		id := add(fault.Rule{Service: fault.VCD, Count: 1, Effect: fault.Effect{Logout: true}})
		for range 2 {
			if status, _, _ := b.call("GET", shop); status != 401 {
				t.Errorf("got %d, want 401", status)
			}
		}
		if err := c.Faults().Clear(id); err != nil {
			t.Fatal(err)
		}
	})
	var refused int
	for _, call := range c.Faults().Calls(fault.Rule{Service: fault.VCD, User: "administrator@System", Operation: "GET /api/vApp/*"}, 0) {
		if call.Rule != "" && call.Status >= 400 {
			refused++
		}
	}
	if refused != 4 { // busy, too many, load balancer, the session's end
		t.Errorf("%d refused calls are in the log, want 4", refused)
	}
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

func TestTheCloudsOwnCallsAreLeftAlone(t *testing.T) {
	t.Parallel()
	c := start(t, parse(t, small), nil)
	for _, r := range []fault.Rule{
		{Service: fault.VCD, Count: 1, Effect: fault.Effect{Status: 500}},
		{Service: fault.VCDTask, Count: 1, Effect: fault.Effect{Outcome: "error"}},
		{Service: fault.TLS, Operation: "vcd", Count: 1, Effect: fault.Effect{Certificate: "stranger"}},
		{Service: fault.TLS, Server: "lab", Count: 1, Effect: fault.Effect{Certificate: "expired"}},
	} {
		if _, err := c.Faults().Add(r); err != nil {
			t.Fatal(err)
		}
	}
	c.Faults().Forget()
	vms, err := c.VMs(within(t))
	if err != nil || len(vms) == 0 {
		t.Fatalf("%d VMs, %v", len(vms), err)
	}
	if err := c.Power(within(t), vms[0].Path, "on"); err != nil {
		t.Error(err)
	}
	if _, err := c.Scrub(within(t)); err != nil {
		t.Error(err)
	}
	for _, r := range c.Faults().List() {
		if r.Hits != 0 {
			t.Errorf("acted on a call of the cloud's own: %+v", r)
		}
	}
	if calls := c.Faults().Calls(fault.Rule{Service: "vcd*"}, 0); len(calls) != 0 {
		t.Errorf("logged: %+v", calls)
	}
	// What vCD does for it is vCD's own affair, and called by vCD's name here.
	if calls := c.Faults().Calls(fault.Rule{Service: fault.VSphere, Operation: "PowerOnVM_Task", Object: vms[0].Name}, 0); len(calls) != 1 {
		t.Errorf("PowerOnVM_Task of %s: %+v", vms[0].Name, calls)
	}
	if calls := c.Faults().Calls(fault.Rule{Service: fault.VSphereTask, Object: vms[0].Name}, 0); len(calls) == 0 {
		t.Errorf("tasks of vCenter: none of %s", vms[0].Name)
	}
}

func TestRulesThatCanNeverAct(t *testing.T) {
	t.Parallel()
	c := start(t, parse(t, small), nil)
	for want, r := range map[string]fault.Rule{
		"no method CreateSnapshotEx, but CreateSnapshotEx_Task": {Service: fault.VSphere, Operation: "CreateSnapshotEx"},
		"no method Nonsense":        {Service: fault.VSphereTask, Operation: "Nonsense"},
		"no type Nonsense":          {Service: fault.VSphere, Effect: fault.Effect{Code: "Nonsense"}},
		"VirtualDisk is not":        {Service: fault.VSphereTask, Effect: fault.Effect{Code: "VirtualDisk"}},
		"there are lab, lab/vc1":    {Server: "lub"},
		"service \"vsphere-tasks\"": {Service: "vsphere-tasks"},
	} {
		if r.Code == "" {
			r.Delay = 1
		}
		if _, err := c.Faults().Add(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %s", r, err, want)
		}
	}
	for _, r := range []fault.Rule{
		{Service: fault.VSphere, Operation: "RetrievePropertiesEx", Effect: fault.Effect{Code: "NoPermission"}},
		{Service: fault.VSphere, Operation: "Create*", Server: "lab/*", Effect: fault.Effect{Delay: 1}},
		{Service: fault.VSphere, Operation: "HttpNfcLeaseProgress", Effect: fault.Effect{Status: 503}},
		{Service: fault.VSphereTask, Operation: "RemoveSnapshot_Task", Effect: fault.Effect{Code: "FileLocked"}},
		{Service: fault.NFC, Server: "lab/vc1/*", Effect: fault.Effect{Rate: 1}},
	} {
		if _, err := c.Faults().Add(r); err != nil {
			t.Error(err)
		}
	}
}
