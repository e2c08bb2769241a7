package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// AddVApp makes a vApp of VMs that exist in vCenter and returns its UUID. The
// VMs are marked, renamed and moved to the VDC's place as an import does it, but
// stay on or off as they are.
func (s *Server) AddVApp(spec VAppSpec) (string, error) {
	s.mu.Lock()
	if s.book == nil {
		s.book = map[string]map[netip.Addr]bool{}
	}
	a, err := s.newVApp(spec)
	s.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("vApp %s: %w", spec.Name, err)
	}
	id, err := s.fillVApp(a, spec)
	s.mu.Lock()
	many := len(s.vapps) > raisedAtStart
	s.mu.Unlock()
	if err != nil || !a.deployed || many {
		return id, err
	}
	return id, s.raise(s.ctx, a)
}

// raisedAtStart is how many vApps there may be for one that is added to get port
// groups for its networks. Those cost calls for each VM: in a larger
// installation a vApp gets them when it is deployed the next time.
const raisedAtStart = 200

func (s *Server) fillVApp(a *vapp, spec VAppSpec) (string, error) {
	for i := range spec.VMs {
		if err := s.addVM(a, spec.VMs[i]); err != nil {
			return "", fmt.Errorf("vApp %s: VM %s: %w", spec.Name, spec.VMs[i].Name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range spec.Networks {
		if err := s.configureFrom(a, n); err != nil {
			return "", fmt.Errorf("vApp %s: network %s: %w", spec.Name, n.Name, err)
		}
	}
	for _, it := range spec.Startup {
		m := a.vmNamed(it.VM)
		if m == nil {
			return "", fmt.Errorf("vApp %s: startup: no VM %s", spec.Name, it.VM)
		}
		a.startup[m.id] = it
	}
	for _, m := range a.vms {
		a.deployed = a.deployed || m.deployed
	}
	s.renew(a)
	s.vapps[a.id] = a
	for _, m := range a.vms {
		s.vms[m.id] = m
	}
	return a.id, s.routeAll(a)
}

func (s *Server) routeAll(a *vapp) error {
	for _, n := range a.nets {
		if a.deployed || n.retains() {
			if err := s.route(n); err != nil {
				return fmt.Errorf("vApp %s: %w", a.name, err)
			}
		}
	}
	return nil
}

// newVApp makes the vApp without its VMs and with bare networks.
func (s *Server) newVApp(spec VAppSpec) (*vapp, error) {
	v := s.vdcNamed(spec.VDC)
	if v == nil {
		return nil, fmt.Errorf("no VDC %s", spec.VDC)
	}
	o := s.orgs[v.org]
	owner := s.systemUser()
	if spec.Owner != "" {
		if owner = s.userNamed(o.id, spec.Owner); owner == nil {
			return nil, fmt.Errorf("no user %s in org %s", spec.Owner, o.name)
		}
	}
	a := &vapp{
		thing: thing{id: idOr(spec.ID), name: spec.Name, desc: spec.Description, seq: s.next()}, vdc: v.id, owner: owner.id,
		created: s.since(spec.Created), auto: spec.Standalone, startup: map[string]StartupItem{}, everyone: spec.Access.Everyone,
		lease: Lease{o.lease.DeploymentSeconds, o.lease.StorageSeconds}, status: stateResolved,
	}
	if spec.Lease != nil {
		a.lease = *spec.Lease
	}
	for _, name := range keys(spec.Access.Users) {
		u := s.userNamed(o.id, name)
		if u == nil {
			return nil, fmt.Errorf("access: no user %s in org %s", name, o.name)
		}
		a.access = append(a.access, grant{u.id, spec.Access.Users[name]})
	}
	if err := a.meta.from(spec.Metadata); err != nil {
		return nil, err
	}
	for _, p := range spec.ProductSections {
		a.products = append(a.products, productNode(p))
	}
	for _, n := range spec.Networks {
		net := &vappNet{thing: thing{id: idOr(n.ID), name: n.Name, desc: n.Description, seq: s.next()}, vapp: a, routerIP: n.RouterIP}
		if n.Parent != "" {
			i := slices.IndexFunc(s.netsOf(v), func(o *orgNet) bool { return o.name == n.Parent || o.id == n.Parent })
			if i < 0 {
				return nil, fmt.Errorf("network %s: no org network %s in VDC %s", n.Name, n.Parent, v.name)
			}
			net.parent = s.netsOf(v)[i].id
		}
		scopes := el("IpScopes")
		if n.Gateway != "" {
			add(scopes, scopeNode(ipScope{gateway: n.Gateway, netmask: or(n.Netmask, "255.255.255.0"), dns1: n.DNS1, dns2: n.DNS2,
				suffix: n.DNSSuffix, ranges: n.Ranges}, false, nil))
		}
		net.conf = add(el("Configuration"), scopes, text("FenceMode", or(n.Mode, "isolated")), boolean("RetainNetInfoAcrossDeployments", n.Retain))
		a.nets = append(a.nets, net)
		s.vappNets[net.id] = net
	}
	return a, nil
}

// from fills metadata from its specification.
func (m *metadata) from(specs []MetadataSpec) error {
	for _, e := range specs {
		n := entry{or(e.Domain, "GENERAL"), e.Visibility, e.Key, or(e.Type, "String"), e.Value}
		if n.visibility == "" {
			n.visibility = "READWRITE"
			if n.domain == "SYSTEM" {
				n.visibility = "PRIVATE"
			}
		}
		if !slices.Contains(metaTypes, n.typ) {
			return fmt.Errorf("metadata %s: no type %s", n.key, n.typ)
		}
		m.set(n)
	}
	return nil
}

// configureFrom gives a network of a.nets its services, which may name VMs.
func (s *Server) configureFrom(a *vapp, n VAppNetworkSpec) error {
	net := a.netNamed(n.Name)
	f := el("Features")
	if d := n.DHCP; d != nil {
		dhcp := add(el("DhcpService"), boolean("IsEnabled", d.Enabled), number("DefaultLeaseTime", or(d.DefaultLease, 3600)),
			number("MaxLeaseTime", or(d.MaxTime, 7200)))
		if d.Range.Start != "" {
			add(dhcp, add(el("IpRange"), text("StartAddress", d.Range.Start), text("EndAddress", d.Range.End)))
		}
		add(f, dhcp)
	}
	if n.Firewall != nil {
		add(f, firewallNode(n.Firewall))
	}
	if n.NAT != nil {
		nat, err := a.natNode(n.NAT)
		if err != nil {
			return err
		}
		add(f, nat)
	}
	if len(n.Routes) > 0 {
		routing := add(el("StaticRoutingService"), boolean("IsEnabled", true))
		for _, r := range n.Routes {
			add(routing, add(el("StaticRoute"), text("Name", r.Name), text("Network", r.Network), text("NextHopIp", r.NextHop), opt("Interface", r.Interface)))
		}
		add(f, routing)
	}
	add(net.conf, f)
	applyServices(net.conf)
	s.numberRules(net)
	return s.checkServices(net)
}

func firewallNode(fw *FirewallSpec) *node {
	d := add(el("FirewallService"), boolean("IsEnabled", fw.Enabled), text("DefaultAction", or(fw.DefaultAction, "drop")),
		boolean("LogDefaultAction", fw.LogDefault))
	for _, r := range fw.Rules {
		protocols := el("Protocols")
		for _, p := range r.Protocols {
			add(protocols, boolean(p, true))
		}
		if len(r.Protocols) == 0 {
			add(protocols, boolean("Any", true))
		}
		add(d, add(el("FirewallRule"), boolean("IsEnabled", !r.Disabled), boolean("MatchOnTranslate", false), text("Description", r.Description),
			text("Policy", or(r.Policy, "allow")), protocols, text("DestinationPortRange", or(r.Port, "Any")), text("DestinationIp", or(r.DestIP, "Any")),
			text("SourcePortRange", or(r.SourcePort, "Any")), text("SourceIp", or(r.SourceIP, "Any")), boolean("EnableLogging", r.Log)))
	}
	return d
}

func (a *vapp) natNode(nat *NATSpec) (*node, error) {
	d := add(el("NatService"), boolean("IsEnabled", nat.Enabled), text("NatType", or(nat.Type, "ipTranslation")),
		text("Policy", or(nat.Policy, "allowTrafficIn")))
	for i, r := range nat.Rules {
		m := a.vmNamed(r.VM)
		if m == nil {
			return nil, fmt.Errorf("NAT rule %d: no VM %s", i, r.VM)
		}
		rule := add(el("NatRule"), number("Id", 65537+i))
		if nat.Type == "portForwarding" {
			add(rule, add(el("VmRule"), opt("ExternalIpAddress", r.ExternalIP), number("ExternalPort", r.ExternalPort), text("VAppScopedVmId", m.scopedID),
				number("VmNicId", r.NIC), number("InternalPort", r.InternalPort), text("Protocol", or(r.Protocol, "TCP"))))
		} else {
			add(rule, add(el("OneToOneVmRule"), text("MappingMode", or(r.Mode, "automatic")), opt("ExternalIpAddress", r.ExternalIP),
				text("VAppScopedVmId", m.scopedID), number("VmNicId", r.NIC)))
		}
		add(d, rule)
	}
	return d, nil
}

func productNode(p ProductSection) *node {
	d := el("ovf:ProductSection", "ovf:class", p.Class, "ovf:instance", p.Instance)
	add(d, text("ovf:Info", or(p.Info, "Information about the installed software")), opt("ovf:Product", p.Product), opt("ovf:Vendor", p.Vendor),
		opt("ovf:Version", p.Version), opt("ovf:FullVersion", p.FullVersion), opt("ovf:ProductUrl", p.ProductURL), opt("ovf:AppUrl", p.AppURL))
	for _, q := range p.Properties {
		n := el("ovf:Property", "ovf:key", q.Key, "ovf:type", or(q.Type, "string"), "ovf:value", q.Default)
		if q.UserConfigurable {
			n.CreateAttr("ovf:userConfigurable", "true")
		}
		if q.Password {
			n.CreateAttr("ovf:password", "true")
		}
		add(n, opt("ovf:Label", q.Label), opt("ovf:Description", q.Description))
		if q.Value != "" {
			add(n, el("ovf:Value", "ovf:value", q.Value))
		}
		add(d, n)
	}
	return d
}

// addVM binds a VM of vCenter to a vApp that is not in the inventory yet.
func (s *Server) addVM(a *vapp, spec VMSpec) error {
	s.mu.Lock()
	m, err := s.newVM(a, spec)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if spec.Hardware != nil {
		return s.trust(a, m, spec)
	}
	if err := s.claim(s.ctx, m, false); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(s.ctx, m); err != nil {
		return err
	}
	if m.facts == nil {
		return fmt.Errorf("%s does not exist in vCenter %s", m.moref, m.vc.name)
	}
	m.deployed = m.facts.power == types.VirtualMachinePowerStatePoweredOn || m.facts.power == types.VirtualMachinePowerStateSuspended
	a.vms = append(a.vms, m)
	if err := errors.Join(s.placeNICs(m, spec), s.placeDisks(m, spec)); err != nil {
		return err
	}
	pgs, nics := s.portgroups(a), m.nics
	s.mu.Unlock()
	err = s.changeCards(s.ctx, m, nics, pgs)
	s.mu.Lock()
	return err
}

func (s *Server) newVM(a *vapp, spec VMSpec) (*vm, error) {
	v := s.vdcs[a.vdc]
	vc := v.vc
	if spec.VCenter != "" {
		if vc = s.vcenterNamed(spec.VCenter); vc == nil {
			return nil, fmt.Errorf("no vCenter %s", spec.VCenter)
		}
	}
	p := s.profileNamed(v, spec.StorageProfile)
	if p == nil && spec.StorageProfile != "" {
		return nil, fmt.Errorf("no storage profile %s in VDC %s", spec.StorageProfile, v.name)
	}
	m := &vm{
		thing: thing{id: idOr(spec.ID), name: spec.Name, desc: spec.Description, seq: s.next()}, vapp: a, vc: vc, moref: spec.MoRef,
		scopedID: idOr(spec.ScopedLocalID), created: s.since(spec.Created), customize: spec.NeedsCustomization, primary: spec.PrimaryNIC,
		guest: spec.Guest, computer: or(spec.ComputerName, computerName(spec.Name)), bootDelay: spec.BootDelay, enterBIOS: spec.EnterBIOSSetup,
		diskProfiles: map[int32]string{}, tags: spec.SecurityTags, noTools: spec.NoTools,
	}
	if p != nil {
		m.profile = p.id
	}
	for _, pol := range s.policies {
		if v.offers(pol) && pol.name == spec.ComputePolicy && spec.ComputePolicy != "" {
			m.policy = pol.id
		}
	}
	for _, ps := range spec.ProductSections {
		m.products = append(m.products, productNode(ps))
	}
	return m, m.meta.from(spec.Metadata)
}

// profileNamed is a VDC's storage profile of that name; its default without one.
func (s *Server) profileNamed(v *vdc, name string) *profile {
	var found *profile
	for _, p := range s.profiles {
		if p.vdc == v.id && (p.name == name || p.id == name || name == "" && p.isDefault) && (found == nil || p.seq < found.seq) {
			found = p
		}
	}
	return found
}

// computerName makes a guest's name from a VM's.
func computerName(name string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return '-'
	}, name)
	out = strings.Trim(out, "-")
	return or(out[:min(len(out), 15)], "vm")
}

// trust takes a VM to be as its specification says, without a look at vCenter.
// The keys of its devices become known with the first look.
func (s *Server) trust(a *vapp, m *vm, spec VMSpec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := spec.Hardware
	m.seen = sight{
		known: true, power: types.VirtualMachinePowerState(h.Power), guest: h.GuestID, version: h.Version, home: h.Datastore,
		cpus: int32(h.CPUs), memoryMB: int32(h.MemoryMB), //nolint:gosec // checked with the inventory
	}
	for _, bytes := range h.Disks {
		m.seen.disks = append(m.seen.disks, diskSight{bytes: bytes})
	}
	m.deployed = m.state() == stateOn || m.state() == stateSuspended
	a.vms = append(a.vms, m)
	for i, n := range spec.NICs {
		m.nics = append(m.nics, &nic{index: i, network: noNetwork, mode: "NONE", mac: strings.ToLower(n.MAC), adapter: n.Adapter})
	}
	differs := false
	order := make([]string, len(spec.DiskProfiles))
	for i, name := range spec.DiskProfiles {
		p := s.profileNamed(s.vdcs[a.vdc], name)
		if p == nil {
			return fmt.Errorf("disk %d: no storage profile %s", i, name)
		}
		if name != "" && p.id != m.profile {
			order[i], differs = p.id, true
		}
	}
	if differs {
		m.diskOrder = order
	}
	return s.placeNICs(m, spec)
}

// placeDisks notes the storage profiles of a new VM's disks where they are not
// the VM's.
func (s *Server) placeDisks(m *vm, spec VMSpec) error {
	disks := m.facts.disks()
	sortBy(disks, func(a, b *types.VirtualDisk) bool { return a.Key < b.Key })
	for i, name := range spec.DiskProfiles {
		if i >= len(disks) {
			return fmt.Errorf("%d disks have storage profiles, the VM has %d", len(spec.DiskProfiles), len(disks))
		}
		p := s.profileNamed(s.vdcs[m.vapp.vdc], name)
		if p == nil {
			return fmt.Errorf("disk %d: no storage profile %s", i, name)
		}
		if name != "" && p.id != m.profile {
			m.diskProfiles[disks[i].Key] = p.id
		}
	}
	return nil
}

// placeNICs connects a new VM's NICs as its specification says.
func (s *Server) placeNICs(m *vm, spec VMSpec) error {
	if len(spec.NICs) > len(m.nics) {
		return fmt.Errorf("%d NICs are specified, the VM has %d network devices", len(spec.NICs), len(m.nics))
	}
	for i, want := range spec.NICs {
		n := m.nics[i]
		if want.Network == "" || want.Network == noNetwork {
			continue
		}
		net := m.vapp.netNamed(want.Network)
		if net == nil {
			return fmt.Errorf("NIC %d: no network %s", i, want.Network)
		}
		n.network, n.mode, n.connected, n.ip = want.Network, or(want.Mode, "DHCP"), !want.Disconnected, ""
		if n.mode != "POOL" && n.mode != "MANUAL" || n.mode == "POOL" && m.vapp.template != nil {
			continue
		}
		taken := s.booked(net)
		n.ip = want.IP
		if n.mode == "POOL" && n.ip == "" {
			var err error
			if n.ip, err = s.poolOf(net).freeOf(taken); err != nil {
				return fmt.Errorf("NIC %d: network %s: %w", i, net.name, err)
			}
		}
		addr, err := netip.ParseAddr(n.ip)
		if err != nil || taken[addr] {
			return fmt.Errorf("NIC %d: address %q is not one or is taken", i, n.ip)
		}
		taken[addr] = true
	}
	return nil
}

// Keys that vCD marks its VMs with in vCenter.
const (
	extensionKey = "com.vmware.vcloud"
	markKey      = "cloud.uuid"
)

// claim marks a VM as vCD's own: name, extraConfig, managedBy, and the VDC's
// resource pool and folder. A fresh one is disconnected from its networks.
func (s *Server) claim(ctx context.Context, m *vm, disconnect bool) error {
	s.mu.Lock()
	v := s.vdcs[m.vapp.vdc]
	s.mu.Unlock()
	got, err := m.vc.read(ctx, []string{m.moref})
	if err != nil {
		return err
	}
	f := got[m.moref]
	if f == nil {
		return refuse(404, "NOT_FOUND", "The VM %s does not exist in vCenter %s.", m.moref, m.vc.name)
	}
	obj, err := m.vc.vm(ctx, m.moref)
	if err != nil {
		return err
	}
	if f.pool == nil || *f.pool != v.pool || f.parent == nil || *f.parent != v.folder {
		if err := settled(ctx, func(ctx context.Context) (*object.Task, error) {
			return obj.Relocate(ctx, types.VirtualMachineRelocateSpec{Pool: &v.pool, Folder: &v.folder}, types.VirtualMachineMovePriorityDefaultPriority)
		}); err != nil {
			return fmt.Errorf("move: %w", err)
		}
	}
	spec := types.VirtualMachineConfigSpec{
		Name:        marked(m.name, m.id),
		ManagedBy:   &types.ManagedByInfo{ExtensionKey: extensionKey, Type: "VirtualMachine"},
		ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: markKey, Value: m.id}},
	}
	if disconnect {
		for _, card := range f.cards() {
			e := card.GetVirtualEthernetCard()
			if e.Connectable == nil {
				e.Connectable = &types.VirtualDeviceConnectInfo{AllowGuestControl: true}
			}
			e.Connectable.StartConnected, e.Connectable.Connected = false, false
			spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: card.(types.BaseVirtualDevice)})
		}
	}
	if err := settled(ctx, func(ctx context.Context) (*object.Task, error) { return obj.Reconfigure(ctx, spec) }); err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	return nil
}
