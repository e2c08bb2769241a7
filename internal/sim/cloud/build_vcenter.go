package cloud

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// startVCenter starts a vCenter and makes the VMs that live in it. It returns
// their morefs.
func (c *Cloud) startVCenter(s *Site, spec *VCenter) (*runningVCenter, map[*VM]string, error) {
	cert, err := c.ca.server(c.host)
	if err != nil {
		return nil, nil, fmt.Errorf("vCenter %s: certificate: %w", spec.Name, err)
	}
	config := vcenter.Config{
		Dir:          filepath.Join(datastoresDir(c.dir), s.ID, spec.Name),
		Listen:       net.JoinHostPort(c.host, "0"),
		TLS:          cert,
		Name:         spec.Name,
		InstanceUUID: spec.InstanceUUID,
		Users:        map[string]string{spec.User: spec.Password},
		Datacenter:   spec.Datacenter,
		Cluster:      spec.Cluster,
		Hosts:        spec.Hosts,
		Networks:     spec.Networks,
		TaskDelay:    time.Duration(spec.TaskDelay),
		Rules:        c.faults,
		Label:        s.ID + "/" + spec.Name,

		MaxSessions: spec.MaxSessions, SessionTimeout: time.Duration(spec.SessionTimeout), NFCProxy: spec.NFCProxy,
	}
	for _, u := range spec.Users {
		config.Accounts = append(config.Accounts, vcenter.User(u))
	}
	for _, d := range spec.Datastores {
		config.Datastores = append(config.Datastores, vcenter.Datastore{Name: d.Name, Capacity: int64(d.Capacity), Type: d.Type})
	}
	for o := range s.Orgs {
		for v := range s.Orgs[o].VDCs {
			if vdc := &s.Orgs[o].VDCs[v]; vdc.VCenter == spec.Name {
				config.ResourcePools = append(config.ResourcePools, vdc.ResourcePool)
			}
		}
	}
	server, err := vcenter.Start(config)
	if err != nil {
		return nil, nil, fmt.Errorf("vCenter %s: %w", spec.Name, err)
	}
	vc := &runningVCenter{spec: spec, dir: config.Dir, server: server}
	morefs, err := c.addVMs(s, vc)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("vCenter %s: %w", spec.Name, err), server.Close())
	}
	return vc, morefs, nil
}

func (c *Cloud) addVMs(s *Site, vc *runningVCenter) (map[*VM]string, error) {
	morefs := map[*VM]string{}
	var problems []error
	c.inventory.eachVM(func(p place, vm *VM) {
		if p.site != s || p.vdc.VCenter != vc.spec.Name {
			return
		}
		moref, err := addVM(p, vc, vm)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", p.path(vm), err))
		}
		morefs[vm] = moref
	})
	return morefs, errors.Join(problems...)
}

// addVM makes a VM as vCD would have left it in vCenter: in its VDC's
// resource pool, under a name that no other VM has.
func addVM(p place, vc *runningVCenter, vm *VM) (string, error) {
	id := p.uuid("vm", vm.Name)
	spec := vcenter.VMSpec{
		Name:            fmt.Sprintf("%s (%s)", vm.Name, id),
		UUID:            p.uuid("bios", vm.Name),
		InstanceUUID:    p.uuid("instance", vm.Name),
		GuestID:         vm.GuestID,
		HardwareVersion: vm.HardwareVersion,
		Firmware:        vm.Firmware,
		Folder:          p.folder(),
		ResourcePool:    p.vdc.ResourcePool,
		Datastore:       p.vdc.datastore(vm.StorageProfile),
		NumCPU:          vm.CPUs,
		MemoryMB:        int(vm.Memory >> 20),
		ExtraConfig:     vm.ExtraConfig,
	}
	for _, d := range vm.Disks {
		unit := -1
		if d.Unit != nil {
			unit = *d.Unit
		}
		disk := vcenter.DiskSpec{
			Size: int64(d.Size), From: d.From, Thin: !d.Thick, Controller: d.Controller, Bus: d.Bus, Unit: unit,
			Mode: d.Mode, Sharing: d.Sharing,
		}
		if d.StorageProfile != "" {
			disk.Datastore = p.vdc.datastore(d.StorageProfile)
		}
		spec.Disks = append(spec.Disks, disk)
	}
	for i, n := range vm.NICs {
		nic := vcenter.NICSpec{MAC: n.MAC, Network: p.portGroup(n.Network), Type: strings.ToLower(n.Type)}
		if nic.MAC == "" {
			nic.MAC = mac(p.path(vm), fmt.Sprint(i))
		}
		spec.NICs = append(spec.NICs, nic)
	}
	moref, err := vc.server.AddVM(spec)
	if err != nil {
		return "", err
	}
	return moref, finishVM(p, vc, vm, moref)
}

// finishVM does what can only be done to a VM that exists.
func finishVM(p place, vc *runningVCenter, vm *VM, moref string) error {
	for i, d := range vm.Disks {
		if d.Fill == 0 {
			continue
		}
		disk, err := vc.server.Disk(moref, i)
		if err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
		if err := vdisk.Fill(disk, disk.Size(), int64(d.Fill), fmt.Sprintf("%s disk %d", p.path(vm), i)); err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
	}
	if vm.CoresPerSocket > 1 || vm.CPUHotAdd || vm.MemoryHotAdd {
		if err := vc.reconfigure(moref, vm); err != nil {
			return fmt.Errorf("reconfigure: %w", err)
		}
	}
	if vm.Power != "off" {
		if err := vc.server.PowerOn(moref); err != nil {
			return fmt.Errorf("power on: %w", err)
		}
	}
	return nil
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

// folder is where vCD keeps the VDC's VMs, below the datacenter's VM folder.
func (p place) folder() string {
	p.vapp, p.catalog = nil, nil
	return fmt.Sprintf("%s (%s)", p.vdc.Name, p.uuid("vdc"))
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
