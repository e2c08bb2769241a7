package director

import (
	"net/http"
	"strings"
)

func asJSON(v any) *answer { return &answer{status: http.StatusOK, json: v} }

func (c *call) cloudOrgs() (*answer, error) {
	var out []any
	for _, o := range sorted(c.s.orgs) {
		if c.provider() || o == c.login.org {
			out = append(out, c.s.orgJSON(o))
		}
	}
	return c.list(out)
}

// urnVM is the VM that a path names by its URN.
func (c *call) urnVM() (*vm, error) {
	m := c.s.vms[uuidIn(c.path("urn"))]
	if m == nil || c.level(m.vapp) == accessNone {
		return nil, missing("vm", c.path("urn"))
	}
	return m, nil
}

// cloudSnapshots lists a VM's snapshots, since 39.0.
func (c *call) cloudSnapshots() (*answer, error) {
	m, err := c.urnVM()
	if err != nil {
		return nil, err
	}
	if !c.newer("39.0") {
		return nil, notFound("%s was not found.", c.r.URL.Path)
	}
	if err := c.refresh(m); err != nil {
		return nil, err
	}
	var out []any
	if m.facts != nil && m.facts.snapshot != nil {
		sn := m.facts.snapshot
		out = append(out, map[string]any{"id": "urn:vcloud:snapshot:" + strings.ToLower(uuidOf(m.id, sn.Snapshot.Value)), "name": sn.Name,
			"description": sn.Description, "created": stamp(sn.CreateTime), "isCurrent": true})
	}
	return c.list(out)
}
