package vcenter_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

const tib = 1 << 40

func TestTheLargestDiskThatVSphereMakes(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	at := time.Now()
	const size = 62 * tib
	vm := machine(t, s, c, vcenter.VMSpec{Name: "big", ChangeTracking: true, PowerOn: true, Disks: []vcenter.DiskSpec{{Size: size, Thin: true}}})
	g := guest(t, s, vm, 0)
	content := random(100 << 10)
	offsets := []int64{0, 8*tib - 50<<10, 40 * tib, size - 100<<10}
	write(t, g, offsets[0], content)
	first := snapshot(t, vm, "first")
	id := flat(frozen(t, vm, first)[0]).ChangeId
	for _, off := range offsets[1:] {
		write(t, g, off, content)
	}
	second := snapshot(t, vm, "second")
	areas, _, err := changed(vm, &second, frozen(t, vm, second)[0], id)
	if err != nil || len(areas) != 3 || areas[2].End() != size {
		t.Errorf("changed: got %v, %v", areas, err)
	}
	areas, _, err = changed(vm, &second, frozen(t, vm, second)[0], "*")
	if err != nil || len(areas) != 4 {
		t.Errorf("allocated: got %v, %v", areas, err)
	}
	lease, info := exportSnapshot(t, vm, second)
	stream := download(t, c, info.Items[0])
	if len(stream) > 20*mib {
		t.Errorf("the export has %d bytes", len(stream))
	}
	if err := lease.Complete(context.Background()); err != nil {
		t.Fatal(err)
	}
	done2(t)(vm.RemoveAllSnapshot(context.Background(), nil))
	for _, off := range offsets {
		reads(t, g, off, content)
	}
	if d := time.Since(at); d > time.Minute {
		t.Errorf("it took %s: somebody reads the zeros", d)
	}
}

func TestFolderShowsOneLargeFile(t *testing.T) {
	t.Parallel()
	var dir string
	s := start(t, func(c *vcenter.Config) { dir = c.Dir })
	c := dial(t, s)
	const size = 20 * tib
	vm := machine(t, s, c, vcenter.VMSpec{Name: "big", Disks: []vcenter.DiskSpec{{Size: size, Thin: true}}})
	content := random(100 << 10)
	write(t, guest(t, s, vm, 0), 16*tib-50<<10, content)
	web := browse(t, s, c)
	status, got := web.do(http.MethodGet, "big/big-flat.vmdk", nil, "Range", fmt.Sprintf("bytes=%d-%d", int64(16*tib-50<<10), int64(16*tib+50<<10-1)))
	if status != http.StatusPartialContent || !bytes.Equal(got, content) {
		t.Errorf("got status %d, %d bytes", status, len(got))
	}
	if n := web.length("big/big-flat.vmdk"); n != size {
		t.Errorf("got %d bytes, want %d", n, int64(size))
	}
	if _, list := web.do(http.MethodGet, "big", nil); bytes.Contains(list, []byte("flat.vmdk.")) {
		t.Errorf("got %s", list)
	}
	done2(t)(vm.Destroy(context.Background()))
	if left, err := os.ReadDir(filepath.Join(dir, "ds1")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestDisksGrowToTheLimitAndNoFurther(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "a", Disks: []vcenter.DiskSpec{{Size: 8*tib - mib, Thin: true}}})
	g := guest(t, s, vm, 0)
	content := random(mib)
	write(t, g, 8*tib-2*mib, content)
	grow := func(size int64) error {
		d := disks(props(t, vm).Config.Hardware.Device)[0]
		d.CapacityInBytes, d.CapacityInKB = size, size/1024
		return reconfigure(vm, change("edit", "", d))
	}
	if err := grow(62*tib + 512); err == nil {
		t.Error("it grew over the limit")
	}
	if err := grow(62 * tib); err != nil {
		t.Fatal(err)
	}
	if got := g.Size(); got != 62*tib {
		t.Errorf("got %d bytes", got)
	}
	reads(t, g, 8*tib-2*mib, append(append([]byte{}, content...), make([]byte, mib)...))
	if _, err := s.AddVM(vcenter.VMSpec{Name: "b", Disks: []vcenter.DiskSpec{{Size: 62*tib + 512}}}); err == nil {
		t.Error("a disk over the limit was made")
	}
	if _, err := s.AddVMs([]vcenter.VMSpec{{Name: "c", Disks: []vcenter.DiskSpec{{Size: 62*tib + 512}}}}); err == nil {
		t.Error("a disk over the limit was made directly")
	}
	m := object.NewVirtualDiskManager(c.Client)
	_, err := finish(m.CreateVirtualDisk(ctx, "[ds1] x.vmdk", nil, &types.FileBackedVirtualDiskSpec{
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "thin", AdapterType: "lsiLogic"}, CapacityKb: 62<<30 + 1,
	}))
	if err == nil {
		t.Error("a disk over the limit was made by its manager")
	}
}
