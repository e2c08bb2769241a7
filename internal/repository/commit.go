package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"github.com/oklog/ulid/v2"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

const manifestFile = "restorepoint.json"

// Tags of a snapshot that is a restore point. Kopia wants the prefix.
const (
	tagPoint   = "tag:point"
	tagOrg     = "tag:org"
	tagVDC     = "tag:vdc"
	tagVApp    = "tag:vapp"
	tagState   = "tag:state"
	tagSummary = "tag:summary" // restorepoint.Summary as JSON
)

// Commit completes the point and ends the writer, whatever the outcome. The
// disks that p names have to be finished, docs are its documents by path; p's
// schema version, list of documents and missing times are filled in. When Commit returns nil
// the point is on stable storage and listed. After an error it is not, unless
// the last step of all failed half-way, whose outcome only Points can tell.
func (w *PointWriter) Commit(ctx context.Context, p *restorepoint.Point, docs map[string][]byte) error {
	defer w.Abort(ctx)
	w.stop()
	w.checkpointing.Lock()
	err := w.commit(ctx, p, docs)
	w.checkpointing.Unlock()
	if err != nil {
		return w.errorf("commit point %s: %w", p.ID, err)
	}
	return nil
}

func (w *PointWriter) commit(ctx context.Context, p *restorepoint.Point, docs map[string][]byte) error {
	if err := w.check(ctx, p); err != nil {
		return err
	}
	if p.Finished.IsZero() {
		p.Finished = time.Now().UTC()
	}
	if p.Started.IsZero() {
		p.Started = p.Finished
	}
	t := &tree{}
	if err := w.addDisks(ctx, t, p); err != nil {
		return err
	}
	if err := w.addDocuments(ctx, t, p, docs); err != nil {
		return err
	}
	root, err := w.s.writeTree(ctx, t, p.Finished)
	if err != nil {
		return err
	}
	m, err := newManifest(p, root)
	if err != nil {
		return err
	}
	// All that the snapshot refers to is durable before the snapshot is.
	if err := w.s.flush(ctx); err != nil {
		return err
	}
	if _, err := snapshot.SaveSnapshot(ctx, w.s.rep, m); err != nil {
		return fmt.Errorf("save: %w", w.s.fail(ctx, err))
	}
	if err := w.s.flush(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	w.committed = true
	w.mu.Unlock()
	if err := w.retain(ctx, p); err != nil {
		// The point is there; Maintain drops what is left of old ones.
		w.o.log.Warn("drop checkpoints", "org", w.o.org.label(), "vapp", w.vapp, "error", err)
	}
	return nil
}

// check refuses a manifest that does not belong here.
func (w *PointWriter) check(ctx context.Context, p *restorepoint.Point) error {
	if _, err := ulid.ParseStrict(p.ID); err != nil {
		return fmt.Errorf("id %q: %w", p.ID, err)
	}
	switch {
	case p.State != restorepoint.Complete && p.State != restorepoint.Partial:
		return fmt.Errorf("state %q is not one that can be committed", p.State)
	case !component.MatchString(p.Site.ID):
		return fmt.Errorf("site id %q is not fit for a path", p.Site.ID)
	case restorepoint.UUID(p.VApp.ID) != w.vapp:
		return fmt.Errorf("it is of vApp %q", p.VApp.ID)
	case restorepoint.UUID(p.Org.ID) != w.o.org.ID:
		return fmt.Errorf("it is of org %q", p.Org.ID)
	case p.Schema > restorepoint.SchemaVersion:
		return fmt.Errorf("schema %d: %w", p.Schema, ErrNewerFormat)
	}
	switch _, err := w.o.find(ctx, p.ID); {
	case err == nil:
		return ErrExists
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return w.s.usable(ctx)
}

// addDisks puts the disks of the point into the tree.
func (w *PointWriter) addDisks(ctx context.Context, t *tree, p *restorepoint.Point) error {
	for _, vm := range p.VMs {
		for _, d := range vm.Disks {
			if d.Content.Object == "" {
				continue
			}
			path, err := restorepoint.DiskPath(vm, d)
			if err != nil {
				return err
			}
			if !w.finished(d.Content) {
				// It may be an earlier point's, taken over as it is.
				if _, err := w.o.openIndex(ctx, d.Content.Object, d.Content.Size); err != nil {
					return fmt.Errorf("VM %s: disk %d: not finished, nor in the repository: %w", vm.Name, d.Key, err)
				}
			}
			if err := t.addDisk(path, d.Content); err != nil {
				return fmt.Errorf("VM %s: disk %d: %w", vm.Name, d.Key, err)
			}
		}
	}
	return nil
}

// finished reports whether c is what a disk of this writer came to.
func (w *PointWriter) finished(c restorepoint.DiskContent) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.disks, func(d *DiskWriter) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.finished && d.content.Object == c.Object && d.content.Sums == c.Sums && d.content.Size == c.Size
	})
}

// addDocuments stores the documents and the manifest.
func (w *PointWriter) addDocuments(ctx context.Context, t *tree, p *restorepoint.Point, docs map[string][]byte) error {
	p.Schema = restorepoint.SchemaVersion
	p.Documents = slices.Sorted(maps.Keys(docs))
	for _, path := range p.Documents {
		if path == manifestFile || strings.HasPrefix(path, "disks/") {
			return fmt.Errorf("document %s: the path is taken", path)
		}
		if err := w.addDocument(ctx, t, path, docs[path]); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", manifestFile, err)
	}
	return w.addDocument(ctx, t, manifestFile, append(data, '\n'))
}

func (w *PointWriter) addDocument(ctx context.Context, t *tree, path string, data []byte) error {
	if err := checkPath(path); err != nil {
		return err
	}
	if err := w.s.usable(ctx); err != nil {
		return err
	}
	id, err := w.s.write(ctx, object.WriterOptions{
		Prefix: documentPrefix, Compressor: compressor, MetadataCompressor: compressor,
	}, data)
	if err != nil {
		return fmt.Errorf("document %s: %w", path, w.s.fail(ctx, err))
	}
	return t.add(path, file{id, int64(len(data))})
}

// newManifest returns the snapshot that lists the point.
func newManifest(p *restorepoint.Point, root *snapshot.DirEntry) (*snapshot.Manifest, error) {
	summary, err := json.Marshal(p.Summary())
	if err != nil {
		return nil, fmt.Errorf("encode summary: %w", err)
	}
	tags := map[string]string{tagPoint: p.ID, tagState: string(p.State), tagSummary: string(summary)}
	for tag, name := range map[string]string{tagOrg: p.Org.Name, tagVDC: p.VDC.Name, tagVApp: p.VApp.Name} {
		if name != "" {
			tags[tag] = name
		}
	}
	m := &snapshot.Manifest{
		Source: snapshot.SourceInfo{
			UserName: username, Host: p.Site.ID, Path: "/" + restorepoint.UUID(p.VApp.ID),
		},
		Description: "restore point " + p.ID,
		StartTime:   fs.UTCTimestampFromTime(p.Started),
		EndTime:     fs.UTCTimestampFromTime(p.Finished),
		RootEntry:   root,
		Tags:        tags,
	}
	m.Stats.TotalFileCount = int32(root.DirSummary.TotalFileCount) //nolint:gosec // a few files
	m.Stats.TotalDirectoryCount = int32(root.DirSummary.TotalDirCount)
	m.Stats.TotalFileSize = root.DirSummary.TotalFileSize
	return m, nil
}
