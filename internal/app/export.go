package app

import (
	"context"
	"errors"
	"fmt"
	"os"
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
// the disk's zeros. Which, a selector of disks says; it goes by label or key,
// as a restore point knows no buses. On an error no file is left.
func (a *App) Export(ctx context.Context, ref string, which selection.DiskSelector, file string) (out Exported, err error) {
	repo, summary, err := a.find(ctx, ref)
	if err != nil {
		return out, err
	}
	point, err := repo.Load(ctx, summary.ID)
	if err != nil {
		return out, err
	}
	vm, disk, err := pickDisk(point, which)
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
func pickDisk(p *restorepoint.Point, which selection.DiskSelector) (vm restorepoint.VM, disk restorepoint.Disk, err error) {
	var found []string
	for _, v := range p.VMs {
		item := selection.Item{Org: p.Org.Label(), VDC: p.VDC.Label(), VApp: p.VApp.Name, VM: v.Name, URN: v.ID}
		for _, d := range v.Disks {
			if which.Matches(item, selection.Drive{Label: d.Label, Key: d.Key}) {
				vm, disk, found = v, d, append(found, fmt.Sprintf("%s:%s", v.Name, d.Label))
			}
		}
	}
	switch {
	case len(found) == 0:
		return vm, disk, fmt.Errorf("%w: no disk matches %s", repository.ErrNotFound, which)
	case len(found) > 1:
		return vm, disk, fmt.Errorf("%s matches %d disks, want one: %s", which, len(found), strings.Join(found, ", "))
	case disk.Content.Object == "":
		return vm, disk, fmt.Errorf("%w: disk %s is not in it: %s", repository.ErrNotFound, found[0], disk.NotProtected)
	}
	return vm, disk, nil
}
