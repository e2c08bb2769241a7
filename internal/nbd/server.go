package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/vappvault/vappvault/internal/extent"
)

// A Backend is a disk that a Server serves. It is safe for concurrent use; all
// connections share it. An error that is or wraps an *Error or a
// syscall.Errno reaches the client as what it is, any other as EIO.
type Backend interface {
	// Size returns the size of the disk in bytes. It does not change.
	Size() int64
	// ReadAt fills p from the given offset in bytes.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// Extents returns what may hold data within the given range; the rest
	// reads as zeros. It is asked at every read of what the client was not
	// told of before, so that holes need not be read, and is worth making
	// cheap. A Backend that does not know returns the range itself.
	Extents(ctx context.Context, within extent.Extent) (extent.Set, error)
}

// A Writer is a Backend that can be written to. Flush covers what any
// connection wrote.
type Writer interface {
	Backend
	// WriteAt writes p at the given offset in bytes.
	WriteAt(ctx context.Context, p []byte, off int64) error
	// Zero makes a range read as zeros. It may become a hole.
	Zero(ctx context.Context, e extent.Extent) error
	// Flush returns when all that was written before is safe.
	Flush(ctx context.Context) error
}

// A Trimmer is a Writer that can give space back.
type Trimmer interface {
	Writer
	// Trim says that a range is of no more use. What it reads as afterwards
	// is not said.
	Trim(ctx context.Context, e extent.Extent) error
}

// An Export is a disk and the name that clients know it by.
type Export struct {
	// Name has at most 4096 bytes. A client that names none gets the export
	// of the name "", or the only one that there is.
	Name        string
	Description string // a line for people
	Backend     Backend
	// ReadOnly keeps clients from writing, even where Backend is a Writer.
	ReadOnly bool
	// BlockSize is the unit of requests in bytes: a power of two up to 64
	// KiB, of which the disk's size is a multiple. 0 means 1.
	BlockSize int64
}

// A Server serves Exports. Its fields are set before it is used.
type Server struct {
	Exports []Export
	// TLS, where it is set, is what every client must use.
	TLS *tls.Config
	// Memory is how many bytes of data one connection may hold; 0 means
	// 64 MiB. The largest request of 32 MiB must fit.
	Memory int64
	// Connections is how many may be open at a time; 0 means 64. Beyond it,
	// a client is hung up on.
	Connections int
	// Grace is how long requests under way may still take when the server
	// is told to stop; 0 means 10 seconds.
	Grace time.Duration
	// Failed, where it is set, is told of what a Backend could not do and
	// of clients that break the protocol; a client that hangs up is neither.
	// It is called from many goroutines.
	Failed func(export string, err error)
}

// patience is how long a client may take to choose an export.
const patience = time.Minute

// Serve accepts connections until ctx ends or the listener fails, and closes
// the listener. What is under way then is answered, within the Grace. It
// returns when no connection is left: nil where ctx was the reason.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := s.check(); err != nil {
		_ = l.Close()
		return err
	}
	var connections sync.WaitGroup
	defer connections.Wait()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(inner, func() { _ = l.Close() })()
	room := make(chan struct{}, s.most())
	for pause := time.Duration(0); ; {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			_ = l.Close()
			return nil
		case isTemporary(err):
			// Out of descriptors, most likely: some may come free.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		case err != nil:
			_ = l.Close()
			return err
		}
		pause = 0
		select {
		case room <- struct{}{}:
			connections.Go(func() {
				defer func() { <-room }()
				s.serve(inner, conn)
			})
		default:
			_ = conn.Close()
		}
	}
}

func isTemporary(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary()
}

// ServeConn serves one connection until the client hangs up or ctx ends.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) error {
	if err := s.check(); err != nil {
		_ = conn.Close()
		return err
	}
	s.serve(ctx, conn)
	return nil
}

func (s *Server) most() int {
	if s.Connections > 0 {
		return s.Connections
	}
	return 64
}

func (s *Server) memory() int64 {
	if s.Memory > 0 {
		return s.Memory
	}
	return 64 << 20
}

func (s *Server) grace() time.Duration {
	if s.Grace > 0 {
		return s.Grace
	}
	return 10 * time.Second
}

// check refuses what cannot be served.
func (s *Server) check() error {
	if s.memory() < maxPayload {
		return fmt.Errorf("%d bytes of memory for a connection are too few", s.memory())
	}
	seen := make(map[string]bool)
	for i := range s.Exports {
		e := &s.Exports[i]
		unit := max(e.BlockSize, 1)
		switch {
		case seen[e.Name]:
			return fmt.Errorf("export %q is there twice", e.Name)
		case len(e.Name) > maxString || len(e.Description) > maxString || strings.ContainsRune(e.Name, 0):
			return fmt.Errorf("export %.40q: name or description is too long", e.Name)
		case e.BlockSize < 0 || unit&(unit-1) != 0 || unit > maxMinBlock || e.Backend.Size()%unit != 0:
			return fmt.Errorf("export %q: %d bytes in blocks of %d", e.Name, e.Backend.Size(), e.BlockSize)
		}
		seen[e.Name] = true
	}
	return nil
}

// find returns the export of a name, or nil.
func (s *Server) find(name string) *Export {
	for i := range s.Exports {
		if s.Exports[i].Name == name {
			return &s.Exports[i]
		}
	}
	if name == "" && len(s.Exports) == 1 {
		return &s.Exports[0]
	}
	return nil
}

// report tells of what went wrong for other reasons than the client's leaving.
func (s *Server) report(export string, err error) {
	if s.Failed != nil && err != nil {
		s.Failed(export, err)
	}
}

// serve serves one connection to its end.
func (s *Server) serve(ctx context.Context, raw net.Conn) {
	defer func() { _ = raw.Close() }()
	widen(raw)
	// work outlives ctx by the grace.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		_ = raw.SetReadDeadline(time.Unix(1, 0)) // wakes who waits for the next request
		select {
		case <-work.Done():
		case <-time.After(s.grace()):
			cancel()
			_ = raw.Close()
		}
	})()

	limit := time.AfterFunc(patience, func() { _ = raw.Close() })
	n := &negotiation{server: s, conn: raw}
	e, err := n.run(ctx)
	limit.Stop()
	if err != nil {
		s.report("", err)
		return
	}
	if e == nil {
		return
	}
	defer func() { _ = n.conn.Close() }()
	session := &session{
		server: s, export: e, conn: n.conn, features: n.features, flags: n.flagsOf(e),
		stop: ctx, work: work, cancel: cancel,
		memory: semaphore.NewWeighted(s.memory()), slots: make(chan struct{}, depth),
	}
	s.report(e.Name, session.run())
}
