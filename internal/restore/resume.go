package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// ErrNothingToResume says that no overwrite of a vApp was interrupted, or that
// it was taken back since.
var ErrNothingToResume = errors.New("no interrupted overwrite to resume")

// An Interrupted is an overwrite that was interrupted before its commit point
// and not taken back since.
type Interrupted struct {
	Run     string
	Made    time.Time
	Site    string
	Org     restorepoint.Ref
	VDC     restorepoint.Ref
	VApp    restorepoint.Ref
	Point   string
	Options plan.Options
	// Safety is the restore point of what the vApp was, where blocks were to be
	// written into its disks; HalfWritten says that they were.
	Safety      string
	HalfWritten bool

	sealed string
}

// ListInterrupted returns what can be resumed, oldest first.
func ListInterrupted(ctx context.Context, j *journal.Journal, f journal.Filter) ([]Interrupted, error) {
	intents, err := j.OpenIntents(ctx, f)
	if err != nil {
		return nil, err
	}
	var out []Interrupted
	writing := map[string]bool{}
	for _, i := range intents {
		writing[i.Run] = writing[i.Run] || i.Kind == mark.Blocks
	}
	for _, i := range intents {
		if i.Kind != mark.Overwrite {
			continue
		}
		o := Interrupted{
			Run: i.Run, Made: i.Made, Site: i.Site, Point: i.Detail["point"], sealed: i.Detail["sealed"],
			Safety: i.Detail["safety"], HalfWritten: writing[i.Run],
			Org: restorepoint.Ref{ID: i.Detail["orgId"], Name: i.Detail["org"]}, VDC: restorepoint.Ref{Name: i.Detail["vdc"]},
			VApp: restorepoint.Ref{ID: i.VApp, Name: i.Detail[mark.Name]},
		}
		if err := json.Unmarshal([]byte(i.Detail["options"]), &o.Options); err != nil {
			return nil, fmt.Errorf("run %s: options: %w", i.Run, err)
		}
		// One that was interrupted again is there twice.
		if at := slices.IndexFunc(out, func(e Interrupted) bool { return e.Run == o.Run }); at >= 0 {
			if o.sealed == "" {
				o.sealed = out[at].sealed
			}
			out[at] = o
			continue
		}
		out = append(out, o)
	}
	return out, nil
}

// begin journals that a whole vApp is overwritten, so that it can be resumed.
// An undo is not: taken back, it can be done again at no cost.
func (r *run) begin(ctx context.Context) error {
	if r.undoes != nil {
		return nil
	}
	options, err := json.Marshal(r.options)
	if err != nil {
		return err
	}
	err = r.intend(ctx, journal.Intent{Kind: mark.Overwrite, Object: r.vapp.ID, Detail: map[string]string{
		mark.Name: r.vapp.Name, "point": r.point.ID, "options": string(options),
		"org": r.plan.Org.Name, "orgId": r.plan.Org.ID, "vdc": r.plan.VDC.Name, "safety": r.safetyPoint,
	}}, "", func(context.Context) error { return nil })
	if err != nil {
		return err
	}
	r.started = r.undo[len(r.undo)-1].intent
	if r.before != nil {
		return r.remember(ctx)
	}
	return nil
}

// remember adds to the journal what the vApp was, for a resume: what is there
// then may be half restored.
func (r *run) remember(ctx context.Context) error {
	if r.started == 0 {
		return nil
	}
	sealed, err := r.before.seal(r.Repository)
	if err != nil {
		return err
	}
	return r.Journal.Amend(ctx, r.started, map[string]string{"sealed": sealed})
}

// replaced settles the intents of the run that is resumed, once this one has
// made its own in their place.
func (r *run) replaced(ctx context.Context) error {
	for _, id := range r.resumes {
		if err := r.Journal.Settle(ctx, id); err != nil {
			return err
		}
	}
	r.resumes = nil
	return nil
}

// resumable tells whether a failure leaves the overwrite as it is.
func (r *run) resumable() bool {
	if r.halfWritten() && !r.committed {
		return true // there is no way back
	}
	return r.plan.OnError == plan.OnErrorKeep && r.plan.Mode == plan.ModeOverwrite && r.started != 0 && !r.committed
}

// Resume goes on with an overwrite that was interrupted before its commit
// point. VMs that have their new disks keep them; what else was half done is
// taken back and done again. The caller holds the vApp's claim and has settled
// nothing.
func Resume(ctx context.Context, d Deps, point *restorepoint.Point, i *Interrupted) (*Result, error) {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	r := newRun(d, &plan.Plan{VAppName: i.VApp.Name, Org: i.Org}, point)
	r.id, r.options, r.safetyPoint = i.Run, i.Options, i.Safety
	if err := r.adopt(ctx); err != nil {
		return nil, fmt.Errorf("run %s: %w", i.Run, err)
	}
	var err error
	if i.sealed != "" {
		k := Kept{Run: i.Run, VApp: i.VApp, sealed: i.sealed}
		if r.before, err = k.unseal(d.Repository); err != nil {
			return nil, err
		}
	}
	if r.plan, err = Compute(ctx, &r.Deps, point, i.Options); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	r.result.Plan, r.result.VAppName = r.plan, r.plan.VAppName
	return r.run(ctx)
}

// adopt goes through what the interrupted run has journalled, the newest
// first. Finished swaps are taken over, the rest is undone.
func (r *run) adopt(ctx context.Context) error {
	intents, err := r.Journal.OpenIntents(ctx, journal.Filter{Site: r.Site, VApp: r.point.VApp.ID})
	if err != nil {
		return err
	}
	r.swaps, r.written = map[string]undoStep{}, map[string]*written{}
	for _, i := range slices.Backward(intents) {
		if mark.Record(i.Kind) {
			continue
		}
		if i.Run != r.id {
			return fmt.Errorf("%w: run %s has left something on the vApp since: settle it with reconcile", ErrNothingToResume, i.Run)
		}
		keep, err := r.adoptOne(ctx, i)
		if err == nil && !keep {
			err = r.Journal.Settle(ctx, i.ID)
		}
		if err != nil {
			return fmt.Errorf("%s of %s: %w", i.Kind, i.Object, err)
		}
		r.did("adopt " + i.Kind)
	}
	return nil
}

func (r *run) adoptOne(ctx context.Context, i journal.Intent) (keep bool, err error) {
	switch i.Kind {
	case mark.Overwrite, mark.Maintenance:
		r.resumes = append(r.resumes, i.ID)
		return true, nil
	case mark.Import:
		return false, RemoveImported(ctx, r.VCD, i.Object, i.Detail[mark.VCenter], false)
	case mark.Blocks:
		return true, r.adoptBlocks(i)
	case mark.Swap, mark.ScratchVM, mark.Relocation:
	default:
		return false, errors.New("not a part of an overwrite")
	}
	client, err := r.VCenter(ctx, i.Detail[mark.VCenter])
	if err != nil {
		return false, err
	}
	if i.Kind == mark.Relocation {
		return false, LetMove(ctx, client.VM(i.Object))
	}
	if i.Kind == mark.ScratchVM {
		return false, RemoveScratch(ctx, client, i.Detail[mark.Name])
	}
	files, err := DecodeFiles(i.Detail)
	if err != nil {
		return false, err
	}
	now, err := client.VM(i.Object).Config(ctx)
	if err != nil && !errors.Is(err, vsphere.ErrNotFound) {
		return false, err
	}
	if err != nil || !files.swapped(now) {
		left, err := SwapBack(ctx, client, i.Object, files)
		if len(left) > 0 {
			r.warn(i.Detail[mark.VM], fmt.Sprintf("left, because something may refer to them: %v", left))
		}
		return false, err
	}
	if err := still(now); err != nil {
		return false, fmt.Errorf("vm %s: %w", i.Detail[mark.VM], err)
	}
	step := &swap{moref: i.Object, vm: i.Detail[mark.VM], client: client, files: files}
	r.swaps[i.Object] = undoStep{what: "swap the old disks of vm " + step.vm + " back", intent: i.ID, do: r.swapBack(step), swap: step}
	return true, nil
}
