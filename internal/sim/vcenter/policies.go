package vcenter

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	pbm "github.com/vmware/govmomi/pbm/simulator"

	"github.com/vmware/govmomi/pbm/methods"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Storage policies are vcsim's; which VM and disk has which one is kept here,
// in vmState.policies, where 0 stands for the VM's home.

const vmHome = int32(0)

// Kinds of objects that policies are about (PbmObjectType).
const (
	policyVM   = "virtualMachine"
	policyDisk = "virtualDiskId"
)

type (
	profileManager struct {
		*pbm.ProfileManager
		s *Server
	}
	complianceManager struct {
		types.ManagedObjectReference
		s *Server
	}
)

var complianceRef = types.ManagedObjectReference{Type: "PbmComplianceManager", Value: "complianceManager"}

// servePolicies adds the storage policy service.
func (s *Server) servePolicies() {
	reg := pbm.New()
	reg.Put(&complianceManager{complianceRef, s})
	reg.Handler = func(c *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
		if c.Session == nil {
			return nil, nil
		}
		need := need{"StorageProfile.View", s.model.ServiceContent.RootFolder}
		switch m.Name {
		case "PbmCreate", "PbmUpdate", "PbmDelete":
			need.privilege = "StorageProfile.Update"
		case "PbmRetrieveServiceContent":
			need.privilege = ""
		}
		var r *refusal
		if errors.As(s.allowed(s.newContext(), c.Session.UserName, need), &r) {
			return nil, r.fault
		}
		if p, ok := c.Map.Get(m.This).(*pbm.ProfileManager); ok && c.Session.Registry.Get(m.This) == nil {
			c.Session.Registry.Put(&profileManager{p, s})
		}
		return nil, nil
	}
	s.model.Service.RegisterSDK(reg)
}

// profileIDs are those of the policies in a spec.
func profileIDs(specs []types.BaseVirtualMachineProfileSpec) []string {
	var ids []string
	for _, b := range specs {
		if p, ok := b.(*types.VirtualMachineDefinedProfileSpec); ok {
			ids = append(ids, p.ProfileId)
		}
	}
	return ids
}

// setPolicies gives an object of a VM its policies; none given changes
// nothing, an empty policy takes them away.
func (s *Server) setPolicies(vs *vmState, key int32, specs []types.BaseVirtualMachineProfileSpec) {
	if len(specs) == 0 {
		return
	}
	vs.io.Lock()
	defer vs.io.Unlock()
	if ids := profileIDs(specs); len(ids) > 0 {
		vs.policies[key] = ids
	} else {
		delete(vs.policies, key)
	}
}

// movePolicies heeds the policies of a relocation or clone.
func (s *Server) movePolicies(vs *vmState, spec *types.VirtualMachineRelocateSpec) {
	s.setPolicies(vs, vmHome, spec.Profile)
	if len(spec.Profile) > 0 {
		vs.io.RLock()
		keys := vs.diskKeys()
		vs.io.RUnlock()
		for _, key := range keys {
			s.setPolicies(vs, key, spec.Profile)
		}
	}
	for _, l := range spec.Disk {
		s.setPolicies(vs, l.DiskId, l.Profile)
	}
}

// policiesOf are the policies of an object of the policy service.
func (s *Server) policiesOf(ref pbmtypes.PbmServerObjectRef) []pbmtypes.PbmProfileId {
	moref, disk, _ := strings.Cut(ref.Key, ":")
	vs := s.state(vmRef(moref))
	if vs == nil {
		return nil
	}
	key := vmHome
	if disk != "" {
		_, _ = fmt.Sscan(disk, &key)
	}
	vs.io.RLock()
	defer vs.io.RUnlock()
	var out []pbmtypes.PbmProfileId
	for _, id := range vs.policies[key] {
		out = append(out, pbmtypes.PbmProfileId{UniqueId: id})
	}
	return out
}

// withPolicy lists the objects that have a policy.
func (s *Server) withPolicy(id string) []pbmtypes.PbmServerObjectRef {
	var out []pbmtypes.PbmServerObjectRef
	for _, vs := range s.states() {
		vs.io.RLock()
		for _, key := range slices.Sorted(maps.Keys(vs.policies)) {
			if !slices.Contains(vs.policies[key], id) {
				continue
			}
			ref := pbmtypes.PbmServerObjectRef{ObjectType: policyVM, Key: vs.ref.Value, ServerUuid: s.cfg.InstanceUUID}
			if key != vmHome {
				ref.ObjectType, ref.Key = policyDisk, fmt.Sprintf("%s:%d", vs.ref.Value, key)
			}
			out = append(out, ref)
		}
		vs.io.RUnlock()
	}
	slices.SortFunc(out, func(a, b pbmtypes.PbmServerObjectRef) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// PbmQueryAssociatedProfile tells the policies of one object.
func (m *profileManager) PbmQueryAssociatedProfile(req *pbmtypes.PbmQueryAssociatedProfile) soap.HasFault {
	return &methods.PbmQueryAssociatedProfileBody{Res: &pbmtypes.PbmQueryAssociatedProfileResponse{Returnval: m.s.policiesOf(req.Entity)}}
}

// PbmQueryAssociatedProfiles tells the policies of several objects.
func (m *profileManager) PbmQueryAssociatedProfiles(req *pbmtypes.PbmQueryAssociatedProfiles) soap.HasFault {
	res := new(pbmtypes.PbmQueryAssociatedProfilesResponse)
	for _, ref := range req.Entities {
		res.Returnval = append(res.Returnval, pbmtypes.PbmQueryProfileResult{Object: ref, ProfileId: m.s.policiesOf(ref)})
	}
	return &methods.PbmQueryAssociatedProfilesBody{Res: res}
}

// PbmQueryAssociatedEntity lists what has a policy.
func (m *profileManager) PbmQueryAssociatedEntity(req *pbmtypes.PbmQueryAssociatedEntity) soap.HasFault {
	list := slices.DeleteFunc(m.s.withPolicy(req.Profile.UniqueId), func(r pbmtypes.PbmServerObjectRef) bool {
		return req.EntityType != "" && req.EntityType != r.ObjectType
	})
	return &methods.PbmQueryAssociatedEntityBody{Res: &pbmtypes.PbmQueryAssociatedEntityResponse{Returnval: list}}
}

// PbmQueryAssociatedEntities is PbmQueryAssociatedEntity for several.
func (m *profileManager) PbmQueryAssociatedEntities(req *pbmtypes.PbmQueryAssociatedEntities) soap.HasFault {
	res := new(pbmtypes.PbmQueryAssociatedEntitiesResponse)
	for _, p := range req.Profiles {
		for _, ref := range m.s.withPolicy(p.UniqueId) {
			res.Returnval = append(res.Returnval, pbmtypes.PbmQueryProfileResult{Object: ref, ProfileId: []pbmtypes.PbmProfileId{p}})
		}
	}
	return &methods.PbmQueryAssociatedEntitiesBody{Res: res}
}

// PbmDelete deletes policies, but none that is used.
func (m *profileManager) PbmDelete(req *pbmtypes.PbmDelete) soap.HasFault {
	var refused []pbmtypes.PbmProfileOperationOutcome
	free := *req
	free.ProfileId = nil
	for _, id := range req.ProfileId {
		if len(m.s.withPolicy(id.UniqueId)) == 0 {
			free.ProfileId = append(free.ProfileId, id)
			continue
		}
		refused = append(refused, pbmtypes.PbmProfileOperationOutcome{ProfileId: id, Fault: localized(
			refuse(&types.ResourceInUse{Type: "PbmProfile", Name: id.UniqueId}, "policy %s: is used", id.UniqueId))})
	}
	body := m.ProfileManager.PbmDelete(&free)
	if made, ok := body.(*methods.PbmDeleteBody); ok && made.Res != nil {
		made.Res.Returnval = append(made.Res.Returnval, refused...)
	}
	return body
}

func (m *complianceManager) check(refs []pbmtypes.PbmServerObjectRef) []pbmtypes.PbmComplianceResult {
	var out []pbmtypes.PbmComplianceResult
	for _, ref := range refs {
		for _, id := range m.s.policiesOf(ref) {
			out = append(out, pbmtypes.PbmComplianceResult{
				CheckTime: time.Now(), Entity: ref, Profile: &id,
				ComplianceTaskStatus: string(pbmtypes.PbmComplianceResultComplianceTaskStatusSuccess),
				ComplianceStatus:     string(pbmtypes.PbmComplianceStatusCompliant),
			})
		}
	}
	return out
}

// PbmCheckCompliance finds everything in order.
func (m *complianceManager) PbmCheckCompliance(req *pbmtypes.PbmCheckCompliance) soap.HasFault {
	return &methods.PbmCheckComplianceBody{Res: &pbmtypes.PbmCheckComplianceResponse{Returnval: m.check(req.Entities)}}
}

// PbmFetchComplianceResult is what the last check found.
func (m *complianceManager) PbmFetchComplianceResult(req *pbmtypes.PbmFetchComplianceResult) soap.HasFault {
	return &methods.PbmFetchComplianceResultBody{Res: &pbmtypes.PbmFetchComplianceResultResponse{Returnval: m.check(req.Entities)}}
}
