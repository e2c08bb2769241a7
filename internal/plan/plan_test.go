package plan

import (
	"slices"
	"testing"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

func TestStepsWordAmounts(t *testing.T) {
	t.Parallel()
	one, two := &restorepoint.VM{Disks: make([]restorepoint.Disk, 1)}, &restorepoint.VM{Disks: make([]restorepoint.Disk, 2)}
	store := restorepoint.Ref{Name: "ds1"}
	p := &Plan{VMs: []VM{
		{Name: "a", Action: Rebuild, VM: one, Datastore: store, Bytes: 28311552},
		{Name: "b", Action: Overwrite, VM: two, Datastore: store, Bytes: 1 << 30},
	}}
	got := p.steps()
	for _, want := range []string{
		"rebuild vm a on datastore ds1, 1 disk, 27.0 MiB",
		"write new disks for vm b on datastore ds1, 2 disks, 1.0 GiB, and swap them in",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("got %q, want %q among them", got, want)
		}
	}
}
