package vcenter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// writeVMX writes a VM's configuration file, from which RegisterVM_Task can
// bring the VM back.
func (s *Server) writeVMX(ctx *simulator.Context, vs *vmState) error {
	vm, err := s.vm(vs.ref)
	if err != nil {
		return err
	}
	var text []byte
	var home dsPath
	ctx.WithLock(vm, func() {
		if home, err = parseDS(vm.Config.Files.VmPathName); err == nil {
			text = encodeVMX(vm.Config, home.dir())
		}
	})
	if err != nil {
		return err
	}
	local, err := s.store.local(home)
	if err != nil {
		return err
	}
	return ioFault(home, os.WriteFile(local, text, 0o600))
}

func encodeVMX(c *types.VirtualMachineConfigInfo, home dsPath) []byte {
	var b bytes.Buffer
	escape := strings.NewReplacer(`|`, "|7C", `"`, "|22", "\n", "|0A", "\r", "|0D")
	set := func(key string, value any) {
		v := escape.Replace(fmt.Sprint(value))
		fmt.Fprintf(&b, "%s = \"%s\"\n", key, v)
	}
	set(".encoding", "UTF-8")
	set("config.version", 8)
	set("virtualHW.version", strings.TrimPrefix(c.Version, "vmx-"))
	set("displayName", c.Name)
	set("guestOS", c.GuestId)
	set("memSize", c.Hardware.MemoryMB)
	set("numvcpus", c.Hardware.NumCPU)
	if n := c.Hardware.NumCoresPerSocket; n != nil {
		set("cpuid.coresPerSocket", max(*n, 1))
	}
	set("uuid.bios", c.Uuid)
	set("vc.uuid", c.InstanceUuid)
	set("firmware", c.Firmware)
	if c.Annotation != "" {
		set("annotation", c.Annotation)
	}
	if c.ChangeTrackingEnabled != nil && *c.ChangeTrackingEnabled {
		set("ctkEnabled", "TRUE")
	}
	names := map[int32]string{}
	for _, d := range c.Hardware.Device {
		if name, kind := controllerVMX(d); name != "" {
			names[deviceKey(d)] = name
			set(name+".present", "TRUE")
			if kind != "" {
				set(name+".virtualDev", kind)
			}
		}
	}
	nic := 0
	for _, d := range c.Hardware.Device {
		switch x := d.(type) {
		case *types.VirtualDisk:
			diskVMX(x, names[x.ControllerKey], home, set)
		case types.BaseVirtualEthernetCard:
			nicVMX(d, x.GetVirtualEthernetCard(), fmt.Sprintf("ethernet%d", nic), set)
			nic++
		}
	}
	extra := map[string]string{}
	for _, o := range c.ExtraConfig {
		v := o.GetOptionValue()
		if v.Key != "govcsim" {
			extra[v.Key] = fmt.Sprint(v.Value)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(extra)) {
		set(k, extra[k])
	}
	return b.Bytes()
}

func controllerVMX(d types.BaseVirtualDevice) (name, kind string) {
	c, ok := d.(types.BaseVirtualController)
	if !ok {
		return "", ""
	}
	bus := c.GetVirtualController().BusNumber
	switch d.(type) {
	case *types.ParaVirtualSCSIController:
		return fmt.Sprintf("scsi%d", bus), "pvscsi"
	case *types.VirtualLsiLogicController:
		return fmt.Sprintf("scsi%d", bus), "lsilogic"
	case *types.VirtualLsiLogicSASController:
		return fmt.Sprintf("scsi%d", bus), "lsisas1068"
	case *types.VirtualBusLogicController:
		return fmt.Sprintf("scsi%d", bus), "buslogic"
	case types.BaseVirtualSATAController:
		return fmt.Sprintf("sata%d", bus), ""
	case *types.VirtualNVMEController:
		return fmt.Sprintf("nvme%d", bus), ""
	case *types.VirtualIDEController:
		return fmt.Sprintf("ide%d", bus), ""
	}
	return "", ""
}

func diskVMX(d *types.VirtualDisk, controller string, home dsPath, set func(string, any)) {
	b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok || controller == "" || d.UnitNumber == nil {
		return
	}
	name := fmt.Sprintf("%s:%d", controller, *d.UnitNumber)
	file := b.FileName
	if p, err := parseDS(file); err == nil && p.dir() == home {
		file = p.base()
	}
	set(name+".present", "TRUE")
	set(name+".deviceType", "scsi-hardDisk")
	set(name+".fileName", file)
	if b.DiskMode != "" && b.DiskMode != "persistent" {
		set(name+".mode", strings.ReplaceAll(b.DiskMode, "_", "-"))
	}
	if b.Sharing == string(types.VirtualDiskSharingSharingMultiWriter) {
		set(name+".sharing", "multi-writer")
	}
}

func nicVMX(d types.BaseVirtualDevice, c *types.VirtualEthernetCard, name string, set func(string, any)) {
	kind := "vmxnet3"
	switch d.(type) {
	case *types.VirtualE1000:
		kind = "e1000"
	case *types.VirtualE1000e:
		kind = "e1000e"
	}
	set(name+".present", "TRUE")
	set(name+".virtualDev", kind)
	switch b := c.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		set(name+".networkName", b.DeviceName)
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		set(name+".dvs.switchId", b.Port.SwitchUuid)
		set(name+".dvs.portgroupId", b.Port.PortgroupKey)
	}
	if c.Connectable != nil && !c.Connectable.StartConnected {
		set(name+".startConnected", "FALSE")
	}
	if c.AddressType == string(types.VirtualEthernetCardMacTypeManual) {
		set(name+".addressType", "static")
		set(name+".address", c.MacAddress)
	} else {
		set(name+".addressType", "vpx")
		set(name+".generatedAddress", c.MacAddress)
	}
}

// parseVMX reads what encodeVMX wrote, or what a person put there.
func parseVMX(text []byte) map[string]string {
	out := map[string]string{}
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		key, value, ok := strings.Cut(sc.Text(), "=")
		if !ok || strings.HasPrefix(strings.TrimSpace(key), "#") {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		out[strings.TrimSpace(key)] = strings.NewReplacer("|22", `"`, "|0A", "\n", "|0D", "\r", "|7C", "|").Replace(value)
	}
	return out
}

// specVMX turns a configuration file into what it takes to make its VM.
func (s *Server) specVMX(v map[string]string, home dsPath) (*types.VirtualMachineConfigSpec, error) {
	number := func(key string) int64 { n, _ := strconv.ParseInt(v[key], 10, 64); return n }
	spec := &types.VirtualMachineConfigSpec{
		Name: v["displayName"], GuestId: v["guestOS"], Uuid: v["uuid.bios"], InstanceUuid: v["vc.uuid"],
		Firmware: v["firmware"], Annotation: v["annotation"], MemoryMB: number("memSize"), NumCPUs: int32(number("numvcpus")),
		ChangeTrackingEnabled: types.NewBool(v["ctkEnabled"] == "TRUE"),
	}
	if n := v["virtualHW.version"]; n != "" {
		spec.Version = "vmx-" + n
	}
	if n := number("cpuid.coresPerSocket"); n > 0 {
		spec.NumCoresPerSocket = types.NewInt32(int32(n))
	}
	var extra []string
	for _, key := range slices.Sorted(maps.Keys(v)) {
		name, attr, _ := strings.Cut(key, ".")
		kind := strings.TrimRight(name, "0123456789:")
		switch {
		case slices.Contains([]string{"scsi", "sata", "nvme", "ide"}, kind) && attr == "present":
			if err := deviceFromVMX(spec, v, name, kind, home); err != nil {
				return nil, err
			}
		case kind == "ethernet" && attr == "present":
			s.nicFromVMX(spec, v, name)
		case slices.Contains([]string{"scsi", "sata", "nvme", "ide", "ethernet"}, kind):
		default:
			extra = append(extra, key)
		}
	}
	known := []string{".encoding", "config.version", "virtualHW.version", "displayName", "guestOS", "memSize", "numvcpus",
		"cpuid.coresPerSocket", "uuid.bios", "vc.uuid", "firmware", "annotation", "ctkEnabled"}
	for _, key := range extra {
		if !slices.Contains(known, key) {
			spec.ExtraConfig = append(spec.ExtraConfig, &types.OptionValue{Key: key, Value: v[key]})
		}
	}
	return spec, nil
}

func deviceFromVMX(spec *types.VirtualMachineConfigSpec, v map[string]string, name, kind string, home dsPath) error {
	at, unit, isDisk := strings.Cut(strings.TrimPrefix(name, kind), ":")
	bus, err := strconv.Atoi(at)
	if err != nil {
		return fmt.Errorf("%s: no bus number", name)
	}
	model := map[string]string{"pvscsi": "pvscsi", "lsilogic": "lsilogic", "lsisas1068": "lsilogic-sas", "buslogic": "buslogic"}[v[fmt.Sprintf("%s%d.virtualDev", kind, bus)]]
	if kind != "scsi" {
		model = kind
	}
	c, err := newController(model, int32(bus))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !isDisk {
		if kind != "ide" {
			addDevice(spec, c, "")
		}
		return nil
	}
	n, err := strconv.Atoi(unit)
	if err != nil {
		return fmt.Errorf("%s: no unit number", name)
	}
	file := v[name+".fileName"]
	if !strings.HasPrefix(file, "[") {
		file = home.join(file).String()
	}
	b := &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file},
		DiskMode:                     strings.ReplaceAll(v[name+".mode"], "-", "_"),
	}
	if v[name+".sharing"] == "multi-writer" {
		b.Sharing = string(types.VirtualDiskSharingSharingMultiWriter)
	}
	addDevice(spec, &types.VirtualDisk{VirtualDevice: types.VirtualDevice{
		Key: -int32(100 + bus*64 + n), ControllerKey: deviceKey(c), UnitNumber: types.NewInt32(int32(n)), Backing: b,
	}}, "")
	return nil
}

func (s *Server) nicFromVMX(spec *types.VirtualMachineConfigSpec, v map[string]string, name string) {
	n, _ := strconv.Atoi(strings.TrimPrefix(name, "ethernet"))
	card := types.VirtualEthernetCard{VirtualDevice: types.VirtualDevice{
		Key: int32(4000 + n), ControllerKey: 100, UnitNumber: types.NewInt32(int32(7 + n)),
		Connectable: &types.VirtualDeviceConnectInfo{StartConnected: v[name+".startConnected"] != "FALSE", AllowGuestControl: true},
	}, WakeOnLanEnabled: types.NewBool(true)}
	card.MacAddress, card.AddressType = v[name+".address"], string(types.VirtualEthernetCardMacTypeManual)
	if card.MacAddress == "" {
		card.MacAddress, card.AddressType = v[name+".generatedAddress"], string(types.VirtualEthernetCardMacTypeAssigned)
	}
	if pg := v[name+".dvs.portgroupId"]; pg != "" {
		card.Backing = &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
			Port: types.DistributedVirtualSwitchPortConnection{PortgroupKey: pg, SwitchUuid: v[name+".dvs.switchId"]}}
	} else {
		card.Backing = &types.VirtualEthernetCardNetworkBackingInfo{
			VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: v[name+".networkName"]}}
	}
	switch v[name+".virtualDev"] {
	case "e1000":
		addDevice(spec, &types.VirtualE1000{VirtualEthernetCard: card}, "")
	case "e1000e":
		addDevice(spec, &types.VirtualE1000e{VirtualEthernetCard: card}, "")
	default:
		addDevice(spec, &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}, "")
	}
}

// writeNVRAM puts something into a new VM's NVRAM: an empty file would hide
// that it is not backed up.
func (s *Server) writeNVRAM(home dsPath) error {
	p := home.dir().join(strings.TrimSuffix(home.base(), path.Ext(home.base())) + ".nvram")
	local, err := s.store.local(p)
	if err != nil {
		return err
	}
	if fi, err := os.Stat(local); err == nil && fi.Size() > 0 {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ioFault(p, err)
	}
	return ioFault(p, os.WriteFile(local, nvramContent(), 0o600))
}

func nvramContent() []byte {
	return append([]byte("MRVN"), bytes.Repeat([]byte{1, 0, 0, 0, 'v', 'c', 's', 'm'}, nvramWords)...)
}

const (
	nvramWords = 1080
	nvramSize  = 4 + 8*nvramWords
)
