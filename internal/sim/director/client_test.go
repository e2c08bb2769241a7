package director_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

// rels are the relations of an element's links.
func rels(e *etree.Element) []string {
	var out []string
	for _, l := range e.SelectElements("Link") {
		out = append(out, l.SelectAttrValue("rel", ""))
	}
	return out
}

func TestQueriesAnswerReferences(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	for _, tc := range []struct{ typ, name, root, element string }{
		{"adminVApp", "web-shop", "VAppReferences", "VAppReference"},
		{"adminVM", "web01", "VMReferences", "VMReference"},
		{"organization", "acme", "OrgReferences", "OrgReference"},
		{"adminOrgVdc", "vdc1", "AdminVdcReferences", "AdminVdcReference"},
		{"orgVdcNetwork", "direct", "OrgVdcNetworkReferences", "OrgVdcNetworkReference"},
		{"virtualCenter", "vc1", "VirtualCenterReferences", "VirtualCenterReference"},
	} {
		t.Run(tc.typ, func(t *testing.T) {
			at := "/api/query?type=" + tc.typ + "&filter=name==" + tc.name
			e := u.get(at + "&format=references")
			refs := e.SelectElements(tc.element)
			if e.Tag != tc.root || len(refs) != 1 || refs[0].SelectAttrValue("name", "") != tc.name {
				t.Fatalf("%s", write(e))
			}
			want := u.get(at).ChildElements()
			if got := refs[0].SelectAttrValue("href", ""); got == "" || got != want[len(want)-1].SelectAttrValue("href", "") {
				t.Errorf("href %q", got)
			}
		})
	}
	u.want(http.StatusBadRequest, http.MethodGet, "/api/query?type=adminVApp&format=poems", "", "")
	u.want(http.StatusBadRequest, http.MethodGet, "/api/query?type=cell&format=references", "", "") // has records only
	formats := 0
	for _, l := range u.get("/api/query").FindElements("./Link[@name='vm']") {
		if typ := l.SelectAttrValue("type", ""); strings.HasSuffix(typ, "records+xml") || strings.HasSuffix(typ, "references+xml") {
			formats++
		}
	}
	if formats != 3 {
		t.Errorf("VMs can be asked for in %d formats", formats)
	}
}

func TestQueriesOfTheRest(t *testing.T) {
	t.Parallel()
	if e := switched(t).login(adminName).get("/api/query?type=dvSwitch"); e.FindElement("./DvSwitchRecord") == nil {
		t.Errorf("no switch: %s", write(e))
	}
	c := newCloud(t, nil)
	u, bob := c.login(adminName), c.login("bob@acme")
	for typ, want := range map[string]string{
		"adminEvent": "AdminEventRecord", "vAppOrgVdcNetworkRelation": "VAppOrgVdcNetworkRelationRecord",
		"blockingTask": "", "adminService": "", "strandedItem": "",
	} {
		e := u.get("/api/query?type=" + typ)
		if got := e.FindElement("./" + or(want, "*Record")); (got == nil) != (want == "") {
			t.Errorf("%s: %s", typ, write(e))
		}
		if want != "" && want != "VAppOrgVdcNetworkRelationRecord" {
			bob.want(http.StatusForbidden, http.MethodGet, "/api/query?type="+typ, "", "")
		}
	}
	for who, want := range map[*user]int{u: 200, c.login("ada@acme"): 200, bob: 403} {
		who.want(want, http.MethodGet, "/api/query?type=organization", "", "")
	}
	if bob.get("/api/query").FindElement("./Link[@name='organization']") != nil {
		t.Error("a user is offered organizations")
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func TestFlagsOfEitherCase(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	org := "/api/admin/org/" + c.acme
	globex := strings.Replace(u.get("/api/query?type=organization&filter=name==globex").FindElement("./OrgRecord").SelectAttrValue("href", ""), "/api/org/", "/api/admin/org/", 1)
	if e := u.task(http.MethodDelete, globex+"?force=False&recursive=False", "", ""); e.SelectAttrValue("status", "") != "error" || !strings.Contains(write(e), "must be disabled") {
		t.Fatalf("an organization that is enabled: %s", write(e))
	}
	u.want(http.StatusBadRequest, http.MethodDelete, org+"?force=True&recursive=False", "", "")
	u.want(http.StatusBadRequest, http.MethodDelete, org+"?force=TRUE&recursive=yes", "", "")
	u.run(http.MethodDelete, org+"?force=True&recursive=True", "", "")
	u.want(http.StatusForbidden, http.MethodGet, org, "", "")
}

func TestLinksThatClientsFollow(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, ada := c.login(adminName), c.login("ada@acme")
	snapshots := func() []string {
		return slices.DeleteFunc(rels(ada.get(c.vappPath())), func(r string) bool { return !strings.HasPrefix(r, "snapshot:") })
	}
	if got := snapshots(); !slices.Equal(got, []string{"snapshot:create"}) {
		t.Errorf("no snapshots: %q", got)
	}
	ada.run(http.MethodPost, c.vappPath()+"/action/createSnapshot", "application/vnd.vmware.vcloud.createSnapshotParams+xml",
		`<CreateSnapshotParams xmlns="http://www.vmware.com/vcloud/v1.5" name="s"/>`)
	if got := snapshots(); !slices.Equal(got, []string{"snapshot:create", "snapshot:revertToCurrent", "snapshot:removeAll"}) {
		t.Errorf("with snapshots: %q", got)
	}
	admin := u.get("/api/admin")
	for _, path := range []string{"./OrganizationReferences/OrganizationReference", "./ProviderVdcReferences/ProviderVdcReference", "./RightReferences/RightReference", "./RoleReferences/RoleReference", "./Networks/Network"} {
		ref := admin.FindElement(path)
		if ref == nil {
			t.Errorf("/api/admin has no %s", path)
			continue
		}
		u.get(ref.SelectAttrValue("href", ""))
	}
	for who, typ := range map[*user]string{u: "adminOrgVdc", ada: "orgVdc"} {
		found := 0
		for _, l := range who.get("/api/org/" + c.acme).FindElements("./Link[@type='application/vnd.vmware.vcloud.query.records+xml']") {
			if href := l.SelectAttrValue("href", ""); strings.Contains(href, "type="+typ+"&") || strings.HasSuffix(href, "type="+typ) {
				found += len(names(who.get(href)))
			}
		}
		if found != 1 {
			t.Errorf("%s: %d VDCs found", typ, found)
		}
	}
	for _, l := range u.get("/api/vApp/vapp-" + c.shop).FindElements("./Link[@type='application/vnd.vmware.vcloud.vAppNetwork+xml']") {
		href := l.SelectAttrValue("href", "")
		if e := u.get(href).FindElement("./Link[@rel='edit']"); e == nil || e.SelectAttrValue("href", "") != href {
			t.Errorf("%s does not link to its own change", href)
		}
	}
	vdc := ada.get("/api/vdc/" + c.vdc)
	for _, rel := range []string{"down", "controlAccess"} {
		if vdc.FindElement("./Link[@rel='"+rel+"'][@type='application/vnd.vmware.vcloud.controlAccess+xml']") == nil {
			t.Errorf("the VDC has no link %s to its access control", rel)
		}
	}
	for _, path := range []string{"/api/vdc/", "/api/admin/vdc/"} {
		if u.get(path+c.vdc).FindElement("./Link[@rel='remove']") == nil {
			t.Errorf("%s has no link to its end", path)
		}
	}
	dan := c.login("dan@acme")
	if dan.get("/api/vdc/"+c.vdc).FindElement("./Link[@type='application/vnd.vmware.vcloud.controlAccess+xml']") != nil {
		t.Error("an author is offered the VDC's access control")
	}
}

// TestLinksToChangeMetadata: only who may is offered to add to metadata, and
// where it can be done.
func TestLinksToChangeMetadata(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, ada, eve := c.login(adminName), c.login("ada@acme"), c.login("eve@acme")
	for _, tc := range []struct {
		who  *user
		path string
		want bool
	}{
		{u, c.vappPath(), true},
		{ada, c.vappPath(), true},
		{eve, c.vappPath(), false}, // reads it
		{u, "/api/vdc/" + c.vdc, false},
		{u, "/api/admin/vdc/" + c.vdc, true},
		{u, "/api/admin/org/" + c.acme, true},
		{u, "/api/org/" + c.acme, false},
	} {
		l := tc.who.get(tc.path + "/metadata").FindElement("./Link[@rel='add']")
		if (l != nil) != tc.want {
			t.Errorf("%s: %v", tc.path, l)
		} else if l != nil {
			tc.who.run(http.MethodPost, l.SelectAttrValue("href", ""), vcloud+"metadata+xml", `<Metadata `+xmlns+`/>`)
		}
	}
}

func TestSubnetsAreComplete(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	p := c.vappPath() + "/networkConfigSection/"
	u.put(p, "networkConfigSection", func(e *etree.Element) {
		scope := e.FindElement("./NetworkConfig[@networkName='lan']//IpScope")
		for _, name := range []string{"SubnetPrefixLength", "IsEnabled"} {
			if k := scope.SelectElement(name); k != nil {
				scope.RemoveChild(k)
			}
		}
		scope.SelectElement("Netmask").SetText("255.255.254.0")
	})
	scope := u.get(p).FindElement("./NetworkConfig[@networkName='lan']//IpScope")
	if textAt(scope, "./SubnetPrefixLength") != "23" || textAt(scope, "./IsEnabled") != "true" {
		t.Errorf("%s", write(scope))
	}
}

// TestDHCPOfBeforeEdges: isolated networks may come with the service that vApp
// networks have.
func TestDHCPOfBeforeEdges(t *testing.T) {
	t.Parallel()
	c := withNetworks(t)
	if err := c.dir.SetNetworkProvider("vdc1", "NSX_V"); err != nil {
		t.Fatal(err)
	}
	ada := c.login("ada@acme")
	body := func(service string) string {
		return fmt.Sprintf(`<OrgVdcNetwork xmlns="http://www.vmware.com/vcloud/v1.5" name="iso"><Configuration><IpScopes><IpScope><IsInherited>false</IsInherited>
<Gateway>10.9.0.1</Gateway><Netmask>255.255.255.0</Netmask><IpRanges><IpRange><StartAddress>10.9.0.10</StartAddress><EndAddress>10.9.0.20</EndAddress></IpRange></IpRanges></IpScope></IpScopes>
<FenceMode>isolated</FenceMode></Configuration><ServiceConfig>%s</ServiceConfig></OrgVdcNetwork>`, service)
	}
	at := "/api/admin/vdc/" + c.vdc + "/networks"
	ada.want(http.StatusBadRequest, http.MethodPost, at, "application/vnd.vmware.vcloud.orgVdcNetwork+xml", body(`<DhcpService><IsEnabled>perhaps</IsEnabled></DhcpService>`))
	ada.want(http.StatusCreated, http.MethodPost, at, "application/vnd.vmware.vcloud.orgVdcNetwork+xml",
		body(`<DhcpService><IsEnabled>true</IsEnabled><DefaultLeaseTime>3600</DefaultLeaseTime><MaxLeaseTime>7200</MaxLeaseTime></DhcpService>`))
}
