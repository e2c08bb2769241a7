package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/test/vddk"
)

// newVDDK is newEnv with VDDK as the transport before all others.
func newVDDK(t *testing.T) *env {
	t.Helper()
	e := newEnv(t, nil)
	e.withVDDK()
	t.Cleanup(func() { e.noNBDKit() })
	return e
}

func (e *env) withVDDK() {
	e.t.Helper()
	_, port := e.cloud.VCenter("vc1").DiskPort() // the port is the same of all real hosts
	raw, err := os.ReadFile(e.conf.Path())
	if err != nil {
		e.t.Fatal(err)
	}
	// In the file, for children that the test kills.
	text := fmt.Sprintf("%s\nvddk: {libdir: %q, plugin: %q, nfcHostPort: %d}\n", raw, vddk.Library(e.t), vddk.Plugin(e.t), port)
	if err := os.WriteFile(e.conf.Path(), []byte(text), 0o600); err != nil {
		e.t.Fatal(err)
	}
	if e.conf, err = config.Load(e.conf.Path()); err != nil {
		e.t.Fatal(err)
	}
}

// throughVDDK is the configuration with VDDK before all others.
func (e *env) throughVDDK() *config.Config {
	e.t.Helper()
	conf := *e.conf
	_, conf.VDDK.NFCHostPort = e.cloud.VCenter("vc1").DiskPort()
	conf.VDDK.LibDir, conf.VDDK.Plugin = vddk.Library(e.t), vddk.Plugin(e.t)
	conf.Transports = []string{"vddk", "datastore", "nfc"}
	return &conf
}

// noNBDKit fails the test if an nbdkit of its cloud is left.
func (e *env) noNBDKit() {
	e.t.Helper()
	if left := e.nbdkits(); len(left) > 0 {
		e.t.Errorf("left behind: nbdkit %v", left)
	}
}

// transports lists which transports the disks of a point came through.
func transports(point *restorepoint.Point) []string {
	var out []string
	for _, vm := range point.VMs {
		for _, d := range vm.Disks {
			out = append(out, d.Transport)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestVDDKReadsAndWritesAWholeVApp(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	full := e.backup(webShop)
	if got := transports(full); !slices.Equal(got, []string{"vddk"}) {
		t.Errorf("full: got %v", got)
	}
	e.write("db01", 1, 1<<20, random(2, 3<<20))
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	for _, vm := range point.VMs {
		for _, d := range vm.Disks {
			if d.Transport != "vddk" || d.Mode != "incremental" {
				t.Errorf("%s %s: %s, %s: %s", vm.Name, d.Label, d.Transport, d.Mode, d.FullReason)
			}
		}
	}
	e.tidy(e.vapp("web-shop"))

	e.write("db01", 1, 0, random(3, 1<<20))
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	sameSums(t, e.sums(e.vapp("web-shop")), want)
	e.noScratch()
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "web-copy"}})
	sameSums(t, e.sums(e.vapp("web-copy")), want)
	e.noScratch()
}

func TestVDDKGivesWayToTheNextTransport(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	e.conf.VDDK.LibDir = t.TempDir()
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	if got := transports(point); slices.Contains(got, "vddk") || len(got) == 0 {
		t.Errorf("got %v", got)
	}
	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "web-copy"}})
	sameSums(t, e.sums(e.vapp("web-copy")), want)
	if !slices.ContainsFunc(result.Warnings, func(w string) bool {
		return strings.Contains(w, "written through nfc instead") && strings.Contains(w, "libvixDiskLib.so")
	}) {
		t.Errorf("nobody is told: %q", result.Warnings)
	}
}

// A host with room for one disk at a time gets one at a time, in the end.
func TestVDDKKeepsToWhatAHostHasRoomFor(t *testing.T) {
	t.Parallel()
	inventory := cloud.Default()
	for i := range inventory.Sites[0].VCenters {
		inventory.Sites[0].VCenters[i].HostDisks = 1
	}
	e := newEnv(t, inventory)
	e.withVDDK()
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	if got := transports(point); !slices.Equal(got, []string{"vddk"}) {
		t.Errorf("got %v", got)
	}
	e.noNBDKit()
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "web-copy"}})
	sameSums(t, e.sums(e.vapp("web-copy")), want)
	e.noNBDKit()
}
