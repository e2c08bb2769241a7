package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
)

// overridesOf runs the flags of restore.
func overridesOf(t *testing.T, args ...string) (app.RestoreRequest, error) {
	t.Helper()
	req := app.RestoreRequest{Point: "web@latest"}
	var flags *planFlags
	cmd := &cobra.Command{Use: "restore", SilenceErrors: true, SilenceUsage: true, RunE: func(cmd *cobra.Command, _ []string) error { return flags.apply(cmd, &req) }}
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "")
	cmd.Flags().BoolVar(&req.Overwrite, "overwrite", false, "")
	flags = overrideFlags(cmd)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return req, err
}

func TestOverrideFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "o.yaml")
	if err := os.WriteFile(file, []byte("networks: {lan: lan1, dmz: dmz1}\nowner: ada\nvms: {web: {name: web2, nics: {0: {ip: 10.0.0.9}}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	names := func(pairs ...string) map[string]string {
		out := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = pairs[i+1]
		}
		return out
	}
	for _, tc := range []struct {
		name string
		args []string
		want plan.Overrides
	}{
		{"names are mapped", []string{"--network", "a=b", "--network", "c="}, plan.Overrides{Networks: names("a", "b", "c", "")}},
		{"names hold = percent-encoded", []string{"--network", "a%3Db=c%25"}, plan.Overrides{Networks: names("a=b", "c%")}},
		{"a name alone stands for any", []string{"--storage-profile", "gold", "--datastore", "x=y"}, plan.Overrides{StorageProfiles: names("*", "gold"), Datastores: names("x", "y")}},
		{"leases", []string{"--lease", "7d/never"}, plan.Overrides{Lease: &plan.Lease{Deployment: "7d", Storage: "never"}}},
		{"one lease", []string{"--lease", "/48h"}, plan.Overrides{Lease: &plan.Lease{Storage: "48h"}}},
		{"a NIC with everything", []string{"--nic", "web:1=lan,ip=10.0.0.1,mac=new"}, plan.Overrides{VMs: map[string]plan.VMOverrides{"web": {NICs: map[string]plan.NICOverride{"1": {Network: "lan", IP: "10.0.0.1", MAC: "new"}}}}}},
		{"a NIC stays where it is", []string{"--nic", "a%3Ab:0=mode=dhcp"}, plan.Overrides{VMs: map[string]plan.VMOverrides{"a:b": {NICs: map[string]plan.NICOverride{"0": {Mode: "dhcp"}}}}}},
		{"flags go before the file", []string{"--overrides", file, "--network", "lan=lan2", "--vm-name", "web=web3"}, plan.Overrides{
			Networks: names("lan", "lan2", "dmz", "dmz1"), Owner: "ada",
			VMs: map[string]plan.VMOverrides{"web": {Name: "web3", NICs: map[string]plan.NICOverride{"0": {IP: "10.0.0.9"}}}}}},
	} {
		req, err := overridesOf(t, tc.args...)
		if err != nil || !reflect.DeepEqual(req.Overrides, tc.want) {
			t.Errorf("%s: got %+v, %v, want %+v", tc.name, req.Overrides, err, tc.want)
		}
	}
}

func TestOverrideFlagsThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no new name", []string{"--network", "lan"}, "want OLD=NEW"},
		{"no old name", []string{"--user", "=x"}, "want OLD=NEW"},
		{"an empty profile", []string{"--storage-profile", "a="}, "want a name"},
		{"half a code", []string{"--network", "a%3=b"}, "hex digits"},
		{"a lease of no length", []string{"--lease", "soon/never"}, `"soon"`},
		{"no leases", []string{"--lease", "/"}, "want RUN/STORE"},
		{"a NIC without an index", []string{"--nic", "web=lan"}, "want VM:INDEX"},
		{"an index that is no number", []string{"--nic", "web:x=lan"}, "not a number"},
		{"an address that is none", []string{"--nic", "web:0=lan,ip=10.0.0"}, "not an address"},
		{"an address and DHCP", []string{"--nic", "web:0=lan,ip=10.0.0.1,mode=dhcp"}, "mode manual"},
		{"a mode that is none", []string{"--nic", "web:0=mode=x"}, "want pool"},
		{"a way with addresses that is none", []string{"--ip", "static"}, `--ip "static": want keep, pool or dhcp`},
		{"a way with MACs that is none", []string{"--mac", "pool"}, `--mac "pool": want keep or new`},
		{"a way that is none in a file", []string{"--overrides", write("f", "ip: static\n")}, `ip "static": want keep, pool or dhcp`},
		{"an unknown key, with its line", []string{"--overrides", write("a", "owner: a\nnetwork: {a: b}\n")}, "line 2"},
		{"no YAML", []string{"--overrides", write("b", "{")}, "--overrides"},
		{"no file", []string{"--overrides", filepath.Join(dir, "none")}, "--overrides"},
		{"a name that cannot be", []string{"--overrides", write("c", "vms: {a: {name: \" \"}}")}, "empty"},
		{"a place for what is there", []string{"--overwrite", "--vdc", "x"}, "exclude each other"},
		{"a plan is saved without being shown", []string{"--plan-out", "x"}, "--dry-run"},
		{"a plan and more", []string{"--plan", "x", "--owner", "a"}, "--plan and --owner"},
		{"a plan of another version", []string{"--plan", write("d", `{"version": 9, "point": "x", "plan": {}}`)}, "version 9"},
		{"a plan of another point", []string{"--plan", write("e", `{"version": 1, "point": "x", "options": {}, "plan": {}}`)}, "restore point x"},
	} {
		_, err := overridesOf(t, tc.args...)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", tc.name, err, tc.want)
		}
	}
}
