package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// TestTheStockKopiaCommandNeedsNoneOfOurCode reads a repository with the
// kopia command as its makers ship it. KOPIA_BIN names it; test/kopia/build.sh
// builds it.
func TestTheStockKopiaCommandNeedsNoneOfOurCode(t *testing.T) {
	t.Parallel()
	kopia := os.Getenv("KOPIA_BIN")
	if kopia == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("KOPIA_BIN is not set")
		}
		t.Skip("KOPIA_BIN is not set; test/kopia/build.sh builds the command")
	}
	e := newEnv(t, nil)
	e.backup(webShop)
	e.write("db01", 1, 3*mib, random(1, mib))
	point := e.backup(webShop)
	want := e.sums(e.vapp("web-shop"))

	info, err := e.app(nil).RepositoryShow(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	connect := info.Orgs[0].Connect
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(kopia, append(args, "--config-file", filepath.Join(dir, "kopia.config"))...)
		cmd.Env = append(os.Environ(), "KOPIA_PASSWORD="+connect.Password, "KOPIA_CHECK_FOR_UPDATES=false",
			"KOPIA_CACHE_DIRECTORY="+filepath.Join(dir, "cache"), "KOPIA_LOG_DIR="+filepath.Join(dir, "log"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("kopia %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("repository", "connect", "filesystem", "--path", connect.Path)
	if list := run("snapshot", "list", "--all", "--tags", "point:"+point.ID, "--json"); !strings.Contains(list, point.ID) {
		t.Errorf("snapshot list: %s", list)
	}
	run("snapshot", "verify", "--verify-files-percent=100")
	id := rootOf(t, run("snapshot", "list", "--all", "--tags", "point:"+point.ID, "--json"))
	run("restore", id, filepath.Join(dir, "restored"), "--write-sparse-files")
	for _, vm := range point.VMs {
		for _, d := range vm.Disks {
			path, err := restorepoint.DiskPath(vm, d)
			if err != nil {
				t.Fatal(err)
			}
			key := vm.Name + "/" + itoa(d.Key)
			if got := fileSum(t, filepath.Join(dir, "restored", path)); got != want[key] {
				t.Errorf("disk %s: got %s, want %s", key, got, want[key])
			}
		}
	}
}

// TestVerifyNamesWhatAFlippedByteHit damages one pack file in one byte.
func TestVerifyNamesWhatAFlippedByteHit(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	e.verified()
	pack := e.largestPack()
	raw, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(pack, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	result, err := e.app(nil).Verify(t.Context(), nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	named := false
	for _, d := range result.Damage {
		named = named || d.Point == point.ID && d.VM == "wiki01" && d.Disk != ""
	}
	if !named {
		t.Errorf("damage: %+v", result.Damage)
	}
	// And nobody restores such a disk without being told.
	_, err = e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "damaged"}})
	if err == nil || !strings.Contains(err.Error(), "wiki01") {
		t.Errorf("restore of a damaged disk: %v", err)
	}
	if e.find("damaged") != nil {
		t.Error("a half restored vApp is left")
	}
	e.noOrphans()
}

func (e *env) largestPack() (pack string) {
	e.t.Helper()
	var size int64
	err := filepath.WalkDir(e.conf.Repository.URL, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), "p") && !strings.Contains(path, "/p") {
			return err
		}
		if info, err := d.Info(); err == nil && info.Size() > size {
			pack, size = path, info.Size()
		}
		return nil
	})
	if err != nil || pack == "" {
		e.t.Fatalf("no pack file found: %v", err)
	}
	return pack
}

// smallDisk mounts a file system of a size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") == "" {
		t.Skip("mounting a small file system needs root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestARepositoryThatTakesNothingCostsNothing finds that out before anything in
// the cloud is touched.
func TestARepositoryThatTakesNothingCostsNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, says string
		spoil      func(dir string) error
	}{
		{"read-only", "read-only file system", func(dir string) error {
			return syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
		}},
		{"full", "no space left", func(dir string) error {
			err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 32<<20), 0o600)
			if errors.Is(err, syscall.ENOSPC) {
				return nil
			}
			return fmt.Errorf("there is room: %w", err)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEnv(t, nil)
			disk := smallDisk(t, "32m")
			e.conf.Repository.URL = filepath.Join(disk, "repository")
			var steps []string
			a := app.New(app.Options{Config: e.conf, Hook: func(step string) { steps = append(steps, step) }})
			defer func() { _ = a.Close(t.Context()) }()
			if _, err := a.Init(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Backup(t.Context(), wiki); err != nil {
				t.Fatal(err)
			}
			if err := test.spoil(disk); err != nil {
				t.Fatal(err)
			}
			steps = nil
			_, err := a.Backup(t.Context(), wiki)
			if err == nil || !strings.Contains(err.Error(), "open repository") || !strings.Contains(err.Error(), test.says) || len(steps) > 0 {
				t.Errorf("after %v: %v", steps, err)
			}
			e.tidy(e.vapp("wiki"))
		})
	}
}

// TestAFullRepositoryDiskLosesNothing gives the repository a file system that
// is too small for the backup.
func TestAFullRepositoryDiskLosesNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.conf.Repository.URL = filepath.Join(smallDisk(t, "10m"), "repository")
	a := app.New(app.Options{Config: e.conf})
	defer func() { _ = a.Close(t.Context()) }()
	if _, err := a.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept, err := a.Backup(t.Context(), app.BackupRequest{Selectors: []string{"wiki"}, SamplePercent: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Backup(t.Context(), app.BackupRequest{Selectors: []string{webShop}, SamplePercent: -1})
	if err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "web-shop") {
		t.Errorf("backup into a full disk: %v", err)
	}
	e.tidy(e.vapp("web-shop"))
	points, err := a.Points(t.Context(), nil)
	if err != nil || len(points) != 1 || points[0].ID != kept[0].Point.ID {
		t.Errorf("restore points: %+v, %v", points, err)
	}
	if result, err := a.Verify(t.Context(), nil, 100); err != nil || len(result.Damage) > 0 {
		t.Errorf("verify: %+v, %v", result, err)
	}
}

// TestSecretsStayWhereTheyBelong looks for the guests' passwords in every
// document, and for what a restore does with them.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	a := e.app(nil)
	docs, err := a.Point(t.Context(), point.ID)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range docs.Documents {
		if name == restorepoint.SecretsPath {
			found++
			continue
		}
		doc, err := a.Document(t.Context(), point.ID, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"correct-horse", "battery-staple"} {
			if bytes.Contains(doc, []byte(secret)) {
				t.Errorf("document %s holds the password %s", name, secret)
			}
		}
	}
	if found != 1 {
		t.Error("the restore point has no secrets to keep")
	}
	if _, err := a.Document(t.Context(), point.ID, restorepoint.SecretsPath); err == nil {
		t.Error("the secrets can be shown")
	}
	// A restore brings them back all the same.
	e.destroy(e.vapp("web-shop"))
	e.restore(app.RestoreRequest{Point: point.ID})
	for _, vm := range e.vapp("web-shop").VMs {
		if vm.Name != "web01" {
			continue
		}
		doc, err := e.vcd.Get(t.Context(), vm.Href+"/guestCustomizationSection/")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(doc.Raw, []byte("correct-horse")) {
			t.Error("the guest's password did not come back")
		}
	}
}
