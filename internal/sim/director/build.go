package director

import (
	"fmt"
	"strings"
	"time"
)

// systemOrgID is the UUID of the organization System, the same in all
// installations.
const systemOrgID = "a93c9db9-7471-3192-8d09-a8f7eeda85f9"

// idFor is the UUID that a thing of an inventory has every time: one of its
// name, unless another thing has that.
func idFor[T any](s *Server, have map[string]T, kind string, names ...string) string {
	id := uuidOf(append([]string{kind, s.cfg.Site}, names...)...)
	if _, taken := have[id]; taken {
		return newID()
	}
	return id
}

// addSystem makes what every installation has.
func (s *Server) addSystem() {
	sys := &org{thing: thing{id: systemOrgID, name: "System", seq: s.next()}, fullName: "System Organization", enabled: true, system: true}
	sys.settings = s.defaultSettings()
	s.orgs[sys.id] = sys
	s.addRoles()
	s.roleOf(sys.id, RoleSysAdmin).readOnly = true
	for _, u := range []*user{
		{thing: thing{id: idFor(s, s.users, "user", sys.id, s.cfg.AdminUser), name: s.cfg.AdminUser, seq: s.next()}, password: s.cfg.AdminPassword},
		// The owner of what nobody owns: it cannot log in.
		{thing: thing{id: idFor(s, s.users, "system user"), name: "system", seq: s.next()}},
	} {
		u.org, u.role, u.enabled, u.fullName = sys.id, RoleSysAdmin, true, u.name
		s.users[u.id] = u
		if u.password != "" && s.cfg.AdminAPIToken != "" {
			s.addAPIToken(u, sys, "configured", s.cfg.AdminAPIToken)
		}
	}
}

// systemOrg is the provider's organization, systemUser the owner of last resort.
func (s *Server) systemOrg() *org {
	for _, o := range s.orgs {
		if o.system {
			return o
		}
	}
	return nil
}

func (s *Server) systemUser() *user { return s.userNamed(s.systemOrg().id, "system") }

// roleOf finds the role of that name in an organization, or makes it with the
// rights of a vApp user.
func (s *Server) roleOf(org, name string) *role {
	for _, r := range s.roles {
		if r.org == org && r.name == name {
			return r
		}
	}
	r := &role{thing: thing{id: idFor(s, s.roles, "role", org, name), name: name, seq: s.next()}, org: org, rights: defaultRights("U")}
	s.roles[r.id] = r
	return r
}

func (s *Server) userNamed(org, name string) *user {
	for _, u := range s.users {
		if u.org == org && strings.EqualFold(u.name, name) {
			return u
		}
	}
	return nil
}

// AddOrg makes an organization and returns its UUID.
func (s *Server) AddOrg(o OrgSpec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Name == "" {
		return "", fmt.Errorf("org: it has no name")
	}
	if s.orgNamed(o.Name) != nil {
		return "", fmt.Errorf("org %s: the name is taken", o.Name)
	}
	n := &org{
		thing: thing{id: idOr(o.ID), name: o.Name, desc: o.Description, seq: s.next()}, fullName: or(o.FullName, o.Name),
		enabled: !o.Disabled, deployedQuota: o.DeployedVMQuota, stored: o.StoredVMQuota, lease: o.Lease,
	}
	n.settings = s.defaultSettings()
	n.settings.publishExternally, n.settings.subscribe = o.PublishExternally, o.Subscribe
	s.orgs[n.id] = n
	s.syncRoles(n)
	return n.id, nil
}

// orgNamed finds an organization by name or UUID.
func (s *Server) orgNamed(name string) *org {
	for _, o := range s.orgs {
		if o.id == name || strings.EqualFold(o.name, name) {
			return o
		}
	}
	return nil
}

// AddUser makes a user and returns the UUID.
func (s *Server) AddUser(u UserSpec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orgNamed(u.Org)
	if o == nil {
		return "", fmt.Errorf("user %s: no org %s", u.Name, u.Org)
	}
	if s.userNamed(o.id, u.Name) != nil {
		return "", fmt.Errorf("user %s: the name is taken in org %s", u.Name, o.name)
	}
	r := or(u.Role, RoleVAppUser)
	if o.system && u.Role == "" {
		r = RoleSysAdmin
	}
	s.roleOf(o.id, r)
	n := &user{
		thing: thing{id: idOr(u.ID), name: u.Name, seq: s.next()}, org: o.id, fullName: or(u.FullName, u.Name), email: u.Email,
		password: u.Password, role: r, enabled: !u.Disabled, deployed: u.DeployedVMQuota, quota: u.VMsQuota,
	}
	s.users[n.id] = n
	if u.APIToken != "" {
		s.addAPIToken(n, o, "configured", u.APIToken)
	}
	return n.id, nil
}

// AddVDC makes an organization VDC and returns its UUID.
func (s *Server) AddVDC(v VDCSpec) (string, error) {
	s.mu.Lock()
	o := s.orgNamed(v.Org)
	vc := s.vcenterNamed(v.VCenter)
	s.mu.Unlock()
	if o == nil {
		return "", fmt.Errorf("VDC %s: no org %s", v.Name, v.Org)
	}
	if vc == nil {
		return "", fmt.Errorf("VDC %s: no vCenter %q", v.Name, v.VCenter)
	}
	pool, folder, err := vc.place(s.ctx, v.ResourcePool, v.Folder)
	if err != nil {
		return "", fmt.Errorf("VDC %s: %w", v.Name, err)
	}
	s.mu.Lock()
	n := &vdc{
		thing: thing{id: idOr(v.ID), name: v.Name, desc: v.Description, seq: s.next()}, org: o.id, vc: vc, pool: pool, folder: folder,
		model: or(v.AllocationModel, "Flex"), enabled: !v.Disabled, vmQuota: v.VMQuota, nicQuota: v.NICQuota, networkQuota: or(v.NetworkQuota, 1000),
	}
	pv, err := s.pvdcFor(v, vc)
	if err != nil {
		s.mu.Unlock()
		return "", fmt.Errorf("VDC %s: %w", v.Name, err)
	}
	n.fast = v.Fast
	n.pvdc, n.thin, n.cpuGuaranteed, n.memGuaranteed, n.discovery = pv.id, true, v.CPUGuaranteed, v.MemoryGuaranteed, v.Discovery
	n.cpu, n.memory = capacityLimit{v.CPUMHz, v.CPUMHz}, capacityLimit{v.MemoryMB, v.MemoryMB}
	n.elastic = n.model == "Flex"
	if p := v.NetworkPool; p.Name != "" {
		n.networkPool = namedRef{or(p.ID, uuidOf("network pool", p.Name)), p.Name}
	}
	s.addDefaultPolicy(n)
	s.vdcs[n.id] = n
	s.mu.Unlock()
	for i, p := range v.StorageProfiles {
		p.VDC = n.id
		p.Default = p.Default || i == 0 && !anyDefault(v.StorageProfiles)
		if _, err := s.AddStorageProfile(p); err != nil {
			return "", fmt.Errorf("VDC %s: %w", v.Name, err)
		}
	}
	return n.id, nil
}

func anyDefault(ps []StorageProfileSpec) bool {
	for _, p := range ps {
		if p.Default {
			return true
		}
	}
	return false
}

// vcenterNamed finds a vCenter by name or id; the only one when name is empty.
func (s *Server) vcenterNamed(name string) *vcenter {
	for _, vc := range s.vcenters {
		if vc.name == name || vc.id == name || name == "" && len(s.vcenters) == 1 {
			return vc
		}
	}
	return nil
}

// vdcNamed finds a VDC by UUID or name. A name that two VDCs have finds none.
func (s *Server) vdcNamed(name string) *vdc {
	if v := s.vdcs[name]; v != nil {
		return v
	}
	var found *vdc
	for _, v := range s.vdcs {
		if v.name == name {
			if found != nil {
				return nil
			}
			found = v
		}
	}
	return found
}

// AddStorageProfile makes a storage profile in a VDC and returns its UUID.
func (s *Server) AddStorageProfile(p StorageProfileSpec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vdcNamed(p.VDC)
	if v == nil {
		return "", fmt.Errorf("storage profile %s: no VDC %s", p.Name, p.VDC)
	}
	n := &profile{
		thing: thing{id: idOr(p.ID), name: p.Name, seq: s.next()}, vdc: v.id, limitMB: p.LimitMB, isDefault: p.Default,
		enabled: !p.Disabled, datastores: p.Datastores,
	}
	first := true
	for _, other := range s.profiles {
		if other.vdc == v.id {
			first = false
			other.isDefault = other.isDefault && !n.isDefault
		}
	}
	n.isDefault = n.isDefault || first
	n.pvdcProfile = s.pvdcProfileNamed(s.pvdcs[v.pvdc], n.name, n.datastores, "").id
	s.profiles[n.id] = n
	return n.id, nil
}

// AddComputePolicy makes a VM sizing policy in a VDC and returns its UUID.
func (s *Server) AddComputePolicy(vdcName, name, description string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.vdcNamed(vdcName)
	if v == nil {
		return "", fmt.Errorf("compute policy %s: no VDC %s", name, vdcName)
	}
	p := &policy{thing: thing{id: idFor(s, s.policies, "compute policy", v.id, name), name: name, desc: description, seq: s.next()}}
	s.policies[p.id] = p
	v.policies = append(v.policies, p.id)
	return p.id, nil
}

func (s *Server) since(t time.Time) time.Time {
	if t.IsZero() {
		return s.now()
	}
	return t
}
