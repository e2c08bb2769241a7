package diff

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// side makes a Side of VMs, each "name=id", and documents.
func side(id string, docs map[string]string, vms ...string) Side {
	point := &restorepoint.Point{ID: id, VApp: restorepoint.Ref{Name: "shop"}}
	for _, vm := range vms {
		name, id, _ := strings.Cut(vm, "=")
		point.VMs = append(point.VMs, restorepoint.VM{Ref: restorepoint.Ref{ID: "urn:vcloud:vm:" + id, Name: name}})
	}
	raw := map[string][]byte{}
	for name, text := range docs {
		raw[name] = []byte(text)
	}
	s, err := captured(point, raw)
	if err != nil {
		s.Docs = map[string][]byte{} // no documents at all
	}
	return s
}

func compute(t *testing.T, a, b Side, o Options) *Result {
	t.Helper()
	r, err := Compute(t.Context(), a, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func texts(r *Result) (out []string) {
	for _, f := range r.Fields {
		out = append(out, fmt.Sprintf("%s: %s: %s: %s -> %s", f.Object, f.What, f.Change, f.Was, f.Is))
	}
	return out
}

const hardware = `<VirtualHardwareSection xmlns:rasd="r"><Item><rasd:ElementName>%d MB of memory</rasd:ElementName><rasd:InstanceID>5</rasd:InstanceID>` +
	`<rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>%d</rasd:VirtualQuantity></Item>` +
	`<Item><rasd:ElementName>2 CPUs</rasd:ElementName><rasd:InstanceID>4</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>%d</rasd:VirtualQuantity></Item>%s</VirtualHardwareSection>`

func TestFieldsInWords(t *testing.T) {
	nat := func(rules ...string) string {
		return `<NetworkConfigSection><NetworkConfig networkName="dmz"><Configuration><FenceMode>natRouted</FenceMode><Features><NatService><IsEnabled>true</IsEnabled>` +
			strings.Join(rules, "") + `</NatService></Features></Configuration></NetworkConfig></NetworkConfigSection>`
	}
	rule := func(port int) string {
		return fmt.Sprintf(`<NatRule><VmRule><ExternalPort>%d</ExternalPort></VmRule></NatRule>`, port)
	}
	metadata := func(entries string) string { return `<Metadata>` + entries + `</Metadata>` }
	entry := func(key, value string) string {
		return `<MetadataEntry><Domain visibility="PRIVATE">SYSTEM</Domain><Key>` + key + `</Key><TypedValue><Value>` + value + `</Value></TypedValue></MetadataEntry>`
	}
	for _, tc := range []struct {
		name, doc, was, is string
		want               []string
	}{
		{"memory and CPUs", "vcd/vms/1/virtualHardwareSection.xml", fmt.Sprintf(hardware, 4096, 4096, 2, ""), fmt.Sprintf(hardware, 8192, 8192, 4, ""),
			[]string{"vm web: CPUs: changed: 2 -> 4", "vm web: memory: changed: 4096 MB -> 8192 MB"}},
		{"a device", "vcd/vms/1/virtualHardwareSection.xml", fmt.Sprintf(hardware, 1, 1, 1, ""),
			fmt.Sprintf(hardware, 1, 1, 1, `<Item><rasd:ElementName>Floppy 1</rasd:ElementName><rasd:InstanceID>8000</rasd:InstanceID><rasd:ResourceType>14</rasd:ResourceType></Item>`),
			[]string{"vm web: hardware Floppy 1: added:  -> Floppy 1"}},
		{"a rule that differs", "vcd/networkConfigSection.xml", nat(rule(1), rule(2), rule(3)), nat(rule(1), rule(2), rule(4)),
			[]string{"network dmz: NAT rule 3: external port: changed: 3 -> 4"}},
		{"a rule more", "vcd/networkConfigSection.xml", nat(rule(1)), nat(rule(1), rule(2)), []string{"network dmz: NAT rule 2: added:  -> "}},
		{"a network less", "vcd/networkConfigSection.xml", nat(rule(1)), `<NetworkConfigSection/>`, []string{"network dmz: network: removed:  -> "}},
		{"metadata", "vcd/vms/1/metadata.xml", metadata(entry("a/b", "1") + entry("c", "x")), metadata(entry("a/b", "2") + entry("d", "y")),
			[]string{"vm web: metadata (system) a/b: changed: 1 -> 2", "vm web: metadata (system) c: removed: x -> ", "vm web: metadata (system) d: added:  -> y"}},
		{"power", "vcd/vms/1/vm.xml", `<Vm status="4"/>`, `<Vm status="8"/>`, []string{"vm web: status: changed: on -> off"}},
		{"a lease", "vcd/leaseSettingsSection.xml", `<L><StorageLeaseInSeconds>0</StorageLeaseInSeconds></L>`, `<L><StorageLeaseInSeconds>3600</StorageLeaseInSeconds></L>`,
			[]string{"vApp: storage lease: changed: never -> 1h0m0s"}},
		{"a password", "vcd/vms/1/guestCustomizationSection.xml", `<G><AdminPassword>a</AdminPassword></G>`, `<G><AdminPassword>b</AdminPassword></G>`,
			[]string{"vm web: admin password: changed:  -> "}},
		{"a password that comes", "vcd/vms/1/guestCustomizationSection.xml", `<G><AdminPassword/></G>`, `<G><AdminPassword>b</AdminPassword></G>`,
			[]string{"vm web: admin password: added:  -> "}},
		{"a property that nobody may read", "vcd/productSections.xml", `<P><ProductSection><Property key="pin" password="true" value="4711"/></ProductSection></P>`,
			`<P><ProductSection><Property key="pin" password="true" value="4712"/></ProductSection></P>`, []string{"vApp: product section: property pin: value: changed:  -> "}},
		{"what an org network is called", "vcd/context/networks/7.xml", `<OrgNetwork name="dmz"><Description>a</Description></OrgNetwork>`, `<OrgNetwork name="dmz"><Description>b</Description></OrgNetwork>`,
			[]string{"org network dmz: description: changed: a -> b"}},
		{"a list", "vcd/vms/1/securityTags.json", `{"tags":["a","b"]}`, `{"tags":["b","c"]}`, []string{"vm web: tags a: removed: a -> ", "vm web: tags c: added:  -> c"}},
		{"ids and times", "vcd/vapp.xml", `<VApp id="1" href="x"><DateCreated>1</DateCreated></VApp>`, `<VApp id="2" href="y"><DateCreated>2</DateCreated></VApp>`, nil},
		{"usage", "vcd/context/vdc.xml", `<Vdc><ComputeCapacity><Cpu><Used>1</Used></Cpu></ComputeCapacity></Vdc>`, `<Vdc><ComputeCapacity><Cpu><Used>2</Used></Cpu></ComputeCapacity></Vdc>`, nil},
		{"usage in a list", "vcd/context/networks/7.json", `{"name":"n","subnets":{"values":[{"gateway":"10.0.0.1","usedIpCount":1}]}}`, `{"name":"n","subnets":{"values":[{"gateway":"10.0.0.1","usedIpCount":3}]}}`, nil},
		{"a gateway beside it", "vcd/context/networks/7.json", `{"name":"n","gateway":"10.0.0.1","usedIpCount":1}`, `{"name":"n","gateway":"10.0.0.2","usedIpCount":3}`, []string{"org network 7: gateway: changed: 10.0.0.1 -> 10.0.0.2"}},
		{"addresses handed out", "vcd/context/networks/7.allocatedIpAddresses.json", `{"values":[{"ipAddress":"10.0.0.1"}]}`, `{"values":[]}`, nil},
		{"room in a provider VDC", "vcd/context/providerVDCs/7.xml", `<V name="p"><StorageCapacity><Allocation>7</Allocation><Total>9</Total></StorageCapacity></V>`,
			`<V name="p"><StorageCapacity><Allocation>8</Allocation><Total>10</Total></StorageCapacity></V>`, []string{"provider VDC p: storage capacity: total: changed: 9 -> 10"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := compute(t, side("A", map[string]string{tc.doc: tc.was}, "web=1"), side("B", map[string]string{tc.doc: tc.is}, "web=1"), Options{})
			if got := texts(r); !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			if r.Same != (tc.want == nil) {
				t.Errorf("same: %v", r.Same)
			}
		})
	}
}

func TestWhatDiffersAllTheTimeIsShownOnRequest(t *testing.T) {
	a := side("A", map[string]string{"vcd/vapp.xml": `<VApp><DateCreated>1</DateCreated></VApp>`, "vsphere/1/vm.vmx": "a = 1"}, "web=1")
	b := side("B", map[string]string{"vcd/vapp.xml": `<VApp><DateCreated>2</DateCreated></VApp>`, "vsphere/1/vm.vmx": "a = 2"}, "web=1")
	r := compute(t, a, b, Options{All: true})
	if len(r.Fields) != 2 || r.Fields[0].Volatile == "" || r.Fields[1].Volatile == "" || !r.Same {
		t.Errorf("%+v", r.Fields)
	}
}

func TestASectionIsSaidOnce(t *testing.T) {
	docs := func(delay string) map[string]string {
		section := `<StartupSection><Item id="web" startDelay="` + delay + `"/></StartupSection>`
		return map[string]string{"vcd/vapp.xml": `<VApp>` + section + `</VApp>`, "vcd/startupSection.xml": section}
	}
	r := compute(t, side("A", docs("1")), side("B", docs("2")), Options{})
	if got := texts(r); len(got) != 1 || got[0] != "vApp: startup of web: start delay: changed: 1 -> 2" {
		t.Errorf("%q", got)
	}
}

func TestVMsAreFollowed(t *testing.T) {
	doc := func(id, role string) map[string]string {
		return map[string]string{"vcd/vms/" + id + "/vm.xml": `<Vm><Description>` + role + `</Description></Vm>`}
	}
	for _, tc := range []struct {
		name string
		a, b Side
		vms  string
		text string
	}{
		{"renamed", side("A", nil, "web=1"), side("B", nil, "www=1"), "renamed www", ""},
		{"made anew", side("A", doc("1", "x"), "web=1"), side("B", doc("2", "y"), "web=2"), "", "vm web: description: changed: x -> y"},
		{"gone", side("A", doc("1", "x"), "web=1", "db=2"), side("B", nil, "db=2"), "removed web", ""},
		{"come", side("A", nil, "db=2"), side("B", doc("1", "x"), "web=1", "db=2"), "added web", ""},
		{"one renamed to what another was called", side("A", nil, "a=1", "b=2"), side("B", nil, "b=1"), "renamed b, removed b", ""},
	} {
		r := compute(t, tc.a, tc.b, Options{})
		var got []string
		for _, vm := range r.VMs {
			got = append(got, vm.Change+" "+vm.Name)
		}
		if text := strings.Join(got, ", "); text != tc.vms {
			t.Errorf("%s: got %q, want %q", tc.name, text, tc.vms)
		}
		if text := strings.Join(texts(r), "\n"); text != tc.text {
			t.Errorf("%s: got %q, want %q", tc.name, text, tc.text)
		}
	}
}

func TestDisksAreFollowed(t *testing.T) {
	disk := func(key int32, uuid, file string, size int64) restorepoint.Disk {
		return restorepoint.Disk{Key: key, UUID: uuid, Label: fmt.Sprint("disk ", key), FileName: file, Content: restorepoint.DiskContent{Object: "o", Size: size}}
	}
	a, b := side("A", nil, "web=1"), side("B", nil, "web=1")
	a.Point.VMs[0].Disks = []restorepoint.Disk{
		disk(2000, "u0", "[one] a.vmdk", 10), disk(2001, "u1", "[one] b.vmdk", 20), disk(2002, "u2", "[one] c.vmdk", 30), disk(2003, "u3", "[one] d.vmdk", 40),
	}
	b.Point.VMs[0].Disks = []restorepoint.Disk{
		disk(2000, "u0", "[one] a-1.vmdk", 15), disk(2005, "u1", "[two] b.vmdk", 20), disk(2003, "u9", "[one] d.vmdk", 40), disk(2007, "u7", "[one] e.vmdk", 70),
	}
	r := compute(t, a, b, Options{Contents: func(_ context.Context, a, _ restorepoint.DiskContent) (extent.Set, error) {
		if a.Size == 40 {
			return nil, errors.New("no sums")
		}
		return extent.Of(extent.Extent{Length: 5}), nil
	}})
	want := map[int32]string{
		2000: "kept 10 15 5", 2005: "kept 20 20 5 moved", 2002: "removed 30 0", 2003: "kept 40 40 replaced no sums", 2007: "added 0 70",
	}
	for _, d := range r.Disks {
		got := fmt.Sprintf("%s %d %d", d.Change, d.SizeWas, d.SizeIs)
		if d.Changed != nil {
			got += fmt.Sprint(" ", *d.Changed)
		}
		if d.FileWas != d.FileIs {
			got += " moved"
		}
		if d.Replaced {
			got += " replaced"
		}
		if d.Unknown != "" {
			got += " " + d.Unknown
		}
		if got != want[d.Key] {
			t.Errorf("disk %d: got %q, want %q", d.Key, got, want[d.Key])
		}
		delete(want, d.Key)
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
}

func FuzzFields(f *testing.F) {
	f.Add(`<VApp><AdminPassword>hunter2</AdminPassword></VApp>`, `<VApp name="x"/>`)
	f.Add(`<Metadata><MetadataEntry><Key>a]b[</Key></MetadataEntry></Metadata>`, `{"values":[{"a":"/"}]}`)
	f.Add(`<VirtualHardwareSection><Item/><Item/></VirtualHardwareSection>`, `<VirtualHardwareSection/>`)
	f.Fuzz(func(t *testing.T, was, is string) {
		a := side("A", map[string]string{"vcd/vapp.xml": was}, "web=1")
		b := side("B", map[string]string{"vcd/vapp.xml": is}, "web=1")
		r, err := Compute(t.Context(), a, b, Options{All: true})
		if err != nil {
			return
		}
		back, err := Compute(t.Context(), b, a, Options{All: true})
		if err != nil {
			t.Fatalf("one way only: %v", err)
		}
		if len(r.Fields) != len(back.Fields) || r.Same != back.Same {
			t.Fatalf("%d fields one way, %d the other", len(r.Fields), len(back.Fields))
		}
		for _, f := range r.Fields {
			if f.Object == "" || f.What == "" {
				t.Fatalf("no words for %+v", f)
			}
		}
	})
}
