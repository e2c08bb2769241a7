package vsphere_test

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/vsphere"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	c := startVCSim(t).connect(t)
	vm := anyVM(t, c)
	got, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Datacenter != "DC0" || got.Host == "" || got.ResourcePool == "" || got.Folder == "" || got.PowerState != "poweredOn" {
		t.Errorf("got %+v", got)
	}
	if len(got.Disks) != 1 || len(got.NICs) != 1 {
		t.Fatalf("%d disks and %d NICs, want one each", len(got.Disks), len(got.NICs))
	}
	d := got.Disks[0]
	if !strings.HasPrefix(d.FileName, "["+d.Datastore+"] ") || d.DatastoreType == "" || d.Capacity == 0 || d.ControllerType != "pvscsi" || d.Kind != vsphere.KindFlat {
		t.Errorf("disk: %+v", d)
	}
	if ok, why := d.Snapshottable(); !ok {
		t.Errorf("not snapshottable: %s", why)
	}
	parsed, err := vsphere.ParseConfig(got.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Name != got.Name || len(parsed.Disks) != 1 || parsed.Disks[0].UUID != d.UUID || parsed.NICs[0] != got.NICs[0] {
		t.Errorf("read back: %+v", parsed)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	c := startVCSim(t).connect(t)
	vm := anyVM(t, c)
	cfg, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vm.File(t.Context(), cfg.VmPathName); err != nil {
		t.Error(err)
	}
	if _, err := vm.File(t.Context(), path.Dir(cfg.VmPathName)+"/none here.vmx"); !errors.Is(err, vsphere.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if _, err := vm.File(t.Context(), "no datastore path"); err == nil {
		t.Error("no error for a path without a datastore")
	}
}

func TestFolderURLEscapesNames(t *testing.T) {
	t.Parallel()
	c := startVCSim(t).connect(t)
	u, err := c.FolderURL("A & B/DC 1", "[ds #1] web 01 (50%)/web?.vmx")
	if err != nil {
		t.Fatal(err)
	}
	const want = "/folder/web%2001%20%2850%25%29/web%3F.vmx?dcPath=A+%26+B%2FDC+1&dsName=ds+%231"
	if got := strings.ReplaceAll(strings.ReplaceAll(u.RequestURI(), "(", "%28"), ")", "%29"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPowerRenameDestroy(t *testing.T) {
	t.Parallel()
	c := startVCSim(t).connect(t)
	vm := anyVM(t, c)
	for range 2 {
		if err := vm.PowerOff(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := vm.Rename(t.Context(), "vappvault-scratch-1"); err != nil {
		t.Fatal(err)
	}
	found, err := c.FindVMs(t.Context(), "vappvault-scratch-")
	if err != nil || len(found) != 1 || found[0].MoRef != vm.MoRef() {
		t.Fatalf("found %v, %v", found, err)
	}
	for range 2 {
		if err := vm.Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSnapshotsOfOthersStay(t *testing.T) {
	t.Parallel()
	c := startVCSim(t).connect(t)
	vm := anyVM(t, c)
	theirs, err := vm.CreateSnapshot(t.Context(), vsphere.SnapshotSpec{Name: "before the upgrade"})
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.EnableChangeTracking(t.Context()); !errors.Is(err, vsphere.ErrSnapshotsPresent) {
		t.Errorf("EnableChangeTracking: got %v, want ErrSnapshotsPresent", err)
	}
	ours, err := vm.CreateSnapshot(t.Context(), vsphere.SnapshotSpec{Name: "vappvault-1", Quiesce: vsphere.QuiesceTry})
	if err != nil {
		t.Fatal(err)
	}
	if ours.Consistency != vsphere.ConsistencyApplication || theirs.Consistency != vsphere.ConsistencyCrash {
		t.Errorf("consistency: theirs %s, ours %s", theirs.Consistency, ours.Consistency)
	}
	if len(ours.Disks) != 1 || ours.Disks[0].FileName == "" || ours.Disks[0].Datastore == "" {
		t.Errorf("disks: %+v", ours.Disks)
	}
	found, err := vm.SnapshotsNamed(t.Context(), "vappvault-")
	if err != nil || len(found) != 1 || found[0].Ref != ours.Ref || found[0].Depth != 1 {
		t.Fatalf("found %+v, %v", found, err)
	}
	for range 2 {
		if err := vm.RemoveSnapshot(t.Context(), ours.Ref); err != nil {
			t.Fatal(err)
		}
	}
	left, err := vm.ReadSnapshots(t.Context())
	if err != nil || len(left) != 1 || left[0].Ref != theirs.Ref {
		t.Errorf("left %+v, %v", left, err)
	}
	if _, err := vm.SnapshotByRef(t.Context(), ours.Ref); !errors.Is(err, vsphere.ErrNotFound) {
		t.Errorf("SnapshotByRef: got %v, want ErrNotFound", err)
	}
}

func TestSnapshotOfAVMThatIsOff(t *testing.T) {
	t.Parallel()
	c := startVCSim(t).connect(t)
	vm := anyVM(t, c)
	if err := vm.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := vm.CreateSnapshot(t.Context(), vsphere.SnapshotSpec{Name: "vappvault-2", Quiesce: vsphere.QuiesceRequire})
	if err != nil {
		t.Fatal(err)
	}
	if s.Consistency != vsphere.ConsistencyOff {
		t.Errorf("consistency %s, want off", s.Consistency)
	}
	// Without change tracking nothing can be told.
	if _, err := s.Allocated(t.Context(), s.Disks[0]); !errors.Is(err, vsphere.ErrNotSupported) {
		t.Errorf("Allocated: got %v, want ErrNotSupported", err)
	}
	if _, err := s.Changed(t.Context(), s.Disks[0], "52 a/1"); !errors.Is(err, vsphere.ErrChangeIDUnknown) {
		t.Errorf("Changed: got %v, want ErrChangeIDUnknown", err)
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	c := startVCSim(t).connect(t)
	all, err := c.Datastores(t.Context())
	if err != nil || len(all) != 2 || all[0].Name != "LocalDS_0" || all[0].Free <= 0 {
		t.Fatalf("datastores %+v, %v", all, err)
	}
	var first vsphere.Place
	for i := range 2 {
		p, err := c.RebuildPlace(t.Context(), all[0].Ref)
		if err != nil {
			t.Fatal(err)
		}
		if p.Folder == "" || p.ResourcePool == "" || p.Host == "" || p.NetworkName != "VM Network" || p.DatastoreName != "LocalDS_0" {
			t.Errorf("got %+v", p)
		}
		if i == 0 {
			first = p
		} else if p != first {
			t.Errorf("second place %+v differs from the first %+v", p, first)
		}
	}
	if _, err := c.RebuildPlace(t.Context(), "datastore-404"); !errors.Is(err, vsphere.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// rebuilt makes a VM from another's configuration.
func rebuilt(t *testing.T, c *vsphere.Client, vm *vsphere.VM, name string) (*vsphere.VM, *vsphere.VMConfig) {
	t.Helper()
	cfg, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.RebuildPlace(t.Context(), cfg.Disks[0].DatastoreRef)
	if err != nil {
		t.Fatal(err)
	}
	spec, _, err := vsphere.SpecFromConfig(cfg.Raw, p.Options(name))
	if err != nil {
		t.Fatal(err)
	}
	moref, err := c.CreateVM(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	made := c.VM(moref)
	got, err := made.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return made, got
}

func TestRebuiltVMIsLikeTheFirst(t *testing.T) {
	t.Parallel()
	c := startVCSim(t).connect(t)
	vm := anyVM(t, c)
	want, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, got := rebuilt(t, c, vm, "copy")
	if got.Name != "copy" || got.GuestID != want.GuestID || got.NumCPU != want.NumCPU || got.MemoryMB != want.MemoryMB || got.HardwareVersion != want.HardwareVersion {
		t.Errorf("got %+v", got)
	}
	if got.PowerState != "poweredOff" || got.InstanceUUID == want.InstanceUUID {
		t.Errorf("power %s, instance UUID %s", got.PowerState, got.InstanceUUID)
	}
	if len(got.Disks) != 1 || got.Disks[0].Capacity != want.Disks[0].Capacity || got.Disks[0].ControllerType != "pvscsi" || !got.Disks[0].Thin {
		t.Errorf("disks %+v", got.Disks)
	}
	if len(got.NICs) != 1 || got.NICs[0].StartConnected || got.NICs[0].Type != want.NICs[0].Type || got.NICs[0].MAC == want.NICs[0].MAC {
		t.Errorf("NICs %+v, first's %+v", got.NICs, want.NICs)
	}
}

func TestExchangeDisks(t *testing.T) {
	t.Parallel()
	c := startVCSim(t).connect(t)
	vm := anyVM(t, c)
	target, was := rebuilt(t, c, vm, "target")
	scratch, fresh := rebuilt(t, c, vm, "scratch")

	file, err := scratch.DetachDisk(t.Context(), fresh.Disks[0].Key)
	if err != nil || file != fresh.Disks[0].FileName {
		t.Fatalf("detached %q, %v", file, err)
	}
	if _, err := scratch.DetachDisk(t.Context(), fresh.Disks[0].Key); !errors.Is(err, vsphere.ErrNotFound) {
		t.Errorf("DetachDisk again: got %v, want ErrNotFound", err)
	}
	moved := strings.TrimSuffix(was.Disks[0].FileName, ".vmdk") + " restored.vmdk"
	if err := c.MoveDisk(t.Context(), was.Datacenter, file, moved); err != nil {
		t.Fatal(err)
	}
	swap, out := was.Disks[0].Attach(), []string{was.Disks[0].FileName}
	swap.File = moved
	if err := target.ExchangeDisks(t.Context(), out, []vsphere.Attach{swap}); err != nil {
		t.Fatal(err)
	}
	now, err := target.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, w := now.Disks[0], was.Disks[0]
	if len(now.Disks) != 1 || d.FileName != moved || d.Unit != w.Unit || d.ControllerKey != w.ControllerKey || d.Capacity != w.Capacity || d.Key != w.Key {
		t.Errorf("disks %+v, before %+v", now.Disks, was.Disks)
	}
	if err := target.ExchangeDisks(t.Context(), out, []vsphere.Attach{swap}); err != nil {
		t.Errorf("again: %v", err)
	}
	for range 2 {
		if err := c.DeleteDisk(t.Context(), was.Datacenter, out[0]); err != nil {
			t.Error(err)
		}
	}
	if err := c.DeleteDisk(t.Context(), "DC404", out[0]); !errors.Is(err, vsphere.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}
