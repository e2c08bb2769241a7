// Package ovf reads and writes OVF descriptors as VMware's products make them:
// OVF 1.0 and 1.1 (DMTF DSP0243) with VMware's and vCloud Director's sections.
//
// It promises that Parse refuses what names something that is not there, that
// sizes are bytes, that sections which it does not know are kept as they came,
// and that Parse of what Marshal wrote gives the same Envelope. It neither reads
// files nor follows references: what they hold is the caller's business.
package ovf

import "github.com/beevik/etree"

// Namespaces of a descriptor.
const (
	NS     = "http://schemas.dmtf.org/ovf/envelope/1"
	nsRASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
	nsVSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
	nsVMW  = "http://www.vmware.com/schema/ovf"
	NSCD   = "http://www.vmware.com/vcloud/v1.5"
	nsXSI  = "http://www.w3.org/2001/XMLSchema-instance"
)

// StreamOptimized is the format of disks in packages.
const StreamOptimized = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"

// An Envelope is a descriptor.
type Envelope struct {
	Files    []File
	Disks    []Disk
	Networks []Network
	// ID and Name are those of the VirtualSystemCollection; both are empty
	// when the envelope is a single VirtualSystem.
	ID, Name string
	Startup  []Startup
	Systems  []System
	// Sections are those of the envelope and of the collection that have no
	// field here: NetworkConfigSection, ProductSection and others.
	Sections []*etree.Element
}

// A File is one that comes with the descriptor.
type File struct {
	ID, Href    string
	Size        int64 // bytes; -1 when the descriptor does not say
	ChunkSize   int64 // bytes of each piece; 0 for a file in one piece
	Compression string
}

// A Disk is a virtual disk. FileRef is empty for one without content.
type Disk struct {
	ID, FileRef, Format string
	Capacity            int64 // bytes
	Populated           int64 // bytes
}

// A Network is a logical network.
type Network struct{ Name, Description string }

// A Startup says when a system starts and stops. Delays in seconds.
type Startup struct {
	ID                      string
	Order                   int
	StartDelay, StopDelay   int
	StartAction, StopAction string
}

// A System is a virtual machine.
type System struct {
	ID, Name    string
	OSID        int    // of CIM
	OSType      string // VMware's guest id
	OS          string // description
	Version     string // of the hardware, "vmx-19"
	CPUs        int
	Cores       int   // for each socket; 0 when unknown
	Memory      int64 // bytes
	Controllers []Controller
	Drives      []Drive
	Cards       []Card
	Config      []Pair // vmw:Config of the hardware section
	ExtraConfig []Pair
	// Sections are those without a field here: products, licenses, vCloud's.
	Sections []*etree.Element
}

// A Pair is a key and its value.
type Pair struct{ Key, Value string }

// Kinds of controllers.
const (
	IDE  = "ide"
	SCSI = "scsi"
	SATA = "sata"
	NVMe = "nvme"
)

// A Controller holds drives. SubType is VMware's, such as lsilogic, VirtualSCSI
// or AHCI.
type Controller struct {
	InstanceID, Kind, SubType string
	Bus                       int
}

// Kinds of drives.
const (
	HardDisk = "disk"
	CDROM    = "cdrom"
	Floppy   = "floppy"
)

// A Drive is a disk or a drive on a controller.
type Drive struct {
	InstanceID, Kind, Name string
	Parent                 string // InstanceID of the controller
	Unit                   int
	Disk                   string // ID of the Disk
}

// A Card is a network adapter. Type is VMware's, such as VmxNet3.
type Card struct {
	InstanceID, Type, Network, MAC string
	Unit                           int
	Connected                      bool
	// Mode, IP and Primary are vCloud Director's attributes.
	Mode, IP string
	Primary  bool
}

// ConfigOf is the value of a vmw:Config; empty when it is not there.
func (s *System) ConfigOf(key string) string {
	for _, p := range s.Config {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// FileOf is the file of a disk; nil for a disk without content.
func (e *Envelope) FileOf(disk string) *File {
	for _, d := range e.Disks {
		if d.ID != disk {
			continue
		}
		for i := range e.Files {
			if e.Files[i].ID == d.FileRef {
				return &e.Files[i]
			}
		}
	}
	return nil
}

// DiskOf is the disk of that ID.
func (e *Envelope) DiskOf(id string) *Disk {
	for i := range e.Disks {
		if e.Disks[i].ID == id {
			return &e.Disks[i]
		}
	}
	return nil
}
