package document

import (
	"fmt"

	"github.com/beevik/etree"
)

// A Set is the documents of a restore point or of a capture, by their paths.
type Set map[string][]byte

// Tree returns a document to edit, or nil where the set has none.
func (s Set) Tree(path string) (*etree.Document, error) {
	raw, ok := s[path]
	if !ok {
		return nil, nil
	}
	tree, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("document %s: %w", path, err)
	}
	return tree, nil
}

// Text returns the text of an element of a document; "" without the document
// or the element, and where it cannot be parsed.
func (s Set) Text(path string, element ...string) string {
	tree, err := s.Tree(path)
	if err != nil || tree == nil {
		return ""
	}
	return Text(tree.Root(), element...)
}

// Attribute returns an attribute of an element of a document; "" likewise.
func (s Set) Attribute(path, local string, element ...string) string {
	tree, err := s.Tree(path)
	if err != nil || tree == nil {
		return ""
	}
	return AttributeOf(tree.Root(), local, element...)
}
