package vcd

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// MaxDocument is the largest answer the client takes, in bytes.
const MaxDocument = 64 << 20

// maxDepth is how deep elements may nest. Real documents stay below 20.
const maxDepth = 200

// maxElements is how many elements and attributes a document may have, and a
// JSON document values: taken apart they need many times the room that their
// text does. A vApp of 128 VMs has a tenth of it.
const maxElements = 1_000_000

// Errors that a hostile or broken document earns.
var (
	ErrTooLarge = errors.New("document too large")
	ErrTooDeep  = errors.New("document nested too deeply")
	ErrTooMany  = errors.New("document with too many elements")
	ErrDTD      = errors.New("document with a DTD")
)

// tokens hands out the tokens of a document that comes from the network. The
// standard decoder expands no entities beyond XML's own five; what is left to
// refuse is a DTD and nesting that exhausts memory.
type tokens struct {
	d     *xml.Decoder
	depth int
	count int // elements and attributes so far
}

// Token returns raw tokens: the decoder on top translates prefixes and
// matches end tags with start tags.
func (t *tokens) Token() (xml.Token, error) {
	tok, err := t.d.RawToken()
	if err != nil {
		return nil, err
	}
	switch tok := tok.(type) {
	case xml.StartElement:
		if t.depth++; t.depth > maxDepth {
			return nil, ErrTooDeep
		}
		if t.count += 1 + len(tok.Attr); t.count > maxElements {
			return nil, ErrTooMany
		}
	case xml.EndElement:
		t.depth--
	case xml.Directive:
		return nil, ErrDTD
	}
	return tok, nil
}

func newDecoder(raw []byte) (*xml.Decoder, error) {
	if len(raw) > MaxDocument {
		return nil, ErrTooLarge
	}
	return xml.NewTokenDecoder(&tokens{d: xml.NewDecoder(bytes.NewReader(raw))}), nil
}

// rootElement advances d to the document's root.
func rootElement(d *xml.Decoder) (xml.StartElement, error) {
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return xml.StartElement{}, errors.New("no root element")
		}
		if err != nil {
			return xml.StartElement{}, err
		}
		if start, ok := tok.(xml.StartElement); ok {
			return start, nil
		}
	}
}

// parse decodes raw, whose root must have the local name root ("" for any),
// into v, and reads on to the document's end so that what is cut off there
// does not pass. Names match without their namespaces, since the server's
// prefixes and, for imports, even its namespaces vary.
func parse(raw []byte, root string, v any) error {
	d, err := newDecoder(raw)
	if err != nil {
		return err
	}
	start, err := rootElement(d)
	if err != nil {
		return fmt.Errorf("parse %s: %w", orDocument(root), err)
	}
	if root != "" && start.Name.Local != root {
		return fmt.Errorf("parse %s: root element is %.80q", root, start.Name.Local)
	}
	if err := d.DecodeElement(v, &start); err != nil {
		return fmt.Errorf("parse %s: %w", orDocument(start.Name.Local), err)
	}
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("parse %s: %w", start.Name.Local, err)
		}
	}
}

// wellFormed reads a document that nobody else parses to its end, so that
// what is kept of it can be used later.
func wellFormed(raw []byte) error {
	d, err := newDecoder(raw)
	if err != nil {
		return err
	}
	depth, roots := 0, 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) && roots == 1 {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return errors.New("no root element")
		}
		if err != nil {
			return err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if depth++; depth == 1 {
				roots++
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(t)) > 0 {
				return errors.New("text outside the root element")
			}
		}
	}
}

// wellFormedJSON does the same for a document of OpenAPI.
func wellFormedJSON(raw []byte) error {
	depth, count, quoted := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			count++
		case c == '}' || c == ']':
			depth--
		case c == ',':
			count++
		}
		if depth > maxDepth {
			return ErrTooDeep
		}
		if count > maxElements {
			return ErrTooMany
		}
	}
	if !json.Valid(raw) {
		return errors.New("the answer is no JSON")
	}
	return nil
}

func orDocument(root string) string {
	if root == "" {
		return "document"
	}
	return root
}

// attr returns the attribute with the given local name. Sections of the OVF
// namespace carry vCloud's href and type with a prefix of their own.
func attr(start xml.StartElement, local string) string {
	for _, a := range start.Attr {
		if a.Name.Local == local && a.Name.Space != "xmlns" {
			return a.Value
		}
	}
	return ""
}

// Link returns the href of the first Link of the document's root element with
// the given rel and media type; "" matches any. Parameters and case of the
// media type do not count.
func Link(raw []byte, rel, mediaType string) (href string, ok bool) {
	var doc struct {
		Links []link `xml:"Link"`
	}
	if err := parse(raw, "", &doc); err != nil {
		return "", false
	}
	return findLink(doc.Links, rel, mediaType)
}

type link struct {
	Rel  string `xml:"rel,attr"`
	Href string `xml:"href,attr"`
	Type string `xml:"type,attr"`
	Name string `xml:"name,attr"`
	ID   string `xml:"id,attr"`
}

func findLink(links []link, rel, mediaType string) (string, bool) {
	for _, l := range links {
		if (rel == "" || l.Rel == rel) &&
			(mediaType == "" || strings.EqualFold(bareType(l.Type), mediaType)) {
			return l.Href, true
		}
	}
	return "", false
}

// bareType is a media type without its parameters.
func bareType(t string) string {
	t, _, _ = strings.Cut(t, ";")
	return strings.TrimSpace(t)
}

// fragment returns the root element of a document alone, without XML
// declaration, comments and white space around it, to stand inside another.
func fragment(raw []byte) ([]byte, error) {
	if err := parse(raw, "", &struct{}{}); err != nil {
		return nil, err
	}
	d := xml.NewDecoder(bytes.NewReader(raw))
	for {
		from := d.InputOffset()
		tok, err := d.RawToken()
		if err != nil {
			return nil, err
		}
		if _, ok := tok.(xml.StartElement); !ok {
			continue
		}
		end, err := endOfElement(d)
		if err != nil {
			return nil, err
		}
		return raw[from:end], nil
	}
}

// endOfElement is the offset behind the end tag of the element just begun.
func endOfElement(d *xml.Decoder) (int64, error) {
	for depth := 1; depth > 0; {
		tok, err := d.RawToken()
		if err != nil {
			return 0, err
		}
		switch tok.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		}
	}
	return d.InputOffset(), nil
}

// encode renders a request body with an XML declaration.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	if err := xml.NewEncoder(&b).Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
