// Package document edits and compares the documents of vCD and vSphere.
//
// They are edited as trees, never through structs: what this program does
// not know must survive a round trip. They are compared field by field, ids
// aside; what cannot be equal has a reason.
package document

import (
	"errors"
	"fmt"

	"github.com/beevik/etree"
)

// Parse reads a document; one without a root element is an error, and so is
// one that is made to exhaust memory.
func Parse(doc []byte) (*etree.Document, error) {
	if err := check(doc); err != nil {
		return nil, err
	}
	tree := etree.NewDocument()
	if err := tree.ReadFromBytes(doc); err != nil {
		return nil, err
	}
	if tree.Root() == nil {
		return nil, errors.New("no root element")
	}
	return tree, nil
}

// Encode writes a document.
func Encode(tree *etree.Document) ([]byte, error) {
	raw, err := tree.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return raw, nil
}

// Find returns the first child with a local name, whatever its prefix.
func Find(e *etree.Element, local string) *etree.Element {
	for _, c := range e.ChildElements() {
		if c.Tag == local {
			return c
		}
	}
	return nil
}

// FindAll returns the children with a local name, whatever their prefix.
func FindAll(e *etree.Element, local string) []*etree.Element {
	var out []*etree.Element
	for _, c := range e.ChildElements() {
		if c.Tag == local {
			out = append(out, c)
		}
	}
	return out
}

// Descend finds a descendant by local names.
func Descend(e *etree.Element, path ...string) *etree.Element {
	for _, local := range path {
		if e == nil {
			return nil
		}
		e = Find(e, local)
	}
	return e
}

// Text returns the text of a descendant; "" where there is none.
func Text(e *etree.Element, path ...string) string {
	if e = Descend(e, path...); e == nil {
		return ""
	}
	return e.Text()
}

// Attribute returns an attribute by its local name, whatever its prefix.
func Attribute(e *etree.Element, local string) string {
	for _, a := range e.Attr {
		if a.Key == local && a.Space != "xmlns" {
			return a.Value
		}
	}
	return ""
}

// AttributeOf returns an attribute of a descendant.
func AttributeOf(e *etree.Element, local string, path ...string) string {
	if e = Descend(e, path...); e == nil {
		return ""
	}
	return Attribute(e, local)
}

// SetAttribute replaces an attribute, by its local name, or adds it.
func SetAttribute(e *etree.Element, local, value string) {
	for i, a := range e.Attr {
		if a.Key == local && a.Space != "xmlns" {
			e.Attr[i].Value = value
			return
		}
	}
	e.CreateAttr(local, value)
}

// RemoveAttribute removes an attribute by its local name.
func RemoveAttribute(e *etree.Element, local string) {
	for i, a := range e.Attr {
		if a.Key == local && a.Space != "xmlns" {
			e.Attr = append(e.Attr[:i], e.Attr[i+1:]...)
			return
		}
	}
}

// Strip removes, at any depth, every element with one of the local names.
func Strip(e *etree.Element, locals ...string) {
	for _, c := range e.ChildElements() {
		removed := false
		for _, local := range locals {
			if c.Tag == local {
				e.RemoveChild(c)
				removed = true
				break
			}
		}
		if !removed {
			Strip(c, locals...)
		}
	}
}

// Standalone makes an element the root of a document of its own, with the
// namespace declarations that were in force where it stood.
func Standalone(e *etree.Element) *etree.Document {
	out := etree.NewDocument()
	out.CreateProcInst("xml", `version="1.0" encoding="UTF-8"`)
	root := e.Copy()
	for p := e.Parent(); p != nil; p = p.Parent() {
		for _, a := range p.Attr {
			if (a.Space == "xmlns" || (a.Space == "" && a.Key == "xmlns")) && !declares(root, a) {
				root.Attr = append(root.Attr, etree.Attr{Space: a.Space, Key: a.Key, Value: a.Value})
			}
		}
	}
	out.SetRoot(root)
	return out
}

func declares(e *etree.Element, want etree.Attr) bool {
	for _, a := range e.Attr {
		if a.Space == want.Space && a.Key == want.Key {
			return true
		}
	}
	return false
}
