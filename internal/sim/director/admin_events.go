package director

import (
	"strings"
	"time"
)

// An event is an entry of the audit trail.
type event struct {
	id     string
	kind   string // after "com/vmware/vcloud/event/"
	status string // SUCCESS, FAILURE
	user   *user
	org    *org
	on     eventOn
	at     time.Time
	task   string // id of the task that it tells of
	from   string // the client's address
	login  string // id of the session
}

// An eventOn is what an event is about.
type eventOn struct{ kind, id, name string }

// keptEvents bounds the trail: the oldest go first. A real installation keeps
// them for 60 days.
const keptEvents = 10000

// note adds an event to the trail.
func (s *Server) note(e *event) {
	e.id, e.at = newID(), s.now()
	s.events = append(s.events, e)
	if len(s.events) > keptEvents {
		s.events = append([]*event(nil), s.events[len(s.events)-keptEvents*3/4:]...)
	}
}

// record adds an event that the caller is the cause of.
func (c *call) record(kind, status string, on eventOn) {
	host, _, _ := strings.Cut(c.r.RemoteAddr, ":")
	c.s.note(&event{kind: kind, status: status, user: c.login.user, org: c.login.org, on: on, from: host, login: c.login.id})
}

func (s *Server) noteTask(t *task, what string) {
	s.note(&event{kind: "task/" + what, status: "SUCCESS", user: t.user, org: t.org, on: eventOn{"task", t.id, t.name}, task: t.id})
}

// noteEnd records a task's end, and what it did to its entity.
func (s *Server) noteEnd(t *task) {
	ends := map[string]string{"success": "complete", "error": "fail", "canceled": "abort", "aborted": "abort"}
	e := &event{kind: "task/" + ends[t.status], status: "SUCCESS", user: t.user, org: t.org, on: eventOn{"task", t.id, t.name}, task: t.id}
	on := &event{kind: t.owner.kind + "/" + deed(t.name), status: "SUCCESS", user: t.user, org: t.org, on: eventOn{t.owner.kind, t.owner.id, t.owner.name}, task: t.id}
	if t.status != "success" {
		e.status, on.status = "FAILURE", "FAILURE"
	}
	s.note(e)
	s.note(on)
}

// deed is what an operation does to its entity, by the operation's name.
func deed(operation string) string {
	name := strings.ToLower(operation)
	for _, d := range []struct{ part, deed string }{
		{"undeploy", "undeploy"}, {"delete", "delete"}, {"destroy", "delete"}, {"import", "import"}, {"create", "create"}, {"compose", "create"},
		{"instantiate", "create"}, {"copy", "create"}, {"clone", "create"}, {"deploy", "deploy"},
	} {
		if strings.Contains(name, d.part) && !strings.Contains(name, "snapshot") && !strings.Contains(name, "recompose") && !strings.Contains(name, "metadata") {
			return d.deed
		}
	}
	return "modify"
}

func (e *event) typeName() string { return "com/vmware/vcloud/event/" + e.kind }

// verbs are the descriptions of events, where they are not "KIND 'NAME' was
// DONE".
func (e *event) description() string {
	what, done, _ := strings.Cut(e.kind, "/")
	result := ""
	if e.status == "FAILURE" {
		result = " failed"
	}
	switch {
	case e.kind == "session/login" && result == "":
		return "User '" + e.user.name + "' logged in"
	case what == "session":
		return "User '" + e.user.name + "' " + done + result
	}
	return strings.ToUpper(what[:1]) + what[1:] + " '" + e.on.name + "' " + done + result
}

func (e *event) json() map[string]any {
	var task any
	if e.task != "" {
		task = "urn:vcloud:task:" + e.task
	}
	return map[string]any{
		"eventId": "urn:vcloud:audit:" + e.id, "description": e.description(), "operatingOrg": orgRefJSON(e.org), "org": orgRefJSON(e.org),
		"user":        map[string]any{"name": e.user.name, "id": e.user.urn()},
		"eventEntity": map[string]any{"name": e.on.name, "id": "urn:vcloud:" + strings.ToLower(e.on.kind) + ":" + e.on.id},
		"taskId":      task, "taskCellId": cellID, "cellId": cellID, "eventType": e.typeName(), "serviceNamespace": "com.vmware.vcloud",
		"eventStatus": e.status, "timestamp": auditTime(e.at), "external": false,
		"additionalProperties": map[string]any{"user.roles": e.user.role, "user.session.id": e.login,
			"currentContext.user.clientIpAddress": e.from, "currentContext.user.proxyAddress": nil, "currentContext.success": e.status == "SUCCESS"},
	}
}

// auditTime is a time as the audit trail has it: without a colon in the zone.
func auditTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000-0700") }

// cellID is the id of the only cell.
var cellID = uuidOf("cell")

// visibleEvents are those of the caller's organization, the newest first; of
// the operating one, or of all, for the provider.
func (c *call) visibleEvents() ([]*event, error) {
	o, err := c.operatingOrg()
	if err != nil {
		return nil, err
	}
	var out []*event
	for i := len(c.s.events) - 1; i >= 0; i-- {
		if e := c.s.events[i]; o.system || e.org == o {
			out = append(out, e)
		}
	}
	return out, nil
}

// auditTrail is /cloudapi/1.0.0/auditTrail.
func (c *call) auditTrail() (*answer, error) {
	events, err := c.visibleEvents()
	if err != nil {
		return nil, err
	}
	out := make([]any, 0, len(events))
	for _, e := range events {
		out = append(out, e.json())
	}
	return c.list(out)
}

func (c *call) auditEvent() (*answer, error) {
	events, err := c.visibleEvents()
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		if e.id == uuidIn(c.path("id")) {
			return asJSON(e.json()), nil
		}
	}
	return nil, missing("audit", or(uuidIn(c.path("id")), c.path("id")))
}

// eventRecords are the rows of the event query.
func (c *call) eventRecords() []*record {
	events, err := c.visibleEvents()
	if err != nil {
		return nil
	}
	var out []*record
	for _, e := range events {
		status := "1"
		if e.status == "FAILURE" {
			status = "0"
		}
		out = append(out, &record{tag: "EventRecord", attrs: []string{"eventType", e.typeName(), "timeStamp", stamp(e.at), "eventStatus", status,
			"userName", e.user.name, "orgName", e.org.name, "entityType", e.on.kind, "entityName", e.on.name, "serviceNamespace", "com.vmware.vcloud",
			"entity", "urn:vcloud:" + strings.ToLower(e.on.kind) + ":" + e.on.id}})
	}
	return out
}

// adminRecords are the query types of this area.
func adminRecords() map[string]recordType {
	return map[string]recordType{
		"event":        {list: (*call).eventRecords},
		"group":        {list: (*call).groupRecords},
		"adminGroup":   {list: (*call).groupRecords, admin: true},
		"role":         {list: (*call).roleRecords},
		"adminRole":    {list: (*call).roleRecords, admin: true},
		"right":        {list: (*call).rightRecords},
		"strandedUser": {list: (*call).strandedRecords, admin: true},
		"cell":         {list: (*call).cellRecords, admin: true},
	}
}

func (c *call) groupRecords() []*record {
	var out []*record
	for _, g := range sorted(c.s.groups) {
		if !c.orgAdmin(g.org) {
			continue
		}
		r := &record{tag: "GroupRecord", attrs: []string{"href", c.s.href("/api/admin/group/" + g.id), "name", g.name, "roleName", g.role,
			"isReadOnly", "false", "identityProviderType", g.provider}}
		if c.adminQuery() {
			r.tag = "AdminGroupRecord"
			r.attrs = append(r.attrs, "org", c.s.href("/api/org/"+g.org))
		}
		out = append(out, r)
	}
	return out
}

func (c *call) roleRecords() []*record {
	var out []*record
	for _, x := range sorted(c.s.roles) {
		if !c.orgAdmin(x.org) || !c.adminQuery() && x.org != c.login.org.id {
			continue
		}
		r := &record{tag: "RoleRecord", attrs: []string{"href", c.s.href("/api/admin/role/" + x.id), "name", x.name, "isReadOnly", yes(x.readOnly)}}
		if c.adminQuery() {
			r.tag = "AdminRoleRecord"
			r.attrs = append(r.attrs, "org", c.s.href("/api/org/"+x.org), "orgName", c.s.orgs[x.org].name)
		}
		out = append(out, r)
	}
	return out
}

func (c *call) rightRecords() []*record {
	all, err := c.visibleRights()
	if err != nil || !c.has("Right: View") {
		return nil
	}
	var out []*record
	for _, r := range all {
		out = append(out, &record{tag: "RightRecord", attrs: []string{"href", c.s.href("/api/admin/right/" + r.id), "name", r.name, "category", r.category}})
	}
	return out
}

func (c *call) strandedRecords() []*record {
	var out []*record
	for _, u := range sorted(c.s.users) {
		if u.stranded {
			out = append(out, &record{tag: "StrandedUserRecord", attrs: []string{"href", c.s.href("/api/admin/strandedUser/" + u.id), "name", u.name,
				"fullName", u.fullName, "isInSync", "false", "numberOfDeployedVMs", "0", "numberOfStoredVMs", "0", "org", c.s.href("/api/org/" + u.org)}})
		}
	}
	return out
}

func (c *call) cellRecords() []*record {
	return []*record{{tag: "CellRecord", attrs: []string{"name", c.s.siteName(), "primaryIp", c.s.URL().Hostname(), "isActive", "1", "isVMwareVc", "0",
		"buildDate", stamp(buildTime), "version", buildVersion}}}
}

// orgOfObject is the organization that an object belongs to, or otherwise.
func (s *Server) orgOfObject(o taskOwner, otherwise *org) *org {
	vdc := o.id
	if a := s.vapps[o.id]; a != nil {
		vdc = a.vdc
	} else if m := s.vms[o.id]; m != nil {
		vdc = m.vapp.vdc
	} else if n := s.nets[o.id]; n != nil {
		vdc = n.vdc
	}
	id := o.id
	if v := s.vdcs[vdc]; v != nil {
		id = v.org
	} else if k := s.catalogs[o.id]; k != nil {
		id = k.org
	}
	return or(s.orgs[id], otherwise)
}
