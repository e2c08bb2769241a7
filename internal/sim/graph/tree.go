package graph

import (
	"fmt"

	"github.com/beevik/etree"
)

// What a child of an element is.
const (
	childElement = 1 + iota
	childText
	childCData
	childSpace
	childComment
	childDirective
	childInstruction
)

// tree writes an element and all below it. What is above it is another's.
func (e *encoder) tree(n *etree.Element) {
	e.string(n.Space)
	e.string(n.Tag)
	e.uint(uint64(len(n.Attr)))
	for _, a := range n.Attr {
		e.string(a.Space)
		e.string(a.Key)
		e.string(a.Value)
	}
	e.uint(uint64(len(n.Child)))
	for _, child := range n.Child {
		switch t := child.(type) {
		case *etree.Element:
			e.byte(childElement)
			e.deeper(func() { e.tree(t) })
		case *etree.CharData:
			switch {
			case t.IsCData():
				e.byte(childCData)
			case t.IsWhitespace():
				e.byte(childSpace)
			default:
				e.byte(childText)
			}
			e.string(t.Data)
		case *etree.Comment:
			e.byte(childComment)
			e.string(t.Data)
		case *etree.Directive:
			e.byte(childDirective)
			e.string(t.Data)
		case *etree.ProcInst:
			e.byte(childInstruction)
			e.string(t.Target)
			e.string(t.Inst)
		default:
			e.fail(fmt.Errorf("%T: no part of an element", child))
		}
	}
}

// maxAttrs bounds an element's attributes: each is compared with those before.
const maxAttrs = 4096

// tree fills an element that is empty; nil is read over.
func (d *decoder) tree(n *etree.Element) {
	if n == nil {
		n = &etree.Element{}
	}
	n.Space, n.Tag = d.string(), d.string()
	attrs := d.uint()
	if attrs > maxAttrs {
		d.damaged("%d attributes", attrs)
	}
	for i := uint64(0); i < attrs && d.err == nil; i++ {
		// Under a name that none has: CreateAttr takes names apart.
		a := n.CreateAttr("\x00", "")
		a.Space, a.Key, a.Value = d.string(), d.string(), d.string()
	}
	children := d.uint()
	for i := uint64(0); i < children && d.err == nil; i++ {
		switch k := d.byte(); k {
		case childElement:
			child := &etree.Element{}
			d.deeper(func() { d.tree(child) })
			n.AddChild(child)
		case childText:
			n.AddChild(etree.NewText(d.string()))
		case childSpace:
			space := etree.NewText("")
			space.SetData(d.string())
			n.AddChild(space)
		case childCData:
			n.AddChild(etree.NewCData(d.string()))
		case childComment:
			n.AddChild(etree.NewComment(d.string()))
		case childDirective:
			n.AddChild(etree.NewDirective(d.string()))
		case childInstruction:
			target := d.string()
			n.AddChild(etree.NewProcInst(target, d.string()))
		default:
			d.damaged("child %d", k)
		}
	}
}
