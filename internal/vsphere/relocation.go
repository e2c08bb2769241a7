package vsphere

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// relocating are the methods that would move a VM's disks, or the VM from
// under an open transport.
var relocating = []string{"RelocateVM_Task", "MigrateVM_Task"}

// starting are the methods that would let a guest write to a VM's disks, or
// have something else hang from them.
var starting = []string{"PowerOnVM_Task", "CreateSnapshot_Task", "CreateSnapshotEx_Task"}

// DisableRelocation keeps vCenter from moving the VM while it is read. Source
// names who asked; EnableRelocation wants the same. Asking twice does no
// harm. vCenter does not publish these methods: on ErrNotSupported or
// ErrDenied warn and go on.
func (v *VM) DisableRelocation(ctx context.Context, source string) error {
	return v.disable(ctx, "disable relocation", relocating, source, "vim.vm.backup")
}

// DisableStart keeps a VM that is off from being switched on and from getting
// snapshots while its disks are written; why is what vCenter gives as reason.
// EnableStart wants the same source. Else it is as DisableRelocation.
func (v *VM) DisableStart(ctx context.Context, source, why string) error {
	return v.disable(ctx, "disable starting and snapshots", starting, source, why)
}

func (v *VM) disable(ctx context.Context, step string, methods []string, source, why string) error {
	m := make([]object.DisabledMethodRequest, len(methods))
	for i, name := range methods {
		m[i] = object.DisabledMethodRequest{Method: name, Reason: why}
	}
	am, err := v.authorization()
	if err == nil {
		err = unpublished(am.DisableMethods(ctx, []types.ManagedObjectReference{v.ref}, m, source))
	}
	if err != nil {
		return v.fail(step, err)
	}
	return nil
}

// EnableRelocation undoes DisableRelocation by the same source. A VM that is
// gone or not disabled is no error, nor is a vCenter that knows nothing of
// it. Where it is denied, and the VM cannot be moved, that is: whoever goes on
// would leave it so.
func (v *VM) EnableRelocation(ctx context.Context, source string) error {
	return v.enable(ctx, "enable relocation", relocating, source, (*VMConfig).RelocationDisabled)
}

// EnableStart undoes DisableStart by the same source, as EnableRelocation does
// its own.
func (v *VM) EnableStart(ctx context.Context, source string) error {
	return v.enable(ctx, "enable starting and snapshots", starting, source, (*VMConfig).StartDisabled)
}

func (v *VM) enable(ctx context.Context, step string, methods []string, source string, disabled func(*VMConfig) bool) error {
	am, err := v.authorization()
	if err == nil {
		err = unpublished(am.EnableMethods(ctx, []types.ManagedObjectReference{v.ref}, methods, source))
	}
	if err == nil {
		return nil
	}
	err = v.fail(step, err)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrNotSupported):
		return nil
	case errors.Is(err, ErrDenied):
		config, again := v.Config(ctx)
		if errors.Is(again, ErrNotFound) || again == nil && !disabled(config) {
			return nil
		}
	}
	return err
}

// RelocationDisabled tells whether the VM cannot be moved, whoever saw to that.
func (c *VMConfig) RelocationDisabled() bool {
	return slices.ContainsFunc(c.DisabledMethods, func(m string) bool { return strings.HasPrefix(m, "Relocate") })
}

// StartDisabled tells whether the VM is off and cannot be switched on, whoever
// saw to that. (Of a VM that runs, vCenter calls that disabled as well.)
func (c *VMConfig) StartDisabled() bool {
	return c.PowerState == string(types.VirtualMachinePowerStatePoweredOff) && slices.Contains(c.DisabledMethods, starting[0])
}

func (v *VM) authorization() (*object.AuthorizationManager, error) {
	if v.c.vim.ServiceContent.AuthorizationManager == nil {
		return nil, ErrNotSupported
	}
	return object.NewAuthorizationManager(v.c.vim), nil
}

// unpublished tells a vCenter that has never heard of the call, or does not let
// such a method be disabled, from one that finds fault with it.
func unpublished(err error) error {
	if isFault[types.BaseInvalidRequest](err) || isFault[*types.InvalidArgument](err) {
		return &faultError{kind: ErrNotSupported, cause: err}
	}
	return err
}
