package director

import (
	"net/http"
	"slices"
	"strings"
)

func tagRoutes() []route {
	const typ = "application/json"
	return []route{
		{pattern: "GET /cloudapi/{version}/securityTags/values", handle: (*call).tagValues},
		{pattern: "GET /cloudapi/{version}/securityTags/entities", handle: (*call).taggedEntities},
		{pattern: "PUT /cloudapi/{version}/securityTags/tag", handle: (*call).putTag, takes: typ},
		{pattern: "GET /cloudapi/{version}/securityTags/vm/{urn}", handle: (*call).securityTags},
		{pattern: "PUT /cloudapi/{version}/securityTags/vm/{urn}", handle: (*call).setSecurityTags, takes: typ},
	}
}

// tagsIn are the organizations whose tags the caller works with: that of the
// tenant context where a provider names one.
func (c *call) tagsIn(m *vm) bool {
	if c.level(m.vapp) == accessNone {
		return false
	}
	if ctx := c.r.Header.Get("X-VMWARE-VCLOUD-TENANT-CONTEXT"); ctx != "" && c.provider() {
		return c.s.orgOf(m.vapp).id == uuidIn(ctx)
	}
	return true
}

// cleanTags checks tags and makes them lower case, as the OpenAPI reference of
// EntitySecurityTags has it.
func cleanTags(tags []string) ([]string, error) {
	out := []string{}
	for _, t := range tags {
		t = strings.ToLower(strings.TrimSpace(t))
		if t == "" || len(t) > 128 || strings.ContainsAny(t, "*;,") {
			return nil, badRequest("The security tag %q is empty, too long or has a character that it must not have.", t)
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out, nil
}

func (m *vm) tagsJSON() map[string]any { return map[string]any{"tags": append([]string{}, m.tags...)} }

func (c *call) securityTags() (*answer, error) {
	m, err := c.urnVM()
	if err != nil {
		return nil, err
	}
	return asJSON(m.tagsJSON()), nil
}

// setSecurityTags replaces a VM's security tags.
func (c *call) setSecurityTags() (*answer, error) {
	m, err := c.urnVM()
	if err != nil {
		return nil, err
	}
	if err := c.mayChange(m.vapp, m, accessChange); err != nil {
		return nil, err
	}
	var body struct {
		Tags []string `json:"tags"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	tags, err := cleanTags(body.Tags)
	if err != nil {
		return nil, err
	}
	m.tags = tags
	return asJSON(m.tagsJSON()), nil
}

func (c *call) tagValues() (*answer, error) {
	seen := map[string]bool{}
	for _, m := range c.s.vms {
		if c.tagsIn(m) {
			for _, t := range m.tags {
				seen[t] = true
			}
		}
	}
	var out []any
	for _, t := range keys(seen) {
		out = append(out, map[string]any{"tag": t})
	}
	return c.list(out)
}

// taggedEntities lists VMs once for each of their tags that the filter lets
// through, as entities: the tag itself is no member of the answer.
func (c *call) taggedEntities() (*answer, error) {
	want, rest := "", c.r.URL.RawQuery
	match := func(*call, *record) bool { return true }
	if raw := c.query("filter"); raw != "" {
		m, err := parseFilter(raw, c.flag("filterEncoded"))
		if err != nil {
			return nil, err
		}
		match, want = m, raw
	}
	var out []any
	for _, m := range sorted(c.s.vms) {
		if !c.tagsIn(m) {
			continue
		}
		for _, t := range m.tags {
			if match(c, &record{attrs: []string{"tag", t, "entityType", "vm", "id", "urn:vcloud:vm:" + m.id, "name", m.name}}) {
				v := c.s.vdcs[m.vapp.vdc]
				out = append(out, map[string]any{"entityType": "vm", "id": "urn:vcloud:vm:" + m.id, "name": m.name,
					"ownerRef":  map[string]any{"id": "urn:vcloud:vdc:" + v.id, "name": v.name},
					"parentRef": map[string]any{"id": "urn:vcloud:vapp:" + m.vapp.id, "name": m.vapp.name}})
				break
			}
		}
	}
	if want != "" { // it was applied: the page's links keep it
		c.r.URL.RawQuery = withoutFilter(rest)
	}
	a, err := c.list(out)
	c.r.URL.RawQuery = rest
	return a, err
}

func withoutFilter(raw string) string {
	var parts []string
	for part := range strings.SplitSeq(raw, "&") {
		if !strings.HasPrefix(part, "filter=") {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "&")
}

// putTag gives a tag to the VMs that it names, and takes it from all others.
func (c *call) putTag() (*answer, error) {
	var body struct {
		Tag      string   `json:"tag"`
		Entities []string `json:"entities"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	tags, err := cleanTags([]string{body.Tag})
	if err != nil {
		return nil, err
	}
	tag, chosen := tags[0], map[*vm]bool{}
	for _, urn := range body.Entities {
		m := c.s.vms[uuidIn(urn)]
		if m == nil || !c.tagsIn(m) {
			return nil, badRequest("The entity %q is not a VM that can be tagged.", urn)
		}
		if err := c.mayChange(m.vapp, m, accessChange); err != nil {
			return nil, err
		}
		chosen[m] = true
	}
	for _, m := range c.s.vms {
		if !c.tagsIn(m) {
			continue
		}
		m.tags = slices.DeleteFunc(slices.Clone(m.tags), func(t string) bool { return t == tag })
		if chosen[m] {
			m.tags = append(m.tags, tag)
		}
	}
	return &answer{status: http.StatusOK, json: map[string]any{"tag": tag, "entities": append([]string{}, body.Entities...)}}, nil
}
