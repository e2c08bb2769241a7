package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
)

func TestCheckMany(t *testing.T) {
	for _, tc := range []struct {
		name string
		refs []string
		req  app.RestoreRequest
		want string
	}{
		{"a glob", []string{"acme/*@latest"}, app.RestoreRequest{}, ""},
		{"several", []string{"a@latest", "b@latest"}, app.RestoreRequest{Options: plan.Options{Overwrite: true}}, ""},
		{"one that is none", []string{"acme/*@latest", "b"}, app.RestoreRequest{}, `"b"`},
		{"one name for many", []string{"acme/*@latest"}, app.RestoreRequest{Options: plan.Options{As: "x"}}, "for one vApp"},
		{"a VM of many", []string{"acme/*@latest"}, app.RestoreRequest{Options: plan.Options{VMs: []string{"db01"}}}, "for one vApp"},
		{"what one may not", []string{"acme/*@latest"}, app.RestoreRequest{Options: plan.Options{KeepOld: true}}, "goes with --overwrite"},
	} {
		checkUsage(t, tc.name, checkMany(tc.refs, tc.req), tc.want)
	}
}

func TestDrawMany(t *testing.T) {
	done := &restore.Result{VAppID: "urn:1", VMs: []restore.VMResult{{Bytes: 1 << 20}, {Bytes: 1 << 20}}, Warnings: []string{"vm a: it is off"}}
	refused := &restore.Result{Plan: &plan.Plan{}}
	got := draw(func(w *bytes.Buffer) {
		drawMany(w, []app.RestoreOutcome{
			{VApp: "acme/vdc1/web", Point: "01A", Result: done, Duration: 90 * time.Second},
			{VApp: "acme/vdc1/wiki", Point: "01B", Result: refused, Err: fmt.Errorf("wiki: %w", plan.ErrConflict)},
			{VApp: "acme/vdc1/x", Point: "01C", Err: errors.New("no")},
		}, false)
	})
	for _, want := range []string{"restored", "2.0 MiB", "1m30s", "refused", "failed", "note: acme/vdc1/web: vm a: it is off"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
