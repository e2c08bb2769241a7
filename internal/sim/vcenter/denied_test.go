package vcenter_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/license"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// reader is logged in as an account with the role ReadOnly.
func reader(t *testing.T) (*vcenter.Server, *govmomi.Client) {
	t.Helper()
	s := start(t, func(c *vcenter.Config) {
		c.Accounts = []vcenter.User{{Name: "reader", Password: "r"}, {Name: "root", Password: "r", Role: "Admin"}}
	})
	c, err := login(t, s, "reader", "r")
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestReadOnlyChangesNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, c := reader(t)
	f := find.NewFinder(c.Client)
	dc, err := f.DefaultDatacenter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f.SetDatacenter(dc)
	hosts, err := f.HostSystemList(ctx, "*")
	if err != nil {
		t.Fatal(err)
	}
	host := hosts[0]
	folders, err := dc.Folders(ctx)
	if err != nil {
		t.Fatal(err)
	}
	net, err := f.Network(ctx, "web")
	if err != nil {
		t.Fatal(err)
	}
	ds, err := f.Datastore(ctx, "ds1")
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := f.DefaultClusterComputeResource(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := host.ConfigManager().NetworkSystem(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var m mo.Network
	if err := property.DefaultCollector(c.Client).RetrieveOne(ctx, net.Reference(), []string{"name"}, &m); err != nil {
		t.Errorf("a property: %v", err)
	}
	var dvs mo.DistributedVirtualPortgroup
	if err := property.DefaultCollector(c.Client).RetrieveOne(ctx, net.Reference(), []string{"config"}, &dvs); err != nil {
		t.Fatal(err)
	}
	sw := object.NewDistributedVirtualSwitch(c.Client, *dvs.Config.DistributedVirtualSwitch)
	root := object.NewRootFolder(c.Client)
	destroy := func(ref object.Reference) func() error {
		return func() error {
			_, err := object.NewCommon(c.Client, ref.Reference()).Destroy(ctx)
			return err
		}
	}
	task := func(_ *object.Task, err error) error { return err }
	for _, call := range []struct {
		name, privilege string
		make            func() error
	}{
		{"add a port group", "DVPortgroup.Create", func() error {
			return task(sw.AddPortgroup(ctx, []types.DVPortgroupConfigSpec{{Name: "x"}}))
		}},
		{"change a port group", "DVPortgroup.Modify", func() error {
			return task(object.NewDistributedVirtualPortgroup(c.Client, net.Reference()).Reconfigure(ctx, types.DVPortgroupConfigSpec{Name: "x"}))
		}},
		{"destroy a port group", "DVPortgroup.Delete", destroy(net)},
		{"rename a port group", "DVPortgroup.Modify", func() error {
			return task(object.NewCommon(c.Client, net.Reference()).Rename(ctx, "x"))
		}},
		{"change a switch", "DVSwitch.Modify", func() error {
			return task(sw.Reconfigure(ctx, &types.DVSConfigSpec{Name: "x"}))
		}},
		{"destroy a switch", "DVSwitch.Delete", destroy(sw)},
		{"make a switch", "DVSwitch.Create", func() error {
			return task(folders.NetworkFolder.CreateDVS(ctx, types.DVSCreateSpec{ConfigSpec: &types.DVSConfigSpec{Name: "x"}}))
		}},
		{"enter maintenance", "Host.Config.Maintenance", func() error { return task(host.EnterMaintenanceMode(ctx, 0, false, nil)) }},
		{"disconnect a host", "Host.Config.Connection", func() error { return task(host.Disconnect(ctx)) }},
		{"destroy a host", "Host.Inventory.RemoveHostFromCluster", destroy(host)},
		{"add a port group of a host", "Host.Config.Network", func() error { return ns.AddPortGroup(ctx, types.HostPortGroupSpec{Name: "x"}) }},
		{"destroy a datastore", "Datastore.Delete", destroy(ds)},
		{"rename a datastore", "Datastore.Rename", func() error { return task(object.NewCommon(c.Client, ds.Reference()).Rename(ctx, "x")) }},
		{"make a cluster", "Host.Inventory.CreateCluster", func() error {
			_, err := folders.HostFolder.CreateCluster(ctx, "x", types.ClusterConfigSpecEx{})
			return err
		}},
		{"change a cluster", "Host.Inventory.EditCluster", func() error {
			return task(cluster.Reconfigure(ctx, &types.ClusterConfigSpecEx{}, true))
		}},
		{"destroy a cluster", "Host.Inventory.DeleteCluster", destroy(cluster)},
		{"make a datacenter", "Datacenter.Create", func() error {
			_, err := root.CreateDatacenter(ctx, "x")
			return err
		}},
		{"move a datastore", "Datastore.Move", func() error {
			return task(folders.DatastoreFolder.MoveInto(ctx, []types.ManagedObjectReference{ds.Reference()}))
		}},
		{"add a license", "Global.Licenses", func() error {
			_, err := license.NewManager(c.Client).Add(ctx, "00000-00000-00000-00000-00001", nil)
			return err
		}},
		{"end a session", "Sessions.TerminateSession", func() error {
			return session.NewManager(c.Client).TerminateSession(ctx, []string{"x"})
		}},
		{"list sessions", "Sessions.TerminateSession", func() error {
			var m mo.SessionManager
			return property.DefaultCollector(c.Client).RetrieveOne(ctx, *c.ServiceContent.SessionManager, []string{"sessionList"}, &m)
		}},
		{"post an event", "Global.LogEvent", func() error {
			_, err := methods.PostEvent(ctx, c.Client, &types.PostEvent{This: *c.ServiceContent.EventManager, EventToPost: &types.GeneralEvent{}})
			return err
		}},
		{"a call of no table", "", func() error {
			_, err := methods.RefreshRecommendation(ctx, c.Client, &types.RefreshRecommendation{This: cluster.Reference()})
			return err
		}},
	} {
		t.Run(call.name, func(t *testing.T) {
			err := call.make()
			var no *types.NoPermission
			if _, denied := fault.As(err, &no); !denied || call.privilege != "" && no.PrivilegeId != call.privilege {
				t.Errorf("got %v (%+v), want %s", err, no, call.privilege)
			}
		})
	}
	all, err := login(t, s, "root", "r")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := object.NewRootFolder(all.Client).CreateDatacenter(ctx, "x"); err != nil {
		t.Errorf("an administrator: %v", err)
	}
}

// TestReadOnlyReads has an account that may only look make the calls of a
// session.
func TestReadOnlyReads(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, c := reader(t)
	machine(t, s, c, vcenter.VMSpec{Name: "vm"})
	v, err := view.NewManager(c.Client).CreateContainerView(ctx, c.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
	if err != nil {
		t.Fatal(err)
	}
	var vms []mo.VirtualMachine
	if err := v.Retrieve(ctx, []string{"VirtualMachine"}, nil, &vms); err != nil || len(vms) != 1 {
		t.Errorf("got %d VMs, %v", len(vms), err)
	}
	if err := v.Destroy(ctx); err != nil {
		t.Error(err)
	}
	if _, err := object.NewSearchIndex(c.Client).FindByInventoryPath(ctx, "/"); err != nil {
		t.Error(err)
	}
	if err := property.Wait(ctx, property.DefaultCollector(c.Client), vms[0].Self, []string{"name"}, func([]types.PropertyChange) bool { return true }); err != nil {
		t.Error(err)
	}
	var m mo.SessionManager
	if err := property.DefaultCollector(c.Client).RetrieveOne(ctx, *c.ServiceContent.SessionManager, nil, &m); err != nil || len(m.SessionList) > 0 || m.CurrentSession == nil {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := methods.GetCurrentTime(ctx, c.Client); err != nil {
		t.Error(err)
	}
	if err := c.SessionManager.Logout(ctx); err != nil {
		t.Error(err)
	}
}

func TestTagsTakePrivileges(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, c := reader(t)
	manager := func(name string) *tags.Manager {
		rc := rest.NewClient(c.Client)
		if err := rc.Login(ctx, url.UserPassword(name, "r")); err != nil {
			t.Fatal(err)
		}
		return tags.NewManager(rc)
	}
	admin, m := manager("root"), manager("reader")
	category, err := admin.CreateCategory(ctx, &tags.Category{Name: "c", Cardinality: "SINGLE"})
	if err != nil {
		t.Fatal(err)
	}
	tag, err := admin.CreateTag(ctx, &tags.Tag{Name: "t", CategoryID: category})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.GetTagsForCategory(ctx, category); err != nil {
		t.Errorf("reading: %v", err)
	}
	if _, err := m.ListAttachedObjects(ctx, tag); err != nil {
		t.Errorf("reading: %v", err)
	}
	for name, call := range map[string]func() error{
		"make a category": func() error { _, err := m.CreateCategory(ctx, &tags.Category{Name: "d"}); return err },
		"make a tag":      func() error { _, err := m.CreateTag(ctx, &tags.Tag{Name: "d", CategoryID: category}); return err },
		"change a tag":    func() error { return m.UpdateTag(ctx, &tags.Tag{ID: tag, Name: "d"}) },
		"attach a tag":    func() error { return m.AttachTag(ctx, tag, c.ServiceContent.RootFolder) },
		"delete a tag":    func() error { return m.DeleteTag(ctx, &tags.Tag{ID: tag}) },
		"delete a category": func() error {
			return m.DeleteCategory(ctx, &tags.Category{ID: category})
		},
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	u := s.URL()
	u.Path = "/api"
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, u.String(),
		strings.NewReader(`{"params":{"serviceId":"com.vmware.cis.session","operationId":"create"}}`))
	if err := c.Client.Client.Do(ctx, req, func(res *http.Response) error {
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("a session without a password: got %s", res.Status)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := admin.DeleteTag(ctx, &tags.Tag{ID: tag}); err != nil {
		t.Error(err)
	}
}
