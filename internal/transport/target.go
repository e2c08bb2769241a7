package transport

import (
	"context"

	"github.com/vappvault/vappvault/internal/extent"
)

// A Target takes the bytes of one disk that is there, in any order. It is
// safe for concurrent writes to ranges that do not overlap. Nothing is put
// back when a write fails: whoever writes into a disk has noted before how it
// is mended.
type Target interface {
	// Size is the capacity of the disk in bytes.
	Size() int64
	// WriteAt writes p at the given offset in bytes. Both are multiples of
	// 512. ErrBroken means that another session may do.
	WriteAt(ctx context.Context, p []byte, off int64) error
	// Zero makes a range read as zeros, the cheapest way that the transport
	// has. A disk that was just made reads so without it.
	Zero(ctx context.Context, e extent.Extent) error
	// ReadAt fills p from the given offset, with what the disk holds now.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// Flush returns when everything written before it is on the datastore.
	Flush(ctx context.Context) error
	// Transferred counts the bytes that were written so far.
	Transferred() int64
	// Close ends the writing without a flush. Twice does no harm.
	Close() error
}

// An Idle is a VM whose present disks are written: it is off, and has no
// snapshots, so that nothing hangs from its disks but itself.
type Idle struct {
	VM         string // managed object reference, "vm-42"
	Datacenter string // inventory path
	Disks      []Disk // as the VM's hardware lists them
}

// A TargetOpener makes one transport available for writing into the disks of
// a VM.
type TargetOpener interface {
	// Name is the transport's name, as that of an Opener.
	Name() string
	// OpenTarget prepares to write. ErrRefused means that another transport
	// should be tried.
	OpenTarget(ctx context.Context, vm Idle) (TargetSession, error)
}

// A TargetSession writes the disks of one VM. Close releases what it holds
// outside, after every Target of it is closed; twice does no harm.
type TargetSession interface {
	// Target opens one disk by its device key.
	Target(ctx context.Context, key int32) (Target, error)
	Close() error
}

// A Fill is what one disk of a VM that is being made is to hold.
type Fill struct {
	Key     int32 // device key in the VM's specification
	Content Source
}
