package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/backup"
	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
)

const (
	orgID  = "urn:vcloud:org:0b1a0b1a-0000-4000-8000-000000000001"
	vappID = "urn:vcloud:vapp:7a990000-0000-4000-8000-000000000001"
	vmID   = "urn:vcloud:vm:33330000-0000-4000-8000-000000000001"
)

// An oursRun is one backup or restore by the code that vappvault's own use.
type oursRun struct {
	Root   string // folder of the repository
	Images []string
	// Blocks are the numbers of the blocks to read; nil: all that hold data.
	Blocks []int64
	// Parent and Result are files with the disks' contents, as JSON.
	Parent, Result string
	Workers        int
}

// copyMemory is what all buffers of a copy may take, in bytes: a backup's own.
const copyMemory = 96 << 20

// openOurs opens the repository, which is made on first use, with a generated
// key.
func openOurs(ctx context.Context, dir string) (*repository.Root, *repository.Repository, error) {
	file := dir + ".key"
	if _, err := os.Stat(dir); err != nil {
		key := repository.NewKey()
		if err := errors.Join(os.WriteFile(file, []byte(key), 0o600), repository.Init(ctx, repository.Location{Path: dir}, key)); err != nil {
			return nil, nil, err
		}
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	root, err := repository.Open(ctx, repository.Location{Path: dir}, string(key), repository.Options{StateDir: dir + ".state"})
	if err != nil {
		return nil, nil, err
	}
	org, err := root.Org(ctx, orgID, "acme")
	if err != nil {
		return nil, nil, errors.Join(err, root.Close(ctx))
	}
	return root, org, nil
}

func readContents(path string) (c []restorepoint.DiskContent, err error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	return c, err
}

// backup makes a restore point of the images, one disk each.
func (r oursRun) backup(ctx context.Context, org *repository.Repository) error {
	parents, err := readContents(r.Parent)
	if err != nil {
		return err
	}
	w, err := org.NewPoint(ctx, vappID)
	if err != nil {
		return err
	}
	defer w.Abort(context.WithoutCancel(ctx))
	contents := make([]restorepoint.DiskContent, len(r.Images))
	limits := limit.New(limit.Config{Memory: copyMemory})
	var g errgroup.Group
	for i := range r.Images {
		var parent *restorepoint.DiskContent
		if parents != nil {
			parent = &parents[i]
		}
		g.Go(func() (err error) {
			contents[i], err = r.disk(ctx, w, limits, r.Images[i], parent)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := w.Commit(ctx, newPoint(contents), nil); err != nil {
		return err
	}
	data, err := json.Marshal(contents)
	if err != nil || r.Result == "" {
		return err
	}
	return os.WriteFile(r.Result, data, 0o600)
}

// disk copies one image.
func (r oursRun) disk(ctx context.Context, w *repository.PointWriter, l *limit.Limits, image string, parent *restorepoint.DiskContent) (c restorepoint.DiskContent, err error) {
	src, err := openSource(ctx, image)
	if err != nil {
		return c, err
	}
	defer src.Close() //nolint:errcheck // read only
	d, err := w.Disk(ctx, src.Size(), parent)
	if err != nil {
		return c, err
	}
	set, err := r.wanted(ctx, src)
	if err != nil {
		return c, err
	}
	flow := backup.Flow{Source: src, Disk: d, Limits: l, OnBase: parent != nil}
	if err := flow.Copy(ctx, set); err != nil {
		return c, err
	}
	return d.Finish(ctx)
}

// wanted returns what is to be read.
func (r oursRun) wanted(ctx context.Context, src transport.Source) (extent.Set, error) {
	if r.Blocks == nil {
		return src.Extents(ctx, extent.Extent{Length: src.Size()})
	}
	var set extent.Set
	for _, n := range r.Blocks {
		off := n * repository.BlockSize
		set = append(set, extent.Extent{Offset: off, Length: min(repository.BlockSize, src.Size()-off)})
	}
	return extent.Of(set...), nil
}

// newPoint returns a manifest with one VM, whose disks are the given ones.
func newPoint(disks []restorepoint.DiskContent) *restorepoint.Point {
	p := &restorepoint.Point{
		ID: ulid.Make().String(), State: restorepoint.Complete, ToolVersion: "bench", Started: time.Now().UTC(),
		Site: restorepoint.Ref{ID: "site1"}, Org: restorepoint.Ref{ID: orgID, Name: "acme"},
		VDC:  restorepoint.Ref{ID: "urn:vcloud:vdc:1", Name: "vdc1"},
		VApp: restorepoint.Ref{ID: vappID, Name: "web-shop"},
		VMs:  []restorepoint.VM{{Ref: restorepoint.Ref{ID: vmID, Name: "db01"}}},
	}
	for i, c := range disks {
		p.VMs[0].Disks = append(p.VMs[0].Disks, restorepoint.Disk{
			Key: int32(2000 + i), UUID: fmt.Sprintf("6000C290-0000-4000-8000-%012d", i), Label: fmt.Sprintf("Hard disk %d", i+1), Content: c,
		})
	}
	return p
}

// restore writes the first disk to a new file, whose holes stay holes.
func (r oursRun) restore(ctx context.Context, org *repository.Repository) error {
	contents, err := readContents(r.Parent)
	if err != nil {
		return err
	}
	dst, err := createTarget(r.Images[0])
	if err != nil {
		return err
	}
	src, err := org.OpenDisk(ctx, contents[0])
	if err != nil {
		return errors.Join(err, dst.Close())
	}
	defer src.Close() //nolint:errcheck // read only
	err = dst.Truncate(src.Size())
	if err == nil {
		err = src.CopyTo(ctx, dst, nil)
	}
	return errors.Join(err, dst.Close())
}
