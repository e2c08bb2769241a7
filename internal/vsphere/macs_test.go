package vsphere_test

import (
	"testing"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func TestMACsAreThoseOfAllVMs(t *testing.T) {
	t.Parallel()
	s, c := startSim(t, vcenter.Config{})
	vm := webVM(t, s, c)
	macs, err := c.MACs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := macs["00:50:56:0a:0b:0c"]; got.MoRef != vm.MoRef() || got.Name != "web 01" {
		t.Errorf("got %+v of %v", got, macs)
	}
}

func TestAResourcePoolThatIsNotThereIsMissed(t *testing.T) {
	t.Parallel()
	_, c := startSim(t, vcenter.Config{})
	has, err := c.HasResourcePool(t.Context(), "resgroup-4711")
	if err != nil || has {
		t.Errorf("got %v, %v", has, err)
	}
}
