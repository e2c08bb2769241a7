package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
	"github.com/vappvault/vappvault/internal/wording"
)

// vCenterOf is the vCenter where a VM is made: that of the VDC where vCD tells
// it, else the one where the VM was.
func (p *Plan) vCenterOf(vm *restorepoint.VM) string {
	if p.home == "" || vcd.UUID(p.home) == vcd.UUID(vm.VCenterHref) {
		return vm.VCenterHref
	}
	if p.Live == nil {
		p.conflict(KindVCenter, "vm "+vm.Name, "make it on the vCenter of VDC "+p.VDC.Name, "was on another vCenter")
	}
	return p.home
}

func datastoreName(file string) string { return vsphere.DatastoreOf(file) }

// planDatastores keeps the datastore that each disk is or was on where it has
// room, and else takes the one with the most.
func planDatastores(ctx context.Context, d *Deps, client *vsphere.Client, p *Plan, plan *VM) error {
	stores, err := client.Datastores(ctx)
	if err != nil {
		return fmt.Errorf("list datastores: %w", err)
	}
	stores = slices.DeleteFunc(stores, func(s vsphere.DatastoreInfo) bool { return !s.Accessible })
	plan.Disks = map[int32]restorepoint.Ref{}
	full := thick(d.Docs, plan.VM)
	for _, d := range plan.VM.Disks {
		was := vsphere.DatastoreOf(d.FileName)
		if f := plan.Files[d.Key]; f != "" {
			was = vsphere.DatastoreOf(f)
		}
		plan.Disks[d.Key] = p.room(stores, "vm "+plan.Name+" disk "+d.Label, was, p.roomWanted(stores, plan, d, full[d.Key]))
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
