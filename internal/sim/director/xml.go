package director

import (
	"strings"
	"time"

	"github.com/beevik/etree"
)

// The namespaces of the vCloud API.
const (
	nsVCloud = "http://www.vmware.com/vcloud/v1.5"
	nsExt    = "http://www.vmware.com/vcloud/extension/v1.5"
	nsOVF    = "http://schemas.dmtf.org/ovf/envelope/1"
	nsRASD   = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
	nsVSSD   = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
	nsVMW    = "http://www.vmware.com/schema/ovf"
	nsEnv    = "http://schemas.dmtf.org/ovf/environment/1"
	nsXSI    = "http://www.w3.org/2001/XMLSchema-instance"
	nsXML    = "http://www.w3.org/XML/1998/namespace"
)

// prefixes are what documents of this server declare on their root, in this
// order. vCloud's own elements have none; its attributes on elements of other
// namespaces have "vcloud".
var prefixes = [][2]string{
	{"", nsVCloud}, {"vcloud", nsVCloud}, {"ovf", nsOVF}, {"vssd", nsVSSD}, {"rasd", nsRASD},
	{"vmw", nsVMW}, {"vmext", nsExt}, {"xsi", nsXSI},
}

// A node is an element under construction.
type node = etree.Element

// el makes an element. The arguments after the tag are pairs of attributes,
// whose empty values are left out.
func el(tag string, attrs ...string) *node {
	e := etree.NewElement(tag)
	for i := 0; i+1 < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			e.CreateAttr(attrs[i], attrs[i+1])
		}
	}
	return e
}

// add appends children to e, leaving out nil ones.
func add(e *node, children ...*node) *node {
	for _, c := range children {
		if c != nil {
			e.AddChild(c)
		}
	}
	return e
}

// text makes an element that holds s, which may be empty.
func text(tag, s string, attrs ...string) *node {
	e := el(tag, attrs...)
	e.SetText(s)
	return e
}

// opt is text, or nil when s is empty.
func opt(tag, s string) *node {
	if s == "" {
		return nil
	}
	return text(tag, s)
}

func boolean(tag string, b bool) *node { return text(tag, yes(b)) }
func number[N int | int32 | int64](tag string, n N) *node {
	return text(tag, num(n))
}

func link(rel, href, typ string) *node {
	return el("Link", "rel", rel, "href", href, "type", typ)
}

// document serializes root with the declarations that it needs.
func document(root *node) ([]byte, error) {
	doc := etree.NewDocument()
	doc.CreateProcInst("xml", `version="1.0" encoding="UTF-8" standalone="yes"`)
	attrs := root.Attr
	root.Attr = nil
	for _, p := range prefixes {
		if p[0] == "" {
			root.CreateAttr("xmlns", p[1])
		} else {
			root.CreateAttr("xmlns:"+p[0], p[1])
		}
	}
	for _, a := range attrs {
		root.CreateAttr(a.FullKey(), a.Value)
	}
	doc.SetRoot(root)
	doc.WriteSettings.CanonicalText = true
	doc.WriteSettings.CanonicalAttrVal = true
	return doc.WriteToBytes()
}

// canon copies a client's element with the prefixes that this server uses, so
// that it can be a part of any of its documents. Comments, processing
// instructions and white space between elements are dropped.
func canon(e *node) *node {
	c := etree.NewElement(e.Tag)
	uri := e.NamespaceURI()
	c.Space = prefixOf(uri, false)
	if c.Space == "?" {
		c.Space = ""
		c.CreateAttr("xmlns", uri)
	}
	for _, a := range e.Attr {
		canonAttr(c, e, a)
	}
	children := e.ChildElements()
	if len(children) == 0 {
		if t := allText(e); t != "" {
			c.SetText(t)
		}
		return c
	}
	for _, k := range children {
		c.AddChild(canon(k))
	}
	return c
}

func canonAttr(to, from *node, a etree.Attr) {
	if a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns" {
		return
	}
	if a.Space == "" {
		to.CreateAttr(a.Key, a.Value)
		return
	}
	uri := lookup(from, a.Space)
	p := prefixOf(uri, true)
	if p == "?" {
		to.CreateAttr("xmlns:"+a.Space, uri)
		p = a.Space
	}
	v := a.Value
	if uri == nsXSI && a.Key == "type" {
		v = localType(from, v)
	}
	to.CreateAttr(p+":"+a.Key, v)
}

// localType rewrites the prefix of a QName for the documents of this server.
func localType(e *node, qname string) string {
	prefix, local, found := strings.Cut(qname, ":")
	if !found {
		prefix, local = "", qname
	}
	if p := prefixOf(lookup(e, prefix), false); p != "" && p != "?" {
		return p + ":" + local
	}
	return local
}

// lookup is the namespace that a prefix stands for at e.
func lookup(e *node, prefix string) string {
	if prefix == "xml" {
		return nsXML
	}
	for ; e != nil; e = e.Parent() {
		for _, a := range e.Attr {
			if a.Space == "xmlns" && a.Key == prefix || prefix == "" && a.Space == "" && a.Key == "xmlns" {
				return a.Value
			}
		}
	}
	return ""
}

// prefixOf is the prefix of a namespace on this server's documents; "?" for
// one that they do not declare.
func prefixOf(uri string, attr bool) string {
	if uri == nsXML {
		return "xml"
	}
	if uri == nsVCloud && attr {
		return "vcloud"
	}
	for _, p := range prefixes {
		if p[1] == uri {
			return p[0]
		}
	}
	return "?"
}

// allText is the character data directly inside e.
func allText(e *node) string {
	var b strings.Builder
	for _, t := range e.Child {
		if d, ok := t.(*etree.CharData); ok {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// child is the first child of e with that local name, whatever its prefix.
func child(e *node, local string) *node {
	if e == nil {
		return nil
	}
	for _, c := range e.ChildElements() {
		if c.Tag == local {
			return c
		}
	}
	return nil
}

// childrenOf are the children of e with that local name.
func childrenOf(e *node, local string) []*node {
	if e == nil {
		return nil
	}
	var out []*node
	for _, c := range e.ChildElements() {
		if c.Tag == local {
			out = append(out, c)
		}
	}
	return out
}

// value is the trimmed text of the child with that name; "" when it is absent.
func value(e *node, local string) string {
	return strings.TrimSpace(raw(e, local))
}

// raw is the text of the child with that name as it was sent.
func raw(e *node, local string) string {
	c := child(e, local)
	if c == nil {
		return ""
	}
	return allText(c)
}

// attr is the value of an attribute, whatever its prefix.
func attr(e *node, local string) string {
	if e == nil {
		return ""
	}
	for _, a := range e.Attr {
		if a.Key == local && a.Space != "xmlns" {
			return a.Value
		}
	}
	return ""
}

// drop removes the children of e with that name.
func drop(e *node, local string) {
	for _, c := range childrenOf(e, local) {
		e.RemoveChild(c)
	}
}

// stamp writes a time as vCD does.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}
