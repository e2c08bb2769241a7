package vcenter_test

import (
	"context"
	"testing"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func TestQuiescingNeedsTools(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, c := range []struct {
		tools    string
		on       bool
		quiesced bool
		status   string
	}{
		{vcenter.ToolsRunning, true, true, "guestToolsRunning"},
		{vcenter.ToolsRunning, false, false, "guestToolsNotRunning"},
		{vcenter.ToolsStopped, true, false, "guestToolsNotRunning"},
		{vcenter.ToolsNone, true, false, "guestToolsNotRunning"},
	} {
		s := start(t)
		cl := dial(t, s)
		vm := machine(t, s, cl, vcenter.VMSpec{Name: "vm", PowerOn: c.on, Tools: c.tools, Disks: []vcenter.DiskSpec{{Size: mib}}})
		if got := props(t, vm).Guest.ToolsRunningStatus; got != c.status {
			t.Errorf("%s, on %v: got %s, want %s", c.tools, c.on, got, c.status)
		}
		task, err := vm.CreateSnapshot(ctx, "x", "", false, true)
		done(t, task, err)
		if got := props(t, vm).Snapshot.RootSnapshotList[0].Quiesced; got != c.quiesced {
			t.Errorf("%s, on %v: got quiesced %v", c.tools, c.on, got)
		}
		err = vm.RebootGuest(ctx)
		switch {
		case c.quiesced && err != nil:
			t.Error(err)
		case c.on && !c.quiesced && !fault.Is(err, &types.ToolsUnavailable{}):
			t.Errorf("got %v, want ToolsUnavailable", err)
		case !c.on && !fault.Is(err, &types.InvalidPowerState{}):
			t.Errorf("got %v, want InvalidPowerState", err)
		}
		if err := vm.ShutdownGuest(ctx); (err == nil) != c.quiesced {
			t.Errorf("%s, on %v: shut down: %v", c.tools, c.on, err)
		}
	}
}

func TestAFrozenGuestTimesOut(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib}}})
	s.Faults().FreezeGuest(vm.Reference().Value, 200*time.Millisecond)
	began := time.Now()
	_, err := finish(vm.CreateSnapshot(context.Background(), "x", "", false, true))
	if !fault.Is(err, &types.ApplicationQuiesceFault{}) || time.Since(began) < 200*time.Millisecond {
		t.Errorf("got %v after %s", err, time.Since(began))
	}
	if props(t, vm).Snapshot != nil {
		t.Error("a snapshot stays")
	}
}

func controller(kind string, bus int32) types.BaseVirtualDevice {
	v := types.VirtualController{VirtualDevice: types.VirtualDevice{Key: -10 - bus}, BusNumber: bus}
	switch kind {
	case "scsi":
		return &types.ParaVirtualSCSIController{VirtualSCSIController: types.VirtualSCSIController{VirtualController: v, SharedBus: "noSharing"}}
	case "sata":
		return &types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: v}}
	}
	return &types.VirtualNVMEController{VirtualController: v}
}

func TestControllersAndUnitsRunOut(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm"})
	for _, kind := range []string{"scsi", "sata", "nvme"} {
		for bus := range int32(5) {
			err := reconfigure(vm, change("add", "", controller(kind, bus)))
			if bus < 4 && err != nil {
				t.Fatal(err)
			}
			if bus == 4 && !fault.Is(err, &types.TooManyDevices{}) {
				t.Errorf("%s: got %v, want TooManyDevices", kind, err)
			}
		}
	}
	old := machine(t, s, c, vcenter.VMSpec{Name: "old", HardwareVersion: "vmx-13", Disks: []vcenter.DiskSpec{{Size: mib}, {Size: mib, Controller: "nvme"}}})
	for _, d := range []struct {
		vm         *object.VirtualMachine
		controller int32
		unit       int32
		ok         bool
	}{
		{vm, 1000, 63, true}, {vm, 1000, 64, false}, {vm, 1000, 7, false}, {vm, 31000, 63, true},
		{old, 1000, 15, true}, {old, 1000, 16, false}, {old, 31000, 14, true}, {old, 31000, 15, false},
		{vm, 15000, 29, true}, {vm, 15000, 30, false}, {vm, 200, 1, true}, {vm, 200, 2, false},
	} {
		err := reconfigure(d.vm, change("add", "create", diskOn(-1, d.controller, d.unit, "", mib)))
		if (err == nil) != d.ok {
			t.Errorf("controller %d, unit %d: got %v", d.controller, d.unit, err)
		}
	}
}

func TestWhatARunningVMDoesNotLetChange(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib}, {Size: mib, Controller: "ide"}}})
	for _, d := range disks(props(t, vm).Config.Hardware.Device) {
		bigger := *d
		bigger.CapacityInBytes, bigger.CapacityInKB = 2*mib, 2*mib/1024
		err := reconfigure(vm, change("edit", "", &bigger))
		if ide := d.ControllerKey == 200; ide != fault.Is(err, &types.InvalidPowerState{}) {
			t.Errorf("grow on controller %d: got %v", d.ControllerKey, err)
		}
		mode := *d
		b := *flat(d)
		b.DiskMode = "independent_persistent"
		mode.Backing = &b
		if err := reconfigure(vm, change("edit", "", &mode)); !fault.Is(err, &types.InvalidPowerState{}) {
			t.Errorf("got %v, want InvalidPowerState", err)
		}
	}
}

func TestPoliciesStayWithDisks(t *testing.T) {
	t.Parallel()
	s := start(t, mallory("VirtualMachine.Interact.PowerOn"))
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: mib}}})
	p, err := pbm.NewClient(ctx, c.Client)
	if err != nil {
		t.Fatal(err)
	}
	id, err := p.ProfileIDByName(ctx, "VVol No Requirements Policy")
	if err != nil {
		t.Fatal(err)
	}
	policy := []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: id}}
	disk := disks(props(t, vm).Config.Hardware.Device)[0]
	edit := change("edit", "", disk)
	edit.Profile = policy
	if err := reconfigure(vm, edit); err != nil {
		t.Fatal(err)
	}
	task, err := vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{VmProfile: policy})
	done(t, task, err)
	key := vm.Reference().Value
	refs := []pbmtypes.PbmServerObjectRef{{ObjectType: "virtualMachine", Key: key}, {ObjectType: "virtualDiskId", Key: key + ":2000"},
		{ObjectType: "virtualDiskId", Key: key + ":2001"}}
	got, err := p.QueryAssociatedProfiles(ctx, refs)
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	for i, n := range []int{1, 1, 0} {
		if len(got[i].ProfileId) != n || n > 0 && got[i].ProfileId[0].UniqueId != id {
			t.Errorf("%s: got policies %v", refs[i].Key, got[i].ProfileId)
		}
	}
	what, err := p.QueryAssociatedEntity(ctx, pbmtypes.PbmProfileId{UniqueId: id}, "virtualDiskId")
	if err != nil || len(what) != 1 || what[0].Key != key+":2000" {
		t.Errorf("got %v, %v", what, err)
	}
	out, err := p.DeleteProfile(ctx, []pbmtypes.PbmProfileId{{UniqueId: id}})
	if err != nil || len(out) != 1 || out[0].Fault == nil {
		t.Errorf("a policy that is used is deleted: %v, %v", out, err)
	}
}

func TestHostsSayWhatTheyRun(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	if v := c.ServiceContent.About.ApiVersion; v != "8.0.2.0" {
		t.Errorf("got vCenter's API %s", v)
	}
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm"})
	var h mo.HostSystem
	if err := property.DefaultCollector(c.Client).RetrieveOne(context.Background(), *props(t, vm).Runtime.Host, []string{"config.product"}, &h); err != nil {
		t.Fatal(err)
	}
	if h.Config.Product.Version != "8.0.2" || props(t, vm).Config.Version != "vmx-21" {
		t.Errorf("got host %s with %s", h.Config.Product.Version, props(t, vm).Config.Version)
	}
}

func TestRawDeviceMappings(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib, Raw: "virtual"}, {Size: mib}}})
	content := random(5000)
	write(t, guest(t, s, vm, 0), 0, content)
	snap := snapshot(t, vm, "x")
	for _, d := range append(frozen(t, vm, snap)[:1], disks(props(t, vm).Config.Hardware.Device)[0]) {
		raw, ok := d.Backing.(*types.VirtualDiskRawDiskMappingVer1BackingInfo)
		if !ok || raw.CompatibilityMode != "virtualMode" || raw.LunUuid == "" {
			t.Errorf("got backing %+v", d.Backing)
		}
	}
	removeSnapshot(t, vm, snap, false)
	reads(t, guest(t, s, vm, 0), 0, content)
	pass := machine(t, s, c, vcenter.VMSpec{Name: "pass", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib}, {Size: mib, Raw: "physical"}}})
	if _, err := finish(pass.CreateSnapshot(ctx, "x", "", false, false)); !fault.Is(err, &types.SnapshotFault{}) {
		t.Errorf("got %v, want SnapshotFault", err)
	}
	if err := s.PowerOff(pass.Reference().Value); err != nil {
		t.Fatal(err)
	}
	if got := len(frozen(t, pass, snapshot(t, pass, "off"))); got == 0 {
		t.Error("a VM that is off cannot be frozen without its LUN")
	}
	if _, err := clone(pass, where(t, c), "no", types.VirtualMachineCloneSpec{}); !fault.Is(err, &types.NotSupported{}) {
		t.Errorf("got %v, want NotSupported", err)
	}
}

func TestEncryptedVMs(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	spec := vcenter.VMSpec{Name: "vm", Firmware: "efi", Key: "kms/1234", TPM: true, Disks: []vcenter.DiskSpec{{Size: mib}}}
	p := props(t, machine(t, s, c, spec))
	if p.Config.KeyId == nil || p.Config.KeyId.ProviderId.Id != "kms" || flat(disks(p.Config.Hardware.Device)[0]).KeyId.KeyId != "1234" {
		t.Errorf("got key %+v", p.Config.KeyId)
	}
	if len(object.VirtualDeviceList(p.Config.Hardware.Device).SelectByType((*types.VirtualTPM)(nil))) != 1 {
		t.Error("no TPM")
	}
	for _, bad := range []vcenter.VMSpec{{Name: "bios", Firmware: "bios", Key: "1", TPM: true}, {Name: "open", Firmware: "efi", TPM: true}} {
		if _, err := s.AddVM(bad); err == nil {
			t.Errorf("%s: has a TPM", bad.Name)
		}
	}
}

func TestVMsAddedAtOnceHaveTheirHardware(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	refs, err := s.AddVMs([]vcenter.VMSpec{{Name: "vm", Firmware: "efi", Key: "kms/1", TPM: true, Tools: vcenter.ToolsNone, PowerOn: true, MemoryMB: 1024,
		Disks: []vcenter.DiskSpec{{Size: mib, Thin: true}, {Size: mib, Raw: "physical"}}}})
	if err != nil {
		t.Fatal(err)
	}
	vm := object.NewVirtualMachine(c.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: refs[0]})
	p := props(t, vm)
	list := disks(p.Config.Hardware.Device)
	if p.Config.KeyId == nil || flat(list[0]).KeyId == nil {
		t.Errorf("got keys %v, %v", p.Config.KeyId, flat(list[0]).KeyId)
	}
	if raw, ok := list[1].Backing.(*types.VirtualDiskRawDiskMappingVer1BackingInfo); !ok || raw.CompatibilityMode != "physicalMode" {
		t.Errorf("got backing %T", list[1].Backing)
	}
	if len(object.VirtualDeviceList(p.Config.Hardware.Device).SelectByType((*types.VirtualTPM)(nil))) != 1 {
		t.Error("no TPM")
	}
	if p.Guest.ToolsStatus != types.VirtualMachineToolsStatusToolsNotInstalled {
		t.Errorf("got tools %s", p.Guest.ToolsStatus)
	}
	if err := s.Migrate(refs[0], "", "ds2"); err != nil {
		t.Error(err)
	}
	if _, err := s.AddVMs([]vcenter.VMSpec{{Name: "open", Firmware: "efi", TPM: true}}); err == nil {
		t.Error("a VM that is not encrypted has a TPM")
	}
}
