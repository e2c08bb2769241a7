package vsphere_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// fileOf finds where a file is attached.
func placeOf(t *testing.T, vm *vsphere.VM, file string) (vsphere.Attach, bool) {
	t.Helper()
	now, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(now.Disks, func(d vsphere.Disk) bool { return d.FileName == file })
	if i < 0 {
		return vsphere.Attach{}, false
	}
	return now.Disks[i].Attach(), true
}

func TestADiskComesBackWithItsController(t *testing.T) {
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
	first, last := was.Disks[0].Attach(), was.Disks[len(was.Disks)-1].Attach()
	// Taken out, and put on a controller that the VM does not have yet.
	if err := vm.ExchangeDisks(t.Context(), []string{first.File}, nil); err != nil {
		t.Fatal(err)
	}
	if _, there := placeOf(t, vm, first.File); there {
		t.Fatal("the disk is still there")
	}
	moved := first
	moved.Controller, moved.Bus, moved.Unit = "nvme", 1, 3
	if err := vm.ExchangeDisks(t.Context(), nil, []vsphere.Attach{moved}); err != nil {
		t.Fatal(err)
	}
	if got, _ := placeOf(t, vm, first.File); !got.SamePlace(moved) || got.Controller != "nvme" {
		t.Errorf("at %+v, want %+v", got, moved)
	}
	// Another type of controller under the same number: those on it follow.
	other := first
	other.Controller = "buslogic"
	if err := vm.ExchangeDisks(t.Context(), nil, []vsphere.Attach{other}); err != nil {
		t.Fatal(err)
	}
	if got, _ := placeOf(t, vm, first.File); got.Controller != "buslogic" || !got.SamePlace(first) {
		t.Errorf("at %+v, want %+v", got, other)
	}
	// And back, in one step with the disk that is not named.
	if err := vm.ExchangeDisks(t.Context(), nil, []vsphere.Attach{first}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []vsphere.Attach{first, last} {
		if got, _ := placeOf(t, vm, want.File); got != want {
			t.Errorf("at %+v, want %+v", got, want)
		}
	}
	taken := first
	taken.Unit, taken.Bus, taken.Controller = last.Unit, last.Bus, last.Controller
	if len(was.Disks) > 1 {
		if err := vm.ExchangeDisks(t.Context(), nil, []vsphere.Attach{taken}); !errors.Is(err, vsphere.ErrSlotTaken) {
			t.Errorf("a taken unit: %v", err)
		}
	}
}
