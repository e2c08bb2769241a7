package vcenter

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// deepCopy copies any vSphere value into dst, a pointer, by way of XML.
func deepCopy(src, dst any) error {
	var buf bytes.Buffer
	e := xml.NewEncoder(&buf)
	if err := e.Encode(src); err != nil {
		return err
	}
	if err := e.Flush(); err != nil {
		return err
	}
	d := xml.NewDecoder(&buf)
	d.TypeFunc = types.TypeFunc()
	return d.Decode(dst)
}

func copyDevices(in []types.BaseVirtualDevice) ([]types.BaseVirtualDevice, error) {
	var out types.ArrayOfVirtualDevice
	err := deepCopy(types.ArrayOfVirtualDevice{VirtualDevice: in}, &out)
	return out.VirtualDevice, err
}

// shallow copies the struct behind a device, so that what was handed out
// before is never written to.
func shallow(d types.BaseVirtualDevice) types.BaseVirtualDevice {
	v := reflect.ValueOf(d).Elem()
	c := reflect.New(v.Type())
	c.Elem().Set(v)
	return c.Interface().(types.BaseVirtualDevice)
}

func copyDisk(d *types.VirtualDisk) *types.VirtualDisk {
	c := *d
	return &c
}

func deviceKey(d types.BaseVirtualDevice) int32 { return d.GetVirtualDevice().Key }

func findDevice(list []types.BaseVirtualDevice, key int32) types.BaseVirtualDevice {
	for _, d := range list {
		if deviceKey(d) == key {
			return d
		}
	}
	return nil
}

// A slotRule says what a kind of controller offers.
type slotRule struct {
	units     int32
	reserved  int32 // unit of the controller itself, or -1
	firstKey  int32 // of its disks on bus 0
	firstCtlr int32 // key of its controller on bus 0
}

func slots(c types.BaseVirtualDevice) (slotRule, bool) {
	switch c.(type) {
	case *types.ParaVirtualSCSIController:
		return slotRule{64, 7, 2000, 1000}, true
	case types.BaseVirtualSCSIController:
		return slotRule{16, 7, 2000, 1000}, true
	case *types.VirtualIDEController:
		return slotRule{2, -1, 3000, 200}, true
	case types.BaseVirtualSATAController:
		return slotRule{30, -1, 16000, 15000}, true
	case *types.VirtualNVMEController:
		return slotRule{64, -1, 32000, 31000}, true
	}
	return slotRule{}, false
}

// standardKey is the key that vSphere derives from a disk's slot.
func standardKey(c types.BaseVirtualDevice, unit int32) int32 {
	rule, _ := slots(c)
	bus := c.(types.BaseVirtualController).GetVirtualController().BusNumber
	per := rule.units
	if rule.units == 64 {
		per = 16
		if unit >= 16 {
			return rule.firstKey + 100 + bus*64 + unit
		}
	}
	return rule.firstKey + bus*per + unit
}

// newKeys gives every added device that is not a disk its final key, as
// vSphere does, and makes the references to controllers follow.
func newKeys(current []types.BaseVirtualDevice, specs []types.BaseVirtualDeviceConfigSpec) {
	taken := map[int32]bool{}
	for _, d := range current {
		taken[deviceKey(d)] = true
	}
	moved := map[int32]int32{}
	nic := int32(4000)
	for _, b := range specs {
		spec := b.GetVirtualDeviceConfigSpec()
		d := spec.Device.GetVirtualDevice()
		if spec.Operation != types.VirtualDeviceConfigSpecOperationAdd {
			continue
		}
		if _, isDisk := spec.Device.(*types.VirtualDisk); isDisk {
			continue
		}
		// A default device in the spec of a new VM replaces the default.
		want := d.Key
		rule, isController := slots(spec.Device)
		_, isNIC := spec.Device.(types.BaseVirtualEthernetCard)
		switch {
		case want > 0 && !taken[want]:
		case isController:
			want = rule.firstCtlr + spec.Device.(types.BaseVirtualController).GetVirtualController().BusNumber
		case isNIC:
			want = nic
		default:
			continue // vcsim chooses
		}
		for taken[want] && (isNIC || isController) {
			want++
		}
		taken[want] = true
		if d.Key != want {
			if isController {
				moved[d.Key] = want
			}
			d.Key = want
		}
	}
	for _, b := range specs {
		spec := b.GetVirtualDeviceConfigSpec()
		if spec.Operation == types.VirtualDeviceConfigSpecOperationAdd || spec.Operation == types.VirtualDeviceConfigSpecOperationEdit {
			d := spec.Device.GetVirtualDevice()
			if to, ok := moved[d.ControllerKey]; ok {
				d.ControllerKey = to
			}
			if _, isDrive := spec.Device.(*types.VirtualCdrom); isDrive && d.Key <= 0 {
				d.Key = driveKey(d, taken)
			}
		}
	}
}

// driveKey is the key that vSphere derives from a CD drive's slot. Controllers'
// keys say what they are: there are IDE and SATA ones.
func driveKey(d *types.VirtualDevice, taken map[int32]bool) int32 {
	var unit int32
	if d.UnitNumber != nil {
		unit = *d.UnitNumber
	}
	key := 3000 + (d.ControllerKey-200)*2 + unit
	if d.ControllerKey >= 15000 {
		key = 16000 + (d.ControllerKey-15000)*30 + unit
	}
	for taken[key] {
		key++
	}
	taken[key] = true
	return key
}

// backing describes a disk file and those below it.
func (s *Server) backing(l *layer, like *types.VirtualDiskFlatVer2BackingInfo, changeID string) *types.VirtualDiskFlatVer2BackingInfo {
	b := *like
	b.FileName, b.Uuid, b.ChangeId, b.Parent = l.file.String(), l.root().uuid, changeID, nil
	b.ThinProvisioned = types.NewBool(l.root().thin)
	b.ContentId = fmt.Sprintf("%032x", l.cid)
	if ds := s.inv.datastores[l.file.datastore]; ds != nil {
		ref := ds.Self
		b.Datastore = &ref
	}
	if l.parent != nil {
		b.Parent = s.backing(l.parent, like, "")
		b.DeltaDiskFormat = string(types.VirtualDiskDeltaDiskFormatRedoLogFormat)
	} else {
		b.DeltaDiskFormat = ""
	}
	return &b
}

// render is a disk device as the API shows it. template is not changed.
func (s *Server) render(template *types.VirtualDisk, l *layer, mode, changeID string) *types.VirtualDisk {
	d := copyDisk(template)
	like := &types.VirtualDiskFlatVer2BackingInfo{}
	if b, ok := template.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
		like = b
	}
	if raw, ok := template.Backing.(*rawBacking); ok {
		d.Backing = s.rawInfo(l, raw, mode, changeID)
	} else {
		b := s.backing(l, like, changeID)
		b.DiskMode = mode
		d.Backing = b
	}
	d.CapacityInBytes = l.capacity()
	d.CapacityInKB = d.CapacityInBytes / 1024
	label := fmt.Sprintf("Hard disk %d", d.Key-1999)
	if d.DeviceInfo != nil && d.DeviceInfo.GetDescription().Label != "" {
		label = d.DeviceInfo.GetDescription().Label
	}
	d.DeviceInfo = &types.Description{Label: label, Summary: thousands(d.CapacityInKB) + " KB"}
	return d
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// fillDefaults completes the backing of a disk that is added.
func fillDefaults(b *types.VirtualDiskFlatVer2BackingInfo) {
	for _, p := range []**bool{&b.EagerlyScrub, &b.WriteThrough, &b.Split, &b.DigestEnabled} {
		if *p == nil {
			*p = types.NewBool(false)
		}
	}
	if b.Sharing == "" {
		b.Sharing = string(types.VirtualDiskSharingSharingNone)
	}
}

// withControllers returns list with the controllers' lists of their devices
// brought up to date.
func withControllers(list []types.BaseVirtualDevice) []types.BaseVirtualDevice {
	on := map[int32][]int32{}
	for _, d := range list {
		if v := d.GetVirtualDevice(); v.ControllerKey != 0 {
			on[v.ControllerKey] = append(on[v.ControllerKey], v.Key)
		}
	}
	out := slices.Clone(list)
	for i, d := range out {
		c, ok := d.(types.BaseVirtualController)
		if !ok || slices.Equal(c.GetVirtualController().Device, on[deviceKey(d)]) {
			continue
		}
		d = shallow(d)
		d.(types.BaseVirtualController).GetVirtualController().Device = on[deviceKey(d)]
		out[i] = d
	}
	return out
}

func isDisk(d types.BaseVirtualDevice) bool {
	_, ok := d.(*types.VirtualDisk)
	return ok
}

func withoutDisks(list []types.BaseVirtualDevice) []types.BaseVirtualDevice {
	return slices.DeleteFunc(slices.Clone(list), isDisk)
}
