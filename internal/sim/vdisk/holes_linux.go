package vdisk

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

const (
	seekData = 3
	seekHole = 4
)

// dataRanges returns where f holds data, as its file system knows it.
func dataRanges(f *os.File, size int64) ([]Range, error) {
	var out []Range
	for off := int64(0); off < size; {
		from, err := f.Seek(off, seekData)
		if errors.Is(err, syscall.ENXIO) {
			break
		}
		if errors.Is(err, syscall.EINVAL) {
			return []Range{{0, size}}, nil // a file system that does not know
		}
		if err != nil {
			return nil, err
		}
		to, err := f.Seek(from, seekHole)
		if err != nil {
			return nil, err
		}
		if to = min(to, size); to <= from {
			break
		}
		out = append(out, Range{from, to - from})
		off = to
	}
	return out, nil
}

// allocated is how many bytes a file takes on its file system.
func allocated(fi fs.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return fi.Size()
}
