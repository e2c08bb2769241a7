package repository

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotfs"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// A tree is the folder of files that a snapshot is to a Kopia user.
type tree struct {
	folders map[string]*tree
	files   map[string]file
}

type file struct {
	id   object.ID
	size int64
}

// checkPath refuses what is no plain relative path: an entry "../x" would
// make the stock restore command write outside its target.
func checkPath(path string) error {
	for c := range strings.SplitSeq(path, "/") {
		if !component.MatchString(c) {
			return fmt.Errorf("path %q is not fit for a restore point", path)
		}
	}
	return nil
}

// add puts a file into the tree.
func (t *tree) add(path string, f file) error {
	if err := checkPath(path); err != nil {
		return err
	}
	at := t
	names := strings.Split(path, "/")
	for _, name := range names[:len(names)-1] {
		if at.folders == nil {
			at.folders = map[string]*tree{}
		}
		if at.folders[name] == nil {
			at.folders[name] = &tree{}
		}
		at = at.folders[name]
	}
	if at.files == nil {
		at.files = map[string]file{}
	}
	name := names[len(names)-1]
	if _, taken := at.files[name]; taken || at.folders[name] != nil {
		return fmt.Errorf("path %q is there twice", path)
	}
	at.files[name] = f
	return nil
}

// addDisk puts a disk and its sums into the tree.
func (t *tree) addDisk(path string, c restorepoint.DiskContent) error {
	disk, err := parseObject(c.Object)
	if err != nil {
		return err
	}
	sums, err := parseObject(c.Sums)
	if err != nil {
		return err
	}
	if err := t.add(path, file{disk, c.Size}); err != nil {
		return err
	}
	return t.add(sumsPath(path), file{sums, geometry(c.Size).blocks() * sumSize})
}

// sumsPath returns the path of the sums of the disk at a path.
func sumsPath(disk string) string { return strings.TrimSuffix(disk, ".raw") + ".sums" }

// writeTree stores the folders of a tree and returns the entry of its root.
func (s *session) writeTree(ctx context.Context, t *tree, at time.Time) (*snapshot.DirEntry, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	root, err := s.writeFolder(ctx, t, "", fs.UTCTimestampFromTime(at))
	return root, s.fail(ctx, err)
}

func (s *session) writeFolder(ctx context.Context, t *tree, path string, at fs.UTCTimestamp) (*snapshot.DirEntry, error) {
	var b snapshotfs.DirManifestBuilder
	for _, name := range slices.Sorted(maps.Keys(t.folders)) {
		if _, taken := t.files[name]; taken {
			return nil, fmt.Errorf("path %q is there twice", path+name)
		}
		e, err := s.writeFolder(ctx, t.folders[name], path+name+"/", at)
		if err != nil {
			return nil, err
		}
		e.Name = name
		b.AddEntry(e)
	}
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		b.AddEntry(&snapshot.DirEntry{
			Name: name, Type: snapshot.EntryTypeFile, Permissions: snapshot.Permissions(fileMode),
			FileSize: t.files[name].size, ModTime: at, ObjectID: t.files[name].id,
		})
	}
	m := b.Build(at, "")
	id, err := snapshotfs.WriteDirManifest(ctx, s.rep, path, m, compressor)
	if err != nil {
		return nil, fmt.Errorf("write folder %q: %w", path, err)
	}
	return &snapshot.DirEntry{
		Type: snapshot.EntryTypeDirectory, Permissions: snapshot.Permissions(dirMode),
		FileSize: m.Summary.TotalFileSize, ModTime: at, ObjectID: id, DirSummary: m.Summary,
	}, nil
}
