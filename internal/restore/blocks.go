package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// blockTries is how often the blocks of a VM are begun when a transfer breaks
// off. A host keeps a disk locked for a while whose writer has died.
const blockTries = 5

// A written is what an intent of kind Blocks says: into which disks which
// blocks of which restore point are written.
type written struct {
	Point    string        `json:"point"`
	Tracking bool          `json:"tracking"` // of changed blocks was on, and is to be on again
	Disks    []writtenDisk `json:"disks"`
	intents  []int64       // newest first
	done     bool          // written, read back, and change tracking begun anew
	whole    bool          // again, by this run
}

type writtenDisk struct {
	Key     int32      `json:"key"`
	UUID    string     `json:"uuid"`
	Extents extent.Set `json:"extents"`
}

// empty tells whether there is nothing to write.
func (w *written) empty() bool {
	return !slices.ContainsFunc(w.Disks, func(d writtenDisk) bool { return len(d.Extents) > 0 })
}

// maxExtents bounds what an intent holds of one disk. Beyond it, blocks that
// do not differ are written too.
const maxExtents = 4096

func coarse(set extent.Set, size int64) extent.Set {
	for block := int64(blockSize); ; block *= 2 {
		if set = set.Align(block, size); len(set) <= maxExtents {
			return set
		}
	}
}

// adoptBlocks takes over what the interrupted run has begun to write. Intents
// come newest first.
func (r *run) adoptBlocks(i journal.Intent) error {
	if w := r.written[i.Object]; w != nil {
		w.intents = append(w.intents, i.ID)
		return nil
	}
	w := &written{done: i.Detail["done"] == "true", intents: []int64{i.ID}}
	if err := json.Unmarshal([]byte(i.Detail["blocks"]), w); err != nil {
		return fmt.Errorf("blocks of the intent: %w", err)
	}
	r.written[i.Object] = w
	return nil
}

// secure makes a restore point of the vApp as it is, before blocks are written
// over it.
func (r *run) secure(ctx context.Context) error {
	writes := func(vp plan.VM) bool { return vp.Blocks }
	if r.options.NoSafetyPoint || r.safetyPoint != "" || len(r.written) > 0 || !slices.ContainsFunc(r.plan.VMs, writes) {
		return nil
	}
	if r.SafetyPoint == nil {
		return errors.New("nobody makes a safety point here")
	}
	return r.step(ctx, "make a safety point", func(ctx context.Context) error {
		point, err := r.SafetyPoint(ctx, r.Claim, r.vapp)
		if err != nil {
			return err
		}
		for _, vp := range r.plan.VMs {
			if vp.Blocks && !safe(point, vp) {
				return fmt.Errorf("vm %s: restore point %s does not hold all of it: without one, --no-safety-point", vp.Name, point.ID)
			}
		}
		r.safetyPoint = point.ID
		r.did("safety point")
		return nil
	})
}

// safe tells whether a point holds the disks of a VM that are written.
func safe(point *restorepoint.Point, vp plan.VM) bool {
	for _, vm := range point.VMs {
		if vm.MoRef != vp.LiveMoRef {
			continue
		}
		return vm.Missing == "" && !slices.ContainsFunc(vp.VM.Disks, func(want restorepoint.Disk) bool {
			return !slices.ContainsFunc(vm.Disks, func(d restorepoint.Disk) bool { return d.UUID == want.UUID && d.Key == want.Key })
		})
	}
	return false
}

// halfWritten tells whether blocks were written, by this run or by the one that
// it resumes: nothing takes that back.
func (r *run) halfWritten() bool {
	return len(r.written) > 0 || slices.ContainsFunc(r.undo, func(u undoStep) bool { return u.blocks })
}

// leftAs says how an overwrite that failed is left, and what can be done.
func (r *run) leftAs() string {
	if !r.halfWritten() {
		return "the overwrite is left as it is, in maintenance mode: `restore --resume` goes on with it, `reconcile` or the next run takes it back"
	}
	return "disks are half written, the vApp stays in maintenance mode: " + GoOn(r.id, r.safetyPoint)
}

// GoOn says how to go on with a run that has left disks half written.
func GoOn(run, safety string) string {
	s := "`restore --resume " + run + "` finishes it"
	if safety != "" {
		s += ", `restore --undo " + run + "` writes back what was there, restore point " + safety
	}
	return s
}

// writeBlocks writes what differs into the disks of a VM.
func (r *run) writeBlocks(ctx context.Context, vp *plan.VM) error {
	if len(vp.VM.Disks) == 0 {
		return nil
	}
	client, err := r.VSphere(ctx, vp.VimServerHref)
	if err != nil {
		return err
	}
	w := &blockWriter{run: r, vp: vp, client: client, vm: client.VM(vp.LiveMoRef), prior: r.written[vp.LiveMoRef], limits: r.Limits}
	if w.limits == nil {
		w.limits = limit.New(limit.Config{})
	}
	if w.prior != nil {
		for _, id := range slices.Backward(w.prior.intents) {
			r.undo = append(r.undo, w.undoStep(id))
		}
	}
	fills, err := r.contents(ctx, vp)
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range fills {
			_ = f.Content.Close() // only read
		}
	}()
	w.fills = fills
	if err := w.look(ctx); err != nil {
		return err
	}
	enable, err := w.holdStill(ctx)
	if err != nil {
		return err
	}
	if err := w.write(ctx); err != nil {
		return errors.Join(err, enable(ctx))
	}
	return errors.Join(enable(ctx), r.unwritten(ctx, vp.LiveMoRef))
}

// unwritten removes the mark of half written disks once those of a VM are
// whole, unless the interrupted run has left others.
func (r *run) unwritten(ctx context.Context, moref string) error {
	if w := r.written[moref]; w != nil {
		w.whole = true
	}
	for _, w := range r.written {
		if !w.whole && (!w.done || w.Point != r.point.ID) {
			return nil
		}
	}
	err := r.VCD.DeleteMetadata(ctx, r.vapp.Href, vcd.DomainSystem, mark.WrittenKey)
	if err != nil && !vcd.IsNotFound(err) {
		return fmt.Errorf("remove the mark of half written disks: %w", err)
	}
	return nil
}

// A blockWriter writes blocks into the disks of one VM.
type blockWriter struct {
	run    *run
	vp     *plan.VM
	client *vsphere.Client
	vm     *vsphere.VM
	fills  []transport.Fill // what the disks shall hold, in their order
	prior  *written         // of the run that is resumed

	limits *limit.Limits
	at     limit.Place // where the VM is registered

	idle     transport.Idle
	live     map[int32]vsphere.Disk
	tracking bool
	done     atomic.Int64
}

// finished tells whether the run that is resumed had written all of the VM.
func (w *blockWriter) finished() bool {
	return w.prior != nil && w.prior.done && w.prior.Point == w.run.point.ID
}

func (w *blockWriter) undoStep(id int64) undoStep {
	return undoStep{what: "write the blocks of vm " + w.vp.Name, intent: id, blocks: true, do: func(context.Context) error {
		return errors.New("disks are half written: " + GoOn(w.run.id, w.run.safetyPoint))
	}}
}

// look makes sure that the VM is what it was when the plan was made: off,
// without snapshots, with the same disks.
func (w *blockWriter) look(ctx context.Context) error {
	now, err := w.vm.Config(ctx)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := still(now); err != nil {
		return err
	}
	then, err := vsphere.ParseConfig(w.run.docs["vsphere/"+restorepoint.UUID(w.vp.VM.ID)+"/config.xml"])
	if err != nil {
		return err
	}
	w.live = map[int32]vsphere.Disk{}
	w.at = limit.Place{Host: now.Host, VCenter: w.client.InstanceUUID(), VApp: w.run.vapp.ID}
	w.idle = transport.Idle{VM: w.vp.LiveMoRef, Datacenter: now.Datacenter}
	for _, disk := range w.vp.VM.Disks {
		was, ok := then.Disk(disk.Key)
		if !ok {
			return fmt.Errorf("disk %s: not in the configuration of the restore point", disk.Label)
		}
		l, why := plan.Writable(now, was, disk)
		if why != "" {
			return fmt.Errorf("disk %s: %s; nothing was written: plan again", disk.Label, why)
		}
		w.live[disk.Key] = l
		w.idle.Disks = append(w.idle.Disks, l.Transport())
	}
	w.tracking = now.ChangeTracking || w.prior != nil && w.prior.Tracking
	return nil
}

// holdStill keeps vCenter from moving the VM while it is written, and from
// starting it: vCD's maintenance mode binds nobody in vCenter.
func (w *blockWriter) holdStill(ctx context.Context) (enable func(context.Context) error, err error) {
	r := w.run
	detail := map[string]string{mark.VCenter: w.client.InstanceUUID(), mark.VM: w.vp.Name, mark.Start: "true"}
	id, err := r.Journal.Intend(ctx, r.intent(mark.Relocation, w.vp.LiveMoRef, detail))
	if err != nil {
		return nil, err
	}
	enable = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		if err := LetMove(ctx, w.vm); err != nil {
			return err
		}
		return r.Journal.Settle(ctx, id)
	}
	err = w.vm.DisableRelocation(ctx, mark.DisableSource)
	if err == nil {
		r.did("disable relocation")
		err = w.vm.DisableStart(ctx, mark.DisableSource, mark.Writing(r.id))
	}
	if errors.Is(err, vsphere.ErrNotSupported) || errors.Is(err, vsphere.ErrDenied) {
		r.warn(w.vp.Name, fmt.Sprintf("vCenter does not keep it from being moved or started while it is written: %v", err))
		return enable, nil
	}
	if err != nil {
		return nil, errors.Join(err, enable(ctx))
	}
	r.did("disable start")
	return enable, nil
}

// LetMove undoes what keeps a VM still while blocks are written.
func LetMove(ctx context.Context, vm *vsphere.VM) error {
	return errors.Join(vm.EnableStart(ctx, mark.DisableSource), vm.EnableRelocation(ctx, mark.DisableSource))
}

// write finds what differs, journals that, writes it and proves it.
func (w *blockWriter) write(ctx context.Context) error {
	r := w.run
	// Of a run that is resumed, too: somebody may have started the VM since.
	what, err := w.plan(ctx)
	if err != nil {
		return err
	}
	if w.finished() && what.empty() {
		return nil // not touched since
	}
	if err := w.announce(ctx, what); err != nil {
		return err
	}
	err = w.again(ctx, func(ctx context.Context) error {
		// Between two sessions nothing holds the VM still.
		if err := w.look(ctx); err != nil {
			return err
		}
		return w.fill(ctx, what)
	})
	if err != nil {
		return err
	}
	if err := w.again(ctx, func(ctx context.Context) error { return w.prove(ctx, what) }); err != nil {
		return err
	}
	r.did("blocks proven " + w.vp.Name)
	if w.tracking {
		// What wrote past the guest is in no host's list of changes: the next
		// backup is to be a full.
		if err := w.vm.ResetChangeTracking(ctx); err != nil {
			return err
		}
		r.did("reset tracking " + w.vp.Name)
	}
	for i := range r.undo {
		if r.undo[i].blocks {
			err := r.Journal.Amend(ctx, r.undo[i].intent, map[string]string{"done": "true"})
			if err != nil {
				return err
			}
		}
	}
	r.did("blocks written " + w.vp.Name)
	return nil
}

// announce journals and marks what is about to be written.
func (w *blockWriter) announce(ctx context.Context, what *written) error {
	r := w.run
	raw, err := json.Marshal(what)
	if err != nil {
		return err
	}
	i := r.intent(mark.Blocks, w.vp.LiveMoRef, map[string]string{
		mark.VCenter: w.client.InstanceUUID(), mark.VM: w.vp.Name, "blocks": string(raw), "safety": r.safetyPoint,
	})
	id, err := r.Journal.Intend(ctx, i)
	if err != nil {
		return fmt.Errorf("journal %s: %w", i.Kind, err)
	}
	r.undo = append(r.undo, w.undoStep(id))
	r.did("intend " + mark.Blocks)
	err = r.VCD.SetMetadata(ctx, r.vapp.Href, vcd.MetadataEntry{
		Domain: vcd.DomainSystem, Visibility: "PRIVATE", Key: mark.WrittenKey, Type: vcd.StringValue,
		Value: fmt.Sprintf("run %s: %s", r.id, GoOn(r.id, r.safetyPoint)),
	})
	if err != nil {
		return fmt.Errorf("mark the vApp: %w", err)
	}
	r.did("mark written")
	return nil
}

// again does something over the disks, again where a transfer breaks off: all
// of it can be done twice.
func (w *blockWriter) again(ctx context.Context, do func(context.Context) error) error {
	for try := 1; ; try++ {
		err := do(ctx)
		if err == nil || ctx.Err() != nil || try == blockTries ||
			!errors.Is(err, transport.ErrBroken) && !errors.Is(err, transport.ErrRefused) {
			return err
		}
		w.run.Logger.WarnContext(ctx, "transfer breaks off; the blocks are gone through again", "vm", w.vp.Name, "try", try+1, "error", err)
		select {
		case <-time.After(w.pauseAfter(err, try)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *blockWriter) emit(n int64) {
	w.run.Progress.Emit(progress.Event{
		Kind: progress.Bytes, Org: w.run.plan.Org.Name, VApp: w.run.plan.VAppName, VM: w.vp.Name, What: "all disks", Transport: w.run.through[w.vp.Name],
		Done: w.done.Add(n), Total: max(w.vp.Bytes, w.done.Load()),
	})
}
