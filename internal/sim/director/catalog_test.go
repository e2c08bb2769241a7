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
	var s shelf
	s.catalog = must(d.AddCatalog(director.CatalogSpec{Org: "acme", Name: "golden", Description: "images", Owner: "ada",
		Access: director.AccessSpec{Users: map[string]string{"eve": "ReadOnly"}}, Metadata: []director.MetadataSpec{{Key: "kept", Value: "for ever"}}}))(t)
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
	c := newCloud(t, nil)
	s := c.shelf()
	admin, ada, eve, bob, gil := c.login(adminName), c.login("ada@acme"), c.login("eve@acme"), c.login("bob@acme"), c.login("gil@globex")

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
		eve.get("/api/catalog/" + s.catalog)
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
