package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
)

// TestAVMIsNotMovedWhileItIsRead has an administrator of vCenter move a VM,
// or its disks, in the middle of a backup.
func TestAVMIsNotMovedWhileItIsRead(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	var refused []error
	other := e.otherHost("wiki01")
	e.whileReading(func() {
		for _, to := range []struct{ host, datastore string }{{other, ""}, {"", "nvme-01"}} {
			refused = append(refused, e.cloud.VMotion(context.Background(), "wiki01", to.host, to.datastore))
		}
	})
	want := e.sums(e.vapp("wiki"))
	point := e.backupWith(wiki)
	if point.State != "complete" || len(point.Problems) > 0 {
		t.Errorf("%s: %v", point.State, point.Problems)
	}
	for _, err := range refused {
		if err == nil {
			t.Error("the VM was moved while a backup had it")
		}
	}
	e.on = nil
	e.tidy(e.vapp("wiki"))
	// Afterwards it may be moved again, and the next backup notices nothing.
	if err := e.cloud.VMotion(t.Context(), "wiki01", "", "nvme-01"); err != nil {
		t.Error(err)
	}
	second := e.backupWith(wiki)
	e.restore(app.RestoreRequest{Point: second.ID, Options: plan.Options{As: "moved"}})
	sameSums(t, e.sums(e.vapp("moved")), want)
}

// TestAMoveInMidReadCostsNoByte moves a VM in the middle of a backup whose
// account may not keep vCenter from that.
func TestAMoveInMidReadCostsNoByte(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, transport, datastore string

		moves bool
		read  string // in the end
	}{
		{"vMotion under a ranged read", "datastore", "", true, "datastore"},
		{"Storage vMotion under a ranged read", "datastore", "nvme-01", true, "nfc"},
		{"vMotion under a lease", "nfc", "", false, "nfc"},
		{"Storage vMotion under a lease", "nfc", "nvme-01", false, "nfc"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEnv(t, nil)
			for _, method := range []string{"DisableMethods", "EnableMethods"} {
				e.cloud.VCenter("vc1").Faults().FailCall(method, 1000, &types.NoPermission{})
			}
			e.conf.Transports = []string{test.transport, "nfc"}
			want := e.sums(e.vapp("wiki"))
			var moved error
			host := ""
			if test.datastore == "" {
				host = e.otherHost("wiki01")
			}
			e.whileReading(func() {
				moved = e.cloud.VMotion(context.Background(), "wiki01", host, test.datastore)
			})
			point := e.backupWith(wiki)
			if point.State != "complete" || !says(point, "relocation stays enabled") {
				t.Errorf("%s: %v", point.State, point.Problems)
			}
			e.on = nil
			if through := diskOf(t, point, "wiki01", 0).Transport; through != test.read || (moved == nil) != test.moves {
				t.Errorf("read through %s, want %s; moved: %v", through, test.read, moved)
			}
			e.tidy(e.vapp("wiki"))
			e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "read"}})
			sameSums(t, e.sums(e.vapp("read")), want)
			// And what the next one reads fits to what this one did.
			e.write("acme/acme-vdc1/wiki/wiki01", 0, 9*mib, random(11, mib))
			want = e.sums(e.vapp("wiki"))
			second := e.backupWith(wiki)
			e.restore(app.RestoreRequest{Point: second.ID, Options: plan.Options{As: "read again"}})
			sameSums(t, e.sums(e.vapp("read again")), want)
		})
	}
}

// otherHost names a host of vc1 that a VM is not on.
func (e *env) otherHost(vm string) string {
	e.t.Helper()
	for _, host := range e.cloud.VCenter("vc1").HostNames() {
		if err := e.cloud.VMotion(e.t.Context(), vm, host, ""); err == nil {
			for _, other := range e.cloud.VCenter("vc1").HostNames() {
				if !strings.EqualFold(other, host) {
					return other
				}
			}
		}
	}
	e.t.Fatal("no other host")
	return ""
}
