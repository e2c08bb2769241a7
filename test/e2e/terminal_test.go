package e2e

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// A program of the command line whose terminal goes away.
type terminal struct {
	cmd    *exec.Cmd
	stdout *os.File
	stderr *bufio.Reader
	both   []io.Closer
}

// terminal starts a command whose output goes through pipes.
func (e *env) terminal(args string) *terminal {
	e.t.Helper()
	t := &terminal{cmd: exec.Command(os.Args[0])}
	t.cmd.Env = append(os.Environ(), childAction+"=cli --config "+e.conf.Path()+" "+args)
	out, outEnd, err := os.Pipe()
	if err != nil {
		e.t.Fatal(err)
	}
	errs, errsEnd, err := os.Pipe()
	if err != nil {
		e.t.Fatal(err)
	}
	t.cmd.Stdout, t.cmd.Stderr = outEnd, errsEnd
	// Where the tests themselves run under nohup a child would ignore the
	// hangup, too, unless it is caught here.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	t.stdout, t.stderr, t.both = out, bufio.NewReader(errs), []io.Closer{out, errs}
	if err := errors.Join(t.cmd.Start(), outEnd.Close(), errsEnd.Close()); err != nil {
		e.t.Fatal(err)
	}
	return t
}

// until reads what it says up to a line with that in it.
func (t *terminal) until(tb testing.TB, text string) {
	tb.Helper()
	for {
		line, err := t.stderr.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			tb.Fatalf("no %q was said: %v", text, err)
		}
	}
}

func (t *terminal) hangUp() {
	for _, c := range t.both {
		_ = c.Close()
	}
}

// TestATerminalThatGoesAwayLeavesNothingBehind has it happen while the vApp
// is in maintenance mode: by a hangup, which comes twice as a shell sends it,
// too, and by a reader such as head, which stops reading.
func TestATerminalThatGoesAwayLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	t.Run("a hangup cancels", func(t *testing.T) {
		run := e.terminal("backup " + webShop)
		defer run.hangUp()
		run.until(t, "maintenance mode")
		for range 2 {
			if err := run.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		run.until(t, "the terminal is gone")
		rest, err := io.ReadAll(run.stderr)
		if err := errors.Join(err, run.cmd.Wait()); run.cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("got %v, %s", err, rest)
		}
		e.tidy(e.vapp("web-shop"))
		if points, err := e.app(nil).Points(t.Context(), nil); err != nil || len(points) > 0 {
			t.Errorf("points: %v, %v", points, err)
		}
	})
	t.Run("what nobody reads is not missed", func(t *testing.T) {
		run := e.terminal("backup " + webShop)
		run.until(t, "maintenance mode")
		run.hangUp()
		if err := run.cmd.Wait(); run.cmd.ProcessState.ExitCode() != 141 {
			t.Errorf("got %v", err)
		}
		e.tidy(e.vapp("web-shop"))
		if points, err := e.app(nil).Points(t.Context(), nil); err != nil || len(points) != 1 {
			t.Errorf("points: %v, %v", points, err)
		}
		e.verified()
	})
}
