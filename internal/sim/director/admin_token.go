package director

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An apiToken is a token with which a user logs in without a password, or, as
// long as secret is empty, a client that waits for its token.
type apiToken struct {
	thing
	user    *user
	org     *org
	secret  string
	created time.Time
}

func (t *apiToken) urn() string { return "urn:vcloud:token:" + t.id }

func (t *apiToken) json() map[string]any {
	return map[string]any{"id": t.urn(), "name": t.name, "token": nil, "type": "REFRESH", "expirationTimeStamp": nil, "relyingPartyId": nil,
		"owner": map[string]any{"name": t.user.name, "id": t.user.urn()}, "org": orgRefJSON(t.org)}
}

// secret is 32 letters and digits, as vCD's API tokens are.
func secret() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	return strings.NewReplacer("-", "x", "_", "y").Replace(base64.RawURLEncoding.EncodeToString(b))
}

// oauthError is an error of the OAuth endpoints (RFC 6749, section 5.2).
func oauthError(code, format string, args ...any) *apiError {
	e := refuse(http.StatusBadRequest, code, format, args...)
	return e
}

// oauthOrg is the organization whose OAuth endpoint was called.
func (c *call) oauthOrg() (*org, error) {
	if !strings.HasPrefix(c.r.URL.Path, "/oauth/tenant/") {
		return c.s.systemOrg(), nil
	}
	o := c.s.orgNamed(c.path("org"))
	if o == nil || o.system {
		return nil, refuse(http.StatusUnauthorized, "UNAUTHORIZED", "Unauthorized")
	}
	return o, nil
}

// register makes a client: of an API token of the caller's, or, when the body
// names software, a service account (RFC 7591).
func (c *call) register() (*answer, error) {
	o, err := c.oauthOrg()
	if err != nil {
		return nil, err
	}
	var body struct {
		Name     string `json:"client_name"`
		Software string `json:"software_id"`
		Version  string `json:"software_version"`
		URI      string `json:"client_uri"`
		Scope    string `json:"scope"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil || body.Name == "" {
		return nil, oauthError("invalid_client_metadata", "The client has no name.")
	}
	if !c.provider() && o != c.login.org {
		return nil, noRight("API Tokens: Manage", o.id)
	}
	answer := map[string]any{"client_name": body.Name, "token_endpoint_auth_method": "none", "redirect_uris": nil}
	if body.Software != "" {
		a, err := c.newAccount(o, body.Name, body.Scope, body.Software)
		if err != nil {
			return nil, err
		}
		a.version, a.uri = body.Version, body.URI
		answer["client_id"], answer["software_id"], answer["scope"] = a.id, a.software, body.Scope
		answer["software_version"], answer["client_uri"] = body.Version, body.URI
		answer["grant_types"] = []string{"urn:ietf:params:oauth:grant-type:device_code", "refresh_token"}
		return created(answer), nil
	}
	if !c.has("API Tokens: Manage") {
		return nil, noRight("API Tokens: Manage", o.id)
	}
	if o != c.login.org {
		return nil, oauthError("invalid_client_metadata", "The user is not a member of the organization %s.", o.name)
	}
	for _, t := range c.s.tokens {
		if t.user == c.login.user && t.name == body.Name {
			return nil, nameExists(body.Name)
		}
	}
	t := &apiToken{thing: thing{id: newID(), name: body.Name, seq: c.s.next()}, user: c.login.user, org: o, created: time.Now()}
	c.s.tokens[t.id] = t
	answer["client_id"], answer["grant_types"] = t.id, []string{"urn:ietf:params:oauth:grant-type:jwt-bearer", "refresh_token"}
	return created(answer), nil
}

func created(v any) *answer { return &answer{status: http.StatusCreated, json: v} }

// addAPIToken gives a user an API token with that secret.
func (s *Server) addAPIToken(u *user, o *org, name, secret string) {
	t := &apiToken{thing: thing{id: newID(), name: name, seq: s.next()}, user: u, org: o, secret: secret, created: time.Now()}
	s.tokens[t.id] = t
}

// tokenGrant is the token endpoint: it makes the API token of a client out of a
// session (jwt-bearer), the one of a service account out of a granted device
// code, and a session out of either (refresh_token).
func (c *call) tokenGrant() (*answer, error) {
	o, err := c.oauthOrg()
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, oauthError("invalid_request", "The form is not understood.")
	}
	switch form.Get("grant_type") {
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		return c.firstToken(o, form.Get("assertion"), form.Get("client_id"))
	case "urn:ietf:params:oauth:grant-type:device_code":
		return c.deviceToken(o, form.Get("client_id"), form.Get("device_code"))
	case "refresh_token":
		return c.refreshGrant(o, form.Get("refresh_token"))
	}
	return nil, oauthError("unsupported_grant_type", "The grant type %q is not supported.", form.Get("grant_type"))
}

// firstToken hands out the secret of an API token, once.
func (c *call) firstToken(o *org, assertion, client string) (*answer, error) {
	l := c.s.sessionOf(assertion)
	t := c.s.tokens[uuidIn(client)]
	if l == nil || t == nil || t.user != l.user || t.org != o || t.secret != "" {
		return nil, oauthError("invalid_grant", "The assertion or the client is not valid, or the client has its token already.")
	}
	t.secret = secret()
	return granted(c.s.open(l.user, o), t.secret), nil
}

// granted is the answer of the token endpoint.
func granted(l *login, refresh string) *answer {
	body := map[string]any{"access_token": l.token, "token_type": "Bearer", "expires_in": 3600, "refresh_token": nil}
	if refresh != "" {
		body["refresh_token"] = refresh
	}
	return asJSON(body)
}

// refreshGrant opens a session for who has an API token. That of a service
// account changes each time ("Manage Service Accounts", VMware Cloud Director
// 10.4 documentation).
func (c *call) refreshGrant(o *org, refresh string) (*answer, error) {
	bad := oauthError("invalid_grant", "The refresh token is not valid.")
	if refresh == "" {
		return nil, bad
	}
	for _, t := range c.s.tokens {
		if t.secret != refresh || t.org != o {
			continue
		}
		if !c.s.mayLogIn(t.user, o) || t.user.locked() {
			return nil, bad
		}
		c.login = c.s.open(t.user, o)
		c.record("session/login", "SUCCESS", eventOn{kind: "user", id: t.user.id, name: t.user.name})
		return granted(c.login, ""), nil
	}
	for _, a := range c.s.accounts {
		if a.secret == refresh && a.org == o && a.status == accountActive && c.s.mayLogIn(a.user, o) {
			a.secret = secret()
			return granted(c.s.open(a.user, o), a.secret), nil
		}
	}
	return nil, bad
}

// revokeToken ends an API token by its secret (RFC 7009): the answer does not
// tell whether there was one.
func (c *call) revokeToken() (*answer, error) {
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, oauthError("invalid_request", "The form is not understood.")
	}
	for id, t := range c.s.tokens {
		if t.secret != "" && t.secret == form.Get("token") {
			delete(c.s.tokens, id)
		}
	}
	return asJSON(map[string]any{}), nil
}

// seesToken tells whether the caller may list and delete an API token.
func (c *call) seesToken(t *apiToken) bool {
	return t.user == c.login.user || c.has("API Tokens: Manage All") && (c.provider() || t.org == c.login.org)
}

func (c *call) listTokens() (*answer, error) {
	o, err := c.operatingOrg()
	if err != nil {
		return nil, err
	}
	var out []any
	for _, t := range sorted(c.s.tokens) {
		if c.seesToken(t) && (t.org == o || o.system) {
			out = append(out, t.json())
		}
	}
	return c.list(out)
}

func (c *call) theToken() (*apiToken, error) {
	t := c.s.tokens[uuidIn(c.path("id"))]
	if t == nil || !c.seesToken(t) {
		return nil, missing("token", or(uuidIn(c.path("id")), c.path("id")))
	}
	return t, nil
}

func (c *call) getToken() (*answer, error) {
	t, err := c.theToken()
	if err != nil {
		return nil, err
	}
	return asJSON(t.json()), nil
}

func (c *call) deleteToken() (*answer, error) {
	t, err := c.theToken()
	if err != nil {
		return nil, err
	}
	delete(c.s.tokens, t.id)
	return noContent(), nil
}
