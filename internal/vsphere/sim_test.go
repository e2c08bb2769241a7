package vsphere_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/vsphere"
)

const (
	mib  = 1 << 20
	disk = 64 * mib
)

// startSim starts a simulated vCenter whose disks have bytes, and connects.
func startSim(t *testing.T, cfg vcenter.Config) (*vcenter.Server, *vsphere.Client) {
	t.Helper()
	cfg.Dir = t.TempDir()
	cfg.Users = map[string]string{user: password}
	if cfg.Datastores == nil {
		cfg.Datastores = []vcenter.Datastore{{Name: "ds 1"}, {Name: "ds 2"}}
	}
	s, err := vcenter.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c := connect(t, vsphere.Options{
		URL: s.URL().String(), User: user, Password: password,
		TLS: vsphere.TLS{Fingerprint: vsphere.Fingerprint(sha256.Sum256(s.Certificate().Raw))},
	})
	return s, c
}

// webVM adds a running VM with change tracking, a name with a space and two
// disks.
func webVM(t *testing.T, s *vcenter.Server, c *vsphere.Client) *vsphere.VM {
	t.Helper()
	moref, err := s.AddVM(vcenter.VMSpec{
		Name: "web 01", PowerOn: true, NumCPU: 2, MemoryMB: 512,
		Disks: []vcenter.DiskSpec{{Size: disk, Thin: true}, {Size: disk, Thin: true, Controller: "nvme"}},
		NICs:  []vcenter.NICSpec{{MAC: "00:50:56:0a:0b:0c"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.VM(moref)
}

func guest(t *testing.T, s *vcenter.Server, vm *vsphere.VM, n int) *vcenter.GuestDisk {
	t.Helper()
	g, err := s.Disk(vm.MoRef(), n)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func write(t *testing.T, g *vcenter.GuestDisk, off, length int64) {
	t.Helper()
	if _, err := g.WriteAt(bytes.Repeat([]byte{0xa5}, int(length)), off); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t *testing.T, vm *vsphere.VM, name string) *vsphere.Snapshot {
	t.Helper()
	s, err := vm.CreateSnapshot(t.Context(), vsphere.SnapshotSpec{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func remove(t *testing.T, vm *vsphere.VM, s *vsphere.Snapshot) {
	t.Helper()
	if err := vm.RemoveSnapshot(t.Context(), s.Ref); err != nil {
		t.Fatal(err)
	}
}

// tracked is a VM with change tracking and one snapshot taken and removed.
func tracked(t *testing.T) (*vcenter.Server, *vsphere.VM, *vsphere.Snapshot) {
	t.Helper()
	s, c := startSim(t, vcenter.Config{})
	vm := webVM(t, s, c)
	for range 2 {
		if err := vm.EnableChangeTracking(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	write(t, guest(t, s, vm, 0), 5*mib, mib)
	first := snapshot(t, vm, "vappvault-1")
	got, err := first.Allocated(t.Context(), first.Disks[0])
	if err != nil {
		t.Fatal(err)
	}
	if !covers(got, 5*mib, mib) || got.Bytes() >= disk/2 {
		t.Fatalf("allocated %v", got)
	}
	remove(t, vm, first)
	return s, vm, first
}

func covers(s extent.Set, off, length int64) bool {
	want := extent.Of(extent.Extent{Offset: off, Length: length})
	return len(want.Subtract(s)) == 0
}

func TestChangedAreasOfAGuest(t *testing.T) {
	t.Parallel()
	s, vm, first := tracked(t)
	s.Faults().SetAreasPerPage(1)
	s.Faults().SetEmptyPages(true)
	g := guest(t, s, vm, 0)
	for off := int64(0); off < disk; off += 16 * mib {
		write(t, g, off, 4096)
	}
	second := snapshot(t, vm, "vappvault-2")
	defer remove(t, vm, second)
	write(t, g, 40*mib, mib) // after the instant: not of this snapshot

	got, err := second.Changed(t.Context(), second.Disks[0], first.Disks[0].ChangeID)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 4 || !covers(got, 48*mib, 4096) || got.Contains(40*mib) || got.Bytes() > mib {
		t.Errorf("changed %v", got)
	}
	none, err := second.Changed(t.Context(), second.Disks[1], first.Disks[1].ChangeID)
	if err != nil || len(none) != 0 {
		t.Errorf("untouched disk: changed %v, %v", none, err)
	}
}

func TestForgottenChangeID(t *testing.T) {
	t.Parallel()
	s, vm, first := tracked(t)
	s.Faults().ForgetChangeIDs(vm.MoRef())
	second := snapshot(t, vm, "vappvault-2")
	defer remove(t, vm, second)
	if _, err := second.Changed(t.Context(), second.Disks[0], first.Disks[0].ChangeID); !errors.Is(err, vsphere.ErrChangeIDUnknown) {
		t.Errorf("got %v, want ErrChangeIDUnknown", err)
	}
}

func TestQuiescePolicies(t *testing.T) {
	t.Parallel()
	s, c := startSim(t, vcenter.Config{})
	vm := webVM(t, s, c)
	s.Faults().FailQuiesce(vm.MoRef(), true)
	spec := vsphere.SnapshotSpec{Name: "vappvault-1", Quiesce: vsphere.QuiesceRequire}
	if _, err := vm.CreateSnapshot(t.Context(), spec); !errors.Is(err, vsphere.ErrQuiesce) {
		t.Fatalf("require: got %v, want ErrQuiesce", err)
	}
	if left, err := vm.ReadSnapshots(t.Context()); err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	spec.Quiesce = vsphere.QuiesceTry
	got, err := vm.CreateSnapshot(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if got.Consistency != vsphere.ConsistencyCrash || got.QuiesceError == nil {
		t.Errorf("try: %s, %v", got.Consistency, got.QuiesceError)
	}
	remove(t, vm, got)
	s.Faults().FailQuiesce(vm.MoRef(), false)
	spec.Quiesce = vsphere.QuiesceRequire
	if got, err = vm.CreateSnapshot(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if got.Consistency != vsphere.ConsistencyApplication || got.QuiesceError != nil {
		t.Errorf("require: %s, %v", got.Consistency, got.QuiesceError)
	}
	remove(t, vm, got)
}

func TestConsolidationIsRetriedAndReported(t *testing.T) {
	t.Parallel()
	s, c := startSim(t, vcenter.Config{})
	vm := webVM(t, s, c)
	locked := &types.FileLocked{}

	s.Faults().LeaveDeltas(vm.MoRef(), 1)
	s.Faults().FailTask("ConsolidateVMDisks_Task", 2, locked)
	remove(t, vm, snapshot(t, vm, "vappvault-1"))
	if needed, err := vm.ConsolidationNeeded(t.Context()); err != nil || needed {
		t.Errorf("needed %v, %v", needed, err)
	}

	s.Faults().LeaveDeltas(vm.MoRef(), 1)
	s.Faults().FailTask("ConsolidateVMDisks_Task", 100, locked)
	second := snapshot(t, vm, "vappvault-2")
	err := vm.RemoveSnapshot(t.Context(), second.Ref)
	if !errors.Is(err, vsphere.ErrConsolidation) || !strings.Contains(err.Error(), "FileLocked") {
		t.Errorf("got %v, want ErrConsolidation and its cause", err)
	}
	s.Faults().FailTask("ConsolidateVMDisks_Task", 0, nil)
}

func TestSnapshotMadeAfterCancellationIsRemoved(t *testing.T) {
	t.Parallel()
	s, c := startSim(t, vcenter.Config{TaskDelay: 300 * time.Millisecond})
	vm := webVM(t, s, c)
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if _, err := vm.CreateSnapshot(ctx, vsphere.SnapshotSpec{Name: "vappvault-1"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if left, err := vm.ReadSnapshots(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBusyVMIsAskedAgain(t *testing.T) {
	t.Parallel()
	s, c := startSim(t, vcenter.Config{})
	vm := webVM(t, s, c)
	snap := snapshot(t, vm, "vappvault-1")
	s.Faults().FailTask("RemoveSnapshot_Task", 2, &types.TaskInProgress{})
	remove(t, vm, snap)
}

func TestRelocationLock(t *testing.T) {
	t.Parallel()
	s, c := startSim(t, vcenter.Config{})
	vm := webVM(t, s, c)
	disabled := func() []string {
		cfg, err := vm.Config(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return cfg.DisabledMethods
	}
	for range 2 {
		if err := vm.DisableRelocation(t.Context(), "vappvault"); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(disabled(), "RelocateVM_Task") {
		t.Errorf("disabled: %v", disabled())
	}
	for range 2 {
		if err := vm.EnableRelocation(t.Context(), "vappvault"); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Contains(disabled(), "RelocateVM_Task") {
		t.Errorf("disabled: %v", disabled())
	}
}

func TestAVMThatIsWrittenIsNotStarted(t *testing.T) {
	t.Parallel()
	s, c := startSim(t, vcenter.Config{})
	vm := webVM(t, s, c)
	if err := vm.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused := func() (start, snapshot bool) {
		config, err := vm.Config(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = vm.CreateSnapshot(t.Context(), vsphere.SnapshotSpec{Name: "theirs"})
		return config.StartDisabled() && s.PowerOn(config.MoRef) != nil, err != nil
	}
	for range 2 {
		if err := vm.DisableStart(t.Context(), "vappvault", "it is written"); err != nil {
			t.Fatal(err)
		}
	}
	if start, snapshot := refused(); !start || !snapshot {
		t.Errorf("starting is refused: %v, a snapshot: %v", start, snapshot)
	}
	if err := vm.ResetChangeTracking(t.Context()); err != nil { // as whoever writes it does
		t.Error(err)
	}
	for range 2 {
		if err := vm.EnableStart(t.Context(), "vappvault"); err != nil {
			t.Fatal(err)
		}
	}
	if start, snapshot := refused(); start || snapshot {
		t.Errorf("afterwards, starting is refused: %v, a snapshot: %v", start, snapshot)
	}
}

func TestFilesOfAVM(t *testing.T) {
	t.Parallel()
	s, c := startSim(t, vcenter.Config{})
	vm := webVM(t, s, c)
	cfg, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	vmx, err := vm.File(t.Context(), cfg.VmPathName)
	if err != nil || !strings.Contains(string(vmx), "web 01") {
		t.Errorf("%s: %q, %v", cfg.VmPathName, vmx, err)
	}
	nvram, ok := cfg.NVRAM()
	if !ok {
		t.Fatal("no nvram")
	}
	if _, err := vm.File(t.Context(), nvram); err != nil {
		t.Error(err)
	}
	s.Faults().RefuseFolder(true)
	if _, err := vm.File(t.Context(), nvram); !errors.Is(err, vsphere.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
}

// A restore that overwrites: scratch VM, its disks moved next to the VM,
// swapped in, and the old ones deleted.
func TestScratchDisksAreSwappedIn(t *testing.T) {
	t.Parallel()
	s, c := startSim(t, vcenter.Config{})
	vm := webVM(t, s, c)
	if err := vm.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	was, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.RebuildPlace(t.Context(), was.Disks[0].DatastoreRef)
	if err != nil {
		t.Fatal(err)
	}
	var keys []int32
	for _, d := range was.Disks {
		keys = append(keys, d.Key)
	}
	spec, err := vsphere.ScratchSpec(was.Raw, "vappvault-scratch-1", keys, p.Options(""))
	if err != nil {
		t.Fatal(err)
	}
	moref, err := c.CreateVM(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	scratch := c.VM(moref)
	write(t, guest(t, s, scratch, 0), 7*mib, mib)
	fresh, err := scratch.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var swaps []vsphere.Attach
	for i, d := range fresh.Disks {
		file, err := scratch.DetachDisk(t.Context(), d.Key)
		if err != nil {
			t.Fatal(err)
		}
		to := strings.TrimSuffix(was.Disks[i].FileName, ".vmdk") + "-restored.vmdk"
		if err := c.MoveDisk(t.Context(), was.Datacenter, file, to); err != nil {
			t.Fatal(err)
		}
		swap := was.Disks[i].Attach()
		swap.File = to
		swaps = append(swaps, swap)
	}
	if err := scratch.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkSwap(t, s, c, vm, was, swaps)
}

func checkSwap(t *testing.T, s *vcenter.Server, c *vsphere.Client, vm *vsphere.VM, was *vsphere.VMConfig, swaps []vsphere.Attach) {
	t.Helper()
	var old []string
	for _, d := range was.Disks {
		old = append(old, d.FileName)
	}
	if err := vm.ExchangeDisks(t.Context(), old, swaps); err != nil {
		t.Fatal(err)
	}
	now, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(now.Disks) != len(was.Disks) {
		t.Fatalf("%d disks", len(now.Disks))
	}
	for i, d := range now.Disks {
		w := was.Disks[i]
		if d.Key != w.Key || d.ControllerKey != w.ControllerKey || d.Unit != w.Unit || d.Capacity != w.Capacity || d.FileName != swaps[i].File {
			t.Errorf("got %+v, was %+v", d, w)
		}
	}
	b := make([]byte, 1)
	if _, err := guest(t, s, vm, 0).ReadAt(b, 7*mib); err != nil || b[0] != 0xa5 {
		t.Errorf("the guest reads %x, %v", b, err)
	}
	if err := vm.ExchangeDisks(t.Context(), old, swaps); err != nil {
		t.Errorf("again: %v", err)
	}
	for range 2 {
		for _, o := range old {
			if err := c.DeleteDisk(t.Context(), was.Datacenter, o); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSwapIsRefusedUnderSnapshots(t *testing.T) {
	t.Parallel()
	s, c := startSim(t, vcenter.Config{})
	vm := webVM(t, s, c)
	snap := snapshot(t, vm, "before the upgrade")
	defer remove(t, vm, snap)
	swap := snap.Disks[0].Attach()
	swap.File = "[ds 1] x/x.vmdk"
	now, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = vm.ExchangeDisks(t.Context(), []string{now.Disks[0].FileName}, []vsphere.Attach{swap})
	if !errors.Is(err, vsphere.ErrSnapshotsPresent) {
		t.Errorf("got %v, want ErrSnapshotsPresent", err)
	}
}
