package datastore_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// A world is a simulated vCenter and a client of it. In between stands a
// proxy, which misbehaves as a test wishes.
type world struct {
	sim    *vcenter.Server
	dir    string
	client *vsphere.Client

	mu     sync.Mutex
	meddle func(w http.ResponseWriter, r *http.Request) http.ResponseWriter
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	var err error
	w.sim, err = vcenter.Start(vcenter.Config{Dir: w.dir, Users: map[string]string{"backup": "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.sim.Close() })
	target := w.sim.URL()
	target.Path = ""
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // its own simulator
		DisableCompression: true,
	}
	front := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if rw = w.meddled(rw, r); rw != nil {
			proxy.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(front.Close)
	sum := sha256.Sum256(front.Certificate().Raw)
	w.client, err = vsphere.Connect(t.Context(), vsphere.Options{
		URL: front.URL + "/sdk", User: "backup", Password: "secret",
		TLS: vsphere.TLS{Fingerprint: hex.EncodeToString(sum[:])},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.client.Close(t.Context()) })
	return w
}

// meddled passes requests for files through the test's own function, which
// returns nil if it has answered.
func (w *world) meddled(rw http.ResponseWriter, r *http.Request) http.ResponseWriter {
	w.mu.Lock()
	meddle := w.meddle
	w.mu.Unlock()
	if meddle == nil || !strings.HasPrefix(r.URL.Path, "/folder/") {
		return rw
	}
	return meddle(rw, r)
}

func (w *world) setMeddle(f func(http.ResponseWriter, *http.Request) http.ResponseWriter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.meddle = f
}

// cutNext breaks the connection of the next request for a range, after so many
// bytes of its content.
func (w *world) cutNext(after int64) {
	var once sync.Once
	w.setMeddle(func(rw http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if r.Header.Get("Range") == "" {
			return rw
		}
		once.Do(func() { rw = &cutter{rw, after} })
		return rw
	})
}

type cutter struct {
	http.ResponseWriter
	left int64
}

func (c *cutter) Write(p []byte) (int, error) {
	n := min(int64(len(p)), c.left)
	c.left -= n
	c.ResponseWriter.Write(p[:n])
	if n < int64(len(p)) {
		http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return len(p), nil
}

// vm makes a running VM with the given disks.
func (w *world) vm(t *testing.T, name string, images [][]byte) *vsphere.VM {
	t.Helper()
	spec := vcenter.VMSpec{Name: name, NumCPU: 1, MemoryMB: 64, PowerOn: true}
	for i, image := range images {
		raw := filepath.Join(t.TempDir(), fmt.Sprintf("%d.raw", i))
		if err := os.WriteFile(raw, image, 0o600); err != nil {
			t.Fatal(err)
		}
		spec.Disks = append(spec.Disks, vcenter.DiskSpec{From: raw, Thin: true, Unit: -1})
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
	config, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := transport.Frozen{
		VM: vm.MoRef(), Snapshot: snapshot.Ref, Datacenter: config.Datacenter,
		PoweredOn: config.PowerState == "poweredOn", Snapshots: len(config.Snapshots),
	}
	for _, d := range snapshot.Disks {
		f.Disks = append(f.Disks, d.Transport())
	}
	return f
}
