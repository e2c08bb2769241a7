package vcenter

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"
	"unsafe"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// modelVM has vcsim make a VM, takes a copy, and removes it again, so that
// what is added directly looks like what is made by a task.
func (s *Server) modelVM() (*simulator.VirtualMachine, error) {
	if s.pattern != nil {
		return s.pattern, nil
	}
	ctx := s.newContext()
	name := "model-" + uuid.NewString()
	ref, err := s.createVM(ctx, &types.CreateVM_Task{
		This: s.inv.dc.VmFolder, Pool: s.inv.pools[""], Host: &s.inv.hosts[0],
		Config: types.VirtualMachineConfigSpec{
			Name: name, GuestId: string(types.VirtualMachineGuestOsIdentifierOtherLinux64Guest), NumCPUs: 1,
			Files: &types.VirtualMachineFileInfo{VmPathName: dsPath{s.cfg.Datastores[0].Name, name}.join(name + ".vmx").String()},
		},
	})
	if err != nil {
		return nil, err
	}
	vm, err := s.vm(ref)
	if err != nil {
		return nil, err
	}
	var pattern simulator.VirtualMachine
	ctx.WithLock(vm, func() { pattern = *vm; pattern.VirtualMachine = copied(vm.VirtualMachine) })
	if err := s.destroy(ctx, ref); err != nil {
		return nil, err
	}
	s.pattern = &pattern
	return s.pattern, nil
}

// inner sets what vcsim keeps of a VM beside vSphere's properties.
func (s *Server) inner(vm *simulator.VirtualMachine, home dsPath) {
	s.logIn(vm, home)
	setUnexported(vm, "uid", uuid.MustParse(uuidOf("bios", home.String())))
}

// logIn has vcsim write a VM's log beside its .vmx.
func (s *Server) logIn(vm *simulator.VirtualMachine, home dsPath) {
	setUnexported(vm, "log", filepath.Join(s.store.host(home.dir()), "vmware.log"))
}

// summarize brings the summary in line with the rest.
func summarize(vm *simulator.VirtualMachine) {
	c, sum := vm.Config, &vm.Summary
	sum.Vm = &vm.Self
	sum.Runtime.Host = vm.Runtime.Host
	sum.Guest.GuestId = c.GuestId
	sum.Config.Name, sum.Config.VmPathName, sum.Config.GuestId, sum.Config.GuestFullName = c.Name, c.Files.VmPathName, c.GuestId, c.GuestFullName
	sum.Config.Uuid, sum.Config.InstanceUuid, sum.Config.HwVersion, sum.Config.ManagedBy = c.Uuid, c.InstanceUuid, c.Version, c.ManagedBy
	sum.Config.MemorySizeMB, sum.Config.NumCpu, sum.Config.NumEthernetCards = c.Hardware.MemoryMB, c.Hardware.NumCPU, 0
}

// copied is a VM that shares nothing with vm that anybody writes to. Scalars
// behind pointers are replaced, never written, so that those are shared.
func copied(vm mo.VirtualMachine) mo.VirtualMachine {
	return clone(reflect.ValueOf(vm)).Interface().(mo.VirtualMachine)
}

func clone(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || v.Elem().Kind() != reflect.Struct || v.Elem().Type() == reflect.TypeFor[time.Time]() {
			return v
		}
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(clone(v.Elem()))
		return c
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		return clone(v.Elem())
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			c.Index(i).Set(clone(v.Index(i)))
		}
		return c
	case reflect.Struct:
		c := reflect.New(v.Type()).Elem()
		c.Set(v)
		if v.Type() == reflect.TypeFor[time.Time]() {
			return c
		}
		for i := range v.NumField() {
			switch v.Field(i).Kind() {
			case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Struct:
				if !v.Field(i).IsZero() {
					c.Field(i).Set(clone(v.Field(i)))
				}
			}
		}
		return c
	}
	return v
}

// setUnexported sets a field that vcsim fills only in its own way of making
// VMs, and misses in others.
func setUnexported(obj any, name string, value any) {
	f := reflect.ValueOf(obj).Elem().FieldByName(name)
	if !f.IsValid() || f.Type() != reflect.TypeOf(value) {
		return // another vcsim: it will say what it lacks
	}
	reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem().Set(reflect.ValueOf(value)) // #nosec: see above
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// guestFamily is what vcsim makes of a guest's identifier.
func guestFamily(id string) string {
	switch {
	case strings.HasPrefix(id, "win"):
		return string(types.VirtualMachineGuestOsFamilyWindowsGuest)
	case strings.HasPrefix(id, "darwin"):
		return string(types.VirtualMachineGuestOsFamilyDarwinGuestFamily)
	}
	return string(types.VirtualMachineGuestOsFamilyLinuxGuest)
}

// uuidOf makes the same UUID of the same words every time.
func uuidOf(words ...string) string {
	h := sha256.New()
	for _, w := range words {
		fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	id, _ := uuid.FromBytes(h.Sum(nil)[:16])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8: made of something else's bits
	return id.String()
}

// diskID is the UUID of a disk that is made without a task.
func (s *Server) diskID(moref string, file dsPath) string {
	return "6000C29" + uuidOf("disk", s.cfg.InstanceUUID, moref, file.String())[7:]
}
