package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/diff"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vcd"
)

func (e *env) diff(from, to string, all bool) *diff.Result {
	e.t.Helper()
	r, err := e.app(nil).Diff(e.t.Context(), app.DiffRequest{From: from, To: to, All: all})
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

// told writes the fields of a result as a table does.
func told(r *diff.Result) []string {
	var out []string
	for _, f := range r.Fields {
		out = append(out, fmt.Sprintf("%s: %s: %s: %s -> %s", f.Object, f.What, f.Change, f.Was, f.Is))
	}
	return out
}

func diskDiff(t *testing.T, r *diff.Result, vm string, key int32) diff.Disk {
	t.Helper()
	for _, d := range r.Disks {
		if d.VM == vm && d.Key == key {
			return d
		}
	}
	t.Fatalf("no disk %d of %s in %+v", key, vm, r.Disks)
	return diff.Disk{}
}

func TestNothingDiffersWhereNothingHappened(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	first := e.backup("wiki")
	second := e.backup("wiki")
	if r := e.diff(first.ID, second.ID, false); !r.Same {
		t.Errorf("two points: %q, %+v, %q", told(r), r.Disks, r.Notes)
	}
	r := e.diff(second.ID, app.Live, false) // wiki01 is off
	if !r.Same {
		t.Errorf("live: %q, %+v, %q", told(r), r.Disks, r.Notes)
	}
	if len(r.Disks) != 1 || r.Disks[0].Changed == nil {
		t.Errorf("disks: %+v", r.Disks)
	}
	if r := e.diff(first.ID, second.ID, true); r.From.Point != first.ID || r.To.Point != second.ID {
		t.Errorf("%+v", r)
	}
}

func TestADiffSaysInWordsWhatChanged(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	first := e.backup(webShop)
	e.spoil(before)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	custom, err := e.vcd.Get(ctx, vmOf(t, before, "web01").Href+"/guestCustomizationSection/")
	must(err)
	must(e.vcd.PutSection(ctx, vmOf(t, before, "web01").Href+"/guestCustomizationSection/", vcd.TypeGuestCustomization,
		[]byte(strings.Replace(string(custom.Raw), "correct-horse", "Tr0ub4dor", 1))))
	// The VM was renamed; its vApp, too, which does not make it another one.
	second := e.backup("acme/acme-vdc1/renamed")

	r := e.diff(first.ID, second.ID, false)

	if r.Same || len(r.VMs) != 0 {
		t.Errorf("VMs: %+v", r.VMs)
	}
	if d := diskDiff(t, r, "web01", 2000); d.Changed == nil || *d.Changed != 3*mib {
		t.Errorf("web01: %+v", d)
	}
	if d := diskDiff(t, r, "db01", 2019); d.Changed == nil || *d.Changed != mib {
		t.Errorf("db01: %+v", d)
	}
	if d := diskDiff(t, r, "db01", 2000); d.Changed == nil || *d.Changed != 0 || d.Differs() {
		t.Errorf("db01's first disk: %+v", d)
	}
	text := strings.Join(told(r), "\n")
	for _, want := range []string{
		"vApp: name: changed: web-shop -> renamed",
		"vApp: description: changed: The shop",
		"vApp: deployment lease: changed: 50h0m0s -> 2h0m0s",
		"vApp: metadata motto: removed: Beep",
		"vApp: owner: changed: wile -> admin",
		"vApp: metadata added: added:  -> since",
		"vApp: metadata cost-centre: changed: 4711 -> 1",
		"vApp: access of bugs: removed: ",
		"network shop-front: firewall: firewall rule ",
		"NAT rule 1: internal port: changed: 8443 -> 9443",
		"vm web01: admin password: changed:  -> ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, secret := range []string{"correct-horse", "Tr0ub4dor", "battery-staple"} {
		if strings.Contains(fmt.Sprintf("%+v", e.diff(first.ID, second.ID, true)), secret) {
			t.Errorf("a secret is shown: %s", secret)
		}
	}
	t.Log("\n" + text)
}

func TestADiffFollowsVMsAndDisks(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	first := e.backup(webShop)
	e.restore(app.RestoreRequest{Point: first.ID, Options: plan.Options{As: "copy"}})
	copied := e.backup("acme/acme-vdc1/copy")
	r := e.diff(first.ID, copied.ID, false)
	for _, vm := range r.VMs {
		t.Errorf("vm %s: %s", vm.Name, vm.Change)
	}
	for _, d := range r.Disks {
		if d.Changed == nil || *d.Changed != 0 {
			t.Errorf("vm %s: disk %s: %+v", d.VM, d.Disk, d)
		}
	}
	shop := e.vapp("web-shop")
	if err := e.vcd.Undeploy(t.Context(), shop.Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	if err := e.vcd.DeleteVM(t.Context(), vmOf(t, shop, "db01").Href); err != nil {
		t.Fatal(err)
	}
	e.write(webShop+"/web01", 0, 9*mib, random(4, 100<<10))

	r = e.diff(first.ID, app.Live, false)

	if len(r.VMs) != 1 || r.VMs[0].Name != "db01" || r.VMs[0].Change != diff.Removed {
		t.Errorf("VMs: %+v", r.VMs)
	}
	if d := diskDiff(t, r, "web01", 2000); d.Changed == nil || *d.Changed < 100<<10 || *d.Changed > mib {
		t.Errorf("web01, which is off: %+v", d)
	}
	if d := diskDiff(t, r, "db01", 2019); d.Change != diff.Removed || d.SizeWas != 512*mib {
		t.Errorf("db01: %+v", d)
	}
	if text := strings.Join(told(r), "\n"); !strings.Contains(text, "vApp: startup of db01: removed") {
		t.Errorf("fields:\n%s", text)
	}
	e.destroy(e.vapp("web-shop"))
	_, err := e.app(nil).Diff(t.Context(), app.DiffRequest{From: first.ID, To: app.Live})
	if !errors.Is(err, selection.ErrNoMatch) {
		t.Errorf("a vApp that is gone: %v", err)
	}
}

func TestWhatADiffCannotKnowIsUnknown(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backupWith(app.BackupRequest{Selectors: []string{webShop}, ExcludeDisks: []string{"db01:2019"}, SamplePercent: -1})
	r := e.diff(point.ID, app.Live, false) // web01 runs
	if d := diskDiff(t, r, "web01", 2000); d.Changed != nil || !strings.Contains(d.Unknown, "not switched off") {
		t.Errorf("a VM that runs: %+v", d)
	}
	if d := diskDiff(t, r, "db01", 2019); d.Changed != nil || !strings.Contains(d.Unknown, "excluded by --exclude-disk") {
		t.Errorf("an excluded disk: %+v", d)
	}
	if r.Same {
		t.Error("what is unknown is called the same")
	}
	e.backup("wiki")
	wiki := e.vapp("wiki")
	e.cloud.VCenter("vc1").Faults().ForgetChangeIDs(wiki.VMs[0].VimInfo.VMMoRef)
	r = e.diff("wiki@latest", app.Live, false)
	if d := diskDiff(t, r, "wiki01", 2000); d.Changed != nil || d.Unknown == "" {
		t.Errorf("a forgotten change ID: %+v", d)
	}
	if slices.ContainsFunc(r.Disks, func(d diff.Disk) bool { return d.Changed == nil && d.Unknown == "" && d.Change == diff.Kept }) {
		t.Errorf("%+v", r.Disks)
	}
}
