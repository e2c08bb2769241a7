// Package backup turns one vApp into one restore point.
//
// It follows VMware's published procedure step by step: hold the vApp still,
// keep its documents, freeze its VMs, copy what changed, let go. Whatever
// happens in between, the vApp leaves maintenance mode, the snapshots are
// removed and relocation is enabled again; and a restore point is listed
// only when everything it names is stored.
package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/maintenance"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// ErrNothing says that no VM of the vApp could be backed up, so that no
// restore point was made.
var ErrNothing = errors.New("no VM could be backed up")

// How long maintenance mode is held.
const (
	MaintenanceFull     = "full"     // to the end, as VMware's procedure
	MaintenanceSnapshot = "snapshot" // until all snapshots exist
	MaintenanceNone     = "none"
	maintenanceForeign  = "foreign" // somebody else's, left as it was
)

// cleanTimeout bounds each clean-up step, which runs even after cancellation.
const cleanTimeout = 10 * time.Minute

// Deps are what a backup works with.
type Deps struct {
	VCD *vcd.Client
	// VSphere returns the client of the vCenter that vCD knows by the given
	// reference (the href of its vimServer).
	VSphere    func(ctx context.Context, vimServerHref string) (*vsphere.Client, error)
	Openers    func(*vsphere.Client) []transport.Opener // in order of choice
	Repository *repository.Repository                   // of the vApp's org
	Journal    *journal.Journal
	Claim      *journal.Claim
	Progress   progress.Func
	Logger     *slog.Logger
	// Hook, where set, is called after each journalled or outside step.
	Hook func(step string)
}

// Options say how to back up.
type Options struct {
	Site        restorepoint.Ref
	VAppID      string // URN
	Maintenance string // full, snapshot, none
	// MaintenanceTimeout bounds the wait for tasks that were already running.
	MaintenanceTimeout time.Duration
	Quiesce            string // require, try, off
	Full               bool   // read everything, whatever CBT says
	// SamplePercent of the unchanged blocks are read all the same and
	// compared: CBT can lie.
	SamplePercent float64
	Disks         int // disks copied at once
	ToolVersion   string
}

// run is one backup under way.
type run struct {
	Deps
	opts   Options
	id     string
	vapp   *vcd.VApp
	hold   *maintenance.Hold
	point  *restorepoint.Point
	parent *restorepoint.Point
	writer *repository.PointWriter
	vms    []*vmRun
	docs   map[string][]byte
	mu     sync.Mutex // of point.Problems and point.State
}

// Run backs up one vApp and returns the committed restore point. With a
// point in state partial the error is nil: the point's Problems say what is
// missing.
func Run(ctx context.Context, d Deps, o Options) (*restorepoint.Point, error) {
	r := &run{Deps: d, opts: o, id: ulid.Make().String(), docs: map[string][]byte{}}
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	if err := r.find(ctx); err != nil {
		return nil, err
	}
	err := r.held(ctx)
	if err != nil {
		return nil, fmt.Errorf("vApp %s: %w", r.vapp.Name, err)
	}
	return r.point, nil
}

// ID of a run is the id of the restore point it makes.
func (r *run) find(ctx context.Context) error {
	return r.step(ctx, "find vApp", func(ctx context.Context) error {
		vapp, err := r.VCD.VApp(ctx, r.opts.VAppID)
		if err != nil {
			return fmt.Errorf("vApp %s: %w", r.opts.VAppID, err)
		}
		r.vapp = vapp
		r.point = &restorepoint.Point{
			Schema: restorepoint.SchemaVersion, ID: r.id, State: restorepoint.Complete,
			Started: time.Now().UTC(), ToolVersion: r.opts.ToolVersion, Site: r.opts.Site,
			Org:        restorepoint.Ref{ID: vapp.Org.ID, Name: vapp.Org.Name, Href: vapp.Org.Href},
			VDC:        restorepoint.Ref{ID: vapp.VDC.ID, Name: vapp.VDC.Name, Href: vapp.VDC.Href},
			VApp:       restorepoint.Ref{ID: vapp.ID, Name: vapp.Name, Href: vapp.Href},
			AutoNature: vapp.AutoNature, Maintenance: r.opts.Maintenance, APIVersion: r.VCD.APIVersion(),
		}
		return nil
	})
}

// held is everything between entering maintenance mode and leaving it.
func (r *run) held(ctx context.Context) (err error) {
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer func() {
		if exit := r.exit(ctx); exit != nil {
			err = errors.Join(err, exit)
		}
	}()
	if err := r.step(ctx, "collect documents", r.documents); err != nil {
		return err
	}
	if err := r.step(ctx, "identify VMs", r.identify); err != nil {
		return err
	}
	defer func() {
		if clean := r.letGo(ctx); clean != nil {
			err = errors.Join(err, clean)
		}
	}()
	if err := r.freeze(ctx); err != nil {
		return err
	}
	if r.opts.Maintenance == MaintenanceSnapshot {
		if err := r.exit(ctx); err != nil {
			return err
		}
	}
	return r.store(ctx)
}

// store copies the disks and commits the restore point.
func (r *run) store(ctx context.Context) (err error) {
	r.writer, err = r.Repository.NewPoint(ctx, r.vapp.ID)
	if err != nil {
		return fmt.Errorf("open the repository for writing: %w", err)
	}
	committed := false
	defer func() {
		if !committed {
			clean, cancel := cleanup(ctx)
			defer cancel()
			r.writer.Abort(clean)
		}
	}()
	if err := r.step(ctx, "copy disks", r.copyDisks); err != nil {
		return err
	}
	if err := r.letGo(ctx); err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return err
	}
	if err := r.step(ctx, "commit restore point", func(ctx context.Context) error {
		return r.writer.Commit(ctx, r.point, r.docs)
	}); err != nil {
		return err
	}
	committed = true
	return nil
}

func (r *run) enter(ctx context.Context) error {
	if r.opts.Maintenance == MaintenanceNone {
		return nil
	}
	keeper := &maintenance.Keeper{
		VCD: r.VCD, Journal: r.Journal, Claim: r.Claim, Run: r.id, Site: r.opts.Site.ID, Hook: r.Hook,
	}
	err := r.step(ctx, "enter maintenance mode", func(ctx context.Context) (err error) {
		r.hold, err = keeper.Enter(ctx, r.vapp)
		return err
	})
	if err != nil {
		return err
	}
	if r.hold.Foreign {
		r.point.Maintenance = maintenanceForeign
	}
	err = r.step(ctx, "wait for running tasks", func(ctx context.Context) error {
		return r.hold.Settle(ctx, r.opts.MaintenanceTimeout)
	})
	if err != nil {
		return errors.Join(err, r.exit(ctx))
	}
	return nil
}

func (r *run) exit(ctx context.Context) error {
	if r.hold == nil {
		return nil
	}
	hold := r.hold
	r.hold = nil
	ctx, cancel := cleanup(ctx)
	defer cancel()
	return r.step(ctx, "exit maintenance mode", hold.Release)
}

// finish fills the manifest in from what the VMs' runs found.
func (r *run) finish() error {
	whole := 0
	for _, vm := range r.vms {
		if vm.err != nil {
			vm.rec.Missing = vm.err.Error()
			vm.rec.Disks = nil
			r.problem(restorepoint.Problem{VM: vm.rec.Name, Message: vm.err.Error(), Missing: true})
		} else {
			whole++
		}
		r.point.VMs = append(r.point.VMs, vm.rec)
	}
	if whole == 0 && len(r.vms) > 0 {
		var errs []error
		for _, vm := range r.vms {
			errs = append(errs, fmt.Errorf("vm %s: %w", vm.rec.Name, vm.err))
		}
		return fmt.Errorf("%w: %w", ErrNothing, errors.Join(errs...))
	}
	r.point.Finished = time.Now().UTC()
	return nil
}

// problem records something the point lacks or that went otherwise.
func (r *run) problem(p restorepoint.Problem) {
	r.mu.Lock()
	r.point.Problems = append(r.point.Problems, p)
	if p.Missing {
		r.point.State = restorepoint.Partial
	}
	r.mu.Unlock()
	r.Progress.Emit(progress.Event{
		Kind: progress.Warn, Org: r.vapp.Org.Name, VApp: r.vapp.Name, VM: p.VM, Disk: p.Disk, Message: p.Message,
	})
}

// step runs one named step of the procedure and reports it.
func (r *run) step(ctx context.Context, name string, do func(context.Context) error) error {
	event := progress.Event{Kind: progress.StepStart, Step: name}
	if r.vapp != nil {
		event.Org, event.VApp = r.vapp.Org.Name, r.vapp.Name
	}
	r.Progress.Emit(event)
	err := do(ctx)
	event.Kind = progress.StepDone
	if err != nil {
		event.Err = err.Error()
		err = fmt.Errorf("%s: %w", name, err)
	}
	r.Progress.Emit(event)
	return err
}

// did tells the hook that an outside step has happened.
func (r *run) did(step string) {
	if r.Hook != nil {
		r.Hook(step)
	}
}

// cleanup returns a context that outlives the cancellation of ctx.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
}
