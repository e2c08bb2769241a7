package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// often is how much is copied between two checkpoints of these tests.
const often = 16 * mib

// newBig is a cloud with one VM whose disk of 1 TiB has 160 MiB of data in
// several places, and a product that saves a checkpoint often.
func newBig(t *testing.T, dir, limits string) *env {
	t.Helper()
	e := newEnvIn(t, dir, inventoryWith(t, "{size: 1TiB, controller: pvscsi}"))
	for i := range int64(20) {
		e.write("vm", 0, i*50*1024*mib+i*mib/2, random(uint64(i), 8*mib))
	}
	e.limits(limits)
	return e
}

// limits gives the product other limits.
func (e *env) limits(text string) {
	e.t.Helper()
	path := e.conf.Path()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(raw, []byte("\nlimits: "+text+"\n")...), 0o600)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	if e.conf, err = config.Load(path); err != nil {
		e.t.Fatal(err)
	}
}

// killed runs a backup that is killed after so many checkpoints.
func (e *env) killed(checkpoints int, environment ...string) {
	e.t.Helper()
	if step, killed := e.die(checkpoints, "backup big", append(environment, childOnly+"=save checkpoint")...); !killed {
		e.t.Fatalf("the backup ended: %s", step)
	}
}

// reconcile takes back what a killed run has left.
func (e *env) reconcile() {
	e.t.Helper()
	e.once(func(ctx context.Context, a *app.App) (string, error) {
		_, err := a.Reconcile(ctx)
		return "", err
	})
}

// same restores the newest point beside the vApp and compares.
func (e *env) same(want string) {
	e.t.Helper()
	e.tidy(e.vapp("big"))
	point := e.newest("big")
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "copy"}})
	if got := e.extentsSum("copy"); got != want {
		e.t.Errorf("the disk differs: %s, want %s", got, want)
	}
}

func TestAKilledCopyGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	e := newBig(t, t.TempDir(), "{checkpoint: 16MiB}")
	e.killed(2)
	// The guest goes on: where it was copied, where it was not, and in a hole.
	e.write("vm", 0, 0, random(100, mib))
	e.write("vm", 0, 19*50*1024*mib+10*mib, random(101, mib))
	e.write("vm", 0, 777*1024*mib, random(102, mib))
	e.killed(3)
	e.write("vm", 0, 50*1024*mib+3*mib, random(103, mib))
	e.reconcile() // takes the snapshot away
	want := e.extentsSum("big")
	point := e.backup("big")
	d := diskOf(t, point, "vm", 0)
	// Two attempts have copied at least five times as much as lies between
	// two checkpoints; the guest has written some 4 MiB since.
	if d.Resumed == nil || d.Resumed.Bytes < 5*often || d.Mode != "full" || d.NotResumed != "" {
		t.Fatalf("%+v", d)
	}
	if most := int64(170*mib - 5*often + 8*mib); d.ReadBytes-d.SampleBytes > most {
		t.Errorf("%d bytes are read, %d of them as a sample; at most %d were missing", d.ReadBytes, d.SampleBytes, most)
	}
	e.same(want)
	// The next builds on the point, as if nothing had been.
	e.write("acme/vdc/big/vm", 0, 0, random(104, mib))
	if d := diskOf(t, e.backup("big"), "vm", 0); d.Mode != "incremental" || d.Resumed != nil || d.ReadBytes > 16*mib {
		t.Errorf("%+v", d)
	}
	e.verified()
}

// TestACheckpointThatOutlivesItsPointIsNotGoneOnFrom has what an earlier
// attempt left still be there when a later one has committed its point, as if
// that one had been killed before it removed it.
func TestACheckpointThatOutlivesItsPointIsNotGoneOnFrom(t *testing.T) {
	e := newBig(t, t.TempDir(), "{checkpoint: 16MiB}")
	e.killed(3)
	e.reconcile()
	repo, vapp := e.repositoryOf(e.vapp("big")), e.vapp("big")
	left, err := repo.Unfinished(t.Context(), vapp.ID)
	if err != nil || len(left) != 1 {
		t.Fatalf("%d disks: %v", len(left), err)
	}
	e.backup("big")
	again, err := repo.NewPoint(t.Context(), vapp.ID)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := again.Disk(t.Context(), left[0].Disk.Content.Size, &left[0].Disk.Content)
	if err != nil {
		t.Fatal(err)
	}
	disk.Resumable(func() (repository.Unfinished, bool) { return left[0], true })
	again.Abort(t.Context())
	if left, err = repo.Unfinished(t.Context(), vapp.ID); err != nil || len(left) != 1 {
		t.Fatalf("put back: %d disks: %v", len(left), err)
	}
	e.write("vm", 0, 50*1024*mib, random(150, mib))
	want := e.extentsSum("big")
	if d := diskOf(t, e.backup("big"), "vm", 0); d.Mode != "incremental" || d.Resumed != nil || d.NotResumed != "" || d.ReadBytes-d.SampleBytes > 4*mib {
		t.Errorf("%+v", d)
	}
	e.same(want)
}

func TestAnInterruptedIncrementalGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	e := newBig(t, t.TempDir(), "{checkpoint: 16MiB}")
	e.backup("big")
	for i := range int64(10) {
		e.write("vm", 0, i*90*1024*mib, random(200+uint64(i), 8*mib))
	}
	e.killed(2)
	e.write("vm", 0, 4*mib, random(300, mib))
	e.reconcile()
	want := e.extentsSum("big")
	d := diskOf(t, e.backup("big"), "vm", 0)
	if d.Mode != "incremental" || d.Resumed == nil || d.ReadBytes-d.SampleBytes > 81*mib-2*often+4*mib {
		t.Errorf("%+v", d)
	}
	e.same(want)
}

func TestAnInterruptedCopyIsNotBelievedWhereCBTCannotVouch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(e *env)
		why    string
	}{
		{"tracking was reset", func(e *env) {
			for _, on := range []bool{false, true} {
				e.reconfigure("big", types.VirtualMachineConfigSpec{ChangeTrackingEnabled: &on})
				e.cycle()
			}
		}, "changed block tracking was reset"},
		{"the disk has grown", func(e *env) {
			d := e.configs(e.vapp("big"))["vm"].Disks[0]
			e.reconfigure("big", types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationEdit,
				Device: &types.VirtualDisk{
					VirtualDevice: types.VirtualDevice{
						Key: d.Key, ControllerKey: d.ControllerKey, UnitNumber: &d.Unit,
						Backing: &types.VirtualDiskFlatVer2BackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: d.FileName}, DiskMode: "persistent"},
					},
					CapacityInBytes: d.Capacity + 1<<30, CapacityInKB: (d.Capacity + 1<<30) / 1024,
				},
			}}})
		}, "capacity changed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := newBig(t, t.TempDir(), "{checkpoint: 16MiB}")
			e.killed(3)
			e.reconcile()
			tc.change(e)
			e.write("vm", 0, 0, random(400, mib)) // not to be missed
			want := e.extentsSum("big")
			d := diskOf(t, e.backup("big"), "vm", 0)
			if d.Mode != "full" || d.Resumed != nil || !strings.Contains(d.NotResumed, tc.why) {
				t.Errorf("%s, resumed %v, not resumed %q", d.Mode, d.Resumed, d.NotResumed)
			}
			e.same(want)
		})
	}
}

// reconfigure changes the first VM of a vApp in vSphere.
func (e *env) reconfigure(vapp string, spec types.VirtualMachineConfigSpec) {
	e.t.Helper()
	vm := e.vapp(vapp).VMs[0]
	client := e.vcenters[vcd.URN(vm.VimInfo.VCenterHref)].Client()
	task, err := object.NewVirtualMachine(client, types.ManagedObjectReference{Type: "VirtualMachine", Value: vm.VimInfo.VMMoRef}).Reconfigure(e.t.Context(), spec)
	if err == nil {
		err = task.Wait(e.t.Context())
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// cycle takes a snapshot of the only VM of big and removes it: the stun with
// which tracking begins or ends.
func (e *env) cycle() {
	e.t.Helper()
	vm := e.vapp("big").VMs[0]
	v := e.vsphere(vm)
	s, err := v.CreateSnapshot(e.t.Context(), vsphere.SnapshotSpec{Name: "by the test", Quiesce: vsphere.QuiesceOff})
	if err == nil {
		err = v.RemoveSnapshot(e.t.Context(), s.Ref)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

func TestACopyThatIsCancelledGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	e := newBig(t, t.TempDir(), "{checkpoint: 16MiB, bandwidth: 100MiB}")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := e.app(func(step string) {
		if step == "save checkpoint" {
			cancel()
		}
	})
	if _, err := a.Backup(ctx, app.BackupRequest{Selectors: []string{"big"}, SamplePercent: -1}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	e.tidy(e.vapp("big"))
	want := e.extentsSum("big")
	if d := diskOf(t, e.backup("big"), "vm", 0); d.Resumed == nil || d.Resumed.Bytes < often {
		t.Errorf("%+v", d)
	}
	e.same(want)
}

func TestAPowerCutCostsNoMoreThanWasCopiedSinceTheCheckpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := newPowered(t, filepath.Join(dir, "conf"))
	e := newBig(t, dir, "{checkpoint: 16MiB}")
	syscall.Sync()
	e.killed(4, childCut+"="+disk.dir)
	disk.again()
	e = e.with(t)
	e.write("vm", 0, 0, random(500, mib))
	e.reconcile()
	want := e.extentsSum("big")
	if d := diskOf(t, e.backup("big"), "vm", 0); d.Resumed == nil || d.Resumed.Bytes < 4*often || d.ReadBytes-d.SampleBytes > 178*mib-4*often {
		t.Errorf("%+v", d)
	}
	e.same(want)
	e.verified()
	disk.run("umount", "-l", disk.dir)
}
