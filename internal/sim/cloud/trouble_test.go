package cloud

import (
	"io/fs"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestTroubleIsToldOnce(t *testing.T) {
	t.Parallel()
	var lines []string
	now := time.Unix(0, 0)
	tr := newTrouble(func(line string) { lines = append(lines, line) })
	tr.now = func() time.Time { return now }
	full := func(name string) error { return &fs.PathError{Op: "write", Path: name, Err: syscall.ENOSPC} }
	tr.saved("a", nil)
	tr.saved("a", full("state.1.tmp"))
	tr.saved("a", full("state.2.tmp")) // the same
	now = now.Add(time.Minute)
	tr.saved("a", full("state.3.tmp"))
	tr.saved("a", &fs.PathError{Op: "open", Path: "x", Err: syscall.EROFS})
	tr.saved("a", nil)
	tr.saved("a", nil)
	want := []string{
		"a: what changes is not saved: write state.1.tmp: no space left on device",
		"a: what changes is not saved: write state.3.tmp: no space left on device",
		"a: what changes is not saved: open x: read-only file system",
		"a: is saved again",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q", lines)
	}
}
