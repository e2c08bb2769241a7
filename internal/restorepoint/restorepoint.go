// Package restorepoint is the manifest of a restore point: one vApp at one
// instant, the documents that describe it and the disks of its VMs.
//
// A committed point never changes. Ids are path components inside it, names
// never are: a VM may be called "../../x".
package restorepoint

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// SchemaVersion is the version of the manifest that this program writes. It
// reads this one and every older one.
const SchemaVersion = 1

// A State says how whole a restore point is.
type State string

// The states of a restore point.
const (
	Complete   State = "complete"   // all that was asked for is there
	Partial    State = "partial"    // something is missing; Problems say what and why
	Incomplete State = "incomplete" // not restorable as a whole
)

// A Point is the manifest, stored as restorepoint.json.
type Point struct {
	Schema      int       `json:"schema"`
	ID          string    `json:"id"` // ULID
	State       State     `json:"state"`
	Started     time.Time `json:"started"`
	Finished    time.Time `json:"finished"`
	ToolVersion string    `json:"toolVersion"`
	Site        Ref       `json:"site"` // ID: the site's id in the configuration
	Org         Ref       `json:"org"`
	VDC         Ref       `json:"vdc"`
	VApp        Ref       `json:"vapp"`
	// Parent is the id of the point that disks were taken over from.
	Parent      string `json:"parent,omitempty"`
	AutoNature  bool   `json:"autoNature,omitempty"` // standalone VM or discovered vApp
	Nature      Nature `json:"nature,omitempty"`     // which of them; none in points of older versions
	Maintenance string `json:"maintenance"`          // full, snapshot, none, foreign
	APIVersion  string `json:"apiVersion"`
	// SnapshotFirst and SnapshotLast span the instants at which the VMs
	// were frozen; their distance is the skew.
	SnapshotFirst time.Time         `json:"snapshotFirst,omitzero"`
	SnapshotLast  time.Time         `json:"snapshotLast,omitzero"`
	VMs           []VM              `json:"vms"`
	Documents     []string          `json:"documents"`        // paths inside the point
	Absent        map[string]string `json:"absent,omitempty"` // document path -> why
	Problems      []Problem         `json:"problems,omitempty"`
}

// Skew is the time between the first and the last VM's snapshot.
func (p *Point) Skew() time.Duration { return p.SnapshotLast.Sub(p.SnapshotFirst) }

// A Ref names an object by the id and the name it had.
type Ref struct {
	ID   string `json:"id"` // URN where vCD gives one
	Name string `json:"name"`
	Href string `json:"href,omitempty"`
}

// Label is what selectors call it: its name, or its UUID where vCD hid the
// name.
func (r Ref) Label() string { return cmp.Or(r.Name, UUID(r.ID), "?") }

// A Problem is something that the point lacks or that went otherwise than
// planned. Empty fields do not apply.
type Problem struct {
	VM      string `json:"vm,omitempty"`
	Disk    string `json:"disk,omitempty"`
	Message string `json:"message"`
	// Missing is true when bytes or documents are not in the point.
	Missing bool `json:"missing,omitempty"`
}

// A VM is one virtual machine of the vApp.
type VM struct {
	Ref
	// VCenter is the vCenter's instance UUID, MoRef the VM's managed object
	// reference there: the identity that the next incremental checks.
	VCenter       string    `json:"vcenter"`
	VCenterHref   string    `json:"vcenterHref"`
	MoRef         string    `json:"moref"`
	InstanceUUID  string    `json:"instanceUuid,omitempty"`
	PowerState    string    `json:"powerState"`
	Frozen        time.Time `json:"frozen,omitzero"`
	Consistency   string    `json:"consistency,omitempty"` // application, crash, off
	ScopedLocalID string    `json:"vappScopedLocalId,omitempty"`
	Disks         []Disk    `json:"disks"`
	// Unprotected lists the disks whose bytes are not in the point: no
	// snapshot can freeze them, or they were excluded. Of their Content only
	// the Size is set.
	Unprotected []Disk `json:"unprotected,omitempty"`
	// Missing says why the VM's disks are not in the point.
	Missing string `json:"missing,omitempty"`
	// From is the id of the earlier point that the VM was taken from, where
	// a restore puts one together out of several. No stored point has it.
	From string `json:"-"`
	// Excluded is true where that was asked for. A reader that does not know
	// the field takes the VM for one that failed, which is on the safe side.
	Excluded bool `json:"excluded,omitempty"`
}

// A Disk is one disk of a VM.
type Disk struct {
	Key      int32  `json:"key"` // device key
	UUID     string `json:"uuid"`
	Label    string `json:"label"`
	FileName string `json:"fileName"`
	// NotProtected says why the disk was not read at all; Excluded is true
	// where that was asked for.
	NotProtected string `json:"notProtected,omitempty"`
	Excluded     bool   `json:"excluded,omitempty"`
	ChangeID     string `json:"changeId,omitempty"`
	Transport    string `json:"transport,omitempty"`
	// TransportMode is how the transport reached the disk, where it has
	// several ways: san, hotadd, nbdssl, nbd.
	TransportMode string `json:"transportMode,omitempty"`
	// Mode is "full" or "incremental"; FullReason says why it was full.
	Mode        string      `json:"mode,omitempty"`
	FullReason  string      `json:"fullReason,omitempty"`
	Parent      string      `json:"parent,omitempty"` // the point it was taken over from, if that is not the Point's Parent
	ReadBytes   int64       `json:"readBytes"`        // disk bytes asked of the transport
	WireBytes   int64       `json:"wireBytes"`        // bytes that came over the wire
	SampleBytes int64       `json:"sampleBytes"`      // of ReadBytes: unchanged bytes, read to check CBT
	Content     DiskContent `json:"content"`
	// PassedOver are the transports that come before and did not open the
	// disk, with their reasons.
	PassedOver []PassedOver `json:"passedOver,omitempty"`
	// Seconds is how long the copy took, without the wait for its turn and
	// the pauses after an overload. Points of old have none.
	Seconds float64 `json:"seconds,omitempty"`
	// Retries are what went wrong on the way and was tried again, the first
	// MaxRetries of them; RetryCount counts them all.
	Retries    []Retry `json:"retries,omitempty"`
	RetryCount int     `json:"retryCount,omitempty"`
	// Resumed says what was taken over from an attempt that was interrupted;
	// NotResumed, why what one had copied could not be used.
	Resumed    *Resumed `json:"resumed,omitempty"`
	NotResumed string   `json:"notResumed,omitempty"`
}

// A PassedOver is a transport that would not read a disk.
type PassedOver struct {
	Transport string `json:"transport"`
	Reason    string `json:"reason"`
}

// MaxRetries is how many retries of a disk a point tells one by one.
const MaxRetries = 20

// A Retry is something that failed while a disk was copied, and was tried
// again in the same way or in another.
type Retry struct {
	Time      time.Time `json:"time"`
	Transport string    `json:"transport"`
	Reason    string    `json:"reason"`
	// BackOff is for how many seconds the host or vCenter, which was
	// overloaded, was left alone. It got half of what it had then.
	BackOff float64 `json:"backOff,omitempty"`
	// GaveWay says that the next transport was taken.
	GaveWay bool `json:"gaveWay,omitempty"`
}

// A Resumed is what attempts before have copied of a disk.
type Resumed struct {
	Run    string    `json:"run"`         // id of the last of them
	Saved  time.Time `json:"saved"`       // when it said last how far it had come
	Bytes  int64     `json:"bytes"`       // of blocks that they wrote
	Stored int64     `json:"storedBytes"` // that they added to the repository
}

// Rate is how many bytes of the disk were read in a second, or 0 where that
// is not known.
func (d *Disk) Rate() int64 {
	if d.Seconds <= 0 {
		return 0
	}
	return int64(float64(d.ReadBytes) / d.Seconds)
}

// A DiskContent is where the bytes of a disk are kept in the repository.
type DiskContent struct {
	Object string `json:"object"` // Kopia object id of the raw image
	Sums   string `json:"sums"`   // Kopia object id of the block sums
	Size   int64  `json:"size"`   // bytes
	// TreeHash is the hex BLAKE3 of the size and the sums of all blocks.
	TreeHash     string `json:"treeHash"`
	DataBytes    int64  `json:"dataBytes"`    // bytes in blocks that are not all zeros
	WrittenBytes int64  `json:"writtenBytes"` // bytes of blocks written for this point
	StoredBytes  int64  `json:"storedBytes"`  // bytes this point added to the repository, compressed
}

var component = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]*$`)

// UUID returns the last part of a URN such as urn:vcloud:vm:UUID, or the
// string itself where it is no URN.
func UUID(urn string) string {
	return urn[strings.LastIndexByte(urn, ':')+1:]
}

// DiskPath returns the path of a disk inside a point, disks/VM-UUID/DISK-UUID.raw.
// It fails when an id is not fit to be a path component.
func DiskPath(vm VM, d Disk) (string, error) {
	id := d.UUID
	if id == "" {
		id = fmt.Sprintf("key-%d", d.Key)
	}
	id = strings.ReplaceAll(id, " ", "-")
	for _, c := range []string{UUID(vm.ID), id} {
		if !component.MatchString(c) {
			return "", fmt.Errorf("vm %s: disk %d: id %q is not fit for a path", vm.Name, d.Key, c)
		}
	}
	return "disks/" + UUID(vm.ID) + "/" + id + ".raw", nil
}
