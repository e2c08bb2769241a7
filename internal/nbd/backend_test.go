package nbd_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/nbd"
)

// A fileDisk is a Backend that is a file, holes and all.
type fileDisk struct {
	f    *os.File
	size int64
}

func openDisk(t testing.TB, path string) fileDisk {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return fileDisk{f, info.Size()}
}

func (d fileDisk) Size() int64 { return d.size }

func (d fileDisk) ReadAt(_ context.Context, p []byte, off int64) error {
	_, err := d.f.ReadAt(p, off)
	return err
}

func (d fileDisk) WriteAt(_ context.Context, p []byte, off int64) error {
	_, err := d.f.WriteAt(p, off)
	return err
}

func (d fileDisk) Flush(context.Context) error { return d.f.Sync() }

func (d fileDisk) Zero(_ context.Context, e extent.Extent) error {
	const keepSize, punchHole = 1, 2
	if e.Length == 0 {
		return nil
	}
	return syscall.Fallocate(int(d.f.Fd()), keepSize|punchHole, e.Offset, e.Length)
}

func (d fileDisk) Trim(ctx context.Context, e extent.Extent) error { return d.Zero(ctx, e) }

func (d fileDisk) Extents(_ context.Context, within extent.Extent) (extent.Set, error) {
	const seekData, seekHole = 3, 4
	var set extent.Set
	for at := within.Offset; at < within.End(); {
		// Seek by descriptor number: the offset is the kernel's, and each
		// call names its own.
		from, err := syscall.Seek(int(d.f.Fd()), at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			break
		}
		if err != nil {
			return nil, err
		}
		to, err := syscall.Seek(int(d.f.Fd()), from, seekHole)
		if err != nil {
			return nil, err
		}
		set = set.Add(extent.Extent{Offset: from, Length: to - from})
		at = to
	}
	return set.Clip(within), nil
}

// serve serves until the test ends and returns the socket.
func serve(t testing.TB, s *nbd.Server) string {
	t.Helper()
	sock := socket(t)
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return sock
}

// complain makes a server's complaints errors of the test.
func complain(t testing.TB, s *nbd.Server) *nbd.Server {
	s.Failed = func(export string, err error) { t.Errorf("export %q: %v", export, err) }
	return s
}
