package vddk_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/transporttest"
	"github.com/vappvault/vappvault/internal/transport/vddk"
)

func TestSuite(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, images [][]byte) transporttest.Fixture {
		w := newWorld(t)
		vm := w.vm(t, "web 01 + söhne", true, images...)
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
		disks := func(change func(d *transport.Disk)) transport.Frozen {
			f := frozen
			f.Disks = slices.Clone(f.Disks)
			for i := range f.Disks {
				change(&f.Disks[i])
			}
			return f
		}
		without := frozen
		without.Snapshot = ""
		return transporttest.Fixture{
			Opener: vddk.New(w.client, w.options()),
			VM:     frozen,
			Refused: map[string]transport.Frozen{
				"no snapshot":        without,
				"raw devices":        disks(func(d *transport.Disk) { d.Kind = "rdm-physical" }),
				"no file name":       disks(func(d *transport.Disk) { d.FileName = "" }),
				"no whole sectors":   disks(func(d *transport.Disk) { d.Capacity++ }),
				"an unknown backing": disks(func(d *transport.Disk) { d.Kind = "other" }),
			},
			Cut:     func(after int64) { w.line.cut.Store(max(1, after)) },
			Settled: w.settled,
		}
	})
}

// random returns a disk that does not compress.
func random(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{3}).Read(b)
	return b
}
