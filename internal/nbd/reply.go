package nbd

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
)

const (
	// maxPieces bounds the pieces of one read that lie apart, as they came
	// so far: 1 MiB in sectors, every other one missing.
	maxPieces = maxRequest / 512
	// maxStatus bounds the descriptors of one answer. It is the most that
	// nbdkit sends; qemu stays below.
	maxStatus = 1 << 20
)

// receive reads answers until the connection ends. It never returns nil.
func (l *link) receive() error {
	var b [structuredSize]byte
	for {
		if _, err := io.ReadFull(l.in, b[:simpleSize]); err != nil {
			return noEOF(err)
		}
		var err error
		switch big.Uint32(b[:]) {
		case magicSimple:
			err = l.simple(Code(big.Uint32(b[4:])), big.Uint64(b[8:]))
		case magicStructured:
			if _, err := io.ReadFull(l.in, b[simpleSize:]); err != nil {
				return noEOF(err)
			}
			err = l.chunk(parseChunk(b[:]))
		default:
			return broken("neither a reply nor a chunk")
		}
		if err != nil {
			return err
		}
	}
}

// noEOF makes a sudden end of the connection one that can be read as such.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// simple takes an answer of the older kind.
func (l *link) simple(code Code, cookie uint64) error {
	c, err := l.find(cookie)
	if err != nil {
		return err
	}
	switch {
	case len(c.got) > 0 || c.described > 0 || c.failure != nil:
		return broken("a simple reply after chunks")
	case code != 0:
		l.settle(c, &Error{Code: code})
		return nil
	case c.cmd == cmdBlockStatus, c.cmd == cmdRead && l.export.structured:
		return broken("a simple reply where chunks are due")
	case c.cmd == cmdRead:
		if err := l.fill(c, 0, int64(c.length)); err != nil {
			return err
		}
	}
	l.settle(c, nil)
	return nil
}

// chunk takes one part of a structured answer.
func (l *link) chunk(h chunk) error {
	c, err := l.find(h.cookie)
	if err != nil {
		return err
	}
	if !l.export.structured {
		return broken("a chunk, which was not agreed on")
	}
	switch {
	case h.kind&chunkAnyError != 0:
		err = l.takeError(c, h)
	case h.kind == chunkNone:
		if h.length != 0 || !h.done() {
			err = broken("an empty chunk that is none")
		}
	case h.kind == chunkData && c.cmd == cmdRead:
		err = l.takeData(c, h)
	case h.kind == chunkHole && c.cmd == cmdRead:
		err = l.takeHole(c, h)
	case h.kind == chunkBlockStatus && c.cmd == cmdBlockStatus && l.export.allocation:
		err = l.takeStatus(c, h)
	default:
		err = broken("chunk of type %d in the answer to command %d", h.kind, c.cmd)
	}
	if err != nil || !h.done() {
		return err
	}
	if c.failure != nil {
		l.settle(c, c.failure)
		return nil
	}
	if c.cmd == cmdRead && c.got.Bytes() != int64(c.length) {
		return broken("%d of %d bytes of a read are missing", int64(c.length)-c.got.Bytes(), c.length)
	}
	if c.cmd == cmdBlockStatus && c.described == 0 {
		return broken("an answer about no block")
	}
	l.settle(c, nil)
	return nil
}

// takeError reads why a request failed. Other chunks of it may still come.
func (l *link) takeError(c *call, h chunk) error {
	var b [6]byte
	if h.length < 6 || h.length > 6+maxString+8 {
		return broken("an error of %d bytes", h.length)
	}
	if _, err := io.ReadFull(l.in, b[:]); err != nil {
		return noEOF(err)
	}
	rest := make([]byte, h.length-6)
	if _, err := io.ReadFull(l.in, rest); err != nil {
		return noEOF(err)
	}
	n := int(big.Uint16(b[4:]))
	if n > len(rest) {
		return broken("an error message of %d bytes in %d", n, len(rest))
	}
	code := Code(big.Uint32(b[:]))
	if code == 0 {
		return broken("an error that is none")
	}
	if c.failure == nil {
		c.failure = &Error{Code: code, Message: printable(rest[:n])}
	}
	return nil
}

// claim notes that a piece of a read is there. It lies within the request, and
// nothing comes twice.
func (c *call) claim(off uint64, n int64) (at int64, err error) {
	at = int64(off - c.off)
	if off < c.off || at < 0 || n <= 0 || n > int64(c.length) || at > int64(c.length)-n {
		return 0, broken("%d bytes at %d in the answer to a read of %d at %d", n, off, c.length, c.off)
	}
	e := extent.Extent{Offset: at, Length: n}
	if len(c.got.Clip(e)) > 0 {
		return 0, broken("bytes at %d come twice", off)
	}
	if c.got = c.got.Add(e); len(c.got) > maxPieces {
		return 0, broken("a read in too many pieces")
	}
	return at, nil
}

func (l *link) takeData(c *call, h chunk) error {
	var b [8]byte
	if h.length <= 8 {
		return broken("a chunk without data")
	}
	if _, err := io.ReadFull(l.in, b[:]); err != nil {
		return noEOF(err)
	}
	n := int64(h.length) - 8
	at, err := c.claim(big.Uint64(b[:]), n)
	if err != nil {
		return err
	}
	return l.fill(c, at, n)
}

// fill reads data of a read to where it belongs, or throws it away where
// nobody waits for it any more.
func (l *link) fill(c *call, at, n int64) error {
	for n > 0 {
		buf := c.lend(at, n)
		if buf == nil {
			return l.discard(n)
		}
		got, err := l.in.Read(buf)
		at, n = at+int64(got), n-int64(got)
		switch wanted := c.takeBack(); {
		case !wanted:
			// The error may be the deadline that got the buffer back. It
			// has done its work; any other error comes again.
			_ = l.raw.SetReadDeadline(time.Time{})
		case err != nil:
			return noEOF(err)
		}
	}
	return nil
}

// discard reads what nobody waits for.
func (l *link) discard(n int64) error {
	_, err := io.CopyN(io.Discard, l.in, n)
	return noEOF(err)
}

func (l *link) takeHole(c *call, h chunk) error {
	var b [12]byte
	if h.length != 12 {
		return broken("a hole described in %d bytes", h.length)
	}
	if _, err := io.ReadFull(l.in, b[:]); err != nil {
		return noEOF(err)
	}
	n := int64(big.Uint32(b[8:]))
	at, err := c.claim(big.Uint64(b[:]), n)
	if err != nil {
		return err
	}
	if buf := c.lend(at, n); buf != nil {
		clear(buf)
		c.takeBack()
	}
	return nil
}

// takeStatus reads which blocks hold data. Only what is said to read as zeros
// is left out: of a hole that does not, nobody knows what it reads as.
func (l *link) takeStatus(c *call, h chunk) error {
	var b [8]byte
	if h.length < 12 || h.length%8 != 4 || h.length > 4+8*maxStatus {
		return broken("block status in %d bytes", h.length)
	}
	if _, err := io.ReadFull(l.in, b[:4]); err != nil {
		return noEOF(err)
	}
	if id := big.Uint32(b[:]); id != l.export.contextID || c.described > 0 {
		return broken("status of context %d", id)
	}
	for range h.length / 8 {
		if _, err := io.ReadFull(l.in, b[:]); err != nil {
			return noEOF(err)
		}
		n, state := int64(big.Uint32(b[:])), big.Uint32(b[4:])
		left := int64(c.length) - c.described
		if n == 0 || left <= 0 || n%l.export.minBlock != 0 {
			return broken("status of %d bytes, %d after the beginning of %d", n, c.described, c.length)
		}
		// The last may reach beyond what was asked for.
		n = min(n, left)
		if state&stateZero == 0 {
			c.extents = c.extents.Add(extent.Extent{Offset: int64(c.off) + c.described, Length: n})
		}
		c.described += n
	}
	return nil
}

// printable makes a peer's words fit for a line of text.
func printable(b []byte) string {
	b = b[:min(len(b), maxString)]
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, string(b)))
}
