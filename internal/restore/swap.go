package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// Files names the disks of a swap, with their places in the VM.
type Files struct {
	Datacenter string `json:"datacenter"`
	// Old go and New come. There may be more of either: a disk that was
	// added since has no successor, one that was removed no predecessor.
	Old []vsphere.Attach `json:"old"`
	New []vsphere.Attach `json:"new"`
	// Also are names that a new file may bear until it is in its place, as
	// a disk of the VM called Scratch.
	Also    []string `json:"also,omitempty"`
	Scratch string   `json:"scratch,omitempty"`
	// Kept says that the new files were there before: who takes the swap
	// back leaves them.
	Kept bool `json:"kept,omitempty"`
}

func names(list []vsphere.Attach) []string {
	var out []string
	for _, a := range list {
		out = append(out, a.File)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// made lists every name that a new file may bear.
func (f Files) made() []string {
	if f.Kept {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(names(f.New), f.Also))))
}

// planSwap names the files: what the VM has, what the scratch VM has, and
// where the new ones go, beside the VM's own. Without a scratch VM the disks
// are those that an overwrite put aside, where the point says they are.
func (r *run) planSwap(ctx context.Context, made *scratch, client *vsphere.Client, vp *plan.VM) (Files, error) {
	files := Files{Kept: made == nil}
	now, err := client.VM(vp.LiveMoRef).Config(ctx)
	if err != nil {
		return files, fmt.Errorf("read configuration: %w", err)
	}
	if err := still(now); err != nil {
		return files, err
	}
	files.Datacenter = now.Datacenter
	for _, key := range vp.Out {
		d, ok := now.Disk(key)
		if !ok {
			return files, fmt.Errorf("disk %d: not there any more; plan again", key)
		}
		files.Old = append(files.Old, d.Attach())
	}
	then, err := vsphere.ParseConfig(r.docs["vsphere/"+restorepoint.UUID(vp.VM.ID)+"/config.xml"])
	if err != nil {
		return files, err
	}
	var fresh *vsphere.VMConfig
	if made != nil {
		files.Scratch = made.name
		if fresh, err = made.vm.Config(ctx); err != nil {
			return files, fmt.Errorf("read configuration of the scratch VM: %w", err)
		}
	}
	for _, d := range vp.VM.Disks {
		was, ok := then.Disk(d.Key)
		if !ok {
			return files, fmt.Errorf("disk %s: not in the configuration of the restore point", d.Label)
		}
		to := was.Attach()
		if at, ok := vp.Places[d.Key]; ok {
			to.Controller, to.Bus, to.Unit, to.Mode, to.Sharing = at.Controller, at.Bus, at.Unit, "", ""
		}
		to.Capacity, to.File = d.Content.Size, d.FileName
		if fresh != nil {
			f, ok := fresh.Disk(d.Key)
			if !ok {
				return files, fmt.Errorf("disk %s: not in the scratch VM", d.Label)
			}
			files.Also = append(files.Also, f.FileName)
			to.File, to.Thin = r.beside(now, d, f.FileName, files.New), f.Thin
		}
		files.New = append(files.New, to)
	}
	return files, nil
}

// ofRun is what beside puts behind a file's name.
var ofRun = regexp.MustCompile(`-[0-9a-hjkmnp-tv-z]{26}$`)

// beside names a file next to the one it replaces, or else next to the VM's
// own, told apart by the run, and by the disk where another new one has that
// name. On another datastore the new file stays where it was made.
func (r *run) beside(vm *vsphere.VMConfig, d restorepoint.Disk, made string, others []vsphere.Attach) string {
	old := fmt.Sprintf("%s-disk%d.vmdk", strings.TrimSuffix(vm.VmPathName, ".vmx"), d.Key)
	for _, l := range vm.Disks {
		if l.UUID == d.UUID && d.UUID != "" || d.UUID == "" && l.Key == d.Key {
			old = l.FileName
		}
	}
	if vsphere.DatastoreOf(old) != vsphere.DatastoreOf(made) {
		return made
	}
	stem, suffix := ofRun.ReplaceAllString(strings.TrimSuffix(old, ".vmdk"), ""), "-"+strings.ToLower(r.id)+".vmdk"
	if slices.ContainsFunc(others, func(a vsphere.Attach) bool { return a.File == stem+suffix }) {
		stem += fmt.Sprintf("-disk%d", d.Key)
	}
	return stem + suffix
}

// moveDisks takes the new disks out of the scratch VM and puts them where
// the VM's own files are.
func (r *run) moveDisks(ctx context.Context, made *scratch, files Files) error {
	for _, d := range files.New {
		from, err := made.vm.DetachDisk(ctx, d.Key)
		if err != nil {
			return fmt.Errorf("detach disk %d from the scratch VM: %w", d.Key, err)
		}
		r.did("detach")
		if from == d.File {
			continue
		}
		if err := made.client.MoveDisk(ctx, files.Datacenter, from, d.File); err != nil {
			return fmt.Errorf("move disk %s to %s: %w", path.Base(from), d.File, err)
		}
		r.did("move")
	}
	return nil
}

// filesDetail is the detail of an intent about the disks of a VM.
func filesDetail(vcenter, vm string, files Files) (map[string]string, error) {
	raw, err := json.Marshal(files)
	if err != nil {
		return nil, err
	}
	return map[string]string{mark.VCenter: vcenter, mark.VM: vm, mark.Files: string(raw)}, nil
}

// swapBack is how the swap of a VM is taken back.
func (r *run) swapBack(s *swap) func(context.Context) error {
	return func(ctx context.Context) error {
		left, err := SwapBack(ctx, s.client, s.moref, s.files)
		if len(left) > 0 {
			r.warn(s.vm, "these files were left, because something may refer to them: "+strings.Join(left, ", "))
		}
		return err
	}
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
	if files.swapped(now) {
		if err := still(now); err != nil {
			return nil, err
		}
		if err := vm.ExchangeDisks(ctx, names(files.New), files.Old); err != nil {
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

// swapped tells whether a swap has happened. It goes by the files, not the
// keys: vCenter may have given a new disk a key of its own.
func (f Files) swapped(now *vsphere.VMConfig) bool {
	has := func(file string) bool {
		return slices.ContainsFunc(now.Disks, func(d vsphere.Disk) bool { return d.FileName == file })
	}
	if len(f.New) == 0 {
		return slices.ContainsFunc(names(f.Old), func(file string) bool { return !has(file) })
	}
	return slices.ContainsFunc(names(f.New), has)
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

// DecodeFiles reads the files of a Swap or OldDisk intent.
func DecodeFiles(detail map[string]string) (Files, error) {
	var f Files
	if err := json.Unmarshal([]byte(detail[mark.Files]), &f); err != nil {
		return f, fmt.Errorf("files of the intent: %w", err)
	}
	return f, nil
}
