package director

import (
	"fmt"
	"strings"
	"time"
)

// A DiskSpec describes an independent disk, which is made with it.
type DiskSpec struct {
	ID                string // UUID; made when empty
	VDC               string // name or UUID
	Name, Description string
	SizeMB            int64
	Controller        string // pvscsi, lsilogic, lsilogic-sas, buslogic, sata, nvme, ide; lsilogic when empty
	StorageProfile    string // name; the VDC's default when empty
	Sharing           string // None, DiskSharing, ControllerSharing; None when empty
	Owner             string // user name in the organization; the system user when empty
	IOPS              int64
	AttachTo          []string // VMs as VAPP/VM, standalone ones by their name
}

// diskControllers are the buses by the names of DiskSpec.
var diskControllers = map[string][2]string{
	"": {"6", "lsilogic"}, "lsilogic": {"6", "lsilogic"}, "lsilogic-sas": {"6", "lsilogicsas"}, "buslogic": {"6", "buslogic"}, "pvscsi": {"6", "VirtualSCSI"},
	"sata": {"20", "vmware.sata.ahci"}, "nvme": {"20", "vmware.nvme.controller"}, "ide": {"5", ""},
}

// AddDisk makes an independent disk in a VDC, attaches it and returns its UUID.
func (s *Server) AddDisk(spec DiskSpec) (string, error) {
	s.mu.Lock()
	d, vms, err := s.newDisk(spec)
	s.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("disk %s: %w", spec.Name, err)
	}
	if err := s.makeDisk(s.ctx, d); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.status, s.disks[d.id] = stateResolved, d
	for _, m := range vms {
		if err := s.refresh(s.ctx, m); err != nil {
			return "", fmt.Errorf("disk %s: %w", spec.Name, err)
		}
		change, _, err := m.planAttach(d, "", "")
		if err != nil {
			return "", fmt.Errorf("disk %s: %w", spec.Name, err)
		}
		s.mu.Unlock()
		err = s.reconfigureDevices(s.ctx, m, change)
		s.mu.Lock()
		if err != nil {
			return "", fmt.Errorf("disk %s: attach: %w", spec.Name, err)
		}
		d.vms = append(d.vms, m)
	}
	return d.id, nil
}

func (s *Server) newDisk(spec DiskSpec) (*disk, []*vm, error) {
	v := s.vdcNamed(spec.VDC)
	if v == nil {
		return nil, nil, fmt.Errorf("no VDC %s", spec.VDC)
	}
	bus, found := diskControllers[spec.Controller]
	if !found {
		return nil, nil, fmt.Errorf("no controller %s", spec.Controller)
	}
	p := s.profileNamed(v, spec.StorageProfile)
	if p == nil {
		return nil, nil, fmt.Errorf("no storage profile %s in VDC %s", spec.StorageProfile, v.name)
	}
	owner := s.systemUser()
	if spec.Owner != "" {
		if owner = s.userNamed(v.org, spec.Owner); owner == nil {
			return nil, nil, fmt.Errorf("no user %s in the organization", spec.Owner)
		}
	}
	d := &disk{
		thing: thing{id: idOr(spec.ID), name: spec.Name, desc: spec.Description, seq: s.next()}, vdc: v.id, owner: owner.id, profile: p.id,
		sizeMB: spec.SizeMB, iops: spec.IOPS, busType: bus[0], busSub: bus[1], sharing: or(spec.Sharing, "None"), uuid: newID(), created: time.Now(),
	}
	if len(spec.AttachTo) > 1 && d.sharing == "None" {
		return nil, nil, fmt.Errorf("it is not shared and attached to %d VMs", len(spec.AttachTo))
	}
	var vms []*vm
	for _, name := range spec.AttachTo {
		m := s.vmAt(v, name)
		if m == nil {
			return nil, nil, fmt.Errorf("no VM %s in VDC %s", name, v.name)
		}
		vms = append(vms, m)
	}
	return d, vms, nil
}

// vmAt is the VM of a VDC that VAPP/VM or, for a standalone one, its name says.
func (s *Server) vmAt(v *vdc, name string) *vm {
	container, vmName, inside := strings.Cut(name, "/")
	for _, m := range s.vms {
		if m.vapp.vdc != v.id || m.vapp.template != nil {
			continue
		}
		if inside && m.vapp.name == container && m.name == vmName || !inside && m.vapp.auto && m.name == name {
			return m
		}
	}
	return nil
}
