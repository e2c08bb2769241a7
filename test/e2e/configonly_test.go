package e2e

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vcd"
)

func TestDocumentsAloneComeBackAndWhatRunsRunsOn(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	point := e.backup(webShop)
	e.spoil(before)
	spoilt := e.sums(e.vapp("renamed"))

	dry, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, DryRun: true, Options: plan.Options{ConfigOnly: true}})
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for _, c := range dry.Plan.Changes {
		sections = append(sections, c.Section)
	}
	if want := []string{"name", "networks", "lease", "metadata", "owner", "access"}; !slices.Equal(sections, want) {
		t.Errorf("sections that differ: got %q, want %q", sections, want)
	}
	if slices.ContainsFunc(dry.Plan.Steps, func(s string) bool { return strings.HasPrefix(s, "undeploy") }) {
		t.Errorf("nothing that was changed needs a VM to be off: %q", dry.Plan.Steps)
	}
	if e.find("web-shop") != nil {
		t.Fatal("a dry run changed the name")
	}

	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{ConfigOnly: true}})

	after := e.vapp("web-shop")
	e.tidy(after)
	sameSums(t, e.sums(after), spoilt)
	checkShop(t, e, before, after)
	for _, vm := range after.VMs {
		if !vm.Deployed {
			t.Errorf("vm %s does not run any more", vm.Name)
		}
	}
	again := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{ConfigOnly: true}})
	if len(again.Plan.Changes) > 0 {
		t.Errorf("after the restore still differs: %+v", again.Plan.Changes)
	}
}

// edit changes a section of the cloud as its user would.
func (e *env) edit(href, mediaType string, change func(raw []byte) []byte) {
	e.t.Helper()
	now, err := e.vcd.Get(e.t.Context(), href)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := e.vcd.PutSection(e.t.Context(), href, mediaType, change(now.Raw)); err != nil {
		e.t.Fatal(err)
	}
}

func TestOnlyTheChosenSectionsComeBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	point := e.backup(webShop)
	e.spoil(before)
	web := vmOf(t, before, "web01")
	e.edit(web.Href+"/networkConnectionSection/", vcd.TypeNetworkConnection, func(raw []byte) []byte {
		return bytes.Replace(raw, []byte("192.168.71.10<"), []byte("192.168.71.11<"), 1)
	})

	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{ConfigOnly: true, Sections: []string{"nics", "lease"}}})

	after := e.vapp("renamed")
	e.tidy(after)
	if got := vmOf(t, after, "web01"); got.NICs[0].IP != "192.168.71.10" || !got.Deployed {
		t.Errorf("web01 runs: %t, NICs %+v", got.Deployed, got.NICs)
	}
	if !slices.ContainsFunc(result.Plan.Steps, func(s string) bool { return s == "undeploy vm web01" }) ||
		slices.Contains(result.Plan.Steps, "undeploy vm db01") {
		t.Errorf("steps %q", result.Plan.Steps)
	}
	if !strings.Contains(strings.Join(result.Warnings, "\n"), "changes its nics only while it is off") {
		t.Errorf("the plan does not say why a VM is switched off: %q", result.Warnings)
	}
	if !strings.Contains(e.get(after.Href+"/leaseSettingsSection/"), "<DeploymentLeaseInSeconds>180000<") {
		t.Error("the lease is not what it was")
	}
	if m := e.get(after.Href + "/metadata"); !strings.Contains(m, "since") || strings.Contains(m, "motto") {
		t.Error("metadata was touched")
	}
}

func TestDocumentsAloneLeaveWhatWasAddedSince(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	point := e.backup(webShop)
	e.edit(before.Href+"/networkConfigSection/", vcd.TypeNetworkConfig, func(raw []byte) []byte {
		doc, err := document.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range document.FindAll(doc.Root(), "NetworkConfig") {
			if document.Attribute(c, "networkName") == "shop-back" {
				added := c.Copy()
				document.Strip(added, "Link", "RouterInfo")
				document.SetAttribute(added, "networkName", "added")
				doc.Root().AddChild(added)
			}
		}
		out, err := document.Encode(doc)
		if err != nil {
			t.Fatal(err)
		}
		return out
	})
	db := vmOf(t, before, "db01")
	if err := e.vcd.Undeploy(t.Context(), db.Href, "powerOff"); err != nil {
		t.Fatal(err)
	}
	if err := e.vcd.DeleteVM(t.Context(), db.Href); err != nil {
		t.Fatal(err)
	}

	result := e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{ConfigOnly: true, Sections: []string{"networks", "startup"}}})

	after := e.vapp("web-shop")
	if !slices.ContainsFunc(after.Networks, func(n vcd.VAppNetwork) bool { return n.Name == "added" }) {
		t.Error("the network that was added since is gone")
	}
	if !slices.ContainsFunc(result.Plan.Conflicts, func(c plan.Conflict) bool { return c.Kind == plan.KindVMGone }) {
		t.Errorf("conflicts %+v", result.Plan.Conflicts)
	}
	if !vmOf(t, after, "web01").Deployed {
		t.Error("web01 does not run any more")
	}
}

func TestDocumentsOfAVAppThatIsGoneAreRefused(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup("wiki")
	e.destroy(e.vapp("wiki"))
	_, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{ConfigOnly: true}})
	if !errors.Is(err, plan.ErrConflict) || !strings.Contains(err.Error(), "does not exist any more") {
		t.Errorf("got %v", err)
	}
}

func TestARestoreOfDocumentsThatFailsSwitchesOnAgain(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	before := e.vapp("web-shop")
	point := e.backup(webShop)
	web := vmOf(t, before, "web01")
	e.edit(web.Href+"/networkConnectionSection/", vcd.TypeNetworkConnection, func(raw []byte) []byte {
		return bytes.Replace(raw, []byte("192.168.71.10<"), []byte("192.168.71.11<"), 1)
	})
	ctx, at := cancelAfter(t, "undeploy web01")
	if _, err := e.app(at).Restore(ctx, app.RestoreRequest{Point: point.ID, Options: plan.Options{ConfigOnly: true}}); err == nil {
		t.Fatal("the restore went through")
	}
	after := e.vapp("web-shop")
	e.tidy(after)
	if !vmOf(t, after, "web01").Deployed {
		t.Error("web01 is left switched off")
	}
}
