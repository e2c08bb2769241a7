package director

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A sight is what lists show of a VM, as its vCenter last said it. There is one
// of every VM, and it is saved; facts, which are many times as large, are only
// kept of those VMs that were looked at of late.
type sight struct {
	known          bool
	power          types.VirtualMachinePowerState
	guest, version string
	home           string // name of the datastore of the .vmx
	host           types.ManagedObjectReference
	cpus, memoryMB int32
	disks          []diskSight
	name           string // in vCenter
}

// A diskSight is the size of a disk, by the key of its device and its path.
type diskSight struct {
	key   int32
	bytes int64
	path  string
}

// bytes is the capacity of all disks.
func (s *sight) bytes() int64 {
	var n int64
	for _, d := range s.disks {
		n += d.bytes
	}
	return n
}

// diskMB is the same in MiB, rounded as vCD does it, disk by disk.
func (s *sight) diskMB() int64 {
	var n int64
	for _, d := range s.disks {
		n += d.bytes >> 20
	}
	return n
}

// diskProfile is the storage profile of the VM's i-th disk.
func (m *vm) diskProfile(i int) string {
	if i < len(m.diskOrder) {
		return or(m.diskOrder[i], m.profile)
	}
	return or(m.diskProfiles[m.seen.disks[i].key], m.profile)
}

// sight is the part of the facts that lists show.
func (f *facts) sight() sight {
	s := sight{
		known: true, power: f.power, guest: f.config.GuestId, version: f.config.Version, home: f.homeName, host: f.host,
		cpus: f.config.Hardware.NumCPU, memoryMB: f.config.Hardware.MemoryMB, name: f.name,
	}
	for _, d := range f.disks() {
		s.disks = append(s.disks, diskSight{d.Key, capacity(d), pathOf(d)})
	}
	return s
}

// A real installation answers queries from its own database, which follows the
// vCenters' changes within seconds; asking for tens of thousands of VMs takes
// half a minute. So a query over many VMs goes by what is known, and has VMs that
// were not seen lately looked at in the background: those of the page that is
// shown soon, all that a filter or an order is over now and then.
const (
	manyVMs    = 1000
	sightAge   = 5 * time.Minute
	pageAge    = 10 * time.Second
	sightBatch = 500
	followRest = 2 * time.Second
)

// revisit returns the VMs that nobody has seen yet, and has those looked at in
// the background that were last seen longer ago than that. At the start
// everybody knows what there is. The mutex is held.
func (s *Server) revisit(vms []*vm, age time.Duration) (strangers []*vm) {
	var stale []*vm
	for _, m := range vms {
		switch {
		case !m.seen.known:
			strangers = append(strangers, m)
		case time.Since(m.seenAt) > age && time.Since(s.started) > age:
			stale = append(stale, m)
		}
	}
	if len(stale) == 0 || s.following || s.ctx.Err() != nil {
		return strangers
	}
	s.following = true
	s.work.Go(func() { s.lookAgain(stale) })
	return strangers
}

// lookAgain looks at VMs, and then rests: whoever reads page after page would have
// it look at all there are without an end.
func (s *Server) lookAgain(vms []*vm) {
	s.mu.Lock()
	for batch := range slices.Chunk(vms, sightBatch) {
		if s.glance(s.ctx, batch...) != nil {
			break // the next query tries again
		}
	}
	s.mu.Unlock()
	select {
	case <-s.ctx.Done():
	case <-time.After(followRest):
	}
	s.mu.Lock()
	s.following = false
	s.mu.Unlock()
}

// glanceProps is what lists show and what changes without vCD's doing it. Disks
// are not among it: their devices would be most of what is sent.
var glanceProps = []string{"runtime.powerState", "runtime.host", "config.guestId", "config.version", "config.hardware.numCPU",
	"config.hardware.memoryMB", "config.files.vmPathName", "name"}

// glance reads what lists show of VMs. The server's mutex is held when it is
// called and when it returns, but not while a vCenter is asked.
func (s *Server) glance(ctx context.Context, vms ...*vm) error {
	asked := map[*vcenter][]string{}
	var strangers []*vm // nobody knows their disks
	for _, m := range vms {
		switch {
		case m.creating:
		case m.seen.known:
			asked[m.vc] = append(asked[m.vc], m.moref)
		default:
			strangers = append(strangers, m)
		}
	}
	if len(strangers) > 0 {
		if err := s.refresh(ctx, strangers...); err != nil {
			return err
		}
	}
	got := map[*vcenter]map[string]sight{}
	s.mu.Unlock()
	var failed error
	for vc, morefs := range asked {
		g, err := vc.glance(ctx, morefs)
		if err != nil {
			failed = refuse(500, "INTERNAL_SERVER_ERROR", "vCenter %s: %s", vc.name, err)
			break
		}
		got[vc] = g
	}
	s.mu.Lock()
	if failed != nil {
		return failed
	}
	for _, m := range vms {
		if m.creating || got[m.vc] == nil || !m.seen.known {
			continue
		}
		g, there := got[m.vc][m.moref]
		if m.lost = !there; there {
			g.disks = m.seen.disks
			m.seen, m.seenAt = g, time.Now()
		}
	}
	return nil
}

// glance reads VMs. One that is gone is absent from the answer.
func (vc *vcenter) glance(ctx context.Context, morefs []string) (map[string]sight, error) {
	c, err := vc.connect(ctx)
	if err != nil {
		return nil, err
	}
	refs := make([]types.ManagedObjectReference, len(morefs))
	for i, m := range morefs {
		refs[i] = vmRef(m)
	}
	out := map[string]sight{}
	return out, glanceAll(ctx, c, refs, out)
}

func glanceAll(ctx context.Context, c *vim25.Client, refs []types.ManagedObjectReference, out map[string]sight) error {
	var got []mo.VirtualMachine
	err := property.DefaultCollector(c).Retrieve(ctx, refs, glanceProps, &got)
	if gone(err) {
		if len(refs) == 1 {
			return nil
		}
		half := len(refs) / 2
		if err := glanceAll(ctx, c, refs[:half], out); err != nil {
			return err
		}
		return glanceAll(ctx, c, refs[half:], out)
	}
	if err != nil {
		return fmt.Errorf("read VMs: %w", err)
	}
	for i := range got {
		m := &got[i]
		if m.Config == nil {
			continue // being made, or inaccessible
		}
		s := sight{known: true, power: m.Runtime.PowerState, guest: m.Config.GuestId, version: m.Config.Version,
			cpus: m.Config.Hardware.NumCPU, memoryMB: m.Config.Hardware.MemoryMB, name: m.Name}
		if m.Runtime.Host != nil {
			s.host = *m.Runtime.Host
		}
		var p object.DatastorePath
		if p.FromString(m.Config.Files.VmPathName) {
			s.home = p.Datastore
		}
		out[m.Self.Value] = s
	}
	return nil
}

// How many VMs' facts are kept, besides those that were read just now.
const (
	factsKept = 1000
	factsAge  = time.Minute
)

// dropFacts drops the facts that were not read for a while, so that looking at
// every VM once does not fill the memory. The mutex is held.
func (s *Server) dropFacts() {
	for range len(s.remembered) - factsKept {
		m := s.remembered[0]
		s.remembered = append(s.remembered[1:], m)
		if m.facts != nil && time.Since(m.facts.read) < factsAge {
			continue
		}
		m.facts, m.held = nil, false
		s.remembered[len(s.remembered)-1] = nil
		s.remembered = s.remembered[:len(s.remembered)-1]
	}
}

// remember notes that a VM has facts.
func (s *Server) remember(m *vm) {
	if !m.held {
		m.held = true
		s.remembered = append(s.remembered, m)
	}
}
