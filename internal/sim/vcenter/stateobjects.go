package vcenter

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// objects brings back folders, resource pools and port groups.
func (r *restorer) objects() error {
	reg := r.ctx.Map
	for _, kind := range []string{"Folder", "ResourcePool", "DistributedVirtualPortgroup"} {
		kept := map[types.ManagedObjectReference]bool{}
		for _, key := range numerically(r.old.records, kind+"/") {
			ref := types.ManagedObjectReference{Type: kind, Value: strings.TrimPrefix(key, kind+"/")}
			kept[ref] = true
			if err := r.object(ref, r.old.records[key]); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		for _, obj := range reg.AllReference(kind) {
			if !kept[obj.Reference()] { // somebody destroyed it
				r.unlist(obj)
				reg.Remove(r.ctx, obj.Reference())
			}
		}
	}
	r.names()
	return nil
}

// object brings one back, or gives it the properties it had.
func (r *restorer) object(ref types.ManagedObjectReference, raw []byte) error {
	reg := r.ctx.Map
	obj := reg.Get(ref)
	fresh := obj == nil
	switch ref.Type {
	case "Folder":
		o, ok := obj.(*simulator.Folder)
		if !ok {
			o = new(simulator.Folder)
		}
		children := o.ChildEntity
		if err := decodeVim(raw, &o.Folder); err != nil {
			return err
		}
		o.ChildEntity, obj = children, o
	case "ResourcePool":
		o, ok := obj.(*simulator.ResourcePool)
		if !ok {
			o = new(simulator.ResourcePool)
		}
		pools := o.ResourcePool.ResourcePool
		if err := decodeVim(raw, &o.ResourcePool); err != nil {
			return err
		}
		o.ResourcePool.ResourcePool, obj = pools, o
	case "DistributedVirtualPortgroup":
		o, ok := obj.(*simulator.DistributedVirtualPortgroup)
		if !ok {
			o = new(simulator.DistributedVirtualPortgroup)
		}
		if err := decodeVim(raw, &o.DistributedVirtualPortgroup); err != nil {
			return err
		}
		o.Entity().Name, obj = o.Name, o
	}
	if fresh {
		reg.Put(obj)
		r.list(obj)
	}
	return nil
}

// list adds an object to what holds it.
func (r *restorer) list(obj mo.Reference) {
	ref := obj.Reference()
	e := obj.(mo.Entity).Entity()
	if e.Parent == nil {
		return
	}
	switch p := r.ctx.Map.Get(*e.Parent).(type) {
	case *simulator.Folder:
		p.ChildEntity = append(p.ChildEntity, ref)
	case *simulator.ResourcePool:
		p.ResourcePool.ResourcePool = append(p.ResourcePool.ResourcePool, ref)
	}
	g, ok := obj.(*simulator.DistributedVirtualPortgroup)
	if !ok {
		return
	}
	dc, cluster := r.s.inv.dc, r.s.inv.cluster
	dc.Network, cluster.Network = append(dc.Network, ref), append(cluster.Network, ref)
	for _, h := range g.Host {
		if host, ok := r.ctx.Map.Get(h).(*simulator.HostSystem); ok {
			host.Network = append(host.Network, ref)
		}
	}
	if d := g.Config.DistributedVirtualSwitch; d != nil {
		if dvs, ok := r.ctx.Map.Get(*d).(*simulator.DistributedVirtualSwitch); ok {
			dvs.Portgroup, dvs.Summary.PortgroupName = append(dvs.Portgroup, ref), append(dvs.Summary.PortgroupName, g.Name)
		}
	}
}

// unlist takes an object off what holds it.
func (r *restorer) unlist(obj mo.Reference) {
	ref := obj.Reference()
	drop := func(list *[]types.ManagedObjectReference) {
		*list = slices.DeleteFunc(slices.Clone(*list), func(x types.ManagedObjectReference) bool { return x == ref })
	}
	if p := obj.(mo.Entity).Entity().Parent; p != nil {
		switch p := r.ctx.Map.Get(*p).(type) {
		case *simulator.Folder:
			drop(&p.ChildEntity)
		case *simulator.ResourcePool:
			drop(&p.ResourcePool.ResourcePool)
		}
	}
	drop(&r.s.inv.dc.Network)
	drop(&r.s.inv.cluster.Network)
	for _, h := range r.s.inv.hosts {
		if host, ok := r.ctx.Map.Get(h).(*simulator.HostSystem); ok {
			drop(&host.Network)
		}
	}
	for _, e := range r.ctx.Map.All("DistributedVirtualSwitch") {
		if dvs, ok := e.(*simulator.DistributedVirtualSwitch); ok {
			drop(&dvs.Portgroup)
		}
	}
}

// names finds the folders, pools and networks by their paths again.
func (r *restorer) names() {
	inv := &r.s.inv
	inv.mu.Lock()
	defer inv.mu.Unlock()
	clear(inv.folders)
	var folders func(ref types.ManagedObjectReference, path string)
	folders = func(ref types.ManagedObjectReference, path string) {
		if f, ok := r.ctx.Map.Get(ref).(*simulator.Folder); ok {
			inv.folders[path] = ref
			for _, c := range f.ChildEntity {
				if sub, ok := r.ctx.Map.Get(c).(*simulator.Folder); ok {
					folders(c, path+"/"+sub.Name)
				}
			}
		}
	}
	folders(inv.dc.VmFolder, "")
	root := inv.pools[""]
	clear(inv.pools)
	inv.pools["Resources"] = root
	var pools func(ref types.ManagedObjectReference, path string)
	pools = func(ref types.ManagedObjectReference, path string) {
		if p, ok := r.ctx.Map.Get(ref).(*simulator.ResourcePool); ok {
			inv.pools[path] = ref
			for _, c := range p.ResourcePool.ResourcePool {
				if sub, ok := r.ctx.Map.Get(c).(*simulator.ResourcePool); ok {
					pools(c, strings.TrimPrefix(path+"/"+sub.Name, "/"))
				}
			}
		}
	}
	pools(root, "")
	standard := inv.networks["VM Network"]
	clear(inv.networks)
	inv.networks["VM Network"] = standard
	for _, e := range r.ctx.Map.All("DistributedVirtualPortgroup") {
		g, ok := e.(*simulator.DistributedVirtualPortgroup)
		if !ok || g.Config.DistributedVirtualSwitch == nil {
			continue
		}
		if dvs, ok := r.ctx.Map.Get(*g.Config.DistributedVirtualSwitch).(*simulator.DistributedVirtualSwitch); ok {
			inv.networks[g.Name] = &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
				Port: types.DistributedVirtualSwitchPortConnection{PortgroupKey: g.Key, SwitchUuid: dvs.Uuid},
			}
		}
	}
}

func (r *restorer) authorization() error {
	raw, ok := r.old.records["authorization"]
	if !ok {
		return nil
	}
	var a authRecord
	if err := json.Unmarshal(raw, &a); err != nil {
		return err
	}
	var roles types.ArrayOfAuthorizationRole
	var permissions types.ArrayOfPermission
	if err := errors.Join(decodeVim(a.Roles, &roles), decodeVim(a.Permissions, &permissions)); err != nil {
		return err
	}
	s := r.s
	s.perms.mu.Lock()
	defer s.perms.mu.Unlock()
	s.authorization().RoleList = roles.AuthorizationRole
	s.perms.last = a.Next
	// Users whom the configuration has gained keep what it gives them.
	on := map[types.ManagedObjectReference][]types.Permission{}
	for _, p := range permissions.Permission {
		on[*p.Entity] = append(on[*p.Entity], p)
	}
	root := s.model.ServiceContent.RootFolder
	for _, p := range s.perms.on[root] {
		same := func(o types.Permission) bool { return o.Principal == p.Principal && o.Group == p.Group }
		if !slices.ContainsFunc(on[root], same) {
			on[root] = append(on[root], p)
		}
	}
	s.perms.on = on
	return nil
}
