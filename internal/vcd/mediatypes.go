package vcd

// Media types of the documents and requests that restores handle.
const (
	TypeVApp               = "application/vnd.vmware.vcloud.vApp+xml"
	TypeVM                 = "application/vnd.vmware.vcloud.vm+xml"
	TypeVDC                = "application/vnd.vmware.vcloud.vdc+xml"
	TypeOrg                = "application/vnd.vmware.vcloud.org+xml"
	TypeTask               = "application/vnd.vmware.vcloud.task+xml"
	TypeOwner              = "application/vnd.vmware.vcloud.owner+xml"
	TypeUser               = "application/vnd.vmware.admin.user+xml"
	TypeControlAccess      = "application/vnd.vmware.vcloud.controlAccess+xml"
	TypeMetadata           = "application/vnd.vmware.vcloud.metadata+xml"
	TypeLeaseSettings      = "application/vnd.vmware.vcloud.leaseSettingsSection+xml"
	TypeNetworkConfig      = "application/vnd.vmware.vcloud.networkConfigSection+xml"
	TypeStartup            = "application/vnd.vmware.vcloud.startupSection+xml"
	TypeAffinityRule       = "application/vnd.vmware.vcloud.vmaffinityrule+xml"
	TypeProductSections    = "application/vnd.vmware.vcloud.productSections+xml"
	TypeVAppNetwork        = "application/vnd.vmware.vcloud.vAppNetwork+xml"
	TypeNetworkConnection  = "application/vnd.vmware.vcloud.networkConnectionSection+xml"
	TypeGuestCustomization = "application/vnd.vmware.vcloud.guestCustomizationSection+xml"
	TypeVirtualHardware    = "application/vnd.vmware.vcloud.virtualHardwareSection+xml"
	TypeOperatingSystem    = "application/vnd.vmware.vcloud.operatingSystemSection+xml"
	TypeVMCapabilities     = "application/vnd.vmware.vcloud.vmCapabilitiesSection+xml"
	TypeComposeVApp        = "application/vnd.vmware.vcloud.composeVAppParams+xml"
	TypeUndeployVApp       = "application/vnd.vmware.vcloud.undeployVAppParams+xml"
	TypeImportVMAsVApp     = "application/vnd.vmware.admin.importVmAsVAppParams+xml"
	TypeImportVMIntoVApp   = "application/vnd.vmware.admin.importVmIntoExistingVAppParams+xml"
	TypeMediaInsert        = "application/vnd.vmware.vcloud.mediaInsertOrEjectParams+xml"
	TypeImportVM           = "application/vnd.vmware.admin.importVmParams+xml"
)

const (
	nsVCloud = "http://www.vmware.com/vcloud/v1.5"
	nsVMExt  = "http://www.vmware.com/vcloud/extension/v1.5"
	nsOVF    = "http://schemas.dmtf.org/ovf/envelope/1"
	nsXSI    = "http://www.w3.org/2001/XMLSchema-instance"
)
