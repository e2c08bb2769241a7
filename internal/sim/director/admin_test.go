package director_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// object is the JSON object of an answer.
func (r *reply) object(t *testing.T) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(r.body, &o); err != nil {
		t.Fatalf("answer %d is no JSON object: %v: %s", r.status, err, r.body)
	}
	return o
}

// form posts an OAuth form.
func (c *cloud) form(path string, pairs ...string) *reply {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	req := must(http.NewRequest(http.MethodPost, c.dir.URL().String()+path, strings.NewReader(v.Encode())))(c.t)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	return c.send(req)
}

const jwtBearer, deviceCode = "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:device_code"

func TestVersionsAreToldApart(t *testing.T) {
	t.Parallel()
	c := newCloud(t, func(cfg *director.Config) { cfg.APIVersions = []string{"36.3", "37.2", "38.0", "39.0"} })
	e := c.send(must(http.NewRequest(http.MethodGet, c.dir.URL().String()+"/api/versions", nil))(t)).root(t)
	if got := texts(e, "./VersionInfo/Version"); !slices.Equal(got, []string{"36.3", "37.2", "38.0", "39.0"}) {
		t.Errorf("versions: got %v", got)
	}
	if got := len(e.FindElements("./VersionInfo[@deprecated='true']")); got != 2 {
		t.Errorf("deprecated: got %d", got)
	}
	if r := c.attempt(http.MethodPost, "/cloudapi/1.0.0/sessions", "ada@acme", "application/*;version=39.1"); r.status != 406 {
		t.Errorf("a version that is not served: got %d", r.status)
	}
}

func TestAcceptHeaders(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login("ada@acme")
	get := func(path, accept string) *reply {
		req := must(http.NewRequest(http.MethodGet, c.dir.URL().String()+path, nil))(t)
		req.Header.Set("Authorization", "Bearer "+u.token)
		req.Header.Set("Accept", accept)
		return c.send(req)
	}
	for _, tc := range []struct {
		name, path, accept string
		want               int
		version            string
	}{
		{"any XML", "/api/session", "application/*+xml;version=37.2", 200, "37.2"},
		{"spaces and another parameter", "/api/session", "application/*+xml; charset=utf-8; version=36.0", 200, "36.0"},
		{"the document's own type", "/api/session", "application/vnd.vmware.vcloud.session+xml;version=39.1", 200, "39.1"},
		{"anything", "/api/session", "*/*;version=38.1", 200, "38.1"},
		{"the second of two", "/api/session", "application/*+xml;version=5.5, application/*+xml;version=38.0", 200, "38.0"},
		{"the first of two that has a version", "/api/session", "text/html, application/*;version=37.0", 200, "37.0"},
		{"JSON where there is none", "/api/org", "application/json;version=38.0", 406, ""},
		{"XML where there is none", "/cloudapi/1.0.0/sessions/current", "application/*+xml;version=38.0", 406, ""},
		{"any JSON", "/cloudapi/1.0.0/sessions/current", "application/*+json;version=38.0", 200, "38.0"},
		{"an alpha version", "/api/session", "application/*+xml;version=39.1.0-alpha", 406, ""},
		{"a version that is too old", "/api/session", "application/*+xml;version=35.2", 406, ""},
		{"an endpoint before its version", "/cloudapi/1.0.0/tokens", "application/json;version=36.0", 404, ""},
		{"an endpoint from its version on", "/cloudapi/1.0.0/tokens", "application/json;version=36.1", 200, "36.1"},
		{"nothing that can be parsed", "/api/session", ";;;=", 406, ""},
	} {
		r := get(tc.path, tc.accept)
		if r.status != tc.want {
			t.Errorf("%s: got %d, want %d: %s", tc.name, r.status, tc.want, r.body)
		}
		if got := r.header.Get("Content-Type"); tc.version != "" && !strings.HasSuffix(got, ";version="+tc.version) {
			t.Errorf("%s: got %s, want version %s", tc.name, got, tc.version)
		}
	}
	limit := "//SnapshotsPerVmLimit"
	for version, want := range map[string]int{"38.1": 0, "39.0": 1} {
		if got := len(get("/api/admin/org/"+c.acme, "application/*+xml;version="+version).root(t).FindElements(limit)); got != want {
			t.Errorf("%s at %s: got %d, want %d", limit, version, got, want)
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login("ada@acme")
	for _, tc := range []struct {
		method, path string
		want         int
		allow        string
	}{
		{http.MethodPatch, "/api/session", 405, "GET, HEAD, DELETE, OPTIONS"},
		{http.MethodPut, "/api/org", 405, "GET, HEAD, OPTIONS"},
		{http.MethodOptions, "/api/session", 200, "GET, HEAD, DELETE, OPTIONS"},
		{http.MethodDelete, "/cloudapi/1.0.0/rights", 405, "GET, HEAD, OPTIONS"},
		{http.MethodGet, "/api/nothing", 404, ""},
		{http.MethodOptions, "/api/nothing", 404, ""},
		{http.MethodHead, "/api/session", 200, ""},
	} {
		r := u.do(tc.method, tc.path, "", "")
		if r.status != tc.want || r.header.Get("Allow") != tc.allow {
			t.Errorf("%s %s: got %d, allow %q: %s", tc.method, tc.path, r.status, r.header.Get("Allow"), r.body)
		}
	}
	req := must(http.NewRequest(http.MethodGet, c.dir.URL().String()+"/api/admin/org/"+c.acme, nil))(t)
	req.Header.Set("Authorization", "Bearer "+u.token)
	req.Header.Set("Accept", "application/*+xml;version=39.0")
	req.Header.Set("Accept-Encoding", "gzip") // set by hand: the client does not unpack it
	if r := c.send(req); r.header.Get("Content-Encoding") != "gzip" || len(r.body) < 2 || r.body[0] != 0x1f {
		t.Errorf("gzip: got %v", r.header)
	}
	for _, body := range []string{"", "<", "<User", "{}", "<User xmlns='x'/>", "\xff\xfe", "<a>" + strings.Repeat("<b>", 1000)} {
		r := u.do(http.MethodPost, "/api/admin/org/"+c.acme+"/users", adminType+"user+xml", body)
		if r.status != 400 || r.code() != "BAD_REQUEST" || strings.Contains(string(r.body), "XML syntax") {
			t.Errorf("body %.20q: got %d %s", body, r.status, r.body)
		}
		r = u.do(http.MethodPost, "/cloudapi/1.0.0/roles", "application/json", body)
		if r.status != 400 || strings.Contains(string(r.body), "invalid character") {
			t.Errorf("JSON body %.20q: got %d %s", body, r.status, r.body)
		}
	}
}

const adminType = "application/vnd.vmware.admin."

func TestAccountsAreLocked(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	ada := c.login("ada@acme")
	ada.want(200, http.MethodPut, "/api/admin/org/"+c.acme+"/settings/passwordPolicy", adminType+"organizationPasswordPolicySettings+xml",
		`<OrgPasswordPolicySettings `+xmlns+`><AccountLockoutEnabled>true</AccountLockoutEnabled><InvalidLoginsBeforeLockout>2</InvalidLoginsBeforeLockout>
		<AccountLockoutIntervalMinutes>5</AccountLockoutIntervalMinutes></OrgPasswordPolicySettings>`)
	try := func(password string) int {
		req := must(http.NewRequest(http.MethodPost, c.dir.URL().String()+"/cloudapi/1.0.0/sessions", nil))(t)
		req.SetBasicAuth("bob@acme", password)
		req.Header.Set("Accept", "application/json;version=39.1")
		return c.send(req).status
	}
	got := []int{try("x"), try("x"), try(password)}
	if !slices.Equal(got, []int{401, 401, 401}) {
		t.Errorf("a locked account: got %v", got)
	}
	bob := ada.get("/api/admin/org/"+c.acme).FindElement("./Users/UserReference[@name='bob']").SelectAttrValue("href", "")
	if got := textAt(ada.get(bob), "./IsLocked"); got != "true" {
		t.Errorf("IsLocked: got %s", got)
	}
	ada.want(204, http.MethodPost, bob+"/action/unlock", "", "")
	if got := try(password); got != 200 {
		t.Errorf("unlocked: got %d", got)
	}
	events := ada.do(http.MethodGet, "/cloudapi/1.0.0/auditTrail?filter=eventStatus==FAILURE", "", "").object(t)
	if events["resultTotal"] != 2.0 {
		t.Errorf("failed logins in the audit trail: got %v", events["resultTotal"])
	}
}

func TestSessionLists(t *testing.T) {
	t.Parallel()
	c := newCloud(t, func(cfg *director.Config) { cfg.SessionLifetime = time.Hour })
	ada, bob, other := c.login("ada@acme"), c.login("bob@acme"), c.login("bob@acme")
	total := func(u *user) any {
		return u.do(http.MethodGet, "/cloudapi/1.0.0/sessions", "", "").object(t)["resultTotal"]
	}
	if total(ada) != 3.0 || total(bob) != 2.0 {
		t.Errorf("sessions: got %v and %v", total(ada), total(bob))
	}
	id := other.do(http.MethodGet, "/cloudapi/1.0.0/sessions/current", "", "").object(t)["id"].(string)
	c.login("gil@globex").want(403, http.MethodDelete, "/cloudapi/1.0.0/sessions/"+id, "", "")
	ada.want(204, http.MethodDelete, "/cloudapi/1.0.0/sessions/"+id, "", "")
	other.want(401, http.MethodGet, "/api/session", "", "")
	third := c.login("bob@acme")
	third.want(204, http.MethodDelete, "/cloudapi/1.0.0/sessions", "", "")
	bob.want(401, http.MethodGet, "/api/session", "", "")
	ada.want(200, http.MethodGet, "/api/session", "", "")
}

func TestDisabledMeansOut(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	admin, gil := c.login(adminName), c.login("gil@globex")
	globex := ""
	for _, o := range admin.get("/api/org").FindElements("./Org") {
		if o.SelectAttrValue("name", "") == "globex" {
			globex = strings.Replace(o.SelectAttrValue("href", ""), "/api/org/", "/api/admin/org/", 1)
		}
	}
	if e := admin.task(http.MethodDelete, globex, "", ""); e.SelectAttrValue("status", "") != "error" { // it is enabled
		t.Errorf("an enabled organization: %s", write(e))
	}
	gil.want(403, http.MethodPost, globex+"/action/disable", "", "")
	admin.want(204, http.MethodPost, globex+"/action/disable", "", "")
	gil.want(401, http.MethodGet, "/api/session", "", "")
	if r := c.attempt(http.MethodPost, "/cloudapi/1.0.0/sessions", "gil@globex", "application/*;version=39.1"); r.status != 401 {
		t.Errorf("log in: got %d", r.status)
	}
	admin.run(http.MethodDelete, globex, "", "")
	admin.want(403, http.MethodGet, globex, "", "")
	acme := "/api/admin/org/" + c.acme
	admin.want(400, http.MethodDelete, acme+"?force=true", "", "")     // it has a VDC
	admin.want(400, http.MethodDelete, acme+"?recursive=true", "", "") // it is enabled
	admin.want(204, http.MethodPost, acme+"/action/disable", "", "")
	admin.want(400, http.MethodDelete, acme+"?recursive=true", "", "") // its VDC is enabled
	admin.run(http.MethodDelete, acme+"?force=true&recursive=true", "", "")
	admin.want(403, http.MethodGet, acme, "", "")
	admin.want(403, http.MethodGet, "/api/vdc/"+c.vdc, "", "")
	admin.want(403, http.MethodGet, c.vappPath(), "", "")
}

func TestAPITokens(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	ada, bob := c.login("ada@acme"), c.login("bob@acme")
	const token = "/oauth/tenant/acme/token"
	bob.want(403, http.MethodPost, "/oauth/tenant/acme/register", "application/json", `{"client_name":"mine"}`)
	ada.want(400, http.MethodPost, "/oauth/tenant/acme/register", "application/json", `{}`)
	client := ada.want(201, http.MethodPost, "/oauth/tenant/acme/register", "application/json", `{"client_name":"mine"}`).object(t)["client_id"].(string)
	ada.want(400, http.MethodPost, "/oauth/tenant/acme/register", "application/json", `{"client_name":"mine"}`)

	refused := func(name string, r *reply) {
		t.Helper()
		if r.status != 400 || r.object(t)["error"] == nil {
			t.Errorf("%s: got %d %s", name, r.status, r.body)
		}
	}
	refused("another's session", c.form(token, "grant_type", jwtBearer, "assertion", bob.token, "client_id", client))
	refused("no such client", c.form(token, "grant_type", jwtBearer, "assertion", ada.token, "client_id", "x"))
	first := c.form(token, "grant_type", jwtBearer, "assertion", ada.token, "client_id", client)
	secret, _ := first.object(t)["refresh_token"].(string)
	if first.status != 200 || secret == "" {
		t.Fatalf("first token: got %d %s", first.status, first.body)
	}
	refused("a second time", c.form(token, "grant_type", jwtBearer, "assertion", ada.token, "client_id", client))
	refused("a session's token", c.form(token, "grant_type", "refresh_token", "refresh_token", ada.token))
	refused("no token", c.form(token, "grant_type", "refresh_token"))
	refused("another organization", c.form("/oauth/tenant/globex/token", "grant_type", "refresh_token", "refresh_token", secret))
	refused("the provider", c.form("/oauth/provider/token", "grant_type", "refresh_token", "refresh_token", secret))
	refused("a password", c.form(token, "grant_type", "password"))
	use := func() *reply { return c.form(token, "grant_type", "refresh_token", "refresh_token", secret) }
	access := use().object(t)["access_token"].(string)
	if got := (&user{c, access, version}).get("/api/session").SelectAttrValue("user", ""); got != "ada" {
		t.Errorf("session of the token: got %s", got)
	}
	if n := bob.do(http.MethodGet, "/cloudapi/1.0.0/tokens", "", "").object(t)["resultTotal"]; n != 0.0 {
		t.Errorf("another's tokens: got %v", n)
	}
	bob.want(403, http.MethodDelete, "/cloudapi/1.0.0/tokens/urn:vcloud:token:"+client, "", "")
	ada.want(204, http.MethodDelete, "/cloudapi/1.0.0/tokens/urn:vcloud:token:"+client, "", "")
	refused("a token that was deleted", use())
}

func TestServiceAccounts(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	ada := c.login("ada@acme")
	register := func(scope string) *reply {
		return ada.do(http.MethodPost, "/oauth/tenant/acme/register", "application/json",
			`{"client_name":"robot","software_id":"12345678-1234-1234-1234-1234567890ab","scope":"`+scope+`"}`)
	}
	if r := register("urn:vcloud:role:No%20Such"); r.status != 400 {
		t.Errorf("no such role: got %d", r.status)
	}
	id := register("urn:vcloud:role:vApp%20Author").object(t)["client_id"].(string)
	path := "/cloudapi/1.0.0/serviceAccounts/urn:vcloud:serviceAccount:" + id
	status := func() any { return ada.do(http.MethodGet, path, "", "").object(t)["status"] }
	auth := c.form("/oauth/tenant/acme/device_authorization", "client_id", id).object(t)
	get := func() *reply {
		return c.form("/oauth/tenant/acme/token", "grant_type", deviceCode, "client_id", id, "device_code", auth["device_code"].(string))
	}
	if r := get(); r.object(t)["error"] != "authorization_pending" {
		t.Errorf("before consent: got %s", r.body)
	}
	grant := fmt.Sprintf(`{"userCode":%q}`, auth["user_code"])
	c.login("bob@acme").want(400, http.MethodPost, "/cloudapi/1.0.0/deviceLookup/grant", "application/json", grant)
	ada.want(204, http.MethodPost, "/cloudapi/1.0.0/deviceLookup/grant", "application/json", grant)
	first := get().object(t)["refresh_token"].(string)
	if status() != "ACTIVE" {
		t.Errorf("status: got %v", status())
	}
	refresh := func(secret string) *reply {
		return c.form("/oauth/tenant/acme/token", "grant_type", "refresh_token", "refresh_token", secret)
	}
	next := refresh(first).object(t)
	if refresh(first).status != 400 {
		t.Error("a service account's token works twice")
	}
	robot := &user{c, next["access_token"].(string), version}
	robot.want(200, http.MethodGet, "/api/session", "", "")
	robot.want(403, http.MethodGet, "/api/admin", "", "")
	ada.want(204, http.MethodPost, path+"/revoke", "", "")
	robot.want(401, http.MethodGet, "/api/session", "", "")
	ada.want(204, http.MethodDelete, path, "", "")
	ada.want(403, http.MethodGet, path, "", "")
}

func FuzzAccept(f *testing.F) {
	for _, s := range []string{"application/*+xml;version=37.2", "*/*;version=38.0, application/json", ";;=", "application/*;version=\"39.1\";q=0"} {
		f.Add("/api/session", s)
	}
	f.Fuzz(func(t *testing.T, path, accept string) {
		// The law: a header is refused, or names a version that there is.
		v, err := director.Negotiate(path, accept)
		if (err == nil) != slices.Contains(director.Versions(), v) {
			t.Fatalf("version %q, error %v", v, err)
		}
	})
}
