package nfc_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// A world is a simulated vCenter and a client of it.
type world struct {
	sim    *vcenter.Server
	client *vsphere.Client
}

func newWorld(t *testing.T, config vcenter.Config) *world {
	t.Helper()
	config.Dir, config.Users = t.TempDir(), map[string]string{"backup": "secret"}
	s, err := vcenter.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	sum := sha256.Sum256(s.Certificate().Raw)
	c, err := vsphere.Connect(t.Context(), vsphere.Options{
		URL: s.URL().String(), User: "backup", Password: "secret",
		TLS: vsphere.TLS{Fingerprint: hex.EncodeToString(sum[:])},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(t.Context()) })
	return &world{sim: s, client: c}
}

// vm makes a running VM with the given disks on several controllers.
func (w *world) vm(t *testing.T, name string, images [][]byte) *vsphere.VM {
	t.Helper()
	// In the order in which hardware lists its disks.
	controllers := []string{"pvscsi", "pvscsi", "lsilogic", "sata", "nvme"}
	spec := vcenter.VMSpec{Name: name, NumCPU: 1, MemoryMB: 64, PowerOn: true}
	for i, image := range images {
		raw := filepath.Join(t.TempDir(), fmt.Sprintf("%d.raw", i))
		if err := os.WriteFile(raw, image, 0o600); err != nil {
			t.Fatal(err)
		}
		d := vcenter.DiskSpec{From: raw, Thin: true, Unit: -1, Controller: controllers[i]}
		if d.Controller == "lsilogic" {
			d.Bus = 1 // SCSI buses are numbered together
		}
		spec.Disks = append(spec.Disks, d)
	}
	moref, err := w.sim.AddVM(spec)
	if err != nil {
		t.Fatal(err)
	}
	return w.client.VM(moref)
}

// freeze takes a snapshot of a VM.
func freeze(t *testing.T, vm *vsphere.VM) transport.Frozen {
	t.Helper()
	snapshot, err := vm.CreateSnapshot(t.Context(), vsphere.SnapshotSpec{Name: "vappvault-test", Quiesce: "off"})
	if err != nil {
		t.Fatal(err)
	}
	f := transport.Frozen{VM: vm.MoRef(), Snapshot: snapshot.Ref}
	for _, d := range snapshot.Disks {
		f.Disks = append(f.Disks, d.Transport())
	}
	return f
}

// guest returns what the guest sees on a disk.
func (w *world) guest(t *testing.T, moref string, n int) []byte {
	t.Helper()
	d, err := w.sim.Disk(moref, n)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, d.Size())
	if _, err := d.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}
