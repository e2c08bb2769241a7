package restore

import (
	"errors"
	"fmt"

	"github.com/beevik/etree"
)

// Documents are edited as trees, never through structs: what this program
// does not know must survive a round trip.

func parse(doc []byte) (*etree.Document, error) {
	tree := etree.NewDocument()
	if err := tree.ReadFromBytes(doc); err != nil {
		return nil, err
	}
	if tree.Root() == nil {
		return nil, errors.New("no root element")
	}
	return tree, nil
}

func encode(tree *etree.Document) ([]byte, error) {
	raw, err := tree.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return raw, nil
}

// find returns the first child with a local name, whatever its prefix.
func find(e *etree.Element, local string) *etree.Element {
	for _, c := range e.ChildElements() {
		if c.Tag == local {
			return c
		}
	}
	return nil
}

func findAll(e *etree.Element, local string) []*etree.Element {
	var out []*etree.Element
	for _, c := range e.ChildElements() {
		if c.Tag == local {
			out = append(out, c)
		}
	}
	return out
}

// descend finds a descendant by local names.
func descend(e *etree.Element, path ...string) *etree.Element {
	for _, local := range path {
		if e == nil {
			return nil
		}
		e = find(e, local)
	}
	return e
}

func text(e *etree.Element, path ...string) string {
	if e = descend(e, path...); e == nil {
		return ""
	}
	return e.Text()
}

// attribute returns an attribute by its local name, whatever its prefix.
func attribute(e *etree.Element, local string) string {
	for _, a := range e.Attr {
		if a.Key == local && a.Space != "xmlns" {
			return a.Value
		}
	}
	return ""
}

func setAttribute(e *etree.Element, local, value string) {
	for i, a := range e.Attr {
		if a.Key == local && a.Space != "xmlns" {
			e.Attr[i].Value = value
			return
		}
	}
	e.CreateAttr(local, value)
}

func removeAttribute(e *etree.Element, local string) {
	for i, a := range e.Attr {
		if a.Key == local && a.Space != "xmlns" {
			e.Attr = append(e.Attr[:i], e.Attr[i+1:]...)
			return
		}
	}
}

// strip removes, at any depth, every element with one of the local names.
func strip(e *etree.Element, locals ...string) {
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
			strip(c, locals...)
		}
	}
}

// standalone makes an element the root of a document of its own, with the
// namespace declarations that were in force where it stood.
func standalone(e *etree.Element) *etree.Document {
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
