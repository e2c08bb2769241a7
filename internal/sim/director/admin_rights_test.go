package director_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// TestRolesMayDoWhatTheyHaveTheRightFor calls as users of each predefined role
// on a vApp that everyone has full control of, so that nothing but the role
// refuses. What is not refused fails on its empty body, or is done.
func TestRolesMayDoWhatTheyHaveTheRightFor(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	must(c.dir.AddRole(director.RoleSpec{Org: "acme", Name: "Operator", Rights: []string{"vApp: Power Operations"}}))(t)
	for _, r := range []string{director.RoleCatalogAuthor, director.RoleConsole, "Operator", director.RoleDefer} {
		must(c.dir.AddUser(director.UserSpec{Org: "acme", Name: r, Password: password, Role: r}))(t)
	}
	shop := must(c.dir.AddVApp(director.VAppSpec{VDC: "vdc1", Name: "shared", Owner: "ada", Access: director.AccessSpec{Everyone: "FullControl"}}))(t)
	users := map[string]*user{"admin": c.login("ada@acme"), "author": c.login("eve@acme"), "user": c.login("bob@acme"),
		"console": c.login(director.RoleConsole + "@acme"), "operator": c.login("Operator@acme"), "catalog": c.login(director.RoleCatalogAuthor + "@acme"),
		"none": c.login(director.RoleDefer + "@acme")}
	vapp, vdc, org := "/api/vApp/vapp-"+shop, "/api/vdc/"+c.vdc, "/api/admin/org/"+c.acme
	for _, tc := range []struct {
		method, path string
		may          string // the users who may
	}{
		{http.MethodGet, vapp, "admin author catalog console none operator user"},
		{http.MethodPut, vapp, "admin author catalog user"},
		{http.MethodPut, vapp + "/owner", "admin"},
		{http.MethodPut, vapp + "/networkConfigSection", "admin author catalog user"},
		{http.MethodPut, vapp + "/metadata/x", "admin author catalog user"},
		{http.MethodGet, vapp + "/controlAccess", "admin author catalog user"},
		{http.MethodPost, vapp + "/action/controlAccess", "admin author catalog user"},
		{http.MethodPost, vapp + "/action/recomposeVApp", "admin author catalog"},
		{http.MethodPost, vapp + "/power/action/reboot", "admin author catalog operator user"},
		{http.MethodPost, vapp + "/action/enterMaintenanceMode", ""},
		{http.MethodPost, vapp + "/action/consolidate", ""},
		{http.MethodPost, vdc + "/action/composeVApp", "admin author catalog"},
		{http.MethodPost, vdc + "/action/instantiateVAppTemplate", "admin author catalog user"},
		{http.MethodGet, "/api/admin", "admin"},
		{http.MethodGet, org, "admin"},
		{http.MethodPost, org + "/users", "admin"},
		{http.MethodPut, org + "/settings/ldap", "admin"},
		{http.MethodPut, org + "/settings/operationLimitsSettings", ""},
		{http.MethodDelete, org, ""},
		{http.MethodPost, "/api/admin/orgs", ""},
		{http.MethodGet, "/cloudapi/1.0.0/rights", "admin"},
		{http.MethodGet, "/cloudapi/1.0.0/globalRoles", ""},
		{http.MethodGet, "/cloudapi/1.0.0/auditTrail", "admin"},
		{http.MethodPost, "/cloudapi/1.0.0/roles", "admin"},
		{http.MethodGet, "/api/admin/extension", ""},
	} {
		var may []string
		for name, u := range users {
			r := u.do(tc.method, tc.path, "", "")
			if r.status != http.StatusForbidden {
				may = append(may, name)
			}
		}
		slices.Sort(may)
		if got := strings.Join(may, " "); got != tc.may {
			t.Errorf("%s %s: %q may, want %q", tc.method, tc.path, got, tc.may)
		}
	}
	r := users["console"].want(http.StatusForbidden, http.MethodPut, vapp, "", "")
	if msg := r.root(t).SelectAttrValue("message", ""); !strings.Contains(msg, "Either you need some or all of the following rights [vApp: Edit Properties") ||
		!strings.Contains(msg, "for "+shop+" or the target entity is invalid.") {
		t.Errorf("message: got %s", msg)
	}
}

func TestRightsBundlesBoundTenants(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	admin, ada := c.login(adminName), c.login("ada@acme")
	power := c.vappPath() + "/power/action/reboot"
	if ada.do(http.MethodPost, power, "", "").status == http.StatusForbidden {
		t.Fatal("an administrator may not power")
	}
	bundles := admin.do(http.MethodGet, "/cloudapi/1.0.0/rightsBundles", "", "").object(t)["values"].([]any)
	id := bundles[0].(map[string]any)["id"].(string)
	admin.want(200, http.MethodPost, "/cloudapi/1.0.0/rightsBundles/"+id+"/tenants/unpublishAll", "", "")
	ada.want(403, http.MethodPost, power, "", "")
	admin.want(200, http.MethodPost, "/cloudapi/1.0.0/rightsBundles/"+id+"/tenants/publish", "application/json", `{"values":[{"id":"urn:vcloud:org:`+c.acme+`"}]}`)
	if ada.do(http.MethodPost, power, "", "").status == http.StatusForbidden {
		t.Error("the bundle is published again and does not count")
	}
	c.login("gil@globex").want(403, http.MethodGet, "/api/admin", "", "")
}

func TestRolesOverCloudAPI(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	ada, admin := c.login("ada@acme"), c.login(adminName)
	const roles = "/cloudapi/1.0.0/roles"
	list := ada.do(http.MethodGet, roles, "", "").object(t)
	if list["resultTotal"] != 6.0 {
		t.Errorf("predefined roles: got %v", list["resultTotal"])
	}
	fixed := list["values"].([]any)[0].(map[string]any)["id"].(string)
	made := ada.want(201, http.MethodPost, roles, "application/json", `{"name":"Mine","description":"x"}`).object(t)
	id := made["id"].(string)
	if made["bundleKey"] != "com.vmware.vcloud.undefined.key" || made["readOnly"] != false {
		t.Errorf("got %v", made)
	}
	right := ada.do(http.MethodGet, "/cloudapi/1.0.0/rights?filter=name==vApp:%20Delete", "", "").object(t)["values"].([]any)[0].(map[string]any)
	system := admin.do(http.MethodGet, "/cloudapi/1.0.0/rights?filter=name==vApp%20Template:%20Import", "", "").object(t)["values"].([]any)[0].(map[string]any)
	ref := func(r map[string]any) string { return `{"values":[{"name":"x","id":"` + r["id"].(string) + `"}]}` }
	for _, tc := range []struct {
		name         string
		u            *user
		method, path string
		body         string
		want         int
	}{
		{"the name of another", ada, http.MethodPost, roles, `{"name":"Mine"}`, 400},
		{"no name", ada, http.MethodPost, roles, `{}`, 400},
		{"the context of another organization", c.login("gil@globex"), http.MethodGet, roles + "/" + id, "", 403},
		{"a predefined role", ada, http.MethodPut, roles + "/" + fixed, `{"name":"Other"}`, 400},
		{"the rights of a predefined role", ada, http.MethodPost, roles + "/" + fixed + "/rights", ref(right), 400},
		{"a right", ada, http.MethodPost, roles + "/" + id + "/rights", ref(right), 200},
		{"a right that tenants cannot have", ada, http.MethodPost, roles + "/" + id + "/rights", ref(system), 400},
		{"no right at all", ada, http.MethodPost, roles + "/" + id + "/rights", `{"values":[{"id":"x"}]}`, 400},
		{"another name", ada, http.MethodPut, roles + "/" + id, `{"name":"Ours"}`, 200},
	} {
		if r := tc.u.do(tc.method, tc.path, "application/json", tc.body); r.status != tc.want {
			t.Errorf("%s: got %d, want %d: %s", tc.name, r.status, tc.want, r.body)
		}
	}
	if n := ada.do(http.MethodGet, roles+"/"+id+"/rights", "", "").object(t)["resultTotal"]; n != 1.0 {
		t.Errorf("rights of the role: got %v", n)
	}
	must(c.dir.AddUser(director.UserSpec{Org: "acme", Name: "max", Password: password, Role: "Ours"}))(t)
	ada.want(400, http.MethodDelete, roles+"/"+id, "", "") // max has it
	if n := admin.do(http.MethodGet, roles, "", "").object(t)["resultTotal"]; n != 1.0 {
		t.Errorf("roles of the system organization: got %v", n)
	}
	req := must(http.NewRequest(http.MethodGet, c.dir.URL().String()+roles, nil))(t)
	req.Header.Set("Authorization", "Bearer "+ada.token)
	req.Header.Set("Accept", "application/json;version=39.1")
	req.Header.Set("X-VMWARE-VCLOUD-AUTH-CONTEXT", "globex")
	if r := c.send(req); r.status != 403 {
		t.Errorf("another's context: got %d", r.status)
	}
	req.Header.Set("Authorization", "Bearer "+admin.token)
	if r := c.send(req); r.object(t)["resultTotal"] != 6.0 {
		t.Errorf("the provider in a context: got %s", r.body)
	}
}

func TestUsersOverXML(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	ada, admin := c.login("ada@acme"), c.login(adminName)
	org := "/api/admin/org/" + c.acme
	role := func(name string) string {
		return ada.get(org).FindElement("./RoleReferences/RoleReference[@name='"+name+"']").SelectAttrValue("href", "")
	}
	body := func(name, password, role string) string {
		return `<User ` + xmlns + ` name="` + name + `"><FullName>New</FullName><IsEnabled>true</IsEnabled><StoredVmQuota>3</StoredVmQuota><Role href="` + role +
			`"/><Password>` + password + `</Password></User>`
	}
	const typ = adminType + "user+xml"
	r := ada.want(201, http.MethodPost, org+"/users", typ, body("Kim", password, role(director.RoleVAppUser)))
	kim := r.root(t).SelectAttrValue("href", "")
	if name := r.root(t).SelectAttrValue("name", ""); name != "kim" {
		t.Errorf("name: got %s", name)
	}
	c.login("kim@acme").want(403, http.MethodGet, org, "", "")
	for _, tc := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"the name of another", http.MethodPost, org + "/users", body("bob", password, role(director.RoleVAppUser)), 400},
		{"a short password", http.MethodPost, org + "/users", body("lee", "x", role(director.RoleVAppUser)), 400},
		{"a role of nobody's", http.MethodPost, org + "/users", body("lee", password, "https://x/api/admin/role/00000000-0000-4000-8000-000000000000"), 400},
		{"a name with a space", http.MethodPost, org + "/users", body("l ee", password, role(director.RoleVAppUser)), 400},
		{"another name", http.MethodPut, kim, body("lee", password, role(director.RoleVAppUser)), 400},
		{"another role", http.MethodPut, kim, body("kim", password, role(director.RoleOrgAdmin)), 200},
		{"a wrong order", http.MethodPut, kim, `<User ` + xmlns + ` name="kim"><Password>x</Password><FullName>x</FullName></User>`, 400},
		{"who owns a vApp", http.MethodDelete, ada.get(org).FindElement("./Users/UserReference[@name='bob']").SelectAttrValue("href", ""), "", 400},
		{"oneself", http.MethodDelete, ada.get(org).FindElement("./Users/UserReference[@name='ada']").SelectAttrValue("href", ""), "", 400},
	} {
		if r := ada.do(tc.method, tc.path, typ, tc.body); r.status != tc.want {
			t.Errorf("%s: got %d, want %d: %s", tc.name, r.status, tc.want, r.body)
		}
	}
	session := c.login("kim@acme")
	session.want(200, http.MethodGet, org, "", "")
	ada.want(200, http.MethodPut, kim, typ, strings.Replace(body("kim", password, role(director.RoleOrgAdmin)), "<IsEnabled>true</IsEnabled>", "", 1))
	session.want(401, http.MethodGet, org, "", "") // an absent IsEnabled disables
	ada.want(204, http.MethodDelete, kim, "", "")
	ada.want(403, http.MethodGet, kim, "", "")
	bob := ada.get(org).FindElement("./Users/UserReference[@name='bob']").SelectAttrValue("href", "")
	ada.want(204, http.MethodPost, bob+"/action/takeOwnership", "", "")
	ada.want(204, http.MethodDelete, bob, "", "")
	if got := admin.get(c.vappPath()+"/owner").FindElement("./User").SelectAttrValue("name", ""); got != "ada" {
		t.Errorf("owner: got %s", got)
	}
	group := `<Group ` + xmlns + ` name="ops"><ProviderType>SAML</ProviderType><Role href="` + role(director.RoleVAppUser) + `"/></Group>`
	g := ada.want(201, http.MethodPost, org+"/groups", adminType+"group+xml", group).root(t).SelectAttrValue("href", "")
	ada.want(400, http.MethodPost, org+"/groups", adminType+"group+xml", group)
	ada.want(400, http.MethodPost, org+"/groups", adminType+"group+xml", strings.ReplaceAll(strings.Replace(group, "SAML", "INTEGRATED", 1), "ops", "dev")) // no LDAP
	ada.get(g)
	ada.want(200, http.MethodPut, g, adminType+"group+xml", group)
	for _, q := range []string{"group", "role", "right", "event", "user"} {
		if len(ada.get("/api/query?type="+q).ChildElements()) == 0 {
			t.Errorf("query %s: nothing", q)
		}
	}
	for _, q := range []string{"adminGroup", "adminRole", "strandedUser", "cell", "adminUser"} {
		admin.get("/api/query?type=" + q)
		ada.want(403, http.MethodGet, "/api/query?type="+q, "", "")
	}
	for _, entity := range []string{c.vappPath(), c.vdcPath()} {
		subject := func(href string) string {
			return `<ControlAccessParams ` + xmlns + `><IsSharedToEveryone>false</IsSharedToEveryone><AccessSettings><AccessSetting><Subject href="` + href +
				`"/><AccessLevel>ReadOnly</AccessLevel></AccessSetting></AccessSettings></ControlAccessParams>`
		}
		admin.want(200, http.MethodPost, entity+"/action/controlAccess", cloudType+"controlAccess+xml", subject(g))
		if got := admin.get(entity + "/controlAccess").FindElement(".//Subject"); got == nil || got.SelectAttrValue("href", "") != g || got.SelectAttrValue("name", "") != "ops" {
			t.Errorf("%s: a group's access is not kept", entity)
		}
		admin.want(400, http.MethodPost, entity+"/action/controlAccess", cloudType+"controlAccess+xml", subject(strings.Replace(g, g[len(g)-4:], "0000", 1)))
	}
	ada.want(204, http.MethodDelete, g, "", "")
	if admin.get(c.vappPath()+"/controlAccess").FindElement(".//Subject") != nil {
		t.Error("a group that is gone has access")
	}
}

func TestUsersOverCloudAPI(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	ada, bob := c.login("ada@acme"), c.login("bob@acme")
	const users = "/cloudapi/1.0.0/users"
	roles := map[string]string{}
	for _, r := range ada.do(http.MethodGet, "/cloudapi/1.0.0/roles", "", "").object(t)["values"].([]any) {
		roles[r.(map[string]any)["name"].(string)] = r.(map[string]any)["id"].(string)
	}
	body := func(name, password, role string) string {
		return `{"username":"` + name + `","password":"` + password + `","roleEntityRefs":[{"id":"` + roles[role] + `"}]}`
	}
	made := ada.want(201, http.MethodPost, users, "application/json", body("Kim", password, director.RoleVAppUser)).object(t)
	kim := users + "/" + made["id"].(string)
	if made["username"] != "kim" || made["password"] != nil || made["enabled"] != true {
		t.Errorf("got %v", made)
	}
	for _, tc := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"the name of another", http.MethodPost, users, body("kim", password, director.RoleVAppUser), 400},
		{"no password", http.MethodPost, users, body("lee", "", director.RoleVAppUser), 400},
		{"no role", http.MethodPost, users, `{"username":"lee","password":"long enough"}`, 400},
		{"no such role", http.MethodPost, users, body("lee", password, "x"), 400},
		{"a new name", http.MethodPut, kim, body("lee", password, director.RoleVAppUser), 400},
		{"a new role", http.MethodPut, kim, body("kim", "", director.RoleVAppAutho), 200},
	} {
		if r := ada.do(tc.method, tc.path, "application/json", tc.body); r.status != tc.want {
			t.Errorf("%s: got %d, want %d: %s", tc.name, r.status, tc.want, r.body)
		}
	}
	bob.want(403, http.MethodDelete, kim, "", "")
	bob.want(403, http.MethodGet, kim, "", "")
	if n := bob.do(http.MethodGet, users, "", "").object(t)["resultTotal"]; n != 1.0 {
		t.Errorf("bob sees %v users", n)
	}
	c.login("kim@acme").want(200, http.MethodGet, "//api///session/", "", "")
	ada.want(204, http.MethodDelete, kim, "", "")
	ada.want(403, http.MethodGet, kim, "", "")
}

func TestOrganizationsAndTheirSettings(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	admin, ada := c.login(adminName), c.login("ada@acme")
	const typ = adminType + "organization+xml"
	doc := func(name, more string) string {
		return `<AdminOrg ` + xmlns + ` name="` + name + `"><FullName>New</FullName><IsEnabled>true</IsEnabled>` + more + `</AdminOrg>`
	}
	settings := `<Settings><OrgGeneralSettings><CanPublishCatalogs>true</CanPublishCatalogs><DeployedVMQuota>3</DeployedVMQuota></OrgGeneralSettings>
		<VAppLeaseSettings><DeploymentLeaseSeconds>60</DeploymentLeaseSeconds></VAppLeaseSettings></Settings>`
	e := admin.want(201, http.MethodPost, "/api/admin/orgs", typ, doc("initech", settings)).root(t)
	href := e.SelectAttrValue("href", "")
	if textAt(e, ".//DeployedVMQuota") != "3" || textAt(e, ".//DeploymentLeaseSeconds") != "60" || len(e.FindElements("./RoleReferences/RoleReference")) != 6 {
		t.Errorf("got %s", write(e))
	}
	for _, tc := range []struct {
		name, method, path, typ, body string
		u                             *user
		want                          int
	}{
		{"the name of another", http.MethodPost, "/api/admin/orgs", typ, doc("acme", "<Settings/>"), admin, 400},
		{"a name with a space", http.MethodPost, "/api/admin/orgs", typ, doc("a b", "<Settings/>"), admin, 400},
		{"no settings", http.MethodPost, "/api/admin/orgs", typ, doc("ab", ""), admin, 400},
		{"no full name", http.MethodPost, "/api/admin/orgs", typ, `<AdminOrg ` + xmlns + ` name="x"/>`, admin, 400},
		{"a negative quota", http.MethodPut, href, typ, doc("initech", strings.Replace(settings, ">3<", ">-3<", 1)), admin, 400},
		{"a new name", http.MethodPut, href, typ, doc("initrode", "<Settings/>"), admin, 200},
		{"a quota by a tenant", http.MethodPut, "/api/admin/org/" + c.acme + "/settings/general", adminType + "organizationGeneralSettings+xml",
			`<GeneralOrgSettings ` + xmlns + `><DeployedVMQuota>99</DeployedVMQuota></GeneralOrgSettings>`, ada, 403},
		{"a lease by a tenant", http.MethodPut, "/api/admin/org/" + c.acme + "/settings/vAppLeaseSettings", adminType + "vAppLeaseSettings+xml",
			`<VAppLeaseSettings ` + xmlns + `><DeploymentLeaseSeconds>3600</DeploymentLeaseSeconds></VAppLeaseSettings>`, ada, 200},
		{"a password policy that makes no sense", http.MethodPut, href + "/settings/passwordPolicy", adminType + "organizationPasswordPolicySettings+xml",
			`<OrgPasswordPolicySettings ` + xmlns + `><AccountLockoutEnabled>true</AccountLockoutEnabled><InvalidLoginsBeforeLockout>0</InvalidLoginsBeforeLockout>
			<AccountLockoutIntervalMinutes>1</AccountLockoutIntervalMinutes></OrgPasswordPolicySettings>`, admin, 400},
		{"LDAP of no kind", http.MethodPut, href + "/settings/ldap", adminType + "organizationLdapSettings+xml",
			`<OrgLdapSettings ` + xmlns + `><OrgLdapMode>X</OrgLdapMode></OrgLdapSettings>`, admin, 400},
		{"the system's LDAP", http.MethodPut, href + "/settings/ldap", adminType + "organizationLdapSettings+xml",
			`<OrgLdapSettings ` + xmlns + `><OrgLdapMode>SYSTEM</OrgLdapMode></OrgLdapSettings>`, admin, 200},
		{"too many snapshots", http.MethodPut, href + "/settings/operationLimitsSettings", adminType + "operationLimitsSettings+xml",
			`<OrgOperationLimitsSettings ` + xmlns + `><SnapshotsPerVmLimit>33</SnapshotsPerVmLimit></OrgOperationLimitsSettings>`, admin, 400},
		{"mail", http.MethodPut, href + "/settings/email", adminType + "organizationEmailSettings+xml",
			`<OrgEmailSettings ` + xmlns + `><IsDefaultSmtpServer>true</IsDefaultSmtpServer><IsDefaultOrgEmail>false</IsDefaultOrgEmail><FromEmailAddress>a@b.example</FromEmailAddress>
			<DefaultSubjectPrefix>x</DefaultSubjectPrefix><IsAlertEmailToAllAdmins>true</IsAlertEmailToAllAdmins></OrgEmailSettings>`, admin, 200},
		{"guests' domain", http.MethodPut, href + "/settings/guestPersonalizationSettings", adminType + "guestPersonalizationSettings+xml",
			`<OrgGuestPersonalizationSettings ` + xmlns + `><DomainPassword>hidden</DomainPassword><AllowDomainSettings>true</AllowDomainSettings></OrgGuestPersonalizationSettings>`, admin, 200},
		{"another type of body", http.MethodPut, href + "/settings/email", typ, doc("x", ""), admin, 415},
		{"settings that there are not", http.MethodPut, href + "/settings/horse", typ, doc("x", ""), admin, 404},
	} {
		if r := tc.u.do(tc.method, tc.path, tc.typ, tc.body); r.status != tc.want {
			t.Errorf("%s: got %d, want %d: %s", tc.name, r.status, tc.want, r.body)
		}
	}
	for _, part := range []string{"general", "vAppLeaseSettings", "vAppTemplateLeaseSettings", "ldap", "email", "passwordPolicy", "operationLimitsSettings", "federation",
		"guestPersonalizationSettings"} {
		if s := write(admin.get(href + "/settings/" + part)); strings.Contains(s, "hidden") {
			t.Errorf("%s shows a password", part)
		}
	}
	admin.run(http.MethodPut, "/api/admin/org/"+c.acme+"/metadata/k", vcloud+"metadata.value+xml",
		`<MetadataValue `+xmlns+`><TypedValue xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="MetadataStringValue"><Value>v</Value></TypedValue></MetadataValue>`)
	if got := textAt(ada.get("/api/org/"+c.acme+"/metadata/k"), ".//Value"); got != "v" {
		t.Errorf("metadata: got %q", got)
	}
	made := admin.want(201, http.MethodPost, "/cloudapi/1.0.0/orgs", "application/json", `{"name":"hooli","displayName":"Hooli"}`).object(t)
	path := "/cloudapi/1.0.0/orgs/" + made["id"].(string)
	if made["isEnabled"] != false {
		t.Errorf("got %v", made)
	}
	admin.want(200, http.MethodPut, path, "application/json", `{"name":"hooli","displayName":"Hooli XYZ","isEnabled":true}`)
	r := admin.want(202, http.MethodDelete, path, "", "")
	if done := admin.wait(r.header.Get("Location")); done.SelectAttrValue("status", "") != "error" {
		t.Errorf("an enabled organization: %s", write(done))
	}
	r = admin.want(202, http.MethodDelete, path+"?force=true", "", "")
	if done := admin.wait(r.header.Get("Location")); done.SelectAttrValue("status", "") != "success" {
		t.Errorf("task: %s", write(done))
	}
}

func TestSystemDocumentsAreValid(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	admin, bob := c.login(adminName), c.login("bob@acme")
	for _, p := range []string{"/api/admin/extension", "/api/admin/extension/settings", "/api/admin/extension/settings/general", "/api/admin/extension/settings/catalog",
		"/api/admin/extension/settings/passwordPolicy", "/api/admin/extension/settings/notifications", "/api/admin/org/" + c.acme + "/roles", "/api/admin/org/" + c.acme + "/rights"} {
		admin.get(p)
	}
	right := admin.get("/api/admin").FindElement("./RightReferences/RightReference").SelectAttrValue("href", "")
	admin.get(right)
	for _, u := range []*user{admin, bob} {
		e := u.get("/api/entity/urn:vcloud:vapp:" + c.shop)
		if got := e.FindElement("./Link").SelectAttrValue("href", ""); !strings.HasSuffix(got, c.vappPath()) {
			t.Errorf("entity: got %s", got)
		}
	}
	bob.want(403, http.MethodGet, "/api/entity/urn:vcloud:vapp:00000000-0000-4000-8000-000000000000", "", "")
	bob.want(400, http.MethodGet, "/api/entity/vapp", "", "")
	c.login("gil@globex").want(403, http.MethodGet, "/api/entity/urn:vcloud:vapp:"+c.shop, "", "")
	for _, p := range []string{"site", "cells", "siteAssociations", "ssl/settings", "ssl/trustedCertificates", "rightsCategories", "globalRoles"} {
		admin.want(200, http.MethodGet, "/cloudapi/1.0.0/"+p, "", "")
	}
	admin.task(http.MethodPost, c.vappPath()+"/action/deploy", vcloud+"deployVAppParams+xml", `<DeployVAppParams `+xmlns+`/>`)
	trail := admin.do(http.MethodGet, "/cloudapi/1.0.0/auditTrail?pageSize=128&filter=eventType==*task*", "", "").object(t)
	if trail["resultTotal"].(float64) < 3 {
		t.Errorf("tasks in the audit trail: got %v", trail["resultTotal"])
	}
	if r := c.send(must(http.NewRequest(http.MethodGet, c.dir.URL().String()+"/api/server_status", nil))(t)); string(r.body) != "Service is up." {
		t.Errorf("server status: got %s", r.body)
	}
}

func TestEveryRequiredRightIsInTheCatalogue(t *testing.T) {
	t.Parallel()
	for _, name := range director.RequiredRights() {
		if !slices.Contains(director.Rights(), name) {
			t.Errorf("no right %q", name)
		}
	}
}
