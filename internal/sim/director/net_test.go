package director_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/director"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// withNetworks is a cloud whose vCenter has a switch, and that has an external
// network, an edge of NSX-T on it and one of NSX-V.
func withNetworks(t *testing.T) *cloud {
	c := newCloud(t, nil)
	d := c.dir
	d.AddNSXTManager("nsx1", []string{"t0-free"}, []string{"segment"})
	d.AddNetworkPool("pool", "GENEVE", "")
	must(d.AddExternalNetwork(director.ExternalNetworkSpec{Name: "t0", NSXTManager: "nsx1", Tier: "t0", Subnets: []director.SubnetSpec{
		{Gateway: "10.9.0.1", Netmask: "255.255.255.0", Ranges: []director.IPRange{{Start: "10.9.0.10", End: "10.9.0.30"}}}}}))(t)
	must(d.AddEdge(director.EdgeSpec{VDC: "vdc1", Name: "edge-t", Uplinks: []director.UplinkSpec{{Network: "t0",
		Ranges: []director.IPRange{{Start: "10.9.0.10", End: "10.9.0.12"}}}}}))(t)
	return c
}

// netID is the id of the vApp's network of that name.
func (u *user) netID(name string) string {
	u.c.t.Helper()
	for _, l := range u.get(u.c.vappPath()).FindElements("./Link[@type='application/vnd.vmware.vcloud.vAppNetwork+xml']") {
		if l.SelectAttrValue("name", "") == name {
			href := l.SelectAttrValue("href", "")
			return href[strings.LastIndex(href, "/")+1:]
		}
	}
	u.c.t.Fatalf("no vApp network %s", name)
	return ""
}

// portgroups are the names of the vApps' port groups in vCenter.
func (c *cloud) portgroups() []string {
	c.t.Helper()
	f := find.NewFinder(c.vim.Client)
	dc := must(f.DefaultDatacenter(c.t.Context()))(c.t)
	f.SetDatacenter(dc)
	var out []string
	for _, n := range must(f.NetworkList(c.t.Context(), "*"))(c.t) {
		if name := n.GetInventoryPath()[strings.LastIndex(n.GetInventoryPath(), "/")+1:]; strings.HasPrefix(name, "dvs.") {
			out = append(out, name[:strings.Index(name, "-")])
		}
	}
	slices.Sort(out)
	return out
}

func TestVAppNetworksFollowTheDeployment(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, p := c.login(adminName), c.vappPath()
	conf := func() *etree.Element {
		return u.get(p + "/networkConfigSection/").FindElement("./NetworkConfig[@networkName='dmz']/Configuration")
	}
	// dmz retains its addresses: take that away first.
	u.put(p+"/networkConfigSection/", "networkConfigSection", func(e *etree.Element) {
		e.FindElement("./NetworkConfig[@networkName='dmz']/Configuration/RetainNetInfoAcrossDeployments").SetText("false")
	})
	u.run(http.MethodPost, p+"/action/deploy", vcloud+"deployVAppParams+xml", `<DeployVAppParams `+xmlns+` powerOn="false"/>`)
	router, external := textAt(conf(), "./RouterInfo/ExternalIp"), textAt(conf(), ".//OneToOneVmRule/ExternalIpAddress")
	if router == "" || external == "" || router == external {
		t.Errorf("deployed: router %q, address of web01 %q: want two of the parent's pool", router, external)
	}
	var web string
	for _, vm := range u.get(p).FindElements("./Children/Vm") {
		if vm.SelectAttrValue("name", "") == "web01" {
			web = vm.SelectAttrValue("href", "")
		}
	}
	if got := textAt(u.get(web+"/networkConnectionSection/"), ".//ExternalIpAddress"); got != external {
		t.Errorf("the NIC shows the external address %q, want %q", got, external)
	}
	alloc := u.get("/api/network/" + u.netParent("routed") + "/allocatedAddresses")
	if got := texts(alloc, "./IpAddress[@allocationType='natRouted']/IpAddress"); !slices.Contains(got, router) || !slices.Contains(got, external) {
		t.Errorf("allocated on the parent: %q, want %s and %s", got, router, external)
	}
	u.run(http.MethodPost, "/api/admin/network/"+u.netID("dmz")+"/action/reset", "", "")
	u.run(http.MethodPost, "/api/admin/network/"+u.netID("dmz")+"/action/syncSyslogServerSettings", "", "")
	u.want(http.StatusConflict, http.MethodPut, p+"/networkConfigSection/", vcloud+"networkConfigSection+xml", without(u.get(p+"/networkConfigSection/"), "lan"))
	u.want(http.StatusConflict, http.MethodDelete, "/api/network/"+u.netID("lan"), "", "")
	u.run(http.MethodPost, p+"/action/undeploy", vcloud+"undeployVAppParams+xml", `<UndeployVAppParams `+xmlns+`/>`)
	u.want(http.StatusBadRequest, http.MethodDelete, "/api/network/"+u.netID("dmz"), "", "") // a NIC is on it
	if e := conf(); e.FindElement("./RouterInfo") != nil || e.FindElement(".//ExternalIpAddress") != nil {
		t.Errorf("undeployed: the network keeps addresses outside: %s", write(e))
	}
	u.want(http.StatusBadRequest, http.MethodPost, "/api/admin/network/"+u.netID("dmz")+"/action/reset", "", "")
	if e := conf(); textAt(e, "./GuestVlanAllowed") != "false" || textAt(e, "./DualStackNetwork") != "false" {
		t.Errorf("got %s", write(e))
	}
	// Off, the network goes, and the NIC is on none.
	u.run(http.MethodPut, p+"/networkConfigSection/", vcloud+"networkConfigSection+xml", without(u.get(p+"/networkConfigSection/"), "dmz"))
	if got := u.get(web+"/networkConnectionSection/").FindElement("./NetworkConnection").SelectAttrValue("network", ""); got != "none" {
		t.Errorf("the NIC is on %q", got)
	}
}

// without is a NetworkConfigSection without a network.
func without(e *etree.Element, name string) string {
	e.RemoveChild(e.FindElement("./NetworkConfig[@networkName='" + name + "']"))
	return write(e)
}

// netParent is the id of the org network of that name.
func (u *user) netParent(name string) string {
	u.c.t.Helper()
	for _, r := range u.get("/api/query?type=orgVdcNetwork&filter=name==" + name).FindElements("./OrgVdcNetworkRecord") {
		href := r.SelectAttrValue("href", "")
		return href[strings.LastIndex(href, "/")+1:]
	}
	u.c.t.Fatalf("no network %s", name)
	return ""
}

func TestAFenceKeepsAddressesInside(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, p := c.login(adminName), c.vappPath()+"/networkConfigSection/"
	u.put(p, "networkConfigSection", func(e *etree.Element) {
		e.FindElement("./NetworkConfig[@networkName='direct']/Configuration/FenceMode").SetText("natRouted")
	})
	conf := u.get(p).FindElement("./NetworkConfig[@networkName='direct']/Configuration")
	if textAt(conf, "./FenceMode") != "natRouted" || textAt(conf, ".//IsInherited") != "true" || textAt(conf, ".//Gateway") != "10.0.0.1" {
		t.Errorf("got %s", write(conf))
	}
	if conf.FindElement("./Features/FirewallService") == nil || conf.FindElement("./Features/NatService") == nil {
		t.Errorf("a fence has a firewall and NAT, got %s", write(conf))
	}
	u.run(http.MethodPost, c.vappPath()+"/action/deploy", vcloud+"deployVAppParams+xml", `<DeployVAppParams `+xmlns+` powerOn="false"/>`)
	alloc := texts(u.get("/api/network/"+u.netParent("direct")+"/allocatedAddresses"), "./IpAddress/IpAddress")
	if slices.Contains(alloc, "10.0.0.50") || len(alloc) != 1 {
		t.Errorf("outside are %q, want the fence's router alone", alloc)
	}
}

func TestNetworkDocumentsThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, p := c.login(adminName), c.vappPath()+"/networkConfigSection/"
	set := func(network, path, value string) func(e *etree.Element) {
		return func(e *etree.Element) {
			for _, f := range e.FindElements("./NetworkConfig[@networkName='" + network + "']/Configuration" + path) {
				f.SetText(value)
			}
		}
	}
	swap := func(from, to string) func(e *etree.Element) {
		return func(e *etree.Element) {
			nat := e.FindElement("./NetworkConfig[@networkName='dmz']//NatRule/" + from)
			nat.Tag = to
		}
	}
	for name, change := range map[string]func(*etree.Element){
		"a pool outside of the subnet":       set("lan", "//EndAddress", "192.168.10.20"),
		"a pool with the gateway":            set("lan", "//StartAddress", "192.168.9.1"),
		"a pool that ends before it begins":  set("lan", "//EndAddress", "192.168.9.9"),
		"a netmask with a hole":              set("lan", "//Netmask", "255.0.255.0"),
		"DHCP in the static pool":            set("dmz", "//DhcpService//EndAddress", "192.168.2.120"),
		"DHCP with a lease above its limit":  set("dmz", "//DhcpService/DefaultLeaseTime", "9999"),
		"a firewall action of its own":       set("dmz", "//FirewallService/DefaultAction", "reject"),
		"a port above the last":              set("dmz", "//DestinationPortRange", "70000"),
		"a source that is no address":        set("dmz", "//SourceIp", "somewhere"),
		"a route over a hop that is nowhere": set("dmz", "//NextHopIp", "172.20.0.1"),
		"a route that is no network":         set("dmz", "//StaticRoute/Network", "172.16.0.1/16"),
		"a NAT type that does not exist":     set("dmz", "//NatType", "magic"),
		"port forwarding with one-to-one":    set("dmz", "//NatType", "portForwarding"),
		"a mapping mode of its own":          set("dmz", "//MappingMode", "perhaps"),
		"manual mapping without an address": func(e *etree.Element) {
			set("dmz", "//MappingMode", "manual")(e)
			rule := e.FindElement("./NetworkConfig[@networkName='dmz']//OneToOneVmRule")
			if ip := rule.FindElement("./ExternalIpAddress"); ip != nil {
				rule.RemoveChild(ip)
			}
		},
		"a rule for a VM of another vApp": set("dmz", "//VAppScopedVmId", "nobody"),
		"a rule that an edge has":         swap("OneToOneVmRule", "GatewayNatRule"),
		"the parent's subnet by another name": func(e *etree.Element) {
			set("dmz", "/IpScopes/IpScope/Gateway", "10.1.0.1")(e)
		},
		"the same name twice": func(e *etree.Element) {
			e.AddChild(e.FindElement("./NetworkConfig[@networkName='lan']").Copy())
		},
		"no name": func(e *etree.Element) {
			e.FindElement("./NetworkConfig[@networkName='lan']").CreateAttr("networkName", " ")
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := u.get(p)
			change(e)
			u.want(http.StatusBadRequest, http.MethodPut, p, vcloud+"networkConfigSection+xml", write(e))
		})
	}
	t.Run("tenants without a right to the vApp change nothing", func(t *testing.T) {
		eve := c.login("eve@acme")
		eve.want(http.StatusForbidden, http.MethodPut, p, vcloud+"networkConfigSection+xml", write(u.get(p)))
		eve.want(http.StatusForbidden, http.MethodDelete, "/api/network/"+u.netID("lan"), "", "")
		gil := c.login("gil@globex")
		gil.want(http.StatusForbidden, http.MethodGet, "/api/network/"+u.netID("lan"), "", "")
		gil.want(http.StatusForbidden, http.MethodGet, "/api/network/"+u.netParent("routed")+"/allocatedAddresses", "", "")
	})
}

const orgNet = vcloud + "orgVdcNetwork+xml"

func isolatedNet(name, gateway string) string {
	return `<OrgVdcNetwork ` + xmlns + ` name="` + name + `"><Description>d</Description><Configuration><IpScopes><IpScope><IsInherited>false</IsInherited><Gateway>` +
		gateway + `</Gateway><Netmask>255.255.255.0</Netmask></IpScope></IpScopes><FenceMode>isolated</FenceMode></Configuration><IsShared>false</IsShared></OrgVdcNetwork>`
}

func TestOrgNetworksOverXML(t *testing.T) {
	t.Parallel()
	c := withNetworks(t)
	if err := c.dir.SetNetworkProvider("vdc1", "NSX_V"); err != nil {
		t.Fatal(err)
	}
	u, ada, bob := c.login(adminName), c.login("ada@acme"), c.login("bob@acme")
	nets := "/api/admin/vdc/" + c.vdc + "/networks"
	r := ada.want(http.StatusCreated, http.MethodPost, nets, orgNet, isolatedNet("iso", "172.30.0.1"))
	made := ada.made(r)
	href := made.SelectAttrValue("href", "")
	if made.SelectAttrValue("name", "") != "iso" || textAt(made, "./Configuration/FenceMode") != "isolated" {
		t.Errorf("got %s", write(made))
	}
	ada.run(http.MethodPut, href, orgNet, isolatedNet("iso2", "172.30.0.1"))
	if got := ada.get(href).SelectAttrValue("name", ""); got != "iso2" {
		t.Errorf("renamed to %q", got)
	}
	edge := u.get("/api/query?type=edgeGateway&filter=name==edge1").FindElement("./EdgeGatewayRecord").SelectAttrValue("href", "")
	routed := func(gateway string) string {
		return strings.Replace(strings.Replace(isolatedNet("r2", gateway), "isolated", "natRouted", 1), "</Configuration>", `</Configuration><EdgeGateway href="`+edge+`"/>`, 1)
	}
	for name, try := range map[string]struct {
		who    *user
		body   string
		status int
	}{
		"a name that is taken":                   {ada, isolatedNet("DIRECT", "172.31.0.1"), 400},
		"a subnet that another has on this edge": {ada, routed("10.1.0.1"), 400},
		"no edge":                                {ada, strings.Replace(isolatedNet("r3", "172.32.0.1"), "isolated", "natRouted", 1), 400},
		"no gateway":                             {ada, isolatedNet("g", ""), 400},
		"a user":                                 {bob, isolatedNet("b", "172.33.0.1"), 403},
		"a direct network by a tenant":           {ada, strings.Replace(isolatedNet("d", "172.33.0.1"), "isolated", "bridged", 1), 403},
	} {
		t.Run("refused: "+name, func(t *testing.T) { try.who.want(try.status, http.MethodPost, nets, orgNet, try.body) })
	}
	ada.made(ada.want(http.StatusCreated, http.MethodPost, nets, orgNet, routed("172.31.0.1")))
	if faces := u.get(edge).FindElements(".//GatewayInterface"); len(faces) != 2 {
		t.Errorf("the edge has %d interfaces, want one for each network behind it", len(faces))
	}
	ada.want(http.StatusBadRequest, http.MethodDelete, "/api/admin/network/"+u.netParent("routed"), "", "") // in use
	ada.want(http.StatusBadRequest, http.MethodPut, href, orgNet, routed("172.30.0.1"))                     // another mode
	ada.run(http.MethodDelete, href, "", "")
	ada.want(http.StatusForbidden, http.MethodGet, href, "", "")
	if err := c.dir.SetNetworkProvider("vdc1", "NSX_T"); err != nil {
		t.Fatal(err)
	}
	ada.want(http.StatusBadRequest, http.MethodPost, nets, orgNet, isolatedNet("iso", "172.30.0.1"))
	if got := len(ada.get(nets).FindElements("./OrgVdcNetworkRecord")); got != 3 {
		t.Errorf("the list has %d networks", got)
	}
}

func TestNetworkQueriesAndProviderDocuments(t *testing.T) {
	t.Parallel()
	c := withNetworks(t)
	u, ada := c.login(adminName), c.login("ada@acme")
	for typ, want := range map[string]int{"orgVdcNetwork": 2, "orgNetwork": 2, "adminOrgNetwork": 2, "vAppNetwork": 3, "adminVAppNetwork": 3,
		"vAppOrgNetworkRelation": 2, "adminVAppOrgNetworkRelation": 2, "edgeGateway": 2, "externalNetwork": 2, "networkPool": 1, "portgroup": 1,
		"allocatedExternalAddress": 1} {
		if got := len(u.get("/api/query?type=" + typ).ChildElements()); got != want {
			t.Errorf("%s: %d records, want %d", typ, got, want)
		}
	}
	ada.want(http.StatusForbidden, http.MethodGet, "/api/query?type=externalNetwork", "", "")
	ada.want(http.StatusForbidden, http.MethodGet, "/api/admin/extension/externalNetworkReferences", "", "")
	for _, e := range u.get("/api/admin/extension/externalNetworkReferences").ChildElements() {
		u.get(e.SelectAttrValue("href", ""))
		u.want(http.StatusBadRequest, http.MethodDelete, e.SelectAttrValue("href", ""), "", "") // a network is on it
	}
	for _, e := range u.get("/api/admin/extension/networkPoolReferences").ChildElements() {
		u.get(e.SelectAttrValue("href", ""))
	}
	for _, e := range u.get("/api/query?type=edgeGateway").FindElements("./EdgeGatewayRecord") {
		u.get(e.SelectAttrValue("href", ""))
	}
	if got := len(u.get("/api/admin/vdc/" + c.vdc + "/edgeGateways").FindElements("./EdgeGatewayRecord")); got != 2 {
		t.Errorf("the VDC has %d edges", got)
	}
	for _, n := range []string{"direct", "routed"} {
		e := u.get("/api/network/" + u.netParent(n))
		for _, path := range []string{".//ParentNetwork", "./EdgeGateway"} {
			if f := e.FindElement(path); f != nil {
				u.get(f.SelectAttrValue("href", ""))
			}
		}
	}
}

// call sends JSON and returns the object of the answer; a task is waited for.
func (u *user) call(status int, method, path string, body any) map[string]any {
	u.c.t.Helper()
	text := ""
	if body != nil {
		text = string(must(json.Marshal(body))(u.c.t))
	}
	r := u.want(status, method, "/cloudapi/1.0.0"+path, "application/json", text)
	out := map[string]any{}
	if status == http.StatusAccepted {
		task := u.wait(r.header.Get("Location"))
		if task.SelectAttrValue("status", "") != "success" {
			u.c.t.Fatalf("%s %s: %s", method, path, write(task))
		}
		out["id"] = task.FindElement("./Owner").SelectAttrValue("id", "")
		return out
	}
	if len(r.body) > 0 {
		if err := json.Unmarshal(r.body, &out); err != nil {
			u.c.t.Fatal(err)
		}
	}
	return out
}

type jsonObject = map[string]any

func subnets(gateway string, ranges ...jsonObject) jsonObject {
	return jsonObject{"values": []jsonObject{{"gateway": gateway, "prefixLength": 24, "ipRanges": jsonObject{"values": ranges}}}}
}

func TestOrgNetworksOverOpenAPI(t *testing.T) {
	t.Parallel()
	c := withNetworks(t)
	u, ada := c.login(adminName), c.login("ada@acme")
	edges := u.call(200, "GET", "/edgeGateways?filter=name==edge-t", nil)["values"].([]any)
	edge := edges[0].(jsonObject)["id"].(string)
	body := jsonObject{"name": "net", "networkType": "NAT_ROUTED", "ownerRef": jsonObject{"id": "urn:vcloud:vdc:" + c.vdc},
		"connection": jsonObject{"routerRef": jsonObject{"id": edge}, "connectionTypeValue": "INTERNAL"},
		"subnets":    subnets("172.20.0.1", jsonObject{"startAddress": "172.20.0.10", "endAddress": "172.20.0.20"})}
	id := ada.call(202, "POST", "/orgVdcNetworks", body)["id"].(string)
	got := ada.call(200, "GET", "/orgVdcNetworks/"+id, nil)
	if got["name"] != "net" || got["networkType"] != "NAT_ROUTED" || got["totalIpCount"] != 11.0 {
		t.Errorf("got %v", got)
	}
	if list := ada.call(200, "GET", "/orgVdcNetworks?filter=ownerRef.id==urn:vcloud:vdc:"+c.vdc+";networkType==NAT_ROUTED", nil); list["resultTotal"] != 2.0 {
		t.Errorf("the filter finds %v", list["resultTotal"])
	}
	dhcp := jsonObject{"enabled": true, "mode": "EDGE", "dhcpPools": []jsonObject{{"ipRange": jsonObject{"startAddress": "172.20.0.100", "endAddress": "172.20.0.110"}}}}
	ada.call(202, "PUT", "/orgVdcNetworks/"+id+"/dhcp", dhcp)
	binding := jsonObject{"name": "b", "macAddress": "00:50:56:00:00:01", "ipAddress": "172.20.0.101", "bindingType": "IPV4"}
	ada.call(202, "POST", "/orgVdcNetworks/"+id+"/dhcp/bindings", binding)
	refused := map[string]struct {
		who          *user
		status       int
		method, path string
		body         jsonObject
	}{
		"no body":                        {ada, 400, "POST", "/orgVdcNetworks", nil},
		"a type of its own":              {ada, 400, "POST", "/orgVdcNetworks", jsonObject{"name": "x", "networkType": "MAGIC", "ownerRef": body["ownerRef"]}},
		"no owner":                       {ada, 403, "POST", "/orgVdcNetworks", jsonObject{"name": "x", "networkType": "ISOLATED"}},
		"a name that is taken":           {ada, 400, "POST", "/orgVdcNetworks", body},
		"a direct network by a tenant":   {ada, 403, "POST", "/orgVdcNetworks", jsonObject{"name": "x", "networkType": "DIRECT", "ownerRef": body["ownerRef"], "parentNetworkId": jsonObject{"id": id}}},
		"another organization's network": {c.login("gil@globex"), 403, "GET", "/orgVdcNetworks/" + id, nil},
		"a user's change":                {c.login("bob@acme"), 403, "DELETE", "/orgVdcNetworks/" + id, nil},
		"DHCP in the static pool": {ada, 400, "PUT", "/orgVdcNetworks/" + id + "/dhcp", jsonObject{"enabled": true,
			"dhcpPools": []jsonObject{{"ipRange": jsonObject{"startAddress": "172.20.0.15", "endAddress": "172.20.0.16"}}}}},
		"a binding that exists":         {ada, 400, "POST", "/orgVdcNetworks/" + id + "/dhcp/bindings", jsonObject{"name": "c", "macAddress": "00:50:56:00:00:01", "ipAddress": "172.20.0.102"}},
		"a page of 1000":                {ada, 400, "GET", "/orgVdcNetworks?pageSize=1000", nil},
		"an edge with a network":        {u, 400, "DELETE", "/edgeGateways/" + edge, nil},
		"an edge made by a tenant":      {ada, 403, "POST", "/edgeGateways", jsonObject{"name": "e", "ownerRef": body["ownerRef"]}},
		"external networks of a tenant": {ada, 403, "GET", "/externalNetworks", nil},
		"a NAT rule without addresses":  {ada, 400, "POST", "/edgeGateways/" + edge + "/nat/rules", jsonObject{"name": "n", "type": "DNAT"}},
		"a group of nothing":            {ada, 400, "POST", "/firewallGroups", jsonObject{"name": "g", "type": "IP_SET"}},
		"a firewall action of its own":  {ada, 400, "PUT", "/edgeGateways/" + edge + "/firewall/rules", jsonObject{"userDefinedRules": []jsonObject{{"name": "r", "actionValue": "MAYBE"}}}},
	}
	for name, try := range refused {
		t.Run("refused: "+name, func(t *testing.T) {
			var b any
			if try.body != nil {
				b = try.body
			}
			try.who.call(try.status, try.method, try.path, b)
		})
	}
	ada.call(202, "DELETE", "/orgVdcNetworks/"+id, nil)
	ada.call(403, "GET", "/orgVdcNetworks/"+id, nil)
}

func TestEdgeServicesOverOpenAPI(t *testing.T) {
	t.Parallel()
	c := withNetworks(t)
	u, ada := c.login(adminName), c.login("ada@acme")
	edge := "/edgeGateways/" + u.call(200, "GET", "/edgeGateways?filter=name==edge-t", nil)["values"].([]any)[0].(jsonObject)["id"].(string)
	if used := ada.call(200, "GET", edge+"/usedIpAddresses", nil)["values"].([]any); len(used) != 1 || used[0].(jsonObject)["ipAddress"] != "10.9.0.10" {
		t.Errorf("used are %v", used)
	}
	rule := jsonObject{"name": "web", "type": "DNAT", "enabled": true, "externalAddresses": "10.9.0.11", "internalAddresses": "172.20.0.5"}
	ada.call(202, "POST", edge+"/nat/rules", rule)
	list := ada.call(200, "GET", edge+"/nat/rules", nil)["values"].([]any)
	if len(list) != 1 {
		t.Fatalf("got %v", list)
	}
	made := list[0].(jsonObject)
	made["name"] = "web2"
	ada.call(202, "PUT", edge+"/nat/rules/"+made["id"].(string), made)
	ada.call(409, "PUT", edge+"/nat/rules/"+made["id"].(string), made) // it was changed meanwhile
	set := ada.call(202, "POST", "/firewallGroups", jsonObject{"name": "s", "type": "IP_SET", "ownerRef": jsonObject{"id": strings.TrimPrefix(edge, "/edgeGateways/")},
		"ipAddresses": []string{"10.0.0.0/8"}})["id"].(string)
	ada.call(202, "PUT", edge+"/firewall/rules", jsonObject{"userDefinedRules": []jsonObject{{"name": "r", "actionValue": "ALLOW", "sourceFirewallGroups": []jsonObject{{"id": set}}}}})
	ada.call(400, "DELETE", "/firewallGroups/"+set, nil) // a rule names it
	ada.call(202, "DELETE", edge+"/firewall/rules", nil)
	ada.call(202, "DELETE", "/firewallGroups/"+set, nil)
	ada.call(202, "PUT", edge+"/dns", jsonObject{"enabled": true, "listenerIp": "10.9.0.10"})
	if got := ada.call(200, "GET", edge+"/dns", nil); got["enabled"] != true {
		t.Errorf("got %v", got)
	}
	second := jsonObject{"name": "e2", "ownerRef": jsonObject{"id": "urn:vcloud:vdc:" + c.vdc}, "edgeGatewayUplinks": []jsonObject{{
		"uplinkId": u.call(200, "GET", "/externalNetworks?filter=name==t0", nil)["values"].([]any)[0].(jsonObject)["id"],
		"subnets":  subnets("10.9.0.1", jsonObject{"startAddress": "10.9.0.12", "endAddress": "10.9.0.14"})}}}
	u.call(400, "POST", "/edgeGateways", second) // the first one has 10.9.0.12
	second["edgeGatewayUplinks"].([]jsonObject)[0]["subnets"] = subnets("10.9.0.1", jsonObject{"startAddress": "10.9.0.13", "endAddress": "10.9.0.14"})
	id := u.call(202, "POST", "/edgeGateways", second)["id"].(string)
	u.call(202, "DELETE", "/edgeGateways/"+id, nil)
}

func TestDeployedVAppsHavePortGroups(t *testing.T) {
	t.Parallel()
	c := switched(t)
	u := c.login(adminName)
	backing := func() string {
		var m mo.VirtualMachine
		if err := c.vm(c.morefs[0]).Properties(t.Context(), vmRef(c.morefs[0]), []string{"config.hardware"}, &m); err != nil {
			t.Fatal(err)
		}
		for _, d := range m.Config.Hardware.Device {
			if card, is := d.(types.BaseVirtualEthernetCard); is {
				if _, on := card.GetVirtualEthernetCard().Backing.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo); on {
					return "switch"
				}
			}
		}
		return "network"
	}
	for range 2 {
		u.run(http.MethodPost, c.vappPath()+"/power/action/powerOn", "", "")
		if got := c.portgroups(); !slices.Equal(got, []string{"dvs.VCDVSback", "dvs.VCDVSlan"}) || backing() != "switch" {
			t.Errorf("on: the port groups are %q, the NIC is on a %s", got, backing())
		}
		u.run(http.MethodPost, c.vappPath()+"/action/undeploy", vcloud+"undeployVAppParams+xml", `<UndeployVAppParams `+xmlns+`/>`)
		if got := c.portgroups(); len(got) != 0 || backing() != "network" {
			t.Errorf("off: the port groups are %q, the NIC is on a %s", got, backing())
		}
	}
}

// switched is a cloud whose vCenter has a distributed switch, with a vApp of
// one VM on an isolated network.
func switched(t *testing.T) *cloud {
	vc := must(vcenter.Start(vcenter.Config{Dir: t.TempDir(), ResourcePools: []string{"vdc1-pool"}, Users: map[string]string{"root": "pw"}, Networks: []string{"pg"}}))(t)
	t.Cleanup(func() { vc.Close() })
	c := &cloud{t: t, http: insecure(t)}
	moref := must(vc.AddVM(vcenter.VMSpec{Name: "vm", GuestID: "debian12_64Guest", NumCPU: 1, MemoryMB: 64, NICs: []vcenter.NICSpec{{}}}))(t)
	c.morefs = []string{moref}
	addr := must(soap.ParseURL(vc.URL().String()))(t)
	addr.User = url.UserPassword("root", "pw")
	c.vim = must(govmomi.NewClient(t.Context(), addr, true))(t)
	d := must(director.Start(director.Config{AdminPassword: password, VCenters: []director.VCenter{
		{Name: "vc1", URL: vc.URL().String(), User: "root", Password: "pw"}}}))(t)
	c.dir = d
	t.Cleanup(func() { _ = d.Close() })
	must(d.AddOrg(director.OrgSpec{Name: "acme"}))(t)
	c.vdc = must(d.AddVDC(director.VDCSpec{Org: "acme", Name: "vdc1", ResourcePool: "vdc1-pool", StorageProfiles: []director.StorageProfileSpec{{Name: "gold"}}}))(t)
	must(d.AddOrgNetwork(director.OrgNetworkSpec{VDC: "vdc1", Name: "routed", Mode: "natRouted", Gateway: "10.1.0.1", EdgeGateway: "edge1",
		Ranges: []director.IPRange{{Start: "10.1.0.100", End: "10.1.0.199"}}}))(t)
	c.shop = must(d.AddVApp(director.VAppSpec{VDC: "vdc1", Name: "shop", Networks: []director.VAppNetworkSpec{
		{Name: "lan", Mode: "isolated", Gateway: "192.168.9.1", Ranges: []director.IPRange{{Start: "192.168.9.10", End: "192.168.9.20"}}},
		{Name: "back", Mode: "natRouted", Parent: "routed", Gateway: "192.168.8.1"}},
		VMs: []director.VMSpec{{Name: "vm", MoRef: moref, NICs: []director.NICSpec{{Network: "lan", Mode: "POOL"}}}}}))(t)
	return c
}
