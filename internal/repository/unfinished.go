package repository

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// unfinishedFile is what a checkpoint says of its disks.
const unfinishedFile = "checkpoint.json"

// unfinishedVersion is the version of that file. It is read by the same or a
// later version of this program only; to any other the checkpoint says nothing.
const unfinishedVersion = 1

// An Unfinished is a disk as far as an attempt at a restore point has come.
type Unfinished struct {
	Run     string `json:"run"`     // id that the point would have had
	VM      string `json:"vm"`      // URN
	VCenter string `json:"vcenter"` // instance UUID
	MoRef   string `json:"moref"`
	// Disk is what the point would have said. Its ChangeID is that of the
	// snapshot that was read, its Content what was stored so far.
	Disk restorepoint.Disk `json:"disk"`
	// Remaining is what the Content lacks: there it holds what it held when
	// the attempt began. Everywhere else it is what the snapshot froze.
	Remaining extent.Set `json:"-"`
	Saved     time.Time  `json:"saved"`
}

// unfinishedDisk is an Unfinished as it is stored.
type unfinishedDisk struct {
	Unfinished
	Extents []byte `json:"remaining"` // by packExtents
}

// encodeUnfinished encodes the file of a checkpoint.
func encodeUnfinished(list []Unfinished) ([]byte, error) {
	file := struct {
		Version int              `json:"version"`
		Disks   []unfinishedDisk `json:"disks"`
	}{Version: unfinishedVersion}
	for _, u := range list {
		file.Disks = append(file.Disks, unfinishedDisk{u, packExtents(u.Remaining)})
	}
	return json.Marshal(file)
}

// decodeUnfinished decodes what encodeUnfinished has made.
func decodeUnfinished(data []byte) ([]Unfinished, error) {
	var file struct {
		Version int              `json:"version"`
		Disks   []unfinishedDisk `json:"disks"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", unfinishedFile, ErrDamaged, err)
	}
	if file.Version != unfinishedVersion {
		return nil, nil
	}
	var out []Unfinished
	for _, d := range file.Disks {
		remaining, err := unpackExtents(d.Extents, d.Disk.Content.Size)
		if err != nil {
			return nil, fmt.Errorf("%s: disk %s: %w: %w", unfinishedFile, d.Disk.UUID, ErrDamaged, err)
		}
		d.Remaining = remaining
		out = append(out, d.Unfinished)
	}
	return out, nil
}

// packExtents writes a set as pairs of varints: how far after the end of the
// extent before it each begins, and how long it is.
func packExtents(set extent.Set) []byte {
	var out []byte
	end := int64(0)
	for _, e := range set {
		out = binary.AppendUvarint(out, uint64(e.Offset-end))
		out = binary.AppendUvarint(out, uint64(e.Length))
		end = e.End()
	}
	return out
}

// unpackExtents reads what packExtents has written of a disk of size bytes.
func unpackExtents(data []byte, size int64) (extent.Set, error) {
	var out extent.Set
	end := int64(0)
	for len(data) > 0 {
		var pair [2]int64
		for i := range pair {
			v, n := binary.Uvarint(data)
			if n <= 0 || v > math.MaxInt64 {
				return nil, errors.New("extents end within a number")
			}
			pair[i], data = int64(v), data[n:]
		}
		if pair[1] == 0 || pair[0] == 0 && len(out) > 0 || pair[0] > size-end || pair[1] > size-end-pair[0] {
			return nil, fmt.Errorf("extent [+%d,+%d) after %d of %d bytes", pair[0], pair[1], end, size)
		}
		out = append(out, extent.Extent{Offset: end + pair[0], Length: pair[1]})
		end += pair[0] + pair[1]
	}
	return out, nil
}

// Unfinished lists the disks in the checkpoints that attempts at a vApp, which
// is named by its URN, have left, the newest first. What cannot be read is left
// out: it costs time, not bytes.
func (o *Repository) Unfinished(ctx context.Context, vappURN string) ([]Unfinished, error) {
	if err := o.rep.Refresh(ctx); err != nil {
		return nil, o.errorf("list checkpoints: %w", err)
	}
	entries, err := o.rep.FindManifests(ctx, checkpointLabels(restorepoint.UUID(vappURN)))
	if err != nil {
		return nil, o.errorf("list checkpoints: %w", readError(ctx, err))
	}
	slices.SortFunc(entries, func(a, b *manifest.EntryMetadata) int { return b.ModTime.Compare(a.ModTime) })
	var out []Unfinished
	for _, e := range entries {
		list, err := o.unfinished(ctx, e.ID)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			o.log.Warn("read checkpoint", "org", o.org.label(), "vapp", vappURN, "error", err)
			continue
		}
		out = append(out, list...)
	}
	return out, nil
}

func (o *Repository) unfinished(ctx context.Context, id manifest.ID) ([]Unfinished, error) {
	m, err := snapshot.LoadSnapshot(ctx, o.rep, id)
	if err != nil {
		return nil, readError(ctx, err)
	}
	data, err := (&pointTree{o, m.RootObjectID()}).file(ctx, unfinishedFile)
	if errors.Is(err, ErrNotFound) {
		return nil, nil // of an earlier version, or one that nothing can be made of
	}
	if err != nil {
		return nil, err
	}
	return decodeUnfinished(data)
}

// checkpointLabels find the checkpoints of a vApp, or with "" all of them.
func checkpointLabels(vapp string) map[string]string {
	labels := map[string]string{
		manifest.TypeLabelKey: snapshot.ManifestType, snapshot.HostnameLabel: checkpointHost, snapshot.UsernameLabel: username,
	}
	if vapp != "" {
		labels[snapshot.PathLabel] = "/" + vapp
	}
	return labels
}
