package vsphere

import (
	"reflect"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"
)

// configFates says of every property of a VM's configuration what a rebuild
// makes of it: "carried" into the specification, "noted" as not carried over,
// or the reason why nothing becomes of it.
var configFates = map[string]string{
	"Version": "carried", "GuestId": "carried", "AlternateGuestName": "carried", "Annotation": "carried", "Uuid": "carried", "InstanceUuid": "carried",
	"Tools": "carried", "Flags": "carried", "ConsolePreferences": "carried", "DefaultPowerOps": "carried", "RebootPowerOff": "carried",
	"Hardware": "carried", "LatencySensitivity": "carried", "MemoryHotAddEnabled": "carried", "CpuHotAddEnabled": "carried", "CpuHotRemoveEnabled": "carried",
	"ExtraConfig": "carried", "SwapPlacement": "carried", "BootOptions": "carried", "Firmware": "carried", "MaxMksConnections": "carried",
	"GuestAutoLockEnabled": "carried", "NestedHVEnabled": "carried", "VPMCEnabled": "carried", "MessageBusTunnelEnabled": "carried", "MigrateEncryption": "carried",
	"NumaInfo": "carried", "VmOpNotificationToAppEnabled": "carried", "VmOpNotificationTimeout": "carried",

	"NpivNodeWorldWideName": "noted", "NpivPortWorldWideName": "noted", "FtInfo": "noted", "VAppConfig": "noted", "KeyId": "noted", "SgxInfo": "noted",
	"SevEnabled": "noted", "SevSnpEnabled": "noted", "TdxEnabled": "noted", "Pmem": "noted", "ScheduledHardwareUpgradeInfo": "noted",

	"Name":                         "the restore chooses it, vCD renames the VM",
	"GuestFullName":                "follows from the guest id",
	"Files":                        "the datastore decides",
	"CpuAllocation":                "the allocation model of the VDC decides",
	"MemoryAllocation":             "the allocation model of the VDC decides",
	"MemoryReservationLockedToMax": "the allocation model of the VDC decides",
	"ManagedBy":                    "vCD's mark, which the import gives anew",
	"ChangeTrackingEnabled":        "the next backup enables it",
	"SwapStorageObjectId":          "vSphere's own",
	"VmStorageObjectId":            "vSphere's own",
	"ChangeVersion":                "counts changes", "Modified": "counts changes", "CreateDate": "vSphere sets it", "VmxConfigChecksum": "counts changes",
	"InitialOverhead": "the host reports it", "HotPlugMemoryLimit": "the host reports it", "HotPlugMemoryIncrementSize": "the host reports it",
	"LocationId": "the host's", "DatastoreUrl": "the host's", "Template": "vCD has VMs of vApps here", "NetworkShaper": "port groups have it since vSphere 5",
	"CpuAffinity": "a host's CPUs, and refused in a cluster", "MemoryAffinity": "a host's memory, and refused in a cluster",
	"VcpuConfig": "record and replay, gone since vSphere 6", "VAssertsEnabled": "record and replay, gone since vSphere 6",
	"NpivWorldWideNameType": "only with names, which are noted", "NpivDesiredNodeWwns": "only with names, which are noted",
	"NpivDesiredPortWwns": "only with names, which are noted", "NpivTemporaryDisabled": "only with names, which are noted",
	"NpivOnNonRdmDisks":      "only with names, which are noted",
	"CpuFeatureMask":         "the cluster's compatibility mode decides; vCD offers no masks",
	"RepConfig":              "replication is set up anew, by its own product",
	"ForkConfigInfo":         "instant clones are rebuilt as whole VMs",
	"VFlashCacheReservation": "gone since vSphere 7", "GuestIntegrityInfo": "of encrypted hosts, the host decides", "ContentLibItemInfo": "tells where the VM came from",
	"FtEncryptionMode": "only with fault tolerance, which is noted", "MetroFtEnabled": "only with fault tolerance, which is noted",
	"MetroFtHostGroup": "only with fault tolerance, which is noted", "GuestMonitoringModeInfo": "the host's",
	"PmemFailoverEnabled": "only with persistent memory, which is noted", "VmxStatsCollectionEnabled": "the host's",
	"DeviceSwap": "is over when a VM runs", "DeviceGroups": "of passthrough devices, which are noted", "FixedPassthruHotPlugEnabled": "of passthrough devices, which are noted",
	"VmxRuntimeConfig": "of the VM that runs",
}

var hardwareFates = map[string]string{
	"NumCPU": "carried", "NumCoresPerSocket": "carried", "MemoryMB": "carried", "VirtualICH7MPresent": "carried", "VirtualSMCPresent": "carried",
	"MotherboardLayout": "carried", "SimultaneousThreads": "carried", "AutoCoresPerSocket": "carried",
	"Device": "each is carried or noted: see the tests of devices",
}

// fill makes something of every value that is not nothing.
func fill(v reflect.Value, depth int) {
	switch {
	case depth > 4:
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), depth+1)
			}
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Interface:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(7)
	case v.Kind() == reflect.String:
		v.SetString("x")
	}
}

// TestEveryPropertyOfAConfigurationHasAFate sets one property after the other
// and looks for it in the specification of the rebuilt VM, or in the notes.
func TestEveryPropertyOfAConfigurationHasAFate(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, fates map[string]string, of func(*types.VirtualMachineConfigInfo) reflect.Value) {
		plain, notes := rebuilt(t, &types.VirtualMachineConfigInfo{})
		typ := of(&types.VirtualMachineConfigInfo{}).Type()
		for i := range typ.NumField() {
			name := typ.Field(i).Name
			fate, known := fates[name]
			if !known && name != "DynamicData" {
				t.Errorf("%s has no fate", name)
				continue
			}
			info := &types.VirtualMachineConfigInfo{}
			set(t, info, name, of(info).Field(i))
			spec, more := rebuilt(t, info)
			switch {
			case fate == "carried" && reflect.DeepEqual(spec, plain):
				t.Errorf("%s is not carried over", name)
			case fate == "noted" && len(more) <= len(notes):
				t.Errorf("%s is not noted", name)
			case fate != "carried" && !reflect.DeepEqual(spec, plain):
				t.Errorf("%s is carried over, and said to be not: %s", name, fate)
			}
		}
	}
	t.Run("of the VM", func(t *testing.T) {
		check(t, configFates, func(i *types.VirtualMachineConfigInfo) reflect.Value { return reflect.ValueOf(i).Elem() })
	})
	t.Run("of its hardware", func(t *testing.T) {
		check(t, hardwareFates, func(i *types.VirtualMachineConfigInfo) reflect.Value { return reflect.ValueOf(&i.Hardware).Elem() })
	})
}

func set(t *testing.T, info *types.VirtualMachineConfigInfo, name string, v reflect.Value) {
	t.Helper()
	switch name {
	case "ExtraConfig":
		info.ExtraConfig = []types.BaseOptionValue{&types.OptionValue{Key: "guestinfo.x", Value: "y"}}
	case "Device", "DeviceGroups": // has tests of its own
	case "VAppConfig":
		info.VAppConfig = &types.VmConfigInfo{}
	case "FtInfo":
		info.FtInfo = &types.FaultToleranceConfigInfo{}
	case "NumaInfo":
		two := int32(2)
		info.NumaInfo = &types.VirtualMachineVirtualNumaInfo{CoresPerNumaNode: &two}
	case "NumCoresPerSocket", "AutoCoresPerSocket":
		two := int32(2)
		info.Hardware.NumCoresPerSocket = &two
	default:
		if strings.HasPrefix(v.Type().String(), "types.Base") {
			return
		}
		fill(v, 0)
	}
}

func rebuilt(t *testing.T, info *types.VirtualMachineConfigInfo) (types.VirtualMachineConfigSpec, []Note) {
	t.Helper()
	r := &rebuilder{o: RebuildOptions{Name: "new", KeepUUID: true}, devices: map[int32]bool{}}
	spec := r.machine(info)
	spec.BootOptions = r.bootOptions(info.BootOptions)
	return spec, r.notes
}
