package director

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// portgroups are the networks of vCenter that the vApp's are on: the org
// network's where it is bridged, its own where it is deployed.
func (s *Server) portgroups(a *vapp) map[string]string {
	out := map[string]string{}
	for _, n := range a.nets {
		if n.mode() != "bridged" {
			out[n.name] = n.portgroup
		} else if p := s.nets[n.parent]; p != nil {
			out[n.name] = p.portgroup
		}
	}
	return out
}

// raise makes the port groups of a deployed vApp's own networks, as vCD does
// from a network pool, and puts its NICs on them.
func (s *Server) raise(ctx context.Context, a *vapp) error {
	s.mu.Lock()
	vc := s.vdcs[a.vdc].vc
	wanted := map[*vappNet]string{}
	for _, n := range a.nets {
		if n.mode() != "bridged" && n.portgroup == "" {
			// The name that vCD gives what it makes in vCenter.
			wanted[n] = "dvs.VCDVS" + n.name + "-" + n.id
		}
	}
	s.mu.Unlock()
	made := false
	for n, name := range wanted {
		name, err := vc.addPortgroup(ctx, name)
		if err != nil {
			return fmt.Errorf("network %s: %w", n.name, err)
		}
		s.mu.Lock()
		n.portgroup, made = name, made || name != ""
		s.mu.Unlock()
	}
	if !made {
		return nil
	}
	return s.replug(ctx, s.vmsOn(vc, a))
}

// lower takes the port groups of a vApp that is not deployed any more out of
// vCenter. The NICs go to a network that every VM can be on, and are not
// connected there: a port group that is in use cannot go.
func (s *Server) lower(ctx context.Context, a *vapp) error {
	s.mu.Lock()
	vc := s.vdcs[a.vdc].vc
	var names []string
	own := map[string]*vappNet{}
	for _, n := range a.nets {
		if n.portgroup != "" {
			names, own[n.portgroup] = append(names, n.portgroup), n
		}
	}
	s.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	for _, m := range s.vmsOn(vc, a) {
		if err := s.unplug(ctx, m, names); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := vc.removePortgroup(ctx, name); err != nil {
			return fmt.Errorf("port group %s: %w", name, err)
		}
		s.mu.Lock()
		own[name].portgroup = "" // not before: nobody else knows of it
		s.mu.Unlock()
	}
	return nil
}

func (s *Server) vmsOn(vc *vcenter, a *vapp) []*vm {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*vm
	for _, m := range a.vms {
		if m.vc == vc && !m.lost {
			out = append(out, m)
		}
	}
	return out
}

// unplug moves a VM's devices off those port groups.
func (s *Server) unplug(ctx context.Context, m *vm, names []string) error {
	got, err := m.vc.read(ctx, []string{m.moref})
	if err != nil || got[m.moref] == nil {
		return err
	}
	gone := map[string]bool{}
	for _, name := range names {
		b, err := m.vc.backing(ctx, name)
		if err != nil {
			return err
		}
		if d, is := b.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo); is {
			gone[d.Port.PortgroupKey] = true
		}
	}
	var spec types.VirtualMachineConfigSpec
	for _, card := range got[m.moref].cards() {
		e := card.GetVirtualEthernetCard()
		d, is := e.Backing.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo)
		if !is || !gone[d.Port.PortgroupKey] {
			continue
		}
		e.Backing = &types.VirtualEthernetCardNetworkBackingInfo{
			VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VM Network"}}
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: card.(types.BaseVirtualDevice)})
	}
	if len(spec.DeviceChange) == 0 {
		return nil
	}
	obj, err := m.vc.vm(ctx, m.moref)
	if err != nil {
		return err
	}
	t, err := obj.Reconfigure(ctx, spec)
	return await(ctx, t, err)
}

// addPortgroup makes a port group on the first switch that there is, and
// returns its name; "" where the vCenter has no distributed switch. One of that
// name that exists already is taken over.
func (vc *vcenter) addPortgroup(ctx context.Context, name string) (string, error) {
	// A slash is the separator of inventory paths, in which vCenter escapes it.
	name = strings.NewReplacer("/", "%2f", "\\", "%5c", "%", "%25", "*", "_", "?", "_", "[", "_").Replace(name)
	c, err := vc.connect(ctx)
	if err != nil {
		return "", err
	}
	f := find.NewFinder(c)
	dcs, err := f.DatacenterList(ctx, "*")
	if err != nil {
		return "", err
	}
	f.SetDatacenter(dcs[0])
	nets, err := f.NetworkList(ctx, "*")
	if err != nil {
		return "", err
	}
	for _, n := range nets {
		dvs, is := n.(*object.DistributedVirtualSwitch)
		if !is {
			continue
		}
		t, err := dvs.AddPortgroup(ctx, []types.DVPortgroupConfigSpec{{
			Name: name, Type: string(types.DistributedVirtualPortgroupPortgroupTypeEphemeral), NumPorts: 0,
		}})
		if err := await(ctx, t, err); err != nil && !strings.Contains(err.Error(), "already exists") {
			return "", err
		}
		return name, nil
	}
	return "", nil
}

func (vc *vcenter) removePortgroup(ctx context.Context, name string) error {
	c, err := vc.connect(ctx)
	if err != nil {
		return err
	}
	f := find.NewFinder(c)
	dcs, err := f.DatacenterList(ctx, "*")
	if err != nil {
		return err
	}
	f.SetDatacenter(dcs[0])
	nets, err := f.NetworkList(ctx, name)
	if err != nil {
		return nil //nolint:nilerr // it is gone already
	}
	for _, n := range nets {
		if pg, is := n.(*object.DistributedVirtualPortgroup); is {
			var m mo.DistributedVirtualPortgroup
			if err := pg.Properties(ctx, pg.Reference(), []string{"vm"}, &m); err == nil && len(m.Vm) > 0 {
				return fmt.Errorf("%d VMs are on it", len(m.Vm))
			}
			t, err := pg.Destroy(ctx)
			return await(ctx, t, err)
		}
	}
	return nil
}

// isUplink says that vCenter has marked a port group as a switch's uplinks,
// where no VM can be: vCD does not offer it as the backing of a network.
func isUplink(tags []types.Tag) bool {
	return slices.ContainsFunc(tags, func(t types.Tag) bool { return t.Key == "SYSTEM/DVS.UPLINKPG" })
}

// listPortgroups are the networks that port groups make.
func (vc *vcenter) listPortgroups(ctx context.Context) ([]portgroup, error) {
	all, err := vc.listNetworks(ctx)
	return slices.DeleteFunc(all, func(p portgroup) bool { return p.typ == typeSwitch }), err
}

// listSwitches are the distributed switches.
func (vc *vcenter) listSwitches(ctx context.Context) ([]portgroup, error) {
	all, err := vc.listNetworks(ctx)
	return slices.DeleteFunc(all, func(p portgroup) bool { return p.typ != typeSwitch }), err
}

// typeSwitch marks a switch among networks.
const typeSwitch = "SWITCH"

// listNetworks are the networks and the distributed switches.
func (vc *vcenter) listNetworks(ctx context.Context) ([]portgroup, error) {
	c, err := vc.connect(ctx)
	if err != nil {
		return nil, err
	}
	f := find.NewFinder(c)
	dcs, err := f.DatacenterList(ctx, "*")
	if err != nil {
		return nil, err
	}
	var out []portgroup
	for _, dc := range dcs {
		f.SetDatacenter(dc)
		nets, err := f.NetworkList(ctx, "*")
		if err != nil {
			return nil, err
		}
		for _, n := range nets {
			switch t := n.(type) {
			case *object.DistributedVirtualPortgroup:
				var pg mo.DistributedVirtualPortgroup
				if err := t.Properties(ctx, t.Reference(), []string{"tag"}, &pg); err != nil {
					return nil, err
				}
				if !isUplink(pg.Tag) {
					out = append(out, portgroup{t.Reference().Value, t.Name(), "DV_PORTGROUP"})
				}
			case *object.DistributedVirtualSwitch:
				out = append(out, portgroup{t.Reference().Value, t.Name(), typeSwitch})
			case *object.Network:
				out = append(out, portgroup{t.Reference().Value, t.Name(), "NETWORK"})
			}
		}
	}
	return out, nil
}
