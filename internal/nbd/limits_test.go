package nbd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/nbd"
)

// A slowDisk holds its reads until it is let go, and counts them.
type slowDisk struct {
	size  int64
	hold  chan struct{} // nil: does not hold
	held  atomic.Int64  // bytes that are being read
	peak  atomic.Int64
	calls atomic.Int64
	fail  func(off int64) error
}

func (d *slowDisk) Size() int64 { return d.size }

func (d *slowDisk) Extents(_ context.Context, within extent.Extent) (extent.Set, error) {
	return extent.Of(within), nil
}

func (d *slowDisk) ReadAt(ctx context.Context, p []byte, off int64) error {
	now := d.held.Add(int64(len(p)))
	defer d.held.Add(-int64(len(p)))
	for peak := d.peak.Load(); now > peak && !d.peak.CompareAndSwap(peak, now); peak = d.peak.Load() {
	}
	d.calls.Add(1)
	if d.hold != nil {
		select {
		case <-d.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if d.fail != nil {
		return d.fail(off)
	}
	for i := range p {
		p[i] = byte((off + int64(i)) >> 9)
	}
	return nil
}

// until waits for something to become true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%s: not within 20 seconds", what)
		}
	}
}

func TestRequestsAreServedAtTheSameTime(t *testing.T) {
	leaks(t)
	disk := &slowDisk{size: 64 * mib, hold: make(chan struct{})}
	c := dial(t, serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{{Backend: disk}}})), nbd.Options{})
	read := make(chan error)
	go func() { read <- c.ReadAt(soon(t), make([]byte, 16*mib), 0) }()
	until(t, "16 reads at a time", func() bool { return disk.calls.Load() == 16 })
	close(disk.hold)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

func TestAServerThatStopsAnswersWhatIsUnderWay(t *testing.T) {
	leaks(t)
	disk := &slowDisk{size: 64 * mib, hold: make(chan struct{})}
	sock := socket(t)
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- complain(t, &nbd.Server{Exports: []nbd.Export{{Backend: disk}}}).Serve(ctx, l) }()
	c := dial(t, sock, nbd.Options{})
	read := make(chan error)
	go func() { read <- c.ReadAt(soon(t), make([]byte, 8*mib), 0) }()
	until(t, "8 reads at a time", func() bool { return disk.calls.Load() == 8 })
	cancel()
	until(t, "no more connections", func() bool {
		_, err := net.Dial("unix", sock)
		return err != nil
	})
	close(disk.hold)
	if err := <-read; err != nil {
		t.Error(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := c.ReadAt(soon(t), make([]byte, 1), 0); !errors.Is(err, nbd.ErrDisconnected) {
		t.Errorf("a read afterwards: got %v", err)
	}
}

func TestAServerThatStopsWaitsNoLongerThanTheGrace(t *testing.T) {
	leaks(t)
	disk := &slowDisk{size: 64 * mib, hold: make(chan struct{})}
	s := &nbd.Server{Exports: []nbd.Export{{Backend: disk}}, Grace: 50 * time.Millisecond}
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.ServeConn(ctx, theirs) }()
	c, err := nbd.NewClient(t.Context(), ours, nbd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	read := make(chan error)
	go func() { read <- c.ReadAt(soon(t), make([]byte, mib), 0) }()
	until(t, "a read", func() bool { return disk.calls.Load() == 1 })
	cancel()
	if err := <-read; err == nil {
		t.Error("a read that could not be served has no error")
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestErrorsOfABackendReachTheClient(t *testing.T) {
	leaks(t)
	causes := []error{io.ErrUnexpectedEOF, os.ErrPermission, syscall.ENOSPC, &nbd.Error{Code: nbd.EOVERFLOW}, syscall.ENOMEM}
	codes := []nbd.Code{nbd.EIO, nbd.EPERM, nbd.ENOSPC, nbd.EOVERFLOW, nbd.ENOMEM}
	disk := &slowDisk{size: 64 * mib, fail: func(off int64) error { return causes[off/mib] }}
	var mu sync.Mutex
	var told []string
	s := &nbd.Server{Exports: []nbd.Export{{Name: "x", Backend: disk}}, Failed: func(export string, err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, export+": "+err.Error())
	}}
	c := dial(t, serve(t, s), nbd.Options{Export: "x"})
	for i, want := range codes {
		var refusal *nbd.Error
		if err := c.ReadAt(t.Context(), make([]byte, 512), int64(i)*mib); !errors.As(err, &refusal) || refusal.Code != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != len(codes) || told[1] != "x: 512 bytes at 1048576: permission denied" && !strings.Contains(told[1], "permission") {
		t.Errorf("the operator is told %v", told)
	}
}

// wire negotiates by hand, the oldest way that there is, and returns the
// connection in transmission, without structured replies.
func wire(t *testing.T, sock, export string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	put(t, conn, uint32(1), optMagic, uint32(1), uint32(len(export)), export)
	take(t, conn, 18+10+124)
	return conn
}

func put(t *testing.T, conn net.Conn, parts ...any) {
	t.Helper()
	if _, err := conn.Write(words(parts...)); err != nil {
		t.Fatal(err)
	}
}

func take(t *testing.T, conn net.Conn, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// ask is the head of a request.
func ask(flags, cmd uint16, cookie, off uint64, length uint32) []byte {
	return words(uint32(0x25609513), flags, cmd, cookie, off, length)
}

func TestTheOldWayIn(t *testing.T) {
	leaks(t)
	path, content := image(t)
	sock := serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{{Name: "old", Backend: openDisk(t, path)}}}))
	for _, name := range []string{"old", ""} {
		conn := wire(t, sock, name)
		put(t, conn, ask(0, 0, 77, 3*mib, 4096))
		got := take(t, conn, 16+4096)
		if want := words(uint32(0x67446698), uint32(0), uint64(77), content[3*mib:3*mib+4096]); !bytes.Equal(got, want) {
			t.Error("a read differs")
		}
		put(t, conn, ask(0, 0, 78, 1<<40, 4096))
		if got := take(t, conn, 16); binary.BigEndian.Uint32(got[4:]) != uint32(nbd.EINVAL) {
			t.Errorf("a read beyond the end: got %x", got)
		}
		put(t, conn, ask(0, 7, 79, 0, 4096))
		if got := take(t, conn, 16); binary.BigEndian.Uint32(got[4:]) != uint32(nbd.EINVAL) {
			t.Errorf("block status without structured replies: got %x", got)
		}
		put(t, conn, ask(0, 2, 80, 0, 0))
		gone(t, conn)
	}
}

// gone checks that the server hangs up.
func gone(t *testing.T, conn net.Conn) {
	t.Helper()
	b, err := io.ReadAll(conn)
	if len(b) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %x, %v, want the end", b, err)
	}
}

func TestClientsThatBreakTheProtocolAreHungUpOn(t *testing.T) {
	leaks(t)
	path, _ := image(t)
	var told atomic.Int64
	s := &nbd.Server{Exports: []nbd.Export{{Backend: openDisk(t, path)}}, Failed: func(string, error) { told.Add(1) }}
	sock := serve(t, s)
	for name, sent := range map[string][]byte{
		"no request":              make([]byte, 28),
		"a write of 4 GiB":        ask(0, 1, 1, 0, ^uint32(0)),
		"a write of 32 MiB and 1": ask(0, 1, 1, 0, 32<<20+1),
	} {
		t.Run(name, func(t *testing.T) {
			before := told.Load()
			conn := wire(t, sock, "")
			put(t, conn, sent)
			gone(t, conn)
			until(t, "the operator is told", func() bool { return told.Load() == before+1 })
		})
	}
	for name, sent := range map[string][]byte{
		"flags that nobody knows":    words(uint32(8)),
		"a newstyle that is not":     words(uint32(0)),
		"an option that is none":     words(uint32(3), make([]byte, 16)),
		"an option of 4 GiB":         words(uint32(3), optMagic, uint32(7), ^uint32(0)),
		"an export that is not here": words(uint32(3), optMagic, uint32(1), uint32(3), "xyz"),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", sock)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			take(t, conn, 18)
			put(t, conn, sent)
			gone(t, conn)
		})
	}
	for name, sent := range map[string][]byte{
		"half a request":           ask(0, 0, 1, 0, 512)[:20],
		"half a write":             words(ask(0, 1, 1, 0, 4096), make([]byte, 100)),
		"reads that nobody awaits": bytes.Repeat(ask(0, 0, 1, 0, 1<<20), 40),
	} {
		t.Run(name, func(t *testing.T) {
			conn := wire(t, sock, "")
			put(t, conn, sent)
			_ = conn.Close()
		})
	}
	dial(t, sock, nbd.Options{})
}

func TestOptionsThatAreRefused(t *testing.T) {
	leaks(t)
	path, _ := image(t)
	sock := serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{
		{Name: "x", Backend: openDisk(t, path)}, {Name: "blocks", Backend: openDisk(t, path), BlockSize: 512},
	}}))
	conn, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	take(t, conn, 18)
	put(t, conn, uint32(3))
	query := func(name string, count uint32, rest string) []byte {
		return words(uint32(len(name)), name, count, rest)
	}
	for _, c := range []struct {
		name string
		opt  uint32
		data []byte
		want uint32
	}{
		{"an option that nobody knows", 99, nil, 1<<31 + 1},
		{"TLS that is not there", 5, nil, 1<<31 + 2},
		{"a list with data", 3, []byte("x"), 1<<31 + 3},
		{"a context before structured replies", 10, query("x", 0, ""), 1<<31 + 3},
		{"structured replies with data", 8, []byte("x"), 1<<31 + 3},
		{"structured replies", 8, nil, 1},
		{"half a name", 7, words(uint32(9), "x"), 1<<31 + 3},
		{"a name that is too long", 7, words(uint32(5000), make([]byte, 5000), uint16(0)), 1<<31 + 3},
		{"half a list of wishes", 7, words(uint32(1), "x", uint16(2), uint16(3)), 1<<31 + 3},
		{"no list of wishes", 7, words(uint32(1), "x"), 1<<31 + 3},
		{"an export that is not here", 6, words(uint32(1), "y", uint16(0)), 1<<31 + 6},
		{"no name where there are two", 6, words(uint32(0), uint16(0)), 1<<31 + 6},
		{"blocks that nobody asked for", 7, words(uint32(6), "blocks", uint16(0)), 1<<31 + 8},
		{"contexts of an export that is not here", 10, query("y", 0, ""), 1<<31 + 6},
		{"half a query", 10, query("x", 2, "\x00\x00\x00\x01a"), 1<<31 + 3},
		{"4 G queries", 9, query("x", ^uint32(0), ""), 1<<31 + 3},
		{"no context", 10, query("x", 1, "\x00\x00\x00\x01a"), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			put(t, conn, optMagic, c.opt, uint32(len(c.data)), c.data)
			head := take(t, conn, 20)
			take(t, conn, int(binary.BigEndian.Uint32(head[16:])))
			if got := binary.BigEndian.Uint32(head[12:]); got != c.want || binary.BigEndian.Uint32(head[8:]) != c.opt {
				t.Errorf("got %x, want %x", got, c.want)
			}
		})
	}
}

func TestMemoryOfAConnectionIsBounded(t *testing.T) {
	leaks(t)
	disk := &slowDisk{size: 1 << 30, hold: make(chan struct{})}
	sock := serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{{Backend: disk}}, Memory: 40 * mib}))
	conn := wire(t, sock, "")
	// Without structured replies a read is held whole.
	for i := range uint64(8) {
		put(t, conn, ask(0, 0, i, i*16*mib, 16*mib))
	}
	until(t, "two reads", func() bool { return disk.calls.Load() == 2 })
	close(disk.hold)
	take(t, conn, 8*(16+16*mib))
	if peak := disk.peak.Load(); peak > 40*mib {
		t.Errorf("got %d bytes at a time", peak)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	leaks(t)
	sock := serve(t, &nbd.Server{Exports: []nbd.Export{{Backend: &slowDisk{size: mib}}}, Connections: 2})
	first, _ := dial(t, sock, nbd.Options{}), dial(t, sock, nbd.Options{})
	if _, err := nbd.Dial(soon(t), "unix", sock, nbd.Options{}); !errors.Is(err, nbd.ErrDisconnected) {
		t.Errorf("the third: got %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	until(t, "room", func() bool {
		c, err := nbd.Dial(soon(t), "unix", sock, nbd.Options{})
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func TestExportsThatCannotBeServed(t *testing.T) {
	disk := &slowDisk{size: 1000}
	for name, s := range map[string]*nbd.Server{
		"two of a name":               {Exports: []nbd.Export{{Backend: disk}, {Backend: disk}}},
		"a size of no whole blocks":   {Exports: []nbd.Export{{Backend: disk, BlockSize: 512}}},
		"blocks of 3":                 {Exports: []nbd.Export{{Backend: disk, BlockSize: 3}}},
		"blocks of less than nothing": {Exports: []nbd.Export{{Backend: disk, BlockSize: -512}}},
		"a name that is too long":     {Exports: []nbd.Export{{Backend: disk, Name: strings.Repeat("x", 5000)}}},
		"too little memory":           {Exports: []nbd.Export{{Backend: disk}}, Memory: mib},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer func() { _ = ours.Close() }()
			if err := s.ServeConn(t.Context(), theirs); err == nil {
				t.Error("it is served")
			}
		})
	}
}
