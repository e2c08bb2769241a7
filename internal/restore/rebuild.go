package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

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

// importTimeout bounds the import of one VM, which moves no disk bytes.
const importTimeout = 15 * time.Minute

// scratch is a VM that a restore made in vSphere.
type scratch struct {
	client *vsphere.Client
	vm     *vsphere.VM
	moref  string
	name   string
}

// place finds where a VM can be made, outside the resource pools of the VDCs
// so that VM discovery does not adopt it.
func (r *run) place(ctx context.Context, client *vsphere.Client, datastore string) (vsphere.Place, error) {
	key := client.InstanceUUID() + "/" + datastore
	if p, ok := r.places[key]; ok {
		return p, nil
	}
	p, err := client.RebuildPlace(ctx, datastore)
	if err != nil {
		return p, fmt.Errorf("find a place on datastore %s: %w", datastore, err)
	}
	r.places[key] = p
	return p, nil
}

// rebuild makes a VM in vSphere with the disks of the restore point.
func (r *run) rebuild(ctx context.Context, n int, vp *plan.VM) (*scratch, error) {
	name := mark.ScratchName(r.id, strconv.Itoa(n))
	return r.build(ctx, vp, name, func(place vsphere.Place, raw []byte) (vsphere.ImportSpec, error) {
		o := diskPlaces(place.Options(name), vp)
		for _, d := range vp.Named {
			o.LeaveDisks = append(o.LeaveDisks, d.Key) // they are no disks of the VM
		}
		o.KeepMAC, o.KeepUUID = r.plan.MAC == plan.MACKeep, !r.plan.Copies()
		o.NewMACs = r.newMACs(vp)
		spec, notes, err := vsphere.SpecFromConfig(raw, o)
		for _, note := range notes {
			r.warn(vp.Name, note.String())
		}
		return spec, err
	})
}

// rebuildDisks makes a VM in vSphere that has nothing but the disks.
func (r *run) rebuildDisks(ctx context.Context, n int, vp *plan.VM) (*scratch, error) {
	name := mark.ScratchName(r.id, strconv.Itoa(n))
	keys := make([]int32, 0, len(vp.VM.Disks))
	for _, d := range vp.VM.Disks {
		keys = append(keys, d.Key)
	}
	return r.build(ctx, vp, name, func(place vsphere.Place, raw []byte) (vsphere.ImportSpec, error) {
		o := diskPlaces(place.Options(name), vp)
		o.KeepUUID = vp.Action != plan.Attach // of the disks: guests name them by it
		return vsphere.ScratchSpec(raw, name, keys, o)
	})
}

func diskPlaces(o vsphere.RebuildOptions, vp *plan.VM) vsphere.RebuildOptions {
	o.Disks = map[int32]vsphere.DiskPlace{}
	for key, ds := range vp.Disks {
		o.Disks[key] = vsphere.DiskPlace{Datastore: ds.ID, DatastoreName: ds.Name, Thick: slices.Contains(vp.Thick, key)}
	}
	return o
}

func (r *run) build(ctx context.Context, vp *plan.VM, name string, specify func(vsphere.Place, []byte) (vsphere.ImportSpec, error)) (*scratch, error) {
	client, err := r.VSphere(ctx, vp.VimServerHref)
	if err != nil {
		return nil, err
	}
	place, err := r.place(ctx, client, vp.Datastore.ID)
	if err != nil {
		return nil, err
	}
	raw := r.docs["vsphere/"+restorepoint.UUID(vp.VM.ID)+"/config.xml"]
	spec, err := specify(place, raw)
	if err != nil {
		return nil, fmt.Errorf("describe the VM to vSphere: %w", err)
	}
	disks, err := r.contents(ctx, vp)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, d := range disks {
			_ = d.Content.Close() // only read
		}
	}()
	detail := map[string]string{mark.VCenter: client.InstanceUUID(), mark.Name: name, mark.VM: vp.Name}
	err = r.intend(ctx, journal.Intent{Kind: mark.ScratchVM, Object: name, Detail: detail}, "remove VM "+name,
		func(ctx context.Context) error { return RemoveScratch(ctx, client, name) })
	if err != nil {
		return nil, err
	}
	at := limit.Place{Host: place.Host, VCenter: client.InstanceUUID(), VApp: r.fairAs()}
	moref, err := r.importVM(ctx, vp.Name, client, spec, at, disks, func(done int64) {
		r.Progress.Emit(progress.Event{
			Kind: progress.Bytes, Org: r.plan.Org.Name, VApp: r.plan.VAppName, VM: vp.Name, What: "all disks",
			Transport: r.through[vp.Name], Done: done, Total: vp.Bytes,
		})
	})
	if err != nil {
		return nil, fmt.Errorf("write disks: %w", err)
	}
	r.did("build " + vp.Name)
	return &scratch{client: client, vm: client.VM(moref), moref: moref, name: name}, nil
}

// fairAs is what the limits know the vApp by: as a backup of it, or, where it
// is yet to be made, by its name.
func (r *run) fairAs() string {
	if r.vapp != nil {
		return r.vapp.ID
	}
	return r.plan.Org.Name + "/" + r.plan.VAppName
}

// contents opens the disks of a VM in the repository.
func (r *run) contents(ctx context.Context, vp *plan.VM) ([]transport.Fill, error) {
	var out []transport.Fill
	for _, d := range vp.VM.Disks {
		content, err := r.Repository.OpenDisk(ctx, d.Content)
		if err != nil {
			for _, o := range out {
				_ = o.Content.Close() // only read
			}
			return nil, fmt.Errorf("disk %s: open in the repository: %w", d.Label, err)
		}
		out = append(out, transport.Fill{Key: d.Key, Content: content})
	}
	return out, nil
}

// RemoveScratch destroys the VMs of exactly this name that a restore made.
// A VM that vCD has taken over bears another name, and is not touched.
func RemoveScratch(ctx context.Context, client *vsphere.Client, name string) error {
	vms, err := client.FindVMs(ctx, name)
	if err != nil {
		return fmt.Errorf("find VM %s: %w", name, err)
	}
	for _, ref := range vms {
		if ref.Name != name {
			continue
		}
		if err := client.VM(ref.MoRef).Destroy(ctx); err != nil && !errors.Is(err, vsphere.ErrNotFound) {
			return fmt.Errorf("destroy VM %s: %w", name, err)
		}
	}
	return nil
}

// missing rebuilds the VMs and imports them: the first makes the vApp, the
// others join it. An empty vApp is composed.
func (r *run) missing(ctx context.Context) error {
	network, err := r.bareNetworks()
	if err != nil {
		return err
	}
	href := ""
	if err := r.intendVApp(ctx, &href); err != nil {
		return err
	}
	n := 0
	for i := range r.plan.VMs {
		vp := &r.plan.VMs[i]
		if vp.Action != plan.Rebuild {
			continue
		}
		err := r.step(ctx, "rebuild vm "+vp.Name, func(ctx context.Context) error {
			return r.rebuildInto(ctx, n, vp, &href, network)
		})
		if err != nil {
			return err
		}
		n++
	}
	if n == 0 {
		href, err = r.VCD.ComposeVApp(ctx, r.plan.VDC.Href, r.plan.VAppName, r.description(), network)
		if err != nil {
			return fmt.Errorf("compose vApp: %w", err)
		}
	}
	if err := r.reload(ctx, href); err != nil {
		return err
	}
	if err := r.claim(ctx); err != nil {
		return err
	}
	return r.enter(ctx)
}

// intendVApp journals that a vApp is about to be made. Until its href is
// known it can be told by its name, which was free when the plan was made.
func (r *run) intendVApp(ctx context.Context, href *string) error {
	detail := r.shellDetail(map[string]string{mark.Name: r.plan.VAppName, "vdc": r.plan.VDC.ID})
	return r.intend(ctx, journal.Intent{Kind: mark.NewVApp, Object: r.plan.VAppName, Detail: detail}, "delete vApp "+r.plan.VAppName,
		func(ctx context.Context) error {
			if *href == "" {
				return nil // the imports say what they made
			}
			return RemoveVApp(ctx, r.VCD, *href)
		})
}

// rebuildInto builds one VM and moves it into vCD.
func (r *run) rebuildInto(ctx context.Context, n int, vp *plan.VM, href *string, network []byte) error {
	vm, err := r.rebuild(ctx, n, vp)
	if err != nil {
		return err
	}
	if err := r.putNVRAM(ctx, vm, vp); err != nil {
		return err
	}
	detail := map[string]string{mark.VCenter: vm.client.InstanceUUID(), mark.VM: vp.Name, mark.Name: r.plan.VAppName, "whole": strconv.FormatBool(*href == "")}
	if err := r.intend(ctx, journal.Intent{Kind: mark.Import, Object: vm.moref, Detail: detail}, "delete vm "+vp.Name, r.undoImport(vm, *href == "")); err != nil {
		return err
	}
	// Not to be cancelled: an import that vCD has begun it ends, and only
	// what is known to be there can be taken back.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), importTimeout)
	defer cancel()
	computer, description := r.guestName(vp.VM), r.vmDescription(vp.VM)
	switch {
	case r.plan.Standalone:
		*href, err = r.importStandalone(ctx, vp, vm.moref)
	case *href == "":
		*href, err = r.VCD.ImportVMAsVApp(ctx, vp.VimServerHref, vcd.ImportAsVApp{
			Name: r.plan.VAppName, Description: r.description(), NetworkConfigSection: network,
			VMName: vp.Name, ScopedLocalID: vp.VM.ScopedLocalID, ComputerName: computer, MoRef: vm.moref,
			StorageProfileHref: vp.StorageProfile.Href, VDCHref: r.plan.VDC.Href,
		})
	default:
		err = r.VCD.ImportVMIntoVApp(ctx, vp.VimServerHref, vcd.ImportIntoVApp{
			VAppHref: *href, VMName: vp.Name, VMDescription: description,
			ScopedLocalID: vp.VM.ScopedLocalID, ComputerName: computer, MoRef: vm.moref, StorageProfileHref: vp.StorageProfile.Href,
		})
	}
	if err != nil {
		return fmt.Errorf("import into vCD: %w", err)
	}
	r.did("import " + vp.Name)
	r.result.VMs = append(r.result.VMs, VMResult{
		Name: vp.Name, Action: plan.Rebuild, OldID: vp.VM.ID, OldMoRef: vp.VM.MoRef, NewMoRef: vm.moref,
		Disks: len(vp.VM.Disks), Bytes: vp.Bytes, Transport: r.through[vp.Name],
	})
	return nil
}

// undoImport takes an imported VM out of vCD again; where vCD does not know
// it, the scratch VM's own undo destroys it.
func (r *run) undoImport(vm *scratch, whole bool) func(context.Context) error {
	return func(ctx context.Context) error {
		return RemoveImported(ctx, r.VCD, vm.moref, vm.client.InstanceUUID(), whole)
	}
}

// reload reads the restored vApp and matches its VMs to the restore point's.
func (r *run) reload(ctx context.Context, href string) error {
	vapp, err := r.VCD.VApp(ctx, vcd.URN(href))
	if err != nil {
		return fmt.Errorf("read the restored vApp: %w", err)
	}
	r.vapp = vapp
	if r.plan.Standalone && r.plan.Mode == plan.ModeCopy {
		r.plan.VAppName = vapp.Name // vCD names the shell
	}
	r.result.VAppID, r.result.VAppName = vapp.ID, vapp.Name
	for i := range r.result.VMs {
		res := &r.result.VMs[i]
		for _, vm := range vapp.VMs {
			if vm.ID == res.NewID || (res.NewID == "" && vm.VimInfo.VMMoRef == res.NewMoRef) {
				res.NewID, res.NewMoRef = vm.ID, vm.VimInfo.VMMoRef
			}
		}
		if res.NewID == "" {
			return fmt.Errorf("vm %s: not in the restored vApp", res.Name)
		}
	}
	return nil
}
