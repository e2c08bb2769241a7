package vddk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/vddk"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// open opens the first disk of a VM for reading.
func open(ctx context.Context, w *world, o vddk.Options, vm transport.Frozen) (transport.Session, transport.Source, error) {
	session, err := vddk.New(w.client, o).Open(ctx, vm)
	if err != nil {
		return nil, nil, err
	}
	r, err := session.Disk(ctx, vm.Disks[0].Key)
	if err != nil {
		return nil, nil, errors.Join(err, session.Close())
	}
	return session, r.(transport.Source), nil
}

func TestWhatCannotBeOpenedIsRefusedWithTheReason(t *testing.T) {
	w := newWorld(t)
	frozen := freeze(t, w.vm(t, "web01", true, random(1<<20)))
	for _, c := range []struct {
		name   string
		spoil  func(o *vddk.Options, vm *transport.Frozen)
		reason string
	}{
		{"no libdir", func(o *vddk.Options, _ *transport.Frozen) { o.Libdir = "" }, "vddk.libdir is not configured"},
		{"an empty libdir", func(o *vddk.Options, _ *transport.Frozen) { o.Libdir = t.TempDir() }, "holds no lib64/libvixDiskLib.so"},
		{"a library that is none", func(o *vddk.Options, _ *transport.Frozen) {
			o.Libdir = t.TempDir()
			os.Mkdir(filepath.Join(o.Libdir, "lib64"), 0o700)
			os.WriteFile(filepath.Join(o.Libdir, "lib64", "libvixDiskLib.so.8"), []byte("text"), 0o600)
		}, "libvixDiskLib"},
		{"no nbdkit", func(o *vddk.Options, _ *transport.Frozen) { o.Nbdkit = "/nowhere/nbdkit" }, "nbdkit"},
		{"no plugin of that name", func(o *vddk.Options, _ *transport.Frozen) { o.Plugin = "nonesuch" }, "nonesuch"},
		{"no plugin at that path", func(o *vddk.Options, _ *transport.Frozen) { o.Plugin = "/nowhere/plugin.so" }, "/nowhere/plugin.so"},
		{"a wrong password", func(o *vddk.Options, _ *transport.Frozen) {
			*o = o.Spoiled(func(a *vsphere.Access) { a.Password = "wrong secret" })
		}, "Incorrect user name or password"},
		{"another certificate", func(o *vddk.Options, _ *transport.Frozen) {
			*o = o.Spoiled(func(a *vsphere.Access) { a.Thumbprint = "00" + a.Thumbprint[2:] })
		}, "actual thumbprint="},
		{"an unknown VM", func(_ *vddk.Options, vm *transport.Frozen) { vm.VM = "vm-999999" }, "vm-999999"},
		{"an unknown snapshot", func(_ *vddk.Options, vm *transport.Frozen) { vm.Snapshot = "snapshot-999999" }, "snapshot-999999"},
		{"another file", func(_ *vddk.Options, vm *transport.Frozen) { vm.Disks[0].FileName = "[datastore1] x/x.vmdk" }, "x/x.vmdk"},
		{"another size", func(_ *vddk.Options, vm *transport.Frozen) { vm.Disks[0].Capacity += 512 }, "1048576 bytes"},
		{"a way that does not lead there", func(o *vddk.Options, _ *transport.Frozen) { o.Transports = "san" }, "san"},
		{"a configuration file that is not there", func(o *vddk.Options, _ *transport.Frozen) { o.ConfigFile = "/nowhere/vddk.conf" }, "/nowhere/vddk.conf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, vm := w.options().Hasty(), frozen
			vm.Disks = append([]transport.Disk(nil), frozen.Disks...)
			c.spoil(&o, &vm)
			_, _, err := open(t.Context(), w, o, vm)
			if !errors.Is(err, transport.ErrRefused) {
				t.Errorf("got %v, want %v", err, transport.ErrRefused)
			}
			if err == nil || !strings.Contains(err.Error(), c.reason) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want it to tell %q", err, c.reason)
			}
			w.settled(t)
		})
	}
}

func TestTheCertificateIsTheOneThatWasVerified(t *testing.T) {
	w := newWorld(t)
	frozen := freeze(t, w.vm(t, "web01", true, random(1<<20)))
	// What stands in between has a certificate of its own, which we trust and
	// the library, who is told of that one, does not find at the other end.
	target := w.sim.URL()
	target.Path = ""
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = insecure()
	front := httptest.NewTLSServer(proxy)
	t.Cleanup(front.Close)
	client, err := vsphere.Connect(t.Context(), vsphere.Options{
		URL: front.URL + "/sdk", User: "backup", Password: password, TLS: vsphere.TLS{CAFile: pemOf(t, front.Certificate())},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(t.Context()) })
	w.client = client
	if _, _, err := open(t.Context(), w, w.options(), frozen); !errors.Is(err, transport.ErrRefused) || !strings.Contains(err.Error(), "actual thumbprint") {
		t.Errorf("got %v", err)
	}
}

func TestNoSecretIsToBeSeen(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		w := newWorld(t)
		o := w.options()
		o.ReuseSession = reuse
		t.Setenv("VAPPVAULT_TEST_SECRET", password)
		session, r, err := open(t.Context(), w, o, freeze(t, w.vm(t, "web01", true, random(1<<20))))
		if err != nil {
			t.Fatal(err)
		}
		if mode := r.(interface{ Mode() string }).Mode(); mode != "nbdssl" {
			t.Errorf("got mode %q", mode)
		}
		pid := nbdkit(t)
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if bytes.Contains(cmdline, []byte(password)) || bytes.Contains(environ, []byte(password)) {
			t.Errorf("the password is in %q or %q", cmdline, environ)
		}
		access, err := w.client.Access(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(cmdline, []byte(access.Cookie)); got != reuse || access.Cookie == "" {
			t.Errorf("session reused: %v, the cookie is an argument: %v", reuse, got)
		}
		if text := fmt.Sprintf("%v %+v %#v", access, access, access); strings.Contains(text, password) || strings.Contains(text, access.Cookie) {
			t.Errorf("prints as %s", text)
		}
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	}
}

// nbdkit returns the process of the only child.
func nbdkit(t *testing.T) int {
	t.Helper()
	list := children(t)
	if len(list) != 1 {
		t.Fatalf("got children %q, want one", list)
	}
	word, _, _ := strings.Cut(list[0], " ")
	pid, err := strconv.Atoi(word)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestATransferThatBreaksOffIsTold(t *testing.T) {
	image := random(8 << 20)
	for _, c := range []struct {
		name string
		do   func(t *testing.T, w *world)
	}{
		{"nbdkit dies", func(t *testing.T, _ *world) { syscall.Kill(nbdkit(t), syscall.SIGKILL) }},
		{"nbdkit crashes", func(t *testing.T, _ *world) { syscall.Kill(nbdkit(t), syscall.SIGSEGV) }},
		{"nbdkit hangs", func(t *testing.T, _ *world) { syscall.Kill(nbdkit(t), syscall.SIGSTOP) }},
		{"the line to the host breaks", func(_ *testing.T, w *world) { w.line.breakAll() }},
		{"the line to the host stalls", func(_ *testing.T, w *world) { w.line.stall.Store(true) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			o := w.options().Hasty()
			o.Patience = 2 * time.Second
			session, r, err := open(t.Context(), w, o, freeze(t, w.vm(t, "web01", true, image)))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(image))
			if err := r.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, image) {
				t.Fatalf("before: %v", err)
			}
			c.do(t, w)
			if err := r.ReadAt(t.Context(), got, 0); !errors.Is(err, transport.ErrBroken) {
				t.Errorf("got %v, want %v", err, transport.ErrBroken)
			}
			session.Close() // that it had to be killed may be told
			w.settled(t)
			w.line.stall.Store(false)
		})
	}
}

func TestClosingEndsAReadThatHangs(t *testing.T) {
	w := newWorld(t)
	session, r, err := open(t.Context(), w, w.options().Hasty(), freeze(t, w.vm(t, "web01", true, random(1<<20))))
	if err != nil {
		t.Fatal(err)
	}
	w.line.stall.Store(true)
	defer w.line.stall.Store(false)
	read := make(chan error)
	go func() { read <- r.ReadAt(context.Background(), make([]byte, 1<<20), 0) }()
	time.Sleep(100 * time.Millisecond) // it may also not have begun: then it must not begin
	if err := session.Close(); err == nil {
		t.Log("it ended in time")
	}
	if err := <-read; err == nil {
		t.Error("a read of a disk that was closed succeeded")
	}
	w.settled(t)
}

func TestCancellingEndsAnOpeningThatHangs(t *testing.T) {
	w := newWorld(t)
	frozen := freeze(t, w.vm(t, "web01", true, random(1<<20)))
	w.line.stall.Store(true)
	defer w.line.stall.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := open(ctx, w, w.options().Hasty(), frozen); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	w.settled(t)
}

func TestACancelledReadLeavesTheDiskReadable(t *testing.T) {
	w := newWorld(t)
	image := random(4 << 20)
	session, r, err := open(t.Context(), w, w.options(), freeze(t, w.vm(t, "web01", true, image)))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	w.line.stall.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.ReadAt(ctx, make([]byte, len(image)), 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	w.line.stall.Store(false)
	got := make([]byte, len(image))
	if err := r.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, image) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestTheChildOutlivesTheThreadThatAskedForIt(t *testing.T) {
	w := newWorld(t)
	frozen := freeze(t, w.vm(t, "web01", true, random(1<<20)))
	type opened struct {
		session transport.Session
		r       transport.Source
		err     error
	}
	got := make(chan opened)
	go func() {
		runtime.LockOSThread() // and never let go: the thread ends with this
		session, r, err := open(context.Background(), w, w.options(), frozen)
		got <- opened{session, r, err}
	}()
	d := <-got
	if d.err != nil {
		t.Fatal(d.err)
	}
	time.Sleep(100 * time.Millisecond)
	if err := d.r.ReadAt(t.Context(), make([]byte, 512), 0); err != nil {
		t.Error(err)
	}
	if err := d.session.Close(); err != nil {
		t.Error(err)
	}
}

// TestHelperOpens is no test of its own: TestNothingOutlivesUs runs it as
// another process, which is killed.
func TestHelperOpens(t *testing.T) {
	moref, vm, found := strings.Cut(os.Getenv("VDDK_TEST_HELPER"), " ")
	if !found {
		return
	}
	parts := strings.SplitN(vm, " ", 6)
	port, _ := strconv.Atoi(parts[1])
	capacity, _ := strconv.ParseInt(parts[3], 10, 64)
	client, err := vsphere.Connect(t.Context(), vsphere.Options{
		URL: parts[0], User: "backup", Password: password, TLS: vsphere.TLS{Fingerprint: parts[4]},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, client: client, line: &line{port: port}}
	_, r, err := open(t.Context(), w, w.options(), transport.Frozen{
		VM: moref, Snapshot: parts[2], Disks: []transport.Disk{{Key: 2000, Capacity: capacity, FileName: parts[5], Kind: "flat"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("child %d\n", nbdkit(t))
	for {
		_ = r.ReadAt(t.Context(), make([]byte, 512), 0)
	}
}

func TestNothingOutlivesUs(t *testing.T) {
	for _, how := range []string{"reading", "the line stalls", "nbdkit hangs"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			frozen := freeze(t, w.vm(t, "web01", true, random(1<<20)))
			frozen.Disks[0].Key = 2000
			helper := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelperOpens$", "-test.count=1")
			helper.Env = append(os.Environ(), fmt.Sprintf("VDDK_TEST_HELPER=%s %s %d %s %d %s %s", frozen.VM, w.sim.URL(), w.line.port,
				frozen.Snapshot, frozen.Disks[0].Capacity, fingerprint(w.sim.Certificate()), frozen.Disks[0].FileName))
			out, err := helper.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := helper.Start(); err != nil {
				t.Fatal(err)
			}
			var pid int
			if _, err := fmt.Fscanf(out, "child %d\n", &pid); err != nil {
				t.Fatal(err, helper.Wait())
			}
			w.line.stall.Store(how == "the line stalls")
			if how == "nbdkit hangs" {
				syscall.Kill(pid, syscall.SIGSTOP)
			}
			defer w.line.stall.Store(false)
			helper.Process.Kill()
			helper.Wait()
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				if err != nil || strings.Contains(string(state), ") Z ") { // nobody of ours reaps it
					return
				}
				if time.Now().After(deadline) {
					syscall.Kill(pid, syscall.SIGKILL)
					t.Fatalf("nbdkit %d outlives the process that started it: %s", pid, state)
				}
			}
		})
	}
}

func TestWhatTheLibrarySaysDecides(t *testing.T) {
	for _, c := range []struct {
		name  string
		opens bool
		said  string
		kind  error
		text  string
	}{
		{"a refused login", true, "nbdkit: vddk: error: VixDiskLib_Open: You do not have access rights to this file\n", transport.ErrRefused, "You do not have access rights"},
		{"no memory on the host", true, "nbdkit: vddk[1]: error: [NFC ERROR] NfcFssrvrProcessErrorMsg: received NFC error 5 from server: Failed to allocate the requested 2097176 bytes\n", transport.ErrOverloaded, "NFC error 5"},
		{"no memory in mid-read", false, "nbdkit: error: VixDiskLib_ReadAsync: Memory allocation failed. Out of memory.\n", transport.ErrOverloaded, "Out of memory"},
		{"a host that is not there", true, "nbdkit: vddk: error: VixDiskLib_ConnectEx: The specified server could not be contacted\n", transport.ErrBroken, "could not be contacted"},
		{"an error that says nothing", true, "nbdkit: debug: VixDiskLibVim: Failed to verify SSL certificate: actual thumbprint=AA expected=BB\nnbdkit: error: VixDiskLib_Open: Unknown error\n", transport.ErrRefused, "actual thumbprint=AA"},
		{"a bad block", false, "nbdkit: vddk.3: error: VixDiskLib_ReadAsync: An I/O error\n", transport.ErrBroken, "An I/O error"},
		{"nothing", false, "", transport.ErrBroken, "input/output error"},
		{"a secret", true, "nbdkit: error: login of tiger hunter2\n", transport.ErrRefused, "login of tiger ***"},
		{"the end of a line that never ends", true, "nbdkit: error: hunter2 no end", transport.ErrRefused, "*** no end"},
		{"a line without bound", true, "nbdkit: error: " + strings.Repeat("x", 1<<20) + "hunter2\n", transport.ErrRefused, "xxx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := vddk.Heard(c.opens, c.said, "hunter2", "")
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "hunter2") || len(err.Error()) > 4<<10 {
				t.Errorf("got %v, want %v with %q", err, c.kind, c.text)
			}
			if c.kind == transport.ErrBroken && errors.Is(err, transport.ErrOverloaded) {
				t.Errorf("got %v, which is no overload", err)
			}
		})
	}
}

func TestExtentsAreThoseOfTheDisk(t *testing.T) {
	w := newWorld(t)
	image := make([]byte, 8<<20)
	copy(image[3<<20:], random(64<<10))
	session, r, err := open(t.Context(), w, w.options(), freeze(t, w.vm(t, "web01", true, image)))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	got, err := r.Extents(t.Context(), extent.Extent{Length: r.Size()})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got.Bytes() > 1<<20 {
		t.Errorf("got %v for 64 KiB of data", got)
	}
}
