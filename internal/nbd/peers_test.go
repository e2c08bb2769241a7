package nbd_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/nbd"
)

// leaks fails the test if goroutines of this package are left at its end.
func leaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var stacks string
		for range 100 {
			buf := make([]byte, 1<<20)
			stacks = string(buf[:runtime.Stack(buf, true)])
			if !strings.Contains(stacks, "internal/nbd.(") {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("goroutines are left:\n%s", stacks)
	})
}

// socket returns a path for a Unix socket; they must be short.
func socket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// start runs a server until the test ends, and waits until it listens.
func start(t testing.TB, sock, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // what it leaves when it is killed
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stderr, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(2 * time.Second): // one that was stopped
			_ = cmd.Process.Kill()
			<-done
		}
		if t.Failed() {
			t.Logf("%s: %s", program, stderr.String())
		}
	})
	for {
		select {
		case <-done:
			t.Fatalf("%s: %s", program, stderr.String())
		case <-time.After(5 * time.Millisecond):
		}
		if conn, err := net.Dial("unix", sock); err == nil {
			_ = conn.Close()
			return cmd
		}
	}
}

// nbdkit runs nbdkit with the given arguments and returns its socket.
func nbdkit(t testing.TB, args ...string) string {
	t.Helper()
	sock := socket(t)
	start(t, sock, "nbdkit", append([]string{"-f", "-U", sock}, args...)...)
	return sock
}

// dial connects to a server and disconnects when the test ends.
func dial(t testing.TB, sock string, o nbd.Options) *nbd.Client {
	t.Helper()
	c, err := nbd.Dial(t.Context(), "unix", sock, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// noise returns n bytes that do not repeat.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = src.Read(b)
	return b
}

// file writes a file of the given size with pieces of content in it.
func file(t testing.TB, size int64, pieces map[int64][]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for off, b := range pieces {
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// soon is a context that ends when the test has waited too long.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// stop holds a server still, as a host that hangs does.
func stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

// pair returns both ends of a connection, one of them for a child process.
func pair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	ours, theirs, err := nbd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}
