package vsphere

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// settleTime is how long what is being made when its context ends is waited
// for, so that it can be undone.
const settleTime = 2 * time.Minute

// A taskError is the fault that a task ended with.
type taskError struct{ fault *types.LocalizedMethodFault }

func (e *taskError) Error() string {
	if e.fault == nil || e.fault.Fault == nil {
		return "task failed without a reason"
	}
	t := reflect.TypeOf(e.fault.Fault)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return describe(t.Name(), e.fault.LocalizedMessage)
}

// GetLocalizedMethodFault lets package fault look inside.
func (e *taskError) GetLocalizedMethodFault() *types.LocalizedMethodFault { return e.fault }

// await waits for a task and returns its result. It polls: a filter of the
// property collector would not survive the renewal of the session. The task
// goes on in vCenter when ctx ends first.
func (c *Client) await(ctx context.Context, task types.ManagedObjectReference) (any, error) {
	pc := property.DefaultCollector(c.vim)
	for delay := 5 * time.Millisecond; ; delay = min(delay*3/2, time.Second) {
		var t mo.Task
		if err := pc.RetrieveOne(ctx, task, []string{"info.state", "info.error", "info.result"}, &t); err != nil {
			return nil, fmt.Errorf("%s: %w", task.Value, explain(err))
		}
		switch t.Info.State {
		case types.TaskInfoStateSuccess:
			return t.Info.Result, nil
		case types.TaskInfoStateError:
			err := &taskError{fault: t.Info.Error}
			return nil, &faultError{kind: kindOf(err), cause: err}
		}
		if err := sleep(ctx, delay); err != nil {
			return nil, fmt.Errorf("%s: %w", task.Value, err)
		}
	}
}

// produce starts a task that makes an object, and returns the object. Once
// started it is not lost sight of: when ctx ends first, what the task still
// makes is undone.
func (c *Client) produce(ctx context.Context, start func(context.Context) (types.ManagedObjectReference, error), undo func(ctx context.Context, made string) error) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	task, err := start(call)
	if err != nil {
		return "", explain(err)
	}
	result, err := c.await(ctx, task)
	if err != nil && ctx.Err() != nil {
		return "", errors.Join(err, c.settle(ctx, task, undo))
	}
	if err != nil {
		return "", err
	}
	made, ok := result.(types.ManagedObjectReference)
	if !ok {
		return "", fmt.Errorf("%s: no object in its result", task.Value)
	}
	return made.Value, nil
}

// settle waits for a task that nobody wants any more and undoes it.
func (c *Client) settle(ctx context.Context, task types.ManagedObjectReference, undo func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	result, err := c.await(ctx, task)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("its result may be left behind: %w", err)
		}
		return nil // it failed: nothing was made
	}
	if made, ok := result.(types.ManagedObjectReference); ok {
		return undo(ctx, made.Value)
	}
	return nil
}
