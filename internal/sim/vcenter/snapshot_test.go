package vcenter_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func snapshot(t *testing.T, vm *object.VirtualMachine, name string) types.ManagedObjectReference {
	t.Helper()
	task, err := vm.CreateSnapshot(context.Background(), name, "", false, false)
	return done(t, task, err).(types.ManagedObjectReference)
}

func removeSnapshot(t *testing.T, vm *object.VirtualMachine, ref types.ManagedObjectReference, children bool) {
	t.Helper()
	res, err := methods.RemoveSnapshot_Task(context.Background(), vm.Client(), &types.RemoveSnapshot_Task{This: ref, RemoveChildren: children})
	if err != nil {
		t.Fatal(err)
	}
	done(t, object.NewTask(vm.Client(), res.Returnval), nil)
}

func revert(t *testing.T, vm *object.VirtualMachine, ref types.ManagedObjectReference) {
	t.Helper()
	res, err := methods.RevertToSnapshot_Task(context.Background(), vm.Client(), &types.RevertToSnapshot_Task{This: ref})
	if err != nil {
		t.Fatal(err)
	}
	done(t, object.NewTask(vm.Client(), res.Returnval), nil)
}

func frozen(t *testing.T, vm *object.VirtualMachine, ref types.ManagedObjectReference) []*types.VirtualDisk {
	t.Helper()
	var m mo.VirtualMachineSnapshot
	if err := property.DefaultCollector(vm.Client()).RetrieveOne(context.Background(), ref, []string{"config"}, &m); err != nil {
		t.Fatal(err)
	}
	return disks(m.Config.Hardware.Device)
}

func trackChanges(t *testing.T, vm *object.VirtualMachine, on bool) {
	t.Helper()
	task, err := vm.Reconfigure(context.Background(), types.VirtualMachineConfigSpec{ChangeTrackingEnabled: types.NewBool(on)})
	done(t, task, err)
}

// changed asks for all pages.
func changed(vm *object.VirtualMachine, snap *types.ManagedObjectReference, d *types.VirtualDisk, id string) (areas []vcenter.Range, pages int, err error) {
	for off := int64(0); off < d.CapacityInBytes; pages++ {
		res, err := methods.QueryChangedDiskAreas(context.Background(), vm.Client(), &types.QueryChangedDiskAreas{
			This: vm.Reference(), Snapshot: snap, DeviceKey: d.Key, StartOffset: off, ChangeId: id,
		})
		if err != nil {
			return nil, pages, err
		}
		for _, a := range res.Returnval.ChangedArea {
			areas = append(areas, vcenter.Range{Offset: a.Start, Length: a.Length})
		}
		off = res.Returnval.StartOffset + res.Returnval.Length
	}
	return areas, pages, nil
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, filepath.Base(p))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSnapshotFreezesTheBaseFile(t *testing.T) {
	t.Parallel()
	var dir string
	s := start(t, func(c *vcenter.Config) { dir = c.Dir })
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "db", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 64 * mib, Thin: true}}})
	g := guest(t, s, vm, 0)
	before := random(200_000)
	write(t, g, 1000, before)
	snap := snapshot(t, vm, "one")
	write(t, g, 3000, random(70_000))
	now := make([]byte, 200_000)
	_, _ = g.ReadAt(now, 1000)

	f := frozen(t, vm, snap)[0]
	if flat(f).FileName != "[ds1] db/db.vmdk" || flat(f).Parent != nil {
		t.Errorf("got frozen file %s with parent %v, want the base", flat(f).FileName, flat(f).Parent)
	}
	m := props(t, vm)
	top := flat(disks(m.Config.Hardware.Device)[0])
	if top.FileName != "[ds1] db/db-000001.vmdk" || top.Parent == nil || top.Parent.FileName != "[ds1] db/db.vmdk" {
		t.Errorf("got current file %s with parent %v", top.FileName, top.Parent)
	}
	if m.Snapshot.CurrentSnapshot.Value != snap.Value || len(m.RootSnapshot) != 1 || m.Snapshot.RootSnapshotList[0].Name != "one" {
		t.Errorf("got snapshots %+v", m.Snapshot)
	}
	listed := ""
	for _, file := range m.LayoutEx.File {
		listed += file.Name + "\n"
	}
	for _, want := range []string{"db.vmx", "db.nvram", "db-flat.vmdk", "db-000001-delta.vmdk", "db-Snapshot1.vmsn"} {
		if !strings.Contains(listed, want) {
			t.Errorf("layoutEx does not list %s:\n%s", want, listed)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "ds1", "db", "db-flat.vmdk"))
	if err != nil || len(raw) != 64*mib || string(raw[1000:201_000]) != string(before) {
		t.Errorf("the base file is not what was frozen: %d bytes, %v", len(raw), err)
	}
	reads(t, g, 1000, now)
	removeSnapshot(t, vm, snap, false)
	reads(t, g, 1000, now)
	if m = props(t, vm); m.Snapshot != nil || flat(disks(m.Config.Hardware.Device)[0]).FileName != "[ds1] db/db.vmdk" {
		t.Errorf("got snapshots %v after the removal of the only one", m.Snapshot)
	}
	if left := strings.Join(files(t, dir), " "); strings.Contains(left, "delta") || strings.Contains(left, "vmsn") {
		t.Errorf("left behind: %s", left)
	}
}

func TestTreeOfSnapshots(t *testing.T) {
	t.Parallel()
	var dir string
	s := start(t, func(c *vcenter.Config) { dir = c.Dir })
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "tree", Disks: []vcenter.DiskSpec{{Size: 8 * mib}, {Size: 4 * mib, Datastore: "ds2"}}})
	g := guest(t, s, vm, 0)
	a, b, d, e := random(300_000), random(300_000), random(300_000), random(100_000)
	write(t, g, 0, a)
	s1 := snapshot(t, vm, "s1")
	write(t, g, 100_000, b)
	s2 := snapshot(t, vm, "s2")
	write(t, g, 200_000, d)
	s3 := snapshot(t, vm, "s3")
	write(t, g, 5, e)

	revert(t, vm, s1)
	reads(t, g, 0, a)
	write(t, g, 1*mib, e)
	s4 := snapshot(t, vm, "s4, beside s2")
	if tree := props(t, vm).Snapshot.RootSnapshotList; len(tree) != 1 || len(tree[0].ChildSnapshotList) != 2 {
		t.Fatalf("got tree %+v", tree)
	}
	removeSnapshot(t, vm, s1, false) // a root whose children remain
	if roots := props(t, vm).Snapshot.RootSnapshotList; len(roots) != 2 {
		t.Fatalf("got %d roots, want 2", len(roots))
	}
	revert(t, vm, s3)
	reads(t, g, 200_000, d)
	reads(t, g, 100_000, b[:100_000])
	reads(t, g, 0, a[:100_000])
	revert(t, vm, s4)
	reads(t, g, 0, a)
	reads(t, g, 1*mib, e)
	removeSnapshot(t, vm, s2, true)
	if n := len(props(t, vm).Snapshot.RootSnapshotList); n != 1 {
		t.Errorf("got %d roots after removing a subtree, want 1", n)
	}
	task, err := vm.RemoveAllSnapshot(context.Background(), nil)
	done(t, task, err)
	reads(t, g, 0, a)
	reads(t, g, 1*mib, e)
	if left := strings.Join(files(t, dir), " "); strings.Contains(left, "-0") || strings.Contains(left, "vmsn") {
		t.Errorf("left behind: %s", left)
	}
	m := props(t, vm)
	for _, disk := range disks(m.Config.Hardware.Device) {
		if flat(disk).Parent != nil {
			t.Errorf("disk %d still hangs from %s", disk.Key, flat(disk).Parent.FileName)
		}
	}
}

func TestConsolidation(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: 8 * mib}}})
	g := guest(t, s, vm, 0)
	snap := snapshot(t, vm, "x")
	data := random(1000)
	write(t, g, 70_000, data)
	s.Faults().LeaveDeltas(vm.Reference().Value, 1)
	removeSnapshot(t, vm, snap, false)
	m := props(t, vm)
	if !m.Runtime.ConsolidationNeeded || m.Snapshot != nil || flat(disks(m.Config.Hardware.Device)[0]).Parent == nil {
		t.Fatalf("got consolidationNeeded %v, snapshots %v", m.Runtime.ConsolidationNeeded, m.Snapshot)
	}
	res, err := methods.ConsolidateVMDisks_Task(context.Background(), c.Client, &types.ConsolidateVMDisks_Task{This: vm.Reference()})
	if err != nil {
		t.Fatal(err)
	}
	done(t, object.NewTask(c.Client, res.Returnval), nil)
	m = props(t, vm)
	if m.Runtime.ConsolidationNeeded || flat(disks(m.Config.Hardware.Device)[0]).Parent != nil {
		t.Error("consolidation did nothing")
	}
	reads(t, g, 70_000, data)
}

func TestIndependentDisksAreNotFrozen(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{
		{Size: mib}, {Size: mib, Unit: 1, Mode: "independent_persistent"},
	}})
	snapshot(t, vm, "x")
	d := disks(props(t, vm).Config.Hardware.Device)
	if flat(d[0]).Parent == nil || flat(d[1]).Parent != nil {
		t.Errorf("got parents %v and %v", flat(d[0]).Parent, flat(d[1]).Parent)
	}
}

func TestQuiescingCanFail(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib}}})
	s.Faults().FailQuiesce(vm.Reference().Value, true)
	task, err := vm.CreateSnapshot(context.Background(), "q", "", false, true)
	_, err = finish(task, err)
	if !fault.Is(err, &types.ApplicationQuiesceFault{}) {
		t.Errorf("got %v, want ApplicationQuiesceFault", err)
	}
	snapshot(t, vm, "not quiesced")
}

func TestChangedAreasAreWhatTheGuestWrote(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: gib, Thin: true}}})
	g := guest(t, s, vm, 0)
	write(t, g, 10*mib, random(mib))
	untracked := snapshot(t, vm, "untracked")
	if id := flat(frozen(t, vm, untracked)[0]).ChangeId; id != "" {
		t.Errorf("got change ID %q without change tracking", id)
	}
	removeSnapshot(t, vm, untracked, false)
	trackChanges(t, vm, true)
	if id := flat(disks(props(t, vm).Config.Hardware.Device)[0]).ChangeId; id != "" {
		t.Errorf("got change ID %q before a stun", id)
	}
	s1 := snapshot(t, vm, "s1")
	d := frozen(t, vm, s1)[0]
	id1 := flat(d).ChangeId
	if !strings.Contains(id1, "/") {
		t.Fatalf("got change ID %q", id1)
	}
	areas, _, err := changed(vm, &s1, d, "*")
	if err != nil || len(areas) != 1 || areas[0] != (vcenter.Range{Offset: 10 * mib, Length: mib}) {
		t.Errorf("got allocated areas %v, %v", areas, err)
	}
	write(t, g, 100*mib+5, make([]byte, 10)) // zeros count: the guest wrote them
	removeSnapshot(t, vm, s1, false)
	write(t, g, 200*mib-1, random(2))
	s2 := snapshot(t, vm, "s2")
	write(t, g, 300*mib, random(2)) // after the snapshot
	areas, _, err = changed(vm, &s2, d, id1)
	want := []vcenter.Range{{Offset: 100 * mib, Length: 65536}, {Offset: 200*mib - 65536, Length: 2 * 65536}}
	if err != nil || len(areas) != 2 || areas[0] != want[0] || areas[1] != want[1] {
		t.Errorf("got changed areas %v, %v; want %v", areas, err, want)
	}
	s.Faults().SetAreasPerPage(1)
	s.Faults().SetEmptyPages(true)
	if paged, pages, err := changed(vm, &s2, d, id1); err != nil || len(paged) != 2 || pages != 3 {
		t.Errorf("got %v in %d pages, %v", paged, pages, err)
	}
	s.Faults().ForgeCBT(vm.Reference().Value, d.Key, vcenter.Range{Offset: 100 * mib, Length: mib})
	if lied, _, err := changed(vm, &s2, d, id1); err != nil || len(lied) != 1 {
		t.Errorf("got %v, %v from a host told to lie", lied, err)
	}
	s.Faults().ForgetChangeIDs(vm.Reference().Value)
	if _, _, err := changed(vm, &s2, d, id1); !fault.Is(err, &types.FileFault{}) {
		t.Errorf("got %v for a forgotten change ID, want FileFault", err)
	}
}

func TestNewEpochs(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", ChangeTracking: true, Disks: []vcenter.DiskSpec{{Size: 64 * mib, Thin: true}}})
	epoch := func() (string, string) {
		snap := snapshot(t, vm, "x")
		id := flat(frozen(t, vm, snap)[0]).ChangeId
		removeSnapshot(t, vm, snap, false)
		e, _, ok := strings.Cut(id, "/")
		if !ok {
			t.Fatalf("got change ID %q", id)
		}
		return e, id
	}
	first, id := epoch()
	if again, _ := epoch(); again != first {
		t.Errorf("a snapshot began a new epoch")
	}
	for _, c := range []struct {
		name string
		act  func()
	}{
		{"a revert", func() {
			snap := snapshot(t, vm, "x")
			revert(t, vm, snap)
			removeSnapshot(t, vm, snap, false)
		}},
		{"switching tracking off and on", func() {
			trackChanges(t, vm, false)
			trackChanges(t, vm, true)
		}},
		{"growing the disk", func() {
			d := disks(props(t, vm).Config.Hardware.Device)[0]
			d.CapacityInBytes *= 2
			d.CapacityInKB = 0
			task, err := vm.Reconfigure(context.Background(), types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
				&types.VirtualDeviceConfigSpec{Operation: "edit", Device: d},
			}})
			done(t, task, err)
		}},
	} {
		c.act()
		now, _ := epoch()
		if now == first {
			t.Errorf("%s does not begin a new epoch", c.name)
		}
		first = now
	}
	snap := snapshot(t, vm, "x")
	if _, _, err := changed(vm, &snap, frozen(t, vm, snap)[0], id); !fault.Is(err, &types.FileFault{}) {
		t.Errorf("got %v for a change ID of an old epoch, want FileFault", err)
	}
}

func TestAPowerCycleTurnsTrackingOn(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib}}})
	trackChanges(t, vm, true)
	id := func() string { return flat(disks(props(t, vm).Config.Hardware.Device)[0]).ChangeId }
	if got := id(); got != "" {
		t.Errorf("got change ID %q before the power cycle", got)
	}
	done2(t)(vm.PowerOff(context.Background()))
	done2(t)(vm.PowerOn(context.Background()))
	if id() == "" {
		t.Error("no change ID after the power cycle")
	}
}
