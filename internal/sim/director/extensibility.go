package director

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// An extDoc is an external endpoint or an API filter: nothing here calls what
// they lead to, so they are kept as they were written.
type extDoc struct {
	thing
	kind string // externalEndpoint, apiFilter
	body string // JSON, without its id
}

func (d *extDoc) urn() string { return "urn:vcloud:" + d.kind + ":" + d.id }

func (d *extDoc) json() map[string]any {
	out := map[string]any{}
	_ = json.Unmarshal([]byte(d.body), &out) // it was read before
	out["id"] = d.urn()
	return out
}

func extensibilityRoutes() []route {
	var out []route
	for path, kind := range map[string]string{"externalEndpoints": "externalEndpoint", "apiFilters": "apiFilter"} {
		at := " /cloudapi/{version}/" + path
		with := func(h func(*call, string) (*answer, error)) handler {
			return func(c *call) (*answer, error) { return h(c, kind) }
		}
		out = append(out,
			route{pattern: "GET" + at, handle: with((*call).listExtDocs), provider: true},
			route{pattern: "POST" + at, handle: with((*call).createExtDoc), provider: true, takes: "application/json"},
			route{pattern: "GET" + at + "/{urn}", handle: with((*call).getExtDoc), provider: true},
			route{pattern: "PUT" + at + "/{urn}", handle: with((*call).putExtDoc), provider: true, takes: "application/json"},
			route{pattern: "DELETE" + at + "/{urn}", handle: with((*call).deleteExtDoc), provider: true})
	}
	return out
}

func (c *call) listExtDocs(kind string) (*answer, error) {
	var out []any
	for _, d := range sorted(c.s.extDocs) {
		if d.kind == kind {
			out = append(out, d.json())
		}
	}
	return c.list(out)
}

func (c *call) theExtDoc(kind string) (*extDoc, error) {
	d := c.s.extDocs[uuidIn(c.path("urn"))]
	if d == nil || d.kind != kind {
		return nil, missing(kind, c.path("urn"))
	}
	return d, nil
}

func (c *call) getExtDoc(kind string) (*answer, error) {
	d, err := c.theExtDoc(kind)
	if err != nil {
		return nil, err
	}
	return asJSON(d.json()), nil
}

var semantic = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)

// readExtDoc checks a body as the OpenAPI reference describes ExternalEndpoint
// and ApiFilter.
func (c *call) readExtDoc(d *extDoc) error {
	var body map[string]any
	if err := c.decode(&body); err != nil {
		return err
	}
	var err error
	if d.kind == "externalEndpoint" {
		err = c.checkEndpoint(d, body)
	} else {
		err = c.checkFilter(body)
	}
	if err != nil {
		return err
	}
	delete(body, "id")
	b, err := json.Marshal(body)
	if err != nil {
		return badRequest("The body is not understood.")
	}
	d.name, _ = body["name"].(string)
	d.body = string(b)
	return nil
}

func (c *call) checkEndpoint(d *extDoc, body map[string]any) error {
	str := func(k string) string { s, _ := body[k].(string); return s }
	u, err := url.Parse(str("rootUrl"))
	switch {
	case str("name") == "" || str("vendor") == "" || strings.ContainsAny(str("name")+str("vendor"), ". /:"):
		return badRequest("An external endpoint needs a name and a vendor, without special characters.")
	case !semantic.MatchString(str("version")):
		return badRequest("The version %q is not semantic.", str("version"))
	case err != nil || u.Scheme != "https" || u.Host == "":
		return badRequest("The root URL %q is not one of the https protocol.", str("rootUrl"))
	}
	for _, other := range c.s.extDocs {
		if o := other.json(); other != d && other.kind == d.kind && o["name"] == body["name"] && o["vendor"] == body["vendor"] && o["version"] == body["version"] {
			return refuse(http.StatusBadRequest, "DUPLICATE_NAME", "The external endpoint %s:%s:%s exists already.", str("vendor"), str("name"), str("version"))
		}
	}
	return nil
}

func (c *call) checkFilter(body map[string]any) error {
	ref, _ := body["externalSystem"].(map[string]any)
	id, _ := ref["id"].(string)
	matcher, _ := body["urlMatcher"].(map[string]any)
	typ, _ := body["responseContentType"].(string)
	scope, _ := matcher["urlScope"].(string)
	pattern, _ := matcher["urlPattern"].(string)
	switch e := c.s.extDocs[uuidIn(id)]; {
	case e == nil || e.kind != "externalEndpoint":
		return badRequest("The external system %q does not exist.", id)
	case (matcher == nil) == (typ == ""):
		return badRequest("An API filter has either a URL matcher or a response content type.")
	case matcher != nil && (pattern == "" || scope != "EXT_API" && scope != "EXT_UI_PROVIDER" && scope != "EXT_UI_TENANT"):
		return badRequest("The URL matcher is not valid.")
	}
	return nil
}

func (c *call) createExtDoc(kind string) (*answer, error) {
	d := &extDoc{thing: thing{id: newID(), seq: c.s.next()}, kind: kind}
	if err := c.readExtDoc(d); err != nil {
		return nil, err
	}
	c.s.extDocs[d.id] = d
	return &answer{status: http.StatusCreated, json: d.json()}, nil
}

func (c *call) putExtDoc(kind string) (*answer, error) {
	d, err := c.theExtDoc(kind)
	if err != nil {
		return nil, err
	}
	if err := c.readExtDoc(d); err != nil {
		return nil, err
	}
	return asJSON(d.json()), nil
}

// deleteExtDoc refuses endpoints that are enabled or that a filter leads to.
func (c *call) deleteExtDoc(kind string) (*answer, error) {
	d, err := c.theExtDoc(kind)
	if err != nil {
		return nil, err
	}
	if kind == "externalEndpoint" {
		if d.json()["enabled"] == true {
			return nil, badRequest("The external endpoint %q is enabled and cannot be deleted.", d.name)
		}
		for _, f := range c.s.extDocs {
			if f.kind == "apiFilter" && strings.Contains(f.body, d.id) {
				return nil, badRequest("The external endpoint %q cannot be deleted: an API filter leads to it.", d.name)
			}
		}
	}
	delete(c.s.extDocs, d.id)
	return noContent(), nil
}
