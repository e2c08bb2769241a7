package director

import (
	"context"
	"slices"
)

// configuration is a vApp network's as the API shows it: with RouterInfo, and
// with the parent's scope where it is bridged.
func (s *Server) configuration(n *vappNet) *node {
	conf := n.conf.Copy()
	p := s.nets[n.parent]
	if p == nil {
		return conf
	}
	drop(conf, "ParentNetwork")
	parent := el("ParentNetwork", "href", s.href("/api/admin/network/"+p.id), "id", p.id, "name", p.name)
	if scopes := child(conf, "IpScopes"); scopes != nil {
		conf.InsertChildAt(scopes.Index()+1, parent)
	}
	if value(conf, "FenceMode") == "bridged" {
		if scopes := child(conf, "IpScopes"); scopes != nil {
			drop(scopes, "IpScope")
			add(scopes, scopeNode(p.scope, true, nil))
		}
		return conf
	}
	if n.routerIP != "" {
		info := add(el("RouterInfo"), text("ExternalIp", n.routerIP))
		at := child(conf, "FenceMode").Index()
		for _, before := range []string{"RetainNetInfoAcrossDeployments", "Features", "SyslogServerSettings"} {
			if e := child(conf, before); e != nil {
				at = e.Index()
			}
		}
		conf.InsertChildAt(at+1, info)
	}
	return conf
}

// retains tells whether a network keeps its router's address while undeployed.
func (n *vappNet) retains() bool { return truth(value(n.conf, "RetainNetInfoAcrossDeployments")) }

// putNetworkConfig replaces the networks of a vApp.
func (c *call) putNetworkConfig() (*answer, error) {
	a, err := c.onlyVApp(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "NetworkConfigSection")
	if err != nil {
		return nil, err
	}
	nets, err := c.s.readNetworks(a, doc)
	if err != nil {
		return nil, err
	}
	for _, old := range a.nets {
		if !slices.ContainsFunc(nets, func(n *vappNet) bool { return n.id == old.id }) && a.uses(old.name) {
			return nil, badRequest("The vApp network %q is in use by one or more virtual machines and cannot be removed.", old.name)
		}
	}
	t := c.start("vdcUpdateVappNetwork", "Updating networks of Virtual Application", vappOwner(a), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		return c.s.setNetworks(a, nets)
	})
	return c.accepted(t), nil
}

// uses tells whether a NIC of the vApp is on a network.
func (a *vapp) uses(network string) bool {
	for _, m := range a.vms {
		for _, n := range m.nics {
			if n.network == network {
				return true
			}
		}
	}
	return false
}

// readNetworks reads a NetworkConfigSection. Networks that the vApp has keep
// their ids, which go by name.
func (s *Server) readNetworks(a *vapp, doc *node) ([]*vappNet, error) {
	var out []*vappNet
	for _, nc := range childrenOf(doc, "NetworkConfig") {
		name := attr(nc, "networkName")
		if name == noNetwork {
			continue
		}
		if name == "" || slices.ContainsFunc(out, func(n *vappNet) bool { return n.name == name }) {
			return nil, badRequest("The network name %q is empty or there twice.", name)
		}
		n := &vappNet{thing: thing{id: newID(), name: name, desc: raw(nc, "Description"), seq: s.next()}, vapp: a}
		if old := a.netNamed(name); old != nil {
			n.id, n.seq, n.routerIP = old.id, old.seq, old.routerIP
			if n.parent = old.parent; child(nc, "Description") == nil {
				n.desc = old.desc
			}
		}
		if err := s.configure(n, child(nc, "Configuration")); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// configure checks a NetworkConfiguration and gives it to a network.
func (s *Server) configure(n *vappNet, conf *node) error {
	conf = conf.Copy()
	drop(conf, "RouterInfo")
	drop(conf, "VCloudExtension")
	if old := child(conf, "IpScope"); old != nil {
		conf.RemoveChild(old)
		conf.InsertChildAt(0, add(el("IpScopes"), old))
	}
	if child(conf, "IpScopes") == nil {
		conf.InsertChildAt(0, el("IpScopes"))
	}
	for _, sc := range childrenOf(child(conf, "IpScopes"), "IpScope") {
		drop(sc, "AllocatedIpAddresses")
		drop(sc, "SubAllocations")
	}
	parent := child(conf, "ParentNetwork")
	had := n.parent
	n.parent = ""
	if parent != nil {
		p := s.nets[or(uuidIn(attr(parent, "href")), uuidIn(attr(parent, "id")))]
		if p == nil || !slices.Contains(s.netsOf(s.vdcs[n.vapp.vdc]), p) {
			return badRequest("The parent network %s of vApp network %q does not exist in the VDC.", attr(parent, "href"), n.name)
		}
		n.parent = p.id
	}
	if n.parent != had {
		n.routerIP = ""
	}
	mode := value(conf, "FenceMode")
	switch {
	case !slices.Contains([]string{"bridged", "natRouted", "isolated"}, mode):
		return badRequest("The fence mode %q does not exist.", mode)
	case mode == "isolated" && n.parent != "":
		return badRequest("The isolated vApp network %q cannot have a parent network.", n.name)
	case mode != "isolated" && n.parent == "":
		return badRequest("The vApp network %q is %s and needs a parent network.", n.name, mode)
	case mode != "bridged" && scopeOf(conf).gateway == "":
		return badRequest("The vApp network %q needs an IP scope with a gateway.", n.name)
	}
	if child(conf, "RetainNetInfoAcrossDeployments") == nil {
		conf.InsertChildAt(child(conf, "FenceMode").Index()+1, boolean("RetainNetInfoAcrossDeployments", false))
	}
	n.conf = conf
	return n.checkNAT()
}

// checkNAT refuses rules that name a VM or NIC that the vApp does not have.
func (n *vappNet) checkNAT() error {
	nat := child(child(n.conf, "Features"), "NatService")
	for _, r := range childrenOf(nat, "NatRule") {
		for _, kind := range []string{"OneToOneVmRule", "VmRule"} {
			k := child(r, kind)
			if k == nil {
				continue
			}
			id, index := value(k, "VAppScopedVmId"), atoi(value(k, "VmNicId"))
			i := slices.IndexFunc(n.vapp.vms, func(m *vm) bool { return m.scopedID == id })
			if i < 0 {
				return badRequest("The NAT rule of network %q names the VM with local id %q, which vApp %q does not have.", n.name, id, n.vapp.name)
			}
			if !slices.ContainsFunc(n.vapp.vms[i].nics, func(c *nic) bool { return c.index == index }) {
				return badRequest("The NAT rule of network %q names NIC %d of VM %q, which does not exist.", n.name, index, n.vapp.vms[i].name)
			}
		}
	}
	return nil
}

// setNetworks gives a vApp its networks.
func (s *Server) setNetworks(a *vapp, nets []*vappNet) error {
	for _, old := range a.nets {
		delete(s.vappNets, old.id)
	}
	a.nets = nets
	for _, n := range nets {
		s.vappNets[n.id] = n
		if a.deployed || n.retains() {
			if err := s.route(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// theVAppNetwork is the vApp network of the path, if the caller may change it.
func (c *call) theVAppNetwork() (*vappNet, error) {
	n := c.s.vappNets[uuidIn(c.path("id"))]
	if n == nil {
		return nil, missing("network", c.path("id"))
	}
	if c.level(n.vapp) == accessNone {
		return nil, noAccess("network", n.id)
	}
	return n, c.mayChange(n.vapp, nil, accessChange)
}

// putVAppNetwork changes one network of a vApp.
func (c *call) putVAppNetwork() (*answer, error) {
	old, err := c.theVAppNetwork()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "VAppNetwork")
	if err != nil {
		return nil, err
	}
	a, n := old.vapp, *old
	if name := attr(doc, "name"); name != n.name {
		if a.netNamed(name) != nil || a.uses(n.name) {
			return nil, badRequest("The vApp network %q cannot be renamed to %q: one or the other is in use.", n.name, name)
		}
		n.name = name
	}
	if d := child(doc, "Description"); d != nil {
		n.desc = allText(d)
	}
	if err := c.s.configure(&n, child(doc, "Configuration")); err != nil {
		return nil, err
	}
	return c.accepted(c.start("networkUpdateNetwork", "Updating network of Virtual Application", vappOwner(a), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		*old = n
		return c.s.setNetworks(a, a.nets)
	})), nil
}

// deleteVAppNetwork takes a network out of its vApp.
func (c *call) deleteVAppNetwork() (*answer, error) {
	n, err := c.theVAppNetwork()
	if err != nil {
		return nil, err
	}
	a := n.vapp
	if a.uses(n.name) {
		return nil, badRequest("The vApp network %q is in use by one or more virtual machines and cannot be removed.", n.name)
	}
	return c.accepted(c.start("networkDelete", "Deleting network of Virtual Application", vappOwner(a), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		return c.s.setNetworks(a, slices.DeleteFunc(slices.Clone(a.nets), func(o *vappNet) bool { return o == n }))
	})), nil
}
