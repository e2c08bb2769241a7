package vcenter

import (
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// encrypt marks a VM and its disks as encrypted with a key, PROVIDER/KEY: the
// API shows it, the bytes are what they were.
func (s *Server) encrypt(ctx *simulator.Context, ref types.ManagedObjectReference, key string) error {
	vm, err := s.vm(ref)
	if err != nil {
		return err
	}
	vs, err := s.mustState(ref)
	if err != nil {
		return err
	}
	k := keyOf(key)
	ctx.WithLock(vm, func() { ctx.Update(vm, []types.PropertyChange{{Name: "config.keyId", Val: k}}) })
	vs.io.Lock()
	for n, d := range vs.disks {
		old, ok := d.device.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if !ok {
			continue
		}
		b := *old
		b.KeyId = k
		c := *d
		c.device = copyDisk(d.device)
		c.device.Backing = &b
		vs.disks[n] = &c
	}
	vs.io.Unlock()
	return s.settle(ctx, vs)
}

// keyOf reads PROVIDER/KEY.
func keyOf(key string) *types.CryptoKeyId {
	provider, id, found := strings.Cut(key, "/")
	if !found {
		provider, id = "default", key
	}
	return &types.CryptoKeyId{KeyId: id, ProviderId: &types.KeyProviderId{Id: provider}}
}

func newTPM() *types.VirtualTPM {
	return &types.VirtualTPM{VirtualDevice: types.VirtualDevice{Key: 11000}}
}

// addTPM puts a virtual TPM into a VM.
func (s *Server) addTPM(ctx *simulator.Context, ref types.ManagedObjectReference) error {
	return s.reconfigure(ctx, ref, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
		&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd,
			Device: newTPM()},
	}})
}

// checkTPM refuses a virtual TPM where there can be none: its secrets lie in
// files that are encrypted, and only EFI firmware speaks to it.
func checkTPM(index int, spec *types.VirtualDeviceConfigSpec, c *types.VirtualMachineConfigInfo, on bool) error {
	if _, ok := spec.Device.(*types.VirtualTPM); !ok || spec.Operation == types.VirtualDeviceConfigSpecOperationEdit {
		return nil
	}
	switch {
	case on:
		return refuse(&types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: types.VirtualMachinePowerStatePoweredOn,
		}, "device change %d: a virtual TPM comes and goes while the VM is off", index)
	case spec.Operation != types.VirtualDeviceConfigSpecOperationAdd:
		return nil
	case c.KeyId == nil:
		return invalidDevice(index, "a virtual TPM needs an encrypted VM")
	case c.Firmware != string(types.GuestOsDescriptorFirmwareTypeEfi):
		return invalidDevice(index, "a virtual TPM needs EFI firmware")
	}
	for _, d := range c.Hardware.Device {
		if _, has := d.(*types.VirtualTPM); has {
			return invalidDevice(index, "the VM has a virtual TPM already")
		}
	}
	return nil
}
