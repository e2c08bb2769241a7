package vcenter

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// The wrappers below add methods to vcsim's objects. They hold no state:
// each session makes its own as it first uses an object.
type (
	virtualMachine struct {
		*simulator.VirtualMachine
		s *Server
	}
	vmSnapshot struct {
		*simulator.VirtualMachineSnapshot
		s *Server
	}
	vmFolder struct {
		*simulator.Folder
		s *Server
	}
	resourcePool struct {
		*simulator.ResourcePool
		s *Server
	}
	diskManager struct {
		*simulator.VirtualDiskManager
		s *Server
	}
	fileManager struct {
		*simulator.FileManager
		s *Server
	}
	datastore struct {
		*simulator.Datastore
		s *Server
	}
	hostSystem struct {
		*simulator.HostSystem
		s *Server
	}
	ovfManager struct {
		*simulator.OvfManager
		s *Server
	}
	authzManager struct {
		*simulator.AuthorizationManager
		s *Server
	}
	datacenter struct {
		*simulator.Datacenter
		s *Server
	}
)

// intercept sees every call before vcsim. It refuses calls that were told to
// fail and disabled methods, and puts the wrapper of the object that is
// called into the session, which vcsim prefers to its own. vcsim's code
// expects its own types in the registry, so that those stay there.
func (s *Server) intercept(c *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if fault := s.faults.call(m.Name); fault != nil {
		return nil, fault
	}
	switch m.Name {
	case "Login", "LoginByToken", "LoginExtensionByCertificate", "CloneSession", "ImpersonateUser":
		// vcsim watches a new session until the context of this call ends,
		// which otherwise is never: it would keep the whole server.
		c.Context = s.background
	}
	if c.Session == nil {
		return nil, nil
	}
	if m.Name == "Logout" {
		s.endSession(c.Session)
	}
	if fault := s.denied(c, m); fault != nil {
		return nil, fault
	}
	if fault := s.disabledMethod(m); fault != nil {
		return nil, fault
	}
	s.session(m)
	own := c.Map.Get(m.This)
	if own == nil {
		return nil, nil
	}
	s.touched(own)
	if err := s.touchCall(own, m); err != nil {
		fault, _ := faultOf(err)
		return nil, fault
	}
	if ds, ok := own.(*simulator.Datastore); ok && m.Name == "RefreshDatastore" {
		s.refresh(ds.Name) // here, before the call takes the datastore's lock
	}
	w := s.wrapper(own)
	if w == nil {
		return nil, nil
	}
	if old := c.Session.Registry.Get(m.This); old != nil && wrapped(old) == own {
		return nil, nil
	}
	c.WithLock(own, func() { c.Session.Registry.Put(w) })
	s.mu.Lock()
	if s.wrappers[m.This] == nil {
		s.wrappers[m.This] = map[*simulator.Registry]bool{}
	}
	s.wrappers[m.This][c.Session.Registry] = true
	s.mu.Unlock()
	if c.Map.Get(m.This) == nil { // it went meanwhile
		s.dropWrappers(c, m.This)
	}
	return nil, nil
}

// session takes over what a call means for sessions.
func (s *Server) session(m *simulator.Method) {
	switch req := m.Body.(type) {
	case *types.AcquireGenericServiceTicket:
		m.This = sessionCallsRef
	case *types.TerminateSession:
		for _, key := range req.SessionId {
			s.endLeases(key)
		}
	}
}

// dropWrappers makes sessions forget an object that is gone: what is in a
// session would otherwise be there for ever.
func (s *Server) dropWrappers(ctx *simulator.Context, ref types.ManagedObjectReference) {
	s.mu.Lock()
	sessions := s.wrappers[ref]
	delete(s.wrappers, ref)
	s.mu.Unlock()
	for r := range sessions {
		r.Remove(ctx, ref)
	}
}

// endSession forgets a session that logs out.
func (s *Server) endSession(session *simulator.Session) {
	s.endLeases(session.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, sessions := range s.wrappers {
		delete(sessions, session.Registry)
		if len(sessions) == 0 {
			delete(s.wrappers, ref)
		}
	}
}

func (s *Server) wrapper(obj mo.Reference) mo.Reference {
	switch o := obj.(type) {
	case *simulator.VirtualMachine:
		return &virtualMachine{o, s}
	case *simulator.VirtualMachineSnapshot:
		return &vmSnapshot{o, s}
	case *simulator.Folder:
		return &vmFolder{o, s}
	case *simulator.ResourcePool:
		return &resourcePool{o, s}
	case *simulator.VirtualDiskManager:
		return &diskManager{o, s}
	case *simulator.FileManager:
		return &fileManager{o, s}
	case *simulator.Datastore:
		return &datastore{o, s}
	case *simulator.HostSystem:
		return &hostSystem{o, s}
	case *simulator.OvfManager:
		return &ovfManager{o, s}
	case *simulator.AuthorizationManager:
		return &authzManager{o, s}
	case *simulator.Datacenter:
		return &datacenter{o, s}
	}
	return nil
}

func wrapped(w mo.Reference) mo.Reference {
	switch o := w.(type) {
	case *virtualMachine:
		return o.VirtualMachine
	case *vmSnapshot:
		return o.VirtualMachineSnapshot
	case *vmFolder:
		return o.Folder
	case *resourcePool:
		return o.ResourcePool
	case *diskManager:
		return o.VirtualDiskManager
	case *fileManager:
		return o.FileManager
	case *datastore:
		return o.Datastore
	case *hostSystem:
		return o.HostSystem
	case *ovfManager:
		return o.OvfManager
	case *authzManager:
		return o.AuthorizationManager
	case *datacenter:
		return o.Datacenter
	}
	return nil
}
