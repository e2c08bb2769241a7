package vcenter

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A need is a privilege that a call takes, and on what.
type need struct {
	privilege string
	on        types.ManagedObjectReference
}

// ownPrivilege says what the calls of a VM, a snapshot, a folder, … need on
// the object itself, by the method: the "Required Privileges" of vSphere's
// Web Services reference. Calls that name other objects are in callNeeds.
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
	"UpgradeVM_Task":               "VirtualMachine.Config.UpgradeVirtualHardware",
	"PromoteDisks_Task":            "VirtualMachine.Provisioning.PromoteDisks",
	"CreateFolder":                 "Folder.Create",
	"CreateResourcePool":           "Resource.CreatePool",
	"UpdateConfig":                 "Resource.EditPool",
	"SetEntityPermissions":         "Authorization.ModifyPermissions",
	"QueryHostConnectionInfo":      "System.Read",
}

// rootPrivilege says what calls of vCenter's managers need on the root
// folder.
var rootPrivilege = map[string]string{
	"AddAuthorizationRole":    "Authorization.ModifyRoles",
	"UpdateAuthorizationRole": "Authorization.ModifyRoles",
	"RemoveAuthorizationRole": "Authorization.ModifyRoles",
	"TerminateSession":        "Sessions.TerminateSession",
	"ImpersonateUser":         "Sessions.ImpersonateUser",
	"AddCustomFieldDef":       "Global.ManageCustomFields",
	"RemoveCustomFieldDef":    "Global.ManageCustomFields",
	"RenameCustomFieldDef":    "Global.ManageCustomFields",
	"UpdateOptions":           "Global.Settings",
}

// needs lists what a call takes.
func (s *Server) needs(ctx *simulator.Context, m *simulator.Method) []need {
	if p, ok := rootPrivilege[m.Name]; ok {
		return []need{{p, s.model.ServiceContent.RootFolder}}
	}
	self := s.entityOf(ctx, m.This)
	var all []need
	if p, ok := ownPrivilege[m.Name]; ok {
		all = append(all, need{p, self})
	}
	return append(all, s.callNeeds(ctx, m, self)...)
}

// callNeeds are the needs that depend on what the call asks for.
func (s *Server) callNeeds(ctx *simulator.Context, m *simulator.Method, self types.ManagedObjectReference) []need {
	switch req := m.Body.(type) {
	case *types.CreateVM_Task:
		return append(s.newVMNeeds(self, "VirtualMachine.Inventory.Create", &req.Pool), s.specNeeds(self, &req.Config, true)...)
	case *types.RegisterVM_Task:
		return s.newVMNeeds(self, "VirtualMachine.Inventory.Register", req.Pool)
	case *types.ImportVApp:
		all := []need{{"VApp.Import", self}}
		if req.Folder != nil {
			all = append(all, need{"VApp.Import", *req.Folder})
		}
		if spec, ok := req.Spec.(*types.VirtualMachineImportSpec); ok {
			all = append(all, s.spaceNeeds(&spec.ConfigSpec)...)
		}
		return all
	case *types.CloneVM_Task:
		return s.cloneNeeds(self, req)
	case *types.RelocateVM_Task:
		return s.relocateNeeds(ctx, self, &req.Spec)
	case *types.MigrateVM_Task:
		return s.relocateNeeds(ctx, self, &types.VirtualMachineRelocateSpec{Pool: req.Pool, Host: req.Host})
	case *types.ReconfigVM_Task:
		return s.specNeeds(self, &req.Spec, false)
	case *types.Destroy_Task:
		return s.destroyNeeds(ctx, self)
	case *types.Rename_Task:
		return []need{{map[string]string{
			"VirtualMachine": "VirtualMachine.Config.Rename", "Folder": "Folder.Rename", "Datacenter": "Datacenter.Rename",
			"ResourcePool": "Resource.RenamePool", "Datastore": "Datastore.Rename",
		}[self.Type], self}}
	case *types.MoveIntoResourcePool:
		return []need{{"Resource.AssignVMToPool", self}}
	case *types.MoveIntoFolder_Task:
		all := []need{{"VirtualMachine.Inventory.Move", self}}
		for _, ref := range req.List {
			all = append(all, need{"VirtualMachine.Inventory.Move", ref})
		}
		return all
	case *types.RemoveEntityPermission:
		return []need{{"Authorization.ModifyPermissions", req.Entity}}
	case *types.SetEntityPermissions:
		return []need{{"Authorization.ModifyPermissions", req.Entity}}
	case *types.SetField:
		return []need{{"Global.SetCustomField", req.Entity}}
	}
	return s.fileNeeds(m, self)
}

func (s *Server) newVMNeeds(folder types.ManagedObjectReference, privilege string, pool *types.ManagedObjectReference) []need {
	all := []need{{privilege, folder}}
	if pool != nil {
		all = append(all, need{"Resource.AssignVMToPool", *pool})
	}
	return all
}

func (s *Server) cloneNeeds(vm types.ManagedObjectReference, req *types.CloneVM_Task) []need {
	all := []need{{"VirtualMachine.Provisioning.Clone", vm}, {"VirtualMachine.Inventory.CreateFromExisting", req.Folder}}
	if req.Spec.Template {
		all[0].privilege = "VirtualMachine.Provisioning.CreateTemplateFromVM"
	}
	if p := req.Spec.Location.Pool; p != nil {
		all = append(all, need{"Resource.AssignVMToPool", *p})
	}
	if d := req.Spec.Location.Datastore; d != nil {
		all = append(all, need{"Datastore.AllocateSpace", *d})
	}
	return all
}

func (s *Server) relocateNeeds(ctx *simulator.Context, vm types.ManagedObjectReference, spec *types.VirtualMachineRelocateSpec) []need {
	privilege := "Resource.ColdMigrate"
	if vs := s.state(vm); vs != nil {
		vs.io.RLock()
		if vs.on {
			privilege = "Resource.HotMigrate"
		}
		vs.io.RUnlock()
	}
	all := []need{{privilege, vm}}
	if spec.Pool != nil {
		all = append(all, need{"Resource.AssignVMToPool", *spec.Pool})
	}
	if spec.Datastore != nil {
		all = append(all, need{"Datastore.AllocateSpace", *spec.Datastore})
	}
	for _, d := range spec.Disk {
		all = append(all, need{"Datastore.AllocateSpace", d.Datastore})
	}
	return all
}

func (s *Server) destroyNeeds(ctx *simulator.Context, self types.ManagedObjectReference) []need {
	privilege := map[string]string{
		"VirtualMachine": "VirtualMachine.Inventory.Delete", "Folder": "Folder.Delete",
		"ResourcePool": "Resource.DeletePool", "Datacenter": "Datacenter.Delete",
	}[self.Type]
	if privilege == "" {
		return nil
	}
	all := []need{{privilege, self}}
	if parent := s.parent(ctx, self); parent != nil && self.Type == "VirtualMachine" {
		all = append(all, need{privilege, *parent})
	}
	return all
}

// specNeeds are those of a VirtualMachineConfigSpec: on the VM, or for a new
// one on its folder.
func (s *Server) specNeeds(on types.ManagedObjectReference, spec *types.VirtualMachineConfigSpec, fresh bool) []need {
	set := map[string]bool{}
	for _, b := range spec.DeviceChange {
		set[devicePrivilege(b.GetVirtualDeviceConfigSpec())] = true
	}
	if !fresh {
		for privilege, changes := range map[string]bool{
			"VirtualMachine.Config.Rename":         spec.Name != "",
			"VirtualMachine.Config.Annotation":     spec.Annotation != "",
			"VirtualMachine.Config.CPUCount":       spec.NumCPUs != 0 || spec.NumCoresPerSocket != nil,
			"VirtualMachine.Config.Memory":         spec.MemoryMB != 0,
			"VirtualMachine.Config.ChangeTracking": spec.ChangeTrackingEnabled != nil,
			"VirtualMachine.Config.AdvancedConfig": len(spec.ExtraConfig) > 0,
			"VirtualMachine.Config.Resource":       spec.CpuAllocation != nil || spec.MemoryAllocation != nil,
			"VirtualMachine.Config.Settings": spec.GuestId != "" || spec.Firmware != "" || spec.BootOptions != nil ||
				spec.Flags != nil || spec.CpuHotAddEnabled != nil || spec.MemoryHotAddEnabled != nil,
			"VirtualMachine.Config.ManagedBy": spec.ManagedBy != nil,
		} {
			set[privilege] = set[privilege] || changes
		}
	}
	all := s.spaceNeeds(spec)
	for privilege, wanted := range set {
		if wanted && privilege != "" {
			all = append(all, need{privilege, on})
		}
	}
	return all
}

func devicePrivilege(spec *types.VirtualDeviceConfigSpec) string {
	disk, ok := spec.Device.(*types.VirtualDisk)
	if !ok {
		if spec.Operation == types.VirtualDeviceConfigSpecOperationEdit {
			return "VirtualMachine.Config.EditDevice"
		}
		return "VirtualMachine.Config.AddRemoveDevice"
	}
	switch spec.Operation {
	case types.VirtualDeviceConfigSpecOperationAdd:
		if _, raw := disk.Backing.(*types.VirtualDiskRawDiskMappingVer1BackingInfo); raw {
			return "VirtualMachine.Config.RawDevice"
		}
		if spec.FileOperation == "" {
			return "VirtualMachine.Config.AddExistingDisk"
		}
		return "VirtualMachine.Config.AddNewDisk"
	case types.VirtualDeviceConfigSpecOperationRemove:
		return "VirtualMachine.Config.RemoveDisk"
	}
	if disk.CapacityInBytes != 0 || disk.CapacityInKB != 0 {
		return "VirtualMachine.Config.DiskExtend"
	}
	return "VirtualMachine.Config.EditDevice"
}

// spaceNeeds are Datastore.AllocateSpace where files are made.
func (s *Server) spaceNeeds(spec *types.VirtualMachineConfigSpec) []need {
	set := map[string]bool{}
	for _, b := range spec.DeviceChange {
		c := b.GetVirtualDeviceConfigSpec()
		if disk, ok := c.Device.(*types.VirtualDisk); ok && c.FileOperation == types.VirtualDeviceConfigSpecFileOperationCreate {
			if b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				if p, err := parseDS(b.FileName); err == nil {
					set[p.datastore] = true
				}
			}
		}
	}
	if spec.Files != nil {
		if p, err := parseDS(spec.Files.VmPathName); err == nil {
			set[p.datastore] = true
		}
	}
	var all []need
	for name := range set {
		if ds := s.inv.datastores[name]; ds != nil {
			all = append(all, need{"Datastore.AllocateSpace", ds.Self})
		}
	}
	return all
}

// fileNeeds are those of calls about files, on the datastores that they lie
// in.
func (s *Server) fileNeeds(m *simulator.Method, self types.ManagedObjectReference) []need {
	var files []string
	privilege := "Datastore.FileManagement"
	switch req := m.Body.(type) {
	case *types.MakeDirectory:
		files = []string{req.Name}
	case *types.DeleteDatastoreFile_Task:
		files = []string{req.Name}
	case *types.MoveDatastoreFile_Task:
		files = []string{req.SourceName, req.DestinationName}
	case *types.CopyDatastoreFile_Task:
		files = []string{req.SourceName, req.DestinationName}
	case *types.CreateVirtualDisk_Task:
		files = []string{req.Name}
	case *types.DeleteVirtualDisk_Task:
		files = []string{req.Name}
	case *types.MoveVirtualDisk_Task:
		files = []string{req.SourceName, req.DestName}
	case *types.CopyVirtualDisk_Task:
		files = []string{req.SourceName, req.DestName}
	case *types.ExtendVirtualDisk_Task:
		files = []string{req.Name}
	case *types.QueryVirtualDiskUuid:
		files = []string{req.Name}
	case *types.SearchDatastore_Task:
		files, privilege = []string{req.DatastorePath}, "Datastore.Browse"
	case *types.SearchDatastoreSubFolders_Task:
		files, privilege = []string{req.DatastorePath}, "Datastore.Browse"
	}
	var all []need
	for _, f := range files {
		if p, err := parseDS(f); err == nil && s.inv.datastores[p.datastore] != nil {
			all = append(all, need{privilege, s.inv.datastores[p.datastore].Self})
		}
	}
	return all
}
