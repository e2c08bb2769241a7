package vcenter

import (
	"fmt"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// What VMware Tools a guest has.
const (
	ToolsRunning = "running" // whenever the VM is on
	ToolsStopped = "stopped" // installed, but their service does not run
	ToolsNone    = "none"
)

// SetTools says what VMware Tools the guest has: ToolsRunning, ToolsStopped
// or ToolsNone.
func (s *Server) SetTools(moref, tools string) error {
	if tools != ToolsRunning && tools != ToolsStopped && tools != ToolsNone {
		return fmt.Errorf("%s: tools %q: want %s, %s or %s", moref, tools, ToolsRunning, ToolsStopped, ToolsNone)
	}
	vs, err := s.mustState(vmRef(moref))
	if err != nil {
		return err
	}
	vs.io.Lock()
	vs.tools = tools
	vs.io.Unlock()
	return s.publish(s.newContext(), vs)
}

// toolsRun tells whether the guest can be asked for something; io is held.
func (vs *vmState) toolsRun() bool { return vs.on && (vs.tools == "" || vs.tools == ToolsRunning) }

// toolsChanges shows the state of the tools.
func toolsChanges(vs *view) []types.PropertyChange {
	status, running, version := types.VirtualMachineToolsStatusToolsOk, types.VirtualMachineToolsRunningStatusGuestToolsRunning, "guestToolsCurrent"
	if !vs.toolsRun {
		status, running = types.VirtualMachineToolsStatusToolsNotRunning, types.VirtualMachineToolsRunningStatusGuestToolsNotRunning
	}
	if vs.tools == ToolsNone {
		status, version = types.VirtualMachineToolsStatusToolsNotInstalled, "guestToolsNotInstalled"
	}
	return []types.PropertyChange{
		{Name: "guest.toolsStatus", Val: status},
		{Name: "guest.toolsRunningStatus", Val: string(running)},
		{Name: "guest.toolsVersionStatus", Val: version},
		{Name: "guest.toolsVersionStatus2", Val: version},
		{Name: "summary.guest", Val: &types.VirtualMachineGuestSummary{
			ToolsStatus: status, ToolsRunningStatus: string(running), ToolsVersionStatus: version, ToolsVersionStatus2: version,
		}},
	}
}

// quiesce asks the guest to hold still for a snapshot. Where it is off or
// has no tools that run "the quiesce flag is ignored"
// (VirtualMachine.CreateSnapshot_Task).
func (s *Server) quiesce(vs *vmState, req *types.CreateSnapshotEx_Task) (quiesced bool, err error) {
	if req.QuiesceSpec == nil {
		return false, nil
	}
	vs.io.RLock()
	can := vs.toolsRun()
	vs.io.RUnlock()
	if !can {
		return false, nil
	}
	fault := refuse(&types.ApplicationQuiesceFault{}, "an error occurred while quiescing the virtual machine")
	if frozen := s.faults.freezes(vs.ref.Value); frozen > 0 {
		if limit := req.QuiesceSpec.GetVirtualMachineGuestQuiesceSpec().Timeout; limit > 0 {
			frozen = min(frozen, time.Duration(limit)*time.Minute)
		}
		// What the guest writes waits until the host gives up.
		vs.io.Lock()
		time.Sleep(frozen)
		vs.io.Unlock()
		return false, fault
	}
	if s.faults.quiesceFails(vs.ref.Value) {
		return false, fault
	}
	return true, nil
}

// guestCall refuses what needs tools that run.
func (s *Server) guestCall(ref types.ManagedObjectReference) error {
	vs, err := s.mustState(ref)
	if err != nil {
		return err
	}
	vs.io.RLock()
	defer vs.io.RUnlock()
	switch {
	case !vs.on:
		return refuse(&types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: types.VirtualMachinePowerStatePoweredOff,
		}, "%s: not powered on", ref.Value)
	case !vs.toolsRun():
		return refuse(&types.ToolsUnavailable{}, "%s: VMware Tools do not run in it", ref.Value)
	}
	return nil
}

// ShutdownGuest asks the guest to stop, which it does.
func (v *virtualMachine) ShutdownGuest(ctx *simulator.Context, _ *types.ShutdownGuest) soap.HasFault {
	if err := v.s.guestCall(v.Self); err != nil {
		return &methods.ShutdownGuestBody{Fault_: soapFault(err)}
	}
	v.powerTask(ctx, "ShutdownGuest", types.VirtualMachinePowerStatePoweredOff)
	return &methods.ShutdownGuestBody{Res: &types.ShutdownGuestResponse{}}
}

// StandbyGuest asks the guest to sleep, which suspends the VM.
func (v *virtualMachine) StandbyGuest(ctx *simulator.Context, _ *types.StandbyGuest) soap.HasFault {
	if err := v.s.guestCall(v.Self); err != nil {
		return &methods.StandbyGuestBody{Fault_: soapFault(err)}
	}
	v.powerTask(ctx, "StandbyGuest", types.VirtualMachinePowerStateSuspended)
	return &methods.StandbyGuestBody{Res: &types.StandbyGuestResponse{}}
}

// RebootGuest asks the guest to start again. The VM stays on all the time.
func (v *virtualMachine) RebootGuest(ctx *simulator.Context, _ *types.RebootGuest) soap.HasFault {
	if err := v.s.guestCall(v.Self); err != nil {
		return &methods.RebootGuestBody{Fault_: soapFault(err)}
	}
	v.s.post(ctx, &types.VmGuestRebootEvent{VmEvent: v.s.eventOf(ctx, v.VirtualMachine)})
	return &methods.RebootGuestBody{Res: &types.RebootGuestResponse{}}
}
