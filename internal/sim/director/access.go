package director

import (
	"net/http"
	"slices"
	"strings"
)

// Levels of access to a vApp, in rising order.
const (
	accessNone = iota
	accessRead
	accessChange
	accessFull
)

var levels = []string{"", "ReadOnly", "Change", "FullControl"}

// level is what the caller may do with a vApp.
func (c *call) level(a *vapp) int {
	if a.template != nil {
		return c.templateLevel(a.template)
	}
	org := c.s.vdcs[a.vdc].org
	switch {
	case c.orgAdmin(org) || c.login.org.id == org && a.owner == c.login.user.id:
		return accessFull
	case c.login.org.id != org:
		return accessNone
	}
	best := slices.Index(levels, a.everyone)
	for _, g := range a.access {
		if g.user == c.login.user.id {
			best = max(best, slices.Index(levels, g.level))
		}
	}
	return best
}

// target is the vApp or VM of the path; the VM is nil for a vApp. Both are
// there for a VM.
func (c *call) target() (*vapp, *vm, error) {
	id := uuidIn(c.path("id"))
	inTemplate := strings.HasPrefix(c.r.URL.Path, "/api/vAppTemplate/")
	if strings.HasPrefix(c.path("id"), "vm-") {
		m := c.s.vms[id]
		if m == nil || (m.vapp.template != nil) != inTemplate {
			return nil, nil, missing("vm", id)
		}
		if c.level(m.vapp) == accessNone {
			return nil, nil, noAccess("vm", id)
		}
		return m.vapp, m, nil
	}
	if inTemplate {
		t, err := c.theTemplate()
		if err != nil {
			return nil, nil, err
		}
		return t.content, nil, nil
	}
	a := c.s.vapps[id]
	if a == nil || !strings.HasPrefix(c.path("id"), "vapp-") {
		return nil, nil, missing("vapp", or(id, c.path("id")))
	}
	if c.level(a) == accessNone {
		return nil, nil, noAccess("vapp", id)
	}
	return a, nil, nil
}

// change is target for a write that needs that level: it refuses a tenant while
// the vApp is in maintenance mode, and anybody while a task occupies it.
func (c *call) change(level int) (*vapp, *vm, error) {
	a, m, err := c.target()
	if err != nil {
		return nil, nil, err
	}
	return a, m, c.mayChange(a, m, level)
}

func (c *call) mayChange(a *vapp, m *vm, level int) error {
	if c.level(a) < level {
		if a.template != nil {
			return noRight("vApp Template / Media: Edit", a.id)
		}
		return noRight("vApp: Edit Properties", a.id)
	}
	if a.maintenance && !c.provider() {
		return refuse(http.StatusConflict, "INVALID_STATE",
			"The requested operation could not be executed on vApp \"%s\". The vApp is in maintenance mode.", a.name)
	}
	if err := c.checkExpired(a); err != nil {
		return err
	}
	if m != nil && c.s.occupied(a, m) {
		return busy("com.vmware.vcloud.entity.vm", m.name)
	}
	if m == nil && c.s.occupied(a, nil) {
		return busy("com.vmware.vcloud.entity.vapp", a.name)
	}
	return nil
}

// onlyVApp refuses VMs, onlyVM vApps, where the API has no such call for them.
func (c *call) onlyVApp(a *vapp, m *vm, err error) (*vapp, error) {
	if err == nil && m != nil {
		err = notFound("%s does not exist for a VM.", c.r.URL.Path)
	}
	return a, err
}

func (c *call) onlyVM(_ *vapp, m *vm, err error) (*vm, error) {
	if err == nil && m == nil {
		err = notFound("%s does not exist for a vApp.", c.r.URL.Path)
	}
	return m, err
}

// vappPart answers with a section of a vApp.
func vappPart(part func(*call, *vapp) (string, *node)) handler {
	return func(c *call) (*answer, error) {
		a, err := c.onlyVApp(c.target())
		if err != nil {
			return nil, err
		}
		typ, doc := part(c, a)
		return ok(typ, doc), nil
	}
}

// vmPart answers with a section of a VM, whose facts it refreshes first.
func vmPart(part func(*call, *vm) (string, *node)) handler {
	return func(c *call) (*answer, error) {
		m, err := c.onlyVM(c.target())
		if err != nil {
			return nil, err
		}
		if err := c.refresh(m); err != nil {
			return nil, err
		}
		typ, doc := part(c, m)
		return ok(typ, doc), nil
	}
}

// getOwner is /owner.
func (c *call) getOwner() (*answer, error) {
	a, _, err := c.target()
	if err != nil {
		return nil, err
	}
	d := c.ownerNode(a)
	d.CreateAttr("href", c.s.vappHref(a)+"/owner")
	return ok(mediaVCloud+"owner", d), nil
}

func (c *call) ownerNode(a *vapp) *node {
	return add(el("Owner", "type", mediaVCloud+"owner+xml"), c.s.userRef("User", a.owner))
}

// putOwner hands a vApp to another user of its organization.
func (c *call) putOwner() (*answer, error) {
	a, err := c.onlyVApp(c.change(accessFull))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "Owner")
	if err != nil {
		return nil, err
	}
	id := uuidIn(attr(child(doc, "User"), "href"))
	u := c.s.users[id]
	if u == nil || u.org != c.s.vdcs[a.vdc].org && !(c.provider() && u.id == c.s.systemUser().id) {
		return nil, badRequest("The user %s is not a member of the organization of vApp %s.", or(id, "without an id"), a.name)
	}
	if err := c.s.checkOwnerQuota(a, u); err != nil {
		return nil, err
	}
	a.owner = u.id
	return noContent(), nil
}

func (c *call) getAccess() (*answer, error) {
	a, err := c.onlyVApp(c.target())
	if err != nil {
		return nil, err
	}
	return ok(mediaVCloud+"controlAccess", c.accessNode(a)), nil
}

// subjectOf tells whether an access list of an organization can name somebody:
// its users and groups (SubjectType of AccessSettingType). Nobody is a member of
// a group here: who is, the identity provider would tell at login.
func (s *Server) subjectOf(org, id string) bool {
	u, g := s.users[id], s.groups[id]
	return u != nil && u.org == org || g != nil && g.org == org
}

func (s *Server) subjectRef(id string) *node {
	if g := s.groups[id]; g != nil {
		return el("Subject", "href", s.href("/api/admin/group/"+g.id), "id", "urn:vcloud:group:"+g.id, "name", g.name, "type", mediaAdmin+"group+xml")
	}
	return s.userRef("Subject", id)
}

func (c *call) accessNode(a *vapp) *node {
	d := add(el("ControlAccessParams"), boolean("IsSharedToEveryone", a.everyone != ""), opt("EveryoneAccessLevel", a.everyone))
	if len(a.access) == 0 {
		return d
	}
	list := el("AccessSettings")
	for _, g := range a.access {
		add(list, add(el("AccessSetting"), c.s.subjectRef(g.user), text("AccessLevel", g.level)))
	}
	return add(d, list)
}

// setAccess replaces who may use a vApp.
func (c *call) setAccess() (*answer, error) {
	a, err := c.onlyVApp(c.change(accessFull))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "ControlAccessParams")
	if err != nil {
		return nil, err
	}
	everyone := ""
	if truth(value(doc, "IsSharedToEveryone")) {
		everyone = value(doc, "EveryoneAccessLevel")
		if slices.Index(levels, everyone) < accessRead {
			return nil, badRequest("EveryoneAccessLevel %q is not an access level.", everyone)
		}
	}
	var grants []grant
	for _, set := range childrenOf(child(doc, "AccessSettings"), "AccessSetting") {
		subject := uuidIn(attr(child(set, "Subject"), "href"))
		if !c.s.subjectOf(c.s.vdcs[a.vdc].org, subject) {
			return nil, badRequest("The subject %s does not exist in the organization.", attr(child(set, "Subject"), "href"))
		}
		level := value(set, "AccessLevel")
		if slices.Index(levels, level) < accessRead {
			return nil, badRequest("AccessLevel %q is not an access level.", level)
		}
		grants = append(grants, grant{subject, level})
	}
	a.everyone, a.access = everyone, grants
	return ok(mediaVCloud+"controlAccess", c.accessNode(a)), nil
}

// maintenance puts a vApp in maintenance mode or takes it out. Tasks that run
// already go on.
func (c *call) maintenance(enter bool) (*answer, error) {
	a, err := c.onlyVApp(c.target())
	if err != nil {
		return nil, err
	}
	if !c.provider() {
		return nil, noRight("vApp: Maintenance Mode", a.id)
	}
	a.maintenance = enter
	return noContent(), nil
}
