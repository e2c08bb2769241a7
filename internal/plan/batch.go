package plan

import (
	"maps"
	"strings"

	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// A Batch is what the plans of one go take together: the room, the quotas and
// the names that one of them takes are not there for the next. Its zero value
// is ready; it is not for use from several goroutines.
type Batch struct {
	bytes map[string]int64 // by datastore
	needs map[string]need  // by the ids of orgs, VDCs and users
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

// with is a need together with what other plans take of an org, a VDC or a user.
func (b *Batch) with(n *need, id string) *need {
	if b == nil {
		return n
	}
	return n.plus(b.needs[id])
}

func (n *need) plus(m need) *need {
	sum := *n
	sum.vms, sum.nics = n.vms+m.vms, n.nics+m.nics
	sum.cpus, sum.memoryMB, sum.storageMB = n.cpus+m.cpus, n.memoryMB+m.memoryMB, n.storageMB+m.storageMB
	sum.allCPU, sum.allMB = n.allCPU+m.allCPU, n.allMB+m.allMB
	sum.profiles = maps.Clone(n.profiles)
	for name, mb := range m.profiles {
		sum.profiles[name] += mb
	}
	return &sum
}

// add notes what a plan takes. A plan that is refused takes nothing.
func (b *Batch) add(p *Plan) {
	if b == nil || p.Refused() != nil {
		return
	}
	if b.bytes == nil {
		b.bytes, b.needs, b.names = map[string]int64{}, map[string]need{}, map[string]string{}
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
	}
	if p.need != nil {
		for _, id := range []string{p.Org.ID, p.VDC.ID, p.Owner.ID} {
			b.needs[id] = *p.need.plus(b.needs[id])
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
