package e2e

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vcd"
)

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func TestAMissingVAppComesBackWhole(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	want := e.sums(before)
	point := e.backup(webShop)
	if point.State != "complete" {
		t.Fatalf("state %s: %v", point.State, point.Problems)
	}
	e.tidy(e.vapp("web-shop"))
	sameSums(t, e.sums(e.vapp("web-shop")), want)
	e.destroy(e.vapp("web-shop"))

	result := e.restore(app.RestoreRequest{Point: point.ID})

	after := e.vapp("web-shop")
	e.tidy(after)
	sameSums(t, e.sums(after), want)
	if result.Compared < 20 {
		t.Errorf("only %d documents were compared", result.Compared)
	}
	checkShop(t, e, before, after)
	if after.ID == before.ID {
		t.Error("a rebuilt vApp cannot have the id it had")
	}
	for _, d := range result.Differences {
		t.Logf("not equal: %s %s: %q, was %q: %s", d.Document, d.Field, d.Got, d.Want, d.Reason)
	}
}

// checkShop looks at what matters most with the test's own eyes, beside the
// comparison that the restore makes.
func checkShop(t *testing.T, e *env, before, after *vcd.VApp) {
	t.Helper()
	if after.Owner.Name != "wile" || after.Description != before.Description {
		t.Errorf("owner %s, description %q", after.Owner.Name, after.Description)
	}
	for i, vm := range before.VMs {
		j := slices.IndexFunc(after.VMs, func(v vcd.VM) bool { return v.Name == vm.Name })
		if j < 0 {
			t.Errorf("vm %s is missing", vm.Name)
			continue
		}
		got := after.VMs[j]
		if got.VAppScopedLocalID != vm.VAppScopedLocalID || got.StorageProfile.Name != vm.StorageProfile.Name || got.Description != vm.Description {
			t.Errorf("vm %s: %+v, want %+v", vm.Name, got, before.VMs[i])
		}
		want := slices.Clone(vm.NICs)
		for i := range want {
			if want[i].Mode == "POOL" && got.NICs[i].Mode == "MANUAL" {
				want[i].Mode = "MANUAL" // the address was kept
			}
		}
		if !slices.Equal(got.NICs, want) {
			t.Errorf("vm %s: NICs %+v, want %+v", vm.Name, got.NICs, want)
		}
	}
	for _, doc := range []struct{ path, part string }{
		{"/controlAccess/", "bugs"}, {"/controlAccess/", "ReadOnly"},
		{"/leaseSettingsSection/", "<DeploymentLeaseInSeconds>180000<"},
		{"/networkConfigSection/", "<InternalPort>8443<"}, {"/networkConfigSection/", "no telnet, for now"},
		{"/startupSection/", `startDelay="45"`}, {"/productSections/", "com.acme.shop"}, {"/metadata", "chargeback-id"},
	} {
		got, err := e.vcd.Get(t.Context(), after.Href+doc.path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(got.Raw, []byte(doc.part)) {
			t.Errorf("%s: no %s in\n%s", doc.path, doc.part, got.Raw)
		}
	}
	// A NAT rule names its VM by the id within the vApp.
	config, err := e.vcd.Get(t.Context(), after.Href+"/networkConfigSection/")
	if err != nil {
		t.Fatal(err)
	}
	for _, vm := range after.VMs {
		if !bytes.Contains(config.Raw, []byte("<VAppScopedVmId>"+vm.VAppScopedLocalID+"</VAppScopedVmId>")) {
			t.Errorf("no NAT rule names vm %s (%s)", vm.Name, vm.VAppScopedLocalID)
		}
	}
}

func TestOverwriteKeepsEveryIdentity(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	want := e.sums(before)
	files := e.configs(before)
	point := e.backup(webShop)
	e.spoil(before)

	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})

	after := e.vapp("web-shop")
	e.tidy(after)
	sameSums(t, e.sums(after), want)
	checkShop(t, e, before, after)
	if after.ID != before.ID {
		t.Errorf("vApp id %s, was %s", after.ID, before.ID)
	}
	now := e.configs(after)
	for _, vm := range before.VMs {
		j := slices.IndexFunc(after.VMs, func(v vcd.VM) bool { return v.ID == vm.ID })
		if j < 0 || after.VMs[j].VimInfo.VMMoRef != vm.VimInfo.VMMoRef {
			t.Errorf("vm %s: id or moref changed", vm.Name)
		}
		for i, d := range files[vm.Name].Disks {
			n := now[vm.Name].Disks[i]
			if n.Key != d.Key || n.ControllerKey != d.ControllerKey || n.Unit != d.Unit || n.UUID != d.UUID || n.Datastore != d.Datastore {
				t.Errorf("vm %s disk %d: %+v, was %+v", vm.Name, d.Key, n, d)
			}
			if n.FileName == d.FileName {
				t.Errorf("vm %s disk %d: still the old file %s", vm.Name, d.Key, d.FileName)
			}
		}
	}
	for _, vm := range result.VMs {
		if vm.Action != plan.Overwrite {
			t.Errorf("vm %s: %s", vm.Name, vm.Action)
		}
	}
}

// spoil changes everything about the shop that a restore must bring back.
func (e *env) spoil(v *vcd.VApp) {
	e.t.Helper()
	ctx := e.t.Context()
	must := func(err error) {
		e.t.Helper()
		if err != nil {
			e.t.Fatal(err)
		}
	}
	e.write("web01", 0, 1<<20, random(1, 3<<20))
	e.write("db01", 1, 7<<20, random(2, 1<<20))
	must(e.vcd.DeleteMetadata(ctx, v.Href, "GENERAL", "motto"))
	must(e.vcd.SetMetadata(ctx, v.Href, vcd.MetadataEntry{Domain: "GENERAL", Key: "added", Type: vcd.StringValue, Value: "since"}))
	must(e.vcd.SetMetadata(ctx, v.Href, vcd.MetadataEntry{Domain: "GENERAL", Key: "cost-centre", Type: vcd.NumberValue, Value: "1"}))
	const ns = ` xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"`
	must(e.vcd.PutSection(ctx, v.Href, vcd.TypeVApp, []byte(`<VApp`+ns+` name="renamed"><Description>spoilt</Description></VApp>`)))
	must(e.vcd.PutSection(ctx, v.Href+"/leaseSettingsSection/", vcd.TypeLeaseSettings, []byte(`<LeaseSettingsSection`+ns+
		` ovf:required="false"><ovf:Info>x</ovf:Info><DeploymentLeaseInSeconds>7200</DeploymentLeaseInSeconds><StorageLeaseInSeconds>86400</StorageLeaseInSeconds></LeaseSettingsSection>`)))
	must(e.vcd.SetControlAccess(ctx, v.Href, []byte(`<ControlAccessParams`+ns+`><IsSharedToEveryone>false</IsSharedToEveryone></ControlAccessParams>`)))
	users, err := e.vcd.OrgUsers(ctx, v.Org.ID)
	must(err)
	for _, u := range users {
		if u.Name == "admin" {
			must(e.vcd.SetOwner(ctx, v.Href, u.Href))
		}
	}
	config, err := e.vcd.Get(ctx, v.Href+"/networkConfigSection/")
	must(err)
	spoilt := strings.NewReplacer("8443", "9443", "no telnet, for now", "telnet for all").Replace(string(config.Raw))
	must(e.vcd.PutSection(ctx, v.Href+"/networkConfigSection/", vcd.TypeNetworkConfig, []byte(spoilt)))
}

func TestACopyStandsBesideTheOriginal(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	want := e.sums(before)
	point := e.backup(webShop)

	e.restore(app.RestoreRequest{Point: webShop + "@latest", Options: plan.Options{As: "web shop/copy 🚀"}})

	after := e.vapp("web shop/copy 🚀")
	e.tidy(after)
	sameSums(t, e.sums(after), want)
	sameSums(t, e.sums(e.vapp("web-shop")), want)
	macs := map[string]bool{}
	for _, vm := range slices.Concat(before.VMs, after.VMs) {
		for _, nic := range vm.NICs {
			if macs[nic.MAC] {
				t.Errorf("MAC %s is there twice", nic.MAC)
			}
			macs[nic.MAC] = true
		}
	}
	if point.VApp.ID == after.ID {
		t.Error("the copy has the original's id")
	}
}
