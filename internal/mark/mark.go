// Package mark is how the changes that vappvault makes in a cloud are
// recognised, in the journal and from outside.
//
// A run that dies leaves its changes behind. Each of them carries one of
// these names, so that any later process, on any machine, can tell it from
// what the tenant or vCD made, even if the journal is lost.
package mark

import "strings"

// Kinds of intents: what is about to be changed outside.
const (
	// Maintenance: the vApp is put in maintenance mode. Object: the vApp's URN.
	Maintenance = "maintenance"
	// Relocation: relocation of a VM is disabled, and with Detail start also
	// that it is switched on or gets snapshots. Object: moref.
	Relocation = "relocation"
	// Snapshot: a snapshot is made. Object: moref; Detail name.
	Snapshot = "snapshot"
	// ScratchVM: a VM is made in vSphere, by the name in Detail name.
	ScratchVM = "scratch-vm"
	// Import: a scratch VM is moved into vCD. Object: its moref.
	Import = "import"
	// NewVApp: a vApp is made by a restore. Object: its href once known; Detail name.
	NewVApp = "new-vapp"
	// NewDisk: a named disk is made. Object: the name that it bears at first;
	// Detail href once that is known.
	NewDisk = "new-disk"
	// AttachDisk: a named disk is attached. Object: its href; Detail vm-href.
	AttachDisk = "attach-disk"
	// Swap: the disks of a VM are swapped. Object: moref; Detail has old and new files.
	Swap = "swap"
	// Blocks: blocks are written into the disks of a VM. Only the run itself,
	// resumed, or an undo of it settles that: what was there is in no file any
	// more. Object: moref; Detail has disks and blocks.
	Blocks = "blocks"
	// Overwrite: a whole vApp is being overwritten; the others of the run are
	// its parts. Object: the vApp's URN; Detail has the restore point, the
	// options, and once known what the vApp was, sealed.
	Overwrite = "overwrite"
	// OldDisk: disks that a proven restore replaced are deleted. Object: the
	// VM's moref; Detail has the files.
	OldDisk = "old-disk"
	// RemoveVM: a VM that was added since is deleted after a proven restore.
	// Object: the VM's URN.
	RemoveVM = "remove-vm"
	// KeptDisk: disks that a restore replaced are kept for an undo. It is a
	// record, not a change: nothing settles it but an undo, the next overwrite
	// or somebody who says that they are not needed. Object: the VM's moref;
	// Detail has the files.
	KeptDisk = "kept-disk"
	// Safety: what a vApp was before an overwrite that can be undone; a record
	// too. Object: the vApp's URN; Detail has the documents, sealed.
	Safety = "safety"
)

// Detail keys of intents.
const (
	VCenter = "vcenter" // instance UUID of the vCenter that Object lives in
	Name    = "name"
	VM      = "vm"      // name of the VM, for messages
	Shell   = "shell"   // name of the standalone VM whose shell a new vApp is
	Files   = "files"   // disks of a swap, as JSON
	Start   = "start"   // "true" where the VM is kept from being started, too
	Entered = "entered" // "true" once maintenance mode was entered, until it is left
)

// MetadataPrefix starts the key of every metadata entry of ours.
const MetadataPrefix = "vappvault."

// RunKey is the metadata entry, in the SYSTEM domain of a vApp, that names
// the run which put it in maintenance mode. It is private: tenants do not
// see it.
const RunKey = MetadataPrefix + "run"

// WrittenKey is the metadata entry, in the SYSTEM domain of a vApp and private,
// that is there while disks of it are half written. It names the run and how
// to go on.
const WrittenKey = MetadataPrefix + "written"

// DisableSource is the source under which methods of a VM are disabled.
const DisableSource = "vappvault"

// Writing is the reason for which a run keeps a VM from being started.
func Writing(run string) string { return "vappvault writes its disks: run " + run }

const prefix = "vappvault-"

// SnapshotName is the name of a snapshot that a run makes.
func SnapshotName(run string) string { return prefix + run }

// ScratchName is the name of a VM that a run makes in vSphere; n tells its
// VMs apart. vCD gives it its real name on import.
func ScratchName(run, n string) string { return ScratchPrefix + run + "-" + n }

// ScratchPrefix starts the name of every VM that a restore makes.
const ScratchPrefix = prefix + "scratch-"

// Ours tells whether a snapshot is one of ours, and of which run.
func Ours(snapshot string) (run string, ok bool) {
	run, ok = strings.CutPrefix(snapshot, prefix)
	return run, ok && run != ""
}

// Record tells whether an intent only records what is kept on purpose.
// Whoever settles what dead runs left leaves it alone.
func Record(kind string) bool { return kind == KeptDisk || kind == Safety }
