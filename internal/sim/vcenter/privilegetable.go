package vcenter

import "strings"

// ownPrivilege says what the calls of an object need on the object itself, or
// on the root folder where it is no entity, by the method: the "Required
// privileges" of vSphere's Web Services reference. Calls that name other
// objects are in callNeeds.
var ownPrivilege = map[string]string{
	"CreateSnapshot_Task":          "VirtualMachine.State.CreateSnapshot",
	"CreateSnapshotEx_Task":        "VirtualMachine.State.CreateSnapshot",
	"RemoveSnapshot_Task":          "VirtualMachine.State.RemoveSnapshot",
	"RemoveAllSnapshots_Task":      "VirtualMachine.State.RemoveSnapshot",
	"ConsolidateVMDisks_Task":      "VirtualMachine.State.RemoveSnapshot",
	"RenameSnapshot":               "VirtualMachine.State.RenameSnapshot",
	"RevertToSnapshot_Task":        "VirtualMachine.State.RevertToSnapshot",
	"RevertToCurrentSnapshot_Task": "VirtualMachine.State.RevertToSnapshot",
	"ExportSnapshot":               "VApp.Export",
	"ExportVm":                     "VApp.Export",
	"ExportVApp":                   "VApp.Export",
	"QueryChangedDiskAreas":        "VirtualMachine.Provisioning.DiskRandomRead",
	"PowerOnVM_Task":               "VirtualMachine.Interact.PowerOn",
	"PowerOffVM_Task":              "VirtualMachine.Interact.PowerOff",
	"ShutdownGuest":                "VirtualMachine.Interact.PowerOff",
	"SuspendVM_Task":               "VirtualMachine.Interact.Suspend",
	"StandbyGuest":                 "VirtualMachine.Interact.Suspend",
	"ResetVM_Task":                 "VirtualMachine.Interact.Reset",
	"RebootGuest":                  "VirtualMachine.Interact.Reset",
	"AnswerVM":                     "VirtualMachine.Interact.AnswerQuestion",
	"UnregisterVM":                 "VirtualMachine.Inventory.Unregister",
	"MarkAsTemplate":               "VirtualMachine.Provisioning.MarkAsTemplate",
	"MarkAsVirtualMachine":         "VirtualMachine.Provisioning.MarkAsVM",
	"CustomizeVM_Task":             "VirtualMachine.Provisioning.Customize",
	"PromoteDisks_Task":            "VirtualMachine.Provisioning.PromoteDisks",
	"UpgradeVM_Task":               "VirtualMachine.Config.UpgradeVirtualHardware",
	"AttachDisk_Task":              "VirtualMachine.Config.AddExistingDisk",
	"DetachDisk_Task":              "VirtualMachine.Config.RemoveDisk",

	"CreateFolder":                    "Folder.Create",
	"CreateStoragePod":                "Folder.Create",
	"CreateDatacenter":                "Datacenter.Create",
	"CreateCluster":                   "Host.Inventory.CreateCluster",
	"CreateClusterEx":                 "Host.Inventory.CreateCluster",
	"ReconfigureComputeResource_Task": "Host.Inventory.EditCluster",
	"ReconfigureCluster_Task":         "Host.Inventory.EditCluster",
	"AddStandaloneHost_Task":          "Host.Inventory.AddStandaloneHost",
	"CreateResourcePool":              "Resource.CreatePool",
	"UpdateConfig":                    "Resource.EditPool",
	"DestroyChildren":                 "Resource.DeletePool",
	"CreateVApp":                      "VApp.Create",
	"CloneVApp_Task":                  "VApp.Clone",

	"CreateDVS_Task":              "DVSwitch.Create",
	"CreateDVPortgroup_Task":      "DVPortgroup.Create",
	"AddDVPortgroup_Task":         "DVPortgroup.Create",
	"ReconfigureDVPortgroup_Task": "DVPortgroup.Modify",
	"ReconfigureDVPort_Task":      "DVSwitch.PortConfig",
	"DestroyNetwork":              "Network.Delete",

	"EnterMaintenanceMode_Task": "Host.Config.Maintenance",
	"ExitMaintenanceMode_Task":  "Host.Config.Maintenance",
	"RebootHost_Task":           "Host.Config.Maintenance",
	"ShutdownHost_Task":         "Host.Config.Maintenance",
	"DisconnectHost_Task":       "Host.Config.Connection",
	"ReconnectHost_Task":        "Host.Config.Connection",
	"AddPortGroup":              "Host.Config.Network",
	"UpdatePortGroup":           "Host.Config.Network",
	"RemovePortGroup":           "Host.Config.Network",
	"AddVirtualSwitch":          "Host.Config.Network",
	"UpdateVirtualSwitch":       "Host.Config.Network",
	"RemoveVirtualSwitch":       "Host.Config.Network",
	"UpdateNetworkConfig":       "Host.Config.Network",
	"CreateLocalDatastore":      "Host.Config.Storage",
	"CreateNasDatastore":        "Host.Config.Storage",
	"CreateVmfsDatastore":       "Host.Config.Storage",
	"RemoveDatastore":           "Host.Config.Storage",
	"RescanAllHba":              "Host.Config.Storage",
	"RescanVmfs":                "Host.Config.Storage",
	"EnableRuleset":             "Host.Config.NetService",
	"DisableRuleset":            "Host.Config.NetService",

	"DestroyDatastore": "Datastore.Delete",
	"RenameDatastore":  "Datastore.Rename",
}

// rootPrivilege says what calls of vCenter's managers need on the root
// folder.
var rootPrivilege = map[string]string{
	"AddAuthorizationRole":    "Authorization.ModifyRoles",
	"UpdateAuthorizationRole": "Authorization.ModifyRoles",
	"RemoveAuthorizationRole": "Authorization.ModifyRoles",
	"MergePermissions":        "Authorization.ReassignRolePermissions",
	"TerminateSession":        "Sessions.TerminateSession",
	"ImpersonateUser":         "Sessions.ImpersonateUser",
	"SessionIsActive":         "Sessions.ValidateSession",
	"UpdateServiceMessage":    "Sessions.GlobalMessage",
	"AddCustomFieldDef":       "Global.ManageCustomFields",
	"RemoveCustomFieldDef":    "Global.ManageCustomFields",
	"RenameCustomFieldDef":    "Global.ManageCustomFields",
	"UpdateOptions":           "Global.Settings",
	"PostEvent":               "Global.LogEvent",
	"LogUserEvent":            "Global.LogEvent",

	"AddLicense":             "Global.Licenses",
	"RemoveLicense":          "Global.Licenses",
	"UpdateLicense":          "Global.Licenses",
	"UpdateLicenseLabel":     "Global.Licenses",
	"RemoveLicenseLabel":     "Global.Licenses",
	"DecodeLicense":          "Global.Licenses",
	"UpdateAssignedLicense":  "Global.Licenses",
	"RemoveAssignedLicense":  "Global.Licenses",
	"QuerySupportedFeatures": "Global.Licenses",

	"CreateAlarm":      "Alarm.Create",
	"ReconfigureAlarm": "Alarm.Edit",
	"RemoveAlarm":      "Alarm.Delete",
	"AcknowledgeAlarm": "Alarm.Acknowledge",
	"SetAlarmStatus":   "Alarm.SetStatus",

	"CreateTask":         "Task.Create",
	"UpdateProgress":     "Task.Update",
	"SetTaskState":       "Task.Update",
	"SetTaskDescription": "Task.Update",

	"RegisterExtension":       "Extension.Register",
	"UnregisterExtension":     "Extension.Unregister",
	"UpdateExtension":         "Extension.Update",
	"SetExtensionCertificate": "Extension.Update",

	"CreateIpPool":        "Datacenter.IpPoolConfig",
	"UpdateIpPool":        "Datacenter.IpPoolConfig",
	"DestroyIpPool":       "Datacenter.IpPoolConfig",
	"QueryIPAllocations":  "Datacenter.IpPoolQueryAllocations",
	"ReleaseIpAllocation": "Datacenter.IpPoolReleaseIp",

	"CreateCustomizationSpec":    "VirtualMachine.Provisioning.ModifyCustSpecs",
	"OverwriteCustomizationSpec": "VirtualMachine.Provisioning.ModifyCustSpecs",
	"DeleteCustomizationSpec":    "VirtualMachine.Provisioning.ModifyCustSpecs",
	"GetCustomizationSpec":       "VirtualMachine.Provisioning.ReadCustSpecs",
	"DoesCustomizationSpecExist": "VirtualMachine.Provisioning.ReadCustSpecs",

	"CreateUser": "Host.Local.ManageUserGroups",
	"UpdateUser": "Host.Local.ManageUserGroups",
	"RemoveUser": "Host.Local.ManageUserGroups",

	"GenerateCertificateSigningRequest": "Certificate.Manage",
	"InstallServerCertificate":          "Certificate.Manage",
	"ConfigureStorageDrsForPod_Task":    "StoragePod.Config",
	"RetrieveServiceProviderEntities":   "TenantManager.Query",
	"MarkServiceProviderEntities":       "TenantManager.Update",
	"UnmarkServiceProviderEntities":     "TenantManager.Update",
	"CreateDisk_Task":                   "Datastore.FileManagement",
	"RegisterDisk":                      "Datastore.FileManagement",
	"ExtendDisk_Task":                   "Datastore.FileManagement",
	"DeleteVStorageObject_Task":         "Datastore.FileManagement",
	"VStorageObjectCreateSnapshot_Task": "Datastore.FileManagement",
	"DeleteSnapshot_Task":               "Datastore.FileManagement",
	"AttachTagToVStorageObject":         "InventoryService.Tagging.AttachTag",
	"DetachTagFromVStorageObject":       "InventoryService.Tagging.AttachTag",
}

// Entities are destroyed, renamed and moved by the same calls; the privilege
// goes by their type.
var (
	destroyPrivilege = map[string]string{
		"VirtualMachine": "VirtualMachine.Inventory.Delete", "VirtualApp": "VApp.Delete",
		"ResourcePool": "Resource.DeletePool", "Folder": "Folder.Delete", "StoragePod": "Folder.Delete",
		"Datacenter": "Datacenter.Delete", "ClusterComputeResource": "Host.Inventory.DeleteCluster",
		"ComputeResource": "Host.Inventory.RemoveHostFromCluster", "HostSystem": "Host.Inventory.RemoveHostFromCluster",
		"DistributedVirtualPortgroup": "DVPortgroup.Delete", "DistributedVirtualSwitch": "DVSwitch.Delete",
		"VmwareDistributedVirtualSwitch": "DVSwitch.Delete", "Network": "Network.Delete", "Datastore": "Datastore.Delete",
	}
	renamePrivilege = map[string]string{
		"VirtualMachine": "VirtualMachine.Config.Rename", "VirtualApp": "VApp.Rename",
		"ResourcePool": "Resource.RenamePool", "Folder": "Folder.Rename", "StoragePod": "Folder.Rename",
		"Datacenter": "Datacenter.Rename", "ClusterComputeResource": "Host.Inventory.RenameCluster",
		"DistributedVirtualPortgroup": "DVPortgroup.Modify", "DistributedVirtualSwitch": "DVSwitch.Modify",
		"VmwareDistributedVirtualSwitch": "DVSwitch.Modify", "Datastore": "Datastore.Rename",
	}
	movePrivilege = map[string]string{
		"VirtualMachine": "VirtualMachine.Inventory.Move", "VirtualApp": "VApp.Move", "Folder": "Folder.Move",
		"Datacenter": "Datacenter.Move", "ClusterComputeResource": "Host.Inventory.MoveCluster",
		"ComputeResource": "Host.Inventory.MoveHost", "HostSystem": "Host.Inventory.MoveHost",
		"DistributedVirtualPortgroup": "Network.Move", "DistributedVirtualSwitch": "DVSwitch.Move",
		"VmwareDistributedVirtualSwitch": "DVSwitch.Move", "Network": "Network.Move", "Datastore": "Datastore.Move",
	}
)

// onlyAsks are the beginnings of the names of calls that change nothing.
var onlyAsks = []string{
	"Query", "Retrieve", "Find", "Get", "List", "Fetch", "Has", "Lookup", "WaitForUpdates",
	"ReadNext", "ReadPrevious", "CreateCollectorFor", "Check", "Estimate", "DynamicTypeMgr", "HttpNfcLease",
}

// sessionsOwn are calls whose objects belong to the session that makes them,
// and those that change nothing whatever their name says. They take no
// privilege but that of the objects that they name.
var sessionsOwn = map[string]bool{
	"Login": true, "LoginByToken": true, "LoginExtensionByCertificate": true, "LoginExtensionBySubjectName": true,
	"LoginBySSPI": true, "Logout": true, "CurrentTime": true, "CloneSession": true, "AcquireCloneTicket": true,
	"AcquireGenericServiceTicket": true, "SetLocale": true,
	"CreateFilter": true, "DestroyPropertyFilter": true, "CreatePropertyCollector": true, "DestroyPropertyCollector": true,
	"CancelWaitForUpdates": true, "CancelRetrievePropertiesEx": true, "ContinueRetrievePropertiesEx": true,
	"CreateContainerView": true, "CreateListView": true, "CreateListViewFromView": true, "CreateInventoryView": true,
	"OpenInventoryViewFolder": true, "CloseInventoryViewFolder": true, "ModifyListView": true, "ResetListView": true,
	"ResetListViewFromView": true, "DestroyView": true,
	"DestroyCollector": true, "ResetCollector": true, "RewindCollector": true, "SetCollectorPageSize": true,
	"PlaceVm": true, "RecommendDatastores": true, "ParseDescriptor": true, "ValidateHost": true, "DVSManagerLookupDvPortGroup": true,
	"ConvertNamespacePathToUuidPath": true, "Reload": true, "RefreshDatastore": true, "RefreshStorageInfo": true,
	"RefreshDatastoreStorageInfo": true,
}

// free tells whether a call that is in no table takes nothing but a session.
func free(method string) bool {
	if strings.HasSuffix(method, "InGuest") || strings.Contains(method, "FromGuest") || strings.Contains(method, "ToGuest") {
		return false
	}
	for _, p := range onlyAsks {
		if strings.HasPrefix(method, p) {
			return true
		}
	}
	return sessionsOwn[method]
}

// guestPrivilege is that of a call for the guest operating system of a VM;
// "" is for every other one.
func guestPrivilege(method string) string {
	switch {
	case strings.HasPrefix(method, "List") && strings.HasSuffix(method, "InGuest"), method == "InitiateFileTransferFromGuest":
		return "VirtualMachine.GuestOperations.Query"
	case strings.HasSuffix(method, "ProgramInGuest"), strings.HasSuffix(method, "ProcessInGuest"):
		return "VirtualMachine.GuestOperations.Execute"
	case strings.HasSuffix(method, "InGuest"), method == "InitiateFileTransferToGuest":
		return "VirtualMachine.GuestOperations.Modify"
	}
	return ""
}
