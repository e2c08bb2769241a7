package vcenter

import (
	"cmp"
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A need is a privilege that a call takes, and on what.
type need struct {
	privilege string
	on        types.ManagedObjectReference
}

// administrator stands for all privileges that there are: what a call takes
// that no table lists. The reference says for most of vCenter's calls what
// they need; none that changes something needs nothing.
const administrator = "*"

// needs lists what a call takes.
func (s *Server) needs(ctx *simulator.Context, m *simulator.Method) []need {
	root := s.model.ServiceContent.RootFolder
	if p, ok := rootPrivilege[m.Name]; ok {
		return []need{{p, root}}
	}
	self := s.entityOf(ctx, m.This)
	if p := guestPrivilege(m.Name); p != "" {
		return []need{{p, guestVM(m.Body, root)}}
	}
	all, known := s.callNeeds(ctx, m, self)
	if p, ok := ownPrivilege[m.Name]; ok {
		return append(all, need{p, self})
	}
	if known || free(m.Name) {
		return all
	}
	return []need{{administrator, self}}
}

// guestVM is the VM that a call for a guest names.
func guestVM(body any, otherwise types.ManagedObjectReference) types.ManagedObjectReference {
	v := reflect.Indirect(reflect.ValueOf(body))
	if v.Kind() == reflect.Struct && v.FieldByName("Vm").IsValid() {
		if ref, ok := v.FieldByName("Vm").Interface().(types.ManagedObjectReference); ok {
			return ref
		}
	}
	return otherwise
}

// callNeeds are the needs that depend on what the call asks for, and whether
// this is such a call.
func (s *Server) callNeeds(ctx *simulator.Context, m *simulator.Method, self types.ManagedObjectReference) ([]need, bool) {
	if all, known := s.vmNeeds(ctx, m, self); known {
		return all, true
	}
	if all, known := s.treeNeeds(ctx, m, self); known {
		return all, true
	}
	return s.fileNeeds(m, self)
}

// vmNeeds are those of calls that make and change VMs.
func (s *Server) vmNeeds(ctx *simulator.Context, m *simulator.Method, self types.ManagedObjectReference) ([]need, bool) {
	switch req := m.Body.(type) {
	case *types.CreateVM_Task:
		return append(s.newVMNeeds(self, "VirtualMachine.Inventory.Create", &req.Pool), s.specNeeds(self, &req.Config, true)...), true
	case *types.CreateChildVM_Task:
		return append(s.newVMNeeds(self, "VirtualMachine.Inventory.Create", nil), s.specNeeds(self, &req.Config, true)...), true
	case *types.RegisterVM_Task:
		return s.newVMNeeds(self, "VirtualMachine.Inventory.Register", req.Pool), true
	case *types.ImportVApp:
		all := []need{{"VApp.Import", self}}
		if req.Folder != nil {
			all = append(all, need{"VApp.Import", *req.Folder})
		}
		if spec, ok := req.Spec.(*types.VirtualMachineImportSpec); ok {
			all = append(all, s.spaceNeeds(&spec.ConfigSpec)...)
		}
		return all, true
	case *types.CreateImportSpec:
		return []need{{"VApp.Import", req.ResourcePool}, {"Datastore.AllocateSpace", req.Datastore}}, true
	case *types.CreateDescriptor:
		return []need{{"VApp.Export", req.Obj}}, true
	case *types.CloneVM_Task:
		return s.cloneNeeds(self, req), true
	case *types.RelocateVM_Task:
		return s.relocateNeeds(ctx, self, &req.Spec), true
	case *types.MigrateVM_Task:
		return s.relocateNeeds(ctx, self, &types.VirtualMachineRelocateSpec{Pool: req.Pool, Host: req.Host}), true
	case *types.ReconfigVM_Task:
		return s.specNeeds(self, &req.Spec, false), true
	case *types.MarkAsVirtualMachine:
		return []need{{"Resource.AssignVMToPool", req.Pool}}, true
	case *types.PowerOnMultiVM_Task:
		return onEach("VirtualMachine.Interact.PowerOn", req.Vm), true
	}
	return nil, false
}

// treeNeeds are those of calls that change the tree of the inventory, and who
// may do what in it.
func (s *Server) treeNeeds(ctx *simulator.Context, m *simulator.Method, self types.ManagedObjectReference) ([]need, bool) {
	switch req := m.Body.(type) {
	case *types.Destroy_Task:
		return s.destroyNeeds(ctx, self), true
	case *types.UnregisterAndDestroy_Task:
		return s.destroyNeeds(ctx, self), true
	case *types.Rename_Task:
		return []need{{cmp.Or(renamePrivilege[self.Type], administrator), self}}, true
	case *types.MoveIntoResourcePool:
		all := []need{{"Resource.AssignVMToPool", self}}
		for _, ref := range req.List {
			if ref.Type == "ResourcePool" {
				all = append(all, need{"Resource.MovePool", ref}, need{"Resource.MovePool", self})
			}
		}
		return all, true
	case *types.MoveIntoFolder_Task:
		var all []need
		for _, ref := range req.List {
			p := cmp.Or(movePrivilege[ref.Type], administrator)
			all = append(all, need{p, self}, need{p, ref})
		}
		return all, true
	case *types.AddHost_Task:
		all := []need{{"Host.Inventory.AddHostToCluster", self}}
		if req.ResourcePool != nil {
			all = append(all, need{"Resource.AssignVMToPool", *req.ResourcePool})
		}
		return all, true
	case *types.MoveInto_Task:
		return append(onEach("Host.Inventory.MoveHost", req.Host), need{"Host.Inventory.EditCluster", self}), true
	case *types.ReconfigureDvs_Task:
		all := []need{{"DVSwitch.Modify", self}}
		if req.Spec != nil {
			for _, h := range req.Spec.GetDVSConfigSpec().Host {
				all = append(all, need{"DVSwitch.HostOp", self}, need{"Host.Config.Network", h.Host})
			}
		}
		return all, true
	case *types.RemoveEntityPermission:
		return []need{{"Authorization.ModifyPermissions", req.Entity}}, true
	case *types.SetEntityPermissions:
		return []need{{"Authorization.ModifyPermissions", req.Entity}}, true
	case *types.ResetEntityPermissions:
		return []need{{"Authorization.ModifyPermissions", req.Entity}}, true
	case *types.SetField:
		return []need{{"Global.SetCustomField", req.Entity}}, true
	case *types.SetCustomValue:
		return []need{{"Global.SetCustomField", self}}, true
	case *types.CancelTask:
		return s.cancelNeeds(ctx, m.This), true
	}
	return nil, false
}

func onEach(privilege string, list []types.ManagedObjectReference) []need {
	all := []need{}
	for _, ref := range list {
		all = append(all, need{privilege, ref})
	}
	return all
}

// cancelNeeds are none for one's own task.
func (s *Server) cancelNeeds(ctx *simulator.Context, ref types.ManagedObjectReference) []need {
	t, ok := ctx.Map.Get(ref).(*simulator.Task)
	if !ok {
		return nil
	}
	own := false
	ctx.WithLock(t, func() {
		by, is := t.Info.Reason.(*types.TaskReasonUser)
		own = is && by.UserName == ctx.Session.UserName
	})
	if own {
		return nil
	}
	return []need{{"Global.CancelTask", s.model.ServiceContent.RootFolder}}
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

// destroyNeeds are on the object and on its parent, both: "The appropriate
// privilege must be held on the parent of the destroyed entity as well as the
// entity itself" (ManagedEntity, Destroy_Task).
func (s *Server) destroyNeeds(ctx *simulator.Context, self types.ManagedObjectReference) []need {
	privilege := cmp.Or(destroyPrivilege[self.Type], administrator)
	all := []need{{privilege, self}}
	if parent := s.parent(ctx, self); parent != nil {
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
// in, and whether this is such a call.
func (s *Server) fileNeeds(m *simulator.Method, self types.ManagedObjectReference) ([]need, bool) {
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
	case *types.SetVirtualDiskUuid:
		files = []string{req.Name}
	case *types.SearchDatastore_Task:
		files, privilege = []string{req.DatastorePath}, "Datastore.Browse"
	case *types.SearchDatastoreSubFolders_Task:
		files, privilege = []string{req.DatastorePath}, "Datastore.Browse"
	default:
		return nil, false
	}
	var all []need
	for _, f := range files {
		if p, err := parseDS(f); err == nil && s.inv.datastores[p.datastore] != nil {
			all = append(all, need{privilege, s.inv.datastores[p.datastore].Self})
		}
	}
	return all, true
}
