package plan_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// inventory is the cloud when the restore point was made. The vApp that it
// holds is between the marks.
const inventory = `
version: 1
sites:
- id: lab
  admin: {name: administrator, password: admin-pw}
  vcenters:
  - name: vc1
    datacenter: DC
    cluster: c
    hosts: 1
    networks: [pg, pg2]
    datastores:
    - {name: ds1, capacity: 1TiB}
    - {name: ds2, capacity: 2TiB}
  - name: vc2
    datacenter: DC2
    cluster: c2
    hosts: 1
    networks: [pg3]
    datastores:
    - {name: ds9, capacity: 1TiB}
  orgs:
  - name: acme
    lease: {deployment: 30d, storage: 90d}
    users:
    - {name: ada, role: Organization Administrator, password: pw}
    - {name: wile, role: vApp User, password: pw}
    - {name: bugs, role: vApp Author, password: pw}
    vdcs:
    - name: prod
      vcenter: vc1
      storageProfiles:
      - {name: gold, datastore: ds1, default: true}
      - {name: silver, datastore: ds2}
      networks:
      - {name: lan, type: isolated, portGroup: pg, gateway: 10.1.0.1, netmask: 255.255.255.0, ranges: [10.1.0.10-10.1.0.99]}
      - {name: dmz, type: isolated, portGroup: pg2, gateway: 10.2.0.1, netmask: 255.255.255.0, ranges: [10.2.0.10-10.2.0.99]}
      vapps:
#shop
      - name: shop
        owner: wile
        lease: {deployment: 10d, storage: 20d}
        access:
          users:
          - {user: bugs, level: Change}
        networks:
        - {name: lan, type: direct}
        - {name: back, type: isolated, gateway: 192.168.9.1, netmask: 255.255.255.0, ranges: [192.168.9.10-192.168.9.20]}
        vms:
        - name: web
          guestID: debian12_64Guest
          cpus: 2
          memory: 64MiB
          storageProfile: silver
          disks: [{size: 16MiB, storageProfile: silver}]
          nics:
          - {network: lan, mode: pool, ip: 10.1.0.20, mac: "00:50:56:01:00:01"}
          - {network: back, mode: manual, ip: 192.168.9.15, mac: "00:50:56:01:00:02"}
        - name: db
          guestID: debian12_64Guest
          cpus: 2
          memory: 64MiB
          disks: [{size: 16MiB}]
          nics: [{network: lan, mode: manual, ip: 10.1.0.200, mac: "00:50:56:01:00:03"}]
#end
      - name: other
        networks:
        - {name: lan, type: direct}
        vms:
        - name: other01
          guestID: debian12_64Guest
          cpus: 1
          memory: 64MiB
          disks: [{size: 4MiB}]
          nics: [{network: lan, mode: manual, ip: 10.1.0.30, mac: "00:50:56:02:00:01"}]
    - name: spare
      vcenter: vc2
      storageProfiles:
      - {name: gold, datastore: ds9, default: true}
      networks:
      - {name: lan, type: isolated, portGroup: pg3, gateway: 10.3.0.1, netmask: 255.255.255.0, ranges: [10.3.0.10-10.3.0.99]}
  - name: globex
    users:
    - {name: wile, role: vApp User, password: pw}
    vdcs:
    - name: prod
      vcenter: vc1
      storageProfiles:
      - {name: bronze, datastore: ds1, default: true}
`

// gone is the inventory without the vApp.
func gone() string {
	before, rest, _ := strings.Cut(inventory, "#shop\n")
	_, after, _ := strings.Cut(rest, "#end\n")
	return before + after
}

// A world is a running cloud and clients of it.
type world struct {
	t     *testing.T
	cloud *cloud.Cloud
	vcd   *vcd.Client
	byID  map[string]*vsphere.Client // by the UUID of the vimServer
}

func newWorld(t *testing.T, text string) *world {
	t.Helper()
	inv, err := cloud.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, byID: map[string]*vsphere.Client{}}
	if w.cloud, err = cloud.Start(cloud.Options{Inventory: inv, Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(t.TempDir(), "vappvault.yaml")
	if err := w.cloud.WriteConfig(path); err != nil {
		t.Fatal(err)
	}
	conf, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	w.connect(conf.Sites[0])
	return w
}

func (w *world) connect(site config.Site) {
	w.t.Helper()
	ctx := w.t.Context()
	password, err := site.Password.Read(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.vcd, err = vcd.Connect(ctx, vcd.Options{URL: site.URL, User: site.User, Password: password, TLS: vcd.TLS{CAFile: site.CA}, PollInterval: 10 * time.Millisecond}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = w.vcd.Close(context.Background()) })
	servers, err := w.vcd.VimServers(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, vc := range site.VCenters {
		password, err := vc.Password.Read(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		c, err := vsphere.Connect(ctx, vsphere.Options{URL: vc.URL, User: vc.User, Password: password, TLS: vsphere.TLS{CAFile: vc.CA}})
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = c.Close(context.Background()) })
		for _, s := range servers {
			if s.UUID == c.InstanceUUID() {
				w.byID[vcd.UUID(s.Href)] = c
			}
		}
	}
}

func (w *world) find(name string) vcd.VAppRef {
	w.t.Helper()
	refs, err := w.vcd.VApps(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range refs {
		if r.Name == name {
			return r
		}
	}
	w.t.Fatalf("no vApp %s", name)
	return vcd.VAppRef{}
}

// A backup is what a restore point holds, as far as planning looks at it.
type backup struct {
	point *restorepoint.Point
	docs  document.Set
}

// backUp makes a restore point without the bytes.
func (w *world) backUp(name string) backup {
	w.t.Helper()
	ref := w.find(name)
	captured, err := w.vcd.Capture(w.t.Context(), ref.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	v := captured.VApp
	b := backup{docs: document.Set(captured.Files), point: &restorepoint.Point{
		ID: "01POINT", State: restorepoint.Complete,
		Org: restorepoint.Ref{ID: v.Org.ID, Name: v.Org.Name}, VDC: restorepoint.Ref{ID: v.VDC.ID, Name: v.VDC.Name}, VApp: restorepoint.Ref{ID: v.ID, Name: v.Name},
	}}
	for _, vm := range v.VMs {
		info, err := w.byID[vcd.UUID(vm.VimInfo.VCenterHref)].VM(vm.VimInfo.VMMoRef).Config(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		out := restorepoint.VM{
			Ref: restorepoint.Ref{ID: vm.ID, Name: vm.Name}, VCenterHref: vm.VimInfo.VCenterHref, MoRef: vm.VimInfo.VMMoRef, ScopedLocalID: vm.VAppScopedLocalID,
		}
		for _, d := range info.Disks {
			out.Disks = append(out.Disks, restorepoint.Disk{
				Key: d.Key, UUID: d.UUID, Label: d.Label, FileName: d.FileName, Content: restorepoint.DiskContent{Size: d.Capacity, DataBytes: 1 << 20},
			})
		}
		b.point.VMs = append(b.point.VMs, out)
		b.docs["vsphere/"+restorepoint.UUID(vm.ID)+"/config.xml"] = info.Raw
	}
	return b
}

func (w *world) plan(b backup, o plan.Options) (*plan.Plan, error) {
	return plan.Compute(w.t.Context(), plan.Deps{
		VCD: w.vcd, Docs: b.docs,
		VSphere: func(_ context.Context, href string) (*vsphere.Client, error) { return w.byID[vcd.UUID(href)], nil },
	}, b.point, o)
}

// do sends a request as the system administrator.
func (w *world) do(method, href, contentType, body string) {
	w.t.Helper()
	r := vcd.Request{Method: method, Href: href, ContentType: contentType}
	if body != "" {
		r.Body = []byte(body)
	}
	if _, err := w.vcd.DoTask(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
}

// quotas gives an organization a quota.
func (w *world) quotas(kind, urn, pools string) {
	w.t.Helper()
	answer, err := w.vcd.Do(w.t.Context(), vcd.Request{
		Method: http.MethodPut, Href: "/cloudapi/1.0.0/" + kind + "/" + urn + "/quotas", ContentType: "application/json",
		Body: []byte(`{"quotaPools": [{"quotaPoolDefinition": ` + pools + `}]}`),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for range 100 {
		doc, err := w.vcd.Get(w.t.Context(), answer.Header.Get("Location"))
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.Contains(string(doc.Raw), `status="success"`) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatal("quotas are not set")
}
