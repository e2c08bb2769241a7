package conformance

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vmware/go-vcloud-director/v3/govcd"
	"github.com/vmware/go-vcloud-director/v3/types/v56"
)

func TestLease(t *testing.T) {
	client := provider(t)
	_, _, vapp := find(t, client, "acme", "acme-vdc1", "web-shop")
	lease, err := vapp.GetLease()
	must(t, err, "lease")
	equal(t, "deployment", lease.DeploymentLeaseInSeconds, 50*3600)
	equal(t, "storage", lease.StorageLeaseInSeconds, 17*24*3600)
	if lease.DeploymentLeaseExpiration == "" {
		t.Error("a running vApp's lease has no expiration")
	}
	must(t, vapp.RenewLease(60*3600, 18*24*3600), "renew")
	_, _, again := find(t, client, "acme", "acme-vdc1", "web-shop")
	lease, err = again.GetLease()
	must(t, err, "lease after the update")
	equal(t, "deployment after the update", lease.DeploymentLeaseInSeconds, 60*3600)
	equal(t, "storage after the update", lease.StorageLeaseInSeconds, 18*24*3600)
}

// entry is a metadata entry in one line. The type may come with a prefix.
func entry(m *types.MetadataEntry) string {
	domain, visibility := "GENERAL", "READWRITE"
	if m.Domain != nil {
		domain, visibility = m.Domain.Domain, m.Domain.Visibility
	}
	kind := m.TypedValue.XsiType[strings.Index(m.TypedValue.XsiType, ":")+1:]
	return domain + " " + visibility + " " + kind + " " + m.TypedValue.Value
}

func TestMetadata(t *testing.T) {
	client := provider(t)
	_, _, vapp := find(t, client, "acme", "acme-vdc1", "web-shop")
	check := func(want map[string]string, absent ...string) {
		t.Helper()
		metadata, err := vapp.GetMetadata()
		must(t, err, "metadata")
		got := map[string]string{}
		for _, m := range metadata.MetadataEntry {
			got[m.Key] = entry(m)
		}
		for key, value := range want {
			equal(t, key, got[key], value)
		}
		for _, key := range absent {
			if _, ok := got[key]; ok {
				t.Errorf("%s: still there", key)
			}
		}
	}
	check(map[string]string{
		"backup":        "GENERAL READWRITE MetadataStringValue daily",
		"cost-centre":   "GENERAL READWRITE MetadataNumberValue 4711",
		"production":    "GENERAL READWRITE MetadataBooleanValue true",
		"motto":         "GENERAL READWRITE MetadataStringValue Beep & <beep>, äöü",
		"live-since":    "GENERAL READWRITE MetadataDateTimeValue 2024-02-29T12:30:00.000Z",
		"sla":           "SYSTEM READONLY MetadataStringValue platinum",
		"chargeback-id": "SYSTEM PRIVATE MetadataNumberValue 90071992547",
	})
	must(t, vapp.AddMetadataEntryWithVisibility("grade", "7", types.MetadataNumberValue, types.MetadataReadWriteVisibility, false), "add a number")
	must(t, vapp.AddMetadataEntryWithVisibility("secret", "x y", types.MetadataStringValue, types.MetadataHiddenVisibility, true), "add a system entry")
	check(map[string]string{
		"grade":  "GENERAL READWRITE MetadataNumberValue 7",
		"secret": "SYSTEM PRIVATE MetadataStringValue x y",
		"backup": "GENERAL READWRITE MetadataStringValue daily",
	})
	value, err := vapp.GetMetadataByKey("secret", true)
	must(t, err, "system entry by key")
	equal(t, "system entry by key", value.TypedValue.Value, "x y")
	if _, err := vapp.GetMetadataByKey("secret", false); err == nil {
		t.Error("a system entry is found in the general domain")
	}
	for key, system := range map[string]bool{"grade": false, "secret": true} {
		task, err := vapp.DeleteMetadataEntryWithDomainAsync(key, system)
		must(t, err, "delete "+key)
		must(t, task.WaitTaskCompletion(), "delete "+key)
	}
	check(nil, "grade", "secret")

	tenant := login(t, "wile", "vcdsim-wile", "acme")
	_, _, vapp = find(t, tenant, "acme", "acme-vdc1", "web-shop")
	check(map[string]string{"sla": "SYSTEM READONLY MetadataStringValue platinum"}, "chargeback-id")
}

func TestAccessControl(t *testing.T) {
	client := provider(t)
	_, _, vapp := find(t, client, "acme", "acme-vdc1", "web-shop")
	access, err := vapp.GetAccessControl(true)
	must(t, err, "access control")
	equal(t, "shared to everyone", access.IsSharedToEveryone, true)
	if access.EveryoneAccessLevel == nil || *access.EveryoneAccessLevel != "ReadOnly" {
		t.Errorf("everyone: got %v, want ReadOnly", access.EveryoneAccessLevel)
	}
	if access.AccessSettings == nil || len(access.AccessSettings.AccessSetting) != 1 {
		t.Fatalf("settings: got %+v, want one", access.AccessSettings)
	}
	bugs := access.AccessSettings.AccessSetting[0]
	equal(t, "subject", bugs.Subject.Name, "bugs")
	equal(t, "level", bugs.AccessLevel, "Change")

	changed := &types.ControlAccessParams{
		Xmlns: types.XMLNamespaceVCloud,
		AccessSettings: &types.AccessSettingList{AccessSetting: []*types.AccessSetting{{
			Subject: &types.LocalSubject{HREF: bugs.Subject.HREF, Name: "bugs", Type: bugs.Subject.Type}, AccessLevel: "FullControl",
		}}},
	}
	must(t, vapp.SetAccessControl(changed, true), "set access control")
	got, err := vapp.GetAccessControl(true)
	must(t, err, "access control after the change")
	equal(t, "shared to everyone after the change", got.IsSharedToEveryone, false)
	if got.AccessSettings == nil || len(got.AccessSettings.AccessSetting) != 1 {
		t.Fatalf("settings after the change: got %+v, want one", got.AccessSettings)
	}
	equal(t, "level after the change", got.AccessSettings.AccessSetting[0].AccessLevel, "FullControl")
	everyone := "ReadOnly"
	must(t, vapp.SetAccessControl(&types.ControlAccessParams{
		Xmlns: types.XMLNamespaceVCloud, IsSharedToEveryone: true, EveryoneAccessLevel: &everyone,
	}, true), "share it with everyone")
	shared, err := vapp.IsShared(true)
	must(t, err, "shared")
	equal(t, "shared in the end", shared, true)
}

func TestMaintenanceMode(t *testing.T) {
	client := provider(t)
	_, _, vapp := find(t, client, "acme", "acme-vdc1", "web-shop")
	action := func(name string) {
		t.Helper()
		err := client.Client.ExecuteRequestWithoutResponse(vapp.VApp.HREF+"/action/"+name, http.MethodPost, "", name+": %s", nil)
		must(t, err, name)
	}
	seen := func(want bool) {
		t.Helper()
		must(t, vapp.Refresh(), "refresh")
		equal(t, "vApp in maintenance mode", vapp.VApp.InMaintenanceMode, want)
		vapps, err := client.Client.QueryVappList()
		must(t, err, "query vApps")
		for _, record := range vapps {
			if record.Name == "web-shop" {
				equal(t, "record in maintenance mode", record.MaintenanceMode, want)
			}
		}
	}
	seen(false)
	action("enterMaintenanceMode")
	seen(true)
	tenant := login(t, "wile", "vcdsim-wile", "acme")
	_, _, theirs := find(t, tenant, "acme", "acme-vdc1", "web-shop")
	if err := theirs.RenewLease(61*3600, 18*24*3600); err == nil {
		t.Error("a tenant changes a vApp that is in maintenance mode")
	}
	must(t, vapp.AddMetadataEntryWithVisibility("maintained", "yes", types.MetadataStringValue, types.MetadataReadWriteVisibility, false), "the provider's change")
	action("exitMaintenanceMode")
	seen(false)
	must(t, theirs.Refresh(), "refresh")
	must(t, theirs.RenewLease(61*3600, 18*24*3600), "the tenant's change afterwards")
}

func TestTasks(t *testing.T) {
	client := login(t, "wile", "vcdsim-wile", "acme")
	org, _, vapp := find(t, client, "acme", "acme-vdc1", "web-shop")
	// A running vApp cannot be deleted: refused at once, or by its task.
	task, err := vapp.Delete()
	if err == nil {
		err = task.WaitTaskCompletion()
	}
	if err == nil {
		t.Fatal("a running vApp was deleted")
	}
	task, err = vapp.AddMetadataEntryWithVisibilityAsync("task", "1", types.MetadataStringValue, types.MetadataReadWriteVisibility, false)
	must(t, err, "start a task")
	must(t, task.WaitTaskCompletion(), "wait for the task")
	equal(t, "status", task.Task.Status, "success")
	equal(t, "owner", task.Task.Owner.Name, "web-shop")
	again, err := client.Client.GetTaskById(task.Task.ID)
	must(t, err, "task by id")
	equal(t, "task by id", again.Task.HREF, task.Task.HREF)
	list, err := org.GetTaskList()
	must(t, err, "the org's tasks")
	found := false
	for _, one := range list.Task {
		found = found || one.HREF == task.Task.HREF
	}
	if !found {
		t.Errorf("the task is not among the org's %d", len(list.Task))
	}
	records, err := client.Client.QueryTaskList(map[string]string{"status": "success"})
	must(t, err, "query tasks")
	if len(records) == 0 {
		t.Error("no task has succeeded")
	}
}

func TestPowerAndDelete(t *testing.T) {
	client := provider(t)
	_, vdc, vapp := find(t, client, "acme", "acme-vdc1", "wiki")
	status := func(want string) {
		t.Helper()
		got, err := vapp.GetStatus()
		must(t, err, "status")
		equal(t, "status", got, want)
	}
	run := func(what string, task govcd.Task, err error) {
		t.Helper()
		must(t, err, what)
		must(t, task.WaitTaskCompletion(), what)
	}
	status("POWERED_OFF")
	task, err := vapp.PowerOn()
	run("power on", task, err)
	status("POWERED_ON")
	task, err = vapp.Undeploy()
	run("undeploy", task, err)
	status("POWERED_OFF")
	equal(t, "deployed", vapp.VApp.Deployed, false)
	task, err = vapp.Delete()
	run("delete", task, err)
	if _, err := vdc.GetVAppByName("wiki", true); !govcd.ContainsNotFound(err) {
		t.Errorf("the deleted vApp: got %v, want not found", err)
	}
	vms, err := client.Client.QueryVmList(types.VmQueryFilterAll)
	must(t, err, "query VMs")
	for _, vm := range vms {
		if vm.Name == "wiki01" {
			t.Error("the deleted vApp's VM is still found")
		}
	}
}
