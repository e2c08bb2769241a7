package selection

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A Drive is what a DiskSelector goes by: one disk of a VM, as vSphere names
// it.
type Drive struct {
	Label      string // "Hard disk 2"
	Key        int32  // device key, 2001
	Controller string // scsi, sata, nvme, ide
	Bus, Unit  int32
}

// A DiskSelector picks disks of VMs. It is written VM:DISK.
//
// VM is a name of VMs of any vApp, in which * is a glob, or a selector of
// VMs, ORG/VDC/VAPP/VM. DISK is the disk's label ("Hard disk 2", with * as a
// glob and without regard to case), its device key (2001), or its place: the
// controller's bus and the unit on it (1:3), which is on any controller
// unless its kind stands in front (scsi1:3, sata0:1, nvme0:0, ide0:1). In
// either part / @ * % and : of a name are written %2F %40 %2A %25 and %3A;
// the first : parts them.
type DiskSelector struct {
	vm   Selector // where scoped
	name string   // canonical pattern, where not
	disk string   // label, key or place, canonical
}

var (
	deviceKey = regexp.MustCompile(`^[0-9]+$`)
	place     = regexp.MustCompile(`^(scsi|sata|nvme|ide|)([0-9]+):([0-9]+)$`)
)

// ParseDisk reads a disk's selector.
func ParseDisk(s string) (DiskSelector, error) {
	d, err := parseDisk(s)
	if err != nil {
		return DiskSelector{}, fmt.Errorf("disk %q: %w", s, err)
	}
	return d, nil
}

func parseDisk(s string) (DiskSelector, error) {
	vm, disk, ok := strings.Cut(s, ":")
	if !ok || vm == "" || disk == "" {
		return DiskSelector{}, errors.New(`want VM:DISK, such as "db*:Hard disk 2", db01:2001 or db01:scsi1:3`)
	}
	var d DiskSelector
	var err error
	if strings.Contains(vm, "/") {
		d.vm, err = parse(vm)
		if err == nil && !d.vm.NamesVM() {
			err = errors.New("want ORG/VDC/VAPP/VM before the colon")
		}
	} else {
		d.name, err = canonical(vm)
	}
	if err != nil {
		return DiskSelector{}, err
	}
	switch {
	case place.MatchString(small(disk)):
		d.disk = small(disk)
	case strings.Contains(disk, ":"):
		return DiskSelector{}, errors.New("want a place such as 1:3 or scsi1:3; a colon in a label is written %3A")
	default:
		d.disk, err = canonical(disk)
		d.disk = small(strings.ReplaceAll(d.disk, ":", "%3A"))
	}
	return d, err
}

// small makes ASCII letters small and leaves all else, what is no text at all
// included.
func small(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lower(c)
	}
	return string(b)
}

// String returns the selector as it is written; ParseDisk reads it back.
func (d DiskSelector) String() string {
	vm := d.name
	if vm == "" {
		vm = d.vm.String()
	}
	return strings.ReplaceAll(vm, ":", "%3A") + ":" + d.disk
}

// NamesPlace reports whether d goes by the bus and the unit of a disk.
func (d DiskSelector) NamesPlace() bool { return place.MatchString(d.disk) }

// MatchesVM reports whether d may pick a disk of the VM.
func (d DiskSelector) MatchesVM(vm Item) bool {
	if d.name != "" {
		return match(d.name, vm.VM)
	}
	return d.vm.Matches(vm)
}

// Matches reports whether d picks a disk of the VM.
func (d DiskSelector) Matches(vm Item, drive Drive) bool {
	if !d.MatchesVM(vm) {
		return false
	}
	if deviceKey.MatchString(d.disk) {
		return d.disk == fmt.Sprint(drive.Key)
	}
	if m := place.FindStringSubmatch(d.disk); m != nil {
		return (m[1] == "" || m[1] == drive.Controller) && m[2] == fmt.Sprint(drive.Bus) && m[3] == fmt.Sprint(drive.Unit)
	}
	return match(d.disk, small(drive.Label))
}
