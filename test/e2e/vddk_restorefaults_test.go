package e2e

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/sim/fault"
)

// TestMishapsOfARestoreThroughVDDK lets writing go wrong. Either the vApp is
// what it was when it was backed up, or the error says why not and nothing of
// the restore is left.
func TestMishapsOfARestoreThroughVDDK(t *testing.T) {
	t.Parallel()
	writing := func(e fault.Effect, count int) fault.Rule {
		return fault.Rule{ID: "x", Service: fault.Disk, Operation: "Write", Count: count, Effect: e}
	}
	hang := fault.Effect{Hang: true}
	cut := int64(0)
	for _, m := range []mishap{
		{name: "nbdkit is killed in mid-write", rule: writing(hang, 1), act: func(_ *testing.T, e *env) { e.signalAll(syscall.SIGKILL) }},
		{name: "nbdkit stands still", rule: writing(hang, 1), act: func(_ *testing.T, e *env) { e.signalAll(syscall.SIGSTOP) }},
		{name: "the library crashes", rule: writing(fault.Effect{Crash: "SIGSEGV"}, 1)},
		{name: "a write fails once", rule: writing(fault.Effect{Code: "16000"}, 1)},
		{name: "writes fail", rule: writing(fault.Effect{Code: "16000"}, 0)},
		{name: "the line breaks", rule: writing(fault.Effect{Reset: &cut}, 1)},
		{name: "flushing fails", rule: fault.Rule{ID: "x", Service: fault.Disk, Operation: "Flush", Count: 1, Effect: fault.Effect{Code: "7"}}},
		{name: "the host refuses a session for a while", rule: fault.Rule{ID: "x", Service: fault.Disk, Operation: "Open", Count: 2, Effect: fault.Effect{Code: "14009"}}},
		{name: "the host never lets us in", rule: fault.Rule{ID: "x", Service: fault.Disk, Operation: "Open", Effect: fault.Effect{Code: "3014"}}},
		{name: "closing fails", rule: fault.Rule{ID: "x", Service: fault.Disk, Operation: "Close", Effect: fault.Effect{Code: "14011"}}},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			e, rules := newVDDKFaults(t)
			want := e.sums(e.vapp("wiki"))
			point := e.backupWith(wiki)
			before := e.sessions()
			if _, err := rules.Add(m.rule); err != nil {
				t.Fatal(err)
			}
			if m.act != nil {
				when(t, rules, m.rule.ID, func() {
					m.act(t, e)
					if err := rules.Clear(m.rule.ID); err != nil {
						t.Error(err)
					}
				})
			}
			result, err := e.restoreOnce(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "wiki-copy"}})
			if m.act == nil {
				if rules.List()[0].Hits == 0 {
					t.Error("the rule never acted")
				}
				if err := rules.Clear(); err != nil {
					t.Fatal(err)
				}
			}
			e.settled(before)
			e.noScratch()
			copied := e.find("wiki-copy")
			switch {
			case err == nil:
				sameSums(t, e.sums(e.vapp("wiki-copy")), want)
			case copied != nil:
				t.Errorf("the restore failed (%v) and left a vApp behind", err)
			case !strings.Contains(err.Error(), "vddk"):
				t.Errorf("got %v, want the transport and the reason", err)
			}
			t.Logf("ended: %v (%v)", err, result != nil)
			sameSums(t, e.sums(e.vapp("wiki")), want)
		})
	}
}

// restoreOnce restores with a program that ends afterwards.
func (e *env) restoreOnce(q app.RestoreRequest) (*restore.Result, error) {
	e.t.Helper()
	a := app.New(app.Options{Config: e.conf, Version: "test"})
	result, err := a.Restore(e.t.Context(), q)
	end, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return result, errors.Join(err, a.Close(end))
}
