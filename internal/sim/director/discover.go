package director

import (
	"context"
	"fmt"
)

// discoverAlways discovers until the server stops.
func (s *Server) discoverAlways() {
	defer s.work.Done()
	for pause(s.ctx, s.cfg.DiscoveryInterval) == nil {
		// A vCenter that does not answer now may do so next time.
		_ = s.Discover(s.ctx)
	}
}

// Discover makes a vApp (autoNature) of each VM that is in the resource pool of
// a VDC and that the installation does not know. The VM itself stays as it is
// until the vApp is changed for the first time.
func (s *Server) Discover(ctx context.Context) error {
	s.mu.Lock()
	vdcs := sorted(s.vdcs)
	s.mu.Unlock()
	for _, v := range vdcs {
		vms, err := v.vc.unmanaged(ctx)
		if err != nil {
			return fmt.Errorf("discover: VDC %s: %w", v.name, err)
		}
		for _, found := range vms {
			if found.ResourcePool != nil && *found.ResourcePool == v.pool {
				if err := s.discovered(ctx, v, found.Self.Value, found.Name); err != nil {
					return fmt.Errorf("discover: VM %s: %w", found.Name, err)
				}
			}
		}
	}
	return nil
}

func (s *Server) discovered(ctx context.Context, v *vdc, moref, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.vms {
		if m.vc == v.vc && m.moref == moref {
			return nil
		}
	}
	a := &vapp{
		thing: thing{id: newID(), name: name, seq: s.next()}, vdc: v.id, owner: s.systemUser().id, created: s.now(), auto: true, discovered: true,
		startup: map[string]StartupItem{}, status: stateResolved,
	}
	m, err := s.newVM(a, VMSpec{Name: name, MoRef: moref})
	if err != nil {
		return err
	}
	s.vapps[a.id], s.vms[m.id], a.vms = a, m, []*vm{m}
	if err := s.refresh(ctx, m); err != nil {
		return err
	}
	m.deployed = m.state() == stateOn || m.state() == stateSuspended
	a.deployed = m.deployed
	s.renew(a)
	return nil
}

// adopt makes a discovered vApp an ordinary one, as its first change does. The
// shell of a standalone VM stays what it is.
func (a *vapp) adopt() {
	if a.discovered {
		a.auto, a.discovered = false, false
	}
}
