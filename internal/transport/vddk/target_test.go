package vddk_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/transporttest"
	"github.com/vappvault/vappvault/internal/transport/vddk"
	"github.com/vappvault/vappvault/internal/vsphere"
)

func (w *world) holds(t *testing.T, moref string, n int) []byte {
	t.Helper()
	d, err := w.sim.Disk(moref, n)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, d.Size())
	if _, err := d.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTargetSuite(t *testing.T) {
	transporttest.RunTarget(t, func(t *testing.T, images [][]byte) transporttest.TargetFixture {
		w := newWorld(t)
		vm := w.vm(t, "web 01", false, images...)
		snapshot := w.vm(t, "with a snapshot", false, random(1<<20))
		freeze(t, snapshot)
		return transporttest.TargetFixture{
			Opener: vddk.New(w.client, w.options()),
			VM:     idle(t, vm),
			Holds:  func(t *testing.T, n int) []byte { return w.holds(t, vm.MoRef(), n) },
			Refused: map[string]transport.Idle{
				"it runs":                idle(t, w.vm(t, "on", true, random(1<<20))),
				"a snapshot hangs on it": idle(t, snapshot),
			},
			Settled: w.settled,
		}
	})
}

func TestNothingIsWrittenOverSAN(t *testing.T) {
	w := newWorld(t)
	vm := idle(t, w.vm(t, "web01", false, random(1<<20)))
	o := w.options()
	o.Transports = "san"
	if _, err := vddk.New(w.client, o).OpenTarget(t.Context(), vm); !errors.Is(err, transport.ErrRefused) || !strings.Contains(err.Error(), "san") {
		t.Errorf("got %v", err)
	}
	for list, want := range map[string]string{"san:hotadd:nbdssl:nbd": "hotadd:nbdssl:nbd", "san": "", "nbd:san": "nbd", "nbdssl": "nbdssl"} {
		if got := vddk.WriteModes(list); got != want {
			t.Errorf("%s: got %q, want %q", list, got, want)
		}
	}
}

// A memory is a disk of the repository.
type memory struct {
	image []byte
	mu    sync.Mutex
	asked extent.Set
	fail  error
}

func (m *memory) Size() int64        { return int64(len(m.image)) }
func (m *memory) Transferred() int64 { return 0 }
func (m *memory) Close() error       { return nil }

func (m *memory) Extents(_ context.Context, within extent.Extent) (extent.Set, error) {
	return extent.Of(within), nil
}

func (m *memory) ReadAt(_ context.Context, p []byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(p, m.image[off:])
	m.asked = m.asked.Add(extent.Extent{Offset: off, Length: int64(len(p))})
	return m.fail
}

// specOf describes a VM as another one, which is made beside it.
func (w *world) specOf(t *testing.T, vm *vsphere.VM, name string) vsphere.ImportSpec {
	t.Helper()
	config, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	place, err := w.client.RebuildPlace(t.Context(), config.Disks[0].DatastoreRef)
	if err != nil {
		t.Fatal(err)
	}
	spec, _, err := vsphere.SpecFromConfig(config.Raw, place.Options(name))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestAnImportedVMHoldsWhatItShould(t *testing.T) {
	w := newWorld(t)
	sparse := make([]byte, 40<<20)
	copy(sparse[7<<20:], random(100<<10))
	images := [][]byte{random(5<<20 + 512*3), sparse, make([]byte, 2<<20)}
	vm := w.vm(t, "web01", false, make([]byte, len(images[0])), make([]byte, len(sparse)), make([]byte, len(images[2])))
	config, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var fills []transport.Fill
	for n, d := range config.Disks[:2] { // of the third nobody says anything
		fills = append(fills, transport.Fill{Key: d.Key, Content: &memory{image: images[n]}})
	}
	var mu sync.Mutex
	var most int64
	moref, err := vddk.NewImporter(w.options()).Import(t.Context(), w.client, w.specOf(t, vm, "web01-restored"), fills, func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		most = max(most, n)
	})
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range images {
		if got := w.holds(t, moref, n); !bytes.Equal(got, want) {
			t.Errorf("disk %d: bytes differ", n)
		}
	}
	if want := int64(len(images[0]) + len(sparse)); most != want {
		t.Errorf("progress ends at %d, want %d", most, want)
	}
	// A thin disk has stayed thin.
	snapshot, err := w.client.VM(moref).CreateSnapshot(t.Context(), vsphere.SnapshotSpec{Name: "vappvault-test", Quiesce: "off"})
	if err != nil {
		t.Fatal(err)
	}
	session, err := vddk.New(w.client, w.options()).Open(t.Context(), transport.Frozen{VM: moref, Snapshot: snapshot.Ref, Disks: []transport.Disk{snapshot.Disks[1].Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	r, err := session.Disk(t.Context(), snapshot.Disks[1].Key)
	if err != nil {
		t.Fatal(err)
	}
	set, err := r.(transport.Source).Extents(t.Context(), extent.Extent{Length: r.Size()})
	if err != nil || set.Bytes() > 1<<20 {
		t.Errorf("100 KiB of data take %d bytes (%v)", set.Bytes(), err)
	}
}

func TestAnImportThatFailsLeavesNoVM(t *testing.T) {
	w := newWorld(t)
	vm := w.vm(t, "web01", false, random(4<<20))
	spec := w.specOf(t, vm, "web01-restored")
	config, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key := config.Disks[0].Key
	whole := func() []transport.Fill { return []transport.Fill{{Key: key, Content: &memory{image: random(4 << 20)}}} }
	broken := errors.New("the repository is broken")
	for _, c := range []struct {
		name  string
		spoil func(o *vddk.Options, ctx *context.Context) []transport.Fill
		want  error
	}{
		{"no library", func(o *vddk.Options, _ *context.Context) []transport.Fill { o.Libdir = ""; return whole() }, transport.ErrRefused},
		{"only san", func(o *vddk.Options, _ *context.Context) []transport.Fill { o.Transports = "san"; return whole() }, transport.ErrRefused},
		{"a wrong password", func(o *vddk.Options, _ *context.Context) []transport.Fill {
			*o = o.Spoiled(func(a *vsphere.Access) { a.Password = "wrong" })
			return whole()
		}, transport.ErrRefused},
		{"the line breaks", func(*vddk.Options, *context.Context) []transport.Fill { w.line.cut.Store(300); return whole() }, transport.ErrBroken},
		{"the content cannot be read", func(*vddk.Options, *context.Context) []transport.Fill {
			return []transport.Fill{{Key: key, Content: &memory{image: random(4 << 20), fail: broken}}}
		}, broken},
		{"another size", func(*vddk.Options, *context.Context) []transport.Fill {
			return []transport.Fill{{Key: key, Content: &memory{image: random(2 << 20)}}}
		}, nil},
		{"a disk that is not there", func(*vddk.Options, *context.Context) []transport.Fill {
			return []transport.Fill{{Key: 12345, Content: &memory{image: random(4 << 20)}}}
		}, nil},
		{"it is cancelled", func(_ *vddk.Options, ctx *context.Context) []transport.Fill {
			cancelled, cancel := context.WithCancel(*ctx)
			*ctx = cancelled
			return []transport.Fill{{Key: key, Content: &cancelling{memory{image: random(4 << 20)}, cancel}}}
		}, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, o := t.Context(), w.options().Hasty()
			fills := c.spoil(&o, &ctx)
			_, err := vddk.NewImporter(o).Import(ctx, w.client, spec, fills, nil)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			vms, err := w.client.FindVMs(t.Context(), "web01-restored")
			if err != nil || slices.ContainsFunc(vms, func(r *vsphere.VMRef) bool { return r.Name == "web01-restored" }) {
				t.Errorf("left: %v %v", vms, err)
			}
			w.settled(t)
		})
	}
}

// A cancelling is content whose reader is cancelled.
type cancelling struct {
	memory
	cancel func()
}

func (c *cancelling) ReadAt(ctx context.Context, p []byte, off int64) error {
	c.cancel()
	return c.memory.ReadAt(ctx, p, off)
}
