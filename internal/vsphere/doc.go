// Package vsphere is the vCenter side of a backup or restore: the
// configuration of VMs, snapshots, changed block tracking, relocation locks,
// and the making and exchanging of VMs and their disks.
//
// VMs are named by their managed object reference, never by name. Every
// change waits for its task and returns the task's own fault; the states that
// a caller can act on are errors of this package. Reads are repeated when the
// connection fails, changes never are. A session that vCenter has dropped is
// renewed once per call, and Close always logs out.
//
// The package refuses to guess: what changed block tracking says is taken
// only when it covers the whole disk, and everything else is an error that
// the caller answers by reading the disk in full.
package vsphere
