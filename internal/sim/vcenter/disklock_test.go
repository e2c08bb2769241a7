package vcenter_test

import (
	"context"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// A diskFiles deletes and moves disks by their files.
type diskFiles struct {
	manager *object.VirtualDiskManager
	dc      *object.Datacenter
}

func filesOf(t *testing.T, c *govmomi.Client) diskFiles {
	t.Helper()
	dc, err := find.NewFinder(c.Client).DefaultDatacenter(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return diskFiles{object.NewVirtualDiskManager(c.Client), dc}
}

func (d diskFiles) delete(name string) error {
	_, err := finish(d.manager.DeleteVirtualDisk(context.Background(), name, d.dc))
	return err
}

func (d diskFiles) move(from, to string, force bool) error {
	_, err := finish(d.manager.MoveVirtualDisk(context.Background(), from, d.dc, to, d.dc, force))
	return err
}

func TestLockedDisksAreNeitherDeletedNorMoved(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	files := filesOf(t, c)
	spec := func(name string, on bool) vcenter.VMSpec {
		return vcenter.VMSpec{Name: name, PowerOn: on, Disks: []vcenter.DiskSpec{{Size: mib}}}
	}
	on := machine(t, s, c, spec("on", true))
	snapshot(t, on, "x")
	leased := machine(t, s, c, spec("leased", false))
	lease, _ := exportSnapshot(t, leased, snapshot(t, leased, "x"))
	machine(t, s, c, spec("other", false))
	for name, file := range map[string]string{
		"the disk of a VM that is on": "[ds1] on/on-000001.vmdk",
		"what lies below it":          "[ds1] on/on.vmdk",
		"a disk that is exported":     "[ds1] leased/leased.vmdk",
	} {
		if err := files.delete(file); !fault.Is(err, &types.FileLocked{}) {
			t.Errorf("deleting %s: got %v, want FileLocked", name, err)
		}
		if err := files.move(file, "[ds1] on/moved.vmdk", false); !fault.Is(err, &types.FileLocked{}) {
			t.Errorf("moving %s: got %v, want FileLocked", name, err)
		}
		if err := files.move("[ds1] other/other.vmdk", file, true); !fault.Is(err, &types.FileLocked{}) {
			t.Errorf("replacing %s: got %v, want FileLocked", name, err)
		}
	}
	if err := lease.Complete(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := files.delete("[ds1] leased/leased.vmdk"); err != nil {
		t.Errorf("after the export: %v", err)
	}
	done2(t)(on.PowerOff(context.Background()))
	if err := files.delete("[ds1] on/on.vmdk"); err != nil {
		t.Errorf("after the VM was switched off: %v", err)
	}
}

func TestAVMThatIsOffLosesItsDiskWithoutAWord(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(diskFiles) error{
		"deleted": func(d diskFiles) error { return d.delete("[ds1] vm/vm.vmdk") },
		"moved":   func(d diskFiles) error { return d.move("[ds1] vm/vm.vmdk", "[ds1] elsewhere.vmdk", false) },
	} {
		for _, frozen := range []bool{false, true} {
			s := start(t)
			c := dial(t, s)
			ctx := context.Background()
			vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: mib}}})
			if frozen {
				snapshot(t, vm, "x")
			}
			if err := take(filesOf(t, c)); err != nil {
				t.Errorf("%s, with a snapshot: %v: %v", name, frozen, err)
				continue
			}
			if _, err := finish(vm.PowerOn(ctx)); !fault.Is(err, &types.FileNotFound{}) {
				t.Errorf("%s, with a snapshot: %v: power on: got %v, want FileNotFound", name, frozen, err)
			}
			if _, err := finish(vm.CreateSnapshot(ctx, "y", "", false, false)); !fault.Is(err, &types.FileNotFound{}) {
				t.Errorf("%s, with a snapshot: %v: snapshot: got %v, want FileNotFound", name, frozen, err)
			}
			done2(t)(vm.Destroy(ctx))
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestADiskInThePlaceOfAnother(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: mib}}})
	other := machine(t, s, c, vcenter.VMSpec{Name: "other", Disks: []vcenter.DiskSpec{{Size: 2 * mib}}})
	content := random(5000)
	write(t, guest(t, s, other, 0), mib, content)
	if err := filesOf(t, c).move("[ds1] other/other.vmdk", "[ds1] vm/vm.vmdk", true); err != nil {
		t.Fatal(err)
	}
	done2(t)(vm.PowerOn(context.Background()))
	reads(t, guest(t, s, vm, 0), mib, content)
}

func TestForgedAllocation(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", ChangeTracking: true, PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 8 * mib, Thin: true}}})
	write(t, guest(t, s, vm, 0), 0, random(4*mib))
	snap := snapshot(t, vm, "x")
	d := frozen(t, vm, snap)[0]
	allocated := func() (n int64) {
		areas, _, err := changed(vm, &snap, d, "*")
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range areas {
			n += a.Length
		}
		return n
	}
	s.Faults().ForgeCBT(vm.Reference().Value, d.Key, vcenter.Range{Length: 8 * mib})
	if got := allocated(); got != 4*mib {
		t.Errorf("got %d bytes allocated, want what was written", got)
	}
	s.Faults().ForgeAllocated(vm.Reference().Value, d.Key, vcenter.Range{Offset: mib, Length: mib})
	if got := allocated(); got != 3*mib {
		t.Errorf("got %d bytes allocated, want a MiB less", got)
	}
	s.Faults().ForgeAllocated(vm.Reference().Value, d.Key)
	if got := allocated(); got != 4*mib {
		t.Errorf("got %d bytes allocated once the lie has ended", got)
	}
}
