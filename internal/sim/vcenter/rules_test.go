package vcenter_test

import (
	"context"
	"strings"
	"testing"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25/types"

	rules "github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func TestRulesActOnCallsTasksAndFiles(t *testing.T) {
	t.Parallel()
	set := rules.New(1)
	s := start(t, func(c *vcenter.Config) { c.Rules, c.Label = set, "lab/vc1" })
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "web", NumCPU: 1, MemoryMB: 64, Disks: []vcenter.DiskSpec{{Size: mib, Thin: true}}})
	ctx := t.Context()
	with := func(r rules.Rule, act func()) {
		t.Helper()
		id, err := set.Add(r)
		if err != nil {
			t.Fatal(err)
		}
		act()
		if got := set.List()[0].Hits; got != 1 {
			t.Errorf("%+v: acted on %d calls, want 1", r, got)
		}
		if err := set.Clear(id); err != nil {
			t.Fatal(err)
		}
	}
	snapshot := func() error {
		task, err := vm.CreateSnapshot(ctx, "s", "", false, false)
		if err != nil {
			return err
		}
		return task.WaitEx(ctx)
	}

	with(rules.Rule{Service: rules.VSphere, Server: "lab/vc1", Operation: "CreateSnapshot*_Task", Object: "web", User: user,
		Effect: rules.Effect{Code: "NoPermission", Message: "not today"}}, func() {
		if err := snapshot(); !fault.Is(err, &types.NoPermission{}) || !strings.Contains(err.Error(), "not today") {
			t.Errorf("a refused call: %v", err)
		}
	})
	if props(t, vm).Snapshot != nil {
		t.Error("the refused call made a snapshot")
	}
	with(rules.Rule{Service: rules.VSphereTask, Operation: "CreateSnapshot*", Object: vm.Reference().Value,
		Effect: rules.Effect{Outcome: "error", Code: "FileLocked"}}, func() {
		if err := snapshot(); !fault.Is(err, &types.FileLocked{}) {
			t.Errorf("a failed task: %v", err)
		}
	})
	with(rules.Rule{Service: rules.VSphereTask, Operation: "CreateSnapshot*", Effect: rules.Effect{Outcome: "error", After: true}}, func() {
		if err := snapshot(); !fault.Is(err, &types.SystemError{}) {
			t.Errorf("a task that failed late: %v", err)
		}
	})
	if props(t, vm).Snapshot == nil {
		t.Error("the task that failed late made no snapshot")
	}
	b := browse(t, s, c)
	with(rules.Rule{Service: rules.Folder, Operation: "GET", Object: "*web.vmx", Effect: rules.Effect{Status: 503}}, func() {
		if status, _ := b.do("GET", "web/web.vmx", nil); status != 503 {
			t.Errorf("a refused file: %d", status)
		}
	})
	with(rules.Rule{Service: rules.VSphere, Operation: "RetrieveProperties*", Effect: rules.Effect{Logout: true}, Count: 1}, func() {
		err := vm.Properties(context.Background(), vm.Reference(), nil, &struct{}{})
		if !fault.Is(err, &types.NotAuthenticated{}) {
			t.Errorf("a session that ended: %v", err)
		}
		if err := snapshot(); !fault.Is(err, &types.NotAuthenticated{}) {
			t.Errorf("after it: %v", err)
		}
	})
	if n := len(set.Calls(rules.Rule{Service: rules.VSphere, Operation: "CreateSnapshot*", Object: "web"}, 0)); n != 4 {
		t.Errorf("%d calls of CreateSnapshot in the log, want 4", n)
	}
	if n := len(set.Calls(rules.Rule{Service: rules.VSphereTask}, 0)); n == 0 {
		t.Error("no task in the log")
	}
}
