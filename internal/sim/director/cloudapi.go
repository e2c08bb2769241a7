package director

import (
	"net/http"
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
