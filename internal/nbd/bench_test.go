package nbd_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/nbd"
)

// against runs ours and theirs in turns and reports the median of the ratios
// of their times. One round before them warms the page cache.
func against(b *testing.B, bytes int64, theirs, ours func()) {
	b.Helper()
	ours()
	theirs()
	b.SetBytes(2 * bytes)
	var ratios []float64
	for b.Loop() {
		begun := time.Now()
		theirs()
		between := time.Now()
		ours()
		ratios = append(ratios, time.Since(between).Seconds()/between.Sub(begun).Seconds())
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "of-their-time")
}

// quietly runs a program without looking at what it says.
func quietly(b *testing.B, program string, args ...string) {
	b.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: %s", program, err, out)
	}
}

// BenchmarkClient reads a disk in pieces of 1 MiB from a server that takes 2 ms
// for every call, and nothing else, against nbdcopy with what it does by
// default. VDDK's plugin is one without multi-conn.
func BenchmarkClient(b *testing.B) {
	const size = 3 << 30
	for _, mode := range []string{"disable", "auto"} {
		b.Run("multi-conn="+mode, func(b *testing.B) {
			sock := nbdkit(b, "-r", "--filter=multi-conn", "--filter=noextents", "--filter=delay", "memory", "3G", "rdelay=2ms", "multi-conn-mode="+mode)
			against(b, size, func() { quietly(b, "nbdcopy", uri(sock, ""), "null:") }, func() {
				c, err := nbd.Dial(b.Context(), "unix", sock, nbd.Options{Connections: 4})
				if err != nil {
					b.Fatal(err)
				}
				var at atomic.Int64
				var readers sync.WaitGroup
				for range 16 {
					readers.Go(func() {
						p := make([]byte, mib)
						for off := at.Add(mib) - mib; off < size; off = at.Add(mib) - mib {
							if err := c.ReadAt(b.Context(), p, off); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				readers.Wait()
				if err := c.Close(); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkServer has nbdcopy copy a sparse disk from a server, against the
// same from nbdkit's file plugin.
func BenchmarkServer(b *testing.B) {
	const size, stretch = 4 << 30, 16 << 20
	pieces := make(map[int64][]byte)
	for off := int64(0); off < size; off += 8 * stretch {
		pieces[off] = noise(2*stretch, uint64(off>>20)) // a quarter holds data
	}
	path := file(b, size, pieces)
	theirs := nbdkit(b, "-r", "file", path)
	ours := serve(b, &nbd.Server{Exports: []nbd.Export{{Backend: openDisk(b, path), ReadOnly: true}}})
	for _, to := range []string{"null:", filepath.Join(b.TempDir(), "out")} {
		b.Run(filepath.Base(to), func(b *testing.B) {
			against(b, size, func() { quietly(b, "nbdcopy", uri(theirs, ""), to) }, func() { quietly(b, "nbdcopy", uri(ours, ""), to) })
		})
	}
}
