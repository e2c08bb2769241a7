package vcenter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
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

// makeSparse creates a file of size bytes that takes no space.
func makeSparse(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// copySparse copies the data of the file src into the existing file dst and
// leaves holes and zeros out.
func copySparse(dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	data, err := dataRanges(in, fi.Size())
	if err != nil {
		return fmt.Errorf("%s: find holes: %w", src, err)
	}
	out, err := os.OpenFile(dst, os.O_WRONLY, 0)
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
