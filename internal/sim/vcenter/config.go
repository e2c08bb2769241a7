package vcenter

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// Config describes one simulated vCenter. The zero value of every field but
// Dir has a default.
type Config struct {
	Dir          string            // datastores' files live in Dir/NAME
	StateDir     string            // what survives a restart; "": nothing does
	Listen       string            // host:port; default 127.0.0.1:0
	TLS          tls.Certificate   // default: self-made
	Name         string            // what the vCenter calls itself
	InstanceUUID string            // default: random, so that several differ
	Users        map[string]string // by name, with everything allowed; none: anybody
	Accounts     []User            // with the privileges of a role
	MaxSessions  int               // 0: no limit

	Datacenter    string
	Cluster       string
	Hosts         int
	Datastores    []Datastore
	Networks      []string // distributed port groups; VM Network always exists
	ResourcePools []string // beside the cluster's own Resources

	LeaseTimeout   time.Duration // NFC leases without progress; default 300 s
	NFCWildcard    bool          // device URLs name the host "*"
	NFCProxy       bool          // device URLs lead to the vCenter; hosts have no address of their own
	SessionTimeout time.Duration // idle sessions; default 30 min
	TaskDelay      time.Duration // before each task's work

	// Disks is the port at which hosts serve blocks of disks; default: one of
	// the vCenter's own, closed with it.
	Disks *DiskListener

	// DiskLockTimeout is how long a host keeps the lock of a disk whose
	// client at the disk port left without closing it; default 3 s.
	DiskLockTimeout time.Duration

	// HostDisks and OpenDisks are how many disks clients of the disk port
	// can have open at a time: from one host, whose NFC server has 48 MB of
	// buffers, of which each takes 1; and through the vCenter, which lets 52
	// connections through ("NFC Session Limits and Timeouts", VDDK
	// Programming Guide).
	HostDisks, OpenDisks int

	// Rules, when set, makes calls and tasks go wrong, and remembers them.
	// Label is the server's name there.
	Rules *fault.Set
	Label string
}

// Datastore is one datastore, mounted on every host.
type Datastore struct {
	Name     string
	Capacity int64  // bytes; default 64 TiB
	Type     string // default VMFS
}

// VMSpec describes a virtual machine to put into the inventory.
type VMSpec struct {
	Name, UUID, InstanceUUID string
	GuestID                  string
	Folder                   string // below the datacenter's vm folder, made when missing
	ResourcePool             string // name; "" or "Resources" is the cluster's own
	Datastore                string // default: the first
	NumCPU                   int
	MemoryMB                 int
	PowerOn                  bool
	Disks                    []DiskSpec
	NICs                     []NICSpec
	ExtraConfig              map[string]string
	HardwareVersion          string // e.g. vmx-19
	Firmware                 string // bios or efi
	Annotation               string
	ChangeTracking           bool
	Tools                    string // ToolsRunning (default), ToolsStopped, ToolsNone
	Key                      string // PROVIDER/KEY of an encrypted VM
	TPM                      bool   // a virtual one; takes Key and EFI

	ManagedBy, ManagedType  string // key of the extension that manages it, and what it is to that
	CoresPerSocket          int    // default 1
	CPUHotAdd, MemoryHotAdd bool
	Suspended               bool // instead of PowerOn; AddVMs only
	CDDrive                 bool // an empty one
}

// DiskSpec describes one disk of a VMSpec.
type DiskSpec struct {
	Size       int64  // bytes; default: that of From
	From       string // raw image, copied with its holes
	Thin       bool
	Controller string // pvscsi (default), lsilogic, lsilogic-sas, buslogic, sata, nvme, ide
	Bus        int
	Unit       int    // -1 or taken: next free one
	Datastore  string // default: the VM's
	Mode       string // persistent (default), independent_persistent, ...
	Sharing    string // sharingNone (default), sharingMultiWriter
	Raw        string // a raw device mapping: virtual or physical
	Fill       int64  // bytes of made-up content, spread over the disk
	Seed       string // of Fill: the same seed makes the same content
}

// NICSpec describes one network adapter of a VMSpec.
type NICSpec struct {
	MAC     string // default: generated
	Network string // default: VM Network
	Type    string // vmxnet3 (default), e1000, e1000e

	Disconnected bool
}

// Range is a byte range [Offset, Offset+Length) of a disk.
type Range struct{ Offset, Length int64 }

// End is the offset of the first byte after the range.
func (r Range) End() int64 { return r.Offset + r.Length }

func (c *Config) setDefaults() error {
	if c.Dir == "" {
		return errors.New("vcenter simulator: no directory given")
	}
	for _, d := range []struct {
		field *string
		value string
	}{
		{&c.Listen, "127.0.0.1:0"},
		{&c.Name, "vcenter"},
		{&c.Datacenter, "DC0"},
		{&c.Cluster, "cluster0"},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&c.Hosts, 1}, {&c.HostDisks, 48}, {&c.OpenDisks, 52}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if len(c.Datastores) == 0 {
		c.Datastores = []Datastore{{Name: "datastore1"}}
	}
	seen := map[string]bool{}
	for i := range c.Datastores {
		d := &c.Datastores[i]
		if d.Name == "" || strings.ContainsAny(d.Name, "/[]") || d.Name == "." || d.Name == ".." || seen[d.Name] {
			return fmt.Errorf("vcenter simulator: datastore name %q: empty, twice, or not a name", d.Name)
		}
		seen[d.Name] = true
		if d.Capacity == 0 {
			d.Capacity = 64 << 40
		}
		if d.Type == "" {
			d.Type = "VMFS"
		}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.LeaseTimeout, 300 * time.Second}, {&c.SessionTimeout, 30 * time.Minute}, {&c.DiskLockTimeout, 3 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return nil
}
