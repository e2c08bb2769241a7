package vcenter_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func reconfigure(vm *object.VirtualMachine, changes ...*types.VirtualDeviceConfigSpec) error {
	spec := types.VirtualMachineConfigSpec{}
	for _, c := range changes {
		spec.DeviceChange = append(spec.DeviceChange, c)
	}
	_, err := finish(vm.Reconfigure(context.Background(), spec))
	return err
}

func change(op, fileOp string, d types.BaseVirtualDevice) *types.VirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{
		Operation: types.VirtualDeviceConfigSpecOperation(op), FileOperation: types.VirtualDeviceConfigSpecFileOperation(fileOp), Device: d,
	}
}

func diskOn(key, controller, unit int32, file string, size int64) *types.VirtualDisk {
	return &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{Key: key, ControllerKey: controller, UnitNumber: &unit, Backing: &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}, DiskMode: "persistent",
		}},
		CapacityInBytes: size,
	}
}

func TestSwappingADiskKeepsItsPlace(t *testing.T) {
	t.Parallel()
	var dir string
	s := start(t, func(c *vcenter.Config) { dir = c.Dir })
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: 4 * mib, Thin: true}, {Size: mib, Unit: 2}}})
	scratch := machine(t, s, c, vcenter.VMSpec{Name: "scratch", Disks: []vcenter.DiskSpec{{Size: 4 * mib}}})
	content := random(5000)
	write(t, guest(t, s, scratch, 0), 0, content)
	fresh := disks(props(t, scratch).Config.Hardware.Device)[0]
	if err := reconfigure(scratch, change("remove", "", fresh)); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	old := disks(props(t, vm).Config.Hardware.Device)[1]
	dm := object.NewVirtualDiskManager(c.Client)
	dc, err := find.NewFinder(c.Client).DefaultDatacenter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done2(t)(dm.MoveVirtualDisk(ctx, flat(fresh).FileName, dc, "[ds1] vm/restored.vmdk", dc, false))
	done2(t)(scratch.Destroy(ctx))
	err = reconfigure(vm, change("remove", "", old), change("add", "", diskOn(old.Key, old.ControllerKey, 2, "[ds1] vm/restored.vmdk", 0)))
	if err != nil {
		t.Fatal(err)
	}
	now := disks(props(t, vm).Config.Hardware.Device)[1]
	if now.Key != old.Key || flat(now).FileName != "[ds1] vm/restored.vmdk" || now.CapacityInBytes != 4*mib {
		t.Errorf("got disk %d on %s, %d bytes", now.Key, flat(now).FileName, now.CapacityInBytes)
	}
	reads(t, guest(t, s, vm, 1), 0, content)
	if left := files(t, filepath.Join(dir, "ds1")); !slices.Contains(left, "vm_1-flat.vmdk") || slices.Contains(left, "scratch-flat.vmdk") {
		t.Errorf("got files %q", left)
	}
	done2(t)(vm.Destroy(ctx))
	if left := files(t, filepath.Join(dir, "ds1")); len(left) != 2 || !slices.Contains(left, "vm_1-flat.vmdk") {
		t.Errorf("after the VM only the detached disk should be left: %q", left)
	}
	done2(t)(dm.DeleteVirtualDisk(ctx, flat(old).FileName, dc))
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestReconfigurationsThatAHostRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: 4 * mib}}})
	running := machine(t, s, c, vcenter.VMSpec{Name: "running", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib}}})
	snapped := machine(t, s, c, vcenter.VMSpec{Name: "snapped", Disks: []vcenter.DiskSpec{{Size: mib}}})
	snapshot(t, snapped, "x")
	disk := func(vm *object.VirtualMachine) *types.VirtualDisk {
		return disks(props(t, vm).Config.Hardware.Device)[0]
	}
	grown := disk(snapped)
	grown.CapacityInBytes = 8 * mib
	shrunk := disk(vm)
	shrunk.CapacityInBytes, shrunk.CapacityInKB = mib, 0
	for _, tt := range []struct {
		name   string
		vm     *object.VirtualMachine
		change *types.VirtualDeviceConfigSpec
		want   types.AnyType
	}{
		{"a busy slot", vm, change("add", "create", diskOn(-1, 1000, 0, "", mib)), &types.InvalidDeviceSpec{}},
		{"the controller's own slot", vm, change("add", "create", diskOn(-1, 1000, 7, "", mib)), &types.InvalidDeviceSpec{}},
		{"no such controller", vm, change("add", "create", diskOn(-1, 1003, 0, "", mib)), &types.InvalidDeviceSpec{}},
		{"a file that is there", vm, change("add", "create", diskOn(-1, 1000, 1, "[ds1] vm/vm.vmdk", mib)), &types.FileAlreadyExists{}},
		{"a file that is not there", vm, change("add", "", diskOn(-1, 1000, 1, "[ds1] vm/none.vmdk", 0)), &types.FileNotFound{}},
		{"a disk that a running VM has", vm, change("add", "", diskOn(-1, 1000, 1, "[ds1] running/running.vmdk", 0)), &types.FileLocked{}},
		{"the base of another's snapshot", vm, change("add", "", diskOn(-1, 1000, 1, "[ds1] snapped/snapped.vmdk", 0)), &types.FileLocked{}},
		{"its own disk again", vm, change("add", "", diskOn(-1, 1000, 1, "[ds1] vm/vm.vmdk", 0)), &types.InvalidDeviceSpec{}},
		{"shrinking", vm, change("edit", "", shrunk), &types.InvalidDeviceOperation{}},
		{"resizing with a snapshot", snapped, change("edit", "", grown), &types.GenericVmConfigFault{}},
		{"removing with a snapshot", snapped, change("remove", "", disk(snapped)), &types.GenericVmConfigFault{}},
		{"a disk that it does not have", vm, change("remove", "", diskOn(2099, 1000, 1, "", 0)), &types.InvalidDeviceSpec{}},
		{"a path out of the datastore", vm, change("add", "create", diskOn(-1, 1000, 1, "[ds1] ../x.vmdk", mib)), &types.InvalidDatastorePath{}},
		{"a datastore that is not there", vm, change("add", "create", diskOn(-1, 1000, 1, "[ds9] x/x.vmdk", mib)), &types.InvalidDatastore{}},
	} {
		before := len(disks(props(t, tt.vm).Config.Hardware.Device))
		if err := reconfigure(tt.vm, tt.change); !fault.Is(err, tt.want.(types.BaseMethodFault)) {
			t.Errorf("%s: got %v, want %T", tt.name, err, tt.want)
		}
		if now := len(disks(props(t, tt.vm).Config.Hardware.Device)); now != before {
			t.Errorf("%s: %d disks became %d", tt.name, before, now)
		}
	}
	trackChanges(t, snapped, true) // edits of this are fine
	if err := reconfigure(running, change("add", "create", diskOn(-1, 1000, 4, "", mib))); err != nil {
		t.Errorf("hot-add: %v", err)
	}
	clone := disk(vm)
	clone.CapacityInBytes, clone.CapacityInKB = 16*mib, 0
	if err := reconfigure(vm, change("edit", "", clone)); err != nil || guest(t, s, vm, 0).Size() != 16*mib {
		t.Errorf("growing: %d bytes, %v", guest(t, s, vm, 0).Size(), err)
	}
	if err := reconfigure(vm, change("remove", "destroy", disk(vm))); err != nil {
		t.Errorf("removing: %v", err)
	}
}

func TestHardwareThatNoVMHas(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm"})
	for _, tt := range []struct {
		name string
		spec types.VirtualMachineConfigSpec
	}{
		{"a negative number of CPUs", types.VirtualMachineConfigSpec{NumCPUs: -1}},
		{"more CPUs than a host has", types.VirtualMachineConfigSpec{NumCPUs: 100000}},
		{"a negative number of cores", types.VirtualMachineConfigSpec{NumCoresPerSocket: types.NewInt32(-2)}},
		{"negative memory", types.VirtualMachineConfigSpec{MemoryMB: -4}},
		{"memory that is no multiple of 4 MB", types.VirtualMachineConfigSpec{MemoryMB: 3}},
		{"more memory than a host has", types.VirtualMachineConfigSpec{MemoryMB: 99999999999}},
	} {
		if _, err := finish(vm.Reconfigure(context.Background(), tt.spec)); !fault.Is(err, &types.InvalidArgument{}) {
			t.Errorf("%s, reconfigured: got %v, want InvalidArgument", tt.name, err)
		}
		tt.spec.Name, tt.spec.Files = tt.name, &types.VirtualMachineFileInfo{VmPathName: "[ds1]"}
		if _, err := create(t, c, tt.spec); !fault.Is(err, &types.InvalidArgument{}) {
			t.Errorf("%s, created: got %v, want InvalidArgument", tt.name, err)
		}
	}
}

func create(t *testing.T, c *govmomi.Client, spec types.VirtualMachineConfigSpec) (types.AnyType, error) {
	t.Helper()
	f := find.NewFinder(c.Client)
	dc, err := f.DefaultDatacenter(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	folder, err := f.SetDatacenter(dc).DefaultFolder(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := f.ResourcePool(context.Background(), "vdc1")
	if err != nil {
		t.Fatal(err)
	}
	return finish(folder.CreateVM(context.Background(), spec, pool, nil))
}

func TestLongNamesAreCutForFiles(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	for _, name := range []string{strings.Repeat("\u00fc", 128), strings.Repeat("y", 300), "x" + strings.Repeat("\u20ac", 100)} {
		for range 2 {
			spec := types.VirtualMachineConfigSpec{Name: name, Files: &types.VirtualMachineFileInfo{VmPathName: "[ds1]"}}
			ref, err := create(t, c, spec)
			if err != nil {
				t.Fatalf("%d bytes: %v", len(name), err)
			}
			vm := object.NewVirtualMachine(c.Client, ref.(types.ManagedObjectReference))
			if err := reconfigure(vm, change("add", "create", diskOn(-1, 200, 0, "", mib))); err != nil {
				t.Errorf("%d bytes: disk: %v", len(name), err)
			}
			snapshot(t, vm, "x")
			p := props(t, vm)
			if file := p.Config.Files.VmPathName; p.Name != name || !utf8.ValidString(file) || len(file) > 2*210 {
				t.Errorf("got %s in %s", p.Name, file)
			}
			if _, err := finish(vm.Destroy(context.Background())); err != nil {
				t.Errorf("%d bytes: destroy: %v", len(name), err)
			}
		}
		vm := machine(t, s, c, vcenter.VMSpec{Name: name, Disks: []vcenter.DiskSpec{{Size: mib, Fill: mib}, {Size: mib}}})
		snapshot(t, vm, "x")
	}
	if _, err := s.AddVMs([]vcenter.VMSpec{{Name: strings.Repeat("z", 300), Disks: []vcenter.DiskSpec{{Size: mib, Fill: mib}}},
		{Name: strings.Repeat("z", 299), Disks: []vcenter.DiskSpec{{Size: mib}}}}); err != nil {
		t.Errorf("all at once: %v", err)
	}
	t.Run("a path that is too long is refused", func(t *testing.T) {
		_, err := create(t, c, types.VirtualMachineConfigSpec{Name: "vm", Files: &types.VirtualMachineFileInfo{VmPathName: "[ds1] " + strings.Repeat("z", 300)}})
		if !fault.Is(err, &types.CannotAccessFile{}) {
			t.Errorf("got %v, want CannotAccessFile", err)
		}
	})
}

func TestUnregisteredVMComesBack(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{
		Name: "a/b", UUID: "42101111-0000-1111-2222-333344445555", NumCPU: 2, MemoryMB: 512, ChangeTracking: true,
		Disks:       []vcenter.DiskSpec{{Size: 4 * mib, Thin: true}, {Size: mib, Controller: "nvme", Datastore: "ds2"}},
		NICs:        []vcenter.NICSpec{{Network: "web", MAC: "00:50:56:01:02:03"}, {}},
		ExtraConfig: map[string]string{"note": `he said "hi" | bye`},
	})
	content := random(3000)
	write(t, guest(t, s, vm, 1), 99, content)
	before := props(t, vm)
	if err := vm.Unregister(ctx); err != nil {
		t.Fatal(err)
	}
	gone(t, c, vm.Reference())
	at := where(t, c)
	res := done2(t)(at.folder.RegisterVM(ctx, before.Config.Files.VmPathName, "", false, at.pool, nil))
	back := object.NewVirtualMachine(c.Client, res.(types.ManagedObjectReference))
	m := props(t, back)
	if m.Name != before.Name || m.Config.Uuid != before.Config.Uuid || m.Config.InstanceUuid != before.Config.InstanceUuid ||
		m.Config.Hardware.NumCPU != 2 || m.Config.Hardware.MemoryMB != 512 || !*m.Config.ChangeTrackingEnabled {
		t.Errorf("got %s %s, %+v", m.Name, m.Config.Uuid, m.Config.Hardware.NumCPU)
	}
	macs := func(list []types.BaseVirtualDevice) (out []string) {
		for _, d := range list {
			if n, ok := d.(types.BaseVirtualEthernetCard); ok {
				out = append(out, n.GetVirtualEthernetCard().MacAddress)
			}
		}
		return out
	}
	if x, y := macs(m.Config.Hardware.Device), macs(before.Config.Hardware.Device); !slices.Equal(x, y) || len(x) != 2 {
		t.Errorf("got MACs %v, want %v", x, y)
	}
	for i, d := range disks(m.Config.Hardware.Device) {
		o := disks(before.Config.Hardware.Device)[i]
		if d.Key != o.Key || flat(d).FileName != flat(o).FileName || flat(d).Uuid != flat(o).Uuid {
			t.Errorf("got disk %d %s, want %d %s", d.Key, flat(d).FileName, o.Key, flat(o).FileName)
		}
	}
	reads(t, guest(t, s, back, 1), 99, content)
	note := ""
	for _, o := range m.Config.ExtraConfig {
		if o.GetOptionValue().Key == "note" {
			note = o.GetOptionValue().Value.(string)
		}
	}
	if note != `he said "hi" | bye` {
		t.Errorf("got note %q", note)
	}
	if _, err := finish(at.folder.RegisterVM(ctx, m.Config.Files.VmPathName, "twice", false, at.pool, nil)); !fault.Is(err, &types.AlreadyExists{}) {
		t.Errorf("registered twice: got %v, want AlreadyExists", err)
	}
	done2(t)(back.PowerOn(ctx))
}

func TestClonesHaveTheirOwnContent(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", CDDrive: true, Disks: []vcenter.DiskSpec{{Size: 4 * mib, Thin: true}}, NICs: []vcenter.NICSpec{{}}})
	content := random(3000)
	write(t, guest(t, s, vm, 0), 77, content)
	snapshot(t, vm, "x")
	at := where(t, c)
	res := done2(t)(vm.Clone(context.Background(), at.folder, "copy", types.VirtualMachineCloneSpec{}))
	copied := object.NewVirtualMachine(c.Client, res.(types.ManagedObjectReference))
	write(t, guest(t, s, vm, 0), 77, random(10))
	reads(t, guest(t, s, copied, 0), 77, content)
	if d := disks(props(t, copied).Config.Hardware.Device)[0]; flat(d).FileName != "[ds1] copy/copy.vmdk" || flat(d).Parent != nil {
		t.Errorf("got file %s", flat(d).FileName)
	}
	for _, m := range []*object.VirtualMachine{vm, copied} {
		if cds := object.VirtualDeviceList(props(t, m).Config.Hardware.Device).SelectByType((*types.VirtualCdrom)(nil)); len(cds) != 1 ||
			cds[0].GetVirtualDevice().Key != 3002 {
			t.Errorf("%s: got the CD drives %v, want the first of the second IDE controller", m.Reference().Value, cds)
		}
	}
}

func TestAVMOfDisksThatAreThere(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	old := machine(t, s, c, vcenter.VMSpec{Name: "old", Disks: []vcenter.DiskSpec{{Size: 4 * mib, Thin: true}}})
	content := random(3000)
	write(t, guest(t, s, old, 0), 77, content)
	if err := reconfigure(old, change("remove", "", disks(props(t, old).Config.Hardware.Device)[0])); err != nil {
		t.Fatal(err)
	}
	devices := newDisk(0, 0, "[ds1] old/old.vmdk")
	devices[1].GetVirtualDeviceConfigSpec().FileOperation = ""
	at := where(t, c)
	res := done2(t)(at.folder.CreateVM(ctx, types.VirtualMachineConfigSpec{
		Name: "new", Files: &types.VirtualMachineFileInfo{VmPathName: "[ds2]"}, DeviceChange: devices,
	}, at.pool, nil))
	vm := object.NewVirtualMachine(c.Client, res.(types.ManagedObjectReference))
	reads(t, guest(t, s, vm, 0), 77, content)
	if _, err := finish(at.folder.CreateVM(ctx, types.VirtualMachineConfigSpec{
		Name: "none", Files: &types.VirtualMachineFileInfo{VmPathName: "[ds2]"}, DeviceChange: func() []types.BaseVirtualDeviceConfigSpec {
			d := newDisk(0, 0, "[ds1] none/none.vmdk")
			d[1].GetVirtualDeviceConfigSpec().FileOperation = ""
			return d
		}(),
	}, at.pool, nil)); !fault.Is(err, &types.FileNotFound{}) {
		t.Errorf("got %v, want FileNotFound", err)
	}
	if _, err := s.MoRef("none"); err == nil {
		t.Error("a VM stays whose disk was not there")
	}
}

func disable(t *testing.T, c *govmomi.Client, vm *object.VirtualMachine, source string) {
	t.Helper()
	m := object.NewAuthorizationManager(c.Client)
	err := m.DisableMethods(context.Background(), []types.ManagedObjectReference{vm.Reference()}, []object.DisabledMethodRequest{
		{Method: "RelocateVM_Task", Reason: source}, {Method: "MigrateVM_Task", Reason: source},
	}, source)
	if err != nil {
		t.Fatal(err)
	}
}

func TestDisabledMethods(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: mib}}})
	move := func() error {
		_, err := finish(vm.Relocate(ctx, types.VirtualMachineRelocateSpec{}, types.VirtualMachineMovePriorityDefaultPriority))
		return err
	}
	if err := move(); err != nil {
		t.Fatal(err)
	}
	disable(t, c, vm, "one")
	disable(t, c, vm, "two")
	if err := move(); !fault.Is(err, &types.MethodDisabled{}) {
		t.Errorf("got %v, want MethodDisabled", err)
	}
	if list := props(t, vm).DisabledMethod; strings.Join(list, " ") != "MigrateVM_Task RelocateVM_Task" {
		t.Errorf("got disabled methods %q", list)
	}
	m := object.NewAuthorizationManager(c.Client)
	for _, source := range []string{"one", "two", "two"} {
		if err := move(); source != "two" && err == nil {
			t.Errorf("one of two sources is enough")
		}
		err := m.EnableMethods(ctx, []types.ManagedObjectReference{vm.Reference()}, []string{"RelocateVM_Task", "MigrateVM_Task"}, source)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := move(); err != nil {
		t.Error(err)
	}
	if list := props(t, vm).DisabledMethod; len(list) != 0 {
		t.Errorf("got disabled methods %q", list)
	}
	err := m.DisableMethods(ctx, []types.ManagedObjectReference{{Type: "VirtualMachine", Value: "vm-none"}},
		[]object.DisabledMethodRequest{{Method: "RelocateVM_Task"}}, "one")
	if !fault.Is(err, &types.ManagedObjectNotFound{}) {
		t.Errorf("got %v, want ManagedObjectNotFound", err)
	}
}

func TestCallsAndTasksFailWhenTold(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm"})
	s.Faults().FailCall("CreateSnapshot_Task", 1, &types.NotSupported{})
	s.Faults().FailTask("CreateSnapshot_Task", 1, nil)
	if _, err := vm.CreateSnapshot(context.Background(), "x", "", false, false); !fault.Is(err, &types.NotSupported{}) {
		t.Errorf("got %v", err)
	}
	task, err := vm.CreateSnapshot(context.Background(), "x", "", false, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := finish(task, nil); err == nil {
		t.Error("the task succeeds")
	}
	snapshot(t, vm, "x")
}

func TestManyClientsAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			c := dial(t, s)
			for range 3 {
				name := string(rune('a'+i)) + "-vm"
				ref, err := s.AddVM(vcenter.VMSpec{Name: name, PowerOn: true, ChangeTracking: true, NICs: []vcenter.NICSpec{{Network: "web"}},
					Disks: []vcenter.DiskSpec{{Size: 4 * mib, Thin: true}}})
				if err != nil {
					t.Error(err)
					return
				}
				vm := object.NewVirtualMachine(c.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: ref})
				g := guest(t, s, vm, 0)
				var inner sync.WaitGroup
				inner.Go(func() {
					for off := range int64(30) {
						_, _ = g.WriteAt([]byte("guest at work"), off*100_000)
					}
				})
				inner.Go(func() {
					for range 10 {
						props(t, vm)
					}
				})
				snap := snapshot(t, vm, "x")
				d := frozen(t, vm, snap)[0]
				if _, _, err := changed(vm, &snap, d, flat(d).ChangeId); err != nil {
					t.Error(err)
				}
				lease, info := exportSnapshot(t, vm, snap)
				download(t, c, info.Items[0])
				if err := lease.Complete(context.Background()); err != nil {
					t.Error(err)
				}
				removeSnapshot(t, vm, snap, false)
				inner.Wait()
				done2(t)(vm.PowerOff(context.Background()))
				done2(t)(vm.Destroy(context.Background()))
			}
		})
	}
	wg.Wait()
}
