// Package reconcile settles what runs that died left behind: vApps in
// maintenance mode, snapshots, disabled relocation, VMs that a restore made,
// disks half swapped.
//
// It works from the journal, and where that is lost from the marks that
// every change of ours bears. It touches nothing that does not bear one, and
// nothing of a run that is still alive.
package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/backup"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/maintenance"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/process"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// Deps are what settling works with.
type Deps struct {
	VCD *vcd.Client
	// VCenter returns the client of the vCenter with an instance UUID.
	VCenter func(ctx context.Context, instanceUUID string) (*vsphere.Client, error)
	// VSphere returns the client of the vCenter that vCD knows by the href
	// of its vimServer.
	VSphere func(ctx context.Context, vimServerHref string) (*vsphere.Client, error)
	Journal *journal.Journal
	Logger  *slog.Logger
	// Hook, where set, is called after each intent that was settled.
	Hook func(step string)

	wait *wait
}

// Settled is one thing that was found and what became of it.
type Settled struct {
	VApp   string `json:"vapp"`           // URN
	Path   string `json:"path,omitempty"` // ORG/VDC/VAPP, where vCD shows the vApp
	Kind   string `json:"kind"`
	Object string `json:"object"`         // URN, moref or name
	Name   string `json:"name,omitempty"` // of the VM, where it is about one
	Action string `json:"action"`
	Err    error  `json:"-"`
	Error  string `json:"error,omitempty"`
}

// VApp settles everything that earlier runs left on one vApp. The caller
// holds the vApp's claim, so that no run on this machine is alive on it.
// What could not be settled stays in the journal and is in the error.
func VApp(ctx context.Context, d Deps, site, vappID string) ([]Settled, error) {
	d.wait = &wait{}
	out, err := fromJournal(ctx, d, site, vappID)
	if err != nil {
		return out, err
	}
	found, err := fromOutside(ctx, d, site, vappID)
	return append(out, found...), err
}

// fromJournal settles open intents, the newest first: later changes may
// stand on earlier ones.
func fromJournal(ctx context.Context, d Deps, site, vappID string) ([]Settled, error) {
	intents, err := d.Journal.OpenIntents(ctx, journal.Filter{Site: site, VApp: vappID})
	if err != nil {
		return nil, err
	}
	if err := d.halfWritten(ctx, intents); err != nil {
		return nil, err
	}
	var out []Settled
	var errs []error
	halfSwapped := map[string]bool{} // runs whose swaps could not be taken back
	for _, i := range slices.Backward(intents) {
		if mark.Record(i.Kind) {
			continue // kept on purpose
		}
		if i.Kind == mark.Maintenance && halfSwapped[i.Run] {
			// Nobody must write to disks that will be taken away.
			out = append(out, Settled{VApp: i.VApp, Kind: i.Kind, Object: i.Object, Name: i.Detail[mark.VM], Action: "stays in maintenance mode"})
			continue
		}
		action, err := d.settle(ctx, i)
		s := Settled{VApp: i.VApp, Kind: i.Kind, Object: i.Object, Name: i.Detail[mark.VM], Action: action}
		if err == nil {
			err = d.Journal.Settle(ctx, i.ID)
		}
		if err != nil {
			s.Err = fmt.Errorf("settle %s of %s: %w", i.Kind, name(i), err)
			s.Error = s.Err.Error()
			errs = append(errs, s.Err)
			halfSwapped[i.Run] = halfSwapped[i.Run] || i.Kind == mark.Swap
		}
		out = append(out, s)
		if d.Hook != nil {
			d.Hook("settle " + i.Kind)
		}
	}
	return out, errors.Join(errs...)
}

// ErrHalfWritten says that a run died while it wrote blocks into disks. There
// is no way back but one that its operator chooses, so nothing of it is
// settled: the vApp stays in maintenance mode, where nobody can start it.
var ErrHalfWritten = errors.New("disks are half written by a run that died")

// halfWritten refuses what must not be settled, unless vApp and VM are gone.
func (d Deps) halfWritten(ctx context.Context, intents []journal.Intent) error {
	for _, i := range intents {
		if i.Kind != mark.Blocks {
			continue
		}
		gone, err := d.gone(ctx, i)
		if err != nil || !gone {
			half := fmt.Errorf("%s: %w: %s", name(i), ErrHalfWritten, restore.GoOn(i.Run, i.Detail["safety"]))
			return errors.Join(half, err)
		}
	}
	return nil
}

// gone tells whether both the vApp of an intent and its VM were deleted. Where
// only one is, the other may be what somebody still wants.
func (d Deps) gone(ctx context.Context, i journal.Intent) (bool, error) {
	if _, err := d.VCD.VApp(ctx, i.VApp); !vcd.IsNotFound(err) && !vcd.IsForbidden(err) {
		return false, err
	}
	client, err := d.VCenter(ctx, i.Detail[mark.VCenter])
	if err != nil {
		return false, err
	}
	_, err = client.VM(i.Object).Config(ctx)
	if errors.Is(err, vsphere.ErrNotFound) {
		return true, nil
	}
	return false, err
}

func name(i journal.Intent) string {
	if vm := i.Detail[mark.VM]; vm != "" {
		return "vm " + vm
	}
	if n := i.Detail[mark.Name]; n != "" {
		return n
	}
	return i.Object
}

// settle undoes what one intent announced, however far it had come.
func (d Deps) settle(ctx context.Context, i journal.Intent) (string, error) {
	switch i.Kind {
	case mark.Maintenance:
		return d.settleMaintenance(ctx, i)
	case mark.NewVApp:
		return d.settleVApp(ctx, i)
	case mark.NewDisk:
		return "delete the named disk that was made", restore.RemoveDisk(ctx, d.VCD, i.Detail["href"], i.Object)
	case mark.AttachDisk:
		return "detach the named disk", restore.Detach(ctx, d.VCD, i.Detail["vm-href"], i.Object)
	case mark.Import:
		return "take back the import", restore.RemoveImported(ctx, d.VCD, i.Object, i.Detail[mark.VCenter], i.Detail["whole"] == "true")
	case mark.Overwrite:
		return "the interrupted overwrite is taken back; its settings may be partly restored", nil
	case mark.Blocks:
		return "the disks that were half written are gone", nil
	case mark.RemoveVM:
		return "delete the VM that was added since", d.VCD.DeleteVM(ctx, d.VCD.Href(i.Object))
	}
	client, err := d.VCenter(ctx, i.Detail[mark.VCenter])
	if err != nil {
		return "", err
	}
	switch i.Kind {
	case mark.Relocation:
		if i.Detail[mark.Start] == "true" {
			return "enable relocation, starting and snapshots", restore.LetMove(ctx, client.VM(i.Object))
		}
		return "enable relocation", client.VM(i.Object).EnableRelocation(ctx, mark.DisableSource)
	case mark.Snapshot:
		return "remove our snapshot", d.unheld(ctx, name(i), func() error { return backup.RemoveSnapshots(ctx, client.VM(i.Object), i.Detail[mark.Name]) })
	case mark.ScratchVM:
		if moref := i.Detail["moref"]; moref != "" {
			return "remove the VM that was made", d.unheld(ctx, name(i), func() error {
				return restore.RemoveMade(ctx, client, moref, i.Detail[mark.Name], i.Detail["final"])
			})
		}
		return "remove the scratch VM", d.unheld(ctx, name(i), func() error { return restore.RemoveScratch(ctx, client, i.Detail[mark.Name]) })
	case mark.Swap:
		files, err := restore.DecodeFiles(i.Detail)
		if err != nil {
			return "", err
		}
		left, err := restore.SwapBack(ctx, client, i.Object, files)
		return leaving("give the VM its former disks back; its settings may be partly restored", left), err
	case mark.OldDisk:
		files, err := restore.DecodeFiles(i.Detail)
		if err != nil {
			return "", err
		}
		left, err := restore.DropOld(ctx, client, i.Object, files)
		return leaving("delete replaced disks", left), err
	}
	return "", fmt.Errorf("intent of an unknown kind %q: was it made by a newer program?", i.Kind)
}

// leaving says of an action which files it left, because something may still
// refer to them.
func leaving(action string, files []string) string {
	if len(files) == 0 {
		return action
	}
	return action + "; left, because something may refer to them: " + strings.Join(files, ", ")
}

// settleMaintenance leaves maintenance mode where the run of the intent
// entered it. The mark is set before and removed after: no mark, no
// maintenance of ours, unless the journal knows that it was entered.
func (d Deps) settleMaintenance(ctx context.Context, i journal.Intent) (string, error) {
	vapp := &vcd.VApp{ID: i.Object, Href: d.VCD.Href(i.Object)}
	run, _, err := maintenance.Mark(ctx, d.VCD, vapp.Href)
	if vcd.IsNotFound(err) || vcd.IsForbidden(err) {
		// Metadata may be refused for other reasons.
		if _, again := d.VCD.VApp(ctx, i.Object); vcd.IsNotFound(again) {
			return "the vApp is gone", nil
		}
	}
	if err != nil {
		return "", err
	}
	entered := i.Detail[mark.Entered] == "true"
	if run != i.Run && (run != "" || !entered) {
		return "was not in maintenance mode by that run", nil
	}
	return "exit maintenance mode", maintenance.Leave(ctx, d.VCD, vapp, i.Run, entered)
}

// settleVApp deletes the empty vApp that a restore may have composed. One
// with VMs is settled by the intents of its imports.
func (d Deps) settleVApp(ctx context.Context, i journal.Intent) (string, error) {
	if vm := i.Detail[mark.Shell]; vm != "" {
		found, err := restore.RemoveShell(ctx, d.VCD, i.Detail["vdc"], vm, i.Made)
		if err != nil || found {
			return "delete the shell of a half restored VM", err
		}
		return "nothing was made", nil
	}
	vapps, err := d.VCD.VApps(ctx, vcd.Filter("name==", i.Detail[mark.Name]))
	if err != nil {
		return "", err
	}
	for _, v := range vapps {
		if v.Name != i.Detail[mark.Name] || v.VDCID != i.Detail["vdc"] || v.VMCount > 0 {
			continue
		}
		vapp, err := d.VCD.VApp(ctx, v.ID)
		if err != nil {
			return "", err
		}
		if vapp.Created.Before(i.Made) || len(vapp.VMs) > 0 {
			continue // not made by the restore
		}
		return "delete the half restored vApp", restore.RemoveVApp(ctx, d.VCD, v.Href)
	}
	return "nothing was made", nil
}

// fromOutside finds what bears our marks although the journal says nothing:
// it was lost, or is that of another machine or state folder. Only what a
// dead process of this machine did is settled; of another's, the mark is
// left. A VM that cannot be looked at is reported, and is an error only where
// the mark says that there is something to find.
func fromOutside(ctx context.Context, d Deps, site, vappID string) ([]Settled, error) {
	vapp, err := d.VCD.VApp(ctx, vappID)
	if vcd.IsNotFound(err) || vcd.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("vApp %s: %w", vappID, err)
	}
	run, who, err := maintenance.Mark(ctx, d.VCD, vapp.Href)
	if err != nil {
		return nil, fmt.Errorf("vApp %s: read the mark: %w", vapp.Name, err)
	}
	self, err := process.This()
	if err != nil {
		return nil, err
	}
	if run != "" && !who.Dead(self) {
		return nil, fmt.Errorf("vApp %s: %w: run %s on %s", vapp.Name, maintenance.ErrStolen, run, who)
	}
	how, err := maintenance.HalfWritten(ctx, d.VCD, vapp.Href)
	if err != nil {
		return nil, fmt.Errorf("vApp %s: read the mark: %w", vapp.Name, err)
	}
	if how != "" { // by whoever has another journal than this one
		return nil, fmt.Errorf("vApp %s: %w: %s", vapp.Name, ErrHalfWritten, how)
	}
	if err := d.halfRestored(ctx, site, vapp, run); err != nil {
		return nil, err
	}
	var out []Settled
	var errs []error
	note := func(s Settled, counts bool) {
		s.VApp = vappID
		if s.Err != nil {
			s.Error = s.Err.Error()
			if counts {
				errs = append(errs, fmt.Errorf("vApp %s: %s: %s: %w", vapp.Name, cmp.Or(s.Name, s.Object), s.Action, s.Err))
			}
		}
		out = append(out, s)
	}
	for _, vm := range vapp.VMs {
		found, err := d.strayOnVM(ctx, vm, self)
		if err != nil {
			note(Settled{Kind: mark.Snapshot, Object: vm.VimInfo.VMMoRef, Name: vm.Name, Action: "look for leftovers", Err: err}, run != "")
		}
		for _, s := range found {
			note(s, true)
		}
	}
	if run != "" {
		err := maintenance.Leave(ctx, d.VCD, vapp, run, false)
		note(Settled{Kind: mark.Maintenance, Object: vapp.Name, Action: "exit maintenance mode", Err: err}, true)
	}
	return out, errors.Join(errs...)
}

// ErrHalfRestored says that a vApp was made by a restore that died before it
// was done.
var ErrHalfRestored = errors.New("half restored by a run that died; settle it with reconcile")

// halfRestored refuses a vApp that a dead restore made: what that run left is
// in the journal under the vApp that it restored.
func (d Deps) halfRestored(ctx context.Context, site string, vapp *vcd.VApp, run string) error {
	intents, err := d.Journal.OpenIntents(ctx, journal.Filter{Site: site})
	if err != nil {
		return err
	}
	for _, i := range intents {
		made := i.Kind == mark.Import && slices.ContainsFunc(vapp.VMs, func(vm vcd.VM) bool { return vm.VimInfo.VMMoRef == i.Object })
		if i.VApp != vapp.ID && (made || run != "" && i.Run == run) {
			return fmt.Errorf("vApp %s: %w", vapp.Name, ErrHalfRestored)
		}
	}
	return nil
}

// strayOnVM removes snapshots of dead runs and enables relocation where we
// disabled it. A VM that vCenter does not have has nothing of ours. The error
// is that of looking.
func (d Deps) strayOnVM(ctx context.Context, vm vcd.VM, self process.Process) ([]Settled, error) {
	if vm.VimInfo.VMMoRef == "" {
		return nil, nil
	}
	client, err := d.VSphere(ctx, vm.VimInfo.VCenterHref)
	if err != nil {
		return nil, err
	}
	v := client.VM(vm.VimInfo.VMMoRef)
	config, err := v.Config(ctx)
	if errors.Is(err, vsphere.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Settled
	alive := false
	for _, s := range config.Snapshots {
		if _, ours := mark.Ours(s.Name); !ours {
			continue
		}
		if who, told := mark.ParseDescription(s.Description); told && !who.Dead(self) {
			d.Logger.InfoContext(ctx, "snapshot left alone: its run may be alive", "vm", vm.Name, "snapshot", s.Name, "process", who.String())
			alive = true
			continue
		}
		out = append(out, Settled{
			Kind: mark.Snapshot, Object: vm.VimInfo.VMMoRef, Name: vm.Name, Action: "remove our snapshot " + s.Name, Err: d.unheld(ctx, vm.Name, func() error { return v.RemoveSnapshot(ctx, s.Ref) }),
		})
	}
	if !alive && (config.RelocationDisabled() || config.StartDisabled()) {
		if action := d.letMove(ctx, v, config); action != "" {
			out = append(out, Settled{Kind: mark.Relocation, Object: vm.VimInfo.VMMoRef, Name: vm.Name, Action: action})
		}
	}
	return out, nil
}

// letMove enables under our name what a VM is kept from, and tells what that
// made a difference to: other products disable methods as well, each under its
// own.
func (d Deps) letMove(ctx context.Context, v *vsphere.VM, before *vsphere.VMConfig) string {
	var err error
	if before.RelocationDisabled() {
		err = v.EnableRelocation(ctx, mark.DisableSource)
	}
	if before.StartDisabled() {
		err = errors.Join(err, v.EnableStart(ctx, mark.DisableSource))
	}
	if err != nil {
		d.Logger.WarnContext(ctx, "a VM cannot be moved or started, perhaps not by us", "error", err)
	}
	config, err := v.Config(ctx)
	if err != nil {
		d.Logger.WarnContext(ctx, "what a VM is kept from: look again", "error", err)
		return ""
	}
	var done []string
	if before.RelocationDisabled() && !config.RelocationDisabled() {
		done = append(done, "enable relocation")
	}
	if before.StartDisabled() && !config.StartDisabled() {
		done = append(done, "enable starting and snapshots")
	}
	return strings.Join(done, ", ")
}
