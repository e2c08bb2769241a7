package vcenter

import (
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// maxControllers is how many of each kind a VM has at most ("Configuration
// Maximums", vSphere 8.0).
var maxControllers = map[string]int{"scsi": 4, "sata": 4, "nvme": 4, "ide": 2}

func controllerClass(d types.BaseVirtualDevice) string {
	switch d.(type) {
	case types.BaseVirtualSCSIController:
		return "scsi"
	case types.BaseVirtualSATAController:
		return "sata"
	case *types.VirtualNVMEController:
		return "nvme"
	case *types.VirtualIDEController:
		return "ide"
	}
	return ""
}

// tooMany refuses more controllers than there can be. Those that a new VM
// has by default do not count twice.
func tooMany(current []types.BaseVirtualDevice, changes []types.BaseVirtualDeviceConfigSpec) error {
	count := map[string]int{}
	seen := map[int32]bool{}
	add := func(d types.BaseVirtualDevice, n int) {
		if class := controllerClass(d); class != "" && (n < 0 || !seen[deviceKey(d)]) {
			seen[deviceKey(d)] = true
			count[class] += n
		}
	}
	for _, d := range current {
		add(d, 1)
	}
	for _, b := range changes {
		switch c := b.GetVirtualDeviceConfigSpec(); c.Operation {
		case types.VirtualDeviceConfigSpecOperationAdd:
			add(c.Device, 1)
		case types.VirtualDeviceConfigSpecOperationRemove:
			add(c.Device, -1)
		}
	}
	for class, n := range count {
		if n > maxControllers[class] {
			return refuse(&types.TooManyDevices{InvalidVmConfig: types.InvalidVmConfig{Property: "deviceChange"}},
				"%d controllers of kind %s: a VM has %d at most", n, class, maxControllers[class])
		}
	}
	return nil
}

// unitsOf is how many units a controller has in a VM of some hardware
// version: PVSCSI has 64 since version 14, NVMe since version 21.
func unitsOf(c types.BaseVirtualDevice, rule slotRule, hardware int) int32 {
	switch c.(type) {
	case *types.ParaVirtualSCSIController:
		if hardware > 0 && hardware < 14 {
			return 16
		}
	case *types.VirtualNVMEController:
		if hardware < 21 {
			return 15
		}
	}
	return rule.units
}

// hardwareOf is the number in vmx-19; 0 when it is not known.
func (s *Server) hardwareOf(ctx *simulator.Context, ref types.ManagedObjectReference) int {
	vm, err := s.vm(ref)
	if err != nil {
		return 0
	}
	var text string
	ctx.WithLock(vm, func() { text = vm.Config.Version })
	n, _ := strconv.Atoi(strings.TrimPrefix(text, "vmx-"))
	return n
}

// liveEdit refuses changes of a disk that only a VM which is off takes: its
// mode, and more room where the controller knows no hot plugging.
func (p *diskPlan) liveEdit(d *vmDisk, spec *types.VirtualDisk) error {
	if !p.vs.isOn() {
		return nil
	}
	mode, grows := "", max(spec.CapacityInBytes, spec.CapacityInKB*1024) > d.top.capacity()
	if b, ok := spec.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
		mode = b.DiskMode
	}
	_, ide := findDevice(p.devices, d.device.ControllerKey).(*types.VirtualIDEController)
	if mode != "" && mode != d.mode || grows && ide {
		return refuse(&types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: types.VirtualMachinePowerStatePoweredOn,
		}, "disk %d: cannot be changed that way while the VM runs", d.key)
	}
	return nil
}
