package director

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/vmware/govmomi/vim25/types"
)

// The resources that quotas are about (QuotaPoolDefinition of the OpenAPI
// reference). Running VMs are VMs with a qualifier.
const (
	quotaMemory  = "memory"  // MB, of deployed VMs
	quotaCPU     = "cpu"     // MHz, of deployed VMs
	quotaStorage = "storage" // MB
	quotaVMs     = "urn:vcloud:legacy:vm"

	deployedQualifier = "vm.deployed == true"
)

// A usage is what VMs take of the resources under quota.
type usage struct {
	vms, running             int64
	cpuMHz, memMB, storageMB int64
}

func (u usage) plus(v usage) usage {
	return usage{u.vms + v.vms, u.running + v.running, u.cpuMHz + v.cpuMHz, u.memMB + v.memMB, u.storageMB + v.storageMB}
}

// of is the part of a usage that a pool limits.
func (u usage) of(p quotaPool) int64 {
	switch {
	case p.resource == quotaMemory:
		return u.memMB
	case p.resource == quotaCPU:
		return u.cpuMHz
	case p.resource == quotaStorage:
		return u.storageMB
	case p.resource == quotaVMs && p.running():
		return u.running
	case p.resource == quotaVMs:
		return u.vms
	}
	return 0
}

// use is what one VM takes.
func (s *Server) use(m *vm) usage {
	u := usage{vms: 1, storageMB: m.seen.diskMB()}
	if m.deployed {
		u = u.plus(s.deployedUse(m))
	}
	return u
}

// deployedUse is what a VM takes in addition while it is deployed.
func (s *Server) deployedUse(m *vm) usage {
	u := usage{running: 1}
	if m.seen.known {
		mhz := int64(1000)
		if v := s.vdcs[m.vapp.vdc]; v != nil && v.vcpuMHz > 0 {
			mhz = v.vcpuMHz
		}
		u.cpuMHz, u.memMB = int64(m.seen.cpus)*mhz, int64(m.seen.memoryMB)
	}
	return u
}

// used adds up the VMs for which in says so.
func (s *Server) used(in func(*vm) bool) usage {
	var u usage
	s.census(func(m *vm, _ int) {
		if in(m) {
			u = u.plus(s.use(m))
		}
	})
	return u
}

// A coming VM was admitted and is being made: it takes its place in quotas as
// long as the task runs that makes it, so that two of them do not share one.
type coming struct {
	vm     *vm
	nics   int
	source string // moref of the VM that is imported
}

// census calls f with every VM that takes room, and with the number of its NICs.
func (s *Server) census(f func(m *vm, nics int)) {
	for _, m := range s.vms {
		f(m, len(m.nics))
	}
	for _, t := range s.running {
		for _, k := range t.coming {
			if s.vms[k.vm.id] == nil && !t.over() {
				f(k.vm, k.nics)
			}
		}
	}
}

// expect is what a VM that is being made will have, as far as its plan says.
func (b blank) expect() coming {
	m, p := b.vm, b.plan
	m.seen = sight{known: true, power: types.VirtualMachinePowerStatePoweredOff, guest: p.spec.GuestId, version: p.spec.Version,
		cpus: p.spec.NumCPUs, memoryMB: int32(p.spec.MemoryMB)}
	m.diskOrder = nil
	for i, w := range p.fresh {
		m.seen.disks = append(m.seen.disks, diskSight{key: -int32(i) - 1, bytes: w.sizeMB << 20})
		m.diskOrder = append(m.diskOrder, or(w.profile, p.profile, m.profile))
	}
	k := coming{vm: m}
	if p.cards != nil {
		k.nics = len(p.cards.nics)
	}
	return k
}

// expect is what the copy of a VM will have.
func (it sourced) expect() coming {
	if it.from.seen.known {
		it.vm.seen = it.from.seen
		it.vm.seen.power, it.vm.seen.disks = types.VirtualMachinePowerStatePoweredOff, slices.Clone(it.from.seen.disks)
		for i, d := range it.vm.seen.disks {
			it.vm.seen.disks[i].bytes = max(d.bytes, it.sizes[d.key])
		}
	}
	return coming{vm: it.vm, nics: len(it.from.nics)}
}

// checkStoredQuota refuses more VMs in a vApp, which may not be in the inventory
// yet, than organization, owner and VDC may have.
func (s *Server) checkStoredQuota(a *vapp, vms int, storageMB int64) error {
	if vms <= 0 && storageMB <= 0 {
		return nil
	}
	v := s.vdcs[a.vdc]
	if v.vmQuota > 0 && vms > 0 {
		if n := s.used(func(m *vm) bool { return m.vapp.vdc == v.id }).vms; n+int64(vms) > int64(v.vmQuota) {
			return badRequest("The operation would exceed the virtual machine quota of VDC \"%s\": quota %d, in use %d, requested %d.", v.name, v.vmQuota, n, vms)
		}
	}
	return s.checkQuotas(a, usage{vms: int64(vms), storageMB: storageMB})
}

// checkRunningQuota refuses to deploy VMs where organization or owner would
// have more of them deployed than they may.
func (s *Server) checkRunningQuota(a *vapp, vms []*vm) error {
	var more usage
	for _, m := range vms {
		if !m.deployed {
			more = more.plus(s.deployedUse(m))
		}
	}
	if more.running == 0 {
		return nil
	}
	return s.checkQuotas(a, more)
}

// checkQuotas compares what a vApp would take in addition with every quota that
// it is subject to. The settings of an organization are documented as those of
// each member, the quotas of newer versions as those of the whole: the stricter
// reading is that they bound the whole.
func (s *Server) checkQuotas(a *vapp, more usage) error {
	o, u := s.orgOf(a), s.users[a.owner]
	for _, t := range s.quotaTargets(a, o, u) {
		var used *usage
		for _, p := range t.pools {
			if more.of(p) == 0 {
				continue
			}
			if used == nil {
				sum := s.used(t.in)
				used = &sum
			}
			if have := used.of(p); p.quota >= 0 && have+more.of(p) > p.quota {
				return p.exceeded(t.kind, t.name, have, more.of(p))
			}
		}
	}
	return nil
}

// checkOwnerQuota refuses a vApp to a user who may not have as many VMs.
func (s *Server) checkOwnerQuota(a *vapp, u *user) error {
	if u.id == a.owner || u.org != s.orgOf(a).id {
		return nil
	}
	more := s.used(func(m *vm) bool { return m.vapp == a })
	have := s.used(func(m *vm) bool { return m.vapp.owner == u.id })
	for _, p := range s.userPools(u) {
		if n := more.of(p); n > 0 && p.quota >= 0 && have.of(p)+n > p.quota {
			return p.exceeded("user", u.name, have.of(p), n)
		}
	}
	return nil
}

// exceeded is the refusal. The text of a real installation is not documented.
func (p quotaPool) exceeded(kind, name string, have, more int64) error {
	return refuse(http.StatusBadRequest, "QUOTA_EXCEEDED", "The operation would exceed the %s quota of %s \"%s\": quota %d, in use %d, requested %d.",
		p.title(), kind, name, p.quota, have, more)
}

// A quotaTarget is what quotas bound.
type quotaTarget struct {
	kind, name string
	pools      []quotaPool
	in         func(*vm) bool
}

func (s *Server) quotaTargets(a *vapp, o *org, u *user) []quotaTarget {
	out := []quotaTarget{
		{"organization", o.name, s.orgPools(o), func(m *vm) bool { return s.orgOf(m.vapp) == o }},
		{"vApp", a.name, s.assignedPools(a.id), func(m *vm) bool { return m.vapp == a }},
	}
	if u != nil && u.org == o.id {
		out = append(out, quotaTarget{"user", u.name, s.userPools(u), func(m *vm) bool { return m.vapp.owner == u.id && s.orgOf(m.vapp) == o }})
	}
	return out
}

// A quotaPool is one quota.
type quotaPool struct {
	name, resource, unit string
	quota                int64 // negative: no limit
	qualifiers           []string
}

func (p quotaPool) running() bool { return len(p.qualifiers) > 0 }

func (p quotaPool) title() string {
	switch {
	case p.resource != quotaVMs:
		return p.resource
	case p.running():
		return "running VMs"
	}
	return "all VMs"
}

// legacyPools are the quotas of the XML API, whose 0 is no limit.
func legacyPools(running, stored int) []quotaPool {
	var out []quotaPool
	if running > 0 {
		out = append(out, quotaPool{"Running VMs", quotaVMs, "count", int64(running), []string{deployedQualifier}})
	}
	if stored > 0 {
		out = append(out, quotaPool{"All VMs", quotaVMs, "count", int64(stored), nil})
	}
	return out
}

func (s *Server) orgPools(o *org) []quotaPool {
	return append(legacyPools(o.deployedQuota, o.stored), s.assignedPools(o.id)...)
}

func (s *Server) userPools(u *user) []quotaPool {
	return append(legacyPools(u.deployed, u.quota), s.assignedPools(u.id)...)
}

// assignedPools are those of the quota policy that an entity was assigned.
func (s *Server) assignedPools(id string) []quotaPool {
	if p := s.quotaPolicies[s.quotaOf[id]]; p != nil {
		return p.pools
	}
	return nil
}

// checkNICQuota refuses more NICs than a VDC may have. 0 is no limit.
func (s *Server) checkNICQuota(v *vdc, more int) error {
	if v.nicQuota <= 0 || more <= 0 {
		return nil
	}
	n := 0
	s.census(func(m *vm, nics int) {
		if m.vapp.vdc == v.id {
			n += nics
		}
	})
	if n+more > v.nicQuota {
		return badRequest("The operation would exceed the NIC quota of VDC \"%s\": quota %d, in use %d, requested %d.", v.name, v.nicQuota, n, more)
	}
	return nil
}

// checkNetworkQuota refuses another organization network in a VDC that has as
// many as it may.
func (s *Server) checkNetworkQuota(v *vdc) error {
	if n := s.networkCount(v); n >= v.networkQuota {
		return badRequest("The operation would exceed the network quota of VDC \"%s\": quota %d, in use %d.", v.name, v.networkQuota, n)
	}
	return nil
}

// networkCount counts the networks of a VDC: those of its groups are not its own.
func (s *Server) networkCount(v *vdc) int {
	n := 0
	for _, net := range s.nets {
		if net.vdc == v.id && net.group == "" {
			n++
		}
	}
	return n
}

// checkStorage refuses what a storage profile has no room for, or what is to go
// to one that is disabled.
func (s *Server) checkStorage(p *profile, moreMB int64) error {
	if p == nil || moreMB <= 0 {
		return nil
	}
	if !p.enabled {
		return badRequest("The storage policy \"%s\" is disabled.", p.name)
	}
	if free := p.limitMB - s.usedMB(p); p.limitMB > 0 && moreMB > free {
		return badRequest("The requested operation will exceed the VDC's storage quota: storage policy \"%s\" has %s MB remaining, requested %s MB.",
			p.name, thousands(max(free, 0)), thousands(moreMB))
	}
	return nil
}

// thousands writes a number with commas.
func thousands(n int64) string {
	if n < 1000 {
		return num(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// usedMB is what a storage profile holds, as far as it is known.
func (s *Server) usedMB(p *profile) int64 { return s.usedByProfile()[p.id] }

// usedByProfile is what storage profiles hold, by id.
func (s *Server) usedByProfile() map[string]int64 {
	used := map[string]int64{}
	s.census(func(m *vm, _ int) {
		for i, d := range m.seen.disks {
			if s.namedAt(m, d.path) == nil {
				used[m.diskProfile(i)] += d.bytes >> 20
			}
		}
	})
	for _, d := range s.disks {
		used[d.profile] += d.sizeMB
	}
	return used
}

// diskMB is the size of all disks.
func (f *facts) diskMB() int64 {
	var n int64
	for _, d := range f.disks() {
		n += capacity(d) >> 20
	}
	return n
}
