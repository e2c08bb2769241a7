package app

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/vappvault/vappvault/internal/repository"
)

// A Maintained is what a maintenance made of one organization's part of the
// repository.
type Maintained struct {
	ID, Name      string
	Before, After int64 // bytes that it takes; a backup may have added some meanwhile
}

// Maintain collects what no restore point refers to any more, and returns what
// it made of each organization's part. An immediate one does not wait until
// it is safe to do so beside backups: with one that runs it fails with
// repository.ErrBusy, for that organization.
func (a *App) Maintain(ctx context.Context, immediate bool) ([]Maintained, error) {
	root, err := a.openRepository(ctx)
	if err != nil {
		return nil, err
	}
	orgs, err := root.Orgs(ctx)
	if err != nil {
		return nil, err
	}
	var out []Maintained
	var errs []error
	for _, o := range orgs {
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		m, err := maintain(ctx, root, o, repository.MaintainOptions{Immediate: immediate})
		if err != nil {
			errs = append(errs, wrap(err, "org %s", cmp.Or(o.Name, o.ID)))
			continue
		}
		out = append(out, m)
	}
	return out, errors.Join(errs...)
}

func maintain(ctx context.Context, root *repository.Root, o repository.OrgInfo, options repository.MaintainOptions) (Maintained, error) {
	m := Maintained{ID: o.ID, Name: o.Name}
	repo, err := root.Existing(ctx, o.ID)
	if err != nil {
		return m, err
	}
	if m.Before, err = sizeOf(repo.Show().Path); err != nil {
		return m, err
	}
	if err := repo.Maintain(ctx, options); err != nil {
		return m, err
	}
	m.After, err = sizeOf(repo.Show().Path)
	return m, err
}

// sizeOf adds up the files of a folder. One that vanishes meanwhile is not
// counted.
func sizeOf(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
