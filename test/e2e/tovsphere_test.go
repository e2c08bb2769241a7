package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// inVSphere returns the VM of exactly that name in any vCenter, nil where
// there is none.
func (e *env) inVSphere(name string) *vsphere.VM {
	e.t.Helper()
	for _, c := range e.vcenters {
		found, err := c.FindVMs(e.t.Context(), name)
		if err != nil {
			e.t.Fatal(err)
		}
		for _, f := range found {
			if f.Name == name {
				return c.VM(f.MoRef)
			}
		}
	}
	return nil
}

func TestVMsComeBackInVSphereAlone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("acme/acme-vdc1/wiki")
	options := plan.Options{ToVSphere: "restored/today"}
	for n := 1; ; n += 2 {
		step, killed := e.die(n, "restore "+point.ID+" to-vsphere=restored/today")
		if !killed {
			break
		}
		if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if vm := e.inVSphere("wiki01"); vm != nil {
			if strings.HasSuffix(step, "commit point") {
				if err := vm.Destroy(t.Context()); err != nil { // it was done
					t.Fatal(err)
				}
				continue
			}
			t.Fatalf("killed after %s: the VM is left", step)
		}
		e.tidy(e.vapp("wiki"))
	}
	vm := e.inVSphere("wiki01")
	if vm == nil {
		t.Fatal("no VM wiki01 in vSphere")
	}
	config, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := fileSum(t, e.flat(config.Disks[0].FileName)); got != want["wiki01/2000"] {
		t.Error("its disk is not that of the restore point")
	}
	if config.PowerState != "poweredOff" || config.NICs[0].StartConnected {
		t.Errorf("it is %s, NICs %+v", config.PowerState, config.NICs)
	}
	if err := e.cloud.Director().Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.find("Discovered - wiki01") != nil {
		t.Error("vCD has adopted it")
	}
	_, err = e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: options})
	if !errors.Is(err, plan.ErrConflict) || !strings.Contains(err.Error(), "has something called wiki01 already") {
		t.Errorf("a second one of the same name: %v", err)
	}
	options.Overrides.VMs = map[string]plan.VMOverrides{"wiki01": {Name: "wiki02"}}
	e.restore(app.RestoreRequest{Point: point.ID, Options: options})
	if e.inVSphere("wiki02") == nil {
		t.Error("no VM wiki02 in vSphere")
	}
	e.tidy(e.vapp("wiki"))
}
