package e2e

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// respec changes the hardware of a VM as its owner would, by its VmSpecSection.
func (e *env) respec(vm vcd.VM, edit func(spec *etree.Element)) {
	e.t.Helper()
	doc, err := document.Parse([]byte(e.get(vm.Href)))
	if err != nil {
		e.t.Fatal(err)
	}
	root := doc.Root()
	spec := document.Find(root, "VmSpecSection")
	for _, c := range root.ChildElements() {
		if c != spec {
			root.RemoveChild(c)
		}
	}
	for _, a := range slices.Clone(root.Attr) {
		if a.Space != "xmlns" && a.Key != "xmlns" && a.Key != "name" {
			root.RemoveAttr(a.FullKey())
		}
	}
	document.SetAttribute(spec, "Modified", "true")
	document.Strip(spec, "MediaSection", "Link")
	edit(spec)
	body, err := document.Encode(doc)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := e.vcd.ReconfigureVM(e.t.Context(), vm.Href, body); err != nil {
		e.t.Fatal(err)
	}
}

// settingsOf finds a disk of a VmSpecSection.
func settingsOf(t *testing.T, spec *etree.Element, id string) *etree.Element {
	t.Helper()
	for _, d := range document.FindAll(document.Find(spec, "DiskSection"), "DiskSettings") {
		if document.Text(d, "DiskId") == id {
			return d
		}
	}
	t.Fatalf("no disk %s", id)
	return nil
}

func setText(e *etree.Element, name, value string) { document.Find(e, name).SetText(value) }

// off undeploys a vApp where it runs.
func (e *env) off(name string) *vcd.VApp {
	e.t.Helper()
	if v := e.vapp(name); v.Deployed {
		if err := e.vcd.Undeploy(e.t.Context(), v.Href, "powerOff"); err != nil {
			e.t.Fatal(err)
		}
	}
	return e.vapp(name)
}

// places are where the disks of a VM are.
func (e *env) places(vapp *vcd.VApp, vm string) []vsphere.Attach {
	e.t.Helper()
	var out []vsphere.Attach
	for _, d := range e.configs(vapp)[vm].Disks {
		a := d.Attach()
		a.File = ""
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b vsphere.Attach) int { return int(a.Key - b.Key) })
	return out
}

func TestAnOverwriteMakesDisksWhatTheyWere(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	shop := e.off("web-shop")
	want, places := e.sums(shop), e.places(shop, "db01")
	point := e.backup(webShop)
	second := places[1]
	last := ""
	for _, d := range e.configs(shop)["db01"].Disks {
		if d.Key == second.Key {
			last = keyText(d.Key)
		}
	}
	for _, c := range []struct {
		name, says string
		change     func(vm vcd.VM)
		o          plan.Options
	}{
		{"removed", "removed since", func(vm vcd.VM) {
			e.respec(vm, func(s *etree.Element) { document.Find(s, "DiskSection").RemoveChild(settingsOf(t, s, last)) })
		}, plan.Options{}},
		{"grown", "in the restore point", func(vm vcd.VM) {
			e.respec(vm, func(s *etree.Element) {
				d := settingsOf(t, s, last)
				setText(d, "SizeMb", "777")
				d.RemoveChild(document.Find(d, "VirtualQuantity"))
				d.RemoveChild(document.Find(d, "VirtualQuantityUnit"))
			})
		}, plan.Options{}},
		{"moved", "and was at", func(vm vcd.VM) {
			e.respec(vm, func(s *etree.Element) {
				d := settingsOf(t, s, last)
				setText(d, "BusNumber", "2")
				setText(d, "UnitNumber", "5")
				setText(d, "AdapterType", "5")
			})
		}, plan.Options{}},
		{"replaced", "another one now", func(vm vcd.VM) {
			var place *etree.Element
			e.respec(vm, func(s *etree.Element) {
				d := settingsOf(t, s, last)
				place = d.Copy()
				document.Find(s, "DiskSection").RemoveChild(d)
			})
			e.respec(vm, func(s *etree.Element) {
				for _, name := range []string{"DiskId", "VirtualQuantity", "VirtualQuantityUnit"} {
					place.RemoveChild(document.Find(place, name))
				}
				setText(place, "SizeMb", "24")
				document.Find(s, "DiskSection").AddChild(place)
			})
		}, plan.Options{}},
		{"added", "added since", e.addDisk, plan.Options{ExtraDisks: plan.ExtraRemove}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := e.with(t)
			vm := vmOf(t, e.vapp("web-shop"), "db01")
			c.change(vm)
			if slices.Equal(e.places(e.vapp("web-shop"), "db01"), places) && c.name != "replaced" {
				t.Fatal("nothing has changed")
			}
			c.o.Overwrite = true
			result := e.restore(app.RestoreRequest{Point: point.ID, Options: c.o})
			if !strings.Contains(strings.Join(result.Warnings, "\n"), c.says) {
				t.Errorf("warnings: %q", result.Warnings)
			}
			after := e.vapp("web-shop")
			e.tidy(after)
			sameSums(t, e.sums(after), want)
			if got := e.places(after, "db01"); !slices.Equal(got, places) {
				t.Errorf("disks are at %+v, want %+v", got, places)
			}
			e.noOrphans()
		})
	}
}

func TestAnOverwriteMakesHardwareWhatItWas(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	shop := e.off("web-shop")
	point := e.backup(webShop)
	vm := vmOf(t, shop, "db01")
	e.respec(vm, func(s *etree.Element) {
		setText(s, "NumCpus", "6")
		setText(s, "NumCoresPerSocket", "3")
		setText(document.Find(s, "MemoryResourceMb"), "Configured", "3072")
		setText(s, "OsType", "windows9Server64Guest")
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const ns = ` xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:vmw="http://www.vmware.com/schema/ovf"`
	must(e.vcd.ReconfigureVM(t.Context(), vm.Href, []byte(`<Vm`+ns+` name="renamed since"><VmCapabilities><MemoryHotAddEnabled>true</MemoryHotAddEnabled>`+
		`<CpuHotAddEnabled>true</CpuHotAddEnabled></VmCapabilities></Vm>`)))
	must(e.vcd.ReconfigureVM(t.Context(), vm.Href, []byte(`<Vm`+ns+` name="renamed since"><ovf:VirtualHardwareSection><ovf:Info>x</ovf:Info>`+
		`<vmw:ExtraConfig ovf:required="false" vmw:key="guest.since" vmw:value="then"/></ovf:VirtualHardwareSection></Vm>`)))
	e.addNIC(vm)
	e.addDisk(vmOf(t, e.vapp("web-shop"), "renamed since"))
	before := e.get(vm.Href)
	for _, part := range []string{"renamed since", "<NumCpus>6", "guest.since"} {
		if !strings.Contains(before, part) {
			t.Fatalf("no %s in %s", part, before)
		}
	}

	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true, ExtraDisks: plan.ExtraRemove}})

	after := e.vapp("web-shop")
	e.tidy(after)
	if now := vmOf(t, after, "db01"); now.ID != vm.ID || len(now.NICs) != len(vm.NICs) {
		t.Errorf("%+v, was %+v", now, vm)
	}
	e.noOrphans()
}

// addNIC gives a VM another NIC.
func (e *env) addNIC(vm vcd.VM) {
	e.t.Helper()
	href := vm.Href + "/networkConnectionSection/"
	doc, err := document.Parse([]byte(e.get(href)))
	if err != nil {
		e.t.Fatal(err)
	}
	document.Strip(doc.Root(), "Link")
	all := document.FindAll(doc.Root(), "NetworkConnection")
	nic := all[len(all)-1].Copy()
	for _, name := range []string{"MACAddress", "IpAddress", "ExternalIpAddress"} {
		if c := document.Find(nic, name); c != nil {
			nic.RemoveChild(c)
		}
	}
	setText(nic, "NetworkConnectionIndex", "7")
	setText(nic, "IpAddressAllocationMode", "DHCP")
	doc.Root().InsertChildAt(all[len(all)-1].Index()+1, nic)
	body, err := document.Encode(doc)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := e.vcd.PutSection(e.t.Context(), href, vcd.TypeNetworkConnection, body); err != nil {
		e.t.Fatal(err)
	}
}

func keyText(key int32) string { return strconv.Itoa(int(key)) }

func TestAnOverwriteIsUndone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	old := e.backup(webShop)
	shop := e.vapp("web-shop")
	e.spoil(shop)
	e.off("renamed")
	e.addDisk(vmOf(t, e.vapp("renamed"), "db01"))
	spoilt := e.vapp("renamed")
	want, places := e.sums(spoilt), e.places(spoilt, "db01")
	lease := e.get(spoilt.Href + "/leaseSettingsSection/")

	e.restore(app.RestoreRequest{Point: old.ID, Options: plan.Options{Overwrite: true, KeepOld: true, ExtraDisks: plan.ExtraRemove}})
	restored := e.sums(e.vapp("web-shop"))
	if maps.Equal(restored, want) {
		t.Fatal("nothing was restored")
	}
	e.secretsAreSealed()

	// Neither reconcile nor a backup takes the kept disks for garbage.
	settled, err := e.app(nil).Reconcile(t.Context())
	if err != nil || len(settled) > 0 {
		t.Errorf("reconcile: %+v, %v", settled, err)
	}
	e.backup(webShop)
	list, err := e.app(nil).Undoable(t.Context(), "")
	if err != nil || len(list) != 1 || len(list[0].VMs) != 2 || list[0].Point != old.ID || list[0].VApp.Name != "renamed" {
		t.Fatalf("%+v, %v", list, err)
	}
	dry, err := e.app(nil).Undo(t.Context(), app.UndoRequest{Which: list[0].Run, DryRun: true})
	if err != nil || !strings.Contains(strings.Join(dry.Plan.Steps, "\n"), "former disks of vm db01 back in") {
		t.Fatalf("%+v, %v", dry, err)
	}

	undo := func(q app.UndoRequest) {
		t.Helper()
		result, err := e.app(nil).Undo(t.Context(), q)
		if result != nil {
			for _, d := range result.Unexplained() {
				t.Errorf("%s: %s: got %q, want %q", d.Document, d.Field, d.Got, d.Want)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	undo(app.UndoRequest{Which: list[0].Run, Options: plan.Options{KeepOld: true}})
	after := e.vapp("renamed")
	e.tidy(after)
	sameSums(t, e.sums(after), want)
	if got := e.places(after, "db01"); !slices.Equal(got, places) {
		t.Errorf("disks are at %+v, want %+v", got, places)
	}
	if got := e.get(after.Href + "/leaseSettingsSection/"); leaseSeconds(got) != leaseSeconds(lease) {
		t.Errorf("lease %s, was %s", got, lease)
	}
	if after.Owner.Name != spoilt.Owner.Name {
		t.Errorf("owner %s, was %s", after.Owner.Name, spoilt.Owner.Name)
	}

	// The undo can be undone, and that leaves nothing to undo.
	undo(app.UndoRequest{Which: "acme/acme-vdc1/web-shop"})
	sameSums(t, e.sums(e.vapp("web-shop")), restored)
	if list, err := e.app(nil).Undoable(t.Context(), ""); err != nil || len(list) > 0 {
		t.Errorf("%+v, %v", list, err)
	}
	e.noOrphans()
	if _, err := e.app(nil).Undo(t.Context(), app.UndoRequest{Which: webShop}); !errors.Is(err, restore.ErrNothingKept) {
		t.Errorf("nothing to undo: %v", err)
	}
}

func leaseSeconds(section string) string {
	_, after, _ := strings.Cut(section, "<DeploymentLeaseInSeconds>")
	seconds, _, _ := strings.Cut(after, "<")
	return seconds
}

// secretsAreSealed looks for the passwords of guests in the journal.
func (e *env) secretsAreSealed() {
	e.t.Helper()
	guest := e.get(vmOf(e.t, e.vapp("web-shop"), "web01").Href + "/guestCustomizationSection/")
	_, after, ok := strings.Cut(guest, "<AdminPassword>")
	password, _, _ := strings.Cut(after, "<")
	if !ok || password == "" {
		e.t.Fatalf("no password to look for: %s", guest)
	}
	files, err := filepath.Glob(filepath.Join(e.conf.StateDir, "journal.db*"))
	if err != nil || len(files) == 0 {
		e.t.Fatal("no journal", err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			e.t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(password)) {
			e.t.Errorf("the password %q is in %s", password, f)
		}
	}
}

func TestWhatWasKeptGoesWithTheNextOverwriteOrByWish(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	keep := app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true, KeepOld: true}}
	first := e.flat(e.configs(e.vapp("wiki"))["wiki01"].Disks[0].FileName)
	e.restore(keep)
	second := e.flat(e.configs(e.vapp("wiki"))["wiki01"].Disks[0].FileName)
	e.restore(keep)
	there := func(file string) bool { _, err := os.Stat(file); return err == nil }
	if there(first) || !there(second) {
		t.Errorf("the first is there: %v, the second: %v", there(first), there(second))
	}
	if _, left, err := e.app(nil).ForgetKept(t.Context(), "wiki"); err != nil || len(left) > 0 {
		t.Errorf("forget: %v, left %v", err, left)
	}
	if there(second) {
		t.Error("the second is still there")
	}
	e.tidy(e.vapp("wiki"))
	e.noOrphans()
}

func TestTheUndoOfSingleVMsLeavesTheOthers(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	e.write("web01", 0, 1<<20, random(1, 1<<20))
	e.write("db01", 1, 1<<20, random(2, 1<<20))
	former := e.sums(e.off("web-shop"))
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{VMs: []string{"db01"}, KeepOld: true}})
	if maps.Equal(e.sums(e.vapp("web-shop")), former) {
		t.Fatal("nothing was restored")
	}
	if err := e.vcd.SetMetadata(t.Context(), e.vapp("web-shop").Href, vcd.MetadataEntry{Domain: "GENERAL", Key: "since", Type: vcd.StringValue, Value: "then"}); err != nil {
		t.Fatal(err)
	}
	result, err := e.app(nil).Undo(t.Context(), app.UndoRequest{Which: webShop})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.VMs) != 1 || result.VMs[0].Name != "db01" {
		t.Errorf("%+v", result.VMs)
	}
	after := e.vapp("web-shop")
	e.tidy(after)
	sameSums(t, e.sums(after), former)
	if !strings.Contains(e.get(after.Href+"/metadata"), "then") {
		t.Error("the vApp's own metadata was touched")
	}
	e.noOrphans()
}
