package director_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/beevik/etree"
	"github.com/vmware/govmomi/vim25/mo"
)

const blankSpec = `<VmSpecSection Modified="true"><ovf:Info>x</ovf:Info><OsType>debian12_64Guest</OsType><NumCpus>2</NumCpus>` +
	`<NumCoresPerSocket>1</NumCoresPerSocket><MemoryResourceMb><Configured>128</Configured></MemoryResourceMb><DiskSection><DiskSettings><SizeMb>16</SizeMb>` +
	`<UnitNumber>0</UnitNumber><BusNumber>0</BusNumber><AdapterType>5</AdapterType><ThinProvisioned>true</ThinProvisioned></DiskSettings></DiskSection><HardwareVersion>vmx-15</HardwareVersion></VmSpecSection>`

func (c *cloud) vdcPath() string { return "/api/vdc/" + c.vdc }

// blank makes a standalone VM of nothing and returns its document.
func (u *user) blank(name, sections string) *etree.Element {
	u.c.t.Helper()
	task := u.task(http.MethodPost, u.c.vdcPath()+"/action/createVm", vcloud+"CreateVmParams+xml",
		`<CreateVmParams `+xmlns+` name="`+name+`"><CreateVm name="`+name+`"><Description>made</Description>`+sections+blankSpec+`</CreateVm></CreateVmParams>`)
	if task.SelectAttrValue("status", "") != "success" {
		u.c.t.Fatalf("create %s: %s", name, write(task))
	}
	e := u.get(task.FindElement("./Owner").SelectAttrValue("href", "")).FindElement("./Children/Vm")
	return u.get(e.SelectAttrValue("href", ""))
}

func TestStandaloneVM(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	e := u.blank("solo", `<NetworkConnectionSection><ovf:Info>x</ovf:Info><PrimaryNetworkConnectionIndex>0</PrimaryNetworkConnectionIndex>`+
		`<NetworkConnection network="direct"><NetworkConnectionIndex>0</NetworkConnectionIndex><IsConnected>true</IsConnected>`+
		`<IpAddressAllocationMode>POOL</IpAddressAllocationMode></NetworkConnection></NetworkConnectionSection>`)
	for path, want := range map[string]string{
		"./VmSpecSection/NumCpus": "2", "./VmSpecSection/HardwareVersion": "vmx-15", "./VmSpecSection/DiskSection/DiskSettings/SizeMb": "16",
		"./VmSpecSection/DiskSection/DiskSettings/AdapterType": "5", "./Description": "made", "./NetworkConnectionSection/NetworkConnection/IpAddress": "10.0.0.100",
	} {
		if got := textAt(e, path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	moref := textAt(e, "./VCloudExtension/VmVimInfo/VmVimObjectRef/MoRef")
	var vm mo.VirtualMachine
	if err := c.vm(moref).Properties(context.Background(), vmRef(moref), []string{"config"}, &vm); err != nil || vm.Config.ManagedBy == nil {
		t.Errorf("in vCenter: %v, %+v", err, vm.Config)
	}
	if got := u.get("/api/query?type=vApp&filter=isAutoNature==true").SelectAttrValue("total", ""); got != "1" {
		t.Errorf("shells: got %s", got)
	}
	t.Run("it takes its shell with it", func(t *testing.T) {
		u.run(http.MethodDelete, e.SelectAttrValue("href", ""), "", "")
		if got := u.get("/api/query?type=vApp&filter=isAutoNature==true").SelectAttrValue("total", ""); got != "0" {
			t.Errorf("shells: got %s", got)
		}
	})
}

func TestRecomposeMakesAndChangesVMs(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	db := c.vmPath(u, "db01")
	body := func(inner string) string {
		return `<RecomposeVAppParams ` + xmlns + `>` + inner + `</RecomposeVAppParams>`
	}
	u.run(http.MethodPost, c.vappPath()+"/action/recomposeVApp", vcloud+"recomposeVAppParams+xml", body(`<CreateItem name="new01">`+blankSpec+`</CreateItem>`+
		`<ReconfigureItem name="db02" href="`+db+`"><Description>changed</Description></ReconfigureItem>`))
	e := u.get(c.vappPath())
	for _, name := range []string{"new01", "db02", "web01"} {
		if e.FindElement("./Children/Vm[@name='"+name+"']") == nil {
			t.Errorf("no VM %s", name)
		}
	}
	for name, item := range map[string]string{
		"a name that is taken":       `<CreateItem name="web01">` + blankSpec + `</CreateItem>`,
		"no hardware":                `<CreateItem name="x"/>`,
		"an unknown guest":           `<CreateItem name="x">` + strings.Replace(blankSpec, "debian12_64Guest", "plan9", 1) + `</CreateItem>`,
		"an unknown version":         `<CreateItem name="x">` + strings.Replace(blankSpec, "vmx-15", "vmx-99", 1) + `</CreateItem>`,
		"odd cores":                  `<CreateItem name="x">` + strings.Replace(blankSpec, "<NumCpus>2", "<NumCpus>3", 1) + `</CreateItem>`,
		"a controller too many":      `<CreateItem name="x">` + strings.Replace(blankSpec, "<BusNumber>0", "<BusNumber>4", 1) + `</CreateItem>`,
		"the controller's own unit":  `<CreateItem name="x">` + strings.Replace(blankSpec, "<UnitNumber>0", "<UnitNumber>7", 1) + `</CreateItem>`,
		"a foreign VM to change":     `<ReconfigureItem name="x" href="https://x/api/vApp/vm-00000000-0000-4000-8000-000000000000"/>`,
		"a VM that is there already": `<ReconfigureItem name="web01" href="` + db + `"/>`,
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			if name == "odd cores" {
				item = strings.Replace(item, "<NumCoresPerSocket>1", "<NumCoresPerSocket>2", 1)
			}
			u.want(http.StatusBadRequest, http.MethodPost, c.vappPath()+"/action/recomposeVApp", vcloud+"recomposeVAppParams+xml", body(item))
		})
	}
}

// reconfigure posts a Vm document with those sections.
func (u *user) reconfigure(status int, href, name, sections string) *reply {
	u.c.t.Helper()
	r := u.want(status, http.MethodPost, href+"/action/reconfigureVm", vcloud+"vm+xml", `<Vm `+xmlns+` name="`+name+`">`+sections+`</Vm>`)
	if status == http.StatusAccepted {
		if e := u.wait(r.root(u.c.t).SelectAttrValue("href", "")); e.SelectAttrValue("status", "") != "success" {
			u.c.t.Fatalf("task: %s", write(e))
		}
	}
	return r
}

// specAt is a whole VmSpecSection: the schemas want the hardware version.
func specAt(version, inner string) string {
	return spec(inner + "<HardwareVersion>" + version + "</HardwareVersion>")
}

func spec(inner string) string {
	return `<VmSpecSection Modified="true"><ovf:Info>x</ovf:Info>` + inner + `</VmSpecSection>`
}

func diskSettings(id string, mb int, adapter string, bus, unit int) string {
	if id != "" {
		id = "<DiskId>" + id + "</DiskId>"
	}
	return fmt.Sprintf(`<DiskSettings>%s<SizeMb>%d</SizeMb><UnitNumber>%d</UnitNumber><BusNumber>%d</BusNumber><AdapterType>%s</AdapterType><ThinProvisioned>true</ThinProvisioned></DiskSettings>`,
		id, mb, unit, bus, adapter)
}

func TestReconfigureInFull(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	e := u.blank("solo", "")
	href := e.SelectAttrValue("href", "")
	disk := textAt(e, "./VmSpecSection/DiskSection/DiskSettings/DiskId")
	for _, step := range []struct{ name, sections, path, want string }{
		{"firmware", specAt("vmx-15", `<OsType>debian12_64Guest</OsType><Firmware>efi</Firmware>`), "./VmSpecSection/Firmware", "efi"},
		{"secure boot", `<BootOptions><BootDelay>5</BootDelay><EfiSecureBootEnabled>true</EfiSecureBootEnabled></BootOptions>`, "./BootOptions/EfiSecureBootEnabled", "true"},
		{"a section that is not sent stays", `<Description>d</Description>`, "./BootOptions/BootDelay", "5"},
		{"memory", specAt("vmx-15", `<MemoryResourceMb><Configured>256</Configured><Reservation>64</Reservation></MemoryResourceMb>`), "./VmSpecSection/MemoryResourceMb/Reservation", "64"},
		{"hot add", `<VmCapabilities><MemoryHotAddEnabled>true</MemoryHotAddEnabled><CpuHotAddEnabled>true</CpuHotAddEnabled></VmCapabilities>`, "./VmCapabilities/CpuHotAddEnabled", "true"},
		{"a second disk on a controller of its own", specAt("vmx-15", `<DiskSection>`+diskSettings(disk, 32, "5", 0, 0)+diskSettings("", 8, "4", 1, 2)+`</DiskSection>`),
			"./VmSpecSection/DiskSection/DiskSettings[AdapterType='4']/UnitNumber", "2"},
		{"a disk moves", specAt("vmx-15", `<DiskSection>`+diskSettings(disk, 32, "5", 0, 3)+`</DiskSection>`), "./VmSpecSection/DiskSection/DiskSettings/UnitNumber", "3"},
		{"newer hardware", spec(`<HardwareVersion>vmx-19</HardwareVersion>`), "./VmSpecSection/HardwareVersion", "vmx-19"},
	} {
		t.Run(step.name, func(t *testing.T) {
			u.reconfigure(http.StatusAccepted, href, "solo", step.sections)
			if got := textAt(u.get(href), step.path); got != step.want {
				t.Errorf("got %q, want %q", got, step.want)
			}
		})
	}
	refused := map[string]string{
		"a disk that shrinks":          spec(`<DiskSection>` + diskSettings(disk, 4, "5", 0, 0) + `</DiskSection>`),
		"a disk that is not there":     spec(`<DiskSection>` + diskSettings("2999", 4, "5", 0, 0) + `</DiskSection>`),
		"two disks in one place":       spec(`<DiskSection>` + diskSettings(disk, 32, "5", 0, 1) + diskSettings("", 8, "5", 0, 1) + `</DiskSection>`),
		"older hardware":               spec(`<HardwareVersion>vmx-13</HardwareVersion>`),
		"odd memory":                   spec(`<MemoryResourceMb><Configured>130</Configured></MemoryResourceMb>`),
		"a reservation of too much":    spec(`<MemoryResourceMb><Configured>256</Configured><Reservation>512</Reservation></MemoryResourceMb>`),
		"an unknown storage profile":   `<StorageProfile href="https://x/api/vdcStorageProfile/00000000-0000-4000-8000-000000000000"/>`,
		"an unknown policy":            `<ComputePolicy><VmSizingPolicy href="" id="urn:vcloud:vdcComputePolicy:00000000-0000-4000-8000-000000000000"/></ComputePolicy>`,
		"no policy at all":             `<ComputePolicy/>`,
		"too long a boot delay":        `<BootOptions><BootDelay>10001</BootDelay></BootOptions>`,
		"an unknown network":           `<NetworkConnectionSection><ovf:Info>x</ovf:Info><NetworkConnection network="nowhere"><NetworkConnectionIndex>0</NetworkConnectionIndex><IsConnected>true</IsConnected><IpAddressAllocationMode>DHCP</IpAddressAllocationMode></NetworkConnection></NetworkConnectionSection>`,
		"a bad computer name":          `<GuestCustomizationSection><ovf:Info>x</ovf:Info><ComputerName>a b</ComputerName></GuestCustomizationSection>`,
		"extra configuration of vCD's": `<ovf:VirtualHardwareSection xmlns:vmw="http://www.vmware.com/schema/ovf"><ovf:Info>x</ovf:Info><vmw:ExtraConfig vmw:key="cloud.uuid" vmw:value="x"/></ovf:VirtualHardwareSection>`,
	}
	for name, sections := range refused {
		t.Run("refused: "+name, func(t *testing.T) { u.reconfigure(http.StatusBadRequest, href, "solo", sections) })
	}
	t.Run("an older API has no firmware", func(t *testing.T) {
		c.loginAt(adminName, "37.0").reconfigure(http.StatusBadRequest, href, "solo", spec(`<Firmware>bios</Firmware>`))
	})
	u.run(http.MethodPost, href+"/power/action/powerOn", "", "")
	t.Run("what can be added while it runs", func(t *testing.T) {
		u.reconfigure(http.StatusAccepted, href, "solo", specAt("vmx-19", `<NumCpus>4</NumCpus><MemoryResourceMb><Configured>512</Configured></MemoryResourceMb>`))
	})
	for name, sections := range map[string]string{
		"fewer CPUs": spec(`<NumCpus>1</NumCpus>`), "less memory": spec(`<MemoryResourceMb><Configured>128</Configured></MemoryResourceMb>`),
		"the guest": spec(`<OsType>ubuntu64Guest</OsType>`), "firmware": spec(`<Firmware>bios</Firmware>`), "hardware": spec(`<HardwareVersion>vmx-20</HardwareVersion>`),
		"a disk's place": spec(`<DiskSection>` + diskSettings(disk, 32, "5", 0, 9) + `</DiskSection>`),
	} {
		t.Run("refused while it runs: "+name, func(t *testing.T) {
			if r := u.reconfigure(http.StatusBadRequest, href, "solo", sections); r.code() != "INVALID_STATE" {
				t.Errorf("code: got %s", r.code())
			}
		})
	}
}

func TestHardwareSections(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	href := u.blank("solo", "").SelectAttrValue("href", "")
	hw := href + "/virtualHardwareSection/"
	t.Run("CPUs", func(t *testing.T) {
		e := u.get(hw + "cpu")
		e.FindElement("./VirtualQuantity").SetText("4")
		u.run(http.MethodPut, hw+"cpu", vcloud+"rasdItem+xml", write(e))
		if got := textAt(u.get(href), "./VmSpecSection/NumCpus"); got != "4" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("disks", func(t *testing.T) {
		e := u.get(hw + "disks")
		e.FindElement(".//HostResource").CreateAttr("vcloud:capacity", "64")
		u.run(http.MethodPut, hw+"disks", vcloud+"rasdItemsList+xml", write(e))
		if got := textAt(u.get(href), "./VmSpecSection/DiskSection/DiskSettings/SizeMb"); got != "64" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("items are text that can be taken out", func(t *testing.T) {
		for _, it := range u.get(hw).FindElements("./Item") {
			for _, e := range it.ChildElements() {
				for _, a := range e.Attr {
					if a.Space != "" && a.Space != "xmlns" && a.Space != "ovf" && e.SelectAttr("xmlns:"+a.Space) == nil {
						t.Errorf("%s: the prefix of %s is declared elsewhere", e.Tag, a.FullKey())
					}
				}
			}
		}
	})
	t.Run("what was read is put back", func(t *testing.T) {
		before := u.get(hw)
		u.run(http.MethodPut, hw, vcloud+"virtualHardwareSection+xml", write(before))
		if a, b := write(before), write(u.get(hw)); a != b {
			t.Errorf("before\n%s\nafter\n%s", a, b)
		}
	})
	t.Run("refused", func(t *testing.T) {
		u.want(http.StatusBadRequest, http.MethodPut, hw+"memory", vcloud+"rasdItem+xml", write(u.get(hw+"cpu")))
		u.want(http.StatusUnsupportedMediaType, http.MethodPut, hw+"memory", vcloud+"vm+xml", write(u.get(hw+"memory")))
		u.want(http.StatusNotFound, http.MethodPut, hw+"wings", vcloud+"rasdItem+xml", "<x/>")
	})
	t.Run("boot options", func(t *testing.T) {
		e := u.get(href + "/bootOptions")
		e.FindElement("./BootRetryEnabled").SetText("true")
		u.run(http.MethodPut, href+"/bootOptions", vcloud+"bootOptionsSection+xml", write(e))
		if got := textAt(u.get(href+"/bootOptions"), "./BootRetryEnabled"); got != "true" {
			t.Errorf("got %s", got)
		}
		if c.loginAt(adminName, "37.0").get(href+"/bootOptions").FindElement("./BootRetryEnabled") != nil {
			t.Error("API 37.0 has it too")
		}
	})
}

func TestSmallActions(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	u := c.login(adminName)
	href := u.blank("solo", "").SelectAttrValue("href", "")
	post := func(path string) { t.Helper(); u.run(http.MethodPost, href+path, "", "") }
	refused := func(status int, path, code string) {
		t.Helper()
		if r := u.want(status, http.MethodPost, href+path, "", ""); r.code() != code {
			t.Errorf("%s: got %s", path, r.code())
		}
	}
	for _, path := range []string{"upgradeHardwareVersion", "upgradeHardwareVersion", "enableNestedHypervisor", "disableNestedHypervisor", "consolidate", "checkCompliance", "reloadFromVc"} {
		post("/action/" + path)
	}
	if got := textAt(u.get(href), "./VmSpecSection/HardwareVersion"); got != "vmx-21" {
		t.Errorf("hardware: got %s", got)
	}
	for _, path := range []string{"/screen/action/acquireTicket", "/screen/action/acquireMksTicket", "/action/installVMwareTools", "/power/action/reset",
		"/power/action/shutdown", "/action/discardSuspendedState"} {
		refused(http.StatusBadRequest, path, "INVALID_STATE")
	}
	u.want(http.StatusForbidden, http.MethodGet, href+"/question", "", "")
	post("/power/action/powerOn")
	for _, path := range []string{"/screen/action/acquireTicket", "/screen/action/acquireMksTicket"} {
		u.want(http.StatusOK, http.MethodPost, href+path, "", "")
	}
	refused(http.StatusBadRequest, "/action/upgradeHardwareVersion", "INVALID_STATE")
	refused(http.StatusBadRequest, "/action/enableNestedHypervisor", "INVALID_STATE")
	for _, action := range []string{"shutdown", "reboot"} {
		if e := u.task(http.MethodPost, href+"/power/action/"+action, "", ""); e.SelectAttrValue("status", "") != "error" {
			t.Errorf("%s without VMware Tools: %s", action, write(e))
		}
	}
	undeploy := func(action string) string {
		return `<UndeployVAppParams ` + xmlns + `><UndeployPowerAction>` + action + `</UndeployPowerAction></UndeployVAppParams>`
	}
	e := u.task(http.MethodPost, href+"/action/undeploy", vcloud+"undeployVAppParams+xml", undeploy("shutdown"))
	if e.SelectAttrValue("status", "") != "error" {
		t.Errorf("undeploy: %s", write(e))
	}
	post("/action/installVMwareTools")
	post("/power/action/reboot")
	if len(u.get(href+"/metrics/current").FindElements("./Metric")) == 0 {
		t.Error("no metrics")
	}
	u.want(http.StatusBadRequest, http.MethodPost, href+"/action/undeploy", vcloud+"undeployVAppParams+xml", undeploy("melt"))
	u.run(http.MethodPost, href+"/action/undeploy", vcloud+"undeployVAppParams+xml", undeploy("shutdown"))
	u.want(http.StatusBadRequest, http.MethodPost, href+"/action/undeploy", vcloud+"undeployVAppParams+xml", undeploy("powerOff"))

	deploy := `<DeployVAppParams ` + xmlns + ` powerOn="true" forceCustomization="true"/>`
	u.run(http.MethodPost, href+"/action/deploy", vcloud+"deployVAppParams+xml", deploy)
	if got := u.get("/api/query?type=vm&filter=gcStatus==GC_PENDING").SelectAttrValue("total", ""); got != "1" {
		t.Errorf("pending, says the query: %s", got)
	}
	if got := textAt(u.get(href+"/guestcustomizationstatus"), "./GuestCustStatus"); got != "GC_PENDING" {
		t.Errorf("customization: got %s", got)
	}
	u.want(http.StatusBadRequest, http.MethodPost, href+"/action/deploy", vcloud+"deployVAppParams+xml", deploy)
	post("/power/action/suspend")
	u.reconfigure(http.StatusBadRequest, href, "solo", spec(`<NumCpus>1</NumCpus>`))
	post("/action/discardSuspendedState")
}
