package director

// catalogRoutes are catalogs, their items and media.
func catalogRoutes() []route {
	all := []route{
		{pattern: "GET /api/catalog/{id}", handle: (*call).getCatalog},
		{pattern: "GET /api/admin/catalog/{id}", handle: (*call).getCatalog},
		{pattern: "GET /api/catalogItem/{id}", handle: (*call).getItem},
		{pattern: "GET /api/media/{id}", handle: (*call).getMedia},
		{pattern: "POST /api/admin/org/{id}/catalogs", handle: (*call).createCatalog, takes: mediaAdmin + "catalog"},
		{pattern: "GET /api/org/{id}/catalog/{catalog}/controlAccess", handle: (*call).getCatalogAccess},
		{pattern: "POST /api/org/{id}/catalog/{catalog}/action/controlAccess", handle: (*call).setCatalogAccess, takes: mediaVCloud + "controlAccess", lenient: true},
		{pattern: "POST /api/catalog/{id}/action/upload", handle: (*call).uploadToCatalog, takes: "?"},
		{pattern: "POST /api/vdc/{id}/action/uploadVAppTemplate", handle: (*call).uploadTemplateToVDC, takes: mediaVCloud + "uploadVAppTemplateParams"},
		{pattern: "POST /api/vdc/{id}/media", handle: (*call).uploadMediaToVDC, takes: mediaVCloud + "media"},
		{pattern: "POST /api/catalog/{id}/catalogItems", handle: (*call).createItem, takes: mediaVCloud + "catalogItem"},
		{pattern: "POST /api/catalog/{id}/action/copy", handle: func(c *call) (*answer, error) { return c.copyItem(false) },
			takes: mediaVCloud + "copyOrMoveCatalogItemParams"},
		{pattern: "POST /api/catalog/{id}/action/move", handle: func(c *call) (*answer, error) { return c.copyItem(true) },
			takes: mediaVCloud + "copyOrMoveCatalogItemParams"},
		{pattern: "POST /api/catalog/{id}/action/captureVApp", handle: (*call).captureInCatalog, takes: mediaVCloud + "captureVAppParams"},
		{pattern: "POST /api/catalog/{id}/action/sync", handle: (*call).syncCatalog},
		{pattern: "POST /api/catalogItem/{id}/action/sync", handle: (*call).syncItem},
		{pattern: "POST /api/admin/catalog/{id}/action/subscribeToExternalCatalog", handle: (*call).subscribe,
			takes: mediaAdmin + "externalCatalogSubscriptionParams"},
		{pattern: "PUT /api/catalogItem/{id}", handle: (*call).putItem, takes: mediaVCloud + "catalogItem"},
		{pattern: "DELETE /api/catalogItem/{id}", handle: (*call).deleteItem},
		{pattern: "PUT /api/media/{id}", handle: (*call).putMedia, takes: mediaVCloud + "media"},
		{pattern: "DELETE /api/media/{id}", handle: (*call).deleteMedia},
		{pattern: "POST /api/media/{id}/action/enableDownload", handle: (*call).enableMedia},
		{pattern: "POST /api/media/{id}/action/disableDownload", handle: (*call).disableMedia},
		{pattern: "GET /api/media/{id}/owner", handle: (*call).getMediaOwner},
		{pattern: "PUT /api/media/{id}/owner", handle: (*call).putMediaOwner, takes: mediaVCloud + "owner"},
		{pattern: "GET /api/catalogs/query", handle: func(c *call) (*answer, error) { return c.queryType("catalog") }},
		{pattern: "GET /api/catalogItems/query", handle: func(c *call) (*answer, error) { return c.queryType("catalogItem") }},
		{pattern: "GET /api/vAppTemplates/query", handle: func(c *call) (*answer, error) { return c.queryType("vAppTemplate") }},
		{pattern: "GET /api/mediaList/query", handle: func(c *call) (*answer, error) { return c.queryType("media") }},
		{pattern: "GET /api/admin/catalogs/query", handle: func(c *call) (*answer, error) { return c.queryType("adminCatalog") }},
	}
	for _, at := range []string{"/api/catalog/{id}", "/api/admin/catalog/{id}"} {
		all = append(all, route{pattern: "PUT " + at, handle: (*call).putCatalog, takes: "?"},
			route{pattern: "DELETE " + at, handle: (*call).deleteCatalog},
			route{pattern: "GET " + at + "/owner", handle: (*call).getCatalogOwner},
			route{pattern: "PUT " + at + "/owner", handle: (*call).putCatalogOwner, takes: mediaVCloud + "owner"},
			route{pattern: "GET " + at + "/controlAccess", handle: (*call).getCatalogAccess},
			route{pattern: "POST " + at + "/action/controlAccess", handle: (*call).setCatalogAccess, takes: mediaVCloud + "controlAccess", lenient: true},
			route{pattern: "POST " + at + "/action/publish", handle: (*call).publishCatalog, takes: mediaAdmin + "publishCatalogParams"},
			route{pattern: "POST " + at + "/action/publishToExternalOrganizations", handle: (*call).publishExternally, takes: mediaAdmin + "publishExternalCatalogParams"})
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
	put := func(name, typ string, h handler) route {
		return route{pattern: "PUT /api/vAppTemplate/{id}/" + name, handle: h, takes: mediaVCloud + typ}
	}
	all := metadataRoutes("vAppTemplate/{id}")
	for _, at := range []string{"/api/vApp/{id}", "/api/vAppTemplate/{id}"} {
		all = append(all, route{pattern: "GET " + at + "/ovf", handle: (*call).getOVF},
			route{pattern: "POST " + at + "/action/enableDownload", handle: (*call).enableDownload},
			route{pattern: "POST " + at + "/action/disableDownload", handle: (*call).disableDownload})
	}
	return append(all, []route{
		{pattern: "GET /api/vAppTemplate/{id}", handle: (*call).getTemplate},
		{pattern: "PUT /api/vAppTemplate/{id}", handle: (*call).putTemplate, takes: mediaVCloud + "vAppTemplate"},
		{pattern: "DELETE /api/vAppTemplate/{id}", handle: (*call).deleteTemplate},
		put("owner", "owner", (*call).putOwner),
		put("leaseSettingsSection", "leaseSettingsSection", (*call).putTemplateLease),
		put("customizationSection", "customizationSection", (*call).putCustomization),
		put("guestCustomizationSection", "guestCustomizationSection", (*call).putGuest),
		put("productSections", "productSections", (*call).putProducts),
		{pattern: "POST /api/vAppTemplate/{id}/action/consolidate", handle: (*call).consolidate},
		{pattern: "POST /api/vdc/{id}/action/captureVApp", handle: (*call).captureInVDC, takes: mediaVCloud + "captureVAppParams"},
		{pattern: "POST /api/vdc/{id}/action/cloneVApp", handle: (*call).cloneVApp, takes: mediaVCloud + "cloneVAppParams"},
		{pattern: "POST /api/vdc/{id}/action/cloneVAppTemplate", handle: (*call).cloneTemplate, takes: mediaVCloud + "cloneVAppTemplateParams"},
		{pattern: "POST /api/vdc/{id}/action/cloneMedia", handle: (*call).cloneMedia, takes: mediaVCloud + "cloneMediaParams"},
		{pattern: "GET /api/vAppTemplate/{id}/shadowVms", handle: (*call).getShadows, provider: true},
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
	"AdminCatalog": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Owner^=any CatalogItems^=any IsPublished^=b DateCreated^=d " +
		"VersionNumber^=l CatalogStorageProfiles^=CatalogStorageProfiles ExternalCatalogSubscriptionParams^=ExternalCatalogSubscriptionParams PublishExternalCatalogParams^=any",
	"Catalog":                           "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Owner?=any CatalogItems?=any IsPublished?=b DateCreated?=d VersionNumber?=l",
	"CatalogStorageProfiles":            "VCloudExtension*=any VdcStorageProfile*=Reference",
	"ExternalCatalogSubscriptionParams": "VCloudExtension*=any SubscribeToExternalFeeds^=b Location^=s Password^=s ExpectedSslThumbprint^=s LocalCopy^=b LibraryId^=s",
	"PublishCatalogParams":              "VCloudExtension*=any IsPublished=b",
	"PublishExternalCatalogParams": "VCloudExtension*=any IsCacheEnabled^=b IsPublishedExternally^=b Password^=s PreserveIdentityInfoFlag^=b " +
		"catalogPublishedUrl^=s",
	"CatalogItem":                 "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Entity=Reference Property*=any DateCreated?=d VersionNumber?=l",
	"CopyOrMoveCatalogItemParams": "VCloudExtension*=any Description?=s Source=Reference",
	"VAppTemplate": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Files?=any Owner?=any Children?=any ~Section VAppScopedLocalId?=s " +
		"DefaultStorageProfile?=s DateCreated?=d",
	"CustomizationSection": "o:Info=s CustomizeOnInstantiate=b Link*=any ...",
	"CaptureVAppParams": "VCloudExtension*=any Description?=s Source=Reference ~Section VdcStorageProfile?=Reference TargetCatalogItem?=Reference " +
		"CopyTpmOnInstantiate^=b",
	"CloneVAppParams": "VCloudExtension*=any Description?=s VAppParent?=Reference InstantiationParams?=InstantiationParams " +
		"Source=Reference IsSourceDelete?=b SourcedVmInstantiationParams*=SourcedVmInstantiationParams SourcedItem*=SourcedItem",
	"CloneVAppTemplateParams":  "@name VCloudExtension*=any Description?=s Source=Reference IsSourceDelete?=b VdcStorageProfile?=Reference",
	"CloneMediaParams":         "@name VCloudExtension*=any Description?=s Source=Reference IsSourceDelete?=b VdcStorageProfile?=Reference",
	"Media":                    "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Files?=any Owner?=any VdcStorageProfile?=Reference",
	"UploadVAppTemplateParams": "@name VCloudExtension*=any Description?=s VdcStorageProfile?=Reference",
	"InstantiateVAppTemplateParams": "VCloudExtension*=any Description?=s VAppParent?=Reference InstantiationParams?=InstantiationParams " +
		"Source=Reference IsSourceDelete?=b SourcedVmInstantiationParams*=SourcedVmInstantiationParams SourcedItem*=SourcedItem AllEULAsAccepted?=b",
	"SourcedVmInstantiationParams": "VCloudExtension*=any Source=Reference StorageProfile?=Reference LocalityParams?=any HardwareCustomization?=any " +
		"ComputePolicy^=any",
}
