package record

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/director"
)

func TestOneOfEachShapeIsKept(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(path, body string, status int, request string) {
		r.Exchange(director.Exchange{Method: http.MethodGet, Path: path, Status: status, ResponseBody: []byte(body), RequestBody: []byte(request)})
	}
	for _, c := range []struct {
		name, path, body string
		status           int
		request          string
		files            int // there are afterwards
	}{
		{"a first document", "/api/vApp/1", `<VApp name="a"><Status>4</Status></VApp>`, 200, "", 1},
		{"another name and number", "/api/vApp/2", `<VApp name="b c"><Status>8</Status></VApp>`, 200, "", 1},
		{"an element twice", "/api/vApp/2", `<VApp name="b"><Status>8</Status><Status>9</Status></VApp>`, 200, "", 1},
		{"another kind of value", "/api/vApp/2", `<VApp name="b"><Status>off</Status></VApp>`, 200, "", 2},
		{"another word of a list", "/api/vApp/2", `<VApp name="b"><Status>POWERED_ON</Status></VApp>`, 200, "", 3},
		{"another attribute", "/api/vApp/2", `<VApp id="b"/>`, 200, "", 4},
		{"JSON", "/cloudapi/1.0.0/orgs", `{"values": []}`, 200, "", 4},
		{"the versions, which have no schema", "/api/versions", `<SupportedVersions/>`, 200, "", 4},
		{"a request that was refused", "/api/vApp/2", "", 400, "<Wrong/>", 4},
		{"a request that was taken", "/api/vApp/2", "", 202, "<Right/>", 5},
		{"a page of a load balancer", "/api/vApp/2", "<html></html>", 503, "", 5},
	} {
		answer(c.path, c.body, c.status, c.request)
		files, err := filepath.Glob(filepath.Join(dir, "*.xml"))
		if err != nil || len(files) != c.files {
			t.Errorf("%s: %d files, %v; want %d", c.name, len(files), err, c.files)
		}
	}
	var none *Recorder
	none.Exchange(director.Exchange{ResponseBody: []byte("<VApp/>")})
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	api := os.Getenv("VAPPVAULT_VCD_API")
	if api == "" {
		t.Skip("VAPPVAULT_VCD_API is not set: no schemas to check against")
	}
	head := ` xmlns="http://www.vmware.com/vcloud/v1.5"`
	settings := func(quantity string) string {
		return `<VmSpecSection` + head + ` xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><ovf:Info></ovf:Info><DiskSection><DiskSettings><SizeMb>1</SizeMb>` +
			`<UnitNumber>0</UnitNumber><BusNumber>0</BusNumber><AdapterType>5</AdapterType><ThinProvisioned>true</ThinProvisioned>` + quantity +
			`</DiskSettings></DiskSection><HardwareVersion>vmx-19</HardwareVersion></VmSpecSection>`
	}
	const unit, quantity = "<VirtualQuantityUnit>byte</VirtualQuantityUnit>", "<VirtualQuantity>5</VirtualQuantity>"
	for name, c := range map[string]struct {
		doc   string
		valid bool
	}{
		"body-of-a-quantity-first":           {settings(quantity + "\n" + unit), true},
		"answer-to-a-quantity-first":         {settings(quantity + unit), false},
		"answer-to-a-unit-first":             {settings(unit + quantity), true},
		"body-of-a-quantity-that-is-not-one": {settings("<VirtualQuantity>x</VirtualQuantity>" + unit), false},
		"valid":                              {`<Owner` + head + `><User href="https://x/api/admin/user/1"/></Owner>`, true},
		"lacks an element":                   {`<Owner` + head + `></Owner>`, false},
		"newer elements":                     {`<IpScope` + head + `><SubnetPrefixLength/></IpScope>`, false}, // what is left is still checked
		"a newer root":                       {`<VdcComputePolicyReferences` + head + `/>`, true},
		"a newer disk":                       {`<Disk` + head + ` name="d" sizeMb="5" encrypted="false"></Disk>`, true},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".xml"), []byte(c.doc), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := Check(dir, api); n != 1 || (err == nil) != c.valid {
			t.Errorf("%s: %d documents, %v; want valid: %v", name, n, err, c.valid)
		}
	}
}

func TestCheckFindsTheOneThatIsWrong(t *testing.T) {
	api := os.Getenv("VAPPVAULT_VCD_API")
	if api == "" {
		t.Skip("VAPPVAULT_VCD_API is not set: no schemas to check against")
	}
	dir := t.TempDir()
	const head = `<Owner xmlns="http://www.vmware.com/vcloud/v1.5">`
	for i := range 9 {
		doc := head + `<User href="https://x/api/admin/user/1"/></Owner>`
		if i == 4 {
			doc = head + `</Owner>`
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("owner-%d.xml", i)), []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n, err := Check(dir, api)
	if n != 9 || err == nil || !strings.Contains(err.Error(), "owner-4.xml") || strings.Contains(err.Error(), "owner-3.xml") {
		t.Errorf("%d documents, %v", n, err)
	}
}

func TestNewerElementsAreCutOut(t *testing.T) {
	names := map[string]bool{"New": true, "Newer": true}
	for doc, want := range map[string]string{
		`<A><New></New><B x="1">&amp;</B></A>`:         `<A><B x="1">&amp;</B></A>`,
		`<A><p:New><New>a</New><B></B></p:New>c</A>`:   `<A>c</A>`,
		"<A> <Newer a=\"<\">\n</Newer><B/>\n</A>\n":    "<A> <Newer a=\"<\">\n</Newer><B/>\n</A>\n", // is not well-formed
		"<A> <Newer a='&lt;'>\n</Newer>\n<B/>\n</A>\n": "<A> \n<B/>\n</A>\n",
		`<New/><A><Newest></Newest></A>`:               `<A><Newest></Newest></A>`,
		`<A><New></A>`:                                 `<A><New></A>`,
		`no document`:                                  `no document`,
	} {
		if got := string(without([]byte(doc), names)); got != want {
			t.Errorf("%s: got %s, want %s", doc, got, want)
		}
	}
}
