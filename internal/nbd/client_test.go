package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/nbd"
)

const mib = 1 << 20

// Servers that take writes, each with a disk of 16 MiB that is empty.
var writable = []struct {
	name string
	run  func(t *testing.T) string
}{
	{"nbdkit memory", func(t *testing.T) string { return nbdkit(t, "memory", "16M") }},
	{"nbdkit memory without structured replies", func(t *testing.T) string { return nbdkit(t, "--no-sr", "memory", "16M") }},
	{"nbdkit file", func(t *testing.T) string { return nbdkit(t, "file", file(t, 16*mib, nil)) }},
	{"nbdkit with blocks of 4 KiB", func(t *testing.T) string {
		return nbdkit(t, "--filter=blocksize-policy", "memory", "16M", "blocksize-minimum=4096",
			"blocksize-preferred=65536", "blocksize-maximum=131072", "blocksize-error-policy=error")
	}},
	{"nbdkit without write zeroes", func(t *testing.T) string {
		return nbdkit(t, "--filter=nozero", "memory", "16M", "zeromode=none")
	}},
	{"qemu-nbd", func(t *testing.T) string {
		sock := socket(t)
		start(t, sock, "qemu-nbd", "-f", "raw", "-k", sock, "--persistent", "--shared=8", "--discard=unmap", file(t, 16*mib, nil))
		return sock
	}},
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, server := range writable {
		for _, connections := range []int{1, 4} {
			t.Run(server.name, func(t *testing.T) {
				leaks(t)
				c := dial(t, server.run(t), nbd.Options{Connections: connections})
				if c.ReadOnly() || c.Size() != 16*mib {
					t.Fatalf("got read-only %v, size %d", c.ReadOnly(), c.Size())
				}
				least, _, _ := c.BlockSizes()
				want := make([]byte, c.Size())
				work(t, c, want, least)
				got := make([]byte, len(want))
				if err := c.ReadAt(t.Context(), got, 0); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Error("the disk differs")
				}
				if err := c.ReadAt(t.Context(), got[:10001], 12345); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got[:10001], want[12345:12345+10001]) {
					t.Error("a piece that begins and ends within blocks differs")
				}
				holes(t, c, want)
			})
		}
	}
}

// work writes, zeroes and trims at the same time, each in a part of its own,
// and keeps in disk what should be there then.
func work(t *testing.T, c *nbd.Client, disk []byte, least int64) {
	t.Helper()
	ctx := t.Context()
	const parts = 16
	var all sync.WaitGroup
	for part := range int64(parts) {
		all.Go(func() {
			size := int64(len(disk)) / parts
			from := part * size
			random := rand.New(rand.NewPCG(1, uint64(part)))
			for range 12 {
				off := random.Int64N(size/least) * least
				n := min((1+random.Int64N(2*mib/least))*least, size-off)
				p := disk[from+off:][:n]
				var err error
				switch random.IntN(4) {
				case 0:
					clear(p)
					err = c.Zero(ctx, extent.Extent{Offset: from + off, Length: n})
				case 1:
					copy(p, noise(int(n), uint64(part)))
					err = c.WriteThrough(ctx, p, from+off)
				case 2: // What was trimmed is written, so that it is known.
					copy(p, noise(int(n), uint64(part)+7))
					if err = c.Trim(ctx, extent.Extent{Offset: from + off, Length: n}); err == nil {
						err = c.WriteAt(ctx, p, from+off)
					}
				default:
					copy(p, noise(int(n), uint64(part)+77))
					err = c.WriteAt(ctx, p, from+off)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := c.Flush(ctx); err != nil {
		t.Error(err)
	}
}

// holes checks that what Extents leaves out is zeros.
func holes(t *testing.T, c *nbd.Client, disk []byte) {
	t.Helper()
	for _, within := range []extent.Extent{{Offset: 0, Length: int64(len(disk))}, {Offset: 12345, Length: 54321}} {
		set, err := c.Extents(t.Context(), within)
		if err != nil {
			t.Fatal(err)
		}
		if left := set.Subtract(extent.Of(within)); len(left) > 0 {
			t.Errorf("outside of %v: %v", within, left)
		}
		for _, hole := range extent.Of(within).Subtract(set) {
			if p := disk[hole.Offset:hole.End()]; len(bytes.TrimLeft(p, "\x00")) > 0 {
				t.Errorf("a hole with data: %v", hole)
			}
		}
	}
}

func TestExtents(t *testing.T) {
	data := noise(mib, 1)
	path := file(t, 64*mib, map[int64][]byte{4 * mib: data, 20 * mib: data, 64*mib - 65536: data[:65536]})
	want := extent.Set{{Offset: 4 * mib, Length: mib}, {Offset: 20 * mib, Length: mib}, {Offset: 64*mib - 65536, Length: 65536}}
	for _, c := range []struct {
		name string
		sock func() string
		want extent.Set
	}{
		{"nbdkit", func() string { return nbdkit(t, "-r", "file", path) }, want},
		{"qemu-nbd", func() string {
			sock := socket(t)
			start(t, sock, "qemu-nbd", "-r", "-f", "raw", "-k", sock, "--persistent", path)
			return sock
		}, want},
		{"a server that does not know", func() string { return nbdkit(t, "-r", "--no-sr", "file", path) },
			extent.Set{{Offset: 0, Length: 64 * mib}}},
		{"a server that tells of one extent at a time", func() string {
			return nbdkit(t, "-r", "eval", "get_size=echo 64M", "pread=dd if=/dev/zero count=$3 iflag=count_bytes",
				"can_extents=exit 0", `extents=case $4 in 4194304) t=;; 20971520) t=;; 67043328) t=;; *) t=hole,zero;; esac
				off=$4; for e in 4194304 5242880 20971520 22020096 67043328 67108864; do [ $e -gt $off ] && break; done
				echo $off $((e-off)) $t`)
		}, want},
	} {
		t.Run(c.name, func(t *testing.T) {
			leaks(t)
			client := dial(t, c.sock(), nbd.Options{})
			got, err := client.Extents(t.Context(), extent.Extent{Offset: 0, Length: client.Size()})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestExtentsOfAHugeDisk(t *testing.T) {
	leaks(t)
	const size = 2 << 40
	c := dial(t, nbdkit(t, "memory", "2T"), nbd.Options{})
	if err := c.WriteAt(t.Context(), noise(65536, 1), size-65536); err != nil {
		t.Fatal(err)
	}
	got, err := c.Extents(t.Context(), extent.Extent{Offset: 0, Length: size})
	if err != nil {
		t.Fatal(err)
	}
	if want := (extent.Set{{Offset: size - 65536, Length: 65536}}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRefusals(t *testing.T) {
	ro := dial(t, nbdkit(t, "-r", "memory", "1M"), nbd.Options{})
	rw := dial(t, nbdkit(t, "--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=512",
		"blocksize-error-policy=error", "blocksize-preferred=4096", "blocksize-maximum=1M"), nbd.Options{})
	bad := dial(t, nbdkit(t, "--filter=error", "memory", "1M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%",
		"error-pread=EIO", "error-pread-rate=100%", "error-zero=EPERM", "error-zero-rate=100%"), nbd.Options{})
	ctx := t.Context()
	b := make([]byte, 4096)
	for _, c := range []struct {
		name string
		do   func() error
		want nbd.Code
	}{
		{"a write to a read-only export", func() error { return ro.WriteAt(ctx, b, 0) }, nbd.EPERM},
		{"zeros to a read-only export", func() error { return ro.Zero(ctx, extent.Extent{Offset: 0, Length: 512}) }, nbd.EPERM},
		{"a trim of a read-only export", func() error { return ro.Trim(ctx, extent.Extent{Offset: 0, Length: 512}) }, nbd.EPERM},
		{"a read beyond the end", func() error { return ro.ReadAt(ctx, b, mib-1) }, nbd.EINVAL},
		{"a read before the beginning", func() error { return ro.ReadAt(ctx, b, -1) }, nbd.EINVAL},
		{"extents beyond the end", func() error {
			_, err := ro.Extents(ctx, extent.Extent{Offset: mib - 1, Length: 2})
			return err
		}, nbd.EINVAL},
		{"a write of half a block", func() error { return rw.WriteAt(ctx, b[:100], 0) }, nbd.EINVAL},
		{"a write from within a block", func() error { return rw.WriteAt(ctx, b[:512], 100) }, nbd.EINVAL},
		{"zeros of half a block", func() error { return rw.Zero(ctx, extent.Extent{Offset: 0, Length: 100}) }, nbd.EINVAL},
		{"what the server says of a read", func() error { return bad.ReadAt(ctx, b, 0) }, nbd.EIO},
		{"what the server says of a write", func() error { return bad.WriteAt(ctx, b, 0) }, nbd.ENOSPC},
		{"what the server says of zeros", func() error { return bad.Zero(ctx, extent.Extent{Offset: 0, Length: 512}) }, nbd.EPERM},
	} {
		t.Run(c.name, func(t *testing.T) {
			var refusal *nbd.Error
			if err := c.do(); !errors.As(err, &refusal) || refusal.Code != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if err := ro.ReadAt(ctx, b, 0); err != nil {
		t.Errorf("after refusals: %v", err)
	}
}

func TestSomeReadsFailAndTheOthersDoNot(t *testing.T) {
	leaks(t)
	data := noise(8*mib, 3)
	c := dial(t, nbdkit(t, "--filter=error", "file", file(t, int64(len(data)), map[int64][]byte{0: data}),
		"error-pread=EIO", "error-pread-rate=30%"), nbd.Options{})
	var good, bad int
	for range 200 {
		got := make([]byte, 65536)
		off := rand.Int64N(8*mib - 65536)
		err := c.ReadAt(t.Context(), got, off)
		var refusal *nbd.Error
		switch {
		case err == nil:
			good++
			if !bytes.Equal(got, data[off:off+65536]) {
				t.Fatal("a read differs")
			}
		case errors.As(err, &refusal) && refusal.Code == nbd.EIO:
			bad++
		default:
			t.Fatal(err)
		}
	}
	if good == 0 || bad == 0 {
		t.Errorf("got %d good reads and %d bad ones", good, bad)
	}
}

func TestACancelledCallLeavesTheClientUsable(t *testing.T) {
	leaks(t)
	data := noise(64*mib, 4)
	c := dial(t, nbdkit(t, "--filter=delay", "file", file(t, int64(len(data)), map[int64][]byte{0: data}), "rdelay=20ms", "wdelay=20ms"), nbd.Options{})
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(9, uint64(worker)))
			for range 20 {
				n := 1 + random.IntN(4*mib)
				off := random.Int64N(64*mib - int64(n))
				got := make([]byte, n)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(60))*time.Millisecond)
				err := c.ReadAt(ctx, got, off)
				cancel()
				switch {
				case err == nil:
					if !bytes.Equal(got, data[off:off+int64(n)]) {
						t.Error("a read differs")
					}
				case errors.Is(err, context.DeadlineExceeded):
					// Whoever gave up may use the buffer for something else.
					before := noise(n, uint64(worker))
					copy(got, before)
					time.Sleep(5 * time.Millisecond)
					if !bytes.Equal(got, before) {
						t.Error("a buffer was written to after its read was given up")
					}
				default:
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got := make([]byte, len(data))
	if err := c.ReadAt(soon(t), got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("after calls were given up: %v", err)
	}
}

func TestAServerThatDies(t *testing.T) {
	leaks(t)
	sock := socket(t)
	cmd := start(t, sock, "nbdkit", "-f", "-U", sock, "--filter=delay", "memory", "1G", "rdelay=20")
	c := dial(t, sock, nbd.Options{})
	failed := make(chan error)
	for i := range int64(4) {
		go func() { failed <- c.ReadAt(soon(t), make([]byte, 8*mib), i*8*mib) }()
	}
	time.Sleep(100 * time.Millisecond)
	_ = cmd.Process.Kill()
	for range 4 {
		if err := <-failed; !errors.Is(err, nbd.ErrDisconnected) {
			t.Errorf("got %v, want %v", err, nbd.ErrDisconnected)
		}
	}
	if err := c.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, nbd.ErrDisconnected) {
		t.Errorf("a call afterwards: got %v, want %v", err, nbd.ErrDisconnected)
	}
}

func TestAServerThatHangs(t *testing.T) {
	leaks(t)
	sock := socket(t)
	cmd := start(t, sock, "nbdkit", "-f", "-U", sock, "memory", "1G")
	c := dial(t, sock, nbd.Options{Timeout: time.Second})
	if err := c.ReadAt(t.Context(), make([]byte, 1), 0); err != nil {
		t.Fatal(err)
	}
	stop(t, cmd)
	for name, do := range map[string]func() error{
		"read":  func() error { return c.ReadAt(t.Context(), make([]byte, 64*mib), 0) },
		"write": func() error { return c.WriteAt(t.Context(), make([]byte, 64*mib), 0) },
		"flush": func() error { return c.Flush(t.Context()) },
		"dial": func() error {
			_, err := nbd.Dial(t.Context(), "unix", sock, nbd.Options{Timeout: time.Second})
			return err
		},
	} {
		if err := do(); !errors.Is(err, nbd.ErrTimeout) {
			t.Errorf("%s: got %v, want %v", name, err, nbd.ErrTimeout)
		}
	}
}

func TestCloseWaitsForWhatIsUnderWay(t *testing.T) {
	leaks(t)
	disk := &slowDisk{size: 64 * mib, hold: make(chan struct{})}
	c := dial(t, serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{{Backend: disk}}})), nbd.Options{})
	read, closed := make(chan error, 1), make(chan error, 1)
	go func() { read <- c.ReadAt(soon(t), make([]byte, 32*mib), 0) }()
	until(t, "16 reads at a time", func() bool { return disk.calls.Load() == 16 })
	go func() { closed <- c.Close() }()
	until(t, "no new calls", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		return errors.Is(c.ReadAt(ctx, make([]byte, 1), 0), nbd.ErrClosed)
	})
	select {
	case <-closed:
		t.Error("Close did not wait for a read")
	default:
	}
	close(disk.hold)
	if err := <-read; err != nil { // half of which was not sent yet
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestDialRefusals(t *testing.T) {
	leaks(t)
	qemu := socket(t)
	start(t, qemu, "qemu-nbd", "-f", "raw", "-k", qemu, "-x", "here", "--persistent", file(t, mib, nil))
	for _, c := range []struct {
		name, sock, export, want string
	}{
		{"an export that is not there", qemu, "there", `export "there"`},
		{"no server", socket(t), "", "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := nbd.Dial(t.Context(), "unix", c.sock, nbd.Options{Export: c.export})
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
		})
	}
	var refusal *nbd.Refusal
	_, err := nbd.Dial(t.Context(), "unix", qemu, nbd.Options{Export: "there"})
	if !errors.As(err, &refusal) || refusal.Code != 6 || errors.Is(err, nbd.ErrDisconnected) {
		t.Errorf("got %v, want an unknown export", err)
	}
	dial(t, qemu, nbd.Options{Export: "here"})
}

func TestAConnectionThatIsThere(t *testing.T) {
	leaks(t)
	ours, theirs := pair(t)
	cmd := exec.Command("nbdkit", "-s", "memory", "1M")
	cmd.Stdin, cmd.Stdout = theirs, theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	c, err := nbd.NewClient(t.Context(), ours, nbd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WriteAt(t.Context(), noise(4096, 1), 4096); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server, which ends with its connection: %v", err)
	}
}
