package vcenter

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// register brings back the VM that a .vmx describes.
func (s *Server) register(ctx *simulator.Context, req *types.RegisterVM_Task) (types.ManagedObjectReference, error) {
	folder, ok := s.model.Map().Get(req.This).(*simulator.Folder)
	if !ok {
		return req.This, gone(req.This)
	}
	home, err := parseDS(req.Path)
	if err != nil {
		return req.This, err
	}
	if !strings.HasSuffix(home.path, ".vmx") || req.AsTemplate {
		return req.This, refuse(&types.InvalidArgument{InvalidProperty: "path"}, "%s: not the configuration file of a VM", home)
	}
	if req.Pool == nil {
		return req.This, refuse(&types.InvalidArgument{InvalidProperty: "pool"}, "no resource pool given")
	}
	local, err := s.store.local(home)
	if err != nil {
		return req.This, err
	}
	text, err := os.ReadFile(local)
	if err != nil {
		return req.This, ioFault(home, err)
	}
	spec, err := s.specVMX(parseVMX(text), home.dir())
	if err != nil {
		return req.This, refuse(&types.InvalidVmConfig{Property: home.String()}, "%s: %v", home, err)
	}
	if spec.Name == "" || req.Name != "" {
		spec.Name = req.Name
	}
	if spec.Name == "" {
		spec.Name = strings.TrimSuffix(home.base(), ".vmx")
	}
	spec.Name = strings.NewReplacer("%2f", "/", "%5c", "\\", "%25", "%").Replace(spec.Name)
	spec.Files = &types.VirtualMachineFileInfo{VmPathName: home.String()}
	if err := s.checkNewVM(ctx, folder, spec); err != nil {
		return req.This, err
	}
	if err := s.notRegistered(ctx, home); err != nil {
		return req.This, err
	}
	ref, err := s.makeVM(ctx, folder, &types.CreateVM_Task{This: req.This, Config: *spec, Pool: *req.Pool, Host: req.Host}, s.vcsimRegister, true)
	return ref, err
}

// notRegistered refuses a file that is a VM's already.
func (s *Server) notRegistered(ctx *simulator.Context, home dsPath) error {
	s.mu.Lock()
	refs := make([]types.ManagedObjectReference, 0, len(s.vms))
	for ref := range s.vms {
		refs = append(refs, ref)
	}
	s.mu.Unlock()
	for _, ref := range refs {
		vm, err := s.vm(ref)
		if err != nil {
			continue
		}
		var path string
		ctx.WithLock(vm, func() { path = vm.Config.Files.VmPathName })
		if path == home.String() {
			return refuse(&types.AlreadyExists{Name: ref.Value}, "%s: already registered as %s", home, ref.Value)
		}
	}
	return nil
}

// vcsimRegister makes vcsim's object of a VM whose files exist: vcsim would
// refuse to create it and does not read what it registers.
func (s *Server) vcsimRegister(ctx *simulator.Context, folder *simulator.Folder, req *types.CreateVM_Task) (types.ManagedObjectReference, error) {
	home, err := parseDS(req.Config.Files.VmPathName)
	if err != nil {
		return req.This, err
	}
	for _, name := range []string{req.Config.Name + ".nvram", "vmware.log"} {
		p := home.dir().join(name)
		local, err := s.store.local(p)
		if err != nil {
			return req.This, err
		}
		f, err := os.OpenFile(local, os.O_CREATE|os.O_EXCL, 0o600) // vcsim insists on them
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return req.This, ioFault(p, err)
		}
		_ = f.Close()
		defer func() { _ = removeFile(local) }()
	}
	body, err := locking[*methods.RegisterVM_TaskBody](ctx, folder, func() soap.HasFault {
		return folder.RegisterVMTask(ctx, &types.RegisterVM_Task{
			This: req.This, Path: home.String(), Name: req.Config.Name, Pool: &req.Pool, Host: req.Host,
		})
	})
	if err != nil {
		return req.This, err
	}
	res, err := await(ctx, body.Res.Returnval)
	if err != nil {
		return req.This, err
	}
	ref, ok := res.(types.ManagedObjectReference)
	if !ok {
		return req.This, gone(req.This)
	}
	vm, err := s.vm(ref)
	if err != nil {
		return ref, err
	}
	return ref, vcsimReconfigure(ctx, vm, req.Config)
}

// RegisterVMTask adds a VM whose files are there.
func (f *vmFolder) RegisterVMTask(ctx *simulator.Context, req *types.RegisterVM_Task) soap.HasFault {
	task := f.s.startTask(ctx, f.Self, "RegisterVM_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		ref, err := f.s.register(ctx, req)
		if err != nil {
			return nil, err
		}
		return ref, nil
	})
	return &methods.RegisterVM_TaskBody{Res: &types.RegisterVM_TaskResponse{Returnval: task}}
}
