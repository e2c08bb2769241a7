package vcenter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func qemuImg(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img")
	}
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func download(t *testing.T, c *govmomi.Client, item nfc.FileItem) []byte {
	t.Helper()
	r, _, err := c.Download(context.Background(), item.URL, &soap.Download{Method: http.MethodGet})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func exportSnapshot(t *testing.T, vm *object.VirtualMachine, snap types.ManagedObjectReference) (*nfc.Lease, *nfc.LeaseInfo) {
	t.Helper()
	lease, err := vm.ExportSnapshot(context.Background(), &snap)
	if err != nil {
		t.Fatal(err)
	}
	info, err := lease.Wait(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return lease, info
}

func TestExportedDisksAreValid(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{mib, 33*mib + 512*7, 5 * gib} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := start(t, func(c *vcenter.Config) { c.NFCWildcard = size == mib })
			c := dial(t, s)
			vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: size, Thin: true}}})
			g := guest(t, s, vm, 0)
			first, last := random(200_000), random(3000)
			write(t, g, 512, first)
			write(t, g, size/2, bytes.Repeat([]byte("abc"), 1000))
			snap := snapshot(t, vm, "x")
			other := random(5000)
			write(t, g, size-3000, last) // not in s1
			snap2 := snapshot(t, vm, "y")
			write(t, g, 0, other)
			lease, info := exportSnapshot(t, vm, snap2)
			dir := t.TempDir()
			file, raw := filepath.Join(dir, "disk.vmdk"), filepath.Join(dir, "disk.raw")
			if err := os.WriteFile(file, download(t, c, info.Items[0]), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := lease.Complete(context.Background()); err != nil {
				t.Error(err)
			}
			qemuImg(t, "check", file)
			qemuImg(t, "convert", "-O", "raw", file, raw)
			f, err := os.Open(raw)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if fi, _ := f.Stat(); fi.Size() != size {
				t.Errorf("got %d bytes, want %d", fi.Size(), size)
			}
			for off, want := range map[int64][]byte{512: first, size / 2: []byte("abcabc"), size - 3000: last, 0: make([]byte, 512)} {
				got := make([]byte, len(want))
				if _, err := f.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
					t.Errorf("at %d: not what was frozen, %v", off, err)
				}
			}
			_, _ = snap, snap2
			if s.Stats().NFCBytesOut == 0 {
				t.Error("no bytes were counted")
			}
		})
	}
}

func TestDisksBeyond2TiBGoOutAndIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	const size = 3 << 40
	vm := machine(t, s, c, vcenter.VMSpec{Name: "big", Disks: []vcenter.DiskSpec{{Size: size, Thin: true}}})
	last := random(100_000)
	write(t, guest(t, s, vm, 0), size-100_000, last)
	_, info := exportSnapshot(t, vm, snapshot(t, vm, "x"))
	stream := download(t, c, info.Items[0])
	file := filepath.Join(t.TempDir(), "disk.vmdk")
	if err := os.WriteFile(file, stream, 0o600); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "check", file)
	lease, in, err := importVM(t, c, "again", size)
	if err != nil {
		t.Fatal(err)
	}
	if err := upload(c, in.Items[0], stream); err != nil {
		t.Fatal(err)
	}
	if err := lease.Complete(context.Background()); err != nil {
		t.Fatal(err)
	}
	reads(t, guest(t, s, object.NewVirtualMachine(c.Client, in.Entity), 0), size-100_000, last)
}

func TestLeasesHoldTheVM(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: mib}}})
	snap := snapshot(t, vm, "x")
	lease, _ := exportSnapshot(t, vm, snap)
	d := disks(props(t, vm).Config.Hardware.Device)[0]
	for name, act := range map[string]func() (*object.Task, error){
		"power on": func() (*object.Task, error) { return vm.PowerOn(ctx) },
		"destroy":  func() (*object.Task, error) { return vm.Destroy(ctx) },
		"relocate": func() (*object.Task, error) {
			return vm.Relocate(ctx, types.VirtualMachineRelocateSpec{}, types.VirtualMachineMovePriorityDefaultPriority)
		},
		"remove the snapshot": func() (*object.Task, error) { return vm.RemoveSnapshot(ctx, snap.Value, false, nil) },
		"remove the disk": func() (*object.Task, error) {
			return vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
				&types.VirtualDeviceConfigSpec{Operation: "remove", Device: d}}})
		},
	} {
		if _, err := finish(act()); !fault.Is(err, &types.TaskInProgress{}) {
			t.Errorf("%s: got %v, want TaskInProgress", name, err)
		}
	}
	if err := lease.Complete(ctx); err != nil {
		t.Fatal(err)
	}
	done2(t)(vm.PowerOn(ctx))
}

// done2 is done for a call in one go.
func done2(t *testing.T) func(*object.Task, error) types.AnyType {
	return func(task *object.Task, err error) types.AnyType { t.Helper(); return done(t, task, err) }
}

func leaseState(t *testing.T, c *govmomi.Client, l *nfc.Lease) mo.HttpNfcLease {
	t.Helper()
	var m mo.HttpNfcLease
	if err := property.DefaultCollector(c.Client).RetrieveOne(context.Background(), l.Reference(), nil, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLeasesTimeOutWithoutProgress(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *vcenter.Config) { c.LeaseTimeout = 5 * time.Second })
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: 64 * mib}}})
	write(t, guest(t, s, vm, 0), 0, random(48*mib))
	snap := snapshot(t, vm, "x")
	lease, info := exportSnapshot(t, vm, snap)
	r, _, err := c.Download(context.Background(), info.Items[0].URL, &soap.Download{Method: http.MethodGet})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 5 {
		time.Sleep(1500 * time.Millisecond)
		if err := lease.Progress(context.Background(), 10); err != nil {
			t.Fatal(err)
		}
	}
	if st := leaseState(t, c, lease); st.State != "ready" || st.TransferProgress != 10 {
		t.Fatalf("got state %s, progress %d", st.State, st.TransferProgress)
	}
	time.Sleep(6 * time.Second)
	if st := leaseState(t, c, lease); st.State != "error" || st.Error == nil {
		t.Errorf("got state %s, error %v", st.State, st.Error)
	}
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("the stream outlives its lease")
	}
	if err := lease.Progress(context.Background(), 20); err == nil {
		t.Error("a lease that is over takes progress")
	}
	done2(t)(vm.PowerOn(context.Background()))
}

func TestStreamsCanBeCut(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: 8 * mib}}})
	write(t, guest(t, s, vm, 0), 0, random(4*mib))
	_, info := exportSnapshot(t, vm, snapshot(t, vm, "x"))
	s.Faults().CutNFC(mib, 1)
	r, _, err := c.Download(context.Background(), info.Items[0].URL, &soap.Download{Method: http.MethodGet})
	if err == nil {
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
	}
	if err == nil {
		t.Error("the stream was not cut")
	}
	download(t, c, info.Items[0])
}

type place struct {
	folder *object.Folder
	pool   *object.ResourcePool
}

func where(t *testing.T, c *govmomi.Client) place {
	t.Helper()
	ctx := context.Background()
	f := find.NewFinder(c.Client)
	dc, err := f.DefaultDatacenter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f.SetDatacenter(dc)
	folders, err := dc.Folders(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := f.ResourcePool(ctx, "vdc1")
	if err != nil {
		t.Fatal(err)
	}
	return place{folders.VmFolder, pool}
}

func newDisk(unit int32, size int64, file string) []types.BaseVirtualDeviceConfigSpec {
	return []types.BaseVirtualDeviceConfigSpec{
		&types.VirtualDeviceConfigSpec{Operation: "add", Device: &types.ParaVirtualSCSIController{VirtualSCSIController: types.VirtualSCSIController{
			SharedBus: "noSharing", VirtualController: types.VirtualController{VirtualDevice: types.VirtualDevice{Key: -1}},
		}}},
		&types.VirtualDeviceConfigSpec{Operation: "add", FileOperation: "create", Device: &types.VirtualDisk{
			VirtualDevice: types.VirtualDevice{
				Key: -2, ControllerKey: -1, UnitNumber: &unit,
				Backing: &types.VirtualDiskFlatVer2BackingInfo{
					VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}, ThinProvisioned: types.NewBool(true),
				},
			}, CapacityInBytes: size,
		}},
	}
}

func importVM(t *testing.T, c *govmomi.Client, name string, size int64) (*nfc.Lease, *nfc.LeaseInfo, error) {
	t.Helper()
	at := where(t, c)
	lease, err := at.pool.ImportVApp(context.Background(), &types.VirtualMachineImportSpec{ConfigSpec: types.VirtualMachineConfigSpec{
		Name: name, GuestId: "otherGuest64", Files: &types.VirtualMachineFileInfo{VmPathName: "[ds2]"}, DeviceChange: newDisk(3, size, ""),
	}}, at.folder, nil)
	if err != nil {
		return nil, nil, err
	}
	info, err := lease.Wait(context.Background(), nil)
	return lease, info, err
}

func upload(c *govmomi.Client, item nfc.FileItem, stream []byte) error {
	return c.Upload(context.Background(), bytes.NewReader(stream), item.URL, &soap.Upload{
		Type: "application/x-vnd.vmware-streamVmdk", Method: http.MethodPost, ContentLength: int64(len(stream)),
	})
}

func exported(t *testing.T, s *vcenter.Server, c *govmomi.Client, size int64, content []byte) []byte {
	t.Helper()
	vm := machine(t, s, c, vcenter.VMSpec{Name: fmt.Sprint("src", size), Disks: []vcenter.DiskSpec{{Size: size}}})
	write(t, guest(t, s, vm, 0), 70_000, content)
	lease, err := vm.Export(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	info, err := lease.Wait(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lease.Complete(context.Background()) }()
	return download(t, c, info.Items[0])
}

func TestImportMakesANewVM(t *testing.T) {
	t.Parallel()
	var dir string
	s := start(t, func(c *vcenter.Config) { dir = c.Dir })
	c := dial(t, s)
	content := random(300_000)
	stream := exported(t, s, c, 40*mib+512, content)
	lease, info, err := importVM(t, c, "new", 40*mib+512)
	if err != nil {
		t.Fatal(err)
	}
	if info.DeviceUrl[0].ImportKey != "/new/ParaVirtualSCSIController0:3" {
		t.Errorf("got import key %q", info.DeviceUrl[0].ImportKey)
	}
	if err := lease.Complete(context.Background()); err == nil {
		t.Fatal("a lease without its uploads completes")
	}
	if err := upload(c, info.Items[0], stream); err != nil {
		t.Fatal(err)
	}
	if err := lease.Complete(context.Background()); err != nil {
		t.Fatal(err)
	}
	vm := object.NewVirtualMachine(c.Client, info.Entity)
	reads(t, guest(t, s, vm, 0), 70_000, content)
	ext, err := guest(t, s, vm, 0).Extents()
	if err != nil || len(ext) != 1 || ext[0].Length > 8*65536 {
		t.Errorf("got extents %v, %v: zeros were written", ext, err)
	}
	if left := strings.Join(files(t, filepath.Join(dir, "ds2")), " "); !strings.Contains(left, "new-flat.vmdk") {
		t.Errorf("got files %s", left)
	}
	if s.Stats().NFCBytesIn != int64(len(stream)) {
		t.Errorf("counted %d bytes of %d", s.Stats().NFCBytesIn, len(stream))
	}
	done2(t)(vm.PowerOn(context.Background()))
	if _, _, err := importVM(t, c, "new", mib); !fault.Is(err, &types.DuplicateName{}) {
		t.Errorf("got %v for a name in use, want DuplicateName", err)
	}
}

func TestBadUploadsAreRefused(t *testing.T) {
	t.Parallel()
	var dir string
	s := start(t, func(c *vcenter.Config) { dir = c.Dir })
	c := dial(t, s)
	stream := exported(t, s, c, 4*mib, random(300_000))
	flip := func(at int) []byte { b := bytes.Clone(stream); b[at] ^= 0x40; return b }
	for name, bad := range map[string][]byte{
		"truncated":                stream[:len(stream)-512],
		"truncated within a grain": stream[:len(stream)/2],
		"empty":                    nil,
		"with a damaged grain":     flip(128*512 + 5000),
		"with a damaged marker":    flip(128 * 512),
		"with a damaged table":     flip(len(stream) - 512*6),
		"of another capacity":      exported(t, s, c, 5*mib, []byte("x")),
		"something else":           random(1 << 20),
	} {
		lease, info, err := importVM(t, c, "bad", 4*mib)
		if err != nil {
			t.Fatal(err)
		}
		if err := upload(c, info.Items[0], bad); err == nil {
			t.Errorf("a stream %s is accepted", name)
		}
		if err := lease.Complete(context.Background()); err == nil {
			t.Errorf("after a stream %s the lease completes", name)
		}
		gone(t, c, info.Entity)
		left := strings.Join(files(t, filepath.Join(dir, "ds2")), " ")
		if left != "" {
			t.Errorf("after a stream %s: left behind: %s", name, left)
		}
	}
}

func gone(t *testing.T, c *govmomi.Client, ref types.ManagedObjectReference) {
	t.Helper()
	var m mo.VirtualMachine
	err := property.DefaultCollector(c.Client).RetrieveOne(context.Background(), ref, []string{"name"}, &m)
	if !fault.Is(err, &types.ManagedObjectNotFound{}) {
		t.Errorf("got %v for a VM that should be gone", err)
	}
}

func TestAbortedImportLeavesNothing(t *testing.T) {
	t.Parallel()
	var dir string
	s := start(t, func(c *vcenter.Config) { dir = c.Dir })
	c := dial(t, s)
	for _, how := range []string{"abort", "logout"} {
		lc, err := login(t, s, user, password)
		if err != nil {
			t.Fatal(err)
		}
		lease, info, err := importVM(t, lc, how, mib)
		if err != nil {
			t.Fatal(err)
		}
		if how == "abort" {
			err = lease.Abort(context.Background(), nil)
		} else {
			err = lc.Logout(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(5 * time.Second)
		for len(files(t, filepath.Join(dir, "ds2"))) > 0 && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
		if left := files(t, filepath.Join(dir, "ds2")); len(left) > 0 {
			t.Errorf("%s: left behind: %s", how, left)
		}
		gone(t, c, info.Entity)
	}
}

func TestExportOfARunningVMIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib}}})
	_, err := vm.Export(context.Background())
	if !fault.Is(err, &types.InvalidPowerState{}) {
		t.Errorf("got %v, want InvalidPowerState", err)
	}
	if _, err := methods.HttpNfcLeaseProgress(context.Background(), c.Client, &types.HttpNfcLeaseProgress{
		This: types.ManagedObjectReference{Type: "HttpNfcLease", Value: "nothing"}}); err == nil {
		t.Error(errors.New("a lease that is not there takes progress"))
	}
}
