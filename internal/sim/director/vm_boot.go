package director

import (
	"github.com/vmware/govmomi/vim25/types"
)

// planBoot reads BootOptions.
func (c *call) planBoot(m *vm, d *node, p *vmPlan) error {
	if d == nil {
		return nil
	}
	for _, newer := range []string{"BootRetryEnabled", "BootRetryDelay", "EfiSecureBootEnabled", "NetworkBootProtocol"} {
		if child(d, newer) != nil && !c.newer("37.1") {
			return invalid("cvc-complex-type.2.4.a: Invalid content was found starting with element '%s'.", newer)
		}
	}
	// At most ten seconds (BootOptionsType).
	for _, name := range []string{"BootDelay", "BootRetryDelay"} {
		if v := value(d, name); v != "" && (atoi(v) < 0 || name == "BootDelay" && atoi(v) > 10000) {
			return badRequest("%s must be between 0 and 10000 milliseconds, not %s.", name, v)
		}
	}
	now := types.VirtualMachineBootOptions{}
	if m.facts != nil && m.facts.config.BootOptions != nil {
		now = *m.facts.config.BootOptions
	}
	if v := value(d, "BootDelay"); v != "" {
		now.BootDelay = int64(atoi(v))
	}
	if v := or(value(d, "EnterBIOSSetup"), value(d, "EnterBiosSetup")); v != "" {
		now.EnterBIOSSetup = types.NewBool(truth(v))
	}
	if v := value(d, "BootRetryEnabled"); v != "" {
		now.BootRetryEnabled = types.NewBool(truth(v))
	}
	if v := value(d, "BootRetryDelay"); v != "" {
		now.BootRetryDelay = int64(atoi(v))
	}
	if v := value(d, "EfiSecureBootEnabled"); v != "" && truth(v) != isTrue(now.EfiSecureBootEnabled) {
		if truth(v) && or(p.spec.Firmware, m.firmware()) != "efi" {
			return badRequest("Secure boot of VM %q needs EFI firmware.", m.name)
		}
		if err := m.cold("secure boot"); err != nil {
			return err
		}
		now.EfiSecureBootEnabled = types.NewBool(truth(v))
	}
	if v := value(d, "NetworkBootProtocol"); v != "" {
		if v != "ipv4" && v != "ipv6" {
			return badRequest("The network boot protocol %q is not ipv4 or ipv6.", v)
		}
		now.NetworkBootProtocol = v
	}
	p.set(func(s *types.VirtualMachineConfigSpec) { s.BootOptions = &now })
	return nil
}

// putBoot sets the boot options alone.
func (c *call) putBoot() (*answer, error) { return c.putPart(nsVCloud, "BootOptions") }

func (c *call) bootNode(m *vm) *node {
	href := c.s.vmHref(m) + "/bootOptions"
	d := add(el("BootOptions", "href", href, "type", mediaVCloud+"bootOptionsSection+xml"), number("BootDelay", m.bootDelay),
		boolean("EnterBIOSSetup", m.enterBIOS))
	if !c.newer("37.1") {
		return d
	}
	now := types.VirtualMachineBootOptions{}
	if m.facts != nil && m.facts.config.BootOptions != nil {
		now = *m.facts.config.BootOptions
	}
	// vSphere retries after ten seconds unless told otherwise
	// (VirtualMachineBootOptions.bootRetryDelay).
	retry := now.BootRetryDelay
	if retry == 0 {
		retry = 10000
	}
	return add(d, boolean("BootRetryEnabled", isTrue(now.BootRetryEnabled)), number("BootRetryDelay", retry),
		boolean("EfiSecureBootEnabled", isTrue(now.EfiSecureBootEnabled)), text("NetworkBootProtocol", or(now.NetworkBootProtocol, "ipv4")))
}

func (c *call) bootOptions(m *vm) (string, *node) {
	return mediaVCloud + "bootOptionsSection", c.bootNode(m)
}

// A policyChoice is what a ComputePolicy makes of a VM's policies; "" for none.
type policyChoice struct{ sizing, placement string }

// planPolicies reads a ComputePolicy. A policy that it leaves out is taken
// away; not both can be.
func (c *call) planPolicies(m *vm, d *node, p *vmPlan) error {
	if d == nil {
		return nil
	}
	choice := &policyChoice{}
	for name, to := range map[string]*string{"VmSizingPolicy": &choice.sizing, "VmPlacementPolicy": &choice.placement} {
		ref := child(d, name)
		if ref == nil || attr(ref, "id") == "" && attr(ref, "href") == "" {
			continue
		}
		pol := c.s.policies[or(uuidIn(attr(ref, "id")), uuidIn(attr(ref, "href")))]
		if pol == nil || !c.s.offers(m.vapp.vdc, pol) {
			return badRequest("The compute policy %s does not exist in the VDC.", or(attr(ref, "id"), attr(ref, "href")))
		}
		*to = pol.id
	}
	if choice.sizing == "" && choice.placement == "" {
		return badRequest("The VM %q needs a sizing or a placement policy.", m.name)
	}
	p.policies = choice
	return nil
}

// planTPM reads TrustedPlatformModule. A device is added to a VM with EFI
// firmware and never taken away by accident.
func (c *call) planTPM(m *vm, d *node, p *vmPlan) error {
	v := value(d, "TpmPresent")
	if v == "" || truth(v) == m.hasTPM() {
		return nil
	}
	if err := m.cold("trusted platform module"); err != nil {
		return err
	}
	if m.facts != nil && m.facts.snapshots > 0 {
		return badRequest("The trusted platform module of VM %q cannot be changed: it has snapshots.", m.name)
	}
	if !truth(v) {
		for _, dev := range m.facts.devices() {
			if _, is := dev.(*types.VirtualTPM); is {
				p.set(func(s *types.VirtualMachineConfigSpec) {
					s.DeviceChange = append(s.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: dev})
				})
			}
		}
		return nil
	}
	if or(p.spec.Firmware, m.firmware()) != "efi" {
		return badRequest("A trusted platform module of VM %q needs EFI firmware.", m.name)
	}
	p.set(func(s *types.VirtualMachineConfigSpec) {
		s.DeviceChange = append(s.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd,
			Device: &types.VirtualTPM{VirtualDevice: types.VirtualDevice{Key: -900}}})
	})
	return nil
}

// tpmNode is a VM's TrustedPlatformModule.
func (c *call) tpmNode(m *vm) *node {
	return add(el("TrustedPlatformModule", "href", c.s.vmHref(m)+"/trustedPlatformModule", "type", mediaVCloud+"TpmSection+xml"), boolean("TpmPresent", m.hasTPM()))
}

// getTPM is the module alone, which versions before 37.2 do not have.
func (c *call) getTPM() (*answer, error) {
	if !c.newer("37.2") {
		return nil, missing("trustedPlatformModule", c.path("id"))
	}
	return vmPart(func(c *call, m *vm) (string, *node) { return mediaVCloud + "TpmSection", c.tpmNode(m) })(c)
}

func (m *vm) hasTPM() bool {
	if m.facts == nil {
		return false
	}
	for _, dev := range m.facts.devices() {
		if _, is := dev.(*types.VirtualTPM); is {
			return true
		}
	}
	return false
}
