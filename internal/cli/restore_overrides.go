package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
)

// anyName is what an override of every name is called in a map.
const anyName = "*"

// planFlags say what a restore takes instead of what the restore point has,
// and where the plan is kept.
type planFlags struct {
	file    string
	flags   plan.Overrides
	planOut string
	planIn  string
}

// overrideFlags adds the flags of overrides and plan files to restore.
func overrideFlags(cmd *cobra.Command) *planFlags {
	f := &planFlags{}
	flags := cmd.Flags()
	flags.StringVar(&f.file, "overrides", "", "YAML `file` of overrides, for all that follows; flags go before it")
	flags.StringVar(&f.flags.Site, "site", "", "restore to this `site` of the configuration: after the loss of the one that the point is of")
	flags.StringVar(&f.flags.Org, "org", "", "restore into this `organization`")
	flags.StringVar(&f.flags.VDC, "vdc", "", "restore into this `VDC`, NAME or ORG/NAME")
	flags.StringVar(&f.flags.Name, "name", "", "`name` of the vApp afterwards")
	flags.Var(nameMap{&f.flags.Networks, false}, "network", "organization network to use instead, `OLD=NEW`; nothing as NEW isolates what hung from it")
	flags.Var(nameMap{&f.flags.StorageProfiles, true}, "storage-profile", "storage profile to use instead, `[OLD=]NEW`")
	flags.Var(nameMap{&f.flags.ComputePolicies, true}, "compute-policy", "sizing or placement policy to use instead, `[OLD=]NEW`")
	flags.Var(nameMap{&f.flags.Datastores, true}, "datastore", "datastore to write to instead, `[OLD=]NEW`")
	flags.Var(nameMap{&f.flags.Media, false}, "media", "medium to insert instead, `OLD=NEW`; nothing as NEW leaves the drive empty")
	flags.StringVar(&f.flags.Owner, "owner", "", "`user` who owns the vApp afterwards")
	flags.Var(nameMap{&f.flags.Users, false}, "user", "user or group who gets the access that OLD had, `OLD=NEW`; nothing as NEW leaves it out")
	flags.Var(leaseValue{&f.flags}, "lease", "runtime and storage lease, `RUN/STORE`, each as 7d, 168h or never")
	flags.StringVar(&f.flags.IP, "ip", "", "addresses, `keep|pool|dhcp`: keep them, take what the pool gives, ask DHCP (default keep, for a copy pool)")
	flags.StringVar(&f.flags.MAC, "mac", "", "MAC addresses, `keep|new` (default keep, for a copy new)")
	flags.Var(vmNames{&f.flags}, "vm-name", "name of a VM afterwards, `OLD=NEW`")
	flags.Var(nicValue{&f.flags}, "nic", "a NIC on another network of the vApp, `VM:INDEX=NETWORK`; with or instead of it ,ip=ADDRESS ,mac=ADDRESS|keep|new ,mode=pool|dhcp|manual|none")
	flags.StringVar(&f.planOut, "plan-out", "", "with --dry-run: save the plan in this `file`")
	flags.StringVar(&f.planIn, "plan", "", "apply the plan of this `file`, and nothing else")
	_ = cmd.RegisterFlagCompletionFunc("ip", cobra.FixedCompletions([]string{plan.IPKeep, plan.IPPool, plan.IPDHCP}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("mac", cobra.FixedCompletions([]string{plan.MACKeep, plan.MACNew}, cobra.ShellCompDirectiveNoFileComp))
	return f
}

// apply puts the overrides into a request, or the whole of a saved plan.
func (f *planFlags) apply(cmd *cobra.Command, req *app.RestoreRequest) error {
	if f.planIn != "" {
		return f.read(cmd, req)
	}
	if req.Point == "" {
		return usagef("name a restore point")
	}
	if err := checkWays(f.flags); err != nil {
		return err
	}
	if f.planOut != "" && !req.DryRun {
		return usagef("--plan-out goes with --dry-run")
	}
	var file plan.Overrides
	if f.file != "" {
		raw, err := os.ReadFile(f.file)
		if err != nil {
			return usagef("--overrides: %w", err)
		}
		if file, err = plan.ParseOverrides(raw); err != nil {
			return usagef("--overrides %s: %w", f.file, err)
		}
	}
	req.Overrides = file.Merge(f.flags)
	if err := req.Overrides.Check(); err != nil {
		return &usageError{err}
	}
	switch {
	case req.Overwrite && (req.Overrides.VDC != "" || req.Overrides.Org != ""):
		return usagef("--overwrite and --vdc or --org exclude each other: what is there stays where it is")
	case req.As != "" && req.Overrides.Name != "" && req.As != req.Overrides.Name:
		return usagef("--as and --name exclude each other: both name the vApp")
	}
	return nil
}

// checkWays checks the flags that have names for what they do. In a file of
// overrides the keys of those names are checked with the rest of it.
func checkWays(flags plan.Overrides) error {
	if flags.IP != "" {
		if err := oneOf("ip", flags.IP, plan.IPKeep, plan.IPPool, plan.IPDHCP); err != nil {
			return err
		}
	}
	if flags.MAC != "" {
		return oneOf("mac", flags.MAC, plan.MACKeep, plan.MACNew)
	}
	return nil
}

// read takes the request out of a saved plan.
func (f *planFlags) read(cmd *cobra.Command, req *app.RestoreRequest) error {
	for _, name := range changedFlags(cmd) {
		if !slices.Contains([]string{"plan", "dry-run", "id-map", "terraform"}, name) {
			return usagef("--plan and --%s exclude each other: the plan holds what was asked for", name)
		}
	}
	raw, err := os.ReadFile(f.planIn)
	if err != nil {
		return usagef("--plan: %w", err)
	}
	saved, err := plan.ParseFile(raw)
	if err != nil {
		return usagef("--plan %s: %w", f.planIn, err)
	}
	if req.Point != "" && req.Point != saved.Point {
		return usagef("--plan %s: is for restore point %s", f.planIn, saved.Point)
	}
	req.Point, req.Options, req.Saved = saved.Point, saved.Options, saved
	return nil
}

// save keeps a plan for later. It names people and addresses: nobody else
// reads it.
func (f *planFlags) save(p *plan.Plan) (err error) {
	if f.planOut == "" || p == nil {
		return nil
	}
	raw, err := p.Save()
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.planOut), ".plan-*") // mode 0600
	if err != nil {
		return fmt.Errorf("--plan-out: %w", err)
	}
	defer func() {
		if rerr := os.Remove(tmp.Name()); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	_, err = tmp.Write(raw)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), f.planOut)
	}
	if err != nil {
		return fmt.Errorf("--plan-out: %w", err)
	}
	return nil
}

// pair reads OLD=NEW, names percent-encoded as in selectors.
func pair(s string) (before, after string, both bool, err error) {
	before, after, both = strings.Cut(s, "=")
	if before, err = url.PathUnescape(before); err == nil {
		after, err = url.PathUnescape(after)
	}
	if err != nil {
		return "", "", false, fmt.Errorf("%q: want two hex digits behind %%, or %%25 for the sign itself", s)
	}
	return before, after, both, nil
}

// nameMap is the value of a flag that maps names.
type nameMap struct {
	to     *map[string]string
	single bool // NEW alone stands for any name
}

func (v nameMap) String() string { return "" }
func (v nameMap) Type() string   { return "OLD=NEW" }

// Set takes one pair; the flag may be given again.
func (v nameMap) Set(s string) error {
	before, after, both, err := pair(s)
	switch {
	case err != nil:
		return err
	case !both && !v.single || before == "":
		return fmt.Errorf("%q: want OLD=NEW", s)
	case !both:
		before, after = anyName, before
	case after == "" && v.single:
		return fmt.Errorf("%q: want a name behind =", s)
	}
	if *v.to == nil {
		*v.to = map[string]string{}
	}
	(*v.to)[before] = after
	return nil
}

// leaseValue is the value of --lease.
type leaseValue struct{ to *plan.Overrides }

func (v leaseValue) String() string { return "" }
func (v leaseValue) Type() string   { return "RUN/STORE" }

// Set takes both leases, or one of them.
func (v leaseValue) Set(s string) error {
	run, store, both := strings.Cut(s, "/")
	for _, lease := range []string{run, store} {
		if lease == "" && both {
			continue
		}
		if lease == "" {
			break
		}
		if _, err := plan.ParseLease(lease); err != nil {
			return err
		}
	}
	if run == "" && store == "" {
		return fmt.Errorf("%q: want RUN/STORE", s)
	}
	v.to.Lease = &plan.Lease{Deployment: run, Storage: store}
	return nil
}

// vmNames is the value of --vm-name.
type vmNames struct{ to *plan.Overrides }

func (v vmNames) String() string { return "" }
func (v vmNames) Type() string   { return "OLD=NEW" }

// Set takes one pair; the flag may be given again.
func (v vmNames) Set(s string) error {
	before, after, _, err := pair(s)
	if err != nil {
		return err
	}
	if before == "" || after == "" {
		return fmt.Errorf("%q: want OLD=NEW", s)
	}
	vm := v.to.VMs[before]
	vm.Name = after
	setVM(v.to, before, vm)
	return nil
}

func setVM(o *plan.Overrides, name string, vm plan.VMOverrides) {
	if o.VMs == nil {
		o.VMs = map[string]plan.VMOverrides{}
	}
	o.VMs[name] = vm
}

// nicValue is the value of --nic.
type nicValue struct{ to *plan.Overrides }

func (v nicValue) String() string { return "" }
func (v nicValue) Type() string   { return "VM:INDEX=NETWORK" }

// Set takes one NIC; the flag may be given again. Names hold : , and =
// percent-encoded.
func (v nicValue) Set(s string) error {
	wrong := fmt.Errorf("%q: want VM:INDEX=NETWORK,ip=ADDRESS,mac=ADDRESS,mode=MODE, or some of them", s)
	head, rest, found := strings.Cut(s, "=")
	colon := strings.LastIndexByte(head, ':')
	if !found || colon < 1 || rest == "" {
		return wrong
	}
	name, err := url.PathUnescape(head[:colon])
	if err != nil {
		return wrong
	}
	var nic plan.NICOverride
	for i, part := range strings.Split(rest, ",") {
		key, value, keyed := strings.Cut(part, "=")
		if i == 0 && !keyed {
			if nic.Network, err = url.PathUnescape(part); err != nil {
				return wrong
			}
			continue
		}
		to := map[string]*string{"ip": &nic.IP, "mac": &nic.MAC, "mode": &nic.Mode}[key]
		if to == nil || value == "" {
			return wrong
		}
		*to = value
	}
	vm := v.to.VMs[name]
	if vm.NICs == nil {
		vm.NICs = map[string]plan.NICOverride{}
	}
	vm.NICs[head[colon+1:]] = nic
	setVM(v.to, name, vm)
	return nil
}
