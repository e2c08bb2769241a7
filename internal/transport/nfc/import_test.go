package nfc_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/nfc"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// A memory is content for an import.
type memory struct {
	image []byte
	fail  func(ctx context.Context, off int64) error // may be nil
	read  atomic.Int64
}

func (m *memory) Size() int64        { return int64(len(m.image)) }
func (m *memory) Transferred() int64 { return m.read.Load() }
func (m *memory) Close() error       { return nil }

func (m *memory) Extents(_ context.Context, within extent.Extent) (extent.Set, error) {
	var set extent.Set
	const block = 1 << 20
	for off := int64(0); off < m.Size(); off += block {
		e := extent.Extent{Offset: off, Length: min(block, m.Size()-off)}
		if len(bytes.Trim(m.image[e.Offset:e.End()], "\x00")) > 0 {
			set = set.Add(e)
		}
	}
	return set.Clip(within), nil
}

func (m *memory) ReadAt(ctx context.Context, p []byte, off int64) error {
	if m.fail != nil {
		if err := m.fail(ctx, off); err != nil {
			return err
		}
	}
	m.read.Add(int64(copy(p, m.image[off:])))
	return nil
}

func importImages() [][]byte {
	full, sparse := random(5<<20), make([]byte, 70<<20)
	copy(sparse[40<<20:], full)
	copy(sparse[len(sparse)-512:], full)
	return [][]byte{full, random(3<<20 + 3*512), make([]byte, 2<<20), sparse}
}

// rebuild describes a copy of a VM, as a restore does.
func (w *world) rebuild(t *testing.T, vm *vsphere.VM, name string) vsphere.ImportSpec {
	t.Helper()
	config, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	place, err := w.client.RebuildPlace(t.Context(), config.Disks[0].DatastoreRef)
	if err != nil {
		t.Fatal(err)
	}
	spec, _, err := vsphere.SpecFromConfig(config.Raw, vsphere.RebuildOptions{
		Name: name, Folder: place.Folder, ResourcePool: place.ResourcePool, Host: place.Host,
		Datastore: place.Datastore, DatastoreName: place.DatastoreName,
		Network: place.Network, NetworkName: place.NetworkName, Switch: place.Switch,
	})
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func contents(t *testing.T, vm *vsphere.VM, images [][]byte) (list []transport.Fill) {
	t.Helper()
	config, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range config.Disks {
		list = append(list, transport.Fill{Key: d.Key, Content: &memory{image: images[i]}})
	}
	return list
}

func TestImportFillsItsDisks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{LeaseTimeout: 4 * time.Second})
	images := importImages()
	empty := make([][]byte, len(images))
	for i := range images {
		empty[i] = make([]byte, len(images[i]))
	}
	vm := w.vm(t, "web01", empty)
	disks := contents(t, vm, images)
	disks[0].Content.(*memory).fail = func(context.Context, int64) error {
		time.Sleep(4 * time.Second) // longer together than the lease lives by itself
		return nil
	}
	var done []int64
	moref, err := nfc.Importer{}.Import(t.Context(), w.client, w.rebuild(t, vm, "web01-restored"), disks, func(n int64) { done = append(done, n) })
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range images {
		if got := w.guest(t, moref, i); !bytes.Equal(got, want) {
			t.Errorf("disk %d: bytes differ", i)
		}
	}
	total := int64(0)
	for _, d := range disks {
		total += d.Content.Transferred()
	}
	if len(done) == 0 || done[len(done)-1] != total {
		t.Errorf("progress ended at %v of %d bytes", done, total)
	}
	if limit := int64(15 << 20); total > limit {
		t.Errorf("%d bytes were read, more than %d: holes among them", total, limit)
	}
	copied := w.client.VM(moref)
	unlocked(t, copied)
	config, err := copied.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if config.Name != "web01-restored" {
		t.Errorf("got a VM named %s", config.Name)
	}
}

func TestImportWithoutContentMakesEmptyDisks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{})
	vm := w.vm(t, "web01", [][]byte{random(1 << 20)})
	moref, err := nfc.Importer{}.Import(t.Context(), w.client, w.rebuild(t, vm, "web01-restored"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.guest(t, moref, 0); len(got) != 1<<20 || len(bytes.Trim(got, "\x00")) > 0 {
		t.Errorf("got a disk of %d bytes that is not empty", len(got))
	}
}

func TestFailedImportLeavesNoVM(t *testing.T) {
	t.Parallel()
	media := errors.New("media error")
	for _, c := range []struct {
		name    string
		prepare func(w *world, m *memory, cancel func())
		want    string
	}{
		{"content cannot be read", func(_ *world, m *memory, _ func()) {
			m.fail = func(_ context.Context, off int64) error {
				if off >= 4<<20 {
					return media
				}
				return nil
			}
		}, "media error"},
		{"it is cancelled", func(_ *world, m *memory, cancel func()) {
			m.fail = func(ctx context.Context, off int64) error {
				if off < 4<<20 {
					return nil
				}
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}
		}, context.Canceled.Error()},
		{"the lease cannot be completed", func(w *world, _ *memory, _ func()) {
			w.sim.Faults().FailCall("HttpNfcLeaseComplete", 1, &types.SystemError{Reason: "disk full"})
		}, "complete lease"},
		{"the lease is lost", func(w *world, m *memory, _ func()) {
			m.fail = func(ctx context.Context, off int64) error {
				if off < 4<<20 {
					return nil
				}
				w.sim.Faults().FailCall("HttpNfcLeaseProgress", 1000, &types.ManagedObjectNotFound{})
				<-ctx.Done()
				return ctx.Err()
			}
		}, "vCenter ended the lease"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, vcenter.Config{LeaseTimeout: time.Second})
			image := random(8 << 20)
			vm := w.vm(t, "web01", [][]byte{image})
			disks := contents(t, vm, [][]byte{image})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c.prepare(w, disks[0].Content.(*memory), cancel)
			_, err := nfc.Importer{}.Import(ctx, w.client, w.rebuild(t, vm, "web01-restored"), disks, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			left, err := w.client.FindVMs(t.Context(), "web01-restored")
			if err != nil {
				t.Fatal(err)
			}
			if len(left) > 0 {
				t.Errorf("%d VMs were left", len(left))
			}
		})
	}
}

func TestImportRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, vcenter.Config{})
	image := random(1 << 20)
	vm := w.vm(t, "web01", [][]byte{image})
	spec := w.rebuild(t, vm, "web01-restored")
	good := contents(t, vm, [][]byte{image})[0]
	for name, disks := range map[string][]transport.Fill{
		"another size": {{Key: good.Key, Content: &memory{image: image[:1<<19]}}},
		"another disk": {{Key: 2099, Content: good.Content}},
		"a disk twice": {good, good},
	} {
		if _, err := (nfc.Importer{}).Import(t.Context(), w.client, spec, disks, nil); err == nil {
			t.Errorf("%s: was imported", name)
		}
	}
	left, err := w.client.FindVMs(t.Context(), "web01-restored")
	if err != nil || len(left) > 0 {
		t.Errorf("%d VMs were left, %v", len(left), err)
	}
}
