package vcenter_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func direct(t *testing.T, s *vcenter.Server, c *govmomi.Client, specs ...vcenter.VMSpec) []*object.VirtualMachine {
	t.Helper()
	refs, err := s.AddVMs(specs)
	if err != nil {
		t.Fatal(err)
	}
	vms := make([]*object.VirtualMachine, len(refs))
	for i, ref := range refs {
		vms[i] = object.NewVirtualMachine(c.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: ref})
	}
	return vms
}

// alike is a VM with something of everything.
func alike(name string) vcenter.VMSpec {
	return vcenter.VMSpec{
		Name: name, GuestID: "debian12_64Guest", NumCPU: 4, MemoryMB: 2048, CoresPerSocket: 2, CPUHotAdd: true, Annotation: "a note",
		Folder: "org/vdc", ResourcePool: "vdc1", ManagedBy: "com.example", ManagedType: "vm", HardwareVersion: "vmx-18", Firmware: "efi",
		ExtraConfig: map[string]string{"cloud.uuid": "1-2-3"}, ChangeTracking: true, PowerOn: true,
		Disks: []vcenter.DiskSpec{
			{Size: 4 * mib, Thin: true, Fill: mib, Seed: "x"}, {Size: 8 * mib, Controller: "sata", Datastore: "ds2"},
			{Size: 8 * mib, Unit: -1, Mode: "independent_persistent"},
		},
		NICs: []vcenter.NICSpec{{Network: "web"}, {Type: "e1000", MAC: "00:50:56:00:00:01", Disconnected: true}},
	}
}

// blind removes from a VM what may differ between two that are alike.
func blind(vm mo.VirtualMachine, name string) string {
	vm.Self.Value, vm.Summary.Vm, vm.RecentTask = "", nil, nil
	vm.Runtime.Host, vm.Summary.Runtime.Host, vm.Runtime.BootTime, vm.Summary.Runtime.BootTime = nil, nil, nil, nil
	vm.Config.CreateDate, vm.Config.Modified, vm.Config.ChangeVersion = nil, time.Time{}, ""
	vm.Config.Uuid, vm.Config.InstanceUuid, vm.Summary.Config.Uuid, vm.Summary.Config.InstanceUuid = "", "", "", ""
	vm.Storage, vm.Summary.Storage, vm.LayoutEx.Timestamp = nil, nil, time.Time{}
	for i := range vm.LayoutEx.File {
		vm.LayoutEx.File[i].Size, vm.LayoutEx.File[i].UniqueSize = 0, 0
	}
	slices.SortFunc(vm.Config.ExtraConfig, func(a, b types.BaseOptionValue) int {
		return strings.Compare(a.GetOptionValue().Key, b.GetOptionValue().Key)
	})
	for i := range vm.Guest.Net {
		vm.Guest.Net[i].MacAddress = ""
	}
	for _, d := range vm.Config.Hardware.Device {
		switch x := d.(type) {
		case *types.VirtualDisk:
			b := flat(x)
			b.Uuid, b.ContentId, b.ChangeId = "", "", ""
		case types.BaseVirtualEthernetCard:
			x.GetVirtualEthernetCard().MacAddress = ""
		}
	}
	var buf bytes.Buffer
	if err := types.NewJSONEncoder(&buf).Encode(vm); err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(buf.String(), name, "NAME")
}

// differ says where two texts of JSON begin to differ.
func differ(t *testing.T, what, got, want string) {
	t.Helper()
	x, y := strings.Split(got, ","), strings.Split(want, ",")
	for i := range max(len(x), len(y)) {
		if i >= len(x) || i >= len(y) || x[i] != y[i] {
			t.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(x[max(i-5, 0):min(i+5, len(x))], "\n"), strings.Join(y[max(i-5, 0):min(i+5, len(y))], "\n"))
			return
		}
	}
}

func TestDirectVMsAreLikeOthers(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	a := machine(t, s, c, alike("vm-a1"))
	b := direct(t, s, c, alike("vm-b1"))[0]
	if err := s.MakeFiles(); err != nil {
		t.Fatal(err)
	}
	differ(t, "made directly, not by a task", blind(props(t, b), "vm-b1"), blind(props(t, a), "vm-a1"))
	for n := range 3 {
		p, q := make([]byte, 4*mib), make([]byte, 4*mib)
		_, _ = guest(t, s, a, n).ReadAt(p, 0)
		_, _ = guest(t, s, b, n).ReadAt(q, 0)
		if !bytes.Equal(p, q) {
			t.Errorf("disk %d: the content differs", n)
		}
	}
}

func TestFilesAreMadeWhenTheyAreTouched(t *testing.T) {
	t.Parallel()
	var dir string
	s := start(t, func(c *vcenter.Config) { dir = c.Dir })
	c := dial(t, s)
	web := browse(t, s, c)
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, "ds1", name))
		return err == nil
	}
	ctx := context.Background()
	for name, touch := range map[string]func(*object.VirtualMachine) error{
		"folder": func(vm *object.VirtualMachine) error {
			if status, _ := web.do(http.MethodGet, "folder/folder.vmdk", nil); status != http.StatusOK {
				return fmt.Errorf("status %d", status)
			}
			return nil
		},
		"listing": func(*object.VirtualMachine) error {
			if _, list := web.do(http.MethodGet, "listing", nil); !bytes.Contains(list, []byte("listing.nvram")) {
				return fmt.Errorf("got %s", list)
			}
			return nil
		},
		"power": func(vm *object.VirtualMachine) error { return s.PowerOn(vm.Reference().Value) },
		"snap": func(vm *object.VirtualMachine) error {
			task, err := vm.CreateSnapshot(ctx, "s", "", false, false)
			_, err = finish(task, err)
			return err
		},
		"write": func(vm *object.VirtualMachine) error {
			_, err := guest(t, s, vm, 0).WriteAt([]byte("x"), 0)
			return err
		},
		"read": func(vm *object.VirtualMachine) error {
			_, err := guest(t, s, vm, 0).ReadAt(make([]byte, 1), 0)
			return err
		},
		"rename": func(vm *object.VirtualMachine) error {
			task, err := vm.Rename(ctx, "renamed")
			_, err = finish(task, err)
			return err
		},
	} {
		vm := direct(t, s, c, vcenter.VMSpec{Name: name, Disks: []vcenter.DiskSpec{{Size: mib}}})[0]
		if there(name) {
			t.Errorf("%s: its files are there from the beginning", name)
		}
		if err := touch(vm); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !there(name + "/" + name + "-flat.vmdk") {
			t.Errorf("%s: no files", name)
		}
		if name == "power" {
			if err := s.PowerOff(vm.Reference().Value); err != nil {
				t.Error(err)
			}
		}
		task, err := vm.Destroy(ctx)
		if _, err := finish(task, err); err != nil {
			t.Errorf("%s: destroy: %v", name, err)
		}
		if there(name) {
			t.Errorf("%s: its files outlive it", name)
		}
	}
}

func TestUnregisteredDirectVMLeavesItsFiles(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	vm := direct(t, s, c, vcenter.VMSpec{Name: "a", Disks: []vcenter.DiskSpec{{Size: mib, Fill: 4096, Seed: "s"}}})[0]
	want := make([]byte, 4096)
	if err := vm.Unregister(ctx); err != nil {
		t.Fatal(err)
	}
	w := where(t, c)
	task, err := w.folder.RegisterVM(ctx, "[ds1] a/a.vmx", "back", false, w.pool, nil)
	ref := done(t, task, err).(types.ManagedObjectReference)
	if _, err := guest(t, s, object.NewVirtualMachine(c.Client, ref), 0).ReadAt(want, 0); err != nil || bytes.Equal(want, make([]byte, 4096)) {
		t.Errorf("no content: %v", err)
	}
}

func TestDirectVMMovesToAnotherDatastore(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	vm := direct(t, s, c, vcenter.VMSpec{Name: "a", Disks: []vcenter.DiskSpec{{Size: mib, Fill: 8192, Seed: "s"}}})[0]
	same := direct(t, s, c, vcenter.VMSpec{Name: "b", Disks: []vcenter.DiskSpec{{Size: mib, Fill: 8192, Seed: "s"}}})[0]
	ds, err := find.NewFinder(c.Client).Datastore(ctx, "/DC0/datastore/ds2")
	if err != nil {
		t.Fatal(err)
	}
	ref := ds.Reference()
	done2(t)(vm.Relocate(ctx, types.VirtualMachineRelocateSpec{Datastore: &ref}, types.VirtualMachineMovePriorityDefaultPriority))
	if b := flat(disks(props(t, vm).Config.Hardware.Device)[0]); !strings.HasPrefix(b.FileName, "[ds2]") {
		t.Errorf("it lies at %s", b.FileName)
	}
	want := make([]byte, mib)
	if _, err := guest(t, s, same, 0).ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	reads(t, guest(t, s, vm, 0), 0, want)
}

func TestAddVMsAddsAllOrNone(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	for name, bad := range map[string]vcenter.VMSpec{
		"a name twice":        {Name: "ok"},
		"no name":             {},
		"no such network":     {Name: "n", NICs: []vcenter.NICSpec{{Network: "nowhere"}}},
		"no such datastore":   {Name: "n", Datastore: "nowhere"},
		"a slot twice":        {Name: "n", Disks: []vcenter.DiskSpec{{Size: mib, Unit: 7}}},
		"no such guest":       {Name: "n", GuestID: "beos"},
		"no such controller":  {Name: "n", Disks: []vcenter.DiskSpec{{Size: mib, Controller: "st506"}}},
		"no room":             {Name: "n", Disks: []vcenter.DiskSpec{{Size: 9 << 40}}},
		"a disk without size": {Name: "n", Disks: []vcenter.DiskSpec{{}}},
	} {
		if _, err := s.AddVMs([]vcenter.VMSpec{{Name: "ok", Disks: []vcenter.DiskSpec{{Size: mib}}}, bad}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := s.MoRef("ok"); err == nil {
			t.Fatalf("%s: the other VM was added", name)
		}
	}
	direct(t, s, c, vcenter.VMSpec{Name: "ok", Disks: []vcenter.DiskSpec{{Size: mib}}})
}

func many(n int) []vcenter.VMSpec {
	specs := make([]vcenter.VMSpec, n)
	for i := range specs {
		v := vcenter.VMSpec{
			Name: fmt.Sprintf("vm %d", i), Folder: fmt.Sprintf("org%d", i%30), ResourcePool: fmt.Sprintf("pool%d", i%30),
			NumCPU: 1, MemoryMB: 64, ManagedBy: "com.vmware.vcloud", ExtraConfig: map[string]string{"cloud.uuid": fmt.Sprint(i)}, PowerOn: i%2 == 0,
		}
		for d := range 1 + i%3 {
			v.Disks = append(v.Disks, vcenter.DiskSpec{Size: gib, Thin: true, Unit: d})
		}
		for range 1 + i%2 {
			v.NICs = append(v.NICs, vcenter.NICSpec{Network: "web"})
		}
		specs[i] = v
	}
	return specs
}

func listAll(tb testing.TB, c *govmomi.Client) []mo.VirtualMachine {
	tb.Helper()
	ctx := context.Background()
	v, err := view.NewManager(c.Client).CreateContainerView(ctx, c.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = v.Destroy(ctx) }()
	var vms []mo.VirtualMachine
	if err := v.Retrieve(ctx, []string{"VirtualMachine"}, []string{"name", "config.managedBy", "runtime.powerState", "resourcePool"}, &vms); err != nil {
		tb.Fatal(err)
	}
	return vms
}

func TestManyVMs(t *testing.T) {
	t.Parallel()
	s := start(t)
	if _, err := s.AddVMs(many(300)); err != nil {
		t.Fatal(err)
	}
	vms := listAll(t, dial(t, s))
	if len(vms) != 300 {
		t.Fatalf("got %d VMs, want 300", len(vms))
	}
	for _, vm := range vms {
		if vm.Config.ManagedBy.ExtensionKey != "com.vmware.vcloud" {
			t.Errorf("%s: managed by %v", vm.Name, vm.Config.ManagedBy)
		}
	}
}

// BenchmarkManyVMs is what an installation of 30,000 VMs takes.
func BenchmarkManyVMs(b *testing.B) {
	for b.Loop() {
		s, err := vcenter.Start(vcenter.Config{
			Dir: b.TempDir(), Users: map[string]string{user: password}, Hosts: 8, Networks: []string{"web"},
		})
		if err != nil {
			b.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		at := time.Now()
		if _, err := s.AddVMs(many(30_000)); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(at).Seconds(), "s/add")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/mib, "MiB")
		c, err := login(b, s, user, password)
		if err != nil {
			b.Fatal(err)
		}
		at = time.Now()
		if n := len(listAll(b, c)); n != 30_000 {
			b.Errorf("got %d VMs", n)
		}
		b.ReportMetric(time.Since(at).Seconds(), "s/list")
		one := object.NewVirtualMachine(c.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: must(s.MoRef("vm 1"))(b)})
		ctx := context.Background()
		for name, act := range map[string]func() (*object.Task, error){
			"on":       func() (*object.Task, error) { return one.PowerOn(ctx) },
			"off":      func() (*object.Task, error) { return one.PowerOff(ctx) },
			"snapshot": func() (*object.Task, error) { return one.CreateSnapshot(ctx, "s", "", false, false) },
			"rename":   func() (*object.Task, error) { return one.Rename(ctx, "renamed") },
		} {
			at = time.Now()
			if task, err := act(); err == nil {
				_ = task.Wait(ctx)
			}
			b.ReportMetric(1000*time.Since(at).Seconds(), "ms/"+name)
		}
		_ = s.Close()
	}
}

// BenchmarkManyVMsComeBack is a restart of the same installation.
func BenchmarkManyVMsComeBack(b *testing.B) {
	conf := vcenter.Config{Dir: b.TempDir(), StateDir: b.TempDir(), Users: map[string]string{user: password}, Hosts: 8, Networks: []string{"web"}}
	s, err := vcenter.Start(conf)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.AddVMs(many(30_000)); err != nil {
		b.Fatal(err)
	}
	at := time.Now()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(at).Seconds(), "s/save")
	for b.Loop() {
		s, err := vcenter.Start(conf)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.PowerOff(must(s.MoRef("vm 2"))(b)); err != nil {
			b.Error(err)
		}
		at := time.Now()
		if err := s.Save(); err != nil {
			b.Error(err)
		}
		b.ReportMetric(time.Since(at).Seconds(), "s/savesmall")
		_ = s.Close()
		b.StartTimer()
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}
