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

	created time.Time
	legacy  string // the token of x-vcloud-authorization
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
	return c.provider() || c.login.org.id == org && c.has("General: Administrator Control")
}

// tokenOf is the token that a request brings: an access token, or the shorter
// one that POST /api/sessions hands out as well.
func tokenOf(r *http.Request) string {
	if token := r.Header.Get("X-VMWARE-VCLOUD-ACCESS-TOKEN"); token != "" {
		return token
	}
	if auth := r.Header.Get("Authorization"); len(auth) > 7 && strings.EqualFold(auth[:7], "Bearer ") {
		return strings.TrimSpace(auth[7:])
	}
	return r.Header.Get("x-vcloud-authorization")
}

// unauthorized is the answer to whoever is not logged in. It never says why.
func unauthorized() *apiError {
	return refuse(http.StatusUnauthorized, "UNAUTHORIZED", "Unauthorized")
}

// authenticate finds the session of a request's token.
func (c *call) authenticate() error {
	l := c.s.sessionOf(tokenOf(c.r))
	if l == nil {
		return unauthorized()
	}
	l.used = time.Now()
	c.login = l
	return nil
}

// sessionOf is the session that a token stands for, if it is still good. One
// that is not is ended.
func (s *Server) sessionOf(token string) *login {
	l := s.sessions[token]
	if l == nil && len(token) == 32 {
		for _, other := range s.sessions {
			if other.legacy == token {
				l = other
			}
		}
	}
	if l == nil {
		return nil
	}
	stale := time.Since(l.used) > s.cfg.SessionTimeout || time.Since(l.created) > s.cfg.SessionLifetime
	if stale || !s.mayLogIn(l.user, l.org) {
		delete(s.sessions, l.token)
		return nil
	}
	return l
}

// mayLogIn tells whether a user's sessions are good: the user is there and
// enabled, as is the organization, or the API token's or service account's own.
func (s *Server) mayLogIn(u *user, o *org) bool {
	known := s.users[u.id] == u || s.accounts[u.id] != nil
	return known && s.orgs[o.id] == o && u.enabled && o.enabled && !u.stranded
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
	name, password, ok := c.r.BasicAuth()
	at := strings.LastIndex(name, "@")
	if !ok || at < 0 {
		return nil, unauthorized()
	}
	o := c.s.orgNamed(name[at+1:])
	if o == nil || o.system != provider {
		return nil, unauthorized()
	}
	u := c.s.userNamed(o.id, name[:at])
	if u == nil || u.password == "" || u.external || !c.s.mayLogIn(u, o) || u.locked() {
		return nil, unauthorized()
	}
	if u.password != password {
		c.s.failedLogin(u, o)
		return nil, unauthorized()
	}
	u.failures = 0
	l := c.s.open(u, o)
	c.login = l
	c.record("session/login", "SUCCESS", eventOn{kind: "user", id: u.id, name: u.name})
	return l, nil
}

func (u *user) locked() bool { return time.Now().Before(u.lockedUntil) }

// failedLogin counts a wrong password and locks the account as the policy of
// its organization says.
func (s *Server) failedLogin(u *user, o *org) {
	u.failures++
	s.note(&event{kind: "session/login", status: "FAILURE", user: u, org: o, on: eventOn{kind: "user", id: u.id, name: u.name}})
	p := o.settings.password
	if p.lockout && u.failures >= p.attempts {
		u.lockedUntil, u.failures = time.Now().Add(time.Duration(p.minutes)*time.Minute), 0
	}
}

// open begins a session.
func (s *Server) open(u *user, o *org) *login {
	now := time.Now()
	l := &login{id: newID(), user: u, org: o, used: now, created: now, legacy: strings.ReplaceAll(newID(), "-", "")}
	l.token = token(u, o, l.id, now.Add(s.cfg.SessionLifetime))
	s.sessions[l.token] = l
	return l
}

// token has the form of a JWT. Its signature is random: it is looked up, never
// verified.
func token(u *user, o *org, id string, expires time.Time) string {
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
		part(map[string]any{"sub": u.name, "iss": o.id + "@" + o.id, "exp": expires.Unix(), "version": "v2", "jti": id}) + "." +
		base64.RawURLEncoding.EncodeToString(sig)
}

func (l *login) headers() map[string]string {
	return map[string]string{
		"X-VMWARE-VCLOUD-ACCESS-TOKEN": l.token, "X-VMWARE-VCLOUD-TOKEN-TYPE": "Bearer", "x-vcloud-authorization": l.legacy,
	}
}

// json is the session as /cloudapi shows it.
func (l *login) json(s *Server) map[string]any {
	roles, refs := []any{}, []any{}
	if r := s.roleNamed(l.org.id, l.user.role); r != nil {
		roles, refs = []any{r.name}, []any{map[string]any{"name": r.name, "id": r.urn()}}
	}
	return map[string]any{
		"id":                        "urn:vcloud:session:" + l.id,
		"site":                      map[string]any{"name": s.siteName(), "id": s.siteURN()},
		"user":                      map[string]any{"name": l.user.name, "id": l.user.urn()},
		"org":                       orgRefJSON(l.org),
		"operatingOrg":              orgRefJSON(l.org),
		"location":                  s.siteID() + "@" + l.org.id,
		"roles":                     roles,
		"roleRefs":                  refs,
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

// oldLogin is POST /api/sessions, which 38.0 has dropped ("VMware Cloud
// Director 10.5 Release Notes", Discontinued Features): there is nothing at that
// address any more, whoever asks.
func (c *call) oldLogin() (*answer, error) {
	if c.newer("38.0") {
		return nil, refuse(http.StatusNotFound, "NOT_FOUND", "The endpoint /api/sessions was removed in API version 38.0.")
	}
	name, _, _ := c.r.BasicAuth()
	l, err := c.logIn(strings.EqualFold(name[strings.LastIndex(name, "@")+1:], "System"))
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, typ: mediaVCloud + "session", doc: c.sessionDoc(), header: l.headers()}, nil
}

// logOut ends the caller's session.
func (c *call) logOut() (*answer, error) {
	c.s.end(c.login)
	return noContent(), nil
}

func (s *Server) end(l *login) {
	delete(s.sessions, l.token)
	s.note(&event{kind: "session/logout", status: "SUCCESS", user: l.user, org: l.org, on: eventOn{kind: "user", id: l.user.id, name: l.user.name}})
}

// sessionDoc is the Session document of the caller.
func (c *call) sessionDoc() *node {
	l, s := c.login, c.s
	d := el("Session", "user", l.user.name, "org", l.org.name, "userId", "urn:vcloud:user:"+l.user.id, "roles", l.user.role,
		"locationId", l.org.id+"@"+s.siteID(), "href", s.href("/api/session"), "type", mediaVCloud+"session+xml")
	add(d, link("down", s.href("/api/org"), mediaVCloud+"orgList+xml"))
	if c.provider() {
		add(d, link("down", s.href("/api/admin"), mediaAdmin+"vcloud+xml"),
			link("down", s.href("/api/admin/extension"), mediaAdmin+"vmwExtension+xml"))
	}
	add(d, link("down", s.href("/api/query"), mediaVCloud+"query.queryList+xml"), link("remove", s.href("/api/session"), ""))
	return add(d, add(el("AuthorizedLocations"), add(el("Location", "name", l.org.name),
		text("LocationId", l.org.id+"@"+s.siteID()), text("LocationName", l.org.name), text("OrgName", l.org.name),
		text("RestApiEndpoint", s.base), text("UIEndpoint", s.base), text("AuthContext", l.org.name))))
}
