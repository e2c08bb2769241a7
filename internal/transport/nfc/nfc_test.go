package nfc_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/nfc"
	"github.com/vappvault/vappvault/internal/transport/transporttest"
	"github.com/vappvault/vappvault/internal/vsphere"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	transporttest.Run(t, func(t *testing.T, images [][]byte) transporttest.Fixture {
		w := newWorld(t, vcenter.Config{})
		vm := w.vm(t, "web 01 + söhne", images)
		frozen := freeze(t, vm)
		for i := range images { // the guest goes on writing
			d, err := w.sim.Disk(vm.MoRef(), i)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.WriteAt(bytes.Repeat([]byte{0xff}, 512), 0); err != nil {
				t.Fatal(err)
			}
		}
		unfrozen := frozen
		unfrozen.Snapshot = ""
		return transporttest.Fixture{
			Opener:  nfc.NewOpener(w.client),
			VM:      frozen,
			Refused: map[string]transport.Frozen{"no snapshot": unfrozen},
			Cut:     func(after int64) { w.sim.Faults().CutNFC(after, 1) },
			Settled: func(t *testing.T) { unlocked(t, vm) },
		}
	})
}

// unlocked fails the test if a lease still holds the VM.
func unlocked(t *testing.T, vm *vsphere.VM) {
	t.Helper()
	if err := vm.PowerOff(t.Context()); err != nil {
		t.Errorf("the VM is still locked: %v", err)
	}
}

// random returns a disk that does not compress.
func random(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{3}).Read(b)
	return b
}

func TestVMThatIsNotExportedIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{})
	frozen := freeze(t, w.vm(t, "web01", [][]byte{random(1 << 20)}))
	for _, f := range []types.BaseMethodFault{&types.NotSupported{}, &types.NoPermission{}, &types.InvalidPowerState{}} {
		w.sim.Faults().FailCall("ExportSnapshot", 1, f)
		if _, err := nfc.NewOpener(w.client).Open(t.Context(), frozen); !errors.Is(err, transport.ErrRefused) {
			t.Errorf("%T: got %v, want %v", f, err, transport.ErrRefused)
		}
	}
	w.sim.Faults().FailCall("ExportSnapshot", 1, &types.TaskInProgress{})
	if _, err := nfc.NewOpener(w.client).Open(t.Context(), frozen); err == nil || errors.Is(err, transport.ErrRefused) {
		t.Errorf("busy: got %v, want an error that is no refusal", err)
	}
}

func TestHostWithoutANameIsVCenter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{NFCWildcard: true})
	image := random(1 << 20)
	frozen := freeze(t, w.vm(t, "web01", [][]byte{image}))
	session, err := nfc.NewOpener(w.client).Open(t.Context(), frozen)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	r, err := session.Disk(t.Context(), frozen.Disks[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := transporttest.ReadAll(t.Context(), r); err != nil || !bytes.Equal(got, image) {
		t.Errorf("bytes differ, or %v", err)
	}
}

func TestDiskOutsideTheLeaseIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{})
	frozen := freeze(t, w.vm(t, "web01", [][]byte{random(1 << 20)}))
	frozen.Disks = append(frozen.Disks, transport.Disk{Key: 2009, Capacity: 1 << 20, ControllerType: "pvscsi", Unit: 9})
	session, err := nfc.NewOpener(w.client).Open(t.Context(), frozen)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.Disk(t.Context(), 2009); !errors.Is(err, transport.ErrRefused) {
		t.Errorf("got %v, want %v", err, transport.ErrRefused)
	}
}

func TestStreamOfAnotherSizeIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{})
	frozen := freeze(t, w.vm(t, "web01", [][]byte{random(1 << 20)}))
	frozen.Disks[0].Capacity += 512
	session, err := nfc.NewOpener(w.client).Open(t.Context(), frozen)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.Disk(t.Context(), frozen.Disks[0].Key); err == nil {
		t.Error("the disk was opened")
	}
}

func TestSlowReaderKeepsItsLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{LeaseTimeout: 4 * time.Second})
	image := random(12 << 20)
	vm := w.vm(t, "web01", [][]byte{image})
	frozen := freeze(t, vm)
	session, err := nfc.NewOpener(w.client).Open(t.Context(), frozen)
	if err != nil {
		t.Fatal(err)
	}
	r, err := session.Disk(t.Context(), frozen.Disks[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	stream, got := r.(transport.Stream), make([]byte, len(image))
	for n := 0; ; n++ {
		off, data, err := stream.Next(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		copy(got[off:], data)
		if n == 1 {
			time.Sleep(10 * time.Second)
		}
	}
	if !bytes.Equal(got, image) {
		t.Error("bytes differ")
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	unlocked(t, vm)
}

func TestLostLeaseEndsTheStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{LeaseTimeout: time.Second})
	image := random(64 << 20)
	frozen := freeze(t, w.vm(t, "web01", [][]byte{image}))
	session, err := nfc.NewOpener(w.client).Open(t.Context(), frozen)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	r, err := session.Disk(t.Context(), frozen.Disks[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	w.sim.Faults().FailCall("HttpNfcLeaseProgress", 1000, &types.ManagedObjectNotFound{})
	time.Sleep(time.Second)
	if _, err := transporttest.ReadAll(t.Context(), r); err == nil {
		t.Error("the disk was read without a lease")
	}
}
