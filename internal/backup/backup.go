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
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/maintenance"
	"github.com/vappvault/vappvault/internal/process"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

var (
	// ErrNothing says that no VM of the vApp could be backed up, so that no
	// restore point was made.
	ErrNothing = errors.New("no VM could be backed up")
	// ErrNoneWanted says that the VMs that were selected are not in the vApp
	// any more.
	ErrNoneWanted = errors.New("no VM that was selected is there any more")
	// ErrLeft says that the restore point is stored, but that something
	// which was done to the vApp could not be undone. It is in the journal:
	// the next run on the vApp, or reconcile, settles it.
	ErrLeft = errors.New("the restore point is stored, but something is left to undo")
)

// How long maintenance mode is held.
const (
	MaintenanceFull     = "full"     // to the end, as VMware's procedure
	MaintenanceSnapshot = "snapshot" // until all snapshots exist
	MaintenanceNone     = "none"
	maintenanceForeign  = "foreign" // somebody else's, left as it was
)

// cleanTimeout bounds each clean-up step after an error or cancellation.
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
	// Limits are shared by all that the process does. Nil is one disk at a
	// time.
	Limits *limit.Limits
	// CheckpointBytes is how much is copied between two checkpoints, besides
	// those that go by time; 0 means 4 GiB.
	CheckpointBytes int64

	Progress progress.Func
	Logger   *slog.Logger
	// Hook, where set, is called after each journalled or outside step.
	Hook func(step string)
}

// Options say how to back up.
type Options struct {
	Site   restorepoint.Ref
	VAppID string // URN
	// Item is the vApp as selectors know it, Choice what of it is wanted.
	Item        selection.Item
	Choice      selection.Choice
	Maintenance string // full, snapshot, none
	// MaintenanceTimeout bounds the wait for tasks that were already running.
	MaintenanceTimeout time.Duration
	Quiesce            string // require, try, off
	Full               bool   // read everything, whatever CBT says
	// SamplePercent of the unchanged blocks are read all the same and
	// compared: CBT can lie.
	SamplePercent float64
	ToolVersion   string
}

// run is one backup under way.
type run struct {
	Deps
	opts   Options
	id     string // and that of the restore point
	self   process.Process
	vapp   *vcd.VApp
	hold   *maintenance.Hold
	point  *restorepoint.Point
	writer *repository.PointWriter
	vms    []*vmRun
	docs   map[string][]byte
	mu     sync.Mutex // of point.Problems and point.State

	parent   *restorepoint.Point
	noParent string // why there is none
	// older are the points before it, the newest first, and loaded those of
	// them whose manifests were needed.
	older   []restorepoint.Summary
	loaded  map[string]*restorepoint.Point
	olderMu sync.Mutex

	unfinished []repository.Unfinished // what interrupted attempts have left
	copied     atomic.Int64            // bytes of all disks that were stored

	letGone   bool // letGo went through all VMs in good order
	committed bool
}

// Run backs up one vApp and returns the committed restore point. With a
// point in state partial the error is nil: the point's Problems say what is
// missing. With ErrLeft there is a point as well.
func Run(ctx context.Context, d Deps, o Options) (*restorepoint.Point, error) {
	self, err := process.This()
	if err != nil {
		return nil, err
	}
	r := &run{Deps: d, opts: o, id: ulid.Make().String(), self: self, docs: map[string][]byte{}, loaded: map[string]*restorepoint.Point{}}
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	if r.Limits == nil {
		r.Limits = limit.New(limit.Config{Disks: 1})
	}
	if r.CheckpointBytes <= 0 {
		r.CheckpointBytes = 4 << 30
	}
	if err := r.find(ctx); err != nil {
		return nil, err
	}
	err = r.held(ctx)
	switch {
	case err != nil && r.committed:
		return r.point, fmt.Errorf("vApp %s: restore point %s: %w: %w", r.vapp.Name, r.id, ErrLeft, err)
	case err != nil:
		return nil, fmt.Errorf("vApp %s: %w", r.vapp.Name, err)
	}
	return r.point, nil
}

// find reads the vApp and begins the manifest.
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

// held is everything that changes something outside, and its undoing. The
// repository is opened first: what stands against that costs nothing yet.
func (r *run) held(ctx context.Context) (err error) {
	if err := r.step(ctx, "open repository", r.open); err != nil {
		return err
	}
	defer func() {
		clean, cancel := cleanup(ctx)
		defer cancel()
		r.writer.Abort(clean) // nothing after a commit
	}()
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.exit(ctx)) }()
	if err := r.step(ctx, "collect documents", r.documents); err != nil {
		return err
	}
	if err := r.step(ctx, "identify VMs", r.identify); err != nil {
		return err
	}
	defer func() {
		clean, cancel := cleanup(ctx)
		defer cancel()
		err = errors.Join(err, r.letGo(clean))
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

// open opens the repository for writing and loads the restore point before.
func (r *run) open(ctx context.Context) (err error) {
	r.writer, err = r.Repository.NewPoint(ctx, r.vapp.ID)
	if err != nil {
		return fmt.Errorf("for writing: %w", err)
	}
	r.writer.OnCheckpoint(func() { r.did("save checkpoint") })
	if err := errors.Join(r.loadParent(ctx), r.loadUnfinished(ctx)); err != nil {
		clean, cancel := cleanup(ctx)
		defer cancel()
		r.writer.Abort(clean)
		return err
	}
	return nil
}

// store copies the disks, lets the VMs go and commits the restore point.
// What cannot be undone does not make the copy any worse: the point is kept,
// and the error says what is left.
func (r *run) store(ctx context.Context) error {
	if err := r.step(ctx, "copy disks", r.copyDisks); err != nil {
		return err
	}
	// Merging what a busy VM wrote meanwhile takes as long as it takes.
	left := r.letGo(ctx)
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), left)
	}
	r.letGone = true
	for _, vm := range r.vms {
		if vm.left != nil {
			r.problem(restorepoint.Problem{VM: vm.rec.Name, Message: fmt.Sprintf("%v; the next run, or vappvault reconcile, tries again", vm.left)})
		}
	}
	if err := r.finish(); err != nil {
		return errors.Join(err, left)
	}
	if err := r.step(ctx, "commit restore point", func(ctx context.Context) error {
		if err := r.cutSecrets(); err != nil {
			return err
		}
		return r.writer.Commit(ctx, r.point, r.docs)
	}); err != nil {
		return errors.Join(err, left)
	}
	r.committed = true
	return left
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
	if vcd.IsState(err) && r.expired(ctx) {
		r.point.Maintenance = MaintenanceNone
		r.problem(restorepoint.Problem{Message: "its storage lease has expired: vCD lets nobody change or start it, nor put it in maintenance mode"})
		return nil
	}
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

// expired tells whether vCD keeps the vApp only until it is deleted or renewed.
func (r *run) expired(ctx context.Context) bool {
	vapps, err := r.VCD.VApps(ctx, vcd.Filter("name==", r.vapp.Name))
	return err == nil && slices.ContainsFunc(vapps, func(v vcd.VAppRef) bool { return v.ID == r.vapp.ID && v.Expired })
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
	whole, wanted := 0, 0
	for _, vm := range r.vms {
		if !vm.rec.Excluded {
			wanted++
		}
		switch {
		case vm.rec.Excluded:
		case vm.err != nil:
			vm.rec.Missing = vm.err.Error()
			vm.rec.Disks = nil
			r.problem(restorepoint.Problem{VM: vm.rec.Name, Message: vm.err.Error(), Missing: true})
		default:
			whole++
		}
		r.point.VMs = append(r.point.VMs, vm.rec)
	}
	if whole == 0 && wanted > 0 {
		var errs []error
		for _, vm := range r.vms {
			if vm.rec.Excluded {
				continue
			}
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
	event := progress.Event{Kind: progress.StepStart, Step: name, Org: r.opts.Item.Org, VApp: r.opts.Item.VApp}
	if r.vapp != nil {
		event.Org, event.VApp = r.vapp.Org.Name, r.vapp.Name
	}
	r.Progress.Emit(event)
	began := time.Now()
	err := do(ctx)
	event.Kind = progress.StepDone
	if r.vapp != nil {
		event.Org, event.VApp = r.vapp.Org.Name, r.vapp.Name
	}
	about := []any{"step", name, "run", r.id, "org", event.Org, "vapp", event.VApp, "duration", time.Since(began)}
	if err != nil {
		event.Err = err.Error()
		about = append(about, "error", err)
		err = fmt.Errorf("%s: %w", name, err)
	}
	r.Logger.InfoContext(ctx, "backup step", about...)
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
