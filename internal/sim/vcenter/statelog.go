package vcenter

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// The state of a server is a file of frames after one line that names the
// format and its version. A frame is
//
//	uint32 length of what follows the checksum, uint32 CRC-32 (IEEE) of it,
//	byte kind, uint16 length of the key, key, value
//
// with numbers in little-endian order. Records (r) and deletions (d) count
// from the commit (c) after them on, so that what was written by halves
// never happened; the newest of a key holds. The value of a commit is 1
// after a clean end, else 0. A note (n) counts at once: it says that the
// state of a VM has become newer than a record with a smaller generation
// (uint64). Values of records are JSON.
const (
	stateHeader = "vcdsim vcenter state 1\n"

	frameRecord = 'r'
	frameDelete = 'd'
	frameCommit = 'c'
	frameNote   = 'n'

	frameMax = 1 << 30
	// stateTemp names new state files until they are whole.
	stateTemp = ".vcenter.state-*"
	// slack is how much of a state file may be out of date.
	slack = 8 << 20
)

// A stateLog is an open state file.
type stateLog struct {
	path string

	mu    sync.Mutex
	f     *os.File
	end   int64
	live  map[string]span // newest record of each key
	notes map[string]uint64
	ended bool
}

type span struct{ off, n int64 }

// A stateFile is what a state file said.
type stateFile struct {
	records map[string][]byte
	notes   map[string]uint64
	clean   bool
}

// frame encodes one frame.
func frame(kind byte, key string, value []byte) []byte {
	b := make([]byte, 8, 11+len(key)+len(value))
	b = append(b, kind)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(key)))
	b = append(append(b, key...), value...)
	binary.LittleEndian.PutUint32(b, uint32(len(b)-8))
	binary.LittleEndian.PutUint32(b[4:], crc32.ChecksumIEEE(b[8:]))
	return b
}

// readFrame returns io.EOF where a whole frame is not there any more.
func readFrame(r io.Reader) (kind byte, key string, value []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, "", nil, io.EOF
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n < 3 || n > frameMax {
		return 0, "", nil, io.EOF
	}
	var buf bytes.Buffer // grows with what is there, whatever the length claims
	if got, _ := io.CopyN(&buf, r, int64(n)); got != int64(n) || crc32.ChecksumIEEE(buf.Bytes()) != binary.LittleEndian.Uint32(head[4:]) {
		return 0, "", nil, io.EOF
	}
	b := buf.Bytes()
	k := int(binary.LittleEndian.Uint16(b[1:]))
	if 3+k > len(b) {
		return 0, "", nil, io.EOF
	}
	return b[0], string(b[3 : 3+k]), b[3+k:], nil
}

// readState reads a state file; what is torn at its end is left out. There
// is none where nothing was ever committed.
func readState(r io.Reader) (*stateFile, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	header := make([]byte, len(stateHeader))
	if _, err := io.ReadFull(in, header); err != nil || string(header) != stateHeader {
		return nil, errors.New("not a state file of this version")
	}
	s := &stateFile{records: map[string][]byte{}, notes: map[string]uint64{}}
	pending := map[string][]byte{}
	committed := false
	for {
		kind, key, value, err := readFrame(in)
		if err != nil {
			break
		}
		switch kind {
		case frameRecord:
			pending[key] = value
		case frameDelete:
			pending[key] = nil
		case frameNote:
			if len(value) == 8 {
				s.notes[key] = max(s.notes[key], binary.LittleEndian.Uint64(value))
			}
		case frameCommit:
			for k, v := range pending {
				if v == nil {
					delete(s.records, k)
				} else {
					s.records[k] = v
				}
			}
			clear(pending)
			committed, s.clean = true, len(value) == 1 && value[0] == 1
		}
	}
	if !committed || len(s.records) == 0 {
		return nil, nil
	}
	return s, nil
}

func statePath(dir string) string { return filepath.Join(dir, "vcenter.state") }

// loadState returns nil where no state was kept yet.
func loadState(dir string) (*stateFile, error) {
	f, err := os.Open(statePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := readState(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, f.Name(), err)
	}
	return s, nil
}

// openState starts a new state file with what an old one said.
func openState(dir string, old *stateFile) (*stateLog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := &stateLog{path: statePath(dir), live: map[string]span{}, notes: map[string]uint64{}}
	left, _ := filepath.Glob(filepath.Join(dir, stateTemp)) // by a server that was killed
	for _, path := range left {
		_ = os.Remove(path)
	}
	if old == nil {
		return l, nil // begins with the first commit
	}
	maps.Copy(l.notes, old.notes)
	return l, l.rewrite(func(put func(string, []byte) error) error {
		for _, key := range slices.Sorted(maps.Keys(old.records)) {
			if err := put(key, frame(frameRecord, key, old.records[key])); err != nil {
				return err
			}
		}
		return nil
	})
}

// rewrite puts a new file, of the frames that each passes to put, in the
// place of the old one.
func (l *stateLog) rewrite(each func(put func(key string, frame []byte) error) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(l.path), stateTemp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	out := bufio.NewWriterSize(tmp, 1<<20)
	end := int64(len(stateHeader))
	live := map[string]span{}
	_, _ = out.WriteString(stateHeader)
	write := func(b []byte) error {
		_, err := out.Write(b)
		end += int64(len(b))
		return err
	}
	if err := each(func(key string, b []byte) error {
		live[key] = span{end, int64(len(b))}
		return write(b)
	}); err != nil {
		return err
	}
	for key, gen := range l.notes {
		if err := write(noteFrame(key, gen)); err != nil {
			return err
		}
	}
	if err := write(frame(frameCommit, "", []byte{0})); err != nil {
		return err
	}
	if err := errors.Join(out.Flush(), tmp.Sync()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), l.path); err != nil {
		return err
	}
	if l.f != nil {
		_ = l.f.Close()
	}
	l.f, l.end, l.live = tmp, end, live
	return nil
}

func noteFrame(key string, gen uint64) []byte {
	return frame(frameNote, key, binary.LittleEndian.AppendUint64(nil, gen))
}

// note says at once that what key stands for is newer than its record.
func (l *stateLog) note(key string, gen uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes[key] = max(l.notes[key], gen)
	if l.f == nil {
		return // nothing is written down that it could be newer than, or the end
	}
	b := noteFrame(key, gen)
	// A note that cannot be written is lost only if the server dies before
	// the next commit, which then cannot be written either.
	if n, err := l.f.WriteAt(b, l.end); err == nil {
		l.end += int64(n)
	}
}

// A change is a new record, or the end of one.
type change struct {
	key   string
	value []byte // nil: deleted
	gen   uint64 // notes up to this one are in the record
}

// commit writes changes down, all or none.
func (l *stateLog) commit(changes []change, clean bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return errors.New("the server has ended")
	}
	if l.f == nil {
		if err := l.rewrite(func(put func(string, []byte) error) error { return nil }); err != nil {
			return err
		}
	}
	var buf bytes.Buffer
	spans := map[string]span{}
	for _, c := range changes {
		b := frame(frameRecord, c.key, c.value)
		if c.value == nil {
			b = frame(frameDelete, c.key, nil)
		}
		spans[c.key] = span{l.end + int64(buf.Len()), int64(len(b))}
		buf.Write(b)
	}
	ended := []byte{0}
	if clean {
		ended[0] = 1
	}
	buf.Write(frame(frameCommit, "", ended))
	if _, err := l.f.WriteAt(buf.Bytes(), l.end); err != nil {
		return err
	}
	l.end += int64(buf.Len())
	var live int64
	for _, c := range changes {
		if gen, ok := l.notes[c.key]; ok && (c.value == nil || gen <= c.gen) {
			delete(l.notes, c.key)
		}
		if l.live[c.key] = spans[c.key]; c.value == nil {
			delete(l.live, c.key)
		}
	}
	for _, s := range l.live {
		live += s.n
	}
	if !clean && l.end > 2*live+slack {
		return l.compact()
	}
	return nil
}

// compact drops what is out of date.
func (l *stateLog) compact() error {
	return l.rewrite(func(put func(string, []byte) error) error {
		for _, key := range slices.Sorted(maps.Keys(l.live)) {
			b := make([]byte, l.live[key].n)
			if _, err := l.f.ReadAt(b, l.live[key].off); err != nil {
				return err
			}
			if err := put(key, b); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *stateLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.f == nil {
		return nil
	}
	err := errors.Join(l.f.Sync(), l.f.Close())
	l.f = nil
	return err
}
