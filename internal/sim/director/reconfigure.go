package director

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/vim25/types"
)

// reconfigureVM takes any of a VM's writable parts at once.
func (c *call) reconfigureVM() (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "Vm")
	if err != nil {
		return nil, err
	}
	return c.updateVM(m, doc)
}

// updateVM changes a VM as a Vm document says: sections that it does not have
// stay as they are.
func (c *call) updateVM(m *vm, doc *node) (*answer, error) {
	plan, err := c.planVM(m, doc)
	if err != nil {
		return nil, err
	}
	t := c.start("vappUpdateVm", "Updating Virtual Machine", vmOwner(m), func(ctx context.Context) error {
		return c.s.reconfigure(ctx, m, doc, plan)
	})
	return c.accepted(t), nil
}

// planVM checks a Vm document against the VM as vCenter has it now. It lets go
// of the server's mutex meanwhile.
func (c *call) planVM(m *vm, doc *node) (*vmPlan, error) {
	if err := c.refresh(m); err != nil {
		return nil, err
	}
	if m.facts == nil || m.lost {
		return nil, invalidState("The VM %q is not available.", m.name)
	}
	if err := c.mayChange(m.vapp, m, accessChange); err != nil {
		return nil, err
	}
	return c.readVM(m, doc)
}

// A vmPlan is what a reconfiguration does.
type vmPlan struct {
	nets     []*vappNet // that the NICs of a standalone VM need
	cards    *cardChange
	spec     types.VirtualMachineConfigSpec
	touched  bool // spec says something
	version  string
	profile  string
	policies *policyChoice
	profiles map[int32]string // of disks by key, where not the VM's; nil when they stay
	fresh    []diskWish       // disks that are made
	sync     *bool            // of the clock
	cpuType  string
	media    []mediaWish
	moves    map[int32]string // disks that go to another profile
}

// readVM checks a Vm document against a VM.
func (c *call) readVM(m *vm, doc *node) (*vmPlan, error) {
	p := &vmPlan{}
	if n := attr(doc, "name"); n != m.name {
		if err := checkVMName(m, n); err != nil {
			return nil, err
		}
	}
	spec := child(doc, "VmSpecSection")
	modified := spec != nil && truth(attr(spec, "Modified"))
	steps := []func() error{
		func() error { return c.planNICs(m, child(doc, "NetworkConnectionSection"), p) },
		func() error { return c.checkGuest(m, child(doc, "GuestCustomizationSection")) },
		func() error { return c.planProfile(m, child(doc, "StorageProfile"), p) },
		func() error {
			if !modified {
				return nil
			}
			return c.readSpec(m, spec, p)
		},
		func() error { return c.planHardware(m, child(doc, "VirtualHardwareSection"), modified, p) },
		func() error {
			d := child(doc, "OperatingSystemSection")
			if d == nil || modified {
				// A VmSpecSection that is modified has priority
				// (VmSpecSectionType).
				return nil
			}
			return m.planOS(attr(d, "osType"), p)
		},
		func() error { return m.planCapabilities(child(doc, "VmCapabilities"), p) },
		func() error { return c.planBoot(m, child(doc, "BootOptions"), p) },
		func() error { return c.planPolicies(m, child(doc, "ComputePolicy"), p) },
		func() error { return c.planSizing(m, p) },
		func() error { return c.planTPM(m, child(doc, "TrustedPlatformModule"), p) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if v := attr(doc, "nestedHypervisorEnabled"); v != "" && truth(v) != m.nested() {
		if err := m.cold("hardware virtualization"); err != nil {
			return nil, err
		}
		p.set(func(s *types.VirtualMachineConfigSpec) { s.NestedHVEnabled = types.NewBool(truth(v)) })
	}
	return p, c.checkGrowth(m, p)
}

func (p *vmPlan) set(change func(*types.VirtualMachineConfigSpec)) {
	change(&p.spec)
	p.touched = true
}

// cold refuses what can be changed only while a VM is off.
func (m *vm) cold(what string) error {
	if m.state() == stateOff || m.creating {
		return nil
	}
	return invalidState("The %s of VM %q cannot be changed: it is not powered off.", what, m.name)
}

func (m *vm) planCapabilities(d *node, p *vmPlan) error {
	if d == nil {
		return nil
	}
	var now types.VirtualMachineConfigInfo
	if m.facts != nil {
		now = m.facts.config
	}
	for name, at := range map[string]struct {
		now *bool
		to  **bool
	}{"MemoryHotAddEnabled": {now.MemoryHotAddEnabled, &p.spec.MemoryHotAddEnabled},
		"CpuHotAddEnabled": {now.CpuHotAddEnabled, &p.spec.CpuHotAddEnabled}} {
		v := value(d, name)
		if v == "" || truth(v) == isTrue(at.now) {
			continue
		}
		if err := m.cold("hot add"); err != nil {
			return err
		}
		*at.to, p.touched = types.NewBool(truth(v)), true
	}
	return nil
}

// planNICs reads a NetworkConnectionSection. A standalone VM names networks of
// the organization; its shell gets them as it needs them.
func (c *call) planNICs(m *vm, d *node, p *vmPlan) error {
	if d == nil {
		return nil
	}
	nets, err := c.shellNets(m.vapp, d)
	if err != nil {
		return err
	}
	old := m.vapp.nets
	if p.nets = nets; nets != nil {
		m.vapp.nets = nets
	}
	p.cards, err = c.readConnections(m, d)
	m.vapp.nets = old
	return err
}

func (c *call) planProfile(m *vm, d *node, p *vmPlan) error {
	if d == nil {
		return nil
	}
	pr, err := c.profileOf(m.vapp, d)
	if err != nil {
		return err
	}
	p.profile = pr.id
	return nil
}

// profileOf is the storage profile that a reference names, if a VM of the vApp
// may use it.
func (c *call) profileOf(a *vapp, ref *node) (*profile, error) {
	pr := c.s.profiles[or(uuidIn(attr(ref, "href")), uuidIn(attr(ref, "id")))]
	switch {
	case pr == nil || pr.vdc != a.vdc:
		return nil, badRequest("The storage profile %s does not exist in the VDC.", or(attr(ref, "href"), attr(ref, "name")))
	case !pr.enabled:
		return nil, badRequest("The storage profile %q is disabled.", pr.name)
	}
	return pr, nil
}

// reconfigure applies a plan, in vCenter first.
func (s *Server) reconfigure(ctx context.Context, m *vm, doc *node, p *vmPlan) error {
	s.mu.Lock()
	fresh := m.vapp.discovered
	s.mu.Unlock()
	if fresh {
		if err := s.claim(ctx, m, false); err != nil {
			return err
		}
	}
	if err := s.applyHardware(ctx, m, p); err != nil {
		return err
	}
	if p.cards != nil {
		if p.nets != nil {
			s.mu.Lock()
			err := s.setNetworks(m.vapp, p.nets)
			s.mu.Unlock()
			if err != nil {
				return err
			}
		}
		if err := s.connect(ctx, m, p.cards); err != nil {
			return err
		}
	}
	if name := attr(doc, "name"); name != "" {
		if err := s.renameVM(ctx, m, name, child(doc, "Description")); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(ctx, m); err != nil {
		return err
	}
	s.record(m, doc, p)
	return nil
}

// applyHardware is the part of a plan that vCenter carries out.
func (s *Server) applyHardware(ctx context.Context, m *vm, p *vmPlan) error {
	obj, err := m.vc.vm(ctx, m.moref)
	if err != nil {
		return err
	}
	if p.version != "" {
		t, err := obj.UpgradeVM(ctx, p.version)
		if err := await(ctx, t, err); err != nil {
			return fmt.Errorf("VM %s: upgrade the hardware: %w", m.name, err)
		}
	}
	if p.touched {
		t, err := obj.Reconfigure(ctx, p.spec)
		if err := await(ctx, t, err); err != nil {
			return fmt.Errorf("VM %s: %w", m.name, err)
		}
	}
	if err := s.moveStorage(ctx, m, p); err != nil {
		return err
	}
	return s.mount(ctx, m, p.media)
}

// record writes down what vCD itself knows of a VM. The mutex is held.
func (s *Server) record(m *vm, doc *node, p *vmPlan) {
	if d := child(doc, "GuestCustomizationSection"); d != nil {
		m.setGuest(d)
	}
	if d := child(doc, "BootOptions"); d != nil {
		if v := value(d, "BootDelay"); v != "" {
			m.bootDelay = atoi(v)
		}
		if v := or(value(d, "EnterBIOSSetup"), value(d, "EnterBiosSetup")); v != "" {
			m.enterBIOS = truth(v)
		}
	}
	m.profile, m.cpuType = or(p.profile, m.profile), or(p.cpuType, m.cpuType)
	if p.policies != nil {
		m.policy, m.placement = p.policies.sizing, p.policies.placement
	}
	if p.sync != nil {
		m.toolsSync = *p.sync
	}
	if p.profiles != nil {
		m.diskProfiles = p.profiles
		for _, w := range p.fresh {
			if d := m.facts.diskAt(w); d != nil && w.profile != "" {
				m.diskProfiles[d.Key] = w.profile
			}
		}
	}
	m.vapp.adopt()
}

// moveStorage takes disks to datastores of the profiles that they are given.
func (s *Server) moveStorage(ctx context.Context, m *vm, p *vmPlan) error {
	s.mu.Lock()
	spec, home := types.VirtualMachineRelocateSpec{}, ""
	targets := map[int32]string{}
	if pr := s.profiles[p.profile]; pr != nil && m.facts != nil {
		home = pr.storeBesides(m.facts.homeName)
	}
	for key, id := range p.moves {
		if pr := s.profiles[id]; pr != nil {
			if to := pr.storeBesides(m.facts.storeName[m.facts.diskStores[key]]); to != "" {
				targets[key] = to
			}
		}
	}
	s.mu.Unlock()
	if home == "" && len(targets) == 0 {
		return nil
	}
	if ref, found := m.vc.datastore(ctx, home); home != "" && found {
		spec.Datastore = &ref
	}
	for key, name := range targets {
		if ref, found := m.vc.datastore(ctx, name); found {
			spec.Disk = append(spec.Disk, types.VirtualMachineRelocateSpecDiskLocator{DiskId: key, Datastore: ref})
		}
	}
	obj, err := m.vc.vm(ctx, m.moref)
	if err != nil {
		return err
	}
	t, err := obj.Relocate(ctx, spec, types.VirtualMachineMovePriorityDefaultPriority)
	if err := await(ctx, t, err); err != nil {
		return fmt.Errorf("VM %s: move its storage: %w", m.name, err)
	}
	return nil
}

// storeBesides is a datastore of the profile, "" when the present one is good.
func (p *profile) storeBesides(now string) string {
	if len(p.datastores) == 0 {
		return ""
	}
	for _, d := range p.datastores {
		if d == now {
			return ""
		}
	}
	return p.datastores[0]
}

// putOS sets the guest system.
func (c *call) putOS() (*answer, error) {
	return c.putPart(nsOVF, "OperatingSystemSection")
}

func (c *call) putCapabilities() (*answer, error) {
	return c.putPart(nsVCloud, "VmCapabilities")
}

// putPart changes one part of a VM: reconfigureVm with that part alone.
func (c *call) putPart(ns, root string) (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	d, err := c.parse(ns, root)
	if err != nil {
		return nil, err
	}
	return c.updateVM(m, add(el("Vm", "name", m.name), d))
}
