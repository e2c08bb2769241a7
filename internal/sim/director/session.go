package director

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"crypto/rand"
)

// A login is a session.
type login struct {
	id    string
	token string
	user  *user
	org   *org
	used  time.Time
}

func pathEscape(s string) string { return url.PathEscape(s) }

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

func (c *call) provider() bool { return c.login != nil && c.login.org.system }

// orgAdmin tells an administrator of that organization, or of the system.
func (c *call) orgAdmin(org string) bool {
	return c.provider() || c.login.org.id == org && c.login.user.role == RoleOrgAdmin
}

// authenticate finds the session of a request's token.
func (c *call) authenticate() error {
	bad := refuse(http.StatusUnauthorized, "UNAUTHORIZED", "Unauthorized")
	token := tokenOf(c.r)
	l := c.s.sessions[token]
	if l == nil {
		return bad
	}
	if time.Since(l.used) > c.s.cfg.SessionTimeout || c.s.users[l.user.id] == nil {
		delete(c.s.sessions, token)
		return bad
	}
	l.used = time.Now()
	c.login = l
	return nil
}

// tokenOf is the session's token that a request brings.
func tokenOf(r *http.Request) string {
	if token := r.Header.Get("X-VMWARE-VCLOUD-ACCESS-TOKEN"); token != "" {
		return token
	}
	if auth := r.Header.Get("Authorization"); len(auth) > 7 && strings.EqualFold(auth[:7], "Bearer ") {
		return strings.TrimSpace(auth[7:])
	}
	return r.Header.Get("x-vcloud-authorization")
}

// ExpireSessions ends every session, as a restart of all cells does.
func (s *Server) ExpireSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// Sessions is the number of sessions that are open.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// logIn checks Basic credentials and opens a session.
func (c *call) logIn(provider bool) (*login, error) {
	bad := refuse(http.StatusUnauthorized, "UNAUTHORIZED", "Unauthorized")
	name, password, ok := c.r.BasicAuth()
	at := strings.LastIndex(name, "@")
	if !ok || at < 0 {
		return nil, bad
	}
	o := c.s.orgNamed(name[at+1:])
	if o == nil || o.system != provider {
		return nil, bad
	}
	u := c.s.userNamed(o.id, name[:at])
	if u == nil || u.password == "" || u.password != password || !u.enabled || !o.enabled {
		return nil, bad
	}
	l := &login{id: newID(), user: u, org: o, used: time.Now()}
	l.token = token(u, o, l.id)
	c.s.sessions[l.token] = l
	c.login = l
	return l, nil
}

// token has the form of a JWT. Its signature is random: it is looked up, never
// verified.
func token(u *user, o *org, id string) string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	sig := make([]byte, 64)
	_, _ = rand.Read(sig) // never fails
	return part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." +
		part(map[string]any{"sub": u.name, "iss": o.id + "@" + o.id, "exp": time.Now().Add(24 * time.Hour).Unix(), "jti": id}) + "." +
		base64.RawURLEncoding.EncodeToString(sig)
}

func (l *login) headers() map[string]string {
	return map[string]string{
		"X-VMWARE-VCLOUD-ACCESS-TOKEN": l.token, "X-VMWARE-VCLOUD-TOKEN-TYPE": "Bearer", "x-vcloud-authorization": l.token,
		"Authorization": "Bearer " + l.token,
	}
}

// json is the session as /cloudapi shows it.
func (l *login) json(s *Server) map[string]any {
	return map[string]any{
		"id":                        "urn:vcloud:session:" + l.id,
		"user":                      map[string]any{"name": l.user.name, "id": "urn:vcloud:user:" + l.user.id},
		"org":                       map[string]any{"name": l.org.name, "id": "urn:vcloud:org:" + l.org.id},
		"operatingOrg":              map[string]any{"name": l.org.name, "id": "urn:vcloud:org:" + l.org.id},
		"location":                  "simulated@" + s.base,
		"roles":                     []any{l.user.role},
		"roleRefs":                  []any{map[string]any{"name": l.user.role, "id": "urn:vcloud:role:" + s.roleOf(l.org.id, l.user.role).id}},
		"sessionIdleTimeoutMinutes": int(s.cfg.SessionTimeout / time.Minute),
	}
}

func (c *call) cloudLogin(provider bool) (*answer, error) {
	l, err := c.logIn(provider)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, json: l.json(c.s), header: l.headers()}, nil
}

// oldLogin is POST /api/sessions, which 38.0 has dropped.
func (c *call) oldLogin() (*answer, error) {
	if c.newer("38.0") {
		return nil, refuse(http.StatusNotFound, "NOT_FOUND", "The endpoint /api/sessions was removed in API version 38.0.")
	}
	_, _, isBasic := c.r.BasicAuth()
	name, _, _ := c.r.BasicAuth()
	l, err := c.logIn(isBasic && strings.EqualFold(name[strings.LastIndex(name, "@")+1:], "System"))
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, typ: mediaVCloud + "session", doc: c.sessionDoc(), header: l.headers()}, nil
}

func (c *call) logOut() (*answer, error) {
	delete(c.s.sessions, c.login.token)
	return noContent(), nil
}

// sessionDoc is the Session document of the caller.
func (c *call) sessionDoc() *node {
	l, s := c.login, c.s
	d := el("Session", "user", l.user.name, "org", l.org.name, "userId", "urn:vcloud:user:"+l.user.id, "roles", l.user.role,
		"locationId", l.org.id+"@"+l.org.id, "href", s.href("/api/session"), "type", mediaVCloud+"session+xml")
	add(d, link("down", s.href("/api/org"), mediaVCloud+"orgList+xml"))
	if c.provider() {
		add(d, link("down", s.href("/api/admin"), mediaAdmin+"vcloud+xml"),
			link("down", s.href("/api/admin/extension"), mediaAdmin+"vmwExtension+xml"))
	}
	add(d, link("down", s.href("/api/query"), mediaVCloud+"query.queryList+xml"), link("remove", s.href("/api/session"), ""))
	return add(d, add(el("AuthorizedLocations"), add(el("Location", "name", l.org.name),
		text("LocationId", l.org.id+"@"+l.org.id), text("LocationName", l.org.name), text("OrgName", l.org.name),
		text("RestApiEndpoint", s.base), text("UIEndpoint", s.base), text("AuthContext", l.org.name))))
}

// versionsDoc is /api/versions, whose namespace is its own.
func (c *call) versionsDoc() (*answer, error) {
	d := el("SupportedVersions", "xmlns", "http://www.vmware.com/vcloud/versions")
	for _, v := range versions {
		add(d, add(el("VersionInfo", "deprecated", yes(strings.HasPrefix(v, "37."))), text("Version", v),
			text("LoginUrl", c.s.href("/cloudapi/1.0.0/sessions")), text("ProviderLoginUrl", c.s.href("/cloudapi/1.0.0/sessions/provider"))))
	}
	return ok("text/xml", d), nil
}

// tokenGrant exchanges an API token: here any session's token is one.
func (c *call) tokenGrant() (*answer, error) {
	form, err := url.ParseQuery(string(c.body))
	if err != nil || form.Get("grant_type") != "refresh_token" {
		return nil, badRequest("The grant type is not supported.")
	}
	l := c.s.sessions[form.Get("refresh_token")]
	if l == nil {
		return nil, refuse(http.StatusUnauthorized, "UNAUTHORIZED", "Unauthorized")
	}
	n := &login{id: newID(), user: l.user, org: l.org, used: time.Now()}
	n.token = token(l.user, l.org, n.id)
	c.s.sessions[n.token] = n
	return &answer{status: http.StatusOK, json: map[string]any{
		"access_token": n.token, "token_type": "Bearer", "expires_in": 3600, "scope": "openid",
	}}, nil
}
