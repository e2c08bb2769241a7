package document

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
)

// What a document may have. Real ones nest below 20 and have some ten
// thousand elements; as a tree each needs many times the room of its text.
const (
	maxBytes    = 64 << 20
	maxDepth    = 200
	maxElements = 1_000_000 // and attributes
)

// Errors of documents that are made to harm.
var (
	ErrTooLarge = errors.New("document too large")
	ErrDTD      = errors.New("document with a DTD")
)

// check reads a document to its end without keeping anything of it.
func check(doc []byte) error {
	if len(doc) > maxBytes {
		return ErrTooLarge
	}
	d := xml.NewDecoder(bytes.NewReader(doc))
	depth, count := 0, 0
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.Directive:
			return ErrDTD
		case xml.StartElement:
			depth++
			count += 1 + len(t.Attr)
		case xml.EndElement:
			depth--
		}
		if depth > maxDepth || count > maxElements {
			return ErrTooLarge
		}
	}
}
