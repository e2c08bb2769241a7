package vcd_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/internal/sim/record"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/vcd"
)

// inventory is a small cloud with names that tenants do choose.
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
    networks: [pg]
    datastores:
    - {name: ds1, capacity: 1TiB}
  orgs:
  - name: acme
    lease: {deployment: 30d, storage: 90d}
    users:
    - {name: wile, role: vApp User, password: pw}
    - {name: bugs, role: vApp Author, password: pw}
    - {name: ada, role: Organization Administrator, password: pw}
    vdcs:
    - name: vdc1
      vcenter: vc1
      storageProfiles:
      - {name: gold, datastore: ds1, default: true}
      networks:
      - {name: lan, type: isolated, portGroup: pg, gateway: 10.1.0.1, netmask: 255.255.255.0, ranges: [10.1.0.10-10.1.0.99]}
      vapps:
      - name: 'Büro; (a, b) "x" 🍏'
        owner: wile
        access:
          users:
          - {user: bugs, level: Change}
        networks:
        - {name: back, type: isolated, gateway: 192.168.9.1, netmask: 255.255.255.0, ranges: [192.168.9.10-192.168.9.20]}
        metadata:
        - {key: team, value: "R&D, <core>"}
        - {key: sla, value: platinum, domain: system, visibility: readonly}
        vms:
        - name: db01
          guestID: debian12_64Guest
          cpus: 1
          memory: 64MiB
          disks: [{size: 4MiB}]
          nics: [{network: back, mode: pool}]
      - name: empty
        owner: bugs
`

const awkward = `Büro; (a, b) "x" 🍏`

// A site is a simulated cloud, a session with it, and what was said.
type site struct {
	*vcd.Client
	cloud *cloud.Cloud
	ca    string
}

// documents keeps what went to and fro, to be checked in the end.
var documents *record.Recorder

func TestMain(m *testing.M) {
	os.Exit(record.Suite(func(r *record.Recorder) int {
		documents = r
		return m.Run()
	}))
}

func start(t *testing.T) *site { return startWith(t, inventory) }

func startWith(t *testing.T, inventory string) *site {
	t.Helper()
	parsed, err := cloud.Parse([]byte(inventory))
	if err != nil {
		t.Fatal(err)
	}
	s := &site{}
	s.cloud, err = cloud.Start(cloud.Options{Inventory: parsed, Dir: t.TempDir(), Recorder: documents.Exchange})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cloud.Close() })
	s.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(s.ca, s.cloud.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Client = s.login(t, "administrator@System", "admin-pw")
	return s
}

func (s *site) login(t *testing.T, user, password string) *vcd.Client {
	t.Helper()
	c, err := vcd.Connect(t.Context(), vcd.Options{
		URL: s.cloud.Director().URL().String(), User: user, Password: password,
		TLS: vcd.TLS{CAFile: s.ca}, PollInterval: time.Millisecond, RetryTimeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func TestTenantsSeeTheirVAppsInTheirOrg(t *testing.T) {
	t.Parallel()
	s := start(t)
	for user, want := range map[string][]string{
		"ada":  {awkward, "empty"}, // administers the organization
		"wile": {awkward},          // a vApp User: what is his own
	} {
		c := s.login(t, user+"@ACME", "pw")
		found, err := c.VApps(t.Context(), "")
		var names []string
		for _, v := range found {
			names = append(names, v.Name)
			if v.OrgName != "acme" || v.OrgID != s.vapp(t, v.Name).OrgID || v.VDCName != "vdc1" {
				t.Errorf("%s: %+v", user, v)
			}
		}
		if slices.Sort(names); err != nil || !slices.Equal(names, slices.Sorted(slices.Values(want))) {
			t.Errorf("%s: %q, %v, want %q", user, names, err, want)
		}
	}
}

// vapp finds a vApp by its name.
func (s *site) vapp(t *testing.T, name string) vcd.VAppRef {
	t.Helper()
	all, err := s.VApps(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(v vcd.VAppRef) bool { return v.Name == name })
	if i < 0 {
		t.Fatalf("no vApp named %s: %+v", name, all)
	}
	return all[i]
}

// The query service takes the backslash before a character that the filter
// language gives a meaning (VMware Cloud Director API Programming Guide 10.6,
// Query Parameters, filter).
func TestFilterOnASimulatedCloud(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, name := range []string{awkward, "empty"} {
		found, err := s.VApps(t.Context(), vcd.Filter("name==", name))
		if err != nil || len(found) != 1 || found[0].Name != name {
			t.Errorf("vApps named %s: %+v, %v", name, found, err)
		}
	}
}

func TestInventoryOfASimulatedCloud(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	got := s.vapp(t, awkward)
	if got.OrgName != "acme" || got.VDCName != "vdc1" || got.OwnerName != "wile" || got.VMCount != 1 || got.InMaintenance {
		t.Errorf("%+v", got)
	}
	vms, err := s.VMs(ctx, vcd.Filter("container==", got.Href))
	if err != nil || len(vms) != 1 || vms[0].MoRef == "" || vms[0].VAppID != got.ID {
		t.Errorf("VMs %+v, %v", vms, err)
	}
	servers, err := s.VimServers(ctx)
	if err != nil || len(servers) != 1 || servers[0].UUID == "" || servers[0].ID != vms[0].VCenter {
		t.Errorf("vCenters %+v, %v; VM in %s", servers, err, vms[0].VCenter)
	}
	user, err := s.UserByName(ctx, got.OrgID, "bugs")
	if err != nil || user.Name != "bugs" {
		t.Errorf("user %+v, %v", user, err)
	}
	if _, err := s.UserByName(ctx, got.OrgID, "nobody"); !errors.Is(err, vcd.ErrNoUser) {
		t.Errorf("no user: %v", err)
	}
	networks, err := s.VDCNetworks(ctx, got.VDCID)
	if err != nil || len(networks) != 1 || networks[0].Name != "lan" {
		t.Errorf("networks %+v, %v", networks, err)
	}
	profiles, err := s.StorageProfiles(ctx, got.VDCID)
	if err != nil || len(profiles) != 1 || profiles[0].Name != "gold" {
		t.Errorf("storage profiles %+v, %v", profiles, err)
	}
	v, err := s.VApp(ctx, got.ID)
	if err != nil {
		t.Fatal(err)
	}
	if v.Name != awkward || v.Org.Name != "acme" || v.Owner.Name != "wile" || len(v.VMs) != 1 || len(v.Networks) != 1 {
		t.Errorf("%+v", v)
	}
	vm := v.VMs[0]
	if vm.VimInfo.VMMoRef != vms[0].MoRef || vm.VimInfo.VCenterID != servers[0].ID || len(vm.VimInfo.Datastores) != 1 ||
		vm.StorageProfile.Name != "gold" || len(vm.Disks) != 1 || vm.Disks[0].Capacity != 4<<20 || vm.NICs[0].Mode != "POOL" {
		t.Errorf("%+v", vm)
	}
	if _, err := s.VApp(ctx, "urn:vcloud:vapp:00000000-0000-0000-0000-000000000000"); !vcd.IsNotFound(err) {
		t.Errorf("a vApp that is not there: %v", err)
	}
}

func TestCaptureOfASimulatedVApp(t *testing.T) {
	t.Parallel()
	s := start(t)
	got, err := s.Capture(t.Context(), s.vapp(t, awkward).ID)
	if err != nil {
		t.Fatal(err)
	}
	vm := "vcd/vms/" + vcd.UUID(got.VApp.VMs[0].ID) + "/"
	for _, file := range []string{
		"vcd/vapp.xml", "vcd/owner.xml", "vcd/controlAccess.xml", "vcd/leaseSettingsSection.xml", "vcd/networkConfigSection.xml",
		"vcd/startupSection.xml", "vcd/metadata.xml", "vcd/productSections.xml", vm + "vm.xml", vm + "virtualHardwareSection.xml",
		vm + "networkConnectionSection.xml", vm + "guestCustomizationSection.xml", vm + "metadata.xml",
		"vcd/context/org.xml", "vcd/context/vdc.xml", "vcd/context/orgSettings.xml",
	} {
		if got.Files[file] == nil {
			t.Errorf("%s is absent: %s", file, got.Absent[file])
		}
	}
	users := slices.DeleteFunc(slices.Collect(maps.Keys(got.Files)), func(f string) bool {
		return !strings.HasPrefix(f, "vcd/context/users/") || !strings.HasSuffix(f, ".xml")
	})
	if len(users) != 2 {
		t.Errorf("owner and access list name two users, captured are %q", users)
	}
	for _, file := range slices.Sorted(maps.Keys(got.Absent)) {
		t.Logf("absent: %s: %s", file, got.Absent[file])
	}
}

func TestChangesToASimulatedVApp(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	v := s.vapp(t, awkward)
	for range 2 {
		if err := s.EnterMaintenance(ctx, v.ID); err != nil {
			t.Fatal(err)
		}
	}
	if !s.vapp(t, awkward).InMaintenance {
		t.Error("not in maintenance mode")
	}
	if tasks, err := s.RunningTasks(ctx, v.ID); err != nil || len(tasks) != 0 {
		t.Errorf("running tasks: %v, %v", tasks, err)
	}
	mark := vcd.MetadataEntry{Domain: vcd.DomainSystem, Visibility: "PRIVATE", Key: "vappvault.claim", Type: vcd.StringValue, Value: "a <b> & ü"}
	if err := s.SetMetadata(ctx, v.Href, mark); err != nil {
		t.Fatal(err)
	}
	entries, err := s.Metadata(ctx, v.Href)
	if err != nil || !slices.Contains(entries, mark) || len(entries) != 3 {
		t.Errorf("metadata %+v, %v", entries, err)
	}
	for range 2 {
		if err := s.DeleteMetadata(ctx, v.Href, vcd.DomainSystem, mark.Key); err != nil {
			t.Error(err)
		}
	}
	if entries, err = s.Metadata(ctx, v.Href); err != nil || slices.Contains(entries, mark) {
		t.Errorf("metadata %+v, %v", entries, err)
	}
	bugs, err := s.UserByName(ctx, v.OrgID, "bugs")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetOwner(ctx, v.Href, bugs.Href); err != nil {
		t.Fatal(err)
	}
	if got := s.vapp(t, awkward).OwnerName; got != "bugs" {
		t.Errorf("owner %s", got)
	}
	captured, err := s.Capture(ctx, v.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetControlAccess(ctx, v.Href, captured.Files["vcd/controlAccess.xml"]); err != nil {
		t.Error(err)
	}
	for section, typ := range map[string]string{
		"leaseSettingsSection": vcd.TypeLeaseSettings, "networkConfigSection": vcd.TypeNetworkConfig, "startupSection": vcd.TypeStartup,
		"productSections": vcd.TypeProductSections,
	} {
		if err := s.PutSection(ctx, v.Href+"/"+section+"/", typ, captured.Files["vcd/"+section+".xml"]); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := s.ExitMaintenance(ctx, v.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestComposePowerAndDelete(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	old := s.vapp(t, awkward)
	captured, err := s.Capture(ctx, old.ID)
	if err != nil {
		t.Fatal(err)
	}
	href, err := s.ComposeVApp(ctx, s.Href(old.VDCID), "copy & <more>", "über", captured.Files["vcd/networkConfigSection.xml"])
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.VApp(ctx, href)
	if err != nil || v.Name != "copy & <more>" || v.Description != "über" || len(v.Networks) != 1 || v.Networks[0].Name != "back" {
		t.Errorf("%+v, %v", v, err)
	}
	for range 2 {
		if err := s.DeleteVApp(ctx, href); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PowerOn(ctx, old.Href); err != nil {
		t.Fatal(err)
	}
	if err := s.Undeploy(ctx, old.Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	if v, err := s.VApp(ctx, old.ID); err != nil || v.Deployed {
		t.Errorf("after undeploy: %+v, %v", v, err)
	}
}

func TestImportIntoASimulatedCloud(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	old := s.vapp(t, "empty")
	servers, err := s.VimServers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	profiles, err := s.StorageProfiles(ctx, old.VDCID)
	if err != nil {
		t.Fatal(err)
	}
	var morefs []string
	for _, name := range []string{"first", "second"} {
		moref, err := s.cloud.VCenter("vc1").AddVM(vcenter.VMSpec{
			Name: name, GuestID: "debian12_64Guest", Datastore: "ds1", NumCPU: 1, MemoryMB: 64,
			Disks: []vcenter.DiskSpec{{Size: 1 << 20, Controller: "pvscsi"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		morefs = append(morefs, moref)
	}
	href, err := s.ImportVMAsVApp(ctx, servers[0].Href, vcd.ImportAsVApp{
		Name: "again " + awkward, Description: "rebuilt", VMName: "web & 01", ScopedLocalID: "local-1", ComputerName: "web01",
		MoRef: morefs[0], StorageProfileHref: profiles[0].Href, VDCHref: s.Href(old.VDCID),
		NetworkConfigSection: []byte(`<?xml version="1.0"?><NetworkConfigSection xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
			<ovf:Info>networks</ovf:Info><NetworkConfig networkName="inside"><Configuration><IpScopes><IpScope><IsInherited>false</IsInherited>
			<Gateway>192.168.3.1</Gateway><Netmask>255.255.255.0</Netmask></IpScope></IpScopes><FenceMode>isolated</FenceMode></Configuration></NetworkConfig></NetworkConfigSection>`),
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.ImportVMIntoVApp(ctx, servers[0].Href, vcd.ImportIntoVApp{
		VAppHref: href, VMName: "db <01>", VMDescription: "Büro", ScopedLocalID: "local-2", ComputerName: "db01", MoRef: morefs[1],
	})
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.VApp(ctx, href)
	if err != nil || len(v.VMs) != 2 || v.Name != "again "+awkward || v.Description != "rebuilt" || len(v.Networks) != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	for i, want := range []vcd.VM{
		{Name: "web & 01", VAppScopedLocalID: "local-1", ComputerName: "web01"},
		{Name: "db <01>", VAppScopedLocalID: "local-2", ComputerName: "db01", Description: "Büro"},
	} {
		at := slices.IndexFunc(v.VMs, func(vm vcd.VM) bool { return vm.VimInfo.VMMoRef == morefs[i] })
		if at < 0 {
			t.Errorf("%s did not keep its moref: %+v", morefs[i], v.VMs)
			continue
		}
		got := v.VMs[at]
		if got.Name != want.Name || got.VAppScopedLocalID != want.VAppScopedLocalID || got.ComputerName != want.ComputerName || got.Description != want.Description {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	// What was moved cannot be moved again, and the error says what was tried.
	if _, err := s.ImportVMAsVApp(ctx, servers[0].Href, vcd.ImportAsVApp{Name: "twice", MoRef: morefs[0], VDCHref: s.Href(old.VDCID)}); err == nil ||
		!strings.Contains(err.Error(), "import VM "+morefs[0]+" as vApp twice") {
		t.Errorf("imported twice: %v", err)
	}
}

// What a server of another version does not have, or does not show a tenant,
// is absent and no error.
func TestCaptureOfOlderVersionsAndByTenants(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, versions, user string
		absent               []string
	}{
		{"the oldest version", "apiVersions: ['37.0']", "administrator@System", []string{"/snapshots.json"}},
		{"an administrator of the organization", "", "ada@acme", []string{"vcd/context/providerVDCs/", "vcd/context/vimServers/"}},
		{"a user", "", "wile@acme", []string{"vcd/context/orgSettings.xml", "vcd/context/org.xml"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startWith(t, strings.Replace(inventory, "- id: lab", "- id: lab\n  "+test.versions, 1))
			c := s.Client
			if test.user != "administrator@System" {
				c = s.login(t, test.user, "pw")
			}
			got, err := c.Capture(t.Context(), s.vapp(t, awkward).ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range test.absent {
				for path := range got.Files {
					if strings.Contains(path, part) {
						t.Errorf("%s is there", path)
					}
				}
			}
			for _, must := range []string{"vcd/vapp.xml", "vcd/metadata.xml", "vcd/networkConfigSection.xml", "vcd/controlAccess.xml", "vcd/context/vdc.xml"} {
				if got.Files[must] == nil {
					t.Errorf("%s is absent: %s", must, got.Absent[must])
				}
			}
		})
	}
}
