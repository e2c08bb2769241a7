package diff

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// documents compares the documents of both sides, field by field.
func (c *comparison) documents() error {
	renamed := map[string]string{} // path on side a -> on side b
	for _, p := range c.pairs {
		if p.a != nil && p.b != nil {
			renamed[restorepoint.UUID(p.a.ID)] = restorepoint.UUID(p.b.ID)
		}
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(c.a.Docs)) {
		other := c.counterpartOf(name, renamed)
		seen[other] = true
		if err := c.document(name, other); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.b.Docs)) {
		if !seen[name] {
			if err := c.document("", name); err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(c.result.Fields, func(x, y Field) int { return strings.Compare(rank(x), rank(y)) })
	return nil
}

// rank sorts fields: the vApp, its networks, its VMs, and what they refer to.
func rank(f Field) string {
	switch {
	case strings.HasPrefix(f.Document, "vcd/context/"):
		return "4" + f.Object
	case strings.HasPrefix(f.Object, "vm "):
		return "3" + f.Object
	case f.Object != "vApp":
		return "2" + f.Object
	}
	return "1"
}

// counterpartOf returns where side b has the document that side a has under a
// path; "" where it has none.
func (c *comparison) counterpartOf(name string, renamed map[string]string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		if to := renamed[part]; to != "" && i > 0 && (parts[i-1] == "vms" || parts[i-1] == "vsphere") {
			parts[i] = to
			return have(c.b.Docs, strings.Join(parts, "/"))
		}
	}
	if have(c.b.Docs, name) != "" {
		return name
	}
	// What was made anew has another id; its name is the same.
	title := titleOf(c.a.Docs[name])
	if title == "" || len(parts) < 3 {
		return ""
	}
	for _, other := range slices.Sorted(maps.Keys(c.b.Docs)) {
		if c.a.Docs[other] == nil && path.Dir(other) == path.Dir(name) && titleOf(c.b.Docs[other]) == title {
			return other
		}
	}
	return ""
}

func have(docs map[string][]byte, name string) string {
	if docs[name] == nil {
		return ""
	}
	return name
}

// titleOf is the name that an XML document's root bears.
func titleOf(raw []byte) string {
	tree, err := document.Parse(raw)
	if err != nil || tree.Root() == nil {
		return ""
	}
	return document.Attribute(tree.Root(), "name")
}

// document compares one document, of which a side may have none.
func (c *comparison) document(was, is string) error {
	name := is
	if name == "" {
		name = was
	}
	if !strings.HasPrefix(name, "vcd/") && !c.o.All || c.goneVM(was, is) {
		return nil
	}
	object := c.objectOf(was, is)
	if was == "" || is == "" {
		c.oneSided(name, object, was == "")
		return nil
	}
	if bytes.Equal(c.a.whole[was], c.b.whole[is]) {
		return nil
	}
	if !strings.HasSuffix(name, ".xml") && !strings.HasSuffix(name, ".json") {
		c.result.Fields = append(c.result.Fields, Field{Object: object, What: path.Base(name), Change: Changed, Document: name, Path: "/", Volatile: "the host writes it"})
		return nil
	}
	w := words{doc: name, object: object}
	for _, doc := range []struct {
		into *map[string]string
		name string
		raw  []byte
	}{{&w.was, was, c.a.Docs[was]}, {&w.is, is, c.b.Docs[is]}, {&w.wasWhole, was, c.a.whole[was]}, {&w.isWhole, is, c.b.whole[is]}} {
		if strings.HasPrefix(name, "vcd/context/") && strings.HasSuffix(name, ".json") && !c.o.All {
			doc.raw = withoutUsage(doc.raw)
		}
		fields, err := document.Flatten(doc.raw)
		if err != nil {
			return fmt.Errorf("document %s: %w", doc.name, err)
		}
		*doc.into = fields
	}
	w.repeats = func(section string) bool { return c.repeats(was, is, section) }
	fields := w.fields()
	if len(fields) == 0 && bytes.Equal(c.a.Docs[was], c.b.Docs[is]) {
		fields = []Field{{Object: object, What: "a secret", Change: Changed, Document: name, Path: "/"}}
	}
	for _, f := range fields {
		if f.Volatile == "" || c.o.All {
			c.result.Fields = append(c.result.Fields, f)
		}
	}
	return nil
}

// goneVM tells whether documents are of a VM that came or went: that it did
// says it all.
func (c *comparison) goneVM(was, is string) bool {
	for _, p := range c.pairs {
		if p.a == nil && ofVM(is, p.b) || p.b == nil && ofVM(was, p.a) {
			return true
		}
	}
	return false
}

func ofVM(name string, vm *restorepoint.VM) bool {
	uuid := restorepoint.UUID(vm.ID)
	return strings.HasPrefix(name, "vcd/vms/"+uuid+"/") || strings.HasPrefix(name, "vsphere/"+uuid+"/")
}

// oneSided tells of a document that only one side has. What the vApp refers
// to differs along with what refers to it, so that it is said once.
func (c *comparison) oneSided(name, object string, added bool) {
	if !strings.HasPrefix(name, "vcd/") && c.b.Point.ID == "" {
		return // of a vApp as it is, only the configuration is read
	}
	f := Field{Object: object, What: "document " + path.Base(name), Change: Removed, Document: name, Path: "/"}
	absent := c.b.Point.Absent
	if added {
		f.Change, absent = Added, c.a.Point.Absent
	}
	switch {
	case absent[name] != "":
		c.result.Notes = append(c.result.Notes, fmt.Sprintf("%s: document %s is on one side alone: %s", object, name, absent[name]))
		return
	case strings.HasPrefix(name, "vcd/context/"), strings.HasPrefix(name, "vcd/networks/"):
		f.Volatile = "follows from what refers to it"
	case !strings.HasPrefix(name, "vcd/"):
		f.Volatile = "vSphere's own"
	}
	if f.Volatile == "" || c.o.All {
		c.result.Fields = append(c.result.Fields, f)
	}
}

// repeats tells whether a section of a document stands in a document of its
// own on both sides.
func (c *comparison) repeats(was, is, section string) bool {
	has := func(docs map[string][]byte, name string) bool {
		for other := range docs {
			base := strings.TrimSuffix(path.Base(other), ".xml")
			if path.Dir(other) == path.Dir(name) && other != name && (strings.EqualFold(base, section) || strings.EqualFold(base, section+"s")) {
				return true
			}
		}
		return false
	}
	return has(c.a.Docs, was) && has(c.b.Docs, is)
}

// singular words the name of a folder of documents.
func singular(folder string) string {
	if stem, ok := strings.CutSuffix(folder, "ies"); ok {
		return split(stem + "y")
	}
	return split(strings.TrimSuffix(folder, "s"))
}

// objectOf names what a document is about.
func (c *comparison) objectOf(was, is string) string {
	for _, p := range c.pairs {
		if p.a != nil && was != "" && ofVM(was, p.a) || p.b != nil && is != "" && ofVM(is, p.b) {
			return "vm " + p.name()
		}
	}
	name, docs := is, c.b.Docs
	if name == "" {
		name, docs = was, c.a.Docs
	}
	parts := strings.Split(strings.TrimSuffix(strings.TrimSuffix(name, ".xml"), ".json"), "/")
	switch {
	case strings.HasPrefix(name, "vcd/networks/"):
		return strings.TrimSpace("network " + titleOf(docs[name]))
	case len(parts) == 3 && parts[1] == "context":
		return split(parts[2])
	case len(parts) > 3 && parts[1] == "context":
		kind := singular(parts[2])
		if kind == "network" {
			kind = "org network"
		}
		title := titleOf(docs[name])
		if title == "" { // documents of one object begin with its id, one of them has its name
			id, _, _ := strings.Cut(parts[3], ".")
			title = cmp.Or(titleOf(docs[path.Dir(name)+"/"+id+".xml"]), parts[3])
		}
		return kind + " " + title
	}
	return "vApp"
}
