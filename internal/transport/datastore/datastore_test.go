package datastore_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/datastore"
	"github.com/vappvault/vappvault/internal/transport/transporttest"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	transporttest.Run(t, func(t *testing.T, images [][]byte) transporttest.Fixture {
		w := newWorld(t)
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
		changed := func(change func(f *transport.Frozen)) transport.Frozen {
			f := frozen
			f.Disks = slices.Clone(f.Disks)
			change(&f)
			return f
		}
		disks := func(change func(d *transport.Disk)) transport.Frozen {
			return changed(func(f *transport.Frozen) {
				for i := range f.Disks {
					change(&f.Disks[i])
				}
			})
		}
		return transporttest.Fixture{
			Opener: datastore.NewOpener(w.client),
			VM:     frozen,
			Refused: map[string]transport.Frozen{
				"no snapshot":          changed(func(f *transport.Frozen) { f.Snapshot = "" }),
				"a tenant's snapshot":  changed(func(f *transport.Frozen) { f.Snapshots = 2 }),
				"datacenter not known": changed(func(f *transport.Frozen) { f.Datacenter = "" }),
				"a linked clone":       disks(func(d *transport.Disk) { d.ChainDepth = 1 }),
				"a raw device":         disks(func(d *transport.Disk) { d.Kind = "rdm-virtual" }),
				"a sparse delta":       disks(func(d *transport.Disk) { d.Kind = "sesparse" }),
				"encrypted disks":      disks(func(d *transport.Disk) { d.Encrypted = true }),
				"vSAN":                 disks(func(d *transport.Disk) { d.DatastoreType = "vsan" }),
				"vVol":                 disks(func(d *transport.Disk) { d.DatastoreType = "VVOL" }),
				"another size":         disks(func(d *transport.Disk) { d.Capacity += 512 }),
				"another datastore":    disks(func(d *transport.Disk) { d.Datastore = "nowhere" }),
				"no file":              disks(func(d *transport.Disk) { d.FileName = "[" + d.Datastore + "] nowhere/x.vmdk" }),
				"no file name":         disks(func(d *transport.Disk) { d.FileName = "" }),
			},
			Cut: w.cutNext,
		}
	})
}

// random returns a disk that does not compress.
func random(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{3}).Read(b)
	return b
}

// one makes a frozen VM with one disk.
func one(t *testing.T) (w *world, frozen transport.Frozen, image []byte) {
	w, image = newWorld(t), random(3<<20)
	return w, freeze(t, w.vm(t, "web01", [][]byte{image})), image
}

func open(t *testing.T, w *world, frozen transport.Frozen) transport.Source {
	t.Helper()
	session, err := datastore.NewOpener(w.client).Open(t.Context(), frozen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	r, err := session.Disk(t.Context(), frozen.Disks[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	return r.(transport.Source)
}

func TestWhatTheServerRefusesIsRefused(t *testing.T) {
	t.Parallel()
	w, frozen, _ := one(t)
	status := func(code int) func(http.ResponseWriter, *http.Request) http.ResponseWriter {
		return func(rw http.ResponseWriter, _ *http.Request) http.ResponseWriter {
			rw.WriteHeader(code)
			return nil
		}
	}
	for _, c := range []struct {
		name   string
		meddle func(http.ResponseWriter, *http.Request) http.ResponseWriter
	}{
		{"forbidden", status(http.StatusForbidden)},
		{"method not allowed", status(http.StatusMethodNotAllowed)},
		{"conflict", status(http.StatusConflict)},
		{"locked", status(http.StatusLocked)},
		{"internal error", status(http.StatusInternalServerError)},
		{"never authorized", status(http.StatusUnauthorized)},
		{"no ranges", func(rw http.ResponseWriter, r *http.Request) http.ResponseWriter {
			r.Header.Del("Range")
			return rw
		}},
		{"another range", func(rw http.ResponseWriter, r *http.Request) http.ResponseWriter {
			if r.Header.Get("Range") != "" {
				r.Header.Set("Range", "bytes=512-1023")
			}
			return rw
		}},
		{"connections are cut", func(rw http.ResponseWriter, _ *http.Request) http.ResponseWriter {
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.setMeddle(c.meddle)
			session, err := datastore.NewOpener(w.client).Open(t.Context(), frozen)
			if !errors.Is(err, transport.ErrRefused) {
				t.Errorf("got %v, want %v", err, transport.ErrRefused)
			}
			if err == nil {
				session.Close()
			}
		})
	}
}

func TestHostThatServesNoFilesIsRefused(t *testing.T) {
	t.Parallel()
	w, frozen, _ := one(t)
	w.sim.Faults().RefuseFolder(true)
	if _, err := datastore.NewOpener(w.client).Open(t.Context(), frozen); !errors.Is(err, transport.ErrRefused) {
		t.Errorf("got %v, want %v", err, transport.ErrRefused)
	}
}

func TestOneOfTwoDisksIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := random(1 << 20)
	frozen := freeze(t, w.vm(t, "web01", [][]byte{image, image}))
	frozen.Disks[1].DatastoreType = "vsan"
	session, err := datastore.NewOpener(w.client).Open(t.Context(), frozen)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.Disk(t.Context(), frozen.Disks[1].Key); !errors.Is(err, transport.ErrRefused) {
		t.Errorf("got %v, want %v", err, transport.ErrRefused)
	}
	r, err := session.Disk(t.Context(), frozen.Disks[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := transporttest.ReadAll(t.Context(), r); err != nil || !bytes.Equal(got, image) {
		t.Errorf("the other disk: bytes differ, or %v", err)
	}
}

func TestFlatFileOfAnotherSizeIsRefused(t *testing.T) {
	t.Parallel()
	w, frozen, _ := one(t)
	flat, err := filepath.Glob(filepath.Join(w.dir, "*", "*", "*-flat.vmdk"))
	if err != nil || len(flat) != 1 {
		t.Fatalf("flat files: %v, %v", flat, err)
	}
	if err := os.Truncate(flat[0], 3<<20-512); err != nil {
		t.Fatal(err)
	}
	if _, err := datastore.NewOpener(w.client).Open(t.Context(), frozen); !errors.Is(err, transport.ErrRefused) {
		t.Errorf("got %v, want %v", err, transport.ErrRefused)
	}
}

func TestReadGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	w, frozen, image := one(t)
	source := open(t, w, frozen)
	var requests atomic.Int64
	w.setMeddle(func(rw http.ResponseWriter, _ *http.Request) http.ResponseWriter {
		requests.Add(1)
		return &cutter{rw, 700 << 10}
	})
	got := make([]byte, len(image))
	if err := source.ReadAt(t.Context(), got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, image) {
		t.Error("bytes differ")
	}
	if n := requests.Load(); n != 5 {
		t.Errorf("got %d requests, want 5", n)
	}
	if n := source.Transferred(); n != int64(len(image)) {
		t.Errorf("got %d bytes transferred, want %d", n, len(image))
	}
}

func TestReadThatGetsNowhereFails(t *testing.T) {
	t.Parallel()
	w, frozen, image := one(t)
	source := open(t, w, frozen)
	w.setMeddle(func(rw http.ResponseWriter, _ *http.Request) http.ResponseWriter { return &cutter{rw, 0} })
	err := source.ReadAt(t.Context(), make([]byte, len(image)), 0)
	if !errors.Is(err, transport.ErrBroken) || errors.Is(err, transport.ErrRefused) {
		t.Errorf("got %v, want %v", err, transport.ErrBroken)
	}
}

func TestBusyServerIsAskedAgain(t *testing.T) {
	t.Parallel()
	w, frozen, image := one(t)
	source := open(t, w, frozen)
	var busy atomic.Int64
	w.setMeddle(func(rw http.ResponseWriter, _ *http.Request) http.ResponseWriter {
		if busy.Add(1) > 2 {
			return rw
		}
		rw.WriteHeader(http.StatusServiceUnavailable)
		return nil
	})
	got := make([]byte, len(image))
	if err := source.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, image) {
		t.Errorf("bytes differ, or %v", err)
	}
}

func TestAServerThatStaysBusyIsOverloaded(t *testing.T) {
	w, frozen, image := one(t)
	source := open(t, w, frozen)
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusGatewayTimeout} {
		w.setMeddle(func(rw http.ResponseWriter, _ *http.Request) http.ResponseWriter {
			rw.WriteHeader(status)
			return nil
		})
		err := source.ReadAt(t.Context(), make([]byte, len(image)), 0)
		if !errors.Is(err, transport.ErrOverloaded) || errors.Is(err, transport.ErrRefused) {
			t.Errorf("%d: got %v, want %v", status, err, transport.ErrOverloaded)
		}
		if _, err := datastore.NewOpener(w.client).Open(t.Context(), frozen); !errors.Is(err, transport.ErrOverloaded) || errors.Is(err, transport.ErrRefused) {
			t.Errorf("%d at opening: got %v, want %v", status, err, transport.ErrOverloaded)
		}
	}
}

func TestSessionThatEndedIsRenewed(t *testing.T) {
	t.Parallel()
	w, frozen, image := one(t)
	source := open(t, w, frozen)
	vim := w.client.Client()
	if _, err := methods.Logout(t.Context(), vim, &types.Logout{This: *vim.ServiceContent.SessionManager}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(image))
	if err := source.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, image) {
		t.Errorf("bytes differ, or %v", err)
	}
}
