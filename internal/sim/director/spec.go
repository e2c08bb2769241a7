package director

import "time"

// An OrgSpec describes an organization.
type OrgSpec struct {
	ID                          string // UUID; made when empty
	Name, FullName, Description string
	Disabled                    bool
	// DeployedVMQuota and StoredVMQuota are numbers of VMs; 0 is no limit.
	DeployedVMQuota, StoredVMQuota int
	// Lease is what new vApps get at most.
	Lease OrgLease
	// Catalogs may be published to other organizations, and follow others'.
	PublishExternally, Subscribe bool
}

// An OrgLease is an organization's lease policy. Seconds; 0 never expires.
type OrgLease struct {
	DeploymentSeconds, StorageSeconds int
	PowerOffOnExpiration              bool // else suspend
	DeleteOnStorageExpiration         bool // else mark as expired
}

// Names of the predefined roles; a UserSpec may name others, which are made with
// the rights of a vApp user unless AddRole made them before.
const (
	RoleOrgAdmin      = "Organization Administrator"
	RoleVAppUser      = "vApp User"
	RoleSysAdmin      = "System Administrator"
	RoleVAppAutho     = "vApp Author"
	RoleCatalogAuthor = "Catalog Author"
	RoleConsole       = "Console Access Only"
	RoleDefer         = "Defer to Identity Provider"
)

// A UserSpec describes a user of an organization.
type UserSpec struct {
	ID                        string // UUID; made when empty
	Org                       string // name or UUID; "System" for another provider administrator
	Name, FullName, Email     string
	Password                  string
	Role                      string // RoleOrgAdmin and its like; RoleVAppUser when empty
	Disabled                  bool
	DeployedVMQuota, VMsQuota int // numbers of VMs; 0 is no limit
	// APIToken, when not empty, is the secret of an API token of the user.
	APIToken string
}

// A RoleSpec describes a role of one organization.
type RoleSpec struct {
	Org, Name, Description string
	Rights                 []string // by their names
}

// A VDCSpec describes an organization VDC on one resource pool.
type VDCSpec struct {
	ID                string // UUID; made when empty
	Org               string // name or UUID
	Name, Description string
	VCenter           string // name; the only one when empty
	// ResourcePool and Folder hold the VDC's VMs: a moref, an inventory
	// path or a name. Empty: the first resource pool, the datacenter's VM
	// folder.
	ResourcePool, Folder string
	AllocationModel      string // AllocationVApp, AllocationPool, ReservationPool, Flex
	Disabled             bool
	VMQuota              int // 0 is no limit
	NICQuota             int // 0 is no limit
	NetworkQuota         int // 0 is 1000
	// ProviderVDC is a name or UUID; the first one of the vCenter when
	// empty. CPU and memory are what the VDC is given; 0 is no limit.
	ProviderVDC                     string
	CPUMHz, MemoryMB                int64
	CPUGuaranteed, MemoryGuaranteed float64 // parts of that, 0 to 1
	NetworkPool                     NamedRef
	Discovery                       string // of VMs: true, false; what the organization has when empty
	Fast                            bool   // copies of VMs are linked clones
	// StorageProfiles are made with the VDC; the first is the default
	// unless another says so.
	StorageProfiles []StorageProfileSpec
}

// A StorageProfileSpec describes a storage profile of a VDC.
type StorageProfileSpec struct {
	ID         string // UUID; made when empty
	VDC        string // name or UUID; empty inside a VDCSpec
	Name       string
	LimitMB    int64    // 0 is no limit
	Default    bool     // of its VDC
	Datastores []string // names in the vCenter; all when empty
	Disabled   bool
}

// An IPRange is a range of addresses, both ends included.
type IPRange struct{ Start, End string }

// An OrgNetworkSpec describes an organization VDC network.
type OrgNetworkSpec struct {
	ID                string // UUID; made when empty
	VDC               string // name or UUID
	Name, Description string
	// Mode is bridged (direct), natRouted (to an edge) or isolated.
	Mode                      string
	Gateway, Netmask          string
	DNS1, DNS2, DNSSuffix     string
	Ranges                    []IPRange
	Shared                    bool
	Portgroup                 string // network in vCenter that NICs are put on; none when empty
	ExternalName, EdgeGateway string // what it is connected to, by name
}

// A VAppSpec describes a vApp whose VMs exist in vCenter already.
type VAppSpec struct {
	ID                string // UUID; made when empty
	VDC               string // name (unique) or UUID
	Name, Description string
	Owner             string // user name in the organization; the system user when empty
	Created           time.Time
	// Lease is nil for the organization's own.
	Lease *Lease
	// Standalone marks the shell around a standalone VM (autoNature).
	Standalone      bool
	Networks        []VAppNetworkSpec
	VMs             []VMSpec
	Startup         []StartupItem // VMs that it does not name get the defaults
	Metadata        []MetadataSpec
	Access          AccessSpec
	ProductSections []ProductSection
}

// A Lease is a vApp's. Seconds; 0 never expires.
type Lease struct{ DeploymentSeconds, StorageSeconds int }

// A VAppNetworkSpec describes a network of a vApp.
type VAppNetworkSpec struct {
	ID                    string // UUID; made when empty
	Name, Description     string
	Mode                  string // bridged, natRouted, isolated
	Parent                string // name of the org network; none for isolated
	Gateway, Netmask      string // the parent's when bridged
	DNS1, DNS2, DNSSuffix string
	Ranges                []IPRange
	Retain                bool   // RetainNetInfoAcrossDeployments
	RouterIP              string // external address of a routed network; taken from the parent's pool when empty
	DHCP                  *DHCPSpec
	Firewall              *FirewallSpec
	NAT                   *NATSpec
	Routes                []RouteSpec
}

// A DHCPSpec is a network's DHCP service. Lease times in seconds.
type DHCPSpec struct {
	Enabled               bool
	DefaultLease, MaxTime int
	Range                 IPRange
}

// A FirewallSpec is a network's firewall.
type FirewallSpec struct {
	Enabled       bool
	DefaultAction string // drop or allow
	LogDefault    bool
	Rules         []FirewallRule
}

// A FirewallRule lets traffic in or keeps it out.
type FirewallRule struct {
	Description      string
	Disabled         bool
	Policy           string   // allow or drop
	Protocols        []string // Tcp, Udp, Icmp, Any
	SourceIP, DestIP string   // address, range, CIDR, internal, external, Any
	SourcePort, Port string   // "Any", "80", "8000-8010"
	Log              bool
}

// A NATSpec is a network's address translation.
type NATSpec struct {
	Enabled bool
	Type    string // ipTranslation or portForwarding
	Policy  string // allowTrafficIn or allowTraffic
	Rules   []NATRule
}

// A NATRule translates to one NIC of a VM.
type NATRule struct {
	VM  string // name of a VM of this vApp
	NIC int
	// Mode is automatic or manual, for ipTranslation.
	Mode, ExternalIP string
	// For portForwarding.
	ExternalPort, InternalPort int
	Protocol                   string // TCP, UDP, TCP_UDP
}

// A RouteSpec is a static route.
type RouteSpec struct{ Name, Network, NextHop, Interface string }

// A StartupItem says when and how a VM starts and stops. Delays in seconds.
type StartupItem struct {
	VM                      string
	Order                   int
	StartDelay, StopDelay   int
	StartAction, StopAction string // powerOn, none; powerOff, guestShutdown
}

// A MetadataSpec is one metadata entry.
type MetadataSpec struct {
	Domain     string // GENERAL (default) or SYSTEM
	Visibility string // READWRITE, READONLY, PRIVATE; READWRITE in GENERAL, PRIVATE in SYSTEM when empty
	Key        string
	Type       string // String (default), Number, Boolean, DateTime
	Value      string
}

// An AccessSpec says who else may use a vApp.
type AccessSpec struct {
	Everyone string            // ReadOnly, Change, FullControl; nobody when empty
	Users    map[string]string // user name -> level
}

// A ProductSection is an ovf:ProductSection.
type ProductSection struct {
	Class, Instance, Info           string
	Product, Vendor, Version        string
	FullVersion, ProductURL, AppURL string
	Properties                      []ProductProperty
}

// A ProductProperty is one property of a ProductSection.
type ProductProperty struct {
	Key, Type, Value, Default string
	Label, Description        string
	UserConfigurable          bool
	Password                  bool
}

// A VMSpec describes a VM of a vApp. Its hardware is its vCenter's business.
type VMSpec struct {
	ID                string // UUID; made when empty
	Name, Description string
	VCenter           string   // name; the VDC's when empty
	MoRef             string   // "vm-42"
	ScopedLocalID     string   // made when empty
	ComputerName      string   // from the name when empty
	StorageProfile    string   // name in the VDC; its default when empty
	DiskProfiles      []string // the same by disk, in the order of the device keys; the VM's when empty or missing
	ComputePolicy     string   // name of a sizing policy; the VDC's default when empty
	Created           time.Time
	// NICs are matched with the VM's network devices in order. Devices
	// beyond them are on no network.
	NICs               []NICSpec
	PrimaryNIC         int
	Guest              GuestSpec
	NeedsCustomization bool
	SecurityTags       []string
	BootDelay          int // milliseconds
	EnterBIOSSetup     bool
	Metadata           []MetadataSpec
	ProductSections    []ProductSection
	NoTools            bool // VMware Tools is not installed in its guest
	// Hardware is what the VM is like, where vCenter has it marked, named and
	// placed as vCD does that already: nobody looks then. Nil otherwise.
	Hardware *HardwareSpec
}

// A HardwareSpec is what lists show of a VM.
type HardwareSpec struct {
	Power            string // as vSphere has it: poweredOn, poweredOff, suspended
	GuestID, Version string
	Datastore        string // of the .vmx
	CPUs, MemoryMB   int
	Disks            []int64 // capacity of each, in bytes
}

// A NICSpec connects a network device of a VM.
type NICSpec struct {
	Network      string // name of a network of the vApp; none when empty
	Mode         string // POOL, MANUAL, DHCP, NONE; DHCP when empty and a network is named
	IP           string // for MANUAL; with POOL the address it already has, else from the pool
	Disconnected bool
	MAC, Adapter string // beside a HardwareSpec
}

// A GuestSpec is a VM's guest customization.
type GuestSpec struct {
	Enabled, ChangeSID                            bool
	AdminPassword                                 string
	PasswordEnabled                               bool // also without a password of its own
	AdminPasswordAuto, ResetPassword, AutoLogon   bool
	AutoLogonCount                                int
	JoinDomain, UseOrgSettings                    bool
	Domain, DomainUser, DomainPassword, MachineOU string
	Script                                        string
	CustomizeDone                                 bool
}
