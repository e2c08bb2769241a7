package vsphere

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// RebuildOptions say how a VM is rebuilt and where. Place.Options fills in
// the place.
type RebuildOptions struct {
	Name    string
	KeepMAC bool // else vCenter gives new addresses
	// NewMACs are addresses that are not kept, in lower case.
	NewMACs  map[string]bool
	KeepUUID bool // SMBIOS, instance and disk UUIDs; else vCenter gives new ones

	Folder       string // managed object references
	ResourcePool string
	Host         string
	Datastore    string
	// DatastoreName puts the files on that datastore; Datastore alone cannot,
	// since specifications name datastores by name.
	DatastoreName string
	// Disks puts single disks, by device key, on other datastores.
	Disks map[int32]DiskPlace
	// LeaveDisks are the device keys of disks that are left out.
	LeaveDisks []int32
	// Network and NetworkName are where NICs are parked, disconnected;
	// without them NICs are left out. Switch is the UUID of the network's
	// distributed switch, if it has one.
	Network       string
	NetworkName   string
	Switch        string
	StoragePolicy string // id of the storage policy of VM and disks; empty: the datastore's default
}

// A DiskPlace is the datastore of one disk.
type DiskPlace struct {
	Datastore     string // managed object reference
	DatastoreName string
	Thick         bool // takes all of its room at once; zeroed eagerly where it was
}

// An ImportSpec describes a VM to be made and where.
type ImportSpec struct {
	Name         string
	ConfigSpec   types.VirtualMachineConfigSpec
	Folder       string // managed object references
	ResourcePool string
	Host         string
	Datastore    string
}

// A Note says what of a VM is rebuilt differently or not at all.
type Note struct {
	Device  string // label of the device, empty for the VM itself
	Message string
}

func (n Note) String() string {
	if n.Device == "" {
		return n.Message
	}
	return n.Device + ": " + n.Message
}

// SpecFromConfig describes a VM like the one whose VirtualMachineConfigInfo is
// given as XML (VMConfig.Raw): the same hardware, empty disks with the
// same keys, controllers, units and capacities, NICs that start disconnected,
// and none of the marks by which Cloud Director knows its own. The notes say
// what cannot be carried over. Reservations, limits and shares are left to
// the allocation model of the VDC.
func SpecFromConfig(raw []byte, o RebuildOptions) (ImportSpec, []Note, error) {
	info, err := decodeConfig(raw)
	if err != nil {
		return ImportSpec{}, nil, fmt.Errorf("rebuild %s: %w", o.Name, err)
	}
	r := &rebuilder{o: o, devices: map[int32]bool{}}
	spec := r.machine(info)
	for _, d := range info.Hardware.Device {
		r.controller(d)
	}
	for _, d := range info.Hardware.Device {
		r.device(d)
	}
	spec.DeviceChange = r.changes
	spec.BootOptions = r.bootOptions(info.BootOptions)
	return o.importSpec(spec), r.notes, nil
}

// ScratchSpec describes a small VM that only holds the given disks of a VM,
// to have them written by an import and swapped into the VM itself. Keys and
// controllers are those of the VM. ErrNotFound: the VM has no such disk.
func ScratchSpec(raw []byte, name string, diskKeys []int32, o RebuildOptions) (ImportSpec, error) {
	info, err := decodeConfig(raw)
	if err != nil {
		return ImportSpec{}, fmt.Errorf("scratch VM %s: %w", name, err)
	}
	o.Name = name
	r := &rebuilder{o: o, devices: map[int32]bool{}, scratch: true}
	needed := map[int32]bool{}
	var chosen []*types.VirtualDisk
	for _, key := range diskKeys {
		d := findDevice(info.Hardware.Device, key)
		if d == nil {
			return ImportSpec{}, fmt.Errorf("scratch VM %s: disk %d: %w", name, key, ErrNotFound)
		}
		needed[d.ControllerKey] = true
		chosen = append(chosen, d)
	}
	for _, d := range info.Hardware.Device {
		if needed[d.GetVirtualDevice().Key] {
			r.controller(d)
		}
	}
	for _, d := range chosen {
		r.disk(d)
	}
	spec := types.VirtualMachineConfigSpec{
		Name: name, Version: info.Version, GuestId: string(types.VirtualMachineGuestOsIdentifierOtherGuest64),
		NumCPUs: 1, MemoryMB: 128, Files: r.files(), VmProfile: r.profile(),
		Annotation:   "Scratch VM of a restore by vappvault. It can be deleted when no restore runs.",
		DeviceChange: r.changes,
	}
	return o.importSpec(spec), nil
}

func (o RebuildOptions) importSpec(spec types.VirtualMachineConfigSpec) ImportSpec {
	return ImportSpec{
		Name: o.Name, ConfigSpec: spec,
		Folder: o.Folder, ResourcePool: o.ResourcePool, Host: o.Host, Datastore: o.Datastore,
	}
}

// CreateVM makes a VM with empty disks and returns its managed object
// reference. When ctx ends while vCenter is at it, CreateVM waits for the VM
// and destroys it again.
func (c *Client) CreateVM(ctx context.Context, s ImportSpec) (string, error) {
	req := types.CreateVM_Task{
		This: ref("Folder", s.Folder), Config: s.ConfigSpec, Pool: ref("ResourcePool", s.ResourcePool),
	}
	if s.Host != "" {
		h := ref("HostSystem", s.Host)
		req.Host = &h
	}
	start := func(ctx context.Context) (types.ManagedObjectReference, error) {
		res, err := methods.CreateVM_Task(ctx, c.vim, &req)
		if err != nil {
			return types.ManagedObjectReference{}, err
		}
		return res.Returnval, nil
	}
	made, err := c.produce(ctx, start, func(ctx context.Context, made string) error { return c.VM(made).Destroy(ctx) })
	if err != nil {
		return "", fmt.Errorf("create VM %s: %w", s.Name, err)
	}
	return made, nil
}

// A rebuilder turns the configuration of a VM into a specification for one.
type rebuilder struct {
	o       RebuildOptions
	scratch bool
	changes []types.BaseVirtualDeviceConfigSpec
	devices map[int32]bool // keys of devices that the new VM has
	notes   []Note
}

func (r *rebuilder) note(device, format string, args ...any) {
	r.notes = append(r.notes, Note{Device: device, Message: fmt.Sprintf(format, args...)})
}

// add puts a device into the specification. Disks get a new file.
func (r *rebuilder) add(d types.BaseVirtualDevice) {
	change := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d}
	if _, ok := d.(*types.VirtualDisk); ok {
		change.FileOperation = types.VirtualDeviceConfigSpecFileOperationCreate
		change.Profile = r.profile()
	}
	r.changes = append(r.changes, change)
	r.devices[d.GetVirtualDevice().Key] = true
}

func (r *rebuilder) files() *types.VirtualMachineFileInfo {
	if r.o.DatastoreName == "" {
		return nil
	}
	return &types.VirtualMachineFileInfo{VmPathName: "[" + r.o.DatastoreName + "]"}
}

func (r *rebuilder) profile() []types.BaseVirtualMachineProfileSpec {
	if r.o.StoragePolicy == "" {
		return nil
	}
	return []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: r.o.StoragePolicy}}
}

// machine carries over what is not a device.
func (r *rebuilder) machine(info *types.VirtualMachineConfigInfo) types.VirtualMachineConfigSpec {
	spec := types.VirtualMachineConfigSpec{
		Name: r.o.Name, Version: info.Version, GuestId: info.GuestId, AlternateGuestName: info.AlternateGuestName,
		Annotation: info.Annotation, Files: r.files(), Tools: tools(info.Tools), Flags: flags(info.Flags),
		PowerOpInfo: powerOps(info.DefaultPowerOps),
		NumCPUs:     info.Hardware.NumCPU, NumCoresPerSocket: info.Hardware.NumCoresPerSocket, MemoryMB: int64(info.Hardware.MemoryMB),
		MemoryHotAddEnabled: info.MemoryHotAddEnabled,
		CpuHotAddEnabled:    info.CpuHotAddEnabled, CpuHotRemoveEnabled: info.CpuHotRemoveEnabled,
		VirtualICH7MPresent: info.Hardware.VirtualICH7MPresent, VirtualSMCPresent: info.Hardware.VirtualSMCPresent,
		MotherboardLayout: info.Hardware.MotherboardLayout, SimultaneousThreads: info.Hardware.SimultaneousThreads,
		LatencySensitivity: info.LatencySensitivity, SwapPlacement: info.SwapPlacement, Firmware: info.Firmware,
		MaxMksConnections: info.MaxMksConnections, GuestAutoLockEnabled: info.GuestAutoLockEnabled,
		NestedHVEnabled: info.NestedHVEnabled, VPMCEnabled: info.VPMCEnabled,
		MessageBusTunnelEnabled: info.MessageBusTunnelEnabled,
		RebootPowerOff:          info.RebootPowerOff, ConsolePreferences: info.ConsolePreferences, MigrateEncryption: info.MigrateEncryption,
		VmOpNotificationToAppEnabled: info.VmOpNotificationToAppEnabled, VmOpNotificationTimeout: info.VmOpNotificationTimeout,
		VirtualNuma: numa(info.NumaInfo),
		ExtraConfig: extraConfig(info.ExtraConfig), VmProfile: r.profile(),
	}
	if r.o.KeepUUID {
		spec.Uuid, spec.InstanceUuid = info.Uuid, info.InstanceUuid
	}
	if a := info.Hardware.AutoCoresPerSocket; a != nil && *a {
		spec.NumCoresPerSocket = nil // vCenter chooses, as it did
	}
	r.notCarried(info)
	return spec
}

// notCarried notes what a VM has that no specification makes again.
func (r *rebuilder) notCarried(info *types.VirtualMachineConfigInfo) {
	if info.KeyId != nil {
		r.note("", "the VM was encrypted and is rebuilt without encryption")
	}
	if info.SgxInfo != nil && info.SgxInfo.EpcSize > 0 {
		r.note("", "SGX enclave memory is not carried over")
	}
	if info.FtInfo != nil {
		r.note("", "fault tolerance is not carried over")
	}
	if info.VAppConfig != nil {
		r.note("", "OVF properties are not carried over; Cloud Director has them in its product sections")
	}
	if len(info.NpivNodeWorldWideName) > 0 || len(info.NpivPortWorldWideName) > 0 {
		r.note("", "its world wide names (NPIV) are not carried over")
	}
	if info.Pmem != nil {
		r.note("", "persistent memory is not carried over")
	}
	for _, guard := range []struct {
		name string
		on   *bool
	}{{"SEV", info.SevEnabled}, {"SEV-SNP", info.SevSnpEnabled}, {"TDX", info.TdxEnabled}} {
		if guard.on != nil && *guard.on {
			r.note("", "memory encrypted by the host (%s) is not carried over", guard.name)
		}
	}
	if s := info.ScheduledHardwareUpgradeInfo; s != nil && s.VersionKey != "" {
		r.note("", "the upgrade to hardware version %s that was planned is not carried over", s.VersionKey)
	}
}

// numa carries over a NUMA layout that somebody chose.
func numa(n *types.VirtualMachineVirtualNumaInfo) *types.VirtualMachineVirtualNuma {
	if n == nil || n.AutoCoresPerNumaNode != nil && *n.AutoCoresPerNumaNode {
		return nil
	}
	return &types.VirtualMachineVirtualNuma{CoresPerNumaNode: n.CoresPerNumaNode, ExposeVnumaOnCpuHotadd: n.VnumaOnCpuHotaddExposed}
}

// bootOptions carries over a boot order as far as it names devices that the
// new VM has.
func (r *rebuilder) bootOptions(b *types.VirtualMachineBootOptions) *types.VirtualMachineBootOptions {
	if b == nil {
		return nil
	}
	out := *b
	out.BootOrder = nil
	for _, d := range b.BootOrder {
		key := int32(-1)
		switch d := d.(type) {
		case *types.VirtualMachineBootOptionsBootableDiskDevice:
			key = d.DeviceKey
		case *types.VirtualMachineBootOptionsBootableEthernetDevice:
			key = d.DeviceKey
		}
		if key >= 0 && !r.devices[key] {
			r.note("", "device %d is not in the boot order: it is not rebuilt", key)
			continue
		}
		out.BootOrder = append(out.BootOrder, d)
	}
	return &out
}

func tools(t *types.ToolsConfigInfo) *types.ToolsConfigInfo {
	if t == nil {
		return nil
	}
	out := *t
	// State, not configuration.
	out.ToolsVersion, out.ToolsInstallType, out.LastInstallInfo = 0, "", nil
	// The guest must not be customized again because a backup caught it waiting.
	out.PendingCustomization, out.CustomizationKeyId = "", nil
	return &out
}

func flags(f types.VirtualMachineFlagInfo) *types.VirtualMachineFlagInfo {
	f.SnapshotLocked, f.SnapshotDisabled = nil, nil
	f.RecordReplayEnabled, f.FaultToleranceType, f.UseToe = nil, "", nil
	return &f
}

func powerOps(p types.VirtualMachineDefaultPowerOpInfo) *types.VirtualMachineDefaultPowerOpInfo {
	p.DefaultPowerOffType, p.DefaultSuspendType, p.DefaultResetType = "", "", "" // derived from the others
	return &p
}

// droppedKeys are extraConfig keys, or their beginnings where they end in a
// star, that must not follow a VM into its copy.
var droppedKeys = []string{
	// Cloud Director's marks: with them it would take the VM for its own.
	"cloud.*", "vcloud.*", "com.vmware.vcloud.*", "vmware.cloud.*",
	// State of the old VM and names of its files.
	"nvram", "sched.swap.derivedname", "migrate.*", "vmotion.*", "checkpoint.*", "snapshot.*", "replay.*",
	"ctkenabled", "vmware.tools.*", "tools.remindinstall", "hbr_filter.*", "uuid.*", "vc.uuid",
	"extendedconfigfile", "workingdir", "viv.moid", "numa.autosize.*", "monitor.phys_bits_used", "cleanshutdown",
	// Keys and passwords.
	"encryption.*", "datafilekey", "vtpm.*", "remotedisplay.vnc.*",
	// What the guest and its host report.
	"guestinfo.appinfo", "guestinfo.vmtools.*", "vmxstats.filename",
}

func extraConfig(list []types.BaseOptionValue) []types.BaseOptionValue {
	var out []types.BaseOptionValue
	for _, o := range list {
		kv := o.GetOptionValue()
		if _, ok := kv.Value.(string); ok && !dropped(strings.ToLower(kv.Key)) {
			out = append(out, &types.OptionValue{Key: kv.Key, Value: kv.Value})
		}
	}
	return out
}

func dropped(key string) bool {
	for _, d := range droppedKeys {
		if prefix, ok := strings.CutSuffix(d, "*"); ok && strings.HasPrefix(key, prefix) || key == d {
			return true
		}
	}
	// Per device: scsi0.sasWWID, scsi0:0.ctkEnabled, ethernet0.filter4.name …
	device, field, _ := strings.Cut(key, ".")
	nic := strings.HasPrefix(device, "ethernet")
	switch field {
	case "saswwid":
		return true
	case "ctkenabled", "filename", "redo":
		return strings.Contains(device, ":")
	case "generatedaddress", "generatedaddressoffset", "address":
		return nic
	}
	return nic && strings.HasPrefix(field, "filter")
}
