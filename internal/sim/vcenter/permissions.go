package vcenter

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// A User is an account with fewer privileges than Config.Users have, which
// may do everything. It has a role at the root folder that propagates: one
// that there is (Admin, ReadOnly, NoAccess, …) or one of its own.
type User struct {
	Name, Password string
	Role           string   // default, without Privileges: ReadOnly
	Privileges     []string // of a role that is made for this user
}

// permissions say who has which role on what. They are kept here and not in
// vcsim, which shows but does not heed them.
type permissions struct {
	mu   sync.RWMutex
	on   map[types.ManagedObjectReference][]types.Permission
	last int32 // role that was made last
}

// firstRole is the id of the first role that is not the system's.
const firstRole = 1100

func (s *Server) buildPermissions() error {
	s.perms.on, s.perms.last = map[types.ManagedObjectReference][]types.Permission{}, firstRole
	root := s.model.ServiceContent.RootFolder
	grant := func(name string, group bool, role int32) {
		s.perms.on[root] = append(s.perms.on[root], types.Permission{
			Entity: &root, Principal: name, Group: group, RoleId: role, Propagate: true,
		})
	}
	admin := s.roles().ByName("Admin").RoleId
	grant(`VSPHERE.LOCAL\Administrators`, true, admin)
	for _, name := range sortedKeys(s.cfg.Users) {
		grant(name, false, admin)
	}
	for _, u := range s.cfg.Accounts {
		role := cmp.Or(u.Role, "ReadOnly")
		if len(u.Privileges) > 0 {
			role = cmp.Or(u.Role, "role of "+u.Name)
			if _, err := s.addRole(role, u.Privileges); err != nil {
				return fmt.Errorf("user %s: %w", u.Name, err)
			}
		}
		r := s.roles().ByName(role)
		if r == nil {
			return fmt.Errorf("user %s: role %q: not found", u.Name, role)
		}
		grant(u.Name, false, r.RoleId)
	}
	return nil
}

func (s *Server) authorization() *simulator.AuthorizationManager {
	m, _ := s.model.Map().Get(*s.model.ServiceContent.AuthorizationManager).(*simulator.AuthorizationManager)
	return m // every vCenter has one
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (s *Server) roles() object.AuthorizationRoleList {
	s.perms.mu.RLock()
	defer s.perms.mu.RUnlock()
	return object.AuthorizationRoleList(slices.Clone(s.authorization().RoleList))
}

// addRole makes a role and returns its id.
func (s *Server) addRole(name string, privileges []string) (int32, error) {
	list := s.roles()
	if name == "" {
		return 0, refuse(&types.InvalidName{}, "a role needs a name")
	}
	if list.ByName(name) != nil {
		return 0, refuse(&types.AlreadyExists{Name: name}, "role %q already exists", name)
	}
	ids, err := withSystem(list, privileges)
	if err != nil {
		return 0, err
	}
	s.perms.mu.Lock()
	defer s.perms.mu.Unlock()
	s.perms.last++
	m := s.authorization()
	m.RoleList = append(slices.Clone(m.RoleList), types.AuthorizationRole{
		RoleId: s.perms.last, Name: name, Info: &types.Description{Label: name, Summary: name}, Privilege: ids,
	})
	return s.perms.last, nil
}

// withSystem checks privileges and adds those that every role has.
func withSystem(list object.AuthorizationRoleList, privileges []string) ([]string, error) {
	known := list.ByName("Admin").Privilege
	ids := []string{"System.Anonymous", "System.Read", "System.View"}
	for _, p := range privileges {
		if !slices.Contains(known, p) {
			return nil, refuse(&types.InvalidArgument{InvalidProperty: "privIds"}, "privilege %q: unknown", p)
		}
		if !slices.Contains(ids, p) {
			ids = append(ids, p)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// unrestricted tells whether a user may do everything without a look at
// permissions: the server's own work, and all where no accounts are
// configured.
func (s *Server) unrestricted(user string) bool {
	if user == "" || len(s.cfg.Users) == 0 && len(s.cfg.Accounts) == 0 {
		return true
	}
	_, ok := s.cfg.Users[user]
	return ok
}

// entityOf is the entity whose permissions count for an object.
func (s *Server) entityOf(ctx *simulator.Context, ref types.ManagedObjectReference) types.ManagedObjectReference {
	switch o := ctx.Map.Get(ref).(type) {
	case *simulator.VirtualMachineSnapshot:
		return o.Vm
	case *simulator.HostNetworkSystem:
		return o.Host.Reference()
	case *simulator.HostDatastoreSystem:
		return o.Host.Reference()
	case mo.Entity:
		return ref
	}
	return s.model.ServiceContent.RootFolder
}

func (s *Server) parent(ctx *simulator.Context, ref types.ManagedObjectReference) *types.ManagedObjectReference {
	e, ok := s.model.Map().Get(ref).(mo.Entity)
	if !ok {
		return nil
	}
	return e.Entity().Parent
}

// parents are what an object inherits permissions from: a VM from its folder
// and from its resource pool.
func (s *Server) parents(ctx *simulator.Context, ref types.ManagedObjectReference) []types.ManagedObjectReference {
	var list []types.ManagedObjectReference
	if p := s.parent(ctx, ref); p != nil {
		list = append(list, *p)
	}
	if vm, ok := s.model.Map().Get(ref).(*simulator.VirtualMachine); ok {
		ctx.WithLock(vm, func() {
			if vm.ResourcePool != nil {
				list = append(list, *vm.ResourcePool)
			}
		})
	}
	return list
}

// privileges are what a user may do on an object: the permission on the
// nearest object above that has one for the user counts, and further ones
// do not add to it.
func (s *Server) privileges(ctx *simulator.Context, user string, ref types.ManagedObjectReference) map[string]bool {
	roles := s.roles()
	out := map[string]bool{}
	s.collectPrivileges(ctx, roles, user, ref, true, out)
	return out
}

func (s *Server) collectPrivileges(ctx *simulator.Context, roles object.AuthorizationRoleList, user string, ref types.ManagedObjectReference, self bool, out map[string]bool) {
	s.perms.mu.RLock()
	found := false
	for _, p := range s.perms.on[ref] {
		if p.Group || !strings.EqualFold(p.Principal, user) || !self && !p.Propagate {
			continue
		}
		found = true
		if r := roles.ById(p.RoleId); r != nil {
			for _, id := range r.Privilege {
				out[id] = true
			}
		}
	}
	s.perms.mu.RUnlock()
	if found {
		return
	}
	for _, p := range s.parents(ctx, ref) {
		s.collectPrivileges(ctx, roles, user, p, false, out)
	}
}

// allowed refuses a user what it lacks the privilege for.
func (s *Server) allowed(ctx *simulator.Context, user string, needs ...need) error {
	if s.unrestricted(user) {
		return nil
	}
	for _, n := range needs {
		have := s.privileges(ctx, user, n.on)
		if n.privilege == administrator {
			n.privilege = s.lacks(have)
		}
		if n.privilege == "" || have[n.privilege] {
			continue
		}
		on := n.on
		return refuse(&types.NoPermission{Object: &on, PrivilegeId: n.privilege,
			MissingPrivileges: []types.NoPermissionEntityPrivileges{{Entity: on, PrivilegeIds: []string{n.privilege}}},
		}, "permission to perform this operation was denied: %s on %s", n.privilege, on.Value)
	}
	return nil
}

// lacks is the first privilege that an administrator has besides; "" is for
// one.
func (s *Server) lacks(have map[string]bool) string {
	for _, p := range s.roles().ByName("Admin").Privilege {
		if !have[p] {
			return p
		}
	}
	return ""
}

// hideSessions keeps the list of sessions from who may not end them: who asks
// for it by name is refused, who asks for all properties gets the others
// (SessionManager, sessionList).
func (s *Server) hideSessions(ctx *simulator.Context, user string, sets []types.PropertyFilterSpec) []need {
	must := need{"Sessions.TerminateSession", s.model.ServiceContent.RootFolder}
	if s.allowed(ctx, user, must) == nil {
		return nil
	}
	for _, set := range sets {
		for i := range set.PropSet {
			p := &set.PropSet[i]
			switch {
			case p.Type != "SessionManager":
			case p.All != nil && *p.All:
				p.All = nil
				p.PathSet = []string{"currentSession", "defaultLocale", "message", "messageLocaleList", "supportedLocaleList"}
			case slices.ContainsFunc(p.PathSet, func(path string) bool { return strings.HasPrefix(path, "sessionList") }):
				return []need{must}
			}
		}
	}
	return nil
}

// fetched is what the internal call Fetch asks for, in the words of the others.
func fetched(m *simulator.Method) []types.PropertyFilterSpec {
	v := reflect.Indirect(reflect.ValueOf(m.Body))
	if m.Name != "Fetch" || v.Kind() != reflect.Struct {
		return nil
	}
	this, prop := v.FieldByName("This"), v.FieldByName("Prop")
	if !this.IsValid() || !prop.IsValid() {
		return nil
	}
	ref, _ := this.Interface().(types.ManagedObjectReference)
	return []types.PropertyFilterSpec{{
		ObjectSet: []types.ObjectSpec{{Obj: ref}},
		PropSet:   []types.PropertySpec{{Type: ref.Type, PathSet: []string{prop.String()}}},
	}}
}

// denied tells why the session's user may not make a call. Reading a
// property takes System.View of what is named, as far as it is an entity.
func (s *Server) denied(ctx *simulator.Context, m *simulator.Method) types.BaseMethodFault {
	user := ctx.Session.UserName
	if s.unrestricted(user) {
		return nil
	}
	needs := s.needs(ctx, m)
	var sets []types.PropertyFilterSpec
	switch req := m.Body.(type) {
	case *types.RetrieveProperties:
		sets = req.SpecSet
	case *types.RetrievePropertiesEx:
		sets = req.SpecSet
	case *types.CreateFilter:
		sets = []types.PropertyFilterSpec{req.Spec}
	default:
		sets = fetched(m)
	}
	for _, set := range sets {
		for _, o := range set.ObjectSet {
			if _, ok := s.model.Map().Get(o.Obj).(mo.Entity); ok {
				needs = append(needs, need{"System.View", o.Obj})
			}
		}
	}
	needs = append(needs, s.hideSessions(ctx, user, sets)...)
	var r *refusal
	if errors.As(s.allowed(ctx, user, needs...), &r) {
		return r.fault
	}
	return nil
}

// mayUseFolder refuses /folder: lists take Datastore.Browse, files the low
// level operations.
func (s *Server) mayUseFolder(method, user string, p dsPath, local string) error {
	ds := s.inv.datastores[p.datastore]
	if ds == nil {
		return nil
	}
	privilege := "Datastore.FileManagement"
	if fi, err := os.Stat(local); err == nil && fi.IsDir() && (method == "GET" || method == "HEAD") {
		privilege = "Datastore.Browse"
	}
	return s.allowed(s.newContext(), user, need{privilege, ds.Self})
}

func (m *authzManager) answer(user string, ref types.ManagedObjectReference, ids []string) types.EntityPrivilege {
	e := types.EntityPrivilege{Entity: ref}
	have := map[string]bool{}
	all := m.s.unrestricted(user)
	if !all {
		have = m.s.privileges(m.s.newContext(), user, ref)
	}
	for _, id := range ids {
		e.PrivAvailability = append(e.PrivAvailability, types.PrivilegeAvailability{PrivId: id, IsGranted: all || have[id]})
	}
	return e
}

// userOf is the name of a session's user.
func (m *authzManager) userOf(session string) string {
	for _, u := range m.s.sessions() {
		if u.Key == session {
			return u.UserName
		}
	}
	return "no such session"
}

// HasPrivilegeOnEntities tells what a session may do.
func (m *authzManager) HasPrivilegeOnEntities(req *types.HasPrivilegeOnEntities) soap.HasFault {
	res := new(types.HasPrivilegeOnEntitiesResponse)
	for _, ref := range req.Entity {
		res.Returnval = append(res.Returnval, m.answer(m.userOf(req.SessionId), ref, req.PrivId))
	}
	return &methods.HasPrivilegeOnEntitiesBody{Res: res}
}

// HasPrivilegeOnEntityResponse is govmomi's, except that it keeps what is
// false: that one leaves it out, and a client cannot tell which it was.
type HasPrivilegeOnEntityResponse struct {
	Returnval []bool `xml:"returnval"`
}

type hasPrivilegeOnEntityBody struct {
	Res    *HasPrivilegeOnEntityResponse `xml:"HasPrivilegeOnEntityResponse,omitempty"`
	Fault_ *soap.Fault                   `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"`
}

// Fault is never there.
func (b *hasPrivilegeOnEntityBody) Fault() *soap.Fault { return b.Fault_ }

// HasPrivilegeOnEntity is HasPrivilegeOnEntities for one.
func (m *authzManager) HasPrivilegeOnEntity(req *types.HasPrivilegeOnEntity) soap.HasFault {
	res := new(HasPrivilegeOnEntityResponse)
	for _, a := range m.answer(m.userOf(req.SessionId), req.Entity, req.PrivId).PrivAvailability {
		res.Returnval = append(res.Returnval, a.IsGranted)
	}
	return &hasPrivilegeOnEntityBody{Res: res}
}

// HasUserPrivilegeOnEntities tells what a user may do.
func (m *authzManager) HasUserPrivilegeOnEntities(req *types.HasUserPrivilegeOnEntities) soap.HasFault {
	res := new(types.HasUserPrivilegeOnEntitiesResponse)
	for _, ref := range req.Entities {
		res.Returnval = append(res.Returnval, m.answer(req.UserName, ref, req.PrivId))
	}
	return &methods.HasUserPrivilegeOnEntitiesBody{Res: res}
}

// FetchUserPrivilegeOnEntities lists all that a user may do.
func (m *authzManager) FetchUserPrivilegeOnEntities(req *types.FetchUserPrivilegeOnEntities) soap.HasFault {
	res := new(types.FetchUserPrivilegeOnEntitiesResponse)
	for _, ref := range req.Entities {
		r := types.UserPrivilegeResult{Entity: ref}
		if m.s.unrestricted(req.UserName) {
			r.Privileges = m.s.roles().ByName("Admin").Privilege
		} else {
			r.Privileges = sortedKeys(m.s.privileges(m.s.newContext(), req.UserName, ref))
		}
		res.Returnval = append(res.Returnval, r)
	}
	return &methods.FetchUserPrivilegeOnEntitiesBody{Res: res}
}
