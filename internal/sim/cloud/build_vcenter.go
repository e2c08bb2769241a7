package cloud

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// serviceUser is the account that vCD has in its vCenters, apart from the
// administrator's, so that events, sessions and faults tell them apart.
const serviceUser = "vcd-service@vsphere.local"

func servicePassword(s *Site, vc *VCenter) string { return uuid("service password", s.ID, vc.Name) }

// startVCenter starts a vCenter and makes the VMs that live in it, where it does
// not have them from before. It returns their morefs.
func (c *Cloud) startVCenter(s *Site, spec *VCenter) (*runningVCenter, map[*VM]string, error) {
	name := s.ID + "/" + spec.Name
	cert, err := c.certificate(name)
	if err != nil {
		return nil, nil, fmt.Errorf("vCenter %s: certificate: %w", spec.Name, err)
	}
	config := vcenter.Config{
		Dir:          filepath.Join(datastoresDir(c.dir), s.ID, spec.Name),
		StateDir:     filepath.Join(stateDir(c.dir), s.ID, spec.Name),
		Listen:       c.listen(name, net.JoinHostPort(c.host, "0")),
		TLS:          cert,
		Name:         spec.Name,
		InstanceUUID: spec.InstanceUUID,
		Users:        map[string]string{spec.User: spec.Password, serviceUser: servicePassword(s, spec)},
		Datacenter:   spec.Datacenter,
		Cluster:      spec.Cluster,
		Hosts:        spec.Hosts,
		Networks:     spec.Networks,
		TaskDelay:    time.Duration(spec.TaskDelay),
		Rules:        c.faults,
		Label:        s.ID + "/" + spec.Name,

		MaxSessions: spec.MaxSessions, SessionTimeout: time.Duration(spec.SessionTimeout), NFCProxy: spec.NFCProxy,
		Disks: c.disks, HostDisks: spec.HostDisks, OpenDisks: spec.OpenDisks, DiskLockTimeout: time.Duration(spec.DiskLockTimeout),
	}
	for _, u := range spec.Users {
		config.Accounts = append(config.Accounts, vcenter.User(u))
	}
	for _, d := range spec.Datastores {
		config.Datastores = append(config.Datastores, vcenter.Datastore{Name: d.Name, Capacity: int64(d.Capacity), Type: d.Type})
	}
	config.ResourcePools = append(config.ResourcePools, spec.ResourcePools...)
	for o := range s.Orgs {
		for v := range s.Orgs[o].VDCs {
			if vdc := &s.Orgs[o].VDCs[v]; vdc.VCenter == spec.Name {
				config.ResourcePools = append(config.ResourcePools, vdc.ResourcePool)
			}
		}
	}
	server, err := vcenter.Start(config)
	if errors.Is(err, vcenter.ErrState) {
		return nil, nil, fmt.Errorf("%w: vCenter %s: %w", ErrState, spec.Name, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("vCenter %s: %w", spec.Name, err)
	}
	c.addresses[name] = server.URL().Host
	vc := &runningVCenter{spec: spec, dir: config.Dir, faults: c.faults, server: server}
	if c.restored {
		if !server.Restored() {
			return nil, nil, errors.Join(fmt.Errorf("%w: vCenter %s: its state is gone", ErrState, spec.Name), server.Close())
		}
		return vc, nil, nil
	}
	if err := server.AddFolders(spec.folders(s)...); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("vCenter %s: %w", spec.Name, err), server.Close())
	}
	morefs, err := c.addVMs(s, vc)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("vCenter %s: %w", spec.Name, err), server.Close())
	}
	return vc, morefs, nil
}

// folders are those of all VDCs in the vCenter, of the ones without a VM too:
// vCD makes them with the VDC.
func (vc *VCenter) folders(s *Site) []string {
	var all []string
	for o := range s.Orgs {
		for v := range s.Orgs[o].VDCs {
			if p := (place{site: s, org: &s.Orgs[o], vdc: &s.Orgs[o].VDCs[v]}); p.vdc.VCenter == vc.Name {
				all = append(all, p.orgFolder()+"/"+p.folder())
			}
		}
	}
	return all
}

// addVMs makes all VMs of a vCenter, as vCD would have left them there.
func (c *Cloud) addVMs(s *Site, vc *runningVCenter) (map[*VM]string, error) {
	var specs []vcenter.VMSpec
	var vms []*VM
	c.inventory.eachVM(func(p place, vm *VM) {
		if p.site == s && p.vdc.VCenter == vc.spec.Name {
			specs, vms = append(specs, vcenterVM(p, vm)), append(vms, vm)
		}
	})
	if len(specs) == 0 {
		return nil, nil
	}
	refs, err := vc.server.AddVMs(specs)
	if err != nil {
		return nil, err
	}
	morefs := make(map[*VM]string, len(vms))
	for i, vm := range vms {
		morefs[vm] = refs[i]
	}
	return morefs, nil
}

// vcenterVM is a VM as vCD leaves it in vCenter: in its VDC's resource pool and
// folder, under a name that no other VM has, with vCD's marks.
func vcenterVM(p place, vm *VM) vcenter.VMSpec {
	id := p.uuid("vm", vm.Name)
	spec := vcenter.VMSpec{
		Name:            fmt.Sprintf("%s (%s)", vm.Name, id),
		UUID:            p.uuid("bios", vm.Name),
		InstanceUUID:    p.uuid("instance", vm.Name),
		GuestID:         vm.GuestID,
		HardwareVersion: vm.HardwareVersion,
		Firmware:        vm.Firmware,
		Folder:          p.orgFolder() + "/" + p.folder(),
		ResourcePool:    p.vdc.ResourcePool,
		Datastore:       p.vdc.datastore(vm.StorageProfile),
		NumCPU:          vm.CPUs,
		CoresPerSocket:  vm.CoresPerSocket,
		CPUHotAdd:       vm.CPUHotAdd,
		MemoryHotAdd:    vm.MemoryHotAdd,
		MemoryMB:        int(vm.Memory >> 20),
		Tools:           vm.Tools, Key: vm.EncryptionKey, TPM: vm.TPM, CDDrive: vm.CDDrive,
		ExtraConfig: map[string]string{"cloud.uuid": id},
		ManagedBy:   "com.vmware.vcloud",
		ManagedType: "VirtualMachine",
		PowerOn:     vm.Power == "on",
		Suspended:   vm.Power == "suspended",
	}
	maps.Copy(spec.ExtraConfig, vm.ExtraConfig)
	for i, d := range vm.Disks {
		unit := -1
		if d.Unit != nil {
			unit = *d.Unit
		}
		disk := vcenter.DiskSpec{
			Size: int64(d.Size), From: d.From, Thin: !d.Thick, Controller: d.Controller, Bus: d.Bus, Unit: unit,
			Mode: d.Mode, Sharing: d.Sharing, Raw: d.Raw, Fill: int64(d.Fill), Seed: fmt.Sprintf("%s disk %d", p.path(vm), i),
		}
		if d.StorageProfile != "" {
			disk.Datastore = p.vdc.datastore(d.StorageProfile)
		}
		spec.Disks = append(spec.Disks, disk)
	}
	for i, n := range vm.NICs {
		spec.NICs = append(spec.NICs, vcenter.NICSpec{
			MAC: p.mac(vm, i), Network: p.portGroup(n.Network), Type: strings.ToLower(n.Type),
			Disconnected: n.Disconnected || n.Network == "",
		})
	}
	return spec
}

// mac is the address of a VM's NIC.
func (p place) mac(vm *VM, nic int) string {
	if given := vm.NICs[nic].MAC; given != "" {
		return given
	}
	return mac(p.path(vm), fmt.Sprint(nic))
}

// datastore is where a storage profile of the VDC puts disks; the default
// profile when the name is empty.
func (v *VDC) datastore(profile string) string {
	for _, p := range v.StorageProfiles {
		if p.Name == profile || profile == "" && p.Default {
			return p.Datastore
		}
	}
	return ""
}

// portGroup is the vCenter's network behind a network of the vApp, or of the
// VDC where there is no vApp. Isolated and routed vApp networks have none
// until vCD makes one.
func (p place) portGroup(network string) string {
	if p.vapp != nil {
		for _, n := range p.vapp.Networks {
			if n.Name == network && n.Type == "direct" {
				return p.vdc.portGroup(n.Parent)
			}
		}
		return ""
	}
	return p.vdc.portGroup(network)
}

func (v *VDC) portGroup(network string) string {
	for _, n := range v.Networks {
		if n.Name == network {
			return n.PortGroup
		}
	}
	return ""
}

// folder is where vCD keeps the VDC's VMs, below orgFolder. vSphere writes
// slashes and the percent sign of a name percent-encoded.
func (p place) folder() string {
	p.vapp, p.catalog = nil, nil
	return fmt.Sprintf("%s (%s)", vsphereName(p.vdc.Name), p.uuid("vdc"))
}

// orgFolder is where vCD keeps the organization's VDCs, below the datacenter's
// VM folder.
func (p place) orgFolder() string {
	return fmt.Sprintf("%s (%s)", vsphereName(p.org.Name), uuid("org", p.site.ID, p.org.Name))
}

// vsphereName is a name as vSphere keeps it.
func vsphereName(name string) string {
	return strings.NewReplacer("%", "%25", "/", "%2f", `\`, "%5c").Replace(name)
}

// uuid is the UUID of something in this place.
func (p place) uuid(kind string, names ...string) string {
	words := append([]string{kind, p.site.ID, p.org.Name, p.vdc.Name}, names...)
	if p.vapp != nil {
		words = append(words, "in", p.vapp.Name)
	}
	if p.catalog != nil {
		words = append(words, "of catalog", p.catalog.Name)
	}
	return uuid(words...)
}
