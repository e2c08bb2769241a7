package director

import (
	"strings"
	"sync"
)

// required says which rights a call needs, one of those between "|" each, on
// top of what its handler asks for: the organization's boundary and the level
// of access to the entity. A * stands for one part of the path. Of two lines
// that match, the longer pattern counts. What has no line needs no right.
//
// Names and groups of operations: "Rights in Predefined Global Tenant Roles"
// (VMware Cloud Director Service Provider Admin Guide) and the descriptions that
// GET /cloudapi/1.0.0/rights has. Where they are silent a line demands the
// stricter right.
const requiredTable = `
PUT /api/vApp/* = vApp: Edit Properties | vApp: Edit VM Properties
DELETE /api/vApp/* = vApp: Delete
PUT /api/vApp/*/owner = vApp: Change Owner
GET /api/vApp/*/controlAccess = vApp: View ACL
POST /api/vApp/*/action/controlAccess = vApp: Sharing
POST /api/vApp/*/metadata = vApp: Edit Properties
PUT /api/vApp/*/metadata/* = vApp: Edit Properties
DELETE /api/vApp/*/metadata/* = vApp: Edit Properties
PUT /api/vApp/*/metadata/*/* = vApp: Edit Properties
DELETE /api/vApp/*/metadata/*/* = vApp: Edit Properties
PUT /api/vApp/*/leaseSettingsSection = vApp: Edit Properties
PUT /api/vApp/*/startupSection = vApp: Edit Properties
PUT /api/vApp/*/productSections = vApp: Edit Properties
PUT /api/vApp/*/networkConfigSection = vApp: Edit Properties
PUT /api/vApp/*/operatingSystemSection = vApp: Edit VM Properties
PUT /api/vApp/*/networkConnectionSection = vApp: Edit VM Network
PUT /api/vApp/*/guestCustomizationSection = vApp: Manage VM Password Settings | vApp: Edit VM Properties
PUT /api/vApp/*/vmCapabilities = vApp: Edit VM Properties
POST /api/vApp/*/bootOptions = vApp: VM Boot Options
POST /api/vApp/*/action/bootOptions = vApp: VM Boot Options
PUT /api/vApp/*/bootOptions = vApp: VM Boot Options
PUT /api/vApp/*/virtualHardwareSection/disks = vApp: Edit VM Hard Disk
PUT /api/vApp/*/virtualHardwareSection/cpu = vApp: Edit VM CPU
PUT /api/vApp/*/virtualHardwareSection/memory = vApp: Edit VM Memory
PUT /api/vApp/*/virtualHardwareSection/networkCards = vApp: Edit VM Network
PUT /api/vApp/*/virtualHardwareSection/serialPorts = vApp: Edit VM Properties
POST /api/vApp/*/action/reconfigureVm = vApp: Edit VM Properties
POST /api/vApp/*/action/deploy = vApp: Power Operations
POST /api/vApp/*/action/undeploy = vApp: Power Operations
POST /api/vApp/*/action/discardSuspendedState = vApp: Power Operations
POST /api/vApp/*/power/action/* = vApp: Power Operations
POST /api/vApp/*/action/createSnapshot = vApp: Snapshot Operations
POST /api/vApp/*/action/removeAllSnapshots = vApp: Snapshot Operations
POST /api/vApp/*/action/revertToCurrentSnapshot = vApp: Snapshot Operations
POST /cloudapi/*/vm/*/snapshots = vApp: Snapshot Operations
DELETE /cloudapi/*/vm/*/snapshots = vApp: Snapshot Operations
POST /api/vApp/*/action/recomposeVApp = vApp: Create / Reconfigure
POST /api/vApp/*/action/consolidate = vApp: VM Migrate, Force Undeploy, Relocate, Consolidate
POST /api/vApp/*/action/relocate = vApp: VM Migrate, Force Undeploy, Relocate, Consolidate
POST /api/vApp/*/action/customizeAtNextPowerOn = vApp: Edit VM Properties
POST /api/vApp/*/action/checkCompliance = vApp: VM Check Compliance
POST /api/vApp/*/action/installVMwareTools = vApp: Power Operations
POST /api/vApp/*/action/upgradeHardwareVersion = vApp: Edit VM Properties
POST /api/vApp/*/action/enableNestedHypervisor = vApp: Edit VM Properties
POST /api/vApp/*/action/disableNestedHypervisor = vApp: Edit VM Properties
POST /api/vApp/*/action/enableDownload = vApp: Download
POST /api/vApp/*/action/disableDownload = vApp: Download
POST /api/vApp/*/action/enterMaintenanceMode = vApp: Enter/Exit Maintenance Mode
POST /api/vApp/*/action/exitMaintenanceMode = vApp: Enter/Exit Maintenance Mode
POST /api/vApp/*/disk/action/attach = vApp: Edit VM Hard Disk
POST /api/vApp/*/disk/action/detach = vApp: Edit VM Hard Disk
POST /api/vApp/*/media/action/insertMedia = vApp: Use Console | vApp: Edit VM Properties
POST /api/vApp/*/media/action/ejectMedia = vApp: Use Console | vApp: Edit VM Properties
POST /api/vApp/*/question/action/answer = vApp: Use Console
GET /api/vApp/*/screen = vApp: Use Console
POST /api/vApp/*/screen/action/acquireTicket = vApp: Use Console
POST /api/vApp/*/screen/action/acquireMksTicket = vApp: Use Console
GET /api/vApp/*/metrics/current = vApp: View VM metrics
POST /api/vApp/*/metrics/historic = vApp: View VM metrics
PUT /api/network/* = vApp: Edit Properties | Organization vDC Network: Edit Properties
DELETE /api/network/* = vApp: Edit Properties | Organization vDC Network: Edit Properties
POST /api/vdc/*/action/composeVApp = vApp: Create / Reconfigure
POST /api/vdc/*/action/createVm = vApp: Create / Reconfigure
POST /api/vdc/*/action/cloneVApp = vApp: Copy
POST /api/vdc/*/action/moveVApp = vApp: Copy
POST /api/vdc/*/action/instantiateVAppTemplate = vApp Template: Checkout
POST /api/vdc/*/action/instantiateVmTemplate = vApp Template: Checkout
POST /api/vdc/*/action/instantiateOvf = vApp: Upload
POST /api/vdc/*/action/captureVApp = Catalog: Add vApp from My Cloud
POST /api/vdc/*/action/uploadVAppTemplate = vApp Template / Media: Create / Upload
POST /api/vdc/*/action/cloneVAppTemplate = vApp Template / Media: Copy
POST /api/vdc/*/action/cloneMedia = vApp Template / Media: Copy
POST /api/vdc/*/media = vApp Template / Media: Create / Upload
POST /api/vdc/*/disk = Organization vDC Named Disk: Create
PUT /api/disk/* = Organization vDC Named Disk: Edit Properties
DELETE /api/disk/* = Organization vDC Named Disk: Delete
PUT /api/disk/*/owner = Organization vDC Named Disk: Change Owner
POST /api/vdc/*/vmAffinityRules = Organization vDC: VM-VM Affinity Edit
PUT /api/vmAffinityRule/* = Organization vDC: VM-VM Affinity Edit
DELETE /api/vmAffinityRule/* = Organization vDC: VM-VM Affinity Edit
POST /api/vdc/*/action/controlAccess = Organization vDC: Edit ACL
PUT /api/vdc/*/action/controlAccess = Organization vDC: Edit ACL
GET /api/vdc/*/controlAccess = Organization vDC: View ACL
PUT /api/vAppTemplate/* = vApp Template / Media: Edit
DELETE /api/vAppTemplate/* = vApp Template / Media: Edit
POST /api/vAppTemplate/*/action/enableDownload = vApp Template: Download
POST /api/vAppTemplate/*/action/disableDownload = vApp Template: Download
PUT /api/media/* = vApp Template / Media: Edit
DELETE /api/media/* = vApp Template / Media: Edit
GET /api/catalog/* = Catalog: View Private and Shared Catalogs | Catalog: View Published Catalogs
POST /api/catalog/*/action/upload = vApp Template / Media: Create / Upload
POST /api/catalog/*/action/captureVApp = Catalog: Add vApp from My Cloud
POST /api/catalog/*/action/copy = vApp Template / Media: Copy
POST /api/catalog/*/action/move = vApp Template / Media: Copy
POST /api/catalog/*/catalogItems = Catalog: Add vApp from My Cloud
PUT /api/catalogItem/* = vApp Template / Media: Edit
DELETE /api/catalogItem/* = vApp Template / Media: Edit
POST /api/admin/org/*/catalogs = Catalog: Create / Delete a Catalog
PUT /api/admin/catalog/* = Catalog: Edit Properties
DELETE /api/admin/catalog/* = Catalog: Create / Delete a Catalog
PUT /api/admin/catalog/*/owner = Catalog: Change Owner
POST /api/admin/catalog/*/action/publish = Catalog: Publish
POST /api/admin/catalog/*/action/publishToExternalOrganizations = Catalog: VCSP Publish Subscribe
POST /api/admin/catalog/*/action/subscribeToExternalCatalog = Catalog: VCSP Publish Subscribe
POST /api/catalog/*/action/controlAccess = Catalog: Sharing
POST /api/org/*/catalog/*/action/controlAccess = Catalog: Sharing
GET /api/org/*/catalog/*/controlAccess = Catalog: View ACL
GET /api/admin = General: Administrator View
GET /api/admin/org/* = General: Administrator View
POST /api/admin/orgs = Organization: Create / Delete
PUT /api/admin/org/* = Organization: Edit Properties
DELETE /api/admin/org/* = Organization: Create / Delete
POST /api/admin/org/*/metadata = Organization: Edit Properties
DELETE /api/admin/org/*/metadata/* = Organization: Edit Properties
DELETE /api/admin/org/*/metadata/*/* = Organization: Edit Properties
POST /api/admin/org/*/action/enable = Organization: Create / Delete
POST /api/admin/org/*/action/disable = Organization: Create / Delete
PUT /api/admin/org/*/settings/general = Organization: Edit Properties
PUT /api/admin/org/*/settings/vAppLeaseSettings = Organization: Edit Leases Policy
PUT /api/admin/org/*/settings/vAppTemplateLeaseSettings = Organization: Edit Leases Policy
PUT /api/admin/org/*/settings/email = Organization: Edit SMTP Settings
PUT /api/admin/org/*/settings/ldap = Organization: Edit LDAP Settings
PUT /api/admin/org/*/settings/federation = Organization: Edit Federation Settings
PUT /api/admin/org/*/settings/passwordPolicy = Organization: Edit Password Policy
PUT /api/admin/org/*/settings/operationLimitsSettings = Organization: Edit Limits
PUT /api/admin/org/*/settings/guestPersonalizationSettings = Organization: Edit Properties
POST /api/admin/org/*/users = Group / User: Manage
POST /api/admin/org/*/groups = Group / User: Manage
PUT /api/admin/user/* = Group / User: Manage
DELETE /api/admin/user/* = Group / User: Manage
POST /api/admin/user/*/action/* = Group / User: Manage
GET /api/admin/group/* = Group / User: View
PUT /api/admin/group/* = Group / User: Manage
DELETE /api/admin/group/* = Group / User: Manage
POST /api/admin/org/*/roles = Role: Create, Edit, Delete, or Copy
PUT /api/admin/role/* = Role: Create, Edit, Delete, or Copy
DELETE /api/admin/role/* = Role: Create, Edit, Delete, or Copy
POST /api/admin/org/*/rights = Right: Manage
PUT /api/admin/org/*/rights = Right: Manage
POST /cloudapi/*/users = Group / User: Manage
PUT /cloudapi/*/users/* = Group / User: Manage
DELETE /cloudapi/*/users/* = Group / User: Manage
GET /cloudapi/*/rights = Right: View
GET /cloudapi/*/rights/* = Right: View
GET /cloudapi/*/rightsCategories = Right: View
GET /cloudapi/*/rightsCategories/* = Right: View
POST /cloudapi/*/roles = Role: Create, Edit, Delete, or Copy
PUT /cloudapi/*/roles/* = Role: Create, Edit, Delete, or Copy
DELETE /cloudapi/*/roles/* = Role: Create, Edit, Delete, or Copy
POST /cloudapi/*/roles/*/rights = Role: Create, Edit, Delete, or Copy
PUT /cloudapi/*/roles/*/rights = Role: Create, Edit, Delete, or Copy
GET /cloudapi/*/globalRoles = Global Role: View
GET /cloudapi/*/globalRoles/* = Global Role: View
POST /cloudapi/*/globalRoles = Global Role: Edit
PUT /cloudapi/*/globalRoles/* = Global Role: Edit
DELETE /cloudapi/*/globalRoles/* = Global Role: Edit
GET /cloudapi/*/rightsBundles = Rights Bundle: View
GET /cloudapi/*/rightsBundles/* = Rights Bundle: View
POST /cloudapi/*/rightsBundles = Rights Bundle: Edit
PUT /cloudapi/*/rightsBundles/* = Rights Bundle: Edit
DELETE /cloudapi/*/rightsBundles/* = Rights Bundle: Edit
POST /cloudapi/*/orgs = Organization: Create / Delete
PUT /cloudapi/*/orgs/* = Organization: Edit Properties
DELETE /cloudapi/*/orgs/* = Organization: Create / Delete
GET /cloudapi/*/auditTrail = General: Administrator View
POST /cloudapi/*/serviceAccounts/* = Service Account: Manage
PUT /cloudapi/*/serviceAccounts/* = Service Account: Manage
DELETE /cloudapi/*/serviceAccounts/* = Service Account: Manage
POST /cloudapi/*/testConnection = SSL: Test Connection | Truststore: View
POST /api/admin/org/*/settings/vAppLeaseSettings/action/* = Organization: Edit Leases Policy
POST /api/catalog/*/metadata = Catalog: Edit Properties
PUT /api/catalog/*/metadata/* = Catalog: Edit Properties
DELETE /api/catalog/*/metadata/* = Catalog: Edit Properties
POST /api/admin/catalog/*/metadata = Catalog: Edit Properties
DELETE /api/admin/catalog/*/metadata/* = Catalog: Edit Properties
POST /api/catalogItem/*/metadata = vApp Template / Media: Edit
POST /api/media/*/metadata = vApp Template / Media: Edit
POST /api/vAppTemplate/*/metadata = vApp Template / Media: Edit
PUT /api/catalog/* = Catalog: Edit Properties
DELETE /api/catalog/* = Catalog: Create / Delete a Catalog
PUT /api/catalog/*/owner = Catalog: Change Owner
POST /api/catalog/*/action/publish = Catalog: Publish
POST /api/catalog/*/action/publishToExternalOrganizations = Catalog: VCSP Publish Subscribe
POST /api/catalog/*/action/subscribeToExternalCatalog = Catalog: VCSP Publish Subscribe
POST /api/media/*/action/* = vApp Template: Download
PUT /api/media/*/owner = vApp Template: Change Owner
PUT /api/vAppTemplate/*/owner = vApp Template: Change Owner
POST /api/vAppTemplate/*/action/consolidate = vApp: VM Migrate, Force Undeploy, Relocate, Consolidate
POST /api/admin/org/*/vdcsparams = Organization vDC: Create
POST /api/admin/org/*/action/instantiate = VDC Template: Instantiate
PUT /api/admin/vdc/* = Organization vDC: Edit | Organization vDC: Extended Edit | Organization vDC: Simple Edit
DELETE /api/admin/vdc/* = Organization vDC: Delete
POST /api/admin/vdc/*/action/* = Organization vDC: Extended Edit
POST /api/admin/vdc/*/vdcStorageProfiles = Organization vDC: Extended Edit
PUT /api/admin/vdcStorageProfile/* = Organization vDC: Extended Edit | Organization vDC Storage Profile: Set Default
POST /cloudapi/*/vdcComputePolicies = Organization vDC Compute Policy: Manage
PUT /cloudapi/*/vdcComputePolicies/* = Organization vDC Compute Policy: Manage
DELETE /cloudapi/*/vdcComputePolicies/* = Organization vDC Compute Policy: Manage
POST /api/disk/*/metadata = Organization vDC Named Disk: Edit Properties
PUT /api/disk/*/metadata/* = Organization vDC Named Disk: Edit Properties
DELETE /api/disk/*/metadata/* = Organization vDC Named Disk: Edit Properties
DELETE /api/disk/*/metadata/*/* = Organization vDC Named Disk: Edit Properties
PUT /cloudapi/*/users/*/quotas = Quota Policy: Manage
PUT /cloudapi/*/orgs/*/quotas = Quota Policy: Manage
PUT /cloudapi/*/vapps/*/quotas = Quota Policy: Manage
POST /api/network/*/action/* = vApp: Edit Properties | Organization vDC Network: Edit Properties
PUT /api/admin/network/* = Organization vDC Network: Edit Properties
DELETE /api/admin/network/* = Organization vDC Network: Edit Properties
POST /api/admin/network/*/action/* = vApp: Edit Properties | Organization vDC Network: Edit Properties
POST /api/admin/vdc/*/networks = Organization vDC Network: Edit Properties
POST /cloudapi/*/orgVdcNetworks = Organization vDC Network: Edit Properties
POST /cloudapi/*/orgVdcNetworks/* = Organization vDC Network: Edit Properties
PUT /cloudapi/*/orgVdcNetworks/* = Organization vDC Network: Edit Properties
DELETE /cloudapi/*/orgVdcNetworks/* = Organization vDC Network: Edit Properties
PUT /api/admin/edgeGateway/* = Organization vDC Gateway: Update Properties
DELETE /api/admin/edgeGateway/* = Organization vDC Gateway: Delete
POST /api/admin/edgeGateway/*/action/* = Organization vDC Gateway: Update Properties
POST /api/admin/edgeGateway/*/action/configureServices = Organization vDC Gateway: Configure Firewall | Organization vDC Gateway: Configure NAT | Organization vDC Gateway: Configure DHCP
POST /cloudapi/*/edgeGateways = Organization vDC Gateway: Create
PUT /cloudapi/*/edgeGateways/* = Organization vDC Gateway: Update Properties
DELETE /cloudapi/*/edgeGateways/* = Organization vDC Gateway: Delete
PUT /cloudapi/*/edgeGateways/*/firewall/* = Organization vDC Gateway: Configure Firewall
DELETE /cloudapi/*/edgeGateways/*/firewall/* = Organization vDC Gateway: Configure Firewall
POST /cloudapi/*/edgeGateways/*/nat/* = Organization vDC Gateway: Configure NAT
PUT /cloudapi/*/edgeGateways/*/nat/* = Organization vDC Gateway: Configure NAT
DELETE /cloudapi/*/edgeGateways/*/nat/* = Organization vDC Gateway: Configure NAT
POST /cloudapi/*/edgeGateways/*/routing/* = Organization vDC Gateway: Configure Static Routing
PUT /cloudapi/*/edgeGateways/*/routing/* = Organization vDC Gateway: Configure Static Routing
DELETE /cloudapi/*/edgeGateways/*/routing/* = Organization vDC Gateway: Configure Static Routing
POST /cloudapi/*/edgeGateways/*/routing/bgp/* = Organization vDC Gateway: Configure BGP Routing
PUT /cloudapi/*/edgeGateways/*/routing/bgp/* = Organization vDC Gateway: Configure BGP Routing
DELETE /cloudapi/*/edgeGateways/*/routing/bgp/* = Organization vDC Gateway: Configure BGP Routing
PUT /cloudapi/*/edgeGateways/*/routing/bgp = Organization vDC Gateway: Configure BGP Routing
PUT /cloudapi/*/edgeGateways/*/routing/advertisement = Organization vDC Gateway: Configure Route Advertisement
PUT /cloudapi/*/edgeGateways/*/dns = Organization vDC Gateway: Configure DNS
DELETE /cloudapi/*/edgeGateways/*/dns = Organization vDC Gateway: Configure DNS
PUT /cloudapi/*/edgeGateways/*/dhcpForwarder = Organization vDC Gateway: Configure DHCP
PUT /cloudapi/*/edgeGateways/*/slaacProfile = Organization vDC Gateway: Configure SLAAC Profile
POST /cloudapi/*/firewallGroups = Organization vDC Gateway: Configure Firewall | vDC Group: Configure
PUT /cloudapi/*/firewallGroups/* = Organization vDC Gateway: Configure Firewall | vDC Group: Configure
DELETE /cloudapi/*/firewallGroups/* = Organization vDC Gateway: Configure Firewall | vDC Group: Configure
POST /cloudapi/*/applicationPortProfiles = Organization vDC Gateway: Configure Firewall | Organization vDC Gateway: Configure NAT
PUT /cloudapi/*/applicationPortProfiles/* = Organization vDC Gateway: Configure Firewall | Organization vDC Gateway: Configure NAT
DELETE /cloudapi/*/applicationPortProfiles/* = Organization vDC Gateway: Configure Firewall | Organization vDC Gateway: Configure NAT
POST /cloudapi/*/networkPools = Network Pool: Edit
PUT /cloudapi/*/networkPools/* = Network Pool: Edit
DELETE /cloudapi/*/networkPools/* = Network Pool: Edit
POST /cloudapi/*/nsxManagers = System Settings: Manage
PUT /cloudapi/*/nsxManagers/* = System Settings: Manage
DELETE /cloudapi/*/nsxManagers/* = System Settings: Manage
POST /cloudapi/*/quotaPolicies = Quota Policy: Manage
PUT /cloudapi/*/quotaPolicies/* = Quota Policy: Manage
DELETE /cloudapi/*/quotaPolicies/* = Quota Policy: Manage
PUT /cloudapi/*/users/*/quotaPolicy = Quota Policy: Manage
PUT /cloudapi/*/orgs/*/quotaPolicy = Quota Policy: Manage
PUT /cloudapi/*/vapps/*/quotaPolicy = Quota Policy: Manage
GET /cloudapi/*/vdcGroups = vDC Group: View
GET /cloudapi/*/vdcGroups/* = vDC Group: View
POST /cloudapi/*/vdcGroups = vDC Group: Configure
PUT /cloudapi/*/vdcGroups/* = vDC Group: Configure
DELETE /cloudapi/*/vdcGroups/* = vDC Group: Configure
PUT /cloudapi/*/vdcGroups/*/dfwPolicies = Organization vDC Distributed Firewall: Enable/Disable
PUT /cloudapi/*/vdcGroups/*/dfwPolicies/* = Organization vDC Distributed Firewall: Configure Rules
DELETE /cloudapi/*/vdcGroups/*/dfwPolicies/* = Organization vDC Distributed Firewall: Configure Rules
PUT /cloudapi/*/securityTags/vm/* = Security Tag: Edit | vApp: Edit Properties
PUT /cloudapi/*/securityTags/tag = Security Tag: Edit | vApp: Edit Properties
`

// A requirement is a line of requiredTable.
type requirement struct {
	method string
	parts  []string
	rights []string
}

var requirements = sync.OnceValue(func() []requirement {
	var out []requirement
	for line := range strings.SplitSeq(strings.TrimSpace(requiredTable), "\n") {
		call, names, _ := strings.Cut(line, " = ")
		method, path, _ := strings.Cut(call, " ")
		out = append(out, requirement{method, strings.Split(path, "/"), strings.Split(names, " | ")})
	}
	return out
})

// matches tells whether a path is the pattern's, or under it where the pattern
// ends in a *.
func (q *requirement) matches(method string, path []string) bool {
	if q.method != method || len(path) < len(q.parts) {
		return false
	}
	for i, p := range q.parts {
		if p != "*" && p != path[i] {
			return false
		}
	}
	return len(path) == len(q.parts) || q.parts[len(q.parts)-1] == "*"
}

// literal counts the parts that are not a *.
func (q *requirement) literal() int {
	n := 0
	for _, p := range q.parts {
		if p != "*" {
			n++
		}
	}
	return n
}

// neededFor are the rights of which a call needs one; none when it needs none.
func neededFor(method, path string) []string {
	parts := strings.Split(path, "/")
	var best *requirement
	all := requirements()
	for i := range all {
		q := &all[i]
		if !q.matches(method, parts) {
			continue
		}
		if best == nil || len(q.parts) > len(best.parts) || len(q.parts) == len(best.parts) && q.literal() > best.literal() {
			best = q
		}
	}
	if best == nil {
		return nil
	}
	return best.rights
}

// permitted refuses a call that the caller's role has not the right for.
func (c *call) permitted() error {
	needed := neededFor(c.r.Method, c.r.URL.Path)
	if len(needed) == 0 || c.hasAny(needed...) {
		return nil
	}
	return noRight(strings.Join(needed, ", "), or(uuidIn(c.r.URL.Path), c.login.org.id))
}
