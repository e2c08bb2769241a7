package director

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
)

// A quotaPolicy is a set of quotas that can be assigned to organizations, users
// and vApps.
type quotaPolicy struct {
	thing
	org   string // id; "" for the provider's
	pools []quotaPool
	auto  bool // made by PUT …/quotas, for one entity
}

func (p *quotaPolicy) urn() string { return "urn:vcloud:quotaPolicy:" + p.id }

func quotaRoutes() []route {
	const json = "application/json"
	var out []route
	for _, kind := range []string{"orgs", "users", "vapps"} {
		at := " /cloudapi/{version}/" + kind + "/{urn}/"
		out = append(out,
			route{pattern: "GET" + at + "quotaPolicy", handle: func(c *call) (*answer, error) { return c.assignedQuota(kind) }},
			route{pattern: "PUT" + at + "quotaPolicy", handle: func(c *call) (*answer, error) { return c.assignQuota(kind) }, takes: json},
			route{pattern: "GET" + at + "quotas", handle: func(c *call) (*answer, error) { return c.getQuotas(kind) }},
			route{pattern: "PUT" + at + "quotas", handle: func(c *call) (*answer, error) { return c.putQuotas(kind) }, takes: json})
	}
	return append(out,
		route{pattern: "GET /cloudapi/{version}/quotaPolicies", handle: (*call).listQuotaPolicies},
		route{pattern: "POST /cloudapi/{version}/quotaPolicies", handle: (*call).createQuotaPolicy, takes: json},
		route{pattern: "GET /cloudapi/{version}/quotaPolicies/{urn}", handle: (*call).getQuotaPolicy},
		route{pattern: "PUT /cloudapi/{version}/quotaPolicies/{urn}", handle: (*call).putQuotaPolicy, takes: json},
		route{pattern: "DELETE /cloudapi/{version}/quotaPolicies/{urn}", handle: (*call).deleteQuotaPolicy})
}

// A quotaSubject is what a policy can be assigned to.
type quotaSubject struct {
	owner  taskOwner
	org    *org
	pools  []quotaPool
	manage bool // the caller may assign
	in     func(*vm) bool
}

// quotaSubject finds the entity of the path.
func (c *call) quotaSubject(kind string) (*quotaSubject, error) {
	s, id := c.s, uuidIn(c.path("urn"))
	switch kind {
	case "orgs":
		if o := s.orgs[id]; o != nil && (c.provider() || o == c.login.org) {
			return &quotaSubject{taskOwner{"org", id, o.name}, o, s.orgPools(o), c.provider(), func(m *vm) bool { return s.orgOf(m.vapp) == o }}, nil
		}
	case "users":
		if u := s.users[id]; u != nil && (c.orgAdmin(u.org) || u == c.login.user) {
			return &quotaSubject{taskOwner{"user", id, u.name}, s.orgs[u.org], s.userPools(u), c.orgAdmin(u.org),
				func(m *vm) bool { return m.vapp.owner == id }}, nil
		}
	case "vapps":
		if a := s.vapps[id]; a != nil && c.level(a) > accessNone {
			return &quotaSubject{vappOwner(a), s.orgOf(a), s.assignedPools(id), c.orgAdmin(s.orgOf(a).id), func(m *vm) bool { return m.vapp == a }}, nil
		}
	}
	return nil, missing(kind[:len(kind)-1], c.path("urn"))
}

func (c *call) assignedQuota(kind string) (*answer, error) {
	t, err := c.quotaSubject(kind)
	if err != nil {
		return nil, err
	}
	var ref any
	if p := c.s.quotaPolicies[c.s.quotaOf[t.owner.id]]; p != nil {
		ref = map[string]any{"name": p.name, "id": p.urn()}
	}
	return asJSON(map[string]any{"quotaPolicyReference": ref}), nil
}

// assignQuota assigns a policy, or takes it away where the body names none.
func (c *call) assignQuota(kind string) (*answer, error) {
	t, err := c.quotaSubject(kind)
	if err != nil {
		return nil, err
	}
	if !t.manage {
		return nil, noRight("Organization: Edit Quotas Policy", t.owner.id)
	}
	var body struct {
		Ref *struct {
			ID string `json:"id"`
		} `json:"quotaPolicyReference"`
	}
	if len(c.body) > 0 {
		if err := c.decode(&body); err != nil {
			return nil, err
		}
	}
	id := ""
	if body.Ref != nil {
		p, err := c.quotaPolicy(body.Ref.ID)
		if err != nil {
			return nil, err
		}
		if p.org != "" && p.org != t.org.id {
			return nil, badRequest("The quota policy %s belongs to another organization.", p.name)
		}
		id = p.id
	}
	return c.located(c.start("quotaPolicyAssign", "Assigning quota policy to", t.owner, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.s.setQuota(t.owner.id, id)
		return nil
	})), nil
}

func (s *Server) setQuota(entity, policy string) {
	if policy == "" {
		delete(s.quotaOf, entity)
		return
	}
	s.quotaOf[entity] = policy
}

// located answers a call to /cloudapi that started a task: its address is all
// that is said.
func (c *call) located(t *task) *answer {
	return &answer{status: http.StatusAccepted, header: map[string]string{"Location": c.s.href("/api/task/" + t.id)}}
}

// decode reads a JSON body.
func (c *call) decode(into any) error {
	if err := json.Unmarshal(c.body, into); err != nil {
		return badRequest("The body is not understood: %s", err)
	}
	return nil
}

// A poolBody is a QuotaPoolDefinition.
type poolBody struct {
	Name       string   `json:"quotaResourceName,omitempty"`
	Resource   string   `json:"resourceType"`
	Unit       string   `json:"quotaResourceUnit,omitempty"`
	Quota      *int64   `json:"quota"`
	Qualifiers []string `json:"qualifiers"`
}

func (p quotaPool) body() poolBody {
	return poolBody{p.name, p.resource, p.unit, &p.quota, append([]string{}, p.qualifiers...)}
}

var quotaUnits = map[string]string{quotaMemory: "MB", quotaCPU: "MHz", quotaStorage: "MB", quotaVMs: "count"}

func (b poolBody) pool() (quotaPool, error) {
	unit, known := quotaUnits[b.Resource]
	if !known {
		return quotaPool{}, badRequest("The quota resource type %q does not exist.", b.Resource)
	}
	if b.Unit != "" && b.Unit != unit {
		return quotaPool{}, badRequest("The unit of %s is %s, not %q.", b.Resource, unit, b.Unit)
	}
	if b.Quota == nil || *b.Quota < -1 {
		return quotaPool{}, badRequest("The quota of %s is missing or negative.", b.Resource)
	}
	if len(b.Qualifiers) > 0 && (b.Resource != quotaVMs || !slices.Equal(b.Qualifiers, []string{deployedQualifier})) {
		return quotaPool{}, badRequest("The qualifiers %q are not known for %s.", b.Qualifiers, b.Resource)
	}
	return quotaPool{b.Name, b.Resource, unit, *b.Quota, b.Qualifiers}, nil
}

func readPools(bodies []poolBody) ([]quotaPool, error) {
	var out []quotaPool
	seen := map[string]bool{}
	for _, b := range bodies {
		p, err := b.pool()
		if err != nil {
			return nil, err
		}
		if key := p.resource + p.title(); seen[key] {
			return nil, badRequest("There are two quotas for %s.", p.title())
		} else {
			seen[key] = true
		}
		out = append(out, p)
	}
	return out, nil
}

func (c *call) getQuotas(kind string) (*answer, error) {
	t, err := c.quotaSubject(kind)
	if err != nil {
		return nil, err
	}
	pools := []any{}
	used := c.s.used(t.in)
	for _, p := range t.pools {
		pools = append(pools, map[string]any{"enforcingQuotaPolicy": nil, "quotaPoolDefinition": p.body(), "quotaConsumed": used.of(p)})
	}
	return asJSON(map[string]any{"quotaPools": pools}), nil
}

// putQuotas gives an entity a policy of its own. The quotas of the XML API are
// among them, and change with them.
func (c *call) putQuotas(kind string) (*answer, error) {
	t, err := c.quotaSubject(kind)
	if err != nil {
		return nil, err
	}
	if !t.manage {
		return nil, noRight("Organization: Edit Quotas Policy", t.owner.id)
	}
	var body struct {
		Pools []struct {
			Definition poolBody `json:"quotaPoolDefinition"`
		} `json:"quotaPools"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	var defs []poolBody
	for _, p := range body.Pools {
		defs = append(defs, p.Definition)
	}
	pools, err := readPools(defs)
	if err != nil {
		return nil, err
	}
	return c.located(c.start("quotaAssign", "Assigning quotas to", t.owner, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.s.takeQuotas(t, kind, pools)
		return nil
	})), nil
}

func (s *Server) takeQuotas(t *quotaSubject, kind string, pools []quotaPool) {
	switch kind {
	case "orgs":
		s.orgs[t.owner.id].deployedQuota, s.orgs[t.owner.id].stored = 0, 0
	case "users":
		s.users[t.owner.id].deployed, s.users[t.owner.id].quota = 0, 0
	}
	if len(pools) == 0 {
		s.setQuota(t.owner.id, "")
		return
	}
	p := &quotaPolicy{thing: thing{id: newID(), name: t.owner.name + " quotas", seq: s.next()}, org: t.org.id, pools: pools, auto: true}
	s.quotaPolicies[p.id] = p
	s.setQuota(t.owner.id, p.id)
}

// quotaPolicy finds a policy that the caller may see.
func (c *call) quotaPolicy(urn string) (*quotaPolicy, error) {
	p := c.s.quotaPolicies[uuidIn(urn)]
	if p == nil || !c.provider() && p.org != c.login.org.id {
		return nil, missing("quotaPolicy", urn)
	}
	return p, nil
}

func (c *call) quotaJSON(p *quotaPolicy) map[string]any {
	pools := []poolBody{}
	for _, q := range p.pools {
		pools = append(pools, q.body())
	}
	out := map[string]any{"id": p.urn(), "name": p.name, "description": p.desc, "orgId": nil, "quotaPoolDefinitions": pools, "isAutoGenerated": p.auto}
	if p.org != "" {
		out["orgId"] = "urn:vcloud:org:" + p.org
	}
	return out
}

func (c *call) listQuotaPolicies() (*answer, error) {
	var out []any
	for _, p := range sorted(c.s.quotaPolicies) {
		if c.provider() || p.org == c.login.org.id {
			out = append(out, c.quotaJSON(p))
		}
	}
	return c.list(out)
}

func (c *call) getQuotaPolicy() (*answer, error) {
	p, err := c.quotaPolicy(c.path("urn"))
	if err != nil {
		return nil, err
	}
	return asJSON(c.quotaJSON(p)), nil
}

// readQuotaPolicy takes over what a body says.
func (c *call) readQuotaPolicy(p *quotaPolicy) error {
	var body struct {
		Name        string     `json:"name"`
		Description string     `json:"description"`
		Pools       []poolBody `json:"quotaPoolDefinitions"`
	}
	if err := c.decode(&body); err != nil {
		return err
	}
	if body.Name == "" || len(body.Name) > 128 {
		return badRequest("The name %q of the quota policy is empty or too long.", body.Name)
	}
	for _, other := range c.s.quotaPolicies {
		if other != p && other.org == p.org && other.name == body.Name {
			return refuse(http.StatusBadRequest, "DUPLICATE_NAME", "There is a quota policy named %q already.", body.Name)
		}
	}
	pools, err := readPools(body.Pools)
	if err != nil {
		return err
	}
	p.name, p.desc, p.pools = body.Name, body.Description, pools
	return nil
}

func (c *call) createQuotaPolicy() (*answer, error) {
	if !c.orgAdmin(c.login.org.id) {
		return nil, noRight("Quota Policy: Manage", c.login.org.id)
	}
	p := &quotaPolicy{thing: thing{id: newID(), seq: c.s.next()}}
	if !c.provider() {
		p.org = c.login.org.id
	}
	if err := c.readQuotaPolicy(p); err != nil {
		return nil, err
	}
	c.s.quotaPolicies[p.id] = p
	return &answer{status: http.StatusCreated, json: c.quotaJSON(p)}, nil
}

// changeQuotaPolicy finds a policy that the caller may change.
func (c *call) changeQuotaPolicy() (*quotaPolicy, error) {
	p, err := c.quotaPolicy(c.path("urn"))
	if err == nil && !c.orgAdmin(or(p.org, c.s.systemOrg().id)) {
		err = noRight("Quota Policy: Manage", p.id)
	}
	return p, err
}

func (c *call) putQuotaPolicy() (*answer, error) {
	p, err := c.changeQuotaPolicy()
	if err != nil {
		return nil, err
	}
	if err := c.readQuotaPolicy(p); err != nil {
		return nil, err
	}
	return asJSON(c.quotaJSON(p)), nil
}

func (c *call) deleteQuotaPolicy() (*answer, error) {
	p, err := c.changeQuotaPolicy()
	if err != nil {
		return nil, err
	}
	for _, used := range c.s.quotaOf {
		if used == p.id {
			return nil, badRequest("The quota policy %q is assigned and cannot be deleted.", p.name)
		}
	}
	delete(c.s.quotaPolicies, p.id)
	return noContent(), nil
}
