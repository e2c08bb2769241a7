package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/nbd"
)

// A memoryDisk is a small disk of which every sector that is zeros is a hole.
// It checks that nothing outside of it is asked for.
type memoryDisk struct {
	t  testing.TB
	mu sync.Mutex
	b  []byte
}

func (d *memoryDisk) Size() int64 { return int64(len(d.b)) }

func (d *memoryDisk) within(off, n int64) []byte {
	if off < 0 || n < 0 || off > d.Size()-n {
		d.t.Errorf("%d bytes at %d of a disk of %d", n, off, d.Size())
		return make([]byte, n)
	}
	return d.b[off:][:n]
}

func (d *memoryDisk) ReadAt(_ context.Context, p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(p, d.within(off, int64(len(p))))
	return nil
}

func (d *memoryDisk) WriteAt(_ context.Context, p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.within(off, int64(len(p))), p)
	return nil
}

func (d *memoryDisk) Zero(_ context.Context, e extent.Extent) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.within(e.Offset, e.Length))
	return nil
}

func (d *memoryDisk) Trim(ctx context.Context, e extent.Extent) error { return d.Zero(ctx, e) }

func (d *memoryDisk) Flush(context.Context) error { return nil }

func (d *memoryDisk) Extents(_ context.Context, within extent.Extent) (extent.Set, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.within(within.Offset, within.Length)
	var set extent.Set
	for off := int64(0); off < d.Size(); off += 512 {
		if sector := d.b[off:min(off+512, d.Size())]; !bytes.Equal(sector, make([]byte, len(sector))) {
			set = set.Add(extent.Extent{Offset: off, Length: int64(len(sector))})
		}
	}
	return set.Clip(within), nil
}

// A recorder keeps what is read from a connection.
type recorder struct {
	net.Conn
	read bytes.Buffer
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.read.Write(p[:n])
	return n, err
}

// conversation returns what a client and a server say to each other.
func conversation(f *testing.F) (client, server []byte) {
	ours, theirs := net.Pipe()
	heard, said := &recorder{Conn: theirs}, &recorder{Conn: ours}
	s := &nbd.Server{Exports: []nbd.Export{{Backend: &memoryDisk{t: f, b: make([]byte, 8192)}}}}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ServeConn(context.Background(), heard) }()
	c, err := nbd.NewClient(context.Background(), said, nbd.Options{})
	if err != nil {
		f.Fatal(err)
	}
	ctx := context.Background()
	err = errors.Join(
		c.WriteAt(ctx, noise(1024, 1), 512), c.Flush(ctx), c.Zero(ctx, extent.Extent{Offset: 600, Length: 100}),
		c.Trim(ctx, extent.Extent{Offset: 2048, Length: 512}), c.WriteThrough(ctx, []byte("x"), 8191),
		c.ReadAt(ctx, make([]byte, 8192), 0),
	)
	if _, e := c.Extents(ctx, extent.Extent{Offset: 0, Length: 8192}); err != nil || e != nil || c.Close() != nil {
		f.Fatal(err, e)
	}
	<-done
	return heard.read.Bytes(), said.read.Bytes()
}

// speak plays one side of a conversation and hangs up once all is said and the
// other side has taken it.
func speak(conn net.Conn, words []byte) {
	var listening sync.WaitGroup
	listening.Go(func() { _, _ = io.Copy(io.Discard, conn) })
	_, _ = conn.Write(words)
	_ = conn.Close()
	listening.Wait()
}

// Whatever a client says, the server comes to an end and asks for nothing
// that the disk does not have.
func FuzzServer(f *testing.F) {
	client, _ := conversation(f)
	f.Add(client)
	f.Add(words(uint32(1), optMagic, uint32(1), uint32(0), ask(0, 1, 1, 0, 4), "data", ask(1, 0, 2, 8191, 2), ask(0, 2, 0, 0, 0)))
	f.Fuzz(func(t *testing.T, said []byte) {
		ours, theirs := net.Pipe()
		s := &nbd.Server{Exports: []nbd.Export{{Backend: &memoryDisk{t: t, b: make([]byte, 8192)}}}}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.ServeConn(t.Context(), theirs) }()
		speak(ours, said)
		<-done
	})
}

// Whatever a server says, a client comes to an end, and what it was not told
// of in full has an error.
func FuzzClient(f *testing.F) {
	_, server := conversation(f)
	f.Add(server)
	f.Add(words(greeting, uint16(3), optAnswer(8, 1<<31+1), infos(), simple(0, 1, make([]byte, 4096)), simple(5, 2)))
	f.Fuzz(func(t *testing.T, said []byte) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); speak(theirs, said) }()
		defer func() { <-done }()
		c, err := nbd.NewClient(t.Context(), ours, nbd.Options{Timeout: 10 * time.Second})
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		ctx := t.Context()
		whole := extent.Extent{Offset: 0, Length: min(c.Size(), 1<<20)}
		b := make([]byte, whole.Length)
		_ = c.ReadAt(ctx, b, 0)
		set, err := c.Extents(ctx, whole)
		if err == nil && len(set.Subtract(extent.Of(whole))) > 0 {
			t.Errorf("extents outside of %v: %v", whole, set)
		}
		if c.WriteAt(ctx, b, 0) == nil && c.ReadOnly() && len(b) > 0 {
			t.Error("a read-only disk was written to")
		}
		_ = c.Flush(ctx)
	})
}

// An answer to a read is put together of parts as a script has them. It
// returns what should have been read then, and how often each byte came.
func answerOf(script []byte, cookie uint64, off, length int) (answer, content []byte, count []int) {
	content, count = make([]byte, length), make([]int, length)
	for ; len(script) >= 6; script = script[6:] {
		flags := uint16(script[1] % 2)
		at, n := int(script[2])<<8|int(script[3]), int(script[4])<<8|int(script[5])
		switch script[0] % 5 {
		case 0:
			data := noise(n, uint64(script[5]))
			answer = append(answer, part(flags, 1, cookie, uint64(off+at), data)...)
			if at < length {
				copy(content[at:], data)
			}
		case 1:
			answer = append(answer, part(flags, 2, cookie, uint64(off+at), uint32(n))...)
			if at < length {
				clear(content[at:min(at+n, length)])
			}
		case 2:
			answer = append(answer, part(flags, 0, cookie)...)
			n = 0
		case 3:
			answer = append(answer, part(flags, 32769, cookie, uint32(n), uint16(0))...)
			at, n = length, 1 // no read is whole with it
			count = append(count[:length], 2)
		case 4:
			answer = append(answer, part(flags, uint16(n), cookie, script[2:4])...)
			n = 0
		}
		for i := at; i < at+n && i < length; i++ {
			count[i]++
		}
		if flags == 1 {
			break
		}
	}
	return answer, content, count
}

// Whatever a server answers to a read, it is an error unless every byte came
// once, and what came is what is read.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 8, 0, 1, 1, 8, 0, 8, 0})
	f.Add([]byte{0, 0, 8, 0, 8, 0, 0, 0, 0, 0, 8, 0, 2, 1, 0, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 16, 0, 3, 1, 0, 0, 0, 5})
	f.Add([]byte{0, 0, 0, 0, 16, 0, 4, 1, 0, 0, 0, 5})
	f.Fuzz(func(t *testing.T, script []byte) {
		const off, length = 8192, 4096
		l := honest()
		var content []byte
		var count []int
		l.answer = func(cookie uint64) (answer []byte) {
			answer, content, count = answerOf(script, cookie, off, length)
			return answer
		}
		l.hangUp = true
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); l.serve(theirs) }()
		c, err := nbd.NewClient(t.Context(), ours, nbd.Options{Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, length)
		err = c.ReadAt(t.Context(), got, off)
		_ = c.Close()
		<-done
		if err != nil {
			return
		}
		if !bytes.Equal(got, content) {
			t.Error("what was read differs")
		}
		for i, n := range count {
			if n != 1 {
				t.Fatalf("byte %d came %d times", i, n)
			}
		}
	})
}

// What a client writes, the server stores and the client reads, whichever
// operations it takes.
func FuzzBothSides(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 1, 4, 4, 4, 2, 8, 8, 8, 3, 0, 0, 255, 4, 1, 1, 1}, byte(0))
	f.Add(noise(64, 3), byte(9))
	f.Fuzz(func(t *testing.T, script []byte, unit byte) {
		size := int64(16384)
		disk := &memoryDisk{t: t, b: make([]byte, size)}
		block := int64(1) << (unit % 13)
		s := complain(t, &nbd.Server{Exports: []nbd.Export{{Name: "x", Backend: disk, BlockSize: block}}})
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); _ = s.ServeConn(t.Context(), theirs) }()
		defer func() { <-done }()
		c, err := nbd.NewClient(t.Context(), ours, nbd.Options{Export: "x"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		ctx, want := t.Context(), make([]byte, size)
		for ; len(script) >= 4; script = script[4:] {
			off := int64(script[1]) * 64 % size / block * block
			n := min(int64(script[2])*64/block*block, size-off)
			e := extent.Extent{Offset: off, Length: n}
			p := want[off:][:n]
			switch script[0] % 5 {
			case 0:
				copy(p, noise(int(n), uint64(script[3])))
				err = c.WriteAt(ctx, p, off)
			case 1:
				clear(p)
				err = c.Zero(ctx, e)
			case 2:
				clear(p)
				err = c.Trim(ctx, e) // which this disk zeroes
			case 3:
				copy(p, noise(int(n), uint64(script[3])))
				err = c.WriteThrough(ctx, p, off)
			case 4:
				err = compare(ctx, c, p, off+min(n, int64(script[3])), want)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := compare(ctx, c, want, 0, want); err != nil {
			t.Error(err)
		}
		set, err := c.Extents(ctx, extent.Extent{Offset: 0, Length: size})
		if err != nil {
			t.Fatal(err)
		}
		for _, hole := range extent.Of(extent.Extent{Offset: 0, Length: size}).Subtract(set) {
			if !bytes.Equal(want[hole.Offset:hole.End()], make([]byte, hole.Length)) {
				t.Errorf("a hole with data: %v", hole)
			}
		}
	})
}

// compare reads as many bytes as p has and holds them against the disk.
func compare(ctx context.Context, c *nbd.Client, p []byte, off int64, disk []byte) error {
	got := make([]byte, min(int64(len(p)), int64(len(disk))-off))
	if err := c.ReadAt(ctx, got, off); err != nil {
		return err
	}
	if !bytes.Equal(got, disk[off:][:len(got)]) {
		return errors.New("what was read differs")
	}
	return nil
}
