package director

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// A task is work in the background.
type task struct {
	thing           // name is the operation's, as "vappUpdateVm"
	operation       string
	status          string
	start, end      time.Time
	owner           taskOwner
	user            *user
	org             *org
	busy            []string // ids of the entities that it occupies
	progress        int
	err             *apiError
	cancelRequested bool
	cancel          context.CancelFunc
	done            chan struct{}
	note            string   // Details of a task that went well
	about           *org     // whose object it works on; the user's where that is not known
	coming          []coming `graph:"-"` // what it makes counts already
}

// A taskOwner is what a task works on. Kind is vApp, vm or another type.
type taskOwner struct{ kind, id, name string }

func vappOwner(a *vapp) taskOwner {
	if a.template != nil {
		return taskOwner{"vAppTemplate", a.id, a.name}
	}
	return taskOwner{"vApp", a.id, a.name}
}

func vmOwner(m *vm) taskOwner {
	if m.vapp.template != nil {
		return taskOwner{"templateVm", m.id, m.name}
	}
	return taskOwner{"vm", m.id, m.name}
}

// ownerOf is the VM, or the vApp when there is none.
func ownerOf(a *vapp, m *vm) taskOwner {
	if m != nil {
		return vmOwner(m)
	}
	return vappOwner(a)
}

// urn is the owner's id, as the OpenAPI names it.
func (o taskOwner) urn() string {
	switch o.kind {
	case "externalNetwork":
		return "urn:vcloud:network:" + o.id
	case "edgeGateway":
		return "urn:vcloud:gateway:" + o.id
	case "vApp":
		return "urn:vcloud:vapp:" + o.id
	case "vAppTemplate":
		return "urn:vcloud:vapptemplate:" + o.id
	case "templateVm":
		return "urn:vcloud:vm:" + o.id
	case "rule":
		return o.id // has no URN
	}
	return "urn:vcloud:" + o.kind + ":" + o.id
}

// path is where the API serves the owner.
func (o taskOwner) path() string {
	switch o.kind {
	case "vApp":
		return "/api/vApp/vapp-" + o.id
	case "vm":
		return "/api/vApp/vm-" + o.id
	case "edgeGateway":
		return "/api/admin/edgeGateway/" + o.id
	case "externalNetwork":
		return "/api/admin/extension/externalnet/" + o.id
	case "vAppTemplate":
		return "/api/vAppTemplate/vappTemplate-" + o.id
	case "templateVm":
		return "/api/vAppTemplate/vm-" + o.id
	}
	return "/api/" + o.kind + "/" + o.id
}

func (t *task) over() bool {
	return slices.Contains([]string{"success", "error", "canceled", "aborted"}, t.status)
}

// start runs work in the background. The mutex is held. Work runs without it,
// and takes it through the server where it touches the inventory.
func (c *call) start(name, operation string, o taskOwner, work func(context.Context) error) *task {
	s := c.s
	work = s.adopting(name, o, work)
	t := &task{
		thing: thing{id: newID(), name: name, seq: s.next()}, operation: operation + " " + o.name + "(" + o.id + ")",
		status: "queued", start: s.now(), owner: o, user: c.login.user, org: c.login.org, busy: []string{o.id}, done: make(chan struct{}),
	}
	t.about = s.orgOfObject(o, c.login.org)
	ctx, cancel := context.WithCancel(s.ctx)
	if c.r != nil {
		ctx = fault.WithOwn(ctx, c.r.Context())
	}
	t.cancel = cancel
	s.pruneTasks()
	s.tasks[t.id] = t
	s.running = append(s.running, t)
	s.noteTask(t, "create")
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		defer cancel()
		s.perform(ctx, t, work)
	}()
	return t
}

// perform takes a task through its states.
func (s *Server) perform(ctx context.Context, t *task, work func(context.Context) error) {
	err := pause(ctx, s.cfg.TaskDelay/2)
	if err == nil {
		s.mu.Lock()
		t.status = "running"
		s.noteTask(t, "start")
		s.touch()
		s.mu.Unlock()
		err = pause(ctx, s.cfg.TaskDelay-s.cfg.TaskDelay/2)
	}
	var outcome string
	if err == nil {
		outcome, err = s.performFor(ctx, t, work)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.end, t.progress = s.now(), 100
	s.touch()
	var e *apiError
	switch {
	case outcome != "":
		t.status = outcome
		errors.As(err, &t.err)
	case err == nil:
		t.status = "success"
	case t.cancelRequested:
		t.status = "canceled"
	case s.ctx.Err() != nil:
		t.status = "aborted"
	case errors.As(err, &e):
		t.status, t.err = "error", e
	default:
		t.status, t.err = "error", refuse(http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "%s", err)
	}
	s.running = slices.DeleteFunc(s.running, func(o *task) bool { return o == t })
	s.noteEnd(t)
	close(t.done)
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tasksKept is how long finished tasks are kept, as the setting "Activity log
// history to keep" of a real installation has it by default.
const tasksKept = 30 * 24 * time.Hour

// pruneTasks drops finished tasks that are too old. Once an hour is enough.
func (s *Server) pruneTasks() {
	now := s.now()
	if now.Sub(s.pruned) < time.Hour {
		return
	}
	s.pruned = now
	for id, t := range s.tasks {
		if t.over() && now.Sub(t.end) > tasksKept {
			delete(s.tasks, id)
		}
	}
}

// occupied tells whether a task works on a VM or its vApp; without a VM, on the
// vApp or any of its VMs.
func (s *Server) occupied(a *vapp, m *vm) bool {
	for _, t := range s.running {
		if slices.Contains(t.busy, a.id) || m != nil && slices.Contains(t.busy, m.id) {
			return true
		}
		if m == nil && slices.ContainsFunc(a.vms, func(v *vm) bool { return slices.Contains(t.busy, v.id) }) {
			return true
		}
	}
	return false
}

// tasksNode are the tasks under way on an entity; nil when there are none.
func (s *Server) tasksNode(a *vapp, m *vm) *node {
	id := ""
	if a != nil {
		id = a.id
	} else {
		id = m.id
	}
	return s.tasksOn(id, a != nil && a.status == stateFailed)
}

// tasksOn are the tasks under way on the entity of that id, and those that
// failed where that is so: an entity that could not be made shows why, for ever.
func (s *Server) tasksOn(id string, failed bool) *node {
	var d *node
	for _, t := range s.tasksOf(id, failed) {
		if d == nil {
			d = el("Tasks")
		}
		add(d, s.taskNode(t))
	}
	return d
}

func (s *Server) tasksOf(id string, failed bool) []*task {
	var out []*task
	if !failed {
		for _, t := range s.running {
			if t.owner.id == id {
				out = append(out, t)
			}
		}
		return out
	}
	for _, t := range s.tasks {
		if t.owner.id == id && (!t.over() || t.status == "error" || t.status == "aborted") {
			out = append(out, t)
		}
	}
	sortBy(out, func(a, b *task) bool { return a.seq < b.seq })
	return out
}

// taskNode is the document of a task.
func (s *Server) taskNode(t *task) *node {
	href := s.href("/api/task/" + t.id)
	d := el("Task", "cancelRequested", yes(t.cancelRequested), "endTime", stamp(t.end), "expiryTime", stamp(t.start.Add(90*24*time.Hour)),
		"operation", t.operation, "operationName", t.name, "serviceNamespace", "com.vmware.vcloud", "startTime", stamp(t.start),
		"status", t.status, "name", "task", "id", "urn:vcloud:task:"+t.id, "href", href, "type", mediaVCloud+"task+xml")
	if !t.over() {
		add(d, link("task:cancel", href+"/action/cancel", ""))
	}
	add(d, text("Description", ""), el("Owner", "href", s.href(t.owner.path()), "id", t.owner.urn(), "name", t.owner.name,
		"type", mediaVCloud+strings.TrimPrefix(t.owner.kind, "template")+"+xml"))
	if t.err != nil {
		add(d, t.err.node(t.id))
	}
	return add(d, s.userRef("User", t.user.id), s.orgRef("Organization", t.org), number("Progress", t.progress), text("Details", t.details()))
}

func (t *task) details() string {
	if t.err != nil {
		return t.err.message
	}
	return t.note
}

// accepted is the answer of a call that began a task.
func (c *call) accepted(t *task) *answer {
	return &answer{status: http.StatusAccepted, typ: mediaVCloud + "task", doc: c.s.taskNode(t), header: map[string]string{
		"Location": c.s.href("/api/task/" + t.id)}}
}

// theTask is the task of the path.
func (c *call) theTask() (*task, error) {
	t := c.s.tasks[uuidIn(c.path("id"))]
	if t == nil {
		return nil, notFound("The task %s does not exist.", c.path("id"))
	}
	if !c.provider() && c.login.org != t.org && !c.ownsObject(t) {
		return nil, noAccess("task", t.id)
	}
	return t, nil
}

// ownsObject lets tenants see what the provider does with their vApps.
func (c *call) ownsObject(t *task) bool {
	if a := c.s.vapps[t.owner.id]; a != nil {
		return c.level(a) > accessNone
	}
	if tmpl := c.s.templates[t.owner.id]; tmpl != nil {
		return c.level(tmpl.content) > accessNone
	}
	m := c.s.vms[t.owner.id]
	return m != nil && c.level(m.vapp) > accessNone
}

func (c *call) getTask() (*answer, error) {
	t, err := c.theTask()
	if err != nil {
		return nil, err
	}
	return ok(mediaVCloud+"task", c.s.taskNode(t)), nil
}

func (c *call) cancelTask() (*answer, error) {
	t, err := c.theTask()
	if err != nil {
		return nil, err
	}
	if t.user != c.login.user && !c.orgAdmin(t.org.id) {
		return nil, noAccess("task", t.id)
	}
	if t.over() {
		return nil, invalidState("The task %s is over.", t.id)
	}
	t.cancelRequested = true
	t.cancel()
	return noContent(), nil
}

// tasksList is the tasks of an organization, the newest first.
func (c *call) tasksList() (*answer, error) {
	o, err := c.theOrg()
	if err != nil {
		return nil, err
	}
	d := el("TasksList", "name", "Tasks Lists", "href", c.s.href("/api/tasksList/"+o.id), "type", mediaVCloud+"tasksList+xml")
	all := sorted(c.s.tasks)
	slices.Reverse(all)
	for _, t := range all {
		if t.org == o || t.about == o {
			add(d, c.s.taskNode(t))
		}
	}
	return ok(mediaVCloud+"tasksList", d), nil
}

// WaitTasks returns once no task is under way, or with ctx.
func (s *Server) WaitTasks(ctx context.Context) error {
	for {
		s.mu.Lock()
		var open *task
		for _, t := range s.tasks {
			if !t.over() {
				open = t
			}
		}
		s.mu.Unlock()
		if open == nil {
			return nil
		}
		select {
		case <-open.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
