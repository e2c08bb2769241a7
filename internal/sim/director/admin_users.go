package director

import (
	"net/http"
	"regexp"
	"strings"
	"time"
)

// A userGroup is a group of an identity provider's that has a role.
type userGroup struct {
	thing
	org      string // id
	role     string
	provider string
}

// userRoutes are users and groups.
func userRoutes() []route {
	return []route{
		{pattern: "POST /api/admin/org/{id}/users", handle: (*call).createUser, takes: mediaAdmin + "user"},
		{pattern: "GET /api/admin/user/{id}", handle: (*call).getUser},
		{pattern: "PUT /api/admin/user/{id}", handle: (*call).putUser, takes: mediaAdmin + "user"},
		{pattern: "DELETE /api/admin/user/{id}", handle: (*call).deleteUser},
		{pattern: "POST /api/admin/user/{id}/action/unlock", handle: (*call).unlockUser},
		{pattern: "POST /api/admin/user/{id}/action/takeOwnership", handle: (*call).takeOwnership},
		{pattern: "POST /api/admin/org/{id}/groups", handle: (*call).createGroup, takes: mediaAdmin + "group"},
		{pattern: "GET /api/admin/group/{id}", handle: (*call).getGroup},
		{pattern: "PUT /api/admin/group/{id}", handle: (*call).putGroup, takes: mediaAdmin + "group"},
		{pattern: "DELETE /api/admin/group/{id}", handle: (*call).deleteGroup},

		{pattern: "GET /api/admin/role/{id}", handle: (*call).getRole},
		{pattern: "PUT /api/admin/role/{id}", handle: (*call).putRole, takes: mediaAdmin + "role"},
		{pattern: "DELETE /api/admin/role/{id}", handle: (*call).deleteRole},
		{pattern: "GET /api/admin/right/{id}", handle: (*call).rightDoc},
		{pattern: "GET /api/admin/org/{id}/roles", handle: (*call).orgRoles},
		{pattern: "POST /api/admin/org/{id}/roles", handle: (*call).postRole, takes: mediaAdmin + "role"},
		{pattern: "GET /api/admin/org/{id}/rights", handle: (*call).orgRightsDoc},
	}
}

// adminGrammar are the bodies of this area.
var adminGrammar = map[string]string{
	"User": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any FullName?=s EmailAddress?=s Telephone?=s IsEnabled?=b IsLocked?=b " +
		"IM?=s NameInSource?=s IsAlertEnabled?=b AlertEmailPrefix?=s AlertEmail?=s IsExternal?=b ProviderType?=s IsDefaultCached?=b IsGroupRole?=b " +
		"StoredVmQuota?=i DeployedVmQuota?=i Role?=Reference Password?=s GroupReferences?=any",
	"Group": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any NameInSource?=s UsersList?=any ProviderType?=s Role?=Reference",
	"Role":  "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any RightReferences?=RightReferences",

	"RightReferences": "VCloudExtension*=any RightReference*=Reference",

	"AdminOrg": "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any FullName=s IsEnabled?=b Settings=OrgSettings Users?=any Groups?=any " +
		"Catalogs?=any Vdcs?=any VdcTemplates?=any Networks?=any OrgAssociations?=any RightReferences?=any RoleReferences?=any RoleTemplateReferences?=any",
	"OrgSettings": "VCloudExtension*=any Link*=any OrgGeneralSettings?=OrgGeneralSettings VAppLeaseSettings?=VAppLeaseSettings " +
		"VAppTemplateLeaseSettings?=VAppTemplateLeaseSettings OrgLdapSettings?=OrgLdapSettings OrgEmailSettings?=OrgEmailSettings " +
		"OrgPasswordPolicySettings?=OrgPasswordPolicySettings OrgOperationLimitsSettings?=OrgOperationLimitsSettings OrgFederationSettings?=any " +
		"OrgOAuthSettings?=any",
	"OrgGeneralSettings": "VCloudExtension*=any Link*=any CanPublishCatalogs?=b CanPublishExternally?=b CanSubscribe?=b DeployedVMQuota?=i " +
		"StoredVmQuota?=i UseServerBootSequence?=b DelayAfterPowerOnSeconds?=i VdcQuota?=i VmDiscoveryEnabled?=b CanPublishToManagedOrgs^=b",
	"VAppLeaseSettings": "VCloudExtension*=any Link*=any DeleteOnStorageLeaseExpiration?=b DeploymentLeaseSeconds?=i StorageLeaseSeconds?=i " +
		"PowerOffOnRuntimeLeaseExpiration?=b",
	"VAppTemplateLeaseSettings": "VCloudExtension*=any Link*=any DeleteOnStorageLeaseExpiration?=b StorageLeaseSeconds?=i",
	"OrgPasswordPolicySettings": "VCloudExtension*=any Link*=any AccountLockoutEnabled=b InvalidLoginsBeforeLockout=i AccountLockoutIntervalMinutes=i",
	"OrgOperationLimitsSettings": "VCloudExtension*=any Link*=any ConsolesPerVmLimit?=i OperationsPerUser?=i OperationsPerOrg?=i " +
		"QueuedOperationsPerUser?=i QueuedOperationsPerOrg?=i SnapshotsPerVmLimit^=i",
	"OrgGuestPersonalizationSettings": "VCloudExtension*=any Link*=any DomainUsername?=s DomainPassword?=s DomainName?=s AllowDomainSettings?=b " +
		"AccountOrganizationalUnit?=s",
	"OrgEmailSettings": "VCloudExtension*=any Link*=any IsDefaultSmtpServer=b IsDefaultOrgEmail=b FromEmailAddress=s DefaultSubjectPrefix=s " +
		"IsAlertEmailToAllAdmins=b AlertEmailTo*=s SmtpServerSettings?=SmtpServerSettings",
	"SmtpServerSettings": "VCloudExtension*=any IsUseAuthentication=b Host=s Port?=i Username=s Password?=s SmtpSecureMode?=s SslTrustStore?=s",
	"OrgLdapSettings":    "VCloudExtension*=any Link*=any OrgLdapMode?=s CustomUsersOu?=s CustomOrgLdapSettings?=CustomOrgLdapSettings",
	"CustomOrgLdapSettings": "VCloudExtension*=any HostName?=s Port=i IsSsl?=b IsSslAcceptAll?=b Realm?=s SearchBase?=s UserName?=s Password?=s " +
		"AuthenticationMechanism=s GroupSearchBase?=s IsGroupSearchBaseEnabled?=b ConnectorType=s UserAttributes=any GroupAttributes=any " +
		"UseExternalKerberos?=b CustomUiButtonLabel^=s CustomTruststore^=s",
	"OrgFederationSettings": "VCloudExtension*=any Link*=any SAMLMetadata?=s Enabled?=b CertificateExpiration?=d SigningCertificateExpiration^=d " +
		"EncryptionCertificateExpiration^=d SamlSPEntityId?=s RoleAttributeName?=s SamlAttributeMapping^=any SamlSPKeyAndCertificateChain?=any " +
		"SigningCertLibraryItemId^=s EncryptionCertLibraryItemId^=s CustomUiButtonLabel^=s",
}

// nameOK is what the name of a user may be. vCD makes it lower case.
var nameOK = regexp.MustCompile(`^[^\s"<>&/\\@:;,+?*=\[\]|]{1,128}$`)

// theUser is the user of the path, whom the caller administers.
func (c *call) theUser() (*user, error) {
	id := uuidIn(c.path("id"))
	u := c.s.users[id]
	if u == nil || u.stranded {
		return nil, missing("user", or(id, c.path("id")))
	}
	if !c.provider() && u.org != c.login.org.id {
		return nil, noAccess("user", id)
	}
	return u, nil
}

// roleIn is the role that a reference names, in an organization.
func (c *call) roleIn(org string, ref *node) (*role, error) {
	href := attr(ref, "href")
	r := c.s.roles[uuidIn(href)]
	if r == nil || r.org != org {
		return nil, badRequest("The role %s does not exist in the organization.", href)
	}
	return r, nil
}

// createUser makes a user; external ones have no password.
func (c *call) createUser() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	d, err := c.parse(nsVCloud, "User")
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(attr(d, "name"))
	if !nameOK.MatchString(name) {
		return nil, badRequest("The user name %q is not valid.", name)
	}
	if c.s.userNamed(o.id, name) != nil {
		return nil, nameExists(name)
	}
	u := &user{thing: thing{id: newID(), name: name, seq: c.s.next()}, org: o.id}
	if child(d, "Role") == nil {
		return nil, badRequest("A user needs a role.")
	}
	if err := c.changeUser(u, d); err != nil {
		return nil, err
	}
	if u.password == "" && !u.external {
		return nil, badRequest("A user that is not external needs a password.")
	}
	c.s.users[u.id] = u
	c.record("user/create", "SUCCESS", eventOn{"user", u.id, u.name})
	return &answer{status: http.StatusCreated, typ: mediaAdmin + "user", doc: c.userDoc(u), header: map[string]string{
		"Location": c.s.href("/api/admin/user/" + u.id)}}, nil
}

// changeUser writes what a document says to a user.
func (c *call) changeUser(u *user, d *node) error {
	if ref := child(d, "Role"); ref != nil {
		r, err := c.roleIn(u.org, ref)
		if err != nil {
			return err
		}
		if u == c.login.user && r.name != u.role {
			return badRequest("You cannot change your own role.")
		}
		u.role = r.name
	}
	if p := raw(d, "Password"); p != "" {
		// The shortest that a local account may have (VMware Cloud Director
		// documentation, "Create a User": six characters).
		if len(p) < 6 {
			return badRequest("The password is too short: it must have at least 6 characters.")
		}
		u.password = p
	}
	u.desc, u.fullName, u.email = value(d, "Description"), value(d, "FullName"), value(d, "EmailAddress")
	u.phone, u.im = value(d, "Telephone"), value(d, "IM")
	u.enabled = truth(value(d, "IsEnabled")) // an absent flag is one that is not set
	if v := value(d, "IsLocked"); v != "" && !truth(v) {
		u.lockedUntil, u.failures = time.Time{}, 0
	}
	if c.r.Method == http.MethodPost {
		u.external, u.provider = truth(value(d, "IsExternal")), value(d, "ProviderType")
	}
	u.deployed, u.quota = atoi(value(d, "DeployedVmQuota")), atoi(value(d, "StoredVmQuota"))
	if u.deployed < 0 || u.quota < 0 {
		return badRequest("A quota cannot be negative.")
	}
	return nil
}

func (c *call) putUser() (*answer, error) {
	u, err := c.theUser()
	if err != nil {
		return nil, err
	}
	d, err := c.parse(nsVCloud, "User")
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(attr(d, "name"), u.name) {
		return nil, badRequest("The name of a user cannot be changed.")
	}
	if u == c.login.user && value(d, "IsEnabled") == "false" {
		return nil, badRequest("You cannot disable yourself.")
	}
	changed := *u
	if err := c.changeUser(&changed, d); err != nil {
		return nil, err
	}
	*u = changed
	if !u.enabled {
		c.s.endSessionsOf(u)
	}
	c.record("user/modify", "SUCCESS", eventOn{"user", u.id, u.name})
	return ok(mediaAdmin+"user", c.userDoc(u)), nil
}

// owns tells whether a user owns anything that keeps the user from being
// deleted.
func (s *Server) owns(u *user) bool {
	for _, a := range s.vapps {
		if a.owner == u.id {
			return true
		}
	}
	for _, k := range s.catalogs {
		if k.owner == u.id {
			return true
		}
	}
	return false
}

// removeUser deletes a user who owns nothing ("Delete a User": what the user
// owns must be somebody else's before).
func (c *call) removeUser(u *user) error {
	switch {
	case u == c.login.user:
		return badRequest("You cannot delete yourself.")
	case u == c.s.systemUser():
		return badRequest("The user %s cannot be deleted.", u.name)
	case c.s.owns(u):
		return badRequest("The user %q owns objects. Take ownership of them or delete them before deleting the user.", u.name)
	}
	delete(c.s.users, u.id)
	c.s.endSessionsOf(u)
	for id, t := range c.s.tokens {
		if t.user == u {
			delete(c.s.tokens, id)
		}
	}
	for _, a := range c.s.vapps {
		a.withdraw(u.id)
	}
	c.record("user/delete", "SUCCESS", eventOn{"user", u.id, u.name})
	return nil
}

// withdraw takes a subject's access to a vApp.
func (a *vapp) withdraw(subject string) {
	var kept []grant
	for _, g := range a.access {
		if g.user != subject {
			kept = append(kept, g)
		}
	}
	a.access = kept
}

func (c *call) deleteUser() (*answer, error) {
	u, err := c.theUser()
	if err != nil {
		return nil, err
	}
	if err := c.removeUser(u); err != nil {
		return nil, err
	}
	return noContent(), nil
}

func (c *call) unlockUser() (*answer, error) {
	u, err := c.theUser()
	if err != nil {
		return nil, err
	}
	u.lockedUntil, u.failures = time.Time{}, 0
	return noContent(), nil
}

// takeOwnership makes the caller the owner of all that a user owns.
func (c *call) takeOwnership() (*answer, error) {
	u, err := c.theUser()
	if err != nil {
		return nil, err
	}
	for _, a := range c.s.vapps {
		if a.owner == u.id {
			a.owner = c.login.user.id
		}
	}
	for _, k := range c.s.catalogs {
		if k.owner == u.id {
			k.owner = c.login.user.id
		}
	}
	return noContent(), nil
}

// userDoc is a user as administrators see it.
func (c *call) userDoc(u *user) *node {
	s := c.s
	href := s.href("/api/admin/user/" + u.id)
	d := el("User", "name", u.name, "id", u.urn(), "href", href, "type", mediaAdmin+"user+xml")
	if c.orgAdmin(u.org) {
		add(d, link("edit", href, mediaAdmin+"user+xml"), link("remove", href, ""), link("takeOwnership", href+"/action/takeOwnership", ""))
		if u.locked() {
			add(d, link("unlock", href+"/action/unlock", ""))
		}
	}
	add(d, text("Description", u.desc), text("FullName", u.fullName), opt("EmailAddress", u.email), opt("Telephone", u.phone),
		boolean("IsEnabled", u.enabled), boolean("IsLocked", u.locked()), opt("IM", u.im), text("NameInSource", u.name),
		boolean("IsExternal", u.external), text("ProviderType", or(u.provider, "INTEGRATED")), boolean("IsGroupRole", false),
		number("StoredVmQuota", u.quota), number("DeployedVmQuota", u.deployed))
	if r := s.roleNamed(u.org, u.role); r != nil {
		add(d, s.ref("Role", "/api/admin/role/", r.id, r.name, mediaAdmin+"role+xml"))
	}
	return add(d, el("GroupReferences"))
}

func (c *call) getUser() (*answer, error) {
	u, err := c.theUser()
	if err != nil {
		return nil, err
	}
	if !c.orgAdmin(u.org) && c.login.user != u {
		return nil, noAccess("user", u.id)
	}
	return ok(mediaAdmin+"user", c.userDoc(u)), nil
}
