package director

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	vim "github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// onVM runs an action on the path's VM in a task. check may refuse it.
func (c *call) onVM(name, operation string, check func(*vm) error, work func(context.Context, *object.VirtualMachine, *vm) error) (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	if err := c.refresh(m); err != nil {
		return nil, err
	}
	if m.facts == nil || m.lost {
		return nil, invalidState("The VM %q is not available.", m.name)
	}
	if err := c.mayChange(m.vapp, m, accessChange); err != nil {
		return nil, err
	}
	if check != nil {
		if err := check(m); err != nil {
			return nil, err
		}
	}
	return c.accepted(c.start(name, operation, vmOwner(m), func(ctx context.Context) error {
		return c.s.each(ctx, []*vm{m}, work)
	})), nil
}

// consolidate merges what snapshots left behind, and makes a linked clone a VM
// that lies on nothing (Tenant Guide, "Consolidate a Virtual Machine").
func (c *call) consolidate() (*answer, error) {
	return c.onVM("vappConsolidateVm", "Consolidating Virtual Machine", nil, func(ctx context.Context, obj *object.VirtualMachine, m *vm) error {
		res, err := vim.ConsolidateVMDisks_Task(ctx, obj.Client(), &types.ConsolidateVMDisks_Task{This: obj.Reference()})
		if err != nil {
			return err
		}
		if err := await(ctx, object.NewTask(obj.Client(), res.Returnval), nil); err != nil {
			return err
		}
		return unlink(ctx, m.vc, obj)
	})
}

// unlink merges the chains of a VM's disks, each where it is.
func unlink(ctx context.Context, vc *vcenter, obj *object.VirtualMachine) error {
	got, err := vc.read(ctx, []string{obj.Reference().Value})
	if err != nil {
		return err
	}
	f := got[obj.Reference().Value]
	if f == nil || f.chain < 2 || f.snapshots > 0 {
		return nil
	}
	spec := types.VirtualMachineRelocateSpec{DiskMoveType: string(types.VirtualMachineRelocateDiskMoveOptionsMoveAllDiskBackingsAndConsolidate)}
	for key, store := range f.diskStores {
		spec.Disk = append(spec.Disk, types.VirtualMachineRelocateSpecDiskLocator{DiskId: key, Datastore: store})
	}
	t, err := obj.Relocate(ctx, spec, types.VirtualMachineMovePriorityDefaultPriority)
	return await(ctx, t, err)
}

func (c *call) customizeNext() (*answer, error) {
	m, err := c.onlyVM(c.change(accessChange))
	if err != nil {
		return nil, err
	}
	m.customize = true
	return noContent(), nil
}

// upgradeHardware brings a VM to the newest hardware version; one that has it
// already stays as it is.
func (c *call) upgradeHardware() (*answer, error) {
	check := func(m *vm) error {
		if m.facts.snapshots > 0 {
			return badRequest("The hardware version of VM %q cannot be changed: it has snapshots.", m.name)
		}
		return m.cold("hardware version")
	}
	return c.onVM("vappUpgradeHwVersion", "Upgrading the hardware version of", check, func(ctx context.Context, obj *object.VirtualMachine, m *vm) error {
		c.s.mu.Lock()
		newest := m.facts.config.Version >= newestHardware
		c.s.mu.Unlock()
		if newest {
			return nil
		}
		t, err := obj.UpgradeVM(ctx, newestHardware)
		return await(ctx, t, err)
	})
}

// nesting shows or hides the host's virtualization in a VM.
func (c *call) nesting(yes bool) (*answer, error) {
	check := func(m *vm) error { return m.cold("hardware virtualization") }
	return c.onVM("vappUpdateVm", "Updating Virtual Machine", check, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error {
		t, err := obj.Reconfigure(ctx, types.VirtualMachineConfigSpec{NestedHVEnabled: types.NewBool(yes)})
		return await(ctx, t, err)
	})
}

// installTools mounts the installer of VMware Tools; the guest does the rest.
func (c *call) installTools() (*answer, error) {
	check := func(m *vm) error {
		if m.state() != stateOn {
			return invalidState("VMware Tools cannot be installed in VM %q: it is not running.", m.name)
		}
		return nil
	}
	return c.onVM("vappInstallVMwareTools", "Installing VMware Tools in", check, func(_ context.Context, _ *object.VirtualMachine, m *vm) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		m.noTools = false
		return nil
	})
}

// checkCompliance looks at a VM's storage, which is as its profile says here.
func (c *call) checkCompliance() (*answer, error) {
	return c.onVM("vappCheckVmCompliance", "Checking compliance of", nil, func(_ context.Context, _ *object.VirtualMachine, m *vm) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		m.checked = time.Now()
		return nil
	})
}

func (c *call) compliance(m *vm) (string, *node) {
	d := add(el("ComplianceResult"), text("ComplianceStatus", "COMPLIANT"))
	return "application/vnd.vmware.vm.complianceResult", add(d, opt("ComplianceCheckTime", stamp(m.checked)))
}

// reload reads a VM from vCenter anew, as every request does here.
func (c *call) reload() (*answer, error) {
	if !c.provider() {
		return nil, noRight("System Administrator", uuidIn(c.path("id")))
	}
	return c.onVM("vappRefreshVm", "Refreshing Virtual Machine", nil, func(context.Context, *object.VirtualMachine, *vm) error { return nil })
}

// relocate moves a VM to another datastore.
func (c *call) relocate() (*answer, error) {
	if !c.provider() {
		return nil, noRight("System Administrator", uuidIn(c.path("id")))
	}
	doc, err := c.parse(nsVCloud, "RelocateParams")
	if err != nil {
		return nil, err
	}
	want := uuidIn(attr(child(doc, "Datastore"), "href"))
	var target *types.ManagedObjectReference
	check := func(m *vm) error {
		for _, d := range m.vc.datastores(c.r.Context(), c.s) {
			if datastoreID(m.vc, d.Self.Value) == want {
				target = &d.Self
			}
		}
		if target == nil {
			return badRequest("The datastore %s does not exist.", attr(child(doc, "Datastore"), "href"))
		}
		return nil
	}
	return c.onVM("vappRelocateVm", "Relocating Virtual Machine", check, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error {
		t, err := obj.Relocate(ctx, types.VirtualMachineRelocateSpec{Datastore: target}, types.VirtualMachineMovePriorityDefaultPriority)
		return await(ctx, t, err)
	})
}

// running is the path's VM, refused unless it runs.
func (c *call) running() (*vm, error) {
	m, err := c.onlyVM(c.target())
	if err != nil {
		return nil, err
	}
	if err := c.refresh(m); err != nil {
		return nil, err
	}
	if m.state() != stateOn {
		return nil, invalidState("The requested operation could not be executed since VM %q is not running.", m.name)
	}
	return m, nil
}

// screenTicket lets a client open the VM's console.
func (c *call) screenTicket() (*answer, error) {
	m, err := c.running()
	if err != nil {
		return nil, err
	}
	d := text("ScreenTicket", "mks://"+c.host()+"/vm-"+m.id+"?ticket="+url.QueryEscape(rand.Text()))
	return ok(mediaVCloud+"screenTicket", d), nil
}

func (c *call) mksTicket() (*answer, error) {
	m, err := c.running()
	if err != nil {
		return nil, err
	}
	d := add(el("MksTicket"), text("Host", c.host()), text("Vmx", m.facts.config.Files.VmPathName), text("Ticket", "cst-VCT-"+rand.Text()), number("Port", 902))
	return ok(mediaVCloud+"mksTicket", d), nil
}

// screen is a picture of the console, of which there is none here.
func (c *call) screen() (*answer, error) {
	m, err := c.running()
	if err != nil {
		return nil, err
	}
	return nil, notFound("There is no screen image of VM %q.", m.name)
}

// host is the name that the client knows this installation by.
func (c *call) host() string {
	u := c.s.URL()
	return u.Hostname()
}

// provisioned is the size of a VM's disks in bytes.
func (m *vm) provisioned() int64 {
	var n int64
	for _, d := range m.facts.disks() {
		n += capacity(d)
	}
	return n
}

// customization is how far the customization of a VM's guest is.
func (m *vm) customization() string {
	if m.customize || time.Now().Before(m.customized) {
		return "GC_PENDING"
	}
	return "GC_COMPLETE"
}

// customizationStatus follows a guest's customization, which takes a while
// from the VM's start on.
func (c *call) customizationStatus(m *vm) (string, *node) {
	typ := mediaVCloud + "guestcustomizationstatussection"
	return typ, add(el("GuestCustomizationStatusSection", "href", c.s.vmHref(m)+"/guestcustomizationstatus/", "type", typ+"+xml", "ovf:required", "false"),
		text("ovf:Info", "Guest customization status"), text("GuestCustStatus", m.customization()))
}

// environment is the OVF environment that the guest of a running VM sees.
func (c *call) environment(m *vm) *node {
	const env, xsi = nsEnv, nsXSI
	d := el("Environment", "xmlns:ns2", env, "xmlns", env, "xmlns:ve", "http://www.vmware.com/schema/ovfenv", "xmlns:xsi", xsi, "ns2:id", "",
		"ve:vCenterId", m.moref)
	add(d, add(el("PlatformSection"), text("Kind", "VMware ESXi"), text("Version", "8.0.0"), text("Vendor", "VMware, Inc."), text("Locale", "en")))
	props := el("PropertySection")
	set := func(k, v string) {
		p := el("Property", "ns2:key", k)
		p.CreateAttr("ns2:value", v) // also an empty one
		add(props, p)
	}
	set("vCloud_CustomizationInfo", m.id)
	set("vCloud_UseSysPrep", "None")
	set("vCloud_computerName", m.computer)
	set("vCloud_numnics", num(len(m.nics)))
	for i, n := range m.nics {
		if n.index == m.primary {
			set("vCloud_primaryNic", num(i))
		}
		set("vCloud_macaddr_"+num(i), n.mac)
		set("vCloud_ip_"+num(i), n.ip)
		set("vCloud_bootproto_"+num(i), strings.ToLower(n.mode))
	}
	for _, p := range m.products {
		for _, q := range childrenOf(p, "Property") {
			v := attr(q, "value")
			if own := child(q, "Value"); own != nil {
				v = attr(own, "value")
			}
			set(attr(q, "key"), v)
		}
	}
	cards := el("ve:EthernetAdapterSection")
	for _, n := range m.nics {
		add(cards, el("ve:Adapter", "ve:mac", n.mac, "ve:network", n.network, "ve:unitNumber", num(7+n.index)))
	}
	return add(d, props, cards)
}
