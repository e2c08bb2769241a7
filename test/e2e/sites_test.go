package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/selection"
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

// TestASiteThatDoesNotAnswerStopsNoOther has one site and the name of another,
// at whose address there is nothing.
func TestASiteThatDoesNotAnswerStopsNoOther(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	gone := e.conf.Sites[0]
	gone.ID, gone.URL = "gone", "https://127.0.0.1:1"
	e.conf.Sites = append(e.conf.Sites, gone)
	named := func(t *testing.T, err error) {
		t.Helper()
		if !errors.Is(err, app.ErrPartial) || !errors.Is(err, app.ErrSiteLeftOut) || !strings.Contains(err.Error(), "site gone: ") {
			t.Errorf("got %v, want %v that names site gone", err, app.ErrSiteLeftOut)
		}
	}
	for _, q := range []app.BackupRequest{{All: true}, {Selectors: []string{webShop}}, {Selectors: []string{webShop + "/db01"}}} {
		q.SamplePercent = -1
		results, err := e.app(nil).Backup(t.Context(), q)
		named(t, err)
		if len(results) == 0 {
			t.Errorf("%+v: nothing was backed up", q)
		}
		for _, r := range results {
			if r.Err != nil {
				t.Errorf("%+v: %s: %v", q, r.VApp, r.Err)
			}
		}
	}
	_, err := e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{"nowhere"}})
	if !errors.Is(err, selection.ErrNoMatch) || errors.Is(err, app.ErrPartial) || !strings.Contains(err.Error(), "site gone: ") {
		t.Errorf("what may be on that site: got %v, want %v", err, selection.ErrNoMatch)
	}
	items, err := e.app(nil).List(t.Context(), nil)
	named(t, err)
	if len(items) == 0 || !items[0].Protected {
		t.Errorf("got %+v", items)
	}

	if name, killed := e.die(3, "backup "+webShop); !killed {
		t.Fatalf("the backup ended after %s", name)
	}
	settled, err := e.app(nil).Reconcile(t.Context())
	named(t, err)
	if len(settled) == 0 {
		t.Error("nothing was settled")
	}
	e.tidy(e.vapp("web-shop"))

	e.conf.Sites = e.conf.Sites[1:]
	for what, err := range map[string]error{
		"backup":    second(e.app(nil).Backup(t.Context(), app.BackupRequest{All: true})),
		"list":      second(e.app(nil).List(t.Context(), nil)),
		"reconcile": second(e.app(nil).Reconcile(t.Context())),
	} {
		if err == nil || errors.Is(err, app.ErrPartial) {
			t.Errorf("%s, of that site alone: got %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
