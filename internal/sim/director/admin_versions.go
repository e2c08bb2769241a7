package director

import (
	"slices"
	"strconv"
	"strings"
)

// versions are the API versions that there are. Alpha versions are not served.
var versions = []string{"36.0", "36.1", "36.2", "36.3", "37.0", "37.1", "37.2", "37.3", "38.0", "38.1", "39.0", "39.1"}

// Versions are the API versions that there are, in rising order.
func Versions() []string { return slices.Clone(versions) }

// deprecatedBefore is the first version that /api/versions does not mark: 10.6
// (API 39) deprecates the versions of 10.4 and before ("VMware Cloud Director
// 10.6 Release Notes", API versions).
const deprecatedBefore = "38.0"

// older tells whether version a comes before b.
func older(a, b string) bool {
	ax, ay, _ := strings.Cut(a, ".")
	bx, by, _ := strings.Cut(b, ".")
	if x, y := atoi(ax), atoi(bx); x != y {
		return x < y
	}
	return atoi(ay) < atoi(by)
}

// newer tells whether the client speaks at least that version.
func (c *call) newer(version string) bool {
	return c.version != "" && !older(c.version, version)
}

// versionsDoc is /api/versions, whose namespace is its own. Since 33.0 each
// version names both logins.
func (c *call) versionsDoc() (*answer, error) {
	d := el("SupportedVersions", "xmlns", "http://www.vmware.com/vcloud/versions")
	for _, v := range c.s.cfg.APIVersions {
		add(d, add(el("VersionInfo", "deprecated", yes(older(v, deprecatedBefore))), text("Version", v),
			text("LoginUrl", c.s.href("/cloudapi/1.0.0/sessions")), text("ProviderLoginUrl", c.s.href("/cloudapi/1.0.0/sessions/provider"))))
	}
	add(d, text("SchemaRoot", c.s.href("/api/v1.5/schema/")))
	return ok("text/xml", d), nil
}

// sinceVersion says from which version on an element or attribute (@name) is there,
// by its parent. Only documents that this server makes hold them; what a client
// sent itself comes back as it was. Sources: the "Since" column of the types in
// the VMware Cloud Director API reference, 36.0 to 39.1.
var sinceVersion = map[string]string{
	"Vm/TrustedPlatformModule":                        "37.2", // TpmType
	"Vm/ReplicationTrackingDiskSection":               "38.0", // changed types of 38.0, here and below
	"Vm/ReplicationTrackingSettings":                  "38.0",
	"Vm/IsVAppConfigRemoved":                          "38.0",
	"BootOptions/EfiSecureBootEnabled":                "37.1", // BootOptionsType
	"BootOptions/NetworkBootProtocol":                 "37.1",
	"BootOptions/BootRetryEnabled":                    "37.1",
	"BootOptions/BootRetryDelay":                      "37.1",
	"OperatingSystem/SupportsTPM":                     "37.2",
	"AdminVdc/VappNetworkStandbyEnabled":              "38.0",
	"AdminVdc/VappNatTypeReflexiveEnabled":            "38.0",
	"GatewayInterface/NetworkBackingType":             "38.0",
	"CaptureVAppParams/CopyTpmOnInstantiate":          "38.0",
	"AdminVMRecord@firmware":                          "38.0",
	"AdminVMRecord@tpmPresent":                        "38.0",
	"AdminVMRecord@replicationState":                  "38.0",
	"AdminVAppNetworkRecord@parentNetworkId":          "38.0",
	"AdminMediaRecord@mediaType":                      "38.0",
	"OrgOperationLimitsSettings/SnapshotsPerVmLimit":  "39.0", // changed types of 39.0, here and below
	"OrgGeneralSettings/CanPublishToManagedOrgs":      "39.0",
	"Catalog/IsSharedWithManagedOrgs":                 "39.0",
	"Catalog/IsSharedWithPeersParentManagedOrgs":      "39.0",
	"Catalog/DistributedCatalogParams":                "39.0",
	"Catalog/Healthy":                                 "39.0",
	"AdminCatalog/IsSharedWithManagedOrgs":            "39.0",
	"AdminCatalog/IsSharedWithPeersParentManagedOrgs": "39.0",
	"AdminCatalog/DistributedCatalogParams":           "39.0",
	"AdminCatalog/Healthy":                            "39.0",
	"AdminCatalogRecord@isSharedWithManagedOrgs":      "39.0",
	"AdminCatalogRecord@isDistributed":                "39.0",
	"AdminCatalogRecord@isHealthy":                    "39.0",
	"AdminMediaRecord@lastUpdatedTime":                "39.0",
	"AdminVAppTemplateRecord@lastUpdatedTime":         "39.0",
	"AdminVdc/NetworkingTenancyEnabled":               "38.1", // changed types of 38.1, here and below
	"AdminVdcRecord@networkingTenancyEnabled":         "38.1",
	"CustomOrgLdapSettings/CustomUiButtonLabel":       "38.1",
	"OrgFederationSettings/CustomUiButtonLabel":       "38.1",
	"DiskSettings/IopsAllocation":                     "37.0", // changed types of 37.0, here and below
	"Disk/IopsAllocation":                             "37.0",
	"DiskRecord@iopsReservation":                      "37.0",
	"DiskRecord@iopsLimit":                            "37.0",
	"AdminDiskRecord@iopsReservation":                 "37.0",
	"AdminDiskRecord@iopsLimit":                       "37.0",
	"NetworkConfiguration/ServiceInterface":           "36.3", // changed types of 36.3, here and below
	"AdminVdcRecord@isVgpuEnabled":                    "36.3",
	"OrgVdcRecord@isVgpuEnabled":                      "36.3",
	"AdminVMRecord@detectedGuestOs":                   "36.3",
	"AdminVMRecord@hasVgpuPolicy":                     "36.3",
	"VMRecord@detectedGuestOs":                        "36.3",
	"VMRecord@hasVgpuPolicy":                          "36.3",
	"ResourcePoolRecord@clusterName":                  "36.3",
}

// untilVersion says from which version on an element or attribute is gone (changed
// types of 37.0).
var untilVersion = map[string]string{
	"DiskSettings/iops":               "37.0",
	"Disk@iops":                       "37.0",
	"DiskRecord@iops":                 "37.0",
	"AdminDiskRecord@iops":            "37.0",
	"AdminUserRecord@deployedVMQuota": "37.0",
	"AdminUserRecord@storedVMQuota":   "37.0",
	"UserRecord@deployedVMQuota":      "37.0",
	"UserRecord@storedVMQuota":        "37.0",
}

// lacks tells whether the client's version does not know a part of a document.
func (c *call) lacks(part string) bool {
	from, is := sinceVersion[part]
	if is && older(c.version, from) {
		return true
	}
	end, is := untilVersion[part]
	return is && !older(c.version, end)
}

// Endpoints that a version brought, and those that one took away, by the
// beginnings of their paths. Sources: the "Since" of the operations in the API
// reference; the release notes of 10.3.1 (API tokens), 10.4 (service accounts),
// 10.5 (login), 10.6 (multiple snapshots).
var endpoints = []struct{ path, from, until string }{
	{"/cloudapi/1.0.0/tokens", "36.1", ""},
	{"/cloudapi/1.0.0/serviceAccounts", "37.0", ""},
	{"/cloudapi/1.0.0/deviceLookup", "37.0", ""},
	{"/cloudapi/1.0.0/orgs", "36.0", ""},
	{"/cloudapi/2.0.0/vdcComputePolicies", "35.0", ""},
	{"/cloudapi/1.0.0/vm/", "39.0", ""},
}

// served tells whether there is such an endpoint in the client's version.
func (c *call) served() bool {
	for _, e := range endpoints {
		if !strings.HasPrefix(c.r.URL.Path, e.path) || c.version == "" {
			continue
		}
		if older(c.version, e.from) || e.until != "" && !older(c.version, e.until) {
			return false
		}
	}
	return true
}

// trim removes from a document what the client's version does not know.
func (c *call) trim(n *node) {
	if c.version == "" {
		return
	}
	for _, a := range slices.Clone(n.Attr) {
		if c.lacks(n.Tag + "@" + a.Key) {
			n.RemoveAttr(a.FullKey())
		}
	}
	for _, k := range n.ChildElements() {
		if c.lacks(n.Tag + "/" + k.Tag) {
			n.RemoveChild(k)
			continue
		}
		c.trim(k)
	}
}

// knownVersion tells whether a text is a version that is served.
func (s *Server) knownVersion(v string) bool {
	if _, err := strconv.ParseFloat(v, 64); err != nil {
		return false
	}
	return slices.Contains(s.cfg.APIVersions, v)
}
