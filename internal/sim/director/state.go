package director

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/vim25/types"
)

// refresh reads VMs' facts. The server's mutex is held when it is called and
// when it returns, but not while a vCenter is asked.
func (s *Server) refresh(ctx context.Context, vms ...*vm) error {
	asked := map[*vcenter][]string{}
	for _, m := range vms {
		if !m.creating {
			asked[m.vc] = append(asked[m.vc], m.moref)
		}
	}
	got := map[*vcenter]map[string]*facts{}
	s.mu.Unlock()
	var failed error
	for vc, morefs := range asked {
		f, err := vc.read(ctx, morefs)
		if err != nil {
			failed = refuse(500, "INTERNAL_SERVER_ERROR", "vCenter %s: %s", vc.name, err)
			break
		}
		got[vc] = f
	}
	s.mu.Lock()
	if failed != nil {
		return failed
	}
	for _, m := range vms {
		if m.creating || got[m.vc] == nil {
			continue
		}
		f := got[m.vc][m.moref]
		m.lost = f == nil
		if f != nil && (m.facts == nil || !f.read.Before(m.facts.read)) {
			m.facts, m.seen = f, f.sight()
			m.syncCards()
			s.remember(m)
		}
	}
	s.dropFacts()
	return nil
}

// noNetwork is what vCD calls a NIC's network when it has none.
const (
	noNetwork     = "none"
	noNetworkText = "This is a special place-holder used for disconnected network interfaces."
)

// syncCards brings the NICs in line with the VM's network devices.
func (m *vm) syncCards() {
	m.adopt()
	byKey := map[int32]*nic{}
	for _, n := range m.nics {
		byKey[n.key] = n
	}
	bindCards(m.nics, m.facts.cards(), byKey)
	m.bindDisks()
	var nics []*nic
	for _, card := range m.facts.cards() {
		e := card.GetVirtualEthernetCard()
		n := byKey[e.Key]
		if n == nil {
			n = &nic{key: e.Key, index: m.freeIndex(nics), network: noNetwork, mode: "NONE"}
		}
		n.mac, n.adapter = strings.ToLower(e.MacAddress), adapter(card)
		nics = append(nics, n)
	}
	sortBy(nics, func(a, b *nic) bool { return a.index < b.index })
	m.nics = nics
}

// bindCards gives NICs whose device nobody has looked at yet theirs, in the
// order of both.
func bindCards(nics []*nic, cards []types.BaseVirtualEthernetCard, byKey map[int32]*nic) {
	for _, card := range cards {
		key := card.GetVirtualEthernetCard().Key
		i := slices.IndexFunc(nics, func(n *nic) bool { return n.key == unbound })
		if i < 0 {
			return
		}
		if byKey[key] == nil {
			nics[i].key, byKey[key] = key, nics[i]
		}
	}
}

// unbound is the key of a NIC until its device was looked at. No device has it.
const unbound = 0

// bindDisks does the same for the storage profiles of disks.
func (m *vm) bindDisks() {
	if m.diskOrder == nil {
		return
	}
	disks := m.facts.disks()
	sortBy(disks, func(a, b *types.VirtualDisk) bool { return a.Key < b.Key })
	for i, id := range m.diskOrder {
		if id != "" && i < len(disks) {
			m.diskProfiles[disks[i].Key] = id
		}
	}
	m.diskOrder = nil
}

// freeIndex is the lowest index that neither the VM's NICs nor those have.
func (m *vm) freeIndex(others []*nic) int {
	for i := 0; ; i++ {
		taken := func(n *nic) bool { return n.index == i }
		if !slices.ContainsFunc(m.nics, taken) && !slices.ContainsFunc(others, taken) {
			return i
		}
	}
}

// onNone tells whether a NIC of the vApp is on no network.
func (a *vapp) onNone() bool {
	for _, m := range a.vms {
		for _, n := range m.nics {
			if n.network == noNetwork {
				return true
			}
		}
	}
	return false
}

// netNamed is the vApp's network of that name.
func (a *vapp) netNamed(name string) *vappNet {
	for _, n := range a.nets {
		if n.name == name {
			return n
		}
	}
	return nil
}

// changeCards writes NICs to the VM's devices in vCenter: MAC address,
// connection, and the port group where the network has one. NICs whose key is
// negative are added, devices that no NIC has are removed.
func (s *Server) changeCards(ctx context.Context, m *vm, nics []*nic, portgroups map[string]string) error {
	obj, err := m.vc.vm(ctx, m.moref)
	if err != nil {
		return err
	}
	got, err := m.vc.read(ctx, []string{m.moref})
	if err != nil {
		return err
	}
	f := got[m.moref]
	if f == nil {
		return refuse(404, "NOT_FOUND", "The VM %s is not in vCenter.", m.name)
	}
	var spec types.VirtualMachineConfigSpec
	change := func(op types.VirtualDeviceConfigSpecOperation, d types.BaseVirtualDevice) {
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: op, Device: d})
	}
	keep := map[int32]*nic{}
	for _, n := range nics {
		keep[n.key] = n
	}
	delete(keep, unbound)
	bindCards(nics, f.cards(), keep)
	for _, card := range f.cards() {
		e := card.GetVirtualEthernetCard()
		n := keep[e.Key]
		if n == nil || !strings.EqualFold(n.adapter, adapter(card)) {
			change(types.VirtualDeviceConfigSpecOperationRemove, card.(types.BaseVirtualDevice))
			if n != nil {
				n.key = -1
			}
			continue
		}
		changed, err := m.vc.configureCard(ctx, e, n, portgroups[n.network])
		if err != nil {
			return err
		}
		if changed {
			change(types.VirtualDeviceConfigSpecOperationEdit, card.(types.BaseVirtualDevice))
		}
	}
	for i, n := range nics {
		if n.key >= 0 {
			continue
		}
		card := newCard(n.adapter)
		e := card.GetVirtualEthernetCard()
		e.Key = int32(-100 - i)
		if e.Backing, err = m.vc.backing(ctx, portgroups[n.network]); err != nil {
			return err
		}
		if _, err := m.vc.configureCard(ctx, e, n, ""); err != nil {
			return err
		}
		change(types.VirtualDeviceConfigSpecOperationAdd, card.(types.BaseVirtualDevice))
	}
	if len(spec.DeviceChange) == 0 {
		return nil
	}
	t, err := obj.Reconfigure(ctx, spec)
	return await(ctx, t, err)
}

// configureCard sets a device as a NIC says, and tells whether that changed it.
func (vc *vcenter) configureCard(ctx context.Context, e *types.VirtualEthernetCard, n *nic, portgroup string) (bool, error) {
	changed := false
	if n.mac != "" && !strings.EqualFold(e.MacAddress, n.mac) {
		e.MacAddress, e.AddressType, changed = n.mac, string(types.VirtualEthernetCardMacTypeManual), true
	}
	if e.Connectable == nil {
		e.Connectable = &types.VirtualDeviceConnectInfo{AllowGuestControl: true}
		changed = true
	}
	if e.Connectable.StartConnected != n.connected {
		e.Connectable.StartConnected, changed = n.connected, true
	}
	if portgroup == "" {
		return changed, nil
	}
	b, err := vc.backing(ctx, portgroup)
	if err != nil {
		return false, err
	}
	if !sameNetwork(e.Backing, b) {
		e.Backing, changed = b, true
	}
	return changed, nil
}

// backing puts a device on a vCenter network; on any when the name is empty.
func (vc *vcenter) backing(ctx context.Context, network string) (types.BaseVirtualDeviceBackingInfo, error) {
	c, err := vc.connect(ctx)
	if err != nil {
		return nil, err
	}
	f := find.NewFinder(c)
	dc, err := f.DatacenterList(ctx, "*")
	if err != nil {
		return nil, fmt.Errorf("datacenters: %w", err)
	}
	f.SetDatacenter(dc[0])
	nets, err := f.NetworkList(ctx, or(network, "*"))
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", network, err)
	}
	for _, n := range nets {
		// Switches are listed with the networks; nothing can be put on one.
		if b, err := n.EthernetCardBackingInfo(ctx); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("network %s: no device can be put on it", network)
}

// sameNetwork compares the networks of two backings.
func sameNetwork(a, b types.BaseVirtualDeviceBackingInfo) bool {
	switch x := a.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		y, is := b.(*types.VirtualEthernetCardNetworkBackingInfo)
		return is && x.DeviceName == y.DeviceName
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		y, is := b.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo)
		return is && x.Port.PortgroupKey == y.Port.PortgroupKey
	}
	return false
}
