package restore

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// Files names the disk files of a swap: device key -> "[ds] dir/x.vmdk".
type Files struct {
	Datacenter string           `json:"datacenter"`
	Old        map[int32]string `json:"old"`
	New        map[int32]string `json:"new"`
	// Also are names that a new file may bear until it is in its place, as
	// a disk of the VM called Scratch.
	Also    []string `json:"also,omitempty"`
	Scratch string   `json:"scratch,omitempty"`
}

// overwrite brings an existing vApp back: new disks are written beside the
// old ones and swapped in; identities survive. VMs that were deleted since
// are rebuilt into it.
func (r *run) overwrite(ctx context.Context) error {
	r.vapp = r.plan.Live
	if err := r.undeploy(ctx); err != nil {
		return err
	}
	if err := r.enter(ctx); err != nil {
		return err
	}
	href := r.vapp.Href
	for i := range r.plan.VMs {
		vp := &r.plan.VMs[i]
		var err error
		switch vp.Action {
		case plan.Overwrite:
			err = r.step(ctx, "overwrite vm "+vp.Name, func(ctx context.Context) error { return r.overwriteVM(ctx, i, vp) })
		case plan.Rebuild:
			err = r.step(ctx, "rebuild vm "+vp.Name, func(ctx context.Context) error { return r.rebuildInto(ctx, i, vp, &href, nil) })
		}
		if err != nil {
			return err
		}
	}
	return r.reload(ctx, href)
}

// undeploy stops the vApp before maintenance mode, so that vCD itself
// releases what it holds of the VMs.
func (r *run) undeploy(ctx context.Context) error {
	const suspended = 3 // VmType, status
	deployed := r.vapp.Deployed
	for _, vm := range r.vapp.VMs {
		deployed = deployed || vm.Deployed
		if vm.Status == suspended {
			if err := r.VCD.DiscardSuspendedState(ctx, vm.Href); err != nil {
				return fmt.Errorf("vm %s: discard its suspended state: %w", vm.Name, err)
			}
		}
	}
	if !deployed {
		return nil
	}
	return r.step(ctx, "undeploy", func(ctx context.Context) error {
		return r.VCD.Undeploy(ctx, r.vapp.Href, "powerOff")
	})
}

func (r *run) overwriteVM(ctx context.Context, n int, vp *plan.VM) error {
	made, err := r.rebuildDisks(ctx, n, vp)
	if err != nil {
		return err
	}
	live := made.client.VM(vp.LiveMoRef)
	files, swaps, err := r.planSwap(ctx, made, live, vp)
	if err != nil {
		return err
	}
	detail, err := swapDetail(made.client, vp, files)
	if err != nil {
		return err
	}
	err = r.intend(ctx, journal.Intent{Kind: mark.Swap, Object: vp.LiveMoRef, Detail: detail}, "swap the old disks of vm "+vp.Name+" back",
		func(ctx context.Context) error {
			left, err := SwapBack(ctx, made.client, vp.LiveMoRef, files)
			if len(left) > 0 {
				r.warn(vp.Name, "these files were left, because something may refer to them: "+strings.Join(left, ", "))
			}
			return err
		})
	if err != nil {
		return err
	}
	swapped := &r.undo[len(r.undo)-1]
	swapped.swapOf, swapped.files, swapped.vm, swapped.client = vp.LiveMoRef, files, vp.Name, made.client
	if err := r.moveDisks(ctx, made, files); err != nil {
		return err
	}
	// Not to be cancelled: what vCenter has begun it ends, and it must be
	// known which of the disks the VM has.
	swapping, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if _, err := live.SwapDisks(swapping, swaps); err != nil {
		return fmt.Errorf("swap disks: %w", err)
	}
	r.did("swap " + vp.Name)
	if err := made.vm.Destroy(ctx); err != nil {
		return fmt.Errorf("remove the scratch VM: %w", err)
	}
	r.did("destroy scratch " + vp.Name)
	r.result.VMs = append(r.result.VMs, VMResult{
		Name: vp.Name, Action: plan.Overwrite, OldID: vp.VM.ID, NewID: vp.Live.ID,
		OldMoRef: vp.VM.MoRef, NewMoRef: vp.LiveMoRef, Disks: len(vp.VM.Disks), Bytes: vp.Bytes,
	})
	return nil
}

// planSwap names the files: what the VM has, what the scratch VM has, and
// where the new ones go, beside the VM's own.
func (r *run) planSwap(ctx context.Context, made *scratch, live *vsphere.VM, vp *plan.VM) (Files, []vsphere.Swap, error) {
	files := Files{Old: map[int32]string{}, New: map[int32]string{}, Scratch: made.name}
	now, err := live.Config(ctx)
	if err != nil {
		return files, nil, fmt.Errorf("read configuration: %w", err)
	}
	if err := still(now); err != nil {
		return files, nil, err
	}
	fresh, err := made.vm.Config(ctx)
	if err != nil {
		return files, nil, fmt.Errorf("read configuration of the scratch VM: %w", err)
	}
	files.Datacenter = now.Datacenter
	for _, d := range now.Disks {
		files.Old[d.Key] = d.FileName
	}
	var swaps []vsphere.Swap
	for _, d := range vp.VM.Disks {
		i := slices.IndexFunc(fresh.Disks, func(f vsphere.Disk) bool { return f.Key == d.Key })
		if i < 0 {
			return files, nil, fmt.Errorf("disk %s: not in the scratch VM", d.Label)
		}
		to := r.beside(files.Old[d.Key], fresh.Disks[i].FileName)
		files.New[d.Key] = to
		files.Also = append(files.Also, fresh.Disks[i].FileName)
		swaps = append(swaps, vsphere.Swap{Key: d.Key, NewFile: to})
	}
	for k := range files.Old {
		if _, ok := files.New[k]; !ok {
			delete(files.Old, k) // a disk that was added since stays
		}
	}
	return files, swaps, nil
}

// ofRun is what beside puts behind a file's name.
var ofRun = regexp.MustCompile(`-[0-9a-hjkmnp-tv-z]{26}$`)

// beside names a file next to the one it replaces, told apart by the run. On
// another datastore the new file stays where it was made.
func (r *run) beside(old, made string) string {
	if vsphere.DatastoreOf(old) != vsphere.DatastoreOf(made) {
		return made
	}
	return ofRun.ReplaceAllString(strings.TrimSuffix(old, ".vmdk"), "") + "-" + strings.ToLower(r.id) + ".vmdk"
}

// moveDisks takes the new disks out of the scratch VM and puts them where
// the VM's own files are.
func (r *run) moveDisks(ctx context.Context, made *scratch, files Files) error {
	for _, key := range slices.Sorted(maps.Keys(files.New)) {
		from, err := made.vm.DetachDisk(ctx, key)
		if err != nil {
			return fmt.Errorf("detach disk %d from the scratch VM: %w", key, err)
		}
		r.did("detach")
		to := files.New[key]
		if from == to {
			continue
		}
		if err := made.client.MoveDisk(ctx, files.Datacenter, from, to); err != nil {
			return fmt.Errorf("move disk %s to %s: %w", path.Base(from), to, err)
		}
		r.did("move")
	}
	return nil
}

func swapDetail(client *vsphere.Client, vp *plan.VM, files Files) (map[string]string, error) {
	raw, err := json.Marshal(files)
	if err != nil {
		return nil, err
	}
	return map[string]string{mark.VCenter: client.InstanceUUID(), mark.VM: vp.Name, "files": string(raw)}, nil
}

// SwapBack gives a VM its old disks back and deletes the new ones. It finds
// out itself how far the swap had come, and returns the files that it left
// because it could not tell who refers to them.
func SwapBack(ctx context.Context, client *vsphere.Client, moref string, files Files) (left []string, err error) {
	vm := client.VM(moref)
	now, err := vm.Config(ctx)
	if errors.Is(err, vsphere.ErrNotFound) {
		// Deleted, or registered anew: then it may use the new disks.
		return files.made(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	var swaps []vsphere.Swap
	for _, d := range now.Disks {
		for key, made := range files.New {
			// By the file, not the key: vCenter may have given the
			// new disk a key of its own.
			if d.FileName == made && files.Old[key] != "" && files.Old[key] != made {
				swaps = append(swaps, vsphere.Swap{Key: d.Key, NewFile: files.Old[key]})
			}
		}
	}
	if len(swaps) > 0 {
		if err := still(now); err != nil {
			return nil, err
		}
		if _, err := vm.SwapDisks(ctx, swaps); err != nil {
			return nil, fmt.Errorf("swap disks back: %w", err)
		}
		if now, err = vm.Config(ctx); err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
	}
	held, err := heldByScratch(ctx, client, files.Scratch)
	if err != nil {
		return nil, err
	}
	return dropDisks(ctx, client, now, files.Datacenter, files.made(), held)
}

// still refuses a VM whose disks must not be exchanged: one that somebody
// switched on, or took a snapshot of, has written or may write to them.
func still(c *vsphere.VMConfig) error {
	if c.PowerState != "poweredOff" {
		return fmt.Errorf("the VM is %s: its disks are not exchanged; power it off first", c.PowerState)
	}
	if len(c.Snapshots) > 0 {
		return fmt.Errorf("%w: the VM has %d, which hang from its disks; remove them first", vsphere.ErrSnapshotsPresent, len(c.Snapshots))
	}
	return nil
}

// made lists every name that a new file may bear.
func (f Files) made() []string {
	return slices.Compact(slices.Sorted(slices.Values(append(slices.Collect(maps.Values(f.New)), f.Also...))))
}

// heldByScratch returns the disk files of the scratch VM, where it is there:
// they go with it.
func heldByScratch(ctx context.Context, client *vsphere.Client, name string) ([]string, error) {
	if name == "" {
		return nil, nil
	}
	vms, err := client.FindVMs(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("find VM %s: %w", name, err)
	}
	var held []string
	for _, ref := range vms {
		config, err := client.VM(ref.MoRef).Config(ctx)
		if errors.Is(err, vsphere.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("vm %s: read configuration: %w", ref.Name, err)
		}
		for _, d := range config.Disks {
			held = append(held, d.FileName)
		}
	}
	return held, nil
}

// dropDisks deletes disk files, but for those that are held and those that
// the VM refers to, in its disks or anywhere in their chains: a host keeps
// nobody from deleting the files of a VM that is off.
func dropDisks(ctx context.Context, client *vsphere.Client, vm *vsphere.VMConfig, datacenter string, files, held []string) (left []string, err error) {
	var errs []error
	for _, f := range files {
		if slices.Contains(held, f) {
			continue
		}
		if refersTo(vm, f) {
			left = append(left, f)
			continue
		}
		switch err := client.DeleteDisk(ctx, datacenter, f); {
		case errors.Is(err, vsphere.ErrInUse):
			left = append(left, f)
		case err != nil:
			errs = append(errs, err)
		}
	}
	return left, errors.Join(errs...)
}

// refersTo tells whether a VM uses a file, going by its disks and by its
// layout, which lists the files of snapshots too.
func refersTo(vm *vsphere.VMConfig, file string) bool {
	if slices.ContainsFunc(vm.Disks, func(d vsphere.Disk) bool { return d.FileName == file }) {
		return true
	}
	var escaped bytes.Buffer
	if err := xml.EscapeText(&escaped, []byte(file)); err != nil {
		return true // cannot be told: leave it
	}
	return bytes.Contains(vm.Layout, slices.Concat([]byte(">"), escaped.Bytes(), []byte("<")))
}

// commitPoint is the step from which on there is no way back: in one
// transaction every intent to undo is settled, and the disks that were
// swapped out are marked for deletion. A disk that cannot be deleted then is
// a warning, and stays in the journal for the next run.
func (r *run) commitPoint(ctx context.Context) error {
	var settle []int64
	var old []journal.Intent
	var swaps []undoStep
	for _, u := range r.undo {
		settle = append(settle, u.intent)
		if u.swapOf == "" || r.plan.KeepOld {
			continue
		}
		raw, err := json.Marshal(Files{Datacenter: u.files.Datacenter, Old: u.files.Old})
		if err != nil {
			return err
		}
		swaps = append(swaps, u)
		old = append(old, journal.Intent{
			Claim: r.Claim.Token, Run: r.id, Site: r.Site, VApp: r.point.VApp.ID, Kind: mark.OldDisk, Object: u.swapOf,
			Detail: map[string]string{mark.VCenter: u.client.InstanceUUID(), mark.VM: u.vm, "files": string(raw)},
		})
	}
	ids, err := r.Journal.Replace(ctx, settle, old)
	if err != nil {
		return err
	}
	if r.plan.KeepOld {
		for _, u := range r.undo {
			if u.swapOf != "" {
				r.warn(u.vm, "its former disks are kept: "+strings.Join(slices.Sorted(maps.Values(u.files.Old)), ", "))
			}
		}
	}
	r.undo = nil
	r.did("commit point")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	for i, u := range swaps {
		left, err := DropOld(ctx, u.client, u.swapOf, u.files)
		if err == nil {
			err = r.Journal.Settle(ctx, ids[i])
		}
		r.did("drop old disks " + u.vm)
		if err != nil {
			r.warn(u.vm, fmt.Sprintf("its former disks could not be deleted, the next run or `reconcile` will try again: %v", err))
		}
		if len(left) > 0 {
			r.warn(u.vm, "former disks that something still refers to are kept: "+strings.Join(left, ", "))
		}
	}
	return nil
}

// DropOld deletes the disks that a proven swap replaced, but for those that
// the VM refers to again. It returns the files that it left.
func DropOld(ctx context.Context, client *vsphere.Client, moref string, files Files) (left []string, err error) {
	old := slices.Sorted(maps.Values(files.Old))
	now, err := client.VM(moref).Config(ctx)
	if errors.Is(err, vsphere.ErrNotFound) {
		return old, nil // deleted, or registered anew: somebody's business now
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return dropDisks(ctx, client, now, files.Datacenter, old, nil)
}

// DecodeFiles reads the files of a Swap or OldDisk intent.
func DecodeFiles(detail map[string]string) (Files, error) {
	var f Files
	if err := json.Unmarshal([]byte(detail["files"]), &f); err != nil {
		return f, fmt.Errorf("files of the intent: %w", err)
	}
	return f, nil
}
