package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vcd"
)

// The tests named TestPainN are about what users and guides report of other
// products: a restored VM gets a new id (1), one failed VM spoils the point
// (2), a policy or a network that is gone blocks the restore (3), NICs come
// back otherwise (4), a standalone VM as an ordinary one (5), tenants are kept
// within one VDC and administrators out (9), discovery adopts what is restored
// (10), deleted VMs never age out (13).

// TestPain1ARestoredVMKeepsItsPlace: an overwritten VM is the same one to vCD,
// vCenter and the backup, whose next run stores nothing anew; one that had to
// be rebuilt has a new id, which is told beside the old one.
func TestPain1ARestoredVMKeepsItsPlace(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	before := e.vapp("web-shop")
	e.spoil(before)
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	after := e.vapp("web-shop")
	if after.ID != before.ID || after.Href != before.Href {
		t.Errorf("the vApp is %s now, was %s", after.ID, before.ID)
	}
	for _, was := range before.VMs {
		is := vmOf(t, after, was.Name)
		if is.ID != was.ID || is.VimInfo.VMMoRef != was.VimInfo.VMMoRef || is.VAppScopedLocalID != was.VAppScopedLocalID {
			t.Errorf("vm %s is %s (%s) now, was %s (%s)", was.Name, is.ID, is.VimInfo.VMMoRef, was.ID, was.VimInfo.VMMoRef)
		}
	}
	next := e.backup(webShop)
	var written, data int64
	for _, vm := range next.VMs {
		for _, d := range vm.Disks {
			written, data = written+d.Content.StoredBytes, data+d.Content.DataBytes
		}
	}
	if written > data/20 {
		t.Errorf("the next run stored %d bytes of %d anew", written, data)
	}
	// And one that is rebuilt.
	e.destroy(after)
	result := e.restore(app.RestoreRequest{Point: next.ID})
	rebuilt := e.vapp("web-shop")
	for _, vm := range result.VMs {
		was, is := vmOf(t, before, vm.Name), vmOf(t, rebuilt, vm.Name)
		if vm.OldID != was.ID || vm.NewID != is.ID || vm.NewMoRef != is.VimInfo.VMMoRef || vm.NewID == vm.OldID {
			t.Errorf("vm %s: told %+v, was %s, is %s", vm.Name, vm, was.ID, is.ID)
		}
	}
	if len(result.VMs) != len(before.VMs) {
		t.Errorf("told of %d VMs", len(result.VMs))
	}
}

// TestPain3APolicyOrANetworkDoesNotBlockARestore: a VM keeps policies that are
// not its VDC's default, and where policies or networks are missing the plan
// says so and takes others.
func TestPain3APolicyOrANetworkDoesNotBlockARestore(t *testing.T) {
	t.Parallel()
	e := matrixCloud(t)
	setPolicies(e, kind{name: "policies"})
	policies := e.backup("acme/main/policies")
	before := e.vapp("policies").VMs[0].ComputePolicies
	e.remove(e.vapp("policies"))
	e.restore(app.RestoreRequest{Point: policies.ID})
	names := func(refs []vcd.Ref) (out []string) {
		for _, r := range refs {
			out = append(out, r.Name)
		}
		return out
	}
	if got := e.vapp("policies").VMs[0].ComputePolicies; !slices.Equal(names(got), names(before)) || len(got) != 2 {
		t.Errorf("policies %q, were %q", names(got), names(before))
	}
	abroad := plan.Overrides{Org: "globex", VDC: "abroad"}
	// The VDC abroad has neither the policies nor the profile.
	result, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: policies.ID, Options: plan.Options{As: "policies abroad", Overrides: abroad}})
	if !errors.Is(err, app.ErrPartial) || len(result.Unexplained()) > 0 || !strings.Contains(err.Error(), "compute policy on-fast-hosts") {
		t.Errorf("a policy that is lost is told, and counts as partial: %v", err)
	}
	// A network that is not there blocks until it is said what to take.
	direct := e.backup("acme/main/direct")
	result, err = e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: direct.ID, DryRun: true, Options: plan.Options{As: "direct abroad", Overrides: abroad}})
	if result == nil || !slices.ContainsFunc(result.Plan.Conflicts, func(c plan.Conflict) bool {
		return c.Kind == plan.KindNetworkMissing && strings.Contains(c.Override, "--network")
	}) {
		t.Errorf("nobody says which network is missing: %v", err)
	}
	abroad.Networks = map[string]string{"wire": "campus"}
	if _, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: direct.ID, Options: plan.Options{As: "direct abroad", Overrides: abroad}}); err != nil {
		t.Errorf("with another network: %v", err)
	}
	if v := e.vapp("direct abroad"); len(v.VMs) != 1 || v.VMs[0].NICs[0].Mode != "POOL" || v.VMs[0].NICs[0].IP == "" || !v.VMs[0].NICs[0].Connected {
		t.Errorf("NIC on the other network: %+v", v.VMs)
	}
}

// TestPain4NICsComeBackAsTheyWere: MAC and IP addresses, modes, adapters and
// connections, and the fence around a vApp.
func TestPain4NICsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	e := matrixCloud(t)
	for _, name := range []string{"addresses", "fenced", "routed"} {
		point := e.backup("acme/main/" + name)
		before := e.vapp(name)
		e.remove(before)
		e.restore(app.RestoreRequest{Point: point.ID})
		after := e.vapp(name)
		for _, was := range before.VMs {
			is := vmOf(t, after, was.Name)
			if len(is.NICs) != len(was.NICs) {
				t.Fatalf("vm %s has %d NICs", was.Name, len(is.NICs))
			}
			for i, nic := range was.NICs {
				if nic.Mode == "POOL" && is.NICs[i].Mode == "MANUAL" {
					nic.Mode = "MANUAL" // its address was kept
				}
				if is.NICs[i] != nic {
					t.Errorf("vm %s NIC %d: %+v, was %+v", was.Name, i, is.NICs[i], was.NICs[i])
				}
			}
		}
		if len(after.Networks) != len(before.Networks) {
			t.Fatalf("%s has %d networks, had %d", name, len(after.Networks), len(before.Networks))
		}
		for i, n := range before.Networks {
			if got := after.Networks[i]; got.FenceMode != n.FenceMode || got.ParentName != n.ParentName || got.Name != n.Name {
				t.Errorf("network %+v, was %+v", got, n)
			}
		}
	}
	if v := e.vapp("fenced"); v.Networks[0].FenceMode != "natRouted" || v.Networks[0].Name != "lan" {
		t.Errorf("the fence is lost: %+v", v.Networks)
	}
}

// TestPain9TenantsGetTheirVAppWhereTheyWantIt: into another VDC, into another
// organization, whose administrator may use it at once.
func TestPain9TenantsGetTheirVAppWhereTheyWantIt(t *testing.T) {
	t.Parallel()
	e := matrixCloud(t)
	point := e.backup("acme/main/isolated")
	for _, to := range []struct{ org, vdc, user, password string }{
		{"acme", "spare", "admin", "vcdsim-acme-admin"},
		{"globex", "abroad", "admin", "vcdsim-globex-admin"},
	} {
		name := "isolated in " + to.vdc
		e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: name, Overrides: plan.Overrides{Org: to.org, VDC: to.vdc}}})
		v := e.vapp(name)
		if v.Org.Name != to.org || v.VDC.Name != to.vdc || v.InMaintenance {
			t.Errorf("%s: in %s/%s, in maintenance mode %t", name, v.Org.Name, v.VDC.Name, v.InMaintenance)
		}
		tenant := e.tenant(to.user+"@"+to.org, to.password)
		if _, err := tenant.VApp(t.Context(), v.ID); err != nil {
			t.Errorf("%s: its administrator does not see it: %v", name, err)
		}
		if err := tenant.PowerOn(t.Context(), tenant.Href(v.ID)); err != nil {
			t.Errorf("%s: its administrator cannot start it: %v", name, err)
		}
	}
}

// tenant is a session of a tenant's.
func (e *env) tenant(user, password string) *vcd.Client {
	e.t.Helper()
	site := e.conf.Sites[0]
	c, err := vcd.Connect(e.t.Context(), vcd.Options{URL: site.URL, User: user, Password: password, TLS: vcd.TLS{CAFile: site.CA}, PollInterval: 10 * time.Millisecond})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}
