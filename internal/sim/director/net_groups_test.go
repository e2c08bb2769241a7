package director_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/director"
)

const vdcURN = "urn:vcloud:vdc:"

// grouped is a cloud with networks, a second VDC, and a group of the two.
func grouped(t *testing.T) (c *cloud, u, ada *user, second, group string) {
	t.Helper()
	c = withNetworks(t)
	second = must(c.dir.AddVDC(director.VDCSpec{Org: "acme", Name: "vdc2", ResourcePool: "vdc1-pool", StorageProfiles: []director.StorageProfileSpec{{Name: "gold"}}}))(t)
	u, ada = c.login(adminName), c.login("ada@acme")
	return c, u, ada, second, ada.call(202, "POST", "/vdcGroups", vdcGroup("group", c.acme, c.vdc, second))["id"].(string)
}

func vdcGroup(name, org string, vdcs ...string) jsonObject {
	var members []jsonObject
	for _, v := range vdcs {
		members = append(members, jsonObject{"vdcRef": jsonObject{"id": vdcURN + v}})
	}
	return jsonObject{"name": name, "orgId": "urn:vcloud:org:" + org, "type": "LOCAL", "networkProviderType": "NSX_T", "participatingOrgVdcs": members}
}

// available are the names of the networks that a VDC says its vApps may use.
func (u *user) available(vdc string) string {
	u.c.t.Helper()
	var names []string
	for _, n := range u.get("/api/vdc/" + vdc).FindElements("./AvailableNetworks/Network") {
		names = append(names, n.SelectAttrValue("name", ""))
	}
	return strings.Join(names, " ")
}

func TestNetworksOfAGroupServeItsVDCs(t *testing.T) {
	t.Parallel()
	c, u, ada, second, group := grouped(t)
	owner := func(id string) jsonObject { return jsonObject{"id": id} }
	iso := jsonObject{"name": "shared", "networkType": "ISOLATED", "ownerRef": owner(group), "subnets": subnets("172.20.0.1")}
	id := ada.call(202, "POST", "/orgVdcNetworks", iso)["id"].(string)
	got := ada.call(200, "GET", "/orgVdcNetworks/"+id, nil)
	if got["ownerRef"].(jsonObject)["id"] != group || got["orgVdc"] != nil {
		t.Errorf("the network belongs to %v and to VDC %v", got["ownerRef"], got["orgVdc"])
	}
	if a, b := ada.available(c.vdc), ada.available(second); a != "direct routed shared" || b != "routed shared" {
		t.Errorf("the VDCs offer %q and %q", a, b)
	}
	// An edge takes the networks behind it with it.
	e := u.call(200, "GET", "/edgeGateways?filter=name==edge-t", nil)["values"].([]any)[0].(jsonObject)
	edge := "/edgeGateways/" + e["id"].(string)
	behind := ada.call(202, "POST", "/orgVdcNetworks", jsonObject{"name": "behind", "networkType": "NAT_ROUTED", "ownerRef": owner(vdcURN + c.vdc),
		"connection": jsonObject{"routerRef": owner(e["id"].(string))}, "subnets": subnets("172.21.0.1")})["id"].(string)
	e["ownerRef"] = owner(group)
	u.call(202, "PUT", edge, e)
	if b := ada.available(second); b != "routed shared behind" {
		t.Errorf("the second VDC offers %q", b)
	}
	if got := ada.call(200, "GET", "/orgVdcNetworks/"+behind, nil)["ownerRef"].(jsonObject)["id"]; got != group {
		t.Errorf("the network behind the edge belongs to %v", got)
	}
	for name, try := range map[string]struct {
		id     string
		status int
	}{
		"to a VDC that is not of the group": {vdcURN + c.globexVDC(), 400},
		"to a group that does not exist":    {"urn:vcloud:vdcGroup:" + c.vdc, 403},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			got["ownerRef"] = owner(try.id)
			ada.call(try.status, "PUT", "/orgVdcNetworks/"+id, got)
		})
	}
	t.Run("a group in use stays", func(t *testing.T) {
		ada.call(400, "DELETE", "/vdcGroups/"+group, nil)
		ada.call(400, "DELETE", "/vdcGroups/"+group+"?force=true", nil)
	})
	e["ownerRef"] = owner(vdcURN + c.vdc)
	u.call(202, "PUT", edge, e)
	// A VDC that goes leaves the group's networks to the others.
	u.run("DELETE", "/api/admin/vdc/"+second+"?force=true&recursive=true", "", "")
	g := ada.call(200, "GET", "/vdcGroups/"+group, nil)
	if g["status"] != "NOT_REALIZED" || g["participatingOrgVdcs"].([]any)[1].(jsonObject)["status"] != "OBJECT_NOT_FOUND" {
		t.Errorf("got %v", g)
	}
	ada.call(202, "DELETE", "/orgVdcNetworks/"+id, nil)
	ada.call(202, "DELETE", "/vdcGroups/"+group, nil)
	ada.call(403, "GET", "/vdcGroups/"+group, nil)
}

// globexVDC is a VDC of another organization.
func (c *cloud) globexVDC() string {
	c.t.Helper()
	return must(c.dir.AddVDC(director.VDCSpec{Org: "globex", Name: "theirs", ResourcePool: "vdc1-pool", StorageProfiles: []director.StorageProfileSpec{{Name: "gold"}}}))(c.t)
}

func TestVDCGroupsThatAreRefused(t *testing.T) {
	t.Parallel()
	c, _, ada, second, group := grouped(t)
	if err := c.dir.SetNetworkProvider("vdc2", "NSX_V"); err != nil {
		t.Fatal(err)
	}
	universal := vdcGroup("g2", c.acme, c.vdc)
	universal["type"] = "UNIVERSAL"
	for name, try := range map[string]struct {
		who    *user
		status int
		body   jsonObject
	}{
		"a name that is taken":           {ada, 400, vdcGroup("GROUP", c.acme, c.vdc)},
		"no VDC":                         {ada, 400, vdcGroup("g2", c.acme)},
		"a VDC of another organization":  {ada, 400, vdcGroup("g2", c.acme, c.globexVDC())},
		"a VDC that is not of NSX-T":     {ada, 400, vdcGroup("g2", c.acme, second)},
		"a universal group":              {ada, 400, universal},
		"a user without the right":       {c.login("bob@acme"), 403, vdcGroup("g2", c.acme, c.vdc)},
		"a group in another's name":      {c.login("gil@globex"), 403, vdcGroup("g2", c.acme, c.vdc)},
		"a group of an unknown customer": {ada, 403, vdcGroup("g2", c.vdc, c.vdc)},
	} {
		t.Run(name, func(t *testing.T) { try.who.call(try.status, "POST", "/vdcGroups", try.body) })
	}
	candidates := func(who *user, status int, filter string) []any {
		list, _ := who.call(status, "GET", "/vdcGroups/networkingCandidateVdcs?filterEncoded=true&filter="+filter, nil)["values"].([]any)
		return list
	}
	if got := candidates(ada, 200, "_context==LOCAL;_context=="+vdcURN+c.vdc); len(got) != 1 {
		t.Errorf("candidates are %v", got)
	}
	if got := candidates(ada, 200, "_context=="+group+";name==nobody"); len(got) != 0 {
		t.Errorf("candidates are %v", got)
	}
	candidates(ada, 400, "name==vdc1")
}

func TestDistributedFirewallsOfGroups(t *testing.T) {
	t.Parallel()
	_, u, ada, _, group := grouped(t)
	dfw := "/vdcGroups/" + group + "/dfwPolicies"
	ada.call(400, "GET", dfw+"/default/rules", nil) // it is not enabled
	ada.call(403, "PUT", dfw, jsonObject{"enabled": true})
	u.call(202, "PUT", dfw, jsonObject{"enabled": true})
	if ada.call(200, "GET", "/vdcGroups/"+group, nil)["dfwEnabled"] != true {
		t.Error("the group does not say that its firewall is enabled")
	}
	rules := func() []any { return ada.call(200, "GET", dfw+"/default/rules", nil)["values"].([]any) }
	if got := rules(); len(got) != 1 || got[0].(jsonObject)["name"] != "Default_VdcGroup_group" {
		t.Errorf("a fresh firewall has the rules %v", got)
	}
	profile := ada.call(200, "GET", "/networkContextProfiles?filter=name==SSL", nil)["values"].([]any)[0]
	set := ada.call(202, "POST", "/firewallGroups", jsonObject{"name": "s", "type": "IP_SET", "ownerRef": jsonObject{"id": group}, "ipAddresses": []string{"10.0.0.0/8"}})["id"].(string)
	rule := jsonObject{"name": "r", "actionValue": "REJECT", "direction": "IN", "ipProtocol": "IPV4", "sourceFirewallGroups": []jsonObject{{"id": set}},
		"networkContextProfiles": []any{profile}}
	ada.call(202, "PUT", dfw+"/default/rules", jsonObject{"values": append([]any{rule}, rules()...)})
	first := rules()[0].(jsonObject)
	at := dfw + "/default/rules/" + first["id"].(string)
	first["name"] = "renamed"
	ada.call(202, "PUT", at, first)
	if got := ada.call(200, "GET", at, nil)["name"]; got != "renamed" || len(rules()) != 2 {
		t.Errorf("the rule is %v of %d", got, len(rules()))
	}
	for name, change := range map[string]jsonObject{
		"an action of its own":         {"actionValue": "MAYBE"},
		"a direction of its own":       {"direction": "UP"},
		"a group that does not exist":  {"sourceFirewallGroups": []jsonObject{{"id": group}, {"id": "urn:vcloud:firewallGroup:none"}}},
		"a protocol that there is not": {"ipProtocol": "IPX"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			bad := jsonObject{}
			for k, v := range rule {
				bad[k] = v
			}
			for k, v := range change {
				bad[k] = v
			}
			ada.call(400, "PUT", dfw+"/default/rules", jsonObject{"values": []jsonObject{bad}})
		})
	}
	ada.call(400, "DELETE", "/firewallGroups/"+set, nil)  // a rule names it
	u.call(400, "PUT", dfw, jsonObject{"enabled": false}) // before its default policy
	ada.call(202, "DELETE", at, nil)
	ada.call(403, "DELETE", at, nil)
	policy := ada.call(200, "GET", dfw+"/default", nil)
	policy["enabled"] = false
	ada.call(202, "PUT", dfw+"/default", policy)
	ada.call(409, "PUT", dfw+"/default", policy) // it was changed meanwhile
	ada.call(400, "DELETE", "/vdcGroups/"+group, nil)
	u.call(202, "PUT", dfw, jsonObject{"enabled": false})
	ada.call(400, "DELETE", "/vdcGroups/"+group, nil) // the IP set is in it
	ada.call(202, "DELETE", "/vdcGroups/"+group+"?force=true", nil)
	ada.call(403, "GET", "/firewallGroups/"+set, nil)
}

func TestFirewallGroupsAndProfilesAreFoundByWhereTheyAreUsed(t *testing.T) {
	t.Parallel()
	c, u, ada, _, group := grouped(t)
	edge := u.call(200, "GET", "/edgeGateways?filter=name==edge-t", nil)["values"].([]any)[0].(jsonObject)["id"].(string)
	ada.call(202, "POST", "/firewallGroups", jsonObject{"name": "of the edge", "type": "IP_SET", "ownerRef": jsonObject{"id": edge}})
	ada.call(202, "POST", "/firewallGroups", jsonObject{"name": "of the group", "type": "IP_SET", "ownerRef": jsonObject{"id": group}})
	ada.call(202, "POST", "/firewallGroups", jsonObject{"name": "members", "type": "SECURITY_GROUP", "ownerRef": jsonObject{"id": edge}})
	ada.call(400, "POST", "/firewallGroups", jsonObject{"name": "dynamic", "typeValue": "VM_CRITERIA", "ownerRef": jsonObject{"id": edge}})
	route := jsonObject{"name": "r", "networkCidr": "10.70.0.0/16", "nextHops": []jsonObject{{"ipAddress": "10.9.0.1", "adminDistance": 1}}}
	routes := "/edgeGateways/" + edge + "/routing/staticRoutes"
	ada.call(202, "POST", routes, route)
	if got := ada.call(200, "GET", routes, nil)["values"].([]any)[0].(jsonObject); got["version"] != nil {
		t.Errorf("the static route says a version: %v", got)
	}
	route["name"], route["nextHops"] = "far", []jsonObject{{"ipAddress": "10.9.0.1", "adminDistance": 256}}
	ada.call(400, "POST", routes, route)
	ada.call(202, "POST", "/applicationPortProfiles", jsonObject{"name": "mine", "scope": "TENANT", "contextEntityId": vdcURN + c.vdc,
		"orgRef": jsonObject{"id": "urn:vcloud:org:" + c.acme}, "applicationPorts": []jsonObject{{"protocol": "TCP", "destinationPorts": []string{"8080"}}}})
	mine := ada.call(200, "GET", "/applicationPortProfiles?filter=name==mine", nil)["values"].([]any)[0].(jsonObject)
	ada.call(202, "PUT", "/applicationPortProfiles/"+mine["id"].(string), mine)
	for path, want := range map[string]string{
		"/firewallGroups/summaries?filter=_context==" + edge:                                  "of the edge members",
		"/firewallGroups/summaries?filter=_context==" + vdcURN + c.vdc:                        "of the edge members",
		"/firewallGroups/summaries?filter=_context==" + group + ";typeValue==IP_SET":          "of the group",
		"/applicationPortProfiles?filter=_context==" + vdcURN + c.vdc + ";scope==TENANT":      "mine",
		"/applicationPortProfiles?filter=_context==" + vdcURN + c.vdc + ";name==SSH":          "SSH",
		"/applicationPortProfiles?filter=_context==" + group + ";scope==TENANT":               "mine",
		"/firewallGroups/summaries?filter=typeValue==SECURITY_GROUP;_context==" + edge:        "members",
		"/networkContextProfiles?filter=name==AMQP;scope==SYSTEM;_context==" + vdcURN + c.vdc: "AMQP",
		"/vdcs/" + group + "/capabilities?filter=name==networkProvider":                       "networkProvider",
		"/vdcGroups/" + group + "/vdcs?filter=vdcRef.name==vdc2":                              "<nil>",
	} {
		var names []string
		for _, row := range ada.call(200, "GET", path, nil)["values"].([]any) {
			if row.(jsonObject)["contextEntityId"] != nil {
				t.Errorf("%s: the row says where it is used: %v", path, row)
			}
			names = append(names, fmt.Sprint(row.(jsonObject)["name"]))
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s finds %q, want %q", path, got, want)
		}
	}
}
