package e2e

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/selection"
)

// TestWhatAnOverwriteNeedsIsNotForgotten kills a restore that writes blocks,
// finishes it and takes it back: meanwhile a retention script drops points.
func TestWhatAnOverwriteNeedsIsNotForgotten(t *testing.T) {
	e := newVDDK(t)
	old := e.backup("wiki")
	point := e.backup("wiki")
	e.write("wiki01", 0, 2<<20, random(1, 5<<20))
	spoilt := e.sums(e.vapp("wiki"))
	if at, killed := e.dieAfter("first block wiki01", "restore "+point.ID+" overwrite blocks"); !killed {
		t.Fatalf("there is no such step; the last was %s", at)
	}
	halves, err := e.app(nil).Resumable(t.Context(), "wiki")
	if err != nil || len(halves) != 1 {
		t.Fatalf("got %+v, %v", halves, err)
	}
	safety := halves[0].Safety

	gone, err := e.app(nil).Forget(t.Context(), []string{point.ID, old.ID, safety}, false)
	if !slices.Equal(gone, []string{old.ID}) {
		t.Errorf("forgotten: %v, want %s alone", gone, old.ID)
	}
	for _, word := range []string{point.ID, safety, "run " + halves[0].Run, "acme/acme-vdc1/wiki"} {
		if !errors.Is(err, app.ErrNeeded) || !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want %v that names %s", err, app.ErrNeeded, word)
		}
	}
	if _, err := e.app(nil).Resume(t.Context(), "wiki", nil); err != nil {
		t.Fatal(err)
	}

	gone, err = e.app(nil).Forget(t.Context(), []string{safety, point.ID}, false)
	if !errors.Is(err, app.ErrNeeded) || !strings.Contains(err.Error(), "--undo") || !slices.Equal(gone, []string{point.ID}) {
		t.Errorf("the safety point of what can be undone: forgotten %v, %v", gone, err)
	}
	if _, err := e.app(nil).Undo(t.Context(), app.UndoRequest{Which: "wiki"}); err != nil {
		t.Fatal(err)
	}
	sameSums(t, e.sums(e.vapp("wiki")), spoilt)
	if _, err := e.app(nil).Forget(t.Context(), []string{safety}, false); err != nil {
		t.Errorf("once it is undone: %v", err)
	}
}

// TestASafetyPointIsForgottenByWhoMeansIt gives up an undo in both ways.
func TestASafetyPointIsForgottenByWhoMeansIt(t *testing.T) {
	e := newVDDK(t)
	point := e.backup("wiki")
	for _, force := range []bool{true, false} {
		e.write("wiki01", 0, 2<<20, random(1, 5<<20))
		e.restore(changedBlocks(point))
		safety := e.newest("wiki").ID
		if !force {
			if _, _, err := e.app(nil).ForgetKept(t.Context(), "wiki"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := e.app(nil).Forget(t.Context(), []string{safety}, force); err != nil {
			t.Errorf("by force: %v: %v", force, err)
		}
		_, err := e.app(nil).Undo(t.Context(), app.UndoRequest{Which: "wiki"})
		if want := map[bool]error{true: selection.ErrNoMatch, false: restore.ErrNothingKept}[force]; !errors.Is(err, want) {
			t.Errorf("by force: %v: undo: got %v, want %v", force, err, want)
		}
	}
}

func TestNothingIsGivenBackAtOnceBesideABackup(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	var immediate, careful error
	tried := false
	a := e.app(func(step string) {
		if step == "snapshot wiki01" {
			tried = true
			_, immediate = e.app(nil).Maintain(t.Context(), true)
			_, careful = e.app(nil).Maintain(t.Context(), false)
		}
	})
	if _, err := a.Backup(t.Context(), wiki); err != nil {
		t.Fatal(err)
	}
	if !tried || !errors.Is(immediate, repository.ErrBusy) || careful != nil {
		t.Errorf("tried: %v; immediate: %v, want %v; else: %v", tried, immediate, repository.ErrBusy, careful)
	}
	e.verified()
}
