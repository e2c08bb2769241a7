package vcdsim_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/vappvault/vappvault/vcdsim"
)

func TestTheDefaultCloud(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cloud, err := vcdsim.Start(vcdsim.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if _, err := vcdsim.Start(vcdsim.Options{Dir: dir}); !errors.Is(err, vcdsim.ErrBusy) {
		t.Errorf("two clouds in one folder: %v", err)
	}
	site := cloud.Sites()[0]
	if site.ID != "lab" || len(site.VCenters) != 2 || site.VCenters[0].InstanceUUID == site.VCenters[1].InstanceUUID {
		t.Errorf("site: %+v", site)
	}
	// Clients use both, the text and the path.
	if api := site.API(); api.String() != site.URL.String()+"/api" || api.Path != "/api" {
		t.Errorf("API: %s with path %q", api, api.Path)
	}
	vms, err := cloud.VMs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(vms, func(m vcdsim.VM) bool { return m.Path == "acme/acme-vdc1/web-shop/db01" && m.VCenter == "lab/vc1" }) {
		t.Errorf("VMs: %+v", vms)
	}
	disk, err := cloud.Disk(t.Context(), "db01", 1)
	if err != nil {
		t.Fatal(err)
	}
	want, got := []byte("hello"), make([]byte, 5)
	if _, err := disk.WriteAt(want, disk.Size()-5); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.ReadAt(got, disk.Size()-5); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read back: %q, %v", got, err)
	}
	if err := cloud.Power(t.Context(), "wiki01", "on"); err != nil {
		t.Error(err)
	}
	if _, err := vcdsim.Start(vcdsim.Options{Dir: t.TempDir(), Inventory: []byte("version: 2")}); err == nil {
		t.Error("an inventory of another version was taken")
	}
}
