package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
)

// An Exported is a disk that was written to a file.
type Exported struct {
	Point, VM, Disk string
	File            string
	Size, Data      int64 // bytes; of the disk, and of its blocks that are not all zeros
}

// Export writes one disk of a restore point to a new raw file, whose holes are
// the disk's zeros. Which, a selector of disks says. On an error no file is
// left.
func (a *App) Export(ctx context.Context, ref string, which selection.DiskSelector, file string) (out Exported, err error) {
	repo, summary, err := a.find(ctx, ref)
	if err != nil {
		return out, err
	}
	point, err := repo.Load(ctx, summary.ID)
	if err != nil {
		return out, err
	}
	vm, disk, err := pickDisk(ctx, repo, point, which)
	if err != nil {
		return out, fmt.Errorf("restore point %s: %w", point.ID, err)
	}
	out = Exported{Point: point.ID, VM: vm.Name, Disk: disk.Label, File: file, Size: disk.Content.Size, Data: disk.Content.DataBytes}
	// A disk has the rights that the backup's reader has, nobody else.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return out, err
	}
	err = a.export(ctx, repo, f, point, out, disk.Content)
	if err := errors.Join(err, f.Close()); err != nil {
		return out, errors.Join(fmt.Errorf("vm %s: disk %s: export: %w", vm.Name, disk.Label, err), os.Remove(file))
	}
	return out, nil
}

func (a *App) export(ctx context.Context, repo *repository.Repository, f *os.File, p *restorepoint.Point, e Exported, c restorepoint.DiskContent) error {
	r, err := repo.OpenDisk(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // read only
	if err := f.Truncate(c.Size); err != nil {
		return err
	}
	var done atomic.Int64
	err = r.CopyTo(ctx, f, func(n int64) {
		a.Progress.Emit(progress.Event{
			Kind: progress.Bytes, Step: "export", Org: p.Org.Name, VApp: p.VApp.Name, VM: e.VM, Disk: e.Disk, Done: done.Add(n), Total: c.Size,
		})
	})
	if err != nil {
		return err
	}
	return f.Sync()
}

// pickDisk returns the one disk of a point that is meant.
func pickDisk(ctx context.Context, repo *repository.Repository, p *restorepoint.Point, which selection.DiskSelector) (vm restorepoint.VM, disk restorepoint.Disk, err error) {
	var found []string
	var without error
	for _, v := range p.VMs {
		item := pointItem(p.Summary())
		item.VM, item.URN = v.Name, v.ID
		if !which.MatchesVM(item) {
			continue // what is damaged of it does not matter
		}
		matches, err := matcher(ctx, repo, p, v, which)
		if err != nil {
			return vm, disk, fmt.Errorf("vm %s: %w", v.Name, err)
		}
		for _, d := range v.Disks {
			if matches(item, d) {
				vm, disk, found = v, d, append(found, fmt.Sprintf("%s:%s", v.Name, d.Label))
			}
		}
		for _, d := range v.Unprotected {
			if matches(item, d) {
				without = errors.Join(without, fmt.Errorf("vm %s: disk %s is not in it: %s", v.Name, d.Label, d.NotProtected))
			}
		}
	}
	switch {
	case len(found) == 0 && without != nil:
		return vm, disk, fmt.Errorf("%w: %w", repository.ErrNotFound, without)
	case len(found) == 0:
		return vm, disk, fmt.Errorf("%w: no disk matches %s", repository.ErrNotFound, which)
	case len(found) > 1:
		return vm, disk, fmt.Errorf("%s matches %d disks, want one: %s", which, len(found), strings.Join(found, ", "))
	}
	return vm, disk, nil
}

// matcher returns what tells whether a selector means a disk of a VM. The VM's
// configuration is read only where the selector goes by buses: the rest of a
// point that has lost it can be exported all the same.
func matcher(ctx context.Context, repo *repository.Repository, p *restorepoint.Point, vm restorepoint.VM, which selection.DiskSelector) (func(selection.Item, restorepoint.Disk) bool, error) {
	if !which.NamesPlace() {
		return func(item selection.Item, d restorepoint.Disk) bool {
			return which.Matches(item, selection.Drive{Label: d.Label, Key: d.Key})
		}, nil
	}
	drives, err := drivesOf(ctx, repo, p, vm)
	if err != nil && !errors.Is(err, repository.ErrNotFound) {
		return nil, err
	}
	return func(item selection.Item, d restorepoint.Disk) bool {
		return slices.ContainsFunc(drives, func(drive selection.Drive) bool { return drive.Key == d.Key && which.Matches(item, drive) })
	}, nil
}
