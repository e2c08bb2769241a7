package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
)

// The fence modes of a vApp network.
const (
	modeBridged  = "bridged"
	modeRouted   = "natRouted"
	modeIsolated = "isolated"
)

// stub is vCD's own stand-in for "not connected".
const stub = "none"

// A Network is what becomes of a network of the vApp.
type Network struct {
	Name string `json:"name"` // in the restore point
	As   string `json:"as"`   // afterwards: one that bears its parent's name goes with it
	Mode string `json:"mode"` // bridged, natRouted, isolated; afterwards
	// Was and Parent are the names of the organization network that it hung
	// from and that it will hang from; "" for none.
	Was    string `json:"was,omitempty"`
	Parent string `json:"parent,omitempty"`

	why string // flag or resolution by which something differs
}

// planNetworks finds the organization networks that vApp networks hang from.
// One that is gone does not stop a restore: what hung from it becomes isolated
// and keeps its subnet, so that the VMs reach each other and nothing else.
func planNetworks(ctx context.Context, d *Deps, p *Plan, _ *restorepoint.Point) error {
	networks, err := d.VCD.VDCNetworks(ctx, p.VDC.ID)
	if err != nil {
		return fmt.Errorf("list networks of VDC %s: %w", p.VDC.Name, err)
	}
	config, err := d.Docs.Tree("vcd/networkConfigSection.xml")
	if err != nil || config == nil {
		return err
	}
	if p.Networks == nil {
		p.Networks, p.subnets = map[string]string{}, map[string]*subnet{}
	}
	for _, c := range document.FindAll(config.Root(), "NetworkConfig") {
		name := document.Attribute(c, "networkName")
		configuration := document.Find(c, "Configuration")
		if name == stub || configuration == nil {
			continue
		}
		n := Network{Name: name, As: name, Mode: document.Text(configuration, "FenceMode")}
		parent := document.Find(configuration, "ParentNetwork")
		inherits := parent != nil && (n.Mode == modeBridged || document.Text(configuration, "IpScopes", "IpScope", "IsInherited") == "true")
		if parent != nil {
			p.planParent(&n, parent, networks)
		}
		if inherits && n.Name == n.Was && n.Parent != "" {
			n.As = n.Parent
		}
		if n.Mode == modeIsolated && n.Was != "" && document.Descend(configuration, "IpScopes", "IpScope") == nil {
			p.add(Conflict{Kind: KindNetworkMissing, Object: "network " + n.Was, Override: "--network " + flagName(n.Was) + "=NEW"},
				"the restore point does not tell its subnet, so that vApp network %s cannot do without it", n.Name)
		}
		if err := p.planSubnet(ctx, d, n, inherits, configuration, networks); err != nil {
			return err
		}
		p.VAppNetworks = append(p.VAppNetworks, n)
	}
	for i, n := range p.VAppNetworks {
		if slices.ContainsFunc(p.VAppNetworks[:i], func(o Network) bool { return o.As == n.As }) {
			p.add(Conflict{Kind: KindNameTaken, Object: "vApp network " + n.Name, Override: "--network " + flagName(n.Was) + "=OTHER"},
				"would be called %s, as another network of the vApp", n.As)
		}
	}
	return nil
}

// planLiveNetworks looks at the networks of the vApp as it is, which single VMs
// come back to.
func planLiveNetworks(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	now, err := d.VCD.Get(ctx, p.Live.Href+"/networkConfigSection/")
	if err != nil {
		return fmt.Errorf("vApp %s: networks: %w", p.VAppName, err)
	}
	narrow := *d
	narrow.Docs = document.Set{networkSection: now.Raw}
	return planNetworks(ctx, &narrow, p, point)
}

// planParent finds the organization network for a vApp network: the one that
// was asked for, else the one of the same id, else that of the same name.
func (p *Plan) planParent(n *Network, parent *etree.Element, networks []vcd.NetworkRef) {
	n.Was = document.Attribute(parent, "name")
	id := restorepoint.UUID(vcd.URN(document.Attribute(parent, "href")))
	named := func(name string) *vcd.NetworkRef {
		i := slices.IndexFunc(networks, func(v vcd.NetworkRef) bool { return v.Name == name })
		if i < 0 {
			return nil
		}
		return &networks[i]
	}
	object, override := "network "+n.Was, "--network "+flagName(n.Was)+"=NEW"
	if to, asked := lookup(p.options.Overrides.Networks, n.Was); asked {
		n.why = "--network " + flagName(n.Was) + "=" + flagName(to)
		if to == "" {
			n.Mode = modeIsolated
			return
		}
		found := named(to)
		if found == nil {
			p.add(Conflict{Kind: KindNetworkMissing, Object: "network " + to, Override: override}, "VDC %s has none of that name, but %s", p.VDC.Name, networkNames(networks))
			return
		}
		n.Parent, p.Networks[found.Name] = found.Name, found.Href
		return
	}
	found := named(n.Was)
	if i := slices.IndexFunc(networks, func(v vcd.NetworkRef) bool { return restorepoint.UUID(v.ID) == id }); i >= 0 {
		found = &networks[i]
	}
	switch {
	case found == nil:
		n.Mode, n.why = modeIsolated, "organization network "+n.Was+" is missing"
		p.add(Conflict{
			Kind: KindNetworkMissing, Object: object, Override: override, Loss: true,
			Resolution: "isolate " + n.Name + ": it keeps its subnet and leads nowhere",
		}, "vApp network %s hangs from it, and VDC %s has none of that name, but %s", n.Name, p.VDC.Name, networkNames(networks))
	case found.Name != n.Was:
		n.why = "organization network " + n.Was + " was renamed"
		p.add(Conflict{Kind: KindNetworkRenamed, Object: object, Override: override, Resolution: "use " + found.Name}, "is called %s now", found.Name)
		n.Parent, p.Networks[found.Name] = found.Name, found.Href
	default:
		n.Parent, p.Networks[found.Name] = found.Name, found.Href
	}
}

func networkNames(networks []vcd.NetworkRef) string {
	var names []string
	for _, n := range networks {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return orNone(names)
}

// network finds a network of the vApp by its name in the restore point, or by
// the name that it will have.
func (p *Plan) network(name string) *Network {
	for i, n := range p.VAppNetworks {
		if n.Name == name {
			return &p.VAppNetworks[i]
		}
	}
	for i, n := range p.VAppNetworks {
		if n.As == name {
			return &p.VAppNetworks[i]
		}
	}
	return nil
}

// lookup finds what an override maps a name to; "*" means any other name.
func lookup(m map[string]string, name string) (to string, asked bool) {
	if to, asked = m[name]; asked {
		return to, true
	}
	to, asked = m["*"]
	return to, asked
}

// A subnet is what addresses of NICs on a vApp network are checked against.
type subnet struct {
	vcd.Subnet
	taken map[string]vcd.Allocated // by address
}

// planSubnet notes which addresses a vApp network has, and which of them are
// in use: on a bridged one those of its parent, on others those of the vApp.
func (p *Plan) planSubnet(ctx context.Context, d *Deps, n Network, inherits bool, configuration *etree.Element, networks []vcd.NetworkRef) error {
	s := &subnet{taken: map[string]vcd.Allocated{}}
	p.subnets[n.Name] = s
	var err error
	if n.Parent == "" || !inherits {
		raw, err := document.Encode(document.Standalone(configuration))
		if err != nil {
			return err
		}
		s.Subnet, err = vcd.ParseSubnet(raw)
		return err
	}
	href := p.Networks[n.Parent]
	if s.Subnet, err = d.VCD.NetworkSubnet(ctx, href); err != nil {
		return fmt.Errorf("network %s: %w", n.Parent, err)
	}
	if n.Mode != modeBridged {
		return nil // within a fence all addresses are the vApp's
	}
	used, err := d.VCD.AllocatedAddresses(ctx, href)
	if err != nil {
		return fmt.Errorf("network %s: addresses in use: %w", n.Parent, err)
	}
	for _, a := range used {
		s.taken[a.IP] = a
	}
	return nil
}

// ParentOf is the organization network that a network of the vApp will hang
// from, by the name that it will have; "" for none.
func (p *Plan) ParentOf(name string) string {
	for _, n := range p.VAppNetworks {
		if n.As == name {
			return n.Parent
		}
	}
	return ""
}
