package director

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// discoverAlways discovers until the server stops.
func (s *Server) discoverAlways() {
	defer s.work.Done()
	for pause(s.ctx, s.cfg.DiscoveryInterval) == nil {
		// A vCenter that does not answer now may do so next time.
		_ = s.Discover(s.ctx)
	}
}

// discoveryPrefix is what the names of discovered vApps begin with.
const discoveryPrefix = "Discovered - "

// Discover makes a vApp (autoNature) of each VM that is in the resource pool of
// a VDC and that the installation does not know. The VM itself stays as it is
// until the vApp is changed for the first time. Discovered vApps whose VM is gone
// from vCenter go too.
func (s *Server) Discover(ctx context.Context) error {
	s.mu.Lock()
	var vdcs []*vdc
	for _, v := range sorted(s.vdcs) {
		if s.discovers(v) {
			vdcs = append(vdcs, v)
		}
	}
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
	return s.purge(ctx)
}

// discovers tells whether VMs are discovered for a VDC: the installation can
// forbid it, else the VDC decides, or its organization where the VDC leaves it
// open (VmDiscoveryEnabled of AdminVdc and OrgGeneralSettings).
func (s *Server) discovers(v *vdc) bool {
	if s.discoveryOff {
		return false
	}
	return or(v.discovery, s.orgs[v.org].discovery, "true") == "true"
}

// purge forgets discovered vApps whose VM does not exist any more.
func (s *Server) purge(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range sorted(s.vapps) {
		if !a.discovered || len(a.vms) != 1 {
			continue
		}
		m := a.vms[0]
		if err := s.refresh(ctx, m); err != nil {
			return err
		}
		if m.lost && a.discovered && !s.occupied(a, nil) {
			s.leave(m)
			s.forget(a)
		}
	}
	return nil
}

func (s *Server) discovered(ctx context.Context, v *vdc, moref, name string) error {
	got, err := v.vc.read(ctx, []string{moref})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.vms {
		if m.vc == v.vc && m.moref == moref {
			return nil
		}
	}
	f := got[moref]
	p := s.discoveredProfile(v, f)
	if p == nil || !f.discoverable() {
		return nil
	}
	a := &vapp{
		thing: thing{id: newID(), name: discoveryPrefix + name, seq: s.next()}, vdc: v.id, owner: s.systemUser().id, created: s.now(), auto: true,
		discovered: true, startup: map[string]StartupItem{}, status: stateResolved,
	}
	m, err := s.newVM(a, VMSpec{Name: name, MoRef: moref, StorageProfile: p.id})
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

// discoverable tells whether a VM can be discovered. One with IDE disks can only
// be while it is off (Administrator's Guide, "Discovering and Adopting vApps");
// what another product manages is left to it, and so are fault tolerant VMs.
func (f *facts) discoverable() bool {
	if f == nil || f.config.ManagedBy != nil || f.config.FtInfo != nil {
		return false
	}
	if f.power == types.VirtualMachinePowerStatePoweredOff {
		return true
	}
	for _, d := range f.disks() {
		if _, ide := f.devices().FindByKey(d.ControllerKey).(*types.VirtualIDEController); ide {
			return false
		}
	}
	return true
}

// discoveredProfile is a storage profile of the VDC that has all datastores of
// a VM; nil when there is none.
func (s *Server) discoveredProfile(v *vdc, f *facts) *profile {
	if f == nil {
		return nil
	}
	for _, p := range sorted(s.profiles) {
		if p.vdc != v.id || !p.enabled {
			continue
		}
		fits := len(p.datastores) == 0 || slices.Contains(p.datastores, f.homeName)
		for _, name := range f.storeName {
			fits = fits && (len(p.datastores) == 0 || slices.Contains(p.datastores, name))
		}
		if fits {
			return p
		}
	}
	return nil
}

// adopting has a discovered vApp adopted before work that changes it: its VM
// gets vCD's marks, and the leases of its organization begin. To start, stop,
// copy or delete it is no change.
func (s *Server) adopting(name string, o taskOwner, work func(context.Context) error) func(context.Context) error {
	a := s.vapps[o.id]
	if m := s.vms[o.id]; m != nil {
		a = m.vapp
	}
	changes := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	if a == nil || !a.discovered ||
		!slices.ContainsFunc([]string{"vappUpdate", "vdcUpdateVapp", "vdcRecompose", "vappImport", "vappAttach", "vappDetach"}, changes) {
		return work
	}
	vms := slices.Clone(a.vms)
	return func(ctx context.Context) error {
		for _, m := range vms {
			if err := s.claim(ctx, m, false); err != nil {
				return err
			}
		}
		s.mu.Lock()
		a.adopt()
		o := s.orgOf(a).lease
		a.lease = Lease{o.DeploymentSeconds, o.StorageSeconds}
		s.renew(a)
		s.mu.Unlock()
		return work(ctx)
	}
}

// adopt makes a discovered vApp an ordinary one, as its first change does. The
// shell of a standalone VM stays what it is.
func (a *vapp) adopt() {
	if a.discovered {
		a.auto, a.discovered = false, false
	}
}
