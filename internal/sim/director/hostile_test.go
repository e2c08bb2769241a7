package director_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHostileXML: a body that is made to harm is refused, soon, and nothing
// else is the worse for it.
func TestHostileXML(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	ada := c.login("ada@acme")
	at, typ := "/api/vdc/"+c.vdc+"/action/composeVApp", vcloud+"composeVAppParams+xml"
	body := func(in string) string {
		return `<ComposeVAppParams ` + xmlns + ` name="x">` + in + `</ComposeVAppParams>`
	}
	lol := `<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">`
	for i := range 9 {
		lol += `<!ENTITY ` + string(rune('b'+i)) + ` "` + strings.Repeat("&"+string(rune('a'+i))+";", 10) + `">`
	}
	attributes := ""
	for i := range 300 {
		attributes += fmt.Sprintf(` a%d=""`, i)
	}
	for name, doc := range map[string]string{
		"entities that grow":           lol + `]>` + body(`<Description>&j;</Description>`),
		"a file":                       `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>` + body(`<Description>&e;</Description>`),
		"a document type":              `<!DOCTYPE ComposeVAppParams>` + body(""),
		"an unknown entity":            body(`<Description>&nothing;</Description>`),
		"elements too deep":            body(`<VCloudExtension>` + strings.Repeat("<a>", 200_000) + strings.Repeat("</a>", 200_000) + `</VCloudExtension>`),
		"elements too deep, no end":    body("")[:60] + strings.Repeat("<a>", 1_000_000),
		"too many attributes":          `<ComposeVAppParams ` + xmlns + ` name="x"` + attributes + `/>`,
		"an attribute twice":           `<ComposeVAppParams ` + xmlns + ` name="x" name="y"/>`,
		"two documents":                body("") + body(""),
		"a NUL":                        strings.Replace(body(""), `"x"`, "\"x\x00\"", 1),
		"a NUL by number":              strings.Replace(body(""), `"x"`, `"x&#0;"`, 1),
		"bytes that are not UTF-8":     strings.Replace(body(""), `"x"`, "\"\xff\xfe\"", 1),
		"UTF-16 that is none":          `<?xml version="1.0" encoding="UTF-16"?>` + body(""),
		"an unknown encoding":          `<?xml version="1.0" encoding="klingon"?>` + body(""),
		"a prefix without a namespace": `<q:ComposeVAppParams name="x"/>`,
		"nothing":                      "",
		"no XML":                       strings.Repeat("x", 1<<20),
		"a very long name":             strings.Replace(body(""), `"x"`, `"`+strings.Repeat("x", 1<<20)+`"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			r := ada.want(http.StatusBadRequest, http.MethodPost, at, typ, doc)
			if d := time.Since(begun); d > 5*time.Second {
				t.Errorf("it took %v", d)
			}
			if r.code() != "BAD_REQUEST" {
				t.Errorf("code %q", r.code())
			}
		})
	}
	t.Run("too much", func(t *testing.T) {
		ada.want(http.StatusRequestEntityTooLarge, http.MethodPost, at, typ, strings.Repeat(" ", 17<<20))
	})
	t.Run("what is odd and legal", func(t *testing.T) {
		for name, doc := range map[string]string{
			"other prefix": `<v:ComposeVAppParams xmlns:v="http://www.vmware.com/vcloud/v1.5" name="odd1"><v:Description><![CDATA[<b>&]]></v:Description></v:ComposeVAppParams>`,
			"mark":         "\xef\xbb\xbf<?xml version='1.0' encoding='utf-8' standalone='yes'?>\n<!-- c -->" + strings.Replace(body(""), `"x"`, `"odd2"`, 1) + "\n",
			"Latin 1":      "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>" + strings.Replace(body(""), `"x"`, "\"\xf6dd3\"", 1),
		} {
			r := ada.want(http.StatusCreated, http.MethodPost, at, typ, doc)
			if name == "Latin 1" && r.root(t).SelectAttrValue("name", "") != "ödd3" {
				t.Errorf("%s: %s", name, r.body)
			}
		}
	})
}
