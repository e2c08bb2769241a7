package director

// catalogRoutes are catalogs, their items and media.
func catalogRoutes() []route {
	all := []route{
		{pattern: "GET /api/catalog/{id}", handle: (*call).getCatalog},
		{pattern: "GET /api/admin/catalog/{id}", handle: (*call).getCatalog},
		{pattern: "GET /api/catalogItem/{id}", handle: (*call).getItem},
		{pattern: "GET /api/media/{id}", handle: (*call).getMedia},
		{pattern: "GET /api/catalogs/query", handle: func(c *call) (*answer, error) { return c.queryType("catalog") }},
		{pattern: "GET /api/catalogItems/query", handle: func(c *call) (*answer, error) { return c.queryType("catalogItem") }},
		{pattern: "GET /api/vAppTemplates/query", handle: func(c *call) (*answer, error) { return c.queryType("vAppTemplate") }},
		{pattern: "GET /api/mediaList/query", handle: func(c *call) (*answer, error) { return c.queryType("media") }},
		{pattern: "GET /api/admin/catalogs/query", handle: func(c *call) (*answer, error) { return c.queryType("adminCatalog") }},
	}
	for _, path := range []string{"catalog/{id}", "admin/catalog/{id}", "catalogItem/{id}", "media/{id}"} {
		all = append(all, metadataRoutes(path)...)
	}
	return all
}

// metadataRoutes are the metadata of the entity at a path.
func metadataRoutes(path string) []route {
	at := " /api/" + path + "/metadata"
	all := []route{
		{pattern: "GET" + at, handle: (*call).getMetadata},
		{pattern: "POST" + at, handle: (*call).mergeMetadata, takes: mediaVCloud + "metadata"},
	}
	for _, key := range []string{"/{key}", "/{domain}/{key}"} {
		all = append(all, route{pattern: "GET" + at + key, handle: (*call).getMetadataValue},
			route{pattern: "PUT" + at + key, handle: (*call).putMetadataValue, takes: mediaVCloud + "metadata.value"},
			route{pattern: "DELETE" + at + key, handle: (*call).deleteMetadata})
	}
	return all
}

// templateRoutes are vApp templates and what is made of them.
func templateRoutes() []route {
	section := func(name string, h handler) route {
		return route{pattern: "GET /api/vAppTemplate/{id}/" + name, handle: h}
	}
	return append(metadataRoutes("vAppTemplate/{id}"), []route{
		{pattern: "GET /api/vAppTemplate/{id}", handle: (*call).getTemplate},
		section("owner", (*call).getOwner),
		section("leaseSettingsSection", vappPart((*call).templateLease)),
		section("networkSection", vappPart((*call).networkSection)),
		section("networkConfigSection", vappPart((*call).networkConfigSection)),
		section("customizationSection", vappPart((*call).customizationSection)),
		section("productSections", (*call).getProducts),
		section("networkConnectionSection", vmPart((*call).connectionSection)),
		section("guestCustomizationSection", vmPart((*call).guestSection)),
		section("virtualHardwareSection", vmPart((*call).hardwareSection)),
		section("virtualHardwareSection/{part}", (*call).hardwareItems),
		section("operatingSystemSection", vmPart((*call).osSection)),
		section("vmSpecSection", vmPart((*call).specSection)),
		{pattern: "POST /api/vdc/{id}/action/instantiateVAppTemplate", handle: (*call).instantiateTemplate, takes: mediaVCloud + "instantiateVAppTemplateParams"},
	}...)
}

var catalogGrammar = map[string]string{
	"InstantiateVAppTemplateParams": "VCloudExtension*=any Description?=s VAppParent?=Reference InstantiationParams?=InstantiationParams " +
		"Source=Reference IsSourceDelete?=b SourcedVmInstantiationParams*=SourcedVmInstantiationParams SourcedItem*=SourcedItem AllEULAsAccepted?=b",
	"SourcedVmInstantiationParams": "VCloudExtension*=any Source=Reference StorageProfile?=Reference LocalityParams?=any HardwareCustomization?=any " +
		"ComputePolicy^=any",
}
