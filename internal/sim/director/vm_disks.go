package director

import (
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// A diskWish is a disk as a client wants it. Without an id it is new.
type diskWish struct {
	id        string
	sizeMB    int64
	bus, unit int
	adapter   string // as in VmSpecSection; "" for the place that it has, or the first SCSI controller
	thin      *bool
	profile   string // where it is not the VM's
	iops      int64
	named     string // href of an independent disk
}

// A diskChange collects what becomes of a VM's disks.
type diskChange struct {
	c       *call
	m       *vm
	p       *vmPlan
	have    map[string]*types.VirtualDisk
	kept    map[string]bool
	changes []types.BaseVirtualDeviceConfigSpec
	added   map[string]int32 // controllers by adapter and bus
	taken   map[string]bool  // units
}

// planDisks turns wishes into device changes: a disk that is not wished for
// goes, unless it is an independent one, which is attached and detached only.
func (c *call) planDisks(m *vm, wishes []diskWish, p *vmPlan) error {
	ch := &diskChange{c: c, m: m, p: p, have: map[string]*types.VirtualDisk{}, kept: map[string]bool{}, added: map[string]int32{}, taken: map[string]bool{}}
	for _, d := range m.ownDisks(c.s) {
		ch.have[num(d.Key)] = d
	}
	p.profiles, p.moves = map[int32]string{}, map[int32]string{}
	for i, w := range wishes {
		if err := ch.wish(i, w); err != nil {
			return err
		}
	}
	for _, id := range keys(ch.have) {
		if ch.kept[id] {
			continue
		}
		d := ch.have[id]
		if err := m.coldIDE(d, "removed"); err != nil {
			return err
		}
		ch.change(types.VirtualDeviceConfigSpecOperationRemove, types.VirtualDeviceConfigSpecFileOperationDestroy, d)
	}
	if len(ch.changes) == 0 {
		return nil
	}
	if m.facts != nil && m.facts.snapshots > 0 {
		return badRequest(frozenDisks, m.name)
	}
	if m.state() == stateSuspended {
		return invalidState("The disks of VM %q cannot be changed: it is suspended.", m.name)
	}
	// Disks make room before others take it.
	sortBy(ch.changes, func(a, b types.BaseVirtualDeviceConfigSpec) bool { return changeRank(a) < changeRank(b) })
	p.set(func(s *types.VirtualMachineConfigSpec) { s.DeviceChange = append(s.DeviceChange, ch.changes...) })
	return nil
}

const frozenDisks = "The disks of VM %q cannot be modified while the virtual machine has snapshots."

func changeRank(b types.BaseVirtualDeviceConfigSpec) int {
	s := b.GetVirtualDeviceConfigSpec()
	_, disk := s.Device.(*types.VirtualDisk)
	switch {
	case s.Operation == types.VirtualDeviceConfigSpecOperationRemove && disk:
		return 0
	case s.Operation == types.VirtualDeviceConfigSpecOperationRemove:
		return 1
	case !disk:
		return 2
	case s.Operation == types.VirtualDeviceConfigSpecOperationEdit:
		return 3
	}
	return 4
}

func (ch *diskChange) change(op types.VirtualDeviceConfigSpecOperation, file types.VirtualDeviceConfigSpecFileOperation, d types.BaseVirtualDevice) {
	ch.changes = append(ch.changes, &types.VirtualDeviceConfigSpec{Operation: op, FileOperation: file, Device: d})
}

// wish plans one disk.
func (ch *diskChange) wish(i int, w diskWish) error {
	if w.named != "" {
		if d := ch.c.s.disks[uuidIn(w.named)]; d == nil || !d.attachedTo(ch.m) {
			return badRequest("The independent disk %s is not attached to VM %q: attach it first.", w.named, ch.m.name)
		}
		return nil
	}
	if w.sizeMB < 1 || w.sizeMB > maxDiskMB {
		return badRequest("A disk of VM %q cannot have %d MB.", ch.m.name, w.sizeMB)
	}
	d := ch.have[w.id]
	if d == nil {
		// An id that the VM does not know is the client's own for a new
		// disk; one of a device's is a mistake.
		if n := atoi(w.id); w.id != "" && n >= 2000 && n < 70000 {
			return badRequest("The disk %s does not exist in VM %q.", w.id, ch.m.name)
		}
		return ch.add(i, w)
	}
	if ch.kept[w.id] {
		return badRequest("The disk %s of VM %q is there twice.", w.id, ch.m.name)
	}
	ch.kept[w.id] = true
	return ch.keep(w, d)
}

// add plans a new disk.
func (ch *diskChange) add(i int, w diskWish) error {
	ctl, err := ch.controller(w.adapter, w.bus)
	if err != nil {
		return err
	}
	if err := ch.place(ctl, w); err != nil {
		return err
	}
	backing := &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent", ThinProvisioned: types.NewBool(w.thin == nil || *w.thin)}
	home := ""
	if ch.m.facts != nil {
		home = ch.m.facts.homeName
	}
	pr := ch.c.s.profiles[or(w.profile, ch.p.profile, ch.m.profile)]
	if pr != nil {
		home = or(pr.storeBesides(home), home)
	}
	if home != "" {
		backing.FileName = "[" + home + "]"
	}
	unit, size := int32(w.unit), w.sizeMB<<20
	disk := &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{Key: int32(-200 - i), ControllerKey: ctl, UnitNumber: &unit, Backing: backing},
		CapacityInKB:  size >> 10, CapacityInBytes: size,
	}
	if w.iops > 0 {
		disk.StorageIOAllocation = &types.StorageIOAllocationInfo{Limit: &w.iops}
	}
	ch.change(types.VirtualDeviceConfigSpecOperationAdd, types.VirtualDeviceConfigSpecFileOperationCreate, disk)
	ch.p.fresh = append(ch.p.fresh, w)
	return nil
}

// keep plans what changes of a disk that stays.
func (ch *diskChange) keep(w diskWish, old *types.VirtualDisk) error {
	m, d := ch.m, *old // facts are not written to
	if w.profile != "" {
		ch.p.profiles[d.Key] = w.profile
	}
	if to := or(w.profile, ch.p.profile); to != "" && to != or(m.diskProfiles[d.Key], m.profile) {
		ch.p.moves[d.Key] = to
	}
	changed := false
	switch now := capacity(old) >> 20; {
	case w.sizeMB < now:
		return badRequest("The disk %s of VM %q cannot shrink.", w.id, m.name)
	case w.sizeMB > now:
		if err := m.coldIDE(old, "resized"); err != nil {
			return err
		}
		if _, files := backing(old); files > 1 { // of a linked clone, say: it must be consolidated first
			return badRequest(frozenDisks, m.name)
		}
		d.CapacityInKB, d.CapacityInBytes, changed = w.sizeMB<<10, w.sizeMB<<20, true
	}
	b, _ := m.facts.busOfDisk(old)
	if w.adapter != "" && (adapterTypes[b.subType] != w.adapter || b.number != w.bus || unitOf(old) != w.unit) {
		if err := m.cold("place of disk " + w.id); err != nil {
			return err
		}
		ctl, err := ch.controller(w.adapter, w.bus)
		if err != nil {
			return err
		}
		if err := ch.place(ctl, w); err != nil {
			return err
		}
		unit := int32(w.unit)
		d.ControllerKey, d.UnitNumber, changed = ctl, &unit, true
	}
	if w.iops > 0 && w.iops != iopsOf(old) {
		d.StorageIOAllocation, changed = &types.StorageIOAllocationInfo{Limit: &w.iops}, true
	}
	if changed {
		ch.change(types.VirtualDeviceConfigSpecOperationEdit, "", &d)
	}
	return nil
}

// coldIDE refuses what hardware cannot do with an IDE disk of a running VM.
func (m *vm) coldIDE(d *types.VirtualDisk, what string) error {
	if b, found := m.facts.busOfDisk(d); found && b.kind == 5 && m.state() != stateOff {
		return invalidState("The disk %d of VM %q is on an IDE controller: it cannot be %s while the VM is not powered off.", d.Key, m.name, what)
	}
	return nil
}

func unitOf(d types.BaseVirtualDevice) int {
	if u := d.GetVirtualDevice().UnitNumber; u != nil {
		return int(*u)
	}
	return 0
}

func iopsOf(d *types.VirtualDisk) int64 {
	if a := d.StorageIOAllocation; a != nil && a.Limit != nil && *a.Limit > 0 {
		return *a.Limit
	}
	return 0
}

// busOfDisk is the controller that a disk hangs from.
func (f *facts) busOfDisk(d *types.VirtualDisk) (bus, bool) {
	for _, dev := range f.devices() {
		if dev.GetVirtualDevice().Key == d.ControllerKey {
			return busOf(dev)
		}
	}
	return bus{}, false
}

// diskAt is the disk at the place of a wish.
func (f *facts) diskAt(w diskWish) *types.VirtualDisk {
	for _, d := range f.disks() {
		b, _ := f.busOfDisk(d)
		if (adapterTypes[b.subType] == w.adapter || w.adapter == "" && b.kind == 6) && b.number == w.bus && unitOf(d) == w.unit {
			return d
		}
	}
	return nil
}

// place takes a unit of a controller for a disk.
func (ch *diskChange) place(ctl int32, w diskWish) error {
	units := map[string]int{"1": 2, "6": 30, "7": 15, "5": 64}[w.adapter]
	if units == 0 {
		units = 16
	}
	scsi := units == 16 || units == 64
	if w.unit < 0 || w.unit >= units || scsi && w.unit == 7 {
		return badRequest("There is no unit %d on a controller of type %s.", w.unit, w.adapter)
	}
	key := num(ctl) + ":" + num(w.unit)
	busy := ch.taken[key]
	if ch.m.facts != nil && ctl >= 0 {
		for _, dev := range ch.m.facts.devices() {
			// A disk that goes or moves makes room; vCenter has the last word.
			_, disk := dev.(*types.VirtualDisk)
			v := dev.GetVirtualDevice()
			busy = busy || !disk && v.ControllerKey == ctl && v.UnitNumber != nil && int(*v.UnitNumber) == w.unit
		}
	}
	if busy {
		return badRequest("Unit %d of the controller of type %s with bus number %d is taken.", w.unit, w.adapter, w.bus)
	}
	ch.taken[key] = true
	return nil
}

// newController makes a controller as VmSpecSection numbers them.
func newController(adapter string, key, bus int32) types.BaseVirtualDevice {
	ctl := types.VirtualController{VirtualDevice: types.VirtualDevice{Key: key}, BusNumber: bus}
	scsi := types.VirtualSCSIController{VirtualController: ctl, SharedBus: types.VirtualSCSISharingNoSharing, ScsiCtlrUnitNumber: 7}
	switch adapter {
	case "2":
		return &types.VirtualBusLogicController{VirtualSCSIController: scsi}
	case "3":
		return &types.VirtualLsiLogicController{VirtualSCSIController: scsi}
	case "4":
		return &types.VirtualLsiLogicSASController{VirtualSCSIController: scsi}
	case "5":
		return &types.ParaVirtualSCSIController{VirtualSCSIController: scsi}
	case "6":
		return &types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: ctl}}
	case "7":
		return &types.VirtualNVMEController{VirtualController: ctl}
	}
	return nil
}

// controller is the device key of a controller, which is made if need be.
func (ch *diskChange) controller(adapter string, number int) (int32, error) {
	m := ch.m
	if number < 0 || number > 3 || adapter == "1" && number > 1 {
		return 0, badRequest("There is no bus number %d for controllers of type %s.", number, adapter)
	}
	id := adapter + ":" + num(number)
	if key, found := ch.added[id]; found {
		return key, nil
	}
	if m.facts != nil {
		for _, dev := range m.facts.devices() {
			b, is := busOf(dev)
			if !is {
				continue
			}
			if adapter == "" && b.kind == 6 || adapterTypes[b.subType] == adapter && b.number == number {
				return b.key, nil
			}
			if b.kind == 6 && b.number == number && strings.Contains("2345", adapter) && adapter != "" {
				if err := ch.replace(b, dev, adapter); err != nil {
					return 0, err
				}
			}
		}
	} else if adapter == "1" {
		return int32(200 + number), nil // every VM has both
	}
	dev := newController(or(adapter, "5"), int32(-1-len(ch.added)), int32(number))
	if dev == nil {
		return 0, badRequest("The VM %q has no controller of type %s with bus number %d, and none can be added.", m.name, adapter, number)
	}
	if err := m.cold("controllers"); err != nil {
		return 0, err
	}
	ch.added[id] = dev.GetVirtualDevice().Key
	ch.change(types.VirtualDeviceConfigSpecOperationAdd, "", dev)
	return dev.GetVirtualDevice().Key, nil
}

// replace takes away a SCSI controller without disks, so that one of another
// type can have its bus number.
func (ch *diskChange) replace(b bus, dev types.BaseVirtualDevice, adapter string) error {
	for _, d := range ch.m.facts.disks() {
		if d.ControllerKey == b.key {
			return badRequest("The SCSI controller with bus number %d of VM %q is of type %s, not %s.", b.number, ch.m.name, adapterTypes[b.subType], adapter)
		}
	}
	ch.change(types.VirtualDeviceConfigSpecOperationRemove, "", dev)
	return nil
}

// ownDisks are a VM's disks that are not independent ones.
func (m *vm) ownDisks(s *Server) []*types.VirtualDisk {
	if m.facts == nil {
		return nil
	}
	var out []*types.VirtualDisk
	for _, d := range m.facts.disks() {
		if s.namedDisk(m, d) == nil {
			out = append(out, d)
		}
	}
	return out
}

// checkGrowth refuses a plan that takes more storage than a profile has left.
func (c *call) checkGrowth(m *vm, p *vmPlan) error {
	grown := map[string]int64{}
	for _, b := range p.spec.DeviceChange {
		spec := b.GetVirtualDeviceConfigSpec()
		d, is := spec.Device.(*types.VirtualDisk)
		if !is {
			continue
		}
		switch spec.Operation {
		case types.VirtualDeviceConfigSpecOperationEdit:
			for _, old := range m.facts.disks() {
				if old.Key == d.Key {
					grown[or(m.diskProfiles[d.Key], m.profile)] += (capacity(d) - capacity(old)) >> 20
				}
			}
		case types.VirtualDeviceConfigSpecOperationRemove:
			grown[or(m.diskProfiles[d.Key], m.profile)] -= capacity(d) >> 20
		}
	}
	for key, to := range p.moves {
		for _, d := range m.facts.disks() {
			if d.Key == key {
				grown[to] += capacity(d) >> 20
			}
		}
	}
	if p.profile != "" && p.profile != m.profile && len(p.moves) == 0 {
		for _, d := range m.ownDisks(c.s) {
			if m.diskProfiles[d.Key] == "" {
				grown[p.profile] += capacity(d) >> 20
			}
		}
	}
	for _, w := range p.fresh {
		grown[or(w.profile, p.profile, m.profile)] += w.sizeMB
	}
	var all int64
	for _, id := range keys(grown) {
		all += max(grown[id], 0)
		if err := c.s.checkStorage(c.s.profiles[id], grown[id]); err != nil {
			return err
		}
	}
	if p.cards != nil {
		if err := c.s.checkNICQuota(c.s.vdcs[m.vapp.vdc], len(p.cards.nics)-len(m.nics)); err != nil {
			return err
		}
	}
	vms := 0
	if m.creating {
		vms = 1
	}
	return c.s.checkStoredQuota(m.vapp, vms, all)
}
