package vcenter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// An estate is a place where servers follow each other.
type estate struct {
	t    *testing.T
	conf vcenter.Config
}

func newEstate(t *testing.T) *estate {
	return &estate{t, vcenter.Config{
		Dir: t.TempDir(), StateDir: t.TempDir(), Name: "vc1", Users: map[string]string{user: password}, Hosts: 2,
		Datastores: []vcenter.Datastore{{Name: "ds1"}, {Name: "ds2"}}, Networks: []string{"web"}, ResourcePools: []string{"vdc1"},
	}}
}

func (e *estate) start(restored bool) (*vcenter.Server, *govmomi.Client) {
	e.t.Helper()
	s, err := vcenter.Start(e.conf)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = s.Close() })
	if s.Restored() != restored {
		e.t.Fatalf("restored: got %t, want %t", s.Restored(), restored)
	}
	return s, dial(e.t, s)
}

func (e *estate) close(s *vcenter.Server) {
	e.t.Helper()
	if err := s.Close(); err != nil {
		e.t.Fatal(err)
	}
}

// killed is the estate as it would be if the server died now.
func (e *estate) killed() *estate {
	e.t.Helper()
	k := *e
	k.conf.Dir, k.conf.StateDir = filepath.Join(e.t.TempDir(), "d"), filepath.Join(e.t.TempDir(), "s")
	for from, to := range map[string]string{e.conf.Dir: k.conf.Dir, e.conf.StateDir: k.conf.StateDir} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			e.t.Fatal(err)
		}
	}
	return &k
}

func again(vm *object.VirtualMachine, c *govmomi.Client) *object.VirtualMachine {
	return object.NewVirtualMachine(c.Client, vm.Reference())
}

// same is what must be equal before and after a restart.
func same(t *testing.T, vm *object.VirtualMachine) string {
	t.Helper()
	p := props(t, vm)
	p.RecentTask, p.Storage, p.Summary.Storage, p.LayoutEx = nil, nil, nil, nil
	p.Config.ChangeVersion, p.Config.Modified = "", p.Config.Modified.Truncate(1)
	p.Config.Modified = *p.Config.CreateDate
	var b bytes.Buffer
	if err := types.NewJSONEncoder(&b).Encode(p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestARestartChangesNothing(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s, c := e.start(false)
	ctx := context.Background()
	id := s.InstanceUUID()
	task := machine(t, s, c, alike("task"))
	refs := direct(t, s, c, alike("touched"), func() vcenter.VMSpec {
		v := alike("untouched")
		v.Disks[1].Datastore = "" // files in one place
		return v
	}())
	touched, untouched := refs[0], refs[1]
	old := map[string]string{}
	content := random(3 * mib)
	change := map[string]string{}
	for _, vm := range []*object.VirtualMachine{task, touched} {
		write(t, guest(t, s, vm, 0), 0, content)
		first := snapshot(t, vm, "first")
		change[vm.Reference().Value] = flat(frozen(t, vm, first)[0]).ChangeId
		write(t, guest(t, s, vm, 0), mib, content[:mib])
		snapshot(t, vm, "second")
		write(t, guest(t, s, vm, 0), 2*mib, content[:70<<10])
	}
	if _, err := where(t, c).folder.CreateFolder(ctx, "by hand"); err != nil {
		t.Fatal(err)
	}
	for _, vm := range []*object.VirtualMachine{task, touched, untouched} {
		old[vm.Reference().Value] = same(t, vm)
	}
	e.close(s)

	s, c = e.start(true)
	if s.InstanceUUID() != id {
		t.Error("another instance UUID")
	}
	for _, vm := range []*object.VirtualMachine{task, touched, untouched} {
		differ(t, vm.Reference().Value, same(t, again(vm, c)), old[vm.Reference().Value])
	}
	for _, vm := range []*object.VirtualMachine{again(task, c), again(touched, c)} {
		want := append(append(append([]byte{}, content[:mib]...), content[:mib]...), content[:70<<10]...)
		reads(t, guest(t, s, vm, 0), 0, append(want, content[len(want):]...))
		third := snapshot(t, vm, "third")
		areas, _, err := changed(vm, &third, frozen(t, vm, third)[0], change[vm.Reference().Value])
		if err != nil || len(areas) != 1 || areas[0] != (vcenter.Range{Offset: mib, Length: mib + 128<<10}) {
			t.Errorf("%s: changed: got %v, %v", vm.Reference().Value, areas, err)
		}
		done2(t)(vm.RemoveAllSnapshot(ctx, nil))
		reads(t, guest(t, s, vm, 0), 0, append(want, content[len(want):]...))
	}
	for _, vm := range direct(t, s, c, vcenter.VMSpec{Name: "new", Folder: "by hand", ResourcePool: "vdc1"}) {
		if _, taken := old[vm.Reference().Value]; taken {
			t.Errorf("%s is given out again", vm.Reference().Value)
		}
	}
}

// unknown is an answer that the changes since a change ID are not known.
func unknown(err error) bool {
	if !soap.IsSoapFault(err) {
		return false
	}
	_, ok := soap.ToSoapFault(err).VimFault().(types.FileFault)
	return ok
}

func TestAKilledServerLosesTrackOfWhatItMayHaveMissed(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s, c := e.start(false)
	on := machine(t, s, c, vcenter.VMSpec{Name: "on", ChangeTracking: true, PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 4 * mib}}})
	off := direct(t, s, c,
		vcenter.VMSpec{Name: "off", ChangeTracking: true, PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 4 * mib}}},
		vcenter.VMSpec{Name: "written", ChangeTracking: true, PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 4 * mib}}})
	all := append(off, on)
	ids := map[string]string{}
	content := random(mib)
	for _, vm := range all {
		if vm != on {
			if err := s.PowerOff(vm.Reference().Value); err != nil {
				t.Fatal(err)
			}
		}
		write(t, guest(t, s, vm, 0), 0, content)
		ids[vm.Reference().Value] = flat(frozen(t, vm, snapshot(t, vm, "before"))[0]).ChangeId
		write(t, guest(t, s, vm, 0), mib, content)
	}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	write(t, guest(t, s, off[1], 0), 2*mib, content)
	e = e.killed()

	s, c = e.start(true)
	for _, vm := range []*object.VirtualMachine{again(on, c), again(off[0], c), again(off[1], c)} {
		ref := vm.Reference().Value
		reads(t, guest(t, s, vm, 0), 0, append(content[:mib:mib], content...))
		snap := snapshot(t, vm, "after")
		disk := frozen(t, vm, snap)[0]
		areas, _, err := changed(vm, &snap, disk, ids[ref])
		if ref == off[0].Reference().Value {
			if err != nil || len(areas) != 1 || areas[0] != (vcenter.Range{Offset: mib, Length: mib}) {
				t.Errorf("%s: nothing happened to it: got %v, %v", ref, areas, err)
			}
			continue
		}
		if !unknown(err) {
			t.Errorf("%s: a change ID from before: got %v, %v", ref, areas, err)
		}
	}
	reads(t, guest(t, s, again(off[1], c), 0), 2*mib, content)
}

func TestFilesThatTheStateDoesNotKnow(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s, c := e.start(false)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "a", Disks: []vcenter.DiskSpec{{Size: 4 * mib}}})
	content := random(mib)
	first := snapshot(t, vm, "first")
	write(t, guest(t, s, vm, 0), 0, content)
	stale := e.killed() // this state, and the files of later
	removeSnapshot(t, vm, first, false)
	_ = machine(t, s, c, vcenter.VMSpec{Name: "orphan", Disks: []vcenter.DiskSpec{{Size: 4 * mib}}})
	later := e.killed()
	later.conf.StateDir = stale.conf.StateDir

	s, c = later.start(true)
	reads(t, guest(t, s, again(vm, c), 0), 0, content)
	if p := props(t, again(vm, c)); p.Snapshot != nil {
		t.Errorf("a snapshot whose delta was merged: got %+v", p.Snapshot)
	}
	if err := s.PowerOn(vm.Reference().Value); err != nil {
		t.Error(err)
	}
	if vms := listAll(t, c); len(vms) != 1 {
		t.Errorf("got %d VMs, want 1", len(vms))
	}
	w := where(t, c)
	task, err := w.folder.RegisterVM(ctx, "[ds1] orphan/orphan.vmx", "", false, w.pool, nil)
	done(t, task, err)
}

func TestAVMWhoseFilesAreGone(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s, c := e.start(false)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "a", Disks: []vcenter.DiskSpec{{Size: 4 * mib}}})
	e.close(s)
	if err := os.RemoveAll(filepath.Join(e.conf.Dir, "ds1", "a")); err != nil {
		t.Fatal(err)
	}
	s, c = e.start(true)
	if props(t, again(vm, c)).Name != "a" {
		t.Error("it is gone too")
	}
	if err := s.PowerOn(vm.Reference().Value); err == nil {
		t.Error("it starts without its disk")
	}
}

func TestWhatElseSurvives(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s, c := e.start(false)
	ctx := context.Background()
	w := where(t, c)
	vms := direct(t, s, c, vcenter.VMSpec{Name: "disabled"}, vcenter.VMSpec{Name: "destroyed", Disks: []vcenter.DiskSpec{{Size: mib}}}, vcenter.VMSpec{Name: "moved"})
	disable(t, c, vms[0], "me")
	done2(t)(vms[1].Destroy(ctx))
	pool, err := w.pool.Create(ctx, "inner", types.DefaultResourceConfigSpec())
	if err != nil {
		t.Fatal(err)
	}
	folder, err := w.folder.CreateFolder(ctx, "made")
	if err != nil {
		t.Fatal(err)
	}
	done2(t)(folder.MoveInto(ctx, []types.ManagedObjectReference{vms[2].Reference()}))
	auth := object.NewAuthorizationManager(c.Client)
	role, err := auth.AddRole(ctx, "mine", []string{"System.Read"})
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.SetEntityPermissions(ctx, folder.Reference(), []types.Permission{{Principal: "joe", RoleId: role}}); err != nil {
		t.Fatal(err)
	}
	e.close(s)
	e.conf.Networks = append(e.conf.Networks, "new")

	s, c = e.start(true)
	if _, err := again(vms[0], c).Relocate(ctx, types.VirtualMachineRelocateSpec{}, types.VirtualMachineMovePriorityDefaultPriority); err == nil {
		t.Error("its methods are not disabled any more")
	}
	if err := gone2(c, vms[1].Reference()); err == nil {
		t.Error("a destroyed VM is back")
	}
	if p := props(t, again(vms[2], c)); *p.Parent != folder.Reference() {
		t.Errorf("moved VM: got parent %v, want %v", p.Parent, folder.Reference())
	}
	list, err := object.NewAuthorizationManager(c.Client).RetrieveEntityPermissions(ctx, folder.Reference(), false)
	if err != nil || len(list) != 1 || list[0].Principal != "joe" || list[0].RoleId != role {
		t.Errorf("permissions: got %+v, %v", list, err)
	}
	refs, err := s.AddVMs([]vcenter.VMSpec{{Name: "in", Folder: "made", ResourcePool: "vdc1/inner", NICs: []vcenter.NICSpec{{Network: "new"}}}})
	if err != nil {
		t.Fatal(err)
	}
	p := props(t, object.NewVirtualMachine(c.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: refs[0]}))
	if *p.Parent != folder.Reference() || *p.ResourcePool != pool.Reference() {
		t.Errorf("got %v in %v", p.Parent, p.ResourcePool)
	}
}

func gone2(c *govmomi.Client, ref types.ManagedObjectReference) error {
	_, err := methods.QueryChangedDiskAreas(context.Background(), c.Client, &types.QueryChangedDiskAreas{This: ref})
	var f mo.VirtualMachine
	return errors.Join(err, c.RetrieveOne(context.Background(), ref, []string{"name"}, &f))
}

func TestDeletedFilesDoNotComeBack(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s, c := e.start(false)
	ctx := context.Background()
	vm := direct(t, s, c, vcenter.VMSpec{Name: "a", Disks: []vcenter.DiskSpec{{Size: mib, Fill: 4096, Seed: "s"}}})[0]
	task, err := object.NewFileManager(c.Client).DeleteDatastoreFile(ctx, "[ds1] a/a-flat.vmdk", nil)
	_, err = finish(task, err)
	if err == nil {
		t.Fatal("a file in use was deleted")
	}
	if status, _ := browse(t, s, c).do(http.MethodDelete, "a/a.vmdk", nil); status >= 300 {
		t.Fatalf("delete: status %d", status)
	}
	e.close(s)
	s, _ = e.start(true)
	if err := s.PowerOn(vm.Reference().Value); err == nil {
		t.Error("the VM starts with a disk that was deleted")
	}
}

func TestKilledTwiceThenClosed(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s, c := e.start(false)
	vm := direct(t, s, c, vcenter.VMSpec{Name: "a", ChangeTracking: true, PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 4 * mib}}})[0]
	content := random(mib)
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	write(t, guest(t, s, vm, 0), 0, content)
	e = e.killed()
	s, c = e.start(true)
	write(t, guest(t, s, again(vm, c), 0), mib, content)
	e = e.killed()
	s, c = e.start(true)
	reads(t, guest(t, s, again(vm, c), 0), 0, append(content[:mib:mib], content...))
	id := flat(frozen(t, again(vm, c), snapshot(t, again(vm, c), "x"))[0]).ChangeId
	write(t, guest(t, s, again(vm, c), 0), 2*mib, content)
	e.close(s)
	if err := s.Save(); err != nil {
		t.Error(err)
	}
	_, c = e.start(true)
	snap := snapshot(t, again(vm, c), "y")
	areas, _, err := changed(again(vm, c), &snap, frozen(t, again(vm, c), snap)[0], id)
	if err != nil || len(areas) != 1 || areas[0] != (vcenter.Range{Offset: 2 * mib, Length: mib}) {
		t.Errorf("after a clean end: got %v, %v", areas, err)
	}
}

func TestStateOfAnotherInventoryIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*vcenter.Config){
		"hosts":      func(c *vcenter.Config) { c.Hosts = 3 },
		"datastores": func(c *vcenter.Config) { c.Datastores = c.Datastores[:1] },
		"uuid":       func(c *vcenter.Config) { c.InstanceUUID = "another" },
	} {
		e := newEstate(t)
		s, _ := e.start(false)
		e.close(s)
		change(&e.conf)
		if _, err := vcenter.Start(e.conf); !errors.Is(err, vcenter.ErrOtherInventory) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSavingNothingNewCostsNothing(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s, _ := e.start(false)
	if _, err := s.AddVMs(many(100)); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(filepath.Join(e.conf.StateDir, "vcenter.state"))
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	first := size()
	if second := size(); second != first {
		t.Errorf("the file grew from %d to %d bytes", first, second)
	}
	if first > 400_000 {
		t.Errorf("100 VMs take %s", fmt.Sprint(first))
	}
}

// Saves come at any time. Whatever they saw, a server that is killed then
// comes back with disks that hold what was written.
func TestSavesWhileMuchHappens(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s, c := e.start(false)
	ctx := context.Background()
	var specs []vcenter.VMSpec
	for i := range 4 {
		specs = append(specs, vcenter.VMSpec{Name: fmt.Sprint("vm", i), ChangeTracking: true, PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 8 * mib, Thin: true}}})
	}
	vms := direct(t, s, c, specs...)
	var busy sync.WaitGroup
	for i, vm := range vms {
		busy.Add(1)
		go func() {
			defer busy.Done()
			for n := range 6 {
				g, err := s.Disk(vm.Reference().Value, 0)
				if err == nil {
					_, err = g.WriteAt([]byte{byte(n + 1)}, int64(n)*mib)
				}
				if err != nil {
					t.Error(err)
				}
				if _, err := finish(vm.CreateSnapshot(ctx, "s", "", false, false)); err != nil {
					t.Error(err)
				}
				if n%2 == i%2 {
					if _, err := finish(vm.RemoveAllSnapshot(ctx, nil)); err != nil {
						t.Error(err)
					}
				}
			}
		}()
	}
	stop := make(chan struct{})
	var saver sync.WaitGroup
	saver.Add(1)
	go func() {
		defer saver.Done()
		for {
			select {
			case <-stop:
				return
			default:
				if err := s.Save(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	busy.Wait()
	close(stop)
	saver.Wait()
	e = e.killed()
	s, c = e.start(true)
	for _, vm := range vms {
		for n := range 6 {
			reads(t, guest(t, s, again(vm, c), 0), int64(n)*mib, []byte{byte(n + 1)})
		}
		done2(t)(again(vm, c).RemoveAllSnapshot(ctx, nil))
		for n := range 6 {
			reads(t, guest(t, s, again(vm, c), 0), int64(n)*mib, []byte{byte(n + 1)})
		}
	}
}

func summaryOf(t *testing.T, c *govmomi.Client, name string) types.DatastoreSummary {
	t.Helper()
	var m mo.Datastore
	if err := property.DefaultCollector(c.Client).RetrieveOne(context.Background(), *datastoreRef(t, c, name), []string{"summary"}, &m); err != nil {
		t.Fatal(err)
	}
	return m.Summary
}

func TestDatastoresAreAsFullAfterARestart(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	e := newEstate(t)
	e.conf.Datastores = []vcenter.Datastore{{Name: "ds1", Capacity: 100 * gib}, {Name: "ds2", Capacity: 100 * gib}, {Name: "ds3", Capacity: 100 * gib}}
	s, c := e.start(false)
	free := func() map[string]int64 {
		out := map[string]int64{}
		for _, d := range e.conf.Datastores {
			out[d.Name] = summaryOf(t, c, d.Name).FreeSpace
		}
		return out
	}
	on := func(name string) vcenter.VMSpec {
		return vcenter.VMSpec{Name: name, PowerOn: true, MemoryMB: 1024, Disks: []vcenter.DiskSpec{{Size: gib}}}
	}
	refs, err := s.AddVMs([]vcenter.VMSpec{on("untouched"), on("touched")})
	if err != nil {
		t.Fatal(err)
	}
	task := machine(t, s, c, on("task"))
	if got, want := free()["ds1"], int64(100-3*2)*gib; got != want {
		t.Errorf("three VMs run: got %d bytes free, want %d", got, want)
	}
	for _, do := range []func(string) error{s.PowerOff, s.PowerOn, s.PowerOff} {
		if err := do(refs[1]); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := free()["ds1"], int64(100-3*2+1)*gib; got != want {
		t.Errorf("two VMs run: got %d bytes free, want %d", got, want)
	}
	if err := s.FillDatastore("ds2", 99*gib); err != nil {
		t.Fatal(err)
	}
	for name, state := range map[string]string{"ds2": "maintenance", "ds3": "inaccessible"} {
		if err := s.SetDatastoreState(name, state); err != nil {
			t.Fatal(err)
		}
	}
	disks := object.NewVirtualDiskManager(c.Client)
	done2(t)(disks.CreateVirtualDisk(context.Background(), "[ds1] alone.vmdk", nil, &types.FileBackedVirtualDiskSpec{
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "preallocated", AdapterType: "lsiLogic"}, CapacityKb: gib >> 10,
	}))
	before := free()
	e.close(s)

	s, c = e.start(true)
	for name, was := range before {
		if now := free()[name]; now != was {
			t.Errorf("%s: got %d bytes free, want %d", name, now, was)
		}
	}
	if got := summaryOf(t, c, "ds2"); got.MaintenanceMode != "inMaintenance" || !got.Accessible {
		t.Errorf("ds2: got %+v", got)
	}
	if summaryOf(t, c, "ds3").Accessible {
		t.Error("ds3 is accessible")
	}
	if err := s.PowerOff(task.Reference().Value); err != nil {
		t.Fatal(err)
	}
	if got, want := free()["ds1"], before["ds1"]+gib; got != want {
		t.Errorf("after one was switched off: got %d bytes free, want %d", got, want)
	}
}

func TestPoliciesAndToolsComeBack(t *testing.T) {
	t.Parallel()
	dir, keep := t.TempDir(), t.TempDir()
	again := func(c *vcenter.Config) {
		c.Dir, c.StateDir, c.InstanceUUID = dir, keep, "5a0dca1c-2b0e-4f2c-9a35-4b2f8f0f0f01"
	}
	s := start(t, again)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Tools: vcenter.ToolsStopped, PowerOn: true})
	profile := []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: "p1"}}
	task, err := vm.Reconfigure(context.Background(), types.VirtualMachineConfigSpec{VmProfile: profile})
	done(t, task, err)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, again)
	p, err := pbm.NewClient(context.Background(), dial(t, s).Client)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.QueryAssociatedProfile(context.Background(), pbmtypes.PbmServerObjectRef{ObjectType: "virtualMachine", Key: vm.Reference().Value})
	if err != nil || len(got) != 1 || got[0].UniqueId != "p1" {
		t.Errorf("got policies %v, %v", got, err)
	}
	vm = object.NewVirtualMachine(dial(t, s).Client, vm.Reference())
	if status := props(t, vm).Guest.ToolsRunningStatus; status != "guestToolsNotRunning" {
		t.Errorf("got tools %s", status)
	}
}
