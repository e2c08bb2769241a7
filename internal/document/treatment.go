package document

import (
	"encoding/json"
	"strings"

	"github.com/beevik/etree"
)

// A Treatment is what Compare does about a part of a document.
type Treatment string

// Treatments of parts.
const (
	Compared Treatment = "compared"
	// Named is not compared: it names an object, or says what a caller may do.
	Named Treatment = "named"
	// Excused is compared, and where it differs there is a reason.
	Excused Treatment = "excused"
)

// Treatments tells what Compare does about everything in a document, by the
// names of elements (Vm), attributes (Vm@name) and fields of JSON documents
// (.tags). A name that is used in several places can have several.
func Treatments(doc []byte) (map[string]map[Treatment]bool, error) {
	out := treatments{}
	if json.Valid(doc) {
		var value any
		if err := json.Unmarshal(doc, &value); err != nil {
			return nil, err
		}
		out.json(value, "", "")
		return out, nil
	}
	tree, err := Parse(doc)
	if err != nil {
		return nil, err
	}
	out.element(tree.Root(), "/"+tree.Root().Tag)
	return out, nil
}

type treatments map[string]map[Treatment]bool

func (t treatments) add(name, path string, named bool) {
	how := Compared
	switch {
	case named:
		how = Named
	case reasonFor(path) != "":
		how = Excused
	}
	if t[name] == nil {
		t[name] = map[Treatment]bool{}
	}
	t[name][how] = true
}

func (t treatments) element(e *etree.Element, path string) {
	left := skipped[e.Tag] || identity[e.Tag]
	t.add(e.Tag, path, left)
	for _, a := range e.Attr {
		if a.Space != "xmlns" && a.Key != "xmlns" && a.Key != "schemaLocation" {
			t.add(e.Tag+"@"+a.Key, path+"/@"+a.Key, left || identity[a.Key] || a.Key == "type" && strings.Contains(a.Value, "/"))
		}
	}
	if left {
		return
	}
	for _, c := range e.ChildElements() {
		t.element(c, path+"/"+c.Tag+key(c))
	}
}

func (t treatments) json(value any, name, path string) {
	switch v := value.(type) {
	case map[string]any:
		for k, e := range v {
			t.add(name+"."+k, path+"/"+k, identity[k] || k == "link")
			t.json(e, name+"."+k, path+"/"+k)
		}
	case []any:
		for _, e := range v {
			t.json(e, name+"[]", path)
		}
	}
}
