package director

import (
	"net/http"
	"strings"
)

// accountRoutes are sessions, API tokens and service accounts.
func accountRoutes() []route {
	return []route{
		{pattern: "GET /api/versions", handle: (*call).versionsDoc, public: true, noAccept: true},
		{pattern: "GET /api/server_status", handle: (*call).serverStatus, public: true, noAccept: true},
		{pattern: "POST /cloudapi/1.0.0/sessions", handle: func(c *call) (*answer, error) { return c.cloudLogin(false) }, public: true},
		{pattern: "POST /cloudapi/1.0.0/sessions/provider", handle: func(c *call) (*answer, error) { return c.cloudLogin(true) }, public: true},
		{pattern: "POST /api/sessions", handle: (*call).oldLogin, public: true},
		{pattern: "GET /cloudapi/1.0.0/sessions", handle: (*call).listSessions},
		{pattern: "DELETE /cloudapi/1.0.0/sessions", handle: (*call).logOutEverywhere},
		{pattern: "GET /cloudapi/1.0.0/sessions/{id}", handle: (*call).getSession},
		{pattern: "DELETE /cloudapi/1.0.0/sessions/{id}", handle: (*call).deleteSession},
		{pattern: "GET /api/session", handle: func(c *call) (*answer, error) { return ok(mediaVCloud+"session", c.sessionDoc()), nil }},
		{pattern: "DELETE /api/session", handle: (*call).logOut},

		{pattern: "POST /oauth/provider/register", handle: (*call).register, noAccept: true},
		{pattern: "POST /oauth/tenant/{org}/register", handle: (*call).register, noAccept: true},
		{pattern: "POST /oauth/provider/token", handle: (*call).tokenGrant, public: true, noAccept: true},
		{pattern: "POST /oauth/tenant/{org}/token", handle: (*call).tokenGrant, public: true, noAccept: true},
		{pattern: "POST /oauth/provider/device_authorization", handle: (*call).authorizeDevice, public: true, noAccept: true},
		{pattern: "POST /oauth/tenant/{org}/device_authorization", handle: (*call).authorizeDevice, public: true, noAccept: true},
		{pattern: "POST /oauth/provider/revoke", handle: (*call).revokeToken, public: true, noAccept: true},
		{pattern: "POST /oauth/tenant/{org}/revoke", handle: (*call).revokeToken, public: true, noAccept: true},
		{pattern: "GET /cloudapi/1.0.0/tokens", handle: (*call).listTokens},
		{pattern: "GET /cloudapi/1.0.0/tokens/{id}", handle: (*call).getToken},
		{pattern: "DELETE /cloudapi/1.0.0/tokens/{id}", handle: (*call).deleteToken},
		{pattern: "GET /cloudapi/1.0.0/serviceAccounts", handle: (*call).listAccounts},
		{pattern: "GET /cloudapi/1.0.0/serviceAccounts/{id}", handle: (*call).getAccount},
		{pattern: "PUT /cloudapi/1.0.0/serviceAccounts/{id}", handle: (*call).putAccount, takes: "application/json"},
		{pattern: "DELETE /cloudapi/1.0.0/serviceAccounts/{id}", handle: (*call).deleteAccount},
		{pattern: "POST /cloudapi/1.0.0/serviceAccounts/{id}/revoke", handle: (*call).revokeAccount},
		{pattern: "POST /cloudapi/1.0.0/deviceLookup/grant", handle: (*call).grantDevice, takes: "application/json"},
	}
}

// theSession is the session of the path: the caller's own under "current" or
// its id, another of the same organization for an administrator.
func (c *call) theSession() (*login, error) {
	id := uuidIn(c.path("id"))
	if c.path("id") == "current" || id == c.login.id {
		return c.login, nil
	}
	for _, l := range c.s.sessions {
		if l.id == id && (l.user == c.login.user || c.orgAdmin(l.org.id)) {
			return l, nil
		}
	}
	return nil, missing("session", or(id, c.path("id")))
}

func (c *call) getSession() (*answer, error) {
	l, err := c.theSession()
	if err != nil {
		return nil, err
	}
	return asJSON(l.json(c.s)), nil
}

func (c *call) deleteSession() (*answer, error) {
	l, err := c.theSession()
	if err != nil {
		return nil, err
	}
	c.s.end(l)
	return noContent(), nil
}

// listSessions is the caller's sessions, the organization's for its
// administrator.
func (c *call) listSessions() (*answer, error) {
	o, err := c.operatingOrg()
	if err != nil {
		return nil, err
	}
	var all []*login
	for _, l := range c.s.sessions {
		if l.org == o && (l.user == c.login.user || c.orgAdmin(o.id)) {
			all = append(all, l)
		}
	}
	sortBy(all, func(a, b *login) bool { return a.created.Before(b.created) })
	var out []any
	for _, l := range all {
		out = append(out, l.json(c.s))
	}
	return c.list(out)
}

// logOutEverywhere ends all sessions of the caller.
func (c *call) logOutEverywhere() (*answer, error) {
	for _, l := range c.s.sessions {
		if l.user == c.login.user {
			c.s.end(l)
		}
	}
	return noContent(), nil
}

// endSessionsOf ends what a user who may not log in any more has open.
func (s *Server) endSessionsOf(u *user) {
	for token, l := range s.sessions {
		if l.user == u {
			delete(s.sessions, token)
		}
	}
}

// serverStatus is what load balancers ask.
func (c *call) serverStatus() (*answer, error) {
	return &answer{status: http.StatusOK, typ: "text/plain", plain: "Service is up."}, nil
}

func (u *user) urn() string { return "urn:vcloud:user:" + u.id }

func orgRefJSON(o *org) map[string]any {
	return map[string]any{"name": o.name, "id": "urn:vcloud:org:" + o.id}
}

// The installation is a site of its own.
func (s *Server) siteID() string   { return uuidOf("site", s.systemOrg().id) }
func (s *Server) siteURN() string  { return "urn:vcloud:site:" + s.siteID() }
func (s *Server) siteName() string { return strings.TrimPrefix(s.base, "https://") }
