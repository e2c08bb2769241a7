package vcenter

import (
	"fmt"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// nameOfVM is the name of the VM with a moref, empty where it is none.
func (s *Server) nameOfVM(moref string) (name string) {
	vm, is := s.model.Map().Get(types.ManagedObjectReference{Type: "VirtualMachine", Value: moref}).(*simulator.VirtualMachine)
	if is {
		s.newContext().WithLock(vm, func() { name = vm.Name })
	}
	return name
}

// CheckFault tells whether vSphere's API has a fault of that type; an empty
// name is SystemError.
func CheckFault(name string) error {
	_, err := faultNamed(name)
	return err
}

// CheckMethod tells whether vSphere's API has a method of that name. A pattern
// with * is not looked at.
func CheckMethod(name string) error {
	if name == "" || strings.Contains(name, "*") || isMethod(name) {
		return nil
	}
	if isMethod(name + "_Task") {
		return fmt.Errorf("vSphere has no method %s, but %s_Task", name, name)
	}
	return fmt.Errorf("vSphere has no method %s", name)
}

// isMethod goes by the types of the API: each method has one of its name, and
// one of what it is called with.
func isMethod(name string) bool {
	known := types.TypeFunc()
	_, method := known(name)
	_, request := known(strings.TrimSuffix(name, "_Task") + "RequestType")
	return method && request
}
