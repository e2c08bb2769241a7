package vcenter

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// RetrieveEntityPermissions lists the permissions on an object.
func (m *authzManager) RetrieveEntityPermissions(ctx *simulator.Context, req *types.RetrieveEntityPermissions) soap.HasFault {
	res := new(types.RetrieveEntityPermissionsResponse)
	at := &req.Entity
	m.s.perms.mu.RLock()
	for at != nil {
		for _, p := range m.s.perms.on[*at] {
			if *at == req.Entity || p.Propagate {
				res.Returnval = append(res.Returnval, p)
			}
		}
		if !req.Inherited {
			break
		}
		at = m.s.parent(ctx, *at)
	}
	m.s.perms.mu.RUnlock()
	return &methods.RetrieveEntityPermissionsBody{Res: res}
}

// RetrieveAllPermissions lists all permissions.
func (m *authzManager) RetrieveAllPermissions(_ *simulator.Context, _ *types.RetrieveAllPermissions) soap.HasFault {
	return &methods.RetrieveAllPermissionsBody{Res: &types.RetrieveAllPermissionsResponse{
		Returnval: m.list(func(types.Permission) bool { return true }),
	}}
}

// RetrieveRolePermissions lists the permissions with a role.
func (m *authzManager) RetrieveRolePermissions(_ *simulator.Context, req *types.RetrieveRolePermissions) soap.HasFault {
	if m.s.roles().ById(req.RoleId) == nil {
		return &methods.RetrieveRolePermissionsBody{Fault_: soapFault(refuse(&types.NotFound{}, "role %d: not found", req.RoleId))}
	}
	return &methods.RetrieveRolePermissionsBody{Res: &types.RetrieveRolePermissionsResponse{
		Returnval: m.list(func(p types.Permission) bool { return p.RoleId == req.RoleId }),
	}}
}

func (m *authzManager) list(wanted func(types.Permission) bool) []types.Permission {
	m.s.perms.mu.RLock()
	defer m.s.perms.mu.RUnlock()
	var out []types.Permission
	for _, list := range m.s.perms.on {
		for _, p := range list {
			if wanted(p) {
				out = append(out, p)
			}
		}
	}
	return out
}

func samePrincipal(a, b types.Permission) bool {
	return a.Principal == b.Principal && a.Group == b.Group
}

// SetEntityPermissions adds permissions to an object, or changes those that
// the same user or group has there; others stay.
func (m *authzManager) SetEntityPermissions(_ *simulator.Context, req *types.SetEntityPermissions) soap.HasFault {
	roles := m.s.roles()
	for _, p := range req.Permission {
		if roles.ById(p.RoleId) == nil {
			return &methods.SetEntityPermissionsBody{Fault_: soapFault(refuse(&types.NotFound{}, "role %d: not found", p.RoleId))}
		}
	}
	m.s.perms.mu.Lock()
	defer m.s.perms.mu.Unlock()
	list := slices.Clone(m.s.perms.on[req.Entity])
	for _, p := range req.Permission {
		entity := req.Entity
		p.Entity = &entity
		list = append(slices.DeleteFunc(list, func(o types.Permission) bool { return samePrincipal(o, p) }), p)
	}
	m.s.perms.on[req.Entity] = list
	return &methods.SetEntityPermissionsBody{Res: new(types.SetEntityPermissionsResponse)}
}

// RemoveEntityPermission takes a permission away.
func (m *authzManager) RemoveEntityPermission(_ *simulator.Context, req *types.RemoveEntityPermission) soap.HasFault {
	m.s.perms.mu.Lock()
	defer m.s.perms.mu.Unlock()
	old := m.s.perms.on[req.Entity]
	list := slices.DeleteFunc(slices.Clone(old), func(p types.Permission) bool {
		return p.Principal == req.User && p.Group == req.IsGroup
	})
	if len(list) == len(old) {
		return &methods.RemoveEntityPermissionBody{Fault_: soapFault(refuse(&types.NotFound{}, "%s: has no permission of its own", req.User))}
	}
	m.s.perms.on[req.Entity] = list
	return &methods.RemoveEntityPermissionBody{Res: new(types.RemoveEntityPermissionResponse)}
}

// AddAuthorizationRole makes a role.
func (m *authzManager) AddAuthorizationRole(_ *simulator.Context, req *types.AddAuthorizationRole) soap.HasFault {
	id, err := m.s.addRole(req.Name, req.PrivIds)
	if err != nil {
		return &methods.AddAuthorizationRoleBody{Fault_: soapFault(err)}
	}
	return &methods.AddAuthorizationRoleBody{Res: &types.AddAuthorizationRoleResponse{Returnval: id}}
}

// UpdateAuthorizationRole changes a role's name and privileges.
func (m *authzManager) UpdateAuthorizationRole(_ *simulator.Context, req *types.UpdateAuthorizationRole) soap.HasFault {
	fail := func(err error) soap.HasFault { return &methods.UpdateAuthorizationRoleBody{Fault_: soapFault(err)} }
	roles := m.s.roles()
	role := roles.ById(req.RoleId)
	switch other := roles.ByName(req.NewName); {
	case role == nil:
		return fail(refuse(&types.NotFound{}, "role %d: not found", req.RoleId))
	case role.System:
		return fail(refuse(&types.InvalidArgument{InvalidProperty: "roleId"}, "role %s: is the system's", role.Name))
	case other != nil && other.RoleId != req.RoleId:
		return fail(refuse(&types.AlreadyExists{Name: req.NewName}, "role %q already exists", req.NewName))
	}
	ids, err := withSystem(roles, req.PrivIds)
	if err != nil {
		return fail(err)
	}
	m.s.perms.mu.Lock()
	defer m.s.perms.mu.Unlock()
	list := slices.Clone(m.RoleList)
	for i := range list {
		if list[i].RoleId == req.RoleId {
			list[i].Name, list[i].Privilege = req.NewName, ids
		}
	}
	m.RoleList = list
	return &methods.UpdateAuthorizationRoleBody{Res: new(types.UpdateAuthorizationRoleResponse)}
}

// RemoveAuthorizationRole removes a role, unless it is to fail while used.
func (m *authzManager) RemoveAuthorizationRole(_ *simulator.Context, req *types.RemoveAuthorizationRole) soap.HasFault {
	fail := func(err error) soap.HasFault { return &methods.RemoveAuthorizationRoleBody{Fault_: soapFault(err)} }
	role := m.s.roles().ById(req.RoleId)
	if role == nil {
		return fail(refuse(&types.NotFound{}, "role %d: not found", req.RoleId))
	}
	if role.System {
		return fail(refuse(&types.InvalidArgument{InvalidProperty: "roleId"}, "role %s: is the system's", role.Name))
	}
	used := m.list(func(p types.Permission) bool { return p.RoleId == req.RoleId })
	if req.FailIfUsed && len(used) > 0 {
		return fail(refuse(&types.RemoveFailed{}, "role %s: is used", role.Name))
	}
	m.s.perms.mu.Lock()
	defer m.s.perms.mu.Unlock()
	for ref, list := range m.s.perms.on {
		m.s.perms.on[ref] = slices.DeleteFunc(slices.Clone(list), func(p types.Permission) bool { return p.RoleId == req.RoleId })
	}
	m.RoleList = slices.DeleteFunc(slices.Clone(m.RoleList), func(r types.AuthorizationRole) bool { return r.RoleId == req.RoleId })
	return &methods.RemoveAuthorizationRoleBody{Res: new(types.RemoveAuthorizationRoleResponse)}
}
