package e2e

import (
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

const jumphost = "acme/acme-vdc2/jumphost"

// discover makes a VM in the resource pool of the VM of another vApp, and has
// vCD find it. It returns the vApp that vCD made.
func (e *env) discover(like *vcd.VApp, name string) *vcd.VApp {
	e.t.Helper()
	ctx := e.t.Context()
	for _, c := range e.configs(like) {
		client := e.vcenters[vcd.URN(like.VMs[0].VimInfo.VCenterHref)]
		place, err := client.RebuildPlace(ctx, c.Disks[0].DatastoreRef)
		if err != nil {
			e.t.Fatal(err)
		}
		o := place.Options(name)
		o.ResourcePool = c.ResourcePool
		spec, _, err := vsphere.SpecFromConfig(c.Raw, o)
		if err != nil {
			e.t.Fatal(err)
		}
		if _, err := client.CreateVM(ctx, spec); err != nil {
			e.t.Fatal(err)
		}
	}
	if err := e.cloud.Director().Discover(ctx); err != nil {
		e.t.Fatal(err)
	}
	return e.vapp("Discovered - " + name)
}

// TestStandaloneAndDiscoveredAreToldApart: vCD calls both isAutoNature.
func TestStandaloneAndDiscoveredAreToldApart(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	found := e.discover(e.vapp("jumphost"), "stray")
	for name, want := range map[string]restorepoint.Nature{
		jumphost:   restorepoint.NatureStandalone,
		"wiki":     restorepoint.NatureVApp,
		found.Name: restorepoint.NatureDiscovered,
	} {
		listed := e.nature(name)
		point := e.backup(name)
		if listed != want || point.Nature != want || point.State != restorepoint.Complete {
			t.Errorf("%s: listed as %s, %s in a point that is %s %v; want %s", name, listed, point.Nature, point.State, point.Problems, want)
		}
		if again := e.nature(name); again != want {
			t.Errorf("%s: %s after the backup, want %s", name, again, want)
		}
	}
	e.tidy(e.vapp(found.Name))
	for _, c := range e.configs(found) {
		if c.OfCloudDirector() {
			t.Error("the backup made vCD adopt the VM")
		}
	}
}

func (e *env) nature(selector string) restorepoint.Nature {
	e.t.Helper()
	items, err := e.app(nil).List(e.t.Context(), []string{selector})
	if err != nil || len(items) == 0 {
		e.t.Fatalf("list %s: %+v, %v", selector, items, err)
	}
	return items[0].Nature
}

// A standalone VM of an administrator's belongs to the same user as what vCD
// discovers.
func TestAStandaloneVMOfTheSystemIsNotTakenForDiscovered(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("jumphost")
	e.backup(jumphost)
	user, err := e.vcd.UserByName(t.Context(), e.systemOrg(), "system")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.vcd.SetOwner(t.Context(), before.Href, user.Href); err != nil {
		t.Fatal(err)
	}
	if got := e.nature(jumphost); got != restorepoint.NatureStandalone {
		t.Errorf("listed as %s", got)
	}
	if p := e.backupWith(app.BackupRequest{Selectors: []string{jumphost}, SamplePercent: -1}); p.Nature != restorepoint.NatureStandalone {
		t.Errorf("backed up as %s", p.Nature)
	}
}

// systemOrg is the URN of the provider's organization.
func (e *env) systemOrg() string {
	e.t.Helper()
	orgs, err := e.vcd.Orgs(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	for _, o := range orgs {
		if o.Name == "System" {
			return o.ID
		}
	}
	e.t.Fatal("no org System")
	return ""
}
