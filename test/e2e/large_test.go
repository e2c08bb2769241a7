package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/cloud"
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

// rootOf returns the id of the snapshot in what `kopia snapshot list --json`
// prints.
func rootOf(t *testing.T, list string) string {
	t.Helper()
	var snapshots []struct {
		ID string `json:"id"`
	}
	at := strings.IndexByte(list, '[')
	if at < 0 {
		t.Fatalf("no list: %s", list)
	}
	if err := json.Unmarshal([]byte(list[at:]), &snapshots); err != nil || len(snapshots) != 1 {
		t.Fatalf("%d snapshots, %v: %s", len(snapshots), err, list)
	}
	return snapshots[0].ID
}

// inventoryWith is a cloud with one vApp of one VM with these disks.
func inventoryWith(t *testing.T, disks ...string) *cloud.Inventory {
	t.Helper()
	text := `
version: 1
sites:
- id: lab
  admin: {name: administrator, password: secret}
  vcenters:
  - name: vc1
    datacenter: DC
    cluster: cluster
    hosts: 1
    networks: [pg]
    datastores:
    - {name: ds1, capacity: 64TiB}
  orgs:
  - name: acme
    vdcs:
    - name: vdc
      vcenter: vc1
      storageProfiles:
      - {name: gold, datastore: ds1, limit: 32TiB, default: true}
      vapps:
      - name: big
        description: large disks
        vms:
        - name: vm
          computerName: vm
          guestID: debian12_64Guest
          memory: 256MiB
          power: "on"
          disks:
`
	for _, d := range disks {
		text += "          - " + d + "\n"
	}
	inventory, err := cloud.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return inventory
}

// TestRealFileSystemsComeBackClean takes thousands of real files through
// every way back, and lets the file system's own checker judge.
func TestRealFileSystemsComeBackClean(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := ext4(t, dir, "one", 512, filepath.Join(goroot(t), "src", "cmd"))
	two := ext4(t, dir, "two", 384, filepath.Join(goroot(t), "src", "internal"))
	e := newEnv(t, inventoryWith(t, "{from: "+one+", controller: pvscsi}", "{from: "+two+", controller: lsilogic-sas, bus: 1}"))
	want := e.sums(e.vapp("big"))
	point := e.backup("big")

	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "copy"}})
	e.clean("copy", want)

	e.write("acme/vdc/big/vm", 0, 64*mib, random(1, 8*mib))
	e.write("acme/vdc/big/vm", 1, 0, random(2, mib))
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	e.clean("big", want)

	e.destroy(e.vapp("big"))
	e.restore(app.RestoreRequest{Point: point.ID})
	e.clean("big", want)
}

// goroot is where the Go tools are: a tree of files that every machine has
// that can run this test.
func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// ext4 makes a file system of so many MiB with a tree of files.
func ext4(t *testing.T, dir, name string, size int, tree string) string {
	t.Helper()
	path := filepath.Join(dir, name+".img")
	out, err := exec.Command("/sbin/mkfs.ext4", "-q", "-F", "-d", tree, path, fmt.Sprintf("%dM", size)).CombinedOutput()
	if err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	files := 0
	if err := filepath.WalkDir(tree, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if files < 1000 {
		t.Fatalf("%s has only %d files", tree, files)
	}
	return path
}

func (e *env) clean(vapp string, want map[string]string) {
	e.t.Helper()
	v := e.vapp(vapp)
	e.tidy(v)
	sameSums(e.t, e.sums(v), want)
	for _, c := range e.configs(v) {
		for _, d := range c.Disks {
			out, err := exec.Command("/sbin/e2fsck", "-fn", e.flat(d.FileName)).CombinedOutput()
			if err != nil {
				e.t.Errorf("vApp %s disk %s: e2fsck: %v\n%s", vapp, d.Label, err, out)
			}
		}
	}
}

// TestALargeDiskCostsItsDataNotItsSize takes a sparse disk of 4 TiB with
// 512 MiB of data through everything, each in a process of its own whose peak
// of memory is looked at.
func TestALargeDiskCostsItsDataNotItsSize(t *testing.T) {
	t.Parallel()
	const tib = 1 << 40
	e := newEnv(t, inventoryWith(t, "{size: 4TiB, fill: 256MiB, controller: pvscsi}"))
	for i := range int64(64) {
		e.write("vm", 0, tib+i*37*1024*mib/2, random(uint64(i), 4*mib))
	}
	e.measured("backup big")
	full := e.newest("big")
	d := diskOf(t, full, "vm", 0)
	if d.Mode != "full" || d.ReadBytes > 3*512*mib {
		t.Errorf("full: %s, read %d bytes", d.Mode, d.ReadBytes)
	}
	e.write("vm", 0, 3*tib, random(99, 4*mib))
	e.measured("backup big")
	second := e.newest("big")
	if d := diskOf(t, second, "vm", 0); d.Mode != "incremental" || d.ReadBytes > 64*mib {
		t.Errorf("incremental: %s (%s), read %d bytes", d.Mode, d.FullReason, d.ReadBytes)
	}
	e.measured("verify " + second.ID)
	want := e.extentsSum("big")
	e.destroy(e.vapp("big"))
	e.measured("restore " + second.ID)
	if got := e.extentsSum("big"); got != want {
		t.Errorf("the disk differs: %s, want %s", got, want)
	}
}

func (e *env) measured(action string) {
	e.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childAction+"="+action, childConfig+"="+e.conf.Path(), childStep+"=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		e.t.Fatalf("%s: %v\n%s", action, err, out)
	}
	_, peak, ok := strings.Cut(string(out), "peak memory ")
	kib, err := strconv.Atoi(strings.TrimSpace(peak))
	if !ok || err != nil {
		e.t.Fatalf("%s: no peak of memory in %s", action, out)
	}
	e.t.Logf("%s: peak of memory %d MiB", action, kib>>10)
	if kib > 500<<10 {
		e.t.Errorf("%s: %d MiB of memory", action, kib>>10)
	}
}

func (e *env) newest(vapp string) *restorepoint.Point {
	e.t.Helper()
	point, err := e.app(nil).Point(e.t.Context(), vapp+"@latest")
	if err != nil {
		e.t.Fatal(err)
	}
	return point
}

// extentsSum sums what is not zero on the only disk of a vApp, with its
// place, from the datastore's own sparse file.
func (e *env) extentsSum(vapp string) string {
	e.t.Helper()
	for _, c := range e.configs(e.vapp(vapp)) {
		return sparseSum(e.t, e.flat(c.Disks[0].FileName))
	}
	e.t.Fatal("no VM")
	return ""
}

func sparseSum(t *testing.T, path string) string {
	t.Helper()
	const seekData, seekHole, piece = 3, 4, 64 << 10
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, buf, zero := sha256.New(), make([]byte, piece), make([]byte, piece)
	for off := int64(0); ; {
		start, err := f.Seek(off, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return hex.EncodeToString(h.Sum(nil))
		}
		if err != nil {
			t.Fatal(err)
		}
		end, err := f.Seek(start, seekHole)
		if err != nil {
			t.Fatal(err)
		}
		for off = start &^ (piece - 1); off < end; off += piece {
			n, err := f.ReadAt(buf, off)
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			if !bytes.Equal(buf[:n], zero[:n]) {
				fmt.Fprintf(h, "%d\n", off)
				h.Write(buf[:n])
			}
		}
	}
}
