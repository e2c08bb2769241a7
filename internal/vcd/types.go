package vcd

import "time"

// A Ref points from one document to another entity. ID is its URN where the
// server gives it or the href tells it.
type Ref struct {
	ID, Name, Href, Type string
}

// An OrgRef is one organization. ID is a URN, urn:vcloud:org:UUID.
type OrgRef struct {
	ID, Name, Href, DisplayName string
	Enabled                     bool
}

// A VDCRef is one organization VDC. The ids are URNs.
type VDCRef struct {
	ID, Name, Href string
	OrgID, OrgName string
	Enabled        bool
}

// A VAppRef is one vApp as the query service lists it. The ids are URNs.
// Status is the query service's word: POWERED_ON, POWERED_OFF, MIXED, …
type VAppRef struct {
	ID, Name, Href string
	OrgID, OrgName string
	VDCID, VDCName string
	OwnerName      string
	Status         string
	InMaintenance  bool
	AutoNature     bool // discovered, or a standalone VM's shell
	VMCount        int
	StorageKB      int64
	Expired        bool // its storage lease has run out, and vCD kept it
}

// A VMRef is one VM as the query service lists it, templates left out. The
// ids are URNs; MoRef and VCenter are given to system administrators only.
type VMRef struct {
	ID, Name, Href     string
	VAppID, VAppName   string // the container
	OrgID, VDCID       string
	MoRef              string // "vm-42"
	VCenter            string // URN of the vCenter, urn:vcloud:vimserver:UUID
	VCenterHref        string
	Status             string
	GuestOS            string
	StorageProfileName string
	NumCPU             int
	MemoryMB           int64
	HardwareVersion    int
	AutoNature         bool
	Deployed           bool
}

// A VimServer is one vCenter attached to the cloud. UUID is its instance
// UUID, as ServiceContent.about.instanceUuid of its own API has it.
type VimServer struct {
	ID, Href, Name, URL, UUID string
}

// A UserRef is one user of an organization.
type UserRef struct {
	ID, Href, Name string
	OrgID          string
}

// A NetworkRef is one network that vApps of a VDC can be connected to.
type NetworkRef struct {
	ID, Name, Href string
}

// A StorageProfile is one storage profile of a VDC.
type StorageProfile struct {
	ID, Name, Href string
}

// A Document is an answer, verbatim.
type Document struct {
	Href string
	Type string // the answer's media type, without parameters
	Raw  []byte
}

// A VApp is what planning and listing need of a vApp, beside the document
// itself (type VAppType).
type VApp struct {
	ID, Name, Href string // ID is a URN
	Description    string
	Status         int // 4 on, 8 off, 3 suspended, 10 mixed, …; see VAppType
	Deployed       bool
	InMaintenance  bool
	AutoNature     bool
	Created        time.Time // zero where the document does not tell
	VDC            Ref
	Org            Ref // zero where the document and the VDC do not tell
	Owner          Ref
	Networks       []VAppNetwork
	VMs            []VM
	Tasks          []Task // running or failed lately, as the document lists them
	Raw            []byte
}

// A VAppNetwork is one entry of a vApp's NetworkConfigSection.
type VAppNetwork struct {
	Name       string
	Href       string // of the vApp network itself; "" for "none"
	ParentName string
	ParentHref string // organization network; "" for an isolated network
	FenceMode  string // bridged, natRouted, isolated
	Deployed   bool
}

// A VM is what planning and listing need of a VM (type VmType).
type VM struct {
	ID, Name, Href     string // ID is a URN
	Description        string
	Status             int
	Deployed           bool
	NeedsCustomization bool
	VAppScopedLocalID  string
	VimInfo            VimInfo // zero unless asked as system administrator
	StorageProfile     Ref
	ComputePolicies    []Ref // sizing and placement, where served
	ComputerName       string
	NICs               []NIC
	SnapshotCount      int
	Disks              []VMDisk
	Media              Ref
}

// A VMDisk is one disk of a VM's hardware section.
type VMDisk struct {
	InstanceID         string // "2000", the device key in vSphere
	Name               string // "Hard disk 1"
	Capacity           int64  // bytes
	StorageProfileHref string
	NamedDisk          string // href of the independent disk that it is, or ""
}

// A NIC is one entry of a VM's NetworkConnectionSection.
type NIC struct {
	Index              int
	Network            string
	Connected, Primary bool
	MAC, IP, Mode      string // Mode: POOL, DHCP, MANUAL, NONE
	Adapter            string
}

// VimInfo ties a VM to vSphere (type VmVimInfoType).
type VimInfo struct {
	VCenterID      string // URN, urn:vcloud:vimserver:UUID
	VCenterHref    string
	VCenterName    string
	VMMoRef        string // "vm-42"
	HostMoRef      string
	DatastoreMoRef string // where the VM's own files are
	Datastores     []DiskDatastore
	MaxChainLength int
}

// A DiskDatastore says where one disk lies; DiskInstanceID is its InstanceID
// in the VM's hardware section, "2000".
type DiskDatastore struct {
	DiskInstanceID, MoRef string
}
