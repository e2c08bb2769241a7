package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/repo/compression"
)

// storageType is the name of our storage in connection files. The stock
// command does not know it and needs not: it connects to the same folder as
// "filesystem".
const storageType = "vappvault-filesystem"

// An outfit is what of ours Kopia uses in place of its own.
type outfit struct {
	compressor *blockCompressor
	sums       *knownSums
}

// register makes Kopia know our storage, our compressor, our hash and our
// cipher. It happens once, before the first repository is opened, because
// Kopia's registries have no locks.
var register = sync.OnceValues(func() (*outfit, error) {
	blob.AddSupportedStorage(storageType, storageOptions{}, newStorage)
	c, err := newBlockCompressor()
	if err != nil {
		return nil, err
	}
	compression.ByHeaderID[c.HeaderID()], compression.ByName[compressor] = c, c
	known := &knownSums{sums: map[span][sumSize]byte{}}
	registerHash(known)
	registerCipher()
	return &outfit{c, known}, nil
})

// storageOptions is what a connection file says about our storage.
type storageOptions struct {
	Path string `json:"path"`
}

// A storage is Kopia's storage in a folder, made to survive power cuts: Kopia
// syncs each file, but not the folder that gives the file its name.
type storage struct {
	blob.Storage
	path   string
	layout layout

	mu    sync.Mutex
	known map[string]bool // folders whose own names are durable
}

// A layout tells where a blob lies.
type layout interface {
	GetShardedPathAndFilePath(ctx context.Context, id blob.ID) (dir, file string, err error)
}

func newStorage(ctx context.Context, o *storageOptions, create bool) (blob.Storage, error) {
	inner, err := filesystem.New(ctx, &filesystem.Options{Path: o.Path, FileMode: fileMode, DirectoryMode: dirMode}, create)
	if err != nil {
		return nil, err
	}
	l, ok := inner.(layout)
	if !ok {
		return nil, fmt.Errorf("storage %s: blobs have no path", o.Path)
	}
	return &storage{Storage: inner, path: filepath.Clean(o.Path), layout: l, known: map[string]bool{}}, nil
}

// ConnectionInfo implements blob.Storage.
func (s *storage) ConnectionInfo() blob.ConnectionInfo {
	return blob.ConnectionInfo{Type: storageType, Config: &storageOptions{Path: s.path}}
}

// PutBlob implements blob.Storage. The blob is durable on return.
func (s *storage) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	if err := s.Storage.PutBlob(ctx, id, data, o); err != nil {
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	return s.sync(ctx, id)
}

// DeleteBlob implements blob.Storage. The blob is gone for good on return.
func (s *storage) DeleteBlob(ctx context.Context, id blob.ID) error {
	if err := s.Storage.DeleteBlob(ctx, id); err != nil {
		return fmt.Errorf("delete in %s: %w", s.path, err)
	}
	return s.sync(ctx, id)
}

// sync makes the name of a blob durable, and the first time also the names of
// the folders that lead to it.
func (s *storage) sync(ctx context.Context, id blob.ID) error {
	dir, _, err := s.layout.GetShardedPathAndFilePath(ctx, id)
	if err != nil {
		return err
	}
	dir = filepath.Clean(dir)
	if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.mu.Lock()
	known := s.known[dir]
	s.mu.Unlock()
	if known {
		return nil
	}
	for up := dir; up != s.path && strings.HasPrefix(up, s.path); {
		up = filepath.Dir(up)
		if err := syncDir(up); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[dir] = true
	return nil
}

// writeConnection writes the file from which Kopia opens a repository, unless
// it is there.
//
// There is no cache: the repository is as near as the cache would be, a cache
// would hide damage from Verify, and Kopia syncs what it writes to one, which
// makes every read a write. The price is that Kopia holds the content index in
// memory.
//
// Nothing is said about caches: if it were, KOPIA_CACHE_DIRECTORY, which users
// of the stock command may have set, would give us that command's.
func writeConnection(path, dir string) error {
	data, err := json.MarshalIndent(repo.LocalConfig{
		Storage: &blob.ConnectionInfo{Type: storageType, Config: &storageOptions{Path: dir}},
		ClientOptions: repo.ClientOptions{
			Hostname: hostname, Username: username, Description: "vappvault",
			FormatBlobCacheDuration: 15 * time.Minute,
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	return writeFile(path, data)
}

// removeStrays deletes the temporary files that killed writers have left and
// that are older than the given age.
func removeStrays(dir string, age time.Duration) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(e.Name(), ".f.tmp.") {
			return err
		}
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < age {
			return nil // it is gone, or may still be written
		}
		return os.Remove(path)
	})
}
