package director

import (
	"net/netip"
	"slices"
	"strings"
)

// edgeCluster is the name of the one edge cluster that there is.
const edgeCluster = "edge-cluster"

var (
	natRules = &docKind{kind: "natRule", versioned: true, check: checkNATRule, show: func(_ *call, _ *netDoc, out map[string]any) {
		out["type"] = or(textOf(out, "type"), textOf(out, "ruleType"))
	}}
	// The version of static routes is optional (EdgeStaticRoute), and clients
	// that are in use read it as a text and write routes without one: it is
	// not answered.
	staticRoutes    = &docKind{kind: "staticRoute", check: checkStaticRoute}
	dhcpBindings    = &docKind{kind: "dhcpBinding", versioned: true, check: checkBinding}
	fwGroups        = &docKind{kind: "firewallGroups", urn: "firewallGroup", check: checkFirewallGroup, show: showFirewallGroup, inUse: groupInUse}
	appProfiles     = &docKind{kind: "applicationPortProfile", urn: "applicationPortProfile", check: checkAppProfile, show: showAppProfile}
	contextProfiles = &docKind{kind: "networkContextProfile", urn: "networkContextProfile"}
	networkPools    = &docKind{kind: "networkPool", urn: "networkpool", provider: true, check: checkNetworkPool}
	nsxtManagers    = &docKind{kind: "nsxtManager", urn: "nsxtmanager", provider: true, check: needsName}
	bgpNeighbors    = &docKind{kind: "bgpNeighbor", versioned: true}
	prefixLists     = &docKind{kind: "prefixList", versioned: true, check: needsName}
	edgeDNS         = &single{kind: "edgeDNS", empty: map[string]any{"enabled": false, "listenerIp": nil, "defaultForwarderZone": nil, "conditionalForwarderZones": nil, "version": nil}}
	dhcpForwarder   = &single{kind: "dhcpForwarder", empty: map[string]any{"enabled": false, "dhcpServers": nil, "version": map[string]any{"version": 0}}}
	slaacProfile    = &single{kind: "slaacProfile", empty: map[string]any{"enabled": false, "mode": "SLAAC", "dnsConfig": map[string]any{
		"dnsServerIpv6Addresses": []any{}, "domainNames": []any{}}}, check: completeSLAAC}
	edgeQoS       = &single{kind: "edgeQoS", empty: map[string]any{"ingressProfile": nil, "egressProfile": nil}}
	advertisement = &single{kind: "advertisement", empty: map[string]any{"enable": false, "subnets": []any{}}}
	netProfile    = &single{kind: "networkProfile", empty: map[string]any{"primaryEdgeCluster": nil, "servicesEdgeCluster": nil}}
	segProfiles   = &single{kind: "segmentProfiles", empty: map[string]any{"ipDiscoveryProfile": nil, "macDiscoveryProfile": nil, "spoofGuardProfile": nil,
		"qosProfile": nil, "segmentSecurityProfile": nil, "segmentProfileTemplate": nil}}
	segTemplates = &docKind{kind: "segmentProfileTemplate", urn: "segmentProfileTemplate", provider: true, sync: true, check: needsName, inUse: templateInUse}
	// segDefaults are the templates for networks that name none.
	segDefaults = &single{kind: "segmentProfileDefaults", empty: map[string]any{"vdcNetworkSegmentProfileTemplateRef": nil,
		"vappNetworkSegmentProfileTemplateRef": nil}, check: checkSegmentDefaults}
	edgeBGP = &single{kind: "edgeBGP", empty: map[string]any{"enabled": false, "version": map[string]any{"version": 0}}}
)

// segmentKinds are the profiles of segments that NSX-T comes with.
var segmentKinds = map[string]string{"segmentIpDiscoveryProfiles": "ip-discovery", "segmentMacDiscoveryProfiles": "mac-discovery",
	"segmentSpoofGuardProfiles": "spoof-guard", "segmentQoSProfiles": "segment-qos", "segmentSecurityProfiles": "segment-security"}

// checkSegmentDefaults refuses templates that do not exist.
func checkSegmentDefaults(c *call, b map[string]any) error {
	for _, key := range []string{"vdcNetworkSegmentProfileTemplateRef", "vappNetworkSegmentProfileTemplateRef"} {
		id := refID(b, key)
		if id == "" {
			b[key] = nil
			continue
		}
		d := c.s.netDocs[uuidIn(id)]
		if d == nil || d.kind != "segmentProfileTemplate" {
			return missing("segmentProfileTemplate", id)
		}
		b[key] = refTo(id, d.name)
	}
	return nil
}

// templateInUse refuses to delete the template that networks get by default.
func templateInUse(c *call, d *netDoc) error {
	all := c.s.netDocs[uuidOf("segmentProfileDefaults", "")]
	if all == nil {
		return nil
	}
	for _, key := range []string{"vdcNetworkSegmentProfileTemplateRef", "vappNetworkSegmentProfileTemplateRef"} {
		if uuidIn(refID(all.fields(), key)) == d.id {
			return badRequest("The segment profile template %q is in use: it is a global default.", d.name)
		}
	}
	return nil
}

// completeSLAAC writes out lists that were left out.
func completeSLAAC(_ *call, b map[string]any) error {
	dns, _ := b["dnsConfig"].(map[string]any)
	if dns == nil {
		dns = map[string]any{}
	}
	for _, k := range []string{"dnsServerIpv6Addresses", "domainNames"} {
		if dns[k] == nil {
			dns[k] = []any{}
		}
	}
	b["dnsConfig"] = dns
	return nil
}

func textOf(m map[string]any, key string) string { s, _ := m[key].(string); return s }

// refID is the id of a reference in a body.
func refID(b map[string]any, key string) string {
	r, _ := b[key].(map[string]any)
	return textOf(r, "id")
}

func needsName(c *call, d *netDoc, b map[string]any) error {
	name := textOf(b, "name")
	if strings.TrimSpace(name) == "" {
		return badRequest("The name is missing.")
	}
	for _, o := range c.s.netDocs {
		if o.id != d.id && o.kind == d.kind && o.parent == d.parent && strings.EqualFold(o.name, name) {
			return refuse(400, "DUPLICATE_NAME", "The VMware Cloud Director entity %s already exists.", name)
		}
	}
	return nil
}

// checkNATRule refuses a NAT rule of an edge whose addresses do not fit its
// kind, or are not the edge's.
func checkNATRule(c *call, d *netDoc, b map[string]any) error {
	if strings.TrimSpace(textOf(b, "name")) == "" {
		return badRequest("The NAT rule needs a name.")
	}
	kind := or(textOf(b, "type"), textOf(b, "ruleType"))
	external, internal := textOf(b, "externalAddresses"), textOf(b, "internalAddresses")
	switch kind {
	case "DNAT", "SNAT", "REFLEXIVE":
		if external == "" || internal == "" && kind != "SNAT" {
			return badRequest("A NAT rule of type %s needs external and internal addresses.", kind)
		}
	case "NO_DNAT":
		if external == "" {
			return badRequest("A NAT rule of type NO_DNAT needs external addresses.")
		}
	case "NO_SNAT":
		if internal == "" {
			return badRequest("A NAT rule of type NO_SNAT needs internal addresses.")
		}
	default:
		return badRequest("The NAT rule type %q is not valid.", kind)
	}
	for _, list := range []string{external, internal, textOf(b, "snatDestinationAddresses")} {
		if list != "" && !addressSet(list) {
			return badRequest("The address %q is not valid.", list)
		}
	}
	if p := textOf(b, "dnatExternalPort"); p != "" && !portRange(p) {
		return badRequest("The external port %q is not valid.", p)
	}
	if b["firewallMatch"] == nil {
		b["firewallMatch"] = "MATCH_INTERNAL_ADDRESS"
	}
	if b["priority"] == nil {
		b["priority"] = 0
	}
	return c.resolveRef(b, "applicationPortProfile")
}

// resolveRef fills in the name of what a body refers to.
func (c *call) resolveRef(b map[string]any, key string) error {
	id := refID(b, key)
	if id == "" {
		return nil
	}
	d := c.s.netDocs[uuidIn(id)]
	if d == nil {
		return badRequest("The %s %s does not exist.", key, id)
	}
	b[key] = refTo(id, d.name)
	return nil
}

func checkStaticRoute(c *call, d *netDoc, b map[string]any) error {
	if err := needsName(c, d, b); err != nil {
		return err
	}
	if p, err := netip.ParsePrefix(textOf(b, "networkCidr")); err != nil || p.Masked() != p {
		return badRequest("The static route leads to %q, which is not a network in CIDR notation.", textOf(b, "networkCidr"))
	}
	hops, _ := b["nextHops"].([]any)
	if len(hops) == 0 || len(hops) > 5 {
		return badRequest("The static route has %d next hops, and may have 1 to 5.", len(hops))
	}
	for _, h := range hops {
		hop, _ := h.(map[string]any)
		if n, _ := hop["adminDistance"].(float64); n < 1 || n > 255 {
			return badRequest("The admin distance of a next hop has to be 1 to 255.")
		}
		if ip := textOf(hop, "ipAddress"); ip != "" && !addressSet(ip) {
			return badRequest("The next hop %q is not an address.", ip)
		}
	}
	return nil
}

// checkBinding refuses a DHCP binding without an address of its network, and
// one whose MAC or IP address another one has.
func checkBinding(c *call, d *netDoc, b map[string]any) error {
	if err := needsName(c, d, b); err != nil {
		return err
	}
	n := c.s.nets[d.parent]
	if n == nil || n.dhcp == "" {
		return badRequest("DHCP is not enabled on the network.")
	}
	mac, ip := strings.ToLower(textOf(b, "macAddress")), textOf(b, "ipAddress")
	if !macPattern.MatchString(mac) {
		return badRequest("The MAC address %q is not one.", mac)
	}
	a, ok := addrOf(ip)
	if !ok || !slices.ContainsFunc(n.scopes(), func(sc ipScope) bool { return sc.contains(a) }) {
		return badRequest("The IP address %q is not within the network %q.", ip, n.name)
	}
	for _, o := range c.s.netDocs {
		f := o.fields()
		if o.id != d.id && o.kind == d.kind && o.parent == d.parent && (strings.EqualFold(textOf(f, "macAddress"), mac) || textOf(f, "ipAddress") == ip) {
			return badRequest("The MAC address %s or the IP address %s is bound already.", mac, ip)
		}
	}
	return nil
}

// checkFirewallGroup refuses groups that belong to nothing, and finds what they
// belong to.
func checkFirewallGroup(c *call, d *netDoc, b map[string]any) error {
	owner := uuidIn(or(refID(b, "ownerRef"), refID(b, "edgeGatewayRef")))
	e, g := c.s.edges[owner], c.s.netDocs[owner]
	switch {
	case e != nil && c.seesEdge(e):
		if !c.orgAdmin(c.s.vdcs[e.vdc].org) {
			return noRight("Organization vDC Gateway: Configure Firewall", e.id)
		}
	case g != nil && g.kind == "vdcGroup" && c.seesDoc(g):
	default:
		return badRequest("The owner %q of the firewall group does not exist.", or(refID(b, "ownerRef"), refID(b, "edgeGatewayRef")))
	}
	d.parent = owner
	if err := needsName(c, d, b); err != nil {
		return err
	}
	kind := or(textOf(b, "typeValue"), textOf(b, "type"), "IP_SET")
	criteria, _ := b["vmCriteria"].([]any)
	if kind == "VM_CRITERIA" && e != nil || len(criteria) > 3 {
		return badRequest("Criteria of VMs are for firewall groups of VDC groups, up to three of them.")
	}
	if !slices.Contains([]string{"IP_SET", "SECURITY_GROUP", "STATIC_MEMBERS", "VM_CRITERIA"}, kind) {
		return badRequest("The type %q of the firewall group is not valid.", kind)
	}
	ips, _ := b["ipAddresses"].([]any)
	for _, ip := range ips {
		if s, is := ip.(string); !is || !addressSet(s) {
			return badRequest("The IP address %v of the firewall group is not valid.", ip)
		}
	}
	return c.checkMembers(d, b)
}

// checkMembers refuses networks that are not those of a security group's owner:
// routed ones behind its edge gateway, or any of its VDC group.
func (c *call) checkMembers(d *netDoc, b map[string]any) error {
	members, _ := b["members"].([]any)
	for i, m := range members {
		r, _ := m.(map[string]any)
		n := c.s.nets[uuidIn(textOf(r, "id"))]
		switch {
		case n == nil, c.s.edges[d.parent] != nil && (n.mode != "natRouted" || n.edID != d.parent), c.s.edges[d.parent] == nil && n.group != d.parent:
			return badRequest("The member %q of the firewall group is not a network of its owner.", textOf(r, "id"))
		}
		members[i] = refTo(textOf(r, "id"), n.name)
	}
	return nil
}

// showFirewallGroup adds what a group belongs to.
func showFirewallGroup(c *call, d *netDoc, out map[string]any) {
	out["networkProviderScope"] = nil
	if e := c.s.edges[d.parent]; e != nil {
		ref := refTo("urn:vcloud:gateway:"+e.id, e.name)
		out["ownerRef"], out["edgeGatewayRef"] = ref, ref
	}
	if g := c.s.netDocs[d.parent]; g != nil {
		out["ownerRef"] = refTo("urn:vcloud:vdcGroup:"+g.id, g.name)
	}
	if t := textOf(out, "type"); t == "" {
		out["type"] = map[string]string{"IP_SET": "IP_SET", "STATIC_MEMBERS": "SECURITY_GROUP", "VM_CRITERIA": "VM_CRITERIA"}[textOf(out, "typeValue")]
	} else if textOf(out, "typeValue") == "" {
		out["typeValue"] = map[string]string{"IP_SET": "IP_SET", "SECURITY_GROUP": "STATIC_MEMBERS"}[t]
	}
	if vms, is := out["vmCriteria"].([]any); is && len(vms) == 0 {
		delete(out, "vmCriteria")
	}
}

// listFirewallGroups takes the type that security groups had before there were
// two kinds of them, as clients go on to ask for it.
func listFirewallGroups(c *call) (*answer, error) {
	return fwGroups.listOf(c, func(filter string) string {
		return strings.ReplaceAll(filter, "typeValue==SECURITY_GROUP", "typeValue==STATIC_MEMBERS")
	})
}

// groupInUse refuses to delete a group that a firewall rule names.
func groupInUse(c *call, d *netDoc) error {
	for _, o := range c.s.netDocs {
		if (o.kind == "firewall" || o.kind == dfwRules) && strings.Contains(o.body, d.id) {
			return badRequest("The firewall group %q is in use by a firewall rule.", d.name)
		}
	}
	return nil
}

// attachedTo are the VMs with a NIC on an org network, whether it has an address or
// not.
func (s *Server) attachedTo(n *orgNet) []*vm {
	var out []*vm
	for _, v := range s.usersOf(n) {
		for _, m := range v.vapp.vms {
			if v.mode() == "bridged" && slices.ContainsFunc(m.nics, func(k *nic) bool { return k.network == v.name }) {
				out = append(out, m)
			}
		}
	}
	return out
}

// associatedVMs lists the VMs on the networks of a security group.
func (c *call) associatedVMs() (*answer, error) {
	d, err := fwGroups.find(c, false)
	if err != nil {
		return nil, err
	}
	b := d.fields()
	if or(textOf(b, "typeValue"), textOf(b, "type")) == "IP_SET" {
		return nil, badRequest("Only Security Groups have associated VMs. This Firewall Group has type 'IP_SET'.")
	}
	var out []any
	members, _ := b["members"].([]any)
	for _, m := range members {
		r, _ := m.(map[string]any)
		n := c.s.nets[uuidIn(textOf(r, "id"))]
		if n == nil {
			continue
		}
		for _, m := range c.s.attachedTo(n) {
			a := m.vapp
			v := c.s.vdcs[a.vdc]
			row := map[string]any{"id": "urn:vcloud:vm:" + m.id, "name": m.name, "vmRef": refTo("urn:vcloud:vm:"+m.id, m.name), "vappRef": nil,
				"vdcRef": refTo("urn:vcloud:vdc:"+v.id, v.name), "orgRef": refTo("urn:vcloud:org:"+v.org, c.s.orgs[v.org].name)}
			if !a.auto {
				row["vappRef"] = refTo("urn:vcloud:vapp:"+a.id, a.name)
			}
			out = append(out, row)
		}
	}
	return c.list(out)
}

func checkAppProfile(c *call, d *netDoc, b map[string]any) error {
	scope := textOf(b, "scope")
	if old := textOf(d.fields(), "contextEntityId"); textOf(b, "contextEntityId") == "" && old != "" {
		b["contextEntityId"] = old // it is not answered, so clients do not send it again
	}
	switch scope {
	case "SYSTEM":
		return badRequest("Application port profiles of scope SYSTEM cannot be changed.")
	case "PROVIDER":
		if !c.provider() {
			return noRight("System Administrator", d.id)
		}
	case "TENANT":
		d.parent = or(uuidIn(textOf(b, "contextEntityId")), uuidIn(refID(b, "orgRef")))
	default:
		return badRequest("The scope %q is not valid.", scope)
	}
	return needsName(c, d, b)
}

// showAppProfile leaves out where a profile can be used: it is said when the
// profile is written, and not answered.
func showAppProfile(_ *call, _ *netDoc, out map[string]any) { delete(out, "contextEntityId") }

func checkNetworkPool(c *call, d *netDoc, b map[string]any) error {
	if !slices.Contains([]string{"GENEVE", "VLAN", "PORTGROUP_BACKED", "VXLAN"}, textOf(b, "poolType")) {
		return badRequest("The pool type %q is not valid.", textOf(b, "poolType"))
	}
	b["status"] = "REALIZED"
	return needsName(c, d, b)
}
