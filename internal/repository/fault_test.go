package repository_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/repository"
)

// packs returns the pack files of an organization: p packs hold data, q packs
// indexes, folders and manifests.
func packs(t *testing.T, o *repository.Repository, kind string) []string {
	t.Helper()
	var out []string
	for _, f := range files(t, o.Show().Path) {
		rel, err := filepath.Rel(o.Show().Path, f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(rel, kind) && strings.HasSuffix(rel, ".f") {
			out = append(out, f)
		}
	}
	return out
}

func TestVerifyFindsDamage(t *testing.T) {
	img := image(21, scale(segment+9*block, 12*block))
	r := newRoot(t)
	o := org(t, r)
	p := saveImage(t, o, nil, nil, img)
	sound := saveImage(t, o, nil, nil, image(1000, 2*block))
	again := org(t, openRoot(t, r.Path()))
	for _, tc := range []struct {
		name   string
		kind   string
		damage func(*testing.T, string)
	}{
		{"a flipped byte in data", "p", func(t *testing.T, f string) { flip(t, f, stat(t, f)/2) }},
		{"a truncated pack", "p", func(t *testing.T, f string) {
			if err := os.Truncate(f, stat(t, f)/2); err != nil {
				t.Fatal(err)
			}
		}},
		{"a missing pack", "p", func(t *testing.T, f string) {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			largest := slices.MaxFunc(packs(t, o, tc.kind), func(a, b string) int {
				return int(stat(t, a) - stat(t, b))
			})
			whole, err := os.ReadFile(largest)
			if err != nil {
				t.Fatal(err)
			}
			tc.damage(t, largest)
			defer func() {
				if err := os.WriteFile(largest, whole, 0o600); err != nil {
					t.Error(err)
				}
			}()
			var last, total int64
			verified, err := again.Verify(t.Context(), p.ID, repository.VerifyOptions{Percent: 100, Progress: func(d, n int64) { last, total = d, n }})
			damages := verified.Damages
			if err != nil || len(damages) == 0 {
				t.Fatalf("got %v, %v", damages, err)
			}
			for i, d := range damages {
				if d.Point != p.ID || d.VM != "db01" || d.Disk != "Hard disk 1" || d.Length <= 0 || !errors.Is(d, repository.ErrDamaged) {
					t.Errorf("got %+v", d)
				}
				if i > 0 && damages[i-1].Offset+damages[i-1].Length >= d.Offset {
					t.Errorf("pieces are not merged: %v, %v", damages[i-1], d)
				}
			}
			if last != total || total != p.VMs[0].Disks[0].Content.DataBytes {
				t.Errorf("progress ended at %d of %d", last, total)
			}
			mustVerify(t, again, sound.ID)

			disk, err := again.OpenDisk(t.Context(), p.VMs[0].Disks[0].Content)
			if err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, block)
			if err := disk.ReadAt(t.Context(), buf, damages[0].Offset); !errors.Is(err, repository.ErrDamaged) {
				t.Errorf("read of what is damaged: got %v", err)
			}
		})
	}
}

func TestVerifyFindsDamageInIndexes(t *testing.T) {
	o := newOrg(t)
	const size = segment + 9*block
	img := image(21, scale(size, 12*block))
	p := saveTail(t, o, nil, size-int64(len(img)), nil, img)
	// A q pack of the point holds the indexes and folders.
	seen := map[string]bool{}
	for _, f := range packs(t, o, "q") {
		for off := int64(40); off < stat(t, f); off += 97 {
			flip(t, f, off)
			verified, err := o.Verify(t.Context(), p.ID, repository.VerifyOptions{})
			damages := verified.Damages
			if err != nil {
				t.Fatalf("offset %d: %v", off, err)
			}
			for _, d := range damages {
				switch {
				case d.Document != "":
					seen["document"] = true
				case d.VM == "":
					seen["point"] = true
				case d.Length == size:
					seen["disk"] = true
				default:
					seen["segment"] = true
				}
			}
			flip(t, f, off)
			if off > 8000 {
				break
			}
		}
	}
	for _, want := range []string{"document", "disk", "segment"} {
		if !seen[want] {
			t.Errorf("no damage of a %s was found, only %v", want, seen)
		}
	}
	mustVerify(t, o, p.ID)
}

func stat(t *testing.T, f string) int64 {
	t.Helper()
	info, err := os.Stat(f)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// flip inverts one byte.
func flip(t *testing.T, file string, off int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// childEnv makes the test binary a writer that a test kills or limits.
const childEnv = "VAPPVAULT_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		if err := child(mode, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if err := fixture.c.remove(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// child writes points without end. Its mode says of how many blocks, such as
// "kill 40"; "full 40" puts a limit on the size of files besides.
func child(mode, dir string) error {
	ctx := context.Background()
	r, err := repository.Open(ctx, repository.Location{Path: dir}, password, repository.Options{StateDir: filepath.Join(dir, "..", "state")})
	if err != nil {
		return err
	}
	o, err := r.Existing(ctx, orgID)
	if err != nil {
		return err
	}
	blocks, half := int64(40), int64(20)
	if n, err := fmt.Sscanf(mode, "kill %d", &blocks); err == nil && n == 1 {
		half = blocks / 2
	}
	if n, err := fmt.Sscanf(mode, "full %d", &blocks); err == nil && n == 1 {
		limit := syscall.Rlimit{Cur: 2 << 20, Max: 2 << 20}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			return err
		}
	}
	for seed := uint64(time.Now().UnixNano()); ; seed++ {
		w, err := o.NewPoint(ctx, vappID)
		if err != nil {
			return err
		}
		d, err := w.Disk(ctx, blocks*block, nil)
		if err != nil {
			return err
		}
		for n := range blocks {
			if err := d.WriteBlock(ctx, n, noise(seed*100+uint64(n), make([]byte, block))); err != nil {
				return err
			}
			if n == half {
				if err := w.Checkpoint(ctx); err != nil {
					return err
				}
				fmt.Println("checkpoint")
			}
		}
		c, err := d.Finish(ctx)
		if err != nil {
			return err
		}
		if err := w.Commit(ctx, newPoint(c), map[string][]byte{"vcd/vapp.xml": []byte("<VApp/>")}); err != nil {
			return err
		}
		fmt.Println("committed")
	}
}

// startChild runs the test binary as a writer to a root.
func startChild(ctx context.Context, mode, dir string) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0], dir)
	c.Env = append(os.Environ(), childEnv+"="+mode)
	return c
}

func TestKilledWriter(t *testing.T) {
	t.Parallel() // it waits more than it works
	r := newRoot(t)
	before := saveImage(t, org(t, r), nil, nil, image(1, 3*block))
	var o *repository.Repository
	for i := range scale(3, 1) {
		out := killWriter(t, r, time.Duration(i)*400*time.Millisecond)
		committed := strings.Count(out, "committed")
		o = org(t, openRoot(t, r.Path()))
		points, err := o.Points(t.Context())
		if err != nil || len(points) < 1+committed {
			t.Fatalf("kill %d: got %d points, %v, the writer had committed %d\n%s", i, len(points), err, committed, out)
		}
		for _, p := range points {
			mustVerify(t, o, p.ID)
			if p.ID != before.ID {
				if err := o.Forget(t.Context(), p.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// What the killed ones have left is garbage.
	if err := o.Maintain(t.Context(), repository.MaintainOptions{Immediate: true}); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, o, before.ID)
}

// killWriter kills a writer some time after its first checkpoint and returns
// what it printed.
func killWriter(t *testing.T, r *repository.Root, after time.Duration) string {
	t.Helper()
	c := startChild(t.Context(), fmt.Sprintf("kill %d", scale(40, 12)), r.Path())
	c.Stderr = os.Stderr
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	first, err := lines.ReadString('\n')
	if err != nil || first != "checkpoint\n" {
		t.Errorf("the writer says %q, %v", first, err)
	}
	time.Sleep(after)
	if err := c.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	return string(rest)
}

func TestFullDisk(t *testing.T) {
	t.Parallel() // it waits more than it works
	r := newRoot(t)
	o := org(t, r)
	before := saveImage(t, o, nil, nil, image(1, 2*block))
	for mode, when := range map[string]string{"full 40": "write block", "full 3": "commit point"} {
		out, err := startChild(t.Context(), mode, r.Path()).CombinedOutput()
		if err == nil {
			t.Fatalf("%s: the writer has not failed", when)
		}
		for _, want := range []string{"file too large", r.Path(), when} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: the error does not say %q: %s", when, want, out)
			}
		}
		points, err := o.Points(t.Context())
		if err != nil || len(points) != 1 || points[0].ID != before.ID {
			t.Errorf("%s: got %v, %v", when, points, err)
		}
		mustVerify(t, o, before.ID)
	}
}

func TestCancelledWriter(t *testing.T) {
	o := sharedOrg(t)
	w := newWriter(t, o)
	d := newDisk(t, w, 4*block, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.WriteBlock(ctx, 0, noise(1, make([]byte, block))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// The writer itself is as good as before.
	if err := d.WriteBlock(t.Context(), 0, noise(1, make([]byte, block))); err != nil {
		t.Fatal(err)
	}
	c, err := d.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), newPoint(c), nil); err != nil {
		t.Fatal(err)
	}
}

func TestMaintain(t *testing.T) {
	t.Parallel() // it waits more than it works
	blocks := scale(30, 12)
	o := newOrg(t)
	img := image(1, blocks*block)
	noise(77, img)
	first := saveImage(t, o, nil, nil, img)
	c := first.VMs[0].Disks[0].Content
	changed := slices.Clone(img)
	noise(78, changed[:blocks*block*2/3])
	second := saveImage(t, o, &c, img, changed)

	w := newWriter(t, o)
	if err := o.Maintain(t.Context(), repository.MaintainOptions{Immediate: true}); !errors.Is(err, repository.ErrBusy) {
		t.Errorf("with a writer: got %v", err)
	}
	if err := o.Maintain(t.Context(), repository.MaintainOptions{}); err != nil {
		t.Errorf("with a writer: %v", err)
	}
	w.Abort(t.Context())

	if err := o.Maintain(t.Context(), repository.MaintainOptions{Quick: true}); err != nil {
		t.Error(err)
	}
	if err := o.Forget(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	before := size(t, o.Show().Path)
	if err := o.Maintain(t.Context(), repository.MaintainOptions{Immediate: true}); err != nil {
		t.Fatal(err)
	}
	if after := size(t, o.Show().Path); before-after < int64(blocks*block/2) {
		t.Errorf("%d MiB of garbage: went from %d to %d bytes", blocks*2/3, before, after)
	}
	mustVerify(t, o, second.ID)
	if got := readImage(t, o, second.VMs[0].Disks[0].Content); !bytes.Equal(got, changed) {
		t.Error("the disk differs after the maintenance")
	}
}

func TestMaintainersExcludeEachOther(t *testing.T) {
	o := sharedOrg(t)
	var done, busy int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			err := o.Maintain(t.Context(), repository.MaintainOptions{})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				done++
			case errors.Is(err, repository.ErrBusy):
				busy++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if done == 0 || done+busy != 6 {
		t.Errorf("%d ran, %d were told to wait", done, busy)
	}
}

func TestCheckpointOfAParent(t *testing.T) {
	r := newRoot(t)
	o := org(t, r)
	img := image(5, 6*block)
	parent := saveImage(t, o, nil, nil, img)
	c := parent.VMs[0].Disks[0].Content
	w := newWriter(t, o)
	d := newDisk(t, w, 6*block, &c)
	if err := d.WriteBlock(t.Context(), 1, noise(9, make([]byte, block))); err != nil {
		t.Fatal(err)
	}
	if err := w.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Meanwhile the parent is forgotten and its garbage collected, twice.
	if err := o.Forget(t.Context(), parent.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := o.Maintain(t.Context(), repository.MaintainOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := newPoint(got)
	if err := w.Commit(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, org(t, openRoot(t, r.Path())), p.ID)
}
