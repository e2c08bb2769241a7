package director

import (
	"context"
	"fmt"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// within are the VMs that an action on the path works on.
func within(a *vapp, m *vm) []*vm {
	if m != nil {
		return []*vm{m}
	}
	vms := append([]*vm(nil), a.vms...)
	sortBy(vms, func(x, y *vm) bool { return a.startup[x.id].Order < a.startup[y.id].Order })
	return vms
}

// each runs an action on VMs, one after the other, and reads them anew.
func (s *Server) each(ctx context.Context, vms []*vm, act func(context.Context, *object.VirtualMachine, *vm) error) error {
	for _, m := range vms {
		obj, err := m.vc.vm(ctx, m.moref)
		if err != nil {
			return err
		}
		if err := act(ctx, obj, m); err != nil {
			return fmt.Errorf("VM %s: %w", m.name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refresh(ctx, vms...)
}

// setPower brings a VM to a power state that it is not in yet.
func setPower(ctx context.Context, obj *object.VirtualMachine, action string) error {
	now, err := obj.PowerState(ctx)
	if err != nil {
		return err
	}
	on, suspended := now == types.VirtualMachinePowerStatePoweredOn, now == types.VirtualMachinePowerStateSuspended
	var t *object.Task
	switch action {
	case "powerOn":
		if on {
			return nil
		}
		t, err = obj.PowerOn(ctx)
	case "powerOff", "shutdown":
		// Guests here shut down at once: there is none to wait for.
		if !on && !suspended {
			return nil
		}
		t, err = obj.PowerOff(ctx)
	case "suspend":
		if !on {
			return nil
		}
		t, err = obj.Suspend(ctx)
	case "reset", "reboot":
		if !on {
			return nil
		}
		t, err = obj.Reset(ctx)
	default:
		return fmt.Errorf("no action %s", action)
	}
	return await(ctx, t, err)
}

// power is the power action of a vApp or a VM.
func (c *call) power(action string) (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	vms := within(a, m)
	if err := c.refresh(vms...); err != nil {
		return nil, err
	}
	if err := c.mayChange(a, m, accessChange); err != nil {
		return nil, err
	}
	if err := c.allowed(action, a, m, vms); err != nil {
		return nil, err
	}
	if action == "powerOn" {
		if err := c.s.checkRunningQuota(a, vms); err != nil {
			return nil, err
		}
	}
	names := map[string]string{"powerOn": "PowerOn", "powerOff": "PowerOff", "shutdown": "ShutdownGuest", "suspend": "Suspend", "reset": "Reset", "reboot": "RebootGuest"}
	t := c.start("vapp"+names[action], "Changing the power of", ownerOf(a, m), func(ctx context.Context) error {
		if action == "powerOn" {
			if err := c.s.deployed(a, vms, true); err != nil {
				return err
			}
		}
		return c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, m *vm) error { return setPower(ctx, obj, action) })
	})
	return c.accepted(t), nil
}

// allowed refuses an action that makes no sense in the present state.
func (c *call) allowed(action string, a *vapp, m *vm, vms []*vm) error {
	name := a.name
	if m != nil {
		name = m.name
	}
	on, off := 0, 0
	for _, v := range vms {
		switch v.state() {
		case stateOn:
			on++
		case stateOff:
			off++
		}
	}
	if action == "powerOn" && len(vms) > 0 && on == len(vms) {
		return invalidState("The requested operation could not be executed since %q is running already.", name)
	}
	if action != "powerOn" && on == 0 && (off == len(vms) || action != "powerOff") {
		return invalidState("The requested operation could not be executed since %q is not running.", name)
	}
	return nil
}

// deployed marks VMs as deployed or not; the vApp follows, and its networks
// with it.
func (s *Server) deployed(a *vapp, vms []*vm, yes bool) error {
	if err := s.markDeployed(a, vms, yes); err != nil {
		return err
	}
	s.mu.Lock()
	up := a.deployed
	s.mu.Unlock()
	if up {
		return s.raise(s.ctx, a)
	}
	return s.lower(s.ctx, a)
}

// markDeployed does it in the inventory. Routers get their addresses with the
// first deployment and lose them with the last undeployment.
func (s *Server) markDeployed(a *vapp, vms []*vm, yes bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := a.deployed
	for _, m := range vms {
		m.deployed = yes
		if yes {
			m.customize = false
		}
	}
	a.deployed = len(a.vms) == 0 && yes
	for _, m := range a.vms {
		a.deployed = a.deployed || m.deployed
	}
	if a.deployed == was {
		return nil
	}
	s.renew(a)
	if a.deployed {
		return s.routeAll(a)
	}
	for _, n := range a.nets {
		if !n.retains() {
			n.unroute()
		}
	}
	return nil
}

func (c *call) deploy() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "DeployVAppParams")
	if err != nil {
		return nil, err
	}
	vms, on := within(a, m), attr(doc, "powerOn") == "" || truth(attr(doc, "powerOn"))
	if err := c.s.checkRunningQuota(a, vms); err != nil {
		return nil, err
	}
	return c.accepted(c.start("vappDeploy", "Starting", ownerOf(a, m), func(ctx context.Context) error {
		if err := c.s.deployed(a, vms, true); err != nil {
			return err
		}
		if !on {
			return nil
		}
		return c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error {
			return setPower(ctx, obj, "powerOn")
		})
	})), nil
}

func (c *call) undeploy() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "UndeployVAppParams")
	if err != nil {
		return nil, err
	}
	actions := map[string]string{"": "powerOff", "default": "powerOff", "powerOff": "powerOff", "shutdown": "powerOff", "force": "powerOff", "suspend": "suspend"}
	action, known := actions[value(doc, "UndeployPowerAction")]
	if !known {
		return nil, badRequest("The undeploy power action %q does not exist.", value(doc, "UndeployPowerAction"))
	}
	vms := within(a, m)
	if m != nil && !m.deployed || m == nil && !a.deployed {
		return nil, invalidState("The requested operation could not be executed since %q is not deployed.", ownerOf(a, m).name)
	}
	return c.accepted(c.start("vappUndeployPowerOff", "Stopping", ownerOf(a, m), func(ctx context.Context) error {
		err := c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error {
			state, err := obj.PowerState(ctx)
			if err != nil || state == types.VirtualMachinePowerStateSuspended {
				return err // a suspended VM keeps its state
			}
			return setPower(ctx, obj, action)
		})
		if err != nil {
			return err
		}
		return c.s.deployed(a, vms, false)
	})), nil
}

func (c *call) discardSuspended() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	vms := within(a, m)
	if err := c.refresh(vms...); err != nil {
		return nil, err
	}
	any := false
	for _, v := range vms {
		any = any || v.state() == stateSuspended
	}
	if !any {
		return nil, invalidState("The requested operation could not be executed since %q is not suspended.", ownerOf(a, m).name)
	}
	return c.accepted(c.start("vappDiscardSuspendedState", "Discarding the suspended state of", ownerOf(a, m), func(ctx context.Context) error {
		return c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error {
			state, err := obj.PowerState(ctx)
			if err != nil || state != types.VirtualMachinePowerStateSuspended {
				return err
			}
			return setPower(ctx, obj, "powerOff")
		})
	})), nil
}

// createSnapshot takes the one snapshot that vCD keeps of a VM. Before API 39.0,
// and at the limit since then, whatever snapshots exist are removed first, no
// matter who made them.
func (c *call) createSnapshot() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CreateSnapshotParams")
	if err != nil {
		return nil, err
	}
	limit := 1
	if c.newer("39.0") {
		limit = c.s.cfg.SnapshotsPerVM
	}
	vms, name := within(a, m), or(attr(doc, "name"), "user-snapshot-"+time.Now().UTC().Format("20060102150405"))
	memory, quiesce, desc := truth(attr(doc, "memory")), truth(attr(doc, "quiesce")), raw(doc, "Description")
	if err := c.refresh(vms...); err != nil {
		return nil, err
	}
	if limit > 1 {
		for _, v := range vms {
			if v.facts != nil && v.facts.snapshots >= limit {
				return nil, badRequest("The VM %q has reached its limit of %d snapshots.", v.name, limit)
			}
		}
	}
	if err := c.mayChange(a, m, accessChange); err != nil {
		return nil, err
	}
	return c.accepted(c.start("vappCreateSnapshot", "Creating snapshot of", ownerOf(a, m), func(ctx context.Context) error {
		return c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, v *vm) error {
			if v.facts != nil && v.facts.snapshots > 0 && limit == 1 {
				t, err := obj.RemoveAllSnapshot(ctx, nil)
				if err := await(ctx, t, err); err != nil {
					return err
				}
			}
			state, err := obj.PowerState(ctx)
			if err != nil {
				return err
			}
			on := state == types.VirtualMachinePowerStatePoweredOn
			t, err := obj.CreateSnapshot(ctx, name, desc, memory && on, quiesce && on && !memory)
			return await(ctx, t, err)
		})
	})), nil
}

func (c *call) removeSnapshots() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	vms := within(a, m)
	return c.accepted(c.start("vappRemoveAllSnapshots", "Removing snapshots of", ownerOf(a, m), func(ctx context.Context) error {
		return c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error {
			t, err := obj.RemoveAllSnapshot(ctx, nil)
			return await(ctx, t, err)
		})
	})), nil
}

func (c *call) revertSnapshot() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	vms := within(a, m)
	if err := c.refresh(vms...); err != nil {
		return nil, err
	}
	for _, v := range vms {
		if v.facts == nil || v.facts.snapshot == nil {
			return nil, invalidState("The VM %q has no snapshot to go back to.", v.name)
		}
	}
	return c.accepted(c.start("vappRevertToCurrentSnapshot", "Reverting to snapshot of", ownerOf(a, m), func(ctx context.Context) error {
		return c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error {
			t, err := obj.RevertToCurrentSnapshot(ctx, true)
			return await(ctx, t, err)
		})
	})), nil
}

// consolidate has nothing to do here but to take its time.
func (c *call) consolidate() (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	return c.accepted(c.start("vappConsolidateVm", "Consolidating Virtual Machine", vmOwner(m), func(context.Context) error { return nil })), nil
}

func (c *call) customizeNext() (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	m.customize = true
	return noContent(), nil
}
