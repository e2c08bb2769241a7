package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vcd"
)

func (e *env) get(href string) string {
	e.t.Helper()
	doc, err := e.vcd.Get(e.t.Context(), href)
	if err != nil {
		e.t.Fatal(err)
	}
	return string(doc.Raw)
}

func TestOneVMIsOverwrittenAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	want := e.sums(before)
	point := e.backup(webShop)
	e.write("db01", 1, 7*mib, random(2, mib))
	e.write("web01", 0, mib, random(1, mib))
	db := vmOf(t, before, "db01")
	for _, key := range []string{"role", "since"} {
		if err := e.vcd.SetMetadata(t.Context(), db.Href, vcd.MetadataEntry{Domain: "GENERAL", Key: key, Type: vcd.StringValue, Value: "changed"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.vcd.SetMetadata(t.Context(), before.Href, vcd.MetadataEntry{Domain: "GENERAL", Key: "motto", Type: vcd.StringValue, Value: "another"}); err != nil {
		t.Fatal(err)
	}
	spoilt := e.sums(e.vapp("web-shop"))

	result := e.restore(app.RestoreRequest{Point: webShop + "/db01@latest"})

	after := e.vapp("web-shop")
	e.tidy(after)
	got := e.sums(after)
	for disk, sum := range map[string]string{"db01/2000": want["db01/2000"], "web01/2000": spoilt["web01/2000"]} {
		if got[disk] != sum {
			t.Errorf("disk %s: got %s, want %s", disk, got[disk], sum)
		}
	}
	for disk := range want {
		if strings.HasPrefix(disk, "db01/") && got[disk] != want[disk] {
			t.Errorf("disk %s is not what it was", disk)
		}
	}
	now := vmOf(t, after, "db01")
	if now.ID != db.ID || now.VimInfo.VMMoRef != db.VimInfo.VMMoRef {
		t.Errorf("db01 is %s (%s), was %s (%s)", now.ID, now.VimInfo.VMMoRef, db.ID, db.VimInfo.VMMoRef)
	}
	if now.Deployed || !vmOf(t, after, "web01").Deployed {
		t.Error("db01 is to be off, and web01 to run on")
	}
	if m := e.get(db.Href + "/metadata"); strings.Contains(m, "changed") || !strings.Contains(m, "database") {
		t.Errorf("metadata of db01: %s", m)
	}
	if m := e.get(after.Href + "/metadata"); !strings.Contains(m, "another") {
		t.Error("the vApp's own metadata was touched")
	}
	if len(result.VMs) != 1 || result.VMs[0].Action != plan.Overwrite || point.ID != result.Plan.Point.ID {
		t.Errorf("result %+v", result.VMs)
	}
	e.noOrphans()
}

func TestAVMThatIsGoneIsRebuiltIntoItsVApp(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	want := e.sums(before)
	rules := e.get(before.Href + "/networkConfigSection/")
	point := e.backup(webShop)
	db := vmOf(t, before, "db01")
	if err := e.vcd.Undeploy(t.Context(), db.Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	if err := e.vcd.DeleteVM(t.Context(), db.Href); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(e.get(before.Href+"/networkConfigSection/"), db.VAppScopedLocalID) {
		t.Log("the simulator keeps the rules of a VM that is gone")
	}

	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{VMs: []string{"db01"}, Power: plan.PowerAsWas}})

	after := e.vapp("web-shop")
	e.tidy(after)
	now := vmOf(t, after, "db01")
	if now.ID == db.ID || now.VAppScopedLocalID != db.VAppScopedLocalID || !now.Deployed {
		t.Errorf("db01: %+v", now)
	}
	if !vmOf(t, after, "web01").Deployed {
		t.Error("web01 does not run any more")
	}
	if !slices.Equal(natRules(rules), natRules(e.get(after.Href+"/networkConfigSection/"))) {
		t.Errorf("NAT rules: got %q, want %q", natRules(e.get(after.Href+"/networkConfigSection/")), natRules(rules))
	}
	if s := e.get(after.Href + "/startupSection/"); !strings.Contains(s, `startDelay="45"`) {
		t.Errorf("startup section: %s", s)
	}
	if err := e.vcd.Undeploy(t.Context(), after.Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	got := e.sums(e.vapp("web-shop"))
	for disk := range want {
		if strings.HasPrefix(disk, "db01/") && got[disk] != want[disk] {
			t.Errorf("disk %s is not what it was", disk)
		}
	}
}

// natRules are the external ports of a section, in their order.
func natRules(section string) []string {
	var out []string
	for rest := section; ; {
		_, after, ok := strings.Cut(rest, "<ExternalPort>")
		if !ok {
			return out
		}
		port, tail, _ := strings.Cut(after, "<")
		out, rest = append(out, port), tail
	}
}

func TestAVMComesBackBesideTheOneThatIsThere(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	want := e.sums(before)
	point := e.backup(webShop)
	e.write("web01", 0, mib, random(1, mib))

	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{VMs: []string{"web01"}, Beside: true}})
	named := plan.Options{VMs: []string{"web01"}, Beside: true, Overrides: plan.Overrides{VMs: map[string]plan.VMOverrides{"web01": {Name: "web from yesterday"}}}}
	e.restore(app.RestoreRequest{Point: point.ID, Options: named})

	after := e.vapp("web-shop")
	e.tidy(after)
	old := vmOf(t, after, "web01")
	if old.ID != vmOf(t, before, "web01").ID || !old.Deployed {
		t.Error("the VM that was there was touched")
	}
	got := e.sums(after)
	macs := map[string]bool{}
	for _, vm := range after.VMs {
		for _, nic := range vm.NICs {
			if macs[nic.MAC] {
				t.Errorf("vm %s: MAC address %s is there twice", vm.Name, nic.MAC)
			}
			macs[nic.MAC] = true
		}
	}
	ids := map[string]string{}
	for name, c := range e.configs(after) {
		if ids[c.InstanceUUID] != "" {
			t.Errorf("vms %s and %s have the same UUID", name, ids[c.InstanceUUID])
		}
		ids[c.InstanceUUID] = name
	}
	for _, name := range []string{"web01-restored", "web from yesterday"} {
		vm := vmOf(t, after, name)
		if got[name+"/2000"] != want["web01/2000"] {
			t.Errorf("vm %s: its disk is not that of the restore point", name)
		}
		if vm.VAppScopedLocalID == old.VAppScopedLocalID || vm.NICs[0].IP == old.NICs[0].IP {
			t.Errorf("vm %s: %+v", name, vm)
		}
	}
	_, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: named})
	if !errors.Is(err, plan.ErrConflict) {
		t.Errorf("a second VM of one name: %v", err)
	}
}

func TestSelectedVMsAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	shop := e.vapp("web-shop")
	refuse := func(want string, o plan.Options) {
		t.Helper()
		_, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: o})
		if !errors.Is(err, plan.ErrConflict) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a conflict about %q", err, want)
		}
	}
	refuse("is not in the restore point, which has", plan.Options{VMs: []string{"mail01"}})
	if _, err := e.vsphere(vmOf(t, shop, "db01")).CreateSnapshot(t.Context(), tenantSnapshot); err != nil {
		t.Fatal(err)
	}
	refuse("snapshot", plan.Options{VMs: []string{"db01"}})
	if err := e.vcd.EnterMaintenance(t.Context(), shop.ID); err != nil {
		t.Fatal(err)
	}
	refuse("maintenance mode by somebody else", plan.Options{VMs: []string{"web01"}})
	if err := e.vcd.ExitMaintenance(t.Context(), shop.ID); err != nil {
		t.Fatal(err)
	}
	web := vmOf(t, shop, "web01")
	if err := e.vcd.Undeploy(t.Context(), web.Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	if err := e.vcd.DeleteVM(t.Context(), web.Href); err != nil {
		t.Fatal(err)
	}
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{VMs: []string{"web01"}}})
	e.destroy(e.vapp("web-shop"))
	refuse("does not exist any more", plan.Options{VMs: []string{"web01"}})
	if _, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: webShop + "/mail*@latest"}); err == nil || !strings.Contains(err.Error(), "mail*") {
		t.Errorf("a VM that is not in the point: %v", err)
	}
}

func TestARestoreOfOneVMThatFailsIsTakenBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	e.write("db01", 1, 7*mib, random(2, mib))
	want := e.sums(e.vapp("web-shop"))
	for _, o := range []plan.Options{{VMs: []string{"db01"}}, {VMs: []string{"db01"}, Beside: true}} {
		ctx, at := cancelAfter(t, "put back NAT rules")
		_, err := e.app(at).Restore(ctx, app.RestoreRequest{Point: point.ID, Options: o})
		if err == nil {
			t.Fatal("the restore went through")
		}
		after := e.vapp("web-shop")
		e.tidy(after)
		sameSums(t, e.sums(after), want)
		if !vmOf(t, after, "web01").Deployed {
			t.Error("web01 does not run any more")
		}
	}
	e.noOrphans()
}

// cancelAfter is a context that ends when a step is done, and the hook for it.
func cancelAfter(t *testing.T, step string) (context.Context, func(string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, func(s string) {
		if s == step {
			cancel()
		}
	}
}
