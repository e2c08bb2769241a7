package director

import (
	"context"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// planHardware reads a VirtualHardwareSection, which is one more way to say
// what a VmSpecSection and a NetworkConnectionSection say. Beside one of them
// that is modified only its extra configuration counts.
func (c *call) planHardware(m *vm, d *node, spec bool, p *vmPlan) error {
	if d == nil {
		return nil
	}
	if err := m.planExtra(d, p); err != nil {
		return err
	}
	items := childrenOf(d, "Item")
	if spec || len(items) == 0 {
		return nil
	}
	if err := m.planVersion(value(child(d, "System"), "VirtualSystemType"), p); err != nil {
		return err
	}
	for _, it := range items {
		if err := c.planItem(m, it, p); err != nil {
			return err
		}
	}
	if p.cards == nil {
		if nics := cardsOf(m, items); nics != nil {
			if err := c.planNICs(m, nics, p); err != nil {
				return err
			}
		}
	}
	return c.planDiskItems(m, items, p)
}

// planItem reads a CPU or memory item.
func (c *call) planItem(m *vm, it *node, p *vmPlan) error {
	q := value(it, "VirtualQuantity")
	share := add(el("Resource"), text("Configured", q))
	if v := value(it, "Reservation"); v != "" {
		add(share, text("Reservation", v))
	}
	switch value(it, "ResourceType") {
	case "3":
		if err := m.planCPU(or(q, "0"), value(it, "CoresPerSocket"), p); err != nil {
			return err
		}
		return c.planCPUShare(m, share, p)
	case "4":
		return c.planMemory(m, share, p)
	}
	return nil
}

// planDiskItems reads the controllers and disks of a list of items.
func (c *call) planDiskItems(m *vm, items []*node, p *vmPlan) error {
	controllers := map[string]*node{}
	for _, it := range items {
		switch value(it, "ResourceType") {
		case "5", "6", "20":
			controllers[value(it, "InstanceID")] = it
		}
	}
	var wishes []diskWish
	for _, it := range items {
		if value(it, "ResourceType") != "17" {
			continue
		}
		host := child(it, "HostResource")
		w := diskWish{id: value(it, "InstanceID"), sizeMB: int64(atoi(attr(host, "capacity"))), unit: atoi(value(it, "AddressOnParent")),
			named: attr(host, "disk"), iops: int64(atoi(attr(host, "iops")))}
		if w.sizeMB == 0 {
			w.sizeMB = int64(atoi(value(it, "VirtualQuantity"))) >> 20
		}
		if ctl := controllers[value(it, "Parent")]; ctl != nil {
			w.bus, w.adapter = atoi(value(ctl, "Address")), adapterTypes[value(ctl, "ResourceSubType")]
			if value(ctl, "ResourceType") == "5" {
				w.adapter = "1"
			}
		} else if sub := attr(host, "busSubType"); attr(host, "busType") != "" {
			w.adapter = adapterTypes[sub]
		}
		if !m.hasDisk(w.id) {
			w.id = ""
		}
		if href := attr(host, "storageProfileHref"); href != "" && truth(attr(host, "storageProfileOverrideVmDefault")) {
			pr, err := c.profileOf(m.vapp, el("StorageProfile", "href", href))
			if err != nil {
				return err
			}
			w.profile = pr.id
		}
		wishes = append(wishes, w)
	}
	return c.planDisks(m, wishes, p)
}

func (m *vm) hasDisk(id string) bool {
	for _, d := range m.facts.disks() {
		if num(d.Key) == id {
			return true
		}
	}
	return false
}

// cardsOf makes a NetworkConnectionSection of network cards among items; nil
// when they say what is so already.
func cardsOf(m *vm, items []*node) *node {
	d := add(el("NetworkConnectionSection"), text("ovf:Info", ""))
	primary, same, count := 0, true, 0
	for _, it := range items {
		conn := child(it, "Connection")
		if value(it, "ResourceType") != "10" || conn == nil {
			continue
		}
		count++
		index := atoi(value(it, "AddressOnParent"))
		if truth(attr(conn, "primaryNetworkConnection")) {
			primary = index
		}
		n := nic{index: index, network: strings.TrimSpace(allText(conn)), mode: attr(conn, "ipAddressingMode"), ip: attr(conn, "ipAddress"),
			mac: strings.ToLower(value(it, "Address")), adapter: value(it, "ResourceSubType"), connected: truth(value(it, "AutomaticAllocation"))}
		same = same && m.hasNIC(n)
		add(d, add(el("NetworkConnection", "network", n.network), number("NetworkConnectionIndex", n.index), opt("IpAddress", n.ip),
			boolean("IsConnected", n.connected), opt("MACAddress", n.mac), text("IpAddressAllocationMode", or(n.mode, "NONE")),
			opt("NetworkAdapterType", n.adapter)))
	}
	if same && count == len(m.nics) && (count == 0 || primary == m.primary) {
		return nil
	}
	d.InsertChildAt(1, number("PrimaryNetworkConnectionIndex", primary))
	return d
}

func (m *vm) hasNIC(want nic) bool {
	for _, n := range m.nics {
		if n.index == want.index {
			return n.network == want.network && n.mode == want.mode && n.ip == want.ip && n.mac == want.mac && n.connected == want.connected
		}
	}
	return false
}

// putHardware replaces the whole hardware, or one part of it.
func (c *call) putHardware() (*answer, error) {
	return c.putPart(nsOVF, "VirtualHardwareSection")
}

func (c *call) putHardwareItems() (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	part := c.path("part")
	takes, read := "", (func() (*node, error))(nil)
	switch part {
	case "cpu", "memory":
		takes, read = "rasdItem", func() (*node, error) {
			// The schemas have it in vCloud's namespace, OVF in its own.
			if d, err := c.parse(nsOVF, "Item"); err == nil {
				return d, nil
			}
			return c.parse(nsVCloud, "Item")
		}
	case "disks", "networkCards", "media", "serialPorts":
		takes, read = "rasdItemsList", func() (*node, error) { return c.parse(nsVCloud, "RasdItemsList") }
	default:
		return nil, notFound("There is no hardware %s.", part)
	}
	if err := c.checkType(route{takes: mediaVCloud + takes}); err != nil {
		return nil, err
	}
	d, err := read()
	if err != nil {
		return nil, err
	}
	items := childrenOf(d, "Item")
	if d.Tag == "Item" {
		items = []*node{d}
	}
	if err := checkPart(part, items); err != nil {
		return nil, err
	}
	if err := c.refresh(m); err != nil {
		return nil, err
	}
	if m.facts == nil {
		return nil, invalidState("The VM %q is not available.", m.name)
	}
	if err := c.mayChange(m.vapp, m, accessChange); err != nil {
		return nil, err
	}
	p, err := c.planPart(m, part, items)
	if err != nil {
		return nil, err
	}
	return c.accepted(c.start("vappUpdateVm", "Updating Virtual Machine", vmOwner(m), func(ctx context.Context) error {
		return c.s.reconfigure(ctx, m, el("Vm"), p)
	})), nil
}

// checkPart refuses items that do not belong to a part of the hardware.
func checkPart(part string, items []*node) error {
	allowed := map[string]string{"cpu": "3", "memory": "4", "disks": "5 6 17 20", "networkCards": "10", "media": "5 14 15 16", "serialPorts": "21"}[part]
	for _, it := range items {
		typ := value(it, "ResourceType")
		found := false
		for one := range strings.FieldsSeq(allowed) {
			found = found || one == typ
		}
		if !found {
			return badRequest("An item of resource type %q does not belong to %s.", typ, part)
		}
	}
	return nil
}

func (c *call) planPart(m *vm, part string, items []*node) (*vmPlan, error) {
	p := &vmPlan{}
	var err error
	switch part {
	case "cpu", "memory":
		err = c.planItem(m, items[0], p)
	case "disks":
		err = c.planDiskItems(m, items, p)
	case "networkCards":
		if nics := cardsOf(m, items); nics != nil {
			err = c.planNICs(m, nics, p)
		}
	case "media":
		err = c.planDriveItems(m, items, p)
	case "serialPorts":
		if len(items) > 0 {
			err = badRequest("Serial ports cannot be added to VM %q.", m.name)
		}
	}
	if err != nil {
		return nil, err
	}
	return p, c.checkGrowth(m, p)
}

// planExtra reads vmw:ExtraConfig, whose keys without a value go.
func (m *vm) planExtra(d *node, p *vmPlan) error {
	for _, x := range childrenOf(d, "ExtraConfig") {
		key := attr(x, "key")
		switch {
		case key == "" || strings.ContainsAny(key, " \t\n"):
			return badRequest("The extra configuration key %q is not valid.", key)
		case hiddenExtra(key):
			return badRequest("The extra configuration key %q cannot be changed.", key)
		}
		p.set(func(s *types.VirtualMachineConfigSpec) {
			s.ExtraConfig = append(s.ExtraConfig, &types.OptionValue{Key: key, Value: attr(x, "value")})
		})
	}
	return nil
}

// hiddenExtra are the keys that are vCD's and vSphere's own business.
func hiddenExtra(key string) bool {
	for _, own := range []string{markKey, "govcsim", "RUN.", "SET.", "migrate.", "nvram", "vmware.tools.", "sched."} {
		if strings.HasPrefix(key, own) {
			return true
		}
	}
	return false
}

// extraItems are the VM's extra configuration as OVF has it.
func (m *vm) extraItems() []*node {
	var out []*node
	for _, o := range m.facts.config.ExtraConfig {
		v := o.GetOptionValue()
		if s, is := v.Value.(string); is && !hiddenExtra(v.Key) && s != "" {
			n := el("vmw:ExtraConfig", "vmw:key", v.Key, "ovf:required", "false")
			n.CreateAttr("vmw:value", s)
			out = append(out, n)
		}
	}
	return out
}
