package vddk_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

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
	disk         *vcenter.GuestDisk
}

func start(t *testing.T, spec vcenter.VMSpec) *lab {
	t.Helper()
	s, err := vcenter.Start(vcenter.Config{Dir: t.TempDir(), Name: "vc1", Users: map[string]string{user: password}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	u := s.URL()
	u.User = url.UserPassword(user, password)
	c, err := govmomi.NewClient(t.Context(), u, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Logout(context.Background()) })
	spec.Name = "vm"
	l := &lab{Server: s, client: c}
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
func (l *lab) arguments(t *testing.T, change ...string) []string {
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

// run serves the disk with nbdkit while a command runs, whose $uri is the
// disk's address, and returns what both printed.
func (l *lab) run(t *testing.T, flags []string, command string, change ...string) (stdout []byte, stderr string, err error) {
	t.Helper()
	args := append([]string{"-U", "-", "-v"}, flags...)
	args = append(args, vddk.Plugin(t))
	args = append(args, l.arguments(t, change...)...)
	args = append(args, "--run", command)
	cmd := exec.CommandContext(t.Context(), "nbdkit", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.Bytes(), errs.String(), err
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
