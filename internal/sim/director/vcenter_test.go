package director_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/vim25/soap"

	"github.com/vappvault/vappvault/internal/sim/director"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// disks are the files below a folder that hold disks' bytes.
func disks(t *testing.T, dir string) (all []string) {
	t.Helper()
	must(all, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, "-flat.vmdk") {
			all = append(all, path)
		}
		return err
	}))(t)
	return all
}

// TestFilesOfImportedVMs runs against the vCenter simulator that has real
// disks.
func TestFilesOfImportedVMs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	vc, err := vcenter.Start(vcenter.Config{Dir: dir, Networks: []string{"pg"}, ResourcePools: []string{"acme"}, Users: map[string]string{"root": "pw"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vc.Close() })
	c := &cloud{t: t, http: insecure(t)}
	c.dir = must(director.Start(director.Config{AdminPassword: password, Recorder: c.record, VCenters: []director.VCenter{
		{Name: "vc1", URL: vc.URL().String(), User: "root", Password: "pw"}}}))(t)
	t.Cleanup(func() { c.dir.Close() })
	must(c.dir.AddOrg(director.OrgSpec{Name: "acme"}))(t)
	c.vdc = must(c.dir.AddVDC(director.VDCSpec{Org: "acme", Name: "vdc1", ResourcePool: "acme", StorageProfiles: []director.StorageProfileSpec{{Name: "gold"}}}))(t)
	must(c.dir.AddOrgNetwork(director.OrgNetworkSpec{VDC: "vdc1", Name: "lan", Gateway: "10.0.0.1", Portgroup: "pg",
		Ranges: []director.IPRange{{Start: "10.0.0.10", End: "10.0.0.20"}}}))(t)
	moref := must(vc.AddVM(vcenter.VMSpec{Name: "rebuilt", Disks: []vcenter.DiskSpec{{Size: 4 << 20, Thin: true}, {Size: 8 << 20, Controller: "sata"}},
		NICs: []vcenter.NICSpec{{MAC: "00:50:56:01:02:03"}}}))(t)
	before := strings.Join(disks(t, dir), " ")
	u := c.login(adminName)
	vapp := u.made(u.want(http.StatusCreated, http.MethodPost, c.vimServer(u)+"/importVmAsVApp", admin+"importVmAsVAppParams+xml", c.asVApp("back", moref, "true")))
	if after := strings.Join(disks(t, dir), " "); after != before || before == "" {
		t.Errorf("disk files: got %s, want %s", after, before)
	}
	m := vapp.FindElement("./Children/Vm")
	if got := texts(m, "./VmSpecSection/DiskSection/DiskSettings/AdapterType"); strings.Join(got, " ") != "5 6" {
		t.Errorf("adapters: got %v", got)
	}
	if got := textAt(m, ".//MACAddress"); got != "00:50:56:01:02:03" {
		t.Errorf("MAC: got %s", got)
	}
	p := vapp.SelectAttrValue("href", "")
	u.run(http.MethodPost, p+"/power/action/powerOn", "", "")
	u.run(http.MethodPost, p+"/action/createSnapshot", vcloud+"createSnapshotParams+xml", `<CreateSnapshotParams `+xmlns+`/>`)
	if got := textAt(u.get(p), ".//VirtualDisksMaxChainLength"); got != "2" {
		t.Errorf("chain: got %s", got)
	}
	u.run(http.MethodPost, p+"/action/removeAllSnapshots", "", "")
	u.run(http.MethodPost, p+"/action/undeploy", vcloud+"undeployVAppParams+xml", `<UndeployVAppParams `+xmlns+`><UndeployPowerAction>powerOff</UndeployPowerAction></UndeployVAppParams>`)
	u.run(http.MethodDelete, p, "", "")
	if left := disks(t, dir); len(left) != 0 {
		t.Errorf("disk files are left: %v", left)
	}
	t.Run("a VM in the VDC's pool is discovered, one beside it is not", func(t *testing.T) {
		must(vc.AddVM(vcenter.VMSpec{Name: "inside", ResourcePool: "acme"}))(t)
		must(vc.AddVM(vcenter.VMSpec{Name: "beside"}))(t)
		for range 2 {
			if err := c.dir.Discover(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := names(u.get("/api/query?type=adminVApp&filter=isAutoNature==true")); len(got) != 1 || got[0] != "Discovered - inside" {
			t.Errorf("got %v", got)
		}
		href := u.get("/api/query?type=adminVM&filter=name==inside").FindElement("./AdminVMRecord").SelectAttrValue("href", "")
		u.run(http.MethodPost, href+"/action/reconfigureVm", vcloud+"vm+xml", `<Vm `+xmlns+` name="inside"><Description>adopted</Description></Vm>`)
		if got := names(u.get("/api/query?type=adminVApp&filter=isAutoNature==true")); len(got) != 0 {
			t.Errorf("after a change: got %v", got)
		}
	})
	t.Run("what is not fit is left alone, and what is gone is forgotten", func(t *testing.T) {
		at := must(soap.ParseURL(vc.URL().String()))(t)
		at.User = url.UserPassword("root", "pw")
		c.vim = must(govmomi.NewClient(t.Context(), at, true))(t)
		ide := must(vc.AddVM(vcenter.VMSpec{Name: "ide", ResourcePool: "acme", Disks: []vcenter.DiskSpec{{Size: 1 << 20, Controller: "ide"}}}))(t)
		doomed := must(vc.AddVM(vcenter.VMSpec{Name: "doomed", ResourcePool: "acme"}))(t)
		task := must(c.vm(ide).PowerOn(t.Context()))(t)
		if err := task.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		find := func(want ...string) {
			t.Helper()
			if err := c.dir.Discover(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := names(u.get("/api/query?type=adminVApp&filter=isAutoNature==true")); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		find("Discovered - doomed")
		if err := must(c.vm(doomed).Destroy(t.Context()))(t).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		find()
	})
}
