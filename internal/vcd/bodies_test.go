package vcd

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// awkward is a name as tenants choose them.
const awkward = `../<Büro> & "Café" 🍏;'x'`

const networkConfig = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<!-- as captured -->
<NetworkConfigSection xmlns="http://www.vmware.com/vcloud/v1.5" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" ovf:required="false">
 <ovf:Info>The configuration parameters for logical networks</ovf:Info>
 <NetworkConfig networkName="lan"><Configuration><FenceMode>isolated</FenceMode></Configuration></NetworkConfig>
</NetworkConfigSection>
`

// bodies are all request bodies that the client builds.
func bodies(t *testing.T) map[string][]byte {
	const h = "https://h/api/"
	take := must[[]byte](t)
	return map[string][]byte{
		"asVApp": take(ImportAsVApp{
			Name: awkward, Description: awkward, NetworkConfigSection: []byte(networkConfig), VMName: awkward, ScopedLocalID: "local-1",
			ComputerName: "db01", MoRef: "vm-42", StorageProfileHref: h + "vdcStorageProfile/1", VDCHref: h + "vdc/1",
		}.body()),
		"asVAppLeast": take(ImportAsVApp{Name: "x", MoRef: "vm-42", VDCHref: h + "vdc/1"}.body()),
		"intoVApp": take(ImportIntoVApp{
			VAppHref: h + "vApp/vapp-1", VMName: awkward, VMDescription: awkward, ScopedLocalID: "local-1",
			ComputerName: "db01", MoRef: "vm-42", StorageProfileHref: h + "vdcStorageProfile/1",
		}.body()),
		"intoVAppLeast": take(ImportIntoVApp{VAppHref: h + "vApp/vapp-1", VMName: "x", MoRef: "vm-42"}.body()),
		"vm": take(ImportVM{
			Name: awkward, Description: awkward, VMName: awkward, ScopedLocalID: "l", ComputerName: "db01", MoRef: "vm-42",
			StorageProfileHref: h + "vdcStorageProfile/1", VDCHref: h + "vdc/1",
		}.body()),
		"vmLeast":      take(ImportVM{Name: "x", VMName: "x", MoRef: "vm-42", VDCHref: h + "vdc/1"}.body()),
		"compose":      take(composeBody(awkward, awkward, []byte(networkConfig))),
		"composeLeast": take(composeBody("x", "", nil)),
		"undeploy":     take(undeployBody("powerOff")),
		"owner":        take(ownerBody(h + "admin/user/1")),
		"metadata":     take(metadataBody(everyKindOfMetadata())),
	}
}

func everyKindOfMetadata() []MetadataEntry {
	return []MetadataEntry{
		{Domain: DomainGeneral, Visibility: "READWRITE", Key: awkward, Type: StringValue, Value: awkward},
		{Domain: DomainGeneral, Visibility: "READWRITE", Key: "n", Type: NumberValue, Value: "-7"},
		{Domain: DomainSystem, Visibility: "PRIVATE", Key: "b", Type: BooleanValue, Value: "true"},
		{Domain: DomainSystem, Visibility: "READONLY", Key: "d", Type: DateTimeValue, Value: "2026-11-22T08:00:00.000Z"},
	}
}

func TestRequestBodiesAreValid(t *testing.T) {
	t.Parallel()
	api := os.Getenv("VAPPVAULT_VCD_API")
	if api == "" {
		t.Skip("VAPPVAULT_VCD_API is not set: no schemas")
	}
	dir := t.TempDir()
	var files []string
	for name, body := range bodies(t) {
		file := filepath.Join(dir, name+".xml")
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if out, err := exec.Command(filepath.Join(api, "validate"), files...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRequestBodiesKeepAwkwardNames(t *testing.T) {
	t.Parallel()
	for name, body := range bodies(t) {
		if strings.HasSuffix(name, "Least") || name == "undeploy" || name == "owner" {
			continue
		}
		d := xml.NewDecoder(strings.NewReader(string(body)))
		found := false
		for {
			tok, err := d.Token()
			if err != nil {
				break
			}
			switch tok := tok.(type) {
			case xml.CharData:
				found = found || string(tok) == awkward
			case xml.StartElement:
				found = found || attr(tok, "name") == awkward
			}
		}
		if !found {
			t.Errorf("%s: the name is not in\n%s", name, body)
		}
	}
}

func TestImportsAlwaysMoveTheSource(t *testing.T) {
	t.Parallel()
	for name, body := range bodies(t) {
		if strings.Contains(name, "asVApp") || strings.Contains(name, "intoVApp") || strings.HasPrefix(name, "vm") {
			if !strings.Contains(string(body), `sourceMove="true"`) {
				t.Errorf("%s leaves a copy behind:\n%s", name, body)
			}
		}
	}
}

func TestMetadataComesBackAsItWent(t *testing.T) {
	t.Parallel()
	want := everyKindOfMetadata()
	raw := must[[]byte](t)(metadataBody(want))
	if got := must[[]MetadataEntry](t)(ParseMetadata(raw)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	odd := `<m:Metadata xmlns:m="n"><m:MetadataEntry><m:Key>k</m:Key><m:TypedValue xmlns:ns17="i" ns17:type="m:MetadataNumberValue"><m:Value>1</m:Value></m:TypedValue></m:MetadataEntry>
		<m:MetadataEntry><m:Key>old</m:Key><m:Value>plain</m:Value></m:MetadataEntry></m:Metadata>`
	wanted := []MetadataEntry{{Domain: "GENERAL", Key: "k", Type: NumberValue, Value: "1"}, {Domain: "GENERAL", Key: "old", Type: StringValue, Value: "plain"}}
	if got := must[[]MetadataEntry](t)(ParseMetadata([]byte(odd))); !reflect.DeepEqual(got, wanted) {
		t.Errorf("got  %+v\nwant %+v", got, wanted)
	}
}

func TestMetadataRequests(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.mux.HandleFunc("/api/vApp/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "gone") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	c := f.connect(t)
	href := "https://h/api/vApp/vapp-1"
	for _, err := range []error{
		c.SetMetadata(t.Context(), href, MetadataEntry{Key: "a/b c"}),
		c.DeleteMetadata(t.Context(), href, DomainSystem, "a/b c?"),
		c.DeleteMetadata(t.Context(), href, DomainGeneral, "gone"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"POST /api/vApp/vapp-1/metadata", "DELETE /api/vApp/vapp-1/metadata/SYSTEM/a%2Fb%20c%3F", "DELETE /api/vApp/vapp-1/metadata/gone",
	}
	if got := f.seen(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
