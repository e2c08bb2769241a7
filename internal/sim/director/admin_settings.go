package director

import (
	"net/http"
	"slices"
)

// orgSettings are the settings of an organization beyond its quotas and leases.
type orgSettings struct {
	canPublish, publishExternally, subscribe bool
	bootSequence                             bool
	delay                                    int // seconds after power-on
	vdcQuota                                 int // 0 is no limit
	templateSeconds                          int
	templateDelete                           bool
	password                                 passwordPolicy
	limits                                   operationLimits
	email, ldap, federation, guest           *node // as they were written; nil: never
}

// A passwordPolicy says when an account is locked.
type passwordPolicy struct {
	lockout           bool
	attempts, minutes int
}

// operationLimits are numbers; 0 is no limit.
type operationLimits struct{ consoles, perUser, perOrg, queuedPerUser, queuedPerOrg, snapshots int }

// defaultSettings are those of a new organization.
func (s *Server) defaultSettings() orgSettings {
	return orgSettings{templateSeconds: 90 * 86400, password: passwordPolicy{attempts: 5, minutes: 10}, limits: operationLimits{snapshots: s.cfg.SnapshotsPerVM}}
}

// settingsPart is a part of an organization's settings.
type settingsPart struct {
	path  string // below /settings
	tag   string // within OrgSettings; "" for a part that is not in it
	root  string // of the part's own document
	typ   string // media type
	typed string // name in the grammar
	write func(o *org, d *node) error
	fill  func(s *Server, o *org, d *node)
}

// settingsParts are the parts in the schema's order.
func settingsParts() []settingsPart {
	return []settingsPart{
		{path: "general", tag: "OrgGeneralSettings", root: "GeneralOrgSettings", typ: "organizationGeneralSettings", typed: "OrgGeneralSettings", write: writeGeneral, fill: fillGeneral},
		{path: "vAppLeaseSettings", tag: "VAppLeaseSettings", root: "VAppLeaseSettings", typ: "vAppLeaseSettings", write: writeLease, fill: fillLease},
		{path: "vAppTemplateLeaseSettings", tag: "VAppTemplateLeaseSettings", root: "OrgVAppTemplateLeaseSettings", typ: "vAppTemplateLeaseSettings", typed: "VAppTemplateLeaseSettings",
			write: writeTemplateLease, fill: fillTemplateLease},
		{path: "ldap", tag: "OrgLdapSettings", root: "OrgLdapSettings", typ: "organizationLdapSettings", write: writeLdap, fill: fillLdap},
		{path: "email", tag: "OrgEmailSettings", root: "OrgEmailSettings", typ: "organizationEmailSettings", write: writeEmail, fill: fillEmail},
		{path: "passwordPolicy", tag: "OrgPasswordPolicySettings", root: "OrgPasswordPolicySettings", typ: "organizationPasswordPolicySettings",
			write: writePassword, fill: fillPassword},
		{path: "operationLimitsSettings", tag: "OrgOperationLimitsSettings", root: "OrgOperationLimitsSettings", typ: "operationLimitsSettings",
			write: writeLimits, fill: fillLimits},
		{path: "federation", tag: "OrgFederationSettings", root: "OrgFederationSettings", typ: "organizationFederationSettings",
			write: writeFederation, fill: fillFederation},
		{path: "guestPersonalizationSettings", root: "OrgGuestPersonalizationSettings", typ: "guestPersonalizationSettings", write: writeGuest, fill: fillGuest},
	}
}

func (p settingsPart) href(s *Server, o *org) string {
	return s.href("/api/admin/org/" + o.id + "/settings/" + p.path)
}

// doc is a part under the name of an element.
func (p settingsPart) doc(c *call, tag string, o *org) *node {
	href := p.href(c.s, o)
	d := el(tag, "href", href, "type", mediaAdmin+p.typ+"+xml")
	if c.hasAny(neededFor(http.MethodPut, "/api/admin/org/"+o.id+"/settings/"+p.path)...) {
		add(d, link("edit", href, mediaAdmin+p.typ+"+xml"))
	}
	p.fill(c.s, o, d)
	return d
}

// settingsDoc is the OrgSettings of an organization.
func (c *call) settingsDoc(tag string, o *org) *node {
	d := el(tag, "href", c.s.href("/api/admin/org/"+o.id+"/settings"), "type", mediaAdmin+"orgSettings+xml")
	for _, p := range settingsParts() {
		add(d, link("down", p.href(c.s, o), mediaAdmin+p.typ+"+xml"))
	}
	for _, p := range settingsParts() {
		if p.tag != "" {
			add(d, p.doc(c, p.tag, o))
		}
	}
	return d
}

// theAdminOrg is the organization of the path, if the caller administers it.
func (c *call) theAdminOrg() (*org, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(o.id) {
		return nil, noRight("Organization: View", o.id)
	}
	return o, nil
}

// orgSettings answers with the settings, or one part of them.
func (c *call) orgSettings(part string) (*answer, error) {
	o, err := c.theAdminOrg()
	if err != nil {
		return nil, err
	}
	if part == "" {
		return ok(mediaAdmin+"orgSettings", c.settingsDoc("OrgSettings", o)), nil
	}
	i := slices.IndexFunc(settingsParts(), func(p settingsPart) bool { return p.path == part })
	if i < 0 {
		return nil, notFound("There are no settings %s.", part)
	}
	p := settingsParts()[i]
	return ok(mediaAdmin+p.typ, p.doc(c, p.root, o)), nil
}

// putSettings writes one part.
func (c *call) putSettings() (*answer, error) {
	o, err := c.theAdminOrg()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(settingsParts(), func(p settingsPart) bool { return p.path == c.path("part") })
	if i < 0 {
		return nil, notFound("There are no settings %s.", c.path("part"))
	}
	p := settingsParts()[i]
	if err := c.checkType(route{takes: mediaAdmin + p.typ}); err != nil {
		return nil, err
	}
	d, err := c.parseAs(nsVCloud, or(p.typed, p.root), p.root, p.tag)
	if err != nil {
		return nil, err
	}
	changed := *o
	if err := p.write(&changed, d); err != nil {
		return nil, err
	}
	if err := c.quotaAllowed(o, &changed); err != nil {
		return nil, err
	}
	*o = changed
	c.record("org/modify", "SUCCESS", eventOn{"org", o.id, o.name})
	return ok(mediaAdmin+p.typ, p.doc(c, p.root, o)), nil
}

// quotaAllowed refuses a tenant who changes what only the provider may: quotas
// and whether catalogs may be published.
func (c *call) quotaAllowed(was, is *org) error {
	if was.deployedQuota != is.deployedQuota || was.stored != is.stored || was.settings.vdcQuota != is.settings.vdcQuota {
		if !c.has("Organization: Edit Quotas Policy") {
			return noRight("Organization: Edit Quotas Policy", is.id)
		}
	}
	a, b := was.settings, is.settings
	if (a.canPublish != b.canPublish || a.publishExternally != b.publishExternally || a.subscribe != b.subscribe) && !c.provider() {
		return noRight("Organization: Edit Limits", is.id)
	}
	return nil
}

// applySettings writes the parts that a Settings element holds.
func applySettings(o *org, d *node) error {
	for _, p := range settingsParts() {
		if p.tag == "" || p.path == "federation" {
			continue
		}
		if part := child(d, p.tag); part != nil {
			if err := p.write(o, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// setInt and setBool write what is there and leave the rest as it was.
func setInt(to *int, d *node, tag string) error {
	if child(d, tag) == nil {
		return nil
	}
	n := atoi(value(d, tag))
	if n < 0 {
		return badRequest("%s cannot be negative.", tag)
	}
	*to = n
	return nil
}

func setBool(to *bool, d *node, tag string) {
	if child(d, tag) != nil {
		*to = truth(value(d, tag))
	}
}

// firstError is the first error of several.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// writeGeneral replaces the general settings: what is absent is off, as in vCD.
func writeGeneral(o *org, d *node) error {
	g := &o.settings
	g.canPublish, g.publishExternally, g.subscribe = truth(value(d, "CanPublishCatalogs")), truth(value(d, "CanPublishExternally")), truth(value(d, "CanSubscribe"))
	g.bootSequence = truth(value(d, "UseServerBootSequence"))
	o.deployedQuota, o.stored, g.delay = 0, 0, 0
	o.discovery = value(d, "VmDiscoveryEnabled")
	if child(d, "VdcQuota") != nil {
		g.vdcQuota = max(0, atoi(value(d, "VdcQuota")))
	}
	return firstError(setInt(&o.deployedQuota, d, "DeployedVMQuota"), setInt(&o.stored, d, "StoredVmQuota"), setInt(&g.delay, d, "DelayAfterPowerOnSeconds"))
}

func fillGeneral(_ *Server, o *org, d *node) {
	g := o.settings
	add(d, boolean("CanPublishCatalogs", g.canPublish), boolean("CanPublishExternally", g.publishExternally), boolean("CanSubscribe", g.subscribe),
		number("DeployedVMQuota", o.deployedQuota), number("StoredVmQuota", o.stored), boolean("UseServerBootSequence", g.bootSequence),
		number("DelayAfterPowerOnSeconds", g.delay), number("VdcQuota", g.vdcQuota), opt("VmDiscoveryEnabled", o.discovery))
}

func writeLease(o *org, d *node) error {
	l := &o.lease
	setBool(&l.DeleteOnStorageExpiration, d, "DeleteOnStorageLeaseExpiration")
	setBool(&l.PowerOffOnExpiration, d, "PowerOffOnRuntimeLeaseExpiration")
	return firstError(setInt(&l.DeploymentSeconds, d, "DeploymentLeaseSeconds"), setInt(&l.StorageSeconds, d, "StorageLeaseSeconds"))
}

func fillLease(_ *Server, o *org, d *node) {
	add(d, boolean("DeleteOnStorageLeaseExpiration", o.lease.DeleteOnStorageExpiration),
		number("DeploymentLeaseSeconds", o.lease.DeploymentSeconds), number("StorageLeaseSeconds", o.lease.StorageSeconds),
		boolean("PowerOffOnRuntimeLeaseExpiration", o.lease.PowerOffOnExpiration))
}

func writeTemplateLease(o *org, d *node) error {
	setBool(&o.settings.templateDelete, d, "DeleteOnStorageLeaseExpiration")
	return setInt(&o.settings.templateSeconds, d, "StorageLeaseSeconds")
}

func fillTemplateLease(_ *Server, o *org, d *node) {
	add(d, boolean("DeleteOnStorageLeaseExpiration", o.settings.templateDelete), number("StorageLeaseSeconds", o.settings.templateSeconds))
}

func writePassword(o *org, d *node) error {
	p := passwordPolicy{truth(value(d, "AccountLockoutEnabled")), atoi(value(d, "InvalidLoginsBeforeLockout")), atoi(value(d, "AccountLockoutIntervalMinutes"))}
	if p.attempts < 1 || p.minutes < 1 {
		return badRequest("The numbers of a password policy must be positive.")
	}
	o.settings.password = p
	return nil
}

func fillPassword(_ *Server, o *org, d *node) {
	p := o.settings.password
	add(d, boolean("AccountLockoutEnabled", p.lockout), number("InvalidLoginsBeforeLockout", p.attempts), number("AccountLockoutIntervalMinutes", p.minutes))
}

func writeLimits(o *org, d *node) error {
	l := &o.settings.limits
	if n := atoi(value(d, "SnapshotsPerVmLimit")); n > 32 {
		return badRequest("SnapshotsPerVmLimit can be 32 at most.")
	}
	return firstError(setInt(&l.consoles, d, "ConsolesPerVmLimit"), setInt(&l.perUser, d, "OperationsPerUser"), setInt(&l.perOrg, d, "OperationsPerOrg"),
		setInt(&l.queuedPerUser, d, "QueuedOperationsPerUser"), setInt(&l.queuedPerOrg, d, "QueuedOperationsPerOrg"),
		setInt(&l.snapshots, d, "SnapshotsPerVmLimit"))
}

func fillLimits(_ *Server, o *org, d *node) {
	l := o.settings.limits
	add(d, number("ConsolesPerVmLimit", l.consoles), number("OperationsPerUser", l.perUser), number("OperationsPerOrg", l.perOrg),
		number("QueuedOperationsPerUser", l.queuedPerUser), number("QueuedOperationsPerOrg", l.queuedPerOrg), number("SnapshotsPerVmLimit", l.snapshots))
}
