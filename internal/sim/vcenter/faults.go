package vcenter

import (
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// Faults makes operations go wrong, for tests. Methods may be called at any
// time, from any goroutine.
type Faults struct {
	mu           sync.Mutex
	calls, tasks map[string]*planned
	areasPerPage int
	emptyPages   bool
	folder       bool
	quiesce      map[string]bool
	leaveDeltas  map[string]int
	forged       map[forgery][]Range
	forget       map[string]int
	cutAfter     int64
	cutTimes     int
	timeout      time.Duration
	thumbprint   bool
	resetCBT     bool
	locked       map[string]bool
}

type planned struct {
	times int
	fault types.BaseMethodFault
}

func newFaults() *Faults {
	return &Faults{
		calls: map[string]*planned{}, tasks: map[string]*planned{},
		areasPerPage: 2000,
		quiesce:      map[string]bool{}, leaveDeltas: map[string]int{},
		locked: map[string]bool{},
		forged: map[forgery][]Range{}, forget: map[string]int{},
	}
}

// FailCall makes the next calls of a SOAP method (as on the wire, such as
// QueryChangedDiskAreas) fail with fault; nil stands for SystemError.
func (f *Faults) FailCall(method string, times int, fault types.BaseMethodFault) {
	f.plan(f.calls, method, times, fault)
}

// FailTask lets the next calls of a method (such as CreateSnapshotEx_Task)
// succeed and their tasks fail.
func (f *Faults) FailTask(method string, times int, fault types.BaseMethodFault) {
	f.plan(f.tasks, method, times, fault)
}

func (f *Faults) plan(m map[string]*planned, method string, times int, fault types.BaseMethodFault) {
	if fault == nil {
		fault = &types.SystemError{Reason: method + " was told to fail"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m[method] = &planned{times, fault}
}

func (f *Faults) call(method string) types.BaseMethodFault { return f.take(f.calls, method) }
func (f *Faults) task(method string) types.BaseMethodFault { return f.take(f.tasks, method) }

func (f *Faults) take(m map[string]*planned, method string) types.BaseMethodFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := m[method]
	if p == nil || p.times <= 0 {
		return nil
	}
	p.times--
	return p.fault
}

// A forgery says which answers about a disk are false.
type forgery struct {
	moref     string
	key       int32
	allocated bool // those to "*", else those to change IDs
}

// ForgeCBT leaves omit out of every answer about the changed areas of a
// disk, as hosts with bugs have done. Without ranges it ends the lie.
func (f *Faults) ForgeCBT(moref string, key int32, omit ...Range) {
	f.forge(forgery{moref, key, false}, omit)
}

// ForgeAllocated leaves omit out of every answer about the allocated areas
// of a disk, which is what "*" asks for. Without ranges it ends the lie.
func (f *Faults) ForgeAllocated(moref string, key int32, omit ...Range) {
	f.forge(forgery{moref, key, true}, omit)
}

func (f *Faults) forge(about forgery, omit []Range) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forged[about] = normalize(omit)
}

func (f *Faults) omitted(about forgery) []Range {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.forged[about]
}

// ForgetChangeIDs makes every change ID that the VM gave out so far unknown.
func (f *Faults) ForgetChangeIDs(moref string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget[moref]++
}

// forgotten tells how often the VM's change IDs were forgotten.
func (f *Faults) forgotten(moref string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.forget[moref]
}

// SetAreasPerPage limits the areas of one answer of QueryChangedDiskAreas.
func (f *Faults) SetAreasPerPage(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.areasPerPage = max(n, 1)
}

// SetEmptyPages makes every hole between changed areas a page of its own
// that has a length and no areas.
func (f *Faults) SetEmptyPages(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.emptyPages = on
}

func (f *Faults) paging() (areas int, emptyPages bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.areasPerPage, f.emptyPages
}

// RefuseFolder answers every /folder request with 403.
func (f *Faults) RefuseFolder(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.folder = on
}

func (f *Faults) folderRefused() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.folder
}

// FailQuiesce makes quiesced snapshots of a running VM fail with
// ApplicationQuiesceFault.
func (f *Faults) FailQuiesce(moref string, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.quiesce[moref] = on
}

func (f *Faults) quiesceFails(moref string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.quiesce[moref]
}

// LeaveDeltas makes the next removals of snapshots of a VM leave their
// deltas behind, with runtime.consolidationNeeded set.
func (f *Faults) LeaveDeltas(moref string, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaveDeltas[moref] = times
}

func (f *Faults) leavesDelta(moref string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locked[moref] {
		return true
	}
	if f.leaveDeltas[moref] <= 0 {
		return false
	}
	f.leaveDeltas[moref]--
	return true
}

// SetLeaseTimeout is the time-out of NFC leases from now on; 0 means
// Config.LeaseTimeout.
func (f *Faults) SetLeaseTimeout(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.timeout = d
}

func (f *Faults) leaseTimeout() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.timeout
}

// ResetCBTOnMigration makes change tracking start anew when disks move to
// another datastore, as before vSphere 5.5 U2.
func (f *Faults) ResetCBTOnMigration(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resetCBT = on
}

func (f *Faults) resetsTracking() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resetCBT
}

// LockDisks is a backup proxy that has died with a VM's disks in its hands:
// removed snapshots leave their deltas, and consolidating them fails with
// FileLocked until the lock is gone.
func (f *Faults) LockDisks(moref string, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locked[moref] = on
}

func (f *Faults) locksDisks(moref string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.locked[moref]
}

// ForgeThumbprint makes leases name a certificate that their host does not
// have, as they do when it was replaced and vCenter has not noticed.
func (f *Faults) ForgeThumbprint(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.thumbprint = on
}

func (f *Faults) forgesThumbprint() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.thumbprint
}

// CutNFC breaks the connection of the next NFC downloads after so many
// bytes.
func (f *Faults) CutNFC(after int64, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAfter, f.cutTimes = after, times
}

func (f *Faults) cutNFC() (after int64, cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cutTimes <= 0 {
		return 0, false
	}
	f.cutTimes--
	return f.cutAfter, true
}
