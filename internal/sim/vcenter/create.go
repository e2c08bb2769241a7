package vcenter

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// createVM makes a VM with real disks in a folder. vcsim makes all of it but
// the disks.
func (s *Server) createVM(ctx *simulator.Context, req *types.CreateVM_Task) (types.ManagedObjectReference, error) {
	folder, ok := s.model.Map().Get(req.This).(*simulator.Folder)
	if !ok {
		return req.This, gone(req.This)
	}
	spec := req.Config
	if err := s.checkNewVM(ctx, folder, &spec); err != nil {
		return req.This, err
	}
	made := *req
	made.Config = spec
	return s.makeVM(ctx, folder, &made, s.vcsimCreate, false)
}

type vcsimMaker func(*simulator.Context, *simulator.Folder, *types.CreateVM_Task) (types.ManagedObjectReference, error)

// makeVM has vcsim make a VM's object and furnishes it. When that fails the
// object goes, and its files unless they were there before.
func (s *Server) makeVM(ctx *simulator.Context, folder *simulator.Folder, req *types.CreateVM_Task, maker vcsimMaker, keepFiles bool) (types.ManagedObjectReference, error) {
	spec := req.Config
	disks, rest, err := s.splitSpec(ctx, nil, spec.DeviceChange)
	if err != nil {
		return req.This, err
	}
	spec.DeviceChange = rest
	if fileName(spec.Name) != spec.Name {
		// vcsim doubles the devices of a VM whose name it has to escape, and
		// names files after it.
		spec.Name = fmt.Sprintf("vm-%d", s.taskSeq.Add(1))
	}
	host := req.Host
	if host == nil {
		host = &s.inv.hosts[int(s.taskSeq.Load())%len(s.inv.hosts)]
	}
	ref, err := s.vcsimMake(ctx, folder, &types.CreateVM_Task{This: req.This, Config: spec, Pool: req.Pool, Host: host}, maker)
	if err != nil {
		return req.This, err
	}
	if err := s.furnish(ctx, ref, disks, &req.Config, spec.Name); err != nil {
		if keepFiles {
			_, gerr := s.unregister(ctx, ref)
			return ref, errors.Join(err, gerr)
		}
		return ref, errors.Join(err, s.destroy(ctx, ref))
	}
	return ref, nil
}

// checkNewVM refuses what vcsim would accept or panic on.
func (s *Server) checkNewVM(ctx *simulator.Context, folder *simulator.Folder, spec *types.VirtualMachineConfigSpec) error {
	if spec.Name == "" {
		return refuse(&types.InvalidVmConfig{Property: "configSpec.name"}, "a VM needs a name")
	}
	if spec.Files == nil || spec.Files.VmPathName == "" {
		return refuse(&types.InvalidVmConfig{Property: "configSpec.files.vmPathName"}, "a VM needs a place for its files")
	}
	if err := checkHardware(spec); err != nil {
		return err
	}
	files := *spec.Files
	spec.Files = &files
	home, err := parseDS(files.VmPathName)
	if err != nil {
		return err
	}
	if _, err := s.store.local(home); err != nil {
		return err
	}
	if err := s.room(home, home.datastore, vmfsBlock); err != nil {
		return err
	}
	if !strings.HasSuffix(home.path, ".vmx") {
		dir := fileName(spec.Name)
		if home.path != "" {
			dir = home.base()
		}
		free, err := s.store.freeName(home.dir(), 0, numbered(dir))
		if err != nil {
			return err
		}
		files.VmPathName = free.join(fileName(spec.Name) + ".vmx").String()
		spec.Files = &files
	}
	var children []types.ManagedObjectReference
	ctx.WithLock(folder, func() { children = slices.Clone(folder.ChildEntity) })
	if spec.Version == "" {
		spec.Version = newestHardware
	}
	escaped := escapeName(spec.Name)
	for _, ref := range children {
		e, ok := s.model.Map().Get(ref).(mo.Entity)
		if !ok {
			continue
		}
		var name string
		ctx.WithLock(e, func() { name = e.Entity().Name })
		if name == escaped {
			return refuse(&types.DuplicateName{Name: spec.Name, Object: ref}, "the name %q already exists", spec.Name)
		}
	}
	return nil
}

// Limits of a VM's hardware (VMware Configuration Maximums, vSphere 8).
const (
	maxCPUs     = 768
	maxMemoryMB = 24 << 20
)

// checkHardware refuses CPUs and memory that no VM can have. Those that a spec
// leaves out are 0.
func checkHardware(spec *types.VirtualMachineConfigSpec) error {
	if n := spec.NumCPUs; n < 0 || n > maxCPUs {
		return refuse(&types.InvalidArgument{InvalidProperty: "configSpec.numCPUs"}, "a VM cannot have %d CPUs", n)
	}
	if n := spec.NumCoresPerSocket; n != nil && (*n < 0 || *n > maxCPUs) {
		return refuse(&types.InvalidArgument{InvalidProperty: "configSpec.numCoresPerSocket"}, "a socket cannot have %d cores", *n)
	}
	if mb := spec.MemoryMB; mb < 0 || mb%4 != 0 || mb > maxMemoryMB {
		return refuse(&types.InvalidArgument{InvalidProperty: "configSpec.memoryMB"}, "a VM cannot have %d MB of memory, which is a multiple of 4", mb)
	}
	return nil
}

// numbered names dir, dir_1, dir_2, ...
func numbered(dir string) func(int) string {
	if dir == "." || dir == ".." {
		dir = "vm" + dir
	}
	return func(n int) string {
		if n == 0 {
			return dir
		}
		return fmt.Sprintf("%s_%d", dir, n)
	}
}

// escapeName is what vSphere makes of characters that are special in paths.
func escapeName(name string) string {
	return strings.NewReplacer("%", "%25", "/", "%2f", "\\", "%5c").Replace(name)
}

// maxStem is how many bytes of a VM's name its folder and files are called
// after: the host's file systems take names of 255, and the longest ending is
// that of a delta of a disk in a numbered folder.
const maxStem = 200

// fileName is what a VM's folder and files are called after.
func fileName(name string) string { return shortened(escapeName(name)) }

// shortened keeps whole characters of a name, as many as files can have.
func shortened(name string) string {
	if len(name) <= maxStem {
		return name
	}
	end := maxStem
	for end > 0 && !utf8.RuneStart(name[end]) {
		end--
	}
	return strings.TrimRight(name[:end], " ")
}

// splitSpec separates the disks from the devices that vcsim takes care of,
// with keys settled.
func (s *Server) splitSpec(ctx *simulator.Context, vm *simulator.VirtualMachine, in []types.BaseVirtualDeviceConfigSpec) (disks, rest []types.BaseVirtualDeviceConfigSpec, err error) {
	var current []types.BaseVirtualDevice
	if vm != nil {
		ctx.WithLock(vm, func() { current = slices.Clone(vm.Config.Hardware.Device) })
	}
	newKeys(current, in)
	if err := tooMany(current, in); err != nil {
		return nil, nil, err
	}
	for i, b := range in {
		spec := b.GetVirtualDeviceConfigSpec()
		if spec.Device == nil {
			return nil, nil, invalidDevice(i, "no device")
		}
		if isDisk(spec.Device) {
			disks = append(disks, b)
			continue
		}
		if err := s.checkDevice(i, spec, current); err != nil {
			return nil, nil, err
		}
		if vm != nil {
			var tpm error
			ctx.WithLock(vm, func() {
				tpm = checkTPM(i, spec, vm.Config, vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff)
			})
			if tpm != nil {
				return nil, nil, tpm
			}
		}
		rest = append(rest, b)
	}
	return disks, rest, nil
}

// checkDevice refuses devices on which vcsim would panic.
func (s *Server) checkDevice(index int, spec *types.VirtualDeviceConfigSpec, current []types.BaseVirtualDevice) error {
	if spec.Operation != types.VirtualDeviceConfigSpecOperationAdd {
		old := findDevice(current, deviceKey(spec.Device))
		if old == nil {
			return invalidDevice(index, "device %d: not found", deviceKey(spec.Device))
		}
		if spec.Operation == types.VirtualDeviceConfigSpecOperationRemove {
			spec.Device = old
			return nil
		}
		if v := spec.Device.GetVirtualDevice(); v.Backing == nil {
			v.Backing = old.GetVirtualDevice().Backing
		}
	}
	card, ok := spec.Device.(types.BaseVirtualEthernetCard)
	if !ok {
		return nil
	}
	c := card.GetVirtualEthernetCard()
	if old, ok := findDevice(current, c.Key).(types.BaseVirtualEthernetCard); ok && spec.Operation == types.VirtualDeviceConfigSpecOperationEdit {
		keepNIC(c, old.GetVirtualEthernetCard())
	}
	return s.checkNIC(index, c)
}

// keepNIC completes an edit with what it does not change.
func keepNIC(c, old *types.VirtualEthernetCard) {
	if c.MacAddress == "" {
		c.MacAddress, c.AddressType = old.MacAddress, old.AddressType
	}
	if c.Connectable == nil && old.Connectable != nil {
		connectable := *old.Connectable
		c.Connectable = &connectable
	}
	if c.ControllerKey == 0 {
		c.ControllerKey = old.ControllerKey
	}
	if c.UnitNumber == nil {
		c.UnitNumber = old.UnitNumber
	}
}

func (s *Server) checkNIC(index int, c *types.VirtualEthernetCard) error {
	switch b := c.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		n, ok := s.networkNamed(b)
		if !ok {
			return refuse(&types.InvalidDeviceBacking{InvalidDeviceSpec: types.InvalidDeviceSpec{DeviceIndex: int32(index)}},
				"device change %d: network %q: not found", index, b.DeviceName)
		}
		nb := *b
		nb.DeviceName = n
		c.Backing = &nb
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		pg := types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: b.Port.PortgroupKey}
		if s.model.Map().Get(pg) == nil {
			return refuse(&types.InvalidDeviceBacking{InvalidDeviceSpec: types.InvalidDeviceSpec{DeviceIndex: int32(index)}},
				"device change %d: port group %q: not found", index, b.Port.PortgroupKey)
		}
	default:
		return invalidDevice(index, "network adapter with backing %T", b)
	}
	if c.MacAddress == "" {
		c.MacAddress, c.AddressType = s.newMAC(), string(types.VirtualEthernetCardMacTypeAssigned)
	} else if c.AddressType == "" {
		c.AddressType = string(types.VirtualEthernetCardMacTypeManual)
	}
	if c.Connectable == nil {
		c.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, AllowGuestControl: true}
	}
	return nil
}

func (s *Server) networkNamed(b *types.VirtualEthernetCardNetworkBackingInfo) (string, bool) {
	for _, ref := range s.inv.dc.Network {
		n, ok := s.model.Map().Get(ref).(*mo.Network)
		if ok && (n.Name == b.DeviceName || b.DeviceName == "" && b.Network != nil && *b.Network == ref) {
			return n.Name, true
		}
	}
	return "", false
}

func (s *Server) newMAC() string {
	n := s.macSeq.Add(1)
	return fmt.Sprintf("00:50:56:%02x:%02x:%02x", 0x80|(s.macBase+byte(n>>16))&0x3f, byte(n>>8), byte(n))
}

func (s *Server) vcsimCreate(ctx *simulator.Context, folder *simulator.Folder, req *types.CreateVM_Task) (types.ManagedObjectReference, error) {
	body, err := locking[*methods.CreateVM_TaskBody](ctx, folder, func() soap.HasFault { return folder.CreateVMTask(ctx, req) })
	if err != nil {
		return req.This, err
	}
	res, err := await(ctx, body.Res.Returnval)
	if err != nil {
		return req.This, err
	}
	ref, ok := res.(types.ManagedObjectReference)
	if !ok {
		return req.This, fmt.Errorf("create VM: unexpected result %T", res)
	}
	return ref, nil
}

func (s *Server) vcsimMake(ctx *simulator.Context, folder *simulator.Folder, req *types.CreateVM_Task, maker vcsimMaker) (types.ManagedObjectReference, error) {
	s.space.Lock()
	defer s.space.Unlock()
	ref, err := maker(ctx, folder, req)
	if err != nil {
		return ref, err
	}
	// vcsim shares default devices between all VMs: take copies.
	vm, err := s.vm(ref)
	if err != nil {
		return ref, err
	}
	var failed error
	ctx.WithLock(vm, func() {
		devices, err := copyDevices(vm.Config.Hardware.Device)
		if err != nil {
			failed = fmt.Errorf("copy devices: %w", err)
			return
		}
		vm.Config.Hardware.Device = devices
	})
	return ref, failed
}

// furnish gives a VM that vcsim made its disks and files.
func (s *Server) furnish(ctx *simulator.Context, ref types.ManagedObjectReference, disks []types.BaseVirtualDeviceConfigSpec, spec *types.VirtualMachineConfigSpec, madeAs string) error {
	vm, err := s.vm(ref)
	if err != nil {
		return err
	}
	var home dsPath
	var name string
	var devices []types.BaseVirtualDevice
	ctx.WithLock(vm, func() {
		home, err = parseDS(vm.Config.Files.VmPathName)
		name, devices = escapeName(spec.Name), vm.Config.Hardware.Device
		ctx.Update(vm, []types.PropertyChange{{Name: "name", Val: name}, {Name: "config.name", Val: name}, {Name: "summary.config.name", Val: name}})
		vm.Config.VAppConfig = vappConfig(vm.Config.VAppConfig)
	})
	if err != nil {
		return err
	}
	if madeAs != name {
		if local, err := s.store.local(home.dir().join(madeAs + ".nvram")); err == nil {
			_ = os.Remove(local)
		}
	}
	vs := newVMState(ref)
	vs.tracking = spec.ChangeTrackingEnabled != nil && *spec.ChangeTrackingEnabled
	s.mu.Lock()
	s.vms[ref] = vs
	s.mu.Unlock()
	plan, err := s.planDisks(vs, home.dir(), name, devices, disks)
	if err != nil {
		return err
	}
	if err := plan.commit(); err != nil {
		return err
	}
	s.setPolicies(vs, vmHome, spec.VmProfile)
	if err := s.writeNVRAM(home); err != nil {
		return err
	}
	return s.settle(ctx, vs)
}

// vappConfig is nil for a VM without one: vcsim's empty one says otherwise.
func vappConfig(c types.BaseVmConfigInfo) types.BaseVmConfigInfo {
	if c == nil {
		return nil
	}
	if i := c.GetVmConfigInfo(); i == nil || len(i.Product)+len(i.Property)+len(i.OvfSection) == 0 && i.IpAssignment.IpProtocol == "" {
		return nil
	}
	return c
}

// settle publishes a VM's state and writes its .vmx.
func (s *Server) settle(ctx *simulator.Context, vs *vmState) error {
	if err := s.publish(ctx, vs); err != nil {
		return err
	}
	return s.writeVMX(ctx, vs)
}

// CreateVMTask makes a VM.
func (f *vmFolder) CreateVMTask(ctx *simulator.Context, req *types.CreateVM_Task) soap.HasFault {
	task := f.s.startTask(ctx, f.Self, "CreateVM_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		ref, err := f.s.createVM(ctx, req)
		if err != nil {
			return nil, err
		}
		return ref, nil
	})
	return &methods.CreateVM_TaskBody{Res: &types.CreateVM_TaskResponse{Returnval: task}}
}
