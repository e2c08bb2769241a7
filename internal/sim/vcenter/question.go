package vcenter

import (
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Choices of the question that a VM asks when its datastore is full.
const (
	choiceRetry  = "0"
	choiceCancel = "1"
)

// outOfSpace is the question that a running VM stands still with while a
// write of its guest finds no room.
func (s *Server) outOfSpace(l *layer) *types.VirtualMachineQuestionInfo {
	text := fmt.Sprintf("There is no more space for virtual disk %s. You might be able to continue this session by freeing "+
		"disk space on the relevant volume, and clicking Retry. Click Cancel to terminate this session.", l.file.base())
	choice := func(key, label string) *types.ElementDescription {
		return &types.ElementDescription{Key: key, Description: types.Description{Label: label, Summary: label}}
	}
	return &types.VirtualMachineQuestionInfo{
		Id: fmt.Sprint(s.taskSeq.Add(1)), Text: "msg.hbacommon.outofspace:" + text,
		Choice: types.ChoiceOption{ChoiceInfo: []types.BaseElementDescription{
			choice(choiceRetry, "button.retry"), choice(choiceCancel, "button.cancel"),
		}},
		Message: []types.VirtualMachineMessage{{Id: "msg.hbacommon.outofspace", Argument: []types.AnyType{l.file.base()}, Text: text}},
	}
}

// asks refuses what cannot be done to a VM that waits for an answer.
func (vs *vmState) asks() error {
	vs.io.RLock()
	defer vs.io.RUnlock()
	if vs.question == nil {
		return nil
	}
	return refuse(&types.InvalidState{}, "%s: waits for the answer to question %s", vs.ref.Value, vs.question.Id)
}

// showQuestion publishes what the VM asks, or that it does not any more.
func (s *Server) showQuestion(ctx *simulator.Context, vs *vmState) {
	vm, err := s.vm(vs.ref)
	if err != nil {
		return
	}
	vs.io.RLock()
	q := vs.question
	vs.io.RUnlock()
	change := types.PropertyChange{Name: "runtime.question"}
	if q != nil {
		change.Val = q
	}
	ctx.WithLock(vm, func() { ctx.Update(vm, []types.PropertyChange{change}) })
	if q != nil {
		s.post(ctx, &types.VmMessageEvent{VmEvent: s.eventOf(ctx, vm), Message: q.Text, MessageInfo: q.Message})
	}
}

// AnswerVM answers what the VM asks. Retry lets it go on, until the next
// write finds no room; Cancel switches it off.
func (v *virtualMachine) AnswerVM(ctx *simulator.Context, req *types.AnswerVM) soap.HasFault {
	fail := func(err error) soap.HasFault { return &methods.AnswerVMBody{Fault_: soapFault(err)} }
	vs, err := v.s.mustState(v.Self)
	if err != nil {
		return fail(err)
	}
	vs.io.Lock()
	q := vs.question
	switch {
	case q == nil || q.Id != req.QuestionId:
		err = refuse(&types.ConcurrentAccess{}, "%s: question %s: not asked, or answered already", v.Self.Value, req.QuestionId)
	case req.AnswerChoice != choiceRetry && req.AnswerChoice != choiceCancel:
		err = refuse(&types.InvalidArgument{InvalidProperty: "answerChoice"}, "answer %q: not a choice", req.AnswerChoice)
	default:
		vs.question = nil
	}
	vs.io.Unlock()
	if err != nil {
		return fail(err)
	}
	v.s.showQuestion(ctx, vs)
	if req.AnswerChoice == choiceCancel {
		ref := v.Self
		v.s.startTask(ctx, ref, "PowerOffVM_Task", func(ctx *simulator.Context) (types.AnyType, error) {
			return nil, v.s.power(ctx, ref, types.VirtualMachinePowerStatePoweredOff)
		})
	}
	return &methods.AnswerVMBody{Res: new(types.AnswerVMResponse)}
}

// Answer answers what a VM asks, as AnswerVM does, with a choice's key or
// with retry or off.
func (s *Server) Answer(moref, choice string) error {
	switch choice {
	case "retry", choiceRetry:
		choice = choiceRetry
	case "off", choiceCancel:
		choice = choiceCancel
	default:
		return fmt.Errorf("answer %s: %q: want 0 or retry, or 1 or off", moref, choice)
	}
	vm, err := s.vm(vmRef(moref))
	if err != nil {
		return err
	}
	vs, err := s.mustState(vmRef(moref))
	if err != nil {
		return err
	}
	vs.io.RLock()
	q := vs.question
	vs.io.RUnlock()
	if q == nil {
		return fmt.Errorf("answer %s: it asks nothing", moref)
	}
	ctx := s.newContext()
	var body soap.HasFault
	w := &virtualMachine{vm, s}
	ctx.WithLock(vm, func() {
		body = w.AnswerVM(ctx, &types.AnswerVM{This: vm.Self, QuestionId: q.Id, AnswerChoice: choice})
	})
	if f := body.Fault(); f != nil {
		return fmt.Errorf("answer %s: %s", moref, f.String)
	}
	return nil
}
