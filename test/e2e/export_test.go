package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
)

func TestExportedDisksAreWhatTheyWere(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
	configs := e.configs(e.vapp("web-shop"))
	a, dir, found := e.app(nil), t.TempDir(), 0
	for _, vm := range point.VMs {
		for _, d := range vm.Disks {
			file := filepath.Join(dir, vm.Name+itoa(d.Key))
			which, err := selection.ParseDisk(vm.Name + ":" + itoa(d.Key))
			if err != nil {
				t.Fatal(err)
			}
			got, err := a.Export(t.Context(), point.ID, which, file)
			if err != nil {
				t.Fatal(err)
			}
			if sum := fileSum(t, file); sum != want[vm.Name+"/"+itoa(d.Key)] || got.Size != d.Content.Size {
				t.Errorf("%s %s: %s, %+v", vm.Name, d.Label, sum, got)
			}
			found++
			if _, err := a.Export(t.Context(), point.ID, which, file); !errors.Is(err, os.ErrExist) {
				t.Errorf("a file that is there was written over: %v", err)
			}
			for _, c := range configs[vm.Name].Disks {
				if c.Key != d.Key {
					continue
				}
				place := fmt.Sprintf("%s:%d:%d", vm.Name, c.BusNumber, c.Unit)
				if got, err := e.exported(point.ID, place); err != nil || got.Disk != d.Label {
					t.Errorf("%s: got %+v, %v, want %s", place, got, err, d.Label)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no disks")
	}
	for disk, text := range map[string]string{
		"*:*": "want one", "nobody:2000": "no disk matches", "db01:3:7": "no disk matches", "db01:nvme0:0": "no disk matches",
	} {
		if _, err := e.exported(point.ID, disk); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v, want %q", disk, err, text)
		}
	}
}

// exported exports a disk to a file, which is there or not as the error says.
func (e *env) exported(point, disk string) (app.Exported, error) {
	e.t.Helper()
	which, err := selection.ParseDisk(disk)
	if err != nil {
		e.t.Fatal(err)
	}
	file := filepath.Join(e.t.TempDir(), "disk.raw")
	out, err := e.app(nil).Export(e.t.Context(), point, which, file)
	if _, serr := os.Stat(file); (serr == nil) != (err == nil) {
		e.t.Errorf("%s: %v, but the file: %v", disk, err, serr)
	}
	return out, err
}

// TestTheBusOfAnExcludedDiskExportsNoOther excludes the first disk of a VM.
func TestTheBusOfAnExcludedDiskExportsNoOther(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backupWith(app.BackupRequest{Selectors: []string{webShop}, ExcludeDisks: []string{"db01:Hard disk 1"}, SamplePercent: -1})
	first, second := e.configs(e.vapp("web-shop"))["db01"].Disks[0], e.configs(e.vapp("web-shop"))["db01"].Disks[1]
	for _, disk := range []string{fmt.Sprintf("db01:%d:%d", first.BusNumber, first.Unit), "db01:Hard disk 1"} {
		if got, err := e.exported(point.ID, disk); !errors.Is(err, repository.ErrNotFound) || !strings.Contains(err.Error(), "excluded by --exclude-disk") {
			t.Errorf("%s: got %+v, %v", disk, got, err)
		}
	}
	if got, err := e.exported(point.ID, fmt.Sprintf("db01:%d:%d", second.BusNumber, second.Unit)); err != nil || got.Disk != second.Label {
		t.Errorf("got %+v, %v, want %s", got, err, second.Label)
	}
}

// TestADamagedNeighbourDoesNotHideADisk has lost the configuration of web01.
func TestADamagedNeighbourDoesNotHideADisk(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	db01 := e.configs(e.vapp("web-shop"))["db01"]
	config := map[string]string{}
	for _, vm := range point.VMs {
		config[vm.Name] = "vsphere/" + restorepoint.UUID(vm.ID) + "/config.xml"
	}
	reader := e.app(nil)
	e.damageOne(filepath.Join(e.conf.Repository.URL, "orgs", restorepoint.UUID(point.Org.ID)), func() bool {
		_, err := reader.Document(t.Context(), point.ID, config["web01"])
		_, other := reader.Document(t.Context(), point.ID, config["db01"])
		return errors.Is(err, repository.ErrDamaged) && other == nil
	})
	place := fmt.Sprintf(":%d:%d", db01.Disks[0].BusNumber, db01.Disks[0].Unit)
	if got, err := e.exported(point.ID, "db01"+place); err != nil || got.Disk != db01.Disks[0].Label {
		t.Errorf("export: got %+v, %v", got, err)
	}
	if _, err := e.exported(point.ID, "web01"+place); !errors.Is(err, repository.ErrDamaged) {
		t.Errorf("export of the damaged one: got %v", err)
	}
}

func TestExportOfADamagedDiskLeavesNoFile(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	pack := e.largestPack()
	raw, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(pack, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk.raw")
	which, err := selection.ParseDisk("wiki01:*")
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.app(nil).Export(t.Context(), point.ID, which, file)
	if !errors.Is(err, repository.ErrDamaged) || !strings.Contains(err.Error(), "wiki01") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the file was left")
	}
}
