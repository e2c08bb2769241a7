package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/internal/vcd"
)

// vappIn finds a vApp by name in a VDC.
func (e *env) vappIn(vdc, name string) *vcd.VApp {
	e.t.Helper()
	refs, err := e.vcd.VApps(e.t.Context(), "")
	if err != nil {
		e.t.Fatal(err)
	}
	for _, r := range refs {
		if r.Name == name && r.VDCName == vdc {
			vapp, err := e.vcd.VApp(e.t.Context(), r.ID)
			if err != nil {
				e.t.Fatal(err)
			}
			return vapp
		}
	}
	e.t.Fatalf("no vApp %s in VDC %s", name, vdc)
	return nil
}

func (e *env) section(href, below string) string {
	e.t.Helper()
	doc, err := e.vcd.Get(e.t.Context(), strings.TrimSuffix(href+"/"+below, "/"))
	if err != nil {
		e.t.Fatal(err)
	}
	return string(doc.Raw)
}

// reasons lists why fields differ.
func reasons(r *restore.Result) string {
	var out []string
	for _, d := range r.Differences {
		if !slices.Contains(out, d.Reason) {
			out = append(out, d.Reason)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestAVAppIsCopiedIntoAnotherVDCWithOtherNames(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	sums := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overrides: plan.Overrides{
		VDC: "acme-vdc2", Networks: map[string]string{"acme-routed": "acme-staging"}, StorageProfiles: map[string]string{"silver": "gold"},
		Owner: "bugs", Users: map[string]string{"bugs": "wile"}, Lease: &plan.Lease{Deployment: "5d", Storage: "never"},
		VMs: map[string]plan.VMOverrides{
			"web01": {Name: "front", NICs: map[string]plan.NICOverride{"0": {IP: "192.168.71.11", MAC: "00:50:56:0b:00:01"}, "1": {Mode: "dhcp"}}},
			"db01":  {NICs: map[string]plan.NICOverride{"1": {Network: "shop-back", Mode: "pool"}}},
		},
	}}})
	if result.Plan.Mode != plan.ModeCopy {
		t.Errorf("mode %s", result.Plan.Mode)
	}
	got := e.vappIn("acme-vdc2", "web-shop")
	front, db := vmOf(t, got, "front"), vmOf(t, got, "db01")
	if n := front.NICs[0]; n.IP != "192.168.71.11" || n.Mode != "MANUAL" || n.MAC != "00:50:56:0b:00:01" {
		t.Errorf("NIC 0 of front: %+v", n)
	}
	if n := front.NICs[1]; n.Mode != "DHCP" || n.MAC == "00:50:56:0a:00:11" {
		t.Errorf("NIC 1 of front: %+v", n)
	}
	if n := db.NICs[1]; n.Network != "shop-back" || n.Mode != "POOL" {
		t.Errorf("NIC 1 of db01: %+v", n)
	}
	if got.Owner.Name != "bugs" {
		t.Errorf("owner %s", got.Owner.Name)
	}
	for below, want := range map[string]string{
		"startupSection/":       `id="front"`,
		"controlAccess/":        `name="wile"`,
		"leaseSettingsSection/": "<DeploymentLeaseInSeconds>432000<",
		"networkConfigSection/": `name="acme-staging"`,
	} {
		if doc := e.section(got.Href, below); !strings.Contains(doc, want) {
			t.Errorf("%s has no %s:\n%s", below, want, doc)
		}
	}
	if doc := e.section(got.Href, "networkConfigSection/"); strings.Count(doc, "<VAppScopedVmId>") != 2 {
		t.Errorf("NAT rules: %s", doc)
	}
	for _, want := range []string{"by override --vm-name web01=front", "by override --network acme-routed=acme-staging", "by override --owner bugs", "by override --user bugs=wile", "by override --lease", "by override --nic web01:0=shop-front,ip=192.168.71.11"} {
		if !strings.Contains(reasons(result), want) {
			t.Errorf("no reason %q among\n%s", want, reasons(result))
		}
	}
	renamed := map[string]string{}
	for key, sum := range sums {
		renamed[strings.Replace(key, "web01/", "front/", 1)] = sum
	}
	sameSums(t, e.sums(got), renamed)
	e.tidy(got)
}

func TestAVAppIsCopiedIntoAnotherOrganization(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	overrides := plan.Overrides{
		VDC: "globex/globex-vdc1", Networks: map[string]string{"acme-routed": "globex-routed"}, StorageProfiles: map[string]string{"*": "bronze"},
		Owner: "homer",
	}
	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "shop-of-globex", Overrides: overrides}})
	got := e.vapp("shop-of-globex")
	if got.Org.Name != "globex" || got.Owner.Name != "homer" {
		t.Errorf("org %s, owner %s", got.Org.Name, got.Owner.Name)
	}
	for _, vm := range got.VMs {
		if vm.StorageProfile.Name != "bronze" {
			t.Errorf("vm %s: storage profile %s", vm.Name, vm.StorageProfile.Name)
		}
	}
	// The organization has no user bugs: that is said, and stops nothing.
	if !slices.ContainsFunc(result.Plan.Conflicts, func(c plan.Conflict) bool { return c.Kind == plan.KindUserGone && c.Object == "user bugs" }) {
		t.Errorf("conflicts: %+v", result.Plan.Conflicts)
	}
	e.tidy(got)
}

func TestPain3AMissingOrgNetworkDoesNotBlockTheRestore(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("acme/acme-vdc1/wiki")
	e.destroy(e.vapp("wiki"))
	// The other vApps hang from acme-routed; nothing hangs from this one now.
	networks, err := e.vcd.VDCNetworks(t.Context(), point.VDC.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range networks {
		if n.Name == "acme-direct" {
			if _, err := e.vcd.DoTask(t.Context(), vcd.Request{Method: http.MethodDelete, Href: "/api/admin/network/" + vcd.UUID(n.ID)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	result, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID})
	if !errors.Is(err, app.ErrPartial) || !strings.Contains(fmt.Sprint(err), "network acme-direct") {
		t.Fatalf("got %v, want a partial restore that names the network", err)
	}
	for _, d := range result.Unexplained() {
		t.Errorf("%s: %s: got %q, want %q", d.Document, d.Field, d.Got, d.Want)
	}
	got := e.vapp("wiki")
	if n := got.Networks[0]; n.FenceMode != "isolated" || n.ParentHref != "" {
		t.Errorf("network: %+v", n)
	}
	if n := vmOf(t, got, "wiki01").NICs[0]; n.IP != "172.20.9.21" || n.Network != "acme-direct" || n.MAC != "00:50:56:0a:00:30" {
		t.Errorf("NIC: %+v", n)
	}
	e.tidy(got)
}

func TestPain3APlacementPolicyThatIsNotTheDefaultComesBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	policy := e.placementPolicy("acme-vdc1", "oracle-hosts")
	vapp := e.vapp("wiki")
	vm := vmOf(t, vapp, "wiki01")
	err := e.vcd.ReconfigureVM(t.Context(), vm.Href, []byte(`<Vm xmlns="http://www.vmware.com/vcloud/v1.5" name="wiki01"><ComputePolicy><VmPlacementPolicy href="`+policy.Href+`" id="`+policy.ID+`"/></ComputePolicy></Vm>`))
	if err != nil {
		t.Fatal(err)
	}
	point := e.backup("acme/acme-vdc1/wiki")
	e.destroy(e.vapp("wiki"))
	e.restore(app.RestoreRequest{Point: point.ID})
	got := vmOf(t, e.vapp("wiki"), "wiki01")
	if len(got.ComputePolicies) == 0 || got.ComputePolicies[0].Name != "oracle-hosts" {
		t.Errorf("policies %+v", got.ComputePolicies)
	}
}

// placementPolicy makes a placement policy and offers it in a VDC.
func (e *env) placementPolicy(vdc, name string) vcd.Ref {
	e.t.Helper()
	ctx := e.t.Context()
	id := e.vapp("wiki").VDC.ID
	href := "/api/admin/vdc/" + vcd.UUID(id)
	doc, err := e.vcd.Get(ctx, href)
	if err != nil {
		e.t.Fatal(err)
	}
	provider := vcd.UUID(between(string(doc.Raw), `<ProviderVdcReference href="`, `"`))
	if _, err := e.vcd.Do(ctx, vcd.Request{Method: http.MethodPost, Href: "/cloudapi/2.0.0/vdcComputePolicies", ContentType: "application/json",
		Body: []byte(`{"name": "` + name + `", "policyType": "VdcVmPolicy", "pvdcId": "urn:vcloud:providervdc:` + provider + `"}`)}); err != nil {
		e.t.Fatal(err)
	}
	all, err := e.vcd.Do(ctx, vcd.Request{Method: http.MethodGet, Href: "/cloudapi/2.0.0/vdcComputePolicies?pageSize=128"})
	if err != nil {
		e.t.Fatal(err)
	}
	var urn string
	for _, part := range strings.Split(string(all.Body), "{") {
		if strings.Contains(part, `"name":"`+name+`"`) {
			urn = between(part, `"id":"`, `"`)
		}
	}
	refs := e.section(e.vcd.SiteURL()+href, "computePolicies")
	at := strings.LastIndex(refs, "</VdcComputePolicyReferences>")
	policy := vcd.Ref{ID: urn, Name: name, Href: e.vcd.SiteURL() + "/cloudapi/2.0.0/vdcComputePolicies/" + urn}
	body := refs[:at] + `<VdcComputePolicyReference href="` + policy.Href + `" id="` + urn + `" name="` + name + `"/>` + refs[at:]
	if _, err := e.vcd.Do(ctx, vcd.Request{Method: http.MethodPut, Href: href + "/computePolicies", ContentType: "application/vnd.vmware.vcloud.vdcComputePolicyReferences+xml", Body: []byte(body)}); err != nil {
		e.t.Fatal(err)
	}
	return policy
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}

func TestASavedPlanIsAppliedOrRefused(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("acme/acme-vdc1/wiki")
	q := app.RestoreRequest{Point: point.ID, DryRun: true, Options: plan.Options{As: "wiki-2"}}
	result, err := e.app(nil).Restore(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := result.Plan.Save()
	if err != nil {
		t.Fatal(err)
	}
	saved, err := plan.ParseFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	q = app.RestoreRequest{Point: saved.Point, Options: saved.Options, Saved: saved}
	e.restore(q)
	e.tidy(e.vapp("wiki-2"))
	// The name is taken now; the addresses that the plan had are, too.
	if _, err := e.app(nil).Restore(t.Context(), q); !errors.Is(err, plan.ErrConflict) {
		t.Errorf("again: %v", err)
	}
	e.destroy(e.vapp("wiki-2"))
	if err := e.cloud.SetDatastoreState("hdd-01", "inaccessible"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.app(nil).Restore(t.Context(), q); !errors.Is(err, plan.ErrConflict) || !strings.Contains(err.Error(), `was "hdd-01", is "nvme-01"`) {
		t.Errorf("with another datastore: %v", err)
	}
	if e.find("wiki-2") != nil {
		t.Error("something was made")
	}
}

func TestDocumentsAloneTakeAnotherNetwork(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("acme/acme-vdc1/wiki")
	overrides := plan.Overrides{Networks: map[string]string{"acme-direct": "acme-routed"}}
	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{
		ConfigOnly: true, Sections: []string{plan.SectionNetworks, plan.SectionNICs}, Overrides: overrides,
	}})
	got := e.vapp("wiki")
	if n := got.Networks[0]; n.Name != "acme-routed" || n.ParentName != "acme-routed" {
		t.Errorf("network: %+v", n)
	}
	if n := vmOf(t, got, "wiki01").NICs[0]; n.Network != "acme-routed" || !strings.HasPrefix(n.IP, "10.20.") || n.Mode != "POOL" {
		t.Errorf("NIC: %+v", n)
	}
	if !slices.ContainsFunc(result.Plan.Conflicts, func(c plan.Conflict) bool { return c.Kind == plan.KindIPOutside }) {
		t.Errorf("conflicts: %+v", result.Plan.Conflicts)
	}
	e.tidy(got)
}

func TestAnOverwriteTakesOverrides(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	before := e.vapp("web-shop")
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true, Overrides: plan.Overrides{
		Name: "shop-of-old", StorageProfiles: map[string]string{"*": "silver"}, Owner: "bugs",
		VMs: map[string]plan.VMOverrides{"db01": {Name: "db-main", NICs: map[string]plan.NICOverride{"0": {IP: "192.168.72.21"}}}},
	}}})
	got := e.vapp("shop-of-old")
	if got.ID != before.ID || got.Owner.Name != "bugs" {
		t.Errorf("id %s, owner %s", got.ID, got.Owner.Name)
	}
	db := vmOf(t, got, "db-main")
	if db.ID != vmOf(t, before, "db01").ID || db.NICs[0].IP != "192.168.72.21" || db.StorageProfile.Name != "silver" {
		t.Errorf("db-main: %+v", db)
	}
	if doc := e.section(got.Href, "startupSection/"); !strings.Contains(doc, `id="db-main"`) {
		t.Errorf("startup: %s", doc)
	}
	e.tidy(got)
}

func TestAMediumIsInsertedAgain(t *testing.T) {
	t.Parallel()
	text := strings.Replace(string(cloud.DefaultYAML()), "        vms:\n        - name: wiki01\n", "        vms:\n        - name: wiki01\n          cdDrive: true\n", 1)
	text = strings.Replace(text, "    users:\n    - {name: admin, fullName: Ada Acme", "    catalogs:\n    - name: isos\n      media:\n      - {name: tools.iso, size: 1MiB}\n      - {name: newer.iso, size: 1MiB}\n    users:\n    - {name: admin, fullName: Ada Acme", 1)
	inventory, err := cloud.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, inventory)
	media, err := e.vcd.Media(t.Context(), e.vapp("wiki").Org.ID)
	if err != nil || len(media) != 2 {
		t.Fatalf("%v: %+v", err, media)
	}
	for _, m := range media {
		if m.Name == "tools.iso" {
			if err := e.vcd.InsertMedia(t.Context(), vmOf(t, e.vapp("wiki"), "wiki01").Href, m.Href); err != nil {
				t.Fatal(err)
			}
		}
	}
	point := e.backup("acme/acme-vdc1/wiki")
	e.destroy(e.vapp("wiki"))
	for want, overrides := range map[string]plan.Overrides{"tools.iso": {}, "newer.iso": {Media: map[string]string{"tools.iso": "newer.iso"}}} {
		result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overrides: overrides}})
		got := e.vapp("wiki")
		if doc := e.section(vmOf(t, got, "wiki01").Href, ""); !strings.Contains(doc, `name="`+want+`"`) {
			t.Errorf("%s is not inserted: %q", want, result.Warnings)
		}
		e.destroy(got)
	}
}
