package e2e

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/vcd"
)

// TestTwoRunsOnOneVAppAreRefusedByName begins a run of each sort in the midst
// of one of each sort. The second is refused and says who is at work; the
// first does not notice.
func TestTwoRunsOnOneVAppAreRefusedByName(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backupWith(wiki)
	want := e.sums(e.vapp("wiki"))
	overwrite := app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}}
	runs := map[string]func(a *app.App) error{
		"backup":  func(a *app.App) error { _, err := a.Backup(t.Context(), wiki); return err },
		"restore": func(a *app.App) error { _, err := a.Restore(t.Context(), overwrite); return err },
		"copy": func(a *app.App) error {
			_, err := a.Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "copy"}})
			return err
		},
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range []string{"backup", "restore", "copy"} {
		for _, second := range []string{"backup", "restore", "copy"} {
			t.Run(second+" during "+first, func(t *testing.T) {
				e := e.with(t)
				var got error
				tried := false
				err := runs[first](e.app(func(string) {
					if !tried {
						tried = true
						got = runs[second](e.app(nil))
					}
				}))
				if err != nil || !tried {
					t.Errorf("the first run: %v", err)
				}
				holder := strings.Replace(first, "copy", "restore", 1)
				if !errors.Is(got, journal.ErrClaimed) || !strings.Contains(got.Error(), "claimed by "+holder) || !strings.Contains(got.Error(), host) {
					t.Errorf("the second run: %v", got)
				}
				e.tidy(e.vapp("wiki"))
				sameSums(t, e.sums(e.vapp("wiki")), want)
				if c := e.find("copy"); c != nil {
					e.destroy(c)
				}
			})
		}
	}
	e.noOrphans()
}

// TestSomebodyElsesMaintenanceModeRefusesARestore: nothing that somebody holds
// still is changed, not even by the system's administrator.
func TestSomebodyElsesMaintenanceModeRefusesARestore(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backupWith(wiki)
	w := e.vapp("wiki")
	want := e.sums(w)
	if err := e.vcd.EnterMaintenance(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	var steps []string
	_, err := e.app(func(s string) { steps = append(steps, s) }).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	if !errors.Is(err, plan.ErrConflict) || !strings.Contains(err.Error(), "vApp wiki: is in maintenance mode by somebody else") {
		t.Errorf("restore: %v", err)
	}
	if len(steps) > 0 {
		t.Errorf("only after %q", steps)
	}
	// And when it comes between the plan and the deed.
	if err := e.vcd.ExitMaintenance(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	request := app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}, Planned: func(*plan.Plan) {
		if err := e.vcd.EnterMaintenance(t.Context(), w.ID); err != nil {
			t.Error(err)
		}
	}}
	_, err = e.app(nil).Restore(t.Context(), request)
	if !errors.Is(err, plan.ErrConflict) || !strings.Contains(err.Error(), "in maintenance mode by somebody else") {
		t.Errorf("restore: %v", err)
	}
	if !e.vapp("wiki").InMaintenance {
		t.Error("somebody else's maintenance mode was ended")
	}
	sameSums(t, e.sums(e.vapp("wiki")), want)
	if err := e.vcd.ExitMaintenance(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	e.tidy(e.vapp("wiki"))
	e.noOrphans()
}

// TestARestoreNamesTheTaskThatIsInItsWay lets a tenant's task run on, longer
// than the restore waits.
func TestARestoreNamesTheTaskThatIsInItsWay(t *testing.T) {
	t.Parallel()
	e := newEnvOf(t, fault.New(1))
	point := e.backupWith(wiki)
	e.conf.Limits.MaintenanceTimeout = 50 * time.Millisecond
	w := e.vapp("wiki")
	e.rules(fault.Rule{Service: fault.VCDTask, Object: "wiki01", Effect: fault.Effect{Delay: fault.Duration(3 * time.Second)}})
	var late error
	ended := make(chan struct{})
	a := e.app(func(step string) {
		if step != "mark vApp" {
			return
		}
		go func() {
			defer close(ended)
			late = e.vcd.SetMetadata(t.Context(), w.VMs[0].Href, vcd.MetadataEntry{Domain: "GENERAL", Key: "late", Type: vcd.StringValue, Value: "task"})
		}()
		for {
			tasks, err := e.vcd.RunningTasks(t.Context(), w.VMs[0].ID)
			if err != nil {
				t.Error(err)
			}
			if err != nil || len(tasks) > 0 {
				return
			}
		}
	})
	_, err := a.Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	<-ended
	if late != nil {
		t.Error(late)
	}
	if err == nil || !strings.Contains(err.Error(), "of user administrator") || !strings.Contains(err.Error(), "etadata") {
		t.Errorf("restore: %v", err)
	}
	e.tidy(e.vapp("wiki"))
	e.noOrphans()
}

// TestPain10DiscoveryAdoptsNothingThatIsRestored has vCD look for VMs after every
// step of restores, with discovery on everywhere.
func TestPain10DiscoveryAdoptsNothingThatIsRestored(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backupWith(wiki)
	found := func() int {
		refs, err := e.vcd.VApps(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, r := range refs {
			if strings.HasPrefix(r.Name, "Discovered") {
				n++
			}
		}
		return n
	}
	steps := 0
	look := func(step string) {
		steps++
		if err := e.cloud.Director().Discover(t.Context()); err != nil {
			t.Error(err)
		}
		if found() > 0 {
			t.Errorf("after %q vCD has adopted a VM of ours", step)
		}
	}
	for _, o := range []plan.Options{{As: "copy"}, {Overwrite: true}, {}} {
		if !o.Overwrite && o.As == "" {
			e.destroy(e.vapp("wiki"))
		}
		if _, err := e.app(look).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: o}); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if steps < 20 {
		t.Errorf("only %d steps", steps)
	}
	// Discovery is on: what is in the VDC's pool is found.
	e.tidy(e.vapp("wiki"))
	e.strayIn("acme-acme-vdc1")
	if err := e.cloud.Director().Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found() != 1 {
		t.Errorf("discovery finds %d VMs, want the stray one", found())
	}
}

// TestAVAppThatIsDeletedUnderARestoreIsNotHalfRestored deletes a vApp while its
// overwriting is planned.
func TestAVAppThatIsDeletedUnderARestoreIsNotHalfRestored(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backupWith(wiki)
	w := e.vapp("wiki")
	want := e.sums(w)
	request := app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}, Planned: func(*plan.Plan) {
		e.call(http.MethodDelete, w.Href, "", "")
	}}
	_, err := e.app(nil).Restore(t.Context(), request)
	if err == nil || !strings.Contains(err.Error(), "wiki") {
		t.Errorf("overwrite of a vApp that is deleted meanwhile: %v", err)
	}
	e.noScratch()
	e.restore(app.RestoreRequest{Point: point.ID})
	sameSums(t, e.sums(e.vapp("wiki")), want)
	e.tidy(e.vapp("wiki"))
	e.noOrphans()
}
