package vcenter_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

const (
	user     = "backup@vsphere.local"
	password = "s3cret"
	mib      = 1 << 20
	gib      = 1 << 30
)

// start runs a vCenter with two datastores and a network.
func start(t *testing.T, change ...func(*vcenter.Config)) *vcenter.Server {
	t.Helper()
	c := vcenter.Config{
		Dir: t.TempDir(), Name: "vc1", Users: map[string]string{user: password}, Hosts: 2,
		Datastores:    []vcenter.Datastore{{Name: "ds1", Capacity: 8 << 40}, {Name: "ds2"}},
		Networks:      []string{"web"},
		ResourcePools: []string{"vdc1"},
	}
	for _, f := range change {
		f(&c)
	}
	s, err := vcenter.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// dial logs in with govmomi, which knows nothing of the simulator.
func dial(t *testing.T, s *vcenter.Server) *govmomi.Client {
	t.Helper()
	c, err := login(t, s, user, password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Logout(context.Background()) })
	return c
}

func login(t testing.TB, s *vcenter.Server, user, password string) (*govmomi.Client, error) {
	t.Helper()
	ctx := context.Background()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(s), 0o600); err != nil {
		t.Fatal(err)
	}
	sc := soap.NewClient(s.URL(), false)
	if err := sc.SetRootCAs(ca); err != nil {
		t.Fatal(err)
	}
	vc, err := vim25.NewClient(ctx, sc)
	if err != nil {
		t.Fatal(err)
	}
	c := &govmomi.Client{Client: vc, SessionManager: session.NewManager(vc)}
	return c, c.Login(ctx, url.UserPassword(user, password))
}

// machine adds a VM and returns it as govmomi sees it.
func machine(t *testing.T, s *vcenter.Server, c *govmomi.Client, spec vcenter.VMSpec) *object.VirtualMachine {
	t.Helper()
	ref, err := s.AddVM(spec)
	if err != nil {
		t.Fatal(err)
	}
	return object.NewVirtualMachine(c.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: ref})
}

func props(t *testing.T, vm *object.VirtualMachine) mo.VirtualMachine {
	t.Helper()
	var m mo.VirtualMachine
	if err := property.DefaultCollector(vm.Client()).RetrieveOne(context.Background(), vm.Reference(), nil, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func disks(devices []types.BaseVirtualDevice) []*types.VirtualDisk {
	var out []*types.VirtualDisk
	for _, d := range devices {
		if disk, ok := d.(*types.VirtualDisk); ok {
			out = append(out, disk)
		}
	}
	return out
}

func flat(d *types.VirtualDisk) *types.VirtualDiskFlatVer2BackingInfo {
	return d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
}

func guest(t *testing.T, s *vcenter.Server, vm *object.VirtualMachine, n int) *vcenter.GuestDisk {
	t.Helper()
	g, err := s.Disk(vm.Reference().Value, n)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func write(t *testing.T, g *vcenter.GuestDisk, off int64, p []byte) {
	t.Helper()
	if _, err := g.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

func reads(t *testing.T, g *vcenter.GuestDisk, off int64, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := g.ReadAt(got, off); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("disk %d at %d: reads something else than was written", g.Key(), off)
	}
}

func done(t *testing.T, task *object.Task, err error) types.AnyType {
	t.Helper()
	res, err := finish(task, err)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func finish(task *object.Task, err error) (types.AnyType, error) {
	if err != nil {
		return nil, err
	}
	info, err := task.WaitForResult(context.Background())
	if err != nil {
		return nil, err
	}
	return info.Result, nil
}

func TestVMHasWhatItsSpecSays(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	image := filepath.Join(t.TempDir(), "image.raw")
	content := append(random(100_000), make([]byte, 4*mib)...)
	if err := os.WriteFile(image, content, 0o600); err != nil {
		t.Fatal(err)
	}
	vm := machine(t, s, c, vcenter.VMSpec{
		Name: "web/01", UUID: "4210aaaa-0000-1111-2222-333344445555", NumCPU: 2, MemoryMB: 2048, PowerOn: true,
		Folder: "acme/vdc1", ResourcePool: "vdc1",
		Disks: []vcenter.DiskSpec{
			{From: image, Thin: true},
			{Size: 4 << 40, Thin: true, Unit: 1},
			{Size: gib, Controller: "sata", Datastore: "ds2"},
		},
		NICs:        []vcenter.NICSpec{{Network: "web", MAC: "00:50:56:01:02:03"}, {Type: "e1000"}},
		ExtraConfig: map[string]string{"cloud.uuid": "abc"},
	})
	m := props(t, vm)
	if m.Name != "web%2f01" || m.Config.Uuid != "4210aaaa-0000-1111-2222-333344445555" || m.Config.Hardware.NumCPU != 2 {
		t.Errorf("got %s %s, %d CPUs", m.Name, m.Config.Uuid, m.Config.Hardware.NumCPU)
	}
	if m.Runtime.PowerState != "poweredOn" {
		t.Errorf("got %s, want powered on", m.Runtime.PowerState)
	}
	d := disks(m.Config.Hardware.Device)
	if len(d) != 3 || d[0].Key != 2000 || d[1].Key != 2001 || d[2].Key != 16000 {
		t.Fatalf("got %d disks: %v", len(d), d)
	}
	if d[1].CapacityInBytes != 4<<40 || flat(d[0]).FileName != "[ds1] web%2f01/web%2f01.vmdk" {
		t.Errorf("got capacity %d, file %s", d[1].CapacityInBytes, flat(d[0]).FileName)
	}
	g := guest(t, s, vm, 0)
	reads(t, g, 0, content[:len(content)/512*512])
	far := random(4096)
	write(t, guest(t, s, vm, 1), 4<<40-4096, far)
	reads(t, guest(t, s, vm, 1), 4<<40-4096, far)
	if _, err := guest(t, s, vm, 1).WriteAt(far, 4<<40-100); err == nil {
		t.Error("a write past the end of a disk succeeds")
	}
	var nics []string
	for _, dev := range m.Config.Hardware.Device {
		if n, ok := dev.(types.BaseVirtualEthernetCard); ok {
			nics = append(nics, n.GetVirtualEthernetCard().MacAddress)
		}
	}
	if len(nics) != 2 || nics[0] != "00:50:56:01:02:03" || nics[1] == "" {
		t.Errorf("got network adapters %q", nics)
	}
	ref, err := s.MoRef("web/01")
	if err != nil || ref != vm.Reference().Value {
		t.Errorf("got moref %q, %v", ref, err)
	}
	ext, err := guest(t, s, vm, 1).Extents()
	if err != nil || len(ext) != 1 || ext[0].End() != 4<<40 {
		t.Errorf("got extents %v, %v", ext, err)
	}
}

func TestOnlyUsersWithTheirPasswordsLogIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, p := range []struct{ user, password string }{{user, "wrong"}, {"nobody", password}, {user, ""}} {
		if _, err := login(t, s, p.user, p.password); err == nil {
			t.Errorf("%s with password %q: logged in", p.user, p.password)
		}
	}
	dial(t, s)
}

func TestSeveralVCentersAreTold(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t)
	ca, cb := dial(t, a), dial(t, b)
	if x, y := ca.ServiceContent.About.InstanceUuid, cb.ServiceContent.About.InstanceUuid; x == y || x != a.InstanceUUID() {
		t.Errorf("got instance UUIDs %s and %s", x, y)
	}
}

func TestStoragePoliciesAreAnswered(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	p, err := pbm.NewClient(context.Background(), c.Client)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.QueryAssociatedProfiles(context.Background(), []pbmtypes.PbmServerObjectRef{{ObjectType: "virtualDiskId", Key: "vm-1:2000"}}); err != nil {
		t.Error(err)
	}
}

func TestSeveralVCentersStartAtOnce(t *testing.T) {
	t.Parallel()
	var starting sync.WaitGroup
	for range 3 {
		starting.Go(func() { start(t) })
	}
	starting.Wait()
}
