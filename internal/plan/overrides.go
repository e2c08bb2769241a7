package plan

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
)

// ParseOverrides reads a file of --overrides: YAML, whose keys are those of
// Overrides. An unknown key is an error that names its line.
func ParseOverrides(raw []byte) (Overrides, error) {
	var o Overrides
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&o); err != nil && !errors.Is(err, io.EOF) {
		return Overrides{}, err
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return Overrides{}, errors.New("more than one document")
	}
	return o, o.Check()
}

// Merge returns the overrides with others on top: what both say, over says.
func (o Overrides) Merge(over Overrides) Overrides {
	o.Name, o.Site, o.Org, o.VDC = cmp.Or(over.Name, o.Name), cmp.Or(over.Site, o.Site), cmp.Or(over.Org, o.Org), cmp.Or(over.VDC, o.VDC)
	o.Owner, o.IP, o.MAC = cmp.Or(over.Owner, o.Owner), cmp.Or(over.IP, o.IP), cmp.Or(over.MAC, o.MAC)
	for _, m := range []struct {
		to   *map[string]string
		from map[string]string
	}{
		{&o.Networks, over.Networks}, {&o.StorageProfiles, over.StorageProfiles}, {&o.ComputePolicies, over.ComputePolicies},
		{&o.Datastores, over.Datastores}, {&o.Media, over.Media}, {&o.Users, over.Users},
	} {
		*m.to = merged(*m.to, m.from)
	}
	if over.Lease != nil {
		l := Lease{}
		if o.Lease != nil {
			l = *o.Lease
		}
		o.Lease = &Lease{cmp.Or(over.Lease.Deployment, l.Deployment), cmp.Or(over.Lease.Storage, l.Storage)}
	}
	vms := maps.Clone(o.VMs)
	for name, vm := range over.VMs {
		if vms == nil {
			vms = map[string]VMOverrides{}
		}
		was := vms[name]
		vms[name] = VMOverrides{cmp.Or(vm.Name, was.Name), merged(was.NICs, vm.NICs)}
	}
	o.VMs = vms
	return o
}

func merged[V any](a, b map[string]V) map[string]V {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(a)
	if out == nil {
		out = map[string]V{}
	}
	maps.Copy(out, b)
	return out
}

var macPattern = regexp.MustCompile(`^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$`)

// Check refuses values that cannot be, whatever the restore point and the
// cloud hold.
func (o Overrides) Check() error {
	if o.IP != "" && !slices.Contains([]string{IPKeep, IPPool, IPDHCP}, o.IP) {
		return fmt.Errorf("ip %q: want keep, pool or dhcp", o.IP)
	}
	if o.MAC != "" && o.MAC != MACKeep && o.MAC != MACNew {
		return fmt.Errorf("mac %q: want keep or new", o.MAC)
	}
	if o.Name != "" {
		if err := checkName(o.Name); err != nil {
			return err
		}
	}
	if o.Lease != nil {
		for _, s := range []string{o.Lease.Deployment, o.Lease.Storage} {
			if s == "" {
				continue
			}
			if _, err := ParseLease(s); err != nil {
				return err
			}
		}
	}
	for _, name := range sortedKeys(o.VMs) {
		vm := o.VMs[name]
		if vm.Name != "" {
			if err := checkName(vm.Name); err != nil {
				return fmt.Errorf("vm %s: %w", name, err)
			}
		}
		for _, index := range sortedKeys(vm.NICs) {
			if err := vm.NICs[index].check(index); err != nil {
				return fmt.Errorf("vm %s: NIC %s: %w", name, index, err)
			}
		}
	}
	return nil
}

func (n NICOverride) check(index string) error {
	if _, err := strconv.ParseUint(index, 10, 8); err != nil {
		return errors.New("its index is not a number")
	}
	if n.IP != "" {
		if _, err := netip.ParseAddr(n.IP); err != nil {
			return fmt.Errorf("ip %q: not an address", n.IP)
		}
	}
	if n.MAC != "" && n.MAC != MACKeep && n.MAC != MACNew && !macPattern.MatchString(n.MAC) {
		return fmt.Errorf("mac %q: want 00:50:56:xx:xx:xx, keep or new", n.MAC)
	}
	mode := strings.ToUpper(n.Mode)
	if mode != "" && !slices.Contains([]string{addressPool, addressDHCP, addressManual, addressNone}, mode) {
		return fmt.Errorf("mode %q: want pool, dhcp, manual or none", n.Mode)
	}
	if mode == addressManual && n.IP == "" || n.IP != "" && mode != "" && mode != addressManual {
		return errors.New("an address goes with mode manual, and mode manual with an address")
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// planUnused refuses overrides of what the restore point does not have: more
// likely a slip than a wish. Where one file serves many vApps, others have it.
func planUnused(_ context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	if p.options.Many {
		return nil
	}
	o := p.options.Overrides
	var parents, users, vms, stores, media []string
	for _, n := range p.VAppNetworks {
		parents = append(parents, n.Was)
	}
	for _, s := range p.Access {
		users = append(users, s.Name)
	}
	if owner := d.Docs.Attribute("vcd/owner.xml", "name", "User"); owner != "" {
		users = append(users, owner)
	}
	for i := range point.VMs {
		vm := &point.VMs[i]
		vms = append(vms, vm.Name)
		for _, disk := range vm.Disks {
			stores = append(stores, datastoreName(disk.FileName))
		}
		root, err := vmTree(d, vm)
		if err != nil || root == nil {
			continue // said before
		}
		for _, e := range mediaOf(root) {
			media = append(media, document.Attribute(e, "name"))
		}
	}
	for _, c := range []struct {
		flag  string
		asked []string
		there []string
	}{
		{"--network", sortedKeys(o.Networks), parents},
		{"--storage-profile", sortedKeys(o.StorageProfiles), sortedKeys(p.StorageProfiles)},
		{"--compute-policy", sortedKeys(o.ComputePolicies), sortedKeys(p.ComputePolicies)},
		{"--user", sortedKeys(o.Users), users},
		{"--vm-name", sortedKeys(o.VMs), vms},
		{"--datastore", sortedKeys(o.Datastores), stores},
		{"--media", sortedKeys(o.Media), media},
	} {
		there := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(c.there))), func(s string) bool { return s == "" })
		for _, name := range c.asked {
			if name != "*" && !slices.Contains(there, name) {
				conflict := Conflict{Kind: KindOverride, Object: c.flag + " " + flagName(name)}
				if len(there) == 0 {
					p.add(conflict, "the restore point has none at all")
					continue
				}
				p.add(conflict, "the restore point has none of that name, but %s", strings.Join(there, ", "))
			}
		}
	}
	return nil
}

// flagName writes a name as flags take it: percent-encoded where it holds one
// of their own signs.
func flagName(name string) string {
	return strings.NewReplacer("=", "%3D", ",", "%2C", ":", "%3A").Replace(selection.Escape(name))
}

// planUsable refuses overrides of what a way back does not touch: whoever
// gives one believes that it has an effect.
func planUsable(_ context.Context, _ *Deps, p *Plan, _ *restorepoint.Point) error {
	o := p.options.Overrides
	given := map[string]bool{
		"--org": o.Org != "", "--vdc": o.VDC != "", "--name": o.Name != "", "--network": len(o.Networks) > 0, "--owner": o.Owner != "",
		"--user": len(o.Users) > 0, "--lease": o.Lease != nil, "--media": len(o.Media) > 0, "--datastore": len(o.Datastores) > 0,
		"--ip": o.IP != "", "--mac": o.MAC != "", "--vm-name or --nic": len(o.VMs) > 0,
	}
	var idle []string
	why := "what is there stays where it is"
	switch p.Mode {
	case ModeOverwrite:
		idle = []string{"--org", "--vdc"}
	case ModeVMs, ModeDisks:
		idle, why = []string{"--org", "--vdc", "--name", "--network", "--owner", "--user", "--lease", "--media"}, "only VMs or disks come back, into the vApp that is there"
	case ModeConfig:
		idle, why = []string{"--org", "--vdc", "--name", "--media", "--datastore", "--ip", "--mac", "--vm-name or --nic"}, "only documents come back"
	}
	for _, flag := range idle {
		if given[flag] && !p.options.Many {
			p.add(Conflict{Kind: KindOverride, Object: flag}, "has no effect here: %s", why)
		}
	}
	return nil
}
