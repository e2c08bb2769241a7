package e2e

import (
	"maps"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
)

// either checks that the disks of a vApp are all as in one of two states, and
// tells which.
func (e *env) either(name string, former, restored map[string]string) (isFormer bool) {
	e.t.Helper()
	got := e.sums(e.vapp(name))
	switch {
	case maps.Equal(got, former):
		return true
	case maps.Equal(got, restored):
		return false
	}
	e.t.Errorf("the disks are neither what they were nor what they are to be: %v", got)
	return false
}

func TestAnUndoKilledAnywhereIsTakenBackOrDone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	e.write("web01", 0, 1<<20, random(1, 1<<20))
	e.write("db01", 1, 1<<20, random(2, 1<<20))
	former := e.sums(e.off("web-shop"))
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true, KeepOld: true}})
	restored := e.sums(e.vapp("web-shop"))
	for n := 1; ; n += stride() {
		step, killed := e.die(n, "undo "+webShop)
		if !killed {
			break
		}
		over := false
		t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			e.tidy(e.vapp("web-shop"))
			isFormer := e.either("web-shop", former, restored)
			list, err := e.app(nil).Undoable(t.Context(), "")
			if err != nil || isFormer != (len(list) == 0) {
				t.Errorf("undone: %v, but what can be undone is %+v, %v", isFormer, list, err)
			}
			over = isFormer
		})
		if over {
			break
		}
	}
	if !e.either("web-shop", former, restored) {
		t.Error("the undo is not done")
	}
	e.noOrphans()
}

func TestAnOverwriteThatKeepsAndRemovesKilledAnywhereIsTakenBackOrDone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	e.off("wiki")
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{VMs: []string{"wiki01"}, Beside: true}})
	e.addDiskOn(vmOf(t, e.vapp("wiki"), "wiki01"), "3")
	for n := 1; ; n += stride() {
		step, killed := e.die(n, "restore "+point.ID+" overwrite keep remove")
		if !killed {
			break
		}
		t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			wiki := e.vapp("wiki")
			e.tidy(wiki)
			list, err := e.app(nil).Undoable(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			// Past the commit point everything is done that was announced.
			if vms, disks := len(wiki.VMs), len(e.configs(wiki)["wiki01"].Disks); (len(list) > 0) != (vms == 1) || (len(list) > 0) != (disks == 1) {
				t.Errorf("%d VMs, %d disks, and what can be undone is %+v", vms, disks, list)
			}
		})
	}
	if _, left, err := e.app(nil).ForgetKept(t.Context(), "wiki"); err != nil || len(left) > 0 {
		t.Errorf("forget: %v, %v", left, err)
	}
	e.noOrphans()
}
