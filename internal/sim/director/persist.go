package director

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// stateFile is the name of the inventory's file in Config.StateDir.
const stateFile = "director.state"

// When the inventory is saved. What it costs stretches the times, so that a
// large installation spends no more on it than a small part of its time.
const (
	saveAfter = 2 * time.Second  // a change
	saveIdle  = 30 * time.Second // with nothing known to have changed
	saveShare = 10               // a save takes at most this part of the time, 1 in …
)

// graphTypes are the types that interfaces in the inventory hold, besides those
// that it is made of anyway.
func graphTypes() []any { return nil }

// ErrState is the error of Start when what Config.StateDir keeps cannot be read.
var ErrState = errors.New("the state is damaged")

// Restored tells whether Start found the state of an earlier server and went on
// with that.
func (s *Server) Restored() bool { return s.restored }

// Save writes the inventory to Config.StateDir, where it differs from what is
// there. A file is there as a whole or not at all, whenever the process ends.
func (s *Server) Save() error {
	if s.cfg.StateDir == "" {
		return nil
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	var content bytes.Buffer
	if err := s.encode(&content); err != nil {
		return fmt.Errorf("director: %w", err)
	}
	sum := sha256.Sum256(content.Bytes())
	if sum == s.savedSum {
		return nil
	}
	if err := replaceFile(filepath.Join(s.cfg.StateDir, stateFile), content.Bytes()); err != nil {
		return fmt.Errorf("director: save: %w", err)
	}
	s.savedSum = sum
	return nil
}

// encode writes the inventory as it is at one moment.
func (s *Server) encode(w io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed, s.movedOn = false, s.ahead.Load()
	return s.codec.Save(w, &s.inventory)
}

// replaceFile writes a file beside the old one and puts it in its place.
func replaceFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// restore reads the inventory of an earlier server, if there is one.
func (s *Server) restore() error {
	if s.cfg.StateDir == "" {
		return nil
	}
	path := filepath.Join(s.cfg.StateDir, stateFile)
	// What a kill left half written.
	old, _ := filepath.Glob(path + ".*.tmp")
	for _, name := range old {
		_ = os.Remove(name) // stays where it does no harm
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	if err := s.codec.Load(f, &s.inventory); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrState, path, err)
	}
	s.restored = true
	s.ahead.Store(s.movedOn)
	s.afterCrash()
	return nil
}

// afterCrash ends what was under way, as the cells of a real installation do
// when they come up: tasks that nobody works on any more are aborted, and what
// they were making stays as it is, unresolved, until somebody deletes it.
func (s *Server) afterCrash() {
	now := s.now()
	for _, t := range s.tasks {
		if !t.over() {
			t.status, t.end, t.progress = "aborted", now, 100
		}
	}
	for _, a := range s.vapps {
		if a.status == stateUnresolved {
			a.status = stateFailed
		}
		a.download = nil
	}
	s.transfersAfterCrash()
}

// saveAlways saves until the server stops.
func (s *Server) saveAlways() {
	defer s.work.Done()
	const tick = saveAfter / 4
	due, idle := time.Now().Add(saveAfter), time.Now().Add(saveIdle)
	for pause(s.ctx, tick) == nil {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		now := time.Now()
		if now.Before(due) || !changed && now.Before(idle) {
			continue
		}
		err := s.Save()
		if err != nil {
			s.mu.Lock()
			s.changed = true // what was not written is to be
			s.mu.Unlock()
		}
		if s.cfg.Saved != nil {
			s.cfg.Saved(err)
		}
		cost := time.Since(now)
		due, idle = time.Now().Add(max(saveAfter, saveShare*cost)), time.Now().Add(max(saveIdle, 10*saveShare*cost))
	}
}

// touch notes that the inventory is not what it was. The mutex is held.
func (s *Server) touch() { s.changed, s.book = true, nil }

// writes tells the requests that change something.
func writes(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }
