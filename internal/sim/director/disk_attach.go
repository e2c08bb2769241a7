package director

import (
	"context"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/vim25/types"
)

// attachDisk puts an independent disk onto a VM, at a bus and unit if asked.
func (c *call) attachDisk() (*answer, error) {
	m, d, doc, err := c.diskAction()
	if err != nil {
		return nil, err
	}
	v := c.s.vdcs[m.vapp.vdc]
	switch {
	case d.attachedTo(m):
		return nil, badRequest("The disk %q is attached to VM %q already.", d.name, m.name)
	case len(d.vms) > 0 && d.sharing == "None":
		return nil, badRequest("The disk %q is attached to VM %q and cannot be shared.", d.name, d.vms[0].name)
	case d.vdc != v.id:
		return nil, badRequest("The disk %q is not in the VDC of VM %q.", d.name, m.name)
	case d.status != stateResolved:
		return nil, invalidState("The disk %q is not ready.", d.name)
	}
	if on := m.state() == stateOn; on && (d.adapter() == "1" || d.adapter() == "6" && m.facts.config.Version < "vmx-15") {
		return nil, invalidState("The disk %q cannot be attached to VM %q while it is running.", d.name, m.name)
	}
	change, adds, err := m.planAttach(d, value(doc, "BusNumber"), value(doc, "UnitNumber"))
	if err == nil && adds && d.sharing == "ControllerSharing" { // others can be added to a running VM
		err = m.cold("controllers")
	}
	if err != nil {
		return nil, err
	}
	t := c.start("vappAttachDisk", "Attaching Disk to Virtual Machine", vmOwner(m), func(ctx context.Context) error {
		if err := c.s.reconfigureDevices(ctx, m, change); err != nil {
			return err
		}
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		d.vms = append(d.vms, m)
		m.vapp.adopt()
		return nil
	})
	t.busy = append(t.busy, d.id)
	return c.accepted(t), nil
}

// diskAction reads what attaching and detaching have in common.
func (c *call) diskAction() (*vm, *disk, *node, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, nil, nil, err
	}
	doc, err := c.parse(nsVCloud, "DiskAttachOrDetachParams")
	if err != nil {
		return nil, nil, nil, err
	}
	d, err := c.diskNamed(attr(child(doc, "Disk"), "href"))
	if err != nil {
		return nil, nil, nil, err
	}
	if err := c.refresh(m); err != nil {
		return nil, nil, nil, err
	}
	if err := c.mayChange(m.vapp, m, accessChange); err != nil {
		return nil, nil, nil, err
	}
	if err := c.idle(d); err != nil {
		return nil, nil, nil, err
	}
	switch {
	case m.facts == nil || m.lost:
		err = invalidState("The VM %q is not available.", m.name)
	case m.state() == stateSuspended:
		err = invalidState("The disks of VM %q cannot be changed: it is suspended.", m.name)
	case m.facts.snapshots > 0:
		err = badRequest("The disks of VM %q cannot be changed: it has snapshots.", m.name)
	}
	return m, d, doc, err
}

// planAttach finds a place for a disk and makes the device changes; adds tells
// whether a controller is among them.
func (m *vm) planAttach(d *disk, busNumber, unitNumber string) (out []types.BaseVirtualDeviceConfigSpec, adds bool, err error) {
	b, unit, err := m.freePlace(d, busNumber, unitNumber)
	if err != nil {
		return nil, false, err
	}
	if adds = b.key < 0; adds {
		ctl := newController(d.adapter(), b.key, int32(b.number))
		if s, is := ctl.(types.BaseVirtualSCSIController); is && d.sharing == "ControllerSharing" {
			s.GetVirtualSCSIController().SharedBus = types.VirtualSCSISharingPhysicalSharing
		}
		out = append(out, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: ctl})
	}
	backing := &types.VirtualDiskFlatVer2BackingInfo{DiskMode: string(types.VirtualDiskModeIndependent_persistent),
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: d.path}}
	if d.sharing == "DiskSharing" {
		backing.Sharing = string(types.VirtualDiskSharingSharingMultiWriter)
	}
	u := int32(unit)
	return append(out, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{Key: -300, ControllerKey: b.key, UnitNumber: &u, Backing: backing},
		CapacityInKB:  d.sizeMB << 10, CapacityInBytes: d.sizeMB << 20}}), adds, nil
}

// freePlace is a controller that a disk fits on and a unit of it. A controller
// whose key is negative has to be made.
func (m *vm) freePlace(d *disk, busNumber, unitNumber string) (bus, int, error) {
	taken := map[int32]map[int]bool{}
	numbers := map[int]bool{} // of the kind's controllers
	var fits []bus
	for _, dev := range m.facts.devices() {
		v := dev.GetVirtualDevice()
		if taken[v.ControllerKey] == nil {
			taken[v.ControllerKey] = map[int]bool{7: true}
		}
		taken[v.ControllerKey][unitOf(dev)] = true
		b, is := busOf(dev)
		if !is || num(b.kind) != d.busType || b.kind == 20 && b.subType != d.busSub {
			continue
		}
		numbers[b.number] = true
		if b.subType == d.busSub && sharedBus(dev) == (d.sharing == "ControllerSharing") {
			fits = append(fits, b)
		}
	}
	sortBy(fits, func(a, b bus) bool { return a.number < b.number })
	units := map[string]int{"1": 2, "6": 30, "7": 15}[d.adapter()]
	if units == 0 {
		units = 16
	}
	free := func(b bus) int {
		for u := range units {
			if !taken[b.key][u] && (units != 16 || u != 7) {
				return u
			}
		}
		return -1
	}
	for _, b := range fits {
		if busNumber != "" && num(b.number) != busNumber {
			continue
		}
		u := free(b)
		if unitNumber != "" {
			if u = atoi(unitNumber); u < 0 || u >= units || taken[b.key][u] && (u != 7 || units == 16) {
				if busNumber == "" {
					continue
				}
				return bus{}, 0, badRequest("Unit %s of bus %d of VM %q is taken, or there is none.", unitNumber, b.number, m.name)
			}
		}
		if u >= 0 {
			return b, u, nil
		}
	}
	for n := range 4 {
		if busNumber != "" && num(n) != busNumber || d.busType == "5" {
			continue
		}
		if u := atoi(unitNumber); !numbers[n] && u >= 0 && u < units && (units != 16 || u != 7) {
			return bus{key: -50, number: n}, u, nil
		}
	}
	return bus{}, 0, badRequest("There is no place for disk %q at bus %q, unit %q of VM %q.", d.name, busNumber, unitNumber, m.name)
}

func sharedBus(d types.BaseVirtualDevice) bool {
	s, is := d.(types.BaseVirtualSCSIController)
	return is && s.GetVirtualSCSIController().SharedBus != types.VirtualSCSISharingNoSharing && s.GetVirtualSCSIController().SharedBus != ""
}

// reconfigureDevices changes a VM's devices in vCenter and reads it anew.
func (s *Server) reconfigureDevices(ctx context.Context, m *vm, changes []types.BaseVirtualDeviceConfigSpec) error {
	obj, err := m.vc.vm(ctx, m.moref)
	if err != nil {
		return err
	}
	t, err := obj.Reconfigure(ctx, types.VirtualMachineConfigSpec{DeviceChange: changes})
	if err := await(ctx, t, err); err != nil {
		return fmt.Errorf("VM %s: %w", m.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refresh(ctx, m)
}

// detachDisk takes an independent disk from a VM; its file stays.
func (c *call) detachDisk() (*answer, error) {
	m, d, _, err := c.diskAction()
	if err != nil {
		return nil, err
	}
	if !d.attachedTo(m) {
		return nil, badRequest("The disk %q is not attached to VM %q.", d.name, m.name)
	}
	if m.state() == stateOn && d.busType == "5" {
		return nil, invalidState("The disk %q cannot be detached from VM %q while it is running.", d.name, m.name)
	}
	t := c.start("vappDetachDisk", "Detaching Disk from Virtual Machine", vmOwner(m), func(ctx context.Context) error {
		return c.s.detach(ctx, m, d)
	})
	t.busy = append(t.busy, d.id)
	return c.accepted(t), nil
}

// detach removes the device of a disk.
func (s *Server) detach(ctx context.Context, m *vm, d *disk) error {
	s.mu.Lock()
	var changes []types.BaseVirtualDeviceConfigSpec
	if m.facts != nil {
		for _, dev := range m.facts.disks() {
			if s.namedDisk(m, dev) == d {
				changes = append(changes, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: dev})
			}
		}
	}
	s.mu.Unlock()
	if len(changes) > 0 {
		if err := s.reconfigureDevices(ctx, m, changes); err != nil && !gone(err) {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.vms = slices.DeleteFunc(d.vms, func(v *vm) bool { return v == m })
	return nil
}

// detachAll takes every independent disk from a VM that is about to go: they
// outlive it.
func (s *Server) detachAll(ctx context.Context, m *vm) error {
	s.mu.Lock()
	disks := s.disksOf(m)
	if len(disks) > 0 {
		// Its devices as they are now; one that is gone has none.
		_ = s.refresh(ctx, m)
	}
	s.mu.Unlock()
	for _, d := range disks {
		if err := s.detach(ctx, m, d); err != nil {
			return err
		}
	}
	return nil
}

// follow hands what hangs from a VM to the one that takes its place.
func (s *Server) follow(from, to *vm) {
	for _, d := range s.disks {
		if i := slices.Index(d.vms, from); i >= 0 {
			d.vms[i] = to
		}
	}
	to.inserted, to.placement, to.customized, to.noTools, to.cpuType = from.inserted, from.placement, from.customized, from.noTools, from.cpuType
}
