package vsphere

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

func key(k, controller, unit int32, name string) types.VirtualDevice {
	return types.VirtualDevice{
		Key: k, ControllerKey: controller, UnitNumber: &unit,
		DeviceInfo: &types.Description{Label: name, Summary: name},
	}
}

func bus(k, number int32, name string) types.VirtualController {
	d := key(k, 100, 3, name)
	d.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: k}
	return types.VirtualController{VirtualDevice: d, BusNumber: number}
}

func file(name string) types.VirtualDeviceFileBackingInfo {
	return types.VirtualDeviceFileBackingInfo{FileName: name, Datastore: &types.ManagedObjectReference{Type: "Datastore", Value: "datastore-9"}}
}

func diskOn(k, controller, unit int32, b types.BaseVirtualDeviceBackingInfo) *types.VirtualDisk {
	d := key(k, controller, unit, "Hard disk")
	d.Backing = b
	return &types.VirtualDisk{VirtualDevice: d, CapacityInKB: 2 << 20, CapacityInBytes: 2 << 30}
}

func nicAt(k int32, mac string) types.VirtualEthernetCard {
	d := key(k, 100, k-4000+7, "Network adapter")
	d.Backing = &types.VirtualEthernetCardNetworkBackingInfo{
		VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "tenant-net"},
	}
	d.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: true}
	return types.VirtualEthernetCard{VirtualDevice: d, AddressType: "manual", MacAddress: mac}
}

// everything is the configuration of a VM with one of each kind.
func everything() *types.VirtualMachineConfigInfo {
	info := &types.VirtualMachineConfigInfo{
		ChangeVersion: "2026-01-01T00:00:00Z", Modified: time.Unix(1, 0).UTC(), Name: "web %2f 01 <&>", GuestFullName: "Linux", Version: "vmx-19",
		Uuid: "4210aaaa-0000-0000-0000-000000000001", InstanceUuid: "5010aaaa-0000-0000-0000-000000000001", GuestId: "ubuntu64Guest",
		Annotation: "web\nserver", Files: types.VirtualMachineFileInfo{VmPathName: "[ds 1] web/web.vmx"},
		Tools:               &types.ToolsConfigInfo{ToolsVersion: 12345, PendingCustomization: "/tmp/x", SyncTimeWithHost: types.NewBool(true)},
		MemoryHotAddEnabled: types.NewBool(true), CpuHotAddEnabled: types.NewBool(true), Firmware: "efi",
		ChangeTrackingEnabled: types.NewBool(true),
		ManagedBy:             &types.ManagedByInfo{ExtensionKey: "com.vmware.vcloud.global1.1", Type: "VirtualMachine"},
		KeyId:                 &types.CryptoKeyId{KeyId: "k"},
		BootOptions: &types.VirtualMachineBootOptions{
			BootDelay: 500, EfiSecureBootEnabled: types.NewBool(true),
			BootOrder: []types.BaseVirtualMachineBootOptionsBootableDevice{
				&types.VirtualMachineBootOptionsBootableDiskDevice{DeviceKey: 2000},
				&types.VirtualMachineBootOptionsBootableDiskDevice{DeviceKey: 9999},
				&types.VirtualMachineBootOptionsBootableCdromDevice{},
			},
		},
		Hardware: types.VirtualHardware{NumCPU: 4, NumCoresPerSocket: types.NewInt32(2), MemoryMB: 4096},
	}
	for _, kv := range [][2]string{
		{"cloud.uuid", "x"}, {"nvram", "web.nvram"}, {"scsi0:0.ctkEnabled", "TRUE"}, {"scsi0:0.redo", ""},
		{"disk.EnableUUID", "TRUE"}, {"guestinfo.role", "db"}, {"ethernet0.filter4.name", "vmware-sfw"}, {"RemoteDisplay.vnc.password", "p"},
		{"ethernet0.pciSlotNumber", "192"}, {"migrate.hostLog", "x"},
	} {
		info.ExtraConfig = append(info.ExtraConfig, &types.OptionValue{Key: kv[0], Value: kv[1]})
	}
	info.Hardware.Device = everyDevice()
	return info
}

func everyDevice() []types.BaseVirtualDevice {
	scsi := func(k, n int32, name string) types.VirtualSCSIController {
		return types.VirtualSCSIController{VirtualController: bus(k, n, name), SharedBus: types.VirtualSCSISharingNoSharing, ScsiCtlrUnitNumber: 7}
	}
	cluster := scsi(1003, 3, "SCSI controller 3")
	cluster.SharedBus = types.VirtualSCSISharingPhysicalSharing
	iso := key(3000, 200, 0, "CD/DVD drive 1")
	iso.Backing = &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: file("[iso] boot.iso")}
	floppy := key(8000, 400, 0, "Floppy drive 1")
	floppy.Backing = &types.VirtualFloppyImageBackingInfo{VirtualDeviceFileBackingInfo: file("[iso] a.flp")}
	flat := func(name string) *types.VirtualDiskFlatVer2BackingInfo {
		return &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: file(name), DiskMode: "persistent", ThinProvisioned: types.NewBool(false),
			Uuid: "6000C29a-0000-0000-0000-00000000000" + name[len(name)-6:len(name)-5], ChangeId: "52 ab/4",
		}
	}
	clone := flat("[ds 1] web/web-000001.vmdk")
	clone.Parent = flat("[ds 1] base/base1.vmdk")
	clone.Parent.Parent = flat("[ds 1] base/base0.vmdk")
	secret := flat("[ds 1] web/web_2.vmdk")
	secret.KeyId = &types.CryptoKeyId{KeyId: "k"}
	rdm := &types.VirtualDiskRawDiskMappingVer1BackingInfo{
		VirtualDeviceFileBackingInfo: file("[ds 1] web/rdm.vmdk"), CompatibilityMode: "physicalMode", DiskMode: "independent_persistent", Uuid: "6000C29a-rdm",
	}
	return []types.BaseVirtualDevice{
		&types.VirtualIDEController{VirtualController: bus(200, 0, "IDE 0")},
		&types.VirtualPCIController{VirtualController: bus(100, 0, "PCI")},
		&types.VirtualLsiLogicController{VirtualSCSIController: scsi(1000, 0, "SCSI controller 0")},
		&types.ParaVirtualSCSIController{VirtualSCSIController: scsi(1001, 1, "SCSI controller 1")},
		&types.VirtualLsiLogicSASController{VirtualSCSIController: scsi(1002, 2, "SCSI controller 2")},
		&types.VirtualBusLogicController{VirtualSCSIController: cluster},
		&types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: bus(15000, 0, "SATA 0")}},
		&types.VirtualNVMEController{VirtualController: bus(31000, 0, "NVME 0")},
		diskOn(2000, 1000, 0, flat("[ds 1] web/web.vmdk")),
		diskOn(2017, 1001, 1, clone),
		diskOn(2032, 1002, 0, secret),
		diskOn(2050, 1003, 2, rdm),
		diskOn(16000, 15000, 0, flat("[ds 1] web/web_4.vmdk")),
		diskOn(32000, 31000, 0, &types.VirtualDiskSeSparseBackingInfo{VirtualDeviceFileBackingInfo: file("[ds 1] web/s.vmdk"), DiskMode: "persistent", Uuid: "u"}),
		&types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: nicAt(4000, "00:50:56:01:02:03")}},
		&types.VirtualE1000e{VirtualEthernetCard: nicAt(4001, "00:0c:29:01:02:03")},
		&types.VirtualSriovEthernetCard{VirtualEthernetCard: nicAt(4002, "00:50:56:01:02:04")},
		&types.VirtualCdrom{VirtualDevice: iso},
		&types.VirtualFloppy{VirtualDevice: floppy},
		&types.VirtualTPM{VirtualDevice: key(11000, 0, 0, "Virtual TPM")},
		&types.VirtualPCIPassthrough{VirtualDevice: key(13000, 100, 20, "PCI device 0")},
		&types.VirtualSerialPort{VirtualDevice: key(9000, 400, 1, "Serial port 1")},
		&types.VirtualMachineVideoCard{VirtualDevice: key(500, 100, 0, "Video card"), VideoRamSizeInKB: 4096},
	}
}

func raw(t *testing.T) []byte {
	t.Helper()
	b, err := encode("VirtualMachineConfigInfo", everything())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConfigRoundTripsThroughXML(t *testing.T) {
	t.Parallel()
	b := raw(t)
	for _, s := range []string{`<VirtualMachineConfigInfo xmlns="urn:vim25">`, `type="VirtualDiskFlatVer2BackingInfo"`, `type="VirtualVmxnet3"`, `type="xsd:string"`} {
		if !strings.Contains(string(b), s) {
			t.Errorf("no %s in the XML", s)
		}
	}
	got, err := decodeConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := everything(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestDisksByBacking(t *testing.T) {
	t.Parallel()
	c, err := ParseConfig(raw(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		key        int32
		controller string
		kind       string
		depth      int
		encrypted  bool
		frozen     bool
	}{
		{2000, "lsilogic", KindFlat, 0, false, true},
		{2017, "pvscsi", KindFlat, 2, false, true},
		{2032, "lsisas", KindFlat, 0, true, true},
		{2050, "buslogic", KindRDMPhysical, 0, false, false},
		{16000, "ahci", KindFlat, 0, false, true},
		{32000, "nvme", KindSESparse, 0, false, true},
	} {
		d, ok := c.Disk(w.key)
		if !ok {
			t.Errorf("disk %d: missing", w.key)
			continue
		}
		frozen, why := d.Snapshottable()
		if d.ControllerType != w.controller || d.Kind != w.kind || d.ChainDepth != w.depth || d.Encrypted != w.encrypted || frozen != w.frozen || frozen != (why == "") {
			t.Errorf("disk %d: got %+v, snapshottable %v %q", w.key, d, frozen, why)
		}
		if d.Capacity != 2<<30 || d.Datastore != "ds 1" || d.DatastoreRef != "datastore-9" {
			t.Errorf("disk %d: got %+v", w.key, d)
		}
	}
	if nvram, ok := c.NVRAM(); !ok || nvram != "[ds 1] web/web.nvram" {
		t.Errorf("nvram %q, %v", nvram, ok)
	}
}

var here = RebuildOptions{
	Name: "copy", Folder: "group-v1", ResourcePool: "resgroup-1", Host: "host-1",
	Datastore: "datastore-2", DatastoreName: "ds 2", Network: "network-1", NetworkName: "VM Network",
}

func added(spec types.VirtualMachineConfigSpec) map[int32]*types.VirtualDeviceConfigSpec {
	m := map[int32]*types.VirtualDeviceConfigSpec{}
	for _, c := range spec.DeviceChange {
		s := c.GetVirtualDeviceConfigSpec()
		m[s.Device.GetVirtualDevice().Key] = s
	}
	return m
}

func TestSpecFromConfigKeepsTheMachine(t *testing.T) {
	t.Parallel()
	got, _, err := SpecFromConfig(raw(t), here)
	if err != nil {
		t.Fatal(err)
	}
	s, was := got.ConfigSpec, everything()
	if got.Folder != here.Folder || got.ResourcePool != here.ResourcePool || got.Host != here.Host || s.Files.VmPathName != "[ds 2]" {
		t.Errorf("place: %+v, %+v", got, s.Files)
	}
	if s.Name != "copy" || s.Version != was.Version || s.GuestId != was.GuestId || s.NumCPUs != 4 || *s.NumCoresPerSocket != 2 || s.MemoryMB != 4096 ||
		!*s.MemoryHotAddEnabled || !*s.CpuHotAddEnabled || s.Firmware != "efi" || s.Annotation != was.Annotation {
		t.Errorf("got %+v", s)
	}
	if s.ManagedBy != nil || s.Uuid != "" || s.InstanceUuid != "" || s.Tools.PendingCustomization != "" || s.Tools.ToolsVersion != 0 {
		t.Errorf("marks of the old VM: %+v, tools %+v", s, s.Tools)
	}
	if b := s.BootOptions; b.BootDelay != 500 || !*b.EfiSecureBootEnabled || len(b.BootOrder) != 2 {
		t.Errorf("boot options %+v", b)
	}
	keys := map[string]bool{}
	for _, o := range s.ExtraConfig {
		keys[o.GetOptionValue().Key] = true
	}
	want := map[string]bool{"disk.EnableUUID": true, "guestinfo.role": true, "ethernet0.pciSlotNumber": true}
	if !reflect.DeepEqual(keys, want) {
		t.Errorf("extraConfig %v, want %v", keys, want)
	}
}

func TestSpecFromConfigKeepsTheDisksPlaces(t *testing.T) {
	t.Parallel()
	got, _, err := SpecFromConfig(raw(t), here)
	if err != nil {
		t.Fatal(err)
	}
	devices := added(got.ConfigSpec)
	for _, d := range everything().Hardware.Device {
		was, ok := d.(*types.VirtualDisk)
		if !ok {
			continue
		}
		c := devices[was.Key]
		if c == nil || c.FileOperation != types.VirtualDeviceConfigSpecFileOperationCreate {
			t.Errorf("disk %d: %+v", was.Key, c)
			continue
		}
		now := c.Device.(*types.VirtualDisk)
		b := now.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if now.ControllerKey != was.ControllerKey || *now.UnitNumber != *was.UnitNumber || now.CapacityInBytes != was.CapacityInBytes || now.CapacityInKB != was.CapacityInKB {
			t.Errorf("disk %d: got %+v", was.Key, now)
		}
		if !*b.ThinProvisioned || b.Parent != nil || b.ChangeId != "" || b.Uuid != "" || b.FileName != "[ds 2]" {
			t.Errorf("disk %d: backing %+v", was.Key, b)
		}
		on := devices[was.ControllerKey]
		if on == nil {
			t.Errorf("disk %d: controller %d is missing", was.Key, was.ControllerKey)
		} else if now, old := reflect.TypeOf(on.Device), controllerIn(was.ControllerKey); now != old {
			t.Errorf("controller %d: %v, was %v", was.ControllerKey, now, old)
		}
	}
	for _, k := range []int32{100, 200, 500, 11000, 13000, 9000} {
		if devices[k] != nil {
			t.Errorf("device %d is added: %+v", k, devices[k].Device)
		}
	}
	if bus := devices[1003].Device.(types.BaseVirtualSCSIController).GetVirtualSCSIController().SharedBus; bus != types.VirtualSCSISharingNoSharing {
		t.Errorf("shared bus %s", bus)
	}
}

func controllerIn(k int32) reflect.Type {
	for _, d := range everything().Hardware.Device {
		if d.GetVirtualDevice().Key == k {
			return reflect.TypeOf(d)
		}
	}
	return nil
}

func TestSpecFromConfigParksNICs(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{true, false} {
		o := here
		o.KeepMAC = keep
		got, _, err := SpecFromConfig(raw(t), o)
		if err != nil {
			t.Fatal(err)
		}
		devices := added(got.ConfigSpec)
		for k, kind := range map[int32]string{4000: "vmxnet3", 4001: "e1000e", 4002: "vmxnet3"} {
			n := devices[k].Device.(types.BaseVirtualEthernetCard)
			e := n.GetVirtualEthernetCard()
			b := e.Backing.(*types.VirtualEthernetCardNetworkBackingInfo)
			if nicType(n) != kind || e.Connectable.StartConnected || e.Connectable.Connected || b.DeviceName != "VM Network" || b.Network.Value != "network-1" {
				t.Errorf("NIC %d: got %+v", k, e)
			}
			if kept := e.MacAddress != "" && e.AddressType == "manual"; kept != keep {
				t.Errorf("NIC %d: MAC %q %s, want it kept: %v", k, e.MacAddress, e.AddressType, keep)
			}
		}
	}
	o := here
	o.Network, o.Switch = "dvportgroup-7", "50 11"
	got, _, err := SpecFromConfig(raw(t), o)
	if err != nil {
		t.Fatal(err)
	}
	b := added(got.ConfigSpec)[4000].Device.GetVirtualDevice().Backing.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo)
	if b.Port.PortgroupKey != "dvportgroup-7" || b.Port.SwitchUuid != "50 11" {
		t.Errorf("port %+v", b.Port)
	}
}

func TestSpecFromConfigKeepsUUIDsOnDemand(t *testing.T) {
	t.Parallel()
	o := here
	o.KeepUUID, o.StoragePolicy = true, "policy-1"
	got, _, err := SpecFromConfig(raw(t), o)
	if err != nil {
		t.Fatal(err)
	}
	was := everything()
	disk := added(got.ConfigSpec)[2000]
	if got.ConfigSpec.Uuid != was.Uuid || got.ConfigSpec.InstanceUuid != was.InstanceUuid || disk.Device.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo).Uuid == "" {
		t.Errorf("UUIDs are not kept: %+v", got.ConfigSpec)
	}
	if len(got.ConfigSpec.VmProfile) != 1 || len(disk.Profile) != 1 {
		t.Error("the storage policy is not set on VM and disk")
	}
}

func TestSpecFromConfigSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	_, notes, err := SpecFromConfig(raw(t), here)
	if err != nil {
		t.Fatal(err)
	}
	all := joined(notes)
	for _, s := range []string{
		"the VM was encrypted", "Hard disk: the disk was encrypted", "raw device mapping", "SCSI controller 3: the bus was shared", "CD/DVD drive 1: rebuilt empty; [iso] boot.iso",
		"Floppy drive 1: rebuilt empty", "Virtual TPM: ", "PCI device 0: passthrough", "Serial port 1: devices of type VirtualSerialPort",
		"VirtualSriovEthernetCard are rebuilt as vmxnet3", "device 9999 is not in the boot order",
	} {
		if !strings.Contains(all, s) {
			t.Errorf("no note says %q:\n%s", s, all)
		}
	}
	o := here
	o.Network, o.NetworkName = "", ""
	if _, notes, err := SpecFromConfig(raw(t), o); err != nil || !strings.Contains(joined(notes), "no network to park") {
		t.Error("NICs are left out in silence")
	}
}

func joined(notes []Note) string {
	s := ""
	for _, n := range notes {
		s += n.String() + "\n"
	}
	return s
}

func TestScratchSpecHoldsDisksOnly(t *testing.T) {
	t.Parallel()
	got, err := ScratchSpec(raw(t), "vappvault-scratch-1", []int32{2017, 16000}, here)
	if err != nil {
		t.Fatal(err)
	}
	devices := added(got.ConfigSpec)
	if len(devices) != 4 || devices[1001] == nil || devices[15000] == nil || devices[2017] == nil || devices[16000] == nil {
		t.Errorf("devices %v", devices)
	}
	if got.Name != "vappvault-scratch-1" || got.ConfigSpec.Name != got.Name || got.ConfigSpec.Version != "vmx-19" || len(got.ConfigSpec.ExtraConfig) != 0 {
		t.Errorf("got %+v", got.ConfigSpec)
	}
	if _, err := ScratchSpec(raw(t), "x", []int32{1}, here); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

const unknownDevice = `<VirtualMachineConfigInfo xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">` +
	`<hardware><device xsi:type="NoSuchDevice"><key>1</key></device></hardware></VirtualMachineConfigInfo>`

func TestDecodeConfigRefusesRubbish(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "<a", "<x/>", unknownDevice} {
		if _, _, err := SpecFromConfig([]byte(s), here); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
}

func FuzzDecodeConfig(f *testing.F) {
	f.Add([]byte(unknownDevice))
	f.Add([]byte(strings.NewReplacer("NoSuchDevice", "VirtualDisk", "<key>", `<backing xsi:type="VirtualDiskFlatVer2BackingInfo"/><key>`).Replace(unknownDevice)))
	f.Fuzz(func(_ *testing.T, in []byte) {
		// A restore point may be damaged: any answer but a panic.
		if _, _, err := SpecFromConfig(in, here); err == nil {
			_, _ = ParseConfig(in)
		}
	})
}
