package vsphere

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// An Attach is a disk file and the place in a VM where it belongs. It can be
// kept as JSON.
type Attach struct {
	Key        int32  `json:"key"` // device key; vCenter decides, it is this one as a rule
	File       string `json:"file"`
	Controller string `json:"controller"` // type: pvscsi, lsilogic, lsisas, buslogic, ahci, nvme, ide
	Bus        int32  `json:"bus"`        // number of the controller
	Unit       int32  `json:"unit"`
	Capacity   int64  `json:"capacity"` // bytes
	Thin       bool   `json:"thin,omitempty"`
	Mode       string `json:"mode,omitempty"`    // "" is persistent
	Sharing    string `json:"sharing,omitempty"` // sharingMultiWriter, or ""
	IOLimit    int64  `json:"ioLimit,omitempty"` // operations per second; 0 is none
}

// Attach returns the file and place of a disk.
func (d Disk) Attach() Attach {
	a := Attach{Key: d.Key, File: d.FileName, Controller: d.ControllerType, Bus: d.BusNumber, Unit: d.Unit, Capacity: d.Capacity, Thin: d.Thin, Mode: d.Mode, IOLimit: d.IOLimit}
	if d.Sharing == string(types.VirtualDiskSharingSharingMultiWriter) {
		a.Sharing = d.Sharing
	}
	return a
}

// SamePlace tells whether two disks are on the same unit of the same bus,
// whatever the type of the controller.
func (a Attach) SamePlace(b Attach) bool {
	return family(a.Controller) == family(b.Controller) && a.Bus == b.Bus && a.Unit == b.Unit
}

// family tells which controllers share their bus numbers.
func family(controller string) string {
	switch controller {
	case "pvscsi", "lsilogic", "lsisas", "buslogic":
		return "scsi"
	}
	return controller
}

// ErrSlotTaken says that a disk cannot be put where it belongs, because
// another device is there.
var ErrSlotTaken = errors.New("the place is taken")

// ExchangeDisks takes the disks with these files out of a VM that is off and
// has no snapshots, and puts others in, all in one reconfiguration: either
// everything is exchanged or nothing. Files are kept. A controller that the
// VM does not have is added; one of another type is replaced, and the disks
// on it that stay move to its successor. What is done already is left out.
// When ctx ends first, the exchange may happen all the same: ask again to
// know. ErrSnapshotsPresent, ErrSlotTaken.
func (v *VM) ExchangeDisks(ctx context.Context, out []string, in []Attach) error {
	const step = "exchange disks"
	var vm mo.VirtualMachine
	if err := v.c.get(ctx, v.ref, &vm, "config.hardware.device", "snapshot"); err != nil {
		return v.fail(step, err)
	}
	x := exchange{devices: vm.Config.Hardware.Device, disks: disks(vm.Config.Hardware.Device), controllers: map[string]int32{}}
	if err := x.plan(out, in); err != nil {
		return v.fail(step, err)
	}
	if len(x.goes) == 0 && len(x.comes) == 0 {
		return nil
	}
	if vm.Snapshot != nil && len(vm.Snapshot.RootSnapshotList) > 0 {
		return v.fail(step, ErrSnapshotsPresent)
	}
	policies := v.diskPolicies(ctx, x.goes)
	err := v.reconfigure(ctx, x.spec(policies, func(i int) int32 { return x.comes[i].Key }))
	if isFault[*types.InvalidDeviceSpec](err) {
		// The key of a disk that goes in the same breath is no name for one
		// that comes, by the letter of the API. Nothing has changed yet.
		err = v.reconfigure(ctx, x.spec(policies, func(i int) int32 { return -int32(i) - 101 }))
	}
	if err != nil {
		return v.fail(step, err)
	}
	if err := v.c.get(ctx, v.ref, &vm, "config.hardware.device"); err != nil {
		return v.fail(step+": read back", err)
	}
	now := disks(vm.Config.Hardware.Device)
	for _, want := range x.comes {
		if !slices.ContainsFunc(now, func(d Disk) bool { return d.FileName == want.File && d.Attach().SamePlace(want) }) {
			return v.fail(step+": read back", fmt.Errorf("%s is not at unit %d of %s bus %d", want.File, want.Unit, want.Controller, want.Bus))
		}
	}
	return nil
}

// An exchange is worked out from the devices that a VM has.
type exchange struct {
	devices     []types.BaseVirtualDevice
	disks       []Disk
	goes        []*types.VirtualDisk
	comes       []Attach
	controllers map[string]int32 // key of each controller that the comers need, by type and bus
	changes     []types.BaseVirtualDeviceConfigSpec
}

func (x *exchange) plan(out []string, in []Attach) error {
	for _, want := range in {
		if _, _, ok := splitPath(want.File); !ok {
			return fmt.Errorf("disk %d: %q is not a datastore path", want.Key, want.File)
		}
		i := slices.IndexFunc(x.disks, func(d Disk) bool { return d.FileName == want.File })
		if i >= 0 && x.disks[i].ControllerType == want.Controller && x.disks[i].Attach().SamePlace(want) {
			continue
		}
		if i >= 0 {
			x.out(x.disks[i])
		}
		x.comes = append(x.comes, want)
	}
	for _, d := range x.disks {
		wanted := slices.ContainsFunc(in, func(a Attach) bool { return a.File == d.FileName })
		if slices.Contains(out, d.FileName) && !wanted {
			x.out(d)
		}
	}
	for i := 0; i < len(x.comes); i++ { // it grows: disks follow their controller
		if err := x.controller(x.comes[i]); err != nil {
			return err
		}
	}
	return x.slots()
}

func (x *exchange) out(d Disk) {
	if vd := findDevice(x.devices, d.Key); !slices.Contains(x.goes, vd) {
		x.goes = append(x.goes, vd)
	}
}

func (x *exchange) leaves(key int32) bool {
	return slices.ContainsFunc(x.goes, func(d *types.VirtualDisk) bool { return d.Key == key })
}

func controllerName(kind string, bus int32) string { return fmt.Sprintf("%s%d", kind, bus) }

// controller finds or makes the controller that a disk needs.
func (x *exchange) controller(want Attach) error {
	name := controllerName(want.Controller, want.Bus)
	if _, ok := x.controllers[name]; ok {
		return nil
	}
	for _, d := range x.devices {
		c, ok := d.(types.BaseVirtualController)
		if !ok || family(controllerType(c)) != family(want.Controller) || c.GetVirtualController().BusNumber != want.Bus {
			continue
		}
		if controllerType(c) == want.Controller {
			x.controllers[name] = c.GetVirtualController().Key
			return nil
		}
		if err := x.vacate(c); err != nil {
			return err
		}
		x.change(types.VirtualDeviceConfigSpecOperationRemove, d)
	}
	// Temporary keys are negative; vCenter gives the real ones.
	made := newController(want.Controller, -int32(len(x.controllers))-1, want.Bus)
	if made == nil {
		return fmt.Errorf("disk %d: a controller of type %q cannot be made", want.Key, want.Controller)
	}
	x.controllers[name] = made.GetVirtualDevice().Key
	x.change(types.VirtualDeviceConfigSpecOperationAdd, made)
	return nil
}

// vacate lets the disks of a controller that is replaced follow.
func (x *exchange) vacate(c types.BaseVirtualController) error {
	key := c.GetVirtualController().Key
	to := func(d Disk) Attach {
		a := d.Attach()
		for _, want := range x.comes {
			if family(want.Controller) == family(a.Controller) && want.Bus == a.Bus {
				a.Controller = want.Controller
			}
		}
		return a
	}
	for _, dev := range x.devices {
		d := dev.GetVirtualDevice()
		if d.ControllerKey != key || x.leaves(d.Key) {
			continue
		}
		disk, ok := findDisk(x.disks, d.Key)
		if !ok {
			return fmt.Errorf("%s of bus %d: %w by device %d, which keeps it from being replaced", controllerType(c), c.GetVirtualController().BusNumber, ErrSlotTaken, d.Key)
		}
		x.comes = append(x.comes, to(disk))
		x.out(disk)
	}
	return nil
}

// slots refuses places that a disk which stays has. Of other devices vCenter
// itself knows where they are.
func (x *exchange) slots() error {
	for _, want := range x.comes {
		key := x.controllers[controllerName(want.Controller, want.Bus)]
		for _, d := range x.disks {
			if d.ControllerKey == key && d.Unit == want.Unit && !x.leaves(d.Key) {
				return fmt.Errorf("disk %d: unit %d of %s bus %d: %w by device %d", want.Key, want.Unit, want.Controller, want.Bus, ErrSlotTaken, d.Key)
			}
		}
	}
	return nil
}

func (x *exchange) change(op types.VirtualDeviceConfigSpecOperation, d types.BaseVirtualDevice) {
	x.changes = append(x.changes, &types.VirtualDeviceConfigSpec{Operation: op, Device: d})
}

// spec takes disks out first, then changes controllers, then puts disks in.
// A disk gets the storage policy of the one that had its key.
func (x *exchange) spec(policies map[int32]string, key func(i int) int32) types.VirtualMachineConfigSpec {
	var spec types.VirtualMachineConfigSpec
	for _, d := range x.goes {
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: d})
	}
	spec.DeviceChange = append(spec.DeviceChange, x.changes...)
	for i, a := range x.comes {
		change := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: x.disk(a, key(i))}
		if p := policies[a.Key]; p != "" {
			change.Profile = []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: p}}
		}
		spec.DeviceChange = append(spec.DeviceChange, change)
	}
	return spec
}

func (x *exchange) disk(a Attach, key int32) *types.VirtualDisk {
	b := &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: a.File},
		DiskMode:                     cmp.Or(a.Mode, string(types.VirtualDiskModePersistent)),
		ThinProvisioned:              types.NewBool(a.Thin),
		Sharing:                      a.Sharing,
	}
	out := &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{
			Key: key, ControllerKey: x.controllers[controllerName(a.Controller, a.Bus)], UnitNumber: types.NewInt32(a.Unit), Backing: b,
		},
		CapacityInKB: a.Capacity >> 10, CapacityInBytes: a.Capacity,
	}
	if a.IOLimit > 0 {
		out.StorageIOAllocation = &types.StorageIOAllocationInfo{Limit: types.NewInt64(a.IOLimit)}
	}
	for _, d := range x.goes {
		if d.Key == a.Key {
			out.Shares = d.Shares
		}
	}
	return out
}

// newController makes a controller of a type; nil where there is none such,
// or where every VM has it.
func newController(kind string, key, bus int32) types.BaseVirtualDevice {
	c := types.VirtualController{VirtualDevice: types.VirtualDevice{Key: key, ControllerKey: controllerKeyPCI}, BusNumber: bus}
	scsi := types.VirtualSCSIController{VirtualController: c, SharedBus: types.VirtualSCSISharingNoSharing}
	switch kind {
	case "pvscsi":
		return &types.ParaVirtualSCSIController{VirtualSCSIController: scsi}
	case "lsilogic":
		return &types.VirtualLsiLogicController{VirtualSCSIController: scsi}
	case "lsisas":
		return &types.VirtualLsiLogicSASController{VirtualSCSIController: scsi}
	case "buslogic":
		return &types.VirtualBusLogicController{VirtualSCSIController: scsi}
	case "ahci":
		return &types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: c}}
	case "nvme":
		return &types.VirtualNVMEController{VirtualController: c}
	}
	return nil
}
