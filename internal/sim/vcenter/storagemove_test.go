package vcenter_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func datastoreRef(t *testing.T, c *govmomi.Client, name string) *types.ManagedObjectReference {
	t.Helper()
	ds, err := find.NewFinder(c.Client).Datastore(context.Background(), "/DC0/datastore/"+name)
	if err != nil {
		t.Fatal(err)
	}
	ref := ds.Reference()
	return &ref
}

func TestStorageVMotionMovesDisksAndSnapshots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, func(c *vcenter.Config) { c.Dir = dir })
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, ChangeTracking: true, Disks: []vcenter.DiskSpec{{Size: 8 * mib, Thin: true}, {Size: mib, Thin: true}}})
	g := guest(t, s, vm, 0)
	a, b := random(100_000), random(70_000)
	write(t, g, 0, a)
	snap := snapshot(t, vm, "x")
	first := frozen(t, vm, snap)[0]
	id := flat(first).ChangeId
	write(t, g, 4*mib, b)
	var other string
	was := props(t, vm).Runtime.Host
	for _, h := range s.HostNames() {
		ref, err := find.NewFinder(c.Client).HostSystem(ctx, "*/"+h)
		if err != nil {
			t.Fatal(err)
		}
		if ref.Reference() != *was {
			other = h
		}
	}
	if err := s.Migrate(vm.Reference().Value, other, "ds2"); err != nil {
		t.Fatal(err)
	}
	p := props(t, vm)
	if *p.Runtime.Host == *was || len(p.Datastore) != 1 || p.Datastore[0] != *datastoreRef(t, c, "ds2") {
		t.Errorf("got host %v and datastores %v", p.Runtime.Host, p.Datastore)
	}
	if !strings.HasPrefix(p.Config.Files.VmPathName, "[ds2] ") || p.Runtime.PowerState != "poweredOn" {
		t.Errorf("got %s, %s", p.Config.Files.VmPathName, p.Runtime.PowerState)
	}
	for _, d := range append(disks(p.Config.Hardware.Device), frozen(t, vm, snap)...) {
		for f := flat(d); f != nil; f = f.Parent {
			if !strings.HasPrefix(f.FileName, "[ds2] ") {
				t.Errorf("a disk stayed behind: %s", f.FileName)
			}
		}
	}
	if left := files(t, dir+"/ds1"); len(left) > 0 {
		t.Errorf("files stayed behind: %q", left)
	}
	reads(t, g, 0, a)
	reads(t, g, 4*mib, b)
	// Change IDs from before are still good.
	snap2 := snapshot(t, vm, "y")
	areas, _, err := changed(vm, &snap2, disks(p.Config.Hardware.Device)[0], id)
	if err != nil || len(areas) == 0 || areas[0].Offset > 4*mib {
		t.Errorf("got areas %v, %v", areas, err)
	}
	revert(t, vm, snap)
	reads(t, guest(t, s, vm, 0), 4*mib, make([]byte, 1000))
	reads(t, guest(t, s, vm, 0), 0, a)
	task, err := vm.RemoveAllSnapshot(ctx, nil)
	done(t, task, err)
	if err := s.PowerOff(vm.Reference().Value); err != nil && !strings.Contains(err.Error(), "PowerState") {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(dir + "/ds2/*/vmware.log")
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs: %q, %v", logs, err)
	}
	if text, err := os.ReadFile(logs[0]); err != nil || !bytes.Contains(text, []byte("requesting poweredOff")) {
		t.Errorf("the log did not move along: %q, %v", text, err)
	}
	task, err = vm.Destroy(ctx)
	done(t, task, err)
	if left := files(t, dir+"/ds2"); len(left) > 0 {
		t.Errorf("files stayed behind: %q", left)
	}
}

func TestMigrationsAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: 8 * mib, Thin: true}}})
	ref := vm.Reference().Value
	write(t, guest(t, s, vm, 0), 0, random(4*mib))
	disable(t, c, vm, "backup")
	if err := s.Migrate(ref, "", "ds2"); err == nil || !strings.Contains(err.Error(), "disabled by backup") {
		t.Errorf("disabled: got %v", err)
	}
	if err := object.NewAuthorizationManager(c.Client).EnableMethods(ctx, []types.ManagedObjectReference{vm.Reference()}, []string{"RelocateVM_Task"}, "backup"); err != nil {
		t.Fatal(err)
	}
	lease, _ := exportSnapshot(t, vm, snapshot(t, vm, "x"))
	if err := s.Migrate(ref, "", "ds2"); err == nil || !strings.Contains(err.Error(), "in progress") {
		t.Errorf("leased: got %v", err)
	}
	if err := lease.Abort(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.FillDatastore("ds2", 64<<40-mib); err != nil {
		t.Fatal(err)
	}
	_, err := finish(vm.Relocate(ctx, types.VirtualMachineRelocateSpec{Datastore: datastoreRef(t, c, "ds2")}, ""))
	if !fault.Is(err, &types.NoDiskSpace{}) {
		t.Errorf("full: got %v, want NoDiskSpace", err)
	}
	if err := s.SetDatastoreState("ds2", "maintenance"); err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(ref, "", "ds2"); err == nil || !strings.Contains(err.Error(), "maintenance") {
		t.Errorf("in maintenance: got %v", err)
	}
	for _, bad := range [][2]string{{"none", ""}, {"", "none"}} {
		if err := s.Migrate(ref, bad[0], bad[1]); err == nil {
			t.Errorf("to %q: no error", bad)
		}
	}
}

func TestTrackingCanStartAnewWithAMigration(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, ChangeTracking: true, Disks: []vcenter.DiskSpec{{Size: mib, Thin: true}}})
	s.Faults().ResetCBTOnMigration(true)
	snap := snapshot(t, vm, "x")
	d := frozen(t, vm, snap)[0]
	removeSnapshot(t, vm, snap, false)
	if err := s.Migrate(vm.Reference().Value, "", "ds2"); err != nil {
		t.Fatal(err)
	}
	snap = snapshot(t, vm, "y")
	if _, _, err := changed(vm, &snap, d, flat(d).ChangeId); !fault.Is(err, &types.FileFault{}) {
		t.Errorf("got %v, want FileFault", err)
	}
}

func clone(vm *object.VirtualMachine, at place, name string, spec types.VirtualMachineCloneSpec) (*object.VirtualMachine, error) {
	pool := at.pool.Reference()
	spec.Location.Pool = &pool
	res, err := finish(vm.Clone(context.Background(), at.folder, name, spec))
	if err != nil {
		return nil, err
	}
	return object.NewVirtualMachine(vm.Client(), res.(types.ManagedObjectReference)), nil
}

func TestLinkedClonesShareTheirBase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, func(c *vcenter.Config) { c.Dir = dir })
	c := dial(t, s)
	ctx := context.Background()
	at := where(t, c)
	parent := machine(t, s, c, vcenter.VMSpec{Name: "parent", Disks: []vcenter.DiskSpec{{Size: 4 * mib, Thin: true}}})
	a := random(1 * mib)
	write(t, guest(t, s, parent, 0), 0, a)
	link := types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{DiskMoveType: "createNewChildDiskBacking"}}
	if _, err := clone(parent, at, "none", link); !fault.Is(err, &types.InvalidArgument{}) {
		t.Errorf("of no snapshot: got %v, want InvalidArgument", err)
	}
	snap := snapshot(t, parent, "base")
	link.Snapshot = &snap
	write(t, guest(t, s, parent, 0), 0, random(1000))
	kid, err := clone(parent, at, "kid", link)
	if err != nil {
		t.Fatal(err)
	}
	d := flat(disks(props(t, kid).Config.Hardware.Device)[0])
	if d.Parent == nil || d.Parent.FileName != "[ds1] parent/parent.vmdk" || d.Parent.Parent != nil {
		t.Fatalf("got backing %+v on %+v", d, d.Parent)
	}
	reads(t, guest(t, s, kid, 0), 0, a)
	b := random(5000)
	write(t, guest(t, s, kid, 0), 3*mib, b)
	// A snapshot of the clone goes and leaves the clone's own delta.
	ks := snapshot(t, kid, "mine")
	write(t, guest(t, s, kid, 0), 2*mib, b)
	removeSnapshot(t, kid, ks, false)
	reads(t, guest(t, s, kid, 0), 2*mib, b)
	// The parent goes, what the clone needs stays.
	task, err := parent.Destroy(ctx)
	done(t, task, err)
	reads(t, guest(t, s, kid, 0), 0, a)
	reads(t, guest(t, s, kid, 0), 3*mib, b)
	// Consolidated where it is, another clone lies on nothing.
	whole, err := clone(kid, at, "whole", types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{DiskMoveType: "moveChildMostDiskBacking"}})
	if err != nil {
		t.Fatal(err)
	}
	own := disks(props(t, whole).Config.Hardware.Device)[0]
	task, err = whole.Relocate(ctx, types.VirtualMachineRelocateSpec{DiskMoveType: "moveAllDiskBackingsAndConsolidate", Disk: []types.VirtualMachineRelocateSpecDiskLocator{
		{DiskId: own.Key, Datastore: *flat(own).Datastore}}}, types.VirtualMachineMovePriorityDefaultPriority)
	done(t, task, err)
	if d := flat(disks(props(t, whole).Config.Hardware.Device)[0]); d.Parent != nil || !strings.HasPrefix(d.FileName, "[ds1] whole/") {
		t.Errorf("got backing %+v", d)
	}
	reads(t, guest(t, s, whole, 0), 0, a)
	reads(t, guest(t, s, whole, 0), 2*mib, b)
	if err := s.PowerOn(kid.Reference().Value); err != nil {
		t.Fatal(err)
	}
	// Storage vMotion of a clone gives it files of its own.
	if err := s.Migrate(kid.Reference().Value, "", "ds2"); err != nil {
		t.Fatal(err)
	}
	reads(t, guest(t, s, kid, 0), 0, a)
	if left := files(t, dir+"/ds1"); slices.ContainsFunc(left, func(f string) bool { return strings.Contains(f, "kid") }) {
		t.Errorf("files stayed behind: %q", left)
	}
}

func TestClonesOfSnapshotsAndTemplates(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	at := where(t, c)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: 4 * mib, Thin: true}}})
	a, b := random(5000), random(5000)
	write(t, guest(t, s, vm, 0), 0, a)
	snap := snapshot(t, vm, "x")
	write(t, guest(t, s, vm, 0), 0, b)
	old, err := clone(vm, at, "old", types.VirtualMachineCloneSpec{Snapshot: &snap})
	if err != nil {
		t.Fatal(err)
	}
	reads(t, guest(t, s, old, 0), 0, a)
	child, err := clone(vm, at, "child", types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{DiskMoveType: "moveChildMostDiskBacking"}})
	if err != nil {
		t.Fatal(err)
	}
	reads(t, guest(t, s, child, 0), 0, b)
	if flat(disks(props(t, child).Config.Hardware.Device)[0]).Parent == nil {
		t.Error("the base was copied")
	}
	tpl, err := clone(vm, at, "tpl", types.VirtualMachineCloneSpec{Template: true, Config: &types.VirtualMachineConfigSpec{NumCPUs: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if p := props(t, tpl); !p.Config.Template || p.Config.Hardware.NumCPU != 3 {
		t.Errorf("got template %v with %d CPUs", p.Config.Template, p.Config.Hardware.NumCPU)
	}
	if err := s.PowerOn(tpl.Reference().Value); err == nil {
		t.Error("a template is switched on")
	}
	again, err := clone(tpl, at, "again", types.VirtualMachineCloneSpec{})
	if err != nil {
		t.Fatal(err)
	}
	reads(t, guest(t, s, again, 0), 0, b)
}

func TestAFullDatastoreStopsTheGuest(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *vcenter.Config) { c.Datastores = []vcenter.Datastore{{Name: "ds1", Capacity: 256 * mib}} })
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", MemoryMB: 32, PowerOn: true, Disks: []vcenter.DiskSpec{{Size: gib, Thin: true}}})
	ref := vm.Reference().Value
	g := guest(t, s, vm, 0)
	fill := func(n int64) {
		t.Helper()
		if err := s.FillDatastore("ds1", n); err != nil {
			t.Fatal(err)
		}
	}
	write(t, g, 0, random(4*mib))
	fill(224 * mib) // and 32 MiB for swapping
	if _, err := g.WriteAt(random(mib), 100*mib); err == nil {
		t.Fatal("a full datastore takes a write")
	}
	q := props(t, vm).Runtime.Question
	if q == nil || q.Message[0].Id != "msg.hbacommon.outofspace" || len(q.Choice.ChoiceInfo) != 2 {
		t.Fatalf("got question %+v", q)
	}
	if _, err := g.WriteAt([]byte{1}, 0); err == nil {
		t.Error("a VM that waits for an answer writes")
	}
	if _, err := finish(vm.CreateSnapshot(ctx, "x", "", false, false)); !fault.Is(err, &types.InvalidState{}) {
		t.Errorf("got %v, want InvalidState", err)
	}
	if err := vm.Answer(ctx, "no such", "0"); !fault.Is(err, &types.ConcurrentAccess{}) {
		t.Errorf("got %v, want ConcurrentAccess", err)
	}
	if err := vm.Answer(ctx, q.Id, "9"); !fault.Is(err, &types.InvalidArgument{}) {
		t.Errorf("got %v, want InvalidArgument", err)
	}
	if err := vm.Answer(ctx, q.Id, "0"); err != nil {
		t.Fatal(err)
	}
	write(t, g, 0, []byte("what is allocated can be written"))
	for _, refused := range []struct {
		name string
		do   func() error
	}{
		{"a snapshot", func() error { _, err := finish(vm.CreateSnapshot(ctx, "x", "", false, false)); return err }},
		{"a new VM", func() error { _, err := s.AddVM(vcenter.VMSpec{Name: "new"}); return err }},
		{"a new disk", func() error { return reconfigure(vm, change("add", "create", diskOn(-1, 1000, 1, "", 4*mib))) }},
	} {
		if err := refused.do(); err == nil || !strings.Contains(err.Error(), "insufficient disk space") {
			t.Errorf("%s: got %v", refused.name, err)
		}
	}
	fill(100 * mib)
	write(t, g, 100*mib, random(mib))
	if _, _, err := importVM(t, c, "big", 8*mib); err == nil {
		t.Error("an import to a datastore that is not there")
	}
	fill(221 * mib)
	if _, err := g.WriteAt(random(8*mib), 300*mib); err == nil {
		t.Fatal("a full datastore takes a write")
	}
	if err := s.Answer(ref, "1"); err != nil {
		t.Fatal(err)
	}
	for props(t, vm).Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
	}
	fill(251 * mib)
	if err := s.PowerOn(ref); err == nil || !strings.Contains(err.Error(), ".vswp") {
		t.Errorf("no room to swap: got %v", err)
	}
	fill(0)
	if err := s.PowerOn(ref); err != nil {
		t.Error(err)
	}
}

func TestDatastoresCanGo(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: mib, Thin: true}}})
	state := func(to string) {
		t.Helper()
		if err := s.SetDatastoreState("ds1", to); err != nil {
			t.Fatal(err)
		}
	}
	state("inaccessible")
	if err := s.PowerOn(vm.Reference().Value); err == nil {
		t.Error("the VM starts without its disk")
	}
	if _, err := guest(t, s, vm, 0).WriteAt([]byte{1}, 0); err == nil {
		t.Error("the disk takes a write")
	}
	if status, _ := browse(t, s, c).do("GET", "vm/vm.vmx", nil); status == 200 {
		t.Error("a file can be read")
	}
	state("maintenance")
	if _, err := s.AddVM(vcenter.VMSpec{Name: "new"}); err == nil {
		t.Error("a datastore in maintenance takes a new VM")
	}
	state("normal")
	if err := s.PowerOn(vm.Reference().Value); err != nil {
		t.Error(err)
	}
	if err := s.SetDatastoreState("ds1", "gone"); err == nil {
		t.Error("a state that there is not")
	}
}

func TestADeadProxyKeepsDisksLocked(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib, Thin: true}}})
	ref := vm.Reference().Value
	snap := snapshot(t, vm, "x")
	content := bytes.Repeat([]byte("x"), 5000)
	write(t, guest(t, s, vm, 0), 0, content)
	s.Faults().LockDisks(ref, true)
	removeSnapshot(t, vm, snap, false)
	if needed := props(t, vm).Runtime.ConsolidationNeeded; !needed {
		t.Error("no consolidation is needed")
	}
	consolidate := func() error {
		res, err := methods.ConsolidateVMDisks_Task(ctx, vm.Client(), &types.ConsolidateVMDisks_Task{This: vm.Reference()})
		if err != nil {
			return err
		}
		_, err = finish(object.NewTask(vm.Client(), res.Returnval), nil)
		return err
	}
	if err := consolidate(); !fault.Is(err, &types.FileLocked{}) {
		t.Errorf("got %v, want FileLocked", err)
	}
	s.Faults().LockDisks(ref, false)
	if err := consolidate(); err != nil {
		t.Error(err)
	}
	reads(t, guest(t, s, vm, 0), 0, content)
}

func TestAKillDuringAStorageMoveLosesNothing(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s, c := e.start(false)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Datastore: "ds1", Disks: []vcenter.DiskSpec{{Size: 8 * mib}}})
	content := random(mib)
	write(t, guest(t, s, vm, 0), mib, content)
	snap := snapshot(t, vm, "before")
	write(t, guest(t, s, vm, 0), 2*mib, content)
	killed := map[string]*estate{}
	s.SetHook(func(moment string) { killed[moment] = e.killed() })
	done2(t)(vm.Relocate(context.Background(), types.VirtualMachineRelocateSpec{Datastore: datastoreRef(t, c, "ds2")}, types.VirtualMachineMovePriorityDefaultPriority))
	e.close(s)
	killed["end"] = e
	for moment, home := range map[string]string{"moved": "[ds1] ", "saved": "[ds2] ", "end": "[ds2] "} {
		s, c := killed[moment].start(true)
		vm := again(vm, c)
		p := props(t, vm)
		if !strings.HasPrefix(p.Config.Files.VmPathName, home) {
			t.Errorf("killed when %s: the VM is at %s", moment, p.Config.Files.VmPathName)
		}
		if p.Snapshot == nil || p.Snapshot.RootSnapshotList[0].Snapshot != snap {
			t.Errorf("killed when %s: got snapshots %+v", moment, p.Snapshot)
		}
		got := make([]byte, 2*mib)
		if _, err := guest(t, s, vm, 0).ReadAt(got, mib); err != nil || !bytes.Equal(got, append(content[:mib:mib], content...)) {
			t.Errorf("killed when %s: other bytes, %v", moment, err)
		}
		if err := s.PowerOn(vm.Reference().Value); err != nil {
			t.Errorf("killed when %s: %v", moment, err)
		}
		killed[moment].close(s)
	}
}
