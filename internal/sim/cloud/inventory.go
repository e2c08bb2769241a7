package cloud

import (
	"crypto/sha256"
	"time"
)

// Version is the version of the inventory format that this package reads.
const Version = 1

// An Inventory says what a simulated cloud holds. doc/vcdsim.md describes
// each key.
type Inventory struct {
	Version int    `yaml:"version"`
	Sites   []Site `yaml:"sites"`

	source [sha256.Size]byte // of the text; zero without one
}

// A Site is one vCD installation and the vCenters behind it.
type Site struct {
	ID       string    `yaml:"id"`
	Admin    Login     `yaml:"admin"`
	VCenters []VCenter `yaml:"vcenters"`
	Orgs     []Org     `yaml:"orgs"`

	TaskDelay Duration `yaml:"taskDelay"` // how long each vCD task runs at least

	APIVersions      []string          `yaml:"apiVersions"`     // default: all that there are
	SessionTimeout   Duration          `yaml:"sessionTimeout"`  // of a session that is not used
	SessionLifetime  Duration          `yaml:"sessionLifetime"` // of any session
	NetworkPools     []NetworkPool     `yaml:"networkPools"`
	NSXTManagers     []NSXTManager     `yaml:"nsxtManagers"`
	ExternalNetworks []ExternalNetwork `yaml:"externalNetworks"`

	SnapshotsPerVM    int           `yaml:"snapshotsPerVM"`    // since API 39.0; default 1
	StartupSecond     Duration      `yaml:"startupSecond"`     // how long a second of a startup delay lasts; 0 does not wait
	CustomizationTime Duration      `yaml:"customizationTime"` // of a guest after its VM's start; default 10s
	Discovery         Duration      `yaml:"discovery"`         // how often VMs are discovered; never
	ProviderVDCs      []ProviderVDC `yaml:"providerVDCs"`
}

// A Login is an account of a vCD's system organization.
type Login struct {
	Name     string `yaml:"name"`
	Password string `yaml:"password"`
	APIToken string `yaml:"apiToken"`
}

// A VCenter is one vCenter with one datacenter and one cluster.
type VCenter struct {
	Name         string      `yaml:"name"`
	User         string      `yaml:"user"`
	Password     string      `yaml:"password"`
	InstanceUUID string      `yaml:"instanceUUID"`
	Datacenter   string      `yaml:"datacenter"`
	Cluster      string      `yaml:"cluster"`
	Hosts        int         `yaml:"hosts"`
	Datastores   []Datastore `yaml:"datastores"`
	Networks     []string    `yaml:"networks"` // port groups

	TaskDelay Duration `yaml:"taskDelay"`

	Users          []VCenterUser `yaml:"users"`          // beside user, which may do everything
	MaxSessions    int           `yaml:"maxSessions"`    // 0: no limit
	SessionTimeout Duration      `yaml:"sessionTimeout"` // of idle ones; default 30m
	NFCProxy       bool          `yaml:"nfcProxy"`       // leases lead to the vCenter, not to hosts

	HostDisks       int      `yaml:"hostDisks"`       // that VDDK can have open of one host; 0: 48
	OpenDisks       int      `yaml:"openDisks"`       // and through the vCenter; 0: 52
	DiskLockTimeout Duration `yaml:"diskLockTimeout"` // of a disk that VDDK did not close; 0: 3 s
	ResourcePools   []string `yaml:"resourcePools"`   // that belong to no VDC
	VMGroups        []string `yaml:"vmGroups"`        // of the cluster
}

// A VCenterUser has a role at vCenter's root folder: one of vCenter's own, or
// one with the given privileges.
type VCenterUser struct {
	Name       string   `yaml:"name"`
	Password   string   `yaml:"password"`
	Role       string   `yaml:"role"` // default: ReadOnly
	Privileges []string `yaml:"privileges"`
}

// A ProviderVDC is what VDCs get their resources from. A vCenter for which the
// inventory names none has one of its own name.
type ProviderVDC struct {
	Name            string                   `yaml:"name"`
	Description     string                   `yaml:"description"`
	VCenter         string                   `yaml:"vcenter"`
	ResourcePools   []string                 `yaml:"resourcePools"` // default: the cluster's
	StorageProfiles []ProviderStorageProfile `yaml:"storageProfiles"`
	NetworkPools    []string                 `yaml:"networkPools"`
	NSXTManager     string                   `yaml:"nsxtManager"`
	HardwareVersion string                   `yaml:"hardwareVersion"` // the highest
}

// A ProviderStorageProfile is a storage policy over some datastores.
type ProviderStorageProfile struct {
	Name       string   `yaml:"name"`
	Datastores []string `yaml:"datastores"` // default: all
}

// A Datastore has a folder of its name below the cloud's directory.
type Datastore struct {
	Name     string `yaml:"name"`
	Capacity Size   `yaml:"capacity"`
	Type     string `yaml:"type"` // VMFS, NFS, vsan, VVOL
}

// An Org is a tenant.
type Org struct {
	Name        string `yaml:"name"`
	FullName    string `yaml:"fullName"`
	Description string `yaml:"description"`

	DeployedVMQuota int `yaml:"deployedVMQuota"` // 0: unlimited
	StoredVMQuota   int `yaml:"storedVMQuota"`   // 0: unlimited

	Lease OrgLease `yaml:"lease"`
	Users []User   `yaml:"users"`
	VDCs  []VDC    `yaml:"vdcs"`

	Catalogs []Catalog `yaml:"catalogs"`

	Roles    []Role `yaml:"roles"`    // beyond the predefined ones
	Disabled bool   `yaml:"disabled"` // nobody of the org can log in

	CanPublishExternally bool `yaml:"canPublishExternally"` // its catalogs
	CanSubscribe         bool `yaml:"canSubscribe"`         // to other organizations' catalogs

	VDCGroups []VDCGroup `yaml:"vdcGroups"`
}

// A VDCGroup is made of VDCs of the org that share networks.
type VDCGroup struct {
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	VDCs        []string `yaml:"vdcs"`
}

// A Role of an org has rights by vCD's names.
type Role struct {
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	Rights      []string `yaml:"rights"`
}

// An OrgLease is the longest lease that a vApp of the org may have, and what
// happens when one runs out.
type OrgLease struct {
	Lease          `yaml:",inline"`
	PowerOffAtEnd  bool `yaml:"powerOffAtEnd"`  // of the deployment; else suspend
	DeleteAtExpiry bool `yaml:"deleteAtExpiry"` // of the storage; else only mark
}

// A User is an account of an org; Role is the name of a vCD role.
type User struct {
	Name     string `yaml:"name"`
	FullName string `yaml:"fullName"`
	Email    string `yaml:"email"`
	Password string `yaml:"password"`
	Role     string `yaml:"role"`

	DeployedVMQuota int `yaml:"deployedVMQuota"`
	StoredVMQuota   int `yaml:"storedVMQuota"`

	APIToken string `yaml:"apiToken"` // logs in without a password
	Disabled bool   `yaml:"disabled"`
}

// A VDC is an organization VDC. It lives in one vCenter, in a resource pool
// of its own.
type VDC struct {
	Name            string           `yaml:"name"`
	Description     string           `yaml:"description"`
	VCenter         string           `yaml:"vcenter"`
	ResourcePool    string           `yaml:"resourcePool"` // default: the VDC's name
	AllocationModel string           `yaml:"allocationModel"`
	VMQuota         int              `yaml:"vmQuota"` // 0: unlimited
	StorageProfiles []StorageProfile `yaml:"storageProfiles"`
	Networks        []OrgNetwork     `yaml:"networks"`
	VApps           []VApp           `yaml:"vapps"`
	VMs             []VM             `yaml:"vms"` // standalone VMs

	Disks []NamedDisk `yaml:"disks"` // independent ones

	NetworkProvider string  `yaml:"networkProvider"` // NSX_T, NSX_V
	Edges           []Edge  `yaml:"edges"`
	ProviderVDC     string  `yaml:"providerVDC"`  // default: the vCenter's first
	NICQuota        int     `yaml:"nicQuota"`     // 0: unlimited
	NetworkQuota    int     `yaml:"networkQuota"` // 0: 1000
	CPU             int     `yaml:"cpu"`          // MHz; 0: unlimited
	Memory          Size    `yaml:"memory"`       // 0: unlimited
	CPUGuarantee    float64 `yaml:"cpuGuarantee"` // part of it that is reserved, 0 to 1
	MemoryGuarantee float64 `yaml:"memoryGuarantee"`
	NetworkPool     string  `yaml:"networkPool"`
	VMDiscovery     *bool   `yaml:"vmDiscovery"` // default: as the org has it, which is on

	FastProvisioning bool `yaml:"fastProvisioning"` // copies of VMs are linked clones
}

// A StorageProfile of a VDC puts disks on one datastore.
type StorageProfile struct {
	Name      string `yaml:"name"`
	Datastore string `yaml:"datastore"`
	Limit     Size   `yaml:"limit"` // 0: unlimited
	Default   bool   `yaml:"default"`
	Disabled  bool   `yaml:"disabled"`
}

// A NamedDisk is an independent disk of a VDC. It is attached to VMs by VAPP/VM,
// to standalone ones by their name.
type NamedDisk struct {
	Name           string   `yaml:"name"`
	Description    string   `yaml:"description"`
	Size           Size     `yaml:"size"`
	Controller     string   `yaml:"controller"` // pvscsi, lsilogic, lsilogic-sas, buslogic, sata, nvme, ide
	StorageProfile string   `yaml:"storageProfile"`
	Sharing        string   `yaml:"sharing"` // None, DiskSharing, ControllerSharing
	Owner          string   `yaml:"owner"`   // a user of the org; default: the system
	AttachedTo     []string `yaml:"attachedTo"`
}

// Subnet is what org networks and vApp networks have in common.
type Subnet struct {
	Gateway   string   `yaml:"gateway"`
	Netmask   string   `yaml:"netmask"`
	DNS       []string `yaml:"dns"` // at most two
	DNSSuffix string   `yaml:"dnsSuffix"`
	Ranges    []Range  `yaml:"ranges"` // the pool, as FIRST-LAST
}

// OrgNetwork is a network of a VDC: routed, isolated or direct.
type OrgNetwork struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	Type        string `yaml:"type"`
	PortGroup   string `yaml:"portGroup"` // one of the vCenter's networks
	Edge        string `yaml:"edge"`      // routed: the edge gateway's name
	External    string `yaml:"external"`  // direct: the external network's name
	Shared      bool   `yaml:"shared"`
	Subnet      `yaml:",inline"`
}

// A VApp, with its VMs.
type VApp struct {
	Name            string           `yaml:"name"`
	Description     string           `yaml:"description"`
	Owner           string           `yaml:"owner"` // a user of the org; default: the first one
	Lease           *Lease           `yaml:"lease"`
	Access          *Access          `yaml:"access"`
	Networks        []Network        `yaml:"networks"`
	Startup         []Startup        `yaml:"startup"`
	Metadata        []Metadata       `yaml:"metadata"`
	ProductSections []ProductSection `yaml:"productSections"`
	VMs             []VM             `yaml:"vms"`
}

// A Lease is how long a vApp may run, and be stored after that. Zero is for
// ever.
type Lease struct {
	Deployment Duration `yaml:"deployment"`
	Storage    Duration `yaml:"storage"`
}

// Access is who besides its owner may use a vApp. Levels are ReadOnly,
// Change and FullControl.
type Access struct {
	Everyone string  `yaml:"everyone"` // a level, or nothing
	Users    []Grant `yaml:"users"`
}

// A Grant gives one user of the org a level of access.
type Grant struct {
	User  string `yaml:"user"`
	Level string `yaml:"level"`
}

// A Network of a vApp: isolated, routed (to parent, an org network), direct
// (parent itself, under the parent's name) or fenced (behind a router, with the
// parent's subnet and name).
type Network struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	Type        string `yaml:"type"`
	Parent      string `yaml:"parent"`
	Subnet      `yaml:",inline"`

	RetainAcrossDeployments bool      `yaml:"retainAcrossDeployments"`
	DHCP                    *DHCP     `yaml:"dhcp"`
	NAT                     *NAT      `yaml:"nat"`
	Firewall                *Firewall `yaml:"firewall"`
	Routes                  []Route   `yaml:"routes"`
}

// DHCP is the DHCP service of a vApp network.
type DHCP struct {
	Range        Range    `yaml:"range"`
	DefaultLease Duration `yaml:"defaultLease"`
	MaxLease     Duration `yaml:"maxLease"`
}

// NAT is the NAT service of a routed vApp network. Type is portForwarding or
// ipTranslation.
type NAT struct {
	Type   string    `yaml:"type"`
	Policy string    `yaml:"policy"` // allowTraffic, allowTrafficIn
	Rules  []NATRule `yaml:"rules"`
}

// A NATRule leads to a NIC of a VM. Port forwarding has the ports and the
// protocol (TCP, UDP, TCP_UDP); IP translation has mode (automatic, manual)
// and, where manual, the external address.
type NATRule struct {
	VM           string `yaml:"vm"`
	NIC          int    `yaml:"nic"`
	ExternalIP   string `yaml:"externalIP"`
	ExternalPort int    `yaml:"externalPort"`
	InternalPort int    `yaml:"internalPort"`
	Protocol     string `yaml:"protocol"`
	Mode         string `yaml:"mode"`
}

// A Firewall of a routed vApp network; actions are allow and drop.
type Firewall struct {
	DefaultAction string         `yaml:"defaultAction"`
	Log           bool           `yaml:"log"`
	Rules         []FirewallRule `yaml:"rules"`
}

// A FirewallRule matches addresses as vCD writes them (an address, a CIDR,
// a range, Any, internal, external) and ports (a port, a range, Any).
type FirewallRule struct {
	Description     string   `yaml:"description"`
	Disabled        bool     `yaml:"disabled"`
	Policy          string   `yaml:"policy"`
	Protocols       []string `yaml:"protocols"` // tcp, udp, icmp, any
	Source          string   `yaml:"source"`
	SourcePort      string   `yaml:"sourcePort"`
	Destination     string   `yaml:"destination"`
	DestinationPort string   `yaml:"destinationPort"`
	Log             bool     `yaml:"log"`
}

// A Route is a static route of a routed vApp network.
type Route struct {
	Name    string `yaml:"name"`
	Network string `yaml:"network"` // CIDR
	NextHop string `yaml:"nextHop"`
}

// Startup is one VM's place when its vApp starts and stops.
type Startup struct {
	VM          string   `yaml:"vm"`
	Order       int      `yaml:"order"`
	StartAction string   `yaml:"startAction"` // powerOn, none
	StartDelay  Duration `yaml:"startDelay"`
	StopAction  string   `yaml:"stopAction"` // powerOff, guestShutdown, none
	StopDelay   Duration `yaml:"stopDelay"`
}

// Metadata is one entry. Types are string, number, boolean and datetime,
// domains are general and system.
type Metadata struct {
	Key        string `yaml:"key"`
	Value      string `yaml:"value"`
	Type       string `yaml:"type"`
	Domain     string `yaml:"domain"`
	Visibility string `yaml:"visibility"` // private, readonly; readwrite in general
}

// A ProductSection is an OVF product section.
type ProductSection struct {
	Class       string     `yaml:"class"`
	Instance    string     `yaml:"instance"`
	Info        string     `yaml:"info"`
	Product     string     `yaml:"product"`
	Vendor      string     `yaml:"vendor"`
	ProductURL  string     `yaml:"productURL"`
	Version     string     `yaml:"version"`
	FullVersion string     `yaml:"fullVersion"`
	Properties  []Property `yaml:"properties"`
}

// A Property of a product section. Default stands in the section, Value
// overrides it.
type Property struct {
	Key              string `yaml:"key"`
	Type             string `yaml:"type"`
	Default          string `yaml:"default"`
	Value            string `yaml:"value"`
	Label            string `yaml:"label"`
	Description      string `yaml:"description"`
	UserConfigurable bool   `yaml:"userConfigurable"`
	Password         bool   `yaml:"password"`
}

// A VM of a vApp, or a standalone one.
type VM struct {
	Name            string           `yaml:"name"`
	ComputerName    string           `yaml:"computerName"` // default: the name
	Description     string           `yaml:"description"`
	GuestID         string           `yaml:"guestID"` // vSphere's, such as debian12_64Guest
	HardwareVersion string           `yaml:"hardwareVersion"`
	Firmware        string           `yaml:"firmware"` // bios, efi
	CPUs            int              `yaml:"cpus"`
	CoresPerSocket  int              `yaml:"coresPerSocket"`
	Memory          Size             `yaml:"memory"`
	CPUHotAdd       bool             `yaml:"cpuHotAdd"`
	MemoryHotAdd    bool             `yaml:"memoryHotAdd"`
	Power           string           `yaml:"power"` // on, off, suspended
	StorageProfile  string           `yaml:"storageProfile"`
	BootDelay       Duration         `yaml:"bootDelay"`
	EnterBIOSSetup  bool             `yaml:"enterBIOSSetup"`
	Disks           []Disk           `yaml:"disks"`
	NICs            []NIC            `yaml:"nics"`
	Customization   *Customization   `yaml:"guestCustomization"`
	Metadata        []Metadata       `yaml:"metadata"`
	ProductSections []ProductSection `yaml:"productSections"`

	ExtraConfig map[string]string `yaml:"extraConfig"`

	Tools         string `yaml:"tools"`         // VMware Tools: running, stopped, none
	EncryptionKey string `yaml:"encryptionKey"` // PROVIDER/KEY
	TPM           bool   `yaml:"tpm"`           // takes encryptionKey and firmware: efi
	CDDrive       bool   `yaml:"cdDrive"`       // an empty one
}

// A Disk has a size and may have content: fill many deterministic bytes, or
// a raw image. An image gives the size where there is none.
type Disk struct {
	Size           Size   `yaml:"size"`
	From           string `yaml:"from"` // relative to the inventory
	Fill           Size   `yaml:"fill"`
	Thick          bool   `yaml:"thick"`
	Controller     string `yaml:"controller"` // pvscsi, lsilogic, lsilogic-sas, buslogic, sata, nvme, ide
	Bus            int    `yaml:"bus"`
	Unit           *int   `yaml:"unit"` // default: the controller's next
	Mode           string `yaml:"mode"` // persistent, independent_persistent, independent_nonpersistent
	Sharing        string `yaml:"sharing"`
	StorageProfile string `yaml:"storageProfile"`
	Raw            string `yaml:"raw"` // a raw device mapping: virtual, physical
}

// A NIC. Modes are manual, pool, dhcp and none.
type NIC struct {
	Network      string `yaml:"network"` // one of the vApp's; standalone: one of the VDC's
	Mode         string `yaml:"mode"`
	IP           string `yaml:"ip"` // manual and pool
	MAC          string `yaml:"mac"`
	Type         string `yaml:"type"` // VMXNET3, E1000, E1000E, …
	Disconnected bool   `yaml:"disconnected"`
	Primary      bool   `yaml:"primary"` // default: the first NIC
}

// Customization is what vCD does to a guest when it first starts.
type Customization struct {
	Enabled               bool   `yaml:"enabled"`
	Pending               bool   `yaml:"pending"` // it will happen at the next start
	ChangeSID             bool   `yaml:"changeSID"`
	AdminPassword         string `yaml:"adminPassword"`
	AdminPasswordAuto     bool   `yaml:"adminPasswordAuto"`
	ResetPasswordRequired bool   `yaml:"resetPasswordRequired"`
	AdminAutoLogonCount   int    `yaml:"adminAutoLogonCount"`
	JoinDomain            bool   `yaml:"joinDomain"`
	UseOrgSettings        bool   `yaml:"useOrgSettings"`
	DomainName            string `yaml:"domainName"`
	DomainUser            string `yaml:"domainUser"`
	DomainPassword        string `yaml:"domainPassword"`
	MachineOU             string `yaml:"machineOU"`
	Script                string `yaml:"script"`
}

// Size is a number of bytes, written as 512, 64KiB, 4MiB, 2GiB or 1TiB.
type Size int64

// Duration is written as 90s, 36h or 14d. "never" is zero.
type Duration time.Duration

// Range is two addresses of one network, written as FIRST-LAST.
type Range struct{ First, Last string }
