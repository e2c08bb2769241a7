package director

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// within are the VMs that an action on the path works on, in the order in which
// their vApp starts them.
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
	case "none":
		return nil
	default:
		return fmt.Errorf("no action %s", action)
	}
	return await(ctx, t, err)
}

// act is setPower for a VM of the cloud: what the guest has to do fails where
// it has no VMware Tools.
func (s *Server) act(ctx context.Context, obj *object.VirtualMachine, m *vm, action string) error {
	if action == "shutdown" || action == "reboot" {
		state, err := obj.PowerState(ctx)
		if err != nil {
			return err
		}
		s.mu.Lock()
		bare := m.noTools
		s.mu.Unlock()
		if bare && state == types.VirtualMachinePowerStatePoweredOn {
			return refuse(500, "INTERNAL_SERVER_ERROR",
				"The requested operation will be unsuccessful: VMware Tools is not running in the guest of VM %q.", m.name)
		}
	}
	return setPower(ctx, obj, action)
}

// wait lets a delay of the startup section pass, at the pace of this cloud.
func (s *Server) wait(ctx context.Context, seconds int) error {
	return pause(ctx, time.Duration(seconds)*s.cfg.StartupSecond)
}

// turnOn deploys VMs and starts them as their vApp's startup section says: in
// order, each but the last followed by its delay. whole is for the vApp as
// such, whose section can leave VMs off.
func (s *Server) turnOn(ctx context.Context, a *vapp, vms []*vm, whole bool) error {
	if err := s.deployed(a, vms, true); err != nil {
		return err
	}
	for i, m := range vms {
		s.mu.Lock()
		it := a.startupOf(m)
		s.mu.Unlock()
		if whole && it.StartAction == "none" {
			continue
		}
		if err := s.each(ctx, []*vm{m}, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error {
			return setPower(ctx, obj, "powerOn")
		}); err != nil {
			return err
		}
		if i < len(vms)-1 {
			if err := s.wait(ctx, it.StartDelay); err != nil {
				return err
			}
		}
	}
	return nil
}

// turnOff stops VMs in the reverse order of their start. The action "default"
// is the one of the startup section.
func (s *Server) turnOff(ctx context.Context, a *vapp, vms []*vm, action string) error {
	back := slices.Clone(vms)
	slices.Reverse(back)
	for i, m := range back {
		s.mu.Lock()
		it, bare := a.startupOf(m), m.noTools
		s.mu.Unlock()
		do := action
		if action == "default" {
			do = map[string]string{"guestShutdown": "shutdown", "suspend": "suspend"}[it.StopAction]
			if do = or(do, "powerOff"); bare && do == "shutdown" {
				do = "powerOff"
			}
		}
		err := s.each(ctx, []*vm{m}, func(ctx context.Context, obj *object.VirtualMachine, v *vm) error {
			state, err := obj.PowerState(ctx)
			if err != nil || state == types.VirtualMachinePowerStateSuspended {
				return err // a suspended VM keeps its state
			}
			return s.act(ctx, obj, v, do)
		})
		if err != nil {
			return err
		}
		if i < len(back)-1 && action == "default" {
			if err := s.wait(ctx, it.StopDelay); err != nil {
				return err
			}
		}
	}
	return nil
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
			return c.s.turnOn(ctx, a, vms, m == nil)
		}
		return c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, m *vm) error {
			return c.s.act(ctx, obj, m, action)
		})
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
	var stopped []*vm
	for _, v := range vms {
		switch v.state() {
		case stateOn:
			on++
			continue
		case stateOff:
			off++
		}
		stopped = append(stopped, v)
	}
	// A vApp that runs is switched on once more without effect, by the tests of
	// VMware's own client; a VM that runs is not.
	if action == "powerOn" && m != nil && on == len(vms) {
		return invalidState("The requested operation could not be executed since %q is running already.", name)
	}
	if action == "powerOn" {
		return c.s.checkRunningQuota(a, stopped)
	}
	if on == 0 && (off == len(vms) || action != "powerOff") {
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
			m.enterBIOS = false // for one start only (BootOptionsType)
		}
		if yes && m.customize {
			m.customize, m.customized = false, time.Now().Add(s.cfg.CustomizationTime)
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

// deploy deploys and, unless told otherwise, starts a vApp or a VM.
func (c *call) deploy() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "DeployVAppParams")
	if err != nil {
		return nil, err
	}
	lease, err := c.s.deploymentLease(a, doc)
	if err != nil {
		return nil, err
	}
	vms, on := within(a, m), attr(doc, "powerOn") == "" || truth(attr(doc, "powerOn"))
	force := truth(attr(doc, "forceCustomization"))
	if err := c.refresh(vms...); err != nil {
		return nil, err
	}
	if err := c.mayChange(a, m, accessChange); err != nil {
		return nil, err
	}
	var stopped []*vm
	for _, v := range vms {
		// A guest is customized as it starts (DeployVAppParamsType).
		if force && v.deployed {
			return nil, invalidState("The VM %q is deployed: it cannot be customized before it is undeployed.", v.name)
		}
		if v.state() != stateOn {
			stopped = append(stopped, v)
		}
	}
	if len(stopped) == 0 && len(vms) > 0 {
		return nil, invalidState("The requested operation could not be executed since %q is running already.", ownerOf(a, m).name)
	}
	if on {
		if err := c.s.checkRunningQuota(a, stopped); err != nil {
			return nil, err
		}
	}
	return c.accepted(c.start("vappDeploy", "Starting", ownerOf(a, m), func(ctx context.Context) error {
		c.s.mu.Lock()
		for _, v := range vms {
			v.customize = v.customize || force
		}
		if m == nil {
			a.lease.DeploymentSeconds = lease
		}
		c.s.mu.Unlock()
		if !on {
			return c.s.deployed(a, vms, true)
		}
		return c.s.turnOn(ctx, a, vms, m == nil)
	})), nil
}

// undeploy stops a vApp or a VM and gives back what it holds while deployed.
func (c *call) undeploy() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "UndeployVAppParams")
	if err != nil {
		return nil, err
	}
	action := or(value(doc, "UndeployPowerAction"), "default")
	if !slices.Contains([]string{"default", "powerOff", "shutdown", "force", "suspend"}, action) {
		return nil, badRequest("The undeploy power action %q does not exist.", action)
	}
	vms := within(a, m)
	if m != nil && !m.deployed {
		return nil, invalidState("The requested operation could not be executed since VM %q is not running.", m.name)
	}
	if m == nil && !a.deployed { // the text is what clients look for (deletion of vcd_vapp in the Terraform provider)
		return nil, invalidState("The requested operation could not be executed since vApp %q is not running.", a.name)
	}
	return c.accepted(c.start("vappUndeployPowerOff", "Stopping", ownerOf(a, m), func(ctx context.Context) error {
		do := action
		if action == "force" {
			do = "powerOff"
		}
		// "force" goes on where a VM cannot be stopped
		// (UndeployVAppParamsType).
		if err := c.s.turnOff(ctx, a, vms, do); err != nil && action != "force" {
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
	if err := c.mayChange(a, m, accessChange); err != nil {
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
