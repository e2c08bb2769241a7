// Package maintenance holds a vApp still: it puts the vApp in maintenance
// mode, waits until nothing moves in it any more, and lets it go.
//
// Maintenance mode binds users, not vCD, and does not stop tasks that are
// already running. Entering is journalled before it happens and marked on
// the vApp, so that whichever process comes next can undo it.
package maintenance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/vcd"
)

// ErrStolen says that another run marked the vApp while this one entered
// maintenance mode.
var ErrStolen = errors.New("another run holds this vApp")

// leaveTimeout bounds the clean-up, which runs even after cancellation.
const leaveTimeout = 2 * time.Minute

// A Keeper enters and leaves maintenance mode for one run.
type Keeper struct {
	VCD     *vcd.Client
	Journal *journal.Journal
	Claim   *journal.Claim
	Run     string // id of the run, written into the mark
	Site    string
	// Hook, where set, is called after each outside step; tests use it to
	// crash there.
	Hook func(step string)
}

// A Hold is a vApp in maintenance mode.
type Hold struct {
	// Foreign is true when somebody else had put the vApp in maintenance
	// mode before: it is left in it.
	Foreign bool

	keeper *Keeper
	vapp   vcd.VApp
	intent int64
	done   bool
}

// Enter puts the vApp in maintenance mode. A vApp that somebody else put in
// maintenance mode is taken as it is.
func (k *Keeper) Enter(ctx context.Context, vapp *vcd.VApp) (*Hold, error) {
	hold := &Hold{keeper: k, vapp: *vapp}
	if vapp.InMaintenance {
		hold.Foreign, hold.done = true, true
		return hold, nil
	}
	id, err := k.Journal.Intend(ctx, journal.Intent{
		// A restore holds the vApp that it makes under the claim of the
		// one that was lost.
		Claim: k.Claim.Token, Run: k.Run, Site: k.Site, VApp: k.Claim.VApp,
		Kind: mark.Maintenance, Object: vapp.ID, Detail: map[string]string{mark.Name: vapp.Name},
	})
	if err != nil {
		return nil, err
	}
	hold.intent = id
	k.step("intend maintenance")
	if err := hold.enter(ctx); err != nil {
		return nil, errors.Join(err, hold.Release(ctx))
	}
	return hold, nil
}

func (h *Hold) enter(ctx context.Context) error {
	k := h.keeper
	if err := SetMark(ctx, k.VCD, h.vapp.Href, k.Run); err != nil {
		return fmt.Errorf("mark the vApp: %w", err)
	}
	k.step("mark vApp")
	if err := k.VCD.EnterMaintenance(ctx, h.vapp.ID); err != nil {
		return fmt.Errorf("enter maintenance mode: %w", err)
	}
	k.step("enter maintenance")
	// Metadata has no compare-and-set: two machines can both have written
	// the mark. Read again now that writes are refused to others, the one
	// whose mark did not survive gives way.
	run, _, err := Mark(ctx, k.VCD, h.vapp.Href)
	if err != nil {
		return fmt.Errorf("read the mark again: %w", err)
	}
	if run != k.Run {
		h.done = true // the other run's maintenance now
		return fmt.Errorf("%w: run %s", ErrStolen, run)
	}
	return nil
}

// Settle waits until every task that was running on the vApp or its VMs has
// ended. After the deadline it fails, naming a task that has not.
func (h *Hold) Settle(ctx context.Context, deadline time.Duration) error {
	ids := []string{h.vapp.ID}
	for _, vm := range h.vapp.VMs {
		ids = append(ids, vm.ID)
	}
	limit := time.Now().Add(deadline)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		tasks, err := h.keeper.VCD.RunningTasks(ctx, ids...)
		if err != nil {
			return fmt.Errorf("list running tasks: %w", err)
		}
		if len(tasks) == 0 {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("task %q (%s) still %s after %s", tasks[0].Operation, tasks[0].ID, tasks[0].Status, deadline)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// Release leaves maintenance mode and removes the mark. It runs to its end
// even when ctx is cancelled. Calling it twice does no harm.
func (h *Hold) Release(ctx context.Context) error {
	if h == nil || h.done {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	k := h.keeper
	if err := Leave(ctx, k.VCD, h.vapp.ID, h.vapp.Href); err != nil {
		return err
	}
	k.step("exit maintenance")
	if err := k.Journal.Settle(ctx, h.intent); err != nil {
		return err
	}
	h.done = true
	return nil
}

func (k *Keeper) step(name string) {
	if k.Hook != nil {
		k.Hook(name)
	}
}

// Leave leaves maintenance mode and then removes the mark: in this order, so
// that a crash in between leaves a mark rather than a vApp nobody knows of.
// A vApp that is gone holds nothing.
func Leave(ctx context.Context, c *vcd.Client, id, href string) error {
	if err := c.ExitMaintenance(ctx, id); err != nil {
		if gone(err) {
			if _, again := c.VApp(ctx, id); gone(again) {
				return nil
			}
		}
		return fmt.Errorf("exit maintenance mode: %w", err)
	}
	err := c.DeleteMetadata(ctx, href, "SYSTEM", mark.RunKey)
	if err != nil && !vcd.IsNotFound(err) {
		return fmt.Errorf("remove the mark: %w", err)
	}
	return nil
}

// SetMark writes the mark of a run, and of this machine, on a vApp.
func SetMark(ctx context.Context, c *vcd.Client, href, run string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	return c.SetMetadata(ctx, href, vcd.MetadataEntry{
		Domain: "SYSTEM", Visibility: "PRIVATE", Key: mark.RunKey, Type: vcd.StringValue, Value: mark.Value(run, host),
	})
}

// Mark returns the run that marked a vApp and the machine it ran on, or ""
// where none did.
func Mark(ctx context.Context, c *vcd.Client, href string) (run, host string, err error) {
	entries, err := c.Metadata(ctx, href)
	if err != nil {
		return "", "", err
	}
	for _, e := range entries {
		if e.Key == mark.RunKey && strings.EqualFold(e.Domain, "SYSTEM") {
			run, host = mark.ParseValue(e.Value)
		}
	}
	return run, host, nil
}

// gone tells whether vCD says that an object does not exist, which it may
// also put as forbidding access to it.
func gone(err error) bool { return vcd.IsNotFound(err) || vcd.IsForbidden(err) }
