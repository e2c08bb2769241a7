package vddk_test

import (
	"context"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// read opens the disk for reading and reads all of it.
const read = `nbdcopy "$uri" null:`

// cookie is the value of the client's session cookie.
func (l *lab) cookie(t *testing.T) string {
	t.Helper()
	for _, c := range l.client.Client.Client.Jar.Cookies(l.URL()) {
		if c.Name == soap.SessionCookieName {
			return c.Value
		}
	}
	t.Fatal("the client has no session")
	return ""
}

func (l *lab) object() *object.VirtualMachine {
	return object.NewVirtualMachine(l.client.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: l.vm})
}

func TestWhatARealHostRefusesToOpen(t *testing.T) {
	l := start(t, vcenter.VMSpec{PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib}}})
	l.freeze(t)
	if _, err := l.AddVM(vcenter.VMSpec{Name: "off", Disks: []vcenter.DiskSpec{{Size: mib}}}); err != nil {
		t.Fatal(err)
	}
	off, err := l.MoRef("off")
	if err != nil {
		t.Fatal(err)
	}
	readOnly, writable := []string{"-r"}, []string(nil)
	for name, c := range map[string]struct {
		flags  []string
		change []string
		want   string
	}{
		"a wrong password":                   {readOnly, []string{"password=wrong"}, "VixDiskLib_Open: [datastore1] vm/vm.vmdk: Insufficient permissions in the host operating system"},
		"an unknown user":                    {readOnly, []string{"user=nobody"}, "Login failure. Incorrect user name or password"},
		"a session that never was":           {readOnly, []string{"cookie=52b0c1d4"}, "Login failure. The session is not authenticated"},
		"another certificate":                {readOnly, []string{"thumbprint=" + strings.Repeat("00:", 19) + "00"}, "vm.vmdk: Unknown error"},
		"no thumbprint":                      {readOnly, []string{"thumbprint"}, "vm.vmdk: Unknown error"},
		"a VM that is not there":             {readOnly, []string{"vm=moref=vm-0"}, "The virtual machine cannot be found"},
		"a VM by its name":                   {readOnly, []string{"vm=vm"}, "invalid VMX spec"},
		"a snapshot that is not there":       {readOnly, []string{"snapshot=snapshot-0"}, "the snapshot snapshot-0 cannot be found"},
		"another VM's disk":                  {readOnly, []string{"file=[datastore1] off/off.vmdk"}, "A file was not found"},
		"a disk that came after":             {readOnly, []string{"file=[datastore1] vm/vm-000001.vmdk"}, "A file was not found"},
		"what is no path":                    {readOnly, []string{"file=vm/vm.vmdk"}, "not a datastore path"},
		"a running VM's disk":                {readOnly, []string{"snapshot", "file=[datastore1] vm/vm-000001.vmdk"}, "the virtual machine runs"},
		"a frozen disk for writing":          {writable, nil, "snapshots hang from it"},
		"a running VM's disk for writing":    {writable, []string{"snapshot", "file=[datastore1] vm/vm-000001.vmdk"}, "The file is already in use"},
		"HotAdd alone":                       {readOnly, []string{"transports=hotadd"}, `no transport mode of "hotadd"`},
		"SAN alone":                          {readOnly, []string{"transports=san"}, `no transport mode of "san"`},
		"a transport that there is not":      {readOnly, []string{"transports=carrier-pigeon"}, "unknown transport mode"},
		"another port":                       {readOnly, []string{"nfchostport=1"}, "VixDiskLib_ConnectEx: The server refused connection"},
		"another VM's disk under its moref ": {readOnly, []string{"vm=moref=" + off}, "cannot be found"},
	} {
		_, stderr, err := l.run(t, c.flags, read, c.change...)
		if err == nil || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: got %v, want %q in\n%s", name, err, c.want, errorsOf(stderr))
		}
	}
	if _, stderr, err := l.run(t, readOnly, read); err != nil {
		t.Errorf("with nothing wrong: %v\n%s", err, stderr)
	}
	l.idle(t)
	if n := l.Sessions(user); n != 1 {
		t.Errorf("%d sessions at the end, want the test's own", n)
	}
}

// errorsOf are the lines that are not of debugging.
func errorsOf(stderr string) string {
	var out []string
	for _, line := range strings.Split(stderr, "\n") {
		if strings.Contains(line, "error") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

func TestTransports(t *testing.T) {
	l := start(t, vcenter.VMSpec{Disks: []vcenter.DiskSpec{{Size: mib}}})
	for asked, want := range map[string]string{"san:hotadd:nbdssl:nbd": "nbdssl", "nbd": "nbd", "hotadd:nbd:nbdssl": "nbd"} {
		_, stderr, err := l.run(t, []string{"-r"}, read, "transports="+asked)
		if err != nil || !strings.Contains(stderr, "transport mode: "+want+"\n") {
			t.Errorf("%s: got %v, want %s\n%s", asked, err, want, stderr)
		}
	}
}

func TestEncryptedDisksGoOverTLSAlone(t *testing.T) {
	l := start(t, vcenter.VMSpec{Key: "kms/1", Disks: []vcenter.DiskSpec{{Size: mib}}})
	if _, stderr, err := l.run(t, []string{"-r"}, read, "transports=nbd"); err == nil || !strings.Contains(stderr, "no transport mode") {
		t.Errorf("over nbd: got %v\n%s", err, errorsOf(stderr))
	}
	if _, stderr, err := l.run(t, []string{"-r"}, read, "transports=nbd:nbdssl"); err != nil {
		t.Errorf("over nbdssl: %v\n%s", err, errorsOf(stderr))
	}
}

func TestACookieIsAsGoodAsItsSession(t *testing.T) {
	l := start(t, vcenter.VMSpec{Disks: []vcenter.DiskSpec{{Size: mib}}})
	cookie := l.cookie(t)
	if _, stderr, err := l.run(t, []string{"-r"}, read, "cookie="+cookie, "password=none"); err != nil {
		t.Errorf("while it lasts: %v\n%s", err, errorsOf(stderr))
	}
	if n := l.Sessions(user); n != 1 {
		t.Errorf("%d sessions, want no other than the cookie's", n)
	}
	if err := l.client.Logout(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.run(t, []string{"-r"}, read, "cookie="+cookie, "password=none"); err == nil {
		t.Error("it works after logout")
	}
}

func TestPrivileges(t *testing.T) {
	reading := []string{"VirtualMachine.Provisioning.DiskRandomRead", "VirtualMachine.Provisioning.GetVmFiles", "Global.DisableMethods", "Global.EnableMethods"}
	for name, c := range map[string]struct {
		privileges []string
		flags      []string
		want       string // "": none
	}{
		"reading":                     {reading, []string{"-r"}, ""},
		"reading without reading":     {reading[1:], []string{"-r"}, "DiskRandomRead"},
		"reading without download":    {append([]string{reading[0]}, reading[2:]...), []string{"-r"}, "GetVmFiles"},
		"reading without the methods": {reading[:2], []string{"-r"}, "The host is not licensed for this feature"},
		"writing":                     {append([]string{"VirtualMachine.Provisioning.DiskRandomAccess"}, reading[2:]...), nil, ""},
		"writing with what reads":     {reading, nil, "DiskRandomAccess"},
	} {
		l := start(t, vcenter.VMSpec{Disks: []vcenter.DiskSpec{{Size: mib}}},
			func(v *vcenter.Config) {
				v.Accounts = []vcenter.User{{Name: "proxy", Password: password, Role: "proxy", Privileges: c.privileges}}
			})
		_, stderr, err := l.run(t, c.flags, read, "user=proxy")
		if (err == nil) != (c.want == "") || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: got %v, want %q\n%s", name, err, c.want, errorsOf(stderr))
		}
	}
}

func TestLimitsOfOpenDisks(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*vcenter.Config)
		want   string
	}{
		"of a host":         {func(c *vcenter.Config) { c.HostDisks = 1 }, "received NFC error 5 from server"},
		"of a vCenter":      {func(c *vcenter.Config) { c.OpenDisks = 1 }, "The server refused connection"},
		"of its sessions":   {func(c *vcenter.Config) { c.MaxSessions = 2 }, "Login failure. 503 Service Unavailable"},
		"none is exhausted": {func(*vcenter.Config) {}, ""},
	} {
		l := start(t, vcenter.VMSpec{Disks: []vcenter.DiskSpec{{Size: 4 * mib}}}, c.change)
		_, release := l.hold(t)
		_, stderr, err := l.run(t, []string{"-r"}, read)
		if (err == nil) != (c.want == "") || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: a second disk: got %v, want %q\n%s", name, err, c.want, errorsOf(stderr))
		}
		if err := release(); err != nil {
			t.Errorf("%s: the first disk: %v", name, err)
		}
		l.idle(t)
		if _, stderr, err := l.run(t, []string{"-r"}, read); err != nil {
			t.Errorf("%s: once the first is closed: %v\n%s", name, err, errorsOf(stderr))
		}
	}
}
