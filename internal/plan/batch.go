package plan

import (
	"strings"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// A Batch is what the plans of one go take together: the room, the quotas and
// the names that one of them takes are not there for the next. Its zero value
// is ready; it is not for use from several goroutines.
type Batch struct {
	bytes map[string]int64 // by datastore
	orgs  map[string]int   // VMs, by org
	vdcs  map[string]int   // VMs, by VDC
	names map[string]string
}

// storeKey tells the datastores of several vCenters apart, as far as a list
// of them does.
func storeKey(s vsphere.DatastoreInfo) string { return s.Name + "\x00" + s.Ref }

func refKey(r restorepoint.Ref) string { return r.Name + "\x00" + r.ID }

// on is what other plans put on a datastore.
func (b *Batch) on(s vsphere.DatastoreInfo) int64 {
	if b == nil {
		return 0
	}
	return b.bytes[storeKey(s)]
}

// inOrg and inVDC are the VMs that other plans bring.
func (b *Batch) inOrg(id string) int {
	if b == nil {
		return 0
	}
	return b.orgs[id]
}

func (b *Batch) inVDC(id string) int {
	if b == nil {
		return 0
	}
	return b.vdcs[id]
}

// add notes what a plan takes. A plan that is refused takes nothing.
func (b *Batch) add(p *Plan) {
	if b == nil || p.Refused() != nil {
		return
	}
	if b.bytes == nil {
		b.bytes, b.orgs, b.vdcs, b.names = map[string]int64{}, map[string]int{}, map[string]int{}, map[string]string{}
	}
	for _, vm := range p.VMs {
		if vm.VM == nil || vm.Action != Rebuild && vm.Action != Overwrite {
			continue
		}
		for _, d := range vm.VM.Disks {
			if at, ok := vm.Disks[d.Key]; ok {
				b.bytes[refKey(at)] += d.Content.DataBytes
			}
		}
		if vm.Action == Rebuild {
			b.orgs[p.Org.ID]++
			b.vdcs[p.VDC.ID]++
		}
	}
	if !p.InPlace() {
		b.names[b.nameKey(p)] = p.Point.ID
	}
}

func (b *Batch) nameKey(p *Plan) string { return p.VDC.ID + "\x00" + strings.ToLower(p.VAppName) }

// taken refuses the name that another plan of the batch gives.
func (b *Batch) taken(p *Plan) {
	if b == nil || p.InPlace() || p.Standalone {
		return
	}
	if other := b.names[b.nameKey(p)]; other != "" {
		p.conflict(KindNameTaken, "vApp "+p.VAppName, "", "restore point %s comes back by the same name in VDC %s", other, p.VDC.Name)
	}
}
