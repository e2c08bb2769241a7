package datastore_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/datastore"
	"github.com/vappvault/vappvault/internal/transport/transporttest"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// openHasty opens the disk with an opener that waits no longer than so.
func openHasty(t *testing.T, w *world, frozen transport.Frozen, patience time.Duration) transport.Source {
	t.Helper()
	session, err := datastore.NewHastyOpener(w.client, patience).Open(t.Context(), frozen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	r, err := session.Disk(t.Context(), frozen.Disks[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	return r.(transport.Source)
}

// A staller passes some bytes and then none, until the client hangs up.
type staller struct {
	http.ResponseWriter
	left int64
	gone <-chan struct{}
}

func (s *staller) Write(p []byte) (int, error) {
	n := min(int64(len(p)), s.left)
	s.left -= n
	if n > 0 {
		_, _ = s.ResponseWriter.Write(p[:n])
	}
	if n < int64(len(p)) {
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		<-s.gone
		panic(http.ErrAbortHandler)
	}
	return len(p), nil
}

func TestALinkThatStallsIsLeftAndTheReadGoesOn(t *testing.T) {
	t.Parallel()
	w, frozen, image := one(t)
	for name, first := range map[string]int64{"before the first byte": 0, "in the middle": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			w.setMeddle(nil)
			source := openHasty(t, w, frozen, 3*time.Second)
			var once sync.Once
			var ranges []string
			var mu sync.Mutex
			w.setMeddle(func(rw http.ResponseWriter, r *http.Request) http.ResponseWriter {
				mu.Lock()
				ranges = append(ranges, r.Header.Get("Range"))
				mu.Unlock()
				once.Do(func() { rw = &staller{rw, first, r.Context().Done()} })
				return rw
			})
			got := make([]byte, len(image))
			if err := source.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, image) {
				t.Errorf("bytes differ, or %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(ranges) != 2 || first > 0 && ranges[1] == ranges[0] {
				t.Errorf("got requests for %q: the second does not go on where the first stalled", ranges)
			}
		})
	}
}

func TestALinkThatStaysStalledBreaksTheTransfer(t *testing.T) {
	t.Parallel()
	w, frozen, image := one(t)
	source := openHasty(t, w, frozen, time.Second)
	w.setMeddle(func(rw http.ResponseWriter, r *http.Request) http.ResponseWriter {
		return &staller{rw, 0, r.Context().Done()}
	})
	err := source.ReadAt(t.Context(), make([]byte, len(image)), 0)
	if !errors.Is(err, transport.ErrBroken) || errors.Is(err, transport.ErrOverloaded) {
		t.Errorf("got %v, want %v", err, transport.ErrBroken)
	}
}

func TestADiskThatChangesItsSizeIsRefusedInMidRead(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]int64{"it shrinks": -512, "it grows": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, frozen, _ := one(t)
			source := open(t, w, frozen)
			if err := source.ReadAt(t.Context(), make([]byte, 1<<20), 0); err != nil {
				t.Fatal(err)
			}
			flat, err := filepath.Glob(filepath.Join(w.dir, "*", "*", "*-flat.vmdk"))
			if err != nil || len(flat) != 1 {
				t.Fatalf("flat files: %v, %v", flat, err)
			}
			if err := os.Truncate(flat[0], 3<<20+change); err != nil {
				t.Fatal(err)
			}
			for _, off := range []int64{0, 2 << 20} {
				if err := source.ReadAt(t.Context(), make([]byte, 1<<20), off); !errors.Is(err, transport.ErrRefused) {
					t.Errorf("at %d: got %v, want %v", off, err, transport.ErrRefused)
				}
			}
		})
	}
}

func TestARefusalInMidReadIsARefusal(t *testing.T) {
	t.Parallel()
	w, frozen, _ := one(t)
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusLocked} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			w.setMeddle(nil)
			source := open(t, w, frozen)
			w.setMeddle(func(rw http.ResponseWriter, _ *http.Request) http.ResponseWriter {
				rw.WriteHeader(status)
				return nil
			})
			if err := source.ReadAt(t.Context(), make([]byte, 1<<20), 0); !errors.Is(err, transport.ErrRefused) {
				t.Errorf("got %v, want %v", err, transport.ErrRefused)
			}
		})
	}
}

// Sessions end while several reads are under way, some of them in the middle
// of their range.
func TestASessionThatEndsInMidCopyIsRenewedForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := random(32 << 20)
	frozen := freeze(t, w.vm(t, "web01", [][]byte{image}))
	source := open(t, w, frozen)
	var requests atomic.Int64
	w.setMeddle(func(rw http.ResponseWriter, _ *http.Request) http.ResponseWriter {
		if n := requests.Add(1); n == 10 || n == 30 {
			vim := w.client.Client()
			if _, err := methods.Logout(t.Context(), vim, &types.Logout{This: *vim.ServiceContent.SessionManager}); err != nil {
				t.Error(err)
			}
			return &cutter{rw, 300 << 10}
		}
		return rw
	})
	got := make([]byte, len(image))
	var readers sync.WaitGroup
	for i := range int64(8) {
		readers.Go(func() {
			for off := i * 4 << 20; off < (i+1)*4<<20; off += 1 << 20 {
				if err := source.ReadAt(t.Context(), got[off:off+1<<20], off); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	if !bytes.Equal(got, image) {
		t.Error("bytes differ")
	}
}

func TestAUserWhoMayNotLogInAgainIsNoMatterOfTheDisk(t *testing.T) {
	t.Parallel()
	w, frozen, _ := one(t)
	source := open(t, w, frozen)
	w.sim.Faults().FailCall("Login", 1000, &types.InvalidLogin{})
	vim := w.client.Client()
	if _, err := methods.Logout(t.Context(), vim, &types.Logout{This: *vim.ServiceContent.SessionManager}); err != nil {
		t.Fatal(err)
	}
	err := source.ReadAt(t.Context(), make([]byte, 1<<20), 0)
	if !errors.Is(err, vsphere.ErrLogin) || errors.Is(err, transport.ErrRefused) || errors.Is(err, transport.ErrBroken) {
		t.Errorf("got %v, want %v", err, vsphere.ErrLogin)
	}
}

func TestReadsRunSideBySideUpToABound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image := random(24 << 20)
	frozen := freeze(t, w.vm(t, "web01", [][]byte{image}))
	source := open(t, w, frozen)
	var held atomic.Int64
	release := make(chan struct{})
	w.setMeddle(func(rw http.ResponseWriter, _ *http.Request) http.ResponseWriter {
		held.Add(1)
		<-release
		return rw
	})
	got := make([]byte, len(image))
	var readers sync.WaitGroup
	for off := int64(0); off < int64(len(image)); off += 1 << 20 {
		readers.Go(func() {
			if err := source.ReadAt(t.Context(), got[off:off+1<<20], off); err != nil {
				t.Error(err)
			}
		})
	}
	for begun := time.Now(); held.Load() < datastore.Connections && time.Since(begun) < 20*time.Second; {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond) // in which no more come
	if n := held.Load(); n != datastore.Connections {
		t.Errorf("got %d at a time, want %d", n, datastore.Connections)
	}
	close(release)
	readers.Wait()
	if !bytes.Equal(got, image) {
		t.Error("bytes differ")
	}
}

func TestTheSnapshotIsRemovedUnderUs(t *testing.T) {
	t.Parallel()
	w, image := newWorld(t), random(3<<20)
	vm := w.vm(t, "web01", [][]byte{image})
	frozen := freeze(t, vm)
	source := open(t, w, frozen)
	if err := vm.RemoveSnapshot(t.Context(), frozen.Snapshot); err != nil {
		t.Fatal(err)
	}
	// The running VM locks its flat file again. That a lock is what the host
	// means by 500, and so that it is no use to go on, the next opening tells.
	if _, err := transporttest.ReadAll(t.Context(), source); !errors.Is(err, transport.ErrBroken) {
		t.Errorf("got %v, want %v", err, transport.ErrBroken)
	}
	if _, err := datastore.NewOpener(w.client).Open(t.Context(), frozen); !errors.Is(err, transport.ErrRefused) {
		t.Errorf("opened anew: got %v, want %v", err, transport.ErrRefused)
	}
	if _, err := vm.SnapshotByRef(t.Context(), frozen.Snapshot); !errors.Is(err, vsphere.ErrNotFound) {
		t.Errorf("whoever looks afterwards sees %v", err)
	}
}
