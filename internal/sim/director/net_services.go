package director

import (
	"net/netip"
	"slices"
	"strings"
)

// applyServices leaves a vApp network the services that its fence mode has, in
// the schema's order. A routed network always has a firewall that lets
// everything out, and NAT, as a recorded document shows it, and a DHCP service
// where somebody asked for one; a bridged one has none. Clients send whole documents back after they changed
// the mode, so what does not fit any more is dropped and not refused.
func applyServices(conf *node) {
	mode, f := value(conf, "FenceMode"), child(conf, "Features")
	services := map[string]*node{}
	if f != nil {
		for _, k := range f.ChildElements() {
			if services[k.Tag] == nil {
				services[k.Tag] = k
			}
		}
		conf.RemoveChild(f)
	}
	var keep []*node
	switch mode {
	case "isolated":
		keep = []*node{services["DhcpService"]}
	case "natRouted":
		if services["FirewallService"] == nil {
			services["FirewallService"] = firewallNode(&FirewallSpec{Enabled: true, Rules: []FirewallRule{
				{Description: "Allow all outbound traffic", SourceIP: "internal", DestIP: "external"}}})
		}
		if services["NatService"] == nil {
			services["NatService"] = add(el("NatService"), boolean("IsEnabled", true), text("NatType", "ipTranslation"), text("Policy", "allowTrafficIn"))
		}
		keep = []*node{services["DhcpService"], services["FirewallService"], services["NatService"], services["StaticRoutingService"]}
	}
	out := add(el("Features"), keep...)
	if len(out.ChildElements()) == 0 {
		return
	}
	at := child(conf, "RetainNetInfoAcrossDeployments")
	if at == nil {
		at = child(conf, "FenceMode")
	}
	conf.InsertChildAt(at.Index()+1, out)
}

// checkServices refuses services that make no sense on this network.
func (s *Server) checkServices(n *vappNet) error {
	f, sc := child(n.conf, "Features"), s.poolOf(n)
	if err := checkDHCP(n.name, sc, child(f, "DhcpService")); err != nil {
		return err
	}
	if err := checkFirewall(n.name, child(f, "FirewallService")); err != nil {
		return err
	}
	if err := s.checkRoutes(n, child(f, "StaticRoutingService")); err != nil {
		return err
	}
	if err := n.checkNAT(); err != nil {
		return err
	}
	return s.checkExternal(n)
}

func checkFirewall(network string, fw *node) error {
	if action := value(fw, "DefaultAction"); action != "" && action != "drop" && action != "allow" {
		return badRequest("The default action %q of the firewall of network %q is not drop or allow.", action, network)
	}
	for i, r := range childrenOf(fw, "FirewallRule") {
		if p := value(r, "Policy"); p != "" && p != "drop" && p != "allow" {
			return badRequest("Firewall rule %d of network %q has the policy %q, which is not drop or allow.", i+1, network, p)
		}
		for _, name := range []string{"SourcePortRange", "DestinationPortRange"} {
			if v := value(r, name); v != "" && !portRange(v) {
				return badRequest("Firewall rule %d of network %q has the %s %q, which is not one.", i+1, network, name, v)
			}
		}
		for _, name := range []string{"SourceIp", "DestinationIp"} {
			if v := value(r, name); v != "" && !addressSet(v) {
				return badRequest("Firewall rule %d of network %q has the %s %q, which is not one.", i+1, network, name, v)
			}
		}
	}
	return nil
}

// portRange tells whether v is "Any", a port, or two joined by a dash.
func portRange(v string) bool {
	if strings.EqualFold(v, "any") {
		return true
	}
	for _, one := range strings.Split(v, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(one), "-")
		if !isPort(first) || ranged && (!isPort(last) || atoi(last) < atoi(first)) {
			return false
		}
	}
	return true
}

func isPort(v string) bool { n := atoi(v); return n >= 1 && n <= 65535 }

// addressSet tells whether v is what a firewall rule may match: a word, an
// address, a subnet, a range, or several of them.
func addressSet(v string) bool {
	for _, one := range strings.Split(v, ",") {
		one = strings.TrimSpace(one)
		if slices.Contains([]string{"any", "internal", "external"}, strings.ToLower(one)) {
			continue
		}
		if _, err := netip.ParsePrefix(one); err == nil {
			continue
		}
		first, last, _ := strings.Cut(one, "-")
		if _, err := (IPRange{strings.TrimSpace(first), strings.TrimSpace(or(last, first))}).parse(); err != nil {
			return false
		}
	}
	return true
}

// checkRoutes refuses routes over a hop that is on neither side of the router.
func (s *Server) checkRoutes(n *vappNet, routing *node) error {
	for _, r := range childrenOf(routing, "StaticRoute") {
		if p, err := netip.ParsePrefix(value(r, "Network")); err != nil || p.Masked() != p {
			return badRequest("The static route %q of network %q leads to %q, which is not a network in CIDR notation.", value(r, "Name"), n.name, value(r, "Network"))
		}
		hop, err := netip.ParseAddr(value(r, "NextHopIp"))
		inside, outside := s.poolOf(n), ipScope{}
		if p := s.nets[n.parent]; p != nil {
			outside = p.scope
		}
		if err != nil || !within4(inside, hop) && !within4(outside, hop) {
			return badRequest("The next hop %q of the static route %q is on neither side of network %q.", value(r, "NextHopIp"), value(r, "Name"), n.name)
		}
	}
	return nil
}

func within4(sc ipScope, a netip.Addr) bool {
	p, known := sc.prefix()
	return known && p.Contains(a)
}

// The kinds of NAT rule that each NAT type of a vApp network has
// (NatServiceType, "NatType").
var natKinds = map[string][]string{
	"ipTranslation":  {"OneToOneBasicRule", "OneToOneVmRule"},
	"portForwarding": {"PortForwardingRule", "VmRule"},
}

// checkNAT refuses rules that the NAT type does not have, that name a VM or NIC
// that the vApp does not have, or that contradict each other.
func (n *vappNet) checkNAT() error {
	nat := child(child(n.conf, "Features"), "NatService")
	if nat == nil {
		return nil
	}
	kinds, known := natKinds[or(value(nat, "NatType"), "ipTranslation")]
	if !known {
		return badRequest("The NAT type %q of network %q does not exist.", value(nat, "NatType"), n.name)
	}
	if p := value(nat, "Policy"); p != "" && p != "allowTraffic" && p != "allowTrafficIn" {
		return badRequest("The NAT policy %q of network %q does not exist.", p, n.name)
	}
	seen := map[string]bool{}
	for _, r := range childrenOf(nat, "NatRule") {
		k := ruleOf(r)
		if k == nil || !slices.Contains(kinds, k.Tag) {
			return badRequest("The NAT service of network %q is %s and has a rule of another kind.", n.name, or(value(nat, "NatType"), "ipTranslation"))
		}
		if err := n.checkRule(k); err != nil {
			return err
		}
		for _, key := range ruleKeys(k) {
			if seen[key] {
				return badRequest("The NAT service of network %q has two rules for %s.", n.name, key)
			}
			seen[key] = true
		}
	}
	return nil
}

// ruleOf is what a NatRule holds besides its description.
func ruleOf(r *node) *node {
	for _, kind := range []string{"OneToOneBasicRule", "OneToOneVmRule", "PortForwardingRule", "VmRule", "GatewayNatRule"} {
		if k := child(r, kind); k != nil {
			return k
		}
	}
	return nil
}

// ruleKeys are what only one rule may claim: an external port, an address, a
// NIC that has an address of its own outside.
func ruleKeys(k *node) []string {
	ip := value(k, "ExternalIpAddress")
	switch k.Tag {
	case "OneToOneVmRule":
		keys := []string{"NIC " + value(k, "VmNicId") + " of VM " + value(k, "VAppScopedVmId")}
		if value(k, "MappingMode") == "manual" {
			keys = append(keys, "address "+ip)
		}
		return keys
	case "OneToOneBasicRule":
		return []string{"address " + ip, "inside " + value(k, "InternalIpAddress")}
	}
	if value(k, "ExternalPort") == "-1" {
		return nil // any port that no other rule has
	}
	protocols := strings.Split(value(k, "Protocol"), "_")
	keys := make([]string, len(protocols))
	for i, p := range protocols {
		keys[i] = "port " + value(k, "ExternalPort") + "/" + p + " of " + or(ip, "the router")
	}
	return keys
}

func (n *vappNet) checkRule(k *node) error {
	if mode := value(k, "MappingMode"); k.Tag == "OneToOneVmRule" {
		if mode != "automatic" && mode != "manual" {
			return badRequest("The mapping mode %q of network %q does not exist.", mode, n.name)
		}
		if _, err := netip.ParseAddr(value(k, "ExternalIpAddress")); mode == "manual" && err != nil {
			return badRequest("The manual NAT rule of network %q needs an external IP address.", n.name)
		}
	}
	if k.Tag == "VmRule" || k.Tag == "PortForwardingRule" {
		// -1 stands for any (NatVmRuleType, "ExternalPort").
		for _, name := range []string{"ExternalPort", "InternalPort"} {
			if v := value(k, name); v != "-1" && !isPort(v) {
				return badRequest("The NAT rule of network %q has the %s %s, which is not a port.", n.name, name, v)
			}
		}
		if p := value(k, "Protocol"); !slices.Contains([]string{"TCP", "UDP", "TCP_UDP"}, p) {
			return badRequest("The NAT rule of network %q has the protocol %q, which is not TCP, UDP or TCP_UDP.", n.name, p)
		}
	}
	if k.Tag != "VmRule" && k.Tag != "OneToOneVmRule" {
		return nil
	}
	id, index := value(k, "VAppScopedVmId"), atoi(value(k, "VmNicId"))
	i := slices.IndexFunc(n.vapp.vms, func(m *vm) bool { return m.scopedID == id })
	if i < 0 {
		return badRequest("The NAT rule of network %q names the VM with local id %q, which vApp %q does not have.", n.name, id, n.vapp.name)
	}
	if !slices.ContainsFunc(n.vapp.vms[i].nics, func(c *nic) bool { return c.index == index }) {
		return badRequest("The NAT rule of network %q names NIC %d of VM %q, which does not exist.", n.name, index, n.vapp.vms[i].name)
	}
	return nil
}

// checkExternal refuses external addresses that somebody else on the parent
// network has.
func (s *Server) checkExternal(n *vappNet) error {
	if n.parent == "" {
		return nil
	}
	taken := s.takenOn(n.parent, n.id)
	for _, a := range n.fixedExternal() {
		if slices.Contains(taken, a) {
			return badRequest("The external IP address %s of network %q is already in use on its parent network.", a, n.name)
		}
	}
	return nil
}

// oneToOne are the rules that give a NIC an address outside.
func (n *vappNet) oneToOne() []*node {
	nat := child(child(n.conf, "Features"), "NatService")
	if nat == nil || value(nat, "NatType") == "portForwarding" {
		return nil
	}
	var out []*node
	for _, r := range childrenOf(nat, "NatRule") {
		if k := ruleOf(r); k != nil && (k.Tag == "OneToOneVmRule" || k.Tag == "OneToOneBasicRule") {
			out = append(out, k)
		}
	}
	return out
}

// fixedExternal are the addresses outside that rules name themselves.
func (n *vappNet) fixedExternal() []netip.Addr {
	var out []netip.Addr
	for _, k := range n.oneToOne() {
		if k.Tag == "OneToOneVmRule" && value(k, "MappingMode") != "manual" {
			continue
		}
		if a, err := netip.ParseAddr(value(k, "ExternalIpAddress")); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// natKey names the NIC of a rule.
func natKey(k *node) string { return value(k, "VAppScopedVmId") + "/" + value(k, "VmNicId") }
