// Package vdisk stores the raw content of virtual disks: sparse files of up
// to 62 TiB, on file systems whose own files end sooner.
//
// Promises: a disk of up to SegmentSize bytes is one file of exactly its
// bytes; a larger one is a row of such files, NAME, .NAME.001, .NAME.002, ...,
// which together are its bytes; what was never written takes no space and is
// skipped, not read, by whoever asks for the Ranges that hold data.
//
// It refuses what lies outside of a disk's size, and knows nothing of
// snapshots, change tracking or formats: those belong to the hypervisor.
package vdisk
