package director_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/director"
)

func (u *user) compose(name, inner string) *reply {
	u.c.t.Helper()
	return u.do(http.MethodPost, "/api/vdc/"+u.c.vdc+"/action/composeVApp", vcloud+"composeVAppParams+xml",
		`<ComposeVAppParams `+vcd+` name="`+name+`" deploy="false" powerOn="false">`+inner+`</ComposeVAppParams>`)
}

// copied is a SourcedItem.
func copied(href, name, params string) string {
	if name != "" {
		name = "<VmGeneralParams><Name>" + name + "</Name></VmGeneralParams>"
	}
	return `<SourcedItem><Source href="` + href + `"/>` + name + params + `</SourcedItem>`
}

func TestCopiesWithHardwareThatNoVMHas(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	s := c.shelf()
	ada := c.login("ada@acme")
	vm := ada.get(s.path()).FindElement("./Children/Vm").SelectAttrValue("href", "")
	custom := func(in string) string {
		return c.instantiate("bad", c.dir.URL().String()+s.path(), `<SourcedVmInstantiationParams><Source href="`+vm+`"/><HardwareCustomization>`+in+
			`</HardwareCustomization></SourcedVmInstantiationParams><AllEULAsAccepted>true</AllEULAsAccepted>`)
	}
	item := func(typ, quantity string) string {
		return `<InstantiationParams><ovf:VirtualHardwareSection xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"><ovf:Info>x</ovf:Info>` +
			`<ovf:Item><rasd:ElementName>e</rasd:ElementName><rasd:InstanceID>2000</rasd:InstanceID><rasd:ResourceType>` + typ +
			`</rasd:ResourceType><rasd:VirtualQuantity>` + quantity + `</rasd:VirtualQuantity></ovf:Item></ovf:VirtualHardwareSection></InstantiationParams>`
	}
	web := c.vmPath(ada, "web01")
	refused := func(what string, r *reply) {
		if r.status != http.StatusBadRequest || r.code() != "BAD_REQUEST" {
			t.Errorf("%s: got %d %s", what, r.status, r.body)
		}
	}
	for typ, quantities := range map[string][]string{
		"3":  {"-1", "0", "abc", "4294967297", "100000"},
		"4":  {"-4", "0", "3", "abc", "99999999999"},
		"17": {"-1", "0", "abc", "1024", "99999999999999999"},
	} {
		for _, q := range quantities {
			tag := map[string]string{"3": "NumberOfCpus", "4": "MemorySize"}[typ]
			if tag != "" {
				refused(tag+" "+q, ada.do(http.MethodPost, "/api/vdc/"+c.vdc+"/action/instantiateVAppTemplate", cloudType+"instantiateVAppTemplateParams+xml",
					custom("<"+tag+">"+q+"</"+tag+">")))
			}
			refused("item "+typ+" of "+q, ada.compose("bad", copied(web, "", item(typ, q))))
		}
	}
	refused("odd cores", ada.do(http.MethodPost, "/api/vdc/"+c.vdc+"/action/instantiateVAppTemplate", cloudType+"instantiateVAppTemplateParams+xml",
		custom("<NumberOfCpus>3</NumberOfCpus><CoresPerSocket>2</CoresPerSocket>")))
}

func TestCopiesDoNotOutgrowTheirProfile(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	web := c.vmPath(u, "web01")
	disk := u.get(web).FindElement("./VmSpecSection//DiskId").Text()
	c.vdc = must(c.dir.AddVDC(director.VDCSpec{Org: "acme", Name: "tight", ResourcePool: "vdc1-pool",
		StorageProfiles: []director.StorageProfileSpec{{Name: "tight", LimitMB: 4}}}))(t)
	sized := func(mb int) string {
		return copied(web, "", `<InstantiationParams><ovf:VirtualHardwareSection xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"><ovf:Info>x</ovf:Info>`+
			`<ovf:Item><rasd:ElementName>e</rasd:ElementName><rasd:InstanceID>`+disk+`</rasd:InstanceID><rasd:ResourceType>17</rasd:ResourceType><rasd:VirtualQuantity>`+
			fmt.Sprint(mb<<20)+`</rasd:VirtualQuantity></ovf:Item></ovf:VirtualHardwareSection></InstantiationParams>`)
	}
	if r := u.compose("big", sized(5)); r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "has 4 MB remaining, requested 5 MB") {
		t.Errorf("got %d %s", r.status, r.body)
	}
	u.location(http.MethodPut, "/cloudapi/1.0.0/orgs/urn:vcloud:org:"+c.acme+"/quotas", pools(`{"resourceType":"storage","quota":5,"quotaResourceUnit":"MB"}`))
	if r := u.compose("big", sized(4)); r.code() != "QUOTA_EXCEEDED" { // two have one MB each
		t.Errorf("got %d %s", r.status, r.body)
	}
	u.location(http.MethodPut, "/cloudapi/1.0.0/orgs/urn:vcloud:org:"+c.acme+"/quotas", pools())
	if r := u.compose("fits", sized(4)); r.status != http.StatusCreated {
		t.Errorf("got %d %s", r.status, r.body)
	} else {
		u.made(r)
	}
}

func TestNamesOfCopies(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	web := c.vmPath(u, "web01")
	t.Run("129 characters are too many, 128 are not", func(t *testing.T) {
		if r := u.compose("long", copied(web, strings.Repeat("ü", 129), "")); r.status != http.StatusBadRequest {
			t.Errorf("got %d %s", r.status, r.body)
		}
		a := u.made(u.compose("long", copied(web, strings.Repeat("ü", 128), "")))
		u.run(http.MethodDelete, a.SelectAttrValue("href", ""), "", "")
	})
	t.Run("a VM comes several times, with local ids of their own", func(t *testing.T) {
		a := u.made(u.compose("twins", copied(web, "one", "")+copied(web, "two", "")+copied(web, "three", "<VAppScopedLocalId>third</VAppScopedLocalId>")))
		ids := texts(a, "./Children/Vm/VAppScopedLocalId")
		if len(ids) != 3 || ids[0] == ids[1] || ids[2] != "third" {
			t.Errorf("got %q", ids)
		}
		if r := u.compose("clash", copied(web, "one", "<VAppScopedLocalId>x</VAppScopedLocalId>")+copied(web, "two", "<VAppScopedLocalId>x</VAppScopedLocalId>")); r.status != http.StatusBadRequest {
			t.Errorf("the same local id twice: got %d", r.status)
		}
	})
	t.Run("a recomposition checks the name", func(t *testing.T) {
		for name, want := range map[string]string{"twins": "DUPLICATE_NAME", "": "BAD_REQUEST", " ": "BAD_REQUEST", strings.Repeat("y", 129): "BAD_REQUEST"} {
			r := u.do(http.MethodPost, c.vappPath()+"/action/recomposeVApp", vcloud+"recomposeVAppParams+xml", `<RecomposeVAppParams `+vcd+` name="`+name+`"/>`)
			if r.status != http.StatusBadRequest || r.code() != want {
				t.Errorf("%q: got %d %s", name, r.status, r.body)
			}
		}
		u.run(http.MethodPost, c.vappPath()+"/action/recomposeVApp", vcloud+"recomposeVAppParams+xml", `<RecomposeVAppParams `+vcd+` name="renamed"/>`)
		if got := u.get(c.vappPath()).SelectAttrValue("name", ""); got != "renamed" {
			t.Errorf("name: got %s", got)
		}
	})
}

func TestImportsAtOnce(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	path := c.vimServer(u) + "/importVmAsVApp"
	atOnce := func(bodies ...string) (made int) {
		replies := make([]*reply, len(bodies))
		var all sync.WaitGroup
		for i, body := range bodies {
			all.Go(func() { replies[i] = u.do(http.MethodPost, path, admin+"importVmAsVAppParams+xml", body) })
		}
		all.Wait()
		for _, r := range replies {
			if r.status == http.StatusCreated {
				made++
				u.made(r)
			} else if r.status != http.StatusBadRequest {
				t.Errorf("got %d %s", r.status, r.body)
			}
		}
		return made
	}
	moref := c.take()
	var same []string
	for i := range 6 {
		same = append(same, c.asVApp(fmt.Sprint("import", i), moref, "true"))
	}
	if n := atOnce(same...); n != 1 {
		t.Errorf("one VM was imported %d times", n)
	}
	if n := atOnce(c.asVApp("named", c.take(), "true"), c.asVApp("named", c.take(), "true")); n != 1 {
		t.Errorf("%d vApps have one name", n)
	}
	left := c.take()
	if n := atOnce(c.asVApp("copy1", left, "false"), c.asVApp("copy2", left, "false")); n != 2 {
		t.Errorf("%d copies of a VM were made, want 2", n)
	}
}

func TestLeaseOfADeployment(t *testing.T) {
	t.Parallel()
	c, u := leased(t, director.OrgLease{DeploymentSeconds: 7200})
	for _, tc := range []struct {
		lease, want string // "" when it is refused
	}{{"-1", ""}, {"abc", ""}, {"1.5", ""}, {"99999999999", ""}, {"600", "600"}, {"0", "7200"}, {"86400", "7200"}} {
		t.Run(tc.lease, func(t *testing.T) {
			path, typ := c.vappPath()+"/action/deploy", vcloud+"deployVAppParams+xml"
			body := `<DeployVAppParams ` + vcd + ` powerOn="false" deploymentLeaseSeconds="` + tc.lease + `"/>`
			if tc.want == "" {
				u.want(http.StatusBadRequest, http.MethodPost, path, typ, body)
				return
			}
			u.run(http.MethodPost, path, typ, body)
			if got := textAt(u.get(c.vappPath()), "./LeaseSettingsSection/DeploymentLeaseInSeconds"); got != tc.want {
				t.Errorf("lease: got %s, want %s", got, tc.want)
			}
			u.run(http.MethodPost, c.vappPath()+"/action/undeploy", vcloud+"undeployVAppParams+xml", `<UndeployVAppParams `+vcd+`/>`)
		})
	}
}

func TestABrokenChunkIsABadRequest(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	conn := must(tls.Dial("tcp", c.dir.URL().Host, &tls.Config{InsecureSkipVerify: true}))(t) //nolint:gosec // self-made certificate
	defer conn.Close()
	must(fmt.Fprintf(conn, "POST /api/sessions HTTP/1.1\r\nHost: x\r\nAccept: application/*+xml;version=%s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nbody\r\n0\r\n\r\n", version))(t)
	r := must(http.ReadResponse(bufio.NewReader(conn), nil))(t)
	defer r.Body.Close()
	if r.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d, want 400", r.StatusCode)
	}
}
