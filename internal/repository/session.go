package repository

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
)

const (
	// compressor is applied to each content by itself, unless a look at it
	// tells that it would not become smaller.
	compressor compression.Name = "zstd-fastest"
	// splitter leaves everything up to a block in one content.
	splitter = "FIXED-1M"
	// indexPiece is the unit in which a long index is stored, in bytes.
	// Entries keep their width when they change, so the pieces before and
	// after a changed one stay what they were.
	indexPiece = 128 << 10
	// flushEvery and flushContents bound what a kill can take away, in stored
	// bytes and in contents. Kopia's own flush comes every 10 minutes at most.
	flushEvery    = 2 << 30
	flushContents = 32 << 10
)

// A session writes contents to a repository. It is safe for concurrent use.
type session struct {
	o         *Repository
	rep       repo.DirectRepositoryWriter
	direct    contentWriter // nil: contents are written as objects
	unflushed atomic.Int64  // stored bytes, with an allowance for each content
	flushing  sync.Mutex

	mu     sync.Mutex
	failed error                   // the first; afterwards nothing more can be committed
	recent map[content.ID]struct{} // put since the last flush
}

func (o *Repository) newSession(ctx context.Context, purpose string) (*session, error) {
	_, w, err := o.rep.NewDirectWriter(ctx, repo.WriteSessionOptions{Purpose: purpose})
	if err != nil {
		return nil, fmt.Errorf("start writing: %w", err)
	}
	return &session{
		o: o, rep: w, direct: newContentWriter(w.ContentManager().WriteContent), recent: map[content.ID]struct{}{},
	}, nil
}

// fail remembers the first error, unless it only says that the caller gave up.
func (s *session) fail(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.failed == nil {
			s.failed = err
		}
	}
	return err
}

// usable returns the error that keeps the session from being used, if any.
func (s *session) usable(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// put stores one content of up to a block. Added is what the repository has
// grown by, in bytes: 0 for what it held already.
func (s *session) put(ctx context.Context, prefix content.IDPrefix, data []byte) (id object.ID, added int64, err error) {
	if err := s.usable(ctx); err != nil {
		return id, 0, err
	}
	id, err = s.writeContent(ctx, prefix, data)
	if err != nil {
		return id, 0, s.fail(ctx, err)
	}
	c, _, _ := id.ContentID()
	if !s.fresh(ctx, c) {
		return id, 0, nil
	}
	info, err := s.rep.ContentInfo(ctx, c)
	if err != nil {
		return id, 0, s.fail(ctx, fmt.Errorf("content %s: look up: %w", c, err))
	}
	added = int64(info.PackedLength)
	if s.unflushed.Add(added+flushEvery/flushContents) >= flushEvery && s.flushing.TryLock() {
		defer s.flushing.Unlock()
		err = s.flush(ctx)
	}
	return id, added, err
}

// writeContent stores up to a block as one content.
func (s *session) writeContent(ctx context.Context, prefix content.IDPrefix, data []byte) (object.ID, error) {
	worth := compressible(data)
	if s.direct == nil {
		o := object.WriterOptions{Prefix: prefix, Splitter: splitter}
		if worth {
			o.Compressor = compressor
		}
		return s.write(ctx, o, data)
	}
	how := content.NoCompression
	if worth {
		how = compression.HeaderZstdFastest
	}
	id, err := s.direct(ctx, data, prefix, how)
	return object.DirectObjectID(id), err
}

// fresh reports whether a content that was just put was not there before.
func (s *session) fresh(ctx context.Context, c content.ID) bool {
	s.mu.Lock()
	_, again := s.recent[c]
	s.recent[c] = struct{}{}
	s.mu.Unlock()
	if again {
		return false
	}
	held, err := s.o.rep.ContentInfo(ctx, c)
	return err != nil || held.Deleted
}

// write stores an object of any size.
func (s *session) write(ctx context.Context, o object.WriterOptions, data []byte) (object.ID, error) {
	w := s.rep.NewObjectWriter(ctx, o)
	defer w.Close() //nolint:errcheck // Result has said it
	if _, err := w.Write(data); err != nil {
		return object.EmptyID, err
	}
	return w.Result()
}

// flush makes durable what was put so far. Afterwards other processes see it,
// and a kill no longer loses it.
func (s *session) flush(ctx context.Context) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	s.unflushed.Store(0)
	s.mu.Lock()
	clear(s.recent)
	s.mu.Unlock()
	if err := s.rep.Flush(ctx); err != nil {
		return s.fail(ctx, fmt.Errorf("flush: %w", err))
	}
	return nil
}

// fetch reads one content that may not be flushed yet. What is flushed is not
// read through the writer, which holds a lock meanwhile.
func (s *session) fetch(ctx context.Context, id object.ID) ([]byte, error) {
	data, err := s.o.fetch(ctx, id)
	if !errors.Is(err, content.ErrContentNotFound) {
		return data, err
	}
	c, _, _ := id.ContentID()
	data, err = s.rep.ContentReader().GetContent(ctx, c)
	return data, readError(ctx, err)
}

// putIndex stores an index and returns the id of the object that it makes.
func (s *session) putIndex(ctx context.Context, entries iter.Seq[entry]) (id object.ID, added int64, err error) {
	var pieces []entry
	var at int64
	store := func(b []byte) error {
		id, n, err := s.put(ctx, indexPrefix, b)
		pieces = append(pieces, entry{at, int64(len(b)), id})
		at, added = at+int64(len(b)), added+n
		return err
	}
	b := append(make([]byte, 0, indexPiece+256), indexHead...)
	for e := range entries {
		b = appendEntry(b, e)
		if len(b) >= indexPiece {
			if err := store(b[:indexPiece]); err != nil {
				return id, added, err
			}
			b = append(b[:0], b[indexPiece:]...)
		}
	}
	if err := store(append(b, indexTail...)); err != nil {
		return id, added, err
	}
	if len(pieces) == 1 {
		return indirect(pieces[0].id), added, nil
	}
	// The index is itself an indirect object.
	id, n, err := s.putIndex(ctx, func(yield func(entry) bool) {
		for _, p := range pieces {
			if !yield(p) {
				return
			}
		}
	})
	return indirect(id), added + n, err
}

// close gives up what was not flushed.
func (s *session) close(ctx context.Context) {
	s.mu.Lock()
	if s.failed == nil {
		s.failed = errClosed
	}
	s.mu.Unlock()
	if err := s.rep.Close(ctx); err != nil {
		s.o.log.Warn("close writer", "org", s.o.org.label(), "error", err)
	}
}
