package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/sim/cloud"
)

// documented lists the privileges that doc/privileges.md names: the words in
// its tables' first column.
func documented(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "doc", "privileges.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, row := range regexp.MustCompile("(?m)^\\| `[A-Za-z.]+`[^|]*\\|").FindAllString(string(text), -1) {
		for _, m := range regexp.MustCompile("`([A-Za-z.]+)`").FindAllStringSubmatch(row, -1) {
			all = append(all, m[1])
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %q", all)
	}
	return all
}

// withUsers is the default cloud whose vCenters have more accounts, by name
// and privileges. Passwords are vcdsim-NAME.
func withUsers(t *testing.T, users map[string][]string) *cloud.Inventory {
	t.Helper()
	inventory, err := cloud.Parse(cloud.DefaultYAML())
	if err != nil {
		t.Fatal(err)
	}
	for i := range inventory.Sites[0].VCenters {
		vc := &inventory.Sites[0].VCenters[i]
		for name, privileges := range users {
			vc.Users = append(vc.Users, cloud.VCenterUser{Name: name, Password: "vcdsim-" + name, Privileges: privileges})
		}
	}
	return inventory
}

// as is the configuration with another account in the vCenters.
func (e *env) as(user string) *config.Config {
	e.t.Helper()
	conf := *e.conf
	conf.Sites = append([]config.Site(nil), e.conf.Sites...)
	site := &conf.Sites[0]
	site.VCenters = append(site.VCenters[:0:0], site.VCenters...)
	for i := range site.VCenters {
		site.VCenters[i].User = user
		site.VCenters[i].Password.File = file(e.t, e.t.TempDir(), "vcdsim-"+user)
	}
	return &conf
}

// TestTheDocumentedPrivilegesAreEnough does the whole job with an account that
// has what the documentation names, and nothing else.
func TestTheDocumentedPrivilegesAreEnough(t *testing.T) {
	t.Parallel()
	e := newEnv(t, withUsers(t, map[string][]string{"few@vsphere.local": documented(t)}))
	e.conf = e.as("few@vsphere.local")
	want := e.sums(e.vapp("web-shop"))
	for range 2 {
		if point := e.backup(webShop); point.State != "complete" || len(point.Problems) > 0 {
			t.Errorf("%s: %v", point.State, point.Problems)
		}
	}
	e.conf.Transports = []string{"nfc"}
	point := e.backup(webShop)
	if point.State != "complete" || len(point.Problems) > 0 {
		t.Errorf("%s: %v", point.State, point.Problems)
	}
	e.write("web01", 0, mib, random(1, mib))
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	sameSums(t, e.sums(e.vapp("web-shop")), want)
	e.destroy(e.vapp("web-shop"))
	e.restore(app.RestoreRequest{Point: point.ID})
	sameSums(t, e.sums(e.vapp("web-shop")), want)
	e.tidy(e.vapp("web-shop"))
}

// since is what has changed since a point was made, by the privilege that
// putting it back takes.
var since = map[string]types.VirtualMachineConfigSpec{
	"VirtualMachine.Config.Settings":       {BootOptions: &types.VirtualMachineBootOptions{BootDelay: 7000}},
	"VirtualMachine.Config.AdvancedConfig": {ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "guest.since", Value: "then"}}},
	"VirtualMachine.Config.AddRemoveDevice": {DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
		Operation: types.VirtualDeviceConfigSpecOperationAdd,
		Device: &types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{
			VirtualController: types.VirtualController{VirtualDevice: types.VirtualDevice{Key: -1}, BusNumber: 3},
		}},
	}}},
}

// TestAMissingPrivilegeIsNamed takes one privilege away at a time. The work
// fails, or is done in a poorer way; what is said names the privilege.
func TestAMissingPrivilegeIsNamed(t *testing.T) {
	t.Parallel()
	all, users := documented(t), map[string][]string{}
	for _, missing := range all {
		var others []string
		for _, p := range all {
			if p != missing {
				others = append(others, p)
			}
		}
		users["no-"+missing] = others
	}
	e := newEnv(t, withUsers(t, users))
	point := e.backupWith(wiki)
	usual := e.conf
	// The folder is made by the first restore, and does not go again.
	slices.SortStableFunc(all, func(a, b string) int {
		return cmp.Compare(strings.Count(b, "Folder.Create"), strings.Count(a, "Folder.Create"))
	})
	for i, missing := range all {
		if !everything() && i%3 > 0 {
			continue
		}
		t.Run(missing, func(t *testing.T) {
			e := e.with(t)
			if spec, ok := since[missing]; ok {
				e.reconfigure("wiki", spec)
			}
			e.conf = e.as("no-" + missing)
			selector := wiki.Selectors[0]
			switch missing {
			case "VApp.Export":
				e.conf.Transports = []string{"nfc"}
			case "VirtualMachine.Config.ChangeTracking":
				selector = webShop // where it is still off
			case "VirtualMachine.Provisioning.GetVmFiles", "VirtualMachine.Provisioning.DiskRandomAccess",
				"VirtualMachine.Inventory.Create", "VirtualMachine.Config.AddNewDisk", "Resource.AssignVMToPool":
				e.conf = e.throughVDDK()
			case "Cryptographer.Access":
				return // of encrypted disks; test/vddk has them
			}
			said := e.everythingSaid(selector, point.ID)
			e.conf = usual
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Error(err)
			}
			e.tidy(e.vapp("wiki"))
			if !strings.Contains(said, missing) {
				t.Errorf("nobody speaks of it:\n%s", said)
			}
		})
	}
}

// everythingSaid is what an operator gets to read of a backup of a vApp and
// of a restore of a point.
func (e *env) everythingSaid(selector, point string) string {
	e.t.Helper()
	var log bytes.Buffer
	a := app.New(app.Options{Config: e.conf, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	defer func() { _ = a.Close(e.t.Context()) }()
	var said []string
	results, err := a.Backup(e.t.Context(), app.BackupRequest{Selectors: []string{selector}, SamplePercent: -1})
	for _, r := range results {
		if r.Point == nil {
			continue
		}
		for _, p := range r.Point.Problems {
			said = append(said, p.Message)
		}
		for _, vm := range r.Point.VMs {
			for _, d := range vm.Disks {
				said = append(said, d.FullReason)
				for _, over := range d.PassedOver {
					said = append(said, over.Reason)
				}
			}
		}
	}
	said = append(said, fmt.Sprint(err))
	result, err := a.Restore(e.t.Context(), app.RestoreRequest{Point: point, Options: plan.Options{Overwrite: true}})
	if result != nil {
		said = append(said, result.Warnings...)
	}
	return strings.Join(append(said, fmt.Sprint(err), log.String()), "\n")
}
