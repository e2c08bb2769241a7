package repository_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

const (
	password = "correct horse battery staple"
	orgID    = "urn:vcloud:org:0b1a0b1a-0000-4000-8000-000000000001"
	orgUUID  = "0b1a0b1a-0000-4000-8000-000000000001"
	vappID   = "urn:vcloud:vapp:7a990000-0000-4000-8000-000000000001"
	vmID     = "urn:vcloud:vm:33330000-0000-4000-8000-000000000001"
	diskUUID = "6000C290-0000-4000-8000-000000000001"

	block   = repository.BlockSize
	segment = repository.SegmentBlocks * block
)

// scale picks the size of a test: under -short, which is how the race
// detector runs them, small sizes have to show the same behaviour.
func scale(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// emptyRoot makes a root without organizations in a new folder and opens it.
// Its key derivation is the cheapest that is allowed: tests open many.
func emptyRoot(t testing.TB) *repository.Root {
	t.Helper()
	dir := t.TempDir()
	if err := makeEmptyRoot(dir); err != nil {
		t.Fatal(err)
	}
	return openRoot(t, dir)
}

func makeEmptyRoot(dir string) error {
	data, err := os.ReadFile(filepath.Join("testdata", "cheaproot.json"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "vappvault.json"), data, 0o600); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(dir, "orgs"), 0o700)
}

// newRoot makes a root with one empty organization, orgID, in a new folder
// and opens it. It is a copy: each derivation of a key of Kopia's takes more
// than a second under the race detector.
func newRoot(t testing.TB) *repository.Root {
	t.Helper()
	c, err := fixture.get()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(c.empty)); err != nil {
		t.Fatal(err)
	}
	return openRoot(t, dir)
}

// A common is what tests share.
type common struct {
	dir   string
	empty string // a root whose one organization is empty
	root  *repository.Root
	org   *repository.Repository
}

var fixture fixtureOnce

// fixtureOnce makes a common when it is first asked for.
type fixtureOnce struct {
	once sync.Once
	c    common
	err  error
}

func (f *fixtureOnce) get() (*common, error) {
	f.once.Do(func() { f.err = f.c.make(context.Background()) })
	return &f.c, f.err
}

func (c *common) make(ctx context.Context) (err error) {
	if c.dir, err = os.MkdirTemp("", "repository-test-"); err != nil {
		return err
	}
	shared := filepath.Join(c.dir, "shared")
	c.empty = filepath.Join(c.dir, "empty")
	if err := os.Mkdir(shared, 0o700); err != nil {
		return err
	}
	if err := makeEmptyRoot(shared); err != nil {
		return err
	}
	state := repository.Options{StateDir: filepath.Join(c.dir, "state")}
	if c.root, err = repository.Open(ctx, repository.Location{Path: shared}, password, state); err != nil {
		return err
	}
	if c.org, err = c.root.Org(ctx, orgID, "acme"); err != nil {
		return err
	}
	return os.CopyFS(c.empty, os.DirFS(shared))
}

func (c *common) remove(ctx context.Context) error {
	var err error
	if c.root != nil {
		err = c.root.Close(ctx)
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// sharedOrg returns an organization that holds what other tests have put
// there: for tests that look at nothing but what they write.
func sharedOrg(t testing.TB) *repository.Repository {
	t.Helper()
	c, err := fixture.get()
	if err != nil {
		t.Fatal(err)
	}
	return c.org
}

func openRoot(t testing.TB, dir string) *repository.Root {
	t.Helper()
	r, err := repository.Open(t.Context(), repository.Location{Path: dir}, password,
		repository.Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return r
}

// newOrg returns an empty organization in a root of its own.
func newOrg(t testing.TB) *repository.Repository {
	t.Helper()
	return org(t, newRoot(t))
}

func org(t testing.TB, r *repository.Root) *repository.Repository {
	t.Helper()
	o, err := r.Org(t.Context(), orgID, "acme")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func newWriter(t testing.TB, o *repository.Repository) *repository.PointWriter {
	t.Helper()
	w, err := o.NewPoint(t.Context(), vappID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Abort(context.WithoutCancel(t.Context())) })
	return w
}

// newPoint returns a manifest with one VM, whose disks are the given ones.
func newPoint(disks ...restorepoint.DiskContent) *restorepoint.Point {
	started := time.Now().UTC()
	p := &restorepoint.Point{
		ID: ulid.Make().String(), State: restorepoint.Complete, ToolVersion: "test",
		Started: started, Finished: started.Add(time.Second),
		Site: restorepoint.Ref{ID: "site1"}, Org: restorepoint.Ref{ID: orgID, Name: "acme"},
		VDC:  restorepoint.Ref{ID: "urn:vcloud:vdc:1", Name: "vdc1"},
		VApp: restorepoint.Ref{ID: vappID, Name: "../../web-shop"},
		VMs:  []restorepoint.VM{{Ref: restorepoint.Ref{ID: vmID, Name: "db01"}}},
	}
	for i, c := range disks {
		p.VMs[0].Disks = append(p.VMs[0].Disks, restorepoint.Disk{
			Key: int32(2000 + i), UUID: diskUUID[:len(diskUUID)-1] + string(rune('1'+i)), Label: "Hard disk 1", Content: c,
		})
	}
	return p
}

// noise fills b with bytes that do not compress.
func noise(seed uint64, b []byte) []byte {
	r := rand.New(rand.NewPCG(seed, seed))
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	for i := len(b) &^ 7; i < len(b); i++ {
		b[i] = byte(seed)
	}
	return b
}

// image returns a disk with noise, text, zeros and an odd end.
func image(seed uint64, size int) []byte {
	b := make([]byte, size)
	for at, n := 0, 0; at < size; at, n = at+block, n+1 {
		piece := b[at:min(at+block, size)]
		switch n % 4 {
		case 0:
			noise(seed+uint64(n), piece)
		case 1:
			copy(piece, bytes.Repeat([]byte("the quick brown fox\n"), len(piece)/20))
			piece[0], piece[len(piece)-1] = byte(seed), byte(n)
		case 2:
			piece[len(piece)-1] = byte(n) | 1 // nearly zeros
		}
	}
	return b
}

// writeTail writes a disk that is zeros up to from, a multiple of block, and
// then img: the blocks that differ from old, which is what the parent holds
// there and may be shorter.
func writeTail(t testing.TB, d *repository.DiskWriter, from int64, old, img []byte) restorepoint.DiskContent {
	t.Helper()
	for at := 0; at < len(img); at += block {
		piece := img[at:min(at+block, len(img))]
		if at+len(piece) <= len(old) && bytes.Equal(old[at:at+len(piece)], piece) {
			continue
		}
		if err := d.WriteBlock(t.Context(), (from+int64(at))/block, piece); err != nil {
			t.Fatal(err)
		}
	}
	c, err := d.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newDisk(t testing.TB, w *repository.PointWriter, size int64, parent *restorepoint.DiskContent) *repository.DiskWriter {
	t.Helper()
	d, err := w.Disk(t.Context(), size, parent)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// saveImage commits a point whose one disk is img.
func saveImage(t testing.TB, o *repository.Repository, parent *restorepoint.DiskContent, old, img []byte) *restorepoint.Point {
	t.Helper()
	return saveTail(t, o, parent, 0, old, img)
}

// saveTail commits a point whose one disk is zeros up to from, and then img.
func saveTail(t testing.TB, o *repository.Repository, parent *restorepoint.DiskContent, from int64, old, img []byte) *restorepoint.Point {
	t.Helper()
	w := newWriter(t, o)
	c := writeTail(t, newDisk(t, w, from+int64(len(img)), parent), from, old, img)
	p := newPoint(c)
	if err := w.Commit(t.Context(), p, map[string][]byte{"vcd/vapp.xml": []byte("<VApp/>")}); err != nil {
		t.Fatal(err)
	}
	return p
}

// readTail reads n bytes at the end of a disk.
func readTail(t testing.TB, o *repository.Repository, c restorepoint.DiskContent, n int) []byte {
	t.Helper()
	r, err := o.OpenDisk(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := make([]byte, n)
	if err := r.ReadAt(t.Context(), b, c.Size-int64(n)); err != nil {
		t.Fatal(err)
	}
	return b
}

// readImage reads a disk back in full.
func readImage(t testing.TB, o *repository.Repository, c restorepoint.DiskContent) []byte {
	t.Helper()
	return readTail(t, o, c, int(c.Size))
}

// points lists what is committed.
func points(t testing.TB, o *repository.Repository) []restorepoint.Summary {
	t.Helper()
	got, err := o.Points(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func mustVerify(t testing.TB, o *repository.Repository, id string) {
	t.Helper()
	verified, err := o.Verify(t.Context(), id, repository.VerifyOptions{Percent: 100})
	damages := verified.Damages
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range damages {
		t.Error(d)
	}
}
