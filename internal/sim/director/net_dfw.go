package director

import (
	"net/http"
	"slices"
)

// The distributed firewall of a VDC group: its security policies, and the rules
// of the only one that there is, the default policy.
const (
	dfwPolicies   = "dfwPolicies"
	dfwRules      = "dfwRules"
	defaultPolicy = "default"
)

func dfwRoutes(base, typ string) []route {
	policies := base + "/{doc}/dfwPolicies"
	rules := policies + "/{policy}/rules"
	return []route{
		{pattern: "GET " + policies, handle: (*call).getDFW}, {pattern: "PUT " + policies, handle: (*call).putDFW, takes: typ},
		{pattern: "GET " + policies + "/{policy}", handle: (*call).getDFWPolicy},
		{pattern: "PUT " + policies + "/{policy}", handle: (*call).putDFWPolicy, takes: typ},
		{pattern: "GET " + rules, handle: (*call).getDFWRules}, {pattern: "PUT " + rules, handle: (*call).putDFWRules, takes: typ},
		{pattern: "GET " + rules + "/{rule}", handle: (*call).getDFWRule}, {pattern: "PUT " + rules + "/{rule}", handle: (*call).putDFWRule, takes: typ},
		{pattern: "DELETE " + rules + "/{rule}", handle: (*call).deleteDFWRule},
	}
}

// dfw are the security policies of a group as they were written.
func (s *Server) dfw(g *netDoc) map[string]any {
	if d := s.netDocs[uuidOf(dfwPolicies, g.id)]; d != nil {
		return d.fields()
	}
	return map[string]any{"enabled": false, "defaultPolicy": nil}
}

func (s *Server) dfwOn(g *netDoc) bool { on, _ := s.dfw(g)["enabled"].(bool); return on }

func (c *call) getDFW() (*answer, error) {
	g, err := vdcGroups.find(c, false)
	if err != nil {
		return nil, err
	}
	return asJSON(c.s.dfw(g)), nil
}

// putDFW turns the distributed firewall of a group on or off. It cannot be
// turned off before its default policy.
func (c *call) putDFW() (*answer, error) {
	g, err := vdcGroups.find(c, true)
	if err != nil {
		return nil, err
	}
	b, err := c.jsonBody(nil)
	if err != nil {
		return nil, err
	}
	now := c.s.dfw(g)
	policy, _ := now["defaultPolicy"].(map[string]any)
	switch {
	case b["enabled"] != true && policy["enabled"] == true:
		return nil, badRequest("The distributed firewall of VDC group %q cannot be disabled: its default policy is enabled.", g.name)
	case b["enabled"] != true:
		return c.keepDFW(g, map[string]any{"enabled": false, "defaultPolicy": nil}, []any{}), nil
	case policy != nil:
		return c.keepDFW(g, now, c.s.dfwRules(g)), nil
	}
	version := map[string]any{"version": 0}
	return c.keepDFW(g, map[string]any{"enabled": true,
		"defaultPolicy": map[string]any{"id": defaultPolicy, "name": "Default", "description": "", "enabled": true, "version": version}},
		[]any{map[string]any{"id": newID(), "name": "Default_VdcGroup_" + g.name, "description": "", "comments": "", "enabled": true, "action": "ALLOW",
			"actionValue": "ALLOW", "direction": "IN_OUT", "ipProtocol": "IPV4_IPV6", "logging": false, "sourceFirewallGroups": nil,
			"destinationFirewallGroups": nil, "applicationPortProfiles": nil, "networkContextProfiles": nil, "version": version}}), nil
}

// policyOf is the group of the path with its default policy.
func (c *call) policyOf(write bool) (*netDoc, map[string]any, error) {
	g, err := vdcGroups.find(c, write)
	if err != nil {
		return nil, nil, err
	}
	p, _ := c.s.dfw(g)["defaultPolicy"].(map[string]any)
	switch {
	case p == nil:
		return nil, nil, badRequest("The distributed firewall of VDC group %q is not enabled.", g.name)
	case c.path("policy") != defaultPolicy:
		return nil, nil, missing("dfwPolicy", c.path("policy"))
	}
	return g, p, nil
}

func (c *call) getDFWPolicy() (*answer, error) {
	_, p, err := c.policyOf(false)
	if err != nil {
		return nil, err
	}
	return asJSON(p), nil
}

// putDFWPolicy turns the default policy on or off.
func (c *call) putDFWPolicy() (*answer, error) {
	g, policy, err := c.policyOf(true)
	if err != nil {
		return nil, err
	}
	b, err := c.jsonBody(nil)
	if err != nil {
		return nil, err
	}
	if err := nextVersion(&netDoc{thing: g.thing, kind: dfwPolicies, body: asText(policy)}, b, false); err != nil {
		return nil, err
	}
	policy["version"] = b["version"]
	if on, is := b["enabled"].(bool); is {
		policy["enabled"] = on
	}
	if desc, is := b["description"].(string); is {
		policy["description"] = desc
	}
	return c.keepDFW(g, map[string]any{"enabled": true, "defaultPolicy": policy}, c.s.dfwRules(g)), nil
}

// keepDFW writes the distributed firewall of a group in a task.
func (c *call) keepDFW(g *netDoc, policies map[string]any, rules []any) *answer {
	return c.later(dfwPolicies, taskOwner{"vdcGroup", g.id, g.name}, func() {
		for kind, body := range map[string]any{dfwPolicies: policies, dfwRules: map[string]any{"values": rules}} {
			id := uuidOf(kind, g.id)
			c.s.netDocs[id] = &netDoc{thing: thing{id: id, name: kind, seq: c.s.next()}, kind: kind, parent: g.id, body: asText(body)}
		}
	})
}

// dfwRules are the rules of the default policy of a group.
func (s *Server) dfwRules(g *netDoc) []any {
	d := s.netDocs[uuidOf(dfwRules, g.id)]
	if d == nil {
		return []any{}
	}
	rules, _ := d.fields()["values"].([]any)
	return rules
}

func (c *call) getDFWRules() (*answer, error) {
	g, _, err := c.policyOf(false)
	if err != nil {
		return nil, err
	}
	return asJSON(map[string]any{"values": c.s.dfwRules(g)}), nil
}

// putDFWRules replaces the rules of the default policy.
func (c *call) putDFWRules() (*answer, error) {
	g, _, err := c.policyOf(true)
	if err != nil {
		return nil, err
	}
	b, err := c.jsonBody(nil)
	if err != nil {
		return nil, err
	}
	rules, _ := b["values"].([]any)
	return c.writeDFWRules(g, rules)
}

// writeDFWRules checks and keeps rules. Those that are new get an id.
func (c *call) writeDFWRules(g *netDoc, rules []any) (*answer, error) {
	kept := []any{}
	for i, r := range rules {
		rule, is := r.(map[string]any)
		if !is {
			return nil, badRequest("Firewall rule %d is not an object.", i+1)
		}
		if err := c.checkDFWRule(i+1, rule); err != nil {
			return nil, err
		}
		rule["id"] = or(textOf(rule, "id"), newID())
		kept = append(kept, rule)
	}
	return c.keepDFW(g, c.s.dfw(g), kept), nil
}

func (c *call) checkDFWRule(i int, rule map[string]any) error {
	if err := c.checkEdgeRule(i, rule); err != nil {
		return err
	}
	for key, valid := range map[string][]string{"direction": {"", "IN", "OUT", "IN_OUT"}, "ipProtocol": {"", "IPV4", "IPV6", "IPV4_IPV6"}} {
		if !slices.Contains(valid, textOf(rule, key)) {
			return badRequest("Firewall rule %d has the %s %q, which is not valid.", i, key, textOf(rule, key))
		}
	}
	if rule["version"] == nil {
		rule["version"] = map[string]any{"version": 0}
	}
	return nil
}

// dfwRuleAt is the rule of the path among those of its group.
func (c *call) dfwRuleAt(write bool) (g *netDoc, rules []any, at int, err error) {
	if g, _, err = c.policyOf(write); err != nil {
		return nil, nil, 0, err
	}
	rules = c.s.dfwRules(g)
	at = slices.IndexFunc(rules, func(r any) bool {
		rule, _ := r.(map[string]any)
		return textOf(rule, "id") == c.path("rule")
	})
	if at < 0 {
		return nil, nil, 0, refuse(http.StatusForbidden, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "The firewall rule %s does not exist.", c.path("rule"))
	}
	return g, rules, at, nil
}

func (c *call) getDFWRule() (*answer, error) {
	_, rules, at, err := c.dfwRuleAt(false)
	if err != nil {
		return nil, err
	}
	return asJSON(rules[at]), nil
}

func (c *call) putDFWRule() (*answer, error) {
	g, rules, at, err := c.dfwRuleAt(true)
	if err != nil {
		return nil, err
	}
	b, err := c.jsonBody(nil)
	if err != nil {
		return nil, err
	}
	b["id"], rules[at] = c.path("rule"), b
	return c.writeDFWRules(g, rules)
}

func (c *call) deleteDFWRule() (*answer, error) {
	g, rules, at, err := c.dfwRuleAt(true)
	if err != nil {
		return nil, err
	}
	return c.writeDFWRules(g, slices.Delete(rules, at, at+1))
}
