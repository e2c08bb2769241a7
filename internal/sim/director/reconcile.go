package director

import (
	"context"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Reconcile brings an installation that was killed in line with its vCenters,
// which may remember seconds more, or fewer, than it does. VMs that vCenter does
// not have go, as if their deletion had come to its end; those that were missed
// before that already stay, inaccessible, as somebody else's deletion left
// them. A vApp stays, empty, as those from which all VMs were deleted do. A VM
// that has the installation's mark and that the installation does not know
// loses the mark and stays in vCenter: it may have been imported a moment before,
// with bytes that nobody has twice. It can be discovered or imported.
func (s *Server) Reconcile(ctx context.Context) error {
	s.mu.Lock()
	vcs := sorted(s.vcenters)
	s.mu.Unlock()
	for _, vc := range vcs {
		marks, err := vc.marks(ctx)
		if err != nil {
			return fmt.Errorf("director: reconcile: vCenter %s: %w", vc.name, err)
		}
		for _, m := range s.missing(vc, marks) {
			if err := s.dropLost(ctx, m); err != nil {
				return fmt.Errorf("director: reconcile: VM %s: %w", m.name, err)
			}
		}
		for _, moref := range s.strangers(vc, marks) {
			if err := vc.unmark(ctx, moref); err != nil {
				return fmt.Errorf("director: reconcile: VM %s of vCenter %s: %w", moref, vc.name, err)
			}
		}
	}
	return nil
}

// marks tells of each VM of a vCenter, by moref, whether it has vCD's mark.
func (vc *vcenter) marks(ctx context.Context) (map[string]bool, error) {
	client, err := vc.connect(ctx)
	if err != nil {
		return nil, err
	}
	v, err := view.NewManager(client).CreateContainerView(ctx, client.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	defer func() { _ = v.Destroy(context.WithoutCancel(ctx)) }()
	var all []mo.VirtualMachine
	if err := v.Retrieve(ctx, []string{"VirtualMachine"}, []string{"config.managedBy"}, &all); err != nil {
		return nil, fmt.Errorf("VMs: %w", err)
	}
	out := map[string]bool{}
	for _, m := range all {
		out[m.Self.Value] = m.Config != nil && m.Config.ManagedBy != nil && m.Config.ManagedBy.ExtensionKey == extensionKey
	}
	return out, nil
}

// missing are the VMs that a vCenter does not have any more. Shadows that it
// does not have are made again when they are needed.
func (s *Server) missing(vc *vcenter, there map[string]bool) []*vm {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := func(moref string) bool { _, ok := there[moref]; return !ok }
	var out []*vm
	for _, m := range sorted(s.vms) {
		if m.vc != vc {
			continue
		}
		m.shadows = slices.DeleteFunc(m.shadows, func(sh *shadowVM) bool { return gone(sh.moref) })
		if !m.lost && !m.creating && m.moref != "" && gone(m.moref) {
			out = append(out, m)
		}
	}
	return out
}

// strangers are the VMs that have vCD's mark and that it does not know.
func (s *Server) strangers(vc *vcenter, marks map[string]bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[string]bool{}
	for _, m := range s.vms {
		if m.vc != vc {
			continue
		}
		known[m.moref] = true
		for _, sh := range m.shadows {
			known[sh.moref] = true
		}
	}
	var out []string
	for moref, marked := range marks {
		if marked && !known[moref] {
			out = append(out, moref)
		}
	}
	slices.Sort(out)
	return out
}

// dropLost takes a VM that is gone from vCenter out of the installation.
func (s *Server) dropLost(ctx context.Context, m *vm) error {
	if err := s.dropShadows(ctx, m); err != nil {
		return err
	}
	s.mu.Lock()
	a := m.vapp
	for _, d := range s.disks {
		d.vms = slices.DeleteFunc(d.vms, func(v *vm) bool { return v == m })
	}
	s.leave(m)
	s.touch()
	empty, template, deployed := len(a.vms) == 0, a.template, a.deployed
	if empty && template == nil && a.auto {
		s.forget(a)
	}
	s.mu.Unlock()
	switch {
	case template != nil && empty:
		return s.destroyTemplate(ctx, template)
	case template == nil && deployed:
		if err := s.markDeployed(a, nil, false); err != nil {
			return err
		}
		if empty {
			return s.lower(ctx, a)
		}
	}
	return nil
}

// unmark makes a VM one of vCenter's own.
func (vc *vcenter) unmark(ctx context.Context, moref string) error {
	obj, err := vc.vm(ctx, moref)
	if err != nil {
		return err
	}
	t, err := obj.Reconfigure(ctx, types.VirtualMachineConfigSpec{
		ManagedBy:   &types.ManagedByInfo{},
		ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: markKey, Value: ""}},
	})
	return await(ctx, t, err)
}
