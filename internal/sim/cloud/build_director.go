package cloud

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// startDirector starts a site's vCD and tells it of everything that the
// inventory says. The VMs exist by now.
func (c *Cloud) startDirector(s *site, listen string, morefs map[*VM]string, recorder func(director.Exchange)) error {
	cert, err := c.certificate(s.spec.ID)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	config := director.Config{
		Listen:        c.listen(s.spec.ID, listen),
		TLS:           cert,
		StateDir:      filepath.Join(stateDir(c.dir), s.spec.ID),
		TransferDir:   filepath.Join(stateDir(c.dir), s.spec.ID, "transfer"),
		AdminUser:     s.spec.Admin.Name,
		AdminPassword: s.spec.Admin.Password,
		AdminAPIToken: s.spec.Admin.APIToken,
		APIVersions:   s.spec.APIVersions, SessionTimeout: time.Duration(s.spec.SessionTimeout), SessionLifetime: time.Duration(s.spec.SessionLifetime),
		TaskDelay:      time.Duration(s.spec.TaskDelay),
		SnapshotsPerVM: s.spec.SnapshotsPerVM, StartupSecond: time.Duration(s.spec.StartupSecond),
		CustomizationTime: time.Duration(s.spec.CustomizationTime),
		Recorder:          recorder,
		Saved:             func(err error) { c.trouble.saved(s.spec.ID, err) },
		Faults:            c.faults,
		Site:              s.spec.ID,

		DiscoveryInterval: time.Duration(s.spec.Discovery),
	}
	for _, vc := range s.vcenters {
		config.VCenters = append(config.VCenters, director.VCenter{
			ID:   uuid("vim server", s.spec.ID, vc.spec.Name),
			Name: vc.spec.Name, URL: vc.server.URL().String(),
			User: serviceUser, Password: servicePassword(s.spec, vc.spec), RootCAs: c.ca.pool(),
		})
	}
	if s.director, err = director.Start(config); errors.Is(err, director.ErrState) {
		return fmt.Errorf("%w: %w", ErrState, err)
	} else if err != nil {
		return err
	}
	c.addresses[s.spec.ID] = s.director.URL().Host
	if c.restored {
		if !s.director.Restored() {
			return fmt.Errorf("%w: the vCD's state is gone", ErrState)
		}
		if c.killed {
			return s.director.Reconcile(context.Background())
		}
		return nil
	}
	if err := addOutside(s.director, s.spec); err != nil {
		return err
	}
	if err := addProviderVDCs(s); err != nil {
		return err
	}
	for i := range s.spec.Orgs {
		if err := addOrg(s.director, place{site: s.spec, org: &s.spec.Orgs[i]}, morefs); err != nil {
			return fmt.Errorf("org %s: %w", s.spec.Orgs[i].Name, err)
		}
	}
	// Catalogs may be shared with any org.
	for i := range s.spec.Orgs {
		if err := addCatalogs(s.director, s.spec, &s.spec.Orgs[i], morefs); err != nil {
			return fmt.Errorf("org %s: %w", s.spec.Orgs[i].Name, err)
		}
	}
	return nil
}

func addOrg(d *director.Server, p place, morefs map[*VM]string) error {
	o := p.org
	org, err := d.AddOrg(director.OrgSpec{
		ID: uuid("org", p.site.ID, o.Name), Name: o.Name, FullName: o.FullName, Description: o.Description, Disabled: o.Disabled,
		DeployedVMQuota: o.DeployedVMQuota, StoredVMQuota: o.StoredVMQuota, PublishExternally: o.CanPublishExternally, Subscribe: o.CanSubscribe,
		Lease: director.OrgLease{
			DeploymentSeconds: o.Lease.Deployment.Seconds(), StorageSeconds: o.Lease.Storage.Seconds(),
			PowerOffOnExpiration: o.Lease.PowerOffAtEnd, DeleteOnStorageExpiration: o.Lease.DeleteAtExpiry,
		},
	})
	if err != nil {
		return err
	}
	for _, r := range o.Roles {
		if _, err := d.AddRole(director.RoleSpec{Org: org, Name: r.Name, Description: r.Description, Rights: r.Rights}); err != nil {
			return err
		}
	}
	for _, u := range o.Users {
		if _, err := d.AddUser(director.UserSpec{
			ID: uuid("user", p.site.ID, o.Name, u.Name), Org: org, Name: u.Name, FullName: u.FullName, Email: u.Email,
			Password: u.Password, Role: u.Role, DeployedVMQuota: u.DeployedVMQuota, VMsQuota: u.StoredVMQuota,
			APIToken: u.APIToken, Disabled: u.Disabled,
		}); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
	}
	for i := range o.VDCs {
		p.vdc = &o.VDCs[i]
		if err := addVDC(d, org, p, morefs); err != nil {
			return fmt.Errorf("VDC %s: %w", p.vdc.Name, err)
		}
	}
	for _, g := range o.VDCGroups {
		if _, err := d.AddVDCGroup(director.VDCGroupSpec{Org: org, Name: g.Name, Description: g.Description, VDCs: g.VDCs}); err != nil {
			return err
		}
	}
	return nil
}

func addVDC(d *director.Server, org string, p place, morefs map[*VM]string) error {
	v := p.vdc
	spec := director.VDCSpec{
		ID: p.uuid("vdc"), Org: org, Name: v.Name, Description: v.Description, VCenter: v.VCenter,
		ResourcePool: v.ResourcePool, AllocationModel: v.AllocationModel, VMQuota: v.VMQuota,
		Fast: v.FastProvisioning, Folder: p.folder(),
	}
	limits(&spec, v)
	for _, profile := range v.StorageProfiles {
		spec.StorageProfiles = append(spec.StorageProfiles, director.StorageProfileSpec{
			ID: p.uuid("storage profile", profile.Name), Name: profile.Name, LimitMB: int64(profile.Limit >> 20),
			Default: profile.Default, Datastores: []string{profile.Datastore}, Disabled: profile.Disabled,
		})
	}
	vdc, err := d.AddVDC(spec)
	if err != nil {
		return err
	}
	if err := addEdges(d, p, vdc); err != nil {
		return err
	}
	for i := range v.Networks {
		if _, err := d.AddOrgNetwork(orgNetwork(p, vdc, &v.Networks[i])); err != nil {
			return fmt.Errorf("network %s: %w", v.Networks[i].Name, err)
		}
	}
	for i := range v.VApps {
		p.vapp = &v.VApps[i]
		if _, err := d.AddVApp(vappSpec(p, vdc, morefs)); err != nil {
			return fmt.Errorf("vApp %s: %w", p.vapp.Name, err)
		}
	}
	p.vapp = nil
	for i := range v.VMs {
		if _, err := d.AddVApp(standalone(p, vdc, &v.VMs[i], morefs)); err != nil {
			return fmt.Errorf("vm %s: %w", v.VMs[i].Name, err)
		}
	}
	for i := range v.Disks {
		if err := addDisk(d, p, vdc, &v.Disks[i]); err != nil {
			return err
		}
	}
	return nil
}

// modes are the fence modes that vCD has for the inventory's types.
var modes = map[string]string{"isolated": "isolated", "routed": "natRouted", "fenced": "natRouted", "direct": "bridged"}

func orgNetwork(p place, vdc string, n *OrgNetwork) director.OrgNetworkSpec {
	spec := director.OrgNetworkSpec{
		ID: p.uuid("network", n.Name), VDC: vdc, Name: n.Name, Description: n.Description, Mode: modes[n.Type],
		Gateway: n.Gateway, Netmask: n.Netmask, DNSSuffix: n.DNSSuffix, Ranges: ranges(n.Ranges),
		Shared: n.Shared, Portgroup: n.PortGroup, ExternalName: n.External, EdgeGateway: n.Edge,
	}
	spec.DNS1, spec.DNS2 = n.servers()
	return spec
}

func (s *Subnet) servers() (first, second string) {
	both := append(append([]string{}, s.DNS...), "", "")
	return both[0], both[1]
}

func ranges(list []Range) []director.IPRange {
	var out []director.IPRange
	for _, r := range list {
		out = append(out, director.IPRange{Start: r.First, End: r.Last})
	}
	return out
}

func vappSpec(p place, vdc string, morefs map[*VM]string) director.VAppSpec {
	a := p.vapp
	spec := director.VAppSpec{
		ID: p.uuid("vapp"), VDC: vdc, Name: a.Name, Description: a.Description, Owner: a.Owner,
		Metadata: metadata(a.Metadata), ProductSections: productSections(a.ProductSections),
	}
	if a.Lease != nil {
		spec.Lease = &director.Lease{DeploymentSeconds: a.Lease.Deployment.Seconds(), StorageSeconds: a.Lease.Storage.Seconds()}
	}
	if a.Access != nil {
		spec.Access = access(a.Access)
	}
	for i := range a.Networks {
		spec.Networks = append(spec.Networks, vappNetwork(p, &a.Networks[i]))
	}
	for _, item := range a.Startup {
		spec.Startup = append(spec.Startup, director.StartupItem{
			VM: item.VM, Order: item.Order, StartAction: item.StartAction, StopAction: item.StopAction,
			StartDelay: item.StartDelay.Seconds(), StopDelay: item.StopDelay.Seconds(),
		})
	}
	for i := range a.VMs {
		spec.VMs = append(spec.VMs, vmSpec(p, &a.VMs[i], morefs))
	}
	return spec
}

// standalone is a VM in the vApp that vCD hides around it, with the VDC's
// networks under their own names.
func standalone(p place, vdc string, vm *VM, morefs map[*VM]string) director.VAppSpec {
	spec := director.VAppSpec{
		ID: p.uuid("vapp", vm.Name), VDC: vdc, Name: vm.Name, Standalone: true,
		VMs: []director.VMSpec{vmSpec(p, vm, morefs)},
	}
	if len(p.org.Users) > 0 {
		spec.Owner = p.org.Users[0].Name
	}
	seen := map[string]bool{"": true}
	for _, nic := range vm.NICs {
		if !seen[nic.Network] {
			seen[nic.Network] = true
			spec.Networks = append(spec.Networks, director.VAppNetworkSpec{
				ID: p.uuid("vapp network", vm.Name, nic.Network), Name: nic.Network, Mode: "bridged", Parent: nic.Network,
			})
		}
	}
	return spec
}

func vappNetwork(p place, n *Network) director.VAppNetworkSpec {
	spec := director.VAppNetworkSpec{
		ID: p.uuid("vapp network", n.Name), Name: n.Name, Description: n.Description, Mode: modes[n.Type], Parent: n.Parent,
		Gateway: n.Gateway, Netmask: n.Netmask, DNSSuffix: n.DNSSuffix, Ranges: ranges(n.Ranges), Retain: n.RetainAcrossDeployments,
	}
	spec.DNS1, spec.DNS2 = n.servers()
	if n.DHCP != nil {
		spec.DHCP = &director.DHCPSpec{
			Enabled: true, Range: director.IPRange{Start: n.DHCP.Range.First, End: n.DHCP.Range.Last},
			DefaultLease: n.DHCP.DefaultLease.Seconds(), MaxTime: n.DHCP.MaxLease.Seconds(),
		}
	}
	if n.Firewall != nil {
		spec.Firewall = firewall(n.Firewall)
	}
	if n.NAT != nil {
		spec.NAT = &director.NATSpec{Enabled: true, Type: n.NAT.Type, Policy: n.NAT.Policy}
		for _, rule := range n.NAT.Rules {
			spec.NAT.Rules = append(spec.NAT.Rules, director.NATRule{
				VM: rule.VM, NIC: rule.NIC, Mode: rule.Mode, ExternalIP: rule.ExternalIP,
				ExternalPort: rule.ExternalPort, InternalPort: rule.InternalPort, Protocol: rule.Protocol,
			})
		}
	}
	for _, r := range n.Routes {
		spec.Routes = append(spec.Routes, director.RouteSpec{Name: r.Name, Network: r.Network, NextHop: r.NextHop, Interface: "Internal"})
	}
	return spec
}

func firewall(f *Firewall) *director.FirewallSpec {
	spec := &director.FirewallSpec{Enabled: true, DefaultAction: f.DefaultAction, LogDefault: f.Log}
	for _, rule := range f.Rules {
		r := director.FirewallRule{
			Description: rule.Description, Disabled: rule.Disabled, Policy: rule.Policy, Log: rule.Log,
			SourceIP: rule.Source, SourcePort: rule.SourcePort, DestIP: rule.Destination, Port: rule.DestinationPort,
		}
		for _, protocol := range rule.Protocols {
			r.Protocols = append(r.Protocols, strings.ToUpper(protocol[:1])+protocol[1:])
		}
		spec.Rules = append(spec.Rules, r)
	}
	return spec
}

func metadata(entries []Metadata) []director.MetadataSpec {
	types := map[string]string{"string": "String", "number": "Number", "boolean": "Boolean", "datetime": "DateTime"}
	var out []director.MetadataSpec
	for _, m := range entries {
		out = append(out, director.MetadataSpec{
			Domain: strings.ToUpper(m.Domain), Visibility: strings.ToUpper(m.Visibility),
			Key: m.Key, Type: types[m.Type], Value: m.Value,
		})
	}
	return out
}

func productSections(sections []ProductSection) []director.ProductSection {
	var out []director.ProductSection
	for _, s := range sections {
		section := director.ProductSection{
			Class: s.Class, Instance: s.Instance, Info: s.Info, Product: s.Product, Vendor: s.Vendor,
			Version: s.Version, FullVersion: s.FullVersion, ProductURL: s.ProductURL,
		}
		for _, p := range s.Properties {
			section.Properties = append(section.Properties, director.ProductProperty{
				Key: p.Key, Type: p.Type, Value: p.Value, Default: p.Default, Label: p.Label,
				Description: p.Description, UserConfigurable: p.UserConfigurable, Password: p.Password,
			})
		}
		out = append(out, section)
	}
	return out
}

// powers are vSphere's names of the inventory's power states.
var powers = map[string]string{"on": "poweredOn", "off": "poweredOff", "suspended": "suspended"}

// bytes is a disk's size.
func (d *Disk) bytes() int64 {
	if d.Size > 0 {
		return int64(d.Size)
	}
	info, err := os.Stat(d.From)
	if err != nil {
		return 0 // it was copied, so that this is a matter of the image's last second
	}
	return info.Size()
}

func vmSpec(p place, vm *VM, morefs map[*VM]string) director.VMSpec {
	spec := director.VMSpec{
		ID: p.uuid("vm", vm.Name), Name: vm.Name, Description: vm.Description, MoRef: morefs[vm],
		ScopedLocalID: p.uuid("scoped local id", vm.Name), ComputerName: vm.ComputerName, StorageProfile: vm.StorageProfile,
		BootDelay: int(time.Duration(vm.BootDelay) / time.Millisecond), EnterBIOSSetup: vm.EnterBIOSSetup,
		Metadata: metadata(vm.Metadata), ProductSections: productSections(vm.ProductSections), NoTools: vm.Tools == "none",
	}
	spec.Hardware = &director.HardwareSpec{
		Power: powers[vm.Power], GuestID: vm.GuestID, Version: vm.HardwareVersion, Datastore: p.vdc.datastore(vm.StorageProfile),
		CPUs: vm.CPUs, MemoryMB: int(vm.Memory >> 20),
	}
	for _, d := range vm.Disks {
		spec.DiskProfiles = append(spec.DiskProfiles, d.StorageProfile)
		spec.Hardware.Disks = append(spec.Hardware.Disks, d.bytes())
	}
	for i, n := range vm.NICs {
		spec.NICs = append(spec.NICs, director.NICSpec{
			Network: n.Network, Mode: strings.ToUpper(n.Mode), IP: n.IP, Disconnected: n.Disconnected, MAC: p.mac(vm, i), Adapter: n.Type,
		})
		if n.Primary {
			spec.PrimaryNIC = i
		}
	}
	if g := vm.Customization; g != nil {
		spec.NeedsCustomization = g.Pending
		spec.Guest = director.GuestSpec{
			Enabled: g.Enabled, ChangeSID: g.ChangeSID, AdminPassword: g.AdminPassword, AdminPasswordAuto: g.AdminPasswordAuto,
			ResetPassword: g.ResetPasswordRequired, AutoLogon: g.AdminAutoLogonCount > 0, AutoLogonCount: g.AdminAutoLogonCount,
			JoinDomain: g.JoinDomain, UseOrgSettings: g.UseOrgSettings, Domain: g.DomainName, DomainUser: g.DomainUser,
			DomainPassword: g.DomainPassword, MachineOU: g.MachineOU, Script: g.Script, CustomizeDone: !g.Pending,
		}
	}
	return spec
}

func addDisk(d *director.Server, p place, vdc string, disk *NamedDisk) error {
	_, err := d.AddDisk(director.DiskSpec{
		ID: p.uuid("disk", disk.Name), VDC: vdc, Name: disk.Name, Description: disk.Description, SizeMB: int64(disk.Size >> 20),
		Controller: disk.Controller, StorageProfile: disk.StorageProfile, Sharing: disk.Sharing, Owner: disk.Owner, AttachTo: disk.AttachedTo,
	})
	return err
}
