// Package transport says how the bytes of a virtual disk are reached.
//
// It holds contracts only. A backup is given Openers in order of choice and
// takes the first that does not refuse; which one it was stands in the
// restore point. What changed since an earlier backup is not asked of a
// transport: package vsphere knows that.
package transport

import (
	"context"
	"errors"
	"fmt"

	"github.com/vappvault/vappvault/internal/extent"
)

// ErrRefused says that a transport cannot serve a VM or a disk, for a reason
// that lies in the disk, the host or the configuration. The next transport
// in order may be able to.
var ErrRefused = errors.New("refused")

// ErrBroken says that what was on its way broke off. Another session of the
// same transport may bring the whole disk.
var ErrBroken = errors.New("the transfer broke off")

// ErrOverloaded is an ErrBroken of a host or vCenter that has more transfers
// than it can serve: NFC error 5 (out of memory), too many connections, 503,
// a time-out of its own. What is tried again at once only makes it worse:
// whoever is told goes on with fewer at a time, after a pause.
var ErrOverloaded = fmt.Errorf("%w: the other side is overloaded", ErrBroken)

// A Frozen is a VM whose disks a snapshot of ours holds still.
type Frozen struct {
	VM         string // managed object reference of the VM, "vm-42"
	Snapshot   string // managed object reference of our snapshot
	Datacenter string // inventory path of the datacenter, for /folder?dcPath=
	PoweredOn  bool
	// Snapshots counts the snapshots of the VM, ours included.
	Snapshots int
	Disks     []Disk
}

// A Disk is one disk of a Frozen VM, as the snapshot's own hardware lists it.
type Disk struct {
	Key           int32  // device key, 2000
	Capacity      int64  // bytes
	FileName      string // frozen backing, "[datastore1] web01/web01.vmdk"
	Datastore     string // name
	DatastoreType string // VMFS, NFS, NFS41, vsan, VVOL
	ChainDepth    int    // parents below the frozen backing; 0 for a base disk
	Kind          string // flat, sesparse, rdm-virtual, …
	Encrypted     bool
	// Where the disk is attached. An export lease names disks by it.
	ControllerType string // lsilogic, lsisas, buslogic, pvscsi, ahci, nvme, ide
	BusNumber      int32  // of the controller
	Unit           int32
}

// An Opener makes one transport available for a VM.
type Opener interface {
	// Name is the transport's name in restore points: vddk, datastore, nfc.
	Name() string
	// Open prepares to read the disks of vm. ErrRefused means that another
	// transport should be tried, ErrOverloaded that this one may do later.
	Open(ctx context.Context, vm Frozen) (Session, error)
}

// A Central is an Opener whose transfers go through vCenter alone: if
// something is overloaded, it is vCenter and not the VM's host.
type Central interface {
	Opener
	ThroughVCenter() bool
}

// A Session reads the disks of one frozen VM. Close releases what the
// session holds outside (leases, connections), after every Reader of it is
// closed; calling it twice does no harm.
type Session interface {
	// Disk opens one disk by its device key. The result is a Source or a
	// Stream. ErrRefused means that another transport should be tried,
	// ErrBroken that another session may do.
	Disk(ctx context.Context, key int32) (Reader, error)
	Close() error
}

// A Reader is what Source and Stream have in common.
type Reader interface {
	// Size is the capacity of the disk in bytes.
	Size() int64
	// Transferred counts the bytes of disk content that have come over the
	// wire so far, before decompression.
	Transferred() int64
	Close() error
}

// A Source yields the bytes of one disk in any order. It is safe for
// concurrent use.
type Source interface {
	Reader
	// Extents returns what may hold data within the given range; the rest
	// reads as zeros. A source that does not know returns the range itself.
	Extents(ctx context.Context, within extent.Extent) (extent.Set, error)
	// ReadAt fills p from the given offset in bytes, or fails: with
	// ErrBroken where another session may do.
	ReadAt(ctx context.Context, p []byte, off int64) error
}

// A Reading is how a Source likes to be read. Zero fields say nothing.
type Reading struct {
	// Size is how many bytes to ask for at once, a multiple of the block
	// size of the repository (1 MiB).
	Size int64
	// Depth is how many such calls keep it busy.
	Depth int
}

// A Pacer is a Source that knows how it likes to be read.
type Pacer interface {
	Reading() Reading
}

// A Moded is a Reader of a transport that has several ways to reach a disk.
type Moded interface {
	Reader
	// Mode is the way that was taken: san, hotadd, nbdssl, nbd.
	Mode() string
}

// A Stream yields the bytes of one disk once, in ascending order; what it
// leaves out is zeros.
type Stream interface {
	Reader
	// Next returns the next piece. The data stays valid until the next
	// call. The end is io.EOF, and only a stream that was received whole
	// ends so; ErrBroken says that it was not, and may be another time.
	Next(ctx context.Context) (off int64, data []byte, err error)
}
