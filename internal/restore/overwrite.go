package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// Files names the disk files of a swap: device key -> "[ds] dir/x.vmdk".
type Files struct {
	Datacenter string           `json:"datacenter"`
	Old        map[int32]string `json:"old"`
	New        map[int32]string `json:"new"`
	// Also are names that a new file may bear until it is in its place.
	Also []string `json:"also,omitempty"`
}

// overwrite brings an existing vApp back: new disks are written beside the
// old ones and swapped in; identities survive. VMs that were deleted since
// are rebuilt into it.
func (r *run) overwrite(ctx context.Context) error {
	r.vapp = r.plan.live
	if err := r.undeploy(ctx); err != nil {
		return err
	}
	if err := r.enter(ctx); err != nil {
		return err
	}
	href := r.vapp.Href
	for i := range r.plan.VMs {
		plan := &r.plan.VMs[i]
		var err error
		switch plan.Action {
		case Overwrite:
			err = r.step(ctx, "overwrite vm "+plan.Name, func(ctx context.Context) error { return r.overwriteVM(ctx, i, plan) })
		case Rebuild:
			err = r.step(ctx, "rebuild vm "+plan.Name, func(ctx context.Context) error { return r.rebuildInto(ctx, i, plan, &href, nil) })
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
	deployed := r.vapp.Deployed
	for _, vm := range r.vapp.VMs {
		deployed = deployed || vm.Deployed
	}
	if !deployed {
		return nil
	}
	return r.step(ctx, "undeploy", func(ctx context.Context) error {
		return r.VCD.Undeploy(ctx, r.vapp.Href, "powerOff")
	})
}

func (r *run) overwriteVM(ctx context.Context, n int, plan *VMPlan) error {
	made, err := r.rebuildDisks(ctx, n, plan)
	if err != nil {
		return err
	}
	live := made.client.VM(plan.LiveMoRef)
	files, swaps, err := r.planSwap(ctx, made, live, plan)
	if err != nil {
		return err
	}
	detail, err := swapDetail(made.client, plan, files)
	if err != nil {
		return err
	}
	err = r.intend(ctx, journal.Intent{Kind: mark.Swap, Object: plan.LiveMoRef, Detail: detail}, "swap the old disks of vm "+plan.Name+" back",
		func(ctx context.Context) error { return SwapBack(ctx, made.client, plan.LiveMoRef, files) })
	if err != nil {
		return err
	}
	swapped := &r.undo[len(r.undo)-1]
	swapped.swapOf, swapped.files = plan.LiveMoRef, files
	if err := r.moveDisks(ctx, made, files); err != nil {
		return err
	}
	if _, err := live.SwapDisks(ctx, swaps); err != nil {
		return fmt.Errorf("swap disks: %w", err)
	}
	r.did("swap " + plan.Name)
	if err := made.vm.Destroy(ctx); err != nil {
		return fmt.Errorf("remove the scratch VM: %w", err)
	}
	r.did("destroy scratch " + plan.Name)
	r.result.VMs = append(r.result.VMs, VMResult{
		Name: plan.Name, Action: Overwrite, OldID: plan.VM.ID, NewID: plan.Live.ID,
		OldMoRef: plan.VM.MoRef, NewMoRef: plan.LiveMoRef, Disks: len(plan.VM.Disks), Bytes: plan.Bytes,
	})
	return nil
}

// planSwap names the files: what the VM has, what the scratch VM has, and
// where the new ones go, beside the VM's own.
func (r *run) planSwap(ctx context.Context, made *scratch, live *vsphere.VM, plan *VMPlan) (Files, []vsphere.Swap, error) {
	files := Files{Old: map[int32]string{}, New: map[int32]string{}}
	now, err := live.Config(ctx)
	if err != nil {
		return files, nil, fmt.Errorf("read configuration: %w", err)
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
	for _, d := range plan.VM.Disks {
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
	if datastoreOf(old) != datastoreOf(made) {
		return made
	}
	return ofRun.ReplaceAllString(strings.TrimSuffix(old, ".vmdk"), "") + "-" + strings.ToLower(r.id) + ".vmdk"
}

// moveDisks takes the new disks out of the scratch VM and puts them where
// the VM's own files are. Each key's present name is in files.Also, in the
// order of the keys in the plan.
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

func swapDetail(client *vsphere.Client, plan *VMPlan, files Files) (map[string]string, error) {
	raw, err := json.Marshal(files)
	if err != nil {
		return nil, err
	}
	return map[string]string{mark.VCenter: client.InstanceUUID(), mark.VM: plan.Name, "files": string(raw)}, nil
}

// SwapBack gives a VM its old disks back and deletes the new ones. It finds
// out itself how far the swap had come.
func SwapBack(ctx context.Context, client *vsphere.Client, moref string, files Files) error {
	vm := client.VM(moref)
	now, err := vm.Config(ctx)
	if err != nil && !errors.Is(err, vsphere.ErrNotFound) {
		return fmt.Errorf("read configuration: %w", err)
	}
	if now != nil {
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
			if _, err := vm.SwapDisks(ctx, swaps); err != nil {
				return fmt.Errorf("swap disks back: %w", err)
			}
		}
	}
	return DropDisks(ctx, client, files.Datacenter, append(slices.Collect(maps.Values(files.New)), files.Also...))
}

// DropDisks deletes disk files that are attached to no VM any more. A file
// that is gone already is no error; one that is attached is left, because
// then it is in use after all.
func DropDisks(ctx context.Context, client *vsphere.Client, datacenter string, files []string) error {
	var errs []error
	for _, f := range files {
		err := client.DeleteDisk(ctx, datacenter, f)
		if err != nil && !errors.Is(err, vsphere.ErrNotFound) && !errors.Is(err, vsphere.ErrInUse) {
			errs = append(errs, fmt.Errorf("delete %s: %w", f, err))
		}
	}
	return errors.Join(errs...)
}

// dropOldDisks deletes the disks that were swapped out, once the result is
// proven. From the moment it is journalled there is no way back.
func (r *run) dropOldDisks(ctx context.Context) error {
	for i := range r.plan.VMs {
		plan := &r.plan.VMs[i]
		if plan.Action != Overwrite {
			continue
		}
		u := slices.IndexFunc(r.undo, func(u undoStep) bool { return u.swapOf == plan.LiveMoRef })
		if u < 0 {
			continue
		}
		if err := r.dropOld(ctx, plan, r.undo[u]); err != nil {
			return fmt.Errorf("vm %s: %w", plan.Name, err)
		}
		r.undo = slices.Delete(r.undo, u, u+1)
	}
	return nil
}

func (r *run) dropOld(ctx context.Context, plan *VMPlan, swap undoStep) error {
	client, err := r.VSphere(ctx, plan.vimServerHref)
	if err != nil {
		return err
	}
	if r.plan.KeepOld {
		r.warn(plan.Name, "its former disks are kept: "+strings.Join(slices.Sorted(maps.Values(swap.files.Old)), ", "))
		return r.Journal.Settle(ctx, swap.intent)
	}
	raw, err := json.Marshal(Files{Datacenter: swap.files.Datacenter, Old: swap.files.Old})
	if err != nil {
		return err
	}
	id, err := r.Journal.Intend(ctx, journal.Intent{
		Claim: r.Claim.Token, Run: r.id, Site: r.Site, VApp: r.point.VApp.ID, Kind: mark.OldDisk, Object: plan.LiveMoRef,
		Detail: map[string]string{mark.VCenter: client.InstanceUUID(), mark.VM: plan.Name, "files": string(raw)},
	})
	if err != nil {
		return err
	}
	if err := r.Journal.Settle(ctx, swap.intent); err != nil {
		return err
	}
	r.did("intend old-disk " + plan.Name)
	if err := DropOld(ctx, client, plan.LiveMoRef, swap.files); err != nil {
		return err
	}
	r.did("drop old disks " + plan.Name)
	return r.Journal.Settle(ctx, id)
}

// DropOld deletes the disks that a proven swap replaced, but for those that
// the VM has again.
func DropOld(ctx context.Context, client *vsphere.Client, moref string, files Files) error {
	old := slices.Sorted(maps.Values(files.Old))
	now, err := client.VM(moref).Config(ctx)
	if err != nil && !errors.Is(err, vsphere.ErrNotFound) {
		return fmt.Errorf("read configuration: %w", err)
	}
	if now != nil {
		for _, d := range now.Disks {
			old = slices.DeleteFunc(old, func(f string) bool { return f == d.FileName })
		}
	}
	return DropDisks(ctx, client, files.Datacenter, old)
}

// DecodeFiles reads the files of a Swap or OldDisk intent.
func DecodeFiles(detail map[string]string) (Files, error) {
	var f Files
	if err := json.Unmarshal([]byte(detail["files"]), &f); err != nil {
		return f, fmt.Errorf("files of the intent: %w", err)
	}
	return f, nil
}
