package director

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// mode is the fence mode of a vApp network.
func (n *vappNet) mode() string { return value(n.conf, "FenceMode") }

// retains tells whether a network keeps its addresses outside while undeployed.
func (n *vappNet) retains() bool {
	return n.mode() == "natRouted" && truth(value(n.conf, "RetainNetInfoAcrossDeployments"))
}

// fenced tells whether a network stands between VMs and an org network whose
// subnet it repeats: the VMs keep the MAC and IP addresses that they would have
// on the org network, and share one router with those addresses outside.
func (s *Server) fenced(n *vappNet) bool {
	p := s.nets[n.parent]
	if p == nil || n.mode() != "natRouted" {
		return false
	}
	sc := child(child(n.conf, "IpScopes"), "IpScope")
	return sc == nil || truth(value(sc, "IsInherited"))
}

// inherits tells whether a network's subnet is its parent's.
func (s *Server) inherits(n *vappNet) bool {
	return s.nets[n.parent] != nil && (n.mode() == "bridged" || s.fenced(n))
}

// configuration is a vApp network's as the API shows it: with RouterInfo, with
// the addresses that NAT rules have outside, and with the parent's scope where
// it is bridged or fenced.
func (s *Server) configuration(n *vappNet) *node {
	conf := n.conf.Copy()
	for _, scope := range childrenOf(child(conf, "IpScopes"), "IpScope") {
		completeScope(scope)
	}
	before := []string{"FenceMode", "RetainNetInfoAcrossDeployments", "Features", "SyslogServerSettings", "RouterInfo", "AdvancedNetworkingEnabled", "SubInterface",
		"DistributedInterface", "GuestVlanAllowed", "ConnectionType"}
	if child(conf, "GuestVlanAllowed") == nil {
		after(conf, boolean("GuestVlanAllowed", false), before[:8]...)
	}
	if child(conf, "DualStackNetwork") == nil {
		after(conf, boolean("DualStackNetwork", false), before...)
	}
	p := s.nets[n.parent]
	if p == nil {
		return conf
	}
	drop(conf, "ParentNetwork")
	scopes := child(conf, "IpScopes")
	conf.InsertChildAt(scopes.Index()+1, el("ParentNetwork", "href", s.href("/api/admin/network/"+p.id), "id", p.id, "name", p.name))
	if s.inherits(n) {
		drop(scopes, "IpScope")
		for _, sc := range p.scopes() {
			add(scopes, scopeNode(sc, true, nil))
		}
	}
	nat := child(child(conf, "Features"), "NatService")
	for _, r := range childrenOf(nat, "NatRule") {
		if k := ruleOf(r); k != nil && k.Tag == "OneToOneVmRule" && value(k, "MappingMode") == "automatic" && n.external[natKey(k)] != "" {
			k.InsertChildAt(child(k, "MappingMode").Index()+1, text("ExternalIpAddress", n.external[natKey(k)]))
		}
	}
	for _, r := range childrenOf(child(child(conf, "Features"), "FirewallService"), "FirewallRule") {
		showPorts(r)
	}
	if n.mode() == "natRouted" {
		after(conf, el("SyslogServerSettings"), "FenceMode", "RetainNetInfoAcrossDeployments", "Features")
	}
	if n.routerIP != "" && n.mode() == "natRouted" {
		after(conf, add(el("RouterInfo"), text("ExternalIp", n.routerIP)), "FenceMode", "RetainNetInfoAcrossDeployments", "Features", "SyslogServerSettings")
	}
	return conf
}

// completeScope adds what a subnet always shows and a client may have left out.
func completeScope(scope *node) {
	before := []string{"IsInherited", "Gateway", "Netmask"}
	if n := prefixNode(ipScope{netmask: value(scope, "Netmask")}); n != nil && child(scope, "SubnetPrefixLength") == nil {
		after(scope, n, before...)
	}
	if child(scope, "IsEnabled") == nil {
		after(scope, boolean("IsEnabled", true), append(before, "SubnetPrefixLength", "Dns1", "Dns2", "DnsSuffix")...)
	}
}

// showPorts gives a firewall rule the numbers of its ports beside their ranges,
// -1 where a range is not one port.
func showPorts(rule *node) {
	for name, ports := range map[string]string{"Port": "DestinationPortRange", "SourcePort": "SourcePortRange"} {
		drop(rule, name)
		at := child(rule, ports)
		if at == nil {
			continue
		}
		n, err := strconv.Atoi(value(rule, ports))
		if err != nil {
			n = -1
		}
		rule.InsertChildAt(at.Index(), number(name, n))
	}
}

// after inserts k behind the last of the named children that e has.
func after(e, k *node, names ...string) {
	for _, name := range slices.Backward(names) {
		if at := child(e, name); at != nil {
			e.InsertChildAt(at.Index()+1, k)
			return
		}
	}
	e.InsertChildAt(0, k)
}

// putNetworkConfig replaces the networks of a vApp. Since 10.4.1 a network does
// not leave a vApp that is deployed (vcd_vapp_network of the Terraform
// provider, "reboot_vapp_on_removal"); from one that is not, it goes, and the
// NICs that were on it are on none afterwards.
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
		if a.deployed && !slices.ContainsFunc(nets, func(n *vappNet) bool { return n.id == old.id }) {
			return nil, cannotRemove(old)
		}
	}
	t := c.start("vdcUpdateVappNetwork", "Updating networks of Virtual Application", vappOwner(a), func(ctx context.Context) error {
		return c.s.changeNetworks(ctx, a, nets)
	})
	return c.accepted(t), nil
}

// cannotRemove is the answer to who takes a network that is in use out of a
// vApp. That of a deployed one names it by its id (issue 989 and pull request
// 1004 of the Terraform provider show it, from 10.4.1).
func cannotRemove(n *vappNet) error {
	if n.vapp.deployed {
		return refuse(http.StatusConflict, "INVALID_STATE", "The requested operation could not be executed on vApp %q. Stop the vApp and try again.", n.vapp.id)
	}
	return badRequest("The vApp network %q is in use by one or more virtual machines and cannot be removed.", n.name)
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
// their ids: the link that came with a network tells which one it is, and its
// name where there is no link.
func (s *Server) readNetworks(a *vapp, doc *node) ([]*vappNet, error) {
	var out []*vappNet
	for _, nc := range childrenOf(doc, "NetworkConfig") {
		name := attr(nc, "networkName")
		if name == noNetwork {
			continue
		}
		if err := checkNetName(name); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(n *vappNet) bool { return strings.EqualFold(n.name, name) }) {
			return nil, refuse(400, "DUPLICATE_NAME", "The network name %q is there twice.", name)
		}
		n := &vappNet{thing: thing{id: newID(), name: name, desc: raw(nc, "Description"), seq: s.next()}, vapp: a}
		if old := a.netOf(nc); old != nil && !slices.ContainsFunc(out, func(o *vappNet) bool { return o.id == old.id }) {
			n.id, n.seq, n.routerIP, n.external, n.meta = old.id, old.seq, old.routerIP, old.external, old.meta
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

// netOf is the network of the vApp that a NetworkConfig is about.
func (a *vapp) netOf(nc *node) *vappNet {
	for _, l := range childrenOf(nc, "Link") {
		id := uuidIn(attr(l, "href"))
		for _, n := range a.nets {
			if n.id == id {
				return n
			}
		}
	}
	return a.netNamed(attr(nc, "networkName"))
}

// configure checks a NetworkConfiguration and gives it to a network.
func (s *Server) configure(n *vappNet, conf *node) error {
	conf = conf.Copy()
	for _, ours := range []string{"RouterInfo", "VCloudExtension", "SyslogServerSettings"} {
		drop(conf, ours)
	}
	if old := child(conf, "IpScope"); old != nil {
		conf.RemoveChild(old)
		conf.InsertChildAt(0, add(el("IpScopes"), old))
	}
	if child(conf, "IpScopes") == nil {
		after(conf, el("IpScopes"), "BackwardCompatibilityMode")
	}
	for _, sc := range childrenOf(child(conf, "IpScopes"), "IpScope") {
		drop(sc, "AllocatedIpAddresses")
		drop(sc, "SubAllocations")
		if rs := child(sc, "IpRanges"); rs != nil && len(rs.ChildElements()) == 0 {
			sc.RemoveChild(rs)
		}
	}
	had := n.parent
	if err := s.connectTo(n, child(conf, "ParentNetwork")); err != nil {
		return err
	}
	n.conf = conf
	if err := s.checkMode(n); err != nil {
		return err
	}
	if child(conf, "RetainNetInfoAcrossDeployments") == nil {
		after(conf, boolean("RetainNetInfoAcrossDeployments", false), "FenceMode")
	}
	applyServices(conf)
	s.numberRules(n)
	if n.parent != had || n.mode() != "natRouted" {
		n.routerIP, n.external = "", nil
	}
	return s.checkServices(n)
}

// connectTo finds the org network that a vApp network is on.
func (s *Server) connectTo(n *vappNet, parent *node) error {
	n.parent = ""
	if parent == nil {
		return nil
	}
	p := s.nets[or(uuidIn(attr(parent, "href")), uuidIn(attr(parent, "id")))]
	if p == nil || !slices.Contains(s.netsOf(s.vdcs[n.vapp.vdc]), p) {
		return badRequest("The parent network %s of vApp network %q does not exist in the VDC.", attr(parent, "href"), n.name)
	}
	n.parent = p.id
	return nil
}

// checkMode refuses a fence mode that does not go with the rest.
func (s *Server) checkMode(n *vappNet) error {
	mode, p := n.mode(), s.nets[n.parent]
	switch {
	case !slices.Contains([]string{"bridged", "natRouted", "isolated"}, mode):
		return badRequest("The fence mode %q does not exist.", mode)
	case mode == "isolated" && p != nil:
		return badRequest("The isolated vApp network %q cannot have a parent network.", n.name)
	case mode != "isolated" && p == nil:
		return badRequest("The vApp network %q is %s and needs a parent network.", n.name, mode)
	case mode == "bridged":
		return nil
	}
	scope := child(child(n.conf, "IpScopes"), "IpScope")
	sc := scopeOf(n.conf)
	if p != nil {
		// A network by the parent's name that repeats the parent's subnet
		// is fenced, whether the document says that it inherits it or not.
		if scope == nil && n.name == p.name || scope != nil && sc.gateway == p.scope.gateway && n.name == p.name {
			drop(n.conf, "IpScopes")
			after(n.conf, el("IpScopes"), "BackwardCompatibilityMode")
			return nil
		}
		if truth(value(scope, "IsInherited")) {
			return badRequest("The vApp network %q inherits its subnet from org network %q and has to bear its name.", n.name, p.name)
		}
	}
	if sc.gateway == "" {
		return badRequest("The vApp network %q needs an IP scope with a gateway.", n.name)
	}
	if p != nil && sc.overlaps(p.scope) {
		return badRequest("The subnet of vApp network %q overlaps with that of org network %q.", n.name, p.name)
	}
	return sc.check(n.name)
}

// numberRules gives NAT rules that have none an id, and takes from automatic
// rules the address outside, which is the server's to give.
func (s *Server) numberRules(n *vappNet) {
	nat := child(child(n.conf, "Features"), "NatService")
	next := 65537
	for _, r := range childrenOf(nat, "NatRule") {
		next = max(next, atoi(value(r, "Id"))+1)
	}
	for _, r := range childrenOf(nat, "NatRule") {
		k := ruleOf(r)
		if k == nil {
			continue
		}
		if value(r, "Id") == "" {
			drop(r, "Id")
			r.InsertChildAt(k.Index(), number("Id", next))
			next++
		}
		if k.Tag == "OneToOneVmRule" && value(k, "MappingMode") == "automatic" {
			drop(k, "ExternalIpAddress")
		}
	}
}

// changeNetworks gives a vApp its networks, in vCenter too. It runs in a task.
func (s *Server) changeNetworks(ctx context.Context, a *vapp, nets []*vappNet) error {
	s.mu.Lock()
	moved := s.renameCards(a, nets)
	err := s.setNetworks(a, nets)
	deployed := a.deployed
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if deployed {
		if err := s.raise(ctx, a); err != nil {
			return err
		}
	}
	return s.replug(ctx, moved)
}

// renameCards takes NICs along with a network that gets another name, and from
// one that goes. It returns the VMs whose NICs have changed.
func (s *Server) renameCards(a *vapp, nets []*vappNet) []*vm {
	names := map[string]string{}
	for _, old := range a.nets {
		names[old.name] = noNetwork
		for _, n := range nets {
			if n.id == old.id {
				names[old.name] = n.name
			}
		}
	}
	var moved []*vm
	for _, m := range a.vms {
		changed := false
		for _, n := range m.nics {
			to, known := names[n.network]
			if !known || to == n.network {
				continue
			}
			if n.network = to; to == noNetwork {
				n.mode, n.ip, n.connected, changed = "NONE", "", false, true
			}
		}
		if changed {
			moved = append(moved, m)
		}
	}
	return moved
}

// replug writes the NICs of VMs to vCenter.
func (s *Server) replug(ctx context.Context, vms []*vm) error {
	for _, m := range vms {
		s.mu.Lock()
		nics, pgs := m.nics, s.portgroups(m.vapp)
		s.mu.Unlock()
		if err := s.changeCards(ctx, m, nics, pgs); err != nil {
			return err
		}
	}
	return nil
}

// setNetworks gives a vApp its networks.
func (s *Server) setNetworks(a *vapp, nets []*vappNet) error {
	for _, old := range a.nets {
		delete(s.vappNets, old.id)
		for _, n := range nets {
			if n.id == old.id && n.portgroup == "" {
				n.portgroup = old.portgroup
			}
		}
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

// externalOf is the address outside of a NIC; "" when it has none.
func (s *Server) externalOf(m *vm, k *nic) string {
	n := m.vapp.netNamed(k.network)
	if n == nil || n.mode() != "natRouted" {
		return ""
	}
	for _, rule := range n.oneToOne() {
		if natKey(rule) == m.scopedID+"/"+num(k.index) {
			return or(n.external[natKey(rule)], value(rule, "ExternalIpAddress"))
		}
		if in := value(rule, "InternalIpAddress"); in != "" && in == k.ip {
			return value(rule, "ExternalIpAddress")
		}
	}
	return ""
}

// addrOf is an address, and whether the text is one.
func addrOf(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	return a, err == nil
}
