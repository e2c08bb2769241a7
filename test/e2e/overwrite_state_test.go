package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// refused checks that a restore is refused with a conflict, and changes
// nothing of the disks.
func (e *env) refused(q app.RestoreRequest, want, override string) {
	e.t.Helper()
	result, err := e.app(nil).Restore(e.t.Context(), q)
	if !errors.Is(err, plan.ErrConflict) || !strings.Contains(err.Error(), want) {
		e.t.Fatalf("got %v, want a conflict about %q", err, want)
	}
	if !slices.ContainsFunc(result.Plan.Conflicts, func(c plan.Conflict) bool { return c.Override == override && c.Resolution == "" }) {
		e.t.Errorf("no conflict names %s: %+v", override, result.Plan.Conflicts)
	}
}

func TestSnapshotsOfTheTenantGoByConsentOnly(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	wiki := e.vapp("wiki")
	for range 2 {
		if _, err := e.vsphere(wiki.VMs[0]).CreateSnapshot(t.Context(), tenantSnapshot); err != nil {
			t.Fatal(err)
		}
		e.write("wiki01", 0, 5<<20, random(3, 1<<20))
	}
	q := app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}}
	e.refused(q, "2 snapshots", "--discard-snapshots")
	if n := len(e.configs(wiki)["wiki01"].Snapshots); n != 2 {
		t.Fatalf("%d snapshots are left", n)
	}
	q.DiscardSnapshots = true
	q.DryRun = true
	if dry, err := e.app(nil).Restore(t.Context(), q); err != nil || !slices.Contains(dry.Plan.Steps, "remove 2 snapshots of vm wiki01") {
		t.Fatalf("%+v, %v", dry, err)
	}
	if n := len(e.configs(wiki)["wiki01"].Snapshots); n != 2 {
		t.Fatalf("a dry run left %d snapshots", n)
	}
	q.DryRun = false
	e.restore(q)
	wiki = e.vapp("wiki")
	e.tidy(wiki)
	if n := len(e.configs(wiki)["wiki01"].Snapshots); n != 0 {
		t.Errorf("%d snapshots are left", n)
	}
	sameSums(t, e.sums(wiki), want)
	e.noOrphans()
}

func TestASuspendedVMComesBackPoweredOff(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("wiki")
	wiki := e.vapp("wiki")
	if !wiki.Deployed {
		if err := e.vcd.PowerOn(t.Context(), wiki.Href); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.vcd.DoTask(t.Context(), vcd.Request{Method: "POST", Href: wiki.Href + "/power/action/suspend"}); err != nil {
		t.Fatal(err)
	}
	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	if !strings.Contains(strings.Join(result.Warnings, "\n"), "comes back powered off") {
		t.Errorf("warnings: %q", result.Warnings)
	}
	wiki = e.vapp("wiki")
	e.tidy(wiki)
	if state := e.configs(wiki)["wiki01"].PowerState; state != "poweredOff" {
		t.Errorf("it is %s", state)
	}
	sameSums(t, e.sums(wiki), want)
	e.noOrphans()
}

func TestVMsThatWereAddedSinceAreKeptOrRemoved(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{VMs: []string{"web01"}, Beside: true}})
	if len(e.vapp("web-shop").VMs) != 3 {
		t.Fatal("no VM was added")
	}
	result, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	if err != nil && !errors.Is(err, app.ErrPartial) {
		t.Fatal(err)
	}
	for _, d := range result.Unexplained() {
		t.Errorf("kept: %s: %s: got %q, want %q", d.Document, d.Field, d.Got, d.Want)
	}
	if len(e.vapp("web-shop").VMs) != 3 {
		t.Error("the added VM is gone")
	}
	added := e.flat(e.configs(e.vapp("web-shop"))["web01-restored"].Disks[0].FileName)
	proven := false
	_, err = e.app(func(step string) {
		if proven = proven || step == "commit point"; proven {
			return
		}
		if _, err := os.Stat(added); err != nil {
			t.Errorf("after %q the added VM is gone already", step)
		}
	}).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true, ExtraVMs: plan.ExtraRemove}})
	if err != nil {
		t.Fatal(err)
	}
	after := e.vapp("web-shop")
	e.tidy(after)
	if len(after.VMs) != 2 {
		t.Errorf("%d VMs", len(after.VMs))
	}
	e.noOrphans()
}

func TestPowerAfterwardsIsByChoice(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	if err := e.vcd.Undeploy(t.Context(), vmOf(t, e.vapp("web-shop"), "web01").Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	point := e.backup(webShop) // db01 runs, web01 does not
	for _, c := range []struct {
		power    string
		web, dbs bool
	}{{plan.PowerOff, false, false}, {plan.PowerAsWas, false, true}, {plan.PowerOn, true, true}, {plan.PowerAsWas, false, true}} {
		e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true, Power: c.power}})
		now := e.configs(e.vapp("web-shop"))
		if web, db := now["web01"].PowerState == "poweredOn", now["db01"].PowerState == "poweredOn"; web != c.web || db != c.dbs {
			t.Errorf("--power %s: web01 runs: %v, db01 runs: %v", c.power, web, db)
		}
	}
}

func TestALinkedCloneGetsAWholeDisk(t *testing.T) {
	t.Parallel()
	e := matrixCloud(t)
	linkedClone(e, kind{name: "one", vdc: "fast"})
	linkedClone(e, kind{name: "other", vdc: "fast"})
	other := e.guestSum("other")
	results, err := e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{"one"}, SamplePercent: -1})
	if err != nil {
		t.Fatal(err)
	}
	one := e.vapp("one")
	vm := one.VMs[0]
	was := e.configs(one)[vm.Name]
	chain := chainOf(was)
	if len(chain) < 2 {
		t.Fatalf("no chain: %q", chain)
	}
	c := e.vcenters[vcd.URN(vm.VimInfo.VCenterHref)]
	users, err := c.UsersOf(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	shared := ""
	for _, f := range chain {
		if len(users[f]) > 1 {
			shared = f
		}
	}
	if shared == "" {
		t.Fatalf("nobody shares what it hangs from: %v", users)
	}
	result, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: results[0].Point.ID, Options: plan.Options{Overwrite: true}})
	if err != nil && !errors.Is(err, app.ErrPartial) {
		t.Fatal(err)
	}
	for _, d := range result.Unexplained() {
		t.Errorf("%s: %s: got %q, want %q", d.Document, d.Field, d.Got, d.Want)
	}
	now := e.configs(e.vapp("one"))[vm.Name]
	if now.Disks[0].ChainDepth != 0 || now.Disks[0].UUID != was.Disks[0].UUID {
		t.Errorf("%+v, was %+v", now.Disks[0], was.Disks[0])
	}
	if got := e.guestSum("other"); got != other {
		t.Error("the other clone has changed")
	}
	if _, err := os.Stat(e.flat(shared)); err != nil {
		t.Errorf("what it hung from: %v", err)
	}
	if _, err := os.Stat(e.flat(was.Disks[0].FileName)); err == nil {
		t.Error("its own delta is still there")
	}
}

// chainOf lists the descriptors of the files that a VM's layout names.
func chainOf(c *vsphere.VMConfig) []string {
	var out []string
	for part := range strings.SplitSeq(string(c.Layout), "<name>") {
		name, _, ok := strings.Cut(part, "</name>")
		if ok && strings.HasSuffix(name, ".vmdk") && !strings.HasSuffix(name, "-flat.vmdk") && !strings.HasSuffix(name, "-delta.vmdk") && !strings.HasSuffix(name, "-sesparse.vmdk") {
			out = append(out, name)
		}
	}
	return out
}

// guestSum reads the first disk of a vApp's first VM as its guest does.
func (e *env) guestSum(name string) string {
	e.t.Helper()
	vm := e.vapp(name).VMs[0]
	guest, err := e.cloud.Guest(e.t.Context(), "acme/fast/"+name+"/"+vm.Name, 0)
	if err != nil {
		e.t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(guest, 0, guest.Size())); err != nil {
		e.t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestChangedBlocksAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	q := app.RestoreRequest{Point: point.ID, DryRun: true, Options: plan.Options{Overwrite: true, ChangedBlocks: true}}
	refuse := func(kind, want string) {
		t.Helper()
		result, err := e.app(nil).Restore(t.Context(), q)
		if !errors.Is(err, plan.ErrConflict) {
			t.Fatalf("got %v", err)
		}
		if !slices.ContainsFunc(result.Plan.Conflicts, func(c plan.Conflict) bool {
			return c.Kind == kind && c.Resolution == "" && strings.Contains(c.Message, want)
		}) {
			t.Errorf("no %s conflict says %q: %+v", kind, want, result.Plan.Conflicts)
		}
	}
	refuse(plan.KindNoTarget, "up to")
	e.write("db01", 1, 1<<20, random(2, 3<<20))
	e.off("web-shop")
	refuse(plan.KindNoTarget, "3.0 MiB would be written")
	vm := vmOf(t, e.vapp("web-shop"), "db01")
	id := ""
	for _, d := range e.configs(e.vapp("web-shop"))["db01"].Disks {
		id = keyText(d.Key)
	}
	e.respec(vm, func(s *etree.Element) {
		d := settingsOf(t, s, id)
		setText(d, "SizeMb", "777")
		d.RemoveChild(document.Find(d, "VirtualQuantity"))
		d.RemoveChild(document.Find(d, "VirtualQuantityUnit"))
	})
	refuse(plan.KindChangedBlocks, "and had")
	if _, err := e.vsphere(vm).CreateSnapshot(t.Context(), tenantSnapshot); err != nil {
		t.Fatal(err)
	}
	refuse(plan.KindChangedBlocks, "snapshots")
	if n := len(e.configs(e.vapp("web-shop"))["web01"].Snapshots); n != 0 {
		t.Errorf("the plan made %d snapshots", n)
	}
}
