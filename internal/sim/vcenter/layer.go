package vcenter

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// A layer is one link of a disk's chain: a descriptor and the extent file
// beside it. A base layer holds the whole disk as raw bytes. A delta holds,
// at the same offsets, the blocks that were written since its parent was
// frozen.
type layer struct {
	file   dsPath // of the descriptor
	dir    string // of both files, in the host's file system
	parent *layer // nil for a base
	thin   bool
	uuid   string
	cid    uint32

	// refs and children are guarded by store.mu.
	refs     int // disks and snapshots that use the layer itself
	children int // layers on top

	unmade  atomic.Bool // its files are not there yet
	making  sync.Mutex
	content content // of files that are to be made

	mu   sync.RWMutex
	size int64
	have blockSet // of a delta: blocks that are here, not in the parent
}

func (l *layer) descriptorPath() string { return filepath.Join(l.dir, l.file.base()) }
func (l *layer) extentPath() string     { return filepath.Join(l.dir, l.extentName()) }

func (l *layer) extentName() string {
	if l.parent != nil {
		return l.file.stem() + "-delta.vmdk"
	}
	return l.file.stem() + "-flat.vmdk"
}

func (l *layer) capacity() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.size
}

func (l *layer) writeDescriptor() error {
	return os.WriteFile(l.descriptorPath(), l.describe().encode(), 0o600)
}

func (l *layer) describe() descriptor {
	d := descriptor{size: l.capacity(), extent: l.extentName(), kind: "vmfs", thin: l.thin, uuid: l.uuid, cid: l.cid}
	if l.parent != nil {
		d.kind, d.parent = "vmfsSparse", l.parent.file.base()
		if l.parent.dir != l.dir {
			d.parent = l.parent.file.String()
		}
	}
	return d
}

// ReadAt reads the disk as it looks with l as its top.
func (l *layer) ReadAt(p []byte, off int64) (int, error) {
	size := l.capacity()
	if off < 0 || off >= size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), size-off))
	if err := l.read(p[:n], off); err != nil {
		return 0, fmt.Errorf("disk %s: read at %d: %w", l.file, off, err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (l *layer) read(p []byte, off int64) error {
	if l.parent == nil {
		return l.readOwn(p, off)
	}
	for len(p) > 0 {
		n, here := l.run(off, len(p))
		var err error
		if here {
			err = l.readOwn(p[:n], off)
		} else {
			err = l.parent.read(p[:n], off)
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// run tells how many of the n bytes at off come from the same place, and
// whether it is this delta.
func (l *layer) run(off int64, n int) (int, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	block := off / blockSize
	here := l.have.has(block)
	end := off + int64(n)
	for block++; block*blockSize < end && l.have.has(block) == here; block++ {
	}
	return int(min(block*blockSize, end) - off), here
}

func (l *layer) readOwn(p []byte, off int64) error {
	if err := l.make(); err != nil {
		return err
	}
	f, err := vdisk.Open(l.extentPath())
	if err != nil {
		return err
	}
	defer f.Close()
	return readZero(f, p, off)
}

// WriteAt writes to the top of a disk.
func (l *layer) WriteAt(p []byte, off int64) (int, error) {
	if size := l.capacity(); off < 0 || off+int64(len(p)) > size {
		return 0, fmt.Errorf("disk %s: write of %d bytes at %d: past the end at %d", l.file, len(p), off, size)
	}
	if err := l.make(); err != nil {
		return 0, err
	}
	f, err := vdisk.OpenWriter(l.extentPath())
	if err != nil {
		return 0, fmt.Errorf("disk %s: %w", l.file, err)
	}
	defer f.Close()
	if l.parent != nil {
		if err := l.copyUp(f, off, int64(len(p))); err != nil {
			return 0, fmt.Errorf("disk %s: copy up at %d: %w", l.file, off, err)
		}
	}
	n, err := f.WriteAt(p, off)
	if err == nil && l.parent != nil {
		err = l.mark(f, off, int64(len(p)))
	}
	if err != nil {
		return n, fmt.Errorf("disk %s: write at %d: %w", l.file, off, err)
	}
	return n, nil
}

// copyUp completes the first and last block of a write from the parent.
func (l *layer) copyUp(f io.WriterAt, off, n int64) error {
	size := l.capacity()
	buf := make([]byte, blockSize)
	for block := off / blockSize; block*blockSize < off+n; block++ {
		at := block * blockSize
		end := min(at+blockSize, size)
		l.mu.RLock()
		here := l.have.has(block)
		l.mu.RUnlock()
		if here {
			continue
		}
		if at < off || end > off+n {
			b := buf[:end-at]
			if err := l.parent.read(b, at); err != nil {
				return err
			}
			if _, err := f.WriteAt(b, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// mark notes, in memory and behind the content in the extent file, that the
// blocks of a write are here. A server that comes back finds them there.
func (l *layer) mark(f io.WriterAt, off, n int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for first := off / blockSize; first*blockSize < off+n; first = (first>>6 + 1) << 6 {
		word := first >> 6
		old := l.have[word]
		for b := first; b>>6 == word && b*blockSize < off+n; b++ {
			l.have.add(b)
		}
		if l.have[word] != old {
			if err := l.writeMap(f, word); err != nil {
				return err
			}
		}
	}
	return nil
}

// mapStart is where a delta's map of blocks lies in its extent file.
func (l *layer) mapStart() int64 { return (l.size + blockSize - 1) / blockSize * blockSize }

func (l *layer) writeMap(f io.WriterAt, word int64) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], l.have[word])
	_, err := f.WriteAt(b[:], l.mapStart()+8*word)
	return err
}

// readMap is the map that an earlier server left in the extent file.
func (l *layer) readMap() (blockSet, error) {
	f, err := vdisk.Open(l.extentPath())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	start := l.mapStart()
	words := (l.size + 64*blockSize - 1) / (64 * blockSize)
	data, err := dataRanges(f, start+8*words)
	if err != nil {
		return nil, err
	}
	have := blockSet{}
	buf := make([]byte, blockSize)
	for _, r := range align(data, 8, start+8*words) {
		for off := max(r.Offset, start); off < r.End(); off += int64(len(buf)) {
			p := buf[:min(int64(len(buf)), r.End()-off)]
			if err := readZero(f, p, off); err != nil {
				return nil, err
			}
			for i := 0; i+8 <= len(p); i += 8 {
				if v := binary.LittleEndian.Uint64(p[i:]); v != 0 {
					have[(off-start)/8+int64(i/8)] = v
				}
			}
		}
	}
	return have, nil
}

// data returns where the disk may hold something other than zeros.
func (l *layer) data() ([]Range, error) {
	size := l.capacity()
	if l.parent == nil {
		if err := l.make(); err != nil {
			return nil, err
		}
		f, err := vdisk.Open(l.extentPath())
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return dataRanges(f, size)
	}
	below, err := l.parent.data()
	if err != nil {
		return nil, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return normalize(append(below, l.have.ranges(size)...)), nil
}

// absorb writes the blocks of the delta child, which lies directly on l,
// into l.
func (l *layer) absorb(child *layer) error {
	in, err := vdisk.Open(child.extentPath())
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := vdisk.OpenWriter(l.extentPath())
	if err != nil {
		return err
	}
	defer out.Close()
	child.mu.RLock()
	blocks := child.have.ranges(child.size)
	child.mu.RUnlock()
	buf := make([]byte, 16*blockSize)
	for _, r := range blocks {
		for off := r.Offset; off < r.End(); {
			p := buf[:min(int64(len(buf)), r.End()-off)]
			if err := readZero(in, p, off); err != nil {
				return err
			}
			if _, err := out.WriteAt(p, off); err != nil {
				return err
			}
			off += int64(len(p))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parent == nil {
		return nil
	}
	l.have.union(child.have)
	for word := range child.have {
		if err := l.writeMap(out, word); err != nil {
			return err
		}
	}
	return nil
}

// grow extends a base layer.
func (l *layer) grow(size int64) error {
	if err := vdisk.Truncate(l.extentPath(), size); err != nil {
		return err
	}
	l.mu.Lock()
	l.size = size
	l.mu.Unlock()
	return l.writeDescriptor()
}

func (l *layer) root() *layer {
	for l.parent != nil {
		l = l.parent
	}
	return l
}

// above tells whether other is l or lies below it.
func (l *layer) above(other *layer) bool {
	for ; l != nil; l = l.parent {
		if l == other {
			return true
		}
	}
	return false
}

func (l *layer) depth() int {
	n := 0
	for p := l.parent; p != nil; p = p.parent {
		n++
	}
	return n
}
