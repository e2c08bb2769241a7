package director

import (
	"encoding/json"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// systemRoutes are the installation itself: its settings, cells, sites, the
// audit trail, the resolver of ids.
func systemRoutes() []route {
	routes := []route{
		{pattern: "GET /api/entity/{id}", handle: (*call).resolve},
		{pattern: "GET /api/admin/extension/settings", handle: (*call).systemSettings, provider: true},
		{pattern: "GET /api/admin/extension/settings/{part}", handle: (*call).systemSettingsPart, provider: true},
		{pattern: "GET /cloudapi/1.0.0/site", handle: (*call).site, provider: true},
		{pattern: "GET /cloudapi/1.0.0/site/settings", handle: (*call).siteSettings, provider: true},
		{pattern: "GET /cloudapi/1.0.0/siteAssociations", handle: empty, provider: true},
		{pattern: "GET /cloudapi/1.0.0/cells", handle: (*call).cells, provider: true},
		{pattern: "GET /cloudapi/1.0.0/ssl/settings", handle: (*call).sslSettings, provider: true},
		{pattern: "GET /cloudapi/1.0.0/ssl/trustedCertificates", handle: empty},
		{pattern: "GET /cloudapi/1.0.0/auditTrail", handle: (*call).auditTrail},
		{pattern: "GET /cloudapi/1.0.0/auditTrail/{id}", handle: (*call).auditEvent},
		{pattern: "POST /cloudapi/1.0.0/testConnection", handle: (*call).testConnection, takes: "application/json"},
	}
	for _, action := range []string{"POST /api/task/{id}/action/fail", "POST /api/task/{id}/action/abort", "POST /api/task/{id}/action/resume"} {
		routes = append(routes, route{pattern: action, handle: (*call).blockingTask, provider: true})
	}
	return routes
}

func empty(c *call) (*answer, error) { return c.list(nil) }

// adminLinks are the links of /api/admin.
func (c *call) adminLinks(d *node) {
	if c.provider() {
		add(d, link("add", c.s.href("/api/admin/orgs"), mediaAdmin+"organization+xml"), link("down", c.s.href("/api/admin/extension"), mediaAdmin+"vmwExtension+xml"))
	}
	add(d, link("down", c.s.href("/api/query?type=event&format=records"), mediaVCloud+"query.records+xml"),
		link("down", c.s.href("/api/query?type=user&format=records"), mediaVCloud+"query.records+xml"))
}

// extensionLinks are the links of /api/admin/extension that this area serves.
func (c *call) extensionLinks(d *node) {
	href := c.s.href("/api/admin/extension")
	add(d, link("down", href+"/settings", mediaAdmin+"systemSettings+xml"))
	for _, typ := range []string{"virtualCenter", "datastore", "adminTask", "adminUser", "cell"} {
		add(d, link("down", c.s.href("/api/query?type="+typ+"&format=records"), mediaVCloud+"query.records+xml"))
	}
}

// blockingTask refuses what only tasks that wait for the provider can be told:
// there are no blocking tasks.
func (c *call) blockingTask() (*answer, error) {
	t, err := c.theTask()
	if err != nil {
		return nil, err
	}
	return nil, invalidState("The task %s is not a blocking task.", t.id)
}

// systemParts are the system's settings that are served, each by its path.
func (c *call) systemPart(part string) (string, *node) {
	href := c.s.href("/api/admin/extension/settings/" + part)
	switch part {
	case "general":
		return "systemGeneralSettings", c.systemGeneral(el("vmext:GeneralSettings", "href", href, "type", mediaAdmin+"systemGeneralSettings+xml"))
	case "catalog":
		return "catalogSettings", add(el("vmext:CatalogSettings", "href", href, "type", mediaAdmin+"catalogSettings+xml"),
			boolean("vmext:isSyncEnabled", false))
	case "passwordPolicy":
		p := c.s.systemOrg().settings.password
		return "systemPasswordPolicySettings", add(el("vmext:SystemPasswordPolicySettings", "href", href, "type", mediaAdmin+"systemPasswordPolicySettings+xml"),
			boolean("vmext:AccountLockoutEnabled", p.lockout), boolean("vmext:AdminAccountLockoutEnabled", p.lockout),
			number("vmext:InvalidLoginsBeforeLockout", p.attempts), number("vmext:AccountLockoutIntervalMinutes", p.minutes))
	case "notifications":
		return "notificationsSettings", add(el("vmext:NotificationsSettings", "href", href, "type", mediaAdmin+"notificationsSettings+xml"),
			boolean("vmext:EnableNotifications", false))
	}
	return "", nil
}

// systemGeneral fills in the general settings, in the schema's order.
func (c *call) systemGeneral(d *node) *node {
	cfg := c.s.cfg
	return add(d, number("vmext:AbsoluteSessionTimeoutMinutes", int(cfg.SessionLifetime.Minutes())), number("vmext:ActivityLogDisplayDays", 30),
		number("vmext:ActivityLogKeepDays", 60), boolean("vmext:AllowOverlappingExtNets", false), number("vmext:ChargebackEventsKeepDays", 365),
		number("vmext:HostCheckDelayInSeconds", 300), number("vmext:HostCheckTimeoutSeconds", 30), number("vmext:InstallationId", 1),
		number("vmext:IpReservationTimeoutSeconds", 0), boolean("vmext:LoginNameOnly", false), boolean("vmext:PrePopDefaultName", true),
		boolean("vmext:QuarantineEnabled", false), number("vmext:QuarantineResponseTimeoutSeconds", 3600), text("vmext:RestApiBaseUri", c.s.base),
		number("vmext:SessionTimeoutMinutes", int(cfg.SessionTimeout.Minutes())), boolean("vmext:ShowStackTraces", false),
		text("vmext:SyncStartDate", stamp(buildTime)), number("vmext:SyncIntervalInHours", 24), number("vmext:TransferSessionTimeoutSeconds", 3600),
		boolean("vmext:VerifyVcCertificates", true), boolean("vmext:VmDiscoveryEnabled", cfg.DiscoveryInterval > 0))
}

func (c *call) systemSettings() (*answer, error) {
	href := c.s.href("/api/admin/extension/settings")
	d := el("vmext:SystemSettings", "href", href, "type", mediaAdmin+"systemSettings+xml")
	parts := []string{"general", "notifications", "passwordPolicy", "catalog"}
	var docs []*node
	for _, p := range parts {
		typ, doc := c.systemPart(p)
		add(d, link("down", href+"/"+p, mediaAdmin+typ+"+xml"))
		if p == "passwordPolicy" {
			doc.Tag = "PasswordPolicySettings"
		}
		docs = append(docs, doc)
	}
	return ok(mediaAdmin+"systemSettings", add(d, docs...)), nil
}

func (c *call) systemSettingsPart() (*answer, error) {
	typ, doc := c.systemPart(c.path("part"))
	if doc == nil {
		return nil, notFound("There are no system settings %s.", c.path("part"))
	}
	return ok(mediaAdmin+typ, doc), nil
}

// site is the installation.
func (c *call) site() (*answer, error) {
	return asJSON(map[string]any{"id": c.s.siteURN(), "name": c.s.siteName(), "description": "", "restEndpoint": c.s.base + "/api",
		"baseUiEndpoint": c.s.base, "multiSiteUrl": c.s.base, "productVersion": buildVersion}), nil
}

func (c *call) siteSettings() (*answer, error) {
	return asJSON(map[string]any{"restApiBaseUri": c.s.base, "tenantPortalExternalAddress": c.s.base,
		"sessionTimeoutMinutes": int(c.s.cfg.SessionTimeout.Minutes()), "absoluteSessionTimeoutMinutes": int(c.s.cfg.SessionLifetime.Minutes())}), nil
}

func (c *call) cells() (*answer, error) {
	return c.list([]any{map[string]any{"id": "urn:vcloud:cell:" + cellID, "name": c.s.siteName(), "primaryIp": c.s.URL().Hostname(), "version": buildVersion,
		"buildDate": auditTime(buildTime), "isActive": true, "cellType": "FULL_CELL"}})
}

func (c *call) sslSettings() (*answer, error) {
	return asJSON(map[string]any{"certificateValidationMode": "CERTIFICATES"}), nil
}

// testConnection tells whether a host can be reached. Nothing is dialled: this
// server and the vCenters can be reached, nothing else can.
func (c *call) testConnection() (*answer, error) {
	var body struct {
		Host   string
		Port   int
		Secure bool
	}
	if err := json.Unmarshal(c.body, &body); err != nil || body.Host == "" || body.Port < 1 || body.Port > 65535 {
		return nil, badRequest("The body does not name a host and a port.")
	}
	reachable := []*url.URL{c.s.URL()}
	for _, vc := range c.s.vcenters {
		if u, err := url.Parse(vc.cfg.URL); err == nil {
			reachable = append(reachable, u)
		}
	}
	probe := map[string]any{"result": "cannot resolve the host", "resolvedIp": nil, "canConnect": false, "sslHandshake": false,
		"connectionResult": "ERROR_CANNOT_RESOLVE_IP", "sslResult": nil, "certificateChain": nil}
	for _, u := range reachable {
		if !strings.EqualFold(u.Hostname(), body.Host) {
			continue
		}
		probe["connectionResult"], probe["result"] = "ERROR_CANNOT_CONNECT", "cannot connect"
		if net.ParseIP(body.Host) != nil {
			probe["resolvedIp"] = body.Host
		}
		if port := or(u.Port(), "443"); port == strconv.Itoa(body.Port) {
			probe["connectionResult"], probe["result"], probe["canConnect"] = "SUCCESS", "success", true
			if probe["sslHandshake"] = body.Secure; body.Secure {
				probe["sslResult"] = "SUCCESS"
			}
			break
		}
	}
	return asJSON(map[string]any{"targetProbe": probe, "proxyProbe": nil}), nil
}
