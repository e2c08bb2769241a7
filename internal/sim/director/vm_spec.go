package director

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vmware/govmomi/vim25/types"
)

// Limits of virtual hardware (VMware Configuration Maximums, vSphere 7 and 8).
const (
	maxCPUs     = 768
	maxMemoryMB = 24 << 20
	maxDiskMB   = 62 << 20
)

// readSpec reads a VmSpecSection. What it leaves out stays as it is.
func (c *call) readSpec(m *vm, d *node, p *vmPlan) error {
	if child(d, "Firmware") != nil && !c.newer("37.1") {
		return invalid("cvc-complex-type.2.4.a: Invalid content was found starting with element 'Firmware'.")
	}
	steps := []func() error{
		func() error { return m.planOS(value(d, "OsType"), p) },
		func() error { return m.planFirmware(value(d, "Firmware"), p) },
		func() error { return m.planCPU(value(d, "NumCpus"), value(d, "NumCoresPerSocket"), p) },
		func() error { return c.planCPUShare(m, child(d, "CpuResourceMhz"), p) },
		func() error { return c.planMemory(m, child(d, "MemoryResourceMb"), p) },
		func() error { return m.planVersion(value(d, "HardwareVersion"), p) },
		func() error { return c.planDiskSection(m, child(d, "DiskSection"), p) },
		func() error { return c.planMediaSection(m, child(d, "MediaSection"), p) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if v := value(d, "VirtualCpuType"); v != "" {
		if v != "VM32" && v != "VM64" {
			return badRequest("The virtual CPU type %q is not VM32 or VM64.", v)
		}
		p.cpuType = v
	}
	if v := value(d, "TimeSyncWithHost"); v != "" {
		p.sync = types.NewBool(truth(v))
		p.set(func(s *types.VirtualMachineConfigSpec) { s.Tools = m.tools(truth(v)) })
	}
	return nil
}

// tools are the settings of VMware Tools with the clock's changed.
func (m *vm) tools(sync bool) *types.ToolsConfigInfo {
	t := types.ToolsConfigInfo{}
	if m.facts != nil && m.facts.config.Tools != nil {
		t = *m.facts.config.Tools
	}
	t.SyncTimeWithHost = types.NewBool(sync)
	return &t
}

// planOS sets the guest system, by vSphere's name of it.
func (m *vm) planOS(os string, p *vmPlan) error {
	if os == "" || m.facts != nil && os == m.facts.config.GuestId {
		return nil
	}
	if !slices.Contains(types.VirtualMachineGuestOsIdentifier("").Strings(), os) {
		return badRequest("The operating system %q is not supported.", os)
	}
	if err := m.cold("operating system"); err != nil {
		return err
	}
	p.set(func(s *types.VirtualMachineConfigSpec) { s.GuestId = os })
	return nil
}

func (m *vm) planFirmware(firmware string, p *vmPlan) error {
	if firmware == "" || firmware == m.firmware() {
		return nil
	}
	if firmware != "bios" && firmware != "efi" {
		return badRequest("The firmware %q is not bios or efi.", firmware)
	}
	if err := m.cold("firmware"); err != nil {
		return err
	}
	p.set(func(s *types.VirtualMachineConfigSpec) { s.Firmware = firmware })
	return nil
}

// firmware is what vCenter calls it; a VM that does not say has a BIOS.
func (m *vm) firmware() string {
	if m.facts == nil {
		return "bios"
	}
	return or(m.facts.config.Firmware, "bios")
}

// planCPU sets the number of CPUs and their cores, either of which may be "".
func (m *vm) planCPU(cpus, cores string, p *vmPlan) error {
	was, wasPer := int64(m.cpus()), int64(m.cores())
	n, per, err := readCPUs(m.name, cpus, cores, was, wasPer)
	if err != nil {
		return err
	}
	if n == was && per == wasPer {
		return nil
	}
	if per != wasPer {
		if err := m.cold("number of cores per socket"); err != nil {
			return err
		}
	}
	if err := m.hot("number of CPUs", was, n, m.hotCPU()); err != nil {
		return err
	}
	p.set(func(s *types.VirtualMachineConfigSpec) {
		s.NumCPUs, s.NumCoresPerSocket = int32(n), types.NewInt32(int32(per))
	})
	return nil
}

// readCPUs reads the number of CPUs and their cores; what is "" stays as it was.
func readCPUs(vm, cpus, cores string, was, wasPer int64) (n, per int64, err error) {
	n, per = was, wasPer
	if cpus != "" {
		n = int64(atoi(cpus))
	}
	if cores != "" {
		per = int64(atoi(cores))
	}
	if n < 1 || n > maxCPUs || per < 1 {
		return 0, 0, badRequest("The VM %q cannot have %s CPUs with %s cores per socket.", vm, or(cpus, num(n)), or(cores, num(per)))
	}
	if n%per != 0 {
		return 0, 0, badRequest("%d CPUs cannot be divided by %d cores per socket.", n, per)
	}
	return n, per, nil
}

// readMemory reads megabytes of memory. vSphere takes multiples of 4
// (VirtualMachineConfigSpec.memoryMB).
func readMemory(vm, s string) (int64, error) {
	mb := int64(atoi(s))
	if mb < 4 || mb%4 != 0 || mb > maxMemoryMB {
		return 0, badRequest("The memory of VM %q cannot be %s MB: it must be a multiple of 4 MB.", vm, s)
	}
	return mb, nil
}

func (m *vm) hotCPU() bool    { return m.facts != nil && isTrue(m.facts.config.CpuHotAddEnabled) }
func (m *vm) hotMemory() bool { return m.facts != nil && isTrue(m.facts.config.MemoryHotAddEnabled) }

func (m *vm) cpus() int32 {
	if m.facts == nil {
		return 1
	}
	return m.facts.config.Hardware.NumCPU
}

func (m *vm) cores() int32 {
	if m.facts == nil {
		return 1
	}
	if n := m.facts.config.Hardware.NumCoresPerSocket; n != nil && *n > 0 {
		return *n
	}
	return 1
}

// hot refuses to change a running VM's CPUs or memory but to add to them where
// that was allowed.
func (m *vm) hot(what string, was, now int64, allowed bool) error {
	if was == now || m.state() == stateOn && allowed && now > was {
		return nil
	}
	return m.cold(what)
}

func (c *call) planMemory(m *vm, d *node, p *vmPlan) error {
	if d == nil {
		return nil
	}
	mb, was := int64(atoi(value(d, "Configured"))), int64(0)
	if m.facts != nil {
		was = int64(m.facts.config.Hardware.MemoryMB)
	}
	if mb != was {
		if _, err := readMemory(m.name, value(d, "Configured")); err != nil {
			return err
		}
		if err := m.hot("memory", was, mb, m.hotMemory()); err != nil {
			return err
		}
		p.set(func(s *types.VirtualMachineConfigSpec) { s.MemoryMB = mb })
	}
	var now *types.ResourceAllocationInfo
	if m.facts != nil {
		now = m.facts.config.MemoryAllocation
	}
	a, err := c.allocation(m, d, now, mb)
	if a != nil {
		p.set(func(s *types.VirtualMachineConfigSpec) { s.MemoryAllocation = a })
	}
	return err
}

func (c *call) planCPUShare(m *vm, d *node, p *vmPlan) error {
	var now *types.ResourceAllocationInfo
	if m.facts != nil {
		now = m.facts.config.CpuAllocation
	}
	a, err := c.allocation(m, d, now, 0)
	if a != nil {
		p.set(func(s *types.VirtualMachineConfigSpec) { s.CpuAllocation = a })
	}
	return err
}

// A share is what a VM has of a resource, as vCD shows it.
type share struct {
	reservation, limit int64
	level              string
	shares             int32
}

func shareOf(a *types.ResourceAllocationInfo) share {
	s := share{limit: -1, level: "NORMAL"}
	if a == nil {
		return s
	}
	if a.Reservation != nil {
		s.reservation = *a.Reservation
	}
	if a.Limit != nil {
		s.limit = *a.Limit
	}
	if a.Shares != nil {
		s.level, s.shares = strings.ToUpper(string(a.Shares.Level)), a.Shares.Shares
	}
	return s
}

// allocation reads reservation, limit and shares; nil when they stay. size is
// what can be reserved, 0 for no bound.
func (c *call) allocation(m *vm, d *node, now *types.ResourceAllocationInfo, size int64) (*types.ResourceAllocationInfo, error) {
	if d == nil {
		return nil, nil
	}
	was := shareOf(now)
	want := was
	if v := value(d, "Reservation"); v != "" {
		want.reservation = int64(atoi(v))
	}
	if v := value(d, "Limit"); v != "" {
		want.limit = int64(atoi(v))
	}
	want.level = or(value(d, "SharesLevel"), want.level)
	if v := atoi(value(d, "Shares")); want.level == "CUSTOM" && v > 0 {
		want.shares = int32(v)
	}
	if want == was {
		return nil, nil
	}
	switch {
	case want.reservation < 0 || want.limit < -1 || want.limit >= 0 && want.limit < want.reservation:
		return nil, badRequest("The reservation %d and the limit %d of VM %q do not go together.", want.reservation, want.limit, m.name)
	case size > 0 && want.reservation > size:
		return nil, badRequest("The reservation %d is more than the %d that VM %q has.", want.reservation, size, m.name)
	case !slices.Contains([]string{"LOW", "NORMAL", "HIGH", "CUSTOM"}, want.level):
		return nil, badRequest("The shares level %q does not exist.", want.level)
	case want.level == "CUSTOM" && want.shares < 1:
		return nil, badRequest("Custom shares need a positive number.")
	}
	if model := c.s.vdcs[m.vapp.vdc].model; model != "ReservationPool" && model != "Flex" {
		// Elsewhere the VDC's own guarantees decide (Cloud Director Tenant
		// Guide, "Edit the Hardware Properties of a Virtual Machine").
		return nil, badRequest("The resource allocation of VM %q cannot be changed in a VDC of the model %s.", m.name, model)
	}
	level := types.SharesLevel(strings.ToLower(want.level))
	return &types.ResourceAllocationInfo{Reservation: &want.reservation, Limit: &want.limit, Shares: &types.SharesInfo{Level: level, Shares: want.shares}}, nil
}

var versionPattern = regexp.MustCompile(`^vmx-[0-9]{2}$`)

// newestHardware is the newest version that a VDC offers.
const newestHardware = "vmx-21"

// planVersion upgrades the virtual hardware; there is no way back.
func (m *vm) planVersion(version string, p *vmPlan) error {
	if version == "" || m.facts != nil && version == m.facts.config.Version {
		return nil
	}
	if !versionPattern.MatchString(version) || version < "vmx-04" || version > newestHardware {
		return badRequest("The hardware version %q is not supported.", version)
	}
	if m.facts == nil {
		p.spec.Version = version
		return nil
	}
	if version < m.facts.config.Version {
		return badRequest("The hardware version of VM %q cannot go from %s back to %s.", m.name, m.facts.config.Version, version)
	}
	if m.facts.snapshots > 0 {
		return badRequest("The hardware version of VM %q cannot be changed: it has snapshots.", m.name)
	}
	if err := m.cold("hardware version"); err != nil {
		return err
	}
	p.version = version
	return nil
}

// planDiskSection reads the disks of a VmSpecSection.
func (c *call) planDiskSection(m *vm, d *node, p *vmPlan) error {
	if d == nil {
		return nil
	}
	var wishes []diskWish
	for _, ds := range childrenOf(d, "DiskSettings") {
		w := diskWish{id: value(ds, "DiskId"), sizeMB: int64(atoi(value(ds, "SizeMb"))), bus: atoi(value(ds, "BusNumber")),
			unit: atoi(value(ds, "UnitNumber")), adapter: value(ds, "AdapterType"), named: attr(child(ds, "Disk"), "href")}
		if v := value(ds, "ThinProvisioned"); v != "" {
			w.thin = types.NewBool(truth(v))
		}
		if v := or(value(child(ds, "IopsAllocation"), "Limit"), value(ds, "iops")); v != "" {
			w.iops = int64(atoi(v))
		}
		if sp := child(ds, "StorageProfile"); sp != nil && truth(value(ds, "overrideVmDefault")) {
			pr, err := c.profileOf(m.vapp, sp)
			if err != nil {
				return err
			}
			w.profile = pr.id
		}
		wishes = append(wishes, w)
	}
	return c.planDisks(m, wishes, p)
}

// checkVMName applies the rules for a VM's name.
func checkVMName(m *vm, name string) error {
	if strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > 128 { // characters, not bytes
		return badRequest("The name %q is empty or too long.", name)
	}
	if other := m.vapp.vmNamed(name); other != nil && other != m {
		return refuse(400, "DUPLICATE_NAME", "The vApp %q has a VM named %q already.", m.vapp.name, name)
	}
	return nil
}

// checkGuest applies the rules for a GuestCustomizationSection.
func (c *call) checkGuest(m *vm, d *node) error {
	if d == nil {
		return nil
	}
	if err := checkComputer(value(d, "ComputerName")); err != nil {
		return err
	}
	if n := value(d, "AdminAutoLogonCount"); n != "" && (atoi(n) < 0 || atoi(n) > 100) {
		return badRequest("AdminAutoLogonCount must be between 0 and 100.")
	}
	if truth(value(d, "AdminAutoLogonEnabled")) && atoi(value(d, "AdminAutoLogonCount")) < 1 && m.guest.AutoLogonCount < 1 {
		return badRequest("AdminAutoLogonCount must be positive when AdminAutoLogonEnabled is true.")
	}
	// The script is limited to 49,000 characters (GuestCustomizationSectionType).
	if len(value(d, "CustomizationScript")) > 49000 {
		return badRequest("The customization script is too long.")
	}
	if truth(value(d, "JoinDomainEnabled")) && !truth(value(d, "UseOrgSettings")) && value(d, "DomainName") == "" && m.guest.Domain == "" {
		return badRequest("A VM that joins a domain needs its name.")
	}
	return nil
}
