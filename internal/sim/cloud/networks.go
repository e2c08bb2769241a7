package cloud

import (
	"fmt"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// A NetworkPool is what a vCD takes the networks of vApps from.
type NetworkPool struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	Type        string `yaml:"type"` // GENEVE, VXLAN, VLAN, PORTGROUP_BACKED
}

// An NSXTManager is one that a vCD has registered.
type NSXTManager struct {
	Name     string   `yaml:"name"`
	Tier0    []string `yaml:"tier0"`    // routers that can be imported
	Segments []string `yaml:"segments"` // the same
}

// An ExternalNetwork is a port group of a vCenter, or a tier-0 router of an
// NSX-T manager.
type ExternalNetwork struct {
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	VCenter     string   `yaml:"vcenter"`
	PortGroup   string   `yaml:"portGroup"`
	NSXTManager string   `yaml:"nsxtManager"`
	Tier0       string   `yaml:"tier0"`
	Subnets     []Subnet `yaml:"subnets"`
}

// An Edge is an edge gateway of a VDC.
type Edge struct {
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	Uplinks     []Uplink `yaml:"uplinks"`
}

// An Uplink joins an edge to an external network. Its own address is the lowest
// free one of the pool where none is named; ranges are set aside for it.
type Uplink struct {
	Network string  `yaml:"network"`
	IP      string  `yaml:"ip"`
	Ranges  []Range `yaml:"ranges"`
}

// outside checks what a site has around its VDCs.
func (c *checker) outside(thing string, s *Site) {
	unique(c, thing, "network pool", s.NetworkPools, func(p *NetworkPool) string { return p.Name })
	unique(c, thing, "NSX-T manager", s.NSXTManagers, managerName)
	unique(c, thing, "external network", s.ExternalNetworks, externalName)
	for i := range s.NetworkPools {
		c.oneOf(thing+": network pool "+s.NetworkPools[i].Name, "type", &s.NetworkPools[i].Type, "GENEVE", "VXLAN", "VLAN", "PORTGROUP_BACKED")
	}
	for i := range s.ExternalNetworks {
		n := &s.ExternalNetworks[i]
		thing := thing + ": external network " + n.Name
		if (n.PortGroup == "") == (n.NSXTManager == "") {
			c.add(thing, "want a portGroup or an nsxtManager with a tier0, and not both")
		}
		if n.PortGroup != "" {
			if n.VCenter == "" && len(s.VCenters) == 1 {
				n.VCenter = s.VCenters[0].Name
			}
			known(c, thing, "vCenter", n.VCenter, s.VCenters, vcenterName)
		}
		if n.NSXTManager != "" {
			known(c, thing, "NSX-T manager", n.NSXTManager, s.NSXTManagers, managerName)
		}
		c.some(thing, "subnets", len(n.Subnets))
		for j := range n.Subnets {
			c.subnet(thing, &n.Subnets[j])
		}
	}
}

// edges checks the edges of a VDC.
func (c *checker) edges(thing string, s *Site, v *VDC) {
	c.oneOf(thing, "networkProvider", &v.NetworkProvider, "NSX_T", "NSX_V")
	unique(c, thing, "edge", v.Edges, func(e *Edge) string { return e.Name })
	for i := range v.Edges {
		for _, u := range v.Edges[i].Uplinks {
			known(c, thing+": edge "+v.Edges[i].Name, "external network", u.Network, s.ExternalNetworks, externalName)
		}
	}
}

func managerName(m *NSXTManager) string      { return m.Name }
func externalName(n *ExternalNetwork) string { return n.Name }

// addOutside makes what a site has around its VDCs.
func addOutside(d *director.Server, s *Site) error {
	for _, p := range s.NetworkPools {
		d.AddNetworkPool(p.Name, p.Type, p.Description)
	}
	for _, m := range s.NSXTManagers {
		d.AddNSXTManager(m.Name, m.Tier0, m.Segments)
	}
	for i := range s.ExternalNetworks {
		n := &s.ExternalNetworks[i]
		spec := director.ExternalNetworkSpec{
			ID: uuid("external network", s.ID, n.Name), Name: n.Name, Description: n.Description, Portgroup: n.PortGroup, VCenter: n.VCenter,
			NSXTManager: n.NSXTManager, Tier: n.Tier0,
		}
		for j := range n.Subnets {
			sub := &n.Subnets[j]
			one := director.SubnetSpec{Gateway: sub.Gateway, Netmask: sub.Netmask, DNSSuffix: sub.DNSSuffix, Ranges: ranges(sub.Ranges)}
			one.DNS1, one.DNS2 = sub.servers()
			spec.Subnets = append(spec.Subnets, one)
		}
		if _, err := d.AddExternalNetwork(spec); err != nil {
			return err
		}
	}
	return nil
}

// addEdges makes the edges of a VDC.
func addEdges(d *director.Server, p place, vdc string) error {
	if err := d.SetNetworkProvider(vdc, p.vdc.NetworkProvider); err != nil {
		return err
	}
	for _, e := range p.vdc.Edges {
		spec := director.EdgeSpec{ID: p.uuid("edge", e.Name), VDC: vdc, Name: e.Name, Description: e.Description}
		for _, u := range e.Uplinks {
			spec.Uplinks = append(spec.Uplinks, director.UplinkSpec{Network: u.Network, IP: u.IP, Ranges: ranges(u.Ranges)})
		}
		if _, err := d.AddEdge(spec); err != nil {
			return fmt.Errorf("edge %s: %w", e.Name, err)
		}
	}
	return nil
}
