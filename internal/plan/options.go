package plan

// Options are what the user wants of a restore.
type Options struct {
	// Overwrite brings back the vApp that is there, its identity kept.
	Overwrite bool `json:"overwrite,omitempty"`
	// As is the name of a copy beside the original.
	As string `json:"as,omitempty"`
	// VMs restores only these, by their names in the restore point, into
	// the vApp that is there: in place of the present ones, or with Beside
	// as further ones.
	VMs    []string `json:"vms,omitempty"`
	Beside bool     `json:"beside,omitempty"`
	// Disks restores only these, as "VM:DISK", in place of the present
	// ones, or with AttachTo as further disks of that VM.
	Disks    []string `json:"disks,omitempty"`
	AttachTo string   `json:"attachTo,omitempty"`
	// ConfigOnly writes no disks, only these Sections; none are all.
	ConfigOnly bool     `json:"configOnly,omitempty"`
	Sections   []string `json:"sections,omitempty"`
	// ToVSphere makes the VMs in this folder of vSphere, unknown to vCD.
	ToVSphere string `json:"toVSphere,omitempty"`

	// Best takes VMs that the restore point lacks from the newest earlier
	// point of the vApp that has them.
	Best bool `json:"best,omitempty"`

	// EmptyDisks makes named disks anew that are gone, empty.
	EmptyDisks bool `json:"emptyDisks,omitempty"`

	// KeepOld keeps the disks that an overwrite replaced, for an undo.
	KeepOld bool `json:"keepOld,omitempty"`
	// ExtraVMs says what becomes of VMs that the restore point does not
	// have: keep or remove; "" is keep.
	ExtraVMs string `json:"extraVMs,omitempty"`
	// ExtraDisks says the same of disks of the VMs that are overwritten.
	ExtraDisks string `json:"extraDisks,omitempty"`
	// DiscardSnapshots removes the tenant's snapshots from the VMs that are
	// overwritten.
	DiscardSnapshots bool `json:"discardSnapshots,omitempty"`
	// ChangedBlocks writes only the blocks that differ, into the disks that
	// are there.
	ChangedBlocks bool `json:"changedBlocks,omitempty"`
	// NoSafetyPoint makes no restore point of what is there before blocks are
	// written over it.
	NoSafetyPoint bool `json:"noSafetyPoint,omitempty"`
	// EveryBlock believes no change tracking: with ChangedBlocks, all of a disk
	// is read, and what differs is written. An undo does so.
	EveryBlock bool `json:"everyBlock,omitempty"`
	// OnError says what becomes of an overwrite that fails: back, or keep to
	// leave it as it is for a resume. "" is back.
	OnError string `json:"onError,omitempty"`
	// Power is off, on, or as-was: what ran when the point was made. "" is off.
	Power string `json:"power,omitempty"`

	Overrides Overrides `json:"overrides,omitzero"`
	// Many tells that other vApps are restored with the same overrides: they
	// may name what this one does not have.
	Many bool `json:"many,omitempty"`
}

// What becomes of VMs and disks that are not in the restore point.
const (
	ExtraKeep   = "keep"
	ExtraRemove = "remove"
)

// What becomes of an overwrite that fails.
const (
	OnErrorBack = "back"
	OnErrorKeep = "keep"
)

// What is switched on afterwards.
const (
	PowerOff   = "off"
	PowerOn    = "on"
	PowerAsWas = "as-was"
)

// Overrides are values to take instead of those of the restore point, where
// those no longer fit or something else is wanted. The file of --overrides
// holds them as YAML under the same names; flags go before the file.
type Overrides struct {
	Name string `json:"name,omitempty" yaml:"name"` // of the vApp
	Site string `json:"site,omitempty" yaml:"site"` // by its id in the configuration
	Org  string `json:"org,omitempty" yaml:"org"`
	VDC  string `json:"vdc,omitempty" yaml:"vdc"`
	// Networks maps organization networks; "" as the new name leaves what
	// hung from it isolated.
	Networks map[string]string `json:"networks,omitempty" yaml:"networks"`
	// These map old names to new ones; "*" as the old one means any other.
	StorageProfiles map[string]string `json:"storageProfiles,omitempty" yaml:"storageProfiles"`
	ComputePolicies map[string]string `json:"computePolicies,omitempty" yaml:"computePolicies"`
	Datastores      map[string]string `json:"datastores,omitempty" yaml:"datastores"`
	Media           map[string]string `json:"media,omitempty" yaml:"media"`
	Users           map[string]string `json:"users,omitempty" yaml:"users"` // of the access list
	Owner           string            `json:"owner,omitempty" yaml:"owner"`
	Lease           *Lease            `json:"lease,omitempty" yaml:"lease"`
	IP              string            `json:"ip,omitempty" yaml:"ip"`   // keep, pool, dhcp; "" is keep, and pool for a copy
	MAC             string            `json:"mac,omitempty" yaml:"mac"` // keep, new; "" is keep, and new for a copy
	// VMs are overrides of single VMs, by their names in the restore point.
	VMs map[string]VMOverrides `json:"vms,omitempty" yaml:"vms"`
}

// A Lease is how long a vApp runs and is stored: a duration such as 168h or
// 7d, or never. "" leaves what the restore point says.
type Lease struct {
	Deployment string `json:"deployment,omitempty" yaml:"deployment"`
	Storage    string `json:"storage,omitempty" yaml:"storage"`
}

// VMOverrides are for one VM.
type VMOverrides struct {
	Name string                 `json:"name,omitempty" yaml:"name"`
	NICs map[string]NICOverride `json:"nics,omitempty" yaml:"nics"` // by index, "0"
}

// A NICOverride is for one NIC. Network is a network of the vApp.
type NICOverride struct {
	Network string `json:"network,omitempty" yaml:"network"`
	Mode    string `json:"mode,omitempty" yaml:"mode"` // POOL, DHCP, MANUAL, NONE
	IP      string `json:"ip,omitempty" yaml:"ip"`
	MAC     string `json:"mac,omitempty" yaml:"mac"`
}
