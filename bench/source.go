package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/transport"
)

// openSource opens a raw file, or what pattern has named.
func openSource(ctx context.Context, path string) (transport.Source, error) {
	if what, ok := strings.CutPrefix(path, patternPrefix); ok {
		return newPatterned(ctx, what)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &image{f: f, size: info.Size()}, nil
}

// An image is a raw file as a source of a backup.
type image struct {
	f    *os.File
	size int64
	read atomic.Int64
}

func (i *image) Size() int64        { return i.size }
func (i *image) Transferred() int64 { return i.read.Load() }
func (i *image) Close() error       { return i.f.Close() }

func (i *image) ReadAt(_ context.Context, p []byte, off int64) error {
	n, err := i.f.ReadAt(p, off)
	i.read.Add(int64(n))
	return err
}

// Reading implements transport.Pacer. Blocks that are no larger than a
// processor's cache are best where there is no network in between.
func (i *image) Reading() transport.Reading {
	return transport.Reading{Size: mib, Depth: 2 * runtime.GOMAXPROCS(0)}
}

// Extents returns what the file system has written of the range.
func (i *image) Extents(_ context.Context, within extent.Extent) (extent.Set, error) {
	const seekData, seekHole = 3, 4 // lseek(2)
	var set extent.Set
	for off := within.Offset; off < within.End(); {
		start, err := i.f.Seek(off, seekData)
		if err != nil {
			break // ENXIO: nothing but a hole from here on
		}
		end, err := i.f.Seek(start, seekHole)
		if err != nil {
			return nil, fmt.Errorf("%s: seek hole: %w", filepath.Base(i.f.Name()), err)
		}
		if start = min(start, within.End()); start < min(end, within.End()) {
			set = append(set, extent.Extent{Offset: start, Length: min(end, within.End()) - start})
		}
		off = end
	}
	return extent.Of(set...), nil
}

const patternPrefix = "pattern:"

// pattern names a disk that is made up as it is read: its even blocks are
// noise, its odd ones text. Those of "same" are few and come again and again,
// those of any other kind are of that kind alone.
func pattern(size int64, kind string) string {
	return fmt.Sprintf("%s%d:%s", patternPrefix, size, kind)
}

// patterned is a disk that takes no memory, whatever its size.
type patterned struct {
	size   int64
	kind   string
	blocks [][]byte
	read   atomic.Int64
}

func newPatterned(ctx context.Context, what string) (*patterned, error) {
	size, kind, _ := strings.Cut(what, ":")
	bytes, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return nil, err
	}
	text, err := sourceText(ctx)
	if err != nil {
		return nil, err
	}
	p := &patterned{size: bytes, kind: kind}
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 32 {
		b := make([]byte, mib)
		fill(b, 4+3*(n%2), r, text)
		p.blocks = append(p.blocks, b)
	}
	return p, nil
}

func (s *patterned) Size() int64        { return s.size }
func (s *patterned) Transferred() int64 { return s.read.Load() }
func (s *patterned) Close() error       { return nil }

// Reading implements transport.Pacer.
func (s *patterned) Reading() transport.Reading {
	return transport.Reading{Size: mib, Depth: 2 * runtime.GOMAXPROCS(0)}
}

func (s *patterned) Extents(_ context.Context, within extent.Extent) (extent.Set, error) {
	return extent.Of(within), nil
}

func (s *patterned) ReadAt(_ context.Context, p []byte, off int64) error {
	s.read.Add(int64(len(p)))
	for len(p) > 0 {
		n, in := off/mib, off%mib
		k := copy(p, s.blocks[n%int64(len(s.blocks))][in:])
		if s.kind != "same" && in == 0 && k >= 64 {
			// Every few bytes, so that nothing of it was there before.
			for at := 0; at+16 <= k; at += 4096 {
				binary.LittleEndian.PutUint64(p[at:], uint64(n))
				copy(p[at+8:at+16], s.kind)
			}
		}
		p, off = p[k:], off+int64(k)
	}
	return nil
}

// A target is where a restore writes to: a file, or nowhere.
type target interface {
	io.WriterAt
	io.Closer
	Truncate(size int64) error
}

const nowhere = "nowhere:"

func createTarget(path string) (target, error) {
	if path == nowhere {
		return void{}, nil
	}
	return os.Create(path)
}

type void struct{}

func (void) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (void) Truncate(int64) error                   { return nil }
func (void) Close() error                           { return nil }

// availableMemory is what the kernel says can be had, in bytes.
func availableMemory() int64 {
	kib, _, _ := strings.Cut(field("/proc/meminfo", "MemAvailable"), " ")
	n, _ := strconv.ParseInt(kib, 10, 64)
	return n << 10
}
