package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The test binary runs itself as other processes that share the journal.
const roleVar, pathVar = "JOURNAL_TEST_ROLE", "JOURNAL_TEST_PATH"

func TestMain(m *testing.M) {
	roles := map[string]func(context.Context, string) error{"hold": hold, "take turns": takeTurns}
	if role, ok := roles[os.Getenv(roleVar)]; ok {
		if err := role(context.Background(), os.Getenv(pathVar)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
	cmd.Env = append(os.Environ(), roleVar+"="+role, pathVar+"="+path)
	return cmd
}

// hold claims a vApp, writes intents without end and reports each.
func hold(ctx context.Context, path string) error {
	j, err := Open(ctx, path)
	if err != nil {
		return err
	}
	c, err := j.Claim(ctx, "site", "v1", "child")
	if err != nil {
		return err
	}
	for {
		id, err := j.Intend(ctx, Intent{Claim: c.Token, Site: "site", VApp: "v1", Kind: "k", Object: "o"})
		if err != nil {
			return err
		}
		fmt.Println(id)
	}
}

func TestKilledHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	cmd := child(t, "hold", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 20 {
		if !lines.Scan() {
			t.Fatal("the child wrote nothing")
		}
	}
	j := openAt(t, path)
	if _, err := j.Claim(t.Context(), "site", "v1", "parent"); !errors.Is(err, ErrClaimed) {
		t.Fatalf("while it lives: got %v, want ErrClaimed", err)
	}
	if err := cmd.Process.Kill(); err != nil { // SIGKILL, in the midst of writing
		t.Fatal(err)
	}
	reported := map[int64]bool{}
	for lines.Scan() { // what was in the pipe
		if id, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
			reported[id] = true
		}
	}
	_ = cmd.Wait() // killed

	c := claim(t, j, "v1") // at once: the process is dead
	if c.Replaced == nil || c.Replaced.Holder != "child" {
		t.Errorf("taken over from %+v", c.Replaced)
	}
	intents, err := j.OpenIntents(t.Context(), Filter{VApp: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range intents {
		delete(reported, in.ID)
	}
	if len(reported) > 0 || len(intents) < 20 {
		t.Errorf("%d intents kept, %d reported ones lost", len(intents), len(reported))
	}
}

// takeTurns claims a vApp again and again and checks that nobody else has it
// meanwhile.
func takeTurns(ctx context.Context, path string) error {
	j, err := Open(ctx, path)
	if err != nil {
		return err
	}
	defer j.Close()
	for range 15 {
		c, err := j.Claim(ctx, "site", "v1", "child")
		for errors.Is(err, ErrClaimed) {
			time.Sleep(time.Millisecond)
			c, err = j.Claim(ctx, "site", "v1", "child")
		}
		if err != nil {
			return err
		}
		id, err := j.Intend(ctx, Intent{Claim: c.Token, Site: "site", VApp: "v1", Kind: "k"})
		if err != nil {
			return err
		}
		lock, err := os.OpenFile(path+".turn", os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("two at once: %w", err)
		}
		if err := errors.Join(lock.Close(), os.Remove(path+".turn"), j.Settle(ctx, id), c.Release(ctx)); err != nil {
			return err
		}
		fmt.Println(c.Token)
	}
	return nil
}

func TestProcessesTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db") // they race to make it, too
	var cmds []*exec.Cmd
	var outs []*strings.Builder
	for range 4 {
		cmd, out := child(t, "take turns", path), &strings.Builder{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	tokens := map[string]bool{}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, outs[i])
		}
		for _, token := range strings.Fields(outs[i].String()) {
			if tokens[token] {
				t.Errorf("token %s was given out twice", token)
			}
			tokens[token] = true
		}
	}
	if !t.Failed() && len(tokens) != 4*15 {
		t.Errorf("got %d turns, want %d", len(tokens), 4*15)
	}
	intents, err := openAt(t, path).OpenIntents(t.Context(), Filter{})
	if err != nil || len(intents) != 0 {
		t.Errorf("left open: %v, %v", intents, err)
	}
}
