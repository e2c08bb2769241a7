package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
)

// TestMemoryDoesNotGrowWithDisks copies many disks side by side, one of them as
// large as vSphere makes them, in a process whose peak of memory is looked at:
// sixteen with VAPPVAULT_LONG, else eight.
func TestMemoryDoesNotGrowWithDisks(t *testing.T) {
	t.Parallel()
	many := 8
	if everything() {
		many = 16
	}
	disks := slices.Repeat([]string{"{size: 200GiB, fill: 24MiB, controller: pvscsi}"}, many-1)
	inventory := inventoryWith(t, append(disks, "{size: 62TiB, fill: 24MiB, controller: pvscsi}")...)
	vc := &inventory.Sites[0].VCenters[0]
	vc.Datastores[0].Capacity *= 2
	inventory.Sites[0].Orgs[0].VDCs[0].StorageProfiles[0].Limit *= 8
	e := newEnv(t, inventory)
	e.limits("{disks: 16, perHost: {disks: 16}, checkpoint: 64MiB}")
	e.measured("backup big")
	point := e.newest("big")
	for _, d := range point.VMs[0].Disks {
		if d.ReadBytes > 400*mib {
			t.Errorf("%s: %d bytes were read", d.Label, d.ReadBytes)
		}
	}
	for i := range many {
		e.write("vm", i, 1<<30, random(uint64(i), mib))
	}
	e.measured("backup big")
	e.restore(app.RestoreRequest{Point: e.newest("big").ID, Options: plan.Options{As: "copy"}})
	for i, d := range e.configs(e.vapp("big"))["vm"].Disks {
		other := e.configs(e.vapp("copy"))["vm"].Disks[i]
		if got, want := sparseSum(t, e.flat(other.FileName)), sparseSum(t, e.flat(d.FileName)); got != want {
			t.Errorf("%s differs", fmt.Sprint(d.Label))
		}
	}
}

// TestMemoryDoesNotGrowWithVApps backs up eight vApps of one org side by side,
// of one disk each, with VAPPVAULT_LONG of two.
func TestMemoryDoesNotGrowWithVApps(t *testing.T) {
	t.Parallel()
	disks := []string{"{size: 100GiB, fill: 24MiB, controller: pvscsi}"}
	if everything() {
		disks = append(disks, disks[0])
	}
	inventory := inventoryWith(t, disks...)
	vdc := &inventory.Sites[0].Orgs[0].VDCs[0]
	for i := range 7 {
		v := vdc.VApps[0]
		v.Name = fmt.Sprint("big", i)
		v.VMs = slices.Clone(v.VMs)
		v.VMs[0].Name = fmt.Sprint("vm", i)
		vdc.VApps = append(vdc.VApps, v)
	}
	e := newEnv(t, inventory)
	e.limits("{vapps: 8, disks: 16, perHost: {disks: 16}}")
	e.measured("backup acme/vdc/*")
	for i := range 7 {
		if point := e.newest(fmt.Sprint("big", i)); point.State != "complete" {
			t.Errorf("%s: %s", point.VApp.Name, point.State)
		}
	}
}
