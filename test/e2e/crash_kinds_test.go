package e2e

import (
	"strings"
	"testing"
)

func TestSingleVMsAndDisksKilledAnywhereAreTakenBackOrDone(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, options string
		// done tells the vApp as it is afterwards from one that was taken back.
		done func(e *env) bool
	}{
		{"a VM beside itself", "vm=wiki01 beside", func(e *env) bool { return len(e.vapp("wiki").VMs) == 2 }},
		{"a VM in its place", "vm=wiki01", nil},
		{"a disk attached", "disk=wiki01:2000 attach-to=wiki01", func(e *env) bool { return len(e.configs(e.vapp("wiki"))["wiki01"].Disks) == 2 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEnv(t, nil)
			want := e.sums(e.vapp("wiki"))
			point := e.backup("acme/acme-vdc1/wiki")
			for n := 2; ; n += 2 * stride() {
				step, killed := e.die(n, "restore "+point.ID+" "+tc.options)
				if !killed {
					break
				}
				t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
					e := e.with(t)
					if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
						t.Fatal(err)
					}
					e.tidy(e.vapp("wiki"))
					e.noOrphans()
					if tc.done != nil && tc.done(e) {
						return // done but for its last step
					}
					sameSums(t, e.sums(e.vapp("wiki")), want)
				})
				if tc.done != nil && tc.done(e) {
					return
				}
			}
			if tc.done != nil && !tc.done(e) {
				t.Error("the restore that was not killed did nothing")
			}
			e.noOrphans()
		})
	}
}
