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
// At the disk port a double of VDDK (test/vddk) reads and writes disks as
// VMware's library would at port 902 of a host: with its refusals, its locks
// and its numbers for errors, but a protocol of our own.
//
// Promises: the content of a disk without snapshots is exactly its raw
// -flat.vmdk below Config.Dir (with files beside it from 8 TiB on, see
// package vdisk), sparse where nothing was written; VMs that AddVMs made have
// their files from the moment that somebody can see them; what a
// snapshot froze does not change until the snapshot is removed; changed
// areas derive from what the guest wrote (in blocks of 64 KiB), never from
// holes in files; a change ID outlives the snapshot that it was read from.
//
// With Config.StateDir all but sessions, tasks and leases survives a restart:
// the inventory with its morefs, snapshots, change IDs, power states, roles
// and permissions. A finished task is never forgotten, even by a server that
// was killed; one that was not finished did not happen, and the files that it
// left are nobody's. After such an end the changes of disks that ran, or were
// written to since they were written down, are no longer known: asked for
// them the server answers FileFault, as a host that finds a disk's tracking
// file not closed. A state of other hosts or datastores is refused
// (ErrOtherInventory); networks and resource pools may be added. The format
// is described in statelog.go and staterecord.go.
//
// Refusals: nothing here is shared with the shipped packages, the codecs
// included; encryption is shown but the bytes are plain; a raw device mapping
// is a file like others; what lies in no disk takes no space but swap files;
// without StateDir snapshots and change tracking do not survive Close, and
// they never survive UnregisterVM; what tests make go wrong (Faults, full or
// broken datastores, hosts in maintenance) does not survive.
package vcenter
