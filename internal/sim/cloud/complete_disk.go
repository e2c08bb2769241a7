package cloud

import "strings"

// namedDisks checks the independent disks of a VDC. In vCD their names need not
// be unique; here they are, so that each has an id that lasts.
func (c *checker) namedDisks(thing string, o *Org, v *VDC) {
	unique(c, thing, "disk", v.Disks, func(d *NamedDisk) string { return d.Name })
	for i := range v.Disks {
		d := &v.Disks[i]
		at := thing + ": disk " + d.Name
		c.oneOf(at, "controller", &d.Controller, "lsilogic", "pvscsi", "lsilogic-sas", "buslogic", "sata", "nvme", "ide")
		c.oneOf(at, "sharing", &d.Sharing, "None", "DiskSharing", "ControllerSharing")
		if d.Size < 1<<20 || d.Size%(1<<20) != 0 {
			c.add(at, "size: want a multiple of 1MiB")
		}
		if d.StorageProfile != "" {
			known(c, at, "storage profile", d.StorageProfile, v.StorageProfiles, profileName)
		}
		if d.Owner != "" {
			known(c, at, "owner", d.Owner, o.Users, func(u *User) string { return u.Name })
		}
		if len(d.AttachedTo) > 1 && d.Sharing == "None" {
			c.add(at, "attachedTo: %d VMs, but it is not shared", len(d.AttachedTo))
		}
		for _, name := range d.AttachedTo {
			if !v.hasVM(name) {
				c.add(at, "attachedTo: no VM %s", name)
			}
		}
	}
}

// hasVM tells whether a VDC has a VM: VAPP/VM, or a standalone one.
func (v *VDC) hasVM(name string) bool {
	container, vm, inside := strings.Cut(name, "/")
	list := v.VMs
	if inside {
		list = nil
		for i := range v.VApps {
			if v.VApps[i].Name == container {
				list = v.VApps[i].VMs
			}
		}
		name = vm
	}
	for i := range list {
		if list[i].Name == name {
			return true
		}
	}
	return false
}
