package director_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

const (
	vcloud = "application/vnd.vmware.vcloud."
	xmlns  = `xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"`
)

// put writes back a document that was read, changed.
func (u *user) put(path, typ string, change func(*etree.Element)) {
	u.c.t.Helper()
	e := u.get(path)
	change(e)
	u.run(http.MethodPut, path, vcloud+typ+"+xml", write(e))
}

func TestWhatIsPutComesBack(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, p := c.login(adminName), c.vappPath()

	t.Run("name and description of the vApp", func(t *testing.T) {
		u.run(http.MethodPut, p, vcloud+"vApp+xml", `<VApp `+xmlns+` name="shop &amp; more"><Description>new
lines</Description></VApp>`)
		e := u.get(p)
		if got := e.SelectAttrValue("name", "") + "|" + textAt(e, "./Description"); got != "shop & more|new\nlines" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("lease seconds, and not the expiration dates", func(t *testing.T) {
		u.put(p+"/leaseSettingsSection/", "leaseSettingsSection", func(e *etree.Element) {
			e.FindElement("./DeploymentLeaseInSeconds").SetText("7200")
			e.FindElement("./StorageLeaseInSeconds").SetText("86400")
			e.FindElement("./StorageLeaseExpiration").SetText("2001-01-01T00:00:00.000Z")
		})
		e := u.get(p + "/leaseSettingsSection")
		if textAt(e, "./DeploymentLeaseInSeconds") != "7200" || textAt(e, "./StorageLeaseInSeconds") != "86400" {
			t.Errorf("got %s", write(e))
		}
		if strings.HasPrefix(textAt(e, "./StorageLeaseExpiration"), "2001") {
			t.Error("the client could set the expiration date")
		}
	})
	t.Run("startup order", func(t *testing.T) {
		u.put(p+"/startupSection/", "startupSection", func(e *etree.Element) {
			for _, it := range e.FindElements("./Item") {
				it.CreateAttr("ovf:order", "7")
				it.CreateAttr("ovf:startDelay", "9")
			}
		})
		for _, it := range u.get(p + "/startupSection").FindElements("./Item") {
			if it.SelectAttrValue("ovf:order", "") != "7" || it.SelectAttrValue("ovf:startDelay", "") != "9" {
				t.Errorf("got %s", write(it))
			}
		}
	})
	t.Run("product sections, with elements of other makers", func(t *testing.T) {
		u.put(p+"/productSections/", "productSections", func(e *etree.Element) {
			ps := e.FindElement("./ProductSection")
			ps.CreateAttr("ovf:class", "other")
			ps.CreateElement("own").CreateAttr("xmlns", "http://example.com/x")
		})
		e := u.get(p + "/productSections")
		if e.FindElement("./ProductSection[@ovf:class='other']/own") == nil {
			t.Errorf("got %s", write(e))
		}
	})
}

func TestOwnerAndAccess(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, p := c.login(adminName), c.vappPath()
	t.Run("the owner", func(t *testing.T) {
		ref := c.userHref(u, "eve")
		u.want(http.StatusNoContent, http.MethodPut, p+"/owner", vcloud+"owner+xml", `<Owner `+xmlns+`><User href="`+ref+`"/></Owner>`)
		if got := u.get(p+"/owner").FindElement("./User").SelectAttrValue("name", ""); got != "eve" {
			t.Errorf("owner: got %s", got)
		}
		foreign := c.userHref(u, "gil")
		u.want(http.StatusBadRequest, http.MethodPut, p+"/owner", vcloud+"owner+xml", `<Owner `+xmlns+`><User href="`+foreign+`"/></Owner>`)
	})
	t.Run("access, without a Content-Type", func(t *testing.T) {
		body := `<ControlAccessParams ` + xmlns + `><IsSharedToEveryone>true</IsSharedToEveryone><EveryoneAccessLevel>Change</EveryoneAccessLevel>` +
			`<AccessSettings><AccessSetting><Subject href="` + c.userHref(u, "bob") + `"/><AccessLevel>FullControl</AccessLevel></AccessSetting></AccessSettings></ControlAccessParams>`
		u.want(http.StatusOK, http.MethodPost, p+"/action/controlAccess", "", body)
		u.want(http.StatusOK, http.MethodPost, p+"/action/controlAccess/", vcloud+"controlAccess+xml", body)
		e := u.get(p + "/controlAccess/")
		if textAt(e, "./EveryoneAccessLevel") != "Change" || textAt(e, ".//AccessLevel") != "FullControl" {
			t.Errorf("got %s", write(e))
		}
	})
}

func (c *cloud) userHref(u *user, name string) string {
	e := u.get("/api/query?type=adminUser&filter=name==" + name).FindElement("./AdminUserRecord")
	if e == nil {
		c.t.Fatalf("no user %s", name)
	}
	return e.SelectAttrValue("href", "")
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, p := c.login(adminName), c.vappPath()+"/metadata"
	entry := func(domain, key, typ, value string) string {
		return `<MetadataEntry>` + domain + `<Key>` + key + `</Key><TypedValue xsi:type="` + typ + `"><Value>` + value + `</Value></TypedValue></MetadataEntry>`
	}
	const root = `<Metadata ` + xmlns + ` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">`
	u.run(http.MethodPost, p, vcloud+"metadata+xml", root+
		entry("", "backup", "MetadataStringValue", "weekly")+
		entry(`<Domain visibility="READONLY">SYSTEM</Domain>`, "shown", "MetadataBooleanValue", "true")+
		entry("", "when", "MetadataDateTimeValue", "2026-01-02T03:04:05.000Z")+`</Metadata>`)
	e := u.get(p + "/")
	for key, want := range map[string]string{"backup": "weekly", "count": "3", "shown": "true", "when": "2026-01-02T03:04:05.000Z", "secret": "x"} {
		if got := textAt(e, "./MetadataEntry[Key='"+key+"']/TypedValue/Value"); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	t.Run("tenants see no private entries and write none of the system's", func(t *testing.T) {
		ada := c.login("ada@acme")
		got := texts(ada.get(p), "./MetadataEntry/Key")
		if slices.Contains(got, "secret") || !slices.Contains(got, "shown") {
			t.Errorf("got %v", got)
		}
		body := `<MetadataValue ` + xmlns + ` xmlns:q="http://www.w3.org/2001/XMLSchema-instance"><TypedValue q:type="MetadataStringValue"><Value>v</Value></TypedValue></MetadataValue>`
		ada.want(http.StatusForbidden, http.MethodPut, p+"/SYSTEM/k", vcloud+"metadata.value+xml", body)
		ada.want(http.StatusForbidden, http.MethodDelete, p+"/SYSTEM/shown", "", "")
		ada.run(http.MethodPut, p+"/a%2Fb%20c", vcloud+"metadata.value+xml", body)
		if got := texts(ada.get(p), "./MetadataEntry/Key"); !slices.Contains(got, "a/b c") {
			t.Errorf("a key with a slash: got %v", got)
		}
	})
	t.Run("a key and its domain are deleted", func(t *testing.T) {
		u.run(http.MethodDelete, p+"/backup", "", "")
		u.run(http.MethodDelete, p+"/SYSTEM/shown", "", "")
		u.want(http.StatusForbidden, http.MethodGet, p+"/backup", "", "")
		u.want(http.StatusNotFound, http.MethodDelete, p+"/SYSTEM/shown", "", "")
	})
	t.Run("values are of their types", func(t *testing.T) {
		u.want(http.StatusBadRequest, http.MethodPost, p, vcloud+"metadata+xml", root+entry("", "n", "MetadataNumberValue", "many")+`</Metadata>`)
		u.want(http.StatusBadRequest, http.MethodPost, p, vcloud+"metadata+xml", root+entry("", "n", "MetadataColourValue", "red")+`</Metadata>`)
	})
	t.Run("a type with an odd prefix", func(t *testing.T) {
		u.run(http.MethodPost, p, vcloud+"metadata+xml", `<Metadata `+xmlns+` xmlns:ns1="http://www.w3.org/2001/XMLSchema-instance" xmlns:v="http://www.vmware.com/vcloud/v1.5">`+
			`<MetadataEntry><Key>odd</Key><TypedValue ns1:type="v:MetadataNumberValue"><Value>12</Value></TypedValue></MetadataEntry></Metadata>`)
		if got := u.get(p+"/odd").FindElement("./TypedValue").SelectAttrValue("xsi:type", ""); got != "MetadataNumberValue" {
			t.Errorf("got %s", got)
		}
	})
}

func TestNetworksOfAVApp(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, p := c.login(adminName), c.vappPath()+"/networkConfigSection/"
	before := u.get(p)
	ids := texts(before, "//NetworkConfig")

	t.Run("putting back what was read changes nothing", func(t *testing.T) {
		u.put(p, "networkConfigSection", func(*etree.Element) {})
		if a, b := write(before), write(u.get(p)); a != b {
			t.Errorf("before\n%s\nafter\n%s", a, b)
		}
	})
	t.Run("a network keeps its id, its router address is not the client's", func(t *testing.T) {
		router := textAt(before, "//RouterInfo/ExternalIp")
		u.put(p, "networkConfigSection", func(e *etree.Element) {
			nc := e.FindElement("./NetworkConfig[@networkName='dmz']")
			nc.FindElement("./Description").SetText("changed")
			nc.FindElement(".//RouterInfo/ExternalIp").SetText("10.1.0.250")
		})
		e := u.get(p)
		if got := textAt(e, "./NetworkConfig[@networkName='dmz']/Description"); got != "changed" {
			t.Errorf("description: got %q", got)
		}
		if got := textAt(e, "//RouterInfo/ExternalIp"); got != router || got == "" {
			t.Errorf("router: got %q, want %q", got, router)
		}
		if len(texts(e, "//NetworkConfig")) != len(ids) {
			t.Error("networks came or went")
		}
	})
	t.Run("a network is changed on its own", func(t *testing.T) {
		var href string
		for _, l := range u.get(c.vappPath()).FindElements("./Link[@type='application/vnd.vmware.vcloud.vAppNetwork+xml']") {
			if l.SelectAttrValue("name", "") == "dmz" {
				href = l.SelectAttrValue("href", "")
			}
		}
		u.put(href, "vAppNetwork", func(e *etree.Element) { e.FindElement(".//FirewallService/DefaultAction").SetText("allow") })
		if got := textAt(u.get(p), "./NetworkConfig[@networkName='dmz']//DefaultAction"); got != "allow" {
			t.Errorf("got %q", got)
		}
		u.want(http.StatusBadRequest, http.MethodDelete, href, "", "")
	})
	t.Run("a network that nobody uses goes", func(t *testing.T) {
		u.put(p, "networkConfigSection", func(e *etree.Element) { e.RemoveChild(e.FindElement("./NetworkConfig[@networkName='lan']")) })
		if u.get(p).FindElement("./NetworkConfig[@networkName='lan']") != nil {
			t.Error("it is still there")
		}
	})
}

func TestNetworksThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u, p := c.login(adminName), c.vappPath()+"/networkConfigSection/"
	refused := map[string]func(*etree.Element){
		"a NAT rule that names an unknown VM":  func(e *etree.Element) { e.FindElement("//VAppScopedVmId").SetText("nobody") },
		"a NAT rule that names an unknown NIC": func(e *etree.Element) { e.FindElement("//VmNicId").SetText("5") },
		"an unknown parent network": func(e *etree.Element) {
			e.FindElement("./NetworkConfig[@networkName='direct']//ParentNetwork").CreateAttr("href", "https://x/api/network/00000000-0000-4000-8000-000000000000")
		},
		"an unknown mode": func(e *etree.Element) {
			e.FindElement("./NetworkConfig[@networkName='lan']//FenceMode").SetText("fenced")
		},
		"an element out of order": func(e *etree.Element) {
			conf := e.FindElement("./NetworkConfig[@networkName='lan']/Configuration")
			conf.InsertChildAt(0, conf.RemoveChild(conf.FindElement("./FenceMode")))
		},
		"an unknown element": func(e *etree.Element) { e.FindElement("./NetworkConfig/Configuration").CreateElement("Speed") },
		"no fence mode": func(e *etree.Element) {
			conf := e.FindElement("./NetworkConfig[@networkName='lan']/Configuration")
			conf.RemoveChild(conf.FindElement("./FenceMode"))
		},
	}
	for name, spoil := range refused {
		t.Run("refused: "+name, func(t *testing.T) {
			e := u.get(p)
			spoil(e)
			r := u.want(http.StatusBadRequest, http.MethodPut, p, vcloud+"networkConfigSection+xml", write(e))
			if r.code() != "BAD_REQUEST" {
				t.Errorf("code: got %s", r.code())
			}
		})
	}
}

// vmPath is the address of a VM of the shop.
func (c *cloud) vmPath(u *user, name string) string {
	c.t.Helper()
	e := u.get(c.vappPath()).FindElement("./Children/Vm[@name='" + name + "']")
	if e == nil {
		c.t.Fatalf("no VM %s", name)
	}
	return e.SelectAttrValue("href", "")
}

func TestNICs(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	web := c.vmPath(u, "web01")
	p := web + "/networkConnectionSection/"
	first := u.get(p)
	mac := textAt(first, "//MACAddress")
	if got := textAt(first, "//IpAddress"); got != "192.168.2.100" {
		t.Fatalf("pool address: got %q", got)
	}
	t.Run("an address for POOL is ignored", func(t *testing.T) {
		u.put(p, "networkConnectionSection", func(e *etree.Element) { e.FindElement("//IpAddress").SetText("192.168.2.177") })
		if got := textAt(u.get(p), "//IpAddress"); got != "192.168.2.100" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("an address for MANUAL is kept", func(t *testing.T) {
		u.put(p, "networkConnectionSection", func(e *etree.Element) {
			e.FindElement("//IpAddress").SetText("192.168.2.177")
			e.FindElement("//IpAddressAllocationMode").SetText("MANUAL")
			e.FindElement("//MACAddress").SetText("00:50:56:AA:00:01")
			e.FindElement("//IsConnected").SetText("false")
		})
		e := u.get(p)
		if textAt(e, "//IpAddress") != "192.168.2.177" || textAt(e, "//MACAddress") != "00:50:56:aa:00:01" || textAt(e, "//IsConnected") != "false" {
			t.Errorf("got %s", write(e))
		}
		hw := u.get(web + "/virtualHardwareSection/networkCards")
		if got := textAt(hw, "//Address"); got != "00:50:56:aa:00:01" {
			t.Errorf("MAC in vCenter: got %s, was %s", got, mac)
		}
	})
	t.Run("a MAC that another VM has is refused", func(t *testing.T) {
		other := textAt(u.get(c.vmPath(u, "db01")+"/networkConnectionSection"), "//MACAddress")
		e := u.get(p)
		e.FindElement("//MACAddress").SetText(other)
		u.want(http.StatusBadRequest, http.MethodPut, p, vcloud+"networkConnectionSection+xml", write(e))
	})
}

func TestNICsComeAndGo(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	p := c.vmPath(u, "web01") + "/networkConnectionSection/"
	t.Run("a NIC is added and one is taken away", func(t *testing.T) {
		u.put(p, "networkConnectionSection", func(e *etree.Element) {
			nc := e.FindElement("./NetworkConnection").Copy()
			nc.FindElement("./NetworkConnectionIndex").SetText("1")
			nc.CreateAttr("network", "lan")
			nc.RemoveChild(nc.FindElement("./MACAddress"))
			nc.FindElement("./IpAddressAllocationMode").SetText("POOL")
			nc.FindElement("./NetworkAdapterType").SetText("E1000E")
			e.InsertChildAt(e.FindElement("./NetworkConnection").Index()+1, nc)
		})
		e := u.get(p)
		if got := fmt.Sprint(texts(e, "//NetworkConnectionIndex"), texts(e, "//IpAddress"), texts(e, "//NetworkAdapterType")[1]); got != "[0 1] [192.168.2.100 192.168.9.10]E1000E" {
			t.Errorf("got %s", got)
		}
		u.put(p, "networkConnectionSection", func(e *etree.Element) {
			e.RemoveChild(e.FindElements("./NetworkConnection")[0])
			e.FindElement("./PrimaryNetworkConnectionIndex").SetText("1")
		})
		if got := texts(u.get(p), "//NetworkConnectionIndex"); !slices.Equal(got, []string{"1"}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestReconfigureVM(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	p := c.vmPath(u, "db01")
	e := u.get(p)
	e.CreateAttr("name", "db02")
	e.FindElement("./Description").SetText("second")
	spec := e.FindElement("./VmSpecSection")
	spec.CreateAttr("Modified", "true")
	spec.FindElement("./NumCpus").SetText("4")
	spec.FindElement("./NumCoresPerSocket").SetText("2")
	spec.FindElement("./MemoryResourceMb/Configured").SetText("2048")
	spec.FindElement("./DiskSection/DiskSettings/SizeMb").SetText("20480")
	e.FindElement("./GuestCustomizationSection/ComputerName").SetText("db02")
	e.FindElement("./BootOptions/BootDelay").SetText("500")
	e.RemoveChild(e.FindElement("./VirtualHardwareSection"))
	e.RemoveChild(e.FindElement("./VCloudExtension"))
	u.run(http.MethodPost, p+"/action/reconfigureVm", vcloud+"vm+xml", write(e))
	got := u.get(p)
	for path, want := range map[string]string{
		"./Description": "second", "./VmSpecSection/NumCpus": "4", "./VmSpecSection/NumCoresPerSocket": "2",
		"./VmSpecSection/MemoryResourceMb/Configured": "2048", "./VmSpecSection/DiskSection/DiskSettings/SizeMb": "20480",
		"./GuestCustomizationSection/ComputerName": "db02", "./BootOptions/BootDelay": "500",
	} {
		if v := textAt(got, path); v != want {
			t.Errorf("%s: got %q, want %q", path, v, want)
		}
	}
	if got.SelectAttrValue("name", "") != "db02" {
		t.Error("the name stayed")
	}
	t.Run("the password is kept", func(t *testing.T) {
		g := c.vmPath(u, "web01") + "/guestCustomizationSection/"
		u.run(http.MethodPut, g, vcloud+"guestCustomizationSection+xml", `<GuestCustomizationSection `+xmlns+`><ovf:Info>x</ovf:Info><Enabled>false</Enabled></GuestCustomizationSection>`)
		e := u.get(g)
		if textAt(e, "./AdminPassword") != "hunter2" || textAt(e, "./Enabled") != "false" || textAt(e, "./CustomizationScript") != "#!/bin/sh\necho hi\n" {
			t.Errorf("got %s", write(e))
		}
	})
}
