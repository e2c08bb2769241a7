package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
	"github.com/vappvault/vappvault/internal/wording"
)

// planVMs decides what becomes of each VM and where its disks go.
func planVMs(ctx context.Context, d *Deps, p *Plan, point *restorepoint.Point) error {
	profiles, err := d.VCD.StorageProfiles(ctx, p.VDC.ID)
	if err != nil {
		return fmt.Errorf("list storage profiles of VDC %s: %w", p.VDC.Name, err)
	}
	p.Profiles = map[string]string{}
	for _, sp := range profiles {
		p.Profiles[sp.Name] = sp.Href
	}
	inPoint := map[string]bool{}
	for i := range point.VMs {
		vm := &point.VMs[i]
		inPoint[vm.ID] = true
		plan := VM{Name: vm.Name, Action: Rebuild, VM: vm, VimServerHref: vm.VCenterHref}
		if vm.Missing != "" {
			plan.Action = Leave
			plan.Live = p.live(vm.ID)
			if vm.Excluded {
				resolution := "leave it out"
				if plan.Live != nil {
					resolution = "leave it as it is"
				}
				p.conflict(KindExcluded, "vm "+vm.Name, resolution, "was not backed up, by choice: %s", vm.Missing)
				p.VMs = append(p.VMs, plan)
				continue
			}
			p.Missing++
			p.conflict(KindNotInPoint, "vm "+vm.Name, "restore the others", "its disks are not in the restore point: %s", vm.Missing)
			p.VMs = append(p.VMs, plan)
			continue
		}
		for _, disk := range vm.Disks {
			plan.Bytes += disk.Content.DataBytes
		}
		if live := p.live(vm.ID); live != nil {
			plan.Action, plan.Live, plan.LiveMoRef = Overwrite, live, live.VimInfo.VMMoRef
			// It may have moved to another vCenter since.
			plan.VimServerHref = live.VimInfo.VCenterHref
		}
		for _, disk := range vm.Unprotected {
			resolution := "put an empty disk in its place"
			if plan.Action == Overwrite {
				resolution = "leave it as it is"
			}
			if disk.Excluded {
				p.conflict(KindExcluded, "vm "+vm.Name+" disk "+disk.Label, resolution, "was not backed up, by choice: %s", disk.NotProtected)
				continue
			}
			p.conflict(KindNotInPoint, "vm "+vm.Name+" disk "+disk.Label, resolution, "is not in the restore point: %s", disk.NotProtected)
			p.Missing++
		}
		if err := planVM(ctx, d, p, &plan, profiles); err != nil {
			return fmt.Errorf("vm %s: %w", vm.Name, err)
		}
		p.VMs = append(p.VMs, plan)
	}
	if p.Live != nil {
		for j, l := range p.Live.VMs {
			if !inPoint[l.ID] {
				p.planExtra(&p.Live.VMs[j])
			}
		}
	}
	return nil
}

// live returns the VM of an id that the vApp has now, nil where it has none.
func (p *Plan) live(id string) *vcd.VM {
	if p.Live == nil {
		return nil
	}
	i := slices.IndexFunc(p.Live.VMs, func(vm vcd.VM) bool { return vm.ID == id })
	if i < 0 {
		return nil
	}
	return &p.Live.VMs[i]
}

func planVM(ctx context.Context, d *Deps, p *Plan, plan *VM, profiles []vcd.StorageProfile) error {
	doc, err := d.Docs.Tree("vcd/vms/" + restorepoint.UUID(plan.VM.ID) + "/vm.xml")
	if err != nil {
		return err
	}
	if doc != nil {
		name := document.AttributeOf(doc.Root(), "name", "StorageProfile")
		for _, sp := range profiles {
			if sp.Name == name {
				plan.StorageProfile = restorepoint.Ref{ID: sp.ID, Name: sp.Name, Href: sp.Href}
			}
		}
		if plan.StorageProfile.Href == "" && name != "" {
			p.conflict(KindStorageProfile, "storage profile "+name, "use the VDC's default", "vm %s had it, and VDC %s has none of that name", plan.Name, p.VDC.Name)
		}
	}
	client, err := d.VSphere(ctx, plan.VimServerHref)
	if err != nil {
		return err
	}
	if plan.Action == Overwrite {
		err := planOverwrite(ctx, d, client, p, plan)
		if errors.Is(err, vsphere.ErrNotFound) {
			p.conflict(KindVMGone, "vm "+plan.Name, "", "vCD has it, but its vCenter does not: delete it in vCD, then it is rebuilt")
			return nil
		}
		if err != nil {
			return err
		}
	}
	return planDatastores(ctx, client, p, plan)
}

// planDatastores keeps the datastore that each disk is or was on where it has
// room, and else takes the one with the most.
func planDatastores(ctx context.Context, client *vsphere.Client, p *Plan, plan *VM) error {
	stores, err := client.Datastores(ctx)
	if err != nil {
		return fmt.Errorf("list datastores: %w", err)
	}
	stores = slices.DeleteFunc(stores, func(s vsphere.DatastoreInfo) bool { return !s.Accessible })
	plan.Disks = map[int32]restorepoint.Ref{}
	for _, d := range plan.VM.Disks {
		was := vsphere.DatastoreOf(d.FileName)
		if f := plan.Files[d.Key]; f != "" {
			was = vsphere.DatastoreOf(f)
		}
		plan.Disks[d.Key] = p.room(stores, "vm "+plan.Name+" disk "+d.Label, was, d.Content.DataBytes)
	}
	home := vsphere.DatastoreOf(plan.Home)
	if len(plan.VM.Disks) > 0 && home == "" {
		home = plan.Disks[plan.VM.Disks[0].Key].Name
	}
	plan.Datastore = p.room(stores, "vm "+plan.Name, home, 0)
	return nil
}

// room finds a datastore for some bytes, and notes them as taken.
func (p *Plan) room(stores []vsphere.DatastoreInfo, object, was string, size int64) restorepoint.Ref {
	if p.taken == nil {
		p.taken = map[string]int64{}
	}
	free := func(s vsphere.DatastoreInfo) int64 { return s.Free - p.taken[s.Ref] }
	var most *vsphere.DatastoreInfo
	for i, s := range stores {
		if s.Name == was && free(s) >= size {
			p.taken[s.Ref] += size
			return restorepoint.Ref{ID: s.Ref, Name: s.Name}
		}
		if most == nil || free(s) > free(*most) {
			most = &stores[i]
		}
	}
	switch {
	case most == nil:
		p.conflict(KindDatastore, object, "", "its vCenter has no datastore that can be reached")
		return restorepoint.Ref{}
	case free(*most) < size:
		p.conflict(KindDatastore, object, "", "needs %s, and no datastore has more than %s free (%s)", wording.Size(size), wording.Size(free(*most)), most.Name)
		return restorepoint.Ref{}
	}
	if was != "" {
		p.conflict(KindDatastore, "datastore "+was, "use "+most.Name, "is gone or full; %s was on it", object)
	}
	p.taken[most.Ref] += size
	return restorepoint.Ref{ID: most.Ref, Name: most.Name}
}
