package repository

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/gofrs/flock"
)

// Nothing in a repository is for other users of the machine.
const (
	fileMode fs.FileMode = 0o600
	dirMode  fs.FileMode = 0o700
)

// component is what an id must look like to become part of a path.
var component = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]*$`)

// writeFile replaces a file at once: after a crash the old or the new content
// is there, and after the return the new one also survives a power cut.
func writeFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(fileMode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// writeJSON writes v as indented JSON.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'))
}

// makeDir makes a folder and those above it, durably.
func makeDir(path string) error {
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: path, Err: errors.New("not a folder")}
	}
	parent := filepath.Dir(path)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// trialSize is enough to need room, also where a file system compresses or
// keeps small files within their folder.
const trialSize = 256 << 10

// TryWrite proves that a folder takes files: it writes one that is deleted
// before it is, so that none is left by a process that is killed.
func TryWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".trial.*")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		return errors.Join(err, f.Close())
	}
	data := make([]byte, trialSize)
	_, _ = rand.Read(data) // never fails
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the names in a folder durable: without it a file that was
// itself synced can lack its name after a power cut.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return fmt.Errorf("sync folder: %w", err)
	}
	return d.Close()
}

// lockPoll is how often a lock that is taken is tried again.
const lockPoll = 50 * time.Millisecond

// lock takes a file lock, alone or shared, and waits for it. It holds off
// processes of this machine, and of others where the file system carries locks.
func lock(ctx context.Context, path string, shared bool) (unlock func(), err error) {
	l := flock.New(path, flock.SetPermissions(fileMode))
	take := l.TryLockContext
	if shared {
		take = l.TryRLockContext
	}
	if _, err := take(ctx, lockPoll); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = l.Close() }, nil
}

// tryLock takes a file lock alone, or fails with ErrBusy.
func tryLock(path string) (unlock func(), err error) {
	l := flock.New(path, flock.SetPermissions(fileMode))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !ok {
		return nil, fmt.Errorf("lock %s: %w", path, ErrBusy)
	}
	return func() { _ = l.Close() }, nil
}
