package wellformed_test

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/sim/wellformed"
)

func TestCheck(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	attributes := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ` a%d=""`, i)
		}
		return "<a" + b.String() + "/>"
	}
	for name, tc := range map[string]struct {
		doc  string
		good bool
	}{
		"plain":                   {`<?xml version="1.0" encoding="UTF-8"?><!-- c --><a b="1"><c>d &amp; &#228;</c></a>`, true},
		"no declaration":          {"<a/>", true},
		"byte order mark":         {"\xef\xbb\xbf<a/>", true},
		"ASCII":                   {"<?xml version='1.0' encoding='ASCII'?>\n<a/>", true},
		"Latin 1":                 {"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a b=\"\xe4\"/>", true},
		"CDATA":                   {"<a><![CDATA[<b>&]]></a>", true},
		"prefixes":                {`<v:a xmlns:v="urn:v" xmlns:w="urn:w" w:type="v:x" type="y"/>`, true},
		"prefix of an outer one":  {`<v:a xmlns:v="urn:v"><b><v:c/></b></v:a>`, true},
		"deep":                    {deep(500), true},
		"many attributes":         {attributes(200), true},
		"nothing":                 {"", false},
		"text":                    {"hello", false},
		"text behind":             {"<a/>x", false},
		"two roots":               {"<a/><b/>", false},
		"not closed":              {"<a><b></b>", false},
		"crossed":                 {"<a><b></a></b>", false},
		"closed twice":            {"<a/></a>", false},
		"DOCTYPE":                 {"<!DOCTYPE a><a/>", false},
		"entities":                {`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, false},
		"entity of nowhere":       {"<a>&b;</a>", false},
		"NUL":                     {"<a b=\"\x00\"/>", false},
		"NUL by number":           {`<a b="&#0;"/>`, false},
		"control character":       {"<a>\x01</a>", false},
		"not UTF-8":               {"<a b=\"\xff\"/>", false},
		"UTF-16 only declared":    {`<?xml version="1.0" encoding="UTF-16"?><a/>`, false},
		"UTF-16":                  {"\xff\xfe<\x00a\x00/\x00>\x00", false},
		"unknown encoding":        {`<?xml version="1.0" encoding="klingon"?><a/>`, false},
		"XML 1.1":                 {`<?xml version="1.1"?><a/>`, false},
		"too deep":                {deep(501), false},
		"too many attributes":     {attributes(201), false},
		"an attribute twice":      {`<a b="1" b="2"/>`, false},
		"twice in two prefixes":   {`<a xmlns:v="urn:v" xmlns:w="urn:v" v:b="1" w:b="2"/>`, false},
		"a prefix that is not":    {`<v:a/>`, false},
		"one of an attribute":     {`<a v:b=""/>`, false},
		"one of an inner element": {`<a><b xmlns:v="urn:v"/><v:c/></a>`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := wellformed.Check([]byte(tc.doc)); (err == nil) != tc.good {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("what is large is read once", func(*testing.T) {
		// Read over and over for each part, none of these would ever end.
		for _, doc := range []string{attributes(500_000), deep(2_000_000), "<a>" + strings.Repeat("<b/>", 1_000_000) + "</a>"} {
			_ = wellformed.Check([]byte(doc))
		}
	})
}

func TestLatin1(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>\xe4\xf6\xfc" + strings.Repeat("\xdf", 5000) + "</a>"))
	d.CharsetReader = wellformed.Charset
	var got string
	if err := d.Decode(&got); err != nil || got != "äöü"+strings.Repeat("ß", 5000) {
		t.Errorf("%v, %d bytes", err, len(got))
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"<a/>", `<v:a xmlns:v="u" v:b=""><c>&lt;</c></v:a>`, "<!DOCTYPE a><a/>", `<?xml version="1.0" encoding="latin1"?><a>` + "\xe4</a>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if wellformed.Check(doc) != nil {
			return
		}
		// The law: what passes has one root.
		e := etree.NewDocument()
		e.ReadSettings.CharsetReader = wellformed.Charset
		if err := e.ReadFromBytes(doc); err != nil || e.Root() == nil {
			t.Errorf("%q: %v", doc, err)
		}
	})
}
