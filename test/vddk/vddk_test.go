package vddk_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/test/vddk"
)

const (
	user     = "backup@vsphere.local"
	password = "s3cret"
	mib      = 1 << 20
)

// A lab is a vCenter with one VM of one disk.
type lab struct {
	*vcenter.Server
	vm, snapshot string
	client       *govmomi.Client
	rules        *fault.Set
	disk         *vcenter.GuestDisk
}

func start(t testing.TB, spec vcenter.VMSpec, change ...func(*vcenter.Config)) *lab {
	t.Helper()
	c := vcenter.Config{Dir: t.TempDir(), Name: "vc1", Users: map[string]string{user: password}, DiskLockTimeout: time.Second, Rules: fault.New(1), Label: "vc1"}
	for _, f := range change {
		f(&c)
	}
	s, err := vcenter.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	u := s.URL()
	u.User = url.UserPassword(user, password)
	client, err := govmomi.NewClient(t.Context(), u, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Logout(context.Background()) })
	spec.Name = "vm"
	l := &lab{Server: s, client: client, rules: c.Rules}
	if l.vm, err = s.AddVM(spec); err != nil {
		t.Fatal(err)
	}
	if l.disk, err = s.Disk(l.vm, 0); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) freeze(t *testing.T) {
	t.Helper()
	vm := object.NewVirtualMachine(l.client.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: l.vm})
	task, err := vm.CreateSnapshot(t.Context(), "x", "", false, false)
	if err != nil {
		t.Fatal(err)
	}
	info, err := task.WaitForResult(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	l.snapshot = info.Result.(types.ManagedObjectReference).Value
}

func (l *lab) write(t *testing.T, off int64, p []byte) {
	t.Helper()
	if _, err := l.disk.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) thumbprint() string {
	return vddk.Thumbprint(l.Certificate())
}

// arguments are those of the plugin for the lab's disk, with changes: KEY=VALUE
// in the place of its own, or KEY to leave it out.
func (l *lab) arguments(t testing.TB, change ...string) []string {
	t.Helper()
	host, port := l.DiskPort()
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	args := map[string]string{
		"libdir": vddk.Library(t), "server": host, "nfchostport": fmt.Sprint(port), "user": user, "password": "+" + secret,
		"thumbprint": l.thumbprint(), "vm": "moref=" + l.vm, "file": "[datastore1] vm/vm.vmdk", "transports": "nbdssl:nbd",
	}
	if l.snapshot != "" {
		args["snapshot"] = l.snapshot
	}
	for _, c := range change {
		key, value, given := strings.Cut(c, "=")
		if delete(args, key); given {
			args[key] = value
		}
	}
	out := []string{}
	for k, v := range args {
		out = append(out, k+"="+v)
	}
	return out
}

// nbdkit serves the disk while a command runs, whose $uri is its address.
func (l *lab) nbdkit(t testing.TB, flags []string, command string, change ...string) *exec.Cmd {
	t.Helper()
	// A socket of our own: with -U - nbdkit leaves a folder in /tmp behind.
	args := append([]string{"-U", filepath.Join(t.TempDir(), "s"), "-v", "-D", "vddk.datapath=0"}, flags...)
	args = append(args, vddk.Plugin(t))
	args = append(args, l.arguments(t, change...)...)
	return exec.CommandContext(t.Context(), "nbdkit", append(args, "--run", command)...)
}

// run runs a command with the disk and returns what it and nbdkit printed.
func (l *lab) run(t testing.TB, flags []string, command string, change ...string) (stdout []byte, stderr string, err error) {
	t.Helper()
	cmd := l.nbdkit(t, flags, command, change...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.Bytes(), errs.String(), err
}

// hold keeps the disk open, half read, until release is called, which reads
// the rest and returns the reader's error.
func (l *lab) hold(t *testing.T) (nbdkit *os.Process, release func() error) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	args := append([]string{"-f", "--exit-with-parent", "-r", "-U", socket, vddk.Plugin(t)}, l.arguments(t)...)
	server := exec.CommandContext(t.Context(), "nbdkit", args...)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	reader := exec.CommandContext(t.Context(), "nbdcopy", "nbd+unix:///?socket="+socket, "-")
	out, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return server.Process, func() error {
		_, _ = io.Copy(io.Discard, out)
		err := reader.Wait()
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
		return err
	}
}

// idle waits until no disk is open and no session is left but the test's own:
// nbdkit --run is in a hurry to end, and then the host lets go of a disk, and
// vCenter of who had it open, only after a while.
func (l *lab) idle(t *testing.T) {
	t.Helper()
	for range 600 {
		if l.OpenDisks() == 0 && l.Sessions("") <= 1 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%d disks are open, %d sessions are there", l.OpenDisks(), l.Sessions(""))
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func TestAFrozenDiskIsReadAsItWas(t *testing.T) {
	l := start(t, vcenter.VMSpec{PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 8*mib + 512*5, Thin: true}}})
	l.write(t, mib, random(mib))
	l.write(t, 8*mib-100, random(2000))
	want := make([]byte, l.disk.Size())
	if _, err := l.disk.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	l.freeze(t)
	l.write(t, 0, random(2*mib))
	got, stderr, err := l.run(t, []string{"-r"}, `nbdcopy "$uri" -`)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got %d other bytes than the %d that were frozen", len(got), len(want))
	}
	extents, stderr, err := l.run(t, []string{"-r"}, `nbdinfo --map "$uri"`)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	t.Logf("%s", extents)
}

func TestADiskOfAVMThatIsOffIsWritten(t *testing.T) {
	l := start(t, vcenter.VMSpec{Disks: []vcenter.DiskSpec{{Size: 4 * mib, Thin: true}}})
	want := random(4 * mib)
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, want, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, err := l.run(t, nil, `nbdcopy --flush "`+source+`" "$uri"`); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	got := make([]byte, len(want))
	if _, err := l.disk.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the disk holds other bytes than were written")
	}
}
