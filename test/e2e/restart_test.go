package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/sim/cloud"
)

// restartCloud ends all servers, as a power cut of the installation does, and
// starts them again at the same addresses.
func (e *env) restartCloud() {
	e.t.Helper()
	if err := e.cloud.Close(); err != nil {
		e.t.Error(err)
	}
	c, err := cloud.Start(cloud.Options{Dir: filepath.Join(e.dir, "cloud"), Recorder: documents.Exchange})
	if err != nil {
		e.t.Fatal(err)
	}
	e.cloud = c
}

// during calls act once, after a step, and runs do.
func (e *env) during(step string, act func(), do func(a *app.App) error) error {
	e.t.Helper()
	acted := false
	err := do(e.app(func(s string) {
		if strings.HasPrefix(s, step) && !acted {
			acted = true
			act()
		}
	}))
	if !acted {
		e.t.Errorf("there was no step %s", step)
	}
	return err
}

// TestACloudThatRestartsInMidRun restarts vCD and vCenter under a backup and
// under restores. The run goes on or fails; nothing of it is left when a later
// one or reconcile has been there.
func TestACloudThatRestartsInMidRun(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("wiki"))
	point := e.backupWith(wiki)
	for _, test := range []struct {
		name string
		do   func(a *app.App) error
		step []string
	}{
		{"backup", func(a *app.App) error {
			_, err := a.Backup(t.Context(), wiki)
			return err
		}, []string{"enter maintenance", "disable relocation", "snapshot ", "remove snapshot"}},
		{"overwrite", func(a *app.App) error {
			_, err := a.Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
			return err
		}, []string{"enter maintenance", "intend scratch-vm", "build ", "detach", "swap ", "commit point"}},
		{"copy", func(a *app.App) error {
			_, err := a.Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "copy"}})
			return err
		}, []string{"build ", "import ", "enter maintenance"}},
	} {
		for i, step := range test.step {
			if !everything() && i%3 > 0 {
				continue
			}
			t.Run(test.name+" after "+strings.TrimSpace(step), func(t *testing.T) {
				old := e
				e := e.with(t)
				err := e.during(step, e.restartCloud, test.do)
				old.cloud = e.cloud
				e.connect()
				if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
					t.Fatal(err)
				}
				e.tidy(e.vapp("wiki"))
				sameSums(t, e.sums(e.vapp("wiki")), want)
				if copied := e.find("copy"); copied != nil {
					if err != nil {
						t.Errorf("a copy is left of a restore that failed: %v", err)
					}
					e.tidy(copied)
					sameSums(t, e.sums(copied), want)
					e.destroy(copied)
				}
				e.noOrphans()
			})
		}
	}
	if point := e.backupWith(wiki); point.State != "complete" {
		t.Errorf("%s: %v", point.State, point.Problems)
	}
	e.verified()
}
