package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vappvault/vappvault/internal/wording"
)

const (
	gib = int64(1) << 30
	tib = int64(1) << 40
)

// own returns our peer with an empty repository of its own. Done removes it.
func (b *bench) own(name string) (v *vappvault, done func(), err error) {
	v = &vappvault{self: b.self, dir: filepath.Join(b.dir, name)}
	return v, func() { _ = os.RemoveAll(v.dir) }, v.init(b.ctx)
}

// index compares a 1% incremental of a large disk with a first backup of a
// disk that has the same blocks and no others. The difference is the large
// one's index, and what finding one's way in the parent's costs. Both write a
// snapshot.
func (b *bench) index() error {
	size := tib
	if b.quick {
		size = 4 * gib
	} else if free := availableMemory(); free < 10*gib {
		size = 256 * gib
		b.report.note("Only %s of memory are free: the disk is smaller than the 1 TiB that was asked for.", wording.Size(free))
	}
	blocks := size / mib / 100
	var changed, all []int64
	for n := range blocks {
		changed, all = append(changed, n*100+n*37%100), append(all, n)
	}
	a, err := b.scattered(size, changed)
	if err != nil {
		return err
	}
	c, err := b.alone(all)
	if err != nil {
		return err
	}
	share := func(all, alone float64) float64 { return max(0, 1-alone/all) }
	b.report.head("work", "incremental", "its blocks alone", "share of index and snapshot", "at most", "share of CPU time")
	b.report.row(fmt.Sprintf("1%% of %s: %d blocks, scattered", wording.Size(size), blocks), seconds(a.warm), seconds(c.warm),
		fmt.Sprintf("**%.3f**", share(a.warm, c.warm)), bound(share(a.warm, c.warm), 0.10), fmt.Sprintf("%.3f", share(a.warmCPU, c.warmCPU)))
	b.report.note("The parent holds data in every segment of 64 MiB, so that all of its index is real. Half of the changed blocks are noise, half are text; the source is memory. Measured once: it takes long enough to be steady.")
	return nil
}

// scattered times an incremental.
func (b *bench) scattered(size int64, changed []int64) (measure, error) {
	v, done, err := b.own("large")
	defer done()
	if err != nil {
		return measure{}, err
	}
	var base []int64
	for n := range size / mib / 64 {
		base = append(base, n*64+n%64)
	}
	t := task{oursRun: oursRun{Root: v.root(), Images: []string{pattern(size, "same")}, Blocks: base, Result: v.contents()}}
	if _, err := own(b.ctx, b.self, "backup", t); err != nil {
		return measure{}, err
	}
	return v.backup(b.ctx, picture{path: pattern(size, "0")}, changed)
}

// alone times the same blocks one after the other.
func (b *bench) alone(blocks []int64) (measure, error) {
	v, done, err := b.own("alone")
	defer done()
	if err != nil {
		return measure{}, err
	}
	t := task{oursRun: oursRun{Root: v.root(), Images: []string{pattern(int64(len(blocks))*mib, "0")}, Blocks: blocks}}
	return own(b.ctx, b.self, "backup", t)
}

const memoryAtMost = 500e6 // bytes

// memory shows what the largest disk of vSphere takes.
func (b *bench) memory() error {
	const size = 62 * tib
	v, done, err := b.own("huge")
	defer done()
	if err != nil {
		return err
	}
	b.report.head("work", "peak memory", "time", "at most")
	row := func(work string, m measure, err error) error {
		if err == nil {
			b.report.row(work, megabytes(float64(m.memory)), seconds(m.wall), boundText(float64(m.memory), memoryAtMost, megabytes))
		}
		return err
	}
	t := task{oursRun: oursRun{Root: v.root(), Images: []string{pattern(size, "0")}, Blocks: scatter(size, 256, 0), Result: v.contents()}}
	m, err := own(b.ctx, b.self, "backup", t)
	if err := row("full of 62 TiB with 256 MiB of data", m, err); err != nil {
		return err
	}
	m, err = v.backup(b.ctx, picture{path: pattern(size, "1")}, scatter(size, 64, 1))
	if err := row("incremental of 64 MiB, scattered", m, err); err != nil {
		return err
	}
	m, err = v.restore(b.ctx, picture{}, nowhere)
	return row("restore, less the writing", m, err)
}

// scatter returns the numbers of n blocks, evenly over a disk.
func scatter(size, n, seed int64) (blocks []int64) {
	step := size / mib / n
	for i := range n {
		blocks = append(blocks, i*step+(i*37+seed)%step)
	}
	return blocks
}

// scaling shows what more of everything does.
func (b *bench) scaling() error {
	text, err := b.source()
	if err != nil {
		return err
	}
	size := b.size / 2
	one := filepath.Join(b.dir, "one.raw")
	p, err := mixed(one, size, text)
	if err != nil {
		return err
	}
	defer os.Remove(one) //nolint:errcheck // a temporary file
	parts, remove, err := split(one, size, 16)
	defer remove()
	if err != nil {
		return err
	}
	small, large := filepath.Join(b.dir, "64g.raw"), filepath.Join(b.dir, "4t.raw")
	defer os.Remove(small) //nolint:errcheck // a temporary file
	defer os.Remove(large) //nolint:errcheck // a temporary file
	data := size / 4 / mib
	if _, err := sparseData(small, 64*gib, data, 1, text); err != nil {
		return err
	}
	if _, err := sparseData(large, 4*tib, data, 1, text); err != nil {
		return err
	}
	b.report.ratioHead()
	for _, x := range []struct {
		what, than string
		a, b       []string
		wa, wb     int // workers; 0: as many as there are cores
	}{
		{"full, 2 workers", "1 worker", []string{p.path}, []string{p.path}, 2, 1},
		{"full, 16 disks of " + wording.Size(size/16), "1 disk of " + wording.Size(size), parts, []string{p.path}, 0, 0},
		{"full, 4 TiB with " + wording.Size(data*mib), "64 GiB with the same", []string{large}, []string{small}, 0, 0},
	} {
		a, c, err := b.pairs(x.a, x.wa, x.b, x.wb)
		if err != nil {
			return fmt.Errorf("%s: %w", x.what, err)
		}
		b.report.ratio(x.what, x.than, a.warm(), c.warm(), 0)
	}
	return nil
}

// pairs backs up two lists of images in turn, each into a new repository.
func (b *bench) pairs(a []string, wa int, c []string, wc int) (x, y series, err error) {
	for run := range b.runs {
		for n := range 2 {
			i := (n + run) % 2
			images := [][]string{a, c}[i]
			v, done, err := b.own("pair")
			if err == nil {
				v.workers = []int{wa, wc}[i]
				var m measure
				m, err = v.backupAll(b.ctx, images, nil)
				if i == 0 {
					x = append(x, m)
				} else {
					y = append(y, m)
				}
			}
			done()
			if err != nil {
				return nil, nil, err
			}
		}
	}
	return x, y, nil
}

// split copies a file into n others.
func split(path string, size int64, n int) (parts []string, remove func(), err error) {
	remove = func() {
		for _, p := range parts {
			_ = os.Remove(p)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, remove, err
	}
	defer f.Close() //nolint:errcheck // read only
	for i := range n {
		part := path + strconv.Itoa(i)
		parts = append(parts, part)
		// Piece by piece: what this process has had in memory counts as had by
		// those that it starts.
		dst, err := os.Create(part)
		if err != nil {
			return parts, remove, err
		}
		_, err = io.CopyN(dst, f, size/int64(n))
		if err := errors.Join(err, dst.Close()); err != nil {
			return parts, remove, err
		}
	}
	return parts, remove, nil
}
