package director

// routes is the API. Paths come without a trailing slash.
func (s *Server) routes() []route {
	var all []route
	for _, group := range [][]route{
		accountRoutes(), roleRoutes(), userRoutes(), cloudUserRoutes(), orgAdminRoutes(), systemRoutes(),
		orgRoutes(), vappRoutes(), sectionRoutes(), actionRoutes(),
		adminRoutes(),
		leaseRoutes(), quotaRoutes(), pvdcRoutes(), vdcRoutes(), policyRoutes(), tagRoutes(), estateRoutes(), extensibilityRoutes(), vdcMetadataRoutes(),
		cloudRoutes(),
		vmRoutes(),
		netRoutes(), netCloudRoutes(), netGroupRoutes(),
		catalogRoutes(), templateRoutes(),
	} {
		all = append(all, group...)
	}
	return all
}

func orgRoutes() []route {
	return []route{
		{pattern: "GET /api/org", handle: (*call).orgList},
		{pattern: "GET /api/org/{id}", handle: (*call).getOrg},
		{pattern: "GET /api/vdc/{id}", handle: func(c *call) (*answer, error) { return c.getVDC(false) }},
		{pattern: "GET /api/vdcStorageProfile/{id}", handle: (*call).getProfile},
		{pattern: "GET /api/query", handle: (*call).runQuery},
		{pattern: "GET /api/vApps/query", handle: func(c *call) (*answer, error) { return c.queryType("vApp") }},
		{pattern: "GET /api/vms/query", handle: func(c *call) (*answer, error) { return c.queryType("vm") }},
		{pattern: "GET /api/admin/orgs/query", handle: func(c *call) (*answer, error) { return c.queryType("organization") }},
		{pattern: "GET /api/admin/users/query", handle: func(c *call) (*answer, error) { return c.queryType("user") }},
		{pattern: "GET /api/admin/extension/vapps/query", handle: func(c *call) (*answer, error) { return c.queryType("adminVApp") }, provider: true},
		{pattern: "GET /api/admin/extension/vms/query", handle: func(c *call) (*answer, error) { return c.queryType("adminVM") }, provider: true},
		{pattern: "GET /api/task/{id}", handle: (*call).getTask},
		{pattern: "POST /api/task/{id}/action/cancel", handle: (*call).cancelTask},
		{pattern: "GET /api/tasksList/{id}", handle: (*call).tasksList},
	}
}

func adminRoutes() []route {
	return []route{
		{pattern: "GET /api/admin", handle: (*call).getAdmin},
		{pattern: "GET /api/admin/org/{id}", handle: (*call).getAdminOrg},
		{pattern: "GET /api/admin/org/{id}/settings", handle: func(c *call) (*answer, error) { return c.orgSettings("") }},
		{pattern: "GET /api/admin/org/{id}/settings/{part}", handle: func(c *call) (*answer, error) { return c.orgSettings(c.path("part")) }},
		{pattern: "GET /api/admin/vdc/{id}", handle: func(c *call) (*answer, error) { return c.getVDC(true) }},
		{pattern: "GET /api/admin/vdcStorageProfile/{id}", handle: (*call).getProfile},
		{pattern: "GET /api/admin/extension", handle: (*call).getExtension, provider: true},
		{pattern: "GET /api/admin/extension/vimServerReferences", handle: (*call).vimServers, provider: true},
		{pattern: "GET /api/admin/extension/vimServer/{id}", handle: (*call).vimServer, provider: true},
		{pattern: "GET /api/admin/extension/vimServer/{id}/vmsList", handle: (*call).vmsList, provider: true},
		{pattern: "POST /api/admin/extension/vimServer/{id}/importVmAsVApp", handle: (*call).importAsVApp, provider: true,
			takes: mediaAdmin + "importVmAsVAppParams"},
		{pattern: "POST /api/admin/extension/vimServer/{id}/importVmIntoExistingVApp", handle: (*call).importIntoVApp, provider: true,
			takes: mediaAdmin + "importVmIntoExistingVAppParams"},
		{pattern: "POST /api/admin/extension/vimServer/{id}/importVm", handle: (*call).importVM, provider: true,
			takes: mediaAdmin + "importVmParams"},
	}
}

func vappRoutes() []route {
	return []route{
		{pattern: "GET /api/vApp/{id}", handle: (*call).getVApp},
		{pattern: "PUT /api/vApp/{id}", handle: (*call).putVApp, takes: "?"},
		{pattern: "DELETE /api/vApp/{id}", handle: (*call).deleteVApp},
		{pattern: "GET /api/vApp/{id}/owner", handle: (*call).getOwner},
		{pattern: "PUT /api/vApp/{id}/owner", handle: (*call).putOwner, takes: mediaVCloud + "owner"},
		{pattern: "GET /api/vApp/{id}/controlAccess", handle: (*call).getAccess},
		{pattern: "POST /api/vApp/{id}/action/controlAccess", handle: (*call).setAccess, takes: mediaVCloud + "controlAccess", lenient: true},
		{pattern: "GET /api/vApp/{id}/metadata", handle: (*call).getMetadata},
		{pattern: "POST /api/vApp/{id}/metadata", handle: (*call).mergeMetadata, takes: mediaVCloud + "metadata"},
		{pattern: "GET /api/vApp/{id}/metadata/{key}", handle: (*call).getMetadataValue},
		{pattern: "PUT /api/vApp/{id}/metadata/{key}", handle: (*call).putMetadataValue, takes: mediaVCloud + "metadata.value"},
		{pattern: "DELETE /api/vApp/{id}/metadata/{key}", handle: (*call).deleteMetadata},
		{pattern: "GET /api/vApp/{id}/metadata/{domain}/{key}", handle: (*call).getMetadataValue},
		{pattern: "PUT /api/vApp/{id}/metadata/{domain}/{key}", handle: (*call).putMetadataValue, takes: mediaVCloud + "metadata.value"},
		{pattern: "DELETE /api/vApp/{id}/metadata/{domain}/{key}", handle: (*call).deleteMetadata},
	}
}

func sectionRoutes() []route {
	section := func(verb, name string, h handler) route {
		rt := route{pattern: verb + " /api/vApp/{id}/" + name, handle: h}
		if verb == "PUT" {
			rt.takes = mediaVCloud + name
		}
		return rt
	}
	return []route{
		section("GET", "leaseSettingsSection", vappPart((*call).leaseSection)),
		section("PUT", "leaseSettingsSection", (*call).putLease),
		section("GET", "startupSection", vappPart((*call).startupSection)),
		section("PUT", "startupSection", (*call).putStartup),
		section("GET", "networkSection", vappPart((*call).networkSection)),
		section("GET", "networkConfigSection", vappPart((*call).networkConfigSection)),
		section("PUT", "networkConfigSection", (*call).putNetworkConfig),
		section("GET", "productSections", (*call).getProducts),
		section("PUT", "productSections", (*call).putProducts),
		section("GET", "snapshotSection", (*call).getSnapshots),
		section("GET", "virtualHardwareSection", vmPart((*call).hardwareSection)),
		section("GET", "operatingSystemSection", vmPart((*call).osSection)),
		section("PUT", "operatingSystemSection", (*call).putOS),
		section("GET", "networkConnectionSection", vmPart((*call).connectionSection)),
		section("PUT", "networkConnectionSection", (*call).putConnections),
		section("GET", "guestCustomizationSection", vmPart((*call).guestSection)),
		section("PUT", "guestCustomizationSection", (*call).putGuest),
		section("GET", "runtimeInfoSection", vmPart((*call).runtimeSection)),
		section("GET", "vmSpecSection", vmPart((*call).specSection)),
		section("GET", "vmCapabilities", vmPart((*call).capabilities)),
		{pattern: "PUT /api/vApp/{id}/vmCapabilities", handle: (*call).putCapabilities, takes: mediaVCloud + "vmCapabilitiesSection"},
		{pattern: "GET /api/vApp/{id}/bootOptions", handle: vmPart((*call).bootOptions)},
		section("GET", "trustedPlatformModule", (*call).getTPM),
		section("GET", "guestcustomizationstatus", vmPart((*call).customizationStatus)),
		{pattern: "GET /api/vApp/{id}/virtualHardwareSection/{part}", handle: (*call).hardwareItems},
		{pattern: "GET /api/vApp/{id}/complianceResult", handle: vmPart((*call).compliance)},
	}
}

func actionRoutes() []route {
	post := func(path, takes string, h handler) route {
		rt := route{pattern: "POST /api/vApp/{id}/" + path, handle: h}
		if takes != "" {
			rt.takes = mediaVCloud + takes
		}
		return rt
	}
	routes := []route{
		post("action/enterMaintenanceMode", "", func(c *call) (*answer, error) { return c.maintenance(true) }),
		post("action/exitMaintenanceMode", "", func(c *call) (*answer, error) { return c.maintenance(false) }),
		post("action/reconfigureVm", "vm", (*call).reconfigureVM),
		{pattern: "POST /api/vApp/{id}/action/deploy", handle: (*call).deploy, takes: mediaVCloud + "deployVAppParams", lenient: true},
		post("action/undeploy", "undeployVAppParams", (*call).undeploy),
		post("action/discardSuspendedState", "", (*call).discardSuspended),
		post("action/createSnapshot", "createSnapshotParams", (*call).createSnapshot),
		post("action/removeAllSnapshots", "", (*call).removeSnapshots),
		post("action/revertToCurrentSnapshot", "", (*call).revertSnapshot),
		post("action/recomposeVApp", "recomposeVAppParams", (*call).recompose),
		post("action/consolidate", "", (*call).consolidate),
		post("action/customizeAtNextPowerOn", "", (*call).customizeNext),
		{pattern: "POST /api/vdc/{id}/action/composeVApp", handle: (*call).compose, takes: mediaVCloud + "composeVAppParams"},
	}
	for _, p := range []string{"powerOn", "powerOff", "shutdown", "suspend", "reset", "reboot"} {
		routes = append(routes, post("power/action/"+p, "", func(c *call) (*answer, error) { return c.power(p) }))
	}
	return routes
}

func cloudRoutes() []route {
	return []route{
		{pattern: "GET /cloudapi/1.0.0/orgs", handle: (*call).cloudOrgs},
	}
}
