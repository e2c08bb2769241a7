package director

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// States of a service account.
const (
	accountCreated   = "CREATED"
	accountRequested = "REQUESTED"
	accountGranted   = "GRANTED"
	accountActive    = "ACTIVE"
)

// A serviceAccount is an account of software. It gets its first API token as a
// device does (RFC 8628).
type serviceAccount struct {
	thing
	org                    *org
	software, version, uri string
	status                 string
	device, code           string // device code and user code
	secret                 string
	user                   *user // whom its sessions belong to
}

func (a *serviceAccount) urn() string { return "urn:vcloud:serviceAccount:" + a.id }

func (a *serviceAccount) json(s *Server) map[string]any {
	out := map[string]any{"id": a.urn(), "name": a.name, "softwareId": a.software, "softwareVersion": a.version, "uri": a.uri, "status": a.status,
		"org": orgRefJSON(a.org), "role": nil}
	if r := s.roleNamed(a.org.id, a.user.role); r != nil {
		out["role"] = map[string]any{"name": r.name, "id": r.urn()}
	}
	return out
}

// newAccount makes a service account whose scope names a role.
func (c *call) newAccount(o *org, name, scope, software string) (*serviceAccount, error) {
	if !c.has("Service Account: Manage") {
		return nil, noRight("Service Account: Manage", o.id)
	}
	r := c.s.roleNamed(o.id, unescape(strings.TrimPrefix(scope, "urn:vcloud:role:")))
	if r == nil {
		return nil, oauthError("invalid_client_metadata", "The scope %q is not a role of the organization %s.", scope, o.name)
	}
	for _, a := range c.s.accounts {
		if a.org == o && strings.EqualFold(a.name, name) {
			return nil, nameExists(name)
		}
	}
	a := &serviceAccount{thing: thing{id: newID(), name: name, seq: c.s.next()}, org: o, software: software, status: accountCreated}
	a.user = &user{thing: thing{id: a.id, name: name}, org: o.id, role: r.name, enabled: true}
	c.s.accounts[a.id] = a
	return a, nil
}

func (c *call) seesAccount(a *serviceAccount) bool {
	return c.has("Service Account: View") && (c.provider() || a.org == c.login.org)
}

func (c *call) listAccounts() (*answer, error) {
	o, err := c.operatingOrg()
	if err != nil {
		return nil, err
	}
	var out []any
	for _, a := range sorted(c.s.accounts) {
		if a.org == o && c.seesAccount(a) {
			out = append(out, a.json(c.s))
		}
	}
	return c.list(out)
}

func (c *call) theAccount() (*serviceAccount, error) {
	a := c.s.accounts[uuidIn(c.path("id"))]
	if a == nil || !c.seesAccount(a) {
		return nil, missing("serviceAccount", or(uuidIn(c.path("id")), c.path("id")))
	}
	return a, nil
}

func (c *call) getAccount() (*answer, error) {
	a, err := c.theAccount()
	if err != nil {
		return nil, err
	}
	return asJSON(a.json(c.s)), nil
}

func (c *call) putAccount() (*answer, error) {
	a, err := c.theAccount()
	if err != nil {
		return nil, err
	}
	var body struct {
		Name, SoftwareID, SoftwareVersion, URI string
		Role                                   *reference
	}
	if err := json.Unmarshal(c.body, &body); err != nil || body.Name == "" {
		return nil, badRequest("The body is not a service account.")
	}
	if body.Role != nil {
		r := c.s.roles[uuidIn(body.Role.ID)]
		if r == nil || r.org != a.org.id {
			return nil, badRequest("The role %s does not exist in the organization.", body.Role.ID)
		}
		a.user.role = r.name
	}
	a.name, a.user.name = body.Name, body.Name
	a.software, a.version, a.uri = or(body.SoftwareID, a.software), body.SoftwareVersion, body.URI
	return asJSON(a.json(c.s)), nil
}

func (c *call) deleteAccount() (*answer, error) {
	a, err := c.theAccount()
	if err != nil {
		return nil, err
	}
	delete(c.s.accounts, a.id)
	c.s.endSessionsOf(a.user)
	return noContent(), nil
}

// revokeAccount takes its access from a service account, which is then as new.
func (c *call) revokeAccount() (*answer, error) {
	a, err := c.theAccount()
	if err != nil {
		return nil, err
	}
	a.status, a.secret, a.device, a.code = accountCreated, "", "", ""
	c.s.endSessionsOf(a.user)
	return noContent(), nil
}

// authorizeDevice begins the way to a service account's first token.
func (c *call) authorizeDevice() (*answer, error) {
	o, err := c.oauthOrg()
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, oauthError("invalid_request", "The form is not understood.")
	}
	a := c.s.accounts[uuidIn(form.Get("client_id"))]
	if a == nil || a.org != o {
		return nil, oauthError("invalid_client", "The client does not exist.")
	}
	if a.status != accountCreated && a.status != accountRequested {
		return nil, oauthError("invalid_request", "The service account %s has been granted access already.", a.name)
	}
	code := strings.ToUpper(secret()[:8])
	a.status, a.device, a.code = accountRequested, secret(), code[:4]+"-"+code[4:]
	path := "/tenant/" + o.name
	if o.system {
		path = "/provider"
	}
	return asJSON(map[string]any{"device_code": a.device, "user_code": a.code, "verification_uri": c.s.href(path + "/administration/access-control/service-accounts"),
		"expires_in": int(time.Hour / time.Second), "interval": 60}), nil
}

// grantDevice is an administrator's consent to the code that a service account
// shows.
func (c *call) grantDevice() (*answer, error) {
	var body struct{ UserCode string }
	if err := json.Unmarshal(c.body, &body); err != nil {
		return nil, badRequest("The body is not understood.")
	}
	for _, a := range c.s.accounts {
		if a.code == "" || a.code != body.UserCode || a.status != accountRequested || !c.seesAccount(a) {
			continue
		}
		if !c.has("Service Account: Manage") {
			return nil, noRight("Service Account: Manage", a.id)
		}
		a.status = accountGranted
		return noContent(), nil
	}
	return nil, badRequest("The user code %q is not valid.", body.UserCode)
}

// deviceToken hands out a granted service account's first token.
func (c *call) deviceToken(o *org, client, device string) (*answer, error) {
	a := c.s.accounts[uuidIn(client)]
	switch {
	case a == nil || a.org != o || device == "" || a.device != device:
		return nil, oauthError("invalid_grant", "The device code is not valid.")
	case a.status == accountRequested:
		return nil, oauthError("authorization_pending", "The authorization request is still pending.")
	case a.status != accountGranted:
		return nil, oauthError("invalid_grant", "The device code was used.")
	}
	a.status, a.secret, a.device, a.code = accountActive, secret(), "", ""
	return granted(c.s.open(a.user, o), a.secret), nil
}

// A reference names an entity in JSON.
type reference struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// references are those that a page's body holds.
func (c *call) references() ([]reference, error) {
	var body struct {
		Values []reference `json:"values"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		return nil, badRequest("The body is not a list of references.")
	}
	return body.Values, nil
}
