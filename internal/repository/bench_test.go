package repository_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

const benchSize = 256 * block // a quarter each of noise, text, nearly zeros, zeros

// copyBlocks writes the given blocks of img side by side.
func copyBlocks(b *testing.B, d *repository.DiskWriter, img []byte, blocks []int) restorepoint.DiskContent {
	b.Helper()
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0) * 2)
	for _, n := range blocks {
		g.Go(func() error { return d.WriteBlock(b.Context(), int64(n), img[n*block:(n+1)*block]) })
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	c, err := d.Finish(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func benchPoint(b *testing.B, o *repository.Repository, parent *restorepoint.DiskContent, img []byte, blocks []int) restorepoint.DiskContent {
	b.Helper()
	w := newWriter(b, o)
	c := copyBlocks(b, newDisk(b, w, int64(len(img)), parent), img, blocks)
	if err := w.Commit(b.Context(), newPoint(c), nil); err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkOpenRoot is what every process pays before it can read anything;
// Kopia's own derivation of an organization's key comes on top.
func BenchmarkOpenRoot(b *testing.B) {
	for name, secret := range map[string]string{"password": "correct horse battery staple", "generated": repository.NewKey()} {
		b.Run(name, func(b *testing.B) {
			at := repository.Location{Path: b.TempDir()}
			if err := repository.Init(b.Context(), at, secret); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := repository.Open(b.Context(), at, secret, repository.Options{StateDir: b.TempDir()}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func allBlocks() []int {
	blocks := make([]int, benchSize/block)
	for n := range blocks {
		blocks[n] = n
	}
	return blocks
}

// fresh makes every block of img but the zeros new.
func fresh(img []byte, seed int) {
	for at := 0; at < len(img); at += block {
		if at/block%4 != 3 {
			copy(img[at+512:], fmt.Sprintf("%016x", seed))
		}
	}
}

func BenchmarkFull(b *testing.B) {
	o, img := newOrg(b), image(1, benchSize)
	b.SetBytes(benchSize)
	seed := 0
	for b.Loop() {
		seed++
		fresh(img, seed)
		benchPoint(b, o, nil, img, allBlocks())
	}
}

func BenchmarkIncremental(b *testing.B) {
	o, img := newOrg(b), image(1, benchSize)
	c := benchPoint(b, o, nil, img, allBlocks())
	b.SetBytes(benchSize)
	seed := 0
	for b.Loop() {
		var changed []int
		seed++
		for n := seed % 100; n < benchSize/block; n += 100 {
			copy(img[n*block:], fmt.Sprintf("%016x", seed))
			changed = append(changed, n)
		}
		c = benchPoint(b, o, &c, img, changed)
	}
}

func BenchmarkRestore(b *testing.B) {
	o, img := newOrg(b), image(1, benchSize)
	c := benchPoint(b, o, nil, img, allBlocks())
	out := slices.Clone(img)
	b.SetBytes(benchSize)
	for b.Loop() {
		r, err := o.OpenDisk(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		extents, err := r.Extents(b.Context(), extent.Extent{Length: benchSize})
		if err != nil {
			b.Fatal(err)
		}
		var g errgroup.Group
		g.SetLimit(runtime.GOMAXPROCS(0) * 2)
		for _, e := range extents {
			for at := e.Offset; at < e.End(); at += block {
				g.Go(func() error { return r.ReadAt(b.Context(), out[at:at+block], at) })
			}
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}
