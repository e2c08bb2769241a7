package vcenter

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

var zeroBlock [blockSize]byte

func isZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), blockSize)
		if !bytes.Equal(p[:n], zeroBlock[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

// readZero fills p from f; what lies past the end of the file reads as
// zeros.
func readZero(f io.ReaderAt, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	clear(p[n:])
	return nil
}

// copySparse copies the data of the file src into the existing file dst and
// leaves holes and zeros out.
func copySparse(dst, src string) (err error) {
	in, err := vdisk.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	data, err := dataRanges(in, in.Size())
	if err != nil {
		return fmt.Errorf("%s: find holes: %w", src, err)
	}
	out, err := vdisk.OpenWriter(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf := make([]byte, 16*blockSize)
	for _, r := range data {
		for off := r.Offset; off < r.End(); {
			p := buf[:min(int64(len(buf)), r.End()-off)]
			if err := readZero(in, p, off); err != nil {
				return err
			}
			if err := writeSparse(out, p, off); err != nil {
				return err
			}
			off += int64(len(p))
		}
	}
	return nil
}

// dataRanges returns where the first size bytes of f hold data.
func dataRanges(f *vdisk.File, size int64) ([]Range, error) {
	found, err := f.Ranges(size)
	out := make([]Range, len(found))
	for i, r := range found {
		out[i] = Range(r)
	}
	return out, err
}

// writeSparse writes to a fresh file, leaving blocks of zeros as holes.
func writeSparse(out io.WriterAt, p []byte, off int64) error {
	for len(p) > 0 {
		n := min(len(p), blockSize-int(off%blockSize))
		if !isZero(p[:n]) {
			if _, err := out.WriteAt(p[:n], off); err != nil {
				return err
			}
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}
