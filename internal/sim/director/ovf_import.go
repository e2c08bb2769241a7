package director

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/ovf"
)

// importEnvelope makes a template of a package whose files have arrived.
func (c *call) importEnvelope(ctx context.Context, t *vappTemplate, e *ovf.Envelope) error {
	s, a := c.s, t.content
	s.mu.Lock()
	err := c.readEnvelope(t, e)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for i := range e.Systems {
		if err := c.importSystem(ctx, t, e, &e.Systems[i]); err != nil {
			return fmt.Errorf("VM %s: %w", e.Systems[i].Name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range e.Startup {
		for i, sys := range e.Systems {
			if sys.ID == it.ID && i < len(a.vms) {
				a.startup[a.vms[i].id] = StartupItem{VM: a.vms[i].name, Order: it.Order, StartDelay: it.StartDelay, StopDelay: it.StopDelay,
					StartAction: it.StartAction, StopAction: it.StopAction}
			}
		}
	}
	return nil
}

// readEnvelope gives a template what its descriptor says of it as a whole.
func (c *call) readEnvelope(t *vappTemplate, e *ovf.Envelope) error {
	a := t.content
	var nets *node
	for _, s := range e.Sections {
		n := canon(s)
		switch n.Tag {
		case "NetworkConfigSection":
			nets = n
		case "CustomizationSection":
			t.customize, t.gold = truth(value(n, "CustomizeOnInstantiate")), truth(attr(n, "goldMaster"))
		case "ProductSection":
			a.products = append(a.products, n)
		case "EulaSection":
			t.eulas = append(t.eulas, raw(n, "License"))
		}
	}
	if nets == nil {
		nets = plainNetworks(e)
	}
	for _, nc := range childrenOf(nets, "NetworkConfig") {
		// A parent network is one of the cloud that the package comes from.
		conf := child(nc, "Configuration")
		drop(conf, "ParentNetwork")
		if mode := child(conf, "FenceMode"); mode != nil {
			mode.SetText("isolated")
		}
		drop(conf, "RouterInfo")
		if scopeOf(conf).gateway == "" {
			drop(conf, "IpScopes")
			conf.InsertChildAt(0, add(el("IpScopes"), scopeNode(plainScope, false, nil)))
		}
		// Rules may name VMs that do not exist yet.
		drop(conf, "Features")
	}
	found, err := c.s.readNetworks(a, nets)
	if err != nil {
		return err
	}
	a.nets = found
	return nil
}

// plainScope is what a network gets whose package says nothing of addresses.
var plainScope = ipScope{gateway: "192.168.254.1", netmask: "255.255.255.0", ranges: []IPRange{{"192.168.254.100", "192.168.254.199"}}}

// plainNetworks makes isolated networks of those that are only named.
func plainNetworks(e *ovf.Envelope) *node {
	d := el("NetworkConfigSection")
	for _, n := range e.Networks {
		add(d, add(el("NetworkConfig", "networkName", n.Name), text("Description", n.Description), add(el("Configuration"),
			add(el("IpScopes"), scopeNode(plainScope, false, nil)), text("FenceMode", "isolated"))))
	}
	return d
}

// importSystem makes a VM of a virtual system.
func (c *call) importSystem(ctx context.Context, t *vappTemplate, e *ovf.Envelope, sys *ovf.System) error {
	s := c.s
	s.mu.Lock()
	v := s.vdcs[t.content.vdc]
	m := &vm{
		thing: thing{id: newID(), name: sys.Name, seq: s.next()}, vapp: t.content, vc: v.vc, scopedID: or(sys.ID, newID()), created: time.Now(),
		creating: true, computer: computerName(sys.Name), profile: t.profile, diskProfiles: map[int32]string{}, customize: t.customize,
	}
	var connections *node
	for _, sec := range sys.Sections {
		switch n := canon(sec); n.Tag {
		case "GuestCustomizationSection":
			m.setGuest(n)
		case "NetworkConnectionSection":
			connections = n
		case "ProductSection":
			m.products = append(m.products, n)
		case "EulaSection":
			t.eulas = append(t.eulas, raw(n, "License"))
		case "AnnotationSection":
			m.desc = raw(n, "Annotation")
		}
	}
	s.mu.Unlock()
	err := s.importVM(ctx, m, v, t, e, sys)
	if err == nil {
		err = s.claim(ctx, m, true)
	}
	if err != nil {
		return m.vc.unmake(ctx, m.moref, err)
	}
	s.join(m)
	s.mu.Lock()
	m.creating = false
	err = s.refresh(ctx, m)
	var ch *cardChange
	if err == nil && m.facts != nil {
		if connections == nil {
			connections = cardConnections(sys)
		}
		t.content.only(connections)
		ch, err = c.readConnections(m, connections)
	}
	s.mu.Unlock()
	if err != nil || ch == nil {
		return err
	}
	return s.connect(ctx, m, ch)
}

// only takes NICs off networks that the vApp does not have, and leaves MAC
// addresses to the server.
func (a *vapp) only(connections *node) {
	for _, n := range childrenOf(connections, "NetworkConnection") {
		drop(n, "MACAddress")
		if a.netNamed(attr(n, "network")) == nil {
			n.CreateAttr("network", noNetwork)
		}
		if value(n, "IpAddressAllocationMode") == "MANUAL" && value(n, "IpAddress") == "" {
			child(n, "IpAddressAllocationMode").SetText("DHCP")
		}
	}
}

// cardConnections are the NICs as the hardware items have them.
func cardConnections(sys *ovf.System) *node {
	d := el("NetworkConnectionSection")
	primary := 0
	var list []*node
	for i, k := range sys.Cards {
		if k.Primary {
			primary = i
		}
		list = append(list, add(el("NetworkConnection", "network", k.Network), number("NetworkConnectionIndex", i), opt("IpAddress", k.IP),
			boolean("IsConnected", k.Connected), text("IpAddressAllocationMode", or(k.Mode, "DHCP")), opt("NetworkAdapterType", cardType(k.Type))))
	}
	return add(add(d, number("PrimaryNetworkConnectionIndex", primary)), list...)
}

// cardType is vCD's name for an adapter type of OVF.
func cardType(t string) string {
	for _, known := range []string{"VMXNET3", "VMXNET2", "VMXNET", "E1000E", "E1000", "PCNet32"} {
		if strings.EqualFold(known, t) {
			return known
		}
	}
	return "VMXNET3"
}

// importVM makes the VM in vCenter and sends it the disks that have content.
func (s *Server) importVM(ctx context.Context, m *vm, v *vdc, t *vappTemplate, e *ovf.Envelope, sys *ovf.System) error {
	s.mu.Lock()
	p := s.profiles[m.profile]
	s.mu.Unlock()
	ds, err := v.vc.storeOf(ctx, p)
	if err != nil {
		return err
	}
	card, err := v.vc.backing(ctx, "")
	if err != nil {
		return err
	}
	spec, err := newMachine(marked(m.name, m.id), sys, e, card)
	if err != nil {
		return err
	}
	spec.config.Files = &types.VirtualMachineFileInfo{VmPathName: ds.Path("")}
	client, err := v.vc.connect(ctx)
	if err != nil {
		return err
	}
	// A call that is broken off may have made the VM all the same.
	after, end := past(ctx)
	defer end()
	lease, err := object.NewResourcePool(client, v.pool).ImportVApp(after, &types.VirtualMachineImportSpec{ConfigSpec: spec.config},
		object.NewFolder(client, v.folder), nil)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	info, err := lease.Wait(ctx, nil)
	if err != nil {
		return abandon(ctx, lease, fmt.Errorf("import: %w", err))
	}
	s.mu.Lock()
	m.moref = info.Entity.Value
	s.mu.Unlock()
	updater := lease.StartUpdater(ctx, info)
	err = s.sendDisks(ctx, lease, info, t.upload, spec)
	updater.Done()
	if err != nil {
		return abandon(ctx, lease, err)
	}
	if err := lease.Complete(ctx); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return s.addBlank(ctx, m, spec)
}

// abandon gives up an import that has failed; the failure counts.
func abandon(ctx context.Context, lease *nfc.Lease, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_ = lease.Abort(ctx, nil)
	return err
}

func (s *Server) sendDisks(ctx context.Context, lease *nfc.Lease, info *nfc.LeaseInfo, up *transfer, spec *machine) error {
	for i, dev := range info.DeviceUrl {
		if dev.Disk == nil || !*dev.Disk {
			continue
		}
		_, slot, _ := strings.Cut(strings.TrimPrefix(dev.ImportKey, "/"), "/")
		name, known := spec.files[slot[strings.LastIndex(slot, "/")+1:]]
		if !known {
			return fmt.Errorf("import: vCenter wants a disk %s that the package does not have", dev.ImportKey)
		}
		s.mu.Lock()
		f := up.file(name)
		s.mu.Unlock()
		if f == nil {
			return fmt.Errorf("import: no file %s", name)
		}
		if err := sendDisk(ctx, lease, info.Items[i], f.path); err != nil {
			return refuse(http.StatusBadRequest, "VMDK_UPLOAD_FAILED", "The disk %s cannot be imported: %s", name, err)
		}
	}
	return nil
}

func sendDisk(ctx context.Context, lease *nfc.Lease, item nfc.FileItem, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	return lease.Upload(ctx, item, f, soap.Upload{ContentLength: fi.Size()})
}

// addBlank adds the disks that have no content.
func (s *Server) addBlank(ctx context.Context, m *vm, spec *machine) error {
	if len(spec.blank) == 0 {
		return nil
	}
	obj, err := m.vc.vm(ctx, m.moref)
	if err != nil {
		return err
	}
	t, err := obj.Reconfigure(ctx, types.VirtualMachineConfigSpec{DeviceChange: spec.blank})
	if err := await(ctx, t, err); err != nil {
		return fmt.Errorf("empty disks: %w", err)
	}
	return nil
}

// A machine is a virtual system as vCenter makes it.
type machine struct {
	config types.VirtualMachineConfigSpec
	files  map[string]string // file name by slot, as ImportKeys name it
	blank  []types.BaseVirtualDeviceConfigSpec
}

func newMachine(name string, sys *ovf.System, e *ovf.Envelope, network types.BaseVirtualDeviceBackingInfo) (*machine, error) {
	m := &machine{files: map[string]string{}}
	m.config = types.VirtualMachineConfigSpec{
		Name: name, GuestId: or(sys.OSType, "otherGuest64"), Version: or(sys.Version, "vmx-13"), NumCPUs: int32(max(sys.CPUs, 1)), //nolint:gosec // bounded by the parser
		MemoryMB: max(sys.Memory>>20, 4), Firmware: or(sys.ConfigOf("firmware"), "bios"),
	}
	if sys.Cores > 0 && m.config.NumCPUs%int32(sys.Cores) == 0 { //nolint:gosec // small
		m.config.NumCoresPerSocket = types.NewInt32(int32(sys.Cores)) //nolint:gosec // small
	}
	m.config.CpuHotAddEnabled = types.NewBool(sys.ConfigOf("cpuHotAddEnabled") == "true")
	m.config.MemoryHotAddEnabled = types.NewBool(sys.ConfigOf("memoryHotAddEnabled") == "true")
	if sys.ConfigOf("nestedHVEnabled") == "true" {
		m.config.NestedHVEnabled = types.NewBool(true)
	}
	for _, p := range sys.ExtraConfig {
		m.config.ExtraConfig = append(m.config.ExtraConfig, &types.OptionValue{Key: p.Key, Value: p.Value})
	}
	return m, m.devices(sys, e, network)
}

func (m *machine) devices(sys *ovf.System, e *ovf.Envelope, network types.BaseVirtualDeviceBackingInfo) error {
	change := func(d types.BaseVirtualDevice, op types.VirtualDeviceConfigSpecFileOperation) *types.VirtualDeviceConfigSpec {
		return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, FileOperation: op, Device: d}
	}
	keys, devices := map[string]int32{}, map[string]types.BaseVirtualDevice{}
	for _, c := range sys.Controllers {
		dev, key := controllerFor(c)
		if dev == nil {
			return badRequest("The controller %q of VM %q is not supported.", c.SubType, sys.Name)
		}
		keys[c.InstanceID], devices[c.InstanceID] = key, dev
		if c.Kind != ovf.IDE { // every VM has those
			m.config.DeviceChange = append(m.config.DeviceChange, change(dev, ""))
		}
	}
	for i, d := range sys.Drives {
		key, found := keys[d.Parent]
		if d.Kind == ovf.Floppy || !found {
			continue
		}
		unit := int32(d.Unit) //nolint:gosec // vCenter refuses what is too much
		if d.Kind == ovf.CDROM {
			m.config.DeviceChange = append(m.config.DeviceChange, change(&types.VirtualCdrom{VirtualDevice: types.VirtualDevice{
				Key: int32(-3000 - i), ControllerKey: key, UnitNumber: &unit,
				Backing: &types.VirtualCdromRemotePassthroughBackingInfo{}, Connectable: &types.VirtualDeviceConnectInfo{AllowGuestControl: true}}}, ""))
			continue
		}
		disk := e.DiskOf(d.Disk)
		dev := &types.VirtualDisk{CapacityInBytes: disk.Capacity, CapacityInKB: disk.Capacity >> 10, VirtualDevice: types.VirtualDevice{
			Key: int32(-2000 - i), ControllerKey: key, UnitNumber: &unit,
			Backing: &types.VirtualDiskFlatVer2BackingInfo{DiskMode: string(types.VirtualDiskModePersistent), ThinProvisioned: types.NewBool(true)}}}
		f := e.FileOf(d.Disk)
		if f == nil {
			m.blank = append(m.blank, change(dev, types.VirtualDeviceConfigSpecFileOperationCreate))
			continue
		}
		if f.Compression != "" && f.Compression != "identity" {
			return badRequest("The file %s is compressed with %s, which is not supported.", f.Href, f.Compression)
		}
		bus := devices[d.Parent].(types.BaseVirtualController).GetVirtualController().BusNumber
		m.files[fmt.Sprintf("%s%d:%d", strings.TrimPrefix(fmt.Sprintf("%T", devices[d.Parent]), "*types."), bus, unit)] = f.Href
		m.config.DeviceChange = append(m.config.DeviceChange, change(dev, types.VirtualDeviceConfigSpecFileOperationCreate))
	}
	for i, k := range sys.Cards {
		card := newCard(k.Type)
		b := card.GetVirtualEthernetCard()
		b.Key, b.Backing = int32(-4000-i), network
		b.Connectable = &types.VirtualDeviceConnectInfo{AllowGuestControl: true}
		m.config.DeviceChange = append(m.config.DeviceChange, change(card.(types.BaseVirtualDevice), ""))
	}
	return nil
}

// controllerFor is a controller and the key that disks name it by.
func controllerFor(c ovf.Controller) (types.BaseVirtualDevice, int32) {
	bus := int32(c.Bus) //nolint:gosec // vCenter refuses what is too much
	base := func(key int32) types.VirtualController {
		return types.VirtualController{BusNumber: bus, VirtualDevice: types.VirtualDevice{Key: key}}
	}
	scsi := func() types.VirtualSCSIController {
		return types.VirtualSCSIController{VirtualController: base(1000 + bus), SharedBus: types.VirtualSCSISharingNoSharing}
	}
	switch sub := strings.ToLower(c.SubType); c.Kind {
	case ovf.IDE:
		return &types.VirtualIDEController{VirtualController: base(200 + bus)}, 200 + bus
	case ovf.NVMe:
		return &types.VirtualNVMEController{VirtualController: base(31000 + bus)}, 31000 + bus
	case ovf.SATA:
		return &types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: base(15000 + bus)}}, 15000 + bus
	default:
		switch sub {
		case "virtualscsi":
			return &types.ParaVirtualSCSIController{VirtualSCSIController: scsi()}, 1000 + bus
		case "lsilogicsas":
			return &types.VirtualLsiLogicSASController{VirtualSCSIController: scsi()}, 1000 + bus
		case "buslogic":
			return &types.VirtualBusLogicController{VirtualSCSIController: scsi()}, 1000 + bus
		case "", "lsilogic", "scsi":
			return &types.VirtualLsiLogicController{VirtualSCSIController: scsi()}, 1000 + bus
		}
	}
	return nil, 0
}
