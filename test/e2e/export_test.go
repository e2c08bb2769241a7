package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/selection"
)

func TestExportedDisksAreWhatTheyWere(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("web-shop"))
	point := e.backup(webShop)
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
		}
	}
	if found == 0 {
		t.Error("no disks")
	}
	for disk, text := range map[string]string{"*:*": "want one", "nobody:2000": "no disk matches"} {
		which, err := selection.ParseDisk(disk)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Export(t.Context(), point.ID, which, filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v, want %q", disk, err, text)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("a file was made for no disk")
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
