package journal

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/process"
)

func openAt(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func newJournal(t *testing.T) *Journal {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "a folder?", "journal.db"))
}

func claim(t *testing.T, j *Journal, vapp string) *Claim {
	t.Helper()
	c, err := j.Claim(t.Context(), "site", vapp, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Release(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestClaimIsExclusive(t *testing.T) {
	j := newJournal(t)
	c := claim(t, j, "v1")
	if c.Replaced != nil {
		t.Errorf("a free vApp was taken over from %v", c.Replaced)
	}
	_, err := j.Claim(t.Context(), "site", "v1", "other")
	var claimed *Claimed
	if !errors.Is(err, ErrClaimed) || !errors.As(err, &claimed) {
		t.Fatalf("got %v, want ErrClaimed", err)
	}
	if claimed.Holder != "test" || claimed.PID != os.Getpid() || time.Since(claimed.Since) > time.Minute {
		t.Errorf("got %+v", claimed)
	}
	if other := claim(t, j, "v2"); other.Token <= c.Token {
		t.Errorf("another vApp's token %d is not above %d", other.Token, c.Token)
	}
	if _, err := j.Claim(t.Context(), "other site", "v1", "test"); err != nil {
		t.Errorf("same vApp id at another site: %v", err)
	}
	for range 2 {
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if again := claim(t, j, "v1"); again.Token <= c.Token {
		t.Errorf("token %d after %d", again.Token, c.Token)
	}
}

func TestSilentClaimIsTakenOver(t *testing.T) {
	j := newJournal(t)
	c := claim(t, j, "v1")
	clock := time.Now()
	j.now = func() time.Time { return clock }

	clock = clock.Add(j.stale / 2)
	if _, err := j.Claim(t.Context(), "site", "v1", "other"); !errors.Is(err, ErrClaimed) {
		t.Fatalf("before it is stale: got %v", err)
	}
	clock = clock.Add(j.stale)
	heir := claim(t, j, "v1")
	if heir.Token <= c.Token || heir.Replaced == nil || heir.Replaced.Holder != "test" {
		t.Errorf("got %+v", heir)
	}
	in := Intent{Claim: c.Token, Site: "site", VApp: "v1", Kind: "snapshot"}
	if _, err := j.Intend(t.Context(), in); !errors.Is(err, ErrFenced) {
		t.Errorf("intent of the old holder: got %v, want ErrFenced", err)
	}
	if err := c.Valid(t.Context()); !errors.Is(err, ErrFenced) {
		t.Errorf("old claim: got %v, want ErrFenced", err)
	}
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := heir.Valid(t.Context()); err != nil {
		t.Errorf("releasing the old claim hurt the new one: %v", err)
	}
}

func TestHeartbeatKeepsAClaimAndTellsOfItsLoss(t *testing.T) {
	j := newJournal(t)
	j.stale = 300 * time.Millisecond
	c := claim(t, j, "v1")
	ctx, cancel := c.Context(t.Context())
	defer cancel()
	for deadline := time.Now().Add(3 * j.stale); time.Now().Before(deadline); {
		if _, err := j.Claim(t.Context(), "site", "v1", "other"); !errors.Is(err, ErrClaimed) {
			t.Fatalf("got %v, want ErrClaimed", err)
		}
		time.Sleep(j.stale / 20)
	}
	if _, err := j.db.ExecContext(t.Context(), `DELETE FROM claims`); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
		if !errors.Is(context.Cause(ctx), ErrFenced) {
			t.Errorf("cause: got %v, want ErrFenced", context.Cause(ctx))
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the loss went unnoticed")
	}
	<-c.Lost()
}

func TestClaimContextEndsWithoutLoss(t *testing.T) {
	c := claim(t, newJournal(t), "v1")
	ctx, cancel := c.Context(t.Context())
	cancel()
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), ErrFenced) {
		t.Error("cancelling looks like a loss")
	}
}

func TestDeadness(t *testing.T) {
	self, err := process.This()
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*process.Process)) process.Process { p := self; change(&p); return p }
	for _, tc := range []struct {
		name string
		p    process.Process
		want bool
	}{
		{"this process lives", self, false},
		{"a pid that cannot be", with(func(p *process.Process) { p.PID = 1 << 30 }), true},
		{"the pid was given to another process since", with(func(p *process.Process) { p.Started = "1" }), true},
		{"another host's process is unknown", with(func(p *process.Process) { p.Host += "x"; p.PID = 1 << 30 }), false},
		{"an earlier boot's process is unknown", with(func(p *process.Process) { p.Boot += "x"; p.PID = 1 << 30 }), false},
		{"nothing is known without a boot id", with(func(p *process.Process) { p.Boot = ""; p.PID = 1 << 30 }), false},
	} {
		if got := tc.p.Dead(self); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestIntents(t *testing.T) {
	j := newJournal(t)
	c1, c2 := claim(t, j, "v1"), claim(t, j, "v2")
	add := func(c *Claim, object string) int64 {
		id, err := j.Intend(t.Context(), Intent{
			Claim: c.Token, Run: "r", Site: c.Site, VApp: c.VApp, Kind: "k", Object: object, Detail: map[string]string{"a": object},
		})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first, _, third := add(c1, "one"), add(c2, "two"), add(c1, "three")
	objects := func(f Filter) string {
		intents, err := j.OpenIntents(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, in := range intents {
			if in.Detail["a"] != in.Object || in.Run != "r" || in.Kind != "k" || in.Made.IsZero() {
				t.Errorf("got %+v", in)
			}
			names = append(names, in.Object)
		}
		return strings.Join(names, " ")
	}
	for _, tc := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "one two three"}, {Filter{VApp: "v1"}, "one three"}, {Filter{Site: "site", VApp: "v2"}, "two"}, {Filter{Site: "none"}, ""},
	} {
		if got := objects(tc.f); got != tc.want {
			t.Errorf("%+v: got %q, want %q", tc.f, got, tc.want)
		}
	}
	for range 2 {
		if err := j.Settle(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if err := j.Amend(t.Context(), first, map[string]string{"b": "2"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Amend(t.Context(), third, map[string]string{"b": "2"}); err != nil {
		t.Fatal(err)
	}
	if got := objects(Filter{VApp: "v1"}); got != "three" {
		t.Errorf("after settling: got %q", got)
	}
	left, err := j.OpenIntents(t.Context(), Filter{VApp: "v1"})
	if err != nil || left[0].Detail["b"] != "2" {
		t.Errorf("amended: got %+v, %v", left, err)
	}
	wrong := Intent{Claim: c1.Token, Site: "site", VApp: "v2", Kind: "k"}
	if _, err := j.Intend(t.Context(), wrong); !errors.Is(err, ErrFenced) {
		t.Errorf("another vApp's claim: got %v, want ErrFenced", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	j, err := Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	torn := slices.Clone(whole)
	for i := 4096; i < len(torn); i++ {
		torn[i] = 0x5a
	}
	foreign, newer := filepath.Join(dir, "foreign.db"), filepath.Join(dir, "newer.db")
	execute(t, foreign, "CREATE TABLE x (y)")
	if err := os.WriteFile(newer, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	execute(t, newer, "PRAGMA user_version = 99")

	for _, tc := range []struct {
		name, path string
		content    []byte
		want       error
	}{
		{"no database at all", filepath.Join(dir, "text.db"), []byte(strings.Repeat("hello ", 1000)), ErrDamaged},
		{"overwritten pages", filepath.Join(dir, "torn.db"), torn, ErrDamaged},
		{"cut short", filepath.Join(dir, "short.db"), whole[:5000], ErrDamaged},
		{"another program's", foreign, nil, ErrDamaged},
		{"a newer program's", newer, nil, ErrNewer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.content != nil {
				if err := os.WriteFile(tc.path, tc.content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			j, err := Open(t.Context(), tc.path)
			if err == nil {
				j.Close()
			}
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.path) {
				t.Fatalf("got %v, want %v with the path", err, tc.want)
			}
			if after, _ := os.ReadFile(tc.path); tc.content != nil && !slices.Equal(after, tc.content) {
				t.Error("the file was changed")
			}
		})
	}
}

func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestOpenIsDurableAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openAt(t, path)
	var mode string
	var synchronous int
	if err := j.db.QueryRow("SELECT journal_mode, synchronous FROM pragma_journal_mode, pragma_synchronous").Scan(&mode, &synchronous); err != nil {
		t.Fatal(err)
	}
	if mode != "wal" || synchronous != 2 {
		t.Errorf("journal_mode %s, synchronous %d; want wal, 2", mode, synchronous)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}

func TestReplaceIsAllOrNothing(t *testing.T) {
	ctx := t.Context()
	j, err := Open(ctx, filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	c, err := j.Claim(ctx, "s", "v", "test")
	if err != nil {
		t.Fatal(err)
	}
	in := Intent{Claim: c.Token, Site: "s", VApp: "v", Kind: "swap", Object: "vm-1"}
	id, err := j.Intend(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	lost := in
	lost.Claim++
	if _, err := j.Replace(ctx, []int64{id}, []Intent{in, lost}); !errors.Is(err, ErrFenced) {
		t.Fatalf("under a lost claim: %v", err)
	}
	if open, err := j.OpenIntents(ctx, Filter{}); err != nil || len(open) != 1 || open[0].ID != id {
		t.Fatalf("after a failed one: %+v, %v", open, err)
	}
	in.Kind = "old-disk"
	ids, err := j.Replace(ctx, []int64{id}, []Intent{in, in})
	if err != nil || len(ids) != 2 {
		t.Fatalf("%v, %v", ids, err)
	}
	open, err := j.OpenIntents(ctx, Filter{})
	if err != nil || len(open) != 2 || open[0].Kind != "old-disk" {
		t.Fatalf("afterwards: %+v, %v", open, err)
	}
}
