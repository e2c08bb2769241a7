// Package vcenter is a simulated vCenter whose virtual disks hold bytes.
//
// It extends govmomi's vcsim with what a backup needs and vcsim lacks:
// disks with real content on datastores, snapshots that freeze it, changed
// block tracking, NFC leases that stream VMDKs both ways, an authenticated
// /folder, .vmx files from which a VM can be registered again, and the
// refusals of a real vCenter (locked files, busy slots, snapshots in the
// way, disabled methods, held leases, privileges that are not there, too many
// sessions, full datastores). Nor does it refuse more: a disk whose files
// nobody has locked is deleted or moved, whoever needs it.
//
// Hosts have addresses and certificates of their own, at which leases are
// served. VMs move between hosts and datastores, and clones may share disks.
//
// Promises: the content of a disk without snapshots is exactly its raw
// -flat.vmdk below Config.Dir, sparse where nothing was written; what a
// snapshot froze does not change until the snapshot is removed; changed
// areas derive from what the guest wrote (in blocks of 64 KiB), never from
// holes in files; a change ID outlives the snapshot that it was read from.
//
// Refusals: nothing here is shared with the shipped packages, the codecs
// included; encryption is shown but the bytes are plain; a raw device mapping
// is a file like others; what lies in no disk takes no space but swap files;
// snapshots and change tracking do not survive Close or
// UnregisterVM.
package vcenter
