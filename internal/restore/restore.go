// Package restore carries a plan out and turns a restore point back into a
// vApp.
//
// Every change outside is journalled before it is made. A restore that fails
// half way takes back what it did: a rebuilt vApp is removed, swapped disks
// are swapped back. Afterwards the vApp is read back and compared with the
// restore point.
package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/maintenance"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// cleanTimeout bounds the clean-up, which runs even after cancellation.
const cleanTimeout = 10 * time.Minute

// Deps are what a restore works with.
type Deps struct {
	VCD *vcd.Client
	// VSphere returns the client of the vCenter that vCD knows by the given
	// reference (the href of its vimServer).
	VSphere func(ctx context.Context, vimServerHref string) (*vsphere.Client, error)
	// VCenter returns the client of the vCenter with an instance UUID.
	VCenter    func(ctx context.Context, instanceUUID string) (*vsphere.Client, error)
	Repository *repository.Repository // of the restore point's org
	// Importers make VMs with filled disks, in order of choice.
	Importers []Importer
	// Targets returns the transports that write into disks which are there, in
	// order of choice; nil where there are none.
	Targets func(*vsphere.Client) []transport.TargetOpener
	// SafetyPoint makes a restore point of the vApp as it is. It is called
	// under the claim, outside of maintenance mode.
	SafetyPoint func(ctx context.Context, claim *journal.Claim, vapp *vcd.VApp) (*restorepoint.Point, error)
	// Limits are shared by all that the process does. Nil is none.
	Limits   *limit.Limits
	Journal  *journal.Journal
	Claim    *journal.Claim
	Site     string
	Progress progress.Func
	Logger   *slog.Logger
	// Batch, where set, is what the plans of one go take together.
	Batch *plan.Batch
	// Planned, where set, is handed the plan before it is applied.
	Planned func(*plan.Plan)
	// Check, where set, refuses a plan that is not what it should be.
	Check func(*plan.Plan) error
	// MaintenanceTimeout bounds the wait for tasks that were already running.
	MaintenanceTimeout time.Duration
	// Hook, where set, is called after each journalled or outside step.
	Hook func(step string)

	docs document.Set
	made []string // disk files that the overwrite put in which is undone
	// swaps are those of an overwrite that is resumed, by moref.
	swaps map[string]undoStep
	// written are, of an overwrite that is resumed, the VMs by moref into whose
	// disks blocks were being written.
	written map[string]*written
}

// documents reads those of the restore point, secrets put back.
func (d *Deps) documents(ctx context.Context, point *restorepoint.Point) (document.Set, error) {
	docs, err := d.documentsOf(ctx, point.ID)
	if err != nil {
		return nil, err
	}
	return docs, d.borrowed(ctx, point, docs)
}

func (d *Deps) documentsOf(ctx context.Context, id string) (document.Set, error) {
	docs, err := d.Repository.Documents(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("restore point %s: read documents: %w", id, err)
	}
	secrets, err := restorepoint.DecodeSecrets(docs[restorepoint.SecretsPath])
	if err != nil {
		return nil, fmt.Errorf("restore point %s: %w", id, err)
	}
	if err := secrets.RestoreAll(docs); err != nil {
		return nil, fmt.Errorf("restore point %s: %w", id, err)
	}
	return docs, nil
}

// Compute plans a restore without changing anything.
func Compute(ctx context.Context, d *Deps, point *restorepoint.Point, o plan.Options) (*plan.Plan, error) {
	var err error
	if d.docs == nil {
		if d.docs, err = d.documents(ctx, point); err != nil {
			return nil, err
		}
	}
	deps := plan.Deps{VCD: d.VCD, VSphere: d.VSphere, Docs: d.docs, Batch: d.Batch, Made: d.made}
	if d.swaps != nil {
		deps.Swapped = map[string]bool{}
		for moref := range d.swaps {
			deps.Swapped[moref] = true
		}
		deps.Writing = map[string]bool{}
		for moref := range d.written {
			deps.Writing[moref] = true
		}
	}
	deps.Targets = d.Targets != nil
	p, err := plan.Compute(ctx, deps, point, o)
	if err != nil {
		return nil, err
	}
	return p, d.planKept(ctx, p, point)
}

// A Result is what a restore did.
type Result struct {
	Plan     *plan.Plan `json:"plan"`
	VAppID   string     `json:"vappId"`
	VAppName string     `json:"vappName"`
	VMs      []VMResult `json:"vms"`
	// Networks are the vApp's.
	Networks []NetworkResult `json:"networks,omitempty"`
	// Disks are the named disks that were attached or made.
	Disks []DiskResult `json:"disks,omitempty"`
	// Compared counts the documents that were read back and compared.
	Compared    int                   `json:"compared"`
	Differences []document.Difference `json:"differences,omitempty"`
	// Missing counts VMs and disks that the restore point does not hold.
	Missing int `json:"missing,omitempty"`
	// Warnings are what the operator should know or still do.
	Warnings []string `json:"warnings,omitempty"`
}

// Unexplained returns the differences that no reason excuses.
func (r *Result) Unexplained() []document.Difference {
	return slices.DeleteFunc(slices.Clone(r.Differences), func(d document.Difference) bool { return d.Reason != "" })
}

// Incomplete tells whether something of the restore point is not there, or
// differs without a reason, or had to be left out.
func (r *Result) Incomplete() bool {
	return r.Missing > 0 || len(r.Unexplained()) > 0 || r.Plan != nil && r.Plan.Lossy()
}

// A DiskResult is the identity of a named disk before and after.
type DiskResult struct {
	Name   string `json:"name"`
	VM     string `json:"vm"`
	Action string `json:"action"`
	OldID  string `json:"oldId"`
	NewID  string `json:"newId"`
}

// A VMResult is the identity of a VM before and after.
type VMResult struct {
	Name     string `json:"name"`
	Action   string `json:"action"`
	OldID    string `json:"oldId"`
	NewID    string `json:"newId"`
	OldMoRef string `json:"oldMoref"`
	NewMoRef string `json:"newMoref"`
	Disks    int    `json:"disks"`
	Bytes    int64  `json:"bytes"` // of disk data written
	// Transport is what the disks were written through, empty where none was.
	Transport string `json:"transport,omitempty"`
}

// run is one restore under way.
type run struct {
	Deps
	id     string
	plan   *plan.Plan
	point  *restorepoint.Point
	vapp   *vcd.VApp // the restored vApp, once it exists
	hold   *maintenance.Hold
	places map[string]vsphere.Place
	result *Result
	// undo takes back what was done so far, last first.
	undo []undoStep
	// halfSwapped is true when a swap could not be taken back.
	halfSwapped bool
	// committed is true from the step on from which there is no way back.
	committed bool
	// applying is true once settings are being changed.
	applying bool
	options  plan.Options
	// resumes are the intents of the run that is resumed and that this one
	// replaces once it has made its own.
	resumes []int64
	// started is the intent of an overwrite as a whole.
	started int64
	// before is what an overwritten vApp was.
	before *safety
	// undoes is the overwrite that this run undoes.
	undoes *Kept
	// switchedOff are the VMs that a restore of documents switched off.
	switchedOff []vcd.VM
	// added are the networks that were added since and stay.
	added []string
	// through is the transport that the disks of a VM are written through, by
	// its name.
	through map[string]string
	// safetyPoint is the restore point that was made before blocks were written.
	safetyPoint string
	// made is the claim of a vApp that this restore made.
	made *journal.Claim

	// was are the documents of the restore point; those to apply are docs,
	// as the plan rewrote them, and changes says where and why they differ.
	was     document.Set
	changes plan.Reasons
}

type undoStep struct {
	what   string
	intent int64
	do     func(context.Context) error

	swap *swap // where it is one
	// blocks says that disks are half written, which nothing takes back.
	blocks bool
}

// A swap is the exchange of the disks of a VM.
type swap struct {
	moref, vm string
	client    *vsphere.Client
	files     Files
}

// Run computes the plan and applies it. A plan with open conflicts is
// refused with plan.ErrConflict before anything is changed.
func Run(ctx context.Context, d Deps, point *restorepoint.Point, o plan.Options) (*Result, error) {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := Compute(ctx, &d, point, o)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	r := newRun(d, p, point)
	r.options = o
	return r.run(ctx)
}

func newRun(d Deps, p *plan.Plan, point *restorepoint.Point) *run {
	return &run{Deps: d, id: ulid.Make().String(), plan: p, point: point, places: map[string]vsphere.Place{}, through: map[string]string{},
		result: &Result{Plan: p, VAppName: p.VAppName}}
}

// run shows the plan and applies it.
func (r *run) run(ctx context.Context) (_ *Result, err error) {
	p := r.plan
	if r.Planned != nil {
		r.Planned(p)
	}
	if err := p.Refused(); err != nil {
		return r.result, err
	}
	if r.Check != nil {
		if err := r.Check(p); err != nil {
			return r.result, err
		}
	}
	for _, c := range p.Conflicts { // the plan has told them already
		r.result.Warnings = append(r.result.Warnings, fmt.Sprintf("%s: %s: %s", c.Object, c.Message, c.Resolution))
	}
	r.result.Missing = p.Missing
	r.was = r.docs
	if r.docs, r.changes, err = p.Rewrite(r.docs); err != nil {
		return r.result, fmt.Errorf("plan: %w", err)
	}
	if err := r.do(ctx); err != nil {
		return r.result, fmt.Errorf("vApp %s: %w", p.VAppName, err)
	}
	return r.result, nil
}

func (r *run) do(ctx context.Context) (err error) {
	if r.plan.Mode == plan.ModeVSphere {
		return r.toVSphere(ctx, r.plan.Folder())
	}
	way := r.way()
	defer func() {
		if err != nil && r.resumable() {
			r.warn("", r.leftAs())
			return
		}
		if err != nil && !r.committed {
			back := r.takeBack(ctx)
			err = errors.Join(err, back, r.reapply(ctx))
			if r.halfSwapped {
				// Nobody must write to disks that will be taken away.
				r.warn("", "the vApp stays in maintenance mode until `reconcile`, or the next run, has given its VMs their disks back")
				return
			}
			if way.failed != "" {
				r.warn("", way.failed)
			}
		}
		err = errors.Join(err, r.exit(ctx))
		if way.after != nil {
			err = errors.Join(err, way.after(ctx))
		}
		err = errors.Join(err, r.unclaim(ctx))
	}()
	if live := r.plan.Live; live != nil && live.ID != r.point.VApp.ID {
		// The claim of the restore point's vApp is another's.
		r.vapp = live
		if err := r.claim(ctx); err != nil {
			return err
		}
	}
	if err := r.renew(ctx); err != nil {
		return err
	}
	if err := way.make(ctx); err != nil {
		return err
	}
	r.applying = true
	if err := way.apply(ctx); err != nil {
		return err
	}
	if err := r.step(ctx, "read back and compare", way.readBack); err != nil {
		return err
	}
	r.noteNetworks()
	if err := r.step(ctx, "settle", r.commitPoint); err != nil {
		return err
	}
	if err := r.step(ctx, "apply affinity rules", r.affinity); err != nil {
		return err
	}
	if err := r.exit(ctx); err != nil {
		return err
	}
	return way.power(ctx)
}

// takeBack undoes what was done, last first, whatever fails on the way. What
// could not be undone stays in the journal.
func (r *run) takeBack(ctx context.Context) error {
	if len(r.undo) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	return r.step(ctx, "take back", func(ctx context.Context) error {
		var errs []error
		for _, u := range slices.Backward(r.undo) {
			if err := u.do(ctx); err != nil {
				r.halfSwapped = r.halfSwapped || u.swap != nil
				errs = append(errs, fmt.Errorf("%s: %w", u.what, err))
				continue
			}
			errs = append(errs, r.Journal.Settle(ctx, u.intent))
		}
		r.undo = nil
		return errors.Join(errs...)
	})
}

// intend journals a change before it is made, with how to take it back.
func (r *run) intend(ctx context.Context, i journal.Intent, what string, undo func(context.Context) error) error {
	i.Claim, i.Run, i.Site, i.VApp = r.Claim.Token, r.id, r.Site, r.point.VApp.ID
	id, err := r.Journal.Intend(ctx, i)
	if err != nil {
		return fmt.Errorf("journal %s: %w", i.Kind, err)
	}
	r.undo = append(r.undo, undoStep{what: what, intent: id, do: undo})
	r.did("intend " + i.Kind)
	return nil
}

// claim claims the vApp that the restore made, so that no backup and no
// reconcile takes it for a dead run's.
func (r *run) claim(ctx context.Context) (err error) {
	r.made, err = r.Journal.Claim(ctx, r.Site, r.vapp.ID, "restore")
	return err
}

func (r *run) unclaim(ctx context.Context) error {
	if r.made == nil {
		return nil
	}
	return r.made.Release(context.WithoutCancel(ctx))
}

// enter puts the vApp in maintenance mode and waits until nothing moves.
func (r *run) enter(ctx context.Context) error {
	keeper := &maintenance.Keeper{VCD: r.VCD, Journal: r.Journal, Claim: r.Claim, Run: r.id, Site: r.Site, Hook: r.Hook}
	return r.step(ctx, "enter maintenance mode", func(ctx context.Context) (err error) {
		r.hold, err = keeper.Enter(ctx, r.vapp)
		if err != nil {
			return err
		}
		if r.hold.Foreign {
			return fmt.Errorf("%w: it is in maintenance mode by somebody else", plan.ErrConflict)
		}
		return r.hold.Settle(ctx, r.MaintenanceTimeout)
	})
}

func (r *run) exit(ctx context.Context) error {
	if r.hold == nil || r.hold.Foreign {
		return nil
	}
	hold := r.hold
	r.hold = nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	return r.step(ctx, "exit maintenance mode", hold.Release)
}

func (r *run) step(ctx context.Context, name string, do func(context.Context) error) error {
	event := progress.Event{Kind: progress.StepStart, Step: name, Org: r.plan.Org.Name, VApp: r.plan.VAppName}
	r.Progress.Emit(event)
	began := time.Now()
	err := do(ctx)
	r.Logger.InfoContext(ctx, "step", "run", r.id, "step", name, "org", r.plan.Org.Name, "vapp", r.plan.VAppName, "took", time.Since(began), "error", err)
	event.Kind = progress.StepDone
	if err != nil {
		event.Err = err.Error()
		err = fmt.Errorf("%s: %w", name, err)
	}
	r.Progress.Emit(event)
	return err
}

func (r *run) warn(vm, message string) {
	if vm != "" {
		r.result.Warnings = append(r.result.Warnings, "vm "+vm+": "+message)
	} else {
		r.result.Warnings = append(r.result.Warnings, message)
	}
	r.Progress.Emit(progress.Event{
		Kind: progress.Warn, Org: r.plan.Org.Name, VApp: r.plan.VAppName, VM: vm, Message: message,
	})
}

// warnOnce is warn, but says a thing only once.
func (r *run) warnOnce(vm, message string) {
	if !slices.Contains(r.result.Warnings, "vm "+vm+": "+message) {
		r.warn(vm, message)
	}
}

func (r *run) did(step string) {
	if r.Hook != nil {
		r.Hook(step)
	}
}

// renamed maps a document's path in the restore point to the path that the
// same document has in a capture of the restored vApp.
func (r *run) renamed(path string) string {
	for _, vm := range r.result.VMs {
		path = strings.Replace(path, "/"+restorepoint.UUID(vm.OldID)+"/", "/"+restorepoint.UUID(vm.NewID)+"/", 1)
	}
	return path
}
