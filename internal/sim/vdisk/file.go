package vdisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// SegmentSize is how many bytes of a disk go into one file. ext4 ends
	// at 16 TiB.
	SegmentSize = 8 << 40
	// MaxSize is the size of the largest disk that vSphere makes
	// ("vSphere configuration maximums": 62 TB).
	MaxSize = 62 << 40
)

// A Range is a byte range [Offset, Offset+Length) of a disk.
type Range struct{ Offset, Length int64 }

// End is the offset of the first byte after the range.
func (r Range) End() int64 { return r.Offset + r.Length }

// A File is the open content of a disk. Its methods may be called
// concurrently, but for Close.
type File struct {
	path  string
	flag  int
	first *os.File // most disks have no other segment
}

// segment is the path of the i-th file of a disk. Those after the first are
// hidden from whoever lists the folder: there they are one file.
func segment(path string, i int64) string {
	if i == 0 {
		return path
	}
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%03d", filepath.Base(path), i))
}

// Create makes the files of a disk of size bytes, which take no space. It
// fails with fs.ErrExist where there is one already.
func Create(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return Truncate(path, size)
}

// Open opens a disk for reading.
func Open(path string) (*File, error) { return open(path, os.O_RDONLY) }

// OpenWriter opens a disk for reading and writing.
func OpenWriter(path string) (*File, error) { return open(path, os.O_RDWR) }

func open(path string, flag int) (*File, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	return &File{path: path, flag: flag, first: f}, nil
}

// Close ends the use of the file.
func (f *File) Close() error { return f.first.Close() }

// within calls do with each file that a range of the disk lies in, and with
// where it lies there. A file that is missing holds nothing: do is called
// with nil.
func (f *File) within(off, n int64, do func(s *os.File, at int64, from, to int64) error) error {
	for done := int64(0); done < n; {
		i, at := (off+done)/SegmentSize, (off+done)%SegmentSize
		part := min(n-done, SegmentSize-at)
		s := f.first
		if i > 0 {
			var err error
			if s, err = f.open(i); err != nil {
				return err
			}
		}
		err := do(s, at, done, done+part)
		if i > 0 && s != nil {
			err = errors.Join(err, s.Close())
		}
		if err != nil {
			return err
		}
		done += part
	}
	return nil
}

// open opens a segment after the first; one that is to be written to is made.
func (f *File) open(i int64) (*os.File, error) {
	s, err := os.OpenFile(segment(f.path, i), f.flag, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if f.flag == os.O_RDONLY {
		return nil, nil
	}
	if err := f.Truncate(max(i*SegmentSize, f.Size())); err != nil {
		return nil, err
	}
	return os.OpenFile(segment(f.path, i), f.flag|os.O_CREATE, 0o600)
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if off+int64(len(p)) <= SegmentSize {
		return f.first.ReadAt(p, off)
	}
	err = f.within(off, int64(len(p)), func(s *os.File, at, from, to int64) error {
		if s == nil {
			return io.EOF
		}
		got, err := s.ReadAt(p[from:to], at)
		n += got
		return err
	})
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, err
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if off+int64(len(p)) <= SegmentSize {
		return f.first.WriteAt(p, off)
	}
	err = f.within(off, int64(len(p)), func(s *os.File, at, from, to int64) error {
		got, err := s.WriteAt(p[from:to], at)
		n += got
		return err
	})
	return n, err
}

// Size is the length in bytes.
func (f *File) Size() int64 { return Size(f.path) }

// Truncate makes the disk so many bytes long. What is gained takes no space.
func (f *File) Truncate(size int64) error { return Truncate(f.path, size) }

// Ranges returns where the first size bytes hold data, as the file system
// knows it. Neighbours are joined.
func (f *File) Ranges(size int64) ([]Range, error) {
	var all []Range
	err := f.within(0, size, func(s *os.File, _, from, to int64) error {
		if s == nil {
			return nil
		}
		data, err := dataRanges(s, to-from)
		for _, r := range data {
			r.Offset += from
			if n := len(all); n > 0 && all[n-1].End() == r.Offset {
				all[n-1].Length += r.Length
				continue
			}
			all = append(all, r)
		}
		return err
	})
	return all, err
}

// each calls do with the paths of the files of a disk that are there.
func each(path string, do func(i int64, fi fs.FileInfo) error) error {
	for i := int64(0); ; i++ {
		fi, err := os.Lstat(segment(path, i))
		if errors.Is(err, fs.ErrNotExist) && i > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(i, fi); err != nil {
			return err
		}
		if i == 0 && fi.Size() < SegmentSize {
			return nil // the usual case: no more looking
		}
	}
}

// Size is the length of a disk in bytes, 0 if there is none.
func Size(path string) int64 {
	var size int64
	_ = each(path, func(i int64, fi fs.FileInfo) error {
		size = i*SegmentSize + fi.Size()
		return nil
	})
	return size
}

// Allocated is how many bytes a disk takes on its file system.
func Allocated(path string) int64 {
	var size int64
	_ = each(path, func(_ int64, fi fs.FileInfo) error {
		size += allocated(fi)
		return nil
	})
	return size
}

// Truncate makes a disk so many bytes long. What is gained takes no space.
func Truncate(path string, size int64) error {
	if size < 0 {
		return fs.ErrInvalid
	}
	if size <= SegmentSize {
		if err := removeFrom(path, 1); err != nil {
			return err
		}
		return os.Truncate(path, size)
	}
	last := (size - 1) / SegmentSize
	for i := int64(0); i <= last; i++ {
		f, err := os.OpenFile(segment(path, i), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(min(size-i*SegmentSize, SegmentSize)), f.Close()); err != nil {
			return err
		}
	}
	return removeFrom(path, last+1)
}

// removeFrom removes the i-th file and those after it.
func removeFrom(path string, i int64) error {
	for ; ; i++ {
		err := os.Remove(segment(path, i))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Remove removes a disk. The first file goes last, so that what is left by
// one that is cut short can be removed again.
func Remove(path string) error {
	if err := removeFrom(path, 1); err != nil {
		return err
	}
	return os.Remove(path)
}

// Rename puts a disk in the place of another.
func Rename(from, to string) error {
	if err := removeFrom(to, 1); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	for i := int64(1); ; i++ {
		err := os.Rename(segment(from, i), segment(to, i))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
