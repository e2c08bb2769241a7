package nbd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/nbd"
)

// words puts numbers of the sizes that they have, and bytes, one behind the
// other, as the wire has them.
func words(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			b = append(b, p...)
		case string:
			b = append(b, p...)
		default:
			var err error
			if b, err = binary.Append(b, binary.BigEndian, p); err != nil {
				panic(err)
			}
		}
	}
	return b
}

const (
	greeting    = "NBDMAGICIHAVEOPT"
	optMagic    = uint64(0x49484156454f5054)
	answerMagic = uint64(0x3e889045565a9)
)

// optAnswer is an answer to an option.
func optAnswer(opt, kind uint32, data ...any) []byte {
	b := words(data...)
	return words(answerMagic, opt, kind, uint32(len(b)), b)
}

// infos is what a server that is well says of an export of 1 MiB.
func infos() []byte {
	return words(optAnswer(7, 3, uint16(0), uint64(mib), uint16(1|4|8|64)), optAnswer(7, 1))
}

// A liar is a server that answers each option with what it is told to, and
// then every request with what it is told to, whatever was asked for.
type liar struct {
	greeting []byte
	options  map[uint32][]byte
	answer   func(cookie uint64) []byte
	hangUp   bool // after the first answer
}

// honest is a liar before it begins to lie.
func honest() liar {
	return liar{
		greeting: words(greeting, uint16(3)),
		options: map[uint32][]byte{
			8:  optAnswer(8, 1),
			10: words(optAnswer(10, 4, uint32(7), "base:allocation"), optAnswer(10, 1)),
			7:  infos(),
		},
	}
}

func (l liar) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(l.greeting); err != nil {
		return
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		return
	}
	for {
		var head [16]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[12:]))); err != nil {
			return
		}
		opt := binary.BigEndian.Uint32(head[8:])
		if _, err := conn.Write(l.options[opt]); err != nil {
			return
		}
		if opt == 7 {
			break
		}
	}
	for {
		var head [28]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		if binary.BigEndian.Uint16(head[6:]) == 2 {
			return
		}
		if binary.BigEndian.Uint16(head[6:]) == 1 {
			if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[24:]))); err != nil {
				return
			}
		}
		if l.answer == nil {
			continue
		}
		if _, err := conn.Write(l.answer(binary.BigEndian.Uint64(head[8:]))); err != nil || l.hangUp {
			return
		}
	}
}

// client is a Client of the liar.
func (l liar) client(t *testing.T, timeout time.Duration) (*nbd.Client, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); l.serve(theirs) }()
	c, err := nbd.NewClient(soon(t), ours, nbd.Options{Timeout: timeout})
	t.Cleanup(func() {
		if c != nil {
			_ = c.Close()
		}
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("the connection was not closed")
		}
	})
	return c, err
}

func TestNegotiationsThatAreLies(t *testing.T) {
	leaks(t)
	with := func(opt uint32, answer ...any) liar {
		l := honest()
		l.options[opt] = words(answer...)
		return l
	}
	export := func(data ...any) []byte { return optAnswer(7, 3, data...) }
	blocks := func(least, preferred, most uint32) liar {
		return with(7, export(uint16(3), least, preferred, most), infos())
	}
	for _, c := range []struct {
		name string
		liar liar
		want string
	}{
		{"the oldstyle", liar{greeting: words("NBDMAGIC", uint64(0x420281861253), uint64(mib), make([]byte, 128))}, "newstyle"},
		{"a newstyle that is not fixed", liar{greeting: words(greeting, uint16(0))}, "newstyle"},
		{"something else", liar{greeting: []byte("SSH-2.0-OpenSSH_9.2\r\n")}, "newstyle"},
		{"no answer that is one", with(8, make([]byte, 20)), "something else"},
		{"the answer to another option", with(8, optAnswer(7, 1)), "something else"},
		{"an answer of 4 GiB", with(8, answerMagic, uint32(8), uint32(1<<31+1), ^uint32(0)), "4294967295 bytes"},
		{"more where nothing more is due", with(8, optAnswer(8, 2, "x")), "answer 2"},
		{"a context that was not asked for", with(10, optAnswer(10, 4, uint32(7), "qemu:dirty"), optAnswer(10, 1)), "metadata"},
		{"a context twice", with(10, optAnswer(10, 4, uint32(7), "base:allocation"), optAnswer(10, 4, uint32(8), "base:allocation")), "metadata"},
		{"half a context", with(10, optAnswer(10, 4, uint16(7))), "metadata"},
		{"no size", with(7, optAnswer(7, 1)), "how large"},
		{"a size that is no int64", with(7, export(uint16(0), uint64(1<<63), uint16(1))), "size"},
		{"half a size", with(7, export(uint16(0), uint32(1))), "size"},
		{"half an answer", with(7, export([]byte{0})), "answer 3"},
		{"blocks of 3", blocks(3, 4096, 8192), "block sizes"},
		{"blocks of 0", blocks(0, 4096, 8192), "block sizes"},
		{"blocks of 1 GiB", blocks(1<<30, 1<<30, 1<<31), "block sizes"},
		{"blocks that are larger than preferred", blocks(4096, 512, 8192), "block sizes"},
		{"payloads that are less than preferred", blocks(512, 4096, 512), "block sizes"},
		{"payloads that are no multiple of blocks", blocks(512, 4096, 5000), "block sizes"},
		{"a size that is no multiple of blocks", with(7, export(uint16(3), uint32(512), uint32(4096), uint32(8192)),
			export(uint16(0), uint64(1000), uint16(1)), optAnswer(7, 1)), "no multiple"},
		{"no end of answers", with(8, bytes.Repeat(export(uint16(9)), 5000)), "something else"},
		{"no end of what is told of an export", with(7, bytes.Repeat(export(uint16(9)), 5000)), "no end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.liar.client(t, time.Second)
			if !errors.Is(err, nbd.ErrDisconnected) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestAServerThatSaysNothing(t *testing.T) {
	leaks(t)
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := nbd.NewClient(ctx, ours, nbd.Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Parts of answers in transmission.
func simple(code uint32, cookie uint64, data ...any) []byte {
	return words(uint32(0x67446698), code, cookie, words(data...))
}

func part(flags, kind uint16, cookie uint64, data ...any) []byte {
	b := words(data...)
	return words(uint32(0x668e33ef), flags, kind, cookie, uint32(len(b)), b)
}

// What a client is asked to do while the server lies.
func doRead(c *nbd.Client, ctx context.Context) error {
	return c.ReadAt(ctx, make([]byte, 4096), 8192)
}

func doWrite(c *nbd.Client, ctx context.Context) error {
	return c.WriteAt(ctx, make([]byte, 4096), 8192)
}

func doAsk(c *nbd.Client, ctx context.Context) error {
	_, err := c.Extents(ctx, extent.Extent{Offset: 8192, Length: 4096})
	return err
}

var half = make([]byte, 2048)

// lies are answers to the first request, whose number is n, that the protocol
// does not allow.
var lies = []struct {
	name   string
	do     func(*nbd.Client, context.Context) error
	answer func(n uint64) []byte
}{
	{"neither reply nor chunk", doRead, func(n uint64) []byte { return make([]byte, 32) }},
	{"a reply to nothing", doRead, func(n uint64) []byte { return simple(0, n+1) }},
	{"a chunk of nothing", doRead, func(n uint64) []byte { return part(1, 0, n+1) }},
	{"an old reply with data", doRead, func(n uint64) []byte { return simple(0, n, make([]byte, 4096)) }},
	{"nothing at all", doRead, func(n uint64) []byte { return part(1, 0, n) }},
	{"half", doRead, func(n uint64) []byte { return part(1, 1, n, uint64(8192), half) }},
	{"half, twice", doRead, func(n uint64) []byte {
		return words(part(0, 1, n, uint64(8192), half), part(1, 1, n, uint64(8192), half))
	}},
	{"pieces that overlap", doRead, func(n uint64) []byte {
		return words(part(0, 1, n, uint64(8192), half), part(1, 1, n, uint64(8192+2047), half))
	}},
	{"a hole over data", doRead, func(n uint64) []byte {
		return words(part(0, 1, n, uint64(8192), half), part(1, 2, n, uint64(8192), uint32(4096)))
	}},
	{"data from before", doRead, func(n uint64) []byte { return part(1, 1, n, uint64(8191), make([]byte, 4096)) }},
	{"data from behind", doRead, func(n uint64) []byte { return part(1, 1, n, uint64(8193), make([]byte, 4096)) }},
	{"data from the end of the world", doRead, func(n uint64) []byte { return part(1, 1, n, ^uint64(0), make([]byte, 4096)) }},
	{"data of 4 GiB", doRead, func(n uint64) []byte {
		return words(uint32(0x668e33ef), uint16(1), uint16(1), n, ^uint32(0), uint64(8192))
	}},
	{"data of no length", doRead, func(n uint64) []byte { return part(1, 1, n, uint64(8192)) }},
	{"data without an offset", doRead, func(n uint64) []byte { return part(1, 1, n, uint32(8192)) }},
	{"a hole of no length", doRead, func(n uint64) []byte { return part(1, 2, n, uint64(8192), uint32(0)) }},
	{"a hole that is too long", doRead, func(n uint64) []byte { return part(1, 2, n, uint64(8192), uint32(4097)) }},
	{"a hole that is half said", doRead, func(n uint64) []byte { return part(1, 2, n, uint64(8192)) }},
	{"an empty chunk that is not the last", doRead, func(n uint64) []byte { return part(0, 0, n) }},
	{"an empty chunk that is not empty", doRead, func(n uint64) []byte { return part(1, 0, n, "x") }},
	{"block status for a read", doRead, func(n uint64) []byte { return part(1, 5, n, uint32(7), uint32(4096), uint32(0)) }},
	{"a chunk of a kind that nobody knows", doRead, func(n uint64) []byte { return part(1, 77, n) }},
	{"an error that is none", doRead, func(n uint64) []byte { return part(1, 32769, n, uint32(0), uint16(0)) }},
	{"an error with a message that is longer than it", doRead, func(n uint64) []byte { return part(1, 32769, n, uint32(5), uint16(9), "x") }},
	{"an error of 4 GiB", doRead, func(n uint64) []byte {
		return words(uint32(0x668e33ef), uint16(1), uint16(32769), n, ^uint32(0))
	}},
	{"data for a write", doWrite, func(n uint64) []byte { return part(1, 1, n, uint64(8192), make([]byte, 4096)) }},
	{"status of another context", doAsk, func(n uint64) []byte { return part(1, 5, n, uint32(8), uint32(4096), uint32(0)) }},
	{"status of nothing", doAsk, func(n uint64) []byte { return part(1, 5, n, uint32(7)) }},
	{"status of no length", doAsk, func(n uint64) []byte { return part(1, 5, n, uint32(7), uint32(0), uint32(0)) }},
	{"status that goes on behind the end", doAsk, func(n uint64) []byte {
		return part(1, 5, n, uint32(7), uint32(4096), uint32(0), uint32(4096), uint32(0))
	}},
	{"status twice", doAsk, func(n uint64) []byte {
		return words(part(0, 5, n, uint32(7), uint32(512), uint32(0)), part(1, 5, n, uint32(7), uint32(512), uint32(0)))
	}},
	{"status of half a descriptor", doAsk, func(n uint64) []byte { return part(1, 5, n, uint32(7), uint32(4096)) }},
	{"no status", doAsk, func(n uint64) []byte { return part(1, 0, n) }},
	{"a simple reply to a question for status", doAsk, func(n uint64) []byte { return simple(0, n) }},
	{"a simple reply after chunks", doRead, func(n uint64) []byte {
		return words(part(0, 1, n, uint64(8192), half), simple(5, n))
	}},
}

func TestAnswersThatAreLies(t *testing.T) {
	leaks(t)
	for _, c := range lies {
		t.Run(c.name, func(t *testing.T) {
			l := honest()
			l.answer = c.answer
			client, err := l.client(t, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.do(client, soon(t)); !errors.Is(err, nbd.ErrDisconnected) {
				t.Errorf("got %v, want %v", err, nbd.ErrDisconnected)
			}
		})
	}
}

func TestAnswersThatAreOdd(t *testing.T) {
	leaks(t)
	page := noise(4096, 1)
	for _, c := range []struct {
		name   string
		answer func(n uint64) []byte
		want   string // of the error; empty for none
		zeros  bool
	}{
		{"in pieces, backwards", func(n uint64) []byte {
			return words(part(0, 1, n, uint64(8192+2048), page[2048:]), part(1, 1, n, uint64(8192), page[:2048]))
		}, "", false},
		{"with an end of its own", func(n uint64) []byte {
			return words(part(0, 1, n, uint64(8192), page), part(1, 0, n))
		}, "", false},
		{"a hole", func(n uint64) []byte { return part(1, 2, n, uint64(8192), uint32(4096)) }, "", true},
		{"a simple error", func(n uint64) []byte { return simple(28, n) }, "no space left", false},
		{"an error with words", func(n uint64) []byte { return part(1, 32769, n, uint32(5), uint16(3), "bad") }, "input/output error: bad", false},
		{"an error with words that are none", func(n uint64) []byte {
			return part(1, 32769, n, uint32(5), uint16(5), "a\x1b\n\xff\x00")
		}, "input/output error: a", false},
		{"an error at an offset, after data", func(n uint64) []byte {
			return words(part(0, 1, n, uint64(8192), page[:512]), part(1, 32770, n, uint32(5), uint16(3), "bad", uint64(9000)))
		}, "input/output error: bad", false},
		{"an error of a kind and number that nobody knows, then data", func(n uint64) []byte {
			return words(part(0, 40000, n, uint32(99), uint16(0), "more"), part(1, 1, n, uint64(8192), page))
		}, "error 99", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := honest()
			l.answer = c.answer
			client, err := l.client(t, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				got := bytes.Repeat([]byte{1}, 4096)
				err := client.ReadAt(soon(t), got, 8192)
				var refusal *nbd.Error
				switch {
				case c.want != "":
					if !errors.As(err, &refusal) || err.Error() != c.want {
						t.Errorf("got %v, want %s", err, c.want)
					}
				case err != nil:
					t.Error(err)
				case c.zeros && !bytes.Equal(got, make([]byte, 4096)), !c.zeros && !bytes.Equal(got, page):
					t.Error("what was read differs")
				}
			}
		})
	}
}

func TestAnswersThatStop(t *testing.T) {
	leaks(t)
	whole := func(n uint64) []byte { return part(1, 1, n, uint64(0), make([]byte, 4096)) }
	for at := 0; at < 40; at += 3 {
		for _, hangUp := range []bool{true, false} {
			l := honest()
			l.answer = func(n uint64) []byte { return whole(n)[:at] }
			l.hangUp = hangUp
			timeout, want := 50*time.Millisecond, nbd.ErrTimeout
			if hangUp {
				timeout, want = time.Minute, nbd.ErrDisconnected
			}
			client, err := l.client(t, timeout)
			if err != nil {
				t.Fatal(err)
			}
			if err := client.ReadAt(soon(t), make([]byte, 4096), 0); !errors.Is(err, want) {
				t.Errorf("after %d bytes: got %v, want %v", at, err, want)
			}
		}
	}
}

func TestExtentsOfAnAdversaryAreBounded(t *testing.T) {
	leaks(t)
	// Every other byte is data, in the longest answer that is taken.
	status := make([]byte, 0, 8<<20)
	for range 1 << 19 {
		status = append(status, words(uint32(1), uint32(0), uint32(1), uint32(3))...)
	}
	l := honest()
	l.options[7] = words(optAnswer(7, 3, uint16(0), uint64(4<<20), uint16(1)), optAnswer(7, 1))
	l.answer = func(n uint64) []byte { return part(1, 5, n, uint32(7), status) }
	client, err := l.client(t, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Extents(soon(t), extent.Extent{Offset: 0, Length: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) > 1<<20 || !got.Contains(0) || !got.Contains(3<<20) {
		t.Errorf("got %d extents", len(got))
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	if memory.HeapInuse > 256<<20 {
		t.Errorf("%d MiB are held", memory.HeapInuse>>20)
	}
}
