package cloud

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// complete fills in defaults and checks that every name leads somewhere.
func (inv *Inventory) complete() error {
	if inv.Version != Version {
		return fmt.Errorf("version %d: this program reads version %d", inv.Version, Version)
	}
	c := &checker{}
	c.some("inventory", "sites", len(inv.Sites))
	unique(c, "inventory", "site", inv.Sites, func(s *Site) string { return s.ID })
	for i := range inv.Sites {
		c.site(&inv.Sites[i])
	}
	return errors.Join(c.problems...)
}

// A checker gathers problems; each names the thing, outermost first.
type checker struct{ problems []error }

func (c *checker) add(thing, format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("%s: %s", thing, fmt.Sprintf(format, args...)))
}

func (c *checker) some(thing, what string, n int) {
	if n == 0 {
		c.add(thing, "no %s", what)
	}
}

// oneOf checks a word and fills in the first one where there is none.
func (c *checker) oneOf(thing, key string, value *string, words ...string) {
	*value = cmp.Or(*value, words[0])
	if !slices.Contains(words, *value) {
		c.add(thing, "%s %q: want one of %q", key, *value, words)
	}
}

// unique checks that each element has a name and none has another's.
func unique[T any](c *checker, thing, kind string, list []T, name func(*T) string) {
	seen := map[string]bool{}
	for i := range list {
		switch n := name(&list[i]); {
		case n == "":
			c.add(thing, "%s number %d has no name", kind, i)
		case seen[n]:
			c.add(thing, "two of the name %q: %s", n, kind)
		default:
			seen[n] = true
		}
	}
}

// known checks that a name that is used is that of an element of a list.
func known[T any](c *checker, thing, kind, name string, list []T, nameOf func(*T) string) *T {
	names := make([]string, len(list))
	for i := range list {
		if names[i] = nameOf(&list[i]); names[i] == name {
			return &list[i]
		}
	}
	c.add(thing, "no %s %q here; there are %q", kind, name, names)
	return nil
}

func (c *checker) site(s *Site) {
	thing := "site " + s.ID
	s.Admin.Name = cmp.Or(s.Admin.Name, "administrator")
	s.Admin.Password = cmp.Or(s.Admin.Password, "vcdsim-admin")
	if !fileName(s.ID) {
		c.add(thing, "id: want a name that can name a file")
	}
	for _, v := range s.APIVersions {
		if !slices.Contains(director.Versions(), v) {
			c.add(thing, "apiVersions: no version %q; there are %q", v, director.Versions())
		}
	}
	c.some(thing, "vcenters", len(s.VCenters))
	unique(c, thing, "vCenter", s.VCenters, vcenterName)
	unique(c, thing, "org", s.Orgs, func(o *Org) string { return o.Name })
	for i := range s.VCenters {
		c.vcenter(thing, s.ID, &s.VCenters[i])
	}
	c.outside(thing, s)
	c.providerVDCs(thing, s)
	for i := range s.Orgs {
		c.org(thing, s, &s.Orgs[i])
	}
}

func (c *checker) vcenter(thing, site string, v *VCenter) {
	thing += ": vCenter " + v.Name
	if !fileName(v.Name) {
		c.add(thing, "name: want one that can name a file")
	}
	v.User = cmp.Or(v.User, "administrator@vsphere.local")
	v.Password = cmp.Or(v.Password, "vcdsim-vcenter")
	v.InstanceUUID = cmp.Or(v.InstanceUUID, uuid("vcenter", site, v.Name))
	v.Datacenter = cmp.Or(v.Datacenter, "DC0")
	v.Cluster = cmp.Or(v.Cluster, "cluster0")
	if v.Hosts < 0 {
		c.add(thing, "hosts %d: want a number from 1", v.Hosts)
	}
	v.Hosts = max(v.Hosts, 1)
	if len(v.Datastores) == 0 {
		v.Datastores = []Datastore{{Name: "datastore1"}}
	}
	unique(c, thing, "user", v.Users, func(u *VCenterUser) string { return u.Name })
	for i := range v.Users {
		u := &v.Users[i]
		u.Password = cmp.Or(u.Password, "vcdsim-"+u.Name)
		if u.Name == v.User {
			c.add(thing, "user %s: is the vCenter's own", u.Name)
		}
	}
	if v.MaxSessions < 0 {
		c.add(thing, "maxSessions: want a number from 0")
	}
	unique(c, thing, "datastore", v.Datastores, datastoreName)
	for i := range v.Datastores {
		d := &v.Datastores[i]
		if !fileName(d.Name) {
			c.add(thing, "datastore %q: want a name that can name a folder", d.Name)
		}
		c.oneOf(thing+": datastore "+d.Name, "type", &d.Type, "VMFS", "NFS", "vsan", "VVOL")
	}
}

func (c *checker) org(thing string, s *Site, o *Org) {
	thing += ": org " + o.Name
	if strings.EqualFold(o.Name, "System") {
		c.add(thing, "the name is that of vCD's own org")
	}
	o.FullName = cmp.Or(o.FullName, o.Name)
	unique(c, thing, "user", o.Users, userName)
	unique(c, thing, "role", o.Roles, func(r *Role) string { return r.Name })
	for _, r := range o.Roles {
		if slices.Contains(director.PredefinedRoles(), r.Name) {
			c.add(thing, "role %s: the name is a predefined role's", r.Name)
		}
		for _, right := range r.Rights {
			if !slices.Contains(director.Rights(), right) {
				c.add(thing, "role %s: vCD has no right %q", r.Name, right)
			}
		}
	}
	unique(c, thing, "VDC", o.VDCs, func(v *VDC) string { return v.Name })
	for i := range o.Users {
		u := &o.Users[i]
		u.Role = cmp.Or(u.Role, "vApp User")
		u.Password = cmp.Or(u.Password, "vcdsim-"+u.Name)
		if u.Name == "" {
			continue // said above
		}
		u.FullName = cmp.Or(u.FullName, u.Name)
	}
	for i := range o.VDCs {
		c.vdc(thing, s, o, &o.VDCs[i])
	}
	c.catalogs(thing, s, o)
}

func (c *checker) vdc(thing string, s *Site, o *Org, v *VDC) {
	thing += ": VDC " + v.Name
	if v.VCenter == "" && len(s.VCenters) == 1 {
		v.VCenter = s.VCenters[0].Name
	}
	v.ResourcePool = cmp.Or(v.ResourcePool, vsphereName(o.Name+"-"+v.Name))
	c.oneOf(thing, "allocationModel", &v.AllocationModel, "AllocationVApp", "AllocationPool", "ReservationPool", "Flex")
	vc := known(c, thing, "vCenter", v.VCenter, s.VCenters, vcenterName)
	if vc == nil {
		return
	}
	c.storageProfiles(thing, vc, v)
	c.edges(thing, s, v)
	c.vdcLimits(thing, s, v)
	unique(c, thing, "network", v.Networks, orgNetworkName)
	for i := range v.Networks {
		c.orgNetwork(thing, vc, &v.Networks[i])
	}
	c.namedDisks(thing, o, v)
	unique(c, thing, "vApp", v.VApps, func(a *VApp) string { return a.Name })
	unique(c, thing, "standalone VM", v.VMs, vmName)
	for i := range v.VApps {
		c.vapp(thing, o, v, &v.VApps[i])
	}
	for i := range v.VMs {
		vm := &v.VMs[i]
		c.vm(thing, v, vm)
		for n := range vm.NICs {
			name, thing := vm.NICs[n].Network, fmt.Sprintf("%s: vm %s: nic %d", thing, vm.Name, n)
			if name == "" {
				continue
			}
			network := known(c, thing, "network", name, v.Networks, orgNetworkName)
			if network != nil && vm.NICs[n].Mode == "pool" && len(network.Ranges) == 0 {
				c.add(thing, "mode pool: network %s has no ranges", name)
			}
		}
	}
}

func (c *checker) storageProfiles(thing string, vc *VCenter, v *VDC) {
	if len(v.StorageProfiles) == 0 {
		v.StorageProfiles = []StorageProfile{{Name: "*", Default: true}}
	}
	unique(c, thing, "storage profile", v.StorageProfiles, profileName)
	defaults := 0
	for i := range v.StorageProfiles {
		p := &v.StorageProfiles[i]
		p.Datastore = cmp.Or(p.Datastore, vc.Datastores[0].Name)
		known(c, thing+": storage profile "+p.Name, "datastore", p.Datastore, vc.Datastores, datastoreName)
		if p.Default {
			defaults++
		}
	}
	switch defaults {
	case 0:
		v.StorageProfiles[0].Default = true
	case 1:
	default:
		c.add(thing, "%d default storage profiles: want one", defaults)
	}
}

func (c *checker) orgNetwork(thing string, vc *VCenter, n *OrgNetwork) {
	thing += ": network " + n.Name
	c.oneOf(thing, "type", &n.Type, "isolated", "routed", "direct")
	if n.PortGroup != "" && !slices.Contains(vc.Networks, n.PortGroup) {
		c.add(thing, "portGroup %q: vCenter %s has %q", n.PortGroup, vc.Name, vc.Networks)
	}
	c.subnet(thing, &n.Subnet)
}

func (c *checker) subnet(thing string, s *Subnet) {
	if len(s.DNS) > 2 {
		c.add(thing, "dns: want at most two")
	}
	gateway, err := netip.ParseAddr(s.Gateway)
	if err != nil {
		c.add(thing, "gateway %q: want an address", s.Gateway)
	}
	s.Netmask = cmp.Or(s.Netmask, "255.255.255.0")
	prefix, err := netmask(s.Netmask)
	if err != nil {
		c.add(thing, "netmask %q: %v", s.Netmask, err)
		return
	}
	network, err := gateway.Prefix(prefix)
	if err != nil {
		return
	}
	for _, r := range s.Ranges {
		for _, end := range []string{r.First, r.Last} {
			if a, err := netip.ParseAddr(end); err != nil || !network.Contains(a) {
				c.add(thing, "range %s-%s: not in %s", r.First, r.Last, network)
				break
			}
		}
	}
}

// netmask is the length of a dotted mask.
func netmask(mask string) (int, error) {
	a, err := netip.ParseAddr(mask)
	if err != nil || !a.Is4() {
		return 0, errors.New("want such as 255.255.255.0")
	}
	bits := 0
	octets := a.As4()
	for _, octet := range octets {
		for bit := 7; bit >= 0; bit-- {
			if octet>>bit&1 == 1 {
				bits++
			}
		}
	}
	if again, err := netip.AddrFrom4([4]byte{255, 255, 255, 255}).Prefix(bits); err != nil || again.Addr() != a {
		return 0, errors.New("ones after zeros")
	}
	return bits, nil
}

// fileName reports whether a name can be a file's as it is.
func fileName(name string) bool {
	return name != "" && name[0] != '.' && !slices.ContainsFunc([]rune(name), func(r rune) bool {
		return r == '/' || r == '[' || r == ']' || r == '\\' || r < ' '
	})
}

func vcenterName(v *VCenter) string        { return v.Name }
func datastoreName(d *Datastore) string    { return d.Name }
func userName(u *User) string              { return u.Name }
func profileName(p *StorageProfile) string { return p.Name }
func orgNetworkName(n *OrgNetwork) string  { return n.Name }
func networkName(n *Network) string        { return n.Name }
func vmName(v *VM) string                  { return v.Name }
