package vcd

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// hostile are documents that somebody in the middle, or a broken server,
// could send in place of any other.
func hostile() map[string]string {
	deep := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	return map[string]string{
		"entities that multiply": `<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><VApp>&c;&c;&c;</VApp>`,
		"an outside entity":      `<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><VApp name="&a;">&a;</VApp>`,
		"an entity of nobody's":  `<VApp name="x">&nobody;</VApp>`,
		"depth":                  deep("<a>", "</a>", 1_000_000),
		"depth of JSON":          deep("[", "]", 1_000_000),
		"elements":               "<VApp>" + strings.Repeat("<a/>", 2_000_000) + "</VApp>",
		"attributes":             "<VApp " + strings.Repeat(`a="" `, 1_500_000) + "/>",
		"values of JSON":         `{"values":[` + strings.Repeat("[],", 2_000_000) + `1]}`,
		"size":                   "<VApp><!--" + strings.Repeat("x", MaxDocument) + "--></VApp>",
		"another namespace":      `<x:VApp xmlns:x="urn:nobody" x:id="1"><x:Children><x:Vm/></x:Children></x:VApp>`,
		"an undeclared prefix":   `<y:Vm><z:Children/></y:Vm>`,
		"nothing":                ``,
		"half of it":             `<VApp><Children><Vm name="`,
		"two roots":              `<VApp/><VApp/>`,
		"a page of a proxy's":    `<!DOCTYPE html><html><body><p>Bad gateway<br></body></html>`,
		"JSON for XML":           `{"name":"x","values":{"a":1},"pageCount":"many"}`,
		"bytes":                  "\x00\xff\xfe\x01",
		"an error":               `<Error message="x" majorErrorCode="999999999999999999999" minorErrorCode="Y"/>`,
	}
}

// TestACaptureOfHostileDocuments puts each of them in place of each document of a vApp:
// the capture is refused, or is right about all the others.
func TestACaptureOfHostileDocuments(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long with the race detector")
	}
	for i, place := range []string{
		"/api/vApp/vapp-" + vappUUID, "/api/vApp/vm-" + vmUUID, "/api/vApp/vapp-" + vappUUID + "/controlAccess/",
		"/api/vdc/" + vdcUUID + "/vmAffinityRules", "/cloudapi/1.0.0/orgVdcNetworks/urn:vcloud:network:" + netUUID,
	} {
		for what, doc := range hostile() {
			if i > 0 && len(doc) > 1<<20 {
				continue // large ones are refused before anybody knows what they are
			}
			t.Run(path.Base(place)+" is "+what, func(t *testing.T) {
				f := captureSite(t)
				inner := f.Config.Handler
				f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == place {
						_, _ = w.Write([]byte(doc))
						return
					}
					inner.ServeHTTP(w, r)
				})
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				got, err := f.connect(t).Capture(t.Context(), "urn:vcloud:vapp:"+vappUUID)
				runtime.ReadMemStats(&after)
				if used := after.TotalAlloc - before.TotalAlloc; used > 1<<30 {
					t.Errorf("%d MiB for %d MiB", used>>20, len(doc)>>20)
				}
				if err == nil && len(got.Files) < 30 {
					t.Errorf("%d documents", len(got.Files))
				}
				if err != nil && len(err.Error()) > 1000 {
					t.Errorf("an error of %d bytes: %.200s", len(err.Error()), err)
				}
			})
		}
	}
}

func TestLimitsOfADocument(t *testing.T) {
	t.Parallel()
	all := hostile()
	for what, want := range map[string]error{
		"entities that multiply": ErrDTD, "depth": ErrTooDeep, "elements": ErrTooMany, "attributes": ErrTooMany, "size": ErrTooLarge,
	} {
		if err := wellFormed([]byte(all[what])); !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, want := range map[string]error{"depth of JSON": ErrTooDeep, "values of JSON": ErrTooMany} {
		if err := wellFormedJSON([]byte(all[what])); !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := wellFormedJSON([]byte(`{"a":"[[[\"{{{,","b":[1,2]}`)); err != nil {
		t.Errorf("brackets in a string: %v", err)
	}
}

// safePath is what a document may be filed under.
var safePath = regexp.MustCompile(`^vcd/[0-9A-Za-z][0-9A-Za-z._-]*(/[0-9A-Za-z][0-9A-Za-z._-]*)*$`)

// FuzzFollow: whatever a document says, it leads to documents that have a safe
// place, and to no more than it has room to name.
func FuzzFollow(f *testing.F) {
	f.Add([]byte(vmAsAdmin))
	f.Add([]byte(`<ControlAccessParams><AccessSettings><AccessSetting><Subject href="https://h/api/admin/user/` + userUUID + `"/></AccessSetting></AccessSettings></ControlAccessParams>`))
	f.Add([]byte(`<OrgVdcNetwork><EdgeGateway href="x/` + edgeUUID + `"/><Configuration><ParentNetwork href="../../` + netUUID + `"/></Configuration></OrgVdcNetwork>`))
	f.Add([]byte(`{"connection":{"routerRef":{"id":"urn:vcloud:gateway:` + edgeUUID + `"}},"ownerRef":{"id":"urn:vcloud:vdcGroup:` + roleUUID + `"},"pageCount":7,"values":[1]}`))
	f.Add([]byte(`<Metadata><MetadataEntry><Domain>SYSTEM</Domain><Key>vm.origin.id</Key><TypedValue><Value>` + tplUUID + `</Value></TypedValue></MetadataEntry></Metadata>`))
	f.Add([]byte(`<VdcStorageProfiles/>`))
	c := &Client{}
	vms := []VM{{ID: "urn:vcloud:vm:" + vmUUID}}
	followers := []func([]byte) ([]job, error){
		c.vmContextJobs, c.accessJobs, roleJobs, c.ownerJobs, c.vdcContextJobs, affinityJobs(vms), quotaJobs, networkContext, cloudNetworkContext, edgeContext,
		originJobs("vm.origin.", "vcd/context/templateVMs/", "/api/vAppTemplate/vm-"), originJobs("vapp.origin.", "vcd/context/templates/", "/x"),
		pageJobs("vcd/context/x", "/cloudapi/x", nil)[0].follow, c.diskJobs("/api/disk/" + diskUUID)[0].follow,
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, follow := range followers {
			jobs, err := follow(raw)
			if err != nil && jobs != nil {
				t.Error("jobs beside an error")
			}
			if len(jobs) > 20+len(raw) {
				t.Errorf("%d jobs out of %d bytes", len(jobs), len(raw))
			}
			for _, j := range jobs {
				if !safePath.MatchString(j.path) || strings.Contains(j.path, "..") {
					t.Errorf("path %q", j.path)
				}
			}
		}
	})
}

// FuzzDocuments: what is taken apart here is either refused or the same each
// time, and what is kept can be read by others.
func FuzzDocuments(f *testing.F) {
	for _, s := range []string{
		vmAsAdmin, `<Task id="urn:vcloud:task:1" status="running"><Error message="x"/></Task>`, `<Error majorErrorCode="400" minorErrorCode="BUSY_ENTITY"/>`,
		`<Metadata><MetadataEntry><Key>k</Key><Value>v</Value></MetadataEntry></Metadata>`, `{"minorErrorCode":"X","message":"y"}`,
		`<LeaseSettingsSection/>`, `<a xmlns:x="y" x:b="&lt;"><![CDATA[z]]></a>`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if vm, err := ParseVM(raw); err != nil && vm != nil {
			t.Error("a VM beside an error")
		}
		if m, err := ParseMetadata(raw); err == nil && len(m) > len(raw) {
			t.Error("more entries than bytes")
		}
		if _, _, message := decodeError(&Response{Status: 500, Body: raw}); strings.ContainsAny(message, "\r\n") {
			t.Errorf("message %q", message)
		}
		if _, ok := Link(raw, "", ""); ok && !bytes.Contains(raw, []byte("Link")) {
			t.Error("a link out of nothing")
		}
		_, _ = ParseSubnet(raw)
		if wellFormed(raw) == nil {
			if err := parse(raw, "", &struct{}{}); err != nil {
				t.Errorf("kept, and cannot be parsed: %v", err)
			}
		}
		if wellFormedJSON(raw) == nil {
			_ = fmt.Sprint(pick(raw, "a", "b"))
		}
	})
}
