package director_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/sim/director"
)

func TestMediaInADrive(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	s := c.shelf()
	href := u.blank("solo", "").SelectAttrValue("href", "")
	iso := c.dir.URL().String() + "/api/media/" + s.media
	params := func(ref string) string {
		return `<MediaInsertOrEjectParams ` + xmlns + `><Media href="` + ref + `"/></MediaInsertOrEjectParams>`
	}
	typ := vcloud + "mediaInsertOrEjectParams+xml"
	u.want(http.StatusBadRequest, http.MethodPost, href+"/media/action/ejectMedia", typ, params(iso))
	u.run(http.MethodPost, href+"/media/action/insertMedia", typ, params(iso))
	e := u.get(href)
	if got := e.FindElement("./VmSpecSection/MediaSection/MediaSettings/MediaImage"); got == nil || got.SelectAttrValue("href", "") != iso {
		t.Errorf("drive: %s", write(e.FindElement("./VmSpecSection/MediaSection")))
	}
	if got := textAt(e, "./VmSpecSection/MediaSection/MediaSettings/MediaState"); got != "SERVER" {
		t.Errorf("state: got %s", got)
	}
	drive := func() string { return textAt(u.get(href), ".//Item[ResourceType='15']/ResourceSubType") }
	if got := drive(); got != "vmware.cdrom.iso" {
		t.Errorf("with an image the drive is %q", got)
	}
	u.want(http.StatusBadRequest, http.MethodPost, href+"/media/action/insertMedia", typ, params(iso))
	u.run(http.MethodPost, href+"/media/action/ejectMedia", typ, params(iso))
	if u.get(href).FindElement("./VmSpecSection/MediaSection/MediaSettings/MediaImage") != nil {
		t.Error("it is still there")
	}
	if got := drive(); got != "vmware.cdrom.remoteatapi" {
		t.Errorf("empty, the drive is %q", got)
	}
	t.Run("as hardware", func(t *testing.T) {
		list := func(id, in string) string {
			return `<RasdItemsList ` + xmlns + ` xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"><Item>` +
				`<rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>CD/DVD Drive 1</rasd:ElementName><rasd:HostResource>` + in + `</rasd:HostResource><rasd:InstanceID>` + id + `</rasd:InstanceID><rasd:ResourceType>15</rasd:ResourceType></Item></RasdItemsList>`
		}
		at, typ := href+"/virtualHardwareSection/media", vcloud+"rasdItemsList+xml"
		key := textAt(u.get(href), "./VmSpecSection/MediaSection/MediaSettings/DeviceId")
		u.want(http.StatusBadRequest, http.MethodPut, at, typ, list("77", iso))
		u.run(http.MethodPut, at, typ, list(key, iso))
		if u.get(href).FindElement("./VmSpecSection/MediaSection/MediaSettings/MediaImage") == nil {
			t.Error("it is not there")
		}
		u.run(http.MethodPut, at, typ, list(key, ""))
		if u.get(href).FindElement("./VmSpecSection/MediaSection/MediaSettings/MediaImage") != nil {
			t.Error("it is still there")
		}
	})
	u.want(http.StatusForbidden, http.MethodPost, href+"/media/action/insertMedia", typ, params("https://x/api/media/00000000-0000-4000-8000-000000000000"))
}

func TestStartupSection(t *testing.T) {
	t.Parallel()
	c := newCloud(t, func(cfg *director.Config) { cfg.StartupSecond = 10 * time.Millisecond })
	u := c.login(adminName)
	begin := time.Now()
	// db01 comes first and is given 30 seconds.
	u.run(http.MethodPost, c.vappPath()+"/power/action/powerOn", "", "")
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("the delay of db01 was not waited for: %s", took)
	}
	u.run(http.MethodPost, c.vappPath()+"/action/undeploy", vcloud+"undeployVAppParams+xml", `<UndeployVAppParams `+xmlns+`><UndeployPowerAction>default</UndeployPowerAction></UndeployVAppParams>`)
	if got := u.get(c.vappPath()).SelectAttrValue("status", ""); got != "8" {
		t.Errorf("status: got %s", got)
	}
	u.put(c.vappPath()+"/startupSection/", "startupSection", func(e *etree.Element) {
		e.FindElement("./Item[@ovf:id='db01']").CreateAttr("ovf:startAction", "none")
	})
	u.run(http.MethodPost, c.vappPath()+"/power/action/powerOn", "", "")
	e := u.get(c.vappPath())
	if on, off := e.FindElement("./Children/Vm[@name='web01']"), e.FindElement("./Children/Vm[@name='db01']"); on.SelectAttrValue("status", "") != "4" || off.SelectAttrValue("status", "") != "8" {
		t.Errorf("web01 %s, db01 %s", on.SelectAttrValue("status", ""), off.SelectAttrValue("status", ""))
	}
}
