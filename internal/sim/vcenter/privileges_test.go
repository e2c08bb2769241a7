package vcenter_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// mallory may do what a test says.
func mallory(privileges ...string) func(*vcenter.Config) {
	return func(c *vcenter.Config) {
		c.Accounts = []vcenter.User{{Name: "mallory", Password: "m", Privileges: privileges}}
	}
}

func TestPrivilegesAreAskedFor(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	call := func(f func(vm *object.VirtualMachine) (*object.Task, error)) func(*object.VirtualMachine) error {
		return func(vm *object.VirtualMachine) error {
			_, err := finish(f(vm))
			return err
		}
	}
	for _, c := range []struct {
		privileges []string // the last one is the one that counts
		call       func(*object.VirtualMachine) error
	}{
		{[]string{"VirtualMachine.State.CreateSnapshot"}, call(func(vm *object.VirtualMachine) (*object.Task, error) {
			return vm.CreateSnapshot(ctx, "s", "", false, false)
		})},
		{[]string{"VirtualMachine.State.RemoveSnapshot"}, call(func(vm *object.VirtualMachine) (*object.Task, error) {
			return vm.RemoveAllSnapshot(ctx, nil)
		})},
		{[]string{"VirtualMachine.Interact.PowerOn"}, call(func(vm *object.VirtualMachine) (*object.Task, error) { return vm.PowerOn(ctx) })},
		{[]string{"VirtualMachine.Inventory.Delete"}, call(func(vm *object.VirtualMachine) (*object.Task, error) { return vm.Destroy(ctx) })},
		{[]string{"VirtualMachine.Config.ChangeTracking"}, call(func(vm *object.VirtualMachine) (*object.Task, error) {
			return vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{ChangeTrackingEnabled: types.NewBool(true)})
		})},
		{[]string{"VirtualMachine.Config.RemoveDisk"}, func(vm *object.VirtualMachine) error {
			return reconfigure(vm, change("remove", "", &types.VirtualDisk{VirtualDevice: types.VirtualDevice{Key: 2000}}))
		}},
		{[]string{"Resource.ColdMigrate"}, call(func(vm *object.VirtualMachine) (*object.Task, error) {
			return vm.Relocate(ctx, types.VirtualMachineRelocateSpec{}, "")
		})},
		{[]string{"VApp.Export"}, func(vm *object.VirtualMachine) error {
			l, err := vm.Export(ctx)
			if err == nil {
				_, err = l.Wait(ctx, nil)
			}
			return err
		}},
		{[]string{"Datastore.FileManagement"}, func(vm *object.VirtualMachine) error {
			_, err := finish(object.NewVirtualDiskManager(vm.Client()).DeleteVirtualDisk(ctx, "[ds1] vm/vm.vmdk", nil))
			return err
		}},
		{[]string{"Global.DisableMethods"}, func(vm *object.VirtualMachine) error {
			return object.NewAuthorizationManager(vm.Client()).DisableMethods(ctx, []types.ManagedObjectReference{vm.Reference()},
				[]object.DisabledMethodRequest{{Method: "PowerOnVM_Task"}}, "me")
		}},
		{[]string{"Folder.Create"}, func(vm *object.VirtualMachine) error {
			_, err := object.NewRootFolder(vm.Client()).CreateFolder(ctx, "f")
			return err
		}},
	} {
		want := c.privileges[len(c.privileges)-1]
		t.Run(want, func(t *testing.T) {
			for _, may := range []bool{false, true} {
				have := c.privileges
				if !may {
					have = append(slices.Clone(c.privileges[:len(c.privileges)-1]), "Task.Create")
				}
				s := start(t, mallory(have...))
				admin := dial(t, s)
				ref := machine(t, s, admin, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: mib}}}).Reference()
				client, err := login(t, s, "mallory", "m")
				if err != nil {
					t.Fatal(err)
				}
				err = c.call(object.NewVirtualMachine(client.Client, ref))
				var no *types.NoPermission
				if _, denied := fault.As(err, &no); denied == may || denied && no.PrivilegeId != want {
					t.Errorf("with %q: got %v (%+v)", have, err, no)
				}
			}
		})
	}
}

func TestPermissionsAreInheritedAndOverridden(t *testing.T) {
	t.Parallel()
	s := start(t, mallory("VirtualMachine.Interact.PowerOn"))
	admin := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, admin, vcenter.VMSpec{Name: "vm", Folder: "a/b"})
	client, err := login(t, s, "mallory", "m")
	if err != nil {
		t.Fatal(err)
	}
	m := object.NewAuthorizationManager(admin.Client)
	may := func() bool {
		t.Helper()
		us, err := client.SessionManager.UserSession(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.HasPrivilegeOnEntity(ctx, vm.Reference(), us.Key, []string{"VirtualMachine.Interact.PowerOn"})
		if err != nil {
			t.Fatal(err)
		}
		all, err := m.FetchUserPrivilegeOnEntities(ctx, []types.ManagedObjectReference{vm.Reference()}, "mallory")
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(all[0].Privileges, "VirtualMachine.Interact.PowerOn") != got[0] {
			t.Errorf("two answers: %v and %v", got, all)
		}
		return got[0]
	}
	if !may() {
		t.Error("a permission on the root folder does not reach a VM")
	}
	set := func(ref types.ManagedObjectReference, role string, propagate bool) {
		t.Helper()
		roles, err := m.RoleList(ctx)
		if err != nil {
			t.Fatal(err)
		}
		err = m.SetEntityPermissions(ctx, ref, []types.Permission{{Principal: "mallory", RoleId: roles.ByName(role).RoleId, Propagate: propagate}})
		if err != nil {
			t.Fatal(err)
		}
	}
	set(vm.Reference(), "NoAccess", true)
	if may() {
		t.Error("a permission on the VM does not override the folder's")
	}
	var gone *types.NoPermission
	if _, err := object.NewVirtualMachine(client.Client, vm.Reference()).PowerOn(ctx); err == nil {
		t.Error("no access, and yet the VM is switched on")
	} else if _, ok := fault.As(err, &gone); !ok || gone.Object.Value != vm.Reference().Value {
		t.Errorf("got %v", err)
	}
	set(vm.Reference(), "role of mallory", false)
	if !may() {
		t.Error("a permission that does not propagate does not count where it is")
	}
	if err := m.RemoveEntityPermission(ctx, vm.Reference(), "mallory", false); err != nil {
		t.Fatal(err)
	}
	set(admin.ServiceContent.RootFolder, "role of mallory", false)
	if may() {
		t.Error("a permission that does not propagate does")
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	m := object.NewAuthorizationManager(c.Client)
	id, err := m.AddRole(ctx, "backup", []string{"VApp.Export"})
	if err != nil || id < 1000 {
		t.Fatalf("got role %d, %v", id, err)
	}
	if _, err := m.AddRole(ctx, "backup", nil); !fault.Is(err, &types.AlreadyExists{}) {
		t.Errorf("got %v, want AlreadyExists", err)
	}
	if _, err := m.AddRole(ctx, "other", []string{"No.Such"}); !fault.Is(err, &types.InvalidArgument{}) {
		t.Errorf("got %v, want InvalidArgument", err)
	}
	if err := m.UpdateRole(ctx, id, "backups", []string{"VApp.Import"}); err != nil {
		t.Error(err)
	}
	roles, err := m.RoleList(ctx)
	if err != nil || roles.ByName("backups") == nil || !slices.Contains(roles.ByName("backups").Privilege, "System.Read") {
		t.Errorf("got %v, %v", roles.ByName("backups"), err)
	}
	if err := m.SetEntityPermissions(ctx, c.ServiceContent.RootFolder, []types.Permission{{Principal: "x", RoleId: id}}); err != nil {
		t.Fatal(err)
	}
	if err := m.RemoveRole(ctx, id, true); !fault.Is(err, &types.RemoveFailed{}) {
		t.Errorf("got %v, want RemoveFailed", err)
	}
	if err := m.RemoveRole(ctx, id, false); err != nil {
		t.Error(err)
	}
	if err := m.RemoveRole(ctx, roles.ByName("Admin").RoleId, false); err == nil {
		t.Error("the role of administrators can be removed")
	}
}

func TestFolderAsksForPrivileges(t *testing.T) {
	t.Parallel()
	s := start(t, mallory("Datastore.Browse"))
	machine(t, s, dial(t, s), vcenter.VMSpec{Name: "vm"})
	client, err := login(t, s, "mallory", "m")
	if err != nil {
		t.Fatal(err)
	}
	b := browse(t, s, client)
	if status, _ := b.do(http.MethodGet, "vm", nil); status != http.StatusOK {
		t.Errorf("a list: got %d", status)
	}
	if status, text := b.do(http.MethodGet, "vm/vm.vmx", nil); status != http.StatusForbidden || !strings.Contains(string(text), "FileManagement") {
		t.Errorf("a file: got %d %s", status, text)
	}
}

func TestSessionsAreLimitedAndEnded(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *vcenter.Config) { c.MaxSessions = 1 })
	c := dial(t, s)
	ctx := context.Background()
	u := s.URL()
	_, err := methods.GetServiceContent(ctx, soap.NewClient(u, true))
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v, want 503", err)
	}
	if _, err := methods.GetCurrentTime(ctx, c.Client); err != nil {
		t.Errorf("who has a session: %v", err)
	}
	if n := s.Sessions(user); n != 1 {
		t.Errorf("got %d sessions", n)
	}
	if n := s.EndSessions(""); n != 1 || s.Sessions("") != 0 {
		t.Errorf("%d sessions ended, %d are left", n, s.Sessions(""))
	}
	if _, err := methods.GetCurrentTime(ctx, c.Client); !fault.Is(err, &types.NotAuthenticated{}) {
		t.Errorf("got %v, want NotAuthenticated", err)
	}
	if _, err := methods.GetServiceContent(ctx, soap.NewClient(u, true)); err != nil {
		t.Error(err)
	}
}
