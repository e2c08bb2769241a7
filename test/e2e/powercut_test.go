package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/vappvault/vappvault/internal/app"
)

// childCut makes a child cut the power of the file system that holds this
// folder before it dies: what was not synced is lost, as in a real cut.
const childCut = "VAPPVAULT_E2E_CUT"

// cutPower shuts an ext4 file system down without writing its log out
// (EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH, Linux fs/ext4/ext4.h).
func cutPower(dir string) error {
	const shutdown, noLogFlush = 0x8004587D, uint32(2)
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := noLogFlush
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("cut the power of %s: %w", dir, errno)
	}
	return nil
}

// A powered file system is an ext4 image whose power can be cut.
type powered struct {
	t          *testing.T
	image, dir string
}

// newPowered mounts an image at dir.
func newPowered(t *testing.T, dir string) *powered {
	t.Helper()
	if os.Getuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("mounting a file system whose power can be cut needs root")
	}
	p := &powered{t: t, image: filepath.Join(t.TempDir(), "disk.img"), dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p.run("truncate", "-s", "512M", p.image)
	p.run("mkfs.ext4", "-q", "-F", p.image)
	p.mount()
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return p
}

func (p *powered) run(name string, args ...string) {
	p.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (p *powered) mount() { p.t.Helper(); p.run("mount", "-o", "loop", p.image, p.dir) }

// again is the power coming back.
func (p *powered) again() {
	p.t.Helper()
	p.run("umount", p.dir)
	p.mount()
}

// TestAPowerCutLosesNothingThatWasPromised cuts the power under repository,
// journal and configuration at steps of a backup. What follows must leave the
// cloud clean and a repository that verifies.
func TestAPowerCutLosesNothingThatWasPromised(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := newPowered(t, filepath.Join(dir, "conf"))
	e := newEnvIn(t, dir, nil)
	kept := e.once(func(ctx context.Context, a *app.App) (string, error) {
		results, err := a.Backup(ctx, app.BackupRequest{Selectors: []string{"wiki"}, SamplePercent: -1})
		if err != nil {
			return "", err
		}
		return results[0].Point.ID, nil
	})
	syscall.Sync() // the configuration was not promised to anybody
	for n := 1; ; n += stride() {
		step, killed := e.die(n, "backup acme/acme-vdc1/wiki", childCut+"="+disk.dir)
		if !killed {
			break
		}
		disk.again()
		t.Run("cut after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			e.once(func(ctx context.Context, a *app.App) (string, error) {
				if n%2 == 0 {
					_, err := a.Reconcile(ctx)
					return "", err
				}
				_, err := a.Backup(ctx, app.BackupRequest{Selectors: []string{"wiki"}, SamplePercent: -1})
				return "", err
			})
			e.tidy(e.vapp("wiki"))
		})
		disk.again()
	}
	e.once(func(ctx context.Context, a *app.App) (string, error) {
		result, err := a.Verify(ctx, nil, 100)
		if len(result.Damage) > 0 || result.Points < 2 {
			err = errors.Join(err, fmt.Errorf("verify: %+v", result))
		}
		_, missing := a.Point(ctx, kept)
		return "", errors.Join(err, missing)
	})
	disk.run("umount", disk.dir)
}

// once runs something with an App that is closed afterwards.
func (e *env) once(do func(context.Context, *app.App) (string, error)) string {
	e.t.Helper()
	a := app.New(app.Options{Config: e.conf, Version: "test"})
	out, err := do(e.t.Context(), a)
	if err := errors.Join(err, a.Close(e.t.Context())); err != nil {
		e.t.Fatal(err)
	}
	return out
}
