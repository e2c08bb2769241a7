package e2e

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// TestEveryWayBackOfEveryKind takes every kind of vApp through every way back.
// Documents and bytes are compared by the product and, by other means, by the
// test; nothing of ours may be left. Each kind goes every fifth way, by turns,
// so that each way has a fifth of the kinds; with VAPPVAULT_LONG all go all.
func TestEveryWayBackOfEveryKind(t *testing.T) {
	t.Parallel()
	e := matrixCloud(t)
	all := kinds()
	for _, k := range all {
		if k.make != nil {
			k.make(e, k)
		}
	}
	a := e.app(nil) // one for all, as in a service
	t.Run("cells", func(t *testing.T) {
		for n, k := range all {
			t.Run(plain(k.name), func(t *testing.T) {
				t.Parallel()
				everyWay(t, e, a, n, k)
			})
		}
	})
	e.nothingLeft()
}

var odd = regexp.MustCompile(`[^A-Za-z0-9-]+`)

// plain is a name that `go test -run` can be given.
func plain(name string) string { return odd.ReplaceAllString(name, "_") }

// everyWay backs up a vApp of the kind of a number, once, and goes its ways
// back.
func everyWay(t *testing.T, e *env, a *app.App, number int, k kind) {
	c := &attempt{env: e.with(t), app: a, kind: k, copied: "copy of " + plain(k.name)}
	c.vapp = c.env.vapp(k.name)
	results, err := a.Backup(t.Context(), app.BackupRequest{Selectors: []string{k.selector()}, SamplePercent: -1})
	if len(results) != 1 || results[0].Point == nil || err != nil && (k.partial == "" || !errors.Is(err, app.ErrPartial)) {
		t.Fatalf("backup: %v", err)
	}
	c.point = results[0].Point
	c.clean(c.env.vapp(k.name))
	c.before = c.look(c.vapp)
	for n, w := range ways() {
		if !everything() && (n+number)%5 != 0 {
			continue
		}
		if w.vms && len(c.point.VMs) == 0 || k.cells[w.name].none != "" {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			c := *c
			c.env, c.way, c.vapp = e.with(t), w, e.with(t).vapp(k.name)
			c.run()
		})
	}
}

// run goes one way back, and looks at what has become of it.
func (c *attempt) run() {
	c.t.Helper()
	cell := c.kind.cells[c.way.name]
	if c.way.spoil != nil && cell.refused == "" {
		c.way.spoil(c)
	}
	if c.way.after != nil {
		defer c.way.after(c)
	}
	result, err := c.app.Restore(c.t.Context(), app.RestoreRequest{Point: c.point.ID, Options: c.way.request(c)})
	if result != nil {
		c.made = result.VAppID
	}
	if cell.refused != "" {
		c.refused(cell.refused, err)
		return
	}
	if err != nil && (c.kind.partial == "" && !c.way.loss || !errors.Is(err, app.ErrPartial)) {
		c.t.Errorf("restore: %v", err)
	}
	if result == nil || c.made == "" {
		return
	}
	for _, d := range result.Unexplained() {
		c.t.Errorf("the product says: %s: %s: got %q, want %q", d.Document, d.Field, d.Got, d.Want)
	}
	v := c.way.result(c)
	c.clean(v)
	for _, vm := range v.VMs {
		if vm.Deployed && !c.way.warm {
			c.t.Errorf("vm %s is deployed", vm.Name)
		}
	}
	got := c.look(v)
	c.way.blurred = merged(c.way.blurred, cell.blurred)
	lines := c.before.blur(c.way.blurred).differs(got.blur(c.way.blurred))
	if c.way.compare != nil {
		lines = c.way.compare(c, got)
	}
	for _, line := range unexplained(unexplained(lines, c.way.differs), cell.differs) {
		c.t.Errorf("the test sees: %s", line)
	}
}

// refused checks that the reason was given and that nothing has changed.
func (c *attempt) refused(why string, err error) {
	c.t.Helper()
	if err == nil || !strings.Contains(err.Error(), why) {
		c.t.Errorf("restore: %v; want it refused: %s", err, why)
	}
	v := c.env.vapp(c.kind.name)
	c.clean(v)
	for _, line := range c.before.differs(c.look(v)) {
		c.t.Errorf("a refused restore has changed: %s", line)
	}
}

// clean checks that nothing of ours is left on a vApp, and in the journal
// about it.
func (c *attempt) clean(v *vcd.VApp) {
	c.t.Helper()
	c.unmarked(v)
	for _, i := range c.openIntents() {
		if i.VApp == c.point.VApp.ID || i.VApp == v.ID {
			c.t.Errorf("the journal still has %s %s", i.Kind, i.Object)
		}
	}
}

func (e *env) openIntents() []journal.Intent {
	e.t.Helper()
	j, err := journal.Open(e.t.Context(), filepath.Join(e.conf.StateDir, "journal.db"))
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	intents, err := j.OpenIntents(e.t.Context(), journal.Filter{})
	if err != nil {
		e.t.Fatal(err)
	}
	return intents
}

// nothingLeft checks that nothing is left anywhere: marks, intents, scratch
// VMs, files.
func (e *env) nothingLeft() {
	e.t.Helper()
	for _, i := range e.openIntents() {
		e.t.Errorf("the journal still has %s %s", i.Kind, i.Object)
	}
	settled, err := e.app(nil).Reconcile(e.t.Context())
	if err != nil {
		e.t.Error(err)
	}
	for _, s := range settled {
		e.t.Errorf("left for reconcile: %s %s", s.Object, s.Action)
	}
	refs, err := e.vcd.VApps(e.t.Context(), "")
	if err != nil {
		e.t.Fatal(err)
	}
	for _, r := range refs {
		v, err := e.vcd.VApp(e.t.Context(), r.ID)
		if err != nil {
			e.t.Fatal(err)
		}
		e.unmarked(v)
	}
	e.noScratch()
	e.noOrphans()
}

// remove deletes a vApp as its administrator would.
func (e *env) remove(v *vcd.VApp) {
	e.t.Helper()
	ctx := context.WithoutCancel(e.t.Context())
	if err := e.vcd.Undeploy(ctx, v.Href, "powerOff"); err != nil && v.Deployed {
		e.t.Error(err)
	}
	if err := e.vcd.DeleteVApp(ctx, v.Href); err != nil {
		e.t.Error(err)
	}
}

// spoilDisks writes to every disk of a vApp that a restore brings back.
func (c *attempt) spoilDisks(v *vcd.VApp) {
	c.t.Helper()
	server := c.cloud.VCenter("vc1")
	for _, vm := range v.VMs {
		config, err := c.vsphere(vm).Config(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		for i := range config.Disks {
			if slices.ContainsFunc(c.point.VMs, func(p restorepoint.VM) bool {
				return p.ID == vm.ID && slices.ContainsFunc(p.Unprotected, func(d restorepoint.Disk) bool { return d.Key == config.Disks[i].Key })
			}) {
				continue
			}
			guest, err := server.Disk(vm.VimInfo.VMMoRef, i)
			if err != nil {
				c.t.Fatal(err)
			}
			if _, err := guest.WriteAt(random(uint64(i), mib), 5*mib); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// spoilDocuments changes some of what every vApp says.
func (c *attempt) spoilDocuments(v *vcd.VApp) {
	c.t.Helper()
	entry := vcd.MetadataEntry{Domain: "GENERAL", Key: "added", Type: vcd.StringValue, Value: "since"}
	if err := c.vcd.SetMetadata(c.t.Context(), v.Href, entry); err != nil {
		c.t.Fatal(err)
	}
	const lease = `<LeaseSettingsSection ` + xmlns + ` ovf:required="false"><ovf:Info>x</ovf:Info><DeploymentLeaseInSeconds>7200</DeploymentLeaseInSeconds>` +
		`<StorageLeaseInSeconds>86400</StorageLeaseInSeconds></LeaseSettingsSection>`
	if err := c.vcd.PutSection(c.t.Context(), v.Href+"/leaseSettingsSection/", vcd.TypeLeaseSettings, []byte(lease)); err != nil {
		c.t.Fatal(err)
	}
}
