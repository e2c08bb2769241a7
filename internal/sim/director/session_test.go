package director_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/sim/director"
)

func (c *cloud) attempt(method, path, name, accept string) *reply {
	req := must(http.NewRequest(method, c.dir.URL().String()+path, nil))(c.t)
	req.SetBasicAuth(name, password)
	req.Header.Set("Accept", accept)
	return c.send(req)
}

func TestLogin(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	const sessions, provider = "/cloudapi/1.0.0/sessions", "/cloudapi/1.0.0/sessions/provider"
	for _, tc := range []struct {
		name, path, user, accept string
		want                     int
	}{
		{"a tenant", sessions, "ada@acme", "application/*;version=39.1", 200},
		{"the provider", provider, adminName, "application/json;version=38.0", 200},
		{"a tenant as the provider", provider, "ada@acme", "application/*;version=39.1", 401},
		{"the provider as a tenant", sessions, adminName, "application/*;version=39.1", 401},
		{"an unknown user", sessions, "nobody@acme", "application/*;version=39.1", 401},
		{"no organization", sessions, "ada", "application/*;version=39.1", 401},
		{"the owner of last resort", provider, "system@System", "application/*;version=39.1", 401},
		{"a version that there is not", sessions, "ada@acme", "application/*;version=40.0", 406},
		{"no version", sessions, "ada@acme", "*/*", 406},
		{"the old way at 37.2", "/api/sessions", "ada@acme", "application/*+xml;version=37.2", 200},
		{"the old way as the provider", "/api/sessions", adminName, "application/*+xml;version=37.0", 200},
		{"the old way since 38.0", "/api/sessions", "ada@acme", "application/*+xml;version=38.0", 404},
	} {
		if r := c.attempt(http.MethodPost, tc.path, tc.user, tc.accept); r.status != tc.want {
			t.Errorf("%s: got %d, want %d: %s", tc.name, r.status, tc.want, r.body)
		}
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	c := newCloud(t, func(cfg *director.Config) { cfg.SessionTimeout = 200 * time.Millisecond })
	u := c.login("ada@acme")
	u.want(http.StatusOK, http.MethodGet, "/cloudapi/1.0.0/sessions/current", "", "")
	u.want(http.StatusNoContent, http.MethodDelete, "/cloudapi/1.0.0/sessions/current", "", "")
	r := u.want(http.StatusUnauthorized, http.MethodGet, "/cloudapi/1.0.0/sessions/current", "", "")
	var e map[string]any
	if err := json.Unmarshal(r.body, &e); err != nil || e["minorErrorCode"] != "UNAUTHORIZED" {
		t.Errorf("got %s", r.body)
	}
	u = c.login("ada@acme")
	time.Sleep(300 * time.Millisecond)
	if r := u.want(http.StatusUnauthorized, http.MethodGet, "/api/session", "", ""); r.code() != "UNAUTHORIZED" {
		t.Errorf("got %s", r.body)
	}
	u = c.login("ada@acme")
	c.dir.ExpireSessions()
	u.want(http.StatusUnauthorized, http.MethodGet, "/api/session", "", "")
	if strings.Count(u.token, ".") != 2 {
		t.Errorf("the token has not the form of a JWT: %s", u.token)
	}
}

func TestTenantsSeeTheirOwn(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	p := c.vappPath()
	const rename = `<VApp ` + xmlns + ` name="web-shop"/>`
	for _, tc := range []struct {
		user            string
		read, write     int
		listed, inAdmin int
	}{
		{"ada@acme", 200, 202, 1, 200},
		{"bob@acme", 200, 202, 1, 403},
		{"eve@acme", 200, 403, 1, 403},
		{"gil@globex", 403, 403, 0, 403},
	} {
		u := c.login(tc.user)
		if r := u.do(http.MethodGet, p, "", ""); r.status != tc.read {
			t.Errorf("%s: read: got %d, want %d", tc.user, r.status, tc.read)
		}
		r := u.do(http.MethodPut, p, vcloud+"vApp+xml", rename)
		if r.status != tc.write {
			t.Errorf("%s: write: got %d, want %d", tc.user, r.status, tc.write)
		}
		if r.status == 202 {
			u.wait(r.root(t).SelectAttrValue("href", ""))
		} else if r.code() != "ACCESS_TO_RESOURCE_IS_FORBIDDEN" {
			t.Errorf("%s: write: got %s", tc.user, r.code())
		}
		if got := len(names(u.get("/api/query?type=vApp"))); got != tc.listed {
			t.Errorf("%s: lists %d vApps, want %d", tc.user, got, tc.listed)
		}
		if r := u.do(http.MethodGet, "/api/admin/org/"+c.acme, "", ""); r.status != tc.inAdmin {
			t.Errorf("%s: admin view: got %d, want %d", tc.user, r.status, tc.inAdmin)
		}
	}
	u := c.login(adminName)
	u.want(http.StatusForbidden, http.MethodGet, "/api/vApp/vapp-00000000-0000-4000-8000-000000000000", "", "")
	u.want(http.StatusNotFound, http.MethodGet, "/api/horse/1", "", "")
}
