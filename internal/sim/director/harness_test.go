package director_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/director"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// A cloud is a simulated installation in front of a simulated vCenter.
type cloud struct {
	t      *testing.T
	dir    *director.Server
	http   *http.Client
	vim    *govmomi.Client
	morefs []string // VMs that no vCD manages, off
	acme   string   // ids
	vdc    string
	shop   string

	mu        sync.Mutex
	exchanges []director.Exchange
}

const (
	adminName = "administrator@System"
	password  = "s3cret"
	version   = "39.1"
)

// newCloud starts an installation with the organization acme, its VDC, two
// networks and the vApp web-shop of two VMs.
func newCloud(t *testing.T, change func(*director.Config)) *cloud {
	t.Helper()
	return newCloudOn(t, vcenter.Config{}, change)
}

// newCloudOn is newCloud in front of a vCenter of one's own.
func newCloudOn(t *testing.T, at vcenter.Config, change func(*director.Config)) *cloud {
	t.Helper()
	at.Dir, at.ResourcePools, at.Users = t.TempDir(), []string{"vdc1-pool"}, map[string]string{"root": "pw"}
	vc, err := vcenter.Start(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vc.Close() })
	c := &cloud{t: t, http: insecure(t)}
	for i := range 6 {
		c.morefs = append(c.morefs, must(vc.AddVM(vcenter.VMSpec{Name: fmt.Sprintf("vm%d", i), GuestID: "debian12_64Guest", NumCPU: 1, MemoryMB: 64,
			Disks: []vcenter.DiskSpec{{Size: 1 << 20, Thin: true}}, NICs: []vcenter.NICSpec{{}}}))(t))
	}
	u := must(soap.ParseURL(vc.URL().String()))(t)
	u.User = url.UserPassword("root", "pw")
	c.vim = must(govmomi.NewClient(context.Background(), u, true))(t)
	cfg := director.Config{AdminPassword: password, Recorder: c.record, VCenters: []director.VCenter{
		{Name: "vc1", URL: vc.URL().String(), User: "root", Password: "pw"}}}
	if change != nil {
		change(&cfg)
	}
	d, err := director.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.dir = d
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(func() {
		if err := d.CheckSaved(); err != nil {
			t.Errorf("state: %v", err)
		}
	})
	c.fill()
	return c
}

// insecure is a client that trusts any certificate.
func insecure(t *testing.T) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // self-made certificate
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (c *cloud) record(e director.Exchange) {
	documents.Exchange(e)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exchanges = append(c.exchanges, e)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// take hands out a VM that is in vCenter and not in the cloud.
func (c *cloud) take() string {
	c.t.Helper()
	if len(c.morefs) == 0 {
		c.t.Fatal("no VM left in vCenter")
	}
	m := c.morefs[0]
	c.morefs = c.morefs[1:]
	return m
}

func (c *cloud) fill() {
	t, d := c.t, c.dir
	c.acme = must(d.AddOrg(director.OrgSpec{Name: "acme", PublishExternally: true, FullName: "Acme Inc.", Description: "first tenant", DeployedVMQuota: 20, StoredVMQuota: 40,
		Lease: director.OrgLease{DeploymentSeconds: 604800, StorageSeconds: 2592000}}))(t)
	must(d.AddOrg(director.OrgSpec{Name: "globex"}))(t)
	for _, u := range []director.UserSpec{
		{Org: "acme", Name: "ada", Password: password, Role: director.RoleOrgAdmin, Email: "ada@acme.example"},
		{Org: "acme", Name: "bob", Password: password},
		{Org: "acme", Name: "dan", Password: password, Role: "vApp Author"},
		{Org: "acme", Name: "eve", Password: password, Role: director.RoleVAppAutho},
		{Org: "globex", Name: "gil", Password: password, Role: director.RoleOrgAdmin},
	} {
		must(d.AddUser(u))(t)
	}
	c.vdc = must(d.AddVDC(director.VDCSpec{Org: "acme", Name: "vdc1", Description: "the VDC", ResourcePool: "vdc1-pool", VMQuota: 100,
		StorageProfiles: []director.StorageProfileSpec{{Name: "gold", LimitMB: 1 << 20}, {Name: "silver"}}}))(t)
	must(d.AddComputePolicy("vdc1", "small", "1 CPU"))(t)
	must(d.AddOrgNetwork(director.OrgNetworkSpec{VDC: "vdc1", Name: "direct", Mode: "bridged", Gateway: "10.0.0.1", DNS1: "10.0.0.2", DNSSuffix: "acme.example",
		Ranges: []director.IPRange{{Start: "10.0.0.100", End: "10.0.0.110"}}, ExternalName: "internet"}))(t)
	must(d.AddOrgNetwork(director.OrgNetworkSpec{VDC: "vdc1", Name: "routed", Mode: "natRouted", Gateway: "10.1.0.1", EdgeGateway: "edge1",
		Ranges: []director.IPRange{{Start: "10.1.0.100", End: "10.1.0.199"}}, Shared: true}))(t)
	c.shop = must(d.AddVApp(c.shopSpec()))(t)
}

// shopSpec is a vApp with something in every section.
func (c *cloud) shopSpec() director.VAppSpec {
	return director.VAppSpec{
		VDC: "vdc1", Name: "web-shop", Description: "a shop & its <database>", Owner: "bob", Lease: &director.Lease{DeploymentSeconds: 3600, StorageSeconds: 7200},
		Networks: []director.VAppNetworkSpec{
			{Name: "direct", Mode: "bridged", Parent: "direct"},
			{Name: "dmz", Description: "behind NAT", Mode: "natRouted", Parent: "routed", Gateway: "192.168.2.1", DNS1: "192.168.2.1",
				Ranges: []director.IPRange{{Start: "192.168.2.100", End: "192.168.2.199"}}, Retain: true,
				DHCP: &director.DHCPSpec{Enabled: true, Range: director.IPRange{Start: "192.168.2.50", End: "192.168.2.60"}},
				Firewall: &director.FirewallSpec{Enabled: true, DefaultAction: "drop", Rules: []director.FirewallRule{
					{Description: "out", Policy: "allow", SourceIP: "internal", DestIP: "external"},
					{Description: "web", Policy: "allow", Protocols: []string{"Tcp"}, SourceIP: "external", DestIP: "internal", Port: "443"}}},
				NAT:    &director.NATSpec{Enabled: true, Type: "ipTranslation", Policy: "allowTrafficIn", Rules: []director.NATRule{{VM: "web01", NIC: 0, Mode: "automatic"}}},
				Routes: []director.RouteSpec{{Name: "office", Network: "172.16.0.0/16", NextHop: "192.168.2.254", Interface: "Internal"}}},
			{Name: "lan", Mode: "isolated", Gateway: "192.168.9.1", Ranges: []director.IPRange{{Start: "192.168.9.10", End: "192.168.9.20"}}},
		},
		VMs: []director.VMSpec{
			{Name: "web01", Description: "front", MoRef: c.take(), ComputerName: "web01", NICs: []director.NICSpec{{Network: "dmz", Mode: "POOL"}},
				Guest:           director.GuestSpec{Enabled: true, ChangeSID: true, AdminPassword: "hunter2", Script: "#!/bin/sh\necho hi\n"},
				Metadata:        []director.MetadataSpec{{Key: "tier", Value: "web"}},
				ProductSections: []director.ProductSection{{Class: "app", Product: "Shop", Version: "1.0", Properties: []director.ProductProperty{{Key: "port", Type: "string", Default: "80", Value: "443", UserConfigurable: true, Label: "Port"}}}}},
			{Name: "db01", MoRef: c.take(), NICs: []director.NICSpec{{Network: "direct", Mode: "MANUAL", IP: "10.0.0.50"}}, StorageProfile: "silver", ComputePolicy: "small"},
		},
		Startup:         []director.StartupItem{{VM: "db01", Order: 1, StartDelay: 30}, {VM: "web01", Order: 2, StopAction: "guestShutdown"}},
		Metadata:        []director.MetadataSpec{{Key: "backup", Value: "daily"}, {Key: "count", Type: "Number", Value: "3"}, {Domain: "SYSTEM", Key: "secret", Value: "x"}},
		Access:          director.AccessSpec{Users: map[string]string{"eve": "ReadOnly"}},
		ProductSections: []director.ProductSection{{Class: "vapp", Product: "Web shop", Vendor: "Acme"}},
	}
}

// A reply is what the server said.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r *reply) root(t *testing.T) *etree.Element {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(r.body); err != nil || doc.Root() == nil {
		t.Fatalf("answer %d is no document: %v: %s", r.status, err, r.body)
	}
	return doc.Root()
}

// code is the minorErrorCode of a refusal.
func (r *reply) code() string {
	var e struct {
		Code string `xml:"minorErrorCode,attr"`
	}
	_ = xml.Unmarshal(r.body, &e)
	return e.Code
}

// A user is a session.
type user struct {
	c       *cloud
	token   string
	version string
}

func (c *cloud) login(name string) *user { return c.loginAt(name, version) }

func (c *cloud) loginAt(name, version string) *user {
	c.t.Helper()
	path := "/cloudapi/1.0.0/sessions"
	if strings.HasSuffix(name, "@System") {
		path += "/provider"
	}
	req := must(http.NewRequest(http.MethodPost, c.dir.URL().String()+path, nil))(c.t)
	req.SetBasicAuth(name, password)
	req.Header.Set("Accept", "application/*;version="+version)
	r := c.send(req)
	if r.status != http.StatusOK {
		c.t.Fatalf("log in as %s: %d %s", name, r.status, r.body)
	}
	return &user{c, r.header.Get("X-VMWARE-VCLOUD-ACCESS-TOKEN"), version}
}

func (c *cloud) send(req *http.Request) *reply {
	c.t.Helper()
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b := must(io.ReadAll(resp.Body))(c.t)
	return &reply{resp.StatusCode, resp.Header, b}
}

// do sends a request; typ is the media type's last part.
func (u *user) do(method, path, typ, body string) *reply {
	u.c.t.Helper()
	if !strings.HasPrefix(path, "https://") {
		path = u.c.dir.URL().String() + path
	}
	req := must(http.NewRequest(method, path, bytes.NewBufferString(body)))(u.c.t)
	req.Header.Set("Authorization", "Bearer "+u.token)
	req.Header.Set("Accept", "application/*+xml;version="+u.version)
	if strings.Contains(path, "/cloudapi/") {
		req.Header.Set("Accept", "application/json;version="+u.version)
	}
	if typ != "" {
		req.Header.Set("Content-Type", typ)
	}
	return u.c.send(req)
}

func (u *user) get(path string) *etree.Element {
	u.c.t.Helper()
	r := u.do(http.MethodGet, path, "", "")
	if r.status != http.StatusOK {
		u.c.t.Fatalf("GET %s: %d %s", path, r.status, r.body)
	}
	return r.root(u.c.t)
}

// want sends a request and fails unless it is answered with that status.
func (u *user) want(status int, method, path, typ, body string) *reply {
	u.c.t.Helper()
	r := u.do(method, path, typ, body)
	if r.status != status {
		u.c.t.Fatalf("%s %s: got %d, want %d: %s", method, path, r.status, status, r.body)
	}
	return r
}

// task sends a request that begins a task and waits for its end.
func (u *user) task(method, path, typ, body string) *etree.Element {
	u.c.t.Helper()
	r := u.want(http.StatusAccepted, method, path, typ, body)
	return u.wait(r.root(u.c.t).SelectAttrValue("href", ""))
}

// run is task for work that must succeed.
func (u *user) run(method, path, typ, body string) {
	u.c.t.Helper()
	if e := u.task(method, path, typ, body); e.SelectAttrValue("status", "") != "success" {
		u.c.t.Fatalf("%s %s: task: %s", method, path, write(e))
	}
}

func (u *user) wait(href string) *etree.Element {
	u.c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		e := u.get(href)
		switch e.SelectAttrValue("status", "") {
		case "queued", "preRunning", "running":
		default:
			return e
		}
	}
	u.c.t.Fatalf("task %s does not end", href)
	return nil
}

// made waits for the task inside a vApp that is being made and reads it anew.
func (u *user) made(r *reply) *etree.Element {
	u.c.t.Helper()
	e := r.root(u.c.t)
	if t := e.FindElement("./Tasks/Task"); t != nil {
		if done := u.wait(t.SelectAttrValue("href", "")); done.SelectAttrValue("status", "") != "success" {
			u.c.t.Fatalf("task: %s", write(done))
		}
	}
	return u.get(e.SelectAttrValue("href", ""))
}

func write(e *etree.Element) string {
	d := etree.NewDocument()
	d.SetRoot(e.Copy())
	s, _ := d.WriteToString()
	return s
}

// texts are the texts of the elements at a path.
func texts(e *etree.Element, path string) []string {
	var out []string
	for _, f := range e.FindElements(path) {
		out = append(out, f.Text())
	}
	return out
}

func textAt(e *etree.Element, path string) string {
	if f := e.FindElement(path); f != nil {
		return f.Text()
	}
	return ""
}

func (c *cloud) vappPath() string { return "/api/vApp/vapp-" + c.shop }

func (c *cloud) vm(moref string) *object.VirtualMachine {
	return object.NewVirtualMachine(c.vim.Client, vmRef(moref))
}

func vmRef(moref string) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "VirtualMachine", Value: moref}
}
