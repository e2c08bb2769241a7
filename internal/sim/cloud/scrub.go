package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Scrub overwrites and removes every file on the datastores that no VM refers
// to and that is no disk or image which vCD lists. A restore that still works
// afterwards took nothing from what was left lying there. It returns the
// datastore paths of the files, sorted. VMs must not be made meanwhile.
func (c *Cloud) Scrub(ctx context.Context) ([]string, error) {
	var gone []string
	for _, s := range c.sites {
		for _, vc := range s.vcenters {
			files, err := vc.scrub(ctx, s.director.HasFile)
			gone = append(gone, files...)
			if err != nil {
				return gone, fmt.Errorf("scrub: site %s: vCenter %s: %w", s.spec.ID, vc.spec.Name, err)
			}
		}
	}
	slices.Sort(gone)
	return gone, nil
}

func (vc *runningVCenter) scrub(ctx context.Context, keep func(file string) bool) ([]string, error) {
	// The files come before the VMs: what is made after this is left alone.
	files, folders, err := vc.everyFile(ctx)
	if err != nil {
		return nil, err
	}
	used, err := vc.usedFiles(ctx)
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, f := range files {
		if isUsed(used, f.store, f.name) || keep(f.name) {
			continue
		}
		if err := overwriteAndRemove(f.local); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return gone, fmt.Errorf("datastore %s: %w", f.store, err)
		}
		gone = append(gone, fmt.Sprintf("[%s] %s", f.store, f.name))
	}
	for _, folder := range slices.Backward(folders) {
		_ = os.Remove(folder) // stays where it is not empty
	}
	return gone, nil
}

// A storedFile is one on a datastore: its path there, and the host's.
type storedFile struct{ store, name, local string }

// everyFile lists the files of all datastores, and their folders, the outer
// ones first.
func (vc *runningVCenter) everyFile(ctx context.Context) (files []storedFile, folders []string, err error) {
	for _, store := range vc.spec.Datastores {
		root := filepath.Join(vc.dir, store.Name)
		err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil // deleted meanwhile
			case err != nil:
				return err
			case file == root:
				return ctx.Err()
			case entry.IsDir():
				folders = append(folders, file)
				return ctx.Err()
			}
			relative, err := filepath.Rel(root, file)
			files = append(files, storedFile{store.Name, filepath.ToSlash(relative), file})
			return err
		})
		if err != nil {
			return nil, nil, fmt.Errorf("datastore %s: %w", store.Name, err)
		}
	}
	return files, folders, nil
}

// isUsed reports whether a file is one that VMs refer to, or holds the
// content of a disk whose descriptor they refer to.
func isUsed(used map[string]bool, store, file string) bool {
	dir, name := path.Split(file)
	names := []string{name}
	for _, suffix := range []string{"-flat.vmdk", "-delta.vmdk", "-sesparse.vmdk", "-ctk.vmdk"} {
		if stem, ok := strings.CutSuffix(name, suffix); ok {
			names = append(names, stem+".vmdk")
		}
	}
	for _, name := range names {
		if used[fmt.Sprintf("[%s] %s%s", store, dir, name)] {
			return true
		}
	}
	return false
}

// overwriteAndRemove leaves nothing of a file, not even for who has it open.
// Holes stay holes.
func overwriteAndRemove(file string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		if err := overwrite(file); err != nil {
			return err
		}
	}
	return os.Remove(file)
}

func overwrite(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	garbage := make([]byte, 1<<20)
	for i := range garbage {
		garbage[i] = 0xdb
	}
	buffer := make([]byte, len(garbage))
	for at := int64(0); err == nil; {
		var n int
		n, err = f.ReadAt(buffer, at)
		if !isZero(buffer[:n]) {
			if _, werr := f.WriteAt(garbage[:n], at); werr != nil {
				err = werr
			}
		}
		at += int64(n)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

func isZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeros))
		if string(p[:n]) != string(zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

var zeros [64 << 10]byte
