package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vmware/govmomi/cli"
)

const inventory = `version: 1
sites:
- id: lab
  vcenters:
  - name: vc
    hosts: 2
    datastores: [{name: one, capacity: 1TiB}, {name: two, capacity: 1TiB}]
    users:
    - {name: auditor@vsphere.local, password: a}
    - name: operator@vsphere.local
      password: o
      privileges: [VirtualMachine.Interact.PowerOn, VirtualMachine.Interact.PowerOff]
  orgs:
  - name: acme
    vdcs:
    - name: vdc1
      vapps:
      - name: shop
        vms:
        - name: box
          disks: [{size: 64MiB, fill: 10MiB}, {size: 8MiB, fill: 1MiB, controller: lsilogic, bus: 1}]
`

// A world is a simulated cloud and a folder to work in.
type world struct {
	dir, url, vm string // vm is the path of the VM called box
}

var w world

func TestMain(m *testing.M) {
	if os.Getenv("ACT_AS_GOVC") != "" {
		os.Exit(cli.Run(os.Args[1:]))
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "govc:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if w.dir, err = os.MkdirTemp("", "govc"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(w.dir)) }()
	binary := os.Getenv("VCDSIM_BIN")
	if binary == "" {
		binary = filepath.Join(w.dir, "vcdsim")
		build := exec.Command("go", "build", "-o", binary, "./cmd/vcdsim")
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	file, ready := filepath.Join(w.dir, "lab.yaml"), filepath.Join(w.dir, "ready.yaml")
	if err := os.WriteFile(file, []byte(inventory), 0o600); err != nil {
		return 1, err
	}
	server := exec.Command(binary, "serve", "--dir", filepath.Join(w.dir, "cloud"), "--inventory", file, "--config-out", ready)
	var out lines
	server.Stdout, server.Stderr = &out, os.Stderr
	if err := server.Start(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, server.Process.Signal(syscall.SIGTERM), server.Wait()) }()
	address := regexp.MustCompile(`lab/vc=(\S+)`)
	for deadline := time.Now().Add(time.Minute); w.url == ""; time.Sleep(20 * time.Millisecond) {
		if found := address.FindStringSubmatch(out.String()); found != nil {
			w.url = found[1]
		}
		if time.Now().After(deadline) {
			return 1, errors.New("vcdsim serve: not ready after a minute")
		}
	}
	return m.Run(), nil
}

// govc runs the client as the administrator, or as a user with a password of
// one letter.
func govc(user string, args ...string) (string, error) {
	password := user[:1]
	if user == "administrator" {
		password = "vcdsim-vcenter"
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "ACT_AS_GOVC=1", "GOVC_URL="+w.url, "GOVC_USERNAME="+user+"@vsphere.local", "GOVC_PASSWORD="+password,
		"GOVC_INSECURE=1", "GOVC_PERSIST_SESSION=false", "GOVC_DATACENTER=DC0", "GOVC_DATASTORE=one",
		"GOVC_RESOURCE_POOL=*/Resources", "HOME="+w.dir)
	cmd.Dir = w.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A step is a command line and what it prints, in part: a regular expression.
// One that begins with ! must fail. $VM is the VM called box.
type step struct{ command, want string }

func play(t *testing.T, user string, steps []step) {
	t.Helper()
	if w.vm == "" {
		out, err := govc("administrator", "find", "/", "-type", "m", "-name", "box*")
		if err != nil {
			t.Fatal(err, out)
		}
		w.vm = strings.TrimSpace(out)
	}
	for _, s := range steps {
		words := strings.Fields(strings.TrimPrefix(s.command, "!"))
		for i := range words {
			if words[i] == "$VM" {
				words[i] = w.vm
			}
			words[i] = strings.ReplaceAll(words[i], "_", " ")
		}
		out, err := govc(user, words...)
		if (err != nil) != strings.HasPrefix(s.command, "!") || !regexp.MustCompile(s.want).MatchString(out) {
			t.Fatalf("govc %s: %v, want %q in\n%s", s.command, err, s.want, out)
		}
	}
}

func TestInventory(t *testing.T) {
	play(t, "administrator", []step{
		{"about", "VMware vCenter Server 8"},
		{"ls", "/DC0/vm"},
		{"find / -type h", "esx02"},
		{"vm.info $VM", "poweredOff"},
		{"vm.info -json $VM", `"powerState": ?"poweredOff"`},
		{"host.info */esx01.vc.example", "esx01"},
		{"host.cert.info -host */esx01.vc.example", "SHA-1 Thumbprint|Thumbprint SHA-1|esx01"},
		{"datastore.info one", "1024.0 GB"},
		{"pool.info */Resources", "Resources"},
		{"session.ls", "administrator"},
		{"device.ls -vm $VM", "lsilogic-1001"},
		{"device.info -vm $VM disk-1000-0", "Hard disk 1"},
		{"object.collect -s $VM runtime.powerState", "poweredOff"},
		{"metric.ls $VM", "cpu.usage.average"},
		{"storage.policy.ls", "Default Storage Policy"},
	})
}

func TestSnapshots(t *testing.T) {
	play(t, "administrator", []step{
		{"snapshot.create -vm $VM first", ""},
		{"snapshot.create -vm $VM second", ""},
		{"snapshot.tree -vm $VM", `first\n  second`},
		{"snapshot.revert -vm $VM first", ""},
		{"snapshot.tree -vm $VM -C", "first"},
		{"snapshot.remove -vm $VM second", ""},
		{"!snapshot.remove -vm $VM second", "not found"},
		{"snapshot.remove -vm $VM *", ""},
		{"tasks -n 20", "CreateSnapshot"},
		{"events -n 30 $VM", "Task: Create virtual machine snapshot"},
	})
}

func TestExportAndImport(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img")
	}
	play(t, "administrator", []step{{"export.ovf -sha 256 -vm $VM ovf", "OK"}})
	name := filepath.Base(w.vm)
	home := filepath.Join(w.dir, "cloud", "datastores", "lab", "vc", "one", name)
	for i, flat := range []string{name + "-flat.vmdk", name + "_1-flat.vmdk"} {
		disk := filepath.Join(w.dir, "ovf", name, fmt.Sprintf("%s-disk-%d.vmdk", name, i))
		for _, args := range [][]string{{"check", disk}, {"compare", "-f", "vmdk", "-F", "raw", disk, filepath.Join(home, flat)}} {
			if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
				t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
			}
		}
	}
	out, err := govc("administrator", "import.ovf", "-ds", "two", "-host", "*/esx02.vc.example", "-folder", "vm", "-name", "back",
		filepath.Join("ovf", name, name+".ovf"))
	if err != nil {
		t.Fatal(err, out)
	}
	for i, flat := range []string{name + "-flat.vmdk", name + "_1-flat.vmdk"} {
		made := filepath.Join(w.dir, "cloud", "datastores", "lab", "vc", "two", "back", fmt.Sprintf("disk-%d-flat.vmdk", i))
		if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "raw", made, filepath.Join(home, flat)).CombinedOutput(); err != nil {
			t.Errorf("disk %d: %v\n%s", i, err, out)
		}
	}
	play(t, "administrator", []step{{"vm.info back", "esx02"}, {"vm.power -on back", "OK"}, {"vm.destroy back", ""}})
}

func TestClonesAndMigrations(t *testing.T) {
	play(t, "administrator", []step{
		{"vm.clone -vm $VM -on=false -host */esx01.vc.example -ds two full", "OK"},
		{"snapshot.create -vm $VM base", ""},
		{"vm.clone -vm $VM -link -snapshot base -on=false -host */esx01.vc.example linked", "OK"},
		{"device.info -json -vm linked disk-1000-0", `"parent": ?\{`},
		{"vm.migrate -host */esx02.vc.example -ds one full", "OK"},
		{"vm.info -r full", `esx02(.|\n)*Storage: +one`},
		{"vm.power -on full", "OK"},
		{"vm.migrate -host */esx01.vc.example full", "OK"},
		{"events /DC0/vm/full", "Migration of"},
		{"!vm.markastemplate full", "(?i)power"},
		{"vm.power -off full", "OK"},
		{"vm.markastemplate full", ""},
		{"!vm.power -on full", ""},
		{"vm.clone -vm full -on=false -host */esx01.vc.example -ds one second", "OK"},
		{"vm.destroy full second linked", ""},
		{"snapshot.remove -vm $VM base", ""},
	})
}

func TestHardware(t *testing.T) {
	play(t, "administrator", []step{
		{"vm.disk.create -vm $VM -name extra -size 20M -ds two", ""},
		{"vm.disk.change -vm $VM -disk.label Hard_disk_1 -size 128M", ""},
		{"device.info -vm $VM disk-1000-0", "131,072 KB"},
		{"!vm.disk.change -vm $VM -disk.label Hard_disk_1 -size 64M", ""},
		{"device.scsi.add -vm $VM -type pvscsi", "pvscsi-1002"},
		{"device.remove -vm $VM pvscsi-1002", ""},
		{"device.cdrom.add -vm $VM", "cdrom"},
		{"device.remove -vm $VM disk-1000-1", ""},
		{"vm.change -vm $VM -m 512 -c 2 -annotation words", ""},
		{"vm.info $VM", "512MB"},
		{"vm.power -on $VM", "OK"},
		{"vm.power -reset $VM", "OK"},
		{"vm.power -suspend $VM", "OK"},
		{"vm.power -on $VM", "OK"},
		{"vm.power -off $VM", "OK"},
		{"vm.question -vm $VM", "No pending question"},
	})
}

func TestDatastores(t *testing.T) {
	if err := os.WriteFile(filepath.Join(w.dir, "up.txt"), bytes.Repeat([]byte("hello\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	play(t, "administrator", []step{
		{"datastore.mkdir dir", ""},
		{"datastore.upload up.txt dir/up.txt", "OK"},
		{"datastore.ls dir", "up.txt"},
		{"datastore.download dir/up.txt -", "hello"},
		{"datastore.cp dir/up.txt dir/b.txt", ""},
		{"datastore.mv dir/b.txt dir/c.txt", ""},
		{"datastore.ls -l dir", "c.txt"},
		{"datastore.rm dir", ""},
		{"!datastore.ls dir", "not found"},
		{"datastore.disk.create -size 10M x.vmdk", ""},
		{"datastore.disk.info x.vmdk", "thin"},
		{"datastore.rm x.vmdk", ""},
	})
}

func TestTagsFieldsAndPermissions(t *testing.T) {
	play(t, "administrator", []step{
		{"tags.category.create -m kind", ""},
		{"tags.create -c kind gold", ""},
		{"tags.attach gold $VM", ""},
		{"tags.attached.ls gold", "VirtualMachine:vm-"},
		{"tags.attached.ls -r $VM", "gold"},
		{"tags.detach gold $VM", ""},
		{"tags.rm gold", ""},
		{"fields.add owner", ""},
		{"fields.set owner me $VM", ""},
		{"fields.info $VM", "owner +me"},
		{"role.create backup VApp.Export", ""},
		{"role.ls backup", "VApp.Export"},
		{"permissions.set -principal bob -role backup /DC0", ""},
		{"permissions.ls /DC0", "backup +/DC0 +bob"},
		{"!role.remove backup", ""},
		{"permissions.remove -principal bob /DC0", ""},
		{"role.remove backup", ""},
	})
}

func TestUsersMayDoWhatTheirRolesSay(t *testing.T) {
	play(t, "auditor", []step{
		{"vm.info $VM", "poweredOff"},
		{"!vm.power -on $VM", "Permission to perform"},
		{"!snapshot.create -vm $VM x", "Permission to perform"},
		{"!datastore.ls -ds one", "Permission to perform"},
		{"!vm.destroy $VM", "Permission to perform"},
		{"!session.rm none", "Permission to perform"},
	})
	play(t, "operator", []step{{"vm.power -on $VM", "OK"}, {"!snapshot.create -vm $VM x", "Permission to perform"}, {"vm.power -off $VM", "OK"}})
}

// lines is what a program printed so far.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
