package document

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// FuzzParse: a document that is taken can be written and taken again, is
// equal to itself, and everything in it has a treatment.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`<VApp xmlns="http://www.vmware.com/vcloud/v1.5" name="a"><Children><Vm/></Children></VApp>`, `<q:Vm xmlns:q="u" q:id="1"><!-- x --><q:Link/></q:Vm>`,
		`<!DOCTYPE x [<!ENTITY a "b">]><VApp>&a;</VApp>`, `<?xml version="1.0"?><a b='&lt;'>&amp;<![CDATA[<]]></a>`, `{"tags":["a",{"b":null}]}`, `<a/><b/>`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if differences, err := Compare("d", doc, doc); err == nil && len(differences) > 0 {
			t.Errorf("differs from itself: %+v", differences)
		}
		if all, err := Treatments(doc); err == nil {
			for name, how := range all {
				if len(how) == 0 {
					t.Errorf("%s has no treatment", name)
				}
			}
		}
		tree, err := Parse(doc)
		if err != nil {
			return
		}
		if bytes.Contains(doc, []byte("<!DOCTYPE")) && !bytes.Contains(doc, []byte("<![CDATA[")) && !bytes.Contains(doc, []byte("<!--")) && !bytes.Contains(doc, []byte("<?")) {
			t.Error("a DTD is taken")
		}
		Strip(tree.Root(), "Link")
		out, err := Encode(Standalone(tree.Root()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(out); err != nil {
			t.Errorf("%q is written as %q: %v", doc, out, err)
		}
	})
}

func TestDocumentsThatAreMadeToHarm(t *testing.T) {
	for what, tc := range map[string]struct {
		doc  string
		want error
	}{
		"depth":      {strings.Repeat("<a>", 100_000), ErrTooLarge},
		"elements":   {"<a>" + strings.Repeat("<b/>", 1_100_000) + "</a>", ErrTooLarge},
		"attributes": {"<a " + strings.Repeat(`b="" `, 1_100_000) + "/>", ErrTooLarge},
		"a DTD":      {`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, ErrDTD},
	} {
		if _, err := Parse([]byte(tc.doc)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", what, err, tc.want)
		}
	}
}
