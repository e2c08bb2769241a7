package cli

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vbauerster/mpb/v8"

	"github.com/vappvault/vappvault/internal/progress"
)

func TestConsoleLines(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(&out)
	clock := time.Unix(0, 0)
	c.now = func() time.Time { return clock }
	after := func(d time.Duration, e progress.Event) { clock = clock.Add(d); c.Event(e) }
	vapp := progress.Event{Org: "acme", VApp: "web"}
	step := func(kind progress.Kind, name, err string) progress.Event {
		e := vapp
		e.Kind, e.Step, e.Err = kind, name, err
		return e
	}
	bytesOf := func(done int64) progress.Event {
		e := vapp
		e.Kind, e.VM, e.Disk, e.Done, e.Total = progress.Bytes, "db\x1b01", "Hard disk 1", done, 100<<20
		return e
	}
	after(0, step(progress.StepStart, "enter maintenance mode", ""))
	after(time.Second, step(progress.StepDone, "enter maintenance mode", "")) // not worth a line
	after(0, step(progress.StepStart, "copy disks", ""))
	after(0, bytesOf(0))
	after(10*time.Second, bytesOf(10<<20)) // too soon for one
	after(30*time.Second, bytesOf(40<<20))
	after(20*time.Second, bytesOf(100<<20))
	after(0, bytesOf(100<<20)) // said already
	after(0, step(progress.StepDone, "copy disks", ""))
	after(0, progress.Event{Kind: progress.Warn, Org: "acme", VApp: "web", VM: "db01", Message: "quiesce failed"})
	after(0, progress.Event{Kind: progress.Info, Message: "hello"})
	after(0, step(progress.StepStart, "remove snapshots", ""))
	after(0, step(progress.StepDone, "remove snapshots", "permission denied")) // the error comes at the end
	fmt.Fprintln(c, "level=WARN msg=x")
	c.Close()
	want := `acme/web: enter maintenance mode
acme/web: copy disks
acme/web: vm db` + "\ufffd" + `01: disk Hard disk 1: 40.0 MiB of 100.0 MiB, 40%, 1m0s left
acme/web: vm db` + "\ufffd" + `01: disk Hard disk 1: 100.0 MiB in 1m0s
acme/web: copy disks: 1m0s
acme/web: vm db01: warning: quiesce failed
hello
acme/web: remove snapshots
acme/web: remove snapshots: failed
level=WARN msg=x
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestConsoleBars(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(&out)
	c.draw(&out, mpb.WithAutoRefresh())
	var wg sync.WaitGroup
	for disk := range 4 {
		wg.Go(func() {
			for done := int64(0); done <= 8<<20; done += 1 << 20 {
				if disk == 3 && done > 4<<20 {
					return // one never ends
				}
				c.Event(progress.Event{Kind: progress.Bytes, VM: "vm", Disk: fmt.Sprint(disk), Done: done, Total: 8 << 20})
				c.Event(progress.Event{Kind: progress.Info, VM: "vm", Message: "line"})
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	c.Close()
	text := out.String()
	for disk := range 4 {
		if got, want := strings.Contains(text, fmt.Sprintf("disk %d: 8.0 MiB in ", disk)), disk != 3; got != want {
			t.Errorf("disk %d: its last line: got %v, want %v", disk, got, want)
		}
	}
	if n := strings.Count(text, "vm vm: line\n"); n != 3*9+5 {
		t.Errorf("got %d lines, want %d", n, 3*9+5)
	}
	if !strings.Contains(text, "50%") {
		t.Errorf("no bar in %q", text)
	}
}

func TestBarsFitTheTerminal(t *testing.T) {
	for columns, want := range map[int][]string{
		80:  {"acme/we", "db01: disk Hard disk 2", "=>", " 50%", "MiB/s"},
		160: {"acme/web-shop-of-the-year: vm db01: disk Hard disk 2", "=>", "4.0 MiB / 8.0 MiB", " by vddk, 2 retries"},
	} {
		var out bytes.Buffer
		c := newConsole(&out)
		c.draw(&out, mpb.WithAutoRefresh(), mpb.WithWidth(columns))
		e := progress.Event{Kind: progress.Bytes, Org: "acme", VApp: "web-shop-of-the-year", VM: "db01", Disk: "Hard disk 2", Total: 8 << 20, Transport: "vddk", Retries: 2}
		c.Event(e)
		time.Sleep(250 * time.Millisecond)
		e.Done = 4 << 20
		c.Event(e)
		time.Sleep(450 * time.Millisecond)
		c.Close()
		lines := strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' || r == '\r' })
		drawn := false
		for _, line := range lines {
			line = regexp.MustCompile(`\x1b\[[0-9]*[A-Za-z]`).ReplaceAllString(line, "")
			if n := len([]rune(line)); n > columns {
				t.Errorf("%d columns: %d in %q", columns, n, line)
			}
			all := true
			for _, part := range want {
				all = all && strings.Contains(line, part)
			}
			drawn = drawn || all
		}
		if !drawn {
			t.Errorf("%d columns: no bar with %q in %q", columns, want, lines)
		}
	}
}
