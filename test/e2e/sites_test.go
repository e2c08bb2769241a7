package e2e

import (
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/sim/cloud"
)

// TestALostSiteComesBackOnAnother restores a vApp to a vCD that has never seen
// it: organization, VDC, networks, profiles and users are those of the same
// names there.
func TestALostSiteComesBackOnAnother(t *testing.T) {
	t.Parallel()
	inventory := cloud.Default()
	other := cloud.Default().Sites[0]
	other.ID = "dr"
	for i := range other.Orgs {
		for j := range other.Orgs[i].VDCs {
			other.Orgs[i].VDCs[j].VApps = nil
		}
	}
	inventory.Sites = append(inventory.Sites, other)
	e := newEnv(t, inventory)
	point := e.backup(webShop)
	was := e.vapp("web-shop")
	want := e.sums(was)

	o := plan.Options{Overrides: plan.Overrides{Site: "dr"}}
	dry, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, DryRun: true, Options: o})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range dry.Plan.Conflicts {
		t.Logf("%s: %s: %s: %s", c.Kind, c.Object, c.Message, c.Resolution)
	}
	e.restore(app.RestoreRequest{Point: point.ID, Options: o})
	e.conf.Sites = e.conf.Sites[1:]
	e.connect()
	restored := e.vapp("web-shop")
	if restored.Owner.Name != was.Owner.Name {
		t.Errorf("owner: got %q, want %q", restored.Owner.Name, was.Owner.Name)
	}
	sameSums(t, e.sums(restored), want)
	e.tidy(restored)
}
