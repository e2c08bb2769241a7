package vcenter

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// post adds an event to vCenter's history. No lock of vcsim's may be held
// but those of ctx.
func (s *Server) post(ctx *simulator.Context, e types.BaseEvent) {
	m, ok := s.model.Map().Get(*s.model.ServiceContent.EventManager).(*simulator.EventManager)
	if !ok {
		return
	}
	ctx.WithLock(m, func() { m.PostEvent(ctx, &types.PostEvent{This: m.Self, EventToPost: e}) })
}

func (s *Server) nameOf(ctx *simulator.Context, ref types.ManagedObjectReference) string {
	e, ok := s.model.Map().Get(ref).(mo.Entity)
	if !ok {
		return ""
	}
	var name string
	ctx.WithLock(e, func() { name = e.Entity().Name })
	return name
}

// eventOf says where a VM is, for an event about it.
func (s *Server) eventOf(ctx *simulator.Context, vm *simulator.VirtualMachine) types.VmEvent {
	var host, ds *types.ManagedObjectReference
	var name string
	ctx.WithLock(vm, func() {
		name, host = vm.Name, vm.Runtime.Host
		if len(vm.Datastore) > 0 {
			ds = &vm.Datastore[0]
		}
	})
	arg := func(name string) types.EntityEventArgument { return types.EntityEventArgument{Name: name} }
	e := types.VmEvent{Event: types.Event{
		Vm:              &types.VmEventArgument{EntityEventArgument: arg(name), Vm: vm.Self},
		Datacenter:      &types.DatacenterEventArgument{EntityEventArgument: arg(s.cfg.Datacenter), Datacenter: s.inv.dc.Self},
		ComputeResource: &types.ComputeResourceEventArgument{EntityEventArgument: arg(s.cfg.Cluster), ComputeResource: s.inv.cluster.Self},
	}}
	if host != nil {
		e.Host = &types.HostEventArgument{EntityEventArgument: arg(s.nameOf(ctx, *host)), Host: *host}
	}
	if ds != nil {
		e.Ds = &types.DatastoreEventArgument{EntityEventArgument: arg(s.nameOf(ctx, *ds)), Datastore: *ds}
	}
	return e
}

// postMigrated tells that a VM has moved, and from where.
func (s *Server) postMigrated(ctx *simulator.Context, vm *simulator.VirtualMachine, was types.VmEvent, on bool) {
	now := s.eventOf(ctx, vm)
	if was.Host == nil || was.Ds == nil || now.Ds == nil || now.Host == nil {
		return
	}
	switch {
	case on && was.Ds.Datastore == now.Ds.Datastore:
		s.post(ctx, &types.VmMigratedEvent{VmEvent: now, SourceHost: *was.Host, SourceDatacenter: was.Datacenter, SourceDatastore: was.Ds})
	default:
		s.post(ctx, &types.VmRelocatedEvent{VmRelocateSpecEvent: types.VmRelocateSpecEvent{VmEvent: now},
			SourceHost: *was.Host, SourceDatacenter: was.Datacenter, SourceDatastore: was.Ds})
	}
}
