package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// Points lists the committed points, the oldest first. It reads the tags of
// the snapshots only. Where one of them is damaged the others come with the
// error.
func (o *Repository) Points(ctx context.Context) ([]restorepoint.Summary, error) {
	if err := o.rep.Refresh(ctx); err != nil {
		return nil, o.errorf("list points: %w", err)
	}
	entries, err := o.rep.FindManifests(ctx, map[string]string{manifest.TypeLabelKey: snapshot.ManifestType})
	if err != nil {
		return nil, o.errorf("list points: %w", readError(ctx, err))
	}
	points := map[string]restorepoint.Summary{}
	var damaged error
	for _, e := range entries {
		id, summary := e.Labels[tagPoint], e.Labels[tagSummary]
		if id == "" || summary == "" {
			continue // a checkpoint, or somebody else's snapshot
		}
		var s restorepoint.Summary
		if err := json.Unmarshal([]byte(summary), &s); err != nil {
			damaged = errors.Join(damaged, o.errorf("list points: point %s: %w: summary: %w", id, ErrDamaged, err))
			continue
		}
		points[id] = s
	}
	return slices.SortedFunc(maps.Values(points), func(a, b restorepoint.Summary) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	}), damaged
}

// find returns the snapshots of a point. There is one, unless a stock command
// was killed while it pinned it.
func (o *Repository) find(ctx context.Context, id string) ([]manifest.ID, error) {
	if err := o.rep.Refresh(ctx); err != nil {
		return nil, err
	}
	entries, err := o.rep.FindManifests(ctx, map[string]string{
		manifest.TypeLabelKey: snapshot.ManifestType, tagPoint: id,
	})
	if err != nil {
		return nil, readError(ctx, err)
	}
	if len(entries) == 0 || id == "" {
		return nil, ErrNotFound
	}
	ids := make([]manifest.ID, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	return ids, nil
}

// A pointTree is an open point.
type pointTree struct {
	o    *Repository
	root object.ID
}

func (o *Repository) openPoint(ctx context.Context, id string) (*pointTree, error) {
	ids, err := o.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return o.openTree(ctx, ids[0])
}

// openTree opens the point of a snapshot. One that somebody has forgotten
// since it was found is not damaged.
func (o *Repository) openTree(ctx context.Context, id manifest.ID) (*pointTree, error) {
	m, err := snapshot.LoadSnapshot(ctx, o.rep, id)
	if errors.Is(err, snapshot.ErrSnapshotNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, readError(ctx, err)
	}
	return &pointTree{o, m.RootObjectID()}, nil
}

// read returns the content of an object that is not a disk.
func (t *pointTree) read(ctx context.Context, id object.ID) ([]byte, error) {
	r, err := t.o.rep.OpenObject(ctx, id)
	if err != nil {
		return nil, readError(ctx, err)
	}
	defer r.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(r)
	return data, readError(ctx, err)
}

// folder returns the entries of a folder.
func (t *pointTree) folder(ctx context.Context, id object.ID) ([]*snapshot.DirEntry, error) {
	data, err := t.read(ctx, id)
	if err != nil {
		return nil, err
	}
	var m snapshot.DirManifest
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&m); err != nil {
		return nil, fmt.Errorf("%w: folder %s: %w", ErrDamaged, id, err)
	}
	return m.Entries, nil
}

// entry returns the folder entry of the file at a path.
func (t *pointTree) entry(ctx context.Context, path string) (*snapshot.DirEntry, error) {
	at := &snapshot.DirEntry{Type: snapshot.EntryTypeDirectory, ObjectID: t.root}
	for name := range strings.SplitSeq(path, "/") {
		if at.Type != snapshot.EntryTypeDirectory {
			return nil, ErrNotFound
		}
		entries, err := t.folder(ctx, at.ObjectID)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(entries, func(e *snapshot.DirEntry) bool { return e.Name == name })
		if i < 0 {
			return nil, ErrNotFound
		}
		at = entries[i]
	}
	if at.Type != snapshot.EntryTypeFile {
		return nil, ErrNotFound
	}
	return at, nil
}

// file returns the content of the file at a path.
func (t *pointTree) file(ctx context.Context, path string) ([]byte, error) {
	e, err := t.entry(ctx, path)
	if err != nil {
		return nil, err
	}
	return t.read(ctx, e.ObjectID)
}

// point returns the manifest.
func (t *pointTree) point(ctx context.Context) (*restorepoint.Point, error) {
	data, err := t.file(ctx, manifestFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", manifestFile, err)
	}
	return parsePoint(data)
}

// parsePoint decodes restorepoint.json.
func parsePoint(data []byte) (*restorepoint.Point, error) {
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", manifestFile, ErrDamaged, err)
	}
	if head.Schema > restorepoint.SchemaVersion {
		return nil, fmt.Errorf("%s: %w: schema %d, this program reads up to %d",
			manifestFile, ErrNewerFormat, head.Schema, restorepoint.SchemaVersion)
	}
	p := &restorepoint.Point{}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", manifestFile, ErrDamaged, err)
	}
	return p, nil
}

// Load returns the manifest of a point.
func (o *Repository) Load(ctx context.Context, id string) (*restorepoint.Point, error) {
	t, err := o.openPoint(ctx, id)
	if err != nil {
		return nil, o.errorf("point %s: %w", id, err)
	}
	p, err := t.point(ctx)
	if err != nil {
		return nil, o.errorf("point %s: %w", id, err)
	}
	return p, nil
}

// Document returns one document of a point.
func (o *Repository) Document(ctx context.Context, id, path string) ([]byte, error) {
	t, err := o.openPoint(ctx, id)
	if err != nil {
		return nil, o.errorf("point %s: %w", id, err)
	}
	data, err := t.file(ctx, path)
	if err != nil {
		return nil, o.errorf("point %s: document %s: %w", id, path, err)
	}
	return data, nil
}

// Documents returns all documents of a point by their paths, the manifest
// itself not among them.
func (o *Repository) Documents(ctx context.Context, id string) (map[string][]byte, error) {
	t, err := o.openPoint(ctx, id)
	if err != nil {
		return nil, o.errorf("point %s: %w", id, err)
	}
	docs := map[string][]byte{}
	if err := t.documents(ctx, t.root, "", docs); err != nil {
		return nil, o.errorf("point %s: %w", id, err)
	}
	return docs, nil
}

func (t *pointTree) documents(ctx context.Context, folder object.ID, path string, into map[string][]byte) error {
	entries, err := t.folder(ctx, folder)
	if err != nil {
		return fmt.Errorf("folder %q: %w", path, err)
	}
	for _, e := range entries {
		at := path + e.Name
		switch {
		case at == "disks" || at == manifestFile:
		case e.Type == snapshot.EntryTypeDirectory:
			err = t.documents(ctx, e.ObjectID, at+"/", into)
		default:
			if into[at], err = t.read(ctx, e.ObjectID); err != nil {
				err = fmt.Errorf("document %s: %w", at, err)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Forget drops a point from the list. What it alone refers to stays until
// Maintain finds it to be old garbage.
func (o *Repository) Forget(ctx context.Context, id string) error {
	ids, err := o.find(ctx, id)
	if err != nil {
		return o.errorf("forget point %s: %w", id, err)
	}
	return o.drop(ctx, "forget point "+id, ids)
}

// drop deletes snapshots.
func (o *Repository) drop(ctx context.Context, what string, ids []manifest.ID) error {
	start := time.Now()
	err := repo.WriteSession(ctx, o.rep, repo.WriteSessionOptions{Purpose: what},
		func(ctx context.Context, w repo.RepositoryWriter) error {
			for _, id := range ids {
				if err := w.DeleteManifest(ctx, id); err != nil {
					return err
				}
			}
			return nil
		})
	if err != nil {
		return o.errorf("%s: %w", what, err)
	}
	o.log.Debug("dropped snapshots", "org", o.org.label(), "what", what, "count", len(ids), "took", time.Since(start))
	return nil
}
