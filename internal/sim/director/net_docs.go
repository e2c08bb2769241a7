package director

import (
	"cmp"
	"context"
	"net/http"
	"strings"
)

// A docKind is a kind of thing that is kept as it was written.
type docKind struct {
	kind string
	urn  string // of its ids, "firewallGroup"; "" where they are bare UUIDs
	// provider keeps tenants away.
	provider bool
	// versioned shows how often it was written, and refuses to write what
	// was read before that.
	versioned bool
	sync      bool                                             // written at once, without a task
	check     func(c *call, d *netDoc, b map[string]any) error // refuses a body and completes it
	show      func(c *call, d *netDoc, out map[string]any)     // adds what the server knows
	inUse     func(c *call, d *netDoc) error                   // refuses to delete it
}

func (k *docKind) idOf(d *netDoc) string {
	if k.urn == "" {
		return d.id
	}
	return "urn:vcloud:" + k.urn + ":" + d.id
}

// json is a document as it was written, with its id.
func (k *docKind) json(c *call, d *netDoc) map[string]any {
	out := d.fields()
	out["id"] = k.idOf(d)
	if k.show != nil {
		k.show(c, d, out)
	}
	return out
}

// parentOf is the entity of the path that documents of a kind belong to, and
// whether the caller may change it: an edge gateway, a network, or nothing.
func (c *call) parentOf(k *docKind, write bool) (string, error) {
	switch {
	case k.provider && !c.provider():
		return "", noRight("System Administrator", k.kind)
	case strings.Contains(c.r.URL.Path, "/edgeGateways/"):
		get := c.theEdge
		if write {
			get = c.changeEdge
		}
		e, err := get()
		if err != nil {
			return "", err
		}
		return e.id, nil
	case strings.Contains(c.r.URL.Path, "/orgVdcNetworks/"):
		get := c.urnNet
		if write {
			get = c.changeURNNet
		}
		n, err := get()
		if err != nil {
			return "", err
		}
		return n.id, nil
	case strings.Contains(c.r.URL.Path, "/vdcs/"):
		v := c.s.vdcs[uuidIn(c.path("urn"))]
		if v == nil || !c.provider() && v.org != c.login.org.id {
			return "", missing("vdc", c.path("urn"))
		}
		if write && !c.provider() {
			return "", noRight("Organization vDC Network: Edit Properties", v.id)
		}
		return v.id, nil
	}
	return "", nil
}

// list lists the documents of a kind.
func (k *docKind) list(c *call) (*answer, error) {
	return k.listOf(c, func(filter string) string { return filter })
}

// listOf is list with a filter that is another than the client's.
func (k *docKind) listOf(c *call, rewrite func(filter string) string) (*answer, error) {
	parent, err := c.parentOf(k, false)
	if err != nil {
		return nil, err
	}
	var out []any
	of, rest := c.contexts()
	for _, d := range sorted(c.s.netDocs) {
		if d.kind == k.kind && (parent == "" || d.parent == parent) && c.seesDoc(d) && c.s.usedIn(d, of) {
			out = append(out, k.json(c, d))
		}
	}
	return c.listWhere(out, rewrite(rest))
}

// usedIn tells whether a document can be used in all of those: it belongs to
// them, or to an edge gateway of theirs. Port profiles are for the whole
// organization or NSX-T manager, and what comes with NSX-T for everybody.
func (s *Server) usedIn(d *netDoc, of []string) bool {
	e, scope := s.edges[d.parent], textOf(d.fields(), "scope")
	for _, id := range of {
		id = uuidIn(id)
		switch {
		case id == "" || d.parent == id || scope == "SYSTEM" || e != nil && (e.vdc == id || e.group == id):
		case scope == "PROVIDER" && uuidIn(textOf(d.fields(), "contextEntityId")) == id:
		case scope == "PROVIDER" && s.ownerOrg(id) != "":
		case scope == "TENANT" && s.ownerOrg(id) != "" && s.ownerOrg(id) == s.ownerOrg(d.parent):
		default:
			return false
		}
	}
	return true
}

// ownerOrg is the organization of a VDC, a VDC group or an edge gateway.
func (s *Server) ownerOrg(id string) string {
	if e := s.edges[id]; e != nil {
		id = e.vdc
	}
	if v := s.vdcs[id]; v != nil {
		return v.org
	}
	if g := s.netDocs[id]; g != nil && g.kind == vdcGroups.kind {
		return g.parent
	}
	return ""
}

// seesDoc tells whether the caller may see a document: the provider sees all,
// tenants what belongs to something of their organization.
func (c *call) seesDoc(d *netDoc) bool {
	if c.provider() {
		return true
	}
	if e := c.s.edges[d.parent]; e != nil {
		return c.seesEdge(e)
	}
	if n := c.s.nets[d.parent]; n != nil {
		return c.seesNet(n)
	}
	if v := c.s.vdcs[d.parent]; v != nil {
		return v.org == c.login.org.id
	}
	if g := c.s.netDocs[d.parent]; g != nil {
		return c.seesDoc(g)
	}
	if textOf(d.fields(), "scope") == "SYSTEM" || textOf(d.fields(), "scope") == "PROVIDER" {
		return true
	}
	return d.parent == c.login.org.id
}

// find is the document of the path.
func (k *docKind) find(c *call, write bool) (*netDoc, error) {
	parent, err := c.parentOf(k, write)
	if err != nil {
		return nil, err
	}
	name := cmp.Or(c.path("doc"), c.path("urn"))
	d := c.s.netDocs[uuidIn(name)]
	if d == nil || d.kind != k.kind || parent != "" && d.parent != parent || !c.seesDoc(d) {
		return nil, missing(cmp.Or(k.urn, k.kind), name)
	}
	return d, nil
}

func (k *docKind) get(c *call) (*answer, error) {
	d, err := k.find(c, false)
	if err != nil {
		return nil, err
	}
	return asJSON(k.json(c, d)), nil
}

func (k *docKind) post(c *call) (*answer, error) {
	parent, err := c.parentOf(k, true)
	if err != nil {
		return nil, err
	}
	d := &netDoc{thing: thing{id: newID(), seq: c.s.next()}, kind: k.kind, parent: parent}
	return k.write(c, d, true)
}

func (k *docKind) put(c *call) (*answer, error) {
	d, err := k.find(c, true)
	if err != nil {
		return nil, err
	}
	return k.write(c, d, false)
}

// write checks a body and keeps it.
func (k *docKind) write(c *call, d *netDoc, fresh bool) (*answer, error) {
	b, err := c.jsonBody(nil)
	if err != nil {
		return nil, err
	}
	if k.versioned {
		if err := nextVersion(d, b, fresh); err != nil {
			return nil, err
		}
	}
	n := *d
	if k.check != nil {
		if err := k.check(c, &n, b); err != nil {
			return nil, err
		}
	}
	if name, is := b["name"].(string); is {
		n.name = name
	}
	n.desc, _ = b["description"].(string)
	n.body = asText(b)
	keep := func() {
		*d = n
		c.s.netDocs[d.id] = d
	}
	if k.sync {
		keep()
		a := asJSON(k.json(c, d))
		if fresh {
			a.status = http.StatusCreated
		}
		return a, nil
	}
	t := c.start(k.kind+"Update", "Updating", k.owner(c, &n), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		keep()
		return nil
	})
	if k.urn == "" {
		// What has no URN is found by its task's details.
		t.note = d.id
	}
	return c.cloudAccepted(t), nil
}

// owner is what a task on a document works on.
func (k *docKind) owner(_ *call, d *netDoc) taskOwner {
	return taskOwner{or(k.urn, "rule"), d.id, d.name}
}

// nextVersion counts how often a document was written. A body that brings an
// older version was read before somebody else wrote.
func nextVersion(d *netDoc, b map[string]any, fresh bool) error {
	now := -1.0
	if v, is := d.fields()["version"].(map[string]any); is {
		now, _ = v["version"].(float64)
	}
	if v, is := b["version"].(map[string]any); is && !fresh && d.body != "" {
		if sent, is := v["version"].(float64); is && sent != now {
			return refuse(http.StatusConflict, "CONFLICT", "The %s %q was changed meanwhile: its version is %d.", d.kind, d.name, int(now))
		}
	}
	b["version"] = map[string]any{"version": now + 1}
	return nil
}

func (k *docKind) remove(c *call) (*answer, error) {
	d, err := k.find(c, true)
	if err != nil {
		return nil, err
	}
	if k.inUse != nil {
		if err := k.inUse(c, d); err != nil {
			return nil, err
		}
	}
	if k.sync {
		delete(c.s.netDocs, d.id)
		return noContent(), nil
	}
	return c.cloudAccepted(c.start(k.kind+"Delete", "Deleting", k.owner(c, d), func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		delete(c.s.netDocs, d.id)
		c.s.dropDocs(d.id)
		return nil
	})), nil
}

// dropDocs forgets what belonged to something that is gone.
func (s *Server) dropDocs(parent string) {
	for id, d := range s.netDocs {
		if d.parent == parent {
			delete(s.netDocs, id)
		}
	}
}

// A single is a document that an edge gateway or a network has exactly one of.
type single struct {
	kind  string
	empty map[string]any // before it was written
	check func(c *call, b map[string]any) error
}

func (k *single) docKind() *docKind { return &docKind{kind: k.kind} }

func (k *single) idOf(parent string) string { return uuidOf(k.kind, parent) }

func (k *single) get(c *call) (*answer, error) {
	parent, err := c.parentOf(k.docKind(), false)
	if err != nil {
		return nil, err
	}
	if d := c.s.netDocs[k.idOf(parent)]; d != nil {
		return asJSON(d.fields()), nil
	}
	return asJSON(k.empty), nil
}

// keep writes a document without a request of its own.
func (k *single) keep(s *Server, parent string, body map[string]any) {
	id := k.idOf(parent)
	s.netDocs[id] = &netDoc{thing: thing{id: id, seq: s.next()}, kind: k.kind, parent: parent, body: asText(body)}
}

func (k *single) put(c *call) (*answer, error) {
	parent, err := c.parentOf(k.docKind(), true)
	if err != nil {
		return nil, err
	}
	b, err := c.jsonBody(nil)
	if err != nil {
		return nil, err
	}
	if k.check != nil {
		if err := k.check(c, b); err != nil {
			return nil, err
		}
	}
	id := k.idOf(parent)
	d := c.s.netDocs[id]
	if d == nil {
		d = &netDoc{thing: thing{id: id, seq: c.s.next()}, kind: k.kind, parent: parent}
	}
	if err := nextVersion(d, b, false); err != nil {
		return nil, err
	}
	return k.later(c, parent, func() {
		d.body = asText(b)
		c.s.netDocs[id] = d
	}), nil
}

func (k *single) remove(c *call) (*answer, error) {
	parent, err := c.parentOf(k.docKind(), true)
	if err != nil {
		return nil, err
	}
	return k.later(c, parent, func() { delete(c.s.netDocs, k.idOf(parent)) }), nil
}

// later does it in a task on the parent.
func (k *single) later(c *call, parent string, do func()) *answer {
	o := taskOwner{"network", parent, ""}
	if e := c.s.edges[parent]; e != nil {
		o = taskOwner{"edgeGateway", parent, e.name}
	}
	return c.later(k.kind, o, do)
}

// later changes a document of a kind in a task on its owner.
func (c *call) later(kind string, o taskOwner, do func()) *answer {
	return c.cloudAccepted(c.start(kind+"Update", "Updating", o, func(context.Context) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		do()
		return nil
	}))
}
