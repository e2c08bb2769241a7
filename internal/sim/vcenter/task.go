package vcenter

import (
	"errors"
	"fmt"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// A refusal is an error that has a vSphere fault.
type refusal struct {
	fault types.BaseMethodFault
	text  string
}

func (r *refusal) Error() string { return r.text }

func refuse(fault types.BaseMethodFault, format string, args ...any) error {
	return &refusal{fault, fmt.Sprintf(format, args...)}
}

// faultOf turns any error into a fault and its message.
func faultOf(err error) (types.BaseMethodFault, string) {
	var r *refusal
	if errors.As(err, &r) {
		return r.fault, err.Error()
	}
	return &types.SystemError{Reason: err.Error()}, err.Error()
}

func soapFault(err error) *soap.Fault {
	fault, text := faultOf(err)
	return simulator.Fault(text, fault)
}

func localized(err error) *types.LocalizedMethodFault {
	fault, text := faultOf(err)
	return &types.LocalizedMethodFault{Fault: fault, LocalizedMessage: text}
}

type taskFunc func(ctx *simulator.Context) (types.AnyType, error)

// startTask runs f in a task of its own. Unlike vcsim's tasks it does not
// hold the entity's lock meanwhile: a real vCenter answers questions about a
// VM whose disks it is consolidating.
func (s *Server) startTask(ctx *simulator.Context, entity types.ManagedObjectReference, name string, f taskFunc) types.ManagedObjectReference {
	own := *ctx
	t := &simulator.Task{}
	t.Self = types.ManagedObjectReference{Type: "Task", Value: fmt.Sprintf("task-%d", 1_000_000+s.taskSeq.Add(1))}
	now := time.Now()
	user := "vcenter"
	if ctx.Session != nil {
		user = ctx.Session.UserName
	}
	t.Info = types.TaskInfo{
		Key: t.Self.Value, Task: t.Self, Name: name, DescriptionId: entity.Type + "." + name,
		Entity: &entity, EntityName: entity.Value, State: types.TaskInfoStateRunning,
		Reason: &types.TaskReasonUser{UserName: user}, QueueTime: now, StartTime: &now,
	}
	// vcsim adds the task to the entity's recent ones, without its lock.
	ctx.WithLock(entity, func() { own.Map.Put(t) })
	s.tasks.Add(1)
	go func() {
		defer s.tasks.Done()
		time.Sleep(s.cfg.TaskDelay)
		res, err := s.protect(name, &own, s.ruled(name, entity, f))
		// Who is told that it is done may rely on it. An error is told by
		// the next Save.
		_ = s.Save()
		changes := []types.PropertyChange{{Name: "info.completeTime", Val: time.Now()}}
		if err != nil {
			changes = append(changes,
				types.PropertyChange{Name: "info.error", Val: localized(err)},
				types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError})
		} else {
			changes = append(changes,
				types.PropertyChange{Name: "info.result", Val: res},
				types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess})
		}
		own.Map.AtomicUpdate(&own, t, changes)
	}()
	return t.Self
}

// protect turns a panic, vcsim's included, into a failed task.
func (s *Server) protect(name string, ctx *simulator.Context, f taskFunc) (res types.AnyType, err error) {
	defer func() {
		if p := recover(); p != nil {
			res, err = nil, fmt.Errorf("%s: panic: %v", name, p)
		}
	}()
	if fault := s.faults.task(name); fault != nil {
		return nil, refuse(fault, "%s: told to fail", name)
	}
	return f(ctx)
}

// await waits for one of vcsim's own tasks.
func await(ctx *simulator.Context, ref types.ManagedObjectReference) (types.AnyType, error) {
	t, ok := ctx.Map.Get(ref).(*simulator.Task)
	if !ok {
		return nil, fmt.Errorf("task %s: gone", ref.Value)
	}
	// The task itself runs with ctx, so that another one has to ask.
	own := *ctx
	// t.Wait would look only every 10 ms, which adds up for 10,000 VMs.
	var info types.TaskInfo
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		own.WithLock(t, func() { info = t.Info })
		if info.State == types.TaskInfoStateSuccess || info.State == types.TaskInfoStateError {
			break
		}
		time.Sleep(pause)
	}
	if info.Error != nil {
		return nil, refuse(info.Error.Fault, "%s: %+v", info.Error.LocalizedMessage, info.Error.Fault)
	}
	return info.Result, nil
}
