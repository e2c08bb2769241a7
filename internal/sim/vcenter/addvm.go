package vcenter

import (
	"fmt"
	"os"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// AddVM puts a VM into the inventory and returns its moref.
func (s *Server) AddVM(v VMSpec) (string, error) {
	ctx := s.newContext()
	spec, err := s.configSpec(v)
	if err != nil {
		return "", fmt.Errorf("add VM %s: %w", v.Name, err)
	}
	folder, err := s.folder(ctx, v.Folder)
	if err != nil {
		return "", fmt.Errorf("add VM %s: %w", v.Name, err)
	}
	s.inv.mu.Lock()
	pool, ok := s.inv.pools[v.ResourcePool]
	s.inv.mu.Unlock()
	if !ok {
		return "", fmt.Errorf("add VM %s: resource pool %q: not found", v.Name, v.ResourcePool)
	}
	ref, err := s.createVM(ctx, &types.CreateVM_Task{This: folder, Config: *spec, Pool: pool})
	if err != nil {
		return "", fmt.Errorf("add VM %s: %w", v.Name, err)
	}
	if err := s.fill(ref, v, spec); err != nil {
		return "", fmt.Errorf("add VM %s: %w", v.Name, err)
	}
	if v.Key != "" {
		if err := s.encrypt(ctx, ref, v.Key); err != nil {
			return "", fmt.Errorf("add VM %s: %w", v.Name, err)
		}
	}
	if v.TPM {
		if err := s.addTPM(ctx, ref); err != nil {
			return "", fmt.Errorf("add VM %s: %w", v.Name, err)
		}
	}
	if v.Tools != "" {
		if err := s.SetTools(ref.Value, v.Tools); err != nil {
			return "", fmt.Errorf("add VM %s: %w", v.Name, err)
		}
	}
	if v.PowerOn {
		if err := s.PowerOn(ref.Value); err != nil {
			return "", fmt.Errorf("add VM %s: %w", v.Name, err)
		}
	}
	s.inv.mu.Lock()
	s.inv.names[v.Name] = ref.Value
	s.inv.mu.Unlock()
	return ref.Value, nil
}

// fill copies the disks' images in.
func (s *Server) fill(ref types.ManagedObjectReference, v VMSpec, spec *types.VirtualMachineConfigSpec) error {
	vs, err := s.mustState(ref)
	if err != nil {
		return err
	}
	var layers []*layer
	i := -1
	for _, b := range spec.DeviceChange {
		disk, ok := b.GetVirtualDeviceConfigSpec().Device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		i++
		from := v.Disks[i]
		if from.From == "" && from.Fill == 0 {
			continue
		}
		file := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo).GetVirtualDeviceFileBackingInfo().FileName
		vs.io.Lock()
		for _, d := range vs.disks {
			if d.top.file.String() == file {
				layers = append(layers, d.top)
				err = d.top.load(from)
			}
		}
		vs.io.Unlock()
		if err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
	}
	s.account(s.newContext(), layers...)
	return nil
}

// load writes the content that a spec gives a new disk.
func (l *layer) load(d DiskSpec) error {
	if d.From != "" {
		if err := copySparse(l.extentPath(), d.From); err != nil {
			return err
		}
	}
	return vdisk.Fill(l, l.capacity(), d.Fill, d.Seed)
}

func (s *Server) configSpec(v VMSpec) (*types.VirtualMachineConfigSpec, error) {
	if v.Name == "" {
		return nil, fmt.Errorf("no name")
	}
	if v.Datastore == "" {
		v.Datastore = s.cfg.Datastores[0].Name
	}
	if v.GuestID == "" {
		v.GuestID = string(types.VirtualMachineGuestOsIdentifierOtherLinux64Guest)
	}
	dir := fileName(v.Name)
	home, err := s.store.freeName(dsPath{v.Datastore, ""}, 0, numbered(dir))
	if err != nil {
		return nil, err
	}
	spec := &types.VirtualMachineConfigSpec{
		Name: v.Name, Uuid: v.UUID, InstanceUuid: v.InstanceUUID, GuestId: v.GuestID,
		NumCPUs: int32(v.NumCPU), MemoryMB: int64(v.MemoryMB), Version: v.HardwareVersion,
		Firmware: v.Firmware, Annotation: v.Annotation, CpuHotAddEnabled: ifTrue(v.CPUHotAdd), MemoryHotAddEnabled: ifTrue(v.MemoryHotAdd),
		Files: &types.VirtualMachineFileInfo{VmPathName: home.join(dir + ".vmx").String()},
	}
	if v.ManagedBy != "" {
		spec.ManagedBy = &types.ManagedByInfo{ExtensionKey: v.ManagedBy, Type: v.ManagedType}
	}
	if v.CoresPerSocket > 0 {
		spec.NumCoresPerSocket = types.NewInt32(int32(v.CoresPerSocket))
	}
	if v.ChangeTracking {
		spec.ChangeTrackingEnabled = types.NewBool(true)
	}
	for k, val := range v.ExtraConfig {
		spec.ExtraConfig = append(spec.ExtraConfig, &types.OptionValue{Key: k, Value: val})
	}
	if err := s.specDisks(spec, v, home); err != nil {
		return nil, err
	}
	specDrive(spec, v)
	return spec, s.specNICs(spec, v)
}

func ifTrue(b bool) *bool {
	if !b {
		return nil
	}
	return &b
}

func addDevice(spec *types.VirtualMachineConfigSpec, d types.BaseVirtualDevice, op types.VirtualDeviceConfigSpecFileOperation) {
	spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
		Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d, FileOperation: op,
	})
}

func (s *Server) specDisks(spec *types.VirtualMachineConfigSpec, v VMSpec, home dsPath) error {
	type slot struct {
		kind string
		bus  int
	}
	controllers := map[slot]int32{}
	for i, d := range v.Disks {
		if d.Controller == "" {
			d.Controller = "pvscsi"
		}
		if d.From != "" && d.Size == 0 {
			fi, err := os.Stat(d.From)
			if err != nil {
				return fmt.Errorf("disk %d: %w", i, err)
			}
			d.Size = (fi.Size() + sectorSize - 1) / sectorSize * sectorSize
		}
		at := slot{d.Controller, d.Bus}
		key, ok := controllers[at]
		if !ok {
			c, err := newController(d.Controller, int32(d.Bus))
			if err != nil {
				return fmt.Errorf("disk %d: %w", i, err)
			}
			key = deviceKey(c)
			if d.Controller != "ide" { // every VM has those
				addDevice(spec, c, "")
			}
			controllers[at] = key
		}
		dir := home
		if d.Datastore != "" && d.Datastore != home.datastore {
			dir.datastore = d.Datastore
		}
		name := home.base() + ".vmdk"
		if i > 0 {
			name = fmt.Sprintf("%s_%d.vmdk", home.base(), i)
		}
		disk := &types.VirtualDisk{
			VirtualDevice: types.VirtualDevice{
				Key: -int32(i) - 100, ControllerKey: key, UnitNumber: freeUnit(spec, key, d.Unit),
				Backing: &types.VirtualDiskFlatVer2BackingInfo{
					VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: dir.join(name).String()},
					DiskMode:                     d.Mode, ThinProvisioned: types.NewBool(d.Thin), Sharing: d.Sharing,
				},
			},
			CapacityInBytes: d.Size, CapacityInKB: d.Size / 1024,
		}
		if d.Raw != "" {
			disk.Backing = &rawBacking{
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: dir.join(name).String()},
				CompatibilityMode:            d.Raw + "Mode", DiskMode: d.Mode, Sharing: d.Sharing,
			}
		}
		addDevice(spec, disk, types.VirtualDeviceConfigSpecFileOperationCreate)
	}
	return nil
}

// specDrive adds a CD drive to the second of the IDE controllers that every VM
// has.
func specDrive(spec *types.VirtualMachineConfigSpec, v VMSpec) {
	if !v.CDDrive {
		return
	}
	addDevice(spec, &types.VirtualCdrom{VirtualDevice: types.VirtualDevice{
		Key: -99, ControllerKey: 201, UnitNumber: freeUnit(spec, 201, 0), Backing: &types.VirtualCdromRemoteAtapiBackingInfo{},
		Connectable: &types.VirtualDeviceConnectInfo{AllowGuestControl: true},
	}}, "")
}

// freeUnit is the unit that a disk asks for, or nil if it is taken or any
// will do.
func freeUnit(spec *types.VirtualMachineConfigSpec, controller int32, unit int) *int32 {
	for _, b := range spec.DeviceChange {
		o := b.GetVirtualDeviceConfigSpec().Device.GetVirtualDevice()
		if unit < 0 || o.ControllerKey == controller && o.UnitNumber != nil && *o.UnitNumber == int32(unit) {
			return nil
		}
	}
	return types.NewInt32(int32(unit))
}

func newController(kind string, bus int32) (types.BaseVirtualDevice, error) {
	scsi := types.VirtualSCSIController{
		VirtualController:  types.VirtualController{VirtualDevice: types.VirtualDevice{Key: 1000 + bus, ControllerKey: 100}, BusNumber: bus},
		SharedBus:          types.VirtualSCSISharingNoSharing,
		HotAddRemove:       types.NewBool(true),
		ScsiCtlrUnitNumber: 7,
	}
	switch kind {
	case "pvscsi":
		return &types.ParaVirtualSCSIController{VirtualSCSIController: scsi}, nil
	case "lsilogic":
		return &types.VirtualLsiLogicController{VirtualSCSIController: scsi}, nil
	case "lsilogic-sas":
		return &types.VirtualLsiLogicSASController{VirtualSCSIController: scsi}, nil
	case "buslogic":
		return &types.VirtualBusLogicController{VirtualSCSIController: scsi}, nil
	case "sata":
		return &types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: types.VirtualController{
			VirtualDevice: types.VirtualDevice{Key: 15000 + bus, ControllerKey: 100}, BusNumber: bus}}}, nil
	case "nvme":
		return &types.VirtualNVMEController{VirtualController: types.VirtualController{
			VirtualDevice: types.VirtualDevice{Key: 31000 + bus, ControllerKey: 100}, BusNumber: bus}}, nil
	case "ide":
		return &types.VirtualIDEController{VirtualController: types.VirtualController{
			VirtualDevice: types.VirtualDevice{Key: 200 + bus}, BusNumber: bus}}, nil
	}
	return nil, fmt.Errorf("controller %q: unknown", kind)
}

func (s *Server) specNICs(spec *types.VirtualMachineConfigSpec, v VMSpec) error {
	for i, n := range v.NICs {
		if n.Network == "" {
			n.Network = "VM Network"
		}
		backing, ok := s.inv.networks[n.Network]
		if !ok {
			return fmt.Errorf("network %q: not found", n.Network)
		}
		switch b := backing.(type) { // vcsim writes to backings
		case *types.VirtualEthernetCardNetworkBackingInfo:
			c := *b
			backing = &c
		case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
			c := *b
			backing = &c
		}
		card := types.VirtualEthernetCard{
			VirtualDevice: types.VirtualDevice{
				Key: int32(4000 + i), Backing: backing, ControllerKey: 100, UnitNumber: types.NewInt32(int32(7 + i)),
				Connectable: &types.VirtualDeviceConnectInfo{StartConnected: !n.Disconnected, AllowGuestControl: true, Connected: !n.Disconnected},
			},
			MacAddress: n.MAC, WakeOnLanEnabled: types.NewBool(true),
		}
		if n.MAC != "" {
			card.AddressType = string(types.VirtualEthernetCardMacTypeManual)
		}
		var d types.BaseVirtualDevice
		switch n.Type {
		case "", "vmxnet3":
			d = &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}
		case "e1000":
			d = &types.VirtualE1000{VirtualEthernetCard: card}
		case "e1000e":
			d = &types.VirtualE1000e{VirtualEthernetCard: card}
		default:
			return fmt.Errorf("network adapter %q: unknown", n.Type)
		}
		addDevice(spec, d, "")
	}
	return nil
}

// MoRef returns the moref of the VM of that name, the one that AddVM made
// last if there are several.
func (s *Server) MoRef(name string) (string, error) {
	s.inv.mu.Lock()
	ref, ok := s.inv.names[name]
	s.inv.mu.Unlock()
	if ok && s.state(vmRef(ref)) != nil {
		return ref, nil
	}
	ctx := s.newContext()
	s.mu.Lock()
	refs := make([]types.ManagedObjectReference, 0, len(s.vms))
	for r := range s.vms {
		refs = append(refs, r)
	}
	s.mu.Unlock()
	for _, r := range refs {
		vm, err := s.vm(r)
		if err != nil {
			continue
		}
		var n string
		ctx.WithLock(vm, func() { n = vm.Name })
		if n == name || n == escapeName(name) {
			return r.Value, nil
		}
	}
	return "", fmt.Errorf("VM %s: not found", name)
}
