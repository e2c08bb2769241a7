package director

import (
	"cmp"
	"net/http"
)

func netCloudRoutes() []route {
	const v = "/cloudapi/{version}"
	json := func(verb, path string, h handler) route {
		rt := route{pattern: verb + " " + v + path, handle: h}
		if verb == "POST" || verb == "PUT" {
			rt.takes = "application/json"
		}
		return rt
	}
	admin := func(verb, path string, h handler) route {
		rt := json(verb, path, h)
		rt.provider = true
		return rt
	}
	routes := []route{
		json("GET", "/orgVdcNetworks", (*call).cloudNets), json("POST", "/orgVdcNetworks", (*call).cloudPostNet),
		json("GET", "/orgVdcNetworks/{urn}", (*call).cloudGetNet), json("PUT", "/orgVdcNetworks/{urn}", (*call).cloudPutNet),
		json("DELETE", "/orgVdcNetworks/{urn}", (*call).cloudDeleteNet),
		json("GET", "/orgVdcNetworks/{urn}/allocatedIpAddresses", (*call).cloudAllocated),
		json("GET", "/orgVdcNetworks/{urn}/dhcp", (*call).getDHCP), json("PUT", "/orgVdcNetworks/{urn}/dhcp", (*call).putDHCP),
		json("DELETE", "/orgVdcNetworks/{urn}/dhcp", (*call).deleteDHCP),
		json("GET", "/vdcs/{urn}/capabilities", (*call).netCapabilities),

		json("GET", "/edgeGateways", (*call).cloudEdges), json("POST", "/edgeGateways", (*call).cloudPostEdge),
		json("GET", "/edgeGateways/{urn}", (*call).cloudGetEdge), json("PUT", "/edgeGateways/{urn}", (*call).cloudPutEdge),
		json("DELETE", "/edgeGateways/{urn}", (*call).cloudDeleteEdge),
		json("GET", "/edgeGateways/{urn}/usedIpAddresses", (*call).usedIPs),
		json("GET", "/edgeGateways/{urn}/firewall/rules", (*call).getFirewall), json("PUT", "/edgeGateways/{urn}/firewall/rules", (*call).putFirewall),
		json("DELETE", "/edgeGateways/{urn}/firewall/rules", (*call).clearFirewall),
		json("DELETE", "/edgeGateways/{urn}/firewall/rules/{doc}", (*call).deleteFirewallRule),

		admin("GET", "/externalNetworks", (*call).cloudExts), admin("POST", "/externalNetworks", (*call).cloudPostExt),
		admin("GET", "/externalNetworks/{urn}", (*call).cloudGetExt), admin("PUT", "/externalNetworks/{urn}", (*call).cloudPutExt),
		admin("DELETE", "/externalNetworks/{urn}", (*call).cloudDeleteExt),

		admin("GET", "/nsxTResources/importableTier0Routers", func(c *call) (*answer, error) { return c.importable("tier0") }),
		admin("GET", "/nsxTResources/importableTransportZones", func(c *call) (*answer, error) { return c.importable("transportZone") }),
		json("GET", "/nsxTResources/edgeClusters", func(c *call) (*answer, error) { return c.importable("edgeCluster") }),
		json("GET", "/networkContextProfiles", contextProfiles.list), json("GET", "/networkContextProfiles/{doc}", contextProfiles.get),
		json("GET", "/firewallGroups/summaries", listFirewallGroups), json("GET", "/firewallGroups/{urn}/associatedVMs", (*call).associatedVMs),
		admin("GET", "/networkPools/networkPoolSummaries", networkPools.list),
		// An address from before the OpenAPI, which takes no API version.
		{pattern: "GET /network/orgvdcnetworks/importableswitches", handle: (*call).importableSwitches, noAccept: true},
	}
	for path, k := range map[string]*docKind{
		"/edgeGateways/{urn}/nat/rules": natRules, "/edgeGateways/{urn}/routing/staticRoutes": staticRoutes,
		"/edgeGateways/{urn}/routing/bgp/neighbors": bgpNeighbors, "/edgeGateways/{urn}/routing/bgp/prefixLists": prefixLists,
		"/orgVdcNetworks/{urn}/dhcp/bindings": dhcpBindings, "/firewallGroups": fwGroups, "/applicationPortProfiles": appProfiles,
		"/networkPools": networkPools, "/nsxManagers": nsxtManagers, "/segmentProfileTemplates": segTemplates,
	} {
		routes = append(routes, json("GET", path, k.list), json("POST", path, k.post), json("GET", path+"/{doc}", k.get),
			json("PUT", path+"/{doc}", k.put), json("DELETE", path+"/{doc}", k.remove))
	}
	for kind := range segmentKinds {
		routes = append(routes, admin("GET", "/nsxTResources/"+kind, func(c *call) (*answer, error) { return c.importable(kind) }))
	}
	for path, k := range map[string]*single{"/vdcs/{urn}/networkProfile": netProfile, "/orgVdcNetworks/{urn}/segmentProfiles": segProfiles} {
		routes = append(routes, json("GET", path, k.get), json("PUT", path, k.put), json("DELETE", path, k.remove))
	}
	routes = append(routes, admin("GET", "/segmentProfileTemplates/default", segDefaults.get),
		admin("PUT", "/segmentProfileTemplates/default", segDefaults.put))
	for path, k := range map[string]*single{
		"/dns": edgeDNS, "/dhcpForwarder": dhcpForwarder, "/slaacProfile": slaacProfile, "/qos": edgeQoS,
		"/routing/advertisement": advertisement, "/routing/bgp": edgeBGP,
	} {
		path = "/edgeGateways/{urn}" + path
		routes = append(routes, json("GET", path, k.get), json("PUT", path, k.put), json("DELETE", path, k.remove))
	}
	return routes
}

// firewall is the document of an edge's firewall; a fresh one where it was not
// written yet.
func (c *call) firewall(e *edge) *netDoc {
	id := uuidOf("firewall", e.id)
	if d := c.s.netDocs[id]; d != nil {
		return d
	}
	return &netDoc{thing: thing{id: id, seq: c.s.next()}, kind: "firewall", parent: e.id, body: asText(map[string]any{
		"systemRules": []any{}, "userDefinedRules": []any{}, "defaultRules": []any{map[string]any{"id": uuidOf("default rule", e.id), "name": "default_rule",
			"enabled": true, "action": "DROP", "actionValue": "DROP", "direction": "IN_OUT", "ipProtocol": "IPV4_IPV6", "logging": false,
			"sourceFirewallGroups": nil, "destinationFirewallGroups": nil, "applicationPortProfiles": nil, "version": nil}}})}
}

func (c *call) getFirewall() (*answer, error) {
	e, err := c.theEdge()
	if err != nil {
		return nil, err
	}
	return asJSON(c.firewall(e).fields()), nil
}

// putFirewall replaces the rules of an edge that are its users' to write.
func (c *call) putFirewall() (*answer, error) {
	e, err := c.changeEdge()
	if err != nil {
		return nil, err
	}
	b, err := c.jsonBody(nil)
	if err != nil {
		return nil, err
	}
	rules, _ := b["userDefinedRules"].([]any)
	kept := []any{}
	for i, r := range rules {
		rule, is := r.(map[string]any)
		if !is {
			return nil, badRequest("Firewall rule %d is not an object.", i+1)
		}
		if err := c.checkEdgeRule(i+1, rule); err != nil {
			return nil, err
		}
		rule["id"] = cmp.Or(textOf(rule, "id"), newID())
		kept = append(kept, rule)
	}
	return c.writeFirewall(e, kept), nil
}

func (c *call) checkEdgeRule(i int, rule map[string]any) error {
	action := cmp.Or(textOf(rule, "actionValue"), textOf(rule, "action"))
	if action != "ALLOW" && action != "DROP" && action != "REJECT" {
		return badRequest("Firewall rule %d has the action %q, which is not valid.", i, action)
	}
	if textOf(rule, "name") == "" {
		return badRequest("Firewall rule %d needs a name.", i)
	}
	for _, key := range []string{"sourceFirewallGroups", "destinationFirewallGroups", "applicationPortProfiles", "networkContextProfiles"} {
		refs, _ := rule[key].([]any)
		for j, r := range refs {
			ref, _ := r.(map[string]any)
			d := c.s.netDocs[uuidIn(textOf(ref, "id"))]
			if d == nil {
				return badRequest("Firewall rule %d names %q, which does not exist.", i, textOf(ref, "id"))
			}
			refs[j] = refTo(textOf(ref, "id"), d.name)
		}
	}
	return nil
}

// writeFirewall keeps the rules of an edge in a task.
func (c *call) writeFirewall(e *edge, rules []any) *answer {
	d := c.firewall(e)
	b := d.fields()
	b["userDefinedRules"] = rules
	return (&single{kind: "firewall"}).later(c, e.id, func() {
		d.body = asText(b)
		c.s.netDocs[d.id] = d
	})
}

func (c *call) clearFirewall() (*answer, error) {
	e, err := c.changeEdge()
	if err != nil {
		return nil, err
	}
	return c.writeFirewall(e, []any{}), nil
}

func (c *call) deleteFirewallRule() (*answer, error) {
	e, err := c.changeEdge()
	if err != nil {
		return nil, err
	}
	rules, _ := c.firewall(e).fields()["userDefinedRules"].([]any)
	kept := []any{}
	for _, r := range rules {
		if rule, _ := r.(map[string]any); textOf(rule, "id") != c.path("doc") {
			kept = append(kept, r)
		}
	}
	if len(kept) == len(rules) {
		return nil, refuse(http.StatusForbidden, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "The firewall rule %s does not exist.", c.path("doc"))
	}
	return c.writeFirewall(e, kept), nil
}
