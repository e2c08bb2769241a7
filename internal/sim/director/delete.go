package director

import (
	"context"
	"fmt"
	"slices"
)

// deleteVApp deletes a vApp or a VM, with the VMs and disks in vCenter.
func (c *call) deleteVApp() (*answer, error) {
	a, m, err := c.change(accessFull)
	if err != nil {
		return nil, err
	}
	force := c.flag("force")
	if m != nil {
		if m.deployed && !force {
			return nil, badRequest("The requested operation could not be executed on VM %q. Stop the VM and try again.", m.name)
		}
		return c.accepted(c.start("vappDeleteVm", "Deleting Virtual Machine", vmOwner(m), func(ctx context.Context) error {
			if err := c.s.destroy(ctx, m); err != nil {
				return err
			}
			c.s.mu.Lock()
			defer c.s.mu.Unlock()
			if len(a.vms) == 0 && a.auto {
				c.s.forget(a)
			}
			return nil
		})), nil
	}
	if a.deployed && !force {
		return nil, badRequest("The requested operation could not be executed on vApp %q. Stop the vApp and try again.", a.name)
	}
	return c.accepted(c.start("vdcDeleteVapp", "Deleting Virtual Application", vappOwner(a), func(ctx context.Context) error {
		return c.s.deleteWhole(ctx, a)
	})), nil
}

// destroy deletes a VM from vCenter and from the inventory. One that is gone
// from vCenter already is only forgotten.
func (s *Server) destroy(ctx context.Context, m *vm) error {
	obj, err := m.vc.vm(ctx, m.moref)
	if err != nil {
		return err
	}
	err = setPower(ctx, obj, "powerOff")
	if err == nil {
		err = s.detachAll(ctx, m)
	}
	if err == nil {
		err = s.dropShadows(ctx, m)
	}
	if err == nil {
		t, derr := obj.Destroy(ctx)
		err = await(ctx, t, derr)
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("VM %s: destroy: %w", m.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(m)
	return nil
}

// leave takes a VM out of its vApp. NAT rules that name it go with it.
func (s *Server) leave(m *vm) {
	a := m.vapp
	a.vms = slices.DeleteFunc(a.vms, func(v *vm) bool { return v == m })
	delete(a.startup, m.id)
	delete(s.vms, m.id)
	s.unrule(m)
	for _, n := range a.nets {
		nat := child(child(n.conf, "Features"), "NatService")
		for _, r := range childrenOf(nat, "NatRule") {
			if value(child(r, "OneToOneVmRule"), "VAppScopedVmId") == m.scopedID || value(child(r, "VmRule"), "VAppScopedVmId") == m.scopedID {
				nat.RemoveChild(r)
			}
		}
	}
}

func (s *Server) forget(a *vapp) {
	s.endTransfer(a.download)
	for _, n := range a.nets {
		delete(s.vappNets, n.id)
	}
	delete(s.vapps, a.id)
}
