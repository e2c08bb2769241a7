package vcenter

import (
	"errors"
	"os"
	"path"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// unregister takes a VM out of the inventory and returns what it had; vs.op
// is held by the caller, or the VM is not yet known to anybody.
func (s *Server) unregister(ctx *simulator.Context, ref types.ManagedObjectReference) (home dsPath, err error) {
	vm, err := s.vm(ref)
	if err != nil {
		return home, err
	}
	s.space.Lock()
	ctx.WithLock(vm, func() {
		home, _ = parseDS(vm.Config.Files.VmPathName)
		body := vm.UnregisterVM(ctx, &types.UnregisterVM{This: ref})
		if f := body.Fault(); f != nil {
			err = refuse(f.VimFault().(types.BaseMethodFault), "%s: %T", ref.Value, f.VimFault())
		}
	})
	s.space.Unlock()
	if err != nil {
		return home, err
	}
	s.mu.Lock()
	vs := s.vms[ref]
	delete(s.vms, ref)
	s.mu.Unlock()
	s.dropWrappers(ctx, ref)
	if vs == nil {
		return home, nil
	}
	if name := s.swapOff(vs); name != "" {
		s.showSpace(ctx, name)
	}
	vs.io.Lock()
	defer vs.io.Unlock()
	vs.gone = true
	for _, d := range vs.disks {
		s.store.use(d.top, -1)
	}
	for _, n := range vs.snaps {
		for _, d := range n.disks {
			s.store.use(d.layer, -1)
		}
		ctx.Map.Remove(ctx, n.ref)
		s.dropWrappers(ctx, n.ref)
	}
	return home, nil
}

// destroy removes a VM and its own files: what is attached, not what once
// was.
func (s *Server) destroy(ctx *simulator.Context, ref types.ManagedObjectReference) error {
	vs := s.state(ref)
	home, err := s.unregister(ctx, ref)
	if err != nil {
		return err
	}
	var errs []error
	files := []dsPath{home, home.dir().join("vmware.log")}
	stem := strings.TrimSuffix(home.base(), path.Ext(home.base()))
	for _, ext := range []string{".nvram", ".vmsd", ".vmxf"} {
		files = append(files, home.dir().join(stem+ext))
	}
	dirs := []dsPath{home.dir()}
	if vs != nil {
		for _, n := range vs.snaps {
			files = append(files, n.memory)
			for _, d := range n.disks {
				dirs = append(dirs, d.layer.file.dir())
				errs = append(errs, s.removeChain(d.layer))
			}
		}
		for _, d := range vs.disks {
			dirs = append(dirs, d.top.file.dir())
			errs = append(errs, s.removeChain(d.top))
		}
		for _, n := range vs.snaps { // now that nothing lies on top of them
			for _, d := range n.disks {
				errs = append(errs, s.removeChain(d.layer))
			}
		}
	}
	for _, f := range files {
		if local, err := s.store.local(f); err == nil && f.path != "" {
			errs = append(errs, ioFault(f, removeFile(local)))
		}
	}
	for _, d := range dirs {
		if local, err := s.store.local(d); err == nil && d.path != "" {
			_ = os.Remove(local) // only if it is empty
		}
	}
	return errors.Join(errs...)
}

// DestroyTask deletes the VM.
func (v *virtualMachine) DestroyTask(ctx *simulator.Context, _ *types.Destroy_Task) soap.HasFault {
	ref := v.Self
	task := v.s.startTask(ctx, ref, "Destroy_Task", func(ctx *simulator.Context) (types.AnyType, error) {
		vs, end, err := v.s.begin(ref, true)
		if err != nil {
			return nil, err
		}
		defer end()
		if err := v.s.inUse(vs); err != nil {
			return nil, err
		}
		return nil, v.s.destroy(ctx, ref)
	})
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: task}}
}

// UnregisterVM takes the VM out of the inventory and leaves its files.
func (v *virtualMachine) UnregisterVM(ctx *simulator.Context, _ *types.UnregisterVM) soap.HasFault {
	vs, err := v.s.mustState(v.Self)
	if err == nil {
		err = v.s.unregisterNow(ctx, vs)
	}
	if err != nil {
		return &methods.UnregisterVMBody{Fault_: soapFault(err)}
	}
	return &methods.UnregisterVMBody{Res: &types.UnregisterVMResponse{}}
}

// unregisterNow runs inside a call, which holds vcsim's lock of the VM, so
// that it must not wait for operations in progress.
func (s *Server) unregisterNow(ctx *simulator.Context, vs *vmState) error {
	if !vs.op.TryLock() {
		return refuse(&types.TaskInProgress{Task: vs.ref}, "%s: another task is already in progress", vs.ref.Value)
	}
	defer vs.op.Unlock()
	vs.io.RLock()
	held := len(vs.held) > 0
	vs.io.RUnlock()
	if held {
		return refuse(&types.InvalidState{}, "%s: an NFC lease is held", vs.ref.Value)
	}
	_, err := s.unregister(ctx, vs.ref)
	return err
}
