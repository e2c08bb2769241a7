package vddk_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/vddk"
	"github.com/vappvault/vappvault/internal/vsphere"
	testvddk "github.com/vappvault/vappvault/test/vddk"
)

const password = "s3cret word"

// A world is a simulated vCenter and a client of it. Between the library and
// the host stands a proxy, which misbehaves as a test wishes.
type world struct {
	t      *testing.T
	sim    *vcenter.Server
	client *vsphere.Client
	line   *line
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	w.sim, err = vcenter.Start(vcenter.Config{Dir: t.TempDir(), Users: map[string]string{"backup": password}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.sim.Close() })
	w.client, err = vsphere.Connect(t.Context(), vsphere.Options{
		URL: w.sim.URL().String(), User: "backup", Password: password, TLS: vsphere.TLS{Fingerprint: fingerprint(w.sim.Certificate())},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.client.Close(t.Context()) })
	host, port := w.sim.DiskPort()
	w.line = newLine(t, net.JoinHostPort(host, strconv.Itoa(port)))
	t.Cleanup(func() { w.settled(t) })
	return w
}

// options are those that work.
func (w *world) options() vddk.Options {
	return vddk.Options{
		Libdir: testvddk.Library(w.t), Plugin: testvddk.Plugin(w.t), Transports: "nbdssl:nbd",
		NFCHostPort: w.line.port, Patience: 20 * time.Second,
	}
}

// settled fails the test if an nbdkit of this process is left, or a file of one.
func (w *world) settled(t *testing.T) {
	t.Helper()
	for _, p := range children(t) {
		t.Errorf("left behind: %s", p)
	}
}

// children returns the command lines of the nbdkits that this process started.
func children(t *testing.T) []string {
	t.Helper()
	var out []string
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(raw), ") ")
		var state string
		var parent int
		fmt.Sscan(rest, &state, &parent)
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if line := strings.ReplaceAll(string(command), "\x00", " "); parent == os.Getpid() && (strings.Contains(line, "nbdkit") || state == "Z") {
			out = append(out, filepath.Base(filepath.Dir(path))+" "+state+" "+line)
		}
	}
	return out
}

// A line is a proxy for the host's disk port.
type line struct {
	port  int
	cut   atomic.Int64 // break the next connection after so many bytes to the library; 0: never
	stall atomic.Bool  // pass nothing on
	mu    sync.Mutex
	conns []net.Conn
}

func newLine(t *testing.T, target string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &line{port: l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			x.mu.Lock()
			x.conns = append(x.conns, in, out)
			x.mu.Unlock()
			go x.pass(out, in, 0)
			go x.pass(in, out, x.cut.Swap(0))
		}
	}()
	t.Cleanup(func() {
		l.Close()
		x.breakAll()
	})
	return x
}

func (l *line) breakAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}

func (l *line) pass(to, from net.Conn, most int64) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for left := most; ; {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		for l.stall.Load() {
			time.Sleep(time.Millisecond)
		}
		if most > 0 {
			if int64(n) >= left {
				to.Write(buf[:left])
				return
			}
			left -= int64(n)
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// vm makes a VM with the given disks.
func (w *world) vm(t *testing.T, name string, on bool, images ...[]byte) *vsphere.VM {
	t.Helper()
	spec := vcenter.VMSpec{Name: name, NumCPU: 1, MemoryMB: 64, PowerOn: on, ChangeTracking: true}
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

// idle is a VM whose present disks are to be written.
func idle(t *testing.T, vm *vsphere.VM) transport.Idle {
	t.Helper()
	config, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := transport.Idle{VM: vm.MoRef(), Datacenter: config.Datacenter}
	for _, d := range config.Disks {
		i.Disks = append(i.Disks, d.Transport())
	}
	return i
}

func insecure() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // its own simulator
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// pemOf writes a certificate to a file, as an authority.
func pemOf(t *testing.T, c *x509.Certificate) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
