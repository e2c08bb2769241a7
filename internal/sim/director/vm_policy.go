package director

import (
	"encoding/json"

	"github.com/vmware/govmomi/vim25/types"
)

// A sizing is what a VM sizing policy says of a VM's hardware; 0 for what it
// leaves open.
type sizing struct {
	CPUs     int32 `json:"cpuCount"`
	Cores    int32 `json:"coresPerSocket"`
	MemoryMB int64 `json:"memory"`

	name string
}

// sizingOf is what a policy says, and nothing for one that does not exist.
func (s *Server) sizingOf(id string) sizing {
	var z sizing
	p := s.policies[id]
	if p == nil || p.body == "" {
		return z
	}
	if err := json.Unmarshal([]byte(p.body), &z); err != nil {
		return sizing{} // it was read before
	}
	z.name = p.name
	return z
}

// sizingID is the policy that decides on the size of a VM: its own, or the
// VDC's default where it has none at all.
func (s *Server) sizingID(m *vm) string {
	if m.policy == "" && m.placement == "" {
		return s.vdcs[m.vapp.vdc].defaultPolicy
	}
	return m.policy
}

// planSizing holds a VM to its sizing policy. When the policy is assigned, its
// numbers become the VM's (Service Provider Admin Guide, "Attributes of VM
// Sizing Policies"); afterwards a VM cannot have more than they are
// (VdcComputePolicy of the OpenAPI reference).
func (c *call) planSizing(m *vm, p *vmPlan) error {
	was, now := c.s.sizingID(m), ""
	if now = was; p.policies != nil {
		after := vm{vapp: m.vapp, policy: p.policies.sizing, placement: p.policies.placement}
		now = c.s.sizingID(&after)
	}
	z := c.s.sizingOf(now)
	if !m.creating && now == was {
		switch {
		case z.CPUs > 0 && p.spec.NumCPUs > z.CPUs:
			return badRequest("The VM %q cannot have %d CPUs: its sizing policy %q allows %d.", m.name, p.spec.NumCPUs, z.name, z.CPUs)
		case z.MemoryMB > 0 && p.spec.MemoryMB > z.MemoryMB:
			return badRequest("The VM %q cannot have %d MB of memory: its sizing policy %q allows %d MB.", m.name, p.spec.MemoryMB, z.name, z.MemoryMB)
		}
		return nil
	}
	if z.CPUs > 0 || z.Cores > 0 {
		cpus, cores := z.cpus(or(p.spec.NumCPUs, m.cpus()), or(coresIn(p.spec), m.cores()))
		p.spec.NumCPUs, p.spec.NumCoresPerSocket = 0, nil
		if err := m.planCPU(num(cpus), num(cores), p); err != nil {
			return err
		}
	}
	if z.MemoryMB > 0 {
		p.spec.MemoryMB = 0
		return c.planMemory(m, add(el("MemoryResourceMb"), number("Configured", z.MemoryMB)), p)
	}
	return nil
}

func coresIn(spec types.VirtualMachineConfigSpec) int32 {
	if spec.NumCoresPerSocket == nil {
		return 0
	}
	return *spec.NumCoresPerSocket
}

// cpus are the CPUs and cores per socket of a VM that had others. Cores that
// the CPUs cannot be divided by are not valid any more: one is left.
func (z sizing) cpus(cpus, cores int32) (int32, int32) {
	cpus, cores = or(z.CPUs, cpus), or(z.Cores, cores)
	if z.Cores == 0 && (cores < 1 || cpus%cores != 0) {
		cores = 1
	}
	return cpus, cores
}

// size gives a VM that is made of another one the hardware of its sizing
// policy. One that only moves and keeps its policy has it already.
func (s *Server) size(it *sourced, f *facts) {
	m := it.vm
	id := s.sizingID(m)
	if m.vapp.template != nil || it.move && id == s.sizingID(it.from) || f == nil {
		return
	}
	z := s.sizingOf(id)
	if z.CPUs > 0 || z.Cores > 0 {
		had := &vm{facts: f}
		it.cpus, it.cores = z.cpus(or(it.cpus, had.cpus()), or(it.cores, had.cores()))
	}
	it.memory = or(z.MemoryMB, it.memory)
}
