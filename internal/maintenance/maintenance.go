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
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/process"
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
	// entered is true once the mode was entered by this run for certain.
	entered bool
	done    bool
}

// Enter puts the vApp in maintenance mode. A vApp that somebody else put in
// maintenance mode is taken as it is; one that another run holds is left
// alone, with ErrStolen.
func (k *Keeper) Enter(ctx context.Context, vapp *vcd.VApp) (*Hold, error) {
	now, err := k.VCD.VApp(ctx, vapp.ID)
	if err != nil {
		return nil, fmt.Errorf("read the vApp: %w", err)
	}
	run, err := k.holder(ctx, now.Href)
	if err != nil {
		return nil, err
	}
	hold := &Hold{keeper: k, vapp: *now}
	if now.InMaintenance && run == "" {
		hold.Foreign, hold.done = true, true
		return hold, nil
	}
	hold.intent, err = k.Journal.Intend(ctx, journal.Intent{
		// A restore holds the vApp that it makes under the claim of the
		// one that was lost.
		Claim: k.Claim.Token, Run: k.Run, Site: k.Site, VApp: k.Claim.VApp,
		Kind: mark.Maintenance, Object: now.ID, Detail: map[string]string{mark.Name: now.Name},
	})
	if err != nil {
		return nil, err
	}
	k.step("intend maintenance")
	if err := hold.enter(ctx); err != nil {
		release := hold.Release(ctx)
		if errors.Is(err, ErrStolen) && errors.Is(release, ErrStolen) {
			release = nil // says the same again
		}
		return nil, errors.Join(err, release)
	}
	return hold, nil
}

// holder returns the run whose mark the vApp bears. The mark of a run that
// may be alive is an ErrStolen; a dead one's is only still there.
func (k *Keeper) holder(ctx context.Context, href string) (string, error) {
	run, who, err := Mark(ctx, k.VCD, href)
	if err != nil {
		return "", fmt.Errorf("read the mark: %w", err)
	}
	self, err := process.This()
	if err != nil {
		return "", err
	}
	if run != "" && run != k.Run && !who.Dead(self) {
		return "", fmt.Errorf("%w: run %s on %s", ErrStolen, run, who)
	}
	return run, nil
}

func (h *Hold) enter(ctx context.Context) error {
	k := h.keeper
	if err := SetMark(ctx, k.VCD, h.vapp.Href, k.Run); err != nil {
		return fmt.Errorf("mark the vApp: %w", h.named(ctx, err))
	}
	k.step("mark vApp")
	if err := k.VCD.EnterMaintenance(ctx, h.vapp.ID); err != nil {
		return fmt.Errorf("enter maintenance mode: %w", h.named(ctx, err))
	}
	k.step("enter maintenance")
	h.entered = true
	// Should the mark get lost, the journal still tells whose it is.
	if err := k.Journal.Amend(ctx, h.intent, map[string]string{mark.Entered: "true"}); err != nil {
		return err
	}
	// Metadata has no compare-and-set: two machines can both have written
	// the mark. Read again now that writes are refused to others, the one
	// whose mark did not survive gives way.
	run, who, err := Mark(ctx, k.VCD, h.vapp.Href)
	switch {
	case err != nil:
		return fmt.Errorf("read the mark again: %w", err)
	case run == "":
		return errors.New("the mark was removed while maintenance mode was entered")
	case run != k.Run:
		return fmt.Errorf("%w: run %s on %s", ErrStolen, run, who)
	}
	return nil
}

// named adds to the error of a busy vApp which task it is that keeps it.
func (h *Hold) named(ctx context.Context, err error) error {
	if !vcd.IsBusy(err) {
		return err
	}
	tasks, terr := h.keeper.VCD.RunningTasks(ctx, h.ids()...)
	if terr != nil || len(tasks) == 0 {
		return err // the first error says enough
	}
	return fmt.Errorf("%s is %s: %w", task(tasks[0]), tasks[0].Status, err)
}

// task names a task, and who began it.
func task(t vcd.Task) string {
	if t.User.Name == "" {
		return fmt.Sprintf("task %q (%s)", t.Operation, t.ID)
	}
	return fmt.Sprintf("task %q of user %s (%s)", t.Operation, t.User.Name, t.ID)
}

// ids are those of the vApp and its VMs.
func (h *Hold) ids() []string {
	ids := []string{h.vapp.ID}
	for _, vm := range h.vapp.VMs {
		ids = append(ids, vm.ID)
	}
	return ids
}

// Settle waits until every task that was running on the vApp or its VMs has
// ended. After the deadline it fails, naming a task that has not.
func (h *Hold) Settle(ctx context.Context, deadline time.Duration) error {
	limit := time.Now().Add(deadline)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		tasks, err := h.keeper.VCD.RunningTasks(ctx, h.ids()...)
		if err != nil {
			return fmt.Errorf("list running tasks: %w", err)
		}
		if len(tasks) == 0 {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%s still %s after %s", task(tasks[0]), tasks[0].Status, deadline)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// Release leaves maintenance mode and removes the mark. It runs to its end
// even when ctx is cancelled. Calling it twice does no harm. ErrStolen says
// that another run has put its mark in place of ours: then the maintenance
// mode is that run's, and was left as it is.
func (h *Hold) Release(ctx context.Context) error {
	if h == nil || h.done {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	k := h.keeper
	err := leave(ctx, k.VCD, &h.vapp, k.Run, h.entered, func() error {
		// Whoever enters from now on is not us, even if we die here.
		return k.Journal.Amend(ctx, h.intent, map[string]string{mark.Entered: ""})
	})
	if err != nil && !errors.Is(err, ErrStolen) {
		return err
	}
	k.step("exit maintenance")
	h.done = true
	return errors.Join(err, k.Journal.Settle(ctx, h.intent))
}

func (k *Keeper) step(name string) {
	if k.Hook != nil {
		k.Hook(name)
	}
}

// Leave undoes what a run did that may have died. Entered says that the
// journal knows it to have entered: then the mark is not needed as a proof.
// A vApp that is gone holds nothing; one that bears another run's mark is
// that run's, and the error ErrStolen.
func Leave(ctx context.Context, c *vcd.Client, vapp *vcd.VApp, run string, entered bool) error {
	return leave(ctx, c, vapp, run, entered, func() error { return nil })
}

// leave leaves maintenance mode and then removes the mark: in this order, so
// that a crash in between leaves a mark rather than a vApp nobody knows of.
func leave(ctx context.Context, c *vcd.Client, vapp *vcd.VApp, run string, entered bool, left func() error) error {
	holder, who, err := Mark(ctx, c, vapp.Href)
	if err != nil {
		if gone(err) {
			if _, again := c.VApp(ctx, vapp.ID); vcd.IsNotFound(again) {
				return nil
			}
		}
		return fmt.Errorf("read the mark: %w", err)
	}
	switch {
	case holder == "" && !entered:
		return nil // marking comes first: nothing was done
	case holder != "" && holder != run:
		return fmt.Errorf("%w: run %s on %s; maintenance mode was left as it is", ErrStolen, holder, who)
	}
	if err := c.ExitMaintenance(ctx, vapp.ID); err != nil {
		if gone(err) {
			if _, again := c.VApp(ctx, vapp.ID); vcd.IsNotFound(again) {
				return nil
			}
		}
		return fmt.Errorf("exit maintenance mode: %w", err)
	}
	if err := left(); err != nil {
		return err
	}
	if err := c.DeleteMetadata(ctx, vapp.Href, vcd.DomainSystem, mark.RunKey); err != nil && !vcd.IsNotFound(err) {
		return fmt.Errorf("remove the mark: %w", err)
	}
	return nil
}

// SetMark writes the mark of a run, and of this process, on a vApp.
func SetMark(ctx context.Context, c *vcd.Client, href, run string) error {
	self, err := process.This()
	if err != nil {
		return err
	}
	return c.SetMetadata(ctx, href, vcd.MetadataEntry{
		Domain: vcd.DomainSystem, Visibility: "PRIVATE", Key: mark.RunKey, Type: vcd.StringValue, Value: mark.Value(run, self),
	})
}

// Mark returns the run that marked a vApp and the process that was at it, or
// "" where none did.
func Mark(ctx context.Context, c *vcd.Client, href string) (run string, who process.Process, err error) {
	entries, err := c.Metadata(ctx, href)
	if err != nil {
		return "", process.Process{}, err
	}
	for _, e := range entries {
		if e.Key == mark.RunKey && strings.EqualFold(e.Domain, vcd.DomainSystem) {
			run, who = mark.ParseValue(e.Value)
		}
	}
	return run, who, nil
}

// HalfWritten returns what the mark of half written disks says, or "" where a
// vApp has none.
func HalfWritten(ctx context.Context, c *vcd.Client, href string) (string, error) {
	entries, err := c.Metadata(ctx, href)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Key == mark.WrittenKey && strings.EqualFold(e.Domain, vcd.DomainSystem) {
			return e.Value, nil
		}
	}
	return "", nil
}

// gone tells whether vCD says that an object does not exist, which it may
// also put as forbidding access to it.
func gone(err error) bool { return vcd.IsNotFound(err) || vcd.IsForbidden(err) }
