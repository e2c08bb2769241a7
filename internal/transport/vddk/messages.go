package vddk

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	longestLine = 1 << 10 // bytes that are kept of one message
	keptErrors  = 8
	keptHints   = 8
)

// messages reads what a child says on its standard error, and keeps a little
// of it, without the secrets. It is an io.Writer.
type messages struct {
	secrets []string

	mu     sync.Mutex
	line   []byte   // the beginning of the one that is being received
	errors []string // the newest, without nbdkit's own words before them
	hints  []string // of the library's chatter what tells the reason of an error
	mode   string   // how the library reaches the disk, "nbdssl"
	more   chan struct{}
	ended  bool
}

func newMessages(secrets ...string) *messages {
	m := &messages{more: make(chan struct{})}
	for _, s := range secrets {
		if s != "" {
			m.secrets = append(m.secrets, s)
		}
	}
	return m
}

// Write takes any piece of what was said.
func (m *messages) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(p)
	for {
		line, rest, found := bytes.Cut(p, []byte("\n"))
		// Of a longer one the end is dropped, but never kept in part: a secret
		// could be cut in two.
		if room := 64*longestLine - len(m.line); room > 0 {
			m.line = append(m.line, line[:min(room, len(line))]...)
		}
		if !found {
			return n, nil
		}
		m.take(string(m.line))
		m.line, p = m.line[:0], rest
	}
}

// end says that nothing more comes.
func (m *messages) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.line) > 0 {
		m.take(string(m.line))
		m.line = nil
	}
	if !m.ended {
		m.ended = true
		close(m.more)
	}
}

var (
	errorLine = regexp.MustCompile(`^nbdkit: (?:[^ ]+: )?error: (.*)$`)
	debugLine = regexp.MustCompile(`^nbdkit: (?:[^ ]+: )?debug: (.*)$`)
	modeLine  = regexp.MustCompile(`^transport mode: (\S+)$`)
	// own is what nbdkit and its plugin tell of themselves.
	own = regexp.MustCompile(`^(VDDK call|vddk|newstyle negotiation|replying to|replaced|re-?exec)`)
	// hinting is what the library says beside an error that means nothing,
	// "Unknown error".
	hinting = regexp.MustCompile(`(?i)thumbprint|nfc error|cannot (open|create|connect)|refused|failed to (verify|connect|open)|not found|denied|locked`)
)

func (m *messages) take(line string) {
	for _, s := range m.secrets {
		line = strings.ReplaceAll(line, s, "***")
	}
	if len(line) > longestLine {
		line = line[:longestLine]
	}
	line = strings.ToValidUTF8(strings.TrimRight(line, "\r"), "?")
	if found := errorLine.FindStringSubmatch(line); found != nil {
		m.errors = keep(m.errors, found[1], keptErrors)
		close(m.more)
		m.more = make(chan struct{})
		return
	}
	text := line
	if found := debugLine.FindStringSubmatch(line); found != nil {
		text = found[1]
		if mode := modeLine.FindStringSubmatch(text); mode != nil {
			m.mode = mode[1]
		}
		if own.MatchString(text) {
			return
		}
	}
	if hinting.MatchString(text) {
		m.hints = keep(m.hints, text, keptHints)
	}
}

func keep(list []string, s string, most int) []string {
	if len(list) > 0 && list[len(list)-1] == s {
		return list
	}
	if list = append(list, s); len(list) > most {
		list = list[1:]
	}
	return list
}

// transport is how the library reaches the disk, or empty where it has not
// said.
func (m *messages) transport() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mode
}

// cause returns what was said of errors, the newest last; of the hints where
// that says nothing. What it says, it says before it answers, but by another
// way, so a moment is waited for it.
func (m *messages) cause() (errs, hints []string) {
	deadline := time.After(500 * time.Millisecond)
	for {
		m.mu.Lock()
		more, have := m.more, len(m.errors) > 0 || m.ended
		errs, hints = append(errs[:0], m.errors...), append(hints[:0], m.hints...)
		m.mu.Unlock()
		if have {
			return errs, hints
		}
		select {
		case <-more:
		case <-deadline:
			return errs, hints
		}
	}
}
