package director_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/sim/director"
)

const cloudType = "application/vnd.vmware.vcloud."

// A shelf is a catalog with a template and an image in it.
type shelf struct{ catalog, template, media string }

func (c *cloud) shelf() shelf {
	t, d := c.t, c.dir
	for _, u := range []director.UserSpec{{Org: "acme", Name: "kim", Password: password, Role: "vApp Author"}, {Org: "acme", Name: "lee", Password: password, Role: "vApp Author"}} {
		must(d.AddUser(u))(t)
	}
	var s shelf
	s.catalog = must(d.AddCatalog(director.CatalogSpec{Org: "acme", Name: "golden", Description: "images", Owner: "ada",
		Access: director.AccessSpec{Users: map[string]string{"eve": "ReadOnly", "kim": "ReadOnly"}}, Metadata: []director.MetadataSpec{{Key: "kept", Value: "for ever"}}}))(t)
	s.template = must(d.AddTemplate(director.TemplateSpec{Catalog: s.catalog, EULAs: []string{"Do no evil."}, VAppSpec: director.VAppSpec{
		VDC: "vdc1", Name: "debian", Description: "Debian 12", Owner: "ada",
		Networks: []director.VAppNetworkSpec{{Name: "lan", Mode: "isolated", Gateway: "192.168.7.1", Ranges: []director.IPRange{{Start: "192.168.7.10", End: "192.168.7.20"}}}},
		VMs: []director.VMSpec{
			{Name: "one", MoRef: c.take(), NICs: []director.NICSpec{{Network: "lan", Mode: "POOL"}}, Guest: director.GuestSpec{Enabled: true}},
			{Name: "two", MoRef: c.take(), NICs: []director.NICSpec{{Network: "lan", Mode: "DHCP"}}},
		},
		Startup:         []director.StartupItem{{VM: "two", Order: 1}},
		Metadata:        []director.MetadataSpec{{Key: "os", Value: "debian"}},
		ProductSections: []director.ProductSection{{Product: "Debian", Version: "12", Properties: []director.ProductProperty{{Key: "host", UserConfigurable: true}}}},
	}}))(t)
	s.media = must(d.AddMedia(director.MediaSpec{Catalog: s.catalog, VDC: "vdc1", Name: "tools.iso", Description: "drivers", Owner: "ada", Size: 128 << 10}))(t)
	return s
}

func (s shelf) path() string { return "/api/vAppTemplate/vappTemplate-" + s.template }

const vcd = `xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"`

func (c *cloud) instantiate(name, source, more string) string {
	return `<InstantiateVAppTemplateParams ` + vcd + ` name="` + name + `" deploy="false" powerOn="false"><Source href="` + source + `"/>` + more + `</InstantiateVAppTemplateParams>`
}

func TestCatalogDocuments(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	s := c.shelf()
	admin, ada, eve, bob, gil, kim := c.login(adminName), c.login("ada@acme"), c.login("eve@acme"), c.login("bob@acme"), c.login("gil@globex"), c.login("kim@acme")

	t.Run("an organization leads to its catalogs, these to items, these to what they hold", func(t *testing.T) {
		org := ada.get("/api/org/" + c.acme)
		k := ada.get(org.FindElement("./Link[@name='golden']").SelectAttrValue("href", ""))
		var kinds []string
		for _, ref := range k.FindElements("./CatalogItems/CatalogItem") {
			item := ada.get(ref.SelectAttrValue("href", ""))
			e := item.SelectElement("Entity")
			kinds = append(kinds, ada.get(e.SelectAttrValue("href", "")).Tag+" "+e.SelectAttrValue("name", ""))
		}
		if got := strings.Join(kinds, ", "); got != "VAppTemplate debian, Media tools.iso" {
			t.Errorf("got %s", got)
		}
		admin.get("/api/admin/catalog/" + s.catalog)
		if n := len(admin.get("/api/admin/org/" + c.acme).FindElements("./Catalogs/CatalogReference")); n != 1 {
			t.Errorf("admin org: %d catalogs", n)
		}
	})
	t.Run("a template's VMs are off, and are no VMs of the cloud's vApps", func(t *testing.T) {
		d := ada.get(s.path())
		if d.SelectAttrValue("status", "") != "8" || len(d.FindElements("./Children/Vm")) != 2 {
			t.Errorf("got %s", write(d))
		}
		vm := d.FindElement("./Children/Vm").SelectAttrValue("href", "")
		ada.get(vm)
		ada.want(http.StatusForbidden, http.MethodGet, strings.Replace(vm, "/vAppTemplate/", "/vApp/", 1), "", "")
		for _, part := range []string{"networkConnectionSection", "guestCustomizationSection", "virtualHardwareSection", "virtualHardwareSection/disks", "productSections", "metadata"} {
			ada.get(vm + "/" + part)
		}
		for _, part := range []string{"owner", "leaseSettingsSection", "networkConfigSection", "customizationSection", "productSections", "metadata", "metadata/os"} {
			ada.get(s.path() + "/" + part)
		}
		count := func(filter string) int {
			return len(admin.get("/api/query?type=adminVM&filter=" + filter).FindElements("./AdminVMRecord"))
		}
		if all, own := count("isVAppTemplate==true"), count("isVAppTemplate==false"); all != 2 || own != 2 {
			t.Errorf("got %d VMs in templates and %d in vApps", all, own)
		}
	})
	t.Run("queries list them", func(t *testing.T) {
		for _, q := range []string{"catalog", "catalogItem", "vAppTemplate", "media", "vm"} {
			if len(ada.get("/api/query?type="+q).ChildElements()) == 0 {
				t.Errorf("%s: nothing", q)
			}
		}
		for _, q := range []string{"adminCatalog", "adminCatalogItem", "adminVAppTemplate", "adminMedia"} {
			admin.get("/api/query?type=" + q)
			ada.want(http.StatusForbidden, http.MethodGet, "/api/query?type="+q, "", "")
		}
	})
	t.Run("who has no access sees nothing", func(t *testing.T) {
		kim.get("/api/catalog/" + s.catalog)
		eve.get(s.path())
		for _, u := range []*user{bob, gil} {
			for _, path := range []string{"/api/catalog/" + s.catalog, s.path(), "/api/media/" + s.media, "/api/catalog/" + s.catalog + "/metadata"} {
				if r := u.want(http.StatusForbidden, http.MethodGet, path, "", ""); r.code() != "ACCESS_TO_RESOURCE_IS_FORBIDDEN" {
					t.Errorf("%s: %s", path, r.code())
				}
			}
			if n := len(u.get("/api/query?type=catalog").ChildElements()); n != 0 {
				t.Errorf("%d catalogs", n)
			}
		}
	})
}

func children(e *etree.Element, path string) int { return len(e.FindElements(path)) }

func TestInstantiate(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	s := c.shelf()
	ada := c.login("ada@acme")
	vdc, typ := "/api/vdc/"+c.vdc+"/action/instantiateVAppTemplate", cloudType+"instantiateVAppTemplateParams+xml"
	accept := "<AllEULAsAccepted>true</AllEULAsAccepted>"
	source := c.dir.URL().String() + s.path()

	t.Run("the vApp has the template's VMs, networks, sections and metadata", func(t *testing.T) {
		a := ada.made(ada.want(http.StatusCreated, http.MethodPost, vdc, typ, c.instantiate("first", source, accept)))
		if got := a.SelectAttrValue("status", ""); got != "8" || children(a, "./Children/Vm") != 2 || textAt(a, "./Description") != "Debian 12" {
			t.Errorf("status %s: %s", got, write(a))
		}
		if ip := textAt(a, "./Children/Vm[@name='one']/NetworkConnectionSection/NetworkConnection/IpAddress"); ip != "192.168.7.10" {
			t.Errorf("address %q", ip)
		}
		if a.FindElement("./Children/Vm[@name='one']").SelectAttrValue("needsCustomization", "") != "true" {
			t.Error("it is not customized")
		}
		href := a.SelectAttrValue("href", "")
		if v := textAt(ada.get(href+"/metadata"), "./MetadataEntry[Key='os']/TypedValue/Value"); v != "debian" {
			t.Errorf("metadata: %q", v)
		}
		if children(ada.get(href+"/productSections"), "./ProductSection") != 1 {
			t.Error("no product section")
		}
	})
	t.Run("VMs are as large as their items say", func(t *testing.T) {
		vm := ada.get(s.path()).FindElement("./Children/Vm")
		disk := textAt(vm, "./VirtualHardwareSection/Item[ResourceType='17']/InstanceID")
		item := func(typ, id, quantity string) string {
			return `<ovf:Item xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"><rasd:ElementName>e</rasd:ElementName><rasd:InstanceID>` +
				id + `</rasd:InstanceID><rasd:ResourceType>` + typ + `</rasd:ResourceType><rasd:VirtualQuantity>` + quantity + `</rasd:VirtualQuantity></ovf:Item>`
		}
		sized := func(name, disk, bytes string) string {
			return c.instantiate(name, source, `<SourcedItem><Source href="`+vm.SelectAttrValue("href", "")+`"/><InstantiationParams><ovf:VirtualHardwareSection><ovf:Info>x</ovf:Info>`+
				item("3", "4", "2")+item("4", "5", "128")+item("17", disk, bytes)+
				`</ovf:VirtualHardwareSection></InstantiationParams></SourcedItem>`+accept)
		}
		ada.want(http.StatusBadRequest, http.MethodPost, vdc, typ, sized("bad", disk, "0"))
		ada.want(http.StatusBadRequest, http.MethodPost, vdc, typ, sized("bad", "first", "8388608"))
		a := ada.made(ada.want(http.StatusCreated, http.MethodPost, vdc, typ, sized("by items", disk, "8388608")))
		made := a.FindElement("./Children/Vm[@name='" + vm.SelectAttrValue("name", "") + "']")
		for typ, want := range map[string]string{"3": "2", "4": "128", "17": "8388608"} {
			if got := textAt(made, "./VirtualHardwareSection/Item[ResourceType='"+typ+"']/VirtualQuantity"); got != want {
				t.Errorf("type %s: got %s, want %s", typ, got, want)
			}
		}
	})
	t.Run("it starts when it is not told to stay off", func(t *testing.T) {
		body := strings.Replace(c.instantiate("running", source, accept), ` deploy="false" powerOn="false"`, "", 1)
		a := ada.made(ada.want(http.StatusCreated, http.MethodPost, vdc, typ, body))
		if a.SelectAttrValue("status", "") != "4" || a.SelectAttrValue("deployed", "") != "true" {
			t.Errorf("got %s", write(a))
		}
	})
	t.Run("each VM takes its own parameters", func(t *testing.T) {
		vm := ada.get(s.path()).FindElement("./Children/Vm[@name='two']").SelectAttrValue("href", "")
		hw := `<SourcedVmInstantiationParams><Source href="` + vm + `"/><HardwareCustomization><NumberOfCpus>2</NumberOfCpus><MemorySize>128</MemorySize>` +
			`<Disk instanceId="2000"><Size>2</Size></Disk></HardwareCustomization></SourcedVmInstantiationParams>` +
			`<SourcedItem><Source href="` + vm + `"/><VmGeneralParams><Name>renamed</Name></VmGeneralParams></SourcedItem>`
		a := ada.made(ada.want(http.StatusCreated, http.MethodPost, vdc, typ, c.instantiate("sized", source, hw+accept)))
		m := a.FindElement("./Children/Vm[@name='renamed']")
		if m == nil || textAt(m, "./VmSpecSection/NumCpus") != "2" || textAt(m, "./VmSpecSection/DiskSection/DiskSettings/SizeMb") != "2" {
			t.Errorf("got %s", write(a))
		}
	})
	for _, bad := range []struct{ name, body, code string }{
		{"without the EULA", c.instantiate("no", source, ""), "BAD_REQUEST"},
		{"with a name that is taken", c.instantiate("web-shop", source, accept), "DUPLICATE_NAME"},
		{"of a template that does not exist", c.instantiate("no", strings.Replace(source, s.template, c.vdc, 1), accept), "BAD_REQUEST"},
		{"of a template without access", c.instantiate("no", "https://x/api/vAppTemplate/vappTemplate-"+c.shop, accept), "BAD_REQUEST"},
		{"with VMs of something else", c.instantiate("no", source, `<SourcedItem><Source href="`+c.vappPath()+`"/></SourcedItem>`+accept), "BAD_REQUEST"},
		{"with elements in another order", c.instantiate("no", source, accept+"<IsSourceDelete>false</IsSourceDelete>"), "BAD_REQUEST"},
	} {
		t.Run("refused "+bad.name, func(t *testing.T) {
			if r := ada.want(http.StatusBadRequest, http.MethodPost, vdc, typ, bad.body); r.code() != bad.code {
				t.Errorf("got %s, want %s: %s", r.code(), bad.code, r.body)
			}
		})
	}
	t.Run("refused to who may not see the template", func(t *testing.T) {
		c.login("bob@acme").want(http.StatusBadRequest, http.MethodPost, vdc, typ, c.instantiate("no", source, accept))
	})
}

func TestCatalogChanges(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	s := c.shelf()
	sys, ada, eve, dan, gil := c.login(adminName), c.login("ada@acme"), c.login("kim@acme"), c.login("lee@acme"), c.login("gil@globex")
	adminCatalog := func(name string) string {
		return `<AdminCatalog ` + vcd + ` name="` + name + `"><Description>made</Description></AdminCatalog>`
	}
	made := ada.want(http.StatusCreated, http.MethodPost, "/api/admin/org/"+c.acme+"/catalogs", admin+"catalog+xml", adminCatalog("second")).root(t)
	second := made.SelectAttrValue("href", "")
	plain := strings.Replace(second, "/api/admin/", "/api/", 1)
	control := func(k, verb, body string, u *user, status int) *reply {
		path := "/api/org/" + c.acme + "/catalog/" + k[strings.LastIndex(k, "/")+1:]
		if verb == http.MethodGet {
			return u.want(status, verb, path+"/controlAccess", "", "")
		}
		return u.want(status, verb, path+"/action/controlAccess", cloudType+"controlAccess+xml", body)
	}

	t.Run("names are unique in an organization, and users make none", func(t *testing.T) {
		if r := ada.want(http.StatusBadRequest, http.MethodPost, "/api/admin/org/"+c.acme+"/catalogs", admin+"catalog+xml", adminCatalog("second")); r.code() != "DUPLICATE_NAME" {
			t.Error(r.code())
		}
		dan.want(http.StatusForbidden, http.MethodPost, "/api/admin/org/"+c.acme+"/catalogs", admin+"catalog+xml", adminCatalog("dans"))
		gil.want(http.StatusForbidden, http.MethodPost, "/api/admin/org/"+c.acme+"/catalogs", admin+"catalog+xml", adminCatalog("gils"))
	})
	t.Run("a catalog is renamed", func(t *testing.T) {
		ada.want(http.StatusOK, http.MethodPut, second, admin+"catalog+xml", adminCatalog("renamed"))
		if n := ada.get(plain).SelectAttrValue("name", ""); n != "renamed" {
			t.Error(n)
		}
		ada.want(http.StatusBadRequest, http.MethodPut, second, admin+"catalog+xml", adminCatalog("golden"))
		ada.want(http.StatusUnsupportedMediaType, http.MethodPut, second, "text/xml", adminCatalog("x"))
	})
	t.Run("it is shared with users and with organizations", func(t *testing.T) {
		dan.want(http.StatusForbidden, http.MethodGet, plain, "", "")
		share := func(href, level string) string {
			return `<ControlAccessParams ` + vcd + `><IsSharedToEveryone>false</IsSharedToEveryone><AccessSettings><AccessSetting><Subject href="` + href +
				`"/><AccessLevel>` + level + `</AccessLevel></AccessSetting></AccessSettings></ControlAccessParams>`
		}
		var globex string
		for _, o := range sys.get("/api/org").FindElements("./Org[@name='globex']") {
			globex = o.SelectAttrValue("href", "")
		}
		user := sys.get("/api/query?type=adminUser&filter=name==lee").FindElement("./AdminUserRecord").SelectAttrValue("href", "")
		control(plain, http.MethodPost, share(user, "Change"), ada, http.StatusOK)
		dan.get(plain)
		gil.want(http.StatusForbidden, http.MethodGet, plain, "", "")
		control(plain, http.MethodPost, share(globex, "FullControl"), ada, http.StatusBadRequest)
		control(plain, http.MethodPost, share(user, "Everything"), ada, http.StatusBadRequest)
		control(plain, http.MethodPost, share(user, "Change"), dan, http.StatusForbidden)
		control(plain, http.MethodPost, share(globex, "ReadOnly"), ada, http.StatusOK)
		gil.get(plain)
		dan.want(http.StatusForbidden, http.MethodGet, plain, "", "")
		control(plain, http.MethodGet, "", ada, http.StatusOK)
		if textAt(ada.get(plain+"/controlAccess"), ".//AccessLevel") != "ReadOnly" {
			t.Error("the catalog's own address does not show it")
		}
	})
	t.Run("it is published", func(t *testing.T) {
		ada.want(http.StatusNoContent, http.MethodPost, second+"/action/publish", admin+"publishCatalogParams+xml",
			`<PublishCatalogParams `+vcd+`><IsPublished>true</IsPublished></PublishCatalogParams>`)
		if textAt(gil.get(plain), "./IsPublished") != "true" {
			t.Error("it is not")
		}
		ada.want(http.StatusNoContent, http.MethodPost, second+"/action/publishToExternalOrganizations", admin+"publishExternalCatalogParams+xml",
			`<PublishExternalCatalogParams `+vcd+`><IsPublishedExternally>true</IsPublishedExternally><Password>x</Password></PublishExternalCatalogParams>`)
		if textAt(ada.get(second), "./PublishExternalCatalogParams/Password") != "******" {
			t.Error("it tells the password")
		}
	})
	t.Run("items are copied, moved and renamed", func(t *testing.T) {
		item := ada.get("/api/catalog/"+s.catalog).FindElement("./CatalogItems/CatalogItem[@name='debian']").SelectAttrValue("href", "")
		body := func(root, name string) string {
			return `<` + root + ` ` + vcd + ` name="` + name + `"><Source href="` + item + `"/></` + root + `>`
		}
		typ := cloudType + "copyOrMoveCatalogItemParams+xml"
		ada.run(http.MethodPost, plain+"/action/copy", typ, body("CopyOrMoveCatalogItemParams", "copy"))
		k := ada.get(plain)
		entity := ada.get(k.FindElement("./CatalogItems/CatalogItem[@name='copy']").SelectAttrValue("href", "")).SelectElement("Entity").SelectAttrValue("href", "")
		if d := ada.get(entity); d.SelectAttrValue("status", "") != "8" || children(d, "./Children/Vm") != 2 {
			t.Errorf("copy: %s", write(d))
		}
		ada.want(http.StatusBadRequest, http.MethodPost, plain+"/action/copy", typ, body("CopyOrMoveCatalogItemParams", "copy"))
		eve.want(http.StatusForbidden, http.MethodPost, plain+"/action/copy", typ, body("CopyOrMoveCatalogItemParams", "eves"))
		ada.run(http.MethodPost, plain+"/action/move", typ, body("CopyOrMoveCatalogItemParams", "debian"))
		if children(ada.get("/api/catalog/"+s.catalog), "./CatalogItems/CatalogItem") != 1 || children(ada.get(plain), "./CatalogItems/CatalogItem") != 2 {
			t.Error("it was not moved")
		}
		e := ada.get(item).SelectElement("Entity").SelectAttrValue("href", "")
		put := func(name, entity string) string {
			return `<CatalogItem ` + vcd + ` name="` + name + `"><Entity href="` + entity + `"/></CatalogItem>`
		}
		ada.want(http.StatusOK, http.MethodPut, item, cloudType+"catalogItem+xml", put("bookworm", e))
		if n := ada.get(s.path()).SelectAttrValue("name", ""); n != "bookworm" {
			t.Errorf("the template is %s", n)
		}
		ada.want(http.StatusBadRequest, http.MethodPut, item, cloudType+"catalogItem+xml", put("copy", e))
		ada.want(http.StatusBadRequest, http.MethodPut, item, cloudType+"catalogItem+xml", put("bookworm", entity))
		ada.want(http.StatusBadRequest, http.MethodPost, plain+"/catalogItems", cloudType+"catalogItem+xml", put("again", e))
	})
	t.Run("templates and media are changed", func(t *testing.T) {
		ada.run(http.MethodPut, s.path(), cloudType+"vAppTemplate+xml", `<VAppTemplate `+vcd+` name="gold" goldMaster="true"><Description>new</Description></VAppTemplate>`)
		lease := func(seconds string) string {
			return `<LeaseSettingsSection ` + vcd + `><ovf:Info>x</ovf:Info><StorageLeaseInSeconds>` + seconds + `</StorageLeaseInSeconds></LeaseSettingsSection>`
		}
		at, typ := s.path()+"/leaseSettingsSection", cloudType+"leaseSettingsSection+xml"
		// The organization's templates live for 90 days, which never cannot exceed.
		ada.run(http.MethodPut, at, typ, lease("0"))
		if v := textAt(ada.get(at), "./StorageLeaseInSeconds"); v != "7776000" {
			t.Errorf("never is %s", v)
		}
		ada.run(http.MethodPut, at, typ, lease("3600"))
		for _, u := range []*user{ada, sys} {
			u.want(http.StatusBadRequest, http.MethodPut, at, typ, lease("7776001"))
		}
		ada.run(http.MethodPut, s.path()+"/customizationSection", cloudType+"customizationSection+xml",
			`<CustomizationSection `+vcd+`><ovf:Info>x</ovf:Info><CustomizeOnInstantiate>false</CustomizeOnInstantiate></CustomizationSection>`)
		d := ada.get(s.path())
		if d.SelectAttrValue("goldMaster", "") != "true" || textAt(d, "./LeaseSettingsSection/StorageLeaseInSeconds") != "3600" || textAt(d, "./CustomizationSection/CustomizeOnInstantiate") != "false" {
			t.Errorf("got %s", write(d))
		}
		vm := d.FindElement("./Children/Vm").SelectAttrValue("href", "")
		ada.run(http.MethodPut, vm+"/guestCustomizationSection", cloudType+"guestCustomizationSection+xml",
			`<GuestCustomizationSection `+vcd+`><ovf:Info>x</ovf:Info><Enabled>false</Enabled><ComputerName>other</ComputerName></GuestCustomizationSection>`)
		ada.want(http.StatusMethodNotAllowed, http.MethodDelete, vm, "", "")
		ada.run(http.MethodPut, "/api/media/"+s.media, cloudType+"media+xml", `<Media `+vcd+` name="new.iso" imageType="iso" size="1"><Description>d</Description></Media>`)
		ada.run(http.MethodPost, "/api/media/"+s.media+"/metadata", cloudType+"metadata+xml", `<Metadata `+vcd+` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><MetadataEntry><Key>a</Key><TypedValue xsi:type="MetadataStringValue"><Value>b</Value></TypedValue></MetadataEntry></Metadata>`)
		eve.want(http.StatusForbidden, http.MethodDelete, "/api/media/"+s.media, "", "")
	})
	t.Run("what is deleted is gone, in vCenter too", func(t *testing.T) {
		if r := ada.want(http.StatusBadRequest, http.MethodDelete, second, "", ""); r.code() != "BAD_REQUEST" {
			t.Error(r.code())
		}
		moref := textAt(sys.get(s.path()), "./Children/Vm//VmVimObjectRef/MoRef")
		ada.run(http.MethodDelete, second+"?recursive=true&force=true", "", "")
		ada.want(http.StatusForbidden, http.MethodGet, plain, "", "")
		ada.want(http.StatusForbidden, http.MethodGet, s.path(), "", "")
		if moref == "" || c.properties(moref) != nil {
			t.Errorf("VM %q is still there", moref)
		}
		ada.run(http.MethodDelete, "/api/media/"+s.media, "", "")
		ada.want(http.StatusForbidden, http.MethodGet, "/api/media/"+s.media, "", "")
	})
}

func TestCaptureAndClone(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	s := c.shelf()
	ada, bob := c.login("ada@acme"), c.login("bob@acme")
	source := c.dir.URL().String() + c.vappPath()
	capture := func(name, more, customize string) string {
		return `<CaptureVAppParams ` + vcd + ` name="` + name + `"><Description>caught</Description><Source href="` + source + `"/><CustomizationSection><ovf:Info>x</ovf:Info>` +
			`<CustomizeOnInstantiate>` + customize + `</CustomizeOnInstantiate></CustomizationSection>` + more + `</CaptureVAppParams>`
	}
	at, typ := "/api/catalog/"+s.catalog+"/action/captureVApp", cloudType+"captureVAppParams+xml"

	t.Run("a vApp becomes a template and a vApp again", func(t *testing.T) {
		task := ada.task(http.MethodPost, at, typ, capture("caught", "", "true"))
		if task.SelectAttrValue("status", "") != "success" {
			t.Fatal(write(task))
		}
		href := task.FindElement("./Owner").SelectAttrValue("href", "")
		d := ada.get(href)
		if d.SelectAttrValue("status", "") != "8" || children(d, "./Children/Vm") != 2 || children(d, "./NetworkConfigSection/NetworkConfig") < 3 {
			t.Errorf("got %s", write(d))
		}
		a := ada.made(ada.want(http.StatusCreated, http.MethodPost, "/api/vdc/"+c.vdc+"/action/instantiateVAppTemplate", cloudType+"instantiateVAppTemplateParams+xml",
			c.instantiate("again", href, "")))
		if children(a, "./Children/Vm") != 2 {
			t.Errorf("got %s", write(a))
		}
	})
	t.Run("an item is overwritten only when it is named", func(t *testing.T) {
		ada.want(http.StatusBadRequest, http.MethodPost, at, typ, capture("caught", "", "true"))
		item := ada.get("/api/catalog/"+s.catalog).FindElement("./CatalogItems/CatalogItem[@name='caught']").SelectAttrValue("href", "")
		ada.run(http.MethodPost, at, typ, capture("caught", `<TargetCatalogItem href="`+item+`"/>`, "true"))
		if n := children(ada.get("/api/catalog/"+s.catalog), "./CatalogItems/CatalogItem[@name='caught']"); n != 1 {
			t.Errorf("%d items", n)
		}
		bob.want(http.StatusForbidden, http.MethodPost, at, typ, capture("bobs", "", "true"))
	})
	t.Run("a running vApp is captured only to be customized", func(t *testing.T) {
		ada.run(http.MethodPost, c.vappPath()+"/power/action/powerOn", "", "")
		if r := ada.want(http.StatusBadRequest, http.MethodPost, at, typ, capture("live", "", "false")); r.code() != "INVALID_STATE" {
			t.Error(r.code())
		}
		ada.run(http.MethodPost, at, typ, capture("live", "", "true"))
	})
	clone := func(name, remove string) string {
		return `<CloneVAppParams ` + vcd + ` name="` + name + `" deploy="false" powerOn="false"><Source href="` + source + `"/><IsSourceDelete>` + remove + `</IsSourceDelete></CloneVAppParams>`
	}
	to, ct := "/api/vdc/"+c.vdc+"/action/cloneVApp", cloudType+"cloneVAppParams+xml"
	t.Run("a running vApp is copied, not moved", func(t *testing.T) {
		a := ada.made(ada.want(http.StatusCreated, http.MethodPost, to, ct, clone("copy", "false")))
		if children(a, "./Children/Vm") != 2 || a.SelectAttrValue("status", "") != "8" {
			t.Errorf("got %s", write(a))
		}
		if r := ada.want(http.StatusBadRequest, http.MethodPost, to, ct, clone("moved", "true")); r.code() != "INVALID_STATE" {
			t.Error(r.code())
		}
	})
	t.Run("a vApp that is off is moved with its VMs", func(t *testing.T) {
		before := ada.get(c.vappPath()).FindElement("./Children/Vm").SelectAttrValue("id", "")
		ada.run(http.MethodPost, c.vappPath()+"/action/undeploy", cloudType+"undeployVAppParams+xml",
			`<UndeployVAppParams `+vcd+`><UndeployPowerAction>powerOff</UndeployPowerAction></UndeployVAppParams>`)
		a := ada.made(ada.want(http.StatusCreated, http.MethodPost, to, ct, clone("moved", "true")))
		if got := a.FindElement("./Children/Vm").SelectAttrValue("id", ""); got != before {
			t.Errorf("VM %s was %s", got, before)
		}
		ada.want(http.StatusForbidden, http.MethodGet, c.vappPath(), "", "")
	})
}
