package director

func netRoutes() []route {
	routes := []route{
		{pattern: "PUT /api/network/{id}", handle: (*call).putVAppNetwork, takes: mediaVCloud + "vAppNetwork"},
		{pattern: "DELETE /api/network/{id}", handle: (*call).deleteVAppNetwork},
		{pattern: "PUT /api/admin/network/{id}", handle: (*call).putOrgNet, takes: mediaVCloud + "orgVdcNetwork"},
		{pattern: "DELETE /api/admin/network/{id}", handle: (*call).deleteOrgNet},
		{pattern: "GET /api/admin/vdc/{id}/networks", handle: (*call).listOrgNets},
		{pattern: "POST /api/admin/vdc/{id}/networks", handle: (*call).postOrgNet, takes: mediaVCloud + "orgVdcNetwork"},
		{pattern: "GET /api/admin/vdc/{id}/edgeGateways", handle: (*call).vdcEdges},

		{pattern: "GET /api/admin/edgeGateway/{id}", handle: (*call).getEdge},
		{pattern: "PUT /api/admin/edgeGateway/{id}", handle: (*call).putEdge, takes: mediaAdmin + "edgeGateway"},
		{pattern: "DELETE /api/admin/edgeGateway/{id}", handle: (*call).deleteEdge},
		{pattern: "POST /api/admin/edgeGateway/{id}/action/configureServices", handle: (*call).configureServices,
			takes: mediaAdmin + "edgeGatewayServiceConfiguration"},
		{pattern: "POST /api/admin/edgeGateway/{id}/action/redeploy", handle: (*call).redeployEdge},

		{pattern: "GET /api/admin/extension/externalNetworkReferences", handle: (*call).listExtNets, provider: true},
		{pattern: "POST /api/admin/extension/externalnets", handle: (*call).postExtNet, provider: true, takes: mediaAdmin + "vmwexternalnet"},
		{pattern: "GET /api/admin/extension/externalnet/{id}", handle: (*call).getExtNet, provider: true},
		{pattern: "PUT /api/admin/extension/externalnet/{id}", handle: (*call).putExtNet, provider: true, takes: mediaAdmin + "vmwexternalnet"},
		{pattern: "DELETE /api/admin/extension/externalnet/{id}", handle: (*call).deleteExtNet, provider: true},
		{pattern: "GET /api/admin/extension/networkPoolReferences", handle: (*call).netPoolRefs, provider: true},
		{pattern: "GET /api/admin/extension/networkPool/{id}", handle: (*call).netPool, provider: true},
		{pattern: "GET /api/admin/extension/nsxtManagers/{id}", handle: (*call).nsxtManager, provider: true, noAccept: true},
	}
	for _, base := range []string{"/api/network/{id}", "/api/admin/network/{id}"} {
		routes = append(routes, route{pattern: "GET " + base, handle: (*call).getNetwork},
			route{pattern: "GET " + base + "/allocatedAddresses", handle: (*call).allocatedAddresses},
			route{pattern: "POST " + base + "/action/reset", handle: (*call).resetOrgNet},
			route{pattern: "POST " + base + "/action/syncSyslogServerSettings", handle: (*call).syncSyslog})
	}
	return routes
}

var netGrammar = map[string]string{
	"OrgVdcNetwork": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Configuration?=NetworkConfiguration ProviderInfo?=s " +
		"EdgeGateway?=Reference ServiceConfig?=ServiceConfig IsShared?=b VimPortGroupRef?=any NetworkPoolRef^=any",
	"ServiceConfig": "VCloudExtension*=any GatewayDhcpService^=GatewayDhcpService DhcpService^=DhcpService FirewallService^=any NatService^=any StaticRoutingService^=any " +
		"LoadBalancerService^=any GatewayIpsecVpnService^=any NetworkService^=any",
	"GatewayDhcpService": "VCloudExtension*=any IsEnabled?=b Pool*=DhcpPool",
	"DhcpPool": "VCloudExtension*=any IsEnabled?=b Network?=any DefaultLeaseTime?=i MaxLeaseTime?=i LowIpAddress?=ip " +
		"HighIpAddress?=ip",
	"VMWExternalNetwork": "@name VCloudExtension*=any w:Link*=any w:Description?=s w:Tasks?=any w:Configuration=NetworkConfiguration " +
		"x:VimPortGroupRef?=VimObjectRef x:VimPortGroupRefs?=VimObjectRefs",
	"VimObjectRefs": "x:VimObjectRef*=VimObjectRef",
	"VimObjectRef":  "x:VimServerRef=any x:MoRef=s x:VimObjectType=s",
	"EdgeGateway":   "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any GatewayBackingRef?=any Configuration?=any",
	"EdgeGatewayServiceConfiguration": "VCloudExtension*=any GatewayDhcpService^=GatewayDhcpService FirewallService^=any NatService^=any " +
		"StaticRoutingService^=any LoadBalancerService^=any GatewayIpsecVpnService^=any NetworkService^=any",
}
