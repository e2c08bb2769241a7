package director

import (
	"context"
	"errors"
	"time"

	"github.com/vmware/govmomi/object"
	vctask "github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/types"
)

// await waits for a vCenter task. The first error is the call's own.
func await(ctx context.Context, t *object.Task, err error) error {
	if err != nil {
		return err
	}
	_, err = outcome(ctx, t)
	return err
}

// outcome waits for a vCenter task, and is what it ended with. Each wait has a
// property collector of its own (WaitEx has not): of two that share one, each
// may be told what the other waits for.
func outcome(ctx context.Context, t *object.Task) (*types.TaskInfo, error) {
	if t == nil {
		return nil, errors.New("no task")
	}
	info, err := t.WaitForResult(ctx, nil)
	if info != nil && info.State == types.TaskInfoStateSuccess {
		return info, nil
	}
	// A wait that was given up is no error to govmomi, and has no result.
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = errors.New("the task was not waited for to its end")
	}
	return nil, err
}

// settled runs a task of vCenter, and does not leave it at work behind: the VM
// is something else's to change afterwards.
func settled(ctx context.Context, begin func(context.Context) (*object.Task, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// A call that is broken off may have begun its task all the same.
	after, end := past(ctx)
	defer end()
	t, err := begin(after)
	if err != nil {
		return err
	}
	if err := await(ctx, t, nil); err == nil || t == nil || ended(err) {
		return err
	}
	if err := await(after, t, nil); err != nil {
		return err
	}
	return ctx.Err()
}

// ended tells the error of a task that ended with it.
func ended(err error) bool {
	var e vctask.Error
	var p *vctask.Error
	return errors.As(err, &e) || errors.As(err, &p)
}

// lifeKey is where a context has the one that lasts as long as the server.
type lifeKey struct{}

// How long what a task leaves behind is waited for and removed: after the task
// was cancelled, and after the server was told to stop.
const (
	pastTask   = time.Minute
	pastServer = 2 * time.Second
)

// past is a context for what has to be done although ctx is over.
func past(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stops := []func() bool{context.AfterFunc(ctx, func() { time.AfterFunc(pastTask, cancel) })}
	if life, is := ctx.Value(lifeKey{}).(context.Context); is {
		stops = append(stops, context.AfterFunc(life, func() { time.AfterFunc(pastServer, cancel) }))
	}
	return out, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// produce runs a task of vCenter that makes something, and returns its moref.
// vCenter goes on where a wait is given up: what it has made by the end is
// removed then, for nobody would know of it.
func produce(ctx context.Context, begin func(context.Context) (*object.Task, error), remove func(context.Context, string) error) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	after, end := past(ctx)
	defer end()
	t, err := begin(after)
	if err != nil {
		return "", err
	}
	info, err := outcome(ctx, t)
	if err == nil {
		return product(info)
	}
	if t == nil || ended(err) {
		return "", err
	}
	if info, lerr := outcome(after, t); lerr == nil {
		if moref, perr := product(info); perr == nil {
			err = errors.Join(err, remove(after, moref))
		}
	}
	return "", err
}

func product(info *types.TaskInfo) (string, error) {
	ref, is := info.Result.(types.ManagedObjectReference)
	if !is {
		return "", errors.New("the task has nothing for a result")
	}
	return ref.Value, nil
}

// unmake destroys a VM that was made for what has failed; the failure counts.
func (vc *vcenter) unmake(ctx context.Context, moref string, err error) error {
	if moref == "" {
		return err
	}
	after, end := past(ctx)
	defer end()
	return errors.Join(err, vc.destroy(after, moref))
}
