package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

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

// planDatastores puts each disk on the datastore that was asked for, else
// keeps the one that it is or was on where that has room, and else takes the
// one with the most.
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
		plan.Disks[d.Key] = p.room(stores, plan, "vm "+plan.VM.Name+" disk "+d.Label, was, p.roomWanted(stores, plan, d, full[d.Key]))
	}
	home := vsphere.DatastoreOf(plan.Home)
	if len(plan.VM.Disks) > 0 && home == "" {
		plan.Datastore = plan.Disks[plan.VM.Disks[0].Key]
		return nil
	}
	plan.Datastore = p.room(stores, plan, "vm "+plan.VM.Name, home, 0)
	return nil
}

// room finds a datastore for some bytes, and notes them as taken.
func (p *Plan) room(stores []vsphere.DatastoreInfo, vm *VM, object, was string, size int64) restorepoint.Ref {
	if p.taken == nil {
		p.taken = map[string]int64{}
	}
	free := func(s vsphere.DatastoreInfo) int64 { return s.Free - p.taken[s.Ref] - p.batch.on(s) }
	take := func(s vsphere.DatastoreInfo) restorepoint.Ref {
		p.taken[s.Ref] += size
		return restorepoint.Ref{ID: s.Ref, Name: s.Name}
	}
	var names []string
	var most *vsphere.DatastoreInfo
	to, asked := lookup(p.options.Overrides.Datastores, was)
	for i, s := range stores {
		names = append(names, s.Name)
		if (s.Name == to && asked || s.Name == was && !asked) && free(s) >= size {
			return take(s)
		}
		if most == nil || free(s) > free(*most) {
			most = &stores[i]
		}
	}
	c := Conflict{Kind: KindDatastore, Object: object, Override: "--datastore " + flagName(was) + "=NEW"}
	switch {
	case asked:
		c.Object = "datastore " + to
		p.add(c, "is not there or has no room for %s of %s; there are %s", wording.Size(size), object, orNone(names))
		return restorepoint.Ref{}
	case most == nil:
		p.conflict(KindDatastore, object, "", "its vCenter has no datastore that can be reached")
		return restorepoint.Ref{}
	case free(*most) < size:
		p.add(c, "needs %s, and no datastore has more than %s free (%s)", wording.Size(size), wording.Size(free(*most)), most.Name)
		return restorepoint.Ref{}
	}
	// On another vCenter they are others: that it moves is said once.
	if was != "" && vcd.UUID(vm.VimServerHref) == vcd.UUID(vm.VM.VCenterHref) {
		c.Object, c.Resolution = "datastore "+was, "use "+most.Name
		why := "is gone"
		var room []string
		for _, s := range stores {
			if s.Name == was {
				why = "has " + wording.Size(max(0, free(s))) + " free of the " + wording.Size(size) + " that are needed"
			}
			if free(s) >= size {
				room = append(room, s.Name)
			}
		}
		p.add(c, "%s; %s was on it; there is room on %s", why, object, strings.Join(room, ", "))
	}
	return take(*most)
}
