package director_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/beevik/etree"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/director"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// A fastCloud has VDCs with and without fast provisioning, on two datastores,
// and a template of one VM on the first.
type fastCloud struct {
	*cloud
	ada, sys *user
	vdcs     map[string]string // id by name
	template string            // path
	source   string            // moref of its VM
}

func newFastCloud(t *testing.T, change func(*director.Config)) *fastCloud {
	c := newCloudOn(t, vcenter.Config{Datastores: []vcenter.Datastore{{Name: "near"}, {Name: "far"}}}, change)
	f := &fastCloud{cloud: c, vdcs: map[string]string{}, source: c.take()}
	for _, v := range []struct {
		name, store string
		fast        bool
	}{{"plain", "near", false}, {"fast", "near", true}, {"fast far", "far", true}} {
		f.vdcs[v.name] = must(c.dir.AddVDC(director.VDCSpec{Org: "acme", Name: v.name, ResourcePool: "vdc1-pool", Fast: v.fast,
			StorageProfiles: []director.StorageProfileSpec{{Name: "any " + v.name, Datastores: []string{v.store}}}}))(t)
	}
	k := must(c.dir.AddCatalog(director.CatalogSpec{Org: "acme", Name: "golden", Owner: "ada"}))(t)
	f.template = "/api/vAppTemplate/vappTemplate-" + must(c.dir.AddTemplate(director.TemplateSpec{Catalog: k, VAppSpec: director.VAppSpec{
		VDC: "fast", Name: "tiny", Owner: "ada", VMs: []director.VMSpec{{Name: "tiny", MoRef: f.source}}}}))(t)
	f.again()
	return f
}

// again logs in anew.
func (f *fastCloud) again() { f.ada, f.sys = f.login("ada@acme"), f.login(adminName) }

// vmOf is the only VM of a vApp, as the provider sees it.
func (f *fastCloud) vmOf(a *etree.Element) *etree.Element {
	return f.sys.get(a.FindElement("./Children/Vm").SelectAttrValue("href", ""))
}

func (f *fastCloud) instantiateIn(vdc, name string) *etree.Element {
	f.t.Helper()
	return f.vmOf(f.ada.made(f.ada.want(http.StatusCreated, http.MethodPost, "/api/vdc/"+f.vdcs[vdc]+"/action/instantiateVAppTemplate",
		cloudType+"instantiateVAppTemplateParams+xml", f.instantiate(name, f.dir.URL().String()+f.template, ""))))
}

// disk is the file of a VM's disk and the one below it.
func (f *fastCloud) disk(vm *etree.Element) (file, parent string) {
	f.t.Helper()
	b := f.properties(textAt(vm, ".//VmVimObjectRef/MoRef")).Config.Hardware
	for _, d := range b.Device {
		if x, is := d.(*types.VirtualDisk); is {
			flat := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			if flat.Parent != nil {
				parent = flat.Parent.FileName
			}
			return flat.FileName, parent
		}
	}
	f.t.Fatal("no disk")
	return "", ""
}

func (f *fastCloud) shadows() []*etree.Element {
	f.t.Helper()
	return f.sys.get("/api/query?type=adminShadowVM").FindElements("./AdminShadowVMRecord")
}

// snapshotsOf counts the snapshots of a VM in vCenter.
func (f *fastCloud) snapshotsOf(moref string) int {
	f.t.Helper()
	var m mo.VirtualMachine
	if err := f.vm(moref).Properties(context.Background(), vmRef(moref), []string{"snapshot"}, &m); err != nil {
		f.t.Fatal(err)
	}
	if m.Snapshot == nil {
		return 0
	}
	return len(m.Snapshot.RootSnapshotList)
}

const chainPath = ".//VirtualDisksMaxChainLength"

func TestFastProvisioning(t *testing.T) {
	t.Parallel()
	f := newFastCloud(t, nil)
	for _, tc := range []struct{ name, vdc, chain, store, parent, shadows string }{
		{"without it copies are full", "plain", "1", "[near]", "", "0"},
		{"copies hang from the template's disk", "fast", "2", "[near]", "[near] vm2", "0"},
		{"on another datastore from a shadow's", "fast far", "2", "[far]", "[far] tiny-shadow", "1"},
		{"of which there is one", "fast far", "2", "[far]", "[far] tiny-shadow", "1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := f.instantiateIn(tc.vdc, tc.name)
			file, parent := f.disk(m)
			if got := textAt(m, chainPath); got != tc.chain || !strings.HasPrefix(file, tc.store) {
				t.Errorf("chain %s, file %s", got, file)
			}
			if !strings.HasPrefix(parent, tc.parent) || tc.parent == "" && parent != "" {
				t.Errorf("it hangs from %q", parent)
			}
			if n := len(f.shadows()); fmt.Sprint(n) != tc.shadows {
				t.Errorf("%d shadows", n)
			}
		})
	}
	t.Run("a template's snapshot is no user's", func(t *testing.T) {
		vm := f.ada.get(f.template).FindElement("./Children/Vm").SelectAttrValue("href", "")
		if f.snapshotsOf(f.source) != 1 || f.ada.get(vm).FindElement("./SnapshotSection/Snapshot") != nil {
			t.Errorf("%d snapshots, %s", f.snapshotsOf(f.source), write(f.ada.get(vm)))
		}
	})
	t.Run("only the provider sees shadows", func(t *testing.T) {
		f.ada.want(http.StatusForbidden, http.MethodGet, "/api/query?type=adminShadowVM", "", "")
		f.ada.want(http.StatusForbidden, http.MethodGet, f.template+"/shadowVms", "", "")
		sh := f.shadows()[0]
		refs := f.sys.get(f.template + "/shadowVms").FindElements("./Reference")
		if len(refs) != 1 || refs[0].SelectAttrValue("href", "") != sh.SelectAttrValue("href", "x") || sh.SelectAttrValue("datastoreName", "") != "far" {
			t.Errorf("got %s", write(sh))
		}
		if n := len(f.ada.get("/api/query?type=vm&filter=name==*shadow*").ChildElements()); n != 0 {
			t.Errorf("%d shadows among the VMs", n)
		}
	})
	t.Run("a template takes its shadows along, what was made of it stays", func(t *testing.T) {
		m := f.instantiateIn("fast far", "last")
		f.ada.run(http.MethodDelete, f.template, "", "")
		if n := len(f.shadows()); n != 0 || f.properties(f.source) != nil {
			t.Errorf("%d shadows", n)
		}
		if _, parent := f.disk(m); parent == "" {
			t.Error("its disk has lost what it hangs from")
		}
		f.ada.run(http.MethodPost, strings.Replace(m.SelectAttrValue("href", ""), f.dir.URL().String(), "", 1)+"/power/action/powerOn", "", "")
	})
}

func TestALinkedCloneGrowsWhenItIsConsolidated(t *testing.T) {
	t.Parallel()
	f := newFastCloud(t, nil)
	m := f.instantiateIn("fast", "linked")
	href := m.SelectAttrValue("href", "")
	disk := m.FindElement("./VmSpecSection/DiskSection/DiskSettings")
	id, mb := textAt(disk, "./DiskId"), 0
	_, _ = fmt.Sscan(textAt(disk, "./SizeMb"), &mb)
	grown := specAt(textAt(m, "./VmSpecSection/HardwareVersion"), `<DiskSection>`+diskSettings(id, mb+4, textAt(disk, "./AdapterType"), 0, 0)+`</DiskSection>`)
	r := f.sys.reconfigure(http.StatusBadRequest, href, "tiny", grown)
	if !strings.Contains(string(r.body), "cannot be modified while the virtual machine has snapshots") {
		t.Errorf("got %s", r.body)
	}
	f.sys.run(http.MethodPost, href+"/action/consolidate", "", "")
	m = f.sys.get(href)
	if file, parent := f.disk(m); parent != "" || textAt(m, chainPath) != "1" || !strings.HasPrefix(file, "[near]") {
		t.Errorf("consolidated, it is %s on %q", file, parent)
	}
	f.sys.reconfigure(http.StatusAccepted, href, "tiny", grown)
	f.sys.run(http.MethodPost, href+"/action/consolidate", "", "") // which there is nothing left to do for
}

func TestLinkedClonesAtTheSameTime(t *testing.T) {
	t.Parallel()
	f := newFastCloud(t, nil)
	var made []*reply
	for i := range 6 {
		vdc := []string{"fast", "fast far"}[i%2]
		made = append(made, f.ada.want(http.StatusCreated, http.MethodPost, "/api/vdc/"+f.vdcs[vdc]+"/action/instantiateVAppTemplate",
			cloudType+"instantiateVAppTemplateParams+xml", f.instantiate(fmt.Sprint("vapp", i), f.dir.URL().String()+f.template, "")))
	}
	for _, r := range made {
		f.ada.made(r)
	}
	if n := len(f.shadows()); n != 1 || f.snapshotsOf(f.source) != 1 {
		t.Errorf("%d shadows, %d snapshots", n, f.snapshotsOf(f.source))
	}
}

func TestFastProvisioningOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	var cfg director.Config
	f := newFastCloud(t, func(d *director.Config) { d.StateDir = t.TempDir(); cfg = *d })
	f.instantiateIn("fast", "one")
	f.instantiateIn("fast far", "two")
	before := f.shadows()[0].SelectAttrValue("href", "")
	if err := f.dir.Close(); err != nil {
		t.Fatal(err)
	}
	f.restart(cfg)
	f.again()
	f.instantiateIn("fast", "three")
	f.instantiateIn("fast far", "four")
	if n := f.shadows(); len(n) != 1 || n[0].SelectAttrValue("href", "") != before || f.snapshotsOf(f.source) != 1 {
		t.Errorf("%d shadows, %d snapshots", len(n), f.snapshotsOf(f.source))
	}
}

// Copies of copies hang from each other, until that gets too long.
func TestChainsOfLinkedClonesEnd(t *testing.T) {
	t.Parallel()
	f := newFastCloud(t, nil)
	m, longest := f.instantiateIn("fast", "first"), 0
	for i := range 40 {
		var n int
		_, _ = fmt.Sscan(textAt(m, chainPath), &n)
		if n == 1 {
			break
		}
		longest = max(longest, n)
		vapp := m.FindElement("./Link[@rel='up']").SelectAttrValue("href", "")
		m = f.vmOf(f.ada.made(f.ada.want(http.StatusCreated, http.MethodPost, "/api/vdc/"+f.vdcs["fast"]+"/action/cloneVApp", cloudType+"cloneVAppParams+xml",
			`<CloneVAppParams `+vcd+fmt.Sprintf(` name="copy %d" deploy="false" powerOn="false"><Source href="`, i)+vapp+`"/><IsSourceDelete>false</IsSourceDelete></CloneVAppParams>`)))
	}
	if got := textAt(m, chainPath); longest != 31 || got != "1" {
		t.Errorf("the longest chain is %d, then came %s", longest, got)
	}
	if moref := textAt(m, ".//VmVimObjectRef/MoRef"); f.snapshotsOf(moref) != 0 {
		t.Error("a copy has a snapshot")
	}
}
