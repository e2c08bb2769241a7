package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/go-vcloud-director/v3/types/v56"
)

func TestProviderFindsWhatTheInventorySays(t *testing.T) {
	client := provider(t)
	org, err := client.GetAdminOrgByName("acme")
	must(t, err, "org")
	equal(t, "full name", org.AdminOrg.FullName, "Acme Anvils Ltd")
	equal(t, "description", org.AdminOrg.Description, "Anvils and rockets")
	equal(t, "quota of running VMs", org.AdminOrg.OrgSettings.OrgGeneralSettings.DeployedVMQuota, 40)
	equal(t, "quota of stored VMs", org.AdminOrg.OrgSettings.OrgGeneralSettings.StoredVMQuota, 60)
	lease := org.AdminOrg.OrgSettings.OrgVAppLeaseSettings
	equal(t, "longest deployment lease", *lease.DeploymentLeaseSeconds, 30*24*3600)
	equal(t, "longest storage lease", *lease.StorageLeaseSeconds, 90*24*3600)
	user, err := org.GetUserByName("wile", true)
	must(t, err, "user")
	equal(t, "user's full name", user.User.FullName, "Wile E. Coyote")
	equal(t, "user's role", user.User.Role.Name, "vApp User")

	_, vdc, vapp := find(t, client, "acme", "acme-vdc1", "web-shop")
	equal(t, "VDC's description", vdc.Vdc.Description, "Production")
	equal(t, "vApp's description", vapp.VApp.Description, "The shop: web front and database. Ask Wile before a restart.")
	equal(t, "owner", vapp.VApp.Owner.User.Name, "wile")
	equal(t, "number of VMs", len(vapp.VApp.Children.VM), 2)
	equal(t, "deployed", vapp.VApp.Deployed, true)
	status, err := vapp.GetStatus()
	must(t, err, "status")
	equal(t, "status", status, "POWERED_ON")
}

func TestVMHardware(t *testing.T) {
	_, _, vapp := find(t, provider(t), "acme", "acme-vdc1", "web-shop")
	db, err := vapp.GetVMByName("db01", true)
	must(t, err, "db01")
	spec := db.VM.VmSpecSection
	equal(t, "cpus", *spec.NumCpus, 4)
	equal(t, "cores per socket", *spec.NumCoresPerSocket, 2)
	equal(t, "memory", spec.MemoryResourceMb.Configured, 1280)
	equal(t, "description", db.VM.Description, "PostgreSQL; the second disk holds the tables")
	disks := spec.DiskSection.DiskSettings
	if len(disks) != 2 {
		t.Fatalf("disks: got %d, want 2", len(disks))
	}
	slices.SortFunc(disks, func(a, b *types.DiskSettings) int { return int(a.SizeMb - b.SizeMb) })
	equal(t, "first disk's size", disks[0].SizeMb, 64)
	equal(t, "second disk's size", disks[1].SizeMb, 512)
	equal(t, "second disk's bus", disks[1].BusNumber, 1)
	equal(t, "second disk's unit", disks[1].UnitNumber, 3)
	equal(t, "second disk's profile", disks[1].StorageProfile.Name, "silver")
	if disks[0].AdapterType == disks[1].AdapterType {
		t.Errorf("adapter types: both are %s", disks[0].AdapterType)
	}
	again, err := db.GetInternalDiskById(disks[1].DiskId, true)
	must(t, err, "disk by id")
	equal(t, "disk by id", again.SizeMb, 512)
}

func TestNetworkConnections(t *testing.T) {
	_, _, vapp := find(t, provider(t), "acme", "acme-vdc1", "web-shop")
	web, err := vapp.GetVMByName("web01", true)
	must(t, err, "web01")
	section, err := web.GetNetworkConnectionSection()
	must(t, err, "network connections")
	equal(t, "primary", section.PrimaryNetworkConnectionIndex, 1)
	var got []string
	for _, n := range section.NetworkConnection {
		got = append(got, fmt.Sprint(n.NetworkConnectionIndex, n.Network, " ", n.IPAddressAllocationMode, " ", n.IPAddress, " ",
			strings.ToLower(n.MACAddress), " ", n.NetworkAdapterType, " ", n.IsConnected))
	}
	slices.Sort(got)
	want := []string{
		"0shop-front MANUAL 192.168.71.10 00:50:56:0a:00:10 VMXNET3 true",
		"1shop-back POOL 192.168.72.101 00:50:56:0a:00:11 E1000E true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("network connections:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestVAppNetworks(t *testing.T) {
	_, _, vapp := find(t, provider(t), "acme", "acme-vdc1", "web-shop")
	config, err := vapp.GetNetworkConfig()
	must(t, err, "network configuration")
	networks := map[string]types.VAppNetworkConfiguration{}
	for _, n := range config.NetworkConfig {
		networks[n.NetworkName] = n
	}
	front, back := networks["shop-front"].Configuration, networks["shop-back"].Configuration
	if front == nil || back == nil {
		t.Fatalf("networks: got %v", networks)
	}
	equal(t, "front's mode", front.FenceMode, "natRouted")
	equal(t, "front's parent", front.ParentNetwork.Name, "acme-routed")
	equal(t, "front keeps its addresses", *front.RetainNetInfoAcrossDeployments, true)
	equal(t, "front's mask", front.IPScopes.IPScope[0].Netmask, "255.255.255.128")
	equal(t, "back's mode", back.FenceMode, "isolated")
	equal(t, "back's ranges", len(back.IPScopes.IPScope[0].IPRanges.IPRange), 2)
	features := front.Features
	equal(t, "NAT's type", features.NatService.NatType, "portForwarding")
	equal(t, "NAT rules", len(features.NatService.NatRule), 2)
	equal(t, "external port", features.NatService.NatRule[0].VMRule.ExternalPort, 443)
	equal(t, "default action", features.FirewallService.DefaultAction, "drop")
	equal(t, "firewall rules", len(features.FirewallService.FirewallRule), 3)
	equal(t, "DHCP's longest lease", features.DhcpService.MaxLeaseTime, 3*3600)
	equal(t, "static routes", len(features.StaticRoutingService.StaticRoute), 1)
	// The rule leads to web01 by its scoped id.
	web, err := vapp.GetVMByName("web01", false)
	must(t, err, "web01")
	equal(t, "VM of the rule", features.NatService.NatRule[0].VMRule.VAppScopedVMID, web.VM.VAppScopedLocalID)
	network, err := vapp.GetVappNetworkByName("shop-back", true)
	must(t, err, "network by name")
	equal(t, "back's description", network.Description, "Web to database only")
}

func TestGuestCustomizationAndProductSection(t *testing.T) {
	_, _, vapp := find(t, provider(t), "acme", "acme-vdc1", "web-shop")
	web, err := vapp.GetVMByName("web01", true)
	must(t, err, "web01")
	guest, err := web.GetGuestCustomizationSection()
	must(t, err, "guest customization")
	equal(t, "computer name", guest.ComputerName, "shop-web-01")
	equal(t, "enabled", *guest.Enabled, true)
	equal(t, "change SID", *guest.ChangeSid, true)
	equal(t, "domain", guest.DomainName, "ad.acme.example")
	equal(t, "automatic logons", guest.AdminAutoLogonCount, 3)
	equal(t, "reset password", *guest.ResetPasswordRequired, true)
	products, err := vapp.GetProductSectionList()
	must(t, err, "product sections")
	values := map[string]string{}
	for _, p := range products.ProductSection.Property {
		values[p.Key] = p.DefaultValue
		if p.Value != nil {
			values[p.Key] = p.Value.Value
		}
	}
	equal(t, "currency", values["currency"], "CHF")
	equal(t, "carts", values["max-carts"], "1250")
}

func TestQueries(t *testing.T) {
	client := provider(t)
	vapps, err := client.Client.QueryVappList()
	must(t, err, "query vApps")
	names := map[string]int{}
	for _, vapp := range vapps {
		names[vapp.Name]++
		if vapp.MaintenanceMode {
			t.Errorf("vApp %s: in maintenance mode", vapp.Name)
		}
	}
	for _, name := range []string{"web-shop", "jumphost", "Büro Süd (alt)"} {
		equal(t, "vApps "+name, names[name], 1)
	}
	vms, err := client.Client.QueryVmList(types.VmQueryFilterAll)
	must(t, err, "query VMs")
	found := map[string]*types.QueryResultVMRecordType{}
	for _, vm := range vms {
		found[vm.Name] = vm
	}
	db := found["db01"]
	if db == nil {
		t.Fatalf("db01: not among %d VMs", len(vms))
	}
	equal(t, "container", db.ContainerName, "web-shop")
	equal(t, "cpus", db.Cpus, 4)
	equal(t, "memory", db.MemoryMB, 1280)
	equal(t, "status", db.Status, "POWERED_ON")
	if db.Moref == "" {
		t.Error("db01: the provider sees no moref")
	}
	// What a filter leaves.
	org, err := client.GetOrgByName("globex")
	must(t, err, "org")
	vdc, err := org.GetVDCByName("globex-vdc1", false)
	must(t, err, "VDC")
	vms, err = vdc.QueryVmList(types.VmQueryFilterOnlyDeployed)
	must(t, err, "query VMs of a VDC")
	if len(vms) != 1 || vms[0].Name != "Büro 1" {
		t.Errorf("VMs of globex-vdc1: got %d", len(vms))
	}
}

func TestTenantSeesItsOwn(t *testing.T) {
	client := login(t, "wile", "vcdsim-wile", "acme")
	_, _, vapp := find(t, client, "acme", "acme-vdc1", "web-shop")
	equal(t, "number of VMs", len(vapp.VApp.Children.VM), 2)
	vapps, err := client.Client.QueryVappList()
	must(t, err, "query vApps")
	for _, vapp := range vapps {
		if strings.HasPrefix(vapp.Name, "Büro") {
			t.Errorf("a tenant of acme sees %s", vapp.Name)
		}
	}
	if len(vapps) == 0 {
		t.Error("a tenant sees none of its vApps")
	}
	vms, err := client.Client.QueryVmList(types.VmQueryFilterAll)
	must(t, err, "query VMs")
	for _, vm := range vms {
		if vm.Moref != "" {
			t.Errorf("a tenant sees the moref of %s", vm.Name)
		}
	}
	if _, err := client.GetOrgByName("globex"); err == nil {
		t.Error("a tenant of acme reads globex")
	}
	if _, err := tryLogin("wile", "wrong", "acme"); err == nil {
		t.Error("a wrong password logs in")
	}
	if _, err := tryLogin("wile", "vcdsim-wile", "globex"); err == nil {
		t.Error("a user logs in to another org")
	}
	if _, err := tryLogin("wile", "vcdsim-wile", "System"); err == nil {
		t.Error("a tenant logs in as provider")
	}
}
