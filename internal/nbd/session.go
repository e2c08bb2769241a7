package nbd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/semaphore"

	"github.com/vappvault/vappvault/internal/extent"
)

const (
	// allocationID is what the server calls base:allocation by.
	allocationID = 1
	// piece is how many bytes of a long read are sent at a time.
	piece = 1 << 20
	// maxDescriptors bounds one answer to a question for block status. A
	// client asks on.
	maxDescriptors = 64 << 10
	// dataHead is what stands in front of data: a chunk and the offset.
	dataHead = structuredSize + 8
)

// buffers are for pieces with what stands in front.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, dataHead+piece)
	return &b
}}

// A session is one connection in transmission, as the server sees it.
type session struct {
	server *Server
	export *Export
	conn   net.Conn
	features
	flags uint16 // transmission flags

	stop   context.Context // no more requests are taken once it has ended
	work   context.Context // those under way go on until it does
	cancel func()          // ends work
	memory *semaphore.Weighted
	slots  chan struct{} // a token for every request under way
	tasks  sync.WaitGroup

	mu     sync.Mutex // one reply at a time
	broken error      // a reply could not be sent

	told atomic.Pointer[extent.Set] // what the client was told last that it may hold data
}

// run takes requests until the client goes away or the server stops, and
// waits for the answers. An error says that the client broke the protocol.
func (s *session) run() error {
	defer s.tasks.Wait()
	in := bufio.NewReaderSize(s.conn, 64<<10)
	var b [requestSize]byte
	for s.stop.Err() == nil {
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return unlessGone(err)
		}
		r, ok := parseRequest(b[:])
		if !ok {
			return errors.New("client sends what is no request")
		}
		if r.cmd == cmdDisconnect {
			return nil
		}
		if err := s.take(in, r); err != nil {
			return unlessGone(err)
		}
	}
	return nil
}

// take begins a request as soon as there is room for it.
func (s *session) take(in io.Reader, r request) error {
	refusal := s.refusal(r)
	need := int64(0)
	switch {
	case r.cmd == cmdWrite:
		if r.length > maxPayload {
			// It would have to be read to get at the next request.
			return fmt.Errorf("client writes %d bytes at once", r.length)
		}
		need = int64(r.length)
	case refusal != 0:
	case r.cmd == cmdRead && s.whole(r):
		need = int64(r.length)
	case r.cmd == cmdRead:
		need = min(int64(r.length), piece)
	}
	if err := s.memory.Acquire(s.work, need); err != nil {
		return errEnd
	}
	var payload []byte
	if r.cmd == cmdWrite {
		payload = make([]byte, r.length)
		if _, err := io.ReadFull(in, payload); err != nil {
			s.memory.Release(need)
			return err
		}
	}
	select {
	case s.slots <- struct{}{}:
	case <-s.work.Done():
		s.memory.Release(need)
		return errEnd
	}
	s.tasks.Go(func() {
		defer func() { <-s.slots; s.memory.Release(need) }()
		if refusal != 0 {
			s.fail(r, refusal)
			return
		}
		s.do(r, payload)
	})
	return nil
}

// whole reports whether a read is answered in one piece.
func (s *session) whole(r request) bool {
	return !s.structured || r.flags&cmdFlagDF != 0
}

// refusal looks at a request before anything is done for it.
func (s *session) refusal(r request) Code {
	var known uint16 = cmdFlagFUA
	end := r.off + uint64(r.length)
	size := uint64(s.export.Backend.Size())
	beyond := r.off > size || end > size
	writes := false
	switch r.cmd {
	case cmdFlush:
		return codeIf(r.flags&^known != 0 || !s.can(canFlush), EINVAL)
	case cmdRead:
		known |= cmdFlagDF
	case cmdWrite, cmdTrim:
		writes = true
	case cmdWriteZeroes:
		writes = true
		known |= cmdFlagNoHole
	case cmdBlockStatus:
		known |= cmdFlagReqOne
		if !s.allocation || r.length == 0 {
			return EINVAL
		}
	default:
		return EINVAL
	}
	unit := uint64(max(s.export.BlockSize, 1))
	switch {
	case writes && s.can(canNotWrite):
		return EPERM
	case r.cmd == cmdTrim && !s.can(canTrim), r.flags&^known != 0:
		return EINVAL
	case r.flags&cmdFlagDF != 0 && !s.can(canDF):
		return EINVAL
	case beyond && writes:
		return ENOSPC
	case beyond, r.off%unit != 0, end%unit != 0:
		return EINVAL
	case r.cmd == cmdRead && r.length > maxPayload:
		return EINVAL
	}
	return 0
}

func (s *session) can(flag uint16) bool { return s.flags&flag != 0 }

func codeIf(refused bool, code Code) Code {
	if refused {
		return code
	}
	return 0
}

// do carries a request out and answers it.
func (s *session) do(r request, payload []byte) {
	var err error
	e := extent.Extent{Offset: int64(r.off), Length: int64(r.length)}
	switch r.cmd {
	case cmdRead:
		if s.whole(r) {
			err = s.readWhole(r)
		} else {
			err = s.read(r)
		}
		if err != nil {
			s.failed(r, err)
		}
		return
	case cmdBlockStatus:
		if err = s.status(r, e); err != nil {
			s.failed(r, err)
		}
		return
	case cmdFlush:
		err = s.flush()
	case cmdWrite:
		err = s.writer().WriteAt(s.work, payload, e.Offset)
	case cmdTrim:
		err = s.export.Backend.(Trimmer).Trim(s.work, e)
	case cmdWriteZeroes:
		err = s.zero(e, r.flags&cmdFlagNoHole != 0)
	}
	if err == nil && r.flags&cmdFlagFUA != 0 {
		err = s.flush()
	}
	if err != nil {
		s.failed(r, err)
		return
	}
	s.succeed(r)
}

// writer may be called where the export can be written.
func (s *session) writer() Writer { return s.export.Backend.(Writer) }

func (s *session) flush() error {
	if s.can(canNotWrite) {
		return nil
	}
	return s.writer().Flush(s.work)
}

// zeros are what a hole holds.
var zeros = make([]byte, 64<<10)

// zero makes a range read as zeros, in full where it must not become a hole.
func (s *session) zero(e extent.Extent, full bool) error {
	if !full {
		return s.writer().Zero(s.work, e)
	}
	for e.Length > 0 {
		n := min(e.Length, int64(len(zeros)))
		if err := s.writer().WriteAt(s.work, zeros[:n], e.Offset); err != nil {
			return err
		}
		e = extent.Extent{Offset: e.Offset + n, Length: e.Length - n}
	}
	return nil
}

// read answers a read with a chunk for every piece of data and every hole.
func (s *session) read(r request) error {
	if r.length == 0 {
		s.succeed(r)
		return nil
	}
	e := extent.Extent{Offset: int64(r.off), Length: int64(r.length)}
	data, err := s.extents(e)
	if err != nil {
		return err
	}
	at := e.Offset
	for _, d := range data {
		if err := s.hole(r, at, d.Offset, e.End()); err != nil {
			return err
		}
		for at = d.Offset; at < d.End(); {
			n := min(piece, d.End()-at)
			if err := s.data(r, at, n, e.End()); err != nil {
				return err
			}
			at += n
		}
	}
	return s.hole(r, at, e.End(), e.End())
}

// extents returns what may hold data within e. The Backend is not asked where
// all of e is in what the client was told last: what has become a hole since
// may be read as well.
func (s *session) extents(e extent.Extent) (extent.Set, error) {
	if told := s.told.Load(); told != nil {
		if set := told.Clip(e); set.Bytes() == e.Length {
			return set, nil
		}
	}
	set, err := s.export.Backend.Extents(s.work, e)
	return set.Clip(e), err
}

// data sends one piece of a read, the last one if it ends at end.
func (s *session) data(r request, off, n, end int64) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	b := (*buffer)[:dataHead+n]
	if err := s.export.Backend.ReadAt(s.work, b[dataHead:], off); err != nil {
		return err
	}
	chunk{flags: doneIf(off+n == end), kind: chunkData, cookie: r.cookie, length: uint32(8 + n)}.put(b)
	big.PutUint64(b[structuredSize:], uint64(off))
	s.send(b)
	return nil
}

// hole sends that a part of a read is zeros; nothing where it is empty.
func (s *session) hole(r request, from, to, end int64) error {
	if from == to {
		return nil
	}
	var b [structuredSize + 12]byte
	chunk{flags: doneIf(to == end), kind: chunkHole, cookie: r.cookie, length: 12}.put(b[:])
	big.PutUint64(b[structuredSize:], uint64(from))
	big.PutUint32(b[structuredSize+8:], uint32(to-from))
	s.send(b[:])
	return nil
}

func doneIf(last bool) uint16 {
	if last {
		return chunkDone
	}
	return 0
}

// readWhole answers a read with one reply.
func (s *session) readWhole(r request) error {
	head := simpleSize
	if s.structured {
		head = dataHead
	}
	b := make([]byte, int64(head)+int64(r.length))
	e := extent.Extent{Offset: int64(r.off), Length: int64(r.length)}
	data, err := s.extents(e)
	if err != nil {
		return err
	}
	for _, d := range data {
		at := int64(head) + d.Offset - e.Offset
		if err := s.export.Backend.ReadAt(s.work, b[at:at+d.Length], d.Offset); err != nil {
			return err
		}
	}
	switch {
	case !s.structured:
		putSimple(b, 0, r.cookie)
	case r.length == 0:
		s.succeed(r)
		return nil
	default:
		chunk{flags: chunkDone, kind: chunkData, cookie: r.cookie, length: 8 + r.length}.put(b)
		big.PutUint64(b[structuredSize:], r.off)
	}
	s.send(b)
	return nil
}

// status answers what a range holds.
func (s *session) status(r request, e extent.Extent) error {
	data, err := s.export.Backend.Extents(s.work, e)
	if err != nil {
		return err
	}
	data = data.Align(max(s.export.BlockSize, 1), s.export.Backend.Size()).Clip(e)
	if len(data) <= maxDescriptors {
		s.told.Store(&data)
	}
	most := maxDescriptors
	if r.flags&cmdFlagReqOne != 0 {
		most = 1
	}
	b := make([]byte, structuredSize+4, structuredSize+4+16*min(len(data)+1, most/2+1))
	big.PutUint32(b[structuredSize:], allocationID)
	put := func(n int64, state uint32) {
		if n > 0 && most > 0 {
			most--
			b = big.AppendUint32(b, uint32(n))
			b = big.AppendUint32(b, state)
		}
	}
	at := e.Offset
	for _, d := range data {
		put(d.Offset-at, stateHole|stateZero)
		put(d.Length, 0)
		if at = d.End(); most == 0 {
			break
		}
	}
	put(e.End()-at, stateHole|stateZero)
	chunk{flags: chunkDone, kind: chunkBlockStatus, cookie: r.cookie, length: uint32(len(b) - structuredSize)}.put(b)
	s.send(b)
	return nil
}

// send sends a reply or a part of one. A connection that takes none is closed,
// and what is under way on it has nobody left to answer to.
func (s *session) send(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return
	}
	if _, s.broken = s.conn.Write(b); s.broken != nil {
		s.cancel()
		_ = s.conn.Close() // wakes the reader
	}
}

// putSimple writes a reply of the older kind into b.
func putSimple(b []byte, code Code, cookie uint64) {
	big.PutUint32(b, magicSimple)
	big.PutUint32(b[4:], uint32(code))
	big.PutUint64(b[8:], cookie)
}

// succeed answers a request that asks for no data.
func (s *session) succeed(r request) {
	if s.structured {
		var b [structuredSize]byte
		chunk{flags: chunkDone, kind: chunkNone, cookie: r.cookie}.put(b[:])
		s.send(b[:])
		return
	}
	var b [simpleSize]byte
	putSimple(b[:], 0, r.cookie)
	s.send(b[:])
}

// failed answers a request that the Backend could not serve. The words of the
// error are for the operator of the server only.
func (s *session) failed(r request, err error) {
	if s.work.Err() != nil {
		s.fail(r, ESHUTDOWN)
		return
	}
	s.server.report(s.export.Name, fmt.Errorf("%d bytes at %d: %w", r.length, r.off, err))
	s.fail(r, codeOf(err))
}

// fail answers a request with an error.
func (s *session) fail(r request, code Code) {
	if !s.structured {
		var b [simpleSize]byte
		putSimple(b[:], code, r.cookie)
		s.send(b[:])
		return
	}
	message := code.String()
	b := make([]byte, structuredSize+6, structuredSize+6+len(message))
	chunk{flags: chunkDone, kind: chunkError, cookie: r.cookie, length: uint32(6 + len(message))}.put(b)
	big.PutUint32(b[structuredSize:], uint32(code))
	big.PutUint16(b[structuredSize+4:], uint16(len(message)))
	s.send(append(b, message...))
}

// codeOf returns what an error of a Backend is called in the protocol.
func codeOf(err error) Code {
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Code != 0 {
		return refusal.Code
	}
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return EPERM
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return ENOSPC
	case errors.Is(err, syscall.ENOMEM):
		return ENOMEM
	}
	return EIO
}
