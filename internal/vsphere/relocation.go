package vsphere

import (
	"context"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// relocating are the methods that would move a VM's disks, or the VM from
// under an open transport.
var relocating = []string{"RelocateVM_Task", "MigrateVM_Task"}

// DisableRelocation keeps vCenter from moving the VM while it is read. Source
// names who asked; EnableRelocation wants the same. Asking twice does no
// harm. vCenter does not publish these methods: on ErrNotSupported or
// ErrDenied warn and go on.
func (v *VM) DisableRelocation(ctx context.Context, source string) error {
	m := make([]object.DisabledMethodRequest, len(relocating))
	for i, name := range relocating {
		m[i] = object.DisabledMethodRequest{Method: name, Reason: "vim.vm.backup"}
	}
	am, err := v.authorization()
	if err == nil {
		err = unpublished(am.DisableMethods(ctx, []types.ManagedObjectReference{v.ref}, m, source))
	}
	if err != nil {
		return v.fail("disable relocation", err)
	}
	return nil
}

// EnableRelocation undoes DisableRelocation by the same source. A VM that is
// gone or not disabled is no error.
func (v *VM) EnableRelocation(ctx context.Context, source string) error {
	am, err := v.authorization()
	if err == nil {
		err = unpublished(am.EnableMethods(ctx, []types.ManagedObjectReference{v.ref}, relocating, source))
	}
	if err != nil && !isFault[*types.ManagedObjectNotFound](err) && !isFault[*types.NotFound](err) {
		return v.fail("enable relocation", err)
	}
	return nil
}

func (v *VM) authorization() (*object.AuthorizationManager, error) {
	if v.c.vim.ServiceContent.AuthorizationManager == nil {
		return nil, ErrNotSupported
	}
	return object.NewAuthorizationManager(v.c.vim), nil
}

// unpublished tells a vCenter that has never heard of a method from one that
// finds fault with the call.
func unpublished(err error) error {
	if isFault[types.BaseInvalidRequest](err) {
		return &faultError{kind: ErrNotSupported, cause: err}
	}
	return err
}
