package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

var tenantSnapshot = vsphere.SnapshotSpec{Name: "before the update", Quiesce: vsphere.QuiesceOff}

const mib = 1 << 20

func diskOf(t *testing.T, p *restorepoint.Point, vm string, n int) restorepoint.Disk {
	t.Helper()
	for _, v := range p.VMs {
		if v.Name == vm {
			return v.Disks[n]
		}
	}
	t.Fatalf("no vm %s in the restore point", vm)
	return restorepoint.Disk{}
}

// folderBytes is what the vCenters sent of datastore files.
func (e *env) folderBytes() (n int64) {
	for _, s := range e.cloud.VCenters() {
		n += s.Stats().FolderBytes
	}
	return n
}

func TestAnIncrementalReadsWhatChangedAndASample(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	first := e.backup(webShop)
	full := diskOf(t, first, "db01", 1)
	if full.Mode != "full" || full.Transport != "datastore" {
		t.Fatalf("first backup: %s through %s", full.Mode, full.Transport)
	}
	// 1% of the disk, in pieces that fill no block.
	const pieces, size = 80, 64 << 10
	for i := range int64(pieces) {
		e.write("db01", 1, i*6*mib+300_032, random(uint64(i), size))
	}
	want := e.sums(e.vapp("web-shop"))
	before := e.folderBytes()
	second := e.backupWith(app.BackupRequest{Selectors: []string{webShop}, SamplePercent: 10})
	d := diskOf(t, second, "db01", 1)
	if d.Mode != "incremental" {
		t.Fatalf("second backup: %s: %s", d.Mode, d.FullReason)
	}
	// CBT tells areas of 64 KiB, and the pieces straddle two of them.
	if d.ReadBytes-d.SampleBytes > 2*pieces*size || d.SampleBytes == 0 {
		t.Errorf("read %d bytes, %d of them a sample, for %d changed", d.ReadBytes, d.SampleBytes, pieces*size)
	}
	var read int64
	for _, vm := range second.VMs {
		for _, d := range vm.Disks {
			read += d.ReadBytes
		}
	}
	if sent := e.folderBytes() - before; sent > read+2*mib {
		t.Errorf("the hosts sent %d bytes, the restore point says %d", sent, read)
	}
	if d.Content.WrittenBytes != pieces*mib {
		t.Errorf("wrote %d bytes, want the %d blocks that were touched", d.Content.WrittenBytes, pieces)
	}
	if d.Content.StoredBytes > 2*pieces*size {
		// Completed blocks compress to little more than the random pieces.
		t.Errorf("stored %d bytes for %d changed", d.Content.StoredBytes, pieces*size)
	}
	e.restore(app.RestoreRequest{Point: second.ID, Options: plan.Options{As: "second"}})
	sameSums(t, e.sums(e.vapp("second")), want)
}

func TestAnOlderPointStillHasWhatItHad(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("wiki"))
	first := e.backup("wiki")
	e.write("wiki01", 0, 0, random(9, 2*mib))
	e.backup("wiki")
	e.restore(app.RestoreRequest{Point: first.ID, Options: plan.Options{Overwrite: true}})
	sameSums(t, e.sums(e.vapp("wiki")), want)
}

func TestSamplingCatchesCBTThatLies(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.backup(webShop)
	e.write("db01", 1, 20*mib, random(1, mib))
	e.write("db01", 1, 300*mib, random(2, mib))
	for _, vm := range e.vapp("web-shop").VMs {
		if vm.Name == "db01" {
			disk := e.configs(e.vapp("web-shop"))["db01"].Disks[1]
			e.cloud.VCenter("vc1").Faults().ForgeCBT(vm.VimInfo.VMMoRef, disk.Key, vcenter.Range{Offset: 300 * mib, Length: mib})
		}
	}
	want := e.sums(e.vapp("web-shop"))
	point := e.backupWith(app.BackupRequest{Selectors: []string{webShop}, SamplePercent: 100})
	d := diskOf(t, point, "db01", 1)
	if d.Mode != "full" || !strings.Contains(d.FullReason, "omitted a change") {
		t.Errorf("%s: %q", d.Mode, d.FullReason)
	}
	if len(point.Problems) == 0 {
		t.Error("the restore point does not say that CBT lied")
	}
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "checked"}})
	sameSums(t, e.sums(e.vapp("checked")), want)
}

func TestAForgottenChangeIDMeansAFullRead(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.backup("wiki")
	vm := e.vapp("wiki").VMs[0]
	e.cloud.VCenter("vc1").Faults().ForgetChangeIDs(vm.VimInfo.VMMoRef)
	d := diskOf(t, e.backup("wiki"), "wiki01", 0)
	if d.Mode != "full" || d.FullReason == "" {
		t.Errorf("%s: %q", d.Mode, d.FullReason)
	}
}

func TestARefusingHostIsReadThroughNFC(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.cloud.VCenter("vc1").Faults().RefuseFolder(true)
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	if d := diskOf(t, point, "db01", 1); d.Transport != "nfc" {
		t.Errorf("transport %s", d.Transport)
	}
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "through nfc"}})
	sameSums(t, e.sums(e.vapp("through nfc")), want)
}

func TestATenantSnapshotMeansAFullReadAndSurvives(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.backup("wiki")
	vm := e.vapp("wiki").VMs[0]
	if _, err := e.vsphere(vm).CreateSnapshot(t.Context(), tenantSnapshot); err != nil {
		t.Fatal(err)
	}
	e.write("wiki01", 0, 3*mib, random(4, mib))
	point := e.backup("wiki")
	e.hasTenantSnapshot("wiki")
	if d := diskOf(t, point, "wiki01", 0); d.Mode != "full" {
		t.Errorf("%s", d.Mode)
	}
	_, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	if err == nil || !strings.Contains(err.Error(), "snapshots") {
		t.Errorf("an overwrite under a tenant's snapshot: %v", err)
	}
	e.hasTenantSnapshot("wiki")
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "wiki copy"}})
	guest, err := e.cloud.Guest(t.Context(), "acme/acme-vdc1/wiki/wiki01", 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.cloud.Guest(t.Context(), "acme/acme-vdc1/wiki copy/wiki01", 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := make([]byte, guest.Size()), make([]byte, got.Size())
	if _, err := guest.ReadAt(a, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := got.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Error("the copy differs from the guest's disk")
	}
}

func TestTenantsAreRefusedDuringTheBackupOnly(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	shop := e.vapp("web-shop")
	site := e.conf.Sites[0]
	tenant, err := vcd.Connect(t.Context(), vcd.Options{URL: site.URL, User: "admin@acme", Password: "vcdsim-acme-admin", TLS: vcd.TLS{CAFile: site.CA}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tenant.Close(t.Context()) })
	change := func() error {
		return tenant.SetMetadata(t.Context(), shop.Href, vcd.MetadataEntry{Domain: "GENERAL", Key: "tenant", Type: vcd.StringValue, Value: "was here"})
	}
	var during error
	asked := false
	_, err = e.app(func(step string) {
		if strings.HasPrefix(step, "snapshot ") && !asked {
			asked = true
			during = change()
		}
	}).Backup(t.Context(), app.BackupRequest{Selectors: []string{webShop}, SamplePercent: -1})
	if err != nil {
		t.Fatal(err)
	}
	var refusal *vcd.Error
	if !asked || !errors.As(during, &refusal) || (refusal.Status != 409 && refusal.Status != 403) {
		t.Errorf("during the backup: %v", during)
	}
	if err := change(); err != nil {
		t.Errorf("after the backup: %v", err)
	}
}
