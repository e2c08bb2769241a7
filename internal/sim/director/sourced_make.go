package director

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// source copies or moves the VMs into their vApp. It runs in a task.
func (c *call) source(ctx context.Context, a *vapp, items []sourced) error {
	for _, it := range items {
		if err := c.sourceOne(ctx, it); err != nil {
			return fmt.Errorf("VM %s: %w", it.vm.name, err)
		}
	}
	return nil
}

func (c *call) sourceOne(ctx context.Context, it sourced) error {
	if it.move {
		return c.moveOne(ctx, it)
	}
	s, m := c.s, it.vm
	err := s.copyVM(ctx, m, it.from)
	if err == nil {
		err = s.claim(ctx, m, true)
	}
	if err == nil {
		err = s.resize(ctx, it)
	}
	if err != nil {
		return m.vc.unmake(ctx, m.moref, err)
	}
	s.join(m)
	return c.plugIn(ctx, it)
}

// plugIn connects a VM, which is in its vApp now, as its body asks.
func (c *call) plugIn(ctx context.Context, it sourced) error {
	s, m := c.s, it.vm
	s.mu.Lock()
	m.creating = false
	err := s.refresh(ctx, m)
	var ch *cardChange
	if err == nil && m.facts != nil {
		ch, err = c.readConnections(m, it.connections(s.addressTaken))
	}
	s.mu.Unlock()
	if err != nil || ch == nil {
		return err
	}
	return s.connect(ctx, m, ch)
}

// connections are the NICs that a sourced VM gets: those asked for, else the
// source's, on the networks of the same name or of the assignment.
func (it *sourced) connections(taken func(n *vappNet, ip string) bool) *node {
	a := it.vm.vapp
	if it.nics != nil {
		d := it.nics.Copy()
		for _, n := range childrenOf(d, "NetworkConnection") {
			if to := it.assign[attr(n, "network")]; to != "" {
				n.CreateAttr("network", to)
			}
		}
		return d
	}
	d := add(el("NetworkConnectionSection"), number("PrimaryNetworkConnectionIndex", it.from.primary))
	for _, n := range it.from.nics {
		name, ip, mac := or(it.assign[n.network], n.network), "", ""
		if a.netNamed(name) == nil {
			name = noNetwork
		}
		if n.mode == "MANUAL" {
			ip = n.ip
		}
		if it.move {
			mac = n.mac
		}
		mode := n.mode
		if name != noNetwork && mode == "MANUAL" && !it.move && taken(a.netNamed(name), ip) {
			// The original keeps its address.
			mode, ip = "DHCP", ""
		}
		add(d, add(el("NetworkConnection", "network", name, "needsCustomization", yes(n.customize)), number("NetworkConnectionIndex", n.index),
			opt("IpAddress", ip), boolean("IsConnected", n.connected), opt("MACAddress", mac), text("IpAddressAllocationMode", mode),
			text("NetworkAdapterType", n.adapter)))
	}
	return d
}

// addressTaken tells whether an address is taken on a network.
func (s *Server) addressTaken(n *vappNet, ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err != nil || slices.Contains(s.takenIn(n, ""), a)
}

// resize gives a VM the hardware that its instantiation asks for.
func (s *Server) resize(ctx context.Context, it sourced) error {
	s.mu.Lock()
	z := s.sizingOf(s.sizingID(it.vm))
	s.mu.Unlock()
	if it.cpus == 0 && it.cores == 0 && it.memory == 0 && len(it.sizes) == 0 && z == (sizing{name: z.name}) {
		return nil
	}
	got, err := it.vm.vc.read(ctx, []string{it.vm.moref})
	if err != nil {
		return err
	}
	f := got[it.vm.moref]
	if f == nil {
		return fmt.Errorf("the VM is gone from vCenter")
	}
	s.mu.Lock()
	s.size(&it, f)
	s.mu.Unlock()
	spec := types.VirtualMachineConfigSpec{NumCPUs: it.cpus, MemoryMB: it.memory}
	if it.cores > 0 {
		spec.NumCoresPerSocket = types.NewInt32(it.cores)
	}
	for _, d := range f.disks() {
		want, found := it.sizes[d.Key]
		if !found || want == capacity(d) {
			continue
		}
		if want < capacity(d) {
			return badRequest("The disk %d of VM %q cannot become smaller than it is.", d.Key, it.vm.name)
		}
		d.CapacityInKB, d.CapacityInBytes = want>>10, want
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: d})
	}
	obj, err := it.vm.vc.vm(ctx, it.vm.moref)
	if err != nil {
		return err
	}
	if err := settled(ctx, func(ctx context.Context) (*object.Task, error) { return obj.Reconfigure(ctx, spec) }); err != nil {
		return fmt.Errorf("hardware: %w", err)
	}
	return nil
}

// launch deploys and starts a vApp that has been made, as its body asks: both by
// default (API reference, VAppCreationParamsType).
func (c *call) launch(ctx context.Context, a *vapp, doc *node) error {
	asks := func(name string) bool { return attr(doc, name) == "" || truth(attr(doc, name)) }
	if !asks("deploy") && !(attr(doc, "powerOn") != "" && asks("powerOn")) {
		return nil
	}
	s := c.s
	s.mu.Lock()
	vms := within(a, nil)
	s.mu.Unlock()
	if !asks("powerOn") {
		return s.deployed(a, vms, true)
	}
	return s.turnOn(ctx, a, vms, true)
}
