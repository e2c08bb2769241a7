package vsphere

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// PutBack makes the hardware and settings of a VM that is off what a
// configuration says (VMConfig.Raw), as far as they differ: processors,
// memory, firmware, boot order, flags, tools, extra configuration, controllers
// that no disk needs, drives. Names, UUIDs, files, disks, NICs and the
// reservations of the allocation model stay as they are. The notes say what
// differs and cannot be put back. Where nothing differs nothing is sent.
func (v *VM) PutBack(ctx context.Context, raw []byte) ([]Note, error) {
	want, err := decodeConfig(raw)
	if err != nil {
		return nil, v.fail("put back", err)
	}
	var vm mo.VirtualMachine
	if err := v.c.get(ctx, v.ref, &vm, "config"); err != nil {
		return nil, v.fail("put back", err)
	}
	if vm.Config == nil {
		return nil, v.fail("put back", ErrNotFound)
	}
	b := putBack{want: want, now: vm.Config}
	b.machine()
	b.extra()
	b.boot()
	b.remove()
	b.add()
	if reflect.DeepEqual(b.spec, types.VirtualMachineConfigSpec{}) {
		return b.notes, nil
	}
	if err := v.reconfigure(ctx, b.spec); err != nil {
		return b.notes, v.fail("put back", err)
	}
	return b.notes, nil
}

type putBack struct {
	want, now *types.VirtualMachineConfigInfo
	spec      types.VirtualMachineConfigSpec
	notes     []Note
}

func (b *putBack) note(device, format string, args ...any) {
	b.notes = append(b.notes, Note{Device: device, Message: fmt.Sprintf(format, args...)})
}

// kept are fields of a specification that are not PutBack's: what names the
// VM, what Cloud Director says, and what is compared in another way.
var kept = []string{"Name", "Version", "Files", "Uuid", "InstanceUuid", "VmProfile", "Annotation", "ExtraConfig"}

// machine compares field by field what a rebuilt VM would be made with.
func (b *putBack) machine() {
	// Only the notes of a rebuild would differ.
	was, is := (&rebuilder{}).machine(b.want), (&rebuilder{}).machine(b.now)
	to, from, now := reflect.ValueOf(&b.spec).Elem(), reflect.ValueOf(was), reflect.ValueOf(is)
	for i := range to.NumField() {
		name, w, n := to.Type().Field(i).Name, from.Field(i), now.Field(i)
		if slices.Contains(kept, name) || reflect.DeepEqual(w.Interface(), n.Interface()) {
			continue
		}
		flag, isBool := w.Interface().(*bool)
		switch {
		case isBool && isFalse(flag) && n.IsZero():
			// Not said is no.
		case !w.IsZero():
			to.Field(i).Set(w)
		case isBool && isFalse(n.Interface().(*bool)):
			// Not said is no.
		case isBool:
			to.Field(i).Set(reflect.ValueOf(types.NewBool(false)))
		default:
			b.note("", "%s was set since and cannot be unset", name)
		}
	}
}

// extra compares the extra configuration, but for keys that are not the VM's
// own to keep.
func (b *putBack) extra() {
	values := func(list []types.BaseOptionValue) map[string]any {
		out := map[string]any{}
		for _, o := range extraConfig(list) {
			out[o.GetOptionValue().Key] = o.GetOptionValue().Value
		}
		return out
	}
	was, is := values(b.want.ExtraConfig), values(b.now.ExtraConfig)
	for _, o := range extraConfig(b.want.ExtraConfig) {
		if kv := o.GetOptionValue(); is[kv.Key] != kv.Value {
			b.spec.ExtraConfig = append(b.spec.ExtraConfig, o)
		}
	}
	for _, o := range extraConfig(b.now.ExtraConfig) {
		if key := o.GetOptionValue().Key; was[key] == nil {
			b.spec.ExtraConfig = append(b.spec.ExtraConfig, &types.OptionValue{Key: key, Value: ""}) // which removes it
		}
	}
}

func (b *putBack) boot() {
	r := &rebuilder{devices: map[int32]bool{}}
	for _, d := range b.now.Hardware.Device {
		r.devices[d.GetVirtualDevice().Key] = true
	}
	was, is := r.bootOptions(b.want.BootOptions), b.now.BootOptions
	if was == nil || is != nil && reflect.DeepEqual(*was, *is) {
		return
	}
	if len(was.BootOrder) == 0 && is != nil && len(is.BootOrder) > 0 {
		// Nothing at all means that nothing changes; this resets the order.
		was.BootOrder = []types.BaseVirtualMachineBootOptionsBootableDevice{&types.VirtualMachineBootOptionsBootableDevice{}}
	}
	b.spec.BootOptions = was
}

// slot is what tells devices of a kind apart: the bus number of controllers,
// the place of drives.
func slot(d types.BaseVirtualDevice) string {
	v := d.GetVirtualDevice()
	if c, ok := d.(types.BaseVirtualController); ok {
		return fmt.Sprintf("%T %d", d, c.GetVirtualController().BusNumber)
	}
	unit := int32(-1)
	if v.UnitNumber != nil {
		unit = *v.UnitNumber
	}
	return fmt.Sprintf("%T %d:%d", d, v.ControllerKey, unit)
}

// ours tells whether PutBack adds and removes devices of a kind.
func ours(d types.BaseVirtualDevice) bool {
	switch d.(type) {
	case types.BaseVirtualSCSIController, types.BaseVirtualSATAController, *types.VirtualNVMEController,
		*types.VirtualUSBController, *types.VirtualUSBXHCIController, *types.VirtualCdrom, *types.VirtualFloppy:
		return true
	}
	return false
}

// others tells whether a device is of a kind that every VM has, or that is
// put back elsewhere.
func others(d types.BaseVirtualDevice) bool {
	switch d.(type) {
	case *types.VirtualDisk, types.BaseVirtualEthernetCard, types.BaseVirtualController, *types.VirtualKeyboard, *types.VirtualPointingDevice,
		*types.VirtualMachineVMCIDevice, *types.VirtualMachineVideoCard:
		return true
	}
	return false
}

func has(list []types.BaseVirtualDevice, d types.BaseVirtualDevice) bool {
	return slices.ContainsFunc(list, func(o types.BaseVirtualDevice) bool { return slot(o) == slot(d) })
}

// remove takes out what was added since; a controller only where nothing
// hangs from it.
func (b *putBack) remove() {
	for _, d := range b.now.Hardware.Device {
		v := d.GetVirtualDevice()
		used := slices.ContainsFunc(b.now.Hardware.Device, func(c types.BaseVirtualDevice) bool { return c.GetVirtualDevice().ControllerKey == v.Key })
		switch {
		case has(b.want.Hardware.Device, d) || others(d) && !ours(d):
		case !ours(d):
			b.note(label(v), "was added since and stays: devices of type %s are not taken out", typeOf(d))
		case used:
			// What hangs from it was added since, and stays.
		default:
			b.spec.DeviceChange = append(b.spec.DeviceChange, &types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: d,
			})
		}
	}
}

func typeOf(d types.BaseVirtualDevice) string {
	return strings.TrimPrefix(fmt.Sprintf("%T", d), "*types.")
}

// add puts in what was removed since.
func (b *putBack) add() {
	r := &rebuilder{devices: map[int32]bool{}}
	for _, d := range b.want.Hardware.Device {
		switch {
		case has(b.now.Hardware.Device, d) || others(d) && !ours(d):
		case ours(d):
			r.controller(d)
			if _, is := d.(types.BaseVirtualController); !is {
				r.device(d)
			}
		default:
			b.note(label(d.GetVirtualDevice()), "was removed since and stays so: devices of type %s are not put back", typeOf(d))
		}
	}
	b.spec.DeviceChange = append(b.spec.DeviceChange, r.changes...)
	b.notes = append(b.notes, r.notes...)
}
