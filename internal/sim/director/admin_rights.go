package director

import (
	"slices"
	"strings"
	"sync"
)

// A right is what a role may do. Its identity follows from its name, so that
// every installation has the same.
type right struct {
	id, name, category string
	view               bool
	system             bool // tenants cannot have it
	defaults           string
}

// rightsTable is the catalogue: category, then on each line who has the right
// by default (Organization Administrator, Catalog Author, vApp Author, vApp
// User, Console access only; S: the provider alone) and its name. Rights that
// begin with View, or end with it, are of type VIEW.
//
// Sources: "Rights in Predefined Global Tenant Roles" (VMware Cloud Director
// 10.4 to 10.6, Service Provider Admin Guide) and, for who has what, "Predefined
// Roles and Their Rights" (vCloud Director 5.5 Administrator's Guide, tables
// 11-1 to 11-5), which the former still agrees with.
const rightsTable = `
# Access Control
O API Tokens: Manage
O API Tokens: Manage All
O Access Control List: Manage
O Access Control List: View
O Group / User: Manage
O Group / User: View
S Right: Manage
O Right: View
S Rights Bundle: Edit
S Rights Bundle: View
S Global Role: Edit
S Global Role: View
O Role: Create, Edit, Delete, or Copy
O Service Account: Manage
O Service Account: View
S Service Account: Limited Manage
S Token: Manage
# Catalog
OCA Catalog: Add vApp from My Cloud
OC Catalog: CLSP Publish Subscribe
O Catalog: Change Owner
OC Catalog: Create / Delete a Catalog
OC Catalog: Edit Properties
S Catalog: Import Media from vSphere
OC Catalog: Publish
O Catalog: Shadow VM View
OC Catalog: Sharing
OC Catalog: VCSP Publish Subscribe
OC Catalog: VCSP Publish Subscribe Caching
OC Catalog: View ACL
OCA Catalog: View Private and Shared Catalogs
O Catalog: View Published Catalogs
# vApp Template
OCA vApp Template / Media: Copy
OC vApp Template / Media: Create / Upload
OC vApp Template / Media: Edit
OCAU vApp Template / Media: View
O vApp Template: Change Owner
OCAU vApp Template: Checkout
OC vApp Template: Download
S vApp Template: Import
# vApp
S vApp: Allow All Extra Config
S vApp: Allow Ethernet Coalescing Extra Config
S vApp: Allow Latency Extra Config
S vApp: Allow Matching Extra Config
S vApp: Allow NUMA Node Affinity Extra Config
O vApp: Change Owner
OCAU vApp: Copy
OCA vApp: Create / Reconfigure
OCAU vApp: Delete
OCA vApp: Download
OCAU vApp: Edit Properties
OCA vApp: Edit VM CPU
S vApp: Edit VM CPU and Memory reservation settings in all VDC types
OCA vApp: Edit VM Compute Policy
OCA vApp: Edit VM Hard Disk
OCA vApp: Edit VM Memory
OCAU vApp: Edit VM Network
OCAU vApp: Edit VM Properties
S vApp: Enter/Exit Maintenance Mode
S vApp: Import Options
OCAUK vApp: Manage VM Password Settings
OCAU vApp: Power Operations
S vApp: Shadow VM View
OCAU vApp: Sharing
OCAU vApp: Snapshot Operations
OCA vApp: Upload
OCAUK vApp: Use Console
OCA vApp: VM Boot Options
S vApp: VM Check Compliance
S vApp: VM Migrate, Force Undeploy, Relocate, Consolidate
OCAU vApp: View ACL
O vApp: View VM and VM's Disks Encryption Status
OCAU vApp: View VM metrics
S VM Discovery: Manage
# Organization
O Organization: Edit Association Settings
O Organization: Edit Federation Settings
O Organization: Edit LDAP Settings
O Organization: Edit Leases Policy
S Organization: Edit Limits
S Organization: Edit Name
O Organization: Edit OAuth Settings
O Organization: Edit Password Policy
O Organization: Edit Properties
S Organization: Edit Quotas Policy
O Organization: Edit SMTP Settings
O Organization: Edit OIDC Settings
O Organization: Import User/Group from IdP while Editing VDC ACL
S Organization: Create / Delete
O Organization: View
O Organization: View Metrics
S Organization: Perform Administrator Queries
S Organization: Traversal
S Organization: Migrate Tenant Storage
O Organization: manage quotas for the organization
O Multisite: View/Edit
# Organization Network
O Organization Network: Create or Delete
O Organization Network: Edit Properties
O Organization Network: View
O Organization vDC Network: Edit Properties
O Organization vDC Network: Manage Manual IP Reservation
OCAU Organization vDC Network: View Properties
S Organization vDC Network: Import
O Private IP Spaces: Manage
O Private IP Spaces: View
O IP Spaces: Allocate
# Organization VDC
O Access All Organization VDCs
S Organization vDC: Create
S Organization vDC: Delete
O Organization vDC: Edit
O Organization vDC: Edit ACL
S Organization vDC: Extended Edit
S Organization vDC: Extended View
O Organization vDC: Manage Firewall
O Organization vDC: Simple Edit
O Organization vDC: User View
OCAU Organization vDC: View
O Organization vDC: View ACL
O Organization vDC: View CPU and Memory Reservation
O Organization vDC: View Metrics
O Organization vDC: VM-VM Affinity Edit
OCAU Organization vDC: VM-VM Affinity View
S Organization vDC Compute Policy: Admin View
S Organization vDC Compute Policy: Manage
OCAUK Organization vDC Compute Policy: View
O Organization vDC Disk: View IOPS
S Organization vDC Kubernetes Policy: Edit
O Organization vDC Named Disk: Change Owner
OCA Organization vDC Named Disk: Create
OCA Organization vDC Named Disk: Delete
OCA Organization vDC Named Disk: Edit Properties
OCA Organization vDC Named Disk: Move
O Organization vDC Named Disk: View Encryption Status
OCAU Organization vDC Named Disk: View Properties
S Organization vDC Storage Policy: Edit
S Organization vDC Storage Policy: Open in vSphere
O Organization vDC Storage Policy: View Capabilities
O Organization vDC Storage Profile: Set Default
O vDC Group: Configure
O vDC Group: Configure Logging
O vDC Group: View
O VDC Template: Instantiate
O VDC Template: View
# Edge Gateway
S Organization vDC Gateway: Create
S Organization vDC Gateway: Delete
S Organization vDC Gateway: Update Properties
O Organization vDC Distributed Firewall: Configure Rules
O Organization vDC Distributed Firewall: View Rules
S Organization vDC Distributed Firewall: Enable/Disable
O Organization vDC Gateway: Configure BGP Routing
O Organization vDC Gateway: Configure DHCP
O Organization vDC Gateway: Configure DNS
O Organization vDC Gateway: Configure Firewall
O Organization vDC Gateway: Configure IPSec VPN
O Organization vDC Gateway: Configure L2 VPN
O Organization vDC Gateway: Configure Load Balancer
O Organization vDC Gateway: Configure NAT
O Organization vDC Gateway: Configure Remote Access
O Organization vDC Gateway: Configure Route Advertisement
O Organization vDC Gateway: Configure SLAAC Profile
O Organization vDC Gateway: Configure SSL VPN
O Organization vDC Gateway: Configure Static Routing
O Organization vDC Gateway: Configure Syslog
O Organization vDC Gateway: View
O Organization vDC Gateway: View BGP Routing
O Organization vDC Gateway: View DHCP
O Organization vDC Gateway: View DNS
O Organization vDC Gateway: View Firewall
O Organization vDC Gateway: View IPSec VPN
O Organization vDC Gateway: View L2 VPN
O Organization vDC Gateway: View Load Balancer
O Organization vDC Gateway: View NAT
O Organization vDC Gateway: View Remote Access
O Organization vDC Gateway: View Route Advertisement
O Organization vDC Gateway: View SLAAC Profile
O Organization vDC Gateway: View SSL VPN
O Organization vDC Gateway: View Static Routing
# General
O API Explorer: View
O General: Administrator Control
O General: Administrator View
O General: Send Notification
O General: View Error Details
O Quota Policy: Manage
O Quota Policy: View
O Security Tag: Edit
OCAU Metadata File Entry: Create/Modify
O Certificate Library: Manage
O Certificate Library: View
O Truststore: Manage
O Truststore: View
S Event: View
S Task: Resume, Abort, or Fail
S Task: Update
O Task: View Tasks
O Advisory Definitions: View
S Advisory Definitions: Create and Delete
S SSL Settings: View
S SSL Settings: Manage
S SSL: Test Connection
# Extension
O Custom entity: View all custom entity instances in org
O Custom entity: View custom entity instance
S Custom entity: Create custom entity definitions
S Custom entity: Delete custom entity definitions
S Custom entity: Edit custom entity definitions
S Custom entity: View custom entity definitions
S Extension Services: View
S Extensions: View
S External Service: Manage
S External Service: View
S Service Configuration: Manage
S Service Configuration: View
O UI Plugins: View
S UI Plugins: Define, Upload, Modify, Delete, Associate or Disassociate
S VCD Extension: Register, Unregister, Refresh, Associate or Disassociate
S VCD Extension: View
# Infrastructure
S AMQP Settings: Manage
S AMQP Settings: View
S Cell Configuration: View
S Cloud Cell: Manage
S Content Library System Settings: View
S Datastore: Edit
S Datastore: View
S Host: Manage
S Host: View
S Kerberos Settings: Manage
S Kerberos Settings: View
S LDAP Settings: Manage
S LDAP Settings: View
S Network Pool: Edit
S Network Pool: View
S Provider Network: Edit
S Provider Network: View
S Provider vDC Compute Policy: Manage
S Provider vDC Compute Policy: View
S Provider vDC Storage Policy: Edit
S Provider vDC: Create and Delete
S Provider vDC: Edit
S Provider vDC: View
S Resource Pool: Migrate Virtual Machines to / from
S Resource Pool: View
S Site: Edit
S Site: View
S System Settings: Manage
S System Settings: View
S vCenter: Attach
S vCenter: Manage
S vCenter: Open in vSphere
S vCenter: Refresh
S vCenter: View
S vSphere Server: View
S vSphere Server: Manage
`

// rights is the catalogue in its order.
var rights = sync.OnceValue(func() []*right {
	var out []*right
	category := ""
	for line := range strings.SplitSeq(strings.TrimSpace(rightsTable), "\n") {
		who, name, _ := strings.Cut(line, " ")
		if who == "#" {
			category = name
			continue
		}
		verb := name[strings.LastIndex(name, ":")+1:]
		out = append(out, &right{
			id: uuidOf("right", name), name: name, category: category, system: who == "S", defaults: who,
			view: strings.HasPrefix(strings.TrimSpace(verb), "View") && name != "Multisite: View/Edit" || strings.HasSuffix(verb, "View"),
		})
	}
	return out
})

// Rights are the names of all rights.
func Rights() []string {
	var out []string
	for _, r := range rights() {
		out = append(out, r.name)
	}
	return out
}

var rightsByName = sync.OnceValue(func() map[string]*right {
	out := map[string]*right{}
	for _, r := range rights() {
		out[r.name] = r
	}
	return out
})

func rightByID(id string) *right {
	i := slices.IndexFunc(rights(), func(r *right) bool { return r.id == id })
	if i < 0 {
		return nil
	}
	return rights()[i]
}

func (r *right) urn() string { return "urn:vcloud:right:" + r.id }

func categoryURN(name string) string {
	return "urn:vcloud:rightsCategory:" + uuidOf("rights category", name)
}

func (r *right) kind() string {
	if r.view {
		return "VIEW"
	}
	return "MODIFY"
}

// implied are the rights without which this one is of no use: to change things
// is to see them.
func (r *right) implied() []*right {
	if r.view {
		return nil
	}
	subject, _, _ := strings.Cut(r.name, ":")
	var out []*right
	for _, o := range rights() {
		s, verb, _ := strings.Cut(o.name, ":")
		if s == subject && o.view && strings.TrimSpace(verb) == "View" && (r.system || !o.system) {
			out = append(out, o)
		}
	}
	if strings.HasPrefix(r.name, "Catalog: ") {
		out = append(out, rightsByName()["Catalog: View Private and Shared Catalogs"])
	}
	return out
}

// The predefined roles that every organization has, with the letter by which
// rightsTable calls them.
var predefinedRoles = []struct{ name, letter, desc string }{
	{RoleOrgAdmin, "O", "Built-in rights for administering an organization"},
	{RoleCatalogAuthor, "C", "Rights given to a user that needs to author and publish catalogs"},
	{RoleVAppAutho, "A", "Rights given to a user who needs to author vApps"},
	{RoleVAppUser, "U", "Rights given to a user who uses vApps created by others"},
	{RoleConsole, "K", "Rights needed to access the console of a VM"},
	{RoleDefer, "-", "Users with this role will receive their rights from the identity provider"},
}

// PredefinedRoles are the names of the roles that every organization has.
func PredefinedRoles() []string {
	var out []string
	for _, r := range predefinedRoles {
		out = append(out, r.name)
	}
	return out
}

// defaultRights are the names of the rights that a predefined role begins with.
func defaultRights(letter string) []string {
	var out []string
	for _, r := range rights() {
		if strings.Contains(r.defaults, letter) {
			out = append(out, r.name)
		}
	}
	return out
}

// tenantRights are the names of all rights that a tenant can have.
func tenantRights() []string {
	var out []string
	for _, r := range rights() {
		if !r.system {
			out = append(out, r.name)
		}
	}
	return out
}
