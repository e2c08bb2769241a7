package director_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestVersionsAreListedWithoutASession(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	r := c.send(must(http.NewRequest(http.MethodGet, c.dir.URL().String()+"/api/versions", nil))(t))
	got := texts(r.root(t), "//Version")
	if !slices.Contains(got, "37.0") || !slices.Contains(got, "39.1") || slices.ContainsFunc(got, func(v string) bool { return v >= "40" }) {
		t.Errorf("versions: got %v", got)
	}
}

func TestEveryDocumentOfTheReadSideIsValid(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	for _, name := range []string{adminName, "ada@acme", "bob@acme"} {
		u := c.login(name)
		admin := name == adminName
		paths := []string{"/api/session", "/api/org", "/api/org/" + c.acme, "/api/vdc/" + c.vdc, c.vappPath(), "/api/tasksList/" + c.acme, "/api/query"}
		for _, s := range []string{"owner", "controlAccess", "controlAccess/", "metadata", "metadata/", "metadata/backup", "leaseSettingsSection/", "startupSection",
			"networkSection", "networkConfigSection/", "productSections/", "snapshotSection"} {
			paths = append(paths, c.vappPath()+"/"+s)
		}
		vapp := u.get(c.vappPath())
		for _, m := range vapp.FindElements("./Children/Vm") {
			href := m.SelectAttrValue("href", "")
			for _, s := range []string{"", "/virtualHardwareSection", "/virtualHardwareSection/disks", "/virtualHardwareSection/cpu", "/virtualHardwareSection/memory",
				"/virtualHardwareSection/media", "/virtualHardwareSection/networkCards", "/operatingSystemSection/", "/networkConnectionSection/",
				"/guestCustomizationSection/", "/runtimeInfoSection", "/snapshotSection", "/vmCapabilities/", "/productSections/", "/metadata", "/vmSpecSection"} {
				paths = append(paths, href+s)
			}
		}
		for _, l := range vapp.FindElements("./Link[@type='application/vnd.vmware.vcloud.vAppNetwork+xml']") {
			paths = append(paths, l.SelectAttrValue("href", ""))
		}
		for _, n := range u.get("/api/vdc/" + c.vdc).FindElements("./AvailableNetworks/Network") {
			paths = append(paths, n.SelectAttrValue("href", ""), strings.Replace(n.SelectAttrValue("href", ""), "/api/", "/api/admin/", 1))
		}
		for _, p := range u.get("/api/vdc/" + c.vdc).FindElements("./VdcStorageProfiles/VdcStorageProfile") {
			paths = append(paths, p.SelectAttrValue("href", ""))
		}
		if name != "bob@acme" {
			paths = append(paths, "/api/query?type=organization&format=records", "/api/admin", "/api/admin/org/"+c.acme, "/api/admin/org/"+c.acme+"/settings", "/api/admin/org/"+c.acme+"/settings/general",
				"/api/admin/org/"+c.acme+"/settings/vAppLeaseSettings", "/api/admin/vdc/"+c.vdc)
			for _, r := range u.get("/api/admin/org/" + c.acme).FindElements("./Users/UserReference") {
				paths = append(paths, r.SelectAttrValue("href", ""))
			}
			for _, r := range u.get("/api/admin").FindElements("./RoleReferences/RoleReference") {
				paths = append(paths, r.SelectAttrValue("href", ""))
			}
		}
		if admin {
			paths = append(paths, "/api/admin/extension/vimServerReferences")
			ref := u.get("/api/admin/extension/vimServerReferences").FindElement("./VimServerReference").SelectAttrValue("href", "")
			paths = append(paths, ref, ref+"/vmsList?pageSize=2")
		}
		for _, p := range paths {
			u.get(p)
		}
		for _, q := range []string{"vApp", "vm", "orgVdc", "user", "orgVdcNetwork", "orgVdcStorageProfile", "task"} {
			u.get("/api/query?type=" + q + "&format=records")
		}
		for _, q := range []string{"adminVApp", "adminVM", "adminOrgVdc", "adminUser", "adminOrgVdcStorageProfile", "adminTask", "virtualCenter", "datastore"} {
			r := u.do(http.MethodGet, "/api/query?type="+q, "", "")
			if want := map[bool]int{true: 200, false: 403}[admin]; r.status != want {
				t.Errorf("%s: query %s: got %d, want %d", name, q, r.status, want)
			}
		}
	}
}

func TestOnlySystemAdministratorsSeeVSphere(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	for name, want := range map[string]int{adminName: 2, "ada@acme": 0, "bob@acme": 0} {
		vapp := c.login(name).get(c.vappPath())
		if got := len(vapp.FindElements("./Children/Vm/VCloudExtension/VmVimInfo")); got != want {
			t.Errorf("%s: got %d VmVimInfo, want %d", name, got, want)
		}
	}
}
