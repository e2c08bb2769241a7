package vcd

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// vmAsAdmin is what a system administrator sees, in prefixes that no document
// has to share.
const vmAsAdmin = `<?xml version="1.0" encoding="UTF-8"?>
<q:Vm xmlns:q="http://www.vmware.com/vcloud/v1.5" xmlns:o="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:e="http://www.vmware.com/vcloud/extension/v1.5" xmlns:r="rasd" needsCustomization="true" deployed="true" status="4"
  name="db &amp; &#x1F34F;" href="https://h/api/vApp/vm-44444444-4444-4444-4444-444444444444">
 <q:VCloudExtension required="false"><e:VmVimInfo>
  <e:VmVimObjectRef><e:VimServerRef href="https://h/api/admin/extension/vimServer/55555555-5555-5555-5555-555555555555" name="vc1"/><e:MoRef>vm-42</e:MoRef></e:VmVimObjectRef>
  <e:DatastoreVimObjectRef><q:VimServerRef href="x"/><e:MoRef>datastore-1</e:MoRef></e:DatastoreVimObjectRef>
  <e:VmDiskDatastores instanceId="2000"><q:VimServerRef href="x"/><e:MoRef>datastore-2</e:MoRef></e:VmDiskDatastores>
  <e:HostVimObjectRef><q:VimServerRef href="x"/><e:MoRef>host-7</e:MoRef></e:HostVimObjectRef>
  <e:VirtualDisksMaxChainLength>3</e:VirtualDisksMaxChainLength></e:VmVimInfo></q:VCloudExtension>
 <q:Description>the
database</q:Description>
 <o:VirtualHardwareSection><o:Item><r:ElementName>Hard disk 1</r:ElementName>
  <r:HostResource q:capacity="2" q:storageProfileHref="https://h/api/vdcStorageProfile/66666666-6666-6666-6666-666666666666" q:disk="https://h/api/disk/77777777-7777-7777-7777-777777777777"/>
  <r:InstanceID>2000</r:InstanceID><r:ResourceType>17</r:ResourceType><r:VirtualQuantity/></o:Item></o:VirtualHardwareSection>
 <q:NetworkConnectionSection><q:PrimaryNetworkConnectionIndex>1</q:PrimaryNetworkConnectionIndex>
  <q:NetworkConnection network="lan"><q:NetworkConnectionIndex>1</q:NetworkConnectionIndex><q:IpAddress>10.0.0.2</q:IpAddress><q:IsConnected>true</q:IsConnected>
  <q:MACAddress>00:50:56:01:02:03</q:MACAddress><q:IpAddressAllocationMode>POOL</q:IpAddressAllocationMode><q:NetworkAdapterType>VMXNET3</q:NetworkAdapterType></q:NetworkConnection></q:NetworkConnectionSection>
 <q:GuestCustomizationSection><q:ComputerName>db01</q:ComputerName></q:GuestCustomizationSection>
 <q:SnapshotSection><q:Snapshot/><q:Snapshot/></q:SnapshotSection>
 <q:VAppScopedLocalId>local-1</q:VAppScopedLocalId>
 <q:StorageProfile href="https://h/api/vdcStorageProfile/66666666-6666-6666-6666-666666666666" name="gold"/>
 <q:ComputePolicy><q:VmSizingPolicy href="https://h/cloudapi/2.0.0/vdcComputePolicies/urn:vcloud:vdcComputePolicy:88888888-8888-8888-8888-888888888888" name="small"/></q:ComputePolicy>
</q:Vm>`

func TestVMOfAnAdministrator(t *testing.T) {
	t.Parallel()
	got, err := ParseVM([]byte(vmAsAdmin))
	if err != nil {
		t.Fatal(err)
	}
	profile := "https://h/api/vdcStorageProfile/66666666-6666-6666-6666-666666666666"
	want := &VM{
		ID: "urn:vcloud:vm:44444444-4444-4444-4444-444444444444", Name: "db & 🍏",
		Href:        "https://h/api/vApp/vm-44444444-4444-4444-4444-444444444444",
		Description: "the\ndatabase", Status: 4, Deployed: true, NeedsCustomization: true, VAppScopedLocalID: "local-1",
		VimInfo: VimInfo{
			VCenterID:   "urn:vcloud:vimserver:55555555-5555-5555-5555-555555555555",
			VCenterHref: "https://h/api/admin/extension/vimServer/55555555-5555-5555-5555-555555555555", VCenterName: "vc1",
			VMMoRef: "vm-42", HostMoRef: "host-7", DatastoreMoRef: "datastore-1",
			Datastores: []DiskDatastore{{"2000", "datastore-2"}}, MaxChainLength: 3,
		},
		StorageProfile: Ref{ID: "urn:vcloud:vdcstorageProfile:66666666-6666-6666-6666-666666666666", Name: "gold", Href: profile},
		ComputePolicies: []Ref{{
			ID: "urn:vcloud:vdcComputePolicy:88888888-8888-8888-8888-888888888888", Name: "small",
			Href: "https://h/cloudapi/2.0.0/vdcComputePolicies/urn:vcloud:vdcComputePolicy:88888888-8888-8888-8888-888888888888",
		}},
		ComputerName: "db01", SnapshotCount: 2,
		NICs: []NIC{{Index: 1, Network: "lan", Connected: true, Primary: true, MAC: "00:50:56:01:02:03", IP: "10.0.0.2", Mode: "POOL", Adapter: "VMXNET3"}},
		Disks: []VMDisk{{
			InstanceID: "2000", Name: "Hard disk 1", Capacity: 2 << 20, StorageProfileHref: profile,
			NamedDisk: "https://h/api/disk/77777777-7777-7777-7777-777777777777",
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRecordedVApp(t *testing.T) {
	t.Parallel()
	raw := recorded(t, "get_vapp.xml")
	v, err := ParseVApp(raw)
	if err != nil {
		t.Fatal(err)
	}
	if v.ID != "urn:vcloud:vapp:"+vappUUID || v.Name != "cfme-vapp" || v.Status != 8 || v.Deployed || v.InMaintenance ||
		v.Owner.Name != "redhat" || v.VDC.ID != "urn:vcloud:vdc:cf6ea964-a67f-4ba1-b69e-3dd5d6cb0c89" || !bytes.Equal(v.Raw, raw) {
		t.Errorf("%+v", v)
	}
	network := VAppNetwork{
		Name: "RedHat Private network 43", Href: "https://VMWARE_CLOUD_HOST/api/network/5813d95e-7ed5-4e26-8775-0877fc9b662f",
		ParentName: "RedHat Private network 43", ParentHref: "https://VMWARE_CLOUD_HOST/api/admin/network/b915be99-1471-4e51-bcde-da2da791b98f",
		FenceMode: "bridged",
	}
	if len(v.Networks) != 2 || v.Networks[1] != network {
		t.Errorf("networks %+v", v.Networks)
	}
	if len(v.VMs) != 2 || v.VMs[1].Name != "Web Server VM" || v.VMs[1].ComputerName != "web-vm" || len(v.VMs[1].NICs) != 2 ||
		v.VMs[1].Disks[0].Capacity != 2<<30 || v.VMs[1].SnapshotCount != 1 {
		t.Errorf("VMs %+v", v.VMs)
	}
	vm, err := ParseVM(recorded(t, "get_vm.xml"))
	if err != nil || !reflect.DeepEqual(*vm, v.VMs[1]) {
		t.Errorf("the VM by itself: %v\n%+v\nwithin the vApp\n%+v", err, vm, v.VMs[1])
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	raw := []byte(`<a:X xmlns:a="n"><a:Link rel="down" type="t/one;version=1" href="1"/><a:Sub><a:Link rel="up" href="0"/></a:Sub><a:Link rel="up" type="T/Two" href="2"/></a:X>`)
	for _, test := range []struct{ rel, typ, want string }{
		{"up", "", "2"}, {"", "t/one", "1"}, {"up", "t/two", "2"}, {"edit", "", ""},
	} {
		if got, ok := Link(raw, test.rel, test.typ); got != test.want || ok != (test.want != "") {
			t.Errorf("Link(%q, %q) = %q, %t", test.rel, test.typ, got, ok)
		}
	}
}

func TestURNsAndHrefs(t *testing.T) {
	t.Parallel()
	c, err := newClient(Options{URL: "https://vcd.example", User: "a@System"})
	if err != nil {
		t.Fatal(err)
	}
	const u = "0a1b2c3d-1111-2222-3333-444455556666"
	for path, urn := range map[string]string{
		"vApp/vapp-" + u:                 "urn:vcloud:vapp:" + u,
		"vApp/vm-" + u:                   "urn:vcloud:vm:" + u,
		"org/" + u:                       "urn:vcloud:org:" + u,
		"admin/user/" + u:                "urn:vcloud:user:" + u,
		"admin/extension/vimServer/" + u: "urn:vcloud:vimserver:" + u,
		"task/" + u:                      "urn:vcloud:task:" + u,
	} {
		href := "https://vcd.example/api/" + path
		if got := URN(href); got != urn {
			t.Errorf("URN(%s) = %s, want %s", href, got, urn)
		}
		if got := c.Href(urn); got != href {
			t.Errorf("Href(%s) = %s, want %s", urn, got, href)
		}
	}
	for href, want := range map[string]string{
		"https://h/api/admin/org/" + u:                           "urn:vcloud:org:" + u,
		"https://h/api/vApp/vapp-" + u + "/":                     "urn:vcloud:vapp:" + u,
		"https://h/api/vApp/vapp-" + u + "/networkConfigSection": "",
		"https://h/api/unheardOf/" + u:                           "",
		"urn:vcloud:vm:" + u:                                     "urn:vcloud:vm:" + u,
		"":                                                       "",
	} {
		if got := URN(href); got != want {
			t.Errorf("URN(%s) = %q, want %q", href, got, want)
		}
	}
	for _, odd := range []string{"urn:vcloud:vapp:../../x", "urn:vcloud:unheardOf:" + u, "web-shop", ""} {
		if got := c.Href(odd); got != "" {
			t.Errorf("Href(%q) = %q, want none", odd, got)
		}
	}
}

func TestHostileDocuments(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("<VApp>", 100_000)
	for name, test := range map[string]struct {
		doc  string
		want error
	}{
		"a DTD":          {`<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><VApp name="&b;"/>`, ErrDTD},
		"a late DTD":     {`<VApp/><!DOCTYPE x>`, ErrDTD},
		"deep nesting":   {deep, ErrTooDeep},
		"an entity":      {`<VApp><Description>&file;</Description></VApp>`, nil},
		"a cut":          {`<VApp><Children><Vm>`, nil},
		"a cut end tag":  {`<VApp></VApp`, nil},
		"a wrong tag":    {`<VApp></Vm>`, nil},
		"another root":   {`<Vm/>`, nil},
		"an empty file":  {``, nil},
		"something else": {`{"json":true}`, nil},
		"two roots":      {`<VApp/><VApp>`, nil},
	} {
		_, err := ParseVApp([]byte(test.doc))
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if _, err := parseQueryPage([]byte(strings.ReplaceAll(test.doc, "VApp", "QueryResultRecords"))); err == nil {
			t.Errorf("%s in a query's answer is accepted", name)
		}
	}
	if _, err := ParseVApp(make([]byte, MaxDocument+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a huge document: %v", err)
	}
}

func FuzzParseVApp(f *testing.F) {
	f.Add([]byte(`<VApp id="urn:vcloud:vapp:1" status="4"><Children>` + strings.TrimPrefix(vmAsAdmin, `<?xml version="1.0" encoding="UTF-8"?>`) + `</Children></VApp>`))
	f.Add([]byte(vmAsAdmin))
	f.Add([]byte(`<!DOCTYPE x><VApp/>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := ParseVApp(raw)
		if err != nil {
			if v != nil {
				t.Error("a vApp beside an error")
			}
			return
		}
		if !bytes.Equal(v.Raw, raw) {
			t.Error("the document is not kept as it was")
		}
		again, err := ParseVApp(raw)
		if err != nil || !reflect.DeepEqual(v, again) {
			t.Errorf("parsed twice: %+v and %+v, %v", v, again, err)
		}
		// What parses can stand inside another document.
		inner, err := fragment(raw)
		if err != nil {
			t.Fatalf("fragment: %v", err)
		}
		if err := parse(fmt.Appendf(nil, "<Outer>%s</Outer>", inner), "Outer", &struct{}{}); err != nil {
			t.Errorf("inside another: %v", err)
		}
	})
}

func FuzzParseQueryPage(f *testing.F) {
	f.Add([]byte(`<q:QueryResultRecords xmlns:q="n" total="3" pageSize="2" page="1"><q:Link rel="nextPage"/><q:VAppRecord name="a" href="1">
		<q:Metadata><q:MetadataEntry><q:Key>k</q:Key><q:TypedValue x:type="MetadataNumberValue"><q:Value>7</q:Value></q:TypedValue></q:MetadataEntry></q:Metadata></q:VAppRecord></q:QueryResultRecords>`))
	f.Add([]byte(`<QueryResultRecords total="99999999999999999999" pageSize="-1" page="x"><Record/></QueryResultRecords>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		page, err := parseQueryPage(raw)
		if err != nil {
			return
		}
		if len(page.records) > bytes.Count(raw, []byte("<")) {
			t.Error("more records than elements")
		}
		for _, r := range page.records {
			if r.Attrs == nil || !strings.HasSuffix(r.Type, "Record") {
				t.Errorf("record %+v", r)
			}
		}
	})
}

func TestOnlyWellFormedDocumentsAreKept(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, doc string
		ok        bool
	}{
		{"a document", "<?xml version=\"1.0\"?>\n<a><b/></a>\n", true},
		{"nothing", "", false},
		{"no XML", "{}", false},
		{"text before the root", "x<a/>", false},
		{"two roots", "<a/><b/>", false},
		{"cut short", "<a><b></b>", false},
		{"a document type declaration", "<!DOCTYPE a><a/>", false},
	} {
		if err := wellFormed([]byte(tc.doc)); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
